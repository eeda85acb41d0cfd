"""A text: how a small GPT learns from one that has learned it already, or alone."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from katas.losses import CrossEntropyLoss
from katas.model_compression import Distillation
from katas.training import Progress, Trainer, cosine_schedule
from katas.transformers import GPT

from specs.milestones.recipes.accelerated import accelerated
from specs.milestones.recipes.gpt import (
    CONTEXT,
    LARGE,
    SMALL,
    Corpus,
    Drawn,
    Size,
    adamw,
    build,
    encoded,
    in_order,
    size,
)

EPOCHS = 6  # of gpt.STEPS steps at most
SIZES = {LARGE: Size(LARGE.vocabulary, 2, 80), SMALL: Size(SMALL.vocabulary, 1, 32)}  # of a student, by its teacher's


class Lesson(NamedTuple):
    """A text, and a GPT that was trained on its first part."""

    texts: Corpus
    teacher: GPT

    @property
    def source(self) -> str:
        """What the text is."""
        return self.texts.source


class Plan(NamedTuple):
    """What a student learns from: the teacher's probabilities (alpha 1), or the text (alpha 0)."""

    alpha: float
    learning_rate: float


# The best rates on held_out. Half of each, or a temperature of 2, was worse
DISTILLED, ALONE = Plan(1.0, 8e-3), Plan(0.0, 3e-3)


def train(
    lesson: Lesson, seed: int, progress: Progress | None = None, checkpoint: Path | None = None, plan: Plan = DISTILLED
) -> Trainer:
    """The recipe, from a seed to a trained network, trainer.network; or, from a checkpoint, what is left of it.

    Both plans begin with the same network, and see the same batches.
    """
    rng, texts = np.random.default_rng(seed), lesson.texts
    ids, others = encoded(texts.train, texts.test)
    network, data, criterion = build(SIZES[size(texts.train)], rng), Drawn(ids, rng), CrossEntropyLoss()
    objective = Distillation(network, lesson.teacher, temperature=1.0, alpha=plan.alpha)
    total = EPOCHS * len(data)
    trainer = Trainer(
        **accelerated(network, None, adamw(network, plan.learning_rate), objective),
        metric=criterion,
        schedule=cosine_schedule(total, warmup_steps=total // 20, final=0.05),
        clip_norm=1.0,
        progress=progress,
        checkpoint=checkpoint,
    )
    trainer.fit(data, EPOCHS, in_order(others, CONTEXT))
    return trainer
