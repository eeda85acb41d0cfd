import numpy as np
import pytest
from katas.tensor import Tensor
from katas.transformers import LayerNorm, RMSNorm

from specs import oracles
from specs.check import assert_close, assert_dtype, assert_gradient, count_steps, recording, rejects

NORMS = pytest.mark.parametrize("norm", [LayerNorm, RMSNorm])


def layer(draw, kind, size=5, dtype=np.float64, **options):
    """With a weight and a bias that are not 1 and 0."""
    norm = kind(size, **options)
    for _, parameter in norm.named_parameters():
        parameter.data = np.array(draw.uniform(0.5, 2, size), dtype)
    return norm


def expected(norm, x) -> np.ndarray:
    """By explicit loops, whichever of the two it is."""
    x = np.asarray(x, np.float64)
    if isinstance(norm, RMSNorm):
        return oracles.transformers.rms_norm(x, norm.weight.data)
    return oracles.transformers.layer_norm(x, norm.weight.data, None if norm.bias is None else norm.bias.data)


def test_the_parameters_of_layer_norm():
    """LayerNorm(d_model): weight, of ones, and bias, of zeros, both (d_model,) and float32. bias=False: no bias."""
    norm = LayerNorm(5)
    assert [name for name, _ in norm.named_parameters()] == ["weight", "bias"]
    assert_close(norm.weight, np.ones(5))
    assert_close(norm.bias, np.zeros(5))
    assert [name for name, _ in LayerNorm(5, bias=False).named_parameters()] == ["weight"]
    assert LayerNorm(5, bias=False).bias is None
    for _, parameter in norm.named_parameters():
        assert_dtype(parameter, np.float32)


def test_the_parameters_of_rms_norm():
    """RMSNorm(d_model): only a weight, of ones, (d_model,) and float32."""
    norm = RMSNorm(5)
    assert [name for name, _ in norm.named_parameters()] == ["weight"]
    assert_close(norm.weight, np.ones(5))
    assert_dtype(norm.weight, np.float32)


def test_layer_norm_of_one_to_four():
    """The variance of 1, 2, 3, 4 is 1.25: n stands below, not n - 1. So the values become ±1.341635 and ±0.447212."""
    mistakes = {"the variance divides by n - 1": np.array([-1.161892, -0.387297, 0.387297, 1.161892])}
    got = LayerNorm(4)(Tensor(np.array([1.0, 2, 3, 4]))).data.astype(np.float32).round(6)
    assert_close(got, np.array([-1.341635, -0.447212, 0.447212, 1.341635], np.float32), mistakes=mistakes)


def test_rms_norm_of_one_to_four():
    """The mean of the squares of 1, 2, 3, 4 is 7.5, and no mean is subtracted: each value is divided by √(7.5 + eps)."""
    x = np.array([1.0, 2, 3, 4])
    mistakes = {"the mean is subtracted": (x - 2.5) / np.sqrt(1.25 + 1e-5), "the sum, not the mean": x / np.sqrt(30 + 1e-5)}
    assert_close(RMSNorm(4)(Tensor(x)), x / np.sqrt(7.5 + 1e-5), mistakes=mistakes)


@NORMS
@pytest.mark.parametrize("shape", [(5,), (3, 5), (2, 3, 5), (2, 3, 4, 5)])
def test_each_vector_of_the_last_axis_is_normalized(draw, norm, shape):
    """Every token by itself, whatever the leading axes, then times the weight; LayerNorm adds the bias."""
    norm, x = layer(draw, norm), 3 + 2 * draw.normal(*shape)
    assert_close(norm(Tensor(x)), expected(norm, x), mistakes={"the weight is not used": expected(type(norm)(5), x)})


def test_layer_norm_without_bias(draw):
    """bias=False: the same, and nothing is added."""
    norm, x = layer(draw, LayerNorm, bias=False), draw.normal(3, 5)
    assert_close(norm(Tensor(x)), expected(norm, x))


@NORMS
def test_eps_stands_below_the_root(draw, norm):
    """√(variance + eps), not √variance + eps, nor the larger of both. eps is 1e-5 unless given, and an attribute."""
    x = 1e-3 * draw.normal(3, 4)
    centered = x - x.mean(-1, keepdims=True) if norm is LayerNorm else x
    square = (centered * centered).mean(-1, keepdims=True)
    mistakes = {"eps stands outside the root": centered / (np.sqrt(square) + 1e-5), "without eps": centered / np.sqrt(square)}
    assert norm(4).eps == 1e-5
    assert_close(norm(4)(Tensor(x)), centered / np.sqrt(square + 1e-5), mistakes=mistakes)
    assert_close(norm(4, eps=0.5)(Tensor(x)), centered / np.sqrt(square + 0.5))


