import gc
import weakref

import numpy as np
import pytest
from katas.layers import Linear, Parameter, Sequential
from katas.precision import (
    Observer,
    Quantized,
    Quantized4,
    QuantizedConv2d,
    QuantizedEmbedding,
    QuantizedLinear,
    calibrate,
    half_state,
    integer_product,
    pack,
    quantize,
    quantize_array,
    quantize_groups,
    unpack,
)
from katas.tensor import Tensor

from specs.check import array, assert_close, rejects, undisturbed


def seen(values, percentile: float = 90) -> Observer:
    observer = Observer(percentile)
    observer.observe(values)
    return observer


def calibrated(x) -> Sequential:
    model = quantize(Sequential(Linear(4, 4, rng=np.random.default_rng(0))))
    calibrate(model, [Tensor(x)])
    return model


EIGHT, FLOATS = np.arange(-8, 8, dtype=np.int8).reshape(4, 4), np.linspace(-1, 2, 16, dtype=np.float32).reshape(4, 4)
IMAGES, SCALE = FLOATS.reshape(1, 4, 2, 2), np.full((4, 1), 0.5, np.float32)
CALLS = {
    "Quantized": (lambda values, scale: Quantized(values, scale, values[:, :1]).dequantize(), EIGHT, SCALE),
    "Quantized.nbytes": (lambda values, scale: np.array(Quantized(values, scale).nbytes), EIGHT, SCALE),
    "Quantized.dequantize": (lambda x: quantize_array(x, 0, False).dequantize([1, 2]), FLOATS),
    "quantize_array": (lambda x: quantize_array(x, 0).values, FLOATS),
    "Observer": (lambda x: np.array(seen(x).limits()), FLOATS),
    "integer_product": (integer_product, EIGHT, EIGHT),
    "QuantizedLinear": (lambda x: QuantizedLinear(quantize_array(FLOATS, 0), FLOATS[0])(Tensor(x)), FLOATS),
    "QuantizedConv2d": (lambda x: QuantizedConv2d(quantize_array(IMAGES, 0), FLOATS[0, :1], (1, 1), (1, 1))(Tensor(x)), IMAGES),
    "QuantizedEmbedding": (lambda ids: QuantizedEmbedding(quantize_array(FLOATS, 0))(ids), np.array([[3, 0], [1, 1]])),
    "quantize": (lambda x: quantize(Linear(4, 4, rng=np.random.default_rng(0)), 4)(Tensor(x)), FLOATS),
    "calibrate": (lambda x: calibrated(x)(Tensor(x)), FLOATS),
    "half_state": (lambda x: half_state({"x": x})["x"], FLOATS),
    "pack": (pack, EIGHT),
    "unpack": (lambda packed: unpack(packed, 7), np.arange(12, dtype=np.uint8).reshape(3, 4)),
    "Quantized4": (lambda values, scale: Quantized4(pack(values), scale, (4, 4)).dequantize(), EIGHT, SCALE.astype(np.float16)),
    "Quantized4.nbytes": (lambda x: np.array(quantize_groups(x).nbytes), FLOATS),
    "quantize_groups": (lambda x: quantize_groups(x).dequantize([1, 2]), FLOATS),
}
calls = pytest.mark.parametrize("name", CALLS)


@calls
def test_nothing_else_is_touched(name):
    """Each function leaves NumPy's global generator, its error handling and the working directory alone."""
    call, *given = CALLS[name]
    with undisturbed():
        call(*given)


@calls
def test_what_is_given_stays(name):
    """Each function leaves its arrays as they are, and its result shares no memory with them."""
    call, *given = CALLS[name]
    copies = [np.array(values) for values in given]
    made = array(call(*copies))
    for values, want in zip(copies, given, strict=True):
        assert_close(values, want)
        assert not np.shares_memory(made, values)


@calls
def test_what_is_made_may_be_written_to(name):
    """Each result may be written to: the same call gives the same again."""
    call, *given = CALLS[name]
    want = array(call(*given)).copy()
    array(call(*given))[...] = 1
    assert_close(array(call(*given)), want)


def alive(call, *shape: int, dtype=np.float32) -> bool:
    """Whether an array is still held after call(array)."""
    given = np.ones(shape, dtype)
    watch = weakref.ref(given)
    call(given)
    del given
    gc.collect()
    return watch() is not None


def test_what_is_given_is_not_held():
    """Layers don't hold their inputs, nor a quantized model the floats it was made of, nor a calibrated one its batches."""
    linear, conv = QuantizedLinear(quantize_array(FLOATS, 0)), QuantizedConv2d(quantize_array(IMAGES, 0))
    embedding, model, made = QuantizedEmbedding(quantize_array(FLOATS, 0)), quantize(Sequential(Linear(4, 4))), []
    assert not alive(lambda x: linear(Tensor(x)), 3, 4)
    assert not alive(lambda x: conv(Tensor(x)), 1, 4, 3, 3)
    assert not alive(lambda ids: embedding(ids), 3, dtype=np.int64)
    assert not alive(lambda x: calibrate(model, [Tensor(x)]), 3, 4)
    assert not alive(lambda x: model(Tensor(x)), 3, 4)
    assert not alive(lambda x: made.append(quantize_array(x, 0)), 3, 4)
    assert not alive(lambda x: made.append(quantize_groups(x)), 3, 4)
    assert not alive(lambda x: made.append(half_state({"x": x})), 3, 4)
    floats = Linear(4, 4)

    def exchanged(weight):
        floats.weight = Parameter(weight)
        floats.weight.data = weight
        made.append(quantize(floats))
        floats.weight = None

    assert not alive(exchanged, 4, 4)


