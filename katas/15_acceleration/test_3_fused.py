import gc

import numpy as np
import pytest
from katas.acceleration import batch_norm_relu, gelu, layer_norm, rms_norm, softmax_cross_entropy
from katas.activations import GELU, ReLU
from katas.autograd import no_grad, vjp
from katas.layers import Parameter
from katas.losses import CrossEntropyLoss
from katas.spatial import BatchNorm2d
from katas.tensor import Tensor
from katas.transformers import LayerNorm, RMSNorm

from specs import oracles
from specs.check import (
    assert_close,
    assert_dtype,
    assert_gradient,
    assert_reentrant,
    best_ratio,
    count_steps,
    layouts,
    measure_bytes,
    recording,
    rejects,
    undisturbed,
)


def statistics(channels: int = 3, dtype=np.float32) -> list[np.ndarray]:
    return [np.zeros(channels, dtype), np.ones(channels, dtype)]


def batch_normed(x, weight, bias) -> Tensor:
    """In training, with running statistics that nobody looks at."""
    return batch_norm_relu(x, weight, bias, *statistics(len(weight)), True, 0.1, 1e-5)


def relu_of_batch_norm(x, weight, bias) -> np.ndarray:
    return np.maximum(oracles.spatial.batch_norm(x, weight, bias), 0)


# The operation, the shapes of its parents, and the oracle
CALLS = {
    "gelu": (gelu, [(3, 5)], oracles.activations.gelu),
    "layer_norm": (layer_norm, [(3, 2, 5), (5,), (5,)], oracles.transformers.layer_norm),
    "layer_norm without bias": (layer_norm, [(4, 5), (5,)], oracles.transformers.layer_norm),
    "rms_norm": (rms_norm, [(3, 2, 5), (5,)], oracles.transformers.rms_norm),
    "batch_norm_relu": (batch_normed, [(4, 3, 2, 5), (3,), (3,)], relu_of_batch_norm),
}
calls = pytest.mark.parametrize("name", CALLS)


def parents(name: str, draw, dtype=np.float64) -> list[np.ndarray]:
    """Values whose mean is not 0, and weights that are not 1."""
    _, (shape, *others), _ = CALLS[name]
    return [(1 + 2 * draw.normal(*shape)).astype(dtype), *[draw.uniform(0.5, 2, *other, dtype=dtype) for other in others]]


def tensors(arrays) -> list[Tensor]:
    return [Tensor(array, requires_grad=True) for array in arrays]


# All of them but cross-entropy


@pytest.mark.parametrize("name", [name for name in CALLS if name != "batch_norm_relu"])
def test_a_long_input_is_as_good_as_its_parts(name, draw):
    """40,009 rows, which fill no whole number of blocks: values and gradients are those of a thousand rows at a time."""
    function, (_, *shapes), _ = CALLS[name]
    x, weights = draw.normal(40_009, 5), [draw.uniform(0.5, 2, *shape) for shape in shapes]
    g, whole, shared, parts = draw.normal(*x.shape), tensors((x, *weights)), tensors(weights), []
    y = function(*whole)
    y.backward(g)
    for start in range(0, len(x), 1000):
        parts.append(Tensor(x[start : start + 1000], requires_grad=True))
        part = function(parts[-1], *shared)
        assert_close(y.data[start : start + 1000], part.data, name=f"rows from {start} on")
        part.backward(g[start : start + 1000])
    assert_close(whole[0].grad, np.concatenate([part.grad for part in parts]), name="x")
    for weight, other in zip(whole[1:], shared, strict=True):
        assert_close(weight.grad, other.grad)


@calls
def test_values_are_the_layers(name, draw):
    """The values of the layer of kata 03, 09 or 14, by explicit loops."""
    function, _, oracle = CALLS[name]
    arrays = parents(name, draw)
    want, mistakes = oracle(*arrays), {}
    if len(arrays) > 1:
        mistakes["the weight is not used"] = oracle(arrays[0], np.ones_like(arrays[1]), *arrays[2:])
    if name == "batch_norm_relu":
        mistakes["ReLU is missing"] = oracles.spatial.batch_norm(*arrays)
    assert_close(function(*map(Tensor, arrays)), want, mistakes=mistakes)


@calls
def test_gradients_are_the_layers(name, draw):
    """By central differences, with a random g: the gradients of all parents."""
    function, _, oracle = CALLS[name]
    arrays = parents(name, draw)
    leaves = tensors(arrays)
    y = function(*leaves)
    g = draw.normal(*y.shape)
    y.backward(g)
    for number, (leaf, array) in enumerate(zip(leaves, arrays, strict=True)):

        def result(value, number=number):
            return oracle(*arrays[:number], value, *arrays[number + 1 :])

        mistakes = {}
        if number == 0 and len(arrays) > 1:
            axis = (0, 2, 3) if "batch" in name else -1
            centered = 0 if "rms" in name else arrays[0].mean(axis, keepdims=True)
            root = np.sqrt(((arrays[0] - centered) ** 2).mean(axis, keepdims=True) + 1e-5)
            scale = arrays[1][:, None, None] if "batch" in name else arrays[1]
            seen = y.data > 0 if "batch" in name else 1
            mistakes["mean and variance are taken for constants"] = g * seen * scale / root
        assert_gradient(leaf.grad, result, array, g, mistakes, f"parent {number}")


@calls
def test_it_is_one_operation(name, draw):
    """The recorder sees one operation, made of all parents: that is what fused means."""
    function, _, _ = CALLS[name]
    leaves = tensors(parents(name, draw))
    with recording() as probe:
        y = function(*leaves)
    assert len(probe) == 1, f"recorded {[record.op for record in probe]}"
    assert probe[0].result is y
    assert {id(parent) for parent in probe[0].parents} == {id(leaf) for leaf in leaves}


@calls
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_dtype_stays(name, dtype, draw):
    """The result and all gradients are float32, or float64, if all parents are; each rule by itself, too."""
    function, _, _ = CALLS[name]
    leaves = tensors(parents(name, draw, dtype))
    y = function(*leaves)
    assert_dtype(y, dtype)
    for argnum in range(len(y.node.parents)):
        gradient = vjp(y.node.op, argnum)(np.ones(y.shape, dtype), *y.node.arrays, **y.node.attrs)
        assert_dtype(gradient, dtype)
    y.backward(np.ones(y.shape, dtype))
    for leaf in leaves:
        assert_dtype(leaf.grad, dtype)


