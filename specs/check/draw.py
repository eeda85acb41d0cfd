"""Random inputs for specs: the same on every machine and NumPy version, read-only, and not contiguous."""

import zlib

import numpy as np


def frozen(values) -> np.ndarray:
    """A copy that raises when it is written to, and whose last axis is strided: neither may matter to correct code."""
    values = np.asarray(values)
    if values.ndim == 0:
        copy = values.copy()
    else:
        copy = np.empty((*values.shape[:-1], 2 * values.shape[-1]), values.dtype)[..., ::2]
        copy[...] = values
    copy.flags.writeable = False
    return copy


def layouts(values) -> dict[str, np.ndarray]:
    """Arrays that are equal by index, and each lie in memory in another order."""
    values = np.asarray(values)
    backwards = (slice(None, None, -1),) * values.ndim
    return {
        "column by column": np.array(values, order="F"),
        "backwards": values[backwards].copy()[backwards],
        "in steps": frozen(values),
    }


def global_state() -> tuple:
    """Where NumPy's global generator stands: equal before and after whatever leaves it alone."""
    _, keys, position, *rest = np.random.get_state()  # noqa: NPY002
    return keys.tobytes(), position, *rest


class Draw:
    """Seeded by a text (a spec's name). RandomState's streams are frozen for good, unlike those of default_rng."""

    def __init__(self, seed: str):
        self.state = np.random.RandomState(zlib.crc32(seed.encode()))

    def normal(self, *shape: int, dtype=np.float64) -> np.ndarray:
        """Standard normal values of the given shape."""
        return frozen(self.state.standard_normal(shape).astype(dtype))

    def uniform(self, low: float, high: float, *shape: int, dtype=np.float64) -> np.ndarray:
        """Uniform in [low, high)."""
        return frozen(self.state.uniform(low, high, shape).astype(dtype))

    def integers(self, high: int, *shape: int) -> np.ndarray:
        """Uniform int64 in [0, high)."""
        return frozen(self.state.randint(0, high, shape).astype(np.int64))
