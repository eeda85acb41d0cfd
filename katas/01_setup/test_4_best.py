import time

import pytest
from katas.environment import best_of

from specs.check import assert_close, rejects


class Clock:
    """Stands in for time.perf_counter, and moves only when the timed call takes its seconds, and by `tick` at every look."""

    def __init__(self):
        self.now, self.calls, self.tick = 1000.0, 0, 0.0

    def __call__(self) -> float:
        self.now += self.tick
        return self.now

    def taking(self, *seconds: float):
        """A call that takes so long the first time, so long the second …, and from then on as long as the last."""

        def call():
            self.now += seconds[min(self.calls, len(seconds) - 1)]
            self.calls += 1

        return call


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(time, "perf_counter", clock)
    monkeypatch.setattr("katas.environment.perf_counter", clock, raising=False)  # from time import perf_counter
    return clock


def test_the_fastest_round_counts(clock):
    """Whatever else the machine does makes a round slower, never faster: the minimum is nearest to the truth."""
    mistakes = {"the mean of the rounds": 5.4, "the median of the rounds": 5.0, "the last round": 6.0, "the first round": 9.0}
    assert_close(best_of(clock.taking(2, 9, 3, 5, 4, 6)), 3.0, mistakes=mistakes)


def test_nothing_is_taken_off(clock):
    """Where every look at the clock takes half a second, that half is in the result: a guess of it would be another error."""
    clock.tick = 0.5
    assert_close(best_of(clock.taking(2)), 2.5, mistakes={"what the clock itself takes is taken off": 2.0})


@pytest.mark.parametrize("fastest", range(4))
def test_any_round_may_be_the_fastest(clock, fastest):
    """The fastest round counts, whether it is the first, the last or one between."""
    seconds = [2.0] * 4
    seconds[fastest] = 1.0
    assert_close(best_of(clock.taking(5, *seconds), rounds=4), 1.0, mistakes={"that round is left out": 2.0})


def test_the_first_call_is_not_timed(clock):
    """One call before the rounds fills caches and wakes threads: its time, long or short, is not counted."""
    assert_close(best_of(clock.taking(100, 3), rounds=1), 3.0, mistakes={"the first call is timed": 100.0})
    clock.calls = 0
    assert_close(best_of(clock.taking(1, 3), rounds=2), 3.0, mistakes={"the first call is timed": 1.0})


def test_a_round_is_several_calls(clock):
    """A call shorter than the clock's tick is measured by number calls in a row. The result is the time of one."""
    call = clock.taking(100, 1, 2, 3, 0.5, 2, 2)
    mistakes = {"the time of a whole round": 4.5, "the fastest single call": 0.5, "divided by rounds": 2.25}
    assert_close(best_of(call, number=3, rounds=2), 1.5, mistakes=mistakes)


@pytest.mark.parametrize(("number", "rounds"), [(1, 1), (1, 6), (4, 3)])
def test_there_are_as_many_calls_as_asked_for(clock, number, rounds):
    """rounds × number calls are timed, after the one that is not."""
    best_of(clock.taking(1), number=number, rounds=rounds)
    assert clock.calls == 1 + number * rounds, f"expected {1 + number * rounds} calls, got {clock.calls}"


def test_there_are_five_rounds_of_one_call_unless_told_otherwise(clock):
    """best_of(call) is best_of(call, number=1, rounds=5)."""
    best_of(clock.taking(1))
    assert clock.calls == 6


def test_no_calls_are_refused(clock):
    """number and rounds less than 1 are a ValueError that names them."""
    with rejects(ValueError, "number=0"):
        best_of(clock.taking(1), number=0)
    with rejects(ValueError, "rounds=-2"):
        best_of(clock.taking(1), rounds=-2)


def test_an_error_in_the_call_is_not_hidden():
    """What the call raises passes through."""
    with rejects(ZeroDivisionError):
        best_of(lambda: 1 / 0)
