import tracemalloc

import numpy as np
import pytest
from katas.acceleration import fused_attention
from katas.attention import attention_weights, scaled_dot_product_attention
from katas.autograd import no_grad, vjp
from katas.tensor import Tensor

from specs import oracles
from specs.check import (
    assert_close,
    assert_dtype,
    assert_gradient,
    assert_reentrant,
    best_ratio,
    layouts,
    measure_bytes,
    recording,
    rejects,
    undisturbed,
)

OPTIONS = {
    "plain": {},
    "causal": {"causal": True},
    "window": {"window": 5},
    "window and causal": {"window": 3, "causal": True},
    "a window of one": {"window": 1},
    "a large window": {"window": 100},
}
options = pytest.mark.parametrize("name", OPTIONS)
TIMES = [1, 2, 7, 64, 65, 128, 200]


def inputs(draw, queries: int, keys: int, *leading: int, dtype=np.float64) -> list[np.ndarray]:
    """q (…, queries, 4), k (…, keys, 4), v (…, keys, 3)."""
    return [draw.normal(*leading, *shape, dtype=dtype) for shape in ((queries, 4), (keys, 4), (keys, 3))]


def got(q, k, v, **options) -> Tensor:
    return fused_attention(Tensor(q), Tensor(k), Tensor(v), **options)


def dense_gradients(g, q, k, v, mask=None, causal=False, window=None) -> list[np.ndarray]:
    """By all scores at once, in float64. A row that may look nowhere has zeros. Leading axes that were broadcast are summed."""
    leading = np.broadcast_shapes(q.shape[:-2], k.shape[:-2], v.shape[:-2])
    whole = [np.broadcast_to(array, (*leading, *array.shape[-2:])).astype(np.float64) for array in (q, k, v)]
    scale = 1 / np.sqrt(q.shape[-1])
    scores = np.einsum("...qc,...kc->...qk", *whole[:2]) * scale
    seen = oracles.attention.seen(scores.shape, mask, causal, window)
    exps = np.exp(scores - scores.max(-1, keepdims=True, initial=-1e9)) * seen
    totals = exps.sum(-1, keepdims=True)
    weights = exps / np.where(totals == 0, 1, totals)
    by_weight = np.einsum("...qc,...kc->...qk", g, whole[2])
    by_score = weights * (by_weight - (weights * by_weight).sum(-1, keepdims=True)) * scale
    grads = [by_score @ whole[1], by_score.swapaxes(-1, -2) @ whole[0], weights.swapaxes(-1, -2) @ g]
    results = []
    for grad, array in zip(grads, (q, k, v), strict=True):
        shape = (1,) * (grad.ndim - array.ndim) + array.shape
        axes = tuple(axis for axis, (a, b) in enumerate(zip(grad.shape, shape, strict=True)) if a != b)
        results.append(grad.sum(axes, keepdims=True).reshape(array.shape))
    return results


def check_gradients(draw, q, k, v, **options) -> None:
    leaves = [Tensor(array, requires_grad=True) for array in (q, k, v)]
    y = fused_attention(*leaves, **options)
    g = draw.normal(*y.shape)
    y.backward(g)
    wants = dense_gradients(g, q, k, v, **options)
    for name, leaf, want in zip("qkv", leaves, wants, strict=True):
        scale = np.sqrt(q.shape[-1])
        mistakes = {f"√head_dim is missing in the gradient of {name}": want * scale, "scaled twice": want / scale}
        assert_close(leaf.grad, want, mistakes=mistakes if np.any(want) else None, name=name)


@options
@pytest.mark.parametrize("time", TIMES)
def test_it_gives_what_attention_gives(time, name, draw):
    """softmax(q kᵀ / √head_dim) v for any number of tokens: fewer than a block, one more, a last block that is shorter."""
    q, k, v = inputs(draw, time, time, 2)
    want = oracles.attention.dense(q, k, v, **OPTIONS[name])
    mistakes = {"scores are not divided by √head_dim": oracles.attention.dense(2 * q, k, v, **OPTIONS[name])}
    assert_close(got(q, k, v, **OPTIONS[name]), want, mistakes=mistakes if time > 1 and name != "a window of one" else None)


