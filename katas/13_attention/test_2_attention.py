import numpy as np
import pytest
from katas.attention import scaled_dot_product_attention
from katas.tensor import Tensor

from specs import oracles
from specs.check import assert_close, assert_dtype, rejects, undisturbed

PADDED = np.array([[True, True, False, True, False], [False, True, True, False, False]])[:, None, None]  # (2, 1, 1, 5)
NOWHERE = np.array([[True] * 5, [False] * 5, [False, False, True, True, False], [False] * 4 + [True]])  # (4, 5)
CASES = {
    "plain": {},
    "causal": {"causal": True},
    "padded": {"mask": PADDED},
    "padded and causal": {"mask": PADDED, "causal": True},
    "a query that may look nowhere": {"mask": NOWHERE},
}
cases = pytest.mark.parametrize("case", CASES)


def inputs(draw, queries: int = 4, keys: int = 5, dtype=np.float64) -> list[np.ndarray]:
    """q (2, 3, queries, 6), k (2, 3, keys, 6), v (2, 3, keys, 7)."""
    return [draw.normal(2, 3, *shape, dtype=dtype) for shape in ((queries, 6), (keys, 6), (keys, 7))]


def got(q, k, v, **options) -> Tensor:
    return scaled_dot_product_attention(Tensor(q), Tensor(k), Tensor(v), **options)


@cases
def test_each_query_receives_the_values_where_it_looks(case, draw):
    """The mean of the values, weighted by attention_weights. Values may have another number of channels than keys."""
    q, k, v = inputs(draw)
    options, table = CASES[case], oracles.attention.weights(q, k, **CASES[case])
    mistakes = {
        "the mean of all values: that looks nothing up": np.broadcast_to(v.mean(-2, keepdims=True), (2, 3, 4, 7)),
        "the weights are those of one head": table[:, :1] @ v,
        "mask and causal are ignored": oracles.attention.attention(q, k, v),
    }
    assert_close(got(q, k, v, **options), oracles.attention.attention(q, k, v, **options), mistakes=mistakes)


@cases
def test_gradients_of_queries_keys_and_values(case, draw):
    """y.backward(g) gives each of q, k and v its gradient, for a random g. What a query may not look at receives nothing."""
    arrays = inputs(draw)
    tensors = [Tensor(array, requires_grad=True) for array in arrays]
    y = scaled_dot_product_attention(*tensors, **CASES[case])
    g = draw.normal(*y.shape)
    y.backward(g)
    for name, tensor, want in zip("qkv", tensors, oracles.attention.gradients(g, *arrays, **CASES[case]), strict=True):
        assert_close(tensor.grad, want, name=name)


def test_a_query_that_may_look_nowhere_is_zero_and_so_are_its_gradients(draw):
    """Zeros, never NaN, forward and backward; nothing of its gradient reaches a key or a value."""
    q, k, v = (Tensor(array, requires_grad=True) for array in inputs(draw, dtype=np.float32))
    with np.errstate(all="raise", under="ignore"):
        y = scaled_dot_product_attention(q, k, v, mask=np.zeros((2, 1, 1, 5), bool))
        y.backward(draw.normal(*y.shape, dtype=np.float32))
    for array in (y.data, q.grad, k.grad, v.grad):
        assert not array.any()
    assert_dtype(y, np.float32)


def test_equal_keys_give_the_mean_of_the_values_that_are_seen(draw):
    """Where all keys are alike, a causal query receives the mean of the values up to its own."""
    q, _, v = inputs(draw, 5)
    means = np.cumsum(v, -2) / np.arange(1, 6)[:, None]
    assert_close(got(q, np.ones((2, 3, 5, 6)), v, causal=True), means)


def test_a_key_like_the_query_is_looked_up(draw):
    """A score of 10⁴ above the others: the value of that key comes out, and nothing else."""
    v, order = draw.normal(5, 7), np.array([3, 0, 4, 1, 2])
    k = 200 * np.eye(5, 4, dtype=np.float32)
    k[4] = -200 / 3
    with np.errstate(all="raise", under="ignore"):
        assert_close(got(k[order] * 3, k, v), v[order])


def test_the_future_moves_no_past_result(draw):
    """With causal=True other keys and values from the third on leave the first two results as they are."""
    q, k, v = inputs(draw, 5)
    before = got(q, k, v, causal=True).data
    k, v = k.copy(), v.copy()
    k[:, :, 2:], v[:, :, 2:] = 1e4, -1e4
    after = got(q, k, v, causal=True).data
    assert_close(after[:, :, :2], before[:, :, :2], mistakes={"a query sees the next token": got(q, k, v).data[:, :, :2]})
    assert np.abs(after[:, :, 2:] - before[:, :, 2:]).min() > 0


def test_keys_have_no_order(draw):
    """Keys and values in another order give the same: order is what positions are for."""
    q, k, v = inputs(draw)
    order = [3, 0, 4, 2, 1]
    assert_close(got(q, k[:, :, order], v[:, :, order]), oracles.attention.attention(q, k, v))


def test_one_query_looks_at_many_keys(draw):
    """A single query, causal or not, sees all keys: it is the last token."""
    q, k, v = inputs(draw, 1, 9)
    want = oracles.attention.attention(q, k, v)
    assert_close(got(q, k, v), want)
    assert_close(got(q, k, v, causal=True), want, mistakes={"it sees the first key only": v[:, :, :1]})


