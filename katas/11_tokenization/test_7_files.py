import json
import os
import subprocess
import sys

import pytest
from katas.tokenization import BPETokenizer, CharTokenizer, bytes_to_unicode, learn_merges, pretokenize

from specs.check import rejects, undisturbed

TEXT = "the cat sat on the mat; naïve 日本語 the  other\tcat's hat\n" * 3


@pytest.fixture
def tokenizer() -> BPETokenizer:
    return BPETokenizer.train(TEXT, 290, ["<|end|>", "é b"])


@pytest.fixture
def folder(tokenizer, tmp_path):
    """What save has written."""
    tokenizer.save(tmp_path)
    return tmp_path


def edit(path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


# Bytes as characters


def test_printable_bytes_are_themselves():
    """The bytes 33-126, 161-172 and 174-255 are the characters of that number."""
    shown = bytes_to_unicode()
    assert all(shown[byte] == chr(byte) for byte in (*range(33, 127), *range(161, 173), *range(174, 256)))


def test_other_bytes_are_the_characters_from_u0100_on():
    """0 is U+0100, a blank U+0120, 127 U+0121, 128 U+0122, 160 U+0142 and 173 U+0143."""
    shown = bytes_to_unicode()
    assert [shown[byte] for byte in (0, 10, 32, 127, 128, 160, 173)] == ["Ā", "Ċ", "Ġ", "ġ", "Ģ", "ł", "Ń"]


def test_256_bytes_are_256_characters():
    """No two bytes share a character, none is white space, and no byte is missing."""
    shown = bytes_to_unicode()
    assert sorted(shown) == list(range(256))
    assert len({*shown.values()}) == 256
    assert not any(character.isspace() for character in shown.values())


# Saving and loading


def test_what_is_saved_is_loaded(tokenizer, folder):
    """load gives back the vocabulary, the merges in their order, and the special tokens."""
    loaded = BPETokenizer.load(folder)
    assert loaded.vocab == tokenizer.vocab
    assert loaded.merges == tokenizer.merges
    assert loaded.special_tokens == tokenizer.special_tokens
    assert loaded.encode(TEXT + "<|end|>", special=True) == tokenizer.encode(TEXT + "<|end|>", special=True)


def test_the_files_are_those_of_gpt2(tokenizer, folder):
    """vocab.json {token: id}; merges.txt: `#version: 0.2`, then a merge a line; special tokens as they are."""
    assert sorted(os.listdir(folder)) == ["merges.txt", "special_tokens_map.json", "vocab.json"]
    vocab = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))
    assert vocab["Ġ"] == 32
    assert vocab["!"] == 33
    assert vocab["<|end|>"] == tokenizer.special_tokens["<|end|>"]
    assert vocab["é b"] == tokenizer.special_tokens["é b"]
    lines = (folder / "merges.txt").read_text(encoding="utf-8").split("\n")
    assert lines[0] == "#version: 0.2"
    assert lines[-1] == ""
    shown = bytes_to_unicode()
    merges = [" ".join("".join(shown[byte] for byte in part) for part in merge) for merge in tokenizer.merges]
    assert lines[1:-1] == merges


def test_ids_are_saved_as_they_are(tmp_path):
    """Ids with gaps, in any order, come back."""
    vocab = {1000 - byte: bytes([byte]) for byte in range(256)} | {7: b"<e>", 5000: b"ab"}
    BPETokenizer(vocab, [(b"a", b"b")], {"<e>": 7}).save(tmp_path)
    loaded = BPETokenizer.load(tmp_path)
    assert loaded.vocab == vocab
    assert loaded.encode("ab<e>", special=True) == [5000, 7]


def test_a_folder_is_made(tokenizer, tmp_path):
    """save makes the folder that it is to write into, and takes a path or a string."""
    tokenizer.save(str(tmp_path / "new" / "folder"))
    assert BPETokenizer.load(str(tmp_path / "new" / "folder")).vocab == tokenizer.vocab


def test_saving_again_replaces_the_files(folder):
    """A second tokenizer in the same folder replaces the first, whole."""
    other = BPETokenizer.train("other words", 258)
    other.save(folder)
    assert BPETokenizer.load(folder).vocab == other.vocab
    assert sorted(os.listdir(folder)) == ["merges.txt", "special_tokens_map.json", "vocab.json"]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
