import math
import re
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from katas.dataloader import ArrayDataset, Dataset, Subset, random_split
from katas.tensor import Tensor

from specs.check import EXACT, assert_close, assert_dtype, global_state, layouts, measure_bytes, rejects


class Made(Dataset):
    """A dataset of `count` samples, each made by make(index) when it is asked for."""

    def __init__(self, count: int, make):
        self.count, self.make = count, make

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        return self.make(index)


class Whole(Made):
    """A dataset with its own way to make a batch, faster than sample by sample."""

    def batch(self, indices):
        return np.asarray(indices) * 10, np.asarray(indices) * 100


def split(n: int, lengths, seed: int = 3) -> list[list[int]]:
    """The indices of the samples in each part of a dataset of n."""
    parts = random_split(ArrayDataset(np.arange(n)), lengths, np.random.default_rng(seed))
    return [[int(part[i][0]) for i in range(len(part))] for part in parts]


# Dataset


def test_a_batch_has_the_samples_field_by_field(draw):
    """dataset.batch([4, 0, 2]) is a tuple with an array for each field, which has samples 4, 0 and 2 along a new first axis."""
    x = draw.normal(6, 2, 3)
    got = Made(6, lambda index: (x[index], index, x[index, 0])).batch([4, 0, 2])
    assert isinstance(got, tuple)
    assert len(got) == 3
    for field, want in zip(got, (x[[4, 0, 2]], np.array([4, 0, 2]), x[[4, 0, 2], 0]), strict=True):
        assert isinstance(field, np.ndarray)
        assert_close(field, want, EXACT)


def test_numbers_of_samples_are_ints():
    """Indices may be an array, but __getitem__ gets an int, which also works for a list of paths or a name such as
    f"{index:04}.png".
    """
    (kinds,) = Made(9, lambda index: (type(index) is int,)).batch(np.array([7, 8]))
    assert kinds.tolist() == [True, True]


@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        (1.5, np.float32),
        (3, np.int64),
        ([1.5, 2.5], np.float32),
        (np.float64(1.5), np.float64),
        (np.uint8([1, 2]), np.uint8),
        (Tensor([1.5, 2.5]), np.float32),
    ],
    ids=["float", "int", "list", "float64", "bytes", "Tensor"],
)
def test_fields_have_the_dtype_of_a_tensor(value, dtype):
    """A field is anything that a Tensor takes: Python's floats become float32 and its ints int64; arrays and Tensors keep their
    dtypes.
    """
    (field,) = Made(5, lambda index: (value,)).batch([0, 1, 2])
    assert isinstance(field, np.ndarray)
    assert_dtype(field, dtype)
    assert_close(field, np.stack([np.asarray(getattr(value, "data", value), dtype)] * 3), EXACT)


def test_a_batch_makes_its_samples_only():
    """batch() asks for each of its samples once, in the order of the indices, and for no other sample."""
    seen = []
    Made(100, lambda index: (seen.append(index) or 0.0,)).batch([30, 10, 20])
    assert seen == [30, 10, 20]


def test_samples_of_several_shapes_make_no_batch():
    """Samples of different shapes raise a ValueError: they don't become an array of objects, and no sample is broadcast."""
    for one, other in (((2,), (3,)), ((1, 4), (3, 4)), ((3, 4), (1, 4)), ((), (1,)), ((4,), (1, 4)), ((0,), (1,))):
        with rejects(ValueError, "shape"):
            Made(2, lambda index, shapes=(one, other): (np.zeros(shapes[index]),)).batch([0, 1])


@pytest.mark.parametrize(
    "values", [(1, 0.5), (0.5, 1), (np.uint8(200), 300), (np.float32(2.0), 1e-9), (True, 7), (np.uint8(1), -1)], ids=str
)
def test_samples_of_several_dtypes_keep_their_values(values):
    """If samples have different dtypes, the field's array has a dtype that holds all of their values unchanged."""
    (field,) = Made(2, lambda index: (values[index],)).batch([0, 1])
    want = [np.asarray(Tensor(value).data, np.float64) for value in values]
    assert_close(field.astype(np.float64), want, EXACT)


