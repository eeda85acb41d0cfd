"""Kata 10 with lists and loops, a permutation that is shuffled in place, and a thread with a queue and a semaphore."""

import copy
import gzip
import os
import struct
import threading
from queue import Queue

import numpy as np
from katas.tensor import Tensor


class Dataset:
    def __len__(self):
        raise TypeError("no __len__")

    def __getitem__(self, index):
        raise TypeError("no __getitem__")

    def batch(self, indices):
        samples = []
        for index in np.asarray(indices).tolist():
            samples.append(self[index])
        width = len(samples[0])
        if any(len(sample) != width for sample in samples):
            raise ValueError(f"samples have {sorted({len(sample) for sample in samples})} fields")
        columns = []
        for column in range(width):
            values = [Tensor(sample[column]).data for sample in samples]
            if any(value.shape != values[0].shape for value in values):
                raise ValueError(f"field {column} is not of one shape: {[value.shape for value in values]}")
            columns.append(np.array(values))
        return tuple(columns)


class ArrayDataset(Dataset):
    def __init__(self, *arrays):
        self.columns = tuple(Tensor(array).data for array in arrays)
        shapes = [column.shape for column in self.columns]
        if not shapes or any(not shape or shape[0] != shapes[0][0] for shape in shapes):
            raise ValueError(f"no common length: {shapes}")
        self.length = shapes[0][0]

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        if not -self.length <= index < self.length:
            raise IndexError(index)
        return tuple(column[index] for column in self.columns)

    def batch(self, indices):
        return tuple(np.take(column, indices, axis=0) for column in self.columns)


class Subset(Dataset):
    def __init__(self, dataset, indices):
        if len(shape := np.shape(indices)) != 1:
            raise ValueError(f"not a row of indices, but of shape {shape}")
        self.dataset, self.indices = dataset, []
        for index in indices:
            if isinstance(index, bool | np.bool_):
                raise TypeError(f"a mask (bool) is no list of indices: {index!r}")
            if not isinstance(index, int | np.integer):
                raise TypeError(f"{np.asarray(index).dtype} is no integer: {index!r}")
            if index < 0 or index >= len(dataset):
                raise IndexError(f"sample {index} of {len(dataset)}")
            self.indices.append(int(index))

    def __len__(self):
        return len(self.indices)

    def __getitem__(self, index):
        return self.dataset[self.indices[index]]

    def batch(self, indices):
        return self.dataset.batch([self.indices[index] for index in indices])


def random_split(dataset, lengths, rng):
    total = len(dataset)
    digits = 9
    for length in lengths:
        if isinstance(length, np.floating) and length.itemsize < 8:
            digits = {4: 6, 2: 2}[length.itemsize]
    lengths = [float(length) if isinstance(length, float | np.floating) else int(length) for length in lengths]
    if any(isinstance(length, float) for length in lengths):
        if not abs(sum(lengths) - 1) <= 10**-digits or any(length < 0 for length in lengths):
            raise ValueError(f"fractions of {total} samples: {lengths}")
        counts = [int(total * length + min(total * length * 10.0**-digits, 0.4 / len(lengths))) for length in lengths]
        for number in range(total - sum(counts)):
            counts[number % len(counts)] += 1
    else:
        counts = lengths
        if sum(counts) != total or any(count < 0 for count in counts):
            raise ValueError(f"parts of {total} samples: {lengths}")
    order = np.arange(total)
    rng.shuffle(order)
    parts, start = [], 0
    for count in counts:
        parts.append(Subset(dataset, order[start : start + count]))
        start += count
    return parts


class DataLoader:
    def __init__(
        self, dataset, batch_size=1, shuffle=False, *, rng=None, drop_last=False, transform=None, collate=None, prefetch=0
    ):
        if batch_size < 1:
            raise ValueError(f"batch_size {batch_size}")
        if prefetch < 0:
            raise ValueError(f"prefetch {prefetch}")
        if rng is None:
            rng = np.random.default_rng()
        if not isinstance(rng, np.random.Generator):
            raise TypeError(f"rng {rng}")
        self.dataset, self.batch_size, self.shuffle, self.rng = dataset, batch_size, shuffle, rng
        self.drop_last, self.transform, self.collate, self.prefetch = drop_last, transform, collate, prefetch

    def __len__(self):
        full, rest = divmod(len(self.dataset), self.batch_size)
        return full if self.drop_last or rest == 0 else full + 1

    def __iter__(self):
        seed = int(self.rng.integers(1 << 63))
        batches = copy.copy(self)._epoch(seed)
        return _Ahead(batches, self.prefetch) if self.prefetch else batches

    def _epoch(self, seed):
        order_seed, noise_seed = np.random.SeedSequence(seed).spawn(2)
        order = np.arange(len(self.dataset))
        if self.shuffle:
            np.random.default_rng(order_seed).shuffle(order)
        noise = np.random.default_rng(noise_seed)
        for number in range(len(self)):
            chosen = order[number * self.batch_size : (number + 1) * self.batch_size]
            if self.collate is None:
                fields = list(self.dataset.batch(chosen))
            else:
                fields = list(self.collate([self.dataset[index] for index in chosen.tolist()]))
            if self.transform is not None:
                fields[0] = self.transform(Tensor(fields[0]).data, noise)
            yield tuple(Tensor(field) for field in fields)


