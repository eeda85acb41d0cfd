import contextlib
import functools

import pytest
from katas.capstone import TextStream, Token
from katas.tokenization import BPETokenizer

from specs.oracles import serving

TEXT = "she sells sea shells by the sea shore; für Grüße: 日本語 🙂 "


@functools.cache
def tokenizer() -> BPETokenizer:
    """A small one, in which characters beyond ASCII are several tokens, and frequent words one."""
    return BPETokenizer.train("she sells sea shells by the sea shore " * 9, 280)


def streamed(ids, stop=()) -> tuple[list[str], list[list[int]], bool]:
    """The texts and the ids of the tokens that come after each id, with those of the end; and whether it was stopped."""
    stream, texts, tokens = TextStream(tokenizer(), stop), [], []
    for number in ids:
        part = stream.push(Token(number))
        texts.append(part[0])
        tokens.append([token.id for token in part[1]])
        if stream.stopped:
            return texts, tokens, True
    part = stream.flush()
    return [*texts, part[0]], [*tokens, [token.id for token in part[1]]], stream.stopped


def joined(parts: list[list[int]]) -> list[int]:
    return [number for part in parts for number in part]


def bytes_of(text: str) -> list[int]:
    """One id for each byte, so that every character beyond ASCII is several tokens."""
    return [tokenizer().encode_bytes(bytes([byte]))[0] for byte in text.encode()]


def test_the_parts_joined_are_the_text():
    """Without stop strings, all parts joined are what `decode` gives, and every token is returned, in order."""
    ids = tokenizer().encode(TEXT)
    texts, tokens, stopped = streamed(ids)
    assert "".join(texts) == TEXT
    assert joined(tokens) == ids
    assert not stopped


def test_text_comes_at_once():
    """Without stop strings, each token's text comes with it: nothing is held back, and the end adds nothing."""
    ids = tokenizer().encode("she sells sea shells")
    texts, tokens, _ = streamed(ids)
    assert texts == [*(tokenizer().decode([number]) for number in ids), ""]
    assert tokens == [*([number] for number in ids), []]


def test_no_half_characters():
    """A character comes with its last byte, and so do all tokens that it is made of."""
    ids = bytes_of("aü語b")
    texts, tokens, _ = streamed(ids)
    assert texts == ["a", "", "ü", "", "", "語", "b", ""]
    assert tokens == [ids[:1], [], ids[1:3], [], [], ids[3:6], ids[6:], []]


def test_a_token_that_ends_a_character_and_begins_another():
    """Its text is the first character; the token itself waits for the second one."""
    vocab = tokenizer().vocab | {280: b"\x9e\xe6"}  # the end of 語 and the beginning of 日
    joined = BPETokenizer(vocab, [*tokenizer().merges, (b"\x9e", b"\xe6")])
    head, tail = bytes_of("語")[:2], bytes_of("日")[1:]
    stream = TextStream(joined)
    parts = [stream.push(Token(number)) for number in [*head, 280, *tail]]
    assert [text for text, _ in parts] == ["", "", "語", "", "日"]
    assert [len(tokens) for _, tokens in parts] == [0, 0, 2, 0, 3]


def test_bytes_that_are_no_character():
    """Invalid bytes become U+FFFD, as `decode` has them, as soon as they can become nothing else."""
    ids = [bytes_of("ü")[1], *bytes_of("a"), *bytes_of("語")[:2], *bytes_of("b")]
    texts, tokens, _ = streamed(ids)
    assert texts == ["\ufffd", "a", "", "", "\ufffdb", ""]
    assert joined(tokens) == ids


def test_flush_gives_half_a_character():
    """What is left of a character at the end is U+FFFD, and its tokens come with it."""
    ids = bytes_of("a🙂")[:4]
    texts, tokens, _ = streamed(ids)
    assert texts == ["a", "", "", "", "\ufffd"]
    assert tokens[-1] == ids[1:]


def test_flush_gives_the_rest_once():
    """A second flush() has nothing more to return."""
    stream = TextStream(tokenizer())
    for number in bytes_of("🙂")[:2]:
        stream.push(Token(number))
    assert stream.flush()[0] == "\ufffd"
    assert stream.flush() == ("", ())


