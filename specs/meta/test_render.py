import shutil

import pytest
from katas.autograd import render

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
