import numpy as np
import pytest
from katas.layers import Linear, Parameter
from katas.optimizers import Optimizer
from katas.tensor import Tensor

from specs.check import assert_close, rejects


class Plain(Optimizer):
    """Computes p ← p − lr · grad: all that a new rule has to define. It counts its updates."""

    def __init__(self, parameters, lr=0.5):
        super().__init__(parameters, {"lr": lr})

    def update(self, parameter, state, group):
        state["count"] = state.get("count", 0) + 1
        parameter.data -= group["lr"] * parameter.grad


def parameters(*values: float) -> list[Parameter]:
    """One parameter for each value, with different shapes and gradients of ones."""
    made = [Parameter(np.full(i + 2, float(value))) for i, value in enumerate(values)]
    for parameter in made:
        parameter.grad = np.ones(parameter.shape)
    return made


def test_a_step_updates_every_parameter_once():
    """step() calls update(parameter, state, group) for each parameter."""
    a, b, c = parameters(1, 2, 3)
    Plain([a, b, c]).step()
    for parameter, want in ((a, 0.5), (b, 1.5), (c, 2.5)):
        assert_close(parameter, np.full(parameter.shape, want))


def test_parameters_may_come_from_a_generator():
    """Parameters may come from any iterable. A generator yields its parameters only once, and every step needs them."""
    a, b = parameters(1, 2)
    optimizer = Plain(parameter for parameter in (a, b))
    optimizer.step()
    optimizer.step()
    assert_close(b, np.full(3, 1.0), mistakes={"only the first step found the parameters": np.full(3, 1.5)})
    optimizer.zero_grad()
    assert a.grad is None


def test_a_gradient_of_none_is_skipped():
    """A parameter without a gradient was not part of the loss: it keeps its values, and state has no entry for it."""
    a, b = parameters(1, 2)
    a.grad = None
    optimizer = Plain([a, b])
    optimizer.step()
    assert_close(a, np.full(2, 1.0))
    assert a not in optimizer.state
    assert optimizer.state[b] == {"count": 1}


def test_each_parameter_has_a_state_of_its_own():
    """state[parameter] is a dict shared by the parameter's updates; updates of other parameters don't change it."""
    a, b = parameters(1, 1)
    optimizer = Plain([a, b])
    optimizer.step()
    a.grad = None
    optimizer.step()
    assert optimizer.state[a] == {"count": 1}
    assert optimizer.state[b] == {"count": 2}


def test_groups_have_values_of_their_own():
    """A list of dicts makes groups; a group takes the options that it doesn't set from the defaults."""
    a, b, c = parameters(1, 2, 3)
    optimizer = Plain([{"params": [a], "lr": 0.25}, {"params": (p for p in (b, c))}])
    optimizer.step()
    assert_close(a, np.full(2, 0.75), mistakes={"the group's lr is ignored": np.full(2, 0.5)})
    assert_close(c, np.full(4, 2.5), mistakes={"the first group's lr is taken": np.full(4, 2.75), "skipped": np.full(4, 3.0)})
    assert [(group["lr"], len(group["params"])) for group in optimizer.param_groups] == [(0.25, 1), (0.5, 2)]


def test_one_list_of_parameters_is_one_group():
    """param_groups is always a list of dicts, even if the parameters were given as one list."""
    a, b = parameters(1, 2)
    (group,) = Plain([a, b], lr=0.1).param_groups
    assert group["lr"] == 0.1
    assert [id(parameter) for parameter in group["params"]] == [id(a), id(b)]


def test_a_groups_values_may_change_between_steps():
    """A schedule sets param_groups[i]["lr"], and the next step uses it; other groups are not affected."""
    a, b = parameters(1, 2)
    optimizer = Plain([{"params": [a]}, {"params": [b]}])
    optimizer.step()
    optimizer.param_groups[0]["lr"] = 0.125
    optimizer.step()
    assert_close(a, np.full(2, 0.375))
    assert_close(b, np.full(3, 1.0), mistakes={"the groups share one dict": np.full(3, 1.375)})


def test_what_was_given_is_left_alone():
    """The caller's dicts and lists are neither changed nor kept: no default is written into the caller's group."""
    a, b, c = parameters(1, 2, 3)
    given, bare = {"params": [a], "lr": 0.1}, {"params": (c,)}
    optimizer = Plain([given, bare])
    optimizer.param_groups[0]["lr"] = 7
    given["params"].append(b)
    optimizer.step()
    assert given.keys() == {"params", "lr"}
    assert given["lr"] == 0.1
    assert bare == {"params": (c,)}
    assert_close(b, np.full(3, 2.0))


