from functools import partial

import numpy as np
import pytest
from katas.attention import MultiHeadAttention
from katas.embeddings import RotaryPositions
from katas.tensor import Tensor

from specs import oracles
from specs.check import assert_close, assert_dtype, rejects
from specs.oracles.cache import ListCache

OPTIONS = {
    "plain": {},
    "rotary": {"positions": RotaryPositions(32, 4)},
    "window": {"window": 3},
    "rotary and window": {"positions": RotaryPositions(32, 4), "window": 3},
}
options = pytest.mark.parametrize("name", OPTIONS)
SPLITS = {
    "1 + n": [1, 8],
    "n + 1": [8, 1],
    "thirds": [3, 3, 3],
    "one by one": [1] * 9,
    "none, then all": [0, 9],
    "at once": [9],
}


def made(name: str, layer: int = 0) -> MultiHeadAttention:
    module = MultiHeadAttention(12, 3, rng=np.random.default_rng(layer), layer=layer, **OPTIONS[name])
    module.c_attn.weight.data *= 4
    return module


def cache(name: str, batch: int, layers: int = 1) -> ListCache:
    return ListCache(batch, layers, OPTIONS[name].get("window"))


def state(cache: ListCache) -> tuple:
    return cache.lengths.tolist(), [[len(row) for row in rows] for rows in cache.rows]


@options
@pytest.mark.parametrize("split", SPLITS)
def test_the_cache_gives_what_a_pass_without_it_gives(split, name, draw):
    """Tokens that come in parts, however they are split, get the results that they get at once: new ones look at those in the
    cache and, causally, at each other.
    """
    module, x = made(name), draw.normal(2, 9, 12)
    want, held, parts = module(Tensor(x)).data, cache(name, 2), []
    ends = np.cumsum(SPLITS[split])
    for start, end in zip([0, *ends], ends, strict=False):
        parts.append(module(Tensor(x[:, start:end]), cache=held).data)
    ahead = [module(Tensor(x[:, start:end])).data for start, end in zip([0, *ends], ends, strict=False)]
    assert_close(np.concatenate(parts, 1), want, mistakes={"each part sees itself alone": np.concatenate(ahead, 1)})
    assert held.lengths.tolist() == [9, 9]


@options
def test_rows_of_different_lengths(name, draw):
    """Prompts of 5, 2 and 4 tokens, padded behind; then three tokens for each, one by one. Each row gets what it gets alone, so
    its positions go on from its own length.
    """
    module, lengths, held = made(name), [5, 2, 4], cache(name, 3)
    rows = [draw.normal(length + 3, 12) for length in lengths]
    prompt = np.full((3, 5, 12), 9.0)
    for n, length in enumerate(lengths):
        prompt[n, :length] = rows[n][:length]
    real = np.arange(5) < np.array(lengths)[:, None]
    first = module(Tensor(prompt), real, held).data
    assert held.lengths.tolist() == lengths
    tokens = [np.stack([row[length + i] for row, length in zip(rows, lengths, strict=True)]) for i in range(3)]
    later = [module(Tensor(token[:, None]), cache=held) for token in tokens]
    for n, (row, length) in enumerate(zip(rows, lengths, strict=True)):
        got = np.concatenate([first[n, :length], *(y.data[n] for y in later)])
        assert_close(got, module(Tensor(row[None])).data[0], name=f"row {n}")


@options
def test_padding_in_a_later_part(name, draw):
    """Rows that hold three tokens receive four, one and none, padded behind; then one more each."""
    module, held, x = made(name), cache(name, 3), draw.normal(3, 8, 12)
    module(Tensor(x[:, :3]), cache=held)
    counts = np.array([4, 1, 0])
    module(Tensor(x[:, 3:7]), np.arange(4) < counts[:, None], held)
    assert held.lengths.tolist() == [7, 4, 3]
    got = module(Tensor(x[:, 7:]), cache=held).data
    for n, count in enumerate(counts):
        alone = np.concatenate([x[n : n + 1, : 3 + count], x[n : n + 1, 7:]], 1)
        assert_close(got[n], module(Tensor(alone)).data[0, -1:], name=f"row {n}")


@options
def test_two_layers_share_a_cache(name, draw):
    """`layer` says which keys are a module's. `lengths` grow when all layers have their tokens, and are read before."""
    layers, x, held = [made(name, 0), made(name, 1)], draw.normal(2, 6, 12), cache(name, 2, layers=2)

    def through(x: Tensor, held=None) -> np.ndarray:
        return layers[1](layers[0](x, cache=held), cache=held).data

    parts = [through(Tensor(x[:, start:end]), held) for start, end in ((0, 2), (2, 3), (3, 6))]
    assert_close(np.concatenate(parts, 1), through(Tensor(x)))


class Spy(ListCache):
    """Notes how it is called."""

    def extend(self, *args):
        self.args = args
        return super().extend(*args)


