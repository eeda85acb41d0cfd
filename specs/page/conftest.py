"""What every spec of the page has: a model behind the real server, and a browser that notes what a page must not do."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import sync_playwright

from specs.datasets.text import python_docs
from specs.door import ROOT

NAME = "random"  # of the model
SECONDS = 30  # until a server is ready, and until it has ended


@pytest.fixture(scope="session")
def folder(tmp_path_factory) -> Path:
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
    folder = tmp_path_factory.mktemp("page") / "bundle"
    Bundle(model, tokenizer, NAME).save(folder)
    return folder


@contextmanager
def serve(folder: Path, **environment: str):
    """The address of a server of its own, in a process of its own."""
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


@pytest.fixture(scope="session")
def address(folder):
    with serve(folder) as address:
        yield address


@pytest.fixture(scope="session")
def browser():
    """Debian's Chromium, or else the one that `playwright install chromium` fetches."""
    if sys.platform == "linux":
        import resource

        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        resource.setrlimit(resource.RLIMIT_AS, (hard, hard))  # V8 reserves more address space than specs may have
    with sync_playwright() as playwright, playwright.chromium.launch(executable_path=shutil.which("chromium")) as browser:
        yield browser


@pytest.fixture
def visit(browser):
    """visit(address, **how) opens the page there. At the end it must have broken no policy, and asked no other server."""
    contexts, wrong = [], []

    def visit(address: str, **how):
        contexts.append(context := browser.new_context(base_url=address, **how))
        page = context.new_page()
        page.on("console", lambda message: "Content Security Policy" in message.text and wrong.append(message.text))
        page.on("pageerror", lambda error: wrong.append(f"raised: {error}"))
        page.on("dialog", lambda dialog: wrong.append(f"dialog: {dialog.message}"))
        page.on("request", lambda request: request.url.startswith(f"{address}/") or wrong.append(f"asked: {request.url}"))
        assert page.goto(address).headers["content-security-policy"].startswith("default-src 'none'")
        return page

    yield visit
    for context in contexts:
        context.close()
    assert not wrong


@pytest.fixture
def page(visit, address):
    return visit(address)
