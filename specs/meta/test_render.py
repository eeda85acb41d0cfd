import shutil

import numpy as np
import pytest
from katas.autograd import render
from katas.embeddings import draw
from matplotlib.image import imread

TEXT = "digraph {}"


def test_graphviz_draws_the_text(tmp_path, monkeypatch):
    """The text goes to the program `dot`, which is told the format and the file."""
    program = tmp_path / "dot"
    program.write_text('#!/bin/sh\nprintf "%s\\n" "$@" > "$3"\ncat >> "$3"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    path = tmp_path / "graph.svg"
    render(TEXT, str(path))
    assert path.read_text() == f"-Tsvg\n-o\n{path}\n{TEXT}"


def test_without_graphviz_its_name_is_said(monkeypatch):
    """The error says what is missing and where it is had."""
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(RuntimeError, match=r"Graphviz.*graphviz\.org"):
        render(TEXT, "graph.svg")


def test_tables_are_drawn_side_by_side(tmp_path):
    """Red where a table is positive, blue where it is negative, white at 0, each by the table's own largest value."""
    path = tmp_path / "positions.png"
    draw(str(path), small=np.array([[0.1, -0.1]]), large=np.array([[0.0, 9.0], [0.0, 9.0]]))
    picture = imread(path)[..., :3]
    height, width, _ = picture.shape
    quarters = [picture[height // 2, int(width * share)] for share in (0.15, 0.4, 0.65, 0.9)]
    positive, negative, zero, largest = quarters
    assert positive[0] > positive[2]
    assert negative[0] < negative[2]
    assert zero.min() > 0.95
    assert np.array_equal(positive, largest)
