import inspect
import operator

import numpy as np
import pytest
from katas.tensor import Tensor, arange, concatenate, full, maximum, ones, randn, stack, where, zeros

from specs.check import assert_close, assert_dtype, layouts, undisturbed


def same(operation):
    """An operation that is written the same way in NumPy."""
    return operation, operation


COMPARED = {op.__name__: same(op) for op in (operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge)}
ON_BOTH_SIDES = {
    "x + y": same(operator.add),
    "x - y": same(operator.sub),
    "x * y": same(operator.mul),
    "x / y": same(operator.truediv),
    "array + y": (lambda x, y: x.data + y, operator.add),
    "array - y": (lambda x, y: x.data - y, operator.sub),
    "array * y": (lambda x, y: x.data * y, operator.mul),
    "array / y": (lambda x, y: x.data / y, operator.truediv),
    **COMPARED,
}
OPERATIONS = {  # with one or two tensors of two axes, and the same with arrays
    **ON_BOTH_SIDES,
    "-x": same(operator.neg),
    "x ** 2": same(lambda x: x**2),
    "exp": (lambda x: x.exp(), np.exp),
    "log": (lambda x: x.log(), np.log),
    "sqrt": (lambda x: x.sqrt(), np.sqrt),
    "tanh": (lambda x: x.tanh(), np.tanh),
    "maximum": (lambda x, y: maximum(x, y), np.maximum),
    "where": (lambda x, y: where(x > y, x, y), lambda x, y: np.where(x > y, x, y)),
    "reshape": same(lambda x: x.reshape(-1)),
    "permute": (lambda x: x.permute(1, 0), np.transpose),
    "transpose": (lambda x: x.transpose(0, 1), np.transpose),
    "T": same(lambda x: x.T),
    "a slice": same(lambda x: x[:, 1:]),
    "rows": same(lambda x: x[[1, 0]]),
    "iteration": (lambda x: list(x)[1], lambda x: x[1]),
    "concatenate": (lambda x, y: concatenate([x, y], 1), lambda x, y: np.concatenate([x, y], 1)),
    "stack": (lambda x, y: stack([x, y], 1), lambda x, y: np.stack([x, y], 1)),
    "sum": same(lambda x: x.sum(0)),
    "sum, keepdim": (lambda x: x.sum(1, keepdim=True), lambda x: x.sum(1, keepdims=True)),
    "mean": same(lambda x: x.mean(0)),
    "max": same(lambda x: x.max(0)),
    "var": (lambda x: x.var(0), lambda x: x.var(0, ddof=1)),
    "x @ y.T": same(lambda x, y: x @ y.T),
    "array.T @ y": (lambda x, y: x.data.T @ y, lambda x, y: x.T @ y),
}
FACTS = {
    "shape": lambda x: x.shape,
    "ndim": lambda x: x.ndim,
    "size": lambda x: x.size,
    "dtype": lambda x: x.dtype,
    "len": len,
    "repr": repr,
    "numpy": lambda x: x.numpy().tolist(),
    "item": lambda x: x.sum().item(),
    "bool": lambda x: bool(x.sum()),
    "Tensor(x)": lambda x: Tensor(x).data.tolist(),
}
CREATIONS = {
    "Tensor": lambda: Tensor([[1.0, 2.0]]),
    "zeros": lambda: zeros((2, 3)),
    "ones": lambda: ones((2, 3)),
    "full": lambda: full((2, 3), 5.0),
    "arange": lambda: arange(4),
    "randn": lambda: randn((2, 3), np.random.default_rng(0)),
}
every = pytest.mark.parametrize("name", OPERATIONS)


def operands(name: str, *arrays: np.ndarray) -> list[np.ndarray]:
    """As many operands as the operation takes."""
    return list(arrays[: len(inspect.signature(OPERATIONS[name][0]).parameters)])


def ours(name: str, *arrays: np.ndarray) -> Tensor:
    return OPERATIONS[name][0](*map(Tensor, operands(name, *arrays)))


