"""Kata 04 with one generator that walks everything, lists of names for buffers, and masks made otherwise."""

import math

import numpy as np
from katas.activations import Differentiable
from katas.tensor import Tensor

# 04.1 Parameter


class Parameter(Tensor):
    """A Tensor that is learnt: it owns a copy of its data and requires a gradient."""

    def __init__(self, data):
        """data as a Tensor takes it, with the same rules for the dtype."""
        super().__init__(data, requires_grad=True)
        self.data = self.data.copy()


def accumulate(parameter: Parameter, grad: np.ndarray) -> None:
    """Adds grad to parameter.grad, which has the data's shape and dtype, and is None before the first.

    The first grad is copied, the next ones are added in place. Raises: ValueError if grad has another shape.
    """
    if grad.shape != parameter.shape:
        raise ValueError(f"grad {grad.shape} for a parameter {parameter.shape}")
    if parameter.grad is None:
        parameter.grad = grad.astype(parameter.dtype)
    else:
        parameter.grad += grad


# 04.2 Module


HIDING = (dict, set, frozenset)


def lost(value, inside=False, seen=()):
    """The first Parameter or Module in a dict or set at or below value, or None."""
    if isinstance(value, (Parameter, Module)):
        return value if inside else None
    if not isinstance(value, (list, tuple, *HIDING)) or any(value is other for other in seen):
        return None
    for member in value.values() if isinstance(value, dict) else value:
        if (found := lost(member, inside or isinstance(value, HIDING), (*seen, value))) is not None:
            return found
    return None


class Module(Differentiable):
    """Finds the Parameters and Modules among its attributes, in lists and tuples there, and so on below.

    Everything is found once, by the first of its names ("0.weight", "blocks.1.bias"), in the order of definition. Subclasses
    write `forward` and `backward`; they need not call super().__init__().
    """

    training = True  # given: what train() and eval() change

    def __setattr__(self, name, value):
        if name != "_kept":
            self._check(name, value)
        object.__setattr__(self, name, value)

    def _check(self, name, value):
        if (found := lost(value)) is not None:
            raise TypeError(f"a {type(found).__name__} in {name} is not found there; put it into a list")

    def _items(self):
        return [(name, below) for name, below in vars(self).items() if name != "_kept"]

    def _walk(self, path, value, seen):
        if id(value) in seen:
            return
        seen.add(id(value))
        yield path, value
        if isinstance(value, Module):
            items = value._items()
        elif isinstance(value, (list, tuple)):
            items = enumerate(value)
        else:
            return
        for name, below in items:
            where = f"{path}.{name}" if path else str(name)
            self._check(where, below)
            yield from self._walk(where, below, seen)

    def named_parameters(self) -> list[tuple[str, Parameter]]:
        """All Parameters with their names: the attributes and list indices that lead there, joined by dots."""
        return [(path, value) for path, value in self._walk("", self, set()) if isinstance(value, Parameter)]

    def parameters(self) -> list[Parameter]:
        """All Parameters."""
        return [parameter for _, parameter in self.named_parameters()]

    def modules(self) -> list["Module"]:
        """This module and all below it."""
        return [value for _, value in self._walk("", self, set()) if isinstance(value, Module)]

    def register_buffer(self, name: str, array) -> None:
        """Makes a copy of array the attribute `name`: a NumPy array that is state, though not learnt.

        Raises: ValueError if there is an attribute of that name.
        """
        if hasattr(self, name):
            raise ValueError(f"there is an attribute {name}")
        if "_buffers" not in vars(self):
            self._buffers = []
        setattr(self, name, Parameter(array).data)
        if name in self._buffers:
            self._buffers.remove(name)
        self._buffers.append(name)

    def named_buffers(self) -> list[tuple[str, np.ndarray]]:
        """The present values of all buffers, here and below, with their names."""
        found = []
        for path, module in self._walk("", self, set()):
            if isinstance(module, Module):
                for name in getattr(module, "_buffers", []):
                    value = getattr(module, name, None)
                    if isinstance(value, np.number | np.bool_):
                        value = np.array(value)
                        setattr(module, name, value)
                    if type(value) is np.ndarray:
                        found.append((f"{path}.{name}" if path else name, value))
        return found

    def train(self, mode: bool = True) -> "Module":
        """Sets `training` here and in all modules below. Returns the module itself."""
        for module in self.modules():
            module.training = mode
        return self

    def eval(self) -> "Module":
        """train(False)."""
        return self.train(False)

    def zero_grad(self) -> None:
        """Sets the grad of every Parameter to None."""
        for parameter in self.parameters():
            parameter.grad = None

    # 04.6 Saving and loading

    def state_dict(self) -> dict[str, np.ndarray]:
        """Copies of all parameters' data and all buffers, by name."""
        state = {name: parameter.data for name, parameter in self.named_parameters()}
        state.update(self.named_buffers())
        return {name: value.copy() for name, value in state.items()}

    def load_state_dict(self, state: dict) -> None:
        """Copies arrays, or Tensors, by name into the parameters' data and the buffers, in place: dtypes stay.

        Raises: ValueError that lists every missing and unexpected name and every other shape. Then nothing is changed.
        """
        own = {name: parameter.data for name, parameter in self.named_parameters()}
        own.update(self.named_buffers())
        state = {name: value.data if isinstance(value, Tensor) else np.asarray(value) for name, value in state.items()}
        wrong = [f"missing: {name}" for name in own if name not in state]
        wrong += [f"unexpected: {name}" for name in state if name not in own]
        wrong += [
            f"{name}: {state[name].shape}, not {array.shape}"
            for name, array in own.items()
            if name in state and state[name].shape != array.shape
        ]
        for name, array in own.items():
            if name not in state:
                continue
            given = state[name]
            integers = given.dtype.kind in "iu" and array.dtype.kind in "iu"
            with np.errstate(all="ignore"):
                same = np.array_equal(given.astype(array.dtype).astype(given.dtype), given)
            signs = not integers or ((given.astype(array.dtype) < 0) == (given < 0)).all()
            fits = same and signs if integers else np.can_cast(given.dtype, array.dtype, "same_kind")
            if array.dtype.kind == "f" and (abs(given[abs(given) < np.inf]) > float(np.finfo(array.dtype).max)).any():
                fits = False
            if not fits:
                wrong.append(f"{name}: {given.dtype} values for {array.dtype}")
        if wrong:
            raise ValueError("\n".join(wrong))
        state = {name: array.copy() for name, array in state.items()}
        for name, array in own.items():
            array[...] = state[name]


