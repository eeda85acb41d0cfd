import functools
import hashlib
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from katas.acceleration import accelerate
from katas.autograd import no_grad
from katas.capstone import CONFIG, CONFIG_BYTES, FILES, LONGEST, VERSION, Bundle
from katas.layers import Linear
from katas.model_compression import prune_heads, prune_units
from katas.precision import quantize
from katas.tokenization import BPETokenizer
from katas.transformers import GPT, GPTConfig

from specs.check import Mismatch, assert_close, rejects
from specs.door import ROOT

END = "<|end|>"
SIZE = 262
CHAT = {"system": ("", "\n"), "user": ("User: ", f"{END}\n"), "assistant": ("GPT:", END)}
KINDS = {
    "learned": {},
    "sinusoidal, no bias": {"positions": "sinusoidal", "bias": False},
    "rotary, rms, window": {"positions": "rotary", "norm": "rms", "window": 9},
    "rms, no bias": {"norm": "rms", "bias": False},
    "learned, dropout": {"dropout": 0.25},
}


@functools.cache
def tokenizer() -> BPETokenizer:
    return BPETokenizer.train("she sells sea shells " * 9, SIZE, [END])


def gpt(seed: int = 0, **options) -> GPT:
    model = GPT(GPTConfig(**{"vocab_size": SIZE, "context": 12, "n_layer": 2, "n_head": 2, "d_model": 8} | options))
    rng = np.random.default_rng(seed)
    for parameter in model.parameters():
        parameter.data = rng.normal(0, 0.5, parameter.shape).astype(np.float32)
    return model


def logits(model: GPT) -> np.ndarray:
    with no_grad():
        return model.eval()(np.arange(10)[None] * 7).data


def saved(folder, seed: int = 0, **options) -> Path:
    """The folder of a bundle."""
    Bundle(gpt(seed, **options), tokenizer(), "small", END, CHAT).save(folder / "bundle")
    return folder / "bundle"


@functools.cache
def _files(**options) -> dict[str, bytes]:
    with tempfile.TemporaryDirectory() as folder:
        return contents(saved(Path(folder), **options))


def written(folder, **options) -> Path:
    """The folder of a bundle, of files as `save` wrote them once."""
    shutil.rmtree(folder / "bundle", ignore_errors=True)
    (folder / "bundle").mkdir()
    for name, content in _files(**options).items():
        (folder / "bundle" / name).write_bytes(content)
    return folder / "bundle"


