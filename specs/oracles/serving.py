"""What an engine should have answered: draws by hand, stop strings found in whole texts, and a judge of sampled tokens."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


def softmax(logits: np.ndarray, temperature: float = 1.0) -> list[float]:
    """Probabilities of one row, added up exactly."""
    largest = float(max(logits))
    odds = [math.exp((float(logit) - largest) / temperature) for logit in logits]
    total = math.fsum(odds)
    return [value / total for value in odds]


def nucleus(p: Sequence[float], top_p: float) -> set[int]:
    """The most probable ids, as many as it takes to reach top_p; of equal ones the first."""
    order = sorted(range(len(p)), key=lambda number: (-p[number], number))
    kept, total = set(), 0.0
    for number in order:
        if total >= top_p:
            break
        kept.add(number)
        total += p[number]
    return kept


def drawn(logits: np.ndarray, draw: float, temperature: float = 1.0, top_p: float = 1.0) -> int:
    """The first id, in order of ids, at which the sum of the probabilities that count is above the draw."""
    if temperature == 0:
        return max(range(len(logits)), key=lambda number: (logits[number], -number))
    p = softmax(logits, temperature)
    kept = nucleus(p, top_p) if top_p < 1 else set(range(len(p)))
    goal, reached = draw * math.fsum(p[number] for number in kept), 0.0
    for number in sorted(kept):
        reached += p[number]
        if reached > goal:
            return number
    return max(kept)


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Log-probabilities of rows (…, vocab_size), in float64."""
    logits = np.asarray(logits, np.float64)
    shifted = logits - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def until_stop(text: str, stops: Sequence[str]) -> tuple[str, bool]:
    """The text before the stop string that is complete first, of several the longest; and whether there is one."""
    for end in range(1, len(text) + 1):
        if found := [stop for stop in stops if text[:end].endswith(stop)]:
            return text[: end - max(map(len, found))], True
    return text, False


class Verdict(NamedTuple):
    """How many tokens were judged, which are wrong, how many differ by rounding, the worst error of a log-probability."""

    judged: int
    wrong: list[int]
    excused: int
    worst: float


BOUNDARY, MARGIN = 1e-4, 1e-3  # how near to a boundary a draw, and to a tie a decision, may differ by rounding


def verdict(logits: np.ndarray, tokens: Sequence, seed: int, temperature: float = 1.0, top_p: float = 1.0) -> Verdict:
    """Judges sampled Tokens, or ids, by the logits (tokens, vocab_size) that each was drawn from, with the answer's own past.

    The draws are those of NumPy's generator of this seed, one for each token. A token that differs is excused if the draw lies
    within 1e-4 of the probabilities that belong to it, if top_p is reached within 1e-3 of a token's end, or at temperature 0 if
    its logit is within 1e-3 of the largest.
    """
    rng, wrong, excused, worst = np.random.default_rng(seed), [], 0, 0.0
    for place, (row, token) in enumerate(zip(np.asarray(logits, np.float64), tokens, strict=True)):
        number, draw = getattr(token, "id", token), rng.random()
        if getattr(token, "logprob", None) is not None:
            worst = max(worst, abs(token.logprob - log_softmax(row)[number]))
        if number == drawn(row, draw, temperature, top_p):
            continue
        if _near(row, draw, temperature, top_p, number):
            excused += 1
        else:
            wrong.append(place)
    return Verdict(len(tokens), wrong, excused, worst)


def _near(row: np.ndarray, draw: float, temperature: float, top_p: float, number: int) -> bool:
    if temperature == 0:
        return row.max() - row[number] <= MARGIN
    p = np.array(softmax(row, temperature))
    if top_p < 1:
        sums = np.cumsum(np.sort(p)[::-1])
        if np.abs(sums - top_p).min() <= MARGIN:
            return True
        kept = np.zeros(len(p), bool)
        kept[[*nucleus(p.tolist(), top_p)]] = True
        p = np.where(kept, p, 0) / p[kept].sum()
    reached = np.cumsum(p)
    return bool(reached[number] - p[number] - BOUNDARY <= draw <= reached[number] + BOUNDARY)


def soak(bundle, requests: Sequence, engine, rng: np.random.Generator) -> Verdict:
    """Sends requests to an engine, which join at random; in one of 30 steps one is cancelled. Then judges all answers.

    The logits are those of the bundle's model in a full pass, without a cache. Raises: AssertionError if an answer is
    incomplete, if its text is not that of its tokens, or if something comes of a request that is over.
    """
    waiting, asked, answers, cancelled = list(requests)[::-1], {}, {}, set()
    while waiting or engine.running or engine.waiting:
        while waiting and engine.running + engine.waiting < engine.rows + engine.queue and rng.random() < 0.7:
            number = engine.submit(waiting[-1])
            asked[number], answers[number] = waiting.pop(), []
        running = [
            number for number in asked if number not in cancelled and not (answers[number] and answers[number][-1].finish)
        ]
        if running and rng.random() < 1 / 30:
            leaves = int(rng.choice(running))
            cancelled.add(leaves)
            engine.cancel(leaves)
        for update in engine.step():
            assert update.number not in cancelled, "a request that was cancelled goes on"
            assert not answers[update.number] or answers[update.number][-1].finish is None, "an update after the last one"
            answers[update.number].append(update)
    verdicts = []
    for number, request in asked.items():
        tokens = [token for update in answers[number] for token in update.tokens]
        if number not in cancelled:
            assert len(tokens) == request.max_tokens, f"request {number} has {len(tokens)} tokens, not {request.max_tokens}"
            text = "".join(update.text for update in answers[number])
            assert text == bundle.tokenizer.decode([token.id for token in tokens]), f"request {number}: {text!r}"
        verdicts.append(judge(bundle.model, request, tokens))
    return together(verdicts)


def judge(model, request, tokens: Sequence) -> Verdict:
    """Judges an answer's first tokens by the logits of a model's full pass, without a cache."""
    from katas.autograd import no_grad

    with no_grad():
        logits = model(np.array([[*request.prompt, *(token.id for token in tokens)]])).data[0]
    from_prompt = logits[len(request.prompt) - 1 :][: len(tokens)]
    return verdict(from_prompt, tokens, request.seed, request.temperature, request.top_p)


def together(verdicts: Sequence[Verdict]) -> Verdict:
    """One Verdict about all answers."""
    judged, wrong, excused, worst = zip(*verdicts, strict=True)
    return Verdict(sum(judged), [place for places in wrong for place in places], sum(excused), max(worst))
