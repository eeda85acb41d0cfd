"""Compares the reference with PyTorch, tokenizers and transformers, and writes .kata/bench/bench.md and bench.json."""

import argparse
import json
import os
import platform
import sys
import time
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from rich.progress import track

from specs.bench import report, work
from specs.bench.side import Side
from specs.datasets.cifar10 import CIFAR10
from specs.datasets.fetch import fetch
from specs.datasets.gpt2 import GPT2, samples
from specs.datasets.text import Text, shakespeare
from specs.door import ROOT, VARIABLE

ROUNDS, SECONDS = 9, 0.5  # of each side's turns, and how long one takes at least
SEEDS = 3
MEGABYTES = 1, 10  # of the streams whose memory is compared
TUNED, SLOWER = 1.23, 3.5  # the ratio to PyTorch of a hand-tuned GPT in NumPy; how much longer the reference may take
BARS = {"training": "≥ 0.25", "encoding": "≥ 0.1", "memory": "≤ 1.2", "doubling": "≤ 2.5"}
BARS |= {"gpt": f"≥ {TUNED / SLOWER:.2f}", "logits": "≤ 100", "continuations": "≤ 0"}
CLEAR = 1e-3  # between the best two logits: the better one is then no matter of rounding
FOLDER = ROOT / ".kata" / "bench"


def sides() -> list[Side]:
    """The reference, and PyTorch in its two layouts."""
    return [Side("NumPy", "specs.bench.ours")] + [
        Side(f"PyTorch, {layout}", "specs.bench.theirs", layout) for layout in ("default", "channels_last")
    ]


def prepare(sides: list[Side], title: str, name: str, *arguments) -> None:
    """Each side does a work once. Raises: AssertionError if they do not compute the same."""
    ours, *theirs = [side.prepare(name, *arguments) for side in sides]
    for side, results in zip(sides[1:], theirs, strict=True):
        for got, want in zip(ours, results, strict=True):
            assert np.allclose(got, want, rtol=1e-3, atol=1e-3 * np.abs(want).max()), f"{title}: {side.name} computes another"


def compared(sides: list[Side], title: str, name: str, *arguments) -> dict:
    """Seconds of a work in each turn of each side. Raises: AssertionError if they do not compute the same."""
    prepare(sides, title, name, *arguments)
    for side in sides:
        side.seconds(SECONDS)  # warm
    turns = {side.name: [] for side in sides}
    for _ in range(ROUNDS):
        for side in sides:
            time.sleep(0.05)  # the last one's threads wait busily for a while
            turns[side.name].append(side.seconds(SECONDS))
    return {"work": title, "seconds": turns}


def trained(layout: str) -> list[dict]:
    """The recipe from several seeds, by turns, each in a process of its own."""
    found = []
    for seed in track(range(SEEDS), "training", transient=True):
        for side in (Side("NumPy", "specs.bench.ours"), Side(f"PyTorch, {layout}", "specs.bench.theirs", layout)):
            found.append({"side": side.name, "seed": seed, **side.train("train_cifar10", seed)})
            side.close()
    return found


def writers() -> list[Side]:
    """The reference, and PyTorch with its own kernel for attention and without."""
    return [Side("NumPy", "specs.bench.ours")] + [
        Side(f"PyTorch, {attention} attention", "specs.bench.gpt", attention) for attention in ("fused", "explicit")
    ]


def gpt_step(sides: list[Side]) -> dict:
    """Training the milestone's GPT on a few batches."""
    tokens = work.STEPS * work.ROWS * work.CONTEXT
    bar = f"the bar is {TUNED} / {SLOWER}: hand-tuned NumPy reached {TUNED} on characters, with context 128 and batch 32"
    title = f"{work.STEPS} steps, {tokens:,} tokens; {bar}"
    return compared(sides, title, "gpt_steps") | {"wanted": BARS["gpt"], "tokens": tokens}


def languages(text: Text) -> list[dict]:
    """The milestone's GPT, and nanoGPT's recipe: as published, and for as many seconds as the milestone's takes."""
    ours, theirs = Side("NumPy", "specs.bench.ours"), Side("PyTorch", "specs.bench.gpt", "fused")
    found = [{"recipe": "milestone 3, NumPy", **ours.train("train_gpt", text)}]
    ours.close()
    for title, seconds in (("as published", None), ("for the same seconds", found[0]["seconds"])):
        found.append({"recipe": f"nanoGPT's, PyTorch, {title}", **theirs.train("train_gpt", text, seconds)})
    theirs.close()
    return found


def loaders() -> list[Side]:
    """The reference, and Hugging Face's transformers."""
    return [Side("NumPy", "specs.bench.ours"), Side("transformers", "specs.bench.gpt2")]


