import math

import numpy as np
from katas.benchmarking import Clock, compare

from specs.oracles.benchmarking import World

PROGRAMS, ROUNDS = 20, 40


def one_after_the_other(world: World, a, b) -> tuple[float, float, float]:
    """What most people do: time a, then b. The ratio of the means, with its 99% interval by the usual formula."""
    times = []
    for work in (a, b):
        start = [world.now]
        for _ in range(ROUNDS):
            work()
            start.append(world.now)
        times.append(np.diff(start))
    means = [each.mean() for each in times]
    error = math.sqrt(sum(each.var(ddof=1) / ROUNDS / mean**2 for each, mean in zip(times, means, strict=True)))
    ratio = means[1] / means[0]
    return ratio, ratio * math.exp(-2.6 * error), ratio * math.exp(2.6 * error)


def test_a_noisy_clock_proves_a_speed_up_between_identical_programs_and_compare_does_not(tell):
    """A program against itself: timed one after the other, many pairs differ, "with 99% confidence". compare says of
    hardly any that they differ, and finds a program that takes a tenth longer.
    """
    proven, claimed, found, worst = 0, 0, 0, 1.0
    for seed in range(PROGRAMS):
        world = World(seed)
        ratio, low, high = one_after_the_other(world, world.work(0.01), world.work(0.01))
        proven += not low <= 1 <= high
        worst = max(worst, ratio, 1 / ratio)

        def compared(slower: float, seed=seed) -> str:
            world = World(seed)
            clock = Clock(world.wall, world.cpu)
            return compare(world.work(0.01), world.work(0.01 * slower), rounds=ROUNDS, number=1, clock=clock).verdict

        claimed += compared(1.0) != "no difference"
        found += compared(1.1) == "slower"
    tell(f"identical programs, one after the other: {proven} of {PROGRAMS} pairs differ, by up to {worst:.2f} times")
    tell(f"by compare: {claimed} of {PROGRAMS}; of those that take a tenth longer it finds {found}")
    assert proven >= PROGRAMS / 4
    assert claimed <= PROGRAMS / 10
    assert found >= PROGRAMS * 9 / 10
