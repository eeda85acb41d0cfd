import numpy as np
import pytest
from katas.acceleration import accelerate, fast_conv2d, flat, loop_conv2d, profile
from katas.environment import Machine, best_of, stopwatch
from katas.losses import CrossEntropyLoss
from katas.optimizers import AdamW
from katas.tensor import Tensor
from katas.training import Objective
from katas.transformers import GPT, GPTConfig

from specs.check import assert_close, best_ratio

CONFIG = GPTConfig(vocab_size=256, context=256, n_layer=2, n_head=4, d_model=64)


@pytest.mark.time
def test_loops_take_a_hundred_times_as_long_and_a_fused_step_less_than_the_plain_one(draw, tell):
    """fast_conv2d is a hundred times as fast as seven loops. A training step of an accelerated GPT, with a flat optimizer,
    takes at most 0.8 times the CPU time of the plain one, and the rows of its profile add up.
    """
    x, weight = draw.normal(1, 8, 16, 16, dtype=np.float32), draw.normal(16, 8, 3, 3, dtype=np.float32)
    with stopwatch() as loops:
        want = loop_conv2d(x, weight, padding=1)
    assert_close(fast_conv2d(Tensor(x), Tensor(weight), padding=1), want)
    products = best_of(lambda: fast_conv2d(Tensor(x), Tensor(weight), padding=1), number=5)

    ids, steps = draw.integers(256, 4, 257), []
    for fast in (False, True):
        objective = Objective(GPT(CONFIG, np.random.default_rng(0)), CrossEntropyLoss())
        optimizer = AdamW(objective.parameters())
        objective, optimizer = (accelerate(objective), flat(optimizer)) if fast else (objective, optimizer)

        def step(objective=objective, optimizer=optimizer):
            optimizer.zero_grad()
            objective(ids[:, :-1], ids[:, 1:]).backward()
            optimizer.step()

        steps.append(step)
    found = profile(steps[1], Machine(2, 100.0, 10.0, 1.0))
    ratio = best_ratio(steps[1], steps[0], 0.8)
    tell(f"a convolution in loops takes {loops.wall / products:,.0f} times as long; a fused step {ratio:.2f} of the plain one")
    tell(f"most of it: {found.rows[0].op}, {found.rows[0].seconds / found.seconds:.0%}, bound by {found.rows[0].bound}")
    assert abs(sum(row.seconds for row in found.rows) - found.seconds) < 1e-6
    assert loops.wall > 100 * products
    assert ratio < 0.8
