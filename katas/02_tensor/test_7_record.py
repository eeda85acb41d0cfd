import inspect

import numpy as np
import pytest
from katas.tensor import Tensor, concatenate, maximum, stack, where

from specs.check import PRIMITIVES, assert_close, recording

OPERATIONS = {
    "+": lambda x, y: x + y,
    "2 -": lambda x: 2 - x,
    "-": lambda x, y: x - y,
    "*": lambda x, y: x * y,
    "/": lambda x, y: x / y,
    "1 /": lambda x: 1 / x,
    "negation": lambda x: -x,
    "**": lambda x: x**3,
    "exp": lambda x: x.exp(),
    "log": lambda x: x.log(),
    "sqrt": lambda x: x.sqrt(),
    "tanh": lambda x: x.tanh(),
    "maximum": lambda x, y: maximum(x, y),
    "where": lambda x, y: where(x.data > 1.5, x, y),
    "reshape": lambda x: x.reshape(-1, 2),
    "transpose": lambda x: x.transpose(0, 2),
    "T": lambda x: x.T,
    "permute": lambda x: x.permute(-1, 0, 1),
    "index": lambda x: x[:, [0, 2, 2], 1:],
    "index by a tensor": lambda x: x[:, Tensor([1, 1])],
    "iteration": lambda x: next(iter(x)),
    "concatenate": lambda x, y: concatenate([x, y, x], -1),
    "stack": lambda x, y: stack([x, y], 1),
    "sum": lambda x: x.sum(),
    "sum of axes": lambda x: x.sum((0, -1), keepdim=True),
    "mean": lambda x: x.mean(1),
    "max": lambda x: x.max(-1),
    "var": lambda x: x.var(0),
    "@": lambda x, y: x @ y.T,
}


def operands(operation, draw, **options) -> list[Tensor]:
    """As many operands as the operation takes, all of shape (2, 3, 4)."""
    return [Tensor(draw.uniform(1, 2, 2, 3, 4), **options) for _ in range(operation.__code__.co_argcount)]


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)
def test_every_operation_reports_what_it_did(operation, draw):
    """Each operation ends in Tensor._result, with its name, parents and attributes (table in the README). Repeated from the
    report alone, it gives the same values: automatic differentiation will know nothing else.
    """
    with recording() as probe:
        operation(*operands(operation, draw))
    assert probe, "nothing was reported: the result was not made by Tensor._result"
    for record in probe:
        assert_close(again(*record), record.result.data, name=f"{record.op} done again")


def again(op: str, result: Tensor, parents: tuple, attrs: dict) -> np.ndarray:
    """The result of an operation that is repeated from its report."""
    assert op in PRIMITIVES, f"{op!r} is not one of the primitives in the README, 02.7"
    assert all(isinstance(parent, Tensor) for parent in parents), f"{op}: every parent must be a Tensor"
    index = attrs.get("index", ())
    tensors = [part for part in (*attrs.values(), *(index if isinstance(index, tuple) else ())) if isinstance(part, Tensor)]
    assert not tensors, f"{op}: an attribute holds a Tensor where its array should be"
    try:
        call = inspect.signature(PRIMITIVES[op]).bind(*(parent.data for parent in parents), **attrs)
    except TypeError as error:
        told = f"{op} was reported with {len(parents)} parents and the attributes {sorted(attrs)}"
        raise AssertionError(f"{told}, unlike in the README, 02.7: {error}") from None
    return PRIMITIVES[op](*call.args, **call.kwargs)


@pytest.mark.parametrize(
    "indices",
    [([1, 1],), (slice(None), [1, 0]), ([0, 1], [2, 0]), (slice(None), [True, False, True])],
    ids=["one", "beside a slice", "two", "a mask"],
)
def test_a_tensor_that_is_an_index_is_reported_as_its_array(indices, draw):
    """In the attribute index, an array replaces each Tensor: the Tensor's own array, not a list or a copy."""
    index = tuple(Tensor(part) if isinstance(part, list) else part for part in indices)
    with recording() as probe:
        Tensor(draw.normal(2, 3, 4))[index if len(index) > 1 else index[0]]
    (record,) = probe
    told = record.attrs["index"]
    for part, was in zip(told if isinstance(told, tuple) else (told,), index, strict=True):
        if isinstance(was, Tensor):
            assert isinstance(part, np.ndarray), f"expected an array in the attribute index, got {part!r}"
            assert np.shares_memory(part, was.data), "the index was copied"


@pytest.mark.parametrize("wrap", [np.asarray, Tensor])
def test_the_condition_is_reported_as_a_boolean_array(wrap, draw):
    """where's attribute condition is a boolean array, even if where was given a Tensor."""
    x = Tensor(draw.normal(3, 4))
    with recording() as probe:
        where(wrap(x.data > 0), x, 0.0)
    (record,) = probe
    assert isinstance(record.attrs["condition"], np.ndarray)
    assert_close(record.attrs["condition"], x.data > 0)
    assert record.attrs["condition"].dtype == np.bool_


@pytest.mark.parametrize("other", [0, 0.5, np.float32(0.5), np.array([1.0, 2.0, 3.0, 4.0])], ids=repr)
@pytest.mark.parametrize(
    "choose", [maximum, lambda a, b: where(np.array([True, False, True, False]), a, b)], ids=["maximum", "where"]
)
def test_operands_are_reported_in_their_order(choose, other, draw):
    """The parents of maximum(a, b) and of where are a and b, in this order: at a tie, only b will receive the gradient."""
    x = Tensor(draw.normal(3, 4))
    for place, operands in enumerate([(x, other), (other, x)]):
        with recording() as probe:
            choose(*operands)
        (record,) = probe
        assert record.parents[place] is x, f"{record.op}: the operand {place} is not the parent {place}"
        assert record.parents[1 - place] is not x


@pytest.mark.parametrize("length", [0, 3])
def test_every_part_is_a_parent(length, draw):
    """concatenate reports each tensor as a parent, even one without values."""
    parts = [Tensor(draw.normal(2, 4)), Tensor(draw.normal(length, 4)), Tensor(draw.normal(1, 4))]
    with recording() as probe:
        whole = concatenate(parts)
    assert all(probe.reaches(whole, part) for part in parts), "a part is missing among the parents"


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)
def test_every_result_leads_back_to_its_operands(operation, draw):
    """From the result to each operand there is an unbroken chain of reports, so that gradients can flow back."""
    tensors = operands(operation, draw)
    with recording() as probe:
        result = operation(*tensors)
    for name, tensor in zip("xy", tensors, strict=False):
        assert probe.reaches(result, tensor), f"the chain from the result does not reach {name}"


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)
def test_requires_grad_is_passed_on(operation, draw):
    """A result requires a gradient if, and only if, one of its operands does."""
    assert operation(*operands(operation, draw, requires_grad=True)).requires_grad is True
    assert operation(*operands(operation, draw)).requires_grad is False


def test_comparisons_report_nothing(draw):
    """Comparisons report nothing: they are flat almost everywhere, so they have no gradient."""
    x = Tensor(draw.normal(2, 3), requires_grad=True)
    with recording() as probe:
        mask = x > 0
    assert not probe
    assert mask.requires_grad is False
