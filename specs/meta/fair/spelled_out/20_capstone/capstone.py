"""Kata 20 in another style: files are bytes, requests are dicts in a list of rows, and the model itself reads prompts."""

import argparse
import asyncio
import base64
import codecs
import contextlib
import dataclasses
import functools
import hashlib
import importlib.resources
import itertools
import json
import logging
import math
import os
import queue
import re
import secrets
import shutil
import struct
import sys
import threading
import time
import types
from collections import deque, namedtuple
from pathlib import Path

import numpy as np
from katas.acceleration import accelerate, data_parallel, flat
from katas.autograd import no_grad
from katas.caching import Decoder, KVCache
from katas.losses import CrossEntropyLoss
from katas.model_compression import Distillation, head_scores, prune_heads, prune_units, unit_scores
from katas.optimizers import AdamW
from katas.precision import GROUP, half_state, quantize
from katas.tensor import Tensor
from katas.tokenization import BPETokenizer
from katas.training import Objective, Progress, Trainer, cosine_schedule
from katas.transformers import GPT, GPTConfig, generate

FORMAT, VERSION, CONFIG = "tensor-kata", 1, "config.json"
FILES = ("merges.txt", "model.safetensors", "special_tokens_map.json", "vocab.json")
CONFIG_BYTES = 1 << 20
LONGEST = 1 << 16
OWN = "name", "end", "chat", "accelerated"


# 20.1


class Bundle:
    def __init__(self, model, tokenizer, name="gpt", end=None, chat=None, accelerated=False):
        if type(name) is not str:
            raise ValueError(f"name: {name!r}")
        if type(accelerated) is not bool:
            raise ValueError(f"accelerated: {accelerated!r}")
        for number in range(max(model.config.vocab_size, 1 + max(tokenizer.vocab))):
            if (number < model.config.vocab_size) != (number in tokenizer.vocab):
                raise ValueError(f"id {number} is in one of model and tokenizer")
        if end is not None and (type(end) is not str or end not in tokenizer.special_tokens):
            raise ValueError(f"end: {end!r}")
        if chat is not None:
            chat = checked_chat(chat)
        self.model, self.tokenizer, self.name, self.end, self.chat, self.accelerated = (
            model,
            tokenizer,
            name,
            end,
            chat,
            accelerated,
        )

    def chat_ids(self, messages):
        if self.chat is None:
            raise ValueError("no chat")
        parts = []
        for message in messages:
            for field in "role", "content":
                if type(message.get(field)) is not str:
                    raise ValueError(f"{field} of {message}")
            if message["role"] not in self.chat:
                raise ValueError(f"role {message['role']!r}")
            before, after = self.chat[message["role"]]
            parts += [(before, True), (message["content"], False), (after, True)]
        parts.append((self.chat["assistant"][0], True))
        return [number for text, special in parts for number in self.tokenizer.encode(text, special=special)]

    def save(self, folder, half=False):
        from safetensors.numpy import save

        place = Path(os.path.realpath(folder))
        writing, before = (place.parent / f"{place.name}~{suffix}" for suffix in ("writing", "before"))
        state = self.model.state_dict()
        if half:
            state = half_state(state)
        bad = [name for name in state if "limits" not in name and not np.all(np.isfinite(state[name]))]
        if bad:
            raise ValueError(f"not finite: {bad}")
        sizes = sizes_of(self.model, state)
        compare({name: (array.dtype.name, array.shape) for name, array in state.items()}, sizes)
        settle(place, before)
        if not may_be_replaced(place):
            raise FileExistsError(str(place))
        try:
            if writing.exists():
                shutil.rmtree(writing)
            self.tokenizer.save(writing)
            (writing / "model.safetensors").write_bytes(save({name: array.copy("C") for name, array in state.items()}))
            config = {"format": FORMAT, "version": VERSION, "sizes": sizes, "files": {}}
            for name in OWN:
                config[name] = getattr(self, name)
            for name in FILES:
                config["files"][name] = facts((writing / name).read_bytes())
            (writing / CONFIG).write_text(json.dumps({**config, "checksum": checksum(config)}))
            if (writing / CONFIG).stat().st_size > CONFIG_BYTES:
                raise ValueError(f"{CONFIG} is longer than {CONFIG_BYTES} bytes")
            for path in [*writing.iterdir(), writing]:
                synchronize(path)
            if place.exists():
                os.replace(place, before)
            os.replace(writing, place)
            synchronize(place.parent)
        finally:
            settle(place, before)
            if writing.exists():
                shutil.rmtree(writing)

    @classmethod
    def load(cls, folder):
        from safetensors.numpy import load

        place = Path(os.path.realpath(folder))
        if not place.exists():
            before = place.parent / f"{place.name}~before"
            place = before if before.exists() else place
        for name in [CONFIG, *FILES]:
            path = place / name
            if path.is_symlink() or (path.exists() and not path.is_file()):
                raise ValueError(f"{path} is no regular file")
            if not path.exists():
                raise FileNotFoundError(f"no {path}")
        try:
            with open(place / CONFIG, "rb") as file:
                content = file.read(CONFIG_BYTES + 1)
            if len(content) > CONFIG_BYTES:
                raise ValueError("too long")
            config = json.loads(content)
            if config["format"] != FORMAT:
                raise ValueError(f"format {config['format']!r}")
            if type(config["version"]) is not int or config["version"] != VERSION:
                raise ValueError(f"version {config['version']!r} instead of {VERSION}")
            others = [*config["files"].keys() ^ set(FILES)]
            if others:
                raise ValueError(f"files: {others}")
            if config.pop("checksum") != checksum(config):
                raise ValueError("the checksum is wrong")
            contents = {}
            for name in FILES:
                with open(place / name, "rb") as file:
                    contents[name] = file.read()
                if config["files"][name] != facts(contents[name]):
                    raise ValueError(f"{name} was changed")
            model = contents["model.safetensors"]
            (length,) = struct.unpack("<Q", model[:8])
            header = json.loads(model[8 : 8 + length])
            header.pop("__metadata__", None)
            dtypes = {"F32": "float32", "F16": "float16", "I8": "int8", "U8": "uint8"}
            compare({name: (dtypes.get(one["dtype"]), tuple(one["shape"])) for name, one in header.items()}, config["sizes"])
            gpt = shaped(config["sizes"])
            gpt.load_state_dict(load(model))
            bundle = cls(gpt, BPETokenizer.load(place), **{name: config[name] for name in OWN})
        except Exception as error:
            raise ValueError(f"{place / CONFIG}: {error}") from error
        with open(place / CONFIG, "rb") as file:
            if file.read(CONFIG_BYTES) != content:
                raise ValueError(f"{place / CONFIG} is another one now")
        if bundle.accelerated:
            accelerate(gpt)
        gpt.eval()
        return bundle


