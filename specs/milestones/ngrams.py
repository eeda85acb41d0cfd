"""What milestone 3 compares a GPT with: n-grams predict a byte from what followed the bytes before it in the training text."""

import numpy as np


class NGram:
    """The probability of a byte after the n - 1 bytes before it, interpolated (Witten & Bell 1991, method C).

    p(byte | context) = (count(context, byte) + kinds · p(byte | context without its first byte)) / (count(context) + kinds)

    count(context) is the number of bytes that followed the context in the training text, kinds the number of different ones.
    The recursion ends with 1/256 for every byte. A context that never occurred is skipped.
    """

    def __init__(self, text: bytes, n: int):
        """Counts the n-grams of the training text. Each is packed into an int64, so n must be at most 7."""
        self.n, self.counts = n, []
        for length in range(n):  # of the context
            grams, times = np.unique(_grams(text, length + 1), return_counts=True)
            contexts, first, kinds = np.unique(grams >> 8, return_index=True, return_counts=True)
            self.counts.append((grams, times, contexts, np.add.reduceat(times, first), kinds))

    def probabilities(self, text: bytes, before: bytes) -> np.ndarray:
        """The probability of each byte of the text. `before` is what precedes the text, at least n - 1 bytes."""
        whole = before[len(before) - self.n + 1 :] + text
        return self._interpolated([_grams(whole[self.n - 1 - length :], length + 1) for length in range(self.n)])

    def bits_per_byte(self, text: bytes, before: bytes) -> float:
        """The mean of -log₂ p over the bytes of the text."""
        return float(-np.log2(self.probabilities(text, before)).mean())

    def write(self, before: bytes, length: int, temperature: float, rng: np.random.Generator) -> bytes:
        """Continues `before` by `length` bytes, each drawn with a probability proportional to p^(1 / temperature)."""
        written = bytearray(before)
        for _ in range(length):
            contexts = [int.from_bytes(written[len(written) - size :]) for size in range(self.n)]
            p = self._interpolated([(context << 8) + np.arange(256) for context in contexts]) ** (1 / temperature)
            written.append(rng.choice(256, p=p / p.sum()))
        return bytes(written[len(before) :])

    def _interpolated(self, asked: list[np.ndarray]) -> np.ndarray:
        """The probabilities of bytes. asked[k] holds these bytes as n-grams with k bytes of context."""
        p = np.full(len(asked[0]), 1 / 256)
        for numbers, (grams, times, contexts, totals, kinds) in zip(asked, self.counts, strict=True):
            found, total = _looked_up(numbers, grams, times), _looked_up(numbers >> 8, contexts, totals)
            kind = _looked_up(numbers >> 8, contexts, kinds)
            p = np.where(total > 0, (found + kind * p) / np.maximum(total + kind, 1), p)
        return p


def _grams(text: bytes, n: int) -> np.ndarray:
    """The n-gram at each position, as an integer."""
    data = np.frombuffer(text, np.uint8).astype(np.int64)
    return sum(data[place : len(data) - n + 1 + place] << 8 * (n - 1 - place) for place in range(n))


def _looked_up(asked: np.ndarray, keys: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The value of each key that is asked for, or 0 if it is missing. The keys are sorted."""
    places = np.minimum(np.searchsorted(keys, asked), len(keys) - 1)
    return np.where(keys[places] == asked, values[places], 0)
