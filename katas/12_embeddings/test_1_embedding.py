import numpy as np
import pytest
from katas.autograd import gradcheck, no_grad
from katas.embeddings import embedding
from katas.tensor import Tensor

from katas import autograd
from specs import oracles
from specs.check import assert_close, assert_dtype, frozen, layouts, rejects, undisturbed

SHAPES = [(5,), (2, 3), (2, 3, 4), (1,), (1, 1), (), (0,), (2, 0)]
shapes = pytest.mark.parametrize("shape", SHAPES, ids=str)
INTEGERS = [np.uint8, np.int8, np.uint16, np.int32, np.uint32, np.int64, np.uint64]


def backward(ids, weight: np.ndarray, g: np.ndarray, padding_idx=None) -> np.ndarray:
    """The gradient of the weight."""
    tensor = Tensor(weight, requires_grad=True)
    embedding(ids, tensor, padding_idx).backward(g)
    return tensor.grad


def rule(y: Tensor, g: np.ndarray) -> np.ndarray:
    """What the rule of the operation that made y gives for the weight: backward would cast it."""
    return autograd.vjp(y.node.op, 0)(g, *y.node.arrays, **y.node.attrs)


@shapes
def test_each_id_becomes_its_row(shape, draw):
    """ids (…) → (…, dim): y[…, :] = weight[ids[…]]. An axis may have length 0; one id without axes gives one row."""
    ids, weight = draw.integers(7, *shape), draw.normal(7, 4)
    assert_close(embedding(ids, Tensor(weight)), oracles.embeddings.embedding(ids, weight))


@pytest.mark.parametrize("dtype", INTEGERS)
def test_ids_of_any_integer_dtype(dtype, draw):
    """Arrays and Tensors of every integer dtype, up to its largest value, even if the weight has more rows than that."""
    top = min(np.iinfo(dtype).max, 299)
    ids, weight = np.array([[0, 5], [top, 5]], dtype), draw.normal(300, 3)
    for given in (ids, frozen(ids), Tensor(ids)):
        assert_close(embedding(given, Tensor(weight)), weight[[[0, 5], [top, 5]]])


def test_ids_may_be_lists(draw):
    """Lists, tuples, ranges, and one integer of Python's or NumPy's. A list without ids gives (0, dim)."""
    weight = draw.normal(7, 3)
    assert_close(embedding([[2, 1, 0], [6, 2, 2]], Tensor(weight)), weight[[[2, 1, 0], [6, 2, 2]]])
    assert_close(embedding((3, 3), Tensor(weight)), weight[[3, 3]])
    assert_close(embedding(range(2, 5), Tensor(weight)), weight[2:5])
    for one in (6, np.int32(6), Tensor(6)):
        assert_close(embedding(one, Tensor(weight)), weight[6])
    assert_close(embedding([], Tensor(weight)), np.zeros((0, 3)))
    assert_close(embedding([[], []], Tensor(weight)), np.zeros((2, 0, 3)))


@shapes
def test_the_gradient_of_a_row_is_the_sum_over_its_tokens(shape, draw):
    """Row i receives Σ g[n] over all n with ids[n] = i: k terms if id i occurs k times, and 0 if it does not occur."""
    ids, weight = draw.integers(4, *shape), draw.normal(6, 3)
    g = draw.normal(*shape, 3)
    want = oracles.embeddings.embedding_gradient(g, ids, 6)
    overwritten, counts = np.zeros((6, 3)), np.bincount(ids.ravel(), minlength=6)
    overwritten[ids] = g
    mistakes = {
        "only the last token of each id counts: the gradient is assigned, not added": overwritten,
        "the mean over the tokens of an id, not the sum": want / np.maximum(counts, 1)[:, None],
    }
    assert_close(backward(ids, weight, g), want, mistakes=mistakes)


def test_one_id_again_and_again(draw):
    """A sequence of one id: its row receives all gradients, and the others none."""
    g, want = draw.normal(50, 3), np.zeros((4, 3))
    want[2] = g.sum(0)
    assert_close(backward(np.full(50, 2), np.ones((4, 3)), g), want)