def contents(folder) -> dict[str, bytes]:
    """All files below a folder, by their names."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def forged(folder, change) -> None:
    """Changes config.json and gives it the checksum that fits."""
    config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    change(config)
    rest = {name: value for name, value in config.items() if name != "checksum"}
    config["checksum"] = hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()
    (folder / CONFIG).write_text(json.dumps(config), encoding="utf-8")


# A bundle


def test_its_parts():
    """The arguments are attributes; the name is "gpt" unless told otherwise, and there is no end, no chat, no acceleration."""
    model = gpt()
    bundle = Bundle(model, tokenizer())
    assert (bundle.model, bundle.tokenizer) == (model, tokenizer())
    assert (bundle.name, bundle.end, bundle.chat, bundle.accelerated) == ("gpt", None, None, False)
    assert Bundle(model, tokenizer(), "small", END, CHAT, True).chat == CHAT


@pytest.mark.parametrize(("size", "number"), [(SIZE + 3, SIZE), (SIZE - 2, SIZE - 2)])
def test_model_and_tokenizer_have_the_same_ids(size, number):
    """An id that only one of them has raises a ValueError that contains it: the first such id."""
    with rejects(ValueError, str(number)):
        Bundle(gpt(vocab_size=size), tokenizer())


def test_end_is_a_special_token():
    """Another string, an ordinary token too, raises a ValueError that contains it."""
    for end in ("<|other|>", "s", ""):
        with rejects(ValueError, repr(end)):
            Bundle(gpt(), tokenizer(), end=end)


@pytest.mark.parametrize(("name", "value"), [("name", 3), ("name", None), ("accelerated", 1), ("accelerated", None)])
def test_a_name_is_text_and_accelerated_a_boolean(name, value):
    """Anything else could not be loaded: a ValueError contains its name and the value."""
    with rejects(ValueError, name, repr(value)):
        Bundle(gpt(), tokenizer(), **{name: value})


def test_chat_needs_an_assistant():
    """A chat without the role "assistant", an empty one too, raises a ValueError that contains it."""
    for chat in ({"user": ("", "")}, {}):
        with rejects(ValueError, "assistant"):
            Bundle(gpt(), tokenizer(), chat=chat)


@pytest.mark.parametrize("chat", ["chat", 3, False, ["user", "assistant"], [("assistant", ("", ""))]], ids=repr)
def test_a_chat_is_a_dict(chat):
    """Anything else raises a ValueError that contains "chat" and the value."""
    with rejects(ValueError, "chat", repr(chat)):
        Bundle(gpt(), tokenizer(), chat=chat)


@pytest.mark.parametrize("around", [("a",), ("a", "b", "c"), ("a", 3), (None, "b"), "ab", None, 2])
def test_a_role_has_two_texts(around):
    """A role with anything else than two strings raises a ValueError that contains the role."""
    with rejects(ValueError, "user"):
        Bundle(gpt(), tokenizer(), chat=CHAT | {"user": around})


@pytest.mark.parametrize("role", [17, None])
def test_a_role_is_a_string(role):
    """JSON has no other keys: anything else raises a ValueError that contains it."""
    with rejects(ValueError, repr(role)):
        Bundle(gpt(), tokenizer(), chat=CHAT | {role: ("", "")})


def test_the_ids_of_a_conversation():
    """Each message between its role's texts, then the text before the assistant's next message."""
    bundle, encode = Bundle(gpt(), tokenizer(), chat=CHAT), functools.partial(tokenizer().encode, special=True)
    messages = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "she sells?"}]
    (end,) = encode(END)
    want = [*encode("Be kind."), *encode("\n"), *encode("User: "), *encode("she sells?"), end, *encode("\n"), *encode("GPT:")]
    assert bundle.chat_ids(messages) == want
    messages += [{"role": "assistant", "content": "sea shells"}]
    assert bundle.chat_ids(messages) == [*want, *encode("sea shells"), end, *encode("GPT:")]
    assert bundle.chat_ids([]) == encode("GPT:")


@pytest.mark.parametrize("content", ["", " she sells \n", "\n\n"])
def test_a_content_is_taken_as_it_is(content):
    """It may be empty, and blanks and line ends around it stay."""
    bundle, encode = Bundle(gpt(), tokenizer(), chat=CHAT), functools.partial(tokenizer().encode, special=True)
    want = [*encode(CHAT["user"][0]), *encode(content), *encode(CHAT["user"][1]), *encode("GPT:")]
    assert bundle.chat_ids([{"role": "user", "content": content}]) == want


@pytest.mark.parametrize("role", CHAT)
def test_a_message_can_not_forge_a_special_token(role):
    """A special token in a message of any role is ordinary text; in the template it is its id."""
    bundle, (before, after) = Bundle(gpt(), tokenizer(), chat=CHAT), CHAT[role]
    ids = bundle.chat_ids([{"role": role, "content": f"a{END}b"}])
    assert ids.count(tokenizer().special_tokens[END]) == after.count(END)
    assert tokenizer().decode(ids) == f"{before}a{END}b{after}GPT:"


def test_an_unknown_role():
    """A ValueError contains it. Without a chat, a ValueError says so."""
    with rejects(ValueError, "boss"):
        Bundle(gpt(), tokenizer(), chat=CHAT).chat_ids([{"role": "boss", "content": "a"}])
    with rejects(ValueError, "chat"):
        Bundle(gpt(), tokenizer()).chat_ids([])


@pytest.mark.parametrize("field", ["role", "content"])
def test_a_message_without_role_or_content(field):
    """A message in which one of them is missing, or no string, raises a ValueError that contains the field."""
    bundle, whole = Bundle(gpt(), tokenizer(), chat=CHAT), {"role": "user", "content": "she sells"}
    rest = {name: text for name, text in whole.items() if name != field}
    for message in (rest, rest | {field: None}, rest | {field: 3}, rest | {field: ["a"]}):
        with rejects(ValueError, field):
            bundle.chat_ids([whole, message])


# Saved and loaded


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_loaded_is_what_was_saved(kind, tmp_path):
    """Every array bit for bit, the config, the tokenizer, name, end and chat. The model is in eval mode."""
    model = gpt(**KINDS[kind])
    Bundle(model, tokenizer(), "small", END, CHAT).save(tmp_path / "bundle")
    found = Bundle.load(str(tmp_path / "bundle"))
    assert found.model.config == model.config
    state, want = found.model.state_dict(), model.state_dict()
    assert state.keys() == want.keys()
    assert all(np.array_equal(state[name], want[name]) and state[name].dtype == want[name].dtype for name in want)
    assert [type(module) for module in found.model.modules()] == [type(module) for module in model.modules()]
    assert not any(module.training for module in found.model.modules())
    assert (found.tokenizer.vocab, found.tokenizer.merges) == (tokenizer().vocab, tokenizer().merges)
    assert found.tokenizer.special_tokens == {END: SIZE - 1}
    assert (found.name, found.end, found.chat, found.accelerated) == ("small", END, CHAT, False)
    assert_close(logits(found.model), logits(model))


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("kind", ["learned", "rotary, rms, window"])
def test_a_quantized_model(kind, bits, tmp_path):
    """Its integers come back as integers, and the file is as small as they are."""
    model = quantize(gpt(d_model=32, **KINDS[kind]), bits)
    Bundle(model, tokenizer()).save(tmp_path / "bundle")
    state, want = Bundle.load(tmp_path / "bundle").model.state_dict(), model.state_dict()
    assert state.keys() == want.keys()
    assert all(np.array_equal(state[name], want[name]) and state[name].dtype == want[name].dtype for name in want)
    nbytes = sum(array.nbytes for array in want.values())
    assert nbytes <= (tmp_path / "bundle" / "model.safetensors").stat().st_size <= nbytes + 10_000


def test_half(tmp_path):
    """With half=True, floats are stored as float16, and loaded as float32 with fewer digits. The model itself keeps its own."""
    model = gpt(d_model=32)
    before = model.state_dict()
    Bundle(model, tokenizer()).save(tmp_path / "bundle", half=True)
    found = Bundle.load(tmp_path / "bundle").model.state_dict()
    for name, array in before.items():
        assert found[name].dtype == np.float32
        assert np.array_equal(found[name], array.astype(np.float16).astype(np.float32))
        assert np.array_equal(model.state_dict()[name], array)
    whole = sum(array.nbytes for array in before.values())
    assert (tmp_path / "bundle" / "model.safetensors").stat().st_size < 0.5 * whole + 5000


@pytest.mark.parametrize("bits", [8, 4])
def test_half_of_a_quantized_model(bits, tmp_path):
    """With half=True, what a quantized model still has as floats is stored as float16; its integers stay as they are."""
    from safetensors.numpy import load_file

    model = quantize(gpt(d_model=32), bits)
    Bundle(model, tokenizer()).save(tmp_path / "bundle", half=True)
    want = model.state_dict()
    for name, array in load_file(tmp_path / "bundle" / "model.safetensors").items():
        assert array.dtype == (np.float16 if want[name].dtype.kind == "f" else want[name].dtype)
    for name, array in Bundle.load(tmp_path / "bundle").model.state_dict().items():
        assert array.dtype == want[name].dtype
        assert np.array_equal(array.astype(np.float16), want[name].astype(np.float16))


@pytest.mark.parametrize("bits", [None, 8, 4])
def test_a_pruned_model(bits, tmp_path):
    """A GPT whose blocks have lost different numbers of heads and neurons comes back as it is. It may be quantized."""
    model = gpt()
    first, second = model.transformer.h
    prune_heads(first.attn, [1])
    prune_units(first.mlp, first.mlp.c_fc, range(3, 25))
    prune_units(second.mlp, second.mlp.c_fc, range(2, 31))
    model = model if bits is None else quantize(model, bits)
    Bundle(model, tokenizer()).save(tmp_path / "bundle")
    found = Bundle.load(tmp_path / "bundle").model
    assert [block.mlp.c_fc.weight.shape for block in found.transformer.h] == [(22, 8), (29, 8)]
    assert [block.attn.c_attn.weight.shape for block in found.transformer.h] == [(12, 8), (24, 8)]
    assert_close(logits(found), logits(model))


def test_accelerated(tmp_path):
    """With accelerated=True, load exchanges the layers that kata 15's accelerate exchanges. The arrays are the same."""
    model = gpt()
    Bundle(model, tokenizer(), accelerated=True).save(tmp_path / "bundle")
    found, want = Bundle.load(tmp_path / "bundle"), accelerate(gpt())
    assert found.accelerated
    assert [type(module) for module in found.model.modules()] == [type(module) for module in want.modules()]
    assert_close(logits(found.model), logits(model))


