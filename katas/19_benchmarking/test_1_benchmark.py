import math
import time
import weakref
from functools import partial
from itertools import pairwise

import numpy as np
import pytest
from katas.benchmarking import REAL, Benchmark, Clock, Timing

from specs.check import assert_close, rejects, undisturbed
from specs.oracles.benchmarking import BUSY, World

WARMUP = 3  # calls, unless told otherwise


def benchmark(world: World, works: dict, **options) -> Benchmark:
    """A benchmark by the clock of a world."""
    return Benchmark(works, clock=Clock(world.wall, world.cpu), **options)


def orders(world: World, names: str) -> list[str]:
    """The names of the works in each round of one call, by the calls that a world has seen."""
    calls = "".join(world.calls)[len(names) * WARMUP :]
    return [calls[start : start + len(names)] for start in range(0, len(calls), len(names))]


def run(names: str = "ab", **options) -> list[str]:
    """The orders of a benchmark of works that take equally long."""
    world = World()
    benchmark(world, {name: world.work(0.01, name=name) for name in names}, number=1, **options).run()
    return orders(world, names)


def test_a_timing_has_the_seconds_of_one_call_in_each_round():
    """wall and cpu: for each round, the seconds by both clocks, divided by the number of calls."""
    world = World()
    timings = benchmark(world, {"a": world.work(0.01)}, rounds=3, number=4).run().timings
    assert isinstance(timings["a"], Timing)
    assert timings["a"].number == 4
    mistakes = {"the seconds of a whole round": [0.04] * 3, "CPU seconds": [0.01 * BUSY] * 3}
    assert_close(timings["a"].wall, [0.01] * 3, mistakes=mistakes, name="wall")
    mistakes = {"the seconds of a whole round": [0.04 * BUSY] * 3, "wall seconds": [0.01] * 3}
    assert_close(timings["a"].cpu, [0.01 * BUSY] * 3, mistakes=mistakes, name="cpu")


def test_every_round_is_there():
    """The first round is as good as the last: of seven, seven are in wall, each with its own time, in order."""
    world = World()
    timing = benchmark(world, {"a": world.work(0.09, 0.01, 0.02, 0.03, 0.04)}, rounds=4, number=1, warmup=1).run().timings["a"]
    assert_close(timing.wall, [0.01, 0.02, 0.03, 0.04])
    assert_close(timing.cpu, BUSY * np.array([0.01, 0.02, 0.03, 0.04]))
    assert isinstance(timing.wall, tuple)
    assert isinstance(timing.cpu, tuple)


def test_a_round_has_the_mean_of_its_calls():
    """Of calls that take 1, 2 and 3 hundredths of a second, one takes 2."""
    world = World()
    timing = benchmark(world, {"a": world.work(0.05, 0.01, 0.02, 0.03, 0.04)}, rounds=2, number=3, warmup=1).run().timings["a"]
    assert_close(timing.wall, [0.02, 0.04], mistakes={"the last call": [0.03, 0.04], "the fastest call": [0.01, 0.04]})


@pytest.mark.parametrize("warmup", [1, 2, 5])
def test_the_warm_up_is_not_in_the_rounds(warmup):
    """Before the rounds each work is called warmup times, which are in no round; the very first call is `first`."""
    world = World()
    works = {name: world.work(0.09, *[0.05] * (warmup - 1), 0.01, name=name) for name in "ab"}
    result = benchmark(world, works, rounds=3, number=1, warmup=warmup).run()
    for name in "ab":
        timing = result.timings[name]
        assert_close(timing.wall, [0.01] * 3, mistakes={"the warm-up is a round": [0.09, 0.01, 0.01]}, name="wall")
        assert_close(timing.first, 0.09, mistakes={"the first round": 0.01, "CPU seconds": 0.09 * BUSY}, name="first")
        assert world.calls.count(name) == warmup + 3


def test_the_rounds_take_turns():
    """Interleaved: each round times every work once, so that a machine that slows down slows all of them down."""
    for order in run("abc", rounds=9):
        assert sorted(order) == list("abc"), f"the works of a round are {order}: is one measured after the other?"


