import numpy as np
import pytest
from katas.autograd import gradcheck, no_grad
from katas.embeddings import RotaryPositions
from katas.tensor import Tensor

from katas import autograd
from specs import oracles
from specs.check import FLOAT64, assert_close, assert_dtype, assert_gradient, layouts, rejects

PAIRINGS = {"halves": "neighbors", "neighbors": "halves"}
pairings = pytest.mark.parametrize("pairing", PAIRINGS)
placed, rotary = oracles.embeddings.placed, oracles.embeddings.rotary


@pairings
def test_each_pair_is_rotated_by_the_angle_of_its_position(pairing, draw):
    """(a, b) becomes (a cos - b sin, a sin + b cos), with the angle p · base^(-2i / dim) for pair i of the token at position p.
    "halves" pairs channel i with i + dim / 2, "neighbors" 2i with 2i + 1.
    """
    layer = RotaryPositions(9, 8, pairing=pairing)
    for shape in [(2, 3, 5, 8), (2, 5, 8), (5, 8), (2, 3, 2, 5, 8), (1, 1, 1, 8), (2, 3, 0, 8), (0, 3, 5, 8), (1, 2, 9, 8)]:
        x = draw.normal(*shape)
        mistakes = {
            f'the pairing is that of "{PAIRINGS[pairing]}"': placed(rotary(PAIRINGS[pairing]), x),
            "rotated the other way": placed(rotary(pairing), x[..., ::-1, :], 1 - shape[-2])[..., ::-1, :],
            "positions are counted from 1": placed(rotary(pairing), x, 1),
        }
        assert_close(layer(Tensor(x)), placed(rotary(pairing), x), mistakes=mistakes)
    for longest, dim in ((5, 2), (5, 6), (5, 50), (1, 2)):
        x = draw.normal(longest, dim)
        assert_close(RotaryPositions(longest, dim, pairing=pairing)(Tensor(x)), placed(rotary(pairing), x))


def test_the_pairing_is_that_of_halves_unless_given(draw):
    """RotaryPositions(max_positions, dim): as GPT-NeoX and Llama."""
    x = draw.normal(2, 3, 5, 8)
    assert_close(RotaryPositions(9, 8)(Tensor(x)), placed(rotary("halves"), x))


@pairings
def test_known_values(pairing):
    """1, 2, 3, 4 at position 1, with the angles 1 and 0.01."""
    want = {"halves": [-1.984111, 1.959901, 2.462378, 4.019800], "neighbors": [-1.142640, 1.922076, 2.959851, 4.029800]}
    y = RotaryPositions(2, 4, pairing=pairing)(Tensor(np.array([[1.0, 2.0, 3.0, 4.0]], np.float32)), 1)
    assert_close(y, [want[pairing]])


@pairings
def test_the_base_decides_how_slow_the_last_pairs_are(pairing, draw):
    """base=10000 unless given; an integer, a float or a NumPy number. Models for long texts have larger ones."""
    x = draw.normal(2, 3, 5, 8)
    for base in (100, 500_000.0, np.float32(100), 1):
        want = placed(rotary(pairing, float(base)), x)
        mistakes = {"base is ignored": placed(rotary(pairing), x)}
        assert_close(RotaryPositions(9, 8, base, pairing)(Tensor(x)), want, mistakes=mistakes)


@pairings
def test_start_is_the_position_of_the_first_token(pairing, draw):
    """An integer for all rows of the batch, or one for each; all heads of a row have the same."""
    layer, x = RotaryPositions(20, 6, pairing=pairing), draw.normal(2, 3, 4, 6)
    mistakes = {"start is ignored": placed(rotary(pairing), x), "one position too late": placed(rotary(pairing), x, 8)}
    assert_close(layer(Tensor(x), 7), placed(rotary(pairing), x, 7), mistakes=mistakes)
    assert_close(layer(Tensor(x), start=[7, 0]), placed(rotary(pairing), x, [7, 0]))
    x = draw.normal(3, 3, 3, 6)  # where rows, heads and time are equally many
    mistakes = {
        "each head has its own start, not each row": placed(rotary(pairing), x.swapaxes(0, 1), [7, 0, 4]).swapaxes(0, 1)
    }
    assert_close(layer(Tensor(x), [7, 0, 4]), placed(rotary(pairing), x, [7, 0, 4]), mistakes=mistakes)


@pairings
def test_token_by_token_is_as_all_at_once(pairing, draw):
    """With start = the number of tokens before, as with a cache: each token is rotated as in the whole sequence."""
    layer, x = RotaryPositions(6, 4, pairing=pairing), draw.normal(2, 3, 6, 4)
    whole = layer(Tensor(x)).data
    for t in range(6):
        assert_close(layer(Tensor(x[:, :, t : t + 1]), t), whole[:, :, t : t + 1])