@calls
@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_the_result_has_the_dtype_of_the_product(name, dtype, draw):
    """With a weight of float32, float16 gives float32 and float64 gives float64. A gradient has its parent's dtype."""
    function, _, _ = CALLS[name]
    x, *others = parents(name, draw, np.float32)
    leaves = tensors([x.astype(dtype), *others])
    y = function(*leaves)
    assert_dtype(y, np.result_type(dtype, *[other.dtype for other in others]))
    y.backward(np.ones(y.shape))
    for leaf in leaves:
        assert_dtype(leaf.grad, leaf.dtype)


@calls
def test_float16_is_computed_in_float32(name, draw):
    """float16 has three digits, and 300² overflows it: sums and squares are taken in float32."""
    function, _, oracle = CALLS[name]
    x, *others = parents(name, draw, np.float32)
    x = (30 * x if others else x).astype(np.float16)
    y = function(Tensor(x), *map(Tensor, others))
    want = oracle(x.astype(np.float64), *others)
    assert np.isfinite(y.data).all()
    assert np.abs(y.data - want).max() <= 2e-3 * np.abs(want).max()


@calls
def test_each_rule_can_be_asked_alone_and_again(name, draw):
    """The rules share their work: each is right whichever is asked first, or twice, or for another g after that."""
    function, _, _ = CALLS[name]
    arrays = parents(name, draw)
    y = function(*tensors(arrays))
    node, order = y.node, [*range(len(arrays))]
    g = draw.normal(*y.shape)
    wants = [vjp(node.op, argnum)(g, *node.arrays, **node.attrs).copy() for argnum in order]
    for numbers in (order[::-1], order, order[-1:], order[::-1]):
        for factor in (1.0, -3.0, 1.0):
            other = factor * g
            for argnum in numbers:
                got = vjp(node.op, argnum)(other, *node.arrays, **node.attrs)
                mistakes = {
                    "the gradient for another g, which was kept": -3.0 * wants[argnum],
                    "kept from before": wants[argnum],
                }
                assert_close(got, factor * wants[argnum], mistakes=mistakes, name=f"parent {argnum}")


@calls
def test_a_g_that_was_changed_in_place_between_two_calls(name, draw):
    """Two graphs, one array g, which is written to between their backward passes: nothing is kept from one to the other."""
    function, _, _ = CALLS[name]
    arrays = parents(name, draw)
    first, second = tensors(arrays), tensors(arrays)
    results = [function(*first), function(*second)]
    g = np.ones(results[0].shape)
    results[0].backward(g)
    g *= 2
    results[1].backward(g)
    for a, b in zip(first, second, strict=True):
        assert_close(b.grad, 2 * a.grad)


@calls
def test_only_what_is_needed_is_asked(name, draw):
    """Parents that require no gradient get none, and the others' are right."""
    function, _, _ = CALLS[name]
    arrays = parents(name, draw)
    whole = tensors(arrays)
    y = function(*whole)
    g = draw.normal(*y.shape)
    y.backward(g)
    for number in range(len(arrays)):
        leaves = [Tensor(array, requires_grad=number == i) for i, array in enumerate(arrays)]
        function(*leaves).backward(g)
        assert_close(leaves[number].grad, whole[number].grad, name=f"parent {number}")
        assert all(leaf.grad is None for i, leaf in enumerate(leaves) if i != number)


@calls
def test_arrays_may_lie_in_memory_in_any_order(name, draw):
    """Parents and g are read by index and not changed."""
    function, _, oracle = CALLS[name]
    arrays = parents(name, draw)
    want, g = oracle(*arrays), draw.normal(*oracle(*arrays).shape)
    whole = tensors(arrays)
    function(*whole).backward(g)
    for order in layouts(arrays[0]):
        leaves = tensors([layouts(array)[order] for array in arrays])
        other = layouts(g)[order]
        for array in (*[leaf.data for leaf in leaves], other):
            array.flags.writeable = False
        y = function(*leaves)
        assert_close(y, want, name=order)
        y.backward(other)
        for leaf, same in zip(leaves, whole, strict=True):
            assert_close(leaf.grad, same.grad, name=order)


@calls
def test_channels_last(name, draw):
    """Images of kata 09 have the channels of a pixel side by side in memory: nothing else changes."""
    function, (shape, *_), oracle = CALLS[name]
    if len(shape) != 4:
        shape = None
    arrays = parents(name, draw)
    x = arrays[0]
    order = (*range(x.ndim - 2), x.ndim - 1, x.ndim - 2) if shape is None else (0, 2, 3, 1)
    moved = np.ascontiguousarray(x.transpose(order)).transpose(np.argsort(order))
    leaves = tensors([moved, *arrays[1:]])
    y = function(*leaves)
    assert_close(y, oracle(*arrays))
    whole = tensors(arrays)
    g = draw.normal(*y.shape)
    function(*whole).backward(g)
    y.backward(np.ascontiguousarray(g.transpose(order)).transpose(np.argsort(order)))
    assert_close(leaves[0].grad, whole[0].grad)


@calls
def test_results_share_no_memory(name, draw):
    """A result is the caller's own: it shares no memory with a parent or with the next call's, and no gradient does."""
    function, _, _ = CALLS[name]
    arrays = [array.copy() for array in parents(name, draw)]
    g, found = draw.normal(*function(*map(Tensor, arrays)).shape), []
    for _ in range(2):
        leaves = tensors(arrays)
        y = function(*leaves)
        y.backward(g)
        found += [y.data, *[leaf.grad for leaf in leaves]]
    for i, a in enumerate(found):
        for b in [*found[:i], *arrays]:
            assert not np.may_share_memory(a, b)


@calls
def test_two_calls_of_the_same_tensor_add_up(name, draw):
    """The gradient of a tensor that two operations share is the sum of both: the second does not overwrite the first one's."""
    function, _, _ = CALLS[name]
    arrays = parents(name, draw)
    first, second, both = tensors(arrays), tensors(arrays), tensors(arrays)
    g = draw.normal(*function(*first).shape)
    function(*first).backward(g)
    function(*second).backward(-3 * g)
    inner = [leaf * 1.0 for leaf in both]  # the gradient of a leaf may be a copy, that of an inner tensor is the rule's own
    (function(*inner) - 3 * function(*inner)).backward(g)
    for leaf, one, other in zip(both, first, second, strict=True):
        assert_close(leaf.grad, one.grad + other.grad)


