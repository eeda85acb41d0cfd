import copy
import itertools
import weakref

import numpy as np
import pytest
from katas.acceleration import accelerate
from katas.attention import MultiHeadAttention
from katas.autograd import no_grad
from katas.caching import Decoder, KVCache, prefill
from katas.embeddings import RotaryPositions
from katas.layers import Dropout, Linear
from katas.model_compression import PrunedAttention, head_scores, prune_heads, prune_units
from katas.tensor import Tensor
from katas.transformers import GPT, GPTConfig, generate

from specs.check import array, assert_close, count_steps, measure_bytes, rejects

WIDTH = 4  # of a head


class Falsy(RotaryPositions):
    """Positions that are falsy, as anything may be that is not None."""

    def __bool__(self):
        return False


OPTIONS = {
    "causal": {},
    "looking both ways": {"causal": False},
    "without biases": {"bias": False},
    "rotary": {"positions": Falsy(20, WIDTH)},
    "window": {"window": 3},
}
options = pytest.mark.parametrize("kind", OPTIONS)


def attention(draw, n_head: int = 3, seed: int = 0, **options) -> MultiHeadAttention:
    """In float64, with random biases."""
    result = MultiHeadAttention(WIDTH * n_head, n_head, rng=np.random.default_rng(seed), **options)
    for parameter in result.parameters():
        parameter.data = np.array(0.6 * draw.normal(*parameter.shape))
    return result


def without(whole: MultiHeadAttention, keep) -> MultiHeadAttention:
    """A copy in which c_proj reads zeros from the other heads."""
    result = copy.deepcopy(whole)
    for head in set(range(whole.n_head)) - set(keep):
        result.c_proj.weight.data[:, WIDTH * head : WIDTH * (head + 1)] = 0
    return result


@options
@pytest.mark.parametrize("keep", [[0], [2], [0, 2], [0, 1, 2]], ids=str)
def test_the_result_is_that_of_the_other_heads_alone(draw, kind, keep):
    """As if the other heads' columns of c_proj were 0; padding is masked as before, and so are gradients."""
    pruned = attention(draw, **OPTIONS[kind])
    whole, x = without(pruned, keep), draw.normal(2, 6, 12)
    assert prune_heads(pruned, keep) is None
    g = draw.normal(2, 6, 12)
    for mask in (None, np.array([[1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 1, 1]], bool)):
        inputs = [Tensor(x.copy(), requires_grad=True) for _ in range(2)]
        got, want = pruned(inputs[0], mask), whole(inputs[1], mask)
        assert_close(got, want)
        got.backward(np.array(g)), want.backward(np.array(g))
        assert_close(inputs[0].grad, inputs[1].grad)
    assert_close(pruned.c_proj.bias.grad, whole.c_proj.bias.grad) if pruned.c_proj.bias is not None else None


def test_its_arrays_are_those_of_the_heads_that_stay(draw):
    """Rows of q, of k and of v in c_attn, and columns of c_proj. Sizes follow; d_model stays."""
    pruned = attention(draw)
    weight, bias, joined = (parameter.data for parameter in pruned.parameters()[:3])
    columns = [0, 1, 2, 3, 8, 9, 10, 11]
    rows = [*columns, *(12 + np.array(columns)), *(24 + np.array(columns))]
    held = [weakref.ref(old) for old in (weight, bias, joined)]
    wants = weight[rows], bias[rows], joined[:, columns]
    pruned(Tensor(draw.normal(1, 3, 12))).sum().backward()
    prune_heads(pruned, [2, 0])
    for parameter, want in zip(pruned.parameters(), wants, strict=False):
        assert_close(parameter, want)
        assert parameter.grad is None
    assert (pruned.n_head, pruned.d_model, pruned.c_attn.out_features, pruned.c_proj.in_features) == (2, 12, 24, 8)
    del weight, bias, joined, parameter
    assert not [old for old in held if old() is not None], "old arrays are still held"


