"""Milestone 3, first line: GPT-2's own files give the ids that GPT-2 was trained with, and a new tokenizer takes seconds."""

import functools
import json
import re
import time
from collections import Counter
from pathlib import Path

import pytest
from katas.tokenization import BPETokenizer
from matplotlib.figure import Figure

from specs.datasets.fetch import choose
from specs.datasets.gpt2 import END, GPT2, Sample, Tokenizer, load, samples
from specs.datasets.text import shakespeare
from specs.oracles import tokenization as oracle

MERGES, SECONDS = 1000, 3  # of the training, and of CPU time
LEARNED = 200  # merges of the stand-in
SHOWN = 3  # wrong texts


@pytest.mark.timeout(120)
def test_texts_get_the_ids_that_gpt2_gives_them(milestone, data, tmp_path):
    """Twenty scripts, emoji, code, blanks and line ends of all kinds get the ids of GPT-2, which decode to the same text."""
    folder = choose(data, GPT2)
    given, texts = stand_in(tmp_path) if folder is None else (load(folder), samples())
    start = time.process_time()
    tokenizer = BPETokenizer.load(given.folder)
    seconds = time.process_time() - start
    found = [tokenizer.encode(sample.text, special=sample.special) for sample in texts]
    wrong = [(sample, ids) for sample, ids in zip(texts, found, strict=True) if ids != sample.ids]
    whole = sum(tokenizer.decode(ids) == sample.text for sample, ids in zip(texts, found, strict=True))

    milestone.note(f"data: {given.source}")
    for sample, ids in wrong[:SHOWN]:
        milestone.note(_difference(sample, ids))
    everything = {"unit": f"of {len(texts)}", "wanted": f"≥ {len(texts)}"}
    milestone.row("tokenizer from files: texts with the right ids", len(texts) - len(wrong), **everything)
    milestone.row("tokenizer from files: texts that come back whole", whole, **everything)
    milestone.row("tokenizer from files: CPU time of loading", seconds, "s")
    milestone.picture("3_tokenizer", _draw(texts, given.source))


@pytest.mark.timeout(120)
def test_a_tokenizer_is_trained_in_seconds(milestone, data):
    """A thousand merges of a megabyte of English make it half as long, and lose nothing."""
    text, source = shakespeare(data)
    start = time.process_time()
    tokenizer = BPETokenizer.train(text, 256 + MERGES)
    seconds = time.process_time() - start
    ids = tokenizer.encode(text)

    milestone.note(f"data: {source}")
    label = f"{MERGES:,} merges of {source.split(' (')[0]}"
    milestone.row(f"{label}: CPU time", seconds, "s", wanted=f"≤ {SECONDS}")
    milestone.row(f"{label}: tokens per byte", len(ids) / len(text.encode()), wanted="≤ 0.5")
    assert tokenizer.decode(ids) == text, "the text is another after encode and decode"


def stand_in(folder: Path) -> tuple[Tokenizer, list[Sample]]:
    """A small tokenizer in GPT-2's files, learned from the texts themselves, with the ids that it gives them."""
    texts = samples()
    learned = oracle.merges(Counter(piece.encode() for sample in texts for piece in oracle.pieces(sample.text)), LEARNED)
    tokens = dict.fromkeys([bytes([byte]) for byte in range(256)] + [left + right for left, right in learned])
    vocab = {name: number for number, name in enumerate([*map(oracle.name, tokens), END])}
    merges = [f"{oracle.name(left)} {oracle.name(right)}" for left, right in learned]
    (folder / "vocab.json").write_text(json.dumps(vocab), encoding="utf-8")
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges, ""]), encoding="utf-8")

    @functools.cache
    def of(piece: str) -> list[int]:
        if piece == END:  # which no ordinary piece is: it holds letters and signs
            return [vocab[END]]
        return [vocab[oracle.name(token)] for token in oracle.encoded(piece.encode(), learned)]

    def ids(sample: Sample) -> list[int]:
        parts = re.split(f"({re.escape(END)})", sample.text) if sample.special else [sample.text]
        pieces = [piece for part in parts for piece in ([END] if part == END else oracle.pieces(part))]
        return [number for piece in pieces for number in of(piece)]

    source = f"a stand-in for GPT-2's tokenizer ({len(vocab)} tokens, {LEARNED} merges)"
    return Tokenizer(folder, source), [sample._replace(ids=ids(sample)) for sample in texts]


def _difference(sample: Sample, ids: list[int]) -> str:
    """Where the ids of a text are others than they should be."""
    pairs = enumerate(zip(ids, sample.ids, strict=False))
    place = next((i for i, (got, want) in pairs if got != want), min(len(ids), len(sample.ids)))
    got, want = ids[place : place + 4], sample.ids[place : place + 4]
    return f"{sample.name}, {sample.text[:30]!r}: expected {want} from id {place} on, got {got}"


def _draw(texts: list[Sample], source: str) -> Figure:
    figure = Figure(figsize=(8, 12), layout="constrained")
    axes, shown = figure.subplots(), [sample for sample in texts if sample.ids]
    axes.barh([sample.name for sample in shown], [len(sample.text.encode()) / len(sample.ids) for sample in shown])
    axes.invert_yaxis()
    axes.margins(y=0.01)
    axes.tick_params(axis="y", labelsize=7)
    axes.set(xlabel="bytes per token", title=source)
    return figure
