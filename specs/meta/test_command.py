"""The learner's commands: where they are, the next failure, help, a new beginning."""

import ast
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time

import pytest

from specs import door
from specs.command import hints
from specs.meta.box import Box
from specs.results import progress

pytestmark = pytest.mark.timeout(120)
FOLDERS = ["01_one", "02_two", "03_three"]
README = """# 02 Two

It hurts.

## 02.1 Numbers

`add_one(x)` is x + 1.

```python
# no heading

**no question?** here
```

## Confusions

**Why is it
one too much?** It is
not.

**Why does `**kwargs` fail?**

Because:

```python
**not a question?** no
```
"""


@pytest.fixture(scope="module")
def stubs(tmp_path_factory):
    """Three katas, all of them stubs, that were never run."""
    return Box(tmp_path_factory.mktemp("box"), dict.fromkeys(FOLDERS))


@pytest.fixture
def box(tmp_path):
    return Box(tmp_path / "box", dict.fromkeys(FOLDERS))


def start(box: Box, *arguments: str, env: dict | None = None, **options) -> subprocess.Popen:
    path = {"PYTHONPATH": str(box.root), "COLUMNS": "120", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}  # a faster pytest
    return box.popen([sys.executable, "-m", "specs.command", *arguments], env=path | (env or {}), **options)


def kata(box: Box, *arguments: str, **options) -> str:
    """What `kata arguments` prints. Its exit code is in `box.code`."""
    return box.wait(start(box, *arguments, **options))


def run(box: Box, *arguments: str) -> None:
    """`pytest arguments`."""
    box.pytest(*arguments, env={"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"})


def solve(box: Box, folder: str, old: str = "", new: str = "") -> None:
    """Puts the reference in the stub's place, with an error in it if one is given."""
    file = f"{folder}/{folder[3:]}.py"
    box.write(f"katas/{file}", (box.root / "reference" / file).read_text().replace(old, new))


def row(printed: str, number: str) -> str:
    """A kata's line of the map, without its bar."""
    (line,) = [line for line in printed.splitlines() if line.startswith(f"{number} ")]
    return re.sub(" +", " ", re.sub("[█░#.]{4,}", "", line))


def record(box: Box, name: str, specs: dict[str, str], tree: str = "katas", when: str = "2099-01-01T00:00:00+00:00") -> None:
    """Results as a run would write them, of specs `01_one/test_1_numbers.py::test_x` by outcome."""
    entries = [
        {"id": f"katas/{where}", "kata": where[:2], "outcome": outcome, "clause": "It is.", "tree": tree, "why": "red"}
        for where, outcome in specs.items()
    ]
    entries = [{key: value for key, value in spec.items() if key != "why" or spec["outcome"] == "red"} for spec in entries]
    box.write(f".kata/results/{name}.json", json.dumps({"time": when, "arguments": [], "trees": {}, "specs": entries}))


ONE, ZERO = (f"01_one/test_1_numbers.py::test_{name}" for name in ("one_and_one_are_two", "minus_one_and_one_are_zero"))


# Where you are


def test_nothing_was_run(stubs):
    """Without results, without .kata even, every kata was never run, and the first is next."""
    assert not (stubs.root / ".kata").exists()
    for arguments in ([], ["status"]):
        printed = kata(stubs, *arguments)
        assert [row(printed, number) for number in ("01", "02", "03")] == [
            "01 one never run",
            "02 two never run",
            "03 three never run",
        ]
        assert "next: read katas/01_one/README.md, then run its specs\n$ pytest katas/01_one\n" in printed
        assert stubs.code == 0
    assert not (stubs.root / ".kata").exists()


def test_the_map_is_that_of_the_last_runs(box):
    """Each kata's line comes from the last run that reached its specs, whichever run that was."""
    solve(box, "02_two")
    run(box, "katas/02_two")
    solve(box, "01_one", "x + 1\n", "abs(x) + 1\n")
    run(box, "katas/01_one")
    printed = kata(box)
    assert row(printed, "01") == "01 one 1 green · 1 red"
    assert row(printed, "02") == "02 two 2 green · 1 blocked by 01"
    assert row(printed, "03") == "03 three never run"
    assert "next: 01.1  add_one adds one to negative numbers too.\n$ pytest katas/01_one\n" in printed
    solve(box, "01_one")
    assert row(kata(box), "01") == "01 one 1 green · 1 red; one.py changed since"
    assert "next: 01 again, as one.py was saved after its last run\n" in kata(box)
    run(box)
    printed = kata(box)
    assert [row(printed, number) for number in ("01", "02")] == ["01 one 2 green", "02 two 3 green"]
    assert "next: 03.1 add_one is still to be written (katas/03_three/three.py:8, README.md 03.1)\n" in printed
    solve(box, "03_three")
    run(box, "katas/03_three")
    assert "All katas are green. What they achieve together:\n$ tox -e milestone\n" in kata(box)


