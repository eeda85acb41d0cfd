"""The capstone: a folder that holds a model and all it needs, and an engine that answers many requests at a time."""

import argparse
import asyncio
import base64
import codecs
import dataclasses
import hashlib
import heapq
import hmac
import json
import logging
import math
import operator
import os
import re
import shutil
import stat
import sys
import threading
import time
import uuid
from collections import deque
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from itertools import count
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from katas.acceleration import accelerate, data_parallel, flat
from katas.autograd import no_grad
from katas.caching import Decoder, KVCache
from katas.dataloader import DataLoader, Subset
from katas.layers import Module
from katas.losses import CrossEntropyLoss
from katas.model_compression import Distillation, head_scores, prune_heads, prune_units, strongest, unit_scores
from katas.optimizers import AdamW
from katas.precision import GROUP, half_state, quantize
from katas.tokenization import BPETokenizer
from katas.training import Objective, Progress, Trainer, cosine_schedule
from katas.transformers import GPT, GPTConfig, generate, next_token_windows

# 20.1 Bundle

FORMAT, VERSION, CONFIG = "tensor-kata", 1, "config.json"  # given: the file that names format and version
FILES = ("merges.txt", "model.safetensors", "special_tokens_map.json", "vocab.json")  # given: what else a bundle holds
CONFIG_BYTES = 1 << 20  # given: config.json may have so many
LONGEST = 1 << 16  # given: so long may a context or a window be that no array has


@dataclass(frozen=True)
class Bundle:
    """A GPT with all it needs to be served.

    end: the special token that ends a text, or None. chat: {role: (text before a message, text after it)}, or None.
    accelerated: whether load applies kata 15's accelerate.
    """

    model: GPT
    tokenizer: BPETokenizer
    name: str = "gpt"
    end: str | None = None
    chat: dict[str, tuple[str, str]] | None = None
    accelerated: bool = False

    def __post_init__(self):
        """Raises: ValueError that contains an id that only the model or only the tokenizer has; an `end` that is no special
        token; a role in `chat` that is no string, or without two texts; "assistant" if chat has none; a name, a chat or
        `accelerated` of another type.
        """
        raise NotImplementedError("20.1 Bundle.__post_init__: README.md, 20.1")

    def chat_ids(self, messages: Iterable[dict]) -> list[int]:
        """The ids of a conversation, [{"role": …, "content": …}, …], up to where the assistant's next message begins.

        Special tokens count in the template only, so that no message can forge one.
        Raises: ValueError that contains a role that is not in `chat`; "role" or "content" if a message has no such text; or
        if there is no chat.
        """
        raise NotImplementedError("20.1 Bundle.chat_ids: README.md, 20.1")

    def save(self, folder: str | os.PathLike, half: bool = False) -> None:
        """Writes the folder, as a whole or not at all: whatever happens, `load` finds the old bundle or the new one.

        half: floats are stored as float16. Raises, and leaves the old one: FileExistsError that contains the folder if it holds
        anything but a bundle; ValueError that contains the names of arrays that are not finite, or that no GPT of the model's
        config has; "config.json" if that would be longer than CONFIG_BYTES; OSError.
        """
        raise NotImplementedError("20.1 Bundle.save: README.md, 20.1")

    @classmethod
    def load(cls, folder: str | os.PathLike) -> "Bundle":
        """The bundle that `save` wrote. What config.json claims is compared with the files before any array is made.

        Raises: FileNotFoundError that contains the file that is missing; ValueError that contains the file that was altered, is
        no regular file of this folder, is of another version, or claims sizes that the files do not have.
        """
        raise NotImplementedError("20.1 Bundle.load: README.md, 20.1")


# 20.2 Requests


@dataclass(frozen=True)
class Request:
    """What a text is to be continued with. A seed of None means a fresh one.

    logprobs: None, or how many alternatives to tell for each token, beside its own log-probability. echo: the prompt comes
    first, with its tokens.
    """

    prompt: Sequence[int]
    max_tokens: int = 16
    temperature: float = 1.0
    top_p: float = 1.0
    seed: int | None = None
    stop: Sequence[str] = ()
    logprobs: int | None = None
    echo: bool = False

    def __post_init__(self):
        """prompt and stop become tuples. Raises: ValueError that contains the name and the value of what does not fit."""
        raise NotImplementedError("20.2 Request.__post_init__: README.md, 20.2")


class Token(NamedTuple):
    """An id, its log-probability, and the most probable ids with theirs: (id, log-probability), best first."""

    id: int
    logprob: float | None = None
    top: tuple[tuple[int, float], ...] = ()


class Update(NamedTuple):
    """What one step adds to the answer of request `number`. finish: None, or in the last one "stop" or "length".

    made: how many tokens were drawn up to now, those that are held back, or cut off by a stop string, included.
    """

    number: int
    text: str
    tokens: tuple[Token, ...]
    finish: str | None
    made: int


