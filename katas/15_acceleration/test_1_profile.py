import math
import threading
import time

import numpy as np
import pytest
from katas.acceleration import fast_conv2d, profile
from katas.autograd import defvjp, no_grad
from katas.environment import Machine
from katas.layers import Linear
from katas.losses import CrossEntropyLoss
from katas.spatial import conv2d
from katas.tensor import Tensor

from katas import autograd
from specs.check import assert_gradient, undisturbed

MACHINE = Machine(cores=2, peak_gflops=100.0, bandwidth_gbs=10.0, overhead_us=1.0)


def rows(call, machine=MACHINE) -> dict:
    """The rows of a profile, by their names."""
    found = profile(call, machine)
    assert len({row.op for row in found.rows}) == len(found.rows), f"a row twice: {[row.op for row in found.rows]}"
    return {row.op: row for row in found.rows}


def shares(call, name: str) -> tuple[float, float]:
    """The seconds of a row, and those of all others: the least in three profiles, since other programs take the core, too."""
    found = [rows(call) for _ in range(3)]
    others = [sum(row.seconds for op, row in profiled.items() if op != name) for profiled in found]
    return min(profiled[name].seconds for profiled in found), min(others)


def pair(draw, *shapes, dtype=np.float32) -> list[Tensor]:
    return [Tensor(draw.normal(*shape, dtype=dtype), requires_grad=True) for shape in shapes]


def test_each_operation_has_a_row_and_its_rules_another(draw):
    """Rows are named as operations are recorded; the rules of matmul are "matmul backward". All other time is "other"."""
    a, b = pair(draw, (3, 4), (4, 5))
    found = rows(lambda: (a @ b).exp().sum().backward())
    names = {"matmul", "matmul backward", "exp", "exp backward", "sum", "sum backward", "other"}
    assert set(found) == names
    assert (found["matmul"].calls, found["matmul backward"].calls, found["exp"].calls) == (1, 2, 1)


def test_calls_are_counted(draw):
    """`calls` says how many times an operation, or a rule, ran: one rule for each parent that requires a gradient."""
    a, b, c = *pair(draw, (3, 4), (4, 4)), Tensor(draw.normal(4, 4, dtype=np.float32))
    found = rows(lambda: (a @ b @ b @ c).sum().backward())
    assert found["matmul"].calls == 3
    assert found["matmul backward"].calls == 5, "c requires no gradient, so its rule is not asked"


def test_the_call_runs_once():
    """profile(call, machine) calls once, without arguments, and does not warm up."""
    calls = []
    profile(lambda: calls.append(1), MACHINE)
    assert calls == [1]


def test_nothing_is_all_other():
    """A call without operations has one row, "other", without bytes and flops, whose bound is "python"."""
    found = profile(lambda: time.sleep(0.02), MACHINE)
    assert [(row.op, row.bound) for row in found.rows] == [("other", "python")]
    assert found.seconds >= 0.02
    assert (found.rows[0].bytes, found.rows[0].flops) == (0, 0)


def test_the_seconds_of_all_rows_are_those_of_the_call(draw):
    """The rows' seconds add up to `seconds`, the wall time of the whole call; none is negative."""
    layer, x, y = Linear(30, 40), Tensor(draw.normal(200, 30, dtype=np.float32)), draw.integers(40, 200)
    start = time.perf_counter()
    found = profile(lambda: CrossEntropyLoss()(layer(x), y).backward(), MACHINE)
    wall = time.perf_counter() - start
    assert abs(sum(row.seconds for row in found.rows) - found.seconds) < 1e-9
    assert all(row.seconds >= 0 for row in found.rows)
    assert 0 < found.seconds <= wall


def test_time_outside_operations_is_other(draw):
    """What passes between forward and backward, or after both, as in an optimizer, belongs to "other", not to an operation."""
    (a,) = pair(draw, (3, 4))

    def call():
        y = a.exp().sum()
        time.sleep(0.03)
        y.backward()
        time.sleep(0.03)

    seconds, others = shares(call, "other")
    assert seconds >= 0.06
    assert others < 0.03


