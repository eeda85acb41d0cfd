import functools
import gc
import itertools
import sys
import tracemalloc
import weakref

import katas.capstone
import numpy as np
import pytest
from katas.autograd import no_grad
from katas.caching import Decoder
from katas.capstone import Bundle, Engine, QueueFull, Request, Token
from katas.tokenization import BPETokenizer
from katas.transformers import GPT, GPTConfig

from specs.check import assert_close, rejects
from specs.oracles import serving

END = "<|end|>"
KINDS = {"learned": {"context": 96}, "window": {"context": 12, "positions": "rotary", "window": 12, "norm": "rms"}}


@functools.cache
def tokenizer() -> BPETokenizer:
    return BPETokenizer.train("she sells sea shells by the sea shore " * 9, 270, [END])


@functools.cache
def bundle(kind: str = "learned", dtype=np.float64, end: str | None = None, **options) -> Bundle:
    """A small GPT whose next tokens are neither certain nor all alike. In float64 no rounding shows."""
    config = GPTConfig(**{"vocab_size": 270, "n_layer": 2, "n_head": 2, "d_model": 16} | KINDS[kind] | options)
    model, rng = GPT(config, np.random.default_rng(0)), np.random.default_rng(1)
    for parameter in model.parameters():
        if parameter.ndim > 1:
            parameter.data = rng.normal(0, 0.5, parameter.shape)
        parameter.data = parameter.data.astype(dtype)
    return Bundle(model, tokenizer(), end=end)


@functools.cache
def scripted(text: str | tuple[int, ...], end: str | None = None) -> Bundle:
    """A GPT that continues any prompt of one token with this text, or these ids, at temperature 0: each position asks for its
    own token.
    """
    size, ids = tokenizer().vocab_size, tokenizer().encode(text, special=True) if isinstance(text, str) else text
    model = GPT(GPTConfig(size, len(ids) + 8, 1, 1, size), np.random.default_rng(0))
    for parameter in model.parameters():
        if parameter.ndim > 1:
            parameter.data = np.zeros_like(parameter.data)
    model.transformer.wte.weight.data = np.eye(size, dtype=np.float32)
    for position, number in enumerate(ids):
        model.transformer.wpe.weight.data[position, number] = 10
    return Bundle(model, tokenizer(), end=end)


def prompt(length: int, seed: int = 0) -> list[int]:
    return np.random.default_rng(seed).integers(0, 269, length).tolist()


class Answer:
    """The updates of one request: their texts and tokens, joined, and how it finished."""

    def __init__(self):
        self.text, self.tokens, self.finish, self.updates = "", [], None, 0

    def add(self, update) -> None:
        assert self.finish is None, "an update after the last one"
        assert update.text or update.tokens or update.finish, "an update that says nothing"
        self.text, self.tokens, self.finish = self.text + update.text, [*self.tokens, *update.tokens], update.finish
        self.updates += 1

    @property
    def ids(self) -> list[int]:
        return [token.id for token in self.tokens]


def finished(engine: Engine, numbers=None) -> dict[int, Answer]:
    """Steps until nothing is left to do, and all answers."""
    answers = {}
    for _ in range(2000):
        for update in engine.step():
            answers.setdefault(update.number, Answer()).add(update)
        if not (engine.running or engine.waiting):
            return answers
    raise AssertionError("2000 steps were not enough")


def answered(model: Bundle, *requests: Request, **options) -> list[Answer]:
    """The answers to requests that are all submitted before the first step."""
    engine = Engine(model, **options)
    numbers = [engine.submit(request) for request in requests]
    answers = finished(engine)
    return [answers[number] for number in numbers]


def alone(model: Bundle, request: Request) -> Answer:
    return answered(model, request, rows=1)[0]


def logits_of(model: Bundle, ids) -> np.ndarray:
    """The logits after each id, by a full pass without a cache."""
    with no_grad():
        return model.model(np.array([ids])).data[0]


# One request


@pytest.mark.parametrize("kind", KINDS)
def test_each_token_is_what_its_seed_draws(kind):
    """The id of a token is drawn by choose from the logits behind the text so far, with one draw of the seed's generator."""
    model, ids = bundle(kind), prompt(7)
    for seed, settings in (
        (5, {"temperature": 1.2}),
        (2**32, {"temperature": 0}),
        (2**32 + 5, {"temperature": 0.8, "top_p": 0.7}),
    ):
        answer, rng, text = alone(model, Request(ids, 12, seed=seed, **settings)), np.random.default_rng(seed), list(ids)
        for _ in range(12):
            text.append(serving.drawn(logits_of(model, text)[-1], rng.random(), **settings))
        assert answer.ids == text[7:]
        assert answer.finish == "length"
        assert answer.text == tokenizer().decode(text[7:])


