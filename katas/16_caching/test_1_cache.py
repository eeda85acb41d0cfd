import numpy as np
import pytest
from katas.attention import MultiHeadAttention
from katas.autograd import no_grad
from katas.caching import KVCache
from katas.embeddings import RotaryPositions
from katas.tensor import Tensor
from katas.transformers import GPT, GPTConfig

from specs.check import assert_close, assert_dtype, count_steps, measure_bytes, rejects
from specs.oracles.activations import softmax
from specs.oracles.cache import ListCache

LAYERS, BATCH, HEADS, SIZE = 2, 3, 2, 4
windows = pytest.mark.parametrize("window", [None, 1, 3, 5, 100], ids=lambda window: f"window {window}")


def made(window: int | None = None, max_length: int | None = 40, batch: int = BATCH, dtype=np.float64) -> KVCache:
    return KVCache(LAYERS, batch, HEADS, SIZE, max_length, window, dtype)


def drawn(draw, time: int, batch: int = BATCH) -> tuple[Tensor, Tensor]:
    return Tensor(draw.normal(batch, HEADS, time, SIZE)), Tensor(draw.normal(batch, HEADS, time, SIZE))


def attended(draw, k, v, seen) -> np.ndarray:
    """What random queries find: it doesn't depend on the order of the keys."""
    k, v = np.asarray(k.data), np.asarray(v.data)
    q = np.random.default_rng(7).standard_normal((*k.shape[:2], seen.shape[2], SIZE))
    result = np.zeros(q.shape)
    for row, head, query in np.ndindex(q.shape[:3]):
        sees = np.flatnonzero(seen[row, 0, query])
        if len(sees):
            result[row, head, query] = softmax(k[row, head, sees] @ q[row, head, query]) @ v[row, head, sees]
    return result


def step(draw, caches, time: int, real=None) -> list[np.ndarray]:
    """The same new tokens for all layers of several caches: what queries find in each layer, cache after cache."""
    found = [[] for _ in caches]
    for layer in range(LAYERS):
        k, v = drawn(draw, time, len(caches[0].lengths))
        for cache, results in zip(caches, found, strict=True):
            results.append(attended(draw, *cache.extend(layer, k, v, *([] if real is None else [real]))))
    return found


def compared(draw, cache: KVCache, plain: ListCache, time: int, real=None, name: str = "") -> None:
    got, want = step(draw, [cache, plain], time, real)
    for layer in range(LAYERS):
        a, b = got[layer], want[layer]
        if real is not None:
            a, b = (np.where(real[:, None, :, None], array, 0) for array in (a, b))
        assert_close(a, b, name=f"{name} layer {layer}")
    assert cache.lengths.tolist() == plain.lengths.tolist()


@windows
@pytest.mark.parametrize("parts", [[1] * 9, [9], [4, 5], [8, 1], [1, 8], [3, 3, 3], [0, 9], [2, 0, 7], [7, 1, 1]], ids=str)
def test_however_a_text_is_split_each_token_finds_what_it_finds_in_the_whole(draw, window, parts):
    """The mask is causal, aligned to the last key, and as narrow as the window. Keys and values are those that were given."""
    cache, plain = made(window), ListCache(BATCH, LAYERS, window)
    for part in parts:
        compared(draw, cache, plain, part, name=f"part of {part}")
    assert cache.lengths.tolist() == [9] * BATCH


@windows
def test_a_long_text_token_by_token(draw, window):
    """Thirty tokens, many times around a short window."""
    cache, plain = made(window), ListCache(BATCH, LAYERS, window)
    for time in range(30):
        compared(draw, cache, plain, 1, name=f"token {time}")


@windows
def test_rows_of_different_lengths(draw, window):
    """Parts in which rows have 0 to 4 real tokens, then tokens for all rows, then for some: each row goes on from its own
    length.
    """
    cache, plain = made(window), ListCache(BATCH, LAYERS, window)
    for counts in ([4, 1, 2], [0, 3, 4], [1, 1, 1], None, [1, 0, 1], None, [4, 4, 0], [0, 0, 0], None, [0, 0, 1], [2, 4, 3]):
        real = None if counts is None else np.arange(max(*counts, 1)) < np.array(counts)[:, None]
        compared(draw, cache, plain, 1 if real is None else real.shape[1], real, name=f"counts {counts}")


@windows
def test_padding_may_be_anywhere(draw, window):
    """In front of tokens and between them, too: it takes no slot and no position."""
    cache, plain, rng = made(window), ListCache(BATCH, LAYERS, window), np.random.default_rng(0)
    for number in range(8):
        compared(draw, cache, plain, 5, rng.random((BATCH, 5)) < 0.5, name=f"part {number}")


