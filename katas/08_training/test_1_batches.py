import numpy as np
import pytest
from katas.layers import Dropout, Linear, Module, Parameter, Sequential
from katas.losses import CrossEntropyLoss, MSELoss
from katas.tensor import Tensor
from katas.training import Batches, Objective

from specs.check import EXACT, assert_close, assert_dtype, global_state, rejects


def rows(batches) -> list[list[int]]:
    """The targets of each batch, which are sample indices here."""
    return [y.data.tolist() for _, y in batches]


def test_a_batch_is_a_pair_of_tensors(draw):
    """Iterating over Batches gives (x, y): two Tensors of the batch's length. The dtypes don't change."""
    x, y = draw.normal(7, 2, 3, dtype=np.float32), draw.integers(5, 7)
    first, second = next(iter(Batches(x, y, 4)))
    assert isinstance(first, Tensor)
    assert isinstance(second, Tensor)
    assert_close(first, x[:4], EXACT)
    assert_close(second, y[:4], EXACT)
    assert_dtype(first, np.float32)
    assert_dtype(second, np.int64)


def test_the_last_batch_may_be_smaller(draw):
    """Each sample comes once an epoch: with batch_size=4, 10 samples give batches of 4, 4 and 2, and len() is 3."""
    batches = Batches(draw.normal(10, 2), np.arange(10), 4)
    assert rows(batches) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert len(batches) == 3
    assert len(Batches(draw.normal(8, 2), np.arange(8), 4)) == 2
    assert rows(Batches(draw.normal(3, 2), np.arange(3), 1)) == [[0], [1], [2]]


def test_without_a_generator_the_order_stays(draw):
    """With rng=None, every epoch has the samples in order."""
    batches = Batches(draw.normal(10, 2), np.arange(10), 4)
    assert rows(batches) == rows(batches)
    assert batches.rng is None


def test_each_epoch_has_an_order_of_its_own(draw):
    """With an rng, every iteration draws a new order of all samples, and x and y stay together."""
    x = draw.normal(50, 2)
    batches = Batches(x, np.arange(50), 7, np.random.default_rng(3))
    epochs = [[row for batch in rows(batches) for row in batch] for _ in range(3)]
    assert len({tuple(epoch) for epoch in epochs}) == 3, "two epochs have the same order"
    assert [sorted(epoch) for epoch in epochs] == [list(range(50))] * 3
    assert epochs[0] != list(range(50))
    for first, second in batches:
        assert_close(first, x[second.data], EXACT)


def test_samples_move_between_batches(draw):
    """Shuffling reorders all samples. It doesn't only reorder whole batches, or shuffle within each batch."""
    batches = Batches(draw.normal(64, 2), np.arange(64), 8, np.random.default_rng(3))
    first, second = ({frozenset(batch) for batch in rows(batches)} for _ in range(2))
    assert not first & second
    assert not first & {frozenset(range(start, start + 8)) for start in range(0, 64, 8)}
    assert any(batch != sorted(batch) for batch in rows(batches)), "the samples of each batch are in order"


def test_iterations_at_the_same_time_have_their_own_orders(draw):
    """Each iteration gives each sample once, even during another iteration, as in zip(batches, batches)."""
    batches = Batches(draw.normal(12, 2), np.arange(12), 3, np.random.default_rng(3))
    both = [(*one[1].data, *other[1].data) for one, other in zip(batches, batches, strict=True)]
    first, second = ([row for rows in both for row in rows[half]] for half in (slice(3), slice(3, 6)))
    assert sorted(first) == sorted(second) == list(range(12))
    assert first != second


def test_the_generator_may_be_another_later(draw):
    """rng is an attribute: the next iteration draws from its current value, or keeps the order if it is None."""
    batches = Batches(draw.normal(20, 2), np.arange(20), 6)
    batches.rng = np.random.default_rng(3)
    want = rows(Batches(draw.normal(20, 2), np.arange(20), 6, np.random.default_rng(3)))
    assert rows(batches) == want
    batches.rng = None
    assert [row for batch in rows(batches) for row in batch] == list(range(20))


def test_in_order_batches_are_views(draw):
    """Without rng, nothing is copied: a batch's arrays are views of x and y."""
    x, y = draw.normal(10, 2), draw.integers(3, 10)
    for got, labels in Batches(x, y, 4):
        assert np.shares_memory(got.data, x), "x was copied"
        assert np.shares_memory(labels.data, y), "y was copied"


def test_the_generator_alone_decides(draw):
    """Equal generator states give equal epochs; rng is an attribute, and NumPy's global generator is not used."""
    x, before = draw.normal(20, 2), global_state()
    rng = np.random.default_rng(3)
    one, two = Batches(x, np.arange(20), 6, rng), Batches(x, np.arange(20), 6, np.random.default_rng(3))
    assert rows(one) == rows(two)
    assert one.rng is rng
    state = rng.bit_generator.state
    second = rows(one)
    rng.bit_generator.state = state
    assert rows(one) == second
    assert global_state() == before


