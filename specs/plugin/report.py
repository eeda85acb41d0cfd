"""What a learner reads when a spec is red: the clause, where the code is, what was called, expected, got, a diagnosis."""

import ast
import functools
import inspect
import re
import reprlib
import textwrap
import traceback
from pathlib import Path

import numpy as np

from specs.clock import Endless
from specs.door import message, relative, source, sources
from specs.plugin import culprit
from specs.plugin.culprit import kata_of
from specs.plugin.refused import SKIPS, Refused
from specs.plugin.where import Spec

WIDTH = 118


@functools.cache
def clause(function) -> str:
    """A spec's docstring in one line: the sentence of the specification that it checks."""
    return " ".join((inspect.getdoc(function) or function.__name__.replace("_", " ")).split())


def section(path: Path | str) -> str:
    """The README heading that a spec file belongs to: katas/02_tensor/test_3_functions.py → 02.3."""
    match = re.match(r"test_(\d+)_", Path(path).name)
    kata = kata_of(path)
    return "" if kata is None else f"{kata.number}.{match[1]}" if match and match[1] != "0" else kata.number


def failure(function, path: Path, excinfo, printed: str) -> str:
    """The whole report of one red spec; a stub is one line."""
    error, frames = excinfo.value, excinfo.traceback
    who = culprit.find(error)
    spec = _spec(function, frames)
    where = _where(spec, path, frames)
    if who and who.stub:
        place = f"{where[0].split(' in ')[0]}, " if where else ""
        callers = [entry for entry in frames if str(entry.path) in sources() and entry.name != "__call__"][:-1]
        reached = f"\n      reached from {_place(callers[-1])}" if callers else ""
        return f"{who.why} ({place}README.md {who.stub}){reached}"
    if who:
        return headed(path, clause(function), who.why)
    lines = [*where, *(_call(spec) if spec else []), *_story(error)]
    if printed.strip():
        lines += ["it printed:", *("    " + _cut(line) for line in printed.strip().splitlines()[-8:])]
    return headed(path, clause(function), "\n".join(lines))


def headed(path: Path, title: str, body: str) -> str:
    """A report: the section and the title, and below them the indented body."""
    heading = textwrap.fill(f"{section(path)}  {title}".strip(), WIDTH, subsequent_indent="      ")
    return f"{heading}\n{textwrap.indent(body, '      ')}"


def bare(error: BaseException) -> str:
    """Python's own account of an exception, without what it says."""
    return "".join([*traceback.format_tb(error.__traceback__), type(error).__name__])


def unimportable(path: Path, why: str) -> str:
    """The report of a spec file that can't be imported because a kata can't."""
    kata = kata_of(path)
    heading = f"{kata.number if kata else path.name}  These specs can't be imported."
    return f"{heading}\n{textwrap.indent(why, '      ')}"


def _story(error: BaseException) -> list[str]:
    """Expected, got and the diagnosis, or the error and what it usually means."""
    text = message(error)
    if isinstance(error, Endless):
        why = text or "it did not finish in time."
        return [*_wrapped([f"stopped: {why}"]), "Looks like: an endless loop, or work that grows too fast."]
    if isinstance(error, RecursionError):
        return ["RecursionError: a function calls itself without end."]
    if isinstance(error, MemoryError):
        return [
            _cut(f"MemoryError: {text}".rstrip(": ")),
            "Looks like: far more than this spec needs. Is a shape wrong?",
        ]
    if isinstance(error, SystemExit):
        return [f"SystemExit: sys.exit({text}) was called. A function returns or raises; only a program exits."]
    if isinstance(error, Refused):
        return _wrapped([text])
    if isinstance(error, AssertionError):
        return _wrapped(_assertion(text.splitlines()))
    if isinstance(error, ValueError) and "read-only" in text:
        return [_cut(f"ValueError: {text}"), "Looks like: an input is changed in place. It belongs to the caller."]
    return _wrapped(f"{type(error).__name__}: {text}".splitlines())