def test_a_batch_may_have_a_sample_twice():
    """An index that is listed twice gives two rows."""
    (field,) = Made(5, lambda index: (10 * index,)).batch([2, 4, 2, 2])
    assert field.tolist() == [20, 40, 20, 20]


@pytest.mark.parametrize("indices", [[1], [0, 1, 2], [0, 1, 2, 3]], ids=str)
def test_a_batch_of_any_dataset_is_a_copy(indices):
    """A batch is a copy, even a batch of a single sample or of all samples: a write to it doesn't change the samples."""
    x = np.zeros((4, 2))
    for dataset in (Made(4, lambda index: (x[index],)), ArrayDataset(x), Subset(ArrayDataset(x), [0, 1, 2, 3])):
        (batch,) = dataset.batch(indices)
        batch += 1
        assert not x.any(), f"the samples of a {type(dataset).__name__} were changed"


@pytest.mark.parametrize("index", [3, 99])
def test_a_batch_has_no_sample_beyond_the_last(index):
    """An index beyond the last sample raises an IndexError, in an ArrayDataset and in a Subset."""
    for dataset in (ArrayDataset(np.arange(3)), Subset(ArrayDataset(np.arange(9)), [5, 1, 4])):
        with rejects(IndexError):
            dataset.batch([0, index])


def test_what_a_batch_is_asked_for_is_left_alone():
    """batch() doesn't change the list or the array of indices."""
    for dataset in (Made(9, lambda index: (index,)), ArrayDataset(np.arange(9)), Subset(ArrayDataset(np.arange(9)), range(9))):
        for indices in ([5, 0, 5], np.array([5, 0, 5])):
            dataset.batch(indices)
            assert list(indices) == [5, 0, 5]


def test_samples_of_several_lengths_make_no_batch():
    """Samples with different numbers of fields raise a ValueError: no field is silently dropped."""
    for indices in ([1, 2], [2, 1]):
        with rejects(ValueError):
            Made(5, lambda index: (0.0,) * index).batch(indices)


# ArrayDataset


def test_a_sample_is_an_entry_of_each_array(draw):
    """dataset[i] is the tuple of x[i] and y[i], for negative i too. len(dataset) is the arrays' length."""
    x, y = draw.normal(7, 2, 3, dtype=np.float32), draw.integers(9, 7)
    dataset = ArrayDataset(x, y)
    assert isinstance(dataset, Dataset)
    assert len(dataset) == 7
    for i in (0, 4, -1):
        sample = dataset[i]
        assert isinstance(sample, tuple)
        assert_close(sample[0], x[i], EXACT)
        assert sample[1] == y[i]
        assert_dtype(sample[0], np.float32)


def test_a_loop_over_a_dataset_ends():
    """A `for` loop over a dataset ends: an index beyond the last sample raises an IndexError."""
    assert [y for _, y in ArrayDataset(np.zeros((4, 2)), np.arange(4))] == [0, 1, 2, 3]
    assert [y for (y,) in Subset(ArrayDataset(np.arange(9)), [3, 1])] == [3, 1]


def test_any_number_of_arrays_and_what_a_tensor_takes():
    """An ArrayDataset takes any number of arrays, Tensors and lists, with a Tensor's dtypes: Python's floats become float32."""
    assert ArrayDataset(np.arange(4))[3] == (3,)
    assert [float(field) for field in ArrayDataset(Tensor([1.5, 2.5]), [4, 5], np.arange(2))[1]] == [2.5, 5.0, 1.0]
    floats, ints = ArrayDataset([1.5, 2.5], [4, 5]).batch([0])
    assert_dtype(floats, np.float32)
    assert_dtype(ints, np.int64)


def test_samples_share_the_arrays_memory(draw):
    """An ArrayDataset copies nothing when it is created, and nothing for a sample."""
    x = draw.normal(7, 2, 3)
    assert np.shares_memory(ArrayDataset(x)[2][0], x)
    tensor = Tensor(x)
    assert np.shares_memory(ArrayDataset(tensor)[2][0], tensor.data)
    for order, array in layouts(x).items():
        assert np.shares_memory(ArrayDataset(array)[2][0], array), f"an array that lies {order} was copied"


