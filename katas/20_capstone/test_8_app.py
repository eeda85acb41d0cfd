import asyncio
import functools
import json
import time

import numpy as np
import pytest
from katas.capstone import Bundle, Engine, Request, app
from katas.tokenization import BPETokenizer
from katas.transformers import GPT, GPTConfig

from specs.check import Exchange, Mismatch, Response, assert_close, rejects, running

JSON = ("Content-Type", "application/json")
PLAIN, CHAT = "/v1/completions", "/v1/chat/completions"


@functools.cache
def bundle(**options) -> Bundle:
    """A small GPT in float64, so that no rounding shows."""
    tokenizer = BPETokenizer.train("she sells sea shells " * 9, 264, ["<|end|>", "<|user|>"])
    options = {"context": 64, "n_layer": 1, "n_head": 2, "d_model": 16} | options
    model, rng = GPT(GPTConfig(264, **options), np.random.default_rng(0)), np.random.default_rng(1)
    for parameter in model.parameters():
        parameter.data = rng.normal(0, 0.5, parameter.shape)
    return Bundle(model, tokenizer, "sea", "<|end|>", {"user": ("<|user|>", "\n"), "assistant": ("says: ", "")})


def other(old: Bundle, **changes) -> Bundle:
    """A bundle that differs from an old one."""
    facts = {name: getattr(old, name) for name in ("model", "tokenizer", "name", "end", "chat")}
    return Bundle(**facts | changes)


def encode(text: str) -> list[int]:
    return bundle().tokenizer.encode(text)


async def ask(served, path: str, fields: dict) -> Response:
    """What the app answers to a POST."""
    return await Exchange(served, "POST", path, json.dumps(fields).encode(), [JSON]).response()


def asked(path: str, *requests: dict, of: Bundle | None = None, **options) -> list[dict]:
    """The JSON of the answers to requests that come together."""

    async def main():
        async with running(app(of or bundle(), **options)) as served:
            return await asyncio.gather(*(ask(served, path, {"model": "sea"} | fields) for fields in requests))

    responses = asyncio.run(main())
    assert [response.status for response in responses] == [200] * len(requests), responses
    return [response.json() for response in responses]


def by_hand(prompt: str | list[int], of: Bundle | None = None, **settings):
    """The Update that all of the engine's updates of a request make together."""
    engine, text, tokens = Engine(of or bundle(), rows=1), "", ()
    engine.submit(Request(encode(prompt) if isinstance(prompt, str) else prompt, **settings))
    while engine.running or engine.waiting:
        for update in engine.step():
            text, tokens = text + update.text, tokens + update.tokens
    return update._replace(text=text, tokens=tokens)


def test_a_completion():
    """POST /v1/completions gives OpenAI's object: the engine's text, why it ended, how many tokens were read and written."""
    (answer,) = asked(PLAIN, {"prompt": "she sells", "max_tokens": 9, "seed": 3})
    want = by_hand("she sells", max_tokens=9, seed=3)
    assert answer["choices"] == [{"index": 0, "text": want.text, "logprobs": None, "finish_reason": "length"}]
    read = len(encode("she sells"))
    assert answer["usage"] == {"prompt_tokens": read, "completion_tokens": 9, "total_tokens": read + 9}
    assert (answer["object"], answer["model"]) == ("text_completion", "sea")
    assert answer["id"].startswith("cmpl-")
    assert type(answer["created"]) is int
    assert abs(answer["created"] - time.time()) < 30


@pytest.mark.parametrize(
    "settings",
    [
        {"max_tokens": 5},
        {"temperature": 0},
        {"temperature": 0.3, "max_tokens": 30},
        {"top_p": 0.2, "max_tokens": 30},
        {"seed": 77},
    ],
)
def test_settings_are_the_engines(settings):
    """max_tokens, temperature, top_p and seed are the Request's."""
    (answer,) = asked(PLAIN, {"prompt": "sea", "seed": 5} | settings)
    assert answer["choices"][0]["text"] == by_hand("sea", **({"seed": 5} | settings)).text


def test_sixteen_tokens_unless_told_otherwise():
    """A completion has 16 tokens by default."""
    (answer,) = asked(PLAIN, {"prompt": "sea", "seed": 5})
    assert answer["usage"]["completion_tokens"] == 16
    assert answer["choices"][0]["text"] == by_hand("sea", seed=5, max_tokens=16).text


