import numpy as np
import pytest
from katas.layers import Dropout, Flatten, Linear, Module, Parameter, Sequential
from katas.tensor import Tensor

from specs import oracles
from specs.check import assert_close, assert_dtype, assert_gradient, recording, rejects


class Affine:
    """Computes factor · x + shift: a layer that isn't a Module. It logs every call."""

    def __init__(self, factor: float, shift: float, log: list | None = None):
        self.factor, self.shift, self.log = factor, shift, [] if log is None else log

    def forward(self, x: Tensor) -> Tensor:
        self.log.append(("forward", self.factor))
        return x * self.factor + self.shift

    def backward(self, grad: np.ndarray) -> np.ndarray:
        self.log.append(("backward", self.factor))
        return grad * self.factor


class Square:
    """Computes x²."""

    def forward(self, x: Tensor) -> Tensor:
        self.x = x.data
        return x * x

    def backward(self, grad: np.ndarray) -> np.ndarray:
        return 2 * self.x * grad


class Deaf(Affine):
    """A layer whose backward returns None: its input needs no gradient."""

    def backward(self, grad: np.ndarray) -> None:
        super().backward(grad)


def network(draw) -> Sequential:
    """5 → 4 → 3 with a nonlinearity between, in float64."""
    stack = Sequential(Linear(5, 4), Square(), Linear(4, 3))
    for parameter in stack.parameters():
        parameter.data = draw.normal(*parameter.shape)
    return stack


def network_oracle(x, w1, b1, w2, b2) -> np.ndarray:
    return oracles.layers.linear(oracles.layers.linear(x, w1, b1) ** 2, w2, b2)


def test_layers_run_one_after_another(draw):
    """Sequential(f, g)(x) is g(f(x)). A layer is anything with forward and backward."""
    x = draw.normal(2, 3)
    stack = Sequential(Affine(2.0, 1.0), Square(), Affine(5.0, 3.0))
    want = 5 * (2 * x + 1) ** 2 + 3
    mistakes = {"the layers run in reverse": 2 * (5 * x + 3) ** 2 + 1, "only the last layer": 5 * x + 3}
    assert_close(stack(Tensor(x)), want, mistakes=mistakes | {"only the first layer": 2 * x + 1})


def test_an_empty_stack_changes_nothing(draw):
    """An empty Sequential() returns x from forward and grad from backward, unchanged."""
    x, grad, stack = draw.normal(2, 3), draw.normal(2, 3), Sequential()
    assert_close(stack(Tensor(x)), x)
    assert_close(stack.backward(grad), grad)
    assert len(stack) == 0


def test_a_stack_is_a_sequence(draw):
    """len(), indexing (negative too) and iteration give the layers themselves; `layers` is the list of the layers."""
    layers = [Affine(1.0, 0.0), Square(), Linear(5, 4)]
    stack = Sequential(*layers)
    assert len(stack) == 3
    assert [stack[0], stack[1], stack[-1]] == layers
    assert list(stack) == layers
    assert stack.layers == layers
    with rejects(IndexError):
        stack[3]


def test_a_layer_of_a_stack_can_be_replaced(draw):
    """Changing the list `layers` changes the network: forward, backward and parameters() follow."""
    x, stack = draw.normal(2, 5), Sequential(Linear(5, 4), Affine(2.0, 1.0))
    stack(Tensor(x))
    stack.layers[0] = Affine(3.0, 0.0)
    stack.layers.append(Square())
    assert_close(stack(Tensor(x)), (6 * x + 1) ** 2)
    assert_close(stack.backward(np.ones((2, 5))), 2 * (6 * x + 1) * 6)
    assert stack.parameters() == []
    stack.layers = [Linear(5, 2), Square()]
    assert len(stack) == 2
    assert_close(stack(Tensor(x)), stack.layers[0](Tensor(x)).data ** 2)
    assert [name for name, _ in stack.named_parameters()] == ["0.weight", "0.bias"]


def test_the_layers_have_numbers_for_names():
    """Names are "0.weight", as in PyTorch. Layers without parameters count too, and names in nested Sequentials have two
    numbers.
    """
    stack = Sequential(Linear(5, 4), Square(), Sequential(Square(), Linear(4, 3, bias=False)), Linear(3, 2))
    names = [name for name, _ in stack.named_parameters()]
    assert names == ["0.weight", "0.bias", "2.1.weight", "3.weight", "3.bias"]
    assert len(stack.modules()) == 5


