import numpy as np
import pytest
from katas.autograd import gradcheck, no_grad
from katas.spatial import conv2d
from katas.tensor import Tensor

from katas import autograd
from specs import oracles
from specs.check import EXACT, FLOAT32, Tolerance, assert_close, assert_dtype, assert_reentrant, rejects

HALF = Tolerance("float16", 0.01)  # some dozen roundings of 5e-4

# height and width of the image, kernel, stride, padding
CASES = {
    "one pixel": ((4, 5), (1, 1), (1, 1), (0, 0)),
    "3×3": ((5, 6), (3, 3), (1, 1), (0, 0)),
    "padded": ((5, 6), (3, 3), (1, 1), (1, 1)),
    "wide": ((4, 7), (2, 5), (1, 1), (0, 0)),
    "high": ((7, 4), (5, 2), (1, 1), (2, 0)),
    "strided": ((7, 9), (3, 3), (2, 2), (1, 1)),
    "strided, with a rest": ((8, 6), (3, 3), (2, 2), (0, 0)),
    "another stride down than across": ((8, 9), (3, 2), (3, 2), (1, 0)),
    "a stride beyond the kernel": ((9, 8), (2, 2), (3, 3), (0, 0)),
    "even": ((8, 8), (4, 4), (2, 2), (1, 1)),
    "as large as the image": ((5, 4), (5, 4), (1, 1), (0, 0)),
    "more zeros than image": ((2, 3), (4, 5), (1, 1), (2, 2)),
    "more zeros than kernel": ((3, 4), (2, 1), (1, 1), (2, 1)),
}
cases = pytest.mark.parametrize("case", CASES)


def inputs(case: str, draw, dtype=np.float64):
    """x (2, 3, h, w), weight (4, 3, kh, kw), bias (4,), then stride and padding."""
    size, kernel_size, stride, padding = CASES[case]
    x, weight, bias = (
        draw.normal(2, 3, *size, dtype=dtype),
        draw.normal(4, 3, *kernel_size, dtype=dtype),
        draw.normal(4, dtype=dtype),
    )
    return x, weight, bias, stride, padding


def flipped(weight: np.ndarray) -> np.ndarray:
    return weight[:, :, ::-1, ::-1]


def paid_by_the_last(g: np.ndarray, x: np.ndarray, weight: np.ndarray, stride, padding) -> np.ndarray:
    """The gradient of x offset by offset, but assigned instead of added."""
    (h, w), (kh, kw), (sh, sw), (ph, pw) = x.shape[2:], weight.shape[2:], stride, padding
    padded = np.zeros((*x.shape[:2], h + 2 * ph, w + 2 * pw))
    for k, m in np.ndindex(kh, kw):
        rows, columns = slice(k, h + 2 * ph - kh + k + 1, sh), slice(m, w + 2 * pw - kw + m + 1, sw)
        padded[:, :, rows, columns] = np.einsum("nohw,oc->nchw", g, weight[:, :, k, m])
    return padded[:, :, ph : ph + h, pw : pw + w]


@cases
def test_each_output_is_a_weighted_sum_of_its_window(case, draw):
    """y[n, o, i, j] = bias[o] + Σ x[n, c, i·stride + k - padding, j·stride + l - padding] · weight[o, c, k, l]."""
    x, weight, bias, stride, padding = inputs(case, draw)
    want = oracles.spatial.conv2d(x, weight, bias, stride, padding)
    mistakes = {
        "the kernel is turned round: that is the mathematicians' convolution": oracles.spatial.conv2d(
            x, flipped(weight), bias, stride, padding
        ),
        "the bias is missing": want - bias[:, None, None],
    }
    assert_close(conv2d(Tensor(x), Tensor(weight), Tensor(bias), stride, padding), want, mistakes=mistakes)


