import numpy as np
import pytest
from katas.caching import KVCache, prefill
from katas.tensor import Tensor
from katas.transformers import GPT, GPTConfig, LayerNorm

from specs.check import assert_close, assert_dtype, layouts, rejects, undisturbed

KINDS = {
    "learned": {},
    "sinusoidal": {"positions": "sinusoidal", "norm": "rms"},
    "rotary": {"positions": "rotary"},
    "window": {"positions": "rotary", "window": 4},
}
kinds = pytest.mark.parametrize("kind", KINDS)


def gpt(draw, kind: str, dtype=np.float64, **options) -> GPT:
    """A small GPT with random parameters that hide nothing."""
    sizes = {"vocab_size": 11, "context": 24, "n_layer": 2, "n_head": 2, "d_model": 8}
    model = GPT(GPTConfig(**sizes | KINDS[kind] | options), np.random.default_rng(0))
    for parameter in model.parameters():
        parameter.data = np.array(0.5 * draw.normal(*parameter.shape) + (parameter.ndim == 1), dtype)
    return model


class Watched(GPT):
    """Notes what it is called with."""

    @classmethod
    def of(cls, model: GPT) -> "Watched":
        model.__class__, model.calls = cls, []
        return model

    def forward(self, ids, mask=None, cache=None):
        y = super().forward(ids, mask, cache)
        modes = {module.training for module in self.modules()}
        self.calls.append((np.shape(getattr(ids, "data", ids)), modes, y.requires_grad))
        return y


@kinds
@pytest.mark.parametrize("block", [1, 3, 5, 10, 64])
def test_it_gives_the_logits_after_the_last_token(draw, kind, block):
    """For any size of the blocks, one that divides the prompt or not: what the model gives after the whole prompt."""
    model, ids = gpt(draw, kind), draw.integers(11, 3, 10)
    cache, want = KVCache.of(model, 3), model(ids).data
    got = prefill(model, ids, cache, block=block)
    assert isinstance(got, np.ndarray)
    said = {"the logits after the first token": want[:, 0], "those after the last but one": want[:, -2]}
    assert_close(got, want[:, -1], mistakes=said)
    assert cache.lengths.tolist() == [10] * 3
    new = draw.integers(11, 3, 1)
    assert_close(model(new, None, cache).data[:, 0], model(np.concatenate([ids, new], 1)).data[:, -1])


@kinds
def test_a_second_prompt_follows_the_first(draw, kind):
    """Its tokens stand behind those that the cache holds."""
    model, ids = gpt(draw, kind), draw.integers(11, 2, 14)
    cache, want = KVCache.of(model, 2), model(ids).data
    for start, end in ((0, 5), (5, 6), (6, 14)):
        assert_close(prefill(model, ids[:, start:end], cache, block=4), want[:, end - 1])


@kinds
@pytest.mark.parametrize("where", ["left", "right", "gaps"])
def test_rows_of_different_lengths(draw, kind, where):
    """The mask is True for real tokens. Each row's logits are those after its own last token, in whichever block that is."""
    model, lengths = gpt(draw, kind), [9, 2, 5]
    ids, mask = draw.integers(11, 3, 9), np.zeros((3, 9), bool)
    for row, length in enumerate(lengths):
        places = {"left": range(9 - length, 9), "right": range(length), "gaps": [0, 2, 4, 6, 8, 1, 3, 5, 7][:length]}[where]
        mask[row, list(places)] = True
    for block in (1, 4, 9, 20):
        cache = KVCache.of(model, 3)
        got = prefill(model, ids, cache, mask, block)
        assert cache.lengths.tolist() == lengths
        for row in range(3):
            assert_close(got[row], model(ids[row, mask[row]][None]).data[0, -1], name=f"blocks of {block}, row {row}")


def test_a_row_without_tokens_gets_zeros_and_waits(draw):
    """The others are read; its length stays, and it goes on later."""
    model, ids = gpt(draw, "rotary"), draw.integers(11, 2, 6)
    cache = KVCache.of(model, 2)
    prefill(model, ids[:, :2], cache)
    got = prefill(model, ids[:, 2:5], cache, np.array([[True] * 3, [False] * 3]), block=2)
    assert cache.lengths.tolist() == [5, 2]
    assert_close(got, np.stack([model(ids[:1, :5]).data[0, -1], np.zeros(11)]))


