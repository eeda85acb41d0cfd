import copy
import math
import os
import pickle
import stat
import struct
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from katas.tensor import Tensor
from katas.training import load_checkpoint, save_checkpoint

from specs.check import Mismatch, assert_close, rejects
from specs.door import ROOT
from specs.oracles.training import assert_same

STATE = {
    "network": {"0.weight": np.arange(6, dtype=np.float32).reshape(2, 3), "0.bias": np.ones(2)},
    "optimizer": {"state": {0: {"step": 7}}, "param_groups": [{"betas": (0.9, 0.999), "nesterov": False, "momentum": None}]},
    "history": [{"loss": 0.1 + 0.2}],
}


# Keys of a dict that a format may use itself, to tell a tuple, an array, a number of NumPy's or a dict from what JSON has.
WORDS = ["dict", "tuple", "array", "scalar", "list", "ndarray", "tensor", "items", "kind", "type", "__tuple__", "__array__"]


def back(state, tmp_path: Path):
    """What comes back of a state."""
    save_checkpoint(tmp_path / "state.safetensors", state)
    return load_checkpoint(tmp_path / "state.safetensors")


@pytest.mark.parametrize(
    "state",
    [
        STATE,
        {"nested": [(1, [2, ()], {}), {"a": {"b": {"c": [[]]}}}]},
        {0: "int", "0": "text", True: "bool", None: "none", 1.5: "float", np.int64(7): "NumPy's", np.float32(0.1): "NumPy's"},
        [0.1, -0.0, 1e-320, 1.7976931348623157e308, math.inf, -math.inf, math.nan],
        [2**127 + 1, -(2**64), 0, True, False, None],
        ["", "πάντα ῥεῖ", 'quotes " and \\', "line\nbreak", "\x00", "null"],
        {"array": "state", "nested": {"tuple": [1, 2], "dict": [], "scalar": 3}, "tuple": [1]},
        [{word: []} for word in WORDS],
        [{word: [[1, 2]]} for word in WORDS],
        [{word: 0} for word in WORDS],
        [{word: np.ones(2)} for word in WORDS],
        {word: {word: (word,)} for word in WORDS},
        {word: {"array": "state.array", "a": np.ones(2)} for word in WORDS},
        {"a.b": np.zeros(2), "a": {"b": np.ones(2)}, 0: np.full(2, 2.0), "0": np.full(2, 3.0), "": np.full(1, 4.0)},
        {"__metadata__": np.ones(3), "state": np.zeros(3)},
        np.arange(4),
        7,
    ],
    ids=[
        "typical",
        "nested",
        "keys",
        "floats",
        "integers",
        "text",
        "words of the format",
        "a word and a list",
        "a word and pairs",
        "a word and 0",
        "a word and an array",
        "words in words",
        "a word and a name",
        "like names",
        "reserved",
        "array",
        "7",
    ],
)
def test_what_was_saved_comes_back(state, tmp_path):
    """Dicts, with integer keys too, lists, tuples, strings, numbers and None: the same types, the same bits, the same order."""
    assert_same(back(state, tmp_path), state)