@pytest.mark.parametrize("padding_idx", [None, 1])
def test_central_differences_agree(padding_idx, draw):
    """gradcheck of kata 07. Where row 1 is padding it is not among the ids, since its gradient is 0 by definition."""
    weight = Tensor(draw.normal(5, 3), requires_grad=True)
    ids = np.array([[0, 4, 0], [2, 2, 3]])
    assert gradcheck(lambda weight: embedding(ids, weight, padding_idx), weight)


@pytest.mark.parametrize("name", ["column by column", "backwards", "in steps"])
def test_arrays_may_lie_in_memory_in_any_order(name, draw):
    """ids, weight and the gradient of the result."""
    ids, weight, g = draw.integers(5, 3, 4), draw.normal(5, 2), draw.normal(3, 4, 2)
    laid_ids, laid_weight, laid_g = layouts(ids)[name], layouts(weight)[name], layouts(g)[name]
    assert_close(embedding(laid_ids, Tensor(laid_weight)), weight[ids])
    assert_close(backward(laid_ids, laid_weight, laid_g), oracles.embeddings.embedding_gradient(g, ids, 5))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_the_dtype_is_the_weights(dtype, draw):
    """The result and the gradient have the weight's dtype. So has what the rule gives: a silent promotion costs time."""
    weight = Tensor(draw.normal(5, 3, dtype=dtype), requires_grad=True)
    y = embedding([1, 4, 1], weight)
    assert_dtype(y, dtype)
    assert_dtype(rule(y, np.ones((3, 3), dtype)), dtype)
    y.sum().backward()
    assert_dtype(weight.grad, dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_result_is_no_part_of_the_weight(dtype, draw):
    """Writing into the result leaves the weight alone, for one id, for ids in order, and for all of them."""
    for ids in (2, np.array(2), [2], range(1, 4), range(5)):
        weight = np.array(draw.normal(5, 3, dtype=dtype))
        before = weight.copy()
        embedding(ids, Tensor(weight)).data[...] = 7
        assert_close(weight, before)


def test_a_token_may_occur_half_a_million_times():
    """500,000 gradients of 0.1 are 50,000. Added one by one in float32, they would be off by 0.3%."""
    ids, g = np.zeros(500_000, np.int64), np.full((500_000, 2), 0.1, np.float32)
    one_by_one = np.cumsum(g, 0)[-1]
    want = np.array([[50_000, 50_000], [0, 0]])
    mistakes = {"added one by one in float32": [one_by_one, [0, 0]]}
    assert_close(backward(ids, np.ones((2, 2), np.float32), g), want, mistakes=mistakes)


def test_float16_is_summed_in_float32():
    """5,000 gradients of 1 are 5,000, though float16 counts no further than 2,048. Terms may exceed its range on the way."""
    ids, weight = np.zeros(5000, np.int64), np.ones((2, 2), np.float16)
    assert_close(backward(ids, weight, np.ones((5000, 2), np.float16)), [[5000, 5000], [0, 0]])
    g = np.repeat(np.array([[60_000], [-60_000]], np.float16), 2, 0)  # 60,000 twice, then -60,000 twice
    assert_close(backward([0] * 4, np.ones((1, 1), np.float16), g), [[0]])


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_infinities_and_nan_stay_in_their_rows(value, draw):
    """A row of the weight that is not finite changes no other token, and a token's gradient that is not finite no other row."""
    weight, g = np.array(draw.normal(5, 3)), np.array(draw.normal(4, 3))
    weight[2], g[1] = value, value
    ids = np.array([0, 3, 4, 0])
    assert_close(embedding(ids, Tensor(weight)), weight[ids], mistakes={"a product: 0 times infinity": np.full((4, 3), np.nan)})
    assert_close(embedding([1, 2], Tensor(weight)), weight[[1, 2]])
    want = np.zeros((5, 3))
    want[0], want[3], want[4] = g[0] + g[3], value, g[2]
    assert_close(backward(ids, weight, g), want)


@pytest.mark.parametrize("given", ["an array", "a Tensor", "a list"])
def test_ids_may_be_changed_after_the_forward(given, draw):
    """The gradient goes to the ids of the forward: a buffer of ids may be filled with the next batch before backward."""
    array, g = np.array([3, 0, 3]), draw.normal(3, 2)
    ids = {"an array": array, "a Tensor": Tensor(array), "a list": array.tolist()}[given]
    weight = Tensor(np.ones((5, 2)), requires_grad=True)
    y = embedding(ids, weight)
    array[:] = 1
    if given == "a list":
        ids[:] = [1, 1, 1]
    y.backward(g)
    wrong = np.zeros((5, 2))
    wrong[1] = g.sum(0)
    mistakes = {"the gradient goes to ids that were changed after the forward": wrong}
    assert_close(weight.grad, oracles.embeddings.embedding_gradient(g, [3, 0, 3], 5), mistakes=mistakes)


def test_uses_of_one_weight_add_up(draw):
    """As embedding and as matrix of another layer, which is weight tying: the gradient is the sum of both."""
    ids, matrix, x = np.array([1, 3, 1]), draw.normal(4, 2), draw.normal(3, 2)
    weight = Tensor(matrix, requires_grad=True)
    g, h = draw.normal(3, 2), draw.normal(3, 4)
    loss = (embedding(ids, weight) * Tensor(g)).sum() + (Tensor(x) @ weight.T * Tensor(h)).sum()
    loss.backward()
    assert_close(weight.grad, oracles.embeddings.embedding_gradient(g, ids, 4) + h.T @ x)


def test_without_a_gradient_nothing_is_recorded(draw):
    """Neither under no_grad nor for a weight that requires no gradient."""
    weight = Tensor(draw.normal(4, 2), requires_grad=True)
    with no_grad():
        y = embedding([1, 2], weight)
    assert not y.requires_grad
    assert not hasattr(y, "node")
    assert not embedding([1, 2], Tensor(weight.data)).requires_grad


@pytest.mark.parametrize("padding_idx", [0, 2, 4, -1, -3, -5, np.int64(2), np.int64(-1)])
def test_the_padding_row_receives_no_gradient(padding_idx, draw):
    """The gradient of row padding_idx is 0, however many times it is used and whatever comes, even an infinity. -1 is the last
    row. The result has the row as it is.
    """
    ids, weight, g = np.array([[0, 1, 2, 4], [2, 0, 4, 3]]), draw.normal(5, 3), np.array(draw.normal(2, 4, 3))
    g[ids == padding_idx % 5] = np.inf
    assert_close(embedding(ids, Tensor(weight), padding_idx), weight[ids])
    want = oracles.embeddings.embedding_gradient(g, ids, 5, padding_idx)
    mistakes = {"padding receives a gradient": oracles.embeddings.embedding_gradient(g, ids, 5)}
    assert_close(backward(ids, weight, g, padding_idx), want, mistakes=mistakes)


@pytest.mark.parametrize(
    ("ids", "first", "place"),
    [
        ([1, 7, 9], "7", "(1,)"),
        ([1, 5, 2], "5", "(1,)"),
        ([0, -1, -9], "-1", "(1,)"),
        ([[4, 0, 1], [2, 3, -5]], "-5", "(1, 2)"),
        ([[[0], [2]], [[8], [-1]]], "8", "(1, 0, 0)"),
        (5, "5", "()"),
        (np.array([3, 255], np.uint8), "255", "(1,)"),
        (np.array([3, -128], np.int8), "-128", "(1,)"),
        (np.array([3, 2**64 - 1], np.uint64), str(2**64 - 1), "(1,)"),
        (Tensor([4, 5]), "5", "(1,)"),
    ],
    ids=str,
)
def test_an_id_out_of_range_is_named(ids, first, place):
    """An id below 0 or not below num raises an IndexError whose message contains the first such id, its position, and num.
    Negative ids don't count from the end.
    """
    with rejects(IndexError, first, place, "5"):
        embedding(ids, Tensor(np.zeros((5, 2))))


def test_after_an_error_nothing_has_changed(draw):
    """Ids, weight and its gradient are as before an error."""
    ids, weight = np.array([1, 2, 5]), Tensor(np.array(draw.normal(5, 2)), requires_grad=True)
    before = weight.data.copy()
    with rejects(IndexError):
        embedding(ids, weight)
    with rejects(ValueError):
        embedding(ids[:2], weight, 7)
    assert_close(ids, [1, 2, 5])
    assert_close(weight, before)
    assert weight.grad is None


def test_nothing_else_is_touched(draw):
    """Neither NumPy's global generator nor its error handling, forward or backward."""
    weight = Tensor(draw.normal(5, 2), requires_grad=True)
    with undisturbed():
        embedding([1, 2, 1], weight, 0).sum().backward()


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.bool_])
def test_ids_are_integers(dtype):
    """Arrays, Tensors and lists of floats or booleans raise a TypeError whose message contains their dtype."""
    weight, values = Tensor(np.zeros((5, 2))), np.array([1, 0, 1], dtype)
    with rejects(TypeError, str(np.dtype(dtype))):
        embedding(values, weight)
    with rejects(TypeError, str(np.dtype(dtype))):
        embedding(Tensor(values), weight)
    with rejects(TypeError):
        embedding(values.tolist(), weight)
    with rejects(TypeError):
        embedding(values.tolist()[0], weight)


