"""What kata 19 counts of the reference's CNN and GPT, beside counts by hand of every array that their graphs keep."""

import os

import numpy as np
import pytest

from specs.door import VARIABLE
from specs.meta.judge import apart

pytestmark = pytest.mark.timeout(120)
SCALAR = FLOAT = 4  # bytes of a float32, also where it is an array without axes


def cnn(batch: int) -> tuple[int, int]:
    """The bytes that are counted, and those by hand, of a CNN in train mode: images 3 × 16 × 19 → 6 × 8 × 10 → … → 4."""
    os.environ[VARIABLE] = "reference"
    from katas.activations import ReLU
    from katas.benchmarking import count
    from katas.layers import Linear
    from katas.spatial import CNN, BatchNorm2d, Conv2d, MaxPool2d
    from katas.tensor import Tensor

    first, second = Conv2d(3, 6, 3, stride=2, padding=1), Conv2d(6, 8, (3, 2), bias=False)
    model = CNN([first, BatchNorm2d(6), ReLU(), MaxPool2d(2), second, ReLU(), Linear(64, 10), Linear(10, 4)])
    images, pooled, small = FLOAT * batch * 6 * 8 * 10, FLOAT * batch * 6 * 4 * 5, FLOAT * batch * 8 * 2 * 4
    channels = FLOAT * 6
    by_hand = [
        images + FLOAT * batch * 8 * 10 * (3 * 3 * 3) + images,  # product, its columns, and the sum with the bias
        2 * (channels + channels + SCALAR) + 2 * images,  # mean; deviation and its square; variance
        channels + SCALAR + channels + channels,  # var + eps, its root, the scale
        2 * images,  # the product with the scale, the sum with the bias
        images + SCALAR + pooled,  # max(x, 0), the pooling
        small + FLOAT * batch * 2 * 4 * (3 * 2 * 6),  # product and columns
        small + SCALAR + small,  # max(x, 0); flattened it is a copy, as channels lie side by side
        2 * FLOAT * batch * 10 + 2 * FLOAT * batch * 4,  # product and sum of each linear layer
    ]
    return count(model, Tensor(np.ones((batch, 3, 16, 19), np.float32))).activation_bytes, sum(by_hand)


def gpt(batch: int, time: int) -> tuple[int, int]:
    """The same of a GPT with learned positions and LayerNorm."""
    os.environ[VARIABLE] = "reference"
    from katas.benchmarking import count
    from katas.transformers import GPT, GPTConfig

    vocab, layers, heads, width = 23, 2, 3, 12
    model, ids = GPT(GPTConfig(vocab, 19, layers, heads, width)), np.ones((batch, time), np.int64)
    x, column = FLOAT * batch * time * width, FLOAT * batch * time  # all tokens' vectors; one number for each token
    scores, line = FLOAT * batch * heads * time * time, FLOAT * batch * heads * time
    mean = 2 * column + SCALAR  # sum, quotient, divisor
    norm = mean + 2 * x + mean + (column + SCALAR) + column + (column + SCALAR) + 3 * x  # the square; eps, root, 1 / root
    softmax = scores + line + scores + scores + line + scores  # hidden scores, largest, difference, exp, sum, quotient
    attention = 2 * 3 * x + (x + SCALAR) + scores + FLOAT * time * time + softmax  # c_attn, scaled q, q kᵀ, the causal mask
    attention += 2 * x + 2 * x  # the mixed values, joined by a copy, and c_proj
    gelu = 9 * 4 * x + 4 * SCALAR  # x², x³, c x³, x + …, its multiple, tanh, x / 2, 1 + …, their product
    block = 2 * norm + attention + x + (2 * 4 * x + gelu + 2 * x) + x  # and two sums with x
    embedded = (8 * batch * time + x) + (8 * time + FLOAT * time * width) + x  # ids and rows of tokens, of positions; sum
    by_hand = embedded + layers * block + norm + FLOAT * batch * time * vocab
    return count(model, ids).activation_bytes, by_hand


@pytest.mark.parametrize("batch", [1, 5])
def test_the_activations_of_a_cnn_are_those_by_hand(batch):
    """To the byte."""
    counted, by_hand = apart(cnn, batch)
    assert counted == by_hand


@pytest.mark.parametrize(("batch", "time"), [(4, 17), (1, 9)])
def test_the_activations_of_a_gpt_are_those_by_hand(batch, time):
    """To the byte."""
    counted, by_hand = apart(gpt, batch, time)
    assert counted == by_hand
