import sys

import numpy as np
import pytest
from katas.environment import UnsupportedEnvironment, check_environment

from specs.check import rejects, undisturbed


def test_this_machine_will_do():
    """check_environment() returns nothing where the katas can run. If this is red, the message says what to install."""
    assert check_environment() is None


@pytest.mark.parametrize("version", [(2, 7), (3, 9), (3, 10, 14)], ids=str)
def test_an_old_python_is_refused(version):
    """Python older than 3.11 is a problem. Versions are compared number by number: 3.9 is older than 3.11."""
    with rejects(UnsupportedEnvironment, f"Python {version[0]}.{version[1]}", "3.11"):
        check_environment(python=version)


@pytest.mark.parametrize("version", [(3, 11), (3, 11, 0, "candidate", 1), (3, 20, 1), (4, 0), sys.version_info], ids=str)
def test_a_new_python_will_do(version):
    """Python 3.11 and every later version is new enough, 4.0 included."""
    assert check_environment(python=version) is None


@pytest.mark.parametrize("version", ["1.26.4", "1.9.0", "0.20.1"])
def test_an_old_numpy_is_refused(version):
    """NumPy older than 2.0 is a problem."""
    with rejects(UnsupportedEnvironment, f"NumPy {version}", "2.0"):
        check_environment(numpy=version)


@pytest.mark.parametrize("version", ["2.0.0", "2.0.2", "2.10.1", "2.1.0rc1", "2.4.0.dev0+git20250920.7a3b", "10.0.0"])
def test_a_new_numpy_will_do(version):
    """NumPy 2.0 and every later version is new enough, 10.0.0 included, although the string "10" sorts before "2"."""
    assert check_environment(numpy=version) is None


def test_a_32_bit_program_is_refused():
    """A 32-bit Python is a problem: arrays of more than 2 GB need 64-bit pointers."""
    with rejects(UnsupportedEnvironment, "32", "64"):
        check_environment(bits=32)


def all_zero(a, b):
    return np.zeros_like(a @ b)


def not_a_number(a, b):
    return np.full_like(a @ b, np.nan)


def last_element_off(a, b):
    product = a @ b
    product.flat[-1] += 1
    return product


def swapped(a, b):
    return b @ a


def wrong_in_float32(a, b):
    return a @ b if a.dtype == np.float64 else a @ b + 1


def transposed(a, b):
    return a.T @ b


@pytest.mark.parametrize("matmul", [all_zero, not_a_number, last_element_off, swapped, wrong_in_float32, transposed])
def test_a_wrong_matrix_product_is_refused(matmul):
    """The product of two different small float32 matrices is compared with the same sums computed without matmul. One wrong
    element is a problem, and so are NaN and a @ b with the operands swapped.
    """
    with rejects(UnsupportedEnvironment, "matmul"):
        check_environment(matmul=matmul)


def test_all_problems_are_listed_at_once():
    """check_environment() lists every problem in one error, so you don't fix one only to find the next."""
    with rejects(UnsupportedEnvironment, "3.10", "3.11", "1.26.4", "2.0", "32", "64", "matmul"):
        check_environment(python=(3, 10), numpy="1.26.4", bits=32, matmul=all_zero)
    with rejects(UnsupportedEnvironment, "1.26.4", "matmul"):
        check_environment(numpy="1.26.4", matmul=not_a_number)


def stretched(a, b):
    return (a @ b)[None]


def wrong_in_floats(a, b):
    return a @ b + (a.dtype.kind == "f")


@pytest.mark.parametrize("matmul", [stretched, wrong_in_floats])
def test_shape_and_dtype_of_the_product_count(matmul):
    """A product with an axis too many is wrong, and the matrices are floats: one that is wrong for floats alone is found."""
    with rejects(UnsupportedEnvironment, "matmul"):
        check_environment(matmul=matmul)


def test_the_check_touches_no_global_state():
    """NumPy's global generator is where it was."""
    with undisturbed():
        check_environment()
