import inspect
import json
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
from specs.door import ROOT

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
    assert "Data: a text (7 characters)." in text


def test_the_bar_that_is_shown_is_the_one_that_counts():
    """It is compared with the median; a work beyond it is marked in its row, and named at the end. Some have no bar."""
    lines = report.markdown(FIGURES).splitlines()
    assert "| merging | 200.0 (200.0–200.0) | 75.0 (50.0–100.0) | 0.38 (0.25–0.50), wanted ≥ 0.375 |" in lines
    assert "| reading | 200.0 (200.0–200.0) | 100.0 (100.0–100.0) | 0.50 (0.50–0.50), wanted ≥ 0.51: **missed** |" in lines
    assert "| memory | 1.20 (1.00–9.00), wanted ≤ 1.2 |" in lines
    assert "| steps | 2.51 (2.51–2.51), wanted ≤ 2.5: **missed** |" in lines
    assert "| time | 2.51 (2.51–2.51) |" in lines
    assert [line for line in lines if line.startswith("Missed")] == [f"Missed: {bar}" for bar in report.missed(FIGURES)]
    assert report.missed(FIGURES) == ["reading: 0.50, wanted ≥ 0.51", "steps: 2.51, wanted ≤ 2.5"]


@pytest.mark.parametrize(("bar", "code"), [("≤ 2.5", 1), ("≤ 2.6", 0)])
def test_a_missed_bar_fails_the_bench(monkeypatch, tmp_path, capsys, bar, code):
    """After the tables are written and printed."""
    rows = FIGURES["tokenization"][:1], [{"work": "steps", "values": [2.51], "wanted": bar}]
    monkeypatch.setattr(sys, "argv", ["bench", "--quick"])
    monkeypatch.setattr(bench, "FOLDER", tmp_path)
    monkeypatch.setattr(bench, "fetch", lambda _: None)
    monkeypatch.setattr(bench, "shakespeare", lambda: ("a text", "a text (6 characters)"))
    monkeypatch.setattr(bench, "sides", list)
    monkeypatch.setattr(bench, "readers", list)
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


@pytest.mark.skipif(find_spec("torch") is None, reason="PyTorch is not installed")
def test_the_fuzz_runs():
    """Its exit code says whether something differs."""
    command = [sys.executable, "-m", "specs.bench", "--fuzz", "--cases", "300"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert "300 cases with seed 0" in done.stdout, done.stderr
    assert (done.returncode == 0) == ("Undocumented differences: 0," in done.stdout)
