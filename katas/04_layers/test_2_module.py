from collections import OrderedDict, defaultdict, namedtuple

import numpy as np
import pytest
from katas.layers import Module, Parameter, Sequential
from katas.tensor import Tensor

from specs.check import assert_close, assert_dtype, rejects


class Leaf(Module):
    """Has two parameters, and attributes that aren't parameters. It doesn't call super().__init__(): no subclass has to."""

    def __init__(self, *values: float):
        self.size, self.nothing, self.table = 2, None, np.zeros(3)
        self.weight = Parameter(list(values) or [1.0, 2.0])
        self.constant, self.wish = Tensor([1.0]), Tensor([1.0], requires_grad=True)
        self.bias = Parameter([3.0])

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight + self.bias


class Tree(Module):
    """Has modules and parameters as attributes, in lists and tuples, and in nested lists."""

    def __init__(self):
        self.blocks = [Leaf(), Leaf()]
        self.scale = Parameter([1.0])
        self.head = Leaf()
        self.mixed = (Parameter([4.0]), "text", [Leaf(), [Parameter([5.0])]])
        self._hidden = Parameter([6.0])


NAMES = ["blocks.0.weight", "blocks.0.bias", "blocks.1.weight", "blocks.1.bias", "scale", "head.weight", "head.bias"]
NAMES += ["mixed.0", "mixed.2.0.weight", "mixed.2.0.bias", "mixed.2.1.0", "_hidden"]


def identical(found: list, wanted: list) -> bool:
    """Whether these are the same objects in the same order: == would compare values."""
    return isinstance(found, list) and [id(value) for value in found] == [id(value) for value in wanted]


def assert_names(found: list, wanted: list[str]) -> None:
    """The pairs have these names, in this order."""
    names = [name for name, _ in found]
    missing, unexpected = [name for name in wanted if name not in names], [name for name in names if name not in wanted]
    assert not missing, f"not found: {', '.join(missing)}"
    assert not unexpected, f"found, but should not be: {', '.join(unexpected)}"
    assert names == wanted, f"expected the order {', '.join(wanted)}; got {', '.join(names)}"


def test_the_parameters_are_the_attributes_that_are_parameters():
    """parameters() is the list of the Parameters among a module's attributes, in the order in which they were defined. Plain
    tensors, even ones that require a gradient, arrays and other attributes are not parameters.
    """
    leaf = Leaf()
    assert identical(leaf.parameters(), [leaf.weight, leaf.bias]), f"got {leaf.parameters()}"


def test_parameters_have_names():
    """named_parameters() is a list of pairs: the attribute's name and the Parameter."""
    leaf = Leaf()
    (first, weight), (second, bias) = leaf.named_parameters()
    assert (first, second) == ("weight", "bias")
    assert identical([weight, bias], [leaf.weight, leaf.bias])


def test_parameters_are_found_in_modules_lists_and_tuples():
    """A parameter's name is its path, attributes and indices joined by dots; the order is depth first, as defined. Here a
    module has the attributes blocks = [Leaf(), Leaf()], scale, head = Leaf(), mixed = (Parameter, "text", [Leaf(),
    [Parameter]]), _hidden.
    """
    assert_names(Tree().named_parameters(), NAMES)
    assert [len(parameter) for parameter in Tree().parameters()] == [2, 1, 2, 1, 1, 2, 1, 1, 2, 1, 1, 1]


def test_kinds_of_lists_tuples_and_parameters_are_searched_too():
    """The search also covers namedtuples and instances of any subclass of list, tuple, Parameter or Module."""
    tree, pair = Tree(), namedtuple("Pair", "first second")
    row, scale, leaf = (type(kind.__name__, (kind,), {}) for kind in (list, Parameter, Leaf))
    tree.pair = pair(Parameter([1.0]), row([scale([2.0]), leaf(), pair(1, Parameter([3.0]))]))
    found = ["pair.0", "pair.1.0", "pair.1.1.weight", "pair.1.1.bias", "pair.1.2.1"]
    assert_names(tree.named_parameters(), [*NAMES, *found])
    assert len(tree.modules()) == 6


def test_a_shared_parameter_is_found_once():
    """A weight that two modules share (weight tying) is one parameter, listed under its first name: an optimizer must not
    update it twice.
    """
    tree = Tree()
    tree.head.weight = tree.blocks[1].weight
    tree.alias = tree.scale
    assert_names(tree.named_parameters(), [name for name in NAMES if name != "head.weight"])