@cases
def test_the_gradient_of_the_images_is_paid_back_to_each_pixel_that_was_seen(case, draw):
    """A pixel's gradient is the sum, over all positions whose window contains it, of g there times the weight that it was
    multiplied by.
    """
    x, weight, bias, stride, padding = inputs(case, draw)
    tensor = Tensor(x, requires_grad=True)
    y = conv2d(tensor, Tensor(weight), Tensor(bias), stride, padding)
    g = draw.normal(*y.shape)
    y.backward(g)
    want, _, _ = oracles.spatial.conv2d_gradients(g, x, weight, stride, padding)
    turned, _, _ = oracles.spatial.conv2d_gradients(g, x, flipped(weight), stride, padding)
    last = paid_by_the_last(g, x, weight, stride, padding)
    mistakes = {"the kernel is turned round": turned, "overwritten by the last place that saw a pixel, not added": last}
    assert_close(tensor.grad, want, mistakes=mistakes)


@cases
def test_the_gradient_of_the_weight_is_summed_over_places_and_images(case, draw):
    """A weight's gradient is the sum, over images and positions, of g there times the pixel that it was multiplied by. The
    bias's gradient is the sum of g.
    """
    x, weight, bias, stride, padding = inputs(case, draw)
    kernel, shift = Tensor(weight, requires_grad=True), Tensor(bias, requires_grad=True)
    y = conv2d(Tensor(x), kernel, shift, stride, padding)
    g = draw.normal(*y.shape)
    y.backward(g)
    _, to_weight, to_bias = oracles.spatial.conv2d_gradients(g, x, weight, stride, padding)
    mistakes = {"the mean over the images, not the sum": to_weight / 2, "the kernel is turned round": flipped(to_weight)}
    assert_close(kernel.grad, to_weight, mistakes=mistakes, name="weight")
    assert_close(shift.grad, to_bias, name="bias")


@pytest.mark.parametrize("integers", [np.bool_, np.uint8, np.int32, np.int64])
@pytest.mark.parametrize("floats", [np.float16, np.float32, np.float64])
def test_integers_take_the_dtype_of_floats(integers, floats, draw):
    """Integer images, such as bytes, with a float weight give the weight's dtype; float images with an integer weight give the
    images' dtype.
    """
    x, weight = np.ones((2, 3, 5, 6), integers), draw.normal(4, 3, 3, 3, dtype=floats)
    assert_dtype(conv2d(Tensor(x), Tensor(weight), padding=1), floats)
    assert_dtype(conv2d(Tensor(x.astype(floats)), Tensor(np.ones((4, 3, 3, 3), integers))), floats)
    got, want = conv2d(Tensor(x), Tensor(weight)), conv2d(Tensor(x.astype(floats)), Tensor(weight))
    assert_close(got, want.data)


def test_central_differences_agree(draw):
    """The gradients of x, weight and bias agree with central differences (kata 07's gradcheck)."""
    x, weight, bias, stride, padding = inputs("strided", draw)
    tensors = [Tensor(array, requires_grad=True) for array in (x, weight, bias)]
    assert gradcheck(lambda *three: conv2d(*three, stride, padding), *tensors)


def test_one_number_is_for_both_axes(draw):
    """stride=2 and padding=1 mean (2, 2) and (1, 1). By default stride is 1 and padding is 0."""
    x, weight, _, stride, padding = inputs("strided", draw)
    want = oracles.spatial.conv2d(x, weight, None, stride, padding)
    assert_close(conv2d(Tensor(x), Tensor(weight), stride=2, padding=1), want)
    assert_close(conv2d(Tensor(x), Tensor(weight)), oracles.spatial.conv2d(x, weight))


def test_without_a_bias_nothing_is_added(draw):
    """With bias=None, conv2d adds nothing to the sum."""
    x, weight, _, stride, padding = inputs("padded", draw)
    got = conv2d(Tensor(x), Tensor(weight), None, stride, padding)
    assert_close(got, oracles.spatial.conv2d(x, weight, None, stride, padding))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_dtype_stays(dtype, draw):
    """The output and all gradients have the input's dtype, float32 or float64: a silent promotion would double the time."""
    x, weight, bias, stride, padding = inputs("strided", draw, dtype)
    x, weight, bias = (Tensor(array, requires_grad=True) for array in (x, weight, bias))
    y = conv2d(x, weight, bias, stride, padding)
    assert_dtype(y, dtype)
    y.sum().backward()
    for tensor in (x, weight, bias):
        assert_dtype(tensor.grad, dtype)


