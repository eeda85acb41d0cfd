"""A served model: a server in a process of its own, clients of its HTTP API, and what they are answered, and when."""

import asyncio
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import NamedTuple

import h11
import numpy as np
from katas.capstone import Bundle, Request

from specs.door import ROOT

HOST = "127.0.0.1"
STARTS, ENDS = 60, 60  # seconds that a server may take for it; it takes two, and as long as its requests do
PAUSE = 0.05  # seconds between two looks at something that takes a while
COMPLETIONS, CHAT = "/v1/completions", "/v1/chat/completions"


class Server:
    """Python with these arguments, which serves on a port that the system chooses. Leaving `with` kills it."""

    def __init__(self, log: Path, *arguments: str):
        self.log, self.arguments = log, arguments

    @classmethod
    def of(cls, folder: Path) -> "Server":
        """Of a bundle. The log is beside it."""
        arguments = ("-m", "katas.capstone", "serve", str(folder), "--port", "0")
        return cls(folder.with_suffix(".log"), *arguments)

    def __enter__(self) -> "Server":
        env = {name: value for name, value in os.environ.items() if name != "KATA_API_KEYS"}
        with self.log.open("wb") as file:
            options = {"cwd": ROOT, "env": env, "stdin": subprocess.DEVNULL, "stdout": file, "stderr": file}
            self.process = subprocess.Popen([sys.executable, "-u", *self.arguments], **options)
        try:
            self.port = self._listens()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exception) -> None:
        self.process.kill()
        self.process.wait()

    def _listens(self) -> int:
        """Its port, when it answers there."""
        for _ in range(int(STARTS / PAUSE)):
            said = self.log.read_text(errors="replace")
            if match := re.search(rf"running on http://{re.escape(HOST)}:(\d+)", said):
                return int(match[1])
            assert self.process.poll() is None, f"the server ended:\n{said}"
            time.sleep(PAUSE)
        raise AssertionError(f"the server does not answer after {STARTS} seconds:\n{said}")

    def ends(self) -> int:
        """Its status, when it has ended by itself."""
        return self.process.wait(ENDS)

    def peak_memory(self) -> float | None:
        """The most memory that it ever held, in MB, where the platform tells."""
        path = Path(f"/proc/{self.process.pid}/status")
        return int(re.search(r"VmHWM:\s+(\d+) kB", path.read_text())[1]) / 1e3 if path.exists() else None


class Call:
    """A request over a connection of its own, which `async with` opens and closes. Parts are sent and received one by one.

    A response that is cut off raises h11.RemoteProtocolError, or an OSError.
    """

    def __init__(self, port: int):
        self.port, self._http, self.status, self.headers = port, h11.Connection(h11.CLIENT), None, {}

    async def __aenter__(self) -> "Call":
        self._reader, self._writer = await asyncio.open_connection(HOST, self.port)
        return self

    async def __aexit__(self, *exception) -> None:
        self._writer.transport.abort()

    async def begin(self, path: str, length: int) -> None:
        """Says that `length` bytes of JSON follow."""
        headers = [("Host", HOST), ("Content-Type", "application/json"), ("Content-Length", str(length))]
        await self.send(self._http.send(h11.Request(method="POST", target=path, headers=headers)))

    async def send(self, part: bytes) -> None:
        """Sends a part of the body, or anything else, as it is."""
        self._writer.write(part)
        await self._writer.drain()

    async def post(self, path: str, body: bytes) -> None:
        """Sends a request, and receives the head of its response."""
        await self.begin(path, len(body))
        await self.send(body)
        await self.head()

    async def get(self, path: str) -> None:
        """As post."""
        await self.send(self._http.send(h11.Request(method="GET", target=path, headers=[("Host", HOST)])))
        await self.head()

    async def head(self) -> None:
        """Receives status and headers."""
        response = await self._event()
        self.status, self.headers = response.status_code, dict(response.headers)

    async def parts(self) -> AsyncIterator[bytes]:
        """What is received of the body."""
        while isinstance(event := await self._event(), h11.Data):
            yield bytes(event.data)

    async def json(self) -> dict:
        """The whole body."""
        return json.loads(b"".join([part async for part in self.parts()]))

    async def events(self) -> AsyncIterator[str]:
        """The data of server-sent events."""
        rest = b""
        async for part in self.parts():
            *events, rest = (rest + part).split(b"\n\n")
            for event in events:
                yield event.decode().removeprefix("data: ")

    async def _event(self):
        while (event := self._http.next_event()) is h11.NEED_DATA:
            self._http.receive_data(await self._reader.read(1 << 16))
        return event


class Said(NamedTuple):
    """A token of an answer."""

    id: int
    logprob: float


class Choice:
    """A choice of an answer, as far as it has come. times: when tokens came, in seconds."""

    def __init__(self):
        self.text, self.tokens, self.finish, self.times = "", [], None, []


class Refused(Exception):
    """A response that is no answer."""

    def __init__(self, status: int, headers: dict, error: dict):
        super().__init__(f"{status}: {error}")
        self.status, self.headers, self.error = status, headers, error