def test_padding_that_is_nan_shows_nowhere(draw):
    """Padding is not kept, so whatever its keys and values are, the memory stays finite."""
    cache = made()
    k, v = drawn(draw, 3)
    k, v = (Tensor(np.where([[[[True]] * 2 + [[False]]]], a.data, np.nan)) for a in (k, v))
    real = np.array([[True, True, False]] * BATCH)
    for layer in range(LAYERS):
        cache.extend(layer, k, v, real)
    for layer in range(LAYERS):
        keys, values, _ = cache.extend(layer, *drawn(draw, 1))
        assert np.isfinite(keys.data).all()
        assert np.isfinite(values.data).all()


def test_lengths_grow_when_the_last_layer_has_been_extended(draw):
    """Before, all layers of a pass see the same lengths. They grow in place: whoever holds the array sees it."""
    cache = made()
    lengths = cache.lengths
    assert lengths.shape == (BATCH,)
    assert lengths.dtype.kind == "i"
    for end in (3, 4):
        cache.extend(0, *drawn(draw, 3 if end == 3 else 1))
        assert lengths.tolist() == [0 if end == 3 else 3] * BATCH
        cache.extend(1, *drawn(draw, 3 if end == 3 else 1))
        assert lengths.tolist() == [end] * BATCH
    assert cache.lengths is lengths


@windows
@pytest.mark.parametrize("failed", [1, 4])
def test_a_pass_that_fails_between_two_layers_leaves_nothing(draw, window, failed):
    """The next one, of another number of tokens, begins where the failed one did: with a window nothing was pushed out."""
    cache, plain = made(window), ListCache(BATCH, LAYERS, window)
    for _ in range(7):
        compared(draw, cache, plain, 1)
    cache.extend(0, *drawn(draw, failed))
    assert cache.lengths.tolist() == [7] * BATCH
    for part in (2, 1, 6):
        compared(draw, cache, plain, part, name=f"then {part}")


@windows
@pytest.mark.parametrize("failed", [1, 6])
def test_numbers_of_a_pass_that_failed_show_nowhere(draw, window, failed):
    """NaN that it left behind a short row must not meet a weight of 0 when a longer row is beside it."""
    cache, plain = made(window), ListCache(BATCH, LAYERS, window)
    compared(draw, cache, plain, 4, np.arange(4) < np.array([[4], [1], [2]]))
    bad = Tensor(np.full((BATCH, HEADS, failed, SIZE), np.nan))
    cache.extend(0, bad, bad)
    for time in (2, 1, 1):
        for layer in range(LAYERS):
            k, v = drawn(draw, time)
            keys, values, seen = cache.extend(layer, k, v)
            assert np.isfinite(keys.data).all()
            assert np.isfinite(values.data).all()
            assert_close(attended(draw, keys, values, seen), attended(draw, *plain.extend(layer, k, v)))


def test_padding_of_the_caller_may_change_between_layers(draw):
    """As keys may: what is kept is that of the call."""
    cache, plain = made(3), ListCache(BATCH, LAYERS, 3)
    for layer in range(LAYERS):
        k, v = drawn(draw, 5)
        real = np.arange(5) < np.array([[5], [2], [4]])
        plain.extend(layer, k, v, real.copy())
        cache.extend(layer, k, v, real)
        real[...] = False
    compared(draw, cache, plain, 1)


def test_keys_of_the_caller_may_change_between_layers(draw):
    """Even where they wait for the last layer, since they reach beyond a window."""
    cache, plain = made(3), ListCache(BATCH, LAYERS, 3)
    for layer in range(LAYERS):
        k, v = (Tensor(array.data.copy()) for array in drawn(draw, 5))
        plain.extend(layer, Tensor(k.data.copy()), Tensor(v.data.copy()))
        cache.extend(layer, k, v)
        k.data[...] = v.data[...] = 99
    compared(draw, cache, plain, 1)


def test_every_layer_has_its_own_keys_and_values(draw):
    """What layer 0 is given does not show in layer 1, and keys are not values."""
    cache = made()
    (k, v), (k_1, v_1) = drawn(draw, 3), drawn(draw, 3)
    first, second = cache.extend(0, k, v), cache.extend(1, k_1, v_1)
    for got, want in zip([*first[:2], *second[:2]], [k, v, k_1, v_1], strict=True):
        assert_close(got, want, mistakes={"keys and values are exchanged": v if want is k else k})