def test_an_image_is_convolved_by_itself(draw):
    """Each image is convolved independently: an image alone gives the same result as in a batch."""
    x, weight, bias, stride, padding = inputs("padded", draw)
    both = conv2d(Tensor(x), Tensor(weight), Tensor(bias), stride, padding)
    for n in (0, 1):
        alone = conv2d(Tensor(x[n : n + 1]), Tensor(weight), Tensor(bias), stride, padding)
        assert_close(both.data[n], alone.data[0])


def test_a_shifted_image_has_a_shifted_result(draw):
    """A shifted image gives a shifted result. So a pattern that was learned at one position is found at every position."""
    image, weight = np.zeros((1, 1, 9, 9)), draw.normal(2, 1, 3, 3)
    image[0, 0, 2:5, 2:5] = draw.normal(3, 3)
    y = conv2d(Tensor(image), Tensor(weight)).data
    moved = conv2d(Tensor(np.roll(image, (1, 2), (2, 3))), Tensor(weight)).data
    assert_close(moved[:, :, 1:, 2:], y[:, :, :-1, :-2])


def test_the_gradient_of_images_that_need_none_is_not_computed(draw, monkeypatch):
    """If only the weight needs a gradient, the gradient of the images is not computed: that saves half of the first layer's
    backward pass. conv2d is one primitive, with a rule for each of its parents.
    """
    x, weight, _, stride, padding = inputs("padded", draw)
    y = conv2d(Tensor(x), Tensor(weight, requires_grad=True), None, stride, padding)
    rules, asked = autograd._RULES[y.node.op], []
    monkeypatch.setitem(autograd._RULES, y.node.op, lambda argnum: asked.append(argnum) or rules(argnum))
    y.sum().backward()
    assert len(asked) == 1, f"for the weight alone, rules of the operation {y.node.op!r} were asked {len(asked)} times"


def test_the_rules_stay_in_float32(draw):
    """Each rule returns a float32 gradient for float32 arrays. backward() would convert a promoted gradient back to float32,
    after twice the time.
    """
    x, weight, _, stride, padding = inputs("padded", draw, np.float32)
    y = conv2d(Tensor(x, requires_grad=True), Tensor(weight, requires_grad=True), None, stride, padding)
    for argnum in range(len(y.node.parents)):
        assert_dtype(autograd.vjp(y.node.op, argnum)(y.data, *y.node.arrays, **y.node.attrs), np.float32)


@pytest.mark.parametrize(
    ("x", "weight"),
    [
        ((2, 3, 5, 5), (4, 2, 3, 3)),
        ((2, 1, 5, 5), (4, 3, 3, 3)),
        ((3, 5, 5), (4, 3, 3, 3)),
        ((2, 3, 5), (4, 3, 3, 3)),
        ((2, 3, 5, 5, 1), (4, 3, 3, 3)),
        ((2, 3, 5, 5), (3, 3, 3)),
        ((2, 3, 5, 5), (4, 3, 3, 3, 1)),
    ],
)
def test_shapes_that_do_not_fit_are_refused(x, weight):
    """Shapes other than images (batch, in, h, w) and weight (out, in, kernel_h, kernel_w) with the same `in` raise a ValueError
    whose message contains both shapes.
    """
    with rejects(ValueError, str(x), str(weight)):
        conv2d(Tensor(np.zeros(x)), Tensor(np.zeros(weight)))


def test_a_kernel_that_does_not_fit_is_refused():
    """A kernel larger than the padded image, or a stride of 0, raises a ValueError whose message contains the sizes."""
    x, weight = Tensor(np.zeros((1, 1, 3, 3))), Tensor(np.zeros((1, 1, 6, 6)))
    with rejects(ValueError, "3", "6", "1"):
        conv2d(x, weight, padding=1)
    with rejects(ValueError, "3", "6", "2", "0"):
        conv2d(x, weight, padding=2, stride=0)


