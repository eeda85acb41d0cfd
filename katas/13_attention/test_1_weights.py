import math

import numpy as np
import pytest
from katas.attention import attention_weights
from katas.tensor import Tensor

from specs import oracles
from specs.check import assert_close, assert_dtype, assert_gradient, rejects, undisturbed

weights = oracles.attention.weights


def inputs(draw, queries: int = 4, keys: int = 5, dtype=np.float64) -> tuple[np.ndarray, np.ndarray]:
    """q (2, 3, queries, 6) and k (2, 3, keys, 6), large enough that the weights differ."""
    return 2 * draw.normal(2, 3, queries, 6, dtype=dtype), draw.normal(2, 3, keys, 6, dtype=dtype)


def got(q, k, *args, **options) -> Tensor:
    return attention_weights(Tensor(q), Tensor(k), *args, **options)


def softmax(scores: np.ndarray, axis: int = -1) -> np.ndarray:
    e = np.exp(scores - scores.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def test_a_query_looks_most_at_the_keys_that_are_like_it(draw):
    """Each row is the softmax over the keys of the products q · k / √head_dim."""
    q, k = inputs(draw)
    scores = q @ k.swapaxes(-1, -2)
    mistakes = {
        "the scores are not divided by √head_dim": softmax(scores),
        "the scores are divided by head_dim, not by its root": softmax(scores / 6),
        "the scores are divided by the root of all channels, not of a head's": softmax(scores / math.sqrt(18)),
        "the softmax is over the queries, not over the keys": softmax(scores / math.sqrt(6), -2),
        "these are the scores: the softmax is missing": scores / math.sqrt(6),
    }
    assert_close(got(q, k), weights(q, k), mistakes=mistakes)


@pytest.mark.parametrize(("queries", "keys"), [(1, 1), (4, 4), (2, 6), (1, 5), (6, 2), (5, 1)])
def test_causal_queries_are_the_last_ones_and_look_back(queries, keys, draw):
    """With causal=True the last query stands beside the last key, and a query sees no later key than its own. The first ones of
    more queries than keys stand before all keys: they look nowhere.
    """
    q, k = inputs(draw, queries, keys)
    rows, columns = np.indices((queries, keys))
    mistakes = {
        "aligned to the first key, not to the last": weights(q, k, columns <= rows),
        "a query does not see its own key": weights(q, k, columns < rows + keys - queries),
        "a query sees one key too many": weights(q, k, columns <= rows + keys - queries + 1),
        "queries look ahead, not back": weights(q, k, columns >= rows + keys - queries),
    }
    want = weights(q, k, causal=True)
    assert_close(got(q, k, causal=True), want, mistakes={said: result for said, result in mistakes.items() if queries > 1})


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("window", [1, 2, 3, 9])
@pytest.mark.parametrize(("queries", "keys"), [(5, 5), (2, 6), (6, 4)])
def test_a_window_ends_the_view(queries, keys, window, causal, draw):
    """With window=w a query sees its own key and the w - 1 before it, and no later one, whether or not causal says so too."""
    q, k = inputs(draw, queries, keys)
    mistakes = {
        "a window of one more": weights(q, k, window=window + 1),
        "a window that goes ahead as well": weights(q, k, np.tri(queries, keys, keys - queries - window) == 0),
    }
    assert_close(got(q, k, causal=causal, window=window), weights(q, k, window=window), mistakes=mistakes)


SHAPES = [(5,), (1, 5), (4, 1), (4, 5), (1, 1, 1, 5), (2, 1, 1, 5), (2, 1, 4, 5), (1, 3, 4, 5), (2, 3, 4, 5)]


def drawn(draw, *shape: int) -> np.ndarray:
    """A mask that lets every query look at key 1, at least."""
    mask = draw.uniform(0, 1, *shape) < 0.5
    mask[..., min(1, shape[-1] - 1)] = True
    return mask


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("options", [{}, {"causal": True}, {"window": 2}], ids=str)
def test_true_is_where_a_query_may_look(shape, options, draw):
    """A mask is True where a query may look, and broadcasts to (…, queries, keys). causal and window hide more."""
    (q, k), mask = inputs(draw), drawn(draw, *shape)
    mistakes = {
        "True hides: it must be where a query may look": weights(q, k, ~mask, **options),
        "the mask is ignored": weights(q, k, **options),
        "causal and window are ignored where there is a mask": weights(q, k, mask),
        "either is enough: both must let a query look": weights(q, k, mask | oracles.attention.seen((4, 5), **options)),
    }
    mistakes = {said: result for said, result in mistakes.items() if options or not said.startswith(("either", "causal"))}
    assert_close(got(q, k, mask, **options), weights(q, k, mask, **options), mistakes=mistakes)


@pytest.mark.parametrize("make", [Tensor, np.ndarray.tolist, lambda mask: mask], ids=["Tensor", "list", "array"])
def test_a_mask_may_be_a_tensor_or_a_list(make, draw):
    """Booleans in an array, a Tensor or nested lists."""
    (q, k), mask = inputs(draw), drawn(draw, 4, 5)
    assert_close(got(q, k, make(mask)), weights(q, k, mask))


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64, np.uint8])
def test_a_mask_of_numbers_is_refused(dtype, draw):
    """A mask of floats or integers raises a TypeError whose message contains its dtype: is a 1 to be added, or seen?"""
    q, k = inputs(draw)
    with rejects(TypeError, np.dtype(dtype).name):
        got(q, k, np.ones((4, 5), dtype))