def test_each_work_is_first_about_equally_often():
    """Whatever always runs first would always find colder caches. The order changes from round to round."""
    for names in ("ab", "abc"):
        first = [order[0] for order in run(names, rounds=60)]
        counts = {name: first.count(name) for name in names}
        assert min(counts.values()) >= 0.4 * 60 / len(names), f"of 60 rounds, the works are first in {counts}"


def test_the_order_is_drawn():
    """With six works and forty rounds there are many orders: more than twelve."""
    orders = len(set(run("abcdef", rounds=40)))
    assert orders > 12, f"there are {orders} orders in 40 rounds: are all of them rotations of one?"


def test_equal_seeds_give_equal_orders():
    """The order depends on the seed alone, in a second run too, and different seeds give different orders."""
    world = World()
    twice = benchmark(world, {name: world.work(0.01, name=name) for name in "abcd"}, number=1, seed=3, rounds=10)
    twice.run()
    once, world.calls = world.calls, []
    assert len(twice.run().timings["a"].wall) == 10, "a run has its own rounds only"
    assert once == world.calls
    assert orders(world, "abcd") == run("abcd", seed=3, rounds=10)
    assert len({tuple(run("abcd", seed=seed, rounds=10)) for seed in range(5)}) == 5
    assert run("abcd", rounds=10) == run("abcd", seed=0, rounds=10)


def test_nothing_else_is_drawn():
    """NumPy's global generator is left alone."""
    with undisturbed():
        run("abc", rounds=3)


def test_there_are_forty_rounds_after_three_calls_unless_told_otherwise():
    """Benchmark(works) is Benchmark(works, rounds=40, warmup=3)."""
    world = World()
    timing = benchmark(world, {"a": world.work(0.01, name="a")}, number=1).run().timings["a"]
    assert len(timing.wall) == len(timing.cpu) == 40
    assert len(world.calls) == WARMUP + 40


@pytest.mark.parametrize(
    ("seconds", "number"), [(1.0, 1), (0.0051, 1), (0.0049, 2), (0.0012, 5), (0.0006, 9), (0.0000301, 167)]
)
def test_a_round_is_long_compared_to_what_the_clock_can_tell(seconds, number):
    """Without a number, there are as many calls in a round as take ROUND = 5 ms: the quotient, rounded up."""
    world = World()
    timing = benchmark(world, {"a": world.work(seconds)}, rounds=2).run().timings["a"]
    assert timing.number == number
    assert_close(timing.wall, [seconds] * 2)


@pytest.mark.parametrize(("seconds", "last", "number"), [(1.0, 2, 1), (0.0026, 2, 2), (0.0024, 4, 3), (0.0006, 16, 9)])
@pytest.mark.parametrize("warmup", [1, 3])
def test_calls_in_a_row_are_doubled(seconds, last, number, warmup):
    """2, 4, 8, … calls in a row come after the warm-up and before the rounds, the 2 in any case."""
    world = World()
    benchmark(world, {"a": world.work(seconds)}, warmup=warmup, rounds=7).run()
    got = len(world.calls) - warmup - 7 * number
    assert got == 2 * last - 2, (
        f"between warm-up and rounds there are {got} calls, expected {2 * last - 2}: 2 to {last} in a row"
    )


@pytest.mark.parametrize("busy", [0.0, 0.01, 4.0])
def test_a_round_fills_the_wall_seconds(busy):
    """Whether a work sleeps, or computes on four threads: its number comes from the wall's clock alone."""
    world = World()
    timing = benchmark(world, {"a": world.work(0.0006, busy=busy)}, rounds=2).run().timings["a"]
    assert timing.number == 9, f"{timing.number} calls take ROUND, expected 9: does the CPU's clock count?"
    assert_close(timing.cpu, [busy * 0.0006] * 2)


