"""What a run tells: what is green, red, blocked and not run, on the terminal and in the results."""

import os
import signal
import sys

import pytest

from specs.meta.box import SOLUTION, Box

pytestmark = pytest.mark.timeout(120)
FOLDERS = ["01_one", "02_two", "03_three"]


@pytest.fixture
def box(tmp_path):
    """Three katas, all of them stubs."""
    return Box(tmp_path / "box", dict.fromkeys(FOLDERS))


def solve(box: Box, folder: str, old: str = "", new: str = "") -> None:
    """Puts the reference in the stub's place, with an error in it if one is given."""
    file = f"{folder}/{folder[3:]}.py"
    box.write(f"katas/{file}", (box.root / "reference" / file).read_text().replace(old, new))


def test_a_stub_is_one_line_and_red(box):
    """A kata that is still to be written is red; the first stub is named, in one line, and the others are counted."""
    printed = box.pytest("katas/01_one")
    assert "01.1 add_one is still to be written (katas/01_one/one.py:8, README.md 01.1)\n" in printed
    assert "and 1 more (-v shows them all" in printed
    assert "fix" not in printed
    assert "Traceback" not in printed
    assert "2 red in" in printed
    assert box.code == 1
    assert [spec["stub"] for spec in box.results()] == ["01.1", "01.1"]


def test_what_fails_by_an_earlier_stub_is_blocked(box):
    """A failure that comes out of an earlier kata's stub is blocked: not red, not green, and explained once."""
    solve(box, "02_two")
    printed = box.pytest()
    assert box.outcomes()["02::test_one_and_two_are_three"] == "blocked"
    assert box.outcomes()["02::test_one_and_one_are_two"] == "green"
    assert "02 two            █████████████░░░░░░░  2 green · 1 blocked  fix 01 first" in printed
    assert printed.count("blocked by 01: 01.1 add_one is still to be written") == 1
    spec = next(spec for spec in box.results() if spec["outcome"] == "blocked")
    assert (spec["blocked_by"], spec["why"]) == ("01", "01.1 add_one is still to be written")


def test_what_fails_by_an_earlier_file_that_is_broken_is_blocked(box):
    """So is one that comes from an earlier kata's file that can't be imported, even when the specs are collected."""
    for folder in FOLDERS:
        solve(box, folder)
    solve(box, "01_one", "return", "retrun")
    file = box.root / "katas/02_two/two.py"
    file.write_text("from katas.one import add_one as first\n" + file.read_text())
    printed = box.pytest()
    assert [spec["outcome"] for spec in box.results()] == ["red", "blocked", "green", "green", "blocked"]
    assert "blocked by 01: katas/01_one/one.py:8: SyntaxError: invalid syntax" in printed
    assert "retrun x + 1\n      again: pytest katas/01_one/test_1_numbers.py\n" in printed


def test_an_earlier_kata_that_is_wrong_is_to_be_fixed_first(box):
    """Where an earlier kata is red without being a stub, the map says so; who is red by a stub of its own is not told."""
    for folder in FOLDERS:
        solve(box, folder)
    solve(box, "01_one", "x + 1\n", "x + 2\n")
    printed = box.pytest()
    assert "2 green · 1 red  fix 01 first" in printed
    assert "03 three          ████████████████████  3 green\n" in printed
    assert "      katas/01_one/one.py:6 in add_one\n      > x = 1\n" not in printed
    assert "      katas/01_one/one.py:6 in add_one\n" in printed
    assert "        x = 1\n      > assert add_one(x) == 2\n        x = 1\n" in printed


def test_each_kata_comes_from_the_tree_asked_for(box):
    """--impl, --upstream and KATA_IMPL choose trees, and the header and the results say which."""
    assert "katas 01-03 from reference/\n" in box.pytest("--impl", "reference", "katas")
    assert set(box.outcomes().values()) == {"green"}
    assert "katas 01-02 from reference/, 03 from katas/\n" in box.pytest("--upstream", "reference", "katas/03_three")
    assert [(spec["outcome"], spec["tree"]) for spec in box.results()] == [("red", "katas")] * 3
    wrong = SOLUTION.format(n="02", m="two").replace("x + 1\n", "x - 1\n")
    box.write("wrong/02_two/two.py", wrong)
    printed = box.pytest("katas/02_two", "-n", "2", env={"KATA_IMPL": "katas,01-03=reference,02=wrong"})
    assert "katas 01 from reference/, 02 from wrong/, 03 from reference/\n" in printed
    assert "wrong/02_two/two.py:6 in add_one" in printed


