"""The meters know what they are given: known answers, every kind of waste they are there to catch, and no flakes."""

import gc
import json
import math
import subprocess
import sys
import threading
import time
import tracemalloc
import weakref
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue

import numpy as np
import pytest
from threadpoolctl import threadpool_info

from specs.check import Budget, budgets, count_steps, cpu_ratio, measure_bytes

# Works on both the core and the memory bus, and ends with the tests: their end of its input is closed then.
BUSY = """
import os, sys, threading
import numpy as np
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
a = np.zeros(4_000_000)
print("busy", flush=True)
while True:
    a += 1
"""


@pytest.fixture
def load():
    """Both cores are busy."""
    command = [sys.executable, "-c", BUSY]
    workers = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    try:
        assert [worker.stdout.readline() for worker in workers] == ["busy\n", "busy\n"]
        yield
        assert [worker.poll() for worker in workers] == [None, None], "the load ended before the measurement did"
    finally:
        for worker in workers:
            worker.kill()
            worker.communicate()


@pytest.fixture
def x():
    return np.random.default_rng(0).normal(size=(20_000, 3))


def loop(n):
    total = 0
    for i in range(n):
        total += i
    return total


def neighbour(v):
    return v + 1


def in_two_threads(call, *args):
    threads = [threading.Thread(target=call, args=args) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def hooks():
    """Whatever a meter could leave behind."""
    tools = [sys.monitoring.get_tool(tool) for tool in range(6)] if sys.version_info >= (3, 12) else []
    return sys.gettrace(), threading.gettrace(), tools, gc.isenabled(), tracemalloc.is_tracing()


class Once:
    """A call that works the given number of times, then raises."""

    def __init__(self, works):
        self.works = works

    def __call__(self):
        if not self.works:
            raise ZeroDivisionError("on purpose")
        self.works -= 1


# steps: known answers


def test_steps_of_a_loop_grow_with_its_iterations():
    """1000 iterations against 100 are nearly ten times the steps."""
    assert Budget().steps(lambda: loop(100), lambda: loop(1000), 11) == pytest.approx(10, rel=0.02)


def test_steps_of_vectorised_code_do_not_grow(x):
    """Whole-array code takes the same number of steps at every size."""
    small = x[:100]
    few, many = count_steps(lambda: np.tanh(small).mean(0), lambda: np.tanh(x).mean(0))
    assert few == many > 10


def test_a_call_that_is_C_alone_takes_no_steps():
    """No Python code, no steps, and a growth of 1."""
    assert count_steps(dict, dict) == [0, 0]
    assert Budget().steps(dict, dict, 1) == 1


def test_steps_are_the_same_integer_on_every_repeat_under_load(load, x):
    """The load of the machine does not change a count of steps."""
    calls = (lambda: loop(500), lambda: np.apply_along_axis(np.sum, 1, x[:50]), lambda: x.mean(0))
    assert len({tuple(count_steps(*calls)) for _ in range(20)}) == 1


def test_steps_of_threads_are_the_same_integer_on_every_repeat_under_load(load):
    """Threads wait for each other for as long as the scheduler likes; their own work is counted alone."""

    def pool(n):
        with ThreadPoolExecutor(2) as executor:
            return list(executor.map(loop, [n, n]))

    assert len({tuple(count_steps(lambda: in_two_threads(loop, 300), lambda: pool(300))) for _ in range(20)}) == 1


def test_steps_do_not_depend_on_how_many_workers_a_pool_starts():
    """A pool starts its second worker only if the first is still busy, which is the scheduler's choice."""

    def work(gate):
        gate.wait()
        return loop(300)

    def pool(first_gate, pause):
        with ThreadPoolExecutor(2) as executor:
            first = executor.submit(work, first_gate)
            time.sleep(pause)
            second = executor.submit(work, first_gate)
            workers.append(len(executor._threads))
            first_gate.set()
            return first.result() + second.result()

    def opened():
        gate = threading.Event()
        gate.set()
        return pool(gate, 0.3)  # the first worker is idle again

    def closed():
        gate = threading.Event()
        gate.is_set()  # as many steps as above
        return pool(gate, 0.0)

    workers = []
    one, two = count_steps(opened, closed)
    assert workers == [1, 2, 1, 2]
    assert one == two


def test_steps_in_threads_are_counted():
    """A loop moved into two threads takes all of its steps there."""
    alone, threaded = count_steps(lambda: loop(1000), lambda: in_two_threads(loop, 1000))
    assert threaded == pytest.approx(2 * alone, rel=0.05)


def test_steps_in_the_threads_of_a_pool_that_stays_are_counted():
    """A pool that the warm-up call filled is metered in the calls after it."""
    with ThreadPoolExecutor(1) as pool:
        few, many = count_steps(lambda: pool.submit(loop, 100).result(), lambda: pool.submit(loop, 1000).result())
    assert many / few == pytest.approx(10, rel=0.05)


def test_steps_of_threads_that_were_there_before_are_not_counted():
    """A test runner's own threads do not disturb a count, however much they do in the meantime."""
    requests, answers = SimpleQueue(), SimpleQueue()

    def serve():
        for n in iter(requests.get, None):
            answers.put(loop(n))

    def ask(n):
        requests.put(n)
        answers.get()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        little, much = count_steps(lambda: ask(1), lambda: ask(1000))
        assert little == much
    finally:
        requests.put(None)
        thread.join()


def test_steps_leave_out_what_happens_on_the_first_call_only():
    """Lazy imports and caches are filled by a warm-up call."""
    cache = {}

    def cached():
        if "table" not in cache:
            cache["table"] = [i * i for i in range(1000)]

    assert count_steps(cached)[0] < 30


def test_steps_leave_out_finalizers_run_by_the_garbage_collector():
    """No collection falls into a metered call, however much it allocates."""
    finalized, seen = [], []

    class Cycle:
        def __init__(self):
            self.me = self

        def __del__(self):
            finalized.append(1)

    def litter():
        for _ in range(3000):
            Cycle()
        seen.append(len(finalized))

    gc.collect()
    count_steps(litter)
    assert seen == [0, 0]
    gc.collect()
    assert len(finalized) == 6000


# steps: what they catch


@pytest.mark.parametrize(
    "waste",
    [
        pytest.param(lambda x: sum(abs(row[0]) for row in x), id="a generator over rows"),
        pytest.param(lambda x: np.array([v * v for v in x[:, 0]]), id="a comprehension"),
        pytest.param(lambda x: [np.tanh(row) for row in x], id="array operations row by row"),
        pytest.param(lambda x: np.vectorize(lambda v: v + 1)(x), id="np.vectorize of Python code"),
        pytest.param(lambda x: np.apply_along_axis(np.sum, 1, x), id="apply_along_axis"),
        pytest.param(lambda x: np.fromiter(map(neighbour, x[:, 0]), float), id="map of a function"),
    ],
)
def test_steps_catch_loops_over_elements(waste, x):
    """A loop over elements fails a budget of steps, whatever it is written as, and the message asks for it."""
    with pytest.raises(AssertionError, match=r"steps grew [\d.]+ times where 1.5 are allowed .*is there a Python loop"):
        Budget().steps(lambda: waste(x[:50]), lambda: waste(x[:500]), 1.5)


# steps: what they leave behind


def test_the_trace_functions_are_restored():
    """Whoever traced before, coverage or a debugger, traces afterwards."""

    def trace(frame, event, arg):
        return None

    before = sys.gettrace(), threading.gettrace()
    sys.settrace(trace)
    threading.settrace(trace)
    try:
        count_steps(lambda: loop(10))
        assert (sys.gettrace(), threading.gettrace()) == (trace, trace)
    finally:
        sys.settrace(before[0])
        threading.settrace(before[1])


@pytest.mark.skipif(sys.version_info < (3, 12), reason="there is no sys.monitoring")
def test_monitoring_tools_that_are_all_taken_are_named():
    """Without a free tool of sys.monitoring no steps are counted: the error says who has them, and what to do."""
    free = [tool for tool in range(6) if sys.monitoring.get_tool(tool) is None]
    for tool in free:
        sys.monitoring.use_tool_id(tool, f"profiler {tool}")
    try:
        with pytest.raises(RuntimeError, match=r"all 6 tools of sys\.monitoring are taken \(by .*profiler 5\): run without"):
            count_steps(lambda: loop(10))
    finally:
        for tool in free:
            sys.monitoring.free_tool_id(tool)
    assert count_steps(lambda: loop(10))[0] > 0


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="sys.monitoring counts, whatever sys.settrace does")
def test_a_call_that_replaces_the_trace_function_is_not_counted():
    """A count that ended half-way, at a breakpoint, is an error that names sys.settrace; whoever traced before traces again."""
    before = hooks()
    with pytest.raises(RuntimeError, match=r"sys\.settrace was called .*breakpoint"):
        count_steps(lambda: sys.settrace(None))
    assert hooks() == before


