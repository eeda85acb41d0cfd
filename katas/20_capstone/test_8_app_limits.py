import asyncio
import base64
import functools
import hashlib
import hmac
import json
import logging
import secrets
import time
from contextlib import asynccontextmanager

import katas.capstone
import numpy as np
import pytest
from katas.capstone import PAGE, Bundle, Engine, Request, app
from katas.tokenization import BPETokenizer
from katas.transformers import GPT, GPTConfig

from specs.check import Exchange, Response, running
from specs.oracles.gate import Gate

JSON = ("Content-Type", "application/json")
PLAIN, CHAT = "/v1/completions", "/v1/chat/completions"
GETS = ("/", "/healthz/live", "/healthz/ready", "/metrics", "/v1/models")
BODY = b'{"model": "sea", "prompt": "a", "max_tokens": 3}'


@functools.cache
def bundle() -> Bundle:
    tokenizer = BPETokenizer.train("she sells sea shells " * 9, 262)
    return Bundle(GPT(GPTConfig(262, 64, 1, 2, 16)), tokenizer, "sea", None, {"user": ("U:", "\n"), "assistant": ("A:", "")})


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


def get(*paths: str, headers=(), **options) -> list[Response]:
    async def main():
        async with running(app(bundle(), **options)) as served:
            return [await Exchange(served, "GET", path, b"", headers).response() for path in paths]

    return asyncio.run(main())


def post(served, path: str = PLAIN, **fields) -> Exchange:
    source = {"prompt": "a"} if path == PLAIN else {"messages": [{"role": "user", "content": "a"}]}
    return Exchange(served, "POST", path, json.dumps({"model": "sea"} | source | fields).encode(), [JSON])


# Keys


def with_key(key: str, **options) -> list[int]:
    """What each path answers, with an Authorization header."""

    async def main():
        async with running(app(bundle(), **options)) as served:
            headers = [("Authorization", key), JSON]
            exchanges = [Exchange(served, "GET", path, b"", headers) for path in GETS]
            exchanges += [Exchange(served, "POST", PLAIN, BODY, headers), Exchange(served, "GET", "/v1/nothing", b"", headers)]
            return [(await exchange.response()).status for exchange in exchanges]

    return asyncio.run(main())


@pytest.mark.parametrize("key", ["Bearer alpha", "Bearer beta"])
def test_a_key_lets_in(key):
    """With keys, "Authorization: Bearer KEY" with any of them is let in."""
    assert with_key(key, keys=["alpha", "beta"]) == [200] * 6 + [404]


@pytest.mark.parametrize(
    "key",
    [
        "",
        "Bearer",
        "Bearer ",
        "Bearer alph",
        "Bearer alphabet",
        "Bearer ALPHA",
        "alpha",
        "Basic alpha",
        "Bearer alpha,beta",
        "Bearer é",
    ],
)
def test_without_a_key(key):
    """All but the page and the state of health is 401 without a key: /metrics and unknown paths, too."""
    assert with_key(key, keys=["alpha", "beta"]) == [200, 200, 200, 401, 401, 401, 401]


@pytest.mark.parametrize("method", ["OPTIONS", "HEAD", "DELETE"])
def test_every_method_needs_a_key(method):
    """Without one nobody is told which methods a path has."""

    async def main():
        async with running(app(bundle(), keys=["alpha"])) as served:
            return [(await Exchange(served, method, path, b"", [JSON]).response()).status for path in (PLAIN, "/v1/models")]

    assert asyncio.run(main()) == [401, 401]


def test_an_empty_key_lets_nobody_in():
    """Neither with other keys, nor alone."""
    for keys in (["alpha", ""], [""]):
        for given in ("", "Bearer", "Bearer "):
            assert with_key(given, keys=keys) == [200, 200, 200, 401, 401, 401, 401]


def test_without_keys_all_are_let_in():
    """Without keys no header is needed, and any is ignored."""
    assert with_key("Bearer whatever") == [200] * 6 + [404]


