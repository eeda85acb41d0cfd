"""Modules that find, save and load their parameters, and the first layers built on them."""

import math
from collections.abc import Iterator

import numpy as np
from katas.activations import Differentiable
from katas.tensor import Tensor

# 04.1 Parameter


class Parameter(Tensor):
    """A learnable Tensor: it owns a copy of its data and requires a gradient."""

    def __init__(self, data):
        """data: anything that Tensor(data) takes, with the same dtype rules."""
        super().__init__(np.array(Tensor(data).data), requires_grad=True)


def accumulate(parameter: Parameter, grad: np.ndarray) -> None:
    """Adds grad to parameter.grad, which has the data's shape and dtype and is None before the first call.

    The first grad is copied; later ones are added in place. Raises: ValueError if grad has a different shape.
    """
    if grad.shape != parameter.shape:
        raise ValueError(f"a gradient of shape {grad.shape} for a parameter of shape {parameter.shape}")
    if parameter.grad is None:
        parameter.grad = np.array(grad, dtype=parameter.dtype)
    else:
        parameter.grad += grad


# 04.2 Module

_HIDING = (dict, set, frozenset)  # given: no search for Parameters looks into these
_CONTAINERS = (list, tuple, *_HIDING)  # given


def _refuse_hidden(name: str, value, hidden: bool = False, seen: set[int] | None = None) -> None:  # given
    """Raises TypeError if a dict or set holds a Parameter or Module: value, or one nested in its lists, tuples and dicts.

    name: the attribute's name. hidden: whether value is itself in a dict or set.
    """
    if hidden and isinstance(value, Parameter | Module):
        kind = type(value).__name__
        raise TypeError(f"{name} holds a {kind} in a dict or set, where it is not found: use a list or attributes")
    seen = set() if seen is None else seen
    if isinstance(value, _CONTAINERS) and id(value) not in seen:
        seen.add(id(value))
        for member in value.values() if isinstance(value, dict) else value:
            _refuse_hidden(name, member, hidden or isinstance(value, _HIDING), seen)