def test_keys_and_values_are_broadcast(draw):
    """Keys and values of one head serve all."""
    q, k, v = inputs(draw)
    assert_close(got(q, k[:, :1], v[:, :1]), oracles.attention.attention(q, k[:, :1], v[:, :1]))
    assert_close(got(q[0, 0], k[0, 0], v[0, 0]), oracles.attention.attention(q, k, v)[0, 0])


def test_what_is_broadcast_receives_the_gradients_of_all(draw):
    """Keys and values of one head receive the sum of what each of them would."""
    q, k, v = inputs(draw)
    k, v, g = k[:, :1], v[:, :1], draw.normal(2, 3, 4, 7)
    tensors = [Tensor(array, requires_grad=True) for array in (q, k, v)]
    scaled_dot_product_attention(*tensors, causal=True).backward(g)
    every = [np.broadcast_to(array, (2, 3, *array.shape[2:])) for array in (k, v)]
    to_q, to_k, to_v = oracles.attention.gradients(g, q, *every, causal=True)
    for name, tensor, want in zip("qkv", tensors, (to_q, to_k.sum(1, keepdims=True), to_v.sum(1, keepdims=True)), strict=True):
        assert_close(tensor.grad, want, name=name)


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize(("queries", "keys"), [(0, 5), (4, 0), (0, 0)])
def test_no_tokens(queries, keys, causal, draw):
    """No queries give no results. Queries without keys give zeros."""
    assert_close(got(*inputs(draw, queries, keys), causal=causal), np.zeros((2, 3, queries, 7)))


@cases
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_the_dtype_stays(case, dtype, draw):
    """The result and the gradients have the dtype of q, k and v: a silent promotion costs twice the time."""
    q, k, v = (Tensor(array, requires_grad=True) for array in inputs(draw, dtype=dtype))
    y = scaled_dot_product_attention(q, k, v, **CASES[case])
    y.sum().backward()
    for array in (y, q.grad, k.grad, v.grad):
        assert_dtype(array, dtype)


def test_half_precision_is_near(draw):
    """float16 gives results within 0.01."""
    q, k, v = (array.astype(np.float16) for array in inputs(draw))
    want = oracles.attention.attention(q.astype(float), k.astype(float), v.astype(float), causal=True)
    assert np.abs(got(q, k, v, causal=True).data - want).max() < 0.01


@pytest.mark.parametrize(
    ("k", "v"), [((2, 5, 6), (2, 4, 7)), ((2, 5, 6), (3, 5, 7)), ((5, 6), (5,)), ((2, 1, 6), (2, 5, 7))], ids=str
)
def test_values_that_do_not_fit_are_refused(k, v):
    """Another number of values than of keys, even one that broadcasts, raises a ValueError that contains both shapes."""
    with rejects(ValueError, str(k), str(v)):
        got(np.zeros((2, 4, 6)), np.zeros(k), np.zeros(v))


def test_other_wrong_input_is_refused_too(draw):
    """Queries, keys and masks are checked as attention_weights checks them."""
    q, k, v = inputs(draw)
    with rejects(ValueError, "(2, 3, 4, 6)", "(2, 3, 5, 7)"):
        got(q, v, v)
    with rejects(ValueError, "(3, 5)", "(2, 3, 4, 5)"):
        got(q, k, v, mask=np.ones((3, 5), bool))
    with rejects(TypeError, "float32"):
        got(q, k, v, mask=np.zeros((4, 5), np.float32))


@pytest.mark.parametrize("make", [Tensor, np.ndarray.tolist], ids=["Tensor", "list"])
def test_a_mask_may_be_a_tensor_or_a_list(make, draw):
    """As in attention_weights."""
    arrays = inputs(draw)
    assert_close(got(*arrays, mask=make(NOWHERE)), oracles.attention.attention(*arrays, NOWHERE))


def test_one_boolean_is_a_mask(draw):
    """mask=False hides all keys, mask=True none; causal may be one of NumPy's booleans."""
    q, k, v = inputs(draw)
    assert_close(got(q, k, v, mask=False), np.zeros((2, 3, 4, 7)))
    assert_close(got(q, k, v, mask=True), oracles.attention.attention(q, k, v))
    assert_close(got(q, k, v, causal=np.bool_(True)), oracles.attention.attention(q, k, v, causal=True))


def test_a_nan_is_not_hidden(draw):
    """NaN in a query makes its result NaN, and no other's; infinite values stay infinite."""
    q, k, v = (array.copy() for array in inputs(draw))
    want = oracles.attention.attention(q, k, v)
    q[0, 1, 2, 3] = want[0, 1, 2] = np.nan
    v[:, :, 0, 0] = want[..., 0] = np.inf
    want[0, 1, 2] = np.nan
    assert_close(got(q, k, v), want)


def test_a_result_is_the_callers_own(draw):
    """The result is a new array, even where it equals v: writing to it changes nothing. NumPy's global state is left alone."""
    q, k, v = (array.copy() for array in inputs(draw, 1, 1))
    for options in ({}, {"causal": True}, {"mask": [True]}):
        with undisturbed():
            y = got(q, k, v, **options)
        assert_close(y, v)
        kept = v.copy()
        y.data[...] = 7
        assert_close(v, kept)


def test_no_loop_over_heads(budget, draw):
    """The number of Python instructions must not grow with the numbers of queries, keys, heads and rows."""
    large = [draw.normal(8, 9, *shape) for shape in ((40, 6), (50, 6), (50, 7))]
    small = inputs(draw)
    budget.steps(lambda: got(*small, causal=True), lambda: got(*large, causal=True), limit=2)
