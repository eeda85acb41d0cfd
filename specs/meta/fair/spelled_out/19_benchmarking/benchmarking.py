"""Kata 19 in another style: step by step, with plain loops, dicts and intervals of memory."""

import functools
import json
import math
import statistics
import threading
import time
import types
import warnings
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from katas.environment import Machine, make_rng
from katas.layers import Module
from katas.tensor import Tensor

from katas import autograd  # noqa: F401 - which records

ROUND = 0.005
MOST = 1_000_000
SPENT = 10
RESAMPLES = 2000


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
    def __init__(self, works, rounds=40, warmup=3, number=None, seed=0, clock=REAL, patience=5.0):
        if len(works) == 0:
            raise ValueError("no works")
        for name in works:
            if not hasattr(works[name], "__call__"):  # noqa: B004
                raise TypeError(f"{name} is no function")
        counts = {"rounds": rounds, "warmup": warmup}
        if number is not None:
            counts["number"] = number
        for name, value in counts.items():
            good = type(value) is int or isinstance(value, np.integer)
            if not good or value <= 0:
                raise ValueError(f"{name}={value!r}")
        if math.isnan(patience) or patience <= 0:
            raise ValueError(f"patience={patience!r}")
        make_rng(seed)
        self.names = list(works)
        self.functions = [works[name] for name in self.names]
        self.rounds = int(rounds)
        self.warmup = int(warmup)
        self.number = None if number is None else int(number)
        self.seed = seed
        self.clock = clock
        self.patience = patience

    def measure(self, index, calls):
        """Wall and CPU seconds of so many calls together."""
        name, function = self.names[index], self.functions[index]
        wall = -self.clock.wall()
        cpu = -self.clock.cpu()
        left = calls
        while left:
            left -= 1
            try:
                function()
            except Exception as reason:
                raise RuntimeError(f"work {name} failed with {reason!r}") from reason
        cpu += self.clock.cpu()
        wall += self.clock.wall()
        for seconds in (wall, cpu):
            if math.isnan(seconds) or math.isinf(seconds) or seconds < 0:
                raise RuntimeError(f"the clock is broken: {name} took {seconds} seconds")
        return float(wall), float(cpu)

    def run(self):
        rng = make_rng(self.seed)
        walls, cpus = defaultdict(list), defaultdict(list)
        first, computed, number, slow = [], [], [], []
        for index in range(len(self.names)):
            wall, cpu = self.measure(index, 1)
            first.append(wall)
            computed.append(cpu)
            slow.append(wall > self.patience)
            number.append(1)
            if slow[index]:
                walls[index], cpus[index] = [wall], [cpu]
                continue
            fastest = wall if wall > 0 else math.inf
            for _ in range(self.warmup - 1):
                again = self.measure(index, 1)[0]
                fastest = min(fastest, again) if again > 0 else fastest
            if self.number is not None:
                number[index] = self.number
                continue
            calls = 1
            while (calls == 1 or fastest == math.inf or calls * fastest < ROUND) and calls <= MOST:
                calls *= 2
                seconds = self.measure(index, calls)[0]
                if seconds > 0:
                    fastest = min(fastest, seconds / calls)
            if MOST * fastest < ROUND or fastest == math.inf:
                raise RuntimeError(f"{self.names[index]} takes no time")
            while number[index] * fastest < ROUND:
                number[index] += 1
        for _ in range(self.rounds):
            places = [index for index in range(len(self.names)) if not slow[index]]
            rng.shuffle(places)
            for index in places:
                wall, cpu = self.measure(index, number[index])
                if wall == 0:
                    raise RuntimeError(f"{self.names[index]} takes no time")
                walls[index].append(wall / number[index])
                cpus[index].append(cpu / number[index])
        timings = {}
        for index, name in enumerate(self.names):
            timings[name] = Timing(number[index], first[index], tuple(walls[index]), tuple(cpus[index]))
            both = spent([first[index]] + walls[index]) > 0 and spent([computed[index]] + cpus[index]) > 0
            waits = sum(cpus[index]) + computed[index] == 0 and spent([first[index]] + walls[index]) > 0
            if both or waits:
                warnings.warn(f"{name} did its work once", stacklevel=2)
        return Result(timings)


