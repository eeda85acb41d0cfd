"""Tokenization: text as numbers, by characters and by byte-pair encoding (BPE) of bytes, which loses nothing."""

import bisect
import codecs
import functools
import heapq
import io
import json
import operator
import os
import re
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, count, pairwise
from pathlib import Path

CACHED = 1024  # given: how many pieces a tokenizer remembers with their ids

# 11.1 Characters


class CharTokenizer:
    """One id for each character of a text, in the order of their code points."""

    def __init__(self, text: str):
        """Knows the characters of this text, and no others."""
        self._characters = "".join(sorted(set(text)))
        self._table = dict(zip(self._characters, range(len(self._characters)), strict=False))

    @property
    def vocab_size(self) -> int:
        """The number of ids."""
        return len(self._characters)

    def encode(self, text: str) -> list[int]:
        """The id of each character. Raises: ValueError that contains the first unknown character and its position."""
        ids = list(map(self._table.get, text))
        if None in ids:
            at = ids.index(None)
            raise ValueError(f"unknown character {text[at]!r} at position {at}")
        return ids

    def decode(self, ids: Iterable[int]) -> str:
        """The text of these ids. Raises: ValueError that contains an id that does not exist."""

        def character(i: int) -> str:
            if not 0 <= i < len(self._characters):
                raise ValueError(f"there is no id {i}: ids are 0 to {self.vocab_size - 1}")
            return self._characters[i]

        return "".join(map(character, ids))


# 11.2 Pieces

# given: GPT-2's split (Radford et al., 2019): contractions; words, numbers and signs, with a blank before them; blanks
PATTERN = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"


def pretokenize(text: str) -> Iterator[str]:
    """The pieces that no merge crosses, one by one, as PATTERN finds them from the left. Joined they are the text."""
    import regex

    return map(operator.itemgetter(0), regex.finditer(PATTERN, text))


# 11.3 Training

_BYTES = [bytes([byte]) for byte in range(256)]


@functools.lru_cache(1 << 14)
def _descending(token: bytes) -> tuple[int, ...]:
    """A key that puts the greatest token first: 256 at the end is greater than any byte, so a token precedes its start."""
    return *(255 - byte for byte in token), 256


def _joined(tokens: Iterable[bytes], pair: tuple[bytes, bytes]) -> list[bytes]:
    left, right = pair
    out: list[bytes] = []
    for token in tokens:
        if token == right and out and out[-1] == left:
            out[-1] = left + right
        else:
            out.append(token)
    return out


def learn_merges(counts: Mapping[bytes, int], number: int) -> list[tuple[bytes, bytes]]:
    """Up to `number` merges, in the order in which they are learned (Sennrich, Haddow and Birch, 2016, section 3.2).

    counts: how many times each piece stands in the text. A merge joins the most frequent pair of neighbors, wherever it
    stands; of equally frequent pairs the greatest, compared as (bytes, bytes). Overlapping pairs count.
    """
    pieces = [(list(map(_BYTES.__getitem__, piece)), times) for piece, times in counts.items() if times > 0 and len(piece) > 1]
    frequency: Counter[tuple[bytes, bytes]] = Counter()
    stands_in: defaultdict[tuple[bytes, bytes], set[int]] = defaultdict(set)
    for index, (tokens, times) in enumerate(pieces):
        for pair in pairwise(tokens):
            frequency[pair] += times
            stands_in[pair].add(index)
    heap = [(-times, *map(_descending, pair), pair) for pair, times in frequency.items()]
    heapq.heapify(heap)
    merges: list[tuple[bytes, bytes]] = []
    while heap and len(merges) < number:
        negative, *_, best = heap[0]
        if frequency[best] != -negative:  # an entry of before: another was pushed when the count changed
            heapq.heappop(heap)
            continue
        merges.append(best)
        change: Counter[tuple[bytes, bytes]] = Counter()
        for index in tuple(stands_in[best]):
            old, times = pieces[index]
            new = _joined(old, best)
            pieces[index] = new, times
            for pair in pairwise(old):
                change[pair] -= times
                stands_in[pair].discard(index)
            for pair in pairwise(new):
                change[pair] += times
                stands_in[pair].add(index)
        for pair, difference in change.items():
            if difference:
                frequency[pair] += difference
                if frequency[pair]:
                    heapq.heappush(heap, (-frequency[pair], *map(_descending, pair), pair))
                else:
                    del frequency[pair], stands_in[pair]
    return merges


