import numpy as np
import pytest
from katas.layers import Parameter, accumulate
from katas.tensor import Tensor

from specs.check import assert_close, assert_dtype, rejects


def test_a_parameter_is_a_tensor_that_requires_a_gradient(draw):
    """Parameter(data) is a Tensor with these values; requires_grad is True and grad is None. A result computed from it is a
    plain Tensor.
    """
    values = draw.normal(2, 3)
    weight = Parameter(values)
    assert isinstance(weight, Tensor)
    assert_close(weight, values)
    assert weight.requires_grad is True
    assert weight.grad is None
    assert not isinstance(weight + 1, Parameter)
    assert (weight + 1).requires_grad


@pytest.mark.parametrize("wrapped", [False, True], ids=["array", "tensor"])
def test_a_parameter_owns_its_data(wrapped):
    """Parameter(data) copies its data: changing the array or tensor it was made from doesn't change the parameter."""
    values = np.zeros((2, 3), np.float32)
    weight = Parameter(Tensor(values) if wrapped else values)
    values[1, 2] = 7
    assert_close(weight, np.zeros((2, 3)))


def test_the_copy_can_be_written_to(draw):
    """A parameter made from a read-only array can be trained anyway: its copy is writable."""
    weight = Parameter(draw.normal(2, 3))
    weight.data[...] = 5
    assert_close(weight, np.full((2, 3), 5.0))


def test_a_parameter_follows_the_rules_for_dtypes():
    """A Parameter follows a Tensor's dtype rules: arrays keep their dtype, lists of floats become float32."""
    assert_dtype(Parameter([1.0, 2.0]), np.float32)
    assert_dtype(Parameter(np.ones(2)), np.float64)
    assert_dtype(Parameter(np.ones(2, np.float32)), np.float32)
    assert_dtype(Parameter(Tensor(np.ones(2))), np.float64)


def test_gradients_add_up(draw):
    """accumulate(parameter, grad) adds: a parameter that is used twice receives the sum of both gradients."""
    weight, (first, second, third) = Parameter(np.zeros((2, 4))), draw.normal(3, 2, 4)
    accumulate(weight, first)
    assert_close(weight.grad, first)
    accumulate(weight, second)
    accumulate(weight, third)
    mistakes = {"overwritten instead of accumulated": third, "their mean, not their sum": (first + second + third) / 3}
    assert_close(weight.grad, first + second + third, mistakes=mistakes)


def test_the_first_gradient_is_copied(draw):
    """accumulate() copies the first grad: adding to .grad doesn't change the caller's array, and changing that array doesn't
    change .grad.
    """
    weight, first = Parameter(np.zeros((2, 4))), np.array(draw.normal(2, 4))
    accumulate(weight, first)
    held = first.copy()
    accumulate(weight, np.ones((2, 4)))
    assert_close(first, held, mistakes={"the second gradient was added to the caller's array": held + 1})
    first[...] = 99
    assert_close(weight.grad, held + 1)


def test_two_parameters_share_no_gradient(draw):
    """If the same array is accumulated into two parameters, each has its own gradient array."""
    a, b, grad = Parameter(np.zeros(3)), Parameter(np.zeros(3)), np.array(draw.normal(3))
    accumulate(a, grad)
    accumulate(b, grad)
    accumulate(a, grad)
    assert_close(b.grad, grad, mistakes={"both parameters hold one array": 2 * grad})
    assert_close(a.grad, 2 * grad)


@pytest.mark.parametrize("shape", [(2, 3), (3,), ()], ids=str)
def test_a_gradient_has_the_shape_and_dtype_of_the_data(shape, draw):
    """.grad is an array with the data's shape and dtype, whatever the dtype of the added grad. That holds for 0-d parameters
    too.
    """
    weight = Parameter(np.zeros(shape, np.float32))
    for _ in range(2):
        accumulate(weight, np.asarray(draw.normal(*shape)))
        assert isinstance(weight.grad, np.ndarray)
        assert weight.grad.shape == shape
        assert_dtype(weight.grad, np.float32)


@pytest.mark.parametrize("shape", [(3, 2), (1, 3), (3,), (), (1, 2, 3)], ids=str)
def test_a_gradient_of_another_shape_is_named(shape):
    """A grad that would be broadcast, or doesn't fit, raises a ValueError whose message contains both shapes; .grad doesn't
    change.
    """
    weight = Parameter(np.zeros((2, 3)))
    with rejects(ValueError, str(shape), "(2, 3)"):
        accumulate(weight, np.ones(shape))
    assert weight.grad is None
    accumulate(weight, np.ones((2, 3)))
    with rejects(ValueError, str(shape), "(2, 3)"):
        accumulate(weight, np.ones(shape))
    assert_close(weight.grad, np.ones((2, 3)))


def test_adding_to_a_gradient_takes_no_room(budget):
    """From the second time on, accumulate() adds in place: it allocates no second 1 MB array."""
    weight, grad = Parameter(np.zeros((500, 500), np.float32)), np.ones((500, 500), np.float32)
    accumulate(weight, grad)
    budget.bytes(lambda: accumulate(weight, grad), peak=100_000)


def test_integers_and_halves_keep_their_dtype_too():
    """A Parameter follows a Tensor's rules for every dtype: lists of integers become int64, lists of booleans bool, and float16
    stays float16.
    """
    for data, dtype in (([1, 2], np.int64), ([True], np.bool_), (np.float16([1.0]), np.float16), (np.int8([1]), np.int8)):
        assert_dtype(Parameter(data), dtype)


def test_a_gradient_without_values_is_a_gradient():
    """A parameter of shape (0, 3) receives a grad of shape (0, 3)."""
    weight = Parameter(np.zeros((0, 3), np.float32))
    for _ in range(2):
        accumulate(weight, np.zeros((0, 3)))
        assert weight.grad.shape == (0, 3)
        assert_dtype(weight.grad, np.float32)


@pytest.mark.parametrize("shape", [(1,), (1, 1), (0,)], ids=str)
def test_a_parameter_without_axes_takes_gradients_without_axes(shape):
    """A grad of shape (1,) for a parameter of shape () raises a ValueError whose message contains both shapes."""
    weight = Parameter(3.0)
    with rejects(ValueError, str(shape), "()"):
        accumulate(weight, np.ones(shape))
    assert weight.grad is None