def test_a_batch_is_gathered_from_each_array(draw):
    """A batch has the samples in the order of the indices, a list or an array, even if an index is listed twice."""
    x, y = draw.normal(9, 2, 3, dtype=np.float32), draw.integers(9, 9)
    for indices in ([5, 0, 5, 8], np.array([5, 0, 5, 8])):
        got = ArrayDataset(x, y).batch(indices)
        assert isinstance(got, tuple)
        assert_close(got[0], x[[5, 0, 5, 8]], EXACT)
        assert_close(got[1], y[[5, 0, 5, 8]], EXACT)
        assert_dtype(got[0], np.float32)


def test_a_batch_is_a_copy():
    """A batch of neighboring samples is a copy, too: a write to it doesn't change the data."""
    x = np.zeros((6, 2))
    (batch,) = ArrayDataset(x).batch([1, 2, 3])
    batch += 1
    assert not x.any()


def test_a_batch_of_arrays_does_not_touch_sample_by_sample(budget):
    """The number of Python instructions for a batch must not grow with the number of samples."""
    dataset, many = ArrayDataset(np.zeros((1000, 4)), np.arange(1000)), np.arange(1000)
    budget.steps(lambda: dataset.batch(many[:10]), lambda: dataset.batch(many), limit=2)


def test_a_batch_of_arrays_needs_its_own_memory_only():
    """A batch of 1 MB is gathered once, for indices in any order: there is no second copy."""
    dataset, shuffled = ArrayDataset(np.zeros((1000, 250), np.float32)), np.random.default_rng(0).permutation(1000)
    for indices in (np.arange(1000), shuffled):
        peak, _ = measure_bytes(lambda indices=indices: dataset.batch(indices))
        assert peak < 1_500_000, f"a batch of 1,000,000 bytes takes {peak:,} bytes at once"


def test_a_dataset_may_have_no_samples():
    """Arrays of length 0 make a dataset of length 0. Its Subsets and the parts of a split have length 0, too."""
    dataset = ArrayDataset(np.zeros((0, 3)), np.zeros(0))
    assert len(dataset) == len(Subset(dataset, [])) == 0
    assert list(dataset) == []
    assert split(0, [0, 0]) == split(0, [0.5, 0.5]) == [[], []]


@pytest.mark.parametrize("shapes", [((3, 2), (4,)), ((2, 5), (5, 2)), ((3,), ())], ids=str)
def test_arrays_of_other_lengths_are_refused(shapes):
    """Arrays of different lengths raise a ValueError whose message contains the shapes."""
    with rejects(ValueError, *map(str, shapes)):
        ArrayDataset(*[np.zeros(shape) for shape in shapes])


def test_a_dataset_of_no_arrays_is_refused():
    """ArrayDataset() without arrays has no length and raises a ValueError."""
    with rejects(ValueError):
        ArrayDataset()


# Subset


def test_a_subset_has_the_samples_of_its_numbers():
    """A Subset has the samples at its indices, in their order, twice if an index is listed twice. Negative indices count from
    its end.
    """
    subset = Subset(ArrayDataset(np.arange(10, 20)), [7, 2, 7])
    assert isinstance(subset, Dataset)
    assert len(subset) == 3
    assert [int(subset[i][0]) for i in (0, 1, 2, -1, -2)] == [17, 12, 17, 17, 12]
    assert_close(subset.batch([1, 2])[0], np.array([12, 17]), EXACT)


def test_a_subset_of_a_subset():
    """The indices of a Subset of a Subset select among the inner Subset's samples."""
    inner = Subset(Subset(ArrayDataset(np.arange(10, 20)), [9, 4, 6, 1]), np.array([3, 0]))
    assert [int(inner[i][0]) for i in (0, 1)] == [11, 19]
    assert_close(inner.batch(np.array([1, 0, 1]))[0], np.array([19, 11, 19]), EXACT)


