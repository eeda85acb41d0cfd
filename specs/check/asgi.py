"""Drives an ASGI app without sockets: a spec sees each message, sends a body in parts, and leaves when it likes."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import NamedTuple

from specs.check.asserts import Mismatch


class Response(NamedTuple):
    """The names of `headers` are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> dict:
        return json.loads(self.body)

    def events(self) -> list:
        """The JSON of each server-sent event, or "[DONE]". Raises: Mismatch for anything but `data: …` and a blank line."""
        *parts, rest = self.body.decode().split("\n\n")
        if rest or not all(part.startswith("data: ") and "\n" not in part and "\r" not in part for part in parts):
            raise Mismatch(f"each event must be a line `data: …` and a blank line, not\n{self.body.decode()}")
        texts = [part.removeprefix("data: ") for part in parts]
        return [text if text == "[DONE]" else json.loads(text) for text in texts]


class Exchange:
    """One request, which is on its way as soon as this exists. body: None if it comes by `send`."""

    def __init__(self, app, method: str, path: str, body: bytes | None = b"", headers: Iterable[tuple[str, str]] = ()):
        given = {name.lower() for name, _ in headers}
        headers = [*headers, *([] if "host" in given else [("Host", "localhost")])]
        raw = [(name.lower().encode(), value.encode()) for name, value in headers]
        path, _, query = path.partition("?")
        scope = {"type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1", "method": method}
        scope |= {"scheme": "http", "path": path, "raw_path": path.encode(), "query_string": query.encode(), "root_path": ""}
        scope |= {"headers": raw, "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80), "state": {}}
        self.error: Exception | None = None  # which the app raised, after whatever it sent
        self._left, self._received, self._sent = False, asyncio.Queue(), asyncio.Queue()
        if body is not None:
            self.send(body, more=False)
        self._task = asyncio.create_task(self._run(app, scope))

    def send(self, part: bytes, more: bool = True) -> None:
        """Sends a part of the body."""
        self._received.put_nowait({"type": "http.request", "body": part, "more_body": more})

    def leave(self) -> None:
        """The client closes its connection."""
        self._left = True
        self._received.put_nowait({"type": "http.disconnect"})

    def cancel(self) -> None:
        """The server cancels the app's task, as it does when its patience ends."""
        self._task.cancel()

    async def message(self) -> dict | None:
        """The next message of the app, or None after its last one."""
        return await self._sent.get()

    async def response(self) -> Response:
        """All of the response. Raises: Mismatch if there is none."""
        start = await self.message()
        if start is None:
            raise Mismatch(f"the app sent no response{f' but raised {self.error!r}' if self.error else ''}")
        body = b""
        while message := await self.message():
            body += message["body"]
        return Response(start["status"], {name.decode().lower(): value.decode() for name, value in start["headers"]}, body)

    async def ended(self) -> None:
        """Waits until the app has returned, or raised."""
        await asyncio.wait([self._task])

    @property
    def said(self) -> str:
        """What the exception that left the app says, and those that led to it."""
        error, texts = self.error, []
        while error is not None:
            texts.append(str(error))
            error = error.__cause__ or error.__context__
        return "\n".join(texts)

    async def _run(self, app, scope: dict) -> None:
        try:
            await app(scope, self._receive, self._send)
        except Exception as error:
            self.error = error
        finally:
            self._sent.put_nowait(None)

    async def _receive(self) -> dict:
        if self._left and self._received.empty():
            return {"type": "http.disconnect"}
        return await self._received.get()

    async def _send(self, message: dict) -> None:
        if not self._left:  # as a server does, it drops what nobody receives
            self._sent.put_nowait(message)


@asynccontextmanager
async def running(app) -> AsyncIterator:
    """The app, between the start and the end of its lifespan."""
    received, sent = asyncio.Queue(), asyncio.Queue()
    task = asyncio.create_task(app({"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}, received.get, sent.put))

    async def phase(name: str) -> None:
        received.put_nowait({"type": f"lifespan.{name}"})
        waits = asyncio.create_task(sent.get())
        await asyncio.wait([waits, task], return_when=asyncio.FIRST_COMPLETED)
        if not waits.done() or waits.result()["type"] != f"lifespan.{name}.complete":
            waits.cancel()
            await task
            raise Mismatch(f"the app's {name} failed")

    await phase("startup")
    try:
        yield app
    finally:
        await phase("shutdown")
        await task
