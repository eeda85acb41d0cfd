"""What a red spec says to a learner, compared word for word."""

import re
import sys
import textwrap

import numpy as np
import pytest

from specs.meta.box import Box
from specs.plugin import report

pytestmark = pytest.mark.timeout(60)
LAYERS = """class Layer:
    def __init__(self, size):
        self.size = size

    def forward(self, x):
        return x * self.size


class Other:
    def forward(self, x):
        return x


class Row:
    def __init__(self, numbers):
        self.numbers = numbers

    def __getitem__(self, index):
        return self.numbers[index]

    def __iter__(self):
        return iter(self.numbers[1:])


def scale(x, by):
    return x + by


def main():
    pass


class Base:
    def step(self, x):
        return self.update(x)

    def update(self, x):
        raise TypeError

    def same(self, x):
        return x


class Thrice(Base):
    def update(self, x):
        return 3 * self.same(x)


class Idle(Base):
    def update(self, x):
        return x
"""
SPECS = '''import numpy as np
import pytest
from katas.two import Layer, Other, Row, Thrice, scale
from specs.check import assert_close, rejects


def test_a():
    """Twice as much."""
    unrelated = np.zeros((2, 3))
    x = np.array([1.0, 3.0])
    y = scale(x, 2.0)
    assert_close(y, 2 * x, mistakes={"added, not multiplied": x + 2})


def test_b():
    """A layer is found by its class, though both have the method."""
    layer = Layer(3)
    assert_close(layer.forward(np.ones(2)), [2.0, 2.0])


def test_c():
    """Strings are refused."""
    with rejects(TypeError, "text"):
        scale("te", "xt")


def test_d():
    """A message of the spec's own stands alone."""
    assert scale(1, 2) == 2, "1 times 2 is 2"


def test_e(draw):
    """An error's place is the learner's line."""
    scale(draw.normal(2), "x")


NUMBERS = {"two": [1, 2]}


def total(numbers):
    return sum(number for number in Row(numbers))


def test_f():
    """What a helper calls is found, and what a dict does is not the learner's."""
    assert total(NUMBERS["two"]) == 3


def test_g():
    """A function of the spec's own is not the learner's, whatever its name is."""

    def main():
        return scale(1, 2)
    assert main() == 2, "1 times 2 is 2"


def test_h():
    """What a subclass writes stands before the method that calls it."""
    assert Thrice().step(1) == 2
'''
REPORTS = [
    """
    02.1  Twice as much.
          katas/02_two/two.py:25 in scale
            unrelated = np.zeros((2, 3))
            x = np.array([1.0, 3.0])
            y = scale(x, 2.0)
          > assert_close(y, 2 * x, mistakes={"added, not multiplied": x + 2})
            x = float64 (2,): [1., 3.]
            y = float64 (2,): [3., 5.]
          expected [2., 6.]   got [3., 5.]   first differing index (0,)
          Looks like: added, not multiplied.
    """,
    """
    02.1  A layer is found by its class, though both have the method.
          katas/02_two/two.py:5 in Layer.forward
            layer = Layer(3)
          > assert_close(layer.forward(np.ones(2)), [2.0, 2.0])
          expected [2., 2.]   got [3., 3.]   first differing index (0,)
          Looks like: off by a constant factor of exactly 3/2.
    """,
    """
    02.1  Strings are refused.
          katas/02_two/two.py:25 in scale
          > with rejects(TypeError, "text"):
                scale("te", "xt")
          expected a TypeError that names text
          got no error at all
          Looks like: bad input is let through.
    """,
    """
    02.1  A message of the spec's own stands alone.
          katas/02_two/two.py:25 in scale
          > assert scale(1, 2) == 2, "1 times 2 is 2"
          1 times 2 is 2
    """,
    None,
    """
    02.1  What a helper calls is found, and what a dict does is not the learner's.
          katas/02_two/two.py:21 in Row.__iter__
          > assert total(NUMBERS["two"]) == 3
          assert 2 == 3
    """,
    """
    02.1  A function of the spec's own is not the learner's, whatever its name is.
          katas/02_two/two.py:25 in scale
            def main():
                return scale(1, 2)
          > assert main() == 2, "1 times 2 is 2"
            main = main
          1 times 2 is 2
    """,
    """
    02.1  What a subclass writes stands before the method that calls it.
          katas/02_two/two.py:45 in Thrice.update
          katas/02_two/two.py:34 in Base.step
          > assert Thrice().step(1) == 2
          assert 3 == 2
    """,
]