def plain(name: str, *arrays: np.ndarray) -> np.ndarray:
    with np.errstate(all="ignore"):
        return OPERATIONS[name][1](*operands(name, *arrays))


@every
def test_operands_are_read_by_index(name):
    """An operation reads its operands by index, whatever their order in memory."""
    x, y = np.array([[1.0, 2.0, 3.0], [6.0, 5.0, 4.0]]), np.array([[1.0, 3.0, 2.0], [4.0, 5.0, 6.0]])
    want = plain(name, x, y)
    for order in layouts(x):
        assert_close(ours(name, layouts(x)[order], layouts(y)[order]), want, name=f"operands that lie {order}")


@pytest.mark.parametrize("fact", FACTS)
def test_a_tensor_is_read_by_index(fact):
    """shape, len, repr and the like don't depend on the order of the values in memory."""
    values = np.array([[1.0, 2.0], [3.0, 5.0]])
    for order, x in layouts(values).items():
        assert FACTS[fact](Tensor(x)) == FACTS[fact](Tensor(values)), f"values that lie {order}"


@pytest.mark.parametrize("shape", [(2, 0), (2, 1)], ids=str)
@every
def test_axes_of_length_0_and_1_are_axes(name, shape):
    """An axis of length 0 raises no error, and an axis of length 1 stays: results have the same shape as in NumPy."""
    x = np.ones(shape)
    assert_close(ours(name, x, x), plain(name, x, x))


def test_a_tensor_may_hold_no_values():
    """A tensor with an axis of length 0 has a shape, a dtype and a length like any other."""
    x = Tensor(np.zeros((2, 0), np.float32))
    assert (x.shape, x.ndim, x.size, x.dtype, len(x), len(x.T)) == ((2, 0), 2, 0, np.float32, 2, 0)
    assert Tensor(x).shape == x.numpy().shape == (2, 0)
    assert repr(Tensor(np.zeros(0, np.float32))) == "Tensor([])"
    assert [made.shape for made in (zeros((0, 3)), ones((0, 3)), full((0, 3), 1.0), arange(0))] == [(0, 3)] * 3 + [(0,)]
    assert randn((0, 3), np.random.default_rng(0)).shape == (0, 3)


@pytest.mark.parametrize("create", [zeros, ones, lambda shape: full(shape, 2.0)], ids=["zeros", "ones", "full"])
def test_created_axes_of_length_1_stay(create):
    """A shape with axes of length 1, such as (1, 3, 1), keeps them."""
    assert create((1, 3, 1)).shape == (1, 3, 1)
    assert randn((1, 3, 1), np.random.default_rng(0)).shape == (1, 3, 1)
    assert arange(1).shape == (1,)


@every
def test_infinities_and_nan_pass_through(name):
    """An infinity or a NaN gives the same result as in NumPy: it is not replaced, and raises no error."""
    x = np.array([[np.inf, -np.inf, np.nan, 0.0, np.nan], [0.0, 1.0, np.inf, 2.0, 1.0]])
    y = np.array([[1.0, np.inf, np.nan, -np.inf, 1.0], [np.inf, 0.0, -1.0, np.nan, 2.0]])
    with np.errstate(all="ignore"):
        assert_close(ours(name, x, y), plain(name, x, y))


@every
def test_an_operand_may_stand_beside_itself(name):
    """x as both operands works like two equal operands: NaN == NaN is False, and ∞ - ∞ is NaN, even for the same tensor."""
    x = np.array([[np.inf, -np.inf, np.nan], [0.0, -1.0, 2.0]])
    operation = OPERATIONS[name][0]
    with np.errstate(all="ignore"):
        one = Tensor(x)
        assert_close(operation(*[one] * len(operands(name, x, x))), plain(name, x, x.copy()))


def test_infinities_and_nan_are_values():
    """Tensor, full, item, bool and repr take infinities and NaN as they are."""
    assert_close(Tensor([np.inf, -np.inf, np.nan]), [np.inf, -np.inf, np.nan])
    assert_close(full((2,), np.inf), [np.inf, np.inf])
    assert_close(full((2,), np.nan), [np.nan, np.nan])
    assert Tensor([-np.inf]).item() == -np.inf
    assert bool(Tensor(np.nan)) is True
    assert "inf" in repr(Tensor([np.inf]))
    assert "nan" in repr(Tensor([np.nan]))


