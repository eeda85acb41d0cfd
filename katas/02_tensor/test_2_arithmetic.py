import operator

import numpy as np
import pytest
from katas.tensor import Tensor

from specs.check import assert_close, assert_dtype, rejects

ARITHMETIC = [operator.add, operator.sub, operator.mul, operator.truediv]
ORDER = [operator.lt, operator.le, operator.gt, operator.ge]
WHOLE = [np.bool_, np.uint8, np.int8, np.int32, np.int64]
COMPARISON = [operator.eq, operator.ne, *ORDER]


@pytest.mark.parametrize("op", ARITHMETIC)
def test_arithmetic_is_element_by_element(op, draw):
    """+ − × ÷ combine pairs of elements."""
    a, b = draw.normal(3, 4), draw.uniform(1, 2, 3, 4)
    want = [[op(a[i, j], b[i, j]) for j in range(4)] for i in range(3)]
    assert_close(op(Tensor(a), Tensor(b)), want, mistakes={"the operands are swapped": op(b, a)})


@pytest.mark.parametrize("op", ARITHMETIC)
def test_a_number_may_stand_on_either_side(op, draw):
    """x − 2 and 2 − x both work: a Python scalar may be the right or the left operand."""
    a = draw.uniform(1, 2, 3, 4)
    assert_close(op(Tensor(a), 3), op(a, 3))
    assert_close(op(3, Tensor(a)), op(3, a), mistakes={"the operands are swapped: 3 stands on the left": op(a, 3)})


@pytest.mark.parametrize("op", ARITHMETIC)
def test_an_array_may_stand_on_either_side(op, draw):
    """A NumPy array may be the right or the left operand. The result is a Tensor, not an array of Tensors."""
    a, b = draw.uniform(1, 2, 3, 4), draw.uniform(1, 2, 3, 4)
    for result, want in [(op(Tensor(a), b), op(a, b)), (op(a, Tensor(b)), op(a, b))]:
        assert isinstance(result, Tensor)
        assert_close(result, want)


@pytest.mark.parametrize("op", ARITHMETIC)
@pytest.mark.parametrize("shapes", [((2, 3, 4), (4,)), ((3, 1), (2, 1, 4)), ((2, 3), ())], ids=str)
def test_shapes_are_broadcast(op, shapes, draw):
    """Axes are aligned from the right; an axis of length 1, or a missing one, is stretched to the other's length."""
    a, b = draw.normal(*shapes[0]), draw.uniform(1, 2, *shapes[1])
    whole = np.broadcast_shapes(*shapes)
    want = op(np.broadcast_to(a, whole), np.broadcast_to(b, whole))
    assert_close(op(Tensor(a), Tensor(b)), want)
    assert_close(op(Tensor(b), Tensor(a + 9)), op(np.broadcast_to(b, whole), np.broadcast_to(a + 9, whole)))


@pytest.mark.parametrize("op", [*ARITHMETIC, *COMPARISON])
def test_shapes_that_do_not_fit_are_named(op):
    """Shapes that can't be broadcast raise a ValueError whose message contains both."""
    with rejects(ValueError, "(2, 3)", "(4, 5)"):
        op(Tensor(np.ones((2, 3))), Tensor(np.ones((4, 5))))


@pytest.mark.parametrize("op", [*ARITHMETIC, *ORDER])
def test_what_is_not_a_number_is_refused(op):
    """Arithmetic with a string or None raises a TypeError, and so does <, <=, > or >=."""
    with rejects(TypeError):
        op(Tensor([1.0]), "2")
    with rejects(TypeError):
        op(None, Tensor([1.0]))


@pytest.mark.parametrize("op", [*ARITHMETIC, *ORDER])
@pytest.mark.parametrize("other", [None, "2", {}, object()], ids=["None", "text", "dict", "object"])
@pytest.mark.parametrize("shape", [(0,), (2, 0), ()], ids=str)
def test_what_is_not_a_number_is_refused_beside_any_shape(op, other, shape):
    """Arithmetic and <, <=, >, >= with an operand that isn't numbers raise a TypeError, even if the tensor has no values."""
    x = Tensor(np.ones(shape))
    for call in (lambda: op(x, other), lambda: op(other, x)):
        with rejects(TypeError):
            call()


def test_negation(draw):
    """-x negates each element."""
    x = draw.normal(3, 4)
    assert_close(-Tensor(x), 0 - x)
    assert np.signbit((-Tensor([0.0, -0.0])).data).tolist() == [True, False], "the sign of zero turns round, too"


