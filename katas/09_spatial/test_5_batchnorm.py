import numpy as np
import pytest
from katas.autograd import no_grad
from katas.spatial import BatchNorm2d
from katas.tensor import Tensor

from specs import oracles
from specs.check import EXACT, FLOAT32, assert_close, assert_dtype, assert_gradient, rejects


def layer(draw, dtype=np.float64, **options) -> BatchNorm2d:
    """A layer for three channels, whose weight is not 1 and whose bias is not 0."""
    norm = BatchNorm2d(3, **options)
    norm.weight.data, norm.bias.data = np.array(draw.uniform(0.5, 2, 3), dtype), np.array(draw.normal(3), dtype)
    return norm


def test_the_options_are_attributes():
    """eps and momentum are attributes; by default they are 1e-5 and 0.1."""
    norm = BatchNorm2d(3, eps=0.25, momentum=0.5)
    assert (norm.eps, norm.momentum) == (0.25, 0.5)
    assert (BatchNorm2d(3).eps, BatchNorm2d(3).momentum) == (1e-5, 0.1)


def test_options_may_be_changed_later(draw):
    """Each forward uses the current values of eps and momentum, in train and eval mode."""
    norm, x = BatchNorm2d(3), draw.normal(2, 3, 4, 5)
    norm.eps, norm.momentum = 0.5, 1.0
    assert_close(norm(Tensor(x)), oracles.spatial.batch_norm(x, np.ones(3), np.zeros(3), 0.5))
    assert_close(norm.running_mean, x.mean((0, 2, 3)), mistakes={"a tenth of the way": 0.1 * x.mean((0, 2, 3))})
    norm.eval()
    norm.eps = 2.0
    want = (x - norm.running_mean[:, None, None]) / np.sqrt(norm.running_var + 2.0)[:, None, None]
    assert_close(norm(Tensor(x.astype(np.float32))), want)


def test_a_momentum_of_zero_moves_nothing(draw):
    """With momentum=0.0 the running statistics don't change, and the batch is normalized by its own statistics."""
    norm, x = BatchNorm2d(3, momentum=0.0), 3 + draw.normal(2, 3, 4, 5)
    assert_close(norm(Tensor(x)), oracles.spatial.batch_norm(x, np.ones(3), np.zeros(3)))
    assert_close(norm.running_mean, np.zeros(3), mistakes={"the momentum is 0.1": 0.1 * x.mean((0, 2, 3))})
    assert_close(norm.running_var, np.ones(3))


def test_an_eps_of_zero_adds_nothing(draw):
    """With eps=0.0 nothing is added to the variance: values of 1e-3 are divided by their own standard deviation, in
    both modes.
    """
    norm, x = BatchNorm2d(3, eps=0.0, momentum=1.0), 1e-3 * draw.normal(2, 3, 4, 5)
    mistakes = {"eps is 1e-5": oracles.spatial.batch_norm(x, np.ones(3), np.zeros(3))}
    assert_close(norm(Tensor(x)), oracles.spatial.batch_norm(x, np.ones(3), np.zeros(3), 0.0), mistakes=mistakes)
    want = (x - norm.running_mean[:, None, None]) / np.sqrt(norm.running_var)[:, None, None]
    assert_close(norm.eval()(Tensor(x.astype(np.float32))), want)


def test_it_begins_as_no_more_than_the_normalisation():
    """A new layer has weight 1, bias 0, running_mean 0 and running_var 1, all in float32. The running statistics
    are buffers.
    """
    norm = BatchNorm2d(3)
    for parameter, value in ((norm.weight, 1.0), (norm.bias, 0.0)):
        assert_close(parameter, np.full(3, value))
        assert_dtype(parameter, np.float32)
    assert [name for name, _ in norm.named_parameters()] == ["weight", "bias"]
    assert {name: array.tolist() for name, array in norm.named_buffers()} == {
        "running_mean": [0, 0, 0],
        "running_var": [1, 1, 1],
    }


