import numpy as np
import pytest
from katas.activations import ReLU
from katas.layers import Linear, Module, Sequential
from katas.precision import QuantizedLinear, calibrate, quantize, quantize_array
from katas.tensor import Tensor
from katas.transformers import GPT, GPTConfig

from specs import oracles
from specs.check import FLOAT32, assert_close, assert_dtype, rejects, undisturbed


def made(seed: int = 0) -> Sequential:
    rng = np.random.default_rng(seed)
    return quantize(Sequential(Linear(6, 8, rng=rng), ReLU(), Linear(8, 3, rng=rng)))


def none():
    raise AssertionError("a batch was asked for")
    yield


def batches(draw) -> list[Tensor]:
    return [Tensor((size + 1) * draw.normal(size, 6, dtype=np.float32)) for size in (5, 3, 4)]


def hidden(model: Sequential, x: Tensor) -> np.ndarray:
    first = model[0]
    return np.maximum(x.data @ oracles.precision.meant(first.weight).T + first.bias.data, 0)


def test_limits_are_those_of_each_layers_inputs(draw):
    """calibrate sets each QuantizedLinear's limits to the smallest and largest of its inputs, over all batches, as float32."""
    model, data = made(), batches(draw)
    assert calibrate(model, data) is None
    inputs = np.concatenate([x.data for x in data])
    assert model[0].limits.tolist() == [inputs.min(), inputs.max()]
    middle = np.concatenate([hidden(model, x) for x in data])
    assert_close(model[2].limits, np.array([0, middle.max()]), FLOAT32)
    for layer in (model[0], model[2]):
        assert_dtype(layer.limits, np.float32)


def test_a_percentile_leaves_out_outliers(draw):
    """calibrate(model, batches, percentile) observes with this percentile."""
    model, data = made(), [Tensor(draw.normal(500, 6, dtype=np.float32)) for _ in range(3)]
    calibrate(model, data, 99)
    inputs = np.concatenate([x.data for x in data])
    want, got = oracles.precision.limits(inputs.ravel(), 99), model[0].limits.tolist()
    assert np.allclose(got, want, rtol=0.01, atol=0), f"limits are {got} with percentile 99, want {want} to 1%"
    calibrate(model, data, percentile=100)
    assert_close(model[0].limits, np.array([inputs.min(), inputs.max()]), FLOAT32)


def test_layers_with_one_weight_have_limits_of_their_own(draw):
    """Tied layers share a Quantized, not their inputs; a tied layer that no batch reaches is an error too."""

    class Tied(Module):
        def __init__(self):
            self.first, self.second, self.skipped = Linear(6, 6), Linear(6, 6), False
            self.second.weight = self.first.weight

        def forward(self, x):
            return self.first(x) if self.skipped else self.first(x) + self.second(10 * x)

    model, data = quantize(Tied()), batches(draw)
    assert model.first.weight is model.second.weight
    calibrate(model, data)
    inputs = np.concatenate([x.data for x in data])
    assert_close(model.first.limits, np.array([inputs.min(), inputs.max()]), FLOAT32)
    assert_close(model.second.limits, np.array([10 * inputs.min(), 10 * inputs.max()]), FLOAT32)
    model = quantize(Tied())
    model.skipped = True
    with rejects(RuntimeError, "observe"):
        calibrate(model, data)


def test_a_model_that_is_one_layer_can_be_calibrated(draw):
    """The model may itself be a QuantizedLinear."""
    layer, x = quantize(Linear(6, 8)), Tensor(draw.normal(5, 6, dtype=np.float32))
    calibrate(layer, [x])
    assert_close(layer.limits, np.array([x.data.min(), x.data.max()]), FLOAT32)


