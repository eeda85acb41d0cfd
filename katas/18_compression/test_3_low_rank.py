import copy
import weakref

import numpy as np
import pytest
from katas.acceleration import accelerate
from katas.activations import ReLU
from katas.attention import MultiHeadAttention
from katas.layers import Linear, Module, Sequential
from katas.losses import CrossEntropyLoss
from katas.model_compression import LowRankLinear, head_scores, low_rank, prune_heads, prune_units, unit_scores
from katas.optimizers import SGD
from katas.spatial import CNN, Conv2d
from katas.tensor import Tensor
from katas.transformers import GPT, GPTConfig

from specs.check import assert_close, assert_dtype, count_steps, rejects


def with_singular_values(draw, out: int, inputs: int, values, dtype=np.float64, bias: bool = True) -> Linear:
    """A Linear whose weight has exactly these singular values, largest first, and then zeros."""
    u, _ = np.linalg.qr(draw.normal(out, len(values)))
    v, _ = np.linalg.qr(draw.normal(inputs, len(values)))
    layer = Linear(inputs, out, bias, np.random.default_rng(0))
    layer.weight.data = (u * np.array(values) @ v.T).astype(dtype)
    return layer


def product(layer: LowRankLinear) -> np.ndarray:
    return layer.up.weight.data @ layer.down.weight.data


def relative(weight: np.ndarray, layer: LowRankLinear) -> float:
    return float(np.linalg.norm(product(layer) - weight) / np.linalg.norm(weight))


def test_an_error_that_is_just_reached():
    """Of four singular values of 1, |W| is 2, and without one the error is 1: half of it."""
    layer = Linear(16, 16)
    layer.weight.data = np.diag(np.float32([1] * 4 + [0] * 12))
    assert low_rank(layer, 0.5) == {"weight": 3}


@pytest.mark.parametrize(("out", "inputs"), [(20, 30), (30, 20)])
def test_the_rank_is_the_smallest_within_the_error(draw, out, inputs):
    """Singular values 12, 4, 3, 0 …: |W| is 13. Rank 1 is off by 5 / 13, rank 2 by 3 / 13, rank 3 by nothing."""
    for error, rank in ((0.39, 1), (0.38, 2), (0.24, 2), (0.22, 3), (0.01, 3), (0.9, 1)):
        layer = with_singular_values(draw, out, inputs, [12, 4, 3])
        weight = layer.weight.data.copy()
        assert low_rank(layer, error) == {"weight": rank}
        assert layer.down.weight.shape == (rank, inputs)
        assert layer.up.weight.shape == (out, rank)
        want = np.sqrt(sum(value**2 for value in [12, 4, 3][rank:])) / 13
        assert abs(relative(weight, layer) - want) < 1e-9, "the product of the factors is not the best one of its rank"


@pytest.mark.parametrize("scale", [1e-300, 1e-200, 1e200, 1e300])
def test_tiny_and_huge_weights_have_the_same_rank(draw, scale):
    """Squares of them would be 0 or infinite: then any error is small enough, or none."""
    layer = with_singular_values(draw, 20, 30, np.array([12, 4, 3]) * scale)
    weight = layer.weight.data.copy()
    assert low_rank(layer, 0.3) == {"weight": 2}
    u, s, v = np.linalg.svd(weight / scale, full_matrices=False)
    assert_close(product(layer) / scale, u[:, :2] * s[:2] @ v[:2])
    layer = with_singular_values(draw, 20, 30, np.arange(20, 0, -1) * scale)
    assert low_rank(layer, 0) == {}


@pytest.mark.parametrize("small", [1e-5, 1e-9, 1e-13])
def test_small_singular_values_are_not_rounded_away(draw, small):
    """Next to 1, the square of 1e-9 is lost in float64. But an error of 1e-10 asks for it."""
    layer = with_singular_values(draw, 20, 30, [1, small, small, small])
    assert low_rank(layer, small / 10) == {"weight": 4}


def test_the_result_is_that_of_the_product(draw):
    """y = U (D x) + bias, for any leading axes."""
    layer = with_singular_values(draw, 20, 30, [5, 2, 1])
    layer.bias.data = np.array(draw.normal(20))
    low_rank(layer, 0.3)
    x = draw.normal(2, 4, 30)
    assert_close(layer(Tensor(x)), x @ product(layer).T + layer.up.bias.data)


