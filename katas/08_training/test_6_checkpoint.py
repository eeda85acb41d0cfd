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
    """What load_checkpoint returns after save_checkpoint of a state."""
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
    """Dicts (even with integer keys), lists, tuples, strings, numbers and None come back with their types, bits and order."""
    assert_same(back(state, tmp_path), state)


@pytest.mark.parametrize(
    "dtype", ["?", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8"], ids=lambda code: np.dtype(code).name
)
def test_arrays_keep_dtype_shape_and_bits(dtype, draw, tmp_path):
    """Arrays of any number type come back: matrices, 0-d, empty, transposed and strided arrays, and NumPy scalars."""
    a = (100 * draw.uniform(0, 1, 3, 4, 5)).astype(dtype)
    state = {"a": a, "0-d": a[1, 2, 3, ...], "none": a[:, :0], "T": a.T, "strided": a[::2, ::-1, 1], "number": a[0, 1, 2]}
    assert state["0-d"].shape == ()
    assert_same(back(state, tmp_path), state)


def test_not_a_number_keeps_its_bits_in_arrays(tmp_path):
    """A NaN in an array keeps all its bits, its payload included."""
    bits = np.array([0x7FC00001, 0xFFC12345, 0x7F800000, 0x80000000], np.uint32)
    assert_same(back({"a": bits.view(np.float32)}, tmp_path)["a"].view(np.uint32), bits)


def test_the_other_byte_order_has_the_same_values(tmp_path):
    """Arrays in the other byte order, as from another machine's file, come back with their values."""
    assert_close(back({"a": np.arange(5, dtype=">f4")}, tmp_path)["a"], np.arange(5.0))


def test_the_state_of_a_generator_comes_back(tmp_path):
    """A bit generator's state comes back, whether it has 128-bit integers or arrays of uint32 or uint64."""
    for kind in (np.random.PCG64, np.random.MT19937, np.random.Philox, np.random.SFC64):
        rng = np.random.Generator(kind(3))
        rng.random(7)
        rng.random(3, np.float32)  # leaves half of a 64-bit number for later
        state = back(rng.bit_generator.state, tmp_path)
        want = rng.random(5)
        rng.bit_generator.state = state
        assert_close(rng.random(5), want)


def test_the_file_is_one_that_others_can_read(tmp_path):
    """A checkpoint is a safetensors file with the arrays as tensors: any reader of the format finds them."""
    from safetensors.numpy import load_file

    save_checkpoint(tmp_path / "state.safetensors", STATE)
    found = [*load_file(tmp_path / "state.safetensors").values()]
    for want in STATE["network"].values():
        assert any(np.array_equal(tensor, want) and tensor.dtype == want.dtype for tensor in found)


def test_what_is_loaded_is_ones_own(tmp_path):
    """Loaded arrays are writable. Neither writing to them nor changing the saved state later affects the file."""
    path, state = tmp_path / "state.safetensors", {"a": np.ones(3)}
    save_checkpoint(path, state)
    state["a"][...] = 7
    load_checkpoint(path)["a"][...] = 8
    assert_same(load_checkpoint(path), {"a": np.ones(3)})


def test_what_is_saved_stays_as_it_is(tmp_path):
    """save_checkpoint changes nothing in the state: dicts, lists, and arrays of any layout and byte order, even read-only."""
    frozen = np.arange(6.0).reshape(2, 3)
    frozen.flags.writeable = False
    state = {"T": frozen.T, "swapped": np.arange(3, dtype=">i4"), "list": [{"a": (frozen, [1])}], 0: {"": None}}
    before = copy.deepcopy(state)
    back(state, tmp_path)
    assert_same(state, before)
    assert state["list"][0]["a"][0] is frozen


def test_a_path_without_a_folder_is_one(tmp_path, monkeypatch):
    """A bare name, as a string or a Path, is a file in the current folder. No other file is left there."""
    monkeypatch.chdir(tmp_path)
    for path in ("run.safetensors", Path("run.safetensors")):
        save_checkpoint(path, STATE)
        assert_same(load_checkpoint(path), STATE)
        assert [*tmp_path.iterdir()] == [tmp_path / "run.safetensors"]


@pytest.mark.parametrize(
    "name", ["run", ".run", "run.tmp", "run.tmp.tmp", "run.1.safetensors", "a name with spaces", "πάντα.ῥεῖ"], ids=ascii
)
def test_a_file_may_have_any_name(name, tmp_path):
    """A checkpoint may have any name: it is written and replaced under that name, and no other file is touched."""
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
    """The path may be a string, and its folder is made if needed. A second save leaves one file, with the newer state."""
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
    """An unsupported value raises a TypeError with its type and the keys to it. The old file stays, and no other is left."""
    path = tmp_path / "state.safetensors"
    save_checkpoint(path, STATE)
    with rejects(TypeError, name, "outer", "inner"):
        save_checkpoint(path, {"outer": [{"inner": what}]})
    assert_same(load_checkpoint(path), STATE)
    assert [*tmp_path.iterdir()] == [path]


def test_a_key_that_can_not_be_saved_is_named(tmp_path):
    """A key that is not a string, a number or None raises a TypeError that contains its type."""
    with rejects(TypeError, "frozenset"):
        save_checkpoint(tmp_path / "state.safetensors", {"outer": {frozenset(): 1}})


def test_a_file_that_is_not_there_is_an_error(tmp_path):
    """load_checkpoint of a missing file raises a FileNotFoundError that contains the path, as open() does."""
    with rejects(FileNotFoundError, "nothing.safetensors"):
        load_checkpoint(tmp_path / "nothing.safetensors")


def refused(path: Path, content: bytes) -> None:
    """Checks that loading raises a ValueError that contains the path."""
    path.write_bytes(content)
    with rejects(ValueError, str(path)):
        load_checkpoint(path)


def test_another_kind_of_file_is_refused(tmp_path):
    """An empty, text, pickle or NumPy file, or another program's safetensors file, raises a ValueError with the path."""
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
    """A file cut at any length, or with extra bytes at its end, raises a ValueError that contains the path."""
    save_checkpoint(tmp_path / "state.safetensors", STATE)
    whole = (tmp_path / "state.safetensors").read_bytes()
    for length in [*range(1, len(whole), 7), len(whole) - 1]:
        refused(tmp_path / "file", whole[:length])
    refused(tmp_path / "file", whole + b"x")


def test_a_damaged_file_is_refused(tmp_path):
    """A bit flipped anywhere, even in the numbers, raises a ValueError that contains the path: no wrong state is loaded."""
    save_checkpoint(tmp_path / "state.safetensors", STATE)
    whole = bytearray((tmp_path / "state.safetensors").read_bytes())
    for place in range(0, len(whole), 3):
        bit = 1 << place % 8
        whole[place] ^= bit
        refused(tmp_path / "file", bytes(whole))
        whole[place] ^= bit


def test_each_digit_of_the_header_counts(tmp_path):
    """A changed digit in the header raises a ValueError, even in an empty array's shape, which is all the file has of it."""
    save_checkpoint(tmp_path / "state.safetensors", [np.zeros((2, 0)), np.zeros((0, 3, 1), bool)])
    whole = bytearray((tmp_path / "state.safetensors").read_bytes())
    for place, digit in enumerate(whole):
        for bit in range(4) if chr(digit).isdecimal() else ():  # to another digit, mostly
            whole[place] ^= 1 << bit
            refused(tmp_path / "file", bytes(whole))
            whole[place] ^= 1 << bit


def test_each_part_of_a_large_array_counts(tmp_path):
    """A flipped bit is found at the beginning, in the middle and at the end of each array, even a large one."""
    save_checkpoint(tmp_path / "state.safetensors", [np.zeros(10_000), np.zeros((200, 100)), np.zeros((2, 5000))])
    whole = bytearray((tmp_path / "state.safetensors").read_bytes())
    for place in range(len(whole) - 8 * 40_000, len(whole), 8 * 2_499):
        whole[place] ^= 1
        refused(tmp_path / "file", bytes(whole))
        whole[place] ^= 1


def test_a_full_disk_leaves_the_old_file(tmp_path):
    """An error during writing passes through. The old file is intact, and no other file is left."""
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
    """If the path is a folder, save_checkpoint raises an OSError and removes the new file."""
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
    """Whenever the process is killed, the path has the complete old state or the complete new one. Temporary files don't pile
    up, and are gone after the next save. `safetensors` is imported only when it is needed.
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
    """The old file is not removed or moved before the new file replaces it: at every moment a file can be loaded."""
    path, gone = tmp_path / "state.safetensors", []
    save_checkpoint(path, STATE)
    with each_call(lambda name: path.exists() or gone.append(name)):
        save_checkpoint(path, STATE)
    assert not gone, f"there was no file when it called {gone[0]}"


def test_the_new_file_is_on_the_disk_before_it_takes_the_name(tmp_path):
    """The data is synchronized with the disk (os.fsync) before the file is renamed. Otherwise a power failure may leave an
    empty file under the new name.
    """
    calls = []
    with each_call(lambda name: calls.append(name) if name in ("fsync", "fdatasync", "replace", "rename") else None):
        save_checkpoint(tmp_path / "state.safetensors", STATE)
    order = ["sync" if "sync" in name else "rename" for name in calls]
    assert "rename" in order, "the file was written in place"
    assert "sync" in order[: order.index("rename")], f"expected a sync before the rename, got {calls}"


def test_the_new_file_is_whole_before_it_is_synchronised(tmp_path, monkeypatch):
    """The new file is written in the path's folder, so that it can be renamed on any disk. Call flush() before os.fsync: data
    in Python's own buffer is not synchronized.
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
    """If saving is interrupted, the old file is intact, no other file is left, and the next save works."""
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
    """Files with different names in the same folder don't affect each other, even while both are written."""
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


def test_a_longer_float_is_named(tmp_path):
    """np.longdouble, of more than 8 bytes, fits in no checkpoint: a TypeError contains its keys and its dtype."""
    if np.dtype(np.longdouble).itemsize == 8:
        pytest.skip("np.longdouble is float64 here")
    for value in (np.ones(2, np.longdouble), np.longdouble(1)):
        with rejects(TypeError, "b", str(np.dtype(np.longdouble))):
            save_checkpoint(tmp_path / "run", {"a": [{"b": value}]})
