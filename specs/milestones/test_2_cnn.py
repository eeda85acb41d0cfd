"""Milestone 2, second line: a convolutional network reads the same digits, and better than any perceptron."""

import numpy as np
import pytest
from katas.spatial import CNN, Conv2d

from specs.datasets.mnist import mnist
from specs.milestones.pictures import Curve, grid, guesses
from specs.milestones.recipes import mnist_cnn as recipe

WANTED = {"MNIST": 98, "generated": 98, "few": 95}  # % of the test images


@pytest.mark.timeout(1800)
def test_a_cnn_reads_digits(milestone, data):
    """Katas 02 to 09 together read 98% of the digits that they have never seen, after two epochs."""
    digits, curve = mnist(data), Curve()
    trainer = milestone.trained(recipe, digits, curve)
    network, seconds = trainer.network, sum(epoch["seconds"] for epoch in trainer.history)
    found = guesses(network, recipe.in_order(digits.test_images, digits.test_labels))
    accuracy, wanted = 100 * float((found == digits.test_labels).mean()), WANTED[digits.source.split()[0]]

    milestone.note(f"data: {digits.source}")
    milestone.row("CNN: accuracy on the test images", accuracy, "%", wanted=f"≥ {wanted}")
    milestone.row(f"CNN: {recipe.EPOCHS} epochs", seconds, "s")
    milestone.picture("2_cnn", grid(curve.losses, trainer.history, digits, found))
    assert_filters_learnt(network, recipe.build(np.random.default_rng(0)))


def assert_filters_learnt(network: CNN, untrained: CNN) -> None:
    """Every layer's weight has turned: random filters are strong, and weight decay only shrinks them."""
    cosines = []
    for new, old in zip(network.layers, untrained.layers, strict=True):
        if isinstance(new, Conv2d):
            new, old = new.weight.data, old.weight.data
            cosines.append(float((new * old).sum() / np.sqrt((new * new).sum() * (old * old).sum())))
    assert max(cosines) < 0.8, f"a layer's filters point where they did before training, with cosines of {cosines}"