def test_a_subset_makes_batches_as_its_dataset_does():
    """If the dataset has its own batch(), the Subset uses it."""
    got = Subset(Whole(9, lambda index: (index, index)), [5, 3, 8]).batch([2, 0])
    assert_close(got[0], np.array([80, 50]), EXACT)
    assert_close(got[1], np.array([800, 500]), EXACT)


def test_a_subset_asks_with_an_int():
    """A Subset asks its dataset for a sample with an int, even if its indices are an array."""
    assert Subset(Made(9, lambda index: (type(index),)), np.array([4, 5]))[1] == (int,)


def test_a_subset_keeps_its_numbers():
    """A Subset copies its indices: later changes of the array or the list don't change the Subset."""
    for indices in (np.array([1, 2]), np.array([1, 2], np.uint8), [1, 2]):
        subset = Subset(ArrayDataset(np.arange(9)), indices)
        indices[:] = [7, 7]
        assert [int(subset[i][0]) for i in (0, 1)] == [1, 2]
        assert subset.batch([0, 1])[0].tolist() == [1, 2]


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int32, np.uint64])
def test_numbers_of_a_subset_may_have_any_integer_dtype(dtype):
    """Indices may have any integer dtype: the Subset asks its dataset with an int, and its batches are those of
    int64 indices.
    """
    subset = Subset(ArrayDataset(np.arange(100, 300)), np.array([7, 120, 0], dtype))
    assert [int(subset[i][0]) for i in range(3)] == [107, 220, 100]
    assert subset.batch([2, 1])[0].tolist() == [100, 220]
    assert Subset(Made(9, lambda index: (type(index),)), np.array([4, 5], dtype))[1] == (int,)


def test_a_batch_of_a_subset_does_not_touch_sample_by_sample(budget):
    """Subset.batch() looks up all its indices at once: a thousand take about as many Python instructions as ten."""
    subset, many = Subset(ArrayDataset(np.zeros((1000, 4))), np.arange(1000)), np.arange(1000)
    budget.steps(lambda: subset.batch(many[:10]), lambda: subset.batch(many), limit=2)


def test_a_subset_may_be_empty():
    """Subset(dataset, []) has length 0, although NumPy turns an empty list into floats."""
    assert len(Subset(ArrayDataset(np.arange(9)), [])) == 0


@pytest.mark.parametrize(("indices", "dtype"), [([True, False, True], "bool"), ([0.0, 1.0], "float64")], ids=["mask", "floats"])
def test_indices_that_are_no_integers_are_refused(indices, dtype):
    """Indices that aren't integers raise a TypeError that contains their dtype. (A mask would mean samples 0 and 1, again and
    again.)
    """
    with rejects(TypeError, dtype):
        Subset(ArrayDataset(np.arange(3)), indices)


@pytest.mark.parametrize("shape", [(2, 3), ()], ids=str)
def test_indices_are_a_row(shape):
    """Indices that aren't one-dimensional raise a ValueError whose message contains their shape."""
    with rejects(ValueError, str(shape)):
        Subset(ArrayDataset(np.arange(9)), np.ones(shape, int))


@pytest.mark.parametrize("index", [10, 12, -1])
def test_indices_of_no_sample_are_refused(index):
    """When the Subset is created, an index out of range raises an IndexError that contains the index and the number
    of samples.
    """
    with rejects(IndexError, str(index), "10"):
        Subset(ArrayDataset(np.arange(10)), [4, index, 5])


@pytest.mark.parametrize(("indices", "first"), [([77, -33], 77), ([-33, 77], -33), ([4, 99, 77], 99), ([70, 99], 70)], ids=str)
def test_the_first_wrong_index_is_named(indices, first):
    """If several indices are out of range, the IndexError contains the first of them, not the smallest, the largest or the
    last.
    """
    with pytest.raises(IndexError) as caught:
        Subset(ArrayDataset(np.arange(70)), indices)
    numbers = [int(number) for number in re.findall(r"-?\b\d+", str(caught.value))]
    assert first in numbers, f"{first} is not named: {caught.value}"
    assert not {*indices} - {first, 70} & {*numbers}, f"another index is named: {caught.value}"


