import katas.autograd  # noqa: F401 - which installs the recorder
import numpy as np
from katas.activations import Tanh
from katas.layers import Linear, Sequential
from katas.losses import MSELoss
from katas.tensor import Tensor

from specs.check import assert_close


def twice(w: np.ndarray, b: np.ndarray, x: np.ndarray, target: np.ndarray) -> float:
    """The loss of a network that uses one layer twice, in plain NumPy."""
    return float(((np.tanh(x @ w.T + b) @ w.T + b - target) ** 2).mean())


def test_a_layer_that_is_used_twice_gets_a_wrong_gradient_by_hand_and_a_right_one_by_autograd(draw, tell, monkeypatch):
    """A layer saves only its last forward, so a hand-written backward uses that for both uses. The graph has both."""
    layer, criterion = Linear(3, 3, rng=np.random.default_rng(0)), MSELoss()
    for parameter in layer.parameters():
        parameter.data = parameter.data.astype(np.float64)
    network, x, target = Sequential(layer, Tanh(), layer), draw.normal(8, 3), draw.normal(8, 3)
    w, b = layer.weight.data.copy(), layer.bias.data
    want = np.empty_like(w)
    for index in np.ndindex(w.shape):
        step = np.zeros_like(w)
        step[index] = 1e-5
        want[index] = (twice(w + step, b, x, target) - twice(w - step, b, x, target)) / 2e-5

    criterion(network(Tensor(x)), target).backward()
    by_autograd = layer.weight.grad
    layer.zero_grad()
    with monkeypatch.context() as before_this_kata:
        before_this_kata.setattr(Tensor, "_recorder", None)
        criterion(network(Tensor(x)), target)
        network.backward(criterion.backward())
    off = np.abs(layer.weight.grad - want).max() / np.abs(want).max()
    assert off > 0.1
    assert np.abs(by_autograd - want).max() < 1e-6
    assert_close(layer.weight.data, w)
    tell(f"a layer used twice: the gradient by hand is off by {off:.0%}, that of loss.backward() by less than a millionth")
