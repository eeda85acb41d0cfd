import numpy as np
import pytest
from katas.autograd import unbroadcast

from specs.check import assert_close, assert_dtype, assert_gradient

STRETCHED = [  # a shape, and the one that it was broadcast to
    ((4,), (3, 4)),
    ((4,), (2, 3, 4)),
    ((3, 4), (2, 3, 4)),
    ((3, 1), (3, 4)),
    ((1, 4), (3, 4)),
    ((3, 1), (2, 3, 4)),
    ((2, 1, 4), (2, 3, 4)),
    ((1, 3, 1), (2, 3, 4)),
    ((1, 1), (2, 3, 4)),
    ((1,), (5,)),
    ((1,), (3, 4)),
    ((1, 4), (1, 4)),
    ((1, 1), (3, 1)),
    ((0,), (3, 0)),
]


@pytest.mark.parametrize(("shape", "to"), STRETCHED)
def test_each_value_receives_the_gradients_of_all_its_uses(shape, to, draw):
    """An axis that was missing, or of length 1, was stretched: summed over it, the gradient has the shape from before."""
    grad = draw.normal(*to)
    stretched = (1,) * (len(to) - len(shape)) + shape
    axes = tuple(axis for axis, (one, many) in enumerate(zip(stretched, to, strict=True)) if one < many)
    mistakes = {
        "the mean of the uses, not their sum": grad.mean(axes).reshape(shape),
        "the first use only": grad[tuple(slice(length) for length in stretched)].reshape(shape),
        "the last use only": grad[tuple(slice(-length, None) for length in stretched)].reshape(shape),
        "axes of length 1 are still stretched": grad.sum(tuple(range(len(to) - len(shape)))),
        "a sum over everything, in each place": np.full(shape, grad.sum()),
    }
    assert_gradient(unbroadcast(grad, shape), lambda x: np.broadcast_to(x, to), np.zeros(shape), grad, mistakes)


@pytest.mark.parametrize("to", [(3,), (3, 4), (2, 1)])
def test_a_number_receives_everything(to, draw):
    """Of shape (): the sum of the whole gradient, as an array without axes."""
    grad = draw.normal(*to)
    assert_close(
        unbroadcast(grad, ()), grad.sum(), mistakes={"the mean": grad.mean(), "one axis too many": grad.sum(keepdims=True)}
    )


def test_shapes_are_aligned_from_the_right(draw):
    """(3,) beside (3, 3) is a row: it is the first axis that was missing, and not the first of that length."""
    grad = draw.normal(3, 3)
    want = [sum(grad[row, column] for row in range(3)) for column in range(3)]
    assert_close(unbroadcast(grad, (3,)), want, mistakes={"the row is taken for a column": grad.sum(1)})


@pytest.mark.parametrize("shape", [(), (1,), (3, 4), (2, 1, 4)])
def test_what_was_not_stretched_keeps_its_gradient(shape, draw):
    """Where the shapes agree the gradient is returned as it is."""
    grad = draw.normal(*shape)
    assert_close(unbroadcast(grad, shape), grad)


@pytest.mark.parametrize("shape", [(3,), (1, 3), (4, 1), ()])
def test_no_use_gives_a_gradient_of_zero(shape):
    """An array of no values is the result of no use at all: the sum of nothing is 0."""
    to = (0, 3) if shape != (4, 1) else (4, 0)
    assert_close(unbroadcast(np.zeros(to), shape), np.zeros(shape))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(3, 4), (4,), (3, 1), ()])
def test_the_dtype_stays(dtype, shape, draw):
    """float32 stays float32, and float64 float64."""
    assert_dtype(unbroadcast(draw.normal(3, 4, dtype=dtype), shape), dtype)


@pytest.mark.parametrize("shape", [(250, 1000), (1000,), (250, 1), ()])
def test_nothing_is_copied_on_the_way(shape, budget):
    """A gradient of a megabyte is returned as it is, or summed: in neither case is there a second megabyte."""
    grad = np.ones((250, 1000), np.float32)
    budget.bytes(lambda: unbroadcast(grad, shape), peak=100_000)


@pytest.mark.parametrize("shape", [(1,), (2, 1)])
def test_the_sum_is_done_in_numpy(shape, budget):
    """A hundred times more uses take not one Python step more."""
    few, many = np.ones((3, 2, 10), np.float32), np.ones((3, 2, 1000), np.float32)
    budget.steps(lambda: unbroadcast(few, shape), lambda: unbroadcast(many, shape), limit=2)
