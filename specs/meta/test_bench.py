import inspect
import json
import os
import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest

from specs import oracles
from specs.bench import __main__ as bench
from specs.bench import cases, report, work
from specs.bench.documented import DOCUMENTED
from specs.bench.side import Side
from specs.datasets.fetch import Unavailable, fetch
from specs.datasets.gpt2 import GPT2
from specs.datasets.text import Text
from specs.door import ROOT, VARIABLE

FIGURES = {
    "time": "2026-01-02T03:04:05+00:00",
    "machine": {"cores": 2, "processor": "a processor", "platform": "Linux"},
    "versions": ["Python 3", "NumPy 2", "PyTorch 2"],
    "convolution": [
        {
            "work": "3×3",
            "seconds": {
                "NumPy": [0.010, 0.020, 0.040],
                "PyTorch, default": [0.009, 0.030, 0.031],
                "PyTorch, channels_last": [0.008, 0.005, 0.020],
            },
        }
    ],
    "step": [{"work": "a step", "seconds": {"NumPy": [0.1], "PyTorch, default": [0.2], "PyTorch, channels_last": [0.3]}}],
    "training": [{"side": "NumPy", "seed": 0, "accuracy": 0.7512, "seconds": 99.96, "MB": 512.3}],
    "text": "a text (7 characters)",
    "tokenization": [
        {"work": "merging", "seconds": {"reference": [0.2, 0.2], "tokenizers": [0.1, 0.05]}, "wanted": "≥ 0.375"},
        {"work": "reading", "seconds": {"reference": [0.2], "tokenizers": [0.1]}, "wanted": "≥ 0.51"},
    ],
    "gpt": [
        {
            "work": "4 steps",
            "seconds": {"NumPy": [0.5, 1.0], "PyTorch, fused attention": [0.2, 0.3], "PyTorch, explicit attention": [0.4, 0.4]},
            "wanted": "≥ 0.36",
            "tokens": 3000,
        }
    ],
    "gpt2": [
        {"work": "logits", "values": [100.5], "wanted": "≤ 100"},
        {"work": "continuations", "values": [0], "wanted": "≤ 0"},
    ],
    "language": [{"recipe": "ours", "bits": 2.2004, "steps": 1500, "tokens": 1_536_000, "seconds": 160.04, "MB": None}],
    "growth": [
        {"work": "memory", "values": [1.0, 1.2, 9.0], "wanted": "≤ 1.2"},
        {"work": "steps", "values": [2.51], "wanted": "≤ 2.5"},
        {"work": "time", "values": [2.51]},
    ],
}


def test_the_table_quotes_medians_spreads_and_the_ratio_to_the_faster_layout():
    """The ratio is taken turn by turn: its median is not the ratio of the medians."""
    text = report.markdown(FIGURES)
    row = "| 3×3 | 20.0 (10.0–40.0) | 30.0 (9.0–31.0) | 8.0 (5.0–20.0) | 0.50 (0.25–0.80) |"
    assert row in text.splitlines()
    assert "| a step | 100.0 (100.0–100.0) | 200.0 (200.0–200.0) | 300.0 (300.0–300.0) | 2.00 (2.00–2.00) |" in text
    assert "| NumPy | 0 | 75.12% | 100.0 | 512 MB |" in text
    assert "Python 3, NumPy 2, PyTorch 2; a processor, 2 cores; 2026-01-02." in text
    assert text.count("Data: a text (7 characters).") == 2
    assert "| ours | 2.200 | 160.0 | 1,500 | 9,598 | ? |" in text


def test_tokens_a_second_are_those_of_the_median():
    """3,000 tokens in 0.75, 0.25 and 0.4 seconds."""
    want = "Tokens a second: NumPy 4,000; PyTorch, fused attention 12,000; PyTorch, explicit attention 7,500."
    assert want in report.markdown(FIGURES).splitlines()


def test_the_bar_that_is_shown_is_the_one_that_counts():
    """It is compared with the median; a work beyond it is marked in its row, and named at the end. Some have no bar."""
    lines = report.markdown(FIGURES).splitlines()
    assert "| merging | 200.0 (200.0–200.0) | 75.0 (50.0–100.0) | 0.38 (0.25–0.50), wanted ≥ 0.375 |" in lines
    assert "| reading | 200.0 (200.0–200.0) | 100.0 (100.0–100.0) | 0.50 (0.50–0.50), wanted ≥ 0.51: **missed** |" in lines
    assert "| memory | 1.20 (1.00–9.00), wanted ≤ 1.2 |" in lines
    assert "| steps | 2.51 (2.51–2.51), wanted ≤ 2.5: **missed** |" in lines
    assert "| time | 2.51 (2.51–2.51) |" in lines
    assert [line for line in lines if line.startswith("Missed")] == [f"Missed: {bar}" for bar in report.missed(FIGURES)]
    assert "| continuations | 0.00 (0.00–0.00), wanted ≤ 0 |" in lines
    assert report.missed(FIGURES) == [
        "reading: 0.50, wanted ≥ 0.51",
        "steps: 2.51, wanted ≤ 2.5",
        "4 steps: 0.35, wanted ≥ 0.36",
        "logits: 100.50, wanted ≤ 100",
    ]


