import numpy as np
import pytest
from katas.spatial import AvgPool2d, GlobalAvgPool, MaxPool2d
from katas.tensor import Tensor

from katas import autograd
from specs import oracles
from specs.check import EXACT, assert_close, assert_dtype, assert_gradient, rejects

CASES = [
    ((6, 8), (2, 2), (2, 2)),
    ((7, 9), (2, 2), (2, 2)),
    ((5, 6), (3, 2), (1, 1)),
    ((7, 8), (2, 3), (3, 2)),
    ((4, 5), (4, 5), (4, 5)),
]
cases = pytest.mark.parametrize(("size", "kernel_size", "stride"), CASES)
POOLS = {"MaxPool2d": (MaxPool2d, max), "AvgPool2d": (AvgPool2d, oracles.spatial.mean)}
pools = pytest.mark.parametrize("pool", POOLS)
LAYERS = {"MaxPool2d": lambda: MaxPool2d(2), "AvgPool2d": lambda: AvgPool2d(2), "GlobalAvgPool": GlobalAvgPool}


@pools
@cases
def test_each_window_becomes_one_number(pool, size, kernel_size, stride, draw):
    """Each window becomes its largest value, or its mean; leftover pixels at the right and at the bottom are ignored."""
    layer, function = POOLS[pool]
    x = draw.normal(2, 3, *size)
    want = oracles.spatial.pooled(function, x, kernel_size, stride)
    other = oracles.spatial.pooled({max: min}.get(function, sum), x, kernel_size, stride)
    assert_close(layer(kernel_size, stride)(Tensor(x)), want, mistakes={"the smallest, or the sum": other})


@pools
@cases
def test_the_gradient_goes_to_what_was_taken(pool, size, kernel_size, stride, draw):
    """Max pooling passes g to the window's largest value, average pooling spreads it evenly. A pixel in several windows
    receives the sum.
    """
    layer, function = POOLS[pool]
    x = draw.normal(2, 2, *size)
    tensor = Tensor(x, requires_grad=True)
    y = layer(kernel_size, stride)(tensor)
    g = draw.normal(*y.shape)
    y.backward(g)
    assert_gradient(tensor.grad, lambda x: oracles.spatial.pooled(function, x, kernel_size, stride), x, g)


@pools
def test_the_sizes_are_attributes(pool):
    """kernel_size and stride are attributes: pairs (height, width), even if a single number was given. By default stride is
    kernel_size.
    """
    layer, _ = POOLS[pool]
    assert (layer(2).kernel_size, layer(2).stride) == ((2, 2), (2, 2))
    assert (layer((3, 2), 1).kernel_size, layer((3, 2), 1).stride) == ((3, 2), (1, 1))
    assert (layer((2, 3)).kernel_size, layer((2, 3)).stride) == ((2, 3), (2, 3))
    assert (layer(2, (1, 3)).kernel_size, layer(2, (1, 3)).stride) == ((2, 2), (1, 3))


@pools
def test_the_sizes_may_be_changed_later(pool, draw):
    """Each forward uses the current values of kernel_size and stride. Each backward uses those of its own forward."""
    layer, function = POOLS[pool]
    pool, x, sizes = layer(2), draw.normal(2, 3, 7, 8), ((3, 2), (2, 3))
    pool(Tensor(x))
    pool.kernel_size, pool.stride = sizes
    tensor = Tensor(x, requires_grad=True)
    y = pool(tensor)
    assert_close(y, oracles.spatial.pooled(function, x, *sizes))
    pool.kernel_size, pool.stride = (1, 1), (1, 1)
    g = draw.normal(*y.shape)
    y.backward(g)
    assert_gradient(tensor.grad, lambda x: oracles.spatial.pooled(function, x, *sizes), x, g)


