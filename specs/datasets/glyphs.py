"""28×28 grey digits, drawn from a small bitmap font: what the specs use where a milestone uses MNIST.

Only operations that IEEE 754 rounds exactly, and `RandomState`, whose streams are frozen: the same bytes under every NumPy.
"""

from functools import cache

import numpy as np

FONT = """
.###.  ..#..  .###.  ####.  #..#.  #####  .###.  #####  .###.  .###.
#...#  .##..  #...#  ....#  #..#.  #....  #....  ....#  #...#  #...#
#...#  ..#..  ....#  ....#  #..#.  ####.  #....  ...#.  #...#  #...#
#...#  ..#..  ...#.  .###.  #####  ....#  ####.  ...#.  .###.  .####
#...#  ..#..  ..#..  ....#  ...#.  ....#  #...#  ..#..  #...#  ....#
#...#  ..#..  .#...  ....#  ...#.  #...#  #...#  ..#..  #...#  ....#
.###.  .###.  #####  ####.  ...#.  .###.  .###.  ..#..  .###.  .###.
"""
SIZE = 28
CELL = 8  # samples of the distance table along one cell of the font
MARGIN = 2  # cells around a digit; further out nothing is drawn
CHUNK = 500  # images drawn at once: the temporaries stay in cache


def glyphs(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw n digits, each shifted, turned, scaled, sheared, thick or thin, with a piece of another digit beside it, in noise.

    Returns: images uint8 (n, 28, 28), ink bright on dark; labels uint8 (n,), each digit ⌊n/10⌋ or ⌈n/10⌉ times.
    Raises: ValueError if n is negative.
    """
    if n < 0:
        raise ValueError(f"glyphs: n must be 0 or more, got {n}")
    random = np.random.RandomState(seed)
    labels = random.permutation(np.arange(n) % 10).astype(np.uint8)
    images = np.empty((n, SIZE, SIZE), np.uint8)
    for start in range(0, n, CHUNK):
        digits = labels[start : start + CHUNK]
        images[start : start + CHUNK] = _draw(digits, random)
    return images, labels


def _draw(digits: np.ndarray, random: np.random.RandomState) -> np.ndarray:
    """(k,) digits → (k, 28, 28) uint8."""
    k = len(digits)
    shift = random.uniform(-5, 5, (2, k))
    ink = _strokes(digits, random, shift)
    # a neighbour's strokes reach in from a side, as they do when a digit is cut out of a line of writing
    side = random.randint(0, 2, k) * 2 - 1
    beside = shift + [side * random.uniform(14, 18, k), random.uniform(-4, 4, k)]
    ink = np.maximum(ink, _strokes(random.randint(0, 10, k), random, beside))

    paper = _column(random.uniform(0, 60, k))
    contrast = _column(random.uniform(90, 190, k))
    grain = np.frombuffer(random.bytes(2 * ink.size), np.uint8).reshape(2, *ink.shape).astype(np.float32)
    noise = (grain[0] + grain[1] - 255) * _column(random.uniform(0.1, 0.35, k))  # triangular around 0
    return np.clip(paper + contrast * ink + noise, 0, 255).astype(np.uint8)


def _strokes(digits: np.ndarray, random: np.random.RandomState, shift: np.ndarray) -> np.ndarray:
    """Ink between 0 and 1, float32 (k, 28, 28): one digit an image, its centre moved by shift (2, k), x and y in pixels."""
    k = len(digits)
    half = random.uniform(-0.22, 0.22, k)  # tan(angle/2), up to 25° either way: a rotation without a sine
    cos, sin = (1 - half**2) / (1 + half**2), 2 * half / (1 + half**2)
    wide, high = random.uniform(0.34, 0.55, (2, k))  # cells a pixel: a digit is 13 to 21 pixels high
    shear = random.uniform(-0.25, 0.25, k)
    thickness = _column(random.uniform(0.3, 0.65, k))  # half a stroke's width, in cells

    at = np.arange(SIZE) - (SIZE - 1) / 2
    x = at[None, None, :].astype(np.float32) - _column(shift[0])  # (k, 1, 28)
    y = at[None, :, None].astype(np.float32) - _column(shift[1])  # (k, 28, 1)
    u = _column(wide * (cos + shear * sin)) * x + _column(wide * (shear * cos - sin)) * y  # cells right of the centre
    v = _column(high * sin) * x + _column(high * cos) * y  # cells below the centre

    table = _distances()
    _, rows, columns = table.shape
    row = np.clip(v * CELL + rows / 2, 0, rows - 1).astype(np.intp)
    column = np.clip(u * CELL + columns / 2, 0, columns - 1).astype(np.intp)
    offset = (digits.astype(np.intp) * rows * columns)[:, None, None]
    distance = table.ravel()[offset + row * columns + column]
    return np.clip((thickness - distance) / np.float32(0.4) + np.float32(0.5), 0, 1)  # an edge about a pixel wide


def _column(values: np.ndarray) -> np.ndarray:
    """(k,) → float32 (k, 1, 1)."""
    return values.astype(np.float32)[:, None, None]


@cache
def _distances() -> np.ndarray:
    """How far each point is from its digit's strokes, in cells: float32 (10, rows, columns), CELL samples a cell.

    Strokes are the lines between neighbouring marks of the font, so a change of thickness is a change of threshold.
    """
    lines = [line.split() for line in FONT.strip().split("\n")]
    marks = np.array([[list(row) for row in digit] for digit in zip(*lines, strict=True)]) == "#"  # (10, 7, 5)
    marks = np.pad(marks, ((0, 0), (MARGIN, MARGIN), (MARGIN, MARGIN)))
    height, width = marks.shape[1:]
    y = ((np.arange(height * CELL) + 0.5) / CELL - 0.5)[:, None]
    x = ((np.arange(width * CELL) + 0.5) / CELL - 0.5)[None, :]
    squares = np.full((10, height * CELL, width * CELL), np.inf)
    for digit, row, column in np.argwhere(marks):
        for down, right in ((0, 1), (1, 0), (1, 1), (1, -1)):
            joined = marks[digit, row + down, column + right]
            rounds_a_corner = down and right and (marks[digit, row, column + right] or marks[digit, row + down, column])
            if joined and not rounds_a_corner:
                along = np.clip(((y - row) * down + (x - column) * right) / (down**2 + right**2), 0, 1)
                square = (y - row - along * down) ** 2 + (x - column - along * right) ** 2
                squares[digit] = np.minimum(squares[digit], square)
    return np.sqrt(squares).astype(np.float32)
