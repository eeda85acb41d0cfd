import numpy as np
import pytest
from katas.acceleration import fast_conv2d
from katas.autograd import gradcheck, no_grad, vjp
from katas.spatial import conv2d
from katas.tensor import Tensor

from specs import oracles
from specs.check import (
    assert_close,
    assert_dtype,
    assert_reentrant,
    best_ratio,
    global_state,
    layouts,
    measure_bytes,
    recording,
    rejects,
    undisturbed,
)

# images, in, out, height and width, kernel, stride, padding
WINOGRAD = {
    "2×2": (2, 3, 4, (2, 2), (3, 3), (1, 1), (1, 1)),
    "4×4": (2, 3, 4, (4, 4), (3, 3), (1, 1), (1, 1)),
    "wide": (2, 3, 2, (4, 10), (3, 3), (1, 1), (1, 1)),
    "high": (3, 2, 4, (8, 2), (3, 3), (1, 1), (1, 1)),
    "one image": (1, 2, 3, (6, 4), (3, 3), (1, 1), (1, 1)),
    "one channel": (3, 1, 2, (6, 4), (3, 3), (1, 1), (1, 1)),
    "to one channel": (3, 2, 1, (4, 6), (3, 3), (1, 1), (1, 1)),
    "many small images": (37, 2, 3, (2, 4), (3, 3), (1, 1), (1, 1)),
    # few channels may be worth another way, so the same with many
    "8 channels, 2×6": (2, 8, 3, (2, 6), (3, 3), (1, 1), (1, 1)),
    "9 channels, 6×4": (3, 9, 2, (6, 4), (3, 3), (1, 1), (1, 1)),
    "16 channels, 4×4": (2, 16, 9, (4, 4), (3, 3), (1, 1), (1, 1)),
    "12 channels, 8×12": (1, 12, 10, (8, 12), (3, 3), (1, 1), (1, 1)),
    "many images of 10 channels": (37, 10, 3, (4, 8), (3, 3), (1, 1), (1, 1)),
}
OTHERS = {
    "odd height": (2, 3, 4, (5, 6), (3, 3), (1, 1), (1, 1)),
    "odd width": (2, 3, 4, (6, 5), (3, 3), (1, 1), (1, 1)),
    "odd": (2, 3, 2, (7, 5), (3, 3), (1, 1), (1, 1)),
    "one pixel of image": (2, 3, 4, (1, 1), (3, 3), (1, 1), (1, 1)),
    "no padding": (2, 3, 4, (6, 8), (3, 3), (1, 1), (0, 0)),
    "padding 2": (2, 3, 4, (4, 6), (3, 3), (1, 1), (2, 2)),
    "padding of one axis": (2, 3, 4, (6, 4), (3, 3), (1, 1), (1, 0)),
    "padding of the other axis": (2, 3, 4, (6, 4), (3, 3), (1, 1), (0, 1)),
    "stride 2": (2, 3, 4, (6, 8), (3, 3), (2, 2), (1, 1)),
    "stride of one axis": (2, 3, 4, (6, 8), (3, 3), (1, 2), (1, 1)),
    "stride of the other axis": (2, 3, 4, (8, 6), (3, 3), (2, 1), (1, 1)),
    "a stem of 4×4": (2, 3, 5, (8, 6), (4, 4), (2, 2), (1, 1)),
    "1×1": (2, 3, 4, (4, 6), (1, 1), (1, 1), (0, 0)),
    "1×1, padded": (2, 3, 4, (4, 6), (1, 1), (1, 1), (1, 1)),
    "5×3": (2, 3, 4, (6, 8), (5, 3), (1, 1), (1, 1)),
    "3×5": (2, 3, 4, (6, 8), (3, 5), (1, 1), (1, 1)),
    "5×5": (1, 2, 3, (6, 8), (5, 5), (1, 1), (2, 2)),
    "a stride beyond the kernel": (2, 2, 3, (9, 8), (2, 2), (3, 3), (0, 0)),
    "as large as the image": (3, 2, 4, (5, 4), (5, 4), (1, 1), (0, 0)),
    "more zeros than image": (2, 2, 3, (2, 3), (4, 5), (1, 1), (2, 2)),
    "more zeros than kernel": (2, 2, 3, (3, 4), (2, 1), (1, 1), (2, 1)),
    "one image": (1, 3, 4, (7, 5), (3, 3), (1, 1), (1, 1)),
    "one channel": (2, 1, 3, (7, 5), (3, 3), (2, 2), (1, 1)),
    "many images": (37, 2, 3, (3, 3), (3, 3), (1, 1), (1, 1)),
}
CASES = {f"Winograd: {name}": case for name, case in WINOGRAD.items()} | OTHERS
cases = pytest.mark.parametrize("case", CASES)


