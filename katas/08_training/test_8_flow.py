from functools import partial

import numpy as np
from katas.activations import Tanh
from katas.layers import Linear, Sequential
from katas.losses import CrossEntropyLoss
from katas.optimizers import SGD
from katas.training import Batches, Objective, train_epoch
from katas.training import validate as validate_network

SAMPLES = 120


def rings(draw) -> tuple[np.ndarray, np.ndarray]:
    """Points in the plane, and whether they lie outside a circle."""
    x = draw.normal(SAMPLES, 2, dtype=np.float32)
    return x, ((x**2).sum(1) > 1.4).astype(np.int64)


def build() -> Sequential:
    rng = np.random.default_rng(3)
    return Sequential(Linear(2, 16, rng=rng), Tanh(), Linear(16, 2, rng=rng))


def test_from_autograd_to_training(draw, capsys):
    """A hand-written loop of a hundred epochs, with validation every tenth, trains the network."""
    x, labels = rings(draw)
    network = build()
    model, optimizer = Objective(network, CrossEntropyLoss()), SGD(network.parameters(), lr=0.5)
    data = Batches(x, labels, 20, np.random.default_rng(5))
    validate = partial(lambda data, model: validate_network(network, data), Batches(x, labels, 50))

    for epoch in range(100):
        for x, y in data:
            optimizer.zero_grad()
            loss = model(x, y)
            loss.backward()
            optimizer.step()

        # Validation, logging, early stopping
        if epoch % 10 == 0:
            accuracy = validate(model)
            print(f"Epoch {epoch}: {accuracy}")

    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == [f"Epoch {epoch}" for epoch in range(0, 100, 10)]
    assert float(lines[0].split()[-1]) < 0.8
    assert accuracy >= 0.95


def test_train_epoch_is_that_loop(draw):
    """train_epoch(model, optimizer, data) in place of the inner loop ends at the same accuracy."""
    x, labels = rings(draw)
    network = build()
    model, optimizer = Objective(network, CrossEntropyLoss()), SGD(network.parameters(), lr=0.5)
    data = Batches(x, labels, 20, np.random.default_rng(5))

    for _ in range(100):
        train_epoch(model, optimizer, data)

    assert validate_network(network, data) >= 0.95
