import itertools

import numpy as np
import pytest
from katas.activations import GELU, LeakyReLU, LogSoftmax, ReLU, Sigmoid, Softmax, Tanh
from katas.autograd import defvjp, gradcheck, no_grad
from katas.layers import Dropout, Flatten, Linear, Sequential
from katas.losses import BCEWithLogitsLoss, CrossEntropyLoss, MSELoss
from katas.optimizers import SGD
from katas.tensor import Tensor

from specs import oracles
from specs.check import assert_close, assert_dtype, assert_gradient, rejects

ACTIVATIONS = {
    "ReLU": (ReLU, oracles.activations.relu),
    "LeakyReLU": (LeakyReLU, oracles.activations.leaky_relu),
    "Sigmoid": (Sigmoid, oracles.activations.sigmoid),
    "Tanh": (Tanh, oracles.activations.tanh),
    "GELU": (GELU, oracles.activations.gelu),
    "Softmax": (Softmax, oracles.activations.softmax),
    "LogSoftmax": (LogSoftmax, oracles.activations.log_softmax),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_every_activation_of_kata_03_can_be_differentiated(name, draw):
    """Through autograd, the forward of each kata 03 activation gives the same gradient as its hand-derived backward."""
    activation, oracle = ACTIVATIONS[name]
    x, g = Tensor(draw.normal(2, 3, 4), requires_grad=True), draw.normal(2, 3, 4)
    activation()(x).backward(g)
    assert_gradient(x.grad, oracle, x.data, g)


@pytest.mark.parametrize("value", [1e13, 1.9e19, 3e38, np.inf])
def test_gelu_has_a_gradient_however_large_its_input(value):
    """GELU's gradient is 1 far to the right and 0 far to the left, not NaN, even where x² overflows."""
    x = Tensor(np.array([-value, value], np.float32), requires_grad=True)
    with np.errstate(all="ignore"):
        GELU()(x).backward(np.ones(2))
    assert_close(x.grad, [0.0, 1.0])


LAYERS = {
    "Linear": lambda rng: Linear(4, 3, rng=rng),
    "Linear without bias": lambda rng: Linear(4, 3, bias=False, rng=rng),
    "a stack": lambda rng: Sequential(Linear(4, 6, rng=rng), GELU(), Linear(6, 3, rng=rng), LogSoftmax()),
    "Dropout": lambda rng: Sequential(Linear(4, 6, rng=rng), Dropout(0.5, rng), Linear(6, 3, rng=rng)),
    "Flatten": lambda rng: Sequential(Linear(4, 2, rng=rng), Flatten(), Linear(10, 3, rng=rng)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_every_layer_of_kata_04_has_the_gradients_that_were_derived_by_hand(name, draw, monkeypatch):
    """Autograd gives the same gradients of input and parameters as each layer's own backward gave before this kata."""
    x = draw.normal(2, 5, 4)

    def made():
        network = LAYERS[name](np.random.default_rng(1))
        for parameter in network.parameters():
            parameter.data = parameter.data.astype(np.float64)
        return network, Tensor(x, requires_grad=True)

    network, by_autograd = made()
    output = network(by_autograd)
    g = draw.normal(*output.shape)
    output.backward(g)
    monkeypatch.setattr(Tensor, "_recorder", None)
    same, by_hand = made()
    same(by_hand)
    assert_close(by_autograd.grad, same.backward(g), name="the input's gradient")
    for (own, parameter), other in zip(network.named_parameters(), same.parameters(), strict=True):
        assert_close(parameter.grad, other.grad, name=own)


LOSSES = {
    "MSELoss": (MSELoss, oracles.losses.mse),
    "CrossEntropyLoss": (CrossEntropyLoss, oracles.losses.cross_entropy),
    "CrossEntropyLoss, smoothed": (
        lambda: CrossEntropyLoss(label_smoothing=0.1),
        lambda logits, target: oracles.losses.cross_entropy(logits, target, 0.1),
    ),
    "BCEWithLogitsLoss": (BCEWithLogitsLoss, oracles.losses.bce_with_logits),
}


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_of_kata_05_can_be_differentiated(name, draw):
    """loss.backward() gives the gradient of the prediction, and none of the target."""
    loss, oracle = LOSSES[name]
    x = Tensor(draw.normal(5, 3), requires_grad=True)
    target = draw.integers(3, 5) if "Cross" in name else draw.uniform(0, 1, 5, 3)
    loss()(x, target).backward()
    assert_gradient(x.grad, lambda x: oracle(x, target), x.data, np.ones(()))


def network_and_batch(draw):
    rng = np.random.default_rng(2)
    network = Sequential(Linear(4, 8, rng=rng), ReLU(), Dropout(0.2, rng), Linear(8, 3, rng=rng))
    return network, Tensor(draw.normal(6, 4, dtype=np.float32)), draw.integers(3, 6)


def test_a_whole_network_stays_float32(draw):
    """Each parameter's grad has its dtype and shape, through layers, activations, dropout and a loss."""
    network, x, labels = network_and_batch(draw)
    CrossEntropyLoss()(network(x), labels).backward()
    for parameter in network.parameters():
        assert_dtype(parameter.grad, np.float32)
        assert_close(parameter.grad.shape, parameter.shape)


def test_a_layer_that_is_used_twice_has_one_gradient(draw):
    """A layer used twice gets the sum of both uses' gradients, as central differences show. Its own backward can't do that."""
    layer = Linear(3, 3, rng=np.random.default_rng(0))
    weight, bias, x, g = layer.weight.data.astype(np.float64), layer.bias.data, draw.normal(5, 3), draw.normal(5, 3)
    layer.weight.data = weight
    layer(layer(Tensor(x)).tanh()).backward(g)

    def twice(w):
        return np.tanh(x @ w.T + bias) @ w.T + bias

    assert_gradient(layer.weight.grad, twice, weight, g)


def test_a_shared_weight_has_one_gradient(draw):
    """A Parameter used in two places gets one gradient, as when a language model shares its embedding: x → W → tanh → Wᵀ."""
    w, x, g = Tensor(draw.normal(3, 4), requires_grad=True), draw.normal(5, 4), draw.normal(5, 4)
    ((Tensor(x) @ w.T).tanh() @ w).backward(g)
    assert_gradient(w.grad, lambda w: np.tanh(x @ w.T) @ w, w.data, g)


def test_a_loop_with_a_condition_is_followed_as_it_ran(draw):
    """Autograd records the operations that ran: Python's loops and conditions need no rules."""

    def function(x):
        for step in range(3):
            x = x * x if step % 2 else x + x.exp()
        return x if x.sum() > 0 else -x

    x = draw.uniform(0.1, 0.5, 4)
    assert gradcheck(function, Tensor(x, requires_grad=True))


def test_an_operation_of_your_own_needs_a_result_and_a_rule(draw):
    """An operation of your own needs Tensor._result and a rule, such as softplus(a) = log(1 + eᵃ) as one primitive."""
    defvjp("softplus", lambda g, y, a: g * (1 - np.exp(-y)))

    def softplus(x):
        return Tensor._result("softplus", np.logaddexp(0, x.data), x)

    x, g = Tensor(draw.normal(2, 3), requires_grad=True), draw.normal(2, 3)
    (softplus(x) * 2).backward(g)
    assert_gradient(x.grad, lambda a: 2 * np.logaddexp(0, a), x.data, g)


def test_other_data_between_forward_and_backward_changes_nothing():
    """Assigning a new array to a parameter's data before backward() is safe: the graph holds the forward pass's arrays."""
    x, w = Tensor([5.0]), Tensor([3.0], requires_grad=True)
    y = w * x
    x.data, w.data = np.array([7.0], np.float32), np.array([9.0], np.float32)
    y.backward()
    assert_close(w.grad, [5.0], mistakes={"the operand of now, not that of the forward pass": [7.0]})


def test_a_change_in_place_between_forward_and_backward_is_not_noticed():
    """The graph holds arrays, not copies: a change in place before backward() gives a wrong gradient, as the README says."""
    x, w = Tensor([5.0]), Tensor([3.0], requires_grad=True)
    y = w * x
    x.data += 2
    y.backward()
    assert_close(w.grad, [7.0])


def test_layers_keep_nothing_for_a_derivative_by_hand(draw):
    """While operations are recorded, layers save nothing for backward: the graph holds it already, and frees it."""
    network, x, labels = network_and_batch(draw)
    with no_grad():
        network(x)
    CrossEntropyLoss()(network(x), labels).backward()
    with rejects(RuntimeError, "forward"):
        network.backward(np.ones((6, 3), np.float32))


def test_from_optimizers_to_autograd(draw):
    """A loop with loss.backward() instead of hand-computed dL/dW and dL/db lowers the loss, and needs two lines for it."""
    network, criterion = Sequential(Linear(4, 8, rng=np.random.default_rng(0)), Tanh(), Linear(8, 3)), CrossEntropyLoss()
    x, labels = Tensor(draw.normal(6, 4, dtype=np.float32)), draw.integers(3, 6)
    optimizer = SGD(network.parameters(), lr=0.01)
    loss = criterion(network(x), labels)
    before = [parameter.data.copy() for parameter in network.parameters()]

    loss.backward()  # Handles any architecture
    optimizer.step()  # Use the gradients

    for parameter, old in zip(network.parameters(), before, strict=True):
        assert_close(parameter, old - 0.01 * parameter.grad)
    with no_grad():
        assert criterion(network(x), labels).item() < loss.item()


def test_a_step_keeps_no_memory(budget, draw):
    """Between two training steps no activation is alive, even while the loss is."""
    network = Sequential(Linear(256, 256, rng=np.random.default_rng(0)), ReLU(), Linear(256, 4))
    criterion, optimizer = CrossEntropyLoss(), SGD(network.parameters(), lr=0.01)
    x, labels, kept = Tensor(draw.normal(512, 256, dtype=np.float32)), draw.integers(4, 512), []

    def step():
        optimizer.zero_grad()
        kept[:] = [criterion(network(x), labels)]
        kept[0].backward()
        optimizer.step()
        optimizer.zero_grad()

    budget.bytes(step, retained=100_000)


@pytest.mark.parametrize("shapes", list(itertools.product([(3,), (2, 3), (4, 2, 3)], [(3,), (3, 5), (4, 3, 5)])), ids=str)
def test_products_of_all_shapes_have_gradients(shapes, draw):
    """Through tensors, matmul has gradients for vectors, matrices and batches of them on either side."""
    a, b = (Tensor(draw.normal(*shape), requires_grad=True) for shape in shapes)
    g = draw.normal(*(a.data @ b.data).shape)
    (a @ b).backward(g)
    assert_gradient(a.grad, lambda x: x @ b.data, a.data, g, name="a")
    assert_gradient(b.grad, lambda x: a.data @ x, b.data, g, name="b")