def test_time_inside_a_rule_is_the_rules(draw, monkeypatch):
    """A rule is measured by itself: what passes in it is not the time of its neighbors, nor "other"."""
    monkeypatch.setitem(autograd._RULES, "slowly", None)  # and so forgotten afterwards

    def slow(g, y, a):
        time.sleep(0.03)
        return g

    defvjp("slowly", slow)
    (a,) = pair(draw, (3, 4))
    seconds, others = shares(lambda: Tensor._result("slowly", a.data + 0, a).sum().backward(), "slowly backward")
    assert seconds >= 0.03
    assert others < 0.03


def test_time_inside_an_operation_is_the_operations(draw):
    """The time since the recorder was last left belongs to the operation that is recorded next."""
    (a,) = pair(draw, (3, 4))

    def slowly():
        y = a.exp()
        time.sleep(0.03)
        return Tensor._result("slowly", y.data + 0, y)

    seconds, others = shares(lambda: slowly().exp(), "slowly")
    assert seconds >= 0.03
    assert others < 0.03


def test_the_largest_comes_first(draw):
    """The rows are sorted by their seconds, the largest first."""
    a, b = pair(draw, (300, 400), (400, 500))
    found = profile(lambda: (a @ b).exp().sum().backward(), MACHINE)
    seconds = [row.seconds for row in found.rows]
    assert seconds == sorted(seconds, reverse=True)


def test_the_flops_of_a_matrix_product(draw):
    """2·m·n·k, forward and in each of its rules; in a batch for each matrix."""
    a, b = pair(draw, (3, 4), (4, 5))
    found = rows(lambda: (a @ b).sum().backward())
    assert found["matmul"].flops == 2 * 3 * 4 * 5
    assert found["matmul backward"].flops == 2 * (2 * 3 * 4 * 5)
    a, b = pair(draw, (6, 2, 3, 4), (2, 4, 5))
    assert rows(lambda: a @ b)["matmul"].flops == 6 * 2 * (2 * 3 * 4 * 5)
    a, b = pair(draw, (4,), (2, 4, 5))
    assert rows(lambda: a @ b)["matmul"].flops == 2 * (2 * 4 * 5)


@pytest.mark.parametrize("convolution", [conv2d, fast_conv2d])
def test_the_flops_of_a_convolution(convolution, draw):
    """2 for each weight and pixel that the definition multiplies, padding included, forward and in each rule.

    fast_conv2d counts what the definition takes: so both can be compared.
    """
    x, weight = pair(draw, (2, 3, 6, 8), (5, 3, 3, 3))
    name, products = convolution.__name__, 2 * 5 * 6 * 8 * 3 * 3 * 3
    found = rows(lambda: convolution(x, weight, None, 1, 1).sum().backward())
    assert found[name].flops == 2 * products
    assert found[f"{name} backward"].flops == 2 * 2 * products
    assert rows(lambda: convolution(x, weight, None, 2, 0))[name].flops == 2 * (2 * 5 * 2 * 3 * 3 * 3 * 3)


def test_the_flops_of_all_else(draw):
    """One for each element of the result, or of the gradient that a rule gives."""
    a, b = pair(draw, (3, 4), (4,))
    found = rows(lambda: (a * b).sum().backward())
    assert found["mul"].flops == 12
    assert found["mul backward"].flops == 12 + 4
    assert found["sum"].flops == 1
    assert found["sum backward"].flops == 12


def test_the_bytes_of_an_operation(draw):
    """The operands' and the result's sizes; for a rule g's, the operands' and the gradient's. float64 counts twice."""
    for size, dtype in ((4, np.float32), (8, np.float64)):
        a, b = pair(draw, (3, 4), (4, 5), dtype=dtype)
        found = rows(lambda a=a, b=b: (a @ b).sum().backward())
        assert found["matmul"].bytes == size * (12 + 20 + 15)
        assert found["matmul backward"].bytes == size * ((15 + 12 + 20 + 12) + (15 + 12 + 20 + 20))
        assert found["sum"].bytes == size * (15 + 1)
        assert found["sum backward"].bytes == size * (1 + 15 + 15)


