import math
from functools import partial

import numpy as np
import pytest
from katas.losses import CrossEntropyLoss
from katas.tensor import Tensor

from specs import oracles
from specs.check import Tolerance, assert_close, assert_dtype, assert_gradient, recording, rejects

IGNORED = np.array([[4, -100, 0], [-100, 2, 2]])  # of five classes, two of six targets don't count


def softmax(logits: np.ndarray) -> np.ndarray:
    odds = np.exp(logits)
    return odds / odds.sum(-1, keepdims=True)


def one_hot(target: np.ndarray, classes: int) -> np.ndarray:
    return np.eye(classes)[target]


def test_the_options_are_attributes():
    """label_smoothing and ignore_index are attributes, which later katas read."""
    loss = CrossEntropyLoss(0.25, ignore_index=7)
    assert (loss.label_smoothing, loss.ignore_index) == (0.25, 7)


def test_it_is_minus_the_log_probability_of_the_target(draw):
    """CrossEntropyLoss returns −log softmax(logits)[target], averaged over the samples: a Tensor of shape (); the target is a
    Tensor or an array.
    """
    logits, target = draw.normal(4, 5), np.array([3, 0, 4, 3])
    logs = np.log(softmax(logits))
    picked = logs[np.arange(4), target]
    mistakes = {
        "the sum, not the mean": -picked.sum(),
        "divided by samples × classes: the mean of one-hot × log p": -picked.sum() / 20,
        "the sign": picked.mean(),
        "the logarithm is missing": -softmax(logits)[np.arange(4), target].mean(),
        "the softmax is missing": -logits[np.arange(4), target].mean(),
        "softmax over the batch": -np.log(softmax(logits.T).T)[np.arange(4), target].mean(),
        "softmax twice: log softmax of softmax": -np.log(softmax(softmax(logits)))[np.arange(4), target].mean(),
    }
    for given in (target, Tensor(target)):
        loss = CrossEntropyLoss()(Tensor(logits), given)
        assert isinstance(loss, Tensor)
        assert_close(loss, oracles.losses.cross_entropy(logits, target), mistakes=mistakes)


@pytest.mark.parametrize("shape", [(), (4,), (2, 3), (2, 3, 4)], ids=str)
def test_the_classes_are_the_last_axis(shape, draw):
    """Logits are (…, classes), targets (…): a single sample, a batch, or a batch of sequences (batch, time, classes)."""
    logits, target, grad = draw.normal(*shape, 5), draw.integers(5, *shape), draw.normal().item()
    loss = CrossEntropyLoss()
    assert_close(loss(Tensor(logits), target), oracles.losses.cross_entropy(logits, target))
    assert_gradient(loss.backward(grad), lambda x: oracles.losses.cross_entropy(x, target), logits, grad)


