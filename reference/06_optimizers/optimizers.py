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
        groups = list(parameters)
        if not any(isinstance(group, dict) for group in groups):
            groups = [{"params": groups}]
        self.param_groups, self.state = [], {}
        seen = set()
        for group in groups:
            if not isinstance(group, dict):
                raise TypeError(f"expected a dict, like the other groups, not a {type(group).__name__}")
            if (names := group.keys() - defaults.keys()) != {"params"}:
                raise ValueError(f"a group needs 'params' and may have {sorted(defaults)}; it has {sorted(names)}")
            group = _values(defaults | group) | {"params": list(group["params"])}
            _check(group)
            for parameter in group["params"]:
                if not isinstance(parameter, Parameter):
                    raise TypeError(f"{type(self).__name__} takes Parameters, not a {type(parameter).__name__}")
                if parameter.dtype == np.float16:
                    raise TypeError(
                        f"a parameter of shape {parameter.shape} is float16, which is for storage: most updates are too small "
                        "for its three digits, and squares of gradients vanish; train float32"
                    )
                if parameter in seen:
                    raise ValueError(f"a parameter of shape {parameter.shape} stands twice")
                seen.add(parameter)
            self.param_groups.append(group)

    def zero_grad(self) -> None:
        """Sets the grad of every parameter to None."""
        for parameter in self._parameters():
            parameter.grad = None

    def step(self) -> None:
        """Updates every parameter whose grad is not None."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self.update(parameter, self.state.setdefault(parameter, {}), group)

    def update(self, parameter: Parameter, state: dict, group: dict) -> None:  # given
        """Changes parameter.data in place, from parameter.grad, its state and its group's options. A subclass writes it."""
        raise TypeError(f"{type(self).__name__} needs an update(parameter, state, group)")

    def _parameters(self) -> list[Parameter]:
        return [parameter for group in self.param_groups for parameter in group["params"]]

    # 06.5 Saving and loading

    def state_dict(self) -> dict:
        """Returns {"state": {index: {name: value}}, "param_groups": [{name: value, "params": [index, ...]}, ...]}, copied.

        The parameters' indices count through all groups, from 0. A parameter that was never updated has no state.
        """
        number = {parameter: i for i, parameter in enumerate(self._parameters())}
        return {
            "state": {number[parameter]: copy.deepcopy(state) for parameter, state in self.state.items()},
            "param_groups": [_values(group) | {"params": [number[p] for p in group["params"]]} for group in self.param_groups],
        }

    def load_state_dict(self, state_dict: dict) -> None:
        """Copies the result of state_dict(): the next steps are those that would have followed there, bit for bit.

        Raises: ValueError if the numbers of groups or of a group's parameters differ, a group lacks an option that this
        optimizer's groups have, there is state for a parameter that does not exist, or an array's shape differs from its
        parameter's. In that case nothing is changed.
        """
        groups, parameters = state_dict["param_groups"], self._parameters()
        saved, own = ([len(group["params"]) for group in them] for them in (groups, self.param_groups))
        if saved != own:
            raise ValueError(f"the state is of groups of {saved} parameters, the optimizer has {own}")
        for group, loaded in zip(self.param_groups, groups, strict=True):
            if missing := group.keys() - loaded.keys():
                raise ValueError(f"the state is of another kind of optimizer: {type(self).__name__} needs {sorted(missing)}")
        numbered = dict(enumerate(parameters))
        if unknown := [number for number in state_dict["state"] if number not in numbered]:
            raise ValueError(f"there is state for parameter {unknown[0]!r}, but they count from 0 to {len(parameters) - 1}")
        state = {numbered[number]: copy.deepcopy(values) for number, values in state_dict["state"].items()}
        for parameter, values in state.items():
            for name, value in values.items():
                if isinstance(value, np.ndarray) and value.shape not in ((), parameter.shape):
                    raise ValueError(f"{name} has shape {value.shape}, its parameter {parameter.shape}")
        self.state = state
        for group, loaded in zip(self.param_groups, groups, strict=True):
            group.update(_values(loaded))


def _values(group: dict) -> dict:
    """Returns a copy of everything in a group except its parameters."""
    return {name: copy.deepcopy(value) for name, value in group.items() if name != "params"}


def _check(group: dict) -> None:
    if not group["params"]:
        raise ValueError("there are no parameters: an empty list, or an iterator that was used up before?")
    for name in ("lr", "eps", "weight_decay"):
        if not group.get(name, 0) >= 0:
            raise ValueError(f"{name} must be 0 or more, not {group[name]!r}")
    if not 0 <= group.get("momentum", 0) < 1:
        raise ValueError(f"momentum must be in [0, 1), not {group['momentum']!r}")
    if not all([0 <= beta < 1 for beta in group.get("betas", ())]):
        raise ValueError(f"betas must be in [0, 1), not {group['betas']!r}")
    if group.get("nesterov") and group["momentum"] == 0:
        raise ValueError("nesterov needs a momentum, not 0")


# 06.2 SGD


