"""Where to look: the failing line of a spec, what it depends on, and which of the learner's functions that calls."""

import ast
import inspect
import textwrap
from types import ModuleType

OPERATORS = {ast.Add: "add", ast.Sub: "sub", ast.Mult: "mul", ast.Div: "truediv", ast.Pow: "pow", ast.MatMult: "matmul"}
OPERATORS |= {ast.USub: "neg", ast.Eq: "eq", ast.NotEq: "ne", ast.Lt: "lt", ast.LtE: "le", ast.Gt: "gt", ast.GtE: "ge"}
BUILTINS = {"repr", "str", "len", "iter", "bool", "float", "int", "hash"}


class Spec:
    """A spec's source, the line that failed, and the statements and names that the failing one depends on.

    `values` are the names that the spec can see: its `locals` and its module's.
    """

    def __init__(self, function, failed: int, local: dict):
        text, first = inspect.getsourcelines(function)
        self.lines = textwrap.dedent("".join(text)).splitlines()
        self.failed = failed - first + 1  # counted from the first line of `lines`, which is 1
        self.locals = dict(local)
        self.values = inspect.unwrap(function).__globals__ | self.locals
        definition = ast.parse("\n".join(self.lines)).body[0]
        self.body = definition.body[1:] if ast.get_docstring(definition) else definition.body
        self.parts, self.names = self._depends()

    def shown(self) -> list[str]:
        """The lines down to the statement that failed, marked."""
        statements = [node for node in self.body if node.lineno <= self.failed]
        if not statements:
            return []
        first, last = statements[0].lineno, statements[-1].end_lineno
        aside = {i for node in statements if _is_aside(node) for i in range(node.lineno, node.end_lineno + 1)}
        numbers = [i for i in range(first, last + 1) if i not in aside and i in range(self.failed - 8, self.failed + 4)]
        return [("> " if i == self.failed else "  ") + self.lines[i - 1][4:].rstrip() for i in numbers]

    def _depends(self) -> tuple[list[ast.AST], set[str]]:
        """What the failing statement judges, then the statements before it that made or changed what it names."""
        before = [
            node for node in ast.walk(ast.Module(self.body, [])) if isinstance(node, ast.stmt) and node.lineno <= self.failed
        ]
        if not before:
            return [], set()
        failing = max(before, key=lambda node: (node.end_lineno >= self.failed, node.lineno))
        parts = _judged(failing)
        names = {name for part in parts for name in _names(part)}
        for statement in sorted(before, key=lambda node: -node.lineno):
            if statement is failing or _is_check(statement):
                continue
            if failing in ast.walk(statement):  # a block around it: a loop's variables matter, the rest is there already
                parts += [statement.iter] if isinstance(statement, ast.For) and _names(statement.target) & names else []
                continue
            changed = _names(statement, None if isinstance(statement, ast.Expr) else ast.Store)
            if changed & names:
                parts.append(statement)
                names |= _names(statement)
        return parts, names

    def called(self, module: ast.Module) -> list[tuple[int, str]]:
        """Line and name of the functions of `module` that these parts call, the nearest to the failure first.

        Constructors only if nothing else is called; of several classes with a method those that the spec names. Before a method
        of a base class stands what a subclass writes for it, such as SGD.update before Optimizer.step.
        """
        helpers = self._helpers()
        names = self.names.union(*map(_names, helpers))
        orders = [_class_names(value) for value in map(self.values.get, names)]
        classes = {name for order in orders for name in order}
        found: dict[str, int] = {}
        kinds = ast.FunctionDef | ast.AsyncFunctionDef
        own = {node.name for part in self.parts + helpers for node in ast.walk(part) if isinstance(node, kinds)}
        for part in self.parts + helpers:
            functions, methods = self._used(part)
            functions = functions - own  # such as a `main` of the spec
            for node in module.body:
                if isinstance(node, ast.FunctionDef) and node.name in functions:
                    found.setdefault(node.name, node.lineno)
                if isinstance(node, ast.ClassDef):
                    wanted = methods | ({"__init__"} if node.name in functions else set())
                    for child in node.body:
                        if (
                            isinstance(child, ast.FunctionDef)
                            and child.name in wanted
                            and (node.name in classes or not classes)
                        ):
                            found.setdefault(f"{node.name}.{child.name}", child.lineno)
        found = _written(module, found, orders) | found
        calls = {name: line for name, line in found.items() if not name.endswith("__init__")}
        return [(line, name) for name, line in (calls or found).items()]

    def _helpers(self) -> list[ast.AST]:
        """The functions of the spec's own file that it depends on: what they call is called, too."""
        values = [self.values.get(name) for name in sorted(self.names)]
        own = [value for value in values if inspect.isfunction(value) and value.__module__ == self.values["__name__"]]
        return [ast.parse(textwrap.dedent(inspect.getsource(value))) for value in own if value.__name__ != "<lambda>"]

    def _used(self, part: ast.AST) -> tuple[set[str], set[str]]:
        """The functions and classes that a part of the spec names, and the methods that it may call."""
        functions, methods = set(), set()
        for node in ast.walk(part):
            if isinstance(node, ast.Name):
                value = self.values.get(node.id)
                name = value.__name__ if inspect.isroutine(value) or inspect.isclass(value) else node.id
                functions.add(name)
                if getattr(value, "__module__", "") == "_operator":
                    methods.add(f"__{name}__")
                if isinstance(value, str):  # parametrised by the names of methods
                    methods |= {value, f"__{value}__"}
            elif isinstance(node, ast.Attribute):
                value = self.values.get(node.value.id) if isinstance(node.value, ast.Name) else None
                if not isinstance(value, ModuleType):
                    methods.add(node.attr)
                elif value.__name__.startswith("katas."):
                    functions.add(node.attr)
            elif isinstance(node, ast.BinOp | ast.UnaryOp):
                methods.add(f"__{OPERATORS.get(type(node.op), '')}__")
            elif isinstance(node, ast.Compare):
                methods |= {f"__{OPERATORS.get(type(op), '')}__" for op in node.ops}
            elif isinstance(node, ast.For | ast.comprehension) and self._may_be_learners(node.iter):
                methods.add("__iter__")
            elif isinstance(node, ast.Subscript) and self._may_be_learners(node.value):
                methods.add("__getitem__")
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in BUILTINS:
                methods |= {f"__{node.func.id}__" for argument in node.args if self._may_be_learners(argument)}
            elif isinstance(node, ast.Call) and self._is_object(node.func):
                methods.add("forward")
        return functions, methods

    def _may_be_learners(self, operand: ast.expr) -> bool:
        """Whether it is not known to be an array, a dict or a list, whose methods are not the learner's."""
        value = self.values.get(operand.id) if isinstance(operand, ast.Name) else None
        return value is None or bool(_class_names(value))

    def _is_object(self, called: ast.expr) -> bool:
        """Whether what is called is an object, such as a layer, as in `layer(x)` and `Linear(2, 3)(x)`."""
        value = self.values.get(called.id) if isinstance(called, ast.Name) else None
        return isinstance(called, ast.Call) or not (value is None or inspect.isroutine(value) or inspect.isclass(value))