@pytest.mark.parametrize("classes", [1, 2, 1000])
def test_equal_logits_cost_the_logarithm_of_the_number_of_classes(classes):
    """With equal logits the loss is log C. An untrained network should start there: look at the first loss of a
    training run.
    """
    assert_close(CrossEntropyLoss()(Tensor(np.full((3, classes), 7.0)), [0, classes - 1, classes // 2]), math.log(classes))


def test_the_gradient_is_softmax_minus_one_hot(draw):
    """The gradient is (softmax − one-hot) / n, times the incoming gradient."""
    logits, target, grad = draw.normal(4, 5), np.array([3, 0, 4, 3]), draw.normal().item()
    loss = CrossEntropyLoss()
    loss(Tensor(logits), target)
    whole = softmax(logits) - one_hot(target, 5)
    mistakes = {
        "the gradient of the sum, not of the mean": whole * grad,
        "divided by samples × classes": whole * grad / 20,
        "one-hot is not subtracted": softmax(logits) * grad / 4,
        "the softmax is missing": -one_hot(target, 5) * grad / 4,
        "the incoming gradient is ignored": whole / 4,
    }
    assert_gradient(loss.backward(grad), lambda x: oracles.losses.cross_entropy(x, target), logits, grad, mistakes)


def test_the_incoming_gradient_is_one_unless_given(draw):
    """backward() is backward(1.0): the gradient of the loss itself."""
    logits, loss = draw.normal(4, 5), CrossEntropyLoss()
    loss(Tensor(logits), [3, 0, 4, 3])
    assert_close(loss.backward(), (softmax(logits) - one_hot(np.array([3, 0, 4, 3]), 5)) / 4)


def test_an_incoming_gradient_of_zero_is_one():
    """backward(0.0) returns zeros: 0 is a gradient and is not replaced by the default."""
    loss = CrossEntropyLoss(label_smoothing=0.1)
    loss(Tensor([[1.0, 2.0]]), [0])
    assert_close(loss.backward(0.0), [[0.0, 0.0]])


@pytest.mark.parametrize("grad", [-1, 2, -0.5, np.float32(-2), np.int64(3), np.array(-3.0), np.array(2)], ids=repr)
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_incoming_gradient_may_be_any_number(smoothing, grad, draw):
    """grad is a number or an array of shape (), of any dtype and sign; the gradient is multiplied by it."""
    logits, target, loss = draw.normal(4, 5), np.array([3, 0, 4, 3]), CrossEntropyLoss(smoothing)
    loss(Tensor(logits), target)
    want = (softmax(logits) - (1 - smoothing) * one_hot(target, 5) - smoothing / 5) / 4
    mistakes = {"taken as 1": want, "the sign is lost": want * abs(float(grad))}
    assert_close(loss.backward(grad), want * float(grad), mistakes=mistakes)


@pytest.mark.parametrize("wrap", [lambda array: array, Tensor], ids=["array", "Tensor"])
@pytest.mark.parametrize("ignored", [-100, 3])
@pytest.mark.parametrize("shape", [(4,), (2, 2)], ids=str)
def test_the_targets_array_may_be_reused(shape, ignored, wrap, draw):
    """Filling the target's array with the next batch before backward doesn't change this batch's gradient."""
    logits, target = draw.normal(*shape, 5), np.array([3, 0, 4, 3]).reshape(shape)
    loss, other = CrossEntropyLoss(ignore_index=ignored), CrossEntropyLoss(ignore_index=ignored)
    loss(Tensor(logits), wrap(target))
    other(Tensor(logits), target.tolist())
    target[...] = 1
    assert_close(loss.backward(), other.backward())


@pytest.mark.parametrize("index", [255, -1, 0, 4, 99])
def test_any_integer_may_be_ignored(index, draw):
    """ignore_index doesn't have to be a class (image masks use 255), but it may be one. Then −100 is an unknown class."""
    logits, loss = draw.normal(4, 5), CrossEntropyLoss(ignore_index=index)
    target = np.array([3, index, 1, index])
    assert_close(loss(Tensor(logits), target), oracles.losses.cross_entropy(logits[::2], np.array([3, 1])))
    grad = loss.backward()
    assert_close(grad[1::2], np.zeros((2, 5)))
    assert_close(grad[::2].sum(-1) + 1, [1.0, 1.0])
    assert loss.counted(target) == 2
    with rejects(ValueError, "-100", "5"):
        loss(Tensor(logits), np.array([3, -100, 1, 2]))


def test_options_may_be_changed_later(draw):
    """ignore_index and label_smoothing are attributes: the next forward uses their current values."""
    logits, loss, target = draw.normal(4, 5), CrossEntropyLoss(), np.array([3, 0, 4, 0])
    loss.ignore_index, loss.label_smoothing = 0, 0.2
    want = oracles.losses.cross_entropy(logits[::2], np.array([3, 4]), 0.2)
    assert_close(loss(Tensor(logits), target), want)
    assert loss.counted(target) == 2


def test_the_gradients_of_a_sample_add_up_to_zero(draw):
    """The gradients of a sample's logits add up to zero: adding the same number to all of them changes no probability."""
    loss = CrossEntropyLoss(label_smoothing=0.2)
    loss(Tensor(draw.normal(2, 3, 5)), IGNORED)
    assert_close(loss.backward(3.0).sum(-1) + 1, np.ones((2, 3)))


def test_backward_belongs_to_the_last_forward(draw):
    """backward uses only the last forward, even if an earlier batch had a different shape, and gives the same gradient every
    time.
    """
    loss, logits, target = CrossEntropyLoss(), draw.normal(4, 5), np.array([3, 0, 4, 3])
    loss(Tensor(draw.normal(2, 3, 7)), draw.integers(7, 2, 3))
    loss.backward()
    loss(Tensor(logits), target)
    first = loss.backward(0.5).copy()
    assert_close(first, (softmax(logits) - one_hot(target, 5)) / 8)
    assert_close(loss.backward(0.5), first)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("grad", [0.5, np.float64(0.5), np.array(0.5)], ids=repr)
@pytest.mark.parametrize("options", [{}, {"label_smoothing": 0.1}, {"ignore_index": 0}], ids=str)
def test_the_dtype_stays(options, dtype, grad, draw):
    """The loss and the gradient have the logits' dtype, whatever the dtype of the incoming gradient."""
    loss = CrossEntropyLoss(**options)
    assert_dtype(loss(Tensor(draw.normal(4, 5, dtype=dtype)), [3, 0, 4, 3]), dtype)
    assert_dtype(loss.backward(grad), dtype)


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64])
def test_any_integers_are_class_indices(dtype, draw):
    """Targets may have any integer dtype, such as an image file's uint8, which can't hold the default ignore_index −100."""
    logits, target = draw.normal(4, 5), np.array([3, 0, 4, 3])
    assert_close(CrossEntropyLoss()(Tensor(logits), target.astype(dtype)), oracles.losses.cross_entropy(logits, target))


@pytest.mark.parametrize("smoothing", [0.1, 0.5])
def test_label_smoothing_spreads_a_part_over_all_classes(smoothing, draw):
    """With label smoothing the loss is (1 − ε)·(−log p[target]) + ε·mean over all C classes of −log p, the target included; the
    gradient follows.
    """
    logits, target, grad = draw.normal(4, 5), np.array([3, 0, 4, 3]), draw.normal().item()
    logs, hot = np.log(softmax(logits)), one_hot(target, 5)
    mistakes = {
        "ε is spread over the C − 1 other classes": -(logs * ((1 - smoothing) * hot + smoothing / 4 * (1 - hot))).sum(1).mean(),
        "ε is added, but 1 − ε forgotten": -(logs * (hot + smoothing / 5)).sum(1).mean(),
        "the sum over classes, not their mean": -(logs * ((1 - smoothing) * hot + smoothing)).sum(1).mean(),
        "no smoothing at all": -(logs * hot).sum(1).mean(),
        "ε and 1 − ε are swapped": -(logs * (smoothing * hot + (1 - smoothing) / 5)).sum(1).mean(),
    }
    loss = CrossEntropyLoss(label_smoothing=smoothing)
    want = oracles.losses.cross_entropy(logits, target, smoothing)
    assert_close(loss(Tensor(logits), target), want, mistakes=mistakes)
    part = (softmax(logits) - hot) * grad / 4
    wrong = {
        "no smoothing at all": part,
        "ε is spread over the C − 1 other classes": (softmax(logits) - (1 - smoothing) * hot - smoothing / 4 * (1 - hot))
        * (grad / 4),
    }
    assert_gradient(loss.backward(grad), lambda x: oracles.losses.cross_entropy(x, target, smoothing), logits, grad, wrong)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("ignored", [-100, 2])
def test_ignored_targets_do_not_count(ignored, smoothing, draw):
    """A target equal to ignore_index adds nothing to the loss, and the mean is over the others. ignore_index may be a class,
    such as that of padding.
    """
    logits, target, grad = draw.normal(2, 3, 5), np.where(IGNORED == -100, ignored, IGNORED), draw.normal().item()
    counts = target != ignored
    want = oracles.losses.cross_entropy(logits, target, smoothing, ignored)
    loss = CrossEntropyLoss(label_smoothing=smoothing, ignore_index=ignored)
    assert_close(loss(Tensor(logits), target), want, mistakes={"divided by all, ignored ones too": want * counts.sum() / 6})
    whole = softmax(logits) - (1 - smoothing) * one_hot(np.where(counts, target, 0), 5) - smoothing / 5
    mistakes = {
        "divided by all, ignored ones too": whole * counts[..., None] * grad / 6,
        "ignored positions get a gradient": np.where(counts[..., None], whole, softmax(logits) - smoothing / 5)
        * grad
        / counts.sum(),
    }
    function = partial(oracles.losses.cross_entropy, target=target, smoothing=smoothing, ignored=ignored)
    assert_gradient(loss.backward(grad), function, logits, grad, mistakes)


@pytest.mark.parametrize("wrap", [Tensor, np.asarray, np.ndarray.tolist], ids=["Tensor", "array", "list"])
def test_it_says_how_many_targets_count(wrap):
    """counted(target) is the number of targets that aren't ignore_index: an int, for any shape, and 0 if all are ignored."""
    for ignored, want in ((-100, 4), (2, 4), (0, 5), (3, 6)):
        got = CrossEntropyLoss(ignore_index=ignored).counted(wrap(IGNORED))
        assert type(got) is int, f"expected an int, got a {type(got).__name__}"
        assert got == want, f"with ignore_index={ignored}: expected {want} of {IGNORED.tolist()}, got {got}"
    assert CrossEntropyLoss().counted(wrap(np.full((2, 3), -100))) == 0


def test_an_ignored_position_has_no_gradient(draw):
    """The gradient of an ignored target's logits is exactly zero, so that nothing is learned from padding."""
    loss = CrossEntropyLoss(label_smoothing=0.1)
    loss(Tensor(draw.normal(2, 3, 5)), IGNORED)
    assert not loss.backward()[IGNORED == -100].any()


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("row", [[math.nan] * 5, [-math.inf] * 5, [0, math.inf, 1, 2, math.nan], [-6e4, 6e4, 0, 0, 0]], ids=str)
def test_the_logits_of_ignored_targets_do_not_matter(row, smoothing, dtype, draw):
    """Logits of ignored targets may be NaN or infinite: the loss is the loss of the others, the gradient of the ignored logits
    is exactly zero, and no floating-point warning is raised.
    """
    logits, loss, half = np.array(draw.normal(2, 3, 5)), CrossEntropyLoss(smoothing), Tolerance("float16", 2e-3)
    logits = logits.astype(dtype)
    want = oracles.losses.cross_entropy(logits.astype(np.float64), IGNORED, smoothing, -100)
    loss(Tensor(logits), IGNORED)
    grad = loss.backward()
    logits[IGNORED == -100] = row
    with np.errstate(all="raise", under="ignore"):
        got = loss(Tensor(logits), IGNORED)
        again = loss.backward()
    assert_close(got, want, half if dtype == np.float16 else None, mistakes={"ignored logits count": math.nan})
    assert_close(again, grad, mistakes={"0 · NaN": np.where((IGNORED == -100)[..., None], math.nan, grad)})
    assert not again[IGNORED == -100].any()


def test_inputs_are_left_alone(draw):
    """The loss changes neither the logits nor the target, not even ignored ones."""
    logits, target = np.array(draw.normal(2, 3, 5)), IGNORED.copy()
    kept, loss = logits.copy(), CrossEntropyLoss(label_smoothing=0.1)
    loss(Tensor(logits), target)
    loss.backward()
    assert_close(logits, kept)
    assert_close(target, IGNORED)


@pytest.mark.parametrize("dtype", [np.int64, np.int8, np.uint8, np.bool_])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_logits_of_integers_are_computed_in_float32(smoothing, dtype):
    """Integer and boolean logits are converted to float32 first: a difference of integers may overflow, and booleans have no
    difference.
    """
    logits, loss = np.array([[0, 100, 1], [1, 0, 0]], dtype), CrossEntropyLoss(label_smoothing=smoothing)
    whole = logits.astype(np.float64) - (128 if dtype == np.int8 else 0) * (logits == 0)
    got = loss(Tensor(whole.astype(dtype)), [2, 1])
    assert_dtype(got, np.float32)
    assert_close(got, oracles.losses.cross_entropy(whole, np.array([2, 1]), smoothing))
    assert_dtype(loss.backward(), np.float32)
    want = softmax(whole - whole.max(-1, keepdims=True)) - (1 - smoothing) * one_hot(np.array([2, 1]), 3) - smoothing / 3
    assert_close(loss.backward(), want / 2)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("shape", [(70_000, 2), (1, 70_000)], ids=str)
def test_float16_is_added_in_float32(shape, smoothing):
    """For float16, sums are computed in float32: float16 can't hold a sum over 70,000 targets or classes, though it can hold
    the loss and the gradient.
    """
    n, classes = shape
    loss, half = CrossEntropyLoss(label_smoothing=smoothing), Tolerance("float16", 1e-3)
    got = loss(Tensor(np.zeros(shape, np.float16)), np.zeros(n, np.int64))
    assert_dtype(got, np.float16)
    assert_close(got, math.log(classes), half, mistakes={"the sum is infinite": 0.0})
    assert_dtype(loss.backward(n), np.float16)
    whole = np.full(shape, (1 - smoothing) / classes)
    whole[:, 0] -= 1 - smoothing
    assert_close(loss.backward(n), whole, half)


def test_float16_has_the_digits_of_float32():
    """The loss log(1 + e⁻⁸) is 3.4e−4, which float16 can hold, but 1 + e⁻⁸ rounds to 1 in float16. The same holds for the
    gradient.
    """
    loss, half, want = CrossEntropyLoss(), Tolerance("float16", 1e-3), math.log1p(math.exp(-8))
    got = loss(Tensor(np.array([[8, 0], [0, 8]], np.float16)), [0, 1])
    assert_close(got, want, half, mistakes={"computed in float16": 0.0})
    assert_close(loss.backward(2.0) / -math.expm1(-want), np.array([[-1, 1], [1, -1]]), half)


def test_the_record_of_float16_leads_to_the_logits():
    """The loss of float16 logits is computed with Tensor operations too: repeated from the graph for different logits, they
    give those logits' loss.
    """
    logits = Tensor(np.zeros((4, 2), np.float16), requires_grad=True)
    with recording() as probe:
        loss = CrossEntropyLoss()(logits, [0, 1, 0, 1])
    assert loss.requires_grad
    other = np.array([[1, 0], [1, 0], [1, 0], [1, 0]], np.float16)
    got, want = probe.done_again(loss, logits, other), math.log(1 + math.e) - 0.5
    assert_close(got, want, mistakes={"the chain from the loss does not reach the logits": math.log(2)})


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("size", [1000, 1e4])
def test_large_logits_neither_overflow_nor_warn(size, smoothing, dtype, draw):
    """Logits of ±10⁴ give the right loss and gradient, without a floating-point warning."""
    logits = np.array([[size, 0, -size], [-size, size, 1], [-size, -size - 2, -size + 1]], dtype)
    target, loss = np.array([2, 1, 0]), CrossEntropyLoss(label_smoothing=smoothing)
    with np.errstate(over="raise", divide="raise", invalid="raise"):
        got = loss(Tensor(logits), target)
        grad = loss.backward()
    assert_close(got, oracles.losses.cross_entropy(logits, target, smoothing))
    p = np.exp([oracles.losses.log_softmax(row) for row in logits.astype(np.float64).tolist()])
    assert_close(grad, (p - (1 - smoothing) * one_hot(target, 3) - smoothing / 3) / 3)


def test_a_class_may_be_excluded(draw):
    """A logit of −∞ gives a class the probability 0: the loss of the other classes is finite, and so is every gradient."""
    logits, loss = np.array(draw.normal(4, 5)), CrossEntropyLoss()
    logits[:, 1] = -np.inf
    others = np.delete(logits, 1, axis=1)
    with np.errstate(over="raise", divide="raise", invalid="raise"):
        got = loss(Tensor(logits), [3, 0, 4, 3])
        grad = loss.backward()
    assert_close(got, oracles.losses.cross_entropy(others, np.array([2, 0, 3, 2])))
    assert_close(grad[:, 1], np.zeros(4))
    assert np.isfinite(grad).all()
    assert_close(loss(Tensor(logits[:1]), [1]), math.inf, mistakes={"-∞ became a large number": 1e30})


@pytest.mark.parametrize("index", [5, 17, -1, -5])
def test_a_class_that_does_not_exist_is_named(index):
    """A class index out of range raises a ValueError whose message contains the index and the number of classes. −1 is out of
    range too: it isn't the last class.
    """
    with rejects(ValueError, str(index), "5"):
        CrossEntropyLoss()(Tensor(np.ones((2, 3, 5))), np.array([[0, 1, 2], [4, index, 3]]))


@pytest.mark.parametrize("index", [2**32, 2**32 + 1, 2**31, 2**63 + 1, 2**64 - 100, -(2**32), 256, 2**32 - 100], ids=str)
def test_no_index_is_cut_to_fewer_bits(index):
    """An index too large for a smaller integer dtype is never truncated to a class or to ignore_index: the error's message
    contains it unchanged.
    """
    target = np.array([4, index], np.uint64 if index >= 2**63 else np.int64)
    loss = CrossEntropyLoss()
    with rejects(ValueError, str(index), "5"):
        loss(Tensor(np.ones((2, 5))), target)
    assert loss.counted(target) == 2


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.uint64])
def test_small_integers_may_have_many_classes(dtype, draw):
    """There may be more classes than the target's dtype can hold, whatever the target's memory layout."""
    logits, target = draw.normal(2, 3, 300), np.array([[0, 127, 5], [1, 2, 100]])
    loss, given = CrossEntropyLoss(), np.asfortranarray(target.astype(dtype))
    assert_close(loss(Tensor(logits), given), oracles.losses.cross_entropy(logits, target))
    assert_close(loss.backward(6.0), softmax(logits) - one_hot(target, 300))
    assert loss.counted(given) == 6


