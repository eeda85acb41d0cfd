import numpy as np
import pytest
from katas.tensor import Tensor, arange, full, ones, randn, zeros

from specs.check import assert_close, assert_dtype, global_state, rejects


def test_a_list_becomes_a_tensor_of_its_values():
    """Tensor(nested lists) holds their values, in their shape."""
    x = Tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    assert isinstance(x.data, np.ndarray)
    assert_close(x, [[1, 2, 3], [4, 5, 6]])


def test_lists_of_floats_are_float32():
    """Python floats become float32, half the memory of Python's and NumPy's float64."""
    assert_dtype(Tensor([1.0, 2.5]), np.float32)
    assert_dtype(Tensor([1, 2.5]), np.float32)
    assert_dtype(Tensor(2.5), np.float32)


def test_lists_of_integers_are_int64():
    """Python integers stay integers: token numbers and class labels must not be rounded."""
    assert_dtype(Tensor([1, 2]), np.int64)
    assert_close(Tensor([2**53 + 1]), np.array([2**53 + 1]))


def test_lists_of_booleans_are_bool():
    """Python booleans stay booleans: they are masks."""
    assert_dtype(Tensor([True, False]), np.bool_)


def test_a_numpy_scalar_keeps_its_dtype():
    """A NumPy scalar, which is what NumPy makes of a sum, is an array without axes: float64 stays float64."""
    assert_dtype(Tensor(np.float64(2.5)), np.float64)
    assert_dtype(Tensor(np.float32(2.5)), np.float32)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, np.int64, np.int8, np.uint8, np.bool_])
def test_an_array_keeps_its_dtype(dtype):
    """Whoever made an array chose its dtype. It is not changed."""
    assert_dtype(Tensor(np.ones((2, 3), dtype)), dtype)


def test_a_given_dtype_wins():
    """Tensor(data, dtype=…) converts."""
    assert_dtype(Tensor([1, 2], dtype=np.float32), np.float32)
    assert_dtype(Tensor(np.ones(3), dtype=np.float32), np.float32)
    assert_close(Tensor([1.7, 2.2], dtype=np.int64), np.array([1, 2]))


def test_an_array_is_shared_not_copied():
    """Tensor(array) is a view: no bytes are copied, and a change of the array is seen."""
    values = np.zeros((2, 3), np.float32)
    x = Tensor(values)
    values[1, 2] = 7
    assert np.shares_memory(x.data, values), "this is a copy: the memory is not that of the array"
    assert_close(x, [[0, 0, 0], [0, 0, 7]])


@pytest.mark.parametrize("requires_grad", [False, True])
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int8, np.bool_])
def test_an_array_is_shared_if_it_has_the_dtype_already(dtype, requires_grad):
    """Tensor(array, dtype=…) copies nothing if that is the array's dtype, whether or not a gradient is required."""
    values = np.zeros((2, 3), dtype)
    for x in (
        Tensor(values, requires_grad),
        Tensor(values, requires_grad, dtype),
        Tensor(Tensor(values), requires_grad, dtype),
    ):
        assert np.shares_memory(x.data, values), "this is a copy: the memory is not that of the array"
        assert np.shares_memory(x.numpy(), values), "numpy() is a copy: the memory is not that of the array"


def test_wrapping_costs_no_memory(budget):
    """A Tensor around a megabyte array takes no second megabyte, not even for a moment."""
    values = np.zeros(250_000, np.float32)
    budget.bytes(lambda: Tensor(values), peak=10_000)


def test_a_tensor_of_a_tensor_shares_its_values():
    """Tensor(tensor) wraps the same array, quickly: it does not walk over the elements."""
    x = Tensor(np.zeros((4, 5), np.float32))
    assert np.shares_memory(Tensor(x).data, x.data), "this is a copy: the memory is not that of x"
    assert_dtype(Tensor(x), np.float32)


def test_a_tensor_of_a_tensor_requires_a_gradient_if_asked():
    """Whether Tensor(tensor) requires a gradient is its own requires_grad, not the old tensor's."""
    x = Tensor([1.0], requires_grad=True)
    assert not Tensor(x).requires_grad, "the requires_grad of the old tensor was taken over"
    assert Tensor(Tensor([1.0]), requires_grad=True).requires_grad
    assert x.requires_grad


def test_a_tensor_knows_its_shape():
    """shape, ndim, size, dtype and len() are those of the data."""
    x = Tensor(np.zeros((2, 3, 4), np.float32))
    assert (x.shape, x.ndim, x.size, x.dtype, len(x)) == ((2, 3, 4), 3, 24, np.float32, 2)


