import inspect
import json
import os
import subprocess
import sys
from contextlib import contextmanager
from importlib.util import find_spec
from typing import ClassVar

import numpy as np
import pytest

from specs import oracles
from specs.bench import __main__ as bench
from specs.bench import cases, decoding, report, served, serving, work
from specs.bench.__main__ import Bar
from specs.bench.documented import DOCUMENTED
from specs.datasets.fetch import Unavailable, fetch
from specs.datasets.gpt2 import GPT2
from specs.datasets.text import Text
from specs.door import ROOT, VARIABLE

FIGURES = {
    "time": "2026-01-02T03:04:05+00:00",
    "machine": {"cores": 2, "processor": "a processor", "platform": "Linux"},
    "versions": ["Python 3", "numpy 2", "torch 2"],
    "convolution": [
        {
            "work": "3×3",
            "seconds": {
                "clear": [0.010, 0.020, 0.040],
                "fast": [0.005, 0.010, 0.010],
                "PyTorch, default": [0.009, 0.030, 0.031],
                "PyTorch, channels_last": [0.008, 0.005, 0.020],
            },
            "ratios": bench.gains(Bar("≥ 1.0", "≥ 1.2"), Bar("≥ 2")),
        }
    ],
    "loops": [
        {
            "work": "forward",
            "seconds": {"fast": [0.001], "loops": [0.0995]},
            "ratios": [bench.ratio("fast", "loops", Bar("≥ 100"))],
        }
    ],
    "step": [
        {
            "work": "a step",
            "seconds": {"clear": [0.1], "PyTorch, default": [0.2], "PyTorch, channels_last": [0.3]},
            "ratios": [bench.ratio("clear", "PyTorch")],
        }
    ],
    "training": [{"side": "fast", "seed": 0, "accuracy": 0.7512, "seconds": 99.96, "MB": 512.3}],
    "trained": [bench.valued("seconds", [99.96], Bar(aim="≤ 60")), bench.valued("accuracy", [75.12], Bar("≥ 75.5"))],
    "text": "a text (7 characters)",
    "tokenization": [
        {
            "work": "merging",
            "seconds": {"reference": [0.2, 0.2], "tokenizers": [0.1, 0.05]},
            "ratios": [bench.ratio("reference", "tokenizers", Bar("≥ 0.375"))],
        },
        {
            "work": "reading",
            "seconds": {"reference": [0.2], "tokenizers": [0.1]},
            "ratios": [bench.ratio("reference", "tokenizers", Bar("≥ 0.51"))],
        },
    ],
    "gpt": [
        {
            "work": "4 steps",
            "seconds": {"clear": [0.5, 1.0], "PyTorch, fused attention": [0.2, 0.3], "PyTorch, explicit attention": [0.4, 0.4]},
            "ratios": [bench.ratio("clear", "PyTorch", Bar("≥ 0.36"))],
            "tokens": 3000,
        }
    ],
    "decoding": [
        {
            "work": "8 tokens",
            "seconds": {
                "cached, 1 thread": [0.001],
                "cached, 2 threads": [0.002],
                "PyTorch, fused attention, 1 thread": [0.002],
            },
            "ratios": [bench.ratio("cached", "PyTorch", Bar("≥ 1.5", "≥ 2.0"))],
        }
    ],
    "written": [
        {
            "work": "a text",
            "seconds": {"cached": [1.0], "uncached": [9.9]},
            "ratios": [bench.ratio("cached", "uncached", Bar("≥ 10"))],
        }
    ],
    "serving": [bench.valued("excused", [0.11], Bar("≤ 0.1")), bench.valued("undrawn", [0], Bar("≤ 0"))],
    "together": [
        {
            "work": "16 requests",
            "seconds": {"1 at a time": [0.3], "16 at a time": [0.1]},
            "ratios": [bench.ratio("16 at a time", "1 at a time", Bar("≥ 3.5"))],
            "tokens": 300,
        }
    ],
    "batches": [
        {
            "work": "a batch",
            "seconds": {"engine, 1 thread": [0.2], "PyTorch, fused attention, 1 thread": [0.3]},
            "ratios": [bench.ratio("engine", "PyTorch", Bar("≥ 1.0"))],
            "tokens": 300,
        }
    ],
    "waiting": [
        {
            "work": "the first token",
            "seconds": {"slices of 64": [0.1], "whole prompts": [0.3]},
            "ratios": [bench.ratio("slices of 64", "whole prompts")],
        }
    ],
    "served": [
        {
            "work": "4 at a time",
            "seconds": {"engine, 1 thread": [0.4], "PyTorch, fused attention, 1 thread": [0.5]},
            "ratios": [bench.ratio("engine", "PyTorch", Bar("≥ 1.0"))],
            "tokens": 1024,
        }
    ],
    "openai": [bench.valued("openai 3: 12 kinds of requests, of which fail", [0], Bar("≤ 0"))],
    "gpt2": [bench.valued("logits", [100.5], Bar("≤ 100")), bench.valued("continuations", [0], Bar("≤ 0"))],
    "language": [{"recipe": "ours", "bits": 2.2004, "steps": 1500, "tokens": 1_536_000, "seconds": 160.04, "MB": None}],
    "distillation": [{"seed": 2, "taught": True, "nats": 3.5515, "steps": 900, "seconds": 45.04, "MB": 200.0}],
    "taught": [bench.valued("saved", [0.1], Bar("≥ 0.02"))],
    "minutes": [bench.valued("bits", [2.2004], Bar("≤ 2.25", "≤ 2.18"))],
    "growth": [
        bench.valued("memory", [1.0, 1.2, 9.0], Bar("≤ 1.2")),
        bench.valued("steps", [2.51], Bar("≤ 2.5")),
        bench.valued("time", [2.51]),
    ],
}


