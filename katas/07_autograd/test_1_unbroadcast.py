import numpy as np
import pytest
from katas.autograd import unbroadcast

from specs.check import FLOAT64, Tolerance, assert_close, assert_dtype, assert_gradient

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
    """unbroadcast sums over every axis that was missing or of length 1, so that the gradient has the operand's shape."""
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
    """A 0-d operand receives the sum of the whole gradient, as a 0-d array."""
    grad = draw.normal(*to)
    assert_close(
        unbroadcast(grad, ()), grad.sum(), mistakes={"the mean": grad.mean(), "one axis too many": grad.sum(keepdims=True)}
    )


def test_shapes_are_aligned_from_the_right(draw):
    """Shape (3,) beside (3, 3) is a row: the missing axis is the first one, not the first axis of the same length."""
    grad = draw.normal(3, 3)
    want = [sum(grad[row, column] for row in range(3)) for column in range(3)]
    assert_close(unbroadcast(grad, (3,)), want, mistakes={"the row is taken for a column": grad.sum(1)})


@pytest.mark.parametrize("shape", [(), (1,), (3, 4), (2, 1, 4)])
def test_what_was_not_stretched_keeps_its_gradient(shape, draw):
    """unbroadcast returns the gradient itself if the shapes agree."""
    grad = draw.normal(*shape)
    assert_close(unbroadcast(grad, shape), grad)


@pytest.mark.parametrize("shape", [(3,), (1, 3), (4, 1), ()])
def test_no_use_gives_a_gradient_of_zero(shape):
    """An operand that was broadcast to an empty array was never used: its gradient is zeros."""
    to = (0, 3) if shape != (4, 1) else (4, 0)
    assert_close(unbroadcast(np.zeros(to), shape), np.zeros(shape))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(3, 4), (4,), (3, 1), ()])
def test_the_dtype_stays(dtype, shape, draw):
    """The result of unbroadcast has the gradient's dtype, float32 or float64."""
    assert_dtype(unbroadcast(draw.normal(3, 4, dtype=dtype), shape), dtype)


MANY_ROWS = {
    "in a row": lambda: np.full((500_000, 4), 0.1, np.float32),
    "every other column": lambda: np.full((500_000, 8), 0.1, np.float32)[:, ::2],
    "every other row": lambda: np.full((1_000_000, 4), 0.1, np.float32)[::2],
    "one number": lambda: np.broadcast_to(np.float32(0.1), (500_000, 4)),
    "of batches": lambda: np.full((1000, 501, 4), 0.1, np.float32),
}