def test_each_work_has_its_own_number():
    """A round of a fast work has more calls than that of a slow one, so that both are about equally long."""
    world, seconds = World(), {"slow": 0.02, "fast": 0.0004, "faster": 0.00011}
    works = {name: world.work(each, name=name) for name, each in seconds.items()}
    timings = benchmark(world, works, rounds=20).run().timings
    assert {name: timing.number for name, timing in timings.items()} == {"slow": 1, "fast": 13, "faster": 46}
    assert list(timings) == ["slow", "fast", "faster"]
    for name, timing in timings.items():
        assert_close(timing.wall, [seconds[name]] * 20)
        rounds = world.calls.count(name) / timing.number
        assert 20 < rounds < 30, f"{name} is called {world.calls.count(name)} times, {timing.number} in a round"


@pytest.mark.parametrize("interrupted", [1, 2, 3, 5, 9])
def test_an_interruption_makes_no_round_shorter(interrupted):
    """One call before the rounds takes ten times as long, since another program ran. Equal works have equal numbers anyway."""
    world, call, slow = World(), 0.0006, 0.006
    works = {"a": world.work(call), "b": world.work(*[call] * (interrupted - 1), slow, call)}
    timings = benchmark(world, works, rounds=2).run().timings
    for name, timing in timings.items():
        assert timing.number == 9, f"{name} has {timing.number} calls in a round, expected 9: does an interrupted call count?"


@pytest.mark.parametrize("fast", range(WARMUP))
def test_the_least_of_the_warm_up_counts(fast):
    """One call of the warm-up was faster than all others before the rounds: it says how long a call takes."""
    world = World()
    calls = [*[0.001] * fast, 0.0006, 0.001]
    timing = benchmark(world, {"a": world.work(*calls)}, rounds=2).run().timings["a"]
    assert timing.number == 9, f"{timing.number} calls take ROUND, expected 9: does call {fast + 1} of the warm-up count?"


def test_the_first_call_is_not_all_that_is_timed():
    """With warmup=1 and a first call that fills caches, 2 calls in a row follow all the same, though the first took ROUND."""
    world = World()
    timing = benchmark(world, {"a": world.work(0.006, 0.0006)}, warmup=1, rounds=2).run().timings["a"]
    assert timing.number == 9, f"{timing.number} calls take ROUND, expected 9: does the first call alone count?"


def test_calls_in_a_row_are_timed_until_the_least_fills_a_round():
    """Four calls took ROUND, but one of them was interrupted. The next ones are faster: it takes 17, not 9."""
    world = World()
    calls = [*[0.0006] * (WARMUP + 2), 0.006, *[0.0006] * 3, 0.0003]
    timing = benchmark(world, {"a": world.work(*calls)}, rounds=2).run().timings["a"]
    assert timing.number == 17, f"{timing.number} calls take ROUND, expected 17: was an interrupted time the last?"


def test_round_is_read_when_it_is_needed(monkeypatch):
    """ROUND may be changed for a clock that can tell less."""
    monkeypatch.setattr("katas.benchmarking.ROUND", 1.0)
    world = World()
    assert benchmark(world, {"a": world.work(0.3)}, rounds=1).run().timings["a"].number == 4, "1 s by 0.3 s, rounded up"


def test_a_number_that_is_given_is_used():
    """However long a round then is: number calls of each work, for each round, and the warm-up."""
    world = World()
    works = {"a": world.work(0.0001, name="a"), "b": world.work(1.0, name="b")}
    timings = benchmark(world, works, rounds=5, number=3, warmup=2).run().timings
    assert timings["a"].number == timings["b"].number == 3
    assert [world.calls.count(name) for name in "ab"] == [2 + 5 * 3] * 2


def test_the_clock_is_read_twice_a_round():
    """Between the two readings, by both clocks, there is nothing but the calls: reading the clock takes time itself."""
    readings = []
    for number in (1, 50):
        world = World()
        benchmark(world, {"a": world.work(0.01)}, rounds=5, number=number).run()
        readings.append(world.readings)
    assert readings[0] == readings[1]
    assert readings[0] <= 4 * (WARMUP + 5)


