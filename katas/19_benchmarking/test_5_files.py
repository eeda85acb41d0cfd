import json
import math

import numpy as np
import pytest
from katas.benchmarking import Benchmark, Clock, Result, Timing

from specs.check import rejects
from specs.oracles.benchmarking import World

TIMINGS = {
    "loop": Timing(1, 0.5, tuple(0.2 + 0.001 * i for i in range(9)), tuple(0.1 + 1e-17 * i for i in range(9))),
    "größer | 大": Timing(64, 1 / 3, (1 / 3,) * 9, (0.0,) * 9),
    "once": Timing(1, 7.0, (7.0,), (6.5,)),
}


def table(text: str) -> list[list[str]]:
    """The cells of a Markdown table, without the line of dashes. A `|` behind a backslash is part of its cell."""
    lines = text.strip("\n").split("\n")
    assert set(lines[1]) <= set("|-: "), f"the second line of a table is dashes, not {lines[1]!r}"
    rows = [line.strip().removeprefix("|").removesuffix("|").replace("\\|", "\0").split("|") for line in lines]
    assert len({len(row) for row in rows}) == 1, f"the rows have {[len(row) for row in rows]} cells"
    return [[cell.strip().replace("\0", "|") for cell in row] for row in rows[:1] + rows[2:]]


def timing(wall: float, cpu: float = 1.0) -> Timing:
    return Timing(1, 1.0, (wall,) * 9, (cpu,) * 9)


def test_json_has_every_figure():
    """to_json: an object with one for each work, with number, first, wall and cpu, that any reader of JSON can read."""
    found = json.loads(Result(TIMINGS).to_json(), parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert list(found) == list(TIMINGS)
    assert found["once"] == {"number": 1, "first": 7.0, "wall": [7.0], "cpu": [6.5]}
    assert found["loop"]["wall"] == list(TIMINGS["loop"].wall)
    assert found["größer | 大"]["first"] == 1 / 3


def test_json_can_be_read_again():
    """from_json(to_json()) is an equal Result, in the same order, digit by digit, with tuples of times."""
    found = Result.from_json(Result(TIMINGS).to_json())
    assert list(found.timings) == list(TIMINGS)
    for name, each in found.timings.items():
        assert isinstance(each, Timing), f"{name} has no Timing, but a {type(each).__name__}"
        assert isinstance(each.wall, tuple), f"wall is a {type(each.wall).__name__}, expected a tuple"
        assert isinstance(each.cpu, tuple), f"cpu is a {type(each.cpu).__name__}, expected a tuple"
    assert found == Result(TIMINGS)
    assert Result.from_json(Result({}).to_json()) == Result({})


def test_what_was_measured_can_be_written():
    """A Benchmark's result has a JSON, also if number is NumPy's, and compares as before."""
    world = World(1)
    works = {"a": world.work(0.01), "b": world.work(0.012), "slow": world.work(6.0)}
    result = Benchmark(works, rounds=12, number=np.int64(2), clock=Clock(world.wall, world.cpu)).run()
    again = Result.from_json(result.to_json())
    assert again == result
    assert again.compare("a", "b") == result.compare("a", "b")


def test_markdown_is_a_table_with_a_row_for_each_work():
    """A header, dashes, then name, wall, CPU, ratio, interval and verdict of each work, in order, beside the baseline."""
    result = Result({"fast": timing(0.002, 0.001), "slow": timing(0.5, 0.25), "base": timing(0.1, 0.05)})
    header, *rows = table(result.to_markdown("base"))
    assert len(header) == 6
    assert rows == [
        ["fast", "2 ms", "1 ms", "0.02", "0.02 to 0.02", "faster"],
        ["slow", "500 ms", "250 ms", "5", "5 to 5", "slower"],
        ["base", "100 ms", "50 ms", "1", "1 to 1", "baseline"],
    ]


def test_the_baseline_is_an_equal_name():
    """The names of what was read from a file are strings of their own."""
    result = Result.from_json(Result({"fast": timing(0.002), "base": timing(0.1)}).to_json())
    assert [row[5] for row in table(result.to_markdown("".join(["ba", "se"])))[1:]] == ["faster", "baseline"]


def test_the_times_are_medians():
    """Of the rounds, by both clocks."""
    result = Result({"a": Timing(1, 9.0, (1.0, 2.0, 90.0), (3.0, 4.0, 80.0))})
    _, row = table(result.to_markdown("a"))
    assert row[1:3] == ["2 s", "4 s"], "the median is neither the mean nor the least"
    result = Result({"a": Timing(1, 9.0, (8.0, 1.0, 2.0, 4.0), (1.0, 1.0, 2.0, 2.0))})
    _, row = table(result.to_markdown("a"))
    assert row[1:3] == ["3 s", "1.5 s"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (86400.0, "86400 s"),
        (1234.0, "1230 s"),
        (999.6, "1000 s"),
        (12.345, "12.3 s"),
        (1.0, "1 s"),
        (0.9996, "1 s"),
        (0.99949, "999 ms"),
        (0.0123456, "12.3 ms"),
        (1e-3, "1 ms"),
        (9.996e-4, "1 ms"),
        (0.000456, "456 µs"),
        (1.5e-6, "1.5 µs"),
        (9.5e-7, "950 ns"),
        (3.14159e-9, "3.14 ns"),
        (2.5e-10, "0.25 ns"),
    ],
)
def test_a_time_has_three_digits_and_a_unit(seconds, text):
    """s, ms, µs or ns, the largest of which the time, rounded to three digits, has at least one."""
    _, row = table(Result({"a": timing(seconds, seconds)}).to_markdown("a"))
    assert row[1:3] == [text, text]


