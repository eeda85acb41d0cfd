import asyncio
import json
import os
import subprocess
import sys

import numpy as np
import pytest
from katas.capstone import (
    CONNECTIONS,
    GRACE,
    AsyncEngine,
    Bundle,
    Engine,
    Request,
    TextStream,
    Token,
    app,
    choose,
    log_softmax,
    main,
)
from katas.tokenization import BPETokenizer
from katas.transformers import GPT, GPTConfig

from specs.check import Exchange, Mismatch, rejects, running, undisturbed
from specs.door import ROOT


@pytest.fixture
def folder(tmp_path):
    """A bundle of a small GPT."""
    tokenizer = BPETokenizer.train("she sells sea shells " * 9, 262, ["<|end|>"])
    model, rng = GPT(GPTConfig(262, 24, 1, 2, 8), np.random.default_rng(0)), np.random.default_rng(1)
    for parameter in model.parameters():
        parameter.data = rng.normal(0, 0.5, parameter.shape).astype(np.float32)
    Bundle(model, tokenizer).save(tmp_path / "bundle")
    return tmp_path / "bundle"


def answer(folder, prompt: str, **options) -> str:
    bundle = Bundle.load(folder)
    engine, text = Engine(bundle, rows=1), ""
    engine.submit(Request(bundle.tokenizer.encode(prompt), **options))
    while engine.running or engine.waiting:
        for update in engine.step():
            text += update.text
    return text


@pytest.mark.parametrize("seed", [0, 3])
def test_generate_writes_the_continuation(seed, folder, capsys):
    """It writes the text of the engine, and a line end. A seed of 0 is one, too."""
    for count in (9, 0):
        main(["generate", str(folder), "she sells", "--max-tokens", str(count), "--seed", str(seed)])
        assert capsys.readouterr().out == answer(folder, "she sells", max_tokens=count, seed=seed) + "\n"


def test_no_arguments_are_those_of_no_other_program(folder, monkeypatch):
    """main([]) is refused, whatever sys.argv has; main() reads it."""
    monkeypatch.setattr(sys, "argv", ["capstone", "generate", str(folder), "she", "--max-tokens", "1"])
    with rejects(SystemExit, "2"):
        main([])
    main()


def test_a_prompt_is_ordinary_text(folder, capsys):
    """A special token in the prompt is read as its characters. Blanks and line ends around it stay."""
    for prompt in ("a<|end|>", " sea ", "sea\n"):
        main(["generate", str(folder), prompt, "--max-tokens", "9", "--seed", "3"])
        assert capsys.readouterr().out == answer(folder, prompt, max_tokens=9, seed=3) + "\n"


def test_the_options_of_generate(folder, capsys):
    """--temperature, --top-p and --stop, which may be given several times, are the request's."""
    main(["generate", str(folder), "sea", "--max-tokens", "12", "--temperature", "0.7", "--top-p", "0.8", "--seed", "1"])
    whole = answer(folder, "sea", max_tokens=12, temperature=0.7, top_p=0.8, seed=1)
    assert capsys.readouterr().out == whole + "\n"
    stops = [whole[6:8], whole[4:6]]
    options = [option for stop in stops for option in ("--stop", stop)]
    main(
        [
            "generate",
            str(folder),
            "sea",
            "--max-tokens",
            "12",
            "--temperature",
            "0.7",
            "--top-p",
            "0.8",
            "--seed",
            "1",
            *options,
        ]
    )
    found = capsys.readouterr().out
    assert found == answer(folder, "sea", max_tokens=12, temperature=0.7, top_p=0.8, seed=1, stop=stops) + "\n"
    assert found != whole + "\n"


