import numpy as np
import pytest
from katas.layers import Module
from katas.precision import Quantized, quantize_array
from katas.tensor import Tensor

from specs import oracles
from specs.check import FLOAT32, assert_close, assert_dtype, layouts, measure_bytes, rejects, undisturbed
from specs.oracles.precision import SLACK, TINY

KINDS = [{}, {"axis": 0}, {"axis": 1}, {"axis": -2}]
KINDS += [{"symmetric": False}, {"axis": 0, "symmetric": False}, {"axis": -1, "symmetric": False}]
kinds = pytest.mark.parametrize("options", KINDS, ids=str)
CASES = {
    "zeros": [0.0, 0.0, -0.0],
    "a constant": [0.3, 0.3],
    "a negative constant": [-7.0, -7.0],
    "one value": [5.0],
    "no 0 in the range": [10.0, 11.0, 12.0],
    "no 0 in the range, negative": [-12.0, -11.5, -10.0],
    "0 at the edge": [0.0, 0.1, 3.0],
    "an outlier": [0.01, -0.02, 0.015, 1000.0],
    "a negative outlier": [0.01, -0.02, 0.015, -1000.0],
    "tiny": [1e-30, -2e-30, 3e-31],
    "huge": [3e38, -3e38, 1e38],
    "below the smallest step": [1e-42, -3e-41],
    "ties": [127.0, 0.5, 1.5, 2.5, -0.5, -1.5, -2.5],
    "nearly symmetric": [-1.0, 0.999],
}


def steps_off(x, quantized: Quantized) -> float:
    """The largest difference between x and what comes back, in steps."""
    difference = np.abs(quantized.dequantize().astype(np.float64) - np.asarray(x, np.float64))
    return float((difference / quantized.scale).max(initial=0))


def test_values_are_int8_in_memory(draw):
    """`values` has x's shape and is an np.int8 array, one byte a number. `scale` is float32, and `zero_point` int8."""
    x = draw.normal(6, 5)
    for options in KINDS:
        quantized = quantize_array(x, **options)
        assert isinstance(quantized, Quantized)
        assert isinstance(quantized, Module)
        assert quantized.values.shape == quantized.shape == (6, 5)
        assert_dtype(quantized.values, np.int8)
        assert quantized.values.nbytes == 30
        assert_dtype(quantized.scale, np.float32)
        if options.get("symmetric", True):
            assert quantized.zero_point is None
        else:
            assert_dtype(quantized.zero_point, np.int8)


def test_the_symmetric_scale_maps_the_largest_value_to_127():
    """A symmetric scale is max |x| / 127, and the integers are from -127 to 127: the value that is largest in size becomes
    ±127.
    """
    quantized = quantize_array([1.0, -2.54, 0.02, 0.0])
    assert_close(quantized.scale, np.array([0.02]), FLOAT32, {"divided by 128": np.array([2.54 / 128])})
    assert_close(quantized.values, np.array([50, -127, 1, 0]), mistakes={"-128 is used": np.array([50, -128, 1, 0])})


def test_an_affine_scale_spans_the_range():
    """An affine scale is (high - low) / 255: the smallest of x becomes -128, the largest 127, and 0 the zero point."""
    quantized = quantize_array([-1.0, 0.0, 1.55], symmetric=False)
    assert_close(quantized.scale, np.array([0.01]), FLOAT32)
    assert_close(quantized.zero_point, np.array([-28]))
    assert_close(quantized.values, np.array([-128, -28, 127]))


@kinds
def test_each_index_of_an_axis_has_a_scale_of_its_own(options, draw):
    """With axis=0, x (4, 3) has a scale (4, 1), with axis=1 (1, 3), without an axis (1, 1); so has the zero point.
    Axis -1 is axis 1, and -2 is axis 0.
    """
    x = draw.normal(4, 3) * np.array([[1.0], [30.0], [0.1], [5.0]]) + 1
    quantized, axis = quantize_array(x, **options), options.get("axis")
    groups = [x.ravel()] if axis is None else list(x.T if axis % 2 else x)
    want = [oracles.precision.step(group, options.get("symmetric", True)) for group in groups]
    shape = (1, 1) if axis is None else (1, 3) if axis % 2 else (4, 1)
    assert_close(quantized.scale, np.reshape([scale for scale, _ in want], shape), FLOAT32)
    if quantized.zero_point is not None:
        assert_close(quantized.zero_point, np.reshape([zero_point for _, zero_point in want], shape))


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("axis", [None, 0, 1, 2, 3, -1, -2, -3, -4])
def test_a_weight_of_four_axes_has_scales_too(axis, symmetric, draw):
    """A kernel (out, in, h, w) with axis=0, or -4, has a scale (out, 1, 1, 1)."""
    x = draw.normal(4, 3, 2, 5)
    quantized = quantize_array(x, axis, symmetric)
    shape = [1, 1, 1, 1]
    if axis is not None:
        shape[axis] = x.shape[axis]
    assert quantized.scale.shape == tuple(shape)
    off = steps_off(x, quantized)
    assert off <= 0.5 + SLACK, f"a value comes back off by {off:.3g} steps"


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("name", CASES)
def test_no_value_is_off_by_more_than_half_a_step(name, symmetric):
    """quantize_array: no value is off by more than half a step, in constants, zeros, a range without a 0, or beside an outlier.
    The step is max |x| / 127 or (high - low) / 255.
    """
    x = np.array(CASES[name], np.float32)
    quantized = quantize_array(x, symmetric=symmetric)
    scale, _ = oracles.precision.step(x.tolist(), symmetric)
    assert_close(quantized.scale, np.array([scale]), FLOAT32)
    assert steps_off(x, quantized) <= 0.5 + SLACK, f"{x} came back as {quantized.dequantize()}, in steps of {quantized.scale}"