@pairings
def test_a_product_depends_on_the_distance_alone(pairing, draw):
    """q at position m and k at position n: their product is the same wherever m - n is; and it does depend on that."""
    layer, q, k = RotaryPositions(2000, 8, pairing=pairing), Tensor(draw.normal(1, 8)), Tensor(draw.normal(1, 8))

    def score(m: int, n: int) -> float:
        return (layer(q, m) @ layer(k, n).T).item()

    for distance in (0, 1, 5, 300):
        scores = [score(n + distance, n) for n in (0, 1, 77, 1500)]
        assert np.ptp(scores) < 1e-9, f"at the distance {distance} the products are {scores}"
        assert abs(score(0, 7) - scores[0]) > 1e-3


@pairings
def test_a_rotation_changes_no_length(pairing, draw):
    """Each pair keeps its length; at position 0 nothing changes at all."""
    layer, x = RotaryPositions(50, 6, pairing=pairing), draw.normal(2, 3, 5, 6)
    y = layer(Tensor(x), 40).data
    first, second = (np.s_[..., :3], np.s_[..., 3:]) if pairing == "halves" else (np.s_[..., ::2], np.s_[..., 1::2])
    assert_close(np.hypot(y[first], y[second]), np.hypot(x[first], x[second]))
    assert_close(layer(Tensor(x)).data[:, :, 0], x[:, :, 0])


@pairings
@pytest.mark.parametrize("start", [0, 3, [5, 0]], ids=str)
def test_the_gradient_is_rotated_back(pairing, start, draw):
    """The derivative of a rotation is the rotation; its transpose turns the gradient by the opposite angle."""
    layer, x, g = RotaryPositions(9, 4, pairing=pairing), draw.normal(2, 2, 3, 4), draw.normal(2, 2, 3, 4)
    tensor = Tensor(x, requires_grad=True)
    layer(tensor, start).backward(g)
    mistakes = {"rotated once more, not back": placed(rotary(pairing), g, start), "the gradient as it came": g}
    assert_gradient(tensor.grad, lambda x: placed(rotary(pairing), x, start), x, g, mistakes)
    assert gradcheck(lambda x: layer(x, start), tensor)


@pairings
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_the_dtype_stays(pairing, dtype, draw):
    """The result and the gradient have x's dtype, and so has what the rule gives."""
    for start in (0, [1, 2]):
        x = Tensor(draw.normal(2, 3, 4, 6, dtype=dtype), requires_grad=True)
        y = RotaryPositions(9, 6, pairing=pairing)(x, start)
        assert_dtype(y, dtype)
        assert_dtype(autograd.vjp(y.node.op, 0)(y.data, *y.node.arrays, **y.node.attrs), dtype)
        y.sum().backward()
        assert_dtype(x.grad, dtype)


@pairings
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_far_positions_are_as_exact_as_near_ones(pairing, dtype, draw):
    """Angles are computed in float64: in float32 those of position 100,000 would be off by 0.01."""
    x = draw.normal(2, 3, 8, dtype=dtype)
    got = RotaryPositions(100_001, 8, pairing=pairing)(Tensor(x), 99_998)
    assert_close(got, placed(rotary(pairing), x, 99_998), FLOAT64 if dtype == np.float64 else None)


@pairings
@pytest.mark.parametrize("name", ["column by column", "backwards", "in steps"])
def test_arrays_may_lie_in_memory_in_any_order(pairing, name, draw):
    """x and the gradient of the result: heads are often a transposed view. Neither is changed."""
    x, g = draw.normal(2, 3, 4, 6), draw.normal(2, 3, 4, 6)
    tensor = Tensor(layouts(x)[name], requires_grad=True)
    y = RotaryPositions(9, 6, pairing=pairing)(tensor, 2)
    y.backward(layouts(g)[name])
    assert_close(y, placed(rotary(pairing), x, 2))
    assert_close(tensor, x)
    back = Tensor(g, requires_grad=True)
    RotaryPositions(9, 6, pairing=pairing)(back, 2).backward(g)
    assert_close(tensor.grad, back.grad)


def test_a_gradient_may_be_one_number_for_all(draw):
    """After a sum the gradient that comes is a read-only view of a single number."""
    x = Tensor(draw.normal(2, 3, 4), requires_grad=True)
    RotaryPositions(9, 4)(x, 1).sum().backward()
    assert_gradient(x.grad, lambda x: placed(rotary("halves"), x, 1), x.data, np.ones((2, 3, 4)))