def test_a_file_is_read_to_its_end(tmp_path):
    """One byte that was altered is noticed in the last place of a file of more than a megabyte, too."""
    Bundle(gpt(context=40_000), tokenizer()).save(tmp_path / "bundle")
    path = tmp_path / "bundle" / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with rejects(ValueError, path.name):
        Bundle.load(tmp_path / "bundle")


def test_an_accelerated_model_is_saved_as_any(tmp_path):
    """The names of its arrays are the same."""
    Bundle(accelerate(gpt()), tokenizer()).save(tmp_path / "bundle")
    assert_close(logits(Bundle.load(tmp_path / "bundle").model), logits(gpt()))


def test_the_files(tmp_path):
    """A bundle holds FILES and config.json, as kata 11 and safetensors write them, and nothing lies beside it."""
    from safetensors.numpy import load_file

    folder = saved(tmp_path)
    assert sorted(contents(tmp_path)) == sorted(f"bundle/{name}" for name in (CONFIG, *FILES))
    assert BPETokenizer.load(folder).vocab == tokenizer().vocab
    state = load_file(folder / "model.safetensors")
    assert state.keys() == gpt().state_dict().keys()
    assert np.array_equal(state["transformer.wte.weight"], gpt().transformer.wte.weight.data)


def test_the_config(tmp_path):
    """config.json says what the README says: sizes, the bytes and the SHA-256 of each file, and a checksum of all that."""
    folder = saved(tmp_path, window=9, positions="rotary")
    config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    checksum = config.pop("checksum")
    assert checksum == hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()
    files = config.pop("files")
    assert files == {
        name: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        for name, content in contents(folder).items()
        if name != CONFIG
    }
    model = {"vocab_size": SIZE, "context": 12, "n_layer": 2, "n_head": 2, "d_model": 8, "dropout": 0.0, "bias": True}
    model |= {"positions": "rotary", "norm": "layer", "window": 9}
    assert config == {
        "format": "tensor-kata",
        "version": VERSION,
        "name": "small",
        "end": END,
        "chat": {role: list(around) for role, around in CHAT.items()},
        "accelerated": False,
        "sizes": {"model": model, "heads": [2, 2], "neurons": [32, 32], "weights": "float32"},
    }


@pytest.mark.parametrize(("bits", "dtype"), [(8, "int8"), (4, "uint8")])
def test_the_dtype_of_quantized_weights(bits, dtype, tmp_path):
    """config.json says int8 or uint8."""
    Bundle(quantize(gpt(), bits), tokenizer()).save(tmp_path / "bundle")
    assert json.loads((tmp_path / "bundle" / CONFIG).read_text(encoding="utf-8"))["sizes"]["weights"] == dtype


def test_the_checksum_of_any_text(tmp_path):
    """A name or a chat in other letters, too."""
    bundle = Bundle(gpt(), tokenizer(), name="Ωmega «∞»", chat={"assistant": ("Übersetzung: ", "\u2028")})
    bundle.save(tmp_path / "bundle")
    config = json.loads((tmp_path / "bundle" / CONFIG).read_text(encoding="utf-8"))
    checksum = config.pop("checksum")
    assert checksum == hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()
    found = Bundle.load(tmp_path / "bundle")
    assert (found.name, found.chat) == (bundle.name, bundle.chat)


def test_a_folder_in_a_new_folder(tmp_path):
    """Folders on the way are made."""
    Bundle(gpt(), tokenizer()).save(tmp_path / "a" / "b" / "bundle")
    Bundle.load(tmp_path / "a" / "b" / "bundle")


# As a whole or not at all


def test_a_new_bundle_replaces_the_old_one(tmp_path):
    """And an empty folder. Nothing is left beside it."""
    (tmp_path / "bundle").mkdir()
    for seed in range(3):
        saved(tmp_path, seed)
        assert_close(logits(Bundle.load(tmp_path / "bundle").model), logits(gpt(seed)))
        assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_a_link_to_a_bundle(tmp_path):
    """A link to the folder stays one: what it leads to is replaced, and loaded."""
    saved(tmp_path)
    (tmp_path / "link").symlink_to(tmp_path / "bundle", target_is_directory=True)
    for seed in (1, 2):
        Bundle(gpt(seed), tokenizer()).save(tmp_path / "link")
        assert (tmp_path / "link").is_symlink()
        for name in ("link", "bundle"):
            assert_close(logits(Bundle.load(tmp_path / name).model), logits(gpt(seed)))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle", "link"]