def test_figures_add_up_over_calls(draw):
    """A row holds the sum over all calls of its operation."""
    a, b = pair(draw, (3, 4), (4, 4))
    once, thrice = rows(lambda: a @ b), rows(lambda: a @ b @ b @ b)
    for name in ("calls", "bytes", "flops"):
        assert getattr(thrice["matmul"], name) == 3 * getattr(once["matmul"], name)


@pytest.mark.parametrize(
    ("bound", "machine"),
    [
        ("arithmetic", Machine(2, peak_gflops=1e-6, bandwidth_gbs=1e6, overhead_us=1e-6)),
        ("memory", Machine(2, peak_gflops=1e6, bandwidth_gbs=1e-6, overhead_us=1e-6)),
        ("overhead", Machine(2, peak_gflops=1e6, bandwidth_gbs=1e6, overhead_us=1e6)),
    ],
)
def test_what_an_operation_is_bound_by(bound, machine, draw):
    """The largest of flops over the peak, bytes over the bandwidth, and calls times the overhead of one."""
    a, b = pair(draw, (30, 40), (40, 50))
    found = rows(lambda: (a @ b).sum().backward(), machine)
    assert {name: row.bound for name, row in found.items() if name != "other"} == dict.fromkeys(
        ["matmul", "matmul backward", "sum", "sum backward"], bound
    )
    assert found["other"].bound == "python"


def test_units_of_the_machine(draw):
    """peak_gflops and bandwidth_gbs are 10⁹ a second, overhead_us microseconds: the three limits are compared in seconds."""
    a, b = pair(draw, (10, 100), (100, 10))
    flops, nbytes = 2 * 10 * 100 * 10, 4 * (1000 + 1000 + 100)
    peak, bandwidth = flops / 5e-6 / 1e9, nbytes / 3e-6 / 1e9  # five microseconds of arithmetic, three of memory
    for overhead, bound in ((1.0, "arithmetic"), (4.0, "arithmetic"), (6.0, "overhead")):
        assert rows(lambda: a @ b, Machine(2, peak, bandwidth, overhead))["matmul"].bound == bound
    assert rows(lambda: a @ b, Machine(2, 2 * peak, bandwidth, 1.0))["matmul"].bound == "memory"
    assert rows(lambda: (a @ b, a @ b), Machine(2, peak, bandwidth, 4.9))["matmul"].bound == "arithmetic"
    assert rows(lambda: (a @ b, a @ b), Machine(2, peak, bandwidth, 5.1))["matmul"].bound == "overhead"


def test_gradients_are_those_without_a_profile(draw):
    """profile only watches: what the call computes, and the gradients, are the same."""
    a, b = pair(draw, (3, 4), (4, 5), dtype=np.float64)
    g = draw.normal(3, 5)
    profile(lambda: (a @ b).tanh().backward(g), MACHINE)
    assert_gradient(a.grad, lambda a: np.tanh(a @ b.data), a.data, g)


def installed() -> tuple:
    return Tensor._recorder, autograd._RULES, list(autograd._RULES.items())


def test_afterwards_all_is_as_before(draw):
    """The recorder and the table of rules are the same objects as before, and a second profile counts the same."""
    (a,) = pair(draw, (3, 4))
    before = installed()
    with undisturbed():
        first = profile(lambda: a.exp().sum().backward(), MACHINE)
    assert all(after is was for after, was in zip(installed()[:2], before[:2], strict=True)), "another recorder or table"
    assert installed() == before
    second = profile(lambda: a.exp().sum().backward(), MACHINE)
    figures = [sorted((row.op, row.calls, row.bytes, row.flops) for row in found.rows) for found in (first, second)]
    assert figures[0] == figures[1]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_after_an_exception_all_is_as_before(error, draw):
    """An exception in the call passes through, a KeyboardInterrupt too; the recorder and the table of rules are as before."""
    (a,) = pair(draw, (3, 4))
    before = installed()

    def call():
        a.exp()
        raise error("on purpose")

    with pytest.raises(error, match="on purpose"):
        profile(call, MACHINE)
    assert installed() == before


