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
        if not works:
            raise ValueError(f"there is nothing to measure: works={works!r}")
        for name, work in works.items():
            if not callable(work):
                raise TypeError(f"the work {name!r} must be a function without arguments, not {work!r}")
        for name, value in (("rounds", rounds), ("warmup", warmup), ("number", 1 if number is None else number)):
            if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < 1:
                raise ValueError(f"{name} must be an integer of at least 1, not {value!r}")
        if not patience > 0:
            raise ValueError(f"patience must be above 0, not {patience!r}")
        self.works, self.rounds, self.warmup = dict(works), rounds, warmup
        self.number = None if number is None else int(number)
        self.seed, self.clock, self.patience = seed, clock, patience
        make_rng(seed)  # which says what is wrong with it

    def run(self) -> "Result":
        """Calls and times all works. A UserWarning contains the name of each work that was done after its first calls.

        Raises: RuntimeError that contains the work's name if it raises an Exception, which is the cause, or if by the clock a
        round took no time or less.
        """
        first = {name: self._timed(name, 1) for name in self.works}  # (wall, cpu)
        again = [name for name, (wall, _) in first.items() if wall <= self.patience]
        numbers = {name: self._number(name, first[name][0]) for name in again}
        rounds, order, rng = {name: [] for name in again}, again, make_rng(self.seed)
        for lap in range(self.rounds):
            order = order[::-1] if lap % 2 else [again[i] for i in rng.permutation(len(again))]
            for name in order:
                wall, cpu = self._timed(name, numbers[name])
                if wall == 0:
                    calls = numbers[name]
                    raise RuntimeError(f"{name!r}: by the clock {calls} calls take no time: a larger `number` is needed")
                rounds[name].append((wall, cpu))
        timings = {}
        for name, (first_wall, first_cpu) in first.items():
            wall, cpu = zip(*rounds.get(name, [first[name]]), strict=True)
            done, computed = spent([first_wall, *wall]), [first_cpu, *cpu]
            if done and (spent(computed) or not any(computed)):  # else the first call was only interrupted
                text = "was its work done by then, as by a cache or an iterator?"
                warnings.warn(f"{name!r} is {SPENT} times as fast after measurement {done}: {text}", stacklevel=2)
            timings[name] = Timing(numbers.get(name, 1), first_wall, wall, cpu)
        return Result(timings)

    def _number(self, name: str, first: float) -> int:
        """Ends the warm-up, whose first call took so long, and says how many calls of this work take ROUND seconds."""
        times = [first] + [self._timed(name, 1)[0] for _ in range(self.warmup - 1)]
        if self.number is not None:
            return self.number
        number, least = 1, 0.0
        while least * number < ROUND:
            if number == MOST:
                raise RuntimeError(f"{name!r}: {number} calls take less than {ROUND} seconds: does the clock stand still?")
            number = min(2 * number, MOST)
            times.append(self._timed(name, number)[0])
            least = min(filter(None, times), default=0.0)  # others only make a call longer; 0: the clock can't tell
        return math.ceil(ROUND / least)

    def _timed(self, name: str, number: int) -> tuple[float, float]:
        """Wall and CPU seconds of one call, of so many in a row. What they return is dropped at once."""
        work, wall, cpu = self.works[name], self.clock.wall, self.clock.cpu
        cpu_start, wall_start = cpu(), wall()
        try:
            for _ in range(number):
                work()
        except Exception as error:
            raise RuntimeError(f"{name!r} raised {error!r}") from error
        wall_seconds = float(wall() - wall_start)  # JSON has no NumPy numbers
        cpu_seconds = float(cpu() - cpu_start)
        if not (0 <= wall_seconds < math.inf and 0 <= cpu_seconds < math.inf):
            raise RuntimeError(f"{name!r}: by the clock it took {wall_seconds} s, and {cpu_seconds} s of the CPU")
        return wall_seconds / number, cpu_seconds / number


# 19.2 Work that is done