def checked_chat(chat):
    if not isinstance(chat, dict):
        raise ValueError(f"chat: {chat!r}")
    pairs = {}
    for role, around in chat.items():
        if type(role) is not str:
            raise ValueError(f"role {role!r}")
        if not isinstance(around, list | tuple) or len(around) != 2 or any(type(text) is not str for text in around):
            raise ValueError(f"role {role!r}: {around!r}")
        pairs[role] = around[0], around[1]
    if "assistant" not in pairs:
        raise ValueError("no assistant")
    return pairs


def facts(content):
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def checksum(config):
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()


def synchronize(path):
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def settle(place, before):
    """After an end at any time: the old folder goes back, or away."""
    if before.exists():
        if place.exists():
            shutil.rmtree(before)
        else:
            os.rename(before, place)


def may_be_replaced(place):
    if not place.exists():
        return True
    if not place.is_dir():
        return False
    names = [path.name for path in place.iterdir()]
    if not names:
        return True
    if CONFIG not in names or not all(name == CONFIG or name in FILES for name in names):
        return False
    return (place / CONFIG).is_file() and FORMAT in (place / CONFIG).read_text(errors="replace")


def sizes_of(model, state):
    kinds = [
        str(array.dtype) for name, array in state.items() if name in ("transformer.wte.weight", "transformer.wte.weight.values")
    ]
    return {
        "model": dataclasses.asdict(model.config),
        "heads": [block.attn.n_head for block in model.transformer.h],
        "neurons": [block.mlp.c_fc.out_features for block in model.transformer.h],
        "weights": kinds[0],
    }


def expected(config, heads, neurons, weights, floats):
    """(name, dtype, shape) of each array."""
    d, size = config.d_model, config.d_model // config.n_head

    def matrix(name, rows, columns, limits=True):
        if weights == "int8":
            yield f"{name}.weight.values", "int8", (rows, columns)
            yield f"{name}.weight.scale", floats, (rows, 1)
        elif weights == "uint8":
            yield f"{name}.weight.values", "uint8", (rows, math.ceil(columns / 2))
            yield f"{name}.weight.scale", "float16", (rows, math.ceil(columns / GROUP))
        else:
            yield f"{name}.weight", floats, (rows, columns)
        if limits and weights in ("int8", "uint8"):
            yield f"{name}.limits", floats, (2,)
        if limits and config.bias:
            yield f"{name}.bias", floats, (rows,)

    def norm(name):
        yield f"{name}.weight", floats, (d,)
        if config.bias and config.norm == "layer":
            yield f"{name}.bias", floats, (d,)

    yield from matrix("transformer.wte", config.vocab_size, d, limits=False)
    if weights in ("int8", "uint8"):
        yield "lm_head.limits", floats, (2,)
    if config.positions == "learned":
        yield "transformer.wpe.weight", floats, (config.context, d)
    for layer in range(config.n_layer):
        block = f"transformer.h.{layer}"
        yield from norm(f"{block}.ln_1")
        yield from norm(f"{block}.ln_2")
        yield from matrix(f"{block}.attn.c_attn", 3 * heads[layer] * size, d)
        yield from matrix(f"{block}.attn.c_proj", d, heads[layer] * size)
        yield from matrix(f"{block}.mlp.c_fc", neurons[layer], d)
        yield from matrix(f"{block}.mlp.c_proj", d, neurons[layer])
    yield from norm("transformer.ln_f")


def compare(found, sizes):
    config, weights = GPTConfig(**sizes["model"]), sizes["weights"]
    if weights not in ("float32", "float16", "int8", "uint8"):
        raise ValueError(f"weights {weights!r}")
    floats = weights
    if weights in ("int8", "uint8"):
        floats = found.get("transformer.ln_f.weight", ("float32", ()))[0]
        if floats not in ("float32", "float16"):
            raise ValueError(f"transformer.ln_f.weight is {floats}")
    if len(found) < config.n_layer:
        raise ValueError(f"n_layer {config.n_layer} with {len(found)} arrays")
    for field, name, most in ("heads", "attn.c_attn", config.n_head), ("neurons", "mlp.c_fc", 4 * config.d_model):
        if type(sizes[field]) is not list or len(sizes[field]) != config.n_layer:
            raise ValueError(f"n_layer is {config.n_layer}, {field} is another")
        for layer in range(config.n_layer):
            value = sizes[field][layer]
            if type(value) is not int or value < 1 or value > most:
                raise ValueError(f"transformer.h.{layer}.{name}.weight: {field} {str(value)[:40]}")
    if config.positions != "learned":
        for field in "context", "window":
            if (getattr(config, field) or 0) > LONGEST:
                raise ValueError(f"{field} {getattr(config, field)}")
    rest, wrong = dict(found), []
    for name, dtype, shape in expected(config, sizes["heads"], sizes["neurons"], weights, floats):
        if rest.pop(name, None) != (dtype, shape):
            wrong.append(f"{name} is {found.get(name)}, not {dtype} {shape}")
    if wrong or rest:
        raise ValueError("; ".join([*wrong, *rest]))


def shaped(sizes):
    model = GPT(GPTConfig(**sizes["model"]))
    for block, heads, neurons in zip(model.transformer.h, sizes["heads"], sizes["neurons"], strict=True):
        if heads < block.attn.n_head:
            prune_heads(block.attn, [*range(heads)])
        if neurons < block.mlp.c_fc.out_features:
            prune_units(block.mlp, block.mlp.c_fc, [*range(neurons)])
    bits = {"int8": 8, "uint8": 4}.get(sizes["weights"])
    return (quantize(model, bits) if bits else model).eval()


# 20.2


class Request:
    def __init__(self, prompt, max_tokens=16, temperature=1.0, top_p=1.0, seed=None, stop=(), logprobs=None, echo=False):
        ids = []
        for number in prompt:
            if not hasattr(number, "__index__"):
                raise TypeError(f"prompt: {number!r}")
            ids.append(number.__index__())
        if not ids:
            raise ValueError("prompt: ()")
        if isinstance(stop, str):
            stop = [stop]
        try:
            stop = tuple(stop)
        except TypeError:
            raise ValueError(f"stop: {stop!r}") from None
        if any(not isinstance(text, str) or text == "" for text in stop):
            raise ValueError(f"stop: {stop!r}")
        if not whole(max_tokens) or max_tokens < 0:
            raise ValueError(f"max_tokens: {max_tokens!r}")
        if not real(temperature) or temperature < 0:
            raise ValueError(f"temperature: {temperature!r}")
        if not real(top_p) or not 0 < top_p <= 1:
            raise ValueError(f"top_p: {top_p!r}")
        if seed is not None and (not whole(seed) or seed < 0):
            raise ValueError(f"seed: {seed!r}")
        if logprobs is not None and (not whole(logprobs) or logprobs not in range(6)):
            raise ValueError(f"logprobs: {logprobs!r}")
        self.prompt, self.max_tokens, self.temperature, self.top_p = tuple(ids), max_tokens, temperature, top_p
        self.seed, self.stop, self.logprobs, self.echo = seed, stop, logprobs, echo


