import gc

import numpy as np
import pytest
from katas.precision import Quantized4, QuantizedConv2d, QuantizedEmbedding, QuantizedLinear, quantize_groups
from katas.tensor import Tensor

from specs import oracles
from specs.check import FLOAT32, assert_close, measure_bytes, rejects


def weight(*shape: int):
    return quantize_groups(np.random.default_rng(0).standard_normal(shape, np.float32))


@pytest.mark.parametrize("size", [6, 70])
def test_a_linear_multiplies_by_what_4_bits_mean(size, draw):
    """A QuantizedLinear with a Quantized4 computes x Wᵀ + b with W = weight.dequantize()."""
    layer = QuantizedLinear(quantize_groups(draw.normal(4, size) + 0.5), draw.normal(4, dtype=np.float32))
    for shape in [(5,), (2, 3), ()]:
        x = draw.normal(*shape, size)
        assert_close(layer(Tensor(x)), x @ oracles.precision.meant(layer.weight).T + layer.bias.data, FLOAT32)


def test_every_row_is_multiplied_wherever_the_blocks_end(draw):
    """Every row of a Quantized4 of several blocks is multiplied."""
    layer, x = QuantizedLinear(quantize_groups(draw.normal(7, 25_000))), draw.normal(2, 25_000, dtype=np.float32)
    assert_close(layer(Tensor(x)), x @ oracles.precision.meant(layer.weight).T, FLOAT32)


@pytest.mark.parametrize("options", [(), ((2, 1), (1, 0))], ids=str)
def test_a_convolution_uses_what_4_bits_mean(options, draw):
    """A QuantizedConv2d with a Quantized4 computes conv2d with weight.dequantize()."""
    layer, x = QuantizedConv2d(quantize_groups(draw.normal(5, 3, 2, 6) + 0.3), None, *options), draw.normal(2, 3, 6, 7)
    want = oracles.spatial.conv2d(x, oracles.precision.meant(layer.weight), None, layer.stride, layer.padding)
    assert_close(layer(Tensor(x)), want, FLOAT32)


@pytest.mark.parametrize("shape", [(2, 3), (4,), (), (0,)], ids=str)
def test_ids_look_up_what_4_bits_mean(shape, draw):
    """A QuantizedEmbedding with a Quantized4 gives the rows of weight.dequantize()."""
    layer, ids = QuantizedEmbedding(quantize_groups(draw.normal(7, 35))), draw.integers(7, *shape)
    assert_close(layer(ids), oracles.precision.meant(layer.weight)[np.array(ids)], FLOAT32)


def test_the_state_is_bytes():
    """The state_dict of a layer with a Quantized4 has the names weight.values, uint8, and weight.scale."""
    state = QuantizedLinear(weight(4, 6)).state_dict()
    assert set(state) == {"weight.values", "weight.scale", "limits"}
    assert state["weight.values"].dtype == np.uint8


def test_integers_can_not_multiply_4_bits(draw):
    """With finite limits a Quantized4 raises a ValueError; without, it works."""
    layer, x = QuantizedLinear(weight(4, 6)), Tensor(draw.normal(3, 6))
    floats = layer(x).data
    layer.limits[...] = (-2, 3)
    with rejects(ValueError):
        layer(x)
    layer.limits[...] = (-np.inf, np.inf)
    assert_close(layer(x), floats)


CALLS = {
    "QuantizedLinear": (lambda w: QuantizedLinear(w), (2048, 2048), Tensor(np.ones((1, 2048), np.float32)), 4_000_000),
    "QuantizedConv2d": (lambda w: QuantizedConv2d(w), (512, 512, 3, 3), Tensor(np.ones((1, 512, 4, 4), np.float32)), 3_000_000),
    "QuantizedEmbedding": (lambda w: QuantizedEmbedding(w), (20_000, 64), np.arange(10) * 1999, 60_000),
}


@pytest.mark.parametrize("name", CALLS)
def test_4_bits_are_never_all_floats(name, budget):
    """A call allocates less than 4 MB for a Quantized4 of 4 million weights, less than 3 MB in a convolution of 2.4 million,
    and less than 60 kB for ten rows of a table of 5 MB.
    """
    make, shape, given, limit = CALLS[name]
    layer = make(weight(*shape))
    budget.bytes(lambda: layer(given), peak=limit)


@pytest.mark.parametrize("name", CALLS)
def test_forward_keeps_nothing(name):
    """After a call, a layer with a Quantized4 holds no more than before: no floats are remembered."""
    make, shape, given, _ = CALLS[name]
    packed, made = weight(512, 64, *shape[2:]), []
    x = np.arange(10) if name == "QuantizedEmbedding" else Tensor(given.data[:, :64])

    def called():
        made.append(layer := make(Quantized4(packed.values, packed.scale, packed.shape)))
        layer(x)
        gc.collect()

    held = min(measure_bytes(called)[1] for _ in range(3))  # Python itself may need some kB more, once
    most = packed.nbytes + 20_000
    assert held < most, f"{name}: {held:,} bytes are held after a call, of {most:,}"


def test_a_batch_with_4_bits_takes_little_longer_than_its_product(budget, draw):
    """With 128 rows and 4 bits, too, a QuantizedLinear takes at most 3 times as long as the product with float32 weights."""
    w, x = np.array(draw.normal(512, 512, dtype=np.float32)), np.array(draw.normal(128, 512, dtype=np.float32))
    layer = QuantizedLinear(quantize_groups(w))
    budget.time(lambda: layer(Tensor(x)), lambda: x @ w.T, limit=3)
