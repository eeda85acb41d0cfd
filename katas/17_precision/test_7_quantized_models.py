import numpy as np
import pytest
from katas.acceleration import accelerate
from katas.activations import ReLU
from katas.caching import Decoder, KVCache
from katas.embeddings import Embedding
from katas.layers import Linear, Module, Sequential
from katas.precision import Quantized4, calibrate, quantize, quantize_groups
from katas.spatial import CNN, BatchNorm2d, Conv2d
from katas.tensor import Tensor
from katas.transformers import GPT, GPTConfig

from specs import oracles
from specs.check import FLOAT32, assert_close, measure_bytes, rejects


def gpt() -> GPT:
    return GPT(GPTConfig(32, 8, 2, 2, 16), np.random.default_rng(0)).eval()


def cnn() -> CNN:
    rng = np.random.default_rng(0)
    return CNN([Conv2d(3, 8, 3, padding=1, rng=rng), BatchNorm2d(8), ReLU(), Linear(8 * 64, 10, rng=rng)]).eval()


def nbytes(model: Module) -> int:
    return sum(array.nbytes for array in model.state_dict().values())


def none():
    raise AssertionError("a batch was asked for")
    yield


@pytest.mark.parametrize("layer", [Linear(40, 3), Conv2d(3, 4, 4), Embedding(7, 33)], ids=lambda layer: type(layer).__name__)
def test_each_group_of_a_weight_has_a_scale(layer):
    """With bits=4 a weight becomes quantize_groups of it."""
    small, want = quantize(layer, 4).weight, quantize_groups(layer.weight.data)
    assert type(small) is Quantized4
    assert_close(small.values, want.values)
    assert_close(small.scale, want.scale)


def test_a_copy_computes_what_its_rounded_weights_give(draw):
    """With 4 bits too, the copy computes what the model would with rounded weights, and its logits are off by less than their
    standard deviation.
    """
    for make, given in ((cnn, Tensor(draw.normal(2, 3, 8, 8))), (gpt, draw.integers(32, 3, 7))):
        rounded = make()
        copy, logits = quantize(rounded, 4), rounded(given).data.copy()
        layers = [module for module in copy.modules() if isinstance(module, Linear | Conv2d | Embedding)]
        floats = [module for module in rounded.modules() if isinstance(module, Linear | Conv2d | Embedding)]
        for layer, other in zip(layers, floats, strict=True):
            other.weight.data[...] = oracles.precision.meant(layer.weight)
        assert_close(copy(given), rounded(given).data, FLOAT32)
        worst = np.abs(copy(given).data - logits).max()
        assert worst < logits.std(), f"logits are off by {worst:.3f}, and their deviation is {logits.std():.3f}"


def test_tied_weights_are_saved_and_loaded_as_bytes(draw):
    """With 4 bits too, lm_head and wte share one Quantized4, which is saved once; another copy loads the state."""
    small, other, ids = quantize(gpt(), 4), quantize(GPT(GPTConfig(32, 8, 2, 2, 16)), 4), draw.integers(32, 2, 5)
    state = small.state_dict()
    assert {array.dtype for name, array in state.items() if name.endswith("values")} == {np.dtype(np.uint8)}
    assert "lm_head.weight.values" not in state
    other.load_state_dict(state)
    assert_close(other(ids), small(ids).data)
    for model in (small, other):
        assert model.lm_head.weight is model.transformer.wte.weight


def test_floats_are_refused_in_the_place_of_bytes():
    """A model of 4 bits refuses a float32 model's state, and bytes that were made floats."""
    model, small = Sequential(Linear(4, 3)), quantize(Sequential(Linear(4, 3)), 4)
    state = small.state_dict()
    with rejects(ValueError, "0.weight"):
        small.load_state_dict(model.state_dict())
    with rejects(ValueError, "0.weight.values"):
        small.load_state_dict(state | {"0.weight.values": state["0.weight.values"].astype(np.float32)})


def test_a_seventh_of_the_bytes_is_left(tell):
    """The state_dict of a GPT of 128 channels, scales included, keeps at most 0.155 of its bytes with 4 bits."""
    config = GPTConfig(512, 64, 2, 4, 128, bias=False, positions="rotary", norm="rms", window=64)
    model = GPT(config, np.random.default_rng(0))
    share = nbytes(quantize(model, 4)) / nbytes(model)
    tell(f"4 bits: {share:.3f} of the bytes")
    assert share <= 0.155


def test_no_floats_are_kept_beside():
    """In memory too, a copy of 2 MB of float32 holds no more than 0.155 of that with 4 bits."""
    rng = np.random.default_rng(0)
    layers = [*(Linear(256, 256, rng=rng) for _ in range(6)), Conv2d(64, 128, 3, rng=rng), Embedding(1000, 64, rng=rng)]
    model, kept = Sequential(*layers), []
    _, size = measure_bytes(lambda: kept.append(quantize(model, 4)))
    limit = 0.155 * nbytes(model) + 30_000
    assert size <= limit, f"{size:,} bytes are held, of {nbytes(model):,} of float32"


def test_large_weights_of_4_bits_are_not_copied_first(budget):
    """With 4 bits too, quantizing 16 MB of float32 in 16 layers allocates less than 9 MB."""
    model = Sequential(*(Linear(512, 512, rng=np.random.default_rng(i)) for i in range(16)))
    budget.bytes(lambda: quantize(model, 4), peak=9_000_000)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_weight_that_is_not_finite_is_named(value):
    """With 4 bits too, a weight that is not finite raises a ValueError that contains the Parameter's name, value and index."""
    model = gpt()
    model.transformer.h[1].mlp.c_fc.weight.data[3, 2] = value
    with rejects(ValueError, "transformer.h.1.mlp.c_fc.weight", str(value), "(3, 2)"):
        quantize(model, 4)


def test_4_bits_are_not_calibrated():
    """calibrate raises a ValueError, before any batch, for weights of 4 bits."""
    model = quantize(Sequential(Linear(6, 8)), 4)
    with rejects(ValueError):
        calibrate(model, none())
    assert np.isinf(model[0].limits).all()


def test_a_cache_and_a_decoder_take_4_bits(draw):
    """With a KVCache, and in a Decoder, a GPT of 4 bits has the same logits."""
    small, ids = quantize(gpt(), 4), draw.integers(32, 2, 8)
    want, cache, other = small(ids).data, KVCache.of(small, 2), KVCache.of(small, 2)
    assert_close(small(ids, cache=cache), want, FLOAT32)
    decoder = Decoder(small)
    for time in range(8):
        assert_close(decoder.step(ids[:, time], other), want[:, time], FLOAT32)


def test_a_model_of_4_bits_can_be_accelerated(draw):
    """accelerate leaves layers of 4 bits: the outputs are the same, to float32's digits."""
    small, x = quantize(cnn(), 4), Tensor(draw.normal(2, 3, 8, 8, dtype=np.float32))
    want = small(x).data
    assert np.abs(accelerate(small)(x).data - want).max() <= 1e-5 * np.abs(want).max()