def test_a_layer_that_would_not_become_smaller_is_left_alone(draw):
    """(20, 30) has 600 numbers: rank 11 would have 550, rank 12 as many as before. (512, 1000) of rank 400 would have 604,800
    in place of 512,000.
    """
    for rank, exchanged in ((11, True), (12, False), (15, False)):
        layer = with_singular_values(draw, 20, 30, [1] * rank)
        before = layer.state_dict()
        assert low_rank(layer, 0.001) == ({"weight": rank} if exchanged else {})
        if not exchanged:
            assert type(layer) is Linear
            for name, array in layer.state_dict().items():
                assert_close(array, before[name])


ERRORS = pytest.mark.parametrize("error", [0, 0.0, 0.1, 0.99])


def test_an_error_of_zero_finds_an_exact_rank_or_leaves_the_layer_alone(draw):
    """error=0 is a share like others: rounding apart nothing may be lost. A random weight has its full rank."""
    layer = Linear(30, 20, rng=np.random.default_rng(0))
    assert low_rank(layer, 0) == {}
    assert type(layer) is Linear
    layer.weight.data[...] = 0
    layer.weight.data[[3, 7], [5, 1]] = 2, 1
    weight = layer.weight.data.copy()
    assert low_rank(layer, 0) == {"weight": 2}
    assert_close(product(layer), weight)


@ERRORS
def test_a_weight_of_zeros_has_rank_one(error):
    """At least one row is left, and the result is the bias, whatever the error is."""
    layer = Linear(6, 5, rng=np.random.default_rng(0))
    layer.weight.data[...] = 0
    bias = layer.bias.data.copy()
    assert low_rank(layer, error) == {"weight": 1}
    assert_close(layer(Tensor(np.ones((2, 6), np.float32))), np.tile(bias, (2, 1)))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_weights_dtype_stays(draw, dtype):
    """The factors, and so the result, have the weight's dtype; they are computed in float64."""
    layer = with_singular_values(draw, 20, 30, [1, 0.5, 1e-6], dtype)
    layer.bias.data = layer.bias.data.astype(dtype)
    weight = layer.weight.data.astype(np.float64)
    assert low_rank(layer, 1e-5) == {"weight": 2}
    assert_dtype(layer.down.weight, dtype)
    assert_dtype(layer.up.weight, dtype)
    assert_dtype(layer(Tensor(np.ones((2, 30), dtype))), dtype)
    assert relative(weight, layer) < 2e-6


@pytest.mark.parametrize("bias", [True, False])
def test_a_weight_of_float16_stays_one(draw, bias):
    """float16 is for storage: the factors are float16, too."""
    layer = with_singular_values(draw, 20, 30, [4, 2], np.float16, bias)
    assert low_rank(layer, 0.01) == {"weight": 2}
    assert layer.down.weight.dtype == layer.up.weight.dtype == np.float16


def test_both_factors_are_as_large(draw):
    """Each takes the roots of the singular values, so that neither trains faster."""
    layer = with_singular_values(draw, 20, 30, [100, 25, 4])
    low_rank(layer, 0.001)
    down, up = layer.down.weight.data, layer.up.weight.data
    assert_close(down @ down.T, np.diag([100.0, 25, 4]))
    assert_close(up.T @ up, np.diag([100.0, 25, 4]))


def test_the_layer_stays_the_same_object(draw):
    """A LowRankLinear is a Linear, with down and up, two Linears; its sizes, its mode and its bias stay."""
    layer = with_singular_values(draw, 20, 30, [3, 2, 1], np.float32)
    bias = layer.bias
    layer.eval()
    low_rank(layer, 0.1)
    assert type(layer) is LowRankLinear
    assert isinstance(layer, Linear)
    assert (layer.in_features, layer.out_features, layer.training) == (30, 20, False)
    assert type(layer.down) is type(layer.up) is Linear
    assert layer.down.bias is None
    assert layer.up.bias is bias
    assert [name for name, _ in layer.named_parameters()] == ["down.weight", "up.weight", "up.bias"]
    assert (layer.down.in_features, layer.down.out_features) == (30, 3)
    assert (layer.up.in_features, layer.up.out_features) == (3, 20)
    assert not layer.up.training
    with rejects(ValueError, "(4, 29)"):
        layer(Tensor(np.zeros((4, 29), np.float32)))


