"""A browser for the specs of the page, which notes what a page must not do."""

import shutil
import sys
from pathlib import Path

import pytest
from playwright.sync_api import expect, sync_playwright

from specs.page import served

expect.set_options(timeout=30_000)  # ms: a busy machine is no reason to fail


@pytest.fixture(scope="session")
def folder(tmp_path_factory) -> Path:
    """Where the bundle lies."""
    folder = tmp_path_factory.mktemp("page") / "bundle"
    served.save(folder)
    return folder


@pytest.fixture(scope="session")
def address(folder):
    with served.serve(folder) as address:
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
