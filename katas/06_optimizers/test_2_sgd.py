import math

import numpy as np
import pytest
from katas.layers import Parameter
from katas.optimizers import SGD

from specs import oracles
from specs.check import assert_close, assert_dtype, rejects

OPTIONS = {
    "plain": {},
    "weight decay": {"weight_decay": 0.1},
    "momentum": {"momentum": 0.9},
    "momentum and decay": {"momentum": 0.9, "weight_decay": 0.1},
    "nesterov": {"momentum": 0.9, "nesterov": True},
    "nesterov and decay": {"momentum": 0.9, "weight_decay": 0.1, "nesterov": True},
}
every = pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)


def descended(start: np.ndarray, grads: list[np.ndarray], **options) -> Parameter:
    """Returns the parameter after one step for each gradient."""
    parameter = Parameter(start)
    optimizer = SGD([parameter], **options)
    for grad in grads:
        parameter.grad = grad
        optimizer.step()
    return parameter


@every
def test_steps_follow_the_formulas(options, draw):
    """SGD computes g ← grad + weight_decay·p;  b ← μ·b + g, at first b ← g;  p ← p − lr·b, or with nesterov p −
    lr·(g + μ·b).
    """
    start, grads = draw.normal(3, 4), [draw.normal(3, 4) for _ in range(5)]
    want = oracles.optimizers.each(oracles.optimizers.sgd, start, grads, lr=0.1, **options)
    assert_close(descended(start, grads, lr=0.1, **options), want)


def test_momentum_is_the_sum_of_past_gradients(draw):
    """Two steps with momentum: the first equals plain SGD, the second adds μ times the first gradient."""
    p, g, h = draw.normal(3, 4), draw.normal(3, 4), draw.normal(3, 4)
    mistakes = {
        "the buffer is not kept": p - 0.1 * (g + h),
        "the new gradient is scaled by 1 − μ": p - 0.1 * (0.1 * g + 0.09 * g + 0.1 * h),
        "the new gradient is scaled by 1 − μ, but for the first": p - 0.1 * (g + 0.9 * g + 0.1 * h),
        "the first step has momentum already": p - 0.1 * (1.9 * g + 0.9 * 1.9 * g + h),
        "nesterov's": p - 0.1 * (1.9 * g + 0.9 * (0.9 * g + h) + h),
    }
    assert_close(descended(p, [g, h], lr=0.1, momentum=0.9), p - 0.1 * (g + 0.9 * g + h), mistakes=mistakes)


def test_nesterov_looks_ahead(draw):
    """Two steps with nesterov: each goes along g + μ·b, where b already includes g."""
    p, g, h = draw.normal(3, 4), draw.normal(3, 4), draw.normal(3, 4)
    b = 0.9 * g + h
    mistakes = {
        "plain momentum": p - 0.1 * (g + b),
        "the first step is plain": p - 0.1 * (g + h + 0.9 * b),
        "g + μ·b with the old b": p - 0.1 * (g + h + 0.9 * g),
    }
    got = descended(p, [g, h], lr=0.1, momentum=0.9, nesterov=True)
    assert_close(got, p - 0.1 * (1.9 * g + h + 0.9 * b), mistakes=mistakes)


def test_weight_decay_is_part_of_the_gradient(draw):
    """weight_decay·p is added to the gradient, before the momentum: it is the gradient of weight_decay/2·p²."""
    p, g = draw.normal(3, 4), draw.normal(3, 4)
    once = p - 0.1 * (g + 0.5 * p)
    mistakes = {
        "no weight decay": p - 0.1 * g,
        "weight decay without lr": p - 0.1 * g - 0.5 * p,
        "the sign of weight decay": p - 0.1 * (g - 0.5 * p),
    }
    assert_close(descended(p, [g], lr=0.1, weight_decay=0.5), once, mistakes=mistakes)
    twice = once - 0.1 * (0.9 * (g + 0.5 * p) + g + 0.5 * once)
    after = {"weight decay does not go through the momentum": once - 0.1 * (0.9 * g + g + 0.5 * once)}
    assert_close(descended(p, [g, g], lr=0.1, momentum=0.9, weight_decay=0.5), twice, mistakes=after)


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
def test_on_a_parabola_it_follows_the_closed_form(momentum):
    """On c/2·p² a step is a linear map of (p, b): after 30 steps, p is given by the 30th power of its matrix."""
    p = Parameter(np.array([4.0]))
    optimizer = SGD([p], lr=0.1, momentum=momentum)
    for _ in range(30):
        p.grad = 3.0 * p.data
        optimizer.step()
    assert_close(p, [oracles.optimizers.momentum_on_a_parabola(4.0, 3.0, 30, 0.1, momentum)])


