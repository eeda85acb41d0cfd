import numpy as np
import pytest
from katas.embeddings import LearnedPositions, RotaryPositions, SinusoidalPositions
from katas.tensor import Tensor

from specs.check import Tolerance, assert_close, assert_dtype, layouts, undisturbed

LAYERS = {
    "SinusoidalPositions": SinusoidalPositions,
    "LearnedPositions": LearnedPositions,
    "RotaryPositions": RotaryPositions,
    "RotaryPositions, neighbors": lambda longest, dim: RotaryPositions(longest, dim, pairing="neighbors"),
}
layers = pytest.mark.parametrize("name", LAYERS)


@layers
def test_sizes_may_be_numpys_integers(name, draw):
    """As of an array's shape: np.int64(9) is 9."""
    layer, x = LAYERS[name](np.int64(9), np.int32(4)), Tensor(draw.normal(2, 9, 4))
    if name == "LearnedPositions":
        layer.weight.data = draw.normal(9, 4)
        assert_close(layer(x), x.data + layer.weight.data)
    else:
        assert_close(layer(x), LAYERS[name](9, 4)(x).data)


@layers
@pytest.mark.parametrize("order", ["column by column", "backwards", "in steps"])
def test_arrays_may_lie_in_memory_in_any_order(name, order, draw):
    """x, start, and the gradient of the result."""
    layer, x, g, results = LAYERS[name](9, 4), draw.normal(2, 3, 5, 4), draw.normal(2, 3, 5, 4), []
    for each in (np.array, lambda values: layouts(values)[order]):
        tensor = Tensor(each(x), requires_grad=True)
        y = layer(tensor, each(np.array([3, 1])))
        y.backward(each(g))
        results.append((y.data, tensor.grad))
    for got, want in zip(results[1], results[0], strict=True):
        assert_close(got, want)


@layers
@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_infinities_and_nan_stay_with_their_token(name, value, draw):
    """A vector that is not finite changes no other; it stays not finite itself, in every channel that was."""
    layer, x = LAYERS[name](9, 4), np.array(draw.normal(2, 5, 4))
    want = layer(Tensor(x)).data.copy()
    x[1, 2] = value
    y = layer(Tensor(x)).data
    assert not np.isfinite(y[1, 2]).any()
    want[1, 2] = y[1, 2] = 0
    assert_close(y, want)


@layers
def test_one_layer_takes_any_dtype_after_any_other(name, draw):
    """float16 first, then float64, then float32: each has the dtype and the precision it would have had alone."""
    layer, x = LAYERS[name](9, 4), draw.normal(2, 5, 4)
    want = layer(Tensor(x), 3).data
    for dtype in (np.float16, np.float64, np.float32):
        got = layer(Tensor(x.astype(dtype)), 3)
        if name != "LearnedPositions":  # whose weight is float32
            assert_dtype(got, dtype)
        assert_close(got, want, Tolerance("float16", 5e-3) if dtype == np.float16 else None)


@layers
def test_the_result_is_never_x_itself(name):
    """Even where it equals x, since x is infinite or so large that nothing can be added: writing into it leaves x alone."""
    layer = LAYERS[name](9, 4)
    for parameter in layer.parameters():
        parameter.data[...] = 0
    for value in (np.inf, 1e30, 0.0):
        x = np.full((1, 4), value, np.float32)
        layer(Tensor(x)).data[...] = 7
        assert_close(x, np.full((1, 4), value, np.float32))


@layers
def test_nothing_else_is_touched(name, draw):
    """Neither NumPy's global generator nor its error handling, by making a layer or using it."""
    x = Tensor(draw.normal(2, 5, 4), requires_grad=True)
    with undisturbed():
        layer = LAYERS[name](9, 4)
        layer(x, [3, 0]).sum().backward()


def test_layers_share_nothing(draw):
    """A second layer of another size, base or pairing changes nothing for the first."""
    x = Tensor(draw.normal(2, 5, 4))
    for make, other in [
        (lambda: SinusoidalPositions(9, 4), lambda: SinusoidalPositions(5, 2)),
        (lambda: LearnedPositions(9, 4), lambda: LearnedPositions(5, 2)),
        (lambda: RotaryPositions(9, 4), lambda: RotaryPositions(9, 4, 50, "neighbors")),
    ]:
        layer = make()
        before = layer(x, 4).data.copy()
        other()
        assert_close(layer(x, 4), before)