def test_what_a_refused_client_hears():
    """401 in OpenAI's shape, invalid_api_key, before the body has come. No key is in it, or in the log."""

    async def main():
        async with running(app(bundle(), keys=["alpha-secret"])) as served:
            return await Exchange(served, "POST", PLAIN, None, [("Authorization", "Bearer beta-secret"), JSON]).response()

    response = asyncio.run(main())
    error = response.json()["error"]
    assert response.status == 401
    assert response.headers["www-authenticate"] == "Bearer"
    assert (error["type"], error["param"], error["code"]) == ("invalid_request_error", None, "invalid_api_key")
    assert b"secret" not in response.body


def test_no_key_is_logged(caplog):
    """Neither the right key nor a wrong one is logged."""
    with caplog.at_level(logging.DEBUG):
        with_key("Bearer alpha-secret", keys=["alpha-secret"])
        with_key("Bearer beta-secret", keys=["alpha-secret"])
    assert "secret" not in caplog.text


@pytest.mark.parametrize("key", ["alpha", "beta", "gamma"])
def test_keys_are_compared_in_constant_time(key, monkeypatch):
    """hmac.compare_digest compares each request with each key: neither a key's beginning nor its place tells by time."""
    calls, real = [], hmac.compare_digest

    def compare(one, other):
        calls.append((one, other))
        return real(one, other)

    for module in (hmac, secrets, katas.capstone):
        monkeypatch.setattr(module, "compare_digest", compare, raising=False)
    get("/v1/models", headers=[("Authorization", f"Bearer {key}")], keys=["alpha", "beta"])
    assert len(calls) >= 2


# Hosts


@pytest.mark.parametrize("host", ["localhost", "localhost:8000", "127.0.0.1:8000", "LocalHost:1", "[::1]:8000"])
def test_names_of_this_machine(host):
    """The Host header may be a name of this machine, with any port."""
    assert [response.status for response in get(*GETS, headers=[("Host", host)])] == [200] * 5


@pytest.mark.parametrize(
    "host", ["", "example.com", "localhost.example.com", "127.0.0.1.example.com:80", "www.localhost", "[::2]"]
)
def test_other_names(host):
    """Any other name is 400 on every path: a site whose name leads to this machine can't use its visitors' browsers."""
    assert [response.status for response in get(*GETS, PLAIN, headers=[("Host", host)])] == [400] * 6


def test_other_hosts():
    """`hosts` are the names that are allowed, and only these."""
    names = ["model.example", "www.other.example"]
    for host, status in (("model.example:8000", 200), ("localhost", 400), ("other.example", 400)):
        assert get("/v1/models", headers=[("Host", host)], hosts=names)[0].status == status
    assert get("/v1/models", headers=[("Host", "localhost")], hosts=[])[0].status == 400


# Bodies


def test_a_body_that_is_too_long():
    """413 for a body of more than body_bytes, as soon as they have come: the rest is not waited for."""

    async def main():
        async with running(app(bundle(), body_bytes=100, body_seconds=0.5)) as served:
            fits = await Exchange(served, "POST", PLAIN, BODY + b" " * (100 - len(BODY)), [JSON]).response()
            over = Exchange(served, "POST", PLAIN, None, [JSON, ("Transfer-Encoding", "chunked")])
            for _ in range(11):
                over.send(b" " * 10)
            return fits, await over.response()

    fits, over = asyncio.run(main())
    assert fits.status == 200
    assert over.status == 413
    assert over.json()["error"]["code"] == "request_too_large"


def test_content_length_is_not_believed():
    """A Content-Length may lie: the bytes that come are counted."""

    async def main():
        async with running(app(bundle(), body_bytes=100)) as served:
            short, long = BODY + b" " * 99, BODY
            return [
                (await Exchange(served, "POST", PLAIN, body, [JSON, ("Content-Length", length)]).response()).status
                for body, length in ((short, "9"), (long, str(len(long))), (long, "99999"), (long, "many"))
            ]

    assert asyncio.run(main()) == [413, 200, 200, 200]


def test_a_body_in_parts():
    """A body may come in any parts."""

    async def main():
        async with running(app(bundle())) as served:
            exchange = Exchange(served, "POST", PLAIN, None, [JSON])
            for i in range(len(BODY)):
                exchange.send(BODY[i : i + 1])
            exchange.send(b"", more=False)
            return (await exchange.response()).status

    assert asyncio.run(main()) == 200


