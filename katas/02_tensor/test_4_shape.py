import numpy as np
import pytest
from katas.tensor import Tensor, concatenate, stack

from specs import oracles
from specs.check import assert_close, assert_dtype, rejects


def grid(*shape: int) -> Tensor:
    """0, 1, 2, … in the given shape, contiguous."""
    return Tensor(np.arange(np.prod(shape), dtype=np.float32).reshape(shape))


def test_reshape_keeps_the_order():
    """reshape puts the same values, row by row, into a new shape."""
    assert_close(grid(2, 6).reshape(3, 4), [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]])
    assert_close(grid(2, 3).reshape(6), [0, 1, 2, 3, 4, 5])


def test_reshape_takes_numbers_or_a_tuple():
    """x.reshape(3, 4) and x.reshape((3, 4)) are the same."""
    assert_close(grid(2, 6).reshape((3, 4)), grid(2, 6).reshape(3, 4).data)


def test_reshape_works_out_one_axis():
    """reshape computes the length of an axis given as −1."""
    assert grid(2, 3, 4).reshape(2, -1).shape == (2, 12)
    assert grid(2, 3, 4).reshape(-1).shape == (24,)


def test_reshape_to_another_size_is_refused():
    """A shape with a different number of values raises a ValueError whose message contains both shapes."""
    with rejects(ValueError, "(2, 6)", "(5, 3)"):
        grid(2, 6).reshape(5, 3)
    with rejects(ValueError, "(2, 6)", "(5, -1)"):
        grid(2, 6).reshape(5, -1)


@pytest.mark.parametrize("shape", [(2, -3), (-6,), (-2,), (-1, -3), (3, -4, 1)], ids=str)
def test_only_minus_one_is_worked_out(shape):
    """A negative length other than -1 raises a ValueError whose message contains both shapes."""
    with rejects(ValueError, "(2, 6)", str(shape)):
        grid(2, 6).reshape(*shape)


@pytest.mark.parametrize("dims", [(0, 1), (0, 2), (1, 2), (-2, -1), (1, 1)])
def test_transpose_swaps_two_axes(dims, draw):
    """transpose(a, b) swaps axes a and b. Negative axes count from the back."""
    x = draw.normal(2, 3, 4)
    order = [0, 1, 2]
    order[dims[0]], order[dims[1]] = order[dims[1]], order[dims[0]]
    assert_close(Tensor(x).transpose(*dims), oracles.tensor.permute(x, order))


def test_T_swaps_the_last_two_axes(draw):
    """x.T is the transpose of a matrix, or of each matrix in a batch."""
    x = draw.normal(2, 3, 4)
    assert_close(Tensor(x).T, oracles.tensor.permute(x, (0, 2, 1)))
    assert_close(Tensor(x[0]).T, oracles.tensor.permute(x[0], (1, 0)))


@pytest.mark.parametrize("dims", [(0, 1, 2), (2, 0, 1), (1, 2, 0), (-1, 0, -2)])
def test_permute_reorders_the_axes(dims, draw):
    """permute(dims): axis i of the result is axis dims[i] of the input. dims are numbers or a tuple."""
    x = draw.normal(2, 3, 4)
    want = oracles.tensor.permute(x, dims)
    inverse = np.argsort(np.array(dims) % 3)
    assert_close(Tensor(x).permute(*dims), want, mistakes={"the inverse order": x.transpose(inverse)})
    assert_close(Tensor(x).permute(dims), want)


def test_axes_that_do_not_exist_are_named():
    """A missing, repeated or impossible axis raises a ValueError whose message contains the axis and the shape."""
    x = grid(2, 3, 4)
    with rejects(ValueError, "3", "(2, 3, 4)"):
        x.transpose(0, 3)
    with rejects(ValueError, "(0, 1)", "(2, 3, 4)"):
        x.permute(0, 1)
    with rejects(ValueError, "(0, 1, 1)", "(2, 3, 4)"):
        x.permute(0, 1, 1)
    with rejects(ValueError, "(0, 4, 2)", "(2, 3, 4)"):
        x.permute(0, 4, 2)
    with rejects(ValueError, "(3,)"):
        _ = grid(3).T


@pytest.mark.parametrize("dim", [3, 4, -4, -5])
def test_axes_beyond_either_end_are_named(dim):
    """An axis beyond either end raises a ValueError whose message contains the axis and the shape."""
    x = grid(2, 3, 4)
    for call in (lambda: x.transpose(0, dim), lambda: x.transpose(dim, 0)):
        with rejects(ValueError, str(dim), "(2, 3, 4)"):
            call()
    with rejects(ValueError, f"({dim}, 1, 2)", "(2, 3, 4)"):
        x.permute(dim, 1, 2)
    with rejects(ValueError, f"(0, 1, {dim})", "(2, 3, 4)"):
        x.permute(0, 1, dim)


