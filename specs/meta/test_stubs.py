"""A stub is its reference without the bodies, written only where it differs, and nothing of the learner's is lost."""

import ast
import os
import subprocess
import sys

import pytest

from specs.command.stubs import stub
from specs.meta.box import SOLUTION, Box
from specs.meta.judge import each_kata, reference

REFERENCE = '''"""The module."""

import math
from functools import (
    cache,
    wraps,
)

SIZE = 3  # given: rows
_CACHE = {}  # private


# 05.1 Functions


# a comment on a private helper,
# in two lines
@cache
def _helper(x):
    return x


@wraps(
    _helper
)
def several(
    x,  # the first:
    y=lambda: 0,
) -> dict[
    str, int
]:
    """Two lines

    of text.
    """

    def inner():
        return x

    return inner()


def bare(x):
    # no docstring
    return x


async def later():
    """Waits."""
    return 1


@cache
def ready(x):  # given
    """As it is."""
    return x + SIZE


class _Hidden:
    """Private."""


class Outer:
    """A class."""

    limit = 4  # given: at most
    _secret = 5
    name: str = "x"

    # 05.2 Methods

    def __init__(self, x):
        self.x = x

    @property
    def value(self) -> int:
        """The value."""
        return self.x

    @value.setter
    def value(self, x):
        self.x = x

    def _own(self):
        return 1

    class Inner:
        """Nested."""

        def method(self):
            """Does it."""
            if self:
                return 1
            return 2


# 05.3 After


def last(x: str = "):"):
    """The last."""
    return x
'''
STUB = '''"""The module."""

import math
from functools import (
    cache,
    wraps,
)

SIZE = 3  # given: rows


# 05.1 Functions


@wraps(
    _helper
)
def several(
    x,  # the first:
    y=lambda: 0,
) -> dict[
    str, int
]:
    """Two lines

    of text.
    """
    raise NotImplementedError("05.1 several: README.md, 05.1")


def bare(x):
    raise NotImplementedError("05.1 bare: README.md, 05.1")


async def later():
    """Waits."""
    raise NotImplementedError("05.1 later: README.md, 05.1")


@cache
def ready(x):  # given
    """As it is."""
    return x + SIZE


class Outer:
    """A class."""

    limit = 4  # given: at most
    name: str = "x"

    # 05.2 Methods

    def __init__(self, x):
        raise NotImplementedError("05.2 Outer.__init__: README.md, 05.2")

    @property
    def value(self) -> int:
        """The value."""
        raise NotImplementedError("05.2 Outer.value: README.md, 05.2")

    @value.setter
    def value(self, x):
        raise NotImplementedError("05.2 Outer.value: README.md, 05.2")

    class Inner:
        """Nested."""

        def method(self):
            """Does it."""
            raise NotImplementedError("05.2 Outer.Inner.method: README.md, 05.2")


# 05.3 After


def last(x: str = "):"):
    """The last."""
    raise NotImplementedError("05.3 last: README.md, 05.3")
'''


def test_a_stub_is_the_reference_without_bodies():
    assert stub(REFERENCE) == STUB
    ast.parse(STUB)


def test_a_stub_of_a_stub_is_the_same():
    """Given parts and stubs stay as they are."""
    assert stub(STUB) == STUB


def test_what_stands_in_no_section_is_refused():
    with pytest.raises(ValueError, match=r"line 1: no section comment such as '# 02\.3 Shape' stands above"):
        stub("def f(x):\n    return x\n")


def test_a_body_beside_its_signature_is_refused():
    with pytest.raises(ValueError, match="line 2: the body of f must stand on lines of its own"):
        stub("# 02.1 One\ndef f(x): return x\n")


STALE = stub(SOLUTION.format(n="02", m="two")).replace("x + 1", "one more")  # a stub, of an older reference
SOLVED = STALE.replace('raise NotImplementedError("02.1 add_one: README.md, 02.1")', "return 1+x")
TWO = "katas/02_two/two.py"


@pytest.fixture
def box(tmp_path):
    return Box(tmp_path / "box", {"01_one": None, "02_two": STALE})


def run(box: Box, *arguments: str) -> tuple[int, str]:
    """The exit code and what is printed, where nobody can be asked."""
    printed = box.wait(box.popen([sys.executable, "-m", "specs.command.stubs", *arguments]))
    return box.code, printed


def test_a_stub_that_drifted_is_found(box):
    """--check writes nothing."""
    code, printed = run(box, "--check")
    assert code == 1
    assert printed.endswith(f": {TWO}\n")
    assert "python" not in printed
    assert (box.root / TWO).read_text() == STALE
    assert run(box, "--check", "01") == (0, "")


