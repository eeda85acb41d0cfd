"""Optimizers: they update all parameters at once, in place, from their gradients."""

import copy
import math
from collections.abc import Iterable

import numpy as np
from katas.layers import Parameter

# 06.1 Optimizer


class Optimizer:
    """Applies a rule, which a subclass writes as `update`, to every parameter that has a gradient.

    param_groups: dicts, each with its list of "params" and a value for every option in defaults; values may be changed between
    steps. state: for each updated parameter, a dict in which `update` keeps values for the parameter's next step.
    """

    def __init__(self, parameters: Iterable, defaults: dict):
        """parameters: Parameters, or groups: dicts such as {"params": [...], "lr": 0.1} with values that override the defaults.

        Raises: TypeError for anything else, and for float16; ValueError if there are no parameters or a group has none, if a
        parameter is listed twice, if a group has no "params" or an option that isn't in defaults, or for an impossible value:
        lr, eps or weight_decay below 0, momentum or one of betas outside [0, 1), nesterov without momentum.
        """
        raise NotImplementedError("06.1 Optimizer.__init__: README.md, 06.1")

    def zero_grad(self) -> None:
        """Sets the grad of every parameter to None."""
        raise NotImplementedError("06.1 Optimizer.zero_grad: README.md, 06.1")

    def step(self) -> None:
        """Updates every parameter whose grad is not None."""
        raise NotImplementedError("06.1 Optimizer.step: README.md, 06.1")

    def update(self, parameter: Parameter, state: dict, group: dict) -> None:  # given
        """Changes parameter.data in place, from parameter.grad, its state and its group's options. A subclass writes it."""
        raise TypeError(f"{type(self).__name__} needs an update(parameter, state, group)")

    # 06.5 Saving and loading

    def state_dict(self) -> dict:
        """Returns {"state": {index: {name: value}}, "param_groups": [{name: value, "params": [index, ...]}, ...]}, copied.

        The parameters' indices count through all groups, from 0. A parameter that was never updated has no state.
        """
        raise NotImplementedError("06.5 Optimizer.state_dict: README.md, 06.5")

    def load_state_dict(self, state_dict: dict) -> None:
        """Copies the result of state_dict(): the next steps are those that would have followed there, bit for bit.

        Raises: ValueError if the numbers of groups or of a group's parameters differ, a group lacks an option that this
        optimizer's groups have, there is state for a parameter that does not exist, or an array's shape differs from its
        parameter's. In that case nothing is changed.
        """
        raise NotImplementedError("06.5 Optimizer.load_state_dict: README.md, 06.5")


# 06.2 SGD


class SGD(Optimizer):
    """Stochastic gradient descent, with momentum μ as in torch.optim.SGD (Sutskever et al. 2013, without dampening).

    g ← grad + weight_decay·p;  b ← μ·b + g, at first b ← g;  p ← p - lr·b, or with nesterov p - lr·(g + μ·b).
    With momentum, the state has "momentum_buffer".
    """

    def __init__(self, parameters: Iterable, lr: float, momentum: float = 0.0, weight_decay: float = 0.0, nesterov=False):
        raise NotImplementedError("06.2 SGD.__init__: README.md, 06.2")

    def update(self, parameter: Parameter, state: dict, group: dict) -> None:
        """One step of the formula above. It holds one array of the parameter's size in addition to the state."""
        raise NotImplementedError("06.2 SGD.update: README.md, 06.2")


# 06.3 Adam and AdamW


class Adam(Optimizer):
    """Kingma & Ba 2015, algorithm 1. Weight decay is added to the gradient (L2); the paper has none.

    g ← grad + weight_decay·p;  m ← β₁·m + (1 - β₁)·g;  v ← β₂·v + (1 - β₂)·g²;  p ← p - lr·m̂ / (√v̂ + eps),
    where m̂ = m / (1 - β₁ᵗ) and v̂ = v / (1 - β₂ᵗ) at a parameter's t-th update. The state has "step", "exp_avg", "exp_avg_sq".
    """

    def __init__(
        self, parameters: Iterable, lr: float = 1e-3, betas=(0.9, 0.999), eps: float = 1e-8, weight_decay: float = 0.0
    ):
        raise NotImplementedError("06.3 Adam.__init__: README.md, 06.3")

    def update(self, parameter: Parameter, state: dict, group: dict) -> None:
        """One step of the formula above. It holds one array of the parameter's size in addition to the state."""
        raise NotImplementedError("06.3 Adam.update: README.md, 06.3")


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019, algorithm 2): first p ← p - lr·weight_decay·p."""

    def __init__(
        self, parameters: Iterable, lr: float = 1e-3, betas=(0.9, 0.999), eps: float = 1e-8, weight_decay: float = 0.01
    ):
        raise NotImplementedError("06.3 AdamW.__init__: README.md, 06.3")

    def update(self, parameter: Parameter, state: dict, group: dict) -> None:
        """Applies the decay, then Adam's update without weight decay."""
        raise NotImplementedError("06.3 AdamW.update: README.md, 06.3")


# 06.4 Clipping


def clip_grad_norm(parameters: Iterable[Parameter], max_norm: float) -> float:
    """Scales all gradients by the same factor, in place, so that their norm, as one long vector, is at most max_norm.

    Returns the norm before clipping. A parameter whose grad is None does not count (Pascanu et al. 2013, algorithm 1).
    Raises: ValueError unless max_norm > 0, or if a gradient is not finite: the message contains the parameter's index, and no
    gradient is changed.
    """
    raise NotImplementedError("06.4 clip_grad_norm: README.md, 06.4")
