import json
import tempfile
from pathlib import Path

import pytest

from specs.meta.judge import Watch, apart, each_kata, reference, run

pytestmark = pytest.mark.timeout(120)


def covered(file: str, options: tuple[str, ...]) -> dict:
    """What coverage says of one file while pytest runs."""
    import coverage

    meter = coverage.Coverage(branch=True, include=[file], data_file=None, config_file=False)
    meter.exclude(r"# given\b")  # what is handed over may wait for a later kata to use it
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
    report = apart(covered, str(file), (f"katas/{kata.folder}", "--impl", "reference"))
    assert report["summary"]["num_branches"] + report["summary"]["num_statements"] > 0
    assert report["missing_lines"] == []
    assert report["missing_branches"] == []
