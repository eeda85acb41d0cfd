import numpy as np
import pytest
from katas.embeddings import Embedding
from katas.layers import Parameter
from katas.optimizers import SGD
from katas.tensor import Tensor

from specs import oracles
from specs.check import assert_close, assert_dtype, layouts, rejects, undisturbed


def test_a_layer_looks_ids_up_in_its_own_weight(draw):
    """Embedding(num_embeddings, embedding_dim)(ids): ids (…) → (…, embedding_dim)."""
    layer = Embedding(7, 4)
    for shape in [(2, 3), (5,), (1,), (1, 1), (2, 1, 3), (), (0,), (2, 0)]:
        ids = draw.integers(7, *shape)
        want = oracles.embeddings.embedding(ids, layer.weight.data)
        for given in (ids, Tensor(ids), *layouts(ids).values()):
            assert_close(layer(given), want)
    assert_close(layer([6, 6, 0]), layer.weight.data[[6, 6, 0]])
    assert_close(layer(np.int64(6)), layer.weight.data[6])


def test_the_parameter_has_pytorchs_name_and_shape():
    """weight (num_embeddings, embedding_dim) is the only parameter, and all of state_dict."""
    layer = Embedding(7, 4, padding_idx=1)
    assert [(name, parameter.shape) for name, parameter in layer.named_parameters()] == [("weight", (7, 4))]
    assert list(layer.state_dict()) == ["weight"]


def test_the_weight_is_drawn_from_a_standard_normal_distribution():
    """float32 with mean 0 and standard deviation 1, as torch.nn.Embedding's; a tail beyond 3 and nothing beyond 7."""
    values = Embedding(500, 100, rng=np.random.default_rng(0)).weight.data
    assert_dtype(values, np.float32)
    assert abs(values.mean()) < 0.02
    assert abs(values.std() - 1) < 0.02
    assert abs((np.abs(values) < 1).mean() - 0.683) < 0.02
    assert 3 < np.abs(values).max() < 7


def test_a_generator_decides_the_weight():
    """Equal seeds give equal weights, another seed a different one. Two layers of one generator differ, and two without one."""
    first, same, other = (Embedding(3, 4, rng=np.random.default_rng(seed)).weight.data for seed in (1, 1, 2))
    assert_close(first, same)
    assert not np.array_equal(first, other)
    rng = np.random.default_rng(1)
    assert not np.array_equal(Embedding(3, 4, rng=rng).weight.data, Embedding(3, 4, rng=rng).weight.data)
    assert not np.array_equal(Embedding(3, 4).weight.data, Embedding(3, 4).weight.data)
    with undisturbed():
        Embedding(3, 4)


def test_the_weight_receives_the_sum_of_its_tokens_gradients(draw):
    """layer(ids).backward(g): as embedding's, in float32."""
    layer, ids, g = Embedding(6, 3), draw.integers(4, 2, 5), draw.normal(2, 5, 3, dtype=np.float32)
    layer(ids).backward(g)
    assert_close(layer.weight.grad, oracles.embeddings.embedding_gradient(g, ids, 6))
    assert_dtype(layer.weight.grad, np.float32)
    assert layer(ids).dtype == np.float32


@pytest.mark.parametrize("padding_idx", [0, 3, -1, -4, np.int64(-2)])
def test_the_padding_row_is_zero_and_stays_zero(padding_idx, draw):
    """Row padding_idx, and no other, starts at 0; steps of an optimizer change the others only. -1 is the last row."""
    layer = Embedding(4, 3, padding_idx)
    assert_close(layer.weight.data[padding_idx], np.zeros(3))
    assert (np.delete(layer.weight.data, padding_idx, 0) != 0).all()
    before = layer.weight.data.copy()
    layer([0, 1, 2, 3, 3]).backward(np.ones((5, 3), np.float32))
    SGD([layer.weight], lr=0.1).step()
    assert_close(layer.weight.data[padding_idx], np.zeros(3))
    assert (np.delete(layer.weight.data, padding_idx, 0) != np.delete(before, padding_idx, 0)).all()


