import re

import numpy as np
import pytest
from katas.autograd import graph
from katas.tensor import Tensor

from specs.check import Mismatch, assert_close, undisturbed

NODE = re.compile(r"^\s*(\w+)\s*\[(.*)\]\s*;?\s*$", re.MULTILINE)
EDGE = re.compile(r"^\s*(\w+)\s*->\s*(\w+)\s*(?:\[.*\])?;?\s*$", re.MULTILINE)


class Drawing:
    """Graphviz text, parsed: boxes and ellipses by their labels, and the arrows between them."""

    def __init__(self, text: str):
        if not re.fullmatch(r"\s*digraph\b[^{]*\{.*\}\s*", text, re.DOTALL):
            raise Mismatch(f"expected Graphviz text, digraph {{ … }}\ngot {text[:200]!r}")
        self.attributes = {name: attributes for name, attributes in NODE.findall(text) if name not in ("node", "edge", "graph")}
        self.label = {name: re.search(r'label\s*=\s*"([^"]*)"', text)[1] for name, text in self.attributes.items()}
        self.names = EDGE.findall(text)
        self.arrows = sorted((self.label[start], self.label[end]) for start, end in self.names)

    def kinds(self, kind: str) -> list[str]:
        """The labels of all boxes, or of everything else."""
        boxes = {name for name, attributes in self.attributes.items() if re.search(r"shape\s*=\s*\"?box", attributes)}
        return sorted(label for name, label in self.label.items() if (name in boxes) == (kind == "box"))

    def bold(self) -> list[str]:
        """The labels of the bold boxes."""
        bold = [name for name, attributes in self.attributes.items() if re.search(r"style\s*=\s*\"?bold", attributes)]
        return sorted(self.label[name] for name in bold)


def product() -> tuple[Tensor, Tensor, Tensor]:
    x, w = Tensor(np.ones((5, 2))), Tensor(np.ones((2, 3)), requires_grad=True)
    return x, w, (x @ w).tanh()


def test_tensors_are_boxes_with_their_shapes_and_operations_are_ellipses():
    """Tensors are boxes with their shapes, operations are ellipses: tanh(x @ w) has four boxes and two ellipses."""
    drawing = Drawing(graph(product()[2]))
    assert drawing.kinds("box") == ["(2, 3)", "(5, 2)", "(5, 3)", "(5, 3)"]
    assert drawing.kinds("ellipse") == ["matmul", "tanh"]


def test_arrows_lead_from_operands_to_operations_to_results():
    """Arrows lead from operands to their operation, and from the operation to its result."""
    drawing = Drawing(graph(product()[2]))
    want = [("(2, 3)", "matmul"), ("(5, 2)", "matmul"), ("(5, 3)", "tanh"), ("matmul", "(5, 3)"), ("tanh", "(5, 3)")]
    assert drawing.arrows == want


def test_a_named_tensor_shows_its_name_before_its_shape():
    """graph(y, x=x, w=w) puts a tensor's name before its shape, for leaves and results. Others show only their shape."""
    x, w, y = product()
    assert Drawing(graph(y, x=x, w=w, y=y)).kinds("box") == ["(5, 3)", "w (2, 3)", "x (5, 2)", "y (5, 3)"]


def test_equal_tensors_are_not_the_same():
    """Names and boxes belong to the tensor itself: another tensor with equal values has its own box."""
    a, b = Tensor(np.ones(3), requires_grad=True), Tensor(np.ones(3), requires_grad=True)
    assert Drawing(graph(a * b, b=b)).kinds("box") == ["(3,)", "(3,)", "b (3,)"]


def test_leaves_that_require_a_gradient_are_bold():
    """Only the leaves that backward() gives a grad to are bold."""
    x, w, y = product()
    assert Drawing(graph(y, x=x, w=w, y=y)).bold() == ["w (2, 3)"]


def test_a_tensor_of_several_uses_is_one_box():
    """A tensor that is used several times is one box: x · x has two arrows from x, and (x · x) + x has three."""
    x = Tensor(np.ones(4), requires_grad=True)
    drawing = Drawing(graph(x * x + x, x=x))
    assert drawing.kinds("box") == ["(4,)", "(4,)", "x (4,)"]
    assert [end for start, end in drawing.arrows if start == "x (4,)"] == ["add", "mul", "mul"]


def test_each_operation_has_an_ellipse_of_its_own():
    """Two operations with the same name are two ellipses, each with one arrow to its result."""
    x = Tensor(np.ones(4), requires_grad=True)
    drawing = Drawing(graph(x.exp().exp()))
    assert drawing.kinds("ellipse") == ["exp", "exp"]
    ellipses = {name for name, label in drawing.label.items() if label == "exp"}
    assert sorted(start for start, _ in drawing.names if start in ellipses) == sorted(ellipses)
    assert len({end for start, end in drawing.names if start in ellipses}) == 2


@pytest.mark.parametrize("requires_grad", [True, False])
def test_what_was_not_computed_is_one_box(requires_grad):
    """The graph of a leaf or a constant is a single box."""
    drawing = Drawing(graph(Tensor(np.ones((2, 1)), requires_grad), c=Tensor([1.0])))
    assert drawing.kinds("box") == ["(2, 1)"]
    assert drawing.arrows == []
    assert bool(drawing.bold()) == requires_grad


def test_a_graph_may_be_as_deep_as_a_record():
    """graph() draws five thousand operations without recursion."""
    x = Tensor(1.0, requires_grad=True)
    y = x
    for _ in range(5000):
        y = y + x
    assert len(Drawing(graph(y)).kinds("ellipse")) == 5000


def test_drawing_changes_nothing():
    """graph() changes nothing: backward() still works afterwards."""
    x, w, y = product()
    with undisturbed():
        graph(y, x=x)
    assert_close(y, np.full((5, 3), np.tanh(2.0)))
    y.sum().backward()
    assert_close(w.grad, np.full((2, 3), 5 * (1 - np.tanh(2.0) ** 2)))


@pytest.mark.parametrize("shape", [(0, 3), (1, 3)], ids=str)
def test_any_shape_can_be_drawn(shape):
    """A tensor with an axis of length 0 or 1 is a box with its shape."""
    x = Tensor(np.ones(shape), requires_grad=True)
    assert Drawing(graph(x * 2.0, x=x)).kinds("box") == ["()", str(shape), f"x {shape}"]
