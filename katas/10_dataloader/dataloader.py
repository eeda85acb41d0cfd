"""Data loading: datasets, batches that a thread makes ahead, augmentation, and readers for two file formats."""

import copy
import gzip
import math
import os
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from katas.spatial import Pair, windows
from katas.tensor import Tensor

# 10.1 Datasets


class Dataset:
    """Samples by index, each a tuple of fields: numbers, arrays or Tensors. A subclass defines `__len__` and `__getitem__`."""

    def __len__(self) -> int:  # given
        raise TypeError(f"{type(self).__name__} needs a __len__()")

    def __getitem__(self, index: int) -> tuple:  # given
        raise TypeError(f"{type(self).__name__} needs a __getitem__(index)")

    def batch(self, indices: Sequence[int]) -> tuple[np.ndarray, ...]:
        """The samples at these indices, field by field: arrays (len(indices), ...) with the dtypes that a Tensor would have.

        Raises: ValueError unless all samples have the same number of fields, and each field has the same shape in all samples.
        """
        raise NotImplementedError("10.1 Dataset.batch: README.md, 10.1")


class ArrayDataset(Dataset):
    """Sample i is entry i of each array."""

    def __init__(self, *arrays):
        """Takes what a Tensor takes, and doesn't copy arrays. Raises: ValueError without arrays, or if lengths differ."""
        raise NotImplementedError("10.1 ArrayDataset.__init__: README.md, 10.1")

    def __len__(self) -> int:
        raise NotImplementedError("10.1 ArrayDataset.__len__: README.md, 10.1")

    def __getitem__(self, index: int) -> tuple:
        raise NotImplementedError("10.1 ArrayDataset.__getitem__: README.md, 10.1")

    def batch(self, indices: Sequence[int]) -> tuple[np.ndarray, ...]:
        """The samples at these indices, with one gather for each array."""
        raise NotImplementedError("10.1 ArrayDataset.batch: README.md, 10.1")


class Subset(Dataset):
    """The samples of a dataset at these indices, in this order."""

    def __init__(self, dataset: Dataset, indices: Sequence[int]):
        """Raises: TypeError unless indices are integers; ValueError unless they have one axis; IndexError, which contains the
        first wrong index and the number of samples, if an index is negative or not less than that number.
        """
        raise NotImplementedError("10.1 Subset.__init__: README.md, 10.1")

    def __len__(self) -> int:
        raise NotImplementedError("10.1 Subset.__len__: README.md, 10.1")

    def __getitem__(self, index: int) -> tuple:
        raise NotImplementedError("10.1 Subset.__getitem__: README.md, 10.1")

    def batch(self, indices: Sequence[int]) -> tuple[np.ndarray, ...]:
        """The dataset's batch of these samples."""
        raise NotImplementedError("10.1 Subset.batch: README.md, 10.1")


def random_split(dataset: Dataset, lengths: Sequence[float], rng: np.random.Generator) -> list[Subset]:
    """Subsets of these lengths, drawn at random, which share no sample.

    Integers add up to len(dataset). Fractions add up to 1: each part is rounded down, ignoring rounding errors of floats, and
    the first parts get the remaining samples, one each. Lengths may be NumPy numbers. Raises: ValueError that contains lengths
    and the number of samples, if lengths do not add up or one is negative.
    """
    raise NotImplementedError("10.1 random_split: README.md, 10.1")


# 10.2 DataLoader


class DataLoader:
    """Mini-batches, tuples of Tensors, with each sample of a dataset once per epoch: the `data` of kata 08's Trainer."""

    def __init__(
        self, dataset, batch_size=1, shuffle=False, *, rng=None, drop_last=False, transform=None, collate=None, prefetch=0
    ):
        """shuffle: a new order each epoch. rng: the attribute from which all randomness comes, by default a new generator.

        drop_last: drop a smaller batch at the end. transform(x, rng) → x: changes the first field of each batch, an array.
        collate(list of samples) → fields: replaces dataset.batch. prefetch: how many batches a thread makes ahead.
        Raises: ValueError unless batch_size is 1 or more and prefetch 0 or more; TypeError if rng is not a Generator or None.
        """
        raise NotImplementedError("10.2 DataLoader.__init__: README.md, 10.2")

    def __len__(self) -> int:
        """The number of batches."""
        raise NotImplementedError("10.2 DataLoader.__len__: README.md, 10.2")

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        """One epoch. It draws one number from rng, which seeds everything random in the epoch."""
        raise NotImplementedError("10.2 DataLoader.__iter__: README.md, 10.2")


# 10.3 Transforms: of a batch of images (batch, channels, height, width), which is not changed itself


class Normalize:
    """(x - mean) / std as float32. mean and std are numbers, or have a value for each channel, in the units of x."""

    def __init__(self, mean: float | Sequence[float], std: float | Sequence[float]):
        """Raises: ValueError unless every std is positive."""
        raise NotImplementedError("10.3 Normalize.__init__: README.md, 10.3")

    def __call__(self, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Raises: ValueError unless x has four axes, and as many channels as mean and std have values."""
        raise NotImplementedError("10.3 Normalize.__call__: README.md, 10.3")


class RandomCrop:
    """Pads each image with `padding` zeros and cuts out a piece of `size` (height, width) at its own random position."""

    def __init__(self, size: Pair, padding: Pair = 0):
        raise NotImplementedError("10.3 RandomCrop.__init__: README.md, 10.3")

    def __call__(self, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """(batch, channels, h, w) → (batch, channels, *size). Raises: ValueError as kata 09's windows does."""
        raise NotImplementedError("10.3 RandomCrop.__call__: README.md, 10.3")


class RandomHorizontalFlip:
    """Flips each image left to right with probability p."""

    def __init__(self, p: float = 0.5):
        """Raises: ValueError unless 0 <= p <= 1."""
        raise NotImplementedError("10.3 RandomHorizontalFlip.__init__: README.md, 10.3")

    def __call__(self, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Raises: ValueError unless x has four axes."""
        raise NotImplementedError("10.3 RandomHorizontalFlip.__call__: README.md, 10.3")


class Compose:
    """Runs the transforms one after another."""

    def __init__(self, transforms: Sequence[Callable]):
        raise NotImplementedError("10.3 Compose.__init__: README.md, 10.3")

    def __call__(self, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        raise NotImplementedError("10.3 Compose.__call__: README.md, 10.3")


# 10.4 Readers


def read_idx(path: str | os.PathLike) -> np.ndarray:
    """The array in an IDX file, in native byte order. A file whose name ends in .gz is decompressed.

    The file: 00 00; the type, 08 uint8, 09 int8, 0b int16, 0c int32, 0d float32 or 0e float64; the number of axes; the length
    of each as uint32; the values in C order. All numbers are big-endian.
    Raises: FileNotFoundError; ValueError for different content. It contains the path, and what was expected and found: numbers
    of bytes or, if the file does not begin with 00 00 and a type, its first four bytes in hexadecimal, such as 89 50 4e 47.
    """
    raise NotImplementedError("10.4 read_idx: README.md, 10.4")


def read_cifar10(paths: str | os.PathLike | Iterable) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 (n, 3, 32, 32) and labels int64 (n,) from one or more files of CIFAR-10's binary version.

    A record has 3073 bytes: the label, 0 to 9, then the red, the green and the blue plane, each row by row.
    Raises: ValueError that contains the path, and what was expected and found, for a file in a different format; ValueError if
    there is no path.
    """
    raise NotImplementedError("10.4 read_cifar10: README.md, 10.4")
