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
        fields = zip(*[self[int(index)] for index in indices], strict=True)
        return tuple([np.stack([Tensor(value).data for value in field]) for field in fields])


class ArrayDataset(Dataset):
    """Sample i is entry i of each array."""

    def __init__(self, *arrays):
        """Takes what a Tensor takes, and doesn't copy arrays. Raises: ValueError without arrays, or if lengths differ."""
        self.arrays = [Tensor(array).data for array in arrays]
        if len(lengths := {array.shape[:1] for array in self.arrays}) != 1 or () in lengths:
            raise ValueError(f"arrays must have one length, but the shapes are {[array.shape for array in self.arrays]}")

    def __len__(self) -> int:
        return len(self.arrays[0])

    def __getitem__(self, index: int) -> tuple:
        return tuple([array[index] for array in self.arrays])

    def batch(self, indices: Sequence[int]) -> tuple[np.ndarray, ...]:
        """The samples at these indices, with one gather for each array."""
        return tuple([array[np.asarray(indices)] for array in self.arrays])


class Subset(Dataset):
    """The samples of a dataset at these indices, in this order."""

    def __init__(self, dataset: Dataset, indices: Sequence[int]):
        """Raises: TypeError unless indices are integers; ValueError unless they have one axis; IndexError, which contains the
        first wrong index and the number of samples, if an index is negative or not less than that number.
        """
        indices = np.asarray(indices)
        if indices.ndim != 1:
            raise ValueError(f"indices must have one axis, not the shape {indices.shape}")
        if indices.size and indices.dtype.kind not in "iu":
            raise TypeError(f"indices must be integers, not {indices.dtype}")
        wrong = indices[(indices < 0) | (indices >= len(dataset))]
        if wrong.size:
            raise IndexError(f"there is no sample {wrong[0]}: the data set has {len(dataset)} samples, from 0")
        self.dataset, self.indices = dataset, indices.astype(np.int64)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> tuple:
        return self.dataset[int(self.indices[index])]

    def batch(self, indices: Sequence[int]) -> tuple[np.ndarray, ...]:
        """The dataset's batch of these samples."""
        return self.dataset.batch(self.indices[np.asarray(indices)])