def test_the_table_quotes_medians_spreads_and_ratios():
    """A ratio is taken turn by turn, with the faster layout: its median is not the ratio of the medians."""
    text = report.markdown(FIGURES)
    times = "| 3×3 | 20.0 (10.0–40.0) | 10.0 (5.0–10.0) | 30.0 (9.0–31.0) | 8.0 (5.0–20.0) |"
    assert f"{times} 0.50 (0.25–0.80) | 1.60 (0.50–2.00), wanted ≥ 1.0, aim ≥ 1.2 | 2.00 (2.00–4.00), wanted ≥ 2 |" in text
    assert "| clear : PyTorch | fast : PyTorch | fast : clear |" in text
    assert "| a step | 100.0 (100.0–100.0) | 200.0 (200.0–200.0) | 300.0 (300.0–300.0) | 2.00 (2.00–2.00) |" in text
    assert "| fast | 0 | 75.12% | 100.0 | 512 MB |" in text
    assert "Python 3, numpy 2, torch 2; a processor, 2 cores; 2026-01-02." in text
    assert text.count("Data: a text (7 characters).") == 3
    assert "| 8 tokens | 1.0 (1.0–1.0) | 2.0 (2.0–2.0) | 2.0 (2.0–2.0) | 2.00 (2.00–2.00), wanted ≥ 1.5, aim ≥ 2.0 |" in text
    assert "| taught | 2 | 3.551 | 900 | 45.0 |" in text
    assert "| a batch | 200.0 (200.0–200.0) | 300.0 (300.0–300.0) | 1.50 (1.50–1.50), wanted ≥ 1.0 |" in text
    assert "| the first token | 100.0 (100.0–100.0) | 300.0 (300.0–300.0) | 3.00 (3.00–3.00) |" in text
    assert "Tokens a second, 16 requests: 1 at a time 1,000; 16 at a time 3,000." in text
    assert "| ours | 2.200 | 160.0 | 1,500 | 9,598 | ? |" in text


def test_tokens_a_second_are_those_of_the_median():
    """3,000 tokens in 0.75, 0.25 and 0.4 seconds."""
    want = "Tokens a second, 4 steps: clear 4,000; PyTorch, fused attention 12,000; PyTorch, explicit attention 7,500."
    assert want in report.markdown(FIGURES).splitlines()


def test_the_bar_that_is_shown_is_the_one_that_counts():
    """It is compared with the median; a work beyond it is marked in its row, and named at the end. An aim is only shown."""
    lines = report.markdown(FIGURES).splitlines()
    assert "| merging | 200.0 (200.0–200.0) | 75.0 (50.0–100.0) | 0.38 (0.25–0.50), wanted ≥ 0.375 |" in lines
    assert "| reading | 200.0 (200.0–200.0) | 100.0 (100.0–100.0) | 0.50 (0.50–0.50), wanted ≥ 0.51: **missed** |" in lines
    assert "| memory | 1.20 (1.00–9.00), wanted ≤ 1.2 |" in lines
    assert "| steps | 2.51 (2.51–2.51), wanted ≤ 2.5: **missed** |" in lines
    assert "| time | 2.51 (2.51–2.51) |" in lines
    assert [line for line in lines if line.startswith("Missed")] == [f"Missed: {bar}" for bar in report.missed(FIGURES)]
    assert "| continuations | 0.00 (0.00–0.00), wanted ≤ 0 |" in lines
    assert "| seconds | 99.96 (99.96–99.96), aim ≤ 60 |" in lines
    assert "| bits | 2.20 (2.20–2.20), wanted ≤ 2.25, aim ≤ 2.18 |" in lines
    assert report.missed(FIGURES) == [
        "forward, fast : loops: 99.50, wanted ≥ 100",
        "accuracy: 75.12, wanted ≥ 75.5",
        "reading, reference : tokenizers: 0.50, wanted ≥ 0.51",
        "4 steps, clear : PyTorch: 0.35, wanted ≥ 0.36",
        "a text, cached : uncached: 9.90, wanted ≥ 10",
        "excused: 0.11, wanted ≤ 0.1",
        "16 requests, 16 at a time : 1 at a time: 3.00, wanted ≥ 3.5",
        "logits: 100.50, wanted ≤ 100",
        "steps: 2.51, wanted ≤ 2.5",
    ]