def test_runs_of_the_reference_do_not_count(box):
    """Only what judged the learner's own file is progress; with --upstream that is the kata asked for."""
    run(box, "--impl", "reference")
    assert row(kata(box), "01") == "01 one never run"
    solve(box, "02_two")
    run(box, "katas/02_two", "--upstream", "reference")
    assert row(kata(box), "02") == "02 two 3 green"
    assert row(kata(box), "01") == "01 one never run"


def test_a_part_of_a_kata_is_no_whole(box):
    """After -k the number of specs is a lower bound, and the kata is not done; a later part adds to it."""
    solve(box, "01_one")
    run(box, "katas/01_one", "-k", "minus")
    printed = kata(box)
    assert row(printed, "01") == "01 one 1 green of at least 2"
    assert "next: 01, since not all of its specs have been run\n$ pytest katas/01_one\n" in printed
    record(box, "3", {ONE: "green"})
    assert row(kata(box), "01") == "01 one 2 green"
    assert "$ pytest katas/02_two\n" in kata(box)


def test_the_latest_run_that_reached_a_spec_counts(box):
    """What an interrupted run did not come to keeps its outcome; what a newer whole run does not list is forgotten."""
    record(box, "1", {f"{ONE}[a]": "green", f"{ONE}[gone]": "red", ZERO: "green"})
    record(box, "2", {f"{ONE}[a]": "red", ZERO: "not run"})
    assert row(kata(box), "01") == "01 one 1 green · 1 red"
    record(box, "3", {f"{ONE}[a]": "green"})
    assert row(kata(box), "01") == "01 one 2 green"


def test_specs_that_are_no_more_are_forgotten(box):
    """A spec whose function or file is gone does not count."""
    record(box, "1", {ONE: "green", ZERO: "green", ONE.replace("_one_", "_ten_"): "red", ONE.replace("_1_", "_9_"): "red"})
    assert row(kata(box), "01") == "01 one 2 green"


def test_a_file_that_could_not_be_imported_stands_for_its_specs(box):
    """The red file replaces what its specs were before, and goes when they run again."""
    file = ONE.split("::")[0]
    record(box, "1", {ONE: "green", ZERO: "green"})
    record(box, "2", {file: "red"})
    assert row(kata(box), "01") == "01 one 1 red"
    record(box, "3", {ONE: "green"})
    assert row(kata(box), "01") == "01 one 1 green of at least 2"


def test_a_spec_that_is_skipped_is_no_reason_to_stay(box):
    """What a machine can't run is settled; a time budget that -n left out is not, but keeps its last outcome."""
    for why, more in (
        ("there is no fork", True),
        ("time budgets share the machine with nothing: pytest -m time, without -n", False),
    ):
        record(box, "1", {ONE: "green", ZERO: "not run"})
        file = box.root / ".kata/results/1.json"
        found = json.loads(file.read_text())
        found["specs"][1]["why"] = why
        file.write_text(json.dumps(found))
        assert ("$ pytest katas/02_two\n" in kata(box)) == more
    os.rename(file, file.with_name("2.json"))
    record(box, "1", {ONE: "red", ZERO: "green"})
    assert row(kata(box), "01") == "01 one 2 green"


def test_what_is_solved_stays_solved(box):
    """Only so many files of results are kept, but always those that have the last word on a spec."""
    box.edit("specs/results/progress.py", "KEPT = 100", "KEPT = 2")
    record(box, "0", {ONE: "green", ZERO: "green"}, when="2098-01-01T00:00:00+00:00")
    record(box, "1", {ZERO: "green"})
    record(box, "2", {ZERO: "green"}, tree="reference")
    for _ in range(3):
        run(box, "katas/02_two", "--upstream", "reference")
    assert [file.name for file in box.files()][:2] == ["0.json", "1.json"]
    assert len(box.files()) == 4
    assert row(kata(box), "01") == "01 one 2 green"


