"""Kata 08 in plain loops: gradients scaled once they are summed, schedules as classes, a temporary file with a random name."""

import functools
import hashlib
import itertools
import json
import math
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import contextmanager

import numpy as np
from katas.activations import Differentiable
from katas.autograd import no_grad
from katas.layers import Module
from katas.optimizers import clip_grad_norm
from katas.tensor import Tensor


class Batches:
    def __init__(self, x, y, batch_size, rng=None):
        self.inputs, self.targets = Tensor(x), Tensor(y)
        if rng is not None and not isinstance(rng, np.random.Generator):
            raise TypeError(f"rng is a {type(rng).__name__}")
        if batch_size <= 0:
            raise ValueError(f"batch_size is {batch_size}")
        if len(self.inputs) == 0 or len(self.inputs) != len(self.targets):
            raise ValueError(f"inputs {self.inputs.shape} and targets {self.targets.shape}")
        self.rng = rng
        self.cuts = [*range(batch_size, len(self.inputs), batch_size)]

    def __len__(self):
        return len(self.cuts) + 1

    def __iter__(self):
        if self.rng is None:
            parts = [np.split(whole.data, self.cuts) for whole in (self.inputs, self.targets)]
            yield from zip(*[map(Tensor, part) for part in parts], strict=True)
            return
        numbers = np.arange(len(self.inputs))
        self.rng.shuffle(numbers)
        for chosen in np.split(numbers, self.cuts):
            yield Tensor(self.inputs.data[chosen]), Tensor(self.targets.data[chosen])


class Objective(Module):
    def __init__(self, network, criterion):
        self.inner = network
        self.loss = criterion

    def forward(self, x, y):
        prediction = self.inner(x)
        return self.loss(prediction, y)

    def counted(self, x, y):
        return weight(self.loss, x, y)


def weight(function, x, y):
    """How many targets a mean is over."""
    if isinstance(function, functools.partial) and hasattr(function.func, "counted"):
        return function.func.counted(y, *function.args, **function.keywords)
    try:
        counted = function.counted
    except AttributeError:
        return len(x)
    return counted(y)


def train_epoch(model, optimizer, data, *, schedule=None, steps=None, clip_norm=None, accumulate=1, progress=None):
    if not accumulate > 0:
        raise ValueError(f"accumulate={accumulate}")
    if steps is None:
        steps = itertools.count()
    try:
        batches_in_all = len(data)
    except TypeError:
        batches_in_all = None
    parameters = []
    for group in optimizer.param_groups:
        parameters.extend(group["params"])
    source = iter(data)
    upcoming = next(source, None)
    if upcoming is None:
        raise ValueError("not a single batch")
    model.train(True)
    losses, sizes, given = [], [], 0
    while upcoming is not None:
        step = next(steps)
        if schedule is not None:
            for group in optimizer.param_groups:
                if "base" not in group:
                    group["base"] = group["lr"]
                group["lr"] = group["base"] * schedule(step)
        optimizer.zero_grad()
        targets = 0
        for _ in range(accumulate):
            x, y = upcoming
            count = model.counted(x, y) if hasattr(model, "counted") else len(x)
            if count > 0:
                loss = model(x, y)
                losses.append(float(loss.data))
                sizes.append(count)
                targets += count
                if np.isnan(losses[-1]) or np.isinf(losses[-1]):
                    raise FloatingPointError(f"loss {losses[-1]} in step {step}")
                (loss * float(count)).backward()
            given += 1
            upcoming = next(source, None)
            if upcoming is None:
                break
        if targets == 0:
            continue
        for parameter in parameters:
            if parameter.grad is not None:
                parameter.grad /= targets
        if clip_norm is not None:
            clip_grad_norm(parameters, clip_norm)
        optimizer.step()
        if progress is not None:
            progress.step(given / batches_in_all if batches_in_all else 0.0, float(np.average(losses, weights=sizes)))
    if not losses:
        raise ValueError("no batch has a target that is not ignored")
    return float(np.average(losses, weights=sizes))


def accuracy(prediction, target, ignore_index=-100):
    scores, wanted = np.asarray(Tensor(prediction).data), np.asarray(Tensor(target).data)
    if scores.ndim != wanted.ndim + 1 or scores.shape[: wanted.ndim] != wanted.shape:
        raise ValueError(f"{scores.shape} does not go with {wanted.shape}")
    if scores.shape[-1] <= 1 or wanted.size == 0:
        raise ValueError(f"nothing to choose in {scores.shape}, {wanted.shape}")
    if not np.issubdtype(wanted.dtype, np.integer):
        raise TypeError(f"targets of {wanted.dtype}")
    scores, wanted = scores[wanted != ignore_index], wanted[wanted != ignore_index]
    if not len(wanted):
        raise ValueError(
            f"every target is {ignore_index}: {np.shape(Tensor(prediction).data)}, {np.shape(Tensor(target).data)}"
        )
    return np.count_nonzero(scores.argmax(axis=-1) == wanted) / wanted.size


