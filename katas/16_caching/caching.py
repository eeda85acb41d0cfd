"""Caching: keys and values of a text are kept, so that the next token costs what one token costs."""

import copy
import math
from collections.abc import Sequence

import numpy as np
from katas.autograd import no_grad
from katas.layers import Module
from katas.tensor import Tensor
from katas.transformers import GPT

# 16.1 KVCache


class KVCache:
    """The keys and values of every layer, row and head, in arrays that never grow.

    lengths (batch,): the tokens that each row has. They grow, in place, when the last layer has been extended. max_length: the
    most that a row may have, None for no limit, which needs a window. With a window a row keeps its last `window` tokens only:
    the one at position p lies in slot p % window. The other arguments are attributes, too.
    """

    def __init__(
        self,
        n_layer: int,
        batch: int,
        n_head: int,
        head_dim: int,
        max_length: int | None,
        window: int | None = None,
        dtype=np.float32,
    ):
        """Raises: ValueError if both limits are None, or that contains name and value of a size that is no positive integer."""
        raise NotImplementedError("16.1 KVCache.__init__: README.md, 16.1")

    @classmethod
    def of(cls, model: GPT, batch: int, max_length: int | None = None) -> "KVCache":
        """A cache for a model: of its sizes, window and dtype. max_length None: its context, or no limit with a window.

        n_head is the most that a block has: kata 18 removes some.

        Raises: ValueError that contains both if max_length is larger than the context of a model without a window.
        """
        raise NotImplementedError("16.1 KVCache.of: README.md, 16.1")

    @property
    def nbytes(self) -> int:
        """All memory that the cache holds, now and later."""
        raise NotImplementedError("16.1 KVCache.nbytes: README.md, 16.1")

    def extend(self, layer: int, k: Tensor, v: Tensor, real: np.ndarray | None = None) -> tuple[Tensor, Tensor, np.ndarray]:
        """Keeps k, v (batch, n_head, time, head_dim) of new tokens → all keys, all values, and where the new tokens may look.

        These are (batch, n_head, keys, head_dim), twice, and booleans (batch, 1, time, keys): the whole mask. real (batch,
        time): True for tokens, False for padding, which is not kept. Nothing is copied, unless several tokens reach beyond a
        window.
        Raises, and is then as before: ValueError that contains max_length if a row becomes longer; ValueError if layer or a
        shape does not fit, which contains it; TypeError that contains the dtype if that is not the cache's, or real is not
        boolean.
        """
        raise NotImplementedError("16.1 KVCache.extend: README.md, 16.1")

    # 16.2 Rows

    def truncate(self, lengths) -> None:
        """Forgets each row's tokens from position lengths on: an integer, or one for each row, (batch,).

        Raises, and is then as before: ValueError that contains both if a length is negative or larger than the row's;
        ValueError that contains the window if tokens are gone that the next one would see; ValueError for another shape,
        which it contains; TypeError unless the lengths are integers.
        """
        raise NotImplementedError("16.2 KVCache.truncate: README.md, 16.2")

    def release(self, row: int) -> None:
        """Empties a row, for another text. Releasing it again does nothing. Raises: IndexError if there is no such row."""
        raise NotImplementedError("16.2 KVCache.release: README.md, 16.2")

    def reorder(self, rows: Sequence[int]) -> None:
        """Row i becomes what row rows[i] was; a row may be taken several times, as in beam search.

        Raises: ValueError unless there are `batch` rows; TypeError unless they are integers; IndexError that contains one that
        does not exist.
        """
        raise NotImplementedError("16.2 KVCache.reorder: README.md, 16.2")

    def row(self, row: int, count: int = 1) -> "KVCache":
        """One row, or `count` rows from it on, as a cache of that batch in the same memory: to use it while the others wait.

        Raises: IndexError that contains a row that does not exist; ValueError that contains count if it is below 1.
        """
        raise NotImplementedError("16.2 KVCache.row: README.md, 16.2")


# 16.3 prefill


def prefill(model: GPT, ids, cache: KVCache, mask=None, block: int = 64) -> np.ndarray:
    """Puts a prompt into the cache, `block` tokens at a time → the logits (batch, vocab_size) after each row's last token.

    ids (batch, time) are integers, mask (batch, time) booleans, True for real tokens; a row without any gets zeros. In eval
    mode, without recording. Memory grows with block · keys, not with time · keys.
    Raises, before anything is changed: ValueError that contains the limit if a row becomes longer than cache or context; as
    GPT.
    """
    raise NotImplementedError("16.3 prefill: README.md, 16.3")


# 16.4 Decoder


class Decoder(Module):
    """A GPT's next token in as few and as short operations as it takes, without recording: `step`.

    The weights are folded when it is made: what a norm multiplies and adds, and the scale of attention, go into the weights
    behind them, and what is added to x loses its mean, so that LayerNorm has none to subtract. The model's weights are not
    watched: call refold() when they have changed. It may take the model's place in `generate`. model and config are attributes.
    """

    def __init__(self, model: GPT):
        raise NotImplementedError("16.4 Decoder.__init__: README.md, 16.4")

    def refold(self) -> None:
        """Folds the weights that the model has now: in float64, then rounded to its dtype.

        Raises: ValueError that contains the class of a layer that does not compute x W + b.
        """
        raise NotImplementedError("16.4 Decoder.refold: README.md, 16.4")

    def forward(self, ids, mask=None, cache=None) -> Tensor:
        """As the model's. With a KVCache and no mask the folded weights are used, without recording.

        Raises: as the model; with folded weights, as step, and the cache is as before.
        """
        raise NotImplementedError("16.4 Decoder.forward: README.md, 16.4")

    def step(self, ids, cache: KVCache, real=None) -> np.ndarray:
        """ids (batch,), the next token of each row, which the cache keeps → logits (batch, vocab_size) for the one after it.

        real (batch,), booleans: False for rows that wait. Theirs are not kept, and their logits mean nothing.
        Raises, and the cache is as before: ValueError that contains max_length or the context if a row would be longer, or the
        shapes if they don't fit, or if the cache is not one of this model; TypeError unless ids are integers and real booleans;
        IndexError for an id that does not exist.
        """
        raise NotImplementedError("16.4 Decoder.step: README.md, 16.4")
