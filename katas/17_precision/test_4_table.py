import numpy as np
import pytest
from katas.embeddings import Embedding
from katas.precision import QuantizedEmbedding, quantize_array
from katas.tensor import Tensor

from specs import oracles
from specs.check import FLOAT32, assert_close, assert_dtype, layouts, rejects

WEIGHTS = {
    "one scale": quantize_array,
    "a scale for each row": lambda w: quantize_array(w, 0),
    "affine": lambda w: quantize_array(w, 0, symmetric=False),
    "a scale for each column": lambda w: quantize_array(w, 1),
}
weights = pytest.mark.parametrize("kind", WEIGHTS)


def made(draw, kind: str = "a scale for each row") -> QuantizedEmbedding:
    return QuantizedEmbedding(WEIGHTS[kind](draw.normal(7, 5) + 0.3))


@weights
@pytest.mark.parametrize("shape", [(2, 3), (4,), (1,), (), (0,), (2, 0), (2, 1, 3)], ids=str)
def test_ids_look_up_what_their_rows_mean(kind, shape, draw):
    """ids (…) → float32 (…, embedding_dim): the rows of weight.dequantize(), for every kind of weight."""
    layer, ids = made(draw, kind), draw.integers(7, *shape)
    want = oracles.precision.meant(layer.weight)[np.array(ids)]
    for given in (ids, ids.astype(np.int8), ids.astype(np.uint16), Tensor(ids), ids.tolist(), *layouts(ids).values()):
        got = layer(given)
        assert_close(got, want, FLOAT32)
        assert_dtype(got, np.float32)
        assert not got.requires_grad


def test_a_table_may_be_longer_than_16_bits(draw):
    """Rows beyond 32,767 and 65,535 are found too, whatever integers the ids are."""
    layer = QuantizedEmbedding(quantize_array(draw.normal(70_000, 1), 0))
    for ids in ([32_768, 65_536, 69_999], np.array([65_535, 65_537], np.uint32)):
        assert_close(layer(ids), oracles.precision.meant(layer.weight)[ids], FLOAT32)


def test_it_is_an_embedding(draw):
    """A QuantizedEmbedding is an Embedding; its weight is the object it was given, and the state_dict has no other names."""
    weight = quantize_array(draw.normal(7, 5), 0)
    layer = QuantizedEmbedding(weight)
    assert isinstance(layer, Embedding)
    assert layer.weight is weight
    assert set(layer.state_dict()) == {"weight.values", "weight.scale"}


def test_the_weight_may_be_exchanged(draw):
    """A layer looks up rows of the weight that it has at the call."""
    layer, other = made(draw), QuantizedEmbedding(quantize_array(draw.normal(9, 4), 0))
    layer([0])
    layer.weight = other.weight
    assert_close(layer([8, 0]), other([8, 0]).data)
    with rejects(IndexError, "9"):
        layer([9])


def test_the_result_may_be_written_to(draw):
    """The result may be written to: the weight doesn't change."""
    layer = made(draw)
    want = layer([0, 3]).data.copy()
    layer([0, 3]).data[...] = 7
    assert_close(layer([0, 3]), want)


@pytest.mark.parametrize(("ids", "names"), [([0, 7], ("7", "(1,)", "7")), ([[3], [-1]], ("-1", "(1, 0)")), (99, ("99", "()"))])
def test_ids_outside_are_refused(ids, names, draw):
    """An id outside the table raises an IndexError that contains it, its index and the number of rows. Negative ids are
    outside.
    """
    with rejects(IndexError, *names, "7"):
        made(draw)(ids)


@pytest.mark.parametrize("number", [2**8 + 1, 2**16 + 1, 2**32 + 1, 1 - 2**32])
def test_no_id_wraps_around(number, draw):
    """An id that would be inside in fewer bits is outside."""
    with rejects(IndexError, str(number), "7"):
        made(draw)([number])


@pytest.mark.parametrize("ids", [np.zeros(2), np.ones(1, bool), np.float32(1)], ids=["float64", "bool", "float32"])
def test_ids_that_are_no_integers_are_refused(ids, draw):
    """Ids that are not integers raise a TypeError that contains the dtype; booleans are no ids."""
    with rejects(TypeError, str(ids.dtype)):
        made(draw)(ids)


def test_only_the_rows_that_are_looked_up_become_floats(budget):
    """Looking up ten rows of a table of 5 MB allocates less than 60 kB."""
    layer = QuantizedEmbedding(quantize_array(np.random.default_rng(0).standard_normal((20_000, 64), np.float32), 0))
    ids = np.arange(10) * 1999
    budget.bytes(lambda: layer(ids), peak=60_000)


def test_a_lookup_takes_no_loop_over_ids(budget, draw):
    """The number of Python instructions does not grow with the number of ids."""
    layer, small, large = made(draw), draw.integers(7, 10), draw.integers(7, 1000)
    budget.steps(lambda: layer(small), lambda: layer(large), limit=2)
