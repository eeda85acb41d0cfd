import numpy as np
import pytest
from katas.tensor import Tensor, arange, full, ones, randn, zeros

from specs.check import assert_close, assert_dtype, global_state, rejects


def test_a_list_becomes_a_tensor_of_its_values():
    """Tensor(nested lists) holds the values of the lists, in their shape."""
    x = Tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    assert isinstance(x.data, np.ndarray)
    assert_close(x, [[1, 2, 3], [4, 5, 6]])


def test_lists_of_floats_are_float32():
    """Python floats become float32, which takes half the memory of Python's and NumPy's float64."""
    assert_dtype(Tensor([1.0, 2.5]), np.float32)
    assert_dtype(Tensor([1, 2.5]), np.float32)
    assert_dtype(Tensor(2.5), np.float32)


def test_lists_of_integers_are_int64():
    """Python ints become int64: token ids and class labels must not be rounded."""
    assert_dtype(Tensor([1, 2]), np.int64)
    assert_close(Tensor([2**53 + 1]), np.array([2**53 + 1]))


def test_lists_of_booleans_are_bool():
    """Python bools stay booleans: they are masks."""
    assert_dtype(Tensor([True, False]), np.bool_)


def test_a_numpy_scalar_keeps_its_dtype():
    """Tensor(x) keeps the dtype of a NumPy scalar, such as the sum of an array: float64 stays float64."""
    assert_dtype(Tensor(np.float64(2.5)), np.float64)
    assert_dtype(Tensor(np.float32(2.5)), np.float32)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, np.int64, np.int8, np.uint8, np.bool_])
def test_an_array_keeps_its_dtype(dtype):
    """Tensor(array) keeps the dtype of the array: the caller chose it."""
    assert_dtype(Tensor(np.ones((2, 3), dtype)), dtype)


def test_a_given_dtype_wins():
    """Tensor(data, dtype=…) converts data to that dtype."""
    assert_dtype(Tensor([1, 2], dtype=np.float32), np.float32)
    assert_dtype(Tensor(np.ones(3), dtype=np.float32), np.float32)
    assert_close(Tensor([1.7, 2.2], dtype=np.int64), np.array([1, 2]))


def test_an_array_is_shared_not_copied():
    """Tensor(array) is a view: it copies no bytes, and it sees changes of the array."""
    values = np.zeros((2, 3), np.float32)
    x = Tensor(values)
    values[1, 2] = 7
    assert np.shares_memory(x.data, values), "this is a copy: the memory is not that of the array"
    assert_close(x, [[0, 0, 0], [0, 0, 7]])


@pytest.mark.parametrize("requires_grad", [False, True])
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int8, np.bool_])
def test_an_array_is_shared_if_it_has_the_dtype_already(dtype, requires_grad):
    """Tensor(array, dtype=…) copies nothing if the array already has that dtype, whether or not a gradient is required."""
    values = np.zeros((2, 3), dtype)
    for x in (
        Tensor(values, requires_grad),
        Tensor(values, requires_grad, dtype),
        Tensor(Tensor(values), requires_grad, dtype),
    ):
        assert np.shares_memory(x.data, values), "this is a copy: the memory is not that of the array"
        assert np.shares_memory(x.numpy(), values), "numpy() is a copy: the memory is not that of the array"


def test_wrapping_costs_no_memory(budget):
    """Tensor(array) of a 1 MB array allocates no second 1 MB array, not even temporarily."""
    values = np.zeros(250_000, np.float32)
    budget.bytes(lambda: Tensor(values), peak=10_000)


def test_a_tensor_of_a_tensor_shares_its_values():
    """Tensor(tensor) wraps the same array, and quickly: it does not loop over the elements."""
    x = Tensor(np.zeros((4, 5), np.float32))
    assert np.shares_memory(Tensor(x).data, x.data), "this is a copy: the memory is not that of x"
    assert_dtype(Tensor(x), np.float32)


def test_a_tensor_of_a_tensor_requires_a_gradient_if_asked():
    """Tensor(tensor) requires a gradient if its own requires_grad says so, whatever that of the old tensor is."""
    x = Tensor([1.0], requires_grad=True)
    assert not Tensor(x).requires_grad, "the requires_grad of the old tensor was taken over"
    assert Tensor(Tensor([1.0]), requires_grad=True).requires_grad
    assert x.requires_grad


