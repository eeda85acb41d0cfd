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


def _linear(into: int, out: int) -> list[tuple]:
    return [(0.0, (out, into)), (0.0, (out,))]


NORM = [(1.0, (WIDTH,)), (0.0, (WIDTH,))]  # a parameter's mean and shape, as all that follows
BLOCK = [
    *NORM,
    *_linear(WIDTH, 3 * WIDTH),
    *_linear(WIDTH, WIDTH),
    *NORM,
    *_linear(WIDTH, 4 * WIDTH),
    *_linear(4 * WIDTH, WIDTH),
]
PARAMETERS = [(0.0, (VOCABULARY, WIDTH)), (0.0, (CONTEXT, WIDTH)), *BLOCK * LAYERS, *NORM]  # in both sides' order


def parameters(deviation: float) -> list[np.ndarray]:
    """What both sides begin with."""
    rng = np.random.default_rng(1)
    return [rng.normal(mean, deviation, shape).astype(np.float32) for mean, shape in PARAMETERS]


def decode(case: Decoding, side: str) -> Callable[[], list[np.ndarray]]:
    """A call decodes: the logits after the last token."""
    kernel, threads = side.split(" ")
    return _ours(case, int(threads)) if kernel == "NumPy" else _theirs(case, kernel, int(threads))


def written(side: str) -> dict[str, float]:
    """The seconds of a text by the reference: "cached", or "uncached". Works with Side.train."""
    from katas.caching import Decoder, KVCache
    from katas.transformers import generate

    model, cached = build(), side == "cached"
    writer, cache = (Decoder(model), KVCache.of(model, 1)) if cached else (model, None)
    start = time.perf_counter()
    count = len(list(generate(writer, [0], WRITTEN, rng=np.random.default_rng(0), cache=cache)))
    return {"seconds": time.perf_counter() - start, "tokens": count}


def build(deviation: float = 0.05):
    """The reference's GPT, with parameters that deviate so much."""
    from katas.transformers import GPT, GPTConfig

    model = GPT(GPTConfig(VOCABULARY, CONTEXT, LAYERS, HEADS, WIDTH))
    for parameter, value in zip(model.parameters(), parameters(deviation), strict=True):
        parameter.data[...] = value
    return model


def _ours(case: Decoding, threads: int) -> Callable[[], list[np.ndarray]]:
    from katas.caching import Decoder, KVCache
    from katas.tensor import Tensor
    from threadpoolctl import threadpool_limits

    threadpool_limits(threads)
    model = build()
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

    torch.set_num_threads(threads)
    network, cache = eager(case.batch, kernel)
    held, ids = map(torch.from_numpy, case.inputs())
    cache[..., : case.length, :] = held

    def call():
        for place, row in enumerate(ids, case.length):
            logits = network(row[:, None], place)
        return [logits.numpy()]

    return call


def eager(batch: int, kernel: str, deviation: float = 0.05) -> tuple:
    """The GPT by PyTorch, and its cache, (LAYERS, 2, batch, HEADS, CONTEXT, head), which never grows.

    A call takes ids (batch, time), and their first place; it gives the logits after the last, (batch, VOCABULARY). Several ids
    in a row begin a text. One may follow on others: then the kernel is "fused", PyTorch's own for attention, or "explicit".
    """
    import torch
    from torch.nn import functional as F

    size = WIDTH // HEADS
    wte, wpe, *weights = map(torch.from_numpy, parameters(deviation))
    blocks, ln_f = [weights[len(BLOCK) * n :][: len(BLOCK)] for n in range(LAYERS)], weights[-2:]
    cache = torch.zeros(LAYERS, 2, batch, HEADS, CONTEXT, size)

    @torch.inference_mode()
    def network(ids: torch.Tensor, place: int) -> torch.Tensor:
        time = ids.shape[1]
        end = place + time
        x = (wte[ids] + wpe[place:end]).view(-1, WIDTH)
        for kv, (g_1, b_1, attn, attn_b, proj, proj_b, g_2, b_2, fc, fc_b, out, out_b) in zip(cache, blocks, strict=True):
            qkv = F.linear(F.layer_norm(x, (WIDTH,), g_1, b_1), attn, attn_b).view(batch, time, 3, HEADS, size)
            qkv = qkv.permute(2, 0, 3, 1, 4)  # (3, batch, HEADS, time, size)
            kv[..., place:end, :] = qkv[1:]
            q, (k, v) = qkv[0], kv[..., :end, :]
            if kernel == "fused" or time > 1:
                y = F.scaled_dot_product_attention(q, k, v, is_causal=time > 1)
            else:
                y = (q * size**-0.5 @ k.transpose(-2, -1)).softmax(-1) @ v
            x = x + F.linear(y.transpose(1, 2).reshape(-1, WIDTH), proj, proj_b)
            wide = F.gelu(F.linear(F.layer_norm(x, (WIDTH,), g_2, b_2), fc, fc_b), approximate="tanh")
            x = x + F.linear(wide, out, out_b)
        return F.linear(F.layer_norm(x.view(batch, time, WIDTH)[:, -1], (WIDTH,), *ln_f), wte)

    return network, cache
