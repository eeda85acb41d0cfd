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
        for name, kind in (("name", str), ("accelerated", bool)):
            if not isinstance(getattr(self, name), kind):
                raise ValueError(f"{name} can't be {getattr(self, name)!r}")
        size, vocab = self.model.config.vocab_size, self.tokenizer.vocab
        for number in sorted(set(range(size)) ^ vocab.keys()):
            raise ValueError(f"the model has {size} ids, the tokenizer {len(vocab)}: only one of them has {number}")
        if self.end is not None and self.end not in self.tokenizer.special_tokens:
            raise ValueError(f"end {self.end!r} is no special token of the tokenizer")
        if self.chat is not None:
            if not isinstance(self.chat, dict):
                raise ValueError(f"chat can't be {self.chat!r}")
            for role, around in self.chat.items():
                if not isinstance(role, str):
                    raise ValueError(f"chat: a role can't be {role!r}")
                if not isinstance(around, list | tuple) or [*map(type, around)] != [str, str]:
                    raise ValueError(f"chat: {role!r} needs two texts, before and after a message, not {around!r}")
            if "assistant" not in self.chat:
                raise ValueError(f"chat needs an 'assistant', but has only {[*self.chat]}")
            object.__setattr__(self, "chat", {role: tuple(around) for role, around in self.chat.items()})

    def chat_ids(self, messages: Iterable[dict]) -> list[int]:
        """The ids of a conversation, [{"role": …, "content": …}, …], up to where the assistant's next message begins.

        Special tokens count in the template only, so that no message can forge one.
        Raises: ValueError that contains a role that is not in `chat`; "role" or "content" if a message has no such text; or
        if there is no chat.
        """
        if self.chat is None:
            raise ValueError(f"the bundle {self.name!r} has no chat template")
        ids = []
        for message in messages:
            for field in ("role", "content"):
                if not isinstance(message.get(field), str):
                    raise ValueError(f"the {field} of a message can't be {message.get(field)!r}")
            if message["role"] not in self.chat:
                raise ValueError(f"there is no role {message['role']!r}, only {[*self.chat]}")
            before, after = (self.tokenizer.encode(text, special=True) for text in self.chat[message["role"]])
            ids += before + self.tokenizer.encode(message["content"]) + after
        return ids + self.tokenizer.encode(self.chat["assistant"][0], special=True)

    def save(self, folder: str | os.PathLike, half: bool = False) -> None:
        """Writes the folder, as a whole or not at all: whatever happens, `load` finds the old bundle or the new one.

        half: floats are stored as float16. Raises, and leaves the old one: FileExistsError that contains the folder if it holds
        anything but a bundle; ValueError that contains the names of arrays that are not finite, or that no GPT of the model's
        config has; "config.json" if that would be longer than CONFIG_BYTES; OSError.
        """
        from safetensors.numpy import save

        folder = Path(folder).resolve()
        new, old = _beside(folder, "new"), _beside(folder, "old")
        state = half_state(self.model.state_dict()) if half else self.model.state_dict()
        sizes = _sizes(self.model, state)
        _check_arrays({name: (str(array.dtype), array.shape) for name, array in state.items()}, sizes)
        if infinite := [name for name, array in state.items() if not (name.endswith("limits") or np.isfinite(array).all())]:
            raise ValueError(f"not finite: {', '.join(infinite)}")
        _recover(folder, old)
        _check_place(folder)
        try:
            self.tokenizer.save(new)  # over what a killed process left
            _write(new / "model.safetensors", save({name: np.ascontiguousarray(array) for name, array in state.items()}))
            config = {name: getattr(self, name) for name in ("name", "end", "chat", "accelerated")}
            config |= {"format": FORMAT, "version": VERSION, "sizes": sizes}
            config["files"] = {name: _facts(new / name) for name in FILES}
            config["checksum"] = _checksum(config)
            content = json.dumps(config, indent=1).encode()
            if len(content) > CONFIG_BYTES:
                raise ValueError(
                    f"{CONFIG} would have {len(content)} bytes, of which {CONFIG_BYTES} are read: chat is too long"
                )
            _write(new / CONFIG, content)
            if folder.exists():
                os.rename(folder, old)
            os.rename(new, folder)
        except BaseException:
            _recover(folder, old)
            shutil.rmtree(new, ignore_errors=True)
            raise
        shutil.rmtree(old, ignore_errors=True)

    @classmethod
    def load(cls, folder: str | os.PathLike) -> "Bundle":
        """The bundle that `save` wrote. What config.json claims is compared with the files before any array is made.

        Raises: FileNotFoundError that contains the file that is missing; ValueError that contains the file that was altered, is
        no regular file of this folder, is of another version, or claims sizes that the files do not have.
        """
        from safetensors import SafetensorError, safe_open

        folder = Path(folder).resolve()
        if not folder.exists() and _beside(folder, "old").exists():  # a save was killed between its two renames
            folder = _beside(folder, "old")
        for name in (CONFIG, *FILES):
            _check_regular(folder / name)
        config = _read_config(folder / CONFIG)
        try:
            for name, claims in config["files"].items():
                if folder.joinpath(name).stat().st_size != claims["bytes"] or _facts(folder / name) != claims:
                    raise ValueError(f"{name} is cut off, or was altered")
            with safe_open(folder / "model.safetensors", framework="numpy") as file:
                parts = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
                found = {name: (_DTYPES.get(part.get_dtype()), tuple(part.get_shape())) for name, part in parts.items()}
                _check_arrays(found, config["sizes"])
                tokenizer, model = BPETokenizer.load(folder), _shaped(config["sizes"])
                model.load_state_dict({name: file.get_tensor(name) for name in found})
            if config["accelerated"]:
                accelerate(model)
            if _read_config(folder / CONFIG) != config:
                raise ValueError("the bundle was replaced while it was read")
            return cls(model, tokenizer, **{name: config[name] for name in ("name", "end", "chat", "accelerated")})
        except (AttributeError, KeyError, TypeError, ValueError, SafetensorError) as error:
            raise ValueError(f"{folder / CONFIG} does not fit its files, or they are damaged: {error}") from error


_BITS = {"int8": 8, "uint8": 4}  # of quantized weights, by the dtype of their values
_DTYPES = {"F32": "float32", "F16": "float16", "I8": "int8", "U8": "uint8"}


def _beside(folder: Path, kind: str) -> Path:
    return folder.with_name(f".{folder.name}.{kind}")


def _check_place(folder: Path) -> None:
    if folder.exists() and not _replaceable(folder):
        raise FileExistsError(f"{folder} holds something else than a bundle: it is not replaced")


def _replaceable(folder: Path) -> bool:
    """Whether it is a bundle or an empty folder. Other tools' folders hold files of the same names."""
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else {""}
    if CONFIG in names <= {CONFIG, *FILES} and (folder / CONFIG).is_file():
        return FORMAT.encode() in (folder / CONFIG).read_bytes()
    return not names


def _recover(folder: Path, old: Path) -> None:
    """Between the two renames of `save` there is nothing at the folder's place: then the old one goes back."""
    if old.exists() and not folder.exists():
        os.rename(old, folder)
    shutil.rmtree(old, ignore_errors=True)


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _facts(path: Path) -> dict:
    with path.open("rb") as file:
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def _checksum(config: dict) -> str:
    """Of all of config.json but the checksum itself."""
    rest = {name: value for name, value in config.items() if name != "checksum"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def _check_regular(path: Path) -> None:
    if not os.path.lexists(path):
        raise FileNotFoundError(f"{path} is missing")
    if not stat.S_ISREG(path.lstat().st_mode):
        raise ValueError(f"{path} is no regular file: nothing outside a bundle's folder is read")


def _read_config(path: Path) -> dict:
    if path.stat().st_size > CONFIG_BYTES:
        raise ValueError(f"{path} has {path.stat().st_size} bytes: more than {CONFIG_BYTES} are not read")
    try:
        config = json.loads(path.read_bytes())
        if config["format"] != FORMAT or config["version"] != VERSION:
            raise ValueError(f"{config['format']!r}, version {config['version']!r}, is not {FORMAT!r}, version {VERSION}")
        for name, kind in (("version", int), ("files", dict)):
            if type(config[name]) is not kind:
                raise ValueError(f"{name} can't be {config[name]!r}")
        if sorted(config["files"]) != sorted(FILES):
            raise ValueError(f"the files are {sorted(config['files'])}, not {sorted(FILES)}")
        if config["checksum"] != _checksum(config):
            raise ValueError("it was altered: its checksum is another")
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"{path}: {error}") from error
    return config


