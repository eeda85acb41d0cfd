"""What all specs share: a learner's code that changes it makes its own spec red, and it is put back for the others."""

import builtins
import contextlib
import functools
import gc
import operator
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from specs import door, interrupt
from specs.check.asserts import Mismatch
from specs.plugin.culprit import judged, kata_of

RED = pytest.StashKey[bool]()
DEBUGGED = pytest.StashKey[bool]()
BEFORE = pytest.StashKey[tuple[list, list]]()


class Shared(NamedTuple):
    """A value of the whole process: how it is read and put back, and how a line of code that changes it looks."""

    name: str
    read: Callable[[], Any]
    put_back: Callable[[Any], object]
    pattern: str
    remedy: str = ""


def _set_variable(value: str | None) -> None:
    if value is None:
        os.environ.pop(door.VARIABLE, None)
    else:
        os.environ[door.VARIABLE] = value


def _folder() -> str | None:
    with contextlib.suppress(FileNotFoundError):  # it was deleted
        return os.getcwd()


SHARED = [
    Shared(f"the environment variable {door.VARIABLE}", lambda: os.environ.get(door.VARIABLE), _set_variable, "environ|putenv"),
    Shared("the working directory", _folder, os.chdir, r"chdir\("),
    Shared("NumPy's error handling", np.geterr, lambda old: np.seterr(**old), r"seterr\(", "np.errstate(…) is for a block"),
    Shared(
        "NumPy's print options",
        np.get_printoptions,
        lambda old: np.set_printoptions(**old),
        r"set_printoptions\(",
        "np.printoptions(…) is for a block",
    ),
    Shared("the recursion limit", sys.getrecursionlimit, sys.setrecursionlimit, r"setrecursionlimit\("),
    Shared("the garbage collector", gc.isenabled, lambda on: gc.enable() if on else gc.disable(), r"gc\.(dis|en)able\("),
    Shared(
        "the handler of Ctrl-C",
        lambda: signal.getsignal(signal.SIGINT),
        lambda old: signal.signal(signal.SIGINT, old),
        "SIGINT",
    ),
    Shared("sys.stdout", lambda: sys.stdout, functools.partial(setattr, sys, "stdout"), r"sys\.stdout\s*="),
    Shared("sys.stderr", lambda: sys.stderr, functools.partial(setattr, sys, "stderr"), r"sys\.stderr\s*="),
    Shared(
        "sys.modules",
        lambda: sys.modules.get("numpy"),
        functools.partial(operator.setitem, sys.modules, "numpy"),
        r"sys\.modules",
    ),
    Shared("sys.meta_path", lambda: door.Finder in sys.meta_path, lambda _: door.install(), r"sys\.meta_path"),
]


class Functions:
    """The public functions and classes of a module."""

    def __init__(self, prefix: str, module):
        self.prefix, self.space = prefix, vars(module)
        self.names = [name for name, value in self.space.items() if not name.startswith("_") and callable(value)]
        self._values = operator.itemgetter(*self.names)

    def values(self) -> tuple:
        try:
            return self._values(self.space)  # of 400 functions in 3 µs
        except KeyError:
            return tuple(map(self.space.get, self.names))

    def put_back(self, before: tuple) -> list[tuple[str, Any]]:
        """The names of those that were replaced, and by what: None stands for a function that was deleted."""
        after = self.values()
        if after == before:
            return []
        self.space.update(zip(self.names, before, strict=True))
        names = [self.prefix + name for name in self.names]
        return [(name, new) for name, old, new in zip(names, before, after, strict=True) if new is not old]


FUNCTIONS = [
    Functions("np.", np),
    Functions("np.linalg.", np.linalg),
    Functions("np.random.", np.random),
    Functions("builtins.", builtins),
    Functions("time.", time),
]


def state() -> tuple[list, list]:
    """The shared values and functions as they are now."""
    return [shared.read() for shared in SHARED], [functions.values() for functions in FUNCTIONS]


def put_back(before: tuple[list, list], kata: door.Kata | None) -> list[str]:
    """A line on everything that is not as in the state `before`. It is then.

    `kata` is the one that is judged: the guilty line is looked for in its file, then in those of the katas below.
    """
    lines = []
    for shared, old in zip(SHARED, before[0], strict=True):
        if (now := shared.read()) is not old and now != old:
            shared.put_back(old)
            told = f" (to {now!r})" if isinstance(now, str | int) else ""
            remedy = shared.remedy and f" {shared.remedy}."
            lines.append(f"{_place(shared.pattern, kata)}{shared.name} was left changed{told}. It is put back.{remedy}")
    for functions, old in zip(FUNCTIONS, before[1], strict=True):
        for name, new in functions.put_back(old):
            place = _definition(new) or _place(rf"\b{name.rpartition('.')[2]}\b", kata)
            lines.append(f"{place}{name} was replaced. It is put back.")
    return lines


