"""A run's results line by line, on disk as they come: all that is left of it if its process ends in the middle."""

import contextlib
import json
import os
import sys
from datetime import datetime
from pathlib import Path

from specs.results import runs

SUFFIX = ".running"
CAUSE = "compiled code crashed, or something ended the process from outside"
CRASH = f"the process ended while this spec ran: {CAUSE}"
RUNNING = "running"  # the outcome of a spec that has begun


class Journal:
    """The file of the present run. Made with the first line, locked while the process lives, and deleted at the end.

    If it can't be written there is none: the results can't be written either, and the run's end tells that.
    """

    def __init__(self, arguments: list[str]):
        self.arguments = arguments
        self.path = runs.FOLDER / f"{datetime.now():%Y-%m-%dT%H-%M-%S-%f}{SUFFIX}"
        self.file: int | None = None
        self.works = True

    def add(self, spec: dict) -> None:
        """Appends a spec as in the results. Its last line counts; one without an outcome removes it."""
        if not self.works:
            return
        line = json.dumps(spec).encode() + b"\n"
        try:
            if self.file is None:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self.file = os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND, 0o666)
                _lock(self.file)
                line = json.dumps(runs.head(self.arguments)).encode() + b"\n" + line
            os.write(self.file, line)
        except OSError:
            self.works = False

    def end(self) -> None:
        """The run's results are written."""
        if self.file is not None:
            with contextlib.suppress(OSError):  # a solution has closed every file
                os.close(self.file)
            self.path.unlink(missing_ok=True)


def left() -> list[Path]:
    """The journals whose process has ended."""
    return [path for path in runs.FOLDER.glob(f"*{SUFFIX}") if not _locked(path)]


def parse(data: bytes) -> dict:
    """A run from its journal, with the ids of the specs that were running: they are red. A torn last line is left out."""
    head, *lines = map(json.loads, data.split(b"\n")[:-1])
    specs = {spec["id"]: spec for spec in lines}
    running = [spec for spec in specs.values() if spec["outcome"] == RUNNING]
    for spec in running:
        spec |= {"outcome": "red", "why": CRASH}
    return head | {"specs": [spec for spec in specs.values() if spec["outcome"]], "running": [spec["id"] for spec in running]}


def _locked(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            _lock(file.fileno(), shared=True)
    except OSError:  # locked, or gone by now
        return True
    return False


if sys.platform == "win32":
    import msvcrt

    FAR = 1 << 30  # Windows lets nobody read a part that is locked

    def _lock(file: int, shared: bool = False) -> None:
        """Locks an open file until it is closed. Raises OSError if another process has locked it."""
        os.lseek(file, FAR, os.SEEK_SET)
        msvcrt.locking(file, msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _lock(file: int, shared: bool = False) -> None:
        """Locks an open file until this process ends, whatever its children do. Raises OSError if another has locked it."""
        fcntl.lockf(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
