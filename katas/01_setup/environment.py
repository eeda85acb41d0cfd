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
    raise NotImplementedError("01.1 check_environment: README.md, 01.1")


# 01.2 Random numbers


def make_rng(seed: int) -> np.random.Generator:
    """A new generator whose numbers depend on the seed alone. No global state is touched.

    Raises: TypeError unless seed is an integer (a bool is not); ValueError if it is negative.
    """
    raise NotImplementedError("01.2 make_rng: README.md, 01.2")


# 01.3 The stopwatch


class stopwatch:
    """Measures a block: `with stopwatch() as watch: …`, after which watch.wall and watch.cpu are its seconds.

    Both are set even if the block raises; the exception passes through. A stopwatch used again starts from zero.
    """

    def __enter__(self) -> "stopwatch":
        """Starts the measurement. The clocks are time.perf_counter() and time.process_time()."""
        raise NotImplementedError("01.3 stopwatch.__enter__: README.md, 01.3")

    def __exit__(self, *exception) -> None:
        """Ends the measurement."""
        raise NotImplementedError("01.3 stopwatch.__exit__: README.md, 01.3")

    @property
    def wall(self) -> float:
        """The seconds that passed. Raises: RuntimeError before the block has ended."""
        raise NotImplementedError("01.3 stopwatch.wall: README.md, 01.3")

    @property
    def cpu(self) -> float:
        """The seconds that this process kept processors busy, all threads together. Raises: like wall."""
        raise NotImplementedError("01.3 stopwatch.cpu: README.md, 01.3")


# 01.4 The best of several


def best_of(call: Callable[[], object], number: int = 1, rounds: int = 5) -> float:
    """The wall seconds of one call, from the fastest of `rounds` rounds of `number` calls. One call before them is not timed.

    Raises: ValueError if number or rounds is less than 1.
    """
    raise NotImplementedError("01.4 best_of: README.md, 01.4")


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
        raise NotImplementedError("01.5 Machine.roofline: README.md, 01.5")


def measure_machine() -> Machine:
    """Measures this machine in about a second, with best_of.

    It times `a @ b` of two (SIDE, SIDE) float32 matrices, a copy of COPIED bytes from one array into another existing one,
    and the sum of two arrays of one float32.
    """
    raise NotImplementedError("01.5 measure_machine: README.md, 01.5")
