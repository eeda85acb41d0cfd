"""Milestone 1: XOR, by hand-derived backward and an optimizer, from every seed."""

import numpy as np
import pytest
from katas.activations import Tanh
from katas.layers import Linear, Sequential
from katas.losses import BCEWithLogitsLoss
from katas.optimizers import Adam
from katas.tensor import Tensor
from matplotlib.figure import Figure

SEEDS, STEPS = 20, 300
X = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32)
Y = np.array([[0], [1], [1], [0]], np.float32)


def train(seed: int) -> tuple[Sequential, list[float]]:
    """Eight hidden units; 300 steps of Adam on the four points. Returns the network and the loss of every step."""
    rng = np.random.default_rng(seed)
    network = Sequential(Linear(2, 8, rng=rng), Tanh(), Linear(8, 1, rng=rng))
    criterion, optimizer = BCEWithLogitsLoss(), Adam(network.parameters(), lr=0.05)
    losses = []
    for _ in range(STEPS):
        optimizer.zero_grad()
        losses.append(criterion(network(Tensor(X)), Tensor(Y)).item())
        network.backward(criterion.backward())
        optimizer.step()
    return network, losses


@pytest.mark.by_hand
@pytest.mark.timeout(120)
def test_every_seed_learns_xor(milestone):
    """No line separates (0,1) and (1,0) from (0,0) and (1,1). A hidden layer does, wherever training starts."""
    solved, curves = 0, []
    for seed in range(SEEDS):
        network, losses = train(seed)
        logits = network(Tensor(X)).data
        curves.append(losses)
        solved += bool(((logits > 0) == Y).all() and _loss(logits) < 0.1)
    milestone.row("XOR: seeds solved", solved, f"of {SEEDS}", wanted=f"≥ {SEEDS}")  # all four points, with a loss below 0.1
    milestone.row("XOR: worst loss after the last step", max(curve[-1] for curve in curves), "nats")
    milestone.picture("1_xor", _draw(curves, network))


def _loss(logits: np.ndarray) -> float:
    """Recomputed here, so that a loss that flatters itself is found out."""
    probability = np.where(Y == 1, 1, -1) * logits
    return float(np.logaddexp(0, -probability).mean())


def _draw(curves: list[list[float]], network: Sequential) -> Figure:
    figure = Figure(figsize=(9, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.semilogy(np.array(curves).T, color="tab:blue", alpha=0.4, linewidth=1)
    left.set(xlabel="step", ylabel="loss (nats)", title=f"{SEEDS} seeds")
    axis = np.linspace(-0.5, 1.5, 100, dtype=np.float32)
    grid = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2)
    logits = network(Tensor(grid)).data.reshape(100, 100)
    right.contourf(axis, axis, 1 / (1 + np.exp(-logits)), levels=20, cmap="RdBu", vmin=0, vmax=1)
    right.scatter(X[:, 0], X[:, 1], c=Y[:, 0], cmap="RdBu", edgecolors="black", s=90, vmin=0, vmax=1)
    right.set(title="what the last seed learnt: P(y = 1)", aspect="equal")
    return figure