@pytest.mark.parametrize("function", ["fsync", "replace"])
def test_a_save_that_fails_leaves_the_old_files_whole(folder, monkeypatch, function, error):
    """If os.fsync or os.replace fails, or is interrupted, the old files are still there, byte for byte, and nothing else."""
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    other = BPETokenizer.train("other words", 258)

    def full(*_, **__):
        raise error("no space left on device")

    monkeypatch.setattr(os, function, full)
    with pytest.raises(error, match="no space left"):
        other.save(folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_save_that_was_killed_hinders_no_other(folder):
    """If the process dies at os.fsync, the old files can still be loaded, and the next save replaces them."""
    before = BPETokenizer.load(folder).vocab
    code = (
        "import os; os.fsync = lambda _: os._exit(7); from katas.tokenization import BPETokenizer; "
        f"BPETokenizer.train('other words', 258).save({str(folder)!r})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 7, done.stderr
    assert BPETokenizer.load(folder).vocab == before
    other = BPETokenizer.train("new words", 258)
    other.save(folder)
    assert BPETokenizer.load(folder).vocab == other.vocab


def test_a_file_is_whole_before_it_takes_its_place(tokenizer, tmp_path, monkeypatch):
    """When os.fsync is called all of the file has been written, and its place is still empty: os.replace comes after."""
    synced, real = [], os.fsync

    def fsync(file):
        synced.append((os.fstat(file).st_size, any(path.suffix in (".json", ".txt") for path in tmp_path.iterdir())))
        return real(file)

    monkeypatch.setattr(os, "fsync", fsync)
    tokenizer.save(tmp_path)
    sizes = [path.stat().st_size for path in tmp_path.iterdir()]
    assert sorted(size for size, _ in synced) == sorted(sizes), f"{synced} bytes were written at os.fsync, {sizes} in the end"
    assert not synced[0][1], "a file has its name before it was written"


def test_a_special_token_that_is_written_like_another_entry_is_refused(tmp_path):
    """A special token "a" has the name of the byte, and "Ġ" that of a blank: save raises a ValueError that contains it."""
    for token in ("a", "Ġ"):
        tokenizer = BPETokenizer.train("xyz xyz", 258, [token])
        with rejects(ValueError, repr(token)):
            tokenizer.save(tmp_path / "new")
        assert not list(tmp_path.rglob("*.*")), "a file was written all the same"


# What others write


def test_without_a_list_special_tokens_are_what_no_merge_makes(tokenizer, folder):
    """Entries of vocab.json that are no byte and no merge's are special, where special_tokens_map.json is missing."""
    (folder / "special_tokens_map.json").unlink()
    assert BPETokenizer.load(folder).special_tokens == tokenizer.special_tokens


@pytest.mark.parametrize(
    "listed",
    [
        {"eos_token": "<|end|>", "additional_special_tokens": ["é b"]},
        {"eos_token": {"content": "<|end|>", "lstrip": False}, "unk_token": "é b"},
        {"pad_token": None, "eos_token": "<|end|>", "additional_special_tokens": ["é b"]},
        {"bos_token": "<|end|>", "eos_token": "<|end|>", "additional_special_tokens": [{"content": "é b"}]},
    ],
)
def test_special_tokens_may_have_names(tokenizer, folder, listed):
    """Other tools name special tokens, and write some as objects with a "content": all of them count."""
    (folder / "special_tokens_map.json").write_text(json.dumps(listed), encoding="utf-8")
    assert BPETokenizer.load(folder).special_tokens == tokenizer.special_tokens


def test_the_first_line_of_the_merges_may_be_missing(tokenizer, folder):
    """Without `#version` the first line is a merge; with it, a later line that begins with # is one."""
    edit(folder / "merges.txt", "#version: 0.2\n", "")
    assert BPETokenizer.load(folder).merges == tokenizer.merges


def test_a_merge_may_begin_with_a_number_sign(tmp_path):
    """`# #` is a merge like any other, in the first line too."""
    tokenizer = BPETokenizer.train("## ##", 257)
    tokenizer.save(tmp_path)
    assert BPETokenizer.load(tmp_path).merges == [(b"#", b"#")]
    edit(tmp_path / "merges.txt", "#version: 0.2\n", "")
    assert BPETokenizer.load(tmp_path).merges == [(b"#", b"#")]


def test_line_ends_of_windows_are_read(tokenizer, folder):
    """merges.txt may have CR LF."""
    path = folder / "merges.txt"
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert BPETokenizer.load(folder).merges == tokenizer.merges


def test_ids_may_have_any_order(tmp_path):
    """GPT-2's own ids begin with "!", and the byte 0 is 188: the files say which id is whose."""
    names = [*sorted(bytes_to_unicode().values(), key=lambda name: (ord(name) > 255, name)), "ab", "<e>"]
    (tmp_path / "vocab.json").write_text(json.dumps({name: number for number, name in enumerate(names)}), encoding="utf-8")
    (tmp_path / "merges.txt").write_text("#version: 0.2\na b\n", encoding="utf-8")
    loaded = BPETokenizer.load(tmp_path)
    assert loaded.encode("!ab<e>", special=True) == [0, 256, 257]
    assert loaded.vocab[188] == b"\0"


# What is damaged


@pytest.mark.parametrize("name", ["vocab.json", "merges.txt"])
def test_a_missing_file_is_named(folder, name):
    """Without vocab.json or merges.txt there is a FileNotFoundError that contains its name."""
    (folder / name).unlink()
    with rejects(FileNotFoundError, name):
        BPETokenizer.load(folder)


@pytest.mark.parametrize("name", ["vocab.json", "special_tokens_map.json"])
@pytest.mark.parametrize("text", ["", "{", '{"a": 1,\n "b": }', "[1]", '"text"', "null"])
def test_what_is_no_json_object_is_named(folder, name, text):
    """A file that is cut off, or no JSON object, raises a ValueError whose message contains its name and the line."""
    (folder / name).write_text(text, encoding="utf-8")
    with rejects(ValueError, name, f"line {text.count(chr(10)) + 1}"):
        BPETokenizer.load(folder)


def test_lines_are_counted_without_a_header_too(folder):
    """Without `#version` the first merge is line 1."""
    path = folder / "merges.txt"
    path.write_text("x\n" + path.read_text(encoding="utf-8").partition("\n")[2], encoding="utf-8")
    with rejects(ValueError, "merges.txt", "line 1"):
        BPETokenizer.load(folder)


@pytest.mark.parametrize("line", ["a", "a b c", "a  b", "", "a \u4e00", "a b"])
def test_a_line_that_is_no_merge_is_named(folder, line):
    """A line without two entries of vocab.json whose join is one raises a ValueError: merges.txt and the line."""
    lines = (folder / "merges.txt").read_text(encoding="utf-8").split("\n")
    lines[3] = line
    (folder / "merges.txt").write_text("\n".join(lines), encoding="utf-8")
    with rejects(ValueError, "merges.txt", "line 4"):
        BPETokenizer.load(folder)


def test_a_file_that_is_cut_off_is_named(folder):
    """merges.txt that ends in the middle of a line raises a ValueError whose message contains it and the line."""
    path = folder / "merges.txt"
    text = path.read_text(encoding="utf-8").rstrip("\n")
    path.write_text(text[: text.rindex(" ")], encoding="utf-8")
    with rejects(ValueError, "merges.txt", f"line {text.count(chr(10)) + 1}"):
        BPETokenizer.load(folder)


def test_a_file_that_lacks_merges_does_not_fit(folder):
    """If merges.txt ends early, nothing makes an entry of vocab.json: a ValueError that contains the file and the entry."""
    path = folder / "merges.txt"
    *kept, last, _ = path.read_text(encoding="utf-8").split("\n")
    path.write_text("\n".join([*kept, ""]), encoding="utf-8")
    with rejects(ValueError, "vocab.json", last.replace(" ", "")):
        BPETokenizer.load(folder)


def test_a_merge_that_is_cut_off_does_not_fit(tmp_path):
    """Where "a bc" is cut to "a b", nothing makes abc, though there are as many merges as before: a ValueError."""
    vocab = {byte: bytes([byte]) for byte in range(256)} | {256: b"ab", 257: b"bc", 258: b"abc"}
    BPETokenizer(vocab, [(b"a", b"b"), (b"b", b"c"), (b"a", b"bc")]).save(tmp_path)
    edit(tmp_path / "merges.txt", "a bc", "a b")
    with rejects(ValueError, "vocab.json", "'abc'"):
        BPETokenizer.load(tmp_path)


def test_an_empty_list_of_special_tokens_is_a_list(folder):
    """Where special_tokens_map.json lists none, what no merge makes does not fit: a ValueError that contains vocab.json."""
    (folder / "special_tokens_map.json").write_text("{}", encoding="utf-8")
    with rejects(ValueError, "vocab.json", "line 1"):
        BPETokenizer.load(folder)


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [('"!": 33', '"!": 34', "34"), ('"!": 33', '"!": 0', "0"),
     ('"!": 33, ', "", "'!'"), ('"!": 33', '"!": "x"', "'x'"), ('"!": 33', '"!": -1', "-1"),
     ('"!": 33', '"!": 3.5', "3.5"), ('"!": 33', '"!": true', "True")],
    ids=["twice", "0 twice", "missing", "text", "negative", "fraction", "boolean"],
)  # fmt: skip
def test_ids_are_integers_each_of_one_entry(folder, old, new, named):
    """An id that is no integer from 0 on, or that is there twice, or a missing byte: a ValueError with vocab.json and it."""
    path = folder / "vocab.json"
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8"))), encoding="utf-8")  # however it was laid out
    edit(path, old, new)
    with rejects(ValueError, "vocab.json", "line", named):
        BPETokenizer.load(folder)


@pytest.mark.parametrize("ascii", [False, True])
def test_the_line_is_that_of_the_entry(folder, ascii):
    """In files of a token a line, as other tools write them, the line is that of the entry, even if it is escaped."""
    path, listed = folder / "vocab.json", folder / "special_tokens_map.json"
    ids = json.loads(path.read_text(encoding="utf-8"))
    for name, number in [("!", "x"), ("Ġ", -1), ("~", ids["}"])]:
        text = json.dumps(ids | {name: number}, indent=2, ensure_ascii=ascii)
        path.write_text(text, encoding="utf-8")
        with rejects(ValueError, "vocab.json", f"line {list(ids).index(name) + 2}"):
            BPETokenizer.load(folder)
    path.write_text(json.dumps(ids | {"中": 999}, indent=0, ensure_ascii=ascii), encoding="utf-8")
    with rejects(ValueError, "vocab.json", f"line {len(ids) + 2}", "中"):
        BPETokenizer.load(folder)
    path.write_text(json.dumps(ids), encoding="utf-8")
    listed.write_text(json.dumps({"a": "<|end|>", "b": ["é b", "中"]}, indent=1, ensure_ascii=ascii), encoding="utf-8")
    with rejects(ValueError, "special_tokens_map.json", "line 5", "中"):
        BPETokenizer.load(folder)


def test_json_that_python_cannot_read_is_named(folder):
    """Thousands of brackets in brackets raise a ValueError that contains the file's name and the line, like all damage."""
    (folder / "vocab.json").write_text("[" * 100_000, encoding="utf-8")
    with rejects(ValueError, "vocab.json", "line 1"):
        BPETokenizer.load(folder)


@pytest.mark.parametrize("name", ["a", "\\ud800"], ids=["a name twice", "a lone surrogate"])
def test_names_are_texts_that_are_there_once(folder, name):
    """A name that vocab.json has twice, or a lone surrogate: a ValueError that contains the file, the line and the name."""
    path = folder / "vocab.json"
    text = json.dumps(json.loads(path.read_text(encoding="utf-8")), indent=0)
    path.write_text(text.replace("{\n", f'{{\n"{name}": 998,\n'), encoding="utf-8")
    with rejects(ValueError, "vocab.json", "line", repr(json.loads(f'"{name}"'))):
        BPETokenizer.load(folder)


def test_the_line_of_a_name_is_not_that_of_a_longer_one(tmp_path):
    """The name ! is not found in the name "! (with the quote): the line is its own."""
    tokenizer = BPETokenizer.train('"!"!', 257)
    assert tokenizer.merges == [(b'"', b"!")]
    tokenizer.save(tmp_path)
    ids = json.loads((tmp_path / "vocab.json").read_text(encoding="utf-8"))
    ids = {'"!': ids.pop('"!')} | ids | {"!": -5}
    (tmp_path / "vocab.json").write_text(json.dumps(ids, indent=0), encoding="utf-8")
    with rejects(ValueError, "vocab.json", f"line {list(ids).index('!') + 2}"):
        BPETokenizer.load(tmp_path)


@pytest.mark.parametrize("name", ["a", "th"])
def test_a_special_token_is_no_byte_and_made_by_no_merge(folder, name):
    """If special_tokens_map.json lists such an entry, a ValueError contains the file, the line and the entry."""
    assert name in json.loads((folder / "vocab.json").read_text(encoding="utf-8"))
    text = json.dumps({"additional_special_tokens": ["<|end|>", "é b", name]}, indent=0)
    (folder / "special_tokens_map.json").write_text(text, encoding="utf-8")
    with rejects(ValueError, "special_tokens_map.json", "line 5", repr(name)):
        BPETokenizer.load(folder)


def test_a_part_of_a_merge_is_made_of_bytes(folder):
    """A special token is no part of a merge: a ValueError that contains merges.txt and the line."""
    ids = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))
    (folder / "vocab.json").write_text(json.dumps(ids | {"中": 998, "中a": 999}), encoding="utf-8")
    (folder / "special_tokens_map.json").unlink()
    edit(folder / "merges.txt", "#version: 0.2\n", "#version: 0.2\n中 a\n")
    with rejects(ValueError, "merges.txt", "line 2"):
        BPETokenizer.load(folder)


