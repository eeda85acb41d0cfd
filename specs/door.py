"""One door for every import: `from katas.tensor import Tensor` is `katas/02_tensor/tensor.py`, or another tree's.

The environment variable KATA_IMPL says which tree each kata comes from: a default, then exceptions by number.

    KATA_IMPL=katas                        the learner's (default)
    KATA_IMPL=reference                    the solutions
    KATA_IMPL=katas,01-06=reference        the learner's from 07 on
    KATA_IMPL=reference,07=some/folder     some/folder/07_autograd/autograd.py, all else from the solutions

A tree is a folder of numbered folders, relative to the repository's root. The import itself is guarded: a module that never
finishes, exits or is broken becomes a KataImportError that names the file and the line. So does one that imports a later kata.
"""

import ast
import importlib.machinery
import importlib.util
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import ClassVar, NamedTuple

from specs import interrupt
from specs.clock import Endless, deadline

ROOT = Path(__file__).resolve().parent.parent
VARIABLE = "KATA_IMPL"
IMPORT_SECONDS = 10
MESSAGE_SECONDS = 1
MUTE = "(its __str__ did not finish)"
# Files that are not named like their folder. Python 3.14 has a module `compression`, which a file of that name would shadow.
FILES = {"setup": "environment", "compression": "model_compression"}


class Kata(NamedTuple):
    """One of the numbered folders: number "02", folder "02_tensor", module "tensor"."""

    number: str
    folder: str
    module: str


class KataImportError(ImportError):
    """A kata's file could not be imported. `number` is the kata's."""

    def __init__(self, message: str, number: str):
        super().__init__(message)
        self.number = number


def _kata(folder: str) -> Kata:
    number, name = folder.split("_", 1)
    return Kata(number, folder, FILES.get(name, name))


def copied() -> str | None:
    """What to say if this is no checkout but the copy that `pip install .` makes, which no edit reaches; None in a checkout."""
    if (ROOT / "pyproject.toml").is_file():
        return None
    import json
    from importlib.metadata import distributions
    from urllib.parse import urlsplit
    from urllib.request import url2pathname

    yours = "your files are where you cloned it"
    for installed in distributions(name="tensor-kata", path=[str(ROOT)]):
        origin = urlsplit(json.loads(installed.read_text("direct_url.json") or "{}").get("url", ""))  # pip's note
        if origin.scheme == "file":
            yours = f"your files are in {url2pathname(origin.path)}"
    return f"tensor-kata is installed as a copy in {ROOT}; {yours}: run there  python -m pip install -e ."


KATAS = [_kata(path.name) for path in sorted((ROOT / "katas").glob("[0-2][0-9]_*")) if path.is_dir()]


def trees(impl: str | None = None) -> dict[str, Path]:
    """The tree of every kata, by number; `impl` as in KATA_IMPL. Raises ValueError for what it can't read."""
    default, *exceptions = (impl or os.environ.get(VARIABLE) or "katas").split(",")
    chosen = {kata.number: _tree(default) for kata in KATAS}
    for exception in exceptions:
        match = re.fullmatch(r"(\d\d)(?:-(\d\d))?=(.+)", exception)
        if not match:
            raise ValueError(f"{VARIABLE}: {exception!r} is not NN=tree or NN-MM=tree")
        first, last, tree = match.groups()
        numbers = [number for number in chosen if first <= number <= (last or first)]
        if not numbers:
            raise ValueError(f"{VARIABLE}: {exception!r} names no kata (there are {', '.join(chosen)})")
        chosen.update(dict.fromkeys(numbers, _tree(tree)))
    return chosen


def _tree(name: str) -> Path:
    folder = ROOT / name
    if not folder.is_dir():
        raise ValueError(f"{VARIABLE}: {name!r} is not a folder (looked for {folder})")
    return folder


def source(kata: Kata) -> Path:
    """The file that `katas.<module>` is imported from, under the present KATA_IMPL."""
    return trees()[kata.number] / kata.folder / f"{kata.module}.py"


def sources() -> dict[str, Kata]:
    """Every kata by the file that it is imported from, under the present KATA_IMPL."""
    return {str(tree / kata.folder / f"{kata.module}.py"): kata for kata, tree in zip(KATAS, trees().values(), strict=True)}


def folders() -> list[str]:
    """What `katas.__path__` is: every kata's folder, each in its tree."""
    return [str(tree / kata.folder) for kata, tree in zip(KATAS, trees().values(), strict=True)]


def relative(path: Path | str) -> str:
    """A path as a learner would type it at the repository's root."""
    path = Path(path)
    return path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else str(path)


class Finder:
    """Finds `katas.<module>` in the tree that KATA_IMPL names, and guards its import."""

    @staticmethod
    def find_spec(fullname, path=None, target=None):
        kata = next((kata for kata in KATAS if fullname == f"katas.{kata.module}"), None)
        if kata is None:
            return None
        file = source(kata)
        if not file.exists():
            learners = file.is_relative_to(ROOT / "katas")
            remedy = f"Get the stub back: kata reset {kata.number}" if learners else f"{VARIABLE} names its tree."
            raise KataImportError(f"{relative(file)} is missing. {remedy}", kata.number)
        return importlib.util.spec_from_file_location(fullname, file, loader=GuardedLoader(fullname, str(file), kata))


