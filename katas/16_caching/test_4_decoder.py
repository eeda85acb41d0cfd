import contextlib
import copy

import numpy as np
import pytest
from katas.attention import MultiHeadAttention, attention_weights
from katas.autograd import no_grad
from katas.caching import Decoder, KVCache, prefill
from katas.layers import Linear, Module, Sequential
from katas.tensor import Tensor, concatenate
from katas.transformers import GPT, GPTConfig

from specs import oracles
from specs.check import Draw, assert_close, assert_dtype, layouts, measure_bytes, rejects, undisturbed
from specs.oracles.cache import ListCache

KINDS = {
    "learned": {},
    "sinusoidal": {"positions": "sinusoidal"},
    "sinusoidal, rms": {"positions": "sinusoidal", "norm": "rms"},
    "rotary": {"positions": "rotary"},
    "no bias": {"bias": False},
    "rotary, rms, no bias": {"positions": "rotary", "norm": "rms", "bias": False},
    "window": {"positions": "rotary", "window": 4},
    "window, rms": {"positions": "rotary", "window": 4, "norm": "rms", "dropout": 0.2},
}
kinds = pytest.mark.parametrize("kind", KINDS)
batches = pytest.mark.parametrize("batch", [1, 3], ids=lambda batch: f"batch {batch}")


def gpt(draw, kind: str = "learned", dtype=np.float64, **options) -> GPT:
    """A small GPT with random parameters that hide nothing, and eps that are not all the same."""
    sizes = {"vocab_size": 11, "context": 24, "n_layer": 2, "n_head": 2, "d_model": 12}
    model = GPT(GPTConfig(**sizes | KINDS[kind] | options), np.random.default_rng(0))
    for parameter in model.parameters():
        parameter.data = np.array(0.5 * draw.normal(*parameter.shape) + (parameter.ndim == 1), dtype)
    return model.eval()


def whole(model: GPT, ids) -> np.ndarray:
    """The logits of a full pass, without a cache."""
    with no_grad():
        return model(np.asarray(ids)).data


@kinds
@batches
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_from_an_empty_cache_on_every_token_gets_the_logits_of_the_whole_text(draw, kind, batch, dtype):
    """To 1e-4 in float32, in float64 to 1e-10, and of that dtype. Each step adds one token to each row."""
    model, ids = gpt(draw, kind, dtype), draw.integers(11, batch, 14)
    decoder, cache, want = Decoder(model), KVCache.of(model, batch), whole(model, ids)
    for time in range(14):
        got = decoder.step(ids[:, time], cache)
        assert isinstance(got, np.ndarray)
        assert_dtype(got, dtype)
        assert_close(got, want[:, time], name=f"token {time}")
        assert cache.lengths.tolist() == [time + 1] * batch


def test_ids_and_real_may_lie_in_memory_in_any_order(draw):
    """Of a step, and of a part of several tokens."""
    model, ids, real = gpt(draw, "rotary"), draw.integers(11, 3, 5), np.array([True, True, False])
    decoder, cache = Decoder(model), KVCache.of(model, 3)
    want_step = decoder.step(ids[:, 0], cache, real)
    want = decoder.forward(ids[:2, 1:], cache=cache.row(0, 2)).data
    for given, flags in zip(layouts(ids).values(), layouts(real).values(), strict=True):
        cache = KVCache.of(model, 3)
        assert_close(decoder.step(given[:, 0], cache, flags)[:2], want_step[:2])
        assert_close(decoder.forward(given[:2, 1:], cache=cache.row(0, 2)), want)


@pytest.mark.parametrize("kind", ["rotary", "window"])
def test_a_step_that_is_interrupted_leaves_nothing(draw, kind, monkeypatch):
    """The next one begins where it did, and what it wrote shows in no row: the lengths tell what counts."""
    model, ids = gpt(draw, kind), draw.integers(11, 2, 14)
    decoder, cache = Decoder(model), KVCache.of(model, 2)
    prefill(model, ids[:, :9], cache, np.arange(9) < np.array([[9], [3]]))
    _interrupted(decoder, cache, monkeypatch, np.array([False, True]))
    assert cache.lengths.tolist() == [9, 3]
    cache.release(1)
    prefill(model, ids[1:, :2], cache.row(1))
    want = whole(model, ids)
    assert_close(decoder.step(np.array([ids[0, 9], ids[1, 2]]), cache), [want[0, 9], want[1, 2]])


@pytest.mark.parametrize("kind", ["learned", "window"])
def test_sizes_of_a_cache_may_be_numpys(draw, kind):
    """Sixteen rows of uint8 are sixteen rows, with the same memory and logits, though uint8 can't count their scores."""
    model, ids = gpt(draw, kind), draw.integers(11, 16, 8)
    window = None if model.config.window is None else np.uint8(model.config.window)
    cache = KVCache(*np.array([2, 16, 2, 6, 24], np.uint8), window, np.float64)
    assert cache.nbytes == KVCache(2, 16, 2, 6, 24, model.config.window, np.float64).nbytes
    assert KVCache.of(model, np.uint8(16)).nbytes == KVCache.of(model, 16).nbytes
    prefill(model, ids[:, :5], cache, block=3)
    decoder, want = Decoder(model), whole(model, ids)
    for time in range(5, 8):
        assert_close(decoder.step(ids[:, time], cache), want[:, time], name=f"token {time}")


def test_what_a_failed_pass_left_shows_in_no_step(draw):
    """Not even NaN behind a short row, beside a longer one."""
    model, ids = gpt(draw), draw.integers(11, 2, 10)
    decoder, cache, want = Decoder(model), KVCache.of(model, 2), whole(model, ids)
    prefill(model, ids[:, :9], cache, np.arange(9) < np.array([[9], [3]]))
    bad = Tensor(np.full((2, 2, 4, 6), np.nan))
    cache.extend(0, bad, bad)
    assert_close(decoder.step(np.array([ids[0, 9], ids[1, 3]]), cache), [want[0, 9], want[1, 3]])


