"""One JSON file for each run of pytest, written atomically: what became of every spec."""

import errno
import json
import os
import tempfile
from datetime import datetime
from pathlib import Path

from specs.door import ROOT, relative, trees

FOLDER = ROOT / ".kata" / "results"
OUTCOMES = ("green", "red", "blocked", "not run")
BEGAN = datetime.now().astimezone()  # the plugin imports this before any kata: what is saved later was not judged


def write(specs: list[dict], arguments: list[str], path: Path | None) -> None:
    """One run's results, under a name of their own unless `path` is given. Raises: OSError, and leaves no part of a file."""
    path = path or FOLDER / f"{datetime.now():%Y-%m-%dT%H-%M-%S-%f}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    run = head(arguments) | {"specs": specs}
    part = tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=path.parent, suffix=".part", delete=False)  # noqa: SIM115
    try:
        with part:
            json.dump(run, part, indent=1)
        os.replace(part.name, path)
    except BaseException:
        os.unlink(part.name)
        raise


def reason(error: OSError) -> str:
    """Why a file or folder could not be read or written, in a few words."""
    error = NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR)) if isinstance(error, FileExistsError) else error
    return error.strerror or type(error).__name__


def head(arguments: list[str]) -> dict:
    """What a run's results say of the run itself."""
    return {
        "time": BEGAN.isoformat(),
        "arguments": arguments,
        "trees": {number: relative(tree) for number, tree in trees().items()},
    }


def reached(spec: dict) -> bool:
    """Whether a run came to a spec: one that was interrupted did not, nor does one with -n come to time budgets."""
    return spec["outcome"] != "not run" or ("why" in spec and "without -n" not in spec["why"])


def read(path: Path) -> dict:
    """What `write` wrote."""
    return json.loads(path.read_text(encoding="utf-8"))
