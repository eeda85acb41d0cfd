"""A learner's code has an end, whatever it does to the clock that ends it; who is in a debugger is left alone."""

import bdb
import re
import signal
import subprocess
import sys
import threading
import time
import weakref

import pytest

from specs import clock
from specs.clock import Endless, deadline
from specs.door import ROOT
from specs.meta.box import Box

pytestmark = pytest.mark.timeout(60)
SECONDS = 0.1


def forever(_=None):
    while True:
        pass


def until(end):
    """A loop of its own function: in Python 3.13 what is raised in a loop may miss a `try` around it in the same function."""
    while time.monotonic() < end:
        pass


def without_the_alarm(change):
    """Runs forever() once `change` has been made, in a block of SECONDS; for how long it ran."""
    start = time.monotonic()
    with pytest.raises(Endless), deadline(SECONDS):
        forever(change())
    return time.monotonic() - start


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """The thread looks often, and leaves little time to the signal."""
    wait_for_the_thread()
    monkeypatch.setattr(clock, "TICK", 0.02)
    monkeypatch.setattr(clock, "LATER", 0.1)
    before = signal.getsignal(signal.SIGALRM), signal.getitimer(signal.ITIMER_REAL)[0]
    yield
    assert (signal.getsignal(signal.SIGALRM), signal.getitimer(signal.ITIMER_REAL)[0] > 0) == (before[0], before[1] > 0)
    assert not clock._blocks
    wait_for_the_thread()


def wait_for_the_thread():
    end = time.monotonic() + 5
    while clock._watched:
        assert time.monotonic() < end, "the clock's thread does not end"
        time.sleep(0.01)


def test_a_loop_without_end_is_ended_by_the_signal(monkeypatch):
    """SIGALRM comes first: there is nothing for the thread to do."""
    monkeypatch.setattr(clock, "LATER", 9)
    assert SECONDS <= without_the_alarm(lambda: None) < 2


@pytest.mark.parametrize(
    "change",
    [
        lambda: signal.signal(signal.SIGALRM, signal.SIG_IGN),
        lambda: signal.signal(signal.SIGALRM, signal.SIG_DFL) and signal.alarm(0),
        lambda: signal.signal(signal.SIGALRM, lambda *_: None),
        lambda: signal.setitimer(signal.ITIMER_REAL, 0),
        lambda: signal.alarm(0),
        lambda: signal.setitimer(signal.ITIMER_REAL, 999),
    ],
    ids=["ignored", "default", "handled", "no timer", "no alarm", "a later timer"],
)
def test_the_thread_ends_what_the_signal_does_not(change):
    """Whoever changes SIGALRM's handler or its timer is interrupted by the thread, and what they changed is put back."""
    assert SECONDS < without_the_alarm(change) < 5


def test_without_a_timer_the_thread_does_it_alone(monkeypatch):
    """As on Windows: a body, and a bare `except:` in a loop."""
    monkeypatch.delattr(signal, "setitimer")
    monkeypatch.setattr(clock, "LATER", 0)
    assert SECONDS <= without_the_alarm(lambda: None) < 5
    swallowed = 0
    with pytest.raises(Endless), deadline(SECONDS):  # noqa: PT012
        while swallowed < 3:
            try:
                forever()
            except:  # noqa: E722
                swallowed += 1
        forever()
    assert swallowed == 3


def test_the_thread_holds_nothing():
    """What a function had is gone when it returns, though the thread has looked at it."""

    class Thing:
        pass

    def function():
        thing = Thing()
        time.sleep(0.1)
        return weakref.ref(thing)

    with deadline(9):
        found = [function()() for _ in range(5)]
    assert found == [None] * 5


def test_no_frame_is_looked_at_before_the_time_is_up(monkeypatch):
    """Python makes objects of frames that are looked at: a budget of bytes would count them."""
    looks = []
    monkeypatch.setattr(sys, "_current_frames", lambda: looks.append(1))
    with deadline(9):
        time.sleep(0.1)
    assert not looks


def test_no_exception_comes_behind_the_block(monkeypatch):
    """Blocks that end at about the time when it is up are interrupted inside, or not at all."""
    for setitimer in (True, False):
        if not setitimer:
            monkeypatch.delattr(signal, "setitimer")
        monkeypatch.setattr(clock, "LATER", 0)
        monkeypatch.setattr(clock, "TICK", 0.0005)
        inside = 0
        for i in range(200):
            end = time.monotonic() + 0.001 + i * 5e-6
            try:
                with deadline(0.0015):
                    until(end)
            except Endless:
                inside += 1
            sum(range(100))
            assert not clock._blocks
        assert 0 < inside < 200


