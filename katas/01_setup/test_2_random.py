import os
import random
import subprocess
import sys

import numpy as np
import pytest
from katas.environment import make_rng

from specs.check import assert_close, rejects
from specs.door import ROOT


def test_a_generator_is_made():
    """make_rng(seed) returns a np.random.Generator, whose methods draw the numbers."""
    rng = make_rng(7)
    assert isinstance(rng, np.random.Generator), f"expected a np.random.Generator, got {type(rng).__name__}"


def test_the_same_seed_gives_the_same_numbers():
    """Two generators with the same seed draw the same numbers, however many one of them has already drawn."""
    first, again = make_rng(7), make_rng(7)
    numbers = first.random(1000)
    assert_close(again.random(1000), numbers)
    assert_close(make_rng(7).random(1000), numbers)
    assert not np.isin(first.random(1000), numbers).any(), "the second thousand repeats the first"


def test_another_run_draws_the_same_numbers():
    """A generator made from the same seed in a new process draws the same numbers."""
    want = make_rng(7).random(3)
    program = "from katas.environment import make_rng; print(*make_rng(7).random(3).tolist())"
    for salt in ("1", "2"):  # of hash(), which differs between processes unless it is fixed
        env = os.environ | {"PYTHONHASHSEED": salt}
        run = subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=env, capture_output=True, text=True, check=True)
        assert_close([float(number) for number in run.stdout.split()], want)


@pytest.mark.parametrize("other", [0, 8, 7 + 2**32, 7 + 2**64], ids=["0", "8", "7 + 2³²", "7 + 2⁶⁴"])
def test_another_seed_gives_other_numbers(other):
    """Different seeds give different numbers, even if the seeds are consecutive or agree in their last 32 bits."""
    numbers, others = make_rng(7).random(1000), make_rng(other).random(1000)
    assert not np.isin(others, numbers).any(), f"seeds 7 and {other} share {np.isin(others, numbers).sum()} of 1000 numbers"


def test_integers_of_numpy_are_seeds():
    """A NumPy integer, such as an element of an array, is a valid seed."""
    assert_close(make_rng(np.int64(7)).random(5), make_rng(7).random(5))


def test_a_generator_has_independent_children():
    """make_rng(seed).spawn(n) gives each worker a generator with different numbers, and the same ones in the next run."""
    first, second = (child.random(1000) for child in make_rng(7).spawn(2))
    assert not np.isin(first, second).any()
    assert_close(make_rng(7).spawn(2)[1].random(1000), second)


def test_no_global_state_is_touched():
    """make_rng() neither seeds nor draws from NumPy's global generator or Python's."""
    states = []
    for seed in (7, 8):
        make_rng(seed).random(10)
        states.append((np.random.get_state()[1].tolist(), np.random.get_state()[2], random.getstate()))  # noqa: NPY002
    (keys, position, python), (keys_after, position_after, python_after) = states
    assert keys == keys_after, "np.random's global state has changed"
    assert position == position_after, "np.random's global state has moved on"
    assert python == python_after, "random's global state has changed"


@pytest.mark.parametrize("seed", [None, True, 1.0, np.float64(1), "7", [1, 2]], ids=repr)
def test_what_is_not_an_integer_is_refused(seed):
    """A seed that is not an integer, such as None or a bool, raises a TypeError whose message contains it."""
    with rejects(TypeError, repr(seed)):
        make_rng(seed)


def test_a_negative_seed_is_refused():
    """A negative seed raises a ValueError whose message contains it."""
    with rejects(ValueError, "-1"):
        make_rng(-1)


@pytest.mark.parametrize("seed", [np.True_, np.False_, np.array(3), np.array([3]), 3.0, np.float64(3), "3"], ids=repr)
def test_only_an_integer_is_a_seed(seed):
    """NumPy's booleans, arrays, floats and strings are not seeds: they raise a TypeError whose message contains them."""
    with rejects(TypeError, repr(seed)):
        make_rng(seed)


def test_a_seed_of_zero_is_a_seed():
    """make_rng(0) draws the same numbers each time: 0 does not stand for "no seed"."""
    assert make_rng(0).integers(2**63) == make_rng(0).integers(2**63)
    assert make_rng(np.int64(0)).integers(2**63) == make_rng(0).integers(2**63)
