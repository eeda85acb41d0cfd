"""The work, by the reference."""

from collections.abc import Callable

import numpy as np
from katas.losses import CrossEntropyLoss
from katas.spatial import conv2d
from katas.tensor import Tensor

from specs.bench import work
from specs.datasets.cifar10 import cifar10
from specs.milestones.recipes import cifar10 as recipe

VERSION = f"NumPy {np.__version__}"


def convolution(case: work.Convolution) -> Callable[[], list[np.ndarray]]:
    """A call computes the result and its gradients."""
    x, weight, g = case.inputs()
    x, weight = Tensor(x, requires_grad=not case.pictures), Tensor(weight, requires_grad=True)

    def call():
        x.grad = weight.grad = None
        y = conv2d(x, weight, None, case.stride, case.padding)
        y.backward(g)
        return [y.data, weight.grad] + ([] if case.pictures else [x.grad])

    return call


def step() -> Callable[[], list[np.ndarray]]:
    """A call is a step of training the milestone's network: it gives the loss before it, and the parameters after it."""
    network = recipe.build(np.random.default_rng(0))
    parameters = network.parameters()
    for parameter, value in zip(parameters, work.parameters(p.shape for p in parameters), strict=True):
        parameter.data[...] = value
    (x, y), criterion, optimizer = work.photographs(), CrossEntropyLoss(label_smoothing=0.05), recipe.sgd(network)

    def call():
        optimizer.zero_grad()
        loss = criterion(network(Tensor(x)), Tensor(y))
        loss.backward()
        optimizer.step()
        return [loss.data, *(parameter.data for parameter in parameters)]

    return call


def train(seed: int) -> tuple[float, float]:
    """The milestone's recipe on CIFAR-10: the accuracy on the test images, and the seconds it took."""
    trainer = recipe.train(cifar10("real", recipe.read), seed)
    return trainer.history[-1]["metric"], sum(epoch["seconds"] for epoch in trainer.history)