@pytest.mark.parametrize("target", [np.array([3.0, 0.0]), np.array([True, False]), np.eye(5)[[3, 0]]], ids=str)
def test_a_target_that_is_no_index_is_refused(target):
    """Floats, booleans and one-hot rows as targets raise a TypeError whose message contains their dtype."""
    with rejects(TypeError, str(target.dtype)):
        CrossEntropyLoss()(Tensor(np.ones((2, 5))), target)


@pytest.mark.parametrize("shapes", [((4, 5), (5,)), ((4, 5), (4, 1)), ((4, 5), (4, 5)), ((2, 5, 3), (2, 3)), ((), ())], ids=str)
def test_shapes_that_do_not_fit_are_named(shapes):
    """A target that doesn't have the logits' shape without the last axis raises a ValueError whose message contains both
    shapes.
    """
    with rejects(ValueError, *map(str, shapes)):
        CrossEntropyLoss()(Tensor(np.ones(shapes[0])), np.zeros(shapes[1], np.int64))


def test_a_mean_of_no_targets_is_refused():
    """An empty batch, or one in which every target is ignored, raises a ValueError: 0/0 would put NaN into every weight."""
    for shape, target in (((0,), []), ((2, 0), [[], []]), ((0,), np.zeros(0, np.int64)), ((2, 0), np.zeros((2, 0), np.uint8))):
        with rejects(ValueError, str(shape)):
            CrossEntropyLoss()(Tensor(np.ones((*shape, 5))), target)
        assert CrossEntropyLoss().counted(target) == 0
    with rejects(ValueError, "(4, 5)", "(0,)"):
        CrossEntropyLoss()(Tensor(np.ones((4, 5))), [])
    with rejects(ValueError, "0"):
        CrossEntropyLoss()(Tensor(np.ones((4, 0))), [0, 0, 0, 0])
    with rejects(ValueError, "ignore_index", "3"):
        CrossEntropyLoss(ignore_index=3)(Tensor(np.ones((2, 5))), [3, 3])


