import numpy as np
import pytest
from katas.precision import pack, unpack

from specs import oracles
from specs.check import assert_close, assert_dtype, frozen, layouts, rejects


def nibbles(draw, *shape: int) -> np.ndarray:
    return frozen((draw.integers(16, *shape) - 8).astype(np.int8))


def test_two_values_share_a_byte():
    """pack puts the first value into the lower four bits, and the second into the upper four, each as value + 8."""
    packed = pack(np.array([1, -8, 7, 0], np.int8))
    assert_close(
        packed,
        np.array([0x09, 0x8F]),
        mistakes={"the halves of a byte are exchanged": np.array([0x90, 0xF8]), "without + 8": np.array([0x81, 0x07])},
    )
    assert_dtype(packed, np.uint8)
    assert_close(unpack(packed, 4), np.array([1, -8, 7, 0]))


def test_all_pairs_come_back():
    """Each of the 256 bytes is the only one of its pair, and unpack gives the pair."""
    pairs = np.array([[low, high] for low in range(-8, 8) for high in range(-8, 8)], np.int8)
    packed = pack(pairs)
    assert packed.shape == (256, 1)
    assert_close(np.sort(packed.ravel()), np.arange(256))
    assert_close(unpack(packed, 2), pairs)
    assert_dtype(unpack(packed, 2), np.int8)


@pytest.mark.parametrize("n", [1, 2, 3, 7, 8, 31, 33])
def test_odd_lengths_are_filled_up_with_a_zero(n, draw):
    """n values take ⌈n / 2⌉ bytes. If n is odd, a 0, stored as 8, fills the last byte, and unpack drops it."""
    values = nibbles(draw, 3, n)
    packed = pack(values)
    assert packed.shape == (3, (n + 1) // 2)
    assert_close(packed, np.array([oracles.precision.pack(row) for row in values]))
    assert_close(unpack(packed, n), values)


@pytest.mark.parametrize("shape", [(5,), (2, 3, 5), (0,), (3, 0), (0, 4), (1, 1)])
def test_the_last_axis_is_packed(shape, draw):
    """pack works along the last axis, whatever the leading ones: pairs don't reach into the next row."""
    values = nibbles(draw, *shape)
    packed = pack(values)
    assert packed.shape == (*shape[:-1], (shape[-1] + 1) // 2)
    assert_close(unpack(packed, shape[-1]), values)


def test_arrays_in_any_order_and_of_any_integers(draw):
    """pack takes arrays in any order of memory, of int8 or int64, and does not write to them."""
    values = nibbles(draw, 4, 6)
    want = pack(np.array(values))
    for given in (*layouts(values).values(), values.astype(np.int64), values.astype(np.int16)):
        assert_close(pack(given), want)
    for given in layouts(want).values():
        assert_close(unpack(given, 6), values)


@pytest.mark.parametrize("value", [8, -9, 127, -128, 256, 300, 65_535])
def test_values_that_do_not_fit_are_refused(value):
    """A value that does not fit into four bits raises a ValueError that contains it: it would spill into its neighbor."""
    with rejects(ValueError, str(value)):
        pack(np.array([1, value], np.int32))


def test_the_first_value_that_does_not_fit_is_named():
    """If several values don't fit, the ValueError contains the first of them, row by row."""
    with rejects(ValueError, "-77"):
        pack(np.array([[1, -77], [99, 0]]))


def test_packing_is_done_in_numpy(budget, draw):
    """The number of Python instructions does not grow with the number of values."""
    small, large = nibbles(draw, 4, 50), nibbles(draw, 40, 500)
    budget.steps(lambda: unpack(pack(small), 50), lambda: unpack(pack(large), 500), limit=2)
