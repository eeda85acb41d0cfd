import numpy as np
import pytest
from katas.layers import Linear, Module, Parameter, Sequential
from katas.tensor import Tensor

from specs.check import assert_close, assert_dtype, rejects


class Net(Module):
    """Has two layers in a list, a parameter and a buffer of its own."""

    def __init__(self, seed: int = 0):
        rng = np.random.default_rng(seed)
        self.blocks = [Linear(5, 3, rng=rng), Linear(3, 2, bias=False, rng=rng)]
        self.scale = Parameter(rng.random(3, np.float32))
        self.register_buffer("mean", rng.random(2))

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks[1](self.blocks[0](x) * self.scale) - self.mean


NAMES = {"blocks.0.weight", "blocks.0.bias", "blocks.1.weight", "scale", "mean"}


def snapshot(net: Module) -> dict[str, np.ndarray]:
    """The current values of all parameters and buffers."""
    found = {name: parameter.data.copy() for name, parameter in net.named_parameters()}
    return found | {name: buffer.copy() for name, buffer in net.named_buffers()}


def check_same(net: Module, want: dict[str, np.ndarray]) -> None:
    """The parameters and buffers have these values, to the last bit."""
    for name, values in snapshot(net).items():
        assert np.array_equal(values, want[name]), f"{name}: expected\n{want[name]}\ngot\n{values}"


def test_the_state_is_every_parameter_and_buffer_by_name():
    """state_dict() maps the names of parameters and buffers to NumPy arrays of their values."""
    net = Net()
    state = net.state_dict()
    assert set(state) == NAMES
    assert {type(values) for values in state.values()} == {np.ndarray}
    for name, values in snapshot(net).items():
        assert_close(state[name], values, name=name)
        assert_dtype(state[name], values.dtype)


def test_a_saved_state_is_a_copy(draw):
    """state_dict() returns copies: later training in place doesn't change them, and changing them changes no network."""
    net = Net()
    state, want = net.state_dict(), snapshot(net)
    for parameter in net.parameters():
        parameter.data += 1
    net.mean += 1
    for name, values in want.items():
        assert_close(state[name], values, mistakes={"the saved state went on learning": values + 1}, name=name)
    later = snapshot(net)
    for values in state.values():
        values[...] = 99
    check_same(net, later)


class Counter(Module):
    """Has buffers of several dtypes."""

    def __init__(self):
        self.register_buffer("steps", np.array([1, 2]))
        self.register_buffer("bytes", np.uint8([1, 2]))
        self.register_buffer("small", np.int8([1, 2]))
        self.register_buffer("mask", np.array([True, False]))
        self.register_buffer("mean", np.float32([1.0, 2.0]))


class Odd(Module):
    """Has parameters and buffers of unusual shapes, dtypes and layouts."""

    def __init__(self):
        self.number, self.row, self.none = Parameter(3.0), Parameter([1.0]), Parameter(np.zeros((0, 3)))
        self.view = Parameter(np.arange(12.0))
        self.view.data = np.arange(24.0).reshape(4, 6)[::2, ::3].T
        self.register_buffer("steps", np.array(3))
        self.register_buffer("mask", np.array([[True], [False]]))
        self.register_buffer("empty", np.zeros(0, np.uint8))
        self.below = [Counter()]


def arrays(module: Module) -> dict[str, np.ndarray]:
    """The arrays of all parameters and buffers, not copies."""
    return {name: parameter.data for name, parameter in module.named_parameters()} | dict(module.named_buffers())


def test_a_saved_state_shares_no_array():
    """No array of state_dict() shares memory with the module or with a second state, whether it is 0-d, a view, or of any
    dtype.
    """
    net = Odd()
    state, other = net.state_dict(), net.state_dict()
    assert set(state) == set(arrays(net))
    for name, values in arrays(net).items():
        for saved in (state[name], other[name]):
            assert not np.shares_memory(saved, values), f"{name} is shared"
        assert not np.shares_memory(state[name], other[name]), f"{name} is shared by two states"
        assert isinstance(state[name], np.ndarray)
        assert_dtype(state[name], values.dtype)
        assert np.array_equal(state[name], values), name


