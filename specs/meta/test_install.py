"""`pip install .` without -e makes a copy, which no edit reaches: it is refused with the remedy, not judged."""

import json
import shutil
import sys

import pytest

from specs.meta.box import Box

pytestmark = pytest.mark.timeout(60)
# what is started: its exit code
WAYS = {
    ("-m", "specs.command", "next"): 2,
    ("-m", "pytest", "-p", "specs.plugin.hooks", "katas"): 4,
    ("-c", "from katas.one import add_one"): 1,
}
LINE = "tensor-kata is installed as a copy in {}; your files are {}: run there  python -m pip install -e ."


@pytest.fixture
def copy(tmp_path):
    """What pip leaves in site-packages, and says of where it came from."""
    box = Box(tmp_path / "site-packages", {"01_one": None})
    for name in ("conftest.py", "pyproject.toml"):
        (box.root / name).unlink()
    shutil.rmtree(box.root / "reference")
    box.write("tensor_kata-0.1.0.dist-info/METADATA", "Metadata-Version: 2.4\nName: tensor-kata\nVersion: 0.1.0\n")
    return box


def test_a_copy_is_refused_with_the_remedy(copy, tmp_path):
    """`kata`, pytest and an import say where the copy is, where the files are and what to run there, and write no results."""
    yours = tmp_path / "my checkout"
    copy.write("tensor_kata-0.1.0.dist-info/direct_url.json", json.dumps({"dir_info": {}, "url": yours.as_uri()}))
    for arguments, code in WAYS.items():
        printed = copy.wait(copy.popen([sys.executable, *arguments])).strip()
        assert printed.endswith(LINE.format(copy.root, f"in {yours}"))
        assert ("\n" in printed) == ("-c" in arguments)  # an import is Python's own error, with the line that asked for it
        assert copy.code == code
    assert not (copy.root / ".kata").exists()


def test_a_copy_that_came_from_elsewhere_is_refused_too(copy):
    """pip notes no folder for what it fetched."""
    url = {"url": "https://example.org/tensor-kata.git", "vcs_info": {"vcs": "git", "commit_id": "0" * 40}}
    for note in (None, url):
        if note:
            copy.write("tensor_kata-0.1.0.dist-info/direct_url.json", json.dumps(note))
        printed = copy.wait(copy.popen([sys.executable, "-m", "specs.command"]))
        assert printed == f"kata: {LINE.format(copy.root, 'where you cloned it')}\n"