@pytest.mark.parametrize("trickles", [False, True])
def test_a_body_that_is_slow(trickles):
    """408 for a body that is not complete after body_seconds, even if parts go on coming. The connection is closed."""

    async def main():
        async with running(app(bundle(), body_seconds=0.05)) as served:
            exchange = Exchange(served, "POST", PLAIN, None, [JSON])
            waits = asyncio.create_task(exchange.response())
            for _ in range(150):
                if trickles:
                    exchange.send(b" ")
                if not waits.done():
                    await asyncio.sleep(0.005)
            assert waits.done(), "it still waits for the body"
            return await waits

    response = asyncio.run(main())
    assert response.status == 408
    assert response.json()["error"]["code"] == "request_timeout"
    assert response.headers["connection"] == "close"


@pytest.mark.timeout(5)
def test_an_answer_may_take_longer_than_a_body(gate):
    """body_seconds limits the body alone."""

    async def main():
        async with gated(gate, body_seconds=0.05) as served:
            exchange = post(served)
            await asyncio.sleep(0.1)
            gate.open()
            return (await exchange.response()).status

    assert asyncio.run(main()) == 200


# The queue


async def started(exchange: Exchange) -> int:
    """The status, once the app has sent it."""
    return (await exchange.message())["status"]


@pytest.mark.timeout(5)
def test_a_full_queue(gate):
    """429 queue_full with Retry-After, when rows + queue requests are there. When one is finished, the next is accepted."""

    async def main():
        async with gated(gate, rows=1, queue=1) as served:
            accepted = [post(served, stream=True, max_tokens=2) for _ in range(2)]
            assert [await started(one) for one in accepted] == [200, 200]
            refused = [await post(served, stream=stream).response() for stream in (False, True)]
            gate.open()
            for one in accepted:
                await one.ended()
            after = (await post(served).response()).status
            return refused, after, figures(await Exchange(served, "GET", "/metrics").response())

    refused, after, found = asyncio.run(main())
    assert found["kata_tokens_total", "prompt"] == 3, "only what was accepted is read"
    for response in refused:
        assert response.status == 429
        assert response.json()["error"]["code"] == "queue_full"
        assert int(response.headers["retry-after"]) >= 1
    assert after == 200


@pytest.mark.timeout(5)
@pytest.mark.parametrize("more", [{"n": 3}, {"prompt": ["a", "b", "c"]}])
def test_all_choices_or_none(more, gate):
    """A request for which there is no room keeps no place, not even for some of its choices."""

    async def main():
        async with gated(gate, rows=1, queue=2) as served:
            assert await started(post(served, stream=True)) == 200
            for _ in range(2):
                assert await started(post(served, stream=True, **more)) == 429
            return [await started(post(served, stream=True)) for _ in range(3)]

    assert asyncio.run(main()) == [200, 200, 429]


# Clients that leave


@pytest.mark.timeout(5)
@pytest.mark.parametrize("path", [PLAIN, CHAT])
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("when", ["at once", "later"])
def test_a_client_that_leaves(path, stream, when, gate):
    """After six clients that left, streamed to or not, in a row or in the queue, all places are free again."""

    async def main():
        async with gated(gate, rows=1, queue=1) as served:
            for _ in range(6):
                clients = [post(served, path, stream=stream, max_tokens=50) for _ in range(2)]
                if when == "later":
                    while gate.steps < 1:
                        await asyncio.sleep(0)
                    if stream:
                        assert [await started(client) for client in clients] == [200, 200]
                for client in clients:
                    client.leave()
                    await client.ended()
                gate.allow(1)
            last = [post(served, path, stream=True, max_tokens=2) for _ in range(2)]
            assert [await started(one) for one in last] == [200, 200]
            gate.open()
            return [(await one.message() is not None, one.error) for one in last]

    assert asyncio.run(main()) == [(True, None)] * 2


@pytest.mark.timeout(5)
def test_a_client_that_leaves_ends_all_its_choices(gate):
    """All choices of a request end with it."""

    async def main():
        async with gated(gate, rows=2, queue=2) as served:
            for stream in (True, False):
                client = post(served, stream=stream, n=4, max_tokens=50)
                await asyncio.sleep(0.02)
                client.leave()
                await client.ended()
            return await started(post(served, stream=True, n=4))

    assert asyncio.run(main()) == 200


