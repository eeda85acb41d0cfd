import warnings

import numpy as np
import pytest
from katas.benchmarking import Benchmark, Clock, spent

from specs.oracles.benchmarking import World


def warned(world: World, works: dict, **options) -> list[str]:
    """What a benchmark warns of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        Benchmark(works, clock=Clock(world.wall, world.cpu), **options).run()
    assert all(issubclass(each.category, UserWarning) for each in caught)
    return [str(each.message) for each in caught]


@pytest.mark.parametrize(
    ("seconds", "calls"),
    [
        ([1, 1e-6, 1e-6, 1e-6], 1),
        ([1, 1, 1, 1e-6, 1e-6, 1e-6, 1e-6], 3),
        ([1, 1, 1, 1, 1e-6], 4),
        ([3, 1, 2, 0.01, 0.09, 0.02], 3),
        ([1, 0.0, 0.0], 1),
        ([1, 1, 1, 1], 0),
        ([1, 10.0, 1, 1], 0),
        ([10.0, 1, 1, 1], 0),
        ([10.1, 1, 1, 1], 1),
        ([8.0, 0.5, 1.5], 0),
        ([12.5, 0.5, 1.9], 1),
        ([1], 0),
        ([], 0),
    ],
    ids=str,
)
def test_the_work_was_done_after_so_many_calls(seconds, calls):
    """spent: the largest k for which each of the first k times is more than ten times the median of the others; or 0."""
    assert spent(seconds) == calls
    assert spent(tuple(seconds)) == calls
    assert spent(np.array(seconds, float)) == calls


@pytest.mark.parametrize(
    "seconds",
    [[1, 1, 100, 1, 1], [1, 1, 0.01, 1, 1, 1], [100, 1, 100, 1, 0.5], [5, 4, 3, 2, 1, 0.6], [1e-6, 1, 1]],
    ids=str,
)
def test_a_single_time_or_a_drift_says_nothing(seconds):
    """A call that was interrupted, one that was fast, and a machine that slowly gets faster are no work that is done."""
    seconds[0] = min(seconds[0], 9)
    assert spent(seconds) == 0


def test_one_slow_call_among_those_after_the_work_hides_nothing():
    """Of the later times the median counts, not the largest; of the earlier ones the least, not the mean."""
    assert spent([1, 1, 1e-4, 1e-4, 5, 1e-4, 1e-4]) == 2
    assert spent([1, 0.01, 50, 0.01, 0.01, 0.01]) == 1
    assert spent([100, 0.01, 0.01, 1, 0.01, 0.01]) == 1


def test_spent_is_read_when_it_is_needed(monkeypatch):
    """SPENT says how many times faster is suspicious."""
    monkeypatch.setattr("katas.benchmarking.SPENT", 100)
    assert spent([50, 1, 1]) == 0
    assert spent([101, 1, 1]) == 1


@pytest.mark.parametrize("calls", [1, 2, 3, 5, 20])
@pytest.mark.parametrize("number", [None, 1])
def test_an_iterator_that_is_used_up_is_noticed(calls, number):
    """A work that has something to do so many times, and then nothing: a UserWarning contains its name, and no other's."""
    world = World()
    works = {"steady": world.work(0.01), "used up": world.work(*[0.01] * calls, 1e-5)}
    found = warned(world, works, number=number)
    assert len(found) == 1, f"there are {len(found)} warnings, expected one"
    assert "used up" in found[0]
    assert "steady" not in found[0]


def test_a_cache_is_noticed_in_a_long_warm_up():
    """Done in the second of five calls of the warm-up, none of which is in the rounds: what was before counts."""
    world = World()
    found = warned(world, {"cached": world.work(0.01, 0.01, 1e-4)}, warmup=5, number=1)
    assert len(found) == 1, "there is no warning"
    assert "cached" in found[0]


def test_each_work_that_is_done_has_its_warning():
    """Two caches, two warnings."""
    world = World()
    found = warned(world, {"one": world.work(0.01, 1e-5), "two": world.work(0.01, 1e-5)}, rounds=3)
    assert len(found) == 2, f"there are {len(found)} warnings, expected two"
    assert ["one" in found[0], "two" in found[1]] == [True, True]


def test_the_first_call_alone_is_enough():
    """One round after one call: 10 ms, then 1 µs."""
    world = World()
    assert len(warned(world, {"a": world.work(0.01, 1e-6)}, rounds=1, number=1)) == 1


def test_a_first_call_that_was_interrupted_is_no_work_that_is_done():
    """Another program ran for a while: the wall's seconds are many, those of the CPU as ever. No warning."""
    world = World()

    def work(calls=[]):  # noqa: B006
        world.now += 0.01 if calls else 0.5
        world.busy += 0 if len(calls) == 4 else 0.01  # once, too little for the clock
        calls.append(1)

    assert warned(world, {"a": work}, rounds=5, number=1) == []


@pytest.mark.parametrize(("slow", "computed"), [(1, 3), (2, 1), (1, 2), (3, 1)])
def test_wall_and_cpu_need_not_agree(slow, computed):
    """After 1 measurement by one clock, and after more by the other, as an interruption makes it: a warning all the same."""
    world, calls = World(), []

    def work():
        world.now += 0.5 if len(calls) < slow else 1e-3
        world.busy += 0.01 if len(calls) < computed else 1e-4
        calls.append(1)

    found = warned(world, {"cached": work}, warmup=1, number=1, rounds=9)
    assert len(found) == 1, "there is no warning"
    assert "cached" in found[0]


def test_without_cpu_seconds_the_wall_decides():
    """Where the CPU's clock can't tell the times, or a work only waits, all of its seconds are 0."""
    world = World()

    def work(calls=[]):  # noqa: B006
        world.now += 1e-4 if calls else 0.5
        calls.append(1)

    found = warned(world, {"downloads": work}, rounds=5)
    assert len(found) == 1, "there is no warning"
    assert "downloads" in found[0]


def test_a_work_that_only_computes_less_is_not_done():
    """One that computes first and then waits as long takes its time: no warning."""
    world = World()

    def work(calls=[]):  # noqa: B006
        world.now += 0.01
        world.busy += 1e-6 if calls else 0.01
        calls.append(1)

    assert warned(world, {"a": work}, rounds=5) == []


def test_an_unsteady_machine_is_no_work_that_is_done():
    """Drift, noise and outliers of up to eight times: no warning in 40 benchmarks. Nor of a work that is timed once."""
    for seed in range(40):
        world = World(seed)
        assert warned(world, {name: world.work(0.01) for name in "ab"}) == []
    world = World()
    assert warned(world, {"a": world.work(9.0), "b": world.work(1.0)}, rounds=2) == []
