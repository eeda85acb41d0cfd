"""CIFAR-10: how a trained network loses half of its channels, and most of its time, and learns again what it lost with them."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from katas.losses import CrossEntropyLoss
from katas.model_compression import prune_units, strongest, unit_scores
from katas.spatial import CNN, Conv2d
from katas.training import Progress, Trainer

from specs.datasets.images import Images
from specs.milestones.recipes.accelerated import accelerated
from specs.milestones.recipes.cifar10 import batch, build, in_order, sgd, shuffled

EPOCHS, LEARNING_RATE = 3, 0.1  # chosen on held_out
CHANNELS = 12, 24, 48, 64  # of 24, 48, 64, 96


class Lesson(NamedTuple):
    """Photographs, and a CNN that was trained on them."""

    photos: Images
    network: CNN

    @property
    def source(self) -> str:
        """What the photographs are."""
        return self.photos.source


def pruned(network: CNN) -> CNN:
    """A smaller copy: of each convolution's channels those that matter most are left."""
    small = build(np.random.default_rng(0))
    small.load_state_dict(network.state_dict())
    for conv, count in zip([layer for layer in small.layers if isinstance(layer, Conv2d)], CHANNELS, strict=True):
        prune_units(small, conv, strongest(unit_scores(small, conv), count))
    return small


def train(lesson: Lesson, seed: int, progress: Progress | None = None, checkpoint: Path | None = None) -> Trainer:
    """The recipe, from a trained network to a pruned one, trainer.network; or, from a checkpoint, what is left of it."""
    rng, photos = np.random.default_rng(seed), lesson.photos
    network, data = pruned(lesson.network), shuffled(photos.train_images, photos.train_labels, rng)
    optimizer, total = sgd(network, batch(photos.train_images), LEARNING_RATE), EPOCHS * len(data)
    trainer = Trainer(
        **accelerated(network, CrossEntropyLoss(label_smoothing=0.05), optimizer),
        schedule=lambda step: min(1, (step + 1) / (total / 10)) * (1 - step / total),
        progress=progress,
        checkpoint=checkpoint,
    )
    trainer.fit(data, EPOCHS, in_order(photos.test_images, photos.test_labels))
    return trainer