DAMAGED = {
    "half": '{\n "time": "2099-01-01T00:00:00+00:00",\n "spe',
    "empty": "",
    "list": "[]",
    "number": "7",
    "keys": "{}",
    "time": '{"time": 3, "specs": []}',
    "specs": '{"time": "2099-01-01T00:00:00+00:00", "specs": 5}',
    "spec": '{"time": "2099-01-01T00:00:00+00:00", "specs": [7]}',
    "outcome": '{"time": "2099-01-01T00:00:00+00:00", "specs": [{"outcome": "purple"}]}',
    "deep": "[" * 100_000,
}


def test_damaged_results_are_ignored_and_named(box):
    """Whatever is wrong with a file of results, the others count, and the file is named."""
    record(box, "1", {ONE: "green", ZERO: "green"})
    for name, text in DAMAGED.items():
        box.write(f".kata/results/{name}.json", text)
    (box.root / ".kata/results/bytes.json").write_bytes(b"\xff\xfe\x00")
    box.write(".kata/results/tmp.part", "{")
    printed = kata(box)
    for name in [*DAMAGED, "bytes"]:
        assert f".kata/results/{name}.json is ignored" in printed
    assert "part" not in printed
    assert row(printed, "01") == "01 one 2 green"
    assert box.code == 0
    assert "$ pytest katas/02_two\n" in kata(box, "next", env={"PYTEST_ADDOPTS": "--collect-only -q"})


def test_results_may_be_replaced_while_they_are_read(stubs, monkeypatch, tmp_path):
    """A reader meets the old file or the new, or none at all, and never half of one."""
    folder = tmp_path / "results"
    folder.mkdir()
    monkeypatch.setattr(progress.runs, "FOLDER", folder)
    text = json.dumps({"time": "2099-01-01T00:00:00+00:00", "specs": [], "more": "x" * 300_000})
    over = threading.Event()

    def replace():
        while not over.is_set():
            for name in "abc":
                (folder / "part").write_text(text)
                os.replace(folder / "part", folder / f"{name}.json")
            (folder / "a.json").unlink()

    writer = threading.Thread(target=replace)
    writer.start()
    try:
        assert [progress.gather().damaged for _ in range(50)] == [[]] * 50
    finally:
        over.set()
        writer.join()


def test_no_kata_is_imported(box):
    """A file that can't be imported, or never ends, is no matter for the map; a missing one is named."""
    box.write("katas/01_one/one.py", "while True:\n    pass\n")
    box.write("katas/02_two/two.py", "def f(:\n")
    record(box, "1", {ONE: "green", ZERO: "green"})
    assert row(kata(box), "02") == "02 two never run"
    (box.root / "katas/01_one/one.py").unlink()
    assert "next: katas/01_one/one.py is missing\n$ kata reset 01\n" in kata(box)


def test_spec_files_hold_nothing_but_functions_at_the_left_margin():
    """What `progress.functions` finds by a pattern is what Python finds, in every kata there is."""
    for one in progress.katas():
        names = []
        for file in sorted((door.ROOT / "katas" / one.folder).glob("test_*.py")):
            nodes = [
                node for node in ast.walk(ast.parse(file.read_bytes())) if isinstance(node, ast.FunctionDef | ast.ClassDef)
            ]
            tests = [node for node in nodes if node.name.lower().startswith("test")]
            names += [f"{door.relative(file)}::{node.name}" for node in sorted(tests, key=lambda node: node.lineno)]
        assert progress.functions(one) == names


def test_a_command_is_quick(box):
    """Without specs to run nothing heavy is imported, however much has been run."""
    record(box, "000", {f"{ONE}[{i}]": "green" for i in range(5000)})  # like a run of the whole chain
    for number in range(1, 100):
        os.link(box.root / ".kata/results/000.json", box.root / f".kata/results/{number:03}.json")
    box.write("katas/02_two/README.md", README)
    code = """
import sys, time
from specs.command import __main__ as command
for arguments in ([], ["hint", "2"], ["reset", "2"]):
    command.main(arguments)
heavy = {"numpy", "pytest", "_pytest", "matplotlib", "PIL"} & set(sys.modules)
sys.exit(f"{heavy} {time.process_time()}" if heavy or time.process_time() > 3 else 0)
"""
    process = box.popen([sys.executable, "-c", code], env={"PYTHONPATH": str(box.root)})
    printed = box.wait(process)
    assert box.code == 0, printed