def test_loading_fills_the_arrays_that_are_there():
    """Loading writes new values into the arrays of all parameters and buffers, 0-d arrays and views included; it doesn't
    replace the arrays.
    """
    net, other = Odd(), Odd()
    for name, values in arrays(other).items():
        values[...] = 1 - values if values.dtype != bool else ~values
        assert not values.size or not np.array_equal(values, arrays(net)[name])
    before = arrays(net)
    net.load_state_dict(other.state_dict())
    for name, values in arrays(net).items():
        assert values is before[name], f"{name} is another array now"
        assert np.array_equal(values, arrays(other)[name]), f"{name}: got {values}"


def test_integers_without_values_fit_any_integers():
    """An empty array holds no value that could be out of range: an empty int64 array can be loaded into uint8, for example."""
    net = Odd()
    net.load_state_dict(net.state_dict())
    for dtype in (np.int64, np.int8, np.uint64):
        net.load_state_dict(net.state_dict() | {"empty": np.zeros(0, dtype)})
    assert_dtype(net.empty, np.uint8)
    with rejects(ValueError, "empty", "float64", "uint8"):
        net.load_state_dict(net.state_dict() | {"empty": np.zeros(0)})


@pytest.mark.parametrize(
    ("own", "values"),
    [
        (np.float32, np.array([1.0, 1e300])),
        (np.float32, np.array([np.nan, -1e39])),
        (np.float32, np.array([np.inf, 1e39])),
        (np.float16, np.float32([1.0, 7e4])),
        (np.float16, np.array([0, -70_000])),
    ],
    ids=str,
)
def test_finite_values_that_would_become_infinite_are_refused(own, values):
    """A float beyond the range of the array's dtype, or an integer beyond the range of float16, raises a ValueError whose
    message contains the name and both dtypes; nothing is changed.
    """
    net = Module()
    net.first, net.last = Parameter([1.0, 2.0]), Parameter(np.array([1.0, 2.0], own))
    want = snapshot(net)
    with rejects(ValueError, "last", str(values.dtype), np.dtype(own).name):
        net.load_state_dict({"first": [3.0, 4.0], "last": values})
    check_same(net, want)


@pytest.mark.parametrize("own", [np.float16, np.float32, np.float64])
def test_infinity_and_nan_are_loaded(own):
    """Infinity and NaN can be loaded into every float dtype, and small values may be rounded to 0."""
    net = Module()
    net.a = Parameter(np.zeros(5, own))
    for dtype in (np.float16, np.float32, np.float64):
        given = np.array([np.inf, -np.inf, np.nan, -0.0, 6e4], dtype)
        net.load_state_dict({"a": given})
        assert np.array_equal(net.a.data, given.astype(own), equal_nan=True), f"got {net.a.data}"
        assert np.signbit(net.a.data).tolist()[3]
    net.load_state_dict({"a": np.full(5, 1e-300)})
    assert_dtype(net.a, own)
    assert abs(net.a.data).max() <= 1e-300


def test_loading_restores_the_network(draw):
    """After load_state_dict(state), a second network computes the same as the saved one."""
    net, other, x = Net(0), Net(1), Tensor(draw.normal(4, 5, dtype=np.float32))
    other.load_state_dict(net.state_dict())
    check_same(other, snapshot(net))
    assert_close(other(x), net(x).data)


def test_loading_works_in_place():
    """The Parameters and their arrays stay the same objects: an optimizer holds the Parameters, and views share the arrays."""
    net, state = Net(0), Net(1).state_dict()
    parameters, arrays, mean = net.parameters(), [parameter.data for parameter in net.parameters()], net.mean
    net.load_state_dict(state)
    assert [id(parameter) for parameter in net.parameters()] == [id(parameter) for parameter in parameters]
    assert [id(parameter.data) for parameter in parameters] == [id(array) for array in arrays], "data is another array now"
    assert_close(arrays[0], state["blocks.0.weight"])
    assert_close(mean, state["mean"])