@pytest.mark.parametrize("axis", [True, np.True_, 1.0, "1"], ids=repr)
def test_an_axis_is_an_integer(axis):
    """An axis that is not an integer, such as True or 1.0, raises a TypeError."""
    x = grid(2, 2)
    calls = [lambda: x.transpose(axis, 0), lambda: x.transpose(0, axis), lambda: x.permute(0, axis), lambda: x.reshape(axis, 4)]
    calls += [lambda: concatenate([x, x], axis), lambda: stack([x, x], axis)]
    for call in calls:
        with rejects(TypeError):
            call()


def test_the_first_axis_may_be_counted_from_the_back():
    """With n axes, dim=-n means axis 0."""
    x = grid(2, 3, 4)
    assert_close(x.transpose(-3, 1), oracles.tensor.permute(x.data, (1, 0, 2)))
    assert_close(x.permute(-3, 2, 1), oracles.tensor.permute(x.data, (0, 2, 1)))


@pytest.mark.parametrize(
    "view",
    [lambda x: x.reshape(12, 2), lambda x: x.transpose(0, 1), lambda x: x.permute(2, 0, 1), lambda x: x.T]
    + [lambda x: x[:, :2].reshape(2, 2, 2, 2), lambda x: x.T.T.reshape(6, 4), lambda x: x.reshape(-1)]
    + [lambda x: x[1], lambda x: x[:, 1:3], lambda x: x[..., ::2], lambda x: x[:, None], lambda x: next(iter(x))],
    ids=[
        "reshape",
        "transpose",
        "permute",
        "T",
        "reshape of a part",
        "reshape of T.T",
        "reshape to a row",
        "x[1]",
        "x[:, 1:3]",
        "x[..., ::2]",
        "x[:, None]",
        "iteration",
    ],
)
def test_views_copy_nothing(view):
    """Reshaping contiguous data, reordering axes and slicing give views of the same memory."""
    x = grid(2, 3, 4)
    assert np.shares_memory(view(x).data, x.data), "this is a copy: the memory is not that of x"


INDICES = {
    "a number": 1,
    "numbers": (1, 2, 3),
    "a negative number": (..., -1),
    "a slice": np.s_[:, 1:3],
    "a step": np.s_[..., ::-2],
    "a new axis": np.s_[:, None],
    "a list": [1, 0, 1],
    "pairs": ([0, 1, 1], [2, 0, 0]),
    "an array": np.array([[0, 1], [1, 1]]),
}


@pytest.mark.parametrize("index", INDICES.values(), ids=INDICES)
def test_indexing_follows_numpy(index, draw):
    """Integers, slices, ..., None, lists and arrays select as in NumPy; the result is a Tensor."""
    x = draw.normal(2, 3, 4)
    result = Tensor(x)[index]
    assert isinstance(result, Tensor)
    assert_close(result, x[index])


def test_a_tensor_can_be_an_index(draw):
    """Integer tensors select and boolean tensors mask, alone or combined with slices."""
    x = draw.normal(5, 4)
    assert_close(Tensor(x)[Tensor([3, 0, 3])], x[[3, 0, 3]])
    assert_close(Tensor(x)[:, Tensor([3, 0])], x[:, [3, 0]])
    assert_close(Tensor(x)[Tensor(x) > 0], x[x > 0])


def test_an_index_out_of_range_is_named():
    """An index beyond the end raises an IndexError whose message contains it."""
    with rejects(IndexError, "5"):
        grid(2, 3)[5]


def test_iteration_walks_the_first_axis():
    """`for row in x` gives one Tensor for each index of the first axis, and then ends."""
    rows = list(grid(2, 3))
    assert all(isinstance(row, Tensor) for row in rows)
    assert_close(np.stack([row.data for row in rows]), grid(2, 3).data)


def test_loops_over_the_same_tensor_do_not_share_their_place():
    """A loop inside a loop over the same tensor starts at the first row each time."""
    x = Tensor([1, 2, 3])
    assert [(a.item(), b.item()) for a in x for b in x] == [(a, b) for a in (1, 2, 3) for b in (1, 2, 3)]


@pytest.mark.parametrize("dim", [0, 1, 2, -1])
def test_concatenate_joins_along_an_existing_axis(dim, draw):
    """concatenate(tensors, dim) adds up the lengths along dim."""
    shapes = [[2, 3, 4] for _ in range(3)]
    for length, shape in enumerate(shapes, 1):
        shape[dim] = length
    parts = [draw.normal(*shape) for shape in shapes]
    joined = concatenate([Tensor(part) for part in parts], dim)
    want = np.moveaxis(np.array([row for part in parts for row in np.moveaxis(part, dim, 0)]), 0, dim)
    assert_close(joined, want)


@pytest.mark.parametrize("dim", [0, 1, 2, -1])
def test_stack_makes_a_new_axis(dim, draw):
    """stack(tensors, dim) adds a new axis at dim, with one index for each tensor."""
    parts = [draw.normal(3, 4) for _ in range(2)]
    stacked = stack([Tensor(part) for part in parts], dim)
    assert stacked.ndim == 3
    for i, part in enumerate(parts):
        assert_close(np.take(stacked.data, i, axis=dim), part, name=f"index {i} of the new axis")