@pools
def test_windows_lie_side_by_side_unless_a_stride_is_given(pool, draw):
    """Windows don't overlap unless a stride is given: MaxPool2d(2) halves each side, and windows of (2, 3) are two apart
    vertically and three apart horizontally.
    """
    layer, function = POOLS[pool]
    x = draw.normal(2, 3, 6, 8)
    assert_close(layer(2)(Tensor(x)), oracles.spatial.pooled(function, x, (2, 2), (2, 2)))
    for kernel_size in ((2, 3), (3, 2), (1, 4)):
        want = oracles.spatial.pooled(function, x, kernel_size, kernel_size)
        assert_close(layer(kernel_size)(Tensor(x)), want, name=f"kernel_size {kernel_size}")
    assert_close(layer((3, 2), 1)(Tensor(x)), oracles.spatial.pooled(function, x, (3, 2), (1, 1)))


def test_equal_values_share_one_gradient():
    """In a window of equal values, the gradients add up to g: after a ReLU, whole windows are 0."""
    x = Tensor(np.zeros((1, 1, 4, 4)), requires_grad=True)
    MaxPool2d(2)(x).backward(np.array([[[[1.0, 2.0], [3.0, 4.0]]]]))
    of_windows = x.grad[0, 0].reshape(2, 2, 2, 2).sum((1, 3))
    assert_close(of_windows, [[1.0, 2.0], [3.0, 4.0]], mistakes={"each of them has all of it": [[4.0, 8.0], [12.0, 16.0]]})
    assert x.grad.min() >= 0


def test_the_largest_values_share_and_the_others_have_nothing():
    """If two of four values are the largest, their gradients add up to g, and the other two receive 0."""
    x = Tensor(np.array([[[[5.0, 1.0], [5.0, 0.0]]]]), requires_grad=True)
    MaxPool2d(2)(x).backward(np.full((1, 1, 1, 1), 3.0))
    (upper, other), (lower, another) = x.grad[0, 0]
    assert upper + lower == pytest.approx(3.0), f"the two largest have {upper} and {lower} of a gradient of 3"
    assert other == another == 0


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_only_the_largest_has_an_infinite_gradient(value):
    """If a window's gradient is infinite or NaN, all values but the largest still receive 0."""
    x = Tensor(np.array([[[[1.0, 4.0, 2.0, 0.0], [3.0, 2.0, 1.0, 5.0]]]]), requires_grad=True)
    MaxPool2d(2)(x).backward(np.array([[[[value, 7.0]]]]))
    want = [[[[0.0, value, 0.0, 0.0], [0.0, 0.0, 0.0, 7.0]]]]
    assert_close(x.grad, want, mistakes={"infinity times 0": [[[[np.nan, value, 0.0, 0.0], [np.nan, np.nan, 0.0, 7.0]]]]})


@pytest.mark.parametrize("place", [*np.ndindex(2, 3)], ids=str)
def test_a_window_with_nan_has_no_largest(place):
    """A window with NaN anywhere in it becomes NaN, and all its pixels receive 0. Other windows are not affected."""
    x = np.array([[[[1.0, 2.0, 3.0, 1.0, 5.0, 2.0], [6.0, 5.0, 4.0, 3.0, 1.0, 2.0]]]])
    x[0, 0, *place] = np.nan
    tensor = Tensor(x, requires_grad=True)
    y = MaxPool2d((2, 3))(tensor)
    assert_close(y, [[[[np.nan, 5.0]]]], mistakes={"NaN is passed over": [[[[np.nanmax(x[..., :3]), 5.0]]]]})
    y.backward(np.array([[[[3.0, 7.0]]]]))
    want = np.zeros((1, 1, 2, 6))
    want[0, 0, 0, 4] = 7.0
    assert_close(tensor.grad, want)


