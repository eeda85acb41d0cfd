"""Mutation testing: are the specs of a kata red for every small change of its reference?

    python -m specs.meta.mutation 02                tox -e mutation -- 02
    python -m specs.meta.mutation --semantic 02     tox -e mutation -- --semantic 02

Cosmic Ray makes the mutants, in memory: nothing in the repository changes. Those that differ in types alone, or in what
the learner is given, are left out. Prints every survivor as a diff.

Semantic mutants (specs.meta.semantic) err in larger steps: each has one bad habit in one function. Prints the name of every
survivor, and whether the habit took effect at all while the specs ran. Survivors that the kata's catalogue lists, as
EQUIVALENT or as FAULTS of the reference, are counted apart.

The exit code is 1 if fewer than 95% are killed.
"""

import argparse
import ast
import builtins
import difflib
import os
import re
import sys
import tempfile
from collections import Counter
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
from specs.meta import semantic
from specs.meta.catalogue import listed
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


def verdict(kata: Kata, mutant: str) -> str:
    """What the specs of a kata, but for the time budgets, make of a mutant: "killed", "survives", or "has no effect".

    The last is a survivor whose habit changed nothing while they ran.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / kata.folder / f"{kata.module}.py"
        file.parent.mkdir()
        file.write_text(mutant, encoding="utf-8")
        try:
            specs = judge(kata, "-m", "not time", impl=f"reference,{kata.number}={folder}", watch=Watch(until=""))
        except RuntimeError:  # it crashed Python, or never ended
            return "killed"
        if any(spec["outcome"] != "green" for spec in specs):
            return "killed"
        return "survives" if file.with_name("took").exists() or "habits.install(" not in mutant else "has no effect"


def generated(kata: Kata) -> Iterator[tuple[str, str]]:
    """Cosmic Ray's mutants of a kata's reference: each as a diff, and its text."""
    before = reference(kata).read_text(encoding="utf-8")
    for mutant in mutants(reference(kata)):
        yield "\n".join(difflib.unified_diff(before.splitlines(), mutant.splitlines(), lineterm="", n=1)) + "\n", mutant


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m specs.meta.mutation", description="Mutation testing of a kata's specs.")
    parser.add_argument("number", choices=[kata.number for kata in KATAS], help="the kata's number")
    parser.add_argument("--semantic", action="store_true", help="one bad habit in one function, not one token in one line")
    options = parser.parse_args(argv)
    kata = next(kata for kata in KATAS if kata.number == options.number)
    text = reference(kata).read_text(encoding="utf-8")
    if verdict(kata, text) == "killed":
        parser.error(f"the reference of kata {kata.number} is not green: pytest katas/{kata.folder} --impl reference")
    made = list(semantic.mutants(text) if options.semantic else generated(kata))
    counts, unused = Counter(), set(listed(kata)) if options.semantic else set()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        verdicts = pool.map(lambda mutant: verdict(kata, mutant[1]), made)
        for (name, _), said in track(zip(made, verdicts, strict=True), f"kata {kata.number}", len(made)):
            if said != "killed" and name in unused:
                unused.discard(name)
                said = listed(kata)[name]
            counts[said] += 1
            if said in ("survives", "has no effect"):
                print(name + " (has no effect)" * (said == "has no effect"), flush=True)
    if verdict(kata, text) == "killed":
        print("the reference is not green any more: something was edited meanwhile, and these verdicts say nothing")
        return 1
    for name in sorted(unused):
        print(f"listed in the catalogue, but does not survive: {name}")
    wanted = len(made) - counts["equivalent"] - counts["a fault"]
    killed = counts["killed"]
    print(f"kata {kata.number}: {killed} of {wanted} mutants killed ({killed / wanted:.1%}), {wanted - killed} survive")
    if options.semantic:
        print(f"beside them {counts['equivalent']} are equivalent and {counts['a fault']} like a fault of the reference")
    return int(bool(unused) or killed < REQUIRED * wanted)


if __name__ == "__main__":
    sys.exit(main())