def test_generate_writes_each_part_at_once(folder, monkeypatch):
    """The text is written in parts, and each is flushed."""
    written = []

    class Terminal:
        def write(self, text: str) -> None:
            written.append(text)

        def flush(self) -> None:
            written.append(None)

    monkeypatch.setattr(sys, "stdout", Terminal())
    main(["generate", str(folder), "she", "--max-tokens", "9", "--seed", "3"])
    monkeypatch.undo()
    texts = [text for text in written if text]
    assert "".join(texts) == answer(folder, "she", max_tokens=9, seed=3) + "\n"
    assert sum(text is None for text in written) >= 4
    assert len([text for text in texts if text != "\n"]) >= 4


@pytest.fixture
def configs(monkeypatch):
    """With what uvicorn was asked to run, which it doesn't."""
    import uvicorn

    found = []
    monkeypatch.delenv("KATA_API_KEYS", raising=False)
    monkeypatch.setattr(uvicorn.Server, "run", lambda self, *arguments: found.append(self.config))
    return found


def answered(served, *headers: tuple[str, str]) -> int:
    """What the app answers to one who asks for its models."""

    async def main():
        async with running(served):
            return (await Exchange(served, "GET", "/v1/models", b"", headers).response()).status

    return asyncio.run(main())


def test_serve(folder, configs):
    """serve runs the app of the bundle by uvicorn, on 127.0.0.1 and port 8000, without keys, with limits."""
    main(["serve", str(folder)])
    (config,) = configs
    assert (config.host, config.port) == ("127.0.0.1", 8000)
    assert (config.limit_concurrency, config.timeout_graceful_shutdown) == (CONNECTIONS, GRACE)
    assert answered(config.app) == 200
    assert answered(config.app, ("Host", "model.example")) == 400


def test_the_options_of_serve(folder, configs):
    """--host and --port say where it listens. --allow-host adds a name to the host's own and this machine's."""
    names = [option for name in ("model.example", "other.example") for option in ("--allow-host", name)]
    main(["serve", str(folder), "--host", "192.0.2.7", "--port", "81", *names])
    (config,) = configs
    assert (config.host, config.port) == ("192.0.2.7", 81)
    for host in ("model.example", "other.example:81", "192.0.2.7", "localhost"):
        assert answered(config.app, ("Host", host)) == 200
    assert answered(config.app, ("Host", "elsewhere.example")) == 400


@pytest.mark.parametrize(
    ("keys", "statuses"),
    [
        ("Alpha", [200, 401, 401, 401]),
        ("Alpha, beta", [200, 200, 401, 401]),
        ("gamma,Alpha,beta", [200, 200, 401, 401]),
        ("", [200] * 4),
        (",", [401] * 4),
    ],
)
def test_the_keys_of_serve(keys, statuses, folder, configs, monkeypatch):
    """KATA_API_KEYS has keys between commas. Empty, it has none; with a comma alone, nobody is let in."""
    monkeypatch.setenv("KATA_API_KEYS", keys)
    main(["serve", str(folder)])
    asks = [("Authorization", f"Bearer {key}") for key in ("Alpha", "beta", "Alpha, beta")]
    assert [answered(configs[0].app, *headers) for headers in ([asks[0]], [asks[1]], [asks[2]], [])] == statuses


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["generate", "nowhere", "a"], "nowhere"),
        (["generate", "{folder}", ""], "prompt"),
        (["generate", "{folder}", "a", "--temperature", "-1"], "temperature"),
        (["generate", "{folder}", "a", "--max-tokens", "99"], "24"),
        (["serve", "nowhere"], "nowhere"),
        (["build", "nowhere.json", "{folder}"], "nowhere.json"),
        (["build", "{folder}/merges.txt", "{folder}"], ""),
        (["build", "{folder}/../typo.json", "{folder}"], "modle"),
        (["build", "{folder}", "elsewhere"], ""),
        (["build", "{folder}/../good.json", "{folder}/.."], ""),
    ],
)
def test_errors_have_no_traceback(arguments, told, folder, capsys):
    """A missing file, values that don't fit, and unknown fields end with status 1 and the message on stderr."""
    (folder.parent / "typo.json").write_text('{"text": "text.txt", "modle": {}}')
    (folder.parent / "good.json").write_text(json.dumps({"text": str(folder / "merges.txt"), "model": {}}))
    with pytest.raises(SystemExit) as ended:
        main([argument.format(folder=folder) for argument in arguments])
    code, error = ended.value.code, capsys.readouterr().err
    if isinstance(code, str):  # Python writes it to stderr, and ends with status 1
        code, error = 1, error + code
    assert code == 1
    assert error.strip()
    assert told in error
    assert "Traceback" not in error


