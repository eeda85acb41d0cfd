import json
import tempfile
from pathlib import Path

import pytest

from specs.door import ROOT
from specs.meta.judge import Watch, apart, each_kata, reference, run

pytestmark = pytest.mark.timeout(120)


def covered(file: Path, options: tuple[str, ...]) -> dict:
    """What coverage, set up as in tox.ini, says of one file while pytest runs."""
    import coverage

    meter = coverage.Coverage(config_file=ROOT / "tox.ini", source=[str(file.parent)], data_file=None)
    with tempfile.TemporaryDirectory() as folder:
        with meter.collect():
            run(options, Watch())
        path = Path(folder) / "coverage.json"
        meter.json_report(outfile=str(path))
        (report,) = json.loads(path.read_text(encoding="utf-8"))["files"].values()
    return report


@each_kata
def test_the_specs_execute_every_branch_of_the_reference(kata):
    """No line and no branch of the reference, but for what is given, is left out by the kata's own specs."""
    file = reference(kata)
    report = apart(covered, file, (f"katas/{kata.folder}", "--impl", "reference"))
    assert report["executed_lines"]
    assert report["missing_lines"] == []
    assert report["missing_branches"] == []
