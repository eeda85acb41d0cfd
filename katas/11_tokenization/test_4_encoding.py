import itertools
import random
import string

import pytest
from katas.tokenization import BPETokenizer, pretokenize

from specs import oracles
from specs.check import count_steps, rejects

BYTES = {byte: bytes([byte]) for byte in range(256)}
TEXT = "the cat sat on the mat; the other cat's hat is the best of all the hats, isn't it? naïve Ελλάδα 日本語 " * 4


def made(*merges: tuple[bytes, bytes], special: tuple[str, ...] = ()) -> BPETokenizer:
    """A tokenizer of these merges, with ids 256, 257, … for them."""
    tokens = [left + right for left, right in merges] + [text.encode() for text in special]
    ids = {text: 256 + len(merges) + place for place, text in enumerate(special)}
    return BPETokenizer(BYTES | {256 + place: token for place, token in enumerate(tokens)}, merges, ids)


@pytest.fixture(scope="module")
def tokenizer() -> BPETokenizer:
    return BPETokenizer.train(TEXT, 300, ["<|end|>"])


def test_without_merges_ids_are_bytes():
    """With no merge each byte of the UTF-8 is an id."""
    assert made().encode("aé€") == list("aé€".encode())


def test_a_merge_joins_its_pair():
    """(a, b) is one id wherever a and b are neighbors in a piece."""
    assert made((b"a", b"b")).encode("abcab ab") == [256, 99, 256, 32, 256]


def test_the_pair_that_was_learned_first_is_joined_first():
    """Rank decides, not place: with (b, c) before (a, b), "abc" is a, bc."""
    assert made((b"b", b"c"), (b"a", b"b")).encode("abc") == [97, 256]


def test_the_longest_token_does_not_count():
    """ "abcd" is ab, cd if (a, b) and (c, d) come before (ab, c): a longer token later in the list must wait."""
    tokenizer = made((b"a", b"b"), (b"c", b"d"), (b"ab", b"c"))
    assert tokenizer.encode("abcd") == [256, 257]


def test_rank_is_the_place_in_the_list_not_the_id():
    """ids may have any order: those of GPT-2 do. What counts is the place of a merge in `merges`."""
    vocab = BYTES | {300: b"ab", 256: b"bc"}
    tokenizer = BPETokenizer(vocab, [(b"a", b"b"), (b"b", b"c")], {})
    assert tokenizer.encode("abc") == [300, 99]


def test_bytes_may_have_any_ids():
    """The id of a byte is the vocabulary's, not its value."""
    vocab = {255 - byte: bytes([byte]) for byte in range(256)} | {1000: b"ab"}
    tokenizer = BPETokenizer(vocab, [(b"a", b"b")], {})
    assert tokenizer.encode("abc") == [1000, 255 - 99]
    assert tokenizer.decode([1000, 255 - 99]) == "abc"


@pytest.mark.parametrize(
    ("text", "want"), [("aaa", [256, 97]), ("aaaa", [257]), ("aaaaa", [257, 97]), ("aaaaaaa", [257, 256, 97])]
)
def test_repeats_are_joined_from_the_left(text, want):
    """With (a, a) and (aa, aa), "aaa" is aa, a."""
    assert made((b"a", b"a"), (b"aa", b"aa")).encode(text) == want


def test_merges_do_not_cross_pieces():
    """ "a b" is two pieces, so a merge of a and a blank never happens."""
    assert made((b"a", b" "), (b" ", b"b")).encode("a b") == [97, 257]


@pytest.mark.parametrize("seed", range(8))
def test_ids_are_those_of_doing_every_merge_in_turn(seed):
    """On random words the tokens are those of a slow encoder that does all merges one after another."""
    draw = random.Random(seed)
    text = " ".join("".join(draw.choices("abc", k=draw.randint(1, 12))) for _ in range(60))
    tokenizer = BPETokenizer.train(text, 256 + 30)
    other = "".join(draw.choices("abc", k=60))
    want = [token for piece in pretokenize(other) for token in oracles.tokenization.encoded(piece.encode(), tokenizer.merges)]
    assert [tokenizer.vocab[number] for number in tokenizer.encode(other)] == want


def test_the_trained_text_is_much_shorter(tokenizer):
    """A text like that of training has at most half as many tokens as bytes, and comes back."""
    ids = tokenizer.encode(TEXT)
    assert 2 * len(ids) <= len(TEXT.encode())
    assert tokenizer.decode(ids) == TEXT


def test_ids_are_a_list_of_python_integers(tokenizer):
    """encode returns a list, whose ids are int; of an empty text an empty one."""
    ids = tokenizer.encode("the cat")
    assert isinstance(ids, list)
    assert all(type(number) is int for number in ids)
    assert tokenizer.encode("") == []


def test_encoding_twice_gives_the_same(tokenizer):
    """What is remembered of one call is not spoilt by changes of its result."""
    first = tokenizer.encode(" cat")
    want = list(first)
    first.clear()
    assert tokenizer.encode(" cat") == want


