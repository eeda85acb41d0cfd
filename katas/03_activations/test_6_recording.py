import numpy as np
import pytest
from katas.activations import GELU, LeakyReLU, LogSoftmax, ReLU, Sigmoid, Softmax, Tanh
from katas.tensor import Tensor

from specs.check import assert_close, assert_dtype, assert_gradient, measure_bytes, recording, rejects

every_activation = pytest.mark.parametrize("activation", [ReLU, LeakyReLU, Sigmoid, Tanh, GELU, Softmax, LogSoftmax])


@every_activation
def test_the_output_leads_back_to_the_input(activation, draw):
    """Forward uses only Tensor operations: from the output to the input there is an unbroken chain of reports."""
    x = Tensor(draw.normal(3, 4))
    with recording() as probe:
        y = activation()(x)
    assert probe, "nothing was reported: the output was not computed by operations of Tensor"
    assert probe.reaches(y, x), "the chain from the output does not reach the input: was x.data used on the way?"


@every_activation
def test_the_output_of_float16_leads_back_to_the_input(activation, draw):
    """The chain of reports from output to input is unbroken for float16 too, even though it is added in float32."""
    x = Tensor(draw.normal(3, 4, dtype=np.float16))
    with recording() as probe:
        y = activation()(x)
    assert_dtype(y, np.float16)
    assert probe.reaches(y, x), "the chain from the output does not reach the input: was x.data used on the way?"


@every_activation
def test_the_record_has_the_gradient_that_backward_has(activation, draw):
    """Differentiating the reported operations gives what backward gives: no part of the formula bypasses the graph."""
    layer, x, grad = activation(), Tensor(draw.normal(3, 4)), draw.normal(3, 4)
    layer(x)
    want = layer.backward(grad)
    with recording() as probe:
        y = layer(x)
    assert probe.reaches(y, x), "the chain from the output does not reach the input: was x.data used on the way?"
    assert_gradient(want, lambda values: probe.done_again(y, x, values), x.data, grad, name="backward against the record")


@every_activation
def test_the_record_has_the_gradient_of_small_numbers_beside_large_ones(activation, draw):
    """The graph has backward's gradient on every path from x to y, even if the input contains numbers beyond ±10."""
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
    """In float64 the gradient has at least ten digits: backward rounds nothing to float32."""
    layer, x, grad = activation(), draw.normal(*shape), draw.normal(*shape)
    layer(Tensor(x))
    assert_close(layer.backward(grad), DERIVED[activation](x, grad))


@every_activation
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("shape", [(3, 4), (90, 80), (3, 0)], ids=str)
def test_forward_and_backward_keep_the_dtype(activation, dtype, shape, draw):
    """The output and the gradient have the input's dtype: float16, float32 or float64."""
    layer, x = activation(), draw.normal(*shape, dtype=dtype)
    assert_dtype(layer(Tensor(x)), dtype)
    assert_dtype(layer.backward(x), dtype)


@every_activation
@pytest.mark.parametrize("shape", [(0, 3), (2, 0)], ids=str)
def test_an_axis_may_have_length_zero(activation, shape):
    """An input without values gives an output and a gradient without values, and no error."""
    layer, x = activation(), np.zeros(shape, np.float32)
    assert_close(layer(Tensor(x)), x)
    assert_close(layer.backward(x), x)


@every_activation
def test_requires_grad_is_passed_on(activation, draw):
    """The output requires a gradient if the input does, and otherwise doesn't."""
    for wanted in (True, False):
        assert activation()(Tensor(draw.normal(3, 4), requires_grad=wanted)).requires_grad is wanted


def test_the_zero_of_relu_stands_second_in_maximum():
    """Make 0 the second operand of maximum. At a tie kata 07 will give the gradient to the second, so ReLU′(0) is 0 too."""
    x = Tensor([-1.0, 0.0, 1.0])
    with recording() as probe:
        ReLU()(x)
    assert probe, "nothing was reported: the output was not computed by operations of Tensor"
    for op, _, parents, _ in probe:
        if op == "maximum":
            assert probe.reaches(parents[0], x), "maximum(0, x) passes the gradient to x where x is 0"


@every_activation
def test_while_recording_nothing_is_kept(activation, draw):
    """While operations are recorded, forward saves nothing and drops earlier arrays: backward raises a RuntimeError."""
    layer, x = activation(), Tensor(draw.normal(3, 4))
    layer(x)
    with recording():
        layer(x)
    with rejects(RuntimeError, activation.__name__):
        layer.backward(x.data)