# 04.3 Initialisation: float32 arrays for weights of shape (out, in, ...), where further axes are those of a kernel


def _fans(shape):
    if len(shape) < 2 or min(shape) <= 0:
        raise ValueError(f"no fans in {shape}")
    kernel = math.prod(shape[2:])
    return shape[1] * kernel, shape[0] * kernel


def kaiming_uniform(shape: tuple[int, ...], rng: np.random.Generator, a: float = 0.0) -> np.ndarray:
    """Uniform with the standard deviation of kaiming_normal, which is that of ±bound over √3.

    Raises, as all four: ValueError unless shape has two axes or more, of positive length.
    """
    fan_in, _ = _fans(shape)
    bound = math.sqrt(6 / ((1 + a**2) * fan_in))
    return rng.uniform(-bound, bound, shape).astype(np.float32)


def kaiming_normal(shape: tuple[int, ...], rng: np.random.Generator, a: float = 0.0) -> np.ndarray:
    """Normal with mean 0 and variance 2 / ((1 + a²) · fan_in); a is the slope of the LeakyReLU that follows.

    He, Zhang, Ren & Sun 2015, section 2.2, equations 10 and 15.
    """
    fan_in, _ = _fans(shape)
    return rng.standard_normal(shape, np.float32) * math.sqrt(2 / ((1 + a**2) * fan_in))


