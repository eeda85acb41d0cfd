"""A cache of keys and values that is obvious and slow: a list of tokens for each row, joined anew for every call."""

import numpy as np


class ListCache:
    """Holds the keys and values of every real token. `lengths`, (batch,), grow when the last layer has been extended.

    window: a query sees itself and the window - 1 tokens before it. Nothing is thrown away: the mask hides what is older.
    """

    def __init__(self, batch: int, layers: int = 1, window: int | None = None):
        self.rows = [[[] for _ in range(batch)] for _ in range(layers)]  # of each layer and row the tokens: (key, value)
        self.window = window
        self.lengths = np.zeros(batch, np.int64)

    def __len__(self) -> int:
        """The number of tokens in the longest row: an empty cache is falsy, and a cache all the same."""
        return int(self.lengths.max(initial=0))

    def extend(self, layer: int, k, v, real: np.ndarray | None = None) -> tuple:
        """k, v (batch, heads, time, head_dim) of new tokens → all keys, all values, and where the new tokens may look.

        k, v and the keys and values are Tensors; real (batch, time) are booleans, True for what is kept.
        """
        from katas.tensor import Tensor

        for name, given, kind in [("k", k, Tensor), ("v", v, Tensor), ("real", real, np.ndarray | None)]:
            assert isinstance(given, kind), f"extend got {name} as {type(given).__name__}"
        batch, heads, time, _ = k.shape
        if real is None:
            real = np.ones((batch, time), bool)
        assert real.shape == (batch, time), f"real has shape {real.shape}, not {(batch, time)}"
        before = [len(row) for row in self.rows[layer]]
        for number, row in enumerate(self.rows[layer]):
            row += [(k.data[number, :, i], v.data[number, :, i]) for i in range(time) if real[number, i]]
        longest = max(map(len, self.rows[layer]), default=0)
        keys = np.zeros((batch, heads, longest, k.shape[-1]), k.dtype)
        values = np.zeros((batch, heads, longest, v.shape[-1]), v.dtype)
        seen = np.zeros((batch, 1, time, longest), bool)
        for number, row in enumerate(self.rows[layer]):
            for j, (key, value) in enumerate(row):
                keys[number, :, j], values[number, :, j] = key, value
            position = before[number] - 1
            for i in range(time):
                position += real[number, i]
                first = 0 if self.window is None else max(0, position - self.window + 1)
                seen[number, 0, i, first : position + 1] = True
        if layer == len(self.rows) - 1:
            self.lengths = np.array([len(row) for row in self.rows[layer]])
        return Tensor(keys), Tensor(values), seen
