"""Milestone 3, second line: from raw text to a GPT that predicts better than counting does, and writes mostly words."""

import math
import re

import numpy as np
import pytest
from katas.autograd import no_grad
from katas.tensor import Tensor
from katas.training import Trainer
from katas.transformers import GPT, generate
from matplotlib.figure import Figure

from specs.datasets.text import Text, python_docs, shakespeare
from specs.milestones.ngrams import NGram
from specs.milestones.pictures import Curve, language
from specs.milestones.recipes import gpt as recipe
from specs.milestones.recipes.gpt import CONTEXT, Corpus
from specs.plugin.limits import peak_memory

LONG = 16 * CONTEXT  # tokens in a row, in a second test
WANTED, WORDS = 2.4, 85  # bits per byte of tiny Shakespeare; % of the written words that the training text has
SECONDS = 480  # of training, on two quiet cores
WRITTEN, SHOWN, TEMPERATURE = 1000, 40, 0.8  # tokens at the end, and after each epoch
DRAWN = 24  # tokens in the picture of an attention map
FEW = 20_000  # characters with --data few


class Writer(Curve):
    """Shows after each epoch a sample of what the network writes. The recipe sets `network`."""

    def __init__(self, texts: Corpus):
        super().__init__()
        self.texts = texts

    def end_epoch(self, loss: float, metric: float | None, seconds: float) -> None:
        super().end_epoch(loss, metric, seconds)
        sample = recipe.tokenizer(self.texts.train).decode(written(self.network, self.texts, SHOWN))
        print(f"    {sample!r}", file=self.file)


@pytest.mark.timeout(3600)
def test_a_gpt_learns_a_language(milestone, data):
    """Katas 02 to 14 together learn nine tenths of a text, and predict the last tenth with fewer bits than a 5-gram needs."""
    texts = few() if data == "few" else recipe.corpus(shakespeare(data))
    assert_nothing_is_lost(texts)
    curve = Writer(texts)
    trainer = milestone.trained(recipe, texts, curve)
    network, seconds = trainer.network, sum(epoch["seconds"] for epoch in trainer.history)
    tokenizer, (_, others) = recipe.tokenizer(texts.train), recipe.encoded(texts.train, texts.test)
    train, test, tokens = texts.train.encode(), texts.test.encode(), len(others) - 1
    grams = {name: NGram(train, n) for name, n in (("bigram", 2), ("5-gram", 5))}
    counted = {name: gram.bits_per_byte(test, train) for name, gram in grams.items()}
    nats = {length: total_loss(network, others, length) for length in (CONTEXT, LONG)}
    new = written(network, texts, WRITTEN)
    text = tokenizer.decode(new)
    by_counts = grams["5-gram"].write(train, len(text.encode()), TEMPERATURE, np.random.default_rng(0)).decode(errors="replace")

    name, most, words = "Python's documentation", counted["5-gram"], f"≥ {WORDS}"
    if data == "few":
        most, words = counted["bigram"], ""  # 110 steps are too few for words
    elif texts.source.startswith("tiny Shakespeare"):
        name, most = "tiny Shakespeare", min(most, WANTED)
    milestone.note(f"data: {texts.source}, of which the last tenth is predicted")
    milestone.row(f"{name}: GPT, nats per token", nats[CONTEXT] / tokens)
    milestone.row(f"{name}: GPT, perplexity per token", math.exp(nats[CONTEXT] / tokens))
    for length, total in nats.items():
        bits = total / math.log(2) / len(test)
        milestone.row(f"{name}: GPT, bits per byte, {length:,} at once", bits, wanted=f"≤ {most:.3f}")
    for gram, bits in counted.items():
        milestone.row(f"{name}: byte {gram}, bits per byte", bits)
    milestone.row(f"{name}: GPT, known among the words it writes", known(text, texts), "%", wanted=words)
    milestone.row(f"{name}: 5-gram, known among the words it writes", known(by_counts, texts), "%")
    milestone.row(f"{name}: GPT, {trainer.step:,} steps", seconds, "s", target=f"≤ {SECONDS}")
    milestone.row(f"{name}: GPT, tokens a second", trainer.step * recipe.BATCH * CONTEXT / seconds)
    if curve.losses and (peak := peak_memory()):  # else it was trained before
        milestone.row(f"{name}: GPT, largest memory of the process", peak, "MB")
    milestone.picture("3_gpt", draw(trainer, curve.losses, texts, counted, text))
    assert_the_future_is_hidden(network, texts)
    assert_attention_chooses(network, texts)
    assert_order_matters(network, texts)
    assert_embeddings_learned(network, texts)
    assert_what_it_writes_is_likely(network, texts, new, nats[CONTEXT] / tokens)


