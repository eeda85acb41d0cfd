import gc
import weakref

import katas.autograd  # noqa: F401 - which installs the recorder
import numpy as np
import pytest
from katas.tensor import Tensor, concatenate, maximum, where

from specs.check import assert_close, layouts, rejects, undisturbed

EXPRESSIONS = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "div": lambda a, b: a / b,
    "neg": lambda a, b: -a,
    "pow": lambda a, b: a**2,
    "exp": lambda a, b: a.exp(),
    "log": lambda a, b: a.log(),
    "sqrt": lambda a, b: a.sqrt(),
    "tanh": lambda a, b: a.tanh(),
    "maximum": lambda a, b: maximum(a, b),
    "where": lambda a, b: where(np.array([True, False]), a, b),
    "sum": lambda a, b: a.sum(0),
    "max": lambda a, b: a.max(0, keepdim=True),
    "reshape": lambda a, b: a.reshape(4),
    "permute": lambda a, b: a.permute(1, 0),
    "getitem": lambda a, b: a[0],
    "concatenate": lambda a, b: concatenate([a, b], 1),
    "matmul": lambda a, b: a @ b,
}


def pair() -> tuple[Tensor, Tensor]:
    """Two tensors that require a gradient."""
    return Tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True), Tensor([[5.0, 6.0], [7.0, 8.0]], requires_grad=True)


@pytest.mark.parametrize("op", EXPRESSIONS)
def test_a_result_knows_its_operation_and_its_parents(op):
    """result.node has the operation's name and the operands themselves, in order."""
    a, b = pair()
    node = EXPRESSIONS[op](a, b).node
    assert node.op == op
    assert node.parents[0] is a
    assert len(node.parents) == 1 or node.parents[1] is b


def test_a_result_knows_its_attributes():
    """result.node.attrs are the operation's attributes under the names of 02.7: a rule takes them by name."""
    a, b = pair()
    assert (a**3).node.attrs == {"exponent": 3}
    assert concatenate([a, b], 1).node.attrs == {"dim": 1}
    assert (a @ b).node.attrs == {}
    assert Tensor._result("mine", a.data, a, key="value", other=2).node.attrs == {"key": "value", "other": 2}


@pytest.mark.parametrize("op", EXPRESSIONS)
def test_the_node_holds_the_arrays_of_the_result_and_of_the_operands(op):
    """node.arrays are the data of the result, then of each operand: a rule takes them after g. Nothing is copied."""
    result = EXPRESSIONS[op](*pair())
    want = [result, *result.node.parents]
    assert len(result.node.arrays) == len(want)
    assert all(array is tensor.data for array, tensor in zip(result.node.arrays, want, strict=True))


VALUES = {
    "infinities and NaN": np.array([[np.inf, np.nan], [1.0, -np.inf]]),
    "no values": np.zeros((2, 0)),
    "axes of length 1": np.ones((1, 1)),
    **{f"values that lie {order}": laid for order, laid in layouts([[1.0, 2.0], [3.0, 4.0]]).items()},
}


@pytest.mark.parametrize("values", VALUES.values(), ids=VALUES)
def test_the_node_holds_the_arrays_themselves(values):
    """A node holds the tensors' arrays themselves, whatever their values: they are not cleaned up, copied or reshaped."""
    before, x = values.copy(), Tensor(values, requires_grad=True)
    with undisturbed():
        y = x * 1.0
    assert y.node.arrays[1] is x.data is values
    assert y.node.arrays[0] is y.data
    assert_close(values, before)


def test_a_refusal_leaves_the_operands_alone():
    """The error for an integer that requires a gradient leaves the values unchanged."""
    values = np.array([2, 3])
    with rejects(TypeError):
        Tensor(values, requires_grad=True) * 2
    assert_close(values, np.array([2, 3]))


def test_the_arrays_are_those_of_the_moment():
    """Assigning a new array to `data` after recording, as loading a parameter may, does not change the node's arrays."""
    a, b = pair()
    old = a.data
    product = a * b
    a.data = np.zeros((2, 2), np.float32)
    assert product.node.arrays[1] is old


def test_one_operand_that_requires_a_gradient_is_enough():
    """If one operand requires a gradient, so does the result. It is recorded with all operands, scalars and arrays too."""
    a, b = pair()[0], Tensor([[1.0, 1.0]])
    assert (b * a).node.parents[0] is b
    assert_close((3.0 / a).node.parents[0], np.float32(3))
    assert (a * b).requires_grad


def test_what_requires_no_gradient_is_not_recorded():
    """If no operand requires a gradient, nothing is recorded: the operands live no longer than without a recorder."""
    a, b = Tensor([1.0, 2.0]), Tensor([3.0, 4.0])
    product = a * b
    required = Tensor([1.0], requires_grad=True) * 2  # this one is
    assert required.node.op == "mul"
    assert not product.requires_grad
    assert getattr(product, "node", None) is None


def test_a_leaf_has_no_node():
    """A tensor that was not computed has no node, whether it requires a gradient or not: so backward recognizes a leaf."""
    a, b = pair()
    assert (a * b).node.op == "mul"
    assert getattr(a, "node", None) is None
    assert getattr(Tensor(a * b, requires_grad=True), "node", None) is None


def test_a_composed_operation_is_its_primitives():
    """A composed operation is recorded as its primitives: a mean is a sum and a quotient, and needs no rule of its own."""
    a, _ = pair()
    ops, tensor = [], a.mean()
    while tensor is not a:
        ops.append(tensor.node.op)
        tensor = tensor.node.parents[0]
    assert set(ops) <= {"sum", "div", "mul"}
    assert "sum" in ops


@pytest.mark.parametrize(("data", "dtype"), [([2, 3], "int64"), ([True, False], "bool")])
def test_only_floats_have_gradients(data, dtype):
    """An integer result that would require a gradient raises a TypeError that contains the operation's name and the dtype."""
    with rejects(TypeError, "reshape", dtype):
        Tensor(data, requires_grad=True).reshape(2, 1)


def test_integers_that_require_no_gradient_are_no_error():
    """Integers that require no gradient can be computed as usual, such as indices and labels, and can index a float."""
    a, _ = pair()
    rows = Tensor([2, 0]) - 1
    assert getattr(rows, "node", None) is None
    assert (a * rows).node.op == "mul"


def test_what_is_dropped_is_freed_at_once():
    """When the last reference to a result is dropped, its graph is freed at once, without the garbage collector: no node refers
    to its own result, and there is no list of all nodes.
    """
    a, b = pair()
    product = a * b
    last = (product + b).exp().sum()
    assert last.node.op == "sum"
    gone = [weakref.ref(product), weakref.ref(product.data)]
    gc.disable()
    try:
        del product, last
        assert [ref() for ref in gone] == [None, None]
    finally:
        gc.enable()


def test_a_long_record_that_is_dropped_is_no_danger():
    """Dropping the end of a chain of 100,000 operations without a backward must not crash Python."""
    x = Tensor([1.0], requires_grad=True)
    y = x
    for _ in range(100_000):
        y = y + x
    assert y.node.op == "add"
    del y


def test_recording_copies_nothing(budget):
    """Recording ten views of 1 MB copies nothing: a node holds arrays that exist anyway."""
    a = Tensor(np.ones((250, 1000), np.float32), requires_grad=True)

    def views():
        x = a
        for _ in range(5):
            x = x.reshape(1000, 250).reshape(250, 1000)
        return x.node.op

    budget.bytes(views, peak=100_000)
