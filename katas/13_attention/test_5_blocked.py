import sys

import katas.attention
import numpy as np
import pytest
from katas.attention import BLOCK, blocked_attention
from katas.autograd import no_grad
from katas.tensor import Tensor

from specs import oracles
from specs.check import assert_close, assert_dtype, cpu_ratio, layouts, measure_bytes, recording, rejects, undisturbed

OPTIONS = {
    "plain": {},
    "causal": {"causal": True},
    "window": {"window": 5},
    "a window of a block": {"window": BLOCK, "causal": True},
    "a window of more than a block": {"window": BLOCK + 1},
    "a window of one": {"window": 1},
}
options = pytest.mark.parametrize("name", OPTIONS)


def inputs(draw, queries: int, keys: int, *leading: int, dtype=np.float64) -> list[np.ndarray]:
    """q (…, queries, 4), k (…, keys, 4), v (…, keys, 3)."""
    return [draw.normal(*leading, *shape, dtype=dtype) for shape in ((queries, 4), (keys, 4), (keys, 3))]


def got(q, k, v, **options) -> Tensor:
    return blocked_attention(Tensor(q), Tensor(k), Tensor(v), **options)


@options
@pytest.mark.parametrize("time", [1, 2, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK, 2 * BLOCK + 7])
def test_it_gives_what_attention_gives(time, name, draw):
    """Any number of tokens: fewer than a block, exactly one, one more, a last block that is shorter."""
    q, k, v = inputs(draw, time, time, 2)
    assert_close(got(q, k, v, **OPTIONS[name]), oracles.attention.dense(q, k, v, **OPTIONS[name]))


@options
@pytest.mark.parametrize(("queries", "keys"), [(1, 300), (BLOCK, 300), (BLOCK + 3, 2 * BLOCK + 1), (200, 201)])
def test_the_last_query_stands_beside_the_last_key(queries, keys, name, draw):
    """Fewer queries than keys are the last ones."""
    q, k, v = inputs(draw, queries, keys)
    assert_close(got(q, k, v, **OPTIONS[name]), oracles.attention.dense(q, k, v, **OPTIONS[name]))


@pytest.mark.parametrize("name", ["causal", "window", "a window of one"])
def test_queries_before_all_keys_are_zeros(name, draw):
    """With more queries than keys the first look nowhere: a whole block of them, and a part of the next one."""
    q, k, v = inputs(draw, 2 * BLOCK + 30, 50)
    want = oracles.attention.dense(q[-50:], k, v, **OPTIONS[name])
    assert_close(got(q, k, v, **OPTIONS[name]), np.concatenate([np.zeros((2 * BLOCK - 20, 3)), want]))


@options
@pytest.mark.parametrize("shape", [(200,), (150, 1), (150, 200), (2, 1, 1, 200), (2, 1, 150, 200), (2, 3, 150, 200)], ids=str)
def test_a_mask_of_any_shape(shape, name, draw):
    """True where a query may look, in any shape that attention_weights takes. causal and window hide more. A query that may
    look nowhere gives zeros.
    """
    (q, k, v), mask = inputs(draw, 150, 200, 2, 3), draw.uniform(0, 1, *shape) < 0.8
    may = oracles.attention.seen((2, 3, 150, 200), mask, **OPTIONS[name])
    nowhere = ~may.any(-1, keepdims=True)
    want = np.where(nowhere, 0, oracles.attention.dense(q, k, v, may | nowhere))
    assert_close(got(q, k, v, mask=mask, **OPTIONS[name]), want)


def test_a_mask_may_be_a_tensor_or_a_list(draw):
    """As in attention_weights."""
    (q, k, v), mask = inputs(draw, 150, 200), draw.uniform(0, 1, 200) < 0.8
    want = oracles.attention.dense(q, k, v, mask)
    assert_close(got(q, k, v, mask=Tensor(mask)), want)
    assert_close(got(q, k, v, mask=mask.tolist()), want)


def test_options_may_be_numpys(draw):
    """mask=False hides all keys; a window and a causal of NumPy's are as good as Python's."""
    q, k, v = inputs(draw, 4, 5)
    assert_close(got(q, k, v, mask=False), np.zeros((4, 3)))
    for integer in (np.int64, np.int8, np.uint8):
        assert_close(got(q, k, v, window=integer(2)), oracles.attention.dense(q, k, v, window=2))
    assert_close(got(q, k, v, causal=np.bool_(True)), oracles.attention.dense(q, k, v, causal=True))


def test_one_query_is_not_many(draw):
    """One query against three keys, with as many channels as values, gives one result. Memory may have any order."""
    q, k, v = draw.normal(1, 4), draw.normal(3, 4), draw.normal(3, 4)
    assert_close(got(q, k, v), oracles.attention.dense(q, k, v))
    for (_, keys), (_, values) in zip(layouts(k).items(), layouts(v).items(), strict=True):
        assert_close(got(q, keys, values), oracles.attention.dense(q, k, v))


