"""A training that is killed, at whatever moment, and resumed in a new process ends with the bits of one that was not."""

import importlib
import itertools
import math
import multiprocessing
import os
import random
import signal
import time
from collections import Counter
from pathlib import Path

import pytest

from specs.door import VARIABLE
from specs.meta.catalogue import catalogue
from specs.meta.judge import PRESENT, apart

pytestmark = [
    pytest.mark.timeout(240),
    pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork"),
]
EPOCHS, BATCHES, STEPS = 8, 13, 7  # an epoch is 100 samples in eights, and two batches are a step
WRONG = {wrong.name: wrong for kata in PRESENT if kata.number == "08" for wrong in catalogue(kata)}


def train(path: Path, given=None) -> dict:
    """A whole training, or what is left of it, with everything that has a state; and all of it at the end, seconds aside.

    given: a shared counter of the batches that were given.
    """
    import numpy as np
    from katas.activations import Tanh
    from katas.layers import Dropout, Linear, Sequential
    from katas.losses import CrossEntropyLoss
    from katas.optimizers import Adam
    from katas.training import Batches, Trainer, cosine_schedule, load_checkpoint

    class Counted(Batches):
        def __iter__(self):
            for pair in super().__iter__():
                if given is not None:
                    given.value += 1
                yield pair

    rng = np.random.default_rng(1)
    x, labels = rng.standard_normal((100, 6), np.float32), rng.integers(0, 3, 100)
    mask, order = np.random.default_rng(2), np.random.default_rng(3)
    network = Sequential(
        Linear(6, 32, rng=rng), Tanh(), Dropout(0.3, mask), Linear(32, 8, rng=rng), Dropout(0.1, order), Linear(8, 3, rng=rng)
    )
    optimizer = Adam(network.parameters(), lr=0.02)
    trainer = Trainer(
        network,
        CrossEntropyLoss(),
        optimizer,
        schedule=cosine_schedule(EPOCHS * STEPS, warmup_steps=STEPS),
        clip_norm=1.0,
        accumulate=2,
        patience=EPOCHS,
        checkpoint=path,
    )
    history = trainer.fit(Counted(x, labels, 8, order), EPOCHS, Batches(x[:50], labels[:50], 20))
    file = load_checkpoint(path)
    for record in (*history, *file["history"]):
        del record["seconds"]
    generators = [generator.bit_generator.state for generator in (mask, order)]
    return {
        "network": network.state_dict(),
        "optimizer": optimizer.state_dict(),
        "generators": generators,
        "history": history,
        "file": file,
    }


def saved(path: Path) -> int:
    """How many epochs the file has; 0 if there is none."""
    from katas.training import load_checkpoint

    return len(load_checkpoint(path)["history"]) if path.exists() else 0


def forked(function, *arguments) -> multiprocessing.Process:
    """A process in which the function runs, and in which everything is imported already."""
    process = multiprocessing.get_context("fork").Process(target=function, args=arguments)
    process.start()
    return process


def resumed(path: Path, want: dict, story: str) -> None:
    """A new process must train to the same end. Leaves one file."""
    from specs.oracles.training import assert_same

    process = forked(lambda: assert_same(train(path), want))
    process.join()
    if process.exitcode:
        raise AssertionError(f"{story}, it does not end as it would have")
    if (files := sorted(os.listdir(path.parent))) != [path.name]:
        raise AssertionError(f"{story}, it leaves {files}")


