"""Training: epochs, schedules, validation, early stopping, and checkpoints from which it goes on bit for bit."""

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
    """Mini-batches (Tensor, Tensor) of x (n, ...) and y (n, ...): each sample once, in a new order from rng each time.

    Without rng they come in order, and are views. The last batch may be smaller.
    """

    def __init__(self, x, y, batch_size: int, rng: np.random.Generator | None = None):
        """x and y as a Tensor takes them. `rng` is kept as an attribute.

        Raises: ValueError unless x and y have one length, not 0, and batch_size is 1 or more; TypeError for another rng.
        """
        raise NotImplementedError("08.1 Batches.__init__: README.md, 08.1")

    def __len__(self) -> int:
        """The number of batches."""
        raise NotImplementedError("08.1 Batches.__len__: README.md, 08.1")

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """One epoch."""
        raise NotImplementedError("08.1 Batches.__iter__: README.md, 08.1")


class Objective(Module):
    """What is minimised, as one module: model(x, y) is criterion(network(x), y). A criterion may be a Module itself."""

    def __init__(self, network: Module, criterion: Callable):
        raise NotImplementedError("08.1 Objective.__init__: README.md, 08.1")

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """The loss, of shape ()."""
        raise NotImplementedError("08.1 Objective.forward: README.md, 08.1")

    def counted(self, x: Tensor, y: Tensor) -> float:
        """How many targets the loss is the mean over: criterion.counted(y) if there is one, else the samples, len(x)."""
        raise NotImplementedError("08.1 Objective.counted: README.md, 08.1")


# 08.2 One epoch, and validation


def train_epoch(
    model: Module, optimizer: Optimizer, data, *, schedule=None, steps=None, clip_norm=None, accumulate=1, progress=None
) -> float:
    """Trains on each (x, y) of data once, in train mode; model(x, y) is a loss. Returns its mean over all that counted.

    What counts are model.counted(x, y) targets, if it has such a method, else len(x) samples. A batch in which nothing counts
    is left out. accumulate: the optimizer steps once for so many batches, with the gradient of the mean over all that counts
    in them; a group of them in which nothing counts takes a number, but no step. clip_norm: the gradient's largest length.
    schedule: at step number k every group has its lr as it was before the first, times schedule(k). steps: an iterator of the
    numbers, for several epochs; None means 0, 1, 2, … progress: a Progress, told of each step.
    Raises: FloatingPointError that names the step at a loss that is not finite, before its update; ValueError if there is no
    batch in which anything counts, or unless accumulate is 1 or more.
    """
    raise NotImplementedError("08.2 train_epoch: README.md, 08.2")


def accuracy(prediction: Tensor, target, ignore_index: int = -100) -> float:
    """The share of targets (...), integers, that are where the prediction (..., classes) is largest: the first of equal ones.

    Targets that are ignore_index are left out. Raises: ValueError unless the shapes fit, there is a target that counts, and
    there are two classes or more; TypeError for targets that are no integers.
    """
    raise NotImplementedError("08.2 accuracy: README.md, 08.2")


def _targets(target, ignore_index: int = -100) -> int:  # given
    """How many targets accuracy is the mean over."""
    return int(np.count_nonzero(Tensor(target).data != ignore_index))


accuracy.counted = _targets  # given: what a metric says of itself, as a criterion does


def validate(network: Module, data: Iterable, metric: Callable = accuracy) -> float:
    """The mean over all that counts of metric(network(x), y), a number or a Tensor of one, for each (x, y) of data.

    What counts are metric.counted(y) targets, if there is such a method, else len(x) samples. A batch in which nothing counts
    is left out. In eval mode and without recording; afterwards, or after an error, each module, of a metric too, is in the mode
    in which it was. Raises: ValueError if there is no batch in which anything counts.
    """
    raise NotImplementedError("08.2 validate: README.md, 08.2")


# 08.3 Schedules: functions of the step's number, from 0, that give a factor of the base lr


def step_schedule(step_size: int, gamma: float = 0.1) -> Callable[[int], float]:
    """gamma to the power of how often step_size steps have passed, as torch.optim.lr_scheduler.StepLR.

    Raises: ValueError unless step_size is 1 or more.
    """
    raise NotImplementedError("08.3 step_schedule: README.md, 08.3")