class SGD(Optimizer):
    """Stochastic gradient descent, with momentum μ as in torch.optim.SGD (Sutskever et al. 2013, without dampening).

    g ← grad + weight_decay·p;  b ← μ·b + g, at first b ← g;  p ← p - lr·b, or with nesterov p - lr·(g + μ·b).
    With momentum, the state has "momentum_buffer".
    """

    def __init__(self, parameters: Iterable, lr: float, momentum: float = 0.0, weight_decay: float = 0.0, nesterov=False):
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "nesterov": nesterov})

    def update(self, parameter: Parameter, state: dict, group: dict) -> None:
        """One step of the formula above. It holds one array of the parameter's size in addition to the state."""
        lr, momentum = group["lr"], group["momentum"]
        data, grad = parameter.data, parameter.grad
        scratch = np.empty_like(data)
        if group["weight_decay"]:
            grad = np.add(grad, np.multiply(data, group["weight_decay"], out=scratch), out=scratch)
        if momentum:
            if not state:
                state["momentum_buffer"] = grad.astype(data.dtype)
            else:
                state["momentum_buffer"] *= momentum
                state["momentum_buffer"] += grad
            if group["nesterov"]:  # lr·g and lr·μ·b one after the other, since g may lie in scratch
                data -= np.multiply(grad, lr, out=scratch)
                lr *= momentum
            grad = state["momentum_buffer"]
        data -= np.multiply(grad, lr, out=scratch)


# 06.3 Adam and AdamW


class Adam(Optimizer):
    """Kingma & Ba 2015, algorithm 1. Weight decay is added to the gradient (L2); the paper has none.

    g ← grad + weight_decay·p;  m ← β₁·m + (1 - β₁)·g;  v ← β₂·v + (1 - β₂)·g²;  p ← p - lr·m̂ / (√v̂ + eps),
    where m̂ = m / (1 - β₁ᵗ) and v̂ = v / (1 - β₂ᵗ) at a parameter's t-th update. The state has "step", "exp_avg", "exp_avg_sq".
    """

    def __init__(
        self, parameters: Iterable, lr: float = 1e-3, betas=(0.9, 0.999), eps: float = 1e-8, weight_decay: float = 0.0
    ):
        super().__init__(parameters, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})

    def update(self, parameter: Parameter, state: dict, group: dict) -> None:
        """One step of the formula above. It holds one array of the parameter's size in addition to the state."""
        (beta1, beta2), data, grad = group["betas"], parameter.data, parameter.grad
        if not state:
            state.update(step=0, exp_avg=np.zeros_like(data), exp_avg_sq=np.zeros_like(data))
        state["step"] += 1
        m, v, t = state["exp_avg"], state["exp_avg_sq"], state["step"]
        scratch = np.empty_like(data)
        if group["weight_decay"]:
            grad = np.add(grad, np.multiply(data, group["weight_decay"], out=scratch), out=scratch)
        np.multiply(grad, 1 - beta1, out=scratch)
        m *= beta1
        m += scratch
        scratch *= scratch
        scratch *= (1 - beta2) / (1 - beta1) ** 2
        v *= beta2
        v += scratch
        root = math.sqrt(1 - beta2**t)  # m̂ / (√v̂ + eps) = m / (1 - β₁ᵗ) · root / (√v + eps·root): fewer passes
        np.sqrt(v, out=scratch)
        scratch += group["eps"] * root
        np.divide(m, scratch, out=scratch)
        scratch *= group["lr"] * root / (1 - beta1**t)
        data -= scratch


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019, algorithm 2): first p ← p - lr·weight_decay·p."""

    def __init__(
        self, parameters: Iterable, lr: float = 1e-3, betas=(0.9, 0.999), eps: float = 1e-8, weight_decay: float = 0.01
    ):
        super().__init__(parameters, lr, betas, eps, weight_decay)

    def update(self, parameter: Parameter, state: dict, group: dict) -> None:
        """Applies the decay, then Adam's update without weight decay."""
        parameter.data *= 1 - group["lr"] * group["weight_decay"]
        super().update(parameter, state, group | {"weight_decay": 0})


# 06.4 Clipping


def clip_grad_norm(parameters: Iterable[Parameter], max_norm: float) -> float:
    """Scales all gradients by the same factor, in place, so that their norm, as one long vector, is at most max_norm.

    Returns the norm before clipping. A parameter whose grad is None does not count (Pascanu et al. 2013, algorithm 1).
    Raises: ValueError unless max_norm > 0, or if a gradient is not finite: the message contains the parameter's index, and no
    gradient is changed.
    """
    if not max_norm > 0:
        raise ValueError(f"max_norm must be positive, not {max_norm!r}")
    grads = {i: parameter.grad for i, parameter in enumerate(parameters) if parameter.grad is not None}
    norms = {i: _norm(grad) for i, grad in grads.items()}
    for i, norm in norms.items():
        if not math.isfinite(norm):
            raise ValueError(f"the gradient of parameter {i}, of shape {grads[i].shape}, has the norm {norm}")
    total = math.hypot(*norms.values())
    if total > max_norm:
        for grad in grads.values():
            grad *= max_norm / total
    return total


def _norm(grad: np.ndarray) -> float:
    grad = grad.astype(np.result_type(grad, np.float32), copy=False)
    squares, limits = float(np.vdot(grad, grad)), np.finfo(grad.dtype)
    if limits.tiny / limits.eps < squares < math.inf:
        return math.sqrt(squares)
    largest = float(np.abs(grad).max(initial=0))  # whose square is too large for the dtype, or too small
    if largest == 0 or not math.isfinite(largest):
        return largest
    scaled = grad / largest
    return largest * math.sqrt(np.vdot(scaled, scaled))