def test_each_channel_is_normalised_over_images_and_pixels(draw):
    """y = (x - mean) / √(var + eps) · weight + bias. Mean and variance are over batch, height and width, for each channel."""
    norm, x = layer(draw), 3 + 2 * draw.normal(4, 3, 5, 6)
    want = oracles.spatial.batch_norm(x, norm.weight.data, norm.bias.data)
    per_image = np.concatenate([oracles.spatial.batch_norm(x[n : n + 1], norm.weight.data, norm.bias.data) for n in range(4)])
    plain = oracles.spatial.batch_norm(x, np.ones(3), np.zeros(3))
    mistakes = {"each image is normalised by itself": per_image, "weight and bias are not used": plain}
    assert_close(norm(Tensor(x)), want, mistakes=mistakes)


def test_eps_keeps_a_constant_channel_finite(draw):
    """A channel whose values are all the same becomes the bias. eps is added to the variance, under the square root."""
    norm = layer(draw, eps=0.25)
    x = np.full((2, 3, 4, 4), 7.0)
    assert_close(norm(Tensor(x)), np.broadcast_to(norm.bias.data[:, None, None], x.shape))
    x = draw.normal(2, 3, 4, 4)
    assert_close(norm(Tensor(x)), oracles.spatial.batch_norm(x, norm.weight.data, norm.bias.data, 0.25))


def test_a_mean_far_from_zero_leaves_the_variance_exact(draw):
    """The variance is accurate even if the mean is large. mean(x²) - mean² equals it on paper, but with float32 numbers around
    100 the difference is noise, and may be negative.
    """
    x = (100 + 0.1 * draw.normal(4, 3, 5, 6)).astype(np.float32)
    got, want = BatchNorm2d(3)(Tensor(x)).data, oracles.spatial.batch_norm(x.astype(np.float64), np.ones(3), np.zeros(3))
    assert np.abs(got - want).max() < 0.01, "the digits of the variance are lost: subtract the mean first, then square"
    norm = BatchNorm2d(3, momentum=1.0)
    norm(Tensor(x))
    running = norm.running_var / x.astype(np.float64).var((0, 2, 3), ddof=1)
    assert np.abs(running - 1).max() < 0.01, "the digits of the running variance are lost"


def test_the_gradient_goes_through_mean_and_variance(draw):
    """The gradient of x includes the terms through the mean and the variance of its channel. weight and bias receive their
    gradients, too.
    """
    norm, x, g = layer(draw), draw.normal(2, 3, 3, 2), draw.normal(2, 3, 3, 2)
    tensor, weight, bias = Tensor(x, requires_grad=True), norm.weight.data, norm.bias.data
    norm(tensor).backward(g)
    of_constants = g * (weight / np.sqrt(x.var((0, 2, 3)) + 1e-5))[:, None, None]
    mistakes = {"mean and variance are taken for constants": of_constants}
    assert_gradient(tensor.grad, lambda x: oracles.spatial.batch_norm(x, weight, bias), x, g, mistakes, "input")
    assert_gradient(norm.weight.grad, lambda w: oracles.spatial.batch_norm(x, w, bias), weight, g, name="weight")
    assert_gradient(norm.bias.grad, lambda b: oracles.spatial.batch_norm(x, weight, b), bias, g, name="bias")


def test_running_statistics_follow_those_of_the_batches(draw):
    """running ← (1 - momentum) · running + momentum · batch, where the batch's variance is the unbiased one (over n - 1)."""
    norm = BatchNorm2d(3, momentum=0.25)
    mean, var = np.zeros(3), np.ones(3)
    for _ in range(3):
        x = 3 + 2 * draw.normal(2, 3, 3, 2)
        norm(Tensor(x))
        mean = 0.75 * mean + 0.25 * x.mean((0, 2, 3))
        biased = 0.75 * var + 0.25 * x.var((0, 2, 3))
        var = 0.75 * var + 0.25 * x.var((0, 2, 3), ddof=1)
        assert_close(norm.running_mean, mean, mistakes={"momentum and 1 - momentum are exchanged": 0.75 * x.mean((0, 2, 3))})
        assert_close(norm.running_var, var, mistakes={"the biased variance, over n": biased})