@pytest.mark.parametrize("value", [np.inf, -np.inf])
def test_an_infinite_value_may_be_the_largest(value):
    """∞ can be a window's largest value, and so can -∞ if all values are -∞: it receives the gradient g."""
    x = np.full((1, 1, 2, 2), -np.inf)
    x[0, 0, 1, 0] = value
    tensor = Tensor(x, requires_grad=True)
    y = MaxPool2d(2)(tensor)
    assert_close(y, [[[[value]]]])
    y.backward(np.full((1, 1, 1, 1), 3.0))
    assert tensor.grad.sum() == 3.0, f"all pixels together have {tensor.grad.sum()} of a gradient of 3"
    if value > 0:
        assert_close(tensor.grad, [[[[0.0, 0.0], [3.0, 0.0]]]])


def test_equal_values_share_in_windows_that_overlap():
    """Each window gives its largest values gradients that add up to g, even if overlapping windows give gradients to the same
    pixels.
    """
    x = Tensor(np.zeros((1, 1, 4, 4)), requires_grad=True)
    g = np.arange(1.0, 10.0).reshape(1, 1, 3, 3)
    MaxPool2d(2, 1)(x).backward(g)
    assert x.grad.sum() == pytest.approx(g.sum()), f"the pixels have {x.grad.sum()}, the windows gave {g.sum()}"
    assert x.grad.min() >= 0


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_mean_is_of_its_own_window(value):
    """NaN or ∞ in one pixel affects only the means of the windows that contain it."""
    x = np.ones((2, 2, 4, 6))
    x[0, 1, 1, 2] = value
    want = np.ones((2, 2, 3, 5))
    want[0, 1, 0:2, 1:3] = value
    assert_close(AvgPool2d(2, 1)(Tensor(x)), want)
    assert_close(GlobalAvgPool()(Tensor(x)), [[1.0, value], [1.0, 1.0]])


def test_a_mean_keeps_its_digits_beside_a_large_pixel():
    """A mean is exact even if a pixel elsewhere in the image is huge. Differences of sums over the whole image lose the digits
    of small pixels.
    """
    x = np.full((1, 1, 4, 4), 0.25, np.float32)
    x[0, 0, 0, 0] = 1e9
    assert_close(AvgPool2d(2)(Tensor(x)).data[0, 0, 1], [0.25, 0.25])


@pytest.mark.parametrize("g", [np.inf, np.nan])
def test_a_gradient_that_is_not_finite_goes_to_its_own_window(g):
    """In average pooling, an infinite or NaN gradient reaches the pixels of its own window only."""
    x = Tensor(np.ones((1, 1, 2, 4)), requires_grad=True)
    AvgPool2d(2)(x).backward(np.array([[[[g, 8.0]]]]))
    assert_close(x.grad, [[[[g, g, 2.0, 2.0]] * 2]])


def test_negative_values_have_a_largest(draw):
    """If all values are negative, the largest of them is the maximum, and not a 0 from padding."""
    x = -1 - draw.uniform(0, 1, 2, 3, 4, 4)
    assert_close(MaxPool2d(2)(Tensor(x)), oracles.spatial.pooled(max, x, (2, 2), (2, 2)))


def test_a_channel_becomes_its_mean(draw):
    """GlobalAvgPool: (batch, channels, h, w) → (batch, channels), whatever the size of the image."""
    x = draw.normal(2, 3, 5, 7)
    tensor, want = Tensor(x, requires_grad=True), oracles.spatial.pooled(oracles.spatial.mean, x, (5, 7), (1, 1))[:, :, 0, 0]
    y = GlobalAvgPool()(tensor)
    assert_close(y, want, mistakes={"the sum": want * 35})
    g = draw.normal(2, 3)
    y.backward(g)
    assert_close(tensor.grad, np.broadcast_to(g[:, :, None, None] / 35, x.shape))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize(("layer", "options"), [(MaxPool2d, (2,)), (AvgPool2d, (2,)), (AvgPool2d, (3, 1)), (GlobalAvgPool, ())])