@pytest.mark.timeout(300)
def test_training_does_not_see_the_last_tenth(monkeypatch):
    """With a different last tenth, training gives the same parameters, bit for bit: no validation data leak into it."""
    monkeypatch.setattr(recipe, "STEPS", 2)
    texts = few()
    states = [recipe.train(texts._replace(test=test), 0).network.state_dict() for test in (texts.test, texts.test[::-1])]
    for name, value in states[0].items():
        assert np.array_equal(value, states[1][name]), f"with a different last tenth, training gives a different {name}"


def few() -> Corpus:
    """The beginning of Python's documentation."""
    text, source = python_docs()
    return recipe.corpus(Text(text[:FEW], f"{FEW:,} characters of {source.split(' (')[0]}"))


def total_loss(network: GPT, ids: np.ndarray, length: int) -> float:
    """The sum of -ln p over all ids but the first, computed in float64 from the logits of rows of `length` ids."""
    total = 0.0
    for x, y in recipe.in_order(ids, length):
        logits = logits_of(network, x.data).astype(np.float64)
        logits -= logits.max(-1, keepdims=True)
        chosen = np.take_along_axis(logits, y.data[..., None], -1)[..., 0]
        total += float((np.log(np.exp(logits).sum(-1)) - chosen).sum())
    return total


def logits_of(network: GPT, ids: np.ndarray) -> np.ndarray:
    """The logits of ids (batch, time), in eval mode and without recording."""
    network.eval()
    with no_grad():
        return network(Tensor(ids)).data


def written(network: GPT, texts: Corpus, length: int) -> list[int]:
    """The ids that the network writes after a line end."""
    start = recipe.tokenizer(texts.train).encode("\n")
    return [*generate(network, start, length, TEMPERATURE, rng=np.random.default_rng(0))]


def known(text: str, texts: Corpus) -> float:
    """The percentage of the words in `text` that the training text contains."""
    found, words = re.findall(r"[^\W\d_]+", text), set(re.findall(r"[^\W\d_]+", texts.train))
    return 100 * sum(word in words for word in found) / max(1, len(found))


def assert_nothing_is_lost(texts: Corpus) -> None:
    """Decoding the ids gives the text. If the tokenizer dropped bytes, fewer bits per byte would mean nothing."""
    tokenizer, (ids, others) = recipe.tokenizer(texts.train), recipe.encoded(texts.train, texts.test)
    for text, numbers in ((texts.train, ids), (texts.test, others[1:])):
        assert tokenizer.decode(numbers) == text, "after encode and decode the text is different"


def rows(texts: Corpus, length: int) -> np.ndarray:
    """The first 4 · length ids of the last tenth, in four rows."""
    ids = recipe.encoded(texts.train, texts.test)[1]
    return ids[: 4 * length].reshape(4, length)


def assert_the_future_is_hidden(network: GPT, texts: Corpus) -> None:
    """Changing the last tokens must not change any logit before them. A GPT that sees the next token needs no bits."""
    ids = rows(texts, 2 * CONTEXT)
    for place in (1, CONTEXT, 2 * CONTEXT - 1):
        changed = ids.copy()
        changed[:, place:] = changed[::-1, place:]
        before, after = (logits_of(network, each)[:, :place] for each in (ids, changed))
        assert np.allclose(before, after, rtol=1e-3, atol=1e-3), (
            f"tokens from {place} on change logits before them by up to {np.abs(before - after).max():.3g}"
        )


