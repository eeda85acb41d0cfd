import numpy as np
import pytest
from katas.activations import GELU, LeakyReLU, LogSoftmax, ReLU, Sigmoid, Softmax, Tanh
from katas.tensor import Tensor

from specs.check import assert_close, assert_dtype, assert_gradient, measure_bytes, recording, rejects

every_activation = pytest.mark.parametrize("activation", [ReLU, LeakyReLU, Sigmoid, Tanh, GELU, Softmax, LogSoftmax])


@every_activation
def test_the_output_leads_back_to_the_input(activation, draw):
    """Forward is made of Tensor operations: from the output to the input there is an unbroken chain of reports."""
    x = Tensor(draw.normal(3, 4))
    with recording() as probe:
        y = activation()(x)
    assert probe, "nothing was reported: the output was not computed by operations of Tensor"
    assert probe.reaches(y, x), "the chain from the output does not reach the input: was x.data used on the way?"


@every_activation
def test_the_output_of_float16_leads_back_to_the_input(activation, draw):
    """The chain of reports is unbroken for float16 too, whatever was added in float32."""
    x = Tensor(draw.normal(3, 4, dtype=np.float16))
    with recording() as probe:
        y = activation()(x)
    assert_dtype(y, np.float16)
    assert probe.reaches(y, x), "the chain from the output does not reach the input: was x.data used on the way?"


@every_activation
def test_the_record_has_the_gradient_that_backward_has(activation, draw):
    """No part of the formula bypasses the record: differentiated, the reported operations give what backward gives."""
    layer, x, grad = activation(), Tensor(draw.normal(3, 4)), draw.normal(3, 4)
    layer(x)
    want = layer.backward(grad)
    with recording() as probe:
        y = layer(x)
    assert probe.reaches(y, x), "the chain from the output does not reach the input: was x.data used on the way?"
    assert_gradient(want, lambda values: probe.done_again(y, x, values), x.data, grad, name="backward against the record")


@every_activation
def test_the_record_has_the_gradient_of_small_numbers_beside_large_ones(activation, draw):
    """The record has backward's gradient on every path from x to y, also of an input with numbers beyond ±10 in it."""
    values = np.array(draw.uniform(-2, 2, 3, 4))
    values[0, 0], values[2, 1] = 12.0, -12.0
    layer, x, grad = activation(), Tensor(values), draw.normal(3, 4)
    layer(x)
    want = layer.backward(grad)
    with recording() as probe:
        y = layer(x)
    assert_gradient(want, lambda values: probe.done_again(y, x, values), x.data, grad, name="backward against the record")


def _inner(x: np.ndarray) -> np.ndarray:
    return np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)


def _p(x: np.ndarray) -> np.ndarray:
    return np.exp(x) / np.exp(x).sum(-1, keepdims=True)


DERIVED = {  # the gradients, of numbers for which none of it overflows
    ReLU: lambda x, grad: grad * (x > 0),
    LeakyReLU: lambda x, grad: np.where(x > 0, grad, grad * 0.01),
    Sigmoid: lambda x, grad: grad / (np.exp(x) + 2 + np.exp(-x)),
    Tanh: lambda x, grad: grad / np.cosh(x) ** 2,
    GELU: lambda x, grad: (
        grad * (1 + np.tanh(_inner(x))) / 2
        + grad * x / 2 / np.cosh(_inner(x)) ** 2 * np.sqrt(2 / np.pi) * (1 + 3 * 0.044715 * x**2)
    ),
    Softmax: lambda x, grad: _p(x) * (grad - (grad * _p(x)).sum(-1, keepdims=True)),
    LogSoftmax: lambda x, grad: grad - _p(x) * grad.sum(-1, keepdims=True),
}