class Module(Differentiable):
    """Finds the Parameters and Modules among its attributes, in their lists and tuples, and in the Modules found there.

    Each object is found once, under its first name ("0.weight", "blocks.1.bias"), in the order of definition. Subclasses write
    `forward` and `backward`; they don't have to call super().__init__(). Dicts and sets are not searched. A Parameter or Module
    there raises a TypeError that contains the attribute's name: on assignment, or at the next search if it was added later.
    """

    training = True  # given: what train() and eval() change
    _buffers: tuple[str, ...] = ()

    def __setattr__(self, name: str, value) -> None:  # given: an attribute in which a Parameter would be lost is refused
        if isinstance(value, _CONTAINERS) and name != "_kept":  # which nobody searches
            _refuse_hidden(name, value)
        super().__setattr__(name, value)

    def named_parameters(self) -> list[tuple[str, Parameter]]:
        """All Parameters with their names: the attributes and list indices on the path to each, joined by dots."""
        return _found(self, Parameter)

    def parameters(self) -> list[Parameter]:
        """All Parameters."""
        return [parameter for _, parameter in self.named_parameters()]

    def modules(self) -> list["Module"]:
        """This module and all below it."""
        return [module for _, module in _found(self, Module)]

    def register_buffer(self, name: str, array) -> None:
        """Stores a copy of array as the attribute `name`: a NumPy array that is saved with the module but not trained.

        Raises: ValueError if the module already has an attribute of that name.
        """
        if hasattr(self, name):
            raise ValueError(f"{type(self).__name__} has an attribute {name!r} already")
        setattr(self, name, np.array(Tensor(array).data))
        if name not in self._buffers:  # it is, if it was deleted and is registered again
            self._buffers = (*self._buffers, name)

    def named_buffers(self) -> list[tuple[str, np.ndarray]]:
        """The current values of the buffers of this module and all below it, with their names.

        A buffer whose attribute was deleted, or is no longer an array (None, for example), is left out.
        """
        found = []
        for name, module in _found(self, Module):
            for key in module._buffers:
                if isinstance(value := vars(module).get(key), np.generic):  # NumPy makes numbers of `0-d array + 1`
                    value = vars(module)[key] = np.asarray(value)
                if isinstance(value, np.ndarray):
                    found.append((_join(name, key), value))
        return found

    def train(self, mode: bool = True) -> "Module":
        """Sets `training` of this module and all modules below it. Returns the module itself."""
        for module in self.modules():
            module.training = mode
        return self

    def eval(self) -> "Module":
        """Same as train(False)."""
        return self.train(False)

    def zero_grad(self) -> None:
        """Sets the grad of every Parameter to None."""
        for parameter in self.parameters():
            parameter.grad = None

    def _members(self) -> Iterator[tuple[str, object]]:
        return ((name, value) for name, value in vars(self).items() if name != "_kept")  # that may hold others' parameters

    # 04.6 Saving and loading

    def _state(self) -> dict[str, np.ndarray]:
        return {name: parameter.data for name, parameter in self.named_parameters()} | dict(self.named_buffers())

    def state_dict(self) -> dict[str, np.ndarray]:
        """Copies of all parameters' data and all buffers, by name."""
        return {name: array.copy() for name, array in self._state().items()}

    def load_state_dict(self, state: dict) -> None:
        """Copies arrays or Tensors, by name, into the parameters' data and the buffers, in place: dtypes don't change.

        The state may hold the module's own arrays under each other's names. Floats may lose digits but not become infinite;
        integers and booleans must keep their values.
        Raises: ValueError that lists every missing name, unexpected name and wrong shape, and every dtype whose values don't
        fit. In that case nothing is changed.
        """
        own, given = self._state(), {name: Tensor(value).data for name, value in state.items()}
        problems = [f"{name} is missing" for name in own if name not in given]
        problems += [f"{name} is unexpected" for name in given if name not in own]
        problems += [
            f"{name} has shape {given[name].shape}, not {array.shape}"
            for name, array in own.items()
            if name in given and given[name].shape != array.shape
        ]
        problems += [
            f"{name} has values of {given[name].dtype} that {array.dtype} does not hold"
            for name, array in own.items()
            if name in given and not _holds(array.dtype, given[name])
        ]
        if problems:
            raise ValueError(f"the state does not fit {type(self).__name__}: {'; '.join(problems)}")
        for name, values in given.items():
            if any(np.may_share_memory(values, array) for array in own.values()):
                given[name] = values.copy()  # else what is loaded first might change what is loaded next
        for name, array in own.items():
            array[...] = given[name]


def _holds(dtype: np.dtype, values: np.ndarray) -> bool:
    """Whether the values can be loaded into an array of this dtype."""
    if dtype.kind in "iu" and values.dtype.kind in "iu":
        return not values.size or (np.iinfo(dtype).min <= values.min() and values.max() <= np.iinfo(dtype).max)
    if dtype.kind == "f" and not np.can_cast(values.dtype, dtype):
        with np.errstate(over="ignore"):
            return np.array_equal(np.isinf(values.astype(dtype)), np.isinf(values))  # no finite value becomes infinite
    return np.can_cast(values.dtype, dtype, "same_kind")


def _found(root: Module, kind: type) -> list[tuple[str, object]]:
    return [(name, value) for name, value in _walk("", root, set()) if isinstance(value, kind)]


def _walk(name: str, value, seen: set[int]) -> Iterator[tuple[str, object]]:
    """value and everything below it, depth first, each object once, with its name."""
    if isinstance(value, _HIDING):
        _refuse_hidden(name, value)
    if not isinstance(value, Parameter | Module | list | tuple) or id(value) in seen:
        return
    seen.add(id(value))
    yield name, value
    if not isinstance(value, Parameter):
        for key, member in value._members() if isinstance(value, Module) else enumerate(value):
            yield from _walk(_join(name, key), member, seen)


def _join(name: str, key: str | int) -> str:
    return f"{name}.{key}" if name else str(key)


# 04.3 Initialisation: float32 arrays for weights of shape (out, in, ...), where further axes are those of a kernel


def _fans(shape: tuple[int, ...]) -> tuple[int, int]:
    """(fan_in, fan_out): the number of inputs that each output sums, and the number of outputs that each input reaches."""
    if len(shape) < 2 or min(shape) < 1:
        raise ValueError(f"a weight needs a shape (out, in, ...) of positive lengths, not {shape}")
    receptive_field = math.prod(shape[2:])
    return shape[1] * receptive_field, shape[0] * receptive_field


