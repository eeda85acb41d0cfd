"""What every milestone has: the choice of data, and a place for its table, its numbers, its picture and what it trains."""

import ast
import hashlib
import operator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from safetensors import safe_open

from specs.door import KATAS, ROOT, relative, source
from specs.milestones.recipes.accelerated import accelerates

KEPT = 4  # trainings of one recipe
SEED = 0
SIGNS = {"≤": operator.le, "≥": operator.ge}


def pytest_addoption(parser):
    parser.addoption(
        "--data",
        choices=["auto", "real", "generated", "few"],
        default="auto",
        help="milestones: real data where it can be had (auto), real data or an error, the generated stand-in, or a few of it",
    )
    parser.addoption(
        "--keep", metavar="FOLDER", type=Path, default=ROOT / ".kata", help="milestones: where pictures and trainings are kept"
    )


class Milestone:
    """Gathers what a milestone shows, and what it misses."""

    def __init__(self, item):
        self.item, self.folder, self.missed = item, item.config.getoption("--keep"), []

    def row(self, label: str, value: float, unit: str = "", *, wanted: str = "", target: str = "") -> None:
        """One line of the table, which is also a number in the results.

        wanted: a bound such as "≥ 98"; the milestone fails at its end if the value is beyond. target: one that is only shown.
        """
        bounds = []
        for name, bound in (("wanted", wanted), ("target", target)):
            if bound:
                missed = not _within(value, bound)
                bounds.append(f"{name} {bound}{': missed' if missed else ''}")
                if missed and name == "wanted":
                    self.missed.append(f"{label}: {value:g} {unit}".rstrip() + f", wanted {bound}")
        text = f"{label:<62}{value:>10.4g} {unit:<4}" + (f"  ({', '.join(bounds)})" if bounds else "")
        self.item.user_properties += [("tell", text.rstrip()), ("number", [label, float(value)])]

    def note(self, text: str) -> None:
        """A line in words."""
        self.item.user_properties.append(("tell", text))

    def picture(self, name: str, figure) -> None:
        """Keeps a matplotlib Figure as `pictures/<name>.png`."""
        path = self.folder / "pictures" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=120)
        self.note(f"picture: {relative(path)}")

    def trained(self, recipe: ModuleType, data, progress=None):
        """The Trainer at the end of the training recipe.train, of data (with a `source`), from SEED.

        Its checkpoint is in `trained`, one for each state of the recipe, the katas that it imports, the data and NumPy, with
        kata 15 and without. So whoever asks first trains, what was interrupted goes on, and nothing is trained again until
        something changes.
        """
        from katas.training import load_checkpoint

        path = self._checkpoint(Path(recipe.__file__), data.source)
        if accelerates():
            self.note("accelerated by kata 15")
        before = path.exists()
        if before:
            try:
                with safe_open(path, framework="numpy"):  # it is whole, whatever a learner's own reads of it
                    load_checkpoint(path)
                self.note(f"trained before, or in part: {relative(path)}")
            except Exception as error:  # whatever a learner's own raises: it is of no use to this code
                path.unlink()
                self.note(f"trained again: {relative(path)} could not be read ({type(error).__name__}), and was deleted")
        try:
            return recipe.train(data, SEED, progress, path)
        except Exception:
            if before and path.exists():
                self.note(f"this went on from {relative(path)}: if that is at fault, delete it, and it is trained again")
            raise

    def _checkpoint(self, recipe: Path, data: str) -> Path:
        """Where a recipe's training is kept. Older ones are deleted."""
        key = hashlib.sha256(f"{data}, seed {SEED}, NumPy {np.__version__}, accelerated: {accelerates()}".encode())
        for file in sorted(_needs(recipe)):
            key.update(file.read_bytes())
        path = self.folder / "trained" / f"{recipe.stem}-{key.hexdigest()[:12]}.safetensors"
        others = set(path.parent.glob(f"{recipe.stem}-*.safetensors")) - {path}
        for half in set(path.parent.glob(f"{recipe.stem}-*")) - others:  # which a kill left, before a change of the key
            if not half.name.startswith(path.name):
                half.unlink()
        for old in sorted(others, key=lambda other: other.stat().st_mtime)[: 1 - KEPT]:
            old.unlink()
        return path


def _within(value: float, bound: str) -> bool:
    sign, limit = bound.split()
    return SIGNS[sign](value, float(limit))


def _needs(recipe: Path) -> set[Path]:
    """The files of a recipe, of the recipes and katas that it imports, and of those that they import; 15 only if it is used."""
    files = {f"katas.{kata.module}": source(kata) for kata in KATAS if kata.module != "acceleration" or accelerates()}
    files |= {f"specs.milestones.recipes.{path.stem}": path for path in recipe.parent.glob("*.py")}
    found, waiting = set(), [recipe]
    while waiting:
        file = waiting.pop()
        if file in found:
            continue
        found.add(file)
        for node in ast.walk(ast.parse(file.read_bytes())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
            if isinstance(node, ast.ImportFrom):
                names = [node.module, *(f"{node.module}.{name}" for name in names)]
            waiting += [files[name] for name in names if name in files]
    return found


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem):
    """What was wanted and missed fails a milestone once it has shown everything."""
    result = yield
    milestone = pyfuncitem.funcargs.get("milestone")
    if milestone and milestone.missed:
        raise AssertionError("\n".join(milestone.missed))
    return result


@pytest.fixture
def milestone(request):
    """The milestone's table, numbers and picture."""
    return Milestone(request.node)


@pytest.fixture
def data(request) -> str:
    """auto, real or generated."""
    return request.config.getoption("--data")
