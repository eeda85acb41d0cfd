import math

import numpy as np
import pytest
from katas.autograd import gradcheck, no_grad
from katas.embeddings import SinusoidalPositions
from katas.tensor import Tensor

from specs import oracles
from specs.check import FLOAT64, assert_close, assert_dtype, rejects

placed, sinusoidal = oracles.embeddings.placed, oracles.embeddings.sinusoidal


def table(max_positions: int, dim: int, time: int, start=0, dtype=np.float64) -> np.ndarray:
    """What is added to zeros: (time, dim)."""
    return SinusoidalPositions(max_positions, dim)(Tensor(np.zeros((time, dim), dtype)), start).data


def test_a_position_is_a_row_of_sines_and_cosines():
    """Position p has sin(p · 10000^(-2i / dim)) in channel 2i and the cosine of the same angle in channel 2i + 1."""
    want = placed(sinusoidal, np.zeros((20, 6)))
    halves = np.concatenate([want[:, ::2], want[:, 1::2]], 1)
    exchanged = want.reshape(20, 3, 2)[..., ::-1].reshape(20, 6)
    mistakes = {
        "all sines first, then all cosines": halves,
        "cosines in even channels, sines in odd ones": exchanged,
        "positions are counted from 1": placed(sinusoidal, np.zeros((20, 6)), 1),
    }
    assert_close(table(20, 6, 20), want, mistakes=mistakes)
    for longest, dim in ((20, 2), (20, 4), (5, 50), (1, 2)):
        assert_close(table(longest, dim, longest), placed(sinusoidal, np.zeros((longest, dim))))


def test_known_values():
    """Of dim 4: position 0 is 0, 1, 0, 1; position 1 is sin 1, cos 1, sin 0.01, cos 0.01."""
    values = [[0, 1, 0, 1], [math.sin(1), math.cos(1), math.sin(0.01), math.cos(0.01)]]
    assert_close(table(2, 4, 2), values)
    assert_close(table(3, 2, 1, 2), [[math.sin(2), math.cos(2)]])


def test_positions_are_added_to_x(draw):
    """x (…, time, dim) plus the positions, which are the same for every row; nothing is scaled."""
    layer = SinusoidalPositions(9, 6)
    for shape in [(5, 6), (2, 5, 6), (2, 3, 5, 6), (1, 1, 6), (2, 0, 6), (0, 5, 6), (9, 6)]:
        x = draw.normal(*shape)
        want = placed(sinusoidal, x)
        mistakes = {"only the positions": want - x, "x times √dim, as the paper scales embeddings": want - x + math.sqrt(6) * x}
        assert_close(layer(Tensor(x)), want, mistakes=mistakes)


def test_start_is_the_position_of_the_first_token(draw):
    """An integer for all rows, or one for each: start=3 means that the tokens stand at 3, 4, …"""
    layer, x = SinusoidalPositions(20, 6), draw.normal(2, 5, 6)
    want = placed(sinusoidal, x, 3)
    mistakes = {"start is ignored": placed(sinusoidal, x), "one position too late": placed(sinusoidal, x, 4)}
    assert_close(layer(Tensor(x), 3), want, mistakes=mistakes)
    assert_close(layer(Tensor(x), start=[3, 0]), placed(sinusoidal, x, [3, 0]))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_far_positions_are_as_exact_as_near_ones(dtype):
    """Angles are computed in float64: in float32 the sine of position 100,000 would be off by 0.01."""
    got = table(100_001, 32, 3, 99_998, dtype)
    assert_close(got, placed(sinusoidal, np.zeros((3, 32)), 99_998), FLOAT64 if dtype == np.float64 else None)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_the_dtype_stays(dtype, draw):
    """The result and the gradient have x's dtype, with one start for all and with one for each row."""
    for start in (0, [1, 2]):
        x = Tensor(draw.normal(2, 3, 6, dtype=dtype), requires_grad=True)
        y = SinusoidalPositions(9, 6)(x, start)
        assert_dtype(y, dtype)
        y.sum().backward()
        assert_dtype(x.grad, dtype)


def test_the_gradient_passes_through(draw):
    """What is added is constant: x receives the gradient as it comes."""
    x, g = Tensor(draw.normal(2, 3, 6), requires_grad=True), draw.normal(2, 3, 6)
    layer = SinusoidalPositions(9, 6)
    layer(x, 2).backward(g)
    assert_close(x.grad, g)
    assert gradcheck(lambda x: layer(x, [4, 0]), x)


def test_the_table_is_no_state():
    """It follows from the sizes: there are no parameters and no buffers, and state_dict is empty."""
    layer = SinusoidalPositions(9, 6)
    assert layer.parameters() == []
    assert layer.named_buffers() == []
    assert layer.state_dict() == {}


def test_the_result_is_no_part_of_the_table():
    """Writing into a result changes no later one."""
    layer, x = SinusoidalPositions(9, 6), Tensor(np.zeros((9, 6)))
    before = layer(x).data.copy()
    layer(x).data[...] = 5
    assert_close(layer(x), before)
    assert_close(x, np.zeros((9, 6)))


@pytest.mark.parametrize("dim", [1, 3, 7])
def test_an_odd_dim_is_refused(dim):
    """Every sine needs its cosine: an odd dim raises a ValueError whose message contains it."""
    with rejects(ValueError, str(dim)):
        SinusoidalPositions(9, dim)


@pytest.mark.parametrize(("max_positions", "dim"), [(0, 6), (-1, 6), (9, 0), (9, -2)])
def test_both_sizes_are_positive(max_positions, dim):
    """A size that is not positive raises a ValueError whose message contains both."""
    with rejects(ValueError, str(max_positions), str(dim)):
        SinusoidalPositions(max_positions, dim)


def call(layer, *shape: int, start=0):
    x = Tensor(np.ones(shape, np.float32))
    return lambda: layer(x, start)


def test_waves_are_looked_up_in_numpy(budget):
    """The number of Python instructions must not grow with rows, time or channels."""
    layer, few = SinusoidalPositions(3000, 2), call(SinusoidalPositions(3000, 2), 2, 2, 2, start=[0, 1])
    budget.steps(few, call(layer, 2000, 2, 2, start=[0, 1] * 1000), limit=2, what="rows")
    budget.steps(few, call(layer, 2, 2000, 2, start=[0, 1]), limit=2, what="time")
    budget.steps(few, call(SinusoidalPositions(3, 2000), 2, 2, 2000, start=[0, 1]), limit=2, what="channels")


def test_one_token_needs_one_row_of_waves(budget):
    """For one token, nothing is computed or copied for the other 19,999 positions."""
    with no_grad():
        budget.bytes(call(SinusoidalPositions(20_000, 8), 1, 1, 8, start=19_999), peak=20_000)
