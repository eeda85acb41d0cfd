"""What a milestone shows, what it fails by, and what it trains once for all that ask."""

import shutil

import pytest

from specs.door import ROOT
from specs.meta.box import Box

pytestmark = pytest.mark.timeout(120)
TRAINING = """def load_checkpoint(path):
    if b"all of it" not in path.read_bytes():
        raise ValueError("damaged")
"""
RECIPE = """import numpy as np
from katas.training import load_checkpoint
from safetensors.numpy import save_file
from specs.milestones.recipes import other


def train(data, seed, progress, checkpoint):
    if not checkpoint.exists():
        checkpoint.parent.mkdir(parents=True, exist_ok=True)
        save_file({"all of it": np.zeros(9)}, checkpoint)
        print("it is trained")
    elif checkpoint.with_name("unfit").exists():
        raise ValueError("another network")
    return load_checkpoint(checkpoint)
"""
MILESTONE = """from types import SimpleNamespace

from specs.milestones.recipes import recipe


def test_it(milestone):
    milestone.trained(recipe, SimpleNamespace(source="some data"))
"""


@pytest.fixture
def box(tmp_path):
    """Two milestones that ask for one recipe, which stands on a kata and on another recipe, and that on one more kata."""
    box = Box(tmp_path / "box", {})
    for name in ("specs/milestones/conftest.py", "specs/milestones/recipes/accelerated.py"):
        shutil.copy(ROOT / name, box.write(name, ""))
    box.write("katas/03_activations/activations.py", "")
    box.write("katas/07_autograd/autograd.py", "")
    box.write("katas/08_training/training.py", TRAINING)
    box.write("specs/milestones/recipes/recipe.py", RECIPE)
    box.write("specs/milestones/recipes/other.py", "import katas.activations\nimport specs.milestones.recipes.accelerated\n")
    box.write("katas/15_acceleration/acceleration.py", "")
    for number in (2, 4):
        box.write(f"specs/milestones/test_{number}_it.py", MILESTONE)
    return box


def trainings(box: Box, accelerate: str = "") -> int:
    """How many times both milestones together trained."""
    printed = box.pytest("-s", "specs/milestones", env={"KATA_ACCELERATE": accelerate})
    assert [spec["outcome"] for spec in box.results()] == ["green"] * 2, printed
    return printed.count("it is trained")


def test_a_recipe_is_trained_once_for_all_that_ask(box):
    """Another milestone finds it, also after its own file was changed; a change of what it stands on trains it again."""
    assert trainings(box) == 1
    box.write("specs/milestones/test_2_it.py", MILESTONE + "\n")
    box.write("katas/07_autograd/autograd.py", "changed = 1\n")
    assert trainings(box) == 0
    for name in ("katas/08_training/training.py", "katas/03_activations/activations.py", "specs/milestones/recipes/other.py"):
        box.write(name, (box.root / name).read_text() + "changed = 1\n")
        assert trainings(box) == 1, name


def test_an_accelerated_training_is_another_and_stands_on_kata_15(box):
    """With KATA_ACCELERATE=1 a recipe is trained again, and a change of kata 15 trains it once more; without, it does not."""
    assert [trainings(box), trainings(box, "1"), trainings(box), trainings(box, "1")] == [1, 1, 0, 0]
    box.write("katas/15_acceleration/acceleration.py", "changed = 1\n")
    assert [trainings(box), trainings(box, "1")] == [0, 1]


def test_only_the_last_trainings_of_a_recipe_are_kept(box):
    """Each change of a kata would leave a file for ever."""
    for number in range(6):
        box.write("katas/03_activations/activations.py", f"changed = {number}\n")
        trainings(box)
    assert len([*(box.root / ".kata/trained").iterdir()]) == 4


def test_a_checkpoint_that_cant_be_read_is_trained_again(box):
    """The line says which file was deleted, whether the learner's own code finds the damage or, of one cut short, does not."""
    trainings(box)
    (file,) = (box.root / ".kata/trained").iterdir()
    whole = file.read_bytes()
    for damaged, error in ((whole.replace(b"all of it", b"all of is"), "ValueError"), (whole[:-1], "SafetensorError")):
        file.write_bytes(damaged)
        printed = box.pytest("-s", "specs/milestones")
        line = f"trained again: .kata/trained/{file.name} could not be read ({error}), and was deleted\n"
        assert printed.count(line) == 1
        assert printed.count(f"trained before, or in part: .kata/trained/{file.name}\n") == 1
        assert file.read_bytes() == whole
        assert box.code == 0


def test_a_checkpoint_that_training_cant_go_on_from_is_named(box):
    """The file may be at fault, or the code: it stays, and a line says what to do. What a kill left beside it goes."""
    box.write(".kata/trained/unfit", "")
    box.write(".kata/trained/recipe-0123.safetensors.tmp", "half")
    printed = box.pytest("specs/milestones")
    (file,) = (box.root / ".kata/trained").glob("recipe*")
    line = f"this went on from .kata/trained/{file.name}: if that is at fault, delete it, and it is trained again\n"
    assert printed.count(line) == 1
    assert "ValueError: another network" in printed
    assert [spec["outcome"] for spec in box.results()] == ["green", "red"]


ROWS = """def test_it(milestone):
    milestone.row("enough", 98.0, "%", wanted="≥ 98")
    milestone.row("too much", {value}, "×", wanted="≤ 1.5", target="≤ 1.15")
    milestone.row("nothing is wanted", 3)
"""


@pytest.mark.parametrize(
    ("value", "bounds", "outcome"),
    [
        ("1.15", "(wanted ≤ 1.5, target ≤ 1.15)", "green"),
        ("1.152", "(wanted ≤ 1.5, target ≤ 1.15: missed)", "green"),
        ("1.501", "(wanted ≤ 1.5: missed, target ≤ 1.15: missed)", "red"),
        ("float('nan')", "(wanted ≤ 1.5: missed, target ≤ 1.15: missed)", "red"),
    ],
)
def test_what_a_row_says_is_wanted_is_enforced(box, value, bounds, outcome):
    """After all rows are shown. A target is shown, and may be missed."""
    box.write("specs/milestones/test_2_it.py", ROWS.format(value=value))
    printed = box.pytest("specs/milestones/test_2_it.py")
    (spec,) = box.results()
    assert spec["outcome"] == outcome, printed
    assert [*spec["numbers"]] == ["enough", "too much", "nothing is wanted"]
    assert f"{bounds}\n" in printed
    assert "98 %     (wanted ≥ 98)\n" in printed
    assert ("too much: " in spec.get("why", "")) == (outcome == "red")
    assert "enough: " not in printed


def test_a_milestone_that_fails_otherwise_says_so_and_shows_its_rows(box):
    """Its own failure comes first; a missed row is marked."""
    box.write("specs/milestones/test_2_it.py", ROWS.format(value="2") + "    assert not 'this'\n")
    printed = box.pytest("specs/milestones/test_2_it.py")
    assert "assert not 'this'" in box.results()[0]["why"]
    assert "(wanted ≤ 1.5: missed, target ≤ 1.15: missed)\n" in printed