accuracy.counted = lambda target, ignore_index=-100: (Tensor(target).data != ignore_index).sum()


@contextmanager
def evaluating(*parts):
    before = {module: module.training for part in parts for module in part.modules()}
    for part in parts:
        part.eval()
    try:
        with no_grad():
            yield
    finally:
        for module in before:
            module.training = before[module]


def validate(network, data, metric=accuracy):
    values, sizes = [], []
    with evaluating(network, *[metric] * isinstance(metric, Module)):
        for x, y in data:
            if (size := weight(metric, x, y)) == 0:
                continue
            value = metric(network(x), y)
            values.append(float(value.data if isinstance(value, Tensor) else value))
            sizes.append(size)
    if not sizes:
        raise ValueError("not a single batch, or every target is ignored")
    return math.fsum(value * size for value, size in zip(values, sizes, strict=True)) / sum(sizes)


class step_schedule:
    def __init__(self, step_size, gamma=0.1):
        if step_size <= 0:
            raise ValueError(f"step_size={step_size}")
        self.step_size, self.gamma = step_size, gamma

    def __call__(self, step):
        return self.gamma ** math.floor(step / self.step_size)


def easing(t):
    """From 1 at 0 to 0 at 1: half a cosine, by the half-angle formula."""
    return math.cos(math.pi * t / 2) ** 2


class cosine_schedule:
    def __init__(self, total_steps, warmup_steps=0, final=0.0):
        if warmup_steps < 0 or warmup_steps >= total_steps:
            raise ValueError(f"warm-up of {warmup_steps} in {total_steps}")
        self.total, self.warm, self.final = total_steps, warmup_steps, final

    def __call__(self, step):
        if step >= self.total:
            return self.final
        if step < self.warm:
            return np.linspace(0, 1, self.warm + 2)[step + 1].item()
        t = (step - self.warm) / (self.total - self.warm)
        return self.final * (1 - easing(t)) + easing(t)


class one_cycle_schedule:
    def __init__(self, total_steps, pct_start=0.3, div_factor=25.0, final_div_factor=1e4):
        if total_steps < 1:
            raise ValueError(f"total_steps={total_steps}")
        if pct_start < 0 or pct_start >= 1:
            raise ValueError(f"pct_start={pct_start}")
        for divisor in (div_factor, final_div_factor):
            if divisor <= 0:
                raise ValueError(f"a division by {divisor}")
        self.low, self.lowest = 1 / div_factor, 1 / div_factor / final_div_factor
        self.top, self.last = total_steps * pct_start - 1, total_steps - 1

    def __call__(self, step):
        if step >= self.last:
            return self.lowest
        if step < self.top:
            up = 1 - easing(step / self.top)
            return self.low + (1 - self.low) * up
        down = easing((step - self.top) / (self.last - self.top))
        return self.lowest + (1 - self.lowest) * down


class EarlyStopping:
    """Keeps every value, and looks through them all."""

    def __init__(self, patience, min_delta=0.0, mode="max"):
        if patience < 1:
            raise ValueError(f"patience={patience}")
        if min_delta < 0:
            raise ValueError(f"min_delta={min_delta}")
        if mode not in {"max", "min"}:
            raise ValueError(f"mode={mode}")
        self.patience, self.min_delta, self.mode = patience, min_delta, mode
        self.values = []

    def last_improvement(self):
        best, when = None, -1
        for number, value in enumerate(self.values):
            if math.isnan(value):
                continue
            gain = math.inf if best is None else value - best if self.mode == "max" else best - value
            if gain > self.min_delta:
                best, when = value, number
        return when

    def update(self, value):
        self.values.append(float(value))
        return self.last_improvement() == len(self.values) - 1

    @property
    def stop(self):
        return len(self.values) - 1 - self.last_improvement() >= self.patience

    def state_dict(self):
        return {"values": self.values.copy()}

    def load_state_dict(self, state):
        self.values = [*state["values"]]


def spoken(seconds):
    whole = int(seconds + 0.5)
    hours, minutes, seconds = whole // 3600, whole // 60 % 60, whole % 60
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