def whole(value):
    return type(value) is not bool and isinstance(value, int | np.integer)


def real(value):
    """Whether it is a number that a float can be."""
    if type(value) is bool or not isinstance(value, int | float | np.integer | np.floating):
        return False
    try:
        return math.isfinite(float(value))
    except OverflowError:
        return False


Token = namedtuple("Token", ["id", "logprob", "top"], defaults=[None, ()])
Update = namedtuple("Update", ["number", "text", "tokens", "finish", "made"])


class QueueFull(RuntimeError):
    pass


# 20.3


def choose(logits, draws, temperature, top_p):
    rows = np.arange(len(logits))
    largest = np.max(logits, axis=1)
    distance = np.asarray(logits, np.float64) - largest[:, None].astype(np.float64)
    divisor = np.where(temperature > 0, temperature, 1.0)
    with np.errstate(over="ignore"):
        odds = np.exp(distance / divisor[:, None])
    p = odds / odds.sum(axis=1)[:, None]
    order = np.argsort(-p, axis=1, kind="stable")
    falling = p[rows[:, None], order]
    before = falling.cumsum(axis=1) - falling
    before[:, 1:] = falling.cumsum(axis=1)[:, :-1]
    left = np.where((before < top_p[:, None]) | (top_p[:, None] == 1), falling, 0.0)
    p = np.zeros_like(p)
    p[rows[:, None], order] = left
    sums = p.cumsum(axis=1)
    drawn = np.count_nonzero(sums <= draws[:, None] * sums[:, [-1]], axis=1)
    return np.where(temperature == 0, (logits == largest[:, None]).argmax(axis=1), drawn)


def log_softmax(logits):
    logits = np.array(logits, np.float64)
    return logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True)


# 20.4


class TextStream:
    """The whole text is kept; `sent` is how much of it was returned."""

    def __init__(self, tokenizer, stop=(), texts=None):
        self.tokenizer, self.stop, self.stopped = tokenizer, [stop] if isinstance(stop, str) else [*stop], False
        self.decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self.text, self.sent, self.tokens = "", 0, []

    def push(self, token):
        self.text += self.decoder.decode(self.tokenizer.decode_bytes([token.id]))
        half = len(self.decoder.getstate()[0]) > 0
        self.tokens.append((token, len(self.text) + (1 if half else 0)))
        return self.passed(self.text, held=True)

    def flush(self):
        self.text += self.decoder.decode(b"", True)
        return self.passed(self.text, held=False)

    def passed(self, text, held):
        if self.stopped:
            return "", ()
        found = []
        for stop in self.stop:
            start = text.find(stop, self.sent)
            if start >= 0:
                found.append((start + len(stop), start))
        if found:
            self.stopped, end = True, min(found)[1]
        else:
            end = len(text)
            if held:
                starts = [
                    start for start in range(self.sent, len(text)) if any(stop.startswith(text[start:]) for stop in self.stop)
                ]
                end = min(starts, default=len(text))
        part, self.sent = text[self.sent : end], end
        done = list(itertools.takewhile(lambda pair: pair[1] <= self.sent, self.tokens))
        self.tokens = self.tokens[len(done) :]
        return part, tuple(token for token, _ in done)


# 20.5


class Engine:
    def __init__(self, bundle, rows=16, queue=64, slice=64):
        for name, value, least in ("rows", rows, 1), ("queue", queue, 0), ("slice", slice, 1):
            if not whole(value) or value < least:
                raise ValueError(f"{name}: {value!r}")
        self.bundle, self.rows, self.queue, self.slice = bundle, int(rows), int(queue), int(slice)
        self.model = bundle.model
        self.model.eval()
        self.decoder, self.cache = Decoder(self.model), KVCache.of(self.model, int(rows))
        self.places = [None] * int(rows)
        self.line, self.told, self.given = [], [], 0

    @property
    def running(self):
        return sum(place is not None for place in self.places)

    @property
    def waiting(self):
        return len(self.line)

    def check(self, request):
        config = self.model.config
        if not config.window and len(request.prompt) + request.max_tokens > config.context:
            raise ValueError(f"more than the context of {config.context} tokens")
        for number in request.prompt:
            if number < 0 or number >= config.vocab_size:
                raise ValueError(f"no id {number}")

    def submit(self, request):
        self.check(request)
        if self.running + self.waiting == self.rows + self.queue:
            raise QueueFull("full")
        number = self.given
        self.given += 1
        self.line.append(
            {
                "number": number,
                "request": request,
                "rng": np.random.default_rng(request.seed),
                "stream": TextStream(self.bundle.tokenizer, request.stop),
                "unread": [*request.prompt],
                "unkept": None,
                "draw": None,
                "logits": None,
                "echo": [],
                "made": 0,
            }
        )
        return number

    def cancel(self, number):
        self.told = [update for update in self.told if update.number != number]
        self.line = [job for job in self.line if job["number"] != number]
        for row, job in enumerate(self.places):
            if job is not None and job["number"] == number:
                self.leave(row)

    def leave(self, row):
        self.places[row] = None
        self.cache.release(row)

    def step(self):
        for row, place in enumerate(self.places):
            if place is None and self.line:
                self.places[row] = self.line.pop(0)
        self.read()
        self.keep()
        self.draw()
        told, self.told = self.told, []
        return told

    def rows_of(self, condition):
        return [row for row, job in enumerate(self.places) if job is not None and condition(job)]

    def read(self):
        left, plan = self.slice, []
        for row in sorted(self.rows_of(lambda job: job["unread"]), key=lambda row: self.places[row]["number"]):
            length = min(left, len(self.places[row]["unread"]))
            if length > 0:
                plan.append((row, length))
                left -= length
        plan.sort()
        while plan:
            (first, length), last = plan[0], 0
            while last + 1 < len(plan) and plan[last + 1] == (first + last + 1, length):
                last += 1
            together, plan = plan[: last + 1], plan[last + 1 :]
            with no_grad():
                ids = [self.places[row]["unread"][:length] for row, _ in together]
                logits = self.model(np.array(ids), None, self.cache.row(first, len(ids))).data
            for (row, _), part in zip(together, logits, strict=True):
                self.was_read(self.places[row], part)

    def was_read(self, job, logits):
        request, ids = job["request"], job["unread"][: len(logits)]
        if request.echo:
            for number, before in zip(ids, [job["logits"], *logits], strict=False):
                job["echo"].append(told(number, before, None if before is None else request.logprobs))
        job["logits"], job["unread"] = logits[-1].copy(), job["unread"][len(ids) :]
        if request.echo and not job["unread"]:
            self.told.append(
                Update(job["number"], self.bundle.tokenizer.decode(request.prompt), tuple(job.pop("echo")), None, 0)
            )

    def keep(self):
        rows = self.rows_of(lambda job: job["unkept"] is not None)
        if not rows:
            return
        count = rows[-1] + 1
        ids, real = np.zeros(count, np.int64), np.zeros(count, bool)
        for row in rows:
            ids[row], real[row] = self.places[row]["unkept"], True
        logits = self.decoder.step(ids, self.cache.row(0, count), real)
        for row in rows:
            self.places[row]["logits"], self.places[row]["unkept"] = logits[row].copy(), None

    def draw(self):
        for row in self.rows_of(lambda job: not job["unread"] and job["request"].max_tokens == 0):
            self.finish(row, "", (), "length")
        rows = self.rows_of(lambda job: not job["unread"] and job["unkept"] is None)
        if not rows:
            return
        jobs = [self.places[row] for row in rows]
        for job in jobs:
            if job["draw"] is None:
                job["draw"] = job["rng"].random()
        numbers = choose(
            np.array([job["logits"] for job in jobs]),
            np.array([job["draw"] for job in jobs]),
            np.array([float(job["request"].temperature) for job in jobs]),
            np.array([float(job["request"].top_p) for job in jobs]),
        )
        for row, job, number in zip(rows, jobs, numbers, strict=True):
            job["draw"] = None
            self.drawn(row, job, int(number))

    def drawn(self, row, job, number):
        stream, end = job["stream"], self.bundle.end
        if end is not None and number == self.bundle.tokenizer.special_tokens[end]:
            self.finish(row, *stream.flush(), "stop")
            return
        job["unkept"] = number
        job["made"] += 1
        text, tokens = stream.push(told(number, job["logits"], job["request"].logprobs))
        if job["made"] >= job["request"].max_tokens:
            more, rest = stream.flush()
            text, tokens = text + more, (*tokens, *rest)
        if stream.stopped:
            self.finish(row, text, tokens, "stop")
        elif job["made"] >= job["request"].max_tokens:
            self.finish(row, text, tokens, "length")
        elif text != "" or tokens:
            self.told.append(Update(job["number"], text, tokens, None, job["made"]))

    def finish(self, row, text, tokens, why):
        job = self.places[row]
        self.leave(row)
        self.told.append(Update(job["number"], text, tokens, why, job["made"]))


