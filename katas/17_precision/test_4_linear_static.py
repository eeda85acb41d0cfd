import numpy as np
import pytest
from katas.precision import QuantizedLinear, quantize_array
from katas.tensor import Tensor

from specs import oracles
from specs.check import FLOAT32, assert_close, assert_dtype, rejects


def made(draw, limits, out: int = 4, size: int = 6, bias: bool = True, axis: int | None = 0) -> QuantizedLinear:
    layer = QuantizedLinear(quantize_array(draw.normal(out, size), axis), draw.normal(out, dtype=np.float32) if bias else None)
    layer.limits[...] = limits
    return layer


def inputs(draw, limits, *shape: int) -> np.ndarray:
    """Values up to three steps beyond the limits, and 0.1 steps or more away from where rounding changes."""
    scale, zero_point = oracles.precision.step(limits, symmetric=False)
    integers = draw.integers(262, *shape) - 131 - zero_point
    return (scale * (integers + draw.uniform(-0.4, 0.4, *shape))).astype(np.float32)


def want(layer: QuantizedLinear, x: np.ndarray) -> np.ndarray:
    """The formula of the README, with Python's integers."""
    scale, zero_point = oracles.precision.step(layer.limits.tolist(), symmetric=False)
    q = np.clip(np.round(x / scale) + zero_point, -128, 127).astype(np.int64)
    sums = np.array(oracles.precision.product(q - zero_point, layer.weight.values), dtype=np.float64)
    return scale * np.broadcast_to(layer.weight.scale, (len(sums[0]), 1))[:, 0] * sums + (
        0 if layer.bias is None else layer.bias.data
    )


@pytest.mark.parametrize("limits", [(-2.0, 3.0), (0.0, 2.5), (-1.5, 0.0), (0.5, 2.0), (-3.0, -1.0)], ids=str)
@pytest.mark.parametrize("bias", [True, False])
def test_with_limits_inputs_become_int8(limits, bias, draw):
    """With finite limits inputs become int8, affine, by these limits; the sums of integers are multiplied by x's scale and the
    row's.
    """
    layer, x = made(draw, limits, bias=bias), inputs(draw, limits, 5, 6)
    floats = x @ oracles.precision.meant(layer.weight).T + (layer.bias.data if bias else 0)
    scale, zero_point = oracles.precision.step(list(limits), symmetric=False)
    sums, factor = layer.weight.values.astype(np.int64).sum(1), scale * layer.weight.scale[:, 0].astype(np.float64)
    right = want(layer, x)
    mistakes = {"inputs stay floats": floats, "z Σ w is not subtracted": right + factor * zero_point * sums}
    wrapped = sums.astype(np.int8).astype(np.int64)
    mistakes["Σ w wraps around in int8"] = right + factor * zero_point * (sums - wrapped)
    assert_close(layer(Tensor(x)), right, FLOAT32, mistakes)


def test_one_scale_for_all_weights(draw):
    """With finite limits, weights with one scale (axis=None) are multiplied too."""
    layer, x = made(draw, (-2, 3), axis=None), inputs(draw, (-2, 3), 5, 6)
    assert_close(layer(Tensor(x)), want(layer, x), FLOAT32)


@pytest.mark.parametrize(("out", "size"), [(7, 25_000), (3, 70_000), (300, 900)])
@pytest.mark.parametrize("axis", [0, None])
def test_sums_are_exact_in_blocks(axis, out, size, draw):
    """With finite limits all rows of several blocks are multiplied, also long ones, whose sums are beyond float32 or int32;
    with a scale for each row, or with one.
    """
    layer, x = made(draw, (-2, 3), out, size, axis=axis), inputs(draw, (-2, 3), 1, size)
    scale, zero_point = oracles.precision.step([-2.0, 3.0], symmetric=False)
    q = np.clip(np.round(x / scale), -128 - zero_point, 127 - zero_point).astype(np.int64)
    sums = q @ layer.weight.values.T.astype(np.int64)
    assert_close(layer(Tensor(x)), scale * layer.weight.scale[:, 0] * sums + layer.bias.data, FLOAT32)


def test_long_sums_of_weights_times_the_zero_point_are_exact():
    """150,000 weights of 127, times a zero point of -128, are beyond int32."""
    layer = QuantizedLinear(quantize_array(np.ones((2, 150_000), np.float32), 0))
    layer.limits[...] = (0, 3)
    assert_close(layer(Tensor(np.full((1, 150_000), 3, np.float32))), np.full((1, 2), 450_000.0), FLOAT32)


def test_float64_keeps_its_digits(draw):
    """Sums beyond 2²⁴ are not rounded to float32 on the way to a float64 result. The step of these limits is 1/64 exactly."""
    limits = (-2, 127 / 64)
    layer, x = made(draw, limits, 7, 9000, bias=False), inputs(draw, limits, 3, 9000).astype(np.float64) + 0.5
    got = layer(Tensor(x))
    assert_dtype(got, np.float64)
    assert_close(got, want(layer, x))


@pytest.mark.parametrize("sign", [1, -1])
def test_sums_of_weights_are_exact(sign, draw):
    """The sum of a row's weights, which the zero point is multiplied by, may be large: 300 weights of 127."""
    layer, x = QuantizedLinear(quantize_array(np.full((2, 300), sign), 0)), inputs(draw, (0, 3), 5, 300)
    layer.limits[...] = (0, 3)
    assert_close(layer(Tensor(x)), want(layer, x), FLOAT32)


