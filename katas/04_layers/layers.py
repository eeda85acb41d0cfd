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
        raise NotImplementedError("04.1 Parameter.__init__: README.md, 04.1")


def accumulate(parameter: Parameter, grad: np.ndarray) -> None:
    """Adds grad to parameter.grad, which has the data's shape and dtype and is None before the first call.

    The first grad is copied; later ones are added in place. Raises: ValueError if grad has a different shape.
    """
    raise NotImplementedError("04.1 accumulate: README.md, 04.1")


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

    def __setattr__(self, name: str, value) -> None:  # given: an attribute in which a Parameter would be lost is refused
        if isinstance(value, _CONTAINERS) and name != "_kept":  # which nobody searches
            _refuse_hidden(name, value)
        super().__setattr__(name, value)

    def named_parameters(self) -> list[tuple[str, Parameter]]:
        """All Parameters with their names: the attributes and list indices on the path to each, joined by dots."""
        raise NotImplementedError("04.2 Module.named_parameters: README.md, 04.2")

    def parameters(self) -> list[Parameter]:
        """All Parameters."""
        raise NotImplementedError("04.2 Module.parameters: README.md, 04.2")

    def modules(self) -> list["Module"]:
        """This module and all below it."""
        raise NotImplementedError("04.2 Module.modules: README.md, 04.2")

    def register_buffer(self, name: str, array) -> None:
        """Stores a copy of array as the attribute `name`: a NumPy array that is saved with the module but not trained.

        Raises: ValueError if the module already has an attribute of that name.
        """
        raise NotImplementedError("04.2 Module.register_buffer: README.md, 04.2")

    def named_buffers(self) -> list[tuple[str, np.ndarray]]:
        """The current values of the buffers of this module and all below it, with their names.

        A buffer whose attribute was deleted, or is no longer an array (None, for example), is left out.
        """
        raise NotImplementedError("04.2 Module.named_buffers: README.md, 04.2")

    def train(self, mode: bool = True) -> "Module":
        """Sets `training` of this module and all modules below it. Returns the module itself."""
        raise NotImplementedError("04.2 Module.train: README.md, 04.2")

    def eval(self) -> "Module":
        """Same as train(False)."""
        raise NotImplementedError("04.2 Module.eval: README.md, 04.2")

    def zero_grad(self) -> None:
        """Sets the grad of every Parameter to None."""
        raise NotImplementedError("04.2 Module.zero_grad: README.md, 04.2")

    # 04.6 Saving and loading

    def state_dict(self) -> dict[str, np.ndarray]:
        """Copies of all parameters' data and all buffers, by name."""
        raise NotImplementedError("04.6 Module.state_dict: README.md, 04.6")

    def load_state_dict(self, state: dict) -> None:
        """Copies arrays or Tensors, by name, into the parameters' data and the buffers, in place: dtypes don't change.

        The state may hold the module's own arrays under each other's names. Floats may lose digits but not become infinite;
        integers and booleans must keep their values.
        Raises: ValueError that lists every missing name, unexpected name and wrong shape, and every dtype whose values don't
        fit. In that case nothing is changed.
        """
        raise NotImplementedError("04.6 Module.load_state_dict: README.md, 04.6")


# 04.3 Initialisation: float32 arrays for weights of shape (out, in, ...), where further axes are those of a kernel


def kaiming_uniform(shape: tuple[int, ...], rng: np.random.Generator, a: float = 0.0) -> np.ndarray:
    """Uniform in ±bound, where bound / √3 is the standard deviation of kaiming_normal.

    Raises, as all four functions do: ValueError unless shape has at least two axes, all of positive length.
    """
    raise NotImplementedError("04.3 kaiming_uniform: README.md, 04.3")


def kaiming_normal(shape: tuple[int, ...], rng: np.random.Generator, a: float = 0.0) -> np.ndarray:
    """Normal with mean 0 and variance 2 / ((1 + a²) · fan_in); a is the slope of the LeakyReLU that follows.

    He, Zhang, Ren & Sun 2015, section 2.2, equations 10 and 15.
    """
    raise NotImplementedError("04.3 kaiming_normal: README.md, 04.3")


