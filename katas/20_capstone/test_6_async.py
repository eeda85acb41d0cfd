import asyncio
import functools
import threading
from contextlib import asynccontextmanager, suppress

import numpy as np
import pytest
from katas.capstone import AsyncEngine, Bundle, Engine, QueueFull, Request
from katas.tokenization import BPETokenizer
from katas.transformers import GPT, GPTConfig

from specs.check import rejects
from specs.oracles.gate import Gate


@functools.cache
def bundle() -> Bundle:
    """A small GPT in float64, so that no rounding shows."""
    tokenizer = BPETokenizer.train("she sells sea shells " * 9, 262)
    model, rng = GPT(GPTConfig(262, 64, 1, 2, 16), np.random.default_rng(0)), np.random.default_rng(1)
    for parameter in model.parameters():
        parameter.data = rng.normal(0, 0.5, parameter.shape)
    return Bundle(model, tokenizer)


def request(seed: int = 0, tokens: int = 6) -> Request:
    return Request([65 + seed % 20, 66], tokens, seed=seed, logprobs=0)


class Watched(Gate):
    """The gate of one engine, which knows the threads that called it."""

    def __init__(self, engine: Engine):
        super().__init__(Engine.step)
        self.threads = set()
        for name, real in (
            ("submit", engine.submit),
            ("cancel", engine.cancel),
            ("step", functools.partial(self.step(), engine)),
        ):
            setattr(engine, name, functools.partial(self._called, real))

    def _called(self, real, *arguments):
        self.threads.add(threading.get_ident())
        return real(*arguments)


@asynccontextmanager
async def served(**options):
    """A service of an engine whose steps wait for the gate, which opens at the end."""
    engine = Engine(bundle(), **options)
    gate = Watched(engine)
    async with AsyncEngine(engine) as service:
        try:
            yield service, gate
        finally:
            gate.open()


async def all_of(stream) -> tuple[list[int], str]:
    """The ids of a stream's tokens, and how it finished."""
    ids, finish = [], None
    async for update in stream:
        ids += [token.id for token in update.tokens]
        finish = update.finish
    return ids, finish


async def answer(service: AsyncEngine, asked: Request) -> tuple[list[int], str]:
    async with service.submit(asked) as stream:
        return await all_of(stream)


def by_hand(asked: Request) -> tuple[list[int], str]:
    """The same, from an engine without a thread."""
    engine, ids = Engine(bundle(), rows=1), []
    engine.submit(asked)
    while engine.running or engine.waiting:
        for update in engine.step():
            ids += [token.id for token in update.tokens]
    return ids, update.finish


def test_answers_are_those_of_the_engine():
    """Nine requests at a time get the updates that the engine gives by hand; each stream ends after its last one."""

    async def main():
        async with AsyncEngine(Engine(bundle(), rows=3)) as service:
            return await asyncio.gather(*(answer(service, request(seed)) for seed in range(9)))

    assert asyncio.run(main()) == [by_hand(request(seed)) for seed in range(9)]


def test_two_services_at_a_time():
    """Each has its own engine and its own queue."""

    async def main():
        async with (
            AsyncEngine(Engine(bundle(), rows=1, queue=0)) as one,
            AsyncEngine(Engine(bundle(), rows=1, queue=0)) as other,
        ):
            assert one.engine is not other.engine
            return await asyncio.gather(answer(one, request(1)), answer(other, request(2)))

    assert asyncio.run(main()) == [by_hand(request(1)), by_hand(request(2))]


def test_updates_come_one_by_one():
    """After each step there is its update, and no later one."""

    async def main():
        async with served() as (service, gate), service.submit(request(tokens=3)) as stream:
            for want in (None, None, "length"):
                gate.allow(1)
                update = await anext(stream)
                assert (len(update.tokens), update.finish) == (1, want)
            with rejects(StopAsyncIteration):
                await anext(stream)

    asyncio.run(main())


def test_one_thread_of_its_own_calls_the_engine():
    """submit, cancel and step of the engine are called by one thread, which isn't the event loop's."""

    async def main():
        async with served() as (service, gate):
            gate.open()
            await asyncio.gather(*(answer(service, request(seed)) for seed in range(3)))
            async with service.submit(request()) as stream:
                await anext(stream)
            await answer(service, request())
            return gate.threads

    threads = asyncio.run(main())
    assert len(threads) == 1
    assert threading.get_ident() not in threads