def killed_at_random(impl: str, folder: Path, kills: int) -> list[tuple[int, str]]:
    """Kills so many trainings: the epochs that each had saved, and whether it was in "steps", a "write", or "between" them."""
    os.environ[VARIABLE] = impl
    want, rng, phases = train(folder / "whole" / "run"), random.Random(8), []
    for number in range(4 * kills):
        path, given = folder / str(number) / "run", multiprocessing.RawValue("i")
        batches = rng.randrange(EPOCHS * BATCHES)
        if number % 2:  # what comes after the last step of an epoch takes as long as a few of its steps
            batches = -(-batches // BATCHES) * BATCHES
        process = forked(train, path, given)
        while given.value < batches and process.is_alive():
            time.sleep(0.0002)
        time.sleep(0.004 * rng.random())
        process.kill()
        process.join()
        if process.exitcode == -signal.SIGKILL:  # else it had ended before
            writing = [*path.parent.glob("*")] not in ([], [path])
            phases.append((saved(path), "write" if writing else "steps" if given.value % BATCHES else "between"))
            resumed(path, want, f"killed after {given.value} batches")
        if len(phases) == kills:
            return phases
    raise AssertionError(f"of {4 * kills} trainings only {len(phases)} were killed before their end")


def killed_at(place: str, impl: str, folder: Path) -> None:
    """Kills trainings at a place of a write, in different epochs: each has to resume from the last whole file."""
    os.environ[VARIABLE] = impl
    want = train(folder / "whole" / "run")
    for write in (1, 2, EPOCHS // 2, EPOCHS):
        path = folder / str(write) / "run"
        process = forked(die, place, write, path)
        process.join()
        story = f"killed {place}, in write {write}"
        if process.exitcode != -signal.SIGKILL:
            raise AssertionError(f"{story}: it was not, the exit code is {process.exitcode}")
        if (epochs := saved(path)) != (write if place == "after replace" else write - 1):
            raise AssertionError(f"{story}, the file has {epochs} epochs")
        resumed(path, want, story)


def die(place: str, write: int, path: Path) -> None:
    """Trains, and is killed at that place of that write."""
    when, name = place.split()
    real, calls = getattr(os, name), itertools.count(1)

    def deadly(*arguments):
        if next(calls) == write:
            if when == "half-way":  # half of the bytes have reached the disk
                os.ftruncate(arguments[0], os.fstat(arguments[0]).st_size // 2)
            elif when == "after":
                real(*arguments)
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*arguments)

    setattr(os, name, deadly)
    train(path)


def recipe(name: str, path: Path, last: float = math.inf) -> dict:
    """A milestone's training on a few data, and its state at the end, seconds aside. It dies after `last` epochs, if any."""
    from katas.training import Progress

    from specs.datasets.glyphs import glyphs
    from specs.datasets.images import generated
    from specs.datasets.scenes import scenes
    from specs.datasets.text import Text, python_docs

    class Dying(Progress):
        def step(self, share, loss):
            if self.done + share >= last:
                os.kill(os.getpid(), signal.SIGKILL)

    module = importlib.import_module(f"specs.milestones.recipes.{name}")
    if name == "gpt":
        data = module.corpus(Text(python_docs().text[:6000], "a few characters"))
    else:
        data = generated(scenes if name == "cifar10" else glyphs, 640, 100, ())
    module.STEPS = 5  # in an epoch: after many, what was lost of running statistics no longer shows
    trainer = module.train(data, 0, Dying(), path)
    history = [{name: value for name, value in epoch.items() if name != "seconds"} for epoch in trainer.history]
    return {"network": trainer.network.state_dict(), "optimizer": trainer.optimizer.state_dict(), "history": history}


def killed_recipes(name: str, impl: str, folder: Path, accelerate: str = "") -> list[int]:
    """Kills a milestone's training in its epochs; it has to resume from the last whole one. Returns how many those were."""
    from specs.oracles.training import assert_same

    os.environ |= {VARIABLE: impl, "KATA_ACCELERATE": accelerate}
    want, epochs = recipe(name, folder / "whole"), []
    for last in (0.4, 1.4, len(want["history"])):
        path = folder / str(last)
        process = forked(recipe, name, path, last)
        process.join()
        assert process.exitcode == -signal.SIGKILL, f"it was not killed, the exit code is {process.exitcode}"
        epochs.append(saved(path))
        assert_same(recipe(name, path), want)
    return epochs


@pytest.mark.parametrize(("name", "epochs"), [("mnist_mlp", 5), ("mnist_cnn", 2), ("cifar10", 3), ("gpt", 10)])
def test_the_milestones_trainings_resume_bit_for_bit(name, epochs, tmp_path):
    """Killed in the first, second and last epoch, CIFAR-10's while batches are made ahead: order, crops and flips, running
    statistics and momentum go on as they would have.
    """
    assert apart(killed_recipes, name, "reference", tmp_path) == [0, 1, epochs - 1]


@pytest.mark.parametrize(("name", "epochs"), [("cifar10", 3), ("gpt", 10)])
def test_accelerated_trainings_resume_bit_for_bit(name, epochs, tmp_path):
    """With KATA_ACCELERATE=1 too: two threads give the same numbers at every run, and the flat optimizer goes on."""
    assert apart(killed_recipes, name, "reference", tmp_path, "1") == [0, 1, epochs - 1]


@pytest.mark.parametrize(
    ("number", "name"), [("08", "generators are not saved"), ("09", "the running statistics are no buffers")]
)
def test_the_milestones_training_does_not_resume_without(number, name, tmp_path):
    """This spec can fail: what is missing from the file shows."""
    wrong = next(wrong for kata in PRESENT if kata.number == number for wrong in catalogue(kata) if wrong.name == name)
    tree = wrong.tree(number, tmp_path / "tree")
    with pytest.raises(RuntimeError, match="Mismatch"):
        apart(killed_recipes, "cifar10", f"reference,{number}={tree}", tmp_path)


def test_a_training_resumes_bit_for_bit_whenever_it_is_killed(tmp_path):
    """A hundred are killed at random moments: in the steps of nearly every epoch, and between the last one's and the next."""
    phases = apart(killed_at_random, "reference", tmp_path, 100)
    where = Counter(phase for _, phase in phases)
    assert len({epochs for epochs, _ in phases}) >= EPOCHS - 2, phases
    assert where["steps"] >= 25, where
    assert where["between"] + where["write"] >= 10, where


@pytest.mark.parametrize("place", ["half-way fsync", "before fsync", "after fsync", "before replace", "after replace"])
def test_a_training_resumes_bit_for_bit_wherever_its_file_is_torn(place, tmp_path):
    """Killed while the file is written, with half of it on the disk, before it has its name and after, in several epochs."""
    apart(killed_at, place, "reference", tmp_path)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("generators are not saved", "does not end as it would have"),
        ("Adam's moments are lost", "does not end as it would have"),
    ],
)
def test_random_kills_find_what_is_lost(name, said, tmp_path):
    """These specs can fail: what is missing from the file shows."""
    tree = WRONG[name].tree("08", tmp_path / "tree")
    with pytest.raises(RuntimeError, match=said):
        apart(killed_at_random, f"reference,08={tree}", tmp_path, 3)


@pytest.mark.parametrize(
    ("name", "place", "said"),
    [
        ("the file is written in place", "half-way fsync", "damaged"),
        ("the old file is moved away first", "before replace", "the file has"),
        ("temporary files pile up", "before replace", "it leaves"),
    ],
)
def test_kills_in_a_write_find_what_is_not_atomic(name, place, said, tmp_path):
    """These specs can fail: a file that is written in place is torn."""
    tree = WRONG[name].tree("08", tmp_path / "tree")
    with pytest.raises(RuntimeError, match=said):
        apart(killed_at, place, f"reference,08={tree}", tmp_path)