def test_a_tensor_knows_its_shape():
    """shape, ndim, size, dtype and len() are those of the data."""
    x = Tensor(np.zeros((2, 3, 4), np.float32))
    assert (x.shape, x.ndim, x.size, x.dtype, len(x)) == ((2, 3, 4), 3, 24, np.float32, 2)


def test_a_scalar_has_no_length():
    """len() of a 0-d tensor raises a TypeError, as it does for an array."""
    with rejects(TypeError):
        len(Tensor(1.0))


def test_a_tensor_starts_without_gradient():
    """requires_grad is False by default; grad is None until a backward pass sets it."""
    assert Tensor([1.0]).requires_grad is False
    assert Tensor([1.0], requires_grad=True).requires_grad is True
    assert Tensor([1.0], requires_grad=True).grad is None


def test_item_is_a_python_number():
    """item() returns the only value as a Python scalar, whatever the number of axes."""
    assert type(Tensor([[2.5]]).item()) is float
    assert Tensor([[2.5]]).item() == 2.5
    assert type(Tensor(7).item()) is int
    assert type(Tensor([True]).item()) is bool


def test_item_of_several_values_is_refused():
    """item() raises a ValueError whose message contains the shape, unless the tensor has exactly one value."""
    with rejects(ValueError, "(2, 3)"):
        Tensor(np.zeros((2, 3))).item()
    with rejects(ValueError, "(0,)"):
        Tensor(np.zeros(0)).item()


def test_only_one_value_is_true_or_false():
    """bool(x) is the truth value of the only value. Any other number of values raises a ValueError that contains the shape."""
    assert bool(Tensor(2.0)) is True
    assert bool(Tensor([[0.0]])) is False
    with rejects(ValueError, "(3,)"):
        bool(Tensor([1.0, 2.0, 3.0]) == 2.0)
    with rejects(ValueError, "(0,)"):
        bool(Tensor(np.zeros(0)))


@pytest.mark.parametrize("values", [2.75, [2.75], [[2.75]]], ids=str)
def test_the_only_value_is_a_python_number(values):
    """float(x), int(x) and f"{x:.1f}" use the only value of a tensor, even of one that requires a gradient."""
    x = Tensor(values, requires_grad=True)
    assert (float(x), int(x), f"{x:.1f}") == (2.75, 2, "2.8")
    assert [type(number) for number in (float(x), int(x))] == [float, int]


@pytest.mark.parametrize("number", [float, int])
def test_several_values_are_no_python_number(number):
    """float(x) and int(x) raise a ValueError whose message contains the shape, unless x has exactly one value."""
    for shape in ((2, 3), (0,)):
        with rejects(ValueError, str(shape)):
            number(Tensor(np.ones(shape)))


def test_a_tensor_without_axes_is_formatted_as_a_number():
    """f"{x}" shows the number of a 0-d tensor, and the repr of any other tensor."""
    assert f"{Tensor(2.5)} {Tensor(3)}" == "2.5 3"
    for x in (Tensor([2.5]), Tensor([1.0, 2.0])):
        assert f"{x}" == repr(x)


@pytest.mark.parametrize("shape", [(2,), (0,)], ids=str)
def test_several_values_have_no_format(shape):
    """f"{x:.1f}" raises a TypeError unless x has exactly one value."""
    with rejects(TypeError):
        f"{Tensor(np.ones(shape)):.1f}"


def test_an_integer_counts_and_indexes():
    """range(x) and items[x] take a 0-d integer tensor. Other tensors raise a TypeError."""
    assert list(range(Tensor(3))) == [0, 1, 2]
    assert "abc"[Tensor(-1)] == "c"
    for x in (Tensor(2.0), Tensor(True), Tensor([2])):
        with rejects(TypeError):
            range(x)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64, np.bool_])
def test_numpy_sees_the_array(dtype):
    """np.asarray(x) is the array itself, np.array(x) a copy; np.concatenate, np.testing and the like work with it."""
    x = Tensor(np.ones((2, 3), dtype))
    assert np.shares_memory(np.asarray(x), x.data), "this is a copy: the memory is not that of x"
    assert not np.shares_memory(np.array(x), x.data), "np.array gives a view: writing to it would change x"
    assert_dtype(np.asarray(x), dtype)
    assert_dtype(np.asarray(x, np.float32), np.float32)
    assert_close(np.concatenate([x, x]), np.ones((4, 3), dtype))
    np.testing.assert_array_equal(x, x.data)


