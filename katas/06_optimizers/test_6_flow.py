from types import SimpleNamespace

import numpy as np
from katas.activations import ReLU
from katas.layers import Linear, Sequential
from katas.losses import MSELoss
from katas.optimizers import SGD
from katas.tensor import Tensor

from specs.check import assert_close


def test_from_losses_to_optimizers(draw):
    """A hand-written update changes only the parameters that it names; optimizer.step() changes every parameter by its
    gradient.
    """
    learning_rate = 0.01
    network = [SimpleNamespace(weight=np.ones((3, 2)), bias=np.ones(3), grad=np.full((3, 2), 5.0)) for _ in range(2)]

    for layer in network:
        layer.weight -= learning_rate * layer.grad  # Easy to forget, inconsistent

    assert_close(network[1].weight, np.full((3, 2), 0.95))
    assert_close(network[1].bias, np.ones(3))  # forgotten

    network = Sequential(Linear(2, 4), ReLU(), Linear(4, 3))
    criterion = MSELoss()
    criterion(network(Tensor(draw.normal(6, 2, dtype=np.float32))), draw.normal(6, 3))
    network.backward(criterion.backward())
    before = [parameter.data.copy() for parameter in network.parameters()]

    optimizer = SGD(network.parameters(), lr=0.01)
    optimizer.step()  # Clean, systematic, never forget

    assert len(before) == 4
    for parameter, old in zip(network.parameters(), before, strict=True):
        assert_close(parameter, old - 0.01 * parameter.grad)
