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
    """Offset by offset, but assigned and not added."""
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
    """Σ over all places that saw a pixel, of g there times the weight through which it was seen."""
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
    """Σ over images and places of g there times the pixel that the weight saw; that of the bias is the sum of g."""
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
    """Images of integers, such as bytes, with a weight of floats give the weight's dtype; so do floats with a whole weight."""
    x, weight = np.ones((2, 3, 5, 6), integers), draw.normal(4, 3, 3, 3, dtype=floats)
    assert_dtype(conv2d(Tensor(x), Tensor(weight), padding=1), floats)
    assert_dtype(conv2d(Tensor(x.astype(floats)), Tensor(np.ones((4, 3, 3, 3), integers))), floats)
    got, want = conv2d(Tensor(x), Tensor(weight)), conv2d(Tensor(x.astype(floats)), Tensor(weight))
    assert_close(got, want.data)


def test_central_differences_agree(draw):
    """gradcheck of kata 07, for all three at once."""
    x, weight, bias, stride, padding = inputs("strided", draw)
    tensors = [Tensor(array, requires_grad=True) for array in (x, weight, bias)]
    assert gradcheck(lambda *three: conv2d(*three, stride, padding), *tensors)


def test_one_number_is_for_both_axes(draw):
    """stride=2, padding=1 are (2, 2) and (1, 1), and 1 and 0 unless given."""
    x, weight, _, stride, padding = inputs("strided", draw)
    want = oracles.spatial.conv2d(x, weight, None, stride, padding)
    assert_close(conv2d(Tensor(x), Tensor(weight), stride=2, padding=1), want)
    assert_close(conv2d(Tensor(x), Tensor(weight)), oracles.spatial.conv2d(x, weight))


def test_without_a_bias_nothing_is_added(draw):
    """bias=None."""
    x, weight, _, stride, padding = inputs("padded", draw)
    got = conv2d(Tensor(x), Tensor(weight), None, stride, padding)
    assert_close(got, oracles.spatial.conv2d(x, weight, None, stride, padding))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_dtype_stays(dtype, draw):
    """float32 stays float32, in both directions: a silent promotion costs twice the time."""
    x, weight, bias, stride, padding = inputs("strided", draw, dtype)
    x, weight, bias = (Tensor(array, requires_grad=True) for array in (x, weight, bias))
    y = conv2d(x, weight, bias, stride, padding)
    assert_dtype(y, dtype)
    y.sum().backward()
    for tensor in (x, weight, bias):
        assert_dtype(tensor.grad, dtype)


def test_an_image_is_convolved_by_itself(draw):
    """No image sees another: each alone gives the same."""
    x, weight, bias, stride, padding = inputs("padded", draw)
    both = conv2d(Tensor(x), Tensor(weight), Tensor(bias), stride, padding)
    for n in (0, 1):
        alone = conv2d(Tensor(x[n : n + 1]), Tensor(weight), Tensor(bias), stride, padding)
        assert_close(both.data[n], alone.data[0])


def test_a_shifted_image_has_a_shifted_result(draw):
    """What makes convolution right for images: what was learnt at one place holds at all."""
    image, weight = np.zeros((1, 1, 9, 9)), draw.normal(2, 1, 3, 3)
    image[0, 0, 2:5, 2:5] = draw.normal(3, 3)
    y = conv2d(Tensor(image), Tensor(weight)).data
    moved = conv2d(Tensor(np.roll(image, (1, 2), (2, 3))), Tensor(weight)).data
    assert_close(moved[:, :, 1:, 2:], y[:, :, :-1, :-2])


def test_the_gradient_of_images_that_need_none_is_not_computed(draw, monkeypatch):
    """The first layer's images are data: half of its backward is saved where nobody asks for theirs. It is one primitive, with
    a rule for each of its parents.
    """
    x, weight, _, stride, padding = inputs("padded", draw)
    y = conv2d(Tensor(x), Tensor(weight, requires_grad=True), None, stride, padding)
    rules, asked = autograd._RULES[y.node.op], []
    monkeypatch.setitem(autograd._RULES, y.node.op, lambda argnum: asked.append(argnum) or rules(argnum))
    y.sum().backward()
    assert len(asked) == 1, f"for the weight alone, rules of the operation {y.node.op!r} were asked {len(asked)} times"


