"""With KATA_ACCELERATE=1 the recipes train through kata 15. Without it they do not import it."""

import os


def accelerates() -> bool:
    """Whether the environment asks for kata 15."""
    return os.environ.get("KATA_ACCELERATE") == "1"


def accelerated(network, criterion, optimizer, objective=None) -> dict:
    """Arguments of a Trainer, by name: these as they are, or accelerated. Without an objective it is Trainer's own."""
    if not accelerates():
        return {"network": network, "criterion": criterion, "optimizer": optimizer, "objective": objective}
    from katas.acceleration import accelerate, data_parallel, flat
    from katas.training import Objective

    objective = data_parallel(accelerate(Objective(network, criterion) if objective is None else objective))
    return {"network": network, "criterion": None, "optimizer": flat(optimizer), "objective": objective}
