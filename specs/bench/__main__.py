"""Compares the reference with PyTorch, tokenizers and transformers, and writes .kata/bench/bench.md and bench.json."""

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
from rich.progress import track

from specs.bench import decoding, report, served, serving, work
from specs.bench.side import Side
from specs.datasets.cifar10 import CIFAR10
from specs.datasets.fetch import fetch
from specs.datasets.gpt2 import GPT2, samples
from specs.datasets.text import SHAKESPEARE, Text, shakespeare
from specs.door import ROOT, VARIABLE

ROUNDS, SECONDS = 9, 0.4  # of each side's turns, and how long one takes at least
SEEDS, STUDENTS = 5, 3
SOAKED, FEW, TIMES = 500, 500, 10  # requests that are judged; after which memory is taken, and how many times as many
MEGABYTES = 1, 10  # of the streams whose memory is compared
TUNED, SLOWER = 1.23, 3.5  # the ratio to PyTorch of a hand-tuned GPT in NumPy; how much longer the clear code may take


class Bar(NamedTuple):
    """What the median must reach, if anything, and what would be better still."""

    wanted: str = ""
    aim: str = ""


NUMPY = ("clear", "specs.bench.ours"), ("fast", "specs.bench.fast")
LAYOUTS = [(f"PyTorch, {layout}", "specs.bench.theirs", layout) for layout in ("default", "channels_last")]
ATTENTION = [(f"PyTorch, {attention} attention", "specs.bench.gpt", attention) for attention in ("fused", "explicit")]
LOOPS = ("fast", "specs.bench.fast", "fast"), ("loops", "specs.bench.fast", "loops")
DECODERS = [(f"cached, {kind}", "specs.bench.decoding", f"NumPy {kind[0]}") for kind in ("1 thread", "2 threads")]
DECODERS += [
    (f"PyTorch, {attention} attention, {kind}", "specs.bench.decoding", f"{attention} {kind[0]}")
    for attention in ("fused", "explicit")
    for kind in ("1 thread", "2 threads")
]
WRITERS = ("cached", "specs.bench.decoding", "cached"), ("uncached", "specs.bench.decoding", "uncached")
SERVER = "reference", "specs.bench.serving"
ENGINES = [(f"{rows} at a time", "specs.bench.serving", str(rows)) for rows in serving.AT_A_TIME]
BATCHES = [(name.replace("cached", "engine"), "specs.bench.serving", side) for name, _, side in DECODERS]
SERVED = [  # the engine's second thread would take the core that the event loop and the clients need
    (name, "specs.bench.served", side) for name, _, side in BATCHES if name != "engine, 2 threads"
]
OFFICIAL = "OpenAI's", "specs.bench.official"
SLICES = ("slices of 64", "specs.bench.serving", "64"), ("whole prompts", "specs.bench.serving", str(decoding.CONTEXT))
LOADERS = ("reference", "specs.bench.ours"), ("transformers", "specs.bench.gpt2")
READERS = ("reference", "specs.bench.ours"), ("tokenizers", "specs.bench.huggingface")
FREE = Bar()
BARS = {
    # clear code
    "training": Bar("≥ 0.25"),
    "encoding": Bar("≥ 0.1"),
    "memory": Bar("≤ 1.2"),
    "doubling": Bar("≤ 2.5"),
    "gpt": Bar(f"≥ {TUNED / SLOWER:.2f}"),
    "logits": Bar("≤ 100"),
    "continuations": Bar("≤ 0"),
    # kata 15 beside PyTorch
    "convolution": Bar("≥ 1.0", "≥ 1.2"),
    "narrow convolution": Bar("≥ 0.85", "≥ 1.0"),
    "first convolution": Bar("≥ 0.4", "≥ 0.8"),
    "fast step": Bar("≥ 0.9", "≥ 1.0"),
    "fast gpt": Bar("≥ 1.1", "≥ 1.3"),
    "wide gpt": Bar("≥ 1.0", "≥ 1.1"),
    "reader": Bar("≥ 0.8", "≥ 1.0"),
    "accuracy": Bar("≥ 75.5"),
    "time": Bar("≤ 1.1", "≤ 1.0"),
    "seconds": Bar(aim="≤ 60"),
    # kata 15 beside loops, and beside clear code
    "loops": Bar("≥ 100"),
    "gain": Bar("≥ 2"),
    # kata 16
    "decoding": Bar("≥ 1.5", "≥ 2.0"),
    "batched decoding": Bar("≥ 1.0", "≥ 1.3"),
    "cached": Bar("≥ 10"),
    # kata 18: nats per token
    "distillation": Bar("≥ 0.02"),
    # kata 20
    "excused": Bar("≤ 0.1"),
    "undrawn": Bar("≤ 0"),
    "logprobs": Bar("≤ 100"),
    "sixteen": Bar("≥ 3"),
    "serving": Bar("≥ 1.0"),
    "official": Bar("≤ 0"),
    "resident": Bar("≤ 1.05"),
    # after so many minutes, bits per byte. nanoGPT's 10.6 million parameters need 1.4697 nats a character, which are 2.12 bits,
    # after three minutes on an A100 (its README).
    "5 minutes": Bar("≤ 2.25", "≤ 2.18"),
    "15 minutes": Bar("≤ 2.17", "≤ 2.12"),
}
CLEAR = 1e-3  # between the best two logits: the better one is then no matter of rounding
FOLDER = ROOT / ".kata" / "bench"