@calls
def test_data_may_be_replaced_before_backward(name, draw):
    """backward uses the arrays of the forward pass: other `data` in between is safe, as in kata 07."""
    function, _, _ = CALLS[name]
    arrays = parents(name, draw)
    whole, leaves = tensors(arrays), tensors(arrays)
    y = function(*leaves)
    g = draw.normal(*y.shape)
    function(*whole).backward(g)
    for leaf in leaves:
        leaf.data = 7 * leaf.data
    y.backward(g)
    for leaf, same in zip(leaves, whole, strict=True):
        assert_close(leaf.grad, same.grad)


@calls
def test_an_empty_batch(name):
    """No rows give no rows; the gradients of weight and bias are zeros."""
    if name == "batch_norm_relu":
        with rejects(ValueError, "(0, 3, 2, 5)"):
            batch_normed(Tensor(np.ones((0, 3, 2, 5))), *tensors([np.ones(3), np.ones(3)]))
        return
    function, (shape, *others), _ = CALLS[name]
    leaves = tensors([np.ones((0, *shape[1:])), *[np.ones(other) for other in others]])
    y = function(*leaves)
    y.backward(np.ones(y.shape))
    assert y.shape == (0, *shape[1:])
    for leaf in leaves:
        assert_close(leaf.grad, np.zeros(leaf.shape))


@calls
def test_nan_stays_in_its_row(name, draw):
    """NaN passes through, and no other row, or channel, has it: not in the next call either."""
    function, _, oracle = CALLS[name]
    arrays = parents(name, draw)
    x = arrays[0].copy()
    x[1, 1] = np.nan
    y = function(Tensor(x), *map(Tensor, arrays[1:])).data
    want = oracle(*arrays)
    if name == "batch_norm_relu":
        assert np.isnan(y[:, 1]).all()
        assert_close(y[:, ::2], want[:, ::2])
    else:
        assert np.isnan(y[1, 1]).all()
        assert_close(y[::2], want[::2])
    assert_close(function(*map(Tensor, arrays)), want)


@calls
def test_nothing_is_recorded_under_no_grad(name, draw):
    """Under no_grad the result requires no gradient."""
    function, _, oracle = CALLS[name]
    arrays = parents(name, draw)
    with no_grad():
        y = function(*tensors(arrays))
    assert not y.requires_grad
    assert_close(y, oracle(*arrays))


@calls
def test_two_threads_may_call_at_the_same_time(name, draw):
    """Each of two threads gets its own results and gradients."""
    function, _, _ = CALLS[name]
    arrays = parents(name, draw)

    def results(scale):
        leaves = tensors([scale * arrays[0], *arrays[1:]])
        y = function(*leaves)
        y.backward(y.data)
        return [y.data, *[leaf.grad for leaf in leaves]]

    assert_reentrant(results)


@calls
def test_numpys_state_is_left_alone(name, draw):
    """No call changes NumPy's generator, error handling or the working directory, or warns."""
    function, _, _ = CALLS[name]
    leaves = tensors(parents(name, draw))
    with undisturbed():
        y = function(*leaves)
        y.backward(np.ones(y.shape))


# gelu


def test_gelu_is_the_tanh_form():
    """x/2 · (1 + tanh(√(2/π) (x + 0.044715 x³))): the form with erf differs by up to 4.7e-4."""
    x = np.array([-3.0, -1, -0.5, 0, 0.5, 1, 3])
    want = [-0.00363739, -0.15880801, -0.15428599, 0, 0.34571401, 0.84119199, 2.99636261]
    erf = [-0.00404969, -0.15865525, -0.15426877, 0, 0.34573123, 0.84134475, 2.99595031]
    got = gelu(Tensor(x)).data
    assert np.abs(got - want).max() < 1e-8, "the form with erf" if np.abs(got - erf).max() < 1e-6 else f"{got}"


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_gelu_far_from_zero(dtype):
    """x = ±10⁴ or ±∞ overflow nowhere: gelu is x, or 0, and its gradient 1, or 0; never NaN, and nothing is warned of."""
    x = Tensor(np.array([-np.inf, -1e4, -50, 50, 1e4, np.inf], dtype), requires_grad=True)
    with np.errstate(all="raise", under="ignore"):
        y = gelu(x)
        y.backward(np.ones(6))
    assert_dtype(y, dtype)
    assert_close(y, np.array([0, 0, 0, 50, 1e4, np.inf], dtype))
    assert_close(x.grad, np.array([0, 0, 0, 1, 1, 1], dtype))


def test_gelu_has_all_its_digits_in_float32(draw):
    """In float32 the value and the gradient are within 1e-6 of the exact ones, near 0 relative to x, too."""
    x = np.concatenate([draw.uniform(-8, 8, 2000), 1e-6 * draw.normal(50)]).astype(np.float32)
    leaf = Tensor(x, requires_grad=True)
    y = gelu(leaf)
    y.backward(np.ones(len(x)))
    exact = x.astype(np.float64)
    assert np.abs(y.data - oracles.activations.gelu(exact)).max() < 1e-6
    assert np.abs(y.data[-50:] - exact[-50:] / 2).max() < 1e-10
    step = 1e-6
    slope = (oracles.activations.gelu(exact + step) - oracles.activations.gelu(exact - step)) / (2 * step)
    assert np.abs(leaf.grad - slope).max() < 3e-6


@pytest.mark.parametrize("dtype", [np.int8, np.int64, np.bool_])
def test_gelu_of_integers_is_float32(dtype):
    """As kata 03's GELU: 6³ is no int8."""
    y = gelu(Tensor(np.array([0, 1, 6], dtype) if dtype != np.bool_ else np.array([False, True, True])))
    assert_dtype(y, np.float32)
    assert_close(y.data[:2], np.array([0, 0.841192], np.float32))


@pytest.mark.parametrize("shape", [(), (1,), (0,), (2, 0, 3), (5,), (2, 3, 4, 5)], ids=str)
def test_gelu_of_any_shape(shape, draw):
    """A 0-d tensor, or one without elements, too."""
    x = Tensor(draw.normal(*shape), requires_grad=True)
    y = gelu(x)
    y.backward(np.ones(shape))
    assert_close(y, oracles.activations.gelu(x.data))
    assert x.grad.shape == shape


# layer_norm, rms_norm

NORMS = pytest.mark.parametrize("norm", [layer_norm, rms_norm])


