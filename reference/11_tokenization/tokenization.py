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

_BYTES = [bytes([byte]) for byte in range(256)]

# 11.1 Characters


class CharTokenizer:
    """One id for each character of a text, in the order of their code points."""

    def __init__(self, text: str):
        """Knows the characters of this text, and no others."""
        self._characters = sorted(set(text))
        self._ids = {character: number for number, character in enumerate(self._characters)}

    @property
    def vocab_size(self) -> int:
        """The number of ids."""
        return len(self._characters)

    def encode(self, text: str) -> list[int]:
        """The id of each character. Raises: ValueError that contains the first unknown character and its position."""
        for position, character in enumerate(text):
            if character not in self._ids:
                raise ValueError(f"unknown character {character!r} at position {position}")
        return [self._ids[character] for character in text]

    def decode(self, ids: Iterable[int]) -> str:
        """The text of these ids. Raises: ValueError that contains an id that does not exist."""
        return "".join(_looked_up(ids, dict(enumerate(self._characters))))


def _looked_up(ids: Iterable[int], table: Mapping) -> Iterator:
    for number in ids:
        if number not in table:
            raise ValueError(f"there is no id {number!r} among {len(table)}")
        yield table[number]


# 11.2 Pieces

# given: GPT-2's split (Radford et al., 2019): contractions; words, numbers and signs, with a blank before them; blanks
PATTERN = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"


@functools.cache
def _pattern():
    import regex  # not before it is needed

    return regex.compile(PATTERN)


def pretokenize(text: str) -> Iterator[str]:
    """The pieces that no merge crosses, one by one, as PATTERN finds them from the left. Joined they are the text."""
    return (match[0] for match in _pattern().finditer(text))


def _split(text: str, special_tokens: Iterable[str]) -> list[str]:
    """Ordinary texts at even places, special tokens at odd ones. Of several that begin at one place the longest counts."""
    alternatives = "|".join(map(re.escape, sorted(special_tokens, key=len, reverse=True)))
    return re.split(f"({alternatives})", text) if alternatives else [text]


# 11.3 Training


def learn_merges(counts: Mapping[bytes, int], number: int) -> list[tuple[bytes, bytes]]:
    """Up to `number` merges, in the order in which they are learned (Sennrich, Haddow and Birch, 2016, section 3.2).

    counts: how many times each piece stands in the text. A merge joins the most frequent pair of neighbors, wherever it
    stands; of equally frequent pairs the greatest, compared as (bytes, bytes). Overlapping pairs count.
    """
    tokens = [*_BYTES]
    pieces, times = [list(piece) for piece in counts], list(counts.values())
    pairs, places = Counter(), defaultdict(set)  # of each pair: how many there are; the pieces that it stands, or stood, in
    for place, (piece, count) in enumerate(zip(pieces, times, strict=True)):
        for pair in pairwise(piece):
            pairs[pair] += count
            places[pair].add(place)
    heap = [_ranked(pair, count, tokens) for pair, count in pairs.items() if count]  # the most frequent pair comes first
    heapq.heapify(heap)
    merges = []
    while heap and len(merges) < number:
        count, _, pair = heapq.heappop(heap)
        if pairs[pair] != -count:  # it has changed since: a later entry says to what
            continue
        new, (left, right), changes = len(tokens), pair, Counter()
        merges.append((tokens[left], tokens[right]))
        tokens.append(tokens[left] + tokens[right])
        for place in places.pop(pair):
            before = pieces[place]
            after = pieces[place] = _joined(before, left, right, new)
            for other in pairwise(before):
                changes[other] -= times[place]
            for other in pairwise(after):
                changes[other] += times[place]
                if new in other:
                    places[other].add(place)
        for other, change in changes.items():
            pairs[other] += change
            if change and pairs[other]:
                heapq.heappush(heap, _ranked(other, pairs[other], tokens))
    return merges


_INVERTED = bytes(range(255, -1, -1))


