import numpy as np
import pytest
from katas.caching import KVCache
from katas.tensor import Tensor
from katas.transformers import GPT, GPTConfig

from specs.check import assert_close, measure_bytes, rejects

KINDS = {"learned": {}, "rotary": {"positions": "rotary"}, "window": {"positions": "rotary", "window": 4}}
kinds = pytest.mark.parametrize("kind", KINDS)


def gpt(draw, kind: str) -> GPT:
    """A small GPT in float64, with random parameters that hide nothing."""
    model = GPT(GPTConfig(vocab_size=11, context=24, n_layer=2, n_head=2, d_model=8, **KINDS[kind]), np.random.default_rng(0))
    for parameter in model.parameters():
        parameter.data = np.array(0.5 * draw.normal(*parameter.shape) + (parameter.ndim == 1))
    return model


def filled(model: GPT, rows: list[np.ndarray], batch: int | None = None) -> KVCache:
    """A cache that holds these rows of ids, of any lengths, token by token."""
    cache = KVCache.of(model, batch or len(rows))
    for place in range(max(map(len, rows))):
        here = [row[min(place, len(row) - 1)] for row in rows]
        model(np.array(here)[:, None], np.array([[place < len(row)] for row in rows]), cache)
    return cache


def assert_goes_on(model: GPT, cache: KVCache, rows: list[np.ndarray], draw, steps: int = 3, name: str = "") -> None:
    """The next tokens get the logits that they get behind these rows of ids, and the lengths are theirs."""
    assert cache.lengths.tolist() == [len(row) for row in rows]
    new = draw.integers(11, len(rows), steps)
    for step in range(steps):
        got = model(new[:, step : step + 1], None, cache).data
        for number, row in enumerate(rows):
            text = np.concatenate([row, new[number, : step + 1]])
            want = model(text[None]).data[0, -1]
            assert_close(got[number, 0], want, name=f"{name} row {number}, step {step}")


