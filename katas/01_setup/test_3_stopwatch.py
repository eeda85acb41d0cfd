import threading
import time
from contextlib import suppress

import pytest
from katas.environment import stopwatch

from specs.check import rejects


def work() -> None:
    """Keeps a processor busy for two milliseconds of CPU time (to which another thread may add its own) and of wall time."""
    cpu, wall = time.process_time() + 0.002, time.perf_counter() + 0.002
    while time.process_time() < cpu or time.perf_counter() < wall:
        pass


def in_a_thread() -> None:
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


def assert_measured(clock: str, function, block) -> None:
    """watch.<clock> of a block lies between what `function` reads just inside the stopwatch and just outside it."""
    outside = function()
    with stopwatch() as watch:
        inside = function()
        block()
        inside = function() - inside
    outside = function() - outside
    seconds = getattr(watch, clock)
    assert inside <= seconds <= outside, f"expected {clock} between {inside:.6f} and {outside:.6f} seconds, got {seconds:.6f}"


def test_wall_is_the_seconds_that_passed():
    """wall is the time that time.perf_counter() measures, in seconds, whether the block works or waits."""
    assert_measured("wall", time.perf_counter, work)
    assert_measured("wall", time.perf_counter, lambda: time.sleep(0.01))


@pytest.mark.parametrize("seconds", [1e-7, 2.5e-9, 0.123456789])
def test_nothing_is_rounded(seconds, monkeypatch):
    """wall and cpu have all the digits of the clocks: a hundred nanoseconds don't become 0."""
    for clock in ("perf_counter", "process_time"):
        monkeypatch.setattr(time, clock, iter([0.0, seconds]).__next__)
        monkeypatch.setattr(f"katas.environment.{clock}", getattr(time, clock), raising=False)
    with stopwatch() as watch:
        pass
    assert (watch.wall, watch.cpu) == (seconds, seconds)


def test_cpu_is_the_seconds_of_work():
    """cpu is the time that time.process_time() measures, in seconds: waiting doesn't count."""
    assert_measured("cpu", time.process_time, work)
    assert_measured("cpu", time.process_time, lambda: time.sleep(0.01))


def test_the_work_of_other_threads_counts():
    """cpu counts the whole process: NumPy's matrix product runs in threads of its own."""
    assert_measured("cpu", time.process_time, in_a_thread)


def test_the_seconds_stand_still_after_the_block():
    """wall and cpu don't change after the block has ended."""
    with stopwatch() as watch:
        work()
    wall, cpu = watch.wall, watch.cpu
    work()
    assert (watch.wall, watch.cpu) == (wall, cpu)


def test_an_exception_passes_through():
    """A stopwatch does not catch an exception that the block raises."""
    with rejects(ZeroDivisionError), stopwatch():
        _ = 1 / 0


def test_the_seconds_are_there_after_an_exception():
    """wall and cpu are set after a block that raised an exception."""
    watch = stopwatch()
    with suppress(ZeroDivisionError), watch:
        work()
        _ = 1 / 0
    assert min(watch.wall, watch.cpu) >= 0.002


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_the_seconds_are_there_after_any_exception(error):
    """wall and cpu are set even if the block was interrupted, such as by Ctrl-C."""
    watch = stopwatch()
    with suppress(error), watch:
        work()
        raise error
    assert min(watch.wall, watch.cpu) >= 0.002


def test_stopwatches_nest():
    """A stopwatch inside another one measures its own block, and the outer one measures both."""
    with stopwatch() as outer:
        work()
        with stopwatch() as inner:
            work()
    assert inner.wall >= 0.002
    assert inner.cpu >= 0.002
    assert outer.cpu >= inner.cpu + 0.002
    assert outer.wall >= inner.wall + 0.002


def test_a_stopwatch_used_again_measures_anew():
    """When a stopwatch is used again, the second block's seconds replace the first block's. They are not added up."""
    with stopwatch() as watch:
        work()
    start, busy = time.perf_counter(), time.process_time()
    with watch:
        pass
    assert watch.wall <= time.perf_counter() - start
    assert watch.cpu <= time.process_time() - busy


def test_seconds_before_the_end_are_refused():
    """Reading wall or cpu before or inside the block raises a RuntimeError whose message contains the name."""
    watch = stopwatch()
    with rejects(RuntimeError, "wall"):
        _ = watch.wall
    with rejects(RuntimeError, "cpu"):
        _ = watch.cpu
    with watch, rejects(RuntimeError, "wall"):
        _ = watch.wall
    with watch, rejects(RuntimeError, "cpu"):
        _ = watch.cpu


def test_the_clock_on_the_wall_may_be_set_back(monkeypatch):
    """A stopwatch doesn't measure with time.time(), which jumps when the computer's clock is set."""
    times = iter([1e9, 1e9 - 3600])
    monkeypatch.setattr(time, "time", lambda: next(times, 0.0))
    with stopwatch() as watch:
        work()
    assert 0.002 <= watch.wall < 3000


def test_measuring_costs_next_to_nothing(budget):
    """An empty block takes at most eight times as long as reading both clocks twice."""

    def clocks():
        time.perf_counter(), time.process_time(), time.perf_counter(), time.process_time()

    def empty():
        with stopwatch():
            pass

    budget.time(empty, against=clocks, limit=8)


def test_stopwatches_may_overlap():
    """Of two that overlap, each measures its own time, whichever ends first."""
    first, second = stopwatch(), stopwatch()
    first.__enter__()
    work()
    second.__enter__()
    first.__exit__(None, None, None)
    work()
    work()
    second.__exit__(None, None, None)
    assert second.wall >= 0.004
    assert first.wall >= 0.002
    assert first.wall + 0.004 < time.perf_counter()


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, ValueError])
def test_every_exception_passes_through(kind):
    """Whatever ends the block arrives outside, Ctrl-C included."""
    with pytest.raises(kind), stopwatch():
        raise kind


def test_no_time_is_a_time(monkeypatch):
    """If a clock saw nothing, its seconds are 0.0, which is known."""
    for clock in ("perf_counter", "process_time"):
        monkeypatch.setattr(time, clock, lambda: 5.0)
        monkeypatch.setattr(f"katas.environment.{clock}", getattr(time, clock), raising=False)
    with stopwatch() as watch:
        pass
    assert (watch.wall, watch.cpu) == (0.0, 0.0)
