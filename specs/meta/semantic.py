"""Semantic mutants: a kata's reference with one habit (specs.meta.habits) in one public function or rule, wherever it fits.

A mutant is the reference's text with one more line, or with a function rewritten.
"""

import ast
import copy
import textwrap
from collections.abc import Callable, Iterator
from typing import NamedTuple

from specs.command.stubs import FUNCTIONS, GIVEN
from specs.meta.habits import HABITS


class Mutant(NamedTuple):
    """A wrong solution by the name of its function and of its habit."""

    name: str
    text: str


class Target(NamedTuple):
    """A public function, a method ("Tensor.sum") or a rule ("rule 0 of add"), and what its signature tells about it."""

    name: str
    node: ast.AST
    line: int  # the last one of the definition, or of the class around it
    owner: ast.ClassDef | None = None
    attrs: int = 0  # how many keywords a rule takes

    @property
    def function(self) -> str:
        return self.name.split(".")[-1]

    @property
    def is_rule(self) -> bool:
        return self.name.startswith("rule ")

    @property
    def parameters(self) -> list[ast.arg]:
        given = self.node.args
        every = [
            *given.posonlyargs,
            *given.args,
            *filter(None, [given.vararg]),
            *given.kwonlyargs,
            *filter(None, [given.kwarg]),
        ]
        return every[1:] if self.owner and not self.has("staticmethod") else every

    def has(self, decorator: str) -> bool:
        return any(ast.unparse(node) == decorator for node in getattr(self.node, "decorator_list", []))

    @property
    def types(self) -> list[str]:
        """The annotations of the parameters, "" where there is none; but a dtype is one."""
        return [_type(parameter) for parameter in self.parameters]

    @property
    def defaults(self) -> dict[str, str]:
        """The default values, as they are written."""
        given = self.node.args
        named = [*given.posonlyargs, *given.args]
        pairs = [*zip(named[len(named) - len(given.defaults) :], given.defaults, strict=True)]
        pairs += [pair for pair in zip(given.kwonlyargs, given.kw_defaults, strict=True) if pair[1]]
        return {parameter.arg: ast.unparse(value) for parameter, value in pairs}

    @property
    def is_of_arrays(self) -> bool:
        """Whether the class holds an array."""
        return self.owner is not None and "self.data" in ast.unparse(self.owner)

    @property
    def takes_arrays(self) -> bool:
        return self.is_rule or self.is_of_arrays or any("Tensor" in kind or "array" in kind or not kind for kind in self.types)

    @property
    def returns_arrays(self) -> bool:
        returned = ast.unparse(self.node.returns) if getattr(self.node, "returns", None) else ""
        made = self.function == "__init__" and self.is_of_arrays
        return self.is_rule or made or self.function == "backward" or "Tensor" in returned or "array" in returned

    @property
    def operands(self) -> int:
        """How many arrays it may be given beside each other."""
        own = self.is_of_arrays and self.function != "__init__"
        starred = self.node.args.vararg.arg if self.node.args.vararg else None
        kinds = [kind for kind, parameter in zip(self.types, self.parameters, strict=True) if parameter.arg != starred]
        listed = any("Sequence[" in kind for kind in kinds)
        return own + 2 * listed + sum("Tensor" in kind or "array" in kind or not kind for kind in kinds)

    @property
    def is_lazy(self) -> bool:
        """Whether it reads its arguments after it has returned."""
        return self.function == "__iter__"

    @property
    def says(self) -> str:
        return ast.unparse(self.node)


FALSY = ("False", "0", "0.0", "()", "''")  # defaults: what is falsy beside them is equal to them

