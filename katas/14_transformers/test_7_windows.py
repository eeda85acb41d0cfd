import numpy as np
import pytest
from katas.dataloader import DataLoader, Dataset
from katas.tensor import Tensor
from katas.transformers import next_token_windows

from specs.check import assert_close, rejects


def test_the_targets_are_the_ids_shifted_by_one():
    """Sample i is (ids[i : i + length], ids[i + 1 : i + 1 + length]): the target of a token is the next one."""
    windows = next_token_windows([3, 1, 4, 1, 5, 9], 3)
    x, y = windows[0]
    assert_close(x, [3, 1, 4])
    assert_close(y, [1, 4, 1], mistakes={"not shifted": np.array([3, 1, 4]), "shifted twice": np.array([4, 1, 5])})
    x, y = windows[2]
    assert_close(x, [4, 1, 5])
    assert_close(y, [1, 5, 9])


@pytest.mark.parametrize(("count", "length"), [(6, 3), (6, 5), (2, 1), (100, 7)])
def test_every_window_that_fits_is_a_sample(count, length):
    """There are len(ids) - length: the last target is the last id."""
    windows = next_token_windows(np.arange(count), length)
    assert isinstance(windows, Dataset)
    assert len(windows) == count - length
    assert_close(windows[len(windows) - 1][1], np.arange(count - length, count))


def test_a_loader_makes_batches_of_them():
    """DataLoader gives batches (x, y), each (batch, length), in any order, with every sample once."""
    ids = np.arange(50) * 3
    loader = DataLoader(next_token_windows(ids, 4), batch_size=8, shuffle=True, rng=np.random.default_rng(0))
    seen = []
    for x, y in loader:
        assert x.shape == y.shape == (len(x), 4)
        assert_close(y, x.data + 3)
        assert_close(x.data[:, 1:], x.data[:, :1] + 3 * np.arange(1, 4))
        seen += x.data[:, 0].tolist()
    assert sorted(seen) == list(range(0, 46 * 3, 3))


def test_a_batch_is_what_its_samples_are():
    """batch(indices) gives the samples of these numbers; repeated ones too."""
    windows = next_token_windows(np.arange(20) ** 2, 5)
    x, y = windows.batch([3, 0, 3])
    for row, number in enumerate([3, 0, 3]):
        assert_close(x[row], windows[number][0])
        assert_close(y[row], windows[number][1])


def test_ids_may_be_a_list_an_array_or_a_tensor():
    """Integers of any type, whose dtype stays: text is stored as uint16."""
    for ids in ([1, 2, 3, 4], np.array([1, 2, 3, 4]), Tensor([1, 2, 3, 4]), np.array([1, 2, 3, 4], np.uint16)):
        x, y = next_token_windows(ids, 2)[1]
        assert_close(x, [2, 3])
        assert_close(y, [3, 4])
    assert next_token_windows(ids, 2)[0][0].dtype == np.uint16


def test_the_length_may_be_the_largest_of_its_type():
    """np.uint8(255) is 255: one more, for the target, is no 0."""
    x, y = next_token_windows(np.arange(256), np.uint8(255))[0]
    assert_close(x, np.arange(255))
    assert_close(y, np.arange(1, 256))


def test_what_does_not_fit_is_named():
    """Floats raise a TypeError that contains the dtype. A length that is not a positive integer, or leaves no target, raises a
    ValueError that contains it, and ids with other than one axis one that contains the shape.
    """
    with rejects(TypeError, "float64"):
        next_token_windows(np.arange(5.0), 2)
    with rejects(TypeError, "bool"):
        next_token_windows([True, False, True], 2)
    for length in (0, -1, 5, 6):
        with rejects(ValueError, str(length)):
            next_token_windows(np.arange(5), length)
    for length in (2.5, 2.0, True):
        with rejects(ValueError, str(length)):
            next_token_windows(np.arange(5), length)
    for shape in ((2, 5), ()):
        with rejects(ValueError, str(shape)):
            next_token_windows(np.zeros(shape, np.int64), 2)
    with rejects(ValueError, "2"):
        next_token_windows([], 2)


def test_nothing_is_copied(budget):
    """All windows of 1 MB of ids take less than 20 kB: they overlap, and are views of the ids."""
    ids = np.zeros(131072, np.int64)
    budget.bytes(lambda: next_token_windows(ids, 64), peak=20_000)


def test_a_batch_is_one_gather(budget):
    """A batch of 500 windows takes at most 2.5 times the Python instructions of one of 5: it is one gather for each field."""
    windows, few, many = next_token_windows(np.arange(1000), 16), np.arange(5), np.arange(500)
    budget.steps(lambda: windows.batch(few), lambda: windows.batch(many), 2.5)