def _interrupted(decoder: Decoder, cache: KVCache, monkeypatch, real=None) -> None:
    """A step that ends in its first layer, by a KeyboardInterrupt in an exponential."""

    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(np, "exp", interrupted)
        with pytest.raises(KeyboardInterrupt):
            decoder.step(np.zeros(cache.batch, int), cache, real)


def test_what_an_interrupted_step_pushed_out_is_not_looked_for(draw, monkeypatch):
    """In a full window, the first layer may have written over the oldest token: then the row can't be cut to where it was seen.

    Cut or not, the text goes on as it should.
    """
    model, ids = gpt(draw, "window"), draw.integers(11, 1, 9)
    decoder, cache = Decoder(model), KVCache.of(model, 1)
    prefill(model, ids[:, :7], cache)
    _interrupted(decoder, cache, monkeypatch)
    with contextlib.suppress(ValueError):
        cache.truncate(6)
    for time in range(int(cache.lengths[0]), 9):
        assert_close(decoder.step(ids[:, time], cache), whole(model, ids)[:, time])


@kinds
def test_some_rows_of_a_cache(draw, kind):
    """A step of row(1, 2) gives rows 1 and 2 their next token. The others wait, and have a step of all rows afterwards."""
    model, ids = gpt(draw, kind), draw.integers(11, 4, 12)
    decoder, cache, want = Decoder(model), KVCache.of(model, 4), whole(model, ids)
    lengths = np.array([6, 5, 3, 4])
    prefill(model, ids[:, :6], cache, np.arange(6) < lengths[:, None])
    for _ in range(4):
        rows, times = np.arange(4), lengths
        assert_close(decoder.step(ids[rows[1:3], times[1:3]], cache.row(1, 2)), want[rows[1:3], times[1:3]])
        lengths[1:3] += 1
    assert cache.lengths.tolist() == [6, 9, 7, 4]
    assert_close(decoder.step(ids[np.arange(4), lengths], cache), want[np.arange(4), lengths])


def test_a_head_of_its_own(draw):
    """lm_head may have been exchanged: it is asked, not wte."""
    model, ids = gpt(draw), draw.integers(11, 2, 3)
    model.lm_head = Linear(12, 11, rng=np.random.default_rng(1))
    for parameter in model.lm_head.parameters():
        parameter.data = parameter.data.astype(np.float64)
    decoder, cache, want = Decoder(model), KVCache.of(model, 2), whole(model, ids)
    for time in range(3):
        assert_close(decoder.step(ids[:, time], cache), want[:, time])


def test_rows_that_wait_may_be_given_any_ids(draw):
    """As padding: not even -1 is refused."""
    model, ids = gpt(draw), draw.integers(11, 2, 3)
    decoder, cache = Decoder(model), KVCache.of(model, 2)
    prefill(model, ids[:, :2], cache)
    got = decoder.step(np.array([-1, ids[1, 2]]), cache, np.array([False, True]))
    assert_close(got[1], whole(model, ids)[1, 2])
    assert cache.lengths.tolist() == [2, 3]


@kinds
def test_they_are_those_of_the_definition(draw, kind):
    """Against slow and obvious code in float64: one head and one token at a time."""
    model, ids = gpt(draw, kind), draw.integers(11, 7)
    want = oracles.transformers.gpt(model.state_dict(), model.config, ids)
    decoder, cache = Decoder(model), KVCache.of(model, 1)
    got = np.concatenate([decoder.step(ids[time : time + 1], cache) for time in range(7)])
    assert_close(got, want)


@kinds
@batches
def test_behind_a_prompt(draw, kind, batch):
    """prefill and step use the same cache: keys lie there after rotation, in the model's order of channels."""
    model, ids = gpt(draw, kind), draw.integers(11, batch, 14)
    decoder, cache, want = Decoder(model), KVCache.of(model, batch), whole(model, ids)
    assert_close(prefill(model, ids[:, :6], cache), want[:, 5])
    for time in range(6, 10):
        assert_close(decoder.step(ids[:, time], cache), want[:, time], name=f"token {time}")
    assert_close(prefill(model, ids[:, 10:13], cache), want[:, 12], name="a second part")
    assert_close(decoder.step(ids[:, 13], cache), want[:, 13])


@kinds
@pytest.mark.parametrize("lengths", [(2, 7, 4), (7, 7, 3), (3, 7, 7), (7, 3, 7), (1, 1, 7)], ids=str)
def test_rows_of_different_lengths(draw, kind, lengths):
    """Prompts of up to 7 tokens, then steps for all rows: each goes on from its own length."""
    model, lengths, ids = gpt(draw, kind), np.array(lengths), draw.integers(11, 3, 16)
    decoder, cache, want = Decoder(model), KVCache.of(model, 3), whole(model, ids)
    prefill(model, ids[:, :7], cache, np.arange(7) < lengths[:, None])
    for step in range(9):
        got = decoder.step(ids[np.arange(3), lengths + step], cache)
        assert_close(got, want[np.arange(3), lengths + step], name=f"step {step}")


@kinds
@batches
def test_rows_may_wait(draw, kind, batch):
    """A row for which real is False keeps nothing, and goes on later. Its logits, which mean nothing, are finite."""
    model, ids, rng = gpt(draw, kind), draw.integers(11, batch, 20), np.random.default_rng(1)
    decoder, cache, want = Decoder(model), KVCache.of(model, batch), whole(model, ids)
    for number in range(24):
        real = rng.random(batch) < (0.3, 0.7)[number % 2]
        before = cache.lengths.copy()
        got = decoder.step(ids[np.arange(batch), np.minimum(before, 19)], cache, real.tolist() if number % 3 else real)
        assert cache.lengths.tolist() == (before + real).tolist()
        for row in np.flatnonzero(real):
            assert_close(got[row], want[row, before[row]], name=f"step {number}, row {row}")
        assert np.isfinite(got).all()