def test_the_event_loop_stays_free_during_a_step():
    """While a step takes long, requests are accepted and cancelled, and other tasks run."""

    async def main():
        async with served(rows=2) as (service, gate):
            first, others = service.submit(request(1)), []
            while not gate.steps:
                await asyncio.sleep(0)
            for seed in range(5):
                others.append(service.submit(request(seed)))
            others[0].cancel()
            gate.open()
            return await all_of(first), [await all_of(stream) for stream in others[1:]]

    first, others = asyncio.run(main())
    assert first == by_hand(request(1))
    assert others == [by_hand(request(seed)) for seed in range(1, 5)]


def test_a_full_queue_is_told_at_once():
    """submit raises QueueFull when rows + queue requests are there, and accepts one when one of them is finished."""

    async def main():
        async with served(rows=1, queue=1) as (service, gate):
            streams = [service.submit(request(tokens=1)) for _ in range(2)]
            with rejects(QueueFull):
                service.submit(request())
            gate.allow(1)
            await all_of(streams[0])
            streams.append(service.submit(request(tokens=1)))
            with rejects(QueueFull):
                service.submit(request())
            gate.open()
            return [await all_of(stream) for stream in streams[1:]]

    assert asyncio.run(main()) == [by_hand(request(tokens=1))] * 2


def test_a_request_that_does_not_fit_is_told_at_once():
    """submit raises the ValueError of the engine's check, and the request takes no place."""

    async def main():
        async with AsyncEngine(Engine(bundle(), rows=1, queue=0)) as service:
            for _ in range(3):
                with rejects(ValueError, "262"):
                    service.submit(Request([262]))
                with rejects(ValueError, "64"):
                    service.submit(Request([1] * 60, 5))
            return await answer(service, request())

    assert asyncio.run(main()) == by_hand(request())


async def left(service, gate):
    """A client reads one update and leaves its `async with`."""
    async with service.submit(request(tokens=50)) as stream:
        gate.allow(2)  # one may be a step that began before the client before this one left
        await anext(stream)


async def failed(service, gate):
    """A client has an error of its own."""
    with suppress(ZeroDivisionError):
        async with service.submit(request(tokens=50)) as stream:
            gate.allow(2)
            await anext(stream)
            raise ZeroDivisionError


async def cancelled_waiting(service, gate):
    """A task that waits for an update is cancelled, without an `async with`."""
    stream = service.submit(request(tokens=50))
    gate.allow(2)
    await anext(stream)
    task = asyncio.create_task(all_of(stream))
    await asyncio.sleep(0)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def cancelled_at_once(service, gate):
    """A request is cancelled before the engine has seen it."""
    service.submit(request(tokens=50)).cancel()


async def cancelled_twice(service, gate):
    """A stream is cancelled, and cancelled again."""
    stream = service.submit(request(tokens=50))
    stream.cancel()
    stream.cancel()


@pytest.mark.parametrize("leaves", [left, failed, cancelled_waiting, cancelled_at_once, cancelled_twice])
def test_a_client_that_leaves_frees_its_place(leaves):
    """After six clients that left, three times as many as there are places, the next request is served."""

    async def main():
        async with served(rows=1, queue=1) as (service, gate):
            for _ in range(6):
                await leaves(service, gate)
            gate.open()
            return await answer(service, request()), service.engine.running + service.engine.waiting

    assert asyncio.run(main()) == (by_hand(request()), 0)


def test_a_client_that_leaves_the_queue():
    """A request that waits for a row is cancelled: the one behind it is next."""

    async def main():
        async with served(rows=1, queue=2) as (service, gate):
            first, second, third = (service.submit(request(seed, tokens=2)) for seed in range(3))
            gate.allow(1)
            await anext(first)
            second.cancel()
            gate.allow(1)
            await anext(first)
            gate.allow(1)
            assert (await anext(third)).tokens
            gate.open()

    asyncio.run(main())


def test_cancel_ends_a_loop_that_waits():
    """A task that waits for an update of a stream ends when another task cancels the stream."""

    async def main():
        async with served() as (service, gate):
            stream = service.submit(request(tokens=50))
            task = asyncio.create_task(all_of(stream))
            gate.allow(1)
            await asyncio.sleep(0)
            stream.cancel()
            ids, finish = await task
            assert finish is None
            assert len(ids) <= 1
            with rejects(StopAsyncIteration):
                await anext(stream)

    asyncio.run(main())


