"""Where a run's files can't be written, or read, the report comes first, and one line says so."""

import resource
import sys

import pytest

from specs.meta.box import SOLUTION, Box

pytestmark = pytest.mark.timeout(120)
UNKNOWN = " kata will not know of this run."
UNWRITTEN = "the results could not be written: {}: {}."


def small_files() -> None:
    """For a process that can't write a file of more than a thousand bytes, as on a disk that is full."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))


def file(name: str):
    return lambda box: box.write(name, "")


def old_results(box: Box) -> None:
    """More of them than are kept, and one that can't be deleted: it is a folder."""
    box.edit("specs/results/progress.py", "KEPT = 100", "KEPT = 1")
    (box.root / ".kata/results/0.json").mkdir(parents=True)


# how a run is hindered: what is done before, pytest's arguments, the line
HINDERED = {
    "no folder": (file(".kata"), [], UNWRITTEN.format(".kata/results", "Not a directory") + UNKNOWN),
    "no results": (file(".kata/results"), [], UNWRITTEN.format(".kata/results", "Not a directory") + UNKNOWN),
    "is a folder": (file("here/file"), ["--results", "here"], UNWRITTEN.format("here", "Is a directory")),
    "full": (None, [], UNWRITTEN.format(".kata/results", "File too large") + UNKNOWN),
    "no links": (file(".kata/editor"), [], "the links for editors could not be made: .kata/editor/katas: Not a directory."),
    "old results": (old_results, [], "old results could not be deleted: .kata/results: Is a directory."),
}


@pytest.mark.parametrize("name", HINDERED)
def test_a_report_ends_with_what_could_not_be_written(tmp_path, name):
    """The red spec, the map and the exit code are as usual; then one line, no traceback, and no part of a file."""
    before, arguments, line = HINDERED[name]
    box = Box(tmp_path / "box", {"01_one": None, "02_two": SOLUTION.format(n="02")})
    if before:
        before(box)
    limit = {"preexec_fn": small_files if name == "full" else None}
    printed = box.pytest("-p", "no:cacheprovider", *arguments, env={"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}, **limit)
    assert "01.1 add_one is still to be written (katas/01_one/one.py:8, README.md 01.1)\n" in printed
    assert "01 one            ░░░░░░░░░░░░░░░░░░░░  2 red\n" in printed
    assert printed.splitlines()[-2] == line
    assert "INTERNALERROR" not in printed
    assert "Traceback" not in printed
    assert box.code == 1
    assert not [*box.root.rglob("*.part")]
    assert not (box.root / "here").exists() or [path.name for path in (box.root / "here").iterdir()] == ["file"]


def test_a_green_run_stays_green(tmp_path):
    """The exit code is about the specs alone."""
    box = Box(tmp_path / "box", {"01_one": SOLUTION.format(n="01")})
    file(".kata")(box)
    printed = box.pytest(env={"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"})
    assert UNWRITTEN.format(".kata/results", "Not a directory") + UNKNOWN in printed
    assert "01 is green" in printed
    assert box.code == 0


@pytest.mark.parametrize(("arguments", "says", "code"), [
    ([], "next: read katas/01_one/README.md", 0),
    (["hint"], "katas/01_one", 0),
    (["next"], "the results could not be written", 1),
    (["reset", "1"], "kata: the stub of 01_one can't be restored: ", 2),
])  # fmt: skip
def test_the_commands_say_what_they_could_not_read(tmp_path, arguments, says, code):
    """`kata` goes on without results, and says so; `kata reset` replaces nothing that it can't keep."""
    box = Box(tmp_path / "box", {"01_one": "def add_one(x):\n    return x\n"})
    box.write("katas/01_one/README.md", "# 01 One\n\n## 01.1 Numbers\n\nIt adds one.\n")
    file(".kata")(box)
    path = {"PYTHONPATH": str(box.root), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    printed = box.wait(box.popen([sys.executable, "-m", "specs.command", *arguments], env=path))
    assert says in printed
    assert "Traceback" not in printed
    assert box.code == code
    if arguments == ["reset", "1"]:
        assert (box.root / "katas/01_one/one.py").read_text() == "def add_one(x):\n    return x\n"
    else:
        unread = ".kata/results can't be read: Not a directory. What was run before is not known.\n"
        assert printed.count(unread) == 1
