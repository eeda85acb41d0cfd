from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from katas.dataloader import Compose, Normalize, RandomCrop, RandomHorizontalFlip

from specs.check import EXACT, Draw, assert_close, assert_dtype, frozen, global_state, rejects


def make_rng() -> np.random.Generator:
    return np.random.default_rng(3)


def numbered(*shape: int, dtype=np.float64) -> np.ndarray:
    """Images whose pixels are all different, and none is 0."""
    return frozen(np.arange(1, 1 + np.prod(shape)).reshape(shape).astype(dtype))


def places(x: np.ndarray, size: tuple[int, int], padding: tuple[int, int], pieces: np.ndarray) -> list[tuple[int, int]]:
    """The position of each piece in its image, with zeros around it."""
    (ph, pw), (h, w) = padding, size
    padded = np.pad(x, ((0, 0), (0, 0), (ph, ph), (pw, pw)))
    found = []
    for image, piece in zip(padded, pieces, strict=True):
        candidates = np.ndindex(image.shape[1] - h + 1, image.shape[2] - w + 1)
        where = [(i, j) for i, j in candidates if np.array_equal(image[:, i : i + h, j : j + w], piece)]
        assert len(where) == 1, "a piece is not one of its own image and the zeros around it"
        found += where
    return found


TRANSFORMS = {
    "Normalize": lambda: Normalize([1.0, 2.0, 3.0], [0.5, 1.0, 2.0]),
    "RandomCrop": lambda: RandomCrop((5, 6), 2),
    "RandomHorizontalFlip": lambda: RandomHorizontalFlip(),
    "Compose": lambda: Compose([RandomCrop((5, 6), 1), RandomHorizontalFlip(), Normalize(1.0, 2.0)]),
}
each_transform = pytest.mark.parametrize("make", TRANSFORMS.values(), ids=TRANSFORMS)


@each_transform
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint8])
def test_images_are_not_changed(make, dtype):
    """A transform returns a new array and doesn't change the images. (A batch may be a view of the data.)"""
    x = np.array(numbered(4, 3, 7, 8, dtype=dtype))
    got = make()(x, make_rng())
    assert np.array_equal(x, numbered(4, 3, 7, 8, dtype=dtype))
    assert not np.shares_memory(got, x)


@each_transform
def test_the_generator_alone_decides(make):
    """Generators in the same state give the same images, and different seeds give different ones (Normalize draws nothing).
    NumPy's global generator is not used.
    """
    before, x = global_state(), numbered(30, 3, 7, 8)
    first, again, other = (make()(x, np.random.default_rng(seed)) for seed in (3, 3, 4))
    assert_close(first, again, EXACT)
    assert np.array_equal(first, other) == isinstance(make(), Normalize)
    assert global_state() == before


@each_transform
def test_each_call_draws_anew(make):
    """A transform draws again for each batch."""
    x, rng, transform = numbered(30, 3, 7, 8), make_rng(), make()
    assert np.array_equal(transform(x, rng), transform(x, rng)) == isinstance(transform, Normalize)


@each_transform
def test_no_step_is_taken_for_each_image(make, budget):
    """The number of Python instructions must not grow with the number of images or pixels: 1,000 images take about as many as
    10.
    """
    few, many, large = numbered(10, 3, 7, 8), numbered(1000, 3, 7, 8), numbered(10, 3, 70, 80)
    transform, rng = make(), make_rng()
    budget.steps(lambda: transform(few, rng), lambda: transform(many, rng), limit=2, what="images")
    budget.steps(lambda: transform(few, rng), lambda: transform(large, rng), limit=2, what="pixels")


@each_transform
@pytest.mark.parametrize("shape", [(3, 7, 8), (3, 3, 8), (7, 8), (2, 3, 3, 7, 8)], ids=str)
def test_images_have_four_axes(make, shape):
    """Images whose axes aren't (batch, channels, height, width) raise a ValueError whose message contains their shape."""
    with rejects(ValueError, str(shape)):
        make()(np.ones(shape), make_rng())


@each_transform
def test_there_may_be_no_images(make):
    """A batch of length 0 gives a batch of length 0."""
    got = make()(np.zeros((0, 3, 7, 8), np.float32), make_rng())
    assert got.shape == (0, *make()(np.zeros((1, 3, 7, 8), np.float32), make_rng()).shape[1:])
    assert_dtype(got, np.float32)


