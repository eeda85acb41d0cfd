"""A text: how well a GPT can learn its first nine tenths in so many minutes."""

import math
import time
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from katas.losses import CrossEntropyLoss
from katas.tensor import Tensor
from katas.tokenization import BPETokenizer
from katas.training import Trainer, cosine_schedule, validate
from katas.transformers import GPT, GPTConfig, next_token_windows

from specs.milestones.recipes.accelerated import accelerated
from specs.milestones.recipes.gpt import Corpus, adamw, in_order

WARMUP, FINAL = 20, 0.05  # thousandths of the time; the last learning rate, as a share of the first one
ROW = 1024  # tokens in a row, where it is tested


class Plan(NamedTuple):
    """A GPT, and what it is trained with."""

    vocabulary: int
    layers: int
    heads: int
    width: int
    context: int  # a token sees so many, itself included, in every layer
    batch: int  # rows
    dropout: float
    learning_rate: float


# Both see the text so often that they would learn it by heart without dropout
FIVE = Plan(1024, 4, 4, 128, 64, 16, 0.1, 4e-3)
FIFTEEN = Plan(1024, 4, 4, 192, 64, 16, 0.2, 3e-3)


def plan(minutes: float) -> Plan:
    """What suits so many minutes."""
    return FIVE if minutes <= 5 else FIFTEEN


def train(texts: Corpus, plan: Plan, seconds: float, seed: int = 0) -> dict[str, float]:
    """Trains for so many seconds: bits per byte of the second part, and the steps, tokens and seconds of the training.

    The learning rate follows the time that has passed: a faster machine takes more steps, and a second run takes others.
    The tokenizer's own training, and the test, are not counted.
    """
    rng, tokenizer = np.random.default_rng(seed), BPETokenizer.train(texts.train, plan.vocabulary)
    ids = np.array(tokenizer.encode(texts.train))
    others = np.array([ids[-1], *tokenizer.encode(texts.test)])  # so that the first id of the second part can be predicted
    shape = plan.context, plan.layers, plan.heads, plan.width, plan.dropout
    config = GPTConfig(tokenizer.vocab_size, *shape, bias=False, positions="rotary", norm="rms", window=plan.context)
    network, criterion, windows = GPT(config, rng), CrossEntropyLoss(), next_token_windows(ids, plan.context)
    learning = accelerated(network, criterion, adamw(network, plan.learning_rate))
    start, factor = time.perf_counter(), cosine_schedule(1000, WARMUP, FINAL)

    def share() -> float:
        return (time.perf_counter() - start) / seconds

    def batches() -> Iterator[tuple[Tensor, ...]]:
        while share() < 1:
            yield tuple(map(Tensor, windows.batch(rng.integers(len(windows), size=plan.batch))))

    trainer = Trainer(**learning, schedule=lambda _: factor(int(1000 * share())), clip_norm=1.0)
    (epoch,) = trainer.fit(batches(), 1)
    nats = validate(network, in_order(others, ROW), criterion) * (len(others) - 1)
    bits, tokens = nats / math.log(2) / len(texts.test.encode()), trainer.step * plan.batch * plan.context
    return {"bits": bits, "steps": trainer.step, "tokens": tokens, "seconds": epoch["seconds"]}