@pytest.mark.parametrize("shape", [(1,), (5,), (), (4, 1), (1, 4), (4, 1, 1), (1, 4, 1, 1)], ids=str)
def test_a_bias_of_another_shape_is_refused(shape):
    """A bias whose shape isn't (out,) raises a ValueError that contains its shape, even if broadcasting would accept that
    shape.
    """
    with rejects(ValueError, str(shape)):
        conv2d(Tensor(np.zeros((2, 3, 5, 5))), Tensor(np.zeros((4, 3, 3, 3))), Tensor(np.zeros(shape)))


FLOATS = [np.float16, np.float32, np.float64]


@pytest.mark.parametrize("of_x", FLOATS)
@pytest.mark.parametrize("of_weight", FLOATS)
def test_floats_of_two_dtypes_give_the_wider(of_x, of_weight, draw):
    """With two float dtypes, the result has the wider one, as in NumPy: float16 with float32 gives float32. Each tensor's
    gradient has that tensor's dtype.
    """
    x = Tensor(draw.normal(2, 3, 5, 6, dtype=of_x), requires_grad=True)
    weight = Tensor(draw.normal(4, 3, 3, 2, dtype=of_weight), requires_grad=True)
    y = conv2d(x, weight, None, 2, 1)
    assert_dtype(y, np.promote_types(of_x, of_weight))
    g = draw.normal(*y.shape, dtype=y.dtype)
    y.backward(g)
    to_x, to_weight, _ = oracles.spatial.conv2d_gradients(g, x.data, weight.data, (2, 2), (1, 1))
    for name, tensor, want in (("x", x, to_x), ("weight", weight, to_weight)):
        assert_dtype(tensor.grad, tensor.dtype)
        assert_close(tensor.grad, want, HALF if np.float16 in (of_x, of_weight) else FLOAT32, name=name)


@pytest.mark.parametrize("floats", FLOATS)
def test_a_bias_of_integers_takes_the_dtype_of_floats(floats):
    """An integer bias doesn't change the dtype of the result: float32 stays float32, and float16 stays float16."""
    y = conv2d(Tensor(np.ones((1, 2, 3, 3), floats)), Tensor(np.ones((2, 2, 2, 2), floats)), Tensor(np.array([1, -2])))
    assert_dtype(y, floats)
    assert_close(y, np.broadcast_to(np.array([[[9]], [[6]]]), (1, 2, 2, 2)))


@pytest.mark.parametrize(
    "asked", [(True, False, False), (False, True, False), (False, False, True), (True, False, True)], ids=str
)
def test_each_of_the_three_may_need_a_gradient_alone(asked, draw):
    """Of images, weight and bias, exactly those with requires_grad=True receive a gradient."""
    x, weight, bias, stride, padding = inputs("strided", draw)
    tensors = [Tensor(array, requires_grad=needed) for array, needed in zip((x, weight, bias), asked, strict=True)]
    y = conv2d(*tensors, stride, padding)
    g = draw.normal(*y.shape)
    y.backward(g)
    wants = oracles.spatial.conv2d_gradients(g, x, weight, stride, padding)
    for name, tensor, want, needed in zip(("x", "weight", "bias"), tensors, wants, asked, strict=True):
        if needed:
            assert_close(tensor.grad, want, name=name)
        else:
            assert tensor.grad is None, f"{name} needs no gradient"


def test_a_bias_of_wider_floats_is_added_in_its_dtype():
    """A float64 bias with float32 images gives a float64 result, and receives a float64 gradient."""
    bias = Tensor(np.array([0.1, -0.2]), requires_grad=True)
    y = conv2d(Tensor(np.zeros((1, 1, 2, 2), np.float32)), Tensor(np.ones((2, 1, 2, 2), np.float32)), bias)
    assert_dtype(y, np.float64)
    assert_close(y, [[[[0.1]], [[-0.2]]]])
    y.sum().backward()
    assert_close(bias.grad, [1.0, 1.0])
    assert_dtype(bias.grad, np.float64)


