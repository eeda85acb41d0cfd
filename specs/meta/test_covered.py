import json
import tempfile
from pathlib import Path

import pytest

from specs.door import ROOT
from specs.meta.judge import Watch, apart, each_kata, reference, run, told

pytestmark = pytest.mark.timeout(120)


def covered(file: Path, options: tuple[str, ...]) -> tuple[list[dict], dict]:
    """The results of pytest, and what coverage, set up as in tox.ini, says of one file meanwhile."""
    import coverage

    meter = coverage.Coverage(config_file=ROOT / "tox.ini", source=[str(file.parent)], data_file=None)
    with tempfile.TemporaryDirectory() as folder:
        with meter.collect():
            specs = run(options, Watch(shuffle=1))
        path = Path(folder) / "coverage.json"
        meter.json_report(outfile=str(path))
        (report,) = json.loads(path.read_text(encoding="utf-8"))["files"].values()
    return specs, report


@each_kata
def test_the_specs_execute_every_branch_of_the_reference_in_any_order(kata):
    """The kata's specs, shuffled, are green and leave out no line and no branch of the reference, but for what is given."""
    options = (f"katas/{kata.folder}", "--impl", "reference")
    specs, report = apart(covered, reference(kata), options, below=kata.number)
    not_green = [spec for spec in specs if spec["outcome"] != "green"]
    assert not not_green, told(not_green)
    assert report["executed_lines"]
    assert report["missing_lines"] == []
    assert report["missing_branches"] == []
