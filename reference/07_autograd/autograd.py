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
    if grad.shape == shape:
        return grad
    new = grad.ndim - len(shape)
    axes = [*range(new), *[new + axis for axis, length in enumerate(shape) if length == 1]]
    first = sum([axis == place for place, axis in enumerate(axes)])  # so many of them are the first of all axes
    result = grad.astype(_wide(grad), copy=False)
    if axes[first:]:
        result = result.sum(tuple(axes[first:]), keepdims=True)
    if first:
        result = _sum_of_rows(result.reshape(math.prod(result.shape[:first]), math.prod(result.shape[first:])))
    return result.reshape(shape).astype(grad.dtype, copy=False)


_BLOCK = 500  # rows


def _sum_of_rows(rows: np.ndarray) -> np.ndarray:
    """(n, columns) → (columns,): sums blocks of rows by products with ones, then adds those sums in float64.

    A plain sum adds row after row: float32 is off by 0.3% after 500,000 rows, and a few columns take nine times as long.
    """
    (n, columns), ones = rows.shape, np.ones(_BLOCK, rows.dtype)
    rest = n % _BLOCK
    result = ones[:rest] @ rows[n - rest :]
    if n > rest:
        blocks = ones @ rows[: n - rest].reshape(n // _BLOCK, _BLOCK, columns)  # (n // _BLOCK, columns)
        result = result + blocks.sum(0, dtype=np.float64)
    return result


def _wide(array: np.ndarray) -> np.dtype:
    """The dtype to sum in: float32 for float16, which counts no further than 2048."""
    return np.result_type(array, np.float32)


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

defvjp("add", lambda g, y, a, b: unbroadcast(g, a.shape), lambda g, y, a, b: unbroadcast(g, b.shape))
defvjp("sub", lambda g, y, a, b: unbroadcast(g, a.shape), lambda g, y, a, b: -unbroadcast(g, b.shape))
defvjp("mul", lambda g, y, a, b: unbroadcast(g * b, a.shape), lambda g, y, a, b: unbroadcast(g * a, b.shape))
defvjp("div", lambda g, y, a, b: unbroadcast(g / b, a.shape), lambda g, y, a, b: -unbroadcast(g * y / b, b.shape))
defvjp("neg", lambda g, y, a: -g)
defvjp("pow", lambda g, y, a, exponent: g * (exponent * a ** (exponent - 1)) if exponent else np.zeros_like(a))


def _taken(g: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """g where the mask is True, else 0. Multiplies g's bits: ∞ · 0 would be NaN, and np.where, which branches, takes ten times
    as long.
    """
    return (g.view(f"i{g.itemsize}") * mask).view(g.dtype)


# Functions of every element: at a tie, maximum passes the gradient to b

defvjp("exp", lambda g, y, a: g * y)
defvjp("log", lambda g, y, a: g / a)
defvjp("sqrt", lambda g, y, a: g / (2 * y))
defvjp("tanh", lambda g, y, a: g * (1 - y * y))
defvjp(
    "maximum",
    lambda g, y, a, b: unbroadcast(_taken(g, a > b), a.shape),
    lambda g, y, a, b: unbroadcast(_taken(g, ~(a > b)), b.shape),
)
defvjp(
    "where",
    lambda g, y, a, b, condition: unbroadcast(_taken(g, condition), a.shape),
    lambda g, y, a, b, condition: unbroadcast(_taken(g, ~condition), b.shape),
)

# Shape


def _may_repeat(part) -> bool:
    """Whether a part of an index may select an element twice: all but integers, slices, new axes, an ellipsis and masks."""
    if isinstance(part, (int, np.integer, slice, NoneType, EllipsisType)):
        return False
    return not isinstance(part, np.ndarray) or part.dtype != np.bool_


def _getitem_to_a(g, y, a, index):
    """Zeros like a, to which g is added at the index, once for each time an element is selected."""
    result = np.zeros_like(a)
    if any([_may_repeat(part) for part in (index if isinstance(index, tuple) else (index,))]):
        sums = result.astype(_wide(a), copy=False)
        np.add.at(sums, index, g)
        return sums.astype(a.dtype, copy=False)
    result[index] = g  # which is faster
    return result


def _part(argnum: int, whole: np.ndarray, parts: tuple, dim: int) -> np.ndarray:
    """The piece of a concatenation that comes from parts[argnum]."""
    start = sum([part.shape[dim] for part in parts[:argnum]])
    return np.moveaxis(np.moveaxis(whole, dim, 0)[start : start + parts[argnum].shape[dim]], 0, dim)


defvjp("reshape", lambda g, y, a, shape: g.reshape(a.shape))
defvjp("permute", lambda g, y, a, dims: g.transpose(np.argsort([dim % a.ndim for dim in dims])))
defvjp("getitem", _getitem_to_a)
defvjp_argnum("concatenate", lambda argnum, g, y, *parts, dim: _part(argnum, g, parts, dim))

# Reductions: max divides the gradient evenly between equal maxima


def _kept(reduced: np.ndarray, a: np.ndarray, dim, keepdim: bool) -> np.ndarray:
    """A reduction of a, in which the reduced axes have length 1."""
    return reduced if keepdim else np.expand_dims(reduced, tuple(range(a.ndim)) if dim is None else dim)


def _max_to_a(g, y, a, dim, keepdim):
    largest = a == _kept(y, a, dim, keepdim)
    count = largest.sum(dim, keepdims=True, dtype=_wide(a))
    return (_taken(_kept(g, a, dim, keepdim), largest) / count).astype(a.dtype, copy=False)


defvjp("sum", lambda g, y, a, dim, keepdim: np.broadcast_to(_kept(g, a, dim, keepdim), a.shape))
defvjp("max", _max_to_a)

# Matrix product


def _matrices(g: np.ndarray, a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All three arrays with the axes of a matrix product: (..., n, m), (..., n, k), (..., k, m)."""
    lost = [axis for axis, factor in ((-2, a), (-1, b)) if factor.ndim == 1]
    return np.expand_dims(g, lost), a[None, :] if a.ndim == 1 else a, b[:, None] if b.ndim == 1 else b


def _matmul_to_a(g, y, a, b):
    """g bᵀ."""
    g, rows, columns = _matrices(g, a, b)
    return unbroadcast(g @ np.swapaxes(columns, -1, -2), rows.shape).reshape(a.shape)


def _matmul_to_b(g, y, a, b):
    """aᵀ g."""
    g, rows, columns = _matrices(g, a, b)
    if columns.ndim == 2:  # one matrix for a whole batch: one product with all rows, not one for each of the batch
        n = math.prod(g.shape[:-1])  # not -1, which is any number where an axis has length 0
        rows, g = rows.reshape(n, rows.shape[-1]), g.reshape(n, g.shape[-1])  # (batch·n, k), (batch·n, m)
        return np.matmul(rows.T, g, out=np.empty_like(columns)).reshape(b.shape)  # laid out like b: a transposed one, too
    return unbroadcast(np.swapaxes(rows, -1, -2) @ g, columns.shape).reshape(b.shape)


defvjp("matmul", _matmul_to_a, _matmul_to_b)


# 07.3 Recording


class Node(NamedTuple):  # given
    """How a tensor was computed: the operation, its operands, the arrays that its rules will need, and its attributes."""

    op: str
    parents: tuple[Tensor, ...]
    arrays: tuple[np.ndarray, ...]  # the result's, then the parents', as they were when it was made
    attrs: dict


_recording = ContextVar("recording", default=True)  # one value a thread


def record(op: str, result: Tensor, parents: tuple[Tensor, ...], attrs: dict) -> None:
    """Saves how a result that requires a gradient was computed, as result.node; under no_grad the result requires none.

    The node holds the current arrays, not copies. Assigning a new array to a tensor's `data` before backward is safe; changing
    the array in place is not. Raises: TypeError if the result requires a gradient and is not of floats.
    """
    if not result.requires_grad:
        return
    if not _recording.get():
        result.requires_grad = False
        return
    if result.data.dtype.kind != "f":
        raise TypeError(f"{op}: only floats have gradients, and this is {result.dtype}: use requires_grad=True with floats")
    result.node = Node(op, parents, (result.data, *[parent.data for parent in parents]), attrs)


Tensor._recorder = record  # given

# 07.4 Backward

# Rules that make a new array, and rules that return a view of g. Any other rule may return what somebody else has: g, an
# operand, an array that it keeps. A leaf gets a copy of that.
_NEW = {vjp("matmul", 0), vjp("matmul", 1), vjp("getitem", 0)}
_VIEWS = {vjp("reshape", 0), vjp("permute", 0)}

_FREED = Node("freed", (), (), {})


def backward(tensor: Tensor, grad: np.ndarray | None = None) -> None:
    """Adds the gradient of ⟨grad, tensor⟩ to the `grad` of every leaf that tensor was computed from.

    A leaf is a tensor that requires a gradient and was not computed. Its grad is an array of its own, with the shape and dtype
    of its data. grad may be left out only for a tensor of one value; it is then 1. The graph is freed during the backward pass.
    Raises: RuntimeError if grad is missing, if tensor was not recorded, if a part of its graph was freed by an earlier
    backward, or if an operation has no rule or a rule that returns a wrong shape; ValueError if grad has a different shape than
    tensor. After an error no gradient has changed.
    """
    seed = _seed(tensor, grad)
    uses = _uses(tensor)
    grads, ready, leaves = {tensor: seed}, [tensor], {}
    own = set()  # the tensors whose gradient is an array that no one else has
    while ready:
        tensor = ready.pop()
        grad, node = grads.pop(tensor), _node(tensor)
        if node is None:
            leaves[tensor] = grad
            continue
        tensor.node = _FREED
        for argnum, parent in enumerate(node.parents):
            if parent.requires_grad:
                rule = vjp(node.op, argnum)
                part = _part_of(rule, node, argnum, grad)
                if parent in grads or rule in _NEW or (rule in _VIEWS and tensor in own):
                    own.add(parent)
                if parent in grads:
                    part = np.asarray(grads[parent] + part)  # not +=: others may hold the same array
                grads[parent] = part
                uses[parent] -= 1
                if uses[parent] == 0:
                    ready.append(parent)
    _deliver(leaves, own)


def _node(tensor: Tensor) -> Node | None:
    return getattr(tensor, "node", None)


def _seed(tensor: Tensor, grad: np.ndarray | None) -> np.ndarray:
    if _node(tensor) is None:
        raise RuntimeError(
            "backward() of a tensor that was not recorded: it was not computed, or from none that requires a gradient, "
            "or under no_grad, or before katas.autograd was imported"
        )
    if grad is None and tensor.size != 1:
        raise RuntimeError(f"backward() of a tensor of shape {tensor.shape} needs a grad: only one value has one by itself")
    seed = np.ones_like(tensor.data) if grad is None else np.asarray(grad, tensor.dtype)
    if seed.shape != tensor.shape:
        raise ValueError(f"a grad of shape {seed.shape} for a tensor of shape {tensor.shape}")
    return seed


def _uses(root: Tensor) -> Counter:
    """How many gradients each tensor below root will receive. Its own rules are called once it has them all."""
    uses, waiting = Counter(), [root]
    while waiting:
        node = _node(waiting.pop())
        if node is _FREED:
            raise RuntimeError("backward() a second time through the same record, which the first freed: compute it anew")
        for parent in node.parents if node else ():
            if parent.requires_grad:
                if parent not in uses:
                    waiting.append(parent)
                uses[parent] += 1
    return uses


def _part_of(rule: Callable, node: Node, argnum: int, grad: np.ndarray) -> np.ndarray:
    data = node.arrays[1 + argnum]
    part = np.asarray(rule(grad, *node.arrays, **node.attrs), data.dtype)  # of shape () NumPy gives numbers
    if part.shape != data.shape:
        raise RuntimeError(f"the rule of {node.op!r} gives parent {argnum}, of shape {data.shape}, a gradient of {part.shape}")
    return part


def _deliver(leaves: dict[Tensor, np.ndarray], own: set[Tensor]) -> None:
    """Gives every leaf its gradient: a copy, unless no other code has the array, which saves a pass over every weight."""
    for leaf, part in leaves.items():
        if leaf.grad is not None:
            accumulate(leaf, part)
        elif leaf in own and part.flags.forc:
            leaf.grad = part
        else:
            leaf.grad = np.array(part, leaf.dtype, order="C")


# 07.5 Without gradients


@contextmanager
def no_grad() -> Iterator[None]:
    """In the block, or in a function decorated with it, nothing is recorded, and results require no gradient.

    Affects only the current thread. At the end the previous state is restored, even after an exception.
    """
    token = _recording.set(False)
    try:
        yield
    finally:
        _recording.reset(token)


# 07.6 Checking gradients


def gradcheck(function: Callable, *inputs: Tensor, eps: float = 1e-6, tolerance: float = 1e-6) -> bool:
    """True if backward agrees with central differences, for every input that requires a gradient.

    function takes the inputs, which must be float64, and returns a Tensor. Equal inputs must give equal results. The gradients
    are those of ⟨w, function⟩ with a random w, since a plain sum hides whole terms: the sum of a softmax is constant. They may
    differ by tolerance, relative to the largest, or to 1 if that is less. Leaves the inputs and their grads as they are.
    Raises: RuntimeError that contains the input and the index with the largest difference; ValueError unless all inputs are
    float64.
    """
    for number, x in enumerate(inputs):
        if x.dtype != np.float64:
            raise ValueError(f"gradcheck needs float64, since float32 has no digits to spare: input {number} is {x.dtype}")
    copies = [Tensor(x.data.copy(), x.requires_grad) for x in inputs]
    result = function(*copies)
    w = np.random.default_rng(0).standard_normal(result.shape)
    result.backward(w)
    for number, x in enumerate(copies):
        if not x.requires_grad:
            continue
        got = np.zeros_like(x.data) if x.grad is None else x.grad
        want = _central_differences(lambda: np.vdot(w, function(*copies).data), x.data, eps)
        difference = np.abs(got - want)
        if not difference.max(initial=0) <= tolerance * max(1.0, np.abs(want).max(initial=0)) < np.inf:
            index = tuple(map(int, np.unravel_index(difference.argmax(), difference.shape)))
            raise RuntimeError(
                f"input {number} at {index}: backward gives {got[index]:.8g}, central differences give {want[index]:.8g}"
            )
    return True


def _central_differences(value: Callable[[], float], x: np.ndarray, eps: float) -> np.ndarray:
    """The derivative of value() by every element of x, which is changed in place and restored."""
    result = np.empty_like(x)
    with no_grad():
        for index in np.ndindex(x.shape):
            kept = x[index]
            x[index] = kept + eps
            above = value()
            x[index] = kept - eps
            below = value()
            x[index] = kept
            result[index] = (above - below) / (2 * eps)
    return result


# 07.7 Looking at the record


def graph(tensor: Tensor, **names: Tensor) -> str:
    """The computation graph of tensor as Graphviz text: operands → operations → results.

    A tensor is a box labeled with its name, if `names` has one, and its shape. An operation is an ellipse labeled with the
    operation's name. Leaves that require a gradient are bold.
    """
    name = {tensor: name for name, tensor in names.items()}
    lines, numbers, waiting = [], {tensor: 0}, [tensor]
    while waiting:
        tensor = waiting.pop()
        number, node = numbers[tensor], _node(tensor)
        label = f"{name[tensor]} {tensor.shape}" if tensor in name else f"{tensor.shape}"
        leaf = ", style=bold" if node is None and tensor.requires_grad else ""
        lines.append(f'  t{number} [shape=box, label="{label}"{leaf}]')
        if node is None:
            continue
        lines += [f'  o{number} [label="{node.op}"]', f"  o{number} -> t{number}"]
        for parent in node.parents:
            if parent not in numbers:
                numbers[parent] = len(numbers)
                waiting.append(parent)
            lines.append(f"  t{numbers[parent]} -> o{number}")
    return "\n".join(["digraph {", "  rankdir=LR", *lines, "}"])


def render(text: str, path: str) -> None:  # given
    """Draws Graphviz text into a file; its suffix says how: .svg, .png or .pdf. Raises: RuntimeError without Graphviz."""
    if shutil.which("dot") is None:
        raise RuntimeError("Graphviz is not installed: its program `dot` draws the text (graphviz.org)")
    subprocess.run(["dot", f"-T{Path(path).suffix[1:]}", "-o", path], input=text, text=True, check=True)