def test_how_a_cache_is_called(draw):
    """extend(layer, k, v), with keys that are rotated and values that are not. Only where some of the tokens are padding, real
    (batch, time) is a fourth argument.
    """
    module, spy, x = made("rotary"), Spy(2), draw.normal(2, 3, 12)
    module(Tensor(draw.normal(2, 2, 12)), cache=spy)
    assert len(spy.args) == 3
    _, k, v = oracles.attention.heads(x, module.state_dict(), 3)
    module(Tensor(x), np.ones((2, 3), bool), spy)
    layer, keys, values = spy.args
    assert layer == 0
    turned = partial(oracles.embeddings.placed, oracles.embeddings.rotary("halves"))
    said = {"the keys are not rotated": k, "start is ignored: positions begin at the row's length": turned(k)}
    assert_close(keys, turned(k, 2), mistakes=said, name="keys")
    assert_close(values, v, mistakes={"the values are rotated": turned(v, 2)}, name="values")
    module(Tensor(x), real := np.array([[True, True, True], [True, False, False]]), spy)
    assert_close(spy.args[3], real)


def test_no_loop_over_the_padding_of_a_cache(budget, draw):
    """With a cache the number of Python instructions must not grow with the numbers of rows and tokens, padded or not."""

    class Forgetful:
        """Holds nothing, so it has no loop of its own."""

        def __init__(self, batch: int):
            self.lengths = np.zeros(batch, np.int64)

        def extend(self, layer, k, v, real):
            return k, v, np.asarray(real)[:, None, None] & np.tri(k.shape[-2], dtype=bool)

    def step(batch: int, time: int):
        module, x, real = made("plain"), Tensor(draw.normal(batch, time, 12)), np.ones((batch, time), bool)
        real[1:, -1] = False
        return lambda: module(x, real, Forgetful(batch))

    budget.steps(step(2, 3), step(200, 20), limit=2)


class Shuffled(ListCache):
    """Returns what it holds backwards, as the slots of a ring may be, with a mask that fits, and a slot that holds nothing."""

    def extend(self, *args):
        k, v, seen = super().extend(*args)
        k, v = (Tensor(np.concatenate([np.full_like(a.data[:, :, :1], 5), a.data[:, :, ::-1]], 2)) for a in (k, v))
        return k, v, np.concatenate([np.zeros_like(seen[..., :1]), seen[..., ::-1]], -1)


@options
def test_the_mask_of_the_cache_is_the_whole_mask(name, draw):
    """The cache knows which of its slots a query may look at. Its slots may be in any order: causal and window are not applied
    a second time.
    """
    module, x, held = made(name), draw.normal(2, 7, 12), Shuffled(2, 1, OPTIONS[name].get("window"))
    parts = [module(Tensor(x[:, start:end]), cache=held).data for start, end in ((0, 3), (3, 4), (4, 7))]
    assert_close(np.concatenate(parts, 1), module(Tensor(x)).data)


def test_mask_and_cache_may_be_named(draw):
    """attention(x, cache=…, mask=…) is attention(x, mask, cache)."""
    module, x, mask = made("plain"), Tensor(draw.normal(2, 3, 12)), [[True, True, False], [True] * 3]
    held = cache("plain", 2)
    assert_close(module(x, cache=held, mask=mask), module(x, mask).data)
    assert held.lengths.tolist() == [2, 3]
    assert_close(module(x, mask=mask), module(x, mask).data)


def test_float32_stays(draw):
    """The result has the dtype of x, with a cache too."""
    module, held = made("rotary"), cache("rotary", 2)
    assert_dtype(module(Tensor(draw.normal(2, 3, 12, dtype=np.float32)), cache=held), np.float32)


def test_what_a_cache_can_not_hold_is_refused(draw):
    """With a cache, causal=False or padding before a real token raises a ValueError that contains "causal" or "padding". After
    these and other errors the cache is as before.
    """
    held, x = cache("plain", 2), Tensor(draw.normal(2, 3, 12))
    made("plain")(x, cache=held)
    before = state(held)
    with rejects(ValueError, "causal"):
        MultiHeadAttention(12, 3, causal=False)(x, cache=held)
    with rejects(ValueError, "padding"):
        made("plain")(x, np.array([[True, True, True], [True, False, True]]), held)
    with rejects(ValueError, "padding"):
        made("plain")(x, np.array([[False, True, True], [True, True, True]]), held)
    with rejects(ValueError, "(2, 6)", "(2, 3, 12)"):
        made("plain")(x, np.ones((2, 6), bool), held)
    with rejects(ValueError, "(2, 3, 11)"):
        made("plain")(Tensor(np.zeros((2, 3, 11))), cache=held)
    with rejects(TypeError, "int64"):
        made("plain")(x, np.ones((2, 3), np.int64), held)
    assert state(held) == before
