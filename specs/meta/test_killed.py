import ast
import re

import pytest

from specs.door import ROOT, Kata
from specs.meta.catalogue import Wrong, catalogue
from specs.meta.judge import PRESENT, Watch, each_kata, judge, reference, told

pytestmark = pytest.mark.timeout(120)
HEADING = re.compile(r"^ *# \d\d\.(\d+) ", re.MULTILINE)
LARGE = {"02", "07", "13", "14", "16"}
COST: dict[str, float] = {}  # CPU seconds of the specs that were run up to now
CASES = [
    pytest.param(kata, wrong, id=f"{kata.number}-{wrong.name}")
    for kata in PRESENT
    for wrong in catalogue(kata)
    if not wrong.naive
]


@each_kata
def test_the_catalogue_is_large_enough_and_fits_the_reference(kata):
    """At least ten wrong solutions, twenty where much can go wrong, of different names; every patch fits in one place."""
    wrong = catalogue(kata)
    assert len({entry.name for entry in wrong}) == len(wrong)
    assert len(wrong) >= (20 if kata.number in LARGE else 10)
    text = reference(kata).read_text(encoding="utf-8")
    assert all(compile(entry.text(text), entry.name, "exec") for entry in wrong)


@pytest.mark.parametrize(("kata", "wrong"), CASES)
def test_a_wrong_solution_is_caught_by_its_own_kata(kata, wrong, tmp_path):
    """A spec of the same kata is red, with the diagnosis that the catalogue expects."""
    impl = f"reference,{kata.number}={wrong.tree(kata.number, tmp_path)}"
    own = [f"katas/{kata.folder}/{name}" for name in sections(kata, wrong)]
    rounds = [(*own, "-m", "not time")] if own else []  # what is patched belongs to a section, whose specs are asked first
    rounds += [("-m", "not time"), ("-m", "time")]  # what only a time budget catches is caught there
    red, near = [], patched(kata, wrong)
    for options in rounds:
        specs = judge(kata, *options, impl=impl, watch=Watch(until=wrong.says, near=near, cost=COST))
        COST.update((spec["id"], spec["cpu"]) for spec in specs)
        red = [spec for spec in specs if spec["outcome"] == "red"]
        broken = [spec["why"] for spec in red if "::" not in spec["id"]]
        assert not broken, f"the patched file can't be imported: {broken[0]}"
        if any(wrong.says in spec["why"] for spec in red):
            return
    assert red, "every spec passes"
    pytest.fail(f"no report says {wrong.says!r}\n{told(red)}")


def patched(kata: Kata, wrong: Wrong) -> frozenset[str]:
    """The names of the functions and classes that a wrong solution patches."""
    text = reference(kata).read_text(encoding="utf-8")
    lines = [text.count("\n", 0, text.index(old)) + 1 for old in wrong.patches]
    kinds = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    named = [node for node in ast.walk(ast.parse(text)) if isinstance(node, kinds)]
    return frozenset(node.name for node in named if any(node.lineno <= line <= node.end_lineno for line in lines))


def sections(kata: Kata, wrong: Wrong) -> list[str]:
    """The spec files of the sections that a wrong solution patches: 07.4 is test_4_*.py."""
    text = reference(kata).read_text(encoding="utf-8")
    above = [HEADING.findall(text, 0, text.index(old)) for old in wrong.patches]
    numbers = {headings[-1] for headings in above if headings}
    files = sorted((ROOT / "katas" / kata.folder).glob("test_[1-9]*.py"))
    return [path.name for path in files if path.name.split("_")[1] in numbers]
