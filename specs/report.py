"""What a learner reads when a spec is red: the clause, where the code is, what was called, expected, got, a diagnosis."""

import ast
import inspect
import re
import reprlib
import textwrap
from pathlib import Path

import numpy as np

from specs import culprit
from specs.culprit import kata_of, message
from specs.door import relative, source, sources
from specs.limits import Endless

WIDTH = 118
OPERATORS = {ast.Add: "add", ast.Sub: "sub", ast.Mult: "mul", ast.Div: "truediv", ast.Pow: "pow", ast.MatMult: "matmul"}
OPERATORS |= {ast.USub: "neg", ast.Eq: "eq", ast.NotEq: "ne", ast.Lt: "lt", ast.LtE: "le", ast.Gt: "gt", ast.GtE: "ge"}


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
    where = _where(function, path, frames)
    if who and who.stub:
        place = f"{where[0].split(' in ')[0]}, " if where else ""
        return f"{who.why} ({place}README.md {who.stub})"
    if who:
        return headed(path, clause(function), who.why)
    lines = [*where, *_call(function, frames), *_story(error)]
    if printed.strip():
        lines += ["it printed:", *("    " + _cut(line) for line in printed.strip().splitlines()[-8:])]
    return headed(path, clause(function), "\n".join(lines))


def headed(path: Path, title: str, body: str) -> str:
    """A report: the section and the title, and below them the indented body."""
    heading = textwrap.fill(f"{section(path)}  {title}".strip(), WIDTH, subsequent_indent="      ")
    return f"{heading}\n{textwrap.indent(body, '      ')}"


def unimportable(path: Path, why: str) -> str:
    """The report of a spec file that can't be imported because a kata can't."""
    return f"{kata_of(path).number if kata_of(path) else ''}  The specs can't be imported.\n".lstrip() + textwrap.indent(
        why, "      "
    )


def _story(error: BaseException) -> list[str]:
    """Expected, got and the diagnosis, or the error and what it usually means."""
    text = message(error)
    if isinstance(error, Endless) or (type(error).__name__ == "Failed" and "Timeout" in text):
        return ["stopped: it did not finish in time.", "Looks like: an endless loop, or work that grows too fast."]
    if isinstance(error, RecursionError):
        return ["RecursionError: a function calls itself without end."]
    if isinstance(error, MemoryError):
        return [
            _cut(f"MemoryError: {text}".rstrip(": ")),
            "Looks like: far more than this spec needs. Is a shape wrong?",
        ]
    if isinstance(error, SystemExit):
        return [f"SystemExit: sys.exit({text}) was called. A function returns or raises; only a program exits."]
    if isinstance(error, AssertionError):
        return [_cut(line) for line in text.splitlines()[:6]] or ["the assertion above does not hold"]
    return [_cut(line) for line in f"{type(error).__name__}: {text}".splitlines()[:8]]


def _where(function, path: Path, frames) -> list[str]:
    """The learner's file, line and function: where the exception came from, or what the spec calls."""
    files = sources()
    for entry in reversed(frames):
        if str(entry.path) in files:
            return [f"{relative(entry.path)}:{entry.lineno + 1} in {_qualified(entry)}"]
    kata = kata_of(path)
    if kata is None or not source(kata).exists():
        return []
    try:
        module = ast.parse(source(kata).read_bytes())
    except SyntaxError:  # since the import: that has a line of its own in the next run
        return []
    found = _called(function, frames, module)
    return [f"{relative(source(kata))}:{line} in {name}" for line, name in found[:2]]


def _qualified(entry) -> str:
    return entry.frame.code.raw.co_qualname.replace(".<locals>", "")


def _called(function, frames, module: ast.Module) -> list[tuple[int, str]]:
    """Line and name of the functions of `module` that a spec names; of constructors only if it names nothing else."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    names |= {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    used = {OPERATORS[type(node)] for node in ast.walk(tree) if type(node) in OPERATORS}
    for value in _locals(function, frames).values():  # parametrised: the name of a method, or one of `operator`'s functions
        name = value if isinstance(value, str) else value.__name__ if inspect.isroutine(value) else ""
        names.add(name)
        used.add(name)
    names |= {f"__{name}__" for name in used}
    found = []
    for node in module.body:
        if isinstance(node, ast.FunctionDef) and node.name in names:
            found.append((node.lineno, node.name))
        if isinstance(node, ast.ClassDef):
            named = node.name in names
            for child in node.body:
                if isinstance(child, ast.FunctionDef) and (child.name in names or (named and child.name == "__init__")):
                    found.append((child.lineno, f"{node.name}.{child.name}"))
    return [item for item in found if not item[1].endswith("__init__")] or found


def _spec_entry(function, frames):
    code = inspect.unwrap(function).__code__
    return next((entry for entry in frames if entry.frame.code.raw is code), None)


def _locals(function, frames) -> dict:
    entry = _spec_entry(function, frames)
    return dict(entry.frame.f_locals) if entry else {}


def _call(function, frames) -> list[str]:
    """The spec's own lines up to the one that failed, and the values they used."""
    entry = _spec_entry(function, frames)
    if entry is None:
        return []
    text, first = inspect.getsourcelines(function)
    text = textwrap.dedent("".join(text))
    tree = ast.parse(text).body[0]
    statements = tree.body[1:] if ast.get_docstring(tree) else tree.body
    failed = entry.lineno + 1 - first + 1
    shown = [node for node in statements if node.lineno <= failed]
    if not shown:
        return []
    lines = [line.rstrip() for line in text.splitlines()[shown[0].lineno - 1 : shown[-1].end_lineno]]
    mark = failed - shown[0].lineno
    lines = [_cut(("> " if i == mark else "  ") + line[4:]) for i, line in enumerate(lines)]
    lines = lines[max(0, mark - 8) : mark + 4]
    names = {node.id for statement in shown for node in ast.walk(statement) if isinstance(node, ast.Name)}
    values = [(name, value) for name, value in entry.frame.f_locals.items() if name in names]
    return [*lines, *(f"  {name} = {described}" for name, value in values if (described := describe(value)))]


def describe(value) -> str:
    """A value in one line; nothing for what says nothing (modules, fixtures, functions without a name of their own)."""
    try:
        return _cut(" ".join(_described(value).split()), 100)
    except Exception as fault:  # the learner's own __repr__, or a property that is still to be written
        return f"({type(value).__name__}; showing it raises {type(fault).__name__})"


def _described(value) -> str:
    data = value if isinstance(value, np.ndarray) else getattr(value, "data", None)
    if isinstance(data, np.ndarray):
        kind = "" if data is value else f"{type(value).__name__} of "
        return f"{kind}{data.dtype} {data.shape}: " + np.array2string(data, 100, 4, separator=", ", threshold=12, edgeitems=2)
    if isinstance(value, str | int | float | tuple | list | dict | type | slice):
        return reprlib.repr(value)
    return value.__name__ if inspect.isroutine(value) and value.__name__ != "<lambda>" else ""


def _cut(text: str, width: int = WIDTH) -> str:
    return text if len(text) <= width else f"{text[: width - 2]} …"