def test_text_of_all_kinds_of_tokens():
    """Characters of several tokens, U+FFFD itself, a special token that is no end, invalid bytes, and a half at the end: the
    text is that of `decode`, and ends before a stop string.
    """
    whole = tokenizer().encode(f"für 日本語 🙂 sea\ufffd{END} she", special=True)
    half = tokenizer().encode("語")[:2]
    for ids in (whole, whole[:-5], [*half, *whole], [*whole, *half], tokenizer().encode(f"{END}日本", special=True)[:-1]):
        stops = (), ("sea",), ("本",), ("\ufffd",)
        requests = [Request([0], len(ids), temperature=0, stop=stop) for stop in stops]
        for stop, answer in zip(stops, answered(scripted(tuple(ids)), *requests), strict=True):
            want, stopped = serving.until_stop(tokenizer().decode(ids), stop)
            assert answer.text == want
            assert answer.finish == ("stop" if stopped else "length")
            assert stopped or answer.ids == ids


def test_a_prompt_of_one_token_and_an_answer_of_one():
    """The shortest request takes one step."""
    engine = Engine(bundle())
    number = engine.submit(Request([5], max_tokens=1, seed=0))
    (update,) = engine.step()
    assert (update.number, update.finish, len(update.tokens)) == (number, "length", 1)
    assert engine.step() == []


def test_a_step_gives_one_token():
    """The first token comes in the step that reads the prompt, and then one comes with each step."""
    engine = Engine(bundle())
    engine.submit(Request(prompt(5), max_tokens=4, temperature=0, logprobs=0))
    assert [sum(len(update.tokens) for update in engine.step()) for _ in range(5)] == [1, 1, 1, 1, 0]


def test_with_nothing_to_do_a_step_does_nothing():
    """Before the first request, a step returns no updates and calls no model."""
    assert Engine(bundle()).step() == []


def test_two_engines_at_a_time():
    """Of two bundles, in turns: each answers as alone, and by its own context, end and number of rows."""
    request, last = Request(prompt(5), 9, seed=1), Request([0], 12, temperature=0)
    want, script = alone(bundle(), request), scripted(f"sea{END}shells", end=END)
    first = Engine(bundle(), rows=2, queue=0)
    numbers = [first.submit(request) for _ in range(2)]
    found = [first.step()]
    second = Engine(script, rows=1, queue=9)
    second.submit(last)
    answers = {}
    for _ in range(12):
        found.append(first.step())
        for update in second.step():
            answers.setdefault(update.number, Answer()).add(update)
    for number in numbers:
        answer = Answer()
        for update in (update for updates in found for update in updates if update.number == number):
            answer.add(update)
        assert (answer.ids, answer.finish) == (want.ids, "length")
    assert (answers[0].text, answers[0].finish) == ("sea", "stop")
    for engine, context in ((first, 96), (second, script.model.config.context)):
        with rejects(ValueError, str(context)):
            engine.submit(Request([1] * 90, max_tokens=30))


def test_seeds():
    """Equal seeds give equal tokens, different ones different, and None a new one each time."""
    model = bundle()
    one, again, other, fresh, new = answered(model, *(Request([3], 20, seed=seed) for seed in (1, 1, 2, None, None)))
    assert one.ids == again.ids
    assert one.ids != other.ids
    assert fresh.ids != new.ids


def test_the_model_is_in_eval_mode():
    """A model with dropout, in train mode when it is given, answers as in eval mode."""
    model = bundle(dropout=0.5)
    model.model.train()
    engine = Engine(model)
    assert not any(module.training for module in model.model.modules())
    engine.submit(Request(prompt(4), 5, temperature=0))
    (answer,) = finished(engine).values()
    assert answer.ids == alone(bundle(), Request(prompt(4), 5, temperature=0)).ids


# Many requests