def _assertion(lines: list[str]) -> list[str]:
    """An assertion's message without pytest's account of where each value comes from: lines and values stand above it."""
    plain = next((i for i, line in enumerate(lines) if line.startswith("assert ")), None)
    if plain:  # the spec has a message of its own
        return lines[:plain]
    kept = [line for line in lines if line.strip() and not re.match(r"\s*\+\s+(where|and) ", line)]
    return [line for line in kept if not re.fullmatch(r"assert (not )?(True|False)", line)] or ["this does not hold"]


def _where(spec: Spec | None, path: Path, frames) -> list[str]:
    """The learner's file, line and function: where the exception came from, or what the spec calls."""
    files, kata = sources(), kata_of(path)
    inside = [entry for entry in frames if str(entry.path) in files]
    own = [entry for entry in inside if kata and str(entry.path) == str(source(kata))]
    if inside:  # the kata's own line rather than one of an earlier kata, which it has called wrongly
        return [_place((own or inside)[-1])]
    if kata is None or spec is None or not source(kata).exists():
        return []
    file = relative(source(kata))
    try:
        found = spec.called(ast.parse(source(kata).read_bytes()))
    except SyntaxError:  # new since the import: the next run has a report of its own for it
        found = []
    return [f"{file}:{line} in {name}" for line, name in found[:3]] or [file]


def _place(entry) -> str:
    """A frame's file, line and function."""
    return f"{relative(entry.path)}:{entry.lineno + 1} in {entry.frame.code.raw.co_qualname.replace('.<locals>', '')}"


def _spec(function, frames) -> Spec | None:
    """The spec at the line that failed; None if it was not running, but a fixture was."""
    code = inspect.unwrap(function).__code__
    entry = next((entry for entry in frames if entry.frame.code.raw is code), None)
    return Spec(function, entry.lineno + 1, entry.frame.f_locals) if entry else None


def _call(spec: Spec) -> list[str]:
    """The spec's own lines up to the one that failed, and the values that this depends on."""
    values = [(name, describe(value)) for name, value in spec.locals.items() if name in spec.names]
    return [*map(_cut, spec.shown()), *(f"  {name} = {described}" for name, described in values if described)]


def describe(value) -> str:
    """A value in one line; nothing for what says nothing (modules, fixtures, functions without a name of their own)."""
    try:
        return _cut(_described(value), 100)
    except (Exception, Refused, *SKIPS) as fault:  # the learner's own __repr__, or a property that is still to be written
        return f"({type(value).__name__}; showing it raises {type(fault).__name__})"


def _described(value) -> str:
    data = value if isinstance(value, np.ndarray) else getattr(value, "data", None)
    if isinstance(data, np.ndarray):
        kind = "" if data is value else f"{type(value).__name__} of "
        return f"{kind}{data.dtype} {data.shape}: {_numbers(data)}"
    if isinstance(value, list) and _is_numbers(value):
        return _numbers(np.asarray(value))
    if isinstance(value, str | int | float | tuple | list | dict | type | slice):
        return reprlib.repr(value)
    return value.__name__ if inspect.isroutine(value) and value.__name__ != "<lambda>" else ""


def _numbers(data: np.ndarray) -> str:
    """The numbers in one line: those of several axes come in several."""
    return " ".join(np.array2string(data, 100, 4, separator=", ", threshold=12, edgeitems=2).split())


def _is_numbers(value) -> bool:
    """Whether lists within lists hold numbers and have a shape."""
    if not isinstance(value, list):
        return isinstance(value, int | float)
    lengths = {len(item) if isinstance(item, list) else None for item in value}
    return len(lengths) == 1 and all(map(_is_numbers, value))


def _wrapped(lines: list[str]) -> list[str]:
    """At most eight lines of text, the long ones wrapped."""
    return [
        part for line in lines for part in textwrap.wrap(line, WIDTH, max_lines=3, placeholder=" …", subsequent_indent="  ")
    ][:8]


def _cut(text: str, width: int = WIDTH) -> str:
    return text if len(text) <= width else f"{text[: width - 2]} …"