def _uniform(bound: float, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    return bound * (2 * rng.random(shape, np.float32) - 1)


def kaiming_uniform(shape: tuple[int, ...], rng: np.random.Generator, a: float = 0.0) -> np.ndarray:
    """Uniform in ±bound, where bound / √3 is the standard deviation of kaiming_normal.

    Raises, as all four functions do: ValueError unless shape has at least two axes, all of positive length.
    """
    fan_in, _ = _fans(shape)
    return _uniform(math.sqrt(6 / ((1 + a * a) * fan_in)), shape, rng)


def kaiming_normal(shape: tuple[int, ...], rng: np.random.Generator, a: float = 0.0) -> np.ndarray:
    """Normal with mean 0 and variance 2 / ((1 + a²) · fan_in); a is the slope of the LeakyReLU that follows.

    He, Zhang, Ren & Sun 2015, section 2.2, equations 10 and 15.
    """
    fan_in, _ = _fans(shape)
    return math.sqrt(2 / ((1 + a * a) * fan_in)) * rng.standard_normal(shape, np.float32)


def xavier_uniform(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Uniform in ±√(6 / (fan_in + fan_out)): Glorot & Bengio 2010, equation 16."""
    return _uniform(math.sqrt(6 / sum(_fans(shape))), shape, rng)


def xavier_normal(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Normal with mean 0 and variance 2 / (fan_in + fan_out): Glorot & Bengio 2010, equation 12."""
    return math.sqrt(2 / sum(_fans(shape))) * rng.standard_normal(shape, np.float32)


# 04.4 Linear


def _check(grad: np.ndarray, shape: tuple[int, ...]) -> None:
    if grad.shape != shape:
        raise ValueError(f"grad has shape {grad.shape}, but the output of forward had {shape}")


def _sum_of_rows(rows: np.ndarray) -> np.ndarray:
    """(n, columns) → (columns,) in float64. NumPy would add row by row, and in float32 lose 0.35% of 500,000 rows.

    Here a product with ones sums 500 rows at a time, which is also faster, and the sums of the blocks are added in float64.
    """
    ones, cut = np.ones(500, np.float32), len(rows) // 500 * 500
    blocks = ones @ rows[:cut].reshape(-1, 500, rows.shape[1])  # (blocks, columns)
    return blocks.sum(0, dtype=np.float64) + ones[: len(rows) - cut] @ rows[cut:]


class Linear(Module):
    """y = x Wᵀ + b over the last axis: weight W (out_features, in_features), bias b (out_features,) or None."""

    def __init__(self, in_features: int, out_features: int, bias: bool = True, rng: np.random.Generator | None = None):
        """Draws the weight with kaiming_uniform, a = √5: uniform in ±1/√in_features. The bias has the same range.

        torch.nn.Linear does the same. rng=None means a fresh generator. Raises: ValueError unless both sizes are positive.
        """
        rng = np.random.default_rng(rng)
        self.in_features, self.out_features = in_features, out_features
        self.weight = Parameter(kaiming_uniform((out_features, in_features), rng, math.sqrt(5)))
        self.bias = Parameter(_uniform(1 / math.sqrt(in_features), (out_features,), rng)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        """x (..., in_features) → (..., out_features). Raises: ValueError if the last axis is not in_features."""
        if x.shape[-1:] != (self.in_features,):
            raise ValueError(f"Linear({self.in_features}, {self.out_features}) got input of shape {x.shape}")
        rows = x.reshape(-1, self.in_features)  # (batch·…, in_features): one large product, not many small ones
        self.keep(rows.data, x.shape, x.requires_grad)
        y = rows @ self.weight.T
        if self.bias is not None:
            y = y + self.bias
        return y.reshape(*x.shape[:-1], self.out_features)

    def backward(self, grad: np.ndarray) -> np.ndarray | None:
        """Accumulates ∂W = gradᵀ x and ∂b = Σ grad over the leading axes; returns ∂x = grad W.

        If x did not require a gradient, returns None and skips that matrix product. Raises, as every backward here:
        RuntimeError if it is called before forward; ValueError if grad doesn't have the output's shape.
        """
        rows, shape, wanted = self.kept()
        _check(grad, (*shape[:-1], self.out_features))
        grads = grad.reshape(-1, self.out_features)  # (batch·…, out_features)
        accumulate(self.weight, grads.T @ rows)
        if self.bias is not None:
            accumulate(self.bias, _sum_of_rows(grads))
        return (grads @ self.weight.data).reshape(shape) if wanted else None


# 04.5 Sequential, Flatten and Dropout


class Sequential(Module):
    """Runs layers one after another. A layer is anything with forward and backward; `layers` is the list of the layers.

    Their names are "0", "1", and so on: "0.weight".
    """

    def __init__(self, *layers):
        """Raises: TypeError if an argument has no forward, or is a class and not an instance; the message contains its repr."""
        for layer in layers:
            if isinstance(layer, type) or not hasattr(layer, "forward"):
                raise TypeError(f"Sequential takes layers, which have a forward and a backward, not {layer!r}")
        self.layers = list(layers)

    def _members(self) -> Iterator[tuple[str, object]]:
        for name, value in super()._members():
            if name == "layers":
                yield from ((str(index), layer) for index, layer in enumerate(value))
            else:  # a subclass's own
                yield name, value

    def __len__(self) -> int:
        """The number of layers."""
        return len(self.layers)

    def __getitem__(self, index: int):
        """The layer at an index. It makes `for layer in sequential` work too."""
        return self.layers[index]

    def forward(self, x: Tensor) -> Tensor:
        """Runs x through the layers, from first to last."""
        for layer in self.layers:
            x = layer.forward(x)
        return x

    def backward(self, grad: np.ndarray) -> np.ndarray | None:
        """Runs grad through the layers' backward, from last to first. If a layer returns None, returns None at once."""
        for layer in reversed(self.layers):
            grad = layer.backward(grad)
            if grad is None:
                break
        return grad


class Flatten(Module):
    """Merges all axes from start_dim on into one: (batch, 3, 8, 8) becomes (batch, 192). A view, not a copy."""

    def __init__(self, start_dim: int = 1):
        self.start_dim = start_dim

    def forward(self, x: Tensor) -> Tensor:
        """x → shape (*x.shape[:start_dim], the product of the rest). Raises: ValueError if x has no axis start_dim."""
        if not -x.ndim <= self.start_dim < x.ndim:
            raise ValueError(f"Flatten(start_dim={self.start_dim}) got input of shape {x.shape}")
        y = x.reshape(*x.shape[: self.start_dim], math.prod(x.shape[self.start_dim :]))
        self.keep(x.shape, y.shape)
        return y

    def backward(self, grad: np.ndarray) -> np.ndarray:
        """Returns grad in the shape of x."""
        before, after = self.kept()
        _check(grad, after)
        return grad.reshape(before)


class Dropout(Module):
    """In training, sets each value to 0 with probability p and divides the others by 1 - p. In evaluation, changes nothing.

    So a value has the same expectation in both modes (Srivastava et al. 2014, section 10: inverted dropout).
    """

    def __init__(self, p: float = 0.5, rng: np.random.Generator | None = None):
        """`rng` becomes an attribute; None means a fresh generator. Raises: ValueError unless 0 <= p < 1."""
        if not 0 <= p < 1:
            raise ValueError(f"p must be in [0, 1), not {p!r}")
        self.p, self.rng = p, np.random.default_rng(rng)

    def forward(self, x: Tensor) -> Tensor:
        """x (any shape, a float dtype) → same shape and dtype: x * mask, with a new mask each time; in evaluation, x itself."""
        if not self.training:
            self.keep(1.0, x.shape)
            return x
        mask = (self.rng.random(x.shape, np.float32) >= self.p) * x.dtype.type(1 / (1 - self.p))
        self.keep(mask, x.shape)
        return x * mask

    def backward(self, grad: np.ndarray) -> np.ndarray:
        """Returns grad * mask, with the last forward's mask; grad if that forward ran in evaluation."""
        mask, shape = self.kept()
        _check(grad, shape)
        return grad * mask
