"""Milestone 5: the GPT of milestone 3 in production. A process of its own serves it to many clients, some of which misbehave.

An answer is right if each of its tokens is what its seed draws from the logits of kata 14's GPT, up to rounding, and each
log-probability is right within 1e-4.
"""

import asyncio
import json
import signal
import sys
import time
from collections.abc import Coroutine, Sequence
from contextlib import aclosing, suppress
from pathlib import Path
from typing import NamedTuple

import h11
import numpy as np
import pytest
from katas.capstone import BuildConfig, Bundle, Engine, build
from katas.transformers import GPT

from specs.milestones.clients import COMPLETIONS, PAUSE, Answer, Ask, Asker, Call, Refused, Server
from specs.milestones.recipes import gpt
from specs.milestones.test_4_gains import Language
from specs.oracles import serving
from specs.oracles.serving import Verdict
from specs.plugin.limits import blas, slowness

CLIENTS, REQUESTS, FEW = 16, 500, 100  # at a time; in all; with --data few
LONGEST = 900  # tokens of a prompt
ROLES = {"user": ("\n\nROMEO:\n", ""), "assistant": ("\n\nJULIET:\n", "\n\n")}
PLACES = 80  # of Engine: rows and queue
LONG = 4000  # tokens, which take a second or more
WAIT = 240 * slowness()  # seconds that nothing here may take, and nothing takes a quarter of
LEAVES = 5 * slowness()  # seconds until a client that left is noticed, which takes a hundredth of a second
SECONDS = 5, 15  # that requests take after SIGTERM, about: more than one, after which others are refused, and less than 30
EXCUSED = 5  # tokens of a few thousand that may differ by rounding: one in six thousand does
BROKEN = OSError, h11.RemoteProtocolError  # what a client gets that is cut off

pytestmark = pytest.mark.timeout(900)


class Production(NamedTuple):
    """A bundle that `build` made of milestone 3's GPT, as it is served; the clear GPT, which judges; who asks."""

    folder: Path
    bundle: Bundle
    clear: GPT
    asker: Asker

    @classmethod
    @blas().wrap(limits=1)
    def of(cls, milestone, language: Language, folder: Path) -> "Production":
        tokenizer, text = gpt.tokenizer(language.texts.train), folder / "text.txt"
        text.write_text(language.texts.train + language.texts.test, encoding="utf-8")
        Bundle(language.clear, tokenizer, chat=ROLES).save(folder / "trained")
        config = BuildConfig(str(text), str(folder / "trained"))
        build(config, folder / "served", tell=lambda stage: milestone.note(str(stage)))
        bundle = Bundle.load(folder / "served")
        return cls(folder / "served", bundle, language.clear, Asker(bundle, language.others))

    @blas().wrap(limits=1)
    def judge(self, asks: Sequence[Ask], answers: Sequence[Answer], most: int | None = None) -> Verdict:
        """All answers, of each up to `most` tokens. Raises: AssertionError if one is not complete."""
        verdicts = []
        for ask, answer in zip(asks, answers, strict=True):
            assert answer.made >= sum(len(choice.tokens) for choice in answer.choices), "usage counts too few tokens"
            for request, choice in zip(ask.requests, answer.choices, strict=True):
                text = self.bundle.tokenizer.decode([token.id for token in choice.tokens])
                if choice.finish == "length":
                    told = f"{len(choice.tokens)} of {request.max_tokens} tokens came of the answer to {ask.fields}"
                    assert len(choice.tokens) == request.max_tokens, told
                    assert text == choice.text, f"{choice.text!r} is not the text of its tokens, {text!r}"
                else:
                    assert choice.finish == "stop", f"an answer ends with {choice.finish}"
                    assert choice.text.startswith(text), f"{choice.text!r} does not begin with its tokens, {text!r}"
                assert not any([stop in choice.text for stop in request.stop]), f"{request.stop} in {choice.text!r}"
                verdicts.append(serving.judge(self.clear, request, choice.tokens[:most]))
        return serving.together(verdicts)