def test_what_is_kept_is_a_copy(draw):
    """Arrays that are changed after the call change neither the cache nor what was returned. A layer may be NumPy's number."""
    cache = made()
    k, v = (Tensor(np.array(a.data)) for a in drawn(draw, 2))
    want = k.data.copy()
    for layer in np.arange(LAYERS):
        keys, _, _ = cache.extend(layer, k, v)
    k.data[...] = 9
    assert_close(keys, want)
    keys, _, _ = cache.extend(0, *drawn(draw, 1))
    assert_close(keys.data[:, :, :2], want)


def test_the_result_is_tensors_and_booleans(draw):
    """Keys and values are Tensors (batch, n_head, keys, head_dim), of the cache's dtype, the mask an array (batch, 1, time,
    keys).
    """
    for dtype in (np.float32, np.float64):
        cache = made(dtype=dtype)
        for time, end in ((3, 3), (1, 4)):
            k, v = (Tensor(a.data.astype(dtype)) for a in drawn(draw, time))
            for layer in range(LAYERS):
                keys, values, seen = cache.extend(layer, k, v)
                for array in (keys, values):
                    assert isinstance(array, Tensor)
                    assert array.shape == (BATCH, HEADS, end, SIZE)
                    assert_dtype(array, dtype)
                assert isinstance(seen, np.ndarray)
                assert seen.shape == (BATCH, 1, time, end)
                assert_dtype(seen, np.bool_)


def test_the_arguments_are_attributes():
    """Each of them, max_length and window even if they are None, and dtype as NumPy's."""
    cache = KVCache(2, 3, 4, 5, 6, 7, np.float64)
    found = cache.n_layer, cache.batch, cache.n_head, cache.head_dim, cache.max_length, cache.window
    assert found == (2, 3, 4, 5, 6, 7)
    assert cache.dtype == np.float64
    cache = KVCache(n_layer=1, batch=2, n_head=3, head_dim=4, max_length=5)
    assert cache.window is None
    assert cache.dtype == np.float32
    assert KVCache(1, 2, 3, 4, None, 5).max_length is None


@windows
def test_a_full_cache_names_its_limit_before_anything_is_changed(draw, window):
    """Exactly max_length tokens fit, one by one or at once. One more in one of the rows raises a ValueError that contains
    max_length, from the first layer on, and the cache goes on as if nothing had been tried.
    """
    cache, plain = made(window, 9), ListCache(BATCH, LAYERS, window)
    compared(draw, cache, plain, 6)
    for layer in range(LAYERS):
        with rejects(ValueError, "9"):
            cache.extend(layer, *drawn(draw, 4))
    compared(draw, cache, plain, 3, np.array([[True] * 3, [True, False, False], [False] * 3]))
    with rejects(ValueError, "9"):
        cache.extend(0, *drawn(draw, 1))
    compared(draw, cache, plain, 3, np.array([[False] * 3, [True, True, False], [True] * 3]))
    assert cache.lengths.tolist() == [9] * BATCH
    with rejects(ValueError, "9"):
        cache.extend(0, *drawn(draw, 1))
    compared(draw, cache, plain, 2, np.zeros((BATCH, 2), bool))


def test_with_a_window_and_no_limit_it_is_never_full(draw):
    """A text is as long as it likes: nbytes does not change, and is that of the window, not of the text."""
    cache = made(4, None)
    size = cache.nbytes
    for _ in range(50):
        step(draw, [cache], 3)
    assert cache.lengths.tolist() == [150] * BATCH
    assert cache.nbytes == size
    assert size < 8 * 2 * LAYERS * BATCH * HEADS * SIZE * 4 * 2, f"{size} bytes for 4 tokens"


@pytest.mark.parametrize(("window", "max_length"), [(None, 1000), (250, None), (250, 1000), (1000, 250)])
def test_memory_is_what_nbytes_says(window, max_length):
    """From the start: about 4 bytes for each of n_layer · 2 · batch · n_head · head_dim · tokens, where tokens are the smaller
    limit.
    """
    least = 4 * 3 * 2 * 4 * 2 * 16 * min(limit for limit in (window, max_length) if limit)
    peak, _ = measure_bytes(lambda: KVCache(3, 4, 2, 16, max_length, window))
    cache = KVCache(3, 4, 2, 16, max_length, window)
    assert least <= cache.nbytes <= 1.1 * least, f"nbytes {cache.nbytes:,}, keys and values {least:,}"
    assert 0.98 * cache.nbytes - 5000 <= peak <= 1.1 * cache.nbytes + 5000, f"nbytes {cache.nbytes:,}, allocated {peak:,}"