def spent(seconds):
    answer = 0
    for k in range(1, len(seconds)):
        limit = SPENT * statistics.median(seconds[k:])
        if all(each > limit for each in seconds[:k]):
            answer = k
    return answer


def ratio_interval(a, b, confidence=0.99, seed=0):
    if not confidence > 0 or not confidence < 1:
        raise ValueError(f"confidence={confidence!r}")
    shapes = f"{np.shape(a)} and {np.shape(b)}"
    if len(np.shape(a)) != 1 or len(np.shape(b)) != 1 or len(a) == 0 or len(b) == 0:
        raise ValueError(shapes)
    if len(a) != len(b) and len(a) != 1 and len(b) != 1:
        raise ValueError(shapes)
    for each in [*a, *b]:
        if not each > 0 or math.isinf(each):
            raise ValueError(f"{float(each)} is no time")
    rounds, pairs = max(len(a), len(b)), min(len(a), len(b))
    logs = []
    for i in range(rounds):
        x, y = a[i if len(a) > 1 else 0], b[i if len(b) > 1 else 0]
        logs.append(math.log(float(y)) - math.log(float(x)))
    ratio = math.exp(statistics.median(logs))
    if 2 * 0.5**pairs > 1 - confidence:
        return ratio, 0.0, math.inf
    samples = make_rng(seed).choice(logs, (len(logs), RESAMPLES))
    samples.sort(axis=0)
    medians = (samples[(len(logs) - 1) // 2] + samples[len(logs) // 2]) / 2
    tail = (1 - confidence) / 2
    return ratio, math.exp(np.quantile(medians, tail)), math.exp(np.quantile(medians, 1 - tail))


@dataclass(frozen=True)
class Comparison:
    a: str
    b: str
    ratio: float
    low: float
    high: float
    confidence: float
    rounds: int

    @property
    def verdict(self):
        if self.low == 0 and math.isinf(self.high):
            return "too few rounds"
        if self.low <= 1 <= self.high:
            return "no difference"
        return "slower" if self.ratio > 1 else "faster"

    def __str__(self):
        parts = [f"{value:.4g}" for value in (self.low, self.high)]
        percent = f"{round(100 * self.confidence, 6):g}%"
        return f"{self.b} = {self.ratio:.4g} x {self.a}, {percent} between {' and '.join(parts)}: {self.verdict}"


def compare(a, b, names=("a", "b"), measure="wall", confidence=0.99, **options):
    works = dict(zip(names, (a, b), strict=True))
    if len(works) < 2:
        raise ValueError(f"one name for both: {names}")
    result = Benchmark(works, **options).run()
    return result.compare(*names, measure=measure, confidence=confidence)


@dataclass(frozen=True)
class Result:
    timings: dict

    def compare(self, a, b, measure="wall", confidence=0.99):
        times = []
        for name in (a, b):
            if name not in self.timings:
                raise ValueError(f"no work {name}")
            fields = {"wall": self.timings[name].wall, "cpu": self.timings[name].cpu}
            if measure not in fields:
                raise ValueError(f"no measure {measure}")
            times.append(fields[measure])
        ratio, low, high = ratio_interval(times[0], times[1], confidence)
        return Comparison(a, b, ratio, low, high, confidence, min(len(times[0]), len(times[1])))

    def to_json(self):
        works = {}
        for name, timing in self.timings.items():
            works[name] = {"number": timing.number, "first": timing.first, "wall": timing.wall, "cpu": timing.cpu}
        return json.dumps(works)

    @classmethod
    def from_json(cls, text):
        timings = {}
        for name, work in json.loads(text).items():
            timings[name] = Timing(work["number"], work["first"], tuple(work["wall"]), tuple(work["cpu"]))
        return cls(timings)

    def to_markdown(self, baseline, measure="wall", confidence=0.99):
        if baseline not in self.timings:
            raise ValueError(f"no work {baseline}")
        rows = [["", "wall time", "CPU time", "by " + baseline, f"interval ({round(100 * confidence, 6):g}%)", ""]]
        for name, timing in self.timings.items():
            found = self.compare(baseline, name, measure, confidence)
            wall, cpu = text_of(statistics.median(timing.wall)), text_of(statistics.median(timing.cpu))
            interval = f"{found.low:.4g} to {found.high:.4g}"
            rows.append([name, wall, cpu, f"{found.ratio:.4g}", interval, "baseline" if name == baseline else found.verdict])
        lines = []
        for row in rows:
            cells = [cell.replace("|", "\\|").replace("\n", " ").replace("\r", " ") for cell in row]
            lines.append("| " + " | ".join(cells) + " |")
        lines.insert(1, "| " + " | ".join(["---"] * 6) + " |")
        return "\n".join(lines)


def text_of(seconds):
    if seconds == 0:
        return "0 ns"
    digits = 2 - math.floor(math.log10(seconds))
    seconds = round(seconds, digits)
    if seconds >= 1000:
        return f"{seconds:.0f} s"
    for unit, factor in (("s", 1), ("ms", 1e3), ("µs", 1e6)):
        if round(seconds * factor, 9) >= 1:
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds * 1e9:.3g} ns"


class Counts(NamedTuple):  # given
    """What one forward pass costs."""

    flops: int  # additions and multiplications in products of matrices and convolutions
    parameters: int  # numbers that are trained
    activation_bytes: int  # memory that the graph keeps for backward, without parameters, buffers and inputs


_FLOPS: dict[str, Callable[..., int]] = {}  # given: by name of the operation


def defflops(op: str, rule: Callable[..., int]) -> None:  # given
    """Defines what an operation costs: rule(y, *parents, **attrs), all arrays, as a rule of kata 07 but without the g."""
    _FLOPS[op] = rule


def matmul_flops(y, a, b):
    terms = a.shape[a.ndim - 1]
    values = 1
    for length in y.shape:
        values *= int(length)
    return values * terms + values * terms


def conv2d_flops(y, x, weight, **attrs):
    _out, channels, height, width = weight.shape
    return 2 * channels * height * width * int(y.size)


defflops("matmul", matmul_flops)
defflops("conv2d", conv2d_flops)
for _op in (  # given: no products
    *("add", "sub", "mul", "div", "neg", "pow", "exp", "log", "sqrt", "tanh", "maximum", "where", "sum", "max"),
    *("reshape", "permute", "getitem", "concatenate", "max_pool2d", "avg_pool2d", "embedding", "rotary"),
    *("gelu", "layer_norm", "rms_norm", "batch_norm_relu", "softmax_cross_entropy", "fast_max_pool2d"),
    "data_parallel",
):
    defflops(_op, lambda y, *parents, **attrs: 0)


def fused_flops(y, q, k, v, **attrs):
    scores = y[..., 0].size * k.shape[-2]
    return 2 * scores * q.shape[-1] + 2 * scores * v.shape[-1]


defflops("fast_conv2d", conv2d_flops)
defflops("linear", lambda y, x, weight, *bias: 2 * y.size * x.shape[-1])
defflops("linear_gelu", lambda y, x, weight, *bias, shared, slope: 2 * y.size * x.shape[-1])
defflops("fused_attention", fused_flops)
defflops("self_attention", lambda y, qkv, **attrs: 4 * y.size * qkv.shape[1])


counts_now = threading.RLock()


def count(model, *inputs):
    with counts_now:
        return counted(model, *inputs)


def counted(model, *inputs):
    before = Tensor._recorder
    operations = []
    unknown = []

    def see(op, result, parents, attrs):
        if before is not None:
            before(op, result, parents, attrs)
        if op not in _FLOPS:
            unknown.append(op)
        else:
            operations.append(_FLOPS[op](result.data, *(parent.data for parent in parents), **attrs))

    parameters, buffers = [], []
    if isinstance(model, Module):
        parameters = model.parameters()
        buffers = [(module, name, array, array.copy()) for module in model.modules() for name, array in buffers_of(module)]
    there = [owner(parameter.data) for parameter in parameters]
    there += [owner(array) for _, _, array, _ in buffers]
    there += [owner(array) for each in inputs for array in found_in(each)]
    try:
        Tensor._recorder = see
        output = model(*inputs)
    finally:
        Tensor._recorder = before
        for module, name, array, copy in buffers:
            array[...] = copy
            setattr(module, name, array)
    if type(output) is not Tensor and not isinstance(output, Tensor):
        raise TypeError(f"got a {type(output).__name__}")
    if unknown:
        warnings.warn(f"no rules for {set(unknown)}", stacklevel=2)

    kept = []
    for node in graph_of(output):
        for array in found_in([list(node.arrays), node.attrs]):
            memory = owner(array)
            kept.append(memory)
    total, seen = 0, {id(memory) for memory in there}
    for memory in kept:
        if id(memory) not in seen:
            seen.add(id(memory))
            total += memory.size * memory.itemsize
    return Counts(sum(operations), sum(parameter.data.size for parameter in parameters), total)


def buffers_of(module):
    """The buffers of the module itself, without those below."""
    return [(name, array) for name, array in module.named_buffers() if "." not in name]


def graph_of(output):
    nodes, level = {}, [output]
    while level:
        level = [tensor.node for tensor in level if hasattr(tensor, "node") and id(tensor.node) not in nodes]
        nodes |= {id(node): node for node in level}
        level = list({id(parent): parent for node in level for parent in node.parents}.values())
    return nodes.values()


def found_in(value, met=None):
    """The arrays in a value, part by part, however it holds them."""
    met = set() if met is None else met
    if value is None or isinstance(value, str | int | float | type | types.ModuleType) or id(value) in met:
        return []
    met.add(id(value))
    if isinstance(value, np.ndarray):
        return [value]
    if isinstance(value, Tensor):
        parts = [value.data, *[part for node in graph_of(value) for part in (*node.arrays, node.attrs)]]
    elif isinstance(value, dict):
        parts = list(value.values())
    elif isinstance(value, list | tuple | set):
        parts = list(value)
    elif isinstance(value, functools.partial):
        parts = [value.func, *value.args, *value.keywords.values()]
    elif isinstance(value, types.MethodType):
        parts = [value.__self__]
    elif isinstance(value, types.FunctionType):
        parts = [cell.cell_contents for cell in value.__closure__ or ()]
        parts += [*(value.__defaults__ or ()), *(value.__kwdefaults__ or {}).values()]
    else:
        parts = list(getattr(value, "__dict__", {}).values())
    return [array for part in parts for array in found_in(part, met)]


def owner(array):
    last = array
    while array is not None:
        if isinstance(array, np.ndarray):
            last = array
        array = array.base if hasattr(array, "base") else None
    return last


@dataclass(frozen=True)
class Measured:
    name: str
    flops: float
    nbytes: float
    seconds: float

    def __post_init__(self):
        for field, value in vars(self).items():
            if field == "name":
                continue
            bad = math.isnan(value) or math.isinf(value) or value < 0
            if bad or (value == 0 and field in ("nbytes", "seconds")):
                raise ValueError(f"{self.name}: {field} = {value}")

    @property
    def intensity(self):
        return self.flops / self.nbytes

    @property
    def gflops(self):
        return 1e-9 * self.flops / self.seconds

    def bound(self, machine):
        ridge = machine.peak_gflops / machine.bandwidth_gbs
        return "compute" if self.intensity >= ridge else "memory"

    def reached(self, machine):
        return machine.roofline(self.flops, self.nbytes) / self.seconds


def pareto(points):
    names = list(points)
    for name in names:
        if len(points[name]) != len(points[names[0]]) or any(each != each for each in points[name]):
            raise ValueError(f"{name}: {points[name]}")
    front = []
    for name in names:
        for other in names:
            pairs = list(zip(points[other], points[name], strict=True))
            if all(x <= y for x, y in pairs) and any(x < y for x, y in pairs):
                break
        else:
            front.append(name)
    return front


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
