import copy

import numpy as np
import pytest
from katas.layers import Parameter
from katas.optimizers import SGD, Adam, AdamW, Optimizer

from specs.check import EXACT, assert_close, rejects

OPTIMIZERS = {
    "SGD": lambda groups: SGD(groups, lr=0.1),
    "momentum": lambda groups: SGD(groups, lr=0.1, momentum=0.9),
    "Adam": lambda groups: Adam(groups, lr=0.1),
    "AdamW": lambda groups: AdamW(groups, lr=0.1),
}
every = pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)


def parameters(draw) -> list[Parameter]:
    return [
        Parameter(draw.normal(3, 4, dtype=np.float32)),
        Parameter(draw.normal(5, dtype=np.float32)),
        Parameter(draw.normal(2)),
    ]


def groups(made: list[Parameter]) -> list[dict]:
    """Two groups: the first parameter with its own rate, and the others."""
    return [{"params": made[:1], "lr": 0.3}, {"params": made[1:]}]


def steps(optimizer, made: list[Parameter], grads: list) -> None:
    """Takes one step for each list of gradients."""
    for step in grads:
        for parameter, grad in zip(made, step, strict=True):
            parameter.grad = grad
        optimizer.step()


def gradients(draw, count: int) -> list:
    return [[draw.normal(3, 4, dtype=np.float32), draw.normal(5, dtype=np.float32), draw.normal(2)] for _ in range(count)]


def assert_goes_on(make, optimizer, made: list[Parameter], saved: dict, grads: list) -> None:
    """A new optimizer over copies of the parameters, with this state, makes the same steps as the old one."""
    copies = [Parameter(p.data) for p in made]
    resumed = make(groups(copies))
    resumed.load_state_dict(saved)
    steps(optimizer, made, grads)
    steps(resumed, copies, grads)
    for parameter, again in zip(made, copies, strict=True):
        assert_close(again, parameter.data, EXACT)


@every
def test_a_resumed_optimizer_goes_on_as_if_nothing_had_happened(make, draw):
    """Five steps give bit for bit the same as three steps, a state dict, a new optimizer over copies of the parameters, and two
    more steps.
    """
    made, grads = parameters(draw), gradients(draw, 5)
    optimizer = make(groups(made))
    steps(optimizer, made, grads[:3])
    optimizer.param_groups[1]["lr"] = 0.05
    assert_goes_on(make, optimizer, made, optimizer.state_dict(), grads[3:])


@every
def test_state_belongs_to_the_parameter_of_its_number(make, draw):
    """Each parameter gets its own state back, even if the last parameters were updated first, as when a layer is
    trained later.
    """
    made, grads = parameters(draw), gradients(draw, 4)
    optimizer = make(groups(made))
    steps(optimizer, made, [[None, None, grads[0][2]], [None, *grads[1][1:]], grads[2]])
    saved, order = optimizer.state_dict(), (2, 0, 1)  # which says nothing
    saved["state"] = {number: saved["state"][number] for number in order if number in saved["state"]}
    assert_goes_on(make, optimizer, made, saved, grads[3:])


def test_values_of_zero_are_loaded(draw):
    """0, 0.0 and False are loaded like other values: they replace what the optimizer has in its groups and its state."""
    made = parameters(draw)
    saved = SGD(made, lr=0.0).state_dict()
    other = SGD(made, lr=0.1, momentum=0.9, weight_decay=0.1, nesterov=True)
    other.load_state_dict(saved)
    assert other.state_dict()["param_groups"] == saved["param_groups"]
    saved = Adam(made, betas=(0.0, 0.0), eps=0.0).state_dict()
    saved["state"] = {0: {"step": 0, "exp_avg": np.zeros((3, 4), np.float32), "exp_avg_sq": np.zeros((3, 4), np.float32)}}
    other = Adam(made, betas=(0.5, 0.5))
    other.load_state_dict(saved)
    assert other.param_groups[0]["betas"] == (0.0, 0.0)
    assert other.param_groups[0]["eps"] == 0.0
    found = other.state_dict()["state"][0]
    assert found.keys() == {"step", "exp_avg", "exp_avg_sq"}
    assert found["step"] == 0


def test_a_list_in_the_state_is_copied_both_ways(draw):
    """Your own optimizer may keep lists of arrays in its state: saving and loading copy the lists and the arrays."""

    class Keeping(Optimizer):
        def update(self, parameter, state, group):
            state.setdefault("past", []).append(parameter.grad.copy())

    made = parameters(draw)
    optimizer, other = Keeping(made, {}), Keeping(made, {})
    steps(optimizer, made, gradients(draw, 1))
    saved = optimizer.state_dict()
    before = copy.deepcopy(saved)
    other.load_state_dict(saved)
    for changed in (optimizer, other):
        changed.state[made[0]]["past"][0][...] = 7
        changed.state[made[0]]["past"].append(None)
        assert len(saved["state"][0]["past"]) == 1
        assert_close(saved["state"][0]["past"][0], before["state"][0]["past"][0], EXACT)