def test_null_is_the_default():
    """A field that is null is as one that is absent."""
    names = ("max_tokens", "temperature", "top_p", "n", "stop", "stream", "stream_options", "echo", "logprobs", "suffix")
    (answer,) = asked(PLAIN, {"prompt": "sea", "seed": 5, "user": None, "tools": None, "unknown": None} | dict.fromkeys(names))
    assert answer["choices"][0]["text"] == by_hand("sea", seed=5).text


def test_stop():
    """Up to four stop strings, or one that is not in a list, end the text before them: finish_reason is "stop"."""
    whole = by_hand("sea", max_tokens=30, seed=5, temperature=0.5).text
    stops = ["…", whole[9:11], "«", whole[6:8]]
    fields = {"prompt": "sea", "max_tokens": 30, "seed": 5, "temperature": 0.5}
    one, four, long = asked(PLAIN, *(fields | {"stop": stop} for stop in (whole[6:8], stops, whole[6:13])))
    want = by_hand("sea", max_tokens=30, seed=5, temperature=0.5, stop=whole[6:8])
    assert long["choices"][0]["text"] == want.text
    for answer in (one, four):
        assert answer["choices"][0] == {"index": 0, "text": want.text, "logprobs": None, "finish_reason": "stop"}
        assert answer["usage"]["completion_tokens"] == want.made


def test_the_end_token():
    """The bundle's end finishes a text with "stop"."""
    seed = next(seed for seed in range(500) if by_hand("sea", seed=seed).finish == "stop")
    (answer,) = asked(PLAIN, {"prompt": "sea", "seed": seed})
    want = by_hand("sea", seed=seed)
    assert (answer["choices"][0]["text"], answer["choices"][0]["finish_reason"]) == (want.text, "stop")
    assert answer["usage"]["completion_tokens"] == want.made


@pytest.mark.parametrize(
    ("prompt", "rows"),
    [
        ("she", ["she"]),
        (["she", "sea shells"], ["she", "sea shells"]),
        ([115, 104], [[115, 104]]),
        ([[115, 104], [101]], [[115, 104], [101]]),
        (["she", [101]], ["she", [101]]),
    ],
)
def test_prompts(prompt, rows):
    """A prompt is a string, ids, or a list of such. Choice i of prompt p has the index p·n + i, and the seed + i."""
    (answer,) = asked(PLAIN, {"prompt": prompt, "n": 3, "seed": 5, "max_tokens": 4})
    want = [by_hand(row, seed=5 + choice, max_tokens=4).text for row in rows for choice in range(3)]
    assert [choice["text"] for choice in answer["choices"]] == want
    assert [choice["index"] for choice in answer["choices"]] == [*range(len(want))]
    read = sum(len(encode(row) if isinstance(row, str) else row) for row in rows)  # each is read once
    assert answer["usage"]["prompt_tokens"] == read
    assert answer["usage"]["completion_tokens"] == 4 * len(want)


def test_choices_without_a_seed_differ():
    """Without a seed each choice, and each request, gets a fresh one."""
    first, second = asked(PLAIN, {"prompt": "sea", "n": 4}, {"prompt": "sea", "n": 4})
    texts = [choice["text"] for answer in (first, second) for choice in answer["choices"]]
    assert len({*texts}) > 4
    assert first["id"] != second["id"]


def test_any_text():
    """A prompt may have any characters, in JSON's own notation or in UTF-8."""
    text = "é\u2028€ 😀\0\n"

    async def main():
        async with running(app(bundle())) as served:
            fields = {"model": "sea", "prompt": text, "echo": True, "max_tokens": 0}
            bodies = [json.dumps(fields, ensure_ascii=ascii).encode() for ascii in (True, False)]
            return [await Exchange(served, "POST", PLAIN, body, [JSON]).response() for body in bodies]

    assert [response.json()["choices"][0]["text"] for response in asyncio.run(main())] == [text, text]


