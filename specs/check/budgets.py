"""Budgets: what a solution may cost, in steps, bytes and CPU time.

Three meters (`count_steps`, `measure_bytes`, `cpu_ratio`) and `Budget`, which holds a measurement against its limit,
records it, and says in words what was exceeded. Steps and bytes do not depend on a clock.
"""

import _weakrefset
import gc
import itertools
import math
import queue
import sys
import threading
import time
import tracemalloc
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import _base as futures
from concurrent.futures import thread as executor
from contextlib import contextmanager
from functools import partial
from numbers import Real

from threadpoolctl import threadpool_limits

Call = Callable[[], object]

ROUND = 0.001  # CPU seconds, filled by repeated calls; many short rounds are disturbed less than few long ones
ROUNDS = 25
PATIENCE = 0.3  # seconds after which no round begins, for calls that are long themselves
ATTEMPTS = 3
HEAP = 16 << 20  # bytes
TOOLS = 6  # that sys.monitoring has room for

# The scheduler decides how long threads wait for each other and how many a pool starts, so what that takes is not
# counted: locks, queues, and the weak references by which threads are kept account of.
UNCOUNTED = {module.__file__ for module in (threading, queue, futures, executor, weakref, _weakrefset)} | {__file__}


@contextmanager
def _gc_off() -> Iterator[None]:
    """No automatic garbage collection, whose finalizers would run in the middle of somebody else's measurement."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


@contextmanager
def _monitored(tick: Call) -> Iterator[tuple[Call, Call]]:
    """Functions that start and stop ticking at every opcode, by sys.monitoring (from Python 3.12): in all threads."""
    monitoring, instruction = sys.monitoring, sys.monitoring.events.INSTRUCTION
    strangers = set(sys._current_frames()) - {threading.get_ident()}  # a test runner has threads of its own
    users = [monitoring.get_tool(tool) for tool in range(TOOLS)]
    free = [tool for tool, user in enumerate(users) if user is None]
    if not free:
        raise RuntimeError(f"all {TOOLS} tools of sys.monitoring are taken (by {', '.join(users)}): run without one of them")
    tool = free[-1]  # debuggers and coverage take low ones

    def step(code, _offset):
        if code.co_filename not in UNCOUNTED and threading.get_ident() not in strangers:
            tick()

    monitoring.use_tool_id(tool, "budget.steps")
    monitoring.register_callback(tool, instruction, step)
    try:
        yield partial(monitoring.set_events, tool, instruction), partial(monitoring.set_events, tool, 0)
    finally:
        monitoring.register_callback(tool, instruction, None)
        monitoring.free_tool_id(tool)


@contextmanager
def _traced(tick: Call) -> Iterator[tuple[Call, Call]]:
    """The same by sys.settrace (Python 3.11). It has one slot: coverage, say, has it back when ticking stops."""

    def enter(frame, _event, _arg):
        frame.f_trace_opcodes = frame.f_code.co_filename not in UNCOUNTED
        return step

    def step(_frame, event, _arg):
        if event == "opcode":
            tick()
        return step

    def stop():
        replaced = sys.gettrace() is not enter
        sys.settrace(trace)
        if replaced and sys.exc_info()[0] is None:  # an error of the call says more
            raise RuntimeError("sys.settrace was called while steps were counted, as a debugger does: run without breakpoint()")

    trace, thread_trace = sys.gettrace(), threading.gettrace()
    threading.settrace(enter)
    try:
        yield partial(sys.settrace, enter), stop
    finally:
        threading.settrace(thread_trace)


def count_steps(*calls: Call) -> list[int]:
    """Python opcodes executed below each call, in all frames and in the threads started here, once each ran before.

    Threads that were there already, such as those of an earlier call's pool, are not seen.
    """
    ticks, steps = itertools.count(), []  # next() is atomic where += is not
    meter = _monitored if sys.version_info >= (3, 12) else _traced
    with _gc_off(), meter(partial(next, ticks)) as (start, stop):
        for call in calls:
            call()  # fills caches, imports what it needs
        for call in calls:
            start()
            try:
                before = next(ticks)
                call()
                steps.append(next(ticks) - before - 1)
            finally:
                stop()
    return steps


def measure_bytes(call: Call) -> tuple[int, int]:
    """The peak of what a call allocates, and what of it is left once its result is dropped, in bytes.

    The call ran once before. The garbage collector is off and not asked afterwards: a reference cycle is retained.
    So is what replaces memory kept by the call before. Tracing that was on stays on, but forgets its earlier traces.
    """
    call()
    gc.collect()
    was_tracing = tracemalloc.is_tracing()
    tracemalloc.start()
    tracemalloc.clear_traces()  # the figures begin at zero, as they do when tracing only begins here
    try:
        with _gc_off():
            call()
            retained, peak = tracemalloc.get_traced_memory()
    finally:
        if not was_tracing:
            tracemalloc.stop()
    return peak, retained


def cpu_ratio(call: Call, against: Call) -> float:
    """The CPU time of one call over another's: of all threads, one for BLAS; the least of interleaved rounds each."""
    bytes(HEAP)  # once it has freed a block of a size, glibc keeps less than that for later: no page is fetched anew each call
    with threadpool_limits(1), _gc_off():
        sides = [(side, _repetitions(side)) for side in (call, against)]
        seconds = [math.inf, math.inf]  # per call
        gc.collect()
        end = time.perf_counter() + PATIENCE
        for number in range(ROUNDS):
            for i in (0, 1) if number % 2 else (1, 0):  # going first costs up to a tenth
                seconds[i] = min(seconds[i], _cpu_seconds(*sides[i]) / sides[i][1])
            if time.perf_counter() > end:
                break
    return seconds[0] / seconds[1]