def test_a_layer_that_is_called_twice_has_the_limits_of_both_calls(draw):
    """All inputs of a layer count, from whichever call in a batch they come."""

    class Again(Module):
        def __init__(self):
            self.layer = Linear(6, 6)

        def forward(self, x):
            return self.layer(x) + self.layer(10 * x)

    model, data = quantize(Again()), batches(draw)
    calibrate(model, data)
    inputs = np.concatenate([x.data for x in data])
    assert_close(model.layer.limits, np.array([10 * inputs.min(), 10 * inputs.max()]), FLOAT32)


def test_a_model_without_quantized_layers_is_refused():
    """A model that was not quantized has nothing to calibrate: a ValueError, before any batch."""
    with rejects(ValueError):
        calibrate(Sequential(Linear(6, 8)), none())


def test_inputs_are_int8_from_then_on(draw):
    """After calibrate the model computes with rounded inputs, and hardly differs; a value outside the limits is clipped."""
    model, data = made(), batches(draw)
    before = [model(x).data for x in data]
    calibrate(model, data)
    after = [model(x).data for x in data]
    spread = np.concatenate(before).std()
    assert max(np.abs(a - b).max() for a, b in zip(after, before, strict=True)) < 0.1 * spread
    assert max(np.abs(a - b).max() for a, b in zip(after, before, strict=True)) > 1e-5
    far = Tensor(1000 * data[0].data)
    assert np.abs(model(far).data).max() < 30 * np.abs(after[0]).max()


@pytest.mark.parametrize("factor", [0.01, 100])
def test_a_second_calibration_gives_what_it_would_give_alone(factor, draw):
    """While calibrate observes, earlier limits don't clip, for inputs stay floats; and earlier batches don't count."""
    model, fresh, data = made(), made(), batches(draw)
    calibrate(model, [Tensor(factor * data[0].data)])
    calibrate(model, data)
    calibrate(fresh, data)
    for i in (0, 2):
        assert_close(model[i].limits, fresh[i].limits)


def test_batches_may_be_any_iterable_of_what_the_model_takes(draw):
    """Batches may come from a generator: the model is called with each. Attention and feed-forward layers are calibrated."""
    small = quantize(GPT(GPTConfig(11, 8, 2, 2, 8), np.random.default_rng(0)))
    calibrate(small, (draw.integers(11, 2, 5) for _ in range(3)))
    layers = [module for module in small.modules() if isinstance(module, QuantizedLinear)]
    assert len(layers) == 9
    assert all(np.isfinite(layer.limits).all() for layer in layers)


def test_limits_are_saved_and_loaded(draw):
    """Limits are part of the state: a new model needs no calibration, and one that was calibrated before forgets its own."""
    model, other, data = made(), made(1), batches(draw)
    calibrate(model, data)
    calibrate(other, [Tensor(5 * data[1].data)])
    other(data[0])
    other.load_state_dict(model.state_dict())
    assert_close(other(data[0]), model(data[0]).data)
    assert_close(other[2].limits, model[2].limits)


class Reads(Module):
    """A model that fails, or skips a layer, as it is told."""

    def __init__(self):
        self.first, self.second, self.skipped = Linear(6, 6), Linear(6, 6), False

    def forward(self, x):
        x = self.first(x)
        if x.shape[0] == 7:
            raise KeyboardInterrupt
        return x if self.skipped else self.second(x)


@pytest.mark.parametrize("first", [True, False], ids=["the first calibration", "the second calibration"])
@pytest.mark.parametrize(
    ("error", "fill", "rows"),
    [(KeyboardInterrupt, 1, 7), (ValueError, np.nan, 5), (RuntimeError, 1, 5)],
    ids=["Ctrl-C in a batch", "a batch with NaN", "a layer that no batch reaches"],
)
def test_an_error_changes_nothing(error, fill, rows, first, draw):
    """After an error all limits are as before, and the model computes as before: no observer stays, and the next calibration
    gives what it would give alone.
    """
    floats, data = Reads(), batches(draw)
    model, fresh = quantize(floats), quantize(floats)
    if not first:
        calibrate(model, data[:1])
    limits, want = [model.first.limits.copy(), model.second.limits.copy()], model(data[1]).data
    model.skipped = error is RuntimeError
    with pytest.raises(error):
        calibrate(model, [Tensor(9 * data[1].data), Tensor(np.full((rows, 6), fill, np.float32))])
    model.skipped = False
    for layer, before in zip((model.first, model.second), limits, strict=True):
        assert_close(layer.limits, before)
    assert_close(model(data[1]), want)
    calibrate(model, data[2:])
    calibrate(fresh, data[2:])
    for layer, other in ((model.first, fresh.first), (model.second, fresh.second)):
        assert_close(layer.limits, other.limits)