@pytest.mark.parametrize("shape", [(1, 3, 4, 5), (6, 3, 1, 1), (1, 3, 1, 2)], ids=str)
def test_running_statistics_follow_one_image_or_one_pixel(shape, draw):
    """The statistics are over all values of a channel, whether they come from one image or from several images of one pixel."""
    norm, x = BatchNorm2d(3, momentum=0.5), draw.normal(*shape)
    norm(Tensor(x))
    assert_close(norm.running_mean, 0.5 * x.mean((0, 2, 3)))
    assert_close(norm.running_var, 0.5 + 0.5 * x.var((0, 2, 3), ddof=1))


def test_momentum_is_a_tenth_unless_given(draw):
    """By default, one batch moves the running mean by a tenth of the distance to the batch's mean."""
    norm, x = BatchNorm2d(3), draw.normal(2, 3, 3, 2)
    norm(Tensor(x))
    assert_close(norm.running_mean, 0.1 * x.mean((0, 2, 3)))


def test_running_statistics_follow_without_a_record(draw):
    """In train mode the running statistics are updated even under no_grad, in the same way as while operations are recorded."""
    norm, recorded, x = BatchNorm2d(3), BatchNorm2d(3), draw.normal(2, 3, 4, 5, dtype=np.float32)
    want = recorded(Tensor(x, requires_grad=True)).data
    with no_grad():
        assert_close(norm(Tensor(x)), want)
    for name in ("running_mean", "running_var"):
        assert_close(getattr(norm, name), getattr(recorded, name), name=name)


def test_running_statistics_follow_where_nothing_is_learnt(draw):
    """In train mode the running statistics are updated even if neither the images nor weight and bias need a gradient."""
    norm, x = BatchNorm2d(3, momentum=1.0), draw.normal(2, 3, 4, 5)
    for parameter in norm.parameters():
        parameter.requires_grad = False
    norm(Tensor(x))
    assert_close(norm.running_mean, x.mean((0, 2, 3)))


def test_running_statistics_are_changed_in_place(draw):
    """The running statistics are updated in place: arrays from an earlier named_buffers() show the new values after
    each batch.
    """
    norm = BatchNorm2d(3)
    before = dict(norm.named_buffers())
    for _ in range(2):
        norm(Tensor(3 + draw.normal(2, 3, 4, 5)))
        for name, array in norm.named_buffers():
            assert array is before[name], f"{name} is another array after a batch"
    assert before["running_mean"].any()


def test_each_layer_has_statistics_of_its_own(draw):
    """Each layer has its own running statistics: a batch of one layer doesn't change another layer's, and a later write to the
    batch changes none.
    """
    norm, other, x = BatchNorm2d(3, momentum=1.0), BatchNorm2d(3), np.array(draw.normal(2, 3, 4, 5))
    norm(Tensor(x))
    before = norm.state_dict()
    assert_close(other.running_mean, np.zeros(3))
    x[:] = 9
    for name, array in norm.state_dict().items():
        assert_close(array, before[name], EXACT, name=name)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_value_that_is_not_finite_spoils_its_own_channel_only(value, draw):
    """NaN or ∞ affects its own channel only, in the result and in the running statistics."""
    norm, clean, x = BatchNorm2d(3), BatchNorm2d(3), draw.normal(2, 3, 4, 5)
    spoiled = x.copy()
    spoiled[1, 1, 2, 3] = value
    with np.errstate(invalid="ignore"):
        got, want = norm(Tensor(spoiled)).data, clean(Tensor(x)).data
    assert np.isnan(got[:, 1]).all(), "the mean of a channel with NaN or infinity is a number"
    assert not np.isfinite(norm.running_mean[1])
    for channel in (0, 2):
        assert_close(got[:, channel], want[:, channel], name=f"channel {channel}")
        assert_close(norm.running_mean[channel], clean.running_mean[channel])
        assert_close(norm.running_var[channel], clean.running_var[channel])


