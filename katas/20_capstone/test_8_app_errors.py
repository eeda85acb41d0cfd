import asyncio
import functools
import json
import threading

import pytest
from katas.capstone import Bundle, Engine, app
from katas.tokenization import BPETokenizer
from katas.transformers import GPT, GPTConfig

from specs.check import Exchange, Response, running

JSON = ("Content-Type", "application/json")
PLAIN, CHAT = "/v1/completions", "/v1/chat/completions"
USER = [{"role": "user", "content": "sea?"}]


@functools.cache
def bundle() -> Bundle:
    tokenizer = BPETokenizer.train("she sells sea shells " * 9, 262)
    return Bundle(GPT(GPTConfig(262, 64, 1, 2, 16)), tokenizer, "sea", None, {"user": ("U:", "\n"), "assistant": ("A:", "")})


def with_tokenizer(kind: type) -> Bundle:
    """The bundle, but its tokenizer is of another class."""
    return Bundle(bundle().model, kind(bundle().tokenizer.vocab, bundle().tokenizer.merges), "sea", chat=bundle().chat)


def sent(*bodies: bytes, path: str = PLAIN, headers=(JSON,), of=None, method: str = "POST", **options) -> list[Response]:
    """What the app answers to each body, one after another."""

    async def main():
        async with running(app(of or bundle(), **options)) as served:
            return [await Exchange(served, method, path, body, headers).response() for body in bodies]

    return asyncio.run(main())


def asked(path: str, *requests: dict, **options) -> list[Response]:
    return sent(*(json.dumps(fields).encode() for fields in requests), path=path, **options)