@pytest.mark.parametrize("listed", [["<|other|>"], [5], [""], [["<|end|>"]]])
def test_a_special_token_without_an_entry_is_named(folder, listed):
    """What special_tokens_map.json lists must be in vocab.json: else a ValueError that contains both the file and it."""
    (folder / "special_tokens_map.json").write_text(json.dumps({"additional_special_tokens": listed}), encoding="utf-8")
    with rejects(ValueError, "special_tokens_map.json", "line"):
        BPETokenizer.load(folder)


@pytest.mark.parametrize("name", ["vocab.json", "merges.txt", "special_tokens_map.json"])
def test_a_file_that_is_not_utf8_is_named(folder, name):
    """Bytes that are no UTF-8 raise a ValueError whose message contains the file and the line."""
    (folder / name).write_bytes(b"{}\n\xff\xfe")
    with rejects(ValueError, name, "line 2"):
        BPETokenizer.load(folder)


def test_nothing_of_the_process_is_changed(tmp_path):
    """No part of this kata uses NumPy's global generator, changes its error handling, or leaves the working directory."""
    with undisturbed():
        characters = CharTokenizer("abc")
    for call in [
        lambda: characters.vocab_size,
        lambda: characters.encode("cab"),
        lambda: characters.decode([0, 2]),
        lambda: list(pretokenize("a b")),
        lambda: learn_merges({b"ab": 1}, 1),
        bytes_to_unicode,
        lambda: BPETokenizer.train("ab ab", 257),
    ]:
        with undisturbed():
            call()
    with undisturbed():
        tokenizer = BPETokenizer({byte: bytes([byte]) for byte in range(256)}, [])
    for call in [
        lambda: tokenizer.vocab_size,
        lambda: tokenizer.encode("ab"),
        lambda: tokenizer.encode_bytes(b"ab"),
        lambda: tokenizer.decode([97]),
        lambda: tokenizer.decode_bytes([97]),
        lambda: list(tokenizer.decode_stream([97])),
        lambda: list(tokenizer.encode_iterable(["ab"])),
        lambda: tokenizer.save(tmp_path),
        lambda: BPETokenizer.load(tmp_path),
    ]:
        with undisturbed():
            call()