@pytest.mark.parametrize("keep", [[1], [0, 1, 2]], ids=["one head", "all heads"])
def test_it_stays_the_same_object(draw, keep):
    """Other code that holds the attention has the pruned one: a PrunedAttention, which is a MultiHeadAttention."""
    pruned = attention(draw, causal=False, layer=3, window=None)
    old = pruned.c_attn.weight.data
    prune_heads(pruned, keep)
    assert not np.shares_memory(pruned.c_attn.weight.data, old)
    assert type(pruned) is PrunedAttention
    assert isinstance(pruned, MultiHeadAttention)
    assert (pruned.causal, pruned.layer, pruned.window, pruned.positions) == (False, 3, None, None)


def test_it_may_be_pruned_again(draw):
    """The second keep counts the heads that are left."""
    pruned = attention(draw, 4)
    whole, x = without(pruned, [3]), draw.normal(2, 5, 16)
    prune_heads(pruned, [0, 2, 3])
    prune_heads(pruned, [2])
    assert_close(pruned(Tensor(x)), whole(Tensor(x)))


def test_attributes_that_change_later_count(draw):
    """causal, window and positions are used as they are now, as in kata 13."""
    pruned = attention(draw)
    whole, x = without(pruned, [0, 2]), draw.normal(2, 6, 12)
    prune_heads(pruned, [0, 2])
    for either in (pruned, whole):
        either.causal, either.window, either.positions = True, 2, RotaryPositions(20, WIDTH)
    assert_close(pruned(Tensor(x)), whole(Tensor(x)))


@options
def test_the_attention_map_has_the_heads_that_stay(draw, kind):
    """weights(x, mask) of the whole, for these heads, with all of its options."""
    pruned = attention(draw, **OPTIONS[kind])
    x, mask = Tensor(draw.normal(2, 5, 12)), np.arange(5)[None] < np.array([[3], [5]])
    wants = [pruned.weights(x)[:, [0, 2]], pruned.weights(x, mask)[:, [0, 2]]]
    prune_heads(pruned, [0, 2])
    for got, want in zip((pruned.weights(x), pruned.weights(x, mask)), wants, strict=True):
        assert isinstance(got, np.ndarray)
        assert_close(got, want)


def test_dropout_falls_on_weights_and_result_in_training(draw):
    """With dropout, values are 0 or larger in train mode, and in eval mode none is dropped."""
    pruned = attention(draw, dropout=0.5, seed=3)
    whole, x = without(pruned, [0, 2]), Tensor(draw.normal(4, 6, 12))
    prune_heads(pruned, [0, 2])
    assert_close(pruned.eval()(x), whole.eval()(x))
    assert_close(pruned(x), whole(x))
    pruned.train()
    got = pruned(x).data
    assert 0.35 < np.mean(got == 0) < 0.65, "the result is not dropped"
    pruned.c_proj.weight.data[...] = 0  # the result is c_proj's bias, or 0
    kept = pruned(x).data
    assert_close(kept[kept != 0], np.broadcast_to(2 * pruned.c_proj.bias.data, kept.shape)[kept != 0])
    pruned.c_proj.bias.data[...] = 0
    pruned.c_proj.weight.data[:, :8] = np.eye(12)[:, :8]
    pruned.c_attn.weight.data[...], pruned.c_attn.bias.data[...] = 0, np.arange(24) >= 16  # every value is 1
    seen = pruned(x).data[..., :8]
    assert len(np.unique(seen.round(6))) > 3, "no weight is dropped"


def test_weights_are_dropped_where_the_dropout_is_in_train_mode(draw):
    """Its mode counts, as before, not the attention's: Gal & Ghahramani 2016 drop in an otherwise evaluated model."""
    pruned = attention(draw, dropout=0.5, seed=3)
    prune_heads(pruned, [0, 1, 2])
    pruned.eval()
    for module in pruned.modules():
        if isinstance(module, Dropout):
            module.train()
    pruned.c_attn.weight.data[...], pruned.c_attn.bias.data[...] = 0, np.arange(36) >= 24  # every value is 1
    pruned.c_proj.weight.data[...], pruned.c_proj.bias.data[...] = np.eye(12), 0
    assert len(np.unique(pruned(Tensor(draw.normal(4, 6, 12))).data.round(6))) > 3, "no weight is dropped"