def test_rows_come_and_go(draw):
    """One text ends and another takes its row, while the third goes on: nothing of the former tenant shows."""
    for kind in ("learned", "rotary", "window"):
        model = gpt(draw, kind)
        decoder, cache = Decoder(model), KVCache.of(model, 3)
        texts = [draw.integers(11, 20) for _ in range(3)]
        prefill(model, np.stack([text[:6] for text in texts]), cache)
        for step in range(30):
            if step in (3, 9, 20):
                row = step % 3
                cache.release(row)
                texts[row] = draw.integers(11, 20)
                want = whole(model, texts[row][None, :3])[0, -1]
                assert_close(prefill(model, texts[row][None, :3], cache.row(row))[0], want)
            waits = cache.lengths >= 19
            starts = cache.lengths.copy()
            got = decoder.step([text[start] for text, start in zip(texts, starts, strict=True)], cache, ~waits)
            for row in np.flatnonzero(~waits):
                want = whole(model, texts[row][None, : starts[row] + 1])[0, -1]
                assert_close(got[row], want, name=f"{kind}, step {step}, row {row}")


def test_rows_that_were_reordered_or_cut(draw):
    """Rows of 2, 7 and 4 tokens change places, are cut, and go on."""
    model, lengths, ids = gpt(draw, "rotary"), np.array([2, 7, 4]), draw.integers(11, 3, 12)
    decoder, cache, want = Decoder(model), KVCache.of(model, 3), whole(model, ids)
    prefill(model, ids[:, :7], cache, np.arange(7) < lengths[:, None])
    for order, cut in (([1, 2, 0], 0), ([0, 2, 1], 1), ([2, 1, 0], 2)):
        cache.reorder(order)
        ids, want = ids[order], want[order]
        cache.truncate(cache.lengths - cut)
        for step in range(2):
            places = cache.lengths.copy()
            got = decoder.step(ids[np.arange(3), places], cache)
            assert_close(got, want[np.arange(3), places], name=f"{order}, step {step}")


@batches
def test_a_row_that_waits_may_be_full(draw, batch):
    """Full are those that would become longer: a row that waits does not."""
    model, ids = gpt(draw), draw.integers(11, batch, 24)
    decoder, cache = Decoder(model), KVCache.of(model, batch)
    prefill(model, ids, cache, np.arange(24) < np.array([24, 3, 5])[:batch, None])
    real = np.array([False, True, True])[:batch]
    got = decoder.step(ids[:, 5], cache, real)
    assert cache.lengths.tolist() == [24, 4, 6][:batch]
    if batch > 1:
        assert_close(got[2], whole(model, ids[2:, :6])[0, -1])
    cache.truncate([23, 4, 6][:batch])
    got = decoder.step(ids[:, 23], cache, ~real)
    assert_close(got[0], whole(model, ids[:1])[0, -1], name="its first token, after it waited")


def test_with_a_window_behind_the_context(draw):
    """Three contexts, token by token, in a cache that holds the window only."""
    model, ids = gpt(draw, "window"), draw.integers(11, 2, 72)
    decoder, cache, want = Decoder(model), KVCache.of(model, 2), whole(model, ids)
    for time in range(72):
        assert_close(decoder.step(ids[:, time], cache), want[:, time], name=f"token {time}")


def test_what_a_step_pushes_out_is_gone(draw):
    """Behind ten tokens a window of 4 holds the last four: the text can be cut by one token, which then may be another one. A
    cut by two raises a ValueError that contains the window.
    """
    model, ids = gpt(draw, "window"), draw.integers(11, 2, 11)
    decoder, cache = Decoder(model), KVCache.of(model, 2)
    for time in range(10):
        decoder.step(ids[:, time], cache)
    with rejects(ValueError, "4"):
        cache.truncate(8)
    cache.truncate(9)
    with rejects(ValueError, "4"):
        cache.truncate(8)
    other = np.concatenate([ids[:, :9], ids[:, 10:]], 1)
    assert_close(decoder.step(ids[:, 10], cache), whole(model, other)[:, -1])


def test_a_decoder_serves_several_caches_and_a_cache_several_decoders(draw):
    """Nothing is remembered but what is in the cache, whatever the number of rows of the step before."""
    model, ids = gpt(draw, "rotary"), draw.integers(11, 3, 8)
    decoders, want = [Decoder(model), Decoder(model)], whole(model, ids)
    one, three = KVCache.of(model, 1), KVCache.of(model, 3)
    for time in range(8):
        assert_close(decoders[time % 2].step(ids[:, time], three), want[:, time])
        assert_close(decoders[0].step(ids[:1, time], one), want[:1, time])


def test_the_logits_are_a_new_array(draw):
    """The next step does not change them, and who changes them changes no other."""
    for batch in (1, 2):
        model, ids = gpt(draw), draw.integers(11, batch, 4)
        decoder, cache, want = Decoder(model), KVCache.of(model, batch), whole(model, ids)
        found = [decoder.step(ids[:, time], cache) for time in range(3)]
        assert_close(np.stack(found, 1), want[:, :3])
        found[0][...] = np.nan
        assert_close(decoder.step(ids[:, 3], cache), want[:, 3])


