import numpy as np
import pytest
from katas.autograd import vjp

from specs.check import assert_close, assert_dtype, assert_rule, derived

PRODUCTS = {
    "matrix and matrix": ((3, 4), (4, 5)),
    "vector and vector": ((4,), (4,)),
    "vector and matrix": ((4,), (4, 5)),
    "matrix and vector": ((3, 4), (4,)),
    "a batch on both sides": ((2, 3, 4), (2, 4, 5)),
    "a batch and one matrix": ((2, 3, 4), (4, 5)),
    "one matrix and a batch": ((3, 4), (2, 4, 5)),
    "a batch and one vector": ((2, 3, 4), (4,)),
    "one vector and a batch": ((4,), (2, 4, 5)),
    "a batch of one and a batch": ((1, 3, 4), (2, 4, 5)),
    "a batch and a batch of one": ((2, 3, 4), (1, 4, 5)),
    "batches that stretch each other": ((6, 1, 3, 4), (2, 4, 5)),
    "two axes of batch and one matrix": ((6, 2, 3, 4), (4, 5)),
    "one row and one column": ((1, 4), (4, 1)),
}
products = pytest.mark.parametrize("shapes", PRODUCTS.values(), ids=PRODUCTS)
sides = pytest.mark.parametrize("argnum", [0, 1], ids=["a", "b"])


def operands(draw, a: tuple, b: tuple, dtype=np.float64) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """g, a and b of a product a @ b."""
    a, b = draw.normal(*a, dtype=dtype), draw.normal(*b, dtype=dtype)
    return draw.normal(*np.shape(a @ b), dtype=dtype), a, b


@products
@sides
def test_a_product_has_a_gradient_on_both_sides(argnum, shapes, draw):
    """For y = a @ b, a receives g bᵀ and b receives aᵀ g, with a vector as a row or a column, summed over a shared batch."""
    g, a, b = operands(draw, *shapes)
    assert_rule("matmul", argnum, g, a, b)


def test_square_matrices_are_transposed_too(draw):
    """With square matrices every order and every transpose has the right shape. Only g bᵀ and aᵀ g are right."""
    g, a, b = operands(draw, (3, 3), (3, 3))
    mistakes = {"b is not transposed": g @ b, "the order is wrong: bᵀ g": b.T @ g, "a instead of b": g @ a.T}
    assert_rule("matmul", 0, g, a, b, mistakes=mistakes | {"the gradient of b": a.T @ g})
    mistakes = {"a is not transposed": a @ g, "the order is wrong: g aᵀ": g @ a.T, "b instead of a": b.T @ g}
    assert_rule("matmul", 1, g, a, b, mistakes=mistakes | {"the gradient of a": g @ b.T})


def test_a_batch_transposes_each_matrix(draw):
    """The rules of matmul swap only the last two axes, even if the batch is as long as the matrices."""
    g, a, b = operands(draw, (3, 3, 3), (3, 3, 3))
    assert_rule("matmul", 0, g, a, b, mistakes={"all axes are reversed": g @ b.T, "b is not transposed": g @ b})
    assert_rule("matmul", 1, g, a, b, mistakes={"all axes are reversed": a.T @ g, "a is not transposed": a @ g})


def test_a_shared_matrix_receives_the_sum_over_the_batch(draw):
    """In (2, 3, 4) @ (4, 5), the shared matrix receives the sum of the gradients from each matrix of the batch."""
    g, a, b = operands(draw, (2, 3, 4), (4, 5))
    each = np.swapaxes(a, 1, 2) @ g
    mistakes = {"the mean over the batch": each.mean(0), "the first of the batch only": each[0], "not summed": each}
    assert_rule("matmul", 1, g, a, b, mistakes=mistakes)


def test_the_product_of_two_vectors_is_a_number(draw):
    """For y = a · b of two vectors, g is a scalar: a receives g · b and b receives g · a."""
    g, a, b = operands(draw, (4,), (4,))
    assert_close(derived("matmul", 0, g, a, b), g * b, mistakes={"a and b are swapped": g * a})
    assert_close(derived("matmul", 1, g, a, b), g * a, mistakes={"a and b are swapped": g * b})


EMPTY = [
    ((2, 0), (0, 3)),
    ((0, 2), (2, 3)),
    ((3, 2), (2, 0)),
    ((0, 0), (0, 0)),
    ((0,), (0,)),
    ((0,), (0, 3)),
    ((2,), (2, 0)),
    ((3, 0), (0,)),
    ((0, 2), (2,)),
    ((0, 2, 3), (3, 4)),
    ((2, 3, 0), (0, 4)),
    ((5, 0, 3), (3, 4)),
    ((0, 2, 3), (0, 3, 4)),
    ((2, 3), (0, 3, 4)),
    ((5, 2, 0), (5, 0, 3)),
    ((5, 2, 3), (5, 3, 0)),
    ((0, 2, 3), (3,)),
]


@pytest.mark.parametrize("shapes", EMPTY, ids=str)
@sides
def test_a_product_without_values_has_a_gradient_of_zeros(argnum, shapes):
    """If a matrix product has an axis of length 0, even a batch axis, each gradient has its operand's shape and is 0."""
    a, b = (np.ones(shape) for shape in shapes)
    assert_close(derived("matmul", argnum, np.ones(np.shape(a @ b)), a, b), np.zeros(shapes[argnum]))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@products
def test_the_dtype_stays(shapes, dtype, draw):
    """The gradients of a matrix product have the arrays' dtype, float32 or float64."""
    g, a, b = operands(draw, *shapes, dtype=dtype)
    for argnum in (0, 1):
        assert_dtype(derived("matmul", argnum, g, a, b), dtype)


def test_a_shared_matrix_is_not_repeated_for_the_batch(budget):
    """In 64 times (4, 100) @ (100, 100), the matrix's gradient is one matrix product, not a sum of 64 matrices."""
    g, a, b = np.ones((64, 4, 100), np.float32), np.ones((64, 4, 100), np.float32), np.ones((100, 100), np.float32)
    budget.bytes(lambda: vjp("matmul", 1)(g, g, a, b), peak=350_000)


def test_a_matrix_that_heads_share_is_not_repeated_either(budget):
    """With two batch axes, (8, 8, 4, 100) @ (100, 100), the matrix's gradient is one matrix product, not 64 matrices."""
    g, a, b = np.ones((8, 8, 4, 100), np.float32), np.ones((8, 8, 4, 100), np.float32), np.ones((100, 100), np.float32)
    budget.bytes(lambda: vjp("matmul", 1)(g, g, a, b), peak=350_000)


@pytest.mark.parametrize(
    "name", ["matrix and matrix", "a batch on both sides", "a batch and one matrix", "one matrix and a batch"]
)
@sides
def test_the_rules_of_a_product_are_done_in_numpy(argnum, name, budget):
    """The number of Python instructions must not grow with the size of the matrices or of the batch."""

    def call(factor: int):
        a, b = (np.ones([factor * length for length in shape], np.float32) for shape in PRODUCTS[name])
        g, rule = a @ b, vjp("matmul", argnum)
        return lambda: rule(g, g, a, b)

    budget.steps(call(1), call(10), limit=2)


@sides
def test_the_gradient_of_a_product_is_a_product(argnum, budget):
    """A rule of matmul takes at most three times as long as such a matrix product in NumPy."""
    a = np.ones((256, 256), np.float32)
    budget.time(lambda: vjp("matmul", argnum)(a, a, a, a), against=lambda: a @ a, limit=3)
