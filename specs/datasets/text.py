"""English text: Shakespeare's plays, and the documentation that comes with every Python."""

import platform
from pathlib import Path
from pydoc_data.topics import topics
from typing import NamedTuple

from specs.datasets.download import Remote, download
from specs.datasets.fetch import RealData, choose

HOME = Remote(
    "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt",
    1_115_394,
    "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
)
FILE = "tinyshakespeare.txt"


class Text(NamedTuple):
    text: str
    source: str  # what it is, in one phrase


def shakespeare(data: str = "auto") -> Text:
    """Tiny Shakespeare, 1,115,394 characters, or `python_docs()`: see `fetch.choose` for data and what it raises."""
    folder = choose(data, SHAKESPEARE)
    return python_docs() if folder is None else load(folder)


def python_docs() -> Text:
    """The topics of Python's help(), in alphabetical order. The text differs from one version of Python to the next."""
    text = "\n\n".join(topics[name] for name in sorted(topics))
    return Text(text, f"the documentation in Python {platform.python_version()} ({len(text):,} characters)")


def load(folder: Path) -> Text:
    """Read the file. Raises: ValueError if it is not UTF-8."""
    try:
        text = (folder / FILE).read_bytes().decode()  # bytes: reading as text would translate line ends
    except UnicodeDecodeError as error:
        raise ValueError(f"{folder / FILE}: expected text in UTF-8, found {error.reason} at byte {error.start:,}") from error
    return Text(text, f"tiny Shakespeare ({len(text):,} characters)")


def _from_home(folder: Path) -> None:
    download(HOME, folder).replace(folder / FILE)


SHAKESPEARE = RealData("tiny Shakespeare", "shakespeare", {FILE: HOME.sha256}, {HOME.url: _from_home})