@kinds
def test_large_scores_stay_finite(draw, kind):
    """Scores of ±10,000, where exp overflows or gives zeros alone: with and without rows of different lengths."""
    for factor in (40.0, -40.0):
        model, ids = gpt(draw, kind), draw.integers(11, 3, 9)
        for block in model.transformer.h:
            block.attn.c_attn.weight.data[:12] *= factor
            block.attn.c_attn.weight.data[12:24] *= abs(factor)
        want = whole(model, ids)
        for batch in (1, 3):
            decoder, cache = Decoder(model), KVCache.of(model, batch)
            with undisturbed():
                for time in range(9):
                    assert_close(decoder.step(ids[:batch, time], cache), want[:batch, time], name=f"token {time}")
            cache = KVCache.of(model, batch)
            prefill(model, ids[:batch, :4], cache, np.arange(4) < np.array([4, 2, 1])[:batch, None])
            got = decoder.step(ids[np.arange(batch), cache.lengths], cache)
            assert_close(got, want[np.arange(batch), cache.lengths - 1])


@pytest.mark.parametrize("sign", [-1, 1], ids=["zeros", "infinities"])
@pytest.mark.parametrize("layer", [0, 1])
def test_scores_whose_exponentials_are_all_alike(draw, layer, sign):
    """All scores of a row are ±980, in one layer only: every exponential is 0, or ∞, and the weights are neither."""
    model, ids = gpt(draw, dtype=np.float32), draw.integers(11, 2, 6)
    attn = model.transformer.h[layer].attn
    attn.c_attn.weight.data[:24] = 0
    attn.c_attn.bias.data[:12], attn.c_attn.bias.data[12:24] = sign * 20, 20  # scores of ±6 · 400 / √6
    decoder, want = Decoder(model), whole(model, ids)
    for batch in (1, 2):
        cache = KVCache.of(model, batch)
        for time in range(6):
            assert_close(decoder.step(ids[:batch, time], cache), want[:batch, time], name=f"token {time}")


def test_a_large_common_value_of_x_costs_no_digits(draw):
    """LayerNorm subtracts the mean of x. The mean of squares less the square of the mean has no digits left in float32 where
    the mean is 300: so what is added to x is rid of its mean beforehand.
    """
    model, ids = gpt(draw, dtype=np.float64), draw.integers(11, 1, 6)
    for parameter in (
        model.transformer.wpe.weight,
        model.transformer.h[0].attn.c_proj.bias,
        model.transformer.h[0].mlp.c_proj.bias,
    ):
        parameter.data += 300
    want = whole(model, ids)
    for parameter in model.parameters():
        parameter.data = parameter.data.astype(np.float32)
    decoder, cache = Decoder(model), KVCache.of(model, 1)
    got = np.concatenate([decoder.step(ids[:, time], cache) for time in range(6)])
    assert np.abs(got - want[0]).max() < 2e-3 * np.abs(want).max()


@kinds
def test_eps_is_each_norms_own(draw, kind):
    """It is an attribute of the norm, and large ones show."""
    model, ids = gpt(draw, kind), draw.integers(11, 2, 3)
    norms = [norm for block in model.transformer.h for norm in (block.ln_1, block.ln_2)]
    for number, norm in enumerate([*norms, model.transformer.ln_f]):
        norm.eps = 0.1 * (number + 1)
    decoder, cache, want = Decoder(model), KVCache.of(model, 2), whole(model, ids)
    for time in range(3):
        assert_close(decoder.step(ids[:, time], cache), want[:, time])
    assert_close(decoder(ids, cache=KVCache.of(model, 2)), want, name="all at once")


@kinds
def test_weights_are_folded_once_and_again_by_refold(draw, kind):
    """Weights that change afterwards, in place or by new arrays, count from refold() on."""
    model, ids = gpt(draw, kind), draw.integers(11, 1, 2)
    decoder = Decoder(model)
    old = decoder.step(ids[:, 0], KVCache.of(model, 1))
    for number, parameter in enumerate(model.parameters()):
        if number % 2:
            parameter.data = parameter.data * 1.5
        else:
            parameter.data *= 0.5
    assert_close(decoder.step(ids[:, 0], KVCache.of(model, 1)), old)
    assert decoder.refold() is None
    assert_close(decoder.step(ids[:, 0], KVCache.of(model, 1)), whole(model, ids)[:, 0])


def test_a_dtype_that_changes_counts_from_refold_on(draw):
    """A model that was made float32 afterwards takes a cache of float32."""
    model, ids = gpt(draw), draw.integers(11, 3, 2)
    decoder, cache = Decoder(model), KVCache.of(model, 3)
    decoder.step(ids[:, 0], cache)
    for parameter in model.parameters():
        parameter.data = parameter.data.astype(np.float32)
    decoder.refold()
    got = decoder.step(ids[:, 0], KVCache.of(model, 3))
    assert_dtype(got, np.float32)
    assert_close(got, whole(model, ids)[:, 0])


@kinds
def test_the_model_is_left_as_it_is(draw, kind):
    """Weights, their names and modes, and what it computes: folding works on copies."""
    model, ids = gpt(draw, kind), draw.integers(11, 2, 5)
    model.train()
    model.transformer.h[0].eval()
    before = {name: value.copy() for name, value in model.state_dict().items()}
    modes, names = [module.training for module in model.modules()], [name for name, _ in model.named_parameters()]
    with undisturbed():
        decoder, cache = Decoder(model), KVCache.of(model, 2)
        for time in range(3):
            decoder.step(ids[:, time], cache)
    after = model.state_dict()
    assert list(after) == list(before)
    assert all(np.array_equal(after[name], before[name]) for name in before)
    assert [module.training for module in model.modules()] == modes
    assert [name for name, _ in model.named_parameters()] == names
    assert model.lm_head.weight is model.transformer.wte.weight
    assert decoder.model is model
    assert decoder.config is model.config