def _ranked(pair: tuple[int, int], count: int, tokens: list[bytes]) -> tuple:
    """A heap puts the least first: so the count is negative, and bytes are inverted, with an end that is above them all."""
    return -count, tuple([tokens[part].translate(_INVERTED).decode("latin-1") + "\u0100" for part in pair]), pair


def _joined(piece: list[int], left: int, right: int, new: int) -> list[int]:
    """The piece with `new` wherever left and right are neighbors, from the left."""
    result, place, end = [], 0, len(piece)
    while place < end:
        found = piece[place] == left and place + 1 < end and piece[place + 1] == right
        result.append(new if found else piece[place])
        place += 2 if found else 1
    return result


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
        self.vocab, self.merges, self.special_tokens = dict(vocab), list(merges), dict(special_tokens or {})
        for text, number in self.special_tokens.items():
            if not text:
                raise ValueError(f"a special token can't be empty: {text!r}")
            if self.vocab.get(number) != text.encode():
                raise ValueError(f"the vocabulary lacks the special token {text!r} as id {number}")
        ordinary = self.vocab.keys() - self.special_tokens.values()
        ids = {self.vocab[number]: number for number in ordinary}
        if len(ids) < len(ordinary):
            raise ValueError(f"the vocabulary holds {_twice(self.vocab[number] for number in ordinary)!r} twice")
        made = {*_BYTES, *(left + right for left, right in self.merges)}
        for token in [*made, *chain.from_iterable(self.merges)]:
            if token not in ids:
                raise ValueError(f"the vocabulary lacks {token!r}")
        for token in ids:
            if token not in made:
                raise ValueError(f"the vocabulary holds {token!r}, which is no byte, made by no merge, and not special")
        self._bytes = [ids[byte] for byte in _BYTES]
        self._ranks = {}  # of a pair of ids: its rank, and the id of what it becomes
        for rank, (left, right) in enumerate(self.merges):
            self._ranks.setdefault((ids[left], ids[right]), (rank, ids[left + right]))
        self._ids_of = functools.lru_cache(CACHED)(self._merged)

    @property
    def vocab_size(self) -> int:
        """The number of ids."""
        return len(self.vocab)

    @classmethod
    def train(cls, texts: str | Iterable[str], vocab_size: int, special_tokens: Sequence[str] = ()) -> "BPETokenizer":
        """A tokenizer of one text, or of several, of which one is held at a time. No merge crosses them, nor a special token.

        Ids: the 256 bytes, the merges in order, the special tokens.
        Raises: ValueError if vocab_size is less than 256 and the special tokens, or if one of these is empty or there twice.
        Warns: UserWarning if no pair is left before there are vocab_size ids.
        """
        if (text := _twice(special_tokens)) is not None:
            raise ValueError(f"the special token {text!r} is there twice")
        room = vocab_size - 256 - len(special_tokens)
        if room < 0:
            raise ValueError(f"vocab_size {vocab_size} has no room for 256 bytes and {len(special_tokens)} special tokens")
        counts = Counter()
        for text in [texts] if isinstance(texts, str) else texts:
            for part in _split(text, special_tokens)[::2]:
                counts.update(pretokenize(part))
        merges = learn_merges({piece.encode(): count for piece, count in counts.items()}, room)
        tokens = [*_BYTES, *(left + right for left, right in merges)]
        special = {text: len(tokens) + number for number, text in enumerate(special_tokens)}
        if len(merges) < room:
            size = len(tokens) + len(special)
            warnings.warn(f"no pair is left to merge: the vocabulary has {size} ids, not {vocab_size}", stacklevel=2)
        return cls(dict(enumerate([*tokens, *(text.encode() for text in special)])), merges, special)

    # 11.4 Encoding

    def encode(self, text: str, special: bool = False) -> list[int]:
        """The ids of a text. With special=True special tokens become theirs; else they are text like any other.

        Raises: ValueError that contains a lone surrogate, which is no character, and its position.
        """
        text.encode()  # here it would be raised
        return list(self._encoded(text, special))

    def _encoded(self, text: str, special: bool, end: int | None = None) -> Iterator[int]:
        """The ids of the text, or of its pieces up to `end`: they are not those of text[:end], where a piece may be longer."""
        end, place = len(text) if end is None else end, 0
        for number, part in enumerate(_split(text, self.special_tokens if special else ())):
            for piece in [part] if number % 2 else pretokenize(part):
                if place == end:
                    return
                place += len(piece)
                yield from [self.special_tokens[piece]] if number % 2 else self._ids_of(piece.encode())

    def encode_bytes(self, data: bytes) -> list[int]:
        """The ids of any bytes: of those that are UTF-8, the ids of the text."""
        ids = []
        for piece in pretokenize(data.decode(errors="surrogateescape")):
            ids += self._ids_of(piece.encode(errors="surrogateescape"))
        return ids

    def _merged(self, piece: bytes) -> list[int]:
        """Joins the pair of the lowest rank, the first of several, until there is none: n log n in the length n.

        Each place knows the next and the one before that are left. The heap holds rank · end + place, since integers compare
        fastest. An entry whose pair has changed is passed over.
        """
        ids, ranks, end = [self._bytes[byte] for byte in piece], self._ranks, len(piece)
        after, before = [*range(1, end + 1)], [*range(-1, end - 1)]
        heap = [ranks[pair][0] * end + place for place, pair in enumerate(pairwise(ids)) if pair in ranks]
        heapq.heapify(heap)
        while heap:
            rank, place = divmod(heapq.heappop(heap), end)
            second = after[place]
            found = ranks.get((ids[place], ids[second])) if second < end else None
            if found is None or found[0] != rank:
                continue
            ids[place], ids[second] = found[1], None
            third = after[place] = after[second]
            if third < end:
                before[third] = place
            first = before[place]
            for left, right in ((first, place), (place, third)):
                if left >= 0 and right < end and (near := (ids[left], ids[right])) in ranks:
                    heapq.heappush(heap, ranks[near][0] * end + left)
        return [number for number in ids if number is not None]

    # 11.5 Decoding

    def decode_bytes(self, ids: Iterable[int]) -> bytes:
        """The bytes of these ids. Raises: ValueError that contains an id that does not exist."""
        return b"".join(_looked_up(ids, self.vocab))

    def decode(self, ids: Iterable[int]) -> str:
        """The text of these ids; what is not UTF-8 becomes U+FFFD. Raises: ValueError that contains an unknown id."""
        return self.decode_bytes(ids).decode(errors="replace")

    def decode_stream(self, ids: Iterable[int]) -> Iterator[str]:
        """The same text in parts, each as soon as it is certain: never half a character. Raises: as decode."""
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        for token in _looked_up(ids, self.vocab):
            if text := decoder.decode(token):
                yield text
        if text := decoder.decode(b"", final=True):
            yield text

    # 11.6 Streams

    def encode_iterable(self, chunks: Iterable[str], special: bool = False) -> Iterator[int]:
        """The ids of the joined chunks, one by one, wherever they are cut. Holds one chunk and one piece, not the text."""
        held, wanted = "", 0
        for chunk in chunks:
            held += chunk
            if len(held) >= wanted:  # twice what was left: a long piece in short chunks is not searched again and again
                end = self._certain(held, special)
                yield from self._encoded(held, special, end)
                held = held[end:]
                wanted = 2 * len(held)
        yield from self._encoded(held, special)

    def _certain(self, text: str, special: bool) -> int:
        """Up to where no continuation changes the pieces: not the last one, nor what may become `'ll` or a special token."""
        tokens = self.special_tokens if special else {}
        end = _opening(text, tokens)
        last = _split(text[:end], tokens)[-1]
        start, place = end - len(last), 0
        certain = start
        for piece in pretokenize(last):
            if place + 3 <= len(last) and place + len(piece) < len(last):
                certain = start + place + len(piece)
            place += len(piece)
        return certain

    # 11.7 Files

    def save(self, folder: str | os.PathLike) -> None:
        """Writes vocab.json, merges.txt and special_tokens_map.json as GPT-2's tools do, each whole or not at all.

        Raises: ValueError that contains a special token that would be written like another entry of the vocabulary.
        """
        special = {number: text for text, number in self.special_tokens.items()}
        names = {number: special.get(number) or _name(token) for number, token in self.vocab.items()}
        if twice := _twice(names.values()):
            raise ValueError(f"two entries of the vocabulary would both be written as {twice!r}")
        merges = [f"{_name(left)} {_name(right)}" for left, right in self.merges]
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        _write(folder / "vocab.json", json.dumps({name: number for number, name in names.items()}, ensure_ascii=False))
        _write(folder / "merges.txt", "\n".join(["#version: 0.2", *merges, ""]))
        _write(folder / "special_tokens_map.json", json.dumps({"additional_special_tokens": list(self.special_tokens)}))

    @classmethod
    def load(cls, folder: str | os.PathLike) -> "BPETokenizer":
        """The tokenizer that this, or another tool for GPT-2's format, wrote into a folder.

        Raises: FileNotFoundError; ValueError that contains the file and the line that is damaged, or does not fit the others.
        """
        folder = Path(folder)
        names = folder / "vocab.json"
        ids = _read_ids(names)
        merges = _read_merges(folder / "merges.txt", ids)
        made = {*map(_name, _BYTES), *(_name(left + right) for left, right in merges)}
        others, listed = [name for name in ids if name not in made], folder / "special_tokens_map.json"
        special = _read_special(listed, ids) if listed.exists() else others
        if ordinary := next((name for name in special if name in made), None):
            raise _error(listed, _line(listed, ordinary), f"{ordinary!r} is a byte, or made by a merge")
        if unknown := next((name for name in others if name not in special), None):
            raise _error(names, _line(names, unknown), f"{unknown!r} is no byte, made by no merge, and not special")
        if missing := next((name for name in made if name not in ids), None):
            raise _error(names, 1, f"{missing!r} is missing")
        vocab = {number: name.encode() if name in special else _bytes_of(name) for name, number in ids.items()}
        return cls(vocab, merges, {name: ids[name] for name in special})