def test_what_is_not_recorded_is_seen_too(draw):
    """Under no_grad operations have rows as well: profile a forward pass. A recorder that is None stays None."""
    a, b = pair(draw, (3, 4), (4, 5))

    def call():
        with no_grad():
            assert not (a @ b).requires_grad

    assert rows(call)["matmul"].flops == 2 * 3 * 4 * 5
    before, Tensor._recorder = Tensor._recorder, None
    try:
        assert rows(lambda: a @ b)["matmul"].calls == 1
        assert Tensor._recorder is None
    finally:
        Tensor._recorder = before


def test_operations_that_are_new_are_seen(draw, monkeypatch):
    """A rule that is defined after katas.acceleration was imported has rows as well."""
    monkeypatch.setitem(autograd._RULES, "softplus", None)  # and so forgotten afterwards
    defvjp("softplus", lambda g, y, a: g * (1 - np.exp(-y)))
    (a,) = pair(draw, (3, 4))
    found = rows(lambda: Tensor._result("softplus", np.logaddexp(0, a.data), a).sum().backward())
    assert (found["softplus"].calls, found["softplus backward"].calls) == (1, 1)


def test_many_parents_are_rules_of_one_row(draw):
    """concatenate has one rule for all parents: each call of it counts."""
    a, b, c = pair(draw, (2, 3), (4, 3), (5, 3))
    found = rows(
        lambda: Tensor._result("concatenate", np.concatenate([a.data, b.data, c.data]), a, b, c, dim=0).sum().backward()
    )
    assert found["concatenate backward"].calls == 3
    assert found["concatenate"].bytes == 4 * 2 * 33


def test_as_text_it_is_a_table(draw):
    """str(profile): a line for each row, in its order, with its name and its bound; at most three lines more."""
    a, b = pair(draw, (3, 4), (4, 5))
    found = profile(lambda: (a @ b).sum().backward(), MACHINE)
    lines = str(found).splitlines()
    assert len(found.rows) <= len(lines) <= len(found.rows) + 3
    named = [line for line in lines if any(line.lstrip().startswith(row.op) for row in found.rows)]
    assert len(named) == len(found.rows)
    for row, line in zip(found.rows, named, strict=True):
        assert row.op in line
        assert row.bound in line, f"{line!r} does not say {row.bound!r}"
    assert max(map(len, lines)) < 120


def test_figures_are_numbers(draw):
    """calls, bytes and flops are integers, seconds a float; a row can be unpacked in the order of the README."""
    (a,) = pair(draw, (3, 4))
    for op, calls, seconds, nbytes, flops, bound in profile(lambda: a.exp(), MACHINE).rows:
        assert (type(op), type(bound)) == (str, str)
        assert all(isinstance(value, int) for value in (calls, nbytes, flops))
        assert math.isfinite(seconds)


def test_operations_of_other_threads_are_not_counted(draw):
    """Their seconds pass at the same time: they are part of no row but `other`."""
    a = Tensor(draw.normal(20, 20), requires_grad=True)

    def call():
        thread = threading.Thread(target=lambda: (a @ a).exp().sum().backward())
        thread.start()
        thread.join()
        a + a

    rows = {row.op: row.calls for row in profile(call, MACHINE).rows}
    assert rows.keys() == {"add", "other"}
    assert a.grad is not None


def test_an_array_that_is_two_operands_counts_once(draw):
    """x * x reads one array and writes one."""
    x = Tensor(draw.normal(10, 10))
    assert rows(lambda: x * x)["mul"].bytes == 2 * x.data.nbytes