def test_a_shared_module_is_found_once():
    """A module that is used in two places has one set of parameters."""
    tree = Tree()
    tree.blocks.append(tree.blocks[0])
    tree.again = tree.head
    tree.lists = [tree.blocks, tree.mixed]
    assert_names(tree.named_parameters(), NAMES)
    assert len(tree.modules()) == 5


def test_parameters_with_equal_values_are_different_parameters():
    """Parameters are compared by identity: two biases of zeros are two parameters."""
    tree = Tree()
    tree.more = [Parameter([1.0]), Parameter([1.0])]
    assert_names(tree.named_parameters(), [*NAMES, "more.0", "more.1"])


def test_what_is_found_is_what_is_there_now():
    """A layer that is added, replaced or removed later counts at once: every call searches again."""
    tree = Tree()
    tree.parameters(), tree.modules()
    tree.blocks[:] = [tree.blocks[1]]
    tree.scale = Parameter([1.0, 2.0, 3.0])
    del tree.mixed
    tree.head.added = Parameter([1.0])
    want = ["blocks.0.weight", "blocks.0.bias", "scale", "head.weight", "head.bias", "head.added", "_hidden"]
    assert_names(tree.named_parameters(), want)
    assert len(dict(tree.named_parameters())["scale"]) == 3
    assert len(tree.modules()) == 3


def test_the_list_of_parameters_is_the_callers():
    """Every call returns a new list: emptying it removes no parameter from the module."""
    leaf = Leaf()
    leaf.parameters().clear()
    leaf.named_parameters().clear()
    leaf.modules().clear()
    assert (len(leaf.parameters()), len(leaf.named_parameters()), len(leaf.modules())) == (2, 2, 1)


def test_what_forward_kept_for_backward_is_no_parameter():
    """Values saved with keep(...) are not searched: if an input is another module's Parameter, this module doesn't list it."""
    leaf = Leaf()
    leaf.keep(Parameter([1.0]), [Parameter([2.0]), Leaf()])
    assert identical(leaf.parameters(), [leaf.weight, leaf.bias]), f"got {leaf.parameters()}"
    assert identical(leaf.modules(), [leaf]), f"got {leaf.modules()}"


def test_modules_lists_the_module_itself_and_all_below():
    """modules() lists the module itself first, then all modules below it, depth first, in the order of definition, in lists and
    tuples too.
    """
    tree = Tree()
    want = [tree, *tree.blocks, tree.head, tree.mixed[2][0]]
    assert identical(tree.modules(), want), f"got {tree.modules()}"


def test_a_module_that_is_called_runs_forward():
    """module(x) is module.forward(x)."""
    assert_close(Leaf()(Tensor([10.0, 20.0])), [13.0, 43.0])


def test_training_is_on_until_eval_switches_it_off():
    """training starts as True. eval() sets it to False, train() sets it to True again, and both return the module."""
    leaf = Leaf()
    assert leaf.training is True
    assert leaf.eval() is leaf
    assert leaf.training is False
    assert leaf.train() is leaf
    assert leaf.training is True
    leaf.train(False)
    assert leaf.training is False


def test_train_and_eval_reach_every_module_below():
    """train() and eval() reach every module in attributes, lists and tuples: one Dropout left in training spoils every
    evaluation.
    """
    tree = Tree().eval()
    assert [module.training for module in tree.modules()] == [False] * 5
    tree.blocks[1].train()
    assert [module.training for module in tree.modules()] == [False, False, True, False, False]
    tree.train()
    assert [module.training for module in tree.modules()] == [True] * 5


@pytest.mark.parametrize("mode", [True, False])
@pytest.mark.parametrize("place", range(5), ids=["the root", "blocks.0", "blocks.1", "head", "mixed.2.0"])
def test_a_mode_is_set_everywhere_whatever_it_was(place, mode):
    """train() and eval() set the module itself and every module below it, even if one of them already has that mode or is the
    only one with a different mode.
    """
    for before in (True, False):
        tree = Tree()
        for index, module in enumerate(tree.modules()):
            module.training = before if index == place else not before
        assert tree.train(mode) is tree
        assert [module.training for module in tree.modules()] == [mode] * 5


