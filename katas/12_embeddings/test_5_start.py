import numpy as np
import pytest
from katas.embeddings import LearnedPositions, RotaryPositions, SinusoidalPositions
from katas.tensor import Tensor

from specs.check import assert_close, frozen, rejects

LAYERS = {
    "SinusoidalPositions": SinusoidalPositions,
    "LearnedPositions": LearnedPositions,
    "RotaryPositions": RotaryPositions,
    "RotaryPositions, neighbors": lambda longest, dim: RotaryPositions(longest, dim, pairing="neighbors"),
}
layers = pytest.mark.parametrize("name", LAYERS)
STARTS = {
    "a NumPy integer": np.int32(3),
    "a small NumPy integer": np.uint8(3),
    "an array without axes": np.array(3),
    "a Tensor without axes": Tensor(3),
    "a list": [3, 0],
    "a tuple": (3, 0),
    "an array": frozen(np.array([3, 0])),
    "an array of uint8": np.array([3, 0], np.uint8),
    "an array of uint64": np.array([3, 0], np.uint64),
    "a Tensor": Tensor([3, 0]),
}


@layers
@pytest.mark.parametrize("kind", STARTS)
def test_start_may_be_any_kind_of_integer(name, kind, draw):
    """Python's, NumPy's, or a Tensor's; one for each row as a list, a tuple, an array or a Tensor."""
    layer, x = LAYERS[name](9, 4), Tensor(draw.normal(2, 5, 4))
    first, second = (3, 0) if np.shape(getattr(STARTS[kind], "data", STARTS[kind])) else (3, 3)
    want = [layer(Tensor(x.data[row : row + 1]), start).data[0] for row, start in enumerate((first, second))]
    assert_close(layer(x, STARTS[kind]), want)


@layers
def test_a_row_of_the_batch_has_the_first_axis(name, draw):
    """One start for each row of the first axis, whatever axes lie between, and even if they are as long."""
    for shape in [(3, 3, 4), (3, 3, 3, 4), (3, 2, 5, 4, 4), (3, 1, 4), (3, 0, 4), (0, 3, 4)]:
        layer, x, starts = LAYERS[name](9, 4), draw.normal(*shape), [5, 0, 2][: shape[0]]
        want = np.empty(shape)
        for row, start in enumerate(starts):
            want[row] = layer(Tensor(x[row]), start).data
        assert_close(layer(Tensor(x), np.array(starts, np.int64)), want)


@layers
def test_starts_of_a_small_dtype_do_not_overflow(name, draw):
    """250 as uint8 is followed by 256, not by 0, though uint8 ends at 255."""
    layer, x = LAYERS[name](300, 4), Tensor(draw.normal(2, 10, 4))
    assert_close(layer(x, np.array([250, 0], np.uint8)), layer(x, [250, 0]).data)
    assert_close(layer(x, np.uint8(250)), layer(x, 250).data)
    assert_close(layer(x, np.int8(120)), layer(x, 120).data)


@layers
def test_starts_may_be_changed_after_the_forward(name, draw):
    """A cache counts on before backward runs: the gradients are those of the forward."""
    starts, g = np.array([3, 0]), draw.normal(2, 5, 4)
    gradients = []
    for change in (0, 1):
        layer, x = LAYERS[name](9, 4), Tensor(np.ones((2, 5, 4)), requires_grad=True)
        y = layer(x, starts)
        starts += change
        y.backward(g)
        gradients.append([tensor.grad for tensor in (x, *layer.parameters())])
    for got, want in zip(*gradients, strict=True):
        assert_close(got, want)


@layers
def test_the_last_position_is_allowed(name, draw):
    """start + time may be max_positions, and no token may stand there even if it is."""
    layer = LAYERS[name](9, 4)
    for start, time in [(0, 9), (4, 5), (8, 1), (9, 0), ([4, 0], 5)]:
        for shape in [(2, time, 4), (2, 12, time, 4), (2, 1, time, 4)]:
            assert layer(Tensor(draw.normal(*shape)), start).shape == shape


