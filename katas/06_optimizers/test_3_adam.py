import math
import tracemalloc

import numpy as np
import pytest
from katas.layers import Parameter
from katas.optimizers import Adam, AdamW

from specs import oracles
from specs.check import FLOAT32, assert_close, assert_dtype, rejects

both = pytest.mark.parametrize("optimizer_class", [Adam, AdamW])


def stepped(optimizer, parameter: Parameter, grads: list) -> Parameter:
    """Returns the parameter after one step for each gradient."""
    for grad in grads:
        parameter.grad = grad
        optimizer.step()
    return parameter


OPTIONS = [{}, {"weight_decay": 0.1}, {"betas": (0.5, 0.75), "eps": 0.1}]
OPTIONS += [{"betas": (0.0, 0.9)}, {"betas": (0.9, 0.0)}, {"eps": 0.0}, {"lr": 0.0}, {"weight_decay": 0.0}]  # 0 is a value


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize(
    ("optimizer_class", "rule"), [(Adam, oracles.optimizers.adam), (AdamW, oracles.optimizers.adamw)], ids=["Adam", "AdamW"]
)
def test_steps_follow_the_papers(optimizer_class, rule, options, draw):
    """Five steps match the papers' formulas, value by value; defaults are lr = 0.001, betas = (0.9, 0.999), eps = 1e-8."""
    start, grads = draw.normal(3, 4), [draw.normal(3, 4) for _ in range(5)]
    parameter = Parameter(start)
    optimizer = optimizer_class([parameter], **options)
    assert_close(stepped(optimizer, parameter, grads), oracles.optimizers.each(rule, start, grads, **options))


def test_the_first_step_is_as_long_as_lr(draw):
    """At the first step m̂ = g and v̂ = g²: every value moves by lr, however large its gradient is (apart from eps)."""
    start, grad = draw.normal(3, 4), 100 * draw.normal(3, 4)
    parameter = Parameter(start)
    sign = np.sign(grad)
    mistakes = {
        "the moments are not corrected for their start at zero": start - 0.1 * sign * 0.1 / math.sqrt(0.001),
        "only v is corrected": start - 0.01 * sign,
        "only m is corrected": start - 0.1 * sign / math.sqrt(0.001),
        "the correction counts from 0 or 2: t is off by one": start - 0.1 * sign * (0.1 / 0.19) * math.sqrt(0.001999 / 0.001),
        "the square root is missing": start - 0.1 / grad,
        "the sign": start + 0.1 * sign,
    }
    got = stepped(Adam([parameter], lr=0.1, eps=0), parameter, [grad])
    assert_close(got, start - 0.1 * sign, mistakes=mistakes)


def test_the_second_step_has_seen_two_gradients(draw):
    """At the second step, m̂ and v̂ are weighted means of both gradients and of their squares."""
    start, g, h = draw.normal(3, 4), draw.normal(3, 4), draw.normal(3, 4)
    parameter = Parameter(start)
    optimizer = Adam([parameter], lr=0.1, betas=(0.5, 0.75), eps=0)
    middle = stepped(optimizer, parameter, [g]).data.copy()
    m, v = (g + 2 * h) / 3, (3 * g * g + 4 * h * h) / 7
    mistakes = {
        "the moments start anew at each step": middle - 0.1 * np.sign(h),
        "the step count stays at 1": middle - 0.1 * (m * 0.75 / 0.5) / np.sqrt(v * 0.4375 / 0.25),
        "β₁ and β₂ are swapped": middle - 0.1 * (3 * g + 4 * h) / 7 / np.sqrt((g * g + 2 * h * h) / 3),
        "m where g belongs: v is the mean of m²": middle
        - 0.1 * m / np.sqrt((0.75 * 0.25 * (g / 2) ** 2 + 0.25 * (g / 4 + h / 2) ** 2) / 0.4375),
    }
    assert_close(stepped(optimizer, parameter, [h]), middle - 0.1 * m / np.sqrt(v), mistakes=mistakes)


