import numpy as np
import pytest
from katas.autograd import unbroadcast, vjp

from specs.check import PRIMITIVES, assert_close, assert_dtype, assert_rule, derived, layouts, undisturbed

PAIR, CHOSEN = [(2, 3), (2, 3)], np.array([[True, False, True], [False, True, False]])
RULES = {  # the shapes of the operands, and the attributes
    **{op: (op, PAIR, {}) for op in ("add", "sub", "mul", "div", "maximum")},
    "where": ("where", PAIR, {"condition": CHOSEN}),
    **{op: (op, [(2, 3)], {}) for op in ("neg", "exp", "log", "sqrt", "tanh")},
    "pow": ("pow", [(2, 3)], {"exponent": 3}),
    "reshape": ("reshape", [(2, 3)], {"shape": (-1, 2)}),
    "permute": ("permute", [(2, 3)], {"dims": (1, 0)}),
    "a slice": ("getitem", [(2, 3)], {"index": slice(1, None)}),
    "rows": ("getitem", [(2, 3)], {"index": np.array([1, 0, 1])}),
    "concatenate": ("concatenate", PAIR, {"dim": 1}),
    "sum": ("sum", [(2, 3)], {"dim": 0, "keepdim": False}),
    "max": ("max", [(2, 3)], {"dim": 0, "keepdim": False}),
    "matmul": ("matmul", [(2, 3), (3, 4)], {}),
}
STEPS = (0.37, 0.73)  # what is left of their multiples lies in no order
CASES = [(name, argnum) for name, (_, shapes, _) in RULES.items() for argnum in range(len(shapes))]
every = pytest.mark.parametrize(("name", "argnum"), CASES, ids=[f"{name}, parent {argnum}" for name, argnum in CASES])


def operands(name: str, dtype=np.float64) -> list[np.ndarray]:
    """Values from 1 to 2, all different."""
    return [
        1 + ((1 + np.arange(np.prod(shape))) * step % 1).reshape(shape).astype(dtype)
        for shape, step in zip(RULES[name][1], STEPS, strict=False)
    ]


def gradient(name: str, parts: list[np.ndarray]) -> np.ndarray:
    """One for the result."""
    op, _, attrs = RULES[name]
    shape = np.shape(PRIMITIVES[op](*parts, **attrs))
    return np.arange(1.0, 1.0 + np.prod(shape)).reshape(shape).astype(parts[0].dtype)


@every
def test_a_rule_reads_its_arrays_by_index(name, argnum):
    """A rule gives the same result in any memory layout: its arrays may be transposed, reversed, or strided."""
    op, _, attrs = RULES[name]
    parts = operands(name)
    g = gradient(name, parts)
    for order in layouts(g):
        assert_rule(op, argnum, layouts(g)[order], *(layouts(part)[order] for part in parts), **attrs)


@pytest.mark.parametrize("length", [0, 1])
@every
def test_axes_of_length_0_and_1_are_axes(name, argnum, length):
    """The gradient of an operand with an axis of length 0 or 1 has the operand's shape."""
    op, shapes, attrs = RULES[name]
    if op == "where":
        attrs = {"condition": np.ones((2, length), bool)}
    shapes = [(length, 3), (3, 4)] if op == "matmul" else [(2, length)] * len(shapes)
    parts = [np.full(shape, 2.0) for shape in shapes]
    g = np.ones(np.shape(PRIMITIVES[op](*parts, **attrs)))
    assert derived(op, argnum, g, *parts, **attrs).shape == shapes[argnum]


@pytest.mark.parametrize("value", [np.inf, np.nan])
@every
def test_a_broken_gradient_shows(name, argnum, value):
    """A rule passes on an infinity or NaN in g: it does not replace it by a number."""
    op, _, attrs = RULES[name]
    parts = operands(name)
    with np.errstate(all="ignore"):
        got = derived(op, argnum, np.full_like(gradient(name, parts), value), *parts, **attrs)
    assert (np.isnan if np.isnan(value) else np.isinf)(got).any(), f"g is {value} everywhere, and the rule gives {got.tolist()}"


@every
def test_a_rule_changes_none_of_its_arrays(name, argnum):
    """A rule changes neither g, y nor the operands: other rules will read them."""
    op, _, attrs = RULES[name]
    parts = operands(name)
    arrays = [gradient(name, parts), np.array(PRIMITIVES[op](*parts, **attrs)), *parts]
    before = [array.copy() for array in arrays]
    vjp(op, argnum)(*arrays, **attrs)
    for label, array, old in zip("gyab", arrays, before, strict=False):
        assert_close(array, old, name=label)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@every
def test_every_rule_keeps_the_dtype(name, argnum, dtype):
    """A rule returns float32 if all its arrays are float32, and float64 if they are float64."""
    op, _, attrs = RULES[name]
    parts = operands(name, dtype)
    assert_dtype(derived(op, argnum, gradient(name, parts), *parts, **attrs), dtype)


@every
def test_every_rule_leaves_the_process_alone(name, argnum):
    """A rule changes neither NumPy's global generator, nor its error handling, nor the working directory."""
    op, _, attrs = RULES[name]
    parts = operands(name)
    with undisturbed():
        derived(op, argnum, gradient(name, parts), *parts, **attrs)


@pytest.mark.parametrize("name", ["reshape", "permute"])
def test_the_gradient_of_a_view_shares_memory_with_g(name):
    """reshape and permute return views, and their gradients are views of g."""
    op, _, attrs = RULES[name]
    parts = operands(name)
    g = gradient(name, parts)
    assert np.shares_memory(derived(op, 0, g, *parts, **attrs), g), "this is a copy: the memory is not that of g"


@pytest.mark.parametrize("op", ["sum", "max"])
def test_attributes_are_taken_by_name(op, draw):
    """A rule takes dim and keepdim as keywords, in either order."""
    a, g = draw.normal(2, 3), draw.normal(1, 3)
    assert_rule(op, 0, g, a, keepdim=True, dim=0)


def test_unbroadcast_reads_by_index():
    """unbroadcast gives the same sums whatever the gradient's memory layout."""
    grad = np.arange(6.0).reshape(2, 3)
    for order, laid in layouts(grad).items():
        assert_close(unbroadcast(laid, (3,)), [3.0, 5.0, 7.0], name=f"a gradient that lies {order}")
        assert_close(unbroadcast(laid, (2, 1)), [[3.0], [12.0]], name=f"a gradient that lies {order}")


def test_unbroadcast_returns_the_gradient_itself():
    """unbroadcast returns the gradient itself, not a copy, if the shapes agree."""
    grad = np.ones((2, 3))
    assert np.shares_memory(unbroadcast(grad, (2, 3)), grad)


@pytest.mark.parametrize("shape", [(2, 3), (3,), (2, 1), ()], ids=str)
def test_unbroadcast_changes_nothing_else(shape):
    """unbroadcast does not change its argument or any setting of the process, and passes on infinities and NaN."""
    grad = np.array([[np.inf, 1.0, np.nan], [1.0, 2.0, 3.0]])
    before = grad.copy()
    with undisturbed():
        got = unbroadcast(grad, shape)
    assert np.isnan(got).any()
    assert np.isinf(got).any() or shape in ((2, 1), ())  # inf + NaN is NaN
    assert got.flags.writeable or got.ndim == 0  # NumPy's scalars can't be written to
    assert_close(grad, before)
