import numpy as np
import pytest
from katas.layers import Dropout
from katas.tensor import Tensor

from specs.check import assert_close, assert_dtype, global_state, recording, rejects


def dropout(p: float = 0.5, seed: int = 0) -> Dropout:
    return Dropout(p, rng=np.random.default_rng(seed))


@pytest.mark.parametrize("p", [0.1, 0.5, 0.8])
def test_a_value_is_dropped_with_probability_p(p, draw):
    """In training, Dropout sets each value to 0 with probability p."""
    y = dropout(p)(Tensor(draw.uniform(1, 2, 100, 200)))
    dropped = (y.data == 0).mean()
    guess = "\nLooks like: p is the probability to stay." if abs(dropped - (1 - p)) < 0.02 else ""
    assert abs(dropped - p) < 0.02, f"p = {p}, but {dropped:.1%} of the values are 0{guess}"


@pytest.mark.parametrize("p", [0.1, 0.5, 0.8])
def test_what_stays_is_scaled_up(p, draw):
    """The remaining values are divided by 1 − p: the expectation stays the same, so evaluation has nothing to correct."""
    x = draw.uniform(1, 2, 10, 20)
    y = dropout(p)(Tensor(x)).data
    stays = y != 0
    assert stays.any()
    mistakes = {"not scaled": x * stays, "divided by p": x / p * stays, "multiplied by 1 − p": x * (1 - p) * stays}
    assert_close(y, np.where(stays, x / (1 - p), 0), mistakes=mistakes)


def test_every_value_is_decided_for_itself(draw):
    """Each value is dropped independently of its neighbors: no row or column is dropped as a whole."""
    stays = dropout()(Tensor(np.ones((100, 200), np.float32))).data != 0
    for dim, name in ((0, "column"), (1, "row")):
        shares = stays.mean(dim)
        assert shares.min() > 0.2, f"in one {name} {shares.min():.0%} of the values stay, where p is 0.5"
        assert shares.max() < 0.8, f"in one {name} {shares.max():.0%} of the values stay, where p is 0.5"
    assert abs((stays[:, 1:] == stays[:, :-1]).mean() - 0.5) < 0.03
    assert abs((stays[1:] == stays[:-1]).mean() - 0.5) < 0.03


def test_every_forward_draws_a_new_mask():
    """Every forward draws a new mask, even for an input of the same shape."""
    layer, x = dropout(), Tensor(np.ones((10, 20), np.float32))
    assert not np.array_equal(layer(x).data, layer(x).data)


def test_backward_goes_where_forward_went(draw):
    """backward returns grad · mask: dropped values get no gradient, scaled values get a scaled one."""
    layer, x, grad = dropout(0.3), draw.uniform(1, 2, 10, 20), draw.normal(10, 20)
    layer(Tensor(draw.uniform(1, 2, 10, 20)))
    mask = layer(Tensor(x)).data / x
    mistakes = {"the mask is not applied": grad, "not scaled": grad * (mask > 0), "scaled everywhere": grad / 0.7}
    mistakes["scaled twice"] = grad * mask / 0.7
    assert_close(layer.backward(grad), grad * mask, mistakes=mistakes)
    assert_close(layer.backward(grad), grad * mask)


def test_in_evaluation_nothing_is_dropped(draw):
    """After eval() the output equals the input, and backward returns grad; after train() values are dropped again."""
    layer, x, grad = dropout(), draw.normal(10, 20), draw.normal(10, 20)
    layer(Tensor(x))
    layer.eval()
    mistakes = {"scaled by 1 − p: training has already made up for that": x * 0.5, "scaled by 1 / (1 − p)": x * 2}
    assert_close(layer(Tensor(x)), x, mistakes=mistakes)
    assert_close(layer.backward(grad), grad, mistakes={"scaled": grad * 2})
    layer.train()
    assert (layer(Tensor(x)).data == 0).any()


def test_backward_belongs_to_the_last_forward(draw):
    """Whether backward scales depends on the last forward, not on the current value of `training`."""
    layer, x, grad = dropout(), draw.uniform(1, 2, 10, 20), draw.normal(10, 20)
    mask = layer(Tensor(x)).data / x
    layer.eval()
    assert_close(layer.backward(grad), grad * mask, mistakes={"the mask is not applied": grad})
    layer(Tensor(x))
    layer.train()
    assert_close(layer.backward(grad), grad, mistakes={"the mask of the last training": grad * mask})


def test_evaluation_draws_nothing():
    """In evaluation Dropout draws nothing from its generator, so an evaluation in between doesn't change the training."""
    first, second = dropout(), dropout()
    x = Tensor(np.ones((10, 20), np.float32))
    second.eval()(x)
    second.train()
    assert_close(second(x), first(x).data)