def told(number, logits, count):
    """A Token with what is to be told of it."""
    if count is None:
        return Token(number)
    row = log_softmax(logits)
    best = sorted(range(len(row)), key=lambda other: (-row[other], other))[:count]
    return Token(number, float(row[number]), tuple((other, float(row[other])) for other in best))


# 20.6


class AsyncEngine:
    def __init__(self, engine):
        self.engine, self.closing, self.open = engine, False, []
        self.orders = queue.SimpleQueue()
        self.thread = None

    async def __aenter__(self):
        self.loop = asyncio.get_running_loop()
        self.thread = threading.Thread(target=self.work, daemon=True)
        self.thread.start()
        return self

    async def __aexit__(self, *exception):
        await self.close()

    async def close(self):
        self.closing = True
        if self.thread is not None:
            self.orders.put(("close", None, None))
            await self.loop.run_in_executor(None, self.thread.join)

    def submit(self, request):
        if self.closing:
            raise RuntimeError("closed")
        if self.thread is None:
            raise RuntimeError("closed until `async with` opens it")
        self.engine.check(request)
        if len(self.open) == self.engine.rows + self.engine.queue:
            raise QueueFull("full")
        stream = Stream(self)
        self.open.append(stream)
        self.orders.put(("submit", stream, request))
        return stream

    def work(self):
        streams, closing = {}, False
        while streams or not closing or not self.orders.empty():
            orders, answers = [], []
            if not streams:
                orders.append(self.orders.get())
            while not self.orders.empty():
                orders.append(self.orders.get())
            closing = closing or any(kind == "close" for kind, _, _ in orders)
            try:
                for kind, stream, request in orders:
                    if kind == "submit":
                        try:
                            stream.number = self.engine.submit(request)
                            streams[stream.number] = stream
                        except Exception as error:
                            answers.append((stream, error))
                    elif kind == "cancel" and stream.number in streams:
                        del streams[stream.number]
                        self.engine.cancel(stream.number)
                if streams:
                    for update in self.engine.step():
                        if update.number in streams:
                            answers.append((streams[update.number], update))
                            if update.finish:
                                del streams[update.number]
            except BaseException as error:
                failed = [*streams.values(), *(stream for kind, stream, _ in orders if kind == "submit")]
                answers += [(stream, error) for stream in {id(stream): stream for stream in failed}.values()]
                for number in streams:
                    self.engine.cancel(number)
                streams = {}
            for stream, answer in answers:
                self.loop.call_soon_threadsafe(stream.put, answer)


class Stream:
    def __init__(self, service):
        self.service, self.number, self.over = service, None, False
        self.answers, self.waiters = deque(), []

    async def __aenter__(self):
        return self

    async def __aexit__(self, *exception):
        self.cancel()

    def __aiter__(self):
        return self

    async def __anext__(self):
        while not self.over and not self.answers:
            waiter = self.service.loop.create_future()
            self.waiters.append(waiter)
            try:
                await waiter
            except asyncio.CancelledError:
                self.cancel()
                raise
        if self.over:
            raise StopAsyncIteration
        answer = self.answers.popleft()
        if not isinstance(answer, Update):
            self.end()
            raise answer
        if answer.finish is not None:
            self.end()
        return answer

    def put(self, answer):
        self.answers.append(answer)
        if not isinstance(answer, Update) or answer.finish is not None:
            self.free()
        self.wake()

    def wake(self):
        waiters, self.waiters = self.waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    def end(self):
        self.over = True
        self.answers.clear()
        self.wake()

    def free(self):
        if self in self.service.open:
            self.service.open.remove(self)
            return True
        return False

    def cancel(self):
        self.end()
        if self.free():
            self.service.orders.put(("cancel", self, None))


# 20.7


@dataclasses.dataclass(frozen=True)
class BuildConfig:
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


class Stage(namedtuple("Stage", ["name", "nbytes", "speed", "bits"])):
    def __str__(self):
        return f"{self.name:<12}{self.nbytes / 1e6:9.3f} MB{self.speed:9.0f} tokens/s{self.bits:8.3f} bits per byte"


END = "<|endoftext|>"
OPTIONS = ["batch_size", "epochs", "lr", "steps"]


def made_of(options, names):
    return type(options) is dict and sorted(options) == names