@pytest.mark.parametrize("kind", ["causal", "rotary", "window"])
def test_token_by_token_with_a_cache_gives_the_same(draw, kind):
    """A cache gets this attention's heads. One that has room for more, by its n_head, gets zeros for the others."""
    pruned = attention(draw, **OPTIONS[kind])
    prune_heads(pruned, [0, 2])
    x = draw.normal(2, 7, 12)
    want = pruned(Tensor(x)).data
    for n_head in (2, 3):
        cache = KVCache(1, 2, n_head, WIDTH, 7, pruned.window, np.float64)
        with no_grad():
            parts = [pruned(Tensor(x[:, start:stop]), cache=cache).data for start, stop in ((0, 3), (3, 4), (4, 7))]
        assert_close(np.concatenate(parts, 1), want, name=f"a cache of {n_head} heads")
        assert cache.lengths.tolist() == [7, 7]


@pytest.mark.parametrize("kind", ["causal", "rotary", "window"])
def test_new_tokens_begin_behind_each_rows_own(draw, kind):
    """A cache's rows may hold different numbers of tokens: each row goes on at its own length."""
    pruned = attention(draw, **OPTIONS[kind])
    prune_heads(pruned, [0, 2])
    x, cache = draw.normal(2, 7, 12), KVCache(1, 2, 3, WIDTH, 7, pruned.window, np.float64)
    with no_grad():
        pruned(Tensor(x[:, :5]), np.arange(5)[None] < np.array([[3], [5]]), cache)
        got = pruned(Tensor(np.stack([x[0, 3:5], x[1, 5:7]])), None, cache).data
        assert_close(got[0], pruned(Tensor(x[:1, :5])).data[0, 3:])
        assert_close(got[1], pruned(Tensor(x[1:])).data[0, 5:])


class Backwards(KVCache):
    """A falsy cache that gives its latest keys first: what each query sees is in its third result."""

    def __bool__(self):
        return False

    def extend(self, *given):
        k, v, seen = super().extend(*given)
        return k[:, :, ::-1], v[:, :, ::-1], seen[..., ::-1]


@pytest.mark.parametrize("kind", ["causal", "rotary", "window"])
def test_a_cache_says_what_is_seen(draw, kind):
    """With a cache only its own mask counts: its keys may lie in any order."""
    pruned = attention(draw, **OPTIONS[kind])
    prune_heads(pruned, [0, 2])
    x, cache = draw.normal(2, 7, 12), Backwards(1, 2, 3, WIDTH, 7, pruned.window, np.float64)
    with no_grad():
        parts = [pruned(Tensor(x[:, start:stop]), cache=cache).data for start, stop in ((0, 3), (3, 5), (5, 7))]
    assert_close(np.concatenate(parts, 1), pruned(Tensor(x)).data)


class Crowded:
    """A cache with room for more heads than the attention has, whose other heads hold what is no number."""

    n_head, lengths, heads = 5, np.zeros(2, np.int64), 2

    def extend(self, layer, k, v, *real):
        self.others = [values.data[:, self.heads :] for values in (k, v)]
        filled = [np.concatenate([values.data[:, : self.heads], np.full((2, 3, 4, WIDTH), np.nan)], 1) for values in (k, v)]
        return *map(Tensor, filled), np.broadcast_to(np.tril(np.ones((4, 4), bool)), (2, 1, 4, 4))


def test_other_heads_of_a_cache_get_zeros_and_are_not_read(draw):
    """The cache has zeros for the heads that are gone. Whatever it holds there, the result is that of the own heads."""
    pruned, cache, x = attention(draw), Crowded(), Tensor(draw.normal(2, 4, 12))
    prune_heads(pruned, [0, 2])
    want = pruned(x)
    assert_close(pruned(x, cache=cache), want)
    for values in cache.others:
        assert_close(values, np.zeros((2, 3, 4, WIDTH)))