@pytest.mark.parametrize("works", [0, 1], ids=["in the warm-up", "in the metered call"])
@pytest.mark.parametrize("meter", [count_steps, measure_bytes, lambda call: cpu_ratio(call, call)])
def test_an_exception_passes_through_and_leaves_nothing_behind(meter, works):
    """What a call raises reaches the spec unchanged, and no hook stays installed."""
    before = hooks()
    with pytest.raises(ZeroDivisionError, match="on purpose"):
        meter(Once(works))
    assert hooks() == before


@pytest.mark.parametrize("meter", [count_steps, measure_bytes, lambda call: cpu_ratio(call, call)])
def test_the_garbage_collector_is_left_on_or_off_as_it_was(meter):
    """A meter restores the garbage collector's state, it does not impose one."""
    gc.disable()
    try:
        meter(lambda: loop(10))
        assert not gc.isenabled()
    finally:
        gc.enable()
    meter(lambda: loop(10))
    assert gc.isenabled()


def test_a_meter_works_inside_a_metered_call():
    """A meter gets along with another one that is at work."""
    counts = []
    outer = count_steps(lambda: counts.append(count_steps(lambda: loop(100))))
    assert counts == [count_steps(lambda: loop(100))] * 2
    assert outer[0] > 0


# bytes: known answers


