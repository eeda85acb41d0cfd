import numpy as np
import pytest
from katas.layers import Linear, Sequential
from katas.precision import half_state, quantize
from katas.spatial import BatchNorm2d
from katas.tensor import Tensor

from specs.check import assert_close, assert_dtype, cpu_ratio, frozen, layouts, rejects, undisturbed


def test_floats_take_half_of_the_bytes(draw):
    """Each float becomes the nearest float16, under the same name and with the same shape and order."""
    state = {
        "b": draw.normal(4, 3, dtype=np.float32),
        "a": draw.normal(5),
        "c": frozen(np.float16([1.5, 2.5])),
        "d": np.array(0.1),
    }
    halves = half_state(state)
    assert list(halves) == ["b", "a", "c", "d"]
    for name, array in halves.items():
        assert_dtype(array, np.float16)
        assert_close(array, np.asarray(state[name]).astype(np.float16))
    assert halves["b"].nbytes == 24


def test_float16_saves_memory_not_time(draw, tell):
    """A weight takes half the bytes. But NumPy multiplies float16 without BLAS, so compute in float32."""
    w, x = (draw.normal(128, 128, dtype=np.float32) for _ in range(2))
    half, other = half_state({"w": w})["w"], x.astype(np.float16)
    ratio = cpu_ratio(lambda: other @ half.T, lambda: x @ w.T)
    tell(f"a product of float16, 128 by 128 by 128: {ratio:.0f} times the time of float32")
    assert 2 * half.nbytes == w.nbytes


def test_a_state_can_be_loaded_as_it_is(draw):
    """load_state_dict takes a half_state: parameters stay float32, and agree to three digits."""
    model, other = Sequential(Linear(5, 4), BatchNorm2d(4)), Sequential(Linear(5, 4), BatchNorm2d(4))
    other.load_state_dict(half_state(model.state_dict()))
    for name, array in model.state_dict().items():
        assert_dtype(other.state_dict()[name], np.float32)
        assert np.abs(other.state_dict()[name] - array).max() <= 2**-11 * np.abs(array).max()


def test_what_is_no_float_is_copied(draw):
    """half_state copies integers and booleans, takes a Tensor for its array, and shares no memory with the state."""
    state = {"steps": np.array([70_000, -3]), "mask": np.array([True, False]), "x": np.float16([1, 2])}
    halves = half_state(state)
    for name, array in state.items():
        assert_dtype(halves[name], array.dtype)
        assert_close(halves[name], array)
        assert not np.shares_memory(halves[name], array)
    assert_close(half_state({"x": Tensor(draw.normal(3), requires_grad=True)})["x"].shape, (3,))
    small = quantize(Linear(5, 4)).state_dict()
    halves = half_state(small)
    assert_dtype(halves["weight.values"], np.int8)
    assert_dtype(halves["bias"], np.float16)


def test_the_state_stays_as_it_is(draw):
    """half_state does not write to the state, which stays float32."""
    state = {"a": np.array(draw.normal(4, 3, dtype=np.float32))}
    before = state["a"].copy()
    half_state(state)["a"][...] = 7
    assert_close(state["a"], before)
    assert_dtype(state["a"], np.float32)


@pytest.mark.parametrize("beside", [1.0, np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("value", [65_520.0, -65_520.0, 1e5, -765_432.0])
def test_what_float16_can_not_hold_is_named(value, beside):
    """A finite value that float16 can't hold raises a ValueError that contains the name and the value, whatever stands before
    it.
    """
    for dtype in (np.float32, np.float64):
        with rejects(ValueError, "blocks.1.weight", str(dtype(value))):
            half_state({"fine": np.ones(2), "blocks.1.weight": np.array([beside, value], dtype)})


@pytest.mark.parametrize("shape", [(), (1,), (2, 3)], ids=str)
def test_overflow_is_named_in_arrays_of_any_shape(shape):
    """A value that float16 can't hold is named in an array of any axes, also of none."""
    with rejects(ValueError, "scale", "70000.0"):
        half_state({"scale": np.full(shape, 70_000.0)})


def test_the_largest_floats_are_named_too():
    """1e38, and 1e300 in float64, raise the ValueError, not a warning of NumPy."""
    for array in (np.array([1e38], np.float32), np.array([-1e300])):
        with np.errstate(all="raise"), rejects(ValueError, "blocks.1.weight"):
            half_state({"blocks.1.weight": array})


def test_all_of_them_are_named():
    """One ValueError contains the name of every array that float16 can't hold, and the first such value of each."""
    state = {"a": np.array([1.0, 70_000.0, 80_000.0]), "b": np.ones(3), "c": np.array([[-90_000.0]])}
    with rejects(ValueError, "a", "70000.0", "c", "-90000.0"):
        half_state(state)


@pytest.mark.parametrize("value", [65_504.0, -65_504.0, 65_519.0, 6e-8, 1e-9, 0.0])
def test_what_fits_is_rounded(value):
    """Other values are rounded: 65,519 becomes 65,504, and 1e-9 becomes 0."""
    got = half_state({"a": np.array([value], np.float32)})["a"]
    assert np.isfinite(got).all()
    assert_close(got, np.array([value]).astype(np.float16))


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_what_was_not_finite_stays(value):
    """Infinity, as in the limits of a QuantizedLinear, stays infinite, and NaN stays NaN."""
    got = half_state({"a": np.array([1.0, value])})["a"]
    assert_close(got, np.array([1.0, value]))
    assert_close(half_state(quantize(Linear(4, 3)).state_dict())["limits"], np.array([-np.inf, np.inf]))


def test_empty_states_and_arrays(draw):
    """An empty state gives an empty state; arrays may be of any shape and order."""
    assert half_state({}) == {}
    assert half_state({"a": np.zeros((0, 3), np.float32)})["a"].shape == (0, 3)
    x = draw.normal(3, 4)
    for array in layouts(x).values():
        assert_close(half_state({"a": array})["a"], x.astype(np.float16))


def test_nothing_else_is_touched():
    """half_state doesn't change NumPy's error handling, and gives no warning where a value does not fit."""
    with undisturbed(), rejects(ValueError, "a"):
        half_state({"a": np.array([1e30], np.float32)})


def test_halving_is_done_in_numpy(budget, draw):
    """The number of Python instructions does not grow with the number of values."""
    small, large = {"a": draw.normal(100)}, {"a": draw.normal(10_000)}
    budget.steps(lambda: half_state(small), lambda: half_state(large), limit=2)
