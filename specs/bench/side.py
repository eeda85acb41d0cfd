"""A side of a comparison: a process of its own, which does what it is told and waits for its turn."""

import importlib
import multiprocessing
import os
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor

import numpy as np

from specs.door import VARIABLE
from specs.plugin.limits import peak_memory


class Side:
    """`module` is one of specs.bench; `options` go to each of its functions, after the work's own arguments."""

    def __init__(self, name: str, module: str, *options: str):
        self.name, self.module, self.options = name, module, options
        self.process = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), _begin, (module,))

    def prepare(self, work: str, *arguments) -> list[np.ndarray]:
        """Makes the work ready and does it once: what it computes."""
        return self._do(_prepare, work, *arguments, *self.options)

    def seconds(self, at_least: float) -> float:
        """Does the work that was prepared again and again, for so many seconds at least: the mean of one."""
        return self._do(_seconds, at_least)

    def train(self, work: str, *arguments) -> dict[str, float | None]:
        """The figures of a training, and the largest memory of the process in MB, where the platform tells."""
        return self._do(_train, work, *arguments, *self.options)

    def close(self) -> None:
        """Ends the process."""
        self.process.shutdown()

    def _do(self, function: Callable, *arguments):
        return self.process.submit(function, *arguments).result()


def _begin(module: str) -> None:
    global _module
    os.environ |= {VARIABLE: "reference", "KATA_ACCELERATE": "0"}  # a module may say otherwise
    _module = importlib.import_module(module)


def _prepare(work: str, *arguments) -> list[np.ndarray]:
    global _call
    _call = getattr(_module, work)(*arguments)
    return _call()


def _seconds(at_least: float) -> float:
    calls, start = 0, time.perf_counter()
    while (passed := time.perf_counter() - start) < at_least:
        _call()
        calls += 1
    return passed / calls


def _train(work: str, *arguments) -> dict[str, float | None]:
    return {**getattr(_module, work)(*arguments), "MB": peak_memory()}
