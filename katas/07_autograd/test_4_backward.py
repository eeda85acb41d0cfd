import gc
import weakref

import numpy as np
import pytest
from katas.autograd import defvjp
from katas.tensor import Tensor, concatenate, maximum, where

from specs.check import assert_close, assert_dtype, assert_gradient, rejects


def leaf(values, dtype=np.float64) -> Tensor:
    """A tensor that requires a gradient, with an array of its own."""
    return Tensor(np.array(values, dtype), requires_grad=True)


# The chain rule


def test_one_operation_passes_the_gradient_to_its_operand():
    """For y = eᵃ, backward() calls the rule of exp with y's gradient and adds the result to a.grad."""
    a = leaf(0.5)
    a.exp().backward()
    assert_close(a.grad, np.exp(0.5))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("grad", [[1, 2], (True, False), np.array([1.5, 2.5]), np.array([1, 2], np.int8)], ids=repr)
def test_a_grad_is_cast_to_the_tensors_dtype(grad, dtype):
    """grad may be anything NumPy takes for an array: rules get it in the tensor's dtype. The caller's is not changed."""
    seen, before = [], np.array(grad)
    defvjp("observed", lambda g, y, a: seen.append(g) or 2 * g)
    x = leaf([3.0, 4.0], dtype)
    Tensor._result("observed", 2 * x.data, x).backward(grad)
    assert_dtype(seen[0], dtype)
    assert_close(x.grad, 2 * np.asarray(before, dtype))
    assert_close(np.array(grad), before)


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, ZeroDivisionError], ids=lambda kind: kind.__name__)
def test_an_interruption_changes_no_grad(error):
    """If Ctrl-C or an error stops a rule, no grad changes, even if other leaves already have their whole gradient."""

    def rule(g, y, a):
        raise error

    defvjp("interrupted", rule)
    leaves = [leaf([1.0, 2.0]) for _ in range(3)]
    leaves[1].grad = np.ones(2)
    interrupted = Tensor._result("interrupted", leaves[2].data, leaves[2])
    result = leaves[0] * interrupted.exp() * leaves[1] + leaves[1]
    with rejects(error):
        result.backward(np.ones(2))
    assert leaves[0].grad is None
    assert leaves[2].grad is None
    assert_close(leaves[1].grad, np.ones(2))


def test_a_chain_multiplies_the_derivatives(draw):
    """d tanh(√(a² + 1)) / da: backward() calls one rule after another, from the end to the start."""
    a = leaf(draw.normal(2, 3))
    g = draw.normal(2, 3)
    (a * a + 1).sqrt().tanh().backward(g)
    assert_gradient(a.grad, lambda a: np.tanh(np.sqrt(a * a + 1)), a.data, g)


def test_both_operands_receive_their_gradients(draw):
    """For y = a @ b, both operands receive a gradient, each by a rule of its own."""
    a, b, g = leaf(draw.normal(2, 3)), leaf(draw.normal(3, 4)), draw.normal(2, 4)
    (a @ b).backward(g)
    assert_close(a.grad, g @ b.data.T, mistakes={"the gradient of the other operand": (a.data.T @ g)})
    assert_close(b.grad, a.data.T @ g)


def test_a_tensor_used_twice_receives_both_gradients():
    """Gradients accumulate: each use of a tensor adds its own term (d(x·x)/dx = 2x)."""
    x = leaf([3.0])
    (x * x).sum().backward()
    assert_close(x.grad, [6.0], mistakes={"overwritten instead of accumulated": [3.0]})


def test_a_tensor_used_by_several_operations_receives_all_gradients(draw):
    """In y = eˣ + x · tanh x + x, x receives gradients from three uses, one of them in the middle of a chain."""
    x, g = leaf(draw.normal(4)), draw.normal(4)
    (x.exp() + x * x.tanh() + x).backward(g)
    assert_gradient(x.grad, lambda x: np.exp(x) + x * np.tanh(x) + x, x.data, g)


