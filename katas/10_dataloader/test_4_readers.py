import gzip
import struct

import numpy as np
import pytest
from katas.dataloader import read_cifar10, read_idx

from specs.check import EXACT, assert_close, assert_dtype, rejects

KINDS = {  # the type's number in the file, and how struct writes its values
    "uint8": (0x08, "B"),
    "int8": (0x09, "b"),
    "int16": (0x0B, "h"),
    "int32": (0x0C, "i"),
    "float32": (0x0D, "f"),
    "float64": (0x0E, "d"),
}


def idx(shape: tuple[int, ...], values, kind: str = "uint8") -> bytes:
    """The bytes of an IDX file."""
    number, code = KINDS[kind]
    return struct.pack(f">BBBB{len(shape)}I{len(values)}{code}", 0, 0, number, len(shape), *shape, *values)


def record(label: int, pixels) -> bytes:
    return bytes([label, *pixels])


class Named:
    """A path that is neither text nor a Path."""

    def __init__(self, path):
        self.path = path

    def __fspath__(self):
        return str(self.path)


@pytest.fixture
def write(tmp_path):
    """Writes a file, and returns its path."""

    def written(content: bytes, name: str = "some.file"):
        path = tmp_path / name
        path.write_bytes(content)
        return path

    return written


# IDX


@pytest.mark.parametrize("kind", KINDS)
def test_every_type_of_idx_is_read(kind, write):
    """Values are big-endian in the file and native in the array, so that NumPy computes with them at full speed."""
    values = [0, 1, 2, 100, 127, 5] if kind[0] == "u" else [0, -1, 2, -100, 127, 5]
    got = read_idx(write(idx((6,), values, kind)))
    assert_dtype(got, kind)
    assert got.dtype.isnative
    assert_close(got, np.array(values, kind), EXACT)


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("uint8", [255, 200]),
        ("int16", [-30000, 258]),
        ("int32", [16909060, -70000]),
        ("float32", [1.5, -3e38]),
        ("float64", [0.1, 1e300]),
    ],
)
def test_the_most_significant_byte_comes_first(kind, values, write):
    """In values of more than one byte, the most significant byte comes first."""
    assert_close(read_idx(write(idx((2,), values, kind))), np.array(values, kind), EXACT)


@pytest.mark.parametrize("kind", ["float32", "float64"])
def test_floats_are_read_bit_for_bit(kind, write):
    """Floats are read bit for bit, including infinities, NaN, -0.0 and the smallest numbers."""
    values = np.array([np.inf, -np.inf, np.nan, -0.0, 0.0, np.finfo(kind).smallest_subnormal, np.finfo(kind).max], kind)
    got = read_idx(write(idx((7,), values.tolist(), kind)))
    assert got.tobytes() == values.tobytes(), f"expected {values}, got {got}"


@pytest.mark.parametrize("kind", ["uint8", "int8", "int16", "int32"])
def test_the_smallest_and_the_largest_integer_are_read(kind, write):
    """The smallest and the largest integer of each dtype are read correctly."""
    info = np.iinfo(kind)
    assert read_idx(write(idx((3,), [info.min, info.max, 0], kind))).tolist() == [info.min, info.max, 0]


@pytest.mark.parametrize("shape", [(), (24,), (4, 6), (2, 3, 4), (2, 1, 3, 4), (2, 1, 2, 1, 3, 2), (300, 2)], ids=str)
def test_the_last_axis_varies_fastest(shape, write):
    """The last axis varies fastest. A file may have any number of axes, even none, each with its length as a big-endian number
    of four bytes.
    """
    want = (np.arange(np.prod(shape)) % 251).astype(np.uint8).reshape(shape)
    assert_close(read_idx(write(idx(shape, want.ravel().tolist()))), want, EXACT)


def test_an_axis_may_be_empty(write):
    """A file with zero images is valid: the array has an axis of length 0."""
    for shape in ((0, 28, 28), (0,), (5, 0), (3, 0, 2), (2**31, 0)):
        assert read_idx(write(idx(shape, []))).shape == shape


def test_a_packed_file_is_unpacked(write):
    """A file whose name ends in .gz is decompressed with gzip, like MNIST's files. The path may be text, or anything else that
    open() takes as a path.
    """
    path = write(gzip.compress(idx((2, 3), range(6))), "images.gz")
    for where in (path, str(path), Named(path)):
        assert_close(read_idx(where), np.arange(6).reshape(2, 3), EXACT)


