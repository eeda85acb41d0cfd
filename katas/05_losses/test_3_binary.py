import math

import numpy as np
import pytest
from katas.losses import BCEWithLogitsLoss
from katas.tensor import Tensor

from specs import oracles
from specs.check import FLOAT32, Tolerance, assert_close, assert_dtype, assert_gradient, recording, rejects


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def test_it_is_minus_the_log_probability_of_the_answer(draw):
    """BCEWithLogitsLoss returns the mean of −y·log σ(x) − (1 − y)·log(1 − σ(x)) over all values, a Tensor of shape (); targets
    may lie between 0 and 1.
    """
    logits, target = draw.normal(2, 3, 4), draw.uniform(0, 1, 2, 3, 4)
    p = sigmoid(logits)
    each = -target * np.log(p) - (1 - target) * np.log(1 - p)
    mistakes = {
        "the sum, not the mean": each.sum(),
        "divided by the batch, not by the number of values": each.sum() / 2,
        "the sign": -each.mean(),
        "only the targets of 1 count": -(target * np.log(p)).mean(),
        "the sigmoid is applied twice": -(target * np.log(sigmoid(p)) + (1 - target) * np.log(1 - sigmoid(p))).mean(),
        "y and 1 − y are swapped": -((1 - target) * np.log(p) + target * np.log(1 - p)).mean(),
    }
    for given in (target, Tensor(target)):
        loss = BCEWithLogitsLoss()(Tensor(logits), given)
        assert isinstance(loss, Tensor)
        assert_close(loss, oracles.losses.bce_with_logits(logits, target), mistakes=mistakes)


def test_a_logit_of_zero_costs_the_logarithm_of_two():
    """A logit of 0 means probability ½. It costs log 2 whatever the target; its gradient, before dividing by n, is ½ for target
    0 and −½ for target 1.
    """
    loss = BCEWithLogitsLoss()
    assert_close(loss(Tensor(np.zeros(2)), [0, 1]), math.log(2))
    assert_close(loss.backward(2.0), [0.5, -0.5])


def test_it_is_the_cross_entropy_of_two_classes(draw):
    """σ(x) is the softmax of (0, x), so the loss equals the cross-entropy of two classes with these logits."""
    logits, target = draw.normal(6), draw.integers(2, 6)
    pairs = np.stack([np.zeros(6), logits], axis=1)
    assert_close(BCEWithLogitsLoss()(Tensor(logits), target), oracles.losses.cross_entropy(pairs, target))


def test_the_gradient_is_sigmoid_minus_target(draw):
    """The gradient is (σ(x) − y) / n, times the incoming gradient."""
    logits, target, grad = draw.normal(2, 3, 4), draw.uniform(0, 1, 2, 3, 4), draw.normal().item()
    loss = BCEWithLogitsLoss()
    loss(Tensor(logits), target)
    whole = sigmoid(logits) - target
    mistakes = {
        "the gradient of the sum, not of the mean": whole * grad,
        "divided by the batch, not by the number of values": whole * grad / 2,
        "the target is not subtracted": sigmoid(logits) * grad / 24,
        "the sigmoid is missing": (logits - target) * grad / 24,
        "the incoming gradient is ignored": whole / 24,
    }
    assert_gradient(loss.backward(grad), lambda x: oracles.losses.bce_with_logits(x, target), logits, grad, mistakes)


def test_the_incoming_gradient_is_one_unless_given(draw):
    """backward() is backward(1.0): the gradient of the loss itself."""
    logits, target, loss = draw.normal(3, 4), draw.uniform(0, 1, 3, 4), BCEWithLogitsLoss()
    loss(Tensor(logits), target)
    assert_close(loss.backward(), (sigmoid(logits) - target) / 12)


def test_backward_belongs_to_the_last_forward(draw):
    """backward uses only the last forward, even if an earlier batch had a different shape, and gives the same gradient every
    time.
    """
    loss, logits, target = BCEWithLogitsLoss(), draw.normal(3, 4), draw.integers(2, 3, 4)
    loss(Tensor(draw.normal(5, 2)), draw.integers(2, 5, 2))
    loss.backward()
    loss(Tensor(logits), target)
    first = loss.backward(0.5).copy()
    assert_close(first, (sigmoid(logits) - target) / 24)
    assert_close(loss.backward(0.5), first)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("grad", [0.5, np.float64(0.5), np.array(0.5)], ids=repr)
def test_the_dtype_stays(dtype, grad, draw):
    """The loss and the gradient have the logits' dtype, whatever the dtypes of the incoming gradient and of the target
    (booleans too).
    """
    loss = BCEWithLogitsLoss()
    for target in (draw.uniform(0, 1, 3, 4), draw.integers(2, 3, 4), draw.normal(3, 4) > 0):
        assert_dtype(loss(Tensor(draw.normal(3, 4, dtype=dtype)), target), dtype)
        assert_dtype(loss.backward(grad), dtype)