def test_eps_stands_outside_the_root(draw):
    """The step is lr·m̂ / (√v̂ + eps), with the corrected v̂: eps limits the step where gradients are tiny."""
    start, grad = draw.normal(3, 4), draw.uniform(0.05, 0.2, 3, 4)
    parameter = Parameter(start)
    mistakes = {
        "eps is under the root": start - 0.1 * grad / np.sqrt(grad * grad + 0.1),
        "eps is missing": start - np.full((3, 4), 0.1),
        "eps is added to the root of the uncorrected v": start - 0.1 * grad / (grad + 0.1 / math.sqrt(0.001)),
        "the larger of the two": start - 0.1 * grad / np.maximum(grad, 0.1),
    }
    got = stepped(Adam([parameter], lr=0.1, eps=0.1), parameter, [grad])
    assert_close(got, start - 0.1 * grad / (grad + 0.1), mistakes=mistakes)


@both
def test_a_gradient_of_zero_moves_nothing(optimizer_class, draw):
    """A value whose gradient is always 0 doesn't move, and no warning is raised: 0 / (0 + eps) is 0."""
    start = draw.normal(3, 4)
    parameter = Parameter(start)
    with np.errstate(all="raise"):
        stepped(optimizer_class([parameter], weight_decay=0.0), parameter, [np.zeros((3, 4))] * 3)
    assert_close(parameter, start)


def test_adam_decays_weights_by_the_gradient(draw):
    """Adam adds weight_decay·p to the gradient, so it goes through both moments: L2 regularization."""
    start, grad = draw.uniform(1, 2, 3, 4), draw.normal(3, 4)
    parameter = Parameter(start)
    whole = grad + 0.5 * start
    mistakes = {
        "decoupled, as in AdamW": start * 0.95 - 0.1 * grad / (np.abs(grad) + 0.1),
        "no weight decay": start - 0.1 * grad / (np.abs(grad) + 0.1),
    }
    got = stepped(Adam([parameter], lr=0.1, eps=0.1, weight_decay=0.5), parameter, [grad])
    assert_close(got, start - 0.1 * whole / (np.abs(whole) + 0.1), mistakes=mistakes)


def test_adamw_decays_weights_apart_from_the_gradient(draw):
    """AdamW subtracts lr·weight_decay·p from the parameter directly; the moments see only the gradient."""
    start, grad = draw.uniform(1, 2, 3, 4), draw.normal(3, 4)
    parameter = Parameter(start)
    whole, twice, alone = grad + 0.5 * start, grad + 0.5 * 0.95 * start, 0.1 * grad / (np.abs(grad) + 0.1)
    mistakes = {
        "coupled: part of the gradient, as in Adam": start - 0.1 * whole / (np.abs(whole) + 0.1),
        "both ways": start * 0.95 - 0.1 * twice / (np.abs(twice) + 0.1),
        "the decay lacks lr": start * 0.5 - alone,
        "no weight decay": start - alone,
        "the decay comes after the step": (start - alone) * 0.95,
    }
    got = stepped(AdamW([parameter], lr=0.1, eps=0.1, weight_decay=0.5), parameter, [grad])
    assert_close(got, start * 0.95 - alone, mistakes=mistakes)


def test_adamw_decays_by_a_hundredth_unless_told():
    """AdamW's default weight_decay is 0.01, Adam's is 0: with a gradient of zero, only AdamW changes the parameter."""
    a, w = Parameter(np.ones(3)), Parameter(np.ones(3))
    stepped(Adam([a], lr=0.1), a, [np.zeros(3)])
    stepped(AdamW([w], lr=0.1), w, [np.zeros(3)])
    assert_close(a, np.ones(3))
    assert_close(w, np.full(3, 0.999))


@both
def test_every_parameter_counts_its_own_steps(optimizer_class, draw):
    """t is the number of a parameter's own updates. A parameter that starts later, or pauses, is corrected by its own count."""
    late, always = Parameter(np.ones(3)), Parameter(np.ones(3))
    optimizer = optimizer_class([{"params": [always]}, {"params": [late]}], lr=0.1, weight_decay=0.0, eps=0)
    for grad in (None, None, np.ones(3), None):
        late.grad, always.grad = grad, np.ones(3)
        optimizer.step()
    assert_close(late, np.full(3, 0.9))
    assert_close(always, np.full(3, 0.6))


