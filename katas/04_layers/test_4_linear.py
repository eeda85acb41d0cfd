import numpy as np
import pytest
from katas.layers import Linear, Parameter
from katas.tensor import Tensor

from specs import oracles
from specs.check import FLOAT32, assert_close, assert_dtype, assert_gradient, global_state, recording, rejects

SHAPES = [(5,), (4, 5), (2, 4, 5), (2, 1, 4, 5)]


def layer(draw, **options) -> Linear:
    """A layer with five inputs and three outputs, in float64."""
    linear = Linear(5, 3, **options)
    for parameter in linear.parameters():
        parameter.data = draw.normal(*parameter.shape)
    return linear


def test_a_layer_has_a_weight_and_a_bias():
    """A Linear has two float32 Parameters, in this order: weight (out_features, in_features) and bias (out_features,)."""
    linear = Linear(5, 3)
    assert (linear.in_features, linear.out_features) == (5, 3)
    assert [name for name, _ in linear.named_parameters()] == ["weight", "bias"]
    assert all(isinstance(parameter, Parameter) for parameter in linear.parameters())
    assert linear.weight.shape == (3, 5)
    assert linear.bias.shape == (3,)
    assert_dtype(linear.weight, np.float32)
    assert_dtype(linear.bias, np.float32)


def test_a_layer_without_bias_has_only_a_weight():
    """With bias=False the attribute `bias` is None, and weight is the only parameter."""
    linear = Linear(5, 3, bias=False)
    assert linear.bias is None
    assert [name for name, _ in linear.named_parameters()] == ["weight"]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_each_output_is_a_weighted_sum_of_the_inputs_plus_a_bias(shape, draw):
    """Linear computes y = x Wᵀ + b over the last axis, whatever the leading axes: (…, in_features) → (…, out_features)."""
    linear, x = layer(draw), draw.normal(*shape)
    want = oracles.layers.linear(x, linear.weight.data, linear.bias.data)
    mistakes = {"the bias is missing": want - linear.bias.data, "the bias is added twice": want + linear.bias.data}
    assert_close(linear(Tensor(x)), want, mistakes=mistakes | {"the bias is subtracted": want - 2 * linear.bias.data})


def test_a_square_weight_is_transposed(draw):
    """With a square weight, x W and x Wᵀ have the same shape and differ only in their values: weight[o, i] connects input i to
    output o.
    """
    linear, x = Linear(3, 3, bias=False), draw.normal(4, 3)
    linear.weight.data = draw.normal(3, 3)
    want = oracles.layers.linear(x, linear.weight.data)
    assert_close(linear(Tensor(x)), want, mistakes={"x W, not x Wᵀ": x @ linear.weight.data})


def test_without_bias_nothing_is_added(draw):
    """With bias=False, y = x Wᵀ, and backward works too."""
    linear, x, grad = layer(draw, bias=False), draw.normal(4, 5), draw.normal(4, 3)
    assert_close(linear(Tensor(x, requires_grad=True)), oracles.layers.linear(x, linear.weight.data))
    assert_gradient(linear.backward(grad), lambda x: oracles.layers.linear(x, linear.weight.data), x, grad)
    assert_gradient(linear.weight.grad, lambda w: oracles.layers.linear(x, w), linear.weight.data, grad)


@pytest.mark.parametrize("shape", [(4, 6), (5, 4), (2, 4), (1,), (), (5, 0)], ids=str)
def test_a_wrong_number_of_features_is_named(shape):
    """An input whose last axis isn't in_features raises a ValueError whose message contains the layer and the input's shape."""
    with rejects(ValueError, "Linear(5, 3)", str(shape)):
        Linear(5, 3)(Tensor(np.zeros(shape)))


@pytest.mark.parametrize("sizes", [(0, 3), (3, 0), (-1, 3)], ids=str)
def test_a_layer_without_inputs_or_outputs_is_refused(sizes):
    """in_features and out_features must be positive: anything else raises a ValueError whose message contains the wrong one."""
    with rejects(ValueError, str(min(sizes))):
        Linear(*sizes)


@pytest.mark.parametrize("name", ["weight", "bias"])
def test_weights_and_biases_start_uniform(name):
    """Weight and bias start uniform in ±1/√in_features, as in torch.nn.Linear: for the weight, that is kaiming_uniform with a =
    √5.
    """
    values = getattr(Linear(64, 4000, rng=np.random.default_rng(0)), name).data
    bound = 1 / 8
    assert abs(values.mean()) < 0.1 * max(bound, values.std()), f"the mean is {values.mean():.4g}, not 0"
    got, want = values.std(), bound / 3**0.5
    mistakes = {"a = 0, not √5": (2 / 64) ** 0.5, "fan_out": 4000**-0.5 / 3**0.5, "Xavier": (2 / 4064) ** 0.5, "√3": bound}
    guess = next((said for said, wrong in mistakes.items() if abs(got / wrong - 1) < 0.05), "another bound")
    assert abs(got / want - 1) < 0.05, f"standard deviation: expected {want:.4g}, got {got:.4g}\nLooks like: {guess}."
    assert abs(values).max() <= 1.000001 * bound, f"{abs(values).max():.4g} is beyond ±{bound:.4g}: not uniform?"
    assert len(np.unique(values)) > 0.95 * values.size, "many values are equal"


