from functools import partial

import numpy as np
from katas.activations import ReLU
from katas.layers import Linear, Sequential
from katas.losses import CrossEntropyLoss
from katas.optimizers import Adam
from katas.spatial import CNN, BatchNorm2d, Conv2d, MaxPool2d
from katas.training import Batches, Trainer, load_checkpoint, validate

from specs.datasets.glyphs import glyphs
from specs.oracles.training import assert_same


def digits(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Float32 images (n, 1, 28, 28) around 0, and labels."""
    images, labels = glyphs(n, seed)
    return images[:, None].astype(np.float32) / 255 - 0.3, labels.astype(np.int64)


def train_and_test(network, train_data, test_data, epochs: int) -> float:
    """The accuracy on the test data after this number of epochs."""
    Trainer(network, CrossEntropyLoss(), Adam(network.parameters(), lr=0.01)).fit(train_data, epochs)
    return validate(network, test_data)


def test_from_training_to_spatial():
    """A layer, a network and its training take three lines. The network learns shifted digits, and is far better
    than guessing.
    """
    training, test = Batches(*digits(600, 0), 20, np.random.default_rng(0)), Batches(*digits(200, 1), 200)
    train = partial(train_and_test, train_data=training, test_data=test, epochs=6)
    pool, linear = MaxPool2d(4), Linear(576, 10)

    conv = Conv2d(1, 16, 3)  # Local patterns
    cnn = CNN([conv, pool, linear])
    before = conv.weight.data.copy()
    accuracy = train(cnn)  # 98% vs 85% - huge jump!

    assert accuracy > 0.2
    assert not np.array_equal(conv.weight.data, before)


def small(seed: int) -> CNN:
    rng = np.random.default_rng(seed)
    return CNN([Conv2d(1, 4, 3, 2, rng=rng), BatchNorm2d(4), ReLU(), MaxPool2d(2), Linear(144, 10, rng=rng)])


def test_a_network_with_running_statistics_resumes_bit_for_bit(tmp_path):
    """Buffers are part of kata 08's checkpoints: two epochs and then two more give the same network as four."""

    def run(epochs: int, path):
        network, rng = small(3), np.random.default_rng(4)
        optimizer = Adam(network.parameters(), lr=0.003)
        Trainer(network, CrossEntropyLoss(), optimizer, checkpoint=path).fit(Batches(*digits(120, 2), 40, rng), epochs)
        return network

    whole = run(4, tmp_path / "whole")
    run(2, tmp_path / "parts")
    assert_same(run(4, tmp_path / "parts").state_dict(), whole.state_dict())
    assert load_checkpoint(tmp_path / "parts")["history"][-1]["epoch"] == 4


def test_a_perceptron_and_a_cnn_are_trained_alike():
    """The training loop doesn't depend on images: it lowers the loss of an MLP and of a CNN."""
    x, labels = digits(200, 5)
    perceptron = Sequential(Linear(784, 16), ReLU(), Linear(16, 10))
    for network, images in ((perceptron, x.reshape(len(x), -1)), (small(0), x)):
        optimizer = Adam(network.parameters(), lr=0.003)
        history = Trainer(network, CrossEntropyLoss(), optimizer).fit(Batches(images, labels, 20, np.random.default_rng(0)), 4)
        assert history[-1]["loss"] < history[0]["loss"]
