import random
import warnings
from collections import Counter

import pytest
from katas.tokenization import BPETokenizer, learn_merges, pretokenize

from specs import oracles
from specs.check import rejects


def words(number: int, seed: int = 0, alphabet: str = "abcd", longest: int = 8) -> dict[bytes, int]:
    """Different words, and how many times each stands in a text."""
    draw = random.Random(seed)
    counts = {}
    while len(counts) < number:
        counts["".join(draw.choices(alphabet, k=draw.randint(1, longest))).encode()] = draw.randint(1, 9)
    return counts


# The merges


def test_the_most_frequent_pair_is_joined_first():
    """b"ab" 5 times and b"bc" 4 times: (a, b), then (b, c)."""
    assert learn_merges({b"ab": 5, b"bc": 4}, 2) == [(b"a", b"b"), (b"b", b"c")]


def test_a_pair_counts_as_many_times_as_its_piece_stands():
    """One piece that stands ten times outweighs three that stand once."""
    assert learn_merges({b"ax": 1, b"axy": 1, b"axz": 1, b"bq": 10}, 1) == [(b"b", b"q")]


def test_what_was_joined_is_joined_again():
    """A merge makes a token, which has neighbors of its own."""
    assert learn_merges({b"abcd": 3}, 3) == [(b"c", b"d"), (b"b", b"cd"), (b"a", b"bcd")]


def test_counts_follow_the_merges():
    """Once (a, b) is joined, the c behind it is a neighbor of ab and no longer of b."""
    counts = {b"abc": 4, b"ab": 2, b"bc": 1, b"xbc": 4}
    assert learn_merges(counts, 4) == oracles.tokenization.merges(counts, 4)


@pytest.mark.parametrize(
    ("counts", "want"),
    [
        ({b"ab": 1, b"cd": 1}, [(b"c", b"d"), (b"a", b"b")]),
        ({b"xa": 1, b"xb": 1}, [(b"x", b"b"), (b"x", b"a")]),
        ({b"mm": 1, b"-": 1, b"nn": 1}, [(b"n", b"n"), (b"m", b"m")]),
        ({b"mm-nn-": 1}, [(b"n", b"n"), (b"nn", b"-")]),
        ({b" a": 1, b"!a": 1}, [(b"!", b"a"), (b" ", b"a")]),  # printable, a blank would be greater
        ({b"\xffa": 1, b"~a": 1, b"\x7fa": 1}, [(b"\xff", b"a"), (b"\x7f", b"a"), (b"~", b"a")]),
        ({b"\x00a": 1, b"\x20a": 1, b"\xada": 1}, [(b"\xad", b"a"), (b" ", b"a"), (b"\x00", b"a")]),
    ],
)
def test_of_equally_frequent_pairs_the_greatest_is_joined(counts, want):
    """At equal counts the pair wins that is greater as Python compares (bytes, bytes): not the first seen, nor by its look."""
    assert learn_merges(counts, len(want)) == want


def test_a_longer_token_is_greater_than_its_beginning():
    """(ab, c) is greater than (a, z), since b"ab" is greater than b"a"."""
    counts = {b"abc": 2, b"ab": 3, b"az": 2}
    assert learn_merges(counts, 2) == [(b"a", b"b"), (b"ab", b"c")]


def test_overlapping_pairs_count():
    """b"aaa" has the pair (a, a) twice, so that three of them outweigh five of b"xy"."""
    assert learn_merges({b"aaa": 3, b"xy": 5}, 1) == [(b"a", b"a")]


def test_overlapping_pairs_are_joined_from_the_left():
    """b"aaa" becomes (aa, a): the next merge joins these."""
    assert learn_merges({b"aaa": 3}, 2) == [(b"a", b"a"), (b"aa", b"a")]


def test_pieces_have_no_neighbors_in_other_pieces():
    """The last byte of one piece and the first of another are no pair."""
    assert learn_merges({b"ab": 1, b"cd": 1}, 9) == [(b"c", b"d"), (b"a", b"b")]


def test_where_no_pair_is_left_there_are_fewer_merges():
    """Pieces that have each become one token end it."""
    assert learn_merges({b"ab": 2, b"c": 5}, 7) == [(b"a", b"b")]
    assert learn_merges({b"a": 2, b"": 1}, 7) == []
    assert learn_merges({}, 7) == []
    assert learn_merges({b"ab": 1}, 0) == []


@pytest.mark.parametrize("seed", range(12))
def test_merges_are_those_of_counting_everything_again(seed):
    """On words full of ties and repeats the merges are those of a slow trainer that counts all pairs anew each time."""
    counts = words(40, seed, alphabet="ab" if seed % 2 else "abcde", longest=12)
    assert learn_merges(counts, 60) == oracles.tokenization.merges(counts, 60)


