"""The time that a learner's code may take.

`deadline` raises Endless in its block when the time is up. It has three stages, each for what the one before can't stop:

1. SIGALRM, whose handler raises, then again every second: a bare `except:` in a loop swallows the first.
2. A thread that raises Endless in the main one. It is for learners who change the handler or the timer, and works alone where
   there is no such timer, as on Windows.
3. Python's faulthandler, GRACE seconds later, for a call in C that never returns: it writes to stderr which line of which
   function the process is at, the spec's too, and ends the process. It needs no interpreter that works.

Whoever is in a debugger is left alone. A spec's limit is the plugin's (specs/plugin/hooks.py), which asks pytest-timeout to
stay out of specs that judge katas: of its two ways one is SIGALRM's, too, and the other ends the process without a report.
"""

import contextlib
import ctypes
import faulthandler
import math
import os
import signal
import sys
import threading
import time
from _thread import start_new_thread
from contextlib import contextmanager
from types import CodeType, FrameType
from typing import NamedTuple

GRACE = 20  # seconds in which a long call in C may still return
TICK = 0.5  # seconds between two looks of the thread
LATER = 2 * TICK if hasattr(signal, "setitimer") else 0  # seconds for which the thread leaves it to the signal
SHARE = 50  # a suspect has this part of the time
DEBUGGERS = ("bdb", "pdb", "pydevd", "_pydevd")

suspects: list[CodeType] = []  # functions that did not finish before, and are not waited for as long
stderr = 2  # the file's number; pytest keeps what is written to 2


class Endless(BaseException):
    """Time is up. Not an Exception, so that `except Exception` does not swallow it."""


class _Block(NamedTuple):
    """When the time of a block is up, and when that of a suspect."""

    end: float
    early: float


_blocks: list[_Block] = []  # those that the main thread is in
_lock = threading.Lock()  # held while a block is left, and while the thread raises in it
_watched = False  # whether the thread runs


@contextmanager
def deadline(seconds: float):
    """Raises Endless in the block after `seconds`, or when the time of the block around it is up if that is sooner.

    That one has a second left afterwards. Does nothing in other threads than the main one, nor under a debugger.
    """
    if threading.current_thread() is not threading.main_thread() or _debugged(None, sys.gettrace()):
        yield
        return
    depth, start = len(_blocks), time.monotonic()
    ends = [start + seconds, *(block.end for block in _blocks)]
    _enter(_Block(min(ends), start + seconds / SHARE))
    try:
        with _alarm():
            yield
    finally:
        _leave(depth)


def stop() -> None:
    """Ends the limits of all blocks, for a person in a debugger."""
    _blocks[:] = [_Block(math.inf, math.inf)] * len(_blocks)
    _disarm()
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, 0)


def _enter(block: _Block) -> None:
    global _watched
    with _lock:
        _blocks.append(block)
        missing, _watched = not _watched, True
    if len(_blocks) == 1:
        _arm()
    if missing:
        try:  # not a threading.Thread, which specs that count threads would see
            start_new_thread(_watch, ())
        except RuntimeError:  # no memory is left for one
            _watched = False


def _leave(depth: int) -> None:
    while True:
        try:
            with _lock:
                del _blocks[depth:]
                _settle()
                break
        except Endless:  # the thread raised it in the block, and it arrives here
            pass
    if _blocks:
        _blocks[-1] = _blocks[-1]._replace(end=max(_blocks[-1].end, time.monotonic() + 1))
    else:
        _disarm()


def _settle() -> None:
    """What the thread has raised arrives here, if it is still to come: Python looks for it whenever a loop goes round.

    Taking it back instead would leave Python 3.11 looking for it for good.
    """
    for _ in range(3):
        pass


@contextmanager
def _alarm():
    """The first stage. A timer that runs already, pytest-timeout's say, goes on afterwards."""
    if not hasattr(signal, "setitimer"):
        yield
        return
    start, (running, interval) = time.monotonic(), signal.getitimer(signal.ITIMER_REAL)
    handler = signal.signal(signal.SIGALRM, _interrupt)
    block = _blocks[-1]
    end, again = (block.early, block.early - start) if suspects else (block.end, 1)
    signal.setitimer(signal.ITIMER_REAL, max(end - start, 0.001), again)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
        if running:
            signal.setitimer(signal.ITIMER_REAL, max(running - (time.monotonic() - start), 1), interval)


def _interrupt(signum, frame):
    if _due(frame) and not _debugged(frame, sys.gettrace()):
        _settle()  # one is enough: the second would come where the first is handled
        raise Endless


def _watch() -> None:
    """The second stage, in a thread of its own, which ends when there is nothing to watch."""
    global _watched
    main = threading.main_thread().ident
    while True:
        time.sleep(TICK)
        with _lock:
            if not _blocks:
                _watched = False
                return
            _look(main)


def _look(main: int) -> None:
    """In a function of its own: a frame that the thread held while it sleeps would keep all that is in it.

    Nor are frames looked at before the time is up: Python would make objects of them, which a budget of bytes would count.
    """
    if time.monotonic() - LATER < (_blocks[-1].early if suspects else _blocks[-1].end):
        return
    frame = sys._current_frames()[main]
    if _debugged(frame):
        stop()
    elif _due(frame, LATER):
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(main), ctypes.py_object(Endless))


def _arm() -> None:
    """The third stage."""
    if _blocks and _blocks[0].end < math.inf:
        seconds = _blocks[0].end - time.monotonic() + GRACE
        with contextlib.suppress(RuntimeError):  # no memory is left for its thread
            faulthandler.dump_traceback_later(max(seconds, 1), exit=True, file=stderr)


def _disarm() -> None:
    faulthandler.cancel_dump_traceback_later()


def _due(frame: FrameType, later: float = 0) -> bool:
    """Whether the main thread, which is in this frame, has no time left."""
    if not _blocks or _entering(frame):
        return False
    now, block = time.monotonic() - later, _blocks[-1]
    return now >= block.end or (now >= block.early and _suspected(frame))


def _entering(frame: FrameType) -> bool:
    """Whether a block is being entered or left: an exception there would keep it open. The next ring is not far."""
    return frame.f_code.co_filename == contextlib.__file__ or any(
        caller.f_code.co_filename == __file__ for caller in _callers(frame)
    )


def _suspected(frame: FrameType) -> bool:
    return any(caller.f_code is suspect for caller in _callers(frame) for suspect in suspects)


def _debugged(frame: FrameType | None, tracer=None) -> bool:
    """Whether a debugger follows the main thread, which is in this frame and has this function for tracing, if it is known."""
    if hasattr(sys, "monitoring") and sys.monitoring.get_tool(sys.monitoring.DEBUGGER_ID):
        return True
    names = [getattr(tracer, "__module__", None)]
    for caller in _callers(frame):
        names += [caller.f_globals.get("__name__"), getattr(caller.f_trace, "__module__", None)]
    return any(isinstance(name, str) and name.startswith(DEBUGGERS) for name in names)


def _callers(frame: FrameType | None):
    """A frame, the one that called it, and so on."""
    while frame:
        yield frame
        frame = frame.f_back


def _forked() -> None:
    """A child process has neither the threads nor the timer."""
    global _lock, _watched
    _blocks.clear()
    _lock, _watched = threading.Lock(), False


if hasattr(os, "register_at_fork"):  # a child that inherits faulthandler's thread as running waits for it forever
    os.register_at_fork(before=_disarm, after_in_parent=_arm, after_in_child=_forked)