def test_a_scalar_has_no_length():
    """len() of a tensor without axes is a TypeError, as for an array."""
    with rejects(TypeError):
        len(Tensor(1.0))


def test_a_tensor_starts_without_gradient():
    """requires_grad is False unless asked for; grad is None until a backward fills it."""
    assert Tensor([1.0]).requires_grad is False
    assert Tensor([1.0], requires_grad=True).requires_grad is True
    assert Tensor([1.0], requires_grad=True).grad is None


def test_item_is_a_python_number():
    """item() gives the one value as a plain Python number, whatever the number of axes."""
    assert type(Tensor([[2.5]]).item()) is float
    assert Tensor([[2.5]]).item() == 2.5
    assert type(Tensor(7).item()) is int
    assert type(Tensor([True]).item()) is bool


def test_item_of_several_values_is_refused():
    """item() of anything but one value is a ValueError that names the shape."""
    with rejects(ValueError, "(2, 3)"):
        Tensor(np.zeros((2, 3))).item()
    with rejects(ValueError, "(0,)"):
        Tensor(np.zeros(0)).item()


def test_only_one_value_is_true_or_false():
    """bool(x) is that of the one value. Of several it is a ValueError that names the shape: `if x == y` asks for all or any."""
    assert bool(Tensor(2.0)) is True
    assert bool(Tensor([[0.0]])) is False
    with rejects(ValueError, "(3,)"):
        bool(Tensor([1.0, 2.0, 3.0]) == 2.0)
    with rejects(ValueError, "(0,)"):
        bool(Tensor(np.zeros(0)))


@pytest.mark.parametrize("values", [2.75, [2.75], [[2.75]]], ids=str)
def test_the_only_value_is_a_python_number(values):
    """float(x), int(x) and f"{x:.1f}" take the only value of a tensor, also of one that requires a gradient."""
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
    """f"{x}" is the number of a tensor without axes, and the repr of any other."""
    assert f"{Tensor(2.5)} {Tensor(3)}" == "2.5 3"
    for x in (Tensor([2.5]), Tensor([1.0, 2.0])):
        assert f"{x}" == repr(x)


@pytest.mark.parametrize("shape", [(2,), (0,)], ids=str)
def test_several_values_have_no_format(shape):
    """f"{x:.1f}" raises a TypeError unless x has exactly one value."""
    with rejects(TypeError):
        f"{Tensor(np.ones(shape)):.1f}"


def test_an_integer_counts_and_indexes():
    """range(x) and items[x] take an integer tensor without axes. Other tensors raise a TypeError."""
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
    """NumPy can't pass on a gradient: for a Tensor that requires one there is a RuntimeError that contains ".data"."""
    with rejects(RuntimeError, ".data"):
        function(Tensor([1.0, 2.0], requires_grad=True))


def test_numpy_is_the_array_itself():
    """numpy() copies nothing."""
    x = Tensor([1.0, 2.0])
    assert np.shares_memory(x.numpy(), x.data), "this is a copy: the memory is not that of x"


def test_repr_shows_the_values():
    """repr reads like the call that makes the tensor; the defaults float32, int64 and bool go without saying."""
    assert repr(Tensor([1.0, 2.5])).replace(" ", "") == "Tensor([1.,2.5])"
    assert repr(Tensor([1, 2])).replace(" ", "") == "Tensor([1,2])"
    assert repr(Tensor([[True]])).replace(" ", "") == "Tensor([[True]])"


def test_repr_names_what_is_not_default():
    """Another dtype and requires_grad are part of the repr."""
    assert repr(Tensor(np.zeros(1))).replace(" ", "") == "Tensor([0.],dtype=float64)"
    assert repr(Tensor([1.0], requires_grad=True)).replace(" ", "") == "Tensor([1.],requires_grad=True)"


@pytest.mark.parametrize("dtype", ["float16", "float64", "int8", "int16", "int32", "uint8", "uint32", "uint64"])
def test_repr_names_every_other_dtype(dtype):
    """Every dtype but float32, int64 and bool is part of the repr, also beside requires_grad=True and without values."""
    for values in (np.zeros((1, 2), dtype), np.zeros(0, dtype), np.zeros((), dtype)):
        assert repr(Tensor(values)).endswith(f", dtype={dtype})")
        assert repr(Tensor(values, requires_grad=True)).endswith(f", dtype={dtype}, requires_grad=True)")


def test_ragged_lists_are_refused():
    """Rows of different lengths have no shape: a ValueError."""
    with rejects(ValueError):
        Tensor([[1.0, 2.0], [3.0]])