@pytest.mark.parametrize("kind", KINDS)
def test_forty_requests_that_come_and_go(kind):
    """Forty requests with all kinds of options join and leave four rows at random, in float32. Each token is what its seed
    draws, and each log-probability is right to 1e-4; a difference within rounding is excused, 0.1% of the tokens at most.
    """
    model, rng = bundle(kind, np.float32), np.random.default_rng(7)
    requests = [
        Request(
            prompt(int(rng.integers(1, 80 if kind == "learned" else 200)), seed),
            int(rng.integers(1, 16)),
            temperature=float(rng.choice([0, 0.7, 1, 1.3])),
            top_p=float(rng.choice([1, 0.9, 0.5])),
            seed=seed,
            logprobs=0,
        )
        for seed in range(40)
    ]
    found = serving.soak(model, requests, Engine(model, rows=4, queue=2, slice=16), rng)
    assert not found.wrong, f"{len(found.wrong)} of {found.judged} tokens are not what their seed draws"
    assert found.worst <= 1e-4
    assert found.excused <= found.judged / 1000


def test_an_answer_does_not_depend_on_the_others():
    """A request gets the same tokens alone, and among others of which some leave and some join."""
    model = bundle()
    requests = [Request(prompt(3 + 5 * number, number), 3 + number, seed=number) for number in range(9)]
    together = answered(model, *requests, rows=3)
    for request, answer in zip(requests, together, strict=True):
        assert answer.ids == alone(model, request).ids


def test_a_new_tenant_sees_nothing_of_the_old_one():
    """A row that was used, to its last token, or to a cancelled one, answers like a new one."""
    model, request = bundle(), Request(prompt(6, 3), 6, seed=3)
    engine = Engine(model, rows=1)
    finished_one = engine.submit(Request(prompt(60), 30, seed=1))
    finished(engine)
    cancelled = engine.submit(Request(prompt(50), 30, seed=2))
    for _ in range(4):
        engine.step()
    engine.cancel(cancelled)
    number = engine.submit(request)
    assert len({finished_one, cancelled, number}) == 3
    assert finished(engine)[number].ids == alone(model, request).ids


def test_a_row_that_is_left_does_not_move_the_others():
    """If the first of three leaves, the second and the third go on where they were."""
    model = bundle()
    requests = [Request(prompt(4, number), 12, seed=number) for number in range(3)]
    engine, answers = Engine(model, rows=3), {}
    numbers = [engine.submit(request) for request in requests]
    for step in range(13):
        if step == 5:
            engine.cancel(numbers[0])
        for update in engine.step():
            answers.setdefault(update.number, Answer()).add(update)
    for number, request in zip(numbers[1:], requests[1:], strict=True):
        assert answers[number].ids == alone(model, request).ids


def test_together_they_take_as_many_steps_as_one():
    """Eight answers of 20 tokens take 20 steps with eight rows, and 160 with one."""
    model = bundle()
    for rows, want in ((8, 20), (1, 160)):
        engine, steps = Engine(model, rows=rows), 0
        for seed in range(8):
            engine.submit(Request([7], 20, seed=seed))
        while engine.running or engine.waiting:
            engine.step()
            steps += 1
        assert steps == want


def test_one_pass_of_the_decoder_serves_all_rows(monkeypatch):
    """With all rows busy, a step calls Decoder.step once, not once for each request."""
    engine, calls, real = Engine(bundle(), rows=6), [], Decoder.step
    for seed in range(6):
        engine.submit(Request([7], 9, seed=seed))
    engine.step()
    monkeypatch.setattr(Decoder, "step", lambda *arguments: calls.append(1) or real(*arguments))
    engine.step()
    assert len(calls) == 1


def test_few_requests_cost_less_than_many(monkeypatch):
    """With three requests in eight rows, the Decoder computes three rows in a step; so it does after one has left and another
    has come.
    """
    engine, computed, real = Engine(bundle(), rows=8), [], Decoder.step

    def counted(self, ids, *arguments):
        computed.append(len(ids))
        return real(self, ids, *arguments)

    monkeypatch.setattr(Decoder, "step", counted)
    numbers = [engine.submit(Request([7], 30, seed=0)) for _ in range(3)]
    for leaves in (*numbers, None):
        for _ in range(3):
            computed.clear()
            engine.step()
        assert 0 < sum(computed) <= 3
        if leaves is not None:
            engine.cancel(leaves)
            engine.submit(Request([7], 30, seed=0))


def test_the_first_free_rows_are_taken(monkeypatch):
    """In whatever order three rows became free, two requests take the first two of them."""
    computed, real = [], Decoder.step

    def counted(self, ids, *arguments):
        computed.append(len(ids))
        return real(self, ids, *arguments)

    monkeypatch.setattr(Decoder, "step", counted)
    for order in itertools.permutations(range(3)):
        engine = Engine(bundle(), rows=3)
        numbers = [engine.submit(Request([7], 30, seed=0)) for _ in range(3)]
        engine.step()
        for place in order:
            engine.cancel(numbers[place])
        for _ in range(2):
            engine.submit(Request([7], 30, seed=0))
        engine.step()
        computed.clear()
        engine.step()
        assert 0 < sum(computed) <= 2