def _written(module: ast.Module, found: dict[str, int], orders: list[list[str]]) -> dict[str, int]:
    """Line by name of what a class writes for a method, among those found, of one of its bases.

    orders: classes, each followed by its bases.
    """
    methods = {
        (node.name, child.name): child
        for node in module.body
        if isinstance(node, ast.ClassDef)
        for child in node.body
        if isinstance(child, ast.FunctionDef)
    }
    written = {}
    for owner, name in [key for key in methods if ".".join(key) in found]:
        derived = {kind for order in orders if owner in order for kind in order[: order.index(owner)]}
        for node in ast.walk(methods[owner, name]):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "self":
                kinds = [kind for kind in sorted(derived) if (kind, node.attr) in methods]
                written |= {f"{kind}.{node.attr}": methods[kind, node.attr].lineno for kind in kinds}
    return written


def _judged(statement: ast.stmt) -> list[ast.AST]:
    """The parts of a failing statement that hold what is judged: the block of `with rejects`, the first argument of a check."""
    if isinstance(statement, ast.With):
        return list(statement.body)
    if isinstance(statement, ast.Assert):
        test = statement.test
        return [test.left, *test.comparators] if isinstance(test, ast.Compare) else [test]
    return list(statement.value.args[:1]) if _is_check(statement) else [statement]


def _is_aside(statement: ast.stmt) -> bool:
    """Whether a statement only lists the mistakes that a check knows by name."""
    return isinstance(statement, ast.Assign) and [ast.unparse(target) for target in statement.targets] == ["mistakes"]


def _is_check(statement: ast.stmt) -> bool:
    if isinstance(statement, ast.Assert):
        return True
    call = statement.value if isinstance(statement, ast.Expr) else None
    return isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id.startswith("assert_")


def _names(part: ast.AST, context=None) -> set[str]:
    return {node.id for node in ast.walk(part) if isinstance(node, ast.Name) and (not context or isinstance(node.ctx, context))}


def _class_names(value) -> list[str]:
    """The names of the learner's classes that a value is, or is an instance of."""
    kind = value if inspect.isclass(value) else type(value)
    return [base.__name__ for base in kind.__mro__ if base.__module__.startswith("katas.")]
