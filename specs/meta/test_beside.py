"""What people use beside the harness goes on working: a debugger, prints, coverage, an editor's runner. Runs start soon."""

import json
import os
import sys
import time

import pytest

from specs.meta.box import Box

pytestmark = pytest.mark.timeout(120)
SLOWLY = '''import pytest
from katas.one import f


@pytest.mark.timeout(0.2)
def test_f():
    """f(1) is 2."""
    assert f(1) == 2


def test_something_else():
    """This has nothing to do with f."""
'''
FOLDERS = {"01_one": "def f(x):\n    print('f is given', x)\n    return x\n"}


@pytest.fixture
def box(tmp_path):
    """A kata with a wrong solution that prints."""
    box = Box(tmp_path / "box", FOLDERS)
    box.write("katas/01_one/test_1_numbers.py", SLOWLY)
    return box


def typed(box: Box, text: str, *arguments: str) -> str:
    """What `pytest arguments` prints if a person types this, a second after it asks."""
    process = box.start(*arguments, stdin=-1)
    time.sleep(2)
    process.stdin.write(text)
    process.stdin.flush()
    return box.wait(process)


def test_a_debugger_has_all_the_time_it_wants(box):
    """--pdb stops at the failure, in the spec's frame. While a person looks, no limit of time rings; then the run goes on."""
    printed = typed(box, "p 'f gives', f(1)\nc\n", "--pdb")
    assert "('f gives', 1)" in printed
    assert [spec["outcome"] for spec in box.results()] == ["red", "green"]
    assert box.code == 1


def test_breakpoint_in_a_solution(box):
    """breakpoint() in a learner's function stops there, even in a spec that has little time."""
    box.write("katas/01_one/one.py", "def f(x):\n    y = x + 1\n    breakpoint()\n    return y\n")
    printed = typed(box, "p 'y is', y\nc\n")
    assert "('y is', 2)" in printed
    assert [spec["outcome"] for spec in box.results()] == ["green", "green"]


def test_prints_are_seen_at_once(box):
    """-s captures nothing: what a solution prints is on the terminal."""
    printed = box.pytest("-s")
    assert "f is given 1\n" in printed
    assert "it printed" not in printed


def test_coverage_counts_a_solutions_lines(box):
    """coverage run -m pytest: executed and missing lines of the learner's file."""
    box.write("katas/01_one/one.py", "def f(x):\n    if x > 5:\n        return 0\n    return x + 1\n")
    command = [sys.executable, "-m", "coverage", "run", f"--source={box.root / 'katas'}", "-m", "pytest"]
    box.wait(box.popen(command))
    assert box.code == 0
    box.wait(box.popen([sys.executable, "-m", "coverage", "json", "-o", "coverage.json"]))
    files = json.loads((box.root / "coverage.json").read_text())["files"]
    assert files["katas/01_one/one.py"]["missing_lines"] == [3]


EDITOR = """import json

found = []


def pytest_itemcollected(item):
    found.append(["collected", item.nodeid, item.location[1]])


def pytest_runtest_logreport(report):
    if report.when == "call":
        found.append([report.outcome, report.nodeid, report.longreprtext, report.capstdout])


def pytest_unconfigure():
    with open("editor.json", "w") as file:
        json.dump(found, file)
"""


def test_an_editor_gets_what_it_shows(box):
    """An editor's runner is a plugin: it collects specs with their lines, runs one by its id, and shows report and output."""
    box.write("my_editor.py", EDITOR)
    path = {"PYTHONPATH": str(box.root)}
    box.pytest("-p", "my_editor", "--collect-only", "-q", env=path)
    where = "katas/01_one/test_1_numbers.py"
    collected = json.loads((box.root / "editor.json").read_text())
    assert collected == [["collected", f"{where}::test_f", 4], ["collected", f"{where}::test_something_else", 10]]
    box.pytest("-p", "my_editor", f"{where}::test_f", env=path)
    _, (outcome, name, text, printed) = json.loads((box.root / "editor.json").read_text())
    assert (outcome, name, printed) == ("failed", f"{where}::test_f", "f is given 1\n")
    assert "assert f(1) == 2" in text
    assert "katas/01_one/one.py" in text


def test_a_run_starts_soon(box):
    """A run of one kata takes less than twice the CPU time that pytest takes for the same specs by itself."""

    def seconds(*arguments: str) -> float:
        before = os.times()
        box.pytest("-p", "no:cacheprovider", *arguments)
        after = os.times()
        return after[2] + after[3] - before[2] - before[3]

    box.write("plain/test_plain.py", "import numpy\n\n\ndef test_nothing(): ...\n")
    box.write("plain/pytest.ini", "[pytest]\n")
    ours, plain = [], []
    for _ in range(3):
        ours.append(seconds("katas"))
        plain.append(seconds("-c", "plain/pytest.ini", "--rootdir", "plain", "plain"))
    assert min(ours) < 2 * min(plain)
