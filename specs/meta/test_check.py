"""What specs assert with, on known answers: right results pass, wrong ones fail, and the diagnosis is the right one."""

import threading
import time

import numpy as np
import pytest

from specs.check import (
    EXACT,
    FLOAT32,
    FLOAT64,
    GRADIENT,
    Mismatch,
    assert_close,
    assert_dtype,
    assert_gradient,
    assert_reentrant,
    asserts,
    rejects,
)

X = np.random.RandomState(0).standard_normal((3, 4))
S = X[:, :3]


def said(check, *arguments, **options) -> str:
    """The message of a check that must fail."""
    with pytest.raises(Mismatch) as caught:
        check(*arguments, **options)
    return str(caught.value)


@pytest.mark.parametrize(
    ("got", "want", "diagnosis"),
    [
        (X.T, X, "transposed"),
        (S.T, S, "transposed"),
        (np.zeros((4, 2, 3)), np.zeros((2, 3, 4)), "the axes are in another order"),
        (X[:, None], X, "the right number of values in the wrong shape: an axis of length 1 too many or too few?"),
        (-X, X, "the sign is wrong"),
        (X / 8, X, "off by a constant factor of exactly 1/8: mean instead of sum?"),
        (X * 12, X, "off by a constant factor of exactly 12: sum instead of mean?"),
        (X * 2 / 3, X, "off by a constant factor of exactly 2/3"),
        (X * np.pi, X, "off by a constant factor of 3.14159"),
        (X * 0, X, "all zeros: was the result never written?"),
        (np.where(np.arange(12).reshape(3, 4) == 6, np.nan, X), X, "nan first appears at (1, 2): an overflow"),
        (np.where(np.arange(12).reshape(3, 4) == 6, np.inf, X), X, "inf first appears at (1, 2): an overflow"),
        (X + 1, X, "one too many"),
        (X[0], X, "a row is missing"),
    ],
)
def test_a_wrong_result_gets_its_diagnosis(got, want, diagnosis):
    message = said(assert_close, got, want, mistakes={"one too many": X + 1, "a row is missing": X[0]})
    assert f"Looks like: {diagnosis}" in message


def test_a_result_wrong_in_no_known_way_gets_no_diagnosis():
    message = said(assert_close, X + S[:, :1], X, name="y")
    assert message.startswith(f"y: expected {X[0, 0]:.8g} at (0, 0), got {2 * X[0, 0]:.8g}   (12 of 12 values differ")
    assert "Looks like" not in message


@pytest.mark.parametrize(
    ("size", "text"), [(1, "expected [-0.5]   got [-0.5000000000005]"), (9, "expected -0.5 at (0,), got -0.50000000000050004 ")]
)
def test_values_that_differ_look_different(size, text):
    """There are as many digits as it takes: "expected -0.5, got -0.5" would say nothing."""
    want = np.full(size, -0.5)
    message = said(assert_close, want * (1 + 1e-12), want, EXACT)
    assert message.startswith(text)
    assert "factor" not in message


def test_few_values_are_shown_in_full():
    message = said(assert_close, np.array([1.0, 2.5]), [1.0, 2.0])
    assert message == "expected [1., 2.]   got [1. , 2.5]   first differing index (1,)"
    assert said(assert_close, np.float64(2), 3.0).startswith("expected 3.   got 2.")


@pytest.mark.parametrize("tolerance", [EXACT, FLOAT64, GRADIENT, FLOAT32, None], ids=str)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_relative_error_of_a_thousandth_fails_at_every_level(tolerance, dtype):
    said(assert_close, (X * 1.001).astype(dtype), X.astype(dtype), tolerance)
    wrong = X.astype(dtype)
    wrong[np.unravel_index(np.abs(X).argmax(), X.shape)] *= 0.999
    said(assert_close, wrong, X.astype(dtype), tolerance)


def test_rounding_passes():
    """Sums in another order, in float32 and float64; finite differences; huge and tiny values."""
    values = np.random.RandomState(1).uniform(0.5, 1.5, (300, 50)).astype(np.float32)
    total = np.zeros(50, np.float32)
    for row in values:
        total += row
    assert_close(total, values.astype(np.float64).sum(0))
    assert_close(X @ X.T, sum(np.outer(column, column) for column in X.T))
    for scale in (1e-30, 1e30):
        assert_close((X * scale).astype(np.float32), X * scale)
        said(assert_close, (X * scale * 1.001).astype(np.float32), X * scale)


