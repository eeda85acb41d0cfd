"""A stub is its reference without the bodies, written only where it differs, and nothing of the learner's is lost."""

import ast
import subprocess
import sys

import pytest

from specs.command.stubs import stub
from specs.meta.box import Box

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


@pytest.fixture
def box(tmp_path):
    return Box(tmp_path / "box", {"01_one": None, "02_two": "def my_own(): ...\n"})


def run(box: Box, *arguments: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "specs.command.stubs", *arguments], cwd=box.root, capture_output=True, text=True
    )
    return done.returncode, done.stdout + done.stderr


def test_a_stub_that_drifted_is_found(box):
    """--check writes nothing."""
    code, printed = run(box, "--check")
    assert code == 1
    assert printed.endswith(": katas/02_two/two.py\n")
    assert (box.root / "katas/02_two/two.py").read_text() == "def my_own(): ...\n"
    assert run(box, "--check", "01") == (0, "")


def test_a_file_that_is_replaced_is_kept(box):
    code, printed = run(box)
    assert code == 0
    (kept,) = (box.root / ".kata/kept").iterdir()
    assert kept.read_text() == "def my_own(): ...\n"
    assert f"kept .kata/kept/{kept.name}\nwrote katas/02_two/two.py\n" == printed
    assert run(box, "--check") == (0, "")
    assert run(box) == (0, "")


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