def test_a_module_may_know_its_parent():
    """A child may refer back to its parent: the search still ends."""
    tree = Tree()
    tree.head.parent = tree
    tree.blocks.append(tree.blocks)
    assert_names(tree.named_parameters(), NAMES)
    assert [name for name, _ in tree.head.named_parameters()][:2] == ["weight", "bias"]
    assert len(tree.head.modules()) == 5
    tree.eval()
    assert tree.head.training is False


def test_training_belongs_to_one_module():
    """eval() of one network leaves all other networks in training."""
    leaf, other = Leaf(), Leaf()
    leaf.eval()
    assert other.training is True
    assert Leaf().training is True


def test_zero_grad_forgets_all_gradients():
    """zero_grad() sets the grad of all parameters to None, in modules below too. It doesn't change the gradient arrays, which
    other code may hold.
    """
    tree = Tree()
    held = np.ones(1, np.float32)
    for parameter in tree.parameters():
        parameter.grad = held if parameter is tree.scale else np.ones(parameter.shape, np.float32)
    tree.zero_grad()
    left = [name for name, parameter in tree.named_parameters() if parameter.grad is not None]
    assert not left, f"these still have a grad: {', '.join(left)}"
    assert_close(held, [1.0])


def test_a_buffer_is_an_attribute_but_no_parameter(draw):
    """register_buffer(name, array) makes a NumPy array an attribute: state that isn't trained, such as a running mean."""
    leaf, values = Leaf(), draw.normal(2, 3)
    leaf.register_buffer("mean", values)
    assert isinstance(leaf.mean, np.ndarray)
    assert_close(leaf.mean, values)
    assert len(leaf.parameters()) == 2
    ((name, buffer),) = leaf.named_buffers()
    assert name == "mean"
    assert buffer is leaf.mean


def test_a_buffer_is_a_copy_with_the_dtype_of_a_tensor():
    """register_buffer() copies: the module never changes the caller's array. Lists of floats become float32; arrays keep their
    dtype.
    """
    leaf, values = Leaf(), np.zeros(3)
    leaf.register_buffer("mean", values)
    leaf.mean += 1
    assert_close(values, np.zeros(3))
    assert_dtype(leaf.mean, np.float64)
    leaf.register_buffer("ones", [1.0, 1.0])
    assert_dtype(leaf.ones, np.float32)


def test_buffers_are_found_below():
    """named_buffers() lists the buffers of all modules, named as in named_parameters(), with their current values."""
    tree = Tree()
    tree.blocks[1].register_buffer("mean", [0.0])
    tree.register_buffer("count", np.array([0]))
    tree.mixed[2][0].register_buffer("mean", [1.0])
    tree.mixed[2][0].register_buffer("var", [2.0])
    tree.blocks[1].mean = tree.blocks[1].mean + 7
    found = dict(tree.named_buffers())
    assert set(found) == {"count", "blocks.1.mean", "mixed.2.0.mean", "mixed.2.0.var"}
    assert_close(found["blocks.1.mean"], [7.0])
    assert_close(found["mixed.2.0.var"], [2.0])
    assert isinstance(tree.named_buffers(), list)


def test_a_buffer_belongs_to_one_module():
    """A buffer belongs to one module: another one of the same class doesn't have it, even if it has an array of that name."""
    first, second = Leaf(), Leaf()
    first.register_buffer("mean", [0.0])
    assert second.named_buffers() == []
    assert not hasattr(second, "mean")
    second.mean = np.zeros(1)
    assert second.named_buffers() == []


@pytest.mark.parametrize("name", ["weight", "mean", "forward"])
def test_a_buffer_replaces_nothing(name):
    """Registering a buffer under the name of an existing attribute raises a ValueError whose message contains the name."""
    leaf = Leaf()
    leaf.register_buffer("mean", [0.0])
    with rejects(ValueError, name):
        leaf.register_buffer(name, [1.0])
    assert_close(leaf.mean, [0.0])
    assert len(leaf.parameters()) == 2


@pytest.mark.parametrize("now", [None, Tensor([1.0]), [1.0]], ids=["None", "a Tensor", "a list"])
def test_a_buffer_that_is_no_array_any_more_is_left_out(now):
    """named_buffers() and state_dict() leave out a buffer whose attribute was deleted, or is now None or anything else but an
    array.
    """
    tree = Tree()
    for name in ("mean", "var", "count"):
        tree.head.register_buffer(name, [1.0])
    del tree.head.mean
    tree.head.var = now
    assert [name for name, _ in tree.named_buffers()] == ["head.count"]
    assert "head.mean" not in tree.state_dict()
    tree.load_state_dict(tree.state_dict())