def test_the_dtype_stays(layer, options, dtype, draw):
    """The output and the gradient have the input's dtype: float16, float32 or float64."""
    x = Tensor(draw.normal(2, 3, 4, 6, dtype=dtype), requires_grad=True)
    y = layer(*options)(x)
    assert_dtype(y, dtype)
    y.sum().backward()
    assert_dtype(x.grad, dtype)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32, np.uint32, np.int64])
def test_means_of_the_largest_integers_do_not_overflow(dtype):
    """The mean of integers doesn't overflow, even though the sum of four of them doesn't fit in an integer of the same size."""
    largest = np.iinfo(dtype).max
    for layer in (AvgPool2d(2), GlobalAvgPool()):
        y = layer(Tensor(np.full((1, 1, 2, 2), largest, dtype)))
        assert_dtype(y, np.float32)
        assert_close(y, np.full(y.shape, float(largest)))


@pytest.mark.parametrize(("layer", "options"), [(AvgPool2d, ((2, 3),)), (GlobalAvgPool, ())])
def test_float64_keeps_its_digits(layer, options):
    """For float64 input, the mean and its gradient are exact to the last digits of float64."""
    x = Tensor(np.array([[[[0.1, 0.2, 0.3], [0.4, 0.5, 0.7]]]]), requires_grad=True)
    y = layer(*options)(x)
    assert_close(y, np.full(y.shape, 2.2 / 6))
    y.backward(np.full(y.shape, 0.7))
    assert_close(x.grad, np.full((1, 1, 2, 3), 0.7 / 6))


@pytest.mark.parametrize("dtype", [np.bool_, np.uint8, np.int8, np.int32, np.int64])
def test_pooling_of_integers(dtype):
    """Means of integers are float32, and their sums do not overflow: 4 · 200 doesn't fit in uint8. MaxPool2d keeps
    the dtype.
    """
    value = 1 if dtype == np.bool_ else 200 if dtype == np.uint8 else 100
    x = Tensor(np.full((1, 2, 4, 4), value, dtype))
    for layer, shape in [(AvgPool2d(2), (1, 2, 2, 2)), (AvgPool2d(3, 1), (1, 2, 2, 2)), (GlobalAvgPool(), (1, 2))]:
        assert_dtype(layer(x), np.float32)
        assert_close(layer(x), np.full(shape, value, np.float32))
    assert_dtype(MaxPool2d(2)(x), dtype)
    assert_close(MaxPool2d(2)(x), np.full((1, 2, 2, 2), value))


@pytest.mark.parametrize(("layer", "options"), [(AvgPool2d, (2,)), (AvgPool2d, (64,)), (GlobalAvgPool, ())])
def test_means_of_float16_are_added_in_float32(layer, options):
    """A mean of float16 is float16, but the sum is computed in float32, where it neither overflows nor stops at 2048."""
    y = layer(*options)(Tensor(np.full((1, 2, 64, 64), 30_000, np.float16)))
    assert_dtype(y, np.float16)
    assert_close(y, np.full(y.shape, 30_000))


@pytest.mark.parametrize(("layer", "options"), [(MaxPool2d, (2,)), (AvgPool2d, (2,)), (GlobalAvgPool, ())])
def test_the_rules_stay_in_float32(layer, options, draw):
    """Each rule returns a float32 gradient for float32 arrays. backward() would convert a promoted gradient back to float32,
    after twice the time.
    """
    y = layer(*options)(Tensor(draw.normal(2, 3, 4, 6, dtype=np.float32), requires_grad=True))
    to_x = autograd.vjp(y.node.op, 0)
    assert_dtype(to_x(y.data, *y.node.arrays, **y.node.attrs), np.float32)


@pools
def test_a_window_that_does_not_fit_is_refused(pool):
    """A kernel taller or wider than the image raises a ValueError that contains the kernel's size."""
    for kernel_size in (5, (5, 1), (1, 5)):
        with rejects(ValueError, "5"):
            POOLS[pool][0](kernel_size)(Tensor(np.zeros((1, 1, 4, 4))))


