import numpy as np
import pytest
from katas.autograd import gradcheck
from katas.embeddings import LearnedPositions
from katas.tensor import Tensor

from specs import oracles
from specs.check import assert_close, assert_dtype, rejects


def learned(weight: np.ndarray):
    """Adds the row of a position: an oracle for placed."""
    return lambda vector, position: [value + float(row) for value, row in zip(vector, weight[position], strict=True)]


def placed(x: np.ndarray, weight: np.ndarray, start=0) -> np.ndarray:
    return oracles.embeddings.placed(learned(weight), x, start)


def test_each_token_gets_the_row_of_its_position(draw):
    """x (…, time, dim) plus weight[start], weight[start + 1], …"""
    layer, weight = LearnedPositions(9, 5), draw.normal(9, 5)
    layer.weight.data = weight
    for shape in [(4, 5), (2, 4, 5), (2, 3, 4, 5), (1, 1, 5), (2, 0, 5), (0, 4, 5), (9, 5)]:
        x = draw.normal(*shape)
        want = placed(x, weight)
        assert_close(layer(Tensor(x)), want, mistakes={"only the positions": want - x})


def test_start_is_the_position_of_the_first_token(draw):
    """An integer for all rows, or one for each."""
    layer, weight, x = LearnedPositions(9, 5), draw.normal(9, 5), draw.normal(2, 4, 5)
    layer.weight.data = weight
    mistakes = {"start is ignored": placed(x, weight), "one position too late": placed(x, weight, 4)}
    assert_close(layer(Tensor(x), 3), placed(x, weight, 3), mistakes=mistakes)
    assert_close(layer(Tensor(x), start=[5, 0]), placed(x, weight, [5, 0]))


@pytest.mark.parametrize("start", [0, 3, [5, 0, 4]], ids=str)
def test_a_row_receives_the_sum_over_the_batch(start, draw):
    """Row p receives Σ g over all tokens that stand at p, in whichever row of the batch; x receives g."""
    layer, x, g = LearnedPositions(9, 5), Tensor(draw.normal(3, 4, 5), requires_grad=True), draw.normal(3, 4, 5)
    layer.weight.data = draw.normal(9, 5)
    layer(x, start).backward(g)
    positions = np.broadcast_to(np.reshape(start, (-1, 1)) + np.arange(4), (3, 4))
    want = oracles.embeddings.embedding_gradient(g, positions, 9)
    assert_close(layer.weight.grad, want, mistakes={"the mean over the batch": want / 3})
    assert_close(x.grad, g)


def test_central_differences_agree(draw):
    """gradcheck of kata 07, for x and the weight."""
    layer = LearnedPositions(7, 3)

    def function(x, weight):
        layer.weight = weight
        return layer(x, [1, 4])

    assert gradcheck(function, *[Tensor(draw.normal(*shape), requires_grad=True) for shape in ((2, 3, 3), (7, 3))])


def test_the_weight_is_all_there_is_to_learn():
    """weight (max_positions, dim) is the only parameter, and all of state_dict."""
    layer = LearnedPositions(9, 5)
    assert [(name, parameter.shape) for name, parameter in layer.named_parameters()] == [("weight", (9, 5))]
    assert list(layer.state_dict()) == ["weight"]


def test_the_weight_is_drawn_from_a_standard_normal_distribution():
    """float32 with mean 0 and standard deviation 1; a generator decides it, and without one every layer differs."""
    values = LearnedPositions(500, 100, np.random.default_rng(0)).weight.data
    assert_dtype(values, np.float32)
    assert abs(values.mean()) < 0.02
    assert abs(values.std() - 1) < 0.02
    assert_close(values, LearnedPositions(500, 100, np.random.default_rng(0)).weight.data)
    assert not np.array_equal(values, LearnedPositions(500, 100, np.random.default_rng(1)).weight.data)
    assert not np.array_equal(LearnedPositions(2, 3).weight.data, LearnedPositions(2, 3).weight.data)


def test_float32_stays(draw):
    """The result and both gradients are float32, with one start for all and with one for each row."""
    for start in (0, [1, 2]):
        layer, x = LearnedPositions(9, 5), Tensor(draw.normal(2, 3, 5, dtype=np.float32), requires_grad=True)
        y = layer(x, start)
        assert_dtype(y, np.float32)
        y.sum().backward()
        assert_dtype(x.grad, np.float32)
        assert_dtype(layer.weight.grad, np.float32)


def test_the_longest_position_is_the_weights(draw):
    """A longer weight, which somebody put in, has more positions; its rows count, not those of an earlier call."""
    layer, x = LearnedPositions(4, 5), draw.normal(6, 5)
    assert_close(layer(Tensor(x[:4])), x[:4] + layer.weight.data)
    layer.weight.data = draw.normal(6, 5)
    assert_close(layer(Tensor(x)), x + layer.weight.data)


@pytest.mark.parametrize(("max_positions", "dim"), [(0, 6), (-1, 6), (9, 0), (9, -2)])
def test_both_sizes_are_positive(max_positions, dim):
    """A size that is not positive raises a ValueError whose message contains both."""
    with rejects(ValueError, str(max_positions), str(dim)):
        LearnedPositions(max_positions, dim)


def call(layer, *shape: int, start):
    """A forward and a backward."""
    x, g = Tensor(np.ones(shape, np.float32)), np.ones(shape, np.float32)

    def run():
        layer(x, start).backward(g)
        layer.weight.grad = None

    return run


def test_rows_of_the_weight_are_looked_up_in_numpy(budget):
    """The number of Python instructions must not grow with rows, time or channels."""
    layer, few = LearnedPositions(300, 2), call(LearnedPositions(300, 2), 2, 2, 2, start=[0, 1])
    budget.steps(few, call(layer, 200, 2, 2, start=[0, 1] * 100), limit=2, what="rows")
    budget.steps(few, call(layer, 2, 200, 2, start=[0, 1]), limit=2, what="time")
    budget.steps(few, call(LearnedPositions(3, 2000), 2, 2, 2000, start=[0, 1]), limit=2, what="channels")