def _special_pattern(names: Iterable[str]) -> re.Pattern[str]:
    """Finds the special tokens, of several that begin at one place the longest; without any it finds nothing."""
    return re.compile(f"({'|'.join(map(re.escape, sorted(names, key=len, reverse=True))) or '(?!)'})")


def _refuse_surrogates(text: str, offset: int = 0) -> None:
    if found := re.search("[\ud800-\udfff]", text):
        raise ValueError(f"lone surrogate {found[0]!r} at position {offset + found.start()}")


def _may_grow(end: str, names: Sequence[str]) -> bool:
    """Whether one of the names, which are sorted, begins with `end` and goes on: it would be the one that follows it."""
    after = bisect.bisect(names, end)
    return after < len(names) and names[after].startswith(end)


def _without_surrogates(chunks: Iterable[str]) -> Iterator[str]:
    read = 0
    for chunk in chunks:
        _refuse_surrogates(chunk, read)
        read += len(chunk)
        yield chunk


def _pieces_of(parts: Iterable[str | int]) -> Iterator[str | int]:
    """The pieces of a text that comes in parts, wherever they are cut. An int ends a text, and is handed on."""
    import regex

    one_kind = regex.compile(r"\s+|\p{L}+|\p{N}+|[^\s\p{L}\p{N}]+")
    pieces = regex.compile(PATTERN)
    held, last = io.StringIO(), ""
    for part in parts:
        if isinstance(part, int):
            yield from pretokenize(held.getvalue())
            yield part
            held, last = io.StringIO(), ""
        elif last and one_kind.fullmatch(last + part):  # the last piece goes on: nothing new is certain, nothing is searched
            held.write(part)
        elif part:
            held.write(part)
            text = held.getvalue()
            kept = 0
            for found in pieces.finditer(text):
                if found.end() == len(text) or found.start() >= len(text) - 2:
                    break
                kept = found.end()
                yield found[0]
            held, last = io.StringIO(), text[-1]
            held.write(text[kept:])
    yield from pretokenize(held.getvalue())