# On a terminal, in a pipe, anywhere


def terminal(box: Box, *arguments: str, env: dict | None = None, columns: int = 80) -> str:
    """What `kata arguments` writes to a terminal."""
    pty = pytest.importorskip("pty")
    ours, theirs = pty.openpty()
    process = start(box, *arguments, env={"TERM": "xterm-256color", "COLUMNS": str(columns)} | (env or {}), stdout=theirs)
    os.close(theirs)
    written = b""
    try:
        while part := os.read(ours, 1 << 16):
            written += part
    except OSError:  # Linux's end of file, when nobody holds the other end any more
        pass
    box.code = process.wait(30)
    os.close(ours)
    return written.decode().replace("\r\n", "\n")


def test_colours_are_for_terminals(box):
    """A terminal gets coloured bars, unless NO_COLOR is set; a pipe gets plain text of at most 80 columns."""
    record(box, "1", {ONE: "green", ZERO: "red"})
    assert "\x1b[32m██████████" in terminal(box)
    assert "\x1b[3" not in terminal(box, env={"NO_COLOR": "1"})
    box.write("katas/02_two/README.md", README)
    for arguments in ([], ["hint", "2"], ["hint", "2", "2"]):
        printed = kata(box, *arguments, env={"COLUMNS": "80"})
        assert "\x1b" not in printed
        assert all(len(line) <= 80 for line in printed.splitlines())
    assert "\x1b[1m" in terminal(box, "hint", "2")


@pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
def test_a_terminal_need_not_know_unicode(box, encoding):
    """Where a character can't be shown, something simpler stands."""
    record(box, "1", {ONE: "green", ZERO: "red"})
    printed = kata(box, env={"PYTHONUTF8": "0", "PYTHONIOENCODING": encoding}, encoding=encoding)
    assert "01 one            ##########..........  1 green " in printed
    assert box.code == 0


def test_lines_of_the_map_fit(box):
    """The bars give way to the words behind them."""
    outcomes = ["green", "red", "blocked", "not run"]
    record(box, "1", {f"{ONE}[{i}]": outcomes[i % 4] for i in range(1000)})
    first, second, *_ = kata(box, env={"COLUMNS": "80"}).splitlines()
    assert first == "01 one            ░░░░  250 green · 250 red · 250 blocked · 250 not run of at least 1001"
    assert second == "02 two            ░░░░  never run"


def test_commands_work_anywhere(stubs, tmp_path):
    """From any folder; what must be typed at the root is said to be, and pytest runs there."""
    for cwd in ("katas/02_two", str(tmp_path)):
        assert f"(in {stubs.root})\n$ pytest katas/01_one\n" in kata(stubs, cwd=cwd)
        printed = kata(stubs, "next", "2", cwd=cwd, env={"PYTEST_ADDOPTS": "--collect-only -q"})
        assert printed.startswith(f"(in {stubs.root})\n$ pytest katas/02_two\n")
        assert "katas/02_two/test_1_numbers.py" in printed
        assert stubs.code == 0


@pytest.mark.parametrize("name", ["02", "2", "two", "02_two", "katas/02_two", "katas/02_two/", "./katas/02_two"])
def test_a_kata_has_many_names(stubs, name):
    assert kata(stubs, "hint", name) == "kata: katas/02_two/README.md is missing\n"


@pytest.mark.parametrize("name", ["", "7", "tow", "katas", "../02_tow", "02.1", "²"])
def test_a_kata_that_does_not_exist_is_named(stubs, name):
    for command in ["next", "hint", "reset"] if name == "tow" else ["reset"]:
        assert f"there is no kata {name!r}; there are 01_one, 02_two, 03_three\n" in kata(stubs, command, name)
        assert stubs.code == 2


@pytest.mark.parametrize("arguments", [["nest"], ["reset"], ["data"], ["data", "get"], ["next", "--wach"], ["hint", "1", "x"]])
def test_what_is_no_command_is_a_usage_error(stubs, arguments):
    assert "usage: kata" in kata(stubs, *arguments)
    assert stubs.code == 2


# The next failure


