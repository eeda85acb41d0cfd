"""What specs assert with: `assert_close`, `assert_gradient` and `rejects`. None of it uses the learner's code."""

import threading
from collections.abc import Callable, Iterable
from contextlib import contextmanager
from fractions import Fraction
from typing import NamedTuple

import numpy as np


class Tolerance(NamedTuple):
    """How far two results may differ, relative to the expected value and to the largest one beside it."""

    name: str
    relative: float


EXACT = Tolerance("exact", 0.0)  # integers, booleans, copies: nothing is rounded
FLOAT64 = Tolerance("float64", 1e-10)  # some hundred roundings of 1e-16, in any order of summation
GRADIENT = Tolerance("gradient", 1e-6)  # central differences: truncation 1e-10, cancellation 1e-9
FLOAT32 = Tolerance("float32", 2e-5)  # some hundred roundings of 6e-8


class Mismatch(AssertionError):
    """A result that is not what was expected. The message is the whole story: expected, got, where, what it looks like."""


def array(value) -> np.ndarray:
    """The NumPy array in a Tensor, or the value as one."""
    return np.asarray(getattr(value, "data", value) if not isinstance(value, np.ndarray | np.generic) else value)


def assert_close(got, want, tolerance: Tolerance | None = None, mistakes: dict | None = None, name: str = "") -> None:
    """Raises Mismatch unless `got` (a Tensor or an array) has the shape and the values of `want`.

    The tolerance follows from got's dtype unless given. `mistakes` maps the description of a plausible mistake to what it
    would have given; `name` says which of several results this is.
    """
    if isinstance(got, type(NotImplemented)) or got is None:
        raise Mismatch(_story(name, f"expected an array, got {got}", None))
    got, want = array(got), array(want)
    tolerance = tolerance or _tolerance(got.dtype)
    if got.dtype == object:
        raise Mismatch(_story(name, f"expected numbers, got {got!r}", None))
    if got.shape != want.shape:
        facts = f"expected shape {want.shape}, got shape {got.shape}"
        raise Mismatch(_story(name, facts, _named(got, tolerance, mistakes) or _about_shape(got, want, tolerance)))
    wrong = ~_close(got, want, tolerance)
    if wrong.any():
        raise Mismatch(_story(name, _difference(got, want, wrong), _diagnosis(got, want, tolerance, mistakes)))


_SECONDS = 8  # for two threads to come to an end


def assert_reentrant(call: Callable[[int], Iterable], times: int = 30) -> None:
    """Raises unless two threads at once, one with call(1) and one with call(2), get the arrays that each gets alone."""
    wants = {number: [array(result).copy() for result in call(number)] for number in (1, 2)}
    together, errors = threading.Barrier(2), []

    def work(number: int) -> None:
        try:
            together.wait(5)
            for _ in range(times):
                for got, want in zip(call(number), wants[number], strict=True):
                    assert_close(got, want, name="of two threads at once")
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,), daemon=True) for number in wants]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(_SECONDS)
    if errors:
        raise errors[0]
    if any(thread.is_alive() for thread in threads):
        raise Mismatch("two threads that call it at once do not come to an end")


def assert_dtype(got, dtype) -> None:
    """Raises Mismatch unless `got` (a Tensor or an array) has exactly this dtype."""
    if got is None:
        raise Mismatch(f"expected an array of dtype {np.dtype(dtype)}, got None")
    found = array(got).dtype
    if found != dtype:
        promoted = np.dtype(dtype).kind == found.kind == "f" and found.itemsize > np.dtype(dtype).itemsize
        raise Mismatch(
            _story(
                "",
                f"expected dtype {np.dtype(dtype)}, got {found}",
                "a silent promotion" if promoted else None,
            )
        )


def assert_gradient(got, function: Callable, x: np.ndarray, cotangent: np.ndarray, mistakes=None, name: str = "") -> None:
    """Raises Mismatch unless `got` is the gradient of ⟨cotangent, function(x)⟩ by central differences in float64.

    `function` is an oracle: arrays in, arrays out. The cotangent is random, since that of a plain sum hides whole terms.
    """
    x = np.array(x, dtype=np.float64)
    want, step = np.empty_like(x), 1e-5
    for index in np.ndindex(x.shape):
        above, below = x.copy(), x.copy()
        above[index] += step
        below[index] -= step
        want[index] = np.vdot(cotangent, (function(above) - function(below)) / (2 * step))
    assert_close(got, want, GRADIENT, mistakes, name)


@contextmanager
def rejects(error: type[Exception], *names: str):
    """The block must raise `error`, with a message that names each of `names` (white space aside)."""
    wanted = f"expected a {error.__name__}" + (f" that names {' and '.join(names)}" if names else "")
    try:
        yield
    except NotImplementedError:  # a stub, which is a RuntimeError too
        raise
    except error as raised:
        missing = [name for name in names if _squeezed(name) not in _squeezed(str(raised))]
        if missing:
            raise Mismatch(f"{wanted}\ngot {type(raised).__name__}: {raised}\nLooks like: {missing[0]} is not named.") from None
        return
    except Exception as raised:
        raise Mismatch(f"{wanted}\ngot {type(raised).__name__}: {raised}\nLooks like: another error came first.") from raised
    raise Mismatch(f"{wanted}\ngot no error at all\nLooks like: bad input is let through.")