def best_ratio(call: Call, against: Call, limit: float) -> float:
    """The least of up to three cpu_ratios: it is measured again only while it exceeds the limit."""
    ratio = math.inf
    for _ in range(ATTEMPTS):
        ratio = min(ratio, cpu_ratio(call, against))
        if ratio <= limit:
            break
    return ratio


def _cpu_seconds(call: Call, count: int) -> float:
    start = time.process_time()
    for _ in range(count):
        call()
    return time.process_time() - start


def _repetitions(call: Call) -> int:
    """How many calls fill a round; fewer if they wait rather than compute."""
    call()
    count, start = 1, time.perf_counter()
    while _cpu_seconds(call, count) < ROUND and time.perf_counter() - start < PATIENCE / 4:
        count *= 2
    return count


class Budget:
    """What the fixture `budget` gives to a spec: measures calls without arguments and holds them against a limit.

    Every measurement, a failing one too, is appended to `figures` as
    {"measure": "steps" | "bytes" | "time", "what": str, "measured": float, "limit": float}.
    Raises: AssertionError if a limit is exceeded; ValueError if it is not a positive number or a call no function.
    """

    def __init__(self):
        self.figures: list[dict] = []

    def steps(self, small: Call, large: Call, limit: float, *, what: str = "") -> float:
        """How many times the steps of `small` those of `large` are."""
        _check(small, large, limit=limit)
        few, many = count_steps(small, large)
        growth = max(many, 1) / max(few, 1)  # a call that is C alone takes no steps
        complaint = (
            f"steps grew {_times(growth)} times where {_times(limit)} are allowed ({few:,} to {many:,}): "
            "is there a Python loop over elements (a for, a comprehension, np.vectorize, apply_along_axis)?"
        )
        self._settle("steps", what, ("", growth, limit, complaint))
        return growth

    def bytes(self, call: Call, peak: float | None = None, retained: float | None = None, *, what: str = "") -> tuple[int, int]:
        """(peak, retained) of a call in bytes, see `measure_bytes`; the limit is on one or on both."""
        if peak is None and retained is None:
            raise ValueError("a budget of bytes needs a limit: peak, retained or both; got neither")
        _check(call, **{name: limit for name, limit in (("peak", peak), ("retained", retained)) if limit is not None})
        top, left = measure_bytes(call)
        figures = []
        if peak is not None:
            complaint = f"peak {_size(top)}, allowed {_size(peak)}: is there a copy or a temporary where a view would do?"
            figures.append((" peak", top, peak, complaint))
        if retained is not None:
            complaint = f"retained {_size(left)}, allowed {_size(retained)}: what is kept alive after the call?"
            figures.append((" retained", left, retained, complaint))
        self._settle("bytes", what, *figures)
        return top, left

    def time(self, call: Call, against: Call, limit: float, *, what: str = "") -> float:
        """How many times the CPU time of `against` that of `call` is: the best of up to three measurements.

        Calls of a millisecond or so are measured well and soon. Nothing else should run beside them.
        """
        _check(call, against, limit=limit)
        ratio = best_ratio(call, against, limit)
        complaint = f"{_times(ratio)} times the CPU time of the baseline, allowed {_times(limit)}"
        self._settle("time", what, ("", ratio, limit, complaint))
        return ratio

    def _settle(self, measure: str, what: str, *figures: tuple[str, float, float, str]) -> None:
        """Record every figure (its part, measured, limit, complaint), then complain of those above their limit."""
        for part, measured, limit, _ in figures:
            record = {"measure": measure, "what": (what + part).strip()}
            self.figures.append(record | {"measured": float(measured), "limit": float(limit)})
        complaints = [complaint for _, measured, limit, complaint in figures if measured > limit]
        if complaints:
            raise AssertionError((f"{what}: " if what else "") + "; ".join(complaints))


def _check(*calls: Call, **limits: float) -> None:
    for call in calls:
        if not callable(call):
            raise ValueError(f"a budget measures calls: expected a function without arguments, got {call!r}")
    for name, limit in limits.items():
        if not isinstance(limit, Real) or not 0 < limit < math.inf:
            raise ValueError(f"{name} of a budget: expected a positive number, got {limit!r}")


def _times(ratio: float) -> str:
    return str(round(float(ratio), 2))


def _size(count: float) -> str:
    for unit, factor in (("MB", 1e6), ("kB", 1e3)):
        if count >= factor:
            return f"{round(count / factor, 2)} {unit}"
    return f"{count} bytes"