@pytest.mark.parametrize("smoothing", [-0.1, 1.0, 1.5, math.nan])
def test_a_label_smoothing_outside_zero_to_one_is_refused(smoothing):
    """label_smoothing must be at least 0 and less than 1; anything else raises a ValueError whose message contains it. With 1,
    nothing of the target would be left.
    """
    with rejects(ValueError, "label_smoothing", str(smoothing)):
        CrossEntropyLoss(label_smoothing=smoothing)


def test_backward_needs_a_forward():
    """Calling backward before forward raises a RuntimeError whose message contains 'forward'."""
    with rejects(RuntimeError, "forward"):
        CrossEntropyLoss().backward()


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_record_leads_from_the_loss_to_the_logits(smoothing, draw):
    """The loss is computed with Tensor operations, even the choice of the target's logit: repeated from the graph for slightly
    different logits, they give those logits' loss.
    """
    logits = Tensor(draw.normal(2, 3, 5), requires_grad=True)
    other = logits.data + 0.01 * draw.normal(2, 3, 5)
    with recording() as probe:
        loss = CrossEntropyLoss(label_smoothing=smoothing)(logits, IGNORED)
    assert loss.requires_grad
    got = probe.done_again(loss, logits, other)
    want = oracles.losses.cross_entropy(other, IGNORED, smoothing, -100)
    assert_close(got, want, mistakes={"the chain from the loss does not reach the logits": loss.data})


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_record_leads_past_logits_that_do_not_count(smoothing, draw):
    """Ignored logits are replaced or left out before any exponential, logarithm, division or power: automatic differentiation
    multiplies by derivatives, and 0 · NaN is NaN.
    """
    logits = np.array(draw.normal(2, 3, 5))
    logits[IGNORED == -100] = math.nan
    with recording() as probe:
        loss = CrossEntropyLoss(smoothing)(Tensor(logits, requires_grad=True), IGNORED)
    assert np.isfinite(loss.item())
    spoilt = {record.op for record in probe if np.isnan(record.result.data).any()} & {"exp", "log", "div", "pow", "tanh"}
    assert not spoilt, f"ignored logits go through {', '.join(sorted(spoilt))}"