@pytest.fixture(scope="module")
def shared() -> dict:
    """What the tests of this run share."""
    return {}


@pytest.fixture
def production(milestone, data, shared, tmp_path_factory) -> Production:
    """Built for the first test that asks."""
    if "production" not in shared:
        language = Language.of(milestone, data)
        shared["production"] = Production.of(milestone, language, tmp_path_factory.mktemp("production"))
    return shared["production"]


def run(scenario: Coroutine):
    """What a scenario returns. Nothing hangs: it has WAIT seconds."""

    async def bounded():
        async with asyncio.timeout(WAIT):
            return await scenario

    return asyncio.run(bounded())


async def patiently(ask: Ask, port: int) -> Answer:
    """The answer, in the end: while the queue is full, it asks again, when the server says."""
    while True:
        try:
            return await ask.answer(port)
        except Refused as refused:
            if refused.status != 429:
                raise
            await asyncio.sleep(int(refused.headers[b"retry-after"]))


async def load(port: int, asks: Sequence[Ask]) -> list[Answer]:
    """The answers to all, which CLIENTS clients ask, one after the other each."""
    answers, waiting = {}, iter(enumerate(asks))

    async def client() -> None:
        for index, ask in waiting:
            answers[index] = await patiently(ask, port)

    await asyncio.gather(*[client() for _ in range(CLIENTS)])
    return [answers[index] for index in range(len(asks))]


class Times(NamedTuple):
    """Seconds of all answers together, until the first token of each, and between two of its tokens."""

    total: float
    first: list[float]
    between: list[float]


@blas().wrap(limits=1)
def alone(bundle: Bundle, asks: Sequence[Ask]) -> Times:
    """What the engine takes without a server, CLIENTS requests at a time, with as many threads of BLAS as in the server."""
    engine, waiting = Engine(bundle), [request for ask in asks for request in ask.requests][::-1]
    start, times, last = time.perf_counter(), Times(0, [], []), {}
    while waiting or engine.running:
        while waiting and engine.running + engine.waiting < CLIENTS:
            last[engine.submit(waiting.pop())] = None, time.perf_counter()
        for update in engine.step():
            now, (made, before) = time.perf_counter(), last[update.number]
            if update.tokens:
                (times.between if made else times.first).append(now - before)
                last[update.number] = update.made, now
    return times._replace(total=time.perf_counter() - start)


def of(answers: Sequence[Answer], total: float) -> Times:
    """The times of answers, of which those that were streamed have some."""
    streams = [(answer.begun, choice.times) for answer in answers for choice in answer.choices if len(choice.times) > 1]
    first = [times[0] - begun for begun, times in streams]
    return Times(total, first, [second for _, times in streams for second in np.diff(times).tolist()])


