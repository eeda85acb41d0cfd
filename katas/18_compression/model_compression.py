"""Compression: fewer weights. Masks, smaller arrays, factors, a student; and what each of them saves, measured."""

import copy
import math
import time
import zlib
from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
from katas.acceleration import fused_attention
from katas.activations import GELU, LeakyReLU, LogSoftmax, ReLU, Tanh
from katas.attention import MultiHeadAttention, attention_weights
from katas.autograd import no_grad
from katas.layers import Dropout, Flatten, Linear, Module, Parameter, Sequential
from katas.losses import CrossEntropyLoss
from katas.optimizers import Optimizer
from katas.spatial import CNN, AvgPool2d, BatchNorm2d, Conv2d, GlobalAvgPool, MaxPool2d
from katas.tensor import Tensor, concatenate, where
from katas.transformers import FeedForward

# 18.1 Magnitude pruning


class Masks:
    """Which weights stay: pairs (Parameter, booleans of its shape), where False means that the weight is 0 and stays so."""

    def __init__(self, pairs: Iterable[tuple[Parameter, np.ndarray]]):
        raise NotImplementedError("18.1 Masks.__init__: README.md, 18.1")

    @classmethod
    def of(cls, model: Module) -> "Masks":
        """The masks of a model that is pruned already: False wherever a weight is 0. Raises: ValueError if it has none."""
        raise NotImplementedError("18.1 Masks.of: README.md, 18.1")

    def apply(self) -> None:
        """Sets every pruned weight to 0, in place."""
        raise NotImplementedError("18.1 Masks.apply: README.md, 18.1")

    @property
    def sparsity(self) -> float:
        """The share of the weights that are pruned."""
        raise NotImplementedError("18.1 Masks.sparsity: README.md, 18.1")


def prune(model: Module, amount: float, per_layer: bool = False) -> Masks:
    """Sets the `amount`, a share, of the weights that are smallest in magnitude to 0, in place, and returns the masks.

    Exactly round(amount · n) of all n weights are pruned, or of each Parameter's. Of equal magnitudes the first ones are, in
    the order of parameters(). Raises, and nothing has changed: ValueError unless 0 <= amount < 1, if there are no weights, or
    that contains the name of a weight that holds NaN or is read-only.
    """
    raise NotImplementedError("18.1 prune: README.md, 18.1")


def masked(optimizer: Optimizer, masks: Masks) -> Optimizer:
    """An optimizer that does what `optimizer` does and applies the masks after each step. Its state_dict holds them, too."""
    raise NotImplementedError("18.1 masked: README.md, 18.1")


# 18.2 Units: channels, neurons and heads


class Residual(Sequential):
    """x + the result of its layers, one after another (He et al. 2016)."""

    def forward(self, x: Tensor) -> Tensor:
        """x → the same shape."""
        raise NotImplementedError("18.2 Residual.forward: README.md, 18.2")


def unit_scores(model: Module, layer: Module) -> np.ndarray:
    """How much each output of `layer` matters: its L2 norm where it is written times that where it is read, float64 (units,).

    Behind a BatchNorm2d, which undoes any scale, the norm of its weight counts in place of the layer's.
    Raises: ValueError as prune_units.
    """
    raise NotImplementedError("18.2 unit_scores: README.md, 18.2")


def strongest(scores: np.ndarray, count: int) -> np.ndarray:
    """The indices of the `count` largest scores, in ascending order; of equal ones the first.

    Raises: ValueError unless 1 <= count <= len(scores), or if a score is NaN.
    """
    raise NotImplementedError("18.2 strongest: README.md, 18.2")


def prune_units(model: Module, layer: Module, keep) -> None:
    """Removes all outputs of a Linear or Conv2d but those in `keep`, indices, in place, from all arrays that depend on them.

    These are its weight and bias, BatchNorm2d's four arrays, and the weights of the layers that read the outputs, behind a
    Flatten too. Outputs that are added to a residual stream are removed from all that write and read the stream. The result is
    the model's with these outputs, and the weight and bias of a BatchNorm2d behind them, set to 0.
    Raises, and nothing has changed: ValueError that contains the reason if the outputs can't be removed, such as those of the
    last layer, or that contains keep if it is empty or names one twice; TypeError and IndexError unless it holds indices.
    """
    raise NotImplementedError("18.2 prune_units: README.md, 18.2")


class PrunedAttention(MultiHeadAttention):
    """A MultiHeadAttention with n_head of the heads that it had; d_model and the width of a head are as before."""

    def forward(self, x: Tensor, mask=None, cache=None) -> Tensor:
        """As MultiHeadAttention. A cache with a larger n_head, such as KVCache.of(model), gets zeros for the other heads."""
        raise NotImplementedError("18.2 PrunedAttention.forward: README.md, 18.2")

    def weights(self, x: Tensor, mask=None) -> np.ndarray:
        """As MultiHeadAttention: (batch, heads, time, time)."""
        raise NotImplementedError("18.2 PrunedAttention.weights: README.md, 18.2")


def head_scores(attention: MultiHeadAttention) -> np.ndarray:
    """How much each head can write: the L2 norm of its values' weights times that of its part of c_proj, float64 (heads,)."""
    raise NotImplementedError("18.2 head_scores: README.md, 18.2")


def prune_heads(attention: MultiHeadAttention, keep) -> None:
    """Removes all heads but those in `keep`, indices, in place: rows of c_attn and columns of c_proj.

    It becomes a PrunedAttention, with fewer n_head. The result is what it was with these columns of c_proj set to 0.
    Raises, and nothing has changed: TypeError for anything but a MultiHeadAttention; as prune_units for keep.
    """
    raise NotImplementedError("18.2 prune_heads: README.md, 18.2")