def inputs(case: str, draw, dtype=np.float64):
    """x (n, in, h, w), weight (out, in, kh, kw), bias (out,), then stride and padding."""
    n, channels, out, size, kernel_size, stride, padding = CASES[case]
    x, weight = draw.normal(n, channels, *size, dtype=dtype), draw.normal(out, channels, *kernel_size, dtype=dtype)
    return x, weight, draw.normal(out, dtype=dtype), stride, padding


def both_ways(x, weight, bias, stride, padding, g=None) -> tuple[np.ndarray, ...]:
    """The result, and the gradients of ⟨g, result⟩ by x, weight and bias, if there is one; g is ones unless given."""
    parents = [Tensor(array, requires_grad=True) for array in (x, weight, bias) if array is not None]
    y = fast_conv2d(*parents, *([None] if bias is None else []), stride, padding)
    y.backward(np.ones(y.shape) if g is None else g)
    return y.data, *[parent.grad for parent in parents]


@cases
def test_it_is_the_convolution(case, draw):
    """y[n, o, i, j] = bias[o] + Σ x[n, c, i·stride + k - padding, j·stride + l - padding] · weight[o, c, k, l]: every size."""
    x, weight, bias, stride, padding = inputs(case, draw)
    want = oracles.spatial.direct(x, weight, stride, padding) + bias[:, None, None]
    turned = oracles.spatial.direct(x, weight[:, :, ::-1, ::-1], stride, padding) + bias[:, None, None]
    swapped = oracles.spatial.direct(x, weight.swapaxes(2, 3), stride, padding) if weight.shape[2] == weight.shape[3] else want
    mistakes = {
        "the bias is missing": want - bias[:, None, None],
        "the kernel is flipped": turned,
        "the kernel's height and width are exchanged": swapped + bias[:, None, None],
    }
    if want.shape[2] > 1:
        mistakes["even and odd rows are exchanged"] = want[:, :, np.arange(want.shape[2] // 2 * 2) ^ 1]
    assert_close(fast_conv2d(Tensor(x), Tensor(weight), Tensor(bias), stride, padding), want, mistakes=mistakes)


@cases
def test_the_gradients(case, draw):
    """The gradients by the images, the weight and the bias, for every size, with a random g."""
    x, weight, bias, stride, padding = inputs(case, draw)
    g = draw.normal(*oracles.spatial.direct(x, weight, stride, padding).shape)
    _, to_x, to_weight, to_bias = both_ways(x, weight, bias, stride, padding, g)
    want_x, want_weight = oracles.spatial.direct_gradients(g, x, weight, stride, padding)
    turned, _ = oracles.spatial.direct_gradients(g, x, weight[:, :, ::-1, ::-1], stride, padding)
    assert_close(to_x, want_x, mistakes={"the kernel is flipped, or should be": turned}, name="x")
    flipped = {"the kernel is flipped": want_weight[:, :, ::-1, ::-1], "the mean over images": want_weight / len(x)}
    assert_close(to_weight, want_weight, mistakes=flipped, name="weight")
    assert_close(to_bias, g.sum((0, 2, 3)), name="bias")


def test_the_seven_loops_agree(draw):
    """The oracle above is the definition: two small cases against seven loops."""
    for case in ("Winograd: high", "stride of one axis"):
        x, weight, bias, stride, padding = inputs(case, draw)
        want = oracles.spatial.conv2d(x, weight, bias, stride, padding)
        assert_close(fast_conv2d(Tensor(x), Tensor(weight), Tensor(bias), stride, padding), want)


def test_central_differences_agree(draw):
    """gradcheck of kata 07, of all three parents at once, by Winograd and without."""
    for case in ("Winograd: one channel", "stride 2"):
        x, weight, bias, stride, padding = inputs(case, draw)
        tensors = [Tensor(array, requires_grad=True) for array in (x, weight, bias)]
        assert gradcheck(lambda *three, stride=stride, padding=padding: fast_conv2d(*three, stride, padding), *tensors)


@pytest.mark.parametrize("where", [(0, 0), (0, 5), (3, 0), (3, 5), (1, 2), (2, 3)], ids=str)
def test_one_pixel_reaches_its_neighbors_only(where, draw):
    """One pixel moves the nine outputs around it, fewer at an edge, each by one weight. No tile leaves a trace in another."""
    x, weight = np.zeros((2, 1, 4, 6)), draw.normal(1, 1, 3, 3)
    x[1, 0][where] = 1.0
    want = np.zeros((2, 1, 6, 8))
    want[1, 0, where[0] : where[0] + 3, where[1] : where[1] + 3] = weight[0, 0, ::-1, ::-1]
    assert_close(fast_conv2d(Tensor(x), Tensor(weight), None, 1, 1), want[:, :, 1:-1, 1:-1])


@pytest.mark.parametrize("case", [(8, 24, 32, 16), (4, 64, 48, 8), (2, 128, 128, 8), (3, 3, 16, 32)], ids=str)
def test_in_float32_the_error_is_a_few_millionths_of_the_largest_value(case, draw, tell):
    """In float32 the result and both gradients are within 4e-6 of their largest value, measured against float64."""
    n, channels, out, size = case
    x, g = draw.normal(n, channels, size, size, dtype=np.float32), draw.normal(n, out, size, size, dtype=np.float32)
    weight = draw.normal(out, channels, 3, 3, dtype=np.float32)
    wants = oracles.spatial.direct(x, weight, padding=(1, 1)), *oracles.spatial.direct_gradients(g, x, weight, padding=(1, 1))
    gots = both_ways(x, weight, None, 1, 1, g)
    errors = [np.abs(got - want).max() / np.abs(want).max() for got, want in zip(gots, wants, strict=True)]
    tell(f"fast_conv2d, {n} × {channels} to {out} × {size} × {size}: errors {', '.join(f'{e:.0e}' for e in errors)}")
    assert max(errors) < 4e-6, f"y, x and weight are off by {errors} of their largest values"


def test_a_mean_far_from_zero_costs_few_digits(draw):
    """Winograd subtracts neighboring pixels: with a mean of 100 the error stays within 4e-6 of the largest value."""
    x = 100 + draw.normal(4, 8, 8, 8, dtype=np.float32)
    weight = draw.normal(8, 8, 3, 3, dtype=np.float32)
    want = oracles.spatial.direct(x, weight, padding=(1, 1))
    got = fast_conv2d(Tensor(x), Tensor(weight), None, 1, 1).data
    assert np.abs(got - want).max() < 4e-6 * np.abs(want).max()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("case", ["Winograd: 4×4", "odd", "stride 2", "1×1", "a stem of 4×4", "5×3"])
def test_the_dtype_stays(case, dtype, draw):
    """The result and all gradients are float32 if x and weight are; each rule by itself, too."""
    x, weight, bias, stride, padding = inputs(case, draw, dtype)
    for array in both_ways(x, weight, bias, stride, padding):
        assert_dtype(array, dtype)
    parents = [Tensor(array, requires_grad=True) for array in (x, weight)]
    node = fast_conv2d(*parents, None, stride, padding).node
    for argnum in range(len(node.parents)):
        assert_dtype(vjp(node.op, argnum)(np.ones(node.arrays[0].shape, dtype), *node.arrays, **node.attrs), dtype)


@pytest.mark.parametrize("integers", [np.bool_, np.uint8, np.int64])
def test_integers_take_the_dtype_of_floats(integers, draw):
    """Images of integers, such as bytes, beside a weight of floats, and the other way round: as kata 09's conv2d."""
    x, weight = draw.integers(2, 2, 3, 4, 6).astype(integers), draw.normal(4, 3, 3, 3, dtype=np.float32)
    y = fast_conv2d(Tensor(x), Tensor(weight), padding=1)
    assert_dtype(y, np.float32)
    assert_close(y, oracles.spatial.direct(x, weight, padding=(1, 1)))
    x, weight = draw.normal(2, 3, 4, 6, dtype=np.float32), draw.integers(2, 4, 3, 3, 3).astype(integers)
    y = fast_conv2d(Tensor(x), Tensor(weight), padding=1)
    assert_dtype(y, np.float32)
    assert_close(y, oracles.spatial.direct(x, weight, padding=(1, 1)))


@pytest.mark.parametrize("dtypes", [(np.uint8, np.int64), (np.int64, np.int64), (np.int16, np.bool_)], ids=str)
@pytest.mark.parametrize("channels", [2, 8, 16])
def test_integers_beside_integers_stay_exact(channels, dtypes, draw):
    """Integer images with an integer weight give what kata 09's conv2d gives: exact integers, without Winograd's fractions."""
    x, weight = draw.integers(5, 2, channels, 4, 8).astype(dtypes[0]), draw.integers(2, 3, channels, 3, 3).astype(dtypes[1])
    y, plain = (convolve(Tensor(x), Tensor(weight), padding=1) for convolve in (fast_conv2d, conv2d))
    assert_dtype(y, plain.dtype)
    assert_close(y, oracles.spatial.direct(x.astype(np.int64), weight.astype(np.int64), padding=(1, 1)))


@pytest.mark.parametrize("dtypes", [(np.float32, np.float64), (np.float64, np.float32), (np.float16, np.float32)], ids=str)
@pytest.mark.parametrize("channels", [2, 8])
def test_the_wider_dtype_wins(channels, dtypes, draw):
    """Images and a weight of different dtypes give conv2d's dtype, the wider one, with its digits. Gradients have their own."""
    wide = np.result_type(*dtypes)
    x, weight = draw.normal(2, channels, 4, 8).astype(dtypes[0]), draw.normal(3, channels, 3, 3).astype(dtypes[1])
    g, leaves = draw.normal(2, 3, 4, 8).astype(wide), [Tensor(array, requires_grad=True) for array in (x, weight)]
    for stride in (1, 2):
        y = fast_conv2d(*leaves, None, stride, 1)
        assert_dtype(y, wide)
        assert_close(y, oracles.spatial.direct(x.astype(wide), weight.astype(wide), (stride, stride), (1, 1)))
    fast_conv2d(*leaves, None, 1, 1).backward(g)
    for leaf, want in zip(leaves, oracles.spatial.direct_gradients(g, x, weight, padding=(1, 1)), strict=True):
        assert_dtype(leaf.grad, leaf.dtype)
        assert_close(leaf.grad, want.astype(leaf.dtype))


def test_one_number_is_for_both_axes(draw):
    """stride=2, padding=1 are (2, 2) and (1, 1), and 1 and 0 unless given; tuples of 3×3 with padding (1, 1) too."""
    x, weight = draw.normal(2, 3, 6, 8), draw.normal(4, 3, 3, 3)
    for stride, padding in ((1, 1), (2, 1), (2, 2), (1, 0)):
        want = oracles.spatial.direct(x, weight, (stride, stride), (padding, padding))
        assert_close(fast_conv2d(Tensor(x), Tensor(weight), None, stride, padding), want)
        assert_close(fast_conv2d(Tensor(x), Tensor(weight), None, (stride, stride), (padding, padding)), want)
    assert_close(fast_conv2d(Tensor(x), Tensor(weight)), oracles.spatial.direct(x, weight))


@pytest.mark.parametrize("case", ["Winograd: 4×4", "odd", "stride 2", "1×1"])
def test_images_may_lie_in_memory_in_any_order(case, draw):
    """x, weight, bias and g are read by index: by columns, backwards, in steps, with channels last; none is changed."""
    x, weight, bias, stride, padding = inputs(case, draw)
    want = oracles.spatial.direct(x, weight, stride, padding) + bias[:, None, None]
    g = draw.normal(*want.shape)
    wants = oracles.spatial.direct_gradients(g, x, weight, stride, padding)
    last = [np.ascontiguousarray(array.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2) for array in (x, weight, g)]
    orders = [*zip(layouts(x).values(), layouts(weight).values(), layouts(g).values(), strict=True), tuple(last)]
    for x, weight, g in orders:
        for array in (x, weight, g):
            array.flags.writeable = False
        y, to_x, to_weight, to_bias = both_ways(x, weight, bias, stride, padding, g)
        assert_close(y, want)
        assert_close(to_x, wants[0], name="x")
        assert_close(to_weight, wants[1], name="weight")
        assert_close(to_bias, g.sum((0, 2, 3)), name="bias")


def test_a_gradient_that_is_one_number_stretched(draw):
    """The g of a sum is one number with strides of 0, and read-only."""
    x, weight = draw.normal(2, 3, 4, 6), draw.normal(4, 3, 3, 3)
    parents = [Tensor(array, requires_grad=True) for array in (x, weight)]
    fast_conv2d(*parents, None, 1, 1).sum().backward()
    to_x, to_weight = oracles.spatial.direct_gradients(np.ones((2, 4, 4, 6)), x, weight, padding=(1, 1))
    assert_close(parents[0].grad, to_x)
    assert_close(parents[1].grad, to_weight)


@pytest.mark.parametrize("padding", [0, 1])
def test_an_empty_batch(padding, draw):
    """No images give no results, of the right shape; the gradient of the weight is zeros."""
    x, weight, bias = np.zeros((0, 3, 4, 6)), draw.normal(5, 3, 3, 3), draw.normal(5)
    y, to_x, to_weight, to_bias = both_ways(x, weight, bias, 1, padding)
    assert y.shape == (0, 5, 2 + 2 * padding, 4 + 2 * padding)
    assert to_x.shape == x.shape
    assert_close(to_weight, np.zeros(weight.shape))
    assert_close(to_bias, np.zeros(5))


@pytest.mark.parametrize(
    "case",
    ["Winograd: 4×4", "Winograd: 16 channels, 4×4", "Winograd: 9 channels, 6×4", "odd", "stride 2", "1×1", "a stem of 4×4"],
)
def test_a_result_is_not_touched_by_later_calls(case, draw):
    """Scratch memory may be reused, results not: a later call of the same shape leaves a result and its gradients alone."""
    x, weight, bias, stride, padding = inputs(case, draw, np.float32)
    g = draw.normal(*oracles.spatial.direct(x, weight, stride, padding).shape, dtype=np.float32)
    first = both_ways(x, weight, bias, stride, padding, g)
    before = [array.copy() for array in first]
    second = both_ways(-2 * x, 3 * weight, bias, stride, padding, 5 * g)
    for name, was, now, other in zip(("y", "x", "weight", "bias"), before, first, second, strict=True):
        assert_close(now, was, mistakes={"overwritten by the next call: it is a view of scratch memory": other}, name=name)
        assert not np.may_share_memory(now, other), f"{name}: two calls gave the same memory"


def test_backward_comes_after_other_forwards(draw):
    """Two convolutions of the same shape, then both backward passes: what the first saved is still its own."""
    x, weights = draw.normal(2, 9, 4, 6), [draw.normal(3, 9, 3, 3) for _ in range(2)]
    g = draw.normal(2, 3, 4, 6)
    tensors = [
        [Tensor(x * (1 + i), requires_grad=True), Tensor(weight, requires_grad=True)] for i, weight in enumerate(weights)
    ]
    results = [fast_conv2d(*pair, None, 1, 1) for pair in tensors]
    for y in results:
        y.backward(g)
    for i, ((a, b), weight) in enumerate(zip(tensors, weights, strict=True)):
        to_x, to_weight = oracles.spatial.direct_gradients(g, x * (1 + i), weight, padding=(1, 1))
        assert_close(a.grad, to_x, name=f"x of convolution {i}")
        assert_close(b.grad, to_weight, name=f"weight of convolution {i}")


@pytest.mark.parametrize("channels", [2, 12])
def test_two_convolutions_of_the_same_images_add_up(channels, draw):
    """Two branches of the same shape: the gradient of their images is the sum of both. The second rule does not overwrite what
    the first one gave.
    """
    x, g = draw.normal(2, channels, 4, 8), draw.normal(2, 3, 4, 8)
    weights, leaf = [draw.normal(3, channels, 3, 3) for _ in range(2)], Tensor(x, requires_grad=True)
    inner = leaf * 1.0  # the gradient of a leaf may be a copy, that of an inner tensor is the rule's own array
    first, second = (fast_conv2d(inner, Tensor(weight), None, 1, 1) for weight in weights)
    (first + second).backward(g)
    parts = [oracles.spatial.direct_gradients(g, x, weight, padding=(1, 1))[0] for weight in weights]
    mistakes = {f"{n} counts twice: both rules gave the same memory": 2 * parts[i] for i, n in enumerate(("one", "the other"))}
    assert_close(leaf.grad, parts[0] + parts[1], mistakes=mistakes)


def test_data_may_be_replaced_between_forward_and_backward(draw):
    """backward uses the arrays of the forward pass: giving x or weight other `data` before is safe, as in kata 07."""
    x, weight, g = draw.normal(2, 3, 4, 6), draw.normal(4, 3, 3, 3), draw.normal(2, 4, 4, 6)
    parents = [Tensor(array, requires_grad=True) for array in (x, weight)]
    y = fast_conv2d(*parents, None, 1, 1)
    for parent in parents:
        parent.data = 7 * parent.data
    y.backward(g)
    for parent, want in zip(parents, oracles.spatial.direct_gradients(g, x, weight, padding=(1, 1)), strict=True):
        assert_close(parent.grad, want)


@pytest.mark.parametrize("case", ["Winograd: many small images", "Winograd: many images of 10 channels", "many images"])
def test_two_threads_may_call_at_the_same_time(case, draw):
    """Each of two threads gets its own results, forward and backward, however often the interpreter switches between them."""
    x, weight, bias, stride, padding = inputs(case, draw)
    g = draw.normal(*oracles.spatial.direct(x, weight, stride, padding).shape)
    assert_reentrant(lambda scale: both_ways(x * scale, weight, bias, stride, padding, g))


def test_an_image_is_convolved_by_itself(draw):
    """An image's result does not depend on the images beside it, nor on which place it has."""
    x, weight = draw.normal(7, 3, 4, 6), draw.normal(4, 3, 3, 3)
    whole = fast_conv2d(Tensor(x), Tensor(weight), None, 1, 1).data
    for n in range(7):
        assert_close(fast_conv2d(Tensor(x[n : n + 1]), Tensor(weight), None, 1, 1).data[0], whole[n])


def test_infinite_and_nan_pixels_stay_in_their_neighborhood(draw):
    """A pixel that is NaN makes its tile's results NaN, and no other tile's, image's or call's: scratch memory forgets."""
    x, weight = draw.normal(2, 3, 4, 8).copy(), draw.normal(4, 3, 3, 3)
    clean = oracles.spatial.direct(x, weight, padding=(1, 1))
    x[0, 1, 0, 0] = np.nan
    y = fast_conv2d(Tensor(x), Tensor(weight), None, 1, 1).data
    assert np.isnan(y[0, :, :2, :2]).all()
    assert_close(y[1], clean[1])
    assert_close(y[0, :, :, 4:], clean[0, :, :, 4:])
    x[0, 1, 0, 0] = 0.0
    assert np.isfinite(fast_conv2d(Tensor(x), Tensor(weight), None, 1, 1).data).all()


def test_the_gradient_of_images_that_need_none_is_not_computed(draw, monkeypatch):
    """The first layer's images are data: only the rule of the weight is asked."""
    from katas import autograd

    y = fast_conv2d(Tensor(draw.normal(2, 3, 4, 6)), Tensor(draw.normal(4, 3, 3, 3), requires_grad=True), None, 1, 1)
    rules, asked = autograd._RULES["fast_conv2d"], []
    monkeypatch.setitem(autograd._RULES, "fast_conv2d", lambda argnum: asked.append(argnum) or rules(argnum))
    y.sum().backward()
    assert asked == [1]


@pytest.mark.time
def test_images_that_need_no_gradient_save_its_time(draw):
    """Without the gradient of the images, backward takes at most 0.8 times the CPU time of both."""
    x, weight = draw.normal(16, 32, 16, 16, dtype=np.float32), draw.normal(32, 32, 3, 3, dtype=np.float32)
    g = np.ones((16, 32, 16, 16), np.float32)

    def step(images):
        fast_conv2d(images, kernel, None, 1, 1).backward(g)
        images.grad = kernel.grad = None

    kernel, data, needed = Tensor(weight, requires_grad=True), Tensor(x), Tensor(x, requires_grad=True)
    ratio = best_ratio(lambda: step(data), lambda: step(needed), 0.8)
    assert ratio < 0.8, f"{ratio:.2f} times"


def test_each_rule_can_be_asked_alone_and_again(draw):
    """A rule gives its parent's gradient whichever is asked first, or twice, or for another g after that."""
    x, weight = draw.normal(2, 3, 4, 6), draw.normal(4, 3, 3, 3)
    node = fast_conv2d(Tensor(x, requires_grad=True), Tensor(weight, requires_grad=True), None, 1, 1).node
    for factor in (1, 1, 3, 1):
        g = factor * draw.normal(2, 4, 4, 6)
        wants = oracles.spatial.direct_gradients(g, x, weight, padding=(1, 1))
        for argnum in (1, 0, 1):
            assert_close(vjp(node.op, argnum)(g, *node.arrays, **node.attrs), wants[argnum], name=f"parent {argnum}")


def test_it_is_recorded_as_fast_conv2d(draw):
    """conv2d of kata 09 keeps its rules: the new operation has a name of its own, and reaches x, weight and bias."""
    x, weight, bias = (Tensor(draw.normal(*shape)) for shape in ((2, 3, 4, 6), (4, 3, 3, 3), (4,)))
    with recording() as probe:
        y = fast_conv2d(x, weight, bias, 1, 1)
    names = [record.op for record in probe]
    assert names.count("fast_conv2d") == 1
    assert "conv2d" not in names
    assert all(probe.reaches(y, parent) for parent in (x, weight, bias))


def test_nothing_is_recorded_under_no_grad(draw):
    """Under no_grad the result requires no gradient and has no graph."""
    x, weight = draw.normal(2, 3, 4, 6), Tensor(draw.normal(4, 3, 3, 3), requires_grad=True)
    with no_grad():
        y = fast_conv2d(Tensor(x), weight, None, 1, 1)
    assert not y.requires_grad
    assert_close(y, oracles.spatial.direct(x, weight.data, padding=(1, 1)))


def test_numpys_global_state_is_left_alone(draw):
    """No call changes NumPy's generator, error handling or the working directory."""
    x, weight, bias, stride, padding = inputs("Winograd: 4×4", draw)
    before = global_state()
    with undisturbed():
        both_ways(x, weight, bias, stride, padding)
    assert global_state() == before


@pytest.mark.parametrize(
    ("x", "weight"),
    [
        ((2, 3, 4, 6), (4, 2, 3, 3)),
        ((2, 1, 4, 6), (4, 3, 3, 3)),
        ((2, 3, 4, 6), (4, 1, 3, 3)),
        ((3, 4, 6), (4, 3, 3, 3)),
        ((2, 3, 4, 6, 1), (4, 3, 3, 3)),
        ((2, 3, 4, 6), (3, 3, 3)),
        ((2, 3, 4, 6), (4, 3, 3, 3, 1)),
    ],
)
def test_shapes_that_do_not_fit_are_named(x, weight):
    """Images and a weight with different `in`, or without four axes, raise a ValueError whose message contains both shapes."""
    with rejects(ValueError, str(x), str(weight)):
        fast_conv2d(Tensor(np.zeros(x)), Tensor(np.zeros(weight)), None, 1, 1)


@pytest.mark.parametrize("bias", [(1,), (3,), (4, 1), ()])
def test_a_bias_of_another_shape_is_named(bias):
    """The bias must be (out,): one number would be broadcast. The ValueError contains its shape."""
    with rejects(ValueError, str(bias)):
        fast_conv2d(Tensor(np.zeros((2, 3, 4, 6))), Tensor(np.zeros((4, 3, 3, 3))), Tensor(np.zeros(bias)), 1, 1)


def test_a_kernel_that_does_not_fit_is_named():
    """A kernel larger than the padded image, a stride of 0 or a negative padding raise a ValueError with all four numbers."""
    x, weight = Tensor(np.zeros((1, 1, 3, 3))), Tensor(np.zeros((1, 1, 6, 6)))
    with rejects(ValueError, "3", "6", "1"):
        fast_conv2d(x, weight, padding=1)
    with rejects(ValueError, "3", "6", "2", "0"):
        fast_conv2d(x, weight, padding=2, stride=0)
    with rejects(ValueError, "4", "3", "1", "-1"):
        fast_conv2d(Tensor(np.zeros((1, 1, 4, 4))), Tensor(np.zeros((1, 1, 3, 3))), padding=-1)


def step_of(batch: int, channels: int, size: int, kernel: int = 3, stride: int = 1, padding: int = 1):
    """A forward and a backward of a convolution."""
    x = Tensor(np.ones((batch, channels, size, size), np.float32), requires_grad=True)
    weight = Tensor(np.ones((channels, channels, kernel, kernel), np.float32), requires_grad=True)

    def call():
        y = fast_conv2d(x, weight, None, stride, padding)
        y.backward(y.data)
        x.grad = weight.grad = None

    return call


@pytest.mark.parametrize("shape", [(3, 1, 1), (4, 2, 1)], ids=["3×3", "4×4, stride 2"])
def test_steps_grow_with_blocks_not_with_pixels(budget, shape):
    """Fifty times as many channels or pixels, or sixteen small images, take at most three times the Python instructions."""
    budget.steps(step_of(1, 2, 8, *shape), step_of(1, 100, 8, *shape), limit=3, what="channels")
    budget.steps(step_of(1, 2, 8, *shape), step_of(1, 2, 56, *shape), limit=3, what="pixels")
    budget.steps(step_of(1, 2, 8, *shape), step_of(16, 2, 8, *shape), limit=3, what="images")


def large(kernel: int = 3):
    """8 MB of images, whose windows of 3×3 are 75 MB."""
    x = Tensor(np.ones((32, 64, 32, 32), np.float32), requires_grad=True)
    return x, Tensor(np.ones((64, 64, kernel, kernel), np.float32), requires_grad=True)


@pytest.mark.parametrize("kernel", [3, 5])
def test_a_forward_never_holds_all_windows(budget, kernel):
    """A forward of 8 MB of images holds at most 36 MB: its result and what a few images take."""
    x, weight = large(kernel)
    with no_grad():
        budget.bytes(lambda: fast_conv2d(x, weight, None, 1, kernel // 2), peak=36_000_000)


@pytest.mark.parametrize("argnum", [0, 1], ids=["images", "weight"])
def test_a_gradient_never_holds_all_windows(budget, argnum):
    """Each rule holds at most 36 MB, for 8 MB of images."""
    node = fast_conv2d(*large(), None, 1, 1).node
    g = np.ones(node.arrays[0].shape, np.float32)
    budget.bytes(lambda: vjp(node.op, argnum)(g, *node.arrays, **node.attrs), peak=36_000_000)


def test_the_graph_holds_no_windows():
    """Between forward and backward at most six arrays as large as the images are alive, where the windows are nine."""
    (x, weight), kept = large(), [None]

    def forward():
        kept[0] = fast_conv2d(x, weight, None, 1, 1)

    _, retained = measure_bytes(forward)
    assert retained < 6 * x.data.nbytes, (
        f"{retained / 1e6:.1f} MB are kept for backward, of {x.data.nbytes / 1e6:.1f} MB of images"
    )


def test_nothing_is_kept_after_backward(budget):
    """After backward nothing of a step is alive but scratch memory of the same size each time."""
    x, weight = large()

    def step():
        fast_conv2d(x, weight, None, 1, 1).sum().backward()
        x.grad = weight.grad = None

    budget.bytes(step, retained=100_000)


@pytest.mark.time
def test_winograd_takes_less_than_the_products_of_the_direct_form(draw, tell):
    """Forward and both gradients of 128 channels take at most 0.9 times the CPU time of the three matrix products over nine
    windows' pixels: only fewer multiplications can do that.
    """
    x, weight = draw.normal(16, 128, 8, 8, dtype=np.float32), draw.normal(128, 128, 3, 3, dtype=np.float32)
    images, kernel = Tensor(x.copy(), requires_grad=True), Tensor(weight.copy(), requires_grad=True)
    g = np.ones((16, 8, 8, 128), np.float32).transpose(0, 3, 1, 2)
    columns, rows, pixels = (np.ones(shape, np.float32) for shape in ((1024, 1152), (1152, 128), (1024, 128)))

    def step():
        fast_conv2d(images, kernel, None, 1, 1).backward(g)
        images.grad = kernel.grad = None

    ratio = best_ratio(step, lambda: (columns @ rows, pixels @ rows.T, columns.T @ pixels), 0.9)
    tell(f"fast_conv2d, 128 channels, forward and both gradients: {ratio:.2f} times the products of the direct form")
    assert ratio < 0.9, f"{ratio:.2f} times the CPU time of the direct form's products"


@pytest.mark.parametrize("shape", [(2, 8, 8, 8), (2, 3, 5, 7)], ids=["Winograd's", "another"])
@pytest.mark.parametrize("trained", ["images", "weight"])
def test_only_what_requires_a_gradient_receives_one(draw, shape, trained):
    """It is that of both; the other's grad stays None."""
    g = draw.normal(2, 4, *shape[2:])
    x, weight = draw.normal(*shape), draw.normal(4, shape[1], 3, 3)
    tensors = Tensor(x, requires_grad=trained == "images"), Tensor(weight, requires_grad=trained == "weight")
    fast_conv2d(*tensors, None, 1, 1).backward(g)
    wants = oracles.spatial.direct_gradients(g, x, weight, padding=(1, 1))
    for tensor, want in zip(tensors, wants, strict=False):
        if tensor.requires_grad:
            assert_close(tensor.grad, want)
        else:
            assert tensor.grad is None


@pytest.mark.parametrize(("channels", "kernel"), [(3, 5), (16, 3)])
def test_a_batch_of_many_tiles(draw, channels, kernel):
    """10 MB of windows, which no one gathers at once: nothing of one part of the batch reaches the gradients of the next. As 41
    is prime, the last part is shorter.
    """
    n, side, padding = 41, 32 if channels == 3 else 16, (kernel // 2, kernel // 2)
    x, weight = draw.normal(n, channels, side, side), draw.normal(4, channels, kernel, kernel)
    g = draw.normal(n, 4, side, side)
    got = both_ways(x, weight, None, 1, padding, g)
    wants = oracles.spatial.direct(x, weight, padding=padding), *oracles.spatial.direct_gradients(g, x, weight, padding=padding)
    for name, a, b in zip(("y", "x", "weight"), got, wants, strict=True):
        assert_close(a, b, name=name)


@pytest.mark.parametrize("channels", [2, 12])
def test_a_result_without_a_bias_is_not_touched_by_later_calls(draw, channels):
    """No addition makes a copy of it."""
    x, weight = Tensor(draw.normal(2, channels, 4, 8)), Tensor(draw.normal(3, channels, 3, 3))
    first = fast_conv2d(x, weight, None, 1, 1)
    before = first.data.copy()
    second = fast_conv2d(x * 2, weight, None, 1, 1)
    assert_close(first, before)
    assert not np.may_share_memory(first.data, second.data)