def test_the_old_weight_is_freed(draw):
    """Neither the layer nor a factor holds the old matrix, or all singular vectors."""
    layer = with_singular_values(draw, 40, 50, [3, 2, 1])
    old = weakref.ref(layer.weight.data)
    layer(Tensor(draw.normal(2, 50))).sum().backward()
    low_rank(layer, 0.01)
    assert old() is None, "the old weight is still held"
    for parameter in layer.parameters():
        assert parameter.grad is None or parameter is layer.up.bias
        base = parameter.data.base
        assert base is None or base.nbytes <= parameter.data.nbytes, "a factor is a view of all vectors"


def test_a_layer_without_bias_has_none_afterwards(draw):
    """bias=False."""
    layer = with_singular_values(draw, 20, 30, [3, 2, 1], bias=False)
    low_rank(layer, 0.01)
    assert layer.up.bias is None
    x = draw.normal(3, 30)
    assert_close(layer(Tensor(x)), x @ product(layer).T)


def model(draw) -> CNN:
    """Linears in lists, in a Sequential, and one of full rank; and a convolution."""
    first, second = (
        with_singular_values(draw, 20, 32, [3, 1], np.float32),
        with_singular_values(draw, 16, 20, [1, 1], np.float32),
    )
    full = Linear(16, 3, rng=np.random.default_rng(1))
    return CNN(
        [Conv2d(1, 2, 3, padding=1, rng=np.random.default_rng(0)), ReLU(), first, Sequential(ReLU(), second), ReLU(), full]
    )


def test_all_linears_of_a_model_are_exchanged_wherever_they_are(draw):
    """The dict has a rank for each that was exchanged, by the name that its weight had. A CNN still flattens before one."""
    network, x = model(draw), Tensor(draw.normal(2, 1, 4, 4, dtype=np.float32))
    want, conv = network(x).data, network[0].weight.data.copy()
    assert low_rank(network, 1e-3) == {"2.weight": 2, "3.1.weight": 2}
    assert [type(layer) for layer in (network[2], network[3][1], network[5])] == [LowRankLinear, LowRankLinear, Linear]
    assert_close(network(x), want)
    assert_close(network[0].weight, conv)
    assert low_rank(network, 1e-3) == {}


def test_each_layer_has_its_own_rank(draw):
    """The error is relative to each weight."""
    network = Sequential(with_singular_values(draw, 20, 30, [100, 10, 1]), with_singular_values(draw, 25, 20, [2, 2, 2]))
    assert low_rank(network, 0.05) == {"0.weight": 2, "1.weight": 3}


def test_tied_and_special_weights_are_left_alone(draw):
    """A weight with another use, as a GPT's lm_head, stays whole; so does a subclass of Linear, such as an accelerated one."""
    gpt = GPT(GPTConfig(vocab_size=60, context=4, n_layer=1, n_head=2, d_model=8), np.random.default_rng(0))
    head = gpt.lm_head.weight
    ranks = low_rank(gpt, 0.8)
    assert "transformer.wte.weight" not in ranks
    assert "transformer.h.0.mlp.c_fc.weight" in ranks
    assert gpt.lm_head.weight is head
    assert gpt.transformer.wte.weight is head
    held = Module()
    held.layer, held.other = with_singular_values(draw, 20, 30, [1]), Module()
    held.other.weights = [(held.layer.weight,)]  # what it does with it is not known
    assert low_rank(held, 0.5) == {}
    frozen = Sequential(with_singular_values(draw, 20, 30, [1]))
    frozen[0].weight = Tensor(frozen[0].weight.data)
    assert low_rank(frozen, 0.5) == {}
    fast = accelerate(Sequential(with_singular_values(draw, 20, 30, [1])))
    assert low_rank(fast, 0.5) == {}


def test_a_layer_in_two_places_is_exchanged_once(draw):
    """Both places hold the same object."""
    layer = with_singular_values(draw, 20, 20, [3, 2])
    network = Sequential(layer, ReLU(), layer)
    assert low_rank(network, 0.01) == {"0.weight": 2}
    assert network[0] is network[2] is layer
    assert network(Tensor(draw.normal(2, 20))).shape == (2, 20)


