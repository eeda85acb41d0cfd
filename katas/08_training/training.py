"""Training: epochs, schedules, validation, early stopping, and checkpoints from which it resumes bit for bit."""

import json
import math
import os
import shutil
import sys
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import count, islice
from pathlib import Path
from types import ModuleType

import numpy as np
from katas.activations import Differentiable
from katas.autograd import no_grad
from katas.layers import Module
from katas.optimizers import Optimizer, clip_grad_norm
from katas.tensor import Tensor

# 08.1 Batches and the objective


class Batches:
    """Mini-batches (Tensor, Tensor) of x (n, ...) and y (n, ...): each iteration draws a new order from rng, each sample once.

    Without rng the samples come in order, and batches are views. The last batch may be smaller.
    """

    def __init__(self, x, y, batch_size: int, rng: np.random.Generator | None = None):
        """x, y: whatever Tensor() takes. rng: a np.random.Generator or None; it is an attribute.

        Raises: ValueError unless x and y have the same length, not 0, and batch_size is 1 or more; TypeError for any other
        rng.
        """
        raise NotImplementedError("08.1 Batches.__init__: README.md, 08.1")

    def __len__(self) -> int:
        """The number of batches."""
        raise NotImplementedError("08.1 Batches.__len__: README.md, 08.1")

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """One epoch."""
        raise NotImplementedError("08.1 Batches.__iter__: README.md, 08.1")


class Objective(Module):
    """The loss to minimize, as one module: model(x, y) is criterion(network(x), y). A criterion may be a Module itself."""

    def __init__(self, network: Module, criterion: Callable):
        raise NotImplementedError("08.1 Objective.__init__: README.md, 08.1")

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """The loss, of shape ()."""
        raise NotImplementedError("08.1 Objective.forward: README.md, 08.1")

    def counted(self, x: Tensor, y: Tensor) -> float:
        """The number of targets that the loss is a mean over: criterion.counted(y) if it exists, else the samples, len(x)."""
        raise NotImplementedError("08.1 Objective.counted: README.md, 08.1")


# 08.2 One epoch, and validation


def train_epoch(
    model: Module, optimizer: Optimizer, data, *, schedule=None, steps=None, clip_norm=None, accumulate=1, progress=None
) -> float:
    """Trains on each (x, y) of data once, in train mode; model(x, y) is a loss. Returns its mean over everything that counts.

    In each batch, model.counted(x, y) targets count, or len(x) samples if the model has no such method. A batch in which
    nothing counts is left out. accumulate: the optimizer steps once for that many batches, with the gradient of the mean over
    everything that counts in them; if nothing counts in them, a step number is used up, but no step is taken. clip_norm: the
    largest norm of the gradient. schedule: at step k each group's lr is its base lr (its lr before the first step) times
    schedule(k). steps: an iterator of the step numbers, for several epochs; None means 0, 1, 2, … progress: a Progress whose
    step is called after each step.
    Raises: FloatingPointError that contains the step if a loss is not finite, before that step; ValueError if there is no
    batch in which anything counts, or unless accumulate is 1 or more.
    """
    raise NotImplementedError("08.2 train_epoch: README.md, 08.2")


def accuracy(prediction: Tensor, target, ignore_index: int = -100) -> float:
    """The fraction of targets (...), integers, at which the prediction (..., classes) is largest, or the first of equal ones.

    Targets equal to ignore_index are left out. Raises: ValueError unless the shapes fit, there is a target that counts, and
    there are two classes or more; TypeError for targets that are not integers.
    """
    raise NotImplementedError("08.2 accuracy: README.md, 08.2")


def _targets(target, ignore_index: int = -100) -> int:  # given
    """The number of targets that accuracy is a mean over."""
    return int(np.count_nonzero(Tensor(target).data != ignore_index))


accuracy.counted = _targets  # given: what a metric says of itself, as a criterion does


def validate(network: Module, data: Iterable, metric: Callable = accuracy) -> float:
    """The mean of metric(network(x), y) over everything that counts, for each (x, y) of data.

    The metric returns a Python scalar or a Tensor of one value. In each batch, metric.counted(y) targets count, or len(x)
    samples if there is no such method. A batch in which nothing counts is left out. Runs in eval mode and without recording.
    Afterwards, even after an error, each module, of a metric too, is back in its own previous mode.
    Raises: ValueError if there is no batch in which anything counts.
    """
    raise NotImplementedError("08.2 validate: README.md, 08.2")


# 08.3 Schedules: functions of the step's number, from 0, that give a factor of the base lr


def step_schedule(step_size: int, gamma: float = 0.1) -> Callable[[int], float]:
    """gamma to the power of step // step_size, as torch.optim.lr_scheduler.StepLR.

    Raises: ValueError unless step_size is 1 or more.
    """
    raise NotImplementedError("08.3 step_schedule: README.md, 08.3")


def cosine_schedule(total_steps: int, warmup_steps: int = 0, final: float = 0.0) -> Callable[[int], float]:
    """From 1 at step warmup_steps to final at total_steps and after, along half a cosine (Loshchilov & Hutter 2017, eq. 5).

    Without a warm-up it is torch's CosineAnnealingLR. The warm-up (Goyal et al. 2017, sec. 2.2) goes up by equal amounts; its
    first step has the factor 1 / (warmup_steps + 1). Raises: ValueError unless 0 <= warmup_steps < total_steps.
    """
    raise NotImplementedError("08.3 cosine_schedule: README.md, 08.3")