def test_a_slow_work_is_timed_once():
    """A work whose first call takes more than patience seconds is not called again: that call is its only round."""
    world = World()
    works = {"a": world.work(0.01, name="a"), "slow": world.work(5.1, name="slow"), "b": world.work(4.9, name="b")}
    timings = benchmark(world, works, rounds=3, number=2, warmup=4).run().timings
    assert world.calls.count("slow") == 1
    assert timings["slow"].number == 1
    assert_close(timings["slow"].first, 5.1)
    assert_close(timings["slow"].wall, [5.1])
    assert_close(timings["slow"].cpu, [5.1 * BUSY])
    assert list(timings) == ["a", "slow", "b"]
    assert [world.calls.count(name) for name in ("a", "b")] == [4 + 3 * 2] * 2


def test_patience_may_be_another():
    """patience=0.05 is exceeded by 0.06 seconds, patience=0.06 is not; infinite patience is exceeded by none."""
    for patience, rounds in [(0.05, 1), (0.06, 3), (0.07, 3), (math.inf, 3)]:
        world = World()
        assert len(benchmark(world, {"a": world.work(0.06)}, rounds=3, patience=patience).run().timings["a"].wall) == rounds


@pytest.mark.parametrize(("seconds", "rounds"), [(4.0, 3), (6.0, 1)])
@pytest.mark.parametrize("busy", [0.0, 0.1, 4.0])
def test_patience_is_for_the_wall(seconds, rounds, busy):
    """Whether a work sleeps, or computes on four threads: 4 s by the wall are not too slow, and 6 s are."""
    world = World()
    timing = benchmark(world, {"a": world.work(seconds, busy=busy)}, rounds=3).run().timings["a"]
    assert len(timing.wall) == rounds, f"there are {len(timing.wall)} rounds, expected {rounds}: do the CPU's seconds count?"


@pytest.mark.parametrize("slow", [2, 3, 5])
def test_only_the_first_call_is_too_slow(slow):
    """A later call that takes more than patience seconds, in the warm-up or in a round, is one of many."""
    world = World()
    timing = benchmark(world, {"a": world.work(*[0.01] * (slow - 1), 6.0, 0.01)}, rounds=4, number=1).run().timings["a"]
    assert len(timing.wall) == 4


def test_a_second_run_measures_anew():
    """Works may be faster or slower by then: first, number, rounds and which of them are too slow are those of each run."""
    world, seconds = World(), {"a": 0.001, "b": 6.0, "c": 0.002}

    def work(name):
        world.now += seconds[name]

    bench = benchmark(world, {name: partial(work, name) for name in seconds}, rounds=4)
    first = bench.run()
    seconds.update(a=0.0006, b=0.01, c=7.0)
    timings = bench.run().timings
    assert {name: timing.number for name, timing in timings.items()} == {"a": 9, "b": 1, "c": 1}, "a number of the first run"
    assert {name: len(timing.wall) for name, timing in timings.items()} == {"a": 4, "b": 4, "c": 1}
    assert_close([timing.first for timing in timings.values()], [0.0006, 0.01, 7.0])
    assert {name: timing.number for name, timing in first.timings.items()} == {"a": 5, "b": 1, "c": 3}, "the first has changed"


def test_slow_works_alone_have_no_rounds():
    """If all works are too slow, each is called once."""
    world = World()
    result = benchmark(world, {name: world.work(9.0, name=name) for name in "ab"}, warmup=2).run()
    assert world.calls == ["a", "b"]
    assert_close(result.timings["b"].wall, [9.0])


def test_the_works_may_be_changed_afterwards():
    """The constructor copies the dict."""
    world = World()
    works = {"a": world.work(0.01, name="a")}
    bench = benchmark(world, works, rounds=2)
    works["b"] = works.pop("a")
    assert list(bench.run().timings) == ["a"]


