import numpy as np
import pytest
from katas.activations import GELU, LeakyReLU, LogSoftmax, ReLU, Sigmoid, Softmax, Tanh
from katas.tensor import Tensor

from specs.check import assert_close, assert_dtype, assert_gradient, recording, rejects

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
def test_backward_belongs_to_the_last_forward(activation, draw):
    """A second forward, be it of another shape, replaces what the first kept."""
    again, once = activation(), activation()
    x, grad = Tensor(draw.normal(3, 4)), draw.normal(3, 4)
    again(Tensor(draw.normal(2, 5)))
    again(x)
    once(x)
    assert_close(again.backward(grad), once.backward(grad))


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
def test_backward_changes_nothing(activation, draw):
    """Backward leaves grad, the input and the output as they were, so that a second one gives the same."""
    layer, x, grad = activation(), Tensor(draw.normal(3, 4)), draw.normal(3, 4)
    y = layer(x)
    before = y.data.copy()
    first = layer.backward(grad).copy()
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
def test_backward_needs_a_forward(activation):
    """Backward before any forward is a RuntimeError that names the class."""
    with rejects(RuntimeError, activation.__name__):
        activation().backward(np.ones((3, 4)))


@every_activation
@pytest.mark.parametrize("shape", [(4,), (4, 3), (2, 3, 4)], ids=str)
def test_a_gradient_of_another_shape_is_named(activation, shape):
    """grad has the output's shape. Another one, even if it could be broadcast, is a ValueError that names both."""
    layer = activation()
    layer(Tensor(np.ones((3, 4))))
    with rejects(ValueError, str(shape), "(3, 4)"):
        layer.backward(np.ones(shape))
