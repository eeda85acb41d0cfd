import numpy as np
import pytest
from katas.autograd import defvjp
from katas.tensor import Tensor, concatenate, maximum, where

from specs.check import assert_close, layouts, rejects, undisturbed

EXPRESSIONS = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "div": lambda a, b: a / b,
    "neg": lambda a, b: -a,
    "pow": lambda a, b: a**2,
    "exp": lambda a, b: a.exp(),
    "log": lambda a, b: a.log(),
    "sqrt": lambda a, b: a.sqrt(),
    "tanh": lambda a, b: a.tanh(),
    "maximum": lambda a, b: maximum(a, b),
    "where": lambda a, b: where(np.array([True, False]), a, b),
    "sum": lambda a, b: a.sum(0),
    "max": lambda a, b: a.max(0, keepdim=True),
    "reshape": lambda a, b: a.reshape(4),
    "permute": lambda a, b: a.permute(1, 0),
    "a slice": lambda a, b: a[1:],
    "rows": lambda a, b: a[[1, 0, 1]],
    "concatenate": lambda a, b: concatenate([a, b], 1),
    "matmul": lambda a, b: a @ b,
}
every = pytest.mark.parametrize("name", EXPRESSIONS)


def leaf(values) -> Tensor:
    """A tensor that requires a gradient, with the given array itself."""
    return Tensor(np.asarray(values, np.float64), requires_grad=True)


def pair() -> tuple[Tensor, Tensor]:
    return leaf([[1.0, 2.0], [3.0, 4.0]]), leaf([[5.0, 6.0], [7.0, 8.0]])


@every
def test_a_grad_may_be_written_to(name):
    """A grad can be changed in place, as clipping does, whichever operation it comes from."""
    a, b = pair()
    result = EXPRESSIONS[name](a, b)
    result.backward(np.ones(result.shape))
    for tensor in (a, b):
        assert tensor.grad is None or tensor.grad.flags.writeable, "the grad is read-only"


SPREAD = {  # gradients that come as views of fewer values, or of others
    "a mean": (lambda x: x.mean(), (1,)),
    "a mean of one axis": (lambda x: x.mean(1), (3, 1)),
    "a sum": (lambda x: (2 * x.sum(1)).sum(), (3, 1)),
    "a sum that keeps its axis": (lambda x: x.sum(1, keepdim=True), (3, 1)),
    "a sum of many": (lambda x: x.sum(), (3, 4)),
    "a sum of nothing": (lambda x: x.sum(), (0, 3)),
    "a number": (lambda x: x.sum(), ()),
    "a permuted sum": (lambda x: x.permute(2, 0, 1).sum(0), (2, 3, 4)),
    "axes in another order": (lambda x: x.permute(2, 0, 1) * 2, (2, 3, 4)),
    "a product, transposed": (lambda x: x.T @ np.ones((3, 2)), (3, 4)),
    "a piece": (lambda x: concatenate([x, Tensor(np.ones((3, 4)))], 1), (3, 4)),
}


@pytest.mark.parametrize("name", SPREAD)
def test_a_grad_has_memory_of_its_own(name):
    """A grad is writable, contiguous, and shared with no one: a second backward adds to it."""
    expression, shape = SPREAD[name]
    x = leaf(np.ones(shape))
    result = expression(x)
    g = np.ones(result.shape)
    result.backward(g)
    assert x.grad.flags.writeable, "the grad is read-only"
    low, high = np.lib.array_utils.byte_bounds(x.grad)
    assert high - low == x.grad.nbytes or not x.grad.size, "the grad has gaps, or repeats its values"
    assert not np.shares_memory(x.grad, g), "the grad is that of the result"
    first = x.grad.copy()
    expression(x).backward(g)
    assert_close(x.grad, 2 * first)


KEPT = np.full((2, 2), 3.0)
LENDING = {  # rules that return what others have
    "its operand": lambda g, y, a: a,
    "the result": lambda g, y, a: y,
    "g": lambda g, y, a: g,
    "an array that it keeps": lambda g, y, a: KEPT,
    "a view of its operand": lambda g, y, a: a.T,
    "a number for all": lambda g, y, a: np.broadcast_to(3.0, a.shape),
}


@pytest.mark.parametrize("after", ["", "a reshape", "a product"])
@pytest.mark.parametrize("name", LENDING)
def test_a_grad_is_not_what_a_rule_lends(name, after):
    """The grad is a copy if a rule returns its operand, the result, g, or an array it saved, however far from the leaf."""
    defvjp("lends", LENDING[name])
    x = leaf([[1.0, 2.0], [3.0, 4.0]])
    operand = {"": x, "a reshape": x.T.reshape(2, 2).T, "a product": x @ np.eye(2)}[after]
    y, g = Tensor._result("lends", 2 * operand.data, operand), np.ones((2, 2))
    y.backward(g)
    assert x.grad.flags.writeable, "the grad is read-only"
    for other in (x.data, operand.data, y.data, g, KEPT):
        assert not np.shares_memory(x.grad, other), "the grad is another's array, or a view of it"


def test_a_grad_is_not_an_array_that_a_rule_has_seen():
    """The grad is a copy if a rule saves its g and returns it, even if g is a sum that backward made."""
    seen = []
    defvjp("keeps", lambda g, y, a: seen.append(g) or g)
    x = leaf([1.0, 2.0])
    h = Tensor._result("keeps", x.data, x)
    (h + h).backward(np.ones(2))
    assert not np.shares_memory(x.grad, seen[0]), "the grad is another's array, or a view of it"