def test_a_buffer_may_become_a_parameter():
    """If a Parameter is assigned to a buffer's attribute, it is a parameter and no longer a buffer."""
    leaf = Leaf()
    leaf.register_buffer("mean", [1.0])
    leaf.mean = Parameter([2.0])
    assert leaf.named_buffers() == []
    assert_names(leaf.named_parameters(), ["weight", "bias", "mean"])
    assert_close(leaf.state_dict()["mean"], [2.0])


def test_a_deleted_buffer_can_be_registered_again():
    """register_buffer accepts the name of a buffer that was deleted, and named_buffers() lists it once."""
    leaf = Leaf()
    leaf.register_buffer("mean", [1.0])
    del leaf.mean
    leaf.register_buffer("mean", [2.0])
    ((name, buffer),) = leaf.named_buffers()
    assert name == "mean"
    assert_close(buffer, [2.0])


def test_a_buffer_that_counts_stays_an_array():
    """If `self.count + 1`, a NumPy scalar, is assigned to a buffer of shape (), it is still found, saved and loaded as an
    array.
    """
    leaf = Leaf()
    leaf.register_buffer("count", np.array(0))
    leaf.count = leaf.count + 1
    ((_, buffer),) = leaf.named_buffers()
    assert isinstance(buffer, np.ndarray), f"expected an array, got a {type(buffer).__name__}"
    assert_dtype(buffer, np.int64)
    leaf.load_state_dict(leaf.state_dict() | {"count": np.array(7)})
    assert leaf.count == 7


HIDDEN = {
    "a dict": lambda it: {"a": it},
    "a dict in a list": lambda it: [{"a": it}],
    "a list in a dict": lambda it: {"a": [it]},
    "a dict in a dict": lambda it: {"a": {"b": it}},
    "a dict in a tuple in a list": lambda it: [1, ("text", {"a": 2, "b": (it,)})],
    "a set": lambda it: {it},
    "a frozenset in a list": lambda it: [frozenset([it])],
    "an OrderedDict": lambda it: OrderedDict(a=it),
}


@pytest.mark.parametrize("kind", [Leaf, Parameter], ids=["a Module", "a Parameter"])
@pytest.mark.parametrize("hide", HIDDEN.values(), ids=HIDDEN)
def test_what_would_not_be_found_is_refused(hide, kind):
    """Dicts and sets are not searched. Assigning one that holds a Module or Parameter, even in nested lists and dicts, raises a
    TypeError whose message contains the attribute's name and says to use a list.
    """
    tree, one = Tree(), Parameter([1.0]) if kind is Parameter else Leaf()
    with rejects(TypeError, "branches", kind.__name__, "list"):
        tree.branches = hide(one)
    assert not hasattr(tree, "branches")


@pytest.mark.parametrize("below", [False, True], ids=["a dict", "a list"])
def test_what_was_put_into_a_dict_later_is_refused_by_the_search(below):
    """If a Module or Parameter is put into a dict, or into a list in a dict, after the dict was assigned, parameters(),
    modules(), train(), eval() and state_dict() raise a TypeError whose message contains the path to the attribute.
    """
    tree = Tree()
    tree.head.branches = [{}] if below else {}
    assert_names(tree.named_parameters(), NAMES)
    (tree.head.branches[0] if below else tree.head.branches)["a"] = Leaf()
    for search in (tree.parameters, tree.named_parameters, tree.modules, tree.named_buffers, tree.eval, tree.state_dict):
        with rejects(TypeError, "head.branches", "Leaf", "list"):
            search()


@pytest.mark.parametrize("kind", [Leaf, Parameter], ids=["a Module", "a Parameter"])
@pytest.mark.parametrize("make", [set, dict, OrderedDict, lambda: defaultdict(list)], ids=["set", "dict", "Ordered", "default"])
@pytest.mark.parametrize("wrap", [lambda it: it, lambda it: (1, [it])], ids=["alone", "in a list in a tuple"])
def test_any_dict_or_set_that_was_filled_later_is_refused(wrap, make, kind):
    """The search rejects sets and subclasses of dict, too, if they were filled after the assignment."""
    tree, hiding, one = Tree(), make(), Leaf() if kind is Leaf else Parameter([1.0])
    tree.head.branches = wrap(hiding)
    assert_names(tree.named_parameters(), NAMES)
    if isinstance(hiding, set):
        hiding.add(one)
    else:
        hiding["a"] = [one]
    for search in (tree.parameters, tree.modules, tree.named_buffers, tree.train, tree.zero_grad, tree.state_dict):
        with rejects(TypeError, "head.branches", kind.__name__, "list"):
            search()