NOTHING = {
    "Normalize": lambda: Normalize(0.0, 1.0),
    "RandomCrop": lambda: RandomCrop((4, 5)),
    "p=0": lambda: RandomHorizontalFlip(0.0),
    "p=1": lambda: RandomHorizontalFlip(1.0),
}


@pytest.mark.parametrize("make", NOTHING.values(), ids=NOTHING)
def test_images_that_stay_as_they_are_are_copied(make):
    """The result is a new array that may be written to, even if the transform changes nothing."""
    x = np.array(numbered(3, 2, 4, 5, dtype=np.float32))
    before, got = x.copy(), make()(x, make_rng())
    assert not np.shares_memory(got, x)
    got += 1
    assert_close(x, before, EXACT)


@pytest.mark.parametrize(("kind", "options"), [(RandomCrop, ((4, 5), 1)), (RandomHorizontalFlip, ())])
def test_pixels_are_moved_and_not_computed_with(kind, options):
    """Crops and flips only move pixels: NaN and infinities don't spread to other pixels, and -0.0 keeps its sign."""
    x = np.array(numbered(40, 1, 4, 5))
    x[:, 0, 1, 1:4] = np.nan, -np.inf, -0.0
    same = x.copy()
    same[:, 0, 1, 1:4] = 1001.0, 1002.0, 1003.0
    transform = kind(*options)
    got, want = transform(x, make_rng()), transform(same, make_rng())
    for value, found in ((1001.0, np.isnan(got)), (1002.0, got == -np.inf), (1003.0, np.signbit(got) & (got == 0))):
        assert np.array_equal(found, want == value)
    plain = want < 1001
    assert_close(got[plain], want[plain], EXACT)


def test_options_of_crops_and_flips_may_be_changed_later():
    """size, padding and p are attributes, and each call uses their current values."""
    x, crop, flip = numbered(20, 3, 7, 9), RandomCrop(3), RandomHorizontalFlip(0.0)
    crop(x, make_rng())
    flip(x, make_rng())
    crop.size, crop.padding, flip.p = (7, 8), (2, 0), 1.0
    assert_close(crop(x, make_rng()), RandomCrop((7, 8), (2, 0))(x, make_rng()), EXACT)
    assert_close(flip(x, make_rng()), x[..., ::-1], EXACT)


# Normalize


def test_normalize_subtracts_and_divides_by_channel(draw):
    """Normalize computes (x - mean) / std, with a mean and a std for each channel."""
    x, mean, std = draw.normal(3, 2, 4, 5), [0.5, -2.0], [2.0, 0.25]
    want = np.stack([(x[:, 0] - 0.5) / 2.0, (x[:, 1] + 2.0) / 0.25], axis=1).astype(np.float32)
    mistakes = {"multiplied by std": ((x.transpose(0, 2, 3, 1) - mean) * std).transpose(0, 3, 1, 2)}
    assert_close(Normalize(mean, std)(x, make_rng()), want, mistakes=mistakes)


def test_channels_are_the_second_axis_of_square_images(draw):
    """mean and std belong to the channels, the second axis, even if all four axes have the same length."""
    x, mean, std = draw.normal(3, 3, 3, 3), [0.5, -2.0, 4.0], [2.0, 0.25, 1.0]
    want = np.stack([(x[:, channel] - mean[channel]) / std[channel] for channel in range(3)], axis=1)
    mistakes = {
        "a mean for each column": (x - mean) / std,
        "a mean for each row": (x - np.reshape(mean, (3, 1))) / np.reshape(std, (3, 1)),
        "a mean for each image": (x - np.reshape(mean, (3, 1, 1, 1))) / np.reshape(std, (3, 1, 1, 1)),
    }
    assert_close(Normalize(mean, std)(x, make_rng()), want, mistakes=mistakes)


def test_mean_and_std_may_be_arrays(draw):
    """mean and std may be arrays of any dtype, or tuples, and are not changed."""
    x, mean, std = draw.normal(3, 2, 4, 5), np.array([1, -2]), np.float32([2.0, 0.25])
    want = Normalize([1.0, -2.0], [2.0, 0.25])(x, make_rng())
    assert_close(Normalize(mean, std)(x, make_rng()), want, EXACT)
    assert_close(Normalize((1, -2), tuple(std))(x, make_rng()), want, EXACT)
    assert mean.tolist() == [1, -2]
    assert std.tolist() == [2.0, 0.25]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.int64, np.float16, np.float32, np.float64])