@pytest.fixture
def asked(monkeypatch, tmp_path):
    """Runs the bench, of which nothing is measured: what it was asked to measure. Files are written to tmp_path."""

    def run(figures: dict, *arguments: str) -> tuple:
        calls = []
        monkeypatch.setattr(sys, "argv", ["bench", *arguments])
        monkeypatch.setattr(bench, "FOLDER", tmp_path)
        monkeypatch.setattr(bench, "fetch", lambda _: None)
        monkeypatch.setattr(bench, "shakespeare", lambda: Text("a text", "a text (6 characters)"))
        monkeypatch.setattr(bench, "measured", lambda parts, _, long: calls.append((list(parts), long)) or figures)
        with pytest.raises(SystemExit) as ended:
            bench.main()
        return ended.value.code, *calls[0]

    return run


@pytest.mark.parametrize(("bar", "code"), [("≤ 2.5", 1), ("≤ 2.6", 0)])
def test_a_missed_bar_fails_the_bench(asked, tmp_path, capsys, bar, code):
    """After the tables are written and printed."""
    rows = [bench.valued("steps", [2.51], Bar(bar))]
    parts = ("time", "machine", "versions", "text", "convolution", "step", "loops")
    loops = [FIGURES["loops"][0] | {"ratios": [bench.ratio("fast", "loops", Bar("≥ 99"))]}]
    figures = {part: FIGURES[part] for part in parts} | {
        "loops": loops,
        "tokenization": FIGURES["tokenization"][:1],
        "growth": rows,
    }
    assert asked(figures, "--quick")[0] == code
    assert (tmp_path / "bench.md").read_text(encoding="utf-8") in capsys.readouterr().out
    assert json.loads((tmp_path / "bench.json").read_text(encoding="utf-8"))["growth"] == rows


@pytest.mark.parametrize(
    ("arguments", "parts", "long"),
    [
        ([], [*bench.PARTS], False),
        (["--long"], [*bench.PARTS], True),
        (["--quick"], [part for part in bench.PARTS if part not in ("training", "distillation", "language")], False),
        (["--only", "gpt", "training"], ["gpt", "training"], False),
    ],
)
def test_parts_can_be_left_out(asked, tmp_path, arguments, parts, long):
    """Whole trainings, or all but a few; then the files of a whole run stay as they are."""
    assert asked(FIGURES, *arguments) == (1, parts, long)
    assert (tmp_path / "bench.json").exists() == ("--only" not in arguments)


def test_each_part_is_measured_and_shown_alone(monkeypatch):
    """PyTorch trains on CIFAR-10 in the layout that was faster in a step, which is therefore measured before."""
    layouts, empty = [], contextmanager(lambda *_: iter([[]]))
    monkeypatch.setattr(bench, "opened", empty)
    monkeypatch.setattr(bench, "convolutions", lambda: {name: FIGURES[name] for name in ("convolution", "loops")})
    monkeypatch.setattr(bench, "steps", lambda: {"step": FIGURES["step"]})
    monkeypatch.setattr(bench, "gpts", lambda: {"gpt": FIGURES["gpt"]})
    monkeypatch.setattr(bench, "decodings", lambda: {name: FIGURES[name] for name in ("decoding", "written")})
    monkeypatch.setattr(
        bench, "servings", lambda: {name: FIGURES[name] for name in ("serving", "together", "batches", "waiting")}
    )
    monkeypatch.setattr(bench, "over_http", lambda: {"served": FIGURES["served"]})
    monkeypatch.setattr(bench, "official", lambda: {"openai": FIGURES["openai"]})
    monkeypatch.setattr(bench, "gpt2", lambda _: FIGURES["gpt2"])
    monkeypatch.setattr(bench, "tokenization", lambda *_: (FIGURES["tokenization"], FIGURES["growth"]))
    monkeypatch.setattr(bench, "distillations", lambda _: {name: FIGURES[name] for name in ("distillation", "taught")})
    monkeypatch.setattr(bench, "languages", lambda *_: {name: FIGURES[name] for name in ("language", "minutes")})

    def trainings(layout: str) -> dict:
        layouts.append(layout)
        return {name: FIGURES[name] for name in ("training", "trained")}

    monkeypatch.setattr(bench, "trainings", trainings)
    text = Text("a text", "a text (6 characters)")
    assert bench.measured(bench.PARTS, text, False).keys() == FIGURES.keys()
    headings = [
        line
        for part in bench.PARTS
        for line in report.markdown(bench.measured([part], text, False)).splitlines()
        if line.startswith("## ")
    ]
    assert headings == [
        "## Convolution, forward and backward",
        "## A training step on CIFAR-10",
        "## GPTs",
        "## Decoding with a cache",
        "## Serving",
        "## Serving over HTTP",
        "## OpenAI's clients",
        "## GPT-2's architecture",
        "## Tokenization",
        "## A training step on CIFAR-10",
        "## Training on CIFAR-10",
        "## Distillation",
        "## Training on a text",
    ]
    assert layouts == ["PyTorch, default"] * 2