class QueueFull(RuntimeError):
    """As many requests are waiting as may wait."""


# 20.3 Sampling


def choose(logits: np.ndarray, draws: np.ndarray, temperature: np.ndarray, top_p: np.ndarray) -> np.ndarray:
    """logits (rows, vocab_size); draws in [0, 1), temperature and top_p, each (rows,) → ids (rows,).

    The id is the first whose cumulative probability, in order of ids, is above the draw. Temperature 0: the first of the most
    probable. top_p: only the most probable count, as many as are needed to reach it, of equal ones the first.
    """
    raise NotImplementedError("20.3 choose: README.md, 20.3")


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """logits (…, vocab_size) → log-probabilities, float64."""
    raise NotImplementedError("20.3 log_softmax: README.md, 20.3")


# 20.4 Text


class TextStream:
    """Text of tokens that come one by one: each part as soon as it is certain that it belongs to no stop string."""

    def __init__(self, tokenizer: BPETokenizer, stop: Sequence[str] = (), texts: Mapping[int, str] = MappingProxyType({})):
        """stopped says whether a stop string came. texts: those of tokens that are whole characters, which saves time."""
        raise NotImplementedError("20.4 TextStream.__init__: README.md, 20.4")

    def push(self, token: Token) -> tuple[str, tuple[Token, ...]]:
        """The text that may be sent now, and the tokens of which no part is held back."""
        raise NotImplementedError("20.4 TextStream.push: README.md, 20.4")

    def flush(self) -> tuple[str, tuple[Token, ...]]:
        """The rest, at the end of the tokens: what was held back, and U+FFFD for half a character."""
        raise NotImplementedError("20.4 TextStream.flush: README.md, 20.4")


# 20.5 Engine


class Engine:
    """Answers requests, `rows` at a time, by steps: each reads a slice of prompts, and gives every text one more token.

    A request joins when a row is free and leaves when it is done or cancelled. queue: how many may wait. slice: how many tokens
    of prompts a step reads. These are attributes.
    """

    def __init__(self, bundle: Bundle, rows: int = 16, queue: int = 64, slice: int = 64):
        """Puts the model into eval mode. Raises: ValueError that contains the name and value of a size that is too small."""
        raise NotImplementedError("20.5 Engine.__init__: README.md, 20.5")

    @property
    def running(self) -> int:
        """How many requests have a row."""
        raise NotImplementedError("20.5 Engine.running: README.md, 20.5")

    @property
    def waiting(self) -> int:
        """How many requests wait for one."""
        raise NotImplementedError("20.5 Engine.waiting: README.md, 20.5")

    def check(self, request: Request) -> None:
        """Raises: ValueError that contains the context if prompt and max_tokens are longer together, or an unknown id."""
        raise NotImplementedError("20.5 Engine.check: README.md, 20.5")

    def submit(self, request: Request) -> int:
        """The number of the request, for its Updates and for `cancel`. Raises: as check; QueueFull."""
        raise NotImplementedError("20.5 Engine.submit: README.md, 20.5")

    def cancel(self, number: int) -> None:
        """Ends a request, waiting or running, without an Update. One that is over, or never was, is nothing to do."""
        raise NotImplementedError("20.5 Engine.cancel: README.md, 20.5")

    def step(self) -> list[Update]:
        """Lets requests join, reads up to `slice` tokens of prompts, in the order in which they came, and gives each request
        whose prompt was read before one token more. With nothing to do it does nothing."""
        raise NotImplementedError("20.5 Engine.step: README.md, 20.5")


# 20.6 Engine and asyncio


class AsyncEngine:
    """An Engine on a thread of its own. Use it in `async with`, which starts it, and at the end lets all requests finish."""

    def __init__(self, engine: Engine):
        raise NotImplementedError("20.6 AsyncEngine.__init__: README.md, 20.6")

    async def __aenter__(self) -> "AsyncEngine":
        raise NotImplementedError("20.6 AsyncEngine.__aenter__: README.md, 20.6")

    async def __aexit__(self, *exception) -> None:
        raise NotImplementedError("20.6 AsyncEngine.__aexit__: README.md, 20.6")

    async def close(self) -> None:
        """Accepts no more requests, and returns when all that were accepted are finished."""
        raise NotImplementedError("20.6 AsyncEngine.close: README.md, 20.6")

    def submit(self, request: Request) -> "Stream":
        """A request's Updates, to be iterated in `async with`. Raises: as Engine.submit; RuntimeError after close."""
        raise NotImplementedError("20.6 AsyncEngine.submit: README.md, 20.6")


