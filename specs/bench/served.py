"""Serving over HTTP: kata 20's app, with its engine, and with one of the same schedule whose model PyTorch computes, eager.

Each server is a process of its own: `python -m specs.bench.served SIDE`. A side is named as in decoding.py: "NumPy 1", or
PyTorch's attention, "fused 2" or "explicit 1".
"""

import asyncio
import atexit
import functools
import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from specs.bench import decoding, serving
from specs.bench.decoding import BLOCK, CONTEXT, HEADS, LAYERS, WIDTH
from specs.bench.serving import COMPARED, DEVIATION, TEMPERATURE, TOKENS

REQUESTS = 16  # of a turn


def requests(clients: int, side: str) -> Callable[[], list[np.ndarray]]:
    """A call sends REQUESTS requests, from so many clients at a time: the first characters of each answer."""
    port = _port(side)
    bodies = [
        json.dumps({"model": "gpt", "prompt": ids, "max_tokens": TOKENS, "temperature": TEMPERATURE, "seed": seed}).encode()
        for seed, ids in enumerate(serving.prompts(REQUESTS).tolist())
    ]

    def call():
        texts = asyncio.run(_answers(port, bodies, clients))
        return [np.array([[ord(letter) for letter in text[:COMPARED].ljust(COMPARED)] for text in texts])]

    return call


async def _answers(port: int, bodies: list[bytes], clients: int) -> list[str]:
    from specs.milestones.clients import COMPLETIONS, Call

    waiting, texts = iter(enumerate(bodies)), [""] * len(bodies)

    async def client() -> None:
        for index, body in waiting:
            async with Call(port) as call:
                await call.post(COMPLETIONS, body)
                texts[index] = (await call.json())["choices"][0]["text"]

    await asyncio.gather(*[client() for _ in range(clients)])
    return texts


@functools.cache
def _port(side: str) -> int:
    """That of a server of this side, which ends with this process."""
    from specs.milestones.clients import Server

    folder = tempfile.TemporaryDirectory()
    atexit.register(folder.cleanup)
    server = Server(Path(folder.name) / "log", "-m", "specs.bench.served", side).__enter__()
    atexit.register(server.__exit__)
    return server.port


def main(side: str) -> None:
    """Serves."""
    from threadpoolctl import threadpool_limits

    from katas import capstone

    kernel, threads = side.split(" ")
    threadpool_limits(int(threads))
    if kernel != "NumPy":
        capstone.Engine = functools.partial(_eager(), kernel, int(threads))
    capstone.serve(serving.bundle(), port=0)


def _eager() -> type:
    import torch
    from katas.capstone import Engine
    from torch.nn import functional as F

    class Eager(Engine):
        """PyTorch computes all logits, with a cache that never grows. All else is the engine's."""

        def __init__(self, kernel: str, threads: int, bundle, *sizes: int):
            super().__init__(bundle, *sizes)
            torch.set_num_threads(threads)
            self._fused = kernel == "fused"
            self._wte, self._wpe, *weights = map(torch.from_numpy, decoding.parameters(DEVIATION))
            self._blocks = [weights[len(BLOCK) * layer :][: len(BLOCK)] for layer in range(LAYERS)]
            self._ln_f = weights[-2:]
            self._keys_values = torch.zeros(LAYERS, 2, self.rows, HEADS, CONTEXT, WIDTH // HEADS)

        def _decode(self, jobs: list) -> None:
            if not jobs:
                return
            rows = 1 + max(job.row for job in jobs)
            ids, places = torch.zeros(2, rows, dtype=torch.long)
            for job in self._running.values():
                if job.row < rows:  # a row that is read from writes where its next slice will
                    places[job.row] = job.read + max(0, job.made - 1)
            for job in jobs:
                ids[job.row] = job.next
            first = 0 if len(jobs) > 1 else jobs[0].row
            logits = self._logits(slice(first, rows), ids[first:, None], places[first:])[:, -1].numpy()
            for job in jobs:
                job.logits, job.next = logits[job.row - first], None

        def _passes(self, parts: list[tuple]) -> Iterator[tuple]:
            """The logits are those after the last token only."""
            if not parts:
                return
            lengths = [len(part) for _, part in parts]
            if len(parts) * max(lengths) > 2 * sum(lengths):
                for part in parts:
                    yield from self._passes([part])
                return
            ids = torch.zeros(len(parts), max(lengths), dtype=torch.long)
            for row, (_, part) in zip(ids, parts, strict=True):
                row[: len(part)] = torch.tensor(part)
            rows, places = torch.tensor([(job.row, job.read) for job, _ in parts]).T
            logits = self._logits(rows, ids, places, torch.tensor(lengths) - 1).numpy()
            for (job, part), after in zip(parts, logits, strict=True):
                yield job, part, after

        @torch.inference_mode()
        def _logits(self, rows, ids, places, last=None) -> torch.Tensor:
            """After ids (rows, time), from these places on in these rows: behind the last ones, (rows, 1, vocabulary)."""
            count, time = ids.shape
            positions = places[:, None] + torch.arange(time)  # (rows, time)
            positions.clamp_(max=CONTEXT - 1)  # of padding
            end = int(positions.max()) + 1
            mask = None
            if time > 1 or int(places.min()) < end - 1:
                mask = (torch.arange(end) <= positions[..., None])[:, None]  # (rows, 1, time, end)
            every = torch.arange(rows.start, rows.stop) if isinstance(rows, slice) else rows
            x = (self._wte[ids] + self._wpe[positions]).view(-1, WIDTH)
            for held, block in zip(self._keys_values, self._blocks, strict=True):
                g_1, b_1, attn, attn_b, proj, proj_b, g_2, b_2, fc, fc_b, out, out_b = block
                qkv = F.linear(F.layer_norm(x, (WIDTH,), g_1, b_1), attn, attn_b).view(count, time, 3, HEADS, -1)
                held[:, every[:, None], :, positions] = qkv[:, :, 1:]
                q, (k, v) = qkv[:, :, 0].transpose(1, 2), held[:, rows, :, :end]
                if self._fused:
                    y = F.scaled_dot_product_attention(q, k, v, mask)
                else:
                    scores = q * q.shape[-1] ** -0.5 @ k.transpose(-2, -1)
                    y = (scores if mask is None else scores.masked_fill(~mask, -torch.inf)).softmax(-1) @ v
                x = x + F.linear(y.transpose(1, 2).reshape(-1, WIDTH), proj, proj_b)
                wide = F.gelu(F.linear(F.layer_norm(x, (WIDTH,), g_2, b_2), fc, fc_b), approximate="tanh")
                x = x + F.linear(wide, out, out_b)
            x = x.view(count, time, WIDTH)
            x = x if last is None else x[torch.arange(count), last][:, None]
            return F.linear(F.layer_norm(x, (WIDTH,), *self._ln_f), self._wte)

    return Eager


if __name__ == "__main__":
    main(*sys.argv[1:])
