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
    """−y·log σ(x) − (1 − y)·log(1 − σ(x)), the mean over all values, a Tensor of shape (); targets may lie between 0 and 1."""
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
    """Who knows nothing pays log 2, whatever the answer; the gradient pulls with ½ to either side."""
    loss = BCEWithLogitsLoss()
    assert_close(loss(Tensor(np.zeros(2)), [0, 1]), math.log(2))
    assert_close(loss.backward(2.0), [0.5, -0.5])


def test_it_is_the_cross_entropy_of_two_classes(draw):
    """σ(x) is the softmax of (0, x): the loss is the cross-entropy of two classes with these logits."""
    logits, target = draw.normal(6), draw.integers(2, 6)
    pairs = np.stack([np.zeros(6), logits], axis=1)
    assert_close(BCEWithLogitsLoss()(Tensor(logits), target), oracles.losses.cross_entropy(pairs, target))


def test_the_gradient_is_sigmoid_minus_target(draw):
    """(σ(x) − y) / n, times the gradient that comes in."""
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
    """Nothing is left of an earlier batch, whatever its shape; and asking twice gives the same gradient twice."""
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
    """Loss and gradient have the logits' dtype, whatever the incoming gradient's and the target's are (booleans too)."""
    loss = BCEWithLogitsLoss()
    for target in (draw.uniform(0, 1, 3, 4), draw.integers(2, 3, 4), draw.normal(3, 4) > 0):
        assert_dtype(loss(Tensor(draw.normal(3, 4, dtype=dtype)), target), dtype)
        assert_dtype(loss.backward(grad), dtype)


@pytest.mark.parametrize("dtype", [np.int64, np.int8, np.uint8, np.bool_])
def test_logits_of_integers_are_computed_in_float32(dtype):
    """Integers against probabilities: the target is not cut to integers, and nothing overflows."""
    logits, target, loss = np.array([0, 1, 100], dtype), np.array([0.25, 0.75, 0.5]), BCEWithLogitsLoss()
    got = loss(Tensor(logits), target)
    assert_dtype(got, np.float32)
    whole = logits.astype(np.float64)
    cut = oracles.losses.bce_with_logits(whole, np.zeros(3))
    assert_close(got, oracles.losses.bce_with_logits(whole, target), mistakes={"the target is cut to integers": cut})
    assert_dtype(loss.backward(), np.float32)
    assert_close(loss.backward(), (sigmoid(whole) - target) / 3)


def test_an_incoming_gradient_of_zero_is_one():
    """backward(0.0) gives zeros: 0 is a gradient, and does not stand for the default."""
    loss = BCEWithLogitsLoss()
    loss(Tensor([1.0, 2.0]), [0.0, 1.0])
    assert_close(loss.backward(0.0), [0.0, 0.0])


@pytest.mark.parametrize("grad", [-1, 2, -0.5, np.float32(-2), np.int64(3), np.array(-3.0), np.array(2)], ids=repr)
def test_the_incoming_gradient_may_be_any_number(grad, draw):
    """grad is a number or an array of shape () of any dtype and sign, and multiplies the gradient."""
    logits, target, loss = draw.normal(3, 4), draw.uniform(0, 1, 3, 4), BCEWithLogitsLoss()
    loss(Tensor(logits), target)
    want = (sigmoid(logits) - target) / 12
    mistakes = {"taken as 1": want, "the sign is lost": want * abs(float(grad))}
    assert_close(loss.backward(grad), want * float(grad), mistakes=mistakes)


@pytest.mark.parametrize("wrap", [lambda array: array, Tensor], ids=["array", "Tensor"])
def test_the_targets_array_may_be_reused(wrap, draw):
    """An array that is filled with the next batch's targets before backward does not change this batch's gradient."""
    logits, target, loss = draw.normal(3, 4), np.array(draw.uniform(0, 1, 3, 4)), BCEWithLogitsLoss()
    want = (sigmoid(logits) - target) / 12
    loss(Tensor(logits), wrap(target))
    target[...] = 0
    assert_close(loss.backward(), want, mistakes={"the next batch's targets": sigmoid(logits) / 12})