@every
def test_a_result_may_be_written_to(name):
    """A result's array is writable, since an optimizer writes to it."""
    result = ours(name, np.ones((2, 3)), np.ones((2, 3)))
    assert result.data.flags.writeable, "the array of the result is read-only"


@pytest.mark.parametrize("name", CREATIONS)
def test_a_new_tensor_may_be_written_to(name):
    """A new tensor's array is writable, also through numpy()."""
    made = CREATIONS[name]()
    made.numpy()[...] = 7
    assert_close(made, np.full(made.shape, 7, made.dtype))


EQUAL = {  # an operation, and an operand that it gives back
    "x + 0": (lambda x: x + 0, [[1.0, 2.0]]),
    "x + 0.0": (lambda x: x + 0.0, [[1.0, 2.0]]),
    "0 + x": (lambda x: 0 + x, [[1.0, 2.0]]),
    "x - 0": (lambda x: x - 0, [[1.0, 2.0]]),
    "x - 0.0": (lambda x: x - 0.0, [[1.0, 2.0]]),
    "2 - x": (lambda x: 2 - x, [[1.0, 1.0]]),
    "x * 1": (lambda x: x * 1, [[1.0, 2.0]]),
    "x * 1.0": (lambda x: x * 1.0, [[1.0, 2.0]]),
    "x + zeros": (lambda x: x + Tensor([[0.0, 0.0]]), [[1.0, 2.0]]),
    "x * ones": (lambda x: x * np.ones((1, 2), np.float32), [[1.0, 2.0]]),
    "1 * x": (lambda x: 1 * x, [[1.0, 2.0]]),
    "x / 1": (lambda x: x / 1, [[1.0, 2.0]]),
    "1 / x": (lambda x: 1 / x, [[1.0, 1.0]]),
    "-x": (lambda x: -x, [[0.0, 0.0]]),
    "x ** 1": (lambda x: x**1, [[1.0, 2.0]]),
    "x ** 1.0": (lambda x: x**1.0, [[1.0, 2.0]]),
    "==": (lambda x: x == x, [[True, True]]),
    "!=": (lambda x: x != x, [[False, False]]),
    "<": (lambda x: x < x, [[False, False]]),
    "<=": (lambda x: x <= x, [[True, True]]),
    ">": (lambda x: x > x, [[False, False]]),
    ">=": (lambda x: x >= x, [[True, True]]),
    "sqrt": (lambda x: x.sqrt(), [[1.0, 0.0]]),
    "tanh": (lambda x: x.tanh(), [[0.0, 0.0]]),
    "maximum": (lambda x: maximum(x, 0.0), [[1.0, 2.0]]),
    "maximum of itself": (lambda x: maximum(x, x), [[1.0, 2.0]]),
    "where": (lambda x: where(x > 0, x, 0.0), [[1.0, 2.0]]),
    "where of itself": (lambda x: where(x > 1, x, x), [[1.0, 2.0]]),
    "rows": (lambda x: x[[0]], [[1.0, 2.0]]),
    "concatenate": (lambda x: concatenate([x]), [[1.0, 2.0]]),
    "concatenate along 1": (lambda x: concatenate([x], 1), [[1.0, 2.0]]),
    "sum": (lambda x: x.sum(0, keepdim=True), [[1.0, 2.0]]),
    "mean": (lambda x: x.mean(0, keepdim=True), [[1.0, 2.0]]),
    "max": (lambda x: x.max(0, keepdim=True), [[1.0, 2.0]]),
    "sum over no axis": (lambda x: x.sum(()), [[1.0, 2.0]]),
    "mean over no axis": (lambda x: x.mean(()), [[1.0, 2.0]]),
    "max over no axis": (lambda x: x.max(()), [[1.0, 2.0]]),
    "var": (lambda x: x.var(0, keepdim=True, correction=0), [[0.0, 0.0]]),
    "x @ 1": (lambda x: x @ np.eye(2, dtype=np.float32), [[1.0, 2.0]]),
    "1 @ x": (lambda x: np.eye(1, dtype=np.float32) @ x, [[1.0, 2.0]]),
}