def test_layers_that_were_exchanged(draw):
    """Later katas put other layers in the place of Linear: any that computes x W + b has a matrix, which the unit vectors
    show.
    """

    class Halves(Module):
        """A linear layer in two factors, without attributes of its own name."""

        def __init__(self, layer):
            self.down = draw.normal(layer.weight.shape[1], 3)
            self.up, self.shift = draw.normal(3, layer.weight.shape[0]), draw.normal(layer.weight.shape[0])

        def forward(self, x: Tensor) -> Tensor:
            return x @ Tensor(self.down) @ Tensor(self.up) + Tensor(self.shift)

    model, ids = gpt(draw, "rotary"), draw.integers(11, 2, 5)
    for block in model.transformer.h:
        block.attn.c_attn, block.attn.c_proj = Halves(block.attn.c_attn), Sequential(Halves(block.attn.c_proj))
        block.mlp.c_fc, block.mlp.c_proj = Halves(block.mlp.c_fc), Halves(block.mlp.c_proj)
    decoder, cache, want = Decoder(model), KVCache.of(model, 2), whole(model, ids)
    for time in range(5):
        assert_close(decoder.step(ids[:, time], cache), want[:, time])


def test_a_layer_without_a_matrix_is_not_folded_silently(draw):
    """A layer that does not compute x W + b raises a ValueError that contains its class, or a step does what it does."""

    class Clipped(Module):
        """As kata 17's layers are, whose inputs are int8."""

        def __init__(self, layer):
            self.layer = layer

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(Tensor(np.clip(x.data, -0.5, 2)))

    for place in ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj", "lm_head"):
        model, ids = gpt(draw), draw.integers(11, 2, 5)
        *path, name = place.split(".")
        parent = getattr(model.transformer.h[1], path[0]) if path else model
        setattr(parent, name, Clipped(getattr(parent, name)))
        decoder, error = None, ""
        try:
            decoder = Decoder(model)
        except ValueError as raised:
            error = str(raised)
        assert decoder or "Clipped" in error
        cache, want = KVCache.of(model, 2), whole(model, ids)
        for time in range(5 if decoder else 0):
            assert_close(decoder.step(ids[:, time], cache), want[:, time])


@batches
def test_a_copy_of_a_decoder_decodes(batch, draw):
    """copy.deepcopy, after a step too: the copy and the original give the model's logits, each with its own cache."""
    model, ids = gpt(draw), draw.integers(11, batch, 5)
    decoder, want = Decoder(model), whole(model, ids)
    decoder.step(ids[:, 0], KVCache.of(model, batch))
    both = [(decoder, KVCache.of(model, batch)), (copy.deepcopy(decoder), KVCache.of(model, batch))]
    for time in range(5):
        for each, cache in both:
            assert_close(each.step(ids[:, time], cache), want[:, time])


class FewerHeads(MultiHeadAttention):
    """What kata 18 makes of an attention: n_head of the heads that it had, of the same width."""

    def forward(self, x, mask=None, cache=None):
        q, k, v = self.c_attn(x).reshape(*x.shape[:2], 3, self.n_head, -1).permute(2, 0, 3, 1, 4)
        if self.positions is not None:
            start = 0 if cache is None else cache.lengths
            q, k = self.positions(q, start), self.positions(k, start)
        weights = attention_weights(q, k, None, True, self.window)
        if cache is not None:
            zeros = Tensor(np.zeros((len(x), cache.n_head - self.n_head, *k.shape[2:]), k.dtype))
            k, v, seen = cache.extend(self.layer, *[concatenate([heads, zeros], 1) for heads in (k, v)])
            k, v = k[:, : self.n_head], v[:, : self.n_head]
            weights = attention_weights(q, k, seen)
        return self.c_proj((weights @ v).permute(0, 2, 1, 3).reshape(*x.shape[:2], -1))


@kinds
@batches
@pytest.mark.parametrize(("heads", "neurons"), [((1, 2), (5, 9)), ((2, 1), (48, 7)), ((1, 3), (48, 48))], ids=str)
def test_blocks_may_have_fewer_heads_and_neurons(draw, kind, batch, heads, neurons):
    """Kata 18 removes some, in each block others: its attn.n_head and the weights tell how many are left. A cache has the most
    heads of any block.
    """
    model, zeros = (gpt(Draw(kind), kind, n_head=3) for _ in range(2))
    for layer, (n_head, hidden) in enumerate(zip(heads, neurons, strict=True)):
        attn, mlp, other = model.transformer.h[layer].attn, model.transformer.h[layer].mlp, zeros.transformer.h[layer]
        channels = 4 * n_head
        other.attn.c_proj.weight.data[:, channels:], other.mlp.c_proj.weight.data[:, hidden:] = 0, 0
        rows = np.add.outer([0, 12, 24], range(channels)).ravel()  # of q, k and v
        for small, name, index in (
            (attn.c_attn, "weight", rows), (attn.c_attn, "bias", rows), (attn.c_proj, "weight", np.s_[:, :channels]),
            (mlp.c_fc, "weight", np.s_[:hidden]), (mlp.c_fc, "bias", np.s_[:hidden]), (mlp.c_proj, "weight", np.s_[:, :hidden]),
        ):  # fmt: skip
            if (parameter := getattr(small, name)) is not None:
                parameter.data = parameter.data[index].copy()
        attn.c_attn.out_features, attn.c_proj.in_features = 3 * channels, channels
        mlp.c_fc.out_features = mlp.c_proj.in_features = hidden
        attn.n_head, attn.__class__ = n_head, FewerHeads
    ids = draw.integers(11, batch, 8)
    want, cache = whole(zeros, ids), KVCache.of(model, batch)
    assert cache.n_head == max(heads)
    with no_grad():
        assert_close(model(ids[:, :3], None, cache).data[:, -1], want[:, 2])
    decoder = Decoder(model)
    for time in range(3, 8):
        assert_close(decoder.step(ids[:, time], cache), want[:, time], name=f"token {time}")
    assert_close(decoder(ids, cache=KVCache.of(model, batch)), want, name="all at once")
    with rejects(ValueError, "3" if max(heads) < 3 else "4"):
        decoder.step(ids[:, 0], KVCache(2, batch, 3 if max(heads) < 3 else 4, 4, 24, model.config.window, np.float64))