def test_build_from_a_json_file(tmp_path, capsys):
    """It trains as the file says, shows epochs and stages, and writes a bundle."""
    (tmp_path / "text.txt").write_text("she sells sea shells by the sea shore . " * 30)
    train = {"epochs": 2, "steps": 2, "batch_size": 2, "lr": 1e-2}
    shape = {"context": 8, "n_layer": 1, "n_head": 1, "d_model": 8}
    config = {"text": str(tmp_path / "text.txt"), "model": shape, "vocab_size": 262, "train": train, "quantize": 8}
    content = json.dumps(config | {"name": "sea 日本"}, ensure_ascii=False)
    (tmp_path / "config.json").write_text(content, encoding="utf-8")
    main(["build", str(tmp_path / "config.json"), str(tmp_path / "bundle")])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["epoch", "epoch", "train", "quantize", "accelerate", "cache"]
    assert lines[1].startswith("epoch 2/2")
    bundle = Bundle.load(tmp_path / "bundle")
    assert (bundle.model.config.context, bundle.name) == (8, "sea 日本")


def test_the_rest_of_the_process_is_left_alone(folder, tmp_path, capsys):
    """NumPy's global generator, its error handling and the working directory are as before, whatever is called."""

    async def served(bundle: Bundle) -> None:
        with undisturbed():  # in here: what a task sets, its caller doesn't see
            async with AsyncEngine(Engine(bundle)) as service:
                async with service.submit(Request([5], 3, seed=0)) as stream:
                    async for _ in stream:
                        break
                await service.close()
                stream.cancel()

    train = {"epochs": 1, "steps": 1, "batch_size": 2, "lr": 1e-2}
    config = {
        "text": str(tmp_path / "text.txt"),
        "model": {"context": 8, "n_layer": 1, "n_head": 1, "d_model": 8},
        "train": train,
    }
    (tmp_path / "text.txt").write_text("she sells sea shells by the sea shore . " * 30)
    (tmp_path / "config.json").write_text(json.dumps(config | {"vocab_size": 262}))
    with undisturbed():
        bundle = Bundle.load(folder)
        chat = Bundle(bundle.model, bundle.tokenizer, chat={"assistant": ("", "")})
        chat.chat_ids([{"role": "assistant", "content": "she"}])
        chat.save(tmp_path / "chat")
        choose(np.zeros((2, 5)), np.zeros(2), np.ones(2), np.ones(2))
        log_softmax(np.zeros((2, 5)))
        stream = TextStream(bundle.tokenizer, ["sea"])
        stream.push(Token(5))
        stream.flush()
        engine = Engine(bundle, rows=1)
        for request in (Request([5], 2, seed=0, stop="sea"), Request([5], 3, seed=0)):
            engine.check(request)
            engine.submit(request)
        engine.step()
        engine.cancel(1)
        app(bundle)
        asyncio.run(served(bundle))
        main(["build", str(tmp_path / "config.json"), str(tmp_path / "built")])
        main(["generate", str(folder), "she", "--max-tokens", "3", "--seed", "3"])
    capsys.readouterr()


def test_as_a_program(folder):
    """`python -m katas.capstone generate` writes the same text, in a process of its own."""
    command = [sys.executable, "-m", "katas.capstone", "generate", str(folder), "sea", "--max-tokens", "7", "--seed", "5"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8", env=os.environ | {"PYTHONUTF8": "1"})
    if run.returncode:
        raise Mismatch(f"the child process failed:\n{run.stderr}")
    assert run.stdout == answer(folder, "sea", max_tokens=7, seed=5) + "\n"
