"""The driver of ASGI apps, on apps whose answers are known."""

import asyncio

import pytest

from specs.check import Exchange, Mismatch, Response, running


async def echo(scope, receive, send):
    """Sends what it was sent, part by part, until the body or the client ends."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"X-Method", scope["method"].encode())]})
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ConnectionError("left")
        await send({"type": "http.response.body", "body": message["body"], "more_body": message["more_body"]})
        if not message["more_body"]:
            return


def test_a_body_at_once_and_in_parts():
    """The app gets the body's parts as they are sent; the response has all of its own."""

    async def main():
        whole = await Exchange(echo, "PUT", "/", b"abc").response()
        exchange = Exchange(echo, "POST", "/", None)
        start = await exchange.message()
        exchange.send(b"a")
        first = await exchange.message()
        exchange.send(b"b", more=False)
        return whole, start, first, [await exchange.message() for _ in range(2)]

    whole, start, first, rest = asyncio.run(main())
    assert whole == Response(200, {"x-method": "PUT"}, b"abc")
    assert (start["status"], first["body"], rest[0]["body"], rest[1]) == (200, b"a", b"b", None)


def test_a_client_that_leaves():
    """The app hears of it, and nothing that it sends later arrives. What it raises is kept."""

    async def main():
        exchange = Exchange(echo, "POST", "/", None)
        exchange.leave()
        await exchange.ended()
        return exchange

    exchange = asyncio.run(main())
    assert isinstance(exchange.error, ConnectionError)


def test_an_app_without_a_response():
    """Mismatch, with what the app raised."""

    async def fails(scope, receive, send):
        raise KeyError("lost")

    async def main():
        with pytest.raises(Mismatch, match="lost"):
            await Exchange(fails, "GET", "/").response()

    asyncio.run(main())


def test_scopes():
    """Path and query apart, header names in lower case, a Host unless one is given."""
    seen = []

    async def looks(scope, receive, send):
        seen.append(scope)

    async def main():
        await Exchange(looks, "GET", "/a?b=c", headers=[("X-Y", "z")]).ended()
        await Exchange(looks, "GET", "/", headers=[("HOST", "there")]).ended()

    asyncio.run(main())
    assert (seen[0]["path"], seen[0]["query_string"]) == ("/a", b"b=c")
    assert seen[0]["headers"] == [(b"x-y", b"z"), (b"host", b"localhost")]
    assert seen[1]["headers"] == [(b"host", b"there")]


@pytest.mark.parametrize("body", [b"data: 1\n", b"data: 1\n\ndata: 2", b"data: 1\ndata: 2\n\n", b": 1\n\n", b"data: 1\r\n\n"])
def test_events_that_are_none(body):
    """Each event is one line and a blank one."""
    with pytest.raises(Mismatch, match="data"):
        Response(200, {}, body).events()


def test_events():
    """The JSON of each, and [DONE]. A line separator of Unicode ends no line."""
    body = 'data: {"a": "\u2028"}\n\ndata: [DONE]\n\n'.encode()
    assert Response(200, {}, body).events() == [{"a": "\u2028"}, "[DONE]"]


def test_lifespan():
    """The app is started, used and shut down; a start that fails is no deadlock."""
    phases = []

    async def lives(scope, receive, send):
        for _ in range(2):
            message = await receive()
            phases.append(message["type"])
            await send({"type": f"{message['type']}.complete"})

    async def breaks(scope, receive, send):
        await receive()
        raise KeyError("lost")

    async def main():
        async with running(lives) as app:
            assert app is lives
            phases.append("used")
        with pytest.raises(KeyError):
            async with running(breaks):
                pass

    asyncio.run(main())
    assert phases == ["lifespan.startup", "used", "lifespan.shutdown"]