def test_leaving_after_the_end_disturbs_nobody():
    """A stream that is finished, and then left and cancelled, ends no other request."""

    async def main():
        async with served(rows=1, queue=5) as (service, gate):
            gate.open()
            async with service.submit(request(1, 1)) as stream:
                await all_of(stream)
                others = [service.submit(request(seed)) for seed in range(3)]
            stream.cancel()
            return [await all_of(other) for other in others]

    assert asyncio.run(main()) == [by_hand(request(seed)) for seed in range(3)]


def test_cancel_of_what_is_finished_already():
    """A stream is cancelled when the engine has finished it, before the event loop hears of it: nobody else is disturbed."""

    async def main():
        async with served(rows=1, queue=5) as (service, gate):
            stream = service.submit(request(tokens=1))
            gate.open()
            while not gate.steps or service.engine.running or service.engine.waiting:
                pass  # the event loop can't hear of it meanwhile
            stream.cancel()
            return await asyncio.gather(*(answer(service, request(seed)) for seed in range(3)))

    assert asyncio.run(main()) == [by_hand(request(seed)) for seed in range(3)]


def test_an_error_in_a_step_reaches_its_requests_alone():
    """If a step raises, each request that the engine has gets this exception. The next ones are served."""

    async def main():
        async with served(rows=1, queue=9) as (service, gate):
            tasks = [asyncio.create_task(answer(service, request(seed))) for seed in range(3)]
            while not gate.steps:
                await asyncio.sleep(0)
            gate.error = MemoryError("no room")
            gate.open()
            found = await asyncio.gather(*tasks, return_exceptions=True)
            return found, await answer(service, request()), await answer(service, request(1))

    found, *later = asyncio.run(main())
    assert [type(one) for one in found if isinstance(one, Exception)] == [MemoryError] * sum(
        isinstance(one, Exception) for one in found
    )
    assert isinstance(found[0], MemoryError)
    assert later == [by_hand(request()), by_hand(request(1))]


class Torn(BaseException):
    """What is no Exception, as KeyboardInterrupt."""


@pytest.mark.timeout(5)
def test_whatever_a_step_raises_the_thread_goes_on():
    """What is no Exception reaches the requests, too, and the next ones are served."""

    async def main():
        async with served() as (service, gate):
            gate.error = Torn("apart")
            gate.open()
            with rejects(Torn, "apart"):
                await answer(service, request())
            return await answer(service, request(1))

    assert asyncio.run(main()) == by_hand(request(1))


@pytest.mark.timeout(5)
def test_an_error_of_the_engines_submit_reaches_this_request_alone():
    """If the engine's own submit raises, as it does when somebody made its queue smaller, only this request fails."""

    async def main():
        async with served() as (service, gate):
            other, real = service.submit(request(1)), service.engine.submit
            gate.allow(1)
            await anext(other)

            def fails(asked):
                service.engine.submit = real
                raise MemoryError("no room")

            service.engine.submit = fails
            gate.open()
            with rejects(MemoryError, "no room"):
                await answer(service, request(2))
            return (await all_of(other))[1], await answer(service, request(3))

    assert asyncio.run(main()) == ("length", by_hand(request(3)))


@pytest.mark.timeout(5)
def test_an_error_of_a_cancel():
    """If the engine's cancel raises, those that came with it hear of it, and do not wait for ever."""

    async def main():
        async with served() as (service, gate):
            first, real = service.submit(request()), service.engine.cancel
            gate.allow(1)
            await anext(first)
            while gate.steps < 2:
                await asyncio.sleep(0)

            def fails(number):
                service.engine.cancel = real
                real(number)
                raise MemoryError("no room")

            service.engine.cancel = fails
            first.cancel()
            later = service.submit(request(1))
            gate.open()
            with rejects(MemoryError, "no room"):
                await all_of(later)
            return await answer(service, request(2))

    assert asyncio.run(main()) == by_hand(request(2))


@pytest.mark.timeout(5)
def test_requests_that_the_engine_had_before():
    """An engine that has a request of its own finishes it, and nobody hears of it."""

    async def main():
        engine = Engine(bundle())
        engine.submit(request(9, tokens=3))
        async with AsyncEngine(engine) as service:
            return await answer(service, request(1)), engine.running

    assert asyncio.run(main()) == (by_hand(request(1)), 0)