@pytest.mark.parametrize("exponent", [2, 3, -1, 0.5, 0])
def test_powers(exponent, draw):
    """x ** n raises each element to a Python scalar n."""
    x = draw.uniform(1, 2, 3, 4)
    want = [[value**exponent for value in row] for row in x.tolist()]
    assert_close(Tensor(x) ** exponent, want, mistakes={"x · n, not xⁿ": x * exponent})


@pytest.mark.parametrize("exponent", [np.int64(2), np.float32(2), np.float64(2)], ids=repr)
def test_an_exponent_may_be_a_numpy_scalar(exponent, draw):
    """x ** n treats a NumPy scalar n like a Python scalar."""
    x = draw.uniform(1, 2, 3, 4, dtype=np.float32)
    assert_close(Tensor(x) ** exponent, x * x)
    assert_dtype(Tensor(x) ** exponent, np.float32)


@pytest.mark.parametrize("exponent", [0, 1, 2, 3])
def test_powers_of_booleans_are_int64(exponent):
    """Booleans to an integer power of at least 0 give int64, as in other arithmetic with integers (NumPy gives int8)."""
    powers = Tensor([True, False]) ** exponent
    assert_close(powers, [1, 0**exponent])
    assert_dtype(powers, np.int64)


@pytest.mark.parametrize(
    ("exponent", "dtype"), [(0, np.int64), (1, np.int64), (2, np.int64), (-1, np.float32), (0.5, np.float32)]
)
def test_powers_of_integers(exponent, dtype):
    """Integers to an integer power of at least 0 stay integers; to any other power they give float32."""
    x = Tensor([1, 2, 4])
    assert_close(x**exponent, [value**exponent for value in (1, 2, 4)])
    assert_dtype(x**exponent, dtype)


@pytest.mark.parametrize(
    ("dtype", "exponent"),
    [
        (np.uint8, 300),
        (np.uint8, np.int64(256)),
        (np.int8, 128),
        (np.int64, 2**70),
        (np.float32, 10**400),
        (np.float64, 10**400),
    ],
    ids=lambda value: str(value)[:20],
)
def test_an_exponent_that_does_not_fit_is_refused(dtype, exponent):
    """An integer exponent that the tensor's dtype can't hold raises a ValueError that contains both, as in all arithmetic."""
    for x in (np.ones((2, 3), dtype), np.ones((), dtype)):
        with rejects(ValueError, str(int(exponent)), np.dtype(dtype).name):
            Tensor(x) ** exponent


def test_an_exponent_that_is_no_number_is_refused():
    """x ** n raises a TypeError unless n is a scalar. An exponent in a Tensor would need a gradient of its own."""
    for exponent in ("2", None, Tensor([2.0, 3.0]), np.array([2.0, 3.0])):
        with rejects(TypeError):
            Tensor([1.0, 2.0]) ** exponent


@pytest.mark.parametrize("op", COMPARISON)
def test_comparison_gives_a_boolean_tensor(op):
    """==, !=, <, <=, >, >= compare element by element, with tensors, arrays and scalars."""
    a, b = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]), np.array([3.0, 2.0, 1.0])
    for result, want in [
        (op(Tensor(a), Tensor(b)), op(a, b)),
        (op(Tensor(a), b), op(a, b)),
        (op(Tensor(a), 2), op(a, 2)),
    ]:
        assert isinstance(result, Tensor)
        assert_dtype(result, np.bool_)
        assert_close(result, want)


@pytest.mark.parametrize("op", COMPARISON)
@pytest.mark.parametrize("number", [-1, 300, 254.5, 2**70, -(2**70), np.int64(-1), np.int64(300)], ids=repr)
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int64])
def test_integers_are_compared_with_any_number(op, number, dtype):
    """A scalar that the tensor's dtype can't hold, such as -1 or 300 beside uint8, is compared by its value."""
    assert_close(op(Tensor(np.array([1, 255], dtype)), number), [op(1, number), op(255, number)])


def test_comparison_does_not_round():
    """Integers are compared with a float scalar exactly, without being rounded to float32."""
    x = Tensor([2**24, 2**24 + 1])
    assert_close(x > 2**24 + 0.5, [False, True])
    assert_close(x < 2**24 + 0.5, [True, False])
    assert_close(x == float(2**24 + 1), [False, True])


