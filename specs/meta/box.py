"""A small repository for the tests of the harness: a copy of it with made-up katas in the place of the real ones."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from specs.command.stubs import stub
from specs.door import ROOT, VARIABLE

# {n} and {m} are the kata's number and module. Its second function builds on the kata before, {before}.
SOLUTION = '''"""Kata {n}."""

# {n}.1 Numbers


def add_one(x):
    """x + 1."""
    return x + 1
'''
BUILDS_ON = '''

def add_two(x):
    """x + 2."""
    from katas.{before} import add_one as first

    return add_one(first(x))
'''
SPECS = '''from katas.{m} import add_one


def test_one_and_one_are_two():
    """add_one adds one."""
    x = 1
    assert add_one(x) == 2


def test_minus_one_and_one_are_zero():
    """add_one adds one to negative numbers too."""
    assert add_one(-1) == 0
'''
SPEC_BUILDS_ON = '''

def test_one_and_two_are_three():
    """add_two adds two."""
    from katas.{m} import add_two

    assert add_two(1) == 3
'''


class Box:
    """The repository: `katas` maps a folder to the file's text, or None for the stub of a made-up solution."""

    def __init__(self, root: Path, katas: dict[str, str | None]):
        self.root = root
        skipped = shutil.ignore_patterns("__pycache__", "meta", "milestones", "datasets")
        shutil.copytree(ROOT / "specs", root / "specs", ignore=skipped)
        for name in ("conftest.py", "pyproject.toml", "katas/__init__.py"):
            (root / name).parent.mkdir(exist_ok=True)
            shutil.copy(ROOT / name, root / name)
        self.edit("specs/door.py", "IMPORT_SECONDS = 10", "IMPORT_SECONDS = 1")
        before = None
        for folder, text in katas.items():
            number, module = folder.split("_")
            names = {"n": number, "m": module, "before": before}
            solution = (SOLUTION + (BUILDS_ON if before else "")).format(**names)
            self.write(f"reference/{folder}/{module}.py", solution)
            self.write(f"katas/{folder}/{module}.py", stub(solution) if text is None else text)
            self.write(f"katas/{folder}/test_1_numbers.py", (SPECS + (SPEC_BUILDS_ON if before else "")).format(**names))
            before = module

    def write(self, name: str, text: str) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    def edit(self, name: str, old: str, new: str) -> None:
        text = (self.root / name).read_text(encoding="utf-8")
        assert text.count(old) == 1
        self.write(name, text.replace(old, new))

    def start(self, *arguments: str, cwd: str = ".", **options) -> subprocess.Popen:
        """`pytest arguments`, in a folder of the repository."""
        command = [sys.executable, "-c", "import sys, pytest; sys.path.remove(''); sys.exit(pytest.main())", *arguments]
        return self.popen(command, cwd=cwd, **options)

    def popen(
        self, command: list[str], cwd: str = ".", env: dict | None = None, encoding="utf-8", **options
    ) -> subprocess.Popen:
        inherited = {key: value for key, value in os.environ.items() if key != VARIABLE and not key.startswith("PYTEST_")}
        environment = inherited | {"OPENBLAS_NUM_THREADS": "1", "COLUMNS": "120", "PYTHONUTF8": "1"} | (env or {})
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "stdin": subprocess.DEVNULL}
        return subprocess.Popen(command, cwd=self.root / cwd, env=environment, encoding=encoding, **pipes | options)

    def pytest(self, *arguments: str, **options) -> str:
        """What `pytest arguments` prints. Its exit code is in `code`."""
        return self.wait(self.start(*arguments, **options))

    def wait(self, process: subprocess.Popen) -> str:
        try:
            printed, _ = process.communicate(timeout=60)
        finally:
            process.kill()
        self.code = process.returncode
        return printed

    def results(self) -> list[dict]:
        """The specs in the results of the last run."""
        return json.loads(self.files()[-1].read_text(encoding="utf-8"))["specs"]

    def files(self) -> list[Path]:
        return sorted((self.root / ".kata" / "results").glob("*"))

    def outcomes(self) -> dict[str, str]:
        """The outcome of every spec in the last run, by `01::test_name`."""
        return {f"{spec['kata']}::{spec['id'].split('::')[-1]}": spec["outcome"] for spec in self.results()}
