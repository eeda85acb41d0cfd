import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from katas.autograd import no_grad
from katas.tensor import Tensor

from specs.check import assert_close, undisturbed


def leaf() -> Tensor:
    return Tensor([1.0, 2.0], requires_grad=True)


def recorded(result: Tensor) -> bool:
    """Whether a result was recorded: if so, it requires a gradient and has a node."""
    has_node = getattr(result, "node", None) is not None
    assert has_node == result.requires_grad, f"requires_grad is {result.requires_grad}, but node is there: {has_node}"
    return has_node


def test_in_the_block_nothing_is_recorded():
    """In a no_grad block, results have no node and require no gradient, as if no operand did; their values are the same."""
    x = leaf()
    with no_grad():
        y = x * 3
    assert not recorded(y)
    assert_close(y, [3.0, 6.0])
    assert x.requires_grad


@pytest.mark.parametrize("data", [[2, 3], [True, False], [1.0, 2.0]], ids=["integers", "booleans", "floats"])
def test_in_the_block_integers_are_no_error(data):
    """In a no_grad block, results may have any dtype: none requires a gradient, whatever the operands say."""
    x = Tensor(data, requires_grad=True)
    with no_grad():
        assert not recorded(x.reshape(2, 1))
        assert not recorded(x[0])


def test_after_the_block_recording_goes_on():
    """After a no_grad block, operations are recorded again."""
    x = leaf()
    with no_grad():
        constant = x * 3
    y = constant * x
    assert recorded(y)
    y.sum().backward()
    assert_close(x.grad, [3.0, 6.0], mistakes={"what was computed in the block is no constant": [6.0, 12.0]})


def test_an_exception_ends_the_block_too():
    """An exception passes through a no_grad block and ends it: recording resumes afterwards."""
    x = leaf()
    with pytest.raises(ZeroDivisionError), no_grad():
        x * (1 / 0)
    assert recorded(x * 2)


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_an_interruption_ends_the_block_too(error):
    """Ctrl-C ends a no_grad block too: in a notebook, where the session continues, recording resumes."""
    x = leaf()
    with pytest.raises(error), no_grad():
        raise error
    assert recorded(x * 2)


def test_the_block_leaves_the_process_alone():
    """no_grad changes neither NumPy's global generator, nor its error handling, nor the working directory."""
    with undisturbed(), no_grad():
        assert not recorded(leaf() * 2)


def test_the_end_of_an_inner_block_is_not_the_end_of_the_outer():
    """Each no_grad block restores the state before it, so that blocks can be nested."""
    with no_grad():
        with no_grad():
            assert not recorded(leaf() * 2)
        assert not recorded(leaf() * 2)
    assert recorded(leaf() * 2)


def test_a_function_may_be_decorated():
    """@no_grad() runs each call of a function in a no_grad block, including the second call and one that raises."""

    @no_grad()
    def predict(x, fail=False):
        if fail:
            raise KeyError("on purpose")
        return x * 2

    x = leaf()
    assert not recorded(predict(x))
    assert recorded(x * 2)
    assert not recorded(predict(x))
    with pytest.raises(KeyError):
        predict(x, fail=True)
    assert recorded(x * 2)
    assert predict.__name__ == "predict"


def test_a_decorated_function_may_call_itself():
    """A function decorated with @no_grad() may call itself: each call is a nested block."""

    @no_grad()
    def halved(x, times):
        return x if times == 0 else halved(x * 0.5, times - 1)

    x = leaf()
    assert not recorded(halved(x, 3))
    assert recorded(x * 2)


def test_a_leaf_made_in_the_block_is_a_leaf():
    """A tensor made in a no_grad block with requires_grad=True keeps it. Its uses after the block are recorded."""
    with no_grad():
        x = leaf()
    assert x.requires_grad
    (x * 5).sum().backward()
    assert_close(x.grad, [5.0, 5.0])


def test_what_was_recorded_before_has_its_backward_in_the_block():
    """backward() works in a no_grad block for a result recorded before it: the block affects only the recording."""
    x = leaf()
    y = (x * x).sum()
    with no_grad():
        y.backward()
    assert_close(x.grad, [2.0, 4.0])


def test_other_threads_go_on_recording():
    """no_grad affects only its own thread: a server that evaluates in one thread doesn't stop training in another."""
    inside, outside, x = threading.Event(), threading.Event(), leaf()

    def evaluate():
        try:
            with no_grad():
                inside.set()
                outside.wait(5)
                return recorded(x * 2)
        finally:
            inside.set()

    with ThreadPoolExecutor(1) as pool:
        evaluating = pool.submit(evaluate)
        try:
            inside.wait(5)
            training = recorded(x * 2)
        finally:
            outside.set()
    assert not evaluating.result()
    assert training


def test_without_gradients_no_activation_is_kept(budget):
    """Under no_grad, ten operations on 1 MB hold only the current activation and the next one."""
    x = Tensor(np.ones(250_000, np.float32), requires_grad=True)

    def evaluate():
        with no_grad():
            y = x
            for _ in range(10):
                y = y.tanh()

    budget.bytes(evaluate, peak=4_000_000)