def assert_error(response: Response, status: int, param: str | None = None, code: str | None = None) -> str:
    """Returns the message of an error in OpenAI's shape."""
    assert response.status == status, response
    assert response.headers["content-type"] == "application/json"
    error = response.json()["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert error["type"] == ("server_error" if status >= 500 else "invalid_request_error")
    assert (error["param"], error["code"]) == (param, code), error
    assert isinstance(error["message"], str)
    assert error["message"]
    return error["message"]


BAD = {
    "model": [5, True, []],
    "max_tokens": [-1, 1.5, "9", True, []],
    "temperature": [-1, "hot", True, float("nan"), float("inf")],
    "top_p": [0, -0.5, 1.5, "all", True],
    "n": [0, -1, 1.5, True, "2", 81],
    "stop": ["", [""], 5, [5], {}, {"a": 1}, ["a", None], ["a"] * 5],
    "seed": [-1, 1.5, "lucky", True],
    "stream": ["true", 1],
    "stream_options": [5, True, []],
    "user": [5],
}
BAD_PLAIN = BAD | {
    "prompt": [5, True, {}, "", [], [""], [[]], [65, "a"], [[65, "a"]], [65, None], [[[65]]]],
    "logprobs": [6, -1, True, "2"],
    "echo": [1, "yes"],
}
BAD_PLAIN["prompt"] += [[1.5], [True], [262], [-1], [10**30]]  # which are no ids
BAD_CHAT = BAD | {
    "messages": ["sea?", {}, [], [5], [{}], [USER], [{"role": "user"}], [{"content": "a"}], [{"role": "cat", "content": "a"}]],
    "logprobs": [1, "yes"],
    "max_completion_tokens": [-1, 1.5, True],
}
BAD_CHAT["messages"] += [[{"role": "user", "content": content}] for content in (None, 5, ["a"], {"text": "a"})]


@pytest.mark.parametrize(
    ("path", "good", "name"),
    [(PLAIN, {"prompt": "sea"}, name) for name in BAD_PLAIN] + [(CHAT, {"messages": USER}, name) for name in BAD_CHAT],
)
def test_a_value_that_does_not_fit(path, good, name):
    """400, in which `param` is the name of the field."""
    values = (BAD_PLAIN if path == PLAIN else BAD_CHAT)[name]
    for response in asked(path, *({"model": "sea"} | good | {name: value} for value in values)):
        assert_error(response, 400, name)


def test_a_lone_surrogate():
    """JSON can have half a character, which no text has: 400, or 404. The answer may name it."""
    (response,) = asked(PLAIN, {"model": "sea", "prompt": "a\ud800"})
    assert_error(response, 400, "prompt")
    (response,) = asked(CHAT, {"model": "sea", "messages": [{"role": "user", "content": "a\ud800"}]})
    assert_error(response, 400, "messages")
    (response,) = asked(PLAIN, {"model": "sea\ud800", "prompt": "a"})
    assert_error(response, 404, "model", "model_not_found")
    (response,) = asked(PLAIN, {"model": "sea", "prompt": "a", "\ud800": 1})
    assert_error(response, 400, "\ud800", "unsupported_parameter")


@pytest.mark.parametrize(("path", "missing"), [(PLAIN, "prompt"), (PLAIN, "model"), (CHAT, "messages"), (CHAT, "model")])
def test_a_field_that_is_missing(path, missing):
    """400 for a request without a model, or without a prompt or messages; null is as nothing."""
    fields = {"model": "sea", **({"prompt": "sea"} if path == PLAIN else {"messages": USER})}
    absent = {name: value for name, value in fields.items() if name != missing}
    for response in asked(path, absent, fields | {missing: None}):
        assert missing in assert_error(response, 400, missing)


def test_refusals_at_a_time():
    """Each of forty bad requests that come together hears what is wrong with it."""
    bad = [{"n": 0}, {"temperature": -1}, {"model": "other"}, {"top_p": 2}] * 10

    async def main():
        async with running(app(bundle())) as served:
            bodies = [json.dumps({"model": "sea", "prompt": "a"} | fields).encode() for fields in bad]
            return await asyncio.gather(*(Exchange(served, "POST", PLAIN, body, [JSON]).response() for body in bodies))

    for fields, response in zip(bad, asyncio.run(main()), strict=True):
        (name,) = fields
        found = response.status, response.json()["error"]["param"]
        assert found == (404 if name == "model" else 400, name)


def test_another_model():
    """404 model_not_found for any other name than the bundle's."""
    plain, chat = {"model": "SEA", "prompt": "sea"}, {"model": "", "messages": USER}
    for response in (*asked(PLAIN, plain), *asked(CHAT, chat)):
        assert_error(response, 404, "model", "model_not_found")


UNSUPPORTED = {
    "best_of": [2, 0, True],
    "suffix": ["x"],
    "frequency_penalty": [0.5, False],
    "presence_penalty": [-1],
    "logit_bias": [{"5": 1}],
    "colour": ["red", 0, False, ""],
    "tools": [[{"type": "function"}]],
    "tool_choice": ["required", ""],
    "response_format": [{"type": "json_object"}],
    "store": [True, 0],
}


@pytest.mark.parametrize(
    ("path", "good", "bad"),
    [
        (PLAIN, {"prompt": "sea"}, UNSUPPORTED | {"messages": [USER], "top_logprobs": [1], "max_completion_tokens": [5]}),
        (CHAT, {"messages": USER}, UNSUPPORTED | {"prompt": ["sea"], "echo": [True, False]}),
    ],
)
def test_a_field_that_is_not_supported(path, good, bad):
    """400 unsupported_parameter with its name, whatever the value, unless it is one that changes nothing."""
    for name, values in bad.items():
        for response in asked(path, *({"model": "sea"} | good | {name: value} for value in values)):
            assert_error(response, 400, name, "unsupported_parameter")


def test_top_logprobs():
    """They need logprobs, and may be up to 5."""
    fields = {"model": "sea", "messages": USER}
    for more in ({}, {"logprobs": False}):
        for response in asked(CHAT, *(fields | {"top_logprobs": count} | more for count in (2, 0))):
            assert_error(response, 400, "top_logprobs")
    for response in asked(CHAT, *(fields | {"logprobs": True, "top_logprobs": value} for value in (6, -1, True, "2"))):
        assert_error(response, 400, "top_logprobs")


def test_a_bundle_without_a_chat():
    """400: there is no template for its messages."""
    (response,) = asked(CHAT, {"model": "sea", "messages": USER}, of=Bundle(bundle().model, bundle().tokenizer, "sea"))
    assert_error(response, 400, "messages")


def test_n_and_the_places():
    """More choices than rows and queue have places can never be: 400. As many as there are places are served."""
    fields = {"model": "sea", "prompt": ["a", "b"], "max_tokens": 2}
    fits, not_ = asked(PLAIN, fields | {"n": 3}, fields | {"n": 4}, rows=2, queue=4)
    assert len(fits.json()["choices"]) == 6
    assert_error(not_, 400, "n")


@pytest.mark.timeout(2)
def test_far_too_many_choices():
    """They are refused before anything is made of them."""
    (response,) = asked(PLAIN, {"model": "sea", "prompt": "a", "n": 10**12})
    assert_error(response, 400, "n")


@pytest.mark.parametrize(
    ("prompt", "max_tokens"),
    [([65] * 60, 5), ([65] * 50, None), ([65] * 64, 1), ([65] * 65, 0), ("a" * 3000, 1), ([[65], [65] * 60], 5)],
)
def test_a_prompt_that_is_too_long(prompt, max_tokens):
    """400 context_length_exceeded, if prompt and answer are longer than the context. The message contains the context."""
    (response,) = asked(PLAIN, {"model": "sea", "prompt": prompt, "max_tokens": max_tokens})
    assert "64" in assert_error(response, 400, "prompt", "context_length_exceeded")


def test_a_prompt_that_just_fits():
    """Prompt and answer may be as long as the context, or as `tokens`."""
    full, over = ({"model": "sea", "prompt": [65] * 60, "max_tokens": tokens} for tokens in (4, 5))
    assert asked(PLAIN, full)[0].status == 200
    short = {"model": "sea", "prompt": [65] * 6, "max_tokens": 4}
    assert asked(PLAIN, short, tokens=10)[0].status == 200
    for response in (*asked(PLAIN, over, tokens=99), *asked(PLAIN, short, tokens=9)):
        assert_error(response, 400, "prompt", "context_length_exceeded")


def test_a_chat_that_is_too_long():
    """400 context_length_exceeded with the param "messages"; also if just no token fits after them."""
    room = 64 - len(bundle().chat_ids([{"role": "user", "content": ""}]))
    fields = [{"model": "sea", "messages": [{"role": "user", "content": "x" * length}]} for length in (room - 1, room, 3000)]
    fits, *others = asked(CHAT, *fields)
    assert fits.json()["usage"]["completion_tokens"] == 1
    for response in others:
        assert "64" in assert_error(response, 400, "messages", "context_length_exceeded")


def test_what_is_much_too_long_is_not_encoded():
    """What has more characters than `tokens` of the longest token is refused before it is encoded, messages taken together."""

    class Counts(BPETokenizer):
        total = 0

        def encode(self, text, special=False):
            Counts.total += len(text)
            return super().encode(text, special)

    counted, long = with_tokenizer(Counts), {"role": "user", "content": "x" * 100_000}
    for path, source, given in (
        (PLAIN, "prompt", ["a", long["content"]]),
        (CHAT, "messages", [*USER, long]),
        (CHAT, "messages", [{"role": "user", "content": "x" * 99}] * 50),
    ):
        (response,) = asked(path, {"model": "sea", source: given}, of=counted)
        assert_error(response, 400, source, "context_length_exceeded")
    assert (before := Counts.total) < 1000
    (response,) = asked(PLAIN, {"model": "sea", "prompt": "x" * 200}, of=counted, tokens=5)
    assert_error(response, 400, "prompt", "context_length_exceeded")
    assert Counts.total == before


def test_as_long_as_it_may_be():
    """A text of as many tokens as there may be, each the longest of the vocabulary, is not too long. Nor are two of them."""
    longest = max(bundle().tokenizer.vocab.values(), key=len).decode()
    assert len(bundle().tokenizer.encode(longest * 64)) == 64
    (response,) = asked(PLAIN, {"model": "sea", "prompt": [longest * 64] * 2, "max_tokens": 0, "echo": True})
    assert [choice["text"] for choice in response.json()["choices"]] == [longest * 64] * 2


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"5",
        b"null",
        b'"sea"',
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"n": ' + b"9" * 5000 + b"}",
        b"{'n': 1}",
        b'{"model": "sea", "prompt": "\xff"}',
    ],
)
def test_a_body_that_is_no_json_object(body):
    """400 invalid_json."""
    (response,) = sent(body)
    assert_error(response, 400, None, "invalid_json")