@options
@pytest.mark.parametrize("time", TIMES)
def test_gradients(time, name, draw):
    """The gradients of q, k and v, for a random g, of any number of tokens."""
    check_gradients(draw, *inputs(draw, time, time, 2), **OPTIONS[name])


def test_central_differences_agree(draw):
    """By central differences of an attention in loops: the oracle above is no judge of its own."""
    arrays, g = inputs(draw, 3, 4, 2), draw.normal(2, 3, 3)
    mask = np.array([[True, False, True, True], [False] * 4, [True] * 4])
    leaves = [Tensor(array, requires_grad=True) for array in arrays]
    fused_attention(*leaves, mask=mask, causal=True).backward(g)
    for number, leaf in enumerate(leaves):

        def result(value, number=number):
            return oracles.attention.attention(*arrays[:number], value, *arrays[number + 1 :], mask, True)

        assert_gradient(leaf.grad, result, arrays[number], g, name="qkv"[number])


@options
@pytest.mark.parametrize(("queries", "keys"), [(1, 150), (3, 5), (67, 129), (100, 101)])
def test_the_last_query_stands_beside_the_last_key(queries, keys, name, draw):
    """Fewer queries than keys are the last ones, forward and backward."""
    arrays = inputs(draw, queries, keys)
    assert_close(got(*arrays, **OPTIONS[name]), oracles.attention.dense(*arrays, **OPTIONS[name]))
    check_gradients(draw, *arrays, **OPTIONS[name])


@pytest.mark.parametrize("name", ["causal", "window", "a window of one"])
def test_queries_before_all_keys_are_zeros(name, draw):
    """With more queries than keys the first look nowhere: zeros, and no gradient; a whole block of them, too."""
    q, k, v = inputs(draw, 190, 50)
    want = np.concatenate([np.zeros((140, 3)), oracles.attention.dense(q[140:], k, v, **OPTIONS[name])])
    leaf = Tensor(q, requires_grad=True)
    y = fused_attention(leaf, Tensor(k), Tensor(v), **OPTIONS[name])
    assert_close(y, want)
    y.backward(np.ones(y.shape))
    assert (leaf.grad[:140] == 0).all()
    check_gradients(draw, q, k, v, **OPTIONS[name])


@options
@pytest.mark.parametrize("shape", [(130,), (100, 1), (100, 130), (2, 1, 1, 130), (2, 1, 100, 130), (2, 3, 100, 130)], ids=str)
def test_a_mask_of_any_shape(shape, name, draw):
    """True where a query may look, in any shape that broadcasts; causal and window hide more. A query that may look nowhere
    gives zeros and zero gradients.
    """
    (q, k, v), mask = inputs(draw, 100, 130, 2, 3), draw.uniform(0, 1, *shape) < 0.7
    may = oracles.attention.seen((2, 3, 100, 130), mask, **OPTIONS[name])
    nowhere = ~may.any(-1, keepdims=True)
    want = np.where(nowhere, 0, oracles.attention.dense(q, k, v, may | nowhere))
    mistakes = {"the mask is ignored": oracles.attention.dense(q, k, v, **OPTIONS[name])}
    assert_close(got(q, k, v, mask=mask, **OPTIONS[name]), want, mistakes=mistakes)
    check_gradients(draw, q, k, v, mask=mask, **OPTIONS[name])


def test_rows_that_may_look_nowhere(draw):
    """Zeros for each such row, and gradients of exactly zero for its query; no NaN, and no warning."""
    (q, k, v), mask = inputs(draw, 70, 80, 2), np.ones((70, 80), bool)
    mask[[0, 3, 69]] = False
    leaves = [Tensor(array, requires_grad=True) for array in (q, k, v)]
    with np.errstate(all="raise", under="ignore"):
        y = fused_attention(*leaves, mask=mask)
        y.backward(draw.normal(2, 70, 3))
    assert (y.data[:, [0, 3, 69]] == 0).all()
    assert (leaves[0].grad[:, [0, 3, 69]] == 0).all()
    assert all(np.isfinite(leaf.grad).all() for leaf in leaves)
    nothing = fused_attention(*leaves, mask=False)
    nothing.backward(np.ones(nothing.shape))
    assert_close(nothing, np.zeros((2, 70, 3)))