def test_inputs_beyond_the_limits_become_the_nearest(draw):
    """Inputs outside the limits are clipped: they don't wrap around."""
    layer = made(draw, (-1, 2))
    far = np.full((1, 6), 1e6, np.float32)
    for x in (far, -far, 1e30 * far):
        assert_close(layer(Tensor(x)), want(layer, x), FLOAT32)


def test_zeros_are_zeros_however_large_the_steps():
    """The scales of inputs and weights may be so large that their product is no float32: 0 times that is 0."""
    layer = QuantizedLinear(quantize_array(np.full((2, 3), 1e30), 0))
    layer.limits[...] = (-1e14, 1e14)
    assert_close(layer(Tensor(np.zeros((1, 3), np.float32))), np.zeros((1, 2)))


@pytest.mark.parametrize("out", [4, 6, 1])
@pytest.mark.parametrize("kind", ["affine", "affine, each row", "affine around 0", "a scale for each column"])
def test_weights_that_integers_can_not_multiply_are_refused(kind, out, draw):
    """Affine weights, and scales along another axis, raise a ValueError if the limits are finite, and work if not. So do square
    weights, whose rows and columns have as many scales.
    """
    w = draw.normal(out, 6) + 0.5
    make = {
        "affine": lambda: quantize_array(w, symmetric=False),
        "affine, each row": lambda: quantize_array(w, 0, symmetric=False),
        "affine around 0": lambda: quantize_array(w, symmetric=False, limits=(-128, 127)),
        "a scale for each column": lambda: quantize_array(w, 1),
    }
    layer, x = QuantizedLinear(make[kind]()), Tensor(draw.normal(3, 6))
    floats = layer(x).data
    layer.limits[...] = (-2, 3)
    with rejects(ValueError):
        layer(x)
    layer.limits[...] = (-np.inf, np.inf)
    assert_close(layer(x), floats)


def test_limits_are_read_in_each_call(draw):
    """The limits are read at each call: others make other steps, also in another array, and if one of them is infinite, inputs
    stay floats.
    """
    layer, x = made(draw, (-1, 1)), inputs(draw, (-4, 3), 5, 6)
    layer(Tensor(x))
    layer.limits[...] = (-4, 3)
    right = want(layer, x)
    assert_close(layer(Tensor(x)), right, FLOAT32)
    layer.limits[...] = (-1, 1)
    layer.limits = np.array([-4, 3], np.float32)
    assert_close(layer(Tensor(x)), right, FLOAT32)
    floats = x @ oracles.precision.meant(layer.weight).T + layer.bias.data
    for limits in ((-np.inf, np.inf), (0, np.inf), (-np.inf, 0)):
        layer.limits[...] = limits
        assert_close(layer(Tensor(x)), floats, FLOAT32)


def test_layers_have_limits_of_their_own(draw):
    """The limits of one layer are not those of another."""
    first, second = made(draw, (-1, 1)), QuantizedLinear(quantize_array(draw.normal(4, 6), 0))
    assert np.isfinite(first.limits).all()
    assert np.isinf(second.limits).all()


def test_the_dtype_and_the_leading_axes_stay(draw):
    """With finite limits too, the result has x's leading axes and dtype, and float32 for integers."""
    layer, x = made(draw, (-255, 0)), -np.arange(36.0).reshape(2, 3, 6)
    for dtype, result in ((np.float32, np.float32), (np.float64, np.float64), (np.int64, np.float32)):
        got = layer(Tensor(x.astype(dtype)))
        assert_dtype(got, result)
        assert_close(got, want(layer, x.reshape(6, 6)).reshape(2, 3, 4), FLOAT32)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_inputs_that_are_not_finite_are_refused(value, draw):
    """With finite limits, an input that is not finite raises a ValueError that contains it and its index in x."""
    x = np.array(draw.normal(2, 3, 6))
    x[1, 2, 4] = value
    with rejects(ValueError, str(value), "(1, 2, 4)"):
        made(draw, (-1, 1))(Tensor(x))


def test_it_is_for_inference(draw):
    """With finite limits too, a RuntimeError contains "inference" where a gradient would be recorded."""
    with rejects(RuntimeError, "inference"):
        made(draw, (-1, 1))(Tensor(draw.normal(3, 6), requires_grad=True))


def test_integers_are_multiplied_in_blocks(budget):
    """With finite limits, a call of a layer with 4 million weights, 16 MB as float32, allocates less than 4 MB."""
    layer = QuantizedLinear(quantize_array(np.random.default_rng(0).standard_normal((2048, 2048), np.float32), 0))
    layer.limits[...] = (-2, 3)
    x = Tensor(np.ones((1, 2048), np.float32))
    budget.bytes(lambda: layer(x), peak=4_000_000)


def test_products_of_integers_are_left_to_blas(budget, draw):
    """128 rows of int8 inputs take at most 4 times as long as their product with float32 weights, where int32 takes 25 times as
    long.
    """
    w, x = np.array(draw.normal(512, 512, dtype=np.float32)), np.array(draw.normal(128, 512, dtype=np.float32))
    layer = QuantizedLinear(quantize_array(w, 0))
    layer.limits[...] = (-4, 3)
    budget.time(lambda: layer(Tensor(x)), lambda: x @ w.T, limit=4)
