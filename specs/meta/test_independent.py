import os
import shutil
import subprocess
import sys

import pytest

from specs import door
from specs.meta.judge import each_kata
from specs.results import runs

pytestmark = pytest.mark.timeout(120)


@each_kata
def test_a_kata_needs_no_later_one(kata, tmp_path):
    """The specs of a kata pass in a copy of the repository that ends with it."""
    ignored = shutil.ignore_patterns("__pycache__", "meta")
    for name in ("conftest.py", "pyproject.toml", "katas/__init__.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy2(door.ROOT / name, tmp_path / name)
    earlier = [other for other in door.KATAS if other.number <= kata.number]
    for folder in ["specs", *(f"{tree}/{other.folder}" for other in earlier for tree in ("katas", "reference"))]:
        shutil.copytree(door.ROOT / folder, tmp_path / folder, ignore=ignored)
    path = tmp_path / "results.json"
    command = [sys.executable, "-m", "pytest", f"katas/{kata.folder}", "--impl", "reference", "--results", str(path)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("KATA_", "PYTEST_"))}
    environment["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    options = ["-p", "pytest_timeout", "-p", "no:cacheprovider", "-m", "not time"]
    done = subprocess.run([*command, *options], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert set(runs.read(path)["trees"]) == {other.number for other in earlier}  # the copy was judged, not this tree