@pytest.mark.parametrize("dtype", [np.int64, np.int8, np.uint8, np.bool_])
def test_logits_of_integers_are_computed_in_float32(dtype):
    """Integer logits are computed in float32: targets between 0 and 1 are not truncated, and nothing overflows."""
    logits, target, loss = np.array([0, 1, 100], dtype), np.array([0.25, 0.75, 0.5]), BCEWithLogitsLoss()
    got = loss(Tensor(logits), target)
    assert_dtype(got, np.float32)
    whole = logits.astype(np.float64)
    cut = oracles.losses.bce_with_logits(whole, np.zeros(3))
    assert_close(got, oracles.losses.bce_with_logits(whole, target), mistakes={"the target is cut to integers": cut})
    assert_dtype(loss.backward(), np.float32)
    assert_close(loss.backward(), (sigmoid(whole) - target) / 3)


def test_an_incoming_gradient_of_zero_is_one():
    """backward(0.0) returns zeros: 0 is a gradient and is not replaced by the default."""
    loss = BCEWithLogitsLoss()
    loss(Tensor([1.0, 2.0]), [0.0, 1.0])
    assert_close(loss.backward(0.0), [0.0, 0.0])


@pytest.mark.parametrize("grad", [-1, 2, -0.5, np.float32(-2), np.int64(3), np.array(-3.0), np.array(2)], ids=repr)
def test_the_incoming_gradient_may_be_any_number(grad, draw):
    """grad is a number or an array of shape (), of any dtype and sign; the gradient is multiplied by it."""
    logits, target, loss = draw.normal(3, 4), draw.uniform(0, 1, 3, 4), BCEWithLogitsLoss()
    loss(Tensor(logits), target)
    want = (sigmoid(logits) - target) / 12
    mistakes = {"taken as 1": want, "the sign is lost": want * abs(float(grad))}
    assert_close(loss.backward(grad), want * float(grad), mistakes=mistakes)


@pytest.mark.parametrize("wrap", [lambda array: array, Tensor], ids=["array", "Tensor"])
def test_the_targets_array_may_be_reused(wrap, draw):
    """Filling the target's array with the next batch before backward doesn't change this batch's gradient."""
    logits, target, loss = draw.normal(3, 4), np.array(draw.uniform(0, 1, 3, 4)), BCEWithLogitsLoss()
    want = (sigmoid(logits) - target) / 12
    loss(Tensor(logits), wrap(target))
    target[...] = 0
    assert_close(loss.backward(), want, mistakes={"the next batch's targets": sigmoid(logits) / 12})


def test_one_value_may_have_no_axes():
    """Logits and a target of shape () count as one value: the loss and the gradient have shape ()."""
    loss = BCEWithLogitsLoss()
    assert_close(loss(Tensor(0.0), 1), math.log(2))
    assert_close(loss.backward(), np.array(-0.5))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_small_probability_has_all_its_digits(dtype):
    """σ(−40) is 4.2e−18, not 0: for a target of 0, the gradient of a very negative logit is right to the last digits."""
    logits, loss = np.array([-17, -20, -40, -80], dtype), BCEWithLogitsLoss()
    loss(Tensor(logits), np.zeros(4))
    want = sigmoid(logits.astype(np.float64))
    got = loss.backward(4.0)
    assert_dtype(got, dtype)
    assert_close(got / want, np.ones(4), FLOAT32, mistakes={"1 − σ(−x) is 0 for a small x": np.zeros(4)})


def test_float16_has_the_digits_of_float32():
    """The loss log(1 + e⁻⁸) is 3.4e−4, which float16 can hold, but 1 + e⁻⁸ rounds to 1 in float16. The same holds for the
    gradient.
    """
    loss, half, logits = BCEWithLogitsLoss(), Tolerance("float16", 1e-3), np.array([8, -8, 7], np.float16)
    target = np.array([1, 0, 1])
    want = oracles.losses.bce_with_logits(logits.astype(np.float64), target)
    assert_close(loss(Tensor(logits), target), want, half, mistakes={"computed in float16": 0.0})
    slope = sigmoid(logits.astype(np.float64)) - target
    assert_close(loss.backward(3.0) / slope, np.ones(3), half)