@pytest.mark.parametrize(
    "dtype", ["?", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8"], ids=lambda code: np.dtype(code).name
)
def test_arrays_keep_dtype_shape_and_bits(dtype, draw, tmp_path):
    """Of whatever number type: matrices, 0-d arrays, arrays without values, transposed and strided ones, and NumPy numbers."""
    a = (100 * draw.uniform(0, 1, 3, 4, 5)).astype(dtype)
    state = {"a": a, "0-d": a[1, 2, 3, ...], "none": a[:, :0], "T": a.T, "strided": a[::2, ::-1, 1], "number": a[0, 1, 2]}
    assert state["0-d"].shape == ()
    assert_same(back(state, tmp_path), state)


def test_not_a_number_keeps_its_bits_in_arrays(tmp_path):
    """The payload of a NaN, too."""
    bits = np.array([0x7FC00001, 0xFFC12345, 0x7F800000, 0x80000000], np.uint32)
    assert_same(back({"a": bits.view(np.float32)}, tmp_path)["a"].view(np.uint32), bits)


def test_the_other_byte_order_has_the_same_values(tmp_path):
    """Arrays from another machine's file come back with their values."""
    assert_close(back({"a": np.arange(5, dtype=">f4")}, tmp_path)["a"], np.arange(5.0))


def test_the_state_of_a_generator_comes_back(tmp_path):
    """Integers of 128 bits, or arrays of uint32 and uint64: whatever the bit generator has."""
    for kind in (np.random.PCG64, np.random.MT19937, np.random.Philox, np.random.SFC64):
        rng = np.random.Generator(kind(3))
        rng.random(7)
        rng.random(3, np.float32)  # leaves half of a 64-bit number for later
        state = back(rng.bit_generator.state, tmp_path)
        want = rng.random(5)
        rng.bit_generator.state = state
        assert_close(rng.random(5), want)


def test_the_file_is_one_that_others_can_read(tmp_path):
    """A safetensors file, in which the arrays are tensors: any reader of the format finds them."""
    from safetensors.numpy import load_file

    save_checkpoint(tmp_path / "state.safetensors", STATE)
    found = [*load_file(tmp_path / "state.safetensors").values()]
    for want in STATE["network"].values():
        assert any(np.array_equal(tensor, want) and tensor.dtype == want.dtype for tensor in found)


def test_what_is_loaded_is_ones_own(tmp_path):
    """The arrays can be written to, and neither that nor a change of what was saved reaches the file."""
    path, state = tmp_path / "state.safetensors", {"a": np.ones(3)}
    save_checkpoint(path, state)
    state["a"][...] = 7
    load_checkpoint(path)["a"][...] = 8
    assert_same(load_checkpoint(path), {"a": np.ones(3)})


def test_what_is_saved_stays_as_it_is(tmp_path):
    """The state is left alone: its dicts, lists and arrays, read-only ones too, whatever their layout and byte order."""
    frozen = np.arange(6.0).reshape(2, 3)
    frozen.flags.writeable = False
    state = {"T": frozen.T, "swapped": np.arange(3, dtype=">i4"), "list": [{"a": (frozen, [1])}], 0: {"": None}}
    before = copy.deepcopy(state)
    back(state, tmp_path)
    assert_same(state, before)
    assert state["list"][0]["a"][0] is frozen


def test_a_path_without_a_folder_is_one(tmp_path, monkeypatch):
    """A bare name, as a string or a Path, is a file in the current folder, in which nothing else is left."""
    monkeypatch.chdir(tmp_path)
    for path in ("run.safetensors", Path("run.safetensors")):
        save_checkpoint(path, STATE)
        assert_same(load_checkpoint(path), STATE)
        assert [*tmp_path.iterdir()] == [tmp_path / "run.safetensors"]


@pytest.mark.parametrize(
    "name", ["run", ".run", "run.tmp", "run.tmp.tmp", "run.1.safetensors", "a name with spaces", "πάντα.ῥεῖ"], ids=ascii
)
def test_a_file_may_have_any_name(name, tmp_path):
    """Whatever its suffix: it is written and replaced under that name, and other files beside it are left alone."""
    path = tmp_path / name
    others = [tmp_path / other for other in ("other.tmp", "run.1.tmp", "run.bak") if other != name]
    for other in others:
        other.write_text("mine")
    for number in range(2):
        save_checkpoint(path, {"number": number})
        assert_same(load_checkpoint(path), {"number": number})
    assert sorted(tmp_path.iterdir()) == sorted([path, *others])
    assert [other.read_text() for other in others] == ["mine"] * len(others)


def test_saving_again_replaces_the_file(tmp_path):
    """The path may be a string; its folder is made if need be; then there is one file in it, with the newer state."""
    path = tmp_path / "runs" / "1" / "state.safetensors"
    for number in range(3):
        save_checkpoint(str(path), {"number": number, "a": np.full(5 - number, number)})
    assert_same(load_checkpoint(str(path)), {"number": 2, "a": np.full(3, 2)})
    assert [*path.parent.iterdir()] == [path]


@pytest.mark.parametrize(
    ("what", "name"),
    [
        ({1, 2}, "set"),
        (np.array([None]), "object"),
        (np.ones(2, complex), "complex128"),
        (np.array(["a"]), "U1"),
        (np.ones(2, complex)[0], "complex128"),
        (Tensor([1.0]), "Tensor"),
        (b"bytes", "bytes"),
        (len, "builtin_function_or_method"),
        (np.array(["2026"], "datetime64[D]"), "datetime64"),
    ],
    ids=["set", "objects", "complex", "strings", "a complex number", "Tensor", "bytes", "function", "dates"],
)
def test_what_can_not_be_saved_is_named(what, name, tmp_path):
    """A TypeError names its type and the keys that lead to it; the file that was there stays, and no other is left."""
    path = tmp_path / "state.safetensors"
    save_checkpoint(path, STATE)
    with rejects(TypeError, name, "outer", "inner"):
        save_checkpoint(path, {"outer": [{"inner": what}]})
    assert_same(load_checkpoint(path), STATE)
    assert [*tmp_path.iterdir()] == [path]


def test_a_key_that_can_not_be_saved_is_named(tmp_path):
    """Keys are strings, numbers or None: another is a TypeError."""
    with rejects(TypeError, "frozenset"):
        save_checkpoint(tmp_path / "state.safetensors", {"outer": {frozenset(): 1}})


def test_a_file_that_is_not_there_is_an_error(tmp_path):
    """As open() says it: FileNotFoundError."""
    with rejects(FileNotFoundError, "nothing.safetensors"):
        load_checkpoint(tmp_path / "nothing.safetensors")


def refused(path: Path, content: bytes) -> None:
    """A ValueError that names the path."""
    path.write_bytes(content)
    with rejects(ValueError, str(path)):
        load_checkpoint(path)


def test_another_kind_of_file_is_refused(tmp_path):
    """Empty, text, a pickle, NumPy's, or a safetensors file of somebody else's: a ValueError names the path."""
    from safetensors.numpy import save

    save_checkpoint(tmp_path / "state.safetensors", STATE)
    np.savez(tmp_path / "arrays.npz", a=np.ones(3))
    path = tmp_path / "file"
    for content in (
        b"",
        b"epoch 37\n",
        pickle.dumps({"epoch": 37}),
        (tmp_path / "arrays.npz").read_bytes(),
        save({"a": np.ones(3)}),
        save({"a": np.ones(3)}, {"state": "7", "format": "pt"}),
        struct.pack("<Q", 2) + b"{}",
    ):
        refused(path, content)


def test_a_truncated_file_is_refused(tmp_path):
    """However much of it is there: a ValueError names the path. So is one with something at its end."""
    save_checkpoint(tmp_path / "state.safetensors", STATE)
    whole = (tmp_path / "state.safetensors").read_bytes()
    for length in [*range(1, len(whole), 7), len(whole) - 1]:
        refused(tmp_path / "file", whole[:length])
    refused(tmp_path / "file", whole + b"x")


def test_a_damaged_file_is_refused(tmp_path):
    """Wherever a bit flips, in the numbers too: a ValueError names the path, rather than a state that is wrong."""
    save_checkpoint(tmp_path / "state.safetensors", STATE)
    whole = bytearray((tmp_path / "state.safetensors").read_bytes())
    for place in range(0, len(whole), 3):
        bit = 1 << place % 8
        whole[place] ^= bit
        refused(tmp_path / "file", bytes(whole))
        whole[place] ^= bit


def test_each_digit_of_the_header_counts(tmp_path):
    """Also those of the shape of an array without values, of which nothing else is in the file: it is another array."""
    save_checkpoint(tmp_path / "state.safetensors", [np.zeros((2, 0)), np.zeros((0, 3, 1), bool)])
    whole = bytearray((tmp_path / "state.safetensors").read_bytes())
    for place, digit in enumerate(whole):
        for bit in range(4) if chr(digit).isdecimal() else ():  # to another digit, mostly
            whole[place] ^= 1 << bit
            refused(tmp_path / "file", bytes(whole))
            whole[place] ^= 1 << bit


def test_each_part_of_a_large_array_counts(tmp_path):
    """A flipped bit is found at the beginning, in the middle and at the end of each array, however large it is."""
    save_checkpoint(tmp_path / "state.safetensors", [np.zeros(10_000), np.zeros((200, 100)), np.zeros((2, 5000))])
    whole = bytearray((tmp_path / "state.safetensors").read_bytes())
    for place in range(len(whole) - 8 * 40_000, len(whole), 8 * 2_499):
        whole[place] ^= 1
        refused(tmp_path / "file", bytes(whole))
        whole[place] ^= 1


def test_a_full_disk_leaves_the_old_file(tmp_path):
    """An error while it writes is passed on; the old file is whole, and nothing else is left."""
    resource = pytest.importorskip("resource")
    path, large = tmp_path / "state.safetensors", {"a": np.ones(5000)}
    save_checkpoint(path, STATE)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    for room in (0, 100, 20_000):
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))  # longer files than that are an OSError
        try:
            save_checkpoint(path, large)
        except OSError:
            pass
        else:
            raise AssertionError("it wrote 40 kB where there was no room, or hid the error")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert_same(load_checkpoint(path), STATE)
        assert [*tmp_path.iterdir()] == [path]