def test_dicts_and_sets_of_other_things_are_allowed():
    """Attributes may be dicts and sets of numbers, text, arrays and tensors, and lists that contain themselves."""
    tree = Tree()
    tree.options = {"heads": 4, "names": ["a", {"b": np.zeros(2)}], "mask": Tensor([1.0])}
    tree.options["itself"] = tree.options
    tree.kinds = {"a", 1}
    tree.lists = [1]
    tree.lists.append(tree.lists)
    tree.options = tree.options
    tree.lists = tree.lists
    assert_names(tree.named_parameters(), NAMES)


def test_what_is_kept_may_be_in_a_dict():
    """keep(...) accepts anything, even Modules in dicts and sets: the saved values are not searched."""
    leaf, other = Leaf(), Leaf()
    leaf.keep({"other": other}, [{other}])
    assert leaf.kept()[0]["other"] is other
    assert identical(leaf.modules(), [leaf])


def test_what_is_empty_zero_or_frozen_is_found():
    """A Module of length 0, an empty or 0-d Parameter, and one that currently requires no gradient are found like any other."""
    module, below = Module(), Sequential()
    module.below, module.none, module.number, module.frozen = below, Parameter(np.zeros(0)), Parameter(0.0), Parameter([0.0])
    module.frozen.requires_grad = False
    assert_names(module.named_parameters(), ["none", "number", "frozen"])
    assert identical(module.modules(), [module, below])
    assert module.eval().training is False
    assert below.training is False
    assert below.eval() is below


def test_a_gradient_of_zeros_is_forgotten_too():
    """zero_grad() sets every grad to None, even one that is zero or empty."""
    leaf = Leaf()
    leaf.none = Parameter(np.zeros(0))
    for parameter in leaf.parameters():
        parameter.grad = np.zeros(parameter.shape, np.float32)
    leaf.zero_grad()
    assert [parameter.grad for parameter in leaf.parameters()] == [None] * 3


def test_an_empty_list_of_parameters_is_the_callers_too():
    """Every call returns a new list, even when it is empty: an item that the caller adds appears in no later list."""
    module = Module()
    module.parameters().append(1)
    module.named_parameters().append(1)
    module.named_buffers().append(1)
    assert (module.parameters(), module.named_parameters(), module.named_buffers()) == ([], [], [])


def test_buffers_are_listed_in_the_order_of_definition():
    """named_buffers() lists buffers in the order of definition, not by name, including zero, empty and 0-d buffers."""
    leaf = Leaf()
    for name, value in (("z", 0), ("b", [0.0]), ("y", np.zeros(0)), ("a", False)):
        leaf.register_buffer(name, value)
    assert [name for name, _ in leaf.named_buffers()] == ["z", "b", "y", "a"]
    leaf.a = leaf.a | np.True_
    assert [name for name, _ in leaf.named_buffers()] == ["z", "b", "y", "a"], "a NumPy boolean is no buffer any more"


@pytest.mark.parametrize("value", [None, 0, 0.0, False, "", ()], ids=repr)
def test_a_buffer_does_not_replace_what_is_falsy(value):
    """An attribute that is None or 0 exists, so register_buffer() rejects its name. It isn't a buffer afterwards, even if an
    array is assigned to it.
    """
    leaf = Leaf()
    leaf.there = value
    for name in ("there", "table"):
        with rejects(ValueError, name):
            leaf.register_buffer(name, [1.0])
    assert leaf.there is value
    assert leaf.named_buffers() == []


def test_a_buffer_that_can_not_be_made_leaves_nothing():
    """If the data isn't numeric, register_buffer() leaves neither an attribute nor a buffer, and the name can still be
    registered.
    """
    leaf = Leaf()
    with rejects(TypeError):
        leaf.register_buffer("mean", ["a"])
    assert not hasattr(leaf, "mean")
    leaf.register_buffer("mean", [1.0])
    assert [name for name, _ in leaf.named_buffers()] == ["mean"]