@pytest.mark.parametrize("window", [None, 3000])
def test_a_new_token_copies_no_old_ones(budget, window):
    """One more token behind 3,500, of four rows with 2 heads of 16 channels, takes less than 100 kB: keys and values are
    views. A copy of the keys would take 1.8 MB.
    """
    cache = KVCache(1, 4, 2, 16, 4000, window)
    cache.extend(0, *(Tensor(np.ones((4, 2, 3500, 16), np.float32)) for _ in "kv"))
    k = Tensor(np.ones((4, 2, 1, 16), np.float32))
    budget.bytes(lambda: cache.extend(0, k, k), peak=100_000)


def test_nothing_is_left_behind_by_a_token():
    """A cache that rolls retains less than 5 kB of a call with 46 kB of new keys and values."""
    cache = KVCache(1, 2, 2, 16, None, 64)

    def call():
        k = Tensor(np.ones((2, 2, 90, 16), np.float32))
        cache.extend(0, k, k)

    _, retained = measure_bytes(call)
    assert retained < 5000, f"{retained} bytes are kept after the call"


def test_no_loop_over_rows(budget):
    """The number of Python instructions for 100 rows, of different lengths, is at most 3 times that for one row."""

    def steps(batch: int):
        cache = KVCache(1, batch, 2, 4, 4000)
        real = np.arange(6) < 1 + (np.arange(batch) % 6)[:, None]
        k = Tensor(np.ones((batch, 2, 6, 4), np.float32))
        return lambda: cache.extend(0, k, k, real)

    budget.steps(steps(1), steps(100), limit=3)


def test_no_loop_over_tokens():
    """The number of Python instructions for 100 new tokens is at most 3 times that for two."""

    def steps(time: int, window: int | None = None):
        cache, k = KVCache(1, 2, 2, 4, 4000, window), Tensor(np.ones((2, 2, time, 4), np.float32))
        return lambda: cache.extend(0, k, k)

    for window in (None, 50):
        few, many = count_steps(steps(2, window), steps(100, window))
        assert many <= 3 * few, f"window {window}: {few} instructions for 2 tokens, {many} for 100"


OPTIONS = {
    "learned": {},
    "sinusoidal": {"positions": "sinusoidal"},
    "rotary": {"positions": "rotary"},
    "window": {"positions": "rotary", "window": 4},
    "long window": {"positions": "rotary", "window": 12, "norm": "rms", "bias": False},
}
options = pytest.mark.parametrize("name", OPTIONS)


def gpt(draw, name: str, dtype=np.float64) -> GPT:
    """A small GPT with random parameters that hide nothing."""
    model = GPT(GPTConfig(vocab_size=11, context=16, n_layer=2, n_head=2, d_model=8, **OPTIONS[name]), np.random.default_rng(0))
    for parameter in model.parameters():
        parameter.data = np.array(0.5 * draw.normal(*parameter.shape) + (parameter.ndim == 1), dtype)
    return model


@options
@pytest.mark.parametrize("parts", [[1] * 12, [12], [1, 11], [11, 1], [4, 4, 4]], ids=str)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_gpts_logits_are_those_of_the_whole_text(draw, name, parts, dtype):
    """At every position and for any split, from an empty cache on: to 1e-4 in float32, in float64 to 1e-10."""
    model, ids, start = gpt(draw, name, dtype), draw.integers(11, 3, 12), 0
    cache, want = KVCache.of(model, 3), model(ids).data
    for part in parts:
        got = model(ids[:, start : start + part], None, cache)
        assert_dtype(got, dtype)
        assert_close(got, want[:, start : start + part], name=f"tokens from {start}")
        start += part


@options
def test_prompts_of_different_lengths_in_one_batch(draw, name):
    """Prompts of 2, 7 and 4 tokens, padded left, then six tokens for each, one by one: all logits are those of a row by
    itself.
    """
    model, lengths = gpt(draw, name), [2, 7, 4]
    rows = [draw.integers(11, length + 6) for length in lengths]
    mask, ids = np.arange(7) >= 7 - np.array(lengths)[:, None], np.full((3, 7), 3)
    for row, length in enumerate(lengths):
        ids[row, mask[row]] = rows[row][:length]
    cache = KVCache.of(model, 3)
    got = [model(ids, mask, cache).data]
    for step in range(6):
        new = [row[length + step] for row, length in zip(rows, lengths, strict=True)]
        got.append(model(np.array(new)[:, None], None, cache).data)
    for row in range(3):
        want = model(rows[row][None]).data[0]
        found = np.concatenate([got[0][row, mask[row]], *(step[row] for step in got[1:])])
        assert_close(found, want, name=f"row {row}")