@NORMS
def test_eps_stands_below_the_root(norm, draw):
    """√(variance + eps), not √variance + eps; 1e-5 unless given."""
    x, weight = 1e-3 * draw.normal(3, 4), np.ones(4)
    centered = x - x.mean(-1, keepdims=True) if norm is layer_norm else x
    square = (centered * centered).mean(-1, keepdims=True)
    mistakes = {"eps stands outside the root": centered / (np.sqrt(square) + 1e-5), "without eps": centered / np.sqrt(square)}
    assert_close(norm(Tensor(x), Tensor(weight)), centered / np.sqrt(square + 1e-5), mistakes=mistakes)
    leaf = Tensor(x, requires_grad=True)
    y = norm(leaf, Tensor(weight), eps=0.5)
    assert_close(y, centered / np.sqrt(square + 0.5))
    g = draw.normal(3, 4)
    y.backward(g)
    oracle = oracles.transformers.layer_norm if norm is layer_norm else oracles.transformers.rms_norm
    assert_gradient(leaf.grad, lambda x: oracle(x, weight, eps=0.5), x, g)


@pytest.mark.parametrize("zero", [0, 0.0])
def test_an_eps_of_zero_is_zero(zero, draw):
    """eps=0 is a value, not the default: small rows are divided by their own deviation, or root mean square."""
    rows, images = 1e-3 * draw.normal(3, 4), 1e-3 * draw.normal(4, 3, 2, 5)
    centered = rows - rows.mean(-1, keepdims=True)
    assert_close(layer_norm(Tensor(rows), Tensor(np.ones(4)), None, zero), centered / rows.std(-1, keepdims=True))
    assert_close(rms_norm(Tensor(rows), Tensor(np.ones(4)), zero), rows / np.sqrt((rows**2).mean(-1, keepdims=True)))
    one, two = Tensor(np.ones(3)), Tensor(np.full(3, 2.0))
    y = batch_norm_relu(Tensor(images), one, two, *statistics(dtype=np.float64), True, 0.1, zero)
    axes = {"axis": (0, 2, 3), "keepdims": True}
    assert_close(y, np.maximum((images - images.mean(**axes)) / images.std(**axes) + 2, 0))
    small = np.full(3, 1e-6)
    y = batch_norm_relu(Tensor(images), one, two, np.zeros(3), small, False, 0.1, zero)
    assert_close(y, np.maximum(images / 1e-3 + 2, 0))


def test_the_variance_divides_by_n():
    """The variance of 1, 2, 3, 4 is 1.25, not 5/3: ±1.341635 and ±0.447212."""
    y = layer_norm(Tensor(np.array([1.0, 2, 3, 4])), Tensor(np.ones(4))).data
    assert_close(
        y.astype(np.float32).round(6),
        np.array([-1.341635, -0.447212, 0.447212, 1.341635], np.float32),
        mistakes={"the variance divides by n - 1": np.array([-1.161892, -0.387297, 0.387297, 1.161892])},
    )


@NORMS
def test_a_constant_row_stays_finite(norm):
    """A row whose values are all equal, or all 0, divides by √eps at least; so does its gradient."""
    for value in (0.0, 7.0):
        x = Tensor(np.full((2, 4), value, np.float32), requires_grad=True)
        y = norm(x, Tensor(np.ones(4, np.float32)))
        y.backward(np.arange(8.0).reshape(2, 4))
        assert np.isfinite(y.data).all()
        assert np.isfinite(x.grad).all()


def test_a_mean_far_from_zero_leaves_the_variance_exact(draw):
    """mean(x²) - mean² is the variance on paper; of float32 numbers around 100 it is noise, and may be negative."""
    x = (100 + 0.1 * draw.normal(4, 64)).astype(np.float32)
    got = layer_norm(Tensor(x), Tensor(np.ones(64, np.float32))).data
    want = oracles.transformers.layer_norm(x.astype(np.float64), np.ones(64))
    assert np.abs(got - want).max() < 0.01, "the digits of the variance are lost: subtract the mean first, then square"


@NORMS
def test_many_rows_are_summed_with_all_digits(norm, draw):
    """The gradients of weight and bias are sums over 200,000 rows: within 1e-4 in float32, where row after row loses 1e-3."""
    n, x = 200_000, np.array([[-1.0, 1.0]], np.float32)
    weight, bias = (Tensor(np.ones(2, np.float32), requires_grad=True) for _ in range(2))
    y = norm(Tensor(np.broadcast_to(x, (n, 2))), weight, *([bias] if norm is layer_norm else []))
    g = (1 + 0.01 * draw.normal(n, 2)).astype(np.float32)
    y.backward(g)
    want = (g.astype(np.float64) * x / np.sqrt(1 + 1e-5)).sum(0)
    assert np.abs(weight.grad / want - 1).max() < 1e-4
    if norm is layer_norm:
        assert np.abs(bias.grad / g.astype(np.float64).sum(0) - 1).max() < 1e-4


@NORMS
@pytest.mark.parametrize("shape", [(5,), (1, 5), (70, 5), (2, 3, 4, 5), (9, 1)], ids=str)
def test_rows_of_any_number(norm, shape, draw):
    """Any leading axes, and a last axis of length 1."""
    x, weight, g = 1 + draw.normal(*shape), draw.uniform(0.5, 2, shape[-1]), draw.normal(*shape)
    leaf = Tensor(x, requires_grad=True)
    y = norm(leaf, Tensor(weight))
    oracle = oracles.transformers.layer_norm if norm is layer_norm else oracles.transformers.rms_norm
    assert_close(y, oracle(x, weight))
    y.backward(g)
    assert_gradient(leaf.grad, lambda x: oracle(x, weight), x, g)


@NORMS
@pytest.mark.parametrize("shape", [(3, 4), (5, 3), (3, 1), ()], ids=str)
def test_a_last_axis_of_a_different_length_is_named(norm, shape):
    """Unless the last axis is the weight's, a ValueError is raised that contains x's shape. Length 1 would be broadcast."""
    with rejects(ValueError, str(shape)):
        norm(Tensor(np.ones(shape)), Tensor(np.ones(5)))


@pytest.mark.parametrize("shape", [(4,), (1,), (5, 1), ()], ids=str)
def test_a_bias_of_a_different_shape_is_named(shape):
    """It is not broadcast: a ValueError is raised that contains x's shape."""
    with rejects(ValueError, "(3, 5)"):
        layer_norm(Tensor(np.ones((3, 5))), Tensor(np.ones(5)), Tensor(np.ones(shape)))


# batch_norm_relu


