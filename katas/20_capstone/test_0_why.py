import time

import numpy as np
import pytest
from katas.capstone import Bundle, Engine, Request
from katas.tokenization import BPETokenizer
from katas.transformers import GPT, GPTConfig

ROWS, TOKENS = 16, 24


@pytest.mark.timeout(60)
def test_sixteen_answers_together_take_less_time_than_one_after_another(tell):
    """A model that writes for one client at a time lets the others wait. Sixteen answers, written together, take less than two
    thirds of the time, and each is the same text.
    """
    tokenizer = BPETokenizer.train("she sells sea shells by the sea shore " * 9, 270)
    bundle = Bundle(GPT(GPTConfig(270, 64, 4, 4, 128), np.random.default_rng(0)), tokenizer)
    requests = [Request([seed], TOKENS, seed=seed) for seed in range(ROWS)]
    seconds, texts = {1: [], ROWS: []}, {}
    for _ in range(3):
        for rows in seconds:
            engine, answers = Engine(bundle, rows=rows), {}
            start = time.process_time()
            numbers = [engine.submit(request) for request in requests]
            while engine.running or engine.waiting:
                for update in engine.step():
                    answers[update.number] = answers.get(update.number, "") + update.text
            seconds[rows].append(time.process_time() - start)
            texts[rows] = [answers.get(number) for number in numbers]
    speed = {rows: ROWS * TOKENS / max(min(found), 1e-3) for rows, found in seconds.items()}  # some clocks are coarse
    tell(f"{speed[1]:.0f} tokens a second one after another, {speed[ROWS]:.0f} together")
    assert sum(one == other for one, other in zip(*texts.values(), strict=True)) >= ROWS - 1  # one may differ by rounding
    assert speed[ROWS] > 1.5 * speed[1]