def test_uses_that_cancel_leave_a_zero():
    """d(x - x)/dx = 0: x.grad is an array of zeros, not None."""
    x = leaf([3.0, 4.0])
    (x - x).sum().backward()
    assert_close(x.grad, [0.0, 0.0])


@pytest.mark.parametrize("long_way_first", [True, False])
def test_a_computed_tensor_waits_for_all_its_uses(long_way_first, draw):
    """h is used directly and three operations later: backward() calls its rule only when both gradients have arrived."""
    x, g = leaf(draw.normal(4)), draw.normal(4)
    h = x.tanh()
    far = ((h * h) + 2).exp()
    (far + h if long_way_first else h + far).backward(g)
    want = g * (1 - np.tanh(x.data) ** 2) * (1 + 2 * np.tanh(x.data) * np.exp(np.tanh(x.data) ** 2 + 2))
    long_way = g * (1 - np.tanh(x.data) ** 2) * 2 * np.tanh(x.data) * np.exp(np.tanh(x.data) ** 2 + 2)
    mistakes = {"the long way's gradient only": long_way, "the short way's gradient only": want - long_way}
    assert_close(x.grad, want, mistakes=mistakes)


def test_every_rule_is_called_once_however_many_ways_lead_to_it(draw):
    """Where paths meet, backward() adds up their gradients and passes on the sum once, not each of them."""
    calls = []

    def rule(g, y, a):
        calls.append(g)
        return g

    defvjp("watched", rule)
    x = leaf(draw.normal(3))
    h = Tensor._result("watched", x.data, x)
    for _ in range(6):
        h = h + h
    h.backward(np.ones(3))
    assert_close(x.grad, np.full(3, 64.0))
    assert len(calls) == 1


def test_a_result_of_many_parts_reaches_each_of_them(draw):
    """backward() goes through concatenation, indexing, where and maximum in one expression."""
    a, b, g = leaf(draw.normal(2, 3)), leaf(draw.normal(1, 3)), draw.normal(3)
    condition = np.array([True, False, True])

    def loss(a, b, concatenate, where, maximum):
        rows = concatenate([a * 2, b, a], 0)
        return maximum(rows[1] * rows[2], rows[4]) + where(condition, rows[0], rows[3])

    loss(a, b, concatenate, where, maximum).backward(g)
    plain = np.concatenate, np.where, np.maximum
    assert_gradient(a.grad, lambda x: loss(x, b.data, *plain), a.data, g, name="a")
    assert_gradient(b.grad, lambda x: loss(a.data, x, *plain), b.data, g, name="b")


# Leaves


def test_only_leaves_have_a_grad():
    """A computed tensor gets no grad, as in PyTorch: grads would cost as much memory as the activations."""
    x = leaf([1.0, 2.0])
    h = x * 2
    loss = h.sum()
    loss.backward()
    assert_close(x.grad, [2.0, 2.0])
    assert h.grad is None
    assert loss.grad is None


def test_what_requires_no_gradient_gets_none():
    """Constants along the path, such as a batch of images, get no grad."""
    x, w = Tensor(np.ones((2, 3))), leaf(np.ones((3, 4)))
    (x @ w).sum().backward()
    assert_close(w.grad, np.full((3, 4), 2.0))
    assert x.grad is None


def test_the_rule_of_what_requires_no_gradient_is_not_called():
    """The rule for an operand that requires no gradient is not called: it may cost as much as the weights' rule."""

    def unwanted(g, y, a, b):
        raise AssertionError("the rule of an operand that requires no gradient was called")

    defvjp("half", unwanted, lambda g, y, a, b: g * a)
    x, w = Tensor(np.ones(3)), leaf(np.ones(3))
    Tensor._result("half", x.data * w.data, x, w).backward(np.ones(3))
    assert_close(w.grad, np.ones(3))