def _definition(function) -> str:
    """Where a learner defined a function: `katas/02_tensor/tensor.py:7: `."""
    code = getattr(function, "__code__", None)
    return f"{door.relative(code.co_filename)}:{code.co_firstlineno}: " if code and code.co_filename in door.sources() else ""


def _place(pattern: str, kata: door.Kata | None) -> str:
    """The first line that looks like `pattern` in the file of the kata, or else of one below it, the nearest first."""
    for file, other in reversed(door.sources().items()):
        if (kata is None or other.number <= kata.number) and Path(file).exists():
            for number, line in enumerate(Path(file).read_text(encoding="utf-8", errors="replace").splitlines(), 1):
                if re.search(pattern, line):
                    return f"{door.relative(file)}:{number}: "
    return ""


def pytest_configure():
    interrupt.watch()
    door.GuardedLoader.around = staticmethod(_unchanged)


@contextmanager
def _unchanged(kata: door.Kata) -> Iterator[None]:
    """The import of a kata's file. Raises: KataImportError if it changes what is shared."""
    before = state()
    try:
        with _open():
            yield
    finally:
        lines = put_back(before, kata)
    if lines:
        raise door.KataImportError("\n".join(lines), kata.number)


# These wrappers are the innermost: pytest captures what is printed inside them, and fixtures are torn down when the last ends.


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_runtest_setup(item):
    if not judged(item.path):
        return (yield)
    item.stash[BEFORE], item.stash[RED] = state(), False
    with _contained(item), _open():
        return (yield)


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_runtest_call(item):
    if BEFORE not in item.stash:
        return (yield)
    with _contained(item), _open():
        return (yield)


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_runtest_teardown(item):
    if BEFORE not in item.stash:
        return (yield)
    try:
        with _contained(item):
            return (yield)
    finally:
        before = item.stash[BEFORE]
        if not item.config.stash.get(DEBUGGED, False) and (lines := put_back(before, kata_of(item.path))):
            if not item.stash[RED]:
                raise Mismatch("\n".join(lines))
            item.user_properties.append(("changed", lines))


@pytest.hookimpl(optionalhook=True)
def pytest_enter_pdb(config):
    config.stash[DEBUGGED] = True  # a person may change what they like, and the debugger changes the handler of Ctrl-C


@contextmanager
def _contained(item) -> Iterator[None]:
    """A KeyboardInterrupt ends the run if a person pressed Ctrl-C, and fails the spec if code raised it."""
    try:
        yield
    except KeyboardInterrupt as error:
        item.stash[RED] = True
        if interrupt.pressed():
            raise
        told = f"KeyboardInterrupt: {error}".rstrip(": ")
        because = f"{told} was raised by code. Only a person who presses Ctrl-C ends a run."
        raise Mismatch(because).with_traceback(error.__traceback__) from None
    except BaseException as error:
        item.stash[RED] = not isinstance(error, pytest.skip.Exception)
        raise


@contextmanager
def _open() -> Iterator[None]:
    """What specs print to can't be closed in the block; a file descriptor that was is open again behind it."""
    spares, streams = _spares(), _streams()
    for name, stream in streams.items():
        vars(stream)["close"] = _refusal(name)
    try:
        yield
    finally:
        for stream in streams.values():
            vars(stream).pop("close", None)
        closed = [number for number in spares if not _is_open(number)]
        for number in closed:
            os.dup2(spares[number], number)
    if closed:
        raise Mismatch(f"file descriptor {closed[0]} was closed, and is open again: all specs share it.")


def _streams() -> dict[str, Any]:
    """Everything that is printed to, by name, but for what can be closed no more: a spec may import a kata."""
    streams = {f"sys.{name}": getattr(sys, name) for name in ("__stdout__", "__stderr__", "stdout", "stderr")}
    streams |= {f"{name}.buffer": getattr(stream, "buffer", None) for name, stream in streams.items()}
    return {name: stream for name, stream in streams.items() if "close" not in getattr(stream, "__dict__", "close")}


@functools.cache
def _refusal(name: str) -> Callable[[], None]:
    def close():
        raise RuntimeError(f"{name}.close() was called, and did nothing: all specs share it.")

    return close


@functools.cache
def _spares() -> dict[int, int]:
    """Copies of the file descriptors of stdout and stderr."""
    return {number: os.dup(number) for number in (1, 2) if _is_open(number)}


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True