@pytest.mark.parametrize(
    ("arguments", "impl", "says"),
    [
        (["--impl", "elsewhere"], "", "'elsewhere' is not a folder"),
        ([], "katas,1=reference", "'1=reference' is not NN=tree or NN-MM=tree"),
        ([], "katas,21=reference", "'21=reference' names no kata (there are 01, 02, 03)"),
        (["--upstream", "reference"], "", "--upstream needs a kata on the command line"),
    ],
)
def test_a_tree_that_is_not_there_is_refused(box, arguments, impl, says):
    """What KATA_IMPL and the options can't mean is a usage error that names it."""
    assert says in box.pytest(*arguments, env={"KATA_IMPL": impl})
    assert box.code == 4


def test_results_are_the_same_under_xdist(box):
    """The results have one entry per spec, in the order of the chain, however the specs were spread."""
    solve(box, "02_two")
    solve(box, "03_three", "return", "raise OSError\n    return")
    runs = []
    for arguments in (["-vv"], ["-n", "2"]):
        box.pytest(*arguments)
        runs.append([{key: value for key, value in spec.items() if key != "seconds"} for spec in box.results()])
    assert runs[0] == runs[1]
    assert {spec["outcome"] for spec in runs[0]} == {"green", "red", "blocked"}
    assert all(0 <= spec["seconds"] < 10 for spec in box.results())
    assert len(box.files()) == 2


def test_a_process_that_ends_is_a_red_spec(box):
    """Under xdist a crash ends one worker only: the spec that ran is red, and the others are judged."""
    solve(box, "01_one", "return", "import ctypes; ctypes.string_at(x != 1 and id(x))\n    return")
    printed = box.pytest("-n", "1")
    assert "the process ended while this spec ran" in printed
    assert len(box.results()) == 8
    assert "not run" not in box.outcomes().values()


def test_what_did_not_run_is_said_to_be_not_run(box):
    """After -x the other specs are `not run`, in the results too."""
    printed = box.pytest("-x")
    assert "01 one            ░░░░░░░░░░░░░░░░░░░░  1 red · 1 not run" in printed
    assert [spec["outcome"] for spec in box.results()] == ["red"] + ["not run"] * 7


def test_specs_that_ask_why_run_last_in_their_kata(box):
    """So -x ends at a failure that helps. Katas and the other files keep their order, as they were named."""
    why = 'def test_why():\n    """It hurts."""\n    assert False\n'
    for folder in FOLDERS[:2]:
        box.write(f"katas/{folder}/test_0_why.py", why)
    box.write("katas/01_one/test_2_more.py", "def test_more(): ...\n")
    printed = box.pytest("--collect-only", "-q", "katas/02_two", "katas/01_one")
    names = [line.removeprefix("katas/") for line in printed.splitlines() if "::" in line]
    assert [name.split("::")[0] for name in names] == [
        *["02_two/test_1_numbers.py"] * 3,
        "02_two/test_0_why.py",
        *["01_one/test_1_numbers.py"] * 2,
        "01_one/test_2_more.py",
        "01_one/test_0_why.py",
    ]
    assert "01.1 add_one is still to be written" in box.pytest("-x", "katas/01_one")
    assert box.outcomes()["01::test_why"] == "not run"


@pytest.mark.parametrize(("arguments", "bar"), [(["-n", "1"], 13), (["-k", "minus"], 20), ([], 20)])
def test_a_bar_is_full_only_if_everything_is_green(box, arguments, bar):
    """What did not run is not done; what -k left out is not part of the run."""
    solve(box, "01_one")
    time = "import pytest\n\n\n@pytest.mark.time\ndef test_time(): ...\n"
    box.write("katas/01_one/test_2_time.py", time)
    assert f"01 one            {'█' * bar}{'░' * (20 - bar)}  " in box.pytest("katas/01_one", *arguments)