def test_one_text_and_many_have_bars_of_their_own():
    """Decoding one text at a time must be faster than PyTorch, sixteen as fast."""
    assert {case.batch: bench.decoding_bar(case) for case in decoding.CASES} == {
        1: Bar("≥ 1.5", "≥ 2.0"),
        16: Bar("≥ 1.0", "≥ 1.3"),
    }
    assert [case.length for case in decoding.CASES] == [128, 512, 1024] * 2


def test_each_convolution_has_its_bar():
    """First layers, and those of few channels or small images, must reach less."""
    bars = [bench.convolution_bar(case).wanted for case in work.CONVOLUTIONS]
    assert bars == ["≥ 0.4", "≥ 0.85", "≥ 0.85", "≥ 0.85", "≥ 0.4", "≥ 0.85", "≥ 1.0", "≥ 1.0"]


class Fake:
    """A side that takes no time."""

    def __init__(self, name: str, result: float):
        self.name, self.result, self.turns = name, result, 0

    def prepare(self, work):
        return [np.full(3, self.result)]

    def seconds(self, at_least):
        self.turns += 1
        return self.turns

    def close(self):
        pass


def test_sides_take_turns():
    """The first is for warming up."""
    sides, ratios = [Fake("clear", 1.0), Fake("PyTorch, default", 1.0)], [bench.ratio("clear", "PyTorch")]
    found = bench.compared(sides, ratios, "nothing", "idle")
    turns = {side.name: list(range(2, bench.ROUNDS + 2)) for side in sides}
    assert found == {"work": "nothing", "seconds": turns, "ratios": ratios}


def test_sides_that_compute_something_else_are_not_compared():
    """Times of different work say nothing."""
    with pytest.raises(AssertionError, match="nothing: PyTorch, default computes"):
        bench.compared([Fake("clear", 1.0), Fake("PyTorch, default", 1.1)], [], "nothing", "idle")


def test_our_side_computes_a_convolution_and_steps():
    """In a process of its own, from the reference."""
    case = work.Convolution(2, 4, 5, 6, 3, stride=2)
    with bench.opened(bench.NUMPY[0]) as (side,):
        y, to_weight, to_x = side.prepare("convolution", case)
        loss, *parameters = side.prepare("step")
        assert 0 < side.seconds(0.01) < 10
    x, weight, g = case.inputs()
    want_x, want_weight, _ = oracles.spatial.conv2d_gradients(g, x, weight, (2, 2), (1, 1))
    for got, want in ((y, oracles.spatial.conv2d(x, weight, None, (2, 2), (1, 1))), (to_x, want_x), (to_weight, want_weight)):
        assert np.allclose(got, want, atol=1e-4)
    assert 1 < loss < 20
    assert [array.ndim for array in parameters] == [4, 1, 1] * 4 + [2, 1]


@pytest.mark.timeout(120)
def test_kata_15_computes_the_same():
    """In halves, too, of which each is normalized alone."""
    shape = work.MILESTONE._replace(layers=1, steps=2)
    with bench.opened(*bench.NUMPY) as sides:
        for case in (work.Convolution(4, 3, 5, 6), work.Convolution(4, 8, 5, 6)):
            bench.prepare(sides, str(case), "convolution", case)
        bench.prepare(sides, "a step", "step")
        bench.prepare(sides, "a GPT", "gpt_steps", shape)
        bench.prepare(sides, "a reader", "gpt_forward", work.READER._replace(layers=1, context=100))
    with bench.opened(*bench.LOOPS) as sides:
        bench.prepare(sides, "loops", "forward", work.Convolution(2, 3, 4, 6))


def test_a_recipe_is_chosen_without_what_tests_it():
    """What is held out comes from the training images, and from the first nine tenths of the text."""
    program = """
import numpy as np
from specs.datasets.images import Images
from specs.datasets.text import Text
from specs.milestones.recipes import cifar10, gpt
numbers = np.arange(6000)
held = cifar10.held_out(Images(numbers, numbers, -numbers, -numbers, "numbers", ()))
print(*[len(held.train_images), held.test_labels.min(), held.test_images.max()])
print(gpt.held_out(gpt.corpus(Text("a" * 81 + "b" * 9 + "c" * 10, "letters")))[:2])
"""
    world = os.environ | {VARIABLE: "reference"}
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=world, capture_output=True, text=True)
    assert done.stdout.splitlines() == ["1000 1000 5999", str(("a" * 81, "b" * 9))], done.stderr