@pytest.mark.parametrize(("bar", "code"), [("≤ 2.5", 1), ("≤ 2.6", 0)])
def test_a_missed_bar_fails_the_bench(monkeypatch, tmp_path, capsys, bar, code):
    """After the tables are written and printed."""
    rows = FIGURES["tokenization"][:1], [{"work": "steps", "values": [2.51], "wanted": bar}]
    monkeypatch.setattr(sys, "argv", ["bench", "--quick"])
    monkeypatch.setattr(bench, "FOLDER", tmp_path)
    monkeypatch.setattr(bench, "fetch", lambda _: None)
    monkeypatch.setattr(bench, "shakespeare", lambda: Text("a text", "a text (6 characters)"))
    for sides in ("sides", "readers", "writers", "loaders"):
        monkeypatch.setattr(bench, sides, list)
    monkeypatch.setattr(bench, "gpt_step", lambda _: FIGURES["gpt"][0] | {"wanted": "≥ 0.3"})
    monkeypatch.setattr(bench, "gpt2", lambda _: FIGURES["gpt2"][1:])
    monkeypatch.setattr(bench, "compared", lambda *_: FIGURES["step"][0])
    monkeypatch.setattr(bench, "tokenization", lambda *_: rows)
    with pytest.raises(SystemExit) as ended:
        bench.main()
    assert ended.value.code == code
    assert (tmp_path / "bench.md").read_text(encoding="utf-8") in capsys.readouterr().out
    assert json.loads((tmp_path / "bench.json").read_text(encoding="utf-8"))["growth"] == rows[1]


class Fake:
    """A side that takes no time."""

    def __init__(self, name: str, result: float):
        self.name, self.result, self.turns = name, result, 0

    def prepare(self, work):
        return [np.full(3, self.result)]

    def seconds(self, at_least):
        self.turns += 1
        return self.turns


def test_sides_take_turns():
    """The first is for warming up."""
    sides = [Fake("NumPy", 1.0), Fake("PyTorch, default", 1.0)]
    found = bench.compared(sides, "nothing", "idle")
    assert found == {"work": "nothing", "seconds": {side.name: list(range(2, bench.ROUNDS + 2)) for side in sides}}


def test_sides_that_compute_something_else_are_not_compared():
    """Times of different work say nothing."""
    with pytest.raises(AssertionError, match="nothing: PyTorch, default computes"):
        bench.compared([Fake("NumPy", 1.0), Fake("PyTorch, default", 1.1)], "nothing", "idle")


def test_our_side_computes_a_convolution_and_steps():
    """In a process of its own, from the reference."""
    case = work.Convolution(2, 4, 5, 6, 3, stride=2)
    side = Side("NumPy", "specs.bench.ours")
    try:
        y, to_weight, to_x = side.prepare("convolution", case)
        loss, *parameters = side.prepare("step")
        assert 0 < side.seconds(0.01) < 10
        assert side.version() == f"NumPy {np.__version__}"
    finally:
        side.close()
    x, weight, g = case.inputs()
    want_x, want_weight, _ = oracles.spatial.conv2d_gradients(g, x, weight, (2, 2), (1, 1))
    for got, want in ((y, oracles.spatial.conv2d(x, weight, None, (2, 2), (1, 1))), (to_x, want_x), (to_weight, want_weight)):
        assert np.allclose(got, want, atol=1e-4)
    assert 1 < loss < 20
    assert [array.ndim for array in parameters] == [4, 1, 1] * 4 + [2, 1]


@pytest.mark.timeout(60)
def test_our_side_trains_a_gpt():
    """The losses fall, and the gradients are so large that they are clipped."""
    side = Side("NumPy", "specs.bench.ours")
    try:
        losses, norms = side.prepare("gpt_steps")
    finally:
        side.close()
    assert losses.shape == norms.shape == (work.STEPS,)
    assert (np.diff(losses) < 0).all()
    assert (norms > 1).all()