def test_the_buffer_is_not_the_gradient(draw):
    """The momentum buffer is a copy: writing into the gradient array later, as the next backward may do, doesn't change it."""
    start, grads = draw.normal(3, 4), [draw.normal(3, 4) for _ in range(3)]
    parameter = Parameter(start)
    parameter.grad = np.empty((3, 4))
    optimizer = SGD([parameter], lr=0.1, momentum=0.9)
    for grad in grads:
        parameter.grad[...] = grad
        optimizer.step()
        assert_close(parameter.grad, grad)
    assert_close(parameter, oracles.optimizers.each(oracles.optimizers.sgd, start, grads, lr=0.1, momentum=0.9))


def test_no_gradient_is_not_a_gradient_of_zero(draw):
    """While grad is None, momentum neither moves the parameter nor decays."""
    parameter, grad = Parameter(draw.normal(3, 4)), draw.normal(3, 4)
    want = oracles.optimizers.each(oracles.optimizers.sgd, parameter.data, [grad, grad], lr=0.1, momentum=0.9)
    optimizer = SGD([parameter], lr=0.1, momentum=0.9)
    for present in (True, False, True):
        parameter.grad = grad if present else None
        optimizer.step()
    assert_close(parameter, want)


@every
def test_a_step_happens_in_place(options, draw):
    """parameter.data stays the same array, since other code may hold it; the gradient is only read."""
    parameter = Parameter(draw.normal(3, 4))
    array, before = parameter.data, parameter.data.copy()
    optimizer = SGD([parameter], lr=0.1, **options)
    for _ in range(2):
        parameter.grad = draw.normal(3, 4)  # read-only
        optimizer.step()
    assert parameter.data is array
    assert not np.array_equal(array, before)


@every
def test_the_layout_of_the_array_does_not_matter(options, draw):
    """An array in column-major order, such as a transpose, is updated in place too."""
    parameter = Parameter(draw.normal(4, 3).T)
    parameter.data = np.asfortranarray(parameter.data)
    array, start, grads = parameter.data, parameter.data.copy(), [draw.normal(3, 4), draw.normal(4, 3).T]
    optimizer = SGD([parameter], lr=0.1, **options)
    for grad in grads:
        parameter.grad = grad
        optimizer.step()
    assert_close(array, oracles.optimizers.each(oracles.optimizers.sgd, start, grads, lr=0.1, **options))


def test_all_values_may_change_between_steps(draw):
    """Each step uses the current lr, momentum, weight_decay and nesterov of the group."""
    start, buffer = draw.normal(3, 4), 0.0
    parameter, want = Parameter(start), start
    optimizer = SGD([parameter], lr=0.1, momentum=0.9)
    for lr, momentum, decay, nesterov in [
        (0.1, 0.9, 0.0, False),
        (0.2, 0.5, 0.0, False),
        (0.2, 0.5, 0.3, True),
        (0.0, 0.7, 0.0, True),
        (0.4, 0.6, 0.0, False),
    ]:
        optimizer.param_groups[0].update(lr=lr, momentum=momentum, weight_decay=decay, nesterov=nesterov)
        parameter.grad = draw.normal(3, 4)
        optimizer.step()
        grad = parameter.grad + decay * want
        buffer = momentum * buffer + grad
        want = want - lr * (grad + momentum * buffer if nesterov else buffer)
        assert_close(parameter, want)


@pytest.mark.parametrize("options", [{"momentum": 0.9}, {"weight_decay": 0.1}, {}], ids=str)
def test_an_lr_of_zero_is_one(options, draw):
    """lr=0.0, as at the start of a warm-up, is allowed: no value moves, but momentum builds up."""
    start, grads = draw.normal(3, 4), [draw.normal(3, 4) for _ in range(2)]
    parameter = Parameter(start)
    optimizer = SGD([{"params": [parameter], "lr": 0.0}], lr=0.1, **options)
    parameter.grad = grads[0]
    optimizer.step()
    assert_close(parameter, start)
    optimizer.param_groups[0]["lr"] = 0.1
    parameter.grad = grads[1]
    optimizer.step()
    momentum, decay = options.get("momentum", 0.0), options.get("weight_decay", 0.0)
    assert_close(parameter, start - 0.1 * (grads[1] + decay * start + momentum * grads[0]))