@every_activation
@pytest.mark.parametrize("shape", [(3, 4), (90, 80)], ids=str)
def test_backward_is_as_precise_as_float64(activation, shape, draw):
    """In float64 the gradient has ten digits at least: nothing that backward works with is rounded to float32."""
    layer, x, grad = activation(), draw.normal(*shape), draw.normal(*shape)
    layer(Tensor(x))
    assert_close(layer.backward(grad), DERIVED[activation](x, grad))


@every_activation
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("shape", [(3, 4), (90, 80), (3, 0)], ids=str)
def test_forward_and_backward_keep_the_dtype(activation, dtype, shape, draw):
    """Output and gradient have the dtype of the input: float16, float32 or float64."""
    layer, x = activation(), draw.normal(*shape, dtype=dtype)
    assert_dtype(layer(Tensor(x)), dtype)
    assert_dtype(layer.backward(x), dtype)


@every_activation
@pytest.mark.parametrize("shape", [(0, 3), (2, 0)], ids=str)
def test_an_axis_may_have_length_zero(activation, shape):
    """Of no values there are none, forward and backward, without an error."""
    layer, x = activation(), np.zeros(shape, np.float32)
    assert_close(layer(Tensor(x)), x)
    assert_close(layer.backward(x), x)


@every_activation
def test_requires_grad_is_passed_on(activation, draw):
    """The output requires a gradient if the input does, and else does not."""
    for wanted in (True, False):
        assert activation()(Tensor(draw.normal(3, 4), requires_grad=wanted)).requires_grad is wanted


def test_the_zero_of_relu_stands_second_in_maximum():
    """At a tie kata 07 will give the gradient of a maximum to its second operand. Let that be 0: then ReLU′(0) is 0 too."""
    x = Tensor([-1.0, 0.0, 1.0])
    with recording() as probe:
        ReLU()(x)
    assert probe, "nothing was reported: the output was not computed by operations of Tensor"
    for op, _, parents, _ in probe:
        if op == "maximum":
            assert probe.reaches(parents[0], x), "maximum(0, x) passes the gradient to x where x is 0"


@every_activation
def test_while_recording_nothing_is_kept(activation, draw):
    """While operations are recorded, no forward keeps anything, and what an earlier one kept is gone: backward is refused."""
    layer, x = activation(), Tensor(draw.normal(3, 4))
    layer(x)
    with recording():
        layer(x)
    with rejects(RuntimeError, activation.__name__):
        layer.backward(x.data)


@every_activation
def test_while_recording_no_activations_are_held(activation, budget):
    """Of a megabyte that went through while operations were recorded nothing is left: the record alone may hold it."""
    layer, x = activation(), Tensor(np.ones((250, 1000), np.float32))
    with recording() as probe:
        budget.bytes(lambda: (layer(x), probe.clear()), retained=20_000)


@every_activation
def test_what_is_kept_does_not_grow(activation, budget):
    """Each forward replaces what the one before kept: after ten it is at most two arrays of the input's size."""
    layer, x = activation(), Tensor(np.ones((250, 100), np.float32))
    budget.bytes(lambda: [layer(x) for _ in range(10)] and None, retained=2.2 * x.data.nbytes)


@every_activation
def test_what_is_kept_is_two_arrays_with_the_input(activation):
    """If the input is one of the arrays that are kept, there is at most one beside it."""
    layer = activation()

    def forward():
        layer(Tensor(np.ones((250, 100), np.float32)))

    _, retained = measure_bytes(forward)
    assert retained < 2.2 * 100_000, f"of an input of 100,000 bytes {retained:,} are kept"


@every_activation
@pytest.mark.parametrize("shape", [(2, 5), (3, 4), (0, 4), (90, 80)], ids=str)
def test_backward_belongs_to_the_last_forward(activation, shape, draw):
    """A second forward, be it of the same shape or another, replaces what the first kept."""
    again, once = activation(), activation()
    x, grad = Tensor(draw.normal(3, 4)), draw.normal(3, 4)
    again(Tensor(draw.normal(*shape)))
    again(x)
    once(x)
    assert_close(again.backward(grad), once.backward(grad))