def test_a_mask_may_be_a_tensor_a_list_or_one_value_and_change_later(draw):
    """As in attention_weights. What the caller does to the mask after forward does not reach backward."""
    (q, k, v), mask = inputs(draw, 9, 12), draw.uniform(0, 1, 9, 12) < 0.8
    want = oracles.attention.dense(q, k, v, mask | ~mask.any(-1, keepdims=True))
    for kind in (Tensor(mask), mask.tolist()):
        assert_close(got(q, k, v, mask=kind), want)
    assert_close(got(q, k, v, mask=True), oracles.attention.dense(q, k, v))
    g, grads = draw.normal(9, 3), []
    for change in (False, True):
        leaf, own = Tensor(q, requires_grad=True), mask.copy()
        y = fused_attention(leaf, Tensor(k), Tensor(v), mask=own)
        if change:
            own[...] = ~own
        y.backward(g)
        grads.append(leaf.grad)
    assert_close(grads[1], grads[0])


def test_options_may_be_numpys(draw):
    """A window and a causal of NumPy's are as good as Python's, in a text longer than their dtype can count, too. A window may
    be larger than any text.
    """
    for queries, keys in ((4, 5), (4, 4), (300, 300)):
        q, k, v = inputs(draw, queries, keys)
        want = oracles.attention.dense(q, k, v, window=2)
        for integer in (np.int64, np.int8, np.uint8):
            assert_close(got(q, k, v, window=integer(2)), want, name=f"{integer.__name__}(2)")
    q, k, v = inputs(draw, 4, 5)
    assert_close(got(q, k, v, causal=np.bool_(True)), oracles.attention.dense(q, k, v, causal=True))
    for window in (10**30, np.int64(2**63 - 1)):
        assert_close(got(q, k, v, window=window), oracles.attention.dense(q, k, v, causal=True))


def test_leading_axes_are_broadcast(draw):
    """Each of q, k and v may have fewer leading axes than the others, or axes of length 1; its gradient has its own shape."""
    q, k, v = inputs(draw, 70, 80, 2, 3)
    fewer = [[array if i in full else array[0, 0] for i, array in enumerate((q, k, v))] for full in ({0}, {1}, {2}, {0, 1})]
    for parts in (*fewer, (q[0, 0], k, v), (q, k[0, 0], v), (q, k[:, :1], v[:, :1]), (q[:1], k[:, :1], v[0])):
        whole = [np.broadcast_to(part, (2, 3, *part.shape[-2:])) for part in parts]
        assert_close(got(*parts, causal=True), oracles.attention.dense(*whole, causal=True))
        check_gradients(draw, *parts, causal=True)


@pytest.mark.parametrize("name", ["plain", "causal", "window"])
@pytest.mark.parametrize(("queries", "keys"), [(0, 5), (4, 0), (0, 0)])
def test_no_tokens(queries, keys, name, draw):
    """No queries give no results; queries without keys give zeros. All gradients are zeros, of the parents' shapes."""
    arrays = inputs(draw, queries, keys, 2)
    leaves = [Tensor(array, requires_grad=True) for array in arrays]
    y = fused_attention(*leaves, **OPTIONS[name])
    assert_close(y, np.zeros((2, queries, 3)))
    y.backward(np.ones(y.shape))
    for leaf, array in zip(leaves, arrays, strict=True):
        assert_close(leaf.grad, np.zeros(array.shape))