@pytest.mark.parametrize("shape", [(1, 3, 1, 1), (2, 4, 5, 5), (0, 3, 4, 4), (3, 5, 5)], ids=str)
def test_a_refused_batch_leaves_the_statistics_alone(shape, draw):
    """A batch that raises an error doesn't change the running statistics."""
    norm = trained(draw)
    before = norm.state_dict()
    with rejects(ValueError, str(shape)):
        norm(Tensor(np.ones(shape)))
    for name, array in norm.state_dict().items():
        assert_close(array, before[name], EXACT, name=name)


def trained(draw) -> BatchNorm2d:
    """A layer whose running statistics are no longer 0 and 1."""
    norm = layer(draw)
    norm.running_mean[:] = draw.normal(3)
    norm.running_var[:] = draw.uniform(0.5, 2, 3)
    return norm


def test_in_eval_mode_the_running_statistics_are_used(draw):
    """In eval mode, y = (x - running_mean) / √(running_var + eps) · weight + bias: an image's result does not depend on the
    others.
    """
    norm, x = trained(draw).eval(), draw.normal(2, 3, 4, 5)
    columns = (norm.running_mean, norm.running_var, norm.weight.data, norm.bias.data)
    mean, var, weight, bias = (np.asarray(values)[:, None, None] for values in columns)
    want = (x - mean) / np.sqrt(var + 1e-5) * weight + bias
    of_batch = oracles.spatial.batch_norm(x, norm.weight.data, norm.bias.data)
    assert_close(norm(Tensor(x)), want, mistakes={"the statistics of the batch": of_batch})
    for n in (0, 1):
        assert_close(norm(Tensor(x[n : n + 1])), want[n : n + 1], name=f"image {n} by itself")


def test_eval_mode_needs_no_training_before(draw):
    """A layer that has seen no batch evaluates with mean 0 and variance 1, and doesn't change them."""
    norm, x = BatchNorm2d(3).eval(), 3 + 2 * draw.normal(4, 3, 4, 5)
    of_batch = oracles.spatial.batch_norm(x, np.ones(3), np.zeros(3))
    assert_close(norm(Tensor(x)), x / np.sqrt(norm.running_var[0] + 1e-5), mistakes={"the statistics of the batch": of_batch})
    assert not norm.running_mean.any()
    assert (norm.running_var == 1).all()


def test_what_is_loaded_after_an_evaluation_counts(draw):
    """Each evaluation uses the current statistics, weight and bias: they may be loaded, or written to, between two
    evaluations.
    """
    norm, other, x = trained(draw).eval(), trained(draw).eval(), Tensor(draw.normal(2, 3, 4, 5, dtype=np.float32))
    norm(x)
    norm.load_state_dict(other.state_dict())
    assert_close(norm(x), other(x).data, FLOAT32)
    norm.running_var *= 4
    norm.running_mean += 1
    norm.weight.data *= 3
    bias = norm.bias.data[:, None, None]
    want = (x.data - norm.running_mean[:, None, None]) / np.sqrt(norm.running_var + 1e-5)[:, None, None]
    assert_close(norm(x), want * norm.weight.data[:, None, None] + bias, FLOAT32)


def test_modes_may_alternate(draw):
    """After an evaluation, training continues with the batch's statistics, and the running statistics continue from their
    previous values.
    """
    norm, same, batches = BatchNorm2d(3), BatchNorm2d(3), [draw.normal(2, 3, 4, 5) for _ in range(3)]
    for x in batches:
        want = same(Tensor(x))
        assert_close(norm.train()(Tensor(x)), want.data)
        norm.eval()(Tensor(5 + x))
    assert_close(norm.running_mean, same.running_mean)
    assert_close(norm.running_var, same.running_var)