def test_benchmarks_share_nothing():
    """One that is made later, with other works and rounds, changes nothing for the first."""
    world = World()
    first = benchmark(world, {"a": world.work(0.01, name="a")}, rounds=2, number=1)
    benchmark(world, {"b": world.work(0.01, name="b")}, rounds=5, number=3)
    timings = first.run().timings
    assert list(timings) == ["a"]
    assert len(timings["a"].wall) == 2
    assert timings["a"].number == 1
    assert set(world.calls) == {"a"}


def test_one_work_may_have_two_names():
    """A against A: the same function twice is called for each of its names."""
    world = World()
    work = world.work(0.01)
    timings = benchmark(world, {"a": work, "again": work}, rounds=3, number=1).run().timings
    assert len(world.calls) == 2 * (WARMUP + 3)
    assert_close(timings["again"].wall, [0.01] * 3)


def test_numpys_integers_are_integers():
    """rounds, warmup and number may be NumPy's; the number is the one given."""
    world = World()
    timing = benchmark(world, {"a": world.work(0.01)}, rounds=np.int64(3), warmup=np.uint8(2), number=np.int32(2)).run()
    assert len(timing.timings["a"].wall) == 3
    assert len(world.calls) == 2 + 3 * 2
    assert type(timing.timings["a"].number) is int


def test_results_are_dropped_at_once(budget):
    """What a work returns is held until the next call at most: 64 results of 1 MB each would be 64 MB."""
    world = World()

    def work():
        world.now += 0.01
        return np.ones(1_000_000, np.uint8)

    budget.bytes(lambda: benchmark(world, {"a": work}, rounds=2, number=64).run(), peak=4e6)


def test_a_result_is_dropped_before_the_next_call():
    """In each call the result of the one before is gone already, as it is without a benchmark."""
    world, last, held = World(), [], []

    class Large:
        pass

    def work():
        world.now += 0.01
        held.append(bool(last) and last[-1]() is not None)
        result = Large()
        last.append(weakref.ref(result))
        return result

    benchmark(world, {"a": work}, rounds=3, number=4).run()
    assert len(held) == WARMUP + 12
    assert not any(held), "two results are held at the same time"


@pytest.mark.parametrize("fails", [1, 2, 3, 7])
def test_a_work_that_raises_is_named(fails):
    """In the warm-up or in a round, a RuntimeError contains the name and the repr; the error itself is its cause."""
    world, calls = World(), []

    def work():
        world.now += 0.01
        calls.append(1)
        if len(calls) == fails:
            raise ZeroDivisionError("so it goes")

    with rejects(RuntimeError, "faulty", "ZeroDivisionError('so it goes')"):
        benchmark(world, {"sound": world.work(0.01), "faulty": work}).run()
    assert len(calls) == fails, "it is not called again"
    calls.clear()
    with pytest.raises(RuntimeError) as caught:
        benchmark(world, {"sound": world.work(0.01), "faulty": work}).run()
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_the_cause_is_the_error_itself():
    """Also where that has a cause of its own."""
    raised = OSError("no more")

    def work():
        raise raised from ZeroDivisionError("so it goes")

    with pytest.raises(RuntimeError) as caught:
        benchmark(World(), {"faulty": work}).run()
    assert caught.value.__cause__ is raised


def test_an_iterator_that_ends_is_an_error_too():
    """A work that takes the next item when there is none left raises a StopIteration: an error as any other."""
    world = World()
    items = iter(range(5))
    with rejects(RuntimeError, "items", "StopIteration"):
        benchmark(world, {"a": world.work(0.01), "items": lambda: (world.work(0.01)(), next(items))}).run()


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("call", [1, 2, 7])
def test_an_interrupt_passes_through(interrupt, call):
    """KeyboardInterrupt and SystemExit are no Exceptions: they are not a fault of the work, in the warm-up or in a round."""
    world = World()

    def work(calls=[]):  # noqa: B006
        world.now += 0.01
        calls.append(1)
        if len(calls) % call == 0:
            raise interrupt

    with pytest.raises(interrupt):
        benchmark(world, {"a": work}).run()