REFUSED = {
    "quantize_array": (lambda x: quantize_array(x, 0), ValueError, np.array([[1.0, np.nan]])),
    "quantize_groups": (quantize_groups, ValueError, np.array([[1.0, np.inf]])),
    "Observer": (lambda x: Observer().observe(x), ValueError, np.array([1.0, np.nan])),
    "integer_product": (lambda a: integer_product(a, a[:, :1]), ValueError, np.ones((2, 3), np.int8)),
    "QuantizedLinear": (lambda x: QuantizedLinear(quantize_array(FLOATS))(Tensor(x)), ValueError, np.ones((2, 3), np.float32)),
    "QuantizedConv2d": (lambda x: QuantizedConv2d(quantize_array(IMAGES))(Tensor(x)), ValueError, np.ones((2, 3, 4, 4))),
    "QuantizedEmbedding": (lambda ids: QuantizedEmbedding(quantize_array(FLOATS))(ids), IndexError, np.array([0, 4])),
    "half_state": (lambda x: half_state({"x": x}), ValueError, np.array([1.0, 1e6])),
    "pack": (pack, ValueError, np.array([[1, 9]])),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_stays(name):
    """After an error, the arrays that a function was given are as they were."""
    call, error, given = REFUSED[name]
    values = given.copy()
    with rejects(error):
        call(values)
    assert_close(values, given)


def test_numbers_may_be_numpys():
    """np.int64(8) is 8, np.float64(90.0) is 90; they come out of shapes and sums."""
    eight, zero = np.int64(8), np.int64(0)
    assert quantize_array(FLOATS, zero).scale.shape == (4, 1)
    assert seen(FLOATS, np.float64(90)).limits() == seen(FLOATS).limits()
    assert type(quantize(Linear(4, 4), eight)) is QuantizedLinear
    assert_close(quantize_array(FLOATS, 0).dequantize(zero), quantize_array(FLOATS, 0).dequantize()[0])
    assert_close(unpack(pack(EIGHT), np.int64(4)), EIGHT)
    grouped = quantize_groups(FLOATS)
    assert_close(grouped.dequantize(zero), grouped.dequantize()[0])
    model = quantize(Sequential(Linear(4, 4)))
    calibrate(model, [Tensor(FLOATS)], np.float64(90))
    assert_close(model[0].limits, np.array(seen(FLOATS).limits(), np.float32))


def test_options_may_be_named_in_any_order():
    """Arguments may be given by their names, in any order."""
    assert_close(
        quantize_array(limits=(-1, 3), symmetric=False, axis=None, x=FLOATS).values,
        quantize_array(FLOATS, None, False, (-1, 3)).values,
    )
    weight, bias = quantize_array(IMAGES, 0), FLOATS[0, :1]
    layer = QuantizedConv2d(padding=(1, 0), stride=(2, 1), bias=bias, weight=weight)
    assert_close(layer(Tensor(IMAGES)), QuantizedConv2d(weight, bias, (2, 1), (1, 0))(Tensor(IMAGES)).data)
    layer = QuantizedLinear(bias=FLOATS[0], weight=quantize_array(FLOATS))
    assert_close(layer.bias, FLOATS[0])
    assert type(quantize(bits=4, model=Linear(4, 4)).weight) is Quantized4
    scale = SCALE.astype(np.float16)
    assert_close(Quantized4(shape=(4, 4), scale=scale, values=pack(EIGHT)).dequantize(), 0.5 * EIGHT)
    assert_close(Quantized(zero_point=EIGHT[:, :1], scale=SCALE, values=EIGHT).dequantize(), 0.5 * (EIGHT - EIGHT[:, :1]))
    assert Observer(percentile=90).percentile == 90
    model = quantize(Sequential(Linear(4, 4)))
    calibrate(percentile=90, batches=[Tensor(FLOATS)], model=model)
    assert_close(model[0].limits, np.array(seen(FLOATS).limits(), np.float32))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_an_image_that_is_not_finite_shows(value):
    """An image with NaN or infinity gives values that are not finite where a kernel sees it; other images are as without it."""
    layer, x = QuantizedConv2d(quantize_array(IMAGES, 0)), np.tile(IMAGES, (3, 1, 1, 1))
    want = layer(Tensor(x)).data.copy()
    x[1, 2, 0, 0] = value
    with np.errstate(invalid="ignore"):
        got = layer(Tensor(x)).data
    assert not np.isfinite(got[1]).any()
    assert_close(got[[0, 2]], want[[0, 2]])