@pytest.mark.parametrize("workers", [[], ["-n", "1"]])
def test_an_interrupted_run_keeps_its_results(box, workers):
    """Ctrl-C ends a run at once, with complete results of what ran. (A worker's are on their way for a moment.)"""
    solve(box, "01_one")
    solve(box, "02_two", "return x + 1", f"import time; time.sleep(1); open('{box.root}/begun', 'w').close(); time.sleep(60)")
    process = box.start(*workers, start_new_session=True)
    while not (box.root / "begun").exists():
        assert process.poll() is None
    os.killpg(process.pid, signal.SIGINT)
    box.wait(process)
    assert [spec["outcome"] for spec in box.results()] == ["green"] * 2 + ["not run"] * 6
    assert len(box.files()) == 1


def test_more_is_shown_on_request(box):
    """-v shows every red spec, each stub once; -vv pytest's own tracebacks."""
    solve(box, "01_one", "return", "raise OSError('broken')\n    return")
    printed = box.pytest("-v")
    assert printed.count("OSError: broken") == 2
    assert printed.count("02.1 add_one is still to be written") == 1
    assert "test_one_and_one_are_two RED" in printed
    assert ">       raise OSError('broken')" in box.pytest("-vv")


def test_where_pytest_is_started_does_not_matter(box):
    """In a kata's folder, where `python -m pytest` would let the kata's file shadow a module of the same name, too."""
    box.write("katas/04_wave/wave.py", "def add_one(x):\n    return x + 1\n")
    spec = "import wave\nfrom katas.wave import add_one\n\ndef test_both():\n    assert wave.Wave_read and add_one(1) == 2\n"
    box.write("katas/04_wave/test_1_numbers.py", spec)
    for command in ([sys.executable, "-m", "pytest"], [sys.executable, "-m", "pytest", "-n", "1"]):
        printed = box.wait(box.popen(command, cwd="katas/04_wave"))
        assert "1 passed" in printed
    printed = box.pytest(cwd="katas/01_one")
    assert len(box.results()) == 2
    assert "again: pytest test_1_numbers.py::test_one_and_one_are_two" in printed
    box.pytest(str(box.root / "katas/02_two"), cwd="../")
    assert {spec["kata"] for spec in box.results()} == {"02"}


def test_fixtures_that_fail_are_red(box):
    """An error before or after a spec is as red as one in it; a skip is never green."""
    solve(box, "01_one")
    box.write(
        "katas/01_one/test_2_fixtures.py",
        """import pytest

@pytest.fixture
def before():
    raise OSError("before")

@pytest.fixture
def after():
    yield
    raise OSError("after")

def test_before(before): ...
def test_after(after): ...
def test_skipped(): pytest.skip("no reason")
""",
    )
    printed = box.pytest("-v", "katas/01_one")
    assert "OSError: before" in printed
    assert "OSError: after" in printed
    assert "1 not run: no reason" in printed
    assert "01 is green" not in printed
    outcomes = box.outcomes()
    assert [outcomes[f"01::test_{name}"] for name in ("before", "after", "skipped")] == ["red", "red", "not run"]


def test_other_specs_are_reported_as_pytest_does(box):
    """Specs of the specs fail with pytest's own report, and are in no results."""
    box.write("specs/meta/test_other.py", "def test_other():\n    some = 1\n    assert some == 2\n")
    printed = box.pytest("specs/meta")
    assert ">       assert some == 2" in printed
    assert "1 failed in" in printed
    assert not box.files()


def test_time_budgets_do_not_share_the_machine(box):
    """Under xdist a spec that measures time is not run, and is counted so; -m time runs it alone."""
    spec = '''def test_time(budget, tell):
    """It is fast."""
    budget.time(lambda: sum(range(999)), against=lambda: sum(range(999)), limit=9, what="sum")
    tell("a line for people")
'''
    box.write("katas/01_one/test_2_time.py", spec)
    assert "1 not run: time budgets" in box.pytest("-n", "1", "katas/01_one")
    assert box.outcomes()["01::test_time"] == "not run"
    printed = box.pytest("-m", "time", "katas/01_one")
    assert "01 a line for people\n" in printed
    assert "01 is green" not in printed
    (spec,) = box.results()
    assert spec["budget"][0] | {"measured": 1.0} == {"measure": "time", "what": "sum", "measured": 1.0, "limit": 9.0}