def test_a_batch_or_percentile_that_is_refused_changes_nothing(draw):
    """A batch that is not finite raises the Observer's ValueError, which contains the value and its index in x; a percentile of
    40 raises one that contains 40. The model computes as before.
    """
    model, data = quantize(Reads()), batches(draw)
    calibrate(model, data[:1])
    want, bad = model(data[1]).data, np.ones((2, 3, 6), np.float32)
    bad[1, 2, 4] = np.nan
    with rejects(ValueError, "nan", "(1, 2, 4)"):
        calibrate(model, [Tensor(9 * data[1].data), Tensor(bad)])
    assert_close(model(data[1]), want)
    with rejects(ValueError, "40"):
        calibrate(model, data, 40)
    assert_close(model(data[1]), want)


def test_batches_that_fail_change_nothing(draw):
    """If the iterable of batches itself raises, limits are as before, and no observer stays."""

    def broken():
        yield Tensor(9 * data[1].data)
        raise OSError("no more")

    model, data = quantize(Reads()), batches(draw)
    calibrate(model, data[:1])
    want = model(data[1]).data
    with rejects(OSError, "no more"):
        calibrate(model, broken())
    assert_close(model(data[1]), want)


def test_a_layer_that_no_batch_reaches_is_an_error(draw):
    """A layer that no batch reaches, or no batch at all, raises the Observer's RuntimeError, and no layer's limits change."""
    model = quantize(Reads())
    model.skipped = True
    with rejects(RuntimeError, "observe"):
        calibrate(model, batches(draw))
    with rejects(RuntimeError, "observe"):
        calibrate(model, [])
    assert np.isinf(model.first.limits).all()
    assert np.isinf(model.second.limits).all()


@pytest.mark.parametrize("shape", [(8, 6), (6, 6), (1, 6)], ids=str)
@pytest.mark.parametrize("kind", ["affine", "columns"])
def test_weights_that_integers_can_not_multiply_are_refused(kind, shape, draw):
    """calibrate raises a ValueError, before any batch, for weights that are not symmetric int8 with one scale, or one for each
    row.
    """
    options = {"symmetric": False} if kind == "affine" else {"axis": 1}
    wrong = QuantizedLinear(quantize_array(draw.normal(*shape), **options))
    right = QuantizedLinear(quantize_array(draw.normal(6, 6), axis=0))
    for model in (Sequential(wrong), Sequential(right, wrong), Sequential(wrong, right)):
        with rejects(ValueError):
            calibrate(model, none())
        assert all(np.isinf(layer.limits).all() for layer in model)


def test_one_scale_in_all_can_be_calibrated(draw):
    """A layer whose weight has one scale (axis=None) can be calibrated."""
    model, x = Sequential(QuantizedLinear(quantize_array(draw.normal(8, 6)))), Tensor(draw.normal(5, 6, dtype=np.float32))
    calibrate(model, [x])
    assert_close(model[0].limits, np.array([x.data.min(), x.data.max()]), FLOAT32)


def test_nothing_else_is_touched(draw):
    """calibrate changes neither NumPy's global generator nor its error handling, nor the batches, nor the mode."""
    model, data = made().train(), batches(draw)
    before = [x.data.copy() for x in data]
    with undisturbed():
        calibrate(model, data)
    assert all(module.training for module in model.modules())
    for x, want in zip(data, before, strict=True):
        assert_close(x, want)
