"""The work, by the reference: the clear code of katas 02 to 14, unless KATA_ACCELERATE is 1."""

import math
import time
import tracemalloc
from collections.abc import Callable

import numpy as np
from katas.autograd import no_grad
from katas.losses import CrossEntropyLoss
from katas.optimizers import clip_grad_norm
from katas.spatial import conv2d
from katas.tensor import Tensor
from katas.tokenization import BPETokenizer
from katas.training import Trainer
from katas.transformers import GPT, GPTConfig, generate

from specs.bench import work
from specs.check import count_steps
from specs.datasets.cifar10 import cifar10
from specs.datasets.fetch import fetch
from specs.datasets.gpt2 import GPT2
from specs.datasets.text import Text
from specs.milestones.recipes import cifar10 as recipe
from specs.milestones.recipes import gpt
from specs.milestones.recipes.accelerated import accelerated


def convolution(case: work.Convolution) -> Callable[[], list[np.ndarray]]:
    """A call computes the result and its gradients."""
    x, weight, g = case.inputs()
    x, weight = Tensor(x, requires_grad=not case.pictures), Tensor(weight, requires_grad=True)

    def call():
        x.grad = weight.grad = None
        y = conv2d(x, weight, None, case.stride, case.padding)
        y.backward(g)
        return [y.data, weight.grad] + ([] if case.pictures else [x.grad])

    return call


def step() -> Callable[[], list[np.ndarray]]:
    """A call is a step of training the milestone's network: it gives the loss before it, and the parameters after it."""
    network = recipe.build(np.random.default_rng(0))
    parameters = network.parameters()
    for parameter, value in zip(parameters, work.parameters(p.shape for p in parameters), strict=True):
        parameter.data[...] = value
    (x, y), criterion = work.photographs(), CrossEntropyLoss(label_smoothing=0.05)
    trainer = Trainer(**accelerated(network, criterion, recipe.sgd(network)))
    model, optimizer = trainer.model, trainer.optimizer

    def call():
        optimizer.zero_grad()
        loss = model(Tensor(x), Tensor(y))
        loss.backward()
        optimizer.step()
        return [loss.data, *(parameter.data for parameter in parameters)]

    return call


def train_cifar10(seed: int) -> dict[str, float]:
    """The milestone's recipe on CIFAR-10: the accuracy on the test images, and the seconds it took."""
    trainer = recipe.train(cifar10("real", recipe.read), seed)
    return {"accuracy": trainer.history[-1]["metric"], "seconds": sum(epoch["seconds"] for epoch in trainer.history)}


def build(shape: work.Shape) -> GPT:
    """With the parameters that all sides begin with."""
    sizes = shape.vocabulary, shape.context, shape.layers, shape.heads, shape.width
    network = GPT(GPTConfig(*sizes, bias=False, positions="rotary", norm="rms", window=shape.window), np.random.default_rng(0))
    parameters = network.parameters()
    for parameter, value in zip(parameters, work.parameters(p.shape for p in parameters), strict=True):
        parameter.data[...] = value
    return network


def gpt_steps(shape: work.Shape) -> Callable[[], list[np.ndarray]]:
    """A call trains a GPT on a few batches: it gives the loss before each step, and the norm of its gradient."""
    network = build(shape)
    parameters = network.parameters()
    trainer = Trainer(**accelerated(network, CrossEntropyLoss(), gpt.adamw(network, gpt.LEARNING_RATE)))
    model, optimizer = trainer.model, trainer.optimizer

    def step(rows: np.ndarray) -> tuple[np.ndarray, float]:
        optimizer.zero_grad()
        loss = model(Tensor(rows[:, :-1]), Tensor(rows[:, 1:]))
        loss.backward()
        norm = clip_grad_norm(parameters, 1.0)
        optimizer.step()
        return loss.data, norm

    return lambda: [np.array(column) for column in zip(*map(step, shape.ids()), strict=True)]


def gpt_forward(shape: work.Shape, network: GPT | None = None) -> Callable[[], list[np.ndarray]]:
    """A call gives the logits of all tokens of a few rows, by this network or a clear one."""
    network, (rows,) = (network or build(shape)).eval(), shape.ids()

    def call():
        with no_grad():
            return [network(rows[:, :-1]).data]

    return call


def train_gpt(text: Text) -> dict[str, float]:
    """The milestone's recipe on a text: bits per byte of the last tenth, and the steps, tokens and seconds of the training."""
    texts = gpt.corpus(text)
    trainer, targets = gpt.train(texts, 0), len(gpt.encoded(texts.train, texts.test)[1]) - 1
    return {
        "bits": trainer.history[-1]["metric"] * targets / math.log(2) / len(texts.test.encode()),
        "steps": trainer.step,
        "tokens": trainer.step * gpt.BATCH * gpt.CONTEXT,
        "seconds": sum(epoch["seconds"] for epoch in trainer.history),
    }


def gpt2(shape: work.GPT2, path: str) -> Callable[[], list[np.ndarray]]:
    """A call reads GPT-2's weights from a file: it gives the logits of some rows, and what they go on with if all is greedy."""

    def call():
        network = GPT.from_gpt2(path, shape.heads).eval()
        with no_grad():
            logits = network(shape.rows()).data
        return [logits, np.array([[*generate(network, row, work.GREEDY, temperature=0)] for row in shape.rows()])]

    return call


def training(text: str) -> Callable[[], list[np.ndarray]]:
    """A call trains a tokenizer, and gives the size of its vocabulary."""
    return lambda: [np.array(BPETokenizer.train(text, work.VOCABULARY).vocab_size)]


def encoding(text: str) -> Callable[[], list[np.ndarray]]:
    """A call encodes the text that the tokenizer was trained on, and gives the number of its ids."""
    tokenizer = BPETokenizer.train(text, work.VOCABULARY)
    return lambda: [np.array(len(tokenizer.encode(text)))]


def stream(megabytes: int) -> Callable[[], list[np.ndarray]]:
    """A call encodes a stream of ever new words, and gives the most memory that Python's objects took meanwhile, in MB."""
    tokenizer = BPETokenizer.load(fetch(GPT2).folder)

    def call():
        tracemalloc.start()
        for _ in tokenizer.encode_iterable(work.words(megabytes)):
            pass
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return [np.array(peak / 1e6)]

    return call


def doubling(kind: str, turns: int) -> Callable[[], list[np.ndarray]]:
    """A call gives what encoding long pieces takes over what half of each takes: in instructions, and in each turn's CPU time.

    heapq is C, so that its comparisons are no instructions of Python, and memory that is further away takes more time only.
    """
    tokenizer = BPETokenizer.load(fetch(GPT2).folder)

    def seconds(pieces: list[str]) -> float:
        start = time.process_time()
        for piece in pieces:
            tokenizer.encode(piece)
        return time.process_time() - start

    def call():
        whole, half = (iter(pieces) for pieces in work.pieces(kind, turns))
        steps = count_steps(lambda: tokenizer.encode(next(whole)), lambda: tokenizer.encode(next(half)))
        times = [[seconds(pieces) for pieces in work.pieces(kind, turn)] for turn in range(turns)]
        return [np.array([more / less for more, less in pairs]) for pairs in ([steps], times)]

    return call