TIMES = [np.array([1], "timedelta64[s]"), np.timedelta64(1, "s"), np.array(["2000-01-01"], "datetime64[D]")]
RECORDS = np.zeros(2, [("x", np.float32), ("y", np.float32)])


@pytest.mark.parametrize("data", ["words", [None], [1j], {"a": 1}, None, b"bytes", ..., *TIMES, RECORDS], ids=repr)
def test_what_is_not_a_number_is_refused(data):
    """Strings, None, complex numbers, times and objects are a TypeError that names the dtype NumPy made of them."""
    with rejects(TypeError, str(np.asarray(data).dtype)):
        Tensor(data)


@pytest.mark.parametrize(("create", "value"), [(zeros, 0), (ones, 1)])
def test_zeros_and_ones_fill_a_shape(create, value):
    """zeros(shape) and ones(shape) are float32 unless told otherwise."""
    assert_close(create((2, 3)), np.full((2, 3), value))
    assert_dtype(create((2, 3)), np.float32)
    assert_dtype(create((2, 3), dtype=np.int64), np.int64)


def test_a_shape_may_have_no_axes():
    """zeros, ones, full and randn of shape () have one value and no axes."""
    rng = np.random.default_rng(0)
    for made, value in [(zeros(()), 0.0), (ones(()), 1.0), (full((), 2.5), 2.5), (randn((), rng), None)]:
        assert made.shape == ()
        assert_dtype(made, np.float32)
        assert value is None or made.item() == value


def test_full_fills_a_shape_with_a_value():
    """full(shape, value): a float gives float32, an integer int64, unless told otherwise."""
    assert_close(full((2, 3), 2.5), np.full((2, 3), 2.5))
    assert_dtype(full((2,), 2.5), np.float32)
    assert_dtype(full((2,), 2), np.int64)
    assert_dtype(full((2,), 0), np.int64)
    assert_dtype(full((2,), 0.0), np.float32)
    assert_dtype(full((2,), False), np.bool_)
    assert_dtype(full((2,), 2, dtype=np.float32), np.float32)


@pytest.mark.parametrize("value", [np.float64(2.5), np.float16(2.5), np.int8(2), np.True_], ids=repr)
def test_full_of_a_numpy_scalar_has_its_dtype(value):
    """full(shape, value) has the dtype of Tensor(value), which of a NumPy scalar is its own."""
    assert_dtype(full((2,), value), value.dtype)


def test_arange_counts():
    """arange(stop) counts from 0; arange(start, stop, step) as range does. Integers give int64, floats float32."""
    assert_close(arange(4), np.array([0, 1, 2, 3]))
    assert_close(arange(2, 9, 3), np.array([2, 5, 8]))
    assert_close(arange(0.0, 1.0, 0.25), [0, 0.25, 0.5, 0.75])
    assert_dtype(arange(4), np.int64)
    assert_dtype(arange(0.0, 1.0, 0.25), np.float32)


@pytest.mark.parametrize("bounds", [(0, 1, 0.25), (0.0, 1, 1), (0, 2.5), (0, -1, -0.5)])
def test_one_float_makes_arange_count_in_floats(bounds):
    """If start, stop or step is a float, the result is float32, with all that lies between the integers."""
    assert_dtype(arange(*bounds), np.float32)
    assert_close(arange(*bounds), np.arange(*map(float, bounds)))


def test_arange_of_nothing():
    """arange(0) has no values, nor has any that starts at its stop, or behind."""
    for bounds in ((0,), (3, 3), (3, 1), (-2,)):
        assert arange(*bounds).shape == (0,)


def test_creation_passes_requires_grad_on():
    """zeros, ones, full, arange and randn take requires_grad."""
    made = [zeros((2,), requires_grad=True), ones((2,), requires_grad=True), full((2,), 1.0, requires_grad=True)]
    made += [arange(0.0, 2.0, requires_grad=True), randn((2,), np.random.default_rng(0), requires_grad=True)]
    assert all(x.requires_grad for x in made)


def test_nothing_created_requires_a_gradient_unless_asked():
    """zeros, ones, full, arange and randn do not require a gradient unless told to."""
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
    """The same seed gives the same numbers, the next draw others, and NumPy's global state is left alone."""
    first, again = np.random.default_rng(5), np.random.default_rng(5)
    before = global_state()
    x = randn((3,), first)
    assert_close(randn((3,), again), x.data)
    assert not np.array_equal(randn((3,), first).data, x.data)
    assert global_state() == before, "NumPy's global generator was used"