def test_another_folder_is_not_replaced(tmp_path):
    """A folder that holds anything else, a folder in it too, or a file, raises a FileExistsError that contains its name."""
    for name in ("letter.txt", ".env", "photos"):
        shutil.rmtree(tmp_path / "bundle", ignore_errors=True)
        folder = saved(tmp_path)
        if name == "photos":
            (folder / name).mkdir()
        else:
            (folder / name).write_text("dear")
        before = contents(tmp_path)
        with rejects(FileExistsError, "bundle"):
            saved(tmp_path, 1)
        assert contents(tmp_path) == before
        assert (folder / name).exists()
    (tmp_path / "file").write_text("dear")
    with rejects(FileExistsError, "file"):
        Bundle(gpt(), tokenizer()).save(tmp_path / "file")
    assert (tmp_path / "file").read_text() == "dear"


def test_a_folder_of_another_tool_is_not_replaced(tmp_path):
    """Files of the same names are no bundle, unless its config.json says so: a FileExistsError contains the folder."""
    others = [(CONFIG, '{"model_type": "gpt2"}'), (CONFIG, '{"format": "onnx", "version": 1}')]
    for number, (name, content) in enumerate([*others, ("merges.txt", "a b"), ("vocab.json", "{}")]):
        folder = tmp_path / f"other {number}"
        folder.mkdir()
        (folder / name).write_text(content)
        with rejects(FileExistsError, str(folder)):
            Bundle(gpt(), tokenizer()).save(folder)
        assert (folder / name).read_text() == content


def spoiled(kind: str) -> tuple[GPT, str]:
    """A model that can't be saved, and what the error must contain."""
    model = gpt()
    if kind == "NaN":
        model.transformer.h[1].mlp.c_fc.weight.data[3, 2] = np.nan
        return model, "transformer.h.1.mlp.c_fc.weight"
    if kind == "infinite":
        model.transformer.ln_f.bias.data[3] = np.inf
        return model, "transformer.ln_f.bias"
    if kind == "an untied head":
        model.lm_head = Linear(8, SIZE, bias=False)
        return model, "lm_head.weight"
    if kind == "float64":
        for parameter in model.parameters():
            parameter.data = parameter.data.astype(np.float64)
        return model, "float64"
    if kind == "a layer of float64":
        model.transformer.ln_f.bias.data = np.zeros(8)
        return model, "transformer.ln_f.bias"
    if kind == "a layer without a bias":
        model.transformer.h[1].mlp.c_fc = Linear(8, 32, bias=False)
        return model, "transformer.h.1.mlp.c_fc.bias"
    model.config = replace(model.config, positions="rotary")
    return model, "transformer.wpe.weight"


KINDS_OF_SPOILED = [
    "NaN",
    "infinite",
    "an untied head",
    "float64",
    "a layer of float64",
    "a layer without a bias",
    "another config",
]


@pytest.mark.parametrize("kind", KINDS_OF_SPOILED)
def test_what_could_not_be_loaded_is_not_saved(kind, tmp_path):
    """A ValueError contains the array, or its dtype. The old bundle stays, and nothing lies beside it."""
    saved(tmp_path)
    before, (model, name) = contents(tmp_path), spoiled(kind)
    with rejects(ValueError, name):
        Bundle(model, tokenizer()).save(tmp_path / "bundle")
    assert contents(tmp_path) == before


