"""Autograd: a rule for every primitive, a record of what was computed, and the chain rule along it, backwards."""

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
    """The gradient of something of that shape, from the gradient of what it was broadcast to.

    A value that was used many times receives the sum of all its uses' gradients. Keeps the dtype; grad itself if shapes agree.
    """
    raise NotImplementedError("07.1 unbroadcast: README.md, 07.1")


# 07.2 Rules: vector-Jacobian products, one for each parent of a primitive

_RULES: dict[str, Callable[[int], Callable]] = {}  # given: by name of the primitive, then by number of the parent


def defvjp(op: str, *rules: Callable) -> None:  # given
    """Defines the rules of an operation, one for each of its parents.

    rule(g, y, *parents, **attrs) returns the gradient of its parent, of the parent's shape and dtype: g is the gradient of the
    result y, all are arrays, and attrs are those that the operation was recorded with. A rule changes none of them.
    """
    _RULES[op] = rules.__getitem__


def defvjp_argnum(op: str, rule: Callable) -> None:  # given
    """Defines one rule for all parents of an operation that may have any number: rule(argnum, g, y, *parents, **attrs)."""
    _RULES[op] = lambda argnum: rule if rule is ... else partial(rule, argnum)


def vjp(op: str, argnum: int) -> Callable:  # given
    """The rule that gives the gradient of parent number argnum. Raises: RuntimeError if the operation has no rules."""
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
    """How a tensor was made: the operation, its operands, the arrays that its rules will need, and its attributes."""

    op: str
    parents: tuple[Tensor, ...]
    arrays: tuple[np.ndarray, ...]  # the result's, then the parents', as they were when it was made
    attrs: dict


def record(op: str, result: Tensor, parents: tuple[Tensor, ...], attrs: dict) -> None:
    """Keeps how a result that requires a gradient was made, as result.node; under no_grad it does not require one.

    What it keeps are the arrays of this moment: to give a tensor other `data` before backward is safe, to change them is not.
    Raises: TypeError if the result requires a gradient and is not of floats.
    """
    raise NotImplementedError("07.3 record: README.md, 07.3")


Tensor._recorder = record  # given

# 07.4 Backward


def backward(tensor: Tensor, grad: np.ndarray | None = None) -> None:
    """Adds to the `grad` of every leaf that tensor was computed from: the gradient of ⟨grad, tensor⟩.

    A leaf is a tensor that requires a gradient and was not computed. Its grad is an array of its own, of its data's shape and
    dtype. Only a tensor of one value needs no grad, which is then 1. The record is freed on the way.
    Raises: RuntimeError if the grad is missing, if tensor was not recorded, if a part of its record was freed by an earlier
    backward, or if an operation has no rule or one that gives another shape; ValueError if grad has another shape. Then no
    gradient has changed.
    """
    raise NotImplementedError("07.4 backward: README.md, 07.4")


# 07.5 Without gradients


@contextmanager
def no_grad() -> Iterator[None]:
    """In the block, or in a function decorated with it, nothing is recorded, and results require no gradient.

    Holds for the present thread only. Afterwards everything is as before, whatever happened.
    """
    raise NotImplementedError("07.5 no_grad: README.md, 07.5")


# 07.6 Checking gradients


def gradcheck(function: Callable, *inputs: Tensor, eps: float = 1e-6, tolerance: float = 1e-6) -> bool:
    """True if backward agrees with central differences, for every input that requires a gradient.

    function takes the inputs, which must be float64, and returns a Tensor; it must give the same for the same. The gradients
    are those of ⟨w, function⟩ with a random w, since a plain sum hides whole terms: that of a softmax is constant. They may
    differ by tolerance, relative to the largest, or to 1 if that is less. Leaves the inputs and their grads as they are.
    Raises: RuntimeError that names the input and the index where they differ most; ValueError unless inputs are float64.
    """
    raise NotImplementedError("07.6 gradcheck: README.md, 07.6")


# 07.7 Looking at the record


def graph(tensor: Tensor, **names: Tensor) -> str:
    """The record of how tensor was made, as Graphviz text: operands → operations → results.

    A tensor is a box, labelled by its shape, and before that by its name if it is one of names; an operation is an ellipse,
    labelled by its own. Leaves that require a gradient are bold.
    """
    raise NotImplementedError("07.7 graph: README.md, 07.7")


def render(text: str, path: str) -> None:  # given
    """Draws Graphviz text into a file; its suffix says how: .svg, .png or .pdf. Raises: RuntimeError without Graphviz."""
    if shutil.which("dot") is None:
        raise RuntimeError("Graphviz is not installed: its program `dot` draws the text (graphviz.org)")
    subprocess.run(["dot", f"-T{Path(path).suffix[1:]}", "-o", path], input=text, text=True, check=True)
