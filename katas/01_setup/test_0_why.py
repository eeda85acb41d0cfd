import numpy as np
from katas.environment import best_of, check_environment, make_rng, measure_machine, stopwatch

from specs.check import assert_close


def single(call) -> float:
    """Times one call, as most people do."""
    with stopwatch() as watch:
        call()
    return watch.wall


def test_the_same_program_gives_the_same_numbers_and_nearly_the_same_times(tell):
    """Unseeded random numbers differ from run to run, seeded ones don't. Single timings vary; the best of many hardly does."""
    check_environment()
    unseeded = [np.random.default_rng().standard_normal(10).mean() for _ in range(2)]
    seeded = [make_rng(7).standard_normal(10).mean() for _ in range(2)]
    assert unseeded[0] != unseeded[1]
    assert_close(seeded[0], seeded[1])

    x = np.ones((100, 100), np.float32)
    once = [single(lambda: np.tanh(x)) for _ in range(200)]
    best = [best_of(lambda: np.tanh(x), rounds=20) for _ in range(10)]
    scatter, calm = max(once) / min(once), max(best) / min(best)
    assert calm < scatter, f"the best of 20 timings differ {calm:.2f} times, single ones {scatter:.2f} times"

    machine = measure_machine()
    tell(f"unseeded, the mean of ten numbers was {unseeded[0]:+.2f}, then {unseeded[1]:+.2f}; seeded {seeded[0]:+.2f} twice")
    tell(f"200 single timings of one call differ {scatter:.1f} times; ten timings by best_of {calm:.2f} times")
    tell(
        f"this machine: {machine.cores} cores, {machine.peak_gflops:.0f} GFLOP/s, {machine.bandwidth_gbs:.0f} GB/s, "
        f"{machine.overhead_us:.2f} µs a call"
    )