def judged(milestone, title: str, verdict: Verdict) -> None:
    """Rows that say how right answers are."""
    milestone.row(f"{title}: tokens that seeds do not draw", len(verdict.wrong), wanted="≤ 0")
    most = max(EXCUSED, verdict.judged // 1000)
    milestone.row(f"{title}: tokens that differ by rounding", verdict.excused, wanted=f"≤ {most}")
    milestone.row(f"{title}: error of a log-probability, millionths", 1e6 * verdict.worst, wanted="≤ 100")


def test_many_clients_are_answered_rightly(production, milestone, data):
    """All kinds of requests, streamed and not, from 16 clients at a time."""
    rng = np.random.default_rng(0)
    asks = production.asker.several(FEW if data == "few" else REQUESTS, min(LONGEST, len(production.asker.text) // 2), rng)
    with Server.of(production.folder) as server:
        start = time.perf_counter()
        answers = run(load(server.port, asks))
        served, peak = of(answers, time.perf_counter() - start), server.peak_memory()
    made = sum(answer.made for answer in answers)
    title = f"{len(asks)} requests, {CLIENTS} at a time"
    milestone.note(f"{title}: {sum(len(ask.requests[0].prompt) for ask in asks):,} tokens are read, {made:,} written")
    judged(milestone, title, production.judge(asks, answers))
    both = {"served": served, "engine alone": alone(production.bundle, asks)}
    for name, times in both.items():
        milestone.row(f"{name}: tokens a second", made / times.total)
    for what, place in (("the first token", 1), ("the next token", 2)):
        for share in (50, 95, 99):
            for name, times in both.items():
                milestone.row(f"{name}: until {what}, p{share}", 1e3 * float(np.percentile(times[place], share)), "ms")
    if peak:
        milestone.row("server: largest memory of the process", peak, "MB")


def test_a_stream_comes_token_by_token(production):
    """The first token of a long answer comes before short answers that were asked for later."""
    asker = production.asker

    async def scenario(port: int) -> None:
        first = asyncio.create_task(begun(asker.ask([1], max_tokens=LONG), port))
        for seed in range(10):  # which takes a tenth of the long one
            await asker.ask([2], stream=False, seed=seed, max_tokens=40).answer(port)
            if first.done():
                return first.result()
        first.cancel()
        raise AssertionError("of a stream nothing came until ten short answers were made")

    with Server.of(production.folder) as server:
        run(scenario(server.port))


async def begun(ask: Ask, port: int) -> None:
    """Leaves when a token has come."""
    async with aclosing(ask.parts(port)) as parts:
        async for answer in parts:
            if any([choice.tokens for choice in answer.choices]):
                return


def test_a_full_queue_refuses_and_who_leaves_makes_room(production):
    """Beyond rows and queue a request gets 429, and when to come back. A client that leaves, streaming or not, frees all that
    it has."""
    asker = production.asker

    async def scenario(port: int) -> None:
        everything = asker.ask([1], n=PLACES, max_tokens=LONG)
        async with aclosing(everything.parts(port)) as parts:
            async for answer in parts:
                if any([choice.tokens for choice in answer.choices]):
                    break
            status, headers, fields = await asked(port)
            assert status == 429, f"beyond {PLACES} requests the status is {status}, not 429"
            assert int(headers[b"retry-after"]) >= 1
            assert "message" in fields["error"]
        await room(port)
        leaves = asyncio.create_task(patiently(asker.ask([1], stream=False, n=PLACES, max_tokens=LONG), port))
        while (await asked(port))[0] != 429:  # until it has all places, for which the one asked about here may be in its way
            await asyncio.sleep(PAUSE)
        assert not leaves.done(), leaves.result()
        leaves.cancel()
        await room(port)

    async def asked(port: int) -> tuple[int, dict, dict]:
        """What another client gets, which leaves if it gets a stream."""
        ask = asker.ask([1], max_tokens=1)
        async with Call(port) as call:
            await call.post(ask.path, json.dumps(ask.fields).encode())
            return call.status, call.headers, {} if call.status == 200 else await call.json()

    async def room(port: int) -> None:
        """Waits until all places are free."""
        end = time.perf_counter() + LEAVES
        while True:
            try:
                return await asker.ask([1], stream=False, n=PLACES, max_tokens=1).answer(port)
            except Refused as refused:
                if refused.status != 429:
                    raise
                if time.perf_counter() > end:
                    raise AssertionError(f"{LEAVES:.0f} seconds after a client left there is no room") from refused
            await asyncio.sleep(PAUSE)

    with Server.of(production.folder) as server:
        run(scenario(server.port))


def test_what_clients_do_wrong_harms_no_other(production, milestone, data):
    """Some leave amid a stream, send a byte a second, garbage, 10 MB or prompts that are too long, or ask for more than there
    is room for. All others are answered rightly."""
    rng = np.random.default_rng(1)
    asks = production.asker.several(60 if data == "few" else 120, 100, rng)
    faults = Faults(production.asker, rng)

    async def scenario(port: int) -> list[Answer]:
        wrong = [asyncio.create_task(each) for each in faults.all(port)]
        answers = await load(port, asks)
        faults.over = True
        await asyncio.gather(*wrong)
        return answers

    with Server.of(production.folder) as server:
        answers = run(scenario(server.port))
    told = ", ".join(f"{name} {times}×" for name, times in faults.counts.items())
    milestone.note(f"meanwhile clients misbehaved: {told}")
    greedy, got = zip(*faults.served, strict=True)
    judged(milestone, f"{len(asks)} requests amid faults", production.judge([*asks, *greedy], [*answers, *got]))


class Faults:
    """What clients do wrong, again and again until it is `over`. counts: how many times each did."""

    def __init__(self, asker: Asker, rng: np.random.Generator):
        self.asker, self.rng, self.over, self.counts = asker, rng, False, {}
        self.served: list[tuple[Ask, Answer]] = []  # what the greedy ones got

    def all(self, port: int) -> list[Coroutine]:
        """One client of each kind, two greedy ones."""
        kinds = [self.leaves, self.garbage, self.large, self.too_long, self.greedy, self.greedy]
        return [*[self._again(kind, port) for kind in kinds], self.slow(port)]

    async def _again(self, kind, port: int) -> None:
        while True:
            await kind(port)
            self.counts[kind.__name__] = self.counts.get(kind.__name__, 0) + 1
            if self.over:
                return
            await asyncio.sleep(4 * PAUSE)

    async def leaves(self, port: int) -> None:
        """Amid a stream, or while it waits for the whole answer."""
        with suppress(Refused):
            await begun(self.asker.ask([1], max_tokens=LONG), port)
            with suppress(TimeoutError):
                async with asyncio.timeout(PAUSE):
                    await self.asker.ask([1], stream=False, max_tokens=LONG).answer(port)

    async def garbage(self, port: int) -> None:
        """Bodies that are no JSON objects, or no requests; and what is not even HTTP."""
        bodies = [self.rng.bytes(1000), b"{", b"[]", b"null", b"[" * 100_000, b'{"model": "gpt", "prompt": {}}', b"\xff"]
        for body in bodies:
            assert (await self._posted(port, body))["type"] == "invalid_request_error"
        with suppress(*BROKEN):
            async with Call(port) as call:
                await call.send(b"\0" + self.rng.bytes(1000) + b"\r\n\r\n")
                await call.head()
                assert call.status == 400, f"what is not HTTP gets {call.status}"

    async def large(self, port: int) -> None:
        """10 MB, of which the first tells that it is too much. The server may close the connection at any time."""
        with suppress(*BROKEN):
            async with Call(port) as call:
                await call.begin(COMPLETIONS, 10 << 20)
                await call.send(bytes((1 << 20) + 1))
                await call.head()
                assert call.status == 413, f"10 MB get {call.status}"
                for _ in range(9):
                    await call.send(bytes(1 << 20))

    async def too_long(self, port: int) -> None:
        """Prompts of 5,000 tokens, and of 500,000 letters."""
        for prompt in ([1] * 5000, "e" * 500_000):
            body = json.dumps({"model": self.asker.bundle.name, "prompt": prompt}).encode()
            error = await self._posted(port, body)
            assert error["code"] == "context_length_exceeded", error

    async def greedy(self, port: int) -> None:
        """Half of all places at once."""
        seed = int(self.rng.integers(1 << 30))
        ask = self.asker.ask([1], stream=False, n=PLACES // 2, seed=seed, max_tokens=8)
        self.served.append((ask, await patiently(ask, port)))

    async def slow(self, port: int) -> None:
        """A byte a second: of a body, which gets 408, and of a head, which a proxy must bound."""
        async with Call(port) as call, Call(port) as other:
            await call.begin(COMPLETIONS, 1000)
            head = asyncio.create_task(call.head())
            while not head.done():
                await call.send(b"{")
                await other.send(b"G")
                await asyncio.wait([head], timeout=1)
            head.result()
            assert call.status == 408, f"a slow body gets {call.status}"
        self.counts["slow"] = 1

    async def _posted(self, port: int, body: bytes) -> dict:
        async with Call(port) as call:
            await call.post(COMPLETIONS, body)
            assert call.status == 400, f"{body[:100]} gets {call.status}"
            return (await call.json())["error"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM")
def test_sigterm_ends_it_when_accepted_requests_are_done(production, milestone):
    """Running, waiting, streamed or not: each that was accepted before the signal is answered, whole and right."""
    asker = production.asker

    def asks(tokens: int) -> list[Ask]:
        """More than there are rows, of which a third is not streamed."""
        prompts = enumerate(asker.text[: CLIENTS * 3 // 2].tolist())
        return [asker.ask([start], i >= CLIENTS // 2, seed=i, max_tokens=tokens) for i, start in prompts]

    async def scenario(server: Server, seconds: float) -> tuple[list[Ask], list[Answer], list[int], int]:
        """Requests that take so long, about, of which `left` still run when no more are accepted; and their answers."""
        start = time.perf_counter()
        made = sum([answer.made for answer in await asyncio.gather(*[ask.answer(server.port) for ask in asks(50)])])
        tokens = int(seconds * made / (time.perf_counter() - start) / len(asks(1)))
        accepted, chosen = asyncio.Semaphore(0), asks(min(LONG, tokens))
        tasks = [asyncio.create_task(followed(ask, server.port, accepted)) for ask in chosen]
        for _ in range(CLIENTS):
            await accepted.acquire()
        server.process.send_signal(signal.SIGTERM)
        statuses = await readiness(server.port)
        left = sum(not task.done() for task in tasks)
        return chosen, await asyncio.gather(*tasks), statuses, left

    for seconds in SECONDS:
        with Server.of(production.folder) as server:
            chosen, answers, statuses, left = run(scenario(server, seconds))
            status = server.ends()
        assert status in (0, -signal.SIGTERM), f"it ends with {status}"
        assert statuses == sorted(statuses), f"after SIGTERM /healthz/ready goes through {statuses}"
        if left:
            break
    assert left, "all requests were answered before the server refused others: nothing was shown"
    title = f"{len(chosen)} requests before SIGTERM"
    milestone.note(f"{title}: {left} run when others are refused")
    judged(milestone, title, production.judge(chosen, answers, most=64))


async def followed(ask: Ask, port: int, accepted: asyncio.Semaphore) -> Answer:
    """The answer. A stream is known to be accepted when its head comes."""
    parts = []
    async for answer in ask.parts(port):
        if ask.fields["stream"] and not parts:
            accepted.release()
        parts.append(answer)
    return parts[-1]


async def readiness(port: int) -> list[int]:
    """The statuses of /healthz/ready, until no more connections are accepted."""
    statuses = []
    while True:
        try:
            async with Call(port) as call:
                await call.get("/healthz/ready")
                statuses.append(call.status)
        except BROKEN:
            return statuses
        await asyncio.sleep(PAUSE)


def test_after_a_sigkill_it_serves_again(production, milestone):
    """Its clients get errors. The bundle is as it was, and a new process serves it."""
    asker = production.asker
    asks = [asker.ask([1], i % 2 == 0, seed=i, max_tokens=LONG) for i in range(2 * CLIENTS)]

    async def scenario(server: Server) -> list:
        accepted = asyncio.Semaphore(0)
        tasks = [asyncio.create_task(followed(ask, server.port, accepted)) for ask in asks]
        for _ in range(CLIENTS):
            await accepted.acquire()
        server.process.kill()
        return await asyncio.gather(*tasks, return_exceptions=True)

    with Server.of(production.folder) as server:
        found = run(scenario(server))
    assert all(isinstance(each, BROKEN) for each in found), f"after SIGKILL clients get {found}"
    state = Bundle.load(production.folder).model.state_dict()
    for name, array in production.bundle.model.state_dict().items():
        assert np.array_equal(array, state[name]), f"{name} is another after SIGKILL"
    asks = asker.several(2 * CLIENTS, 100, np.random.default_rng(2))
    with Server.of(production.folder) as server:
        judged(milestone, f"{len(asks)} requests after SIGKILL", production.judge(asks, run(load(server.port, asks))))