def test_a_green_kata_says_what_is_next(box):
    """Whoever is done is shown the reference and the next kata; not of the reference itself, nor of a part of the specs."""
    solve(box, "01_one")
    assert (
        "01 is green: compare katas/01_one/one.py with reference/01_one/one.py; next: katas/02_two/README.md\n"
        in box.pytest("katas/01_one")
    )
    assert "is green" not in box.pytest("katas/01_one", "-k", "minus")
    assert "03 is green\n" in box.pytest("--impl", "reference")


@pytest.mark.parametrize(("wrong", "next_one"), [("02_two", "02_two"), ("01_one", "01_one"), (None, None)])
def test_what_is_next_is_the_first_kata_that_is_not_green(box, wrong, next_one):
    """A kata that is red in the same run comes first, before or after the green one; nothing behind it is offered."""
    for folder in FOLDERS:
        solve(box, folder)
    if wrong:
        solve(box, wrong, "x + 1\n", "x + 2\n")
    printed = box.pytest()
    offered = {line.partition("next: ")[2] for line in printed.splitlines() if " is green" in line}
    assert offered == {f"katas/{next_one}/README.md" if next_one else ""}


def test_what_is_next_lies_behind_the_last_green_one(box):
    """Also of katas that ran together; what this machine can't run keeps nobody."""
    for folder in FOLDERS[:2]:
        solve(box, folder)
    box.write("katas/01_one/test_2_fork.py", 'import pytest\n\n\ndef test_fork():\n    pytest.skip("there is no fork")\n')
    printed = box.pytest("katas/01_one", "katas/02_two")
    assert "02 is green: compare katas/02_two/two.py with reference/02_two/two.py; next: katas/03_three/README.md\n" in printed
    assert "01 is green" not in printed


def test_pytests_own_options_work(box):
    """--collect-only writes no results; --lf, no xdist and no time limits are fine."""
    assert "8 tests collected" in box.pytest("--collect-only")
    assert not box.files()
    solve(box, "01_one")
    assert "2 passed" in box.pytest("-p", "no:xdist", "-p", "no:timeout", "katas/01_one")
    box.pytest("--lf", "katas/01_one")
    assert box.code == 0
    box.pytest("katas/01_one", "--results", "here.json")
    assert (box.root / "here.json").exists()


@pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
def test_a_terminal_need_not_know_unicode(box, encoding):
    """Where the terminal can't show a character, something simpler stands."""
    solve(box, "01_one")
    spec = 'def test_shape():\n    """Shapes 2×3 → 3×2."""\n    assert not "↯"\n'
    box.write("katas/01_one/test_2_shape.py", spec)
    printed = box.pytest("katas/01_one", env={"PYTHONUTF8": "0", "PYTHONIOENCODING": encoding}, encoding=encoding)
    assert "01 one            #############.......  2 green " in printed
    assert "INTERNALERROR" not in printed
    assert box.code == 1


def test_the_recorder_is_kata_07s_from_07_on_and_none_before(tmp_path):
    """An import of katas.autograd, wherever it happens, does not change what the specs of earlier katas see."""
    box = Box(tmp_path / "box", {})
    tensor = "class Tensor:\n    _recorder = None\n"
    autograd = "from katas.tensor import Tensor\n\n\ndef record(*_):\n    pass\n\n\nTensor._recorder = record\n"
    spec = "import katas.autograd\nfrom katas.tensor import Tensor\n\n\n"
    spec += "{mark}def test_it():\n    assert Tensor._recorder is {want}\n"
    recorder = "katas.autograd.record"
    box.write("katas/02_tensor/tensor.py", tensor)
    box.write("katas/02_tensor/test_1_it.py", spec.format(mark="", want="None"))
    box.write("katas/07_autograd/autograd.py", autograd)
    box.write("katas/07_autograd/test_1_it.py", spec.format(mark="", want=recorder))
    box.write("katas/08_training/training.py", "")
    box.write("katas/08_training/test_1_it.py", spec.format(mark="", want=recorder))
    box.write("specs/milestones/test_1_it.py", spec.format(mark="", want=recorder))
    by_hand = "import pytest\n" + spec.format(mark="@pytest.mark.by_hand\n", want="None")
    box.write("specs/milestones/test_2_it.py", by_hand)
    printed = box.pytest("specs/milestones", "katas/08_training", "katas/02_tensor", "katas/07_autograd")
    assert [spec["outcome"] for spec in box.results()] == ["green"] * 5, printed
