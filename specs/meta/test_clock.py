"""A learner's code has an end, whatever it does to the clock that ends it; who is in a debugger has none."""

import bdb
import re
import signal
import subprocess
import sys
import threading
import time

import pytest

from specs import clock
from specs.clock import Endless, deadline
from specs.door import ROOT

pytestmark = pytest.mark.timeout(60)
SECONDS = 0.1


def forever():
    while True:
        pass


def without_the_alarm(change):
    """Runs forever() once `change` has been made, in a block of SECONDS; for how long it ran."""
    start = time.monotonic()
    with pytest.raises(Endless), deadline(SECONDS):
        change()
        forever()
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
    with pytest.raises(Endless), deadline(SECONDS):
        while swallowed < 3:
            try:
                forever()
            except:  # noqa: E722
                swallowed += 1
        forever()
    assert swallowed == 3


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
                    while time.monotonic() < end:
                        pass
            except Endless:
                inside += 1
            sum(range(100))
            assert not clock._blocks
        assert 0 < inside < 200


def test_an_inner_block_leaves_the_outer_one_a_second():
    """A block within a block ends first, or with it; then there is time for a report. Later the outer one ends."""
    start = time.monotonic()
    with pytest.raises(Endless), deadline(SECONDS):
        with pytest.raises(Endless), deadline(99):
            forever()
        assert time.monotonic() - start < 0.9
        end = time.monotonic() + 0.8
        while time.monotonic() < end:
            pass
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
        end = time.monotonic() + 3 * SECONDS
        while time.monotonic() < end:
            pass

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
    assert re.search(r"Timeout .*line 7 in spec\n.*line 8 in <module>", done.stderr, re.DOTALL)


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
