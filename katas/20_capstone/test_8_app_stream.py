import asyncio
import functools
import json
import logging
from contextlib import asynccontextmanager

import numpy as np
import pytest
from katas.capstone import Bundle, Engine, Request, app
from katas.tokenization import BPETokenizer
from katas.transformers import GPT, GPTConfig

from specs.check import Exchange, running
from specs.oracles.gate import Gate

JSON = ("Content-Type", "application/json")
PLAIN, CHAT = "/v1/completions", "/v1/chat/completions"
MESSAGES = [{"role": "user", "content": "sea?"}]


@functools.cache
def bundle() -> Bundle:
    """A small GPT in float64, so that no rounding shows."""
    tokenizer = BPETokenizer.train("she sells sea shells " * 9, 262)
    model, rng = GPT(GPTConfig(262, 64, 1, 2, 16), np.random.default_rng(0)), np.random.default_rng(1)
    for parameter in model.parameters():
        parameter.data = rng.normal(0, 0.5, parameter.shape)
    return Bundle(model, tokenizer, "sea", None, {"user": ("U:", "\n"), "assistant": ("A:", "")})


@pytest.fixture
def gate(monkeypatch):
    """The engine's steps wait for it."""
    gate = Gate(Engine.step)
    monkeypatch.setattr(Engine, "step", gate.step())
    return gate


@asynccontextmanager
async def gated(gate: Gate, **options):
    """The app, whose gate opens at the end."""
    async with running(app(bundle(), **options)) as served:
        try:
            yield served
        finally:
            gate.open()


def post(served, path: str, fields: dict) -> Exchange:
    return Exchange(served, "POST", path, json.dumps({"model": "sea"} | fields).encode(), [JSON])


def both(path: str, fields: dict):
    """The answer in one piece, and the events of the same as a stream."""

    async def main():
        async with running(app(bundle())) as served:
            whole = await post(served, path, fields).response()
            parts = await post(served, path, fields | {"stream": True}).response()
            assert (whole.status, parts.status) == (200, 200), (whole, parts)
            assert parts.headers["content-type"].startswith("text/event-stream")
            return whole.json(), parts.events()

    return asyncio.run(main())


def of_choice(events: list, index: int) -> list[dict]:
    """The parts of one choice."""
    return [event["choices"][0] for event in events if event != "[DONE]" and event["choices"][0]["index"] == index]


FIELDS = {"seed": 5, "max_tokens": 20, "n": 3}


@pytest.mark.parametrize("more", [{}, {"echo": True}, {"stop": ["s", "e"]}, {"max_tokens": 0}, {"max_tokens": 0, "echo": True}])
def test_a_stream_of_a_completion(more):
    """Each event has a part of one choice. The last one of a choice is empty and says how it finished, then comes [DONE].
    All parts joined are the text that is not streamed.
    """
    whole, events = both(PLAIN, FIELDS | {"prompt": ["sea", "she"]} | more)
    assert events.pop() == "[DONE]"
    for choice in whole["choices"]:
        *parts, last = of_choice(events, choice["index"])
        assert "".join(part["text"] for part in parts) == choice["text"]
        assert all(part["text"] and part["finish_reason"] is None for part in parts)
        assert last == {"index": choice["index"], "text": "", "logprobs": None, "finish_reason": choice["finish_reason"]}
    assert len(whole["choices"]) == 6
    assert sum(len(event["choices"]) for event in events) == len(events)
    (mark,) = {(event["id"], event["object"], event["model"], event["created"]) for event in events}
    assert mark[0].startswith("cmpl-")
    assert mark[1:3] == ("text_completion", "sea")
    assert not any("usage" in event for event in events)


def test_a_stream_of_a_chat():
    """A choice's first part has the role, its last one an empty delta. All contents joined are the message."""
    whole, events = both(CHAT, FIELDS | {"messages": MESSAGES})
    assert events.pop() == "[DONE]"
    for choice in whole["choices"]:
        first, *parts, last = of_choice(events, choice["index"])
        assert first["delta"] == {"role": "assistant", "content": ""}
        assert first["finish_reason"] is None
        assert "".join(part["delta"]["content"] for part in parts) == choice["message"]["content"]
        assert all([*part["delta"]] == ["content"] and part["finish_reason"] is None for part in parts)
        assert last == {"index": choice["index"], "delta": {}, "logprobs": None, "finish_reason": "length"}
    assert {event["object"] for event in events} == {"chat.completion.chunk"}
    assert len({event["id"] for event in events}) == 1
    assert events[0]["id"].startswith("chatcmpl-")


