"""Milestone 2, third line: photographs. A convolutional network learns CIFAR-10 to 75% on two cores, in minutes."""

import numpy as np
import pytest
from katas.spatial import CNN
from katas.tensor import Tensor

from specs.datasets.cifar10 import cifar10
from specs.datasets.images import Images
from specs.milestones.pictures import Curve, grid, guesses
from specs.milestones.recipes import cifar10 as recipe
from specs.milestones.test_2_cnn import assert_filters_learnt
from specs.plugin.limits import peak_memory

WANTED = {"CIFAR-10": 75, "generated": 90, "few": 55}  # % of the test images


@pytest.mark.timeout(3000)
def test_a_cnn_recognises_photographs(milestone, data):
    """Katas 02 to 10 together name three quarters of the 10,000 test images rightly, after three epochs."""
    photos, curve = cifar10(data, recipe.read), Curve()
    trainer = milestone.trained(recipe, photos, curve)
    network, seconds = trainer.network, sum(epoch["seconds"] for epoch in trainer.history)
    found = guesses(network, recipe.in_order(photos.test_images, photos.test_labels))
    accuracy, wanted = 100 * float((found == photos.test_labels).mean()), WANTED[photos.source.split()[0]]

    milestone.note(f"data: {photos.source}")
    milestone.row("CNN on photographs: accuracy on the test images", accuracy, "%", wanted=f"≥ {wanted}")
    milestone.row(f"CNN on photographs: {recipe.EPOCHS} epochs", seconds, "s")
    if curve.losses and (peak := peak_memory()):  # else it was trained before
        milestone.row("CNN on photographs: largest memory of the process", peak, "MB")
    milestone.picture("2_cifar10", grid(curve.losses, trainer.history, photos, found))
    assert_filters_learnt(network, recipe.build(np.random.default_rng(0)))
    _assert_it_sees_images_one_by_one(network, photos)


def _assert_it_sees_images_one_by_one(network: CNN, photos: Images) -> None:
    """Statistics of the batch at hand name the test images as well; but then an image's class is up to its neighbours."""
    scores = []
    network.eval()
    for images in (photos.test_images[:100], photos.test_images[:1]):
        ((x, _),) = recipe.in_order(images, np.zeros(len(images), np.uint8))
        scores.append(network(Tensor(x)).data[0])
    assert np.allclose(*scores, rtol=1e-3, atol=1e-3), (
        f"an image has the scores {scores[0]} among others, and {scores[1]} alone"
    )


def test_an_epoch_shows_each_image_once():
    """A loader that repeats some and leaves out others trains nearly as well: so the images are counted."""
    n = 1000
    rng, numbers = np.random.default_rng(0), np.arange(n)
    images = np.broadcast_to((numbers % 256).astype(np.uint8)[:, None, None, None], (n, 3, 32, 32))
    batch = recipe.batch(images)
    for _ in range(recipe.EPOCHS):
        seen = np.concatenate([y.data for _, y in recipe.shuffled(images, numbers, rng)])
        assert len(seen) == n - n % batch, f"{len(seen)} images in an epoch of {n}, in batches of {batch}"
        assert len(set(seen.tolist())) == len(seen), f"{len(seen) - len(set(seen.tolist()))} images came twice"