def test_a_path_that_can_not_be_replaced_leaves_nothing_behind(tmp_path):
    """If the path is a folder, that is an OSError, and the new file is gone again."""
    (tmp_path / "state" / "full").mkdir(parents=True)
    with rejects(OSError):
        save_checkpoint(tmp_path / "state", STATE)
    assert [*tmp_path.iterdir()] == [tmp_path / "state"]


KILLED = """
import os, resource, signal, sys
import numpy as np
from katas.training import load_checkpoint, save_checkpoint
if "safetensors" in sys.modules:
    sys.exit("safetensors is imported with katas.training, not when it is needed")
path = sys.argv[1]
save_checkpoint(path, {"number": 0, "a": np.zeros(1000)})
signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # writing beyond the limit kills
for number, room in enumerate((0, 1, 7, 8, 9, 100, 300, 1000, 5000, 8000, 8200, 1 << 20)):
    child = os.fork()
    if not child:
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))
        save_checkpoint(path, {"number": 1, "a": np.ones(1000)})
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    state = load_checkpoint(path)
    print(room, status, state["number"], state["a"].mean(), len(os.listdir(os.path.dirname(path))))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_kill_at_any_byte_leaves_the_old_file(tmp_path):
    """Whenever the process ends, the path has the old state, whole, until it has the new one; what is left beside it does not
    pile up, and is gone after the next save. `safetensors` is imported when it is needed.
    """
    path = tmp_path / "runs" / "state.safetensors"
    run = subprocess.run([sys.executable, "-c", KILLED, str(path)], cwd=ROOT, capture_output=True, text=True)
    if run.returncode:
        raise Mismatch(f"the child process failed:\n{run.stderr}")
    lines = [line.split() for line in run.stdout.splitlines()]
    assert len(lines) == 12
    for room, status, number, mean, files in lines:
        ended = f"killed after {room} bytes" if status != "0" else "not killed"
        assert float(mean) == float(number), f"{ended}, the arrays are not of the same state as the numbers"
        assert number == ("0" if status != "0" else "1"), f"{ended}, the state is number {number}"
        assert int(files) <= 2, f"{ended}, there are {files} files"
    assert sum(status != "0" for _, status, *_ in lines) >= 10, "files are written in another way than by the process"
    save_checkpoint(path, STATE)
    assert [*path.parent.iterdir()] == [path]


@contextmanager
def each_call(watch):
    """In the block, calls watch(its name) before each function that is written in C."""
    before = sys.getprofile()
    sys.setprofile(lambda frame, event, function: watch(function.__name__) if event == "c_call" else None)
    try:
        yield
    finally:
        sys.setprofile(before)


def test_the_path_is_never_without_a_file(tmp_path):
    """The old file is neither removed nor moved before the new one takes its name: at every moment one can be loaded."""
    path, gone = tmp_path / "state.safetensors", []
    save_checkpoint(path, STATE)
    with each_call(lambda name: path.exists() or gone.append(name)):
        save_checkpoint(path, STATE)
    assert not gone, f"there was no file when it called {gone[0]}"


def test_the_new_file_is_on_the_disk_before_it_takes_the_name(tmp_path):
    """The data are synchronised with the disk (os.fsync) before the file is renamed: else a power failure may leave the new
    name on an empty file.
    """
    calls = []
    with each_call(lambda name: calls.append(name) if name in ("fsync", "fdatasync", "replace", "rename") else None):
        save_checkpoint(tmp_path / "state.safetensors", STATE)
    order = ["sync" if "sync" in name else "rename" for name in calls]
    assert "rename" in order, "the file was written in place"
    assert "sync" in order[: order.index("rename")], f"expected a sync before the rename, got {calls}"


def test_the_new_file_is_whole_before_it_is_synchronised(tmp_path, monkeypatch):
    """It is written beside the path, so that it can take the name on any disk, and all of it was handed to the system, by
    flush(), when os.fsync is called: what waits in a buffer of Python's is synchronised by nobody.
    """
    path, seen = tmp_path / "runs" / "state.safetensors", {"sync": [], "rename": []}

    def look(name):
        kind = "sync" if "sync" in name else "rename"
        seen[kind] += [file.read_bytes() for file in path.parent.iterdir()]

    synced, fsync = [], os.fsync
    monkeypatch.setattr(
        os, "fsync", lambda file: synced.append(os.stat(getattr(file, "fileno", lambda: file)())) or fsync(file)
    )
    with each_call(lambda name: look(name) if name in ("fsync", "fdatasync", "replace", "rename") else None):
        save_checkpoint(path, STATE)
    content = path.read_bytes()
    assert content in seen["rename"], "the new file was not in the path's folder before it was renamed"
    assert not synced or any(stat.S_ISREG(file.st_mode) and file.st_size == len(content) for file in synced), "not the new file"
    assert content in seen["sync"], (
        f"files of {[*map(len, seen['sync'])]} bytes were synchronised, the whole has {len(content)}"
    )


@pytest.mark.parametrize("moment", ["fsync", "rename"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, MemoryError], ids=lambda kind: kind.__name__)
def test_ctrl_c_leaves_the_old_file(error, moment, tmp_path):
    """Whenever saving is interrupted, the old file is whole, nothing else is left, and the next save works."""
    path = tmp_path / "state.safetensors"
    save_checkpoint(path, STATE)
    names = {"fsync": ("fsync", "fdatasync"), "rename": ("replace", "rename")}[moment]

    def interrupt(name):
        if name in names and len([*tmp_path.iterdir()]) > 1:
            raise error("now")

    with rejects(error, "now"), each_call(interrupt):
        save_checkpoint(path, {"number": 2})
    assert_same(load_checkpoint(path), STATE)
    assert [*tmp_path.iterdir()] == [path]
    save_checkpoint(path, {"number": 3})
    assert_same(load_checkpoint(path), {"number": 3})


def test_two_trainings_may_save_beside_each_other(tmp_path):
    """Files of different names in the same folder have nothing in common, also while both are written."""
    paths = [tmp_path / name for name in ("run.1", "run.2", "run", "other")]
    inner = []

    def save_the_others(name):
        if name in ("replace", "rename") and not inner:
            inner.extend(paths[1:])
            for number, path in enumerate(inner, 1):
                save_checkpoint(path, {"number": number})

    with each_call(save_the_others):
        save_checkpoint(paths[0], {"number": 0})
    assert [load_checkpoint(path)["number"] for path in paths] == [0, 1, 2, 3]
    assert sorted(tmp_path.iterdir()) == sorted(paths)