def test_a_clock_that_stands_still_is_named(monkeypatch):
    """If MOST calls take less than ROUND seconds, a RuntimeError contains the work's name; it is not tried forever."""
    monkeypatch.setattr("katas.benchmarking.MOST", 1000)
    world = World()
    with rejects(RuntimeError, "nothing at all"):
        benchmark(world, {"a": world.work(0.01), "nothing at all": world.work(0.0)}).run()
    assert len(world.calls) < 4000


@pytest.mark.parametrize(("most", "number"), [(1000, 1000), (1024, 1000), (5000, 1000)])
def test_as_many_calls_as_most_are_allowed(monkeypatch, most, number):
    """ROUND takes 1000 calls: a MOST of 1000 is enough, though no power of 2."""
    monkeypatch.setattr("katas.benchmarking.ROUND", 1000 * 2.0**-17)
    monkeypatch.setattr("katas.benchmarking.MOST", most)
    world = World()
    assert benchmark(world, {"a": world.work(2.0**-17)}, rounds=1).run().timings["a"].number == number


def test_more_calls_than_most_are_an_error(monkeypatch):
    """ROUND takes 1000 calls: with a MOST of 999, a RuntimeError contains the name."""
    monkeypatch.setattr("katas.benchmarking.ROUND", 1000 * 2.0**-17)
    monkeypatch.setattr("katas.benchmarking.MOST", 999)
    world = World()
    with rejects(RuntimeError, "too short"):
        benchmark(world, {"too short": world.work(2.0**-17)}, rounds=1).run()


@pytest.mark.parametrize("most", [1000, 1333])
def test_the_last_calls_may_be_faster(monkeypatch, most):
    """1000 calls would be enough, but in the last of the calibration they take less: a RuntimeError contains the name."""
    monkeypatch.setattr("katas.benchmarking.ROUND", 1000 * 2.0**-17)
    monkeypatch.setattr("katas.benchmarking.MOST", most)
    world = World()
    calls = [2.0**-17] * (WARMUP + 2 + 4 + 8 + 16 + 32 + 64 + 128 + 256 + 512)
    with rejects(RuntimeError, "too short"):
        benchmark(world, {"too short": world.work(*calls, 0.75 * 2.0**-17)}, rounds=1).run()
    monkeypatch.setattr("katas.benchmarking.MOST", 1334)
    timing = benchmark(world, {"a": world.work(*calls, 0.75 * 2.0**-17)}, rounds=1).run().timings["a"]
    assert timing.number == 1334


def test_a_clock_may_tick(monkeypatch):
    """A clock that only tells 512ths of a second shows 0 for single calls of 4096ths: that is no call's time."""
    monkeypatch.setattr("katas.benchmarking.ROUND", 2.0**-4)
    world = World()
    clock = Clock(lambda: math.floor(512 * world.now) / 512, world.cpu)
    timing = Benchmark({"a": world.work(2.0**-12)}, rounds=4, clock=clock).run().timings["a"]
    assert timing.number == 256
    assert_close(timing.wall, [2.0**-12] * 4)


@pytest.mark.parametrize("kind", [np.float64, np.float32])
def test_times_are_pythons_numbers(kind):
    """A clock may have NumPy's numbers; the times are Python's, so that they can be written as JSON."""
    world = World()
    clock = Clock(lambda: kind(world.now), lambda: kind(world.busy))
    timing = Benchmark({"a": world.work(0.25), "slow": world.work(8.0)}, rounds=2, clock=clock).run().timings
    for each in timing.values():
        assert {type(seconds) for seconds in (each.first, *each.wall, *each.cpu)} == {float}


def test_a_round_without_time_is_named():
    """A given number that is too small for the clock: a RuntimeError contains the name. In the warm-up it does no harm."""
    world = World()
    with rejects(RuntimeError, "nothing at all"):
        benchmark(world, {"nothing at all": world.work(0.01, 0.01, 0.01, 0.0)}, number=1).run()
    with rejects(RuntimeError, "nothing at all"):
        benchmark(world, {"nothing at all": world.work(*[0.01] * 20, 0.0)}, number=1).run()
    timing = benchmark(world, {"a": world.work(0.0, 0.01)}, number=1, rounds=2).run().timings["a"]
    assert_close(timing.wall, [0.01] * 2)
    assert timing.first == 0