def test_no_heads_and_one_channel(draw):
    """Leading axes of length 0 give none; one channel, and values of another width, are as good as any."""
    y = got(np.zeros((0, 3, 5, 4)), np.zeros((0, 3, 6, 4)), np.zeros((0, 3, 6, 2)))
    assert y.shape == (0, 3, 5, 2)
    q, k, v = draw.normal(5, 1), draw.normal(6, 1), draw.normal(6, 7)
    assert_close(got(q, k, v), oracles.attention.dense(q, k, v))
    check_gradients(draw, q, k, v, causal=True)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_the_dtype_stays(dtype, draw):
    """The result and all gradients have the dtype of q, k and v."""
    arrays = inputs(draw, 70, 70, dtype=dtype)
    for options in OPTIONS.values():
        leaves = [Tensor(array, requires_grad=True) for array in arrays]
        y = fused_attention(*leaves, **options)
        assert_dtype(y, dtype)
        for argnum in range(3 if dtype != np.float16 else 0):  # backward casts
            assert_dtype(vjp(y.node.op, argnum)(np.ones(y.shape, dtype), *y.node.arrays, **y.node.attrs), dtype)
        y.backward(np.ones(y.shape))
        for leaf in leaves:
            assert_dtype(leaf.grad, dtype)


def test_float16_has_the_digits_of_float16(draw):
    """Sums over 300 keys are within a few units of float16's last digit; q whose products overflow it do not overflow."""
    q, k, v = (array.astype(np.float16) for array in inputs(draw, 300, 300))
    y = got(q, k, v).data
    assert np.abs(y - oracles.attention.dense(q, k, v)).max() < 3e-3
    wide = np.full((1, 64), 40, np.float16)
    assert_close(got(wide, np.concatenate([wide, -wide]), np.array([[1.0], [5.0]], np.float16)), np.array([[1.0]], np.float16))


def test_in_float32_values_and_gradients_have_six_digits(draw):
    """Within 2e-6 of the largest value of float64's, for 300 tokens."""
    q, k, v, g = (draw.normal(2, 300, 16, dtype=np.float32) for _ in "qkvg")
    leaves = [Tensor(array, requires_grad=True) for array in (q, k, v)]
    y = fused_attention(*leaves, causal=True)
    y.backward(g)
    wants = oracles.attention.dense(q, k, v, causal=True), *dense_gradients(g.astype(np.float64), q, k, v, causal=True)
    for a, want in zip((y.data, *[leaf.grad for leaf in leaves]), wants, strict=True):
        assert np.abs(a - want).max() < 2e-6 * np.abs(want).max()


def test_large_scores_do_not_overflow(draw):
    """Scores of ±10⁴ and more, in float32, forward and backward: each row's maximum is subtracted."""
    k = 200 * np.eye(130, dtype=np.float32)[:, ::-1]
    v = draw.normal(130, 3, dtype=np.float32)
    leaves = [Tensor(array, requires_grad=True) for array in (k * 30, k, v)]
    with np.errstate(all="raise", under="ignore"):
        y = fused_attention(*leaves)
        y.backward(np.ones(y.shape))
    assert_close(y, v)
    assert all(np.isfinite(leaf.grad).all() for leaf in leaves)
    assert_close(got(-30 * k, k, v, window=1), v)
    low = draw.normal(130, 4) - 1000
    assert_close(got(np.ones((3, 4)), low, v), oracles.attention.dense(np.ones((3, 4)), low, v))


def test_a_nan_is_not_hidden(draw):
    """NaN in a query makes its result NaN, and no other's; infinite values stay infinite."""
    q, k, v = (array.copy() for array in inputs(draw, 130, 130))
    want = oracles.attention.dense(q, k, v)
    q[3, 1] = np.nan
    v[5, 0] = want[:, 0] = np.inf
    want[3] = np.nan
    assert_close(got(q, k, v), want)


def test_a_nan_beyond_what_a_block_may_see_does_not_show(draw):
    """Keys that no query of a block may see are not multiplied, forward or backward: NaN in them reaches no other block.

    No block may be longer than 512 queries.
    """
    time = 1600
    q, k, v = (draw.normal(time, 4).copy() for _ in "qkv")
    v = v[:, :3]
    k[-1], v[-1] = np.nan, np.nan
    leaves = [Tensor(array, requires_grad=True) for array in (q, k, v)]
    y = fused_attention(*leaves, causal=True)
    y.backward(np.ones(y.shape))
    assert_close(y.data[:1000], oracles.attention.dense(q[:1000], k[:1000], v[:1000], causal=True))
    assert np.isfinite(leaves[0].grad[:1000]).all()
    q[-1] = k[-1] = v[-1] = 0
    k[0], v[0] = np.nan, np.nan
    leaves = [Tensor(array, requires_grad=True) for array in (q, k, v)]
    y = fused_attention(*leaves, window=100)
    y.backward(np.ones(y.shape))
    for array in (y.data, *[leaf.grad for leaf in leaves]):
        assert np.isfinite(array[800:]).all(), "what lies before the window is multiplied"