@kinds
def test_no_value_of_many_is_off_by_more_than_half_a_step(options, draw):
    """quantize_array: no value is off by more than half a step, whatever the offset of the range, and along each axis."""
    for offset in (0.0, 0.3, -2.0, 50.0, -1000.0):
        x = draw.normal(31, 17) + offset
        off = steps_off(x, quantize_array(x, **options))
        assert off <= 0.5 + SLACK, f"a value comes back off by {off:.3g} steps"


@pytest.mark.parametrize("symmetric", [True, False])
def test_zero_comes_back_as_zero(symmetric, draw):
    """0 comes back as exactly 0: a padding of zeros, or what a ReLU cut off, is still 0."""
    for offset in (0.0, 3.0, -3.0, 0.123):
        x = np.array(draw.normal(9, 7) + offset)
        x[3] = 0
        assert_close(quantize_array(x, symmetric=symmetric).dequantize()[3], np.zeros(7))


def test_zeros_come_back_as_zeros_beside_other_rows(draw):
    """A row of zeros divides nothing by 0, and no warning is given."""
    x = np.array(draw.normal(3, 4))
    x[1] = 0
    for symmetric in (True, False):
        with np.errstate(all="raise", under="ignore"):
            quantized = quantize_array(x, 0, symmetric)
        assert_close(quantized.dequantize()[1], np.zeros(4))
        assert quantized.scale[1, 0] >= TINY
        assert np.isfinite(quantized.scale).all()


@pytest.mark.parametrize("symmetric", [True, False])
def test_what_is_beyond_the_limits_becomes_the_nearest(symmetric):
    """limits=(low, high) replaces the smallest and largest of x. A value outside the limits does not wrap around: it is
    clipped.
    """
    x = np.array([-1e30, -500.0, -2.0, -1.0, 0.0, 0.5, 3.0, 3.1, 200.0, 3e38], np.float32)
    quantized = quantize_array(x, symmetric=symmetric, limits=(-1.0, 3.0))
    scale, zero_point = oracles.precision.step([-1.0, 3.0], symmetric)
    assert_close(quantized.scale, np.array([scale]), FLOAT32)
    least, most = (-127, 127) if symmetric else (-128, 127)
    want = np.clip(x.astype(np.float64), (least - zero_point) * scale, (most - zero_point) * scale)
    assert (np.abs(quantized.dequantize() - want) <= (0.5 + SLACK) * scale).all(), f"{x} came back as {quantized.dequantize()}"
    assert_close(quantized.values[[0, -1]], np.array([least, most]))


def test_limits_are_widened_to_contain_0():
    """The limits (2, 3) mean from 0 to 3, and (-3, -2) from -3 to 0. Limits may be NumPy's numbers, an array or a list."""
    for limits in ((2.0, 3.0), (np.float32(2), np.int64(3)), np.array([2.0, 3.0]), [2, 3]):
        quantized = quantize_array([1.0, 2.5], symmetric=False, limits=limits)
        assert_close(quantized.scale, np.array([3 / 255]), FLOAT32)
        assert_close(quantized.zero_point, np.array([-128]))
    quantized = quantize_array([-1.0, 0.0], symmetric=False, limits=(-3, -2))
    assert_close(quantized.scale, np.array([3 / 255]), FLOAT32)
    assert_close(quantized.values, np.array([42, 127]))
    assert_close(quantize_array([1.0], limits=(0, 0)).dequantize(), np.array([127 * TINY]), FLOAT32)


def test_limits_wider_than_x_make_larger_steps():
    """Limits are used as they are given, even if all values of x are smaller."""
    assert_close(quantize_array([0.5, -0.25], limits=(-127.0, 10.0)).scale, np.array([1.0]), FLOAT32)


