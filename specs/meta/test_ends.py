"""A solution can't end the run or skip its specs; a process that ends anyway leaves behind which spec was running."""

import signal
import sys

import pytest

from specs.meta.box import Box

pytestmark = pytest.mark.timeout(120)

SPEC = '''from katas.{m} import f


def test_before():
    """This has nothing to do with f."""


def test_f():
    """f(1) is 2."""
    assert f(1) == 2


def test_something_else():
    """Neither has this."""
'''
WELL = "def f(x):\n    return x + 1\n"
ME, SAYS = "os.getpid()", "A function returns or raises; only a program exits."
SKIP = "a solution can't skip its spec: {} was raised"


def call(what: str) -> str:
    """A file whose function makes a call in line 7."""
    return f"import os\nimport signal\nimport threading\nimport unittest\n\nimport pytest\ndef f(x): {what}; return x + 1\n"


# what a function does: the line, and what the report of its spec names
CALLS = {
    "exit": ("os._exit(0)", ["os._exit(0) was called.", SAYS]),
    "abort": ("os.abort()", ["os.abort() was called.", SAYS]),
    "execv": ("os.execv('/bin/true', ['true'])", ["os.execv(/bin/true, ['true']) was called.", SAYS]),
    "execlp": ("os.execlp('true', 'true')", ["os.execlp(true, true) was called."]),
    "kill": (f"os.kill({ME}, signal.SIGKILL)", ["os.kill(", ", 9) was called.", SAYS]),
    "killparent": ("os.kill(os.getppid(), signal.SIGCHLD)", ["os.kill(", f", {int(signal.SIGCHLD)}) was called."]),
    "killgroup": ("os.killpg(os.getpgrp(), 15)", ["os.killpg(", ", 15) was called."]),
    "killzero": ("os.kill(0, 15)", ["os.kill(0, 15) was called."]),
    "raisesignal": ("signal.raise_signal(9)", ["signal.raise_signal(9) was called."]),
    "evaluated": ("exec('os._exit(0)')", ["os._exit(0) was called."]),
    "thread": (
        "t = threading.Thread(target=lambda: os._exit(0)); t.start(); t.join()",
        ["os._exit(0) was called."],
    ),
    "skip": ("pytest.skip('hard')", [SKIP.format("Skipped") + " (hard)"]),
    "xfail": ("pytest.xfail('hard')", [SKIP.format("XFailed") + " (hard)"]),
    "importorskip": ("pytest.importorskip('nosuchmodule')", [SKIP.format("Skipped")]),
    "exitpytest": ("pytest.exit('done', 0)", [SKIP.format("Exit") + " (done)"]),
    "skiptest": ("self = unittest.TestCase(); self.skipTest('hard')", [SKIP.format("SkipTest") + " (hard)"]),
}
# files of other kinds
SWALLOWED = "import os\ndef f(x):\n    try:\n        os._exit(0)\n    except BaseException:\n        return x + 1\n"
FILES = {
    "swallowed": (SWALLOWED, [":4 in f", "os._exit(0) was called."]),
    "inrepr": (
        "import os\nclass F:\n    def __repr__(self):\n        os._exit(0)\ndef f(x):\n    return F()\n",
        ["os._exit(0)"],
    ),
    "inreprskip": (
        "import pytest\nclass F:\n    def __repr__(self):\n        pytest.skip('no')\ndef f(x):\n    a = F()\n    return a\n",
        ["f(1) == 2"],
    ),
    "instr": (
        "import pytest\nclass E(Exception):\n    def __str__(self):\n        pytest.skip('no')\ndef f(x):\n    raise E\n",
        [":6 in f", "E: (its __str__ raises Skipped)"],
    ),
    "instrexit": (
        "import os\nclass E(Exception):\n    def __str__(self):\n        os._exit(0)\ndef f(x):\n    raise E\n",
        [":6 in f", "E: (its __str__ raises Refused)"],
    ),
    "helper": ("from katas.mine import f\n", ["{file}", "os._exit(0) was called."]),
    "atimport": ("import os\nos._exit(0)\n", ["{file}:2", "os._exit(0) was called."]),
    "skipatimport": ("import pytest\npytest.skip('no', allow_module_level=True)\n", ["{file}:2", "Skipped: no"]),
    "exitatimport": ("import pytest\npytest.exit('no', 0)\n", ["{file}:2", "Exit: no"]),
    "fromspec": (
        "import unittest\ndef f(x):\n    raise unittest.SkipTest('no')\n",
        ["{file}:3", SKIP.format("SkipTest") + " (no)"],
    ),
}
WRONG = {
    name: (call(what), [f"{{file}}:7 in f{'.<lambda>' if name == 'thread' else ''}", *says])
    for name, (what, says) in CALLS.items()
} | FILES
AT_IMPORT = {"atimport", "skipatimport", "exitatimport", "fromspec"}
# what a solution may do, with the spec that the machine can't run, or that sends this process a signal
CHILDREN = """import os, signal, subprocess, sys, multiprocessing
def f(x):
    os.kill(os.getpid(), 0)
    child = os.fork()
    if child == 0:
        os._exit(3)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3
    child = os.fork()
    if child == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -9
    assert subprocess.run([sys.executable, "-c", "import os; os._exit(5)"]).returncode == 5
    process = multiprocessing.get_context("fork").Process(target=os._exit, args=(4,))
    process.start()
    process.join()
    assert process.exitcode == 4
    other = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    os.kill(other.pid, signal.SIGTERM)
    assert other.wait() == -signal.SIGTERM
    return x + 1


def ask(someone):
    someone()
"""
SPECS_OWN = '''

def test_signal():
    """A spec may send its own process a signal."""
    import os, signal

    got = []
    before = signal.signal(signal.SIGTERM, lambda *_: got.append(1))
    os.kill(os.getpid(), signal.SIGTERM)
    signal.signal(signal.SIGTERM, before)
    assert got


def test_not_here():
    """A spec may skip itself, in what a solution calls too."""
    import pytest
    from katas.children import ask

    ask(lambda: pytest.skip("there is no fork"))
'''
FOLDERS = ["00_first", *(f"{number:02}_{name}" for number, name in enumerate(WRONG, 1)), "28_children", "29_last"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """One run over katas each of which does one of these: what it printed, the results, the exit code, the files left."""
    box = Box(tmp_path_factory.mktemp("box"), dict.fromkeys(FOLDERS, WELL))
    for folder in FOLDERS:
        module = folder[3:]
        box.write(f"katas/{folder}/test_1_numbers.py", SPEC.format(m=module))
        if module in WRONG:
            box.write(f"katas/{folder}/{module}.py", WRONG[module][0])
    folder = next(folder for folder in FOLDERS if "helper" in folder)
    box.write(f"katas/{folder}/mine.py", "import os\ndef f(x):\n    os._exit(0)\n")
    folder = next(folder for folder in FOLDERS if "fromspec" in folder)
    box.write(f"katas/{folder}/test_1_numbers.py", SPEC.format(m="fromspec") + "\n\nVALUE = f(1)\n")
    box.write("katas/28_children/children.py", CHILDREN)
    box.write("katas/28_children/test_1_numbers.py", SPEC.format(m="children") + SPECS_OWN)
    printed = box.pytest("-v", start_new_session=True)
    specs = {spec["id"].split("/")[1][3:] + spec["id"].partition("::")[2]: spec for spec in box.results()}
    return printed, specs, box.code, [path.suffix for path in box.files()]


@pytest.mark.parametrize("name", WRONG)
def test_what_would_end_the_run_is_red_with_its_place(run, name):
    """Neither the process nor the spec ends: the report names the call, the file and the line."""
    spec = run[1][name if name in AT_IMPORT else f"{name}test_f"]
    assert spec["outcome"] == "red"
    folder = next(folder for folder in FOLDERS if folder[3:] == name)
    for text in WRONG[name][1]:
        assert text.format(file=f"katas/{folder}/{name}.py") in spec["why"]


def test_the_rest_of_the_run_is_judged(run):
    """The other specs are green, the exit code says that some were red, and only the results are left."""
    printed, specs, code, files = run
    for name in {"first", "last", "children", *WRONG} - AT_IMPORT:
        assert specs[f"{name}test_something_else"]["outcome"] == "green"
    assert (code, files) == (1, [".json"])
    assert "INTERNALERROR" not in printed


def test_child_processes_may_end_and_specs_may_skip(run):
    """What ends is a child, or it is the spec that sends the signal or can't run here."""
    specs = run[1]
    names = [name for name in specs if name.startswith("children")]
    assert {name[8:]: specs[name]["outcome"] for name in names} == {
        "test_before": "green",
        "test_f": "green",
        "test_something_else": "green",
        "test_signal": "green",
        "test_not_here": "not run",
    }
    assert specs["childrentest_not_here"]["why"] == "there is no fork"


@pytest.fixture
def box(tmp_path):
    """Two katas that are solved."""
    box = Box(tmp_path / "box", {"01_one": WELL, "02_two": WELL})
    for name in ("01_one", "02_two"):
        box.write(f"katas/{name}/test_1_numbers.py", SPEC.format(m=name[3:]))
    return box


FAST = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
SPEC_OF_TWO = "katas/02_two/test_1_numbers.py::test_f"


def kata(box: Box) -> str:
    """What `kata` prints."""
    command = [sys.executable, "-m", "specs.command"]
    return box.wait(box.popen(command, env={"PYTHONPATH": str(box.root), "COLUMNS": "120"}))


def test_after_a_crash_the_spec_is_named(box):
    """Compiled code takes the process along: `kata` says in the middle of what, and knows what had been judged before."""
    box.write("katas/02_two/two.py", "import ctypes\ndef f(x):\n    return ctypes.string_at(0)\n")
    box.pytest(env=FAST)
    assert box.code == -signal.SIGSEGV
    told = kata(box)
    assert f"the last run ended in the middle of {SPEC_OF_TWO}: compiled code crashed" in told
    assert "  1 green · 1 red of at least 3\n" in told
    assert "next: 02.1  f(1) is 2.\n" in told
    (journal,) = box.files()
    with journal.open("a") as file:
        file.write('{"id": "katas/02_two/te')  # a line that the end tore
    assert kata(box) == told
    box.write("katas/02_two/two.py", "import ctypes\nctypes.string_at(0)\n")
    box.pytest(env=FAST)
    assert "the last run ended in the middle of katas/02_two/test_1_numbers.py: " in kata(box)
    box.write("katas/02_two/two.py", WELL)
    assert "6 passed" in box.pytest(env=FAST)
    assert [path.suffix for path in box.files()] == [".running", ".running", ".json"]
    assert "in the middle" not in kata(box)


def test_a_run_that_goes_on_is_not_taken_for_one_that_was_killed(box):
    """`kata` in another terminal says nothing of it. After kill -9 it names each spec that was running."""
    waits = f"import time\ndef f(x):\n    open({str(box.root / 'begun')!r}, 'w').close()\n    time.sleep(60)\n"
    box.write("katas/02_two/two.py", waits)
    process = box.start(env=FAST)
    while not (box.root / "begun").exists():
        assert process.poll() is None
    assert "in the middle" not in kata(box)
    process.kill()
    box.wait(process)
    assert f"the last run ended in the middle of {SPEC_OF_TWO}: " in kata(box)


def test_a_run_that_ends_early_is_no_success(box):
    """Whoever ends it with exit code 0, before all specs that were chosen have run. What -k leaves out was not chosen."""
    ends = "import pytest\ndef pytest_runtest_logfinish():\n    pytest.exit('enough', 0)\n"
    box.write("katas/conftest.py", ends)
    assert "2 of 3 specs did not come to an end, so the run is no success\n" in box.pytest("katas/01_one", env=FAST)
    assert box.code == 2
    assert [spec["outcome"] for spec in box.results()] == ["green", "not run", "not run"]
    assert "no success" not in box.pytest("katas/01_one", "-k", "before", env=FAST)
    assert box.code == 0