def test_only_a_sequential_numbers_its_layers():
    """Names of buffers start with the layer's number too. A different kind of module with an attribute `layers` keeps "layers"
    in its names.
    """

    class Other(Module):
        def __init__(self):
            self.layers = [Linear(2, 3)]

        def forward(self, x: Tensor) -> Tensor:
            return self.layers[0](x)

    stack = Sequential(Other(), Linear(3, 2))
    stack[1].register_buffer("mean", np.zeros(2))
    names = [name for name, _ in stack.named_parameters()]
    assert names == ["0.layers.0.weight", "0.layers.0.bias", "1.weight", "1.bias"]
    assert [name for name, _ in stack.named_buffers()] == ["1.mean"]


def test_a_subclass_may_hold_more_than_layers():
    """Parameters that are attributes of a subclass of Sequential are found, as well as its layers."""

    class Scaled(Sequential):
        def __init__(self, *layers):
            super().__init__(*layers)
            self.scale = Parameter([1.0])

    assert [name for name, _ in Scaled(Linear(5, 4)).named_parameters()] == ["0.weight", "0.bias", "scale"]


def test_the_layers_of_a_subclass_come_where_they_were_defined():
    """The order is the order of definition here too: attributes that a subclass sets before super().__init__(...) come before
    the layers.
    """

    class Scaled(Sequential):
        def __init__(self, *layers):
            self.scale = Parameter([1.0])
            self.norm = Linear(2, 2, bias=False)
            super().__init__(*layers)
            self.shift = Parameter([1.0])

    stack = Scaled(Linear(5, 4), Sequential(Linear(4, 3)))
    names = [name for name, _ in stack.named_parameters()]
    assert names == ["scale", "norm.weight", "0.weight", "0.bias", "1.0.weight", "1.0.bias", "shift"]
    assert stack.modules() == [stack, stack.norm, stack[0], stack[1], stack[1][0]]


def test_train_and_eval_reach_the_layers():
    """eval() of a Sequential sets all its layers to evaluation."""
    stack = Sequential(Linear(5, 4), Sequential(Dropout(), Square()))
    stack.eval()
    assert not stack[0].training
    assert not stack[1][0].training


NO_LAYERS = {"list": [Square()], "class": Square, "None": None, "function": np.tanh}


@pytest.mark.parametrize("given", NO_LAYERS.values(), ids=NO_LAYERS)
def test_what_is_no_layer_is_refused(given):
    """Sequential raises a TypeError for a list of layers, a class instead of its instance, None or a function; the message
    contains it.
    """
    with rejects(TypeError, repr(given)):
        Sequential(Square(), given)


def test_backward_runs_through_the_stack_from_the_end(draw):
    """Sequential.backward(grad) passes each layer the gradient that the layer after it returned: the chain rule."""
    stack, x, grad = network(draw), draw.normal(2, 5), draw.normal(2, 3)
    stack(Tensor(x, requires_grad=True))
    parameters = [parameter.data for parameter in stack.parameters()]
    assert_gradient(stack.backward(grad), lambda x: network_oracle(x, *parameters), x, grad, name="x")
    for index, (name, parameter) in enumerate(stack.named_parameters()):

        def output(values, index=index):
            return network_oracle(x, *parameters[:index], values, *parameters[index + 1 :])

        assert_gradient(parameter.grad, output, parameter.data, grad, name=name)


def test_every_layer_is_asked_once(draw):
    """A Sequential's forward and backward call each layer's forward and backward once, the backward ones in reverse."""
    log = []
    stack = Sequential(Affine(2.0, 0.0, log), Affine(3.0, 0.0, log), Affine(5.0, 0.0, log))
    stack(Tensor(draw.normal(2, 3), requires_grad=True))
    stack.backward(draw.normal(2, 3))
    assert log == [(way, factor) for way, order in (("forward", (2, 3, 5)), ("backward", (5, 3, 2))) for factor in order]