def test_a_loaded_state_is_copied():
    """load_state_dict() copies the arrays: changing the state afterwards doesn't change the network."""
    net, state = Net(0), Net(1).state_dict()
    net.load_state_dict(state)
    want = snapshot(net)
    for values in state.values():
        values += 1
    check_same(net, want)


def test_two_networks_loaded_from_one_state_are_two():
    """Two networks loaded from the same state share no arrays: training one doesn't change the other."""
    first, second, state = Net(0), Net(1), Net(2).state_dict()
    first.load_state_dict(state)
    second.load_state_dict(state)
    first.scale.data += 1
    assert_close(second.scale, state["scale"])


def test_loading_keeps_the_dtype(draw):
    """A float32 network stays float32 and rounds the float64 values that it loads; a float64 buffer stays float64."""
    net = Net()
    net.load_state_dict({name: draw.normal(*values.shape) for name, values in net.state_dict().items()})
    for parameter in net.parameters():
        assert_dtype(parameter, np.float32)
    assert_dtype(net.mean, np.float64)


def test_arrays_and_tensors_can_be_loaded(draw):
    """A state may hold arrays, even read-only ones, or Tensors, in any order."""
    net = Net()
    state = {name: draw.normal(*values.shape) for name, values in reversed(net.state_dict().items())}
    net.load_state_dict(state)
    for name, values in snapshot(net).items():
        assert_close(values.astype(np.float32), state[name], name=name)
    net.load_state_dict({name: Tensor(values + 1) for name, values in state.items()})
    for name, values in snapshot(net).items():
        assert_close(values.astype(np.float32), state[name] + 1, name=name)


def test_a_shared_parameter_is_saved_once():
    """A tied weight is in the state once, under its first name, and stays tied when the state is loaded."""
    net, other = Net(0), Net(1)
    net.head, other.head = Linear(5, 3), Linear(5, 3)
    net.head.weight, other.head.weight = net.blocks[0].weight, other.blocks[0].weight
    assert set(net.state_dict()) == NAMES | {"head.bias"}
    other.load_state_dict(net.state_dict())
    assert other.head.weight is other.blocks[0].weight
    assert_close(other.head.weight, net.blocks[0].weight.data)


def test_a_buffer_that_was_bound_anew_is_saved():
    """If a new array was assigned to a buffer's attribute, state_dict() saves the new one."""
    net, other = Net(0), Net(1)
    net.mean = net.mean * 0.9 + 5
    assert_close(net.state_dict()["mean"], net.mean)
    other.mean = np.zeros(2)
    other.load_state_dict(net.state_dict())
    assert_close(other.mean, net.mean)


def test_own_arrays_can_be_exchanged():
    """A state may hold the module's own arrays under each other's names, whole or as views: all are read before any write."""
    pair = Module()
    pair.a, pair.b = Parameter([1.0, 2.0]), Parameter([3.0, 4.0])
    pair.register_buffer("c", np.float32([5.0, 6.0]))
    pair.load_state_dict({"a": pair.b.data, "b": pair.c[::-1], "c": pair.a})
    assert_close(pair.a, [3.0, 4.0])
    assert_close(pair.b, [6.0, 5.0])
    assert_close(pair.c, [1.0, 2.0], mistakes={"read after it was changed": [3.0, 4.0]})


def test_parameters_that_are_views_of_one_array_can_be_loaded():
    """Two parameters may be views of the same array, and the state may hold other views of it: loading reads all of them before
    it writes.
    """
    pair, flat = Module(), np.arange(4.0, dtype=np.float32)
    pair.a, pair.b = Parameter([0.0, 0.0]), Parameter([0.0, 0.0])
    pair.a.data, pair.b.data = flat[:2], flat[2:]
    pair.load_state_dict({"a": flat[1:3], "b": flat[:2]})
    assert_close(flat, [1.0, 2.0, 0.0, 1.0])