def test_factors_are_trained(draw):
    """Gradients reach both factors and the bias; a new optimizer trains them, accelerated too."""
    for wrap in (lambda network: network, accelerate):
        network = model(draw)
        low_rank(network, 0.001)
        network = wrap(network)
        optimizer, loss, losses = SGD(network.parameters(), lr=0.1), CrossEntropyLoss(), []
        before = network.state_dict()
        for _ in range(6):
            losses.append(loss(network(Tensor(draw.normal(4, 1, 4, 4, dtype=np.float32))), [0, 1, 2, 0]))
            optimizer.zero_grad()
            losses[-1].backward()
            optimizer.step()
        changed = [name for name, array in network.state_dict().items() if (array != before[name]).any()]
        assert {"2.down.weight", "2.up.weight", "2.up.bias"} <= set(changed)


def test_units_of_factors_can_be_removed(draw):
    """18.2 works on factors: units that are written are rows of up, units that are read columns of down."""
    network = Sequential(with_singular_values(draw, 20, 30, [3, 2]), ReLU(), with_singular_values(draw, 25, 20, [2, 1, 1]))
    network = Sequential(*network, ReLU(), Linear(25, 2, rng=np.random.default_rng(0)))
    low_rank(network, 0.001)
    zeros, x, gone = copy.deepcopy(network), Tensor(draw.normal(2, 30)), np.setdiff1d(np.arange(20), [0, 3, 7])
    zeros[0].up.weight.data[gone], zeros[0].up.bias.data[gone] = 0, 0
    row, column = network[0].up.weight.data, network[2].down.weight.data
    assert_close(unit_scores(network, network[0]), np.sqrt((row**2).sum(1) * (column**2).sum(0)))
    prune_units(network, network[0], [0, 3, 7])
    assert_close(network(x), zeros(x))
    assert (network[0].out_features, network[2].in_features, network[2].down.weight.shape) == (3, 3, (3, 3))


def test_heads_of_factors_can_be_removed(draw):
    """c_attn's rows are those of its up, c_proj's columns those of its down."""
    attention = MultiHeadAttention(12, 3, rng=np.random.default_rng(0))
    attention.c_attn = with_singular_values(draw, 36, 12, [3, 2, 1])
    attention.c_proj = with_singular_values(draw, 12, 12, [3, 2, 1])
    assert low_rank(attention, 0.001) == {"c_attn.weight": 3, "c_proj.weight": 3}
    zeros, x = copy.deepcopy(attention), Tensor(draw.normal(2, 5, 12))
    zeros.c_proj.down.weight.data[:, 4:8] = 0
    value, joined = attention.c_attn.up.weight.data[24:], attention.c_proj.down.weight.data
    want = np.linalg.norm(value.reshape(3, -1), axis=1) * np.linalg.norm(joined.T.reshape(3, -1), axis=1)
    assert_close(head_scores(attention), want)
    prune_heads(attention, [0, 2])
    assert_close(attention(x), zeros(x))
    assert_close(head_scores(attention), want[[0, 2]])


@pytest.mark.parametrize("error", [-0.1, 1, 1.5, float("nan")])
def test_an_error_that_is_no_share_is_refused(draw, error):
    """An error below 0, or of 1 or more, raises a ValueError that contains it, and nothing is changed."""
    layer = with_singular_values(draw, 20, 30, [3, 2])
    with rejects(ValueError, repr(error)):
        low_rank(layer, error)
    assert type(layer) is Linear


@ERRORS
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_weight_that_is_not_finite_is_refused(draw, value, error):
    """A ValueError contains the weight's name, and no layer is exchanged, the ones before it neither."""
    network = Sequential(with_singular_values(draw, 20, 30, [3, 2]), ReLU(), with_singular_values(draw, 25, 20, [2, 1]))
    network[2].weight.data[3, 4] = value
    with rejects(ValueError, "2.weight"):
        low_rank(network, error)
    assert [type(network[0]), type(network[2])] == [Linear, Linear]


def test_no_python_loop_over_weights():
    """The number of Python instructions doesn't grow with the number of weights of a Linear."""

    def rank(size: int, error: float) -> int:
        return low_rank(Linear(size, size, rng=np.random.default_rng(0)), error)["weight"]

    assert rank(4, 0.8) == 1
    few, many = count_steps(lambda: rank(4, 0.8), lambda: rank(120, 0.8))
    assert many <= 2 * few, f"{few} Python instructions for 16 weights, {many} for 14,400"


def test_a_model_without_linears_is_left_as_it_is():
    """There is nothing to exchange: the dict is empty."""
    assert low_rank(Module(), 0.1) == {}
