import numpy as np
import pytest
from katas.tensor import Tensor
from katas.transformers import GPT, GPTConfig

from specs.check import assert_close, rejects
from specs.oracles.cache import ListCache

SIZES = {"vocab_size": 11, "context": 12, "n_layer": 2, "n_head": 2, "d_model": 8}
KINDS = [
    {"positions": "learned"},
    {"positions": "sinusoidal", "norm": "rms"},
    {"positions": "rotary"},
    {"positions": "rotary", "window": 3},
]
each_kind = pytest.mark.parametrize("options", KINDS, ids=lambda options: " ".join(map(str, options.values())))


def made(draw, **options) -> GPT:
    """A small GPT in float64, with random parameters that hide nothing."""
    model = GPT(GPTConfig(**SIZES | options), np.random.default_rng(0))
    for parameter in model.parameters():
        parameter.data = np.array(0.5 * draw.normal(*parameter.shape)) + (parameter.ndim == 1)
    return model


def cache_for(model: GPT, batch: int) -> ListCache:
    return ListCache(batch, model.config.n_layer, model.config.window)


class Watched(ListCache):
    """Counts how many tokens it receives in each call, and whether it is told of padding."""

    def __init__(self, *args):
        super().__init__(*args)
        self.calls = []

    def extend(self, layer, k, v, *real):
        self.calls.append((layer, k.shape[2], len(real)))
        return super().extend(layer, k, v, *real)


@each_kind
@pytest.mark.parametrize("parts", [[1] * 9, [9], [4, 5], [8, 1], [1, 8], [3, 1, 1, 4]], ids=str)
def test_a_text_in_parts_has_the_logits_of_the_whole(draw, options, parts):
    """However it is split, with an empty cache at first: each part's logits are those at its place in the whole text."""
    model, ids = made(draw, **options), draw.integers(11, 2, 9)
    want, cache, start = model(ids).data, cache_for(model, 2), 0
    for part in parts:
        got = model(ids[:, start : start + part], None, cache)
        assert_close(got, want[:, start : start + part], name=f"tokens {start} to {start + part}")
        start += part


@each_kind
def test_rows_may_have_different_lengths(draw, options):
    """Prompts of 2, 5 and 3 tokens, padded on the left, right or in between, then two tokens more for each row: every logit is
    that of the row by itself.
    """
    model, lengths = made(draw, **options), [2, 5, 3]
    rows = [draw.integers(11, length + 2) for length in lengths]
    for where in ("left", "right", "gaps"):
        mask = np.zeros((3, 5), bool)
        for row, length in enumerate(lengths):
            places = {
                "left": range(5 - length, 5),
                "right": range(length),
                "gaps": sorted({0, 4, 2, 1, 3}, key=lambda p: p % 2),
            }
            mask[row, sorted(list(places[where])[:length])] = True
        ids = np.full((3, 5), 7)
        for row, length in enumerate(lengths):
            ids[row, mask[row]] = rows[row][:length]
        cache = cache_for(model, 3)
        got = model(ids, mask, cache).data
        later = np.stack([row[-2:] for row in rows])
        steps = [model(later[:, step : step + 1], None, cache).data for step in range(2)]
        for row, length in enumerate(lengths):
            want = model(rows[row][None]).data[0]
            assert_close(got[row, mask[row]], want[:length], name=f"{where}, row {row}, prompt")
            for step in range(2):
                assert_close(steps[step][row, 0], want[length + step], name=f"{where}, row {row}, step {step}")
        assert cache.lengths.tolist() == [4, 7, 5]


def test_a_row_may_wait_while_others_go_on(draw):
    """A row whose mask is all False in a call adds nothing to the cache, and goes on later where it was."""
    model, ids = made(draw), draw.integers(11, 2, 6)
    cache, want = cache_for(model, 2), model(ids).data
    model(ids[:, :2], None, cache)
    got = model(ids[:, 2:4], np.array([[True, True], [False, False]]), cache)
    assert_close(got.data[0], want[0, 2:4])
    assert cache.lengths.tolist() == [4, 2]
    got = model(np.stack([ids[0, 4:], ids[1, 2:4]]), None, cache)
    assert_close(got.data[0], want[0, 4:])
    assert_close(got.data[1], want[1, 2:4])


def test_each_layer_extends_the_cache_once_with_the_new_tokens_alone(draw):
    """In the order of the layers. The fourth argument comes only where there is padding."""
    model, ids = made(draw), draw.integers(11, 2, 5)
    cache = Watched(2, 2)
    model(ids[:, :4], None, cache)
    model(ids[:, 4:], np.array([[True], [True]]), cache)
    assert cache.calls == [(0, 4, 0), (1, 4, 0), (0, 1, 0), (1, 1, 0)]
    model(ids[:, 4:], np.array([[True], [False]]), cache)
    assert cache.calls[4:] == [(0, 1, 1), (1, 1, 1)]


