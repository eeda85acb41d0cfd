import math

import numpy as np
import pytest
from katas.layers import Parameter
from katas.optimizers import clip_grad_norm

from specs.check import FLOAT32, Tolerance, assert_close, assert_dtype, rejects


def with_gradients(*grads) -> list[Parameter]:
    """One parameter for each gradient, which it holds a copy of; None means no gradient."""
    made = [Parameter(np.zeros(2 if grad is None else grad.shape)) for grad in grads]
    for parameter, grad in zip(made, grads, strict=True):
        parameter.grad = None if grad is None else np.array(grad)
    return made


def test_all_gradients_are_scaled_by_one_factor(draw):
    """Taken as one long vector, the clipped gradients have length max_norm and keep their direction."""
    grads = [draw.normal(3, 4), draw.normal(5), draw.normal(2, 3, 2)]
    norm = math.sqrt(math.fsum(v * v for grad in grads for v in grad.ravel().tolist()))
    made = with_gradients(*grads)
    clip_grad_norm(made, 0.5)
    for parameter, grad in zip(made, grads, strict=True):
        mistakes = {
            "each gradient has a norm of its own": grad * 0.5 / np.linalg.norm(grad),
            "each value is cut off": np.clip(grad, -0.5, 0.5),
            "divided by the norm, not multiplied by max_norm": grad / norm,
            "the square of the norm": grad * 0.5 / norm**2,
            "the sum of the norms": grad * 0.5 / sum(np.linalg.norm(g) for g in grads),
        }
        assert_close(parameter.grad, grad * 0.5 / norm, FLOAT32, mistakes)  # a tiny number added to the norm is all right


def test_it_returns_the_norm_before_clipping(draw):
    """clip_grad_norm() returns the norm of all gradients before clipping, as a float, clipped or not: the value
    that you plot.
    """
    grads = [draw.normal(3, 4), draw.normal(5)]
    norm = math.sqrt(math.fsum(v * v for grad in grads for v in grad.ravel().tolist()))
    for max_norm in (0.5, 100.0, math.inf):
        got = clip_grad_norm(with_gradients(*grads), max_norm)
        assert isinstance(got, float)
        assert_close(got, norm, mistakes={"the norm after clipping": min(norm, max_norm), "its square": norm**2})


def test_small_gradients_are_left_alone(draw):
    """If the norm is below max_norm nothing changes: clipping never scales up."""
    grads = [draw.normal(3, 4), draw.normal(5)]
    made = with_gradients(*grads)
    clip_grad_norm(made, 100.0)
    for parameter, grad in zip(made, grads, strict=True):
        assert_close(parameter.grad, grad, mistakes={"scaled up": grad * 100 / math.hypot(*map(np.linalg.norm, grads))})


def test_it_happens_in_place_and_the_values_stay(draw):
    """The gradient arrays themselves are scaled; the parameters don't change."""
    (parameter,) = made = with_gradients(draw.normal(3, 4))
    array = parameter.grad
    clip_grad_norm(made, 0.5)
    assert parameter.grad is array
    assert np.linalg.norm(array) < 0.51
    assert_close(parameter, np.zeros((3, 4)))


@pytest.mark.parametrize("layout", [lambda x: x.T, lambda x: x[:, ::2], lambda x: x[::-1]], ids=["T", "[:, ::2]", "[::-1]"])
def test_the_layout_of_a_gradient_does_not_matter(layout, draw):
    """A gradient with a different memory layout, such as a transpose or a slice with gaps, is scaled in place too."""
    (parameter,) = made = with_gradients(draw.normal(4, 4))
    parameter.grad = layout(parameter.grad)
    grad = parameter.grad.copy()
    assert_close(clip_grad_norm(made, 0.5), np.linalg.norm(grad))
    assert_close(parameter.grad, grad * 0.5 / np.linalg.norm(grad), FLOAT32)


def test_a_gradient_without_values_has_the_length_zero(draw):
    """A gradient with an axis of length 0 raises no error: the others are clipped as usual."""
    grad = draw.normal(3, 4)
    made = with_gradients(np.zeros((0, 3)), grad)
    assert_close(clip_grad_norm(made, 0.5), np.linalg.norm(grad))
    assert_close(made[1].grad, grad * 0.5 / np.linalg.norm(grad), FLOAT32)
    assert clip_grad_norm(made[:1], 0.5) == 0


def test_parameters_without_a_gradient_do_not_count(draw):
    """A grad of None is skipped and stays None. If there is no gradient at all, the norm is 0."""
    grad = draw.normal(3, 4)
    first, second, third = with_gradients(None, grad, None)
    assert_close(clip_grad_norm([first, second, third], 0.5), np.linalg.norm(grad))
    assert_close(second.grad, grad * 0.5 / np.linalg.norm(grad), FLOAT32)
    assert first.grad is third.grad is None
    assert clip_grad_norm([first], 0.5) == 0


