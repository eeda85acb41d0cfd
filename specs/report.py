"""What a learner reads when a spec is red: the clause, where the code is, what was called, expected, got, a diagnosis."""

import ast
import inspect
import re
import reprlib
import textwrap
from pathlib import Path

import numpy as np

from specs.check import Mismatch
from specs.door import KATAS, Kata, KataImportError, relative, source

STUB = re.compile(r"\b(\d\d)\.\d+ (\w+): README\.md, (\d\d\.\d+)")
OPERATORS = {ast.Add: "add", ast.Sub: "sub", ast.Mult: "mul", ast.Div: "truediv", ast.Pow: "pow", ast.MatMult: "matmul"}
OPERATORS |= {ast.USub: "neg", ast.Eq: "eq", ast.NotEq: "ne", ast.Lt: "lt", ast.LtE: "le", ast.Gt: "gt", ast.GtE: "ge"}


def kata_of(path: Path | str) -> Kata | None:
    """The kata that a spec file belongs to, or None for those of milestones and of the specs themselves."""
    path = Path(path)
    return next((kata for kata in KATAS if path.parent.name == kata.folder), None)


def section(path: Path | str) -> str:
    """The README heading that a spec file belongs to: katas/02_tensor/test_3_functions.py → 02.3."""
    match = re.match(r"test_(\d+)_", Path(path).name)
    kata = kata_of(path)
    return "" if kata is None else f"{kata.number}.{match[1]}" if match and match[1] != "0" else kata.number


def clause(function) -> str:
    """A spec's docstring in one line: the sentence of the specification that it checks."""
    return " ".join((inspect.getdoc(function) or function.__name__.replace("_", " ")).split())


def chain(error: BaseException) -> list[BaseException]:
    """An exception and what led to it."""
    found = []
    while error is not None and error not in found:
        found.append(error)
        error = error.__cause__ or error.__context__
    return found


def stub_behind(error: BaseException) -> tuple[str, str, str] | None:
    """(kata, function, section) of the stub that an exception, or a child process it quotes, comes from."""
    for link in chain(error):
        if match := STUB.search(str(link)):
            return match.groups()
    return None


def kata_behind(error: BaseException) -> str | None:
    """The number of the kata whose stub, or whose broken file, an exception comes from."""
    broken = next((link.number for link in chain(error) if isinstance(link, KataImportError)), None)
    stub = stub_behind(error)
    return broken or (stub[0] if stub else None)


def failure(function, path: Path, nodeid: str, excinfo, output: str) -> str:
    """The whole report of one red spec."""
    heading = f"{section(path)}  {clause(function)}".strip()
    error, frames = excinfo.value, excinfo.traceback
    lines = [*_where(function, frames), ""]
    if stub := stub_behind(error):
        _, name, number = stub
        lines = [*lines[:-1], f"{number} {name} is yours to write: README.md, {number}"]
    else:
        lines += _call(function, frames)
        lines += _story(error, frames)
        if output.strip():
            lines += ["", "it printed:", *("    " + line for line in output.strip().splitlines()[-8:])]
    lines.append(f"again: pytest '{nodeid}'")
    body = "\n".join(lines)
    return textwrap.fill(heading, 118, subsequent_indent="      ") + "\n" + textwrap.indent(body, "      ")


def _story(error: BaseException, frames) -> list[str]:
    """Expected, got and the diagnosis, or the error and what it usually means."""
    message = str(error)
    if "Timeout" in message and type(error).__name__ == "Failed":
        return ["stopped: it did not finish in time. Looks like: an endless loop, or work that grows too fast."]
    if isinstance(error, RecursionError):
        return ["RecursionError: a function calls itself without end."]
    if isinstance(error, MemoryError):
        return [f"MemoryError: {message}", "Looks like: an array far larger than this spec needs. Is a shape wrong?"]
    if isinstance(error, Mismatch | AssertionError):
        return message.splitlines()[:4] or ["the assertion above does not hold"]
    return [*f"{type(error).__name__}: {message}".splitlines()[:8]]


def _where(function, frames) -> list[str]:
    """The learner's file, line and function: where the exception came from, or what the spec calls."""
    files = {str(source(kata)): kata for kata in KATAS}
    for entry in reversed(frames):
        if str(entry.path) in files:
            return [f"{relative(entry.path)}:{entry.lineno + 1} in {entry.name}"]
    kata = kata_of(inspect.getsourcefile(function))
    if kata is None or not source(kata).exists():
        return []
    found = _called(function, frames, ast.parse(source(kata).read_text(encoding="utf-8")))
    return [f"{relative(source(kata))}:{line} in {name}" for line, name in found[:2]]


def _called(function, frames, module: ast.Module) -> list[tuple[int, str]]:
    """Line and name of the functions of `module` that a spec names; of constructors only if it names nothing else."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    names |= {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    used = {OPERATORS[type(node)] for node in ast.walk(tree) if type(node) in OPERATORS}
    for value in _locals(function, frames).values():  # parametrised: the name of a method, or one of `operator`'s functions
        name = value if isinstance(value, str) else getattr(value, "__name__", "")
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
    tree = ast.parse(textwrap.dedent("".join(text))).body[0]
    statements = tree.body[1:] if ast.get_docstring(tree) else tree.body
    failed = entry.lineno + 1 - first + 1
    shown = [node for node in statements if node.lineno <= failed]
    if not shown:
        return []
    lines = [line.rstrip() for line in textwrap.dedent("".join(text)).splitlines()[shown[0].lineno - 1 : shown[-1].end_lineno]]
    mark = failed - shown[0].lineno
    lines = [("> " if i == mark else "  ") + line[4:] for i, line in enumerate(lines)]
    lines = lines[max(0, mark - 8) : mark + 4]
    names = {node.id for statement in shown for node in ast.walk(statement) if isinstance(node, ast.Name)}
    values = [(name, value) for name, value in entry.frame.f_locals.items() if name in names]
    return [*lines, *(f"  {name} = {described}" for name, value in values if (described := describe(value))), ""]


def describe(value) -> str:
    """A value in one line; nothing for what says nothing (modules, fixtures, functions without a name of their own)."""
    data = value if isinstance(value, np.ndarray) else getattr(value, "data", None)
    if isinstance(data, np.ndarray):
        kind = "" if data is value else f"{type(value).__name__} of "
        inside = np.array2string(data, precision=4, separator=", ", threshold=12, edgeitems=2)
        return _one_line(f"{kind}{data.dtype} {data.shape}: {inside}")
    if isinstance(value, str | int | float | tuple | list | dict | type | slice):
        return _one_line(reprlib.repr(value))
    name = getattr(value, "__name__", "")
    return name if callable(value) and name != "<lambda>" else ""


def _one_line(text: str, width: int = 100) -> str:
    text = " ".join(text.split())
    return text if len(text) <= width else f"{text[: width - 2]} …"