class Noted:
    """The smallest cache of kata 13's: it has no n_head, is falsy, and notes what it is given."""

    lengths, calls = np.zeros(2, np.int64), ()

    def __bool__(self):
        return False

    def extend(self, layer, k, v, *real):
        self.calls = (*self.calls, (layer, k.shape, v.shape, *real))
        time = k.shape[2]
        return k, v, np.broadcast_to(np.tril(np.ones((time, time), bool)), (2, 1, time, time))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_a_cache_gets_keys_and_values_of_the_attentions_dtype(draw, dtype):
    """With zeros for the other heads, too: float32 zeros would make float32 of float16."""
    pruned, seen = attention(draw), []
    for parameter in pruned.parameters():
        parameter.data = parameter.data.astype(dtype)
    prune_heads(pruned, [0, 2])

    class Roomy(Noted):
        n_head = 3

        def extend(self, layer, k, v, *real):
            seen.append((k.dtype, v.dtype, k.shape, v.shape))
            return super().extend(layer, k, v, *real)

    pruned(Tensor(draw.normal(2, 4, 12).astype(dtype)), None, Roomy())
    assert seen == [(dtype, dtype, (2, 3, 4, WIDTH), (2, 3, 4, WIDTH))]


def test_a_cache_is_told_of_padding_and_of_its_layer(draw):
    """As in kata 13: real is the fourth argument where there is padding, and there are three where there is none."""
    pruned = attention(draw, layer=5)
    prune_heads(pruned, [0, 2])
    x, mask = Tensor(draw.normal(2, 4, 12)), np.arange(4)[None] < np.array([[2], [4]])
    cache = Noted()
    pruned(x, None, cache), pruned(x, np.ones((2, 4), bool), cache), pruned(x, mask, cache)
    assert [call[:3] for call in cache.calls] == 3 * [(5, (2, 2, 4, WIDTH), (2, 2, 4, WIDTH))]
    assert [len(call) for call in cache.calls] == [3, 3, 4]
    assert_close(cache.calls[2][3], mask)


def test_bad_input_is_refused_as_before(draw):
    """The errors of MultiHeadAttention: another shape of x or mask, a mask of floats, padding before a token with a cache, and
    a cache without causal. weights() too.
    """
    pruned = attention(draw)
    prune_heads(pruned, [0, 2])
    x, cache = Tensor(draw.normal(2, 4, 12)), Noted()
    for call in (pruned, pruned.weights):
        for shape in ((2, 4, 8), (4, 12), (12,), (1, 2, 4, 12), (2, 12, 4), (2, 4, 1)):
            with rejects(ValueError, str(shape)):
                call(Tensor(draw.normal(*shape)))
        for shape in ((2, 3), (1, 4), (2, 1), (4,), (1,), (), (4, 2), (8,), (1, 2, 4), (2, 4, 1)):  # some could be broadcast
            with rejects(ValueError, str(shape)):
                call(x, np.ones(shape, bool))
        with rejects(TypeError, "float64"):
            call(x, np.ones((2, 4)))
    with rejects(ValueError, "padding"):
        pruned(x, np.array([[0, 1, 1, 1], [1, 1, 1, 1]], bool), cache)
    pruned.causal = False
    with rejects(ValueError, "causal"):
        pruned(x, None, cache)
    assert not cache.calls


@pytest.mark.parametrize(
    "row", list(itertools.product([False, True], repeat=4)), ids=lambda row: "".join("01"[bit] for bit in row)
)
def test_with_a_cache_padding_may_only_stand_behind(draw, row):
    """A token behind padding, in any row and at any position, raises a ValueError; padding behind all tokens does not."""
    pruned, x = attention(draw), Tensor(draw.normal(2, 4, 12))
    prune_heads(pruned, [0, 2])
    for mask in ([row, (True, True, False, False)], [(True, True, True, False), row]):
        if sorted(row, reverse=True) == list(row):
            assert pruned(x, mask, Noted()).shape == x.shape
        else:
            with rejects(ValueError, "padding"):
                pruned(x, mask, Noted())


