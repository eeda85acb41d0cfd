import pytest
from katas.tokenization import BPETokenizer

from specs.check import rejects

BYTES = {byte: bytes([byte]) for byte in range(256)}
EURO = "€".encode()  # three bytes


@pytest.fixture
def tokenizer() -> BPETokenizer:
    vocab = BYTES | {256: b"ab", 257: EURO[1:], 258: b"<e>"}
    return BPETokenizer(vocab, [(b"a", b"b"), (EURO[1:2], EURO[2:])], {"<e>": 258})


def test_tokens_are_joined(tokenizer):
    """decode joins the bytes of the ids; a special token is its text."""
    assert tokenizer.decode([256, 99, 258, 32]) == "abc<e> "
    assert tokenizer.decode_bytes([256, 255]) == b"ab\xff"
    assert tokenizer.decode([]) == ""


def test_a_character_may_stand_in_several_tokens(tokenizer):
    """Bytes are joined before they become text: "€" is one byte and a token of two."""
    assert tokenizer.decode([EURO[0], 257, 33]) == "€!"


@pytest.mark.parametrize(
    "data", [b"\xff", b"a\x80b", EURO[:2], EURO[:1] + b"x", b"\xf0\x9f\x92", b"\xc0\xaf", b"\xed\xa0\x80", EURO[:2] + EURO]
)
def test_what_is_no_utf8_becomes_the_replacement_character(tokenizer, data):
    """Invalid UTF-8 becomes U+FFFD, as bytes.decode(errors="replace") has it, and is no error."""
    assert tokenizer.decode(data) == data.decode(errors="replace")


@pytest.mark.parametrize("method", ["decode", "decode_bytes", "decode_stream"])
@pytest.mark.parametrize("number", [259, -1, 10**6])
def test_an_id_that_does_not_exist_is_named(tokenizer, method, number):
    """An id that does not exist raises a ValueError whose message contains it; -1 is not the last one."""
    with rejects(ValueError, str(number)):
        list(getattr(tokenizer, method)([97, number]))


def test_ids_may_come_from_any_iterable(tokenizer):
    """A generator will do, or a NumPy array, as a model's output is."""
    import numpy as np

    assert tokenizer.decode(number for number in (97, 98)) == "ab"
    assert tokenizer.decode(np.array([256, 99])) == "abc"


# Streams


def test_a_stream_gives_text_as_soon_as_it_is_certain(tokenizer):
    """After each id comes what can no longer change: "€" when its last byte is there."""
    arrived = []

    def ids():
        for number in (97, EURO[0], EURO[1], EURO[2], 256):
            yield number
            arrived.append(seen[-1] if seen else "")

    seen = []
    for text in tokenizer.decode_stream(ids()):
        seen.append(text)
    assert seen == ["a", "€", "ab"]
    assert arrived == ["a", "a", "a", "€", "ab"]


def test_what_stands_before_half_a_character_is_certain():
    """A token " a" with the first byte of "€" yields " a" at once."""
    tokenizer = BPETokenizer(BYTES | {256: b" a", 257: b" a\xe2"}, [(b" ", b"a"), (b" a", b"\xe2")])
    assert list(tokenizer.decode_stream([257, 0x82, 0xAC, 98])) == [" a", "€", "b"]


def test_a_bad_byte_holds_nothing_up(tokenizer):
    """After a byte that is no UTF-8 the text goes on as before: the U+FFFD, then each letter at once."""
    assert list(tokenizer.decode_stream([0xFF, 97, 98])) == ["\ufffd", "a", "b"]


def test_a_byte_order_mark_is_text(tokenizer):
    """U+FEFF at the beginning is decoded like any other character."""
    ids = list("\ufeffa".encode())
    assert tokenizer.decode(ids) == "".join(tokenizer.decode_stream(ids)) == "\ufeffa"


def test_a_stream_yields_no_empty_text(tokenizer):
    """While half a character is there nothing is yielded, not "" either."""
    assert list(tokenizer.decode_stream([EURO[0], 257])) == ["€"]
    assert list(tokenizer.decode_stream([])) == []


def test_an_unfinished_character_comes_at_the_end(tokenizer):
    """What is left when the ids end is yielded as U+FFFD."""
    assert list(tokenizer.decode_stream([97, EURO[0], EURO[1]])) == ["a", "\ufffd"]


@pytest.mark.parametrize(
    "data", ["naïve 日本語 👩\u200d💻!".encode(), b"\xff\xe2\x82x\xf0\x9f\x92\x93\x80", b"\xe2\x82" * 3, b"\xf0\x9fa"]
)
def test_a_stream_joined_is_the_text(tokenizer, data):
    """Joined, the parts of a stream are what decode gives, valid UTF-8 or not."""
    assert "".join(tokenizer.decode_stream(data)) == tokenizer.decode(data)


def test_two_streams_at_once_do_not_mix(tokenizer):
    """Each stream has the half character of its own."""
    first, second = tokenizer.decode_stream([*EURO, 97]), tokenizer.decode_stream([*"é".encode(), 98])
    assert [next(first), next(second), next(first), next(second)] == ["€", "é", "a", "b"]


def test_a_stream_holds_nothing(budget, tokenizer):
    """A stream of 100,000 ids allocates next to nothing: what was yielded is gone."""

    def decode():
        for _ in tokenizer.decode_stream(97 for _ in range(100_000)):
            pass

    budget.bytes(decode, peak=50_000)