def test_a_layer_draws_from_the_given_generator():
    """Equal seeds give equal layers, a second layer from the same generator is different, and NumPy's global generator is not
    used.
    """
    before = global_state()
    Linear(5, 3)
    rng = np.random.default_rng(7)
    first, second, again = Linear(5, 3, rng=rng), Linear(5, 3, rng=rng), Linear(5, 3, rng=np.random.default_rng(7))
    assert_close(again.weight, first.weight.data)
    assert_close(again.bias, first.bias.data)
    assert not np.array_equal(second.weight.data, first.weight.data), "both layers start with the same weight"
    assert not np.array_equal(second.bias.data, first.bias.data), "both layers start with the same bias"
    assert global_state() == before, "NumPy's global generator was used"


def test_without_a_generator_no_two_layers_are_equal():
    """rng=None means a fresh generator each time: layers that start equal would all learn the same thing."""
    assert not np.array_equal(Linear(5, 3).weight.data, Linear(5, 3).weight.data)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_gradient_of_the_input(shape, draw):
    """backward(grad) returns grad W, in the shape of x: each input reaches the outputs through its column of W."""
    linear, x, grad = layer(draw), draw.normal(*shape), draw.normal(*shape[:-1], 3)
    linear(Tensor(x, requires_grad=True))
    got = linear.backward(grad)
    assert_gradient(got, lambda x: oracles.layers.linear(x, linear.weight.data, linear.bias.data), x, grad)


def test_the_gradient_through_a_square_weight(draw):
    """With a square weight, grad W and grad Wᵀ, like gradᵀ x and xᵀ grad, have the same shape: only the values show a wrong
    one.
    """
    linear, x, grad = Linear(3, 3), draw.normal(4, 3), draw.normal(4, 3)
    linear.weight.data = draw.normal(3, 3)
    linear(Tensor(x, requires_grad=True))
    got, w = linear.backward(grad), linear.weight.data
    assert_gradient(got, lambda x: oracles.layers.linear(x, w), x, grad, {"grad Wᵀ, not grad W": grad @ w.T})
    mistakes = {"xᵀ grad, not gradᵀ x": (x.T @ grad).astype(np.float32)}
    linear.weight.grad = None
    linear.backward(grad)
    assert_gradient(linear.weight.grad, lambda w: oracles.layers.linear(x, w), w, grad, mistakes)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_gradient_of_the_weight(shape, draw):
    """backward adds gradᵀ x, summed over all leading axes, to weight.grad, which has the weight's shape (out_features,
    in_features).
    """
    linear, x, grad = layer(draw), draw.normal(*shape), draw.normal(*shape[:-1], 3)
    linear(Tensor(x))
    linear.backward(grad)
    rows = x.size // 5
    whole = grad.reshape(rows, 3).T @ x.reshape(rows, 5)
    mistakes = {"the mean over the batch, not the sum": whole / shape[0], "the mean over all rows, not the sum": whole / rows}
    assert_gradient(linear.weight.grad, lambda w: oracles.layers.linear(x, w), linear.weight.data, grad, mistakes)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_gradient_of_the_bias(shape, draw):
    """backward adds the sum of grad over all leading axes to bias.grad: the same bias is added to every row."""
    linear, x, grad = layer(draw), draw.normal(*shape), draw.normal(*shape[:-1], 3)
    linear(Tensor(x))
    linear.backward(grad)
    total, rows = grad.reshape(-1, 3).sum(0), x.size // 5
    mistakes = {"the mean over the batch, not the sum": total / shape[0], "the mean over all rows, not the sum": total / rows}
    mistakes["summed over the first axis only"] = grad.sum(0)

    def output(b):
        return oracles.layers.linear(x, linear.weight.data, b)

    assert_gradient(linear.bias.grad, output, linear.bias.data, grad, mistakes)


@pytest.mark.parametrize("rows", [500, 700, 500_000])
def test_the_gradient_of_the_bias_is_accurate(rows):
    """After 500,000 rows of float32, bias.grad is right to six digits. NumPy adds row by row, which is off by 0.35% for 0.1 in
    each row, and loses two digits for random values.
    """
    linear = Linear(1, 16)
    linear(Tensor(np.ones((rows, 1), np.float32)))
    grad = np.full((rows, 16), 0.1, np.float32)
    grad[:, 1::2] = np.random.RandomState(3).random_sample((rows, 8))
    linear.backward(grad)
    assert_dtype(linear.bias.grad, np.float32)
    want = grad.sum(0, dtype=np.float64)
    assert_close(linear.bias.grad / want, np.ones(16), FLOAT32, mistakes={"row by row in float32": grad.sum(0) / want})


