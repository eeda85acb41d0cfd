"""Milestone 2, first line: a two-layer network learns handwritten digits, with gradients by hand and through a Trainer."""

import ast
import inspect
import math
import time
from collections.abc import Callable

import numpy as np
import pytest
from katas.layers import Sequential
from katas.losses import CrossEntropyLoss
from katas.optimizers import SGD
from katas.tensor import Tensor
from katas.training import Objective, Progress, train_epoch
from matplotlib.figure import Figure

from specs.datasets.images import Images
from specs.datasets.mnist import mnist
from specs.milestones.recipes import mnist_mlp
from specs.milestones.recipes.mnist_mlp import BATCH, EPOCHS, LEARNING_RATE, build, flat
from specs.oracles import mlp

WANTED = {"MNIST": 97, "generated": 94, "few": 65}  # % of the test images; generated digits are turned, cut and noisy


def train_by_hand(digits: Images, seed: int) -> tuple[Sequential, list[float]]:
    """What mnist_mlp.train does, with gradients by hand. Returns the network and each step's loss."""
    rng = np.random.default_rng(seed)
    network, images, labels = build(rng), flat(digits.train_images), digits.train_labels.astype(np.int64)
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
    return network, losses


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
    digits, start = mnist(data), time.perf_counter()
    network, losses = train_by_hand(digits, 0)
    _judge("MLP by hand", network, losses, time.perf_counter() - start, digits, milestone)


@pytest.mark.timeout(900)
def test_a_network_learns_digits_through_autograd_and_a_trainer(milestone, data):
    """Katas 07 and 08 learn them as well, with half the code around them and no derivative by hand."""
    digits = mnist(data)
    trainer = milestone.trained(mnist_mlp, digits, Progress())
    losses, seconds = zip(*[(epoch["loss"], epoch["seconds"]) for epoch in trainer.history], strict=True)
    _judge("MLP through Trainer", trainer.network, losses, sum(seconds), digits, milestone)
    by_hand = lines(train_by_hand)
    milestone.row("lines that train it by hand", by_hand)
    milestone.row("lines that train it through Trainer", lines(mnist_mlp.train), wanted=f"≤ {by_hand / 2:g}")


def _judge(label: str, network: Sequential, losses: list[float], seconds: float, digits: Images, milestone) -> None:
    guesses = network(Tensor(flat(digits.test_images))).data.argmax(-1)
    accuracy, wanted = 100 * float((guesses == digits.test_labels).mean()), WANTED[digits.source.split()[0]]

    milestone.note(f"data: {digits.source}")
    milestone.row(f"{label}: accuracy on the test images", accuracy, "%", wanted=f"≥ {wanted}")
    milestone.row(f"{label}: {EPOCHS} epochs", seconds, "s")
    milestone.picture(f"2_{label.replace(' ', '_').lower()}", _draw(losses, digits, guesses))
    untrained = build(np.random.default_rng(0)).parameters()
    moved = [not np.array_equal(old.data, new.data) for old, new in zip(untrained, network.parameters(), strict=True)]
    assert all(moved), f"training left parameters as they were: moved are {moved}"


@pytest.mark.parametrize(("make", "way"), WAYS)
def test_a_training_step_costs_what_plain_numpy_costs(make, way, milestone, budget):
    """Modules, autograd and optimizer add next to nothing to the arithmetic of a step (784-512-10, batch 256)."""
    rng = np.random.default_rng(0)
    network, images, labels = build(rng), rng.random((256, 784), np.float32), rng.integers(0, 10, 256)
    plain = mlp.Plain(*(parameter.data.copy() for parameter in network.parameters()))
    try:
        budget.time(make(network, images, labels), against=lambda: plain.step(images, labels), limit=1.5)
    finally:
        for figure in budget.figures:
            label, wanted = f"a training step {way}, CPU time over plain NumPy's", f"≤ {figure['limit']:g}"
            milestone.row(label, figure["measured"], "×", wanted=wanted, target="≤ 1.15")


def _draw(losses: list[float], digits: Images, guesses: np.ndarray) -> Figure:
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
