"""Whatever a learner's file does, the run ends, says what happened and where, and the other katas' results stay."""

import resource

import pytest

from specs.meta.box import Box

pytestmark = pytest.mark.timeout(120)

SPEC = '''import pytest
from katas.{m} import f


@pytest.mark.timeout(1)
def test_f():
    """f(1) is 2."""
    assert f(1) == 2


def test_something_else():
    """This has nothing to do with f."""
'''
WELL = "def f(x):\n    return x + 1\n"
# what happens: the file, and what the report of its spec names
MISHAPS = {
    "syntax": ("def f(x)\n    return x\n", [":1", "SyntaxError", "def f(x)"]),
    "endless": ("def f(x):\n    while True:\n        x += 1\n", ["in f", "did not finish", "endless loop"]),
    "stubborn": (
        "def f(x):\n    while True:\n        try:\n            x += 1\n        except:\n            pass\n",
        ["in f", "did not finish"],
    ),
    "endlessimport": ("x = 0\nwhile True:\n    x += 1\n", ["import did not finish", "endless loop outside a function"]),
    "raisingimport": ("x = 1\ny = x / 0\n", [":2", "ZeroDivisionError: division by zero"]),
    "exitimport": ("import sys\nsys.exit(0)\n", [":2", "sys.exit()"]),
    "missingname": ("def g(x):\n    return x\n", ["there is no 'f' in it"]),
    "deleted": (None, ["is missing", "kata reset {n}"]),
    "exits": ("import sys\ndef f(x):\n    sys.exit(0)\n", [":3 in f", "SystemExit", "exit(0)"]),
    "skips": (
        "import unittest\ndef f(x):\n    raise unittest.SkipTest('no')\n",
        [":3 in f", "a solution can't skip its spec: SkipTest was raised (no)"],
    ),
    "prints": ("def f(x):\n    while True:\n        print('x' * 90)\n", ["in f", "did not finish", "it printed:\n", "xxx"]),
    "warns": (
        "import warnings\ndef f(x):\n    for i in range(30_000):\n        warnings.warn(f'{i}')\n    return x\n",
        ["assert 1 == 2"],
    ),
    "recursion": ("def f(x):\n    return f(x)\n", [":2 in f", "RecursionError"]),
    "big": (
        "import numpy as np\ndef f(x):\n    return np.ones(50_000_000_000)\n",
        [":3 in f", "MemoryError", "Unable to allocate"],
    ),
    "growing": (
        "import numpy as np\ndef f(x):\n    a = []\n    while True:\n        a.append(np.empty(9_999_999))\n",
        [":5 in f", "MemoryError"],
    ),
    "unprintable": ("class F:\n    def __repr__(self):\n        raise OSError\ndef f(x):\n    return F()\n", ["f(1) == 2"]),
    "endlessrepr": ("class F:\n    def __repr__(self):\n        while True: pass\ndef f(x):\n    return F()\n", ["f(1)"]),
    "speechless": (
        "class E(Exception):\n    def __str__(self):\n        raise OSError\ndef f(x):\n    raise E\n",
        [":5 in f", "E: (its __str__ raises OSError)"],
    ),
    "threads": (
        "import threading, time\ndef f(x):\n    threading.Thread(target=time.sleep, args=(999,), name='mine').start()\n",
        ["assert None == 2"],
    ),
}
AT_IMPORT = {"syntax", "endlessimport", "raisingimport", "exitimport", "missingname", "deleted"}
FOLDERS = ["00_first", *(f"{number:02}_{name}" for number, name in enumerate(MISHAPS, 1)), "29_last"]


@pytest.fixture(scope="module", params=["alone", "two workers"])
def run(request, tmp_path_factory):
    """One run over katas to each of which something happened: what it printed, the results, and the exit code."""
    box = Box(tmp_path_factory.mktemp("box"), dict.fromkeys(FOLDERS, WELL))
    for folder in FOLDERS:
        module = folder[3:]
        box.write(f"katas/{folder}/test_1_numbers.py", SPEC.format(m=module))
        if module in MISHAPS:
            file = box.write(f"katas/{folder}/{module}.py", MISHAPS[module][0] or "")
            if module == "deleted":
                file.unlink()

    def little_memory():
        resource.setrlimit(resource.RLIMIT_AS, (2_500_000_000,) * 2)

    printed = box.pytest(*(["-n", "2"] if request.param == "two workers" else []), "-v", preexec_fn=little_memory)
    return printed, {spec["id"].split("/")[1][3:] + spec["id"].partition("::")[2]: spec for spec in box.results()}, box.code


@pytest.mark.parametrize("name", MISHAPS)
def test_a_mishap_is_named_with_its_place(run, name):
    """The report of a spec names what happened and where."""
    _, specs, _ = run
    spec = specs[f"{name}" if name in AT_IMPORT else f"{name}test_f"]
    assert spec["outcome"] == "red"
    number = FOLDERS[[*MISHAPS].index(name) + 1][:2]
    for text in MISHAPS[name][1]:
        assert text.format(n=number) in spec["why"]
    if name != "unprintable":
        assert f"katas/{number}_{name}/{name}.py" in spec["why"]
    assert len(spec["why"]) < 2000


def test_the_other_specs_are_green(run):
    """What surrounds a mishap is judged as ever: other katas, and a kata's other specs."""
    printed, specs, code = run
    assert [specs[f"{name}{test}"]["outcome"] for name in ("first", "last") for test in ("test_f", "test_something_else")] == [
        "green"
    ] * 4
    for name in set(MISHAPS) - AT_IMPORT:
        assert specs[f"{name}test_something_else"]["outcome"] == "green"
    assert code == 1
    assert "INTERNALERROR" not in printed
    assert "Traceback" not in printed
    assert len(printed.splitlines()) < 400


def test_threads_that_never_end_do_not_keep_the_run(run):
    """Python waits for threads at its end; the run does not, and names them (a worker is ended by xdist)."""
    printed, _, _ = run
    assert "still running, so they were stopped: mine" in printed or "2 workers" in printed