@pytest.mark.parametrize("ids", [None, "12", ["a"], [None]], ids=str)
def test_ids_are_numbers(ids):
    """Anything but integers raises a TypeError."""
    with rejects(TypeError):
        embedding(ids, Tensor(np.zeros((5, 2))))


@pytest.mark.parametrize("padding_idx", [5, 6, -6, np.int64(5)])
def test_a_padding_row_that_does_not_exist_is_named(padding_idx):
    """A padding_idx outside -num … num - 1 raises a ValueError whose message contains it and num."""
    with rejects(ValueError, str(int(padding_idx)), "5"):
        embedding([1], Tensor(np.zeros((5, 2))), padding_idx)


@pytest.mark.parametrize("padding_idx", [True, False, np.True_, 1.0, "1"], ids=repr)
def test_the_padding_row_is_an_integer(padding_idx):
    """A padding_idx that is not an integer, such as True, raises a TypeError."""
    with rejects(TypeError):
        embedding([1], Tensor(np.zeros((5, 2))), padding_idx)


@pytest.mark.parametrize("shape", [(), (5,), (5, 2, 3)], ids=str)
def test_a_weight_has_two_axes(shape):
    """A weight that is not (num, dim) raises a ValueError whose message contains its shape."""
    with rejects(ValueError, str(shape)):
        embedding([0], Tensor(np.zeros(shape)))