class Stream:
    """The Updates of a request, an asynchronous iterator. Leaving `async with`, or cancelling the task, ends the request."""

    def __init__(self, owner: AsyncEngine):
        raise NotImplementedError("20.6 Stream.__init__: README.md, 20.6")

    async def __aenter__(self) -> "Stream":
        raise NotImplementedError("20.6 Stream.__aenter__: README.md, 20.6")

    async def __aexit__(self, *exception) -> None:
        raise NotImplementedError("20.6 Stream.__aexit__: README.md, 20.6")

    def __aiter__(self) -> "Stream":
        raise NotImplementedError("20.6 Stream.__aiter__: README.md, 20.6")

    async def __anext__(self) -> Update:
        """Raises: what a step of the engine raised."""
        raise NotImplementedError("20.6 Stream.__anext__: README.md, 20.6")

    def cancel(self) -> None:
        """Frees the request's row, or its place in the queue. After its end this does nothing."""
        raise NotImplementedError("20.6 Stream.cancel: README.md, 20.6")


# 20.7 Build


@dataclass(frozen=True)
class BuildConfig:
    """What `build` does. A stage that is None or False is left out.

    text: the path of a file; its last tenth only judges. model: the folder of a bundle, or GPTConfig's fields without
    vocab_size, of a GPT to be trained on the rest of the text. train: epochs, steps in each, batch_size and lr. distill: model
    and train, of a smaller GPT. prune: the fraction of heads and neurons to remove. quantize: 8 or 4. half: float16 on disk.
    name, chat: None is what a loaded bundle has, or "gpt" and no chat.
    """

    text: str
    model: dict | str
    vocab_size: int = 1024
    train: dict = dataclasses.field(default_factory=lambda: {"epochs": 10, "steps": 150, "batch_size": 16, "lr": 4e-3})
    distill: dict | None = None
    prune: float | None = None
    quantize: int | None = None
    half: bool = False
    accelerate: bool = True
    cache: bool = True
    seed: int = 0
    name: str | None = None
    chat: dict | None = None


class Stage(NamedTuple):
    """What the model is after a stage: bytes of its state, tokens a second that it writes, bits per byte of the last tenth."""

    name: str
    nbytes: int
    speed: float
    bits: float

    def __str__(self) -> str:  # given
        return f"{self.name:<12}{self.nbytes / 1e6:9.3f} MB{self.speed:9.0f} tokens/s{self.bits:8.3f} bits per byte"


END = "<|endoftext|>"  # given: the token that `build` ends texts with


def build(config: BuildConfig, folder: str | os.PathLike, progress=None, tell=print) -> tuple[Bundle, list[Stage]]:
    """Trains or loads, distills, prunes, quantizes, accelerates, caches; saves the bundle. tell is called with each Stage.

    A training that was interrupted goes on from a checkpoint beside the folder. progress: as a Trainer takes it.
    Raises, before it trains: ValueError that contains the name and value of an option that does not fit; as Bundle, and as
    Bundle.save for the folder.
    """
    raise NotImplementedError("20.7 build: README.md, 20.7")


# 20.8 The app

HOSTS = ("localhost", "127.0.0.1", "[::1]")  # given: what this machine calls itself
PAGE = files("katas") / "20_capstone" / "page.html"  # given


def app(
    bundle: Bundle,
    rows: int = 16,
    queue: int = 64,
    slice: int = 64,
    keys: Sequence[str] = (),
    hosts: Sequence[str] = HOSTS,
    tokens: int = 4096,
    body_bytes: int = 1 << 20,
    body_seconds: float = 10.0,
):
    """A Starlette app with OpenAI's paths, which answers from an Engine(bundle, rows, queue, slice) while its lifespan lasts.

    keys: the Authorization header must have one of them, unless there are none. hosts: what the Host header may be. tokens:
    of a prompt and its answer together, where the context has room for them. body_bytes, body_seconds: of a request's body.
    While `state.draining` is True, /healthz/ready answers 503.
    """
    raise NotImplementedError("20.8 app: README.md, 20.8")


CONNECTIONS = 256  # given: at a time; beyond, uvicorn answers 503
GRACE = 30  # given: seconds in which accepted requests finish


def serve(bundle: Bundle, host: str = "127.0.0.1", port: int = 8000, keys: Sequence[str] = (), hosts: Sequence[str] = HOSTS):
    """Serves the app until SIGTERM or SIGINT. Then /healthz/ready is 503 for a second, no more connections are accepted, and
    accepted requests finish."""
    raise NotImplementedError("20.8 serve: README.md, 20.8")


# 20.9 The command line


def main(arguments: Sequence[str] | None = None) -> None:
    """build CONFIG.json FOLDER; generate FOLDER PROMPT, which writes the continuation as it comes; or serve FOLDER."""
    raise NotImplementedError("20.9 main: README.md, 20.9")


if __name__ == "__main__":  # given
    main()
