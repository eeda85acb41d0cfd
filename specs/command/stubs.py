"""Cuts the learner's stubs out of the reference: same imports, signatures, docstrings, comments and order, no bodies.

    python -m specs.command.stubs             write every stub anew (what it replaces is kept in .kata/kept)
    python -m specs.command.stubs 02 04       only these
    python -m specs.command.stubs --check     write nothing; fail if a committed stub is not what would be written
    python -m specs.command.stubs --strict    the same, and fail if a file has solutions in it

Before it replaces a file that has solutions in it, it asks. `kata reset 02` does not.

In the reference a comment `# 02.3 Shape` opens section 02.3: what follows belongs to it, up to the next such comment. A
definition marked `# given` is handed over as it is; other private definitions are left out. A rule that a call of defvjp
registers becomes `...`.
"""

import argparse
import ast
import re
import shutil
import sys
from datetime import datetime
from pathlib import Path

from specs.door import KATAS, ROOT, Kata, relative

SECTION = re.compile(r"\s*# (\d\d\.\d+) ")
GIVEN = re.compile(r"# given\b")


def stub(text: str) -> str:
    """The stub of a reference file's text."""
    cutter = _Cutter(text)
    for node in ast.parse(text).body:
        cutter.visit(node)
    return cutter.result()


FUNCTIONS = ast.FunctionDef | ast.AsyncFunctionDef