def test_an_inner_block_leaves_the_outer_one_a_second():
    """A block within a block ends first, or with it; then there is time for a report. Later the outer one ends."""
    start = time.monotonic()
    with pytest.raises(Endless), deadline(SECONDS):  # noqa: PT012
        with pytest.raises(Endless), deadline(99):
            forever()
        assert time.monotonic() - start < 0.9
        until(time.monotonic() + 0.8)
        forever()
    assert time.monotonic() - start > 1


def test_a_timer_that_ran_before_goes_on():
    """Such as pytest-timeout's."""
    with deadline(1):
        pass
    assert 0 < signal.getitimer(signal.ITIMER_REAL)[0] <= 60 * 30


def test_other_threads_are_not_limited():
    """Neither the signal nor an exception is theirs: a block of another thread does nothing."""
    found = []

    def work():
        with deadline(0.01):
            found.append(list(clock._blocks))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [[]]


def test_the_thread_is_seen_by_nobody_and_ends():
    """A spec that counts threads sees none; it runs while there is something to watch only."""
    before = threading.enumerate()
    with deadline(9):
        assert threading.enumerate() == before
        assert clock._watched
    wait_for_the_thread()


class Debugger(bdb.Bdb):
    """Steps through everything, as a debugger that is told to."""

    def user_line(self, frame):
        pass


@pytest.mark.parametrize("alarm", [True, False])
def test_a_debugger_switches_the_limit_off(monkeypatch, alarm):
    """Whether it was there before the block or comes in it; so does stop()."""
    if not alarm:
        monkeypatch.delattr(signal, "setitimer")
        monkeypatch.setattr(clock, "LATER", 0)
    debugger = Debugger()

    def wait():
        until(time.monotonic() + 3 * SECONDS)

    def trace_and_wait():
        debugger.set_trace()
        wait()
        debugger.set_quit()
        sys.settrace(None)
        clock.stop()

    before = sys.gettrace()
    with deadline(SECONDS):
        trace_and_wait()
    with deadline(SECONDS):
        clock.stop()
        wait()
    try:
        sys.settrace(debugger.trace_dispatch)
        with deadline(SECONDS):
            assert not clock._blocks
    finally:
        sys.settrace(before)


def python(code: str, **options) -> subprocess.CompletedProcess:
    """A program of its own, whose clock is quick."""
    head = "import os, sys, time\nfrom specs import clock\nclock.GRACE = 0.3\n"
    command = [sys.executable, "-c", head + code]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=20, **options)


def test_a_call_that_never_returns_ends_the_process():
    """C that holds the interpreter: where it is, and in whose call, is written to stderr."""
    code = """
import collections, itertools
def spec():
    with clock.deadline(0.1):
        collections.deque(itertools.repeat(1), maxlen=0)
spec()
"""
    done = python(code)
    assert done.returncode == 1
    assert re.search(r"Timeout .*line 8 in spec\n.*line 9 in <module>", done.stderr, re.DOTALL)


def test_nothing_is_ended_behind_the_block_or_in_a_debugger():
    """What takes long after a block, in a fork of the process, after stop(), or under a debugger goes on."""
    code = """
import bdb
class Debugger(bdb.Bdb):
    def user_line(self, frame): pass
with clock.deadline(0.1):
    pass
time.sleep(0.5)
with clock.deadline(0.1):
    clock.stop()
    time.sleep(0.5)
    os.fork() or sys.exit()
with clock.deadline(9):
    child = os.fork()
    if child == 0:
        with clock.deadline(9):
            pass
        sys.exit(7)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
print("done")
"""
    done = python(code)
    assert (done.stdout, done.returncode) == ("7\ndone\n", 0)


SPEC = '''import pytest
from katas.{m} import f


@pytest.mark.timeout(0.3)
def test_f():
    """f(1) is 2."""
    assert f(1) == 2


def test_something_else():
    """This has nothing to do with f."""
'''
LOOP = "def f(x):\n    while True:\n        pass\n"
ALARM = "import signal\ndef f(x):\n    {}\n    while True:\n        pass\n"
NEVER = "import collections, itertools\ndef f(x):\n    collections.deque(itertools.repeat(1), maxlen=0)\n"
MUTE = "class E(Exception):\n    def __str__(self):\n        while True: pass\n"
# what happens: the file, and what the report of its spec names
STOPPED = {
    "ignored": (ALARM.format("signal.signal(signal.SIGALRM, signal.SIG_IGN)"), [r"\.py:[45] in f", "did not finish in time"]),
    "silenced": (ALARM.format("signal.setitimer(signal.ITIMER_REAL, 0)"), [r"\.py:[45] in f", "did not finish in time"]),
    "never": (NEVER, ["the process ended while this spec ran"]),
    "mute": (MUTE + "def f(x):\n    raise E\n", [r"\.py:5 in f", r"E: \(its __str__ did not finish\)"]),
    "muteimport": (MUTE + "raise E\n", [r"\.py:4: E: \(its __str__ did not finish\)"]),
}
OFTEN = '''import time
import pytest
from katas.often import f

pytestmark = pytest.mark.timeout(0.5)


@pytest.mark.parametrize("x", range(6))
def test_f(x):
    """f(x) is x + 1."""
    assert f(x) == x + 1


def test_slow():
    """What does not call f may take as long as ever."""
    end = time.monotonic() + 0.3
    while time.monotonic() < end:
        pass
'''
FOLDERS = ["00_first", *(f"{number:02}_{name}" for number, name in enumerate(STOPPED, 1)), "28_often", "29_last"]