def test_tokenizers_remember_their_own_pieces():
    """Two tokenizers of different merges give the same piece different ids."""
    first, second = made((b"a", b"b")), made((b"b", b"c"))
    assert first.encode("abc") == [256, 99]
    assert second.encode("abc") == [97, 256]


# Special tokens


def test_a_special_token_in_a_text_is_text(tokenizer):
    """By default what looks like a special token is encoded like any other text: a prompt can't forge one."""
    ids = tokenizer.encode("a<|end|>b")
    assert tokenizer.special_tokens["<|end|>"] not in ids
    assert tokenizer.decode(ids) == "a<|end|>b"


def test_with_special_it_is_its_id(tokenizer):
    """special=True: each special token becomes its id, and the text around it is encoded as ever."""
    end = tokenizer.special_tokens["<|end|>"]
    ids = tokenizer.encode("the cat<|end|><|end|> sat", special=True)
    assert ids == [*tokenizer.encode("the cat"), end, end, *tokenizer.encode(" sat")]


@pytest.mark.parametrize(
    ("text", "want"),
    [("<e>", [256]), ("<e>>", [257]), ("<e>>>", [257, 62]), ("<<e>>", [60, 257]), ("<e><e>>", [256, 257]), ("<e", [60, 101])],
)
@pytest.mark.parametrize("order", [("<e>", "<e>>"), ("<e>>", "<e>")], ids=["short first", "long first"])
def test_of_special_tokens_that_begin_alike_the_longest_counts(text, want, order):
    """With "<e>" and "<e>>", "<e>>" is the longer one, in whatever order they were given."""
    tokenizer = BPETokenizer(BYTES | {256: b"<e>", 257: b"<e>>"}, [], {text: 256 + len(text) - 3 for text in order})
    assert tokenizer.encode(text, special=True) == want


@pytest.mark.parametrize("token", ["a.c", "[x]", "(", "\\d", "|", "a|b", "^", "$"])
def test_special_tokens_are_taken_as_they_are(token):
    """Characters that mean something in a pattern mean themselves."""
    tokenizer = made(special=(token,))
    assert tokenizer.encode(f"abc{token}x5", special=True) == [97, 98, 99, 256, 120, 53]


def test_without_special_tokens_special_changes_nothing():
    """An empty list of special tokens does not split the text."""
    assert made((b"a", b"b")).encode("abab", special=True) == [256, 256]


def test_blanks_before_a_special_token_end_a_text(tokenizer):
    """What stands before a special token is encoded as if it ended there."""
    end = tokenizer.special_tokens["<|end|>"]
    assert tokenizer.encode("a   <|end|>", special=True) == [*tokenizer.encode("a   "), end]


# Any bytes


@pytest.mark.parametrize("data", [b"", b"\xff", b"\x80abc", b"a\xe2\x82", b"\xed\xa0\x80", b"caf\xc3 \xa9", bytes(range(256))])
def test_any_bytes_survive(tokenizer, data):
    """decode_bytes(encode_bytes(data)) is data, UTF-8 or not."""
    assert tokenizer.decode_bytes(tokenizer.encode_bytes(data)) == data


def test_random_bytes_survive(tokenizer):
    """Ten thousand random bytes come back."""
    data = random.Random(0).randbytes(10_000)
    assert tokenizer.decode_bytes(tokenizer.encode_bytes(data)) == data


@pytest.mark.parametrize("text", [TEXT, "naïve Ελλάδα 日本語 👩\u200d💻", "a   b\r\n'll"])
def test_the_bytes_of_a_text_have_the_ids_of_the_text(tokenizer, text):
    """encode_bytes of UTF-8 gives what encode gives."""
    assert tokenizer.encode_bytes(text.encode()) == tokenizer.encode(text)


def test_a_lone_surrogate_is_refused(tokenizer):
    """UTF-8 can't hold a lone surrogate: it raises a ValueError whose message contains its position."""
    with rejects(ValueError, "5"):
        tokenizer.encode("the c\ud800at")


# What a tokenizer is made of


def test_a_tokenizer_keeps_copies():
    """Later changes of the vocabulary, the merges or the special tokens that were given change nothing."""
    vocab, merges, special = BYTES | {256: b"ab", 257: b"<e>"}, [(b"a", b"b")], {"<e>": 257}
    tokenizer = BPETokenizer(vocab, merges, special)
    vocab.clear(), merges.clear(), special.clear()
    assert tokenizer.encode("ab<e>", special=True) == [256, 257]
    assert tokenizer.merges == [(b"a", b"b")]


def test_a_merge_that_is_listed_twice_counts_by_its_first_place():
    """With (a, b), (b, c) and (a, b) again, "abc" is ab, c."""
    tokenizer = BPETokenizer(BYTES | {256: b"ab", 257: b"bc"}, [(b"a", b"b"), (b"b", b"c"), (b"a", b"b")])
    assert tokenizer.encode("abc") == [256, 99]