def test_there_may_be_no_images_in_eval_mode(draw):
    """In eval mode, a batch of length 0 has a result and a gradient of length 0."""
    x = Tensor(np.zeros((0, 3, 4, 5)), requires_grad=True)
    y = trained(draw).eval()(x)
    assert y.shape == (0, 3, 4, 5)
    y.sum().backward()
    assert x.grad.shape == (0, 3, 4, 5)


def test_in_eval_mode_nothing_is_updated(draw):
    """In eval mode the running statistics don't change, and a single image of one pixel is enough."""
    norm = trained(draw).eval()
    before = norm.state_dict()
    norm(Tensor(draw.normal(1, 3, 1, 1)))
    for name, array in norm.state_dict().items():
        assert_close(array, before[name], name=name)


def test_in_eval_mode_the_statistics_are_constants_of_the_gradient(draw):
    """In eval mode, the gradient of the images is g · weight / √(running_var + eps). weight and bias receive their gradients,
    too.
    """
    norm, g = trained(draw).eval(), draw.normal(2, 3, 4, 5)
    x = Tensor(draw.normal(2, 3, 4, 5), requires_grad=True)
    norm(x).backward(g)
    assert_close(x.grad, g * (norm.weight.data / np.sqrt(norm.running_var + 1e-5))[:, None, None])
    normalised = (x.data - norm.running_mean[:, None, None]) / np.sqrt(norm.running_var + 1e-5)[:, None, None]
    assert_close(norm.weight.grad, (g * normalised).sum((0, 2, 3)), FLOAT32, name="weight")
    assert_close(norm.bias.grad, g.sum((0, 2, 3)), name="bias")


def test_the_running_statistics_are_state(draw):
    """The running statistics are saved and loaded with the parameters: without them a trained network evaluates like an
    untrained one.
    """
    norm = trained(draw)
    other = BatchNorm2d(3)
    other.load_state_dict(norm.state_dict())
    x = Tensor(draw.normal(2, 3, 4, 5, dtype=np.float32))
    norm.weight.data, norm.bias.data = norm.weight.data.astype(np.float32), norm.bias.data.astype(np.float32)
    assert_close(other.eval()(x), norm.eval()(x))


@pytest.mark.parametrize("mode", [True, False], ids=["train", "eval"])
def test_float32_stays(mode, draw):
    """With float32 input, the output, all gradients and the running statistics are float32, in train and eval mode."""
    norm, x = BatchNorm2d(3).train(mode), Tensor(draw.normal(2, 3, 4, 5, dtype=np.float32), requires_grad=True)
    y = norm(x)
    assert_dtype(y, np.float32)
    y.sum().backward()
    for array in (x.grad, norm.weight.grad, norm.bias.grad, norm.running_mean, norm.running_var):
        assert_dtype(array, np.float32)


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float16])
@pytest.mark.parametrize("mode", [True, False], ids=["train", "eval"])
def test_integers_and_float16_are_normalised_in_float32(mode, dtype, draw):
    """Integers and float16 are normalized in float32, and the result is float32: squares don't overflow, and no digits are
    lost.
    """
    x = (100 + 100 * (draw.normal(2, 3, 4, 5) > 0)).astype(dtype)
    x[0, 0, 0, 0] = 1000 if dtype == np.float16 else 250
    norm, same = BatchNorm2d(3).train(mode), BatchNorm2d(3).train(mode)
    y, want = norm(Tensor(x)), same(Tensor(x.astype(np.float32)))
    assert_dtype(y, np.float32)
    assert_close(y, want.data)
    assert_close(norm.running_mean, same.running_mean)
    assert_close(norm.running_var, same.running_var)