def _opening(text: str, special_tokens: Iterable[str]) -> int:
    """Where an end of the text begins that may become a special token; its length if there is none."""
    start, longest = 0, max(map(len, special_tokens), default=0)
    while True:
        places = range(max(start, len(text) - longest + 1), len(text))
        may_be = [place for place in places if any(_begins(token, text[place:]) for token in special_tokens)]
        opening = may_be[0] if may_be else len(text)
        found = [(text.find(token, start), -len(token)) for token in special_tokens if token in text[start:]]
        if not found or min(found)[0] >= opening:
            return opening
        start = min(found)[0] - min(found)[1]  # behind a special token that is whole, and begins before


def _begins(token: str, text: str) -> bool:
    return len(token) > len(text) and token.startswith(text)


# 11.7 Files


@functools.cache
def bytes_to_unicode() -> dict[int, str]:
    """A printable character for each byte, by GPT-2's rule: its own if it has one, else the next from U+0100 on."""
    own = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = iter(range(256, 512))
    return {byte: chr(byte if byte in own else next(others)) for byte in range(256)}


def _name(token: bytes) -> str:
    return "".join([bytes_to_unicode()[byte] for byte in token])


def _is_bytes(name: str) -> bool:
    """Whether each character stands for a byte."""
    return set(name) <= _bytes_by_character().keys()