def test_ids_and_mask_may_be_lists_or_tensors(draw):
    """As GPT takes them."""
    model, ids = gpt(draw, "learned"), draw.integers(11, 2, 5)
    mask, want = np.array([[True] * 5, [True] * 3 + [False] * 2]), None
    for kind in (np.array, Tensor, lambda array: np.asarray(array).tolist()):
        got = prefill(model, kind(ids), KVCache.of(model, 2), kind(mask))
        want = got if want is None else want
        assert_close(got, want)


def test_ids_and_mask_may_lie_in_memory_in_any_order(draw):
    """What counts is where they are in the array."""
    model, ids, mask = gpt(draw, "rotary"), draw.integers(11, 3, 7), np.arange(7) < np.array([[7], [2], [5]])
    want = prefill(model, ids, KVCache.of(model, 3), mask)
    for given, real in zip(layouts(ids).values(), layouts(mask).values(), strict=True):
        assert_close(prefill(model, given, KVCache.of(model, 3), real), want)


def test_the_model_gets_a_block_at_a_time_in_eval_mode_without_recording(draw):
    """Of ten tokens it never gets more than 4 at once. Each module is afterwards in the mode in which it was."""
    model = Watched.of(gpt(draw, "learned", dropout=0.5))
    model.train()
    model.transformer.h[1].eval()
    before = [module.training for module in model.modules()]
    ids = draw.integers(11, 2, 10)
    with undisturbed():
        got = prefill(model, ids, KVCache.of(model, 2), block=4)
    assert model.calls
    assert max(shape[1] for shape, _, _ in model.calls) == 4
    assert all(modes == {False} and not recorded for _, modes, recorded in model.calls)
    assert [module.training for module in model.modules()] == before
    model.eval()
    assert_close(got, model(ids).data[:, -1])
    assert model(ids).requires_grad, "operations are no longer recorded"


def test_after_an_error_every_module_is_in_its_former_mode(draw):
    """Here the model's last layer refuses what it gets."""
    model = gpt(draw, "learned")
    model.train()
    model.transformer.ln_f = LayerNorm(7)
    with rejects(ValueError, "7"):
        prefill(model, np.array([[1, 2]]), KVCache.of(model, 1))
    assert all(module.training for module in model.modules())


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_logits_have_the_models_dtype(draw, dtype):
    """float32 or float64, also where a row has no token."""
    model = gpt(draw, "rotary", dtype)
    assert_dtype(prefill(model, draw.integers(11, 2, 5), KVCache.of(model, 2), np.array([[True] * 5, [False] * 5])), dtype)


def test_a_prompt_longer_than_a_window_and_the_context(draw):
    """With a window, a prompt of three contexts is read into a cache that holds the window only."""
    model, ids = gpt(draw, "window"), draw.integers(11, 2, 72)
    cache = KVCache.of(model, 2)
    size = cache.nbytes
    assert_close(prefill(model, ids, cache, block=7), model(ids).data[:, -1])
    assert cache.nbytes == size


def test_what_does_not_fit_is_refused_before_anything_is_changed(draw):
    """A row that would be longer than max_length or the context: a ValueError that contains the limit, though the first blocks
    would fit.
    """
    model = gpt(draw, "learned")
    cache, ids = KVCache.of(model, 2, 9), draw.integers(11, 2, 10)
    with rejects(ValueError, "9"):
        prefill(model, ids, cache, block=3)
    assert cache.lengths.tolist() == [0, 0]
    prefill(model, ids, cache, np.arange(10) < 9 * np.ones((2, 1)), block=3)
    assert cache.lengths.tolist() == [9, 9]
    with rejects(ValueError, "9"):
        prefill(model, ids[:, :1], cache)
    longer = KVCache(2, 2, 2, 4, 100, dtype=np.float64)
    for count in (25, 30):
        with rejects(ValueError, "24"):
            prefill(model, draw.integers(11, 2, count), longer, block=3)
        assert longer.lengths.tolist() == [0, 0]
    prefill(model, draw.integers(11, 2, 24), longer, block=5)
    assert longer.lengths.tolist() == [24, 24]


