import numpy as np
import pytest
from katas.layers import kaiming_normal, kaiming_uniform, xavier_normal, xavier_uniform

from specs.check import assert_dtype, global_state, rejects

UNIFORM, NORMAL = [kaiming_uniform, xavier_uniform], [kaiming_normal, xavier_normal]
ALL = UNIFORM + NORMAL
SHAPE, IN, OUT = (100, 40, 3, 5), 600, 1500  # (out, in, kernel height, width): fan_in 40 · 15, fan_out 100 · 15
KERNEL = "the receptive field is forgotten: the fans are those of (out, in) alone"


def generator() -> np.random.Generator:
    return np.random.default_rng(0)


def check_spread(values: np.ndarray, want: float, mistakes: dict[str, float]) -> None:
    """The mean is 0 and the standard deviation is `want`, both within 2%: with 60,000 values, that is seven standard errors."""
    mean, got = values.mean(), values.std()
    assert abs(mean) < 0.02 * want, f"the mean is {mean:.3g}, not 0, beside a standard deviation of {got:.3g}"
    guess = next((said for said, wrong in mistakes.items() if abs(got / wrong - 1) < 0.02), "")
    assert abs(got / want - 1) < 0.02, f"standard deviation: expected {want:.4g}, got {got:.4g}\nLooks like: {guess or '?'}"


@pytest.mark.parametrize("init", [kaiming_uniform, kaiming_normal])
@pytest.mark.parametrize("a", [0.0, 0.5, 5**0.5])
def test_kaiming_keeps_the_size_of_what_flows_forward(init, a):
    """Kaiming's variance is 2 / ((1 + a²) · fan_in): each output sums fan_in terms, and a LeakyReLU with slope a passes half of
    them unchanged and the other half times a (He et al. 2015, section 2.2). For a shape (out, in, …), fan_in is in times the
    other lengths.
    """
    mistakes = {
        "fan_out for fan_in": (2 / ((1 + a * a) * OUT)) ** 0.5,
        KERNEL: (2 / ((1 + a * a) * 40)) ** 0.5,
        "√3 is forgotten: a uniform distribution's deviation is its bound / √3": (2 / ((1 + a * a) * IN) / 3) ** 0.5,
        "√3 is a uniform distribution's": (2 / ((1 + a * a) * IN) * 3) ** 0.5,
        "the gain is forgotten": IN**-0.5,
        "a is ignored": (2 / IN) ** 0.5,
        "a stands for the gain": a * IN**-0.5 or 1.0,
        "the variance for the standard deviation": 2 / ((1 + a * a) * IN),
    }
    check_spread(init(SHAPE, generator(), a=a), (2 / ((1 + a * a) * IN)) ** 0.5, mistakes)


def test_the_slope_is_zero_unless_told_otherwise():
    """The default a = 0 is right for the ReLU."""
    for init in (kaiming_uniform, kaiming_normal):
        check_spread(init(SHAPE, generator()), (2 / IN) ** 0.5, {"a = √5": (1 / 3 / IN) ** 0.5, "a = 1": IN**-0.5})


@pytest.mark.parametrize("init", [xavier_uniform, xavier_normal])
def test_xavier_is_a_compromise_of_both_directions(init):
    """Xavier's variance is 2 / (fan_in + fan_out) (Glorot & Bengio 2010, equations 12 and 16). fan_out is out times the
    kernel's lengths.
    """
    mistakes = {
        "fan_in alone": (1 / IN) ** 0.5,
        "fan_out alone": (1 / OUT) ** 0.5,
        KERNEL: (2 / 140) ** 0.5,
        "√3 is forgotten: a uniform distribution's deviation is its bound / √3": (2 / (IN + OUT) / 3) ** 0.5,
        "1 / (fan_in + fan_out)": (1 / (IN + OUT)) ** 0.5,
        "6 / (fan_in + fan_out) is the square of the bound, not the variance": (6 / (IN + OUT)) ** 0.5,
    }
    check_spread(init(SHAPE, generator()), (2 / (IN + OUT)) ** 0.5, mistakes)


@pytest.mark.parametrize("init", ALL)
def test_a_matrix_has_no_kernel(init):
    """For a shape (out, in), fan_in is in and fan_out is out."""
    variance = 2 / 100 if init in (kaiming_uniform, kaiming_normal) else 2 / (100 + 600)
    check_spread(init((600, 100), generator()), variance**0.5, {"the axes are swapped": (2 / 600) ** 0.5})


@pytest.mark.parametrize("init", ALL)
@pytest.mark.parametrize("kernel", [(15,), (5, 3), (3, 1, 5), (1, 3, 1, 5)], ids=str)
def test_a_kernel_may_have_any_number_of_axes(kernel, init):
    """All axes from the third on belong to the kernel: for each shape (100, 40, *kernel) here, fan_in is 40 · 15 and fan_out
    100 · 15.
    """
    variance = 2 / IN if init in (kaiming_uniform, kaiming_normal) else 2 / (IN + OUT)
    values = init((100, 40, *kernel), generator())
    assert values.shape == (100, 40, *kernel)
    check_spread(
        values, variance**0.5, {KERNEL: (variance * 15) ** 0.5, "an axis of length 5 is forgotten": (variance * 5) ** 0.5}
    )