def test_lengths_that_grow_in_place_are_read_before_the_first_layer(draw):
    """A cache may count in place, and may do so at the first layer or at the last: positions are those before the call."""
    model, ids = made(draw), draw.integers(11, 1, 5)

    class InPlace(ListCache):
        def extend(self, layer, k, v, *real):
            lengths = self.lengths
            result = super().extend(layer, k, v, *real)
            lengths[...] = [len(row) for row in self.rows[-1]]
            self.lengths = lengths
            return result

    cache, want = InPlace(1, 2), model(ids).data
    for time in range(5):
        assert_close(model(ids[:, time : time + 1], None, cache), want[:, time : time + 1])


def test_an_empty_cache_is_a_cache(draw):
    """Even if it is false, as what has a length of 0 is in Python."""
    model, ids = made(draw), draw.integers(11, 2, 5)

    class Sized(ListCache):
        def __len__(self):
            return int(self.lengths.sum())

    cache, want = Sized(2, 2), model(ids).data
    for part in (slice(0, 3), slice(3, 5)):
        real = np.ones(ids[:, part].shape, bool)
        assert_close(model(ids[:, part], real, cache), want[:, part])
    assert cache.lengths.tolist() == [5, 5]
    model(ids[:, :1], np.array([[True], [False]]), cache)
    assert cache.lengths.tolist() == [6, 5]
    cache = Sized(2, 2)
    model(ids[:, :3], np.array([[True, False, False], [True, True, True]]), cache)
    assert cache.lengths.tolist() == [1, 3]


def test_a_cache_may_begin_anywhere(draw):
    """Two caches of one model don't know of each other, and without a cache nothing is remembered."""
    model, ids = made(draw), draw.integers(11, 2, 6)
    first, second = cache_for(model, 1), cache_for(model, 1)
    want = model(ids).data
    for time in range(6):
        assert_close(model(ids[:1, time : time + 1], None, first), want[:1, time : time + 1])
        assert_close(model(ids[1:, time : time + 1], None, second), want[1:, time : time + 1])
    assert_close(model(ids), want)


@pytest.mark.parametrize("positions", ["learned", "sinusoidal", "rotary"])
def test_cached_and_new_tokens_together_must_fit_into_the_context(draw, positions):
    """Else, without a window, a ValueError is raised that contains their number and the context, and the cache is as before."""
    model = made(draw, positions=positions)
    cache = cache_for(model, 2)
    model(draw.integers(11, 2, 10), None, cache)
    with rejects(ValueError, "13", "12"):
        model(draw.integers(11, 2, 3), None, cache)
    assert cache.lengths.tolist() == [10, 10]
    model(draw.integers(11, 2, 2), np.array([[True, True], [False, False]]), cache)
    assert cache.lengths.tolist() == [12, 10]
    with rejects(ValueError, "13", "12"):
        model(draw.integers(11, 2, 1), None, cache)


@pytest.mark.parametrize("longest", [0, 1, 2])
def test_the_longest_row_decides_whether_the_context_is_full(draw, longest):
    """Rows of 2 tokens and one of 10, first, between or last: 3 more are 13, which the ValueError contains."""
    model, cache = made(draw), ListCache(3, 2)
    model(draw.integers(11, 3, 10), np.arange(10) < np.where(np.arange(3) == longest, 10, 2)[:, None], cache)
    with rejects(ValueError, "13", "12"):
        model(draw.integers(11, 3, 3), None, cache)


def test_with_a_window_the_cache_goes_on_behind_the_context(draw):
    """Token by token, a text of three contexts has the logits of the whole."""
    model, ids = made(draw, positions="rotary", window=3), draw.integers(11, 1, 36)
    cache, want = cache_for(model, 1), model(ids).data
    for time in range(36):
        assert_close(model(ids[:, time : time + 1], None, cache), want[:, time : time + 1], name=f"token {time}")


def test_in_float32_they_agree_to_its_digits(draw):
    """In float32 the parts' logits are those of the whole within 2e-5 of the largest."""
    model, ids = GPT(GPTConfig(**SIZES), np.random.default_rng(0)), draw.integers(11, 2, 9)
    cache, want = cache_for(model, 2), model(ids).data
    for time in range(9):
        assert_close(model(Tensor(ids[:, time : time + 1]), None, cache), want[:, time : time + 1])