def test_backward_stops_where_no_gradient_is_wanted(draw):
    """If a layer's backward returns None, Sequential.backward returns None at once and doesn't call the layers before it."""
    log = []
    stack = Sequential(Affine(2.0, 0.0, log), Deaf(3.0, 0.0, log), Affine(5.0, 0.0, log))
    stack(Tensor(draw.normal(2, 3)))
    log.clear()
    assert stack.backward(draw.normal(2, 3)) is None
    assert log == [("backward", 5.0), ("backward", 3.0)]


@pytest.mark.parametrize("shape", [(2, 3), (0, 3)], ids=["zeros", "no rows"])
def test_a_gradient_of_zeros_runs_through_the_stack(shape):
    """A gradient of zeros or without values is a gradient too: every layer's backward is called, and zeros in the input's shape
    come back.
    """
    stack = Sequential(Linear(5, 4), Linear(4, 3))
    stack(Tensor(np.ones((shape[0], 5), np.float32), requires_grad=True))
    assert_close(stack.backward(np.zeros(shape, np.float32)), np.zeros((shape[0], 5)))
    missing = [name for name, parameter in stack.named_parameters() if parameter.grad is None]
    assert not missing, f"without a gradient: {', '.join(missing)}"


def test_data_need_no_gradient_but_hidden_layers_do(draw):
    """The input does not require a gradient, so backward returns None. All parameters still get one: each Linear's output
    requires a gradient, so the next Linear returns its input gradient.
    """
    stack, x, grad = network(draw), draw.normal(2, 5), draw.normal(2, 3)
    stack(Tensor(x))
    assert stack.backward(grad) is None
    missing = [name for name, parameter in stack.named_parameters() if parameter.grad is None]
    assert not missing, f"without a gradient: {', '.join(missing)}"


def test_flatten_makes_one_axis_of_many(draw):
    """Flatten() turns (batch, a, b) into (batch, a·b), in row-major order. It keeps the batch axis."""
    x = draw.normal(2, 3, 4)
    mistakes = {"column by column": x.reshape(2, -1, order="F"), "the batch is flattened too": x.reshape(-1)}
    assert_close(Flatten()(Tensor(x)), x.reshape(2, 12), mistakes=mistakes)


@pytest.mark.parametrize(
    ("start", "shape"), [(0, (120,)), (1, (2, 60)), (2, (2, 3, 20)), (-1, (2, 3, 4, 5)), (-2, (2, 3, 20)), (-4, (120,))]
)
def test_flatten_begins_where_it_is_told(start, shape, draw):
    """Flatten(start_dim) keeps the axes before start_dim; a negative start_dim counts from the end."""
    x, flatten = draw.normal(2, 3, 4, 5), Flatten(start_dim=start)
    assert_close(flatten(Tensor(x)), x.reshape(shape))
    grad = draw.normal(*shape)
    assert_close(flatten.backward(grad), grad.reshape(2, 3, 4, 5))


@pytest.mark.parametrize("start", [-2, -1, 0, 1])
def test_flatten_takes_inputs_of_any_number_of_axes(start, draw):
    """start_dim is applied to each input's own axes. As an attribute it keeps the given value and may be changed."""
    flatten = Flatten(start)
    for shape in ((2, 3, 4, 5), (2, 3), (2, 3, 4), (2, 3, 4, 5)):
        x = draw.normal(*shape)
        assert_close(flatten(Tensor(x)), x.reshape(*shape[:start], int(np.prod(shape[start:]))))
    assert flatten.start_dim == start
    flatten.start_dim = 2
    assert_close(flatten(Tensor(x)), x.reshape(2, 3, 20))


@pytest.mark.parametrize("shape", [(2, 5), (0, 3, 4)], ids=str)
def test_flatten_of_a_flat_or_an_empty_batch(shape):
    """Flatten() leaves (batch, n) as it is; a batch of no images becomes (0, a·b)."""
    assert Flatten()(Tensor(np.zeros(shape))).shape == (shape[0], int(np.prod(shape[1:])))


@pytest.mark.parametrize(("start", "shape"), [(1, (5,)), (2, (3, 4)), (3, (3, 4)), (-3, (3, 4)), (0, ())], ids=str)
def test_flatten_needs_the_axis_it_begins_at(start, shape):
    """An input without an axis start_dim raises a ValueError whose message contains the layer and the shape."""
    with rejects(ValueError, f"Flatten(start_dim={start})", str(shape)):
        Flatten(start)(Tensor(np.zeros(shape)))