def test_gradients_of_two_backwards_add_up():
    """backward() adds to an existing grad, so that you can split a batch. Call zero_grad() before each new batch."""
    x = leaf([1.0, 2.0])
    (x * 3).sum().backward()
    (x * 4).sum().backward()
    assert_close(x.grad, [7.0, 7.0], mistakes={"overwritten instead of accumulated": [4.0, 4.0]})


def test_a_leaf_that_was_not_used_keeps_its_grad():
    """backward() changes only the grads of leaves that the result was computed from."""
    used, unused = leaf([1.0]), leaf([2.0])
    old = np.array([5.0])
    unused.grad = old
    (used * 2).backward()
    assert_close(used.grad, [2.0])
    assert unused.grad is old
    assert_close(old, [5.0])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_grad_has_the_dtype_of_its_data(dtype, draw):
    """float32 weights get float32 gradients, whatever the dtypes of the intermediate results."""
    x, other = leaf(draw.normal(2, 3), dtype), leaf(draw.normal(2, 3), np.float64 if dtype == np.float32 else np.float32)
    ((x * other).exp() + x).sum().backward()
    assert_dtype(x.grad, dtype)
    assert_dtype(other.grad, other.dtype)


def test_a_rule_is_given_a_gradient_of_the_dtype_of_its_result():
    """A rule receives g in its result's dtype. Where float32 meets float64, backward() casts, so that rules don't have to."""
    seen = []
    defvjp("seen", lambda g, y, a: seen.append(g.dtype) or g)
    x, other = leaf([1.0, 2.0], np.float32), leaf([3.0, 4.0], np.float64)
    (Tensor._result("seen", x.data, x) * other).sum().backward()
    assert seen == [np.float32]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_numbers_of_shape_nothing_have_arrays_as_gradients(dtype):
    """The grad of a 0-d tensor is an array, as its data is, although NumPy's functions return scalars for it."""
    x = leaf(2.0, dtype)
    (x * x).backward()
    assert isinstance(x.grad, np.ndarray)
    assert_dtype(x.grad, dtype)
    assert_close(x.grad, 4.0)


# Of two leaves a and b, whose gradients are at first one and the same array, or views of it.
EXPRESSIONS = {
    "a + b": lambda a, b: a + b,
    "a + a + b": lambda a, b: a + a + b,
    "reshaped": lambda a, b: a.reshape(6) + b.reshape(6),
    "transposed": lambda a, b: a.T + b.T,
    "concatenated": lambda a, b: concatenate([a, b], 0),
    "summed": lambda a, b: a.sum() + b.sum(),
    "reduced": lambda a, b: (a + b).sum(0),
    "summed, then multiplied": lambda a, b: a.sum() * 1.0 + b.sum() * 1.0,
}


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_a_grad_is_an_array_of_its_own(name, draw):
    """A grad may be changed alone, as clipping does, even if the rule returned another rule's g or a view of it."""
    a, b = leaf(draw.normal(2, 3)), leaf(draw.normal(2, 3))
    result = EXPRESSIONS[name](a, b)
    seed = np.array(draw.normal(*result.shape))
    before = seed.copy()
    result.backward(seed)
    assert not np.shares_memory(a.grad, b.grad), "a.grad and b.grad are one array"
    assert not np.shares_memory(a.grad, seed), "a.grad is the array that backward was given"
    assert_close(seed, before)
    other = b.grad.copy()
    a.grad += 1.0
    a.grad *= 2.0
    assert_close(b.grad, other)


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_gradients_that_share_an_array_add_up_apart(name, draw):
    """A second backward() adds to the grads of the first, and changes nothing else."""
    a, b = leaf(draw.normal(2, 3)), leaf(draw.normal(2, 3))
    for _ in range(2):
        result = EXPRESSIONS[name](a, b)
        seed = np.full(result.shape, 1.5)
        result.backward(seed)
    assert_close(a.grad, np.full((2, 3), 6.0 if name == "a + a + b" else 3.0))
    assert_close(b.grad, np.full((2, 3), 3.0))