def test_integers_and_booleans_are_exact():
    assert_close(np.array([1, 2**60 + 1]), np.array([1, 2**60 + 1]))
    said(assert_close, np.array([2**60]), np.array([2**60 + 1]))
    said(assert_close, np.array([True, False]), np.array([True, True]))
    said(assert_close, X + 1e-16, X + 1, EXACT)
    said(assert_close, np.nextafter(X, 9), X, EXACT)


@pytest.mark.parametrize("special", [np.nan, np.inf, -np.inf])
def test_special_values_are_equal_to_themselves_only(special):
    want = np.array([1.0, special])
    assert_close(want.copy(), want)
    assert_close(want.astype(np.float32), want)
    for other in {np.nan, np.inf, -np.inf, 0.0} - {special}:
        if not (np.isnan(other) and np.isnan(special)):
            said(assert_close, np.array([1.0, other]), want)


def test_empty_and_scalar_results_have_shapes_too():
    assert_close(np.zeros((0, 3)), np.zeros((0, 3)))
    said(assert_close, np.zeros((0, 3)), np.zeros((3, 0)))
    assert_close(np.float32(2.5), 2.5)
    assert_close(np.array(7), 7)
    said(assert_close, np.array([2.5]), 2.5)


@pytest.mark.parametrize("got", [None, NotImplemented, "text", [1, None], object()])
def test_what_is_no_number_fails(got):
    said(assert_close, got, X)


def test_a_dtype_is_exactly_so():
    assert_dtype(np.float32(1), np.float32)
    assert said(assert_dtype, X, np.float32).endswith("got float64\nLooks like: a silent promotion.")
    assert said(assert_dtype, X > 0, np.int64) == "expected dtype int64, got bool"


def test_gradients_are_checked_by_finite_differences():
    w = np.random.RandomState(2).standard_normal((3, 4))
    assert_gradient(w * np.cos(X), np.sin, X, w)
    assert_gradient(2 * w.sum() * X, lambda x: np.full((3, 4), (x * x).sum()), X, w)
    said(assert_gradient, w * np.cos(X) * 1.001, np.sin, X, w)
    message = said(assert_gradient, np.cos(X), np.sin, X, w, mistakes={"the cotangent is ignored": np.cos(X)}, name="x")
    assert message.startswith("x: ")
    assert message.endswith("Looks like: the cotangent is ignored.")


@pytest.mark.parametrize(
    ("raised", "says"),
    [
        (ValueError("shape (2,3)"), "(4, 5) is not named"),
        (
            TypeError("shapes (2, 3) and (4, 5)"),
            "got TypeError: shapes (2, 3) and (4, 5)\nLooks like: another error came first",
        ),
    ],
)
def test_what_is_not_rejected_rightly_fails(raised, says):
    with pytest.raises(Mismatch) as caught, rejects(ValueError, "(2, 3)", "(4, 5)"):
        raise raised
    assert str(caught.value).startswith("expected a ValueError that names (2, 3) and (4, 5)\n")
    assert says in str(caught.value)


def test_what_is_not_rejected_at_all_fails():
    says = "expected a ValueError\ngot no error at all\nLooks like: bad input is let through"
    with pytest.raises(Mismatch, match=says), rejects(ValueError):
        pass


def test_what_is_rejected_rightly_passes():
    with rejects(LookupError, "(2, 3)", "key"):
        raise KeyError("no key for (2,  3)")


@pytest.mark.parametrize("error", [RuntimeError, NotImplementedError, Exception, ValueError])
def test_a_stub_is_no_rejection(error):
    with pytest.raises(NotImplementedError, match=r"07\.1"), rejects(error):
        raise NotImplementedError("07.1 f: README.md, 07.1")


def test_two_threads_with_results_of_their_own_pass():
    assert_reentrant(lambda number: [number * X, X + number])


def test_two_threads_with_one_scratch_array_fail():
    scratch = np.empty_like(X)

    def call(number):
        np.multiply(X, number, out=scratch)
        time.sleep(0.001)  # the other one writes
        return [scratch]

    assert "of two threads at once" in said(assert_reentrant, call)


def test_an_error_in_a_thread_is_raised():
    """A thread that dies has compared nothing."""
    main = threading.get_ident()

    def call(number):
        if threading.get_ident() != main:
            raise KeyError("lost")
        return [X]

    with pytest.raises(KeyError, match="lost"):
        assert_reentrant(call)


def test_threads_that_wait_for_each_other_fail(monkeypatch):
    main, ended = threading.get_ident(), threading.Event()
    monkeypatch.setattr(asserts, "_SECONDS", 0.1)

    def call(number):
        if threading.get_ident() != main:
            ended.wait()
        return [X]

    assert "do not come to an end" in said(assert_reentrant, call)
    ended.set()