def test_special_tokens_in_a_prompt_are_text():
    """No client can write the bundle's end."""
    (answer,) = asked(PLAIN, {"prompt": "a<|end|>", "seed": 5})
    assert answer["usage"]["prompt_tokens"] == len(encode("a<|end|>")) > 2
    assert answer["choices"][0]["text"] == by_hand("a<|end|>", seed=5).text


def test_echo():
    """With echo, the prompt comes first, and is counted once. max_tokens may be 0."""
    fields = {"prompt": ["she", "sea"], "n": 2, "seed": 5, "echo": True}
    some, none = asked(PLAIN, fields | {"max_tokens": 4}, fields | {"max_tokens": 0})
    want = [row + by_hand(row, seed=5 + choice, max_tokens=4).text for row in ("she", "sea") for choice in range(2)]
    assert [choice["text"] for choice in some["choices"]] == want
    assert [choice["text"] for choice in none["choices"]] == ["she", "she", "sea", "sea"]
    assert none["usage"]["completion_tokens"] == 0
    assert none["usage"]["prompt_tokens"] == some["usage"]["prompt_tokens"] == len(encode("she")) + len(encode("sea"))


def name(number: int) -> str:
    """A token in completions: its text, or the bytes of a part of a character."""
    part = bundle().tokenizer.vocab[number]
    try:
        return part.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in part)


@pytest.mark.parametrize("count", [0, 2, 5])
def test_logprobs_of_a_completion(count):
    """logprobs=k: each token, its log-probability, and those of the k most probable ones and itself, by name."""
    (answer,) = asked(PLAIN, {"prompt": "she", "seed": 5, "logprobs": count})
    found, want = answer["choices"][0]["logprobs"], by_hand("she", seed=5, logprobs=count).tokens
    assert found.keys() == {"tokens", "token_logprobs", "top_logprobs", "text_offset"}
    assert found["tokens"] == [name(token.id) for token in want]
    assert_close(found["token_logprobs"], [token.logprob for token in want])
    for got, token in zip(found["top_logprobs"], want, strict=True):
        assert got == pytest.approx({name(number): logprob for number, logprob in (*token.top, token[:2])})
    assert any("bytes:" in text for text in found["tokens"])


def test_a_token_that_is_certain():
    """Its log-probability is 0, which is told, and so is what else there might have been."""
    model = GPT(GPTConfig(264, 32, 1, 1, 264), np.random.default_rng(0))
    for parameter in model.parameters():
        if parameter.ndim > 1:
            parameter.data = np.zeros_like(parameter.data)
    model.transformer.wte.weight.data = np.eye(264, dtype=np.float32)
    model.transformer.wpe.weight.data[:, encode("a")] = 10
    model.transformer.ln_f.weight.data *= 100
    certain = Bundle(model, bundle().tokenizer, "sea")
    (answer,) = asked(PLAIN, {"prompt": "s", "max_tokens": 3, "seed": 0, "logprobs": 1}, of=certain)
    found = answer["choices"][0]["logprobs"]
    if found["token_logprobs"] != [0.0] * 3:
        raise Mismatch(f"three tokens of probability 1 have the log-probabilities {found['token_logprobs']}")
    assert found["top_logprobs"] == [{"a": 0.0}] * 3


def test_logprobs_of_an_echo():
    """The first token of an echo has no log-probability: null. With max_tokens=0, there are those of the prompt alone."""
    fields = {"prompt": "she sells", "seed": 5, "logprobs": 1, "echo": True}
    some, none = (answer["choices"][0] for answer in asked(PLAIN, fields, fields | {"max_tokens": 0}))
    want = by_hand("she sells", seed=5, logprobs=1, echo=True).tokens
    for choice, tokens in ((some, want), (none, want[: len(encode("she sells"))])):
        found = choice["logprobs"]
        assert found["tokens"] == [name(token.id) for token in tokens]
        assert found["token_logprobs"][0] is found["top_logprobs"][0] is None
        assert_close(found["token_logprobs"][1:], [token.logprob for token in tokens[1:]])
        assert all(len(top) in (1, 2) for top in found["top_logprobs"][1:])
        for text, place in zip(found["tokens"], found["text_offset"], strict=True):
            if not text.startswith("bytes:"):
                assert choice["text"].startswith(text, place)


