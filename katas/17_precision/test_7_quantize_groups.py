import math

import numpy as np
import pytest
from katas.layers import Module
from katas.precision import GROUP, Quantized4, pack, quantize_groups
from katas.tensor import Tensor

from specs import oracles
from specs.check import FLOAT32, Mismatch, assert_close, assert_dtype, layouts, measure_bytes, rejects, undisturbed

LENGTHS = [1, 2, 5, 31, 32, 33, 64, 65, 100]


def scales(x: np.ndarray) -> np.ndarray:
    """Each group's max |x| / 7, in float64."""
    rows = np.abs(x.reshape(len(x), -1))
    return np.array([[row[i : i + 32].max() / 7 for i in range(0, rows.shape[1], 32)] for row in rows])


def assert_half_a_step(x, quantized: Quantized4) -> None:
    """No value that comes back is off by more than half a step of its group, and where the step is 0, by nothing."""
    difference = np.abs(quantized.dequantize().astype(np.float64) - x).reshape(len(x), math.prod(x.shape[1:]))
    step = np.repeat(quantized.scale.astype(np.float64), 32, 1)[:, : difference.shape[1]]
    off = np.divide(difference, step, out=np.where(difference > 0, np.inf, 0), where=step > 0)
    if off.max(initial=0) > 0.5 + 1e-3:
        row, i = map(int, np.unravel_index(off.argmax(), off.shape))
        value, back = x.reshape(len(x), -1)[row, i], quantized.dequantize().reshape(len(x), -1)[row, i]
        raise Mismatch(
            f"row {row}, value {i}: {value} comes back as {back}, off by {off[row, i]:.3f} steps of {step[row, i]:.6g}"
        )