@pytest.mark.parametrize("text", [SOLVED, "def my_own(): ...\n", "def f(:\n"], ids=["solved", "own", "broken"])
def test_solutions_are_no_fault_but_are_not_committed(box, text):
    """--check names a file that is no stub, in one line, and passes; --strict fails."""
    box.write(TWO, text)
    assert run(box, "--check") == (0, f"solutions, which are no stubs: {TWO}\n")
    assert run(box, "--strict") == (1, f"solutions, which are no stubs: {TWO}\n")
    assert (box.root / TWO).read_text() == text


def test_a_stub_that_drifted_is_replaced_and_kept(box):
    """Without a question: nothing is lost."""
    code, printed = run(box)
    assert code == 0
    (kept,) = (box.root / ".kata/kept").iterdir()
    assert kept.read_text() == STALE
    assert f"kept .kata/kept/{kept.name}\nwrote {TWO}\n" == printed
    assert run(box, "--check") == (0, "")
    assert run(box) == (0, "")


def test_solutions_are_not_replaced_where_nobody_can_be_asked(box):
    """They stay, and kata reset is named; a missing stub is written all the same."""
    box.write(TWO, SOLVED)
    (box.root / "katas/01_one/one.py").unlink()
    code, printed = run(box)
    assert code == 1
    assert f"{TWO} has solutions in it and stays as it is. kata reset 02 keeps a copy and writes the stub.\n" in printed
    assert "wrote katas/01_one/one.py\n" in printed
    assert (box.root / TWO).read_text() == SOLVED


@pytest.mark.parametrize(("answer", "replaced"), [("y", True), ("", False), ("n", False)])
def test_solutions_are_replaced_if_the_answer_is_yes(box, answer, replaced):
    """In a terminal there is a question; what is replaced is kept."""
    pty = pytest.importorskip("pty")
    box.write(TWO, SOLVED)
    ours, theirs = pty.openpty()
    process = box.popen([sys.executable, "-m", "specs.command.stubs"], stdin=theirs)
    os.write(ours, f"{answer}\n".encode())
    printed = box.wait(process)
    os.close(ours)
    os.close(theirs)
    assert printed.startswith(f"{TWO} has solutions in it. Replace it? A copy is kept. [y/N] ")
    assert ((box.root / TWO).read_text() != SOLVED) == replaced == (box.code == 0)
    assert [kept.read_text() for kept in (box.root / ".kata").rglob("*.py")] == [SOLVED] * replaced


def ruff(*arguments: str, **options) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-m", "ruff", *arguments], capture_output=True, encoding="utf-8", **options)


@each_kata
def test_stubs_are_written_in_the_style_of_the_repository(kata):
    """ruff leaves katas/ to the learners, so what it would say of a stub is asked here. Its imports wait for its bodies."""
    text, name = stub(reference(kata).read_text(encoding="utf-8")), f"specs/{kata.module}.py"
    assert ruff("format", "--stdin-filename", name, "-", input=text).stdout == text
    checked = ruff("check", "--ignore", "F401", "--stdin-filename", name, "-", input=text)
    assert checked.returncode == 0, checked.stdout


def test_lint_judges_what_a_maintainer_changes(box):
    """Neither a learner's solutions nor what is in .kata, also where no git says what is ignored; but the katas' specs."""
    ugly = "import  os\nx=1\n"
    for name in ("katas/01_one/one.py", "katas/05_test/tensor.py", ".kata/kept/one.py", ".kata/editor/katas/test_1.py"):
        box.write(name, ugly)
    for command in (["check"], ["format", "--check"]):
        done = ruff(*command, "--no-cache", ".", cwd=box.root)
        assert done.returncode == 0, done.stdout
    box.write("katas/01_one/test_2_ugly.py", ugly)
    for command in (["check"], ["format", "--check"]):
        assert "katas/01_one/test_2_ugly.py" in ruff(*command, "--no-cache", ".", cwd=box.root).stdout


def test_a_kata_that_does_not_exist_is_refused(box):
    code, printed = run(box, "07")
    assert code == 2
    assert "there is no kata 07" in printed


def test_a_registered_rule_becomes_an_ellipsis():
    """Of a call of defvjp the operation's name stays, and a placeholder for each rule, however many lines they took."""
    text = (
        'defvjp("mul", lambda g: g, lambda g: g)\ndefvjp(\n    "exp",\n    lambda g: g * 2,\n)\ndefvjp_argnum("cat", _part)\n'
    )
    assert stub(text) == 'defvjp("mul", ..., ...)\ndefvjp("exp", ...)\ndefvjp_argnum("cat", ...)\n'