@options
def test_results_share_no_memory(name, draw):
    """The result and the gradients are the caller's own, and no later call writes to them. The parents are not changed."""
    arrays, g = [array.copy() for array in inputs(draw, 70, 70, 2)], draw.normal(2, 70, 3)

    def results(scale):
        leaves = [Tensor(scale * array, requires_grad=True) for array in arrays]
        y = fused_attention(*leaves, **OPTIONS[name])
        y.backward(g)
        found = [y.data, *[leaf.grad for leaf in leaves]]
        assert not any(np.may_share_memory(array, leaf.data) for array in found for leaf in leaves)
        return found

    kept, first = [array.copy() for array in arrays], results(1)
    before = [array.copy() for array in first]
    second = results(2)
    for now, was, other in zip(first, before, second, strict=True):
        assert_close(now, was, mistakes={"overwritten by the next call": other})
        assert not any(np.may_share_memory(now, array) for array in second)
    for array, same in zip(arrays, kept, strict=True):
        assert_close(array, same)


def test_two_attentions_of_the_same_tensors_add_up(draw):
    """The gradients of q, k and v that two calls share are the sums of both: the second does not overwrite the first one's."""
    arrays, g = inputs(draw, 70, 70, 2), draw.normal(2, 70, 3)
    leaves = [Tensor(array, requires_grad=True) for array in arrays]
    inner = [leaf * 1.0 for leaf in leaves]  # the gradient of a leaf may be a copy, that of an inner tensor is the rule's own
    (fused_attention(*inner) - 3 * fused_attention(*inner, causal=True)).backward(g)
    wants = zip(dense_gradients(g, *arrays), dense_gradients(-3 * g, *arrays, causal=True), strict=True)
    for name, leaf, parts in zip("qkv", leaves, wants, strict=True):
        assert_close(leaf.grad, sum(parts), name=name)


def test_memory_may_have_any_order(draw):
    """q, k, v and g are read by index: by columns, backwards, in steps; as permuted views, such as heads, too."""
    (q, k, v), g = inputs(draw, 70, 80, 2), draw.normal(2, 70, 3)
    want, wants = oracles.attention.dense(q, k, v), dense_gradients(g, q, k, v)
    for order in layouts(q):
        leaves = [Tensor(layouts(array)[order], requires_grad=True) for array in (q, k, v)]
        y = fused_attention(*leaves)
        assert_close(y, want, name=order)
        y.backward(layouts(g)[order])
        for leaf, gradient in zip(leaves, wants, strict=True):
            assert_close(leaf.grad, gradient, name=order)
    joined = draw.normal(2, 70, 3, 4, 5)  # (batch, time, q k v, heads, head_dim)
    q, k, v = joined.transpose(2, 0, 3, 1, 4)
    assert_close(got(q, k, v, causal=True), oracles.attention.dense(q, k, v, causal=True))


def test_data_may_be_replaced_before_backward(draw):
    """backward uses the arrays of the forward pass: other `data` in between is safe, as in kata 07."""
    arrays, g = inputs(draw, 70, 70), draw.normal(70, 3)
    leaves = [Tensor(array, requires_grad=True) for array in arrays]
    y = fused_attention(*leaves, causal=True)
    for leaf in leaves:
        leaf.data = 7 * leaf.data
    y.backward(g)
    for leaf, want in zip(leaves, dense_gradients(g, *arrays, causal=True), strict=True):
        assert_close(leaf.grad, want)


