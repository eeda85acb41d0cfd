import numpy as np
import pytest
from katas.tensor import Tensor

from specs import oracles
from specs.check import assert_close, assert_dtype, rejects

SHAPES = {
    "matrix @ matrix": ((2, 3), (3, 4)),
    "vector @ vector": ((3,), (3,)),
    "matrix @ vector": ((2, 3), (3,)),
    "vector @ matrix": ((3,), (3, 4)),
    "batch @ batch": ((5, 2, 3), (5, 3, 4)),
    "batch @ matrix": ((5, 2, 3), (3, 4)),
    "matrix @ batch": ((2, 3), (5, 3, 4)),
    "batches broadcast": ((5, 1, 2, 3), (6, 3, 4)),
    "batch @ vector": ((5, 2, 3), (3,)),
    "vector @ batch": ((3,), (5, 3, 4)),
}


@pytest.mark.parametrize("shapes", SHAPES.values(), ids=SHAPES)
def test_matmul_sums_over_the_inner_axis(shapes, draw):
    """(…, n, k) @ (…, k, m) → (…, n, m): leading axes are broadcast; a vector is a row on the left, a column on the right."""
    a, b = draw.normal(*shapes[0]), draw.normal(*shapes[1])
    assert_close(Tensor(a) @ Tensor(b), oracles.tensor.matmul(a, b), mistakes={"np.dot, which pairs all": np.dot(a, b)})


def test_square_matrices_are_not_transposed(draw):
    """With square matrices a swapped operand or axis still gives the right shape: only the values are wrong."""
    a, b = draw.normal(3, 3), draw.normal(3, 3)
    mistakes = {"a * b, element by element": a * b, "b @ a": b @ a, "a.T @ b": a.T @ b, "a @ b.T": a @ b.T}
    assert_close(Tensor(a) @ Tensor(b), oracles.tensor.matmul(a, b), mistakes=mistakes)


def test_an_array_may_stand_on_either_side(draw):
    """array @ tensor and tensor @ array give Tensors."""
    a, b = draw.normal(2, 3), draw.normal(3, 4)
    for result in (a @ Tensor(b), Tensor(a) @ b):
        assert isinstance(result, Tensor)
        assert_close(result, oracles.tensor.matmul(a, b))


def test_matmul_keeps_the_dtype(draw):
    """float32 @ float32 gives float32; integers with floats give the floats' dtype."""
    x = Tensor(draw.normal(3, 3, dtype=np.float32))
    assert_dtype(x @ x, np.float32)
    assert_dtype(x @ Tensor([1, 2, 3]), np.float32)


@pytest.mark.parametrize("shapes", [((2, 3), (4, 5)), ((3,), (4,)), ((5, 2, 3), (6, 3, 4)), ((2, 3), (2, 3))], ids=str)
def test_shapes_that_do_not_fit_are_named(shapes):
    """Inner lengths or leading axes that don't fit raise a ValueError whose message contains both shapes."""
    with rejects(ValueError, *map(str, shapes)):
        Tensor(np.ones(shapes[0])) @ Tensor(np.ones(shapes[1]))


def test_a_number_is_refused():
    """@ raises a ValueError whose message contains the shape () unless both sides have at least one axis."""
    with rejects(ValueError, "()", "(2, 3)"):
        Tensor(2.0) @ Tensor(np.ones((2, 3)))


@pytest.mark.parametrize("number", [2.0, 2, True, np.float32(2), np.array(2.0)], ids=repr)
@pytest.mark.parametrize("shape", [(3,), (2, 3), (5, 2, 3), ()], ids=str)
def test_a_number_is_refused_on_either_side(number, shape):
    """x @ 2 and 2 @ x raise a ValueError whose message contains both shapes: @ does not scale."""
    x = Tensor(np.ones(shape))
    for call in (lambda: x @ number, lambda: number @ x, lambda: x @ Tensor(number), lambda: Tensor(number) @ x):
        with rejects(ValueError, "()", str(shape)):
            call()


def test_what_is_not_a_number_is_refused():
    """@ with a string or None raises a TypeError."""
    with rejects(TypeError):
        Tensor([1.0]) @ "2"
    with rejects(TypeError):
        None @ Tensor([1.0])


def test_matmul_is_done_in_numpy(budget):
    """The number of Python instructions must not grow with the number of elements or with the length of a batch."""
    few, many = Tensor(np.ones((2, 10, 10), np.float32)), Tensor(np.ones((50, 40, 40), np.float32))
    budget.steps(lambda: few @ few, lambda: many @ many, limit=2)


def test_matmul_holds_its_result_and_nothing_else(budget):
    """@ allocates only its result: no array of all pairs before the sum, and no matrix repeated for the batch."""
    batch, matrix = Tensor(np.ones((64, 16, 64), np.float32)), Tensor(np.ones((64, 64), np.float32))
    budget.bytes(lambda: batch @ matrix, peak=390_000)


def test_a_transposed_matrix_is_not_copied(budget):
    """x @ w.T reads w in place: it allocates no second 1 MB array for the weights."""
    x, w = Tensor(np.ones((2, 512), np.float32)), Tensor(np.ones((512, 512), np.float32))
    budget.bytes(lambda: x @ w.T, peak=100_000)


def test_matmul_is_as_fast_as_numpy(budget):
    """A product of 256×256 matrices takes hardly longer than NumPy's own."""
    a = np.ones((256, 256), np.float32)
    x = Tensor(a)
    budget.time(lambda: x @ x, against=lambda: a @ a, limit=3)
