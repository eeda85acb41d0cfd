"""Milestone 2, first line: a two-layer network learns handwritten digits, with gradients by hand and through a Trainer."""

import ast
import inspect
import math
import time
from collections.abc import Callable

import numpy as np
import pytest
from katas.activations import ReLU
from katas.layers import Linear, Sequential
from katas.losses import CrossEntropyLoss
from katas.optimizers import SGD
from katas.tensor import Tensor
from katas.training import Batches, Objective, Trainer, cosine_schedule, train_epoch
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


def train_by_hand(network: Sequential, images: np.ndarray, labels: np.ndarray, rng: np.random.Generator) -> list[float]:
    """Stochastic gradient descent with Nesterov momentum, the learning rate falling to zero. Returns each step's loss."""
    criterion = CrossEntropyLoss()
    optimizer = SGD(network.parameters(), lr=LEARNING_RATE, momentum=0.9, nesterov=True)
    per_epoch = math.ceil(len(images) / BATCH)
    losses = []
    for epoch in range(EPOCHS):
        order = rng.permutation(len(images))
        for batch in np.array_split(order, per_epoch):
            optimizer.param_groups[0]["lr"] = LEARNING_RATE * (1 - len(losses) / (EPOCHS * per_epoch))
            optimizer.zero_grad()
            losses.append(criterion(network(Tensor(images[batch])), labels[batch]).item())
            network.backward(criterion.backward())
            optimizer.step()
        print(f"epoch {epoch + 1} of {EPOCHS}: loss {np.mean(losses[-per_epoch:]):.4f}", flush=True)
    return losses


def train(network: Sequential, images: np.ndarray, labels: np.ndarray, rng: np.random.Generator) -> list[float]:
    """The same by autograd and a Trainer. Returns each epoch's loss."""
    data = Batches(images, labels, BATCH, rng)
    optimizer = SGD(network.parameters(), lr=LEARNING_RATE, momentum=0.9, nesterov=True)
    schedule = cosine_schedule(EPOCHS * len(data))
    history = Trainer(network, CrossEntropyLoss(), optimizer, schedule=schedule).fit(data, EPOCHS)
    return [epoch["loss"] for epoch in history]


def lines(function: Callable) -> int:
    """How many lines of code a function has, its signature and docstring aside."""
    body = ast.parse(inspect.getsource(function)).body[0].body[1:]
    return len({line for statement in body for line in range(statement.lineno, statement.end_lineno + 1)})


def step_by_hand(network: Sequential, images: np.ndarray, labels: np.ndarray) -> Callable:
    """A function that does one training step with the gradients derived by hand."""
    criterion, x = CrossEntropyLoss(), Tensor(images)
    optimizer = SGD(network.parameters(), lr=0.01, momentum=0.9, nesterov=True)

    def step():
        optimizer.zero_grad()
        criterion(network(x), labels)
        network.backward(criterion.backward())
        optimizer.step()

    return step


def step(network: Sequential, images: np.ndarray, labels: np.ndarray) -> Callable:
    """A function that does the same step as the one batch of an epoch."""
    model, batch = Objective(network, CrossEntropyLoss()), (Tensor(images), Tensor(labels))
    optimizer = SGD(network.parameters(), lr=0.01, momentum=0.9, nesterov=True)
    return lambda: train_epoch(model, optimizer, [batch])


WAYS = [
    pytest.param(step_by_hand, "by hand", marks=pytest.mark.by_hand, id="by hand"),
    pytest.param(step, "through train_epoch", id="autograd"),
]


@pytest.mark.parametrize(("make", "way"), WAYS)
def test_training_is_what_the_mathematics_say(make, way):
    """Twenty steps end at the parameters that the formulas, written out in NumPy, arrive at."""
    rng = np.random.default_rng(0)
    network, images, labels = build(rng), rng.random((64, 784), np.float32), rng.integers(0, 10, 64)
    plain = mlp.Plain(*(parameter.data.copy() for parameter in network.parameters()))
    ours = make(network, images, labels)
    for _ in range(20):
        ours()
        plain.step(images, labels)
    for parameter, theirs in zip(network.parameters(), plain.parameters, strict=True):
        assert np.allclose(parameter.data, theirs, rtol=1e-3, atol=1e-5), f"20 steps {way}: the parameters drifted apart"


@pytest.mark.by_hand
@pytest.mark.timeout(900)
def test_a_network_learns_digits_by_hand_derived_backward(milestone, data):
    """Katas 02 to 06 together learn to read handwritten digits they have never seen."""
    _learn("MLP by hand", train_by_hand, milestone, data)


@pytest.mark.timeout(900)
def test_a_network_learns_digits_through_autograd_and_a_trainer(milestone, data):
    """Katas 07 and 08 learn them as well, with half the code around them and no derivative by hand."""
    _learn("MLP through Trainer", train, milestone, data)
    written = {function: lines(function) for function in (train, train_by_hand)}
    milestone.row("lines that train it by hand", written[train_by_hand])
    milestone.row("lines that train it through Trainer", written[train], wanted="≤ half of that")
    assert 2 * written[train] <= written[train_by_hand]


def _learn(label: str, train: Callable, milestone, data: str) -> None:
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
    milestone.row(f"{label}: accuracy on the test images", 100 * accuracy, "%", wanted=f"≥ {100 * wanted:.0f}")
    milestone.row(f"{label}: {EPOCHS} epochs", seconds, "s")
    milestone.picture(f"2_{label.replace(' ', '_').lower()}", _draw(losses, digits, guesses))
    moved = [not np.array_equal(before, p.data) for before, p in zip(untrained, network.parameters(), strict=True)]
    assert all(moved), f"training left parameters as they were: moved are {moved}"
    assert accuracy >= wanted, f"{accuracy:.2%} of the test images are right, wanted {wanted:.0%}"


@pytest.mark.parametrize(("make", "way"), WAYS)
def test_a_training_step_costs_what_plain_numpy_costs(make, way, milestone, budget):
    """Modules, autograd and optimizer add next to nothing to the arithmetic of a step (784-512-10, batch 256)."""
    rng = np.random.default_rng(0)
    network, images, labels = build(rng), rng.random((256, 784), np.float32), rng.integers(0, 10, 256)
    plain = mlp.Plain(*(parameter.data.copy() for parameter in network.parameters()))
    ratio = budget.time(make(network, images, labels), against=lambda: plain.step(images, labels), limit=1.5)
    milestone.row(f"a training step {way}, CPU time over plain NumPy's", ratio, "×", wanted="≤ 1.15")


def _draw(losses: list[float], digits, guesses: np.ndarray) -> Figure:
    figure = Figure(figsize=(11, 5), layout="constrained")
    left, right = figure.subfigures(1, 2)
    axes = left.subplots()
    axes.semilogy(np.linspace(0, EPOCHS, len(losses)), losses, linewidth=1)
    axes.set(xlabel="epoch", ylabel="loss (nats)", title=digits.source)
    right.suptitle("taken for the digit above, wrongly")
    for axes, i in zip(right.subplots(3, 6).flat, np.flatnonzero(guesses != digits.test_labels), strict=False):
        axes.imshow(digits.test_images[i], cmap="gray_r")
        axes.set_title(guesses[i], fontsize=10)
        axes.axis("off")
    return figure