@kinds
def test_dequantize_is_the_integer_less_the_zero_point_times_the_scale(options, draw):
    """dequantize() is (values - zero_point) · scale, as float32. In int8 the difference would wrap around."""
    quantized = quantize_array(draw.normal(6, 5) + 2, **options)
    got, want = quantized.dequantize(), oracles.precision.meant(quantized)
    mistakes = {}
    if quantized.zero_point is not None:
        with np.errstate(over="ignore"):
            mistakes["the difference wraps around in int8"] = (quantized.values - quantized.zero_point) * quantized.scale
        mistakes["the zero point is not subtracted"] = quantized.values * quantized.scale
    assert_close(got, want, FLOAT32, mistakes)
    assert_dtype(got, np.float32)


@kinds
@pytest.mark.parametrize(
    "rows",
    [slice(1, 4), slice(4, 99), slice(2, 2), slice(None, None, -2), np.array([3, 3, 0]), [5], [-2, 1], 2, 0, -1],
    ids=str,
)
def test_dequantize_can_make_some_rows(options, rows, draw):
    """dequantize(rows) makes the rows that an index of the first axis selects: a slice, an integer, or integers."""
    quantized = quantize_array(draw.normal(6, 5) + 2, **options)
    assert_close(quantized.dequantize(rows), oracles.precision.meant(quantized)[rows], FLOAT32)


def test_dequantize_makes_only_the_rows_it_is_asked_for(draw):
    """dequantize(rows) of three rows of 10,000 allocates less than 60 kB, where the whole array is 320 kB."""
    x = draw.normal(10_000, 8, dtype=np.float32)
    for options in KINDS:
        quantized = quantize_array(x, **options)
        for rows in (slice(5, 8), [7, 9, 7]):
            peak, _ = measure_bytes(lambda quantized=quantized, rows=rows: quantized.dequantize(rows))
            assert peak < 60_000, f"{peak:,} bytes for three rows of 8 numbers, {options}"


def test_what_is_dequantized_is_the_callers(draw):
    """The array that dequantize returns may be written to: the integers don't change."""
    quantized = quantize_array(draw.normal(3, 4))
    want = quantized.dequantize().copy()
    quantized.dequantize()[...] = 7
    assert_close(quantized.dequantize(), want)


@pytest.mark.parametrize("shape", [(), (1,), (5,), (0,), (3, 0), (0, 3), (1, 1), (2, 1, 3)])
def test_arrays_of_any_shape(shape, draw):
    """quantize_array takes arrays of any shape, also without axes and without numbers."""
    x = draw.normal(*shape) + 1
    for symmetric in (True, False):
        quantized = quantize_array(x, symmetric=symmetric)
        assert quantized.shape == shape
        assert quantized.dequantize().shape == shape
        assert quantized.scale.shape == (1,) * len(shape)
        assert steps_off(x, quantized) <= 0.5 + SLACK
        for axis in range(len(shape)):
            assert quantize_array(x, axis, symmetric).scale.size == shape[axis]


def test_floats_of_any_size_integers_lists_and_tensors(draw):
    """quantize_array converts x to float32, whatever it is: the same numbers give the same integers."""
    x = np.round(draw.normal(4, 5) * 8)
    want = quantize_array(x.astype(np.float32))
    given = [
        x,
        x.astype(np.float16),
        x.astype(np.int64),
        x.astype(np.int8),
        Tensor(x),
        Tensor(x, requires_grad=True),
        x.tolist(),
    ]
    for values in [*given, *layouts(x).values()]:
        assert_close(quantize_array(values).values, want.values)
        assert_close(quantize_array(values).scale, want.scale)
        assert_dtype(quantize_array(values).scale, np.float32)


def test_x_stays_as_it_is(draw):
    """quantize_array does not write to x, and its result shares no memory with x, even if x is int8."""
    for dtype in (np.float32, np.int8):
        x = np.array(draw.normal(4, 5) * 30, dtype)
        before = x.copy()
        quantized = quantize_array(x)
        assert_close(x, before)
        assert not np.shares_memory(x, quantized.values)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@kinds
def test_what_is_not_finite_is_refused(value, options, draw):
    """quantize_array: the first value that is not finite raises a ValueError that contains it and its index. No integer
    means NaN.
    """
    x = np.array(draw.normal(4, 3))
    x[2, 1] = x[3, 0] = value
    with rejects(ValueError, str(value), "(2, 1)"):
        quantize_array(x, **options)
    x[3, 0] = np.inf if np.isnan(value) else np.nan
    with rejects(ValueError, str(value), "(2, 1)"):
        quantize_array(x, **options)


def test_limits_do_not_hide_what_is_not_finite():
    """With limits too, NaN raises a ValueError, and infinity is not clipped."""
    for value in (np.nan, np.inf):
        with rejects(ValueError, str(value), "(1,)"):
            quantize_array([0.5, value], limits=(-1, 1))