# Rows and the queue


def test_first_come_first_served():
    """Requests get rows in the order in which they came; the next one joins in the step after one has left."""
    engine = Engine(bundle(), rows=2)
    numbers = [engine.submit(Request([4], tokens, seed=0)) for tokens in (3, 1, 1, 1)]
    assert numbers == [0, 1, 2, 3]
    assert (engine.running, engine.waiting) == (0, 4)
    ends = [sorted(update.number for update in engine.step() if update.finish) for _ in range(3)]
    assert ends == [[1], [2], [0, 3]]
    assert (engine.running, engine.waiting) == (0, 0)


def test_how_many_run_and_wait():
    """running counts requests with a row, waiting those without."""
    engine = Engine(bundle(), rows=2, queue=9)
    for _ in range(5):
        engine.submit(Request([4], 3, seed=0))
    engine.step()
    assert (engine.running, engine.waiting) == (2, 3)


def test_the_queue_is_bounded():
    """With rows + queue requests there, submit raises QueueFull; it takes one more after one has left, in whatever way."""
    engine = Engine(bundle(), rows=2, queue=1)
    numbers = [engine.submit(Request([4], 3, seed=0)) for _ in range(3)]
    with rejects(QueueFull):
        engine.submit(Request([4], 3))
    engine.cancel(numbers[2])
    assert engine.submit(Request([4], 3)) == 3, "a request that was refused took a number"
    engine.step()
    with rejects(QueueFull):
        engine.submit(Request([4], 3))
    engine.cancel(numbers[0])
    engine.submit(Request([4], 3))
    finished(engine)
    engine.submit(Request([4], 3))


def test_a_queue_of_none():
    """With queue=0 there may be as many requests as rows."""
    engine = Engine(bundle(), rows=1, queue=0)
    engine.submit(Request([4], 3))
    with rejects(QueueFull):
        engine.submit(Request([4], 3))


def test_a_refused_request_takes_no_place():
    """After twice as many refused requests as there are places, the next one is accepted."""
    engine = Engine(bundle(), rows=1, queue=1)
    for _ in range(4):
        with rejects(ValueError, "500"):
            engine.submit(Request([500]))
    engine.submit(Request([4]))


def test_cancelled_requests_free_their_rows():
    """Twice as many requests as there are rows are cancelled: in the queue, while their prompt is read, while they write. Then
    the next one is served, and nothing more comes of them.
    """
    engine = Engine(bundle(), rows=3, slice=8)
    numbers = [engine.submit(Request(prompt(length), 20, seed=0)) for length in (2, 30, 30, 3, 3, 3)]
    engine.step()
    for number in numbers:
        engine.cancel(number)
    assert (engine.running, engine.waiting) == (0, 0)
    last = [engine.submit(Request([9], 2, seed=0)) for _ in range(3)]
    assert set(finished(engine)) == set(last)


def test_cancelling_what_is_not_there():
    """Numbers that were never given, finished requests and cancelled ones are ignored: no row is freed twice."""
    engine = Engine(bundle(), rows=1)
    first = engine.submit(Request([4], 1, seed=0))
    engine.step()
    for number in (first, first, 99, -1):
        engine.cancel(number)
    numbers = [engine.submit(Request([4], 5, seed=0)) for _ in range(2)]
    engine.cancel(first)
    engine.step()
    assert (engine.running, engine.waiting) == (1, 1)
    assert set(finished(engine)) == set(numbers)


def test_a_finished_request_leaves_nothing():
    """No finished or cancelled request is kept, and 100 more requests leave the engine less than 10 kB larger."""
    engine, requests = Engine(bundle(), rows=2), []

    def some(count):
        for seed in range(count):
            request = Request([4], 1 + seed % 2, seed=seed, logprobs=1, echo=True)
            requests.append(weakref.ref(request))
            number = engine.submit(request)
            engine.step()
            engine.cancel(number)
        gc.collect()

    some(20)
    tracemalloc.start()
    try:
        some(20)
        held = [tracemalloc.get_traced_memory()[0]]
        for _ in range(2):  # Python itself may need some kB more, once
            some(100)
            held.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    assert not any(request() for request in requests)
    more = min(np.diff(held)) - 100 * sys.getsizeof(requests[0])
    assert more < 10_000, f"{more} bytes more after 100 requests"


