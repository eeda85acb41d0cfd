"""Kata 07 with a named function for every rule, all nodes ordered by a depth-first search, and gradients always copied."""

import shutil
import subprocess
import threading
from contextlib import ContextDecorator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from katas.tensor import Tensor


def unbroadcast(grad, shape):
    sums = grad
    while sums.ndim > len(shape):
        sums = np.add.reduce(sums, axis=0, dtype=np.float64)
    for axis in range(len(shape)):
        if shape[axis] == 1 and sums.shape[axis] != 1:
            sums = np.add.reduce(sums, axis=axis, keepdims=True, dtype=np.float64)
    return sums.astype(grad.dtype) if sums is not grad else grad


_RULES = {}


def defvjp(op, *rules):
    _RULES[op] = rules.__getitem__


def defvjp_argnum(op, rule):
    _RULES[op] = lambda argnum: partial(rule, argnum)


def vjp(op, argnum):
    if op not in _RULES:
        raise RuntimeError(f"there is no rule for the operation {op!r}: defvjp({op!r}, …) defines it")
    return _RULES[op](argnum)


def like(function):
    """A rule for two operands a and b that is written without a thought of broadcasting."""

    def to(number):
        def rule(g, y, *operands, **attrs):
            return unbroadcast(np.multiply(g, function(number, y, *operands, **attrs)), operands[number].shape)

        return rule

    return to(0), to(1)


def add(number, y, a, b):
    return y.dtype.type(1)


def sub(number, y, a, b):
    return y.dtype.type((1, -1)[number])


def mul(number, y, a, b):
    return (b, a)[number]


def div(number, y, a, b):
    return np.reciprocal(b) if number == 0 else -y / b


for function in (add, sub, mul, div):
    defvjp(function.__name__, *like(function))


def neg(g, y, a):
    return np.negative(g)


def power(g, y, a, exponent):
    if exponent == 0:
        return g * 0
    if exponent == 1:
        return g
    return g * exponent * np.power(a, exponent - 1)


def exp(g, y, a):
    return g * np.exp(a)


def log(g, y, a):
    return g * (1 / a)


def sqrt(g, y, a):
    return 0.5 * g / np.sqrt(a)


def tanh(g, y, a):
    return g * (1 + y) * (1 - y)


for name, function in {"neg": neg, "pow": power, "exp": exp, "log": log, "sqrt": sqrt, "tanh": tanh}.items():
    defvjp(name, function)


def taken(g, y, a, b, condition):
    return unbroadcast(np.where(condition, g, 0), a.shape)


def not_taken(g, y, a, b, condition):
    return unbroadcast(np.where(condition, 0, g), b.shape)


def larger(g, y, a, b):
    return taken(g, y, a, b, a > b)


def not_larger(g, y, a, b):
    return not_taken(g, y, a, b, a > b)


defvjp("where", taken, not_taken)
defvjp("maximum", larger, not_larger)


def unreshape(g, y, a, shape):
    return np.reshape(g, np.shape(a))


def unpermute(g, y, a, dims):
    return np.moveaxis(g, range(g.ndim), dims)


def place(g, y, a, index):
    """Every element by its number: those with equal numbers are added up, by counting."""
    numbers = np.arange(a.size).reshape(a.shape)[index]
    sums = np.bincount(np.ravel(numbers), np.ravel(g), minlength=a.size)
    return sums.reshape(a.shape).astype(g.dtype)


def piece(argnum, g, y, *parts, dim):
    ends = np.cumsum([part.shape[dim] for part in parts])
    return np.split(g, ends[:-1], axis=dim)[argnum]


defvjp("reshape", unreshape)
defvjp("permute", unpermute)
defvjp("getitem", place)
defvjp_argnum("concatenate", piece)


def reduced(a, dim):
    """The shape of a reduction of a that keeps its axes."""
    return np.sum(a, axis=dim, keepdims=True).shape


def spread(g, y, a, dim, keepdim):
    return np.reshape(g, reduced(a, dim)) * np.ones_like(a)


def to_largest(g, y, a, dim, keepdim):
    shape = reduced(a, dim)
    mask = a == np.reshape(y, shape)
    return (np.where(mask, np.reshape(g, shape), 0) / np.count_nonzero(mask, axis=dim, keepdims=True)).astype(a.dtype)


defvjp("sum", spread)
defvjp("max", to_largest)


def product_to_a(g, y, a, b):
    if a.ndim == b.ndim == 1:
        return g * b
    if b.ndim == 1:  # (..., n, k) @ (k,) → (..., n)
        return unbroadcast(g[..., None] * b, a.shape)
    if a.ndim == 1:  # (k,) @ (..., k, m) → (..., m)
        return unbroadcast((b @ g[..., None])[..., 0], a.shape)
    return unbroadcast(g @ b.swapaxes(-1, -2), a.shape)


def product_to_b(g, y, a, b):
    if a.ndim == b.ndim == 1:
        return g * a
    if b.ndim == 1:
        return np.tensordot(g, a, axes=g.ndim)
    if a.ndim == 1:
        return unbroadcast(a[:, None] * g[..., None, :], b.shape)
    if b.ndim == 2:
        return np.tensordot(a, g, axes=(range(a.ndim - 1), range(g.ndim - 1)))
    return unbroadcast(a.swapaxes(-1, -2) @ g, b.shape)


defvjp("matmul", product_to_a, product_to_b)


class Node(NamedTuple):
    op: str
    parents: tuple
    arrays: tuple
    attrs: dict


class Mode(threading.local):
    recording = True


mode = Mode()


