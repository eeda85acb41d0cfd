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
        self.x, self.y, self.batch_size, self.rng = Tensor(x).data, Tensor(y).data, batch_size, rng
        if len(self.x) != len(self.y) or not len(self.x):
            raise ValueError(f"x and y need one length, not 0: their shapes are {self.x.shape} and {self.y.shape}")
        if batch_size < 1:
            raise ValueError(f"batch_size must be 1 or more, not {batch_size!r}")
        if not isinstance(rng, np.random.Generator | None):
            raise TypeError(f"rng must be a np.random.Generator or None, not {rng!r}")

    def __len__(self) -> int:
        """The number of batches."""
        return math.ceil(len(self.x) / self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """One epoch."""
        order = None if self.rng is None else self.rng.permutation(len(self.x))
        for start in range(0, len(self.x), self.batch_size):
            chosen = slice(start, start + self.batch_size)
            if order is not None:
                chosen = order[chosen]  # a copy of one batch, not of all
            yield Tensor(self.x[chosen]), Tensor(self.y[chosen])


class Objective(Module):
    """The loss to minimize, as one module: model(x, y) is criterion(network(x), y). A criterion may be a Module itself."""

    def __init__(self, network: Module, criterion: Callable):
        self.network, self.criterion = network, criterion

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """The loss, of shape ()."""
        return self.criterion(self.network(x), y)

    def counted(self, x: Tensor, y: Tensor) -> float:
        """The number of targets that the loss is a mean over: criterion.counted(y) if it exists, else the samples, len(x)."""
        return _counted(self.criterion, x, y)


def _counted(mean: Callable, x, y) -> float:
    """The number of targets that a criterion or metric is a mean over: its own counted(y), else the samples."""
    function, options = (mean.func, mean.keywords) if isinstance(mean, partial) else (mean, {})
    return function.counted(y, **options) if hasattr(function, "counted") else len(x)


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
    if accumulate < 1:
        raise ValueError(f"accumulate must be 1 or more, not {accumulate!r}")
    length = len(data) if hasattr(data, "__len__") else math.inf
    batches, done, counted, total = iter(data), 0, 0, 0.0
    count_of = getattr(model, "counted", lambda x, y: len(x))
    groups = iter(lambda: [*islice(batches, accumulate)], [])  # up to the first that is empty
    model.train()
    for together, step in zip(groups, steps or count(), strict=False):
        if schedule is not None:
            for group in optimizer.param_groups:  # the base lr stays in the group, and so is saved with it
                group["lr"] = group.setdefault("initial_lr", group["lr"]) * schedule(step)
        counts = [count_of(x, y) for x, y in together]
        size, done = sum(counts), done + len(together)
        if not size:
            continue  # there is no mean, so no gradient
        optimizer.zero_grad()
        for (x, y), n in zip(together, counts, strict=True):
            if not n:
                continue
            loss = model(x, y)
            value = loss.item()
            if not math.isfinite(value):
                raise FloatingPointError(f"step {step}: the loss is {value}")
            loss.backward(np.asarray(n / size))  # of means over batches to the mean over all of them
            total += value * n
        if clip_norm is not None:
            clip_grad_norm([parameter for group in optimizer.param_groups for parameter in group["params"]], clip_norm)
        optimizer.step()
        counted += size
        if progress is not None:
            progress.step(done / length, total / counted)
    if not counted:
        raise ValueError("no batch in which anything counts: is data empty, or used up before, or is every target ignored?")
    return total / counted


def accuracy(prediction: Tensor, target, ignore_index: int = -100) -> float:
    """The fraction of targets (...), integers, at which the prediction (..., classes) is largest, or the first of equal ones.

    Targets equal to ignore_index are left out. Raises: ValueError unless the shapes fit, there is a target that counts, and
    there are two classes or more; TypeError for targets that are not integers.
    """
    scores, labels = Tensor(prediction).data, Tensor(target).data
    if scores.shape[:-1] != labels.shape or scores.ndim == 0 or scores.shape[-1] < 2:
        raise ValueError(f"a prediction (..., 2 or more classes) of shape {scores.shape}, a target (...) of {labels.shape}")
    if labels.dtype.kind not in "iu":
        raise TypeError(f"the target must be class indices, which are integers, not {labels.dtype}")
    counts = labels != ignore_index
    if not counts.any():
        raise ValueError(f"no target counts: a prediction {scores.shape}, a target {labels.shape}, ignore_index {ignore_index}")
    return float((scores.argmax(-1) == labels)[counts].mean())


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
    judges = [network, *([metric] if isinstance(metric, Module) else [])]
    modes = [(module, module.training) for judge in judges for module in judge.modules()]
    for judge in judges:
        judge.eval()
    counted, total = 0, 0.0
    try:
        with no_grad():
            for x, y in data:
                if n := _counted(metric, x, y):
                    value = metric(network(x), y)
                    total += float(value.item() if isinstance(value, Tensor) else value) * n
                    counted += n
    finally:
        for module, mode in modes:
            module.training = mode
    if not counted:
        raise ValueError("no batch in which anything counts: is data empty, or used up before, or is every target ignored?")
    return total / counted


# 08.3 Schedules: functions of the step's number, from 0, that give a factor of the base lr


def step_schedule(step_size: int, gamma: float = 0.1) -> Callable[[int], float]:
    """gamma to the power of step // step_size, as torch.optim.lr_scheduler.StepLR.

    Raises: ValueError unless step_size is 1 or more.
    """
    if step_size < 1:
        raise ValueError(f"step_size must be 1 or more, not {step_size!r}")
    return lambda step: gamma ** (step // step_size)


def cosine_schedule(total_steps: int, warmup_steps: int = 0, final: float = 0.0) -> Callable[[int], float]:
    """From 1 at step warmup_steps to final at total_steps and after, along half a cosine (Loshchilov & Hutter 2017, eq. 5).

    Without a warm-up it is torch's CosineAnnealingLR. The warm-up (Goyal et al. 2017, sec. 2.2) goes up by equal amounts; its
    first step has the factor 1 / (warmup_steps + 1). Raises: ValueError unless 0 <= warmup_steps < total_steps.
    """
    if not 0 <= warmup_steps < total_steps:
        raise ValueError(f"0 <= warmup_steps < total_steps does not hold for {warmup_steps!r} and {total_steps!r}")

    def factor(step: int) -> float:
        if step < warmup_steps:
            return (step + 1) / (warmup_steps + 1)
        return _cosine(1.0, final, (step - warmup_steps) / (total_steps - warmup_steps))

    return factor


def one_cycle_schedule(
    total_steps: int, pct_start: float = 0.3, div_factor: float = 25.0, final_div_factor: float = 1e4
) -> Callable[[int], float]:
    """Up from 1 / div_factor to 1 and down to 1 / (div_factor · final_div_factor), each along half a cosine.

    As torch.optim.lr_scheduler.OneCycleLR (after Smith & Topin 2019), with the base lr as its max_lr: the top is at step
    pct_start · total_steps - 1, the end at total_steps - 1 and after.
    Raises: ValueError unless total_steps is 1 or more, 0 <= pct_start < 1, and both divisors are positive.
    """
    if not (total_steps >= 1 and 0 <= pct_start < 1 and div_factor > 0 and final_div_factor > 0):
        raise ValueError(f"one cycle can't be {total_steps=}, {pct_start=}, {div_factor=}, {final_div_factor=}")
    top, end, start = pct_start * total_steps - 1, total_steps - 1, 1 / div_factor

    def factor(step: int) -> float:
        if step < top:
            return _cosine(start, 1.0, step / top)
        return _cosine(1.0, start / final_div_factor, (step - top) / (end - top))

    return factor


def _cosine(first: float, last: float, share: float) -> float:
    """Half a cosine from first, at share 0, to last, at share 1 and after."""
    return last + (first - last) * (1 + math.cos(math.pi * min(share, 1.0))) / 2


# 08.4 Early stopping


class EarlyStopping:
    """Detects when a value has not improved for `patience` updates. Better by min_delta or less is no improvement.

    patience and min_delta are attributes, which may be changed.
    """

    def __init__(self, patience: int, min_delta: float = 0.0, mode: str = "max"):
        """mode: "max" if more is better, as for accuracy; "min" if less is better, as for a loss.

        Raises: ValueError for any other mode, or unless patience is 1 or more and min_delta 0 or more.
        """
        if mode not in ("max", "min"):
            raise ValueError(f"mode must be 'max' or 'min', not {mode!r}")
        if not (patience >= 1 and min_delta >= 0):
            raise ValueError(f"patience must be 1 or more and min_delta 0 or more, not {patience!r} and {min_delta!r}")
        self.patience, self.min_delta, self.sign = patience, min_delta, 1 if mode == "max" else -1
        self.best, self.waited = None, 0

    def update(self, value: float) -> bool:
        """Whether this value is the best yet. The first number always is; NaN never is."""
        better = not math.isnan(value) and (self.best is None or self.sign * (value - self.best) > self.min_delta)
        self.best, self.waited = (float(value), 0) if better else (self.best, self.waited + 1)
        return better

    @property
    def stop(self) -> bool:
        """Whether the last `patience` updates brought no improvement."""
        return self.waited >= self.patience

    def state_dict(self) -> dict:
        """{"best": the best value, "waited": updates since}."""
        return {"best": self.best, "waited": self.waited}

    def load_state_dict(self, state: dict) -> None:
        """Restores a state that state_dict() returned."""
        self.best, self.waited = state["best"], state["waited"]


# 08.5 Progress


class Progress:
    """Writes a line for each epoch. In a terminal, the line also shows the epoch's progress and the time left for all epochs.

    It is drawn at most ten times a second. If the output is not a terminal, such as a file, only finished lines are written.
    """

    def __init__(self, file=None, clock: Callable[[], float] = time.monotonic):
        """file: a text stream, by default the current sys.stdout. clock: returns seconds."""
        self.file, self.clock = sys.stdout if file is None else file, clock
        self.begin(1)

    def begin(self, epochs: int, done: int = 0) -> None:
        """Starts training of `epochs` epochs, or resumes it after `done` of them. The time left is measured from here."""
        if not done:
            self.metric: float | None = None
        self.epochs, self.done, self.first, self.start = epochs, done, done, self.clock()
        self.drawn, self.width = -math.inf, 0

    def step(self, share: float, loss: float) -> None:
        """Reports the fraction of the epoch that is done, from 0 to 1, and the mean loss so far."""
        now = self.clock()
        if now - self.drawn < 0.1 or not self.file.isatty():
            return
        self.drawn = now
        line = f"{self._numbers(loss)}  [{'#' * int(20 * share):.<20}] {share:4.0%}"
        if done := self.done - self.first + share:  # epochs, in this run
            left = (now - self.start) * ((self.epochs - self.first) / done - 1)
            line += f"  {_clock_time(left)} left"
        self._draw(line)

    def end_epoch(self, loss: float, metric: float | None, seconds: float) -> None:
        """Reports a finished epoch: its mean loss, its validation metric or None, and the seconds it took."""
        self.metric = self.metric if metric is None else metric
        line = f"{self._numbers(loss)}  {_clock_time(seconds)}"
        if self.file.isatty():
            self._draw(line)
            line = ""
        self.file.write(line + "\n")
        self.file.flush()
        self.done, self.drawn, self.width = self.done + 1, -math.inf, 0

    def _numbers(self, loss: float) -> str:
        metric = "" if self.metric is None else f"  validation {self.metric:.4f}"
        return f"epoch {self.done + 1}/{self.epochs}  loss {loss:.4f}{metric}"

    def _draw(self, line: str) -> None:
        line = line[: shutil.get_terminal_size().columns - 1]  # a longer one would wrap, and \r go back to its second half
        self.file.write("\r" + line.ljust(self.width))
        self.file.flush()
        self.width = len(line)


def _clock_time(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{seconds:02}" if minutes >= 60 else f"{minutes}:{seconds:02}"


# 08.6 Checkpoints


def save_checkpoint(path: str | os.PathLike, state) -> None:
    """Writes dicts, lists and tuples of arrays, numbers, strings and None to one safetensors file; makes its folder if needed.

    The old file is replaced as a whole, by one that is already on the disk: whatever happens, the path has one or the other.
    Arrays are the file's tensors, the rest is JSON in its metadata. Raises: TypeError that contains the type of any other value
    and the keys that lead to it.
    """
    from safetensors.numpy import save

    path, tensors = Path(path), {}
    text = json.dumps(_encoded(state, "state", tensors))
    content = save(tensors, {"state": text, "checksum": _checksum(text, tensors)})
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.tmp")  # one name: what a kill leaves behind, the next save overwrites
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def load_checkpoint(path: str | os.PathLike):
    """The state that save_checkpoint was given: tuples, integer keys, dtypes and every bit as they were.

    Raises: FileNotFoundError; ValueError that contains the path if the file is damaged or save_checkpoint didn't write it.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            metadata, tensors = file.metadata() or {}, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"{path} is no checkpoint, or a damaged one: {error}") from error
    text = metadata.get("state", "")
    if metadata.get("checksum") != _checksum(text, tensors):
        raise ValueError(f"{path} is no checkpoint, or a damaged one: its checksum is another")
    return _decoded(json.loads(text), tensors)


def _checksum(text: str, tensors: dict[str, np.ndarray]) -> str:
    result = zlib.crc32(text.encode())
    for name in sorted(tensors):
        result = zlib.crc32(tensors[name], zlib.crc32(name.encode(), result))
        result = zlib.crc32(f"{tensors[name].dtype} {tensors[name].shape}".encode(), result)  # all that an empty array has
    return str(result)


def _encoded(value, name: str, tensors: dict[str, np.ndarray]):
    """value as JSON. {kind: content} encodes types that JSON does not have; arrays go into tensors, by name."""
    if isinstance(value, np.ndarray | np.generic) and value.dtype.kind in "biuf" and value.itemsize <= 8:
        while name in tensors:  # the path to an array, {"a": {"b": …}} or {"a.b": …}
            name += "'"
        native = value.dtype.newbyteorder("=")
        tensors[name] = np.asarray(value, native, order="C")  # safetensors saves others wrongly, without a word
        return {"array" if isinstance(value, np.ndarray) else "scalar": name}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, dict):
        keys = [_encoded(key, f"{name}'s key", tensors) for key in value]
        items = [_encoded(item, f"{name}.{key}", tensors) for key, item in value.items()]
        return {"dict": [*zip(keys, items, strict=True)]}
    if isinstance(value, list | tuple):
        items = [_encoded(item, f"{name}.{index}", tensors) for index, item in enumerate(value)]
        return items if isinstance(value, list) else {"tuple": items}
    kind = value.dtype if isinstance(value, np.ndarray | np.generic) else type(value).__name__
    raise TypeError(f"a checkpoint can't hold {name}, a {kind}")


def _decoded(value, tensors: dict[str, np.ndarray]):
    if isinstance(value, list):
        return [_decoded(item, tensors) for item in value]
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "dict":
        return {_decoded(key, tensors): _decoded(item, tensors) for key, item in content}
    if kind == "tuple":
        return tuple([_decoded(item, tensors) for item in content])
    return tensors[content] if kind == "array" else tensors[content][()]


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
        self.network, self.optimizer, self.options = network, optimizer, options
        self.model = Objective(network, criterion) if objective is None else objective
        self.metric, self.progress = metric, progress
        self.whole = Module()  # all that is saved: what is in both is found once
        self.whole.network, self.whole.objective = network, self.model
        mode = "min" if isinstance(metric, Differentiable) else "max"
        self.stopping = None if patience is None else EarlyStopping(patience, mode=mode)
        self.checkpoint = None if checkpoint is None else Path(checkpoint)
        self.step, self.best, self.history = 0, None, []

    def fit(self, data: Iterable, epochs: int, validation: Iterable | None = None) -> list[dict]:
        """Trains until the total is `epochs` epochs. With patience the network has its best parameters afterwards.

        Returns for each epoch {"epoch": from 1, "loss": as from train_epoch, "metric": of validation or None, "lr": of the
        first group at the last step, "seconds"}. Raises: FloatingPointError that contains epoch and step if a loss is not
        finite; ValueError if there is patience but no validation, or if the checkpoint does not fit this training: then
        nothing has changed.
        """
        if self.stopping is not None and validation is None:
            raise ValueError("patience needs validation data")
        generators = _generators({"model": self.whole, "data": data, "validation": validation})
        if self.checkpoint is not None and self.checkpoint.exists():
            self._resume(generators)
        if self.progress is not None:
            self.progress.begin(epochs, len(self.history))
        while len(self.history) < epochs and not (self.stopping is not None and self.stopping.stop):
            self._epoch(data, validation)
            if self.checkpoint is not None:
                save_checkpoint(self.checkpoint, self._state(generators))
        if self.best is not None:
            self.whole.load_state_dict(self.best)
        return list(self.history)

    def _epoch(self, data: Iterable, validation: Iterable | None) -> None:
        start, epoch, steps = time.perf_counter(), len(self.history) + 1, count(self.step)
        try:
            loss = train_epoch(self.model, self.optimizer, data, steps=steps, progress=self.progress, **self.options)
        except FloatingPointError as error:
            raise FloatingPointError(f"epoch {epoch}, {error}") from None
        self.step = next(steps)
        metric = None if validation is None else validate(self.network, validation, self.metric)
        if self.stopping is not None and self.stopping.update(metric):
            self.best = self.whole.state_dict()
        lr, seconds = self.optimizer.param_groups[0]["lr"], time.perf_counter() - start
        self.history.append({"epoch": epoch, "loss": loss, "metric": metric, "lr": lr, "seconds": seconds})
        if self.progress is not None:
            self.progress.end_epoch(loss, metric, seconds)

    def _state(self, generators: dict[str, np.random.Generator]) -> dict:
        return {
            "model": self.whole.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "generators": {name: generator.bit_generator.state for name, generator in generators.items()},
            "stopping": None if self.stopping is None else self.stopping.state_dict(),
            "step": self.step,
            "best": self.best,
            "history": self.history,
        }

    def _resume(self, generators: dict[str, np.random.Generator]) -> None:
        before = self._state(generators)
        try:
            state = load_checkpoint(self.checkpoint)
            if missing := [name for name in before if name not in state]:
                raise ValueError(f"it has no {missing}")
            if state["generators"].keys() != generators.keys():
                raise ValueError(f"it has the generators {[*state['generators']]}, here are {[*generators]}")
            self.whole.load_state_dict(state["model"])
            for name, generator in generators.items():
                generator.bit_generator.state = state["generators"][name]
            self.optimizer.load_state_dict(state["optimizer"])
            if self.stopping is not None and state["stopping"] is not None:
                self.stopping.load_state_dict(state["stopping"])
                self.best = state["best"]
            self.step, self.history = state["step"], state["history"]
        except (KeyError, TypeError, ValueError) as error:  # an optimizer that it does not fit has changed nothing
            self.whole.load_state_dict(before["model"])
            for name, generator in generators.items():
                generator.bit_generator.state = before["generators"][name]
            remedy = "delete it, or name another, to train from the beginning"
            raise ValueError(f"the checkpoint {self.checkpoint} does not fit: {error}; {remedy}") from error


def _generators(root) -> dict[str, np.random.Generator]:
    """The generators reachable from root through attributes, keys and indices, each once, under one of its names."""
    found, seen, waiting = {}, set(), [("", root)]
    while waiting:
        name, value = waiting.pop()
        if id(value) in seen or isinstance(value, Tensor | type | ModuleType):
            continue
        seen.add(id(value))
        if isinstance(value, np.random.Generator):
            found[name[1:]] = value
            continue
        if isinstance(value, list | tuple):
            value = dict(enumerate(value))
        members = value if isinstance(value, dict) else getattr(value, "__dict__", {})
        waiting += [(f"{name}.{key}", member) for key, member in members.items()]
    return found