@pytest.mark.parametrize("name", EQUAL)
def test_a_result_that_equals_its_operand_is_another_array(name):
    """x + 0 and the like give new arrays: writing to the result leaves the operand unchanged."""
    operation, values = EQUAL[name]
    x = Tensor(values)
    result = operation(x)
    assert_close(result, values)
    assert not np.shares_memory(result.data, x.data), "the result is the operand's own array, or a view of it"


@pytest.mark.parametrize("dim", [0, 1, -1])
def test_a_stack_of_one_is_another_array(dim):
    """Writing to stack([x]) leaves x unchanged."""
    x = Tensor([1.0, 2.0])
    assert not np.shares_memory(stack([x], dim).data, x.data), "the result is a view of the operand's array"


@every
def test_every_operation_leaves_its_operands_alone(name):
    """An operation changes none of its operands."""
    for order in "CF":
        x = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], order=order)
        y = np.array([[2.0, 2.0, 2.0], [1.0, 1.0, 1.0]], order=order)
        before = x.copy(), y.copy()
        ours(name, x, y)
        assert_close(x, before[0], name="x")
        assert_close(y, before[1], name="y")


@pytest.mark.parametrize("requires_grad", [False, True])
@every
def test_operands_stay_what_they_are(name, requires_grad):
    """After an operation its operands hold the same arrays, still writable, and have the same requires_grad."""
    x, y = np.ones((2, 3)), np.ones((2, 3))
    tensors = [Tensor(array, requires_grad) for array in operands(name, x, y)]
    OPERATIONS[name][0](*tensors)
    for tensor, array in zip(tensors, (x, y), strict=False):
        assert tensor.data is array, "the operand holds another array"
        assert array.flags.writeable, "the operand can't be written to any more"
        assert (tensor.shape, tensor.requires_grad, tensor.grad) == ((2, 3), requires_grad, None)


@pytest.mark.parametrize("wrap", [lambda array: array, Tensor], ids=["array", "Tensor"])
def test_masks_and_indices_are_left_alone(wrap):
    """A condition, a mask and an index keep their values, and stay writable."""
    x, mask, index = Tensor(np.ones((2, 3))), np.array([[True, False, True], [False, False, True]]), np.array([1, 0, 1])
    before = mask.copy(), index.copy()
    where(wrap(mask), x, 0.0)
    where(wrap(mask), 0.0, x)
    for selected in (wrap(mask), wrap(index), (slice(None), wrap(index))):
        _ = x[selected]
    for array, old in zip((mask, index), before, strict=True):
        assert_close(array, old)
        assert array.flags.writeable, "it can't be written to any more"


@pytest.mark.parametrize("fact", FACTS)
def test_to_ask_a_tensor_changes_nothing(fact):
    """shape, len, repr, item and the like don't change the values."""
    x = np.array([[1.0, 2.0], [3.0, 5.0]])
    FACTS[fact](Tensor(x))
    assert_close(x, [[1.0, 2.0], [3.0, 5.0]])


@pytest.mark.parametrize("ask", [lambda x: x.item(), bool], ids=["item", "bool"])
def test_to_ask_for_the_one_value_changes_nothing(ask):
    """item() and bool() don't change the only value."""
    one = np.array([[3.0]])
    assert ask(Tensor(one)) == ask(Tensor(np.array([[3.0]])))
    assert_close(one, [[3.0]])


@pytest.mark.parametrize(
    "values", [np.zeros((1, 3)), np.zeros((1, 1), np.float32), np.zeros(2, np.int32), np.array([np.nan, 1.0])], ids=repr
)
def test_numpy_gives_the_array_as_it_is(values):
    """numpy() returns the array itself, with its dtype, its shape and its NaNs."""
    assert Tensor(values).numpy().dtype == values.dtype
    assert Tensor(values).numpy().shape == values.shape
    assert np.shares_memory(Tensor(values).numpy(), values), "this is a copy: the memory is not that of the array"