@pytest.mark.parametrize("first", ["the sum", "the product"])
def test_a_gradient_with_several_owners_is_not_added_to_in_place(first, draw):
    """In y = (a + b) + a · c, a and b receive the same g: what is added to a's gradient must not change b's."""
    a, b, c, g = leaf(draw.normal(3)), leaf(draw.normal(3)), leaf(draw.normal(3)), np.array(draw.normal(3))
    given = g.copy()
    ((a + b) + a * c if first == "the sum" else a * c + (a + b)).backward(g)
    assert_close(b.grad, given, mistakes={"what another tensor received was added in place": given * (1 + c.data)})
    assert_close(a.grad, given * (1 + c.data))
    assert_close(c.grad, given * a.data)


def test_a_grad_is_not_the_array_that_backward_was_given(draw):
    """A grad never shares memory with the array given to backward(), even if the only rule returns g or a view of it."""
    for operation in (lambda x: x + 1, lambda x: x.reshape(6), lambda x: x.T):
        x, g = leaf(draw.normal(2, 3)), np.array(draw.normal(6))
        result = operation(x)
        g = g.reshape(result.shape)
        result.backward(g)
        assert not np.shares_memory(x.grad, g)


# The seed


def test_one_value_needs_no_grad():
    """A tensor with a single value needs no grad, in any shape: the gradient of a loss with respect to itself is 1."""
    for shape in ((), (1,), (1, 1)):
        x = leaf(np.full(shape, 3.0))
        (x * 2).backward()
        assert_close(x.grad, np.full(shape, 2.0))


@pytest.mark.parametrize("shape", [(1, 3), (0, 3)])
def test_several_values_or_none_need_a_grad(shape):
    """backward() without a grad raises an error that contains the shape, unless the tensor has exactly one value."""
    x = leaf(np.ones(shape))
    with rejects(RuntimeError, str(shape), "grad"):
        (x * 2).backward()
    assert x.grad is None


def test_each_value_counts_as_much_as_its_grad(draw):
    """backward(grad) computes the gradient of ⟨grad, result⟩."""
    x, g = leaf(draw.normal(2, 3)), draw.normal(2, 3)
    (x * x).backward(g)
    assert_close(x.grad, 2 * x.data * g, mistakes={"the grad is not used": 2 * x.data})


@pytest.mark.parametrize("shape", [(3,), (3, 2), (2, 3, 1), ()])
def test_a_grad_of_another_shape_is_refused(shape):
    """A grad with a different shape raises a ValueError that contains both shapes. Broadcasting it would be a guess."""
    x = leaf(np.ones((2, 3)))
    with rejects(ValueError, str(shape), "(2, 3)"):
        (x * 2).backward(np.ones(shape))
    assert x.grad is None


def test_a_grad_takes_the_dtype_of_the_result():
    """A float64 grad for a float32 result does not turn later gradients into float64."""
    x = leaf([1.0, 2.0], np.float32)
    (x * 2).backward(np.array([0.5, 1.5]))
    assert_dtype(x.grad, np.float32)
    assert_close(x.grad, [1.0, 3.0])


# Errors


def test_what_was_not_computed_has_no_backward():
    """backward() of a leaf, or of a tensor computed only from constants, raises a RuntimeError: nothing was recorded."""
    for tensor in (Tensor([2.0]), leaf([2.0]), Tensor([2.0]) * 3):
        with rejects(RuntimeError):
            tensor.backward()


def test_a_second_backward_is_a_clear_error():
    """The first backward() frees the graph. A second one raises an error that says so, and changes no grad."""
    x = leaf([2.0])
    y = (x * x).sum()
    y.backward()
    with rejects(RuntimeError, "freed"):
        y.backward()
    assert_close(x.grad, [4.0])