@pytest.mark.timeout(5)
@pytest.mark.parametrize("leaves", [False, True])
def test_nothing_is_left_of_a_request(leaves, gate):
    """After its end, whoever ended it, a request has no task that waits for ever."""

    async def main():
        async with gated(gate) as served:
            before = len(asyncio.all_tasks())
            clients = [post(served, stream=stream, n=2, max_tokens=5) for stream in (False, True)]
            while not gate.steps:
                await asyncio.sleep(0)
            for client in clients if leaves else ():
                client.leave()
                await client.ended()
            gate.open()
            for client in clients:
                await client.ended()
            while len(asyncio.all_tasks()) > before:
                await asyncio.sleep(0)

    asyncio.run(main())


@pytest.mark.timeout(5)
@pytest.mark.parametrize("part", [b"{", BODY])
def test_a_client_that_leaves_while_it_sends(part):
    """A client that leaves before its body is complete is no fault of the app, and counted as 499."""

    async def main():
        async with running(app(bundle())) as served:
            client = Exchange(served, "POST", PLAIN, None, [JSON])
            client.send(part)
            await asyncio.sleep(0.01)
            client.leave()
            await client.ended()
            return client.error, figures(await Exchange(served, "GET", "/metrics").response())

    error, found = asyncio.run(main())
    assert error is None
    assert [key[1:] for key in found if key[0] == "kata_requests_total"] == [(PLAIN, "499")]


@pytest.mark.timeout(5)
@pytest.mark.parametrize("stream", [False, True])
def test_a_task_that_is_cancelled(stream, gate):
    """If the server cancels the app's task, the request ends, too, and it is counted."""

    async def main():
        async with gated(gate, rows=1, queue=0) as served:
            for _ in range(3):
                client = post(served, stream=stream, max_tokens=50)
                await asyncio.sleep(0.02)
                client.cancel()
                await client.ended()
            metrics = await Exchange(served, "GET", "/metrics").response()
            return await started(post(served, stream=True)), metrics

    status, metrics = asyncio.run(main())
    assert status == 200
    counts = {key: value for key, value in figures(metrics).items() if key[0] == "kata_requests_total"}
    assert sum(counts.values()) == 3, counts


# Metrics


def figures(response: Response) -> dict:
    """Values by name and labels."""
    from prometheus_client.parser import text_string_to_metric_families

    families = text_string_to_metric_families(response.body.decode())
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


def test_requests_are_counted():
    """kata_requests_total by path and status. Paths that don't exist are "other", or a client could make ever more of them."""

    async def main():
        async with running(app(bundle())) as served:
            exchanges = [
                Exchange(served, "GET", path)
                for path in ("/nothing", "/nothing/2", "/v1/models/", PLAIN, "/v1/models", "/v1/models?x=y")
            ]
            exchanges += [post(served, stream=stream, max_tokens=2) for stream in (False, True)]
            exchanges += [post(served, model="other"), Exchange(served, "GET", "/", b"", [("Host", "elsewhere")])]
            for exchange in exchanges:
                await exchange.response()
            return figures(await Exchange(served, "GET", "/metrics").response())

    found = {key[1:]: value for key, value in asyncio.run(main()).items() if key[0] == "kata_requests_total"}
    wanted = {("other", "404"): 3, (PLAIN, "405"): 1, ("/v1/models", "200"): 2, (PLAIN, "200"): 2, (PLAIN, "404"): 1}
    assert found == wanted | {("/", "400"): 1}


@pytest.mark.timeout(5)
def test_a_fault_is_counted(gate):
    """A request that fails is counted as 500."""

    async def main():
        async with gated(gate) as served:
            failed = post(served)
            while not gate.steps:
                await asyncio.sleep(0)
            gate.error = ArithmeticError("none")
            gate.open()
            await failed.ended()
            return figures(await Exchange(served, "GET", "/metrics").response())

    assert asyncio.run(main())["kata_requests_total", PLAIN, "500"] == 1