@pytest.mark.parametrize("shape", [(4,), (1, 4)], ids=str)
@pytest.mark.parametrize("name", MANY_ROWS)
def test_a_sum_of_many_rows_is_as_right_as_float32_is(name, shape):
    """A float32 row used 500,000 times gets an accurate sum: rounding errors don't add up to thousandths of it."""
    grad = MANY_ROWS[name]()
    got = unbroadcast(grad, (1,) * (grad.ndim - 2) + shape if len(shape) == 2 else shape).reshape(4)
    want = np.full(4, np.float64(np.float32(0.1)) * (grad.size / 4))
    assert_close(got, want, mistakes={"row after row, in float32": grad.sum(tuple(range(grad.ndim - 1)))})


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("rows", [1, 2, 499, 500, 501, 999, 1000, 1001, 1500, 2345])
def test_every_row_counts_once(rows, dtype, draw):
    """unbroadcast adds every row exactly once, for any number of rows and wherever a block ends: all rows differ here."""
    grad = draw.normal(rows, 3, dtype=dtype)
    mistakes = {"the rows after the last whole block are left out": grad[: rows // 500 * 500].sum(0)}
    assert_close(unbroadcast(grad, (3,)), grad.sum(0, dtype=np.float64), mistakes=mistakes)
    grad = draw.normal(rows, 2, 3, dtype=dtype)
    assert_close(unbroadcast(grad, (1, 1, 3)), grad.sum((0, 1), dtype=np.float64).reshape(1, 1, 3))
    assert_close(unbroadcast(grad, (1, 2, 1)), grad.sum((0, 2), dtype=np.float64).reshape(1, 2, 1))
    assert_dtype(unbroadcast(grad, (3,)), dtype)


@pytest.mark.parametrize("shape", [(3,), (2, 1, 3), (1, 2, 1, 3), (5, 1, 1, 1, 1)], ids=str)
def test_float64_is_summed_in_float64(shape, draw):
    """unbroadcast sums float64 in float64, to ten digits, for any number of axes."""
    grad = draw.normal(5, 4, 2, 6, 3)
    stretched = (1,) * (5 - len(shape)) + shape
    axes = tuple(axis for axis in range(5) if stretched[axis] == 1)
    mistakes = {"in float32": grad.astype(np.float32).sum(axes).reshape(shape)}
    assert_close(unbroadcast(grad, shape), grad.sum(axes).reshape(shape), FLOAT64, mistakes=mistakes)


def test_a_large_row_does_not_swallow_the_sums_of_the_others():
    """unbroadcast adds the sums of blocks in float64. In float32, a first sum of 2²⁴ would swallow later sums of 0.5."""
    grad = np.full((202_000, 4), 0.001, np.float32)
    grad[:1000], grad[-1000:] = 0, 0
    grad[0], grad[-1] = 2.0**24, -(2.0**24)
    want = np.full(4, 200_000 * np.float64(np.float32(0.001)))
    assert_close(unbroadcast(grad, (4,)), want, mistakes={"the sums of the blocks are added in float32": np.zeros(4)})


@pytest.mark.parametrize(
    ("to", "shape"),
    [((2, 5000, 3), (2, 1, 3)), ((5000, 3), (1, 3)), ((2, 3, 5000), (2, 3, 1)), ((5000, 2, 3), (2, 3)), ((50, 100, 3), (3,))],
    ids=str,
)
def test_ones_of_float16_are_counted_along_any_axis(to, shape):
    """The sum of 5000 float16 ones is 5000, along any axis. float16 itself counts only to 2048."""
    got = unbroadcast(np.ones(to, np.float16), shape)
    assert_dtype(got, np.float16)
    assert_close(got, np.full(shape, 5000.0), mistakes={"counted in float16": np.full(shape, 2048.0)})


@pytest.mark.parametrize(("to", "shape"), [((70_000, 2), (2,)), ((2, 70_000), (2, 1)), ((140_000,), ()), ((70_000, 2), (1, 1))])
def test_float16_is_summed_in_float32(to, shape):
    """The sum of 70,000 float16 halves is 35,000. float16 itself counts in halves only up to 1024."""
    got = unbroadcast(np.full(to, 0.5, np.float16), shape)
    assert_dtype(got, np.float16)
    assert_close(got, np.full(shape, 35_000 if shape in ((2,), (2, 1)) else np.inf), Tolerance("float16", 1e-3))


@pytest.mark.parametrize("rows", [3, 1234])
def test_a_broken_gradient_stays_in_its_column(rows):
    """An infinity or NaN in one column appears in the sum of that column, and in no other."""
    grad = np.ones((rows, 4), np.float32)
    grad[1] = [np.inf, 1, np.nan, -np.inf]
    assert_close(unbroadcast(grad, (4,)), [np.inf, rows, np.nan, -np.inf])


@pytest.mark.parametrize(
    ("to", "shape"), [((1234, 0), (0,)), ((0, 1234), (1234,)), ((1234, 0, 3), (3,)), ((1234, 0), ())], ids=str
)
def test_axes_of_length_0_are_summed_too(to, shape):
    """unbroadcast sums axes of length 0 to zeros. The sum of many rows without columns is empty."""
    assert_close(unbroadcast(np.zeros(to, np.float32), shape), np.zeros(shape))


@pytest.mark.parametrize("shape", [(250, 1000), (1000,), (250, 1), ()])
def test_nothing_is_copied_on_the_way(shape, budget):
    """unbroadcast returns a gradient of 1 MB itself, or sums it: in neither case does it allocate a second 1 MB array."""
    grad = np.ones((250, 1000), np.float32)
    budget.bytes(lambda: unbroadcast(grad, shape), peak=100_000)


@pytest.mark.parametrize("shape", [(1,), (2, 1)])
def test_the_sum_is_done_in_numpy(shape, budget):
    """The number of Python instructions must not grow with the number of uses."""
    few, many = np.ones((3, 2, 1000), np.float32), np.ones((3, 2, 100_000), np.float32)
    budget.steps(lambda: unbroadcast(few, shape), lambda: unbroadcast(many, shape), limit=2)


def test_many_rows_of_few_columns_are_summed_fast(budget):
    """Many short rows must be summed in at most four times the time of `ones @ grad`. A plain sum takes twenty times."""
    grad = np.ones((200_000, 4), np.float32)
    ones = np.ones(len(grad), np.float32)
    budget.time(lambda: unbroadcast(grad, (4,)), against=lambda: ones @ grad, limit=4)