class Answer:
    """What became of an Ask, as far as it has come. made: how many tokens the server counted."""

    def __init__(self, choices: int, ids: dict[str | bytes, int]):
        self.choices, self.made, self.begun, self._ids = [Choice() for _ in range(choices)], 0, time.perf_counter(), ids

    def add(self, told: dict) -> None:
        """A whole response, or an event of one. Raises: Refused if it is an error."""
        now = time.perf_counter()
        if "error" in told:
            raise Refused(200, {}, told["error"])
        self.made = (told.get("usage") or {}).get("completion_tokens", self.made)
        for part in told["choices"]:
            choice = self.choices[part["index"]]
            choice.text += part["text"] if "text" in part else (part.get("delta") or part.get("message", {})).get("content", "")
            choice.finish = part["finish_reason"]
            if tokens := self._tokens(part["logprobs"]):
                choice.tokens += tokens
                choice.times.append(now)

    def _tokens(self, logprobs: dict | None) -> list[Said]:
        if logprobs is None:
            return []
        if "content" in logprobs:
            return [Said(self._ids[bytes(entry["bytes"])], entry["logprob"]) for entry in logprobs["content"]]
        pairs = zip(logprobs["tokens"], logprobs["token_logprobs"], strict=True)
        return [Said(self._ids[name], logprob) for name, logprob in pairs]


class Ask(NamedTuple):
    """What a client sends, and what it comes down to: a request of the engine for each choice."""

    path: str
    fields: dict
    requests: list[Request]
    ids: dict[str | bytes, int]  # by the names of tokens, and by their bytes

    async def answer(self, port: int) -> Answer:
        """The whole answer."""
        async with aclosing(self.parts(port)) as parts:
            return [part async for part in parts][-1]

    async def parts(self, port: int) -> AsyncIterator[Answer]:
        """The answer, each time that it has grown, and of a stream as soon as its head is here. Raises: Refused; as Call."""
        answer = Answer(len(self.requests), self.ids)
        async with Call(port) as call:
            await call.post(self.path, json.dumps(self.fields).encode())
            if call.status != 200:
                raise Refused(call.status, call.headers, (await call.json())["error"])
            if not self.fields["stream"]:
                answer.add(await call.json())
                yield answer
                return
            yield answer
            async for event in call.events():
                if event == "[DONE]":
                    return
                answer.add(json.loads(event))
                yield answer
            raise h11.RemoteProtocolError("a stream ended without [DONE]")


class Asker:
    """Makes Asks about a text."""

    def __init__(self, bundle: Bundle, ids: np.ndarray):
        self.bundle, self.text = bundle, ids
        vocab = bundle.tokenizer.vocab
        self.ids = {part: number for number, part in vocab.items()} | {named(part): number for number, part in vocab.items()}

    def ask(self, prompt: Sequence[int], stream: bool = True, n: int = 1, seed: int = 0, **settings) -> Ask:
        """To complete these ids."""
        fields = {"model": self.bundle.name, "prompt": [*prompt], "stream": stream, "n": n, "seed": seed, "logprobs": 0}
        if stream:
            fields["stream_options"] = {"include_usage": True}
        requests = [Request(prompt, seed=seed + choice, **settings) for choice in range(n)]
        return Ask(COMPLETIONS, fields | settings, requests, self.ids)

    def chat(self, content: str, stream: bool, seed: int, **settings) -> Ask:
        """To answer a message."""
        messages = [{"role": "user", "content": content}]
        fields = {"model": self.bundle.name, "messages": messages, "stream": stream, "seed": seed, "logprobs": True}
        if stream:
            fields["stream_options"] = {"include_usage": True}
        request = Request(self.bundle.chat_ids(messages), seed=seed, **settings, stop=self.bundle.chat["assistant"][1])
        return Ask(CHAT, fields | settings, [request], self.ids)

    def several(self, count: int, longest: int, rng: np.random.Generator) -> list[Ask]:
        """Of all kinds: prompts of 1 to `longest` tokens, short ones more often, and answers of up to 40."""
        asks = []
        for seed, length in enumerate(rng.permutation(np.geomspace(1, longest, count).round().astype(int)).tolist()):
            start, stream = int(rng.integers(len(self.text) - length)), bool(rng.random() < 0.5)
            prompt = self.text[start : start + length].tolist()
            settings = {
                "max_tokens": int(rng.integers(1, 41)),
                "temperature": float(rng.choice([0, 0.7, 1, 1.3])),
                "top_p": float(rng.choice([1, 0.9, 0.5])),
            }
            kind = rng.choice(["ids", "text", "stop", "chat"])
            if kind == "chat":
                asks.append(self.chat(self.bundle.tokenizer.decode(prompt), stream, seed, **settings))
            elif kind == "stop":
                asks.append(self.ask(prompt, stream, seed=seed, stop=["\n", " the"], **settings))
            else:
                asks.append(self.ask(prompt, stream, seed=seed, **settings))
                if kind == "text":
                    text = self.bundle.tokenizer.decode(prompt)
                    request = Request(self.bundle.tokenizer.encode(text), seed=seed, **settings)
                    asks[-1] = asks[-1]._replace(fields=asks[-1].fields | {"prompt": text}, requests=[request])
        return asks


def named(part: bytes) -> str:
    """How the API calls a token of these bytes."""
    try:
        return part.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in part)
