import pytest

from specs.meta.catalogue import catalogue
from specs.meta.judge import PRESENT, Watch, each_kata, judge, reference, told
from specs.meta.reach import patched, reach

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


@pytest.fixture
def reached(kata, testrun_uid, tmp_path_factory):
    """What the kata's specs call. xdist's workers find it out once."""
    return reach(kata, tmp_path_factory.getbasetemp().parent / f"{testrun_uid}-{kata.number}.json")


@pytest.mark.parametrize(("kata", "wrong"), CASES)
def test_a_wrong_solution_is_caught_by_its_own_kata(kata, wrong, reached, tmp_path):
    """A spec of the same kata is red, with the diagnosis that the catalogue expects."""
    impl = f"reference,{kata.number}={wrong.tree(kata.number, tmp_path)}"
    near = reached.near(patched(reference(kata).read_text(encoding="utf-8"), wrong.patches))
    files = sorted({spec.split("::")[0] for spec in near})
    rounds = [((*files, "-m", "not time"), near)] if near else []  # what calls what is patched is asked first
    rounds += [(("-m", "not time"), None), (("-m", "time"), None)]  # what only a time budget catches is caught there
    red = []
    for options, among in rounds:
        specs = judge(kata, *options, impl=impl, watch=Watch(until=wrong.says, among=among, cost=reached.cost))
        red = [spec for spec in specs if spec["outcome"] == "red"] or red
        broken = [spec["why"] for spec in red if "::" not in spec["id"]]
        assert not broken, f"the patched file can't be imported: {broken[0]}"
        if any(wrong.says in spec["why"] for spec in red):
            return
    assert red, "every spec passes"
    pytest.fail(f"no report says {wrong.says!r}\n{told(red)}")