def judged(box: Box, *arguments: str, **options) -> tuple[str, dict[str, dict]]:
    """One run over the box's katas: what it printed, and its results by kata and spec, such as firsttest_f."""
    printed = box.pytest(*arguments, **options)
    assert "INTERNALERROR" not in printed
    return printed, {spec["id"].split("/")[1][3:] + spec["id"].partition("::")[2]: spec for spec in box.results()}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    box = Box(tmp_path_factory.mktemp("box"), dict.fromkeys(FOLDERS, "def f(x):\n    return x + 1\n"))
    for folder in FOLDERS:
        box.write(f"katas/{folder}/test_1_numbers.py", SPEC.format(m=folder[3:]))
    for folder, (text, _) in zip(FOLDERS[1:], STOPPED.values(), strict=False):
        box.write(f"katas/{folder}/{folder[3:]}.py", text)
    box.write("katas/28_often/often.py", LOOP)
    box.write("katas/28_often/test_1_numbers.py", OFTEN)
    box.edit("specs/clock.py", "GRACE = 20", "GRACE = 1")
    box.edit("specs/clock.py", "TICK = 0.5", "TICK = 0.1")
    box.edit("specs/door.py", "MESSAGE_SECONDS = 1", "MESSAGE_SECONDS = 0.1")
    return judged(box, "-n", "1")


@pytest.mark.parametrize("name", STOPPED)
def test_what_ends_a_spec_is_named_with_its_place(run, name):
    """A changed alarm, a call that never returns and a message without end are red; what is around them is judged as ever."""
    printed, specs = run
    spec = specs[name if name == "muteimport" else f"{name}test_f"]
    assert spec["outcome"] == "red"
    for text in STOPPED[name][1]:
        assert re.search(text, spec["why"])
    if name == "never":
        where = r'Timeout .*never\.py", line 3 in f\n  File .*test_1_numbers\.py", line 8 in test_f\n'
        assert re.search(where, printed, re.DOTALL)
    if name != "muteimport":
        assert specs[f"{name}test_something_else"]["outcome"] == "green"
    for other in ("first", "last"):
        assert specs[f"{other}test_f"]["outcome"] == "green"


def test_two_specs_that_did_not_finish_are_enough(run):
    """Those that come to the same function afterwards are red after a small part of the time, and say why; others are not."""
    _, specs = run
    found = [specs[f"oftentest_f[{x}]"] for x in range(6)]
    assert [spec["outcome"] for spec in found] == ["red"] * 6
    assert all(spec["seconds"] >= 0.5 for spec in found[:2])
    assert all(spec["seconds"] < 0.3 for spec in found[2:])
    assert "it did not finish in time" in found[1]["why"]
    for spec in found[2:]:
        assert "f in katas/28_often/often.py did not finish twice, so no spec waits for it any more" in spec["why"]
    assert specs["oftentest_slow"]["outcome"] == "green"


def test_without_a_timer_everything_is_judged_too(tmp_path):
    """As on Windows, which has neither SIGALRM nor setitimer: a body and an import without end are red, and the run goes on."""
    box = Box(tmp_path / "box", dict.fromkeys(["01_body", "02_outside"], LOOP) | {"03_last": "def f(x):\n    return x + 1\n"})
    for folder in ("01_body", "02_outside", "03_last"):
        box.write(f"katas/{folder}/test_1_numbers.py", SPEC.format(m=folder[3:]))
    box.write("katas/02_outside/outside.py", "while True:\n    pass\n")
    box.write("site/sitecustomize.py", "import signal\ndel signal.setitimer, signal.getitimer, signal.alarm, signal.SIGALRM\n")
    _, specs = judged(box, env={"PYTHONPATH": str(box.root / "site")})
    assert {name: spec["outcome"] for name, spec in specs.items()} == {
        "bodytest_f": "red",
        "bodytest_something_else": "green",
        "outside": "red",
        "lasttest_f": "green",
        "lasttest_something_else": "green",
    }
    assert re.search(r"\.py:[23] in f", specs["bodytest_f"]["why"])
    assert "the import did not finish" in specs["outside"]["why"]