def random_split(dataset: Dataset, lengths: Sequence[float], rng: np.random.Generator) -> list[Subset]:
    """Subsets of these lengths, drawn at random, which share no sample.

    Integers add up to len(dataset). Fractions add up to 1: each part is rounded down, ignoring rounding errors of floats, and
    the first parts get the remaining samples, one each. Lengths may be NumPy numbers. Raises: ValueError that contains lengths
    and the number of samples, if lengths do not add up or one is negative.
    """
    n, arrays = len(dataset), [np.asarray(length) for length in lengths]
    lengths = sizes = [array.item() for array in arrays]  # Python's numbers: a sum of uint8 would wrap around
    rounding = max([float(np.finfo(array.dtype).eps) for array in arrays if array.dtype.kind == "f"], default=0)
    # 0.7 + 0.2 + 0.1 is 0.9999999999999999, and float32 has seven digits
    fit = math.isclose(sum(lengths), 1, rel_tol=max(1e-9, 4 * rounding)) if rounding else sum(lengths) == n
    if not fit or min(lengths, default=0) < 0:
        raise ValueError(f"lengths must add up to {n}, or to 1 as fractions, and not be negative: {lengths}")
    if rounding:
        rounding = min(rounding, 0.25 / max(n * len(lengths), 1))  # so that all parts together gain less than one sample
        down = [math.floor(n * length + max(1e-9, 2 * n * rounding)) for length in lengths]  # 100 · 0.29 is 28.999…
        sizes = [size + (i < n - sum(down)) for i, size in enumerate(down)]
    return [Subset(dataset, part) for part in np.split(rng.permutation(n), np.cumsum(sizes)[:-1])]


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
        if batch_size < 1 or prefetch < 0:
            raise ValueError(f"batch_size must be 1 or more, and prefetch 0 or more, not {batch_size!r} and {prefetch!r}")
        if not isinstance(rng, np.random.Generator | None):
            raise TypeError(f"rng must be a np.random.Generator or None, not {rng!r}")
        self.dataset, self.batch_size, self.shuffle, self.drop_last = dataset, batch_size, shuffle, drop_last
        self.transform, self.collate, self.prefetch = transform, collate, prefetch
        self.rng = np.random.default_rng() if rng is None else rng

    def __len__(self) -> int:
        """The number of batches."""
        return (math.floor if self.drop_last else math.ceil)(len(self.dataset) / self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        """One epoch. It draws one number from rng, which seeds everything random in the epoch."""
        now = copy.copy(self)  # with the options of now: those that are changed meanwhile are the next epoch's
        rng, n = np.random.default_rng(self.rng.integers(2**63)), len(self.dataset)
        order = rng.permutation(n) if self.shuffle else np.arange(n)
        starts = range(0, len(self) * self.batch_size, self.batch_size)
        batches = (now._batch(order[start : start + now.batch_size], rng) for start in starts)
        return _ahead(batches, self.prefetch) if self.prefetch else batches

    def _batch(self, indices: np.ndarray, rng: np.random.Generator) -> tuple[Tensor, ...]:
        if self.collate is None:
            first, *others = self.dataset.batch(indices)
        else:
            first, *others = self.collate([self.dataset[int(index)] for index in indices])
        if self.transform is not None:
            first = self.transform(Tensor(first).data, rng)
        return (Tensor(first), *map(Tensor, others))


def _ahead(batches: Iterator, count: int) -> Iterator:
    """The same batches; a thread makes up to `count` of them ahead."""
    worker = ThreadPoolExecutor(1)
    try:
        made = deque([worker.submit(next, batches, None) for _ in range(count)])
        while (batch := made.popleft().result()) is not None:
            made.append(worker.submit(next, batches, None))
            yield batch
    finally:  # the end, an error, or nobody wants more: the thread ends with the batch that it is at
        worker.shutdown(wait=False, cancel_futures=True)


# 10.3 Transforms: of a batch of images (batch, channels, height, width), which is not changed itself


class Normalize:
    """(x - mean) / std as float32. mean and std are numbers, or have a value for each channel, in the units of x."""

    def __init__(self, mean: float | Sequence[float], std: float | Sequence[float]):
        """Raises: ValueError unless every std is positive."""
        self.mean, self.std = np.asarray(mean, np.float32), np.asarray(std, np.float32)
        if not (self.std > 0).all():
            raise ValueError(f"std must be positive, not {std!r}")

    def __call__(self, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Raises: ValueError unless x has four axes, and as many channels as mean and std have values."""
        if x.ndim != 4 or {self.mean.shape, self.std.shape} - {(), x.shape[1:2]}:
            raise ValueError(f"mean of shape {self.mean.shape}, std of {self.std.shape}: not for images of shape {x.shape}")
        y = np.subtract(x, self.mean.reshape(-1, 1, 1), dtype=np.float32)
        y /= self.std.reshape(-1, 1, 1)
        return y


class RandomCrop:
    """Pads each image with `padding` zeros and cuts out a piece of `size` (height, width) at its own random position."""

    def __init__(self, size: Pair, padding: Pair = 0):
        self.size, self.padding = size, padding

    def __call__(self, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """(batch, channels, h, w) → (batch, channels, *size). Raises: ValueError as kata 09's windows does."""
        pieces = windows(x, self.size, padding=self.padding)  # (batch, channels, tops, lefts, *size)
        top, left = (rng.integers(places, size=len(x)) for places in pieces.shape[2:4])
        return pieces[np.arange(len(x)), :, top, left]


class RandomHorizontalFlip:
    """Flips each image left to right with probability p."""

    def __init__(self, p: float = 0.5):
        """Raises: ValueError unless 0 <= p <= 1."""
        if not 0 <= p <= 1:
            raise ValueError(f"p must be a probability, not {p!r}")
        self.p = p

    def __call__(self, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Raises: ValueError unless x has four axes."""
        if x.ndim != 4:
            raise ValueError(f"images have the axes (batch, channels, height, width), not the shape {x.shape}")
        turned = rng.random(len(x)) < self.p
        return np.where(turned[:, None, None, None], x[..., ::-1], x)


class Compose:
    """Runs the transforms one after another."""

    def __init__(self, transforms: Sequence[Callable]):
        self.transforms = list(transforms)

    def __call__(self, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        for transform in self.transforms:
            x = transform(x, rng)
        return x


# 10.4 Readers

_IDX = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def read_idx(path: str | os.PathLike) -> np.ndarray:
    """The array in an IDX file, in native byte order. A file whose name ends in .gz is decompressed.

    The file: 00 00; the type, 08 uint8, 09 int8, 0b int16, 0c int32, 0d float32 or 0e float64; the number of axes; the length
    of each as uint32; the values in C order. All numbers are big-endian.
    Raises: FileNotFoundError; ValueError for different content. It contains the path, and what was expected and found: numbers
    of bytes or, if the file does not begin with 00 00 and a type, its first four bytes in hexadecimal, such as 89 50 4e 47.
    """
    content = Path(path).read_bytes()
    try:
        content = gzip.decompress(content) if Path(path).suffix == ".gz" else content
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{path}: expected what gzip has packed, found a damaged file: {error}") from error
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in _IDX:
        raise ValueError(f"{path}: expected an IDX file, 00 00 and a type, found {content[:4].hex(' ') or 'nothing'}")
    dtype, start = np.dtype(_IDX[content[2]]), 4 + 4 * content[3]
    shape = tuple([int.from_bytes(content[at : at + 4], "big") for at in range(4, start, 4)])
    if len(content) != (size := start + math.prod(shape) * dtype.itemsize):
        raise ValueError(f"{path}: expected {size} bytes, {dtype.name} of shape {shape}, found {len(content)}")
    return np.frombuffer(content, dtype, offset=start).reshape(shape).astype(dtype.newbyteorder("="))


def read_cifar10(paths: str | os.PathLike | Iterable) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 (n, 3, 32, 32) and labels int64 (n,) from one or more files of CIFAR-10's binary version.

    A record has 3073 bytes: the label, 0 to 9, then the red, the green and the blue plane, each row by row.
    Raises: ValueError that contains the path, and what was expected and found, for a file in a different format; ValueError if
    there is no path.
    """
    parts = []
    for path in [paths] if isinstance(paths, str | os.PathLike) else paths:
        content = np.fromfile(path, np.uint8)
        if not len(content) or len(content) % 3073:
            raise ValueError(f"{path}: expected records of 3073 bytes each, found {len(content)} bytes")
        parts.append(content.reshape(-1, 3073))  # (records, label and pixels)
        if (largest := parts[-1][:, 0].max()) > 9:
            raise ValueError(f"{path}: expected labels from 0 to 9, found {largest}")
    if not parts:
        raise ValueError("expected the path of a file of CIFAR-10, found none")
    images, labels = np.concatenate([part[:, 1:] for part in parts]), np.concatenate([part[:, 0] for part in parts])
    return images.reshape(-1, 3, 32, 32), labels.astype(np.int64)
