import numpy as np
from katas.acceleration import accelerate
from katas.activations import ReLU
from katas.caching import Decoder, KVCache, prefill
from katas.layers import Linear
from katas.precision import QuantizedConv2d, QuantizedLinear, calibrate, quantize
from katas.spatial import CNN, BatchNorm2d, Conv2d
from katas.tensor import Tensor
from katas.transformers import GPT, GPTConfig, generate

from specs.check import FLOAT32, assert_close, rejects


def gpt() -> GPT:
    """With weights large enough that each matters."""
    model = GPT(GPTConfig(32, 8, 2, 2, 16), np.random.default_rng(0))
    for parameter in model.parameters():
        parameter.data *= 3
    return model.eval()


def cnn() -> CNN:
    rng = np.random.default_rng(0)
    return CNN([Conv2d(3, 8, 3, padding=1, rng=rng), BatchNorm2d(8), ReLU(), Linear(8 * 64, 10, rng=rng)]).eval()


def test_a_cache_holds_what_a_quantized_gpt_computes(draw):
    """KVCache.of takes the copy, whose keys and values are float32: with a cache, all at once, in blocks or token by token, the
    logits are the same.
    """
    small, ids = quantize(gpt()), draw.integers(32, 2, 8)
    want = small(ids).data
    cache = KVCache.of(small, 2)
    assert cache.dtype == np.float32
    assert_close(small(ids[:, :3], cache=cache), want[:, :3], FLOAT32)
    assert_close(small(ids[:, 3:4], cache=cache), want[:, 3:4], FLOAT32)
    cache.truncate(0)
    assert_close(prefill(small, ids, cache, block=3), want[:, -1], FLOAT32)


def test_a_text_with_a_cache_is_the_same():
    """generate with a cache writes what it writes without."""
    small = quantize(gpt())
    want = list(generate(small, [3, 1], 6, temperature=0))
    assert list(generate(small, [3, 1], 6, temperature=0, cache=KVCache.of(small, 1))) == want


def test_a_decoder_folds_what_the_integers_mean(draw):
    """Decoder asks each layer for its matrix: a step gives the quantized model's logits, not the original's."""
    small, ids = quantize(gpt()), draw.integers(32, 2, 8)
    decoder, cache, want = Decoder(small), KVCache.of(small, 2), small(ids).data
    for time in range(8):
        assert_close(decoder.step(ids[:, time], cache), want[:, time], FLOAT32)


def test_a_calibrated_model_is_not_folded_silently(draw):
    """A layer that rounds and clips its inputs has no matrix. A Decoder raises a ValueError that contains "QuantizedLinear", or
    computes what the model does.
    """
    small, ids = quantize(gpt()), draw.integers(32, 2, 8)
    calibrate(small, [ids])
    want, cache = small(ids).data, KVCache.of(small, 2)
    decoder, error = None, ""
    try:
        decoder = Decoder(small)
    except ValueError as raised:
        error = str(raised)
    assert decoder or "QuantizedLinear" in error
    for time in range(8 if decoder else 0):
        assert_close(decoder.step(ids[:, time], cache), want[:, time], FLOAT32)


def test_a_quantized_model_can_be_accelerated(draw):
    """accelerate leaves the quantized layers, and exchanges others: the outputs are the same, to float32's digits."""
    for make, given in ((gpt, draw.integers(32, 2, 8)), (cnn, Tensor(draw.normal(2, 3, 8, 8, dtype=np.float32)))):
        small = quantize(make())
        want, layers = small(given).data, [type(layer) for layer in small.modules() if "Quantized" in type(layer).__name__]
        fast = accelerate(small)
        assert np.abs(fast(given).data - want).max() <= 1e-5 * np.abs(want).max()
        assert [type(layer) for layer in fast.modules() if "Quantized" in type(layer).__name__] == layers


def test_an_accelerated_model_can_be_calibrated(draw):
    """Every layer is observed, and the outputs are those of the calibrated model that was not accelerated."""
    small, fast, ids = quantize(gpt()), accelerate(quantize(gpt())), draw.integers(32, 2, 8)
    for model in (small, fast):
        calibrate(model, [ids])
    assert np.abs(fast.lm_head.limits / small.lm_head.limits - 1).max() < 0.02
    want = small(ids).data
    assert np.abs(fast(ids).data - want).mean() < 0.02 * want.std()


def test_an_accelerated_model_is_not_quantized_silently(draw):
    """accelerate makes subclasses of the layers, and these are refused: a ValueError contains the name of a weight. The other
    order works.
    """
    with rejects(ValueError, "0.weight"):
        quantize(accelerate(cnn()))
    small = accelerate(quantize(cnn()))
    assert [type(small.layers[i]) for i in (0, 3)] == [QuantizedConv2d, QuantizedLinear]