# Where each habit of specs.meta.habits can apply
FITS: dict[str, Callable[[Target], bool]] = {
    "a falsy argument is taken as absent": lambda t: any(
        name != "dtype" and value not in FALSY for name, value in t.defaults.items()
    ),
    "attributes are those of the construction": lambda t: _has_state(t.owner) and t.function != "__init__",
    "a result is a view of an equal argument": lambda t: t.returns_arrays and t.takes_arrays,
    "a result is read-only": lambda t: t.returns_arrays,
    "a result is a copy, not a view": lambda t: t.returns_arrays and t.takes_arrays,
    "arguments are changed": lambda t: t.takes_arrays and not t.is_lazy,
    "arguments are changed before an error": lambda t: t.takes_arrays and "Raises" in t.says,
    "float64 for float32": lambda t: t.returns_arrays,
    "float32 for float64": lambda t: t.returns_arrays,
    "int32 for int64": lambda t: t.returns_arrays and not t.is_rule and t.function != "backward",
    "int64 for int32": lambda t: t.returns_arrays and not t.is_rule and t.function != "backward",
    "axes of length 0 are refused": lambda t: t.takes_arrays or t.returns_arrays,
    "axes of length 1 are dropped": lambda t: t.returns_arrays,
    "infinities and NaN in arguments are made finite": lambda t: t.takes_arrays and not t.is_lazy,
    "infinities and NaN in results are made finite": lambda t: t.returns_arrays,
    "an iterator is shared": lambda t: t.function == "__iter__",
    "keywords are taken by position": lambda t: (t.attrs if t.is_rule else len(t.defaults)) > 1,
    "entries are taken by position": lambda t: t.function == "load_state_dict",
    "arguments are read in the order of memory": lambda t: t.takes_arrays and not t.is_lazy,
    "shapes that differ are broadcast": lambda t: t.operands > 1 and "Raises" in t.says,
    "NumPy's numbers are refused": lambda t: (
        not t.is_rule and any(any(word in kind for word in ("int", "float", "Dim")) or not kind for kind in t.types)
    ),
    "booleans are taken for integers": lambda t: "bool)" in t.says and "isinstance" in t.says,
    "NumPy's global generator is reseeded": lambda t: True,
    "NumPy's warnings are turned off": lambda t: True,
    "the working directory is changed": lambda t: True,
}


def _type(parameter: ast.arg) -> str:
    return ast.unparse(parameter.annotation) if parameter.annotation else "dtype" * (parameter.arg == "dtype")


def _has_state(owner: ast.ClassDef | None) -> bool:
    return owner is not None and any(isinstance(node, FUNCTIONS) and node.name == "__init__" for node in owner.body)


def targets(text: str) -> Iterator[Target]:
    """The public functions, methods and rules of a reference's text that it defines and a learner writes."""
    lines = text.splitlines()

    def learners(node: ast.AST) -> bool:
        private = node.name.startswith("_") and not node.name.endswith("__")
        return not private and not any(GIVEN.search(line) for line in lines[node.lineno - 1 : node.body[0].lineno])

    for node in ast.parse(text).body:
        if isinstance(node, FUNCTIONS) and learners(node):
            yield Target(node.name, node, node.end_lineno)
        elif isinstance(node, ast.ClassDef) and learners(node):
            for child in node.body:
                if isinstance(child, FUNCTIONS) and learners(child):
                    yield Target(f"{node.name}.{child.name}", child, node.end_lineno, node)
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            yield from _rules(node.value, text)


def _rules(call: ast.Call, text: str) -> Iterator[Target]:
    """The rules that a call of defvjp or defvjp_argnum registers."""
    if not isinstance(call.func, ast.Name) or not call.func.id.startswith("defvjp"):
        return
    functions = {node.name: node for node in ast.parse(text).body if isinstance(node, FUNCTIONS)}
    op, *rules = call.args
    for argnum, rule in enumerate(rules):
        node = functions[rule.id] if isinstance(rule, ast.Name) else rule
        operands = 2 + len(rules) if call.func.id == "defvjp" else len(node.args.args)
        attrs = len(node.args.args) - operands + len(node.args.kwonlyargs)
        yield Target(f"rule {argnum} of {op.value}", node, call.end_lineno, attrs=attrs)


