"""Embeddings: a learned vector for each token, and three ways to say where it stands."""

import operator

import numpy as np
from katas.autograd import defvjp
from katas.layers import Module, Parameter
from katas.tensor import Tensor

# 12.1 embedding


def embedding(ids, weight: Tensor, padding_idx: int | None = None) -> Tensor:
    """Row weight[i] for each id i: ids (…) → (…, dim), for a weight (num, dim).

    ids are a list, an array or a Tensor of integers, and may be changed afterwards. Row padding_idx, counted from the end if it
    is negative, receives no gradient. Raises: TypeError if ids or padding_idx are not integers; IndexError that names the first
    id outside 0 … num - 1 and its position; ValueError if padding_idx is outside -num … num - 1, or weight has not two axes.
    """
    raise NotImplementedError("12.1 embedding: README.md, 12.1")


defvjp("embedding", ...)

# 12.2 Embedding


class Embedding(Module):
    """embedding with a weight (num_embeddings, embedding_dim) of its own, drawn from a standard normal distribution.

    Row padding_idx, if there is one, starts at 0 and stays there, as in torch.nn.Embedding.
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        rng: np.random.Generator | None = None,
    ):
        """rng None means a fresh generator. Raises: ValueError unless both sizes are positive; as embedding for padding_idx."""
        raise NotImplementedError("12.2 Embedding.__init__: README.md, 12.2")

    def forward(self, ids) -> Tensor:
        """ids (…) → (…, embedding_dim)."""
        raise NotImplementedError("12.2 Embedding.forward: README.md, 12.2")


# 12.3 SinusoidalPositions


class SinusoidalPositions(Module):
    """Adds sin(p · 10000^(-2i / dim)) to channel 2i of the token at position p, and the cosine to channel 2i + 1.

    Vaswani et al. 2017, section 3.5. The table is no parameter, and no part of state_dict.
    """

    def __init__(self, max_positions: int, dim: int):
        """Raises: ValueError unless both are positive and dim is even."""
        raise NotImplementedError("12.3 SinusoidalPositions.__init__: README.md, 12.3")

    def forward(self, x: Tensor, start=0) -> Tensor:
        """x (…, time, dim) of floats → the same shape and dtype. The first token stands at position `start`.

        start is an integer, or one for each row of the first axis: (batch,). Raises, as all three: ValueError if x or start has
        another shape, start is negative, or a position is not below max_positions; TypeError unless start holds integers and x
        floats.
        """
        raise NotImplementedError("12.3 SinusoidalPositions.forward: README.md, 12.3")


# 12.4 LearnedPositions


class LearnedPositions(Module):
    """Adds row p of a weight (max_positions, dim) to the token at position p, as GPT-2 does. It is drawn as Embedding's."""

    def __init__(self, max_positions: int, dim: int, rng: np.random.Generator | None = None):
        """rng None means a fresh generator. Raises: ValueError unless both sizes are positive."""
        raise NotImplementedError("12.4 LearnedPositions.__init__: README.md, 12.4")

    def forward(self, x: Tensor, start=0) -> Tensor:
        """x (…, time, dim) → the same shape. start: as in 12.3."""
        raise NotImplementedError("12.4 LearnedPositions.forward: README.md, 12.4")


# 12.5 RotaryPositions


class RotaryPositions(Module):
    """Rotates pairs of channels by the angles p · base^(-2i / dim): the product of two vectors then depends on their distance.

    pairing says which channels are pair i: "halves" takes i and i + dim / 2, as GPT-NeoX and Llama do; "neighbors" takes 2i and
    2i + 1, as RoFormer does (Su et al. 2021, section 3.2.2). Weights trained with one are useless with the other.
    """

    def __init__(self, max_positions: int, dim: int, base: float = 10000.0, pairing: str = "halves"):
        """Raises: ValueError unless max_positions, dim and base are positive, dim is even, and pairing is one of the two."""
        raise NotImplementedError("12.5 RotaryPositions.__init__: README.md, 12.5")

    def forward(self, x: Tensor, start=0) -> Tensor:
        """x (batch, heads, time, dim), or with other leading axes → the same shape and dtype. start: as in 12.3."""
        raise NotImplementedError("12.5 RotaryPositions.forward: README.md, 12.5")


defvjp("rotary", ...)

# 12.6 Looking at positions


def draw(path: str, **tables: np.ndarray) -> None:  # given
    """Draws tables (rows, columns) side by side into a file: red above 0, blue below. The suffix may be .png, .svg or .pdf."""
    from matplotlib.figure import Figure  # which takes a second to import

    figure = Figure(figsize=(5 * len(tables), 4), layout="constrained")
    for axes, (name, table) in zip(figure.subplots(1, len(tables), squeeze=False)[0], tables.items(), strict=True):
        largest = np.abs(table).max()
        axes.imshow(table, "RdBu_r", vmin=-largest, vmax=largest, aspect="auto", interpolation="nearest")
        axes.set_title(name)
    figure.savefig(path)