def test_a_config_that_would_be_too_long_is_not_saved(tmp_path):
    """A chat that load would not read: a ValueError contains config.json. The old bundle stays, and nothing lies beside it."""
    saved(tmp_path)
    before = contents(tmp_path)
    with rejects(ValueError, CONFIG):
        Bundle(gpt(), tokenizer(), chat={"assistant": ("x" * CONFIG_BYTES, "")}).save(tmp_path / "bundle")
    assert contents(tmp_path) == before
    chat = {"assistant": ("x" * (CONFIG_BYTES // 2), "")}
    Bundle(gpt(), tokenizer(), chat=chat).save(tmp_path / "bundle")
    assert Bundle.load(tmp_path / "bundle").chat == chat


def test_a_config_of_exactly_as_many_bytes_as_it_may_have(tmp_path):
    """CONFIG_BYTES are written and read; one more is refused."""

    def save(length: int) -> int:
        Bundle(gpt(), tokenizer(), chat={"assistant": ("x" * length, "")}).save(tmp_path / "bundle")
        return (tmp_path / "bundle" / CONFIG).stat().st_size

    length = CONFIG_BYTES - save(0)
    assert save(length) == CONFIG_BYTES
    assert Bundle.load(tmp_path / "bundle").chat == {"assistant": ("x" * length, "")}
    with rejects(ValueError, CONFIG):
        save(length + 1)


def test_a_calibrated_model(tmp_path):
    """Limits of inputs that are infinite, because there are none, are no error; finite ones come back."""
    model = quantize(gpt())
    model.transformer.h[0].mlp.c_fc.limits[...] = (-2, 3)
    Bundle(model, tokenizer()).save(tmp_path / "bundle")
    assert Bundle.load(tmp_path / "bundle").model.transformer.h[0].mlp.c_fc.limits.tolist() == [-2, 3]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_an_error_at_any_point_leaves_a_bundle(error, tmp_path, monkeypatch):
    """Whichever call of os.fsync, os.rename or os.replace fails: the error passes through, the old bundle or the new one is
    there byte for byte, and nothing lies beside it.
    """
    saved(tmp_path, 1)
    new = contents(tmp_path)
    for place in range(100):
        calls = []
        saved(tmp_path)
        old = contents(tmp_path)

        def failing(name, real, *arguments, place=place, calls=calls, **options):
            calls.append(name)
            if len(calls) == place + 1:
                raise error("at a bad time")
            return real(*arguments, **options)

        with monkeypatch.context() as patch:
            for name in ("fsync", "rename", "replace"):
                patch.setattr(os, name, functools.partial(failing, name, getattr(os, name)))
            try:
                saved(tmp_path, 1)
            except error:
                assert contents(tmp_path) in (old, new), f"after os.{calls[place]} failed, call {place + 1} of {calls}"
                continue
            break
    assert calls.count("fsync") >= 5, "os.fsync was not called for each of the five files"
    assert place >= 6
    assert_close(logits(Bundle.load(tmp_path / "bundle").model), logits(gpt(1)))


def test_all_files_are_on_the_disk_before_the_folder_takes_its_place(tmp_path, monkeypatch):
    """os.fsync is called for each file, when all of it has been written; the folder is renamed afterwards. Folders may be
    synchronized at any time.
    """
    sizes, renamed, fsync, rename = [], [], os.fsync, os.rename

    def synced(file):
        if stat.S_ISREG(os.fstat(file).st_mode):
            sizes.append(os.fstat(file).st_size)
        fsync(file)

    def moved(old, new, **options):
        renamed.append(len(sizes))
        rename(old, new, **options)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "rename", moved)
    monkeypatch.setattr(os, "replace", moved)
    folder = saved(tmp_path)
    written = [len(content) for content in contents(folder).values()]
    assert all(sizes.count(size) >= written.count(size) for size in written), f"{sizes} at os.fsync, {written} in the end"
    assert renamed[-1] == len(sizes)


def test_a_full_disk_leaves_the_old_bundle(tmp_path):
    """An error while it writes is an OSError; the old bundle is whole, and nothing lies beside it."""
    resource = pytest.importorskip("resource")
    saved(tmp_path)
    before = contents(tmp_path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    for room in (0, 100, 3000, 10_000):
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))  # longer files than that are an OSError
        try:
            saved(tmp_path, 1)
        except OSError:
            pass
        else:
            raise AssertionError(f"it wrote files of more than {room} bytes where there was no room, or hid the error")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert contents(tmp_path) == before


KILLED = """
import os, signal, shutil, sys
from pathlib import Path
import numpy as np
from katas.capstone import Bundle
from katas.tokenization import BPETokenizer
from katas.transformers import GPT, GPTConfig
if "safetensors" in sys.modules:
    sys.exit("safetensors is imported with katas.capstone, not when it is needed")
root = Path(sys.argv[1])
tokenizer = BPETokenizer.train("she sells sea shells " * 9, 262)
def bundle(number):
    model = GPT(GPTConfig(262, 12, 1, 2, 8), np.random.default_rng(number))
    return Bundle(model, tokenizer, f"number {number}")
bundle(0).save(root / "first")
bundle(1).save(root / "other")  # whatever is imported when it is needed has been imported now
want = [bundle(number).model.transformer.wte.weight.data for number in (0, 1)]
WRITING = os.O_WRONLY | os.O_RDWR
def changes(event, arguments):
    if event == "open":
        return isinstance(arguments[2], int) and arguments[2] & WRITING
    return event in ("os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.link", "os.symlink", "os.truncate")
for place in range(500):
    home = root / str(place)
    home.mkdir()
    shutil.copytree(root / "first", home / "bundle")
    child = os.fork()
    if not child:
        seen = 0
        def watch(event, arguments):
            global seen
            if changes(event, arguments):
                seen += 1
                if seen > place:
                    os.kill(os.getpid(), signal.SIGKILL)
        sys.addaudithook(watch)
        bundle(1).save(home / "bundle")
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    found = Bundle.load(home / "bundle")
    number = int(found.name.split()[1])
    same = np.array_equal(found.model.transformer.wte.weight.data, want[number])
    bundle(1).save(home / "bundle")
    same = same and Bundle.load(home / "bundle").name == "number 1"
    print(status, number, same, len(os.listdir(home)), len(os.listdir(home / "bundle")))
    shutil.rmtree(home)
    if status == 0:
        break
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
@pytest.mark.timeout(60)
def test_a_kill_at_any_point_leaves_a_whole_bundle(tmp_path):
    """Wherever SIGKILL ends `save`, at any of its calls of the system, `load` finds the old bundle or the new one, and the next
    save replaces it and removes what was left beside it. `safetensors` is imported when it is needed.
    """
    run = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], cwd=ROOT, capture_output=True, text=True)
    if run.returncode:
        raise Mismatch(f"the child process failed:\n{run.stderr}")
    lines = [line.split() for line in run.stdout.splitlines()]
    numbers = [int(number) for _, number, *_ in lines]
    assert all(same == "True" for _, _, same, *_ in lines)
    assert all(left == "1" for *_, left, _ in lines), "something is left beside the folder after the next save"
    assert all(files == "5" for *_, files in lines), "something is left in the folder after the next save"
    assert numbers == sorted(numbers), "the old bundle came back after the new one"
    assert lines[-1][:2] == ["0", "1"]
    assert len(lines) > 12, "files are written in another way than by the process"


def _raises(error: Exception, *arguments):
    raise error


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_kill_before_the_last_rename(tmp_path, monkeypatch):
    """When the old folder has made room, and the new one hasn't taken its place, `load` and `save` find one of them."""
    calls = []

    def counted(real, *arguments, **options):
        calls.append(real)
        if len(calls) == last:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*arguments, **options)

    for name in ("rename", "replace"):
        monkeypatch.setattr(os, name, functools.partial(counted, getattr(os, name)))
    last = 0
    saved(tmp_path)
    calls.clear()
    saved(tmp_path)
    last = len(calls)
    calls.clear()
    child = os.fork()
    if not child:
        saved(tmp_path, 1)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    last = 0
    found = logits(Bundle.load(tmp_path / "bundle").model)
    assert any(np.array_equal(found, logits(gpt(seed))) for seed in (0, 1))
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "link").symlink_to(tmp_path / "bundle", target_is_directory=True)
    assert np.array_equal(logits(Bundle.load(tmp_path / "elsewhere" / "link").model), found)
    shutil.rmtree(tmp_path / "elsewhere")
    for error in (ValueError, OSError):
        with monkeypatch.context() as patch, rejects(error, "not finite" if error is ValueError else "full"):
            if error is OSError:
                patch.setattr(os, "fsync", functools.partial(_raises, OSError("the disk is full")))
            Bundle(spoiled("NaN")[0] if error is ValueError else gpt(3), tokenizer()).save(tmp_path / "bundle")
        assert np.array_equal(logits(Bundle.load(tmp_path / "bundle").model), found)
    saved(tmp_path, 2)
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]
    assert np.array_equal(logits(Bundle.load(tmp_path / "bundle").model), logits(gpt(2)))


