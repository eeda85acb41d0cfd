"""Random programs for the fuzz: what the reference does, and what PyTorch does, with the same numbers."""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

FLOATS = ("float32", "float32", "float64", "float16")
WHOLE = ("int64", "int32", "uint8", "bool")
SPECIAL = (0.0, -0.0, 1.0, -1.0, 0.5, np.inf, -np.inf, np.nan, 1e4, -1e4, 1e-4, 3.0)
FAILS = "raise ValueError"


class Operand(NamedTuple):
    """An array, as a view of another; a leaf is a tensor that requires a gradient."""

    base: np.ndarray
    view: str = ""
    role: str = "leaf"  # or "tensor" or "array"

    @property
    def array(self) -> np.ndarray:
        """The view."""
        return eval(f"base{self.view}", {"base": self.base})

    @property
    def dtype(self) -> str:
        """Its name."""
        return self.base.dtype.name

    @property
    def shape(self) -> tuple[int, ...]:
        """The view's."""
        return self.array.shape


class Case(NamedTuple):
    """Two programs that set `y`, and perhaps `also`, a list of arrays, from the inputs.

    instead: keys of DOCUMENTED, each with the program for PyTorch that does what the sentence says. layer: the name of the
    object in `ours` that has a backward by hand. seed: of the gradient of y, which may hold infinities and zeros.
    """

    label: str
    inputs: dict
    ours: str
    theirs: str
    instead: tuple = ()
    layer: str = ""
    seed: int = 0
    infinite: bool = False
    twice: bool = False


