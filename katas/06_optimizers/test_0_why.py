import numpy as np
from katas.activations import Tanh
from katas.layers import Linear, Sequential
from katas.losses import MSELoss
from katas.optimizers import SGD
from katas.tensor import Tensor

LEARNING_RATE = 0.05  # at twice that the loss jumps about, and the last digit of a sum decides where it ends


def trained(update_of, x: np.ndarray, target: np.ndarray) -> tuple[int, int, float]:
    """Returns how many parameters moved, how many there are, and the loss after 200 calls of update_of(network)."""
    rng = np.random.default_rng(1)
    network = Sequential(Linear(2, 16, rng=rng), Tanh(), Linear(16, 1, rng=rng))
    parameters, criterion, update = network.parameters(), MSELoss(), update_of(network)
    before = [parameter.data.copy() for parameter in parameters]
    for _ in range(200):
        for parameter in parameters:
            parameter.grad = None
        loss = criterion(network(Tensor(x)), target).item()
        network.backward(criterion.backward())
        update()
    moved = sum(not np.array_equal(parameter.data, old) for parameter, old in zip(parameters, before, strict=True))
    return moved, len(parameters), loss


def by_hand(network):
    """A hand-written update for every layer that has a weight. It forgets the bias."""

    def update():
        for layer in network:
            if hasattr(layer, "weight"):
                layer.weight.data -= LEARNING_RATE * layer.weight.grad

    return update


def by_optimizer(network):
    return SGD(network.parameters(), lr=LEARNING_RATE).step


def test_an_update_by_hand_forgets_parameters_and_an_optimizer_forgets_none(draw, tell):
    """A forgotten parameter raises no error: the loss still falls, only not as far. An optimizer receives all parameters that
    parameters() finds, and updates every one of them.
    """
    x = draw.normal(64, 2, dtype=np.float32)
    target = (x**2).sum(1, keepdims=True)
    forgot, forgot_of, loss = trained(by_hand, x, target)
    moved, count, lower = trained(by_optimizer, x, target)
    assert forgot < forgot_of
    assert moved == count
    assert lower < loss / 2
    tell(f"by hand {forgot} of {forgot_of} parameters moved, and nothing complained: loss {loss:.4f} after 200 steps")
    tell(f"by optimizer.step() {moved} of {count}: loss {lower:.4f}")