def spent(seconds: Sequence[float]) -> int:
    """After how many of these times of one call the work was done, so that the later calls had nothing to do; 0 if it wasn't.

    It is the largest k for which each of the first k times is more than SPENT times the median of the others.
    """
    least = np.minimum.accumulate(seconds)
    done = [k for k in range(1, len(seconds)) if least[k - 1] > SPENT * np.median(seconds[k:])]
    return max(done, default=0)


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
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be above 0 and below 1, not {confidence!r}")
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if a.ndim != 1 or b.ndim != 1 or not a.size or not b.size or (a.size != b.size and 1 not in (a.size, b.size)):
        raise ValueError(f"the times must be of the same rounds, or of one, not of the shapes {a.shape} and {b.shape}")
    for times in (a, b):
        wrong = times[~((times > 0) & (times < np.inf))]
        if wrong.size:
            raise ValueError(f"a time must be positive and finite, not {wrong[0]}")
    logs = np.log(b) - np.log(a)  # (rounds,): twice as long and half as long are equally far from 1
    ratio = float(np.exp(np.median(logs)))
    if 2.0 ** (1 - min(a.size, b.size)) > 1 - confidence:  # so often all rounds lie on the same side of the true median
        return ratio, 0.0, math.inf
    drawn = make_rng(seed).integers(len(logs), size=(RESAMPLES, len(logs)))
    medians = np.median(logs[drawn], axis=1)
    low, high = np.exp(np.quantile(medians, [(1 - confidence) / 2, (1 + confidence) / 2]))
    return ratio, float(low), float(high)


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
        if (self.low, self.high) == (0, math.inf):
            return "too few rounds"
        return "slower" if self.low > 1 else "faster" if self.high < 1 else "no difference"

    def __str__(self) -> str:
        """The verdict, both names, the ratio, the interval, the confidence in percent and the rounds."""
        interval = f"{100 * self.confidence:g}% interval {self.low:.4g} to {self.high:.4g}"
        return f"{self.verdict}: {self.b} takes {self.ratio:.4g} times as long as {self.a} ({interval}, rounds: {self.rounds})"


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
    first, second = names
    if first == second:
        raise ValueError(f"two works need two names, not {first!r} twice")
    return Benchmark({first: a, second: b}, **options).run().compare(first, second, measure, confidence)


@dataclass(frozen=True)
class Result:
    """What a Benchmark measured: `timings`, by the names of the works."""

    timings: dict[str, Timing]

    def compare(self, a: str, b: str, measure: str = "wall", confidence: float = 0.99) -> Comparison:
        """How many times as long as a takes b, by "wall" or "cpu" time.

        Raises: ValueError that contains a name or measure that does not exist, or as ratio_interval.
        """
        if measure not in ("wall", "cpu"):
            raise ValueError(f'measure must be "wall" or "cpu", not {measure!r}')
        for name in (a, b):
            if name not in self.timings:
                raise ValueError(f"there is no work {name!r}, but {', '.join(map(repr, self.timings))}")
        seconds = getattr(self.timings[a], measure), getattr(self.timings[b], measure)
        return Comparison(a, b, *ratio_interval(*seconds, confidence), confidence, min(map(len, seconds)))

    # 19.5 JSON and Markdown

    def to_json(self) -> str:
        """All timings, as from_json reads them: {name: {"number": …, "first": …, "wall": […], "cpu": […]}}."""
        return json.dumps({name: timing._asdict() for name, timing in self.timings.items()}, indent=2)

    @classmethod
    def from_json(cls, text: str) -> "Result":
        """The Result that to_json wrote."""
        timings = {name: Timing(**fields) for name, fields in json.loads(text).items()}
        return cls({name: each._replace(wall=tuple(each.wall), cpu=tuple(each.cpu)) for name, each in timings.items()})

    def to_markdown(self, baseline: str, measure: str = "wall", confidence: float = 0.99) -> str:
        """A table with a row for each work: its median times, and how many times as long as the baseline it takes.

        The header contains the confidence in percent.
        Raises: as compare.
        """
        self.compare(baseline, baseline, measure, confidence)  # which raises, also if there is no row
        lines = [
            f"| work | wall | CPU | times {_cell(baseline)} | {100 * confidence:g}% interval | verdict |",
            "|---|---:|---:|---:|---:|---|",
        ]
        for name, timing in self.timings.items():
            found = self.compare(baseline, name, measure, confidence)
            verdict = "baseline" if name == baseline else found.verdict
            times = f"{_duration(np.median(timing.wall))} | {_duration(np.median(timing.cpu))}"
            lines.append(f"| {_cell(name)} | {times} | {found.ratio:.4g} | {found.low:.4g} to {found.high:.4g} | {verdict} |")
        return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    """A text that ends neither a cell nor a line of a table."""
    return " ".join(text.replace("|", "\\|").splitlines())


def _duration(seconds: float) -> str:
    seconds = float(f"{seconds:.3g}")  # before the unit is chosen: 0.9996 ms is 1 ms, not 1e+03 µs
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= size:
            return f"{seconds / size:.9g} {unit}"  # 1230 s, not 1.23e+03 s
    return f"{seconds / 1e-9:.3g} ns"


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
    return 2 * y.size * a.shape[-1]


def conv2d_flops(y: np.ndarray, x: np.ndarray, weight: np.ndarray, **attrs) -> int:
    """The same for each weight (out, in, kernel_h, kernel_w) at each position of its channel, padding included."""
    return 2 * y.size * math.prod(weight.shape[1:])


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