@every_activation
def test_while_recording_no_activations_are_held(activation, budget):
    """While operations are recorded, the activation keeps no array alive: only the graph may hold its 1 MB input and output."""
    layer, x = activation(), Tensor(np.ones((250, 1000), np.float32))
    with recording() as probe:
        budget.bytes(lambda: (layer(x), probe.clear()), retained=20_000)


@every_activation
def test_what_is_kept_does_not_grow(activation, budget):
    """Each forward replaces what the previous one saved: after ten it is at most two arrays of the input's size."""
    layer, x = activation(), Tensor(np.ones((250, 100), np.float32))
    budget.bytes(lambda: [layer(x) for _ in range(10)] and None, retained=2.2 * x.data.nbytes)


@every_activation
def test_what_is_kept_is_two_arrays_with_the_input(activation):
    """The activation saves at most two arrays of the input's size, and the input itself counts as one of them."""
    layer = activation()

    def forward():
        layer(Tensor(np.ones((250, 100), np.float32)))

    _, retained = measure_bytes(forward)
    assert retained < 2.2 * 100_000, f"of an input of 100,000 bytes {retained:,} are kept"


@every_activation
@pytest.mark.parametrize("shape", [(2, 5), (3, 4), (0, 4), (90, 80)], ids=str)
def test_backward_belongs_to_the_last_forward(activation, shape, draw):
    """A second forward replaces what the first saved, whether its shape is the same or different."""
    again, once = activation(), activation()
    x, grad = Tensor(draw.normal(3, 4)), draw.normal(3, 4)
    again(Tensor(draw.normal(*shape)))
    again(x)
    once(x)
    assert_close(again.backward(grad), once.backward(grad))


@every_activation
@pytest.mark.parametrize("change", ["another array", "in place"])
def test_the_data_of_the_input_may_change_between_two_forwards(activation, change, draw):
    """Each forward reads the Tensor's current data, even of the same Tensor, and returns a new output."""
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
    """Each instance saves its own arrays: a forward of another instance doesn't change them."""
    layer, other = activation(), activation()
    x, grad = Tensor(draw.normal(3, 4)), draw.normal(3, 4)
    layer(x)
    alone = layer.backward(grad)
    other(Tensor(draw.normal(3, 4)))
    assert_close(layer.backward(grad), alone)


@every_activation
@pytest.mark.parametrize("shape", [(3, 4), (90, 80), (1, 1)], ids=str)
def test_backward_changes_nothing(activation, shape, draw):
    """Backward doesn't change grad, the input or the output, so a second backward returns the same."""
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
    """The output does not share the input's memory, even if it equals the input, and the input doesn't change."""
    values = draw.uniform(1, 2, 3, 4)
    x = Tensor(values)
    assert not np.shares_memory(activation()(x).data, x.data)
    assert_close(x, values, name="the input after forward")


@every_activation
@pytest.mark.parametrize("dtype", [np.bool_, np.uint8, np.int64, np.float16, np.float32, np.float64])
def test_the_input_stays_what_it_is(activation, dtype):
    """After forward the input holds the same array, with the same values and dtype, and is still writable."""
    values = np.array([[0, 1, 3], [1, 20, 0]], dtype)
    x, before = Tensor(values), values.copy()
    activation()(x)
    assert x.data is values, "the input holds another array"
    assert_close(values, before)
    assert values.flags.writeable, "the input can't be written to any more"


@every_activation
def test_backward_needs_a_forward(activation):
    """Calling backward before forward raises a RuntimeError whose message contains the class name."""
    with rejects(RuntimeError, activation.__name__):
        activation().backward(np.ones((3, 4)))


@every_activation
@pytest.mark.parametrize("shape", [(4,), (4, 3), (2, 3, 4), (), (1,), (1, 4), (3, 1), (1, 3, 4), (12,), (0, 4)], ids=str)
def test_a_gradient_of_another_shape_is_named(activation, shape):
    """A grad whose shape isn't the output's raises a ValueError that contains both shapes, even if it could be broadcast."""
    layer = activation()
    layer(Tensor(np.ones((3, 4))))
    with rejects(ValueError, str(shape), "(3, 4)"):
        layer.backward(np.ones(shape))


@every_activation
def test_large_arrays_are_left_alone_too(activation, draw):
    """A million values are treated as three are: forward leaves x as it was, backward leaves grad, a second time too."""
    x, grad, layer = np.array(draw.normal(1100, 1000, dtype=np.float32)), np.ones((1100, 1000), np.float32), activation()
    before = x[::97].copy()
    layer(Tensor(x))
    first = layer.backward(grad).copy()
    assert np.array_equal(x[::97], before), "forward has changed x"
    assert (grad == 1).all(), "backward has changed grad"
    assert np.array_equal(layer.backward(grad), first), "a second backward gives another gradient"
