import itertools
import random
import tracemalloc

import pytest
from katas.tokenization import BPETokenizer

from specs.check import count_steps

TEXT = "the cat sat on the mat; the other cat's hat is the best of all the hats, isn't it? we'll, they'll, I've \n \n  \r\n" * 4
SPECIAL = ["<|end|>", "<|end|>>", "d|"]
TEXTS = [
    "",
    "a",
    "the cat sat",
    "a   b",
    "  \n\n  x",
    "line\r\nline\r\n",
    "we'll they've 'll isn't '",
    "it'", "'l", "x 'r", "12 345 ",
    "naïve Ελλάδα 日本語",
    "👩\u200d💻 e\u0301",
    "a<|end|>b",
    "<|end|>>",
    "x  <|end",
    "<|end|><|end|>>d|",
    "<|en<|end|>d|>",
]  # fmt: skip


@pytest.fixture(scope="module")
def tokenizer() -> BPETokenizer:
    return BPETokenizer.train(TEXT, 310, SPECIAL)


@pytest.mark.parametrize("special", [False, True])
@pytest.mark.parametrize("text", TEXTS)
def test_wherever_a_text_is_cut_the_ids_are_the_same(tokenizer, text, special):
    """Cut in two at every place, and into single characters, the ids are those of encode: in words, blanks, special tokens."""
    want = tokenizer.encode(text, special)
    for cut in range(len(text) + 1):
        assert list(tokenizer.encode_iterable([text[:cut], text[cut:]], special)) == want, f"cut at {cut}"
    assert list(tokenizer.encode_iterable(text, special)) == want, "cut into characters"


@pytest.mark.parametrize("special", [False, True])
def test_white_space_is_split_as_in_the_whole_text(special):
    """ " \\n" before a word is two pieces, a blank and a line end; at the end of a text it is one, and here no end."""
    tokenizer = BPETokenizer.train("x \n" * 9, 260)
    assert b" \n" in tokenizer.vocab.values()
    assert list(tokenizer.encode_iterable(["x \nab", "c"], special)) == tokenizer.encode("x \nabc")


@pytest.mark.parametrize("special", [False, True])
@pytest.mark.parametrize("seed", range(10))
def test_random_texts_cut_at_random_have_the_same_ids(tokenizer, seed, special):
    """Blanks, quotes, line ends and pieces of special tokens in any order, cut anywhere, some chunks empty."""
    draw = random.Random(seed)
    parts = ["a", "the", " ", "  ", "\n", "\r\n", "'", "'l", "l", "ve", "<|", "end", "|>", ">", "d|", "7", "é", "!"]
    for _ in range(60):
        text = "".join(draw.choices(parts, k=draw.randint(1, 12)))
        cuts = sorted(draw.choices(range(len(text) + 1), k=draw.randint(0, 6)))
        chunks = [text[start:end] for start, end in itertools.pairwise([0, *cuts, len(text)])]
        got = list(tokenizer.encode_iterable(chunks, special))
        assert got == tokenizer.encode(text, special), f"chunks {chunks}"


def test_no_chunks_have_no_ids(tokenizer):
    """An empty iterable, and one of empty strings, give no ids."""
    assert list(tokenizer.encode_iterable([])) == []
    assert list(tokenizer.encode_iterable(["", ""])) == []


def test_ids_come_before_the_text_ends(tokenizer):
    """The first ids are there after a few chunks of an endless text."""
    endless = itertools.cycle(["the cat ", "sat on ", "the mat; "])
    want = tokenizer.encode("the cat sat on the mat; " * 9)
    assert list(itertools.islice(tokenizer.encode_iterable(endless), 20)) == want[:20]


def test_nothing_is_read_before_an_id_is_asked_for(tokenizer):
    """encode_iterable is lazy: chunks are taken as ids are."""
    taken = []
    ids = tokenizer.encode_iterable(taken.append(number) or "the cat sat. " for number in range(100))
    assert taken == []
    next(ids)
    assert len(taken) < 10


def test_two_streams_at_once_do_not_mix(tokenizer):
    """Each stream holds the rest of its own."""
    first, second = tokenizer.encode_iterable(["th", "e cat"]), tokenizer.encode_iterable(["m", "at on"])
    mixed = list(itertools.chain.from_iterable(itertools.zip_longest(first, second)))
    assert [number for number in mixed[::2] if number is not None] == tokenizer.encode("the cat")
    assert [number for number in mixed[1::2] if number is not None] == tokenizer.encode("mat on")


def test_a_long_piece_is_one_piece_in_a_stream_too():
    """A word of 20,001 letters in short chunks has every pair joined, wherever it stands."""
    tokenizer = BPETokenizer.train("ab ab", 257)
    text = "x" + "ab" * 10_000
    chunks = [text[start : start + 7] for start in range(0, len(text), 7)]
    assert list(tokenizer.encode_iterable(chunks)) == [ord("x")] + [256] * 10_000


def new_words(size: int):
    """Chunks of ever-new words, `size` characters in all."""
    return (f" {number:020}" for number in range(size // 21))


@pytest.mark.parametrize(("special", "size"), [(False, 300_000), (True, 200_000)])
def test_memory_does_not_grow_with_the_text(tokenizer, special, size):
    """300 kB of ever-new words take at most 1.2 times the peak memory of 30 kB: neither the text nor its ids are gathered."""
    peaks = []
    for length in (30_000, size):
        fresh = BPETokenizer(tokenizer.vocab, tokenizer.merges, tokenizer.special_tokens)
        tracemalloc.start()
        for _ in fresh.encode_iterable(new_words(length), special):
            pass
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    few, many = peaks
    assert many <= 1.2 * few, f"the peak is {few:,} bytes for 30 kB, {many:,} for {size // 1000} kB"


def test_a_long_piece_in_short_chunks_takes_steps_in_proportion(tokenizer):
    """A word twice as long, that comes in single letters, takes at most 2.5 times the Python instructions."""
    lengths = iter(range(100))

    def encode(length):
        for _ in tokenizer.encode_iterable("ab" * (length // 2) + "c" * next(lengths)):
            pass

    few, many = count_steps(lambda: encode(1000), lambda: encode(2000))
    assert many <= 2.5 * few, f"{few:,} instructions for 1,000 letters, {many:,} for 2,000"


@pytest.mark.time
@pytest.mark.parametrize("special", [False, True])
def test_a_long_piece_is_not_searched_after_each_chunk(tokenizer, budget, special):
    """A word of 4,000 letters that comes letter by letter takes at most 20 times the CPU time of the same in one chunk."""
    ends = itertools.count()

    def encode(cut):
        word = "ab" * 2000 + "cdefghijk"[next(ends) % 9] * (next(ends) % 97)  # which was never seen
        for _ in tokenizer.encode_iterable(word if cut else [word], special):
            pass

    budget.time(lambda: encode(True), lambda: encode(False), limit=20)
