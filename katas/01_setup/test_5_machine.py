import os
import time

import numpy as np
import pytest
from katas.environment import COPIED, SIDE, Machine, measure_machine
from threadpoolctl import threadpool_limits

from specs.check import assert_close, cpu_ratio, measure_bytes, rejects

MACHINE = Machine(cores=4, peak_gflops=200.0, bandwidth_gbs=10.0, overhead_us=0.5)


class Timer:
    """Stands in for best_of: stores the calls that it should time, and returns the given seconds for each."""

    def __init__(self, *seconds: float):
        self.seconds, self.calls = seconds, []

    def __call__(self, call, *args, **kwargs) -> float:
        self.calls.append(call)
        return self.seconds[(len(self.calls) - 1) % len(self.seconds)]

    def timed_for(self, seconds: float):
        """The call behind a figure that was computed from this many seconds."""
        for call, said in zip(self.calls, self.seconds, strict=False):
            if abs(said - seconds) < 1e-9 * said:
                return call
        raise AssertionError(f"a figure was made from {seconds:g} seconds, but best_of gave {list(self.seconds)}")


@pytest.fixture
def timed(monkeypatch):
    """timed(seconds, …): runs measure_machine() with a best_of that returns these seconds; gives the Machine and the Timer."""

    def measure(*seconds: float) -> tuple[Machine, Timer]:
        timer = Timer(*seconds)
        monkeypatch.setattr("katas.environment.best_of", timer)
        machine = measure_machine()
        assert timer.calls, "measure_machine() took no time by best_of"
        return machine, timer

    return measure


@pytest.fixture
def calls(timed):
    """The call that is timed for each figure: the matrix product, the copy and the small call."""
    machine, timer = timed(*[0.5**n for n in range(20)])
    return {
        "product": timer.timed_for(2 * SIDE**3 / 1e9 / machine.peak_gflops),
        "copy": timer.timed_for(2 * COPIED / 1e9 / machine.bandwidth_gbs),
        "small": timer.timed_for(machine.overhead_us / 1e6),
    }


def assert_same_work(call, own, within: float) -> None:
    """A timed call takes as much CPU time as the spec's own, within a factor, in at least one of three measurements."""
    for _ in range(3):
        ratio = cpu_ratio(call, own)
        if 1 / within <= ratio <= within:
            return
    raise AssertionError(f"what is timed takes {ratio:.2f} times as long as it should: is it something else?")


def fastest(call) -> float:
    """The wall seconds of the fastest of three calls, after one that warms up."""
    times = []
    for _ in range(4):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times[1:])


def test_a_program_that_computes_much_is_limited_by_the_peak():
    """roofline(flops, nbytes): 10¹² operations at 200 GFLOP/s take 5 seconds if their 10⁹ bytes take less."""
    assert_close(MACHINE.roofline(1e12, 1e9), 5.0, mistakes={"the sum of both": 5.1, "the time of the bytes": 0.1})


def test_a_program_that_moves_much_is_limited_by_the_bandwidth():
    """roofline(flops, nbytes): 10¹⁰ bytes at 10 GB/s take 1 second if the operations on them take less."""
    assert_close(MACHINE.roofline(1e9, 1e10), 1.0, mistakes={"the sum of both": 1.005, "the time of the operations": 0.005})


def test_a_roofline_of_less_than_nothing_is_refused():
    """Negative flops or nbytes raise a ValueError whose message contains the number."""
    with rejects(ValueError, "-1"):
        MACHINE.roofline(-1, 10)
    with rejects(ValueError, "-2"):
        MACHINE.roofline(10, -2)


@pytest.mark.parametrize(("flops", "nbytes"), [(-1, 0), (0, -1), (-1, -1), (-1e12, -1e9)])
def test_two_numbers_below_zero_are_refused_too(flops, nbytes):
    """Negative flops or nbytes raise a ValueError, even if the other is 0 or negative too."""
    with rejects(ValueError, str(flops), str(nbytes)):
        MACHINE.roofline(flops, nbytes)


def test_nothing_may_be_computed_or_moved():
    """roofline() accepts 0 for flops, nbytes or both: a copy has no operations, a product in registers moves no bytes."""
    assert_close([MACHINE.roofline(0, 1e10), MACHINE.roofline(1e12, 0), MACHINE.roofline(0, 0)], [1.0, 5.0, 0.0])


def test_cores_are_all_there_are_where_none_are_set(timed, monkeypatch):
    """On a system without os.sched_getaffinity, cores is os.cpu_count()."""
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 7)
    assert timed(0.5)[0].cores == 7


@pytest.mark.parametrize("seconds", [0.5, 0.002])
def test_the_peak_counts_multiplications_and_additions(timed, seconds):
    """peak_gflops counts 2n³ operations for an n × n product (n³ multiplications, n³ additions), in 10⁹ a second."""
    got, want = timed(seconds)[0].peak_gflops, 2 * SIDE**3 / seconds / 1e9
    mistakes = {"n³ instead of 2n³ operations": want / 2, "operations a second, not 10⁹": want * 1e9, "TFLOP/s": want / 1e3}
    assert_close(got, want, mistakes=mistakes)


