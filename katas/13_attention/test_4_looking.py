import numpy as np
import pytest
from katas.attention import MultiHeadAttention, draw_attention
from katas.embeddings import RotaryPositions
from katas.tensor import Tensor

from specs import oracles
from specs.check import assert_close, assert_dtype, layouts, measure_bytes, rejects

MASK = np.array([[True, True, True, False, False], [True] * 5])
CASES = {
    "causal": ({}, None),
    "not causal": ({"causal": False}, None),
    "a window": ({"window": 2}, None),
    "padding": ({"causal": False}, MASK),
    "rotary": ({"positions": RotaryPositions(8, 4)}, MASK),
}


def made(**options) -> MultiHeadAttention:
    module = MultiHeadAttention(12, 3, rng=np.random.default_rng(0), **options)
    module.c_attn.weight.data *= 4
    return module


@pytest.mark.parametrize("case", CASES)
def test_the_map_says_how_much_each_token_looks_at_each(case, draw):
    """weights(x, mask): an array (batch, heads, queries, keys), of what forward weighs the values with."""
    options, mask = CASES[case]
    module, x = made(**options), draw.normal(2, 5, 12)
    q, k, v = oracles.attention.heads(x, module.state_dict(), 3)
    if "positions" in options:
        q, k = (oracles.embeddings.placed(oracles.embeddings.rotary("halves"), array) for array in (q, k))
    limits = {"causal": options.get("causal", True), "window": options.get("window")}
    want = oracles.attention.weights(q, k, None if mask is None else mask[:, None, None], **limits)
    got = module.weights(Tensor(x), mask)
    assert type(got) is np.ndarray
    assert_close(got, want, mistakes={"the mean over the heads": want.mean(1), "keys by queries": want.swapaxes(-1, -2)})
    assert_close(module(Tensor(x), mask), oracles.attention.joined(got @ v, module.state_dict()))


def test_the_map_has_no_dropout_and_records_nothing(draw):
    """In training too: rows sum to 1, nothing is drawn, nothing is held afterwards."""
    rng = np.random.default_rng(0)
    module = MultiHeadAttention(12, 3, 0.5, rng=rng)
    x, before = Tensor(draw.normal(2, 40, 12, dtype=np.float32), requires_grad=True), rng.bit_generator.state
    got = module.weights(x)
    assert_dtype(got, np.float32)
    assert_close(got.sum(-1), np.ones((2, 3, 40)))
    assert rng.bit_generator.state == before
    assert module.training
    assert measure_bytes(lambda: module.weights(x))[1] < 10_000
    assert module(x).requires_grad


def test_wrong_input_is_refused():
    """As forward does."""
    module = made()
    with rejects(ValueError, "(5, 12)"):
        module.weights(Tensor(np.zeros((5, 12))))
    with rejects(ValueError, "(2, 4)", "(2, 5, 12)"):
        module.weights(Tensor(np.zeros((2, 5, 12))), np.ones((2, 4), bool))
    with rejects(TypeError, "float64"):
        module.weights(Tensor(np.zeros((2, 5, 12))), np.ones((2, 5)))

    with rejects(ValueError, "()", "(2, 5, 12)"):
        module.weights(Tensor(np.zeros((2, 5, 12))), False)


def test_the_map_is_as_exact_as_the_tokens(draw):
    """Its dtype is that of x, NaN in a token makes its row NaN, no tokens have an empty map, and memory may have any order."""
    module, x = made(), draw.normal(2, 5, 12)
    want = module.weights(Tensor(x))
    for dtype in (np.float32, np.float64):
        assert_dtype(module.weights(Tensor(x.astype(dtype))), dtype)
    for name, values in layouts(x).items():
        assert_close(module.weights(Tensor(values)), want, name=name)
    assert module.weights(Tensor(x[:, :0])).shape == (2, 3, 0, 0)
    for value in (np.nan, np.inf):
        x = x.copy()
        x[0, 3, 2] = value
        got = module.weights(Tensor(x))
        assert np.isnan(got[0, :, 3]).any(-1).all()
        assert_close(got[1], want[1])


@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_the_map_can_be_drawn(suffix, draw, tmp_path):
    """draw_attention(path, weights, tokens), which is given, draws a table for each head, with the names of the tokens."""
    path, weights = tmp_path / f"map{suffix}", made().weights(Tensor(draw.normal(1, 5, 12)))[0]
    draw_attention(str(path), weights, ["the", "cat", "sat", "on", "it"])
    assert path.stat().st_size > 1000
    draw_attention(str(path), weights[0, -2:])