def ratio(of: str, to: str, bar: Bar = FREE) -> dict:
    """A side's speed over the fastest side of another name, what it must reach, and what it aims at."""
    return {"of": of, "to": to, **bar._asdict()}


def valued(title: str, values: list[float], bar: Bar = FREE) -> dict:
    """A row of values."""
    return {"work": title, "values": values, **bar._asdict()}


def gains(bar: Bar, gain: Bar = FREE, clear: Bar = FREE) -> list[dict]:
    """The ratios of a work that clear code, kata 15 and PyTorch do, with the bars of each."""
    return [ratio("clear", "PyTorch", clear), ratio("fast", "PyTorch", bar), ratio("fast", "clear", gain)]


@contextmanager
def opened(*sides: tuple[str, ...]) -> Iterator[list[Side]]:
    """Sides with these arguments, which are closed in the end."""
    opened = [Side(*arguments) for arguments in sides]
    try:
        yield opened
    finally:
        for side in opened:
            side.close()


def prepare(sides: list[Side], title: str, name: str, *arguments) -> None:
    """Each side does a work once. Raises: AssertionError if they do not compute the same."""
    ours, *others = [side.prepare(name, *arguments) for side in sides]
    for side, results in zip(sides[1:], others, strict=True):
        for got, want in zip(results, ours, strict=True):
            got, want = np.ravel(got), np.ravel(want)  # some come in halves
            assert np.allclose(got, want, rtol=1e-3, atol=1e-3 * np.abs(want).max()), f"{title}: {side.name} computes another"


def compared(sides: list[Side], ratios: list[dict], title: str, name: str, *arguments) -> dict:
    """Seconds of a work in each turn of each side. Raises: AssertionError if they do not compute the same."""
    prepare(sides, title, name, *arguments)
    for side in sides:
        side.seconds(SECONDS)  # warm
    turns = {side.name: [] for side in sides}
    for _ in range(ROUNDS):
        for side in sides:
            time.sleep(0.05)  # the last one's threads wait busily for a while
            turns[side.name].append(side.seconds(SECONDS))
    return {"work": title, "seconds": turns, "ratios": ratios}


def convolution_bar(case: work.Convolution) -> Bar:
    """Pictures have too few channels for long products, as have the middle layers of a small network."""
    wide = min(case.channels, case.out) >= 64 and case.size >= 8
    return BARS["first convolution" if case.pictures else "convolution" if wide else "narrow convolution"]


def convolutions() -> dict:
    """Convolutions forward and backward, and one forward beside loops."""
    with opened(*NUMPY, *LAYOUTS) as sides:
        rows = [
            compared(sides, gains(convolution_bar(case), BARS["gain"]), str(case), "convolution", case)
            for case in track(work.CONVOLUTIONS, "convolution", transient=True)
        ]
    with opened(*LOOPS) as sides:
        loops = compared(sides, [ratio("fast", "loops", BARS["loops"])], str(work.LOOPED), "forward", work.LOOPED)
    return {"convolution": rows, "loops": [loops]}


def steps() -> dict:
    """Training the milestone's network on a batch."""
    with opened(*NUMPY, *LAYOUTS) as sides:
        title = f"the milestone's network, {work.BATCH} images"
        return {"step": [compared(sides, gains(BARS["fast step"], BARS["gain"]), title, "step")]}


