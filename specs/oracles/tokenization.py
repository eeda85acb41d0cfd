"""Byte-pair encoding, slow and obvious: everything is counted anew for each merge, in bytes and without ids."""

from collections import Counter
from itertools import pairwise

import regex

_OWN = [*range(33, 127), *range(161, 173), *range(174, 256)]
_OTHERS = [byte for byte in range(256) if byte not in _OWN]
PRINTABLE = {byte: chr(byte) for byte in _OWN} | {byte: chr(256 + i) for i, byte in enumerate(_OTHERS)}


def pieces(text: str) -> list[str]:
    """GPT-2's pieces, as its authors split a text."""
    return regex.findall(r"""'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+""", text)


def name(token: bytes) -> str:
    """A token as GPT-2's files show it: bytes that can't be printed, and the blank, are the characters from U+0100 on."""
    return "".join(PRINTABLE[byte] for byte in token)


def merges(counts: dict[bytes, int], number: int) -> list[tuple[bytes, bytes]]:
    """The merges learned from pieces and how many times each stands in the text."""
    words = [([bytes([byte]) for byte in piece], count) for piece, count in counts.items()]
    learned = []
    while len(learned) < number:
        pairs = Counter()
        for tokens, count in words:
            for pair in pairwise(tokens):
                pairs[pair] += count
        most = max(pairs.values(), default=0)
        if not most:
            break
        best = max(pair for pair, count in pairs.items() if count == most)
        learned.append(best)
        words = [(joined(tokens, best), count) for tokens, count in words]
    return learned


def joined(tokens: list[bytes], pair: tuple[bytes, bytes]) -> list[bytes]:
    """The tokens with a pair made one, wherever it stands, from the left."""
    result = []
    while tokens:
        size = 2 if tuple(tokens[:2]) == pair else 1
        result.append(b"".join(tokens[:size]))
        tokens = tokens[size:]
    return result


def encoded(piece: bytes, learned: list[tuple[bytes, bytes]]) -> list[bytes]:
    """The tokens of a piece: every merge, in the order in which they were learned."""
    tokens = [bytes([byte]) for byte in piece]
    for pair in learned:
        tokens = joined(tokens, pair)
    return tokens