@NORMS
def test_a_constant_vector_stays_finite(norm):
    """A token whose values are all equal, or all 0, does not divide by 0, and neither does its gradient."""
    for value in (0.0, 7.0):
        x = Tensor(np.full((2, 4), value), requires_grad=True)
        y = norm(4)(x)
        y.backward(np.arange(8.0).reshape(2, 4))
        assert np.isfinite(y.data).all()
        assert np.isfinite(x.grad).all()


def test_a_mean_far_from_zero_leaves_the_variance_exact(draw):
    """mean(x²) - mean² is the variance on paper; of float32 numbers around 100 it is noise, and may be negative."""
    x = (100 + 0.1 * draw.normal(4, 64)).astype(np.float32)
    got, want = LayerNorm(64)(Tensor(x)).data, oracles.transformers.layer_norm(x.astype(np.float64), np.ones(64))
    assert np.abs(got - want).max() < 0.01, "the digits of the variance are lost: subtract the mean first, then square"


@NORMS
def test_the_gradient_goes_through_all_ways(draw, norm):
    """Each value also moves the mean and the variance of its token: all ways count. By input, weight and bias."""
    norm, x, g = layer(draw, norm, 4), draw.normal(2, 3, 4), draw.normal(2, 3, 4)
    tensor = Tensor(x, requires_grad=True)
    norm(tensor).backward(g)
    assert_gradient(tensor.grad, lambda x: expected(norm, x), x, g, name="x")
    for name, parameter in norm.named_parameters():
        values = parameter.data.copy()

        def result(new, parameter=parameter, values=values):
            parameter.data = new
            try:
                return expected(norm, x)
            finally:
                parameter.data = values

        assert_gradient(parameter.grad, result, values, g, name=name)


@NORMS
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_dtype_stays(draw, norm, dtype):
    """The output and the gradient have the input's dtype."""
    norm, x = layer(draw, norm, dtype=dtype), Tensor(draw.normal(3, 5, dtype=dtype), requires_grad=True)
    y = norm(x)
    y.backward(np.ones((3, 5), dtype))
    assert_dtype(y, dtype)
    assert_dtype(x.grad, dtype)


@NORMS
def test_training_and_evaluation_are_the_same(draw, norm):
    """Nothing is averaged over batches or remembered: eval() changes nothing, and a token's neighbors don't matter."""
    norm, x = layer(draw, norm), draw.normal(4, 3, 5)
    want = norm(Tensor(x)).data.copy()
    norm(Tensor(100 * x))
    assert_close(norm.eval()(Tensor(x)), want)
    assert_close(norm(Tensor(x[2:3])), want[2:3])
    assert [name for name in norm.state_dict() if name not in ("weight", "bias")] == []


@NORMS
@pytest.mark.parametrize("shape", [(3, 4), (5, 3), (3, 1), ()])
def test_a_last_axis_of_a_different_length_is_named(norm, shape):
    """Unless the last axis is d_model, a ValueError is raised that contains the layer and the shape: `LayerNorm(5)`, `(3, 4)`.

    An axis of length 1 would be broadcast without a word.
    """
    with rejects(ValueError, f"{norm.__name__}(5)", str(shape)):
        norm(5)(Tensor(np.ones(shape)))


@NORMS
def test_the_output_reaches_everything_by_recorded_operations(draw, norm):
    """The output is computed from the input and the parameters by operations of Tensor, so that autograd sees all of it."""
    norm, x = layer(draw, norm), Tensor(draw.normal(3, 5))
    with recording() as probe:
        y = norm(x)
    assert all(probe.reaches(y, leaf) for leaf in (x, *norm.parameters()))
    other = draw.normal(3, 5)
    assert_close(probe.done_again(y, x, other), expected(norm, other))


@NORMS
def test_steps_do_not_grow_with_the_number_of_tokens(norm):
    """A hundred times as many tokens take the same number of Python instructions, within 10%."""
    norm, few, many = norm(8), Tensor(np.ones((2, 8))), Tensor(np.ones((200, 8)))
    small, large = count_steps(lambda: norm(few), lambda: norm(many))
    assert large <= 1.1 * small
