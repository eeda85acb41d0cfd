"""`from katas.<module> import …` reaches the tree that KATA_IMPL names, from wherever Python runs."""

import subprocess
import sys

import pytest

from specs import door
from specs.meta.box import Box
from specs.meta.judge import reference

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


LATER = "3: 02 may only import 01, not {} (katas.{})"
# a line of katas/02_two/two.py, and how the message ends; None where the import is fine
IMPORTS = {
    "from katas.three import add_one as late": LATER.format("03", "three"),
    "import os, katas.three": LATER.format("03", "three"),
    "from katas import one, three": LATER.format("03", "three"),
    "from .three import add_one": LATER.format("03", "three"),
    "def late():\n    from katas.three import add_one": LATER.replace("3:", "4:").format("03", "three"),
    "import katas.two": LATER.format("itself", "two"),
    "from katas.one import add_one": None,
    "'''from katas.three import add_one'''": None,
    "if __name__ == '__main__':\n    from katas.three import add_one": None,
}


def test_a_kata_imports_only_earlier_ones(tmp_path):
    """An import of a later kata, or of itself, is named with its line; a program at the file's end may show a later kata."""
    box = Box(tmp_path / "box", dict.fromkeys(["01_one", "02_two", "03_three"], "def add_one(x):\n    return x + 1\n"))
    code = f"""
import sys, katas.two
for line in {list(IMPORTS)}:
    open("katas/02_two/two.py", "w").write(f"# 02\\n\\n{{line}}\\n")
    del sys.modules["katas.two"]
    try:
        import katas.two
        print(None)
    except ImportError as error:
        print(error.number, error)
        sys.modules["katas.two"] = None
"""
    expected = [f"02 katas/02_two/two.py:{message}" if message else "None" for message in IMPORTS.values()]
    assert python(box, code).splitlines() == expected
    box.write("katas/01_one/one.py", "from katas.two import add_one\n")
    assert "katas/01_one/one.py:1: 01 may import no other kata, not 02 (katas.two)" in python(box, "import katas.one")


def test_every_kata_obeys():
    """The references, and what is given in them, import earlier katas only; kata 02 hands over to 07 where it is told to."""
    for kata in door.KATAS:
        loader = door.GuardedLoader(f"katas.{kata.module}", str(reference(kata)), kata)
        assert loader.get_code(loader.name)
    kata = next(kata for kata in door.KATAS if kata.module == "tensor")
    loader = door.GuardedLoader("katas.tensor", str(reference(kata)), kata)
    assert loader.source_to_code(b"class T:\n    def f(self):\n        from katas.autograd import backward\n", loader.path)
    for line in (b"from katas.autograd import backward", b"def f():\n    from katas.autograd import no_grad"):
        with pytest.raises(door.KataImportError, match=r"02 may only import 01, not 07 \(katas.autograd\)"):
            loader.source_to_code(line, loader.path)


def test_a_later_kata_is_not_to_blame_for_a_circle(tmp_path):
    """Of two katas that import each other the earlier one is red and named; the later one is blocked by it."""
    box = Box(tmp_path / "box", dict.fromkeys(["01_one", "02_two", "03_three"], "def add_one(x):\n    return x + 1\n"))
    circle = "from katas.{} import add_one as other\n\n\ndef add_one(x):\n    return x + 1\n\n\nadd_two = add_one\n"
    box.write("katas/02_two/two.py", circle.format("three"))
    box.write("katas/03_three/three.py", circle.format("two"))
    printed = box.pytest("katas/02_two", "katas/03_three", env={"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"})
    guilty = "katas/02_two/two.py:1: 02 may only import 01, not 03 (katas.three)"
    assert [(spec["kata"], spec["outcome"]) for spec in box.results()] == [("02", "red"), ("03", "blocked")]
    assert f"02  These specs can't be imported.\n      {guilty}\n" in printed
    assert f"blocked by 02: {guilty}\n" in printed