def test_zeros_are_a_bias_and_a_weight():
    """A bias or a weight that is 0 everywhere receives its gradient like any other."""
    x = Tensor(np.ones((2, 3, 4, 4)))
    weight, bias = Tensor(np.zeros((5, 3, 3, 3)), requires_grad=True), Tensor(np.zeros(5), requires_grad=True)
    conv2d(x, weight, bias).sum().backward()
    assert_close(bias.grad, np.full(5, 8.0))
    assert_close(weight.grad, np.full((5, 3, 3, 3), 8.0))


def test_a_later_convolution_leaves_an_earlier_one_alone(draw):
    """A second forward with the same shapes doesn't change the first one's result or gradients: each comes from its
    own images.
    """
    (one, weight, _, stride, padding), other = inputs("padded", draw), draw.normal(2, 3, 5, 6)
    kernels = [Tensor(weight, requires_grad=True) for _ in range(2)]
    tensors = [Tensor(x, requires_grad=True) for x in (one, other)]
    ys = [conv2d(x, kernel, None, stride, padding) for x, kernel in zip(tensors, kernels, strict=True)]
    first, g = ys[0].data.copy(), draw.normal(*ys[0].shape)
    ys[0].backward(g)
    kept = tensors[0].grad.copy()
    ys[1].backward(2 * g)
    _, to_weight, _ = oracles.spatial.conv2d_gradients(g, one, weight, stride, padding)
    _, of_other, _ = oracles.spatial.conv2d_gradients(g, other, weight, stride, padding)
    assert_close(kernels[0].grad, to_weight, mistakes={"from the images of the later convolution": of_other})
    assert_close(kernels[1].grad, 2 * of_other)
    assert_close(ys[0], first, EXACT, name="the first result after the second convolution")
    assert_close(tensors[0].grad, kept, EXACT, name="the first gradient after the second convolution")


def test_two_threads_convolve_at_once(draw):
    """Calls share nothing: if two threads call conv2d at the same time, each gets its own result and gradients."""
    x, weight = draw.normal(2, 3, 5, 6), draw.normal(4, 3, 3, 3)

    def call(number: int):
        images, kernel = Tensor(number * x, requires_grad=True), Tensor(weight, requires_grad=True)
        y = conv2d(images, kernel, None, 1, 1)
        y.sum().backward()
        return y, images.grad, kernel.grad

    assert_reentrant(call)


def test_every_place_of_a_large_image_counts():
    """All 90,000 positions of a large image count, forward and backward: no result and no sum stops before the last."""
    x = np.zeros((1, 1, 300, 300))
    x[0, 0, 299, 299] = x[0, 0, 0, 0] = 3.0
    weight = Tensor(np.full((1, 1, 1, 1), 2.0), requires_grad=True)
    images = Tensor(x, requires_grad=True)
    y = conv2d(images, weight)
    assert_close(y, 2 * x)
    y.backward(np.ones(y.shape))
    assert_close(weight.grad, np.full((1, 1, 1, 1), 6.0), mistakes={"only the first places are counted": [[[[3.0]]]]})
    assert_close(images.grad, np.full(x.shape, 2.0))