def test_gradients_of_zero_stay_zero():
    """If every gradient is zero, clipping leaves them zero and doesn't compute 0 / 0."""
    made = with_gradients(np.zeros((3, 4)))
    with np.errstate(all="raise"):
        assert clip_grad_norm(made, 0.5) == 0
    assert_close(made[0].grad, np.zeros((3, 4)))


def test_parameters_may_come_from_a_generator(draw):
    """Clipping may read a generator only once, though it needs all gradients for the norm before it can scale the first."""
    grad = draw.normal(3, 4)
    made = with_gradients(grad)
    clip_grad_norm((parameter for parameter in made), 0.5)
    assert_close(made[0].grad, grad * 0.5 / np.linalg.norm(grad), FLOAT32)


@pytest.mark.parametrize("max_norm", [0.5, np.float64(0.5)], ids=repr)
def test_float32_gradients_stay_float32(max_norm, draw):
    """Gradients keep their dtype."""
    made = with_gradients(draw.normal(3, 4, dtype=np.float32))
    clip_grad_norm(made, max_norm)
    assert_dtype(made[0].grad, np.float32)


def test_exploding_gradients_are_clipped(draw):
    """Gradients near 10³⁰, whose squares float32 can't hold, are clipped too: they are what clipping is for."""
    grad = draw.normal(3, 4)
    made = with_gradients((1e30 * grad).astype(np.float32))
    got = clip_grad_norm(made, 0.5)
    assert_close(got / 1e30, np.linalg.norm(grad), FLOAT32)
    assert_close(made[0].grad, grad * 0.5 / np.linalg.norm(grad))


@pytest.mark.parametrize(
    ("size", "dtype"),
    [
        (1e-30, np.float32),
        (1e-22, np.float32),
        (1e-44, np.float32),
        (1e19, np.float32),
        (3e37, np.float32),
        (1e-200, np.float64),
    ]
    + [(1e200, np.float64), (3e307, np.float64), (1e-323, np.float64), (1e4, np.float16), (1e-7, np.float16)],
    ids=str,
)
def test_a_norm_is_right_where_squares_are_not(size, dtype):
    """The norm is right even if the squares overflow or vanish: for [3e-30, 4e-30] it is 5e-30."""
    values = (np.array([3.0, -4.0]) * size).astype(dtype)
    wide = values.astype(np.longdouble)
    norm = float(np.sqrt((wide * wide).sum()))
    tolerance = Tolerance("a few digits", 1e-6)
    for grads in ([values], [values[:1], values[1:]], [np.zeros(3, dtype), values, np.zeros(2, dtype)]):
        made = with_gradients(*grads)
        assert_close(clip_grad_norm(made, math.inf) / norm, 1.0, tolerance, {"squares vanish": 0.0})
        assert_close(clip_grad_norm(made, norm / 8) / norm, 1.0, tolerance)
        assert_dtype(made[0].grad, dtype)
        if norm > 1e-300 and size not in (1e-44, 1e-7):
            clipped = np.concatenate([parameter.grad for parameter in made])
            assert_close(clipped[clipped != 0] / (norm / 8), [0.6, -0.8], Tolerance("a few digits", 1e-3))


def test_many_gradients_of_float16_have_a_norm():
    """70,000 float16 ones have a norm: float16 can't hold their sum of squares, but it can hold its root."""
    assert_close(clip_grad_norm(with_gradients(np.ones(70_000, np.float16)), math.inf), math.sqrt(70_000), FLOAT32)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_gradient_that_is_not_finite_is_an_error(value, draw):
    """Scaling by NaN would ruin every parameter, so a gradient that isn't finite raises a ValueError whose message contains its
    parameter's index, counted from 0, and shape; no gradient is changed.
    """
    grads = [draw.normal(3, 4), None, draw.normal(5)]
    made = with_gradients(*grads)
    made[2].grad[3] = value
    with rejects(ValueError, "parameter 2", "(5,)"):
        clip_grad_norm(made, 0.5)
    assert_close(made[0].grad, grads[0])


@pytest.mark.parametrize("max_norm", [0.0, -1.0, math.nan])
def test_a_norm_that_is_not_positive_is_refused(max_norm, draw):
    """max_norm must be positive; anything else raises a ValueError whose message contains it."""
    with rejects(ValueError, "max_norm", str(max_norm)):
        clip_grad_norm(with_gradients(draw.normal(3)), max_norm)


def test_clipping_is_done_in_numpy(budget):
    """The number of Python instructions must not grow with the number of values."""
    few, many = with_gradients(np.ones((10, 10), np.float32)), with_gradients(np.ones((100, 100), np.float32))
    budget.steps(lambda: clip_grad_norm(few, 0.5), lambda: clip_grad_norm(many, 0.5), limit=2)


def test_clipping_needs_the_room_of_one_gradient(budget):
    """With ten gradients of 100 kB, clipping may temporarily hold two arrays of that size: it doesn't join the gradients to one
    vector.
    """
    made = with_gradients(*[np.ones((100, 250), np.float32)] * 10)
    budget.bytes(lambda: clip_grad_norm(made, 0.5), peak=220_000)