@pytest.mark.parametrize("wrong", [-0.5, math.nan, math.inf])
@pytest.mark.parametrize("clock", ["wall", "cpu"])
@pytest.mark.parametrize("call", [1, 2, 5])
def test_a_clock_that_goes_back_is_noticed(wrong, clock, call):
    """Less than no time, NaN or infinity by either clock, in the warm-up or in a round: a RuntimeError contains the name."""
    world, calls = World(), []

    def work():
        calls.append(1)
        world.now += wrong if clock == "wall" and len(calls) == call else 0.01
        world.busy += wrong if clock == "cpu" and len(calls) == call else 0.01

    with rejects(RuntimeError, "the name"):
        benchmark(world, {"the name": work}, number=1, rounds=6).run()


def test_work_that_sleeps_takes_no_cpu():
    """CPU seconds of 0 are measured as such."""
    world = World()

    def sleep():
        world.now += 0.01

    assert_close(benchmark(world, {"a": sleep}, rounds=3).run().timings["a"].cpu, [0.0] * 3)


@pytest.mark.parametrize("name", ["rounds", "warmup", "number"])
@pytest.mark.parametrize("value", [0, -3, 2.0, True, "4", math.nan], ids=repr)
def test_numbers_of_calls_that_make_no_sense_are_refused(name, value):
    """rounds, warmup and number are integers of at least 1; True is not. A ValueError contains the name and the value."""
    with rejects(ValueError, name, repr(value)):
        Benchmark({"a": lambda: None}, **{name: value})


def test_other_options_that_make_no_sense_are_refused():
    """rounds=None, a patience that is not above 0, and what is no seed: each error contains the value."""
    with rejects(ValueError, "rounds", "None"):
        Benchmark({"a": lambda: None}, rounds=None)
    for patience in (0, -1.0, math.nan):
        with rejects(ValueError, "patience", repr(patience)):
            Benchmark({"a": lambda: None}, patience=patience)
    with rejects(ValueError, "-7"):
        Benchmark({"a": lambda: None}, seed=-7)
    with rejects(TypeError, "2.5"):
        Benchmark({"a": lambda: None}, seed=2.5)


def test_works_must_be_functions():
    """No works raise a ValueError that contains "works"; one that can't be called raises a TypeError with its name."""
    with rejects(ValueError, "works"):
        Benchmark({})
    with rejects(TypeError, "called already"):
        Benchmark({"a": lambda: None, "called already": 3.5})


def test_nothing_is_called_before_run():
    """The constructor measures nothing, and reads no clock."""
    world = World()
    benchmark(world, {"a": world.work(0.01)})
    assert world.calls == []
    assert world.readings == 0


def test_the_clock_is_the_real_one_unless_told_otherwise():
    """Benchmark(works) reads REAL: no more time is measured than passes, and none less than a work sleeps."""
    start, busy = time.perf_counter(), time.process_time()
    timing = Benchmark({"a": lambda: time.sleep(0.001)}, rounds=3, number=2).run().timings["a"]
    assert min(timing.wall) >= 0.0009
    assert 2 * sum(timing.wall) <= time.perf_counter() - start
    assert 2 * sum(timing.cpu) <= time.process_time() - busy
    assert REAL.wall is time.perf_counter


def test_drift_hits_all_works_alike():
    """On a machine that gets three times slower, a and b of one round differ by little, and not always in one direction."""
    world = World()

    def work():
        world.now += 0.01 * (world.now + 1)

    timings = benchmark(world, {"a": work, "b": work}, rounds=40, number=1).run().timings
    logs = np.log(timings["b"].wall) - np.log(timings["a"].wall)
    assert np.abs(logs).max() < 0.03
    assert abs(logs.mean()) < 0.006, "one of the two is always measured when the machine is slower"
    assert all(late > early for early, late in pairwise(timings["a"].wall))