def test_float16_is_added_in_float32():
    """For float16, sums are computed in float32: float16 can't hold the sum of 70,000 losses, though it can hold their mean."""
    loss, half = BCEWithLogitsLoss(), Tolerance("float16", 1e-3)
    got = loss(Tensor(np.full(70_000, 2.0, np.float16)), np.zeros(70_000))
    assert_dtype(got, np.float16)
    assert_close(got, math.log(1 + math.exp(2.0)), half)
    assert_dtype(loss.backward(7e4), np.float16)
    assert_close(loss.backward(7e4), np.full(70_000, sigmoid(2.0)), half)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size", [100, 1000, 1e4])
def test_large_logits_neither_overflow_nor_warn(size, dtype):
    """Logits of ±10⁴, right or wrong, give the right loss and gradient, without a floating-point warning."""
    logits, target = np.array([size, size, -size, -size], dtype), np.array([1, 0, 1, 0], dtype)
    loss = BCEWithLogitsLoss()
    with np.errstate(over="raise", divide="raise", invalid="raise"):
        got = loss(Tensor(logits), target)
        grad = loss.backward()
    assert_close(got, oracles.losses.bce_with_logits(logits, target))
    assert_close(grad, np.array([0, 1, -1, 0]) / 4)


@pytest.mark.parametrize("value", [-1.0, 1.5, 2.0, math.nan])
def test_a_target_that_is_no_probability_is_named(value):
    """A target outside [0, 1] raises a ValueError whose message contains it: with labels −1 and 1 the loss would
    fall forever.
    """
    with rejects(ValueError, str(value)):
        BCEWithLogitsLoss()(Tensor(np.ones((2, 3))), np.array([[0, 1, 0.5], [1, value, 0]]))


@pytest.mark.parametrize("shapes", [((5, 1), (5,)), ((5,), (5, 1)), ((3, 4), (4,)), ((3, 4), ())], ids=str)
def test_shapes_that_differ_are_named(shapes):
    """Logits (5, 1) with a target (5,) raise a ValueError whose message contains both shapes. Broadcasting would
    give 25 pairs.
    """
    with rejects(ValueError, *map(str, shapes)):
        BCEWithLogitsLoss()(Tensor(np.ones(shapes[0])), np.ones(shapes[1]))


@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0), (2, 0, 3)], ids=str)
def test_an_empty_batch_is_refused(shape):
    """An empty batch has no mean: it raises a ValueError whose message contains the shape, whichever axis has length 0."""
    with rejects(ValueError, str(shape)):
        BCEWithLogitsLoss()(Tensor(np.ones(shape)), np.ones(shape))


def test_backward_needs_a_forward():
    """Calling backward before forward raises a RuntimeError whose message contains 'forward'."""
    with rejects(RuntimeError, "forward"):
        BCEWithLogitsLoss().backward()


def test_the_record_leads_from_the_loss_to_the_logits(draw):
    """The loss is computed with Tensor operations: repeated from the graph for slightly different logits, they give those
    logits' loss.
    """
    start, target = draw.uniform(0.5, 3, 2, 3, 4) * np.sign(draw.normal(2, 3, 4)), draw.integers(2, 2, 3, 4)
    logits, other = Tensor(start, requires_grad=True), start + 0.01 * draw.normal(2, 3, 4)
    with recording() as probe:
        loss = BCEWithLogitsLoss()(logits, target)
    assert loss.requires_grad
    got = probe.done_again(loss, logits, other)
    want = oracles.losses.bce_with_logits(other, target)
    assert_close(got, want, mistakes={"the chain from the loss does not reach the logits": loss.data})


def test_nothing_of_binary_cross_entropy_is_kept_while_operations_are_recorded(draw, budget):
    """While operations are recorded, the loss saves nothing for backward: the graph holds it already."""
    loss, logits, target = BCEWithLogitsLoss(), Tensor(draw.normal(100, 200)), draw.integers(2, 100, 200)

    def forward():
        with recording():
            loss(logits, target)

    budget.bytes(forward, retained=20_000)


def test_binary_cross_entropy_is_computed_in_numpy(budget):
    """The number of Python instructions, forward and backward, must not grow with the number of values."""

    def both(n: int):
        loss, x = BCEWithLogitsLoss(), np.ones((n, 10), np.float32)
        return lambda: (loss(Tensor(x), x), loss.backward())

    budget.steps(both(10), both(1000), limit=2)


def test_a_target_is_a_constant(draw):
    """A target that is a Tensor counts as its array: it brings in neither a wider dtype nor a gradient of its own."""
    logits, target = draw.normal(3, 4, dtype=np.float32), np.full((3, 4), 0.5)
    loss = BCEWithLogitsLoss()(Tensor(logits), Tensor(target, requires_grad=True))
    assert_dtype(loss, np.float32)
    assert not loss.requires_grad, "the loss requires a gradient because of its target"
