import numpy as np
import pytest
from katas.autograd import vjp

from specs.check import PRIMITIVES, assert_close, assert_dtype, assert_rule, derived


@pytest.mark.parametrize("shape", [(12, 2), (24,), (4, 3, 2), (2, -1), (-1,), (2, 1, 3, 4)], ids=str)
def test_reshape_gives_the_gradient_its_old_shape(shape, draw):
    """The rule of reshape gives g the shape of a, row by row. The attribute `shape` may contain a -1."""
    a = draw.normal(2, 3, 4)
    g = draw.normal(*a.reshape(shape).shape)
    assert_rule("reshape", 0, g, a, shape=shape, mistakes={"column by column": g.reshape(a.shape, order="F")})


@pytest.mark.parametrize(("old", "new"), [((), (1, 1)), ((1,), ())], ids=str)
def test_reshape_takes_arrays_of_one_value(old, new, draw):
    """The rule of reshape works for a single value, from and to 0-d."""
    assert_rule("reshape", 0, draw.normal(*new), draw.normal(*old), shape=new)


PERMUTATIONS = [(0, 1, 2), (1, 0, 2), (2, 1, 0), (1, 2, 0), (2, 0, 1), (-1, 0, 1), (1, -1, -3), (-2, -3, -1)]


@pytest.mark.parametrize("dims", PERMUTATIONS, ids=str)
def test_permute_is_undone(dims, draw):
    """The rule of permute applies the inverse permutation. Axis i of y is axis dims[i] of a; dims may be negative."""
    a = draw.normal(2, 3, 4)
    g = draw.normal(*a.transpose(dims).shape)
    assert_rule("permute", 0, g, a, dims=dims, mistakes={"permuted again, not back": g.transpose(dims)})


def test_permute_of_a_cube_is_undone(draw):
    """If all axes have the same length, a permutation and its inverse give the same shape, but not the same values."""
    g, a, dims = draw.normal(3, 3, 3), draw.normal(3, 3, 3), (1, 2, 0)
    mistakes = {"permuted again, not back": g.transpose(dims), "not permuted": g, "reversed": g.T}
    assert_rule("permute", 0, g, a, dims=dims, mistakes=mistakes)


@pytest.mark.parametrize("dims", [(0, 1, 2, 3), (3, 1, 0, 2), (1, 2, 3, 0), (0, -1, -2, 1)], ids=str)
def test_permute_takes_four_axes(dims, draw):
    """The rule of permute works for four axes, such as attention's (batch, time, heads, features)."""
    a = draw.normal(2, 3, 4, 5)
    assert_rule("permute", 0, draw.normal(*a.transpose(dims).shape), a, dims=dims)


@pytest.mark.parametrize("shape", [(), (5,)], ids=str)
def test_permute_of_fewer_axes_changes_nothing(shape, draw):
    """The rule of permute returns g unchanged if there is one axis, or none."""
    assert_rule("permute", 0, draw.normal(*shape), draw.normal(*shape), dims=tuple(range(len(shape))))


MASK = np.array([[True, False, True, False, True], [False] * 5, [True, True, False, False, False], [False] * 5])
INDICES = {  # of an array of shape (4, 5, 6)
    "a number": 2,
    "a number from the end": -1,
    "a NumPy number": np.int64(1),
    "numbers": (1, 2, 3),
    "a slice": slice(1, 3),
    "a slice with a step": slice(None, None, 2),
    "a slice backwards": slice(None, None, -2),
    "slices and numbers": (slice(1, None), 2, slice(None, -1)),
    "an ellipsis": (..., 1),
    "an ellipsis between": (0, ..., slice(1, 3)),
    "new axes": (None, 1, None),
    "nothing": (),
    "no rows": slice(0, 0),
    "a mask": MASK,
    "a mask of one axis": (slice(None), np.array([True, False, True, False, True])),
    "a mask of nothing": np.zeros((4, 5, 6), bool),
    "rows": np.array([2, 0]),
    "an array without axes": np.array(3),
    "a list": [1, 3],
    "no rows by an array": np.array([], np.int64),
    "one of each row": (np.arange(4), np.array([1, 0, 4, 2])),
    "an array and a slice": (np.array([3, 1]), slice(1, 3)),
    "arrays apart": (np.array([3, 1]), slice(None), np.array([0, 5])),
    "arrays that broadcast": (np.array([[3], [1]]), np.array([0, 2, 4])),
    "a mask and a number": (np.array([True, False, True, False]), 2),
}


class Rows:
    """Numbers of rows that NumPy takes for an array."""

    def __array__(self, dtype=None, copy=None):
        return np.array([1, 3, 1], dtype)


REPEATED = {
    "rows twice": np.array([2, 0, 2]),
    "one row only": np.array([1, 1, 1, 1]),
    "a list": [1, 1, 3],
    "a list in a tuple": ([1, 1, 3],),
    "lists in a list": [[2, 0], [0, 2]],
    "a tuple": ((0, 0, 1),),
    "a number and a tuple": (0, (1, 1)),
    "columns by a tuple": (slice(None), (1, 1)),
    "a tuple after an ellipsis": (..., (2, 2)),
    "tuples in a tuple": (((1, 0), (0, 1)),),
    "a new axis and a tuple": (None, (3, 3)),
    "a range and a tuple": (range(2), (1, 1), 0),
    "a range that is stretched": ([[1], [1]], range(3)),
    "an array without axes and a tuple": (np.array(2), (1, 1)),
    "a mask and a tuple": (np.array([False, True, False, False]), (4, 4)),
    "what is like an array": Rows(),
    "in two axes": np.array([[2, 0], [0, 2]]),
    "from both ends": np.array([3, -1, 0, -4]),
    "places": (np.array([0, 0, 3]), np.array([1, 1, 2])),
    "columns": (slice(None), np.array([4, 4, 0])),
    "an array and a number": (np.array([1, 1]), 2),
    "an array after an ellipsis": (..., np.array([5, 5])),
    "arrays apart": (np.array([3, 3]), slice(None), np.array([0, 0])),
    "arrays that broadcast": (np.array([[1], [1]]), np.array([0, 2, 4])),
}