@every_activation
@pytest.mark.parametrize("change", ["another array", "in place"])
def test_the_data_of_the_input_may_change_between_two_forwards(activation, change, draw):
    """A forward reads the data of that moment, though it be of the same Tensor, and gives a new output each time."""
    layer, once, x, grad = activation(), activation(), Tensor(np.array(draw.normal(3, 4))), draw.normal(3, 4)
    first = layer(x)
    before, new = first.data.copy(), draw.normal(3, 4)
    if change == "in place":
        x.data[...] = new
    else:
        x.data = new
    second = layer(x)
    assert_close(second, once(Tensor(new)).data)
    assert_close(layer.backward(grad), once.backward(grad))
    assert_close(first, before, name="the first output after a second forward")
    assert not np.shares_memory(first.data, second.data), "two outputs share their memory"


@every_activation
def test_two_instances_share_nothing(activation, draw):
    """What one instance keeps is its own: a forward of another changes nothing."""
    layer, other = activation(), activation()
    x, grad = Tensor(draw.normal(3, 4)), draw.normal(3, 4)
    layer(x)
    alone = layer.backward(grad)
    other(Tensor(draw.normal(3, 4)))
    assert_close(layer.backward(grad), alone)


@every_activation
@pytest.mark.parametrize("shape", [(3, 4), (90, 80), (1, 1)], ids=str)
def test_backward_changes_nothing(activation, shape, draw):
    """Backward leaves grad, the input and the output as they were, so that a second one gives the same."""
    layer, x, grad = activation(), Tensor(np.array(draw.normal(*shape))), np.array(draw.normal(*shape))
    y = layer(x)
    values, before, given = x.data.copy(), y.data.copy(), grad.copy()
    first = layer.backward(grad)
    assert not np.shares_memory(first, grad), "the gradient of the input is the caller's grad, or a view of it"
    first = first.copy()
    assert_close(grad, given, name="grad after backward")
    assert_close(x, values, name="the input after backward")
    assert_close(y, before, name="the output after backward")
    assert_close(layer.backward(grad), first, name="the second backward")


@every_activation
def test_the_output_is_a_tensor_of_its_own(activation, draw):
    """The output does not share the input's memory, even where it equals the input, and the input stays as it was."""
    values = draw.uniform(1, 2, 3, 4)
    x = Tensor(values)
    assert not np.shares_memory(activation()(x).data, x.data)
    assert_close(x, values, name="the input after forward")


@every_activation
@pytest.mark.parametrize("dtype", [np.bool_, np.uint8, np.int64, np.float16, np.float32, np.float64])
def test_the_input_stays_what_it_is(activation, dtype):
    """After forward the input holds the same array, with the same values and dtype, and it may still be written to."""
    values = np.array([[0, 1, 3], [1, 20, 0]], dtype)
    x, before = Tensor(values), values.copy()
    activation()(x)
    assert x.data is values, "the input holds another array"
    assert_close(values, before)
    assert values.flags.writeable, "the input can't be written to any more"


@every_activation
def test_backward_needs_a_forward(activation):
    """Backward before any forward is a RuntimeError that names the class."""
    with rejects(RuntimeError, activation.__name__):
        activation().backward(np.ones((3, 4)))


@every_activation
@pytest.mark.parametrize("shape", [(4,), (4, 3), (2, 3, 4), (), (1,), (1, 4), (3, 1), (1, 3, 4), (12,), (0, 4)], ids=str)
def test_a_gradient_of_another_shape_is_named(activation, shape):
    """grad has the output's shape. Another one, even if it could be broadcast, is a ValueError that names both."""
    layer = activation()
    layer(Tensor(np.ones((3, 4))))
    with rejects(ValueError, str(shape), "(3, 4)"):
        layer.backward(np.ones(shape))
