import numpy as np
import pytest
from katas.autograd import no_grad
from katas.layers import Linear, Module, Parameter
from katas.precision import (
    BLOCK,
    Quantized,
    QuantizedConv2d,
    QuantizedEmbedding,
    QuantizedLinear,
    quantize_array,
)
from katas.tensor import Tensor

from specs import oracles
from specs.check import FLOAT32, assert_close, assert_dtype, layouts, measure_bytes, rejects, undisturbed

WEIGHTS = {
    "one scale": quantize_array,
    "a scale for each row": lambda w: quantize_array(w, 0),
    "a scale for each column": lambda w: quantize_array(w, 1),
    "affine": lambda w: quantize_array(w, symmetric=False),
    "affine, each row": lambda w: quantize_array(w, 0, symmetric=False),
}
weights = pytest.mark.parametrize("kind", WEIGHTS)


def made(draw, out: int = 4, size: int = 6, bias: bool = True, kind: str = "a scale for each row") -> QuantizedLinear:
    return QuantizedLinear(WEIGHTS[kind](draw.normal(out, size) + 0.5), draw.normal(out, dtype=np.float32) if bias else None)


def want(layer: QuantizedLinear, x: np.ndarray) -> np.ndarray:
    bias = 0 if layer.bias is None else layer.bias.data.astype(np.float64)
    return x.astype(np.float64) @ oracles.precision.meant(layer.weight).T + bias


@weights
@pytest.mark.parametrize("bias", [True, False])
def test_a_layer_multiplies_by_what_its_integers_mean(kind, bias, draw):
    """A QuantizedLinear computes x Wᵀ + b with W = weight.dequantize(), over the last axis, for every kind of weight."""
    layer = made(draw, bias=bias, kind=kind)
    for shape in [(5,), (2, 3), (), (1,), (2, 1, 3)]:
        x = draw.normal(*shape, 6)
        right = want(layer, x)
        mistakes = {"the bias is missing": right - layer.bias.data} if bias else {}
        if kind == "a scale for each row":
            mistakes["the scale is missing"] = x @ layer.weight.values.T.astype(np.float64) + (layer.bias.data if bias else 0)
        assert_close(layer(Tensor(x)), right, FLOAT32, mistakes)