def test_keys_and_values_are_broadcast(draw):
    """Keys and values of one head serve all. Each of q, k and v may have fewer leading axes than the others."""
    q, k, v = inputs(draw, 150, 200, 2, 3)
    assert_close(got(q, k[:, :1], v[:, :1], causal=True), oracles.attention.dense(q, k[:, :1], v[:, :1], causal=True))
    for parts in ((q[0, 0], k, v), (q, k[0, 0], v), (q, k, v[0, 0]), (q[0, 0], k[0, 0], v), (q[:1], k[:, :1], v[0])):
        whole = [np.broadcast_to(part, (2, 3, *part.shape[-2:])) for part in parts]
        assert_close(got(*parts, causal=True), oracles.attention.dense(*whole, causal=True))


@pytest.mark.parametrize("name", ["plain", "causal", "window"])
@pytest.mark.parametrize(("queries", "keys"), [(0, 5), (4, 0), (0, 0)])
def test_no_tokens(queries, keys, name, draw):
    """No queries give no results. Queries without keys give zeros."""
    q, k, v = inputs(draw, queries, keys, 2)
    for parts in ((q, k, v), (q[0], k, v), (q, k[0], v[0]), (q[0], k[0], v)):
        assert_close(got(*parts, **OPTIONS[name]), np.zeros((2, queries, 3)))


@pytest.mark.parametrize("window", [sys.maxsize, 10**30, np.int64(sys.maxsize)], ids=["maxsize", "10**30", "int64"])
def test_a_window_may_be_larger_than_any_text(window, draw):
    """A window of any size: then it hides later keys only."""
    q, k, v = inputs(draw, 150, 200)
    assert_close(got(q, k, v, window=window), oracles.attention.dense(q, k, v, causal=True))
    want = np.concatenate([np.zeros((50, 3)), oracles.attention.dense(q[50:], k[:100], v[:100], causal=True)])
    assert_close(got(q, k[:100], v[:100], window=window), want)


def test_block_is_read_when_it_is_needed(draw, monkeypatch):
    """With another BLOCK as many queries have their scores at a time: 16 take less than half the memory of 256."""
    arrays, peaks = inputs(draw, 512, 512, dtype=np.float32), {}
    for block in (16, 256):
        monkeypatch.setattr(katas.attention, "BLOCK", block)
        peaks[block], _ = measure_bytes(lambda: got(*arrays))
    assert peaks[16] < peaks[256] / 2, f"{peaks[16]:,} bytes with blocks of 16, {peaks[256]:,} with blocks of 256"
    few = inputs(draw, 10, 10)
    for block in (1, 4, 10, 300):
        monkeypatch.setattr(katas.attention, "BLOCK", block)
        assert_close(got(*few, causal=True), oracles.attention.dense(*few, causal=True))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_the_dtype_stays(dtype, draw):
    """The result has the dtype of q, k and v."""
    arrays = inputs(draw, 150, 150, dtype=dtype)
    for options in OPTIONS.values():
        assert_dtype(got(*arrays, **options), dtype)


def test_large_scores_do_not_overflow(draw):
    """Scores of ±10⁴, also between blocks."""
    k = 200 * np.eye(2 * BLOCK, dtype=np.float32)[:, ::-1]
    v = draw.normal(2 * BLOCK, 3, dtype=np.float32)
    with np.errstate(all="raise", under="ignore"):
        assert_close(got(k * 3, k, v), v)
        assert_close(got(-k, k, v, window=1), v)


def test_a_nan_is_not_hidden(draw):
    """NaN in a query makes its result NaN, and no other's; infinite values stay infinite."""
    q, k, v = (array.copy() for array in inputs(draw, 2 * BLOCK, 2 * BLOCK))
    want = oracles.attention.dense(q, k, v)
    q[3, 1] = np.nan
    v[5, 0] = want[:, 0] = np.inf
    want[3] = np.nan
    assert_close(got(q, k, v), want)


def test_a_result_is_the_callers_own(draw):
    """The result is a new array, even where it equals v: writing to it changes nothing. NumPy's global state is left alone."""
    q, k, v = (array.copy() for array in inputs(draw, 5, 5))
    with undisturbed():
        y = got(q, k, v, window=1)
    assert_close(y, v)
    kept = v.copy()
    y.data[...] = 7
    assert_close(v, kept)


def test_it_is_for_inference(draw):
    """Where a gradient would be recorded, a RuntimeError says that it is for inference. Under no_grad it works."""
    q, k, v = inputs(draw, 5, 5)
    for number in range(3):
        tensors = [Tensor(array, requires_grad=number == i) for i, array in enumerate((q, k, v))]
        with rejects(RuntimeError, "inference"):
            blocked_attention(*tensors, causal=True)
        with no_grad():
            y = blocked_attention(*tensors, causal=True)
        assert_close(y, oracles.attention.dense(q, k, v, causal=True))
        assert not y.requires_grad