# What is refused


@pytest.mark.parametrize("name", [CONFIG, *FILES])
def test_a_missing_file(name, tmp_path):
    """A FileNotFoundError contains its name."""
    folder = saved(tmp_path)
    (folder / name).unlink()
    with rejects(FileNotFoundError, name):
        Bundle.load(folder)


def test_a_missing_folder(tmp_path):
    """A FileNotFoundError contains its name."""
    with rejects(FileNotFoundError, "nowhere"):
        Bundle.load(tmp_path / "nowhere")


def test_an_empty_folder(tmp_path):
    """A FileNotFoundError contains config.json."""
    (tmp_path / "empty").mkdir()
    with rejects(FileNotFoundError, "empty", CONFIG):
        Bundle.load(tmp_path / "empty")


@pytest.mark.parametrize("place", ["before", "after"])
def test_a_bundle_that_is_replaced_while_it_is_read(place, tmp_path, monkeypatch):
    """Another process may save when `load` reads the tokenizer or makes the GPT: what is loaded is the old bundle or the new
    one as a whole, or a ValueError or a FileNotFoundError tells of it.
    """
    other = BPETokenizer.train("by the sea shore " * 9, SIZE, [END])
    both = [Bundle(gpt(0), tokenizer(), "first"), Bundle(gpt(1), other, "second")]
    for owner, name in ((BPETokenizer, "load"), (GPT, "__init__"), (GPT, "load_state_dict")):
        both[0].save(tmp_path / "bundle")
        real = getattr(owner, name)

        def replaced(*arguments, real=real, owner=owner, name=name):
            monkeypatch.setattr(owner, name, real if name != "load" else staticmethod(real))
            if place == "before":
                both[1].save(tmp_path / "bundle")
            result = real(*arguments)
            if place == "after":
                both[1].save(tmp_path / "bundle")
            return result

        monkeypatch.setattr(owner, name, staticmethod(replaced) if name == "load" else replaced)
        try:
            found = Bundle.load(tmp_path / "bundle")
        except (FileNotFoundError, ValueError):
            pass
        else:
            want = both[found.name == "second"]
            assert found.tokenizer.vocab == want.tokenizer.vocab
            assert_close(logits(found.model), logits(want.model))
        monkeypatch.undo()