@pytest.mark.parametrize(
    ("ids", "want"),
    [
        ([97, 0xC3, 0xA9, 98], [0, 1, 1, 2]),
        ([0xE2, 0x82, 0xAC, 0xE2, 97, 98], [0, 0, 0, 1, 2, 3]),
        ([0xAC, 0xFF, 97, 0xE2, 0xE2, 0x82], [0, 1, 2, 3, 4, 4]),
        ([0xF0, 0x9F, 0x98, 0x80, 256, 97], [0, 0, 0, 0, 1, 3]),
    ],
)
def test_text_offset(ids, want):
    """text_offset: the character of the text in which a token begins, whole or not."""
    assert len(bundle().tokenizer.vocab[256]) == 2  # characters
    (answer,) = asked(PLAIN, {"prompt": ids, "echo": True, "max_tokens": 0, "logprobs": 0})
    assert answer["choices"][0]["logprobs"]["text_offset"] == want
    assert len(answer["choices"][0]["text"]) == max(want) + 1


def test_the_name_of_a_part_of_a_character():
    """ "bytes:", and \\x and two digits for each byte, also of one below 16."""
    merges = [(b"\xc3", b"\n"), (b"\x00", b"\xff"), *((b"a", bytes([byte])) for byte in b"bcdefg")]
    parts = [*(bytes([byte]) for byte in range(256)), *(first + second for first, second in merges)]
    odd = other(bundle(), tokenizer=BPETokenizer(dict(enumerate(parts)), merges), end=None)
    (answer,) = asked(PLAIN, {"prompt": [256, 97, 257], "echo": True, "max_tokens": 0, "logprobs": 0}, of=odd)
    assert answer["choices"][0]["logprobs"]["tokens"] == [r"bytes:\xc3\x0a", "a", r"bytes:\x00\xff"]


def test_text_offset_after_a_prompt_that_ends_in_half_a_character():
    """A half character at the end of a prompt is one of its own: the answer does not end it."""
    ids, seeds = [97, 0xC3], range(99)
    seed = next(seed for seed in seeds if 0x80 <= by_hand(ids, seed=seed).tokens[0].id < 0xC0)  # which could end it
    (answer,) = asked(PLAIN, {"prompt": ids, "echo": True, "max_tokens": 8, "logprobs": 0, "seed": seed})
    choice = answer["choices"][0]
    assert choice["text"].startswith("a\ufffd\ufffd")
    assert choice["logprobs"]["text_offset"][:3] == [0, 1, 2]


MESSAGES = [
    {"role": "user", "content": "sea?"},
    {"role": "assistant", "content": "shells"},
    {"role": "user", "content": "<|end|>"},
]


def test_a_message_of_a_chat():
    """POST /v1/chat/completions continues `chat_ids` of the messages: OpenAI's object, with a message."""
    (answer,) = asked(CHAT, {"messages": MESSAGES, "max_completion_tokens": 9, "seed": 3, "n": 2})
    ids = bundle().chat_ids(MESSAGES)
    texts = [by_hand(ids, max_tokens=9, seed=seed).text for seed in (3, 4)]
    want = [
        {"index": i, "message": {"role": "assistant", "content": text}, "logprobs": None, "finish_reason": "length"}
        for i, text in enumerate(texts)
    ]
    assert answer["choices"] == want
    assert answer["usage"] == {"prompt_tokens": len(ids), "completion_tokens": 18, "total_tokens": len(ids) + 18}
    assert answer["object"] == "chat.completion"
    assert answer["id"].startswith("chatcmpl-")
    assert answer["model"] == "sea"


def test_how_long_a_message_is():
    """max_completion_tokens, or the older max_tokens; without them, as long as there is room in the context."""
    fields = {"messages": MESSAGES[:1], "seed": 3}
    both = [{"max_completion_tokens": count, "max_tokens": 7} for count in (5, 0)]
    limits = [{}, {"max_tokens": 5}, {"max_completion_tokens": 5}, *both]
    counts = [answer["usage"]["completion_tokens"] for answer in asked(CHAT, *(fields | limit for limit in limits))]
    assert counts == [64 - len(bundle().chat_ids(MESSAGES[:1])), 5, 5, 5, 0]
    (empty,) = asked(CHAT, fields | {"max_tokens": 0})
    assert empty["choices"][0]["message"] == {"role": "assistant", "content": ""}