class _Ahead:
    """An iterator over batches that a daemon thread makes; it knows the thread's queue, and the thread does not know it."""

    def __init__(self, batches, count):
        self.slots, self.stop, self.made = threading.Semaphore(count), threading.Event(), Queue()
        self.thread = threading.Thread(target=_make, args=(batches, self.slots, self.stop, self.made), daemon=True)
        self.thread.start()

    def __iter__(self):
        return self

    def __next__(self):
        if self.stop.is_set():
            raise StopIteration
        kind, value = self.made.get()
        if kind == "batch":
            self.slots.release()
            return value
        self.stop.set()
        if kind == "error":
            raise value
        raise StopIteration

    def __del__(self):
        self.stop.set()
        self.slots.release()


def _make(batches, slots, stop, made):
    while True:
        slots.acquire()
        if stop.is_set():
            return
        try:
            made.put(("batch", next(batches)))
        except StopIteration:
            made.put(("end", None))
            return
        except BaseException as error:
            made.put(("error", error))
            return


def _four_axes(x):
    if len(x.shape) != 4:
        raise ValueError(f"not images: {x.shape}")


class Normalize:
    def __init__(self, mean, std):
        if not np.all(np.asarray(std) > 0):
            raise ValueError(f"std {std}")
        self.mean, self.std = mean, std

    def __call__(self, x, rng):
        _four_axes(x)
        values = []
        for given in (self.mean, self.std):
            if not isinstance(given, int | float | np.number) and len(given) != x.shape[1]:
                raise ValueError(f"{given} for {x.shape}")
            values.append(np.broadcast_to(np.asarray(given, np.float32), x.shape[1]))
        mean, std = values
        y = x.astype(np.float32)
        y -= mean[:, None, None]
        y *= 1 / std[:, None, None]
        return y


class RandomCrop:
    def __init__(self, size, padding=0):
        self.size = size if isinstance(size, tuple) else (size, size)
        self.padding = padding if isinstance(padding, tuple) else (padding, padding)

    def __call__(self, x, rng):
        _four_axes(x)
        (h, w), (ph, pw) = self.size, self.padding
        padded = np.pad(x, [(0, 0), (0, 0), (ph, ph), (pw, pw)])
        down, right = padded.shape[2] - h + 1, padded.shape[3] - w + 1
        if min(h, w, down, right) < 1:
            raise ValueError(f"no piece {self.size} in {padded.shape}")
        place = rng.integers(0, down * right, size=len(x))
        views = np.lib.stride_tricks.sliding_window_view(padded, (h, w), axis=(2, 3))
        return views[range(len(x)), :, place // right, place % right]


class RandomHorizontalFlip:
    def __init__(self, p=0.5):
        if not (p >= 0 and p <= 1):
            raise ValueError(f"p {p}")
        self.p = p

    def __call__(self, x, rng):
        _four_axes(x)
        mirrored = x.copy()
        chosen = np.flatnonzero(rng.random(x.shape[0]) < self.p)
        mirrored[chosen] = x[chosen][:, :, :, ::-1]
        return mirrored


class Compose:
    def __init__(self, transforms):
        self.transforms = tuple(transforms)

    def __call__(self, x, rng):
        for step in self.transforms:
            x = step(x, rng)
        return x


TYPES = {8: np.uint8, 9: np.int8, 11: np.int16, 12: np.int32, 13: np.float32, 14: np.float64}


def read_idx(path):
    with open(path, "rb") as file:
        content = file.read()
    if os.fspath(path).endswith(".gz"):
        try:
            content = gzip.decompress(content)
        except Exception as error:
            raise ValueError(f"{path}: expected a gzip file, found {error}") from error
    head = content[:4]
    if len(head) < 4 or head[:2] != b"\x00\x00" or head[2] not in TYPES:
        raise ValueError(f"{path}: expected an IDX header, found {head.hex(' ') if head else 'nothing'}")
    kind, ndim = np.dtype(TYPES[head[2]]), head[3]
    body = content[4 + 4 * ndim :]
    if len(content) < 4 + 4 * ndim:
        raise ValueError(f"{path}: expected {ndim} lengths, found {len(content)} bytes")
    shape = struct.unpack(f">{ndim}I", content[4 : 4 + 4 * ndim])
    count = 1
    for length in shape:
        count *= length
    if len(body) != count * kind.itemsize:
        raise ValueError(f"{path}: expected {4 + 4 * ndim + count * kind.itemsize} bytes, found {len(content)}")
    values = np.ndarray(shape, kind.newbyteorder(">"), bytearray(body))
    return values.astype(kind)


def read_cifar10(paths):
    if isinstance(paths, str) or hasattr(paths, "__fspath__"):
        paths = (paths,)
    images, labels = [], []
    for path in paths:
        with open(path, "rb") as file:
            content = file.read()
        count, rest = divmod(len(content), 3073)
        if rest or not count:
            raise ValueError(f"{path}: expected a multiple of 3073 bytes, found {len(content)}")
        records = np.frombuffer(content, [("label", "u1"), ("image", "u1", (3, 32, 32))])
        if records["label"].max() >= 10:
            raise ValueError(f"{path}: expected labels up to 9, found {records['label'].max()}")
        images.append(records["image"])
        labels.append(records["label"])
    if not images:
        raise ValueError("expected a path, found none")
    return np.concatenate(images), np.concatenate(labels).astype(np.int64)
