import numpy as np
import pytest
from katas.spatial import output_size, windows

from specs.check import EXACT, assert_close, assert_dtype, layouts, rejects

# size, kernel, stride, padding, and how often the kernel fits
SIZES = [
    (5, 3, 1, 0, 3),
    (5, 3, 1, 1, 5),
    (5, 3, 2, 0, 2),
    (6, 3, 2, 0, 2),
    (7, 3, 2, 1, 4),
    (32, 4, 2, 1, 16),
    (5, 5, 3, 0, 1),
]
SIZES += [(1, 1, 1, 0, 1), (2, 5, 1, 2, 2), (3, 5, 1, 1, 1), (8, 2, 3, 0, 3), (3, 2, 5, 0, 1), (0, 2, 1, 1, 1)]


@pytest.mark.parametrize(("size", "kernel_size", "stride", "padding", "want"), SIZES)
def test_the_output_has_as_many_values_as_the_kernel_has_places(size, kernel_size, stride, padding, want):
    """output_size() is ⌊(size + 2·padding - kernel_size) / stride⌋ + 1: leftover pixels are ignored."""
    assert output_size(size, kernel_size, stride, padding) == want


def test_stride_is_1_and_padding_0_unless_given():
    """output_size(size, kernel_size) uses stride=1 and padding=0."""
    assert output_size(7, 3) == 5


@pytest.mark.parametrize(
    ("size", "kernel_size", "stride", "padding"),
    [(3, 4, 1, 0), (3, 4, 2, 0), (3, 6, 1, 1), (5, 0, 1, 0), (5, 3, 0, 0), (5, 3, 1, -1), (5, -1, 1, 0), (5, 3, -1, 0)],
)
def test_a_kernel_that_does_not_fit_is_refused(size, kernel_size, stride, padding):
    """A kernel that does not fit, a kernel_size or stride below 1, or a negative padding raises a ValueError whose message
    contains all four numbers.
    """
    with rejects(ValueError, str(size), str(kernel_size), str(stride), str(padding)):
        output_size(size, kernel_size, stride, padding)


CASES = [
    ((3, 2), (1, 1), (0, 0)),
    ((2, 3), (2, 1), (0, 0)),
    ((3, 3), (1, 1), (1, 1)),
    ((4, 2), (2, 3), (1, 2)),
    ((1, 1), (1, 1), (0, 0)),
]


@pytest.mark.parametrize(("kernel_size", "stride", "padding"), CASES)
def test_each_window_is_what_the_kernel_sees_there(kernel_size, stride, padding, draw):
    """windows(x)[n, c, i, j] is the piece of image n, channel c, at row i·stride - padding and column j·stride - padding."""
    x = draw.normal(2, 3, 7, 6)
    padded = np.pad(x, [(0, 0), (0, 0), (padding[0],) * 2, (padding[1],) * 2])
    got = windows(x, kernel_size, stride, padding)
    sizes = [output_size(size, *rest) for size, *rest in zip((7, 6), kernel_size, stride, padding, strict=True)]
    assert got.shape == (2, 3, *sizes, *kernel_size)
    for i, j in np.ndindex(*sizes):
        top, left = i * stride[0], j * stride[1]
        want = padded[:, :, top : top + kernel_size[0], left : left + kernel_size[1]]
        assert_close(got[:, :, i, j], want, name=f"the window at {(i, j)}")


def test_one_number_is_for_both_axes(draw):
    """windows(x, 3, 2, 1) is the same as windows(x, (3, 3), (2, 2), (1, 1))."""
    x = draw.normal(2, 3, 7, 6)
    assert_close(windows(x, 3, 2, 1), windows(x, (3, 3), (2, 2), (1, 1)))


def test_the_dtype_stays(draw):
    """Windows have the dtype of the images, with padding and without: float32 stays float32, and bytes stay bytes."""
    for dtype in (np.float16, np.float32, np.float64, np.bool_, np.uint8, np.int64):
        x = draw.uniform(0, 9, 2, 3, 5, 6).astype(dtype)
        for padding in (0, 1, (1, 0), (0, 1)):
            assert_dtype(windows(x, 3, 1, padding), dtype)


@pytest.mark.parametrize("shape", [(3, 5, 6), (5, 6), (1, 2, 3, 5, 6)])
def test_images_have_four_axes(shape):
    """Images whose axes aren't (batch, channels, height, width) raise a ValueError whose message contains their shape."""
    with rejects(ValueError, str(shape)):
        windows(np.zeros(shape), 3)


def test_windows_that_do_not_fit_are_refused():
    """A kernel taller or wider than the image raises a ValueError that contains the kernel's size."""
    for kernel_size in ((7, 1), (1, 7)):
        with rejects(ValueError, "7"):
            windows(np.zeros((1, 1, 6, 6)), kernel_size)


