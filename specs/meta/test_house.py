"""The rooms of specs/: what flows from one to the next flows one way, and nothing goes in a circle."""

import ast
import graphlib
from pathlib import Path

import pytest

from specs.door import ROOT

# Each may import what stands before it: where a kata comes from, what specs assert with, what a run leaves behind, what
# pytest does, what `kata` does. Results are written by the plugin and read by the command, which needs no pytest.
ROOMS = ["clock", "interrupt", "door", "check", "results", "plugin", "command"]
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted((ROOT / "specs").rglob("*.py"))
    if not path.name.startswith("test_")
}


def imported(path: Path) -> set[str]:
    """The modules of specs/ that a file imports, wherever in the file it does."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    return found & set(MODULES)


@pytest.mark.parametrize("name", [name for name in MODULES if name.split(".")[1:2] and name.split(".")[1] in ROOMS])
def test_a_room_imports_only_what_stands_before_it(name):
    """door → check → results → plugin → command; only data sets are fetched from elsewhere, by `kata data`."""
    room = name.split(".")[1]
    allowed = {"specs", *(f"specs.{other}" for other in ROOMS[: ROOMS.index(room) + 1])}
    allowed |= {"specs.datasets"} if room == "command" else set()
    wrong = sorted(other for other in imported(MODULES[name]) if ".".join(other.split(".")[:2]) not in allowed)
    assert not wrong


def test_no_module_imports_itself_by_a_detour():
    """The imports of specs/ can be put in an order."""
    graphlib.TopologicalSorter({name: imported(path) - {name} for name, path in MODULES.items()}).prepare()