def test_peak_bytes_are_those_of_the_arrays_alive_at_once():
    """An array and one temporary of its size make twice its bytes; a result that is dropped is not retained."""
    x = np.zeros(100_000)
    peak, retained = measure_bytes(lambda: np.sqrt(x + 1))
    assert peak == pytest.approx(2 * x.nbytes, rel=0.01)
    assert retained < 5_000


def test_a_view_takes_no_bytes(x):
    """A view passes a budget that its copy exceeds."""
    Budget().bytes(lambda: x[::2].T, peak=5_000, retained=5_000)
    with pytest.raises(AssertionError, match=r"peak 24\d\.\d+ kB, allowed 5\.0 kB: is there a copy"):
        Budget().bytes(lambda: x[::2].copy().T, peak=5_000)


def test_bytes_leave_out_what_the_first_call_allocates():
    """A buffer that is filled once and used again is not charged to later calls."""
    buffers = []

    def call():
        if not buffers:
            buffers.append(np.zeros(100_000))
        buffers[0] += 1

    assert max(measure_bytes(call)) < 5_000


def test_garbage_of_the_warm_up_is_gone_before_the_metered_call():
    """A weak cache that only a cycle of the warm-up call keeps filled is empty again."""
    cache = weakref.WeakValueDictionary()

    def call():
        if "node" not in cache:
            node = Node()
            node.me = node
            cache["node"] = node

    assert measure_bytes(call)[1] > 80_000


@pytest.mark.parametrize("tracing", [False, True])
def test_an_activation_kept_from_the_last_call_is_retained(tracing):
    """Memory that the call leaves behind counts, even where it replaces what the call before left."""
    kept = {}

    def forward():
        kept["x"] = np.zeros(100_000)

    if tracing:
        tracemalloc.start()
    try:
        with pytest.raises(AssertionError, match=r"retained 800\.\d+ kB, allowed 10.0 kB: what is kept alive"):
            Budget().bytes(forward, retained=10_000)
        assert tracemalloc.is_tracing() == tracing
    finally:
        tracemalloc.stop()


def test_bytes_are_nearly_the_same_under_load(load, x):
    """The load of the machine does not change what is allocated, but for some hundred bytes."""
    peaks, retained = zip(*(measure_bytes(lambda: np.tanh(x) + 1) for _ in range(20)), strict=True)
    assert max(peaks) - min(peaks) < 2_000
    assert max(retained) < 2_000


# bytes: what they catch


def test_bytes_catch_boxed_floats(x):
    """list(map(math.exp, x)) boxes every element, where the array has 8 bytes for it."""
    flat = x.ravel()
    Budget().bytes(lambda: np.exp(flat), peak=1.1 * flat.nbytes)
    with pytest.raises(AssertionError, match="peak"):
        Budget().bytes(lambda: np.array(list(map(math.exp, flat))), peak=2 * flat.nbytes)


