"""Data loading: data sets, batches that a thread makes ahead, augmentation, and the readers of two file formats."""

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
    """Samples by number, each a tuple of fields: numbers, arrays or Tensors. A subclass writes `__len__` and `__getitem__`."""

    def __len__(self) -> int:  # given
        raise TypeError(f"{type(self).__name__} needs a __len__()")

    def __getitem__(self, index: int) -> tuple:  # given
        raise TypeError(f"{type(self).__name__} needs a __getitem__(index)")

    def batch(self, indices: Sequence[int]) -> tuple[np.ndarray, ...]:
        """The samples of these numbers, field by field: arrays (len(indices), ...), whose dtypes are those of a Tensor.

        Raises: ValueError unless samples have the same number of fields, and a field one shape.
        """
        raise NotImplementedError("10.1 Dataset.batch: README.md, 10.1")


class ArrayDataset(Dataset):
    """Sample i is entry i of each array."""

    def __init__(self, *arrays):
        """Arrays as a Tensor takes them; they are not copied. Raises: ValueError unless there are some, of one length."""
        raise NotImplementedError("10.1 ArrayDataset.__init__: README.md, 10.1")

    def __len__(self) -> int:
        raise NotImplementedError("10.1 ArrayDataset.__len__: README.md, 10.1")

    def __getitem__(self, index: int) -> tuple:
        raise NotImplementedError("10.1 ArrayDataset.__getitem__: README.md, 10.1")

    def batch(self, indices: Sequence[int]) -> tuple[np.ndarray, ...]:
        """One gather for each array."""
        raise NotImplementedError("10.1 ArrayDataset.batch: README.md, 10.1")


class Subset(Dataset):
    """Those samples of a data set that have these numbers, in this order."""

    def __init__(self, dataset: Dataset, indices: Sequence[int]):
        """Raises: TypeError unless indices are integers; ValueError unless they have one axis; IndexError, which names the
        first wrong index and how many samples there are, unless each is the number of one, from 0.
        """
        raise NotImplementedError("10.1 Subset.__init__: README.md, 10.1")

    def __len__(self) -> int:
        raise NotImplementedError("10.1 Subset.__len__: README.md, 10.1")

    def __getitem__(self, index: int) -> tuple:
        raise NotImplementedError("10.1 Subset.__getitem__: README.md, 10.1")

    def batch(self, indices: Sequence[int]) -> tuple[np.ndarray, ...]:
        """The data set's."""
        raise NotImplementedError("10.1 Subset.batch: README.md, 10.1")


def random_split(dataset: Dataset, lengths: Sequence[float], rng: np.random.Generator) -> list[Subset]:
    """Subsets of these lengths, drawn at random, which share no sample.

    Integers add up to len(dataset). Fractions add up to 1: each part is rounded down, rounding errors of floats aside, and what
    is left over goes to the first parts, one each. Both may be NumPy's. Raises: ValueError that names lengths, and how many
    samples there are, if they do not add up or one is negative.
    """
    raise NotImplementedError("10.1 random_split: README.md, 10.1")


# 10.2 DataLoader


class DataLoader:
    """Mini-batches, tuples of Tensors, with each sample of a data set once an epoch: the `data` of kata 08's Trainer."""

    def __init__(
        self, dataset, batch_size=1, shuffle=False, *, rng=None, drop_last=False, transform=None, collate=None, prefetch=0
    ):
        """shuffle: a new order each epoch. rng: the attribute from which all randomness comes, by default a new generator.

        drop_last: no smaller batch at the end. transform(x, rng) → x: changes the first field of each batch, an array.
        collate(list of samples) → fields: stands in for dataset.batch. prefetch: how many batches a thread makes ahead.
        Raises: ValueError unless batch_size is 1 or more and prefetch 0 or more; TypeError for another rng.
        """
        raise NotImplementedError("10.2 DataLoader.__init__: README.md, 10.2")

    def __len__(self) -> int:
        """The number of batches."""
        raise NotImplementedError("10.2 DataLoader.__len__: README.md, 10.2")

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        """One epoch. It draws one number from rng, which seeds all that is random in it."""
        raise NotImplementedError("10.2 DataLoader.__iter__: README.md, 10.2")


# 10.3 Transforms: of a batch of images (batch, channels, height, width), which is not changed itself


class Normalize:
    """(x - mean) / std as float32. Both have a value for each channel, or are numbers, in the units of x."""

    def __init__(self, mean: float | Sequence[float], std: float | Sequence[float]):
        """Raises: ValueError unless every std is positive."""
        raise NotImplementedError("10.3 Normalize.__init__: README.md, 10.3")

    def __call__(self, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Raises: ValueError unless x has four axes, and as many channels as mean and std."""
        raise NotImplementedError("10.3 Normalize.__call__: README.md, 10.3")


class RandomCrop:
    """A piece `size` (height and width) of each image with `padding` zeros around it, from a place of its own."""

    def __init__(self, size: Pair, padding: Pair = 0):
        raise NotImplementedError("10.3 RandomCrop.__init__: README.md, 10.3")

    def __call__(self, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """(batch, channels, h, w) → (batch, channels, *size). Raises: ValueError as kata 09's windows."""
        raise NotImplementedError("10.3 RandomCrop.__call__: README.md, 10.3")


class RandomHorizontalFlip:
    """Turns left and right of each image round with probability p."""

    def __init__(self, p: float = 0.5):
        """Raises: ValueError unless 0 <= p <= 1."""
        raise NotImplementedError("10.3 RandomHorizontalFlip.__init__: README.md, 10.3")

    def __call__(self, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Raises: ValueError unless x has four axes."""
        raise NotImplementedError("10.3 RandomHorizontalFlip.__call__: README.md, 10.3")


class Compose:
    """One transform after another."""

    def __init__(self, transforms: Sequence[Callable]):
        raise NotImplementedError("10.3 Compose.__init__: README.md, 10.3")

    def __call__(self, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        raise NotImplementedError("10.3 Compose.__call__: README.md, 10.3")


# 10.4 Readers


def read_idx(path: str | os.PathLike) -> np.ndarray:
    """The array in an IDX file, or in one that gzip has packed if its name ends in .gz; in native byte order.

    The file: 00 00; the type, 08 uint8, 09 int8, 0b int16, 0c int32, 0d float32 or 0e float64; the number of axes; the length
    of each as uint32; the values in C order. All is big-endian.
    Raises: FileNotFoundError; ValueError that names the path, and what was expected and found, for other content: numbers of
    bytes, or in place of 00 00 and the type the first four in hexadecimal, such as 89 50 4e 47.
    """
    raise NotImplementedError("10.4 read_idx: README.md, 10.4")


def read_cifar10(paths: str | os.PathLike | Iterable) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 (n, 3, 32, 32) and labels int64 (n,) of one or more files of CIFAR-10's binary version.

    A record has 3073 bytes: the label, 0 to 9, then the red, the green and the blue plane, each row by row.
    Raises: ValueError that names the path, and what was expected and found, for other files; ValueError if there is no path.
    """
    raise NotImplementedError("10.4 read_cifar10: README.md, 10.4")