def mutants(text: str) -> Iterator[Mutant]:
    """All semantic mutants of a reference's text."""
    lines = text.splitlines()
    for target in targets(text):
        for name, fits in FITS.items():
            if fits(target):
                line = f"from specs.meta import habits; habits.install(globals(), {target.name!r}, {name!r})"
                yield Mutant(f"{target.name}: {name}", "\n".join([*lines[: target.line], line, *lines[target.line :], ""]))
    for node, owner in _functions(ast.parse(text).body):
        if any(GIVEN.search(line) for line in lines[node.lineno - 1 : node.body[0].lineno]):
            continue
        for name, rewrite in REWRITES.items():
            for number, changed in enumerate(rewrite(node), 1):
                rewritten = textwrap.indent(ast.unparse(changed), " " * node.col_offset).splitlines()
                first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
                label = f"{owner}{node.name}: {name}" + (f", {number}" if number > 1 else "")
                yield Mutant(label, "\n".join([*lines[: first - 1], *rewritten, *lines[node.end_lineno :], ""]))


def _functions(body: list[ast.stmt], owner: str = "") -> Iterator[tuple[ast.FunctionDef, str]]:
    for node in body:
        if isinstance(node, FUNCTIONS):
            yield node, owner
        elif isinstance(node, ast.ClassDef):
            yield from _functions(node.body, f"{node.name}.")


# Habits that show in how a function is written: each yields the function with one place rewritten


def _places(function: ast.AST, kind: type, rewrite: Callable[[ast.AST], bool]) -> Iterator[ast.AST]:
    """Copies of a function, in each of which `rewrite` changed one node of a kind: it says whether it did."""
    for number, node in enumerate(ast.walk(function)):
        if isinstance(node, kind):
            changed = copy.deepcopy(function)
            if rewrite(next(node for i, node in enumerate(ast.walk(changed)) if i == number)):
                yield changed


def _falsy(function: ast.AST) -> Iterator[ast.AST]:
    """`bool(x) is False` for `x is None`, `bool(x) is True` for `x is not None`."""

    def rewrite(node: ast.Compare) -> bool:
        if not isinstance(node.ops[0], ast.Is | ast.IsNot) or ast.unparse(node.comparators[0]) != "None":
            return False
        node.left, node.comparators = (
            ast.Call(ast.Name("bool"), [node.left], []),
            [ast.Constant(isinstance(node.ops[0], ast.IsNot))],
        )
        node.ops = [ast.Is()]
        return True

    return _places(function, ast.Compare, rewrite)


def _for_exceptions_only(function: ast.AST) -> Iterator[ast.AST]:
    """`except Exception: …; raise` and `else: …` for `finally: …`: nothing is undone for a KeyboardInterrupt."""

    def rewrite(node: ast.Try) -> bool:
        if not node.finalbody or node.handlers:
            return False
        undo, node.finalbody = node.finalbody, []
        node.handlers = [ast.ExceptHandler(ast.Name("Exception"), None, [*undo, ast.Raise()])]
        node.orelse += undo
        ast.fix_missing_locations(node)
        return True

    return _places(function, ast.Try, rewrite)


def _on_the_class(function: ast.AST) -> Iterator[ast.AST]:
    """`type(self).x = …` for `self.x = …` in __init__."""

    def rewrite(node: ast.Assign) -> bool:
        target = node.targets[0]
        if not isinstance(target, ast.Attribute) or ast.unparse(target.value) != "self":
            return False
        target.value = ast.parse("type(self)", mode="eval").body
        return True

    return _places(function, ast.Assign, rewrite) if getattr(function, "name", "") == "__init__" else iter(())


def _checks_last(function: ast.AST) -> Iterator[ast.AST]:
    """A check that raises stands behind what it should have come before."""

    def is_check(node: ast.stmt) -> bool:
        return isinstance(node, ast.If) and isinstance(node.body[-1], ast.Raise) and not node.orelse

    for number, node in enumerate(function.body):
        rest = function.body[number + 1 :]
        last = len(rest) - bool(rest and isinstance(rest[-1], ast.Return))
        if is_check(node) and not all(is_check(other) for other in rest[:last]):
            changed = copy.deepcopy(function)
            check = changed.body.pop(number)
            changed.body.insert(number + last, check)
            yield changed


REWRITES: dict[str, Callable[[ast.AST], Iterator[ast.AST]]] = {
    "None is whatever is falsy": _falsy,
    "what `finally` undoes is undone for an Exception only": _for_exceptions_only,
    "state is on the class": _on_the_class,
    "a check comes after the effect": _checks_last,
}

assert FITS.keys() == HABITS.keys()
