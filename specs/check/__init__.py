"""What a spec is written with: inputs, assertions, probes, rules and budgets. None of it uses the learner's code to judge."""

from specs.check.asgi import Exchange, Response, running
from specs.check.asserts import (
    EXACT,
    FLOAT32,
    FLOAT64,
    GRADIENT,
    Mismatch,
    Tolerance,
    array,
    assert_close,
    assert_dtype,
    assert_gradient,
    assert_reentrant,
    rejects,
)
from specs.check.budgets import Budget, best_ratio, count_steps, cpu_ratio, measure_bytes
from specs.check.draw import Draw, frozen, global_state, layouts
from specs.check.probe import PRIMITIVES, Probe, Record, recording
from specs.check.rules import assert_rule, derived
from specs.check.world import undisturbed

__all__ = [
    "EXACT",
    "FLOAT32",
    "FLOAT64",
    "GRADIENT",
    "PRIMITIVES",
    "Budget",
    "Draw",
    "Exchange",
    "Mismatch",
    "Probe",
    "Record",
    "Response",
    "Tolerance",
    "array",
    "assert_close",
    "assert_dtype",
    "assert_gradient",
    "assert_reentrant",
    "assert_rule",
    "best_ratio",
    "count_steps",
    "cpu_ratio",
    "derived",
    "frozen",
    "global_state",
    "layouts",
    "measure_bytes",
    "recording",
    "rejects",
    "running",
    "undisturbed",
]