def kept(cache: KVCache, layer: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """All keys and values of a layer, as a call with no tokens shows them."""
    none = Tensor(np.zeros((cache.batch, cache.n_head, 0, cache.head_dim), cache.dtype))
    keys, values, _ = cache.extend(layer, none, none)
    return keys.data.copy(), values.data.copy()


# truncate


@kinds
def test_truncate_forgets_the_last_tokens(draw, kind):
    """What follows is as if they had never come: one length for all rows, or one for each."""
    model, rows = gpt(draw, kind), [draw.integers(11, 4), draw.integers(11, 3)]
    for lengths in (2, 3, [4, 1], np.array([0, 3]), 0, np.uint8(1)):
        cache = filled(model, rows)
        cache.truncate(lengths)
        wanted = np.broadcast_to(lengths, 2)
        assert_goes_on(model, cache, [row[:length] for row, length in zip(rows, wanted, strict=True)], draw, name=str(lengths))


@kinds
def test_truncate_to_the_present_lengths_changes_nothing(draw, kind):
    """Even if a window has rolled."""
    model, rows = gpt(draw, kind), [draw.integers(11, 9), draw.integers(11, 2)]
    cache = filled(model, rows)
    cache.truncate(cache.lengths)
    cache.truncate([9, 2])
    assert_goes_on(model, cache, rows, draw)


def test_a_rolled_row_can_be_cut_by_one_token_or_emptied(draw):
    """A window of 4 holds tokens 6 to 9 of ten. The one that follows 9 tokens sees 6, 7 and 8; the one that follows 8 would
    see 5, which is gone: a ValueError is raised that contains the window, also after a cut by one, and for all rows nothing
    changes.
    """
    model, rows = gpt(draw, "window"), [draw.integers(11, 10), draw.integers(11, 4)]
    cache = filled(model, rows)
    for lengths in ([8, 4], [1, 4], [7, 2]):
        with rejects(ValueError, "4"):
            cache.truncate(lengths)
        assert cache.lengths.tolist() == [10, 4]
    cache.truncate([9, 3])
    with rejects(ValueError, "4"):
        cache.truncate([8, 3])
    cache.truncate([9, 1])
    assert_goes_on(model, cache, [rows[0][:9], rows[1][:1]], draw, 6)
    cache.truncate([0, 7])
    texts = [draw.integers(11, 6), None]
    for token in texts[0]:
        model(np.array([[token], [0]]), np.array([[True], [False]]), cache)
    cache.truncate([5, 7])
    cache.release(1)
    assert_goes_on(model, cache, [texts[0][:5], texts[0][:0]], draw, 6)


@kinds
def test_lengths_that_can_not_be_are_refused(draw, kind):
    """A negative length, or one larger than the row's, raises a ValueError that contains it; another shape one that contains
    the shape; floats raise a TypeError that contains the dtype. The cache is as before.
    """
    model, rows = gpt(draw, kind), [draw.integers(11, 4), draw.integers(11, 3)]
    cache = filled(model, rows)
    for lengths, named in ((-1, "-1"), (4, "4"), ([5, 0], "5"), ([2, -3], "-3"), ([2, 4], "4")):
        with rejects(ValueError, named):
            cache.truncate(lengths)
    for lengths in ([1, 2, 3], [[1, 2]], [1]):
        with rejects(ValueError, str(np.shape(lengths))):
            cache.truncate(lengths)
    for lengths in (2.0, [1.0, 2.0]):
        with rejects(TypeError, "float64"):
            cache.truncate(lengths)
    with rejects(TypeError, "bool"):
        cache.truncate([True, False])
    assert_goes_on(model, cache, rows, draw)


# release


@kinds
def test_a_released_row_takes_another_text(draw, kind):
    """The others go on; the new text begins at position 0."""
    model, rows = gpt(draw, kind), [draw.integers(11, 6), draw.integers(11, 9), draw.integers(11, 3)]
    cache = filled(model, rows)
    for row in (1, 2, 1):
        cache.release(row)
        assert cache.lengths[row] == 0
        rows[row] = draw.integers(11, 2 + row)
        for token in rows[row]:
            model(np.full((3, 1), token), np.arange(3)[:, None] == row, cache)
    assert_goes_on(model, cache, rows, draw)


def test_releasing_twice_is_releasing_once(draw):
    """A row that is empty stays so. NumPy's integers are numbers of rows, too."""
    model, rows = gpt(draw, "rotary"), [draw.integers(11, 6), draw.integers(11, 5)]
    cache = filled(model, rows)
    for _ in range(2):
        cache.release(np.int64(0))
    assert_goes_on(model, cache, [rows[0][:0], rows[1]], draw)


@kinds
def test_nothing_of_a_former_text_shows(draw, kind):
    """Its keys and values are zeros afterwards, even if they were NaN, and whether the row was released or cut."""
    model = gpt(draw, kind)
    for forget in (
        lambda cache: cache.release(0),
        lambda cache: cache.truncate([0, 4]),
        lambda cache: cache.row(0).truncate(0),
    ):
        for times in ((3, 1), (4,), (1,) * 9):
            cache = KVCache.of(model, 2)
            for time in times:
                poison = Tensor(np.full((2, 2, time, 4), np.nan))
                real = np.stack([np.ones(time, bool), np.zeros(time, bool)])
                for layer in range(2):
                    cache.extend(layer, poison, poison, real)
            good = draw.normal(2, 2, 4, 4)
            for layer in range(2):
                cache.extend(layer, Tensor(good), Tensor(good), np.stack([np.zeros(4, bool), np.ones(4, bool)]))
            forget(cache)
            assert cache.lengths.tolist() == [0, 4]
            for layer in range(2):
                for found in kept(cache, layer):
                    assert np.isfinite(found).all(), "a NaN of the former text is still there"
                    assert not found[0].any(), "the former text is still there"
                    assert_close(found[1], good[1])


def test_what_is_cut_off_is_zero(draw):
    """truncate leaves the tokens before, and zeros behind them."""
    cache = KVCache(1, 2, 2, 4, 10)
    k = Tensor(draw.normal(2, 2, 6, 4, dtype=np.float32))
    cache.extend(0, k, k)
    cache.truncate([4, 6])
    for found in kept(cache):
        assert_close(found[0, :, :4], k.data[0, :, :4])
        assert not found[0, :, 4:].any()
        assert_close(found[1], k.data[1])


# reorder


@kinds
@pytest.mark.parametrize("rows", [[2, 0, 1], [1, 1, 1], [0, 1, 2], [2, 2, 0]], ids=str)
def test_reorder_gives_row_i_what_row_rows_i_had(draw, kind, rows):
    """Lengths too. Rows that are copies go on independently."""
    model, texts = gpt(draw, kind), [draw.integers(11, 6), draw.integers(11, 2), draw.integers(11, 9)]
    cache = filled(model, texts)
    assert cache.reorder(rows) is None
    assert_goes_on(model, cache, [texts[row] for row in rows], draw)
    cache.truncate(np.maximum(cache.lengths - 1, 0))
    cache.reorder(np.array([2, 1, 0], np.uint8))
    cache.release(0)
    assert cache.lengths[0] == 0


@kinds
def test_reorder_leaves_nothing_of_the_rows_that_are_gone(draw, kind):
    """Where a long text was, the slots behind a shorter one are zeros, though NaN stood there. A longer row beside it shows
    them.
    """
    cache = KVCache.of(gpt(draw, kind), 2)
    good, poison = (Tensor(array) for array in (draw.normal(2, 2, 1, 4), np.full((2, 2, 6, 4), np.nan)))
    for keys, real in ((poison, [[True] * 6, [False] * 6]), (good, [[False], [True]])):
        for layer in range(2):
            cache.extend(layer, keys, keys, np.array(real))
    cache.reorder([1, 1])
    for _ in range(5):
        for layer in range(2):
            cache.extend(layer, good, good, np.array([[False], [True]]))
    assert cache.lengths.tolist() == [1, 6]
    for layer in range(2):
        for found in kept(cache, layer):
            assert_close(found[0, :, :1], good.data[1])
            assert not found[0, :, 1:].any(), "what was in the row is still there"


def test_rows_that_can_not_be_taken_are_refused(draw):
    """Another number of rows raises a ValueError that contains the shape, a row that doesn't exist an IndexError that contains
    it, floats a TypeError that contains the dtype. The cache is as before.
    """
    model, texts = gpt(draw, "rotary"), [draw.integers(11, 6), draw.integers(11, 2)]
    cache = filled(model, texts)
    for rows in ([0], [0, 1, 1], [[1, 0]]):
        with rejects(ValueError, str(np.shape(rows))):
            cache.reorder(rows)
    for rows in ([0, 2], [-1, 0]):
        with rejects(IndexError, str(rows[rows[0] == 0])):
            cache.reorder(rows)
    with rejects(TypeError, "float64"):
        cache.reorder([1.0, 0.0])
    with rejects(TypeError, "bool"):
        cache.reorder([True, False])
    assert_goes_on(model, cache, texts, draw)


def test_reorder_needs_less_memory_than_a_second_cache():
    """It goes layer by layer: with four layers, at most half of nbytes beside."""
    cache = KVCache(4, 4, 2, 16, 500)
    peak, _ = measure_bytes(lambda: cache.reorder([3, 2, 1, 0]))
    assert peak < cache.nbytes / 2, f"{peak:,} bytes beside {cache.nbytes:,}"


# row


@kinds
def test_a_row_is_a_cache_in_the_same_memory(draw, kind):
    """A text that is read into row(1) is in row 1, while the others wait; what comes to the whole cache is seen in the row."""
    model, texts = gpt(draw, kind), [draw.integers(11, 6), draw.integers(11, 9), draw.integers(11, 3)]
    cache = filled(model, texts)
    one = cache.row(1)
    assert (one.batch, one.n_layer, one.max_length, one.window) == (1, 2, cache.max_length, cache.window)
    cache.release(1)
    assert one.lengths.tolist() == [0]
    texts[1] = draw.integers(11, 7)
    for part in (texts[1][:5], texts[1][5:]):
        want = model(np.concatenate([texts[1][: one.lengths[0]], part])[None]).data[0, -len(part) :]
        assert_close(model(part[None], None, one).data[0], want)
    assert_goes_on(model, cache, texts, draw, 2)
    assert one.lengths.tolist() == [9]
    one.truncate(8) if kind == "window" else one.truncate(5)
    assert cache.lengths.tolist() == [8, 8 if kind == "window" else 5, 5]
    one.release(0)
    assert cache.lengths.tolist() == [8, 0, 5]


@kinds
@pytest.mark.parametrize("failed", ["the row", "the whole"])
def test_a_pass_that_fails_leaves_nothing_in_a_row(draw, kind, failed):
    """If a pass in row(1) ends after the first layer, its NaN is gone from the whole cache, as if it had never come; and the
    other way round.
    """
    model, texts = gpt(draw, kind), [draw.integers(11, 3), draw.integers(11, 1)]
    for after in ("a pass", "truncate", "release", "reorder"):
        cache = filled(model, texts)
        one = cache.row(1)
        first, other = (one, cache) if failed == "the row" else (cache, one)
        poison = Tensor(np.full((first.batch, 2, 2, 4), np.nan))
        first.extend(0, poison, poison)
        rows = texts if other is cache else texts[1:]
        if after == "truncate":
            other.truncate(0)
            rows = [row[:0] for row in rows]
        elif after == "release":
            other.release(other.batch - 1)
            rows = [*rows[:-1], rows[-1][:0]]
        elif after == "reorder":
            other.reorder(range(other.batch)[::-1])
            rows = rows[::-1]
        assert_goes_on(model, other, rows, draw, name=f"{after}, ")


def test_a_row_copies_nothing():
    """nbytes of the row is its part, and it is made without a copy."""
    cache = KVCache(2, 4, 2, 16, 500)
    peak, _ = measure_bytes(lambda: cache.row(2))
    assert peak < 5000
    assert cache.nbytes / 5 < cache.row(2).nbytes < cache.nbytes / 3


@kinds
def test_several_rows_are_a_cache_in_the_same_memory(draw, kind):
    """row(1, 2) is rows 1 and 2: they go on together while rows 0 and 3 wait."""
    model, texts = gpt(draw, kind), [draw.integers(11, length) for length in (6, 5, 3, 4)]
    cache = filled(model, texts)
    two, before = cache.row(1, 2), cache.nbytes
    assert (two.batch, two.lengths.tolist()) == (2, [5, 3])
    assert before / 3 < two.nbytes < 2 * before / 3
    for _ in range(4):
        ids = draw.integers(11, 2)
        texts[1:3] = [np.append(text, new) for text, new in zip(texts[1:3], ids, strict=True)]
        assert_close(model(ids[:, None], None, two).data[:, 0], [model(text[None]).data[0, -1] for text in texts[1:3]])
    assert cache.lengths.tolist() == [6, 9, 7, 4]
    assert_goes_on(model, cache, texts, draw, 2)


@pytest.mark.parametrize(("row", "count", "told"), [(0, 3, "2"), (1, 2, "2"), (-1, 2, "-1"), (2, 1, "2")])
def test_several_rows_that_do_not_exist(row, count, told):
    """Any of them that doesn't exist raises an IndexError that contains it."""
    with rejects(IndexError, told):
        KVCache(1, 2, 1, 2, 3).row(row, count)


@pytest.mark.parametrize("count", [0, -1])
def test_no_rows_at_all(count):
    """A count below 1 raises a ValueError that contains it."""
    with rejects(ValueError, str(count)):
        KVCache(1, 3, 1, 2, 3).row(1, count)


@pytest.mark.parametrize("row", [-1, 2])
def test_rows_that_do_not_exist(draw, row):
    """They raise an IndexError that contains the number. A negative one doesn't count from the end."""
    model, texts = gpt(draw, "rotary"), [draw.integers(11, 6), draw.integers(11, 2)]
    cache = filled(model, texts)
    with rejects(IndexError, str(row)):
        cache.release(row)
    with rejects(IndexError, str(row)):
        cache.row(row)
    assert_goes_on(model, cache, texts, draw)