@pytest.mark.parametrize(("path", "source"), [(PLAIN, {"prompt": "a"}), (CHAT, {"messages": [MESSAGES[0] | {"content": ""}]})])
def test_blanks_are_text(path, source):
    """A part of nothing but blanks or line ends is sent as any other."""
    tokenizer = bundle().tokenizer
    ids = [tokenizer.encode_bytes(bytes([byte]))[0] for byte in b"a \n b  "]
    model = GPT(GPTConfig(262, 32, 1, 1, 262), np.random.default_rng(0))
    for parameter in model.parameters():
        if parameter.ndim > 1:
            parameter.data = np.zeros_like(parameter.data)
    model.transformer.wte.weight.data = np.eye(262, dtype=np.float32)
    model.transformer.wpe.weight.data[range(len(ids)), ids] = 10  # each position asks for its own token
    spaced = Bundle(model, tokenizer, "sea", None, {"user": ("", ""), "assistant": ("A", "")})

    async def main():
        async with running(app(spaced)) as served:
            fields = source | {"temperature": 0, "max_tokens": len(ids), "stream": True}
            return await post(served, path, fields).response()

    events = [json.loads(line[6:]) for line in asyncio.run(main()).body.decode().split("\n\n") if "{" in line]
    deltas = [event["choices"][0] for event in events]
    texts = [delta["text"] if path == PLAIN else delta["delta"].get("content", "") for delta in deltas]
    assert [text for text in texts if text] == list("a \n b  ")


@pytest.mark.parametrize(("path", "source"), [(PLAIN, {"prompt": ["a", "sea"]}), (CHAT, {"messages": MESSAGES})])
def test_usage_of_a_stream(path, source):
    """With include_usage each event has "usage": null, but the last one, which has the usage, and no choices. A stream that
    runs beside it and has no include_usage has none.
    """

    async def main():
        async with running(app(bundle())) as served:
            asks = [
                FIELDS | source,
                *(FIELDS | source | {"stream": True, "stream_options": {"include_usage": counts}} for counts in (True, False)),
            ]
            whole, parts, plain = await asyncio.gather(*(post(served, path, fields).response() for fields in asks))
            return whole.json(), parts.events(), plain.events()

    whole, events, plain = asyncio.run(main())
    assert not any("usage" in event for event in plain[:-1])
    assert events.pop() == "[DONE]"
    last = events.pop()
    assert last["choices"] == []
    assert last["usage"] == whole["usage"]
    assert all(event["usage"] is None and event["choices"] for event in events)


@pytest.mark.parametrize("options", [{"include_usage": False}, {}, None, {"include_usage": 1}, {"include_usage": "no"}])
def test_no_usage_of_a_stream(options):
    """Unless include_usage is true no event has a usage."""
    _, events = both(PLAIN, FIELDS | {"prompt": "sea", "stream_options": options})
    assert not any("usage" in event for event in events[:-1])


def test_logprobs_of_a_streamed_completion():
    """All parts' lists joined are those of the answer that is not streamed."""
    whole, events = both(PLAIN, FIELDS | {"prompt": "sea", "logprobs": 2, "echo": True})
    events.pop()
    for choice in whole["choices"]:
        parts = [part["logprobs"] for part in of_choice(events, choice["index"]) if part["logprobs"]]
        assert len(parts) > 5
        for name, want in choice["logprobs"].items():
            assert [value for part in parts for value in part[name]] == want


def test_logprobs_of_a_streamed_chat():
    """All parts' content joined is that of the answer that is not streamed."""
    whole, events = both(CHAT, FIELDS | {"messages": MESSAGES, "logprobs": True, "top_logprobs": 1})
    events.pop()
    for choice in whole["choices"]:
        parts = [part["logprobs"]["content"] for part in of_choice(events, choice["index"]) if part["logprobs"]]
        assert len(parts) > 5
        assert [entry for part in parts for entry in part] == choice["logprobs"]["content"]


async def part_of(exchange: Exchange) -> dict:
    """The next event of a stream."""
    return json.loads((await exchange.message())["body"].decode().removeprefix("data: "))


