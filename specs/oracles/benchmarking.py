"""A clock for benchmarks that moves only when a work is called, on a machine as unsteady as real ones; and exact answers."""

import gc
import math
import tracemalloc
from collections.abc import Callable

import numpy as np

BUSY = 0.75  # CPU seconds of a work for each of its wall seconds


class World:
    """Time, and works that take it. Steady without a seed. With one, calls take longer or shorter by

    a drift (a trend, a wave, and another program that starts at some time), a steady beat that hits every other call, noise,
    and outliers: one call in twenty takes up to eight times as long.
    """

    def __init__(self, seed: int | None = None, span: int = 80):
        """span: in how many calls the drift takes place."""
        self.now, self.busy, self.span, self.calls, self.readings = 0.0, 0.0, span, [], 0
        self.rng = None if seed is None else np.random.RandomState(seed)
        if self.rng is not None:
            self.trend = self.rng.choice([-0.4, 1.0]) * self.rng.uniform(0.3, 1)
            self.phase, self.other, self.start = self.rng.uniform(0, 6), self.rng.uniform(1.1, 1.5), self.rng.uniform(0.2, 0.8)

    def wall(self) -> float:
        """The clock on the wall."""
        self.readings += 1
        return self.now

    def cpu(self) -> float:
        """The seconds of the CPU."""
        self.readings += 1
        return self.busy

    def work(self, *seconds: float, name: str = "", gives=None, busy: float = BUSY) -> Callable[[], object]:
        """A work that takes so long the first time, so long the second …, and from then on as long as the last.

        busy: CPU seconds for each wall second.
        """
        done = []

        def call():
            wall = seconds[min(len(done), len(seconds) - 1)] * self._factor()
            self.now += wall
            self.busy += busy * wall
            done.append(wall)
            self.calls.append(name)
            return gives

        return call

    def _factor(self) -> float:
        if self.rng is None:
            return 1.0
        number = len(self.calls)
        time = number / self.span
        factor = (1 + self.trend * time) * (1 + 0.15 * math.sin(18 * time + self.phase))
        factor *= (self.other if time > self.start else 1) * (1.02 if number % 2 else 1) * math.exp(0.04 * self.rng.randn())
        return factor * (min(8, 1 + self.rng.pareto(1.2)) if self.rng.rand() < 0.05 else 1)


def bootstrapped_median(values: np.ndarray, probability: float) -> int:
    """Which of an odd number of values, sorted, is the quantile of the median of as many drawn with replacement.

    The median of n draws is at most the k-th value if more than half of them are: a binomial probability (Efron 1979).
    """
    n = len(values)

    def below(k: int) -> float:
        return sum(math.comb(n, i) * (k / n) ** i * (1 - k / n) ** (n - i) for i in range(n // 2 + 1, n + 1))

    return next(k for k in range(1, n + 1) if below(k) >= probability) - 1


def allocated(call: Callable[[], object]) -> tuple[int, object]:
    """The bytes of NumPy's arrays that a call made and that are still there while its result is held; and the result."""
    gc.collect()
    tracemalloc.start()
    try:
        before = _of_arrays()
        result = call()
        gc.collect()
        return _of_arrays() - before, result
    finally:
        tracemalloc.stop()


def _of_arrays() -> int:
    domain = tracemalloc.DomainFilter(True, np.lib.tracemalloc_domain)
    return sum(trace.size for trace in tracemalloc.take_snapshot().filter_traces([domain]).traces)