def test_the_rules_stay_in_float32(draw):
    """Each by itself: backward would turn a promoted gradient back into float32, and it cost twice the time."""
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
    """Images (batch, in, h, w) and weight (out, in, kernel_h, kernel_w), with one `in`: both shapes are named."""
    with rejects(ValueError, str(x), str(weight)):
        conv2d(Tensor(np.zeros(x)), Tensor(np.zeros(weight)))


def test_a_kernel_that_does_not_fit_is_refused():
    """Larger than the padded image, or with a stride of 0."""
    x, weight = Tensor(np.zeros((1, 1, 3, 3))), Tensor(np.zeros((1, 1, 6, 6)))
    with rejects(ValueError, "3", "6", "1"):
        conv2d(x, weight, padding=1)
    with rejects(ValueError, "3", "6", "2", "0"):
        conv2d(x, weight, padding=2, stride=0)


@pytest.mark.parametrize("shape", [(1,), (5,), (), (4, 1), (1, 4), (4, 1, 1), (1, 4, 1, 1)], ids=str)
def test_a_bias_of_another_shape_is_refused(shape):
    """One number would be broadcast to all filters, and axes of length 1 are not (out,): a ValueError names its shape."""
    with rejects(ValueError, str(shape)):
        conv2d(Tensor(np.zeros((2, 3, 5, 5))), Tensor(np.zeros((4, 3, 3, 3))), Tensor(np.zeros(shape)))


FLOATS = [np.float16, np.float32, np.float64]


@pytest.mark.parametrize("of_x", FLOATS)
@pytest.mark.parametrize("of_weight", FLOATS)
def test_floats_of_two_dtypes_give_the_wider(of_x, of_weight, draw):
    """As in NumPy: float16 beside float32 is float32. Both receive their gradient, each in its own dtype."""
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
    """It is added as integers are: float32 stays float32, and float16 float16."""
    y = conv2d(Tensor(np.ones((1, 2, 3, 3), floats)), Tensor(np.ones((2, 2, 2, 2), floats)), Tensor(np.array([1, -2])))
    assert_dtype(y, floats)
    assert_close(y, np.broadcast_to(np.array([[[9]], [[6]]]), (1, 2, 2, 2)))


@pytest.mark.parametrize(
    "asked", [(True, False, False), (False, True, False), (False, False, True), (True, False, True)], ids=str
)
def test_each_of_the_three_may_need_a_gradient_alone(asked, draw):
    """The images, the weight or the bias: those that need one receive theirs, the others none."""
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
    """A float64 bias beside float32 images gives float64, and receives its gradient."""
    bias = Tensor(np.array([0.1, -0.2]), requires_grad=True)
    y = conv2d(Tensor(np.zeros((1, 1, 2, 2), np.float32)), Tensor(np.ones((2, 1, 2, 2), np.float32)), bias)
    assert_dtype(y, np.float64)
    assert_close(y, [[[[0.1]], [[-0.2]]]])
    y.sum().backward()
    assert_close(bias.grad, [1.0, 1.0])
    assert_dtype(bias.grad, np.float64)


def test_zeros_are_a_bias_and_a_weight():
    """Values of 0 are values: a bias or a weight that is 0 everywhere receives its gradient, as any other."""
    x = Tensor(np.ones((2, 3, 4, 4)))
    weight, bias = Tensor(np.zeros((5, 3, 3, 3)), requires_grad=True), Tensor(np.zeros(5), requires_grad=True)
    conv2d(x, weight, bias).sum().backward()
    assert_close(bias.grad, np.full(5, 8.0))
    assert_close(weight.grad, np.full((5, 3, 3, 3), 8.0))