@pytest.mark.parametrize("function", [np.asarray, np.array, lambda x: np.concatenate([x, x]), lambda x: Tensor([x, x])])
def test_numpy_does_not_lose_a_gradient(function):
    """NumPy can't pass on a gradient: a Tensor that requires one raises a RuntimeError whose message contains ".data"."""
    with rejects(RuntimeError, ".data"):
        function(Tensor([1.0, 2.0], requires_grad=True))


def test_numpy_is_the_array_itself():
    """numpy() returns the array itself, not a copy."""
    x = Tensor([1.0, 2.0])
    assert np.shares_memory(x.numpy(), x.data), "this is a copy: the memory is not that of x"


def test_repr_shows_the_values():
    """repr reads like the call that makes the tensor; it omits the default dtypes float32, int64 and bool."""
    assert repr(Tensor([1.0, 2.5])).replace(" ", "") == "Tensor([1.,2.5])"
    assert repr(Tensor([1, 2])).replace(" ", "") == "Tensor([1,2])"
    assert repr(Tensor([[True]])).replace(" ", "") == "Tensor([[True]])"


def test_repr_names_what_is_not_default():
    """repr shows a dtype such as float64, and requires_grad=True."""
    assert repr(Tensor(np.zeros(1))).replace(" ", "") == "Tensor([0.],dtype=float64)"
    assert repr(Tensor([1.0], requires_grad=True)).replace(" ", "") == "Tensor([1.],requires_grad=True)"


@pytest.mark.parametrize("dtype", ["float16", "float64", "int8", "int16", "int32", "uint8", "uint32", "uint64"])
def test_repr_names_every_other_dtype(dtype):
    """repr shows every dtype except float32, int64 and bool, also with requires_grad=True and without values."""
    for values in (np.zeros((1, 2), dtype), np.zeros(0, dtype), np.zeros((), dtype)):
        assert repr(Tensor(values)).endswith(f", dtype={dtype})")
        assert repr(Tensor(values, requires_grad=True)).endswith(f", dtype={dtype}, requires_grad=True)")


def test_ragged_lists_are_refused():
    """Lists whose rows differ in length raise a ValueError: they have no shape."""
    with rejects(ValueError):
        Tensor([[1.0, 2.0], [3.0]])


TIMES = [np.array([1], "timedelta64[s]"), np.timedelta64(1, "s"), np.array(["2000-01-01"], "datetime64[D]")]
RECORDS = np.zeros(2, [("x", np.float32), ("y", np.float32)])


@pytest.mark.parametrize("data", ["words", [None], [1j], {"a": 1}, None, b"bytes", ..., *TIMES, RECORDS], ids=repr)
def test_what_is_not_a_number_is_refused(data):
    """Strings, None, complex numbers, times and objects raise a TypeError whose message contains the dtype NumPy gave them."""
    with rejects(TypeError, str(np.asarray(data).dtype)):
        Tensor(data)


@pytest.mark.parametrize(("create", "value"), [(zeros, 0), (ones, 1)])
def test_zeros_and_ones_fill_a_shape(create, value):
    """zeros(shape) and ones(shape) give float32 by default."""
    assert_close(create((2, 3)), np.full((2, 3), value))
    assert_dtype(create((2, 3)), np.float32)
    assert_dtype(create((2, 3), dtype=np.int64), np.int64)


def test_a_shape_may_have_no_axes():
    """zeros, ones, full and randn of shape () give a 0-d tensor with one value."""
    rng = np.random.default_rng(0)
    for made, value in [(zeros(()), 0.0), (ones(()), 1.0), (full((), 2.5), 2.5), (randn((), rng), None)]:
        assert made.shape == ()
        assert_dtype(made, np.float32)
        assert value is None or made.item() == value