class Progress:
    def __init__(self, file=None, clock=time.monotonic):
        self.out = file if file is not None else sys.stdout
        self.now = clock
        self.validation = None
        self.begin(1)

    def begin(self, epochs, done=0):
        if done == 0:
            self.validation = None
        self.number, self.of = done + 1, epochs
        self.began, self.to_do, self.finished = self.now(), epochs - done, 0
        self.next_time = None

    def head(self, loss):
        parts = [f"epoch {self.number}/{self.of}", f"loss {loss:.4f}"]
        if self.validation is not None:
            parts.append(f"validation {self.validation:.4f}")
        return parts

    def show(self, parts):
        width = shutil.get_terminal_size()[0]
        print("\r\x1b[K" + "  ".join(parts)[: width - 1], end="", file=self.out, flush=True)

    def step(self, share, loss):
        now = self.now()
        if self.next_time is not None and now < self.next_time:
            return
        if self.out.isatty():
            self.next_time = now + 0.1
            full = math.floor(20 * share)
            parts = self.head(loss) + ["[" + full * "#" + (20 - full) * "." + f"] {100 * share:3.0f}%"]
            passed = self.finished + share
            if passed > 0:
                parts.append(spoken((now - self.began) / passed * (self.to_do - passed)) + " left")
            self.show(parts)

    def end_epoch(self, loss, metric, seconds):
        if metric is not None:
            self.validation = metric
        parts = [*self.head(loss), spoken(seconds)]
        if self.out.isatty():
            self.show(parts)
            print(file=self.out, flush=True)
        else:
            print("  ".join(parts), file=self.out, flush=True)
        self.number += 1
        self.finished += 1
        self.next_time = None


# The JSON has ["d", [key, value], …], ["l", …], ["t", …], ["a", number of an array], ["n", number of an array of one],
# ["f", hexadecimal], ["i", decimal], ["s", text], ["c", true, false or null].


def packed(value, arrays, where):
    kind = type(value)
    if isinstance(value, np.ndarray | np.generic):
        if value.dtype.name not in NAMES:
            raise TypeError(f"{' / '.join(where)} is of {value.dtype}")
        arrays.append(
            np.frombuffer(np.asarray(value).astype(value.dtype.name).tobytes("C"), value.dtype.name).reshape(value.shape)
        )
        return ["a" if kind is np.ndarray else "n", len(arrays) - 1]
    if isinstance(value, Mapping):
        pairs = []
        for key, item in value.items():
            if not isinstance(key, str | int | float | np.generic | None):
                raise TypeError(f"a key that is a {type(key).__name__}: {' / '.join(where)}")
            pairs.append([packed(key, arrays, where), packed(item, arrays, [*where, str(key)])])
        return ["d", *pairs]
    if isinstance(value, Sequence) and kind in (list, tuple):
        return [kind.__name__[0], *(packed(item, arrays, [*where, str(i)]) for i, item in enumerate(value))]
    if kind is bool or value is None:
        return ["c", value]
    if kind is int:
        return ["i", str(value)]
    if kind is float:
        return ["f", value.hex()]
    if kind is str:
        return ["s", value]
    raise TypeError(f"{' / '.join(where)} is a {kind.__name__}")


NAMES = ["bool", *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)), "float16", "float32", "float64"]


def unpacked(value, arrays):
    kind, *rest = value
    if kind == "d":
        return {unpacked(key, arrays): unpacked(item, arrays) for key, item in rest}
    if kind in "lt":
        return {"l": list, "t": tuple}[kind](unpacked(item, arrays) for item in rest)
    if kind == "a":
        return arrays[str(rest[0])]
    if kind == "n":
        return arrays[str(rest[0])][()]
    return {"f": float.fromhex, "i": int}.get(kind, lambda plain: plain)(rest[0])


