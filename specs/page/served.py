"""A model that was never trained, and a server for it: a process of its own."""

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from specs.datasets.text import python_docs
from specs.door import ROOT

NAME = "random"  # of the model
SECONDS = 30  # until a server is ready, and until it has ended


def save(folder: Path) -> None:
    """A bundle with a random GPT. It writes on without end, and finds some tokens likely and most others not."""
    from katas.capstone import Bundle
    from katas.tokenization import BPETokenizer
    from katas.transformers import GPT, GPTConfig

    tokenizer = BPETokenizer.train(python_docs().text[:100_000], 1024)
    config = GPTConfig(tokenizer.vocab_size, 32, 8, 4, 256, positions="rotary", norm="rms", window=32)
    model, rng = GPT(config, np.random.default_rng(0)), np.random.default_rng(1)
    for parameter in model.parameters():
        if parameter.ndim > 1:
            parameter.data = rng.normal(0, 0.2, parameter.shape).astype(np.float32)
    Bundle(model, tokenizer, NAME).save(folder)


@contextmanager
def serve(folder: Path, **environment: str) -> Iterator[str]:
    """The address of a server of its own, for as long as it is wanted."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "katas.capstone", "serve", str(folder), "--port", str(port)]
    process = subprocess.Popen(command, env=os.environ | environment, cwd=ROOT)
    try:
        _wait(process, f"http://127.0.0.1:{port}")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(SECONDS)


def _wait(process: subprocess.Popen, address: str) -> None:
    end = time.monotonic() + SECONDS
    while True:
        try:
            urllib.request.urlopen(f"{address}/healthz/ready", timeout=SECONDS).close()
            return
        except urllib.error.URLError:
            if process.poll() is not None or time.monotonic() > end:
                raise
            time.sleep(0.05)