@pytest.mark.timeout(5)
def test_a_client_that_left_is_counted(gate):
    """A request whose client left before the answer is counted as 499."""

    async def main():
        async with gated(gate) as served:
            client = post(served)
            while not gate.steps:
                await asyncio.sleep(0)
            client.leave()
            await client.ended()
            return figures(await Exchange(served, "GET", "/metrics").response())

    assert asyncio.run(main())["kata_requests_total", PLAIN, "499"] == 1


@pytest.mark.parametrize("stream", [False, True])
def test_tokens_and_times_are_measured(stream):
    """kata_tokens_total by kind; a first token and times between tokens for each choice. An echo is no first token."""

    async def main():
        async with running(app(bundle())) as served:
            await post(served, stream=stream, prompt=["a", "bc"], n=2, max_tokens=5, echo=True).response()
            await post(served, CHAT, stream=stream, max_tokens=1).response()
            return figures(await Exchange(served, "GET", "/metrics").response())

    found = asyncio.run(main())
    read = len(bundle().chat_ids([{"role": "user", "content": "a"}])) + 3
    assert (found["kata_tokens_total", "prompt"], found["kata_tokens_total", "completion"]) == (read, 21)
    assert found["kata_first_token_seconds_count",] == 5
    assert 8 <= found["kata_between_tokens_seconds_count",] <= 16  # a half character comes with the other half


def test_the_tokens_of_a_stop_string_are_counted():
    """As in usage: they were made, though they are not in the text."""

    async def main():
        async with running(app(bundle())) as served:
            whole = (await post(served, seed=5, max_tokens=30).response()).json()["choices"][0]["text"]
            before = figures(await Exchange(served, "GET", "/metrics").response())
            answer = (await post(served, seed=5, max_tokens=30, stop=whole[9:12]).response()).json()
            after = figures(await Exchange(served, "GET", "/metrics").response())
            key = ("kata_tokens_total", "completion")
            return whole, answer, after[key] - before[key]

    whole, answer, counted = asyncio.run(main())
    assert answer["choices"][0]["text"] == whole[: whole.index(whole[9:12])]
    assert counted == answer["usage"]["completion_tokens"]


def test_the_end_is_no_token():
    """Where the end token ends a text, there are as many times as there were updates with tokens."""
    tokenizer = BPETokenizer.train("she sells sea shells " * 9, 263, ["<|end|>"])
    ends = Bundle(GPT(GPTConfig(263, 64, 1, 2, 16), np.random.default_rng(0)), tokenizer, "sea", "<|end|>")

    def updates(seed: int) -> list:
        engine, found = Engine(ends), []
        engine.submit(Request([97], max_tokens=50, seed=seed))
        while engine.running or engine.waiting:
            found += engine.step()
        return found if found[-1].finish == "stop" and not found[-1].text else []

    async def main():
        async with running(app(ends)) as served:
            await post(served, prompt=[97], max_tokens=50, seed=seed).response()
            return figures(await Exchange(served, "GET", "/metrics").response())

    seed, told = next((seed, found) for seed in range(500) if len(found := updates(seed)) > 2)
    found = asyncio.run(main())
    assert found["kata_first_token_seconds_count",] == 1
    assert found["kata_between_tokens_seconds_count",] == len({update.made for update in told}) - 1


@pytest.mark.timeout(5)
def test_the_times_are_those_that_passed(gate):
    """The first token's time is from when the engine has the request; the next ones' from the token before."""

    async def main():
        async with gated(gate) as served:
            begun, stream = time.perf_counter(), post(served, stream=True, temperature=0, max_tokens=40)
            await started(stream)
            await asyncio.sleep(0.1)
            gate.allow(20)
            while not (first := figures(await Exchange(served, "GET", "/metrics").response()))[
                "kata_first_token_seconds_count",
            ]:
                await asyncio.sleep(0.001)
            await asyncio.sleep(0.1)
            gate.open()
            while await stream.message():
                pass
            last = figures(await Exchange(served, "GET", "/metrics").response())
            return first, last, time.perf_counter() - begun

    first, last, passed = asyncio.run(main())
    assert first["kata_first_token_seconds_sum",] >= 0.09
    assert last["kata_first_token_seconds_sum",] == first["kata_first_token_seconds_sum",]
    assert last["kata_between_tokens_seconds_sum",] >= first["kata_between_tokens_seconds_sum",] + 0.09
    assert last["kata_between_tokens_seconds_sum",] + last["kata_first_token_seconds_sum",] <= passed