def test_leaves_share_no_grad():
    """If a rule returns the same array for both operands, each gets a copy."""
    defvjp("both", lambda g, y, a, b: KEPT, lambda g, y, a, b: KEPT)
    a, b = pair()
    Tensor._result("both", a.data + b.data, a, b).backward(np.ones((2, 2)))
    assert not np.shares_memory(a.grad, b.grad), "two leaves share a grad"


COINCIDENCES = {  # a, b and the gradient of the result: the gradient of a, or of b, has the values of another array
    "add": (lambda a, b: a + b, 3.0, 3.0, 3.0),
    "sub": (lambda a, b: a - b, 3.0, -3.0, 3.0),
    "mul": (lambda a, b: a * b, 3.0, 2.0, 1.0),
    "div": (lambda a, b: a / b, 3.0, -1.0, 1.0),
    "neg": (lambda a, b: -a, 3.0, 2.0, -3.0),
    "pow": (lambda a, b: a**2, 3.0, 2.0, 0.5),
    "exp": (lambda a, b: a.exp(), 3.0, 2.0, 1.0),
    "log": (lambda a, b: a.log(), 2.0, 3.0, 4.0),
    "sqrt": (lambda a, b: a.sqrt(), 4.0, 3.0, 16.0),
    "tanh": (lambda a, b: a.tanh(), 0.0, 2.0, 0.0),
    "maximum": (lambda a, b: maximum(a, b), 3.0, 2.0, 3.0),
    "where": (lambda a, b: where(np.array([[True]]), a, b), 3.0, 2.0, 3.0),
    "sum": (lambda a, b: a.sum(0), 3.0, 2.0, 3.0),
    "max": (lambda a, b: a.max(0), 3.0, 2.0, 6.0),
    "reshape": (lambda a, b: a.reshape(4), 3.0, 2.0, 3.0),
    "permute": (lambda a, b: a.T, 3.0, 2.0, 3.0),
    "a new axis": (lambda a, b: a[None], 3.0, 2.0, 3.0),
    "concatenate": (lambda a, b: concatenate([a, b]), 3.0, 3.0, 3.0),
    "matmul, a": (lambda a, b: a[:1, 0] @ b[:1, 0], 3.0, 2.0, 1.0),
    "matmul of matrices": (lambda a, b: a @ b, 2.0, 1.0, 0.5),
}


@pytest.mark.parametrize("name", COINCIDENCES)
def test_a_grad_is_never_the_array_of_a_tensor(name):
    """A grad that equals an operand, the result or the given gradient is still an array of its own."""
    expression, *values, seed = COINCIDENCES[name]
    a, b = (leaf(np.full((2, 2), value)) for value in values)
    result = expression(a, b)
    g = np.full(result.shape, seed)
    result.backward(g)
    for tensor in (a, b):
        for other in (a.data, b.data, result.data, g):
            assert tensor.grad is None or not np.shares_memory(tensor.grad, other), (
                "the grad is another's array, or a view of it"
            )


def test_a_gradient_is_read_by_index():
    """The given gradient may have any memory layout: backward() reads it by index."""
    for order, g in layouts([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]).items():
        x = leaf(np.full((2, 3), 5.0))
        (x * 2).backward(g)
        assert_close(x.grad, [[2.0, 4.0, 6.0], [8.0, 10.0, 12.0]], name=f"a gradient that lies {order}")


@pytest.mark.parametrize("shape", [(0, 3), (2, 0), (1, 3), (3, 1), (1, 1)], ids=str)
def test_a_grad_has_the_shape_of_its_data(shape):
    """A grad has its data's shape, including axes of length 0 or 1."""
    x = leaf(np.ones(shape))
    (x * 2 + x).backward(np.ones(shape))
    assert_close(x.grad, np.full(shape, 3.0))


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_a_broken_gradient_reaches_the_leaf(value):
    """An infinity or NaN in the given gradient shows in the grad."""
    x = leaf([1.0, 2.0])
    (x * 3).backward(np.array([value, 1.0]))
    assert_close(x.grad, [value, 3.0])


@pytest.mark.parametrize("value", [np.inf, np.nan])
def test_a_broken_operand_shows_in_the_grad(value):
    """An infinity or NaN in one operand shows in the gradient of the others."""
    x = leaf([1.0, 2.0])
    (x * np.array([value, 1.0])).backward(np.ones(2))
    assert_close(x.grad, [value, 1.0])


@pytest.mark.parametrize("shape", [(), (1,), (1, 1)], ids=str)
def test_a_gradient_of_zero_is_a_gradient(shape):
    """backward(grad) with a grad of 0 gives zeros. It is not treated as if no grad were given."""
    x = leaf(np.ones(shape))
    (x * 3).backward(np.zeros(shape))
    assert_close(x.grad, np.zeros(shape))
    (x * 3).backward()
    assert_close(x.grad, np.full(shape, 3.0))


@every
def test_backward_changes_only_grads(name):
    """backward() changes neither the operands, the result and the given gradient, nor any setting of the process."""
    a, b = pair()
    result = EXPRESSIONS[name](a, b)
    g, y = np.ones(result.shape), result.data.copy()
    with undisturbed():
        result.backward(g)
    assert_close(g, np.ones(g.shape), name="the given gradient")
    assert_close(a, pair()[0].data, name="a")
    assert_close(b, pair()[1].data, name="b")
    assert_close(result, y, name="the result")


def test_an_error_of_backward_changes_nothing():
    """After an error in backward(), the tensors and the given gradient are unchanged, and no grad was set."""
    x, g = leaf([1.0, 2.0]), np.ones(3)
    y = x * 2
    with rejects(ValueError):
        y.backward(g)
    with rejects(RuntimeError):
        y.backward()
    assert x.grad is None
    assert_close(x, [1.0, 2.0])
    assert_close(y, [2.0, 4.0])
    assert_close(g, np.ones(3))
