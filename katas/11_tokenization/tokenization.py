"""Tokenization: text as numbers, by characters and by byte-pair encoding (BPE) of bytes, which loses nothing."""

import codecs
import functools
import heapq
import json
import os
import re
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, pairwise
from pathlib import Path

CACHED = 1024  # given: how many pieces a tokenizer remembers with their ids

# 11.1 Characters


class CharTokenizer:
    """One id for each character of a text, in the order of their code points."""

    def __init__(self, text: str):
        """Knows the characters of this text, and no others."""
        raise NotImplementedError("11.1 CharTokenizer.__init__: README.md, 11.1")

    @property
    def vocab_size(self) -> int:
        """The number of ids."""
        raise NotImplementedError("11.1 CharTokenizer.vocab_size: README.md, 11.1")

    def encode(self, text: str) -> list[int]:
        """The id of each character. Raises: ValueError that contains the first unknown character and its position."""
        raise NotImplementedError("11.1 CharTokenizer.encode: README.md, 11.1")

    def decode(self, ids: Iterable[int]) -> str:
        """The text of these ids. Raises: ValueError that contains an id that does not exist."""
        raise NotImplementedError("11.1 CharTokenizer.decode: README.md, 11.1")


# 11.2 Pieces

# given: GPT-2's split (Radford et al., 2019): contractions; words, numbers and signs, with a blank before them; blanks
PATTERN = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"


def pretokenize(text: str) -> Iterator[str]:
    """The pieces that no merge crosses, one by one, as PATTERN finds them from the left. Joined they are the text."""
    raise NotImplementedError("11.2 pretokenize: README.md, 11.2")


# 11.3 Training


def learn_merges(counts: Mapping[bytes, int], number: int) -> list[tuple[bytes, bytes]]:
    """Up to `number` merges, in the order in which they are learned (Sennrich, Haddow and Birch, 2016, section 3.2).

    counts: how many times each piece stands in the text. A merge joins the most frequent pair of neighbors, wherever it
    stands; of equally frequent pairs the greatest, compared as (bytes, bytes). Overlapping pairs count.
    """
    raise NotImplementedError("11.3 learn_merges: README.md, 11.3")


class BPETokenizer:
    """Byte-level BPE: each id is a string of bytes, so that any text, and any bytes, can be encoded.

    `vocab` is {id: bytes}, `merges` is [(bytes, bytes)] in the order of their ranks, `special_tokens` is {text: id}.
    """

    def __init__(
        self, vocab: Mapping[int, bytes], merges: Sequence[tuple[bytes, bytes]], special_tokens: Mapping[str, int] | None = None
    ):
        """vocab holds the bytes, the parts and results of the merges, and the special tokens, in UTF-8, under their ids.

        Raises: ValueError that contains what it lacks, or what else it holds.
        """
        raise NotImplementedError("11.3 BPETokenizer.__init__: README.md, 11.3")

    @property
    def vocab_size(self) -> int:
        """The number of ids."""
        raise NotImplementedError("11.3 BPETokenizer.vocab_size: README.md, 11.3")

    @classmethod
    def train(cls, texts: str | Iterable[str], vocab_size: int, special_tokens: Sequence[str] = ()) -> "BPETokenizer":
        """A tokenizer of one text, or of several, of which one is held at a time. No merge crosses them, nor a special token.

        Ids: the 256 bytes, the merges in order, the special tokens.
        Raises: ValueError if vocab_size is less than 256 and the special tokens, or if one of these is empty or there twice.
        Warns: UserWarning if no pair is left before there are vocab_size ids.
        """
        raise NotImplementedError("11.3 BPETokenizer.train: README.md, 11.3")

    # 11.4 Encoding

    def encode(self, text: str, special: bool = False) -> list[int]:
        """The ids of a text. With special=True special tokens become theirs; else they are text like any other.

        Raises: ValueError that contains a lone surrogate, which is no character, and its position.
        """
        raise NotImplementedError("11.4 BPETokenizer.encode: README.md, 11.4")

    def encode_bytes(self, data: bytes) -> list[int]:
        """The ids of any bytes: of those that are UTF-8, the ids of the text."""
        raise NotImplementedError("11.4 BPETokenizer.encode_bytes: README.md, 11.4")

    # 11.5 Decoding

    def decode_bytes(self, ids: Iterable[int]) -> bytes:
        """The bytes of these ids. Raises: ValueError that contains an id that does not exist."""
        raise NotImplementedError("11.5 BPETokenizer.decode_bytes: README.md, 11.5")

    def decode(self, ids: Iterable[int]) -> str:
        """The text of these ids; what is not UTF-8 becomes U+FFFD. Raises: ValueError that contains an unknown id."""
        raise NotImplementedError("11.5 BPETokenizer.decode: README.md, 11.5")

    def decode_stream(self, ids: Iterable[int]) -> Iterator[str]:
        """The same text in parts, each as soon as it is certain: never half a character. Raises: as decode."""
        raise NotImplementedError("11.5 BPETokenizer.decode_stream: README.md, 11.5")

    # 11.6 Streams

    def encode_iterable(self, chunks: Iterable[str], special: bool = False) -> Iterator[int]:
        """The ids of the joined chunks, one by one, wherever they are cut. Holds one chunk and one piece, not the text."""
        raise NotImplementedError("11.6 BPETokenizer.encode_iterable: README.md, 11.6")

    # 11.7 Files

    def save(self, folder: str | os.PathLike) -> None:
        """Writes vocab.json, merges.txt and special_tokens_map.json as GPT-2's tools do, each whole or not at all.

        Raises: ValueError that contains a special token that would be written like another entry of the vocabulary.
        """
        raise NotImplementedError("11.7 BPETokenizer.save: README.md, 11.7")

    @classmethod
    def load(cls, folder: str | os.PathLike) -> "BPETokenizer":
        """The tokenizer that this, or another tool for GPT-2's format, wrote into a folder.

        Raises: FileNotFoundError; ValueError that contains the file and the line that is damaged, or does not fit the others.
        """
        raise NotImplementedError("11.7 BPETokenizer.load: README.md, 11.7")


# 11.7 Files


@functools.cache
def bytes_to_unicode() -> dict[int, str]:
    """A printable character for each byte, by GPT-2's rule: its own if it has one, else the next from U+0100 on."""
    raise NotImplementedError("11.7 bytes_to_unicode: README.md, 11.7")