def inputs(network: GPT, texts: Corpus):
    """Each layer's attention and its input for four rows: (4, CONTEXT, width)."""
    body = network.transformer
    x = body.wte(rows(texts, CONTEXT))
    for block in body.h:
        yield block.attn, block.ln_1(x)
        x = block(x)


def assert_attention_chooses(network: GPT, texts: Corpus) -> None:
    """The weights differ from uniform ones. The total variation distance is 0 if they don't, and at most 1."""
    mean = np.tri(CONTEXT) / np.arange(1, CONTEXT + 1)[:, None]
    with no_grad():
        distances = [float(np.abs(attention.weights(x) - mean).sum(-1).mean() / 2) for attention, x in inputs(network, texts)]
    assert min(distances) > 0.1, f"attention weights are nearly uniform: the distances of the layers are {distances}"


def assert_order_matters(network: GPT, texts: Corpus) -> None:
    """Reversing the earlier tokens changes what the last token finds in them. Without positions it would find the same."""
    with no_grad():
        for layer, (attention, x) in enumerate(inputs(network, texts)):
            backwards = Tensor(np.concatenate([x.data[:, -2::-1], x.data[:, -1:]], 1))
            straight, other = (attention(each).data[:, -1] for each in (x, backwards))
            change = np.abs(straight - other).max() / np.abs(straight).max()
            assert change > 0.05, f"layer {layer} finds the same in the reversed past: the largest difference is {change:.1%}"


def assert_embeddings_learned(network: GPT, texts: Corpus) -> None:
    """Training turned the embeddings (decay alone only shrinks them), and looking them up gives them a gradient."""
    embedding, ids = network.transformer.wte, rows(texts, CONTEXT)
    old = recipe.build(recipe.size(texts.train), np.random.default_rng(0)).transformer.wte.weight.data
    new = embedding.weight.data
    cosine = float((new * old).sum() / np.sqrt((new * new).sum() * (old * old).sum()))
    assert cosine < 0.8, f"the embeddings still point where they did before training: the cosine is {cosine:.3f}"
    network.zero_grad()
    embedding(ids).sum().backward()
    assert embedding.weight.grad[ids].all(), "looking tokens up gives their embeddings no gradient"


def assert_what_it_writes_is_likely(network: GPT, texts: Corpus, new: list[int], limit: float) -> None:
    """At a temperature below 1 the network writes what it finds likely: its own text costs it no more than the last tenth.

    Chance in the draws may add a few tenths of a nat. Ids drawn at random cost more than twice as much.
    """
    start = recipe.tokenizer(texts.train).encode("\n")
    nats = total_loss(network, np.array([*start, *new]), LONG) / len(new)
    assert nats < limit + 0.5, f"its own text costs the GPT {nats:.3f} nats per token, and the last tenth {limit:.3f}"


def draw(trainer: Trainer, losses: list, texts: Corpus, counted: dict[str, float], text: str) -> Figure:
    """The learning curves in bits per byte, the attention maps of the last layer, and the written text."""
    ids, others = recipe.encoded(texts.train, texts.test)
    scale = len(ids) / len(texts.train.encode()) / math.log(2)  # from nats per token to bits per byte
    scale_of_test = (len(others) - 1) / len(texts.test.encode()) / math.log(2)
    lines = {
        "steps": [(epochs, scale * nats) for epochs, nats in losses],
        "mean of an epoch": [(epoch["epoch"], scale * epoch["loss"]) for epoch in trainer.history],
        "the last tenth": [(epoch["epoch"], scale_of_test * epoch["metric"]) for epoch in trainer.history],
    }
    with no_grad():
        *_, (attention, x) = inputs(trainer.network, texts)
    maps = attention.weights(x)[0, :, :DRAWN, :DRAWN]
    tokens = [recipe.tokenizer(texts.train).decode([number]) for number in rows(texts, CONTEXT)[0, :DRAWN].tolist()]
    return language(lines, counted, texts.source, maps, tokens, text)