# Prompts in slices


def read(monkeypatch) -> list[int]:
    """How many tokens the model or a Decoder is given to read, padding left out, call by call."""
    lengths, inside = [], []

    def watch(owner):
        real = owner.forward

        def forward(self, ids, mask=None, cache=None):
            if not inside:  # a Decoder may call the model
                lengths.append(np.size(getattr(ids, "data", ids)) if mask is None else int(np.sum(getattr(mask, "data", mask))))
            inside.append(owner)
            try:
                return real(self, ids, mask, cache)
            finally:
                inside.pop()

        monkeypatch.setattr(owner, "forward", forward)

    watch(GPT)
    watch(Decoder)
    return lengths


def test_a_long_prompt_is_read_in_slices(monkeypatch):
    """A prompt of 30 tokens with slice=8 takes four steps, in each of which at most eight tokens are read."""
    engine, lengths = Engine(bundle(), slice=8), read(monkeypatch)
    engine.submit(Request(prompt(30), 2, seed=0, logprobs=0))
    for step in range(4):
        lengths.clear()
        tokens = [token for update in engine.step() for token in update.tokens]
        assert sum(lengths) <= 8
        assert len(tokens) == (step == 3)


def test_the_others_write_meanwhile():
    """While a prompt of 60 tokens is read in slices of 10, another request gets a token in each step."""
    engine = Engine(bundle(), rows=2, slice=10)
    writer = engine.submit(Request([4], 9, seed=0))
    engine.step()
    reader = engine.submit(Request(prompt(60), 1, seed=0))
    ends = [[update.number for update in engine.step() if update.finish] for _ in range(8)]
    assert ends == [[], [], [], [], [], [reader], [], [writer]]


def test_several_prompts_share_a_slice(monkeypatch):
    """Of three prompts of 3 tokens and slice=8, two are read in the first step, and 2 tokens of the third."""
    engine, lengths = Engine(bundle(), rows=3, slice=8), read(monkeypatch)
    numbers = [engine.submit(Request(prompt(3, seed), 2, seed=0, logprobs=0)) for seed in range(3)]
    first = {update.number for update in engine.step()}
    assert first == set(numbers[:2])
    assert sum(lengths) == 8
    assert {update.number for update in engine.step()} == set(numbers)
    assert sum(lengths) == 9


def test_parts_of_the_same_length_share_a_pass(monkeypatch):
    """Four prompts of 4 tokens in rows side by side take one pass: most of a short pass is overhead. Others get their own ids,
    too.
    """
    for lengths in ((4, 4, 4, 4), (4, 3, 4, 4), (2, 1, 13, 1)):
        model, requests = bundle(), [Request(prompt(length, length + row), 4, seed=row) for row, length in enumerate(lengths)]
        with monkeypatch.context() as patched:
            engine, passes = Engine(model, rows=4), read(patched)
            numbers = [engine.submit(request) for request in requests]
            answers = finished(engine)
        assert len(passes) == 1 or set(lengths) != {4}
        for number, request in zip(numbers, requests, strict=True):
            assert answers[number].ids == alone(model, request).ids


def test_prompts_beside_a_row_that_is_almost_full():
    """Between two rows that read prompts there is one with 90 of 96 tokens: padding doesn't count against its context."""
    model = bundle()
    engine = Engine(model, rows=3)
    writing = Request(prompt(86), 10, seed=1)
    first, middle, last = (engine.submit(request) for request in (Request([4], 1), writing, Request([5], 1)))
    answers = {number: Answer() for number in (first, middle, last)}
    for _ in range(4):
        for update in engine.step():
            answers[update.number].add(update)
    others = [Request(prompt(12, seed), 3, seed=seed) for seed in (5, 6)]
    numbers = [engine.submit(request) for request in others]
    answers |= {number: Answer() for number in numbers}
    while engine.running:
        for update in engine.step():
            answers[update.number].add(update)
    for number, request in zip((middle, *numbers), (writing, *others), strict=True):
        assert answers[number].ids == alone(model, request).ids


def test_the_oldest_prompt_comes_first():
    """A long prompt is not overtaken for ever by short ones that come later."""
    engine = Engine(bundle(), rows=2, slice=4)
    engine.submit(Request([4], 1, seed=0))
    long = engine.submit(Request(prompt(20), 1, seed=0))
    engine.step()
    others = [engine.submit(Request(prompt(3), 1, seed=0)) for _ in range(3)]
    steps = [sorted(update.number for update in engine.step() if update.finish) for _ in range(12)]
    assert [numbers for numbers in steps if numbers] == [[long, others[0]], [others[1]], [others[2]]]


