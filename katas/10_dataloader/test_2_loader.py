import gc
import os
import subprocess
import sys
import threading
import time
import traceback
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from katas.dataloader import ArrayDataset, DataLoader, Dataset
from katas.tensor import Tensor

from specs.check import EXACT, Mismatch, assert_close, assert_dtype, global_state, rejects
from specs.door import ROOT

DEPTHS = [0, 1, 3, 50]  # of prefetch


def rows(batches) -> list[list[int]]:
    """The last field of each batch: here, the indices of the samples."""
    return [batch[-1].data.tolist() for batch in batches]


def flat(batches) -> list[int]:
    return [row for batch in batches for row in batch]


def loader(n: int, batch_size: int = 1, shuffle: bool = False, seed: int = 3, **options) -> DataLoader:
    """A DataLoader of the samples 0 to n - 1, whose only field is their index."""
    return DataLoader(ArrayDataset(np.arange(n)), batch_size, shuffle, rng=np.random.default_rng(seed), **options)


def noise(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return x + rng.standard_normal(x.shape)


def eventually(condition) -> bool:
    """Whether the condition holds within five seconds."""
    end = time.monotonic() + 5
    while not condition() and time.monotonic() < end:
        time.sleep(0.001)
    return condition()


class Log(Dataset):
    """A dataset of samples 0 to n - 1 that logs the indices of each batch it makes. Sample `bad` can't be read."""

    def __init__(self, n: int, bad: int = -1, seconds: float = 0.0):
        self.n, self.bad, self.seconds, self.made, self.threads = n, bad, seconds, [], set()

    def __len__(self):
        return self.n

    def batch(self, indices):
        self.made.append([int(index) for index in indices])
        self.threads.add(threading.get_ident())
        time.sleep(self.seconds)
        if self.bad in indices:
            self.fail_to_read()
        return (np.array(indices),)

    def fail_to_read(self):
        raise KeyError(f"sample {self.bad} can't be read")


@pytest.fixture
def assert_no_thread_is_left():
    """Raises if, after five seconds, a thread still runs that did not run before the spec."""
    before = set(threading.enumerate())

    def check():
        gc.collect()
        assert eventually(lambda: not set(threading.enumerate()) - before), "a thread is left"

    return check


# batches


def test_a_batch_is_a_tuple_of_tensors(draw):
    """A batch is a tuple with one Tensor for each field. Its first axis is as long as the batch, and its dtype is
    the data's.
    """
    x, y = draw.normal(7, 2, 3, dtype=np.float32), draw.integers(5, 7)
    first, second = DataLoader(ArrayDataset(x, y), 4)
    assert isinstance(first, tuple)
    assert all(isinstance(field, Tensor) for field in first)
    for got, chosen in ((first, slice(0, 4)), (second, slice(4, 7))):
        assert_close(got[0], x[chosen], EXACT)
        assert_close(got[1], y[chosen], EXACT)
        assert_dtype(got[0], np.float32)
        assert_dtype(got[1], np.int64)


def test_a_batch_has_as_many_fields_as_a_sample(draw):
    """A batch has as many fields as a sample: one, or three."""
    x = draw.normal(5, 2)
    assert [len(batch) for batch in DataLoader(ArrayDataset(x), 5)] == [1]
    assert [len(batch) for batch in DataLoader(ArrayDataset(x, x, x), 5)] == [3]


def test_the_last_batch_may_be_smaller():
    """With batch_size=4, 10 samples make batches of 4, 4 and 2. Without a batch_size, each batch has one sample."""
    assert rows(loader(10, 4)) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert rows(loader(8, 4)) == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert rows(loader(3)) == [[0], [1], [2]]


def test_drop_last_drops_a_smaller_batch_only():
    """With batch_size=4 and drop_last, 10 samples make two batches. So do 8 samples, with or without drop_last."""
    assert rows(loader(10, 4, drop_last=True)) == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert rows(loader(8, 4, drop_last=True)) == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert rows(loader(3, 4, drop_last=True)) == []


def test_what_drop_last_drops_is_another_each_epoch():
    """With shuffle and drop_last, each epoch drops different samples, not always the last ones."""
    data = loader(10, 4, shuffle=True, drop_last=True)
    dropped = {frozenset(range(10)) - frozenset(flat(rows(data))) for _ in range(8)}
    assert all(len(samples) == 2 for samples in dropped)
    assert len(dropped) > 1


@pytest.mark.parametrize(("n", "all_", "whole"), [(10, 3, 2), (8, 2, 2), (3, 1, 0), (0, 0, 0)])
def test_the_length_is_the_number_of_batches(n, all_, whole):
    """len(loader) is the number of batches, even with drop_last or without samples."""
    assert len(loader(n, 4)) == len(rows(loader(n, 4))) == all_
    assert len(loader(n, 4, drop_last=True)) == len(rows(loader(n, 4, drop_last=True))) == whole


def test_the_length_of_a_large_data_set_is_exact():
    """len(loader) is exact even with more samples than float32 can count."""
    n = 2**24 + 1
    assert len(DataLoader(Log(n))) == n
    assert len(DataLoader(Log(n), 2)) == 2**23 + 1
    assert len(DataLoader(Log(n), 2, drop_last=True)) == 2**23


@pytest.mark.parametrize("shuffle", [True, False])
def test_numbers_of_samples_may_be_computed_with(shuffle):
    """dataset.batch gets indices as full-size integers: 25 · 1000 does not wrap around."""

    class Thousands(Log):
        def batch(self, indices):
            return (np.asarray(indices) * 1000,)

    batches = DataLoader(Thousands(26), 26, shuffle, rng=np.random.default_rng(3))
    assert sorted(flat(rows(batches))) == [1000 * i for i in range(26)]


def test_without_shuffle_the_order_stays():
    """Without shuffle, every epoch has the samples in order."""
    data = loader(10, 4)
    assert rows(data) == rows(data) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_each_epoch_is_shuffled_anew(draw):
    """With shuffle=True, every epoch has a new order of all samples, and a sample's fields stay together."""
    x = draw.normal(50, 2)
    data = DataLoader(ArrayDataset(x, np.arange(50)), 7, shuffle=True, rng=np.random.default_rng(3))
    epochs = [flat(rows(data)) for _ in range(3)]
    assert len({tuple(epoch) for epoch in epochs}) == 3, "two epochs have the same order"
    assert [sorted(epoch) for epoch in epochs] == [list(range(50))] * 3
    assert epochs[0] != list(range(50))
    for first, second in data:
        assert_close(first, x[second.data], EXACT)


def test_every_order_is_as_likely():
    """All orders are equally likely, and don't depend on the previous epoch's order: each of the six orders of three samples
    comes up about 100 times in 600 epochs.
    """
    data = loader(3, 3, shuffle=True)
    orders = [rows(data)[0] for _ in range(601)]
    moves = [[before.index(sample) for sample in after] for before, after in pairwise(orders)]
    for what, seen in (("epochs", orders[1:]), ("pairs of epochs", moves)):
        counts = Counter(map(str, seen))
        assert len(counts) == 6
        assert all(abs(count - 100) < 50 for count in counts.values()), f"of 600 {what}: {counts}"


def test_two_samples_have_two_orders():
    """With two samples, each of the two orders comes up in about half of the epochs."""
    data = loader(2, 2, shuffle=True)
    swapped = sum(rows(data)[0] == [1, 0] for _ in range(200))
    assert abs(swapped - 100) < 40, f"in 200 epochs the two samples are swapped {swapped} times"


def test_no_order_comes_back():
    """300 epochs of 30 samples have 300 different orders: the seed of an epoch is a large number."""
    data = loader(30, 30, shuffle=True)
    assert len({tuple(rows(data)[0]) for _ in range(300)}) == 300


def test_samples_do_not_move_together():
    """The order is drawn, not a rotation of the samples: the distances between successive samples are many
    different numbers.
    """
    order = flat(rows(loader(400, 50, shuffle=True)))
    steps = {(after - before) % 400 for before, after in pairwise(order)}
    assert len(steps) > 200, f"from one sample to the next there are {len(steps)} different steps only"


def test_samples_move_between_batches():
    """Shuffling mixes all samples: it does not reorder fixed batches, or shuffle only within each batch."""
    data = loader(64, 8, shuffle=True)
    first, second = ({frozenset(batch) for batch in rows(data)} for _ in range(2))
    assert not first & second
    assert not first & {frozenset(range(start, start + 8)) for start in range(0, 64, 8)}


def test_batches_come_from_the_datasets_batch():
    """The loader calls dataset.batch() for each batch, when the loop takes that batch: not for all of them before the first."""
    data = Log(10)
    batches = iter(DataLoader(data, 4))
    assert next(batches)[0].data.tolist() == [0, 1, 2, 3]
    assert len(data.made) <= 1, "batches are made that nobody has asked for"
    assert rows(batches) == [[4, 5, 6, 7], [8, 9]]
    assert data.made == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_an_epoch_copies_one_batch_at_a_time(budget):
    """A shuffled epoch of 2 MB of samples holds only a few batches of 20 kB at a time, and the order: no copy of the data."""
    data = DataLoader(ArrayDataset(np.ones((1000, 500), np.float32), np.arange(1000)), 10, shuffle=True, prefetch=1)
    budget.bytes(lambda: [None for _ in data], peak=300_000)


def test_a_large_batch_takes_no_more_steps_than_a_small_one(budget):
    """The number of Python instructions must not grow with the batch size: ten batches of 500 samples take about as many as ten
    of 5.
    """
    small, large = (DataLoader(ArrayDataset(np.zeros((10 * size, 3))), size, shuffle=True) for size in (5, 500))
    budget.steps(lambda: [None for _ in small], lambda: [None for _ in large], limit=2)


@pytest.mark.parametrize("options", [{"batch_size": 0}, {"batch_size": -1}, {"batch_size": 0.5}, {"prefetch": -1}], ids=str)
def test_sizes_that_can_not_be_are_refused(options):
    """A batch_size below 1 or a negative prefetch raises a ValueError whose message contains the option's name and
    its value.
    """
    ((name, value),) = options.items()
    with rejects(ValueError, name, str(value)):
        DataLoader(ArrayDataset(np.arange(4)), **options)


@pytest.mark.parametrize("rng", [7, 0, False, (), "", np.random.RandomState(7), np.random], ids=lambda rng: str(rng)[:20])
def test_another_rng_is_refused(rng):
    """An rng other than a Generator or None raises a TypeError that contains "rng": a checkpoint saves the state of a Generator
    only.
    """
    with rejects(TypeError, "rng"):
        DataLoader(ArrayDataset(np.arange(4)), rng=rng)


# randomness


def test_the_generator_alone_decides():
    """Generators in the same state give the same epochs. The attribute rng is the generator, and NumPy's global generator is
    not used.
    """
    before, rng = global_state(), np.random.default_rng(3)
    one = DataLoader(ArrayDataset(np.arange(20)), 6, shuffle=True, rng=rng)
    assert rows(one) == rows(loader(20, 6, shuffle=True))
    assert one.rng is rng
    state = rng.bit_generator.state
    second = rows(one)
    rng.bit_generator.state = state
    assert rows(one) == second
    assert global_state() == before


def test_without_a_generator_there_is_a_new_one():
    """With rng=None the loader creates a generator with np.random.default_rng(). It is the attribute rng, where kata 08's
    checkpoints find it.
    """
    before = global_state()
    one, two = (DataLoader(ArrayDataset(np.arange(50)), 50, shuffle=True) for _ in range(2))
    assert isinstance(one.rng, np.random.Generator)
    assert rows(one) != rows(two)
    state = one.rng.bit_generator.state
    epoch = rows(one)
    one.rng.bit_generator.state = state
    assert rows(one) == epoch
    assert global_state() == before


@pytest.mark.parametrize("shuffle", [True, False])
def test_an_epoch_draws_one_number(shuffle):
    """An epoch draws only rng.integers(2**63) from rng: the seed of a generator for everything random in the epoch."""
    rng, twin = np.random.default_rng(3), np.random.default_rng(3)
    data = DataLoader(ArrayDataset(np.arange(40)), 4, shuffle, rng=rng, transform=noise)
    for _ in range(2):
        list(data)
        twin.integers(2**63)
        assert rng.bit_generator.state == twin.bit_generator.state


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("prefetch", DEPTHS)
def test_an_epoch_leaves_the_same_state_however_far_it_came(prefetch, shuffle):
    """An epoch draws a single number from rng as it begins. So the state of rng afterwards depends neither on whether the epoch
    was abandoned, nor on the transforms' draws or the number of batches made ahead.
    """
    whole, abandoned, plain = (
        loader(40, 4, shuffle, transform=transform, prefetch=prefetch) for transform in (noise, noise, None)
    )
    for _ in whole:
        pass
    for _ in plain:
        pass
    next(iter(abandoned))
    want = whole.rng.bit_generator.state
    assert abandoned.rng.bit_generator.state == want, "an epoch that was abandoned leaves another state"
    assert plain.rng.bit_generator.state == want, "without a transform the state is another"
    assert want != np.random.default_rng(3).bit_generator.state


def test_iterations_at_the_same_time_do_not_meet():
    """Two iterations at the same time don't affect each other: each has all samples, in its own order."""
    data = loader(30, 4, shuffle=True)
    one, two = zip(*[(a[0].data.tolist(), b[0].data.tolist()) for a, b in zip(data, data, strict=True)], strict=True)
    assert sorted(flat(one)) == sorted(flat(two)) == list(range(30))
    assert one != two


def test_a_later_generator_is_the_one_that_draws():
    """loader.rng may be replaced: the next epoch uses the new generator, and draws nothing from the old one."""
    data, old = loader(20, 6, shuffle=True, transform=noise), np.random.default_rng(3)
    data.rng, state = np.random.default_rng(8), data.rng.bit_generator.state
    assert [batch[0].data.tolist() for batch in data] == [
        batch[0].data.tolist() for batch in loader(20, 6, True, 8, transform=noise)
    ]
    assert state == old.bit_generator.state
    twin = np.random.default_rng(8)
    twin.integers(2**63)
    assert data.rng.bit_generator.state == twin.bit_generator.state


@pytest.mark.parametrize("prefetch", [0, 2])
def test_an_epoch_keeps_the_options_that_it_began_with(prefetch):
    """Options that are changed in the middle of an epoch are those of the next one."""
    data = loader(10, 4, prefetch=prefetch)
    running = iter(data)
    found = [rows([next(running)])[0]]
    data.batch_size, data.drop_last, data.transform = 3, True, lambda x, rng: x + 100
    found += rows(running)
    assert found == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert rows(data) == [[100, 101, 102], [103, 104, 105], [106, 107, 108]]


@pytest.mark.parametrize("prefetch", [0, 2])
def test_options_may_be_changed_later(prefetch):
    """All options are attributes, and each epoch uses their current values."""
    data = loader(10, 4)
    assert rows(data) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    data.prefetch = prefetch
    data.drop_last = True
    assert rows(data) == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert len(data) == 2
    data.batch_size, data.drop_last = 6, False
    assert rows(data) == [[0, 1, 2, 3, 4, 5], [6, 7, 8, 9]]
    assert len(data) == 2
    data.transform = lambda x, rng: x + 100
    assert rows(data)[1] == [106, 107, 108, 109]
    data.collate = lambda samples: ([10 * x for (x,) in samples],)
    assert rows(data)[1] == [160, 170, 180, 190]
    data.transform = data.collate = None
    data.dataset = ArrayDataset(np.arange(7, 10))
    assert rows(data) == [[7, 8, 9]]
    data.dataset, data.shuffle = ArrayDataset(np.arange(60)), True
    assert flat(rows(data)) != list(range(60))
    data.shuffle = False
    assert flat(rows(data)) == list(range(60))


def test_prefetch_may_be_changed_later(assert_no_thread_is_left):
    """prefetch may be changed later: with 2 a thread makes the batches, and with 0 the loop's own thread makes them again."""
    data = Log(8)
    loader = DataLoader(data, 2)
    for prefetch in (2, 0):
        loader.prefetch = prefetch
        data.threads.clear()
        list(loader)
        assert (threading.get_ident() in data.threads) == (prefetch == 0)
        assert len(data.threads) == 1
    assert_no_thread_is_left()


def test_an_iterator_that_has_ended_stays_at_its_end(assert_no_thread_is_left):
    """An iterator that has ended, or has raised an error, gives no more batches: no second epoch begins, and next() doesn't
    wait.
    """
    for prefetch in (0, 2):
        batches = iter(DataLoader(Log(6), 2, prefetch=prefetch))
        assert len(list(batches)) == 3
        assert next(batches, None) is next(batches, None) is None
        batches = iter(DataLoader(Log(6, bad=3), 2, prefetch=prefetch))
        with pytest.raises(KeyError):
            list(batches)
        assert next(batches, None) is None
        del batches
    assert_no_thread_is_left()


def test_a_batch_is_not_the_data():
    """A write to a batch changes neither the data nor another batch, even if a batch has all samples in order."""
    x = np.zeros((6, 2))
    data = DataLoader(ArrayDataset(x), 6)
    for prefetch in (0, 2):
        data.prefetch = prefetch
        (first,), (second,) = next(iter(data)), next(iter(data))
        first.data[:] = 7
        assert not x.any()
        assert not second.data.any()


# transform and collate


class Empty:
    """A callable of length 0, which counts as False in an `if`."""

    def __init__(self, function):
        self.function = function

    def __len__(self):
        return 0

    def __call__(self, *arguments):
        return self.function(*arguments)


def test_a_transform_that_is_false_is_used():
    """A transform or collate that isn't None is called, even if it is an object of length 0, which counts as False
    in an `if`.
    """
    data = loader(4, 2, transform=Empty(lambda x, rng: x + 10))
    assert rows(data) == [[10, 11], [12, 13]]
    data = loader(4, 2, collate=Empty(lambda samples: ([5 * x for (x,) in samples],)))
    assert rows(data) == [[0, 5], [10, 15]]


def test_a_transform_may_write_to_its_batch():
    """A transform may write to its batch, which is a copy: the data doesn't change, and the next epoch begins with the same
    data.
    """
    x = np.zeros((6, 2))

    def write(batch, rng):
        batch += 1
        return batch

    data = DataLoader(ArrayDataset(x, np.arange(6)), 6, transform=write)
    for _ in range(2):
        ((first, _),) = data
        assert_close(first, np.ones((6, 2)), EXACT)
    assert not x.any()


def test_a_transform_changes_the_first_field_of_each_batch(draw):
    """A transform gets the first field of each batch as an array, and a Generator. The other fields and the data
    don't change.
    """
    x, y = draw.normal(7, 2, 3, dtype=np.float32), np.arange(7)
    seen = []

    def double(batch, rng):
        seen.append((type(batch), batch.shape, type(rng)))
        return 2 * batch

    got = list(DataLoader(ArrayDataset(x, y), 4, transform=double))
    assert seen == [(np.ndarray, (4, 2, 3), np.random.Generator), (np.ndarray, (3, 2, 3), np.random.Generator)]
    assert all(isinstance(batch[0], Tensor) for batch in got)
    assert_close(np.concatenate([batch[0].data for batch in got]), 2 * x, EXACT)
    assert rows(got) == [[0, 1, 2, 3], [4, 5, 6]]


def test_a_transform_draws_anew_for_each_batch_and_epoch():
    """A transform draws different noise for each batch and each epoch."""
    data = DataLoader(ArrayDataset(np.zeros((8, 2))), 4, transform=noise, rng=np.random.default_rng(3))
    batches = [batch.data for _ in range(2) for (batch,) in data]
    assert all((one != two).all() for i, one in enumerate(batches) for two in batches[:i])


def test_a_transform_draws_nothing_that_the_order_has_drawn():
    """The order and the noise are independent: a transform that draws an order gets a different one."""
    orders = []
    data = loader(50, 50, shuffle=True, transform=lambda x, rng: orders.append(rng.permutation(50).tolist()) or x)
    assert rows(data)[0] != orders[0]


def test_collate_makes_the_batch_of_a_list_of_samples(draw):
    """collate(samples) replaces dataset.batch, for example to pad samples. The transform runs after it."""
    data = ArrayDataset(draw.normal(5, 2), np.arange(5))
    seen = []

    def collate(samples):
        seen.append(samples)
        return np.array([y for _, y in samples]), np.ones((len(samples), 3), np.float32)

    got = list(DataLoader(data, 3, collate=collate, transform=lambda y, rng: 10 * y))
    assert [(type(samples), type(samples[0]), len(samples)) for samples in seen] == [(list, tuple, 3), (list, tuple, 2)]
    assert all(isinstance(field, Tensor) for batch in got for field in batch)
    assert [batch[0].data.tolist() for batch in got] == [[0, 10, 20], [30, 40]]
    assert [batch[1].shape for batch in got] == [(3, 3), (2, 3)]


def test_a_transform_gets_an_array_of_whatever_collate_gives():
    """A transform gets an array, even if collate returns a list or a Tensor."""
    for first in ([1.0, 2.0], Tensor([1.0, 2.0])):
        seen = []
        collate, transform = (lambda samples, first=first: (first, [3, 4])), (lambda x, rng, seen=seen: seen.append(x) or x)
        list(DataLoader(ArrayDataset(np.arange(2)), 2, collate=collate, transform=transform))
        assert isinstance(seen[0], np.ndarray)
        assert_dtype(seen[0], np.float32)


@pytest.mark.parametrize("dtype", [np.bool_, np.uint8, np.int64, np.float16, np.float64])
def test_a_transform_gets_the_dtype_of_the_data(dtype):
    """A transform gets an array with the data's dtype, whatever it is."""
    seen = []
    list(DataLoader(ArrayDataset(np.ones((2, 3), dtype)), 2, transform=lambda x, rng: seen.append(x.dtype) or x))
    assert seen == [dtype]


@pytest.mark.parametrize("kind", [tuple, list, iter])
def test_collate_may_give_any_row_of_fields(kind):
    """collate may return its fields as a tuple, a list or an iterator: the batch is a tuple of Tensors."""
    (batch,) = loader(3, 3, collate=lambda samples: kind([[x for (x,) in samples], [7, 8, 9]]))
    assert isinstance(batch, tuple)
    assert [field.data.tolist() for field in batch] == [[0, 1, 2], [7, 8, 9]]


def test_collate_gets_the_samples_of_the_order():
    """With shuffle, collate gets the samples in the shuffled order: dataset[i] for each i of the batch, where i is an int."""

    class Named(Log):
        def __getitem__(self, index):
            return (index, type(index) is int)

    def collate(samples):
        return ([isint for _, isint in samples], [index for index, _ in samples])

    data = DataLoader(Named(20), 6, shuffle=True, collate=collate, rng=np.random.default_rng(3))
    batches = list(data)
    assert all(batch[0].data.all() for batch in batches)
    assert rows(batches) == rows(loader(20, 6, shuffle=True))


# prefetch


@pytest.mark.parametrize("prefetch", DEPTHS)
def test_batches_are_the_same_at_any_depth(prefetch, assert_no_thread_is_left):
    """prefetch doesn't change the batches: the order and the transforms' draws are the same in each epoch."""
    x = np.zeros((23, 2))
    plain, ahead = (
        DataLoader(ArrayDataset(x, np.arange(23)), 4, True, rng=np.random.default_rng(3), transform=noise, prefetch=depth)
        for depth in (0, prefetch)
    )
    for _ in range(2):
        for want, got in zip(plain, ahead, strict=True):
            assert_close(got[0], want[0].data, EXACT)
            assert_close(got[1], want[1].data, EXACT)
    assert len(ahead) == len(plain)
    assert_no_thread_is_left()


@pytest.mark.parametrize("depth", [1, 3])
def test_batches_are_made_while_one_is_in_use(depth):
    """While the loop has batch k, a thread makes the batches up to k + prefetch, including the transforms, and not one more."""
    data = Log(40)
    batches = iter(DataLoader(data, 2, prefetch=depth, transform=lambda x, rng: data.threads.add(threading.get_ident()) or x))
    for taken in range(1, 5):
        next(batches)
        eventually(lambda due=taken + depth: len(data.made) >= due)
        time.sleep(0.02)
        assert len(data.made) == taken + depth, f"batch {taken} is in use, prefetch is {depth}, {len(data.made)} were made"
    assert threading.get_ident() not in data.threads, "some of the work is done in the loop's own thread"
    assert len(data.threads) == 1, "several threads make the batches"


def test_without_prefetch_there_is_no_thread():
    """With prefetch=0 there is no second thread: the loop's own thread makes the batches."""
    data = Log(6)
    list(DataLoader(data, 2))
    assert data.threads == {threading.get_ident()}


@pytest.mark.parametrize("how", ["break", "error", "forgotten", "never begun"])
def test_the_thread_ends_when_nobody_wants_more(how, assert_no_thread_is_left):
    """Soon after the loop is abandoned, by `break`, by its own error, or because nothing refers to the iterator any more, no
    thread is left and no more batches are made. That includes batches that prefetch allows, which would take a second here.
    """
    data = Log(1000, seconds=0.02)
    batches = iter(DataLoader(data, 2, prefetch=50))
    if how == "break":
        for _ in batches:
            break
    elif how == "error":
        with pytest.raises(ZeroDivisionError):
            [1 // 0 for _ in batches]
    elif how == "forgotten":
        next(batches)
    del batches
    assert_no_thread_is_left()
    assert len(data.made) < 40, "batches are made that nobody will take"


@pytest.mark.parametrize("bad", [0, 7, 11], ids=["first", "middle", "last"])
@pytest.mark.parametrize("prefetch", DEPTHS)
def test_an_error_of_the_dataset_is_raised_in_the_loop(prefetch, bad, assert_no_thread_is_left):
    """An exception in the dataset is raised in the loop, after the batches before it, with a traceback that leads to where it
    was raised. Then no thread is left, and the loader can be used again.
    """
    data = DataLoader(Log(12, bad), 2, prefetch=prefetch)
    for _ in range(2):
        got = []
        with pytest.raises(KeyError, match=f"sample {bad} can't be read") as raised:
            got.extend(int(row) for (batch,) in data for row in batch.data)
        assert got == list(range(bad - bad % 2))
        names = [frame.name for frame in traceback.extract_tb(raised.value.__traceback__)]
        assert "fail_to_read" in names, f"the traceback leads to {names}"
        del raised
        assert_no_thread_is_left()


@pytest.mark.parametrize("prefetch", [0, 2])
def test_an_error_of_a_transform_is_raised_in_the_loop(prefetch, assert_no_thread_is_left):
    """An exception in a transform is raised in the loop, and no thread is left."""
    with pytest.raises(ZeroDivisionError):
        list(loader(12, 4, transform=lambda x, rng: 1 // 0, prefetch=prefetch))
    assert_no_thread_is_left()


def test_iterations_with_threads_do_not_meet(assert_no_thread_is_left):
    """With prefetch, two iterations at the same time give the same epochs as two iterations one after the other."""
    want = loader(30, 4, shuffle=True)
    data = loader(30, 4, shuffle=True, prefetch=2)
    one, two = zip(*[(a[0].data.tolist(), b[0].data.tolist()) for a, b in zip(data, data, strict=True)], strict=True)
    assert [*one] == rows(want)
    assert [*two] == rows(want)
    assert_no_thread_is_left()


PROGRAM = """
import numpy as np
from katas.dataloader import ArrayDataset, DataLoader
batches = iter(DataLoader(ArrayDataset(np.arange(1000)), 2, prefetch=2))
print(len(next(batches)[0]))
"""


def test_a_program_ends_in_the_middle_of_an_epoch():
    """The thread does not keep the process alive when the program ends in the middle of an epoch."""
    try:
        run = subprocess.run(
            [sys.executable, "-c", PROGRAM], cwd=ROOT, env=os.environ, capture_output=True, text=True, timeout=6
        )
    except subprocess.TimeoutExpired:
        raise Mismatch("expected the program to end\ngot a process that never does\nLooks like: a thread that waits.") from None
    if run.returncode:
        raise Mismatch(f"the child process failed:\n{run.stderr}")
    assert run.stdout.split() == ["2"]
