import numpy as np
import pytest
from katas.losses import MSELoss
from katas.tensor import Tensor

from specs import oracles
from specs.check import Tolerance, assert_close, assert_dtype, assert_gradient, recording, rejects


def test_it_is_the_mean_of_the_squared_differences(draw):
    """MSELoss returns the mean of (prediction − target)² over all values, a Tensor of shape (); the target is a Tensor or an
    array.
    """
    prediction, target = draw.normal(2, 3, 4), draw.normal(2, 3, 4)
    mistakes = {
        "the sum, not the mean": ((prediction - target) ** 2).sum(),
        "divided by the batch, not by the number of values": ((prediction - target) ** 2).sum() / 2,
        "halved": ((prediction - target) ** 2).mean() / 2,
        "the absolute error": np.abs(prediction - target).mean(),
        "the root of the mean": ((prediction - target) ** 2).mean() ** 0.5,
    }
    for given in (target, Tensor(target)):
        loss = MSELoss()(Tensor(prediction), given)
        assert isinstance(loss, Tensor)
        assert_close(loss, oracles.losses.mse(prediction, target), mistakes=mistakes)


def test_a_right_prediction_costs_nothing(draw):
    """The loss and the gradient are zero if the prediction equals the target."""
    x, loss = draw.normal(3, 4), MSELoss()
    assert_close(loss(Tensor(x), x), 0.0)
    assert_close(loss.backward(), np.zeros((3, 4)))


def test_the_gradient(draw):
    """The gradient is 2·(prediction − target) / n, times the incoming gradient."""
    prediction, target, grad = draw.normal(2, 3, 4), draw.normal(2, 3, 4), draw.normal().item()
    loss = MSELoss()
    loss(Tensor(prediction), target)
    whole = 2 * (prediction - target)
    mistakes = {
        "the gradient of the sum, not of the mean": whole * grad,
        "divided by the batch, not by the number of values": whole * grad / 2,
        "the factor 2 is missing": whole * grad / 48,
        "the incoming gradient is ignored": whole / 24,
    }
    assert_gradient(loss.backward(grad), lambda x: oracles.losses.mse(x, target), prediction, grad, mistakes)


def test_the_incoming_gradient_is_one_unless_given(draw):
    """backward() is backward(1.0): the gradient of the loss itself."""
    prediction, target, loss = draw.normal(3, 4), draw.normal(3, 4), MSELoss()
    loss(Tensor(prediction), target)
    assert_close(loss.backward(), 2 * (prediction - target) / 12)


def test_an_incoming_gradient_of_zero_is_one():
    """backward(0.0) returns zeros: 0 is a gradient and is not replaced by the default."""
    loss = MSELoss()
    loss(Tensor([1.0, 2.0]), [0.0, 0.0])
    assert_close(loss.backward(0.0), [0.0, 0.0], mistakes={"0 is taken as 1": [1.0, 2.0]})


@pytest.mark.parametrize("grad", [-1, 2, -0.5, np.float32(-2), np.int64(3), np.array(-3.0), np.array(2)], ids=repr)
def test_the_incoming_gradient_may_be_any_number(grad, draw):
    """grad is a number or an array of shape (), of any dtype and sign; the gradient is multiplied by it."""
    prediction, target, loss = draw.normal(3, 4), draw.normal(3, 4), MSELoss()
    loss(Tensor(prediction), target)
    want = 2 * (prediction - target) / 12
    mistakes = {"taken as 1": want, "the sign is lost": want * abs(float(grad))}
    assert_close(loss.backward(grad), want * float(grad), mistakes=mistakes)


@pytest.mark.parametrize("wrap", [lambda array: array, Tensor], ids=["array", "Tensor"])
def test_the_targets_array_may_be_reused(wrap, draw):
    """Filling the target's array with the next batch before backward doesn't change this batch's gradient."""
    prediction, target, loss = draw.normal(3, 4), np.array(draw.normal(3, 4)), MSELoss()
    want = 2 * (prediction - target) / 12
    loss(Tensor(prediction), wrap(target))
    target[...] = 0
    assert_close(loss.backward(), want, mistakes={"the next batch's targets": prediction / 6})


def test_one_value_may_have_no_axes():
    """A prediction and a target of shape () count as one value: the loss and the gradient have shape ()."""
    loss = MSELoss()
    assert_close(loss(Tensor(3.0), 1.0), 4.0)
    assert_close(loss.backward(), np.array(4.0))


def test_backward_belongs_to_the_last_forward(draw):
    """backward uses only the last forward, even if an earlier batch had a different shape, and gives the same gradient every
    time.
    """
    loss, prediction, target = MSELoss(), draw.normal(3, 4), draw.normal(3, 4)
    loss(Tensor(draw.normal(5, 2)), draw.normal(5, 2))
    loss.backward()
    loss(Tensor(prediction), target)
    first = loss.backward(0.5).copy()
    assert_close(first, (prediction - target) / 12)
    assert_close(loss.backward(0.5), first)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("grad", [0.5, np.float64(0.5), np.array(0.5)], ids=repr)
