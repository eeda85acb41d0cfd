"""Mutation testing: are the specs of a kata red for every small change of its reference?

    python -m specs.meta.mutation 02        tox -e mutation -- 02

Cosmic Ray makes the mutants, in memory: nothing in the repository changes. Those that differ in types alone, or in what
the learner is given, are left out.
Prints every survivor as a diff; the exit code is 1 if fewer than 95% are killed.
"""

import argparse
import ast
import builtins
import difflib
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from cosmic_ray.commands import init
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator
from cosmic_ray.work_db import WorkDB, use_db
from rich.progress import track

from specs.command.stubs import stub
from specs.door import KATAS, Kata
from specs.meta.judge import Watch, judge, reference

REQUIRED = 0.95
# `is` between numbers is up to the interpreter; a dotted exception, such as zlib.error, is more than Cosmic Ray can replace
NOISE = re.compile(r"_(Eq|NotEq|LtE?|GtE?)_Is(Not)?$|ExceptionReplacer$")


def mutants(path: Path) -> Iterator[str]:
    """The texts of all mutants of a file that differ from it, and from each other, in what they do."""
    text = path.read_text(encoding="utf-8")
    seen, given = {_behaviour(text), None}, stub(text)
    with tempfile.TemporaryDirectory() as folder, use_db(f"{folder}/mutants.sqlite", WorkDB.Mode.create) as database:
        init([path], database, {})
        mutations = [mutation for item in database.work_items for mutation in item.mutations]
    mutations = [mutation for mutation in mutations if not NOISE.search(mutation.operator_name)]
    for mutation in mutations:
        operator = get_operator(mutation.operator_name)(**mutation.operator_args)
        mutant = mutate_code(text, operator, mutation.occurrence)
        if mutant is not None and (behaviour := _behaviour(mutant)) not in seen and stub(mutant) == given:
            seen.add(behaviour)
            yield mutant


class _WithoutUnions(ast.NodeTransformer):
    """Drops unions of types, as annotations and isinstance have them."""

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        return ast.Constant(None) if _is_type(node) else self.generic_visit(node)


def _is_type(node: ast.expr) -> bool:
    match node:
        case ast.BinOp():
            return _is_type(node.left) or _is_type(node.right)
        case ast.Subscript():
            return _is_type(node.value)
        case ast.Name():
            return isinstance(getattr(builtins, node.id, None), type)
    return isinstance(node, ast.Constant) and node.value is None


def _behaviour(text: str) -> str | None:
    """What tells programs apart that do different things; None for what is no program: `g * ~a` may become `g * not a`."""
    try:
        return ast.dump(_WithoutUnions().visit(ast.parse(text)))
    except SyntaxError:
        return None


def survives(kata: Kata, mutant: str) -> bool:
    """Whether all specs of the kata but the time budgets are green for a mutant."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / kata.folder / f"{kata.module}.py"
        file.parent.mkdir()
        file.write_text(mutant, encoding="utf-8")
        try:
            specs = judge(kata, "-m", "not time", impl=f"reference,{kata.number}={folder}", watch=Watch(until=""))
        except RuntimeError:  # it crashed Python, or never ended
            return False
    return all(spec["outcome"] == "green" for spec in specs)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m specs.meta.mutation", description="Mutation testing of a kata's specs.")
    parser.add_argument("number", choices=[kata.number for kata in KATAS], help="the kata's number")
    number = parser.parse_args(argv).number
    kata = next(kata for kata in KATAS if kata.number == number)
    text = reference(kata).read_text(encoding="utf-8")
    if not survives(kata, text):
        parser.error(f"the reference of kata {number} is not green: pytest katas/{kata.folder} --impl reference")
    made = list(mutants(reference(kata)))
    killed = 0
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        verdicts = pool.map(lambda mutant: survives(kata, mutant), made)
        for mutant, survived in track(zip(made, verdicts, strict=True), f"kata {number}", len(made)):
            killed += not survived
            if survived:
                diff = difflib.unified_diff(text.splitlines(), mutant.splitlines(), lineterm="", n=1)
                print(*diff, sep="\n", end="\n\n", flush=True)
    if not survives(kata, text):
        print("the reference is not green any more: something was edited meanwhile, and these verdicts say nothing")
        return 1
    print(f"kata {number}: {killed} of {len(made)} mutants killed ({killed / len(made):.1%}), {len(made) - killed} survive")
    return int(killed < REQUIRED * len(made))


if __name__ == "__main__":
    sys.exit(main())
