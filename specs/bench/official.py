"""OpenAI's own clients, in Python and JavaScript, against kata 20's server."""

import json
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

from specs.bench import serving

PACKAGE = "openai@7.59.0"  # npm's
PROMPT, CHAT = "The sea", [{"role": "user", "content": "What is the sea?"}]
WRITTEN = 40  # tokens


@contextmanager
def _server():
    from katas.capstone import Bundle

    from specs.milestones.clients import HOST, Server

    made = serving.bundle()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "bundle"
        Bundle(made.model, made.tokenizer, chat={"user": ("<", ">"), "assistant": ("[", "]")}, accelerated=True).save(folder)
        with Server.of(folder) as server:
            yield f"http://{HOST}:{server.port}/v1"


def python() -> dict:
    """Which requests of the Python client are completed as they should be. Works with Side.train."""
    import openai

    with _server() as url, openai.OpenAI(base_url=url, api_key="none", max_retries=0, timeout=60) as client:
        found = {"models": [model.id for model in client.models.list()] == ["gpt"]}
        asked = {"model": "gpt", "prompt": PROMPT, "max_tokens": WRITTEN, "seed": 1}
        whole = client.completions.create(**asked, n=2, logprobs=2)
        choice = whole.choices[0]
        found["completion"] = len(whole.choices) == 2 and whole.usage.completion_tokens == 2 * WRITTEN
        found["completion, logprobs"] = len(choice.logprobs.tokens) == WRITTEN == len(choice.logprobs.top_logprobs)
        parts = [*client.completions.create(**asked, stream=True, stream_options={"include_usage": True})]
        found["completion, streamed"] = _text(parts) == choice.text and parts[-1].usage.completion_tokens == WRITTEN
        stop = choice.text[3:5]
        cut = client.completions.create(**asked, stop=[stop])
        found["completion, stop"] = (
            cut.choices[0].text == choice.text.partition(stop)[0] and cut.choices[0].finish_reason == "stop"
        )
        parts = [*client.completions.create(**asked, stop=[stop], stream=True)]
        found["completion, stop, streamed"] = _text(parts) == cut.choices[0].text
        asked = {
            "model": "gpt",
            "messages": CHAT,
            "max_completion_tokens": WRITTEN,
            "seed": 1,
            "logprobs": True,
            "top_logprobs": 2,
        }
        choice = client.chat.completions.create(**asked).choices[0]
        found["chat"] = choice.message.role == "assistant" and bool(choice.message.content)
        found["chat, logprobs"] = all(len(token.top_logprobs) == 2 for token in choice.logprobs.content)
        parts = [*client.chat.completions.create(**asked, stream=True)]
        found["chat, streamed"] = "".join(part.choices[0].delta.content or "" for part in parts) == choice.message.content
        stop = choice.message.content[1:3]
        cut = client.chat.completions.create(**asked, stop=stop).choices[0]
        found["chat, stop"] = cut.message.content == choice.message.content.partition(stop)[0]
        for name, error, others in (
            ("no such model", openai.NotFoundError, {"model": "other"}),
            ("too long", openai.BadRequestError, {"max_tokens": 1 << 20}),
        ):
            try:
                client.completions.create(**{"model": "gpt", "prompt": PROMPT} | others)
                found[name] = False
            except error:
                found[name] = True
    return {"client": f"openai {version('openai')} for Python", "found": found}


def _text(parts: list) -> str:
    return "".join(choice.text for part in parts for choice in part.choices)


def javascript() -> dict:
    """As `python`, by npm's client; nothing if there is no npm, or if it can't fetch the client."""
    npm, node = shutil.which("npm"), shutil.which("node")
    if not npm or not node:
        return {}
    with tempfile.TemporaryDirectory() as folder:
        if subprocess.run([npm, "install", "--no-audit", "--no-fund", PACKAGE], cwd=folder, timeout=300).returncode:
            return {}
        script = shutil.copy(Path(__file__).with_suffix(".mjs"), folder)
        with _server() as url:
            done = subprocess.run([node, script, url], check=True, timeout=300, stdout=subprocess.PIPE, text=True)
    return {"client": f"{PACKAGE.replace('@', ' ')} for JavaScript", "found": json.loads(done.stdout)}