def record(op, result, parents, attrs):
    if not mode.recording:
        result.requires_grad = False
    if result.requires_grad:
        if not np.issubdtype(result.dtype, np.floating):
            raise TypeError(f"{op} of {result.dtype} has no gradient, which requires_grad=True asks for")
        result.node = Node(op, tuple(parents), (result.data, *(parent.data for parent in parents)), dict(attrs))


Tensor._recorder = record
FREED = Node("freed", (), (), {})


def backward(tensor, grad=None):
    if not hasattr(tensor, "node"):
        raise RuntimeError("this tensor was not recorded")
    if grad is None:
        if tensor.size != 1:
            raise RuntimeError(f"a grad is needed for a tensor of shape {tensor.shape}")
        grad = np.ones(tensor.shape)
    grad = np.array(grad, tensor.dtype)
    if grad.shape != tensor.shape:
        raise ValueError(f"grad has shape {grad.shape}, the tensor has {tensor.shape}")
    order = ordered(tensor)
    gradients = {tensor: grad}
    found = []
    while order:
        here = order.pop()
        g = gradients.pop(here)
        if not hasattr(here, "node"):
            found.append((here, g))
            continue
        op, parents, (y, *operands), attrs = here.node
        here.node = FREED
        for number, (parent, operand) in enumerate(zip(parents, operands, strict=True)):
            if not parent.requires_grad:
                continue
            one = np.array(vjp(op, number)(g, y, *operands, **attrs), operand.dtype)
            if one.shape != operand.shape:
                raise RuntimeError(f"{op}: parent {number} has shape {operand.shape}, its gradient {one.shape}")
            if parent in gradients:
                gradients[parent] += one
            else:
                gradients[parent] = one
    for leaf, g in found:
        leaf.grad = g if leaf.grad is None else leaf.grad + g


def ordered(root):
    """All tensors below root that require a gradient, each after its parents: a depth-first search that returns to each."""
    order, seen, stack = [], set(), [(root, False)]
    while stack:
        tensor, returned = stack.pop()
        if returned:
            order.append(tensor)
        elif tensor not in seen:
            seen.add(tensor)
            node = getattr(tensor, "node", None)
            if node is FREED:
                raise RuntimeError("this record was used by an earlier backward, which freed it")
            stack.append((tensor, True))
            if node is not None:
                stack += [(parent, False) for parent in node.parents if parent.requires_grad]
    return order


class no_grad(ContextDecorator):
    def __init__(self):
        self.before = []

    def _recreate_cm(self):  # each call of a decorated function has its own
        return no_grad()

    def __enter__(self):
        self.before.append(mode.recording)
        mode.recording = False
        return self

    def __exit__(self, *error):
        mode.recording = self.before.pop()


def gradcheck(function, *inputs, eps=1e-6, tolerance=1e-6):
    for number, one in enumerate(inputs):
        if one.dtype != np.float64:
            raise ValueError(f"input {number} is {one.dtype}, not float64")
    given = [np.array(one.data) for one in inputs]
    wanted = [one.requires_grad for one in inputs]
    tensors = [Tensor(array, wants) for array, wants in zip(given, wanted, strict=True)]
    output = function(*tensors)
    weights = np.random.default_rng(1234).uniform(0.5, 2, output.shape)
    weights *= np.random.default_rng(4321).choice([-1.0, 1.0], output.shape)
    output.backward(weights)

    def value(number, flat_index, change):
        arrays = [array.copy() for array in given]
        arrays[number].reshape(-1)[flat_index] += change
        with no_grad():
            return float(np.sum(weights * function(*[Tensor(array) for array in arrays]).data))

    for number, tensor in enumerate(tensors):
        if not wanted[number]:
            continue
        found = np.zeros(tensor.shape) if tensor.grad is None else tensor.grad
        right = np.zeros(tensor.shape)
        for flat in range(tensor.size):
            right.reshape(-1)[flat] = (value(number, flat, eps) - value(number, flat, -eps)) / (2 * eps)
        off = np.abs(found - right)
        off = np.where(np.isnan(off), np.inf, off)
        if off.size and not off.max() <= tolerance * max(np.abs(right).max(), 1):
            where = tuple(int(i) for i in np.unravel_index(np.argmax(off), off.shape))
            raise RuntimeError(f"input {number} at {where}: backward says {found[where]}, differences say {right[where]}")
    return True


def graph(tensor, **names):
    called = {id(one): name for name, one in names.items()}
    numbers, waiting, boxes, arrows = {tensor: 0}, [tensor], [], []
    for one in waiting:
        for parent in getattr(one, "node", FREED).parents:
            if parent not in numbers:
                numbers[parent] = len(numbers)
                waiting.append(parent)
    for one, number in numbers.items():
        node = getattr(one, "node", None)
        label = f"{called.get(id(one), '')} {one.shape}".strip()
        bold = ", style=bold" if one.requires_grad and node is None else ""
        boxes.append(f'  t{number} [shape=box, label="{label}"{bold}]')
        if node is not None:
            boxes.append(f'  o{number} [label="{node.op}"]')
            arrows += [f"  t{numbers[parent]} -> o{number}" for parent in node.parents]
            arrows.append(f"  o{number} -> t{number}")
    return "\n".join(["digraph {", "  rankdir=LR", *boxes, *arrows, "}"])


def render(text, path):
    if shutil.which("dot") is None:
        raise RuntimeError("Graphviz is not installed: its program `dot` draws the text (graphviz.org)")
    subprocess.run(["dot", f"-T{Path(path).suffix[1:]}", "-o", path], input=text, text=True, check=True)