def test_attention_by_itself_takes_it(draw):
    """A MultiHeadAttention of kata 13, with a layer's number and rotary positions."""
    module = MultiHeadAttention(8, 2, positions=RotaryPositions(20, 4), window=3, rng=np.random.default_rng(0))
    x, cache = draw.normal(2, 9, 8, dtype=np.float32), KVCache(1, 2, 2, 4, 20, 3)
    want = module(Tensor(x)).data
    with no_grad():
        parts = [module(Tensor(x[:, start:end]), cache=cache).data for start, end in ((0, 4), (4, 5), (5, 9))]
    assert_close(np.concatenate(parts, 1), want)


def test_of_takes_sizes_window_and_dtype_from_the_model(draw):
    """max_length is the context unless it is given; with a window it is None."""
    cache = KVCache.of(gpt(draw, "rotary", np.float32), 5)
    found = cache.n_layer, cache.batch, cache.n_head, cache.head_dim, cache.max_length, cache.window, cache.dtype
    assert found == (2, 5, 2, 4, 16, None, np.float32)
    model = gpt(draw, "window", np.float64)
    cache = KVCache.of(model, 1)
    assert (cache.max_length, cache.window, cache.dtype) == (None, 4, np.float64)
    assert KVCache.of(model, 1, 100).max_length == 100
    assert KVCache.of(gpt(draw, "learned"), batch=2, max_length=16).max_length == 16
    assert KVCache.of(gpt(draw, "learned"), batch=2, max_length=5).max_length == 5
    with rejects(ValueError, "17", "16"):
        KVCache.of(gpt(draw, "learned"), 1, 17)
    with rejects(ValueError, "0"):
        KVCache.of(gpt(draw, "learned"), 1, 0)


def test_sizes_that_make_no_sense_are_named():
    """A ValueError contains the name and the value. One without any limit is raised too."""
    right = {"n_layer": 1, "batch": 2, "n_head": 3, "head_dim": 4, "max_length": 5, "window": 6}
    for name in right:
        for value in (0, -1, 2.5, True):
            with rejects(ValueError, name, str(value)):
                KVCache(**right | {name: value})
    with rejects(ValueError, "max_length", "window"):
        KVCache(1, 2, 3, 4, None)
    assert KVCache(**{name: np.uint8(value) for name, value in right.items()}).nbytes > 0


@pytest.mark.parametrize("axis", range(4))
def test_other_shapes_are_not_broadcast(draw, axis):
    """k and v of another batch, number of heads or head_dim, or of different times, raise a ValueError that contains the
    shape.
    """
    cache, shape = made(), [BATCH, HEADS, 3, SIZE]
    shape[axis] = 1
    k, other = Tensor(draw.normal(BATCH, HEADS, 3, SIZE)), Tensor(draw.normal(*shape))
    for pair in ((other, k), (k, other), (other, other))[: 2 if axis == 2 else 3]:
        with rejects(ValueError, str(tuple(shape))):
            cache.extend(0, *pair)
    with rejects(ValueError, str((HEADS, 3, SIZE))):
        cache.extend(0, Tensor(draw.normal(HEADS, 3, SIZE)), Tensor(draw.normal(HEADS, 3, SIZE)))
    assert cache.lengths.tolist() == [0] * BATCH


def test_what_else_does_not_fit_is_refused(draw):
    """A layer that doesn't exist raises a ValueError that contains it, another dtype a TypeError that contains it, and so
    does a real that is not boolean; one of another shape raises a ValueError that contains it.
    """
    cache, (k, v) = made(), drawn(draw, 2)
    for layer in (-1, 2):
        with rejects(ValueError, str(layer)):
            cache.extend(layer, k, v)
    for pair in ((Tensor(k.data.astype(np.float32)), v), (k, Tensor(v.data.astype(np.float32)))):
        with rejects(TypeError, "float32"):
            cache.extend(0, *pair)
    with rejects(TypeError, "int64"):
        cache.extend(0, k, v, np.ones((BATCH, 2), np.int64))
    for shape in ((BATCH, 3), (1, 2), (BATCH,)):
        with rejects(ValueError, str(shape)):
            cache.extend(0, k, v, np.ones(shape, bool))
    assert cache.lengths.tolist() == [0] * BATCH


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_keys_and_values_have_the_caches_dtype(dtype):
    """float16 takes half of the memory."""
    cache, wide = made(dtype=dtype), made()
    new = Tensor(np.ones((BATCH, HEADS, 3, SIZE), dtype))
    for layer in range(LAYERS):
        keys, values, _ = cache.extend(layer, new, new)
        assert_dtype(keys.data, dtype)
        assert_dtype(values.data, dtype)
    assert cache.nbytes < 0.75 * wide.nbytes