@pytest.mark.parametrize("slice", [1, 5, 100])
def test_slices_change_no_token(slice):
    """However a prompt is cut, the answer is the same."""
    model, request = bundle(), Request(prompt(23), 6, seed=2)
    (answer,) = answered(model, request, slice=slice)
    assert answer.ids == alone(model, request).ids


# How an answer ends


def test_the_end_of_a_text():
    """The bundle's end token ends the answer with "stop". It is no part of it, and doesn't count as one of max_tokens."""
    model = scripted(f"abc{END}def", END)
    for tokens in (3, 4, 9):
        answer = alone(model, Request([5], tokens, temperature=0, logprobs=0))
        assert answer.text == "abc"
        assert answer.ids == tokenizer().encode("abc")
        assert answer.finish == ("length" if tokens == 3 else "stop")


def test_how_many_tokens_were_made():
    """`made` counts the tokens that were drawn, step by step: those that are held back and those of a stop string too, but not
    the end, and not an echoed prompt.
    """
    for asked, want in (
        ({"max_tokens": 3, "echo": True, "stop": "bc"}, [0, 1, 3]),
        ({"max_tokens": 9}, [1, 2, 3, 4, 4]),
        ({"max_tokens": 4}, [1, 2, 3, 4]),
        ({"max_tokens": 0, "echo": True}, [0, 0]),
    ):
        engine = Engine(scripted(f"abcd{END}", END))
        engine.submit(Request([5], temperature=0, logprobs=0, **asked))
        assert [update.made for _ in range(6) for update in engine.step()] == want


def test_without_an_end_there_is_none():
    """A bundle without `end` writes the special token as its text."""
    assert alone(scripted(f"abc{END}d"), Request([5], 5, temperature=0)).text == f"abc{END}d"


def test_the_end_sends_what_was_held_back():
    """Before the end token, half a stop string is text."""
    answer = alone(scripted(f"xab{END}", END), Request([5], 9, temperature=0, stop="abc", logprobs=0))
    assert (answer.text, answer.finish) == ("xab", "stop")
    assert answer.ids == tokenizer().encode("xab")


def test_a_stop_string_ends_an_answer():
    """The text ends before it, with "stop", and the row is free in the next step."""
    engine = Engine(scripted("xyabcdef"), rows=1)
    first = engine.submit(Request([5], 8, temperature=0, stop=("abc", "f")))
    second = engine.submit(Request([5], 1, temperature=0))
    answers = finished(engine)
    assert (answers[first].text, answers[first].finish) == ("xy", "stop")
    assert answers[first].ids == tokenizer().encode("xy")
    assert answers[second].finish == "length"


def test_max_tokens_sends_what_was_held_back():
    """At max_tokens, half a stop string is text, and half a character is U+FFFD; the end is "length"."""
    answer = alone(scripted("xab日"), Request([5], 3, temperature=0, stop="abc"))
    assert (answer.text, answer.finish) == ("xab", "length")
    answer = alone(scripted("xab日"), Request([5], 5, temperature=0, stop="abc"))
    assert (answer.text, answer.finish) == ("xab\ufffd", "length")
    assert len(answer.tokens) == 5


def test_a_stop_string_in_the_last_token():
    """If the token that is the last by max_tokens completes a stop string, the end is "stop"; so if the flush does."""
    answer = alone(scripted("xabc"), Request([5], 4, temperature=0, stop="abc"))
    assert (answer.text, answer.finish) == ("x", "stop")
    answer = alone(scripted("xa日"), Request([5], 3, temperature=0, stop="a\ufffd"))
    assert (answer.text, answer.finish) == ("x", "stop")


def test_characters_of_several_tokens():
    """The parts of an answer are whole characters, and all of them together its text."""
    engine, parts = Engine(scripted("日本 ü")), []
    engine.submit(Request([5], 9, temperature=0))
    while engine.running or engine.waiting:
        parts += [update.text for update in engine.step() if update.text]
    assert parts == ["日", "本", " ", "ü"]


def test_no_tokens_at_all():
    """With max_tokens=0 the answer is empty, and ends with "length" when the prompt was read."""
    (answer,) = answered(bundle(), Request(prompt(5), 0))
    assert (answer.text, answer.tokens, answer.finish) == ("", [], "length")