@pytest.mark.parametrize("shape", [(), (3,), (3, 4), (3, 4, 5)], ids=str)
def test_the_new_axis_may_stand_anywhere(shape):
    """stack of n-d tensors takes dim from -n - 1 to n; any other dim raises a ValueError whose message contains it."""
    parts, n = [grid(*shape), grid(*shape)], len(shape)
    for dim in range(-n - 1, n + 1):
        assert_close(stack(parts, dim), np.moveaxis(np.array([part.data for part in parts]), 0, dim))
    for dim in (-n - 3, -n - 2, n + 1, n + 2):
        with rejects(ValueError, str(dim)):
            stack(parts, dim)


def test_the_first_axis_is_the_default():
    """concatenate and stack use axis 0 by default."""
    assert concatenate([grid(2, 3), grid(1, 3)]).shape == (3, 3)
    assert stack([grid(2, 4)] * 3).shape == (3, 2, 4)


def test_joining_keeps_the_dtype():
    """Joining float32 tensors gives float32; joining integers and floats gives the floats' dtype."""
    assert_dtype(concatenate([grid(2, 3), grid(2, 3)]), np.float32)
    assert_dtype(stack([Tensor([1, 2]), Tensor([0.5, 0.5])]), np.float32)
    assert_dtype(concatenate([Tensor([True, False]), Tensor([5, 7])]), np.int64)


@pytest.mark.parametrize("dim", [0, 1])
def test_a_part_without_values_is_a_part(dim):
    """Parts of length 0 along dim add no values, but their dtype and requires_grad count, and their other axes must fit."""
    empty = Tensor(np.zeros((0, 3) if dim == 0 else (3, 0), np.float32), requires_grad=True)
    counts = Tensor(np.arange(9).reshape(3, 3))
    for parts in ([empty, counts], [counts, empty], [empty, counts, empty]):
        whole = concatenate(parts, dim)
        assert_close(whole, counts.data)
        assert_dtype(whole, np.float32)
        assert whole.requires_grad
    assert concatenate([empty, empty], dim).shape == empty.shape
    with rejects(ValueError, str(empty.shape), "(2, 2)"):
        concatenate([empty, Tensor(np.ones((2, 2)))], dim)
    with rejects(ValueError):
        concatenate([Tensor([]), counts], dim)


def test_parts_that_do_not_fit_are_named():
    """Parts whose other axes differ raise a ValueError whose message contains their shapes. Joining no parts raises one too."""
    with rejects(ValueError, "(2, 3)", "(2, 4)"):
        concatenate([grid(2, 3), grid(2, 4)], 0)
    with rejects(ValueError, "2, 3)", "3, 2)"):  # or those with the new axis
        stack([grid(2, 3), grid(3, 2)])
    with rejects(ValueError):
        concatenate([])
    with rejects(ValueError):
        stack([])


@pytest.mark.parametrize("shapes", [((2, 3), (1, 3)), ((2, 3), (2, 1)), ((2, 3), (3,))], ids=str)
def test_parts_are_not_broadcast(shapes):
    """Parts to be joined are not broadcast: stack needs equal shapes, concatenate equal lengths on all other axes."""
    parts = [grid(*shape) for shape in shapes]
    with rejects(ValueError):
        stack(parts)
    with rejects(ValueError):
        concatenate(parts, 1 if shapes[1] == (1, 3) else 0)


@pytest.mark.parametrize("shape", [(1, 3), (2, 1), (3,), (2, 3, 1)], ids=str)
def test_a_mask_is_not_broadcast(shape):
    """A mask must have the lengths of the axes it selects from. A different length raises an IndexError."""
    with rejects(IndexError):
        grid(2, 3)[Tensor(np.ones(shape, bool))]


def test_an_axis_to_join_along_must_exist():
    """concatenate and stack raise a ValueError that contains the axis, if that axis does not exist."""
    with rejects(ValueError, "2"):
        concatenate([grid(2, 3), grid(2, 3)], 2)
    with rejects(ValueError, "3"):
        stack([grid(2, 3), grid(2, 3)], 3)


@pytest.mark.parametrize("change", [lambda x: x.reshape(-1), lambda x: x.T, lambda x: x[1:], lambda x: concatenate([x, x])])
def test_changes_of_shape_are_done_in_numpy(change, budget):
    """The number of Python instructions must not grow with the number of elements."""
    few, many = grid(10, 10), grid(100, 100)
    budget.steps(lambda: change(few), lambda: change(many), limit=2)


def test_permute_names_every_axis():
    """permute() without axes is for a tensor without axes only: otherwise it raises a ValueError."""
    assert Tensor(3.0).permute().shape == ()
    for shape in ((2,), (2, 3)):
        with rejects(ValueError, str(shape)):
            Tensor(np.zeros(shape)).permute()


def test_T_follows_the_data():
    """x.T is that of the array that x has now."""
    x = grid(2, 3)
    assert x.T.shape == (3, 2)
    x.data = np.ones((4, 5))
    assert x.T.shape == (5, 4)
    assert_close(x.T, np.ones((5, 4)))