def gpt2(sides: list[Side]) -> list[dict]:
    """How far the logits of both sides are apart, and how many continuations differ where a decision is clear."""
    ours, theirs = sides
    rows = []
    for shape in work.SHAPES:
        with TemporaryDirectory() as folder:
            path = str(Path(folder, "model.safetensors"))
            want, theirs_new, margins = theirs.prepare("gpt2", shape, path)
            got, ours_new = ours.prepare("gpt2", shape, path)
        millionths = 1e6 * np.abs(got - want).max()
        differ = sum(differs(mine, other, margin) for mine, other, margin in zip(ours_new, theirs_new, margins, strict=True))
        title = f"{shape}: largest difference of a logit, in millionths"
        rows.append({"work": title, "values": [float(millionths)], "wanted": BARS["logits"]})
        title = f"{shape}: continuations by {work.GREEDY} tokens that differ, of {len(margins)}"
        rows.append({"work": title, "values": [differ], "wanted": BARS["continuations"]})
    return rows


def differs(ours: np.ndarray, theirs: np.ndarray, margins: np.ndarray) -> bool:
    """Whether the first token in which two continuations differ was a clear decision; all that follow depend on it."""
    places = np.flatnonzero(ours != theirs)
    return bool(len(places) and margins[places[0]] > CLEAR)


def readers() -> list[Side]:
    """The reference, and Hugging Face's tokenizers."""
    return [Side("reference", "specs.bench.ours"), Side("tokenizers", "specs.bench.huggingface")]


def check_samples(theirs: Side) -> None:
    """Raises: AssertionError if the ids of a sample of GPT-2's are not those that the other side computes."""
    for sample, ids in zip(samples(), theirs.prepare("published", samples()), strict=True):
        assert ids.tolist() == sample.ids, f"{sample.name}: {theirs.name} has other ids than specs/datasets/gpt2.json"


def tokenization(sides: list[Side], text: str) -> tuple[list[dict], list[dict]]:
    """The works on text by both sides, and how the time and the memory of the first grow with the text."""
    ours, theirs = sides
    check_samples(theirs)
    titles = {"training": f"training, {work.VOCABULARY:,} ids", "encoding": "encoding"}
    rows = [
        compared(sides, title, name, text) | {"wanted": BARS[name]}
        for name, title in track(titles.items(), "tokenization", transient=True)
    ]
    less, more = [float(ours.prepare("stream", megabytes)[0]) for megabytes in MEGABYTES]
    title = f"peak memory of a stream of new words, {MEGABYTES[1]} MB ({more:.2f} MB) over {MEGABYTES[0]} MB ({less:.2f} MB)"
    growth = [{"work": title, "values": [more / less], "wanted": BARS["memory"]}]
    for kind, length in work.LONG.items():
        steps, seconds = ours.prepare("doubling", kind, ROUNDS)
        title = f"a word of {length:,} {kind} letters over half of it"
        growth.append({"work": f"Python instructions of {title}", "values": steps.tolist(), "wanted": BARS["doubling"]})
        growth.append({"work": f"CPU time of {title}", "values": seconds.tolist()})
    return rows, growth


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m specs.bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="leave out whole trainings, 25 minutes")
    parser.add_argument("--fuzz", action="store_true", help="compare values instead of speed, in random programs")
    parser.add_argument("--cases", type=int, default=50_000, help="of the fuzz (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the fuzz (default: %(default)s)")
    options = parser.parse_args()
    if options.fuzz:
        os.environ[VARIABLE] = "reference"
        from specs.bench import fuzz  # which imports PyTorch, and the katas from the reference

        sys.exit(1 if fuzz.run(options.cases, options.seed) else 0)
    quick = options.quick
    if not quick:
        fetch(CIFAR10)  # or say at once that it can't be had
    fetch(GPT2)
    text = shakespeare()
    opponents, on_text, on_tokens, on_weights = sides(), readers(), writers(), loaders()
    every = [*opponents, *on_text, *on_tokens, *on_weights]
    figures = {
        "time": datetime.now().astimezone().isoformat(timespec="seconds"),
        "machine": {"cores": os.cpu_count(), "processor": processor(), "platform": platform.platform()},
        "versions": [f"Python {platform.python_version()}", *dict.fromkeys(side.version() for side in every)],
        "text": text.source,
        "convolution": [
            compared(opponents, str(case), "convolution", case)
            for case in track(work.CONVOLUTIONS, "convolution", transient=True)
        ],
        "step": [compared(opponents, f"the milestone's network, {work.BATCH} images", "step")],
        "training": [],
        "gpt": [gpt_step(on_tokens)],
        "gpt2": gpt2(on_weights),
        "language": [],
    }
    figures["tokenization"], figures["growth"] = tokenization(on_text, text.text)
    for side in every:
        side.close()
    if not quick:
        figures["training"] = trained(report.fastest(figures["step"][0]["seconds"]).split(", ")[1])
        figures["language"] = languages(text)
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / "bench.json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    (FOLDER / "bench.md").write_text(report.markdown(figures), encoding="utf-8")
    print(report.markdown(figures))
    sys.exit(1 if report.missed(figures) else 0)


def processor() -> str:
    """Its name, where the platform tells."""
    if sys.platform == "linux":
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = [line.split(":", 1)[1].strip() for line in file if line.startswith("model name")]
        if names:
            return names[0]
    return platform.processor() or "unknown"


if __name__ == "__main__":
    main()