def test_each_rule_can_be_asked_alone_and_again(draw):
    """The rules share their work: each is right whichever is asked first, or twice, or for another g after that."""
    arrays, g = inputs(draw, 70, 70), draw.normal(70, 3)
    wants = dense_gradients(g, *arrays, causal=True)
    node = fused_attention(*[Tensor(array, requires_grad=True) for array in arrays], causal=True).node
    for order in ((2, 1, 0), (0, 1, 2), (1,), (2, 0)):
        for factor in (1.0, -3.0, 1.0):
            other = factor * g
            for argnum in order:
                grad = vjp(node.op, argnum)(other, *node.arrays, **node.attrs)
                mistakes = {"the gradient for another g, which was kept": wants[argnum]} if factor != 1 else {}
                assert_close(grad, factor * wants[argnum], mistakes=mistakes, name="qkv"[argnum])


@pytest.mark.parametrize("needed", [(0,), (1,), (2,), (0, 2)], ids=str)
def test_only_what_is_needed_gets_a_gradient(needed, draw):
    """Parents that require no gradient get none, and the others' are right."""
    arrays, g = inputs(draw, 70, 70), draw.normal(70, 3)
    leaves = [Tensor(array, requires_grad=number in needed) for number, array in enumerate(arrays)]
    fused_attention(*leaves, causal=True).backward(g)
    for number, (leaf, want) in enumerate(zip(leaves, dense_gradients(g, *arrays, causal=True), strict=True)):
        if number in needed:
            assert_close(leaf.grad, want)
        else:
            assert leaf.grad is None


def test_one_tensor_may_be_all_three(draw):
    """q, k and v may be the same Tensor: its gradient is the sum of all three."""
    x, g = draw.normal(70, 4), draw.normal(70, 4)
    leaf = Tensor(x, requires_grad=True)
    fused_attention(leaf, leaf, leaf, causal=True).backward(g)
    assert_close(leaf.grad, sum(dense_gradients(g, x, x, x, causal=True)))


def test_it_is_one_operation(draw):
    """The recorder sees one operation with the parents q, k and v."""
    leaves = [Tensor(array, requires_grad=True) for array in inputs(draw, 70, 70)]
    with recording() as probe:
        y = fused_attention(*leaves, causal=True)
    assert len(probe) == 1, f"recorded {[record.op for record in probe]}"
    assert probe[0].result is y
    assert probe[0].parents == tuple(leaves)


@options
def test_under_no_grad_it_is_the_same(name, draw):
    """Under no_grad the values are the same, and nothing is recorded; with many heads and tokens, too."""
    for arrays in (inputs(draw, 70, 70, 2), [draw.normal(4, 1024, 8, dtype=np.float32) for _ in "qkv"]):
        with no_grad():
            y = fused_attention(*[Tensor(array, requires_grad=True) for array in arrays], **OPTIONS[name])
        q, *others = arrays
        assert not y.requires_grad
        assert_close(y.data[:, -50:], oracles.attention.dense(q[:, -50:], *others, **OPTIONS[name]))


def test_two_threads_may_call_at_the_same_time(draw):
    """Each of two threads gets its own results and gradients."""
    arrays, g = inputs(draw, 70, 70), draw.normal(70, 3)

    def results(scale):
        leaves = [Tensor(scale * array, requires_grad=True) for array in arrays]
        y = fused_attention(*leaves, causal=True)
        y.backward(g)
        return [y.data, *[leaf.grad for leaf in leaves]]

    assert_reentrant(results)


def test_numpys_state_is_left_alone(draw):
    """No call changes NumPy's generator, error handling or the working directory."""
    leaves = [Tensor(array, requires_grad=True) for array in inputs(draw, 70, 70)]
    with undisturbed():
        fused_attention(*leaves, causal=True).sum().backward()


def test_the_katas_own_attention_agrees(draw):
    """The same call of kata 13 gives the same values, in float32."""
    q, k, v = (Tensor(array) for array in inputs(draw, 100, 100, 2, dtype=np.float32))
    mask = draw.uniform(0, 1, 100) < 0.8
    assert_close(fused_attention(q, k, v, mask, True), scaled_dot_product_attention(q, k, v, mask, True).data)