@pytest.mark.parametrize(
    "sizes",
    [
        ((0, 2), 1, 0),
        ((2, 0), 1, 0),
        ((-1, 2), 1, 0),
        ((2, -1), 1, 0),
        (2, (0, 1), 0),
        (2, (1, 0), 0),
        (2, 1, (-1, 0)),
        (2, 1, (0, -1)),
        (2, 0, 0),
    ],
    ids=str,
)
def test_sizes_are_refused_along_either_axis(sizes):
    """On either axis, a kernel_size or stride below 1 or a negative padding raises a ValueError that contains the
    image's size.
    """
    with rejects(ValueError, "6"):
        windows(np.zeros((1, 1, 6, 6)), *sizes)


def test_there_may_be_no_images_or_no_channels():
    """An axis of length 0 stays one: without images or channels there are no windows, with padding and without."""
    for shape in ((0, 3, 5, 6), (2, 0, 5, 6)):
        for padding in (0, 1):
            assert windows(np.zeros(shape), 3, 1, padding).shape == (*shape[:2], 3 + 2 * padding, 4 + 2 * padding, 3, 3)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_the_frame_is_zero_whatever_the_image_has(value):
    """NaN and infinities appear only at their own pixels: the padding around them is 0."""
    x = np.full((1, 1, 2, 3), value)
    want = np.pad(x, ((0, 0), (0, 0), (1, 1), (2, 2)))
    assert_close(
        windows(x, 1, 1, (1, 2))[..., 0, 0], want, mistakes={"the frame is 0 times a pixel": np.full(want.shape, np.nan)}
    )


@pytest.mark.parametrize("stride", [1, (2, 3)], ids=str)
def test_windows_show_the_memory_of_the_images(stride, draw):
    """Without padding, windows() returns a view of x itself, whatever the order of x in memory: even if x is a slice, or if its
    channels are adjacent in memory.
    """
    for order, x in layouts(draw.normal(2, 3, 7, 6)).items():
        got = windows(x, (3, 2), stride)
        assert np.shares_memory(got, x), f"x lies in memory {order}, and was copied"
        assert_close(got, windows(np.ascontiguousarray(x), (3, 2), stride), EXACT)


def test_a_frame_may_be_much_wider_than_the_image():
    """The padding may be much wider than the image: with nine zeros on each side of a pixel there are 19 positions on each
    axis, and only one sees the pixel.
    """
    want = np.zeros((1, 1, 19, 19))
    want[0, 0, 9, 9] = 5.0
    assert_close(windows(np.full((1, 1, 1, 1), 5.0), 1, 1, 9)[..., 0, 0], want)


def test_padding_leaves_the_images_alone(draw):
    """Padding copies the images: x doesn't change, and a later write to x doesn't change the windows."""
    x = np.array(draw.normal(2, 3, 5, 6))
    before, got = x.copy(), windows(x, 3, 1, 1)
    assert_close(x, before, EXACT)
    want = got.copy()
    x[:] = 7
    assert_close(got, want, EXACT)


def test_windows_are_a_view(budget):
    """Without padding, windows() copies nothing, although 1 MB of images has 9 MB of 3×3 windows."""
    x = np.zeros((4, 4, 125, 125), np.float32)
    budget.bytes(lambda: windows(x, 3), peak=50_000)


def test_padding_copies_once(budget):
    """With padding, windows() makes one padded copy of 1 MB of images and allocates nothing else of that size."""
    x = np.zeros((4, 4, 125, 125), np.float32)
    budget.bytes(lambda: windows(x, 3, 1, 1), peak=1_500_000)


def test_each_axis_has_its_own_padding():
    """Height and width are checked by their own sizes: padding of one does not make room on the other."""
    x = np.ones((1, 1, 3, 3))
    assert windows(x, (1, 5), padding=(0, 1)).shape == (1, 1, 3, 1, 1, 5)
    assert windows(x, (5, 1), padding=(1, 0)).shape == (1, 1, 1, 3, 5, 1)
    for kernel_size, padding in (((1, 5), (1, 0)), ((5, 1), (0, 1))):
        with rejects(ValueError, "5"):
            windows(x, kernel_size, padding=padding)


def test_a_second_call_leaves_the_first_result_alone(draw):
    """Each call with padding has a copy of its own."""
    first, second = draw.normal(1, 2, 4, 4), draw.normal(1, 2, 4, 4)
    result = windows(first, 3, padding=1)
    want = result.copy()
    windows(second, 3, padding=1)
    assert_close(result, want, mistakes={"the images of the second call": windows(second, 3, padding=1)})