def test_a_message_does_not_repeat_all_that_was_sent():
    """A message has at most some hundred characters, whatever it is about."""
    long, good = "x" * 9999, {"model": "sea", "prompt": "a"}
    for fields in ({"prompt": {"a": long}}, {"stop": [long, ""]}, {long: 1}, {"model": long}):
        (response,) = asked(PLAIN, good | fields)
        assert len(response.json()["error"]["message"]) <= 1000
    (response,) = sent(b"{}", headers=[("Content-Type", f"text/{long}")])
    assert len(response.json()["error"]["message"]) <= 1000


@pytest.mark.parametrize(
    "kind",
    [None, "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/jsonp", ""],
)
def test_another_content_type(kind):
    """415 unsupported_media_type: what a form of another site can send is never read as JSON."""
    headers = [] if kind is None else [("Content-Type", kind)]
    (response,) = sent(b'{"model": "sea", "prompt": "a"}', headers=headers)
    assert_error(response, 415, None, "unsupported_media_type")


@pytest.mark.parametrize("kind", ["application/json", "application/json; charset=utf-8", "Application/JSON;x=y"])
def test_the_content_type_of_json(kind):
    """application/json, in any case, with or without parameters."""
    (response,) = sent(b'{"model": "sea", "prompt": "a"}', headers=[("Content-Type", kind)])
    assert response.status == 200


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/nothing", 404),
        ("GET", "/v1/models/", 404),
        ("GET", PLAIN, 405),
        ("DELETE", CHAT, 405),
        ("POST", "/v1/models", 405),
    ],
)
def test_other_paths_and_methods(method, path, status):
    """404 and 405 have OpenAI's shape, too; 405 says which methods there are."""
    (response,) = sent(b"", path=path, method=method)
    assert_error(response, status)
    if status == 405:
        assert ("POST" in response.headers["allow"]) == (method != "POST")


