import contextlib
import doctest
import io
import os
import re

import pytest

from specs import door
from specs.meta.judge import PRESENT, apart

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