def test_flatten_copies_nothing():
    """Flatten's output is a view of the input."""
    x = Tensor(np.zeros((2, 3, 4), np.float32))
    assert np.shares_memory(Flatten()(x).data, x.data)


def test_flatten_checks_what_comes_back(draw):
    """backward before forward raises a RuntimeError; a grad that doesn't have the output's shape raises a ValueError whose
    message contains both shapes.
    """
    flatten = Flatten()
    with rejects(RuntimeError, "forward"):
        flatten.backward(np.zeros((2, 12)))
    flatten(Tensor(draw.normal(2, 3, 4)))
    with rejects(ValueError, "(3, 8)", "(2, 12)"):
        flatten.backward(np.zeros((3, 8)))


def test_float32_stays_float32_through_a_stack(draw):
    """For a float32 input, the output, the input gradient and all parameters' gradients are float32."""
    stack = Sequential(Flatten(), Linear(12, 4), Dropout(0.3), Linear(4, 3))
    assert_dtype(stack(Tensor(draw.normal(2, 3, 4, dtype=np.float32), requires_grad=True)), np.float32)
    assert_dtype(stack.backward(draw.normal(2, 3, dtype=np.float32)), np.float32)
    for parameter in stack.parameters():
        assert_dtype(parameter.grad, np.float32)


def test_the_record_leads_through_the_whole_stack(draw):
    """The graph connects the output with the input and every parameter, through Flatten and Dropout too."""
    stack, x = Sequential(Flatten(), Linear(12, 4), Dropout(), Linear(4, 3)), Tensor(draw.normal(2, 3, 4))
    with recording() as probe:
        y = stack(x)
    for name, tensor in [("x", x), *stack.named_parameters()]:
        assert probe.reaches(y, tensor), f"the chain from the output does not reach {name}"


def test_no_activations_are_held_while_operations_are_recorded(budget):
    """While operations are recorded, the layers save nothing for backward: the graph holds it already."""
    stack = Sequential(Linear(100, 200), Dropout(), Linear(200, 100))

    def forward():
        with recording():
            stack(Tensor(np.ones((500, 100), np.float32)))

    budget.bytes(forward, retained=20_000)


def test_a_module_goes_into_a_stack(draw):
    """Your own Module is a layer like any other; only its forward and backward are called."""

    class Double(Module):
        def forward(self, x):
            return x * 2

        def backward(self, grad):
            return grad * 2

    x, stack = draw.normal(2, 3), Sequential(Double(), Double())
    assert_close(stack(Tensor(x)), 4 * x)
    assert_close(stack.backward(x), 4 * x)


def test_a_layer_may_be_listed_twice(draw):
    """A layer that is listed twice runs twice, forward and backward, but counts once as a module."""
    x, double, linear = draw.normal(2, 3), Affine(2.0, 1.0), Linear(3, 3)
    stack = Sequential(double, linear, double)
    linear.weight.data, linear.bias.data = np.eye(3), np.zeros(3)
    assert_close(stack(Tensor(x, requires_grad=True)), 4 * x + 3)
    assert_close(stack.backward(x), 4 * x)
    assert len(stack.modules()) == 2


def test_flatten_follows_the_axes_not_the_memory(draw):
    """Flatten follows the order of the indices, not of memory: images with permuted axes are flattened as a contiguous copy
    would be.
    """
    x = np.array(draw.normal(2, 4, 5, 3)).transpose(0, 3, 1, 2)
    assert_close(
        Flatten()(Tensor(x)), x.copy().reshape(2, 60), mistakes={"in the order of memory": x.ravel("K").reshape(2, 60)}
    )


def test_a_gradient_is_left_alone(draw):
    """No layer writes into the grad that it receives."""
    for layer, shape in ((Dropout(), (2, 3, 4)), (Flatten(), (2, 12)), (Linear(4, 3), (2, 3, 3)), (Sequential(), (2, 3, 4))):
        layer(Tensor(np.ones((2, 3, 4), np.float32), requires_grad=True))
        grad = np.ones(shape, np.float32)
        layer.backward(grad)
        assert_close(grad, np.ones(shape))