@pytest.mark.parametrize("shape", [(4, 6), (5, 4), (3, 5), (2, 4, 5), (7, 2, 3, 4, 5), (1, 2, 3, 4, 5), (0,)], ids=str)
def test_a_mask_that_does_not_fit_is_refused(shape, draw):
    """A mask that does not broadcast to (…, queries, keys), or to more axes, raises a ValueError whose message contains both
    shapes.
    """
    q, k = inputs(draw)
    with rejects(ValueError, str(shape), "(2, 3, 4, 5)"):
        got(q, k, np.ones(shape, bool))


@pytest.mark.parametrize("options", [{}, {"causal": True}], ids=str)
def test_a_mask_is_left_alone_and_read_at_once(options, draw):
    """The mask is not changed, and may be changed afterwards, even before backward."""
    (q, k), mask, g = inputs(draw), np.array(drawn(draw, 4, 5)), draw.normal(2, 3, 4, 5)
    mask[2] = False
    want = got(q, k, mask, **options).data
    gradients = []
    for changed in (False, True):
        tensor, given = Tensor(q, requires_grad=True), mask.copy()
        given.flags.writeable = changed
        y = attention_weights(tensor, Tensor(k), given, **options)
        if changed:
            given[...] = True
        assert_close(y, want)
        y.backward(g)
        gradients.append(tensor.grad)
    assert_close(gradients[1], gradients[0])


def test_what_is_hidden_weighs_nothing_at_all(draw):
    """A hidden key gets a weight of exactly 0, even where its score is greater by 10⁴ than all that are seen."""
    q, k = np.ones((1, 2, 1)), np.array([[[1e4], [-1e4], [0.0]]])
    mask = np.array([[False, True, True], [False, True, False]])
    assert_close(
        got(q, k, mask), [[[0, 0, 1], [0, 1, 0]]], mistakes={"a hidden key wins: add -∞, not a large number": weights(q, k)}
    )
    assert not got(q, k, mask).data[..., 0].any()


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
def test_large_scores_do_not_overflow(dtype):
    """Scores of ±10⁴ give weights of 0 and 1, equal ones are divided evenly, and there is no warning."""
    q, k = np.array([[100], [-100], [0]], dtype), np.array([[100], [-100], [100]], dtype)
    with np.errstate(all="raise", under="ignore"):
        assert_close(got(q, k), np.array([[0.5, 0, 0.5], [0, 1, 0], [1 / 3, 1 / 3, 1 / 3]], dtype))
        assert_close(got(q, k, causal=True), np.array([[1, 0, 0], [0, 1, 0], [1 / 3, 1 / 3, 1 / 3]], dtype))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_query_that_may_look_nowhere_has_no_weights(dtype, draw):
    """A row of a mask without any True gives zeros, never NaN. The other rows are as usual."""
    (q, k), mask = inputs(draw, dtype=dtype), drawn(draw, 2, 1, 4, 5)
    mask[0, :, 1] = mask[1, :, 3] = False
    with np.errstate(all="raise", under="ignore"):
        result = got(q, k, mask)
    assert_dtype(result, dtype)
    assert_close(
        result, weights(q, k, mask), mistakes={"it looks everywhere": weights(q, k, mask | ~mask.any(-1, keepdims=True))}
    )
    assert not got(q, k, np.zeros((4, 5), bool)).data.any()


@pytest.mark.parametrize(
    "options", [{}, {"causal": True}, {"mask": [[True] * 5, [False] * 5, [False, True] * 2 + [True]]}], ids=str
)
def test_gradients_of_queries_and_keys(options, draw):
    """backward gives both the gradients that central differences give; a query that may look nowhere has none."""
    q, k, g = draw.normal(2, 3, 4), draw.normal(2, 5, 4), draw.normal(2, 3, 5)
    query, key = Tensor(q, requires_grad=True), Tensor(k, requires_grad=True)
    attention_weights(query, key, **options).backward(g)
    assert_gradient(query.grad, lambda q: weights(q, k, **options), q, g, name="q")
    assert_gradient(key.grad, lambda k: weights(q, k, **options), k, g, name="k")


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("options", [{}, {"causal": True}, {"mask": [False] * 5}], ids=str)
def test_the_dtype_stays(options, dtype, draw):
    """Weights and gradients have the dtype of q and k."""
    query, key = (Tensor(array, requires_grad=True) for array in inputs(draw, dtype=dtype))
    y = attention_weights(query, key, **options)
    y.sum().backward()
    for array in (y, query.grad, key.grad):
        assert_dtype(array, dtype)