@pytest.mark.parametrize("seconds", [0.5, 0.002])
def test_the_bandwidth_counts_reading_and_writing(timed, seconds):
    """bandwidth_gbs counts 2n bytes for a copy of n bytes, n read and n written, in 10⁹ a second."""
    got, want = timed(seconds)[0].bandwidth_gbs, 2 * COPIED / seconds / 1e9
    mistakes = {
        "only reading or only writing is counted": want / 2,
        "GiB (2³⁰ bytes), not GB": want * 1e9 / 2**30,
        "numbers instead of bytes": want / 4,
        "MB/s": want * 1e3,
    }
    assert_close(got, want, mistakes=mistakes)


@pytest.mark.parametrize("seconds", [0.5, 0.002])
def test_the_overhead_is_in_microseconds(timed, seconds):
    """overhead_us is best_of's time for a small call, in µs. best_of has already divided it by the number of calls."""
    got, want = timed(seconds)[0].overhead_us, 1e6 * seconds
    assert_close(got, want, mistakes={"seconds": want / 1e6, "milliseconds": want / 1e3, "nanoseconds": want * 1e3})


def test_cores_are_those_that_this_process_may_use(timed):
    """cores counts the cores that this process may use; a container or taskset can limit them. Elsewhere it counts all."""
    if not hasattr(os, "sched_setaffinity"):
        assert timed(0.5)[0].cores == os.cpu_count()
        return
    allowed = os.sched_getaffinity(0)
    assert timed(0.5)[0].cores == len(allowed)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert timed(0.5)[0].cores == 1
    finally:
        os.sched_setaffinity(0, allowed)


@pytest.mark.time
def test_the_peak_is_that_of_a_matrix_product(calls, draw):
    """The call that is timed for peak_gflops multiplies two SIDE × SIDE matrices."""
    a, b = np.array(draw.normal(2, SIDE, SIDE, dtype=np.float32))
    assert_same_work(calls["product"], lambda: a @ b, within=1.3)


def test_the_matrices_are_float32(calls):
    """The matrices are float32, so the product takes 4 · SIDE² bytes. In float64 it would take twice the time and memory."""
    peak, _ = measure_bytes(calls["product"])
    assert peak < 1.5 * 4 * SIDE**2, (
        f"the product takes {peak:,} bytes, float32 is {4 * SIDE**2:,}: are these float64 matrices?"
    )


@pytest.mark.time
def test_the_bandwidth_is_that_of_a_copy(calls):
    """The call timed for bandwidth_gbs copies COPIED bytes that were written before: untouched memory isn't there yet."""
    source = np.ones(COPIED // 4, np.float32)
    target = np.ones_like(source)
    assert_same_work(calls["copy"], lambda: np.copyto(target, source), within=1.4)


def test_the_copy_goes_where_memory_is_already(calls, budget):
    """The timed copy allocates nothing: getting new memory from the system takes longer than filling it."""
    budget.bytes(calls["copy"], peak=1_000_000)


@pytest.mark.time
def test_the_overhead_is_that_of_a_small_call(calls):
    """The call that is timed for overhead_us adds two arrays of one element."""
    one = np.ones(1, np.float32)
    assert_same_work(calls["small"], lambda: one + one, within=2)


def test_measuring_holds_two_arrays_and_leaves_none(monkeypatch, budget):
    """measure_machine() holds a source and a target of COPIED bytes and two matrices, 140 MB, and keeps none of them."""
    monkeypatch.setattr("katas.environment.best_of", lambda *args, **kwargs: 0.5)
    budget.bytes(measure_machine, peak=300e6, retained=1e6)


@pytest.mark.time
def test_the_figures_are_those_of_this_machine():
    """measure_machine() agrees with a measurement made without it, within a factor of five."""
    a, source = np.ones((SIDE, SIDE), np.float32), np.ones(COPIED, np.uint8)
    target, one = np.ones_like(source), np.ones(1, np.float32)

    with threadpool_limits(1):
        for _ in range(3):
            machine = measure_machine()
            found = {
                "peak_gflops": 2 * SIDE**3 / fastest(lambda: a @ a) / 1e9,
                "bandwidth_gbs": 2 * COPIED / fastest(lambda: np.copyto(target, source)) / 1e9,
                "overhead_us": 1e6 * fastest(lambda: [one + one for _ in range(1000)]) / 1000,
            }
            off = {name: (getattr(machine, name), want) for name, want in found.items()}
            off = {name: pair for name, pair in off.items() if not 1 / 5 < pair[0] / pair[1] < 5}
            if not off:
                return
    raise AssertionError("; ".join(f"{name} is {got:.3g}, measured here {want:.3g}" for name, (got, want) in off.items()))