class GuardedLoader(importlib.machinery.SourceFileLoader):
    """Turns everything that can go wrong during an import into a KataImportError, once a version of the file."""

    # (file, modification time) → message: an endless import is waited for once
    failed: ClassVar[dict[tuple[str, int], str]] = {}
    around: ClassVar[Callable[[Kata], AbstractContextManager]] = nullcontext  # a run of specs has a check of what is shared

    def __init__(self, fullname: str, path: str, kata: Kata):
        super().__init__(fullname, path)
        self.kata = kata

    def path_stats(self, path):
        """None: Python takes a compiled file for current if the source's size and second are, as after two quick edits."""
        raise OSError

    def source_to_code(self, data, path):
        """Refuses a file in which a later kata is imported, even inside a function: that kata builds on this one."""
        code = super().source_to_code(data, path)
        later = {other.module: other for other in KATAS if other.number >= self.kata.number}
        if self.kata.module == "tensor":
            data = _SEAM.sub(rb"\1pass", data)
        # A file takes up to 20 ms to parse: a look at its text says whether that is needed.
        if any(other or name.decode() in later for name, other in _MAYBE_IMPORTED.findall(data)):
            for line, name in _imported(ast.parse(data)):
                if name in later:
                    raise KataImportError(f"{relative(self.path)}:{line}: {self._refusal(later[name])}", self.kata.number)
        return code

    def _refusal(self, later: Kata) -> str:
        earlier = [kata.number for kata in KATAS if kata.number < self.kata.number]
        may = f"may only import {'-'.join(dict.fromkeys([earlier[0], earlier[-1]]))}" if earlier else "may import no other kata"
        return f"{self.kata.number} {may}, not {'itself' if later == self.kata else later.number} (katas.{later.module})"

    def exec_module(self, module):
        version = self.path, os.stat(self.path).st_mtime_ns
        if version in self.failed:
            raise KataImportError(self.failed[version], self.kata.number)
        try:
            with self.around(self.kata), deadline(IMPORT_SECONDS):
                super().exec_module(module)
        except KataImportError:
            raise
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt) and interrupt.pressed():
                raise
            self.failed[version] = why = f"{self._where(error)}: {_what(error)}"
            shown = None if why.endswith(MUTE) else error  # pytest and Python ask a cause for its message, too
            raise KataImportError(why, self.kata.number) from shown

    def _where(self, error: BaseException) -> str:
        if isinstance(error, SyntaxError) and error.filename == self.path:
            return f"{relative(self.path)}:{error.lineno}"
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == self.path]
        return f"{relative(self.path)}:{lines[-1] if lines else 1}"


_SEAM = re.compile(rb"^([ \t]+)from katas\.autograd import backward\b", re.MULTILINE)  # Tensor.backward, which is given in 02
_MAYBE_IMPORTED = re.compile(rb"(?:import|from|,)[ \t(]+katas\.(\w+)|\bfrom\s+(katas\s+import|\.)")


def _imported(node: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and module name of every `katas.<module>` that is imported, except below `if __name__` or `if TYPE_CHECKING`."""
    for child in ast.iter_child_nodes(node):
        match child:
            case ast.If() if re.search(r"__name__|TYPE_CHECKING", ast.unparse(child.test)):
                continue
            case ast.Import():
                names = [alias.name for alias in child.names]
            case ast.ImportFrom():
                package = ".".join(filter(None, ["katas" if child.level else None, child.module]))
                names = [package, *(f"{package}.{alias.name}" for alias in child.names)]
            case _:
                yield from _imported(child)
                continue
        yield from ((child.lineno, name.split(".")[1]) for name in names if name.startswith("katas."))


def _what(error: BaseException) -> str:
    match error:
        case Endless():
            return f"the import did not finish in {IMPORT_SECONDS} seconds. Is there an endless loop outside a function?"
        case SystemExit():
            return "the import called sys.exit(). A kata's module only defines things."
        case SyntaxError():
            return f"SyntaxError: {error.msg}" + (f"\n    {error.text.strip()}" if error.text else "")
        case _:
            return f"{type(error).__name__}: {message(error)}".removesuffix(": ")


def message(error: BaseException) -> str:
    """What an exception says, even if its own __str__ is at fault."""
    try:
        with deadline(MESSAGE_SECONDS):
            return str(error)
    except Endless:
        return MUTE
    except KeyboardInterrupt:
        raise
    except BaseException as fault:  # also one that would skip the spec or end the process
        return f"(its __str__ raises {type(fault).__name__})"


def install() -> None:
    """Puts the finder in front of Python's own. Raises: ImportError in a copy, whose katas are nobody's."""
    if message := copied():
        raise ImportError(message)
    if Finder not in sys.meta_path:
        sys.meta_path.insert(0, Finder)