def test_of_two_errors_it_raises_the_one_that_it_raised_before(draw):
    """The shape of x, that of the mask, its dtype, then what the cache needs. A mask without elements has no numbers."""
    before, pruned = attention(draw), attention(draw)
    prune_heads(pruned, [0, 1, 2])
    for either in (before, pruned):
        with rejects(ValueError, "(2, 3)"):
            either(Tensor(draw.normal(2, 4, 12)), np.ones((2, 3)))
        with rejects(ValueError, "(2, 4, 8)"):
            either(Tensor(draw.normal(2, 4, 8)), np.ones((2, 4)))
        assert either(Tensor(np.zeros((2, 0, 12))), [[], []]).shape == (2, 0, 12)
        assert either.weights(Tensor(np.zeros((2, 0, 12))), [[], []]).shape == (2, 3, 0, 0)
        either.causal = False
        with rejects(TypeError, "float64"):
            either(Tensor(draw.normal(2, 4, 12)), np.ones((2, 4)), Noted())


@pytest.mark.parametrize("shape", [(0, 3, 12), (2, 0, 12), (0, 0, 12)], ids=str)
def test_there_may_be_no_text(draw, shape):
    """No rows, or no tokens: the result has their shape."""
    pruned = attention(draw)
    prune_heads(pruned, [0, 2])
    assert pruned(Tensor(np.zeros(shape))).shape == shape
    assert pruned.weights(Tensor(np.zeros(shape))).shape == (shape[0], 2, shape[1], shape[1])


# head_scores


def test_a_score_is_the_norm_of_a_heads_values_times_that_of_its_columns(draw):
    """What a head can write depends on the rows that make its values, not on queries and keys; float64."""
    whole = attention(draw)
    value, joined = whole.c_attn.weight.data[24:].reshape(3, 4, 12), whole.c_proj.weight.data.reshape(12, 3, 4)
    want = np.sqrt((value**2).sum((1, 2)) * (joined**2).sum((0, 2)))
    query = whole.c_attn.weight.data[:12].reshape(3, 4, 12)
    got = head_scores(whole)
    assert array(got).dtype == np.float64
    mistakes = {
        "the queries' rows, not the values'": np.sqrt((query**2).sum((1, 2)) * (joined**2).sum((0, 2))),
        "only c_proj": np.sqrt((joined**2).sum((0, 2))),
        "only the values": np.sqrt((value**2).sum((1, 2))),
    }
    assert_close(got, want, mistakes=mistakes)
    prune_heads(whole, [0, 2])
    assert_close(head_scores(whole), want[[0, 2]])
    for scale in (1e-200, 1e200):
        whole.c_proj.weight.data = joined.reshape(12, 12)[:, [0, 1, 2, 3, 8, 9, 10, 11]] * scale
        assert_close(head_scores(whole) / scale, want[[0, 2]])


def test_heads_without_biases_have_scores(draw):
    """bias=False."""
    whole = attention(draw, bias=False)
    value, joined = whole.c_attn.weight.data[24:].reshape(3, 4, 12), whole.c_proj.weight.data.reshape(12, 3, 4)
    assert_close(head_scores(whole), np.sqrt((value**2).sum((1, 2)) * (joined**2).sum((0, 2))))


@pytest.mark.parametrize(
    ("keep", "error", "named"),
    [
        ([], ValueError, "[]"),
        ([1, 1], ValueError, "1"),
        ([1.0], TypeError, "float"),
        ([3], IndexError, "3"),
        ([-1], IndexError, "-1"),
    ],
    ids=str,
)
def test_a_keep_that_names_no_heads_is_refused(draw, keep, error, named):
    """As in prune_units. The attention is as before, and still a MultiHeadAttention."""
    whole = attention(draw)
    before = whole.state_dict()
    with rejects(error, named):
        prune_heads(whole, keep)
    for name, values in whole.state_dict().items():
        assert_close(values, before[name])
    assert type(whole) is MultiHeadAttention
    assert whole.n_head == 3


def test_no_python_loop_over_columns_of_heads():
    """The number of Python instructions doesn't grow with the width of a head."""
    small, large = (MultiHeadAttention(2 * width, 2, rng=np.random.default_rng(0)) for width in (1, 64))

    def pruned(whole):
        head_scores(whole)
        prune_heads(whole, np.arange(whole.n_head))

    few, many = count_steps(lambda: pruned(small), lambda: pruned(large))
    assert many <= 2 * few, f"{few} Python instructions for 1 column, {many} for 64"


