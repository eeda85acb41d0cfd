"""What both sides do, and with what numbers."""

import string
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np


class Convolution(NamedTuple):
    """A convolution forward, and backward for the weight and, unless they are pictures, for the images."""

    batch: int
    channels: int
    out: int
    size: int  # height and width of the images
    kernel_size: int = 3
    stride: int = 1
    padding: int = 1

    def __str__(self) -> str:
        stride = f", stride {self.stride}" if self.stride > 1 else ""
        kernel = f"{self.kernel_size}×{self.kernel_size}{stride}"
        return f"{kernel}, {self.channels} → {self.out} channels, {self.batch} images of {self.size}×{self.size}"

    @property
    def pictures(self) -> bool:
        """Whether the images are data, for which nobody wants a gradient."""
        return self.channels == 3

    def inputs(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Images, weight and the gradient of the result, all float32."""
        rng, places = np.random.default_rng(0), (self.size + 2 * self.padding - self.kernel_size) // self.stride + 1
        return (
            rng.standard_normal((self.batch, self.channels, self.size, self.size), np.float32),
            rng.standard_normal((self.out, self.channels, self.kernel_size, self.kernel_size), np.float32),
            rng.standard_normal((self.batch, self.out, places, places), np.float32),
        )


LOOPED = Convolution(2, 16, 16, 16)  # small enough for loops
CONVOLUTIONS = [
    Convolution(128, 3, 24, 32, 4, stride=2),  # these four are the milestone's network
    Convolution(128, 24, 48, 16),
    Convolution(128, 48, 64, 8),
    Convolution(128, 64, 96, 4),
    Convolution(128, 3, 32, 32),
    Convolution(64, 32, 32, 32),
    Convolution(64, 64, 64, 16),
    Convolution(64, 128, 128, 8),
]
BATCH = 128


def parameters(shapes: Iterable[tuple[int, ...]]) -> list[np.ndarray]:
    """Values for the parameters of a network, in order: both sides begin with the same."""
    rng = np.random.default_rng(1)
    return [rng.normal(0.5 if len(shape) == 1 else 0, 0.05, shape).astype(np.float32) for shape in shapes]


def photographs() -> tuple[np.ndarray, np.ndarray]:
    """A batch of normalised images and their labels: some, and again the same.

    So who normalizes each half by itself, as two shards do, computes what others compute.
    """
    rng = np.random.default_rng(2)
    images, labels = rng.standard_normal((BATCH // 2, 3, 32, 32), np.float32), rng.integers(0, 10, BATCH // 2)
    return np.concatenate([images, images]), np.concatenate([labels, labels])


class Shape(NamedTuple):
    """A GPT as the milestone's, but for its size, and the ids that a turn trains it on."""

    layers: int
    heads: int
    width: int
    context: int  # tokens in a row
    rows: int
    steps: int = 1
    window: int | None = None
    vocabulary: int = 1024

    def __str__(self) -> str:
        size, steps = f"{self.layers} × {self.width} wide", f"{self.steps} × " if self.steps > 1 else ""
        return f"{size}, {steps}{self.rows} × {self.context:,} tokens"

    def ids(self) -> np.ndarray:
        """Random, (steps, rows, context + 1), low ones more often, as in a text: so there is something to learn."""
        shape = self.steps, self.rows, self.context + 1
        return (self.vocabulary * np.random.default_rng(4).random(shape) ** 6).astype(np.int64)


MILESTONE = Shape(4, 4, 128, 64, 16, steps=4, window=64)
WIDE = Shape(6, 6, 384, 256, 4)  # as nanoGPT's for Shakespeare's characters
READER = Shape(4, 4, 128, 1024, 1)  # reads only


class GPT2(NamedTuple):
    """GPT-2's architecture, small, and with weights that are random everywhere: a weight that is not read shows."""

    layers: int
    width: int
    heads: int
    vocabulary: int = 101
    context: int = 48

    def __str__(self) -> str:
        return f"{self.layers} layers, {self.heads} heads, {self.width} wide"

    def rows(self) -> np.ndarray:
        """Ids to begin with, (4, 8)."""
        return np.random.default_rng(5).integers(0, self.vocabulary, (4, 8))


SHAPES = [GPT2(2, 64, 2), GPT2(4, 128, 4)]
GREEDY = 20  # tokens of a continuation
VOCABULARY = 256 + 1000  # the bytes, and as many merges
WORD = 10  # letters with the blank
TOGETHER = 5  # pieces of a turn, which alone would be too short to measure
LONG = {"equal": 100_000, "random": 50_000}  # letters of a piece


def words(megabytes: int) -> Iterator[str]:
    """A stream of random words, of which hardly one comes twice, in chunks of 10 kB."""
    rng, chunk = np.random.default_rng(3), 10_000
    for _ in range(megabytes * 1_000_000 // chunk):
        letters = rng.integers(ord("a"), ord("z") + 1, (chunk // WORD, WORD), np.uint8)
        letters[:, -1] = ord(" ")
        yield letters.tobytes().decode()


def pieces(kind: str, turn: int) -> tuple[list[str], list[str]]:
    """Long pieces, and the first half of each; others in each turn, since a tokenizer remembers those that it has seen."""
    numbers = range(TOGETHER * turn, TOGETHER * (turn + 1))
    if kind == "equal":
        whole = [string.ascii_letters[number] * LONG[kind] for number in numbers]
    else:
        codes = [np.random.default_rng(number).integers(ord("a"), ord("z") + 1, LONG[kind], np.uint8) for number in numbers]
        whole = [array.tobytes().decode() for array in codes]
    return whole, [piece[: len(piece) // 2] for piece in whole]
