"""Benchmarking: which of two programs is faster, by how much, and how sure that is; and what a model costs."""

import gc
import json
import math
import operator
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import FunctionType, ModuleType
from typing import NamedTuple

import numpy as np
from katas.autograd import Node
from katas.environment import Machine, make_rng
from katas.layers import Module
from katas.tensor import Tensor

ROUND = 0.005  # given: the wall seconds that a round takes at least, unless `number` is given
MOST = 1_000_000  # given: calls in a round, at most, unless `number` is given
SPENT = 10  # given: how many times faster a work becomes, once it is done
RESAMPLES = 2000  # given: how many times the bootstrap draws

# 19.1 Benchmark


class Clock(NamedTuple):  # given
    """What is read before and after a round, in seconds."""

    wall: Callable[[], float] = time.perf_counter  # the time that passes
    cpu: Callable[[], float] = time.process_time  # the time that this process keeps processors busy


REAL = Clock()  # given


class Timing(NamedTuple):  # given
    """The times of one work, in seconds of one call."""

    number: int  # of calls in each round
    first: float  # wall seconds of the very first call, which is no round unless it is the only one
    wall: tuple[float, ...]  # of one call, in each round
    cpu: tuple[float, ...]  # the same, of the CPU


class Benchmark:
    """Times several works, which are functions without arguments, in rounds: each round times every work once.

    Whatever makes the machine slower for a while then makes all works slower, and their ratio stays.
    """

    def __init__(
        self,
        works: dict[str, Callable[[], object]],
        rounds: int = 40,
        warmup: int = 3,
        number: int | None = None,
        seed: int = 0,
        clock: Clock = REAL,
        patience: float = 5.0,
    ):
        """warmup: calls of each work before the rounds. number: calls in a round; None: enough to take ROUND seconds.

        seed: draws the order. patience: a work whose first call takes more wall seconds is timed once, by that call.
        Raises: TypeError that contains the name unless each work can be called; ValueError that contains name and value if
        there are no works, if rounds, warmup or number is not an integer of at least 1, or patience not above 0; as make_rng.
        """
        raise NotImplementedError("19.1 Benchmark.__init__: README.md, 19.1")

    def run(self) -> "Result":
        """Calls and times all works. A UserWarning contains the name of each work that was done after its first calls.

        Raises: RuntimeError that contains the work's name if it raises an Exception, which is the cause, or if by the clock a
        round took no time or less.
        """
        raise NotImplementedError("19.1 Benchmark.run: README.md, 19.1")


# 19.2 Work that is done


def spent(seconds: Sequence[float]) -> int:
    """After how many of these times of one call the work was done, so that the later calls had nothing to do; 0 if it wasn't.

    It is the largest k for which each of the first k times is more than SPENT times the median of the others.
    """
    raise NotImplementedError("19.2 spent: README.md, 19.2")


# 19.3 The ratio and its interval


def ratio_interval(
    a: Sequence[float], b: Sequence[float], confidence: float = 0.99, seed: int = 0
) -> tuple[float, float, float]:
    """(ratio, low, high): how many times as long as a takes b, and an interval that has the true ratio with this confidence.

    a and b are the seconds of each in the same rounds, or in one. The ratio is the median over the rounds, and the interval
    comes from a bootstrap of it (Efron 1979). Too few rounds for the confidence have the interval (0, ∞).
    Raises: ValueError that contains both numbers of rounds, a time that is not positive and finite, or a confidence outside
    (0, 1).
    """
    raise NotImplementedError("19.3 ratio_interval: README.md, 19.3")


# 19.4 compare


@dataclass(frozen=True)
class Comparison:
    """How many times as long as `a` takes `b`: `ratio`, which is between `low` and `high` with this confidence."""

    a: str
    b: str
    ratio: float
    low: float
    high: float
    confidence: float
    rounds: int

    @property
    def verdict(self) -> str:
        """What b is: "slower" or "faster" if 1 is outside the interval, else "no difference"; or "too few rounds" to tell."""
        raise NotImplementedError("19.4 Comparison.verdict: README.md, 19.4")

    def __str__(self) -> str:
        """The verdict, both names, the ratio, the interval, the confidence in percent and the rounds."""
        raise NotImplementedError("19.4 Comparison.__str__: README.md, 19.4")