def test_only_attention_has_heads():
    """Anything else raises a TypeError that contains its class."""
    for call in (lambda: prune_heads(Linear(4, 4), [0]), lambda: head_scores(Linear(4, 4))):
        with rejects(TypeError, "Linear"):
            call()


# a GPT


def gpt(draw, **options) -> tuple[GPT, GPT]:
    """One in which the blocks keep different heads and neurons, and the whole one with zeros in their places."""
    config = GPTConfig(vocab_size=17, context=24, n_layer=2, n_head=3, d_model=12, **options)
    whole = GPT(config, np.random.default_rng(0))
    for parameter in whole.parameters():
        parameter.data[...] = 0.4 * draw.normal(*parameter.shape) + (parameter.ndim == 1)
    pruned = copy.deepcopy(whole)
    for block, zeros, keep, neurons in zip(pruned.transformer.h, whole.transformer.h, ([1, 2], [0]), (30, 48), strict=True):
        prune_heads(block.attn, keep)
        prune_units(pruned, block.mlp.c_fc, range(neurons))
        zeros.attn.c_proj.weight.data[...] = without(zeros.attn, keep).c_proj.weight.data
        zeros.mlp.c_proj.weight.data[:, neurons:] = 0
    return pruned, whole


@pytest.mark.parametrize(
    "options", [{}, {"positions": "rotary", "norm": "rms", "bias": False}, {"positions": "rotary", "window": 3}]
)
def test_a_gpt_whose_blocks_keep_different_heads_works_with_all_that_came_before(draw, options):
    """Its logits are those of the whole one with zeros: with padding, through caches of as many heads and of more, in prefill,
    in a Decoder, in generate, and accelerated.
    """
    pruned, whole = gpt(draw, **options)
    ids, mask = draw.integers(17, 2, 20), np.arange(20)[None] >= np.array([[3], [0]])
    with no_grad():
        want, padded = whole(ids).data, whole(ids, mask).data
        assert_close(pruned(ids), want)
        assert_close(pruned(ids, mask).data[mask], padded[mask])
        for n_head in (2, 3):
            cache = KVCache(2, 2, n_head, WIDTH, 24, pruned.config.window)
            assert_close(prefill(pruned, ids[:, :15], cache, block=4), want[:, 14])
            assert_close(pruned(ids[:, 15:16], None, cache).data[:, 0], want[:, 15])
        cache, decoder = KVCache.of(pruned, 2), Decoder(pruned)
        assert cache.n_head == 2
        prefill(pruned, ids[:, :15], cache)
        assert_close(decoder.step(ids[:, 15], cache), want[:, 15])
        texts = [
            list(generate(model, ids[0, :3], 8, temperature=0, cache=cache))
            for model, cache in ((pruned, None), (pruned, KVCache.of(pruned, 1)), (decoder, KVCache.of(pruned, 1)))
        ]
        assert texts == 3 * [list(generate(whole, ids[0, :3], 8, temperature=0))]
        assert_close(accelerate(pruned)(ids), want)


def test_an_accelerated_attention_can_be_pruned(draw):
    """accelerate() first, prune_heads() then: the result is the same, and kata 15 leaves a PrunedAttention alone."""
    pruned = attention(draw)
    whole, x = without(pruned, [0, 2]), Tensor(draw.normal(2, 6, 12))
    accelerate(pruned)
    prune_heads(pruned, [0, 2])
    assert_close(pruned(x), whole(x))
    assert_close(accelerate(pruned)(x), whole(x))
    assert type(pruned) is PrunedAttention


def test_a_long_text_makes_no_matrix_of_tokens_by_tokens(draw):
    """Without dropout, 15.4's fused attention holds no queries × keys."""
    pruned = attention(draw)
    prune_heads(pruned, [0, 2])
    x = Tensor(draw.normal(1, 1500, 12))
    with no_grad():
        peak, _ = measure_bytes(lambda: pruned(x))
    assert peak < 1500 * 1500 * 8, f"{peak:,} bytes"