def test_the_text_after_a_message_ends_it():
    """The template's text after the assistant's message is a stop string, beside those of the request."""
    ids = bundle().chat_ids(MESSAGES[:1])
    whole = by_hand(ids, seed=3, max_tokens=30).text
    ends = other(bundle(), chat=bundle().chat | {"assistant": ("says: ", whole[8:10])})
    fields = {"messages": MESSAGES[:1], "seed": 3, "max_tokens": 30}
    stops = [None, whole[4:6], ["«", whole[4:6]], ["«", "…", "¶", "§"]]
    answers = asked(CHAT, *(fields | {"stop": stop} for stop in stops), of=ends)
    wants = [by_hand(ids, seed=3, max_tokens=30, stop=stop).text for stop in (whole[8:10], whole[4:6], whole[4:6], whole[8:10])]
    assert [answer["choices"][0]["message"]["content"] for answer in answers] == wants
    assert [answer["choices"][0]["finish_reason"] for answer in answers] == ["stop"] * 4


def test_a_blank_after_a_message_ends_it():
    """It is a stop string as it is."""
    ends = other(bundle(), chat=bundle().chat | {"assistant": ("says: ", " ")})
    ids = bundle().chat_ids(MESSAGES[:1])
    texts = [by_hand(ids, seed=seed, max_tokens=40).text for seed in range(12)]
    seed = next(seed for seed, text in enumerate(texts) if " " in text)
    (answer,) = asked(CHAT, {"messages": MESSAGES[:1], "seed": seed, "max_tokens": 40}, of=ends)
    assert answer["choices"][0]["message"]["content"] == texts[seed].partition(" ")[0]


@pytest.mark.parametrize("top", [None, 0, 3])
def test_logprobs_of_a_message(top):
    """logprobs=true: each token with its log-probability and its bytes; top_logprobs: the most probable ones, too."""
    fields = {"messages": MESSAGES[:1], "seed": 3, "max_tokens": 16, "logprobs": True}
    (answer,) = asked(CHAT, fields if top is None else fields | {"top_logprobs": top})
    want = by_hand(bundle().chat_ids(MESSAGES[:1]), seed=3, max_tokens=16, logprobs=top or 0).tokens
    found = answer["choices"][0]["logprobs"]["content"]
    assert len(found) == len(want) == 16

    def assert_entry(entry, number, logprob):
        part = bundle().tokenizer.vocab[number]
        assert entry["token"] == part.decode(errors="replace")
        assert entry["bytes"] == [*part]
        assert entry["logprob"] == pytest.approx(logprob)

    for entry, token in zip(found, want, strict=True):
        assert_entry(entry, *token[:2])
        assert len(entry["top_logprobs"]) == (top or 0)
        for other, pair in zip(entry["top_logprobs"], token.top, strict=True):
            assert_entry(other, *pair)


def test_a_chat_without_logprobs():
    """logprobs=false, the default, tells none."""
    fields = {"messages": MESSAGES[:1], "max_tokens": 3}
    for answer in asked(CHAT, fields, fields | {"logprobs": False}):
        assert answer["choices"][0]["logprobs"] is None


def test_fields_that_ask_for_nothing():
    """Fields that are not supported may have the value that changes nothing; `user` may be any string."""
    both = {"frequency_penalty": 0, "presence_penalty": 0.0, "logit_bias": {}, "user": "somebody", "store": False}
    plain = both | {"prompt": "sea", "seed": 5, "best_of": 1, "suffix": ""}
    chat = both | {"messages": MESSAGES, "seed": 5, "metadata": {}, "tools": [], "tool_choice": "none"}
    (answer,) = asked(PLAIN, plain)
    assert answer["choices"][0]["text"] == by_hand("sea", seed=5).text
    asked(CHAT, chat | {"max_tokens": 2, "response_format": {"type": "text"}})