def test_running_statistics_move_in_place(draw):
    """running ← running + momentum · (batch - running), once a step, in the same arrays; the variance is the unbiased one."""
    x, weight, bias = parents("batch_norm_relu", draw)
    mean, var = statistics(dtype=np.float64)
    want_mean, want_var = np.zeros(3), np.ones(3)
    for _ in range(2):
        leaf = Tensor(x, requires_grad=True)
        batch_norm_relu(leaf, Tensor(weight), Tensor(bias), mean, var, True, 0.25, 1e-5).sum().backward()
        biased = 0.75 * want_var + 0.25 * x.var((0, 2, 3))
        want_mean = 0.75 * want_mean + 0.25 * x.mean((0, 2, 3))
        want_var = 0.75 * want_var + 0.25 * x.var((0, 2, 3), ddof=1)
        assert_close(mean, want_mean, name="running_mean")
        assert_close(var, want_var, mistakes={"the biased variance, over n": biased}, name="running_var")
        x = x + 1


def test_the_default_momentum_and_eps(draw):
    """momentum is 0.1 and eps 1e-5 unless given."""
    x, weight, bias = parents("batch_norm_relu", draw)
    mean, var = statistics(dtype=np.float64)
    y = batch_norm_relu(Tensor(1e-3 * x), Tensor(weight), Tensor(bias), mean, var, True)
    assert_close(y, relu_of_batch_norm(1e-3 * x, weight, bias))
    assert_close(mean, 1e-4 * x.mean((0, 2, 3)))


def test_in_evaluation_the_running_statistics_are_used_and_stay(draw):
    """training=False: (x - running_mean) / √(running_var + eps) · weight + bias, then max(·, 0). They are not written to."""
    x, weight, bias = parents("batch_norm_relu", draw)
    mean, var, g = draw.normal(3), draw.uniform(0.5, 2, 3), draw.normal(*x.shape)
    leaves = tensors((x, weight, bias))

    def evaluated(x, weight, bias):
        shaped = [array[:, None, None] for array in (mean, var, weight, bias)]
        return np.maximum((x - shaped[0]) / np.sqrt(shaped[1] + 0.25) * shaped[2] + shaped[3], 0)

    y = batch_norm_relu(*leaves, mean, var, False, 0.1, 0.25)
    assert_close(y, evaluated(x, weight, bias))
    y.backward(g)
    assert_gradient(leaves[0].grad, lambda x: evaluated(x, weight, bias), x, g, name="x")
    assert_gradient(leaves[1].grad, lambda weight: evaluated(x, weight, bias), weight, g, name="weight")
    assert_gradient(leaves[2].grad, lambda bias: evaluated(x, weight, bias), bias, g, name="bias")


def test_statistics_may_change_between_forward_and_backward(draw):
    """In evaluation all gradients belong to the statistics of the forward pass, though later steps write into the arrays."""
    arrays = parents("batch_norm_relu", draw)
    mean, var, same, later = np.zeros(3), np.ones(3), tensors(arrays), tensors(arrays)
    for leaves in (same, later):
        y = batch_norm_relu(*leaves, mean, var, False)
        if leaves is later:
            mean += 5
            var *= 3
        y.backward(arrays[0])
    for name, leaf, want in zip(("x", "weight", "bias"), later, same, strict=True):
        assert_close(leaf.grad, want.grad, name=name)


@pytest.mark.parametrize("momentum", [0, 0.0, 1])
def test_a_momentum_of_zero_leaves_the_statistics(momentum, draw):
    """momentum=0 is a value, not the default: the running statistics stay. With 1 they are the batch's."""
    x, weight, bias = parents("batch_norm_relu", draw)
    mean, var = statistics(dtype=np.float64)
    batch_norm_relu(*map(Tensor, (x, weight, bias)), mean, var, True, momentum)
    assert_close(mean, x.mean((0, 2, 3)) if momentum else np.zeros(3))
    assert_close(var, x.var((0, 2, 3), ddof=1) if momentum else np.ones(3))


def test_images_of_different_brightness_count_together(draw):
    """Mean and variance are those of the whole batch, 2.6 MB: what the images' own means differ by is part of the variance. So
    it is in the gradients.
    """
    x = draw.normal(40, 2, 64, 64) + np.linspace(-20, 20, 40)[:, None, None, None]
    weight, bias, g = draw.uniform(0.5, 2, 2), draw.uniform(0.5, 2, 2), draw.normal(*x.shape)
    leaves, (mean, var) = tensors((x, weight, bias)), statistics(2, np.float64)
    y = batch_norm_relu(*leaves, mean, var, True, 1)
    within = x.var((2, 3)).mean(0) * x[:, 0].size / (x[:, 0].size - 1)
    assert_close(var, x.var((0, 2, 3), ddof=1), mistakes={"the variance within the images alone": within})
    root = np.sqrt(x.var((0, 2, 3), keepdims=True) + 1e-5)
    normal = (x - x.mean((0, 2, 3), keepdims=True)) / root
    shaped = [array[:, None, None] for array in (weight, bias)]
    assert_close(y, np.maximum(normal * shaped[0] + shaped[1], 0))
    y.backward(g)
    passed = g * (y.data > 0)
    means = [array.mean((0, 2, 3), keepdims=True) for array in (passed, passed * normal)]
    assert_close(leaves[0].grad, shaped[0] / root * (passed - means[0] - normal * means[1]), name="x")
    assert_close(leaves[1].grad, (passed * normal).sum((0, 2, 3)), name="weight")
    assert_close(leaves[2].grad, passed.sum((0, 2, 3)), name="bias")


def test_the_gradient_at_zero_is_zero():
    """ReLU'(0) = 0, as in kata 03: a constant channel with a bias of 0 passes nothing on. -0 is not above 0 either."""
    x = Tensor(np.full((2, 3, 2, 2), 7.0), requires_grad=True)
    weight, bias = tensors([np.ones(3), np.array([0.0, -0.0, 1.0])])
    y = batch_normed(x, weight, bias)
    y.backward(np.ones(y.shape))
    assert_close(y, np.broadcast_to(np.array([0.0, 0, 1])[:, None, None], y.shape))
    assert_close(bias.grad, np.array([0.0, 0, 8]))


def test_an_infinite_g_does_not_pass_where_the_result_is_zero(draw):
    """∞ · 0 is NaN: where ReLU is 0, the bias gets 0 of an infinite g."""
    x, weight, bias = parents("batch_norm_relu", draw)
    mean, var = np.zeros(3), np.ones(3)
    leaves = tensors((x, weight, bias))
    y = batch_norm_relu(*leaves, mean, var, False)
    g = np.where(y.data > 0, 1.0, np.inf)
    y.backward(g)
    assert_close(leaves[2].grad, (y.data > 0).sum((0, 2, 3)).astype(float))


