"""Autograd: a rule for every primitive, the graph of recorded operations, and the chain rule along it, backwards."""

import math
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from pathlib import Path
from types import EllipsisType, NoneType
from typing import NamedTuple

import numpy as np
from katas.layers import accumulate
from katas.tensor import Tensor

# 07.1 Unbroadcasting


def unbroadcast(grad: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Undoes broadcasting: sums grad down to `shape`, the operand's shape before it was stretched.

    A value that was used many times receives the sum of the gradients of its uses. Keeps the dtype. Returns grad itself if the
    shapes agree.
    """
    raise NotImplementedError("07.1 unbroadcast: README.md, 07.1")


# 07.2 Rules: vector-Jacobian products, one for each parent of a primitive

_RULES: dict[str, Callable[[int], Callable]] = {}  # given: by name of the primitive, then by number of the parent


def defvjp(op: str, *rules: Callable) -> None:  # given
    """Defines the rules of an operation, one for each of its parents.

    rule(g, y, *parents, **attrs) returns the gradient of its parent, in the parent's shape and dtype. g is the gradient of the
    result y; g, y and the parents are arrays; attrs are the attributes the operation was recorded with. A rule changes none.
    """
    _RULES[op] = rules.__getitem__


def defvjp_argnum(op: str, rule: Callable) -> None:  # given
    """Defines one rule for an operation with any number of parents: rule(argnum, g, y, *parents, **attrs)."""
    _RULES[op] = lambda argnum: rule if rule is ... else partial(rule, argnum)


def vjp(op: str, argnum: int) -> Callable:  # given
    """The rule that gives the gradient of the parent with index argnum. Raises: RuntimeError if the operation has no rules."""
    if op not in _RULES:
        raise RuntimeError(f"there is no rule for the operation {op!r}: defvjp({op!r}, …) defines it")
    rule = _RULES[op](argnum)
    if rule is ...:
        raise NotImplementedError(f"07.2 {op}: README.md, 07.2")
    return rule


# Arithmetic: y = a + b, a - b, a · b, a / b, -a, a ** exponent

defvjp("add", ..., ...)
defvjp("sub", ..., ...)
defvjp("mul", ..., ...)
defvjp("div", ..., ...)
defvjp("neg", ...)
defvjp("pow", ...)


# Functions of every element: at a tie, maximum passes the gradient to b

defvjp("exp", ...)
defvjp("log", ...)
defvjp("sqrt", ...)
defvjp("tanh", ...)
defvjp("maximum", ..., ...)
defvjp("where", ..., ...)

# Shape


defvjp("reshape", ...)
defvjp("permute", ...)
defvjp("getitem", ...)
defvjp_argnum("concatenate", ...)

# Reductions: max divides the gradient evenly between equal maxima


defvjp("sum", ...)
defvjp("max", ...)

# Matrix product


defvjp("matmul", ..., ...)


# 07.3 Recording


class Node(NamedTuple):  # given
    """How a tensor was computed: the operation, its operands, the arrays that its rules will need, and its attributes."""

    op: str
    parents: tuple[Tensor, ...]
    arrays: tuple[np.ndarray, ...]  # the result's, then the parents', as they were when it was made
    attrs: dict


def record(op: str, result: Tensor, parents: tuple[Tensor, ...], attrs: dict) -> None:
    """Saves how a result that requires a gradient was computed, as result.node; under no_grad the result requires none.

    The node holds the current arrays, not copies. Assigning a new array to a tensor's `data` before backward is safe; changing
    the array in place is not. Raises: TypeError if the result requires a gradient and is not of floats.
    """
    raise NotImplementedError("07.3 record: README.md, 07.3")


Tensor._recorder = record  # given

# 07.4 Backward


def backward(tensor: Tensor, grad: np.ndarray | None = None) -> None:
    """Adds the gradient of ⟨grad, tensor⟩ to the `grad` of every leaf that tensor was computed from.

    A leaf is a tensor that requires a gradient and was not computed. Its grad is an array of its own, with the shape and dtype
    of its data. grad may be left out only for a tensor of one value; it is then 1. The graph is freed during the backward pass.
    Raises: RuntimeError if grad is missing, if tensor was not recorded, if a part of its graph was freed by an earlier
    backward, or if an operation has no rule or a rule that returns a wrong shape; ValueError if grad has a different shape than
    tensor. After an error no gradient has changed.
    """
    raise NotImplementedError("07.4 backward: README.md, 07.4")


# 07.5 Without gradients


@contextmanager
def no_grad() -> Iterator[None]:
    """In the block, or in a function decorated with it, nothing is recorded, and results require no gradient.

    Affects only the current thread. At the end the previous state is restored, even after an exception.
    """
    raise NotImplementedError("07.5 no_grad: README.md, 07.5")


# 07.6 Checking gradients


def gradcheck(function: Callable, *inputs: Tensor, eps: float = 1e-6, tolerance: float = 1e-6) -> bool:
    """True if backward agrees with central differences, for every input that requires a gradient.

    function takes the inputs, which must be float64, and returns a Tensor. Equal inputs must give equal results. The gradients
    are those of ⟨w, function⟩ with a random w, since a plain sum hides whole terms: the sum of a softmax is constant. They may
    differ by tolerance, relative to the largest, or to 1 if that is less. Leaves the inputs and their grads as they are.
    Raises: RuntimeError that contains the input and the index with the largest difference; ValueError unless all inputs are
    float64.
    """
    raise NotImplementedError("07.6 gradcheck: README.md, 07.6")


# 07.7 Looking at the record


def graph(tensor: Tensor, **names: Tensor) -> str:
    """The computation graph of tensor as Graphviz text: operands → operations → results.

    A tensor is a box labeled with its name, if `names` has one, and its shape. An operation is an ellipse labeled with the
    operation's name. Leaves that require a gradient are bold.
    """
    raise NotImplementedError("07.7 graph: README.md, 07.7")


def render(text: str, path: str) -> None:  # given
    """Draws Graphviz text into a file; its suffix says how: .svg, .png or .pdf. Raises: RuntimeError without Graphviz."""
    if shutil.which("dot") is None:
        raise RuntimeError("Graphviz is not installed: its program `dot` draws the text (graphviz.org)")
    subprocess.run(["dot", f"-T{Path(path).suffix[1:]}", "-o", path], input=text, text=True, check=True)
