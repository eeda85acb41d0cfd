"""The n-grams of milestone 3, against closed forms and a slow way to the same probabilities."""

import numpy as np
import pytest

from specs.milestones.ngrams import NGram

pytestmark = pytest.mark.timeout(60)


def slow(text: bytes, n: int, context: bytes, byte: int) -> float:
    """p(byte | context), counted from the text again for each context."""
    if n == 0:
        return 1 / 256
    context = context[len(context) - n + 1 :]
    followers = [text[place + len(context)] for place in range(len(text) - n + 1) if text[place:].startswith(context)]
    shorter = slow(text, n - 1, context[1:], byte)
    if not followers:
        return shorter
    kinds = len(set(followers))
    return (followers.count(byte) + kinds * shorter) / (len(followers) + kinds)


def test_a_bigram_of_three_bytes():
    """In "aab" an a and a b follow "a", once each: p(b | a) = (1 + 2 · p(b)) / (2 + 2), and p(c | a) = 2 · p(c) / (2 + 2)."""
    alone = {b"a": (2 + 2 / 256) / 5, b"b": (1 + 2 / 256) / 5, b"c": 2 / 256 / 5}
    for byte, p in alone.items():
        (found,) = NGram(b"aab", 2).probabilities(byte, b"a")
        assert found == pytest.approx(((byte != b"c") + 2 * p) / 4)
        assert NGram(b"aab", 1).bits_per_byte(byte, b"") == pytest.approx(-np.log2(p))
    assert NGram(b"aab", 2).probabilities(b"a", b"c") == pytest.approx(alone[b"a"]), (
        "c never occurred, so the context is skipped"
    )


@pytest.mark.parametrize("n", [1, 2, 3, 5, 7])
def test_the_probabilities_are_those_of_slow_counting(n):
    """Bytes and contexts that occur in the training text and some that don't, from 0 to 255."""
    rng = np.random.default_rng(n)
    text, asked = (
        bytes(rng.choice([0, 97, 98, 255], size=size, p=[0.1, 0.5, 0.3, 0.1]).astype(np.uint8)) for size in (400, 60)
    )
    asked += b"z\x80a"
    before = b"in front" + text[-6:]
    whole = before + asked
    want = [slow(text, n, whole[: len(before) + place], byte) for place, byte in enumerate(asked)]
    assert NGram(text, n).probabilities(asked, before) == pytest.approx(want, rel=1e-12)


@pytest.mark.parametrize("context", [b"the ", b"zzzz", b"\xff\x00e "])
def test_the_probabilities_of_all_bytes_sum_to_one(context):
    """After any context the 256 bytes share a probability of 1."""
    gram = NGram(b"the theme of the theorem", 5)
    every = [gram.probabilities(bytes([byte]), context)[0] for byte in range(256)]
    assert sum(every) == pytest.approx(1)


def test_bytes_are_drawn_with_their_probabilities():
    """At temperature 1/2 a byte is drawn with a probability proportional to p²."""
    gram = NGram(b"aaab", 1)
    found = gram.write(b"", 4000, 0.5, np.random.default_rng(0)).count(b"a") / 4000
    a, b, rest = (3 + 2 / 256) / 6, (1 + 2 / 256) / 6, 2 / 256 / 6
    p = a**2 / (a**2 + b**2 + 254 * rest**2)
    assert found == pytest.approx(p, abs=4 * np.sqrt(p * (1 - p) / 4000))


def test_a_cold_text_is_the_most_probable():
    """Near temperature 0 the most probable byte follows each context, so a repeated text continues."""
    text = b"to be or not to be, that is the question. "
    assert NGram(2 * text, 7).write(text[:9], 15, 0.01, np.random.default_rng(0)) == text[9:24]