def test_only_the_fast_side_is_accelerated(monkeypatch):
    """Whatever the environment of the bench says."""
    monkeypatch.setenv("KATA_ACCELERATE", "1")
    with bench.opened(*bench.NUMPY) as sides:
        assert [side.process.submit(os.getenv, "KATA_ACCELERATE").result() for side in sides] == ["0", "1"]


@pytest.mark.timeout(60)
def test_our_side_trains_a_gpt():
    """The losses fall, and the gradients are so large that they are clipped."""
    with bench.opened(bench.NUMPY[0]) as (side,):
        losses, norms = side.prepare("gpt_steps", work.MILESTONE)
    assert losses.shape == norms.shape == (work.MILESTONE.steps,)
    assert (np.diff(losses) < 0).all()
    assert (norms > 1).all()


def test_a_turn_trains_the_milestones_gpt():
    """Its size, and batches of its size: so many rows, each of so many tokens and one more, which is only guessed."""
    program = """
from specs.milestones.recipes.gpt import *
config = build(size(" " * ENOUGH), np.random.default_rng(0)).config
print(config.n_layer, config.n_head, config.d_model, CONTEXT, BATCH, config.window, config.vocab_size)
"""
    world, (layers, heads, width, context, rows, steps, *others) = os.environ | {VARIABLE: "reference"}, work.MILESTONE
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=world, capture_output=True, text=True)
    assert done.stdout.split() == [str(number) for number in (layers, heads, width, context, rows, *others)], done.stderr
    assert work.MILESTONE.ids().shape == (steps, rows, context + 1)


@pytest.mark.timeout(300)  # PyTorch takes seconds to import
@pytest.mark.skipif(find_spec("torch") is None, reason="PyTorch is not installed")
def test_pytorch_trains_and_reads_with_the_same_gpt(monkeypatch):
    """From the same weights, with its own kernel for attention and without: the same losses, gradient norms and logits."""
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")  # beside other processes PyTorch's waiting threads would take the cores
    with bench.opened(bench.NUMPY[0], *bench.ATTENTION) as sides:
        bench.prepare(sides, "a GPT", "gpt_steps", work.MILESTONE)
        bench.prepare(sides, "a wider GPT", "gpt_steps", work.WIDE._replace(layers=1))
        bench.prepare(sides, "a reader", "gpt_forward", work.READER._replace(layers=1))


@pytest.mark.timeout(300)  # PyTorch takes seconds to import
@pytest.mark.skipif(find_spec("torch") is None, reason="PyTorch is not installed")
def test_nanogpts_recipe_is_scored_in_bits_per_byte():
    """Nobody guesses random letters. Each of three costs log2(3) bits, and somewhat more before it is learned: 0.79 a byte."""
    letters = "".join(np.random.default_rng(0).choice([*"äöü"], 3000))
    with bench.opened(bench.ATTENTION[0]) as (side,):
        found = side.train("train_gpt", Text(letters, "three letters"), 2.0)
    assert 0.77 < found["bits"] < 1.5
    assert found["seconds"] >= 2
    assert found["tokens"] == found["steps"] * 12 * 64 > 0


@pytest.mark.timeout(60)
def test_kata_15_trains_a_gpt_for_so_many_minutes():
    """Nobody guesses random words: each of 27 costs log2(27) bits, 1.19 a byte. Before it learns, it takes about 2."""
    words = np.random.default_rng(0).choice([*"abc"], (5000, 3))
    text = Text(" ".join(map("".join, words)), "27 words")
    with bench.opened(bench.NUMPY[1]) as (side,):
        found = side.train("train_gpt", text, 1 / 30)
    assert 1.15 < found["bits"] < 1.8
    assert found["seconds"] >= 2
    assert found["tokens"] == found["steps"] * 16 * 64 > 0


@pytest.fixture
def trained(monkeypatch) -> list[tuple]:
    """The trainings of sides that train in no time, one a little better than the one before."""
    calls = []

    class Training(Fake):
        def train(self, *arguments):
            calls.append((self.name, *arguments))
            nats = 3.6 - len(calls) ** 2 / 100  # the steps that it is better by grow
            return {
                "seconds": 7.5 if self.name == "clear" else 5.0,
                "bits": 2.2,
                "accuracy": 0.76 + len(calls) / 1000,
                "nats": nats,
            }

    monkeypatch.setattr(bench, "Side", lambda name, *_: Training(name, 0.0))
    return calls