@pytest.mark.parametrize(
    ("name", "values", "dtypes"),
    [
        ("steps", np.array([300.0, 0.5]), ("float64", "int64")),
        ("steps", np.float32([3.0, 4.0]), ("float32", "int64")),
        ("bytes", np.array([300.0, 0.5]), ("float64", "uint8")),
        ("bytes", np.array([300, 1]), ("int64", "uint8")),
        ("small", np.array([1, -129]), ("int64", "int8")),
        ("steps", np.array([0, 2**63], np.uint64), ("uint64", "int64")),
        ("mask", np.array([2, 0]), ("int64", "bool")),
        ("mask", np.array([0.5, 0.0]), ("float64", "bool")),
    ],
    ids=lambda value: " to ".join(value) if isinstance(value, tuple) else "",
)
def test_values_that_an_array_can_not_hold_are_refused(name, values, dtypes):
    """Floats for an integer array, integers beyond its dtype's range, and anything but booleans for a boolean array raise a
    ValueError whose message contains the name and both dtypes: 300 would become 44. Nothing is changed.
    """
    net = Counter()
    want = snapshot(net)
    with rejects(ValueError, name, *dtypes):
        net.load_state_dict(net.state_dict() | {name: values, "mean": np.zeros(2)})
    check_same(net, want)


def test_values_that_an_array_can_hold_are_loaded():
    """Integers can be loaded into any integer array that can hold them, numbers of every dtype into float arrays, booleans into
    all arrays.
    """
    net = Counter()
    net.load_state_dict(
        {"steps": np.uint8([3, 4]), "bytes": [255, 0], "small": [-128, 127], "mask": [False, True], "mean": [7, 8]}
    )
    for name, want in {"steps": [3, 4], "bytes": [255, 0], "small": [-128, 127], "mask": [0, 1], "mean": [7.0, 8.0]}.items():
        assert_close(getattr(net, name).astype(np.float64), np.array(want, np.float64), name=name)
    net.load_state_dict(net.state_dict() | {"mean": np.array([0.1, 0.2]), "steps": np.array([True, False])})
    assert_close(net.mean, np.float32([0.1, 0.2]))
    assert net.steps.tolist() == [1, 0]


@pytest.mark.parametrize("name", ["steps", "bytes", "small", "mask", "mean"])
@pytest.mark.parametrize("fault", ["dtype", "shape", "missing"])
def test_nothing_is_loaded_if_anything_does_not_fit(name, fault):
    """If one array doesn't fit, no array is changed, whether it comes before or after the wrong one in the module or in the
    state.
    """
    net = Counter()
    want, good = snapshot(net), {"steps": [3, 4], "bytes": [3, 4], "small": [3, 4], "mask": [False, True], "mean": [3.0, 4.0]}
    for names in (list(good), list(reversed(good))):
        state = {key: np.array(good[key]) for key in names if key != name or fault != "missing"}
        if fault == "dtype":
            state[name] = np.array([0.5, 1e300])
        elif fault == "shape":
            state[name] = state[name][:1]
        with rejects(ValueError, name):
            net.load_state_dict(state)
        check_same(net, want)


def test_dtypes_are_listed_with_all_else_that_is_wrong():
    """One error lists wrong dtypes together with missing names, unexpected names and wrong shapes."""
    net = Counter()
    state = net.state_dict() | {"bytes": np.array([0.5, 1.0]), "small": np.zeros(7), "extra": np.zeros(1)}
    del state["mask"]
    with rejects(ValueError, "bytes", "uint8", "small", "(7,)", "int8", "extra", "mask"):
        net.load_state_dict(state)


@pytest.mark.parametrize("name", sorted(NAMES))
def test_what_is_missing_is_named(name):
    """A state that lacks a name raises a ValueError whose message contains the name; nothing is changed."""
    net, state = Net(0), Net(1).state_dict()
    want = snapshot(net)
    del state[name]
    with rejects(ValueError, name):
        net.load_state_dict(state)
    check_same(net, want)