def cosine_schedule(total_steps: int, warmup_steps: int = 0, final: float = 0.0) -> Callable[[int], float]:
    """From 1 at step warmup_steps to final at total_steps and after, along half a cosine (Loshchilov & Hutter 2017, eq. 5).

    Without a warm-up it is torch's CosineAnnealingLR. The warm-up (Goyal et al. 2017, sec. 2.2) goes up by equal steps, of
    which the first has 1 / (warmup_steps + 1). Raises: ValueError unless 0 <= warmup_steps < total_steps.
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
    """Says when a value has not improved for `patience` updates; better by min_delta or less is no improvement.

    patience and min_delta are attributes, which may be changed.
    """

    def __init__(self, patience: int, min_delta: float = 0.0, mode: str = "max"):
        """mode "max": more is better, as of accuracy; "min": less is better, as of a loss.

        Raises: ValueError for another mode, or unless patience is 1 or more and min_delta 0 or more.
        """
        raise NotImplementedError("08.4 EarlyStopping.__init__: README.md, 08.4")

    def update(self, value: float) -> bool:
        """Whether this value is the best yet. The first is; NaN never is."""
        raise NotImplementedError("08.4 EarlyStopping.update: README.md, 08.4")

    @property
    def stop(self) -> bool:
        """Whether the last `patience` updates brought no improvement."""
        raise NotImplementedError("08.4 EarlyStopping.stop: README.md, 08.4")

    def state_dict(self) -> dict:
        """{"best": the best value, "waited": updates since}."""
        raise NotImplementedError("08.4 EarlyStopping.state_dict: README.md, 08.4")

    def load_state_dict(self, state: dict) -> None:
        """Goes on from what state_dict() gave."""
        raise NotImplementedError("08.4 EarlyStopping.load_state_dict: README.md, 08.4")


# 08.5 Progress


class Progress:
    """A line for each epoch. In a terminal it also shows, while the epoch lasts, how far it is and the time left for all.

    It is drawn ten times a second at most. Where the output goes elsewhere, as to a file, there are finished lines only.
    """

    def __init__(self, file=None, clock: Callable[[], float] = time.monotonic):
        """file: a text stream, by default the present sys.stdout. clock: gives seconds."""
        raise NotImplementedError("08.5 Progress.__init__: README.md, 08.5")

    def begin(self, epochs: int, done: int = 0) -> None:
        """Training of `epochs` epochs begins, or goes on after `done` of them: the time left counts from here."""
        raise NotImplementedError("08.5 Progress.begin: README.md, 08.5")

    def step(self, share: float, loss: float) -> None:
        """That share of the epoch, from 0 to 1, is done, with this mean loss so far."""
        raise NotImplementedError("08.5 Progress.step: README.md, 08.5")

    def end_epoch(self, loss: float, metric: float | None, seconds: float) -> None:
        """An epoch is finished: its mean loss, what validation gave, or None without one, and the seconds it took."""
        raise NotImplementedError("08.5 Progress.end_epoch: README.md, 08.5")


# 08.6 Checkpoints


def save_checkpoint(path: str | os.PathLike, state) -> None:
    """Writes dicts, lists and tuples of arrays, numbers, strings and None into one safetensors file, and its folder if need be.

    The old file is replaced as a whole, by one that is on the disk already: whatever happens, the path has one or the other.
    Arrays are its tensors, the rest is JSON in its metadata. Raises: TypeError that names what else there is and where.
    """
    raise NotImplementedError("08.6 save_checkpoint: README.md, 08.6")


def load_checkpoint(path: str | os.PathLike):
    """What save_checkpoint was given: tuples, integer keys, dtypes and every bit as they were.

    Raises: FileNotFoundError; ValueError that names the path if the file is damaged or was written by something else.
    """
    raise NotImplementedError("08.6 load_checkpoint: README.md, 08.6")


# 08.7 Trainer


class Trainer:
    """Trains for epochs: validation, history, early stopping, and checkpoints from which it goes on bit for bit."""

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
        """metric as in validate; options: train_epoch's schedule, clip_norm and accumulate.

        objective: a Module, (x, y) → loss, to train in place of Objective(network, criterion); the criterion may be None then.
        It has its counted(x, y), if samples are not what counts, and its parameters, buffers and generators are saved too.
        patience: stop when the metric has not improved for so many epochs, and go back to the parameters that were best. A
        metric that is a loss, such as MSELoss(), is better if it is less, any other if it is more.
        checkpoint: the path of a file that is written after each epoch, and from which fit goes on if it is there.
        """
        raise NotImplementedError("08.7 Trainer.__init__: README.md, 08.7")

    def fit(self, data: Iterable, epochs: int, validation: Iterable | None = None) -> list[dict]:
        """Trains until there were `epochs` epochs in all. With patience the network has its best parameters afterwards.

        Returns for each epoch {"epoch": from 1, "loss": as train_epoch's, "metric": of validation or None, "lr": of the
        first group at the last step, "seconds"}. Raises: FloatingPointError that names epoch and step at a loss that is not
        finite; ValueError if there is patience but no validation, or if the checkpoint is of another training: then nothing has
        changed.
        """
        raise NotImplementedError("08.7 Trainer.fit: README.md, 08.7")
