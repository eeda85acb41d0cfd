"""What a learner's code changes for the whole process is put back, and named with its line; Ctrl-C is a person's."""

import re

import pytest

from specs.meta.box import Box

pytestmark = pytest.mark.timeout(120)

SPEC = '''import pytest
from katas.{m} import f


def test_f(tmp_path):
    """f(1) is 2."""
    assert f(1) == 2


def test_something_else():
    """What f changed is as before."""
    import builtins, gc, os, signal, sys
    import numpy as np

    os.fstat(1), os.fstat(2), sys.stdout.write(""), sys.stderr.write("")
    sys.__stdout__.write("")
    assert np.asarray.__module__ == np.linalg.norm.__module__.partition(".")[0] == "numpy"
    assert (np.geterr()["divide"], np.get_printoptions()["precision"]) == ("warn", 8)
    assert os.environ["KATA_IMPL"] == "katas" and os.path.exists("conftest.py")
    assert gc.isenabled() and sys.getrecursionlimit() < 9999 and sys.modules["numpy"] is np
    assert signal.getsignal(signal.SIGINT) is not signal.SIG_IGN and builtins.sum([1, 2]) == 3
    assert sys.meta_path[0].__module__ == "specs.door"
'''
WELL = "def f(x):\n    return x + 1\n"
BACK = " It is put back."
CHANGED = " was left changed"
# what code does: its lines, before `return` in f, or, above it, at the import; and what the report says
DONE = {
    "interrupts": ("raise KeyboardInterrupt", ":6 in f", "KeyboardInterrupt was raised by code. Only a person"),
    "stdout": ("sys.stdout.close()", ":6 in f", "sys.stdout.close() was called, and did nothing: all specs share it."),
    "stderr": ("sys.stderr.close()", ":6 in f", "sys.stderr.close() was called"),
    "buffer": ("sys.stdout.buffer.close()", ":6 in f", "sys.stdout.buffer.close() was called"),
    "terminal": ("sys.__stdout__.close()", ":6 in f", "close() was called, and did nothing"),
    "leaves": ("with sys.stdout: pass", ":6 in f", "sys.stdout.close() was called"),
    "descriptor": ("os.close(1)", "", "file descriptor 1 was closed, and is open again: all specs share it."),
    "impl": (
        "os.environ['KATA_IMPL'] = 'reference'",
        ":6: the environment variable KATA_IMPL",
        f"{CHANGED} (to 'reference').{BACK}",
    ),
    "unset": ("os.environ.clear()", ":6: the environment variable KATA_IMPL", f"{CHANGED}.{BACK}"),
    "folder": ("os.chdir('/')", f":6: the working directory{CHANGED} (to '/').{BACK}", ""),
    "deleted": ("os.mkdir('new'); os.chdir('new'); os.rmdir('../new')", f":6: the working directory{CHANGED}.{BACK}", ""),
    "errors": ("np.seterr(all='raise')", f":6: NumPy's error handling{CHANGED}.{BACK} np.errstate(…) is for a block.", ""),
    "prints": ("np.set_printoptions(precision=3)", f":6: NumPy's print options{CHANGED}.{BACK} np.printoptions(…) is", ""),
    "limit": ("sys.setrecursionlimit(99_999)", f":6: the recursion limit{CHANGED} (to 99999).{BACK}", ""),
    "garbage": ("gc.disable()", f":6: the garbage collector{CHANGED} (to False).{BACK}", ""),
    "signal": ("signal.signal(signal.SIGINT, signal.SIG_IGN)", f":6: the handler of Ctrl-C{CHANGED}", BACK),
    "array": ("np.asarray = np.array", f":6: np.asarray was replaced.{BACK}", ""),
    "assigned": ("np.linalg.norm = lambda x: 1", f":6: np.linalg.norm was replaced.{BACK}", ""),
    "removed": ("del np.asarray, np.exp", f":6: np.exp was replaced.{BACK}", ":6: np.asarray was replaced."),
    "builtin": ("builtins.sum = len", f":6: builtins.sum was replaced.{BACK}", ""),
    "module": ("sys.modules['numpy'] = math", f":6: sys.modules{CHANGED}", BACK),
    "finder": ("sys.meta_path.pop(0)", f":6: sys.meta_path{CHANGED}", BACK),
    "wrong": ("np.seterr(all='raise'); x = 7", "assert 8 == 2", f":6: NumPy's error handling{CHANGED}.{BACK}"),
}
# What is done by the import, of a file that says the same in line 6.
IMPORTED = {
    "importerrors": ("np.seterr(all='raise')", f":6: NumPy's error handling{CHANGED}"),
    "importarray": ("np.asarray = np.array", ":6: np.asarray was replaced."),
    "importstdout": ("sys.stdout.close()", ":6: RuntimeError: sys.stdout.close() was called"),
    "importinterrupts": ("raise KeyboardInterrupt", ":6: KeyboardInterrupt"),
}
IMPORTS = "import builtins, gc, math, os, signal, sys\nimport numpy as np\n\n\n"
FOLDERS = ["00_first", *(f"{number:02}_{name}" for number, name in enumerate({**DONE, **IMPORTED}, 1)), "29_last"]