def test_reports_read_as_they_should(tmp_path):
    box = Box(tmp_path / "box", {"01_one": None, "02_two": LAYERS})
    box.write("katas/02_two/test_1_numbers.py", SPECS)
    box.pytest("katas/02_two")
    found = [spec["why"] for spec in box.results()]
    for got, text in zip(found, REPORTS, strict=True):
        assert text is None or got == textwrap.dedent(text).strip()
    assert "katas/02_two/two.py:26 in scale\n" in found[4]
    assert "UFuncTypeError" in found[4]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (np.arange(3), "int64 (3,): [0, 1, 2]"),
        (np.zeros((2, 0), np.float32), "float32 (2, 0): []"),
        ([[1, 2.5], [3, 4]], "[[1. , 2.5], [3. , 4. ]]"),
        ([[1, 2], [3]], "[[1, 2], [3]]"),
        ([np.zeros(2), np.zeros(3)], "[array([0., 0.]), array([0., 0., 0.])]"),
        ("a   word", "'a   word'"),
        (np.sin, ""),
        (len, "len"),
        (lambda: 0, ""),
        (np, ""),
    ],
    ids=["ints", "empty", "list", "ragged", "arrays", "word", "ufunc", "builtin", "lambda", "module"],
)
def test_values_are_described_in_a_line(value, text):
    assert report.describe(value) == text


def test_large_values_are_cut():
    for value in (np.zeros((100, 100)), list(range(1000)), "word" * 1000, {i: i for i in range(1000)}):
        assert len(report.describe(value)) <= 100
        assert "\n" not in report.describe(value)


def test_a_value_that_cant_be_shown_says_so():
    class Broken:
        @property
        def data(self):
            raise OSError

    assert report.describe(Broken()) == "(Broken; showing it raises OSError)"


NOISY = """class F:
    def __repr__(self):
        return "\\x1b[31mrepr\\x07"


def f(x):
    print("\\x1b]0;printed\\x07 \\x9b2J one\\ttwo")
    raise ValueError("\\x1b[2Jsaid")


def g(x):
    return F()
"""
NOISY_SPECS = '''import pytest
from katas.two import f, g


@pytest.fixture
def broken():
    yield
    raise OSError("a second failure")


def test_twice(broken):
    """It fails, and so does its fixture afterwards."""
    assert f(2) == 3


def test_f():
    """f(1) is 2."""
    assert f(1) == 2


def test_g(tell):
    """g(1) is 2."""
    tell("\\x1b[31mtold")
    assert g(1) == 2


def test_green():
    """Nothing is wrong."""
'''


@pytest.fixture(scope="module", params=["-v", "-n 2"])
def mixed(request, tmp_path_factory):
    """A run over specs that are red, green and blocked, and files that can't be imported: box, options, what it printed."""
    folders = ["01_one", "02_two", "03_three", "04_four", "05_five"]
    box = Box(tmp_path_factory.mktemp("box"), dict.fromkeys(folders))
    box.write("katas/02_two/two.py", NOISY)
    box.write("katas/02_two/test_1_numbers.py", NOISY_SPECS)
    box.write("katas/03_three/three.py", "raise ValueError('\\x1b[31mimport')\n")
    for name in ("03_three/test_2_more", "04_four/test_2_more"):
        box.write(f"katas/{name}.py", "from katas.three import add_one\n\n\ndef test_more(): ...\n")
    box.write("katas/05_five/five.py", "import katas.three\n")
    box.write("katas/05_five/README.md", "# 05 Five\n")
    return box, request.param, box.pytest(*request.param.split())


def test_red_is_counted_once(mixed):
    """The results, the map, `and N more` and pytest's last line agree: two failures of a spec, and a file, are one each."""
    box, options, printed = mixed
    outcomes = [spec["outcome"] for spec in box.results()]
    assert (outcomes.count("red"), outcomes.count("blocked"), outcomes.count("green")) == (10, 2, 1)
    assert sum(int(count) for count in re.findall(r"(?m)^0\d .* (\d+) red", printed)) == 10
    assert "1 passed, 10 red, 2 blocked in" in printed.splitlines()[-1]
    assert ("and 9 more (-v" in printed) == (options == "-n 2")
    assert box.code == 1


def test_control_codes_are_shown_and_not_obeyed(mixed):
    """Those of a print, an exception, a repr and a told line stand as Python writes them, for pytest and for `kata`."""
    box, options, printed = mixed
    hint = box.wait(box.popen([sys.executable, "-m", "specs.command", "hint", "05"]))
    assert set("\x1b\x07\x9b").isdisjoint(printed + hint)
    assert "\\x1b[31mimport" in hint
    assert "\\x1b[31mtold" in printed
    if options == "-v":
        for text in ("\\x1b]0;printed\\x07 \\x9b2J one\ttwo", "\\x1b[2Jsaid", "\\x1b[31mrepr\\x07", "\\x1b[31mimport"):
            assert text in printed


def test_files_that_cant_be_imported_have_pytests_own_report_too(tmp_path):
    """-vv ends with pytest's summary of them, and no traceback of the plugin's."""
    box = Box(tmp_path / "box", {"01_one": "x = 1\n"})
    printed = box.pytest("-vv")
    assert "ERROR katas/01_one/test_1_numbers.py" in printed
    assert "1 error in" in printed.splitlines()[-1]