def test_half_precision_is_near(draw):
    """float16 gives weights within 0.005."""
    q, k = inputs(draw)
    assert np.abs(got(q.astype(np.float16), k.astype(np.float16), causal=True).data - weights(q, k, causal=True)).max() < 0.005


def test_half_precision_counts_beyond_its_integers():
    """Of 5,000 equal keys in float16, which adds 1 to 2,048 in vain, each gets 1/5,000."""
    result = got(np.zeros((1, 4), np.float16), np.zeros((5000, 4), np.float16)).data
    assert np.abs(5000 * result.astype(np.float64) - 1).max() < 0.002


def test_keys_are_broadcast(draw):
    """k with fewer leading axes, or axes of length 1, is shared: one for all heads, or for the whole batch."""
    q, k = inputs(draw)
    for shared in (k[:, :1], k[:1], k[0, 0]):
        assert_close(got(q, shared), weights(q, shared))
    assert_close(got(q[0, 0], k), weights(q[0, 0], k))
    assert_close(got(q[0, 0], k[0, 0]), weights(q, k)[0, 0])


@pytest.mark.parametrize("options", [{}, {"causal": True}, {"window": 2}, {"mask": True}], ids=str)
@pytest.mark.parametrize(("queries", "keys"), [(0, 5), (4, 0), (0, 0)])
def test_no_tokens_have_no_weights(queries, keys, options, draw):
    """Without queries, or without keys, the weights are empty."""
    q, k = inputs(draw, queries, keys)
    assert got(q, k, **options).shape == (2, 3, queries, keys)


@pytest.mark.parametrize(
    ("q", "k"),
    [((2, 4, 6), (2, 5, 7)), ((2, 4, 6), (3, 5, 6)), ((6,), (5, 6)), ((4, 6), (6,)), ((2, 3, 4, 6), (2, 2, 5, 6))],
    ids=str,
)
def test_shapes_that_do_not_fit_are_refused(q, k):
    """Other lengths of the last axis or of leading ones, or fewer than two axes, raise a ValueError with both shapes."""
    with rejects(ValueError, str(q), str(k)):
        got(np.zeros(q), np.zeros(k))


@pytest.mark.parametrize("window", [0, -1])
def test_a_window_sees_something(window, draw):
    """A window that is not positive raises a ValueError whose message contains it."""
    with rejects(ValueError, str(window)):
        got(*inputs(draw), window=window)


def test_no_loop_over_queries_keys_or_heads(budget, draw):
    """The number of Python instructions must not grow with the numbers of queries, keys, heads and rows."""
    small, large = inputs(draw), (draw.normal(4, 6, 40, 6), draw.normal(4, 6, 50, 6))
    budget.steps(lambda: got(*small, causal=True), lambda: got(*large, causal=True), limit=2)


def test_one_query_copies_no_keys(budget, draw):
    """One query against 10,000 keys of 64 channels, 2.5 MB of them: 0.5 MB of memory is enough, so scale q and don't copy k."""
    q, k = draw.normal(1, 64, dtype=np.float32), np.ones((10000, 64), np.float32)
    budget.bytes(lambda: got(q, k), peak=500_000)


def test_weights_sum_to_one_in_float32(draw):
    """Each row of 1,000 keys sums to 1."""
    q, k = draw.normal(3, 7, 8, dtype=np.float32), draw.normal(3, 1000, 8, dtype=np.float32)
    assert_close(got(q, k).data.sum(-1), np.ones((3, 7)))


def test_a_nan_is_not_hidden(draw):
    """NaN in a query makes its weights NaN, and no other's."""
    q, k = inputs(draw)
    want, q = weights(q, k, causal=True), q.copy()
    q[0, 1, 2, 3] = np.nan
    result = got(q, k, causal=True).data.copy()
    assert np.isnan(result[0, 1, 2]).any()
    result[0, 1, 2] = want[0, 1, 2]
    assert_close(result, want)


def test_a_result_is_the_callers_own(draw):
    """The weights are a new array, which may be written to: a second call gives the same. NumPy's state is left alone."""
    q, k = inputs(draw)
    for options in ({}, {"causal": True}, {"mask": np.zeros((4, 5), bool)}):
        with undisturbed():
            y = got(q, k, **options)
        want = y.data.copy()
        y.data[...] = 7
        assert_close(got(q, k, **options), want)
    q = np.ones((1, 1))
    got(q, q).data[...] = 7
    assert_close(q, np.ones((1, 1)))


def test_options_may_be_numpys(draw):
    """A window of NumPy's integers and a causal of its booleans are as good as Python's."""
    q, k = inputs(draw)
    assert_close(got(q, k, window=np.int64(2)), weights(q, k, window=2))
    assert_close(got(q, k, causal=np.bool_(True)), weights(q, k, causal=True))
    assert_close(got(q, k, causal=np.bool_(False)), weights(q, k))


def test_one_boolean_is_a_mask(draw):
    """True hides nothing, False everything."""
    q, k = inputs(draw)
    assert_close(got(q, k, True), weights(q, k))
    assert_close(got(q, k, False), np.zeros((2, 3, 4, 5)))
    assert_close(got(q, k, True, causal=True), weights(q, k, causal=True))
