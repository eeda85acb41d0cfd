"""The same work as ours, by kata 15: its operations, and two shards of each batch on two threads."""

import functools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from katas.acceleration import accelerate, fast_conv2d, loop_conv2d
from katas.tensor import Tensor
from katas.transformers import GPT
from threadpoolctl import ThreadpoolController

from specs.bench import ours, work
from specs.bench.ours import gpt_steps, step, train_cifar10
from specs.datasets.text import Text
from specs.milestones.recipes import gpt, gpt_minutes, gpt_student
from specs.milestones.recipes.gpt import Corpus, corpus

__all__ = ["convolution", "forward", "gpt_forward", "gpt_steps", "step", "train_cifar10", "train_gpt", "train_student"]
SHARDS = 2
os.environ["KATA_ACCELERATE"] = "1"  # in this process: so the recipes accelerate


def convolution(case: work.Convolution) -> Callable[[], list]:
    """A call computes the result and its gradients; what has a part for each image is in halves, side by side.

    Beneath the shape of all but pictures the channels lie side by side, as in a network, and as PyTorch's channels_last.
    """
    x, weight, g = case.inputs()
    x, g = [a if case.pictures else np.ascontiguousarray(a.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2) for a in (x, g)]
    halves = [
        (Tensor(images, requires_grad=not case.pictures), Tensor(weight, requires_grad=True), grad)
        for images, grad in zip(np.split(x, SHARDS), np.split(g, SHARDS), strict=True)
    ]
    pool, libraries = ThreadPoolExecutor(SHARDS), ThreadpoolController()

    def half(x: Tensor, weight: Tensor, g: np.ndarray) -> tuple[np.ndarray, ...]:
        x.grad = weight.grad = None
        y = fast_conv2d(x, weight, None, case.stride, case.padding)
        y.backward(g)
        return y.data, weight.grad, x.grad

    def call():
        with libraries.limit(limits=1, user_api="blas"):
            y, to_weight, to_x = zip(*pool.map(half, *zip(*halves, strict=True)), strict=True)
        return [y, sum(to_weight)] + ([] if case.pictures else [to_x])

    return call


def forward(case: work.Convolution, function: str) -> Callable[[], list[np.ndarray]]:
    """A call computes the result alone: "loops" or "fast"."""
    x, weight, _ = case.inputs()
    if function == "loops":
        return lambda: [loop_conv2d(x, weight, case.padding)]
    x, weight = Tensor(x), Tensor(weight)
    return lambda: [fast_conv2d(x, weight, padding=case.padding).data]


def gpt_forward(shape: work.Shape) -> Callable[[], list[np.ndarray]]:
    """As ours, of an accelerated network."""
    return ours.gpt_forward(shape, accelerate(ours.build(shape)))


def train_gpt(text: Text, minutes: float) -> dict[str, float]:
    """A recipe for so many minutes: bits per byte of the last tenth, and the steps, tokens and seconds of the training."""
    return gpt_minutes.train(corpus(text), gpt_minutes.plan(minutes), 60 * minutes)


def train_student(text: Text, seed: int, taught: bool) -> dict[str, float]:
    """Milestone 4's student, taught or alone: nats per token of the last tenth, and the training's steps and seconds."""
    texts, plan = corpus(text), gpt_student.DISTILLED if taught else gpt_student.ALONE
    trainer = gpt_student.train(gpt_student.Lesson(texts, teacher(texts)), seed, plan=plan)
    seconds = sum(epoch["seconds"] for epoch in trainer.history)
    return {"nats": trainer.history[-1]["metric"], "steps": trainer.step, "seconds": seconds}


@functools.cache
def teacher(texts: Corpus) -> GPT:
    """Milestone 3's GPT."""
    return gpt.train(texts, 0).network