def test_a_file_of_another_name_is_not_unpacked(write, tmp_path):
    """Only the end of the file's name decides whether it is decompressed, not the folder's name or the middle of the name."""
    (tmp_path / "mnist.gz").mkdir()
    for name in ("images.idx", "images.gzip", "images", "images.gz.idx", "mnist.gz/images", "gz"):
        assert_close(read_idx(write(idx((2, 3), range(6)), name)), np.arange(6).reshape(2, 3), EXACT)


def test_what_was_read_may_be_written_to(write):
    """The array may be written to: it is not a view of the file's bytes."""
    got = read_idx(write(idx((2, 3), range(6))))
    got += 1
    assert got[0, 0] == 1


FOREIGN = {
    "truncated": (idx((2, 3), range(6))[:-1], "18", "17"),
    "oversized": (idx((2, 3), range(6)) + b"\0", "18", "19"),
    "truncated, of wide values": (idx((2, 3), range(6), "int32")[:-1], "36", "35"),
    "no values": (idx((70000, 28, 28), []), "54880016", "16"),
    "more values than 64 bits can count": (idx((2**31, 2**31, 4), []), "16"),
    "half a header": (idx((70000, 28, 28), [])[:13],),
    "three bytes": (b"\0\0\x08", "00 00 08"),
    "an unknown type": (b"\0\0\x0a\x01\0\0\0\0", "00 00 0a 01"),
    "a picture": (b"\x89PNG\r\n\x1a\n", "89 50 4e 47"),
    "one byte is not zero": (b"\0\1" + idx((2, 3), range(6))[2:], "00 01 08 02"),
    "packed, by its content": (gzip.compress(idx((2, 3), range(6)), mtime=0), "1f 8b 08 00"),
    "nothing": (b"",),
}


@pytest.mark.parametrize("what", FOREIGN)
def test_another_file_is_no_idx_file(what, write):
    """A file that isn't a complete IDX file raises a ValueError that contains the path, and what was expected and found:
    numbers of bytes, or the first four bytes in hexadecimal.
    """
    content, *names = FOREIGN[what]
    path = write(content)
    with rejects(ValueError, str(path), "expected", "found", *names):
        read_idx(path)


PACKED = gzip.compress(idx((20, 30), [7] * 600))


@pytest.mark.parametrize(
    "content",
    [PACKED[:-12], PACKED[:6], idx((2, 3), range(6)), PACKED[:12] + b"\xff" * 8 + PACKED[20:], PACKED[:-6] + b"\0" * 6],
    ids=["truncated", "half a header", "not packed", "damaged", "another checksum"],
)
def test_a_damaged_packed_file_is_refused(content, write):
    """A damaged .gz file raises a ValueError that contains the path, whatever error gzip raises."""
    path = write(content, "images.gz")
    with rejects(ValueError, str(path), "expected", "found"):
        read_idx(path)


def test_a_packed_file_of_another_size_is_refused(write):
    """For a .gz file, the message gives the numbers of bytes after decompression."""
    path = write(gzip.compress(idx((2, 3), range(5))), "images.gz")
    with rejects(ValueError, str(path), "18", "17"):
        read_idx(path)


@pytest.mark.parametrize("name", ["nowhere", "nowhere.gz"])
def test_a_file_that_is_not_there_is_said_to_be_missing(name, tmp_path):
    """A missing file raises a FileNotFoundError, as open() does."""
    with rejects(FileNotFoundError, name):
        read_idx(tmp_path / name)


def test_values_are_not_read_one_by_one(write, budget):
    """The number of Python instructions must not grow with the number of values."""
    few, many = write(idx((1, 10), range(10)), "few"), write(idx((100, 1000), [7] * 100_000), "many")
    budget.steps(lambda: read_idx(few), lambda: read_idx(many), limit=2)


# CIFAR-10