@pytest.mark.parametrize("index", INDICES.values(), ids=INDICES)
def test_getitem_puts_the_gradient_where_the_values_came_from(index, draw):
    """For y = a[index], the selected elements receive g and all others receive 0."""
    a = draw.normal(4, 5, 6)
    assert_rule("getitem", 0, draw.normal(*a[index].shape), a, index=index)


@pytest.mark.parametrize("index", REPEATED.values(), ids=REPEATED)
def test_a_place_that_is_named_twice_receives_both_gradients(index, draw):
    """If an index array selects an element several times, as with a repeated word, its gradients add up."""
    a = draw.normal(4, 5, 6)
    g = draw.normal(*a[index].shape)
    assigned = np.zeros(a.shape)
    assigned[index] = g
    assert_rule("getitem", 0, g, a, index=index, mistakes={"the last use overwrites the others": assigned})


def test_many_uses_of_a_float16_add_up():
    """A float16 element that is selected 3000 times receives 3000, although float16 counts only to 2048."""
    a, index = np.ones((2, 2), np.float16), (np.zeros(3000, int), 1)
    got = derived("getitem", 0, np.ones(3000, np.float16), a, index=index)
    assert_dtype(got, np.float16)
    assert_close(got, [[0, 3000], [0, 0]], mistakes={"added up in float16": [[0, 2048], [0, 0]]})


@pytest.mark.parametrize("dim", [0, 1, 2, -1, -2, -3])
@pytest.mark.parametrize("lengths", [(3,), (1, 4), (2, 3, 1), (2, 0, 3)], ids=str)
def test_concatenate_gives_each_part_its_own_back(lengths, dim, draw):
    """For y = parts joined along dim, each part receives the piece of g at its own position."""
    parts = []
    for length in lengths:
        shape = [2, 3, 4]
        shape[dim] = length
        parts.append(draw.normal(*shape))
    g = draw.normal(*np.concatenate(parts, dim).shape)
    for argnum in range(len(parts)):
        assert_rule("concatenate", argnum, g, *parts, dim=dim)


def test_equal_parts_are_not_mixed_up(draw):
    """Three parts of the same shape receive the pieces of g in their order."""
    g, parts = draw.normal(6, 2), [draw.normal(2, 2) for _ in range(3)]
    for argnum in range(3):
        pieces = {f"the piece of part {other}": g[2 * other : 2 * other + 2] for other in range(3) if other != argnum}
        assert_rule("concatenate", argnum, g, *parts, dim=0, mistakes=pieces)


CASES = {
    "reshape": {"shape": (3, 2)},
    "permute": {"dims": (1, 0)},
    "slice": {"index": slice(1, None)},
    "array": {"index": np.array([0, 0])},
    "mask": {"index": np.array([True, False])},
    "concatenate": {"dim": 1},
}
cases = pytest.mark.parametrize("name", CASES)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@cases
def test_the_dtype_stays(name, dtype, draw):
    """The gradient has the arrays' dtype, float32 or float64, and so do its zeros."""
    op, a = name if name in PRIMITIVES else "getitem", draw.normal(2, 3, dtype=dtype)
    parts = [a, a] if op == "concatenate" else [a]
    g = draw.normal(*PRIMITIVES[op](*parts, **CASES[name]).shape, dtype=dtype)
    assert_dtype(derived(op, 0, g, *parts, **CASES[name]), dtype)


def call(op: str, a: np.ndarray, **attrs):
    parts = [a, a] if op == "concatenate" else [a]
    g, rule = PRIMITIVES[op](*parts, **attrs), vjp(op, 0)
    return lambda: rule(g, g, *parts, **attrs)


SIZED = {
    "reshape": ("reshape", lambda n: {"shape": (n * n,)}),
    "permute": ("permute", lambda n: {"dims": (1, 0)}),
    "slice": ("getitem", lambda n: {"index": slice(None, None, 2)}),
    "array": ("getitem", lambda n: {"index": np.arange(n) // 2}),
    "mask": ("getitem", lambda n: {"index": np.eye(n, dtype=bool)}),
    "concatenate": ("concatenate", lambda n: {"dim": 0}),
}


@pytest.mark.parametrize("name", SIZED)
def test_rules_of_shape_are_done_in_numpy(name, budget):
    """The number of Python instructions must not grow with the number of elements."""
    op, attrs = SIZED[name]
    small, large = (call(op, np.ones((n, n), np.float32), **attrs(n)) for n in (10, 100))
    budget.steps(small, large, limit=2)


@pytest.mark.parametrize("op", ["reshape", "permute"])
def test_the_gradient_of_a_view_is_a_view(op, budget):
    """The gradient of a 1 MB view is a view of g in the shape of a: nothing is copied."""
    attrs = {"shape": (1000, 250)} if op == "reshape" else {"dims": (1, 0)}
    budget.bytes(call(op, np.ones((250, 1000), np.float32), **attrs), peak=100_000)


def test_a_slice_needs_no_search_for_repetitions(budget):
    """A slice selects no element twice, so the rule assigns g. Adding element by element takes several times as long."""
    a, index = np.ones((200, 200), np.float32), slice(None, None, 2)
    g = a[index]

    def assigned():
        result = np.zeros_like(a)
        result[index] = g
        return result

    budget.time(lambda: vjp("getitem", 0)(g, g, a, index=index), against=assigned, limit=4)
