"""Which functions of a kata's reference each of its specs calls: only those can be red if one of these functions is wrong.

Nearly only: a fixture may have called it before. So who looks for the spec that kills a wrong solution asks these first, the
quickest before the others, and then all.
"""

import ast
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest
from filelock import FileLock

from specs.door import Kata
from specs.meta.judge import Watch, apart, reference, run

Node = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


class Reach(NamedTuple):
    """Of each spec, by its id, the qualified names of the functions that it calls, none if they are not known, and its CPU
    seconds.
    """

    calls: dict[str, list[str]]
    cost: dict[str, float]

    def near(self, names: set[str] | None) -> set[str]:
        """The specs that may call one of these functions; all if it is not known which functions there are."""
        return {spec for spec, called in self.calls.items() if not (names and called and names.isdisjoint(called))}


def reach(kata: Kata, file: Path) -> Reach:
    """What the specs of a kata call. It is kept in `file`, which several processes may share."""
    with FileLock(f"{file}.lock"):
        if not file.exists():
            with tempfile.TemporaryDirectory() as folder:
                place = Path(folder, kata.folder, f"{kata.module}.py")
                place.parent.mkdir()
                place.write_text(noting(reference(kata).read_text(encoding="utf-8")), encoding="utf-8")
                options = (f"katas/{kata.folder}", "-m", "not time", "--impl", f"reference,{kata.number}={folder}")
                specs = apart(_run, options, below=kata.number)
            calls, cost = ({spec["id"]: spec[key] for spec in specs} for key in ("calls", "cpu"))
            file.write_text(json.dumps([calls, cost]), encoding="utf-8")
        return Reach(*json.loads(file.read_text(encoding="utf-8")))


def noting(text: str) -> str:
    """The text of a module each of whose functions adds its qualified name to the set `sys.called` when it is called."""
    tree = ast.parse(text)
    for name, node in _functions(tree):
        after = int(ast.get_docstring(node) is not None)
        node.body.insert(after, ast.parse(f"__import__('sys').__dict__.setdefault('called', set()).add({name!r})").body[0])
    return ast.unparse(ast.fix_missing_locations(tree))


def patched(text: str, patches: Sequence[str]) -> set[str] | None:
    """The qualified names of the functions in which these parts of a module's text stand; None if one stands in no function."""
    functions, names = [*_functions(ast.parse(text))], set()
    for part in patches:
        first = text.count("\n", 0, text.index(part)) + 1
        for line in range(first, first + part.rstrip("\n").count("\n") + 1):
            around = [
                (node.end_lineno - _first(node), name) for name, node in functions if _first(node) <= line <= node.end_lineno
            ]
            if around:
                names.add(min(around)[1])
            elif text.splitlines()[line - 1].strip():
                return None
    return names


def _functions(node: ast.AST, prefix: str = "") -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    for child in ast.iter_child_nodes(node):
        name = f"{prefix}{child.name}" if isinstance(child, Node) else ""
        if name and not isinstance(child, ast.ClassDef):
            yield name, child
        yield from _functions(child, f"{name}." if name else prefix)


def _first(node) -> int:
    return min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])


class _Calls(Watch):
    """Notes what each spec calls, fixtures that it is the first to ask for included. Of other processes nothing is known."""

    def __init__(self):
        super().__init__()
        self.calls: dict[str, list[str]] = {}

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item):
        sys.called, before = set(), os.times()
        answer = yield from super().pytest_runtest_protocol(item)
        alone = os.times()[2:4] == before[2:4]
        self.calls[item.nodeid] = sorted(sys.called) if alone else []
        return answer


def _run(options: Sequence[str]) -> list[dict]:
    watch = _Calls()
    return [spec | {"calls": watch.calls[spec["id"]]} for spec in run(options, watch)]