def test_normalize_gives_float32(dtype):
    """Normalize returns float32, whatever the input's dtype. mean and std are in the units of x, 0 to 255 for bytes, which
    don't wrap around below zero.
    """
    x = np.array([0, 100, 255, 7], dtype).reshape(1, 1, 2, 2)
    got = Normalize([100.0], [50.0])(x, make_rng())
    assert_dtype(got, np.float32)
    assert_close(got, np.array([-2, 0, 3.1, -1.86]).reshape(1, 1, 2, 2))


def test_one_number_is_for_all_channels(draw):
    """mean, std or both may be a number for all channels."""
    x = draw.normal(3, 2, 4, 5)
    assert_close(Normalize(0.5, 2.0)(x, make_rng()), Normalize([0.5, 0.5], [2.0, 2.0])(x, make_rng()))
    assert_close(Normalize(0.5, [2.0, 3.0])(x, make_rng()), Normalize([0.5, 0.5], [2.0, 3.0])(x, make_rng()))
    assert_close(Normalize([2.0, 3.0], 0.5)(x, make_rng()), Normalize([2.0, 3.0], [0.5, 0.5])(x, make_rng()))


def test_normalize_needs_the_memory_of_its_result(budget):
    """Normalize allocates its result, 800 kB of float32 from 200 kB of bytes, and no second array of floats."""
    x, normalize = np.ones((50, 4, 25, 40), np.uint8), Normalize([1.0] * 4, [2.0] * 4)
    budget.bytes(lambda: normalize(x, None), peak=1_200_000)


@pytest.mark.parametrize(("mean", "std"), [([0.0, 0.0], 1.0), (0.0, [1.0, 1.0]), ([0.0], [1.0]), ([0.0] * 4, 1.0)], ids=str)
def test_other_channels_are_refused(mean, std):
    """If the number of means or stds isn't the number of channels, Normalize raises a ValueError that contains the images'
    shape. A sequence of one value is not broadcast.
    """
    with rejects(ValueError, "(2, 3, 4, 5)"):
        Normalize(mean, std)(np.zeros((2, 3, 4, 5)), make_rng())


def test_a_grey_image_gets_no_colours():
    """Three means for images of one channel raise a ValueError that contains the shape: broadcasting would give
    three channels.
    """
    with rejects(ValueError, "(2, 1, 4, 5)"):
        Normalize([0.0] * 3, [1.0] * 3)(np.zeros((2, 1, 4, 5)), make_rng())


@pytest.mark.parametrize("std", [0.0, [1.0, 0.0], [1.0, -2.0], np.nan], ids=str)
def test_a_std_that_is_not_positive_is_refused(std):
    """A std that isn't positive raises a ValueError when Normalize is created, instead of infinities in the first batch."""
    with rejects(ValueError, "std"):
        Normalize(0.0, std)


# RandomCrop


def test_a_crop_is_a_piece_of_each_image():
    """RandomCrop: (batch, channels, h, w) → (batch, channels, *size). All channels of an image are cut at the same position."""
    x = numbered(20, 3, 7, 9)
    got = RandomCrop((5, 4))(x, make_rng())
    assert got.shape == (20, 3, 5, 4)
    assert len(set(places(x, (5, 4), (0, 0), got))) > 5, "the images of a batch are cut at the same place"


def test_padding_is_a_frame_of_zeros():
    """With padding, a piece may include some of the zeros around the image: with size=(7, 9), images of 7×9 keep their size and
    are shifted.
    """
    x = numbered(20, 3, 7, 9)
    got = RandomCrop((7, 9), padding=2)(x, make_rng())
    assert got.shape == x.shape
    assert len(set(places(x, (7, 9), (2, 2), got))) > 5


def test_sizes_are_of_height_and_width():
    """A single number is for both axes, in size and in padding; a pair is (height, width)."""
    x = numbered(20, 3, 7, 9)
    assert_close(RandomCrop(5, 1)(x, make_rng()), RandomCrop((5, 5), (1, 1))(x, make_rng()), EXACT)
    tops, lefts = zip(*places(x, (7, 9), (0, 3), RandomCrop((7, 9), (0, 3))(x, make_rng())), strict=True)
    assert set(tops) == {0}
    assert len(set(lefts)) > 3
    tops, lefts = zip(*places(x, (7, 9), (3, 0), RandomCrop((7, 9), (3, 0))(x, make_rng())), strict=True)
    assert len(set(tops)) > 3
    assert set(lefts) == {0}