def test_no_cpu_time_is_0_ns():
    """A work that sleeps has a row too."""
    _, row = table(Result({"a": timing(1.0, 0.0)}).to_markdown("a"))
    assert row[2] == "0 ns"


def test_ratios_have_four_digits():
    """The ratio and the ends of the interval."""
    times = [1.0, 1.23456, 1.33333, 1.5, 1.6, 1.7, 1.8, 1.9, 2.0]
    result = Result({"base": timing(1.0), "b": Timing(1, 1.0, tuple(times), tuple(times))})
    found = result.compare("base", "b")
    assert table(result.to_markdown("base"))[2][3:5] == [f"{found.ratio:.4g}", f"{found.low:.4g} to {found.high:.4g}"]
    assert table(result.to_markdown("base"))[2][3] == "1.6"
    found = result.compare("base", "b", confidence=0.5)
    for half in (0.5, np.float64(0.5)):
        assert table(result.to_markdown("base", confidence=half))[2][4] == f"{found.low:.4g} to {found.high:.4g}"


@pytest.mark.parametrize(("confidence", "percent"), [(0.99, "99%"), (0.5, "50%"), (0.995, "99.5%")])
def test_the_header_has_the_confidence(confidence, percent):
    """In percent, as the text of a Comparison has it: without it, an interval says nothing."""
    header = table(Result({"a": timing(1.0)}).to_markdown("a", confidence=confidence))[0]
    assert percent in " ".join(header), f"{percent} is missing in the header: {header}"


def test_the_cpu_can_be_compared():
    """measure="cpu": the ratio is that of the CPU times, and the columns are the same."""
    result = Result({"base": timing(1.0, 2.0), "b": timing(1.0, 3.0)})
    assert table(result.to_markdown("base", "cpu"))[2] == ["b", "1 s", "3 s", "1.5", "1.5 to 1.5", "slower"]
    assert table(result.to_markdown("base"))[2] == ["b", "1 s", "3 s", "1", "1 to 1", "no difference"]


def test_a_slow_work_has_a_row_that_says_so():
    """A work that was timed once, beside a baseline with many rounds or as the baseline: (0, ∞), "too few rounds"."""
    result = Result({"once": Timing(1, 50.0, (50.0,), (40.0,)), "b": timing(2.0)})
    assert table(result.to_markdown("b"))[1] == ["once", "50 s", "40 s", "25", "0 to inf", "too few rounds"]
    assert table(result.to_markdown("once"))[1][5] == "baseline"
    assert table(result.to_markdown("once"))[2][3:] == ["0.04", "0 to inf", "too few rounds"]


def test_a_name_breaks_no_table():
    """A `|` in a name has a backslash before it, and a line break is a space, in the header too."""
    name = "a | b\nof c"
    result = Result({name: timing(1.0), "d": timing(2.0)})
    rows = table(result.to_markdown(name))
    assert rows[1][0] == "a | b of c"
    assert len(rows) == 3
    assert "\\|" in result.to_markdown("d")


@pytest.mark.parametrize("line_break", ["\n", "\r", "\r\n"])
def test_a_name_stays_in_its_line(line_break):
    """A line break of any system is a space. Other spaces stay as they are."""
    text = Result({f"a{line_break}b": timing(1.0), "c  d": timing(2.0), "c d": timing(3.0)}).to_markdown("c d")
    assert len(text.splitlines()) == 5
    names = [row[0] for row in table(text)[1:]]
    assert names[0].split() == ["a", "b"]
    assert names[1:] == ["c  d", "c d"]


def test_a_baseline_must_have_been_measured():
    """An unknown baseline or measure raises a ValueError that contains it."""
    result = Result({"a": timing(1.0)})
    with rejects(ValueError, "nothing"):
        result.to_markdown("nothing")
    with rejects(ValueError, "minutes"):
        result.to_markdown("a", "minutes")
    with rejects(ValueError, "confidence", "nan"):
        result.to_markdown("a", confidence=math.nan)
    with rejects(ValueError, "nothing"):
        Result({}).to_markdown("nothing")