@pytest.mark.parametrize(("long", "minutes"), [(False, [5]), (True, [5, 15])])
def test_nanogpts_recipe_has_the_seconds_of_the_milestone(trained, long, minutes):
    """It is trained as published first. Kata 15 trains for five minutes, or for fifteen too."""
    found = bench.languages(Text("a text", "a text"), long)
    assert [run["recipe"] for run in found["language"]] == [
        "milestone 3, clear",
        "nanoGPT's, PyTorch, as published",
        "nanoGPT's, PyTorch, for the same seconds",
        *(f"fast, {number} minutes" for number in minutes),
    ]
    theirs = "PyTorch, fused attention"
    assert [(name, *options) for name, _, _, *options in trained] == [
        ("clear",),
        (theirs, None),
        (theirs, 7.5),
        *(("fast", number) for number in minutes),
    ]
    assert [(row["values"], row["wanted"]) for row in found["minutes"]] == [
        ([2.2], bench.BARS[f"{number} minutes"].wanted) for number in minutes
    ]


def test_the_least_accurate_seed_and_pytorchs_time_count(trained):
    """Clear code, which takes longest, is trained from one seed only."""
    found = bench.trainings("PyTorch, channels_last")
    names = [(run["side"], run["seed"]) for run in found["training"]]
    assert names == [("clear", 0), *((name, seed) for seed in range(5) for name in ("fast", "PyTorch, channels_last"))]
    accuracy, times, seconds = [row["values"] for row in found["trained"]]
    assert (accuracy, times, seconds) == ([pytest.approx(76.2)], [1.0] * 5, [5.0] * 5)


def test_a_student_is_compared_with_one_alone_from_the_same_seed(trained):
    """The seed where a teacher helps least counts."""
    found = bench.distillations(Text("a text", "a text"))
    assert [(name, *options) for name, _, _, *options in trained] == [
        ("fast", seed, taught) for seed in range(3) for taught in (False, True)
    ]
    (row,) = found["taught"]
    assert row["values"] == [pytest.approx(0.03)]
    assert row["wanted"] == bench.BARS["distillation"].wanted


@pytest.mark.timeout(120)
def test_a_student_learns_from_a_teacher_and_alone():
    """A teacher of few steps has learned something that its student can tell."""
    words = np.random.default_rng(0).choice([*"abc"], (5000, 3))
    text = Text(" ".join(map("".join, words)), "27 words")
    with bench.opened(bench.NUMPY[1]) as (side,):
        alone, taught = [side.train("train_student", text, 0, taught) for taught in (False, True)]
    assert alone["steps"] == taught["steps"] > 0
    assert 0 < taught["nats"] < alone["nats"]


class Server(Fake):
    """A side whose answers are judged."""

    found: ClassVar = {}

    def prepare(self, work, requests):
        return [np.zeros(requests)]

    def train(self, work, *sizes):
        return self.found[work]


@pytest.mark.parametrize(
    ("excused", "wrong", "millionths", "memory", "missed"),
    [
        (0.1, 0, 100.0, [100, 120, 105], []),
        (0.11, 0, 100.0, [100, 105], ["500 requests, 9,000 tokens: % that differ, as rounding excuses: 0.11, wanted ≤ 0.1"]),
        (0.0, 1, 100.0, [100, 105], ["500 requests, 9,000 tokens: that differ otherwise: 1.00, wanted ≤ 0"]),
        (0.0, 0, 101.0, [100, 105], ["largest error of a log-probability, in millionths: 101.00, wanted ≤ 100"]),
        (
            *(0.0, 0, 100.0, [100, 106]),
            ["memory after 5,000 requests (106.0 MB) over that after 500 (100.0 MB): 1.06, wanted ≤ 1.05"],
        ),
        (0.0, 0, 100.0, [None, None], []),
    ],
)
def test_what_an_engine_must_reach(monkeypatch, excused, wrong, millionths, memory, missed):
    """No token that its seed does not draw, log-probabilities within 1e-4, hardly more memory; where the platform tells it."""
    found = {
        "soaked": {"tokens": 9000, "excused": excused, "wrong": wrong, "millionths": millionths},
        "resident": {"memory": memory},
        "waited": {"first": 0.1, "pause": 0.01},
    }
    monkeypatch.setattr(Server, "found", found)
    monkeypatch.setattr(bench, "Side", lambda name, *_: Server(name, 0.0))
    monkeypatch.setattr(bench, "ROUNDS", 1)
    figures = bench.servings()
    assert len(figures["serving"]) == 3 + (None not in memory)
    assert [line for line in report.missed(figures) if "at a time" not in line] == missed
    assert report.missed(figures)[len(missed) :] == [
        "16 requests: prompts of 16 tokens, answers of 64, 16 at a time : 1 at a time: 1.00, wanted ≥ 3"
    ]
    assert [row["tokens"] for row in figures["together"] + figures["batches"]] == [1024, 64, 1024]


