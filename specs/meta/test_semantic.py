import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from specs.meta.habits import HABITS
from specs.meta.semantic import REWRITES, mutants

MADE_UP = '''
import numpy as np

_RULES = {}


def defvjp(op, *rules):  # given
    _RULES[op] = rules.__getitem__


class Tensor:
    """Raises."""

    def __init__(self, data, requires_grad=False):
        self.data, self.grad = np.asarray(data), None
        self.requires_grad = requires_grad

    @property
    def shape(self) -> tuple:
        return self.data.shape

    def plus(self, other) -> "Tensor":
        """Raises: ValueError."""
        other = other.data if isinstance(other, Tensor) else other
        if np.shape(other) not in ((), self.shape):
            raise ValueError("another shape")
        return Tensor(self.data + other)

    def total(self, dim: int | None = None, keepdim: bool = False) -> "Tensor":
        return Tensor(self.data.sum(dim, keepdims=keepdim))

    def turned(self) -> "Tensor":
        return Tensor(self.data.T)

    def __iter__(self):
        return iter(self.data.tolist())

    def _private(self):
        return None


class Holder:
    def __init__(self, size):
        self.size, self.entries = size, {"a": 1, "b": 2}
        self.log = []

    def twice(self, count: int) -> int:
        if isinstance(count, bool):
            raise TypeError("a boolean")
        return 2 * count * self.size

    def state_dict(self):
        return dict(self.entries)

    def load_state_dict(self, state: dict):
        self.entries = {name: state[name] for name in self.entries}

    def add(self, entry: str | None = None):
        if entry is None:
            entry = "nothing"
        try:
            self.log.append("open")
            self.log.append(entry.upper())
        finally:
            self.log.append("closed")

    def push(self, entry: int) -> int:
        if entry < 0:
            raise ValueError("negative")
        self.log.append(entry)
        return entry


defvjp("scale", lambda g, y, a, b, low, high: g * low + high, lambda g, y, a, b, low, high: g)


def given_as_it_is(x):  # given
    return x
'''


def made(text: str, folder: Path) -> dict:
    """The names of a module's text, as the file `folder`/made_up.py would define them."""
    module = {"__file__": str(folder / "made_up.py"), "__name__": "made_up"}
    exec(text, module)
    return module


def values(function: Callable):
    """What comes of a call, as text: its result or its error."""
    try:
        return repr(function())
    except (Exception, KeyboardInterrupt) as error:
        return type(error).__name__


def changed(function: Callable, argument) -> tuple:
    """An argument, after a call that may fail."""
    values(lambda: function(argument))
    return argument


def iterated(module: dict) -> list:
    x = module["Tensor"]([1, 2])
    return [(a, b) for a in x for b in x]


def resized(module: dict) -> int:
    holder = module["Holder"](1)
    holder.size = 5
    return holder.twice(1)


def loaded(module: dict) -> dict:
    holder = module["Holder"](1)
    holder.load_state_dict({"b": 20, "a": 10})
    return holder.entries


def interrupted(module: dict) -> list:
    class Entry:
        def upper(self):
            raise KeyboardInterrupt

    holder = module["Holder"](1)
    return changed(lambda _: holder.add(Entry()), holder.log)


def added(module: dict) -> list:
    holder = module["Holder"](1)
    holder.add("")
    return holder.log


def refused(module: dict) -> list:
    holder = module["Holder"](1)
    return changed(lambda _: holder.push(-1), holder.log)


def random_state(_=None) -> int:
    return int(np.random.get_state()[1][0])  # noqa: NPY002


def after(call: Callable, state: Callable) -> Callable:
    """What a state is after a call of Tensor.turned."""
    return lambda module: [call(module), state()][1]


def turned(module: dict, array=((1.0, 2.0),)):
    return module["Tensor"](np.array(array)).turned()


def total(module: dict, *args, **kwargs):
    return module["Tensor"](np.array([[1.0, 2.0], [3.0, 4.0]])).total(*args, **kwargs).data


def typed(dtype) -> Callable:
    return lambda module: turned(module, np.ones((2, 2), dtype)).data.dtype