def test_what_a_state_dict_holds(draw):
    """state_dict() returns {"state": {index: {name: value}}, "param_groups": [{name: value, "params": [indices]}]}. Indices
    count from 0 through all groups, and a parameter without updates has no state. The names are PyTorch's.
    """
    made = parameters(draw)
    optimizer = AdamW(groups(made), lr=0.1)
    first, _, third = gradients(draw, 1)[0]
    steps(optimizer, made, [[first, None, third]] * 2)
    saved = optimizer.state_dict()
    common = {"betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.01}
    assert saved["param_groups"] == [{"params": [0], "lr": 0.3, **common}, {"params": [1, 2], "lr": 0.1, **common}]
    assert all(type(number) is int for group in saved["param_groups"] for number in group["params"])
    assert saved["state"].keys() == {0, 2}
    assert saved["state"][0].keys() == {"step", "exp_avg", "exp_avg_sq"}
    assert saved["state"][2]["step"] == 2
    assert type(saved["state"][2]["exp_avg"]) is np.ndarray
    momentum = SGD(made, lr=0.1, momentum=0.9)
    momentum.step()
    assert [*momentum.state_dict()["state"][0]] == ["momentum_buffer"]


@every
def test_the_state_is_copied_both_ways(make, draw):
    """Later steps don't change a state dict that was saved or loaded, and writing to it doesn't change the optimizer."""
    made, grads = parameters(draw), gradients(draw, 3)
    optimizer = make(groups(made))
    steps(optimizer, made, grads[:1])
    saved = optimizer.state_dict()
    before = copy.deepcopy(saved)
    steps(optimizer, made, grads[1:2])
    resumed = make(groups(made))
    resumed.load_state_dict(saved)
    steps(resumed, made, grads[2:])
    resumed.param_groups[0]["lr"] = 7
    assert saved["param_groups"] == before["param_groups"]
    for number, state in before["state"].items():
        for name, value in state.items():
            assert_close(saved["state"][number][name], value, EXACT, name=name)
    saved["param_groups"][1]["lr"] = 9
    saved["param_groups"][1]["params"].clear()
    assert resumed.param_groups[1]["lr"] == 0.1
    assert len(resumed.param_groups[1]["params"]) == 2


@every
def test_loading_brings_back_the_groups_values_and_keeps_the_parameters(make, draw):
    """Loading restores lr and the other options; "params" remain the Parameters that the optimizer was created with."""
    made = parameters(draw)
    optimizer = make(groups(made))
    saved = optimizer.state_dict()
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    optimizer.load_state_dict(saved)
    assert [group["lr"] for group in optimizer.param_groups] == [0.3, 0.1]
    assert [id(p) for group in optimizer.param_groups for p in group["params"]] == [id(p) for p in made]


def test_loading_replaces_what_was_remembered(draw):
    """Loading replaces the whole state: if the loaded one is empty, the current moments are discarded."""
    made, grads = parameters(draw), gradients(draw, 1)
    optimizer = Adam(made)
    fresh = optimizer.state_dict()
    steps(optimizer, made, grads)
    optimizer.load_state_dict(fresh)
    assert optimizer.state_dict()["state"] == {}


def refused(optimizer, saved: dict, *names: str) -> None:
    """Loading raises a ValueError with these names, and the optimizer doesn't change."""
    before = optimizer.state_dict()
    with rejects(ValueError, *names):
        optimizer.load_state_dict(saved)
    after = optimizer.state_dict()
    assert after["param_groups"] == before["param_groups"]
    assert after["state"].keys() == before["state"].keys()


def test_another_number_of_parameters_is_refused(draw):
    """If the groups or their numbers of parameters differ, loading raises a ValueError whose message contains both; nothing is
    changed.
    """
    made = parameters(draw)
    saved = Adam(groups(made), lr=0.5).state_dict()
    refused(Adam(made), saved, "[1, 2]", "[3]")
    refused(Adam([{"params": made[:2]}, {"params": made[2:]}]), saved, "[1, 2]", "[2, 1]")


@pytest.mark.parametrize("number", [3, -1, 17, "0", None], ids=repr)
def test_state_of_a_parameter_that_does_not_exist_is_refused(number, draw):
    """State for an index that no parameter has raises a ValueError whose message contains the index; nothing is changed."""
    made = parameters(draw)
    optimizer = Adam(made, lr=0.5)
    steps(optimizer, made, gradients(draw, 1))
    saved = optimizer.state_dict()
    saved["state"][number] = saved["state"].pop(2)
    refused(Adam(made), saved, repr(number))


def test_a_list_among_the_values_is_copied_both_ways(draw):
    """betas may be a list: saving and loading copy it."""
    made = parameters(draw)
    optimizer, other = Adam(made, betas=[0.5, 0.75]), Adam(made)
    saved = optimizer.state_dict()
    optimizer.param_groups[0]["betas"][0] = 0.1
    assert saved["param_groups"][0]["betas"] == [0.5, 0.75]
    other.load_state_dict(saved)
    saved["param_groups"][0]["betas"][0] = 0.2
    assert other.param_groups[0]["betas"] == [0.5, 0.75]


def test_another_shape_is_refused(draw):
    """State of a different shape than its parameter raises a ValueError whose message contains both shapes; nothing
    is changed.
    """
    made, others = parameters(draw), parameters(draw)
    others[1] = Parameter(np.ones(6))
    optimizer = Adam(made, lr=0.5)
    steps(optimizer, made, gradients(draw, 1))
    refused(Adam(others), optimizer.state_dict(), "(5,)", "(6,)")
    others = [Parameter(np.ones((4, 3))), *made[1:]]  # as many values
    refused(Adam(others), optimizer.state_dict(), "(3, 4)", "(4, 3)")


def test_the_state_of_another_optimizer_is_refused(draw):
    """If a group lacks an option that this optimizer needs, loading raises a ValueError whose message contains the option;
    nothing is changed.
    """
    made = parameters(draw)
    refused(Adam(made), SGD(made, lr=0.5).state_dict(), "Adam", "betas", "eps")
    refused(SGD(made, lr=0.1), Adam(made, lr=0.5).state_dict(), "SGD", "momentum")