def trainings(layout: str) -> dict:
    """The recipe from several seeds, by turns, each in a process of its own; clear code, the slowest, from the first alone."""
    runs, theirs = [], next(arguments for arguments in LAYOUTS if arguments[0] == layout)
    for seed in track(range(SEEDS), "training", transient=True):
        for arguments in (*(NUMPY if seed == 0 else NUMPY[1:]), theirs):
            with opened(arguments) as (side,):
                runs.append({"side": side.name, "seed": seed, **side.train("train_cifar10", seed)})
    fast, others = ([run for run in runs if run["side"] == name] for name in ("fast", layout))
    times = [mine["seconds"] / other["seconds"] for mine, other in zip(fast, others, strict=True)]
    least = min(run["accuracy"] for run in fast)
    values = [
        valued(f"fast: % named rightly, the least of {SEEDS} seeds", [100 * least], BARS["accuracy"]),
        valued("fast: seconds over PyTorch's", times, BARS["time"]),
        valued("fast: seconds", [run["seconds"] for run in fast], BARS["seconds"]),
    ]
    return {"training": runs, "trained": values}


def gpts() -> dict:
    """Training GPTs of two sizes on a few batches, and reading with one."""
    works = {
        work.MILESTONE: ("gpt_steps", "train", gains(BARS["fast gpt"], BARS["gain"], BARS["gpt"])),
        work.WIDE: ("gpt_steps", "train", gains(BARS["wide gpt"])),
        work.READER: ("gpt_forward", "read", gains(BARS["reader"])),
    }
    with opened(*NUMPY, *ATTENTION) as sides:
        rows = [
            compared(sides, ratios, f"{title} {shape}", name, shape) | {"tokens": shape.steps * shape.rows * shape.context}
            for shape, (name, title, ratios) in track(works.items(), "GPT", transient=True)
        ]
    return {"gpt": rows}


def decodings() -> dict:
    """Tokens one by one behind texts that are in a cache, and a text that is written with a cache and without."""
    with opened(*DECODERS) as sides:
        rows = [
            compared(sides, [ratio("cached", "PyTorch", decoding_bar(case))], str(case), "decode", case)
            for case in track(decoding.CASES, "decoding", transient=True)
        ]
    with opened(*WRITERS) as sides:
        seconds = {side.name: [side.train("written")["seconds"]] for side in sides}
    text = {"work": f"a text of {decoding.WRITTEN} tokens", "seconds": seconds}
    return {"decoding": rows, "written": [text | {"ratios": [ratio("cached", "uncached", BARS["cached"])]}]}


def decoding_bar(case: decoding.Decoding) -> Bar:
    """One text at a time has small products, whose calls cost more than their arithmetic."""
    return BARS["decoding" if case.batch == 1 else "batched decoding"]


def servings() -> dict:
    """The engine's answers, judged; how much faster many are answered than one; beside PyTorch; how long one waits."""
    with opened(SERVER) as (side,):
        judged = side.train("soaked", SOAKED)
    with opened(SERVER) as (side,):
        memory = side.train("resident", FEW, TIMES)["memory"]
    requests = f"{SOAKED:,} requests, {judged['tokens']:,} tokens"
    values = [
        valued(f"{requests}: % that differ, as rounding excuses", [judged["excused"]], BARS["excused"]),
        valued(f"{requests}: that differ otherwise", [judged["wrong"]], BARS["undrawn"]),
        valued("largest error of a log-probability, in millionths", [judged["millionths"]], BARS["logprobs"]),
    ]
    if None not in memory:
        title = f"memory after {FEW * TIMES:,} requests ({memory[-1]:.1f} MB) over that after {FEW:,} ({memory[0]:.1f} MB)"
        values.append(valued(title, [memory[-1] / memory[0]], BARS["resident"]))
    most, least = max(serving.AT_A_TIME), min(serving.AT_A_TIME)
    title = f"prompts of {serving.PROMPT} tokens, answers of {serving.TOKENS}"
    with opened(*ENGINES) as sides:
        ratios = [
            ratio(f"{rows} at a time", f"{least} at a time", BARS["sixteen"] if rows == most else FREE)
            for rows in serving.AT_A_TIME[1:]
        ]
        together = compared(sides, ratios, f"{most} requests: {title}", "answer", most)
    with opened(*BATCHES) as sides:
        rows = [
            compared(sides, [ratio("engine", "PyTorch", BARS["serving"])], f"a batch of {size}: {title}", "batch", size)
            for size in track((least, most), "serving", transient=True)
        ]
    for row, size in zip((together, *rows), (most, least, most), strict=True):
        row["tokens"] = size * serving.TOKENS
    return {"serving": values, "together": [together], "batches": rows, "waiting": waits()}