def test_next_is_pytest_for_the_first_kata_that_is_not_green(box):
    """If nothing was run. Its command stands first, then what pytest says; its exit code is pytest's."""
    printed = kata(box, "next")
    assert printed.startswith("$ pytest katas/01_one\n")
    assert "01.1 add_one is still to be written (katas/01_one/one.py:8, README.md 01.1)\n" in printed
    assert "again: pytest katas/01_one/test_1_numbers.py::" in printed
    assert box.code == 1
    solve(box, "01_one")
    assert "01 is green" in kata(box, "next")
    assert box.code == 0
    assert kata(box, "next").startswith("$ pytest katas/02_two\n")


def advised(box: Box) -> str:
    """The command that `kata` advises, which is the one that `kata next` runs."""
    (command,) = re.findall(r"^\$ .*\n", kata(box), re.MULTILINE)
    assert kata(box, "next", env={"PYTEST_ADDOPTS": "--collect-only -q"}).startswith(command)
    return command.strip()


def test_next_follows_the_kata_that_was_run_last(box):
    """That one while it is not green, then the next after it that is not, then the first before it."""
    for folder in FOLDERS:
        box.write(f"katas/{folder}/README.md", README.replace("02", folder[:2]))
    run(box, "katas/02_two", "--upstream", "reference")
    assert advised(box) == "$ pytest katas/02_two --upstream reference"
    assert "First red spec: 02.1 add_one" in kata(box, "hint")
    solve(box, "02_two")
    run(box, "katas/02_two", "--upstream", "reference")
    assert advised(box) == "$ pytest katas/03_three --upstream reference"
    assert kata(box, "hint").startswith("03 was never run.")
    assert "\n$ pytest katas/03_three --upstream reference\n" in kata(box, "reset", "3")
    solve(box, "03_three")
    run(box, "katas/03_three", "--upstream", "reference")
    assert advised(box) == "$ pytest katas/01_one"
    solve(box, "01_one")
    run(box, "katas/01_one")
    solve(box, "03_three", "x + 1\n", "x + 2\n")
    run(box, "--impl", "reference", "katas/02_two")
    assert advised(box) == "$ pytest katas/03_three"
    run(box)
    assert advised(box) == "$ pytest katas/03_three"


def test_upstream_is_for_katas_below_that_are_not_green(box):
    """Once they are, the learner's own take their place; an option of one's own comes first."""
    run(box, "katas/02_two", "--upstream", "reference")
    printed = kata(box, "next", "2", "--upstream", "katas")
    assert printed.startswith("$ pytest katas/02_two --upstream katas\n")
    run(box, "katas/02_two", "--upstream", "reference")
    assert kata(box, "2").startswith("$ pytest katas/02_two --upstream reference\n")
    record(box, "1", {ONE: "green", ZERO: "green"})
    assert advised(box) == "$ pytest katas/02_two"


def test_a_kata_that_is_only_blocked_waits_for_the_one_that_blocks_it(box):
    """Its own specs say nothing that helps until that one is green; then they run again."""
    solve(box, "02_two")
    run(box, "katas/02_two")
    assert advised(box) == "$ pytest katas/01_one"
    record(box, "0", {ONE: "green", ZERO: "green"})
    assert "next: 02 again, since 01 blocked specs of it when they last ran\n$ pytest katas/02_two\n" in kata(box)


@pytest.mark.parametrize("name", ["02", "2", "two", "katas/02_two"])
def test_a_kata_alone_is_judged(stubs, name):
    """`kata 02` is `kata next 02`; what is no kata is no command either."""
    printed = kata(stubs, name, env={"PYTEST_ADDOPTS": "--collect-only -q"})
    assert printed.startswith("$ pytest katas/02_two\n")
    assert stubs.code == 0
    assert "invalid choice: '7'" in kata(stubs, "7")
    assert stubs.code == 2


def test_next_passes_upstream_on(box):
    """--upstream takes the katas below from another tree; pytest refuses one that is not there."""
    solve(box, "03_three")
    printed = kata(box, "next", "3", "--upstream", "reference")
    assert printed.startswith("$ pytest katas/03_three --upstream reference\n")
    assert "katas 01-02 from reference/, 03 from katas/\n" in printed
    assert box.code == 0
    assert "'elsewhere' is not a folder" in kata(box, "next", "3", "--upstream", "elsewhere", "--watch")
    assert box.code == 4