def test_the_text_ends_before_a_stop_string():
    """Neither the stop string nor what follows it is returned, however the tokens lie."""
    for ids in (tokenizer().encode("she sells sea shells"), bytes_of("she sells sea shells")):
        texts, _, stopped = streamed(ids, [" sea"])
        assert stopped
        assert "".join(texts) == "she sells"


def test_a_stop_string_across_tokens_is_never_sent_in_part():
    """'abc' comes in three tokens: nothing of it is returned. Text that only looked like it comes when that is certain."""
    texts, tokens, stopped = streamed(bytes_of("xabxabab") + bytes_of("c"), ["abc"])
    assert texts == ["x", "", "", "abx", "", "", "ab", "", ""]
    assert stopped
    assert joined(tokens) == bytes_of("xabxab")


def test_no_more_is_held_back_than_may_become_a_stop_string():
    """Of 'aab', with the stop string 'aaac', 'aa' is held back after two letters. A third 'a' lets the first go, 'b' all."""
    assert streamed(bytes_of("aa"), ["aac"])[0] == ["", "", "aa"]
    assert streamed(bytes_of("aaab"), ["aac"])[0] == ["", "", "a", "aab", ""]


def test_flush_gives_what_was_held_back():
    """At the end, the beginning of a stop string is text like any other."""
    texts, tokens, stopped = streamed(bytes_of("xab"), ["abc"])
    assert texts == ["x", "", "", "ab"]
    assert tokens == [bytes_of("x"), [], [], bytes_of("ab")]
    assert not stopped


def test_tokens_that_reach_into_a_stop_string_are_not_returned():
    """A token with text before the stop string and its first letter would show that letter: its text comes, it doesn't."""
    (number,) = tokenizer().encode(" se")
    texts, tokens, stopped = streamed([*bytes_of("x"), number, *bytes_of("lx")], ["elx"])
    assert "".join(texts) == "x s"
    assert joined(tokens) == bytes_of("x")
    assert stopped


def test_bytes_of_a_stop_string_are_not_returned():
    """Where a stop string is one character of three tokens, none of them is returned, not even while it is half."""
    texts, tokens, stopped = streamed(bytes_of("a語b"), ["語"])
    assert "".join(texts) == "a"
    assert joined(tokens) == bytes_of("a")
    assert stopped


def test_the_stop_string_that_is_complete_first_counts():
    """In 'abcd', 'c' is complete before 'bcd', and 'bcd' and 'cd' at once: of these the longer counts."""
    for ids in (bytes_of("abcd"), tokenizer().encode("abcd")):
        assert "".join(streamed(ids, ["bcd", "c"])[0]) == "ab"
        assert "".join(streamed(ids, ["cd", "bcd"])[0]) == "a"


def test_a_stop_string_within_one_token():
    """One token may hold text, a whole stop string and more."""
    (number,) = tokenizer().encode(" sells")
    texts, tokens, stopped = streamed([*bytes_of("x"), number], ["ll"])
    assert texts == ["x", " se"]
    assert tokens == [bytes_of("x"), []]
    assert stopped


def test_the_first_of_two_stop_strings_in_one_token():
    """With 's' and 'e', the text of ' sells' ends before its first s."""
    (number,) = tokenizer().encode(" sells")
    assert streamed([number], ["l", "e"])[0] == [" s"]


def test_a_stop_string_within_another_in_one_token():
    """With 'ells' and 'el', the text of ' sells' ends before the one that is complete first, though the other begins earlier or
    as early.
    """
    (number,) = tokenizer().encode(" sells")
    assert streamed([number], ["sells", "ll"])[0] == [" se"]
    assert streamed([number], ["ells", "el"])[0] == [" s"]


def test_half_a_character_at_the_end_may_be_a_stop_string():
    """U+FFFD of flush() is text: it may complete a stop string."""
    texts, _, stopped = streamed(bytes_of("ab語")[:3], ["b\ufffd"])
    assert "".join(texts) == "a"
    assert stopped


def test_after_a_stop_string_nothing_comes():
    """Neither push() nor flush() returns anything more."""
    stream = TextStream(tokenizer(), ["b"])
    for number in bytes_of("ab"):
        stream.push(Token(number))
    assert stream.stopped
    assert [stream.push(Token(number)) for number in bytes_of("cab")] == [("", ())] * 3
    assert stream.flush() == ("", ())
    assert stream.stopped