def test_a_later_convolution_leaves_an_earlier_one_alone(draw):
    """Two forwards of the same shapes before the first backward: results and gradients are each from its own images."""
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
    """Nothing is shared between calls: each thread has its own result and gradients."""
    x, weight = draw.normal(2, 3, 5, 6), draw.normal(4, 3, 3, 3)

    def call(number: int):
        images, kernel = Tensor(number * x, requires_grad=True), Tensor(weight, requires_grad=True)
        y = conv2d(images, kernel, None, 1, 1)
        y.sum().backward()
        return y, images.grad, kernel.grad

    assert_reentrant(call)


def test_every_place_of_a_large_image_counts():
    """90,000 places, in both directions: neither a result nor a sum over places ends before the last."""
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
    """A batch of length 0 has a result of length 0, and gives the weight and the bias gradients of 0."""
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
    """NaN or ∞ in one pixel of one image is in the results of those windows that see it: no other place, no other image."""
    x = np.ones((2, 1, 5, 6))
    x[1, 0, 1, 4] = value
    y, kernel = conv2d(Tensor(x), Tensor(np.ones((2, 1, 2, 2)))).data, np.full((2, 2, 4, 5), 4.0)
    kernel[1, :, 0:2, 3:5] = value
    assert_close(y, kernel)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_gradient_that_is_not_finite_arrives(value):
    """It is neither dropped nor replaced: the weight has it, and the pixels that the place has seen."""
    x, weight = Tensor(np.ones((1, 1, 2, 4)), requires_grad=True), Tensor(np.ones((1, 1, 2, 2)), requires_grad=True)
    conv2d(x, weight, None, 2).backward(np.array([[[[value, 3.0]]]]))
    assert_close(weight.grad, np.full((1, 1, 2, 2), value))
    assert not np.isfinite(x.grad[..., :2]).any()


def test_the_gradient_that_came_in_is_left_alone(draw):
    """A sum passes one array to both of its terms: a rule that writes to it would change the other's gradient."""
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
    """More images, channels or pixels take not one Python step more: a loop over the kernel is all there is."""
    budget.steps(convolution(1, 2, 6), convolution(300, 2, 6), limit=2, what="images")
    budget.steps(convolution(1, 2, 6), convolution(1, 200, 6), limit=2, what="channels")
    budget.steps(convolution(1, 2, 6), convolution(1, 2, 100), limit=2, what="pixels")


def test_a_forward_copies_the_windows_once(budget):
    """Half a megabyte of images has 4.6 MB of windows of 3×3: there is one matrix of them, and the result."""
    x, weight = Tensor(np.ones((8, 16, 32, 32), np.float32)), Tensor(np.ones((16, 16, 3, 3), np.float32))
    with no_grad():
        budget.bytes(lambda: conv2d(x, weight, None, 1, 1), peak=8_500_000)


def test_nothing_is_kept_after_backward(budget):
    """The matrix of windows goes with the record: between two steps nothing of a convolution is alive."""
    x, kept = Tensor(np.ones((8, 16, 32, 32), np.float32)), []
    weight = Tensor(np.ones((16, 16, 3, 3), np.float32), requires_grad=True)

    def step():
        kept[:] = [conv2d(x, weight, None, 1, 1).sum()]
        kept[0].backward()
        weight.grad = None

    budget.bytes(step, retained=100_000)


def test_a_convolution_costs_what_its_products_cost(budget):
    """A forward and both gradients, beside the three matrix products that are in them (64 images of 32 × 16 × 16, 3×3)."""
    pixels, seen, out = 64 * 16 * 16, 9 * 32, 32
    call = convolution(64, 32, 16)
    columns, kernels, g = (np.ones(shape, np.float32) for shape in ((pixels, seen), (seen, out), (pixels, out)))
    budget.time(call, against=lambda: (columns @ kernels, g @ kernels.T, columns.T @ g), limit=6)