def test_batch_statistics_of_many_pixels_have_all_digits(draw):
    """float32: 300,000 pixels around 100 with a deviation of 0.1; mean(x²) - mean² would be noise."""
    x = (100 + 0.1 * draw.normal(30, 2, 100, 100)).astype(np.float32)
    mean, var = statistics(2)
    ones, zeros = Tensor(np.ones(2, np.float32)), Tensor(np.zeros(2, np.float32))
    y = batch_norm_relu(Tensor(x), ones, zeros, mean, var, True, 1.0).data
    exact = x.astype(np.float64)
    center, spread = exact.mean((0, 2, 3), keepdims=True), exact.var((0, 2, 3), keepdims=True)
    assert np.abs(y - np.maximum((exact - center) / np.sqrt(spread + 1e-5), 0)).max() < 0.01
    assert_close(var, exact.var((0, 2, 3), ddof=1).astype(np.float32), mistakes={"the biased variance": spread.ravel() * 0})
    assert np.abs(mean - center.ravel()).max() < 1e-4


@pytest.mark.parametrize("shape", [(2, 4, 3, 3), (2, 1, 3, 3), (2, 3, 3), (3,)], ids=str)
def test_images_with_other_channels_are_named(shape):
    """Unless x is (batch, channels, h, w) with the weight's channels, a ValueError is raised that contains x's shape."""
    for training in (True, False):
        with rejects(ValueError, str(shape)):
            batch_norm_relu(Tensor(np.ones(shape)), *tensors([np.ones(3), np.ones(3)]), *statistics(), training)


@pytest.mark.parametrize("shape", [(2,), (4,), (1,), (3, 1)], ids=str)
@pytest.mark.parametrize("wrong", ["weight", "bias", "running_mean", "running_var"])
def test_channels_that_do_not_fit_are_named_before_anything_moves(wrong, shape):
    """A weight, a bias or statistics of another shape than (channels,) raise a ValueError that contains x's shape. By then no
    running statistic has moved, in train mode either.
    """
    sizes = {"weight": (3,), "bias": (3,), "running_mean": (3,), "running_var": (3,)} | {wrong: shape}
    for training in (True, False):
        weight, bias, mean, var = (np.ones(size, np.float32) for size in sizes.values())
        with rejects(ValueError, "(2, 3, 4, 4)"):
            batch_norm_relu(Tensor(np.full((2, 3, 4, 4), 7.0)), Tensor(weight), Tensor(bias), mean, var, training)
        assert (mean == 1).all(), "running_mean has moved"
        assert (var == 1).all(), "running_var has moved"


def test_one_value_a_channel_has_no_variance():
    """In training a ValueError contains the shape, and the running statistics stay. In evaluation it is no error."""
    mean, var = statistics()
    x, ones = Tensor(np.ones((1, 3, 1, 1))), tensors([np.ones(3), np.ones(3)])
    with rejects(ValueError, "(1, 3, 1, 1)"):
        batch_norm_relu(x, *ones, mean, var, True)
    assert_close(np.stack([mean, var]), np.array([[0, 0, 0], [1, 1, 1]], np.float32))
    assert batch_norm_relu(x, *ones, mean, var, False).shape == (1, 3, 1, 1)


# softmax_cross_entropy


def classes(draw, *shape: int, dtype=np.float64) -> tuple[np.ndarray, np.ndarray]:
    """Logits (…, classes) and a target (…)."""
    return draw.normal(*shape, dtype=dtype), draw.integers(shape[-1], *shape[:-1]).copy()


OPTIONS = pytest.mark.parametrize(("smoothing", "ignored"), [(0.0, -100), (0.1, -100), (0.0, 2), (0.3, 2)])