@pytest.mark.parametrize(("out", "size"), [(7, 25_000), (3, 70_000), (700, 300), (1, 3), (13, BLOCK // 4), (5, BLOCK // 8)])
def test_every_row_is_multiplied_wherever_the_blocks_end(out, size, draw):
    """Every row of the weight is multiplied, also of a weight of several blocks, and if one row is longer than a block."""
    layer = made(draw, out, size)
    x = draw.normal(2, size, dtype=np.float32)
    assert_close(layer(Tensor(x)), want(layer, x), FLOAT32)


def test_other_weights_will_do(draw):
    """Of a weight, a layer uses only shape and dequantize(rows)."""

    class Doubled(Module):
        shape = (4, 6)

        def dequantize(self, rows=...):
            return 2 * values[rows]

    values, x = draw.normal(4, 6, dtype=np.float32), draw.normal(3, 6)
    assert_close(QuantizedLinear(Doubled())(Tensor(x)), 2 * x @ values.T, FLOAT32)
    assert_close(QuantizedEmbedding(Doubled())([3, 0]), 2 * values[[3, 0]], FLOAT32)
    Doubled.shape, values = (4, 3, 2, 1), values.reshape(4, 3, 2, 1)
    images = x.reshape(3, 3, 2, 1)
    assert_close(QuantizedConv2d(Doubled())(Tensor(images)), 2 * (x @ values.reshape(4, 6).T)[..., None, None], FLOAT32)


def test_it_is_a_linear():
    """A QuantizedLinear is a Linear with in_features and out_features; its weight is the object it was given."""
    weight = quantize_array(np.ones((4, 6), np.float32), 0)
    layer = QuantizedLinear(weight)
    assert isinstance(layer, Linear)
    assert (layer.in_features, layer.out_features) == (6, 4)
    assert layer.weight is weight
    assert layer.bias is None
    assert isinstance(layer, Module)


def test_the_bias_is_a_copy(draw):
    """The bias is a copy, as a Parameter, of an array or a Parameter, frozen or not. A bias of zeros is a bias too."""
    frozen = Parameter(draw.normal(4, dtype=np.float32))
    frozen.requires_grad = False
    for given in (np.zeros(4, np.float32), Parameter(draw.normal(4, dtype=np.float32)), frozen):
        layer = QuantizedLinear(quantize_array(draw.normal(4, 6), 0), given)
        assert isinstance(layer.bias, Parameter)
        values = given.data if isinstance(given, Parameter) else given
        assert layer.bias is not given
        assert not np.shares_memory(layer.bias.data, values)
        assert_close(layer.bias, values)


@weights
def test_the_state_is_int8(kind, draw):
    """The state_dict of a QuantizedLinear has the names weight.values, weight.scale, for affine weights weight.zero_point,
    bias, and limits, (-∞, ∞) at first.
    """
    layer = made(draw, kind=kind)
    state = layer.state_dict()
    names = {"weight.values", "weight.scale", "bias", "limits"} | ({"weight.zero_point"} if "affine" in kind else set())
    assert set(state) == names
    assert state["weight.values"].dtype == np.int8
    assert_close(state["limits"], np.array([-np.inf, np.inf]))
    assert_dtype(state["limits"], np.float32)
    bare = made(draw, bias=False, kind=kind).state_dict()
    assert set(bare) == names - {"bias"}


def test_the_result_has_the_dtype_of_x(draw):
    """The result has x's dtype, float16, float32 or float64, and float32, with all its digits, for integers."""
    layer, x = made(draw), np.round(draw.normal(3, 6) * 4)
    for dtype in (np.float32, np.float64):
        assert_dtype(layer(Tensor(x.astype(dtype))), dtype)
        assert_close(layer(Tensor(x.astype(dtype))), want(layer, x), FLOAT32)
    for dtype in (np.int64, np.int8):
        assert_dtype(layer(Tensor(x.astype(dtype))), np.float32)
        assert_close(layer(Tensor(x.astype(dtype))), want(layer, x), FLOAT32)
    assert_dtype(layer(Tensor(np.abs(x).astype(np.uint8))), np.float32)
    assert_close(layer(Tensor(np.abs(x).astype(np.uint8))), want(layer, np.abs(x)), FLOAT32)
    exact = QuantizedLinear(layer.weight, draw.normal(4))
    assert_close(exact(Tensor(x)), x @ layer.weight.dequantize().T.astype(np.float64) + exact.bias.data)
    got = layer(Tensor(x.astype(np.float16)))
    assert_dtype(got, np.float16)
    assert np.abs(got.data - want(layer, x)).max() < 0.02


def test_float16_holds_the_result_not_the_sums():
    """For float16, sums and the bias are added in float32: 80,000 - 50,000 is 30,000, though float16 ends at 65,504."""
    x = np.ones((1, 2), np.float16)
    layer = QuantizedLinear(quantize_array([[40_000.0, 40_000.0]]), np.array([-50_000.0], np.float32))
    got = layer(Tensor(x))
    assert_dtype(got, np.float16)
    assert_close(got, np.array([[30_000.0]]), FLOAT32)


def test_attributes_may_be_exchanged(draw):
    """A layer uses the weight and the bias that it has at the call."""
    layer, other, x = made(draw), made(draw, bias=False), draw.normal(3, 6)
    layer.weight, layer.bias = other.weight, None
    assert_close(layer(Tensor(x)), want(other, x), FLOAT32)


@pytest.mark.parametrize("limits", [(-np.inf, np.inf), (-2, 3)], ids=str)
@pytest.mark.parametrize("shape", [(0, 6), (2, 0, 6)])
def test_no_rows_give_no_rows(shape, limits, draw):
    """An empty batch has an empty result, of the dtype that others have. It is checked as others are."""
    layer = made(draw)
    layer.limits[...] = limits
    for dtype, result in ((np.float16, np.float16), (np.float32, np.float32), (np.float64, np.float64), (np.int64, np.float32)):
        got = layer(Tensor(np.zeros(shape, dtype)))
        assert got.shape == (*shape[:-1], 4)
        assert_dtype(got, result)
    with rejects(RuntimeError, "inference"):
        layer(Tensor(np.zeros(shape), requires_grad=True))
    with rejects(ValueError, str((*shape, 5))):
        layer(Tensor(np.zeros((*shape, 5))))


def test_no_features_leave_the_bias():
    """With a weight (4, 0), each row of the result is the bias."""
    layer = QuantizedLinear(quantize_array(np.zeros((4, 0)), axis=0), np.arange(4, dtype=np.float32))
    assert_close(layer(Tensor(np.zeros((2, 0), np.float32))), [[0, 1, 2, 3]] * 2)


@pytest.mark.parametrize("order", ["column by column", "backwards", "in steps"])
def test_x_may_lie_in_memory_in_any_order(order, draw):
    """x may lie in memory in any order, and the result may be written to."""
    layer, x = made(draw), draw.normal(3, 2, 6)
    result = layer(Tensor(layouts(x)[order]))
    assert_close(result, want(layer, x), FLOAT32)
    result.data[...] = 7
    assert_close(layer(Tensor(x)), want(layer, x), FLOAT32)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_shows(value, draw):
    """A row with NaN or infinity gives values that are not finite; other rows are as without it."""
    layer, x = made(draw), np.array(draw.normal(3, 6))
    right = want(layer, x)
    x[1, 2] = value
    with np.errstate(invalid="ignore"):
        got = layer(Tensor(x)).data
    assert not np.isfinite(got[1]).all()
    assert_close(got[[0, 2]], right[[0, 2]], FLOAT32)


@pytest.mark.parametrize("shape", [(2, 5), (6, 4), (7,), (), (6, 1)])
def test_a_wrong_number_of_features_is_named(shape, draw):
    """An x with a wrong number of features raises a ValueError that contains the layer and the shape."""
    with rejects(ValueError, "QuantizedLinear(6, 4)", str(shape)):
        made(draw)(Tensor(np.zeros(shape, np.float32)))


def test_it_is_for_inference(draw):
    """QuantizedLinear: where a gradient would be recorded, a RuntimeError contains "inference". Under no_grad it works. The
    mode makes no difference.
    """
    layer, x = made(draw), Tensor(draw.normal(3, 6), requires_grad=True)
    for mode in (True, False):
        with rejects(RuntimeError, "inference"):
            layer.train(mode)(x)
    with no_grad():
        assert_close(layer(x), want(layer, x.data), FLOAT32)
    assert not layer(Tensor(x.data)).requires_grad


def test_nothing_else_is_touched(draw):
    """A QuantizedLinear uses neither NumPy's global generator, nor does it change NumPy's error handling."""
    layer, x = made(draw), draw.normal(3, 6)
    with undisturbed():
        layer(Tensor(x))


@pytest.mark.parametrize("kind", ["a scale for each row", "affine"])
def test_there_are_never_all_weights_as_floats(kind, budget):
    """A call of a layer with 4 million weights, 16 MB as float32, allocates less than 4 MB."""
    layer = QuantizedLinear(WEIGHTS[kind](np.random.default_rng(0).standard_normal((2048, 2048), np.float32)))
    x = Tensor(np.ones((1, 2048), np.float32))
    budget.bytes(lambda: layer(x), peak=4_000_000)


@pytest.mark.parametrize("size", [BLOCK // 4, BLOCK // 4 + 1, BLOCK // 8])
def test_long_rows_are_made_one_by_one(size):
    """Rows of BLOCK bytes of float32, or about that: with 64 of them, 16 MB, a call allocates less than 4 MB."""
    layer = QuantizedLinear(Quantized(np.ones((64, size), np.int8), np.ones((64, 1), np.float32)))
    x = Tensor(np.ones((1, size), np.float32))
    peak, _ = measure_bytes(lambda: layer(x))
    assert peak < 4_000_000, f"{peak:,} bytes for rows of {size} values"


def test_a_batch_takes_little_longer_than_its_product(budget, draw):
    """With 128 rows a QuantizedLinear takes at most 3 times as long as the product with float32 weights."""
    w, x = draw.normal(512, 512, dtype=np.float32), np.array(draw.normal(128, 512, dtype=np.float32))
    layer, w = QuantizedLinear(quantize_array(w, 0)), np.array(w)
    budget.time(lambda: layer(Tensor(x)), lambda: x @ w.T, limit=3)


def test_a_layer_takes_no_loop_over_rows_of_x(budget, draw):
    """The number of Python instructions does not grow with the batch."""
    layer, small, large = made(draw), Tensor(draw.normal(10, 6)), Tensor(draw.normal(1000, 6))
    budget.steps(lambda: layer(small), lambda: layer(large), limit=2)
