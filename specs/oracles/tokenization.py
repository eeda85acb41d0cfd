"""Byte-pair encoding, slow and obvious: everything is counted anew for each merge, in bytes and without ids."""

from collections import Counter
from itertools import pairwise


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