def xavier_uniform(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Uniform in ±√(6 / (fan_in + fan_out)): Glorot & Bengio 2010, equation 16."""
    bound = math.sqrt(6 / sum(_fans(shape)))
    return rng.uniform(-bound, bound, shape).astype(np.float32)


def xavier_normal(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Normal with mean 0 and variance 2 / (fan_in + fan_out): Glorot & Bengio 2010, equation 12."""
    deviation = math.sqrt(2 / sum(_fans(shape)))
    return rng.standard_normal(shape, np.float32) * np.float32(deviation)


# 04.4 Linear


class Linear(Module):
    """y = x Wᵀ + b over the last axis: weight W (out_features, in_features), bias b (out_features,) or None."""

    def __init__(self, in_features: int, out_features: int, bias: bool = True, rng: np.random.Generator | None = None):
        """Draws the weight by kaiming_uniform with a = √5, which is uniform in ±1/√in_features, and so the bias.

        That is what torch.nn.Linear does. rng None means a fresh generator. Raises: ValueError unless both sizes are positive.
        """
        rng = rng or np.random.default_rng()
        self.in_features, self.out_features = in_features, out_features
        self.weight = Parameter(kaiming_uniform((out_features, in_features), rng, math.sqrt(5)))
        bound = 1 / math.sqrt(in_features)
        self.bias = Parameter(rng.uniform(-bound, bound, out_features).astype(np.float32)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        """x (..., in_features) → (..., out_features). Raises: ValueError if the last axis is not in_features."""
        if x.shape[-1:] != (self.in_features,):
            raise ValueError(f"Linear({self.in_features}, {self.out_features}) does not take {x.shape}")
        y = x @ self.weight.T
        if self.bias is not None:
            y = y + self.bias
        self.keep(x, y)
        return y

    def backward(self, grad: np.ndarray) -> np.ndarray | None:
        """Accumulates ∂W = gradᵀ x and ∂b = Σ grad over the leading axes; returns ∂x = grad W.

        None, and a product of matrices less, if x did not require a gradient. Raises, as every backward here: RuntimeError
        if no forward came before; ValueError if grad has not the output's shape.
        """
        x, y = self.kept()
        if grad.shape != y.shape:
            raise ValueError(f"grad {grad.shape} for an output {y.shape}")
        rows = grad.reshape(-1, self.out_features)
        accumulate(self.weight, rows.T @ x.data.reshape(-1, self.in_features))
        if self.bias is not None:
            accumulate(self.bias, rows.sum(0, dtype=np.float64))
        return grad @ self.weight.data if x.requires_grad else None


# 04.5 Sequential, Flatten and Dropout


class Sequential(Module):
    """Layers one after another. A layer is anything with forward and backward; `layers` is the list of them.

    Their names are "0", "1", and so on: "0.weight".
    """

    def __init__(self, *layers):
        """Raises: TypeError that names what has no forward, or is a class rather than a layer."""
        for layer in layers:
            if isinstance(layer, type) or not hasattr(layer, "forward"):
                raise TypeError(f"{layer!r} is not a layer")
        self.layers = list(layers)

    def _items(self):
        items = []
        for name, value in super()._items():
            items += enumerate(value) if name == "layers" else [(name, value)]
        return items

    def __len__(self) -> int:
        """The number of layers."""
        return len(self.layers)

    def __getitem__(self, index: int):
        """The layer at an index. So for layer in sequential works too."""
        return self.layers[index]

    def forward(self, x: Tensor) -> Tensor:
        """The last layer of the one before it of … of x."""
        for layer in self.layers:
            x = layer.forward(x)
        return x

    def backward(self, grad: np.ndarray) -> np.ndarray | None:
        """The layers' backward, from the last to the first; None, at once, where one of them returns None."""
        for layer in reversed(self.layers):
            grad = layer.backward(grad)
            if grad is None:
                return None
        return grad


class Flatten(Module):
    """Makes one axis of all from start_dim on: (batch, 3, 8, 8) becomes (batch, 192). A view, not a copy."""

    def __init__(self, start_dim: int = 1):
        self.start_dim = start_dim

    def forward(self, x: Tensor) -> Tensor:
        """x → x.shape[:start_dim] and one axis. Raises: ValueError if x has no axis start_dim."""
        if not -x.ndim <= self.start_dim < x.ndim:
            raise ValueError(f"Flatten(start_dim={self.start_dim}) does not take {x.shape}")
        out = *x.shape[: self.start_dim], math.prod(x.shape[self.start_dim :])
        self.keep(x.shape, out)
        return x.reshape(out)

    def backward(self, grad: np.ndarray) -> np.ndarray:
        """grad in the shape of x."""
        shape, out = self.kept()
        if grad.shape != out:
            raise ValueError(f"{grad.shape} is not {out}")
        return grad.reshape(shape)


class Dropout(Module):
    """In training, sets each value to 0 with probability p and divides the others by 1 - p; else changes nothing.

    So the expectation of a value is the same in both (Srivastava et al. 2014, section 10: inverted dropout).
    """

    def __init__(self, p: float = 0.5, rng: np.random.Generator | None = None):
        """`rng` is kept as an attribute; None means a fresh generator. Raises: ValueError unless 0 <= p < 1."""
        if not 0 <= p < 1:
            raise ValueError(f"p is {p}")
        self.p = p
        self.rng = rng or np.random.default_rng()

    def forward(self, x: Tensor) -> Tensor:
        """x of any shape and a float dtype → the same: x * mask, with a new mask each time; x itself if not training."""
        if not self.training:
            self.keep(x.shape, None)
            return x
        mask = np.asarray((self.rng.random(x.shape) >= self.p) / (1 - self.p)).astype(x.dtype)
        self.keep(x.shape, mask)
        return x * mask

    def backward(self, grad: np.ndarray) -> np.ndarray:
        """grad * mask, the mask of the last forward; grad if that was not in training."""
        shape, mask = self.kept()
        if grad.shape != shape:
            raise ValueError(f"{grad.shape} is not {shape}")
        return grad if mask is None else grad * mask