def test_a_record_is_a_label_and_three_planes(write):
    """A record has a label and the red, the green and the blue plane, each row by row. Images are bytes (n, 3, 32, 32), and
    labels are int64, as class indices are.
    """
    planes = np.zeros((2, 3, 32, 32), np.uint8)
    planes[1] = np.arange(3).reshape(3, 1, 1) * 80 + np.arange(32).reshape(32, 1) * 2 + np.arange(32) // 16
    images, labels = read_cifar10([write(b"".join(map(record, (3, 9), planes.reshape(2, -1).tolist())))])
    assert_dtype(images, np.uint8)
    assert_dtype(labels, np.int64)
    assert_close(labels, np.array([3, 9]), EXACT)
    mistakes = {"colours are the last axis of the file": planes.reshape(2, 32, 32, 3).transpose(0, 3, 1, 2)}
    assert_close(images, planes, EXACT, mistakes)


def test_files_follow_one_another(write):
    """Records come in the order of the paths, which may be text, or come from a generator. A single path is one file."""
    paths = [
        write(b"".join(record(label, [10 * label] * 3072) for label in labels), f"{labels}.bin") for labels in ([4, 1], [7])
    ]
    for given in (paths, tuple(map(str, paths)), iter(paths), [Named(path) for path in paths]):
        images, labels = read_cifar10(given)
        assert labels.tolist() == [4, 1, 7]
        assert images[:, 2, 31, 31].tolist() == [40, 10, 70]
    for path in (paths[1], str(paths[1]), Named(paths[1])):
        assert read_cifar10(path)[1].tolist() == [7]
    assert [path.name for path in paths] == ["[4, 1].bin", "[7].bin"]


def test_a_file_may_be_read_twice(write):
    """A path that is listed twice gives its records twice, and another call reads the file again."""
    path = write(record(3, [9] * 3072))
    images, labels = read_cifar10([path, path])
    assert labels.tolist() == [3, 3]
    images[:] = 0
    assert read_cifar10(path)[0].min() == 9


def test_every_label_and_every_byte_is_read(write):
    """Labels may be 0 to 9, and pixels 0 to 255."""
    images, labels = read_cifar10(write(b"".join(record(label, [255 - label] * 3072) for label in range(10))))
    assert labels.tolist() == list(range(10))
    assert images[:, 0, 0, 0].tolist() == list(range(255, 245, -1))


def test_a_file_of_cifar10_that_is_not_there_is_said_to_be_missing(write, tmp_path):
    """A missing file raises a FileNotFoundError, as in read_idx, even if it comes after an existing one."""
    for paths in (tmp_path / "nowhere", [write(record(3, [9] * 3072)), tmp_path / "nowhere"]):
        with rejects(FileNotFoundError, "nowhere"):
            read_cifar10(paths)


def test_what_was_read_of_cifar10_may_be_written_to(write):
    """The arrays may be written to."""
    images, labels = read_cifar10(write(record(3, [9] * 3072)))
    images += 1
    labels += 1
    assert images[0, 0, 0, 0] == 10
    assert labels[0] == 4


@pytest.mark.parametrize(
    ("content", "names"),
    [
        (record(3, [0] * 3072)[:-1], ["3073", "3072"]),
        (record(3, [0] * 3072) + b"\0", ["3073", "3074"]),
        (b"", ["3073", "0"]),
        (record(3, [0] * 3072) + record(10, [0] * 3072), ["9", "10"]),
        (record(255, [0] * 3072), ["9", "255"]),
    ],
    ids=["truncated", "oversized", "empty", "label 10", "foreign"],
)
def test_another_file_is_no_cifar10_file(content, names, write):
    """A file in a different format raises a ValueError that contains its path, and what was expected and found."""
    good, path = write(record(3, [0] * 3072)), write(content, "bad.bin")
    with rejects(ValueError, str(path), "expected", "found", *names):
        read_cifar10([good, path])


def test_no_path_is_refused():
    """read_cifar10([]) raises a ValueError, as when a glob matched nothing. So does any other empty iterable."""
    for paths in ([], (), iter([]), (path for path in [])):
        with rejects(ValueError):
            read_cifar10(paths)


def test_records_are_not_read_byte_by_byte(write, budget):
    """The number of Python instructions must not grow with the number of images."""
    one, many = write(record(3, [7] * 3072), "one"), write(record(3, [7] * 3072) * 100, "many")
    budget.steps(lambda: read_cifar10([one]), lambda: read_cifar10([many]), limit=2)