@pytest.mark.parametrize("index", [77, -33])
def test_the_wrong_index_is_named_not_the_right_ones(index):
    """If one index is out of range, the IndexError contains that index and no other."""
    with pytest.raises(IndexError) as caught:
        Subset(ArrayDataset(np.arange(70)), [5, 66, index, 58])
    numbers = [int(number) for number in re.findall(r"-?\b\d+", str(caught.value))]
    assert index in numbers, f"{index} is not named: {caught.value}"
    assert not {5, 66, 58} & {*numbers}, f"other indices are named: {caught.value}"


# random_split


def test_the_parts_of_a_split_share_no_sample():
    """The parts of a split contain every sample exactly once, and have the given lengths, even if one is 0."""
    parts = split(20, [12, 0, 5, 3])
    assert [len(part) for part in parts] == [12, 0, 5, 3]
    assert sorted(number for part in parts for number in part) == list(range(20))


def test_a_split_is_random():
    """random_split() draws the parts at random, from the given generator only: otherwise sorted labels would all be in one
    part.
    """
    before = global_state()
    one, again, other = split(200, [100, 100]), split(200, [100, 100]), split(200, [100, 100], seed=4)
    assert 25 < sum(number < 100 for number in one[0]) < 75
    assert one == again
    assert one != other
    assert global_state() == before


def test_every_split_is_as_likely():
    """All splits are equally likely: over 600 seeds, each of the six ways to split three samples comes up about 100 times."""
    counts = Counter(str(split(3, [1, 1, 1], seed)) for seed in range(600))
    assert len(counts) == 6
    assert all(abs(count - 100) < 50 for count in counts.values()), f"of 600 splits: {counts}"
    swapped = sum(split(2, [1, 1], seed) == [[1], [0]] for seed in range(200))
    assert abs(swapped - 100) < 40, f"of 200 splits of two samples {swapped} are swapped"


def test_the_order_in_a_part_is_random():
    """The order within a part is random: the indices are neither sorted nor all shifted by the same amount."""
    for part in split(400, [200, 200]):
        steps = {(after - before) % 400 for before, after in pairwise(part)}
        assert len(steps) > 120, f"from one number of a part to the next there are {len(steps)} different steps only"


def test_the_lengths_are_left_alone():
    """random_split() doesn't change the list or the array of lengths."""
    for lengths in ([7, 3], [0.7, 0.3], np.array([7, 3]), np.float32([0.7, 0.3])):
        before = [*lengths]
        split(10, lengths)
        assert [*lengths] == before


def test_a_split_copies_no_sample(draw):
    """The parts of a split are Subsets: no sample is copied."""
    x = draw.normal(10, 4)
    parts = random_split(ArrayDataset(x), [7, 3], np.random.default_rng(3))
    assert all(isinstance(part, Subset) and np.shares_memory(part[0][0], x) for part in parts)


@pytest.mark.parametrize(
    ("n", "fractions", "want"),
    [
        (10, [0.5, 0.3, 0.2], [5, 3, 2]),
        (10, [0.75, 0.25], [8, 2]),
        (7, [0.5, 0.25, 0.25], [4, 2, 1]),
        (2, [0.1, 0.3, 0.6], [1, 0, 1]),
        (100, [0.71, 0.29], [71, 29]),
        (10, [0.21, 0.39, 0.4], [3, 3, 4]),
        (10, [1 / 3, 1 / 3, 1 / 3], [4, 3, 3]),
        (10, [0.7, 0.2, 0.1], [7, 2, 1]),
        (5, [1.0], [5]),
        (8, [1, 0.0], [8, 0]),
        (300, [0.66667, 0.33333], [201, 99]),
        (1000, [0.50001, 0.49999], [501, 499]),
        (1, [0.5, 0.5], [1, 0]),
        (3, [0.0, 1.0], [0, 3]),
    ],
)
def test_fractions_are_rounded_down_and_the_rest_goes_to_the_first(n, fractions, want):
    """Each part is rounded down, and the first parts get the remaining samples, one each. Rounding errors don't count: in
    floats 100 · 0.29 is 28.999… and 0.7 + 0.2 + 0.1 is 0.9999999999999999.
    """
    parts = split(n, fractions)
    assert [len(part) for part in parts] == want
    assert sorted(number for part in parts for number in part) == list(range(n))