def test_a_turn_has_batches_of_the_milestones_size():
    """So many rows, each of so many tokens and one more: the last one is only guessed."""
    program = "from specs.milestones.recipes.gpt import BATCH, CONTEXT; print(BATCH, CONTEXT)"
    world = os.environ | {VARIABLE: "reference"}
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=world, capture_output=True, text=True)
    assert done.stdout.split() == [str(work.ROWS), str(work.CONTEXT)], done.stderr
    assert work.tokens(1024).shape == (work.STEPS, work.ROWS, work.CONTEXT + 1)


@pytest.mark.timeout(300)  # PyTorch takes seconds to import
@pytest.mark.skipif(find_spec("torch") is None, reason="PyTorch is not installed")
def test_pytorch_trains_the_same_gpt(monkeypatch):
    """From the same weights, with its own kernel for attention and without, it has the same losses and gradient norms."""
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")  # beside other processes PyTorch's waiting threads would take the cores
    sides = bench.writers()
    assert len(sides) == 3
    try:
        bench.prepare(sides, "a GPT", "gpt_steps")
    finally:
        for side in sides:
            side.close()


@pytest.mark.timeout(300)  # PyTorch takes seconds to import
@pytest.mark.skipif(find_spec("torch") is None, reason="PyTorch is not installed")
def test_nanogpts_recipe_is_scored_in_bits_per_byte():
    """Nobody guesses random letters. Each of three costs log2(3) bits, and somewhat more before it is learned: 0.79 a byte."""
    letters = "".join(np.random.default_rng(0).choice([*"äöü"], 3000))
    side, text = Side("PyTorch", "specs.bench.gpt", "fused"), Text(letters, "three letters")
    try:
        found = side.train("train_gpt", text, 2.0)
    finally:
        side.close()
    assert 0.77 < found["bits"] < 1.5
    assert found["seconds"] >= 2
    assert found["tokens"] == found["steps"] * 12 * 64 > 0


def test_nanogpts_recipe_has_the_seconds_of_the_milestone(monkeypatch):
    """It is trained as published first."""
    calls = []

    class Training(Fake):
        def train(self, work, text, *seconds):
            calls.append((self.name, *seconds))
            return {"seconds": 7.5}

        def close(self):
            pass

    monkeypatch.setattr(bench, "Side", lambda name, *_: Training(name, 0.0))
    assert [row["recipe"] for row in bench.languages(Text("a text", "a text"))] == [
        "milestone 3, NumPy",
        "nanoGPT's, PyTorch, as published",
        "nanoGPT's, PyTorch, for the same seconds",
    ]
    assert calls == [("NumPy",), ("PyTorch", None), ("PyTorch", 7.5)]


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
    missed = report.missed(FIGURES | {"tokenization": [], "growth": [], "gpt": [], "gpt2": rows})
    assert len(missed) == len(work.SHAPES) * ((values[0] > 100) + (values[1] > 0))


def test_logits_that_are_no_numbers_are_missed():
    """NaN is not below any bar."""
    rows = bench.gpt2([Writer("NumPy", LOGITS * np.nan, NEW), Writer("transformers", LOGITS, NEW, MARGINS)])
    assert len(report.missed(FIGURES | {"tokenization": [], "growth": [], "gpt": [], "gpt2": rows})) == len(work.SHAPES)


@pytest.mark.timeout(300)  # PyTorch takes seconds to import
@pytest.mark.skipif(find_spec("transformers") is None, reason="transformers is not installed")
def test_gpt2s_architecture_gives_the_logits_of_transformers():
    """Of random weights, which transformers wrote into a file."""
    sides = bench.loaders()
    try:
        rows = bench.gpt2(sides)
    finally:
        for side in sides:
            side.close()
    assert len(rows) == 2 * len(work.SHAPES)
    assert not report.missed(FIGURES | {"tokenization": [], "growth": [], "gpt": [], "gpt2": rows})


def test_our_side_trains_and_encodes():
    """It gives the size of the vocabulary, and the number of ids of the text that it was trained on."""
    text, side = "".join(work.words(1))[:20_000], Side("reference", "specs.bench.ours")
    try:
        assert side.prepare("training", text) == [work.VOCABULARY]
        (ids,) = side.prepare("encoding", text)
    finally:
        side.close()
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
    side = Side("tokenizers", "specs.bench.huggingface")
    try:
        bench.check_samples(side)
        assert side.prepare("training", "".join(work.words(1))[:20_000]) == [work.VOCABULARY]
    finally:
        side.close()


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