@pytest.mark.parametrize("op", COMPARISON)
@pytest.mark.parametrize("number", [10**400, -(10**400)], ids=["10 ** 400", "-10 ** 400"])
@pytest.mark.parametrize("dtype", [np.bool_, np.uint8, np.int64, np.float16, np.float32, np.float64])
def test_an_integer_may_be_larger_than_any_dtype_holds(op, number, dtype):
    """Every number of a tensor is less than 10 ** 400 and greater than -10 ** 400. NaN is neither."""
    x = np.array([0, 1, np.nan] if np.dtype(dtype).kind == "f" else [0, 1], dtype)
    assert_close(op(Tensor(x), number), [op(value, number) for value in x.tolist()])
    assert_close(op(Tensor(x[1]), number), op(1, number))


MIXED = {
    "int64 and float32": (np.array([2**24 + 1, 2**24, -(2**24) - 1]), np.array([2**24, 2**24, -(2**24)], np.float32)),
    "int32 and float16": (np.array([2049, 2048, 5], np.int32), np.array([2048, 2048, 6], np.float16)),
    "uint8 and int8": (np.array([255, 0, 128], np.uint8), np.array([-1, 0, -128], np.int8)),
    "uint64 and int64": (np.array([2**64 - 1, 7, 2**63], np.uint64), np.array([-1, 7, 2**63 - 1])),
    "bool and int64": (np.array([True, True, False]), np.array([1, 2, -1])),
    "float32 and float64": (np.array([0.1, 0.5, -0.1], np.float32), np.array([0.1, 0.5, -0.1])),
}


@pytest.mark.parametrize("op", COMPARISON)
@pytest.mark.parametrize("pair", MIXED.values(), ids=MIXED)
def test_dtypes_are_compared_by_value(op, pair):
    """Tensors and arrays of different dtypes are compared by value: nothing is rounded or wrapped around."""
    for a, b in (pair, pair[::-1]):
        want = [op(p, q) for p, q in zip(a.tolist(), b.tolist(), strict=True)]
        for result in (op(Tensor(a), Tensor(b)), op(Tensor(a), b), op(a, Tensor(b))):
            assert_close(result, want)


@pytest.mark.parametrize("op", COMPARISON)
def test_a_number_is_compared_in_the_dtype_of_floats(op):
    """A scalar compared with floats is rounded to their dtype: Tensor([0.1]) == 0.1, although float32 can't hold 0.1."""
    for dtype in (np.float16, np.float32):
        assert_close(op(Tensor(np.array([0.1, 0.2], dtype)), 0.1), [op(0.1, 0.1), op(0.2, 0.1)])


@pytest.mark.parametrize("other", [None, "a", {}, object], ids=repr)
@pytest.mark.parametrize("shape", [(2, 3), (), (2, 0)], ids=str)
def test_what_is_not_a_number_equals_nothing(other, shape):
    """x == None, or x == anything else that isn't numbers, is False everywhere. x != None is True everywhere."""
    x = Tensor(np.zeros(shape))
    for result, want in [(x == other, False), (other == x, False), (x != other, True), (other != x, True)]:
        assert isinstance(result, Tensor)
        assert_close(result, np.full(shape, want))


def test_a_tensor_can_be_a_key():
    """A tensor is hashed by identity, although == compares values: two equal tensors are two keys of a dict."""
    a, b = Tensor([1.0]), Tensor([1.0])
    assert len({a, b, a}) == 2


@pytest.mark.parametrize("op", [*ARITHMETIC, operator.pow])
@pytest.mark.parametrize("number", [2, 2.5, np.float64(2.5)], ids=repr)
def test_a_number_takes_the_dtype_of_the_tensor(op, number):
    """A scalar does not promote: float32 stays float32. Otherwise every later operation would run in float64."""
    x = Tensor(np.ones((2, 3), np.float32))
    assert_dtype(op(x, number), np.float32)
    if op is not operator.pow:
        assert_dtype(op(number, x), np.float32)


def test_a_float_with_integers_gives_float32():
    """A float scalar with integers or booleans gives float32; an int scalar keeps integers' dtype, and makes booleans int64."""
    counts, mask = Tensor([1, 2, 3]), Tensor([True, False])
    assert_close(counts * 0.5, [0.5, 1, 1.5])
    assert_dtype(counts * 0.5, np.float32)
    assert_dtype(1.0 - mask, np.float32)
    assert_dtype(counts + 1, np.int64)
    assert_close(mask + 1, np.array([2, 1]))


