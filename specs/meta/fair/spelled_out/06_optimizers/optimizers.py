"""Kata 06 as the papers write it, in new arrays that are copied into the parameter; one joined vector is clipped."""

from collections import defaultdict
from copy import deepcopy

import numpy as np
from katas.layers import Parameter

ALLOWED = {
    "lr": lambda value: value >= 0,
    "eps": lambda value: value >= 0,
    "weight_decay": lambda value: value >= 0,
    "momentum": lambda value: 0 <= value < 1,
    "betas": lambda value: 0 <= value[0] < 1 and 0 <= value[1] < 1,
}


class Optimizer:
    def __init__(self, parameters, defaults):
        given = [*parameters]
        if len(given) == 0:
            raise ValueError("no parameters")
        grouped = [isinstance(one, dict) for one in given]
        if True not in grouped:
            given = [{"params": given}]
        elif False in grouped:
            raise TypeError(f"a {type(given[grouped.index(False)]).__name__} beside groups")
        self.defaults = deepcopy(defaults)
        self.state = defaultdict(dict)
        self.param_groups = []
        for one in given:
            self.add(one)
        ids = [id(p) for _, p in self.all()]
        for place, (_, p) in enumerate(self.all()):
            if id(p) in ids[:place]:
                raise ValueError(f"twice the same parameter {p.shape}")

    def add(self, given):
        group = deepcopy(self.defaults)
        for name, value in given.items():
            if name != "params" and name not in self.defaults:
                raise ValueError(f"{name} is none of {[*self.defaults]}")
            group[name] = value if name == "params" else deepcopy(value)
        if "params" not in group:
            raise ValueError("a group without params")
        group["params"] = [*group["params"]]
        if group["params"] == []:
            raise ValueError("a group without parameters")
        for p in group["params"]:
            if not isinstance(p, Parameter):
                raise TypeError(f"a {type(p).__name__} is no Parameter")
            if p.dtype.itemsize < 4:
                raise TypeError(f"a {p.dtype} of shape {p.shape} has too few digits")
        for name, value in group.items():
            if name in ALLOWED and not ALLOWED[name](value):
                raise ValueError(f"{name} can't be {value}")
        if group.get("nesterov", False) and not group["momentum"]:
            raise ValueError("nesterov without momentum")
        self.param_groups.append(group)

    def all(self):
        for group in self.param_groups:
            for p in group["params"]:
                yield group, p

    def zero_grad(self):
        for _, p in self.all():
            p.grad = None

    def step(self):
        for group, p in self.all():
            if p.grad is None:
                continue
            self.update(p, self.state[p], group)

    def update(self, parameter: Parameter, state: dict, group: dict) -> None:  # given
        """What a subclass writes: changes parameter.data in place, by parameter.grad, its state and its group's values."""
        raise TypeError(f"{type(self).__name__} needs an update(parameter, state, group)")

    def state_dict(self):
        result = {"state": {}, "param_groups": []}
        number = 0
        for group in self.param_groups:
            saved = {name: deepcopy(value) for name, value in group.items() if name != "params"}
            saved["params"] = []
            for p in group["params"]:
                saved["params"].append(number)
                if p in self.state:
                    result["state"][number] = deepcopy(self.state[p])
                number += 1
            result["param_groups"].append(saved)
        return result

    def load_state_dict(self, state_dict):
        saved = deepcopy(state_dict)
        theirs = [len(group["params"]) for group in saved["param_groups"]]
        ours = [len(group["params"]) for group in self.param_groups]
        if theirs != ours:
            raise ValueError(f"{theirs} parameters were saved, here are {ours}")
        for group in saved["param_groups"]:
            missing = [name for name in self.defaults if name not in group]
            if missing:
                raise ValueError(f"no {missing} for {type(self).__name__}")
        strangers = [*saved["state"].keys() - range(sum(ours))]
        if strangers:
            raise ValueError(f"there is no parameter {strangers[0]!r}")
        state = defaultdict(dict)
        for number, (_, p) in enumerate(self.all()):
            if number in saved["state"]:
                state[p] = saved["state"][number]
                for name, value in state[p].items():
                    if isinstance(value, np.ndarray) and value.shape != p.shape:
                        raise ValueError(f"{name} {value.shape} for {p.shape}")
        groups = saved["param_groups"]
        for group, mine in zip(groups, self.param_groups, strict=True):
            group["params"] = mine["params"]
        self.state, self.param_groups = state, groups


def _gradient(p, decay):
    """The gradient with decay·p, as a new array of the parameter's dtype."""
    return np.array(p.grad + decay * p.data, p.dtype)


class SGD(Optimizer):
    def __init__(self, parameters, lr, momentum=0.0, weight_decay=0.0, nesterov=False):
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "nesterov": nesterov})

    def update(self, parameter, state, group):
        g, mu = _gradient(parameter, group["weight_decay"]), group["momentum"]
        way = g
        if mu > 0:
            b = mu * state["momentum_buffer"] + g if "momentum_buffer" in state else g
            state["momentum_buffer"] = np.array(b, parameter.dtype)
            way = g + mu * b if group["nesterov"] else b
        parameter.data[...] = parameter.data - group["lr"] * way


class _Moments(Optimizer):
    def __init__(self, parameters, lr, betas, eps, weight_decay):
        super().__init__(parameters, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})

    def way(self, g, state, group):
        """m̂ / (√v̂ + eps)"""
        beta1, beta2 = group["betas"]
        t = state.get("step", 0) + 1
        m = state.get("exp_avg", np.zeros_like(g))
        v = state.get("exp_avg_sq", np.zeros_like(g))
        m = np.array(m + (1 - beta1) * (g - m), g.dtype)
        v = np.array(beta2 * v + (1 - beta2) * g**2, g.dtype)
        state["step"], state["exp_avg"], state["exp_avg_sq"] = t, m, v
        return m / (1 - beta1**t) / (np.sqrt(v / (1 - beta2**t)) + group["eps"])


class Adam(_Moments):
    def __init__(self, parameters, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0):
        super().__init__(parameters, lr, betas, eps, weight_decay)

    def update(self, parameter, state, group):
        g = _gradient(parameter, group["weight_decay"])
        parameter.data[...] = parameter.data - group["lr"] * self.way(g, state, group)


class AdamW(_Moments):
    def __init__(self, parameters, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01):
        super().__init__(parameters, lr, betas, eps, weight_decay)

    def update(self, parameter, state, group):
        way = self.way(_gradient(parameter, 0), state, group)
        parameter.data[...] = parameter.data - group["lr"] * (way + group["weight_decay"] * parameter.data)


def clip_grad_norm(parameters, max_norm):
    if max_norm <= 0 or max_norm != max_norm:
        raise ValueError(f"max_norm {max_norm}")
    grads = []
    for number, p in enumerate(parameters):
        if p.grad is not None:
            if not np.isfinite(p.grad).all():
                raise ValueError(f"parameter {number} {p.shape} has a gradient that is not finite")
            grads.append(p.grad)
    joined = np.concatenate([np.zeros(1), *[grad.ravel() for grad in grads]])
    largest = np.abs(joined).max()
    if largest == 0:
        return 0.0
    norm = float(largest * np.linalg.norm(joined / largest))
    if norm > max_norm:
        for grad in grads:
            grad[...] = grad * (max_norm / norm)
    return norm