def test_many_clients_at_a_time():
    """Each of twelve requests that come together, plain ones and chats, gets its own answer."""

    async def main():
        async with running(app(bundle(), rows=3)) as served:
            plain = [ask(served, PLAIN, {"model": "sea", "prompt": [65 + i], "seed": i, "n": 2}) for i in range(6)]
            fields = {"model": "sea", "messages": MESSAGES, "max_tokens": 9}
            chats = [ask(served, CHAT, fields | {"seed": i}) for i in range(6)]
            return [response.json()["choices"] for response in await asyncio.gather(*plain, *chats)]

    found, ids = asyncio.run(main()), bundle().chat_ids(MESSAGES)
    for i in range(6):
        assert [choice["text"] for choice in found[i]] == [by_hand([65 + i], seed=i + choice).text for choice in range(2)]
        assert found[6 + i][0]["message"]["content"] == by_hand(ids, max_tokens=9, seed=i).text


def test_two_apps_at_a_time():
    """Two apps of one process have bundles, limits and names of their own. Limits may be NumPy's integers."""
    text = "by the lake, by the lake, a lark. " * 9
    lake = other(bundle(context=32), tokenizer=BPETokenizer.train(text, 264, ["<|end|>", "<|user|>"]), name="lake", end=None)
    tokens, fields = np.int64(18), {"prompt": "shells by the lake", "seed": 5, "max_tokens": 4, "logprobs": 1, "echo": True}

    async def main():
        async with (
            running(app(bundle())) as first,
            running(app(lake, np.int64(2), np.int64(3), np.int64(1), tokens=tokens)) as second,
        ):
            asks = [("sea", first), ("lake", second)] * 3
            told = await asyncio.gather(*(ask(served, PLAIN, {"model": model} | fields) for model, served in asks))
            long = [{"prompt": [65] * 20, "max_tokens": 5}, {"prompt": "she sells " * 16, "max_tokens": 1}]
            limits = [await ask(served, PLAIN, {"model": model} | one) for one in long for model, served in asks[:2]]
            return [response.json() for response in told], [response.status for response in limits]

    answers, limits = asyncio.run(main())
    for answer, (model, of) in zip(answers, [("sea", bundle()), ("lake", lake)] * 3, strict=True):
        vocab, ids = of.tokenizer.vocab, of.tokenizer.encode(fields["prompt"])
        (choice,) = answer["choices"]
        assert answer["model"] == model
        assert choice["text"] == by_hand(ids, of, seed=5, max_tokens=4, echo=True).text
        assert choice["logprobs"]["tokens"][: len(ids)] == [vocab[number].decode() for number in ids]
    assert limits == [200, 400] * 2


def test_a_window_has_no_end_but_a_request_has():
    """With a window there is no limit in the model: `tokens` limits prompt and answer together."""
    rolls = other(bundle(positions="rotary", window=8), end=None)
    plain, most = asked(
        PLAIN, {"prompt": "sea", "max_tokens": 90}, {"prompt": [65] * 10, "max_tokens": 90}, of=rolls, tokens=100
    )
    assert plain["usage"]["completion_tokens"] == most["usage"]["completion_tokens"] == 90
    (chat,) = asked(CHAT, {"messages": MESSAGES}, of=rolls, tokens=100)
    assert chat["usage"]["total_tokens"] == 100


def test_what_the_engine_does_not_take():
    """rows, queue and slice are the Engine's: its ValueErrors are raised at once."""
    for name in ("rows", "slice"):
        with rejects(ValueError, name):
            app(bundle(), **{name: 0})
    with rejects(ValueError, "queue"):
        app(bundle(), queue=-1)


def test_models():
    """GET /v1/models lists the bundle by its name."""

    async def main():
        async with running(app(bundle())) as served:
            return await Exchange(served, "GET", "/v1/models").response()

    found = asyncio.run(main()).json()
    assert found["object"] == "list"
    (model,) = found["data"]
    assert (model["id"], model["object"]) == ("sea", "model")
    assert type(model["created"]) is int
    assert isinstance(model["owned_by"], str)


def test_health():
    """/healthz/live is 200; /healthz/ready too, but 503 while `state.draining` is True."""

    async def main():
        async with running(app(bundle())) as served:
            found = []
            for served.state.draining in (False, True, False):
                for path in ("/healthz/live", "/healthz/ready"):
                    found.append((await Exchange(served, "GET", path).response()).status)
            return found

    assert asyncio.run(main()) == [200, 200, 200, 503, 200, 200]