def test_the_dtype_stays(dtype, grad, draw):
    """The loss and the gradient have the prediction's dtype, whatever the dtypes of the target and of the incoming gradient."""
    loss = MSELoss()
    for target in (draw.normal(3, 4), draw.normal(3, 4, dtype=np.float32), draw.integers(9, 3, 4)):
        assert_dtype(loss(Tensor(draw.normal(3, 4, dtype=dtype)), target), dtype)
        assert_dtype(loss.backward(grad), dtype)


@pytest.mark.parametrize("dtype", [np.int64, np.int8, np.uint8, np.bool_])
def test_a_prediction_of_integers_is_computed_in_float32(dtype):
    """Integer predictions are computed in float32: a target of 0.5 is not truncated, and no difference or square overflows."""
    prediction, target, loss = np.array([0, 1, 100], dtype), np.array([0.5, 0.5, 200.5]), MSELoss()
    got = loss(Tensor(prediction), target)
    assert_dtype(got, np.float32)
    whole = prediction.astype(np.float64)
    cut = ((whole - target.astype(int)) ** 2).mean()
    assert_close(got, ((whole - target) ** 2).mean(), mistakes={"the target is cut to integers": cut})
    assert_dtype(loss.backward(), np.float32)
    assert_close(loss.backward(), 2 * (whole - target) / 3)


def test_float16_is_added_in_float32():
    """For float16, squares and sums are computed in float32: float16 can't hold the sum of 70,000 squared differences, or a
    single large square, though it can hold the mean.
    """
    loss, half = MSELoss(), Tolerance("float16", 1e-3)
    got = loss(Tensor(np.full(70_000, 0.5, np.float16)), np.zeros(70_000))
    assert_dtype(got, np.float16)
    assert_close(got, 0.25, half)
    assert_dtype(loss.backward(7e4), np.float16)
    assert_close(loss.backward(7e4), np.ones(70_000), half)
    assert_close(loss(Tensor(np.array([300, 0, 0, 0], np.float16)), np.zeros(4)), 22_500.0, half)
    cut = {"the target is rounded to float16": 0.0}
    assert_close(loss(Tensor(np.array([100, 100], np.float16)), [100.02, 99.98]), 4e-4, half, mistakes=cut)
    assert_close(loss.backward(), [-0.02, 0.02], half, mistakes={"the target is rounded to float16": [0.0, 0.0]})


@pytest.mark.parametrize("shapes", [((5, 1), (5,)), ((5,), (5, 1)), ((3, 4), (4,)), ((3, 4), ()), ((3, 4), (4, 3))], ids=str)
def test_shapes_that_differ_are_named(shapes):
    """A prediction (5, 1) with a target (5,) raises a ValueError whose message contains both shapes. Broadcasting would give 25
    differences, and the network would learn the mean of all targets.
    """
    with rejects(ValueError, *map(str, shapes)):
        MSELoss()(Tensor(np.ones(shapes[0])), np.ones(shapes[1]))


@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0), (2, 0, 3)], ids=str)
def test_an_empty_batch_is_refused(shape):
    """An empty batch has no mean: it raises a ValueError whose message contains the shape, whichever axis has length 0."""
    with rejects(ValueError, str(shape)):
        MSELoss()(Tensor(np.ones(shape)), np.ones(shape))


def test_backward_needs_a_forward():
    """Calling backward before forward raises a RuntimeError whose message contains 'forward'."""
    with rejects(RuntimeError, "forward"):
        MSELoss().backward()


def test_the_record_leads_from_the_loss_to_the_prediction(draw):
    """The loss is computed with Tensor operations: repeated from the graph for different predictions, they give those
    predictions' loss.
    """
    prediction, target = Tensor(draw.normal(2, 3, 4), requires_grad=True), draw.normal(2, 3, 4)
    other = draw.normal(2, 3, 4)
    with recording() as probe:
        loss = MSELoss()(prediction, target)
    assert loss.requires_grad
    got = probe.done_again(loss, prediction, other)
    want = oracles.losses.mse(other, target)
    assert_close(got, want, mistakes={"the chain from the loss does not reach the prediction": loss.data})


def test_nothing_of_squared_errors_is_kept_while_operations_are_recorded(draw, budget):
    """While operations are recorded, the loss saves nothing for backward: the graph holds it already."""
    loss, prediction, target = MSELoss(), Tensor(draw.normal(100, 200)), draw.normal(100, 200)

    def forward():
        with recording():
            loss(prediction, target)

    budget.bytes(forward, retained=20_000)


def test_squared_errors_are_taken_in_numpy(budget):
    """The number of Python instructions, forward and backward, must not grow with the number of values."""

    def both(n: int):
        loss, x = MSELoss(), np.ones((n, 10), np.float32)
        return lambda: (loss(Tensor(x), x), loss.backward())

    budget.steps(both(10), both(1000), limit=2)


def test_a_target_is_a_constant(draw):
    """A target that is a Tensor counts as its array: it brings in neither a wider dtype nor a gradient of its own."""
    prediction, target = draw.normal(3, 4, dtype=np.float32), draw.normal(3, 4)
    loss = MSELoss()(Tensor(prediction), Tensor(target, requires_grad=True))
    assert_dtype(loss, np.float32)
    assert not loss.requires_grad, "the loss requires a gradient because of its target"
