import subprocess
import sys
from itertools import islice

import pytest
from katas.tokenization import pretokenize

CASES = {
    "": [],
    "hello": ["hello"],
    "hello world": ["hello", " world"],
    " a": [" a"],
    "a   b": ["a", "  ", " b"],
    "a  ": ["a", "  "],
    "   ": ["   "],
    "a\n\nb": ["a", "\n", "\n", "b"],
    "a\r\nb": ["a", "\r", "\n", "b"],
    "a \n b": ["a", " \n", " b"],
    "a\tb": ["a", "\t", "b"],
    "a\u00a0b": ["a", "\u00a0", "b"],
    "a\u2028b\u3000 c": ["a", "\u2028", "b", "\u3000", " c"],
    "!\u00a0!": ["!", "\u00a0", "!"],
    "it's": ["it", "'s"],
    "IT'S": ["IT", "'", "S"],
    "we'll they've I'm you're he'd can't": [
        *("we", "'ll", " they", "'ve", " I", "'m", " you", "'re", " he", "'d", " can", "'t"),
    ],
    "it's IT'S we'll": ["it", "'s", " IT", "'", "S", " we", "'ll"],
    "'tis": ["'t", "is"],
    "a 'll": ["a", " '", "ll"],
    "abc123": ["abc", "123"],
    " 42 7": [" 42", " 7"],
    "3.14": ["3", ".", "14"],
    "x²": ["x", "²"],
    "Ⅷ٣": ["Ⅷ٣"],
    "٣! Ⅷ-": ["٣", "!", " Ⅷ", "-"],
    "hi!!": ["hi", "!!"],
    " ?! a": [" ?!", " a"],
    "a_b": ["a", "_", "b"],
    "naïve Ελλάδα Привет": ["naïve", " Ελλάδα", " Привет"],
    "日本語 テスト": ["日本語", " テスト"],
    "e\u0301": ["e", "\u0301"],
    "👩\u200d💻 ok": ["👩\u200d💻", " ok"],
    "<|endoftext|>": ["<|", "endoftext", "|>"],
}


@pytest.mark.parametrize("text", CASES)
def test_pieces_are_those_of_the_pattern(text):
    """Contractions, then letters, digits or signs with one blank before, then white space: GPT-2's pattern, from the left."""
    assert list(pretokenize(text)) == CASES[text]


@pytest.mark.parametrize("text", ["a\0b\x7f", "\u2028x\u3000\x85", "\ud800", " '  '", "١٢٣ ⅓\n"])
def test_pieces_joined_are_the_text(text):
    """No character is lost, whatever it is."""
    assert "".join(pretokenize(text)) == text


def test_pieces_come_one_by_one():
    """pretokenize yields: the first pieces of a long text are there at once, and no list of all of them is held."""
    pieces = pretokenize("word " * 1000)
    assert iter(pieces) is pieces
    assert list(islice(pieces, 2)) == ["word", " word"]


def test_pieces_of_a_long_text_take_no_memory(budget):
    """The pieces of 1 MB of text are not held: a pass over them allocates less than 100 kB."""
    text = "some words " * 100_000

    def all_of_them():
        for _ in pretokenize(text):
            pass

    budget.bytes(all_of_them, peak=100_000)


def test_regex_is_imported_when_it_is_needed():
    """Importing katas.tokenization does not import regex, which takes longer than all of the kata."""
    code = "import sys; from katas.tokenization import pretokenize; print('regex' in sys.modules, *pretokenize('a b'))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "False a  b", done.stderr