@OPTIONS
@pytest.mark.parametrize("shape", [(6, 5), (4, 3, 5), (1, 5), (7, 2), (9, 1)], ids=str)
def test_cross_entropy(shape, smoothing, ignored, draw):
    """The mean over the targets that count of -log p[target], with label smoothing, and its gradient."""
    logits, target = classes(draw, *shape)
    target.flat[: 2 * target.size // 3 + 1] %= 2  # so that some count, whatever is ignored
    if ignored in range(shape[-1]) and target.size > 1:
        target.flat[-1] = ignored
    want = oracles.losses.cross_entropy(logits, target, smoothing, ignored)
    fraction, mistakes = np.mean(target != ignored), {}
    if fraction < 1:
        mistakes["ignored targets are in the mean"] = np.asarray(want * fraction)
    if target.size > 1 and shape[-1] > 1:
        mistakes["the sum, not the mean"] = np.asarray(want * target.size * fraction)
    leaf, g = Tensor(logits, requires_grad=True), np.asarray(-1.5)
    loss = softmax_cross_entropy(leaf, target, smoothing, ignored)
    assert_close(loss, np.asarray(want), mistakes=mistakes)
    loss.backward(g)
    assert_gradient(leaf.grad, lambda x: np.asarray(oracles.losses.cross_entropy(x, target, smoothing, ignored)), logits, g)


def test_cross_entropy_is_one_operation(draw):
    """One operation of one parent, with a result of shape ()."""
    logits, target = classes(draw, 6, 5)
    leaf = Tensor(logits, requires_grad=True)
    with recording() as probe:
        loss = softmax_cross_entropy(leaf, target)
    assert len(probe) == 1
    assert probe[0].parents == (leaf,)
    assert loss.shape == ()


def test_the_target_may_be_a_tensor_or_a_list_and_change_later(draw):
    """As in kata 05. What the caller does to the target after forward does not reach backward."""
    logits, target = classes(draw, 6, 5)
    want = np.asarray(oracles.losses.cross_entropy(logits, target))
    assert_close(softmax_cross_entropy(Tensor(logits), Tensor(target)), want)
    assert_close(softmax_cross_entropy(Tensor(logits), target.tolist()), want)
    assert_close(softmax_cross_entropy(Tensor(logits), target.astype(np.uint8)), want)
    grads = []
    for change in (False, True):
        leaf, labels = Tensor(logits, requires_grad=True), target.copy()
        loss = softmax_cross_entropy(leaf, labels)
        if change:
            labels[...] = 0
        loss.backward()
        grads.append(leaf.grad)
    assert_close(grads[1], grads[0])


def test_an_ignored_target_gets_no_gradient(draw):
    """Exactly zero, and its logits don't matter, however large they are."""
    logits, target = classes(draw, 4, 5)
    target[1], logits = -100, logits.copy()
    logits[1] = [1e4, -1e4, 0, 1, 2]
    leaf = Tensor(logits, requires_grad=True)
    loss = softmax_cross_entropy(leaf, target)
    counted = [0, 2, 3]
    assert_close(loss, np.asarray(oracles.losses.cross_entropy(logits[counted], target[counted])))
    loss.backward()
    assert (leaf.grad[1] == 0).all()
    assert np.isfinite(leaf.grad).all()


def test_large_logits_do_not_overflow():
    """±10⁴, in float32; no warning."""
    logits = np.array([[1e4, -1e4, 0], [-1e4, -1e4, -1e4]], np.float32)
    leaf = Tensor(logits, requires_grad=True)
    with np.errstate(all="raise", under="ignore"):
        loss = softmax_cross_entropy(leaf, [0, 1])
        loss.backward()
    assert_close(loss, np.asarray(np.log(3) / 2, np.float32))
    assert_close(leaf.grad, np.array([[0, 0, 0], [1 / 6, -1 / 3, 1 / 6]], np.float32))


def test_an_excluded_class_has_an_infinite_logit(draw):
    """A logit of -∞ excludes a class: its probability and its gradient are 0, and nothing is NaN."""
    logits, target = draw.normal(3, 5).copy(), np.array([0, 1, 2])
    logits[:, 4] = -np.inf
    leaf = Tensor(logits, requires_grad=True)
    loss = softmax_cross_entropy(leaf, target)
    assert_close(loss, np.asarray(oracles.losses.cross_entropy(logits[:, :4], target)))
    loss.backward()
    assert (leaf.grad[:, 4] == 0).all()
    assert np.isfinite(leaf.grad).all()


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_the_loss_has_the_dtype_of_the_logits(dtype, draw):
    """The loss and the gradient have the logits' dtype. float16 is computed in float32: it can't add 3,000 exponentials."""
    logits, target = classes(draw, 3, 3000)
    leaf = Tensor(logits.astype(dtype), requires_grad=True)
    loss = softmax_cross_entropy(leaf, target, 0.1)
    assert_dtype(loss, dtype)
    want = oracles.losses.cross_entropy(logits.astype(dtype).astype(np.float64), target, 0.1)
    assert abs(loss.item() - want) < 1e-3 * want
    loss.backward()
    assert_dtype(leaf.grad, dtype)


def test_logits_may_be_integers():
    """As in kata 05: the loss of integers is float32; bytes don't overflow."""
    logits, target = np.array([[250, 0, 3], [7, 255, 1]], np.uint8), [2, 1]
    loss = softmax_cross_entropy(Tensor(logits), target)
    assert_dtype(loss, np.float32)
    assert_close(loss, np.asarray(oracles.losses.cross_entropy(logits.astype(np.float64), np.array(target)), np.float32))


def test_logits_in_any_order_and_not_changed(draw):
    """Logits are read by index and not written to."""
    logits, target = classes(draw, 6, 5)
    whole = Tensor(logits, requires_grad=True)
    softmax_cross_entropy(whole, target).backward()
    for order, array in layouts(logits).items():
        array.flags.writeable = False
        leaf = Tensor(array, requires_grad=True)
        loss = softmax_cross_entropy(leaf, target)
        loss.backward()
        assert_close(loss, np.asarray(oracles.losses.cross_entropy(logits, target)), name=order)
        assert_close(leaf.grad, whole.grad, name=order)


def test_the_gradient_can_be_asked_again(draw):
    """The rule gives the gradient for each g, also a second time: what was computed in forward is not scaled in place."""
    logits, target = classes(draw, 6, 5)
    node = softmax_cross_entropy(Tensor(logits, requires_grad=True), target).node
    rule, grads = vjp(node.op, 0), {}
    for factor in (1.0, 3.0, 1.0):
        grads[factor] = rule(np.asarray(factor), *node.arrays, **node.attrs).copy()
    assert_close(grads[3.0], 3 * grads[1.0], mistakes={"scaled in place, again and again": 9 * grads[1.0]})


@pytest.mark.parametrize(
    ("error", "logits", "target", "options", "names"),
    [
        (ValueError, (3, 5), [0, 1], {}, ["(3, 5)", "(2,)"]),
        (ValueError, (3, 5), [[0, 1, 2]], {}, ["(3, 5)", "(1, 3)"]),
        (ValueError, (), 0, {}, ["()"]),
        (ValueError, (3, 5), [0, 1, 5], {}, ["5"]),
        (ValueError, (3, 5), [0, 1, -1], {}, ["-1", "5"]),
        (ValueError, (0, 5), np.zeros(0, np.int64), {}, ["(0,)"]),
        (ValueError, (2, 5), [-100, -100], {}, ["(2,)", "-100"]),
        (TypeError, (2, 5), [0.0, 1.0], {}, ["float32"]),
        (TypeError, (2, 5), [True, False], {}, ["bool"]),
        (ValueError, (2, 5), [0, 1], {"label_smoothing": 1.0}, ["1.0"]),
        (ValueError, (2, 5), [0, 1], {"label_smoothing": -0.1}, ["-0.1"]),
    ],
)
def test_wrong_input_is_named(error, logits, target, options, names):
    """As CrossEntropyLoss: shapes that don't fit, a class that doesn't exist, no target that counts, targets that are no
    integers, and label smoothing outside [0, 1).
    """
    with rejects(error, *names):
        softmax_cross_entropy(Tensor(np.zeros(logits)), target, **options)


# Budgets

LARGE = {
    "gelu": (1024, 1024),
    "layer_norm": (2048, 512),
    "layer_norm without bias": (2048, 512),
    "rms_norm": (2048, 512),
    "batch_norm_relu": (16, 64, 32, 32),
    "cross entropy": (1024, 1024),
}


def large(name: str):
    """4 MB of values, the other parents, and a call."""
    shape = LARGE[name]
    x = Tensor(np.linspace(-3, 3, int(np.prod(shape)), dtype=np.float32).reshape(shape), requires_grad=True)
    if name == "cross entropy":
        return lambda: softmax_cross_entropy(x, np.arange(1024)), x
    function, (_, *others), _ = CALLS[name]
    channels = shape[1] if name == "batch_norm_relu" else shape[-1]
    rest = [Tensor(np.ones(channels, np.float32), requires_grad=True) for _ in others]
    return lambda: function(x, *rest), x


@pytest.mark.parametrize("name", LARGE)
def test_a_forward_makes_two_arrays_besides_its_result(name):
    """Of 4 MB of values, forward holds the result and at most two more arrays of that size."""
    call, x = large(name)
    with no_grad():
        peak, retained = measure_bytes(call)
    assert peak < 3.25 * x.data.nbytes, f"forward holds {peak / x.data.nbytes:.2f} times the memory of x"
    assert retained < 100_000


@pytest.mark.parametrize("name", LARGE)
def test_the_graph_holds_at_most_one_array_more(name):
    """Between forward and backward the result and at most one more array of its size are alive."""
    (call, x), kept = large(name), [None]

    def forward():
        kept[0] = call()

    _, retained = measure_bytes(forward)
    assert retained < 2.25 * x.data.nbytes, f"for backward {retained / x.data.nbytes:.2f} times the memory of x is kept"


@pytest.mark.parametrize("name", LARGE)
def test_a_step_holds_at_most_five_arrays(name):
    """Forward and backward of 4 MB of values hold at most five arrays of that size, and nothing afterwards."""
    call, x = large(name)

    def step():
        y = call()
        y.backward(np.asarray(1.0) if y.shape == () else y.data)
        x.grad = None

    step()
    gc.collect()
    peak, retained = measure_bytes(step)
    assert peak < 5.25 * x.data.nbytes, f"a step holds {peak / x.data.nbytes:.2f} times the memory of x"
    assert retained < 100_000


@pytest.mark.parametrize("name", LARGE)
def test_steps_do_not_grow_with_rows(name):
    """Sixteen times as many rows take at most 2.5 times the Python instructions, forward and backward."""

    def step(rows):
        shape = (rows, 3, 4, 4) if name == "batch_norm_relu" else (rows, 8)
        x = Tensor(np.linspace(-3, 3, int(np.prod(shape)), dtype=np.float32).reshape(shape), requires_grad=True)

        def call():
            if name == "cross entropy":
                y = softmax_cross_entropy(x, np.arange(rows) % 8)
            else:
                function, (_, *others), _ = CALLS[name]
                y = function(x, *[Tensor(np.ones(3 if len(shape) == 4 else 8, np.float32), requires_grad=True) for _ in others])
            y.backward(np.ones(y.shape))
            x.grad = None

        return call

    few, many = count_steps(step(16), step(256))
    assert many <= 2.5 * few, f"{few:,} Python instructions for 16 rows, {many:,} for 256: is there a loop over rows?"


FUSED = {
    "gelu": (gelu, lambda: GELU(), (256, 512), 0.9),
    "layer_norm": (layer_norm, lambda: LayerNorm(128), (1024, 128), 0.8),
    "rms_norm": (rms_norm, lambda: RMSNorm(128), (1024, 128), 0.9),
    "softmax_cross_entropy": (None, None, (512, 512), 0.9),
    "batch_norm_relu": (None, None, (32, 32, 16, 16), 0.95),
}


@pytest.mark.time
@pytest.mark.parametrize("name", FUSED)
def test_fused_takes_less_time_than_composed(name, draw, tell):
    """Forward and backward take at most 0.8 to 0.95 times the CPU time of the layer composed of Tensor operations."""
    function, layer, shape, limit = FUSED[name]
    x, g = (
        Tensor(draw.normal(*shape, dtype=np.float32).copy(), requires_grad=True),
        draw.normal(*shape, dtype=np.float32).copy(),
    )
    target = draw.integers(shape[-1], *shape[:-1])
    if name == "softmax_cross_entropy":
        plain, fused, g = (lambda: CrossEntropyLoss()(x, target)), (lambda: softmax_cross_entropy(x, target)), np.asarray(1.0)
    elif name == "batch_norm_relu":
        norm, relu = BatchNorm2d(shape[1]), ReLU()
        state = norm.weight, norm.bias, norm.running_mean, norm.running_var
        plain, fused = (lambda: relu(norm(x))), (lambda: batch_norm_relu(x, *state, True))
    else:
        made = layer()
        state = [value for value in vars(made).values() if isinstance(value, Parameter)]
        plain, fused = (lambda: made(x)), (lambda: function(x, *state))

    def step(call):
        call().backward(g)
        x.grad = None

    ratio = best_ratio(lambda: step(fused), lambda: step(plain), limit)
    tell(f"{name}, forward and backward: {ratio:.2f} times the composed layer's CPU time")
    assert ratio < limit, f"{ratio:.2f} times"


@pytest.mark.parametrize("function", [layer_norm, rms_norm])
def test_squares_of_float16_do_not_overflow(function):
    """300² is no float16, and the mean of 1,000 is: they are computed in float32."""
    x = np.where(np.arange(8) % 2, 1000, -1000).astype(np.float16)[None]
    parents = Tensor(x, requires_grad=True), Tensor(np.ones(8, np.float16), requires_grad=True)
    y = function(*parents)
    assert_dtype(y.data, np.float16)
    assert np.abs(np.abs(y.data.astype(np.float32)) - 1).max() < 2e-3
    y.backward(np.ones(y.shape))
    assert np.isfinite(parents[0].grad).all()


@pytest.mark.parametrize("name", [name for name in CALLS if name != "gelu"])
def test_rules_answer_for_the_gradient_that_they_are_asked_with(name, draw):
    """Asked for one parent with one g, and for the next with another, they keep apart what belongs to each."""
    function, shapes, _ = CALLS[name]
    y = function(*[Tensor(draw.normal(*shape), requires_grad=True) for shape in shapes])
    g, other = draw.normal(*y.shape), draw.normal(*y.shape)

    def asked(argnum: int, g: np.ndarray) -> np.ndarray:
        return vjp(y.node.op, argnum)(g, *y.node.arrays, **y.node.attrs)

    wants = [asked(argnum, other) for argnum in range(len(shapes))]
    for argnum, want in enumerate(wants):
        asked((argnum + 1) % len(shapes), g)
        assert_close(asked(argnum, other), want)


def test_ignored_targets_may_be_class_0(draw):
    """ignore_index=0 is no default: the loss is that of the other targets."""
    logits, target = draw.normal(5, 4), np.array([0, 2, 0, 3, 1])
    got = softmax_cross_entropy(Tensor(logits), target, ignore_index=0)
    assert_close(got, softmax_cross_entropy(Tensor(logits[[1, 3, 4]]), target[[1, 3, 4]]).data)
    smooth = softmax_cross_entropy(Tensor(logits), target, 0.25, 0)
    assert_close(smooth, CrossEntropyLoss(0.25, 0)(Tensor(logits), target).data)