def _bytes_of(name: str) -> bytes:
    return bytes([_bytes_by_character()[character] for character in name])


@functools.cache
def _bytes_by_character() -> dict[str, int]:
    return {character: byte for byte, character in bytes_to_unicode().items()}


def _twice(names: Iterable):
    """One that is there more than once, or None."""
    return next((name for name, count in Counter(names).items() if count > 1), None)


def _write(path: Path, text: str) -> None:
    """The whole file takes the place of what was there, or nothing does."""
    part = path.with_name(f"{path.name}.part")
    try:
        with part.open("w", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)  # it is there if something failed


def _error(path: Path, line: int, why: str) -> ValueError:
    return ValueError(f"{path}, line {line}: {why}")


def _line(path: Path, text) -> int:
    """The first line of a JSON file in which this text stands, escaped or not; 1 if it is no text, or stands nowhere."""
    forms = "|".join(re.escape(json.dumps(text, ensure_ascii=ascii)) for ascii in (True, False))
    lines = path.read_text(encoding="utf-8").split("\n")
    return next((number for number, line in enumerate(lines, 1) if re.search(rf"(?<!\\)({forms})", line)), 1)


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode()
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise _error(path, line, f"byte {error.object[error.start]:#x} is not UTF-8") from None


def _read_json(path: Path):
    try:
        return json.loads(_read(path), object_pairs_hook=functools.partial(_unique, path))
    except json.JSONDecodeError as error:
        raise _error(path, error.lineno, f"not JSON: {error.msg}") from None
    except RecursionError:
        raise _error(path, 1, "too many brackets in brackets") from None