@layers
@pytest.mark.parametrize(
    ("start", "time", "last"),
    [
        (0, 10, 9),
        (5, 5, 9),
        (9, 1, 9),
        (100, 2, 101),
        ([0, 5], 5, 9),
        ([7, 0], 5, 11),
        (np.uint8(255), 9, 263),
        (2**62, 1, 2**62),
    ],
    ids=str,
)
def test_a_position_beyond_the_longest_is_named(name, start, time, last):
    """A position that is not below max_positions raises a ValueError whose message contains the last one, and max_positions."""
    for shape in [(2, time, 4), (2, 1, time, 4)]:
        with rejects(ValueError, str(last), "9"):
            LAYERS[name](9, 4)(Tensor(np.zeros(shape)), start)


@layers
@pytest.mark.parametrize("start", [2**63 - 1, np.array([2**63 - 1, 0]), np.array([0, 2**64 - 1], np.uint64)], ids=str)
def test_positions_do_not_wrap_around(name, start):
    """A start so large that start + time is no int64 raises the same ValueError."""
    with rejects(ValueError, "9"):
        LAYERS[name](9, 4)(Tensor(np.zeros((2, 5, 4))), start)


@layers
@pytest.mark.parametrize("start", [-1, np.int64(-1), [0, -1], [-1, 3]], ids=str)
def test_a_negative_start_is_named(name, start):
    """A negative start raises a ValueError whose message contains it; it does not count from the end."""
    with rejects(ValueError, "-1"):
        LAYERS[name](9, 4)(Tensor(np.zeros((2, 3, 4))), start)


@layers
@pytest.mark.parametrize("start", [1.0, True, np.True_, None, "1", [1.0, 2.0], [True, False], Tensor([1.0, 0.0])], ids=str)
def test_a_start_is_an_integer(name, start):
    """Floats, booleans and what is no number raise a TypeError."""
    with rejects(TypeError):
        LAYERS[name](9, 4)(Tensor(np.zeros((2, 3, 4))), start)


@layers
@pytest.mark.parametrize(
    ("start", "shape"),
    [
        ([1], (2, 3, 4)),
        ([1, 2, 3], (2, 3, 4)),
        ([[1], [2]], (2, 3, 4)),
        ([1, 2, 3], (3, 4)),
        ([1], (3, 4)),
        ([], (2, 3, 4)),
        ([1, 2, 3], (2, 3, 5, 4)),
    ],
    ids=str,
)
def test_another_number_of_starts_is_refused(name, start, shape):
    """As many starts as x has rows, or a ValueError is raised whose message contains both shapes. (time, dim) has no rows."""
    with rejects(ValueError, str(np.shape(start)), str(shape)):
        LAYERS[name](9, 4)(Tensor(np.zeros(shape)), start)


@layers
@pytest.mark.parametrize("shape", [(2, 3, 5), (2, 3, 1), (2, 4, 3), (4,), (), (3, 2)], ids=str)
def test_another_number_of_channels_is_refused(name, shape):
    """x must be (…, time, dim): a ValueError contains the layer, its sizes and the shape, such as "RotaryPositions(9, 4)"."""
    with rejects(ValueError, f"{name.split(',')[0]}(9, 4)", str(shape)):
        LAYERS[name](9, 4)(Tensor(np.zeros(shape)))


@layers
@pytest.mark.parametrize("dtype", [np.int64, np.uint8, np.bool_])
def test_positions_of_integers_are_refused(name, dtype):
    """x holds vectors, not ids: integers and booleans raise a TypeError whose message contains their dtype."""
    with rejects(TypeError, str(np.dtype(dtype))):
        LAYERS[name](9, 4)(Tensor(np.zeros((2, 3, 4), dtype)))
