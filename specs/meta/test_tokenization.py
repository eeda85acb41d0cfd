"""The reference's tokenizer beside the slow oracle, on texts made to be awkward and on thousands of random ones."""

import os
import random
import tracemalloc
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from specs import oracles
from specs.door import VARIABLE
from specs.meta.judge import apart

pytestmark = pytest.mark.timeout(120)
SAMPLES = 10_000
examples = settings(max_examples=300, derandomize=True, database=None, deadline=None)

few_letters = st.text(alphabet="ab", min_size=1, max_size=12)
pieces = st.one_of(
    few_letters.map(str.encode),  # runs, overlaps and ties
    st.sampled_from(["a", "ab", "aba", "é", "\x00", "ÿ"]).flatmap(
        lambda part: st.integers(1, 8).map(lambda times: (part * times).encode())
    ),
    st.binary(min_size=1, max_size=6),
)
corpora = st.dictionaries(pieces, st.integers(0, 4), max_size=8)


def merges_agree() -> None:
    """learn_merges gives the oracle's merges, in its order."""
    os.environ[VARIABLE] = "reference"
    from katas.tokenization import learn_merges

    @examples
    @given(corpora, st.integers(0, 40))
    def agree(counts, number):
        assert learn_merges(counts, number) == oracles.tokenization.merges(counts, number)

    agree()


def encodings_agree() -> None:
    """encode_bytes gives the oracle's tokens, for pieces that were not trained on too."""
    os.environ[VARIABLE] = "reference"
    from katas.tokenization import BPETokenizer, learn_merges

    @examples
    @given(corpora, few_letters)
    def agree(counts, text):
        merges = learn_merges(counts, 20)
        tokens = dict.fromkeys([*(bytes([byte]) for byte in range(256)), *(left + right for left, right in merges)])
        tokenizer = BPETokenizer(dict(enumerate(tokens)), merges)
        want = oracles.tokenization.encoded(text.encode(), merges)
        assert [tokenizer.vocab[number] for number in tokenizer.encode(text)] == want

    agree()


def trained():
    """The reference's tokenizer of a text in which many kinds of characters meet."""
    os.environ[VARIABLE] = "reference"
    from katas.tokenization import BPETokenizer

    text = "the cat's mat, 12 dogs' 3.14 \n\n\tdéjà vu; Καλημέρα κόσμε; こんにちは世界; 👩‍👩‍👧 " * 3
    return BPETokenizer.train([text], 400, ["<|endoftext|>", "<|end|>"])


CHARACTERS = "a b'slt<|end>of \n\r\t\u00a0é́ßÀκσЖאبไ世한🙂👩\u200d\ufe0f\x00\u2028\U0010ffff"


def texts_come_back() -> None:
    """What is encoded and decoded again is what it was, whole, cut anywhere, and as a stream."""
    tokenizer, rng = trained(), random.Random(0)
    for _ in range(SAMPLES):
        length = rng.randrange(40)
        if rng.random() < 0.5:
            text = "".join(rng.choices(CHARACTERS, k=length))
        else:
            text = "".join(chr(rng.choice([rng.randrange(0xD800), rng.randrange(0xE000, 0x110000)])) for _ in range(length))
        special = rng.random() < 0.5
        ids = tokenizer.encode(text, special)
        assert tokenizer.decode(ids) == text
        assert "".join(tokenizer.decode_stream(ids)) == text
        cuts = [0, *sorted(rng.choices(range(length + 1), k=4)), length]
        assert list(tokenizer.encode_iterable([text[a:b] for a, b in pairwise(cuts)], special)) == ids, (text, cuts)


def bytes_come_back() -> None:
    """Any bytes survive; those that are a text have its ids."""
    tokenizer, rng = trained(), random.Random(0)
    for _ in range(SAMPLES):
        data = rng.randbytes(rng.randrange(40))
        if rng.random() < 0.5:
            data = "".join(rng.choices(CHARACTERS, k=12)).encode()[rng.randrange(3) : rng.randrange(8, 30)]
        ids = tokenizer.encode_bytes(data)
        assert tokenizer.decode_bytes(ids) == data
        assert tokenizer.decode(ids) == "".join(tokenizer.decode_stream(ids)) == data.decode(errors="replace")


def peak(size: int) -> int:
    """The peak memory, in bytes, of encoding so many characters of ever-new words in a stream."""
    tokenizer = trained()
    words = (f" {number}" for number in range(100_000, 100_000 + size // 7))
    tracemalloc.start()
    for _ in tokenizer.encode_iterable(words):
        pass
    return tracemalloc.get_traced_memory()[1]


@pytest.mark.parametrize("check", [merges_agree, encodings_agree, texts_come_back, bytes_come_back])
def test_the_tokenizer_is_right_beyond_its_specs(check):
    """What the oracle learns and encodes, and 10,000 random texts and byte strings that come back."""
    apart(check)


def test_a_stream_of_300_kilobytes_takes_the_memory_of_30():
    """Peak memory grows by a fifth at most."""
    few, many = apart(peak, 30_000), apart(peak, 300_000)
    assert many <= 1.2 * few, f"{few:,} bytes for 30 kB, {many:,} for 300 kB"