class BPETokenizer:
    """Byte-level BPE: each id is a string of bytes, so that any text, and any bytes, can be encoded.

    `vocab` is {id: bytes}, `merges` is [(bytes, bytes)] in the order of their ranks, `special_tokens` is {text: id}.
    """

    @classmethod
    def train(cls, texts: str | Iterable[str], vocab_size: int, special_tokens: Sequence[str] = ()) -> "BPETokenizer":
        """A tokenizer of one text, or of several, of which one is held at a time. No merge crosses them, nor a special token.

        Ids: the 256 bytes, the merges in order, the special tokens.
        Raises: ValueError if vocab_size is less than 256 and the special tokens, or if one of these is empty or there twice.
        Warns: UserWarning if no pair is left before there are vocab_size ids.
        """
        names = list(special_tokens)
        for place, name in enumerate(names):
            if not name or name in names[:place]:
                raise ValueError(f"special token {name!r} is {'there twice' if name else 'empty'}")
        least = 256 + len(names)
        if vocab_size < least:
            raise ValueError(f"vocab_size is {vocab_size}, but the bytes and the special tokens are {least}")
        counts: Counter[str] = Counter()
        pattern = _special_pattern(names)
        for text in (texts,) if isinstance(texts, str) else texts:
            for part in pattern.split(text)[::2]:
                counts.update(pretokenize(part))
        merges = learn_merges({piece.encode(): times for piece, times in counts.items()}, vocab_size - least)
        entries = [*_BYTES, *map(b"".join, merges), *(name.encode() for name in names)]
        if len(entries) < vocab_size:
            warnings.warn(
                f"no pair is left: the vocabulary has {len(entries)} ids, not {vocab_size}", UserWarning, stacklevel=2
            )
        return cls(dict(enumerate(entries)), merges, {name: len(entries) - len(names) + i for i, name in enumerate(names)})

    # 11.4 Encoding

    def __init__(
        self, vocab: Mapping[int, bytes], merges: Sequence[tuple[bytes, bytes]], special_tokens: Mapping[str, int] | None = None
    ):
        """Raises: ValueError that contains a byte, a part or a result of a merge, or a special token that vocab lacks."""
        self.vocab = dict(vocab)
        self.merges = list(map(tuple, merges))
        self.special_tokens = dict(special_tokens or {})
        for name, i in self.special_tokens.items():
            if name == "":
                raise ValueError(f"an empty special token: {name!r}")
            if self.vocab.get(i) != name.encode():
                raise ValueError(f"special token {name!r} has id {i}, which is {self.vocab.get(i)!r} in the vocabulary")
        own = set(self.special_tokens.values())
        # special tokens first, and of equal entries the first last, so that ordinary text never gets the id of a special token
        self._ids = {self.vocab[i]: i for i in sorted(self.vocab, key=lambda i: (i in own, i), reverse=True)}
        for byte in _BYTES:
            if byte not in self._ids:
                raise ValueError(f"the vocabulary lacks the byte {byte!r}")
        self._ranks: dict[tuple[bytes, bytes], int] = {}
        for rank, (left, right) in enumerate(self.merges):
            for token in (left, right, left + right):
                if token not in self._ids:
                    raise ValueError(f"the vocabulary lacks {token!r} of the merge {(left, right)!r}")
            self._ranks.setdefault((left, right), rank)
        made = {*_BYTES, *map(b"".join, self._ranks)}
        seen = set()
        for i, token in self.vocab.items():
            if i not in own and token in seen:
                raise ValueError(f"the vocabulary has {token!r} twice")
            seen.add(token if i not in own else None)
            if i not in own and token not in made:
                raise ValueError(f"the vocabulary has {token!r} as id {i}, which nothing makes")
        self._specials = _special_pattern(self.special_tokens)
        self._remembered = functools.lru_cache(CACHED)(self._merged)

    @property
    def vocab_size(self) -> int:
        """The number of ids."""
        return len(self.vocab)

    def encode(self, text: str, special: bool = False) -> list[int]:
        """The ids of a text. With special=True special tokens become theirs; else they are text like any other.

        Raises: ValueError that contains a lone surrogate, which is no character, and its position.
        """
        _refuse_surrogates(text)
        parts = self._specials.split(text) if special else [text]
        ids: list[int] = []
        for index, part in enumerate(parts):
            if index % 2:
                ids.append(self.special_tokens[part])
            else:
                ids.extend(chain.from_iterable(map(self._remembered, pretokenize(part))))
        return ids

    def encode_bytes(self, data: bytes) -> list[int]:
        """The ids of any bytes: of those that are UTF-8, the ids of the text."""
        text = data.decode(errors="surrogateescape")
        return list(chain.from_iterable(map(self._remembered, pretokenize(text))))

    def _merged(self, piece: str) -> tuple[int, ...]:
        """The ids of one piece. A token is a span: `end` of the one that begins here, `start` the reverse."""
        data = piece.encode(errors="surrogateescape")
        size = len(data)
        end, start = list(range(1, size + 1)), list(range(-1, size))
        ranks = self._ranks
        heap = [
            (rank, at, at + 1, at + 2)
            for at, pair in enumerate(pairwise(map(_BYTES.__getitem__, data)))
            if (rank := ranks.get(pair)) is not None
        ]
        heapq.heapify(heap)
        while heap:
            _, a, b, c = heapq.heappop(heap)
            if end[a] != b or end[b] != c:  # one of the two has been joined with another
                continue
            end[a], start[c], end[b] = c, a, -1
            if a and (rank := ranks.get((data[start[a] : a], data[a:c]))) is not None:
                heapq.heappush(heap, (rank, start[a], a, c))
            if c < size and (rank := ranks.get((data[a:c], data[c : end[c]]))) is not None:
                heapq.heappush(heap, (rank, a, c, end[c]))
        ids, at = [], 0
        while at < size:
            ids.append(self._ids[data[at : end[at]]])
            at = end[at]
        return tuple(ids)

    # 11.5 Decoding

    def _token(self, i: int) -> bytes:
        try:
            return self.vocab[i]
        except KeyError:
            raise ValueError(f"the vocabulary has no id {i}") from None

    def decode_bytes(self, ids: Iterable[int]) -> bytes:
        """The bytes of these ids. Raises: ValueError that contains an id that does not exist."""
        return b"".join(map(self._token, ids))

    def decode(self, ids: Iterable[int]) -> str:
        """The text of these ids; what is not UTF-8 becomes U+FFFD. Raises: ValueError that contains an unknown id."""
        return str(self.decode_bytes(ids), "utf-8", "replace")

    def decode_stream(self, ids: Iterable[int]) -> Iterator[str]:
        """The same text in parts, each as soon as it is certain: never half a character. Raises: as decode."""
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        for token in map(self._token, ids):
            if text := decoder.decode(token):
                yield text
        if text := decoder.decode(b"", final=True):
            yield text

    # 11.6 Streams

    def encode_iterable(self, chunks: Iterable[str], special: bool = False) -> Iterator[int]:
        """The ids of the joined chunks, one by one, wherever they are cut. Holds one chunk and one piece, not the text."""
        parts = _without_surrogates(chunks)
        for piece in _pieces_of(self._separated(parts) if special else parts):
            if isinstance(piece, int):
                yield piece
            else:
                yield from self._remembered(piece)

    def _separated(self, chunks: Iterable[str]) -> Iterator[str | int]:
        """The chunks cut at special tokens, which become their ids; holds back an end that may become one."""
        names = sorted(self.special_tokens)
        reach = max(map(len, names), default=1) - 1
        held = ""
        for chunk in chunks:
            text, at = held + chunk, 0
            while True:
                found = self._specials.search(text, at)
                sure = next((p for p in range(max(at, len(text) - reach), len(text)) if _may_grow(text[p:], names)), len(text))
                if found is None or found.start() >= sure:
                    break
                yield text[at : found.start()]
                yield self.special_tokens[found[0]]
                at = found.end()
            yield text[at:sure]
            held = text[sure:]
        for index, part in enumerate(self._specials.split(held)):
            yield self.special_tokens[part] if index % 2 else part

    # 11.7 Files

    def save(self, folder: str | os.PathLike) -> None:
        """Writes vocab.json, merges.txt and special_tokens_map.json as GPT-2's tools do, each whole or not at all.

        Raises: ValueError that contains a special token that would be written like another entry of the vocabulary.
        """
        names = {i: name for name, i in self.special_tokens.items()}
        written: dict[str, int] = {}
        for i in sorted(self.vocab, key=lambda i: (i in names, i)):
            key = names[i] if i in names else _shown(self.vocab[i])
            if key in written:
                raise ValueError(f"{key!r}, id {i}, would be written like the entry of id {written[key]}")
            written[key] = i
        lines = ["#version: 0.2", *(f"{_shown(left)} {_shown(right)}" for left, right in self.merges)]
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        vocab = dict(sorted(written.items(), key=operator.itemgetter(1)))
        _write(folder / "vocab.json", json.dumps(vocab, ensure_ascii=False) + "\n")
        _write(folder / "merges.txt", "\n".join(lines) + "\n")
        specials = {"additional_special_tokens": list(self.special_tokens)}
        _write(folder / "special_tokens_map.json", json.dumps(specials, ensure_ascii=False, indent=2) + "\n")

    @classmethod
    def load(cls, folder: str | os.PathLike) -> "BPETokenizer":
        """The tokenizer that this, or another tool for GPT-2's format, wrote into a folder.

        Raises: FileNotFoundError; ValueError that contains the file and the line that is damaged, or does not fit the others.
        """
        folder = Path(folder)
        entries, merged, mapped = _File(folder / "vocab.json"), _File(folder / "merges.txt"), None
        if (folder / "special_tokens_map.json").exists():
            mapped = _File(folder / "special_tokens_map.json")

        known = entries.json()
        place: dict[int, str] = {}
        for key, i in known.items():
            if type(i) is not int or i < 0:
                raise entries.damaged(entries.line_of(key), f"the id of {key!r} is {i!r}")
            if i in place:
                raise entries.damaged(entries.line_of(key), f"{key!r} and {place[i]!r} both have the id {i}")
            place[i] = key
        byte_of = {character: byte for byte, character in bytes_to_unicode().items()}

        lines = merged.text.removesuffix("\n").split("\n")
        version = lines[0].startswith("#version")
        made: set[str] = set()
        merges = []
        for number, line in enumerate(lines[version:], 1 + version):
            parts = line.removesuffix("\r").split(" ")
            if len(parts) != 2 or not all(parts) or not byte_of.keys() >= set("".join(parts)):
                raise merged.damaged(number, f"{line!r} is no merge")
            for token in (*parts, "".join(parts)):
                if token not in known:
                    raise merged.damaged(number, f"vocab.json has no {token!r}")
            made.add("".join(parts))
            merges.append(tuple(bytes(map(byte_of.__getitem__, part)) for part in parts))

        ordinary = byte_of.keys() | made
        specials = [key for key in known if key not in ordinary] if mapped is None else _names(mapped)
        for name in specials:
            file = mapped or entries
            if name not in known:
                raise file.damaged(file.line_of(name), f"vocab.json has no {name!r}")
            if not name or re.search("[\ud800-\udfff]", name) or name in ordinary:
                raise file.damaged(file.line_of(name), f"{name!r} can be no special token")
        for key in byte_of:
            if key not in known:
                raise entries.damaged(entries.lines, f"there is no {key!r}, the byte {byte_of[key]}")
        special_tokens = {name: known[name] for name in specials}
        for key in known:
            if key not in ordinary and key not in special_tokens:
                raise merged.damaged(
                    len(lines), f"the end, and no merge made {key!r}, which is in vocab.json, line {entries.line_of(key)}"
                )
        vocab = {i: key.encode() if key in special_tokens else bytes(map(byte_of.__getitem__, key)) for key, i in known.items()}
        try:
            return cls(vocab, merges, special_tokens)
        except ValueError as error:  # a special token that is not in ASCII stands in the place of a byte or a merge
            raise (mapped or entries).damaged(1, str(error)) from error


