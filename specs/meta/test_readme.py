import contextlib
import doctest
import io
import os
import re
import shlex
import shutil
import subprocess
import sys

import pytest

from specs import door
from specs.command.stubs import stub
from specs.meta.judge import PRESENT, apart, reference

pytestmark = pytest.mark.timeout(120)
FENCE = re.compile(r"^```python\n(.*?)^```\n(?:\s*^```text\n(.*?)^```$)?", re.MULTILINE | re.DOTALL)
READMES = ["README.md", *(f"katas/{kata.folder}/README.md" for kata in PRESENT)]


def executed(readme: str) -> list[tuple[int, str, str]]:
    """Line, expected output and output of each Python block that is followed by one of text; all share a namespace."""
    os.environ[door.VARIABLE] = "reference"
    text, namespace, outputs = (door.ROOT / readme).read_text(encoding="utf-8"), {"__name__": "__main__"}, []
    for block in FENCE.finditer(text):
        line = text.count("\n", 0, block.start(1)) + 1
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile("\n" * (line - 1) + block[1], readme, "exec"), namespace)
        if block[2] is not None:
            outputs.append((line, block[2], printed.getvalue()))
    return outputs


@pytest.mark.parametrize("readme", READMES)
def test_the_snippets_of_a_readme_run_and_print_what_it_shows(readme):
    """Python blocks run, one after another, on the reference; a text block that follows is what they print (… is anything)."""
    checker = doctest.OutputChecker()
    for line, want, got in apart(executed, readme):
        same = checker.check_output(want.replace("…", "..."), got, doctest.ELLIPSIS)
        assert same, f"{readme}:{line} prints\n{got}where the README shows\n{want}"


FORWARD = """        y = maximum(x, 0)
        self.keep(y.data)
        return y
"""
BACKWARD = """        (y,) = self.kept()
        return grad * (y >= 0)
"""


def test_the_example_at_the_top_is_what_pytest_prints(tmp_path):
    """The three runs of README.md's first block, on the stub, a wrong ReLU and a right one, print the lines that it shows."""
    for name in ("conftest.py", "pyproject.toml", "specs", "katas", "reference"):
        copy = shutil.copytree if (door.ROOT / name).is_dir() else shutil.copy2
        copy(door.ROOT / name, tmp_path / name)
    kata = next(kata for kata in PRESENT if kata.number == "03")
    file, stub_text = tmp_path / "katas" / kata.folder / f"{kata.module}.py", stub(reference(kata).read_text(encoding="utf-8"))
    wrong = stub_text
    for method, body in (("forward", FORWARD), ("backward", BACKWARD)):
        line = f'        raise NotImplementedError("03.1 ReLU.{method}: README.md, 03.1")\n'
        assert line in wrong
        wrong = wrong.replace(line, body)
    (block,) = re.findall(
        r"^```console\n(\$ pytest.*?)^```", (door.ROOT / "README.md").read_text(encoding="utf-8"), re.M | re.S
    )
    runs = re.findall(r"^\$ (pytest .*)\n((?:(?!\$).*\n)*)", block, re.M)
    for text, (command, shown) in zip([stub_text, wrong, wrong.replace("y >= 0", "y > 0")], runs, strict=True):
        file.write_text(text, encoding="utf-8")
        command, env = [sys.executable, "-m", *shlex.split(command)], os.environ | {"PYTHONUTF8": "1"}
        done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, encoding="utf-8")
        printed = done.stdout.splitlines()
        assert [line for line in shown.splitlines() if line and line not in printed] == []