def test_the_counts_are_left_alone():
    """learn_merges changes nothing in the counts that it is given."""
    counts = words(30)
    before = dict(counts)
    learn_merges(counts, 20)
    assert counts == before


def test_a_merge_looks_only_at_the_pieces_that_it_changes(budget):
    """Of 1,020 words 20 are frequent. Sixty merges, all of them in these, take few more Python instructions than one."""
    counts = words(1000, alphabet="abcdefgh") | dict.fromkeys(words(20, alphabet="stuvwxyz", longest=12), 10_000)
    budget.steps(lambda: learn_merges(counts, 1), lambda: learn_merges(counts, 60), limit=4)


def test_a_piece_that_stands_nowhere_has_no_pairs():
    """A count of 0 is no pair: nothing is learned from it."""
    assert learn_merges({b"ab": 0}, 3) == []
    assert learn_merges({b"xy": 1, b"abab": 0}, 3) == [(b"x", b"y")]


# The tokenizer

BYTES = {byte: bytes([byte]) for byte in range(256)}


@pytest.mark.parametrize(
    ("vocab", "merges", "special", "named"),
    [
        ({byte: bytes([byte]) for byte in range(255)}, [], {}, repr(b"\xff")),
        (BYTES, [(b"a", b"b")], {}, repr(b"ab")),
        (BYTES | {256: b"abc"}, [(b"ab", b"c")], {}, repr(b"ab")),
        (BYTES, [], {"<e>": 256}, "'<e>'"),
        (BYTES | {256: b"<f>"}, [], {"<e>": 256}, "'<e>'"),
        (BYTES | {256: b"ab", 257: b"cd"}, [(b"a", b"b")], {}, repr(b"cd")),
        (BYTES | {300: b"a"}, [], {}, repr(b"a")),
        (BYTES | {256: b"<e>", 257: b"<f>"}, [], {"<e>": 257, "<f>": 256}, "'<e>'"),
        (BYTES | {256: b""}, [], {"": 256}, "''"),
    ],
    ids=["a byte", "a result", "a part", "no id", "other bytes", "too many", "twice", "exchanged", "empty"],
)
def test_what_does_not_fit_a_vocabulary_is_named(vocab, merges, special, named):
    """A byte, a merge's part or result, a special token that vocab lacks, or any other entry, raises a ValueError with it."""
    with rejects(ValueError, named):
        BPETokenizer(vocab, merges, special)


def test_what_is_given_is_copied():
    """vocab, merges and special_tokens of the tokenizer are equal to what it is given, and not the same objects."""
    given = BYTES | {256: b"ab", 257: b"<e>"}, [(b"a", b"b")], {"<e>": 257}
    tokenizer = BPETokenizer(*given)
    attributes = tokenizer.vocab, tokenizer.merges, tokenizer.special_tokens
    assert attributes == given
    assert not any(own is other for own, other in zip(attributes, given, strict=True))
    assert BPETokenizer(BYTES, []).special_tokens == {}


def test_ids_are_the_bytes_then_the_merges_then_the_special_tokens():
    """256 bytes, the merges in the order in which they are learned, the special tokens in the order given."""
    tokenizer = BPETokenizer.train("abab abab cd", 261, ["<z>", "<a>"])
    assert [tokenizer.vocab[number] for number in range(256)] == [bytes([byte]) for byte in range(256)]
    assert tokenizer.merges[0] == (b"a", b"b")
    assert [tokenizer.vocab[256 + rank] for rank in range(3)] == [left + right for left, right in tokenizer.merges]
    assert tokenizer.special_tokens == {"<z>": 259, "<a>": 260}
    assert (tokenizer.vocab[259], tokenizer.vocab[260]) == (b"<z>", b"<a>")
    assert tokenizer.vocab_size == len(tokenizer.vocab) == 261


def test_merges_are_learned_from_the_pieces_of_the_text():
    """The text is split into pieces, counted as UTF-8: no merge joins a word with what follows it."""
    text = "Größe, größer; it's größer 11 11 11"
    counts = Counter(piece.encode() for piece in pretokenize(text))
    tokenizer = BPETokenizer.train(text, 256 + 12)
    assert tokenizer.merges == oracles.tokenization.merges(counts, 12)


@pytest.mark.parametrize("texts", [["a b", "c d"] * 3, ("a b", "c d") * 3], ids=["list", "tuple"])
def test_texts_are_documents(texts):
    """No merge crosses from one text to the next, and each text counts."""
    tokenizer = BPETokenizer.train(texts, 258)
    assert tokenizer.merges == [(b" ", b"d"), (b" ", b"b")]


