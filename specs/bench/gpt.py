"""GPTs by PyTorch on the CPU, eager, with all cores: the milestone's, and that of nanoGPT's recipe (Karpathy 2022)."""

import math
import os
import time
from collections.abc import Callable
from itertools import count

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from specs.bench import work
from specs.datasets.text import Text
from specs.milestones.recipes import gpt as recipe

BATCH, STEPS, WARMUP = 12, 2000, 100  # of nanoGPT's recipe, as all that follows
LEARNING_RATE, FINAL, WEIGHT_DECAY = 1e-3, 0.1, 0.1
torch.set_num_threads(os.cpu_count())


def fused(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """PyTorch's own kernel. q, k, v (batch, heads, time, head) → the same shape."""
    return F.scaled_dot_product_attention(q, k, v, is_causal=True)


def explicit(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """With the softmax of (batch, heads, time, time) in memory."""
    later = torch.ones(q.shape[-2], k.shape[-2], dtype=torch.bool).triu(1)
    scores = q / math.sqrt(q.shape[-1]) @ k.transpose(-2, -1)
    return scores.masked_fill(later, -math.inf).softmax(-1) @ v


ATTENTION = {"fused": fused, "explicit": explicit}


class Rotary(nn.Module):
    """Rotates the channels i and i + head / 2 of queries and keys."""

    def __init__(self, head: int, context: int):
        super().__init__()
        angles = torch.arange(context)[:, None] * 10000.0 ** (-torch.arange(0, head, 2) / head)  # (time, head / 2)
        self.cos, self.sin = angles.cos().repeat(1, 2), angles.sin().repeat(1, 2)

    def forward(self, x: Tensor) -> Tensor:
        a, b = x.chunk(2, -1)
        return x * self.cos[: x.shape[-2]] + torch.cat([-b, a], -1) * self.sin[: x.shape[-2]]


class Block(nn.Module):
    """Its parameters are in the order of the reference's."""

    def __init__(
        self, shape: work.Shape, norm: Callable[[], nn.Module], rotary: nn.Module, gelu: nn.Module, attention: Callable
    ):
        super().__init__()
        width, self.heads = shape.width, shape.heads
        self.rotary, self.gelu, self.attention = rotary, gelu, attention
        self.ln_1 = norm()
        self.c_attn = nn.Linear(width, 3 * width, bias=False)
        self.c_proj = nn.Linear(width, width, bias=False)
        self.ln_2 = norm()
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width, bias=False), self.gelu, nn.Linear(4 * width, width, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        qkv = self.c_attn(self.ln_1(x)).unflatten(-1, (3, self.heads, -1))
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # (batch, heads, time, head) each
        y = self.attention(self.rotary(q), self.rotary(k), v)
        x = x + self.c_proj(y.transpose(1, 2).flatten(2))
        return x + self.mlp(self.ln_2(x))


class GPT(nn.Module):
    """The milestone's: rotary positions, RMSNorm, the tanh form of GELU. nanoGPT's: learned ones, LayerNorm, the exact form."""

    def __init__(self, shape: work.Shape, milestone: bool, attention: str):
        super().__init__()
        self.wte = nn.Embedding(shape.vocabulary, shape.width)
        self.wpe = None if milestone else nn.Embedding(shape.context, shape.width)
        rotary = Rotary(shape.width // shape.heads, shape.context) if milestone else nn.Identity()
        gelu = nn.GELU(approximate="tanh" if milestone else "none")

        def norm() -> nn.Module:
            return nn.RMSNorm(shape.width, eps=1e-5) if milestone else nn.LayerNorm(shape.width, bias=False)

        self.h = nn.Sequential(*(Block(shape, norm, rotary, gelu, ATTENTION[attention]) for _ in range(shape.layers)))
        self.ln_f = norm()
        for name, parameter in self.named_parameters():
            if parameter.ndim > 1:
                last = name.endswith(("c_proj.weight", "mlp.2.weight"))  # these add to x
                nn.init.normal_(parameter, std=0.02 / math.sqrt(2 * shape.layers) if last else 0.02)

    def forward(self, x: Tensor) -> Tensor:
        """x (batch, time) → the logits of the next tokens."""
        vectors = self.wte(x)
        if self.wpe is not None:
            vectors = vectors + self.wpe.weight[: x.shape[1]]
        return self.ln_f(self.h(vectors)) @ self.wte.weight.T

    def loss(self, x: Tensor, y: Tensor, reduction: str = "mean") -> Tensor:
        """x, y (batch, time): each id of y is guessed from those of x up to its place."""
        return F.cross_entropy(self(x).flatten(0, 1), y.flatten(), reduction=reduction)


def adamw(network: nn.Module, lr: float, weight_decay: float) -> torch.optim.AdamW:
    """Only matrices decay, in both recipes."""
    matrices = [parameter for parameter in network.parameters() if parameter.ndim > 1]
    others = [parameter for parameter in network.parameters() if parameter.ndim == 1]
    groups = [{"params": matrices, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.99), fused=True)


def update(network: GPT, optimizer: torch.optim.AdamW, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """A step of training: the loss before it, and the norm of its gradient."""
    optimizer.zero_grad()
    loss = network.loss(x, y)
    loss.backward()
    norm = nn.utils.clip_grad_norm_(network.parameters(), 1.0)
    optimizer.step()
    return loss.detach(), norm


def build(shape: work.Shape, attention: str) -> GPT:
    """With the parameters that all sides begin with."""
    network = GPT(shape, milestone=True, attention=attention)
    parameters = list(network.parameters())
    with torch.no_grad():
        for parameter, value in zip(parameters, work.parameters(p.shape for p in parameters), strict=True):
            parameter.copy_(torch.from_numpy(value))
    return network


def gpt_steps(shape: work.Shape, attention: str) -> Callable[[], list[np.ndarray]]:
    """As ours."""
    network, batches = build(shape, attention), torch.from_numpy(shape.ids())
    optimizer = adamw(network, recipe.LEARNING_RATE, recipe.WEIGHT_DECAY)

    def call():
        found = [update(network, optimizer, rows[:, :-1], rows[:, 1:]) for rows in batches]
        return [torch.stack(column).numpy() for column in zip(*found, strict=True)]

    return call


def gpt_forward(shape: work.Shape, attention: str) -> Callable[[], list[np.ndarray]]:
    """As ours."""
    network, (rows,) = build(shape, attention).eval(), torch.from_numpy(shape.ids())

    def call():
        with torch.no_grad():
            return [network(rows[:, :-1]).numpy()]

    return call


def train_gpt(text: Text, seconds: float | None, attention: str) -> dict[str, float]:
    """nanoGPT's recipe, on characters: its steps, or with the same schedule as many as it does in so many seconds.

    Gives bits per byte of the last tenth, and the steps, tokens and seconds of the training.
    """
    texts, numbers = recipe.corpus(text), {letter: i for i, letter in enumerate(sorted(set(text.text)))}
    ids = np.array([numbers[letter] for letter in text.text])
    train, test = ids[: len(texts.train)], ids[len(texts.train) - 1 :]  # the last tenth follows on the first part's last one
    torch.manual_seed(0)
    shape = work.MILESTONE._replace(rows=BATCH, vocabulary=len(numbers))
    network, windows = GPT(shape, milestone=False, attention=attention), torch.from_numpy(train).unfold(0, shape.context + 1, 1)
    optimizer, start, begun = adamw(network, LEARNING_RATE, WEIGHT_DECAY), time.perf_counter(), 0.0
    for step in count():
        passed = time.perf_counter() - start
        done = step / STEPS if seconds is None else passed / seconds
        if done >= 1:
            break
        if step == WARMUP:
            begun = done  # from here on along half a cosine
        cosine = (1 + math.cos(math.pi * (done - begun) / (1 - begun))) / 2
        factor = (step + 1) / (WARMUP + 1) if step < WARMUP else FINAL + (1 - FINAL) * cosine
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * factor
        rows = windows[torch.randint(len(windows), (BATCH,))]
        update(network, optimizer, rows[:, :-1], rows[:, 1:])
    with torch.no_grad():
        batches = [[torch.from_numpy(part.data) for part in pair] for pair in recipe.in_order(test, shape.context)]
        nats = sum(network.loss(x, y, "sum").item() for x, y in batches)
    bits = nats / math.log(2) / len(texts.test.encode())
    return {"bits": bits, "steps": step, "tokens": step * BATCH * shape.context, "seconds": passed}