def test_next_has_an_end(box):
    """When all is green nothing runs."""
    for folder in FOLDERS:
        solve(box, folder)
    run(box)
    assert kata(box, "next", "--watch") == "All katas are green. What they achieve together:\n$ tox -e milestone\n"
    assert box.code == 0


class Watched:
    """`kata next --watch`, read line by line as it comes."""

    def __init__(self, box: Box, *arguments: str):
        self.process = start(box, "next", "--watch", *arguments, start_new_session=True)
        self.lines: list[str] = []
        self.reader = threading.Thread(target=lambda: self.lines.extend(iter(self.process.stdout.readline, "")), daemon=True)
        self.reader.start()

    def wait_for(self, text: str, times: int) -> None:
        end = time.monotonic() + 30
        while "".join(self.lines).count(text) < times:
            assert time.monotonic() < end, "".join(self.lines)
            time.sleep(0.05)

    def interrupt(self) -> str:
        """What was printed until Ctrl-C, which reaches all processes of a terminal, had ended it."""
        os.killpg(self.process.pid, signal.SIGINT)
        self.process.wait(30)
        self.reader.join(30)
        return "".join(self.lines)


def test_a_saved_file_is_judged_again(box):
    """--watch runs again when a file is saved, also one that is half-written, and goes on to the next kata; Ctrl-C ends it."""
    watched = Watched(box)
    watched.wait_for("waiting for a file", 1)
    box.write("katas/01_one/one.py", "def add_one(x")
    watched.wait_for("waiting for a file", 2)
    assert "SyntaxError" in "".join(watched.lines)
    solve(box, "01_one")
    watched.wait_for("waiting for a file", 3)
    assert "01 is green" in "".join(watched.lines)
    solve(box, "02_two")
    watched.wait_for("waiting for a file", 4)
    printed = watched.interrupt()
    assert re.findall(r"^(?:\$|saved:) .*", printed, re.MULTILINE) == [
        "$ pytest katas/01_one",
        "saved: katas/01_one/one.py",
        "$ pytest katas/01_one",
        "saved: katas/01_one/one.py",
        "$ pytest katas/01_one",
        "saved: katas/02_two/two.py",
        "$ pytest katas/02_two",
    ]
    assert "Traceback" not in printed
    assert watched.process.returncode == 130


def test_what_is_saved_during_a_run_is_judged_by_the_next(box):
    """A save while specs run starts another run at once, and the map does not take the first for the last word."""
    solve(box, "01_one", "return", f"open({str(box.root / 'begun')!r}, 'w').close(); import time; time.sleep(1)\n    return")
    watched = Watched(box, "1")
    while not (box.root / "begun").exists():
        assert watched.process.poll() is None
        time.sleep(0.01)
    solve(box, "01_one", "x + 1\n", "x + 2\n")
    watched.wait_for("waiting for a file", 1)
    assert "01 is green" in "".join(watched.lines)
    watched.wait_for("waiting for a file", 2)
    assert "2 red in" in watched.interrupt()


def test_ctrl_c_during_a_run_keeps_its_results(box):
    """pytest ends, writes its results and says so; there is no traceback."""
    solve(box, "01_one", "return", f"open({str(box.root / 'begun')!r}, 'w').close(); import time; time.sleep(60)\n    return")
    watched = Watched(box)
    while not (box.root / "begun").exists():
        assert watched.process.poll() is None
        time.sleep(0.01)
    printed = watched.interrupt()
    assert "Traceback" not in printed
    assert watched.process.returncode == 130
    assert [spec["outcome"] for spec in box.results()] == ["not run"] * 2


# Help


def test_a_readme_is_taken_apart(tmp_path):
    """Headings and questions are found outside code blocks only; an answer lasts until the next question."""
    file = tmp_path / "README.md"
    file.write_text(README)
    assert [part.title for part in hints.sections(file)] == ["", "02 Two", "02.1 Numbers", "Confusions"]
    assert hints.section(file, "02.1").line == 5
    assert len(hints.section(file, "02.1").blocks) == 2
    assert hints.section(file, "02.2") is None
    assert hints.hints(file) == [
        ("Why is it one too much?", "It is\nnot."),
        ("Why does `**kwargs` fail?", "Because:\n\n```python\n**not a question?** no\n```"),
    ]


