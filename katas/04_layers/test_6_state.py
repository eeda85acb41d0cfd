import numpy as np
import pytest
from katas.layers import Linear, Module, Parameter, Sequential
from katas.tensor import Tensor

from specs.check import assert_close, assert_dtype, rejects


class Net(Module):
    """Two layers in a list, a parameter and a buffer of its own."""

    def __init__(self, seed: int = 0):
        rng = np.random.default_rng(seed)
        self.blocks = [Linear(5, 3, rng=rng), Linear(3, 2, bias=False, rng=rng)]
        self.scale = Parameter(rng.random(3, np.float32))
        self.register_buffer("mean", rng.random(2))

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks[1](self.blocks[0](x) * self.scale) - self.mean


NAMES = {"blocks.0.weight", "blocks.0.bias", "blocks.1.weight", "scale", "mean"}


def snapshot(net: Module) -> dict[str, np.ndarray]:
    """The values of all parameters and buffers now."""
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
    """Training goes on in place; the state that was saved stays what it was, and changing it changes no network."""
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


def test_loading_restores_the_network(draw):
    """load_state_dict(state) makes another network compute what the saved one did."""
    net, other, x = Net(0), Net(1), Tensor(draw.normal(4, 5, dtype=np.float32))
    other.load_state_dict(net.state_dict())
    check_same(other, snapshot(net))
    assert_close(other(x), net(x).data)


def test_loading_works_in_place():
    """The Parameters and their arrays stay the same objects: an optimizer holds on to the former, views to the latter."""
    net, state = Net(0), Net(1).state_dict()
    parameters, arrays, mean = net.parameters(), [parameter.data for parameter in net.parameters()], net.mean
    net.load_state_dict(state)
    assert [id(parameter) for parameter in net.parameters()] == [id(parameter) for parameter in parameters]
    assert [id(parameter.data) for parameter in parameters] == [id(array) for array in arrays], "data is another array now"
    assert_close(arrays[0], state["blocks.0.weight"])
    assert_close(mean, state["mean"])


def test_a_loaded_state_is_copied():
    """What is loaded stays its owner's: the network learns on, and the state is what it was."""
    net, state = Net(0), Net(1).state_dict()
    net.load_state_dict(state)
    want = snapshot(net)
    for values in state.values():
        values += 1
    check_same(net, want)


def test_two_networks_loaded_from_one_state_are_two():
    """What one of them learns does not reach the other."""
    first, second, state = Net(0), Net(1), Net(2).state_dict()
    first.load_state_dict(state)
    second.load_state_dict(state)
    first.scale.data += 1
    assert_close(second.scale, state["scale"])


def test_loading_keeps_the_dtype(draw):
    """float64 values are rounded into a float32 network, which stays float32; a float64 buffer stays float64."""
    net = Net()
    net.load_state_dict({name: draw.normal(*values.shape) for name, values in net.state_dict().items()})
    for parameter in net.parameters():
        assert_dtype(parameter, np.float32)
    assert_dtype(net.mean, np.float64)


def test_arrays_and_tensors_can_be_loaded(draw):
    """A state may hold arrays, read-only ones too, or Tensors, in any order."""
    net = Net()
    state = {name: draw.normal(*values.shape) for name, values in reversed(net.state_dict().items())}
    net.load_state_dict(state)
    for name, values in snapshot(net).items():
        assert_close(values.astype(np.float32), state[name], name=name)
    net.load_state_dict({name: Tensor(values + 1) for name, values in state.items()})
    for name, values in snapshot(net).items():
        assert_close(values.astype(np.float32), state[name] + 1, name=name)


def test_a_shared_parameter_is_saved_once():
    """A tied weight stands in the state under its first name, and stays tied when it is loaded."""
    net, other = Net(0), Net(1)
    net.head, other.head = Linear(5, 3), Linear(5, 3)
    net.head.weight, other.head.weight = net.blocks[0].weight, other.blocks[0].weight
    assert set(net.state_dict()) == NAMES | {"head.bias"}
    other.load_state_dict(net.state_dict())
    assert other.head.weight is other.blocks[0].weight
    assert_close(other.head.weight, net.blocks[0].weight.data)


def test_a_buffer_that_was_bound_anew_is_saved():
    """What counts is the value that the attribute has now."""
    net, other = Net(0), Net(1)
    net.mean = net.mean * 0.9 + 5
    assert_close(net.state_dict()["mean"], net.mean)
    other.mean = np.zeros(2)
    other.load_state_dict(net.state_dict())
    assert_close(other.mean, net.mean)


@pytest.mark.parametrize("name", sorted(NAMES))
def test_what_is_missing_is_named(name):
    """A state without one of the names is a ValueError that names it; nothing is changed."""
    net, state = Net(0), Net(1).state_dict()
    want = snapshot(net)
    del state[name]
    with rejects(ValueError, name):
        net.load_state_dict(state)
    check_same(net, want)


def test_what_is_unexpected_is_named():
    """A name that the network does not have is a ValueError that names it; nothing is changed."""
    net, state = Net(0), Net(1).state_dict()
    want = snapshot(net)
    with rejects(ValueError, "blocks.7.weight"):
        net.load_state_dict(state | {"blocks.7.weight": np.zeros(3)})
    check_same(net, want)


@pytest.mark.parametrize("shape", [(1,), (), (4,), (3, 1), (1, 3)], ids=str)
@pytest.mark.parametrize("name", ["blocks.0.bias", "scale"])
def test_another_shape_is_named(name, shape):
    """A shape that differs, be it one that could be broadcast, is a ValueError with the name and both shapes; nothing is
    changed.
    """
    net, state = Net(0), Net(1).state_dict()
    want = snapshot(net)
    with rejects(ValueError, name, str(shape), "(3,)"):
        net.load_state_dict(state | {name: np.ones(shape)})
    check_same(net, want)


def test_all_that_is_wrong_is_listed_at_once():
    """One error lists every missing, unexpected and wrongly shaped name: nobody has to mend them one by one."""
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
    """NumPy saves and loads a state as it is."""
    net, other = Sequential(Linear(5, 3), Linear(3, 2)), Sequential(Linear(5, 3), Linear(3, 2))
    np.savez(tmp_path / "net.npz", **net.state_dict())
    with np.load(tmp_path / "net.npz") as state:
        other.load_state_dict(dict(state))
    check_same(other, snapshot(net))


def test_loading_takes_no_room(budget):
    """The values go straight into the network's arrays: a megabyte is loaded without a second one."""
    net = Linear(500, 500)
    state = net.state_dict()
    budget.bytes(lambda: net.load_state_dict(state), peak=100_000)