def test_tensors_and_lists_are_taken(draw):
    """x and y may be anything that Tensor() takes."""
    x = draw.normal(3, 2)
    ((got, labels),) = Batches(Tensor(x), [2, 0, 1], 5)
    assert_close(got, x, EXACT)
    assert labels.data.tolist() == [2, 0, 1]


def test_an_epoch_copies_one_batch_at_a_time(draw, budget):
    """A shuffled epoch of 2 MB holds the order and one or two batches of 20 kB at a time."""
    x = np.ones((1000, 500), np.float32)
    batches = Batches(x, np.arange(1000), 10, np.random.default_rng(3))
    budget.bytes(lambda: [None for _ in batches], peak=120_000)


@pytest.mark.parametrize("shapes", [((3, 2), (4,)), ((4, 2), (3,)), ((0, 2), (0,))], ids=str)
def test_samples_and_targets_of_other_lengths_are_refused(shapes):
    """x and y must have the same length, and not 0. Otherwise a ValueError contains both shapes."""
    x, y = shapes
    with rejects(ValueError, str(x), str(y)):
        Batches(np.ones(x), np.ones(y), 2)


@pytest.mark.parametrize("size", [0, -1])
def test_a_batch_of_nothing_is_refused(size):
    """A batch_size below 1 raises a ValueError that contains batch_size and the value."""
    with rejects(ValueError, "batch_size", str(size)):
        Batches(np.ones((4, 2)), np.ones(4), size)


@pytest.mark.parametrize("rng", [7, np.random.RandomState(7), np.random], ids=["a seed", "RandomState", "np.random"])
def test_another_rng_is_refused(rng):
    """An rng that is neither None nor a Generator raises a TypeError: a checkpoint saves only a Generator's state."""
    with rejects(TypeError, "rng"):
        Batches(np.ones((4, 2)), np.ones(4), 2, rng)


def test_an_objective_is_the_criterion_of_the_network(draw):
    """Objective(network, criterion)(x, y) is criterion(network(x), y), and its backward reaches the parameters."""
    network, x, y = Linear(4, 3), draw.normal(6, 4, dtype=np.float32), draw.integers(3, 6)
    loss = Objective(network, CrossEntropyLoss())(Tensor(x), Tensor(y))
    assert_close(loss, CrossEntropyLoss()(network(Tensor(x)), y), EXACT)
    loss.backward()
    assert network.weight.grad is not None


def test_an_objective_is_a_module(draw):
    """An Objective is a Module: its parameters are the network's, and train() and eval() reach the network's layers."""
    network = Sequential(Linear(4, 3), Dropout(0.5))
    model = Objective(network, MSELoss())
    assert [id(parameter) for parameter in model.parameters()] == [id(parameter) for parameter in network.parameters()]
    model.eval()
    assert not network[1].training


class Centered(Module):
    """A criterion that is a Module with a buffer, a parameter, and dropout."""

    def __init__(self):
        self.register_buffer("center", [0.0])
        self.scale, self.dropout = Parameter([1.0]), Dropout(0.5)

    def forward(self, prediction, y):
        return (self.dropout(prediction - self.center) * self.scale - y).mean()


def test_a_criterion_that_is_a_module_is_below_the_objective():
    """If the criterion is a Module, the Objective has its parameters and buffers too, and train() and eval() reach it."""
    network, criterion = Linear(4, 3), Centered()
    model = Objective(network, criterion)
    assert any(module is criterion.dropout for module in model.modules())
    assert any(parameter is criterion.scale for parameter in model.parameters())
    assert any(buffer is criterion.center for _, buffer in model.named_buffers())
    model.eval()
    assert not criterion.dropout.training


def test_an_objective_says_how_much_counts():
    """An Objective's counted(x, y) is criterion.counted(y) if the criterion has that method, else len(x)."""
    network, x, y = Linear(2, 2), Tensor(np.ones((2, 3, 2), np.float32)), Tensor(np.array([[0, -100, 1], [1, -100, -100]]))
    assert Objective(network, CrossEntropyLoss()).counted(x, y) == 3
    assert Objective(network, CrossEntropyLoss(ignore_index=1)).counted(x, y) == 4
    assert Objective(network, lambda prediction, target: prediction.sum()).counted(x, y) == 2


@pytest.mark.parametrize("rng", [0, False, "", 7], ids=repr)
def test_anything_but_a_generator_is_refused(rng):
    """rng is a Generator or None: anything else, 0 included, raises a TypeError when the batches are made."""
    with rejects(TypeError, "rng"):
        Batches(np.ones((4, 2)), np.ones(4), 2, rng=rng)