@every
@pytest.mark.parametrize("lr", [0.1, np.float64(0.1)], ids=repr)
def test_float32_stays_float32(lr, options, draw):
    """Values and momentum keep the parameter's dtype, even if lr is a NumPy scalar or the gradient is float64."""
    parameter = Parameter(draw.normal(3, 4, dtype=np.float32))
    optimizer = SGD([parameter], lr=lr, **options)
    for _ in range(2):
        parameter.grad = draw.normal(3, 4)
        optimizer.step()
    assert_dtype(parameter, np.float32)
    for value in optimizer.state[parameter].values():
        assert_dtype(value, np.float32)


@pytest.mark.parametrize(
    ("name", "value"),
    [("lr", -0.1), ("lr", math.nan), ("momentum", -0.1), ("momentum", 1.0), ("momentum", math.nan), ("weight_decay", -0.01)],
)
def test_a_value_that_can_not_be_is_named(name, value):
    """lr and weight_decay must not be negative, and momentum must be at least 0 and less than 1. Anything else, in a group too,
    raises a ValueError whose message contains the name and the value.
    """
    with rejects(ValueError, name, str(value)):
        SGD([Parameter(np.ones(3))], **({"lr": 0.1} | {name: value}))
    with rejects(ValueError, name, str(value)):
        SGD([{"params": [Parameter(np.ones(2))]}, {"params": [Parameter(np.ones(3))], name: value}], lr=0.1)


def test_nesterov_needs_momentum():
    """nesterov=True without momentum would do nothing, so it raises a ValueError whose message contains both names."""
    with rejects(ValueError, "nesterov", "momentum"):
        SGD([Parameter(np.ones(3))], lr=0.1, nesterov=True)


@every
def test_a_step_of_sgd_is_done_in_numpy(options, budget):
    """The number of Python instructions must not grow with the number of values."""

    def step(n: int):
        parameter = Parameter(np.ones((n, 10), np.float32))
        parameter.grad = np.ones((n, 10), np.float32)
        return SGD([parameter], lr=0.1, **options).step

    budget.steps(step(10), step(1000), limit=2)


@every
def test_a_step_of_sgd_needs_the_room_of_one_parameter(options, budget):
    """With ten parameters of 100 kB, a step may temporarily hold two arrays of that size, not ten, and leaves
    nothing behind.
    """
    layers = [Parameter(np.ones((100, 250), np.float32)) for _ in range(10)]
    for parameter in layers:
        parameter.grad = np.ones((100, 250), np.float32)
    budget.bytes(SGD(layers, lr=0.1, **options).step, peak=220_000, retained=50_000)


def test_a_step_of_sgd_is_as_fast_as_numpy(draw, budget):
    """A step takes at most three times as long as momentum and update in NumPy, computed in place."""
    parameter = Parameter(draw.normal(500, 500, dtype=np.float32))
    parameter.grad = np.array(draw.normal(500, 500, dtype=np.float32))
    step = SGD([parameter], lr=1e-6, momentum=0.9).step
    p, g, b, scratch = (np.array(array) for array in [parameter.data, *[parameter.grad] * 3])

    def plain():
        nonlocal b, p
        b *= 0.9
        b += g
        np.multiply(b, 1e-6, out=scratch)
        p -= scratch

    budget.time(step, against=plain, limit=3)


@pytest.mark.parametrize("options", [{}, {"weight_decay": 0.1}], ids=str)
def test_nothing_is_remembered_without_momentum(options, draw):
    """Plain SGD keeps no array: a buffer of each parameter's size would double the memory for nothing."""
    parameter = Parameter(draw.normal(3, 4))
    optimizer = SGD([parameter], lr=0.1, **options)
    for _ in range(2):
        parameter.grad = draw.normal(3, 4)
        optimizer.step()
    assert not any(np.ndim(value) for value in optimizer.state.get(parameter, {}).values())