@pytest.mark.parametrize("name", [CONFIG, *FILES])
def test_an_altered_file(name, tmp_path):
    """Wherever a bit flips, where a byte is missing or added: a ValueError contains the file's name."""
    folder = written(tmp_path)
    whole = (folder / name).read_bytes()
    variants = [whole[:-1], whole[: len(whole) // 2], whole + b" ", b""]
    for place in np.linspace(0, len(whole) - 1, 12).astype(int):
        variants.append(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
    for content in variants:
        (folder / name).write_bytes(content)
        if name == CONFIG and content == whole + b" ":
            continue  # the same JSON
        with rejects(ValueError, name):
            Bundle.load(folder)


def test_the_whole_file_is_compared(tmp_path):
    """In a file of hundreds of kilobytes, a bit that flips in the middle or at the end raises a ValueError that contains it."""
    folder = written(tmp_path, d_model=64)
    whole = (folder / "model.safetensors").read_bytes()
    assert len(whole) > 300_000
    for place in (len(whole) // 2, len(whole) - 1):
        (folder / "model.safetensors").write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        with rejects(ValueError, "model.safetensors"):
            Bundle.load(folder)


@pytest.mark.parametrize("content", [b"[]", b"3", b"null", b"{}", b"[" * 100_000, b"\xff\xfe", b'{"format": "tensor-kata"}'])
def test_a_config_that_is_none(content, tmp_path):
    """Whatever else is in config.json, a ValueError contains its name."""
    folder = written(tmp_path)
    (folder / CONFIG).write_bytes(content)
    with rejects(ValueError, CONFIG):
        Bundle.load(folder)


def test_a_config_that_is_too_long(tmp_path):
    """A config.json of more than CONFIG_BYTES raises a ValueError that contains its name, and the rest of it is not read."""
    folder = written(tmp_path)
    with (folder / CONFIG).open("r+b") as file:
        file.truncate(50 * CONFIG_BYTES)
    tracemalloc.start()
    try:
        with rejects(ValueError, CONFIG):
            Bundle.load(folder)
        assert tracemalloc.get_traced_memory()[1] < 2 * CONFIG_BYTES
    finally:
        tracemalloc.stop()


FIELDS = {
    "version": [True, 1.0],
    "name": [3, None, ["a"]],
    "accelerated": ["no", 1, None],
    "files": [[*FILES], 3, "files"],
    "sizes": [[], None],
    "end": [["a"], 3, {}],
    "chat": [3, ["a"], "chat", {"assistant": None}],
}


@pytest.mark.parametrize("name", FIELDS)
def test_fields_of_another_type(name, tmp_path):
    """Whatever is in a field, though the checksum is right: a ValueError contains config.json."""
    folder = written(tmp_path)
    for value in FIELDS[name]:
        forged(folder, lambda config, value=value: config.update({name: value}))
        with rejects(ValueError, CONFIG):
            Bundle.load(folder)
        Bundle(gpt(), tokenizer()).save(folder)


@pytest.mark.parametrize("name", ["bytes", "sha256"])
def test_facts_of_another_type(name, tmp_path):
    """So it is with what config.json says of a file, and of the model."""
    folder = written(tmp_path)
    for change in (
        lambda config: config["files"]["vocab.json"].update({name: [1]}),
        lambda config: config["files"]["vocab.json"].pop(name),
        lambda config: config["files"].update({"vocab.json": [name]}),
        lambda config: config["sizes"].pop("heads"),
        lambda config: config["sizes"].update(weights=[name]),
        lambda config: config["sizes"].update(model=[name]),
        lambda config: config["sizes"]["model"].update(dropout=name),
        lambda config: config["sizes"]["model"].update({name: 1}),
    ):
        forged(folder, change)
        with rejects(ValueError, CONFIG):
            Bundle.load(folder)
        Bundle(gpt(), tokenizer()).save(folder)


@pytest.mark.parametrize("version", [VERSION + 1, VERSION - 1, "1", None])
def test_another_version(version, tmp_path):
    """A ValueError contains both versions, though the checksum is right."""
    folder = written(tmp_path)
    forged(folder, lambda config: config.update(version=version))
    with rejects(ValueError, repr(version), str(VERSION)):
        Bundle.load(folder)


def test_another_format(tmp_path):
    """A ValueError contains it."""
    folder = written(tmp_path)
    forged(folder, lambda config: config.update(format="onnx"))
    with rejects(ValueError, "onnx"):
        Bundle.load(folder)


@pytest.mark.parametrize("name", [CONFIG, *FILES])
@pytest.mark.parametrize("kind", ["link", "broken link", "folder", "pipe"])
def test_only_regular_files_are_read(name, kind, tmp_path):
    """A link, even to the right content, a folder or a pipe in a file's place raises a ValueError that contains its name."""
    folder = written(tmp_path)
    (folder / name).rename(tmp_path / "outside")
    if kind == "folder":
        (folder / name).mkdir()
    elif kind == "pipe":
        if not hasattr(os, "mkfifo"):
            pytest.skip("there are no pipes")
        os.mkfifo(folder / name)
    else:
        (folder / name).symlink_to(tmp_path / ("outside" if kind == "link" else "nowhere"))
    with rejects(ValueError, name):
        Bundle.load(folder)


@pytest.mark.parametrize("other", ["../outside", "/etc/hostname", "more.bin"])
def test_no_other_file_is_named(other, tmp_path):
    """A file that is none of FILES, in addition or in place of one, raises a ValueError that contains its name."""
    for replaces in (True, False):
        folder = written(tmp_path)
        (tmp_path / "outside").write_bytes((folder / "vocab.json").read_bytes())

        def change(config, replaces=replaces):
            facts = config["files"]["vocab.json"]
            if replaces:
                del config["files"]["vocab.json"]
            config["files"][other] = facts

        forged(folder, change)
        with rejects(ValueError, CONFIG, other):
            Bundle.load(folder)


@pytest.mark.parametrize("name", FILES)
def test_each_file_is_named(name, tmp_path):
    """A config that doesn't tell the bytes and the checksum of each file raises a ValueError that contains config.json."""
    folder = written(tmp_path)
    forged(folder, lambda config: config["files"].pop(name))
    with rejects(ValueError, CONFIG):
        Bundle.load(folder)


LIES = {
    "vocab_size": ("vocab_size", 10**9, "transformer.wte.weight"),
    "d_model": ("d_model", 10**6, "transformer.wte.weight"),
    "n_layer": ("n_layer", 10**9, "1000000000"),
    "n_layer, one more": ("n_layer", 3, "n_layer"),
    "n_head": ("n_head", 4, "transformer.h.0.attn.c_attn.weight"),
    "a context of positions": ("context", 10**9, "transformer.wpe.weight"),
    "bias": ("bias", False, "transformer.ln_f.bias"),
    "positions": ("positions", "rotary", "transformer.wpe.weight"),
}


@pytest.mark.parametrize("lie", LIES)
def test_sizes_that_the_file_does_not_have(lie, tmp_path):
    """A config that claims other sizes than the file has raises a ValueError that contains the arrays, before any is made: less
    than 2 MB are allocated.
    """
    name, value, told = LIES[lie]
    folder = written(tmp_path)
    Bundle.load(folder)  # what is imported when it is needed is imported
    forged(folder, lambda config: config["sizes"]["model"].update({name: value}))
    _refused_without_memory(folder, told)


def _refused_without_memory(folder, *told: str) -> None:
    tracemalloc.start()
    try:
        with rejects(ValueError, *told):
            Bundle.load(folder)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2_000_000, f"{peak} bytes were allocated"


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("context", {"positions": "rotary", "window": 9}),
        ("window", {"positions": "rotary", "window": 9}),
        ("context", {"positions": "sinusoidal"}),
    ],
)
def test_lengths_that_no_array_has(name, options, tmp_path):
    """Unless positions are learned, neither context nor window is the length of an array: LONGEST is allowed, and no more."""
    folder = written(tmp_path, **options)
    forged(folder, lambda config: config["sizes"]["model"].update({name: LONGEST}))
    assert getattr(Bundle.load(folder).model.config, name) == LONGEST
    for length in (LONGEST + 1, 10**12):
        forged(folder, lambda config, length=length: config["sizes"]["model"].update({name: length}))
        _refused_without_memory(folder, name, str(length))


def test_layers_that_the_config_leaves_out(tmp_path):
    """Arrays of a layer more than the config claims raise a ValueError that contains them."""
    folder = written(tmp_path)
    forged(folder, lambda config: config["sizes"].update(heads=[2], neurons=[32]))
    forged(folder, lambda config: config["sizes"]["model"].update(n_layer=1))
    _refused_without_memory(folder, "transformer.h.1.ln_1.weight")


def test_blocks_that_the_file_does_not_have(tmp_path):
    """Neither heads nor neurons of a block, nor the dtype of the weights, may be others than the file's."""
    folder, name = written(tmp_path), "transformer.h.1.mlp.c_fc.weight"
    Bundle.load(folder)
    for change, told in (
        ({"neurons": [32, 10**9]}, name),
        ({"heads": [2, 10**9]}, "transformer.h.1.attn.c_attn.weight"),
        ({"heads": [2]}, "heads"),
        ({"neurons": [32, 32, 32]}, "neurons"),
        ({"weights": "float16"}, name),
        ({"weights": "int8"}, name),
        ({"weights": "uint8"}, name),
        ({"weights": "complex64"}, "complex64"),
    ):
        forged(folder, lambda config, change=change: config["sizes"].update(change))
        _refused_without_memory(folder, told)
        forged(folder, lambda config: config["sizes"].update(heads=[2, 2], neurons=[32, 32], weights="float32"))


@pytest.mark.parametrize("field", ["heads", "neurons"])
def test_heads_and_neurons_of_another_type(field, tmp_path):
    """They are lists of integers, at least 1: anything else raises a ValueError that contains config.json, before it becomes an
    array, a long text or a long list.
    """
    folder = written(tmp_path)
    Bundle.load(folder)
    for value in ("x", [0], None, True, 1.5, 0, -1, 10**30):
        forged(folder, lambda config, value=value: config["sizes"].update({field: [value, value]}))
        forged(folder, lambda config: config["sizes"]["model"].update(d_model=10**7, n_head=1))
        _refused_without_memory(folder, CONFIG)
    for value in ("xy", {"a": 1, "b": 2}, None, 2):
        forged(folder, lambda config, value=value: config["sizes"].update({field: value}))
        _refused_without_memory(folder, CONFIG)


def test_parts_of_which_a_block_has_less(tmp_path):
    """More heads than n_head, more neurons than 4 · d_model, none, or True of them: a ValueError contains config.json and the
    array, though the file has as many.
    """
    from safetensors.numpy import load_file, save_file

    for field, part, value in (
        ("heads", "attn.c_attn.weight", 4),
        ("neurons", "mlp.c_fc.weight", 40),
        ("heads", "attn.c_attn.weight", True),
        ("heads", "attn.c_attn.weight", 0),
        ("neurons", "mlp.c_fc.weight", 0),
    ):
        folder, name = written(tmp_path), "transformer.h.0."
        state = load_file(folder / "model.safetensors")
        if field == "heads":
            rows = 12 * value
            state |= {f"{name}attn.c_attn.weight": np.zeros((rows, 8), np.float32)}
            state |= {f"{name}attn.c_attn.bias": np.zeros(rows, np.float32)}
            state |= {f"{name}attn.c_proj.weight": np.zeros((8, 4 * value), np.float32)}
        else:
            state |= {f"{name}mlp.c_fc.weight": np.zeros((value, 8), np.float32)}
            state |= {f"{name}mlp.c_fc.bias": np.zeros(value, np.float32)}
            state |= {f"{name}mlp.c_proj.weight": np.zeros((8, value), np.float32)}
        save_file(state, folder / "model.safetensors")
        content = (folder / "model.safetensors").read_bytes()
        facts = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        forged(folder, lambda config, facts=facts: config["files"].update({"model.safetensors": facts}))
        forged(folder, lambda config, field=field, value=value: config["sizes"][field].__setitem__(0, value))
        with rejects(ValueError, CONFIG, name + part):
            Bundle.load(folder)


def test_layers_that_only_the_config_has(tmp_path):
    """Five thousand layers in config.json, with heads and neurons for each, cost no more than the file has arrays."""
    folder = written(tmp_path)
    Bundle.load(folder)
    forged(folder, lambda config: config["sizes"].update(heads=[1] * 5000, neurons=[1] * 5000))
    forged(folder, lambda config: config["sizes"]["model"].update(n_layer=5000))
    _refused_without_memory(folder, "n_layer", "5000")


def test_bytes_that_a_file_does_not_have(tmp_path):
    """Sizes and checksums are both compared."""
    folder = written(tmp_path)
    for change in ({"bytes": 1}, {"sha256": "0" * 64}):
        Bundle(gpt(), tokenizer()).save(folder)
        forged(folder, lambda config, change=change: config["files"]["merges.txt"].update(change))
        with rejects(ValueError, "merges.txt"):
            Bundle.load(folder)


@pytest.mark.parametrize("missing", ["name", "end", "chat", "accelerated", "sizes", "files", "checksum"])
def test_a_config_that_lacks_something(missing, tmp_path):
    """A ValueError contains config.json, whatever is missing."""
    folder = written(tmp_path)
    if missing == "checksum":
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        del config["checksum"]
        (folder / CONFIG).write_text(json.dumps(config), encoding="utf-8")
    else:
        forged(folder, lambda config: config.pop(missing))
    with rejects(ValueError, CONFIG):
        Bundle.load(folder)


def test_a_model_with_other_ids_than_the_tokenizer(tmp_path):
    """Files that are each right, of two bundles, raise a ValueError that contains the first id that only one has."""
    folder = written(tmp_path)
    other = BPETokenizer.train("by the sea shore " * 9, SIZE + 2, [END])
    other.save(folder)

    def change(config):
        for name in FILES:
            content = (folder / name).read_bytes()
            config["files"][name] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}

    forged(folder, change)
    with rejects(ValueError, str(SIZE)):
        Bundle.load(folder)