def test_other_sites_are_not_let_in():
    """There is no CORS: no response has an Access-Control header, and a preflight is refused."""
    origin = ("Origin", "http://elsewhere.example")
    asks = [origin, ("Access-Control-Request-Method", "POST"), ("Access-Control-Request-Headers", "content-type")]
    preflight = sent(b"", method="OPTIONS", headers=asks)[0]
    answer = sent(b'{"model": "sea", "prompt": "a"}', headers=[JSON, origin])[0]
    assert preflight.status == 405
    assert not [name for response in (preflight, answer) for name in response.headers if name.startswith("access-control")]


@pytest.mark.parametrize("kind", [ArithmeticError, SystemExit])
def test_an_engine_that_fails(kind, monkeypatch, caplog):
    """500 in OpenAI's shape, without what the engine said, which the server logs. The next request is served."""
    real = Engine.step

    def fails(engine):
        monkeypatch.setattr(Engine, "step", real)
        raise kind("of the engine's own")

    async def main():
        async with running(app(bundle())) as served:
            monkeypatch.setattr(Engine, "step", fails)
            body = b'{"model": "sea", "prompt": "a", "n": 2}'
            exchange = Exchange(served, "POST", PLAIN, body, [JSON])
            response = await exchange.response()
            await exchange.ended()
            return response, exchange.said, (await Exchange(served, "POST", PLAIN, body, [JSON]).response()).status

    response, said, after = asyncio.run(main())
    assert "of the engine's own" not in assert_error(response, 500, None, "internal_error")
    assert "of the engine's own" in caplog.text + said
    assert after == 200


def test_after_the_end_of_the_lifespan():
    """503 when the app is shut down already."""

    async def main():
        async with running(app(bundle())) as served:
            pass
        return await Exchange(served, "POST", PLAIN, b'{"model": "sea", "prompt": "a"}', [JSON]).response()

    assert_error(asyncio.run(main()), 503, None, "shutting_down")


@pytest.mark.timeout(10)
@pytest.mark.parametrize(
    ("path", "source"), [(PLAIN, {"prompt": "slow"}), (CHAT, {"messages": [USER[0] | {"content": "slow"}]})]
)
def test_a_long_prompt_does_not_stop_the_others(path, source):
    """While a prompt, or a message, is encoded, the app answers other requests. None takes what another asks for."""
    begun, answered, seen = threading.Event(), threading.Event(), []

    class Slow(BPETokenizer):
        def encode(self, text, special=False):
            if text == "slow":
                begun.set()
                seen.append(answered.wait(5))
            return super().encode(text, special)

    async def main():
        async with running(app(with_tokenizer(Slow))) as served:
            long = Exchange(served, "POST", path, json.dumps({"model": "sea", "stream": True} | source).encode(), [JSON])
            while not begun.is_set():
                await asyncio.sleep(0)
            await Exchange(served, "POST", PLAIN, b'{"model": "sea", "prompt": "a"}', [JSON]).response()
            answered.set()
            return await long.response()

    response = asyncio.run(main())
    assert response.status == 200
    assert response.headers["content-type"].startswith("text/event-stream")
    assert seen == [True]