@pytest.mark.parametrize(
    ("q", "k", "v"),
    [
        ((4, 4), (5, 3), (5, 3)),
        ((2, 4, 4), (3, 5, 4), (3, 5, 4)),
        ((4,), (5, 4), (5, 4)),
        ((4, 4), (5, 1), (5, 3)),
    ],
)
def test_queries_and_keys_that_do_not_fit_are_named(q, k, v):
    """Different widths, leading axes that don't broadcast or fewer than two axes raise a ValueError with both shapes."""
    with rejects(ValueError, str(q), str(k)):
        got(np.ones(q), np.ones(k), np.ones(v))


@pytest.mark.parametrize(("k", "v"), [((5, 4), (4, 3)), ((5, 4), (1, 3)), ((2, 5, 4), (3, 5, 4)), ((5, 4), (5,))], ids=str)
def test_keys_and_values_that_do_not_fit_are_named(k, v):
    """Different numbers of keys, even 1, or leading axes that don't broadcast raise a ValueError with both shapes."""
    with rejects(ValueError, str(k), str(v)):
        got(np.ones((7, 4)), np.ones(k), np.ones(v))


def test_wrong_masks_and_windows_are_named(draw):
    """A mask of numbers: a TypeError with its dtype. One that does not broadcast, or to a larger shape: a ValueError with its
    shape and the whole one, not that of a block. A window that is not positive: a ValueError with it.
    """
    arrays = inputs(draw, 130, 140)
    with rejects(TypeError, "float64"):
        got(*arrays, mask=np.ones((130, 140)))
    with rejects(TypeError, "int64"):
        got(*arrays, mask=np.ones(140, np.int64))
    for shape in ((130, 139), (3, 130, 140), (130,)):
        with rejects(ValueError, str(shape), "(130, 140)"):
            got(*arrays, mask=np.ones(shape, bool))
    for window in (0, -3):
        with rejects(ValueError, str(window)):
            got(*arrays, window=window)


def composed(tensors, g) -> None:
    (attention_weights(*tensors[:2], causal=True) @ tensors[2]).backward(g)


def long(time: int, heads: int = 1):
    """A forward and a backward of causal attention."""
    leaves = [Tensor(np.linspace(-1, 1, heads * time * 16, dtype=np.float32).reshape(heads, time, 16), True) for _ in "qkv"]
    g = np.ones((heads, time, 16), np.float32)

    def call():
        fused_attention(*leaves, causal=True).backward(g)
        for leaf in leaves:
            leaf.grad = None

    return call


def test_memory_never_holds_all_scores(budget):
    """Forward and backward of 2,048 tokens hold at most 6 MB, where one array of all scores is 17 MB."""
    budget.bytes(long(2048), peak=6_000_000, retained=100_000)


def test_a_forward_never_holds_all_scores(budget):
    """Under no_grad, 4 heads of 1,024 tokens hold at most 6 MB, where all scores are 17 MB."""
    tensors = [Tensor(np.ones((4, 1024, 16), np.float32)) for _ in "qkv"]
    with no_grad():
        budget.bytes(lambda: fused_attention(*tensors, causal=True), peak=6_000_000)


@pytest.mark.parametrize("way", ["forward", "forward and backward"])
def test_memory_is_linear_in_the_number_of_tokens(way):
    """Twice as many tokens take at most 2.2 times the memory, and 2 MB for the blocks that two threads have at a time."""
    peaks = []
    for time in (2048, 4096):
        call = long(time)
        if way == "forward":
            with no_grad():
                tensors = [Tensor(np.ones((1, time, 16), np.float32)) for _ in "qkv"]
                peaks.append(measure_bytes(lambda tensors=tensors: fused_attention(*tensors, causal=True))[0])
        else:
            peaks.append(measure_bytes(call)[0])
    assert peaks[1] <= 2.2 * peaks[0] + 2e6, f"{peaks[0]:,} bytes for 2,048 tokens, {peaks[1]:,} for 4,096"