def test_half_a_character_after_a_stop_string():
    """Where it is in one token with the stop string, it does not come either."""
    words = BPETokenizer.train("b語b車b花b親", 257)
    (number,) = (number for number, token in words.vocab.items() if token == "b語".encode()[:2])
    stream = TextStream(words, ["b"])
    assert stream.push(Token(number)) == ("", ())
    assert stream.stopped
    assert stream.flush() == ("", ())


def test_what_was_held_back_comes_before_another_stop_string():
    """'xy' may become 'xyz': it comes, with its tokens, when 'q' ends the text."""
    texts, tokens, stopped = streamed(bytes_of("xyq"), ["xyz", "q"])
    assert texts == ["", "", "xy"]
    assert tokens == [[], [], bytes_of("xy")]
    assert stopped


def test_stop_strings_are_those_of_the_beginning():
    """A list that is changed afterwards changes nothing."""
    stops = ["b"]
    stream = TextStream(tokenizer(), stops)
    stops.clear()
    assert [stream.push(Token(number))[0] for number in bytes_of("ab")] == ["a", ""]
    assert stream.stopped


def test_two_streams_at_a_time():
    """What one holds back stays there while others begin."""
    (letter,) = bytes_of("a")
    first = TextStream(tokenizer(), ["ab"])
    assert first.push(Token(letter)) == ("", ())
    second = TextStream(stop=["b"], texts={letter: "a"}, tokenizer=tokenizer())
    assert second.push(Token(letter)) == ("a", (Token(letter),))
    assert first.flush() == ("a", (Token(letter),))


def test_tokens_come_as_they_were_given():
    """A Token is returned itself, with its logprob and top."""
    stream, token = TextStream(tokenizer()), Token(*bytes_of("a"), -0.5, ((97, -0.5),))
    assert stream.push(token) == ("a", (token,))


@pytest.mark.parametrize("stop", [(), ["le"], ["ü", "sea"], ["\ufffd"], ["語日", "sh"]], ids=str)
def test_a_table_changes_nothing(stop):
    """With a table of all tokens that are whole characters, each push gives what it gives without: half characters, invalid
    bytes and the character U+FFFD itself included.
    """
    whole = {}
    for number, token in tokenizer().vocab.items():
        with contextlib.suppress(UnicodeDecodeError):
            whole[number] = token.decode()
    broken = [bytes_of("ü")[1], *bytes_of("語")[:2], *bytes_of("le"), bytes_of("🙂")[0]]
    for ids in (
        tokenizer().encode(TEXT),
        bytes_of(TEXT),
        [*bytes_of("a\ufffdb語日"), *broken],
        [*broken, *bytes_of("she sells")],
    ):
        plain, quick = TextStream(tokenizer(), stop), TextStream(tokenizer(), stop, whole)
        for number in ids:
            assert quick.push(Token(number)) == plain.push(Token(number))
            assert quick.stopped == plain.stopped
        assert quick.flush() == plain.flush()


@pytest.mark.parametrize("seed", range(12))
def test_any_text_with_any_stop_strings(draw, seed):
    """Random texts of few letters and random stop strings, against a search in the whole text."""
    letters = "abü語"
    text = "".join(letters[number] for number in draw.integers(4, 40))
    lengths = 1 + draw.integers(4, 3)
    stops = ["".join(letters[number] for number in draw.integers(4, int(length))) for length in lengths]
    stops = [stop for stop in stops if len(stop) > 1] or ["aba"]
    texts, tokens, stopped = streamed(bytes_of(text), stops)
    assert ("".join(texts), stopped) == serving.until_stop(text, stops)
    sent = tokenizer().decode_bytes(joined(tokens))
    assert sent == "".join(texts).encode()  # a token is one byte here
    for number in range(1, len(texts)):  # what was sent was certain: no stop string could reach into it any more
        before = "".join(texts[:number])
        held = tokenizer().decode_bytes(bytes_of(text)[:number]).decode(errors="ignore")[len(before) :]
        longest = max((k for stop in stops for k in range(len(stop)) if (before + held).endswith(stop[:k])), default=0)
        assert len(held) <= longest or number == len(texts) - 1
