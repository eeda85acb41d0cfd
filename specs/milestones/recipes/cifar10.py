"""CIFAR-10: how its photographs are read by kata 10, and how a convolutional network learns them in minutes."""

from pathlib import Path

import numpy as np
from katas.dataloader import (
    ArrayDataset,
    Compose,
    DataLoader,
    Normalize,
    RandomCrop,
    RandomHorizontalFlip,
    read_cifar10,
)
from katas.layers import Linear
from katas.losses import CrossEntropyLoss
from katas.optimizers import SGD
from katas.spatial import CNN, MaxPool2d
from katas.training import Progress, Trainer

from specs.datasets.cifar10 import CLASSES, FILES
from specs.datasets.images import Images
from specs.milestones.recipes.accelerated import accelerated
from specs.milestones.recipes.mnist_cnn import block

EPOCHS, BATCH, LEARNING_RATE, WEIGHT_DECAY = 3, 128, 0.25, 5e-4  # on held_out: 78%
CHANNELS = 24, 48, 64, 96
STEPS = 78  # in an epoch, at least: a small set comes in smaller batches, at a rate in proportion
MEAN, DEVIATION = (125.3, 123.0, 113.9), (63.0, 62.1, 66.7)  # of the training images' red, green and blue


def read(folder: Path) -> Images:
    """CIFAR-10, read from its files by kata 10."""
    *train, test = [folder / name for name in FILES]
    return Images(*read_cifar10(train), *read_cifar10(test), "CIFAR-10 (50,000 + 10,000)", CLASSES)


def held_out(photos: Images) -> Images:
    """The training images alone, with the last 5,000 of them in place of the test images: what the recipe was chosen on."""
    images, labels = photos.train_images, photos.train_labels
    parts = images[:-5000], labels[:-5000], images[-5000:], labels[-5000:]
    return Images(*parts, f"{photos.source}, the training images alone", photos.classes)


def build(rng: np.random.Generator) -> CNN:
    """3 × 32 × 32 → 24 × 16 × 16 → 48 × 8 × 8 → 64 × 4 × 4 → 96 → 10 classes: 11 million products forward an image."""
    a, b, c, d = CHANNELS
    stem, first, second, last = block(rng, 3, a, 4, stride=2), block(rng, a, b, 3), block(rng, b, c, 3), block(rng, c, d, 3)
    return CNN([*stem, *first, MaxPool2d(2), *second, MaxPool2d(2), *last, MaxPool2d(4), Linear(d, 10, rng=rng)])


def batch(images: np.ndarray) -> int:
    """How many of these training images come at once."""
    return max(1, min(BATCH, len(images) // STEPS))


def sgd(network: CNN, batch: int = BATCH, lr: float = LEARNING_RATE) -> SGD:
    """Weight decay on the weights only: a bias or a scale that shrinks helps nobody."""
    weights = [parameter for parameter in network.parameters() if parameter.ndim > 1]
    others = [parameter for parameter in network.parameters() if parameter.ndim == 1]
    groups = [{"params": weights, "weight_decay": WEIGHT_DECAY}, {"params": others, "weight_decay": 0.0}]
    return SGD(groups, lr=lr * batch / BATCH, momentum=0.9, nesterov=True)


def triangle(steps: int):
    """A schedule that goes up to 1 in the first quarter of the steps, and down to 0 in the rest."""
    return lambda step: min((step + 1) / (steps / 4), (steps - step) / (steps * 3 / 4))


def shuffled(images: np.ndarray, labels: np.ndarray, rng: np.random.Generator) -> DataLoader:
    """Batches to train on, each image a little moved and perhaps turned round."""
    augment = Compose([RandomCrop(32, 1), RandomHorizontalFlip(), Normalize(MEAN, DEVIATION)])
    data = ArrayDataset(images, labels.astype(np.int64))
    return DataLoader(data, batch(images), shuffle=True, rng=rng, drop_last=True, transform=augment, prefetch=2)


def in_order(images: np.ndarray, labels: np.ndarray) -> DataLoader:
    """Batches to test on."""
    return DataLoader(ArrayDataset(images, labels.astype(np.int64)), 500, transform=Normalize(MEAN, DEVIATION))


def train(photos: Images, seed: int, progress: Progress | None = None, checkpoint: Path | None = None) -> Trainer:
    """The recipe, from a seed to a trained network, trainer.network; or, from a checkpoint, what is left of it."""
    rng = np.random.default_rng(seed)
    network, data = build(rng), shuffled(photos.train_images, photos.train_labels, rng)
    criterion, schedule = CrossEntropyLoss(label_smoothing=0.05), triangle(EPOCHS * len(data))
    optimizer = sgd(network, batch(photos.train_images))
    learning = accelerated(network, criterion, optimizer)
    trainer = Trainer(**learning, schedule=schedule, progress=progress, checkpoint=checkpoint)
    trainer.fit(data, EPOCHS, in_order(photos.test_images, photos.test_labels))
    return trainer