def test_documents_end_a_word():
    """ "ab" is no pair of "a" and "b" in two documents."""
    with pytest.warns(UserWarning, match="300"):
        assert BPETokenizer.train(["a", "b", "a", "b"], 300).merges == []


def test_texts_are_taken_one_at_a_time(budget):
    """An iterable of texts is not gathered: twenty texts of 44 kB are held one after the other."""

    def train():
        BPETokenizer.train(("some words " * 4000 for _ in range(20)), 260)

    budget.bytes(train, peak=300_000)


def test_no_merge_crosses_a_special_token():
    """In a text special tokens separate, and their characters are not counted."""
    tokenizer = BPETokenizer.train("x<e>y<e>x<e>y<e>ab", 258, ["<e>"])
    assert tokenizer.merges == [(b"a", b"b")]


def test_special_tokens_are_no_patterns():
    """ "a.b" as a special token is itself, not a followed by anything and b."""
    tokenizer = BPETokenizer.train("axb axb a.b.|", 258, ["a.b"])
    assert tokenizer.merges in ([(b"x", b"b")], [(b"a", b"x")])
    assert tokenizer.merges == [(b"x", b"b")]


def test_where_special_tokens_overlap_the_longest_counts():
    """ "<e" and "<ex": in "<exq" the longer one separates, and no x is left to be joined with q."""
    with pytest.warns(UserWarning, match="300"):
        assert BPETokenizer.train("<exq<exq", 300, ["<e", "<ex"]).merges == []


def test_special_tokens_that_differ_by_a_blank_are_different():
    """ "<a>" and "<a> " are two, and so is a blank: they are taken as they are."""
    assert BPETokenizer.train("xy", 260, ["<a>", "<a> ", " "]).special_tokens == {"<a>": 257, "<a> ": 258, " ": 259}


def test_a_token_may_be_long():
    """Merges go on until one token is the whole piece, however long it is."""
    alphabet = "abcdefghijklmnopqrstuvwxyz"
    assert BPETokenizer.train(alphabet * 4, 256 + 25 + 2).merges[-1] == (alphabet.encode() * 2,) * 2


def test_all_pieces_count_however_rare():
    """3,000 words that stand once each count as much as one that stands 3,000 times."""
    draw = random.Random(0)
    often = [str(draw.randrange(10**5, 10**6)) for _ in range(6000)] * 2
    rare = ["qz" + "".join(draw.choices("abcdefghijklmnop", k=6)) for _ in range(3000)]
    assert BPETokenizer.train([*often, *rare], 257).merges == [(b"q", b"z")]


def test_without_pairs_training_ends_early_and_says_so():
    """Where no pair is left, the vocabulary stays smaller, and a UserWarning contains both sizes, special tokens included."""
    with pytest.warns(UserWarning, match="(?s)(258.*300|300.*258)"):
        tokenizer = BPETokenizer.train("ab ab", 300)
    assert tokenizer.vocab_size == 258
    with pytest.warns(UserWarning, match="(?s)(260.*301|301.*260)"):
        BPETokenizer.train("ab ab", 301, ["<a>", "<b>"])


def test_a_vocabulary_that_is_reached_warns_of_nothing():
    """With as many merges as wanted there is no warning; none are wanted where vocab_size is 256."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert BPETokenizer.train("ab ab", 258).vocab_size == 258
        assert BPETokenizer.train("ab ab", 256).merges == []
        assert BPETokenizer.train("", 257, ["<e>"]).vocab_size == 257


@pytest.mark.parametrize(("size", "special"), [(255, []), (0, []), (257, ["<a>", "<b>"])])
def test_a_vocabulary_without_room_is_refused(size, special):
    """A vocab_size below 256 and the special tokens raises a ValueError whose message contains it."""
    with rejects(ValueError, str(size)):
        BPETokenizer.train("text", size, special)


@pytest.mark.parametrize("special", [["<e>", "<e>"], ["<e>", ""]])
def test_special_tokens_are_different_and_not_empty(special):
    """An empty special token, or one that is listed twice, raises a ValueError whose message contains it."""
    with rejects(ValueError, repr(special[1])):
        BPETokenizer.train("text", 300, special)


def test_training_again_gives_the_same():
    """Training depends on nothing but its arguments: no order of sets, no earlier training."""
    text = "the cat sat on the mat, the bat sat on the rat " * 3
    first, again = BPETokenizer.train(text, 280), BPETokenizer.train(text, 280)
    assert first.merges == again.merges
    assert first.vocab == again.vocab