@both
def test_groups_of_adam_have_values_of_their_own(optimizer_class, draw):
    """Each group has its own lr, betas, eps and weight_decay: no decay for biases, for example, or a different rate for a part
    of the network.
    """
    starts, grads = [draw.normal(3), draw.normal(4)], [draw.normal(3), draw.normal(4)]
    options = [{"lr": 0.1, "weight_decay": 0.0, "eps": 0.1}, {"lr": 0.2, "weight_decay": 0.5, "betas": (0.5, 0.5)}]
    made = [Parameter(start) for start in starts]
    optimizer = optimizer_class([{"params": [p], **values} for p, values in zip(made, options, strict=True)])
    rule = oracles.optimizers.adamw if optimizer_class is AdamW else oracles.optimizers.adam
    for _ in range(2):
        for p, grad in zip(made, grads, strict=True):
            p.grad = grad
        optimizer.step()
    for p, start, grad, values in zip(made, starts, grads, options, strict=True):
        assert_close(p, oracles.optimizers.each(rule, start, [grad, grad], **values))


def test_it_comes_down_rosenbrocks_valley():
    """From (−1, 1), Adam reaches the minimum (1, 1) of (1 − x)² + 100 (y − x²)², a narrow, curved valley with an almost flat
    floor.
    """
    p = Parameter(np.array([-1.0, 1.0]))
    optimizer = Adam([p], lr=0.05)
    for _ in range(3000):
        _, p.grad = oracles.optimizers.rosenbrock(p.data)
        optimizer.step()
    assert np.abs(p.data - 1).max() < 0.01, f"after 3000 steps at {p.data}, not near (1, 1)"


@both
def test_a_step_happens_in_place(optimizer_class, draw):
    """parameter.data stays the same array, since other code may hold it; the gradient is only read."""
    parameter = Parameter(draw.normal(3, 4))
    array, before = parameter.data, parameter.data.copy()
    optimizer = optimizer_class([parameter], weight_decay=0.1)
    stepped(optimizer, parameter, [draw.normal(3, 4), draw.normal(3, 4)])  # read-only
    assert parameter.data is array
    assert not np.array_equal(array, before)


@pytest.mark.parametrize(
    ("optimizer_class", "rule"), [(Adam, oracles.optimizers.adam), (AdamW, oracles.optimizers.adamw)], ids=["Adam", "AdamW"]
)
def test_the_layout_of_the_array_does_not_matter(optimizer_class, rule, draw):
    """An array in column-major order, such as a transpose, is updated in place too."""
    parameter = Parameter(draw.normal(4, 3).T)
    parameter.data = np.asfortranarray(parameter.data)
    array, start, grads = parameter.data, parameter.data.copy(), [draw.normal(3, 4), draw.normal(4, 3).T]
    stepped(optimizer_class([parameter], lr=0.1, weight_decay=0.1), parameter, grads)
    assert_close(array, oracles.optimizers.each(rule, start, grads, lr=0.1, weight_decay=0.1))


@both
def test_all_values_may_change_between_steps(optimizer_class, draw):
    """Each step uses the current lr, betas, eps and weight_decay of the group."""
    want, m, v = draw.normal(3, 4), 0.0, 0.0
    parameter = Parameter(want)
    optimizer = optimizer_class([parameter])
    for t, (lr, betas, eps, decay) in enumerate(
        [
            (0.1, (0.9, 0.999), 1e-8, 0.0),
            (0.2, (0.5, 0.75), 0.1, 0.3),
            (0.3, (0.0, 0.5), 0.2, 0.0),
            (0.1, (0.8, 0.9), 0.0, 0.1),
        ],
        1,
    ):
        optimizer.param_groups[0].update(lr=lr, betas=betas, eps=eps, weight_decay=decay)
        stepped(optimizer, parameter, [grad := draw.normal(3, 4)])
        if optimizer_class is AdamW:
            want = want * (1 - lr * decay)
        else:
            grad = grad + decay * want
        m, v = betas[0] * m + (1 - betas[0]) * grad, betas[1] * v + (1 - betas[1]) * grad**2
        want = want - lr * (m / (1 - betas[0] ** t)) / (np.sqrt(v / (1 - betas[1] ** t)) + eps)
        assert_close(parameter, want)


@both
def test_the_bias_is_corrected_at_every_step(optimizer_class):
    """With the same gradient each time, m̂ is that gradient and v̂ its square: each of 2,000 steps has length lr."""
    parameter = Parameter(np.array([1.0, -2.0]))
    optimizer = optimizer_class([parameter], lr=0.001, weight_decay=0)
    stepped(optimizer, parameter, [np.array([0.5, -3.0])] * 2000)
    assert_close(parameter + 2.0, [1.0, 2.0], FLOAT32)