@pytest.mark.parametrize("mode", [True, False], ids=["train", "eval"])
def test_float64_images_give_float64(mode, draw):
    """With float64 input, the output and the gradient are float64. The gradients of the parameters and the running statistics
    stay float32.
    """
    norm, x = BatchNorm2d(3).train(mode), Tensor(draw.normal(2, 3, 4, 5), requires_grad=True)
    y = norm(x)
    assert_dtype(y, np.float64)
    y.sum().backward()
    assert_dtype(x.grad, np.float64)
    for array in (norm.weight.grad, norm.bias.grad, norm.running_mean, norm.running_var):
        assert_dtype(array, np.float32)


@pytest.mark.parametrize("mode", [True, False], ids=["train", "eval"])
def test_the_gradient_that_came_in_and_the_images_are_left_alone(mode, draw):
    """The layer writes neither to its input nor to the incoming gradient: a sum passes the same array to both of its terms."""
    for first in (True, False):
        values, g = np.array(draw.normal(2, 3, 4, 5)), np.array(draw.normal(2, 3, 4, 5))
        before, x = g.copy(), values.copy()
        y, other = BatchNorm2d(3).train(mode)(Tensor(values, requires_grad=True)), Tensor(np.zeros(g.shape), requires_grad=True)
        assert not np.shares_memory(y.data, values)
        (y + other if first else other + y).backward(g)
        assert_close(other.grad, before, EXACT)
        assert_close(g, before, EXACT)
        assert_close(values, x, EXACT)


def test_a_batch_keeps_nothing_alive(budget):
    """The running statistics are arrays, not Tensors with a graph: otherwise each batch would keep the graph of the batch
    before in memory.
    """
    norm, images = BatchNorm2d(4), np.ones((16, 4, 64, 64), np.float32)

    def step():
        norm(Tensor(images + 1, requires_grad=True))

    budget.bytes(step, retained=100_000)


@pytest.mark.parametrize("shape", [(2, 4, 5, 5), (2, 1, 5, 5), (2, 3), (2, 3, 5), (3, 5, 5), (2, 3, 3, 5, 1)])
def test_other_shapes_are_refused(shape):
    """A shape other than (batch, num_features, h, w) raises a ValueError that contains the shape and the layer's number of
    channels.
    """
    with rejects(ValueError, "3", str(shape)):
        BatchNorm2d(3)(Tensor(np.zeros(shape)))


def test_one_value_has_no_variance(draw):
    """In train mode, one image of one pixel has no variance and raises a ValueError that contains its shape. One image of
    several pixels, or several images of one pixel, are enough.
    """
    with rejects(ValueError, "(1, 3, 1, 1)"):
        BatchNorm2d(3)(Tensor(np.zeros((1, 3, 1, 1))))
    for shape in ((1, 3, 2, 1), (2, 3, 1, 1)):
        x = draw.normal(*shape)
        assert_close(BatchNorm2d(3)(Tensor(x)), oracles.spatial.batch_norm(x, np.ones(3), np.zeros(3)))


def test_normalising_is_done_in_numpy(budget):
    """The number of Python instructions must not grow with the number of images, channels or pixels."""

    def step(batch: int, channels: int, size: int):
        norm, x = BatchNorm2d(channels), Tensor(np.ones((batch, channels, size, size), np.float32), requires_grad=True)
        return lambda: norm(x).sum().backward()

    budget.steps(step(600, 1, 2), step(20_000, 1, 2), limit=2, what="images")
    budget.steps(step(600, 2, 2), step(600, 100, 2), limit=2, what="channels")
    budget.steps(step(600, 1, 2), step(600, 1, 20), limit=2, what="pixels")


@pytest.mark.parametrize("shape", [(0, 3, 4, 4), (2, 3, 0, 4), (1, 3, 1, 1)], ids=str)
def test_a_batch_without_a_variance_moves_nothing(shape):
    """Fewer than two values per channel, none included, raise a ValueError that contains the shape; nothing has moved."""
    layer = BatchNorm2d(3)
    with rejects(ValueError, str(shape)):
        layer(Tensor(np.ones(shape, np.float32)))
    assert_close(layer.running_mean, np.zeros(3))
    assert_close(layer.running_var, np.ones(3))