@pytest.mark.parametrize("n", LENGTHS)
def test_each_group_of_a_row_has_a_scale(n, draw):
    """quantize_groups of x (rows, n): values are (rows, ⌈n / 2⌉) bytes, scale is float16 (rows, ⌈n / 32⌉), max |x| / 7 of the
    group.
    """
    x = draw.normal(5, n) * draw.uniform(0.1, 10, 5, 1)
    quantized = quantize_groups(x)
    assert isinstance(quantized, Quantized4)
    assert isinstance(quantized, Module)
    assert quantized.shape == (5, n)
    assert_dtype(quantized.values, np.uint8)
    assert quantized.values.shape == (5, (n + 1) // 2)
    assert_dtype(quantized.scale, np.float16)
    want = scales(x)
    assert quantized.scale.shape == want.shape
    assert (np.abs(quantized.scale / want - 1) <= 2**-10).all()
    assert GROUP == 32


@pytest.mark.parametrize("n", LENGTHS)
def test_no_value_is_off_by_more_than_half_a_step(n, draw):
    """quantize_groups: no value is off by more than half a step, in a shorter last group too. An outlier makes only its own
    group coarse.
    """
    x = np.array(draw.normal(5, n))
    assert_half_a_step(x, quantize_groups(x))
    x[1, 0] = 1000
    quantized = quantize_groups(x)
    assert_half_a_step(x, quantized)
    assert (quantized.scale[[0, 2, 3, 4]] < 1).all()
    assert (quantized.scale[1, 1:] < 1).all()


@pytest.mark.parametrize("size", [1.0, 1e-3, 1e-5, 1e-6, 1e5, 2e-45])
def test_scales_are_rounded_up(size, draw):
    """float16 has 11 bits, and below 6e-5 fewer. Rounded down, the largest value would need an integer above 7."""
    x = draw.normal(200, 32) * size
    quantized = quantize_groups(x)
    got, least = quantized.scale.astype(np.float64), scales(x.astype(np.float32))
    row = int((got / least).argmin())
    assert got[row, 0] >= least[row, 0] * (1 - 1e-7), f"row {row}: the scale is {got[row, 0]!r}, less than {least[row, 0]!r}"
    assert_half_a_step(x, quantized)


def test_a_scale_that_is_a_float16_stays():
    """A scale that a float16 holds exactly is not rounded up: 3.5 is 7 steps of 0.5."""
    quantized = quantize_groups([[3.5, -1.0, 0.2, 0.0]])
    assert_close(quantized.scale, np.array([[0.5]]))
    assert_close(quantized.values[:, 1:], pack(np.array([[0, 0]])))
    assert_close(quantized.values[:, :1], pack(np.array([[7, -2]])))


def test_the_integers_are_from_minus_7_to_7(draw):
    """quantize_groups does not use -8: in each group the value that is largest in size becomes ±7."""
    x = draw.normal(50, 64)
    integers = np.array([oracles.precision.unpack(row, 64) for row in quantize_groups(x).values]).reshape(50, 2, 32)
    assert integers.min() == -7
    assert integers.max() == 7
    assert (np.abs(integers).max(-1) == 7).all()


def test_zeros_come_back_as_zeros(draw):
    """A group of zeros has the scale 0, and nothing is divided by it; 0 in any group comes back as 0."""
    x = np.array(draw.normal(3, 64))
    x[1, 32:], x[2] = 0, 0
    x[0, 5] = 0
    with np.errstate(all="raise", under="ignore"):
        quantized = quantize_groups(x)
    got = quantized.dequantize()
    assert_close(got[1, 32:], np.zeros(32))
    assert_close(got[2], np.zeros(64))
    assert got[0, 5] == 0
    assert_close(quantized.scale[2], np.zeros(2))


@pytest.mark.parametrize("shape", [(5, 3, 2, 4), (2, 3, 11), (1, 1), (3, 0), (0, 3), (4, 2, 0)])
def test_further_axes_are_one_row(shape, draw):
    """A kernel (out, in, h, w) has groups of 32 over in · h · w; empty arrays stay empty."""
    x = draw.normal(*shape)
    quantized = quantize_groups(x)
    assert quantized.shape == shape
    assert quantized.dequantize().shape == shape
    assert quantized.scale.shape == (shape[0], -(-int(np.prod(shape[1:])) // 32))
    assert_half_a_step(x, quantized)


def test_dequantize_is_each_integer_times_its_groups_scale(draw):
    """Quantized4.dequantize() is each integer times its group's scale, as float32, and may be written to."""
    quantized = quantize_groups(draw.normal(4, 70))
    want = oracles.precision.meant(quantized)
    got = quantized.dequantize()
    assert_close(got, want, FLOAT32)
    assert_dtype(got, np.float32)
    got[...] = 7
    assert_close(quantized.dequantize(), want, FLOAT32)


def test_a_quantized4_is_made_of_its_parts():
    """Quantized4(values, scale, shape) copies the arrays; values are packed, with a scale for each 32."""
    values, scale = pack(np.tile([1, -2, 3], (2, 13))[:, :34]), np.array([[0.5, 2.0], [1.0, 4.0]], np.float16)
    quantized = Quantized4(values, scale, (2, 17, 2))
    values[...], scale[...] = 0, 0
    want = np.tile([1.0, -2.0, 3.0], (2, 13))[:, :34] * np.repeat([[0.5, 2.0], [1.0, 4.0]], [32, 2], axis=1)
    assert_close(quantized.dequantize(), want.reshape(2, 17, 2))


@pytest.mark.parametrize(
    "rows",
    [slice(1, 4), slice(4, 99), slice(2, 2), slice(None, None, -2), np.array([3, 3, 0]), [5], [-2, 1], 2, 0, -1],
    ids=str,
)
@pytest.mark.parametrize("shape", [(6, 35), (6, 3, 2, 4)], ids=str)
def test_dequantize_can_make_some_rows(shape, rows, draw):
    """Quantized4.dequantize(rows) makes the rows that an index of the first axis selects: a slice, an integer, or integers."""
    quantized = quantize_groups(draw.normal(*shape))
    assert_close(quantized.dequantize(rows), oracles.precision.meant(quantized)[rows], FLOAT32)


def test_dequantize_makes_only_the_rows_it_is_asked_for(draw):
    """Quantized4.dequantize(rows) of three rows of 10,000 allocates less than 10 kB."""
    quantized = quantize_groups(draw.normal(10_000, 32, dtype=np.float32))
    for rows in (slice(5, 8), [7, 9, 7]):
        peak, _ = measure_bytes(lambda rows=rows: quantized.dequantize(rows))
        assert peak < 10_000, f"{peak:,} bytes for three rows of 32 numbers"


def test_a_weight_takes_four_and_a_half_bits(draw):
    """A Quantized4's nbytes are those of values and scale, which are its state: 0.141 of float32 if a row is whole groups."""
    x = draw.normal(8, 128, dtype=np.float32)
    quantized = quantize_groups(x)
    state = quantized.state_dict()
    assert sorted(state) == ["scale", "values"]
    assert quantized.nbytes == sum(array.nbytes for array in state.values()) == 8 * 128 * 4.5 / 8
    assert quantize_groups(draw.normal(5, 70)).nbytes == 5 * (35 + 3 * 2)
    assert quantize_groups(draw.normal(5, 71)).nbytes == 5 * (36 + 3 * 2)


def test_floats_of_any_size_integers_lists_and_tensors(draw):
    """quantize_groups converts x to float32, whatever it is, and does not write to it."""
    x = np.round(draw.normal(4, 35) * 8)
    want = quantize_groups(x.astype(np.float32))
    for given in (x, x.astype(np.int64), Tensor(x), Tensor(x, requires_grad=True), x.tolist(), *layouts(x).values()):
        assert_close(quantize_groups(given).values, want.values)
        assert_close(quantize_groups(given).scale, want.scale)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_refused(value, draw):
    """quantize_groups: a value that is not finite raises a ValueError that contains it and its index."""
    x = np.array(draw.normal(4, 35))
    x[2, 33] = value
    with rejects(ValueError, str(value), "(2, 33)"):
        quantize_groups(x)
    x[2, 33] = 1e39  # infinite as float32
    with rejects(ValueError, "(2, 33)"):
        quantize_groups(x)


@pytest.mark.parametrize("shape", [(), (5,)])
def test_fewer_than_two_axes_are_refused(shape, draw):
    """quantize_groups: fewer than two axes raise a ValueError that contains the shape."""
    with rejects(ValueError, str(shape)):
        quantize_groups(draw.normal(*shape))


def test_a_step_that_float16_can_not_hold_is_refused():
    """65,504 is the largest scale, so 458,528 is the largest value, without a warning; a larger one raises a ValueError that
    contains it.
    """
    with np.errstate(all="raise", under="ignore"):
        largest = quantize_groups([[458_528.0, 0.0]])
    assert_close(largest.dequantize(), np.array([[458_528.0, 0.0]]), FLOAT32)
    for value in (458_600.0, -777_777.0):
        with rejects(ValueError, str(value)):
            quantize_groups([[1.0, value]])


def test_nothing_else_is_touched(draw):
    """quantize_groups uses neither NumPy's global generator, nor does it change NumPy's error handling."""
    x = draw.normal(4, 35)
    with undisturbed():
        quantize_groups(x).dequantize()


def test_groups_are_quantized_in_numpy(budget, draw):
    """The number of Python instructions does not grow with the number of groups."""
    small, large = draw.normal(2, 40), draw.normal(100, 400)
    budget.steps(lambda: quantize_groups(small).dequantize(), lambda: quantize_groups(large).dequantize(), limit=2)