@pytest.mark.timeout(120)
def test_the_engine_answers_as_one_at_a_time():
    """However many it answers at a time, and in whatever slices prompts are read."""
    with bench.opened(*bench.ENGINES, ("a batch", "specs.bench.serving")) as (*sides, batch):
        bench.prepare(sides, "requests", "answer", 5)
        (together,), (want,) = batch.prepare("batch", 5, "NumPy 1"), sides[0].prepare("answer", 5)
    assert together.shape == (5, serving.COMPARED)
    assert (together == want).all()


@pytest.mark.timeout(120)
def test_our_side_serves():
    """Answers are right, memory is told where the platform tells it, and a prompt that is read as a whole is one pause."""
    with bench.opened(bench.SERVER, *bench.SLICES) as (side, slices, whole):
        judged, memory = side.train("soaked", 8), side.train("resident", 4, 3)["memory"]
        parts, one = slices.train("waited"), whole.train("waited")
    assert judged["tokens"] > 100
    assert judged["excused"] == judged["wrong"] == 0
    assert 0 < judged["millionths"] < 100
    assert len(memory) == 3
    assert sys.platform != "linux" or min(memory) > 10
    assert one["first"] == one["pause"] > 0
    assert parts["first"] > 2 * parts["pause"] > 0


@pytest.mark.timeout(300)  # PyTorch takes seconds to import
@pytest.mark.skipif(find_spec("torch") is None, reason="PyTorch is not installed")
@pytest.mark.parametrize("requests", [1, 3])
def test_pytorch_gives_the_engines_answers(monkeypatch, requests):
    """From the same weights and the same draws, with its own kernel for attention and without."""
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")  # beside other processes PyTorch's waiting threads would take the cores
    with bench.opened(*[arguments for arguments in bench.BATCHES if "1 thread" in arguments[0]]) as (ours, *others):
        (want,) = ours.prepare("batch", requests)
        for side in others:
            (ids,) = side.prepare("batch", requests)
            assert (ids == want).all(), side.name


@pytest.mark.timeout(120)
def test_clients_of_the_app_get_the_engines_answers():
    """However many there are at a time."""
    with bench.opened(bench.SERVED[0]) as (side,):
        (together,), (want,) = side.prepare("requests", 16), side.prepare("requests", 1)
    assert together.shape == (served.REQUESTS, serving.COMPARED)
    assert (together == want).all()


@pytest.mark.timeout(300)  # PyTorch takes seconds to import
@pytest.mark.skipif(find_spec("torch") is None, reason="PyTorch is not installed")
def test_pytorch_behind_the_app_gives_the_engines_answers(monkeypatch):
    """With its own kernel for attention and without, while requests join and leave."""
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")  # beside other processes PyTorch's waiting threads would take the cores
    with bench.opened(*[arguments for arguments in bench.SERVED if "1 thread" in arguments[0]]) as (ours, *others):
        (want,) = ours.prepare("requests", 3)
        for side in others:
            (letters,) = side.prepare("requests", 3)
            assert (letters == want).all(), side.name


@pytest.mark.parametrize(
    ("javascript", "missed"),
    [
        ({}, []),
        (
            {"client": "openai 2", "found": {"chat": False}},
            ["openai 2: 1 kinds of requests, of which fail: chat: 1.00, wanted ≤ 0"],
        ),
    ],
)
def test_what_openais_clients_must_complete(monkeypatch, javascript, missed):
    """All that they ask. Where there is no npm, Python's asks alone."""
    found = {"python": {"client": "openai 1", "found": {"chat": True, "stop": True}}, "javascript": javascript}
    monkeypatch.setattr(Server, "found", found)
    monkeypatch.setattr(bench, "Side", lambda name, *_: Server(name, 0.0))
    figures = bench.official()
    assert figures["openai"][0]["work"] == "openai 1: 2 kinds of requests, of which fail"
    assert report.missed(figures) == missed


class Writer:
    """A side that reads weights, or wrote them."""

    def __init__(self, name: str, *results: np.ndarray):
        self.name, self.results = name, list(results)

    def prepare(self, work, shape, path):
        return self.results


LOGITS, NEW = np.zeros((2, 3, 5)), np.array([[1, 2, 3], [4, 5, 6]])
MARGINS = np.array([[1, 1e-4, 1], [1, 1, 1]])  # the second decision of the first row is none


@pytest.mark.parametrize(
    ("logits", "new", "values"),
    [
        (LOGITS + 9e-5, NEW, [90, 0]),
        (LOGITS + 2e-4, NEW, [200, 0]),
        (LOGITS, np.array([[1, 9, 9], [4, 5, 6]]), [0, 0]),
        (LOGITS, np.array([[9, 9, 3], [4, 5, 9]]), [0, 2]),
    ],
)
def test_other_logits_and_other_continuations_than_transformers_are_missed(logits, new, values):
    """Continuations may part where both tokens are equally good up to rounding."""
    rows = bench.gpt2([Writer("NumPy", logits, new), Writer("transformers", LOGITS, NEW, MARGINS)])
    assert [row["values"][0] for row in rows] == pytest.approx(values * len(work.SHAPES))
    missed = report.missed({"gpt2": rows})
    assert len(missed) == len(work.SHAPES) * ((values[0] > 100) + (values[1] > 0))


