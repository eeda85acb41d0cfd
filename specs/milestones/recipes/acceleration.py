"""Whether a recipe trains the clear code of katas 02 to 14, or what kata 15 makes of it: KATA_ACCELERATE=1."""

import os
from collections.abc import Callable

from katas.layers import Module
from katas.optimizers import Optimizer
from katas.training import Objective

VARIABLE = "KATA_ACCELERATE"


def prepared(network: Module, criterion: Callable, optimizer: Optimizer) -> tuple[Module, Optimizer]:
    """The model (x, y) → loss to train, and the optimizer: as they are, or accelerated, in two shards and over one array."""
    model = Objective(network, criterion)
    if os.environ.get(VARIABLE) != "1":
        return model, optimizer
    from katas.acceleration import accelerate, data_parallel, flat  # which learners write last

    return data_parallel(accelerate(model)), flat(optimizer)