def test_lists_are_left_alone():
    """Lists of values, of tensors and of indices are only read."""
    values, parts, index = [[1.0, 2.0]], [Tensor([1.0]), Tensor([2.0])], [0, 0]
    Tensor(values)
    concatenate(parts)
    stack(parts)
    Tensor(values)[index]
    assert values == [[1.0, 2.0]]
    assert index == [0, 0]
    assert len(parts) == 2


def test_lists_that_are_refused_are_left_alone():
    """A list that can't become a tensor, and parts that don't fit, are unchanged after the error."""
    ragged, words, parts = [[1.0, 2.0], [3.0]], ["one", "two"], [Tensor([1.0]), Tensor([1.0, 2.0])]
    for call in (lambda: Tensor(ragged), lambda: Tensor(words), lambda: stack(parts), lambda: concatenate(parts, 1)):
        with pytest.raises((ValueError, TypeError)):
            call()
    assert ragged == [[1.0, 2.0], [3.0]]
    assert words == ["one", "two"]
    assert len(parts) == 2


REFUSED = {
    **{name: operation for name, (operation, _) in ON_BOTH_SIDES.items()},
    "** '2'": lambda x, _: x ** "2",
    "+ '2'": lambda x, _: x + "2",
    "maximum": lambda x, y: maximum(x, y),
    "where": lambda x, y: where(x > 0, x, y),
    "where, of numbers": lambda x, _: where(x, x, x),
    "reshape": lambda x, _: x.reshape(7),
    "permute": lambda x, _: x.permute(0, 0),
    "transpose": lambda x, _: x.transpose(0, 2),
    "T": lambda x, _: x[0].T,
    "index": lambda x, _: x[5],
    "len": lambda x, _: len(x[:1, :1].reshape(())),
    "item": lambda x, _: x.item(),
    "bool": lambda x, _: bool(x),
    "concatenate": lambda x, y: concatenate([x, y]),
    "stack": lambda x, y: stack([x, y]),
    "sum": lambda x, _: x.sum(2),
    "mean": lambda x, _: x.mean(2),
    "max": lambda x, _: x.max(2),
    "var": lambda x, _: x.var(correction=6),
    "@": lambda x, y: x @ y,
    "array @": lambda x, y: y.data @ x,
}


@pytest.mark.parametrize("name", REFUSED)
def test_an_error_leaves_the_operands_alone(name):
    """After an error the operands are unchanged."""
    x, y = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]), np.ones((4, 5))
    before = x.copy()
    with pytest.raises((ValueError, TypeError, IndexError)):
        REFUSED[name](Tensor(x), Tensor(y))
    assert_close(x, before)
    assert_close(y, np.ones((4, 5)))


@pytest.mark.parametrize("name", REFUSED)
def test_an_error_leaves_the_process_alone(name):
    """After an error NumPy's global generator, its error handling and the working directory are unchanged."""
    with undisturbed(), pytest.raises((ValueError, TypeError, IndexError)):
        REFUSED[name](Tensor(np.ones((2, 3))), Tensor(np.ones((4, 5))))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@every
def test_every_operation_keeps_the_float_dtype(name, dtype):
    """float32 gives float32 and float64 gives float64. Comparisons give booleans."""
    x = np.ones((2, 3), dtype)
    assert_dtype(ours(name, x, x), np.bool_ if name in COMPARED else dtype)


FLOATING = ["x / y", "exp", "log", "sqrt", "tanh", "mean", "var"]
KEPT = [name for name in OPERATIONS if name not in [*FLOATING, *COMPARED, "array / y", "sum", "sum, keepdim"]]


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
@pytest.mark.parametrize("name", KEPT)
def test_integers_keep_their_dtype(name, dtype):
    """int32 gives int32 and int64 gives int64, if the result holds integers."""
    x = np.ones((2, 3), dtype)
    assert_dtype(ours(name, x, x), dtype)