def test_logits_that_are_no_numbers_are_missed():
    """NaN is not below any bar."""
    rows = bench.gpt2([Writer("NumPy", LOGITS * np.nan, NEW), Writer("transformers", LOGITS, NEW, MARGINS)])
    assert len(report.missed({"gpt2": rows})) == len(work.SHAPES)


@pytest.mark.timeout(300)  # PyTorch takes seconds to import
@pytest.mark.skipif(find_spec("transformers") is None, reason="transformers is not installed")
def test_gpt2s_architecture_gives_the_logits_of_transformers():
    """Of random weights, which transformers wrote into a file."""
    with bench.opened(*bench.LOADERS) as sides:
        rows = bench.gpt2(sides)
    assert len(rows) == 2 * len(work.SHAPES)
    assert not report.missed({"gpt2": rows})


def test_our_side_trains_and_encodes():
    """It gives the size of the vocabulary, and the number of ids of the text that it was trained on."""
    text = "".join(work.words(1))[:20_000]
    with bench.opened(bench.READERS[0]) as (side,):
        assert side.prepare("training", text) == [work.VOCABULARY]
        (ids,) = side.prepare("encoding", text)
    assert len(text) / 4 < ids < len(text) / 1.2


def test_a_stream_is_of_new_words_and_pieces_come_once():
    """A cache of words would else hide what an encoder takes."""
    text = "".join(work.words(1))
    words = text.split()
    assert (len(text), {len(word) for word in words}) == (1_000_000, {work.WORD - 1})
    assert len(set(words)) == len(words)
    for kind, length in work.LONG.items():
        drawn = [work.pieces(kind, turn) for turn in range(bench.ROUNDS + 1)]
        assert {(len(piece), len(half)) for both in drawn for piece, half in zip(*both, strict=True)} == {(length, length // 2)}
        assert len({piece for both in drawn for pieces in both for piece in pieces}) == 2 * work.TOGETHER * len(drawn)


class Published:
    """A side that knows the ids of GPT-2, but for one text."""

    name = "tokenizers"

    def prepare(self, work, samples):
        return [np.array(sample.ids[::-1] if sample.name == "Greek" else sample.ids) for sample in samples]


def test_ids_that_are_not_those_of_tokenizers_end_the_bench():
    """What the milestone compares with was computed by another program, and is so again."""
    with pytest.raises(AssertionError, match=r"Greek: tokenizers has other ids than specs/datasets/gpt2\.json"):
        bench.check_samples(Published())


@pytest.mark.skipif(find_spec("tokenizers") is None, reason="tokenizers is not installed")
def test_the_ids_of_the_samples_are_those_of_tokenizers():
    """From GPT-2's files, where they can be had."""
    try:
        fetch(GPT2)
    except Unavailable as error:
        pytest.skip(str(error))
    with bench.opened(bench.READERS[1]) as (side,):
        bench.check_samples(side)
        assert side.prepare("training", "".join(work.words(1))[:20_000]) == [work.VOCABULARY]


@pytest.mark.parametrize("key", DOCUMENTED)
def test_a_difference_by_design_is_documented(key):
    """The sentence stands in the section that is quoted, and some case may differ so."""
    assert DOCUMENTED[key].stands()
    assert f'"{key}"' in inspect.getsource(cases)


def test_cases_of_the_fuzz_are_those_of_their_seed():
    """Each can be made again alone; together they are of every kind, and name only what is documented."""
    drawn = [cases.case(0, number) for number in range(1000)]
    assert {kind for kind, _ in drawn} == cases.KINDS.keys()
    assert {key for _, case in drawn for key, _ in case.instead} <= DOCUMENTED.keys()
    assert [(kind, case.ours, case.seed) for kind, case in drawn[::100]] == [
        (kind, case.ours, case.seed) for kind, case in (cases.case(0, number) for number in range(0, 1000, 100))
    ]


@pytest.mark.timeout(300)  # PyTorch takes seconds to import
@pytest.mark.skipif(find_spec("torch") is None, reason="PyTorch is not installed")
def test_the_fuzz_runs():
    """Its exit code says whether something differs."""
    command = [sys.executable, "-m", "specs.bench", "--fuzz", "--cases", "300"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert "300 cases with seed 0" in done.stdout, done.stderr
    assert (done.returncode == 0) == ("Undocumented differences: 0," in done.stdout)
