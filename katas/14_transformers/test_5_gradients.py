import numpy as np
import pytest
from katas.losses import CrossEntropyLoss
from katas.transformers import GPT, GPTConfig

from specs.check import GRADIENT, assert_close

SIZES = {"vocab_size": 7, "context": 6, "n_layer": 2, "n_head": 2, "d_model": 8}


@pytest.mark.parametrize("norm", ["layer", "rms"])
@pytest.mark.parametrize("positions", ["learned", "sinusoidal", "rotary"])
def test_gradients_agree_with_finite_differences(draw, positions, norm):
    """In float64, for every array of parameters and three random directions: the gradient along it is the change of the loss
    there. The tied weight's gradient is the sum of both uses.
    """
    model = GPT(GPTConfig(**SIZES, positions=positions, norm=norm), np.random.default_rng(0))
    for parameter in model.parameters():
        parameter.data = np.array(0.5 * draw.normal(*parameter.shape)) + (parameter.ndim == 1)
    ids, criterion, step = draw.integers(7, 2, 7), CrossEntropyLoss(), 1e-5

    def loss():
        return criterion(model(ids[:, :-1]), ids[:, 1:])

    loss().backward()
    for name, parameter in model.named_parameters():
        values, along, want = parameter.data.copy(), [], []
        for _ in range(3):
            direction = draw.normal(*parameter.shape)
            along.append(np.vdot(parameter.grad, direction))
            parameter.data = values + step * direction
            above = loss().item()
            parameter.data = values - step * direction
            want.append((above - loss().item()) / (2 * step))
            parameter.data = values
        assert_close(np.array(along), np.array(want), GRADIENT, name=name)


def test_every_parameter_receives_a_gradient(draw):
    """None is None, and none is all zeros, whatever the kinds of positions and norm."""
    for positions in ("learned", "sinusoidal", "rotary"):
        for norm in ("layer", "rms"):
            model, ids = (
                GPT(GPTConfig(**SIZES, positions=positions, norm=norm), np.random.default_rng(0)),
                draw.integers(7, 2, 7),
            )
            CrossEntropyLoss()(model(ids[:, :-1]), ids[:, 1:]).backward()
            for name, parameter in model.named_parameters():
                assert parameter.grad is not None, name
                assert parameter.grad.any(), name


def test_two_backwards_add_up(draw):
    """The gradients of two batches, one after another, are the sum of theirs."""
    model, criterion, ids = GPT(GPTConfig(**SIZES), np.random.default_rng(0)), CrossEntropyLoss(), draw.integers(7, 2, 7)

    def gradients(batches):
        model.zero_grad()
        for row in batches:
            criterion(model(ids[row : row + 1, :-1]), ids[row : row + 1, 1:]).backward()
        return [parameter.grad for parameter in model.parameters()]

    for both, first, second in zip(gradients([0, 1]), gradients([0]), gradients([1]), strict=True):
        assert_close(both, first + second)