def test_text_may_come_without_its_token():
    """Where the end of a token's text may begin a stop string, the text before it comes at once, and the token when that is
    certain.
    """
    (first, *_) = (tokenizer().decode([number]) for number in tokenizer().encode(" sea shells"))
    engine = Engine(scripted(" sea shells"))
    engine.submit(Request([5], 2, temperature=0, stop=f"{first[-1]}#"))
    found = [(update.text, len(update.tokens)) for _ in range(2) for update in engine.step()]
    assert len(first) > 1
    assert found[0] == (first[:-1], 0)
    assert found[1][1] == 2


# Log-probabilities and echo


def test_logprobs():
    """A token has the log-probability that the model gives it, before temperature and top_p; `top` is the most probable ids."""
    model, ids = bundle(), prompt(6)
    answer = alone(model, Request(ids, 5, temperature=0.7, top_p=0.6, seed=3, logprobs=3))
    want = serving.log_softmax(logits_of(model, [*ids, *answer.ids]))[5:-1]
    assert_close(
        [token.logprob for token in answer.tokens], [row[token.id] for row, token in zip(want, answer.tokens, strict=True)]
    )
    for row, token in zip(want, answer.tokens, strict=True):
        best = sorted(range(270), key=lambda number, row=row: -row[number])[:3]
        assert [number for number, _ in token.top] == best
        assert_close([value for _, value in token.top], row[best])
        assert all(type(number) is int and type(value) is float for number, value in token.top)


def test_of_equally_probable_ids_the_lower_comes_first():
    """The scripted model gives all ids but one the same logit."""
    answer = alone(scripted("a"), Request([5], 1, temperature=0, logprobs=4))
    (wanted,) = tokenizer().encode("a")
    assert [number for number, _ in answer.tokens[0].top] == [wanted, 5, 0, 1]


def test_how_many_are_told():
    """logprobs=0 tells the token's own alone, None nothing."""
    model = bundle()
    for count, own in ((0, True), (2, True), (None, False)):
        answer = alone(model, Request([5], 3, seed=0, logprobs=count))
        assert [len(token.top) for token in answer.tokens] == [count or 0] * 3
        assert [token.logprob is not None for token in answer.tokens] == [own] * 3


def test_echo():
    """The first update has the prompt, its text and its tokens, of which the first has no log-probability."""
    model, ids = bundle(), prompt(13)
    engine = Engine(model, slice=5)
    engine.submit(Request(ids, 4, seed=1, logprobs=2, echo=True))
    updates = [update for _ in range(9) for update in engine.step()]
    assert updates[0].text == tokenizer().decode(ids)
    assert [token.id for token in updates[0].tokens] == ids
    assert updates[0].finish is None
    tokens = [token for update in updates for token in update.tokens]
    assert tokens[0] == Token(ids[0])
    want = serving.log_softmax(logits_of(model, [token.id for token in tokens]))[:-1]
    assert_close([token.logprob for token in tokens[1:]], [row[token.id] for row, token in zip(want, tokens[1:], strict=True)])
    for row, token in zip(want, tokens[1:], strict=True):
        assert [number for number, _ in token.top] == np.argsort(-row, kind="stable")[:2].tolist()
    answer = alone(model, Request(ids, 4, seed=1))
    assert "".join(update.text for update in updates[1:]) == answer.text


def test_echo_without_logprobs():
    """The prompt's tokens have none then."""
    ids = prompt(7)
    answer = alone(bundle(), Request(ids, 1, seed=1, echo=True))
    assert answer.tokens[:7] == [Token(number) for number in ids]


def test_echo_alone():
    """With max_tokens=0, an echo is the prompt and nothing else. With logprobs=0, its tokens have their own alone."""
    model, ids = bundle(), prompt(7)
    answer = alone(model, Request(ids, 0, logprobs=0, echo=True))
    assert (answer.text, answer.ids, answer.finish) == (tokenizer().decode(ids), ids, "length")
    want = serving.log_softmax(logits_of(model, ids))[range(6), ids[1:]]
    assert_close([token.logprob for token in answer.tokens[1:]], want)
    assert not any(token.top for token in answer.tokens)


def test_stop_strings_in_the_prompt_do_not_count():
    """An echoed prompt is sent whole, and its end doesn't begin a stop string."""
    model = scripted("bc")
    for text in ("a", "c"):
        (number,) = tokenizer().encode(text)
        answer = alone(model, Request([number], 2, temperature=0, stop=("c", "ab"), echo=True))
        assert (answer.text, answer.finish) == (text + "b", "stop")