def test_booleans_beside_integers_count():
    """True counts as 1 in arithmetic with integers, on either side."""
    mask, counts = Tensor([True, False]), Tensor([5, 7])
    for total in (mask + counts, counts + mask):
        assert_close(total, np.array([6, 7]))
        assert_dtype(total, np.int64)


def test_integers_with_floats_take_the_float_dtype():
    """An int64 tensor with a float32 tensor gives float32 (PyTorch's rule; NumPy's gives float64)."""
    counts, x = Tensor([1, 2, 3]), Tensor([0.5, 0.5, 0.5])
    assert_dtype(counts * x, np.float32)
    assert_dtype(x - counts, np.float32)
    assert_dtype(counts * Tensor(np.ones(3)), np.float64)


@pytest.mark.parametrize("op", ARITHMETIC)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("whole", WHOLE)
def test_integers_take_the_dtype_of_floats_on_either_side(op, whole, dtype):
    """Integers and booleans take the dtype of the floats they are combined with, on either side, as an array or a Tensor."""
    counts, x = np.ones(2, whole), np.ones(2, dtype)
    for a, b in [(counts, x), (x, counts)]:
        for left, right in [(Tensor(a), Tensor(b)), (Tensor(a), b), (a, Tensor(b))]:
            assert_dtype(op(left, right), dtype)


@pytest.mark.parametrize("op", ARITHMETIC)
@pytest.mark.parametrize("number", [0.5, np.float32(0.5), np.float64(0.5)], ids=repr)
@pytest.mark.parametrize("whole", WHOLE)
def test_a_float_number_on_either_side_of_integers_gives_float32(op, number, whole):
    """A float scalar with integers or booleans gives float32, on the left as on the right."""
    counts = Tensor(np.array([1, 1], whole))
    for result, want in [(op(counts, number), op(1, 0.5)), (op(number, counts), op(0.5, 1))]:
        assert_dtype(result, np.float32)
        assert_close(result, [want, want])


def test_true_beside_booleans_is_a_boolean():
    """True and False combined with booleans give booleans, so a mask stays a mask."""
    mask = Tensor([True, False])
    for result in (mask * True, True * mask, mask + np.False_):
        assert_dtype(result, np.bool_)
        assert_close(result, [True, False])


@pytest.mark.parametrize("op", [operator.add, operator.sub, operator.mul])
@pytest.mark.parametrize("number", [300, -1, np.int64(300), np.int64(-1)], ids=repr)
def test_a_number_that_does_not_fit_is_refused(op, number):
    """An integer that the tensor's dtype can't hold raises a ValueError that contains both: 300 must not become 44."""
    counts = Tensor(np.array([1, 2], np.uint8))
    for call in (lambda: op(counts, number), lambda: op(number, counts)):
        with rejects(ValueError, str(int(number)), "uint8"):
            call()


@pytest.mark.parametrize("op", ARITHMETIC)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_an_integer_larger_than_any_float_is_refused(op, dtype):
    """An integer that no float can hold raises a ValueError that contains it and the tensor's dtype."""
    x = Tensor(np.ones(2, dtype))
    for call in (lambda: op(x, 10**400), lambda: op(-(10**400), x)):
        with rejects(ValueError, str(10**400), np.dtype(dtype).name):
            call()


@pytest.mark.parametrize("a", WHOLE)
@pytest.mark.parametrize("b", WHOLE)
def test_division_of_any_integers_gives_float32(a, b):
    """Integers and booleans divided by integers or booleans give float32, on either side of an array."""
    a, b = np.ones(2, a), np.ones(2, b)
    for result in (Tensor(a) / Tensor(b), Tensor(a) / b, a / Tensor(b), Tensor(a) / 1, 1 / Tensor(b)):
        assert_dtype(result, np.float32)


def test_integers_are_divided_by_any_number():
    """Integers may be divided by any scalar, even if their dtype can't hold it: uint8 divided by 300 or -1 gives float32."""
    counts = Tensor(np.array([1, 200], np.uint8))
    assert_close(counts / 300, [1 / 300, 200 / 300])
    assert_close(-1 / counts, [-1, -1 / 200])