def _sizes(model: GPT, state: dict[str, np.ndarray]) -> dict:
    """What a GPT must be made of for this state: its config, heads and neurons of each block, the dtype of its weights."""
    weights = next(str(array.dtype) for name, array in state.items() if name.startswith("transformer.wte.weight"))
    heads = [block.attn.n_head for block in model.transformer.h]
    neurons = [block.mlp.c_fc.out_features for block in model.transformer.h]
    return {"model": dataclasses.asdict(model.config), "heads": heads, "neurons": neurons, "weights": weights}


def _check_arrays(found: dict[str, tuple], sizes: dict) -> None:
    """Compares names, dtypes and shapes with those of a GPT's state_dict, by arithmetic: no array is made."""
    config, weights = GPTConfig(**sizes["model"]), sizes["weights"]
    width, size, last = config.d_model, config.d_model // config.n_head, "transformer.ln_f.weight"
    floats = found.get(last, ("float32",))[0] if weights in _BITS else weights  # what is not quantized may be half
    if weights not in ("float32", "float16", *_BITS) or floats not in ("float32", "float16"):
        raise ValueError(f"transformer.wte.weight, {last}: weights can't be {weights} with {floats}")
    if config.n_layer > len(found):  # so all that follows takes as long as the file is
        raise ValueError(f"n_layer is {config.n_layer}, but there are only {len(found)} arrays")
    for name, part, most in (("heads", "attn.c_attn", config.n_head), ("neurons", "mlp.c_fc", 4 * width)):
        if len(sizes[name]) != config.n_layer:
            raise ValueError(f"n_layer is {config.n_layer}, but {name} are told of {len(sizes[name])} blocks")
        for layer, value in enumerate(sizes[name]):
            if not _is_integer(value) or not 1 <= value <= most:
                raise ValueError(f"transformer.h.{layer}.{part}.weight can't have {value!r} {name}: only 1 to {most}")
    for name in ("context", "window"):
        if (length := getattr(config, name)) is not None and length > LONGEST and config.positions != "learned":
            raise ValueError(f"{name} {length} is more than {LONGEST}")
    blocks, matrices = [f"transformer.h.{layer}." for layer in range(config.n_layer)], {}
    for block, heads, neurons in zip(blocks, sizes["heads"], sizes["neurons"], strict=True):
        matrices |= {f"{block}attn.c_attn": (3 * heads * size, width), f"{block}attn.c_proj": (width, heads * size)}
        matrices |= {f"{block}mlp.c_fc": (neurons, width), f"{block}mlp.c_proj": (width, neurons)}
    norms = [*(block + name for block in blocks for name in ("ln_1", "ln_2")), "transformer.ln_f"]
    wanted = {f"{name}.weight": (floats, (width,)) for name in norms}
    if config.bias:
        wanted |= {f"{name}.bias": (floats, shape[:1]) for name, shape in matrices.items()}
        wanted |= {f"{name}.bias": (floats, (width,)) for name in norms if config.norm == "layer"}
    if config.positions == "learned":
        wanted["transformer.wpe.weight"] = (floats, (config.context, width))
    if weights in _BITS:
        wanted |= {f"{name}.limits": (floats, (2,)) for name in (*matrices, "lm_head")}
    for name, (rows, columns) in {"transformer.wte": (config.vocab_size, width), **matrices}.items():
        wanted |= {
            "int8": {f"{name}.weight.values": ("int8", (rows, columns)), f"{name}.weight.scale": (floats, (rows, 1))},
            "uint8": {
                f"{name}.weight.values": ("uint8", (rows, -(-columns // 2))),
                f"{name}.weight.scale": ("float16", (rows, -(-columns // GROUP))),
            },
        }.get(weights, {f"{name}.weight": (floats, (rows, columns))})
    others = [name for name in sorted(wanted.keys() | found.keys()) if wanted.get(name) != found.get(name)]
    for name in others:
        raise ValueError(
            f"{', '.join(others)} are not those of {config}: the first is {found.get(name)}, not {wanted.get(name)}"
        )


def _shaped(sizes: dict) -> GPT:
    """A GPT into which a state of these sizes fits."""
    model = GPT(GPTConfig(**sizes["model"])).eval()
    for block, heads, neurons in zip(model.transformer.h, sizes["heads"], sizes["neurons"], strict=True):
        if heads != block.attn.n_head:
            prune_heads(block.attn, range(heads))
        if neurons != block.mlp.c_fc.out_features:
            prune_units(block.mlp, block.mlp.c_fc, range(neurons))
    return quantize(model, _BITS[sizes["weights"]]) if sizes["weights"] in _BITS else model


def _plain(model: GPT) -> GPT:
    """A copy without kata 15's layers: kata 17 and 18 exchange layers by their exact types."""
    state = model.state_dict()
    plain = _shaped(_sizes(model, state))
    plain.load_state_dict(state)
    return plain


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
        object.__setattr__(self, "prompt", tuple(map(operator.index, self.prompt)))
        if isinstance(self.stop, Iterable):
            object.__setattr__(self, "stop", (self.stop,) if isinstance(self.stop, str) else tuple(self.stop))
        for name, fits in [
            ("prompt", len(self.prompt) > 0),
            ("max_tokens", _is_integer(self.max_tokens) and self.max_tokens >= 0),
            ("temperature", _is_number(self.temperature) and 0 <= self.temperature <= sys.float_info.max),
            ("top_p", _is_number(self.top_p) and 0 < self.top_p <= 1),
            ("seed", self.seed is None or (_is_integer(self.seed) and self.seed >= 0)),
            ("stop", isinstance(self.stop, tuple) and all(isinstance(text, str) and text for text in self.stop)),
            ("logprobs", self.logprobs is None or (_is_integer(self.logprobs) and 0 <= self.logprobs <= 5)),
        ]:
            if not fits:
                raise ValueError(f"{name} can't be {getattr(self, name)!r}")


def _is_integer(value) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _is_number(value) -> bool:
    return isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)


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
    greedy = temperature == 0
    with np.errstate(over="ignore"):  # of tiny temperatures
        p = logits.astype(np.float64) - logits.max(1, keepdims=True)
        p /= np.where(greedy, 1, temperature)[:, None]
        np.exp(p, p)
    cut = np.flatnonzero((top_p < 1) & ~greedy)
    if cut.size:
        tried = p[cut]
        best = np.sort(tried, 1)[:, ::-1]
        before = np.cumsum(np.pad(best, ((0, 0), (1, 0)))[:, :-1], 1)
        count = (before < (top_p[cut] * best.sum(1))[:, None]).sum(1, keepdims=True)
        least = np.take_along_axis(best, count - 1, 1)
        above, equal = tried > least, tried == least
        kept = above | (equal & (np.cumsum(equal, 1) <= count - above.sum(1, keepdims=True)))
        p[cut] = np.where(kept, tried, 0)
    return np.where(greedy, logits.argmax(1), _first_above(p, draws))


def _first_above(p: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """The first id of each row whose cumulative sum is above draw · the sum of all.

    First by sums of blocks, then in the one block: in a cumulative sum each addition waits for the one before.
    """
    if p.shape[1] % _BLOCK:
        p = np.pad(p, ((0, 0), (0, -p.shape[1] % _BLOCK)))
    blocks, rows = p.reshape(len(p), p.shape[1] // _BLOCK, _BLOCK), np.arange(len(p))
    ends = np.cumsum(blocks @ np.ones(_BLOCK), 1)
    goal = draws[:, None] * ends[:, -1:]
    block = (ends > goal).argmax(1)
    inside = np.cumsum(blocks[rows, block], 1)
    goal -= np.where(block > 0, ends[rows, block - 1], 0)[:, None]
    goal = np.minimum(goal, np.nextafter(inside[:, -1:], 0))  # the sum in another order may be smaller by rounding
    return _BLOCK * block + (inside > goal).argmax(1)


_BLOCK = 32


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """logits (…, vocab_size) → log-probabilities, float64."""
    shifted = logits.astype(np.float64) - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def _token(number: int, logits: np.ndarray | None, top: int | None) -> Token:
    if top is None or logits is None:  # before the first token there are none
        return Token(number)
    logprobs = log_softmax(logits)
    best = np.argsort(-logprobs, kind="stable")[:top] if top else ()
    return Token(number, float(logprobs[number]), tuple([(int(other), float(logprobs[other])) for other in best]))


# 20.4 Text


class TextStream:
    """Text of tokens that come one by one: each part as soon as it is certain that it belongs to no stop string."""

    def __init__(self, tokenizer: BPETokenizer, stop: Sequence[str] = (), texts: Mapping[int, str] = MappingProxyType({})):
        """stopped says whether a stop string came. texts: those of tokens that are whole characters, which saves time."""
        self.tokenizer, self.stop, self.texts, self.stopped = tokenizer, tuple(stop), texts, False
        self._ids, self._taken = [], 0  # tokens since the last whole character; how much of their text was taken
        self._held = ""  # what may still become a stop string
        self._tokens, self._seen, self._sent = deque(), 0, 0  # (token, where its text ends), in characters of the answer

    def push(self, token: Token) -> tuple[str, tuple[Token, ...]]:
        """The text that may be sent now, and the tokens of which no part is held back."""
        new, half = None if self._ids else self.texts.get(token.id), ""
        if new is None:
            self._ids.append(token.id)
            text, half = self._text()
            new, self._taken = text[self._taken :], len(text)
            if not half:
                self._ids, self._taken = [], 0
        self._tokens.append((token, self._seen + len(new) + bool(half)))
        return self._passed(new, final=False)

    def flush(self) -> tuple[str, tuple[Token, ...]]:
        """The rest, at the end of the tokens: what was held back, and U+FFFD for half a character."""
        rest = self._text()[1]
        self._ids, self._taken = [], 0
        return self._passed(rest, final=True)

    def _text(self) -> tuple[str, str]:
        """Text of the tokens since the last whole character: what is certain, and what the end of the stream would add."""
        ended, parts = [], ([], [])

        def source():
            yield from self._ids
            ended.append(True)

        for text in self.tokenizer.decode_stream(source()):
            parts[bool(ended)].append(text)
        return "".join(parts[0]), "".join(parts[1])

    def _passed(self, new: str, final: bool) -> tuple[str, tuple[Token, ...]]:
        if self.stopped:
            return "", ()
        self._seen += len(new)
        out = self._held + new
        for end in range(len(self._held) + 1, len(out) + 1) if self.stop else ():
            if found := [stop for stop in self.stop if out.endswith(stop, 0, end)]:
                self.stopped, self._held, out = True, "", out[: end - max(map(len, found))]
                break
        else:
            kept = 0 if final else max([_opening(out, stop) for stop in self.stop], default=0)
            out, self._held = out[: len(out) - kept], out[len(out) - kept :]
        self._sent += len(out)
        tokens = []
        while self._tokens and self._tokens[0][1] <= self._sent:
            tokens.append(self._tokens.popleft()[0])
        return out, tuple(tokens)


def _whole_texts(tokenizer: BPETokenizer) -> dict[int, str]:
    """The texts of the tokens that are whole characters, by id."""
    texts = {number: token.decode(errors="ignore") for number, token in tokenizer.vocab.items()}
    return {number: text for number, text in texts.items() if text.encode() == tokenizer.vocab[number]}


def _opening(text: str, stop: str) -> int:
    """How many characters at the end of the text are the beginning of the stop string."""
    lengths = range(min(len(stop) - 1, len(text)), 0, -1)
    return next((length for length in lengths if text.endswith(stop[:length])), 0)


# 20.5 Engine


class _Job:
    """A request on its way: how much of its prompt was read, and what comes next."""

    def __init__(self, number: int, request: Request, tokenizer: BPETokenizer, texts: Mapping[int, str]):
        self.number, self.request = number, request
        self.rng, self.stream = np.random.default_rng(request.seed), TextStream(tokenizer, request.stop, texts)
        self.read, self.made, self.row = 0, 0, None
        self.next: int | None = None  # a token that is not in the cache yet
        self.draw = self.rng.random()  # for the token after it
        self.echoed: list[Token] = []
        self.logits: np.ndarray | None = None  # after the last token that was read


class Engine:
    """Answers requests, `rows` at a time, by steps: each reads a slice of prompts, and gives every text one more token.

    A request joins when a row is free and leaves when it is done or cancelled. queue: how many may wait. slice: how many tokens
    of prompts a step reads. These are attributes.
    """

    def __init__(self, bundle: Bundle, rows: int = 16, queue: int = 64, slice: int = 64):
        """Puts the model into eval mode. Raises: ValueError that contains the name and value of a size that is too small."""
        for name, value, least in (("rows", rows, 1), ("queue", queue, 0), ("slice", slice, 1)):
            if not _is_integer(value) or value < least:
                raise ValueError(f"{name} must be an integer of at least {least}, not {value!r}")
        self.bundle, self.rows, self.queue, self.slice = bundle, int(rows), int(queue), int(slice)
        self.model, config = bundle.model.eval(), bundle.model.config
        self.room = math.inf if config.window else config.context
        self._end = None if bundle.end is None else bundle.tokenizer.special_tokens[bundle.end]
        self._decoder, self._cache = Decoder(self.model), KVCache.of(self.model, rows)
        self._single = [self._cache.row(row) for row in range(rows)]
        self._first = [self._cache.row(0, count) for count in range(1, rows + 1)]
        self._texts = _whole_texts(bundle.tokenizer)
        self._free, self._numbers = list(range(rows)), count()
        self._running: dict[int, _Job] = {}  # by number, in the order in which they came
        self._waiting: dict[int, _Job] = {}
        self._updates: list[Update] = []  # of this step, and of one that raised before it could return them

    @property
    def running(self) -> int:
        """How many requests have a row."""
        return len(self._running)

    @property
    def waiting(self) -> int:
        """How many requests wait for one."""
        return len(self._waiting)

    def check(self, request: Request) -> None:
        """Raises: ValueError that contains the context if prompt and max_tokens are longer together, or an unknown id."""
        if (length := len(request.prompt) + request.max_tokens) > self.room:
            raise ValueError(f"prompt and max_tokens make {length} tokens, but the context is {self.room}")
        size = self.model.config.vocab_size
        for number in request.prompt:
            if not 0 <= number < size:
                raise ValueError(f"there is no id {number}: the vocabulary has {size}")

    def submit(self, request: Request) -> int:
        """The number of the request, for its Updates and for `cancel`. Raises: as check; QueueFull."""
        self.check(request)
        if self.running + self.waiting >= self.rows + self.queue:
            raise QueueFull(f"{self.waiting} requests are waiting already")
        job = _Job(next(self._numbers), request, self.bundle.tokenizer, self._texts)
        self._waiting[job.number] = job
        return job.number

    def cancel(self, number: int) -> None:
        """Ends a request, waiting or running, without an Update. One that is over, or never was, is nothing to do."""
        self._updates = [update for update in self._updates if update.number != number]
        self._leave(number)

    def _leave(self, number: int) -> None:
        self._waiting.pop(number, None)
        if (job := self._running.pop(number, None)) is not None:
            self._cache.release(job.row)
            heapq.heappush(self._free, job.row)

    def step(self) -> list[Update]:
        """Lets requests join, reads up to `slice` tokens of prompts, in the order in which they came, and gives each request
        whose prompt was read before one token more. With nothing to do it does nothing."""
        while self._free and self._waiting:
            job = self._waiting.pop(next(iter(self._waiting)))
            job.row = heapq.heappop(self._free)  # the first, so that a step needs few rows
            self._running[job.number] = job
        with no_grad():
            self._read()
            self._decode([job for job in self._running.values() if job.next is not None])
        self._sample([job for job in self._running.values() if job.read == len(job.request.prompt)])
        updates, self._updates = self._updates, []
        return updates

    def _decode(self, jobs: list[_Job]) -> None:
        """Each job's `next` goes into its row of the cache: its `logits` are those after it."""
        if len(jobs) == 1:
            jobs[0].logits = self._decoder.step([jobs[0].next], self._single[jobs[0].row])[0]
        elif jobs:
            rows = [job.row for job in jobs]
            ids, real = np.zeros(max(rows) + 1, np.int64), np.zeros(max(rows) + 1, bool)  # of the rows up to the last one
            ids[rows], real[rows] = [job.next for job in jobs], True
            logits = self._decoder.step(ids, self._first[max(rows)], real)
            for job in jobs:
                job.logits = logits[job.row]
        for job in jobs:  # now, so that no token is read twice whatever raises after this
            job.next = None

    def _read(self) -> None:
        """Reads prompts, up to `slice` tokens in all, and echoes those that are read."""
        room, parts = self.slice, []
        for job in self._running.values():
            if part := job.request.prompt[job.read : job.read + room]:
                parts.append((job, part))
                room -= len(part)
        for job, part, logits in self._passes(parts):
            if job.request.echo:
                before = [job.logits, *logits[:-1]]  # the logits of each token of this part
                job.echoed += [_token(*pair, job.request.logprobs) for pair in zip(part, before, strict=True)]
            job.logits, job.read = logits[-1], job.read + len(part)
            if job.request.echo and job.read == len(job.request.prompt):
                text = self.bundle.tokenizer.decode(job.request.prompt)
                self._updates.append(Update(job.number, text, tuple(job.echoed), None, 0))

    def _passes(self, parts: list[tuple]) -> Iterator[tuple]:
        """Reads (job, part of its prompt) and adds the logits (tokens, vocab_size) after each of its tokens.

        Parts of the same length in rows side by side share a pass.
        """
        while parts:
            first, length, n = parts[0][0].row, len(parts[0][1]), 1
            while n < len(parts) and parts[n][0].row == first + n and len(parts[n][1]) == length:
                n += 1
            together, parts = parts[:n], parts[n:]
            ids, cache = np.array([part for _, part in together]), self._cache.row(first, n)
            for (job, part), logits in zip(together, self._decoder.forward(ids, cache=cache).data, strict=True):
                yield job, part, logits

    def _sample(self, jobs: list[_Job]) -> None:
        """Draws the next token of each job, and ends those that are done."""
        for job in jobs:
            if job.request.max_tokens == 0:
                self._finish(job, "", (), "length")
        jobs = [job for job in jobs if job.request.max_tokens > 0]
        if not jobs:
            return
        settings = [(job.draw, job.request.temperature, job.request.top_p) for job in jobs]
        ids = choose(np.stack([job.logits for job in jobs]), *np.array(settings, np.float64).T)
        for job, number in zip(jobs, ids.tolist(), strict=True):
            if number == self._end:
                self._finish(job, *job.stream.flush(), "stop")
                continue
            job.next, job.made, job.draw = number, job.made + 1, job.rng.random()
            text, tokens = job.stream.push(_token(number, job.logits, job.request.logprobs))
            full = job.made == job.request.max_tokens
            if full and not job.stream.stopped:
                rest, others = job.stream.flush()
                text, tokens = text + rest, tokens + others
            if full or job.stream.stopped:
                self._finish(job, text, tokens, "stop" if job.stream.stopped else "length")
            elif text or tokens:
                self._updates.append(Update(job.number, text, tokens, None, job.made))

    def _finish(self, job: _Job, text: str, tokens: tuple[Token, ...], finish: str) -> None:
        self._leave(job.number)
        self._updates.append(Update(job.number, text, tokens, finish, job.made))


# 20.6 Engine and asyncio


class AsyncEngine:
    """An Engine on a thread of its own. Use it in `async with`, which starts it, and at the end lets all requests finish."""

    def __init__(self, engine: Engine):
        self.engine = engine
        self._open: set[Stream] = set()  # of the loop's thread
        self._streams: dict[int, Stream] = {}  # by number; of the engine's thread
        self._inbox, self._wake, self._closing = deque(), threading.Condition(), False
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)

    async def __aenter__(self) -> "AsyncEngine":
        self._loop = asyncio.get_running_loop()
        self._thread.start()
        return self

    async def __aexit__(self, *exception) -> None:
        await self.close()

    async def close(self) -> None:
        """Accepts no more requests, and returns when all that were accepted are finished."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        if self._thread.is_alive():
            await asyncio.to_thread(self._thread.join)

    def submit(self, request: Request) -> "Stream":
        """A request's Updates, to be iterated in `async with`. Raises: as Engine.submit; RuntimeError after close."""
        if self._closing or not self._thread.is_alive():
            raise RuntimeError("the engine is closed, or was not started by `async with`")
        self.engine.check(request)
        if len(self._open) >= self.engine.rows + self.engine.queue:
            raise QueueFull(f"{len(self._open)} requests are running or waiting already")
        stream = Stream(self)
        self._open.add(stream)
        self._post(stream, request)
        return stream

    def _post(self, stream: "Stream", request: Request | None) -> None:
        """Tells the engine's thread to submit a stream's request, or with None to cancel it."""
        with self._wake:
            self._inbox.append((stream, request))
            self._wake.notify()

    def _run(self) -> None:
        while True:
            with self._wake:
                while not (self._inbox or self._closing or self._streams):
                    self._wake.wait()
                if not self._inbox and not self._streams:
                    return
                posts = [self._inbox.popleft() for _ in range(len(self._inbox))]
            news = []
            try:
                for stream, request in posts:
                    if request is not None:
                        self._begin(stream, request, news)
                    elif self._streams.pop(stream.number, None):
                        self.engine.cancel(stream.number)
                steps = [(self._streams.get(update.number), update) for update in self.engine.step()]
                news += [(stream, update) for stream, update in steps if stream]  # others are not of this service
            except BaseException as error:  # every request of this step fails; the engine goes on with the next ones
                asked = [stream for stream, request in posts if request is not None]
                news += [(stream, error) for stream in dict.fromkeys([*self._streams.values(), *asked])]
                for number in self._streams:
                    self.engine.cancel(number)
            for stream, update in news:
                if not isinstance(update, Update) or update.finish:
                    self._streams.pop(stream.number, None)
            if news:
                self._loop.call_soon_threadsafe(self._deliver, news)

    def _begin(self, stream: "Stream", request: Request, news: list[tuple]) -> None:
        try:
            stream.number = self.engine.submit(request)
            self._streams[stream.number] = stream
        except Exception as error:  # nobody else's request fails
            news.append((stream, error))

    def _deliver(self, news: list[tuple]) -> None:
        for stream, update in news:
            stream._updates.put_nowait(update)
            if not isinstance(update, Update) or update.finish:
                self._open.discard(stream)


class Stream:
    """The Updates of a request, an asynchronous iterator. Leaving `async with`, or cancelling the task, ends the request."""

    def __init__(self, owner: AsyncEngine):
        self._owner, self._updates, self._over, self.number = owner, asyncio.Queue(), False, None

    async def __aenter__(self) -> "Stream":
        return self

    async def __aexit__(self, *exception) -> None:
        self.cancel()

    def __aiter__(self) -> "Stream":
        return self

    async def __anext__(self) -> Update:
        """Raises: what a step of the engine raised."""
        if self._over:
            raise StopAsyncIteration
        try:
            update = await self._updates.get()
        except asyncio.CancelledError:
            self.cancel()
            raise
        ended, self._over = self._over, self._over or not isinstance(update, Update) or update.finish is not None
        if self._over:
            self._updates.put_nowait(None)  # another task may wait, too
        if ended:
            raise StopAsyncIteration
        if isinstance(update, BaseException):
            raise update
        return update

    def cancel(self) -> None:
        """Frees the request's row, or its place in the queue. After its end this does nothing."""
        self._over = True
        self._updates.put_nowait(None)  # for who waits for the next Update
        if self in self._owner._open:
            self._owner._open.discard(self)
            self._owner._post(self, None)


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


_TRAIN = {"epochs", "steps", "batch_size", "lr"}
END = "<|endoftext|>"  # given: the token that `build` ends texts with


def build(config: BuildConfig, folder: str | os.PathLike, progress=None, tell=print) -> tuple[Bundle, list[Stage]]:
    """Trains or loads, distills, prunes, quantizes, accelerates, caches; saves the bundle. tell is called with each Stage.

    A training that was interrupted goes on from a checkpoint beside the folder. progress: as a Trainer takes it.
    Raises, before it trains: ValueError that contains the name and value of an option that does not fit; as Bundle, and as
    Bundle.save for the folder.
    """
    absent = {name: None for name in ("distill", "prune", "quantize") if getattr(config, name) is False}
    config = dataclasses.replace(config, **absent)
    distill = config.distill
    for name, fits in (
        ("train", isinstance(config.model, str) or _has(config.train, _TRAIN)),
        ("distill", distill is None or (_has(distill, {"model", "train"}) and _has(distill["train"], _TRAIN))),
        ("prune", config.prune is None or (_is_number(config.prune) and 0 < config.prune < 1)),
        ("quantize", config.quantize in (None, *_BITS.values())),
    ):
        if not fits:
            raise ValueError(f"{name} can't be {getattr(config, name)!r}")
    text, folder = Path(config.text).read_text(encoding="utf-8"), Path(folder).resolve()
    _check_place(folder)
    texts, rng = (text[: len(text) * 9 // 10], text[len(text) * 9 // 10 :]), np.random.default_rng(config.seed)
    stages, checkpoints = [], []
    if isinstance(config.model, str):
        loaded = Bundle.load(config.model)
        tokenizer, end, model = loaded.tokenizer, loaded.end, _plain(loaded.model)
        start = hashlib.sha256(b"".join(array.tobytes() for array in model.state_dict().values())).hexdigest()
        name = loaded.name if config.name is None else config.name
        chat = loaded.chat if config.chat is None else config.chat
    else:
        start = config.model
        tokenizer, end = BPETokenizer.train(texts[0], config.vocab_size, [END]), END
        model = GPT(GPTConfig(tokenizer.vocab_size, **config.model), rng)
        name, chat = "gpt" if config.name is None else config.name, config.chat
    Bundle(model, tokenizer, name, end, chat)  # a mistake in chat shall not show after an hour of training
    if distill is not None:
        student = GPT(GPTConfig(tokenizer.vocab_size, **distill["model"]), rng)
        if model.config.window is None and student.config.context > model.config.context:
            raise ValueError(f"distill can't be {distill!r}: the teacher's context is {model.config.context}")
    ids, others = (np.array(tokenizer.encode(part, special=True)) for part in texts)
    trained = [start, config.vocab_size, config.train, distill, config.seed, text]
    mark = hashlib.sha256(repr(trained).encode()).hexdigest()[:8]

    networks = [*([] if isinstance(config.model, str) else [model]), *([] if distill is None else [student])]
    if len(others) < 2 or any(len(ids) <= network.config.context for network in networks):
        raise ValueError(f"text {config.text!r} is too short: {len(ids)} tokens to learn from, {len(others)} to judge by")

    def train(name: str, network: GPT, objective: Module, options: dict) -> GPT:
        checkpoints.append(_beside(folder, f"{name}-{mark}"))  # nothing resumes from another config's or text's
        _fit(network, objective, ids, rng, progress, checkpoints[-1], **options)
        return _plain(network)

    def done(name: str, write=generate) -> None:
        nbytes = sum(array.nbytes for array in model.state_dict().values())
        stages.append(Stage(name, nbytes, _speed(write, model, others), _bits(model, others) / len(texts[1].encode())))
        tell(stages[-1])

    if isinstance(config.model, str):
        done("load")
    else:
        model = train("train", model, Objective(model, CrossEntropyLoss()), config.train)
        done("train")
    if distill is not None:
        objective = Distillation(student, model, criterion=CrossEntropyLoss())
        model = train("distill", student, objective, distill["train"])
        done("distill")
    if config.prune is not None:
        for block in model.transformer.h:
            prune_heads(block.attn, _strongest(head_scores(block.attn), config.prune))
            prune_units(block.mlp, block.mlp.c_fc, _strongest(unit_scores(block.mlp, block.mlp.c_fc), config.prune))
        done("prune")
    if config.quantize is not None:
        model = quantize(model, config.quantize)
        done("quantize")
    if config.accelerate:
        accelerate(model)
        done("accelerate")
    if config.cache:
        done("cache", lambda model, *arguments: generate(Decoder(model), *arguments, cache=KVCache.of(model, 1)))
    bundle = Bundle(model, tokenizer, name, end, chat, bool(config.accelerate))
    bundle.save(folder, config.half)
    for checkpoint in checkpoints:
        checkpoint.unlink()
    return bundle, stages


def _has(options, names: set[str]) -> bool:
    return isinstance(options, dict) and set(options) == names


def _strongest(scores: np.ndarray, prune: float) -> np.ndarray:
    return strongest(scores, max(1, round(len(scores) * (1 - prune))))


class _Drawn:
    """Batches of windows at random places, `steps` in an epoch."""

    def __init__(self, ids: np.ndarray, length: int, batch_size: int, steps: int, rng: np.random.Generator):
        self.windows, self.batch_size, self.steps, self.rng = next_token_windows(ids, length), batch_size, steps, rng

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator:
        chosen = self.rng.integers(0, len(self.windows), self.steps * self.batch_size)
        return iter(DataLoader(Subset(self.windows, chosen), self.batch_size))


def _fit(network, objective, ids, rng, progress, checkpoint, epochs: int, steps: int, batch_size: int, lr: float) -> None:
    data = _Drawn(ids, network.config.context, batch_size, steps, rng)
    optimizer = flat(AdamW(network.parameter_groups(0.1), lr=lr, betas=(0.9, 0.99)))
    schedule = cosine_schedule(epochs * steps, warmup_steps=epochs * steps // 20, final=0.05)
    objective = data_parallel(accelerate(objective))
    options = {"schedule": schedule, "clip_norm": 1.0, "progress": progress, "checkpoint": checkpoint}
    Trainer(network, None, optimizer, objective=objective, **options).fit(data, epochs)


def _speed(write, model: GPT, ids: np.ndarray) -> float:
    """Tokens a second: the best of three texts."""
    prompt, new, seconds = ids[: 1 + model.config.context // 4], 1 + model.config.context // 2, []
    for _ in range(3):
        tokens = write(model, prompt, new, 0)
        start = time.perf_counter()
        made = len([*tokens])
        seconds.append(time.perf_counter() - start)
    return made / min(seconds)


def _bits(model: GPT, ids: np.ndarray) -> float:
    """The sum of -log₂ p of all ids but the first, each with the ids before it in a row of `context`."""
    length, total = model.config.context, 0.0
    with no_grad():
        for start in range(0, len(ids) - 1, length):
            targets = ids[start + 1 : start + 1 + length]
            logprobs = log_softmax(model(ids[None, start : start + len(targets)]).data[0])
            total -= logprobs[np.arange(len(targets)), targets].sum()
    return total / math.log(2)


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
    from starlette.applications import Starlette
    from starlette.exceptions import HTTPException
    from starlette.middleware import Middleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware
    from starlette.requests import ClientDisconnect
    from starlette.routing import Route

    api = _Api(Engine(bundle, rows, queue, slice), tokens, body_bytes, body_seconds)
    routes = [Route(path, endpoint) for path, endpoint in api.pages().items()]
    for path, kind in (("/v1/completions", _Asked), ("/v1/chat/completions", _AskedChat)):
        routes.append(Route(path, partial(api.answer, kind=kind), methods=["POST"]))
    middleware = [
        Middleware(_Counted, requests=api.meters.requests, paths={route.path for route in routes}),
        Middleware(TrustedHostMiddleware, allowed_hosts=hosts, www_redirect=False),
        Middleware(_Guarded, keys=keys),
    ]
    handlers = dict.fromkeys((_Refusal, HTTPException, ClientDisconnect, Exception), _on_error)
    served = Starlette(routes=routes, middleware=middleware, exception_handlers=handlers, lifespan=api.lifespan)
    served.state.draining, served.router.redirect_slashes = False, False
    return served


class _Refusal(Exception):
    """An error in OpenAI's shape."""

    def __init__(self, status: int, message: str, param: str | None = None, code: str | None = None, **headers: str):
        kind = "server_error" if status >= 500 else "invalid_request_error"
        self.status, self.headers = status, {name.replace("_", "-"): value for name, value in headers.items()}
        self.fields = {"error": {"message": message[:500], "type": kind, "param": param, "code": code}}  # it may repeat input

    def response(self):
        from starlette.responses import Response

        content = json.dumps(self.fields)  # ASCII, as `param` may be half a character
        return Response(content, self.status, self.headers, "application/json")


@contextmanager
def _blaming(param: str) -> Iterator[None]:
    """A ValueError becomes a 400 with this param."""
    try:
        yield
    except ValueError as error:
        raise _Refusal(400, str(error), param) from error


_FAULT = (500, "the server failed", None, "internal_error")


async def _on_error(request, error: Exception):
    from starlette.exceptions import HTTPException
    from starlette.requests import ClientDisconnect

    if isinstance(error, HTTPException):  # another path or method
        error = _Refusal(error.status_code, error.detail, **(error.headers or {}))
    elif isinstance(error, ClientDisconnect):
        error = _Refusal(499, "the client left")  # of which only /metrics hears
    return (error if isinstance(error, _Refusal) else _Refusal(*_FAULT)).response()


class _Counted:
    """Counts requests by path and status."""

    def __init__(self, app, requests, paths: set[str]):
        self.app, self.requests, self.paths = app, requests, paths

    async def __call__(self, scope, receive, send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        status = 500  # if the app raises

        async def counting(message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            await self.app(scope, receive, counting)
        finally:
            self.requests.labels(scope["path"] if scope["path"] in self.paths else "other", status).inc()


class _Guarded:
    """Lets requests that have a key through, if there are keys, and those for the page and the state of health."""

    OPEN = ("/", "/healthz/live", "/healthz/ready")

    def __init__(self, app, keys: Sequence[str]):
        self.app, self.locked = app, bool(keys)
        self.keys = [f"Bearer {key}".encode() for key in keys if key]  # an empty one lets nobody in

    async def __call__(self, scope, receive, send) -> None:
        if scope["type"] == "lifespan" or scope["path"] in self.OPEN or not self.locked or self._knows(scope["headers"]):
            return await self.app(scope, receive, send)
        refusal = _Refusal(401, "the API key is missing or wrong", None, "invalid_api_key", WWW_Authenticate="Bearer")
        await refusal.response()(scope, receive, send)

    def _knows(self, headers: Iterable[tuple[bytes, bytes]]) -> bool:
        given = dict(headers).get(b"authorization", b"")
        return any([hmac.compare_digest(given, key) for key in self.keys])  # all of them, so that the time tells nothing


class _Meters:
    """What /metrics tells, in a registry of the app's own."""

    def __init__(self, engine: Engine):
        from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

        self.registry = CollectorRegistry()
        seconds = {"registry": self.registry, "buckets": [2**i / 4096 for i in range(18)]}  # 0.2 ms to 32 s
        self.requests = Counter("kata_requests", "Requests answered", ["path", "status"], registry=self.registry)
        tokens = Counter("kata_tokens", "Tokens read and written", ["kind"], registry=self.registry)
        self.read, self.made = tokens.labels("prompt"), tokens.labels("completion")
        self.first = Histogram("kata_first_token_seconds", "Time to the first token of an answer", **seconds)
        self.between = Histogram("kata_between_tokens_seconds", "Time between two tokens of an answer", **seconds)
        for name in ("running", "waiting"):
            gauge = Gauge(f"kata_{name}", f"Answers that are {name}", registry=self.registry)
            gauge.set_function(partial(getattr, engine, name))


class _Api:
    """The endpoints, and what they share."""

    def __init__(self, engine: Engine, tokens: int, body_bytes: int, body_seconds: float):
        self.engine, self.most = engine, min(tokens, engine.room)
        self.characters = self.most * max(map(len, engine.bundle.tokenizer.vocab.values()))  # that so many tokens may have
        self.body_bytes, self.body_seconds = body_bytes, body_seconds
        self.meters, self.created, self.service = _Meters(engine), int(time.time()), None

    @asynccontextmanager
    async def lifespan(self, app) -> AsyncIterator[None]:
        async with AsyncEngine(self.engine) as self.service:
            yield

    def pages(self) -> dict:
        """What GET finds, by path."""
        from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
        from starlette.responses import HTMLResponse, JSONResponse, Response

        async def page(request):
            text = PAGE.read_text(encoding="utf-8")
            return HTMLResponse(text, headers=_page_headers(text))

        async def live(request):
            return JSONResponse({"status": "live"})

        async def ready(request):
            draining = request.app.state.draining
            return JSONResponse({"status": "draining" if draining else "ready"}, 503 if draining else 200)

        async def metrics(request):
            return Response(generate_latest(self.meters.registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

        async def models(request):
            model = {"id": self.engine.bundle.name, "object": "model", "created": self.created, "owned_by": "tensor-kata"}
            return JSONResponse({"object": "list", "data": [model]})

        health = {"/healthz/live": live, "/healthz/ready": ready}
        return {"/": page, **health, "/metrics": metrics, "/v1/models": models}

    async def answer(self, request, kind: type["_Asked"]):
        """Returns what sends the answer, an ASGI app: the engine's requests end with it, whatever happens."""
        fields = await self.fields(request)
        limits = self.most, self.characters
        asked = await asyncio.to_thread(kind, fields, self.engine, *limits)  # a long prompt takes a while to encode

        async def respond(scope, receive, send) -> None:
            async with AsyncExitStack() as stack:
                streams = [await stack.enter_async_context(self.submit(one)) for one in asked.requests]  # all, or none stays
                self.meters.read.inc(asked.read)
                updates = self.measured(_merged(streams), len(streams))
                response = asked.streamed(updates) if asked.stream else await _unless_left(asked.whole(updates), receive)
                await response(scope, receive, send)

        return respond

    async def fields(self, request) -> dict:
        """A request's JSON object. Its body is counted while it is read, whatever its header says. Raises: _Refusal."""
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":  # which no other site can send without asking
            raise _Refusal(415, f"the content type must be application/json, not {kind!r}", None, "unsupported_media_type")
        body = bytearray()
        try:
            async with asyncio.timeout(self.body_seconds):
                async for chunk in request.stream():
                    body += chunk
                    if len(body) > self.body_bytes:
                        raise _Refusal(413, f"the body has more than {self.body_bytes} bytes", None, "request_too_large")
        except TimeoutError:
            told = f"the body took more than {self.body_seconds:g} seconds"
            raise _Refusal(408, told, None, "request_timeout", Connection="close") from None
        try:
            fields = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise _Refusal(400, f"the body is no JSON: {error}", None, "invalid_json") from error
        if not isinstance(fields, dict):
            raise _Refusal(400, "the body must be a JSON object", None, "invalid_json")
        return fields

    def submit(self, request: Request) -> "Stream":
        """Raises: _Refusal."""
        try:
            return self.service.submit(request)
        except QueueFull as error:
            raise _Refusal(429, str(error), None, "queue_full", Retry_After="1") from error
        except RuntimeError as error:
            raise _Refusal(503, str(error), None, "shutting_down") from error

    async def measured(self, updates: AsyncIterator[tuple[int, Update]], count: int) -> AsyncIterator[tuple[int, Update]]:
        """The same (index, Update), with the time that passed and the tokens that came told to /metrics."""
        last, made = [time.perf_counter()] * count, [0] * count
        async for index, update in updates:
            if update.made > made[index]:
                now, meter = time.perf_counter(), self.meters.between if made[index] else self.meters.first
                meter.observe(now - last[index])
                self.meters.made.inc(update.made - made[index])
                last[index], made[index] = now, update.made
            yield index, update


async def _merged(streams: list["Stream"]) -> AsyncIterator[tuple[int, Update]]:
    """(index of the stream, Update), as they come, until all are finished. Raises: RuntimeError if the engine fails."""
    arrived, ended = asyncio.Queue(), 0
    tasks = {asyncio.create_task(_follow(index, stream, arrived)) for index, stream in enumerate(streams)}
    while ended < len(tasks):
        index, update = await arrived.get()
        if isinstance(update, BaseException):
            raise RuntimeError("the engine failed") from update
        yield index, update
        ended += update.finish is not None


async def _follow(index: int, stream: "Stream", arrived: asyncio.Queue) -> None:
    """Passes a stream's Updates on, and what it raises. It ends when the stream is cancelled."""
    try:
        async for update in stream:
            arrived.put_nowait((index, update))
    except BaseException as error:
        arrived.put_nowait((index, error))


async def _unless_left(answer, receive):
    """Awaits the answer. Raises: ClientDisconnect as soon as the client leaves."""
    from starlette.requests import ClientDisconnect

    answering, leaving = tasks = [asyncio.create_task(answer), asyncio.create_task(receive())]  # after a body only that comes
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if not answering.done():
            raise ClientDisconnect
        return answering.result()
    finally:
        answering.cancel()
        leaving.cancel()


def _page_headers(text: str) -> dict[str, str]:
    """Nothing runs and nothing is loaded but what stands in the page, which talks to its own server alone."""
    policy = ["default-src 'none'", "connect-src 'self'", "img-src data:", "base-uri 'none'", "form-action 'none'"]
    for tag in ("script", "style"):
        parts = re.findall(rf"<{tag}\b[^>]*>(.*?)</{tag}>", text, re.DOTALL)
        hashes = [base64.b64encode(hashlib.sha256(part.encode()).digest()).decode() for part in parts]
        policy.append(f"{tag}-src " + (" ".join(f"'sha256-{value}'" for value in hashes) or "'none'"))
    headers = {"Content-Security-Policy": "; ".join([*policy, "frame-ancestors 'none'"])}
    return headers | {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}


_FIELDS = {  # a field's types; None for those that Request checks
    **{"model": [str], "n": [int], "stream": [bool], "stream_options": [dict], "stop": [str, list], "user": [str]},
    **dict.fromkeys(("max_tokens", "temperature", "top_p", "seed")),
}
_NEUTRAL = {  # fields that are not supported, with the value that asks for nothing; so does null
    **{"best_of": 1, "frequency_penalty": 0, "presence_penalty": 0, "logit_bias": {}, "suffix": "", "store": False},
    **{"metadata": {}, "tools": [], "tool_choice": "none", "response_format": {"type": "text"}},
}
_ARGUMENTS = {"max_completion_tokens": "max_tokens", "top_logprobs": "logprobs"}  # of Request, where the names differ


def _same(value, other) -> bool:
    """As JSON has it, in which true is no 1."""
    return value == other and isinstance(value, bool) == isinstance(other, bool)


class _Asked:
    """What a request for completions asks for: `requests` of the engine, n for each prompt; and how their Updates are told."""

    SOURCE, FIELDS = "prompt", _FIELDS | {"prompt": [str, list], "echo": [bool], "logprobs": None}
    SETTINGS = ("max_tokens", "temperature", "top_p", "seed", "stop", "echo", "logprobs")
    MARK, WHOLE, PART, OPENING = "cmpl", "text_completion", "text_completion", None
    LENGTH = 16  # of an answer, unless max_tokens says it

    def __init__(self, fields: dict, engine: Engine, most: int, characters: int):
        """Raises: _Refusal."""
        self.engine, self.bundle, self.vocab = engine, engine.bundle, engine.bundle.tokenizer.vocab
        self.most, self.characters = most, characters
        self.fields = {name: value for name, value in fields.items() if value is not None}
        self._check()
        settings, prompts, n, places = self._settings(), self._given(), self.fields.get("n", 1), engine.rows + engine.queue
        if n < 1 or n * len(prompts) > places:
            raise _Refusal(400, f"n can't be {n}: there are {len(prompts)} prompts, and {places} places", "n")
        with _blaming(self.SOURCE):
            rows = [self._ids(prompt) for prompt in prompts]
            self.requests = [self._request(ids, choice, **settings) for ids in rows for choice in range(n)]
        self.read, self.tells = sum(map(len, rows)), "logprobs" in settings
        self.stream = self.fields.get("stream", False)
        self.counts = self.fields.get("stream_options", {}).get("include_usage") is True
        self.head = {"id": f"{self.MARK}-{uuid.uuid4().hex}", "created": int(time.time()), "model": self.bundle.name}

    def _check(self) -> None:
        for name, value in self.fields.items():
            if name not in self.FIELDS and not (name in _NEUTRAL and _same(value, _NEUTRAL[name])):
                raise _Refusal(400, f"{name!r} is not supported", name, "unsupported_parameter")
            if self.FIELDS.get(name) and type(value) not in self.FIELDS[name]:
                raise _Refusal(400, f"{name} can't be {value!r}", name)
        for name in ("model", self.SOURCE):
            if name not in self.fields:
                raise _Refusal(400, f"{name} is missing", name)
        if self.fields["model"] != self.bundle.name:
            raise _Refusal(404, f"there is no model {self.fields['model']!r}", "model", "model_not_found")

    def _settings(self) -> dict:
        """Arguments of Request. Each is tried alone, so that an error has the field's name."""
        settings = {}
        for name in [name for name in self.SETTINGS if name in self.fields]:
            argument = _ARGUMENTS.get(name, name)
            with _blaming(name):
                settings[argument] = getattr(Request((0,), **{argument: self.fields[name]}), argument)
        if len(settings.get("stop", ())) > 4:
            raise _Refusal(400, "stop can't have more than four texts", "stop")
        return settings

    def _given(self) -> list:
        given = self.fields[self.SOURCE]
        return [given] if isinstance(given, str) or all(type(item) is int for item in given) else given

    def _ids(self, prompt: str | list[int]) -> list[int]:
        if isinstance(prompt, str):
            self._check_length(prompt)
            return self.bundle.tokenizer.encode(prompt)
        if not isinstance(prompt, list) or not all(type(item) is int for item in prompt):
            raise ValueError(f"prompt can't have {prompt!r}")
        return prompt

    def _check_length(self, *texts: str) -> None:
        """Refuses what is too long however it is encoded, before that takes its time."""
        if sum(map(len, texts)) > self.characters:
            raise self._too_long()

    def _too_long(self) -> _Refusal:
        told = f"a prompt and its answer can't have more than {self.most} tokens together"
        return _Refusal(400, told, self.SOURCE, "context_length_exceeded")

    def _request(self, ids: list[int], choice: int, seed: int | None = None, **settings) -> Request:
        room = self.most - len(ids)
        settings = {"max_tokens": self.LENGTH or max(1, room)} | settings
        if settings["max_tokens"] > room:
            raise self._too_long()
        request = Request(ids, seed=None if seed is None else seed + choice, **settings)
        self.engine.check(request)
        return request

    async def whole(self, updates: AsyncIterator[tuple[int, Update]]):
        """The response in one piece."""
        from starlette.responses import JSONResponse

        choices = [_Choice(self.vocab, self.tells) for _ in self.requests]
        async for index, update in updates:
            choices[index].add(update)
        told = [
            self._told(index, self._said(choice.text), choice.tokens, choice.finish) for index, choice in enumerate(choices)
        ]
        return JSONResponse(self.head | {"object": self.WHOLE, "choices": told, "usage": self._usage(choices)})

    def streamed(self, updates: AsyncIterator[tuple[int, Update]]):
        """The response as server-sent events."""
        from starlette.responses import StreamingResponse

        headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}  # no proxy collects the parts
        return StreamingResponse(self._events(updates), media_type="text/event-stream", headers=headers)

    async def _events(self, updates: AsyncIterator[tuple[int, Update]]) -> AsyncIterator[str]:
        choices = [_Choice(self.vocab, self.tells) for _ in self.requests]

        def event(told: list[dict], usage: dict | None = None) -> str:
            counts = {"usage": usage} if self.counts else {}
            return _event(self.head | {"object": self.PART, "choices": told} | counts)

        try:
            for index in range(len(choices)) if self.OPENING else ():
                yield event([self._told(index, self.OPENING)])
            async for index, update in updates:
                if (tokens := choices[index].add(update)) or update.text:
                    yield event([self._told(index, self._part(update.text), tokens)])
                if update.finish:
                    yield event([self._told(index, self._part(""), finish=update.finish)])
            if self.counts:
                yield event([], self._usage(choices))
            yield "data: [DONE]\n\n"
        except Exception:
            logging.getLogger("uvicorn.error").exception("a stream failed")
            yield _event(_Refusal(*_FAULT).fields)

    def _told(self, index: int, said: dict, tokens: Sequence[tuple[Token, int]] = (), finish: str | None = None) -> dict:
        logprobs = self._logprobs(tokens) if tokens else None
        return {"index": index, **said, "logprobs": logprobs, "finish_reason": finish}

    def _said(self, text: str) -> dict:
        return {"text": text}

    _part = _said

    def _logprobs(self, tokens: Sequence[tuple[Token, int]]) -> dict:
        tops = [
            None if token.logprob is None else {self._name(number): logprob for number, logprob in (*token.top, token[:2])}
            for token, _ in tokens
        ]
        names, logprobs = [self._name(token.id) for token, _ in tokens], [token.logprob for token, _ in tokens]
        places = [place for _, place in tokens]
        return {"tokens": names, "token_logprobs": logprobs, "top_logprobs": tops, "text_offset": places}

    def _name(self, number: int) -> str:
        """A token's text; of a part of a character its bytes, so that no two tokens have the same."""
        try:
            return self.vocab[number].decode()
        except UnicodeDecodeError:
            return "bytes:" + "".join(f"\\x{byte:02x}" for byte in self.vocab[number])

    def _usage(self, choices: list["_Choice"]) -> dict:
        made = sum(choice.made for choice in choices)
        return {"prompt_tokens": self.read, "completion_tokens": made, "total_tokens": self.read + made}


_ROLE = {"delta": {"role": "assistant", "content": ""}}


class _AskedChat(_Asked):
    """What a request for the next message of a chat asks for."""

    SOURCE = "messages"
    FIELDS = _FIELDS | {"messages": [list], "logprobs": [bool], "top_logprobs": None, "max_completion_tokens": None}
    SETTINGS = ("max_tokens", "max_completion_tokens", "temperature", "top_p", "seed", "stop", "top_logprobs")
    MARK, WHOLE, PART, OPENING = "chatcmpl", "chat.completion", "chat.completion.chunk", _ROLE
    LENGTH = None  # as far as there is room

    def _settings(self) -> dict:
        if self.fields.get("logprobs"):
            self.fields.setdefault("top_logprobs", 0)
        elif "top_logprobs" in self.fields:
            raise _Refusal(400, "top_logprobs needs logprobs", "top_logprobs")
        settings = super()._settings()
        if self.bundle.chat and (after := self.bundle.chat["assistant"][1]):
            settings["stop"] = (*settings.get("stop", ()), after)
        return settings

    def _given(self) -> list:
        return [self.fields[self.SOURCE]]

    def _ids(self, messages: list[dict]) -> list[int]:
        if not messages or not all(isinstance(message, dict) for message in messages):
            raise ValueError("messages must be objects with a role and a content, one at least")
        self._check_length(*(str(message.get("content")) for message in messages))
        return self.bundle.chat_ids(messages)

    def _said(self, text: str) -> dict:
        return {"message": {"role": "assistant", "content": text}}

    def _part(self, text: str) -> dict:
        return {"delta": {"content": text} if text else {}}

    def _logprobs(self, tokens: Sequence[tuple[Token, int]]) -> dict:
        def entry(number: int, logprob: float) -> dict:
            part = self.vocab[number]
            return {"token": part.decode(errors="replace"), "logprob": logprob, "bytes": [*part]}

        return {"content": [entry(*token[:2]) | {"top_logprobs": [entry(*top) for top in token.top]} for token, _ in tokens]}


def _event(fields: dict) -> str:
    return f"data: {json.dumps(fields)}\n\n"


class _Choice:
    """One choice of an answer, as far as it has come. tokens: (token, where in the text it begins), if it is to tell them."""

    def __init__(self, vocab: dict[int, bytes], tells: bool):
        self.vocab, self.tells, self.text, self.tokens, self.finish, self.made = vocab, tells, "", [], None, 0
        self._decoder, self._end = codecs.getincrementaldecoder("utf-8")("replace"), 0

    def add(self, update: Update) -> list[tuple[Token, int]]:
        """Returns the update's tokens."""
        tokens = [(token, self._place(self.vocab[token.id])) for token in update.tokens if self.tells]
        self._end += len(self._decoder.decode(b"", True))  # half a character at the end of a prompt stays one
        self.text, self.finish, self.made = self.text + update.text, update.finish, update.made
        self.tokens += tokens
        return tokens

    def _place(self, part: bytes) -> int:
        """Of the character to which the first of these bytes belongs."""
        begun = len(self._decoder.decode(part[:1]))
        place = self._end + begun - (not self._decoder.getstate()[0])
        self._end += begun + len(self._decoder.decode(part[1:]))
        return place


CONNECTIONS = 256  # given: at a time; beyond, uvicorn answers 503
GRACE = 30  # given: seconds in which accepted requests finish


def serve(bundle: Bundle, host: str = "127.0.0.1", port: int = 8000, keys: Sequence[str] = (), hosts: Sequence[str] = HOSTS):
    """Serves the app until SIGTERM or SIGINT. Then /healthz/ready is 503 for a second, no more connections are accepted, and
    accepted requests finish."""
    import uvicorn
    from threadpoolctl import threadpool_limits

    served = app(bundle, keys=keys, hosts=hosts)

    class Server(uvicorn.Server):
        async def shutdown(self, sockets=None) -> None:
            served.state.draining = True
            await asyncio.sleep(1)
            await super().shutdown(sockets)

    limits = {"limit_concurrency": CONNECTIONS, "timeout_graceful_shutdown": GRACE}
    # A second thread of BLAS waits busily for its next product, on the core that the event loop and the clients need.
    # uvicorn raises KeyboardInterrupt after SIGINT, when all is done.
    with threadpool_limits(1, "blas"), suppress(KeyboardInterrupt):
        Server(uvicorn.Config(served, host, port, http="h11", ws="none", server_header=False, **limits)).run()


# 20.9 The command line


def main(arguments: Sequence[str] | None = None) -> None:
    """build CONFIG.json FOLDER; generate FOLDER PROMPT, which writes the continuation as it comes; or serve FOLDER."""
    parser = argparse.ArgumentParser(prog="python -m katas.capstone")
    commands = parser.add_subparsers(dest="command", required=True)
    builds = commands.add_parser("build", help="train or load, optimize, and save a bundle")
    builds.add_argument("config", help="a JSON file with the fields of BuildConfig")
    builds.add_argument("folder", help="where the bundle is written")
    writes = commands.add_parser("generate", help="continue a prompt")
    writes.add_argument("folder", help="a bundle")
    writes.add_argument("prompt")
    writes.add_argument("--max-tokens", type=int, default=100)
    writes.add_argument("--temperature", type=float, default=1.0)
    writes.add_argument("--top-p", type=float, default=1.0)
    writes.add_argument("--seed", type=int)
    writes.add_argument("--stop", action="append", default=[], help="a text to end before; may be given several times")
    serves = commands.add_parser("serve", help="answer over HTTP, as OpenAI's API does")
    serves.add_argument("folder", help="a bundle")
    serves.add_argument("--host", default="127.0.0.1")
    serves.add_argument("--port", type=int, default=8000)
    serves.add_argument("--allow-host", action="append", default=[], help="another name by which clients may call it")
    options = parser.parse_args(arguments)
    try:
        if options.command == "build":
            config = BuildConfig(**json.loads(Path(options.config).read_text(encoding="utf-8")))
            build(config, options.folder, Progress())
        elif options.command == "serve":
            names = os.environ.get("KATA_API_KEYS")
            keys = [key.strip() for key in names.split(",")] if names else ()
            hosts = [*HOSTS, options.host, *options.allow_host]
            serve(Bundle.load(options.folder), options.host, options.port, keys, hosts)
        else:
            _write_on(options)
    except (OSError, TypeError, ValueError) as error:
        parser.exit(1, f"{error}\n")


def _write_on(options) -> None:
    bundle = Bundle.load(options.folder)
    settings = {name: getattr(options, name) for name in ("max_tokens", "temperature", "top_p", "seed", "stop")}
    engine = Engine(bundle, rows=1, slice=bundle.model.config.context)
    engine.submit(Request(bundle.tokenizer.encode(options.prompt), **settings))
    while engine.running or engine.waiting:
        for update in engine.step():
            print(update.text, end="", flush=True)
    print()


if __name__ == "__main__":  # given
    main()