A = np.array([[1.0, 2.0], [3.0, 4.0]])
A.flags.writeable = False
# By the name of a mutant: a call that shows its habit, and what it gives with that habit
CASES = {
    "Tensor.total: a falsy argument is taken as absent": (lambda m: total(m, 0), "array(10.)"),
    "Tensor.total: keywords are taken by position": (lambda m: total(m, keepdim=True), "TypeError"),
    "Holder.twice: attributes are those of the construction": (resized, "2"),
    "Tensor.plus: a result is a view of an equal argument": (
        lambda m: np.shares_memory(m["Tensor"](A).plus(0.0).data, A),
        "True",
    ),
    "Tensor.turned: a result is read-only": (lambda m: turned(m).data.flags.writeable, "False"),
    "Tensor.turned: a result is a copy, not a view": (lambda m: np.shares_memory(m["Tensor"](A).turned().data, A), "False"),
    "Tensor.plus: arguments are changed": (
        lambda m: changed(m["Tensor"](A.copy()).plus, np.ones((2, 2))).tolist(),
        repr((-np.ones((2, 2))).tolist()),
    ),
    "Tensor.plus: arguments are changed before an error": (
        lambda m: changed(m["Tensor"](A.copy()).plus, np.ones(3)).tolist(),
        repr([-1.0] * 3),
    ),
    "Tensor.turned: float64 for float32": (typed("float32"), "dtype('float64')"),
    "Tensor.turned: float32 for float64": (typed("float64"), "dtype('float32')"),
    "Tensor.turned: int32 for int64": (typed("int64"), "dtype('int32')"),
    "Tensor.turned: int64 for int32": (typed("int32"), "dtype('int64')"),
    "Tensor.turned: axes of length 0 are refused": (lambda m: turned(m, np.ones((0, 3))).shape, "ValueError"),
    "Tensor.turned: axes of length 1 are dropped": (lambda m: turned(m).data.shape, "(2,)"),
    "Tensor.plus: infinities and NaN in arguments are made finite": (
        lambda m: m["Tensor"]([1.0]).plus(np.array([np.nan])).data,
        "array([1.])",
    ),
    "Tensor.plus: infinities and NaN in results are made finite": (
        lambda m: m["Tensor"]([1.0]).plus(np.nan).data,
        "array([0.])",
    ),
    "Tensor.__iter__: an iterator is shared": (iterated, "[(1, 2)]"),
    "Holder.load_state_dict: entries are taken by position": (loaded, "{'a': 20, 'b': 10}"),
    "Tensor.total: arguments are read in the order of memory": (lambda m: m["Tensor"](A.T).total(0).data, "array([4., 6.])"),
    "Tensor.plus: shapes that differ are broadcast": (lambda m: m["Tensor"](A).plus(np.ones(2)).data, repr(A + 1)),
    "Holder.twice: NumPy's numbers are refused": (lambda m: m["Holder"](1).twice(np.int64(2)), "TypeError"),
    "Holder.twice: booleans are taken for integers": (lambda m: m["Holder"](1).twice(True), "2"),
    "Tensor.turned: NumPy's global generator is reseeded": (after(turned, random_state), "0"),
    "Tensor.turned: NumPy's warnings are turned off": (after(turned, lambda: np.geterr()["divide"]), "'ignore'"),
    "Tensor.turned: the working directory is changed": (after(turned, os.getcwd), None),
    "rule 0 of scale: keywords are taken by position": (
        lambda m: m["_RULES"]["scale"](0)(2.0, 1.0, 1.0, 1.0, high=3.0, low=2.0),
        "8.0",
    ),
    "Holder.add: None is whatever is falsy": (added, "['open', 'NOTHING', 'closed']"),
    "Holder.add: what `finally` undoes is undone for an Exception only": (interrupted, "['open']"),
    "Holder.push: a check comes after the effect": (refused, "[-1]"),
    "Holder.__init__: state is on the class": (lambda m: [vars(m["Holder"](1)), "log" in vars(m["Holder"])][1], "True"),
}


@pytest.fixture(autouse=True)
def same_world(monkeypatch):
    """What a habit may change for all specs that follow, as it was."""
    state, folder = np.random.get_state(), os.getcwd()  # noqa: NPY002
    with np.errstate():
        yield
    np.random.set_state(state)  # noqa: NPY002
    os.chdir(folder)


@pytest.mark.parametrize("name", CASES)
def test_a_habit_errs_as_it_promises(name, tmp_path):
    """The call gives one thing with the made-up module and another with the mutant, which says that it took effect."""
    show, wrong = CASES[name]
    text = dict(mutants(MADE_UP))[name]
    right = values(lambda: show(made(MADE_UP, tmp_path)))
    got = values(lambda: show(made(text, tmp_path)))
    assert got != right
    assert wrong is None or got == wrong
    if "habits.install" in text:
        assert (tmp_path / "took").exists()


def test_every_habit_has_a_case():
    """No operator goes unchecked."""
    assert {name.split(": ")[1] for name in CASES} == {*HABITS, *REWRITES}


@pytest.mark.parametrize("name", ["Tensor.turned: float64 for float32", "Tensor.turned: axes of length 1 are dropped"])
def test_a_habit_that_changes_nothing_says_so(name, tmp_path):
    """A square of float64 is neither float32 nor of length 1: the mutant gives what the module gives, and leaves no file."""
    module = made(dict(mutants(MADE_UP))[name], tmp_path)
    assert repr(turned(module, A).data) == repr(A.T)
    assert not (tmp_path / "took").exists()


def test_large_arrays_are_left_alone(tmp_path):
    """A byte budget must not catch what a habit costs."""
    module = made(dict(mutants(MADE_UP))["Tensor.turned: float64 for float32"], tmp_path)
    assert turned(module, np.ones((100, 100), np.float32)).data.dtype == np.float32


def test_no_habit_is_applied_where_it_can_not_apply():
    """Not to private functions or given ones, no dtype to what returns no array, no keyword order to what has one keyword."""
    names = list(dict(mutants(MADE_UP)))
    of = {name: {one.split(": ")[0] for one in names if one.endswith(f": {name}")} for name in [*HABITS, *REWRITES]}
    assert not any(name.startswith(("Tensor._private", "given_as_it_is", "defvjp")) for name in names)
    assert of["float64 for float32"] == {
        "Tensor.__init__",
        "Tensor.plus",
        "Tensor.total",
        "Tensor.turned",
        "rule 0 of scale",
        "rule 1 of scale",
    }
    assert of["keywords are taken by position"] == {"Tensor.total", "rule 0 of scale", "rule 1 of scale"}
    assert of["an iterator is shared"] == {"Tensor.__iter__"}
    assert of["entries are taken by position"] == {"Holder.load_state_dict"}
    assert of["what `finally` undoes is undone for an Exception only"] == {"Holder.add"}
    assert of["a check comes after the effect"] == {"Holder.push"}
    assert of["shapes that differ are broadcast"] == {"Tensor.plus"}
    assert of["booleans are taken for integers"] == {"Holder.twice"}
