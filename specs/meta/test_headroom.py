import ast

import pytest

from specs.door import ROOT, Kata
from specs.meta.catalogue import catalogue
from specs.meta.judge import PRESENT, Watch, each_kata, judge

pytestmark = pytest.mark.timeout(120)


def budgeted(kata: Kata) -> dict[str, tuple[str, bool]]:
    """Where each of a kata's specs with a budget stands, and whether it takes time, by the name of its function."""
    found = {}
    for path in sorted((ROOT / "katas" / kata.folder).glob("test_*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef) and "budget" in {argument.arg for argument in node.args.args}:
                timed = any(isinstance(part, ast.Attribute) and part.attr == "time" for part in ast.walk(node))
                found[node.name] = f"katas/{kata.folder}/{path.name}::{node.name}", timed
    return found


WITHIN = {"steps": 0.5, "time": 0.5, "bytes": 0.75}  # bytes hardly vary, and a single copy too many must show
BUDGETED = {kata: budgeted(kata) for kata in PRESENT}


def alone(timed: bool):
    """The mark of what must share the machine with nothing else."""
    return [pytest.mark.time] if timed else []


REFERENCES = [
    pytest.param(kata, timed, marks=alone(timed), id=f"{kata.number}-{'time' if timed else 'steps and bytes'}")
    for kata in PRESENT
    for timed in sorted({timed for _, timed in BUDGETED[kata].values()})
]
NAIVE = [
    pytest.param(kata, wrong, marks=alone(BUDGETED[kata][wrong.naive][1]), id=f"{kata.number}-{wrong.name}")
    for kata in PRESENT
    for wrong in catalogue(kata)
    if wrong.naive in BUDGETED[kata]
]


@each_kata
def test_every_budget_has_a_naive_solution(kata):
    """For every spec with a budget the catalogue has a naive solution, which it is there to exclude."""
    naive = {wrong.naive for wrong in catalogue(kata) if wrong.naive}
    assert naive == set(BUDGETED[kata])


@pytest.mark.parametrize(("kata", "timed"), REFERENCES)
def test_the_reference_stays_well_within_every_budget(kata, timed):
    """The reference takes at most half of the steps and the time that are allowed, and three quarters of the bytes."""
    specs = judge(kata, "-m", "time" if timed else "not time", watch=Watch(budget=True))
    assert all(spec["budget"] for spec in specs)
    tight = [
        (spec["id"], figure)
        for spec in specs
        for figure in spec["budget"]
        if figure["measured"] > WITHIN[figure["measure"]] * figure["limit"]
    ]
    assert not tight, "\n".join(f"{name}: {figure}" for name, figure in tight)


@pytest.mark.parametrize(("kata", "wrong"), NAIVE)
def test_the_naive_solution_takes_at_least_twice_the_budget(kata, wrong, tmp_path):
    """What the budget is there to exclude exceeds it by far, in each case of the spec."""
    where, _ = BUDGETED[kata][wrong.naive]
    specs = judge(kata, where, impl=f"reference,{kata.number}={wrong.tree(kata.number, tmp_path)}")
    factors = {
        spec["id"]: max((figure["measured"] / figure["limit"] for figure in spec["budget"]), default=0) for spec in specs
    }
    assert factors
    assert min(factors.values()) >= 2, "\n".join(f"{name}: {factor:.3g} of the limit" for name, factor in factors.items())