class Draw:
    """Random choices."""

    def __init__(self, rng: np.random.Generator):
        self.rng = rng

    def one(self, values):
        """One of some."""
        return values[int(self.rng.random() * len(values))]

    def chance(self, p: float) -> bool:
        """True with probability p."""
        return self.rng.random() < p

    def int(self, low: int, high: int) -> int:
        """low to high, both included."""
        return low + int(self.rng.random() * (high - low + 1))

    def shape(self, low: int = 0, high: int = 3) -> tuple[int, ...]:
        """Of low to high axes, some of length 1, few of length 0."""
        return tuple(self.one((1, 2, 3, 4, 2, 3, 5, 1, 2, 3, 4, 0)) for _ in range(self.int(low, high)))

    def filled(self, low: int = 0, high: int = 3) -> tuple[int, ...]:
        """A shape with values."""
        return tuple(max(length, 1) for length in self.shape(low, high))

    def part(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """A shape that can be broadcast to this one; a few can't."""
        if self.chance(0.02):
            return (*shape, self.int(2, 5))
        lengths = [1 if self.chance(0.2) else length for length in shape]
        return tuple(lengths[self.int(0, len(shape)) if self.chance(0.3) else 0 :])

    def values(self, shape: tuple[int, ...], dtype: str, special: float = 0.15) -> np.ndarray:
        """Quarters, so that some are equal, or any numbers; with probability `special` infinities and NaN among them."""
        if dtype == "bool":
            return np.asarray(self.rng.random(shape) < 0.5)
        if dtype == "uint8":
            return np.asarray(self.rng.integers(0, 256 if self.chance(0.2) else 12, shape, np.uint8))
        if dtype in ("int32", "int64"):
            return np.asarray(self.rng.integers(-6, 7, shape, dtype))
        values = self.rng.standard_normal(shape) * 2
        if self.chance(0.4):
            values = np.round(values * 2) / 2
        if self.chance(special):
            values = np.where(self.rng.random(shape) < 0.5, self.rng.choice(SPECIAL, shape), values)
        return np.asarray(values).astype(dtype)

    def operand(self, shape, dtype: str = "float32", role: str = "", special: float = 0.15) -> Operand:
        """Values of a shape, in one of several orders in memory."""
        view, base = "", tuple(shape)
        if len(base) >= 2 and self.chance(0.2):
            view, base = ".T", base[::-1]
        elif base and self.chance(0.2):
            view, base = self.one(("[::-1]", "[::2]")), base
            if view == "[::2]":
                base = (2 * base[0], *base[1:])
        if not role:
            role = self.one(("leaf", "leaf", "tensor")) if dtype.startswith("float") else "tensor"
        return Operand(self.values(base, dtype, special), view, role)

    def dtype(self) -> str:
        """Any."""
        return self.one(FLOATS) if self.chance(0.65) else self.one(WHOLE)

    def number(self, beside: str):
        """A Python or a NumPy number that float16 can hold."""
        value = self.one((0, 1, 2, 3, -1, -2, 0.5, -1.5, 2.0, 0.0, 0.1, True, False))
        if beside == "uint8" and not isinstance(value, bool) and value < 0 and not self.chance(0.05):
            value = -value
        if self.chance(0.3):
            kinds = {bool: ("bool",), int: ("int64", "int32", "float32"), float: ("float64", "float32", "float16")}
            value = np.dtype(self.one(kinds[type(value)])).type(value)
        return value

    def ending(self) -> dict:
        """How y's gradient is drawn."""
        return {"seed": self.int(0, 10**6), "infinite": self.chance(0.03), "twice": self.chance(0.1)}


def _by_dtype(a, b, *programs: str, compared: bool = False) -> tuple:
    """For `instead`: the programs with both operands in the dtype that the README says, where PyTorch may take another."""
    whole = "compare" if compared else "shape ()"
    if not (isinstance(a, Operand) and isinstance(b, Operand)):
        number, beside = (b, a) if isinstance(a, Operand) else (a, b)
        if beside.dtype != "uint8" or np.asarray(number).dtype.kind != "i" or number >= 0:
            return ()
        if not compared:
            return (("can't hold", FAILS),)
        return tuple([(whole, f"a = a.long(); {program}") for program in programs])
    if a.shape and b.shape:
        return ()
    dtypes = [x.base.dtype for x in (a, b)]
    floats = [dtype for dtype in dtypes if dtype.kind == "f"]
    wide = np.result_type(*(floats or dtypes)).name
    cast = f"a, b = a.to(torch.{wide}), b.to(torch.{wide}); "
    return tuple([("wider" if floats else whole, cast + program) for program in programs])


def _tensor(name: str, value, beside) -> str:
    """A program for what torch.maximum takes: a number as a tensor of the dtype that it has beside the other."""
    if isinstance(value, Operand):
        return name
    dtype, kind = beside.dtype, np.asarray(value).dtype.kind
    if kind == "f" and not dtype.startswith("float"):
        dtype = "float32"
    elif kind == "i" and dtype == "bool":
        dtype = "int64"
    return f"torch.as_tensor({name}, dtype=torch.{dtype})"


def pair(draw: Draw) -> tuple:
    """Two operands of which one at least is a Tensor."""
    shape = draw.shape()
    a = draw.operand(draw.part(shape), draw.dtype())
    what = draw.int(0, 9)
    b = draw.number(a.dtype) if what < 3 else draw.operand(draw.part(shape), draw.dtype(), "array" if what < 5 else "")
    return (a, b) if draw.chance(0.5) else (b, a)


def binary(draw: Draw) -> Case:
    """Arithmetic and comparisons."""
    a, b = pair(draw)
    op = draw.one(("+", "-", "*", "/", "+", "-", "*", "/", "==", "!=", "<", "<=", ">", ">="))
    program = theirs = f"y = a {op} b"
    if op == "-":  # PyTorch refuses booleans here, where it adds them
        for name, x, other in (("a", a, b), ("b", b, a)):
            if isinstance(x, (bool, np.bool_)) and not (isinstance(other, Operand) and other.dtype == "bool"):
                theirs = f"{name} = int({name}); {program}"
            elif isinstance(x, Operand) and x.dtype == "bool" and isinstance(other, Operand) and other.dtype != "bool":
                theirs = f"{name} = {name}.to({'b' if name == 'a' else 'a'}.dtype); {program}"
    instead = _by_dtype(a, b, program, compared=op[0] in "=!<>")
    for name, x, other in (("a", a, b), ("b", b, a)):
        if op == "-" and isinstance(x, Operand) and x.dtype == "bool" and not isinstance(other, (Operand, bool, np.bool_)):
            instead = (("booleans", f"{name} = {name}.long(); {program}"),)
    left = "array" if isinstance(a, Operand) and a.role == "array" else "number" if not isinstance(a, Operand) else "tensor"
    if len(op) == 2 or op in "<>":
        if not isinstance(a, Operand) or a.role == "array":
            return binary(draw)  # NumPy compares an array with a Tensor: not ours to say
        left = "comparison"
    return Case(f"{left} {op}", {"a": a, "b": b}, program, theirs, instead, **draw.ending())


def choice(draw: Draw) -> Case:
    """maximum and where."""
    a, b = pair(draw)
    if draw.chance(0.5):
        theirs = f"y = torch.maximum({_tensor('a', a, b)}, {_tensor('b', b, a)})"
        tie = theirs.replace("torch.maximum", "to_b")
        instead = (("tie", tie), *_by_dtype(a, b, theirs, tie))
        return Case("maximum", {"a": a, "b": b}, "y = maximum(a, b)", theirs, instead, **draw.ending())
    shapes = [x.shape if isinstance(x, Operand) else () for x in (a, b)]
    try:
        shape = draw.part(np.broadcast_shapes(*shapes))
    except ValueError:
        shape = draw.part(shapes[0])
    c = draw.operand(shape, "bool", draw.one(("tensor", "array")))
    program = "y = where(c, a, b)"
    theirs = "y = torch.where(c, a, b)"
    return Case("where", {"c": c, "a": a, "b": b}, program, theirs, _by_dtype(a, b, theirs), **draw.ending())


def unary(draw: Draw) -> Case:
    """Functions, the negative, and powers."""
    dtype = draw.dtype()
    x = draw.operand(draw.shape(), dtype)
    if draw.chance(0.6):
        name = draw.one(("exp", "log", "sqrt", "tanh"))
        return Case(name, {"x": x}, f"y = x.{name}()", f"y = x.{name}()", **draw.ending())
    if draw.chance(0.2):
        return Case("neg", {"x": x}, "y = -x", "y = -x", **draw.ending())
    exponent = draw.one((0, 1, 2, 3, -1, -2, 0.5, -0.5, 2.0, 1.5, 0.0, -1.0))
    program = theirs = f"y = x ** {exponent}"
    if abs(exponent) == 0.5:  # PyTorch takes the root, which has another sign at -0, and is NaN of -∞
        x, theirs = draw.operand(x.shape, dtype, special=0.0), f"y = (x + 0) ** {exponent}"
    whole = not dtype.startswith("float") and (exponent < 0 or isinstance(exponent, float))
    instead = (("pow", f"y = x.float() ** {exponent}"),) if whole else ()
    return Case("pow", {"x": x}, program, theirs, instead, **draw.ending())


def reduction(draw: Draw) -> Case:
    """sum, mean, max and var."""
    dtype, shape = draw.dtype(), draw.shape(0, 4)
    op = draw.one(("sum", "mean", "max", "var"))
    x = draw.operand(shape, dtype, special=0.0 if op == "var" else 0.15)  # an infinity's variance is NaN
    ndim, keepdim = len(shape), draw.chance(0.4)
    form = draw.int(0, 9)
    dims = [dim - ndim * draw.chance(0.4) for dim in draw.rng.permutation(ndim).tolist()[: draw.int(1, max(ndim, 1))]]
    dim = None if form < 2 else dims[0] if form < 6 and dims else tuple(dims) if form < 8 else dims
    if draw.chance(0.04):
        dim = draw.one((ndim, -ndim - 1, (0, 0), (0, -ndim), 0, -1, ()))
    text = f"np.int64({dim})" if type(dim) is int and draw.chance(0.02) else repr(dim)
    correction = draw.one((1, 1, 0, 2)) if op == "var" else None
    more = f", correction={correction}" if op == "var" else ""
    theirs = f"y = x.{op}(dim={dim!r}, keepdim={keepdim}{more})"
    if op == "max":  # amax shares the gradient between equals, as max without a dim does
        theirs = f"y = x.amax(dim={() if dim is None else dim!r}, keepdim={keepdim})"
    instead, axes = [], (dim,) if type(dim) is int else range(ndim) if dim is None else dim
    if ndim == 0 and axes:
        instead.append(("axis", FAILS))
    elif all([-ndim <= axis < ndim for axis in axes]):
        count = math.prod([shape[axis] for axis in axes])
        if count == 0 and op in ("mean", "max"):
            instead.append(("mean of none", FAILS))
        if op == "var" and count <= correction:
            instead.append(("variance", FAILS))
        if ndim and not axes:  # an axis of length 1 in front is all that is reduced
            floating = op in ("mean", "var") and not dtype.startswith("float")
            called = f"{'amax' if op == 'max' else op}(0{more})"
            instead.append(("no axes", f"y = x{'.float()' if floating else ''}[None].{called}"))
        elif op == "max" and count:
            dims = tuple(axes)
            instead.append(("largest", f"y = to_largest(x, {dims}){'' if keepdim else f'.squeeze({dims})'}"))
    if op in ("mean", "var") and not dtype.startswith("float"):
        instead.append(("mean of integers" if op == "mean" else "function", theirs.replace("x.", "x.float().")))
    ending = draw.ending() | ({"infinite": False} if op == "var" else {})
    return Case(op, {"x": x}, f"y = x.{op}({text}, {keepdim}{more})", theirs, tuple(instead), **ending)


def shaping(draw: Draw) -> Case:
    """reshape, permute, transpose and T."""
    shape = draw.shape(0, 4)
    x, ndim, op = draw.operand(shape, draw.dtype()), len(shape), draw.one(("reshape", "permute", "transpose", "T"))
    if op == "T":
        instead = (("T", FAILS),) if ndim < 2 else ()
        return Case("T", {"x": x}, "y = x.T", "y = x.mT", instead, **draw.ending())
    if op == "transpose":
        dims = [draw.int(-ndim, max(ndim - 1, 0)) if draw.chance(0.96) else draw.int(-5, 5) for _ in range(2)]
        instead = (("axes swapped", FAILS),) if ndim == 0 else ()
        program = f"y = x.transpose({dims[0]}, {dims[1]})"
        return Case("transpose", {"x": x}, program, program, instead, **draw.ending())
    if op == "permute":
        numbers = [dim - ndim * draw.chance(0.3) for dim in draw.rng.permutation(ndim).tolist()]
        if numbers and draw.chance(0.04):
            numbers[0] = draw.int(-ndim - 1, ndim)
    else:
        numbers = [shape[i] for i in draw.rng.permutation(ndim)]
        if len(numbers) > 1 and draw.chance(0.5):
            numbers = [numbers[0] * numbers[1], *numbers[2:]]
        if draw.chance(0.3):
            numbers.insert(draw.int(0, len(numbers)), 1)
        if numbers and draw.chance(0.4):
            numbers[draw.int(0, len(numbers) - 1)] = -1
        if numbers and draw.chance(0.04):
            numbers[draw.int(0, len(numbers) - 1)] = draw.one((-1, -2, -3, 7, 0))
    numbers = tuple(numbers)
    text = repr(numbers) if draw.chance(0.4) or not numbers else ", ".join(map(str, numbers))
    program = f"y = x.{op}({text})"
    return Case(op, {"x": x}, program, program, **draw.ending())


def indexing(draw: Draw) -> Case:
    """Indices of all kinds, in mixtures."""
    shape = draw.shape(1, 4)
    x, inputs, ours, theirs = draw.operand(shape, draw.one(("float32", "float64", "int64"))), {}, [], []
    common = draw.filled(1, 2) if draw.chance(0.3) else (draw.int(1, 3),)  # the arrays' shape

    def add(text: str, other: str | None = None) -> None:
        ours.append(text)
        theirs.append(text if other is None else other)

    def named(operand: Operand) -> None:
        name = "ijkl"[len(inputs)]
        inputs[name] = operand
        add(name, f"{name}.numpy()")

    axis, ellipsis, bound = 0, False, []
    stop = draw.int(0, len(shape))
    while axis < stop:
        length, kind = shape[axis], draw.int(0, 13)
        low, high = -length, length - 1
        if draw.chance(0.01):
            high += 1
        if kind == 0:
            add("None")
            continue
        if kind == 1 and not ellipsis:
            add("...")
            ellipsis = True
            axis += draw.int(0, 1)
            continue
        if kind <= 3 and length:
            add(str(draw.int(low, high)))
        elif kind <= 6 or not length:
            bounds = ["" if draw.chance(0.4) else str(draw.int(-length - 1, length + 1)) for _ in range(2)]
            step = draw.one(("", "", ":2", ":1", ":3", ":-1"))
            add(":".join(bounds) + step)
        elif kind == 7:
            mask = draw.shape(0, 0) + shape[axis : axis + draw.one((1, 1, 2))]
            named(draw.operand(mask, "bool", draw.one(("tensor", "array"))))
            axis += len(mask)
            bound.append("mask")
            continue
        elif kind == 8:
            add(str([draw.chance(0.5) for _ in range(length)]))
            bound.append("mask")
        else:
            numbers = [draw.int(low, high) for _ in range(math.prod(common))]
            if kind == 9 and len(common) == 1:
                add(str(numbers))
            elif kind == 10 and len(common) == 1:
                add(str(tuple(numbers)))
            elif kind == 11:
                named(Operand(np.array(draw.int(low, high)), "", draw.one(("tensor", "array"))))
            else:
                dtype = draw.one(("int64", "int64", "int32"))
                named(Operand(np.array(numbers, dtype).reshape(common), "", draw.one(("tensor", "array"))))
            bound.append("array")
        axis += 1
    if not ours:
        add(draw.one(("...", "()", ":", "None")))
    if len(inputs) > 4 or (len(ours) == 1 and ours[0] == "()"):
        return indexing(draw)
    tail = "," if len(ours) == 1 and (ours[0].startswith("(") or draw.chance(0.3)) else ""
    program = f"y = x[{', '.join(ours)}{tail}]"
    instead = (("index", f"y = picked(x, positions(x)[{', '.join(theirs)}{tail}])"),)
    return Case("index", {"x": x, **inputs}, program, program, instead, **draw.ending())


def joining(draw: Draw) -> Case:
    """concatenate and stack."""
    count, op = draw.int(1, 3), draw.one(("concatenate", "stack"))
    shape = draw.shape(1, 3)
    ndim = len(shape) + (op == "stack")
    dim = draw.int(-ndim, ndim - 1) if draw.chance(0.96) else draw.one((ndim, -ndim - 1))
    inputs, dtype = {}, draw.dtype()
    for name in "abc"[:count]:
        own = list(shape)
        if op == "concatenate" and -ndim <= dim < ndim:
            own[dim] = draw.one((0, 1, 2, 3))
        if draw.chance(0.02):
            own = list(draw.shape(0, 3))
        inputs[name] = draw.operand(own, dtype if draw.chance(0.7) else draw.dtype())
    names = "".join(f"{name}, " for name in inputs)
    theirs = f"y = torch.{op[:3] if op == 'concatenate' else op}(({names}), {dim})".replace("torch.con", "torch.cat")
    legacy = op == "concatenate" and any([x.shape == (0,) for x in inputs.values()])
    instead = (("concatenate", FAILS),) if legacy else ()
    return Case(op, inputs, f"y = {op}([{names[:-2]}], {dim})", theirs, instead, **draw.ending())


def product(draw: Draw) -> Case:
    """@ of vectors, matrices and batches."""
    n, k, m = draw.shape(3, 3)
    batch = draw.shape(0, 2)
    left, right = (k,) if draw.chance(0.2) else (*draw.part(batch), n, k), (k,) if draw.chance(0.2) else (k, m)
    if len(right) == 2 and draw.chance(0.5):
        right = (*draw.part(batch), *right)
    if draw.chance(0.03):
        right = draw.shape(0, 3)
    dtype = draw.one(("float32", "float32", "float64", "float16", "int64", "uint8"))
    other = dtype if draw.chance(0.8) else draw.one(("float32", "float64", "int64"))
    a, b = draw.operand(left, dtype, special=0.03), draw.operand(right, other, special=0.03)
    if draw.chance(0.15):
        b = b._replace(role="array")
    theirs = "y = a @ b"
    if dtype != other:  # which PyTorch refuses, while it adds them
        theirs = "d = torch.promote_types(a.dtype, b.dtype); y = a.to(d) @ b.to(d)"
    return Case("matmul", {"a": a, "b": b}, "y = a @ b", theirs, **draw.ending())


ACTIVATIONS = {
    "ReLU()": "F.relu(x)",
    "LeakyReLU()": "F.leaky_relu(x)",
    "LeakyReLU(0.3)": "F.leaky_relu(x, 0.3)",
    "LeakyReLU(-0.5)": "F.leaky_relu(x, -0.5)",
    "LeakyReLU(2.0)": "F.leaky_relu(x, 2.0)",
    "Sigmoid()": "torch.sigmoid(x)",
    "Tanh()": "torch.tanh(x)",
    "GELU()": "F.gelu(x, approximate='tanh')",
}


def activation(draw: Draw) -> Case:
    """Values and both gradients."""
    shape, layer = draw.shape(0, 4), "layer" if draw.chance(0.5) else ""
    dtype = draw.one(FLOATS)
    if draw.chance(0.4):
        name, dim = draw.one(("Softmax", "LogSoftmax")), draw.int(-len(shape), max(len(shape) - 1, 0))
        if draw.chance(0.02):
            dim = draw.int(-5, 5)
        made, theirs = f"{name}({dim})", f"y = {'torch.softmax' if name == 'Softmax' else 'torch.log_softmax'}(x, {dim})"
        key = "softmax" if name == "Softmax" else "log softmax"
        instead = ((key, FAILS),) if not shape else ()
    else:
        made = draw.one(list(ACTIVATIONS))
        theirs, instead = f"y = {ACTIVATIONS[made]}", ()
        if made == "ReLU()":
            instead = (("relu", "y = torch.where(x > 0, x, torch.where(x.isnan(), x, 0).detach())"),)
        if made == "GELU()":
            far = "far = x.isinf(); y = torch.where(far, x.relu(), "
            instead = (("gelu", f"{far}F.gelu(x.masked_fill(far, 0), approximate='tanh'))"),)
        if draw.chance(0.04) and made in ("ReLU()", "Sigmoid()", "Tanh()"):
            dtype = draw.one(("int64", "int32", "uint8"))
    x = draw.operand(shape, dtype)
    label = f"{made.split('(')[0]}{' by hand' if layer else ''}"
    ours = f"layer = {made}; y = layer(x)"
    ending = draw.ending()
    if made == "GELU()" and dtype == "float16":
        ending["infinite"] = False  # 03.3: "In float16, y′ rounds to 0 below -3.6, where an infinite gradient gives NaN."
    return Case(label, {"x": x}, ours, theirs, instead, layer if x.role == "leaf" else "", **ending)


def loss(draw: Draw) -> Case:
    """Values and both gradients."""
    layer, name = "layer" if draw.chance(0.5) else "", draw.one(("MSELoss", "BCEWithLogitsLoss", "CrossEntropyLoss"))
    dtype, label = draw.one(("float32", "float32", "float64")), name + (" by hand" if layer else "")
    if name == "CrossEntropyLoss":
        shape = draw.shape(1, 3)
        classes = max(shape[-1], 1)
        x = draw.operand((*shape[:-1], classes), dtype, "leaf", special=0.05)
        ignored = draw.one((-100, -100, 0, classes - 1, -1))
        t = draw.rng.integers(0, classes, shape[:-1])
        t[draw.rng.random(t.shape) < draw.one((0, 0.3))] = ignored
        if draw.chance(0.02):
            t[...] = draw.one((classes, -2))
        smoothing = draw.one((0.0, 0.0, 0.1, 0.5))
        t = Operand(t.astype(draw.one(("int64", "int32"))), "", draw.one(("tensor", "array")))
        options = f"label_smoothing={smoothing}, ignore_index={ignored}"
        theirs = f"y = F.cross_entropy(x.reshape(-1, {classes}), t.reshape(-1).long(), {options})"
        counted = (t.base != ignored).any()
        instead = (() if counted else (("none counts", FAILS),)) if t.base.size else (("no target", FAILS),)
        ours = f"layer = CrossEntropyLoss({options}); y = layer(x, t)"
        return Case(label, {"x": x, "t": t}, ours, theirs, instead, layer, **draw.ending() | {"infinite": False})
    shape = draw.shape()
    x = draw.operand(shape, dtype, "leaf", special=0.05)
    other = shape if draw.chance(0.95) else draw.part(shape)
    if name == "MSELoss":
        t = draw.operand(other, draw.one((dtype, dtype, "int64")), draw.one(("tensor", "array")), special=0.02)
        theirs, instead = "y = F.mse_loss(x, t.to(x.dtype))", ()
    else:
        values = draw.rng.random(other) if draw.chance(0.5) else draw.rng.integers(0, 2, other)
        if draw.chance(0.03):
            values = values + 0.5
        t = Operand(np.asarray(values, draw.one((dtype, dtype, "int64"))), "", draw.one(("tensor", "array")))
        theirs = "y = F.binary_cross_entropy_with_logits(x, t.to(x.dtype))"
        instead = (("logarithm", "y = (x.relu() - x * t.to(x.dtype) + torch.log(1 + torch.exp(-x.abs()))).mean()"),)
        instead += (
            ("infinite logit", "y = (x.relu() - x * t.to(x.dtype) + torch.log(1 + torch.exp(x - 2 * x.relu()))).mean()"),
        )
        if t.base.size and (t.base > 1).any():
            instead = (("outside", FAILS),)
    if other != shape:
        instead = (("one shape", FAILS),)
    elif 0 in shape:
        instead = (("no values", FAILS),)
    return Case(label, {"x": x, "t": t}, f"layer = {name}(); y = layer(x, t)", theirs, instead, layer, **draw.ending())


def either(draw: Draw, low: int, high: int):
    """A number, or a pair."""
    return draw.int(low, high) if draw.chance(0.6) else (draw.int(low, high), draw.int(low, high))


def images(draw: Draw, dtype: str, special: float = 0.03) -> Operand:
    """(batch, channels, h, w)."""
    shape = (draw.one((0, 1, 2, 2, 3)), draw.int(1, 3), draw.int(1, 7), draw.int(1, 7))
    return draw.operand(shape, dtype, special=special)


def convolution(draw: Draw) -> Case:
    """conv2d."""
    dtype = draw.one(("float32", "float64"))
    x = images(draw, dtype)
    channels = x.shape[1] + draw.chance(0.02)
    w = draw.operand((draw.int(1, 3), channels, draw.int(1, 4), draw.int(1, 4)), dtype, special=0.0)
    b = draw.operand((w.shape[0] + draw.chance(0.02),), dtype) if draw.chance(0.5) else None
    options = f"stride={either(draw, 1, 3)}, padding={either(draw, 0, 2)}"
    ending = draw.ending() | {"infinite": False}
    return Case(
        "conv2d", {"x": x, "w": w, "b": b}, f"y = conv2d(x, w, b, {options})", f"y = F.conv2d(x, w, b, {options})", **ending
    )


def pooling(draw: Draw) -> Case:
    """The three pools."""
    x = images(draw, draw.one(("float32", "float32", "float64", "float16")), 0.1)
    if draw.chance(0.2):
        return Case("GlobalAvgPool", {"x": x}, "y = GlobalAvgPool()(x)", "y = x.mean((2, 3))", **draw.ending())
    name, kernel = draw.one(("MaxPool2d", "AvgPool2d")), either(draw, 1, 3)
    options = f"{kernel}, {either(draw, 1, 3) if draw.chance(0.5) else None}"
    theirs = f"y = F.{'max_pool2d' if name == 'MaxPool2d' else 'avg_pool2d'}(x, {options})"
    instead = (("no largest", f"{theirs}; y = torch.where(y.isnan(), y.detach(), y)"),) if name == "MaxPool2d" else ()
    return Case(name, {"x": x}, f"y = {name}({options})(x)", theirs, instead, **draw.ending() | {"infinite": False})


def normalisation(draw: Draw) -> Case:
    """BatchNorm2d, trained by a batch or two, and then in eval mode or not."""
    xs = [images(draw, "float32", 0.0)]
    if xs[0].shape[0] == 0:
        return normalisation(draw)
    n = xs[0].shape[1]
    first = draw.operand((draw.int(1, 3), n, draw.int(1, 4), draw.int(2, 4)), "float32", "tensor", 0.0)
    w, b = (draw.operand((n,), "float32", "array", 0.0) for _ in range(2))
    options = f"{n}, momentum={draw.one((0.1, 0.5, 0.01))}, eps={draw.one((1e-5, 1e-3))}"
    mode = draw.one(("", "layer.eval(); "))
    filled = "layer.weight.data[...] = w; layer.bias.data[...] = b; layer(first)"
    ours = f"layer = BatchNorm2d({options}); {filled}; {mode}y = layer(x)"
    theirs = ours.replace(f"BatchNorm2d({options})", f"torch.nn.BatchNorm2d({options}).to(x.dtype)")
    also = "; also = [layer.running_mean, layer.running_var]"
    single = math.prod(xs[0].shape) == n and not mode
    instead = (("one value", FAILS),) if single else ()
    inputs = {"x": xs[0], "first": first, "w": w, "b": b}
    return Case("BatchNorm2d", inputs, ours + also, theirs + also, instead, **draw.ending() | {"infinite": False})


def linear(draw: Draw) -> Case:
    """x Wᵀ + b, by hand and recorded."""
    k, m, hand = draw.int(1, 4), draw.int(1, 4), draw.chance(0.5)
    x = draw.operand((*draw.shape(0, 3), k + draw.chance(0.02)), "float32", "leaf", 0.02)
    w, b = draw.operand((m, k), "float32", "array", 0.0), draw.operand((m,), "float32", "array", 0.0)
    bias = draw.chance(0.7)
    ours = f"layer = Linear({k}, {m}, bias={bias}); layer.weight.data[...] = w" + ("; layer.bias.data[...] = b" if bias else "")
    return Case(
        "Linear" + " by hand" * hand,
        {"x": x, "w": w, "b": b},
        f"{ours}; y = layer(x)",
        f"y = F.linear(x, w{', b' if bias else ''})",
        layer="layer" if hand else "",
        **draw.ending(),
    )


def steps(draw: Draw) -> Case:
    """An optimizer on two parameters."""
    name, dtype = draw.one(("SGD", "Adam", "AdamW")), draw.one(("float32", "float64"))
    shapes = [draw.shape(0, 2), draw.shape(1, 2)]
    arrays = [Operand(draw.values(shape, dtype, 0), "", "array") for shape in shapes]
    grads = [
        [Operand(draw.values(shape, dtype, 0.02), "", "array") if draw.chance(0.9) else None for shape in shapes]
        for _ in range(draw.int(1, 5))
    ]
    options = f"lr={draw.one((0.1, 0.01, 0.3, 0.0))}, weight_decay={draw.one((0.0, 0.0, 0.1, 0.01))}"
    if name == "SGD":
        momentum = draw.one((0.0, 0.9, 0.5))
        options += f", momentum={momentum}, nesterov={bool(momentum) and draw.chance(0.5)}"
    else:
        options += f", betas={draw.one(((0.9, 0.999), (0.5, 0.9), (0.0, 0.99)))}, eps={draw.one((1e-8, 1e-3))}"
    loop = "\nfor gs in grads:\n    for p, g in zip(ps, gs):\n        p.grad = g\n    o.step()\nalso = [p.data for p in ps]"
    ours = f"ps = [Parameter(a) for a in arrays]\no = {name}(ps, {options}){loop}"
    theirs = f"ps = [torch.nn.Parameter(a) for a in arrays]\no = torch.optim.{name}(ps, {options}){loop}"
    return Case(name, {"arrays": arrays, "grads": grads}, ours, theirs)


def clipping(draw: Draw) -> Case:
    """clip_grad_norm."""
    dtype = draw.one(("float32", "float32", "float64"))
    scale = draw.one((1.0, 1.0, 1e-3, 1e3, 1e18, 1e-30 if dtype == "float32" else 1e200))
    shapes = [draw.shape() for _ in range(draw.int(1, 3))]
    gs = [Operand(np.asarray(draw.values(shape, dtype, 0.02) * scale, dtype), "", "array") for shape in shapes]
    most = draw.one((1.0, 0.1, 100.0, scale))
    start = "for p, g in zip(ps, gs):\n    p.grad = g.clone()\n"
    also = "\nalso = [y, *[p.grad for p in ps]]"
    ours = f"ps = [Parameter(g) for g in gs]\n{start.replace('clone', 'copy')}y = np.{dtype}(clip_grad_norm(ps, {most})){also}"
    begin = f"ps = [torch.nn.Parameter(g) for g in gs]\n{start}"
    theirs = f"{begin}y = torch.nn.utils.clip_grad_norm_(ps, {most}){also}"
    values = "v = torch.cat([torch.zeros(1), *[g.double().ravel() for g in gs]])"
    length = f"{values}\nm = v.abs().max().clamp_min(1e-300)\ny = m * (v / m).norm()"
    scaled = f"for p in ps:\n    p.grad.mul_(torch.clamp({most} / y, max=1.0))\ny = y.to(torch.{dtype})"
    exact = f"{length}\n{scaled}{also}"
    finite = all([np.isfinite(g.base).all() for g in gs])
    instead = (("clip", f"{begin}{exact}"),) if finite else (("clip finite", FAILS),)
    return Case("clip_grad_norm", {"gs": gs}, ours, theirs, instead)


def creation(draw: Draw) -> Case:
    """From lists and numbers."""

    def nested(depth: int):
        if not depth:
            return draw.one(pool)
        return [nested(depth - 1) for _ in range(lengths[depth])]

    what = draw.int(0, 5)
    if what == 0:
        bounds = [draw.one((0, 1, 3, -2, 0.5, 2.5)), draw.one((4, 5, 0, 4.5)), draw.one((1, 2, -1, 0.5, 0.25))][
            : draw.int(2, 3)
        ]
        if draw.chance(0.3):
            bounds = bounds[1:2]
        text = ", ".join(map(str, bounds))
        dtype = "float32" if any([isinstance(bound, float) for bound in bounds]) else "int64"
        instead = (("arange", f"y = torch.zeros(0, dtype=torch.{dtype})"),)
        return Case("arange", {}, f"y = arange({text})", f"y = torch.arange({text})", instead)
    if what == 1:
        shape, value = draw.shape(), draw.one((0, 1, 2.5, True, -3, np.inf))
        return Case("full", {"value": value}, f"y = full({shape}, value)", f"y = torch.full({shape}, value)")
    pool = draw.one(((1, 2, 3), (1, 2.5), (True, False), (True, 2), (0.5, True), (1.0, np.nan)))
    lengths = [draw.int(0, 3) for _ in range(4)]
    data, instead = nested(draw.int(0, 3)), ()
    if isinstance(data, list) and data and draw.chance(0.03):
        data.append([1] * (draw.int(0, 3)))
        instead = (("ragged", FAILS),) if np.shape(data[0]) != np.shape(data[-1]) else ()
    end = draw.one(("", "", ".item()", ".ndim"))
    if end == ".item()" and draw.chance(0.5):
        return Case("bool", {"data": data}, "y = bool(Tensor(data))", "y = bool(torch.tensor(data))")
    return Case("Tensor", {"data": data}, f"y = Tensor(data){end}", f"y = torch.tensor(data){end}", instead)


def graph(draw: Draw) -> Case:
    """3 to 12 operations on shared tensors, of moderate values."""
    dtype, inputs, ours, theirs, to_b = draw.one(("float32", "float64")), {}, [], [], []
    shapes, n, m = {}, draw.int(1, 4), draw.int(1, 4)
    for name in "ab":
        shapes[name] = draw.one(((n, m), (m,), (n, 1), (), (2, n, m), (n, n)))
        values = np.asarray(draw.rng.standard_normal(shapes[name]), dtype)
        inputs[name] = Operand(values, "", "leaf" if name == "a" or draw.chance(0.7) else "tensor")

    def add(shape, text: str, other: str | None = None, tie: str | None = None) -> None:
        name = f"v{len(ours)}"
        shapes[name] = tuple(shape)
        ours.append(f"{name} = {text}")
        theirs.append(f"{name} = {text if other is None else other}")
        to_b.append(f"{name} = {tie or (text if other is None else other)}")

    def broadcast(a: str, b: str):
        try:
            return np.broadcast_shapes(shapes[a], shapes[b])
        except ValueError:
            return None

    count = draw.int(3, 12)
    while len(ours) < count:
        names = list(shapes)
        a, b = (draw.one(names[-4:]) if draw.chance(0.6) else draw.one(names) for _ in range(2))
        shape, both, what = shapes[a], broadcast(a, b), draw.int(0, 15)
        ndim = len(shape)
        if both is not None and math.prod(both) > 500:
            continue
        if what < 4 and both is not None:
            add(both, draw.one((f"{a} + {b}", f"{a} - {b}", f"{a} * {b}.tanh()", f"{a} / ({b} * {b} + 1)", f"0.5 * {a} - {b}")))
        elif what == 4:
            add(
                shape,
                draw.one((f"{a}.tanh()", f"{a}.tanh().exp()", f"({a} * {a} + 1).sqrt()", f"({a} * {a} + 1).log()", f"-{a}")),
            )
        elif what == 5:
            add(shape, f"({a}.tanh() + 2) ** {draw.one((2, 3, -1, 0.5))}")
        elif what == 6 and both is not None:
            add(both, f"maximum({a}, {b})", f"torch.maximum({a}, {b})", f"to_b({a}, {b})")
        elif what == 7 and both is not None:
            add(both, f"where({a} > {b}, {a}, {b} * 2)", f"torch.where({a} > {b}, {a}, {b} * 2)")
        elif what in (8, 9) and ndim:
            dim, keep, op = draw.int(-ndim, ndim - 1), draw.chance(0.6), draw.one(("sum", "mean", "max"))
            reduced = list(shape)
            reduced[dim : dim + 1 or None] = [1] if keep else []
            add(reduced, f"{a}.{op}({dim}, {keep})", f"{a}.{op.replace('max', 'amax')}({dim}, {keep})")
        elif what == 10 and ndim > 1:
            order = draw.rng.permutation(ndim).tolist()
            add([shape[i] for i in order], f"{a}.permute{tuple(order)}")
        elif what == 11 and ndim:
            add((math.prod(shape),), f"{a}.reshape(-1)")
        elif what == 12 and ndim:
            rows = [draw.int(0, shape[0] - 1) for _ in range(draw.int(1, 4))]
            if draw.chance(0.5):
                add((len(rows), *shape[1:]), f"{a}[{rows}]")
            else:
                add((len(range(shape[0])[::2]), *shape[1:]), f"{a}[::2]")
        elif what == 13 and ndim and shapes[b][1:] == shape[1:] and shapes[b]:
            rows = shape[0] + shapes[b][0]
            add((rows, *shape[1:]), f"concatenate([{a}, {b}])", f"torch.cat([{a}, {b}])")
        elif what == 14 and ndim == 2 and len(shapes[b]) >= 1 and shapes[b][-2 if len(shapes[b]) > 1 else 0] == shape[1]:
            right = shapes[b]
            add((*right[:-2], shape[0], *right[-1:]) if len(right) > 1 else (shape[0],), f"{a} @ {b} / {shape[1]}")
        elif what == 15 and ndim:
            name, other = draw.one((
                ("Softmax()", "torch.softmax({}, -1)"),
                ("LogSoftmax(0)", "torch.log_softmax({}, 0)"),
                ("GELU()", "F.gelu({}, approximate='tanh')"),
                ("ReLU()", "F.relu({})"),
                ("Sigmoid()", "torch.sigmoid({})"),
            ))  # fmt: skip
            add(shape, f"{name}({a})", other.format(a))
    last = f"\ny = {list(shapes)[-1]}"
    instead = (("tie", "\n".join(to_b) + last),) if to_b != theirs else ()
    ending = draw.ending() | {"infinite": False}
    return Case("graph", inputs, "\n".join(ours) + last, "\n".join(theirs) + last, instead, **ending)


KINDS: dict[str, tuple[Callable[[Draw], Case], float]] = {
    "arithmetic and comparisons": (binary, 16),
    "maximum and where": (choice, 7),
    "functions and powers": (unary, 7),
    "reductions": (reduction, 11),
    "shape": (shaping, 6),
    "indexing": (indexing, 11),
    "concatenate and stack": (joining, 4),
    "matrix products": (product, 6),
    "creation": (creation, 2),
    "activations": (activation, 7),
    "losses": (loss, 6),
    "layers": (linear, 2),
    "convolution": (convolution, 3),
    "pooling": (pooling, 3),
    "batch normalisation": (normalisation, 1),
    "optimizers": (steps, 2),
    "clipping": (clipping, 1),
    "graphs": (graph, 8),
}
_BOUNDS = np.cumsum([weight for _, weight in KINDS.values()])


def case(seed: int, number: int) -> tuple[str, Case]:
    """One case, with its kind: the same for the same numbers."""
    draw = Draw(np.random.default_rng([seed, number]))
    kind = list(KINDS)[int(np.searchsorted(_BOUNDS, draw.rng.random() * _BOUNDS[-1], "right"))]
    return kind, KINDS[kind][0](draw)