def build(config, folder, progress=None, tell=print):
    loads, distills = isinstance(config.model, str), not left_out(config.distill)
    if not loads and not made_of(config.train, OPTIONS):
        raise ValueError(f"train: {config.train!r}")
    if distills and not (made_of(config.distill, ["model", "train"]) and made_of(config.distill["train"], OPTIONS)):
        raise ValueError(f"distill: {config.distill!r}")
    try:
        if not left_out(config.prune) and (config.prune <= 0 or config.prune >= 1):
            raise ValueError(f"prune: {config.prune!r}")
    except TypeError:
        raise ValueError(f"prune: {config.prune!r} is no number") from None
    if not left_out(config.quantize) and config.quantize not in (8, 4):
        raise ValueError(f"quantize: {config.quantize!r}")
    with open(config.text, encoding="utf-8", newline="") as file:
        text = file.read()
    place = Path(os.path.realpath(folder))
    if not may_be_replaced(place):
        raise FileExistsError(str(place))
    cut = len(text) * 9 // 10
    learned, judged = text[:cut], text[cut:]
    rng = np.random.default_rng([config.seed, 20])
    name, chat = config.name, config.chat
    if loads:
        first = Bundle.load(config.model)
        model, tokenizer, end = plain(first.model), first.tokenizer, first.end
        name, chat = (own if new is None else new for own, new in ((first.name, name), (first.chat, chat)))
        weights = facts((Path(config.model) / "model.safetensors").read_bytes())
    else:
        tokenizer, end = BPETokenizer.train(learned, config.vocab_size, [END]), END
        model = GPT(GPTConfig(vocab_size=len(tokenizer.vocab), **config.model), rng)
    bundle = Bundle(model, tokenizer, "gpt" if name is None else name, end, chat)
    student = GPT(GPTConfig(vocab_size=len(tokenizer.vocab), **config.distill["model"]), rng) if distills else None
    ids, others = np.array(tokenizer.encode(learned, special=True)), np.array(tokenizer.encode(judged, special=True))
    key = json.dumps([weights if loads else config.model, config.vocab_size, config.train, config.distill, config.seed, text])
    key = hashlib.md5(key.encode(), usedforsecurity=False).hexdigest()
    if student and student.config.context > (math.inf if model.config.window else model.config.context):
        raise ValueError(f"distill: {config.distill!r} has a longer context than the teacher")
    learners = ([] if loads else [model]) + ([student] if distills else [])
    if len(others) < 2 or len(ids) <= max((learner.config.context for learner in learners), default=0):
        raise ValueError(f"the text {config.text} is too short")
    stages, used = [], []

    def stage(name, model, writes=generate):
        size = sum(array.nbytes for array in model.state_dict().values())
        entry = Stage(name, size, tokens_a_second(model, others, writes), bits(model, others) / len(judged.encode("utf-8")))
        stages.append(entry)
        tell(entry)

    def trained(name, model, objective, options):
        checkpoint = place.parent / f"{place.name}~{name}-{key}"
        used.append(checkpoint)
        steps = options["epochs"] * options["steps"]
        optimizer = flat(AdamW(model.parameter_groups(0.1), lr=options["lr"], betas=(0.9, 0.99)))
        trainer = Trainer(
            model,
            None,
            optimizer,
            objective=data_parallel(accelerate(objective)),
            schedule=cosine_schedule(steps, warmup_steps=steps // 20, final=0.05),
            clip_norm=1.0,
            progress=progress,
            checkpoint=checkpoint,
        )
        trainer.fit(Windows(ids, model.config.context, options["batch_size"], options["steps"], rng), options["epochs"])
        return plain(model)

    if loads:
        stage("load", model)
    else:
        model = trained("train", model, Objective(model, CrossEntropyLoss()), config.train)
        stage("train", model)
    if distills:
        objective = Distillation(student, model, criterion=CrossEntropyLoss())
        model = trained("distill", student, objective, config.distill["train"])
        stage("distill", model)
    if not left_out(config.prune):
        for block in model.transformer.h:
            prune_heads(block.attn, best(head_scores(block.attn), config.prune))
            prune_units(block.mlp, block.mlp.c_fc, best(unit_scores(block.mlp, block.mlp.c_fc), config.prune))
        stage("prune", model)
    if config.quantize:
        model = quantize(model, config.quantize)
        stage("quantize", model)
    if config.accelerate:
        model = accelerate(model)
        stage("accelerate", model)
    if config.cache:
        stage("cache", model, through_a_cache)
    bundle = Bundle(model, tokenizer, bundle.name, end, chat, bool(config.accelerate))
    bundle.save(place, bool(config.half))
    for checkpoint in used:
        os.remove(checkpoint)
    return bundle, stages


def left_out(value):
    return value is None or value is False


def plain(model):
    """The same weights in layers that no kata has exchanged."""
    state = model.state_dict()
    other = shaped(sizes_of(model, state))
    other.load_state_dict(state)
    return other


def best(scores, share):
    count = max(1, round(len(scores) * (1 - share)))
    return np.sort(np.argsort(-np.asarray(scores), kind="stable")[:count])


class Windows:
    def __init__(self, ids, length, batch_size, steps, rng):
        self.ids, self.length, self.batch_size, self.steps, self.rng = ids, length, batch_size, steps, rng

    def __len__(self):
        return self.steps

    def __iter__(self):
        starts = self.rng.integers(0, len(self.ids) - self.length, (self.steps, self.batch_size, 1))
        for rows in starts + np.arange(self.length):
            yield Tensor(self.ids[rows]), Tensor(self.ids[rows + 1])


def through_a_cache(model, prompt, tokens, temperature):
    return generate(Decoder(model), prompt, tokens, temperature, cache=KVCache.of(model, 1))


def tokens_a_second(model, ids, writes):
    context, found = model.config.context, []
    for _ in range(3):
        iterator = iter(writes(model, ids[: 1 + context // 4], 1 + context // 2, 0))
        start = time.perf_counter()
        count = sum(1 for _ in iterator)
        found.append(count / (time.perf_counter() - start))
    return max(found)


def bits(model, ids):
    total, context = 0.0, model.config.context
    inputs, targets = ids[:-1], ids[1:]
    for start in range(0, len(inputs), context):
        with no_grad():
            rows = log_softmax(model(inputs[start : start + context].reshape(1, -1)).data[0])
        for row, target in zip(rows, targets[start : start + context], strict=True):
            total -= row[target] / math.log(2)
    return total


# 20.8: ASGI without a library

HOSTS = ("localhost", "127.0.0.1", "[::1]")
PAGE = importlib.resources.files("katas").joinpath("20_capstone", "page.html")
CONNECTIONS, GRACE = 256, 30
ASKS = {"/v1/completions": False, "/v1/chat/completions": True}  # whether it is a chat
READS = ["/", "/healthz/live", "/healthz/ready", "/metrics", "/v1/models"]


class Problem(Exception):
    def __init__(self, status, message, param=None, code=None, headers=()):
        kind = "invalid_request_error" if status < 500 else "server_error"
        self.status, self.headers = status, headers
        self.content = {"error": {"message": message[:300], "type": kind, "param": param, "code": code}}


class Left(Exception):
    """The client has."""


def app(bundle, rows=16, queue=64, slice=64, keys=(), hosts=HOSTS, tokens=4096, body_bytes=1 << 20, body_seconds=10.0):
    return App(Engine(bundle, rows, queue, slice), keys, hosts, tokens, body_bytes, body_seconds)


class App:
    def __init__(self, engine, keys, hosts, tokens, body_bytes, body_seconds):
        from prometheus_client import CollectorRegistry, Counter, Histogram

        self.engine, self.bundle, self.state = engine, engine.bundle, types.SimpleNamespace(draining=False)
        self.keys = [b"Bearer " + key.encode() if key else secrets.token_bytes() for key in keys]
        self.hosts = [host.lower() for host in hosts]
        self.body_bytes, self.body_seconds, self.since = body_bytes, body_seconds, int(time.time())
        config = engine.model.config
        self.most = tokens if config.window else min(tokens, config.context)
        self.longest = self.most * max(len(part) for part in self.bundle.tokenizer.vocab.values())  # characters
        self.registry = CollectorRegistry()
        self.registry.register(self)
        seconds = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30]
        self.asked = Counter("kata_requests", "requests", ["path", "status"], registry=self.registry)
        self.moved = Counter("kata_tokens", "tokens", ["kind"], registry=self.registry)
        self.first, self.between = (
            Histogram(f"kata_{name}_seconds", "seconds", buckets=seconds, registry=self.registry)
            for name in ("first_token", "between_tokens")
        )

    def collect(self):
        """What prometheus_client asks a collector for."""
        from prometheus_client.core import GaugeMetricFamily

        yield GaugeMetricFamily("kata_running", "with a row", self.engine.running)
        yield GaugeMetricFamily("kata_waiting", "without one", self.engine.waiting)

    async def __call__(self, scope, receive, send):
        if scope["type"] == "lifespan":
            await receive()
            async with AsyncEngine(self.engine) as self.service:
                await send({"type": "lifespan.startup.complete"})
                await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        path, sent = scope["path"], []

        async def noted(message):
            if message["type"] == "http.response.start":
                sent.append(message["status"])
            await send(message)

        try:
            await self.respond(scope, receive, noted)
        except Problem as problem:
            await reply(noted, problem.status, problem.content, problem.headers)
        except Left:
            sent = sent or [499]
        except Exception:
            if not sent:
                await reply(noted, 500, Problem(500, "something broke", None, "internal_error").content)
            raise  # so the server logs it
        finally:
            self.asked.labels(path if path in (*ASKS, *READS) else "other", (sent or [500])[0]).inc()

    async def respond(self, scope, receive, send):
        headers, path, method = dict(scope["headers"]), scope["path"], scope["method"]
        if re.sub(r":\d*$", "", headers.get(b"host", b"").decode("latin-1").lower()) not in self.hosts:
            await reply(send, 400, b"unknown host", kind="text/plain; charset=utf-8")
            return
        if self.keys and path != "/" and not path.startswith("/healthz/"):
            given = headers.get(b"authorization", b"")
            if sum([secrets.compare_digest(key, given) for key in self.keys]) == 0:
                raise Problem(401, "no valid key", None, "invalid_api_key", [("WWW-Authenticate", "Bearer")])
        if path not in (*ASKS, *READS):
            raise Problem(404, "there is nothing here")
        allowed = "POST" if path in ASKS else "GET"
        if method != allowed:
            raise Problem(405, f"only {allowed}", headers=[("Allow", allowed)])
        if path in ASKS:
            await self.answer(headers, ASKS[path], receive, send)
        elif path == "/":
            page = PAGE.read_bytes()
            await reply(send, 200, page, policy(page), "text/html; charset=utf-8")
        elif path == "/metrics":
            from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

            await reply(send, 200, generate_latest(self.registry), kind=CONTENT_TYPE_LATEST)
        elif path == "/v1/models":
            model = {"id": self.bundle.name, "object": "model", "created": self.since, "owned_by": "me"}
            await reply(send, 200, {"object": "list", "data": [model]})
        else:
            await reply(send, 503 if path.endswith("ready") and self.state.draining else 200, {})

    async def answer(self, headers, chats, receive, send):
        kind = headers.get(b"content-type", b"").decode("latin-1").split(";")[0]
        if kind.strip().lower() != "application/json":
            raise Problem(415, "send application/json", None, "unsupported_media_type")
        body = await self.body(receive)
        try:
            fields = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise Problem(400, str(error), None, "invalid_json") from None
        if type(fields) is not dict:
            raise Problem(400, "send an object", None, "invalid_json")
        kind = ChatJob if chats else Job
        job = await asyncio.get_running_loop().run_in_executor(None, kind, self, fields)
        streams = []
        try:
            for request in job.requests:
                streams.append(self.begun(request))
            self.moved.labels("prompt").inc(job.read)
            updates = self.timed(following(streams, receive), len(streams))
            if job.fields.get("stream"):
                await self.stream(job, updates, send)
            else:
                async for index, update in updates:
                    job.choices[index].add(update)
                await reply(send, 200, job.whole())
        finally:
            for stream in streams:
                stream.cancel()

    async def body(self, receive):
        parts, end, more = [], time.monotonic() + self.body_seconds, True
        while more:
            try:
                message = await asyncio.wait_for(receive(), end - time.monotonic())
            except TimeoutError:
                raise Problem(408, "too slow", None, "request_timeout", [("Connection", "close")]) from None
            if message["type"] == "http.disconnect":
                raise Left
            parts.append(message.get("body", b""))
            more = message.get("more_body", False)
            if sum(map(len, parts)) > self.body_bytes:
                raise Problem(413, "too large", None, "request_too_large")
        return b"".join(parts)

    def begun(self, request):
        try:
            return self.service.submit(request)
        except QueueFull:
            raise Problem(429, "come back later", None, "queue_full", [("Retry-After", "2")]) from None
        except RuntimeError:
            raise Problem(503, "no more requests", None, "shutting_down") from None

    async def timed(self, updates, count):
        times, told = [time.monotonic()] * count, [0] * count
        async for index, update in updates:
            new = update.made - told[index]
            if new:
                elapsed = time.monotonic() - times[index]
                (self.between if told[index] else self.first).observe(elapsed)
                self.moved.labels("completion").inc(new)
                times[index] += elapsed
                told[index] = update.made
            yield index, update

    async def stream(self, job, updates, send):
        async def event(content):
            text = content if isinstance(content, str) else json.dumps(content)
            await send({"type": "http.response.body", "body": f"data: {text}\n\n".encode(), "more_body": True})

        headers = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-cache"), (b"x-accel-buffering", b"no")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        try:
            for content in job.opening():
                await event(content)
            async for index, update in updates:
                for content in job.parts(index, update):
                    await event(content)
            for content in job.closing():
                await event(content)
            await event("[DONE]")
        except Left:
            raise
        except Exception:
            logging.getLogger("uvicorn.error").exception("in the middle of a stream")
            await event(Problem(500, "something broke", None, "internal_error").content)
        await send({"type": "http.response.body", "body": b""})


async def reply(send, status, content, headers=(), kind="application/json"):
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    headers = [("Content-Type", kind), ("Content-Length", str(len(body))), *headers]
    raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": body})


def policy(page):
    rules = dict.fromkeys(("default-src", "base-uri", "form-action", "frame-ancestors"), "'none'")
    rules |= {"connect-src": "'self'", "img-src": "data:"}
    for tag in (b"script", b"style"):
        hashes, start = [], page.find(b"<" + tag)
        while start >= 0:
            begin, end = page.index(b">", start) + 1, page.index(b"</" + tag, start)
            hashes.append(base64.b64encode(hashlib.sha256(page[begin:end]).digest()).decode())
            start = page.find(b"<" + tag, end)
        rules[tag.decode() + "-src"] = " ".join(f"'sha256-{one}'" for one in hashes) or "'none'"
    told = ";".join(f"{name} {value}" for name, value in rules.items())
    return [("Content-Security-Policy", told), ("X-Content-Type-Options", "nosniff"), ("Referrer-Policy", "no-referrer")]


async def next_of(stream):
    """An update, or what the engine raised: a task that raises SystemExit would end the server."""
    try:
        return await stream.__anext__()
    except asyncio.CancelledError:
        raise
    except BaseException as error:
        return error


async def following(streams, receive):
    """(index, update) as they come. Whoever is first is heard: a stream, or the client, which can only leave."""
    waits = {asyncio.ensure_future(receive()): None}
    waits |= {asyncio.ensure_future(next_of(stream)): index for index, stream in enumerate(streams)}
    try:
        while len(waits) > 1:
            done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            if any(waits[one] is None for one in done):
                raise Left
            for one in done:
                update, index = await one, waits[one]
                del waits[one]
                if isinstance(update, BaseException):
                    raise RuntimeError("the engine failed") from update
                if update.finish is None:
                    waits[asyncio.ensure_future(next_of(streams[index]))] = index
                yield index, update
    finally:
        for one in waits:
            one.cancel()
        await asyncio.gather(*waits, return_exceptions=True)


def natural(value):
    return type(value) is int and value >= 0


def stops(value):
    texts = [value] if type(value) is str else value
    return type(texts) is list and len(texts) <= 4 and all(type(text) is str and text for text in texts)


RULES = {
    "model": lambda value: type(value) is str,
    "n": lambda value: natural(value) and value > 0,
    "max_tokens": natural,
    "temperature": lambda value: real(value) and value >= 0,
    "top_p": lambda value: real(value) and 0 < value <= 1,
    "seed": natural,
    "stop": stops,
    "stream": lambda value: type(value) is bool,
    "stream_options": lambda value: type(value) is dict,
    "user": lambda value: type(value) is str,
}
CHANGES_NOTHING = [
    *[("best_of", 1), ("frequency_penalty", 0), ("presence_penalty", 0), ("logit_bias", {}), ("suffix", ""), ("store", False)],
    *[("metadata", {}), ("tools", []), ("tool_choice", "none"), ("response_format", {"type": "text"})],
]


class Job:
    RULES = RULES | {
        "prompt": lambda value: type(value) in (str, list),
        "echo": lambda value: type(value) is bool,
        "logprobs": lambda value: natural(value) and value <= 5,
    }
    SOURCE, ID, WHOLE, PART = "prompt", "cmpl", "text_completion", "text_completion"

    def __init__(self, app, fields):
        self.app, self.bundle = app, app.bundle
        self.fields = fields = {name: fields[name] for name in fields if fields[name] is not None}
        for name in fields:
            if name in self.RULES:
                if not self.RULES[name](fields[name]):
                    raise Problem(400, f"{name} is wrong", name)
            elif (name, fields[name]) not in CHANGES_NOTHING or (type(fields[name]) is bool) != (name == "store"):
                raise Problem(400, f"{name} is not known", name, "unsupported_parameter")
        for name in ("model", self.SOURCE):
            if name not in fields:
                raise Problem(400, f"where is {name}?", name)
        if fields["model"] != self.bundle.name:
            raise Problem(404, "no such model", "model", "model_not_found")
        rows, n = self.rows(), fields.get("n", 1)
        if n * len(rows) > app.engine.rows + app.engine.queue:
            raise Problem(400, "n is too large", "n")
        try:
            encoded = [self.encoded(row) for row in rows]
            self.requests = [self.request(ids, i) for ids in encoded for i in range(n)]
        except ValueError as error:
            raise Problem(400, str(error), self.SOURCE) from None
        self.read, self.choices = sum(len(ids) for ids in encoded), [Choice(self) for _ in self.requests]
        self.head = {"id": f"{self.ID}-{secrets.token_hex(9)}", "created": int(time.time()), "model": self.bundle.name}

    def rows(self):
        prompt = self.fields["prompt"]
        return prompt if type(prompt) is list and any(type(one) is not int for one in prompt) else [prompt]

    def encoded(self, row):
        if type(row) is str:
            self.bound(len(row))
            return self.bundle.tokenizer.encode(row)
        if type(row) is not list or any(type(one) is not int for one in row):
            raise ValueError("what is no text must be ids")
        return row

    def bound(self, characters):
        if characters > self.app.longest:
            self.too_long()

    def too_long(self):
        told = f"{self.app.most} tokens at most, with those of the answer"
        raise Problem(400, told, self.SOURCE, "context_length_exceeded")

    def request(self, ids, i):
        room = self.app.most - len(ids)
        settings = {name: self.fields[name] for name in ("temperature", "top_p") if name in self.fields}
        settings |= self.settings(room)
        if settings["max_tokens"] > room:
            self.too_long()
        seed = self.fields["seed"] + i if "seed" in self.fields else None
        request = Request(ids, seed=seed, **settings)
        self.app.engine.check(request)
        return request

    def settings(self, room):
        own = {name: self.fields[name] for name in ("stop", "echo", "logprobs") if name in self.fields}
        return own | {"max_tokens": self.fields.get("max_tokens", 16)}

    def tells(self):
        return "logprobs" in self.fields

    def whole(self):
        told = [
            {"index": i, **self.said(choice.text), "logprobs": self.logprobs(choice.tokens), "finish_reason": choice.finish}
            for i, choice in enumerate(self.choices)
        ]
        return self.head | {"object": self.WHOLE, "choices": told, "usage": self.usage()}

    def usage(self):
        made = sum(choice.made for choice in self.choices)
        return {"prompt_tokens": self.read, "completion_tokens": made, "total_tokens": made + self.read}

    def counts(self):
        return self.fields.get("stream_options", {}).get("include_usage") is True

    def event(self, choices, usage=None):
        told = self.head | {"object": self.PART, "choices": choices}
        return {**told, "usage": usage} if self.counts() else told

    def part(self, i, said, tokens=(), finish=None):
        return self.event([{"index": i, **said, "logprobs": self.logprobs(tokens), "finish_reason": finish}])

    def opening(self):
        return []

    def parts(self, i, update):
        tokens = self.choices[i].add(update)
        if update.text or (tokens and self.tells()):
            yield self.part(i, self.new(update.text), tokens)
        if update.finish is not None:
            yield self.part(i, self.new(""), finish=update.finish)

    def closing(self):
        if self.counts():
            yield self.event([], self.usage())

    def said(self, text):
        return {"text": text}

    def new(self, text):
        return {"text": text}

    def logprobs(self, tokens):
        if not tokens or not self.tells():
            return None
        told = {"tokens": [], "token_logprobs": [], "top_logprobs": [], "text_offset": []}
        for token, place in tokens:
            told["tokens"].append(self.named(token.id))
            told["token_logprobs"].append(token.logprob)
            pairs = [*token.top, (token.id, token.logprob)]
            told["top_logprobs"].append(token.logprob if token.logprob is None else {self.named(a): b for a, b in pairs})
            told["text_offset"].append(place)
        return told

    def named(self, number):
        part = self.bundle.tokenizer.vocab[number]
        text = part.decode(errors="replace")
        return text if text.encode() == part else "bytes:" + "".join(f"\\x{byte:02x}" for byte in part)


class ChatJob(Job):
    RULES = RULES | {
        "messages": lambda value: type(value) is list,
        "logprobs": lambda value: type(value) is bool,
        "top_logprobs": lambda value: natural(value) and value <= 5,
        "max_completion_tokens": natural,
    }
    SOURCE, ID, WHOLE, PART = "messages", "chatcmpl", "chat.completion", "chat.completion.chunk"

    def rows(self):
        if "top_logprobs" in self.fields and not self.tells():
            raise Problem(400, "top_logprobs without logprobs", "top_logprobs")
        return [self.fields["messages"]]

    def encoded(self, row):
        if not row or any(type(message) is not dict for message in row):
            raise ValueError("a message is an object")
        self.bound(sum(len(message["content"]) for message in row if type(message.get("content")) is str))
        return self.bundle.chat_ids(row)

    def settings(self, room):
        given, after = self.fields.get("stop", []), self.bundle.chat["assistant"][1]
        stop = ([given] if type(given) is str else given) + ([after] if after else [])
        limit = self.fields.get("max_completion_tokens", self.fields.get("max_tokens", max(room, 1)))
        return {"stop": stop, "max_tokens": limit, "logprobs": self.fields.get("top_logprobs", 0) if self.tells() else None}

    def tells(self):
        return self.fields.get("logprobs", False)

    def opening(self):
        return [self.part(i, {"delta": {"role": "assistant", "content": ""}}) for i in range(len(self.requests))]

    def said(self, text):
        return {"message": {"role": "assistant", "content": text}}

    def new(self, text):
        return {"delta": {"content": text} if text else {}}

    def logprobs(self, tokens):
        if not tokens or not self.tells():
            return None
        return {"content": [self.entry(token.id, token.logprob, token.top) for token, _ in tokens]}

    def entry(self, number, logprob, top=None):
        part = self.bundle.tokenizer.vocab[number]
        told = {"token": part.decode(errors="replace"), "logprob": logprob, "bytes": list(part)}
        return told if top is None else {**told, "top_logprobs": [self.entry(*one) for one in top]}


class Choice:
    def __init__(self, job):
        self.vocab, self.text, self.tokens, self.made, self.finish, self.length = job.bundle.tokenizer.vocab, "", [], 0, None, 0

    def add(self, update):
        """The update's tokens, with the character that has the first byte of each."""
        parts = [self.vocab[token.id] for token in update.tokens]
        owners, characters = owning(b"".join(parts))
        starts = itertools.accumulate((len(part) for part in parts), initial=0)
        tokens = [(token, self.length + owners[start]) for token, start in zip(update.tokens, starts, strict=False)]
        self.length += characters
        self.text, self.made, self.finish = self.text + update.text, update.made, update.finish
        self.tokens += tokens
        return tokens


def owning(content):
    """The character to which each byte belongs, and how many characters there are."""
    decoder, owners, whole = codecs.getincrementaldecoder("utf-8")("replace"), [], 0
    for i in range(len(content)):
        whole += len(decoder.decode(content[i : i + 1]))
        pending, _ = decoder.getstate()
        owners.append(whole if pending else whole - 1)
    return owners, len(content.decode(errors="replace"))


def serve(bundle, host="127.0.0.1", port=8000, keys=(), hosts=HOSTS):
    import threadpoolctl
    import uvicorn

    served = app(bundle, keys=keys, hosts=hosts)

    class Server(uvicorn.Server):
        def handle_exit(self, number, frame):
            served.state.draining = True
            threading.Timer(1, super().handle_exit, (number, frame)).start()

    config = uvicorn.Config(served, host=host, port=port, limit_concurrency=CONNECTIONS, timeout_graceful_shutdown=GRACE)
    with threadpoolctl.threadpool_limits(1, user_api="blas"), contextlib.suppress(KeyboardInterrupt):
        Server(config).run()


# 20.9


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="katas.capstone")
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("build")
    command.set_defaults(call=built)
    command.add_argument("config")
    command.add_argument("folder")
    command = commands.add_parser("generate")
    command.set_defaults(call=written)
    command.add_argument("folder")
    command.add_argument("prompt")
    command.add_argument("--max-tokens", type=int, default=100)
    command.add_argument("--temperature", type=float, default=1.0)
    command.add_argument("--top-p", type=float, default=1.0)
    command.add_argument("--seed", type=int)
    command.add_argument("--stop", action="append")
    command = commands.add_parser("serve")
    command.set_defaults(call=serving)
    command.add_argument("folder")
    command.add_argument("--host", default="127.0.0.1")
    command.add_argument("--port", type=int, default=8000)
    command.add_argument("--allow-host", action="append")
    given = parser.parse_args(arguments)
    try:
        given.call(given)
    except (OSError, ValueError, TypeError) as error:
        raise SystemExit(str(error) or type(error).__name__) from None


def built(given):
    with open(given.config, encoding="utf-8") as file:
        fields = json.load(file)
    build(BuildConfig(**fields), given.folder, progress=Progress())


def written(given):
    bundle = Bundle.load(given.folder)
    request = Request(
        bundle.tokenizer.encode(given.prompt),
        given.max_tokens,
        given.temperature,
        given.top_p,
        given.seed,
        given.stop or (),
    )
    engine = Engine(bundle, rows=1, queue=0)
    engine.submit(request)
    write = functools.partial(print, end="", flush=True)
    while engine.running + engine.waiting > 0:
        for update in engine.step():
            write(update.text)
    write("\n")


def serving(given):
    listed = os.getenv("KATA_API_KEYS", "")
    keys = [key.strip() for key in listed.split(",")] if listed else []
    serve(Bundle.load(given.folder), given.host, given.port, keys, [given.host, *HOSTS, *(given.allow_host or ())])


if __name__ == "__main__":
    main(sys.argv[1:])
