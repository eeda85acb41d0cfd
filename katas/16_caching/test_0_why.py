import time

import numpy as np
import pytest
from katas.autograd import no_grad
from katas.caching import Decoder, KVCache, prefill
from katas.transformers import GPT, GPTConfig

NEAR, FAR = 64, 512


def milliseconds(call) -> float:
    """CPU time of the fastest of some calls."""
    found = []
    for _ in range(7):
        start = time.process_time()
        call()
        found.append(time.process_time() - start)
    return 1e3 * min(found)


@pytest.mark.timeout(60)
def test_a_token_behind_a_long_text_takes_as_long_as_behind_a_short_one(tell):
    """Without a cache, token 512 takes more than four times as long as token 64: the text is computed again. With one, it takes
    less than twice as long, and less than a tenth of the time.
    """
    model = GPT(GPTConfig(64, FAR + 20, 2, 4, 64), np.random.default_rng(0))
    text, decoder, uncached, cached = np.random.default_rng(1).integers(0, 64, (1, FAR)), Decoder(model), {}, {}
    for length in (NEAR, FAR):
        with no_grad():
            uncached[length] = milliseconds(lambda length=length: model(text[:, :length]))
        cache = KVCache.of(model, 1)
        prefill(model, text[:, :length], cache)

        def ten(cache=cache, length=length):
            cache.truncate(length)
            for _ in range(10):
                decoder.step(text[:, 0], cache)

        cached[length] = max(milliseconds(ten) / 10, 1e-3)  # some clocks are coarse
        tell(f"token {length}: {uncached[length]:.2f} ms uncached, {cached[length]:.2f} ms cached")
    assert uncached[FAR] > 4 * uncached[NEAR]
    assert cached[FAR] < 2 * cached[NEAR]
    assert cached[FAR] < uncached[FAR] / 10