@pytest.mark.parametrize(
    ("n", "lengths", "want"),
    [
        (10, np.float32([0.7, 0.2, 0.1]), [7, 2, 1]),
        (100, [np.float32(0.71), np.float32(0.29)], [71, 29]),
        (10, np.float32([0.3, 0.7]), [3, 7]),
        (60_000, np.float32([0.3, 0.7]), [18_000, 42_000]),
        (10, [np.float32(0.7), 0.3], [7, 3]),
        (10, np.array([0.7, 0.2, 0.1]), [7, 2, 1]),
        (100, np.float32([0.355, 0.355, 0.29]), [36, 35, 29]),
        (9, np.float32([1 / 3, 1 / 3, 1 / 3]), [3, 3, 3]),
        (8, np.float16([0.5, 0.25, 0.25]), [4, 2, 2]),
        (2000, np.float16([0.5, 0.5]), [1000, 1000]),
        (70_000, np.float16([0.5, 0.5]), [35_000, 35_000]),
        (60_001, np.float32([0.5, 0.5]), [30_001, 30_000]),
        (8, (np.float32(1), 0), [8, 0]),
        (300, np.uint8([200, 100]), [200, 100]),
        (300, [np.int64(200), 100], [200, 100]),
        (1, [1, 0], [1, 0]),
    ],
    ids=str,
)
def test_lengths_may_be_numpys(n, lengths, want):
    """Lengths may be NumPy numbers: rounding errors of float32 fractions don't count, and integers of any dtype are added
    exactly.
    """
    assert [len(part) for part in split(n, lengths)] == want


@pytest.mark.parametrize("lengths", [[math.nan, 1.0], [math.inf, 0.5], [math.inf, -math.inf]], ids=str)
def test_lengths_that_are_no_fractions_are_refused(lengths):
    """NaN or infinity among the lengths raises a ValueError that contains the lengths and the number of samples."""
    with rejects(ValueError, str(lengths), "10"):
        random_split(ArrayDataset(np.arange(10)), lengths, np.random.default_rng(3))


@pytest.mark.parametrize("lengths", [[0.7, 0.29], [0.7, 0.301]], ids=str)
def test_float32_lengths_that_do_not_add_up_are_refused(lengths):
    """float32 fractions that differ from 1 by more than a rounding error raise a ValueError, as Python's floats do."""
    with rejects(ValueError, "10"):
        random_split(ArrayDataset(np.arange(10)), np.float32(lengths), np.random.default_rng(3))


@pytest.mark.parametrize(
    "lengths",
    [[6, 3], [6, 5], [12, -2], [1], [1, 0], [0, 1], [0], [0.5, 0.4], [0.71, 0.28], [0.7, 0.7], [1.5, -0.5], []],
    ids=str,
)
def test_lengths_that_do_not_add_up_are_refused(lengths):
    """Lengths that don't add up to the number of samples or, as fractions, to 1 raise a ValueError that contains the lengths
    and the number of samples. So do negative lengths.
    """
    with rejects(ValueError, str(lengths), "10"):
        random_split(ArrayDataset(np.arange(10)), lengths, np.random.default_rng(3))


@pytest.mark.parametrize("number", [7, 7.5, np.float32(7)], ids=repr)
def test_a_number_holds_no_samples(number):
    """An array without axes has no length: a ValueError contains its shape."""
    with rejects(ValueError, "()"):
        ArrayDataset(number)
    with rejects(ValueError, "()"):
        ArrayDataset(np.arange(3), number)


@pytest.mark.parametrize("kind", [list, tuple, np.array])
def test_indices_are_any_sequence(kind):
    """A tuple of indices selects that many samples, as a list does, and no element along several axes."""
    data = ArrayDataset(np.arange(12).reshape(4, 3))
    assert_close(data.batch(kind([1, 2]))[0], [[3, 4, 5], [6, 7, 8]])
    assert_close(Subset(data, [3, 1, 0]).batch(kind([1, 2]))[0], [[3, 4, 5], [0, 1, 2]])