@pytest.mark.parametrize("init", UNIFORM)
def test_uniform_means_every_value_in_bounds_is_as_likely(init):
    """Uniform weights lie within √3 standard deviations, and each tenth of the range holds a tenth of them."""
    values = init(SHAPE, generator())
    bound = 3**0.5 * (2 / IN if init is kaiming_uniform else 2 / (IN + OUT)) ** 0.5
    counts, _ = np.histogram(values, bins=10, range=(-1.000001 * bound, 1.000001 * bound))
    assert counts.sum() == values.size, f"{values.size - counts.sum()} values lie beyond ±{bound:.4g}; is it a normal one?"
    assert abs(counts / values.size - 0.1).max() < 0.01, f"in the tenths of ±{bound:.4g} lie {counts} of {values.size} values"


@pytest.mark.parametrize("init", NORMAL)
def test_normal_means_a_bell(init):
    """68.3% of normal weights lie within one standard deviation, 95.4% within two."""
    values = abs(init(SHAPE, generator()))
    deviation = (2 / IN if init is kaiming_normal else 2 / (IN + OUT)) ** 0.5
    within = [(values < count * deviation).mean() for count in (1, 2)]
    assert abs(within[0] - 0.683) < 0.015, f"{within[0]:.1%} lie within one standard deviation; is it a uniform one?"
    assert abs(within[1] - 0.954) < 0.015, f"{within[1]:.1%} lie within two standard deviations"


@pytest.mark.parametrize("init", ALL)
def test_every_weight_is_drawn_for_itself(init):
    """Every weight is drawn separately: no row, column or kernel is a copy of another. Equal rows would learn the same thing
    forever.
    """
    values = init(SHAPE, generator())
    assert values.shape == SHAPE
    assert len(np.unique(values)) > 0.99 * values.size, f"{len(np.unique(values))} different values among {values.size}"


@pytest.mark.parametrize("init", ALL)
def test_weights_are_float32(init):
    """Weights are float32: a float64 weight would make every later product float64, and twice as slow."""
    assert isinstance(init((3, 4), generator()), np.ndarray)
    assert_dtype(init((3, 4), generator()), np.float32)


@pytest.mark.parametrize("init", ALL)
def test_weights_are_drawn_from_the_given_generator(init):
    """Equal seeds give equal weights, a second draw gives different weights, and NumPy's global generator is not used."""
    first, again = generator(), generator()
    before = global_state()
    values = init((3, 4), first)
    assert np.array_equal(init((3, 4), again), values)
    assert not np.array_equal(init((3, 4), first), values)
    assert not np.array_equal(init((3, 4), np.random.default_rng(1)), values)
    assert global_state() == before, "NumPy's global generator was used"


@pytest.mark.parametrize("init", ALL)
@pytest.mark.parametrize("shape", [(), (7,), (3, 0), (0, 3), (3, -1), (4, 3, 0), (4, 3, 5, 0), (4, 3, -1, -1)], ids=str)
def test_a_shape_without_fans_is_named(init, shape):
    """A shape with fewer than two axes, or with a length that isn't positive, raises a ValueError whose message contains the
    shape.
    """
    with rejects(ValueError, str(shape)):
        init(shape, generator())


@pytest.mark.parametrize("init", ALL)
def test_drawing_is_done_in_numpy(init, budget):
    """The number of Python instructions must not grow with the number of weights."""
    rng = generator()
    budget.steps(lambda: init((10, 10), rng), lambda: init((100, 100), rng), limit=2)


@pytest.mark.parametrize("init", ALL)
def test_rows_and_columns_know_nothing_of_each_other(init):
    """Rows and columns are independent: none is a sorted, mirrored or shifted copy of another, and their correlations are those
    of chance.
    """
    values = init((100, 600), generator())
    for lines in (values, values.T[:100]):
        found = abs(np.corrcoef(lines) - np.eye(100)).max()
        assert found < 0.7, f"two rows, or two columns, have a correlation of {found:.2f}"


@pytest.mark.parametrize("init", NORMAL)
def test_a_bell_has_tails(init):
    """0.14% of normal weights lie beyond 3.2 standard deviations: the tails are not cut off."""
    values = init(SHAPE, generator())
    beyond = (abs(values) > 3.2 * values.std()).mean()
    assert 0.0009 < beyond < 0.0019, f"{beyond:.3%} lie beyond 3.2 standard deviations"


@pytest.mark.parametrize("init", [kaiming_uniform, kaiming_normal])
def test_a_slope_is_squared_whatever_its_sign(init):
    """The slopes a and −a give the same weights: (1 + a²) is the same for both."""
    assert np.array_equal(init((3, 4), generator(), a=-0.5), init((3, 4), generator(), a=0.5))