def test_gradients_accumulate(draw):
    """A second backward adds to .grad: two half batches give the gradients of the whole batch."""
    linear, whole = layer(draw), layer(draw)
    for mine, other in zip(linear.parameters(), whole.parameters(), strict=True):
        other.data = mine.data
    x, grad = draw.normal(6, 5), draw.normal(6, 3)
    for half in (slice(0, 2), slice(2, 6)):
        linear(Tensor(x[half]))
        linear.backward(grad[half])
    last = {"weight": grad[2:].T @ x[2:], "bias": grad[2:].sum(0)}
    want = {"weight": grad.T @ x, "bias": grad.sum(0)}
    for name, parameter in linear.named_parameters():
        assert_close(parameter.grad, want[name], mistakes={"overwritten instead of accumulated": last[name]}, name=name)


def test_backward_belongs_to_the_last_forward(draw):
    """backward uses only the last forward, even if an earlier batch had a different shape or required a gradient."""
    linear, x, grad = layer(draw), draw.normal(4, 5), draw.normal(4, 3)
    linear(Tensor(draw.normal(2, 7, 5)))
    linear(Tensor(x, requires_grad=True))
    assert_close(linear.backward(grad), grad @ linear.weight.data)
    assert_close(linear.weight.grad, grad.T @ x)


def test_where_no_input_gradient_is_wanted_there_is_none(draw):
    """If x did not require a gradient, backward returns None, and the parameters still get their gradients."""
    linear, x, grad = layer(draw), draw.normal(4, 5), draw.normal(4, 3)
    linear(Tensor(x))
    assert linear.backward(grad) is None
    assert_close(linear.weight.grad, grad.T @ x)
    assert_close(linear.bias.grad, grad.sum(0))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("wanted", [True, False])
def test_an_input_gradient_is_a_question_of_the_input_alone(wanted, training, draw):
    """In training and in evaluation, backward returns an input gradient exactly if x required one, and the parameters always
    get theirs.
    """
    linear, x, grad = layer(draw).train(training), draw.normal(4, 5), draw.normal(4, 3)
    linear(Tensor(x, requires_grad=wanted))
    got = linear.backward(grad)
    assert (got is not None) is wanted
    if wanted:
        assert_close(got, grad @ linear.weight.data)
    assert_close(linear.weight.grad, grad.T @ x)
    assert_close(linear.bias.grad, grad.sum(0))


def test_a_weight_and_a_bias_may_be_changed_later(draw):
    """forward uses the current attributes: other Parameters, other data in them, or None for the bias."""
    linear, x, grad = Linear(5, 3), draw.normal(4, 5), draw.normal(4, 3)
    linear(Tensor(x))
    linear.weight, linear.bias = Parameter(draw.normal(3, 5)), Parameter(draw.normal(3))
    assert_close(linear(Tensor(x)), oracles.layers.linear(x, linear.weight.data, linear.bias.data))
    linear.weight.data, linear.bias = draw.normal(3, 5), None
    assert_close(linear(Tensor(x, requires_grad=True)), oracles.layers.linear(x, linear.weight.data))
    assert_close(linear.backward(grad), grad @ linear.weight.data)
    assert [name for name, _ in linear.named_parameters()] == ["weight"]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_float32_stays_float32(shape, draw):
    """For a float32 input, the output and all gradients are float32."""
    linear = Linear(5, 3)
    assert_dtype(linear(Tensor(draw.normal(*shape, dtype=np.float32), requires_grad=True)), np.float32)
    assert_dtype(linear.backward(draw.normal(*shape[:-1], 3, dtype=np.float32)), np.float32)
    assert_dtype(linear.weight.grad, np.float32)
    assert_dtype(linear.bias.grad, np.float32)


def test_an_empty_batch_has_no_outputs_and_no_gradient():
    """An empty batch (0, in_features) gives an output (0, out_features); the gradients of the parameters are zeros."""
    linear = Linear(5, 3)
    assert linear(Tensor(np.zeros((2, 0, 5), np.float32), requires_grad=True)).shape == (2, 0, 3)
    assert linear.backward(np.zeros((2, 0, 3), np.float32)).shape == (2, 0, 5)
    assert_close(linear.weight.grad, np.zeros((3, 5)))


def test_backward_needs_a_forward():
    """Calling backward before forward raises a RuntimeError whose message contains 'forward'."""
    with rejects(RuntimeError, "forward"):
        Linear(5, 3).backward(np.zeros((4, 3)))


