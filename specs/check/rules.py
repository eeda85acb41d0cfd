"""What specs of differentiation rules use: calls a rule as backward does, and checks it by central differences."""

import numpy as np

from specs.check.asserts import assert_gradient
from specs.check.draw import frozen
from specs.check.probe import PRIMITIVES


def derived(op: str, argnum: int, g: np.ndarray, *operands: np.ndarray, **attrs) -> np.ndarray:
    """What the rule of a primitive gives for one of its operands, g being the gradient of its result."""
    from katas.autograd import vjp

    return vjp(op, argnum)(g, frozen(PRIMITIVES[op](*operands, **attrs)), *operands, **attrs)


def assert_rule(op: str, argnum: int, g: np.ndarray, *operands: np.ndarray, mistakes: dict | None = None, **attrs) -> None:
    """Raises Mismatch unless the rule gives the gradient of ⟨g, op(*operands)⟩ by operand argnum."""

    def result(x):
        return PRIMITIVES[op](*operands[:argnum], x, *operands[argnum + 1 :], **attrs)

    got = derived(op, argnum, g, *operands, **attrs)
    assert_gradient(got, result, operands[argnum], g, mistakes, f"{op}, parent {argnum}")
