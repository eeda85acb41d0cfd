"""What every set of images comes as."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np


class Images(NamedTuple):
    """Images uint8, (N, 28, 28) grey or (N, 3, 32, 32) colour, which may be read-only; labels uint8 (N,), 0 to 9."""

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    source: str  # what they are, in one phrase
    classes: tuple[str, ...]  # what each label means


def generated(
    draw: Callable[[int, int], tuple[np.ndarray, np.ndarray]],
    train: int,
    test: int,
    classes: tuple[str, ...],
    word: str = "generated",
) -> Images:
    """The stand-in for a real set: draw(n, seed) with one seed for each part. `word` begins its source."""
    return Images(*draw(train, 0), *draw(test, 1), f"{word} {draw.__name__} ({train:,} + {test:,})", classes)
