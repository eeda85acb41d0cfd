"""What a solution may not do to the run: end its process, send it a signal, or skip the spec."""

import functools
import os
import signal
import sys
import unittest
from collections.abc import Callable
from contextlib import contextmanager

import pytest

from specs.door import message, relative

ENDS = ["_exit", "abort", "execl", "execle", "execlp", "execlpe", "execv", "execve", "execvp", "execvpe"]
SKIPS = (pytest.skip.Exception, pytest.xfail.Exception, pytest.exit.Exception, unittest.SkipTest)


class Refused(BaseException):
    """A solution did what it may not do. Not an Exception, so that `except Exception` does not swallow it."""


_run = _group = 0  # the process that runs the specs, and its process group where there are such
_refused: list[Refused] = []  # calls in the present phase of a spec


def install() -> None:
    """From now on, if a kata's module makes a call that would end this process, it raises Refused."""
    global _run, _group
    if not _run:
        for name in ENDS:
            _guard(os, name)
        for name in ("raise_signal", "pthread_kill"):
            _guard(signal, name)
        _guard(os, "kill", lambda pid, number: _sent(number) and pid in (0, -1, _run, -_group, os.getppid()))
        _guard(os, "killpg", lambda group, number: _sent(number) and group in (0, _group))
    _run, _group = os.getpid(), os.getpgrp() if hasattr(os, "getpgrp") else 0


def _guard(module, name: str, ends_run: Callable[..., bool] = lambda *args: True) -> None:
    """Puts a guard in a function's place, where the platform has it. In a forked child the call ends only the child."""
    if (real := getattr(module, name, None)) is None:
        return

    @functools.wraps(real)
    def guard(*args, **kwargs):
        if _of_solution(sys._getframe(1)) and os.getpid() == _run and ends_run(*args):
            shown = ", ".join(map(str, [*args, *kwargs.values()]))
            _refused.append(
                Refused(f"{module.__name__}.{name}({shown}) was called. A function returns or raises; only a program exits.")
            )
            raise _refused[-1]
        return real(*args, **kwargs)

    setattr(module, name, guard)


def _of_solution(frame) -> bool:
    """Whether it is of a module such as `katas.tensor`, or of one beside it. A spec's is named by its folder and file."""
    package, _, module = frame.f_globals.get("__name__", "").partition(".")
    return package == "katas" and "." not in module


def _sent(number: int) -> bool:
    """Whether this is a signal. POSIX's signal 0 only asks whether there is such a process."""
    return number != 0 or os.name != "posix"


@contextmanager
def contained():
    """A learner's code runs inside: its attempt to skip the spec or to end the process raises Refused here at the latest."""
    _refused.clear()
    try:
        yield
    except (Exception, *SKIPS) as error:
        if isinstance(error, SKIPS) and by_solution(error):
            raise Refused(told(error)).with_traceback(error.__traceback__) from None
        if not _refused or isinstance(error, SKIPS):
            raise
    if _refused:  # and swallowed, or raised in another thread: what follows from that is not told
        raise _refused[0]


def told(error: BaseException) -> str:
    """What to say of a solution's skip."""
    return f"a solution can't skip its spec: {type(error).__name__} was raised ({message(error)})"


def by_solution(error: BaseException) -> str:
    """File and line of the kata's module that raised one of SKIPS, or "" if a spec did. To quit the debugger is no skip."""
    place, trace = "", error.__traceback__
    while trace is not None:
        frame = trace.tb_frame
        if _of_solution(frame):
            place = f"{relative(frame.f_code.co_filename)}:{trace.tb_lineno}"
        elif frame.f_globals.get("__name__", "").startswith(("katas.", "specs.", "_pytest.debugging")):
            place = ""
        trace = trace.tb_next
    return place
