"""A checked environment, reproducible random numbers, and clocks you can trust."""

import os
import struct
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

SIDE = 1024  # given: rows and columns of the matrices that measure_machine multiplies
COPIED = 64_000_000  # given: bytes that it copies, more than a processor's caches hold


class UnsupportedEnvironment(RuntimeError):  # given
    """The katas can't run here. The message lists every reason."""


# 01.1 The environment


def check_environment(
    *,
    python: tuple = sys.version_info,
    numpy: str = np.__version__,
    bits: int = 8 * struct.calcsize("P"),
    matmul: Callable = np.matmul,
) -> None:
    """Accepts Python 3.11 or newer, NumPy 2.0 or newer, 64-bit pointers, and a correct `matmul`.

    Raises: one UnsupportedEnvironment for all problems. For each, the message says what was found and what is needed.
    """
    problems = []
    if tuple(python[:2]) < (3, 11):
        problems.append(f"Python {python[0]}.{python[1]} is too old: 3.11 or newer is needed")
    if int(numpy.split(".")[0]) < 2:
        problems.append(f"NumPy {numpy} is too old: 2.0 or newer is needed")
    if bits != 64:
        problems.append(f"Python is a {bits}-bit program: a 64-bit one is needed")
    a, b = np.random.default_rng(0).integers(1, 9, (2, 32, 32)).astype(np.float32)  # small integers: exact in any order
    if not np.array_equal(matmul(a, b), (a[:, :, None] * b).sum(1)):
        problems.append("NumPy's matmul gives a wrong product: reinstall NumPy")
    if problems:
        raise UnsupportedEnvironment("\n".join(problems))


# 01.2 Random numbers


def make_rng(seed: int) -> np.random.Generator:
    """A new generator whose numbers depend on the seed alone. No global state is touched.

    Raises: TypeError unless seed is an integer (a bool is not); ValueError if it is negative.
    """
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer):
        raise TypeError(f"a seed is an integer, not {seed!r}")
    if seed < 0:
        raise ValueError(f"a seed can't be negative: {seed}")
    return np.random.default_rng(seed)


# 01.3 The stopwatch


class stopwatch:
    """Measures a block: `with stopwatch() as watch: …`, after which watch.wall and watch.cpu are its seconds.

    Both are set even if the block raises; the exception passes through. A stopwatch used again starts from zero.
    """

    _seconds: dict[str, float] | None = None

    def __enter__(self) -> "stopwatch":
        """Starts the measurement. The clocks are time.perf_counter() and time.process_time()."""
        self._seconds = None
        self._cpu, self._wall = time.process_time(), time.perf_counter()
        return self

    def __exit__(self, *exception) -> None:
        """Ends the measurement."""
        wall = time.perf_counter() - self._wall
        self._seconds = {"wall": wall, "cpu": time.process_time() - self._cpu}

    @property
    def wall(self) -> float:
        """The seconds that passed. Raises: RuntimeError before the block has ended."""
        return self._read("wall")

    @property
    def cpu(self) -> float:
        """The seconds that this process kept processors busy, all threads together. Raises: like wall."""
        return self._read("cpu")

    def _read(self, name: str) -> float:
        if self._seconds is None:
            raise RuntimeError(f"{name} is known once the block has ended")
        return self._seconds[name]


# 01.4 The best of several


def best_of(call: Callable[[], object], number: int = 1, rounds: int = 5) -> float:
    """The wall seconds of one call, from the fastest of `rounds` rounds of `number` calls. One call before them is not timed.

    Raises: ValueError if number or rounds is less than 1.
    """
    if number < 1 or rounds < 1:
        raise ValueError(f"at least one round of one call is needed, not rounds={rounds}, number={number}")
    call()
    seconds = []
    for _ in range(rounds):
        with stopwatch() as watch:
            for _ in range(number):
                call()
        seconds.append(watch.wall)
    return min(seconds) / number


# 01.5 The machine


@dataclass(frozen=True)
class Machine:
    """What a machine can do at best."""

    cores: int  # that this process may use
    peak_gflops: float  # 10⁹ additions and multiplications of float32 a second, in a matrix product
    bandwidth_gbs: float  # 10⁹ bytes a second read from memory or written to it, in a copy
    overhead_us: float  # microseconds of a NumPy call that has next to nothing to do

    def roofline(self, flops: float, nbytes: float) -> float:
        """The least time, in seconds, for `flops` operations on `nbytes` bytes read and written (Williams et al., 2009).

        Raises: ValueError if either is negative.
        """
        if flops < 0 or nbytes < 0:
            raise ValueError(f"neither can be negative: flops={flops}, nbytes={nbytes}")
        return max(flops / (1e9 * self.peak_gflops), nbytes / (1e9 * self.bandwidth_gbs))


def measure_machine() -> Machine:
    """Measures this machine in about a second, with best_of.

    It times `a @ b` of two (SIDE, SIDE) float32 matrices, a copy of COPIED bytes from one array into another existing one,
    and the sum of two arrays of one float32.
    """
    a, b = make_rng(0).standard_normal((2, SIDE, SIDE), dtype=np.float32)
    source = np.ones(COPIED, np.uint8)  # not zeros: memory never written to is not there, and reads faster than any
    target = np.empty_like(source)
    one = np.ones(1, np.float32)
    return Machine(
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        peak_gflops=2 * SIDE**3 / best_of(lambda: a @ b) / 1e9,
        bandwidth_gbs=2 * COPIED / best_of(lambda: np.copyto(target, source)) / 1e9,
        overhead_us=1e6 * best_of(lambda: one + one, number=1000, rounds=20),
    )
