import numpy as np
import pytest
from katas.layers import Parameter, accumulate
from katas.tensor import Tensor

from specs.check import assert_close, assert_dtype, rejects


def test_a_parameter_is_a_tensor_that_requires_a_gradient(draw):
    """Parameter(data) is a Tensor with these values; requires_grad is True, grad None. What is made of it is a plain Tensor."""
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
    """The data are copied: who changes the array, or the tensor, that a parameter was made of does not change the parameter."""
    values = np.zeros((2, 3), np.float32)
    weight = Parameter(Tensor(values) if wrapped else values)
    values[1, 2] = 7
    assert_close(weight, np.zeros((2, 3)))


def test_the_copy_can_be_written_to(draw):
    """A parameter made of a read-only array can be learnt all the same."""
    weight = Parameter(draw.normal(2, 3))
    weight.data[...] = 5
    assert_close(weight, np.full((2, 3), 5.0))


def test_a_parameter_follows_the_rules_for_dtypes():
    """Arrays keep their dtype, lists of floats become float32, as in every Tensor."""
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
    """The array that was handed over stays its owner's: what is added to .grad does not change it, and the other way round."""
    weight, first = Parameter(np.zeros((2, 4))), np.array(draw.normal(2, 4))
    accumulate(weight, first)
    held = first.copy()
    accumulate(weight, np.ones((2, 4)))
    assert_close(first, held, mistakes={"the second gradient was added to the caller's array": held + 1})
    first[...] = 99
    assert_close(weight.grad, held + 1)


def test_two_parameters_share_no_gradient(draw):
    """The same array accumulated into two parameters makes two gradients."""
    a, b, grad = Parameter(np.zeros(3)), Parameter(np.zeros(3)), np.array(draw.normal(3))
    accumulate(a, grad)
    accumulate(b, grad)
    accumulate(a, grad)
    assert_close(b.grad, grad, mistakes={"both parameters hold one array": 2 * grad})
    assert_close(a.grad, 2 * grad)


@pytest.mark.parametrize("shape", [(2, 3), (3,), ()], ids=str)
def test_a_gradient_has_the_shape_and_dtype_of_the_data(shape, draw):
    """.grad is an array of the data's shape and dtype, whatever the dtype of what is added, and with no axes too."""
    weight = Parameter(np.zeros(shape, np.float32))
    for _ in range(2):
        accumulate(weight, np.asarray(draw.normal(*shape)))
        assert isinstance(weight.grad, np.ndarray)
        assert weight.grad.shape == shape
        assert_dtype(weight.grad, np.float32)


@pytest.mark.parametrize("shape", [(3, 2), (1, 3), (3,), (), (1, 2, 3)], ids=str)
def test_a_gradient_of_another_shape_is_named(shape):
    """A gradient that would be broadcast, or does not fit, is a ValueError that names both shapes; .grad stays as it was."""
    weight = Parameter(np.zeros((2, 3)))
    with rejects(ValueError, str(shape), "(2, 3)"):
        accumulate(weight, np.ones(shape))
    assert weight.grad is None
    accumulate(weight, np.ones((2, 3)))
    with rejects(ValueError, str(shape), "(2, 3)"):
        accumulate(weight, np.ones(shape))
    assert_close(weight.grad, np.ones((2, 3)))


def test_adding_to_a_gradient_takes_no_room(budget):
    """From the second time on the sum is made in place: a megabyte is added to a megabyte without a third."""
    weight, grad = Parameter(np.zeros((500, 500), np.float32)), np.ones((500, 500), np.float32)
    accumulate(weight, grad)
    budget.bytes(lambda: accumulate(weight, grad), peak=100_000)


def test_integers_and_halves_keep_their_dtype_too():
    """Parameters follow a Tensor's rules for every dtype: lists of integers are int64, booleans bool, float16 stays."""
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
    """A grad of shape (1,) for a parameter of shape () is a ValueError that names both."""
    weight = Parameter(3.0)
    with rejects(ValueError, str(shape), "()"):
        accumulate(weight, np.ones(shape))
    assert weight.grad is None