def test_a_float64_too_large_for_float32_is_refused():
    """1e39 is infinite as float32, so it raises a ValueError that contains its index."""
    with rejects(ValueError, "(1,)"):
        quantize_array(np.array([1.0, 1e39]))


@pytest.mark.parametrize("axis", [2, -3, 7])
def test_an_axis_that_does_not_exist_is_refused(axis, draw):
    """An axis that does not exist raises a ValueError that contains the axis and the shape."""
    with rejects(ValueError, str(axis), "(4, 3)"):
        quantize_array(draw.normal(4, 3), axis)
    with rejects(ValueError, "0", "()"):
        quantize_array(1.5, 0)


@pytest.mark.parametrize(
    "limits",
    [(1.0, -1.0), (np.nan, 1.0), (0.0, np.nan), (-np.inf, 1.0), (0.0, np.inf), (0.0, 1e39), (-1e39, 0.0)],
    ids=str,
)
def test_limits_that_are_none_are_refused(limits):
    """Limits that are not finite as float32, or with low > high, raise a ValueError that contains both."""
    for symmetric in (True, False):
        with rejects(ValueError, *map(str, limits)):
            quantize_array([0.5], symmetric=symmetric, limits=limits)


def test_limits_beside_an_axis_are_refused(draw):
    """Limits together with an axis raise a ValueError that contains the limits: limits mean one scale, an axis several."""
    for axis in (0, 1):
        with rejects(ValueError, "-1.5", "2.5"):
            quantize_array(draw.normal(4, 3), axis, limits=(-1.5, 2.5))


def test_a_quantized_is_made_of_its_parts():
    """Quantized(values, scale, zero_point=None) copies the arrays. Its own arrays may be changed later."""
    values, scale, zero_point = (
        np.array([[1, -2], [3, 4]], np.int8),
        np.array([[0.5], [2.0]], np.float32),
        np.array([[1], [-1]], np.int8),
    )
    quantized = Quantized(values, scale, zero_point)
    assert_close(quantized.dequantize(), np.array([[0.0, -1.5], [8.0, 10.0]]))
    assert_close(Quantized(values, scale).dequantize(), np.array([[0.5, -1.0], [6.0, 8.0]]))
    for array in (values, scale, zero_point):
        array[...] = 9
    assert_close(quantized.dequantize(), np.array([[0.0, -1.5], [8.0, 10.0]]))
    quantized.scale[...] = 1
    assert_close(quantized.dequantize(), np.array([[0.0, -3.0], [4.0, 5.0]]))


@kinds
def test_the_buffers_are_the_state(options, draw):
    """A Quantized's state_dict holds values, scale and, unless symmetric, zero_point, with their dtypes. nbytes is the sum."""
    quantized = quantize_array(draw.normal(6, 5), **options)
    state, names = quantized.state_dict(), ["values", "scale"]
    if not options.get("symmetric", True):
        names.append("zero_point")
    assert sorted(state) == sorted(names)
    assert state["values"].dtype == np.int8
    assert quantized.nbytes == sum(array.nbytes for array in state.values())
    assert quantized.parameters() == []


def test_a_state_can_be_loaded_and_floats_can_not(draw):
    """A Quantized loads int8 into int8; floats in the place of integers raise a ValueError, and nothing changes."""
    first, second = quantize_array(draw.normal(6, 5), 0, False), quantize_array(draw.normal(6, 5), 0, False)
    state = first.state_dict()
    before = second.dequantize()
    with rejects(ValueError, "values"):
        second.load_state_dict(state | {"values": state["values"].astype(np.float32)})
    assert_close(second.dequantize(), before)
    second.load_state_dict(state)
    assert_close(second.dequantize(), first.dequantize())
    assert_dtype(second.values, np.int8)


def test_nothing_else_is_touched(draw):
    """quantize_array uses neither NumPy's global generator, nor does it change NumPy's error handling."""
    x = draw.normal(4, 3)
    for options in KINDS:
        with undisturbed():
            quantize_array(x, **options).dequantize()


def test_quantizing_is_done_in_numpy(budget, draw):
    """The number of Python instructions does not grow with the number of values."""
    small, large = (quantize_array(draw.normal(rows, 10, dtype=np.float32)).dequantize() for rows in (10, 1000))

    def both(x):
        for axis in (None, 0, 1):
            quantize_array(x, axis, symmetric=False).dequantize()

    budget.steps(lambda: both(small), lambda: both(large), limit=2)


def test_quantizing_takes_little_memory(budget, draw):
    """Quantizing 4 MB of float32 allocates less than 9 MB: no float64, and no new array for each operation."""
    x = np.array(draw.normal(1000, 1000, dtype=np.float32))
    budget.bytes(lambda: quantize_array(x, 0), peak=9_000_000)