def test_every_place_is_as_likely():
    """All positions are equally likely, including the first and the last, and the row and the column are drawn
    independently.
    """
    x = np.broadcast_to(numbered(1, 1, 3, 4), (6000, 1, 3, 4))
    got = RandomCrop((2, 2))(x, make_rng())
    counts = {(i, j): int((got[:, 0, 0, 0] == x[0, 0, i, j]).sum()) for i in range(2) for j in range(3)}
    assert sum(counts.values()) == 6000
    assert all(abs(count - 1000) < 150 for count in counts.values()), f"of 6000 crops from 6 places: {counts}"


def test_a_place_says_nothing_of_the_next():
    """Positions are independent of each other, between neighboring images and between batches: all pairs of
    positions come up.
    """
    x, rng, crop = np.broadcast_to(numbered(1, 1, 3, 3), (2000, 1, 3, 3)), make_rng(), RandomCrop((2, 2))
    one, two = ([(int(value) - 1) // 3 * 2 + (int(value) - 1) % 3 for value in crop(x, rng)[:, 0, 0, 0]] for _ in range(2))
    for what, pairs in (("neighbours", pairwise(one)), ("batches", zip(one, two, strict=True))):
        counts = Counter(pairs)
        assert len(counts) == 16, f"of two {what}, some pairs of places never come up"
        assert all(abs(count - 125) < 70 for count in counts.values()), f"of 2000 pairs of {what}: {counts}"


def test_a_crop_of_all_is_all():
    """A crop as large as the image returns the image: there is only one position."""
    x = numbered(4, 3, 5, 6)
    assert_close(RandomCrop((5, 6))(x, make_rng()), x, EXACT)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_crops_and_flips_keep_the_dtype(dtype):
    """Crops and flips keep the dtype: bytes stay bytes, a quarter of the memory, until they are normalized."""
    x = Draw("dtype").uniform(0, 255, 4, 3, 7, 8).astype(dtype)
    assert_dtype(RandomCrop(7, 2)(x, make_rng()), dtype)
    assert_dtype(RandomHorizontalFlip()(x, make_rng()), dtype)


def test_a_crop_needs_the_memory_of_the_padded_images_and_its_result(budget):
    """A crop of 400 kB of bytes allocates the padded images and its result; an index for each pixel would take eight times as
    much.
    """
    x, crop, rng = np.ones((100, 4, 25, 40), np.uint8), RandomCrop((25, 40), 2), make_rng()
    budget.bytes(lambda: crop(x, rng), peak=1_250_000)


@pytest.mark.parametrize(("size", "padding"), [(12, 0), ((5, 10), 0), ((8, 4), 0), (12, 2)])
def test_a_piece_larger_than_the_image_is_refused(size, padding):
    """A size larger than the padded image raises a ValueError whose message contains the size."""
    with rejects(ValueError, str(max(np.ravel(size)))):
        RandomCrop(size, padding)(np.zeros((2, 3, 7, 9)), make_rng())


@pytest.mark.parametrize(("size", "padding"), [(0, 0), ((0, 4), 0), ((4, 0), 1), (4, -1), (4, (0, -1)), (4, (-1, 0))], ids=str)
def test_sizes_of_no_piece_are_refused(size, padding):
    """On either axis, a size of 0 or a negative padding raises a ValueError, as in kata 09's windows."""
    with rejects(ValueError):
        RandomCrop(size, padding)(np.zeros((2, 3, 7, 9)), make_rng())


# RandomHorizontalFlip


def test_a_flip_turns_left_and_right_round():
    """With p=1 each image is flipped: its columns are reversed, and its rows keep their order."""
    x = numbered(3, 2, 4, 5)
    mistakes = {"upside down": x[:, :, ::-1], "the channels are turned round": x[:, ::-1], "the images are": x[::-1]}
    assert_close(RandomHorizontalFlip(1.0)(x, make_rng()), x[:, :, :, ::-1], EXACT, mistakes)


def test_no_image_is_flipped_with_p_0():
    """RandomHorizontalFlip(0) never flips an image."""
    x = numbered(500, 1, 2, 3)
    assert_close(RandomHorizontalFlip(0.0)(x, make_rng()), x, EXACT)


@pytest.mark.parametrize("p", [None, 0.5, 0.2])
def test_each_image_is_flipped_with_probability_p(p):
    """Each image is flipped with probability p, by default 0.5, with all its channels and rows."""
    x = numbered(2000, 2, 3, 4)
    got = (RandomHorizontalFlip() if p is None else RandomHorizontalFlip(p))(x, make_rng())
    flipped = (got == x[..., ::-1]).all((1, 2, 3))
    assert (flipped | (got == x).all((1, 2, 3))).all(), "an image is flipped in part"
    assert abs(flipped.mean() - (p or 0.5)) < 0.06, f"{flipped.mean():.0%} of the images are flipped"


def test_a_flip_says_nothing_of_the_next():
    """Flips are independent of the neighboring image and of the previous batch, and the number of flipped images varies."""
    x, rng, flip = numbered(1000, 1, 1, 2), make_rng(), RandomHorizontalFlip()
    one, two = ((flip(x, rng) != x).all((1, 2, 3)) for _ in range(2))
    assert abs((one[1:] == one[:-1]).mean() - 0.5) < 0.1, "neighbours are flipped alike, or by turns"
    assert abs((one == two).mean() - 0.5) < 0.1, "two batches are flipped alike, or by turns"
    few = [int((flip(x[:10], rng) != x[:10]).all((1, 2, 3)).sum()) for _ in range(50)]
    assert len(set(few)) > 3, f"of ten images there are flipped: {few}"


def test_a_flip_is_drawn_for_an_image_that_is_alone():
    """p is a probability, not a fraction of the batch: in batches of one image, some are flipped and some are not."""
    x, rng, flip = numbered(1, 2, 3, 4), make_rng(), RandomHorizontalFlip()
    assert {np.array_equal(flip(x, rng), x) for _ in range(40)} == {True, False}


def test_a_flip_needs_the_memory_of_its_result(budget):
    """A flip of 400 kB of bytes allocates its result and little else: the bytes stay bytes."""
    x, flip, rng = np.ones((100, 4, 25, 40), np.uint8), RandomHorizontalFlip(), make_rng()
    budget.bytes(lambda: flip(x, rng), peak=1_000_000)


@pytest.mark.parametrize("p", [-0.1, 1.5, float("nan")])
def test_what_is_no_probability_is_refused(p):
    """A p that isn't between 0 and 1 raises a ValueError whose message contains it."""
    with rejects(ValueError, str(p)):
        RandomHorizontalFlip(p)


# Compose


def test_transforms_come_one_after_another():
    """Compose runs its transforms from the first to the last, all with the same generator."""
    x, rng = numbered(20, 3, 7, 8), make_rng()
    want = Normalize(9.0, 2.0)(RandomHorizontalFlip()(RandomCrop(6, 1)(x, rng), rng), rng)
    transforms = (RandomCrop(6, 1), RandomHorizontalFlip(), Normalize(9.0, 2.0))
    assert_close(Compose(transforms)(x, make_rng()), want, EXACT)
    log = []
    Compose([lambda x, rng: log.append((1, rng)) or x, lambda x, rng: log.append((2, rng)) or x])(x, rng)
    assert log == [(1, rng), (2, rng)]


def test_compose_keeps_its_transforms():
    """Compose copies the list of transforms: later changes of the list don't matter, and Compose doesn't change it."""
    x, transforms = numbered(2, 3, 4, 5), [lambda x, rng: x + 1, lambda x, rng: 2 * x]
    compose = Compose(transforms)
    assert_close(compose(x, make_rng()), 2 * (x + 1), EXACT)
    assert len(transforms) == 2
    transforms.clear()
    assert_close(compose(x, make_rng()), 2 * (x + 1), EXACT)


def test_no_transforms_are_one():
    """Compose([]) returns its input."""
    assert_close(Compose([])(numbered(2, 3, 4, 5), make_rng()), numbered(2, 3, 4, 5), EXACT)


def test_a_mean_of_zero_is_a_mean(draw):
    """Normalize(0, std) still divides by std, and Normalize(mean, 1) still subtracts the mean."""
    x = draw.normal(2, 3, 4, 5, dtype=np.float32)
    for mean, std in ((0, 0.5), ([0.0, 0.0, 0.0], 0.5), (0.25, 1), (0, 1)):
        want = (x - np.reshape(mean, (-1, 1, 1))) / std
        assert_close(Normalize(mean, std)(x, np.random.default_rng(0)), want)