@pytest.mark.parametrize("shape", [(4, 5), (3, 4), (12,), (1, 3), (2, 2, 3)], ids=str)
def test_a_gradient_of_another_shape_is_named(shape):
    """A grad that doesn't have the output's shape raises a ValueError whose message contains both shapes, and no parameter gets
    a gradient.
    """
    linear = Linear(5, 3)
    linear(Tensor(np.zeros((4, 5), np.float32)))
    with rejects(ValueError, str(shape), "(4, 3)"):
        linear.backward(np.zeros(shape, np.float32))
    assert linear.weight.grad is None
    assert linear.bias.grad is None


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_record_leads_from_the_output_to_input_and_parameters(shape, draw):
    """y is computed with Tensor operations, so automatic differentiation will find x, the weight and the bias."""
    linear, x = layer(draw), Tensor(draw.normal(*shape), requires_grad=True)
    with recording() as probe:
        y = linear(x)
    for name, tensor in {"x": x, "weight": linear.weight, "bias": linear.bias}.items():
        assert probe.reaches(y, tensor), f"the chain from the output does not reach {name}"
    assert y.requires_grad


def test_rows_are_multiplied_in_numpy(budget):
    """The number of Python instructions, forward and backward, must not grow with the number of rows or features."""

    def both(rows: int, features: int):
        linear, x = Linear(features, features), np.ones((rows, 2, features), np.float32)
        return lambda: (linear(Tensor(x, requires_grad=True)), linear.backward(x))

    budget.steps(both(3, 10), both(300, 10), limit=2)
    budget.steps(both(3, 10), both(3, 100), limit=2)


def test_backward_makes_no_product_for_each_row(budget):
    """One matrix product sums over the batch: no array (batch, out_features, in_features), 4 MB here, ever exists."""
    linear, x = Linear(64, 64), Tensor(np.ones((256, 64), np.float32), requires_grad=True)
    grad = np.ones((256, 64), np.float32)
    budget.bytes(lambda: (linear(x), linear.backward(grad)), peak=800_000)


def test_forward_does_not_copy_the_weight(budget):
    """Wᵀ is a view: for one row, forward does not copy the weight of 1 MB."""
    linear, x = Linear(500, 500), Tensor(np.ones((1, 500), np.float32))
    budget.bytes(lambda: linear(x), peak=100_000)


def test_an_input_gradient_that_nobody_wants_is_not_computed(budget):
    """If x does not require a gradient, backward skips a matrix product and doesn't allocate its result, 2.6 MB here."""
    linear, x = Linear(10_000, 2), Tensor(np.ones((64, 10_000), np.float32))
    grad = np.ones((64, 2), np.float32)
    budget.bytes(lambda: (linear(x), linear.backward(grad)), peak=600_000)


def test_a_layer_costs_what_its_products_cost(draw, budget):
    """Forward and backward take at most three times as long as their three matrix products (they should take little longer)."""
    x, grad = (np.array(draw.normal(256, 256, dtype=np.float32)) for _ in range(2))
    linear, tensor = Linear(256, 256), Tensor(x, requires_grad=True)
    weight = linear.weight.data
    budget.time(
        lambda: (linear(tensor), linear.backward(grad)),
        against=lambda: (x @ weight.T, grad.T @ x, grad @ weight),
        limit=3,
    )


def test_a_bias_of_zeros_is_a_bias(draw):
    """A bias that starts as zeros is part of the graph and receives its gradient."""
    linear, grad = layer(draw), draw.normal(4, 3)
    linear.bias.data = np.zeros(3)
    linear(Tensor(draw.normal(4, 5)))
    linear.backward(grad)
    assert_close(linear.bias.grad, grad.sum(0))
    with recording() as probe:
        y = linear(Tensor(draw.normal(4, 5)))
    assert probe.reaches(y, linear.bias)


def test_an_input_that_has_a_gradient_wants_another(draw):
    """If x already has a grad from an earlier use, backward still returns its gradient, not None."""
    linear, x, grad = layer(draw), Tensor(draw.normal(4, 5), requires_grad=True), draw.normal(4, 3)
    x.grad = np.ones((4, 5))
    linear(x)
    assert_close(linear.backward(grad), grad @ linear.weight.data)


def test_infinite_gradients_are_summed():
    """Infinity and NaN in grad reach bias.grad, each only in its own column."""
    linear, grad = Linear(1, 3), np.ones((700, 3), np.float32)
    linear(Tensor(np.ones((700, 1), np.float32)))
    grad[3, 0], grad[7, 1] = np.inf, np.nan
    linear.backward(grad)
    assert_close(linear.bias.grad, [np.inf, np.nan, 700.0])