@pools
@pytest.mark.parametrize("sizes", [(2, 0), (2, (0, 1)), (2, (1, 0)), (0,), ((0, 2), 1), ((2, 0), 1), (2, -1), (-1, 1)], ids=str)
def test_a_size_of_zero_is_refused(pool, sizes):
    """A stride of 0 is not the default: forward raises a ValueError that contains the image's size, as for any other
    kernel_size or stride below 1.
    """
    with rejects(ValueError, "4"):
        POOLS[pool][0](*sizes)(Tensor(np.zeros((1, 1, 4, 4))))


@pools
@pytest.mark.parametrize("shape", [(4, 4), (3, 4, 4), (1, 2, 3, 4, 4)], ids=str)
def test_images_have_four_axes(pool, shape):
    """Images whose axes aren't (batch, channels, height, width) raise a ValueError whose message contains their shape."""
    with rejects(ValueError, str(shape)):
        POOLS[pool][0](2)(Tensor(np.zeros(shape)))


@pytest.mark.parametrize("shape", [(0, 3, 4, 6), (2, 0, 4, 6)], ids=str)
@pytest.mark.parametrize("name", LAYERS)
def test_there_may_be_no_images_or_no_channels(name, shape):
    """An axis of length 0 stays one in the output and in the gradient."""
    x = Tensor(np.zeros(shape), requires_grad=True)
    y = LAYERS[name]()(x)
    assert y.shape == (*shape[:2], 2, 3)[: y.ndim]
    y.sum().backward()
    assert x.grad.shape == shape


@pools
def test_a_result_is_not_its_input(pool, draw):
    """With windows of one pixel, the output equals the input, and the gradient equals g, but neither shares memory with it."""
    x = Tensor(np.array(draw.normal(2, 3, 4, 5)), requires_grad=True)
    y = POOLS[pool][0](1)(x)
    assert_close(y, x.data)
    assert not np.shares_memory(y.data, x.data)
    g = np.array(draw.normal(*y.shape))
    y.backward(g)
    assert not np.shares_memory(x.grad, g)


@pytest.mark.parametrize("name", LAYERS)
def test_the_gradient_that_came_in_is_left_alone(name, draw):
    """The backward rules don't write to the incoming gradient: a sum passes the same array to both of its terms."""
    for first in (True, False):
        y = LAYERS[name]()(Tensor(draw.normal(2, 3, 4, 6), requires_grad=True))
        other, g = Tensor(np.zeros(y.shape), requires_grad=True), np.array(draw.normal(*y.shape))
        before = g.copy()
        (y + other if first else other + y).backward(g)
        assert_close(other.grad, before, EXACT)
        assert_close(g, before, EXACT)


def call(name: str, *shape: int):
    """A forward and a backward."""
    layer, x = LAYERS[name](), Tensor(np.ones(shape, np.float32), requires_grad=True)

    def run():
        y = layer(x)
        y.backward(y.data)
        x.grad = None

    return run


@pytest.mark.parametrize("name", LAYERS)
def test_pooling_is_done_in_numpy(name, budget):
    """The number of Python instructions must not grow with the number of images, channels or pixels."""
    few = call(name, 1, 2, 4, 4)
    budget.steps(few, call(name, 1000, 2, 4, 4), limit=2, what="images")
    budget.steps(few, call(name, 1, 1000, 4, 4), limit=2, what="channels")
    budget.steps(few, call(name, 1, 2, 100, 100), limit=2, what="pixels")


@pytest.mark.parametrize("layer", [MaxPool2d, AvgPool2d])
def test_a_second_batch_leaves_the_first_result_alone(layer, draw):
    """Each forward gives a new array, even for a batch of the same shape."""
    pool = layer(2)
    first = pool(Tensor(draw.normal(2, 3, 4, 4)))
    want = first.data.copy()
    pool(Tensor(draw.normal(2, 3, 4, 4)))
    assert_close(first, want)