def waits() -> list[dict]:
    """How long a request waits for its first token, and others for their next one, by turns."""
    with opened(*SLICES) as sides:
        turns = [{side.name: side.train("waited") for side in sides} for _ in range(ROUNDS)]
    behind = f"{serving.LONG} tokens of a prompt"
    titles = {
        "first": f"the first token of a prompt of {serving.SHORT} tokens behind {behind}",
        "pause": f"the longest pause of those that write, while {behind} are read",
    }
    ratios = [ratio(SLICES[0][0], SLICES[1][0])]
    return [
        {"work": title, "seconds": {name: [turn[name][key] for turn in turns] for name in turns[0]}, "ratios": ratios}
        for key, title in titles.items()
    ]


def over_http() -> dict:
    """Requests that are not streamed, from clients of the same app with the engine and with PyTorch."""
    title = f"{served.REQUESTS} prompts of {serving.PROMPT} tokens, answers of {serving.TOKENS}"
    with opened(*SERVED) as sides:
        rows = [
            compared(sides, [ratio("engine", "PyTorch", BARS["serving"])], f"{clients} at a time: {title}", "requests", clients)
            for clients in track(serving.AT_A_TIME, "served", transient=True)
        ]
    return {"served": [row | {"tokens": served.REQUESTS * serving.TOKENS} for row in rows]}


def official() -> dict:
    """How many requests OpenAI's clients do not complete as they should."""
    with opened(OFFICIAL) as (side,):
        clients = [side.train("python"), side.train("javascript")]
    rows = []
    for client in [client for client in clients if "found" in client]:  # there may be no npm
        failed = [name for name, right in client["found"].items() if not right]
        title = f"{client['client']}: {len(client['found'])} kinds of requests, of which fail"
        rows.append(valued(f"{title}: {', '.join(failed)}" if failed else title, [len(failed)], BARS["official"]))
    return {"openai": rows}


def languages(text: Text, long: bool) -> dict:
    """GPTs after a while.

    The milestone's, and nanoGPT's recipe, as published and for as many seconds as the milestone's takes; kata 15's for minutes.
    """
    with opened(NUMPY[0], ATTENTION[0], NUMPY[1]) as (clear, theirs, fast):
        runs = [{"recipe": "milestone 3, clear", **clear.train("train_gpt", text)}]
        for title, seconds in (("as published", None), ("for the same seconds", runs[0]["seconds"])):
            runs.append({"recipe": f"nanoGPT's, PyTorch, {title}", **theirs.train("train_gpt", text, seconds)})
        values = []
        for minutes in (5, 15) if long else (5,):
            name = f"{minutes} minutes"
            runs.append({"recipe": f"fast, {name}", **fast.train("train_gpt", text, minutes)})
            values.append(valued(f"fast: bits per byte after {name}", [runs[-1]["bits"]], BARS[name]))
    return {"language": runs, "minutes": values}


def distillations(text: Text) -> dict:
    """Milestone 4's student from several seeds: taught by milestone 3's GPT, and alone, for the same steps."""
    with opened(NUMPY[1]) as (fast,):
        runs = [
            {"seed": seed, "taught": taught, **fast.train("train_student", text, seed, taught)}
            for seed in range(STUDENTS)
            for taught in (False, True)
        ]
    saved = [alone["nats"] - taught["nats"] for alone, taught in zip(runs[::2], runs[1::2], strict=True)]
    title = f"fast: nats per token that a teacher saves, the least of {STUDENTS} seeds"
    return {"distillation": runs, "taught": [valued(title, [min(saved)], BARS["distillation"])]}


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
        rows.append(valued(title, [float(millionths)], BARS["logits"]))
        title = f"{shape}: continuations by {work.GREEDY} tokens that differ, of {len(margins)}"
        rows.append(valued(title, [differ], BARS["continuations"]))
    return rows


