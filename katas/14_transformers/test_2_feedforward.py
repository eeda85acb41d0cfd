import math

import numpy as np
import pytest
from katas.tensor import Tensor
from katas.transformers import FeedForward

from specs import oracles
from specs.check import assert_close, assert_dtype, assert_gradient, rejects


def wide(module):
    """The same module in float64."""
    for parameter in module.parameters():
        parameter.data = parameter.data.astype(np.float64)
    return module


def test_the_parameters_have_gpt_2s_names_and_shapes():
    """c_fc: d_model → 4 · d_model, c_proj: back again; both with a bias unless bias=False."""
    shapes = {name: parameter.shape for name, parameter in FeedForward(3).named_parameters()}
    assert shapes == {"c_fc.weight": (12, 3), "c_fc.bias": (12,), "c_proj.weight": (3, 12), "c_proj.bias": (3,)}
    assert [name for name, _ in FeedForward(3, bias=False).named_parameters()] == ["c_fc.weight", "c_proj.weight"]


@pytest.mark.parametrize("bias", [True, False])
def test_two_linear_layers_with_a_gelu_between(draw, bias):
    """c_proj(GELU(c_fc(x))), for each token by itself."""
    layer, x = wide(FeedForward(3, bias=bias, rng=np.random.default_rng(0))), 2 * draw.normal(2, 4, 3)
    state = layer.state_dict()
    linear = oracles.layers.linear(
        oracles.layers.linear(x, state["c_fc.weight"], state.get("c_fc.bias")), state["c_proj.weight"], state.get("c_proj.bias")
    )
    want = oracles.transformers.feed_forward(x, state, "")
    assert_close(layer(Tensor(x)), want, mistakes={"there is no GELU": linear})


def test_the_gelu_is_the_tanh_form():
    """GPT-2's GELU is kata 03's, with tanh. The form with erf differs by 4.7e-4 at most, and that is seen here."""
    layer = wide(FeedForward(1, bias=False))
    layer.c_fc.weight.data[...] = [[1.0], [0], [0], [0]]
    layer.c_proj.weight.data[...] = [[1.0, 0, 0, 0]]
    x = np.array([[-2.7], [-0.5], [0.7], [2.7]])
    erf = np.array([[value / 2 * (1 + math.erf(value / math.sqrt(2)))] for value in x[:, 0]])
    assert_close(layer(Tensor(x)), oracles.activations.gelu(x), mistakes={"the form with erf": erf})


def test_tokens_do_not_see_each_other(draw):
    """What becomes of a token does not depend on the others."""
    layer, x = wide(FeedForward(3)), draw.normal(2, 4, 3)
    assert_close(layer(Tensor(x[1:, 2:3])), layer(Tensor(x)).data[1:, 2:3])


def test_the_gradient(draw):
    """By the input and every parameter."""
    layer, x, g = wide(FeedForward(2)), draw.normal(3, 2), draw.normal(3, 2)
    tensor, state = Tensor(x, requires_grad=True), layer.state_dict()
    layer(tensor).backward(g)
    assert_gradient(tensor.grad, lambda x: oracles.transformers.feed_forward(x, state, ""), x, g, name="x")
    for name, parameter in layer.named_parameters():

        def result(values, name=name):
            return oracles.transformers.feed_forward(x, state | {name: values}, "")

        assert_gradient(parameter.grad, result, state[name], g, name=name)


def test_dropout_falls_on_the_result(draw):
    """In training each value of the result is 0 with probability `dropout`, else divided by 1 - dropout; not in evaluation."""
    layer, x = FeedForward(8, dropout=0.25, rng=np.random.default_rng(0)), Tensor(draw.normal(500, 8, dtype=np.float32))
    got, want = layer(x).data, layer.eval()(x).data
    dropped = got == 0
    assert 0.2 < dropped.mean() < 0.3
    assert_close(got, np.where(dropped, 0, want / 0.75))


def test_without_dropout_training_draws_nothing():
    """dropout=0: the generator is as it was after the layer was made, and training gives what evaluation gives."""
    rng, x = np.random.default_rng(0), Tensor(np.ones((4, 3), np.float32))
    layer = FeedForward(3, rng=rng)
    before = rng.bit_generator.state
    assert_close(layer(x), layer.eval()(x).data)
    assert rng.bit_generator.state == before


def test_the_generator_decides_the_weights():
    """Equal seeds give equal weights, 0 too, and different seeds different ones."""
    same, again, other = (FeedForward(3, rng=np.random.default_rng(seed)).c_fc.weight.data for seed in (0, 0, 1))
    assert_close(same, again)
    assert (same != other).any()


def test_the_dtype_stays(draw):
    """float32 stays float32, forward and backward."""
    layer, x = FeedForward(3), Tensor(draw.normal(2, 3, dtype=np.float32), requires_grad=True)
    y = layer(x)
    y.sum().backward()
    assert_dtype(y, np.float32)
    assert_dtype(x.grad, np.float32)


def test_bad_arguments_are_named(draw):
    """A dropout outside [0, 1), or a last axis that is not d_model, raises a ValueError that contains it."""
    with rejects(ValueError, "1.5"):
        FeedForward(3, dropout=1.5)
    with rejects(ValueError, "-0.5"):
        FeedForward(3, dropout=-0.5)
    with rejects(ValueError, "(2, 4)"):
        FeedForward(3)(Tensor(np.ones((2, 4))))