@pytest.fixture(scope="module", params=[["-s"], ["-n", "1"]], ids=["not captured", "captured"])
def run(request, tmp_path_factory):
    """One run over katas each of which changes something: what it printed, the results, and the exit code."""
    box = Box(tmp_path_factory.mktemp("box"), dict.fromkeys(FOLDERS, WELL))
    for folder in FOLDERS:
        module = folder[3:]
        box.write(f"katas/{folder}/test_1_numbers.py", SPEC.format(m=module))
        if module in DONE:
            box.write(f"katas/{folder}/{module}.py", f"{IMPORTS}def f(x):\n    {DONE[module][0]}\n    return x + 1\n")
        if module in IMPORTED:
            box.write(f"katas/{folder}/{module}.py", f"{IMPORTS}x = 1\n{IMPORTED[module][0]}\n{WELL}")
    printed = box.pytest(*request.param, "-v", env={"KATA_IMPL": "katas"})
    return printed, {spec["id"].split("/")[1][3:] + spec["id"].partition("::")[2]: spec for spec in box.results()}, box.code


@pytest.mark.parametrize("name", [*DONE, *IMPORTED])
def test_a_change_is_named_with_its_line(run, name):
    """The spec that calls the code is red, or all specs of a file whose import does it, and say what was changed and where."""
    _, specs, _ = run
    spec = specs.get(f"{name}test_f") or specs[name]
    assert spec["outcome"] == "red"
    for says in {**DONE, **IMPORTED}[name][1:]:
        text = " ".join(spec["why"].split())
        assert (f"katas/{spec['kata']}_{name}/{name}.py{says}" if re.match(r":\d", says) else says) in text
    assert len(spec["why"]) < 1500


def test_the_others_do_not_notice(run):
    """All other specs see everything as before, and are green."""
    printed, specs, code = run
    others = [name for name in specs if name.endswith("test_something_else")]
    assert len(others) == len(DONE) + 2
    assert {specs[name]["outcome"] for name in others} == {"green"}
    assert (specs["firsttest_f"]["outcome"], specs["lasttest_f"]["outcome"]) == ("green", "green")
    assert code == 1
    assert "INTERNALERROR" not in printed
    assert "Traceback" not in printed


def test_a_person_in_a_debugger_may_change_what_they_like(tmp_path):
    """The debugger itself leaves a handler of Ctrl-C behind when it continues: that is no fault of the spec."""
    box = Box(tmp_path / "box", {"01_one": "def add_one(x):\n    breakpoint()\n    return x + 1\n"})
    with box.write("typed", "c\nc\n").open() as typed:
        printed = box.pytest(env={"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}, stdin=typed)
    assert "(Pdb)" in printed
    assert box.outcomes() == dict.fromkeys(box.outcomes(), "green")
    assert box.code == 0
