import copy
import json
import math

import pytest
from katas.training import EarlyStopping

from specs.check import rejects


def told(stopping: EarlyStopping, *values: float) -> list[tuple[bool, bool]]:
    """What update returns, and the value of stop, after each value."""
    return [(stopping.update(value), stopping.stop) for value in values]


def test_it_stops_after_patience_values_without_improvement():
    """update(value) returns whether value is the best yet. After `patience` values that were not, stop is True."""
    stopping = EarlyStopping(patience=3)
    assert not stopping.stop
    assert told(stopping, 0.5, 0.4, 0.3) == [(True, False), (False, False), (False, False)]
    assert told(stopping, 0.2) == [(False, True)]
    assert told(EarlyStopping(patience=1), 0.5, 0.4) == [(True, False), (False, True)]


def test_an_improvement_starts_the_patience_anew():
    """An improvement resets the count: only values in a row count toward patience."""
    stopping = EarlyStopping(patience=2)
    assert told(stopping, 0.5, 0.4, 0.6, 0.5, 0.7, 0.6)[-1] == (False, False)
    assert told(stopping, 0.65) == [(False, True)]


def test_the_best_is_what_counts_not_the_last():
    """A value between the last and the best is no improvement; nor is a value equal to the best."""
    assert [better for better, _ in told(EarlyStopping(patience=9), 0.5, 0.3, 0.4, 0.5, 0.6)] == [
        True,
        False,
        False,
        False,
        True,
    ]


def test_of_a_loss_less_is_better():
    """With mode="min", a smaller value is an improvement."""
    assert told(EarlyStopping(2, mode="min"), 3.0, 2.0, 2.5, 2.2) == [
        (True, False),
        (True, False),
        (False, False),
        (False, True),
    ]
    assert told(EarlyStopping(2, mode="min"), -1.0, -2.0)[-1] == (True, False)
    assert told(EarlyStopping(2), -2.0, -1.0)[-1] == (True, False)


@pytest.mark.parametrize(("mode", "sign"), [("max", 1), ("min", -1)])
def test_too_small_an_improvement_is_none(mode, sign):
    """A value improves if it is better than the best, not the last, by more than min_delta, so that small steps add up."""
    stopping = EarlyStopping(9, min_delta=0.25, mode=mode)
    better = [stopping.update(sign * value) for value in (4.0, 4.125, 4.25, 4.375, 4.5)]
    assert better == [True, False, False, True, False]


def test_nan_is_no_improvement():
    """NaN is never an improvement, not even as the first value. The first number after it is one."""
    assert told(EarlyStopping(2), 0.5, math.nan, math.nan) == [(True, False), (False, False), (False, True)]
    assert told(EarlyStopping(3), math.nan, 0.1, 0.2) == [(False, False), (True, False), (True, False)]


@pytest.mark.parametrize(("mode", "sign"), [("max", 1), ("min", -1)])
@pytest.mark.parametrize("zero", [0.0, 0, -0.0])
def test_a_best_of_0_is_a_best(zero, mode, sign):
    """A best value of 0 is not treated as if there were none: worse and equal values are no improvement."""
    assert [better for better, _ in told(EarlyStopping(9, mode=mode), zero, -0.5 * sign, zero, 0.5 * sign)] == [
        True,
        False,
        False,
        True,
    ]


@pytest.mark.parametrize(("mode", "sign"), [("max", 1), ("min", -1)])
def test_infinities_are_values(mode, sign):
    """The first value is the best, even if infinitely bad. Any finite one is better; an infinitely good one is better once."""
    values = [sign * value for value in (-math.inf, -math.inf, 0.5, math.inf, math.inf)]
    assert [better for better, _ in told(EarlyStopping(9, mode=mode), *values)] == [True, False, True, True, False]


def test_patience_and_min_delta_may_be_changed_later():
    """patience and min_delta are attributes: stop and the next update use their current values."""
    stopping = EarlyStopping(patience=2, min_delta=0.5)
    assert told(stopping, 1.0, 0.9, 0.8)[-1] == (False, True)
    stopping.patience = 4
    assert not stopping.stop
    stopping.min_delta = 0
    assert told(stopping, 1.1) == [(True, False)]
    stopping.patience = 1
    assert told(stopping, 1.1) == [(False, True)]


@pytest.mark.parametrize(
    "values", [[0.5, 0.4, 0.6, 0.5, 0.55, 0.1], [-1.0, 0.0, -1.0, 0.0, -2.0, -3.0]], ids=["0.6 is best", "0 is best"]
)
def test_its_state_can_be_saved(values):
    """state_dict() holds plain numbers. load_state_dict() resumes exactly there, even before the first value."""
    want = told(EarlyStopping(3), *values)
    for cut in range(len(values)):
        before, after = EarlyStopping(3), EarlyStopping(3)
        told(before, *values[:cut])
        after.load_state_dict(json.loads(json.dumps(before.state_dict())))
        assert told(after, *values[cut:]) == want[cut:]


def test_a_saved_state_does_not_change():
    """state_dict() returns a copy, and load_state_dict() copies what it loads."""
    stopping, other = EarlyStopping(3), EarlyStopping(3)
    told(stopping, 0.5)
    saved = stopping.state_dict()
    before = copy.deepcopy(saved)
    other.load_state_dict(saved)
    told(stopping, 0.7, 0.1)
    told(other, 0.8, 0.2)
    assert saved == before


@pytest.mark.parametrize(
    ("options", "name"),
    [({"patience": 0}, "0"), ({"patience": -1}, "-1"), ({"patience": 1, "min_delta": -0.5}, "-0.5")],
    ids=["0", "-1", "min_delta"],
)
def test_no_patience_is_refused(options, name):
    """patience below 1, or min_delta below 0, raises a ValueError that contains the value."""
    with rejects(ValueError, name):
        EarlyStopping(**options)


def test_another_mode_is_refused():
    """A mode other than "max" or "min" raises a ValueError that contains it."""
    with rejects(ValueError, "maximum"):
        EarlyStopping(3, mode="maximum")
