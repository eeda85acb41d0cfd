import math

import numpy as np
import pytest
from katas.benchmarking import Measured, draw_pareto, draw_roofline, pareto
from katas.environment import Machine

from specs.check import assert_close, rejects

MACHINE = Machine(cores=2, peak_gflops=100.0, bandwidth_gbs=20.0, overhead_us=1.0)  # the ridge is at 5 operations a byte


def test_intensity_is_operations_for_each_byte():
    """A sum of two float32 arrays: one operation on twelve bytes."""
    assert_close(Measured("sum", 1e6, 12e6, 0.1).intensity, 1 / 12, mistakes={"bytes for each operation": 12.0})


def test_gflops_is_operations_in_a_second():
    """10⁹ of them are one."""
    assert_close(Measured("product", 3e9, 1e6, 0.5).gflops, 6.0, mistakes={"operations a second": 6e9, "times seconds": 1.5})


@pytest.mark.parametrize(
    ("flops", "nbytes", "bound"), [(6e9, 1e9, "compute"), (4e9, 1e9, "memory"), (0, 1e9, "memory"), (5e9, 1e9, "compute")]
)
def test_memory_or_the_processor_sets_the_limit(flops, nbytes, bound):
    """At 100 GFLOP/s and 20 GB/s, bytes take longer than operations if there are fewer than 5 of these for each."""
    for seconds in (0.001, 1000.0):
        assert Measured("program", flops, nbytes, seconds).bound(MACHINE) == bound


@pytest.mark.parametrize(
    ("flops", "nbytes", "seconds", "reached"),
    [(6e9, 1e9, 0.12, 0.5), (4e9, 1e9, 0.1, 0.5), (0, 2e9, 0.4, 0.25), (1e9, 1e6, 0.005, 2.0)],
)
def test_a_program_reaches_a_part_of_the_roofline(flops, nbytes, seconds, reached):
    """The seconds it would take at best, by those it took. More than 1 shows that something was measured wrong."""
    got = Measured("program", flops, nbytes, seconds).reached(MACHINE)
    assert_close(got, reached, mistakes={"of the peak alone": flops / 1e11 / seconds, "the inverse": 1 / reached})


@pytest.mark.parametrize("field", ["flops", "nbytes", "seconds"])
@pytest.mark.parametrize("value", [-1.0, math.nan, math.inf, 0.0])
def test_what_can_not_be_measured_is_refused(field, value):
    """Negative, NaN or infinite figures, and no bytes or no seconds, raise a ValueError with program, field and value."""
    figures = {"flops": 1e9, "nbytes": 1e9, "seconds": 1.0, field: value}
    if (field, value) == ("flops", 0.0):
        assert Measured("a copy", **figures).gflops == 0
        return
    with rejects(ValueError, "a copy", field, str(value)):
        Measured("a copy", **figures)


def test_the_front_is_what_no_other_point_dominates():
    """Less is better in each coordinate: dominated is what another point is nowhere worse than, and somewhere better."""
    points = {"a": (1, 9), "worse than b": (4, 5), "b": (3, 4), "worse than all": (9, 9), "c": (7, 1)}
    assert pareto(points) == ["a", "b", "c"]
    assert pareto({name: points[name] for name in reversed(points)}) == ["c", "b", "a"]


def test_a_tie_in_one_coordinate_decides_nothing():
    """As good in one coordinate and worse in another is dominated."""
    assert pareto({"a": (1, 5), "b": (1, 4), "c": (2, 4)}) == ["b"]
    assert pareto({"a": (1, 10**9 + 1), "b": (1, 10**9)}) == ["b"], "float32 can't tell them apart"


def test_equal_points_stay():
    """Two points that are equal don't dominate each other; both are dropped if a third does."""
    assert pareto({"a": (2, 3), "b": (2, 3), "c": (3, 2)}) == ["a", "b", "c"]
    assert pareto({"a": (2, 3), "b": (2, 3), "c": (2, 2)}) == ["c"]


@pytest.mark.parametrize("coordinates", [1, 2, 3, 4])
def test_points_may_have_any_number_of_coordinates(draw, coordinates):
    """As by two loops over all pairs."""
    values = draw.integers(5, 40, coordinates)
    points = {f"point {i}": tuple(map(int, row)) for i, row in enumerate(values)}

    def dominates(p, q):
        return all(a <= b for a, b in zip(p, q, strict=True)) and p != q

    want = [name for name, point in points.items() if not any(dominates(other, point) for other in points.values())]
    assert pareto(points) == want
    assert len(want) < 40


def test_the_front_of_few_points():
    """No points have none, one point is its own, and infinity is a coordinate."""
    assert pareto({}) == []
    assert pareto({"alone": (3, math.inf)}) == ["alone"]
    assert pareto({"a": (3, math.inf), "b": (3, 7), "c": (-math.inf, math.inf)}) == ["b", "c"]
    assert pareto({"a": (1, math.inf), "b": (2, math.inf)}) == ["a"]
    assert pareto({"a": (1e20, 2), "b": (1e20, 1)}) == ["b"], "their sums are equal"
    assert pareto({"a": np.array([1.0, 2.0]), "b": [1, 3]}) == ["a"]
    assert pareto({"a": (np.float64(1), np.int64(2)), "b": (np.float32(1), 3)}) == ["a"]


def test_points_that_can_not_be_compared_are_refused():
    """NaN, or another number of coordinates than the first point's, raises a ValueError that contains the name."""
    with rejects(ValueError, "broken"):
        pareto({"a": (1, 2), "broken": (math.nan, 2)})
    with rejects(ValueError, "broken"):
        pareto({"broken": (1, math.nan)})
    with rejects(ValueError, "longer"):
        pareto({"a": (1, 2), "longer": (1, 2, 3)})
    with rejects(ValueError, "shorter"):
        pareto({"a": (1, 2), "shorter": (1,)})
    with rejects(ValueError, "shorter"):
        pareto({"a": np.ones(2), "shorter": np.ones(1)})


def test_the_points_stay_as_they_are():
    """The dict and its points are not changed; they may be read-only."""
    points = {name: np.array([row, 9 - row], float) for row, name in enumerate("abc")}
    for point in points.values():
        point.flags.writeable = False
    assert pareto(points) == list("abc")
    assert list(points) == list("abc")


@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_programs_can_be_drawn_below_the_roofline(suffix, tmp_path):
    """draw_roofline(path, machine, programs), which is given, draws each at its intensity; one without operations too."""
    path = tmp_path / f"roofline{suffix}"
    draw_roofline(str(path), MACHINE, [Measured("product", 2e9, 1e7, 0.03), Measured("copy", 0, 1e9, 0.1)])
    assert path.stat().st_size > 1000
    draw_roofline(str(path), MACHINE, [])


@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_points_can_be_drawn_with_their_front(suffix, tmp_path):
    """draw_pareto(path, points, labels), which is given, draws the points and the line of those that none dominates."""
    path = tmp_path / f"pareto{suffix}"
    points = {"teacher": (9.0, 0.1), "student": (2.0, 0.12), "pruned": (9.5, 0.2), "array": np.array([3.0, 0.11])}
    draw_pareto(str(path), points, ("seconds", "error"))
    assert path.stat().st_size > 1000
    draw_pareto(str(path), {}, ("seconds", "error"))