def fingerprint(text, arrays):
    digest = hashlib.sha256(text.encode())
    for name, array in sorted(arrays.items()):
        digest.update(f"{name}{array.dtype}{array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def save_checkpoint(path, state):
    import safetensors.numpy

    arrays = []
    text = json.dumps(packed(state, arrays, ["state"]))
    named = {str(number): array for number, array in enumerate(arrays)}
    folder, name = os.path.split(os.path.abspath(path))
    os.makedirs(folder, exist_ok=True)
    for other in os.listdir(folder):
        if other.startswith(f".{name}-"):
            os.remove(os.path.join(folder, other))
    handle, temporary = tempfile.mkstemp(prefix=f".{name}-", dir=folder)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(safetensors.numpy.save(named, metadata={"tree": text, "sha256": fingerprint(text, named)}))
            file.flush()
            os.fsync(file.fileno())
        os.rename(temporary, path)
    except:
        os.remove(temporary)
        raise


def load_checkpoint(path):
    import safetensors

    open(path, "rb").close()
    try:
        with safetensors.safe_open(path, "np") as file:
            metadata = file.metadata()
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if metadata["sha256"] != fingerprint(metadata["tree"], arrays):
            raise ValueError("not what was written")
        return unpacked(json.loads(metadata["tree"]), arrays)
    except Exception as error:
        raise ValueError(f"can't read {path}: {error!r}") from None


class Trainer:
    def __init__(
        self,
        network,
        criterion,
        optimizer,
        *,
        objective=None,
        schedule=None,
        clip_norm=None,
        accumulate=1,
        metric=accuracy,
        patience=None,
        checkpoint=None,
        progress=None,
    ):
        self.net, self.opt = network, optimizer
        self.objective = Objective(network, criterion) if objective is None else objective
        self.epoch_options = {"schedule": schedule, "clip_norm": clip_norm, "accumulate": accumulate, "progress": progress}
        self.judge = metric
        self.patience = None
        if patience is not None:
            self.patience = EarlyStopping(patience, 0.0, "min" if isinstance(metric, Differentiable) else "max")
        self.file = checkpoint
        self.bar = progress
        self.records, self.steps_done, self.winner = [], 0, None

    def fit(self, data, epochs, validation=None):
        if self.patience is not None and validation is None:
            raise ValueError("patience, but no validation")
        generators = []
        collect([self.net, self.objective, data, validation], generators, set())
        if self.file is not None and os.path.exists(self.file):
            saved = load_checkpoint(self.file)
            weights, random = self.state(), [generator.bit_generator.state for generator in generators]
            try:
                self.restore(saved, generators)
            except Exception as error:
                self.fill(weights)
                for generator, state in zip(generators, random, strict=True):
                    generator.bit_generator.state = state
                raise ValueError(f"{self.file} is of another training: {error}") from error
        if self.bar is not None:
            self.bar.begin(epochs, len(self.records))
        for number in range(len(self.records) + 1, epochs + 1):
            if self.patience is not None and self.patience.stop:
                break
            self.records.append(self.epoch(number, data, validation))
            if self.file is not None:
                self.save(generators)
            if self.bar is not None:
                record = self.records[-1]
                self.bar.end_epoch(record["loss"], record["metric"], record["seconds"])
        if self.winner is not None and self.patience is not None:
            self.fill(self.winner)
        return self.records.copy()

    def epoch(self, number, data, validation):
        began = time.perf_counter()

        def steps():
            while True:
                self.steps_done += 1
                yield self.steps_done - 1

        try:
            loss = train_epoch(self.objective, self.opt, data, steps=steps(), **self.epoch_options)
        except FloatingPointError as error:
            raise FloatingPointError(f"in epoch {number}: {error}") from error
        metric = None
        if validation is not None:
            metric = validate(self.net, validation, self.judge)
            if self.patience is not None and self.patience.update(metric):
                self.winner = self.state()
        return {
            "epoch": number,
            "loss": loss,
            "metric": metric,
            "lr": self.opt.param_groups[0]["lr"],
            "seconds": time.perf_counter() - began,
        }

    def state(self):
        return [self.net.state_dict(), self.objective.state_dict()]

    def fill(self, state):
        self.net.load_state_dict(state[0])
        self.objective.load_state_dict(state[1])

    def save(self, generators):
        everything = {
            "weights": self.state(),
            "moments": self.opt.state_dict(),
            "random": [generator.bit_generator.state for generator in generators],
            "values": None if self.patience is None else self.patience.values,
            "winner": self.winner,
            "steps": self.steps_done,
            "records": self.records,
        }
        save_checkpoint(self.file, everything)

    def restore(self, saved, generators):
        if len(saved["random"]) != len(generators):
            raise ValueError(f"{len(generators)} generators for {len(saved['random'])}")
        for generator, state in zip(generators, saved["random"], strict=True):
            generator.bit_generator.state = state
        self.fill(saved["weights"])
        self.opt.load_state_dict(saved["moments"])
        if self.patience is not None:
            self.patience.values = saved["values"] or []
        self.winner, self.steps_done, self.records = saved["winner"], saved["steps"], saved["records"]


def collect(value, found, seen):
    """Appends every generator below value to found, in the order in which they are met."""
    if (
        id(value) in seen
        or isinstance(value, Tensor | np.ndarray | str | type)
        or (callable(value) and not hasattr(value, "forward"))
    ):
        return
    seen.add(id(value))
    if isinstance(value, np.random.Generator):
        found.append(value)
    elif isinstance(value, Mapping):
        for item in value.values():
            collect(item, found, seen)
    elif isinstance(value, list | tuple):
        for item in value:
            collect(item, found, seen)
    elif hasattr(value, "__dict__"):
        collect(vars(value), found, seen)
