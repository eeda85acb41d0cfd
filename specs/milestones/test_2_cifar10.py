"""Milestone 2, third line: photographs. A convolutional network learns CIFAR-10 to 75% on two cores, in minutes."""

from pathlib import Path

import numpy as np
import pytest
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
from katas.tensor import Tensor
from katas.training import Progress, Trainer

from specs.datasets.cifar10 import CLASSES, FILES, cifar10
from specs.datasets.images import Images
from specs.milestones.pictures import Curve, grid, guesses
from specs.milestones.test_2_cnn import assert_filters_learnt, block
from specs.plugin.limits import peak_memory

EPOCHS, BATCH, LEARNING_RATE, WEIGHT_DECAY = 3, 128, 0.25, 5e-4  # on the last 5,000 of the training images: 78%
MEAN, DEVIATION = (125.3, 123.0, 113.9), (63.0, 62.1, 66.7)  # of the training images' red, green and blue
WANTED = {"CIFAR-10": 0.75, "generated": 0.90}


def read(folder: Path) -> Images:
    """CIFAR-10, read from its files by kata 10."""
    *train, test = [folder / name for name in FILES]
    return Images(*read_cifar10(train), *read_cifar10(test), "CIFAR-10 (50,000 + 10,000)", CLASSES)


def build(rng: np.random.Generator) -> CNN:
    """3 × 32 × 32 → 24 × 16 × 16 → 48 × 8 × 8 → 64 × 4 × 4 → 96 → 10 classes: 11 million products forward an image."""
    stem, first, second, last = (
        block(rng, 3, 24, 4, stride=2),
        block(rng, 24, 48, 3),
        block(rng, 48, 64, 3),
        block(rng, 64, 96, 3),
    )
    return CNN([*stem, *first, MaxPool2d(2), *second, MaxPool2d(2), *last, MaxPool2d(4), Linear(96, 10, rng=rng)])


def sgd(network: CNN) -> SGD:
    """Weight decay on the weights only: a bias or a scale that shrinks helps nobody."""
    weights = [parameter for parameter in network.parameters() if parameter.ndim > 1]
    others = [parameter for parameter in network.parameters() if parameter.ndim == 1]
    groups = [{"params": weights, "weight_decay": WEIGHT_DECAY}, {"params": others, "weight_decay": 0.0}]
    return SGD(groups, lr=LEARNING_RATE, momentum=0.9, nesterov=True)


def triangle(steps: int):
    """A schedule that goes up to 1 in the first quarter of the steps, and down to 0 in the rest."""
    return lambda step: min((step + 1) / (steps / 4), (steps - step) / (steps * 3 / 4))


def shuffled(images: np.ndarray, labels: np.ndarray, rng: np.random.Generator) -> DataLoader:
    """Batches to train on, each image a little moved and perhaps turned round."""
    augment = Compose([RandomCrop(32, 1), RandomHorizontalFlip(), Normalize(MEAN, DEVIATION)])
    data = ArrayDataset(images, labels.astype(np.int64))
    return DataLoader(data, BATCH, shuffle=True, rng=rng, drop_last=True, transform=augment, prefetch=2)


def in_order(images: np.ndarray, labels: np.ndarray) -> DataLoader:
    """Batches to test on."""
    return DataLoader(ArrayDataset(images, labels.astype(np.int64)), 500, transform=Normalize(MEAN, DEVIATION))


def train(photos: Images, seed: int, progress: Progress | None = None, checkpoint: Path | None = None) -> Trainer:
    """The recipe, from a seed to a trained network, trainer.network; or, from a checkpoint, what is left of it."""
    rng = np.random.default_rng(seed)
    network, data = build(rng), shuffled(photos.train_images, photos.train_labels, rng)
    criterion, schedule = CrossEntropyLoss(label_smoothing=0.05), triangle(EPOCHS * len(data))
    trainer = Trainer(network, criterion, sgd(network), schedule=schedule, progress=progress, checkpoint=checkpoint)
    trainer.fit(data, EPOCHS, in_order(photos.test_images, photos.test_labels))
    return trainer


@pytest.mark.timeout(3000)
def test_a_cnn_recognises_photographs(milestone, data):
    """Katas 02 to 10 together name three quarters of the 10,000 test images rightly, after three epochs."""
    photos, curve = cifar10(data, read), Curve()
    trainer = train(photos, 0, curve, milestone.checkpoint("2_cifar10", "10", photos.source))
    network, seconds = trainer.network, sum(epoch["seconds"] for epoch in trainer.history)
    found = guesses(network, in_order(photos.test_images, photos.test_labels))
    accuracy, wanted = float((found == photos.test_labels).mean()), WANTED[photos.source.split()[0]]

    milestone.note(f"data: {photos.source}")
    milestone.row("CNN on photographs: accuracy on the test images", 100 * accuracy, "%", wanted=f"≥ {100 * wanted:.0f}")
    milestone.row(f"CNN on photographs: {EPOCHS} epochs", seconds, "s")
    if curve.losses and (peak := peak_memory()):  # else it was trained before
        milestone.row("CNN on photographs: largest memory of the process", peak, "MB")
    milestone.picture("2_cifar10", grid(curve.losses, trainer.history, photos, found))
    assert_filters_learnt(network, build(np.random.default_rng(0)))
    assert accuracy >= wanted, f"{accuracy:.2%} of the test images are right, wanted {wanted:.0%}"
    _assert_it_sees_images_one_by_one(network, photos)


def _assert_it_sees_images_one_by_one(network: CNN, photos: Images) -> None:
    """Statistics of the batch at hand name the test images as well; but then an image's class is up to its neighbours."""
    scores = []
    network.eval()
    for images in (photos.test_images[:100], photos.test_images[:1]):
        ((x, _),) = in_order(images, np.zeros(len(images), np.uint8))
        scores.append(network(Tensor(x)).data[0])
    assert np.allclose(*scores, rtol=1e-3, atol=1e-3), (
        f"an image has the scores {scores[0]} among others, and {scores[1]} alone"
    )


def test_an_epoch_shows_each_image_once():
    """A loader that repeats some and leaves out others trains nearly as well: so the images are counted."""
    n = 1000
    rng, numbers = np.random.default_rng(0), np.arange(n)
    images = np.broadcast_to((numbers % 256).astype(np.uint8)[:, None, None, None], (n, 3, 32, 32))
    for _ in range(EPOCHS):
        seen = np.concatenate([y.data for _, y in shuffled(images, numbers, rng)])
        assert len(seen) == n - n % BATCH, f"{len(seen)} images in an epoch of {n}, in batches of {BATCH}"
        assert len(set(seen.tolist())) == len(seen), f"{len(seen) - len(set(seen.tolist()))} images came twice"