def test_there_may_be_no_images():
    """A batch of length 0 has a result of length 0, and the gradients of weight and bias are 0."""
    x = Tensor(np.zeros((0, 3, 5, 6)), requires_grad=True)
    weight, bias = Tensor(np.ones((4, 3, 3, 3)), requires_grad=True), Tensor(np.ones(4), requires_grad=True)
    y = conv2d(x, weight, bias, 1, 1)
    assert y.shape == (0, 4, 5, 6)
    y.sum().backward()
    assert_close(x.grad, np.zeros((0, 3, 5, 6)))
    assert_close(weight.grad, np.zeros((4, 3, 3, 3)))
    assert_close(bias.grad, np.zeros(4))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_value_that_is_not_finite_is_seen_by_its_windows_only(value):
    """NaN or ∞ in one pixel affects only the results of the windows that contain it: no other position, no other image."""
    x = np.ones((2, 1, 5, 6))
    x[1, 0, 1, 4] = value
    y, kernel = conv2d(Tensor(x), Tensor(np.ones((2, 1, 2, 2)))).data, np.full((2, 2, 4, 5), 4.0)
    kernel[1, :, 0:2, 3:5] = value
    assert_close(y, kernel)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_gradient_that_is_not_finite_arrives(value):
    """A gradient of NaN or ∞ is neither dropped nor replaced: it reaches the weight, and the pixels in its window."""
    x, weight = Tensor(np.ones((1, 1, 2, 4)), requires_grad=True), Tensor(np.ones((1, 1, 2, 2)), requires_grad=True)
    conv2d(x, weight, None, 2).backward(np.array([[[[value, 3.0]]]]))
    assert_close(weight.grad, np.full((1, 1, 2, 2), value))
    assert not np.isfinite(x.grad[..., :2]).any()


def test_the_gradient_that_came_in_is_left_alone(draw):
    """The backward rules don't write to the incoming gradient: a sum passes the same array to both of its terms."""
    x, weight, bias, stride, padding = inputs("padded", draw)
    for first in (True, False):
        tensors = [Tensor(array, requires_grad=True) for array in (x, weight, bias)]
        y = conv2d(*tensors, stride, padding)
        other, g = Tensor(np.zeros(y.shape), requires_grad=True), np.array(draw.normal(*y.shape))
        before = g.copy()
        (y + other if first else other + y).backward(g)
        assert_close(other.grad, before, EXACT)
        assert_close(g, before, EXACT)


def convolution(batch: int, channels: int, size: int):
    """A forward and a backward of a 3×3 convolution."""
    x = Tensor(np.ones((batch, channels, size, size), np.float32), requires_grad=True)
    weight = Tensor(np.ones((channels, channels, 3, 3), np.float32), requires_grad=True)

    def call():
        y = conv2d(x, weight, None, 1, 1)
        y.backward(y.data)
        x.grad = weight.grad = None

    return call


def test_convolution_is_done_in_numpy(budget):
    """The number of Python instructions must not grow with the number of images, channels or pixels: only a loop over the
    kernel's offsets is allowed.
    """
    budget.steps(convolution(1, 2, 6), convolution(300, 2, 6), limit=2, what="images")
    budget.steps(convolution(1, 2, 6), convolution(1, 200, 6), limit=2, what="channels")
    budget.steps(convolution(1, 2, 6), convolution(1, 2, 100), limit=2, what="pixels")


def test_a_forward_copies_the_windows_once(budget):
    """A forward allocates one matrix of windows and the result, and no second copy: 0.5 MB of images has 4.6 MB of
    3×3 windows.
    """
    x, weight = Tensor(np.ones((8, 16, 32, 32), np.float32)), Tensor(np.ones((16, 16, 3, 3), np.float32))
    with no_grad():
        budget.bytes(lambda: conv2d(x, weight, None, 1, 1), peak=8_500_000)


def test_nothing_is_kept_after_backward(budget):
    """The matrix of windows is released with the graph: after backward, no array of a convolution stays in memory."""
    x, kept = Tensor(np.ones((8, 16, 32, 32), np.float32)), []
    weight = Tensor(np.ones((16, 16, 3, 3), np.float32), requires_grad=True)

    def step():
        kept[:] = [conv2d(x, weight, None, 1, 1).sum()]
        kept[0].backward()
        weight.grad = None

    budget.bytes(step, retained=100_000)


def test_a_convolution_costs_what_its_products_cost(budget):
    """A forward and both gradients take at most six times as long as their three matrix products (64 images of 32 × 16 × 16,
    3×3).
    """
    pixels, seen, out = 64 * 16 * 16, 9 * 32, 32
    call = convolution(64, 32, 16)
    columns, kernels, g = (np.ones(shape, np.float32) for shape in ((pixels, seen), (seen, out), (pixels, out)))
    budget.time(call, against=lambda: (columns @ kernels, g @ kernels.T, columns.T @ g), limit=6)
