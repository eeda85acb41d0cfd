"""Real data: found in $KATA_DATA or in the cache, else fetched into the cache, each file checked and whole or not there.

$KATA_DATA is only read, and what lies there is used as it is. The cache is the platform's folder for such things.
"""

import hashlib
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import NamedTuple

import platformdirs
from filelock import FileLock

from specs.datasets.download import FULL, PATIENCE, Failed, Unwritable, WebPage, digest, say, writing

CHOICES = ("auto", "real", "generated", "few")


class Unavailable(Exception):
    """Real data could not be had. The message says what was tried and what to do."""


@dataclass(frozen=True)
class RealData:
    name: str  # as people know it
    folder: str  # below $KATA_DATA and the cache
    files: dict[str, str]  # canonical file name: its sha256
    sources: dict[str, Callable[[Path], None]]  # where from: puts all files into a folder; raises OSError or Failed


class Found(NamedTuple):
    folder: Path
    origin: str  # "KATA_DATA", "cache", or the source that delivered just now


def choose(data: str, real: RealData) -> Path | None:
    """The folder that holds the real files, or None where generated data are to be used.

    data: "real"; "generated"; "few", a small part of what is generated; or "auto", real data if they are there or can be
    fetched, else generated.
    Raises: Unavailable for "real"; ValueError if data is none of these.
    """
    if data not in CHOICES:
        raise ValueError(f"data must be one of {', '.join(CHOICES)}; got {data!r}")
    if data in ("generated", "few"):
        return None
    try:
        return fetch(real).folder
    except Unavailable as error:
        if data == "real":
            raise
        say(f"{error}\nGoing on without {real.name}.")
        return None


def fetch(real: RealData) -> Found:
    """Find the files, or fetch them from the first source that delivers. Safe in several processes at once.

    Raises: Unavailable.
    """
    tried, remedy = [], "Connect to the internet and"
    if given := os.environ.get("KATA_DATA"):
        for folder in (Path(given), Path(given, real.folder)):
            if all((folder / name).is_file() for name in real.files):
                return Found(folder, "KATA_DATA")
        tried.append(f"KATA_DATA={given}: does not hold {', '.join(real.files)}")
    cache = platformdirs.user_cache_path("tensor-kata", appauthor=False) / real.folder
    try:
        if not missing(real.files, cache) and not (_left(cache) and os.access(cache, os.W_OK)):
            return Found(cache, "cache")
        cache.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{cache}.lock", timeout=2 * PATIENCE):
            if not missing(real.files, cache):  # another process was faster, or was broken off at the very end
                _remove(_left(cache))
                return Found(cache, "cache")
            _remove(path for path in _left(cache) if path.suffix != ".part")  # where a download resumes
            for source, deliver in real.sources.items():
                try:
                    deliver(cache)
                except Unwritable:
                    _remove(_left(cache))
                    raise  # another source would need as much room
                except (OSError, HTTPException, Failed) as error:
                    tried.append(f"{source}: {error}")
                    if isinstance(error, WebPage):
                        remedy = "Log in to the network: open any page in a browser. Then"
                else:
                    _remove(_left(cache))
                    return Found(cache, source)
    except OSError as error:
        tried.append(f"the cache, {cache}: {error}")
        remedy = "Free some space, then" if error.errno in FULL else "Make it writable, then"
    raise Unavailable(
        "\n  ".join([f"{real.name} could not be had. Tried:", *tried])
        + f"\n{remedy} run `kata data fetch --only {real.folder}`; "
        + f"or put {', '.join(real.files)} into a folder and set KATA_DATA to it; or ask for generated data."
    )


def _left(cache: Path) -> list[Path]:
    """What a fetch that was broken off left there, the whole archives too."""
    return [path for path in cache.iterdir() if path.suffix in (".part", ".new", ".gz", ".tgz")]


def _remove(paths: Iterable[Path]) -> None:
    for path in paths:
        path.unlink()


def missing(files: dict[str, str], folder: Path) -> list[str]:
    """The names of those files {name: sha256} that the folder does not hold, or holds damaged."""
    return [name for name, sha256 in files.items() if not (folder / name).is_file() or digest(folder / name) != sha256]


def place(path: Path, content: bytes, sha256: str) -> None:
    """Write a file, which appears whole or not at all. Raises: Failed if the content has another checksum; Unwritable."""
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise Failed(f"{path.name} has sha256 {found}, expected {sha256}")
    new = path.with_name(path.name + ".new")  # in the same folder, hence on the same disk
    with writing(path):
        new.write_bytes(content)
        new.replace(path)
