"""Optimizers: what to do with the gradients, for all parameters, in place."""

import copy
import math
from collections.abc import Iterable

import numpy as np
from katas.layers import Parameter

# 06.1 Optimizer


class Optimizer:
    """Applies a rule, `update`, to every parameter that has a gradient.

    param_groups: a list of dicts, each with its "params" and a value for every name in defaults, which may be changed between
    steps. state: a dict of names and values for each parameter, what its updates remember; empty before the first.
    """

    def __init__(self, parameters: Iterable, defaults: dict):
        """parameters: Parameters, or dicts such as {"params": [...], "lr": 0.1} with values in place of the defaults'.

        Raises: ValueError if there are no parameters (in a group either), one stands twice, or a group has a name that is not
        in defaults, or no "params"; TypeError for what is not a Parameter; and as `_check` below.
        """
        groups = list(parameters)
        if not any(isinstance(group, dict) for group in groups):
            groups = [{"params": groups}]
        self.param_groups, self.state = [], {}
        for group in groups:
            if not isinstance(group, dict) or "params" not in group:
                raise ValueError(f'a parameter group must be a dict with "params", not {group!r}')
            if unknown := group.keys() - defaults.keys() - {"params"}:
                raise ValueError(f"{type(self).__name__} has no {sorted(unknown)}, only {sorted(defaults)}")
            self.param_groups.append(defaults | group | {"params": list(group["params"])})
            _check(self.param_groups[-1])
        parameters = self._parameters()
        for i, parameter in enumerate(parameters):
            if not isinstance(parameter, Parameter):
                raise TypeError(f"an optimizer takes Parameters, not a {type(parameter).__name__} (number {i})")
        if len(set(parameters)) < len(parameters):
            twice = next(i for i, parameter in enumerate(parameters) if parameter in set(parameters[:i]))
            raise ValueError(f"parameter {twice}, of shape {parameters[twice].shape}, stands twice")

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
        """What a subclass writes: changes parameter.data in place, by parameter.grad, its own state and its group's values."""
        raise TypeError(f"{type(self).__name__} needs an update(parameter, state, group)")

    def _parameters(self) -> list[Parameter]:
        return [parameter for group in self.param_groups for parameter in group["params"]]

    # 06.5 Saving and loading

    def state_dict(self) -> dict:
        """{"state": {index: {name: value}}, "param_groups": [{name: value, "params": [index, …]}, …]}, all of it copied.

        The parameters are numbered through all groups. A parameter that was never updated has no state.
        """
        index = {parameter: i for i, parameter in enumerate(self._parameters())}
        return {
            "state": {index[parameter]: copy.deepcopy(state) for parameter, state in self.state.items()},
            "param_groups": [group | {"params": [index[p] for p in group["params"]]} for group in self.param_groups],
        }

    def load_state_dict(self, state_dict: dict) -> None:
        """Copies what state_dict() gave, so that the next steps are those that would have followed there.

        Raises: ValueError if the number of groups or of parameters in one differs, a group lacks a name that this optimizer's
        have, or an array has another shape than its parameter. Then nothing is changed.
        """
        groups, parameters = state_dict["param_groups"], self._parameters()
        sizes, own = ([len(group["params"]) for group in them] for them in (groups, self.param_groups))
        if sizes != own:
            raise ValueError(f"the state is one of {sizes} parameters in {len(sizes)} groups, not of {own} in {len(own)}")
        for group, loaded in zip(self.param_groups, groups, strict=True):
            if missing := group.keys() - loaded.keys():
                raise ValueError(f"the state of another kind of optimizer: {type(self).__name__} needs {sorted(missing)}")
        order = [index for group in groups for index in group["params"]]
        numbered = dict(zip(order, parameters, strict=True))
        for index, state in state_dict["state"].items():
            for name, value in state.items():
                if np.shape(value) not in ((), numbered[index].shape):
                    raise ValueError(f"{name} of parameter {index}: shape {value.shape}, not {numbered[index].shape}")
        self.state = {numbered[index]: copy.deepcopy(state) for index, state in state_dict["state"].items()}
        for group, loaded in zip(self.param_groups, groups, strict=True):
            group.update(loaded | {"params": group["params"]})


def _check(group: dict) -> None:
    """The values that mean the same in every optimizer."""
    for name in ("lr", "eps", "weight_decay"):
        if not group.get(name, 0) >= 0:
            raise ValueError(f"{name} must be 0 or more, not {group[name]!r}")
    for name, value in (("momentum", group.get("momentum", 0)), *(("betas", beta) for beta in group.get("betas", ()))):
        if not 0 <= value < 1:
            raise ValueError(f"{name} must be in [0, 1), not {group[name]!r}")
    if group.get("nesterov") and not group["momentum"]:
        raise ValueError("nesterov=True needs a momentum, not 0")