@pytest.mark.timeout(5)
def test_each_choice_has_times_of_its_own(gate):
    """The first token of a choice that waited for the row of another took as long as both."""

    async def main():
        async with gated(gate, rows=1) as served:
            stream = post(served, stream=True, n=2, max_tokens=2)
            await started(stream)
            await asyncio.sleep(0.1)
            gate.open()
            while await stream.message():
                pass
            return figures(await Exchange(served, "GET", "/metrics").response())

    assert asyncio.run(main())["kata_first_token_seconds_sum",] >= 2 * 0.09


@pytest.mark.timeout(5)
def test_running_and_waiting(gate):
    """kata_running and kata_waiting are the engine's, at the time of asking."""

    async def main():
        async with gated(gate, rows=2, queue=9) as served:
            clients = [post(served, stream=True, max_tokens=9) for _ in range(5)]
            assert [await started(client) for client in clients] == [200] * 5
            gate.allow(2)
            while gate.steps < 3:
                await asyncio.sleep(0)
            busy = figures(await Exchange(served, "GET", "/metrics").response())
            gate.open()
            for client in clients:
                await client.ended()
            return busy, figures(await Exchange(served, "GET", "/metrics").response())

    busy, free = asyncio.run(main())
    assert (busy["kata_running",], busy["kata_waiting",]) == (2, 3)
    assert (free["kata_running",], free["kata_waiting",]) == (0, 0)


def test_each_app_has_its_own_registry():
    """Two apps in a process count apart, and the registry that all libraries share has none of it."""
    import prometheus_client

    async def main():
        async with running(app(bundle())) as first, running(app(bundle())) as second:
            for served in (first, second, second):
                await Exchange(served, "GET", "/v1/models").response()
                await post(served, max_tokens=3).response()
            return [await Exchange(served, "GET", "/metrics").response() for served in (first, second)]

    for times, response in enumerate(asyncio.run(main()), 1):
        assert response.headers["content-type"].startswith("text/plain; version=")
        found = figures(response)
        assert [found["kata_requests_total", path, "200"] for path in ("/v1/models", PLAIN)] == [times] * 2
        assert [found["kata_tokens_total", kind] for kind in ("prompt", "completion")] == [times, 3 * times]
        assert found["kata_first_token_seconds_count",] == times
        assert found["kata_between_tokens_seconds_count",] > 0
    assert b"kata_" not in prometheus_client.generate_latest()


# The page


NONE = ("default-src", "base-uri", "form-action", "frame-ancestors")


def policy(response: Response) -> dict[str, list[str]]:
    """The directives of a content security policy."""
    rules = response.headers["content-security-policy"].split(";")
    return {name: sources for name, *sources in (rule.split() for rule in rules)}


def test_the_page():
    """GET / is the page, as it is."""
    (response,) = get("/")
    assert response.body == PAGE.read_bytes()
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize(
    ("scripts", "styles"), [([], []), (["let a = 1\n"], ["p {}"]), (["a()", "b('é </b>')"], ["p {\n}", "i {}", ""])]
)
def test_the_policy_of_the_page(scripts, styles, tmp_path, monkeypatch):
    """Only what stands in the page runs, by its hash, and it connects to this server alone."""
    page = "".join(f"<style>{text}</style>\n" for text in styles) + "<p>a</p>"
    page += "".join(f'<script type="module">{text}</script>\n' for text in scripts)
    (tmp_path / "page.html").write_text(page, encoding="utf-8")
    monkeypatch.setattr(katas.capstone, "PAGE", tmp_path / "page.html")
    found = policy(get("/")[0])

    def hashes(texts):
        return {f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" for text in texts} or {"'none'"}

    assert {*found["script-src"]} == hashes(scripts)
    assert {*found["style-src"]} == hashes(styles)
    for name in NONE:
        assert found[name] == ["'none'"]
    assert found["connect-src"] == ["'self'"]
    assert {*found} == {*NONE, "connect-src", "script-src", "style-src", "img-src"}
    assert found["img-src"] == ["data:"]