def test_forward_gives_what_the_model_gives(draw):
    """A Tensor: without a cache, with a mask, several tokens at once, one token, and with a cache of another kind."""
    model, ids = gpt(draw), draw.integers(11, 2, 6)
    decoder, cache, want = Decoder(model), KVCache.of(model, 2), whole(model, ids)
    assert_close(decoder(ids), want)
    mask = np.array([[False] * 2 + [True] * 4, [True] * 6])
    assert_close(decoder(ids, mask).data[0, 2:], whole(model, ids[:1, 2:])[0])
    with rejects(ValueError, "(1, 6)"):
        decoder(ids, mask[:1])
    assert_close(decoder(ids[:, :4], None, cache), want[:, :4])
    assert_close(decoder(np.asfortranarray(ids[:, :4]), cache=KVCache.of(model, 2)), want[:, :4], name="ids by columns")
    assert_close(decoder(ids[:, :4].tolist(), cache=KVCache.of(model, 2)), want[:, :4], name="a list of ids")
    one = decoder(ids[:, 4:5], cache=cache)
    assert isinstance(one, Tensor)
    assert_close(one, want[:, 4:5])
    got = decoder(Tensor(ids[:, 5:6]), mask=np.array([[True], [False]]), cache=cache)
    assert_close(got.data[0], want[0, 5:6])
    assert cache.lengths.tolist() == [6, 5]
    plain = ListCache(2, 2)
    for time in range(6):
        assert_close(decoder(ids[:, time : time + 1], None, plain), want[:, time : time + 1])


def test_one_token_goes_through_step(draw):
    """Where the cache is a KVCache, and no mask is given."""
    model = gpt(draw)
    model.forward = None
    decoder, cache = Decoder(model), KVCache.of(model, 2)
    assert decoder(np.array([[3], [4]]), None, cache).shape == (2, 1, 11)


@kinds
@batches
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_several_tokens_at_once(draw, kind, batch, dtype):
    """Parts of one to six tokens of a text: forward reads them with what was folded, and doesn't ask the model."""
    model, ids = gpt(draw, kind, dtype), draw.integers(11, batch, 18)
    decoder, cache, want, start = Decoder(model), KVCache.of(model, batch), whole(model, ids), 0
    model.forward = None
    for time in (3, 6, 1, 2, 5):
        got = decoder(ids[:, start : start + time], cache=cache)
        assert isinstance(got, Tensor)
        assert_dtype(got, dtype)
        assert_close(got, want[:, start : start + time], name=f"tokens {start} to {start + time - 1}")
        got.data[...] = np.nan  # it is the caller's
        start += time
        assert cache.lengths.tolist() == [start] * batch
    assert_close(decoder.step(ids[:, 17], cache), want[:, 17])


@kinds
@pytest.mark.parametrize("lengths", [(2, 7, 4), (7, 7, 3), (0, 5, 1)], ids=str)
def test_parts_of_rows_of_different_lengths(draw, kind, lengths):
    """Behind prompts of up to 7 tokens each row goes on from its own length: two tokens, six, one, and two again."""
    model, lengths, ids = gpt(draw, kind), np.array(lengths), draw.integers(11, 3, 18)
    decoder, cache, want = Decoder(model), KVCache.of(model, 3), whole(model, ids)
    prefill(model, ids[:, :7], cache, np.arange(7) < lengths[:, None])
    for time in (2, 6, 1, 2):
        places = np.arange(3)[:, None], cache.lengths[:, None] + np.arange(time)
        assert_close(decoder(ids[places], cache=cache), want[places], name=f"a part of {time}")
    assert cache.lengths.tolist() == (lengths + 11).tolist()


@kinds
def test_parts_of_some_rows_of_a_cache(draw, kind):
    """row(1, 2) reads parts for rows 1 and 2, while the others wait. Then all have a step."""
    model, ids = gpt(draw, kind), draw.integers(11, 4, 14)
    decoder, cache, want = Decoder(model), KVCache.of(model, 4), whole(model, ids)
    lengths = np.array([6, 5, 3, 4])
    prefill(model, ids[:, :6], cache, np.arange(6) < lengths[:, None])
    for time in (2, 5):
        places = np.arange(1, 3)[:, None], lengths[1:3, None] + np.arange(time)
        assert_close(decoder(ids[places], cache=cache.row(1, 2)), want[places])
        lengths[1:3] += time
    assert cache.lengths.tolist() == lengths.tolist() == [6, 12, 10, 4]
    assert_close(decoder.step(ids[np.arange(4), lengths], cache), want[np.arange(4), lengths])


@kinds
def test_large_scores_of_a_part_stay_finite(draw, kind):
    """Scores of ±10,000: each head and each token has a maximum of its own."""
    for factor in (40.0, -40.0):
        model, ids = gpt(draw, kind), draw.integers(11, 3, 9)
        for block in model.transformer.h:
            block.attn.c_attn.weight.data[:12] *= factor
            block.attn.c_attn.weight.data[12:24] *= abs(factor)
        decoder, cache, want = Decoder(model), KVCache.of(model, 3), whole(model, ids)
        with undisturbed():
            for part in (np.s_[:, :4], np.s_[:, 4:9]):
                assert_close(decoder(ids[part], cache=cache), want[part])


def test_large_products_of_a_part_are_no_warning(draw):
    """Where the square of what GELU takes is more than float32 can hold."""
    model, ids = gpt(draw, "no bias", np.float32), draw.integers(11, 2, 4)
    for block in model.transformer.h:
        block.mlp.c_fc.weight.data *= np.float32(1e20)
        block.mlp.c_proj.weight.data *= np.float32(1e-20)
    decoder, cache, want = Decoder(model), KVCache.of(model, 2), whole(model, ids)
    with undisturbed():
        got = decoder(ids, cache=cache)
    assert_close(got, want)