def test_nothing_is_learned():
    """There are no parameters and no buffers: tables follow from the sizes, and state_dict is empty."""
    layer = RotaryPositions(9, 6)
    assert layer.parameters() == []
    assert layer.named_buffers() == []
    assert layer.state_dict() == {}


def test_the_result_is_an_array_of_its_own(draw):
    """Writing into a result, even at position 0, changes neither x nor a later result."""
    layer, x = RotaryPositions(9, 6), Tensor(np.array(draw.normal(1, 6)))
    before = x.data.copy()
    layer(x).data[...] = 5
    assert_close(x, before)
    assert_close(layer(x), before)


@pairings
def test_a_layer_may_be_used_again_before_backward(pairing, draw):
    """Each gradient is rotated back by the angles of its own forward, whatever the layer did since."""
    layer, x = RotaryPositions(9, 4, pairing=pairing), Tensor(draw.normal(3, 4), requires_grad=True)
    y = layer(x, 1)
    layer(x, 5)
    y.backward(y.data)
    assert_close(x.grad, x.data)


@pytest.mark.parametrize("dim", [1, 3, 7])
def test_an_odd_dim_is_refused(dim):
    """Channels come in pairs: an odd dim raises a ValueError whose message contains it."""
    with rejects(ValueError, str(dim)):
        RotaryPositions(9, dim)


@pytest.mark.parametrize(("max_positions", "dim"), [(0, 6), (-1, 6), (9, 0), (9, -2)])
def test_both_sizes_are_positive(max_positions, dim):
    """A size that is not positive raises a ValueError whose message contains both."""
    with rejects(ValueError, str(max_positions), str(dim)):
        RotaryPositions(max_positions, dim)


@pytest.mark.parametrize("base", [0, -1.0, float("nan")])
def test_the_base_is_positive(base):
    """A base that is not positive raises a ValueError whose message contains it."""
    with rejects(ValueError, str(base)):
        RotaryPositions(9, 6, base)


@pytest.mark.parametrize("pairing", ["neighbours", "halve", "Halves", "", None, True])
def test_another_pairing_is_refused(pairing):
    """A pairing other than "halves" and "neighbors" raises a ValueError whose message contains it and both."""
    with rejects(ValueError, str(pairing), "halves", "neighbors"):
        RotaryPositions(9, 6, pairing=pairing)


def call(layer, *shape: int, start=0):
    """A forward and a backward."""
    x, g = Tensor(np.ones(shape, np.float32), requires_grad=True), np.ones(shape, np.float32)

    def run():
        layer(x, start).backward(g)
        x.grad = None

    return run


@pairings
def test_a_rotation_is_done_in_numpy(pairing, budget):
    """The number of Python instructions must not grow with rows, heads, time or channels."""
    layer, wide = RotaryPositions(3000, 2, pairing=pairing), RotaryPositions(3, 2000, pairing=pairing)
    few = call(layer, 2, 2, 2, 2, start=[0, 1])
    budget.steps(few, call(layer, 2000, 2, 2, 2, start=[0, 1] * 1000), limit=2, what="rows")
    budget.steps(few, call(layer, 2, 2000, 2, 2, start=[0, 1]), limit=2, what="heads")
    budget.steps(few, call(layer, 2, 2, 2000, 2, start=[0, 1]), limit=2, what="time")
    budget.steps(few, call(wide, 2, 2, 2, 2000, start=[0, 1]), limit=2, what="channels")


@pairings
def test_one_token_needs_one_rotation(pairing, budget):
    """For one token, nothing is computed or copied for the other 19,999 positions."""
    layer, x = RotaryPositions(20_000, 8, pairing=pairing), Tensor(np.ones((1, 2, 1, 8), np.float32))
    with no_grad():
        budget.bytes(lambda: layer(x, 19_999), peak=20_000)


def test_rows_and_heads_share_their_tables(budget):
    """32 rows of 8 heads, 2 MB: a forward holds the result and one more array of that size. Sines and cosines of 64 positions
    are 16 kB, and are not repeated for each row and head.
    """
    layer, x = RotaryPositions(64, 32), Tensor(np.ones((32, 8, 64, 32), np.float32))
    with no_grad():
        budget.bytes(lambda: layer(x), peak=6_500_000)


@pairings
def test_a_rotation_costs_a_few_passes(pairing, budget):
    """Forward and backward for 32 rows, 8 heads, 64 tokens and 32 channels: at most three and a half times the CPU time of the
    products q kᵀ that attention will compute from them.
    """
    x = np.ones((32, 8, 64, 32), np.float32)
    keys = np.ascontiguousarray(x.swapaxes(-1, -2))
    budget.time(call(RotaryPositions(64, 32, pairing=pairing), *x.shape), against=lambda: x @ keys, limit=3.5)
