import pytest

from specs.meta.catalogue import catalogue
from specs.meta.judge import PRESENT, Watch, each_kata, judge, reference, told

pytestmark = pytest.mark.timeout(120)
LARGE = {"02", "07", "13", "14", "16"}
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
    red = []
    for kind in ("not time", "time"):  # what only a time budget catches is caught there
        specs = judge(kata, "-m", kind, impl=impl, watch=Watch(until=wrong.says))
        red = [spec for spec in specs if spec["outcome"] == "red"]
        if red:
            break
    broken = [spec["why"] for spec in red if "::" not in spec["id"]]
    assert not broken, f"the patched file can't be imported: {broken[0]}"
    assert red, "every spec passes"
    assert any(wrong.says in spec["why"] for spec in red), f"no report says {wrong.says!r}\n{told(red)}"
