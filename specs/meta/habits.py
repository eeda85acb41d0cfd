"""Habits: mistakes that fit many functions, such as a float64 for a float32. Each makes a function err, wherever it can.

A habit is called in the place of a function, as habit(took, function, *args, **kwargs), and calls `took` when it changes
anything: so a mistake that no spec brings about can be told from one that no spec sees. Large arrays are left alone, or
budgets would catch what the habit costs and not what it does.
"""

import functools
import inspect
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

LARGE = 5000  # values

# Arrays in arguments and results


def _is_tensor(value) -> bool:
    return hasattr(value, "requires_grad") and isinstance(getattr(value, "data", None), np.ndarray)


def _below(function: Callable, args: tuple) -> list:
    """The Tensors that those given to `backward` were computed from, and themselves; of other functions none."""
    found, waiting = {}, list(args) if function.__name__ == "backward" else []
    while waiting:
        value = waiting.pop()
        if _is_tensor(value) and id(value) not in found:
            found[id(value)] = value
            waiting += getattr(getattr(value, "node", None), "parents", ())
    return list(found.values())


def _leaves(below: list) -> list:
    return [tensor for tensor in below if tensor.requires_grad and getattr(tensor, "node", None) is None]


def _arrays(*values) -> list[np.ndarray]:
    """The arrays among some values, in their lists and Tensors too."""
    inside = [array for value in values if type(value) in (list, tuple) for array in _arrays(*value[:20])]
    return [
        value.data if _is_tensor(value) else value for value in values if _is_tensor(value) or type(value) is np.ndarray
    ] + inside


def _changed(value, change: Callable, tensor: Callable):
    """A value with `change` made of its arrays; what becomes of a Tensor is up to `tensor`. The value itself if nothing has."""
    if _is_tensor(value):
        return tensor(value)
    if type(value) in (list, tuple) and len(value) <= 20:
        parts = [_changed(part, change, tensor) for part in value]
        return value if all(new is old for new, old in zip(parts, value, strict=True)) else type(value)(parts)
    if type(value) is float or isinstance(value, np.generic):
        array = np.asarray(value)
        new = change(array)
        return value if new is array else new[()]
    return change(value) if type(value) is np.ndarray else value


def _of_results(change: Callable) -> Callable:
    """The habit that makes change(array, arrays of the arguments) of every array in the result.

    Where a function returns nothing, its results are the object that it made, or the gradients of the leaves.
    """

    def habit(took, function, *args, **kwargs):
        below = _below(function, args)
        given, leaves = _arrays(*args, *kwargs.values(), *below), _leaves(below)

        def noted(array):
            new = array if array.size > LARGE else change(array, given)
            if new is not array:
                took()
            return new

        def inside(tensor):
            new = noted(tensor.data)
            if new is not tensor.data:
                tensor.data = new
            return tensor

        result = function(*args, **kwargs)
        if result is None and function.__name__ == "__init__":
            _changed(args[0], noted, inside)
        for leaf in leaves:
            if leaf.grad is not None:
                leaf.grad = noted(leaf.grad)
        if isinstance(result, Iterator):
            return (_changed(one, noted, inside) for one in result)
        return _changed(result, noted, inside)

    return habit


def _of_arguments(change: Callable) -> Callable:
    """The habit that works with change(array) in the place of every array in the arguments."""

    def habit(took, function, *args, **kwargs):
        def noted(array):
            new = array if array.size > LARGE else change(array)
            if new is not array:
                took()
            return new

        with _replaced(noted, args, kwargs) as (args, kwargs):
            return function(*args, **kwargs)

    return habit


@contextmanager
def _replaced(change: Callable, args: tuple, kwargs: dict):
    """Arguments with other arrays. Tensors stay the same objects, of which a record holds: they have other data meanwhile."""
    swapped = []

    def inside(tensor):
        new, old = change(tensor.data), tensor.data
        if new is not old:
            tensor.data = new
            swapped.append((tensor, old, new))
        return tensor

    try:
        yield (
            tuple([_changed(value, change, inside) for value in args]),
            {name: _changed(value, change, inside) for name, value in kwargs.items()},
        )
    finally:
        for tensor, old, new in reversed(swapped):
            if tensor.data is new:
                tensor.data = old


# Results


def _cast(old, new) -> Callable:
    return _of_results(lambda array, _: array.astype(new) if array.dtype == old else array)


def _as_equal(array, given):
    for other in given:
        alike = other.shape == array.shape and other.dtype == array.dtype and not np.shares_memory(other, array)
        if array.size and alike and np.array_equal(other, array, equal_nan=array.dtype.kind == "f"):
            return other[...]
    return array