def test_every_readme_has_hints():
    """At least two confusions a kata, each with an answer, and a section for every stub."""
    for one in progress.katas():
        readme = door.ROOT / "katas" / one.folder / "README.md"
        found = hints.hints(readme)
        assert len(found) >= 2, one.folder
        for question, answer in found:
            assert question.endswith("?"), f"{one.folder}: {question}"
            assert answer, f"{one.folder}: {question}"
        for number in set(re.findall(r'README\.md, (\d\d\.\d+)"', progress.own_file(one).read_text(encoding="utf-8"))):
            assert hints.section(readme, number).blocks, f"{one.folder}: {number}"


def test_help_begins_where_the_learner_is(box):
    """The section of the first red spec, the questions, then how to see an answer; one answer at a time."""
    box.write("katas/02_two/README.md", README)
    run(box, "katas/02_two", "--upstream", "reference")
    printed = kata(box, "hint", "2")
    assert "First red spec: 02.1 add_one is still to be written (katas/02_two/two.py:8, README.md 02.1)\n" in printed
    assert "\n02.1 Numbers\n`add_one(x)` is x + 1.\n" in printed
    assert printed.endswith(
        "(katas/02_two/README.md:5)\n\nWhat confuses others:\n1  Why is it one too much?\n2  Why does `**kwargs` fail?\n\n"
        "The answer to question 1 of 2:\n$ kata hint 02 1\n"
    )
    printed = kata(box, "hint", "two", "1")
    assert printed == "Why is it one too much?\nIt is\nnot.\n\nThe answer to question 2 of 2:\n$ kata hint 02 2\n"
    assert kata(box, "hint", "2", "2").endswith(
        "No more questions. katas/02_two/README.md says more; reference/02_two/two.py is a solution.\n"
    )
    for number in ("0", "3"):
        assert kata(box, "hint", "2", number) == f"kata: kata 02 has no question {number}; it has 2\n"
        assert box.code == 2
    solve(box, "02_two")
    assert "First red spec, before two.py was saved: 02.1 add_one" in kata(box, "hint", "2")
    run(box, "katas/02_two")
    assert kata(box, "hint", "2").startswith("Blocked by 01: 01.1 add_one is still to be written\n")
    solve(box, "01_one")
    run(box)
    assert kata(box, "hint", "2").startswith("No spec of 02 is red.\n\nWhat confuses others:\n1  Why")


def test_a_long_section_is_cut_between_paragraphs(box):
    """The rest stands in the README, at the line that is given."""
    text = "".join(f"Paragraph {i}.\n\n" for i in range(20))
    box.write("katas/02_two/README.md", README.replace("`add_one(x)`", f"{text}`add_one(x)`"))
    printed = kata(box, "hint", "2")
    assert "Paragraph 5.\n(more: katas/02_two/README.md:5)\n" in printed
    assert "Paragraph 6." not in printed


# A new beginning


def test_a_kata_begins_again(box):
    """The learner's file is kept, what follows is said, and a stub is left as it is."""
    box.write("katas/02_two/two.py", "mine = 1\n")
    printed = kata(box, "reset", "2")
    (kept,) = (box.root / ".kata/kept").iterdir()
    assert kept.read_text() == "mine = 1\n"
    assert printed == f"kept .kata/kept/{kept.name}\nwrote katas/02_two/two.py\nnext:\n$ pytest katas/02_two\n"
    assert "katas/02_two/two.py is the stub already; nothing was kept or written\n" in kata(box, "reset", "2")
    assert len([*(box.root / ".kata/kept").iterdir()]) == 1
    (box.root / "katas/02_two/two.py").unlink()
    assert kata(box, "reset", "2").startswith("wrote katas/02_two/two.py\n")
    (box.root / "katas/02_two/two.py").write_bytes(b"\xff not UTF-8")
    assert kata(box, "reset", "2").startswith("kept ")
    assert box.code == 0


def test_without_a_reference_nothing_is_replaced(box):
    box.write("katas/02_two/two.py", "mine = 1\n")
    box.write("reference/02_two/two.py", "def f(:\n")
    assert kata(box, "reset", "2").startswith("kata: the stub of 02_two can't be restored: ")
    assert box.code == 2
    assert (box.root / "katas/02_two/two.py").read_text() == "mine = 1\n"