def test_full_fills_a_shape_with_a_value():
    """full(shape, value) gives float32 for a float and int64 for an integer, by default."""
    assert_close(full((2, 3), 2.5), np.full((2, 3), 2.5))
    assert_dtype(full((2,), 2.5), np.float32)
    assert_dtype(full((2,), 2), np.int64)
    assert_dtype(full((2,), 0), np.int64)
    assert_dtype(full((2,), 0.0), np.float32)
    assert_dtype(full((2,), False), np.bool_)
    assert_dtype(full((2,), 2, dtype=np.float32), np.float32)


@pytest.mark.parametrize("value", [np.float64(2.5), np.float16(2.5), np.int8(2), np.True_], ids=repr)
def test_full_of_a_numpy_scalar_has_its_dtype(value):
    """full(shape, value) has the dtype of Tensor(value): for a NumPy scalar, that is the scalar's dtype."""
    assert_dtype(full((2,), value), value.dtype)


def test_arange_counts():
    """arange(stop) counts from 0; arange(start, stop, step) counts like range. Integers give int64, floats float32."""
    assert_close(arange(4), np.array([0, 1, 2, 3]))
    assert_close(arange(2, 9, 3), np.array([2, 5, 8]))
    assert_close(arange(0.0, 1.0, 0.25), [0, 0.25, 0.5, 0.75])
    assert_dtype(arange(4), np.int64)
    assert_dtype(arange(0.0, 1.0, 0.25), np.float32)


@pytest.mark.parametrize("bounds", [(0, 1, 0.25), (0.0, 1, 1), (0, 2.5), (0, -1, -0.5)])
def test_one_float_makes_arange_count_in_floats(bounds):
    """arange gives float32, and values between the integers too, if start, stop or step is a float."""
    assert_dtype(arange(*bounds), np.float32)
    assert_close(arange(*bounds), np.arange(*map(float, bounds)))


def test_arange_of_nothing():
    """arange gives no values if it starts at stop or beyond it, as arange(0) does."""
    for bounds in ((0,), (3, 3), (3, 1), (-2,)):
        assert arange(*bounds).shape == (0,)


def test_creation_passes_requires_grad_on():
    """zeros, ones, full, arange and randn take requires_grad."""
    made = [zeros((2,), requires_grad=True), ones((2,), requires_grad=True), full((2,), 1.0, requires_grad=True)]
    made += [arange(0.0, 2.0, requires_grad=True), randn((2,), np.random.default_rng(0), requires_grad=True)]
    assert all(x.requires_grad for x in made)


def test_nothing_created_requires_a_gradient_unless_asked():
    """zeros, ones, full, arange and randn don't require a gradient by default."""
    made = [zeros((2,)), ones((2,)), full((2,), 1.0), arange(0.0, 2.0), randn((2,), np.random.default_rng(0))]
    assert not any(x.requires_grad for x in made)


def test_randn_is_standard_normal():
    """randn(shape, rng) draws from the standard normal distribution, as float32."""
    x = randn((100, 200), np.random.default_rng(0))
    assert_dtype(x, np.float32)
    assert x.shape == (100, 200)
    assert abs(x.data.mean()) < 0.05, f"the mean is {x.data.mean():.3f}, not 0"
    assert abs(x.data.std() - 1) < 0.05, f"the standard deviation is {x.data.std():.3f}, not 1"
    assert abs((np.abs(x.data) < 1).mean() - 0.683) < 0.02, "not normal: 68.3% should lie within one standard deviation"


def test_randn_draws_from_the_given_generator():
    """Equal seeds give equal values, a second draw gives different values, and NumPy's global generator is not used."""
    first, again = np.random.default_rng(5), np.random.default_rng(5)
    before = global_state()
    x = randn((3,), first)
    assert_close(randn((3,), again), x.data)
    assert not np.array_equal(randn((3,), first).data, x.data)
    assert global_state() == before, "NumPy's global generator was used"


def test_the_number_of_values_is_an_integer():
    """size is a Python int, of a tensor without axes too: range(x.size) works."""
    for values in (3.0, [1.0, 2.0], np.zeros((2, 0))):
        assert type(Tensor(values).size) is int
    assert Tensor(3.0).size == 1


def test_numpy_gives_the_very_array():
    """x.numpy() is x.data: no view of it, and no copy."""
    x = Tensor([1.0, 2.0])
    assert x.numpy() is x.data
