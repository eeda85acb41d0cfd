"""Serving: kata 20's engine under load, and the same answers by PyTorch, eager, which writes as many at a time.

Each side imports its own library when it is asked. A side that answers a batch is named as in decoding.py: "NumPy 1", or
PyTorch's attention, "fused 2" or "explicit 1".
"""

import time
from collections.abc import Callable, Iterator

import numpy as np

from specs.bench import decoding, work
from specs.plugin.limits import resident_memory

DEVIATION = 0.18  # of the parameters: so a token's logits differ as those of a trained GPT, and depend on the whole text
PROMPT, TOKENS, TEMPERATURE = 16, 64, 0.8  # of the requests of a turn
AT_A_TIME = 1, 4, 16
LONG, SHORT = 900, 8  # tokens of a prompt
COMPARED = 4  # tokens of an answer: behind one whose draw lies at a boundary, up to rounding, all are others


def prompts(requests: int) -> np.ndarray:
    """Ids, (requests, PROMPT)."""
    return np.random.default_rng(8).integers(0, decoding.VOCABULARY, (requests, PROMPT))


def answer(requests: int, rows: str) -> Callable[[], list[np.ndarray]]:
    """A call answers requests, `rows` at a time: the first tokens of each."""
    return _calls(requests, rows=int(rows))


def batch(requests: int, side: str) -> Callable[[], list[np.ndarray]]:
    """A call answers requests that begin and end together: the first tokens of each."""
    kernel, threads = side.split(" ")
    if kernel != "NumPy":
        return _theirs(requests, kernel, int(threads))
    from threadpoolctl import threadpool_limits

    call = _calls(requests, rows=requests, slice=requests * PROMPT)  # all prompts in one step
    threadpool_limits(int(threads))
    return call


def _calls(requests: int, **sizes: int) -> Callable[[], list[np.ndarray]]:
    from katas.capstone import Request

    asked = [Request(ids, TOKENS, TEMPERATURE, seed=seed) for seed, ids in enumerate(prompts(requests).tolist())]
    engine = _engine(queue=requests, **sizes)

    def call():
        answers = {engine.submit(request): [] for request in asked}
        for update in _updates(engine):
            answers[update.number] += [token.id for token in update.tokens]
        return [np.array([ids[:COMPARED] for ids in answers.values()])]

    return call


def _theirs(requests: int, kernel: str, threads: int) -> Callable[[], list[np.ndarray]]:
    import torch

    torch.set_num_threads(threads)
    network, _ = decoding.eager(requests, kernel, DEVIATION)
    asked = torch.from_numpy(prompts(requests))
    draws = torch.from_numpy(np.array([np.random.default_rng(seed).random(TOKENS) for seed in range(requests)]).T[..., None])

    @torch.inference_mode()
    def call():
        ids, place, answers = asked, 0, []
        for draw in draws:  # (requests, 1)
            logits, place = network(ids, place), place + ids.shape[1]
            reached = (logits.double() / TEMPERATURE).softmax(-1).cumsum(-1)
            ids = (reached <= draw * reached[:, -1:]).sum(-1, keepdim=True)
            answers.append(ids)
        return [torch.cat(answers[:COMPARED], 1).numpy()]

    return call


def soaked(requests: int) -> dict[str, float]:
    """Judges the answers to requests of all kinds, which join and leave 16 rows at random: tokens; % that differ within what
    rounding excuses; how many differ otherwise; the largest error of a log-probability, in millionths. Works with Side.train.

    The prompts have 1 to LONG tokens, short ones more often. The judge's logits are those of kata 14's GPT, in a full pass.
    """
    from katas.capstone import Bundle, Request

    from specs.oracles import serving

    rng = np.random.default_rng(0)
    lengths = rng.permutation(np.geomspace(1, LONG, requests).round().astype(int)).tolist()
    asked = [
        Request(
            rng.integers(0, decoding.VOCABULARY, length).tolist(),
            int(rng.integers(1, 41)),
            temperature=float(rng.choice([0, 0.7, 1, 1.3])),
            top_p=float(rng.choice([1, 0.9, 0.5])),
            seed=seed,
            logprobs=0,
        )
        for seed, length in enumerate(lengths)
    ]
    engine = _engine()
    judge = Bundle(decoding.build(DEVIATION), engine.bundle.tokenizer)
    found = serving.soak(judge, asked, engine, rng)
    excused = 100 * found.excused / found.judged
    return {"tokens": found.judged, "excused": excused, "wrong": len(found.wrong), "millionths": 1e6 * found.worst}


def waited(slice: str) -> dict[str, float]:
    """While others write, a prompt of LONG tokens comes, and right behind it a short one: seconds until the short one's token,
    and the longest time between two tokens of the others. Works with Side.train.

    slice: how many tokens of prompts a step reads.
    """
    from katas.capstone import Request

    engine = _engine(slice=int(slice))
    for seed in range(engine.rows - 2):
        engine.submit(Request([seed], 4 * TOKENS, seed=seed))
    for _ in range(TOKENS):
        engine.step()
    start = last = time.perf_counter()
    engine.submit(Request([0] * LONG, 1, seed=0))
    short, longest, over = engine.submit(Request([0] * SHORT, 1, seed=0)), 0.0, False
    while not over:
        over = any([update.number == short for update in engine.step()])
        now = time.perf_counter()
        longest, last = max(longest, now - last), now
    return {"first": now - start, "pause": longest}


def resident(few: int, times: int) -> dict[str, list[float | None]]:
    """The memory of this process, in MB, after a few short requests, and each time that so many more are over. Works with
    Side.train.
    """
    from katas.capstone import Request

    engine, rng, found = _engine(queue=few), np.random.default_rng(0), []
    for _ in range(times):
        for seed in range(few):
            length, tokens = rng.integers(1, SHORT, 2, endpoint=True).tolist()
            engine.submit(Request(rng.integers(0, decoding.VOCABULARY, length).tolist(), tokens, seed=seed))
        for _ in _updates(engine):
            pass
        found.append(resident_memory())
    return {"memory": found}


def _engine(**sizes: int):
    """An Engine for a GPT of milestone 3's size, by kata 15."""
    from katas.capstone import Engine

    return Engine(bundle(), **sizes)


def bundle():
    """A Bundle of a GPT of milestone 3's size, by kata 15."""
    from katas.acceleration import accelerate
    from katas.capstone import Bundle
    from katas.tokenization import BPETokenizer

    tokenizer = BPETokenizer.train(next(work.words(1)), decoding.VOCABULARY)
    return Bundle(accelerate(decoding.build(DEVIATION)), tokenizer, accelerated=True)


def _updates(engine) -> Iterator:
    """All updates of steps until nothing is left to do."""
    while engine.running or engine.waiting:
        yield from engine.step()