def test_nothing_of_cross_entropy_is_kept_while_operations_are_recorded(draw, budget):
    """While operations are recorded, the loss saves nothing for backward: the graph holds it already."""
    loss, logits, target = CrossEntropyLoss(), Tensor(draw.normal(100, 200)), draw.integers(200, 100)

    def forward():
        with recording():
            loss(logits, target)

    budget.bytes(forward, retained=20_000)


def test_cross_entropy_is_computed_in_numpy(budget):
    """The number of Python instructions, forward and backward, must not grow with the number of samples."""

    def both(n: int):
        loss, logits, target = CrossEntropyLoss(label_smoothing=0.1), np.ones((n, 10), np.float32), np.arange(n) % 10
        return lambda: (loss(Tensor(logits), target), loss.backward())

    budget.steps(both(10), both(1000), limit=2)


def test_the_target_is_looked_up_not_multiplied_by_a_matrix_of_zeros(draw, budget):
    """Forward and backward hold at most four and a half times the size of the logits: no one-hot matrix, nothing in float64."""
    loss, logits, target = CrossEntropyLoss(), Tensor(draw.normal(100, 2000, dtype=np.float32)), draw.integers(2000, 100)
    budget.bytes(lambda: (loss(logits, target), loss.backward()), peak=4.5 * logits.data.nbytes)


def test_it_is_as_fast_as_numpy(draw, budget):
    """Forward and backward take at most three times as long as the same formulas in NumPy (they should take the same time)."""
    x, target = np.array(draw.normal(1000, 200, dtype=np.float32)), draw.integers(200, 1000)
    loss, logits, rows = CrossEntropyLoss(), Tensor(x), np.arange(1000)

    def plain():
        shifted = x - x.max(1, keepdims=True)
        p = np.exp(shifted)
        totals = p.sum(1, keepdims=True)
        np.mean(np.log(totals[:, 0]) - shifted[rows, target])
        p /= totals
        p[rows, target] -= 1
        p /= 1000

    budget.time(lambda: (loss(logits, target), loss.backward()), against=plain, limit=3)
