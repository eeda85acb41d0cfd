import numpy as np
from katas.attention import MultiHeadAttention
from katas.embeddings import Embedding
from katas.layers import Linear, Module
from katas.losses import CrossEntropyLoss
from katas.optimizers import Adam
from katas.tensor import Tensor

PAIRS, KEYS = 8, 16


def tables(n: int, rng) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """n tables of eight pairs: different keys (n, 9), of which the last asks for one before; the values 0 … 7 in some order,
    and 8 for the one that is asked for (n, 9); the answers (n,).
    """
    keys = rng.permuted(np.tile(np.arange(KEYS), (n, 1)), axis=1)[:, : PAIRS + 1]
    values = rng.permuted(np.tile(np.arange(PAIRS), (n, 1)), axis=1)
    asked = rng.integers(0, PAIRS, n)
    keys[:, PAIRS] = keys[np.arange(n), asked]
    return keys, np.concatenate([values, np.full((n, 1), PAIRS)], 1), values[np.arange(n), asked]


class Average(Module):
    """The mean of what has come so far, in the place of attention."""

    def __init__(self, dim: int, rng):
        self.before, self.after = Linear(dim, dim, rng=rng), Linear(dim, dim, rng=rng)

    def forward(self, x: Tensor) -> Tensor:
        time = x.shape[1]
        past = np.tril(np.ones((time, time), np.float32)) / np.arange(1, time + 1, dtype=np.float32)[:, None]
        return self.after(past @ self.before(x))


class Reader(Module):
    """Each pair is one token, the vector of its key plus that of its value; the last token gives the answer."""

    def __init__(self, mix, rng, dim: int = 64):
        self.key, self.value = Embedding(KEYS, dim, rng=rng), Embedding(PAIRS + 1, dim, rng=rng)
        self.mix, self.head = mix(dim, rng), Linear(dim, PAIRS, rng=rng)

    def tokens(self, keys, values) -> Tensor:
        return self.key(keys) + self.value(values)

    def forward(self, keys, values) -> Tensor:
        x = self.tokens(keys, values)
        return self.head((x + self.mix(x))[:, -1])


def trained(mix, steps: int = 200) -> Reader:
    rng = np.random.default_rng(0)
    reader, criterion = Reader(mix, rng), CrossEntropyLoss()
    optimizer = Adam(reader.parameters(), lr=0.005)
    for _ in range(steps):
        keys, values, answers = tables(64, rng)
        optimizer.zero_grad()
        criterion(reader(keys, values), Tensor(answers)).backward()
        optimizer.step()
    return reader


def test_averaging_the_past_looks_nothing_up_and_attention_does(tell):
    """Eight pairs of a key and a value, then one of the keys: which was its value? A mean of the past holds all values and says
    nothing of which belongs to which key, and one in eight is right by chance. Attention looks at the right pair.
    """
    keys, values, answers = tables(1000, np.random.default_rng(1))
    right = {}
    for name, mix in (("a mean of the past", Average), ("attention", lambda dim, rng: MultiHeadAttention(dim, 4, rng=rng))):
        reader = trained(mix)
        right[name] = (reader(keys, values).data.argmax(-1) == answers).mean()
        tell(f"{name} gives {right[name]:.0%} of the answers, where chance gives {1 / PAIRS:.0%}")
    asked = (keys[:, :-1] == keys[:, -1:]).argmax(1)
    weights = reader.mix.weights(reader.tokens(keys, values))[np.arange(len(asked)), :, -1, asked]  # (table, head)
    looks = weights.mean(0).max()
    tell(
        f"one of four heads gives the pair that is asked for {looks:.0%} of its weight, where even looks would give {1 / 9:.0%}"
    )
    assert right["a mean of the past"] < 0.2
    assert right["attention"] > 0.95
    assert looks > 0.5