@pytest.mark.timeout(5)
def test_two_tasks_that_wait_on_one_stream():
    """Each update goes to one of them, and both end: after the last update, after an error, and after cancel()."""

    async def waits(end):
        async with served() as (service, gate):
            stream = service.submit(request(tokens=1 if end != "cancel" else 50))
            tasks = [asyncio.create_task(all_of(stream)) for _ in range(3)]
            await asyncio.sleep(0)
            if end == "cancel":
                stream.cancel()
            elif end == "error":
                gate.error = MemoryError("no room")
            gate.open()
            return await asyncio.gather(*tasks, return_exceptions=True)

    ended = asyncio.run(waits("last"))
    assert sorted(map(str, ended)) == sorted(map(str, [by_hand(request(tokens=1)), ([], None), ([], None)]))
    assert sum(isinstance(one, MemoryError) for one in asyncio.run(waits("error"))) == 1
    assert asyncio.run(waits("cancel")) == [([], None)] * 3


@pytest.mark.timeout(5)
def test_no_update_comes_after_cancel():
    """An update that was there already when the stream was cancelled is not handed out, to a task that waits neither."""

    async def main():
        async with served() as (service, gate):
            stream = service.submit(request(tokens=50))
            task = asyncio.create_task(all_of(stream))
            await asyncio.sleep(0)
            gate.allow(1)
            while gate.steps < 2:
                pass  # the update is on its way, and the event loop hears of it in its next turn
            asyncio.get_running_loop().call_soon(stream.cancel)
            return await task

    assert asyncio.run(main()) == ([], None)


def test_after_an_error_all_places_are_free():
    """Twice as many requests as there are places fail; then as many as there are places are served."""

    async def main():
        async with served(rows=2, queue=0) as (service, gate):
            for _ in range(2):
                streams = [service.submit(request(seed)) for seed in range(2)]
                gate.error = ArithmeticError("none")
                gate.allow(1)
                for stream in streams:
                    with suppress(ArithmeticError):
                        gate.allow(9)
                        await all_of(stream)
            gate.open()
            return await asyncio.gather(*(answer(service, request(seed)) for seed in range(2)))

    assert asyncio.run(main()) == [by_hand(request(seed)) for seed in range(2)]


def test_close_finishes_what_was_accepted():
    """After close, submit raises a RuntimeError that contains "closed". All accepted requests, waiting ones too, are finished,
    and the thread is gone.
    """

    async def main():
        before = threading.active_count()
        service = AsyncEngine(Engine(bundle(), rows=1))
        gate = Watched(service.engine)
        async with service:
            tasks = [asyncio.create_task(all_of(service.submit(request(seed)))) for seed in range(4)]
            await asyncio.sleep(0)
            closing = asyncio.create_task(service.close())
            await asyncio.sleep(0)
            for asked in (request(), Request([262])):
                with rejects(RuntimeError, "closed"):
                    service.submit(asked)
            assert not closing.done()
            gate.open()
            await closing
            assert threading.active_count() <= before + 1  # asyncio may keep the thread in which it waited
            return await asyncio.gather(*tasks)

    assert asyncio.run(main()) == [by_hand(request(seed)) for seed in range(4)]


def test_a_service_that_was_not_started():
    """Outside its `async with`, submit raises a RuntimeError: nobody would answer. It can be closed."""

    async def main():
        service = AsyncEngine(Engine(bundle()))
        with rejects(RuntimeError):
            service.submit(request())
        await service.close()

    asyncio.run(main())


@pytest.mark.parametrize("error", [None, KeyError], ids=["at its end", "by an error"])
def test_leaving_the_service_finishes_what_was_accepted(error):
    """The end of its `async with` waits until the requests are finished, and closing twice is no error."""

    async def main():
        with suppress(KeyError):
            async with AsyncEngine(Engine(bundle())) as service:
                stream = service.submit(request(3))
                if error:
                    raise error
        with rejects(RuntimeError, "closed"):
            service.submit(request())
        await service.close()
        return await all_of(stream)

    assert asyncio.run(main()) == by_hand(request(3))


def test_a_service_without_requests_ends():
    """An unused service closes at once."""

    async def main():
        async with AsyncEngine(Engine(bundle())):
            pass

    asyncio.run(main())


def test_without_work_the_thread_sleeps():
    """No step is made before the first request, and none after the last is finished."""

    async def main():
        async with served() as (service, gate):
            gate.open()
            await asyncio.sleep(0.02)
            assert gate.steps == 0
            await answer(service, request())
            steps = gate.steps
            await asyncio.sleep(0.02)
            assert gate.steps == steps

    asyncio.run(main())