_COUNTING = threading.RLock()  # two threads that counted at once would not put back the recorder from before both


def count(model: Callable[..., Tensor], *inputs) -> Counts:
    """What model(*inputs), a Module or a function that returns a Tensor, costs, by calling it once. Its buffers stay.

    It sees operations (Tensor._result), not what is computed of arrays alone. A UserWarning contains the names of operations
    without a rule. A count in a second thread waits until the first has ended.
    Raises: TypeError that contains the type if the model returns anything but a Tensor.
    """
    module = model if isinstance(model, Module) else Module()  # a function has no parameters and no buffers
    parameters = module.parameters()
    there = _memories([parameters, [array for _, array in module.named_buffers()], inputs])
    flops, unknown = [], set()  # a list and a set may be changed by several threads

    def counting(op: str, result: Tensor, parents: tuple[Tensor, ...], attrs: dict) -> None:
        if recorder is not None:
            recorder(op, result, parents, attrs)
        if op in _FLOPS:
            flops.append(_FLOPS[op](result.data, *[parent.data for parent in parents], **attrs))
        else:
            unknown.add(op)

    with _COUNTING:
        recorder, state = Tensor._recorder, module.state_dict()
        Tensor._recorder = counting
        try:
            output = model(*inputs)
        finally:
            Tensor._recorder = recorder
            module.load_state_dict(state)  # the buffers, as BatchNorm's running mean, have moved
    if not isinstance(output, Tensor):
        raise TypeError(f"the model must return a Tensor, not a {type(output).__name__}")
    if unknown:
        warnings.warn(f"counted as 0 FLOPs, without a rule by defflops: {', '.join(sorted(unknown))}", stacklevel=2)
    graph: Node | None = getattr(output, "node", None)
    kept = _memories(graph)
    return Counts(
        sum(flops),
        sum(parameter.size for parameter in parameters),
        sum(memory.nbytes for key, memory in kept.items() if key not in there),
    )


def _memories(value) -> dict[int, np.ndarray]:
    """The arrays, by id, whose memory a value keeps alive, however deep inside: in containers, objects, bound arguments."""
    found, seen, waiting = {}, {}, [value]
    while waiting:
        value = waiting.pop()
        if id(value) in seen:
            continue
        seen[id(value)] = value
        if isinstance(value, np.ndarray):
            memory = _memory(value)
            found[id(memory)] = memory
        elif isinstance(value, Tensor):  # without its grad, which no graph keeps
            waiting += [value.data, getattr(value, "node", None)]
        elif isinstance(value, FunctionType):  # without the names of its module
            waiting += [value.__closure__, value.__defaults__, value.__kwdefaults__]
        elif not isinstance(value, type | ModuleType):
            waiting += gc.get_referents(value)
    return found


def _memory(array: np.ndarray) -> np.ndarray:
    """The array that holds the memory of a view."""
    owner = array
    while (array := getattr(array, "base", None)) is not None:
        owner = array if isinstance(array, np.ndarray) else owner
    return owner


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
        for field in ("flops", "nbytes", "seconds"):
            value = getattr(self, field)
            if not (0 <= value < math.inf and (value > 0 or field == "flops")):
                raise ValueError(f"{self.name!r}: {field} can't be {value!r}")

    @property
    def intensity(self) -> float:
        """Operations for each byte."""
        return self.flops / self.nbytes

    @property
    def gflops(self) -> float:
        """10⁹ operations a second."""
        return self.flops / self.seconds / 1e9

    def bound(self, machine: Machine) -> str:
        """What sets the limit: "memory" if the bytes take longer than the operations, else "compute"."""
        return "memory" if machine.roofline(0, self.nbytes) > machine.roofline(self.flops, 0) else "compute"

    def reached(self, machine: Machine) -> float:
        """The part of the machine's limit that the program reaches: 1 if it takes no longer than kata 01's roofline says."""
        return machine.roofline(self.flops, self.nbytes) / self.seconds


def pareto(points: dict[str, Sequence[float]]) -> list[str]:
    """The names of the points that no other point dominates, in their order. In each coordinate less is better.

    A point dominates another if it is nowhere larger, and smaller in at least one coordinate.
    Raises: ValueError that contains the name of a point that has NaN, or other coordinates than the first.
    """
    size = len(next(iter(points.values()), ()))
    for name, point in points.items():
        if len(point) != size or any(map(math.isnan, point)):
            raise ValueError(f"{name!r} has the coordinates {tuple(point)}: {size} numbers are needed")
    return [name for name, point in points.items() if not any(_dominates(other, point) for other in points.values())]


def _dominates(a: Sequence[float], b: Sequence[float]) -> bool:
    return all(map(operator.le, a, b)) and any(map(operator.lt, a, b))


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