@pytest.fixture
def seed() -> int:
    """One with which each of the first four tokens is a part of its own: none is half a character."""

    def parts(seed: int) -> list[str]:
        engine = Engine(bundle())
        engine.submit(Request(bundle().tokenizer.encode("sea"), 4, seed=seed))
        return [update.text for _ in range(4) for update in engine.step()]

    return next(seed for seed in range(999) if all(parts(seed)) and len(parts(seed)) == 4)


@pytest.mark.timeout(5)
def test_each_part_is_sent_when_it_is_made(seed, gate):
    """Each token is sent before the next one is drawn."""

    async def main():
        async with gated(gate) as served:
            stream = post(served, PLAIN, {"prompt": "sea", "stream": True, "seed": seed, "max_tokens": 50})
            assert (await stream.message())["type"] == "http.response.start"
            for step in range(1, 5):
                gate.allow(1)
                assert (await part_of(stream))["choices"][0]["text"]
                assert gate.steps <= step + 1  # of which one waits

    asyncio.run(main())


@pytest.mark.timeout(5)
def test_a_choice_that_waits_holds_no_other_back(seed, gate):
    """With one row, the second choice has none before the first is finished, whose parts come meanwhile."""

    async def main():
        async with gated(gate, rows=1) as served:
            stream = post(served, PLAIN, {"prompt": "sea", "stream": True, "seed": seed, "n": 2, "max_tokens": 20})
            assert (await stream.message())["status"] == 200
            gate.allow(4)
            return [(await part_of(stream))["choices"][0]["index"] for _ in range(4)]

    assert asyncio.run(main()) == [0] * 4


@pytest.mark.timeout(5)
def test_the_role_is_sent_at_once(gate):
    """The first part of a chat, which has the role, doesn't wait for the engine."""

    async def main():
        async with gated(gate) as served:
            stream = post(served, CHAT, {"messages": MESSAGES, "stream": True})
            assert (await stream.message())["status"] == 200
            assert (await part_of(stream))["choices"][0]["delta"]["role"] == "assistant"

    asyncio.run(main())


@pytest.mark.timeout(5)
def test_choices_come_side_by_side(gate):
    """A part of each choice comes before any of them is finished."""

    async def main():
        async with gated(gate) as served:
            fields = {"prompt": ["sea", "she"], "stream": True, "max_tokens": 50, "seed": 5}
            stream, seen = post(served, PLAIN, fields), set()
            await stream.message()
            gate.allow(15)
            while len(seen) < 2:
                part = (await part_of(stream))["choices"][0]
                assert part["finish_reason"] is None
                seen.add(part["index"])

    asyncio.run(main())


@pytest.mark.timeout(5)
@pytest.mark.parametrize(("path", "source"), [(PLAIN, {"prompt": "sea"}), (CHAT, {"messages": MESSAGES})])
def test_an_error_after_the_headers_is_an_event(path, source, gate, caplog):
    """If the engine fails in the middle of a stream, an event with OpenAI's error ends it, and no [DONE]. It is logged."""

    async def main():
        async with gated(gate) as served:
            stream = post(served, path, source | {"stream": True, "max_tokens": 50, "n": 2})
            gate.allow(9)
            while gate.steps < 10:
                await asyncio.sleep(0)
            gate.error = ArithmeticError("of the engine's own")
            gate.open()
            response = await stream.response()
            await stream.ended()
            after = await post(served, path, source | {"max_tokens": 3}).response()
            return response, after.status, stream.said

    with caplog.at_level(logging.ERROR):
        response, after, said = asyncio.run(main())
    *_, last = response.events()
    assert last["error"].keys() == {"message", "type", "param", "code"}
    assert last["error"]["type"] == "server_error"
    assert b"of the engine's own" not in response.body
    assert b"[DONE]" not in response.body
    assert "of the engine's own" in caplog.text + said
    assert after == 200


def test_a_stream_is_not_collected_on_its_way():
    """Nobody between server and client may keep parts back, or keep them for others."""

    async def main():
        async with running(app(bundle())) as served:
            return (await post(served, PLAIN, {"prompt": "sea", "stream": True}).response()).headers

    headers = asyncio.run(main())
    assert "no-cache" in headers["cache-control"]
    assert headers["x-accel-buffering"] == "no"
    assert "content-length" not in headers
