"""Wrong solutions of kata 11, as a learner would err and as a cheat would try."""

from specs.meta.catalogue import Wrong

WRONG = [
    # characters
    Wrong("characters in the order in which they come", {"sorted(set(text))": "list(dict.fromkeys(text))"}),
    Wrong("repeated characters have ids of their own", {"sorted(set(text))": "sorted(text)"}),
    Wrong(
        "unknown characters are left out",
        {
            '                raise ValueError(f"unknown character {character!r} at position {position}")': "                continue",
            "return [self._ids[character] for character in text]": "return [self._ids[c] for c in text if c in self._ids]",
        },
        says="let through",
    ),
    Wrong(
        "case is folded",
        {
            "character not in self._ids:": "character.lower() not in self._ids:",
            "self._ids[character] for": "self._ids[character.lower()] for",
        },
    ),
    Wrong("the position is missing", {" at position {position}": ""}, says="is not named"),
    Wrong(
        "a negative id counts from the end",
        {
            "        if number not in table:\n": "        number = number % len(table) if -len(table) <= number < 0 else number\n        if number not in table:\n"
        },
        says="let through",
    ),
    Wrong(
        "the id is missing from the error",
        {"there is no id {number!r} among": "there is no such id among"},
        says="is not named",
    ),
    # pieces
    Wrong(
        "words are split at blanks",
        {"return (match[0] for match in _pattern().finditer(text))": 'return iter(re.findall(r"\\s*\\S+|\\s+", text))'},
    ),
    Wrong("contractions in capitals too", {"return regex.compile(PATTERN)": "return regex.compile(PATTERN, regex.IGNORECASE)"}),
    Wrong(
        "contractions are not split", {"return regex.compile(PATTERN)": "return regex.compile(PATTERN[PATTERN.index(' ?') :])"}
    ),
    Wrong(
        "the last blank stays with the others",
        {"return regex.compile(PATTERN)": 'return regex.compile(PATTERN.replace(r"\\s+(?!\\S)|", ""))'},
    ),
    Wrong(
        "letters of the alphabet only",
        {
            "return regex.compile(PATTERN)": 'return regex.compile(PATTERN.replace(r"\\p{L}", "a-zA-Z").replace(" ?a-zA-Z+", " ?[a-zA-Z]+"))'
        },
    ),
    Wrong(
        "digits of Arabic numbers only",
        {
            "return regex.compile(PATTERN)": 'return regex.compile(PATTERN.replace(r" ?\\p{N}+", " ?[0-9]+").replace(r"\\p{N}", "0-9"))'
        },
    ),
    Wrong(
        "white space is lost",
        {
            "return (match[0] for match in": "return (match[0] for match in [m for m in _pattern().finditer(text) if not m[0].isspace()] or"
        },
    ),
    Wrong(
        "pieces are a list",
        {
            "return (match[0] for match in _pattern().finditer(text))": "return [match[0] for match in _pattern().finditer(text)]"
        },
    ),
    # training
    Wrong(
        "pieces count once",
        {
            "times = [list(piece) for piece in counts], list(counts.values())": "times = [list(piece) for piece in counts], [1] * len(counts)"
        },
    ),
    Wrong(
        "of equals the first seen",
        {
            'return -count, tuple([tokens[part].translate(_INVERTED).decode("latin-1") + "\\u0100" for part in pair]), pair': "return -count, (), pair"
        },
    ),
    Wrong("of equals the least", {"tokens[part].translate(_INVERTED)": "tokens[part]"}),
    Wrong(
        "of equals the greatest in print",
        {
            'tokens[part].translate(_INVERTED).decode("latin-1") + "\\u0100"': "''.join(chr(600 - ord(c)) for c in _name(tokens[part])) + \"\\uffff\""
        },
    ),
    Wrong("a beginning is greater than the whole", {'+ "\\u0100" for part': "for part"}),
    Wrong(
        "of equals the longest",
        {
            "return -count, tuple(": "return -count, -sum(len(tokens[part]) for part in pair), tuple(",
            "count, _, pair = heapq.heappop(heap)": "count, _, _, pair = heapq.heappop(heap)",
        },
    ),
    Wrong(
        "overlapping pairs count once",
        {
            "        for pair in pairwise(piece):\n            pairs[pair] += count\n": "        for place_, pair in enumerate(pairwise(piece)):\n            pairs[pair] += count * (place_ == 0 or pair != tuple(piece[place_ - 1 : place_ + 1]))\n"
        },
    ),
    Wrong(
        "counts are never brought up to date",
        {"        if pairs[pair] != -count:  # it has changed since: a later entry says to what\n            continue\n": ""},
    ),
    Wrong(
        "new pairs are not found again",
        {"                if new in other:\n                    places[other].add(place)\n": ""},
    ),
    Wrong(
        "joined from the right",
        {
            "after = pieces[place] = _joined(before, left, right, new)": "after = pieces[place] = _joined(before[::-1], right, left, new)[::-1]"
        },
    ),
    Wrong(
        "the last pair of a piece is not joined",
        {
            "result, place, end = [], 0, len(piece)": "result, place, end = [], 0, len(piece) - (len(piece) > 2)",
            "    return result\n\n\nclass BPE": "    return result + piece[end:] * (place <= end)\n\n\nclass BPE",
        },
    ),
    Wrong("one merge too many", {"len(merges) < number:\n": "len(merges) <= number:\n"}),
    Wrong(
        "texts are one text",
        {
            "for text in [texts] if isinstance(texts, str) else texts:": "for text in [texts if isinstance(texts, str) else ''.join(texts)]:"
        },
    ),
    Wrong(
        "a string is an iterable of characters",
        {"for text in [texts] if isinstance(texts, str) else texts:": "for text in texts:"},
    ),
    Wrong("special tokens are trained on", {"for part in _split(text, special_tokens)[::2]:": "for part in [text]:"}),
    Wrong(
        "special tokens count as text of their own",
        {"for part in _split(text, special_tokens)[::2]:": "for part in _split(text, special_tokens):"},
    ),
    Wrong("special tokens are patterns", {'"|".join(map(re.escape, sorted(': '"|".join(map(str, sorted('}),
    Wrong(
        "the shortest special token first", {"sorted(special_tokens, key=len, reverse=True)": "sorted(special_tokens, key=len)"}
    ),
    Wrong("special tokens as they come", {"sorted(special_tokens, key=len, reverse=True)": "special_tokens"}),
    Wrong(
        "special tokens come before the merges",
        {
            "tokens = [*_BYTES, *(left + right for left, right in merges)]": "tokens = [*_BYTES, *(left + right for left, right in merges)][: 256 + len(merges)]",
            "text: len(tokens) + number for": "text: len(tokens) + len(special_tokens) - 1 - number for",
        },
    ),
    Wrong("a small vocabulary is let through", {"        if room < 0:\n": "        if room < -256:\n"}, says="let through"),
    Wrong("the warning is missing", {"        if len(merges) < room:\n": "        if len(merges) < 0:\n"}),
    Wrong("the warning lacks the size", {"has {size} ids, not {vocab_size}": "is smaller than {vocab_size}"}),
    Wrong("pieces are lowercase", {"counts.update(pretokenize(part))": "counts.update(pretokenize(part.lower()))"}),
    # encoding
    Wrong(
        "the longest token first",
        {
            "heap = [ranks[pair][0] * end + place for": "order = sorted(ranks, key=lambda pair: (-len(self.vocab[ranks[pair][1]]), ranks[pair][0]))\n        ranks = {pair: (rank, ranks[pair][1]) for rank, pair in enumerate(order)}\n        heap = [ranks[pair][0] * end + place for"
        },
    ),
    Wrong(
        "the least id first",
        {
            "self._ranks.setdefault((ids[left], ids[right]), (rank, ids[left + right]))": "self._ranks.setdefault((ids[left], ids[right]), (ids[left + right], ids[left + right]))"
        },
    ),
    Wrong(
        "from the left, whatever the rank",
        {
            "heap = [ranks[pair][0] * end + place for": "ranks = {pair: (0, new) for pair, (_, new) in ranks.items()}\n        heap = [ranks[pair][0] * end + place for"
        },
    ),
    Wrong(
        "the last of equals first",
        {
            "heap = [ranks[pair][0] * end + place for": "heap = [ranks[pair][0] * end + end - 1 - place for",
            "rank, place = divmod(heapq.heappop(heap), end)": "rank, place = divmod(heapq.heappop(heap), end)\n            place = end - 1 - place",
            "ranks[near][0] * end + left)": "ranks[near][0] * end + end - 1 - left)",
        },
    ),
    Wrong("a byte's id is its value", {"self._bytes = [ids[byte] for byte in _BYTES]": "self._bytes = [*range(256)]"}),
    Wrong(
        "merges cross pieces",
        {"[part] if number % 2 else pretokenize(part):": "[part] if part else []:"},
    ),
    Wrong(
        "special tokens are always ids",
        {"_split(text, self.special_tokens if special else ())": "_split(text, self.special_tokens)"},
    ),
    Wrong("special tokens are never ids", {"_split(text, self.special_tokens if special else ())": "_split(text, ())"}),
    Wrong(
        "remembered pieces are shared by all",
        {
            "self._ids_of = functools.lru_cache(CACHED)(self._merged)": "self._ids_of = lambda piece: _SHARED.setdefault(piece, None) or _SHARED.update({piece: self._merged(piece)}) or _SHARED[piece]",
            "_INVERTED = ": "_SHARED = {}\n_INVERTED = ",
        },
    ),
    Wrong("invalid bytes are replaced", {'data.decode(errors="surrogateescape")': 'data.decode(errors="replace")'}),
    Wrong("invalid bytes are dropped", {'data.decode(errors="surrogateescape")': 'data.decode(errors="ignore")'}),
    Wrong(
        "bytes are taken for latin-1",
        {
            'data.decode(errors="surrogateescape")': 'data.decode("latin-1")',
            'piece.encode(errors="surrogateescape")': 'piece.encode("latin-1")',
        },
    ),
    Wrong(
        "surrogates are replaced",
        {"        text.encode()  # here it would be raised\n": '        text = text.encode(errors="replace").decode()\n'},
    ),
    Wrong(
        "the caller's dicts are kept",
        {"dict(vocab), list(merges), dict(special_tokens or {})": "vocab, merges, special_tokens or {}"},
    ),
    Wrong(
        "what is missing is a KeyError",
        {
            '            if token not in ids:\n                raise ValueError(f"the vocabulary lacks {token!r}")\n': "            ids[token]\n"
        },
        says="another error",
    ),
    # decoding
    Wrong(
        "each token is decoded alone",
        {
            'return self.decode_bytes(ids).decode(errors="replace")': 'return "".join(token.decode(errors="replace") for token in _looked_up(ids, self.vocab))'
        },
    ),
    Wrong(
        "invalid bytes raise",
        {'return self.decode_bytes(ids).decode(errors="replace")': "return self.decode_bytes(ids).decode()"},
    ),
    Wrong(
        "invalid bytes are left out",
        {'return self.decode_bytes(ids).decode(errors="replace")': 'return self.decode_bytes(ids).decode(errors="ignore")'},
    ),
    Wrong(
        "the stream comes at the end",
        {
            "        for token in _looked_up(ids, self.vocab):\n            if text := decoder.decode(token):": '        for token in [b"".join(_looked_up(ids, self.vocab))]:\n            if text := decoder.decode(token):'
        },
    ),
    Wrong(
        "the stream yields empty texts",
        {
            "            if text := decoder.decode(token):\n                yield text": "            yield decoder.decode(token)"
        },
    ),
    Wrong(
        "the rest of a stream is lost", {'        if text := decoder.decode(b"", final=True):\n            yield text\n': ""}
    ),
    Wrong(
        "half characters are streamed",
        {
            "            if text := decoder.decode(token):\n                yield text": '            yield token.decode(errors="replace")'
        },
    ),
    # streams
    Wrong(
        "each chunk is encoded alone",
        {"                end = self._certain(held, special)\n": "                end = len(held)\n"},
    ),
    Wrong(
        "only the last piece is held back",
        {"if place + 3 <= len(last) and place + len(piece) < len(last):": "if place + len(piece) < len(last):"},
    ),
    Wrong(
        "the last piece is not held back",
        {"if place + 3 <= len(last) and place + len(piece) < len(last):": "if place + 3 <= len(last):"},
    ),
    Wrong("special tokens that are cut are text", {"end = _opening(text, tokens)": "end = len(text)"}),
    Wrong(
        "the rest of the text is lost",
        {"        yield from self._encoded(held, special)\n\n    def _certain": "\n    def _certain"},
    ),
    Wrong(
        "the whole text is gathered first",
        {
            '        held, wanted = "", 0\n        for chunk in chunks:': '        held, wanted = "", 0\n        for chunk in ["".join(chunks)]:'
        },
    ),
    Wrong(
        "a whole special token is not told from the beginning of a longer one",
        {"len(token) > len(text) and token.startswith(text)": "len(token) > len(text) + 1 and token.startswith(text)"},
    ),
    # files
    Wrong(
        "bytes are shifted by 256", {"chr(byte if byte in own else next(others))": "chr(byte if byte in own else 256 + byte)"}
    ),
    Wrong("the soft hyphen is printable", {"*range(161, 173), *range(174, 256)": "*range(161, 256)"}),
    Wrong("the version is missing", {'"\\n".join(["#version: 0.2", *merges, ""])': '"\\n".join([*merges, ""])'}),
    Wrong("special tokens are written byte by byte", {"special.get(number) or _name(token)": "_name(token)"}),
    Wrong("files are written in place", {'    part = path.with_name(f"{path.name}.part")\n': "    part = path\n"}),
    Wrong("a part is left behind", {"        part.unlink(missing_ok=True)  #": "        pass  #"}),
    Wrong(
        "lines that begin with # are comments",
        {
            '    if numbered[0][1].startswith("#version"):\n        del numbered[0]\n': '    numbered = [(number, line) for number, line in numbered if not line.startswith("#")]\n'
        },
    ),
    Wrong("the first line is never a merge", {'    if numbered[0][1].startswith("#version"):\n': "    if True:\n"}),
    Wrong("CR stays", {'line.rstrip("\\r")': "line"}),
    Wrong(
        "names of special tokens are not looked at",
        {"for entry in found.values())": 'for entry in found.get("additional_special_tokens", []))'},
    ),
    Wrong(
        "objects are no special tokens", {'text = value.get("content") if isinstance(value, dict) else value': "text = value"}
    ),
    Wrong(
        "unknown entries are special",
        {
            "if unknown := next((name for name in others if name not in special), None):": "if unknown := None:",
            "{name: ids[name] for name in special})": "{name: ids[name] for name in others})",
            "name.encode() if name in special else": "name.encode() if name in others else",
        },
    ),
    Wrong(
        "ids that are there twice are let through",
        {"    if (number := _twice(ids.values())) is not None:": "    if (number := None) is not None:"},
    ),
    Wrong("booleans are ids", {"if type(number) is not int or number < 0:": "if not isinstance(number, int) or number < 0:"}),
    Wrong("merges are checked no further", {" or any(name not in ids or not _is_bytes(name) for name in names):": ":"}),
    # what it costs
    Wrong(
        "all pieces are gathered",
        {
            "return (match[0] for match in _pattern().finditer(text))": "return iter([match[0] for match in _pattern().finditer(text)])"
        },
        naive="test_pieces_of_a_long_text_take_no_memory",
    ),
    Wrong(
        "every piece is counted again",
        {"for place in places.pop(pair):": "for place in range(len(pieces)):"},
        naive="test_a_merge_looks_only_at_the_pieces_that_it_changes",
    ),
    Wrong(
        "texts are gathered",
        {
            "for text in [texts] if isinstance(texts, str) else texts:": "for text in [texts] if isinstance(texts, str) else [*texts]:"
        },
        naive="test_texts_are_taken_one_at_a_time",
    ),
    Wrong(
        "the list is searched for each merge, which joins one place",
        {
            "heap = [ranks[pair][0] * end + place for": "while len(ids) > 1:\n            place = min(range(len(ids) - 1), key=lambda i: ranks.get((ids[i], ids[i + 1]), (1e9, 0)))\n            if (pair := (ids[place], ids[place + 1])) not in ranks:\n                break\n            ids[place : place + 2] = [ranks[pair][1]]\n        return ids\n        heap = [ranks[pair][0] * end + place for"
        },
    ),
    Wrong(
        "nothing is remembered",
        {"self._ids_of = functools.lru_cache(CACHED)(self._merged)": "self._ids_of = self._merged"},
        naive="test_a_piece_that_was_seen_is_looked_up",
    ),
    Wrong(
        "everything is remembered",
        {"functools.lru_cache(CACHED)": "functools.lru_cache(None)"},
        naive="test_what_is_remembered_is_bounded",
    ),
    Wrong(
        "ids of a stream are gathered",
        {
            'decoder = codecs.getincrementaldecoder("utf-8")("replace")': 'decoder, ids = codecs.getincrementaldecoder("utf-8")("replace"), [*ids]'
        },
        naive="test_a_stream_holds_nothing",
    ),
    Wrong(
        "all ids are there before the first is yielded",
        {
            '        held, wanted = "", 0\n        for chunk in chunks:': '        chunks = ["".join(chunks)]\n        held, wanted = "", 0\n        for chunk in chunks:'
        },
    ),
    Wrong(
        "what is held is searched after each chunk",
        {"                wanted = 2 * len(held)\n": ""},
    ),
    # a list by someone who had seen neither these nor the specs
    Wrong("char position in bytes", {"at position {position}": "at position {len(text[:position].encode())}"}),
    Wrong(
        "char decode reads ids twice",
        {
            'return "".join(_looked_up(ids, dict(enumerate(self._characters))))': 'for number in ids:\n            if number not in range(len(self._characters)):\n                raise ValueError(f"there is no id {number}")\n        return "".join(self._characters[number] for number in ids)'
        },
    ),
    Wrong(
        "char order of utf16",
        {
            "self._characters = sorted(set(text))": 'self._characters = sorted(set(text), key=lambda c: c.encode("utf-16-be", "surrogatepass"))'
        },
    ),
    Wrong(
        "marks are letters",
        {"return regex.compile(PATTERN)": 'return regex.compile(PATTERN.replace(r" ?\\p{L}+", r" ?[\\p{L}\\p{M}]+"))'},
    ),
    Wrong(
        "white space of ascii",
        {
            "return regex.compile(PATTERN)": 'white = r" \\t\\n\\r\\f\\v"\n    pattern = PATTERN.replace(r"[^\\s", f"[^{white}").replace(r"\\s+", f"[{white}]+").replace(r"\\S", f"[^{white}]")\n    return regex.compile(pattern)'
        },
    ),
    Wrong(
        "tie by the joined bytes",
        {
            'tuple([tokens[part].translate(_INVERTED).decode("latin-1") + "\\u0100" for part in pair]), pair': '"".join([tokens[part].translate(_INVERTED).decode("latin-1") for part in pair]) + "\\u0100", pair'
        },
    ),
    Wrong(
        "tie by the printable characters",
        {
            "_INVERTED = bytes(range(255, -1, -1))": "_SHOWN = sorted(range(256), key=lambda byte: (byte not in {*range(33, 127), *range(161, 173), *range(174, 256)}, byte))\n_INVERTED = bytes(255 - _SHOWN.index(byte) for byte in range(256))"
        },
    ),
    Wrong(
        "overlaps count only at first",
        {
            "            for other in pairwise(after):\n                changes[other] += times[place]\n": "            skip = False\n            for other in pairwise(after):\n                skip = other == (new, new) and not skip\n                if other != (new, new) or skip:\n                    changes[other] += times[place]\n"
        },
    ),
    Wrong(
        "tokens of at most 16 bytes",
        {
            "        if pairs[pair] != -count:  #": "        if pairs[pair] != -count or len(tokens[pair[0]]) + len(tokens[pair[1]]) > 16:  #"
        },
    ),
    Wrong("warning forgets special tokens", {"size = len(tokens) + len(special)": "size = len(tokens)"}),
    Wrong("special tokens stripped before compared", {"_twice(special_tokens)": "_twice(map(str.strip, special_tokens))"}),
    Wrong(
        "only the 5000 most frequent pieces",
        {"for piece, count in counts.items()}, room)": "for piece, count in counts.most_common(5000)}, room)"},
    ),
    Wrong(
        "metacharacters escaped only if pipe", {"map(re.escape, sorted(": 'map(lambda text: text.replace("|", r"\\|"), sorted('}
    ),
    Wrong(
        "special token steals an ordinary id",
        {
            "ordinary = self.vocab.keys() - self.special_tokens.values()": "ordinary = self.vocab.keys()",
            "            if token not in made:\n": "            if False:\n",
            "if len(ids) < len(ordinary):": "if False:",
        },
    ),
    Wrong(
        "cache of all tokenizers",
        {
            "_BYTES = [bytes([byte]) for byte in range(256)]": "_BYTES = [bytes([byte]) for byte in range(256)]\n_SEEN = {}",
            "self._ids_of = functools.lru_cache(CACHED)(self._merged)": "def ids_of(piece):\n            key = self.vocab_size, piece\n            if key not in _SEEN:\n                if len(_SEEN) >= CACHED:\n                    _SEEN.clear()\n                _SEEN[key] = self._merged(piece)\n            return _SEEN[key]\n\n        self._ids_of = ids_of",
        },
    ),
    Wrong(
        "cached list handed out",
        {
            '            ids += self._ids_of(piece.encode(errors="surrogateescape"))\n        return ids': '            found = self._ids_of(piece.encode(errors="surrogateescape"))\n            if len(found) and len(piece) == len(data):\n                return found\n            ids += found\n        return ids'
        },
    ),
    Wrong(
        "cache keeps the first pieces forever",
        {
            "self._ids_of = functools.lru_cache(CACHED)(self._merged)": "seen = {}\n\n        def ids_of(piece):\n            if piece in seen:\n                return seen[piece]\n            found = self._merged(piece)\n            if len(seen) < CACHED:\n                seen[piece] = found\n            return found\n\n        self._ids_of = ids_of"
        },
        naive="test_the_latest_pieces_are_remembered",
    ),
    Wrong(
        "cache three times as large",
        {"functools.lru_cache(CACHED)(self._merged)": "functools.lru_cache(3 * CACHED)(self._merged)"},
    ),
    Wrong(
        "one default dict for all",
        {
            "special_tokens: Mapping[str, int] | None = None": "special_tokens: Mapping[str, int] = {}",
            "dict(special_tokens or {})": "special_tokens",
        },
    ),
    Wrong("merges as they were given", {"list(merges), dict(special_tokens": "merges, dict(special_tokens"}),
    Wrong(
        "a repeated merge counts from its last place",
        {
            "self._ranks.setdefault((ids[left], ids[right]), (rank, ids[left + right]))": "self._ranks[ids[left], ids[right]] = rank, ids[left + right]"
        },
    ),
    Wrong(
        "joins whatever makes a known token",
        {
            "            self._ranks.setdefault((ids[left], ids[right]), (rank, ids[left + right]))": "            whole = left + right\n            for cut in range(1, len(whole)):\n                if whole[:cut] in ids and whole[cut:] in ids:\n                    self._ranks.setdefault((ids[whole[:cut]], ids[whole[cut:]]), (rank, ids[whole]))"
        },
    ),
    Wrong(
        "special by keyword only",
        {"def encode(self, text: str, special: bool = False)": "def encode(self, text: str, *, special: bool = False)"},
    ),
    Wrong("position of a surrogate in its piece", {"        text.encode()  # here it would be raised\n": ""}),
    Wrong(
        "what is not utf8 is one piece",
        {
            "        ids = []\n        for piece in pretokenize(data.decode(errors": "        try:\n            data.decode()\n        except UnicodeDecodeError:\n            return list(self._merged(data))\n        ids = []\n        for piece in pretokenize(data.decode(errors"
        },
    ),
    Wrong(
        "list searched in c for each merge",
        {
            "        ids, ranks, end = [self._bytes[byte] for byte in piece], self._ranks, len(piece)\n": "        ids, ranks = [self._bytes[byte] for byte in piece], self._ranks\n        while best := min(filter(None, map(ranks.get, pairwise(ids))), default=None):\n            place = list(map(ranks.get, pairwise(ids))).index(best)\n            ids[place : place + 2] = [best[1]]\n        return ids\n        end = len(piece)\n"
        },
        naive="test_a_long_piece_takes_time_in_proportion",
    ),
    Wrong(
        "long pieces cut every 4096 bytes",
        {
            "self._ids_of = functools.lru_cache(CACHED)(self._merged)": "remembered = functools.lru_cache(CACHED)(self._merged)\n        self._ids_of = lambda piece: [\n            number for place in range(0, len(piece), 4096) for number in remembered(piece[place : place + 4096])\n        ]"
        },
    ),
    Wrong(
        "stream waits after a bad byte",
        {
            '        decoder = codecs.getincrementaldecoder("utf-8")("replace")\n        for token in _looked_up(ids, self.vocab):\n            if text := decoder.decode(token):\n                yield text\n        if text := decoder.decode(b"", final=True):\n            yield text\n': '        held = b""\n        for token in _looked_up(ids, self.vocab):\n            held += token\n            for back in range(min(4, len(held))):\n                try:\n                    text = held[: len(held) - back].decode()\n                except UnicodeDecodeError:\n                    continue\n                held = held[len(held) - back :]\n                if text:\n                    yield text\n                break\n        if held:\n            yield held.decode(errors="replace")\n'
        },
    ),
    Wrong(
        "stream holds what stands before half a character",
        {
            "            if text := decoder.decode(token):\n                yield text\n        if": '            held += decoder.decode(token)\n            if held and not decoder.getstate()[0]:\n                yield held\n                held = ""\n        if',
            'decoder = codecs.getincrementaldecoder("utf-8")("replace")': 'decoder, held = codecs.getincrementaldecoder("utf-8")("replace"), ""',
            'if text := decoder.decode(b"", final=True):': 'if text := held + decoder.decode(b"", final=True):',
        },
    ),
    Wrong(
        "stream drops a byte order mark", {'codecs.getincrementaldecoder("utf-8")': 'codecs.getincrementaldecoder("utf-8-sig")'}
    ),
    Wrong("holds only the last opening", {"may_be[0] if may_be": "may_be[-1] if may_be"}),
    Wrong(
        "a whole special token is certain",
        {
            "if any(_begins(token, text[place:]) for token in special_tokens)]": "if text[place:] not in special_tokens and any(_begins(token, text[place:]) for token in special_tokens)]"
        },
    ),
    Wrong("long piece searched again if special", {"wanted = 2 * len(held)": "wanted = 0 if special else 2 * len(held)"}),
    Wrong(
        "save removes the old file first",
        {"        os.replace(part, path)": "        path.unlink(missing_ok=True)\n        os.rename(part, path)"},
    ),
    Wrong("save compares bytes not names", {"if twice := _twice(names.values()):": "if twice := _twice(self.vocab.values()):"}),
    Wrong(
        "save numbers the ids anew",
        {
            "{name: number for number, name in names.items()}, ensure": "{name: number for number, name in enumerate(names.values())}, ensure"
        },
    ),
    Wrong(
        "no file for no special tokens",
        {
            '        _write(folder / "special_tokens_map.json"': '        if self.special_tokens:\n            _write(folder / "special_tokens_map.json"'
        },
    ),
    Wrong(
        "an empty list is no list",
        {"if listed.exists() else others": "if listed.exists() else []\n        special = special or others"},
    ),
    Wrong(
        "one text under two names is an error",
        {
            "        texts.add(text)": '        if text in texts:\n            raise _error(path, 1, f"{text!r} is there twice")\n        texts.add(text)'
        },
    ),
    Wrong(
        "merges that begin with a hash are comments",
        {
            "for number, line in enumerate(lines, 1)]": 'for number, line in enumerate(lines, 1) if number == 1 or not line.startswith("#")]'
        },
    ),
    Wrong(
        "only the number of entries is compared",
        {
            "if unknown := next((name for name in others if name not in special), None):": "if len(ids) != 256 + len(merges) + len(special) and (unknown := next((name for name in others if name not in special), None)):"
        },
    ),
    Wrong(
        "a missing byte without the files name",
        {"if missing := next((name for name in made if name not in ids), None):": "if missing := None:"},
    ),
    Wrong("no json always in line 1", {"raise _error(path, error.lineno, f": "raise _error(path, 1, f"}),
    Wrong(
        "certain pieces are split again, without what follows",
        {"yield from self._encoded(held, special, end)": "yield from self._encoded(held[:end], special)"},
    ),
    Wrong("a count of 0 is a pair", {" for pair, count in pairs.items() if count]": " for pair, count in pairs.items()]"}),
    Wrong(
        "what nothing makes is taken into the vocabulary",
        {"            if token not in made:\n": "            if False:\n"},
    ),
    Wrong("the line is always the first", {'if re.search(rf"(?<!\\\\)({forms})", line)), 1)': "if False), 1)"}),
    Wrong("escaped names have no line", {"for ascii in (True, False))\n    lines": "for ascii in (False,))\n    lines"}),
    Wrong("names with characters have no line", {"for ascii in (True, False))\n    lines": "for ascii in (True,))\n    lines"}),
    Wrong("null is a special token", {"        if text is None:": "        if text is ...:"}),
    Wrong("a part of a merge may be no bytes", {" or not _is_bytes(name) for name": " for name"}),
    Wrong("what can't be read is passed on", {"except RecursionError:": "except ZeroDivisionError:"}),
    Wrong(
        "special tokens are remembered as pieces",
        {
            "self._ids_of = functools.lru_cache(CACHED)(self._merged)": "self._ids_of = lambda piece: _SEEN.get(piece) or self._merged(piece)",
            "yield from [self.special_tokens[piece]] if number % 2 else": "_SEEN.update({piece.encode(): [self.special_tokens[piece]]} if number % 2 else {})\n                yield from [self.special_tokens[piece]] if number % 2 else",
            "# 11.4 Encoding\n": "# 11.4 Encoding\n    global _SEEN\n    _SEEN = {}\n",
        },
    ),
    Wrong(
        "surrogates that stand for bytes are encoded",
        {
            "text.encode()  # here": 'text.encode(errors="surrogateescape")  # here',
            "self._ids_of(piece.encode())": 'self._ids_of(piece.encode(errors="surrogateescape"))',
        },
    ),
    Wrong(
        "a long piece is searched after each chunk",
        {"if len(held) >= wanted:": "if held:"},
        naive="test_a_long_piece_is_not_searched_after_each_chunk",
    ),
    Wrong("what a killed save left hinders the next", {'with part.open("w", encoding': 'with part.open("x", encoding'}),
    # a second list of that kind
    Wrong("char position in bytes of UTF-8", {'at position {position}")': 'at position {len(text[:position].encode())}")'}),
    Wrong(
        "char order of UTF-16", {"sorted(set(text))": 'sorted(set(text), key=lambda c: c.encode("utf-16-be", "surrogatepass"))'}
    ),
    Wrong(
        "char decode only knows -1",
        {
            "_looked_up(ids, dict(enumerate(self._characters)))": "_looked_up(ids, {n: self._characters[n] for n in range(-len(self._characters), len(self._characters)) if n != -1})"
        },
    ),
    Wrong("numbers only decimal", {"regex.compile(PATTERN)": 'regex.compile(PATTERN.replace(r"\\p{N}", r"\\d"))'}),
    Wrong(
        "marks count as letters", {"regex.compile(PATTERN)": 'regex.compile(PATTERN.replace(r"\\p{L}+", r"[\\p{L}\\p{M}]+"))'}
    ),
    Wrong(
        "white space only ASCII",
        {"regex.compile(PATTERN)": 'regex.compile(PATTERN.replace(r"[^\\s", r"[^ \\t-\\r").replace(r"\\s+", r"[ \\t-\\r]+"))'},
    ),
    Wrong(
        "regex imported at once",
        {"import re\n": "import re\n\nimport regex\n", "    import regex  # not before it is needed\n\n": ""},
    ),
    Wrong("ties: a prefix is greater", {' + "\\u0100" for part in pair': " for part in pair"}),
    Wrong(
        "overlaps of a new token count once",
        {
            "            for other in pairwise(after):\n                changes[other] += times[place]\n": "            for spot, other in enumerate(pairwise(after)):\n                if not (spot and other == (new, new) and after[spot - 1] == new):\n                    changes[other] += times[place]\n"
        },
    ),
    Wrong("special tokens not copied", {"dict(special_tokens or {})": "special_tokens or {}"}),
    Wrong(
        "special tokens under any id",
        {"if self.vocab.get(number) != text.encode():": "if text.encode() not in self.vocab.values():"},
    ),
    Wrong(
        "train: first special token counts",
        {"in _split(text, special_tokens)[::2]:": 'in re.split("|".join(map(re.escape, special_tokens)) or "(?!)", text):'},
    ),
    Wrong("train: warning forgets special tokens", {"size = len(tokens) + len(special)": "size = len(tokens)"}),
    Wrong("stale heap entries join", {"if found is None or found[0] != rank:": "if found is None:"}),
    Wrong(
        "a repeated merge takes its last rank",
        {
            "self._ranks.setdefault((ids[left], ids[right]), (rank, ids[left + right]))": "self._ranks[ids[left], ids[right]] = (rank, ids[left + right])"
        },
    ),
    Wrong(
        "text before a special token goes on",
        {
            "        for number, part in enumerate(_split(text, self.special_tokens if special else ())):\n            for piece in [part] if number % 2 else pretokenize(part):\n": '        parts = _split(text, self.special_tokens if special else ())\n        for number, part in enumerate(parts):\n            sign = "\\0" if number + 1 < len(parts) else ""\n            for piece in [part] if number % 2 else (p.removesuffix(sign) for p in pretokenize(part + sign)):\n'
        },
    ),
    Wrong(
        "one cache for all tokenizers",
        {
            "CACHED = 1024 ": "_shared = {}\nCACHED = 1024 ",
            "functools.lru_cache(CACHED)(self._merged)": "lambda piece: _shared.get(piece) or (len(_shared) < CACHED or _shared.clear()) and [] or _shared.setdefault(piece, self._merged(piece))",
        },
    ),
    Wrong(
        "cache keeps the first pieces",
        {
            "self._ids_of = functools.lru_cache(CACHED)(self._merged)": "kept = {}\n        self._ids_of = lambda piece: kept[piece] if piece in kept else kept.setdefault(piece, self._merged(piece)) if len(kept) < CACHED else self._merged(piece)"
        },
    ),
    Wrong(
        "encode returns the cache's list",
        {
            "        return list(self._encoded(text, special))\n": "        if not special and len([*pretokenize(text)]) == 1:\n            return self._ids_of(text.encode())\n        return list(self._encoded(text, special))\n"
        },
    ),
    Wrong(
        "encode_bytes forges special tokens",
        {
            "        ids = []\n        for piece in": "        ids = []\n        if data.isascii():\n            return self.encode(data.decode(), special=True)\n        for piece in"
        },
    ),
    Wrong("decode drops a BOM", {'.decode(errors="replace")': '.decode("utf-8-sig", errors="replace")'}),
    Wrong(
        "stream waits for valid bytes",
        {
            "            if text := decoder.decode(token):\n                yield text\n": "            held = b''.join([decoder.getstate()[0], token])\n            try:\n                held.decode()\n            except ValueError:\n                decoder.setstate((held, 0))\n                continue\n            decoder.reset()\n            if text := decoder.decode(held):\n                yield text\n"
        },
    ),
    Wrong(
        "stream lists its ids", {"for token in _looked_up(ids, self.vocab):": "for token in list(_looked_up(ids, self.vocab)):"}
    ),
    Wrong(
        "an empty chunk ends the stream",
        {"            held += chunk\n": "            if not chunk:\n                break\n            held += chunk\n"},
    ),
    Wrong("special prefix one too short", {"len(text) - longest + 1)": "len(text) - longest + 2)"}),
    Wrong(
        "long pieces are cut",
        {
            "                wanted = 2 * len(held)\n": "                wanted = 2 * len(held)\n                if wanted > 8000:\n                    yield from self._encoded(held, special)\n                    held, wanted = '', 0\n"
        },
    ),
    Wrong(
        "with special tokens the whole text is held",
        {"            if len(held) >= wanted:": "            if len(held) >= wanted and not special:"},
    ),
    Wrong("fsync before the text is flushed", {"            file.flush()\n": ""}),
    Wrong(
        "new files are not atomic",
        {
            '    part = path.with_name(f"{path.name}.part")\n': '    if not path.exists():\n        with path.open("w", encoding="utf-8") as file:\n            file.write(text)\n            file.flush()\n            os.fsync(file.fileno())\n        return\n    part = path.with_name(f"{path.name}.part")\n'
        },
    ),
    Wrong("a special token Ġ is saved", {"_twice(names.values())": "_twice(self.vocab.values())"}),
    Wrong("first merge with # is a version", {'.startswith("#version")': '.startswith("#")'}),
    Wrong(
        "lines counted behind the header",
        {'raise _error(path, number, f"expected two': 'raise _error(path, 2 + numbered.index((number, line)), f"expected two'},
    ),
    Wrong(
        "an empty special map is no map",
        {
            "_read_special(listed, ids) if listed.exists() else others": "(listed.exists() and _read_special(listed, ids)) or others"
        },
    ),
    Wrong(
        "a missing byte is named without the file",
        {
            '        if missing := next((name for name in made if name not in ids), None):\n            raise _error(names, 1, f"{missing!r} is missing")\n': ""
        },
    ),
    Wrong("true is an id", {"if type(number) is not int or number < 0:": "if not isinstance(number, int) or number < 0:"}),
    Wrong("the id 0 twice", {"if (number := _twice(ids.values())) is not None:": "if number := _twice(ids.values()):"}),
]

