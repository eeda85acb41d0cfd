import math

import numpy as np
import pytest
from katas.attention import MultiHeadAttention
from katas.embeddings import Embedding, LearnedPositions
from katas.layers import Linear, Sequential
from katas.losses import CrossEntropyLoss
from katas.optimizers import AdamW, clip_grad_norm
from katas.transformers import GPT, FeedForward, GPTConfig

IDS, CONTEXT, WIDTH, HEADS = 16, 16, 32, 4


def plain(depth: int) -> Sequential:
    """Attention, FeedForward, attention, …, one after another, without normalization and residual connections."""
    rng = np.random.default_rng(0)
    stack = Sequential(Embedding(IDS, WIDTH, rng=rng), LearnedPositions(CONTEXT, WIDTH, rng))
    for _ in range(depth):
        stack.layers += [MultiHeadAttention(WIDTH, HEADS, rng=rng), FeedForward(WIDTH, rng=rng)]
    stack.layers.append(Linear(WIDTH, IDS, rng=rng))
    return stack


def trained(model) -> float:
    """The loss after 100 steps on texts in which each id is always followed by the same one."""
    follower, rows = np.random.default_rng(0).permutation(IDS), [np.arange(IDS)]
    for _ in range(CONTEXT):
        rows.append(follower[rows[-1]])
    texts = np.stack(rows, 1)  # (batch, context + 1)
    criterion, optimizer = CrossEntropyLoss(), AdamW(model.parameters(), lr=3e-3)
    for _ in range(100):
        optimizer.zero_grad()
        loss = criterion(model(texts[:, :-1]), texts[:, 1:])
        loss.backward()
        clip_grad_norm(model.parameters(), 1.0)
        optimizer.step()
    return loss.item()


@pytest.mark.timeout(60)
def test_twelve_blocks_train_only_with_residuals_and_normalization(tell):
    """One plain block learns which id follows which. Twelve plain blocks don't leave log 16, the loss of guessing; a GPT of
    twelve blocks does.
    """
    guessing, config = math.log(IDS), GPTConfig(IDS, CONTEXT, 12, HEADS, WIDTH)
    one, twelve, gpt = trained(plain(1)), trained(plain(12)), trained(GPT(config, np.random.default_rng(0)))
    tell(f"loss after 100 steps: guessing {guessing:.2f}; plain, 1 block {one:.2f}, 12 {twelve:.2f}; GPT, 12 blocks {gpt:.2f}")
    assert one < 0.1 * guessing
    assert twelve > 0.9 * guessing
    assert gpt < 0.1 * guessing