def xavier_uniform(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Uniform in ±√(6 / (fan_in + fan_out)): Glorot & Bengio 2010, equation 16."""
    raise NotImplementedError("04.3 xavier_uniform: README.md, 04.3")


def xavier_normal(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Normal with mean 0 and variance 2 / (fan_in + fan_out): Glorot & Bengio 2010, equation 12."""
    raise NotImplementedError("04.3 xavier_normal: README.md, 04.3")


# 04.4 Linear


class Linear(Module):
    """y = x Wᵀ + b over the last axis: weight W (out_features, in_features), bias b (out_features,) or None."""

    def __init__(self, in_features: int, out_features: int, bias: bool = True, rng: np.random.Generator | None = None):
        """Draws the weight with kaiming_uniform, a = √5: uniform in ±1/√in_features. The bias has the same range.

        torch.nn.Linear does the same. rng=None means a fresh generator. Raises: ValueError unless both sizes are positive.
        """
        raise NotImplementedError("04.4 Linear.__init__: README.md, 04.4")

    def forward(self, x: Tensor) -> Tensor:
        """x (..., in_features) → (..., out_features). Raises: ValueError if the last axis is not in_features."""
        raise NotImplementedError("04.4 Linear.forward: README.md, 04.4")

    def backward(self, grad: np.ndarray) -> np.ndarray | None:
        """Accumulates ∂W = gradᵀ x and ∂b = Σ grad over the leading axes; returns ∂x = grad W.

        If x did not require a gradient, returns None and skips that matrix product. Raises, as every backward here:
        RuntimeError if it is called before forward; ValueError if grad doesn't have the output's shape.
        """
        raise NotImplementedError("04.4 Linear.backward: README.md, 04.4")


# 04.5 Sequential, Flatten and Dropout


class Sequential(Module):
    """Runs layers one after another. A layer is anything with forward and backward; `layers` is the list of the layers.

    Their names are "0", "1", and so on: "0.weight".
    """

    def __init__(self, *layers):
        """Raises: TypeError if an argument has no forward, or is a class and not an instance; the message contains its repr."""
        raise NotImplementedError("04.5 Sequential.__init__: README.md, 04.5")

    def __len__(self) -> int:
        """The number of layers."""
        raise NotImplementedError("04.5 Sequential.__len__: README.md, 04.5")

    def __getitem__(self, index: int):
        """The layer at an index. It makes `for layer in sequential` work too."""
        raise NotImplementedError("04.5 Sequential.__getitem__: README.md, 04.5")

    def forward(self, x: Tensor) -> Tensor:
        """Runs x through the layers, from first to last."""
        raise NotImplementedError("04.5 Sequential.forward: README.md, 04.5")

    def backward(self, grad: np.ndarray) -> np.ndarray | None:
        """Runs grad through the layers' backward, from last to first. If a layer returns None, returns None at once."""
        raise NotImplementedError("04.5 Sequential.backward: README.md, 04.5")


class Flatten(Module):
    """Merges all axes from start_dim on into one: (batch, 3, 8, 8) becomes (batch, 192). A view, not a copy."""

    def __init__(self, start_dim: int = 1):
        raise NotImplementedError("04.5 Flatten.__init__: README.md, 04.5")

    def forward(self, x: Tensor) -> Tensor:
        """x → shape (*x.shape[:start_dim], the product of the rest). Raises: ValueError if x has no axis start_dim."""
        raise NotImplementedError("04.5 Flatten.forward: README.md, 04.5")

    def backward(self, grad: np.ndarray) -> np.ndarray:
        """Returns grad in the shape of x."""
        raise NotImplementedError("04.5 Flatten.backward: README.md, 04.5")


class Dropout(Module):
    """In training, sets each value to 0 with probability p and divides the others by 1 - p. In evaluation, changes nothing.

    So a value has the same expectation in both modes (Srivastava et al. 2014, section 10: inverted dropout).
    """

    def __init__(self, p: float = 0.5, rng: np.random.Generator | None = None):
        """`rng` becomes an attribute; None means a fresh generator. Raises: ValueError unless 0 <= p < 1."""
        raise NotImplementedError("04.5 Dropout.__init__: README.md, 04.5")

    def forward(self, x: Tensor) -> Tensor:
        """x (any shape, a float dtype) → same shape and dtype: x * mask, with a new mask each time; in evaluation, x itself."""
        raise NotImplementedError("04.5 Dropout.forward: README.md, 04.5")

    def backward(self, grad: np.ndarray) -> np.ndarray:
        """Returns grad * mask, with the last forward's mask; grad if that forward ran in evaluation."""
        raise NotImplementedError("04.5 Dropout.backward: README.md, 04.5")