def test_p_zero_drops_nothing(draw):
    """Dropout(0) is the identity."""
    x = draw.normal(10, 20)
    assert_close(dropout(0.0)(Tensor(x)), x)


@pytest.mark.parametrize("p", [1, 1.5, -0.1, float("nan")])
def test_p_is_a_probability_below_one(p):
    """p must be at least 0 and less than 1; anything else raises a ValueError whose message contains p. With p = 1, everything
    would be dropped and divided by 0.
    """
    with rejects(ValueError, str(p)):
        Dropout(p)


def test_half_is_dropped_unless_told_otherwise():
    """Dropout() drops each value with probability 0.5."""
    y = Dropout(rng=np.random.default_rng(0))(Tensor(np.ones((100, 200), np.float32)))
    assert abs((y.data == 0).mean() - 0.5) < 0.02
    assert_close(np.unique(y.data), [0, 2], mistakes={"not scaled": [0, 1]})


def test_the_mask_is_drawn_from_the_given_generator():
    """Equal seeds drop equal values, `rng` is the given generator, and NumPy's global generator is not used."""
    before = global_state()
    x, rng = np.ones((10, 20), np.float32), np.random.default_rng(0)
    layer = Dropout(0.5, rng=rng)
    assert layer.rng is rng
    y = layer(Tensor(x)).data
    assert_close(dropout()(Tensor(x)), y)
    assert not np.array_equal(dropout(seed=1)(Tensor(x)).data, y)
    assert global_state() == before, "NumPy's global generator was used"


def test_p_and_rng_may_be_changed_later():
    """`p` and `rng` are attributes: the next forward uses their current values. p = 0 is a probability, not a missing p."""
    layer, x = dropout(), Tensor(np.ones((100, 200), np.float32))
    layer(x)
    for p in (0.8, 0.0, 0.25):
        layer.p, layer.rng = p, np.random.default_rng(7)
        assert_close(layer(x), dropout(p, seed=7)(x).data)
        assert abs((layer(x).data == 0).mean() - p) < 0.02


def test_without_a_generator_no_two_layers_drop_the_same():
    """rng=None means a fresh generator: two layers drop different values."""
    x = Tensor(np.ones((10, 20), np.float32))
    assert not np.array_equal(Dropout()(x).data, Dropout()(x).data)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("training", [True, False])
def test_dropout_keeps_the_dtype(dtype, training, draw):
    """The output and the gradient have the input's dtype, float32 or float64, in training and in evaluation."""
    layer = dropout().train(training)
    assert_dtype(layer(Tensor(draw.normal(3, 4, dtype=dtype))), dtype)
    assert_dtype(layer.backward(draw.normal(3, 4, dtype=dtype)), dtype)


def test_a_number_without_axes_can_be_dropped():
    """With the default p, a 0-d tensor becomes 0 or is doubled."""
    layer = dropout()
    values = {layer(Tensor(1.0)).item() for _ in range(50)}
    assert values == {0.0, 2.0}


@pytest.mark.parametrize("training", [True, False])
def test_dropout_checks_what_comes_back(training):
    """backward before forward raises a RuntimeError; a grad that doesn't have the output's shape raises a ValueError whose
    message contains both shapes.
    """
    layer = dropout().train(training)
    with rejects(RuntimeError, "forward"):
        layer.backward(np.zeros((3, 4)))
    layer(Tensor(np.ones((3, 4), np.float32)))
    with rejects(ValueError, "(4,)", "(3, 4)"):
        layer.backward(np.zeros(4))


@pytest.mark.parametrize("training", [True, False])
def test_the_record_leads_from_the_output_to_the_input(training, draw):
    """x * mask is a Tensor operation, so automatic differentiation will find x; in evaluation the output is x itself."""
    layer, x = dropout().train(training), Tensor(draw.normal(3, 4), requires_grad=True)
    with recording() as probe:
        y = layer(x)
    assert probe.reaches(y, x)
    assert y.requires_grad


def test_masks_are_drawn_in_numpy(budget):
    """The number of Python instructions, forward and backward, must not grow with the number of values."""

    def both(n: int):
        layer, x = dropout(), np.ones((n, 10), np.float32)
        return lambda: (layer(Tensor(x)), layer.backward(x))

    budget.steps(both(10), both(1000), limit=2)


def test_evaluation_costs_nothing(budget):
    """In evaluation Dropout draws no mask and copies nothing: it allocates no second 1 MB array."""
    layer, x = dropout().eval(), Tensor(np.ones((250, 1000), np.float32))
    budget.bytes(lambda: layer(x), peak=50_000)


def test_infinity_and_nan_stay_where_nothing_is_dropped():
    """Values that are not dropped stay infinite or NaN, so that a broken network shows."""
    x = np.float32([np.nan, np.inf, -np.inf])
    assert_close(dropout(0.0)(Tensor(x)), x)