def test_bytes_catch_a_one_hot_matrix():
    """One-hot times matrix holds a number for every word of the vocabulary where a gather holds none."""
    table, tokens = np.zeros((1000, 8)), np.arange(500)
    due = 500 * 8 * 8
    Budget().bytes(lambda: table[tokens], peak=2 * due)
    with pytest.raises(AssertionError, match=r"peak 12\.0 MB"):
        Budget().bytes(lambda: np.eye(1000)[tokens] @ table, peak=2 * due)


class Node:
    def __init__(self, *parents):
        self.data, self.parents, self.backward = np.zeros(10_000), parents, None


def test_bytes_catch_a_leaked_graph():
    """A graph whose closures hold their own nodes is a cycle: nothing frees it before the garbage collector comes."""

    def leaking():
        node = Node()
        for _ in range(5):
            node = Node(node)
            node.backward = lambda node=node: node.data
        return float(node.data[0])

    def tidy():
        node = Node()
        for _ in range(5):
            node = Node(node)
        return float(node.data[0])

    Budget().bytes(tidy, retained=10_000)
    with pytest.raises(AssertionError, match=r"retained 48\d\.\d+ kB, allowed 10.0 kB"):
        Budget().bytes(leaking, retained=10_000)


# time


@pytest.mark.time
@pytest.mark.parametrize(
    ("waste", "due"),
    [
        pytest.param(np.sort, np.sum, id="a sort where a sum will do"),
        pytest.param(lambda x: x.astype(object) * 2, lambda x: x * 2, id="object arithmetic"),
        pytest.param(lambda x: np.array(list(map(math.exp, x))), np.exp, id="list(map(math.exp, x))"),
    ],
)
def test_time_catches_slow_C_that_takes_no_steps(waste, due, x):
    """A slow path inside C is invisible to steps and fails a budget of time."""
    flat, small = x.ravel(), x[:30].ravel()
    assert Budget().steps(lambda: waste(small), lambda: waste(flat), 1) == 1
    with pytest.raises(AssertionError, match=r"times the CPU time of the baseline, allowed 3\.0"):
        Budget().time(lambda: waste(flat), lambda: due(flat), 3)


@pytest.mark.time
def test_time_passes_equal_calls_and_fails_ten_times_the_work():
    """The same work is within 1.5 times itself; ten times the work is about ten times the time."""
    assert Budget().time(lambda: loop(2000), lambda: loop(2000), 1.5) > 1 / 1.5
    budget = Budget()
    with pytest.raises(AssertionError, match=r"^a loop: [\d.]+ times the CPU time of the baseline, allowed 3\.0$"):
        budget.time(lambda: loop(20_000), lambda: loop(2000), 3, what="a loop")
    assert budget.figures[0]["measured"] == pytest.approx(10, rel=0.4)


@pytest.mark.time
def test_time_is_stable_under_load(load, x):
    """With both cores and the memory bus busy, one work is told from two."""
    once, twice = (lambda: np.exp(x)), (lambda: (np.exp(x), np.exp(x)))
    assert Budget().time(once, once, 1.5) > 1 / 1.5
    assert Budget().time(twice, once, 2.8) > 1.4


@pytest.mark.time
def test_time_sees_what_other_threads_compute(x):
    """The same work done in each of two threads takes twice the CPU time, whatever the wall clock says."""
    assert cpu_ratio(lambda: in_two_threads(np.exp, x), lambda: np.exp(x)) > 1.5


@pytest.mark.time
def test_time_of_waiting_is_not_charged_and_does_not_hang():
    """A call that sleeps hardly computes; it is not repeated until it has."""
    naps = []

    def nap():
        naps.append(1)
        time.sleep(0.1)

    assert Budget().time(nap, lambda: loop(100_000), 0.5) < 0.5
    assert len(naps) < 15


def test_time_is_measured_with_one_BLAS_thread():
    """A matrix product gets no second core, whose CPU time would be charged too."""
    threads = set()
    cpu_ratio(lambda: threads.update(pool["num_threads"] for pool in threadpool_info()), lambda: loop(10))
    assert threads == {1}


