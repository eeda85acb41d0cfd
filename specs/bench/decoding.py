"""Decoding with a cache: what the reference's Decoder does, and the same by PyTorch, eager, with a cache of the same kind.

Each side imports its own library when it is asked. A side is "NumPy 1", or PyTorch's attention: "fused 2", "explicit 1"; the
number is that of its threads.
"""

import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

LAYERS, HEADS, WIDTH, VOCABULARY, CONTEXT = 4, 4, 128, 1024, 1040
TOKENS = 8  # of a turn, behind the text
WRITTEN = 512  # tokens of a text that is written with a cache and without


class Decoding(NamedTuple):
    """The next TOKENS tokens, one by one, of `batch` texts of `length` tokens, which are in the cache."""

    batch: int
    length: int

    def __str__(self) -> str:
        return f"{TOKENS} tokens, one by one, behind {self.length:,} in a cache; batch {self.batch}"

    def inputs(self) -> tuple[np.ndarray, np.ndarray]:
        """Keys and values of the texts, (LAYERS, 2, batch, HEADS, length, head), and the ids that follow, (TOKENS, batch)."""
        rng = np.random.default_rng(6)
        held = rng.standard_normal((LAYERS, 2, self.batch, HEADS, self.length, WIDTH // HEADS), np.float32)
        return held, rng.integers(0, VOCABULARY, (TOKENS, self.batch))


CASES = [Decoding(batch, length) for batch in (1, 16) for length in (128, 512, 1024)]


def parameters(shapes) -> list[np.ndarray]:
    """Both sides' parameters, in order: wte, wpe, the blocks' (norm, attention, norm, feed-forward), ln_f."""
    rng = np.random.default_rng(1)
    return [rng.normal(float(len(shape) == 1), 0.05, shape).astype(np.float32) for shape in shapes]


def decode(case: Decoding, side: str) -> Callable[[], list[np.ndarray]]:
    """A call decodes: the logits after the last token."""
    kernel, threads = side.split(" ")
    return _ours(case, int(threads)) if kernel == "NumPy" else _theirs(case, kernel, int(threads))


def written(side: str) -> dict[str, float]:
    """The seconds of a text by the reference: "cached", or "uncached". Works with Side.train."""
    from katas.caching import Decoder, KVCache
    from katas.transformers import generate

    model, cached = _model(), side == "cached"
    writer, cache = (Decoder(model), KVCache.of(model, 1)) if cached else (model, None)
    start = time.perf_counter()
    count = len(list(generate(writer, [0], WRITTEN, rng=np.random.default_rng(0), cache=cache)))
    return {"seconds": time.perf_counter() - start, "tokens": count}


def _model():
    from katas.transformers import GPT, GPTConfig

    model = GPT(GPTConfig(VOCABULARY, CONTEXT, LAYERS, HEADS, WIDTH))
    for parameter, value in zip(model.parameters(), parameters(p.shape for p in model.parameters()), strict=True):
        parameter.data[...] = value
    return model


def _ours(case: Decoding, threads: int) -> Callable[[], list[np.ndarray]]:
    from katas.caching import Decoder, KVCache
    from katas.tensor import Tensor
    from threadpoolctl import threadpool_limits

    threadpool_limits(threads)
    model = _model()
    held, ids = case.inputs()
    decoder, cache = Decoder(model), KVCache.of(model, case.batch)
    for layer, (k, v) in enumerate(held):
        cache.extend(layer, Tensor(k), Tensor(v))

    def call():
        for row in ids:
            logits = decoder.step(row, cache)
        cache.truncate(case.length)
        return [logits]

    return call


def _theirs(case: Decoding, kernel: str, threads: int) -> Callable[[], list[np.ndarray]]:
    import torch
    from torch.nn import functional as F

    torch.set_num_threads(threads)
    size = WIDTH // HEADS
    norm, linear = [(WIDTH,), (WIDTH,)], lambda into, out: [(out, into), (out,)]
    block = [
        *norm,
        *linear(WIDTH, 3 * WIDTH),
        *linear(WIDTH, WIDTH),
        *norm,
        *linear(WIDTH, 4 * WIDTH),
        *linear(4 * WIDTH, WIDTH),
    ]
    values = map(torch.from_numpy, parameters([(VOCABULARY, WIDTH), (CONTEXT, WIDTH), *block * LAYERS, *norm]))
    wte, wpe, *weights = values
    blocks, ln_f = [weights[len(block) * n :][: len(block)] for n in range(LAYERS)], weights[-2:]
    held, ids = case.inputs()
    cache = torch.zeros(LAYERS, 2, case.batch, HEADS, CONTEXT, size)
    cache[..., : case.length, :] = torch.from_numpy(held)
    ids = torch.from_numpy(ids)

    @torch.inference_mode()
    def step(row: torch.Tensor, place: int) -> torch.Tensor:
        x = wte[row] + wpe[place]  # (batch, WIDTH)
        for kv, (g_1, b_1, attn, attn_b, proj, proj_b, g_2, b_2, fc, fc_b, out, out_b) in zip(cache, blocks, strict=True):
            qkv = F.linear(F.layer_norm(x, (WIDTH,), g_1, b_1), attn, attn_b).view(case.batch, 3, HEADS, 1, size)
            kv[:, :, :, place] = qkv[:, 1:, :, 0].transpose(0, 1)
            q, (k, v) = qkv[:, 0], kv[:, :, :, : place + 1]
            if kernel == "fused":
                y = F.scaled_dot_product_attention(q, k, v)
            else:
                y = (q * size**-0.5 @ k.transpose(-2, -1)).softmax(-1) @ v
            x = x + F.linear(y.view(case.batch, WIDTH), proj, proj_b)
            wide = F.gelu(F.linear(F.layer_norm(x, (WIDTH,), g_2, b_2), fc, fc_b), approximate="tanh")
            x = x + F.linear(wide, out, out_b)
        return F.linear(F.layer_norm(x, (WIDTH,), *ln_f), wte)

    def call():
        for place, row in enumerate(ids, case.length):
            logits = step(row, place)
        return [logits.numpy()]

    return call