def test_one_value_may_have_no_axes():
    """Logits and a target of shape () are one value: the loss has shape (), and so has the gradient."""
    loss = BCEWithLogitsLoss()
    assert_close(loss(Tensor(0.0), 1), math.log(2))
    assert_close(loss.backward(), np.array(-0.5))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_small_probability_has_all_its_digits(dtype):
    """σ(−40) is 4.2e−18, not 0: for a target of 0 the gradient of a small logit is right to the last digits."""
    logits, loss = np.array([-17, -20, -40, -80], dtype), BCEWithLogitsLoss()
    loss(Tensor(logits), np.zeros(4))
    want = sigmoid(logits.astype(np.float64))
    got = loss.backward(4.0)
    assert_dtype(got, dtype)
    assert_close(got / want, np.ones(4), FLOAT32, mistakes={"1 − σ(−x) is 0 for a small x": np.zeros(4)})


def test_float16_has_the_digits_of_float32():
    """log(1 + e⁻⁸) is 3.4e−4, which float16 can hold, while 1 + e⁻⁸ is 1 there; so is the gradient."""
    loss, half, logits = BCEWithLogitsLoss(), Tolerance("float16", 1e-3), np.array([8, -8, 7], np.float16)
    target = np.array([1, 0, 1])
    want = oracles.losses.bce_with_logits(logits.astype(np.float64), target)
    assert_close(loss(Tensor(logits), target), want, half, mistakes={"computed in float16": 0.0})
    slope = sigmoid(logits.astype(np.float64)) - target
    assert_close(loss.backward(3.0) / slope, np.ones(3), half)


def test_float16_is_added_in_float32():
    """70,000 logits of float16: the sum of their losses is more than it can hold, the mean is not."""
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
    """A target outside [0, 1] is a ValueError that names it: with labels of −1 and 1 the loss would fall for ever."""
    with rejects(ValueError, str(value)):
        BCEWithLogitsLoss()(Tensor(np.ones((2, 3))), np.array([[0, 1, 0.5], [1, value, 0]]))


@pytest.mark.parametrize("shapes", [((5, 1), (5,)), ((5,), (5, 1)), ((3, 4), (4,)), ((3, 4), ())], ids=str)
def test_shapes_that_differ_are_named(shapes):
    """(5, 1) against (5,) would be broadcast to 25 pairs: a ValueError names both."""
    with rejects(ValueError, *map(str, shapes)):
        BCEWithLogitsLoss()(Tensor(np.ones(shapes[0])), np.ones(shapes[1]))


@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0), (2, 0, 3)], ids=str)
def test_an_empty_batch_is_refused(shape):
    """The mean of no values is a ValueError that names the shape, whichever axis has no length."""
    with rejects(ValueError, str(shape)):
        BCEWithLogitsLoss()(Tensor(np.ones(shape)), np.ones(shape))


def test_backward_needs_a_forward():
    """backward before any forward is a RuntimeError that says so."""
    with rejects(RuntimeError, "forward"):
        BCEWithLogitsLoss().backward()


def test_the_record_leads_from_the_loss_to_the_logits(draw):
    """The loss is made of Tensor operations: done again from the record on slightly different logits, it gives their loss."""
    start, target = draw.uniform(0.5, 3, 2, 3, 4) * np.sign(draw.normal(2, 3, 4)), draw.integers(2, 2, 3, 4)
    logits, other = Tensor(start, requires_grad=True), start + 0.01 * draw.normal(2, 3, 4)
    with recording() as probe:
        loss = BCEWithLogitsLoss()(logits, target)
    assert loss.requires_grad
    got = probe.done_again(loss, logits, other)
    want = oracles.losses.bce_with_logits(other, target)
    assert_close(got, want, mistakes={"the chain from the loss does not reach the logits": loss.data})


def test_nothing_of_binary_cross_entropy_is_kept_while_operations_are_recorded(draw, budget):
    """While a recorder is installed the record holds what a gradient needs; the loss keeps nothing beside it."""
    loss, logits, target = BCEWithLogitsLoss(), Tensor(draw.normal(100, 200)), draw.integers(2, 100, 200)

    def forward():
        with recording():
            loss(logits, target)

    budget.bytes(forward, retained=20_000)


def test_binary_cross_entropy_is_computed_in_numpy(budget):
    """A hundred times more values take not one Python step more, forward and backward."""

    def both(n: int):
        loss, x = BCEWithLogitsLoss(), np.ones((n, 10), np.float32)
        return lambda: (loss(Tensor(x), x), loss.backward())

    budget.steps(both(10), both(1000), limit=2)