_METHODS = ["encode", "encode_bytes", "decode_bytes", "decode", "decode_stream", "save", "train", "vocab_size"]
EQUIVALENT = {
    **{
        f"{name}: attributes are those of the construction": "no attribute is an option: nothing is promised after a change"
        for name in [
            *(f"CharTokenizer.{name}" for name in ("encode", "decode", "vocab_size")),
            *(f"BPETokenizer.{name}" for name in _METHODS),
        ]
    },
    **{
        f"{name}: NumPy's numbers are refused": "it takes no number, but an iterable or a mapping of them"
        for name in [
            "CharTokenizer.decode",
            "BPETokenizer.__init__",
            *(f"BPETokenizer.decode{end}" for end in ("", "_bytes", "_stream")),
        ]
    },
    **{f"BPETokenizer.{name}: shapes that differ are broadcast": "there are no arrays" for name in ("__init__", "train")},
    "BPETokenizer.__init__: a check comes after the effect": "after an error there is no tokenizer",
    "BPETokenizer.load: a check comes after the effect": "after an error there is no tokenizer",
    "BPETokenizer.load: a check comes after the effect, 3": "after an error there is no tokenizer",
    "BPETokenizer.train: None is whatever is falsy": "an empty special token is refused in any case",
    "BPETokenizer._merged: None is whatever is falsy": "a pair is never falsy",
    "_unique: None is whatever is falsy": "an empty name is refused in any case: nothing makes it",
}
