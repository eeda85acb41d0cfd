import numpy as np
from katas.layers import Linear, Module
from katas.tensor import Tensor


class Network(Module):
    """Passes a point through narrow layers. Its author listed the parameters of two layers, and later wrote four."""

    def __init__(self, rng: np.random.Generator):
        self.read = Linear(2, 16, rng=rng)
        self.narrow = [Linear(16, 2, rng=rng), Linear(2, 16, rng=rng)]
        self.write = Linear(16, 1, rng=rng)
        self.by_hand = [self.read.weight, self.read.bias, self.write.weight, self.write.bias]

    def forward(self, x: Tensor) -> Tensor:
        self.hidden = []
        for layer in (self.read, *self.narrow):
            self.hidden.append(layer(x).tanh())
            x = self.hidden[-1]
        return self.write(x)

    def backward(self, grad: np.ndarray) -> None:
        for layer, y in zip((self.write, *reversed(self.narrow)), reversed(self.hidden), strict=True):
            grad = layer.backward(grad) * (1 - y.data**2)
        self.read.backward(grad)


def train(parameters_of, x: np.ndarray, target: np.ndarray) -> tuple[list[bool], float]:
    """Runs gradient descent on the squared error. Returns which parameters have moved at the end, and the loss."""
    network = Network(np.random.default_rng(0))
    start = [parameter.data.copy() for parameter in network.parameters()]
    for _ in range(800):
        network.zero_grad()
        error = network(Tensor(x)).data - target
        network.backward(2 * error / len(x))
        for parameter in parameters_of(network):
            parameter.data -= 0.2 * parameter.grad
    moved = [not np.array_equal(before, now.data) for before, now in zip(start, network.parameters(), strict=True)]
    return moved, float((error**2).mean())


def test_parameters_listed_by_hand_are_lost_and_parameters_finds_them_all(draw, tell):
    """A hand-written list of parameters is right until a layer is added. The forgotten parameters raise no error: they keep
    their initial values, and the network learns worse. parameters() finds every parameter of the modules.
    """
    x = np.array(draw.normal(200, 2, dtype=np.float32))
    target = np.sign(x[:, :1] * x[:, 1:])  # do both coordinates have the same sign?
    by_hand, loss = train(lambda network: network.by_hand, x, target)
    found, less = train(lambda network: network.parameters(), x, target)
    forgotten = by_hand.count(False)
    tell(f"listed by hand, {forgotten} of {len(by_hand)} parameters were forgotten and never move: the loss ends at {loss:.3f}")
    tell(f"parameters() finds all {found.count(True)}: the loss ends at {less:.3f}")
    assert forgotten == 4, f"of the parameters listed by hand, these moved: {by_hand}"
    assert found == [True] * 8, f"of the parameters found, these moved: {found}"
    assert less < loss / 2, f"all parameters end at a loss of {less:.3f}, half of them at {loss:.3f}"