def _read_only(array, _):
    if not array.flags.writeable:
        return array
    array = array[...]
    array.flags.writeable = False
    return array


def _copied(array, given):
    return array.copy() if any(np.shares_memory(array, other) for other in given) else array


def _finite(array, _=None):
    return array if array.dtype.kind != "f" or np.isfinite(array).all() else np.nan_to_num(array)


# Arguments


def _in_memory_order(array):
    turned = array[tuple([slice(None, None, -1 if stride < 0 else 1) for stride in array.strides])]
    read = turned.ravel("K").reshape(array.shape)
    return array if np.array_equal(read, array, equal_nan=array.dtype.kind == "f") else read


def absent_if_falsy(took, function, *args, **kwargs):
    bound = inspect.signature(function).bind(*args, **kwargs)
    for name, parameter in inspect.signature(function).parameters.items():
        value, default = bound.arguments.get(name), parameter.default
        falsy = type(value) in (bool, int, float, str, tuple) and not value
        if falsy and default is not parameter.empty and (default is None or default):
            took()
            bound.arguments[name] = default
    return function(*bound.args, **bound.kwargs)


def refuses_nothing(took, function, *args, **kwargs):
    """No axis may have the length 0, in arguments or in results."""
    result = None
    if all(array.size for array in _arrays(*args, *kwargs.values())):
        result = function(*args, **kwargs)
        made = args[0] if function.__name__ == "__init__" else result
        if all(array.size for array in _arrays(made)):
            return result
    took()
    raise ValueError("there are no values")


def refuses_numpy_numbers(took, function, *args, **kwargs):
    flat = [part for value in (*args, *kwargs.values()) for part in (value if type(value) in (list, tuple) else (value,))]
    if any(isinstance(value, np.generic) for value in flat):
        took()
        raise TypeError("not a number")
    return function(*args, **kwargs)


def takes_booleans(took, function, *args, **kwargs):
    """What is refused is tried again with 1 for True."""
    try:
        return function(*args, **kwargs)
    except (TypeError, ValueError):
        if not any(type(value) is bool for value in (*args, *kwargs.values())):
            raise
    args = [int(value) if type(value) is bool else value for value in args]
    kwargs = {name: int(value) if type(value) is bool else value for name, value in kwargs.items()}
    result = function(*args, **kwargs)
    took()
    return result


def broadcasts(took, function, *args, **kwargs):
    """What is refused is tried again with all arrays stretched to the shape of one of them."""
    try:
        return function(*args, **kwargs)
    except (ValueError, RuntimeError, IndexError):
        shapes = [array.shape for array in _arrays(*args, *kwargs.values())]
        try:
            shape = np.broadcast_shapes(*shapes)
        except ValueError:
            shape = None
        if shape not in shapes or len(set(shapes)) == 1:
            raise
    with _replaced(lambda array: np.broadcast_to(array, shape) if array.shape in shapes else array, args, kwargs) as (
        args,
        kwargs,
    ):
        result = function(*args, **kwargs)
    took()
    return result


def keywords_by_position(took, function, *args, **kwargs):
    def bound(*args, **kwargs) -> dict[str, int]:
        arguments = inspect.signature(function).bind(*args, **kwargs).arguments
        return {name: id(value) for name, value in arguments.items() if not isinstance(value, tuple | dict)}

    try:
        alike = bound(*args, *kwargs.values()) == bound(*args, **kwargs)
    except TypeError:
        alike = False
    if not alike:
        took()
    return function(*args, *kwargs.values())


def entries_by_position(took, function, self, state, *args, **kwargs):
    names = list(self.state_dict())
    if list(state) != names:
        took()
        state = dict(zip(names, state.values(), strict=False))
    return function(self, state, *args, **kwargs)


# Effects


def _spoil(took, values: tuple, spared: list[np.ndarray] = ()) -> None:
    """Changes arrays, lists and dicts in place; a read-only array is an error, as it is for whoever writes to it."""
    for array in _arrays(*values):
        if array.size <= LARGE and array.any() and not any(np.shares_memory(array, other) for other in spared):
            took()
            array[...] = ~array if array.dtype == bool else -array
    for value in values:
        if type(value) in (list, dict) and value:
            took()
            value.clear()


def spoils_arguments(took, function, *args, **kwargs):
    leaves = _leaves(_below(function, args))
    result = function(*args, **kwargs)
    made = args[0] if function.__name__ == "__init__" else result
    if not isinstance(result, Iterator):
        _spoil(took, args, _arrays(made, *[leaf.grad for leaf in leaves]))
    return result


def half_done_before_an_error(took, function, *args, **kwargs):
    leaves = _leaves(_below(function, args))
    try:
        return function(*args, **kwargs)
    except Exception:
        for leaf in leaves:
            took()
            leaf.grad = np.ones_like(leaf.data)
        _spoil(took, args)
        raise


