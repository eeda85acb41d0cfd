"""`from katas.<module> import …` reaches the tree that KATA_IMPL names, from wherever Python runs."""

import subprocess
import sys

import pytest

from specs.meta.box import Box

WHERE = "import katas.two; print(katas.two.__file__)"


@pytest.fixture
def box(tmp_path):
    return Box(tmp_path / "box", dict.fromkeys(["01_one", "02_two"]))


def python(box: Box, code: str, cwd=None, impl: str = "") -> str:
    """What a line of Python prints, errors too, with the repository on the path as an editable install puts it."""
    environment = {"PYTHONPATH": str(box.root), "KATA_IMPL": impl, "PATH": ""}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=cwd or box.root, env=environment, capture_output=True, text=True, timeout=30)
    return (done.stdout + done.stderr).strip()


@pytest.mark.parametrize("place", ["", "katas", "katas/02_two", ".."])
def test_a_prompt_may_be_anywhere(box, place):
    assert python(box, WHERE, box.root / place) == str(box.root / "katas/02_two/two.py")


def test_the_variable_chooses_the_tree(box):
    reference = str(box.root / "reference/02_two/two.py")
    assert python(box, WHERE, impl="reference") == reference
    assert python(box, WHERE, impl="katas,01-02=reference") == reference
    assert python(box, WHERE, impl="reference,02=katas") == str(box.root / "katas/02_two/two.py")
    assert python(box, WHERE, impl=f"katas,02={box.root / 'reference'}") == reference
    assert "ValueError: KATA_IMPL: 'nowhere' is not a folder" in python(box, WHERE, impl="nowhere")


def test_a_missing_file_is_named(box):
    (box.root / "katas/02_two/two.py").unlink()
    assert "katas/02_two/two.py is missing. Get the stub back: kata reset 02" in python(box, WHERE)
    (box.root / "reference/02_two/two.py").unlink()
    assert "reference/02_two/two.py is missing. KATA_IMPL names its tree." in python(box, WHERE, impl="reference")


def test_a_module_that_does_not_exist_is_pythons_own_error(box):
    assert "ModuleNotFoundError: No module named 'katas.three'" in python(box, "import katas.three")


def test_an_import_without_end_is_waited_for_once(box):
    """The next import of the same file fails at once, an edited one is tried again; a bare except does not help."""
    file = box.write("katas/02_two/two.py", "while True:\n    try:\n        x = 1\n    except:\n        pass\n")
    code = f"""
import time, importlib
def attempt():
    start = time.monotonic()
    try:
        importlib.import_module("katas.two")
    except ImportError as error:
        return type(error).__name__, error.number, "two.py:" in str(error), time.monotonic() - start > 0.9
print(attempt(), attempt())
open({str(file)!r}, "w").write("x = 1")
print(attempt())
"""
    expected = "('KataImportError', '02', True, True) ('KataImportError', '02', True, False)\nNone"
    assert python(box, code) == expected


def test_an_edit_in_the_same_second_is_seen(box):
    """No compiled file is believed, nor left in a kata's folder."""
    file = box.root / "katas/02_two/two.py"
    for value in "123":
        file.write_text(f"x = {value}")
        assert python(box, "from katas.two import x; print(x)") == value
    assert not (file.parent / "__pycache__").exists()
