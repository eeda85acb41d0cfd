import numpy as np
import pytest
from katas.caching import Decoder, KVCache, prefill
from katas.transformers import GPT, GPTConfig, generate

from specs.check import assert_close

KINDS = {
    "learned": {},
    "sinusoidal": {"positions": "sinusoidal", "norm": "rms"},
    "rotary": {"positions": "rotary"},
    "window": {"positions": "rotary", "window": 8},
}
kinds = pytest.mark.parametrize("kind", KINDS)
CLEAR = 1e-3  # between the two best logits: the better one is then no matter of rounding


def gpt(draw, kind: str) -> GPT:
    """A small GPT in float32, whose decisions are clear."""
    model = GPT(GPTConfig(vocab_size=31, context=40, n_layer=2, n_head=2, d_model=16, **KINDS[kind]), np.random.default_rng(0))
    for parameter in model.parameters():
        parameter.data = np.array(0.5 * draw.normal(*parameter.shape) + (parameter.ndim == 1), np.float32)
    return model


def clear(model: GPT, text: list[int], count: int) -> int:
    """How many of the greedy tokens behind a text are clear decisions, one after another."""
    text = list(text)
    for number in range(count):
        logits = np.sort(model(np.array([text])).data[0, -1])
        if logits[-1] - logits[-2] < CLEAR:
            return number
        text.append(int(model(np.array([text])).data[0, -1].argmax()))
    return count


@kinds
@pytest.mark.parametrize("writer", ["model", "decoder"])
def test_the_same_tokens_as_without_a_cache(draw, kind, writer):
    """As long as the decision between the two best logits is clear (1e-3): of the model, and of a Decoder in its place."""
    model = gpt(draw, kind)
    for prompt in ([3], [1, 2, 3, 4, 5, 6], list(range(20))):
        want = list(generate(model, prompt, 20, temperature=0))
        count, cache = clear(model, prompt, 20), KVCache.of(model, 1)
        got = list(generate(Decoder(model) if writer == "decoder" else model, prompt, 20, temperature=0, cache=cache))
        assert count > 5
        assert got[:count] == want[:count], f"{got} instead of {want}, of which the first {count} are clear"
        assert cache.lengths.tolist() == [len(prompt) + 19]


@kinds
def test_what_is_drawn_is_the_same_too(draw, kind):
    """With the same generator, top-k, top-p and a stop id."""
    model = gpt(draw, kind)
    options = {"temperature": 0.7, "top_k": 9, "top_p": 0.9, "stop": [30]}
    want = list(generate(model, [5, 6], 15, rng=np.random.default_rng(4), **options))
    got = list(generate(Decoder(model), [5, 6], 15, rng=np.random.default_rng(4), cache=KVCache.of(model, 1), **options))
    assert got == want


@kinds
def test_behind_a_prompt_that_was_read_before(draw, kind):
    """The cache holds the text up to the last id, which generate is given."""
    model, text = gpt(draw, kind), [1, 2, 3, 4, 5, 6, 7]
    cache = KVCache.of(model, 1)
    prefill(model, [text[:-1]], cache)
    got = list(generate(Decoder(model), text[-1:], 10, temperature=0, cache=cache))
    assert got == list(generate(model, text, 10, temperature=0))


def test_a_row_of_a_batch_writes_while_the_others_wait(draw):
    """row(1) is a cache like any other."""
    model = gpt(draw, "rotary")
    cache = KVCache.of(model, 3)
    prefill(model, [[1, 2, 3], [4, 5, 6], [7, 8, 9]], cache, np.array([[True] * 3, [False] * 3, [True] * 3]))
    got = list(generate(Decoder(model), [4, 5], 10, temperature=0, cache=cache.row(1)))
    assert got == list(generate(model, [4, 5], 10, temperature=0))
    assert cache.lengths.tolist() == [3, 11, 3]
    assert_close(Decoder(model).step([5, 5, 5], cache)[0], model([[1, 2, 3, 5]]).data[0, -1])
