"""32×32 colour scenes, a textured shape before a ground: what the specs use where a milestone uses CIFAR-10.

Only operations that IEEE 754 rounds exactly, and `RandomState`, whose streams are frozen: the same bytes under every NumPy.
"""

import numpy as np

# How far (u, v) lies inside the shape, negative outside. All of them cover about the same area; the furthest corners,
# the triangle's, are 1.2 from the centre.
SHAPES = {
    "disc": lambda u, v: 0.86 - np.sqrt(u * u + v * v),
    "square": lambda u, v: 0.77 - np.maximum(abs(u), abs(v)),
    "triangle": lambda u, v: np.minimum(0.6 - v, 0.6 + 0.5 * v - 0.866 * abs(u)),
    "ring": lambda u, v: 0.24 - abs(np.sqrt(u * u + v * v) - 0.8),
    "cross": lambda u, v: np.minimum(0.36 - np.minimum(abs(u), abs(v)), 1.0 - np.maximum(abs(u), abs(v))),
}
TEXTURES = ("striped", "checked")
CLASSES = tuple(f"{texture} {shape}" for shape in SHAPES for texture in TEXTURES)
SIZE = 32
CHUNK = 250  # scenes drawn at once: the temporaries stay in cache


def scenes(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw n scenes: a shape of any place, size, turn and two colours, striped or checked, on a shaded ground in noise.

    The class is the shape and its texture. Colours are drawn alike for every class, so they tell nothing.
    Returns: images uint8 (n, 3, 32, 32); labels uint8 (n,), indices into CLASSES, each ⌊n/10⌋ or ⌈n/10⌉ times.
    Raises: ValueError if n is negative.
    """
    if n < 0:
        raise ValueError(f"scenes: n must be 0 or more, got {n}")
    random = np.random.RandomState(seed)
    labels = random.permutation(np.arange(n) % 10).astype(np.uint8)
    images = np.empty((n, 3, SIZE, SIZE), np.uint8)
    for start in range(0, n, CHUNK):
        classes = labels[start : start + CHUNK]
        images[start : start + CHUNK] = _draw(classes, random)
    return images, labels


def _draw(classes: np.ndarray, random: np.random.RandomState) -> np.ndarray:
    """(k,) classes → (k, 3, 32, 32) uint8."""
    k = len(classes)
    shape, texture = np.divmod(classes, len(TEXTURES))
    radius = random.uniform(9, 12, k)  # pixels
    u, v = _coordinates(random, 1 / radius, centre=random.uniform(-5, 5, (2, k)))
    inside = np.empty_like(u)
    for i, depth in enumerate(SHAPES.values()):
        inside[shape == i] = depth(u[shape == i], v[shape == i])
    cover = np.clip(inside * _column(radius) + np.float32(0.5), 0, 1)[:, None]  # (k, 1, 32, 32), edges a pixel wide

    # a stripe or the side of a check is 2.5 to 4 pixels wide
    p, q = _coordinates(random, 1 / random.uniform(2.5, 4, k), centre=random.uniform(-8, 8, (2, k)))
    figure = _blend(np.where((texture == 0)[:, None, None], _wave(p), _wave(p) * _wave(q)) / 2 + np.float32(0.5), random)
    slope, _ = _coordinates(random, np.full(k, 1 / 40), centre=np.zeros((2, k)))
    ground = _blend(slope + np.float32(0.5), random)
    grain = np.frombuffer(random.bytes(2 * figure.size), np.uint8).reshape(2, *figure.shape).astype(np.float32)
    noise = (grain[0] + grain[1] - 255) * _column(random.uniform(0.05, 0.2, k))[:, None]  # triangular around 0
    return np.clip(ground + cover * (figure - ground) + noise, 0, 255).astype(np.uint8)


def _coordinates(random: np.random.RandomState, scale: np.ndarray, centre: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Every pixel's place in a frame turned at random: two arrays float32 (k, 32, 32). scale (k,), centre (2, k) in pixels."""
    k = len(scale)
    half = random.uniform(-1, 1, k)  # tan(angle/2): a rotation by up to 90° either way without a sine
    cos, sin = scale * (1 - half**2) / (1 + half**2), scale * 2 * half / (1 + half**2)
    at = np.arange(SIZE) - (SIZE - 1) / 2
    x = at[None, None, :].astype(np.float32) - _column(centre[0])  # (k, 1, 32)
    y = at[None, :, None].astype(np.float32) - _column(centre[1])  # (k, 32, 1)
    return _column(cos) * x + _column(sin) * y, _column(cos) * y - _column(sin) * x


def _wave(t: np.ndarray) -> np.ndarray:
    """A square wave of half-period 1 between -1 and 1, its edges sloping over 0.3."""
    return np.clip((abs(t % 2 - 1) - np.float32(0.5)) / np.float32(0.15), -1, 1)


def _blend(share: np.ndarray, random: np.random.RandomState) -> np.ndarray:
    """(k, 32, 32) shares of the second of two random colours → colours float32 (k, 3, 32, 32)."""
    k = len(share)
    one = random.uniform(0, 255, (k, 3))
    two = (one + random.uniform(64, 192, (k, 3))) % 256  # clearly another colour, as evenly spread as the first
    one, two = (colour.astype(np.float32)[..., None, None] for colour in (one, two))
    return one + share[:, None] * (two - one)


def _column(values: np.ndarray) -> np.ndarray:
    """(k,) → float32 (k, 1, 1)."""
    return values.astype(np.float32)[:, None, None]