def test_layers_have_padding_of_their_own():
    """A second layer with another padding row changes nothing for the first."""
    first, second, third = Embedding(4, 3, 1), Embedding(4, 3, 2), Embedding(4, 3)
    for layer, padding_idx in ((first, 1), (second, 2), (third, None)):
        layer([0, 1, 2, 3]).backward(np.ones((4, 3), np.float32))
        assert_close(layer.weight.grad, oracles.embeddings.embedding_gradient(np.ones((4, 3)), range(4), 4, padding_idx))


def test_without_padding_every_row_is_trained():
    """padding_idx=None: no row starts at 0, and none is left out."""
    layer = Embedding(4, 3)
    assert (layer.weight.data != 0).all()
    layer([0, 1, 2, 3]).backward(np.ones((4, 3), np.float32))
    assert_close(layer.weight.grad, np.ones((4, 3)))


def test_padding_changes_no_other_row():
    """With equal seeds the other rows are equal, with padding_idx or without."""
    with_padding, without = (Embedding(4, 3, padding, np.random.default_rng(5)).weight.data for padding in (2, None))
    assert_close(np.delete(with_padding, 2, 0), np.delete(without, 2, 0))


def test_a_weight_that_is_loaded_or_replaced_counts(draw):
    """The layer looks up what weight holds now, the padding row too, in its dtype; and ids are as many as it has rows."""
    layer, values = Embedding(4, 3, padding_idx=1), draw.normal(4, 3)
    layer.load_state_dict({"weight": values})
    assert_close(layer([1, 2]), values[[1, 2]].astype(np.float32))
    layer.weight.data = np.array(draw.normal(6, 3))
    assert_close(layer([5, 1]), layer.weight.data[[5, 1]])
    assert_dtype(layer([5, 1]), np.float64)


def test_another_parameter_may_become_the_weight(draw):
    """As weights are tied: the layer looks up the Parameter that `weight` is now, and that receives the gradient."""
    layer, shared = Embedding(4, 3), Parameter(draw.normal(6, 3))
    layer([0])
    layer.weight = shared
    layer([5, 5]).backward(np.ones((2, 3)))
    assert_close(layer([5]), shared.data[[5]])
    assert_close(shared.grad, oracles.embeddings.embedding_gradient(np.ones((2, 3)), [5, 5], 6))


def test_values_that_are_not_finite_stay(draw):
    """Rows of infinities and NaN are looked up as they are."""
    layer = Embedding(3, 2)
    layer.weight.data[1:] = [[np.inf, 1], [np.nan, -np.inf]]
    assert_close(layer([1, 2, 1]), layer.weight.data[[1, 2, 1]])


def test_the_result_may_be_written_to():
    """It is an array of its own: the weight does not change with it."""
    layer = Embedding(5, 3)
    before = layer.weight.data.copy()
    layer(range(5)).data[...] = 7
    assert_close(layer.weight, before)


def test_sizes_may_be_numpys_integers():
    """As of an array's shape or a sum; nothing else is touched: neither NumPy's global generator nor its error handling."""
    with undisturbed():
        layer = Embedding(np.int64(4), np.int32(3), np.int64(0))
        assert_close(layer([0, 0]), np.zeros((2, 3)))
    assert layer.weight.shape == (4, 3)
    assert Embedding(1, 1)([0, 0]).shape == (2, 1)


@pytest.mark.parametrize(("num", "dim"), [(0, 3), (4, 0), (-1, 3), (4, -2)])
def test_both_sizes_are_positive(num, dim):
    """A size that is not positive raises a ValueError whose message contains both."""
    with rejects(ValueError, str(num), str(dim)):
        Embedding(num, dim)


@pytest.mark.parametrize(("padding_idx", "error"), [(4, ValueError), (-5, ValueError), (True, TypeError), (1.0, TypeError)])
def test_a_padding_row_that_does_not_exist_is_refused_at_once(padding_idx, error):
    """When the layer is made: a ValueError whose message contains padding_idx and num_embeddings, or a TypeError."""
    names = (str(padding_idx), "4") if error is ValueError else ()
    with rejects(error, *names):
        Embedding(4, 3, padding_idx)


@pytest.mark.parametrize(("ids", "error", "names"), [([0, 4], IndexError, ("4", "(1,)")), ([0.0], TypeError, ())])
def test_ids_that_are_none_are_refused(ids, error, names):
    """As embedding refuses them: an IndexError whose message contains the id and its position, or a TypeError."""
    with rejects(error, *names):
        Embedding(4, 3)(ids)