def test_wrong_input_is_refused(draw):
    """As scaled_dot_product_attention does, and for a window that is not positive a ValueError that contains it."""
    q, k, v = inputs(draw, 4, 5)
    with rejects(ValueError, "(4, 4)", "(5, 3)"):
        got(q, v, v)
    with rejects(ValueError, "(5, 4)", "(6, 3)"):
        got(q, k, np.zeros((6, 3)))
    with rejects(ValueError, "(4, 4)", "(1, 4)"):
        got(q, q, q[:1])
    with rejects(ValueError, "(3, 5)", "(4, 5)"):
        got(q, k, v, mask=np.ones((3, 5), bool))
    with rejects(ValueError, "(2, 4, 5)", "(4, 5)"):
        got(q, k, v, mask=np.ones((2, 4, 5), bool))
    with rejects(ValueError, "(4, 5)", "(1, 5)"):
        got(q[:1], k, v, mask=np.ones((4, 5), bool))
    with rejects(TypeError, "float64"):
        got(q, k, v, mask=np.ones((4, 5)))
    with rejects(ValueError, "0"):
        got(q, k, v, window=0)


@pytest.mark.parametrize("mask", [(3, 150, 200), (2, 150, 201), (2, 149, 200), (201,), (2, 1, 150, 200)], ids=str)
def test_an_error_shows_whole_shapes(mask, draw):
    """A mask that doesn't fit raises a ValueError with its shape and that of all weights, not with the shapes of a block."""
    for options in ({}, {"window": 5}):
        with rejects(ValueError, str(mask), "(2, 150, 200)"):
            got(*inputs(draw, 150, 200, 2), mask=np.ones(mask, bool), **options)


@pytest.mark.parametrize("name", ["causal", "window", "a window of a block"])
def test_what_no_query_of_a_block_sees_is_not_touched(name, draw):
    """Keys that causal or window hides from all queries of a block are not multiplied: no NaN there reaches its result."""
    q, k, v = (array.copy() for array in inputs(draw, 5 * BLOCK, 5 * BLOCK))
    want = oracles.attention.dense(q, k, v, **OPTIONS[name])
    k[-BLOCK:] = v[-BLOCK:] = np.nan
    assert_close(got(q, k, v, **OPTIONS[name])[: 4 * BLOCK], want[: 4 * BLOCK])
    if "window" in OPTIONS[name]:
        k[: 2 * BLOCK] = v[: 2 * BLOCK] = np.nan
        seen = slice(3 * BLOCK, 4 * BLOCK)
        assert_close(got(q, k, v, **OPTIONS[name])[seen], want[seen])


def test_a_causal_block_computes_no_scores_that_it_hides(draw, tell):
    """Of 16 blocks of keys a causal block of queries needs 8.5 on average: at most 0.6 times as many scores and exponentials
    are computed as without causal.
    """
    q, k, v = (Tensor(array) for array in inputs(draw, 16 * BLOCK, 16 * BLOCK))
    made = {}
    for causal in (True, False):
        with recording() as probe:
            blocked_attention(q, k, v, causal=causal)
        made[causal] = sum(record.result.size for record in probe if record.op in ("matmul", "exp"))
    q, k, v = (Tensor(draw.normal(8, 2048, 32, dtype=np.float32)) for _ in "qkv")
    ratio = cpu_ratio(lambda: blocked_attention(q, k, v, causal=True), lambda: blocked_attention(q, k, v))
    tell(f"blocked attention, eight heads of 32 channels, 2,048 tokens: causal takes {ratio:.2f} times the time of all keys")
    assert made[True] <= 0.6 * made[False], f"{made[True]:,} numbers with causal, {made[False]:,} without"


def test_memory_never_holds_all_scores(budget, draw):
    """4,096 tokens take less than 12 MB, where their scores alone would be 67 MB."""
    arrays = inputs(draw, 4096, 4096, dtype=np.float32)
    budget.bytes(lambda: got(*arrays, causal=True), peak=12_000_000)


@pytest.mark.parametrize("name", ["plain", "causal"])
def test_memory_is_linear_in_the_number_of_tokens(name, draw):
    """Twice as many tokens take at most 2.2 times the memory, with a mask of keys too."""
    peaks = []
    for time in (1024, 2048):
        arrays, mask = inputs(draw, time, time, dtype=np.float32), np.arange(time) != 3
        peaks.append(measure_bytes(lambda arrays=arrays, mask=mask: got(*arrays, mask=mask, **OPTIONS[name]))[0])
    assert peaks[1] <= 2.2 * peaks[0], f"{peaks[0]:,} bytes for 1,024 tokens, {peaks[1]:,} for 2,048"


def test_a_window_takes_the_time_of_what_it_sees(budget, draw):
    """With a window of 16, 4,096 tokens take at most 0.3 times the time of the products and exponentials of all keys."""
    q, k, v = (draw.normal(4096, 32, dtype=np.float32) for _ in "qkv")
    budget.time(lambda: got(q, k, v, window=16), lambda: np.exp(q @ k.T) @ v, limit=0.3)