def test_only_merges_join():
    """ab and c make a token, abc, but no merge joins them: it is made of a and bc."""
    assert made((b"a", b"b"), (b"b", b"c"), (b"a", b"bc")).encode("abc") == [256, 99]


def test_the_ids_that_are_returned_are_the_callers():
    """Appending to a result changes no later result."""
    tokenizer = made((b"a", b"b"))
    for encode, text in [(tokenizer.encode, "ab"), (tokenizer.encode_bytes, b"ab")]:
        encode(text).append(7)
        assert encode(text) == [256]


def test_a_special_token_is_not_remembered_as_a_piece():
    """After special=True, the same text with special=False is text."""
    tokenizer = made(special=("<|>",))
    assert tokenizer.encode("<|>", special=True) == [256]
    assert tokenizer.encode("<|>") == list(b"<|>")
    assert tokenizer.encode_bytes(b"<|>") == list(b"<|>")


def test_a_surrogate_that_stands_for_a_byte_is_refused_too():
    """U+DCFF, which encode_bytes may use for the byte 255, is no character: a ValueError with its position."""
    with rejects(ValueError, "1"):
        made().encode("a\udcffb")


def test_bytes_that_are_not_utf8_are_split_like_the_rest():
    """One bad byte changes no other piece: in b"b  c" no merge of b and a blank happens, and in b"b  c\\xff" neither."""
    tokenizer = made((b"b", b" "))
    assert tokenizer.encode_bytes(b"b  c\xff") == list(b"b  c\xff")


def test_the_text_before_a_special_token_ends_there():
    """Two blanks before a special token are one piece, as at the end of a text, so that a merge may join them."""
    tokenizer = made((b" ", b" "), special=("<e>",))
    assert tokenizer.encode("a  <e>", special=True) == [97, 256, 257]


def test_a_long_piece_is_merged_whole():
    """A word of 20,001 letters has every pair joined, wherever it stands."""
    assert made((b"a", b"b")).encode("x" + "ab" * 10_000) == [ord("x")] + [256] * 10_000


# What it costs


@pytest.mark.time
def test_a_long_piece_takes_time_in_proportion(budget):
    """A piece of 2,000 letters takes at most 48 times the CPU time of one of 125: no list is searched for each merge."""
    tokenizer = made((b"a", b"a"), (b"aa", b"aa"))
    ends = itertools.count()

    def encode(length):
        tokenizer.encode("a" * length + "bcdefghijk"[next(ends) % 10] * (next(ends) % 97))  # a piece that was never seen

    budget.time(lambda: encode(2000), lambda: encode(125), limit=48)


@pytest.mark.parametrize("letters", ["a", "ab", string.ascii_lowercase], ids=len)
def test_a_long_piece_takes_steps_in_proportion(letters):
    """A piece twice as long takes at most 2.5 times the Python instructions, even if it is one letter, repeated."""
    tokenizer = BPETokenizer.train((letters * 4 + " ") * 3 + "aa aaaa aaaaaaaa", 266)
    ends = iter(range(100))

    def encode(length):
        tokenizer.encode((letters * length)[:length] + "z" * next(ends))  # a piece that was never seen

    few, many = count_steps(lambda: encode(1000), lambda: encode(2000))
    assert many <= 2.5 * few, f"{few:,} instructions for 1,000 letters, {many:,} for 2,000"


def test_a_piece_that_was_seen_is_looked_up(budget):
    """A word that was seen takes at most 0.4 times the Python instructions of a new one: its ids are remembered."""
    tokenizer, new = BPETokenizer.train("incomprehensibilities " * 4, 276), itertools.product("abcdefghij", repeat=3)

    def seen():
        tokenizer.encode("incomprehensibilities " * 50)

    def unseen():
        tokenizer.encode(" ".join("incomprehensibilities" + "".join(next(new)) for _ in range(50)))

    budget.steps(unseen, seen, limit=0.4)


def test_the_latest_pieces_are_remembered(budget):
    """After 10,000 other words, a word that was seen since takes at most 0.4 times the Python instructions of a new one."""
    tokenizer, new = BPETokenizer.train("incomprehensibilities " * 4, 276), itertools.product("abcdefghij", repeat=3)
    tokenizer.encode(" ".join(map(str, range(10_000))))

    def seen():
        tokenizer.encode("incomprehensibilities " * 50)

    def unseen():
        tokenizer.encode(" ".join("incomprehensibilities" + "".join(next(new)) for _ in range(50)))

    budget.steps(unseen, seen, limit=0.4)


def test_what_is_remembered_is_bounded(budget):
    """Not every piece is remembered: 10,000 different words leave less than 1 MB behind, as CACHED of them do."""
    tokenizer = BPETokenizer.train(TEXT, 290)
    words = map(str, range(10**9))

    def encode():
        tokenizer.encode(" ".join(next(words) for _ in range(10_000)))

    budget.bytes(encode, retained=1_000_000)