def test_time_lets_each_side_go_first_in_turn(monkeypatch):
    """Going first costs something, so neither side always does."""
    monkeypatch.setattr(budgets, "ROUNDS", 2)
    monkeypatch.setattr(budgets, "PATIENCE", math.inf)
    order = []
    cpu_ratio(lambda: order.append(loop(200_000) and "call"), lambda: order.append(loop(200_000) and "against"))
    assert order[-4:] == ["against", "call", "call", "against"]


@pytest.mark.parametrize(("ratios", "passes"), [([2.0], True), ([9.0, 8.0, 2.0], True), ([9.0, 7.0, 8.0, 2.0], False)])
def test_time_fails_only_after_three_measurements(monkeypatch, ratios, passes):
    """A disturbed measurement is repeated, twice at most; the best one counts."""
    measurements = iter(ratios)
    monkeypatch.setattr(budgets, "cpu_ratio", lambda *_: next(measurements))
    budget = Budget()
    if passes:
        assert budget.time(print, print, 3) == 2.0
    else:
        with pytest.raises(AssertionError, match=r"^7\.0 times the CPU time of the baseline, allowed 3\.0$"):
            budget.time(print, print, 3)
    assert [figure["measured"] for figure in budget.figures] == [min(ratios[:3])]
    assert list(measurements) == ratios[3:]


# records and refusals


def test_every_figure_is_recorded_in_plain_types():
    """A report draws each measurement: its kind, its name, the figure and the limit, a failing one too."""
    budget, x = Budget(), np.zeros(1000)
    budget.steps(lambda: loop(1), lambda: loop(1), np.float32(2), what="a loop")
    budget.bytes(lambda: x + 1, peak=20_000, retained=np.int64(5_000), what="a sum")
    with pytest.raises(AssertionError, match=r"^a copy: peak [\d.]+ kB, .*; retained \d+ bytes, ") as failure:
        budget.bytes(lambda: x.copy(), peak=100, retained=1, what="a copy")
    budget.bytes(lambda: x[1:], retained=5_000)
    assert str(failure.value).count("allowed") == 2
    assert json.loads(json.dumps(budget.figures)) == budget.figures
    assert [(f["measure"], f["what"], f["limit"]) for f in budget.figures] == [
        ("steps", "a loop", 2.0),
        ("bytes", "a sum peak", 20_000.0),
        ("bytes", "a sum retained", 5_000.0),
        ("bytes", "a copy peak", 100.0),
        ("bytes", "a copy retained", 1.0),
        ("bytes", "retained", 5_000.0),
    ]
    assert [f["measured"] > f["limit"] for f in budget.figures] == [False, False, False, True, True, False]


@pytest.mark.time
def test_a_figure_is_returned_as_it_is_recorded():
    """What a measure returns is what the report shows."""
    budget = Budget()
    growth = budget.steps(lambda: loop(10), lambda: loop(20), 3)
    peak, retained = budget.bytes(lambda: np.zeros(1000), peak=20_000, retained=5_000)
    ratio = budget.time(lambda: loop(1000), lambda: loop(1000), 3)
    assert [figure["measured"] for figure in budget.figures] == [growth, peak, retained, ratio]


@pytest.mark.parametrize("limit", [0, -1, math.nan, math.inf, "2", None])
@pytest.mark.parametrize("measure", ["steps", "time"])
def test_a_limit_that_is_no_positive_number_is_refused(measure, limit):
    """A limit that every call or none would meet is an error of the spec."""
    budget = Budget()
    with pytest.raises(ValueError, match="limit of a budget: expected a positive number, got"):
        getattr(budget, measure)(dict, dict, limit)
    assert budget.figures == []


def test_bytes_need_a_positive_limit():
    """A budget of bytes has a limit for the peak, for what is retained, or both."""
    with pytest.raises(ValueError, match="got neither"):
        Budget().bytes(dict)
    with pytest.raises(ValueError, match="peak of a budget: expected a positive number, got 0"):
        Budget().bytes(dict, peak=0)
    with pytest.raises(ValueError, match="retained of a budget: expected a positive number, got -5"):
        Budget().bytes(dict, peak=1, retained=-5)


def test_a_value_instead_of_a_call_is_refused():
    """A budget measures functions: f(x) where lambda: f(x) is meant is named."""
    for measure in (
        lambda budget: budget.steps(dict, loop(10), 2),
        lambda budget: budget.time(loop(10), dict, 2),
        lambda budget: budget.bytes(loop(10), peak=10),
    ):
        with pytest.raises(ValueError, match="expected a function without arguments, got 45"):
            measure(Budget())