# Errors


def test_what_does_not_fit_into_the_context():
    """A prompt and max_tokens of more than the context raise a ValueError that contains it; of exactly that many they fit."""
    engine = Engine(bundle())
    with rejects(ValueError, "96"):
        engine.submit(Request(prompt(90), 7))
    with rejects(ValueError, "96"):
        engine.check(Request(prompt(97), 0))
    engine.check(Request(prompt(90), 6))
    number = engine.submit(Request(prompt(90), 6, seed=0))
    assert len(finished(engine)[number].tokens) == 6


def test_with_a_window_there_is_no_limit():
    """A GPT with a window of 12 reads and writes more."""
    (answer,) = answered(bundle("window"), Request(prompt(70), 30, seed=0))
    assert len(answer.tokens) == 30


@pytest.mark.parametrize("number", [270, -1])
def test_an_id_that_does_not_exist(number):
    """A ValueError contains it, before the request takes part."""
    for method in ("check", "submit"):
        with rejects(ValueError, str(number)):
            getattr(Engine(bundle()), method)(Request([4, number]))


@pytest.mark.parametrize(("name", "value"), [("rows", 0), ("queue", -1), ("slice", 0), ("rows", 1.5), ("slice", True)])
def test_sizes(name, value):
    """Sizes that are too small, or no integers, raise a ValueError that contains the name and the value."""
    with rejects(ValueError, name, repr(value)):
        Engine(bundle(), **{name: value})
    engine = Engine(bundle(), rows=3, queue=0, slice=7)
    assert (engine.rows, engine.queue, engine.slice) == (3, 0, 7)
    engine = Engine(bundle(), rows=np.uint8(200), queue=np.uint8(100))
    assert engine.rows + engine.queue == 300


@pytest.mark.parametrize(("owners", "name"), [((GPT, Decoder), "forward"), ([Decoder], "step"), ([katas.capstone], "choose")])
def test_after_an_error_the_next_step_goes_on(owners, name, monkeypatch):
    """If the model raises, in a prompt or at a token, or choose does, the error passes through. All answers, echoes too, are as
    without it: no token is read twice, and no draw is lost.
    """
    model = bundle()
    requests = [Request(prompt(9 * number + 2, number), 6, seed=number, echo=number % 2 == 1) for number in range(4)]
    engine, calls = Engine(model, rows=3, slice=7), []

    def failing_at_times(real):
        def call(*arguments, **options):
            calls.append(1)
            if len(calls) % 3 == 2:
                raise MemoryError("no room")
            return real(*arguments, **options)

        return call

    numbers, answers = [engine.submit(request) for request in requests], {}
    for owner in owners:
        monkeypatch.setattr(owner, name, failing_at_times(getattr(owner, name)))
    failed = 0
    while engine.running or engine.waiting:
        try:
            updates = engine.step()
        except MemoryError:
            failed += 1
            continue
        for update in updates:
            answers.setdefault(update.number, Answer()).add(update)
    monkeypatch.undo()
    assert failed
    for number, request in zip(numbers, requests, strict=True):
        assert answers[number].ids == alone(model, request).ids


def test_what_is_cancelled_after_an_error(monkeypatch):
    """A request that is cancelled after a step that raised gets no update, though its echo was ready."""
    engine = Engine(bundle())
    first, second = (engine.submit(Request(prompt(5), 3, seed=0, echo=True)) for _ in range(2))
    with monkeypatch.context() as patch, rejects(MemoryError):
        patch.setattr(katas.capstone, "choose", _no_room)
        engine.step()
    engine.cancel(first)
    answers = finished(engine)
    assert [*answers] == [second]
    assert answers[second].ids[:5] == prompt(5)


def test_an_end_is_not_lost_in_an_error(monkeypatch):
    """A request that asks for no tokens ends in a step that raises: its last Update comes with the next one."""
    engine = Engine(bundle())
    ended, other = engine.submit(Request(prompt(5), 0, seed=0)), engine.submit(Request(prompt(5), 3, seed=0))
    with monkeypatch.context() as patch, rejects(MemoryError):
        patch.setattr(katas.capstone, "choose", _no_room)
        engine.step()
    answers = finished(engine)
    assert (answers[ended].ids, answers[ended].finish) == ([], "length")
    assert answers[other].finish == "length"


def _no_room(*arguments):
    raise MemoryError