def call(tokens: int, num: int = 4, dim: int = 2, padding_idx=0):
    """A forward and a backward."""
    ids, weight = np.arange(tokens) * 7 % num, Tensor(np.ones((num, dim), np.float32), requires_grad=True)
    g = np.ones((tokens, dim), np.float32)

    def run():
        embedding(ids, weight, padding_idx).backward(g)
        weight.grad = None

    return run


def test_an_embedding_is_done_in_numpy(budget):
    """The number of Python instructions, forward and backward, must not grow with tokens, ids or channels."""
    budget.steps(call(4), call(2000), limit=2, what="tokens")
    budget.steps(call(4), call(4, num=2000), limit=2, what="ids")
    budget.steps(call(2000), call(2000, num=2000), limit=2, what="different ids")
    budget.steps(call(4), call(4, dim=1000), limit=2, what="channels")


def test_there_is_no_one_hot_matrix(budget):
    """4,096 tokens of 4,096 take 0.26 MB a copy of the result or the weight; a matrix of one-hot rows takes 67 MB."""
    budget.bytes(call(4096, num=4096, dim=16), peak=4_000_000)


def test_a_lookup_reads_its_rows_alone(budget):
    """Three rows of a weight of 8 MB: the others are neither copied nor compared with anything."""
    weight = Tensor(np.ones((50_000, 40), np.float32))
    budget.bytes(lambda: embedding([1, 7, 49_999], weight), peak=100_000)


def test_a_gradient_costs_what_adding_costs(budget):
    """Forward and backward of 2,048 tokens of 4,096 with 64 channels: at most three times the CPU time of np.add.at alone."""
    ids, g = np.arange(2048) * 7 % 4096, np.ones((2048, 64), np.float32)
    budget.time(call(2048, 4096, 64), against=lambda: np.add.at(np.zeros((4096, 64), np.float32), ids, g), limit=3)