@both
def test_nothing_but_the_moments_stays(optimizer_class):
    """With twenty parameters of 40 kB, the optimizer holds two arrays for each after the first step, not a third one."""
    made = [Parameter(np.ones((100, 100), np.float32)) for _ in range(20)]
    for parameter in made:
        parameter.grad = np.ones((100, 100), np.float32)
    optimizer = optimizer_class(made)
    tracemalloc.start()
    try:
        optimizer.step()
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 2.5 * 20 * 40_000, f"{held / 40_000:.1f} arrays of a parameter's size are held after a step, not 40"


def test_the_moments_are_not_the_gradient(draw):
    """The moments are copies: writing into the gradient array later, as the next backward may do, doesn't change them."""
    start, grads = draw.normal(3, 4), [draw.normal(3, 4) for _ in range(3)]
    parameter = Parameter(start)
    parameter.grad = np.empty((3, 4))
    optimizer = Adam([parameter], lr=0.1)
    for grad in grads:
        parameter.grad[...] = grad
        optimizer.step()
        assert_close(parameter.grad, grad)
    assert_close(parameter, oracles.optimizers.each(oracles.optimizers.adam, start, grads, lr=0.1))


@both
@pytest.mark.parametrize("lr", [0.1, np.float64(0.1)], ids=repr)
def test_float32_stays_float32(lr, optimizer_class, draw):
    """Values and moments keep the parameter's dtype, even if lr is a NumPy scalar or the gradient is float64."""
    parameter = Parameter(draw.normal(3, 4, dtype=np.float32))
    optimizer = optimizer_class([parameter], lr=lr, weight_decay=0.1)
    stepped(optimizer, parameter, [draw.normal(3, 4), draw.normal(3, 4)])
    assert_dtype(parameter, np.float32)
    moments = [value for value in optimizer.state[parameter].values() if np.shape(value)]
    assert len(moments) == 2
    for moment in moments:
        assert_dtype(moment, np.float32)


@both
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("lr", -0.1),
        ("eps", -1e-8),
        ("weight_decay", -0.01),
        ("betas", (1.0, 0.999)),
        ("betas", (0.9, 1.0)),
        ("betas", (-0.1, 0.999)),
        ("betas", (0.9, math.nan)),
    ],
    ids=str,
)
def test_a_value_that_can_not_be_is_named(optimizer_class, name, value):
    """lr, eps and weight_decay must not be negative, and both betas must be at least 0 and less than 1. Anything else raises a
    ValueError whose message contains the name and the value.
    """
    with rejects(ValueError, name, str(value)):
        optimizer_class([Parameter(np.ones(3))], **{name: value})
    with rejects(ValueError, name, str(value)):
        optimizer_class([{"params": [Parameter(np.ones(3))], name: value}])


@both
def test_a_step_of_adam_is_done_in_numpy(optimizer_class, budget):
    """The number of Python instructions must not grow with the number of values."""

    def step(n: int):
        parameter = Parameter(np.ones((n, 10), np.float32))
        parameter.grad = np.ones((n, 10), np.float32)
        return optimizer_class([parameter], weight_decay=0.1).step

    budget.steps(step(10), step(1000), limit=2)


@both
def test_a_step_of_adam_needs_the_room_of_one_parameter(optimizer_class, budget):
    """With ten parameters of 100 kB, a step may temporarily hold two arrays of that size, not ten, and leaves
    nothing behind.
    """
    layers = [Parameter(np.ones((100, 250), np.float32)) for _ in range(10)]
    for parameter in layers:
        parameter.grad = np.ones((100, 250), np.float32)
    budget.bytes(optimizer_class(layers, weight_decay=0.1).step, peak=220_000, retained=50_000)


def test_a_step_of_adam_is_as_fast_as_numpy(draw, budget):
    """A step takes at most three times as long as the formulas in NumPy, computed in place."""
    parameter = Parameter(draw.normal(500, 500, dtype=np.float32))
    parameter.grad = np.array(draw.normal(500, 500, dtype=np.float32))
    step = Adam([parameter], lr=1e-6).step
    p, g, m, v, a, b = (np.array(array) for array in [parameter.data, *[parameter.grad] * 5])
    v *= v

    def plain():
        nonlocal p, m, v, a, b
        m *= 0.9
        m += np.multiply(g, 0.1, out=a)
        v *= 0.999
        np.multiply(g, g, out=a)
        a *= 0.001
        v += a
        np.sqrt(v, out=b)
        b += 1e-8
        np.divide(m, b, out=a)
        a *= 1e-6
        p -= a

    budget.time(step, against=plain, limit=3)