def _squeezed(text: str) -> str:
    return "".join(text.split())


def _tolerance(dtype: np.dtype) -> Tolerance:
    if dtype.kind != "f":
        return EXACT
    return FLOAT64 if dtype.itemsize == 8 else FLOAT32


def _close(got: np.ndarray, want: np.ndarray, tolerance: Tolerance) -> np.ndarray:
    if tolerance is EXACT or (want.dtype.kind not in "f" and got.dtype.kind not in "f"):
        return got == want
    wide = want.astype(np.float64)
    finite = np.abs(wide[np.isfinite(wide)])
    scale = finite.max(initial=0.0) or 1.0
    with np.errstate(invalid="ignore"):
        near = np.abs(got.astype(np.float64) - wide) <= tolerance.relative * (np.abs(wide) + scale)
    return np.where(np.isfinite(wide), near, (got == want) | (np.isnan(wide) & np.isnan(got.astype(np.float64))))


def _same(got: np.ndarray, want, tolerance: Tolerance) -> bool:
    want = array(want)
    return got.shape == want.shape and bool(_close(got, want, tolerance).all())


def _story(name: str, facts: str, diagnosis: str | None) -> str:
    lines = [f"{name}: {facts}" if name else facts]
    return "\n".join(lines + ([f"Looks like: {diagnosis}{'' if diagnosis.endswith(('?', '.')) else '.'}"] if diagnosis else []))


def _difference(got: np.ndarray, want: np.ndarray, wrong: np.ndarray) -> str:
    index = tuple(int(i) for i in np.argwhere(wrong)[0])
    if want.size <= 6:
        shown, found = _apart(_short, want, got)
        facts = [f"expected {shown}", f"got {found}", *([f"first differing index {index}"] if want.ndim else [])]
        return ("   " if sum(map(len, facts)) < 90 else "\n").join(facts)
    shown, found = _apart(lambda value, digits: f"{value:.{min(digits + 2, 17)}g}", want[index], got[index])
    return f"expected {shown} at {index}, got {found}   ({wrong.sum()} of {wrong.size} values differ; shape {want.shape})"


def _apart(shown: Callable, want, got) -> tuple[str, str]:
    """Both as text, with as many digits as it takes to tell one from the other."""
    for digits in (6, 9, 17):
        texts = shown(want, digits), shown(got, digits)
        if texts[0] != texts[1]:
            break
    return texts


def _short(values: np.ndarray, digits: int) -> str:
    return np.array2string(values, precision=digits, separator=", ").replace("\n", "")


def _named(got: np.ndarray, tolerance: Tolerance, mistakes: dict | None) -> str | None:
    return next((said for said, result in (mistakes or {}).items() if _same(got, result, tolerance)), None)


def _about_shape(got: np.ndarray, want: np.ndarray, tolerance: Tolerance) -> str | None:
    if got.ndim >= 2 and sorted(got.shape) == sorted(want.shape):
        transposed = got.ndim == 2 and _same(got.T, want, tolerance)
        return "transposed" if transposed else "the axes are in another order"
    if got.size == want.size:
        return "the right number of values in the wrong shape: an axis of length 1 too many or too few?"
    return None


def _diagnosis(got: np.ndarray, want: np.ndarray, tolerance: Tolerance, mistakes: dict | None) -> str | None:
    """The first that fits of: the spec's own mistakes, NaN, zeros, sign, transposed, a constant factor."""
    if said := _named(got, tolerance, mistakes):
        return said
    if got.dtype.kind not in "f" or want.dtype.kind not in "fiu":
        return None
    unexpected = ~np.isfinite(got) & np.isfinite(want)
    if unexpected.any():
        index = tuple(int(i) for i in np.argwhere(unexpected)[0])
        return f"{got[index]} first appears at {index}: an overflow, a division by zero or the logarithm of one"
    if not got.any():
        return "all zeros: was the result never written?"
    if _same(-got, want, tolerance):
        return "the sign is wrong"
    if got.ndim >= 2 and got.shape[-1] == got.shape[-2] and _same(np.swapaxes(got, -1, -2), want, tolerance):
        return "transposed"
    return _constant_factor(got, want, tolerance)


def _constant_factor(got: np.ndarray, want: np.ndarray, tolerance: Tolerance) -> str | None:
    if want.size < 2 or not np.isfinite(want).all():
        return None
    factor = float(np.vdot(want, got) / np.vdot(want, want))
    if factor == 0 or not _same(got / factor, want, tolerance):
        return None
    exact = Fraction(factor).limit_denominator(64)
    if exact == 1:  # a rounding error
        return None
    if abs(float(exact) - factor) > tolerance.relative * abs(factor):
        return f"off by a constant factor of {factor:.6g}"
    hint = ": mean instead of sum?" if exact.numerator == 1 else ": sum instead of mean?" if exact.denominator == 1 else ""
    return f"off by a constant factor of exactly {exact}{hint}"
