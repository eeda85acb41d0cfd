"""Milestone 2, first line: a two-layer network learns handwritten digits, its gradients derived by hand."""

import time

import numpy as np
import pytest
from katas.activations import ReLU
from katas.layers import Linear, Sequential
from katas.losses import CrossEntropyLoss
from katas.optimizers import SGD
from katas.tensor import Tensor
from matplotlib.figure import Figure

from specs.datasets.mnist import mnist
from specs.oracles import mlp

EPOCHS, BATCH, LEARNING_RATE = 5, 128, 0.1
WANTED = {"MNIST": 0.97, "generated": 0.94}  # the stand-in's digits are turned, cut and noisy


def flat(images: np.ndarray) -> np.ndarray:
    """uint8 (n, 28, 28) → float32 (n, 784) between 0 and 1."""
    return (images.reshape(len(images), -1) / np.float32(255)).astype(np.float32)


def build(rng: np.random.Generator) -> Sequential:
    """784 pixels, 512 hidden units, 10 classes."""
    return Sequential(Linear(784, 512, rng=rng), ReLU(), Linear(512, 10, rng=rng))


def train(network: Sequential, images: np.ndarray, labels: np.ndarray, rng: np.random.Generator) -> list[float]:
    """Stochastic gradient descent with Nesterov momentum; the learning rate falls to zero in a straight line."""
    criterion = CrossEntropyLoss()
    optimizer = SGD(network.parameters(), lr=LEARNING_RATE, momentum=0.9, nesterov=True)
    per_epoch = len(images) // BATCH
    losses = []
    for epoch in range(EPOCHS):
        order = rng.permutation(len(images))[: per_epoch * BATCH].reshape(per_epoch, BATCH)
        for batch in order:
            optimizer.param_groups[0]["lr"] = LEARNING_RATE * (1 - len(losses) / (EPOCHS * per_epoch))
            optimizer.zero_grad()
            losses.append(criterion(network(Tensor(images[batch])), labels[batch]).item())
            network.backward(criterion.backward())
            optimizer.step()
        print(f"epoch {epoch + 1} of {EPOCHS}: loss {np.mean(losses[-per_epoch:]):.4f}", flush=True)
    return losses


def test_training_is_what_the_mathematics_say():
    """Twenty steps end at the parameters that the formulas, written out in NumPy, arrive at."""
    rng = np.random.default_rng(0)
    network, images, labels = build(rng), rng.random((64, 784), np.float32), rng.integers(0, 10, 64)
    plain = mlp.Plain(*(parameter.data.copy() for parameter in network.parameters()))
    step = _step(network, Tensor(images), labels)
    for _ in range(20):
        step()
        plain.step(images, labels)
    for ours, theirs in zip(network.parameters(), plain.parameters, strict=True):
        assert np.allclose(ours.data, theirs, rtol=1e-3, atol=1e-5), "the parameters drifted apart within 20 steps"


@pytest.mark.timeout(900)
def test_a_network_learns_digits_by_hand_derived_backward(milestone, data):
    """Katas 02 to 06 together learn to read handwritten digits they have never seen."""
    digits = mnist(data)
    rng = np.random.default_rng(0)
    network, start = build(rng), time.perf_counter()
    untrained = [parameter.data.copy() for parameter in network.parameters()]
    losses = train(network, flat(digits.train_images), digits.train_labels.astype(np.int64), rng)
    seconds = time.perf_counter() - start
    guesses = network(Tensor(flat(digits.test_images))).data.argmax(-1)
    accuracy = float((guesses == digits.test_labels).mean())
    wanted = WANTED[digits.source.split()[0]]

    milestone.note(f"data: {digits.source}")
    milestone.row("MLP by hand: accuracy on the test images", 100 * accuracy, "%", wanted=f"≥ {100 * wanted:.0f}")
    milestone.row(f"MLP by hand: {EPOCHS} epochs", seconds, "s")
    milestone.picture("2_mlp_by_hand", _draw(losses, digits, guesses))
    moved = [not np.array_equal(before, p.data) for before, p in zip(untrained, network.parameters(), strict=True)]
    assert all(moved), f"training left parameters as they were: moved are {moved}"
    assert accuracy >= wanted, f"{accuracy:.2%} of the test images are right, wanted {wanted:.0%}"


def test_a_training_step_costs_what_plain_numpy_costs(milestone, budget):
    """Modules, parameters and optimizer add next to nothing to the arithmetic of a step (784-512-10, batch 256)."""
    rng = np.random.default_rng(0)
    network, images, labels = build(rng), rng.random((256, 784), np.float32), rng.integers(0, 10, 256)
    plain = mlp.Plain(*(parameter.data.copy() for parameter in network.parameters()))
    ratio = budget.time(_step(network, Tensor(images), labels), against=lambda: plain.step(images, labels), limit=1.5)
    milestone.row("a training step, CPU time over plain NumPy's", ratio, "×", wanted="≤ 1.15")


def _step(network: Sequential, images: Tensor, labels: np.ndarray):
    criterion, optimizer = CrossEntropyLoss(), SGD(network.parameters(), lr=0.01, momentum=0.9, nesterov=True)

    def step():
        optimizer.zero_grad()
        criterion(network(images), labels)
        network.backward(criterion.backward())
        optimizer.step()

    return step


def _draw(losses: list[float], digits, guesses: np.ndarray) -> Figure:
    figure = Figure(figsize=(11, 5), layout="constrained")
    left, right = figure.subfigures(1, 2)
    axes = left.subplots()
    axes.semilogy(np.convolve(losses, np.ones(50) / 50, "valid"))
    axes.set(xlabel="step", ylabel="loss (nats, mean of 50 steps)", title=digits.source)
    right.suptitle("taken for the digit above, wrongly")
    for axes, i in zip(right.subplots(3, 6).flat, np.flatnonzero(guesses != digits.test_labels), strict=False):
        axes.imshow(digits.test_images[i], cmap="gray_r")
        axes.set_title(guesses[i], fontsize=10)
        axes.axis("off")
    return figure
