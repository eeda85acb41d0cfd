"""The time that a learner's code may take: a timer that raises in whatever runs, and that can be stopped."""

import signal
import sys
import threading
import time
from contextlib import contextmanager


class Endless(BaseException):
    """Time is up. Not an Exception, so that `except Exception` does not swallow it."""


@contextmanager
def deadline(seconds: float | None = None):
    """Raises Endless in the block after `seconds`, at the latest when the timer that is running would ring.

    Then again every second: a bare `except:` in a loop swallows the first. Does nothing in other threads than the main one,
    and on Windows, which has no such timer.
    """
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return
    running, interval = signal.getitimer(signal.ITIMER_REAL)
    seconds = min(filter(None, (seconds, running)), default=0)
    handler = signal.signal(signal.SIGALRM, _interrupt)
    signal.setitimer(signal.ITIMER_REAL, seconds, 1)
    start = time.monotonic()
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
        _resume(running - (time.monotonic() - start) if running else 0, interval)


@contextmanager
def paused():
    """The timer that is running stands still: what happens in the block is not the spec's doing. It has a second left then."""
    if not hasattr(signal, "setitimer"):
        yield
        return
    running, interval = signal.setitimer(signal.ITIMER_REAL, 0)
    try:
        yield
    finally:
        _resume(running, interval)


def stop() -> None:
    """Ends the timer that is running, for a person in a debugger."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, 0)


def _interrupt(signum, frame):
    tracer = sys.gettrace()
    if not (tracer and getattr(tracer, "__module__", "").startswith(("bdb", "pydevd", "_pydevd"))):  # a debugger's break
        raise Endless


def _resume(seconds: float, interval: float) -> None:
    if seconds:
        signal.setitimer(signal.ITIMER_REAL, max(seconds, 1), interval)
