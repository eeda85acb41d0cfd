"""A text: how a tokenizer and a GPT learn its first nine tenths through a Trainer."""

import functools
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
from katas.dataloader import DataLoader, Subset
from katas.losses import CrossEntropyLoss
from katas.optimizers import AdamW
from katas.tensor import Tensor
from katas.tokenization import BPETokenizer
from katas.training import Progress, Trainer, cosine_schedule
from katas.transformers import GPT, GPTConfig, next_token_windows

from specs.datasets.text import Text
from specs.milestones.recipes.accelerated import accelerated

CONTEXT, BATCH = 64, 16  # tokens in a row, rows in a batch
EPOCHS, STEPS = 10, 150  # steps in an epoch, at most: a short text has fewer
LEARNING_RATE, WEIGHT_DECAY = 4e-3, 0.1
SCORED = 4096  # tokens in a batch to test on


class Size(NamedTuple):
    """The size of a vocabulary and of a network."""

    vocabulary: int
    layers: int
    width: int


# Chosen on held_out: 2.16 bits per byte, and 2.19 with a vocabulary of 512
LARGE = Size(1024, 4, 128)
SMALL = Size(320, 2, 64)
ENOUGH = 200_000  # characters to train on, for the large one


class Corpus(NamedTuple):
    """A text in two parts. The tokenizer and the network learn from the first; the second only tests them."""

    train: str
    test: str
    source: str


def corpus(text: Text) -> Corpus:
    """The first nine tenths of a text, and the last."""
    cut = len(text.text) * 9 // 10
    return Corpus(text.text[:cut], text.text[cut:], text.source)


def held_out(texts: Corpus) -> Corpus:
    """The first part alone, in two parts: what a recipe is chosen on."""
    return corpus(Text(texts.train, f"{texts.source}, the first nine tenths alone"))


def size(train: str) -> Size:
    """The size that a training text is long enough for."""
    return LARGE if len(train) >= ENOUGH else SMALL


@functools.cache
def tokenizer(train: str) -> BPETokenizer:
    """A tokenizer trained on the first part."""
    return BPETokenizer.train(train, size(train).vocabulary)


@functools.cache
def encoded(train: str, test: str) -> tuple[np.ndarray, np.ndarray]:
    """The ids of both parts. The second begins with the first part's last id, so that its own first id can be predicted."""
    ids = np.array(tokenizer(train).encode(train))
    return ids, np.array([ids[-1], *tokenizer(train).encode(test)])


def build(shape: Size, rng: np.random.Generator) -> GPT:
    """A GPT in which each token sees the CONTEXT - 1 tokens before it, in every layer, so that a row may be longer."""
    vocabulary, layers, width = shape
    config = GPTConfig(vocabulary, CONTEXT, layers, 4, width, bias=False, positions="rotary", norm="rms", window=CONTEXT)
    return GPT(config, rng)


def adamw(network: GPT, lr: float) -> AdamW:
    """Only matrices decay."""
    return AdamW(network.parameter_groups(WEIGHT_DECAY), lr=lr, betas=(0.9, 0.99))


class Drawn:
    """Batches to train on. Each epoch draws windows at random; it trains on at most as many tokens as the text has."""

    def __init__(self, ids: np.ndarray, rng: np.random.Generator):
        self.windows, self.rng = next_token_windows(ids, CONTEXT), rng
        self.steps = max(1, min(STEPS, len(ids) // (BATCH * CONTEXT)))

    def __len__(self) -> int:
        return self.steps

    def __iter__(self):
        chosen = self.rng.choice(len(self.windows), self.steps * BATCH, replace=False)
        return iter(DataLoader(Subset(self.windows, chosen), BATCH))


def in_order(ids: np.ndarray, length: int) -> list[tuple[Tensor, Tensor]]:
    """Batches to test on: rows of `length` tokens, and a shorter last row. Every id but the first is a target, once."""
    whole = (len(ids) - 1) // length * length
    cuts = [*range(0, whole, SCORED), whole, len(ids) - 1]
    pairs = [(ids[start:stop], ids[start + 1 : stop + 1]) for start, stop in pairwise(cuts) if start < stop]
    return [(Tensor(x.reshape(-1, min(length, len(x)))), Tensor(y.reshape(-1, min(length, len(y))))) for x, y in pairs]


def train(texts: Corpus, seed: int, progress: Progress | None = None, checkpoint: Path | None = None) -> Trainer:
    """The recipe, from a seed to a trained network, trainer.network; or, from a checkpoint, what is left of it."""
    rng = np.random.default_rng(seed)
    ids, others = encoded(texts.train, texts.test)
    network, data, criterion = build(size(texts.train), rng), Drawn(ids, rng), CrossEntropyLoss()
    optimizer = adamw(network, LEARNING_RATE)
    total = EPOCHS * len(data)
    schedule = cosine_schedule(total, warmup_steps=total // 20, final=0.05)
    if progress is not None:
        progress.network = network  # the milestone's shows what the network writes
    trainer = Trainer(
        **accelerated(network, criterion, optimizer),
        metric=criterion,
        schedule=schedule,
        clip_norm=1.0,
        progress=progress,
        checkpoint=checkpoint,
    )
    trainer.fit(data, EPOCHS, in_order(others, CONTEXT))
    return trainer