def test_what_is_not_finite_is_not_hidden(draw):
    """A NaN in a weight is one in the logits, of a step and of several tokens."""
    model, ids = gpt(draw), draw.integers(11, 2, 4)
    model.transformer.ln_f.weight.data[3] = np.nan
    decoder = Decoder(model)
    assert np.isnan(decoder.step(ids[:, 0], KVCache.of(model, 2))).all()
    assert np.isnan(decoder(ids, cache=KVCache.of(model, 2)).data).all()


@kinds
@batches
def test_what_forward_refuses(draw, kind, batch):
    """Several tokens raise what one would, and the cache is as before: the text goes on where it was."""
    model, ids = gpt(draw, kind), draw.integers(11, batch, 24)
    decoder, cache, want = Decoder(model), KVCache.of(model, batch, 20), whole(model, ids)
    decoder(ids[:, :6], cache=cache)
    part = ids[:, 6:9]
    for number in (-1, 11):
        wrong = part.copy()
        wrong[-1, -1] = number
        with rejects(IndexError, str(number)):
            decoder(wrong, cache=cache)
    for dtype in ("float64", "bool"):
        with rejects(TypeError, dtype):
            decoder(part.astype(dtype), cache=cache)
    for shape in ((batch + 1, 3), (3,), (batch, 0)):
        with rejects(ValueError, str(shape)):
            decoder(np.zeros(shape, np.int64), cache=cache)
    with rejects(ValueError, "20"):
        decoder(np.concatenate([ids[:, :12], part], 1), cache=cache)
    right = {"n_layer": 2, "n_head": 2, "head_dim": 6, "window": model.config.window, "dtype": np.float64}
    for name, value in {"n_layer": 3, "n_head": 4, "head_dim": 5, "window": 7, "dtype": np.float32}.items():
        with rejects(ValueError, np.dtype(value).name if name == "dtype" else str(value)):
            decoder(part, cache=KVCache(batch=batch, max_length=20, **right | {name: value}))
    assert cache.lengths.tolist() == [6] * batch
    assert_close(decoder(part, cache=cache), want[:, 6:9])
    assert_close(decoder.step(ids[:, 9], cache), want[:, 9])


@pytest.mark.parametrize("kind", [kind for kind in KINDS if "window" not in kind])
def test_a_part_beyond_the_context_is_refused(draw, kind):
    """Of two rows the longer one counts: with 20 of 24 tokens it takes four more, not five."""
    model, ids = gpt(draw, kind), draw.integers(11, 2, 25)
    decoder, cache, want = Decoder(model), KVCache(2, 2, 2, 6, 100, dtype=np.float64), whole(model, ids[:, :24])
    prefill(model, ids[:, :20], cache, np.arange(20) < np.array([[20], [3]]))
    with rejects(ValueError, "24"):
        decoder(ids[:, :5], cache=cache)
    assert cache.lengths.tolist() == [20, 3]
    places = np.arange(2)[:, None], cache.lengths[:, None] + np.arange(4)
    assert_close(decoder(ids[places], cache=cache), want[places])


@pytest.mark.parametrize("kind", ["rotary", "window"])
@pytest.mark.parametrize("time", [1, 5], ids=["one token", "five tokens"])
def test_wherever_a_pass_fails_the_cache_is_as_before(draw, kind, time, monkeypatch):
    """A MemoryError in any exponential: of the first layer, of the last, of a softmax or of the rotation."""
    model, ids = gpt(draw, kind), draw.integers(11, 2, 16)
    decoder, cache, want, real = Decoder(model), KVCache.of(model, 2), whole(model, ids), np.exp
    prefill(model, ids[:, :6], cache, np.arange(6) < np.array([[6], [3]]))
    places = np.arange(2)[:, None], cache.lengths[:, None] + np.arange(time)
    for number in range(20):
        calls = iter(range(20))

        def fails(*arguments, calls=calls, number=number, **options):
            if next(calls) == number:
                raise MemoryError("no room")
            return real(*arguments, **options)

        monkeypatch.setattr(np, "exp", fails)
        try:
            got = decoder(ids[places], cache=cache)
        except MemoryError:
            assert cache.lengths.tolist() == [6, 3]
        else:
            break
    monkeypatch.undo()
    assert_close(got, want[places])
    places = np.arange(2), cache.lengths.copy()
    assert_close(decoder.step(ids[places], cache), want[places])


@pytest.mark.parametrize("vocab_size", [512, 515])
def test_products_of_many_rows(draw, vocab_size):
    """Forty rows of a wider model, and two rows of 35 tokens: a product has more than a million multiplications. An odd number
    of columns is the same.
    """
    model, ids = gpt(draw, vocab_size=vocab_size, d_model=64, context=36), draw.integers(vocab_size, 40, 36)
    decoder, cache, want = Decoder(model), KVCache.of(model, 40), whole(model, ids[:, :3])
    for time in range(3):
        assert_close(decoder.step(ids[:, time], cache), want[:, time])
    assert_close(decoder(ids[:2, :35], cache=KVCache.of(model, 2)), whole(model, ids[:2, :35]))


def test_no_loop_over_the_tokens_of_a_part(budget):
    """The number of Python instructions of 64 tokens at once is at most 2.5 times that of four."""
    model = GPT(GPTConfig(11, 64, 2, 2, 8), np.random.default_rng(0))
    decoder = Decoder(model)

    def read(time: int):
        return lambda: decoder(np.zeros((2, time), np.int64), cache=KVCache.of(model, 2))

    budget.steps(read(4), read(64), limit=2.5)