class Listing(Optimizer):
    """An optimizer with a list as an option, as betas may be."""

    def __init__(self, parameters, sizes):
        super().__init__(parameters, {"sizes": sizes})


def test_a_list_among_the_values_is_not_shared():
    """A list given as an option, for all groups or for one, is copied: it is shared neither with the caller nor with another
    group.
    """
    a, b, c = parameters(1, 2, 3)
    for_all, for_one = [1, 2], [3, 4]
    optimizer = Listing([{"params": [a]}, {"params": [b]}, {"params": [c], "sizes": for_one}], for_all)
    for_all[0] = for_one[0] = 7
    optimizer.param_groups[0]["sizes"][1] = 9
    assert [group["sizes"] for group in optimizer.param_groups] == [[1, 9], [1, 2], [3, 4]]
    assert (for_all, for_one) == ([7, 2], [7, 4])


def test_zero_grad_forgets_all_gradients():
    """zero_grad() sets every grad to None, in all groups; the values don't change."""
    a, b, c = parameters(1, 2, 3)
    optimizer = Plain([{"params": [a]}, {"params": [b, c]}])
    optimizer.zero_grad()
    assert [p.grad for p in (a, b, c)] == [None] * 3
    optimizer.step()
    assert_close(c, np.full(4, 3.0))


@pytest.mark.parametrize("nothing", [[], (), [{"params": []}]], ids=str)
def test_no_parameters_are_an_error(nothing):
    """An optimizer without parameters would train nothing, so it raises a ValueError. An exhausted generator yields no
    parameters either.
    """
    with rejects(ValueError, "parameters"):
        Plain(nothing)
    used = (p for p in parameters(1))
    list(used)
    with rejects(ValueError, "parameters"):
        Plain([{"params": parameters(1)}, {"params": used}])


@pytest.mark.parametrize(
    ("wrong", "name"),
    [
        ([np.ones(3)], "ndarray"),
        ([Tensor(np.ones(3), requires_grad=True)], "Tensor"),
        ([("weight", Parameter(np.ones(3)))], "tuple"),
        ([Linear(2, 3)], "Linear"),
        ([{"params": ["weight"]}], "str"),
        (Parameter(np.ones((2, 3))), "Tensor"),
        ([{"params": [Parameter(np.ones(2))]}, Parameter(np.ones(3))], "Parameter"),
    ],
    ids=["an array", "a Tensor", "a pair", "a layer", "a name", "a single Parameter", "beside a group"],
)
def test_what_is_not_a_parameter_is_named(wrong, name):
    """Anything but Parameters or dicts raises a TypeError whose message contains its type."""
    with rejects(TypeError, name):
        Plain(wrong)


def test_float16_is_refused():
    """A float16 parameter raises a TypeError whose message contains float16 and the shape: float16 is for storage, and with it
    Adam would divide 0 by 0.
    """
    half = Parameter(np.ones((2, 3), np.float16))
    with rejects(TypeError, "float16", "(2, 3)"):
        Plain([half])
    with rejects(TypeError, "float16", "(2, 3)"):
        Plain([{"params": parameters(1)}, {"params": [*parameters(2), half]}])


def test_the_same_parameter_twice_is_an_error():
    """A parameter listed twice would be updated twice a step, so it raises a ValueError whose message contains its shape. Equal
    values don't make two parameters the same.
    """
    a, b = Parameter(np.ones(3)), Parameter(np.ones(3))
    Plain([a, b])
    with rejects(ValueError, "(3,)"):
        Plain([a, b, a])
    with rejects(ValueError, "(3,)"):
        Plain([{"params": [a]}, {"params": [b, a]}])


def test_a_name_that_is_no_option_is_an_error():
    """A misspelled option would have no effect, so it raises a ValueError whose message contains it and the options
    that exist.
    """
    with rejects(ValueError, "learning_rate", "lr"):
        Plain([{"params": parameters(1), "learning_rate": 0.1}])
    with rejects(ValueError, "params"):
        Plain([{"lr": 0.1}])


def test_zero_grad_forgets_gradients_that_were_never_used():
    """zero_grad() resets parameters that no step has updated yet, too."""
    a, b = parameters(1, 2)
    b.grad = None
    optimizer = Plain([a, b])
    optimizer.step()
    b.grad = np.ones(3)
    optimizer.zero_grad()
    assert a.grad is b.grad is None