@pytest.mark.parametrize("op", ARITHMETIC)
def test_integers_beside_float64_are_not_rounded(op):
    """Integers combined with float64 become float64 directly. float32, which has seven digits, would round them."""
    a, b = 123456789, 987654321.5
    assert_close(op(Tensor([a]), Tensor(np.array([b]))), [op(a, b)])
    assert_close(op(Tensor(np.array([b])), Tensor([a])), [op(b, a)])
    assert_close(op(np.array([a]), Tensor(np.array([b]))), [op(a, b)])


def test_division_of_integers_gives_float32():
    """Integers divided by integers give float32: 1 / 2 is 0.5."""
    assert_close(Tensor([1, 3]) / Tensor([2, 2]), [0.5, 1.5])
    assert_dtype(Tensor([1, 3]) / Tensor([2, 2]), np.float32)
    assert_dtype(Tensor([1, 3]) / 2, np.float32)


def test_wider_floats_win():
    """float32 with float64 gives float64: nothing that was computed precisely is rounded."""
    assert_dtype(Tensor(np.ones(2, np.float32)) + Tensor(np.ones(2)), np.float64)


@pytest.mark.parametrize("op", ARITHMETIC)
def test_operands_are_left_alone(op):
    """An operation makes a new tensor: neither operand changes, and the result does not share their memory."""
    a, b = Tensor(np.full((2, 3), 6.0)), Tensor(np.full((2, 3), 2.0))
    result = op(a, b)
    assert_close(a, np.full((2, 3), 6.0))
    assert_close(b, np.full((2, 3), 2.0))
    assert not np.shares_memory(result.data, a.data)
    assert not np.shares_memory(result.data, b.data)


def test_plus_equals_makes_a_new_tensor():
    """x += y binds x to a new tensor; other references to the old tensor keep its values."""
    x = held = Tensor([1.0, 2.0])
    x += 1
    assert_close(x, [2, 3])
    assert_close(held, [1, 2])


@pytest.mark.parametrize("op", [*ARITHMETIC, operator.lt])
def test_the_work_is_done_in_numpy(op, budget):
    """The number of Python instructions must not grow with the number of elements."""
    few, many = Tensor(np.ones((10, 10), np.float32)), Tensor(np.ones((100, 100), np.float32))
    budget.steps(lambda: op(few, few), lambda: op(many, many), limit=2)


@pytest.mark.parametrize("op", ARITHMETIC)
def test_an_operation_holds_its_result_and_nothing_else(op, budget):
    """Broadcasting a row over a matrix allocates only the result: no stretched copy of the row."""
    matrix, row = Tensor(np.ones((250, 1000), np.float32)), Tensor(np.ones(1000, np.float32))
    budget.bytes(lambda: op(matrix, row), peak=1_500_000)


@pytest.mark.parametrize("exponent", [True, False, np.True_])
def test_booleans_to_the_power_of_a_boolean_are_int64(exponent):
    """True is the number 1 here: a power of booleans is int64."""
    result = Tensor([True, False]) ** exponent
    assert_dtype(result, np.int64)
    assert_close(result, [1, 0] if exponent else [1, 1])


@pytest.mark.parametrize("exponent", [[2.0], (2.0,), np.array([1.0, 2.0]), np.array(2.0), None, "2"], ids=repr)
def test_only_a_number_is_an_exponent(exponent):
    """A list, an array or a string as the exponent raises a TypeError."""
    with rejects(TypeError):
        Tensor([1.0, 2.0]) ** exponent


def test_a_tensor_without_axes_is_compared_by_value():
    """Only a number is rounded to the tensor's dtype: 0.1 in float64, in a Tensor or an array, is not 0.1 in float32."""
    x = Tensor(np.array([0.1], np.float32))
    assert (x == 0.1).item()
    assert not (x == Tensor(np.float64(0.1))).item()
    assert not (x == np.array(0.1)).item()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32, np.uint64, np.int32, np.int64])
def test_wide_integers_do_not_widen_floats(dtype):
    """Integers of any width beside float32 take float32, on either side."""
    whole, x = Tensor(np.array([2, 3], dtype)), Tensor([0.5, 1.5])
    for result in (x + whole, whole + x, x * whole.data, whole - x, whole / x):
        assert_dtype(result, np.float32)


def test_zeros_of_either_sign_are_two_numbers():
    """x / 0.0 is ∞, x / -0.0 is -∞, in any order: nothing is left of an earlier operand."""
    with np.errstate(divide="ignore"):
        results = [(Tensor([1.0]) / zero).item() for zero in (0.0, -0.0, 0.0)]
    assert results == [np.inf, -np.inf, np.inf]