def compare(
    a: Callable[[], object],
    b: Callable[[], object],
    names: tuple[str, str] = ("a", "b"),
    measure: str = "wall",
    confidence: float = 0.99,
    **options,
) -> Comparison:
    """How many times as long as a takes b, by a Benchmark of both with these options.

    Raises: ValueError that contains the name if both have the same; as Benchmark, its run and Result.compare.
    """
    raise NotImplementedError("19.4 compare: README.md, 19.4")


@dataclass(frozen=True)
class Result:
    """What a Benchmark measured: `timings`, by the names of the works."""

    timings: dict[str, Timing]

    def compare(self, a: str, b: str, measure: str = "wall", confidence: float = 0.99) -> Comparison:
        """How many times as long as a takes b, by "wall" or "cpu" time.

        Raises: ValueError that contains a name or measure that does not exist, or as ratio_interval.
        """
        raise NotImplementedError("19.4 Result.compare: README.md, 19.4")

    # 19.5 JSON and Markdown

    def to_json(self) -> str:
        """All timings, as from_json reads them: {name: {"number": …, "first": …, "wall": […], "cpu": […]}}."""
        raise NotImplementedError("19.5 Result.to_json: README.md, 19.5")

    @classmethod
    def from_json(cls, text: str) -> "Result":
        """The Result that to_json wrote."""
        raise NotImplementedError("19.5 Result.from_json: README.md, 19.5")

    def to_markdown(self, baseline: str, measure: str = "wall", confidence: float = 0.99) -> str:
        """A table with a row for each work: its median times, and how many times as long as the baseline it takes.

        The header contains the confidence in percent.
        Raises: as compare.
        """
        raise NotImplementedError("19.5 Result.to_markdown: README.md, 19.5")


# 19.6 What a model costs


class Counts(NamedTuple):  # given
    """What one forward pass costs."""

    flops: int  # additions and multiplications in products of matrices and convolutions
    parameters: int  # numbers that are trained
    activation_bytes: int  # memory that the graph keeps for backward, without parameters, buffers and inputs


_FLOPS: dict[str, Callable[..., int]] = {}  # given: by name of the operation


def defflops(op: str, rule: Callable[..., int]) -> None:  # given
    """Defines what an operation costs: rule(y, *parents, **attrs), all arrays, as a rule of kata 07 but without the g."""
    _FLOPS[op] = rule


def matmul_flops(y: np.ndarray, a: np.ndarray, b: np.ndarray) -> int:
    """A multiplication and an addition for each of the k terms of each value: (…, n, k) @ (…, k, m), or vectors."""
    raise NotImplementedError("19.6 matmul_flops: README.md, 19.6")


def conv2d_flops(y: np.ndarray, x: np.ndarray, weight: np.ndarray, **attrs) -> int:
    """The same for each weight (out, in, kernel_h, kernel_w) at each position of its channel, padding included."""
    raise NotImplementedError("19.6 conv2d_flops: README.md, 19.6")


defflops("matmul", matmul_flops)
defflops("conv2d", conv2d_flops)
for _op in (  # given: no products
    *("add", "sub", "mul", "div", "neg", "pow", "exp", "log", "sqrt", "tanh", "maximum", "where", "sum", "max"),
    *("reshape", "permute", "getitem", "concatenate", "max_pool2d", "avg_pool2d", "embedding", "rotary"),
    *("gelu", "layer_norm", "rms_norm", "batch_norm_relu", "softmax_cross_entropy", "fast_max_pool2d"),
    "data_parallel",  # whose shards' operations are counted
):
    defflops(_op, lambda y, *parents, **attrs: 0)

# Kata 15's operations count what their definitions multiply: an algorithm that needs less is faster at the same work
defflops("fast_conv2d", conv2d_flops)
for _op in ("linear", "linear_gelu"):  # given: x Wᵀ
    defflops(_op, lambda y, x, weight, *bias, **attrs: matmul_flops(y, x, weight.T))
