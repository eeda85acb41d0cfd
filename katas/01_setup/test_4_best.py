import time

import pytest
from katas.environment import best_of

from specs.check import assert_close, rejects


class Clock:
    """Stands in for time.perf_counter. It advances when a timed call takes its seconds, and by `tick` at every reading."""

    def __init__(self):
        self.now, self.calls, self.tick = 1000.0, 0, 0.0

    def __call__(self) -> float:
        self.now += self.tick
        return self.now

    def taking(self, *seconds: float):
        """A call that takes the first of these seconds the first time, and so on; after the last, it repeats the last."""

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
    """best_of() returns the fastest round: other work on the machine makes a round slower, never faster."""
    mistakes = {"the mean of the rounds": 5.4, "the median of the rounds": 5.0, "the last round": 6.0, "the first round": 9.0}
    assert_close(best_of(clock.taking(2, 9, 3, 5, 4, 6)), 3.0, mistakes=mistakes)


def test_nothing_is_taken_off(clock):
    """best_of() doesn't subtract the clock's own time (here half a second a reading), which it could only guess."""
    clock.tick = 0.5
    assert_close(best_of(clock.taking(2)), 2.5, mistakes={"what the clock itself takes is taken off": 2.0})


@pytest.mark.parametrize("fastest", range(4))
def test_any_round_may_be_the_fastest(clock, fastest):
    """The fastest round counts, whether it is the first, the last or one in between."""
    seconds = [2.0] * 4
    seconds[fastest] = 1.0
    assert_close(best_of(clock.taking(5, *seconds), rounds=4), 1.0, mistakes={"that round is left out": 2.0})


def test_the_first_call_is_not_timed(clock):
    """The first call only fills caches and wakes threads: its time, long or short, is not counted."""
    assert_close(best_of(clock.taking(100, 3), rounds=1), 3.0, mistakes={"the first call is timed": 100.0})
    clock.calls = 0
    assert_close(best_of(clock.taking(1, 3), rounds=2), 3.0, mistakes={"the first call is timed": 1.0})


def test_a_round_is_several_calls(clock):
    """A round is `number` calls in a row: one call may be shorter than the clock's tick. The result is the time of one."""
    call = clock.taking(100, 1, 2, 3, 0.5, 2, 2)
    mistakes = {"the time of a whole round": 4.5, "the fastest single call": 0.5, "divided by rounds": 2.25}
    assert_close(best_of(call, number=3, rounds=2), 1.5, mistakes=mistakes)


@pytest.mark.parametrize(("number", "rounds"), [(1, 1), (1, 6), (4, 3)])
def test_there_are_as_many_calls_as_asked_for(clock, number, rounds):
    """best_of() times rounds × number calls, after one call that is not timed."""
    best_of(clock.taking(1), number=number, rounds=rounds)
    assert clock.calls == 1 + number * rounds, f"expected {1 + number * rounds} calls, got {clock.calls}"


def test_there_are_five_rounds_of_one_call_unless_told_otherwise(clock):
    """best_of(call) is the same as best_of(call, number=1, rounds=5)."""
    best_of(clock.taking(1))
    assert clock.calls == 6


def test_no_calls_are_refused(clock):
    """If number or rounds is less than 1, best_of() raises a ValueError whose message shows it, such as number=0."""
    with rejects(ValueError, "number=0"):
        best_of(clock.taking(1), number=0)
    with rejects(ValueError, "rounds=-2"):
        best_of(clock.taking(1), rounds=-2)


def test_an_error_in_the_call_is_not_hidden():
    """best_of() does not catch an exception that the call raises."""
    with rejects(ZeroDivisionError):
        best_of(lambda: 1 / 0)


def test_a_slower_round_ends_nothing(clock):
    """All rounds are run: after slower ones another may be the fastest."""
    assert_close(best_of(clock.taking(1, 3, 4, 5, 2, 6)), 2.0, mistakes={"it ended at the first slower round": 3.0})


def test_a_round_of_no_time_is_the_fastest(clock):
    """If the clock saw nothing of a round, the result is 0."""
    assert best_of(clock.taking(1, 2, 0, 3)) == 0
