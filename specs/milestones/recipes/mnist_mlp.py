"""MNIST: how a network of two layers learns its digits through a Trainer."""

from pathlib import Path

import numpy as np
from katas.activations import ReLU
from katas.layers import Linear, Sequential
from katas.losses import CrossEntropyLoss
from katas.optimizers import SGD
from katas.training import Batches, Progress, Trainer, cosine_schedule

from specs.datasets.images import Images
from specs.milestones.recipes.accelerated import accelerated

EPOCHS, BATCH, LEARNING_RATE = 5, 128, 0.1


def flat(images: np.ndarray) -> np.ndarray:
    """uint8 (n, 28, 28) → float32 (n, 784) between 0 and 1."""
    return (images.reshape(len(images), -1) / np.float32(255)).astype(np.float32)


def build(rng: np.random.Generator) -> Sequential:
    """784 pixels, 512 hidden units, 10 classes."""
    return Sequential(Linear(784, 512, rng=rng), ReLU(), Linear(512, 10, rng=rng))


def train(digits: Images, seed: int, progress: Progress | None = None, checkpoint: Path | None = None) -> Trainer:
    """The recipe, from a seed to a trained network, trainer.network; or, from a checkpoint, what is left of it."""
    rng = np.random.default_rng(seed)
    network, images, labels = build(rng), flat(digits.train_images), digits.train_labels.astype(np.int64)
    data = Batches(images, labels, BATCH, rng)
    optimizer = SGD(network.parameters(), lr=LEARNING_RATE, momentum=0.9, nesterov=True)
    options = {"schedule": cosine_schedule(EPOCHS * len(data)), "progress": progress, "checkpoint": checkpoint}
    trainer = Trainer(**accelerated(network, CrossEntropyLoss(), optimizer), **options)
    trainer.fit(data, EPOCHS)
    return trainer
