import math

import numpy as np
import pytest
from katas.losses import CrossEntropyLoss
from katas.optimizers import AdamW, clip_grad_norm
from katas.transformers import GPT, GPTConfig

SIZES = {"vocab_size": 8, "context": 12, "n_layer": 2, "n_head": 2, "d_model": 16}


def trained(model: GPT, batches) -> list[float]:
    """The loss of each step, one for each batch of ids (batch, time)."""
    optimizer, criterion, losses = AdamW(model.parameter_groups(0.01), lr=5e-3), CrossEntropyLoss(), []
    for ids in batches:
        loss = criterion(model(ids[:, :-1]), ids[:, 1:])
        loss.backward()
        clip_grad_norm(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses


def repeating(draw, count: int) -> list[np.ndarray]:
    """Batches of texts that repeat four random ids three times."""
    return [np.tile(draw.integers(8, 16, 4), (1, 3)) for _ in range(count)]


@pytest.mark.parametrize(
    "options", [{}, {"positions": "sinusoidal"}, {"positions": "rotary", "norm": "rms"}], ids=lambda options: str(options)
)
def test_one_batch_is_learned_by_heart(draw, options):
    """120 steps on one batch of four random texts that begin differently bring the loss below 0.05."""
    ids = np.concatenate([np.arange(4)[:, None], np.arange(4, 8)[:, None], draw.integers(8, 4, 7)], 1)
    losses = trained(GPT(GPTConfig(**SIZES, **options), np.random.default_rng(0)), [ids] * 120)
    assert losses[-1] < 0.05


def test_random_ids_are_not_learned(draw):
    """No model can predict fresh random ids: its loss stays above 0.95 · log 8. One that sees the next id can."""
    model = GPT(GPTConfig(**SIZES), np.random.default_rng(0))
    losses = trained(model, [draw.integers(8, 32, 13) for _ in range(120)])
    assert np.mean(losses[-20:]) > 0.95 * math.log(8), "the loss of random ids falls: does a token see the next one?"


def test_after_training_attention_is_not_uniform(draw):
    """To repeat a text, a token must look at a certain earlier one: some head gives one token more than 0.4 of its attention,
    where seven and more can be seen.
    """
    model, batches, seen = GPT(GPTConfig(**SIZES), np.random.default_rng(0)), repeating(draw, 150), []
    losses = trained(model, batches)
    for block in model.transformer.h:

        def attend(x, *rest, attn=block.attn, forward=block.attn.forward, **others):
            seen.append(attn.weights(x))
            return forward(x, *rest, **others)

        block.attn.forward = attend
    model(batches[0])
    largest = max(weights[:, :, 6:].max(-1).mean((0, 2)).max() for weights in seen)
    assert np.mean(losses[-10:]) < 0.8 * math.log(8)
    assert largest > 0.4, f"the most attended token receives {largest:.2f} on average"


def test_after_a_step_the_tied_weight_is_one_array(draw):
    """An optimizer changes one Parameter: what embeds and what gives logits are the same after training too."""
    model = GPT(GPTConfig(**SIZES), np.random.default_rng(0))
    before = model.lm_head.weight.data.copy()
    trained(model, [draw.integers(8, 4, 9)])
    assert model.lm_head.weight is model.transformer.wte.weight
    assert model.lm_head.weight.data is model.transformer.wte.weight.data
    assert (model.lm_head.weight.data != before).any()