def differs(ours: np.ndarray, theirs: np.ndarray, margins: np.ndarray) -> bool:
    """Whether the first token in which two continuations differ was a clear decision; all that follow depend on it."""
    places = np.flatnonzero(ours != theirs)
    return bool(len(places) and margins[places[0]] > CLEAR)


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
        compared(sides, [ratio("reference", "tokenizers", BARS[name])], title, name, text)
        for name, title in track(titles.items(), "tokenization", transient=True)
    ]
    less, more = [float(ours.prepare("stream", megabytes)[0]) for megabytes in MEGABYTES]
    title = f"peak memory of a stream of new words, {MEGABYTES[1]} MB ({more:.2f} MB) over {MEGABYTES[0]} MB ({less:.2f} MB)"
    growth = [valued(title, [more / less], BARS["memory"])]
    for kind, length in work.LONG.items():
        steps, seconds = ours.prepare("doubling", kind, ROUNDS)
        title = f"a word of {length:,} {kind} letters over half of it"
        growth.append(valued(f"Python instructions of {title}", steps.tolist(), BARS["doubling"]))
        growth.append(valued(f"CPU time of {title}", seconds.tolist()))
    return rows, growth


PARTS = (
    *("convolution", "step", "gpt", "decoding", "serving", "served", "openai"),
    *("gpt2", "tokenization", "training", "distillation", "language"),
)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m specs.bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="leave out whole trainings, twenty minutes")
    parser.add_argument("--long", action="store_true", help="train a GPT for fifteen minutes too")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="measure parts of it, and write no files")
    parser.add_argument("--fuzz", action="store_true", help="compare values instead of speed, in random programs")
    parser.add_argument("--cases", type=int, default=50_000, help="of the fuzz (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the fuzz (default: %(default)s)")
    options = parser.parse_args()
    if options.fuzz:
        os.environ[VARIABLE] = "reference"
        from specs.bench import fuzz  # which imports PyTorch, and the katas from the reference

        sys.exit(1 if fuzz.run(options.cases, options.seed) else 0)
    parts = [part for part in options.only if not (options.quick and part in ("training", "distillation", "language"))]
    needed = {"training": CIFAR10, "distillation": SHAKESPEARE, "language": SHAKESPEARE, "tokenization": GPT2}
    for part in needed.keys() & parts:
        fetch(needed[part])  # or say at once that it can't be had
    figures = measured(parts, shakespeare(), options.long)
    if options.only == PARTS:
        FOLDER.mkdir(parents=True, exist_ok=True)
        (FOLDER / "bench.json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
        (FOLDER / "bench.md").write_text(report.markdown(figures), encoding="utf-8")
    print(report.markdown(figures))
    sys.exit(1 if report.missed(figures) else 0)


def measured(parts: Sequence[str], text: Text, long: bool) -> dict:
    """The figures of these parts, in their order."""
    figures = {
        "time": datetime.now().astimezone().isoformat(timespec="seconds"),
        "machine": {"cores": os.cpu_count(), "processor": processor(), "platform": platform.platform()},
        "versions": versions(),
        "text": text.source,
    }
    if "convolution" in parts:
        figures |= convolutions()
    if "step" in parts or "training" in parts:
        figures |= steps()
    if "gpt" in parts:
        figures |= gpts()
    if "decoding" in parts:
        figures |= decodings()
    if "serving" in parts:
        figures |= servings()
    if "served" in parts:
        figures |= over_http()
    if "openai" in parts:
        figures |= official()
    if "gpt2" in parts:
        with opened(*LOADERS) as sides:
            figures["gpt2"] = gpt2(sides)
    if "tokenization" in parts:
        with opened(*READERS) as sides:
            figures["tokenization"], figures["growth"] = tokenization(sides, text.text)
    if "training" in parts:
        figures |= trainings(report.fastest(figures["step"][0]["seconds"], "PyTorch"))
    if "distillation" in parts:
        figures |= distillations(text)
    if "language" in parts:
        figures |= languages(text, long)
    return figures


def versions() -> list[str]:
    """Of Python, and of the libraries that are installed."""
    libraries = [name for name in ("numpy", "torch", "tokenizers", "transformers", "openai") if find_spec(name)]
    return [f"Python {platform.python_version()}", *(f"{name} {version(name)}" for name in libraries)]


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