# 18.3 Low rank


class LowRankLinear(Linear):
    """y = up(down(x)): a Linear whose weight is a product of two, (out, rank) (rank, in)."""

    def __init__(self, down: Linear, up: Linear):
        """down: (…, in) → (…, rank), without a bias; up: (…, rank) → (…, out)."""
        raise NotImplementedError("18.3 LowRankLinear.__init__: README.md, 18.3")

    @property
    def in_features(self) -> int:
        raise NotImplementedError("18.3 LowRankLinear.in_features: README.md, 18.3")

    @property
    def out_features(self) -> int:
        raise NotImplementedError("18.3 LowRankLinear.out_features: README.md, 18.3")

    def forward(self, x: Tensor) -> Tensor:
        """x (…, in_features) → (…, out_features)."""
        raise NotImplementedError("18.3 LowRankLinear.forward: README.md, 18.3")


def low_rank(model: Module, error: float) -> dict[str, int]:
    """Exchanges Linear layers for two factors each, in place: they become LowRankLinear. Returns {name of the weight: rank}.

    The rank is the smallest with |W - up down| <= error · |W|, in Frobenius norms, which the largest singular values give
    (Eckart & Young 1936). A layer in which the factors would not have fewer numbers, whose weight has another use or is no
    Parameter, or that is of a subclass, is left alone.
    Raises, and nothing has changed: ValueError unless 0 <= error < 1, or that contains the name of a weight that is not finite.
    """
    raise NotImplementedError("18.3 low_rank: README.md, 18.3")


# 18.4 Distillation


def distillation_loss(student: Tensor, teacher, temperature: float = 2.0, counts=None) -> Tensor:
    """T² Σ p (log p - log q) over the classes, averaged over the rows: p = softmax(teacher / T), q = softmax(student / T).

    Hinton, Vinyals & Dean 2015, section 2: with T² the gradient keeps its size, whatever T is. Logits (…, classes), both; the
    teacher's are a constant. counts (…), booleans: the rows that count, all by default. Where p is 0 nothing is added.
    Raises: ValueError that contains the shapes if two differ, or are empty; ValueError if no row counts, or unless the
    temperature is positive and finite.
    """
    raise NotImplementedError("18.4 distillation_loss: README.md, 18.4")


class Distillation(Module):
    """An objective (x, y) → alpha · distillation_loss + (1 - alpha) · criterion, for kata 08's Trainer.

    The teacher is no submodule: it is not trained, not saved, and not switched to train mode. A copy of it that shares its
    arrays runs, in eval mode and without recording; its own mode is not touched.
    """

    def __init__(
        self,
        student: Module,
        teacher: Module,
        temperature: float = 2.0,
        alpha: float = 0.5,
        criterion: CrossEntropyLoss | None = None,
    ):
        """criterion None means CrossEntropyLoss(). Targets that are its ignore_index count in neither loss.

        Raises: ValueError unless 0 <= alpha <= 1; as distillation_loss for the temperature.
        """
        raise NotImplementedError("18.4 Distillation.__init__: README.md, 18.4")

    def forward(self, x: Tensor, y) -> Tensor:
        """The loss, of shape (). y (…), integers, the targets of the student's logits (…, classes)."""
        raise NotImplementedError("18.4 Distillation.forward: README.md, 18.4")

    def counted(self, x: Tensor, y) -> int:
        """How many targets the loss is the mean over."""
        raise NotImplementedError("18.4 Distillation.counted: README.md, 18.4")


# 18.5 What it saves


def compressed_size(model: Module | dict) -> int:
    """The bytes that a model, or a state_dict, takes on disk: as a safetensors file, compressed without loss (DEFLATE).

    Zeros take next to nothing there, which is all that unstructured pruning saves.
    """
    raise NotImplementedError("18.5 compressed_size: README.md, 18.5")


def held_bytes(model: Module) -> int:
    """The bytes of memory that parameters and buffers keep: a view keeps all of the array that it is a part of."""
    raise NotImplementedError("18.5 held_bytes: README.md, 18.5")


class Report(NamedTuple):  # given
    """What was measured, pairs (before, after). str() is a table."""

    numbers: tuple[int, int]  # in parameters and buffers
    held: tuple[int, int]  # bytes of memory
    disk: tuple[int, int]  # bytes, compressed
    seconds: tuple[float, float]  # of a call
    score: tuple[float, float]

    def __str__(self) -> str:
        lines = [f"{'':<16}{'before':>14}{'after':>14}{'ratio':>8}"]
        for name, (before, after) in self._asdict().items():
            shown = [f"{value:,}" if isinstance(value, int) else f"{value:.4g}" for value in (before, after)]
            ratio = f"{after / before:.2f}" if before else ""
            lines.append(f"{name:<16}{shown[0]:>14}{shown[1]:>14}{ratio:>8}")
        return "\n".join(lines)


def report(before: Module, after: Module, inputs, evaluate: Callable[[Module], float], rounds: int = 9) -> Report:
    """Measures both models: size, the time of model(inputs), and evaluate(model), a number such as an accuracy.

    The time is the least of `rounds` calls of each, which take turns, in eval mode and without recording. Afterwards each
    module is in its previous mode. Raises: ValueError unless rounds is 1 or more.
    """
    raise NotImplementedError("18.5 report: README.md, 18.5")