def test_a_part_that_another_backward_freed_is_a_clear_error():
    """Two losses share h. The first backward frees the graph below h, so the second raises an error rather than give a partial
    gradient.
    """
    x, w = leaf([2.0]), leaf([3.0])
    h = x * x
    first, second = h + 1, h * w
    first.backward()
    with rejects(RuntimeError, "freed"):
        second.backward()
    assert_close(x.grad, [4.0])
    assert w.grad is None


def test_two_losses_of_a_shared_part_are_one_backward_of_their_sum():
    """One backward() of the sum of two losses handles the part of the graph that they share."""
    x = leaf([2.0])
    h = x * x
    (h * 3 + h * 5).backward()
    assert_close(x.grad, [32.0])


def test_an_operation_without_rules_is_named():
    """An operation without a rule, such as your own, raises an error that contains its name, and no grad changes."""
    x, w = leaf([2.0]), leaf([3.0])
    y = Tensor._result("mystery", x.data * 2, x)
    with rejects(RuntimeError, "mystery"):
        (y * w).backward()
    assert x.grad is None
    assert w.grad is None


@pytest.mark.parametrize("shape", [(2, 3), (4,), (3, 1), ()])
def test_a_rule_of_another_shape_is_named(shape):
    """A rule that forgets to unbroadcast raises an error with the operation's name and both shapes; no grad changes."""
    defvjp("twice", lambda g, y, a: np.ones(shape))
    x, w = leaf(np.ones(3)), leaf(np.ones(3))
    with rejects(RuntimeError, "twice", "(3,)", str(shape)):
        (Tensor._result("twice", x.data * 2, x) * w).sum().backward()
    assert x.grad is None
    assert w.grad is None


# Depth and memory


def test_a_chain_of_50_000_operations_is_no_problem():
    """backward() of a chain of 50,000 operations works without recursion: Python allows about 1000 nested calls."""
    x = leaf(1.0)
    y = x
    for _ in range(50_000):
        y = y + x
    y.backward()
    assert_close(x.grad, 50_001.0)


def test_fifty_diamonds_are_done_at_once():
    """After x + x fifty times, 2⁵⁰ paths lead to x, but backward() needs only a hundred rule calls."""
    x = leaf(1.0)
    y = x
    for _ in range(50):
        y = y + y
    y.backward()
    assert_close(x.grad, 2.0**50)


def chain(length: int):
    """A backward through a chain of `length` operations."""
    x = leaf(1.0)

    def call():
        y = x
        for _ in range(length):
            y = y + x
        y.backward()

    return call


def diamonds(count: int):
    """A backward through `count` doublings."""
    x = leaf(1.0)

    def call():
        y = x
        for _ in range(count):
            y = y + y
        y.backward()

    return call


def test_the_steps_are_proportional_to_the_length_of_a_chain(budget):
    """Eight times as many operations take about eight times the Python instructions: no search or copy for each one."""
    budget.steps(chain(250), chain(2000), limit=18)


def test_the_steps_are_proportional_to_the_number_of_diamonds(budget):
    """Three times as many diamonds take about three times the Python instructions: no path is followed twice."""
    budget.steps(diamonds(4), diamonds(12), limit=8)


def test_after_backward_no_array_of_the_record_is_alive():
    """After backward() only leaves and their grads are alive, even while the loss exists and garbage collection is off."""
    x = leaf(np.ones(10))
    h = x.exp()
    arrays = [weakref.ref(h.data), weakref.ref(h)]
    loss = (h * h).tanh().sum()
    gc.disable()
    try:
        del h
        assert all(ref() is not None for ref in arrays)
        loss.backward()
        assert [ref() for ref in arrays] == [None, None]
        assert x.grad is not None
    finally:
        gc.enable()