# 11.7 Files


def _shown(token: bytes) -> str:
    return "".join(map(bytes_to_unicode().__getitem__, token))


def _write(path: Path, text: str) -> None:
    """The whole new file, or the old one if this fails."""
    beside = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with beside.open("w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


class _File:
    """A file's text, and the errors that name it."""

    def __init__(self, path: Path):
        self.name = path.name
        data = path.read_bytes()
        try:
            self.text = data.decode()
        except UnicodeDecodeError as error:
            raise self.damaged(data.count(b"\n", 0, error.start) + 1, "no UTF-8") from error
        self.lines = self.text.removesuffix("\n").count("\n") + 1

    def damaged(self, line: int, why: str) -> ValueError:
        return ValueError(f"{self.name}, line {line}: {why}")

    def line_of(self, text: str) -> int:
        """The line on which this string stands, the last of several."""
        at = max(self.text.rfind(json.dumps(text, ensure_ascii=ascii)) for ascii in (True, False))
        return self.text.count("\n", 0, max(at, 0)) + 1

    def json(self) -> dict:
        def unique(pairs):
            found = dict(pairs)
            if len(found) < len(pairs):
                twice = next(key for key, times in Counter(key for key, _ in pairs).items() if times > 1)
                raise self.damaged(self.line_of(twice), f"{twice!r} is there twice")
            return found

        try:
            found = json.loads(self.text, object_pairs_hook=unique)
        except json.JSONDecodeError as error:
            raise self.damaged(error.lineno, error.msg) from error
        except (RecursionError, ValueError) as error:
            if self.name in str(error):
                raise
            raise self.damaged(1, str(error)) from error
        if not isinstance(found, dict):
            raise self.damaged(1, f"expected an object {{…}}, not {type(found).__name__}")
        return found


def _names(file: _File) -> list[str]:
    """The special tokens of special_tokens_map.json, each once."""
    names: dict[str, None] = {}
    for role, value in file.json().items():
        for entry in value if isinstance(value, list) else [value]:
            name = entry.get("content") if isinstance(entry, dict) else entry
            if name is None:
                continue
            if not isinstance(name, str):
                raise file.damaged(file.line_of(role), f"{role!r} is {value!r}")
            names[name] = None
    return list(names)


@functools.cache
def bytes_to_unicode() -> dict[int, str]:
    """A printable character for each byte, by GPT-2's rule: its own if it has one, else the next from U+0100 on."""
    own = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = count(0x100)
    return {byte: chr(byte if byte in own else next(others)) for byte in range(256)}