def test_what_is_unexpected_is_named():
    """A name that the network doesn't have raises a ValueError whose message contains the name; nothing is changed."""
    net, state = Net(0), Net(1).state_dict()
    want = snapshot(net)
    with rejects(ValueError, "blocks.7.weight"):
        net.load_state_dict(state | {"blocks.7.weight": np.zeros(3)})
    check_same(net, want)


@pytest.mark.parametrize("shape", [(1,), (), (4,), (3, 1), (1, 3)], ids=str)
@pytest.mark.parametrize("name", ["blocks.0.bias", "scale"])
def test_another_shape_is_named(name, shape):
    """A different shape, even one that could be broadcast, raises a ValueError whose message contains the name and both shapes;
    nothing is changed.
    """
    net, state = Net(0), Net(1).state_dict()
    want = snapshot(net)
    with rejects(ValueError, name, str(shape), "(3,)"):
        net.load_state_dict(state | {name: np.ones(shape)})
    check_same(net, want)


def test_all_that_is_wrong_is_listed_at_once():
    """One error lists every missing name, unexpected name and wrong shape, so you don't fix one only to find the next."""
    net, state = Net(0), Net(1).state_dict()
    want = snapshot(net)
    del state["blocks.0.weight"], state["mean"]
    state |= {"extra": np.zeros(3), "blocks.9.bias": np.zeros(1), "scale": np.zeros(7), "blocks.0.bias": np.zeros((2, 6))}
    with rejects(
        ValueError, "blocks.0.weight", "mean", "extra", "blocks.9.bias", "scale", "(7,)", "(3,)", "blocks.0.bias", "(2, 6)"
    ):
        net.load_state_dict(state)
    check_same(net, want)


def test_a_state_goes_through_a_file(tmp_path, draw):
    """A state can be saved and loaded with NumPy as it is."""
    net, other = Sequential(Linear(5, 3), Linear(3, 2)), Sequential(Linear(5, 3), Linear(3, 2))
    np.savez(tmp_path / "net.npz", **net.state_dict())
    with np.load(tmp_path / "net.npz") as state:
        other.load_state_dict(dict(state))
    check_same(other, snapshot(net))


def test_loading_takes_no_room(budget):
    """Loading copies the values straight into the network's arrays: it allocates no second 1 MB array."""
    net = Linear(500, 500)
    state = net.state_dict()
    budget.bytes(lambda: net.load_state_dict(state), peak=100_000)


def test_a_state_that_is_loaded_is_left_alone():
    """load_state_dict() leaves the caller's dict alone: it still holds the same arrays, even if they are the module's own."""
    pair = Module()
    pair.a, pair.b = Parameter([1.0, 2.0]), Parameter([3.0, 4.0])
    state = {"a": pair.b.data, "b": pair.a.data}
    before = dict(state)
    pair.load_state_dict(state)
    assert list(state) == ["a", "b"]
    assert all(state[name] is before[name] for name in state)


def test_an_empty_state_lacks_everything():
    """The empty state {} lacks every name, and one ValueError lists them all. It fits only a module without parameters."""
    with rejects(ValueError, *NAMES):
        Net().load_state_dict({})
    Module().load_state_dict({})


@pytest.mark.parametrize("name", ["_x", "0", "", "scale."])
def test_any_name_that_the_module_lacks_is_unexpected(name):
    """A private, empty or similar name is unexpected, too, if the module doesn't have it."""
    net = Net()
    with rejects(ValueError, name):
        net.load_state_dict(net.state_dict() | {name: np.zeros(3)})


def test_loading_changes_values_alone():
    """Loading changes only values: gradients and the mode stay the same. Booleans are loaded into floats as 0 and 1."""
    net = Net().eval()
    net.scale.grad = np.ones(3, np.float32)
    net.load_state_dict(net.state_dict() | {"scale": np.array([True, False, True])})
    assert_close(net.scale, [1.0, 0.0, 1.0])
    assert_close(net.scale.grad, np.ones(3))
    assert [module.training for module in net.modules()] == [False] * 3