def _is_registration(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id.startswith("defvjp")


class _Cutter:
    def __init__(self, text: str):
        self.lines = text.splitlines()
        self.replaced: dict[int, str | None] = {}  # line number → its new text, or None where it is left out

    def visit(self, node: ast.AST, owner: str = "") -> None:
        if isinstance(node, ast.Expr) and _is_registration(node.value):
            self.placeholders(node)
        if not isinstance(node, FUNCTIONS | ast.ClassDef | ast.Assign | ast.AnnAssign) or self.given(node):
            return
        if self.private(node):
            self.drop(self.first_line(node), node.end_lineno)
        elif isinstance(node, ast.ClassDef):
            for child in node.body:
                self.visit(child, f"{owner}{node.name}.")
        elif isinstance(node, FUNCTIONS):
            self.empty(node, owner)

    def given(self, node: ast.AST) -> bool:
        header = self.lines[node.lineno - 1 : getattr(node, "body", [node])[0].lineno]
        return any(GIVEN.search(line) for line in header)

    def private(self, node: ast.AST) -> bool:
        if isinstance(node, FUNCTIONS | ast.ClassDef):
            return node.name.startswith("_") and not node.name.endswith("__")
        target = node.targets[0] if isinstance(node, ast.Assign) else node.target
        return isinstance(target, ast.Name) and target.id.startswith("_")

    def first_line(self, node: ast.AST) -> int:
        """Where a definition begins, with its decorators and the comment that stands directly above it."""
        line = min([node.lineno, *(decorator.lineno for decorator in getattr(node, "decorator_list", []))])
        while self.lines[line - 2].strip().startswith("#") and not SECTION.match(self.lines[line - 2]):
            line -= 1
        return line

    def drop(self, first: int, last: int) -> None:
        above, below = self.blank(range(first - 1, 0, -1)), self.blank(range(last + 1, len(self.lines) + 1))
        if above and below:  # the smaller gap goes with it: the end of a class keeps its two blank lines
            first, last = (first - above, last) if above <= below else (first, last + below)
        self.replaced.update(dict.fromkeys(range(first, last + 1)))

    def blank(self, numbers: range) -> int:
        """How many of these lines, in this order, are blank before the first that is not."""
        return next((i for i, number in enumerate(numbers) if self.lines[number - 1].strip()), len(numbers))

    def empty(self, node: FUNCTIONS, owner: str) -> None:
        has_docstring = ast.get_docstring(node) is not None
        body = node.body[1:] if has_docstring else node.body
        if not body:
            return
        first = node.body[0].end_lineno + 1 if has_docstring else self.header_end(node) + 1
        if body[0].lineno < first:
            raise ValueError(f"line {body[0].lineno}: the body of {node.name} must stand on lines of its own")
        section = self.section(node.lineno)
        self.replaced.update(dict.fromkeys(range(first, node.end_lineno + 1)))
        indent = " " * (node.col_offset + 4)
        self.replaced[first] = f'{indent}raise NotImplementedError("{section} {owner}{node.name}: README.md, {section}")'

    def placeholders(self, node: ast.Expr) -> None:
        """Leaves of a registration its function and the name of the operation, and `...` for each rule."""
        function, (op, *rules) = node.value.func.id, node.value.args
        self.replaced.update(dict.fromkeys(range(node.lineno, node.end_lineno + 1)))
        self.replaced[node.lineno] = f'{function}("{op.value}", {", ".join(["..."] * len(rules))})'

    def header_end(self, node: FUNCTIONS) -> int:
        """The last line of a signature: of `def f(` … `) -> X:`, however many lines it takes."""
        line = node.returns.end_lineno if node.returns else node.lineno
        while line < node.body[0].lineno and not self.lines[line - 1].split("#")[0].rstrip().endswith(":"):
            line += 1
        return line

    def section(self, lineno: int) -> str:
        for line in reversed(self.lines[:lineno]):
            if match := SECTION.match(line):
                return match[1]
        raise ValueError(f"line {lineno}: no section comment such as '# 02.3 Shape' stands above")

    def result(self) -> str:
        kept = [self.replaced.get(number, line) for number, line in enumerate(self.lines, 1)]
        text = "\n".join(line for line in kept if line is not None).rstrip() + "\n"
        return re.sub(r"\n{4,}", "\n\n\n", text)


def written(kata: Kata) -> tuple[Path, str]:
    """The stub's path and what belongs into it."""
    reference = ROOT / "reference" / kata.folder / f"{kata.module}.py"
    return ROOT / "katas" / kata.folder / reference.name, stub(reference.read_text(encoding="utf-8"))


def keep(path: Path) -> Path:
    """A dated copy of a file that is about to be replaced."""
    copy = ROOT / ".kata" / "kept" / f"{path.stem}-{datetime.now():%Y-%m-%d-%H%M%S-%f}.py"
    copy.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(path, copy)
    return copy


def drifted(kata: Kata) -> bool:
    """Whether the file in katas/ is not the stub. Raises: OSError or ValueError if the reference can't be read or cut."""
    path, text = written(kata)
    return not path.exists() or path.read_text(encoding="utf-8", errors="replace") != text


def solved(kata: Kata) -> bool:
    """Whether the file in katas/ has solutions in it: cutting it again takes something away, or can't be done."""
    path, _ = written(kata)
    if not path.exists():
        return False
    try:
        text = path.read_text(encoding="utf-8")
        return stub(text) != text
    except (ValueError, SyntaxError):
        return True


def restore(kata: Kata) -> None:
    """Writes the stub, and says so. What it replaces is kept."""
    path, text = written(kata)
    if path.exists():
        print(f"kept {relative(keep(path))}")
    path.write_text(text, encoding="utf-8")
    print(f"wrote {relative(path)}")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m specs.command.stubs", description="Writes the learner's stubs.")
    parser.add_argument("numbers", nargs="*", metavar="NN", help="kata numbers (default: all)")
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a stub differs from the reference")
    parser.add_argument("--strict", action="store_true", help="the same, and fail if a file has solutions in it")
    options = parser.parse_args(argv)
    if unknown := set(options.numbers) - {kata.number for kata in KATAS}:
        parser.error(f"there is no kata {', '.join(sorted(unknown))}")
    found = []
    for kata in KATAS:
        try:
            if (not options.numbers or kata.number in options.numbers) and drifted(kata):
                found.append(kata)
        except (OSError, ValueError, SyntaxError) as error:
            parser.error(f"reference/{kata.folder}/{kata.module}.py: {error}")
    if options.check or options.strict:
        return _report(found, options.strict)
    chosen = [kata for kata in found if not solved(kata) or _may_replace(kata)]
    for kata in chosen:
        restore(kata)
    return chosen != found


def _report(found: list[Kata], strict: bool) -> int:
    """Names the files that differ from their stubs. Returns whether they are a fault."""
    own = [kata for kata in found if solved(kata)]
    stale = [kata for kata in found if kata not in own]
    if own:
        print(f"solutions, which are no stubs: {', '.join(relative(written(kata)[0]) for kata in own)}")
    if stale:
        names = ", ".join(relative(written(kata)[0]) for kata in stale)
        print(f"not what the reference gives (CONTRIBUTING.md says how stubs are cut): {names}")
    return bool(stale or (own and strict))


def _may_replace(kata: Kata) -> bool:
    """Asks before solutions are replaced. Where nobody can answer they stay."""
    path = relative(written(kata)[0])
    if not sys.stdin.isatty():
        print(f"{path} has solutions in it and stays as it is. kata reset {kata.number} keeps a copy and writes the stub.")
        return False
    return input(f"{path} has solutions in it. Replace it? A copy is kept. [y/N] ").strip().lower() in ("y", "yes")


if __name__ == "__main__":
    sys.exit(main())