def one_cycle_schedule(
    total_steps: int, pct_start: float = 0.3, div_factor: float = 25.0, final_div_factor: float = 1e4
) -> Callable[[int], float]:
    """Up from 1 / div_factor to 1 and down to 1 / (div_factor · final_div_factor), each along half a cosine.

    As torch.optim.lr_scheduler.OneCycleLR (after Smith & Topin 2019), with the base lr as its max_lr: the top is at step
    pct_start · total_steps - 1, the end at total_steps - 1 and after.
    Raises: ValueError unless total_steps is 1 or more, 0 <= pct_start < 1, and both divisors are positive.
    """
    raise NotImplementedError("08.3 one_cycle_schedule: README.md, 08.3")


# 08.4 Early stopping


class EarlyStopping:
    """Detects when a value has not improved for `patience` updates. Better by min_delta or less is no improvement.

    patience and min_delta are attributes, which may be changed.
    """

    def __init__(self, patience: int, min_delta: float = 0.0, mode: str = "max"):
        """mode: "max" if more is better, as for accuracy; "min" if less is better, as for a loss.

        Raises: ValueError for any other mode, or unless patience is 1 or more and min_delta 0 or more.
        """
        raise NotImplementedError("08.4 EarlyStopping.__init__: README.md, 08.4")

    def update(self, value: float) -> bool:
        """Whether this value is the best yet. The first number always is; NaN never is."""
        raise NotImplementedError("08.4 EarlyStopping.update: README.md, 08.4")

    @property
    def stop(self) -> bool:
        """Whether the last `patience` updates brought no improvement."""
        raise NotImplementedError("08.4 EarlyStopping.stop: README.md, 08.4")

    def state_dict(self) -> dict:
        """{"best": the best value, "waited": updates since}."""
        raise NotImplementedError("08.4 EarlyStopping.state_dict: README.md, 08.4")

    def load_state_dict(self, state: dict) -> None:
        """Restores a state that state_dict() returned."""
        raise NotImplementedError("08.4 EarlyStopping.load_state_dict: README.md, 08.4")


# 08.5 Progress


class Progress:
    """Writes a line for each epoch. In a terminal, the line also shows the epoch's progress and the time left for all epochs.

    It is drawn at most ten times a second. If the output is not a terminal, such as a file, only finished lines are written.
    """

    def __init__(self, file=None, clock: Callable[[], float] = time.monotonic):
        """file: a text stream, by default the current sys.stdout. clock: returns seconds."""
        raise NotImplementedError("08.5 Progress.__init__: README.md, 08.5")

    def begin(self, epochs: int, done: int = 0) -> None:
        """Starts training of `epochs` epochs, or resumes it after `done` of them. The time left is measured from here."""
        raise NotImplementedError("08.5 Progress.begin: README.md, 08.5")

    def step(self, share: float, loss: float) -> None:
        """Reports the fraction of the epoch that is done, from 0 to 1, and the mean loss so far."""
        raise NotImplementedError("08.5 Progress.step: README.md, 08.5")

    def end_epoch(self, loss: float, metric: float | None, seconds: float) -> None:
        """Reports a finished epoch: its mean loss, its validation metric or None, and the seconds it took."""
        raise NotImplementedError("08.5 Progress.end_epoch: README.md, 08.5")


# 08.6 Checkpoints


def save_checkpoint(path: str | os.PathLike, state) -> None:
    """Writes dicts, lists and tuples of arrays, numbers, strings and None to one safetensors file; makes its folder if needed.

    The old file is replaced as a whole, by one that is already on the disk: whatever happens, the path has one or the other.
    Arrays are the file's tensors, the rest is JSON in its metadata. Raises: TypeError that contains the type of any other value
    and the keys that lead to it.
    """
    raise NotImplementedError("08.6 save_checkpoint: README.md, 08.6")


def load_checkpoint(path: str | os.PathLike):
    """The state that save_checkpoint was given: tuples, integer keys, dtypes and every bit as they were.

    Raises: FileNotFoundError; ValueError that contains the path if the file is damaged or save_checkpoint didn't write it.
    """
    raise NotImplementedError("08.6 load_checkpoint: README.md, 08.6")


# 08.7 Trainer


class Trainer:
    """Trains for epochs, with validation, history, early stopping, and checkpoints from which it resumes bit for bit."""

    def __init__(
        self,
        network,
        criterion,
        optimizer,
        *,
        objective=None,
        metric=accuracy,
        patience=None,
        checkpoint=None,
        progress=None,
        **options,
    ):
        """metric: as in validate. options: train_epoch's schedule, clip_norm and accumulate.

        objective: a Module, (x, y) → loss, to train in place of Objective(network, criterion); the criterion may then be None.
        It has a counted(x, y) if not every sample counts as one. Its parameters, buffers and generators are saved too.
        patience: stop when the metric has not improved for that many epochs, and go back to the best parameters. If the metric
        is a loss, such as MSELoss(), less is better; otherwise more is better.
        checkpoint: the path of a file that is written after each epoch, and from which fit resumes if it exists.
        """
        raise NotImplementedError("08.7 Trainer.__init__: README.md, 08.7")

    def fit(self, data: Iterable, epochs: int, validation: Iterable | None = None) -> list[dict]:
        """Trains until the total is `epochs` epochs. With patience the network has its best parameters afterwards.

        Returns for each epoch {"epoch": from 1, "loss": as from train_epoch, "metric": of validation or None, "lr": of the
        first group at the last step, "seconds"}. Raises: FloatingPointError that contains epoch and step if a loss is not
        finite; ValueError if there is patience but no validation, or if the checkpoint does not fit this training: then
        nothing has changed.
        """
        raise NotImplementedError("08.7 Trainer.fit: README.md, 08.7")