def test_after_backward_the_loss_holds_nothing(budget):
    """After backward(), a loss that you save for the epoch's mean doesn't keep its ten 1 MB activations alive."""
    x, kept = leaf(np.ones(250_000), np.float32), []

    def step():
        y = x
        for _ in range(10):
            y = y.tanh()
        kept[:] = [y.sum()]
        kept[0].backward()
        x.grad = None

    budget.bytes(step, retained=100_000)


def test_gradients_on_the_way_are_let_go(budget):
    """In a chain of twenty operations on 1 MB, each intermediate gradient is dropped once the next operation has used it."""
    defvjp("passed on", lambda g, y, a: -g)
    x = leaf(np.ones(250_000), np.float32)

    def step():
        y = x
        for _ in range(20):
            y = Tensor._result("passed on", x.data, y)
        y.backward(x.data)
        x.grad = None

    budget.bytes(step, peak=6_000_000)


def test_a_tensor_of_many_uses_takes_no_memory_for_each(budget):
    """The gradient of a 1 MB tensor used forty times is added up as its parts arrive, not collected first."""
    x = leaf(np.ones(250_000), np.float32)

    def step():
        parts = [x[i : i + 1] for i in range(40)]
        concatenate(parts, 0).sum().backward()
        x.grad = None

    budget.bytes(step, peak=7_000_000)


def test_a_grad_keeps_no_larger_array_alive(budget):
    """The grad of a few values joined with 1 MB of constants must not keep the whole gradient alive: copy the piece."""
    x, constants = leaf(np.ones(100), np.float32), Tensor(np.ones(250_000, np.float32))

    def step():
        x.grad = None
        (concatenate([x, constants], 0) * 2).backward(np.ones(250_100, np.float32))

    budget.bytes(step, retained=100_000)


@pytest.mark.parametrize("dim", [0, 1])
def test_each_part_of_a_concatenation_gets_its_own_piece(dim, draw):
    """If a tensor is concatenated with itself, its gradient is the sum of both pieces, not the first one twice."""
    x = Tensor(draw.normal(3, 3), requires_grad=True)
    y = concatenate([x, x, x], dim)
    g = np.array(draw.normal(*y.shape))
    y.backward(g)
    first, second, third = np.split(g, 3, dim)
    assert_close(x.grad, first + second + third, mistakes={"the first piece each time": 3 * first})


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.uint64])
def test_an_index_of_any_integers_may_select_an_element_twice(kind, draw):
    """An element that is selected twice receives both gradients, whatever integers the index holds."""
    x, g = Tensor(draw.normal(4), requires_grad=True), np.array(draw.normal(3))
    x[np.array([2, 0, 2], kind)].backward(g)
    assert_close(x.grad, [g[1], 0.0, g[0] + g[2], 0.0], mistakes={"only the last one counts": [g[1], 0.0, g[2], 0.0]})


@pytest.mark.parametrize("size", [10, 20_000])
def test_an_infinite_gradient_stops_where_nothing_was_taken(size):
    """maximum and where pass 0 to what they did not take, even of an infinite gradient, in large arrays, too."""
    for choose in (lambda x: maximum(x, 0.0), lambda x: where(x > 0, x, 0.0)):
        x = Tensor(np.tile(np.array([-1.0, 1.0]), size // 2), requires_grad=True)
        choose(x).backward(np.full(size, np.inf))
        assert_close(x.grad, np.tile([0.0, np.inf], size // 2))


@pytest.mark.parametrize("other", [np.ones((7, 2)), np.ones((2, 3), np.float32), np.ones(())], ids=["shape", "dtype", "number"])
def test_the_gradient_belongs_to_the_data_of_the_forward_pass(other, draw):
    """An operand that has another array as data by now, of any shape or dtype, does not change an operation's gradient."""
    x, g = Tensor(draw.normal(2, 3), requires_grad=True), np.array(draw.normal(2, 3))
    middle = x * 2.0
    y = middle * middle
    want = 2 * middle.data * 2 * g
    middle.data = other
    y.backward(g)
    assert_close(x.grad, want)
