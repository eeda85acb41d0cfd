import numpy as np
import pytest
from katas.embeddings import RotaryPositions
from katas.tensor import Tensor
from katas.transformers import Block, GPTConfig

from specs import oracles
from specs.check import assert_close, assert_dtype
from specs.oracles.cache import ListCache

SIZES = {"vocab_size": 11, "context": 8, "n_layer": 2, "n_head": 2, "d_model": 8}


def made(draw, layer: int = 0, **options) -> tuple[Block, GPTConfig]:
    """A block in float64 with random parameters that hide nothing, and its config."""
    config = GPTConfig(**SIZES | options)
    rotary = RotaryPositions(8, 4) if config.positions == "rotary" else None
    block = Block(config, layer, rotary, np.random.default_rng(0))
    for parameter in block.parameters():
        parameter.data = np.array(0.5 * draw.normal(*parameter.shape)) + (parameter.ndim == 1)
    return block, config


def test_the_parameters_have_gpt_2s_names():
    """ln_1, attn, ln_2 and mlp, in this order; with bias=False nothing in it has a bias, and RMSNorm never has one."""
    names = [name for name, _ in Block(GPTConfig(**SIZES)).named_parameters()]
    assert names == [
        f"{layer}.{kind}"
        for layer in ("ln_1", "attn.c_attn", "attn.c_proj", "ln_2", "mlp.c_fc", "mlp.c_proj")
        for kind in ("weight", "bias")
    ]
    without = [name for name, _ in Block(GPTConfig(**SIZES, bias=False)).named_parameters()]
    assert without == [name for name in names if name.endswith("weight")]
    rms = [name for name, _ in Block(GPTConfig(**SIZES, norm="rms")).named_parameters()]
    assert rms == [name for name in names if name not in ("ln_1.bias", "ln_2.bias")]


@pytest.mark.parametrize("norm", ["layer", "rms"])
@pytest.mark.parametrize(
    "options", [{}, {"bias": False}, {"positions": "rotary"}, {"positions": "rotary", "window": 2}], ids=str
)
def test_each_half_is_added_to_what_comes_in(draw, options, norm):
    """x + attn(ln_1(x)), then y + mlp(ln_2(y)): normalization comes before, not after (pre-norm)."""
    block, config = made(draw, norm=norm, **options)
    x, state, transformers = draw.normal(5, 8), block.state_dict(), oracles.transformers
    want = transformers.block(x, state, "", config)
    middle = x + transformers.attention(transformers.norm(x, state, "ln_1", config), state, "attn.", config)

    def second(x):
        return transformers.feed_forward(transformers.norm(x, state, "ln_2", config), state, "mlp.")

    mistakes = {
        "the second half is not added to its input": second(middle),
        "the first half is not added to its input": middle - x + second(middle - x),
        "the second half adds the first input again": want + x,
        "the FeedForward is missing": middle,
    }
    assert_close(block(Tensor(x[None])).data[0], want, mistakes=mistakes)


def test_with_projections_of_zero_it_changes_nothing(draw):
    """Where both c_proj give 0, what comes in goes out: the way past the layers is free."""
    block, x = made(draw)[0], draw.normal(2, 5, 8)
    for name, parameter in block.named_parameters():
        if "c_proj" in name:
            parameter.data = np.zeros(parameter.shape)
    assert_close(block(Tensor(x)), x)


def test_the_gradient_passes_by_the_layers(draw):
    """Where both c_proj give 0, the gradient of the input is that of the output: nothing on the way makes it smaller."""
    block, x, g = made(draw)[0], Tensor(draw.normal(2, 5, 8), requires_grad=True), draw.normal(2, 5, 8)
    for name, parameter in block.named_parameters():
        if "c_proj" in name:
            parameter.data = np.zeros(parameter.shape)
    block(x).backward(g)
    assert_close(x.grad, g)


def test_padding_is_not_looked_at(draw):
    """mask (batch, time), True for real tokens: with padding on the left, a row is what it is without."""
    block, x = made(draw)[0], draw.normal(1, 5, 8)
    got = block(Tensor(x), np.array([[False, False, True, True, True]]))
    assert_close(got.data[:, 2:], block(Tensor(x[:, 2:])).data)


@pytest.mark.parametrize("layer", [0, 1])
def test_a_cache_holds_what_came_before(draw, layer):
    """With a cache, tokens that come one by one give what they give at once. `layer` says which part of the cache is used."""
    block, x = made(draw, layer, positions="rotary")[0], draw.normal(1, 5, 8)
    cache = ListCache(1, layers=layer + 1)
    for time in range(5):
        for other in range(layer):
            cache.rows[other][0].append(None)
        cache.lengths = np.array([time])
        got = block(Tensor(x[:, time : time + 1]), None, cache)
        assert_close(got, block(Tensor(x)).data[:, time : time + 1], name=f"token {time}")
    assert len(cache.rows[layer][0]) == 5


def test_dropout_falls_on_both_halves(draw):
    """In training a value may lose what attention adds, or what the FeedForward adds; in evaluation none does."""
    config = GPTConfig(**SIZES, dropout=0.5)
    x = Tensor(draw.normal(50, 5, 8, dtype=np.float32))
    for silent in ("attn", "mlp"):
        block = Block(config, rng=np.random.default_rng(0))
        for name, parameter in block.named_parameters():
            if name.startswith(silent):
                parameter.data[...] = 0
        unchanged = (block(x).data == x.data).mean()
        assert 0.4 < unchanged < 0.6
        assert_close(block.eval()(x), block(x).data)
        assert (block(x).data == x.data).mean() < 0.1


def test_the_generator_decides_the_weights():
    """Equal seeds give equal weights, and different seeds different ones."""
    config = GPTConfig(**SIZES)
    same, again, other = (Block(config, rng=np.random.default_rng(seed)) for seed in (0, 0, 1))
    for name in ("attn.c_attn.weight", "mlp.c_fc.weight"):
        assert_close(same.state_dict()[name], again.state_dict()[name])
        assert (same.state_dict()[name] != other.state_dict()[name]).any()


def test_the_dtype_stays(draw):
    """float32 stays float32, forward and backward."""
    for norm in ("layer", "rms"):
        block = Block(GPTConfig(**SIZES, norm=norm, positions="rotary"), 0, RotaryPositions(8, 4))
        x = Tensor(draw.normal(2, 5, 8, dtype=np.float32), requires_grad=True)
        y = block(x)
        y.sum().backward()
        assert_dtype(y, np.float32)
        assert_dtype(x.grad, np.float32)
        for parameter in block.parameters():
            assert_dtype(parameter.grad, np.float32)