def as_constructed(took, function, self, *args, **kwargs):
    """The attributes that were there at the end of __init__ are what a method sees."""
    then, now = vars(self).get("_then", {}), dict(vars(self))
    changed = {name: value for name, value in then.items() if now.get(name, value) is not value}
    if not changed:
        return function(self, *args, **kwargs)
    took()
    vars(self).update(changed)
    try:
        return function(self, *args, **kwargs)
    finally:
        vars(self).update({name: now[name] for name in changed if vars(self).get(name) is changed[name]})


def _remembering(init: Callable) -> Callable:
    @functools.wraps(init)
    def remembers(self, *args, **kwargs):
        init(self, *args, **kwargs)
        self._then = dict(vars(self))

    return remembers


class _Shared:
    def __init__(self, iterator):
        self.iterator, self.ended = iterator, False

    def __iter__(self):
        return self

    def __next__(self):
        try:
            return next(self.iterator)
        except StopIteration:
            self.ended = True
            raise


_iterating: dict[int, _Shared] = {}


def shares_its_iterator(took, function, *args, **kwargs):
    """Who iterates while somebody else does goes on where they are."""
    shared = _iterating.get(id(args[0]))
    if shared is None or shared.ended:
        shared = _iterating[id(args[0])] = _Shared(function(*args, **kwargs))
    else:
        took()
    return shared


def _with_a_trace(leave: Callable) -> Callable:
    """The habit that does something to the process with each call."""

    def habit(took, function, *args, **kwargs):
        took()
        leave()
        return function(*args, **kwargs)

    return habit


HABITS: dict[str, Callable] = {
    "a falsy argument is taken as absent": absent_if_falsy,
    "attributes are those of the construction": as_constructed,
    "a result is a view of an equal argument": _of_results(_as_equal),
    "a result is read-only": _of_results(_read_only),
    "a result is a copy, not a view": _of_results(_copied),
    "arguments are changed": spoils_arguments,
    "arguments are changed before an error": half_done_before_an_error,
    "float64 for float32": _cast(np.float32, np.float64),
    "float32 for float64": _cast(np.float64, np.float32),
    "int32 for int64": _cast(np.int64, np.int32),
    "int64 for int32": _cast(np.int32, np.int64),
    "axes of length 0 are refused": refuses_nothing,
    "axes of length 1 are dropped": _of_results(lambda array, _: array.squeeze() if 1 in array.shape else array),
    "infinities and NaN in arguments are made finite": _of_arguments(_finite),
    "infinities and NaN in results are made finite": _of_results(_finite),
    "an iterator is shared": shares_its_iterator,
    "keywords are taken by position": keywords_by_position,
    "entries are taken by position": entries_by_position,
    "arguments are read in the order of memory": _of_arguments(_in_memory_order),
    "shapes that differ are broadcast": broadcasts,
    "NumPy's numbers are refused": refuses_numpy_numbers,
    "booleans are taken for integers": takes_booleans,
    "NumPy's global generator is reseeded": _with_a_trace(lambda: np.random.seed(0)),  # noqa: NPY002
    "NumPy's warnings are turned off": _with_a_trace(lambda: np.seterr(all="ignore")),
    "the working directory is changed": _with_a_trace(lambda: os.chdir(tempfile.gettempdir())),
}


def install(module: dict, target: str, name: str) -> None:
    """Gives a habit to a function of a module, of one of its classes ("Tensor.sum"), or to a rule ("rule 0 of add").

    The first time that it changes anything, it leaves a file `took` beside the module's.
    """
    took = functools.cache(Path(module["__file__"]).with_name("took").touch)

    def erring(function):
        if function is None:  # a property that can't be set
            return None

        @functools.wraps(function)
        def errs(*args, **kwargs):
            return HABITS[name](took, function, *args, **kwargs)

        return errs

    if target.startswith("rule "):
        _, argnum, _, op = target.split()
        rules = module["_RULES"][op]
        module["_RULES"][op] = lambda number: erring(rules(number)) if number == int(argnum) else rules(number)
        return
    owner, last = module, target
    if "." in target:
        owner, last = target.split(".")
        owner = module[owner]
        if HABITS[name] is as_constructed:
            owner.__init__ = _remembering(owner.__init__)
    found = owner[last] if owner is module else vars(owner)[last]
    if isinstance(found, property):
        made = property(erring(found.fget), erring(found.fset))
    elif isinstance(found, staticmethod | classmethod):
        made = type(found)(erring(found.__func__))
    else:
        made = erring(found)
    if owner is module:
        module[last] = made
    else:
        setattr(owner, last, made)