@pytest.mark.parametrize("name", ["sum", "sum, keepdim", *FLOATING])
def test_what_integers_give(name):
    """A sum of int64 is int64; a quotient, a function, a mean or a variance of integers is float32."""
    x = np.ones((2, 3), np.int64)
    assert_dtype(ours(name, x, x), np.float32 if name in FLOATING else np.int64)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int64, np.int32])
def test_what_is_created_has_the_dtype_that_is_asked_for(dtype):
    """Tensor, zeros, ones, full and arange with a dtype give that dtype."""
    for made in (Tensor([1], dtype=dtype), zeros((2,), dtype), ones((2,), dtype), full((2,), 1, dtype), arange(2, dtype=dtype)):
        assert_dtype(made, dtype)
    assert_dtype(Tensor(np.ones(2, dtype)), dtype)
    assert_dtype(randn((2,), np.random.default_rng(0)), np.float32)
    assert_dtype(full((2,), np.ones((), dtype)[()]), dtype)


@every
def test_every_operation_leaves_the_process_alone(name):
    """An operation changes neither NumPy's global generator, nor its error handling, nor the working directory."""
    with undisturbed():
        ours(name, np.ones((2, 3)), np.ones((2, 3)))


@pytest.mark.parametrize("name", [*FACTS, *CREATIONS])
def test_to_create_and_to_ask_leaves_the_process_alone(name):
    """Creating a tensor, or reading its shape, does not change NumPy's settings or the working directory."""
    with undisturbed():
        CREATIONS[name]() if name in CREATIONS else FACTS[name](Tensor([1.0]))


@every
def test_every_operation_reads_the_data_of_now(name, draw):
    """An operation reads the current array of `data`, which an optimizer or a loaded model may have replaced."""
    new = draw.uniform(1, 2, 2, 3)
    tensors = [Tensor(old) for old in operands(name, np.ones((3, 2)), np.ones((3, 2)))]
    for tensor in tensors:
        tensor.data = new
    assert_close(OPERATIONS[name][0](*tensors), plain(name, new, new))


@pytest.mark.parametrize("fact", FACTS)
def test_a_tensor_tells_about_the_data_of_now(fact):
    """shape, dtype, len, repr and the like describe the current array of `data`."""
    x, new = Tensor([1.0]), np.array([[0, 0], [0, 0]])
    x.data = new
    assert FACTS[fact](x) == FACTS[fact](Tensor(new))
    x.data = np.array([[0]])
    assert x.item() == 0
    assert bool(x) is False


def test_numpy_numbers_are_numbers():
    """Lengths, axes, indices and operands may be NumPy integers and floats."""
    one, x = np.int64(1), Tensor(np.ones((2, 3), np.float32))
    assert x.reshape(np.int64(3), np.int64(2)).shape == (3, 2)
    assert x.permute(one, np.int64(0)).shape == x.transpose(np.int64(0), one).shape == (3, 2)
    assert x[one].shape == (3,)
    assert concatenate([x, x], one).shape == (2, 6)
    assert stack([x, x], one).shape == (2, 2, 3)
    assert x.var(correction=np.int64(0)).item() == 0
    assert zeros((one, one)).shape == ones((one, one)).shape == full((one, one), one).shape == (1, 1)
    assert randn((one, one), np.random.default_rng(0)).shape == (1, 1)
    assert len(arange(np.int64(4))) == 4


@pytest.mark.parametrize("number", [np.int64(2), np.float32(2), np.float64(2)], ids=repr)
@pytest.mark.parametrize("name", [name for name in ON_BOTH_SIDES if not name.startswith("array")])
def test_numpy_scalars_are_operands(name, number):
    """A NumPy scalar combined with a tensor counts as a Python scalar, on the right and on the left."""
    operation, x = ON_BOTH_SIDES[name][0], Tensor(np.array([1.0, 2.0, 3.0], np.float32))
    assert_close(operation(x, number), operation(x.data, np.float32(2)))
    assert_close(operation(number, x), operation(np.float32(2), x.data))
    assert_close(maximum(x, number), [2.0, 2.0, 3.0])
    assert_close(where(x > 1, x, number), [2.0, 2.0, 3.0])
