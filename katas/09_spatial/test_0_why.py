import numpy as np
from katas.activations import ReLU
from katas.layers import Linear
from katas.losses import CrossEntropyLoss
from katas.optimizers import Adam
from katas.spatial import CNN, Conv2d, MaxPool2d
from katas.training import Batches, Trainer, validate

from specs.datasets.glyphs import glyphs


def digits(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Digits shifted by up to five pixels, turned, thick or thin: float32 (n, 1, 28, 28), and labels."""
    images, labels = glyphs(n, seed)
    return images[:, None].astype(np.float32) / 255 - 0.3, labels.astype(np.int64)


def perceptron(rng) -> CNN:
    return CNN([Linear(784, 64, rng=rng), ReLU(), Linear(64, 10, rng=rng)])


def cnn(rng) -> CNN:
    conv, more = Conv2d(1, 8, 5, stride=2, padding=2, rng=rng), Conv2d(8, 16, 3, padding=1, rng=rng)
    return CNN([conv, ReLU(), MaxPool2d(2), more, ReLU(), MaxPool2d(2), Linear(144, 10, rng=rng)])


def test_shifted_digits_stall_a_perceptron_and_not_a_cnn(tell):
    """To a Linear layer, a digit shifted two pixels is a completely different input: it memorizes the thousand digits it has
    seen. A CNN with a twentieth of the weights looks for the same strokes everywhere.
    """
    images, labels = digits(1000, 0)
    unseen = Batches(*digits(500, 1), 500)
    accuracies = []
    for name, make in (("perceptron", perceptron), ("CNN", cnn)):
        rng = np.random.default_rng(1)
        network = make(rng)
        weights = sum(parameter.size for parameter in network.parameters())
        optimizer = Adam(network.parameters(), lr=0.003)
        Trainer(network, CrossEntropyLoss(), optimizer).fit(Batches(images, labels, 50, rng), 10)
        seen = validate(network, Batches(images, labels, 500))
        accuracies.append(validate(network, unseen))
        tell(f"{name}, {weights:,} weights: {seen:.0%} of the digits it has seen, {accuracies[-1]:.0%} of others")
    assert accuracies[0] < 0.45
    assert accuracies[1] > accuracies[0] + 0.2