def test_the_graph_holds_no_scores():
    """Between forward and backward the result and a few numbers a row are alive, and no array of queries × keys."""
    leaves, kept = [Tensor(np.ones((1, 1024, 16), np.float32), True) for _ in "qkv"], [None]

    def forward():
        kept[0] = fused_attention(*leaves, causal=True)

    _, retained = measure_bytes(forward)
    assert retained < 400_000, f"{retained:,} bytes are kept for backward, where one array of all scores is 4.2 MB"
    assert not tracemalloc.is_tracing()


def test_steps_do_not_grow_with_heads(budget):
    """Sixteen heads take at most 2.5 times the Python instructions of one, forward and backward."""
    budget.steps(long(64, 1), long(64, 16), limit=2.5)


@pytest.mark.time
def test_causal_saves_the_time_of_hidden_keys(tell):
    """Causal, 2,048 tokens take at most 0.75 times the CPU time without: keys behind a block are not multiplied."""
    tensors = [Tensor(np.ones((1, 2048, 32), np.float32)) for _ in "qkv"]
    with no_grad():
        ratio = best_ratio(lambda: fused_attention(*tensors, causal=True), lambda: fused_attention(*tensors), 0.75)
    tell(f"fused attention, 2,048 tokens: causal takes {ratio:.2f} times the time of all keys")
    assert ratio < 0.75, f"{ratio:.2f} times"


@pytest.mark.time
def test_a_window_saves_the_time_of_what_it_hides(tell):
    """With a window of 16, 2,048 tokens take at most 0.35 times the CPU time without one, forward and backward."""
    tensors, g = [Tensor(np.ones((1, 2048, 32), np.float32), True) for _ in "qkv"], np.ones((1, 2048, 32), np.float32)
    ratio = best_ratio(
        lambda: fused_attention(*tensors, window=16).backward(g),
        lambda: fused_attention(*tensors, causal=False).backward(g),
        0.35,
    )
    tell(f"fused attention, 2,048 tokens, forward and backward: a window of 16 takes {ratio:.2f} times the time of all keys")
    assert ratio < 0.35, f"{ratio:.2f} times"


@pytest.mark.time
def test_fused_takes_less_time_than_composed(tell):
    """Forward and backward of 4 heads of 512 tokens, causal, take at most 0.8 times the CPU time of kata 13's operations."""
    tensors, g = [Tensor(np.ones((4, 512, 32), np.float32), True) for _ in "qkv"], np.ones((4, 512, 32), np.float32)
    ratio = best_ratio(lambda: fused_attention(*tensors, causal=True).backward(g), lambda: composed(tensors, g), 0.8)
    tell(f"fused attention, forward and backward of 4 heads of 512 tokens: {ratio:.2f} times the composed one's CPU time")
    assert ratio < 0.8, f"{ratio:.2f} times"


@pytest.mark.parametrize("scale", [1, 30, 1000])
def test_rows_that_look_nowhere_beside_large_scores(draw, scale):
    """They give zeros and zero gradients, however large the scores of other rows are."""
    q, k, v = inputs(draw, 5, 6, 2)
    mask = np.ones((5, 6), bool)
    mask[[1, 3]] = False
    tensors = [Tensor(array, requires_grad=True) for array in (scale * q, k, v)]
    y = fused_attention(*tensors, mask)
    y.backward(draw.normal(*y.shape))
    assert (y.data[:, [1, 3]] == 0).all()
    assert (tensors[0].grad[:, [1, 3]] == 0).all()
    assert all(np.isfinite(tensor.grad).all() for tensor in tensors)
    want = scaled_dot_product_attention(*[Tensor(array) for array in (scale * q, k, v)], mask)
    assert_close(y, want.data)


@pytest.mark.parametrize("queries", [9, 80, 200])
def test_queries_before_all_keys_look_nowhere(draw, queries):
    """The last query stands beside the last key, so that the first of many stand before the first key: they give zeros."""
    q, k, v = inputs(draw, queries, 5, 2)
    y = fused_attention(Tensor(q), Tensor(k), Tensor(v), causal=True)
    assert (y.data[:, : queries - 5] == 0).all()
    assert_close(y.data[:, queries - 5 :], fused_attention(Tensor(q[:, -5:]), Tensor(k), Tensor(v), causal=True).data)
