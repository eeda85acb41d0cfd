"""What a run could not write: the report comes first, and then a line on it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from specs.door import relative
from specs.results import runs


class Files:
    """A pytest plugin. Who writes a file of the run does it inside `writing`."""

    def __init__(self):
        self.failed = ""

    @contextmanager
    def writing(self, what: str, place: Path, so: str = "") -> Iterator[None]:
        """An OSError in the block is told at the end of the run, with what follows from it. Of several the last is told."""
        try:
            yield
        except OSError as error:
            self.failed = f"{what}: {relative(place)}: {runs.reason(error)}.{so}"

    @pytest.hookimpl(trylast=True)
    def pytest_terminal_summary(self, terminalreporter):
        if self.failed:
            terminalreporter.write_line(self.failed)