defflops(  # q kᵀ, which is (…, queries, keys), and its product with v
    "fused_attention",
    lambda y, q, k, v, **attrs: 2 * math.prod(y.shape[:-1]) * k.shape[-2] * (q.shape[-1] + v.shape[-1]),
)
defflops("self_attention", lambda y, qkv, **attrs: 4 * y.size * y.shape[-2])  # the same of y (batch, time, heads · head_dim)


def count(model: Callable[..., Tensor], *inputs) -> Counts:
    """What model(*inputs), a Module or a function that returns a Tensor, costs, by calling it once. Its buffers stay.

    It sees operations (Tensor._result), not what is computed of arrays alone. A UserWarning contains the names of operations
    without a rule. A count in a second thread waits until the first has ended.
    Raises: TypeError that contains the type if the model returns anything but a Tensor.
    """
    raise NotImplementedError("19.6 count: README.md, 19.6")


# 19.7 Pictures: the roofline and the Pareto front


@dataclass(frozen=True)
class Measured:
    """A program that does `flops` operations on `nbytes` bytes, and takes so many seconds."""

    name: str
    flops: float
    nbytes: float
    seconds: float

    def __post_init__(self):
        """Raises: ValueError that contains the field and its value unless flops ≥ 0, nbytes > 0, seconds > 0, all finite."""
        raise NotImplementedError("19.7 Measured.__post_init__: README.md, 19.7")

    @property
    def intensity(self) -> float:
        """Operations for each byte."""
        raise NotImplementedError("19.7 Measured.intensity: README.md, 19.7")

    @property
    def gflops(self) -> float:
        """10⁹ operations a second."""
        raise NotImplementedError("19.7 Measured.gflops: README.md, 19.7")

    def bound(self, machine: Machine) -> str:
        """What sets the limit: "memory" if the bytes take longer than the operations, else "compute"."""
        raise NotImplementedError("19.7 Measured.bound: README.md, 19.7")

    def reached(self, machine: Machine) -> float:
        """The part of the machine's limit that the program reaches: 1 if it takes no longer than kata 01's roofline says."""
        raise NotImplementedError("19.7 Measured.reached: README.md, 19.7")


def pareto(points: dict[str, Sequence[float]]) -> list[str]:
    """The names of the points that no other point dominates, in their order. In each coordinate less is better.

    A point dominates another if it is nowhere larger, and smaller in at least one coordinate.
    Raises: ValueError that contains the name of a point that has NaN, or other coordinates than the first.
    """
    raise NotImplementedError("19.7 pareto: README.md, 19.7")


def draw_roofline(path: str, machine: Machine, programs: Sequence[Measured]) -> None:  # given
    """Draws programs, and what the machine can do at each intensity, into a file; the suffix may be .png, .svg or .pdf."""
    from matplotlib.figure import Figure  # which takes a second to import

    ridge = machine.peak_gflops / machine.bandwidth_gbs  # operations for each byte where the slope meets the roof
    shown = [program.intensity for program in programs if program.intensity] + [ridge]
    intensity = np.geomspace(min(shown) / 10, max(shown) * 10)
    figure = Figure(figsize=(7, 5), layout="constrained")
    axes = figure.subplots()
    axes.loglog(intensity, np.minimum(machine.peak_gflops, intensity * machine.bandwidth_gbs), "k")
    for program in programs:
        axes.loglog(program.intensity, program.gflops, "o")
        text = f" {program.name} ({program.bound(machine)}, {program.reached(machine):.0%})"
        axes.annotate(text, (program.intensity, program.gflops))
    axes.set(xlabel="operations for each byte", ylabel="GFLOP/s")
    figure.savefig(path)


def draw_pareto(path: str, points: dict[str, Sequence[float]], labels: tuple[str, str]) -> None:  # given
    """Draws points of two coordinates and the line through those that none dominates; the suffix as in draw_roofline."""
    from matplotlib.figure import Figure

    front = sorted((*points[name],) for name in pareto(points))
    figure = Figure(figsize=(7, 5), layout="constrained")
    axes = figure.subplots()
    axes.step([x for x, _ in front], [y for _, y in front], "k", where="post")
    for name, (x, y) in points.items():
        axes.plot(x, y, "o")
        axes.annotate(f" {name}", (x, y))
    axes.set(xlabel=labels[0], ylabel=labels[1])
    figure.savefig(path)