def test_shapes_and_types_are_checked(draw):
    """ids without two axes, without an id, or for another number of rows, and a mask of another shape, raise a ValueError that
    contains the shape; a block below 1 raises a ValueError; a mask that is not boolean a TypeError that contains the dtype.
    """
    model, ids = gpt(draw, "learned"), draw.integers(11, 2, 5)
    cache = KVCache.of(model, 2)
    for wrong in (ids[0], ids[:, :0], ids[:1], ids[None]):
        with rejects(ValueError, str(wrong.shape)):
            prefill(model, wrong, cache)
    with rejects(ValueError, "(2, 4)"):
        prefill(model, ids, cache, np.ones((2, 4), bool))
    for block in (0, -1):
        with rejects(ValueError, str(block)):
            prefill(model, ids, cache, block=block)
    with rejects(TypeError, "int64"):
        prefill(model, ids, cache, np.ones((2, 5), np.int64))
    with rejects(TypeError, "float64"):
        prefill(model, ids.astype(np.float64), cache)
    assert cache.lengths.tolist() == [0, 0]


def test_memory_grows_with_the_block_and_not_with_the_square_of_the_prompt(budget):
    """A prompt of 512 tokens needs less than 1.8 MB, with 2 heads of 4 channels. All scores at once are 2.1 MB, several
    times.
    """
    model = GPT(GPTConfig(11, 512, 1, 2, 8), np.random.default_rng(0))
    cache, ids = KVCache.of(model, 1), np.zeros((1, 512), np.int64)

    def call():
        cache.truncate(0)
        prefill(model, ids, cache)

    budget.bytes(call, peak=1_800_000)


def test_an_id_that_does_not_exist_is_found_before_anything_is_kept(draw):
    """In a later block too. Padding may have any."""
    model, ids = gpt(draw, "learned"), np.array(draw.integers(11, 1, 9))
    cache = KVCache.of(model, 1)
    for bad in (-1, 11):
        ids[0, 7] = bad
        with rejects(IndexError, str(bad)):
            prefill(model, ids, cache, block=3)
        assert cache.lengths.tolist() == [0]
    prefill(model, ids, cache, np.arange(9)[None] != 7, block=3)
    assert cache.lengths.tolist() == [8]


def test_after_an_interrupt_every_module_is_in_its_former_mode(draw):
    """Not after errors alone: also after a KeyboardInterrupt in the model."""

    def interrupted(*arguments):
        raise KeyboardInterrupt

    model = gpt(draw, "learned")
    model.train()
    model.transformer.ln_f.forward = interrupted
    with pytest.raises(KeyboardInterrupt):
        prefill(model, np.array([[1, 2]]), KVCache.of(model, 1))
    assert all(module.training for module in model.modules())


def test_cached_tokens_count_for_the_context(draw):
    """Before a block is kept: 20 tokens in a cache that has room for more, and 5 others, are beyond a context of 24."""
    model, ids = gpt(draw, "learned"), draw.integers(11, 1, 20)
    cache = KVCache(2, 1, 2, 4, 40, dtype=np.float64)
    prefill(model, ids, cache)
    with rejects(ValueError, "24"):
        prefill(model, ids[:, :5], cache, block=2)
    assert cache.lengths.tolist() == [20]
    prefill(model, ids[:, :4], cache, block=2)


def test_padding_counts_for_the_context(draw):
    """The longest row and all of ids may not be more than the context, however few ids are real. Nothing is kept before."""
    model, ids = gpt(draw, "learned"), draw.integers(11, 2, 20)
    cache, real = KVCache(2, 2, 2, 4, 40, dtype=np.float64), np.arange(20) % 2 == np.zeros((2, 1))
    prefill(model, ids[:, :5], cache, [[True] * 5, [True, False, False, False, False]])
    for mask in (real, real & [[False], [True]]):
        with rejects(ValueError, "24"):
            prefill(model, ids, cache, mask, block=3)
        assert cache.lengths.tolist() == [5, 1]
    prefill(model, ids[:, :19], cache, real[:, :19], block=3)
    assert cache.lengths.tolist() == [15, 11]


@pytest.mark.parametrize("n_layer", [1, 3])
def test_a_cache_of_other_layers_is_refused(draw, n_layer):
    """Before anything is kept: both numbers are named."""
    model, cache = gpt(draw, "learned"), KVCache(n_layer, 1, 2, 4, 24, dtype=np.float64)
    with rejects(ValueError, str(n_layer), "2"):
        prefill(model, [[1, 2]], cache)
    assert cache.lengths.tolist() == [0]


def test_ids_are_integers(draw):
    """Floats are refused by their dtype, whatever their values are."""
    model = gpt(draw, "learned")
    for ids in ([[1.5]], [[99.5]]):
        with rejects(TypeError, "float"):
            prefill(model, np.array(ids), KVCache.of(model, 1))