def _unique(path: Path, pairs: list[tuple]) -> dict:
    """An object of a JSON file, in which no name may be there twice, nor have half of a surrogate pair."""
    names = [name for name, _ in pairs]
    if (name := _twice(names)) is not None:
        raise _error(path, _line(path, name), f"{name!r} is there twice")
    if name := next((name for name in names if re.search("[\ud800-\udfff]", name)), None):
        raise _error(path, _line(path, name), f"{name!r} is no text")
    return dict(pairs)


def _read_ids(path: Path) -> dict[str, int]:
    ids = _read_json(path)
    if not isinstance(ids, dict):
        raise _error(path, 1, f"expected an object {{token: id}}, found {type(ids).__name__}")
    for name, number in ids.items():
        if type(number) is not int or number < 0:
            raise _error(path, _line(path, name), f"the id of {name!r} is {number!r}")
    if (number := _twice(ids.values())) is not None:
        *_, last = (name for name in ids if ids[name] == number)
        raise _error(path, _line(path, last), f"the id {number} is there twice")
    return ids


def _read_merges(path: Path, ids: Mapping[str, int]) -> list[tuple[bytes, bytes]]:
    lines = _read(path).split("\n")
    numbered = [(number, line.rstrip("\r")) for number, line in enumerate(lines, 1)]
    if numbered[0][1].startswith("#version"):
        del numbered[0]
    if numbered and not numbered[-1][1]:
        del numbered[-1]
    merges = []
    for number, line in numbered:
        parts = line.split(" ")
        names = (*parts, "".join(parts))
        if len(parts) != 2 or not all(parts) or any(name not in ids or not _is_bytes(name) for name in names):
            raise _error(path, number, f"expected two entries of vocab.json whose join is one too, found {line!r}")
        merges.append((_bytes_of(parts[0]), _bytes_of(parts[1])))
    return merges


def _read_special(path: Path, ids: Mapping[str, int]) -> list[str]:
    """The texts under whatever names, in the order of their ids."""
    found = _read_json(path)
    if not isinstance(found, dict):
        raise _error(path, 1, f"expected an object, found {type(found).__name__}")
    texts = set()
    for value in chain.from_iterable(entry if isinstance(entry, list) else [entry] for entry in found.values()):
        text = value.get("content") if isinstance(value, dict) else value
        if text is None:  # "pad_token": null, as some tools write
            continue
        if not isinstance(text, str) or text not in ids:
            raise _error(path, _line(path, text), f"{text!r} is no token of vocab.json")
        texts.add(text)
    return sorted(texts, key=ids.__getitem__)