def test_a_full_row_is_refused(draw):
    """A row that would be longer than max_length or the context raises a ValueError that contains the limit; the cache is as
    before, and exactly as many fit.
    """
    model, ids = gpt(draw), draw.integers(11, 2, 24)
    decoder, want = Decoder(model), whole(model, ids)
    cache = KVCache.of(model, 2, 9)
    prefill(model, ids[:, :8], cache, np.arange(8) < np.array([[8], [5]]))
    decoder.step([ids[0, 8], ids[1, 5]], cache)
    with rejects(ValueError, "9"):
        decoder.step(ids[:, 9], cache)
    assert cache.lengths.tolist() == [9, 6]
    assert_close(decoder.step(ids[:, 6], cache, [False, True])[1], want[1, 6])
    longer = KVCache(2, 2, 2, 6, 100, dtype=np.float64)
    prefill(model, ids[:, :23], longer)
    assert_close(decoder.step(ids[:, 23], longer), want[:, 23])
    with rejects(ValueError, "24"):
        decoder.step(ids[:, 0], longer)
    assert longer.lengths.tolist() == [24, 24]


@batches
def test_what_does_not_fit_is_refused(draw, batch):
    """ids or real of another shape, and a cache of another model, raise a ValueError that contains what differs; ids that are
    not integers and a real that is not boolean a TypeError that contains the dtype; an id that doesn't exist an IndexError
    that contains it.
    """
    model = gpt(draw)
    decoder, cache = Decoder(model), KVCache.of(model, batch)
    right = np.zeros(batch, np.int64)
    for ids in (np.zeros((batch, 1), int), np.zeros(batch + 1, int), 3):
        with rejects(ValueError, str(np.shape(ids))):
            decoder.step(ids, cache)
    with rejects(TypeError, "float64"):
        decoder.step(right.astype(np.float64), cache)
    with rejects(TypeError, "bool"):
        decoder.step(right.astype(bool), cache)
    for number in (-1, 11):
        with rejects(IndexError, str(number)):
            decoder.step(right + number, cache)
    with rejects(TypeError, "int64"):
        decoder.step(right, cache, np.ones(batch, np.int64))
    for shape in ((batch + 1,), (batch, 1)):
        with rejects(ValueError, str(shape)):
            decoder.step(right, cache, np.ones(shape, bool))
    assert cache.lengths.tolist() == [0] * batch
    right_sizes = {"n_layer": 2, "n_head": 2, "head_dim": 6, "window": None, "dtype": np.float64}
    for name, value in {"n_layer": 3, "n_head": 4, "head_dim": 5, "window": 7}.items():
        other = KVCache(batch=batch, max_length=20, **right_sizes | {name: value})
        with rejects(ValueError, str(value)):
            decoder.step(right, other)
    with rejects(ValueError, "float32"):
        decoder.step(right, KVCache(batch=batch, max_length=20, **right_sizes | {"dtype": np.float32}))


@pytest.mark.parametrize("equal", [True, False], ids=["equal lengths", "different lengths"])
@pytest.mark.parametrize("window", [None, 900])
def test_a_step_allocates_nothing_that_grows_with_the_text(budget, equal, window):
    """Eight rows behind 2,000 tokens, or 900 in a window, take less than 60 kB: the scores alone are 128 kB."""
    positions = {"positions": "rotary", "window": window} if window else {}
    model = GPT(GPTConfig(11, 2200, 2, 2, 8, **positions), np.random.default_rng(0))
    decoder, cache = Decoder(model), KVCache.of(model, 8)
    k = Tensor(np.zeros((8, 2, 2000, 4), np.float32))
    for layer in range(2):
        cache.extend(layer, k, k)
    if not equal:
        cache.release(0)
    budget.bytes(lambda: decoder.step(list(range(8)), cache), peak=60_000)


def test_a_step_retains_nothing(draw):
    """Memory stays as it is, token after token: less than 100 kB are left of 20 steps, whose logits are 320 kB."""
    model = gpt(draw, "rotary", np.float32, vocab_size=2000)
    decoder, cache = Decoder(model), KVCache.of(model, 2)

    def steps():
        cache.truncate(0)
        for _ in range(20):
            decoder.step([1, 2], cache)

    _, retained = measure_bytes(steps)
    assert retained < 100_000, f"{retained} bytes are left"


@pytest.mark.parametrize("equal", [True, False], ids=["equal lengths", "different lengths"])
def test_no_loop_over_the_rows_of_a_step(budget, equal):
    """The number of Python instructions of 64 rows is at most 2.5 times that of two."""
    model = GPT(GPTConfig(11, 400, 2, 2, 8), np.random.default_rng(0))
    decoder = Decoder(model)

    def steps(batch: int):
        cache = KVCache.of(model, batch)
        if not equal:
            prefill(model, np.zeros((batch, 3), np.int64), cache, np.arange(3) < 1 + (np.arange(batch) % 3)[:, None])
        return lambda: decoder.step(np.zeros(batch, np.int64), cache)

    budget.steps(steps(2), steps(64), limit=2.5)


@pytest.mark.time
@pytest.mark.parametrize("kind", ["learned", "rotary, rms, no bias"])
def test_a_step_takes_far_less_time_than_the_model(budget, kind):
    """One token behind 30, of a model with four layers: at most 0.4 times the CPU time of the model with the same cache."""
    model = GPT(GPTConfig(100, 64, 4, 4, 64, **KINDS[kind]), np.random.default_rng(0)).eval()
    decoder, cache, text = Decoder(model), KVCache.of(model, 1), np.zeros((1, 30), np.int64)
    prefill(model, text, cache)

    def plain():
        with no_grad():
            model(text[:, :1], None, cache)
        cache.truncate(30)

    def folded():
        decoder.step(text[0, :1], cache)
        cache.truncate(30)

    budget.time(folded, plain, 0.4)
