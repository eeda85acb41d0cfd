import copy
import weakref

import numpy as np
import pytest
from katas.acceleration import accelerate
from katas.activations import GELU, LeakyReLU, ReLU, Tanh
from katas.layers import Dropout, Flatten, Linear, Module, Sequential
from katas.losses import CrossEntropyLoss
from katas.model_compression import Residual, low_rank, prune_units, strongest, unit_scores
from katas.optimizers import SGD
from katas.spatial import CNN, AvgPool2d, BatchNorm2d, Conv2d, GlobalAvgPool, MaxPool2d
from katas.tensor import Tensor
from katas.transformers import FeedForward

from specs.check import assert_close, count_steps, rejects

R = np.random.default_rng


def mlp(rng) -> Sequential:
    return Sequential(Linear(5, 7, rng=rng), ReLU(), Linear(7, 6, rng=rng), Tanh(), Dropout(0.0), Linear(6, 3, rng=rng))


def cnn(rng) -> CNN:
    first = [Conv2d(2, 6, 3, padding=1, bias=False, rng=rng), BatchNorm2d(6), ReLU(), MaxPool2d(2)]
    second = [Conv2d(6, 7, 3, stride=2, padding=1, rng=rng), BatchNorm2d(7), GELU(), AvgPool2d((1, 2))]
    return CNN([*first, *second, Linear(14, 5, rng=rng), LeakyReLU(), Linear(5, 3, rng=rng)])  # 7 · 2 · 1 = 14


def pooled(rng) -> Sequential:
    return Sequential(Conv2d(2, 6, 3, rng=rng), BatchNorm2d(6), ReLU(), GlobalAvgPool(), Linear(6, 3, rng=rng))


def nested(rng) -> Sequential:
    inner = Sequential(Conv2d(2, 6, 3, rng=rng), Sequential(BatchNorm2d(6), ReLU()))
    return Sequential(inner, Sequential(), Flatten(), Sequential(Linear(216, 4, rng=rng)))


def streams(rng) -> CNN:
    """A stream of 6 channels, which the stem and two Residuals write, and two Residuals, a BatchNorm2d and a Linear read."""
    stem = [Conv2d(2, 6, 3, padding=1, rng=rng), BatchNorm2d(6), ReLU()]
    one = Residual(Conv2d(6, 4, 3, padding=1, rng=rng), BatchNorm2d(4), ReLU(), Conv2d(4, 6, 1, rng=rng), BatchNorm2d(6))
    two = Residual(BatchNorm2d(6), ReLU(), Sequential(Conv2d(6, 6, 3, padding=1, rng=rng)))
    return CNN([*stem, one, two, BatchNorm2d(6), ReLU(), MaxPool2d(2), Linear(96, 3, rng=rng)])


def plain(rng) -> Sequential:
    """A Residual that neither writes nor reads, and one whose only layer does both."""
    return Sequential(Linear(5, 6, rng=rng), Residual(ReLU()), Residual(Linear(6, 6, rng=rng)), Linear(6, 3, rng=rng))


def feed_forward(rng) -> FeedForward:
    return FeedForward(5, rng=rng)


class Around(Module):
    """Any module around a layer, which it calls twice as strong."""

    def __init__(self, layer):
        self.layer = layer

    def forward(self, x):
        return self.layer(x) * 2


def around(rng) -> Sequential:
    """What units are followed through is in a module that they are not followed through, in a Sequential."""
    inner = Sequential(Linear(4, 6, rng=rng), ReLU(), Linear(6, 4, rng=rng))
    return Sequential(Linear(5, 4, rng=rng), Around(inner), Around(FeedForward(4, rng=rng)), Linear(4, 3, rng=rng))


def averaged(rng) -> Sequential:
    """GlobalAvgPool leaves one value of each channel: a Flatten behind it changes nothing."""
    return Sequential(Conv2d(2, 6, 3, rng=rng), ReLU(), GlobalAvgPool(), Flatten(), Residual(Tanh()), Linear(6, 3, rng=rng))


def with_a_feed_forward(rng) -> Sequential:
    """A FeedForward reads and writes a stream."""
    return Sequential(Linear(5, 4, rng=rng), Residual(FeedForward(4, rng=rng)), Linear(4, 3, rng=rng))


def nested_streams(rng) -> Sequential:
    """A Residual in a Residual adds to the same stream, or to one of its own."""
    same = Residual(Residual(Linear(6, 6, rng=rng)), Tanh(), Linear(6, 6, rng=rng))
    own = Residual(Linear(6, 4, rng=rng), Residual(ReLU(), Linear(4, 4, rng=rng)), Linear(4, 6, rng=rng))
    return Sequential(Linear(5, 6, rng=rng), same, own, Linear(6, 3, rng=rng))


def cnn_inside(rng) -> Sequential:
    """A CNN flattens inside a Sequential, too: channels that a layer before it writes."""
    inner = CNN([ReLU(), CNN([MaxPool2d(2)]), Linear(54, 5, rng=rng), Tanh()])
    return Sequential(Conv2d(2, 6, 3, rng=rng), inner, Linear(5, 3, rng=rng))


def other_activation(rng) -> FeedForward:
    model = FeedForward(5, rng=rng)
    model.gelu = Tanh()
    return model


class Part(Module):
    """Any module, in a part of which units are pruned."""

    def __init__(self, rng):
        self.blocks, self.out = [cnn(rng)], Linear(3, 3, rng=rng)

    def forward(self, x):
        return self.out(self.blocks[0](x))


IMAGES, ROWS = (3, 2, 8, 8), (4, 5)
# model, input, the layer that is named, those in which units are 0 (all that write them, and the norms behind), those kept
CASES = {
    "neurons": (mlp, ROWS, lambda m: m[0], lambda m: [m[0]], [1, 2, 5]),
    "neurons behind others": (mlp, ROWS, lambda m: m[2], lambda m: [m[2]], [0, 4]),
    "neurons of long inputs": (mlp, (2, 3, 5), lambda m: m[0], lambda m: [m[0]], [6]),
    "channels that a Conv2d reads": (cnn, IMAGES, lambda m: m[0], lambda m: [m[0], m[1]], [0, 3, 4]),
    "channels that are flattened": (cnn, IMAGES, lambda m: m[4], lambda m: [m[4], m[5]], [1, 2, 6]),
    "neurons in a CNN": (cnn, IMAGES, lambda m: m[8], lambda m: [m[8]], [0, 1, 4]),
    "channels that are averaged": (pooled, IMAGES, lambda m: m[0], lambda m: [m[0], m[1]], [2, 3]),
    "nested": (nested, IMAGES, lambda m: m[0][0], lambda m: [m[0][0], m[0][1][0]], [0, 2, 5]),
    "inside a Residual": (streams, IMAGES, lambda m: m[3][0], lambda m: [m[3][0], m[3][1]], [1, 3]),
    "a stream of rows": (plain, ROWS, lambda m: m[0], lambda m: [m[0], m[2][0]], [0, 2, 5]),
    "feed-forward": (feed_forward, (2, 3, 5), lambda m: m.c_fc, lambda m: [m.c_fc], [0, 7, 8, 19]),
    "feed-forward with Tanh": (other_activation, (4, 5), lambda m: m.c_fc, lambda m: [m.c_fc], [3, 9]),
    "channels that are averaged, and flattened": (averaged, IMAGES, lambda m: m[0], lambda m: [m[0]], [0, 4, 5]),
    "a Sequential in another module": (around, ROWS, lambda m: m[1].layer[0], lambda m: [m[1].layer[0]], [1, 4, 5]),
    "a FeedForward in another module": (around, ROWS, lambda m: m[2].layer.c_fc, lambda m: [m[2].layer.c_fc], [0, 9]),
    "a FeedForward in a Residual": (with_a_feed_forward, ROWS, lambda m: m[1][0].c_fc, lambda m: [m[1][0].c_fc], [0, 5, 15]),
    "a stream by a FeedForward": (
        with_a_feed_forward,
        ROWS,
        lambda m: m[1][0].c_proj,
        lambda m: [m[0], m[1][0].c_proj],
        [1, 3],
    ),
    "a stream of nested Residuals": (
        nested_streams,
        ROWS,
        lambda m: m[1][0][0],
        lambda m: [m[0], m[1][0][0], m[1][2], m[2][2]],
        [0, 1, 5],
    ),
    "a stream inside a Residual": (nested_streams, ROWS, lambda m: m[2][1][1], lambda m: [m[2][0], m[2][1][1]], [2, 3]),
    "channels that a CNN inside flattens": (cnn_inside, IMAGES, lambda m: m[0], lambda m: [m[0]], [1, 4]),
    "neurons in a CNN inside": (cnn_inside, IMAGES, lambda m: m[1][2], lambda m: [m[1][2]], [0, 3, 4]),
    "a part": (Part, IMAGES, lambda m: m.blocks[0][4], lambda m: [m.blocks[0][4], m.blocks[0][5]], [0, 3]),
}
STREAM = lambda m: [m[0], m[1], m[3][3], m[3][4], m[4][0], m[4][2][0], m[5]]  # noqa: E731
for place, writer in {"the stem": lambda m: m[0], "a Residual": lambda m: m[3][3], "the last": lambda m: m[4][2][0]}.items():
    CASES[f"a stream by {place}"] = streams, IMAGES, writer, STREAM, [0, 1, 4]
cases = pytest.mark.parametrize("case", CASES)


def prepared(draw, case: str) -> tuple[Module, Module, np.ndarray]:
    """The model with random state, and a copy in which the units that are not kept are 0; and an input."""
    make, shape, _, zeroed, keep = CASES[case]
    model = make(R(0))
    for name, array in model.state_dict().items():
        values = np.abs(draw.normal(*array.shape)) + 0.3 if name.endswith("running_var") else 0.4 * draw.normal(*array.shape)
        model.load_state_dict(model.state_dict() | {name: values})
    zeros = copy.deepcopy(model)
    for layer in zeroed(zeros):
        gone = np.setdiff1d(np.arange(len(layer.weight)), keep)
        layer.weight.data[gone] = 0
        if layer.bias is not None:
            layer.bias.data[gone] = 0
    return model, zeros, draw.normal(*shape, dtype=np.float32)


@cases
@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
def test_the_result_is_that_of_the_model_with_zeros(draw, case, training):
    """What is left computes what the whole model would with the other units set to 0, in eval mode and in train mode."""
    model, zeros, x = prepared(draw, case)
    *_, layer, _, keep = CASES[case]
    assert prune_units(model, layer(model), keep) is None
    model.train(training), zeros.train(training)
    assert_close(model(Tensor(x)), zeros(Tensor(x)))
    for (name, got), (_, whole) in zip(
        model.named_buffers(), zeros.named_buffers(), strict=True
    ):  # after a forward in train mode
        assert_close(got, whole if got.shape == whole.shape else whole[keep], name=name)


SHAPES = {
    "neurons": {"0.weight": (3, 5), "0.bias": (3,), "2.weight": (6, 3)},
    "channels that a Conv2d reads": {
        "0.weight": (3, 2, 3, 3),
        **dict.fromkeys(["1.weight", "1.bias", "1.running_mean", "1.running_var"], (3,)),
        "4.weight": (7, 3, 3, 3),
    },
    "channels that are flattened": {
        "4.weight": (3, 6, 3, 3),
        **dict.fromkeys(["4.bias", "5.weight", "5.bias", "5.running_mean", "5.running_var"], (3,)),
        "8.weight": (5, 6),
    },
    "feed-forward": {"c_fc.weight": (4, 5), "c_fc.bias": (4,), "c_proj.weight": (5, 4)},
    "a stream by a Residual": {
        "0.weight": (3, 2, 3, 3),
        "3.0.weight": (4, 3, 3, 3),
        "3.3.weight": (3, 4, 1, 1),
        "4.2.0.weight": (3, 3, 3, 3),
        **dict.fromkeys(["0.bias", "3.3.bias", "4.2.0.bias"], (3,)),
        **dict.fromkeys(
            [
                f"{norm}.{name}"
                for norm in ("1", "3.4", "4.0", "5")
                for name in ("weight", "bias", "running_mean", "running_var")
            ],
            (3,),
        ),
        "8.weight": (3, 48),
    },
}


@pytest.mark.parametrize("case", SHAPES)
def test_all_arrays_that_depend_on_the_units_become_smaller(draw, case):
    """Those that write, normalize and read the units; each other array stays as it is. The dtype stays."""
    model, _, _ = prepared(draw, case)
    before = model.state_dict()
    *_, layer, _, keep = CASES[case]
    prune_units(model, layer(model), keep)
    for name, array in model.state_dict().items():
        assert array.shape == SHAPES[case].get(name, before[name].shape), name
        assert array.dtype == before[name].dtype
        if name not in SHAPES[case]:
            assert_close(array, before[name], name=name)


def test_units_that_stay_keep_their_order(draw):
    """keep may name the units in any order, as a list, a range, an array or a Tensor of any integers."""
    for keep in ([5, 1, 2], (2, 5, 1), np.array([1, 5, 2], np.uint8), Tensor(np.array([2, 1, 5])), range(1, 6, 2)):
        model, _, _ = prepared(draw, "neurons")
        before = model.state_dict()
        prune_units(model, model[0], keep)
        wanted = [1, 3, 5] if isinstance(keep, range) else [1, 2, 5]
        assert_close(model[0].weight, before["0.weight"][wanted])
        assert_close(model[0].bias, before["0.bias"][wanted])
        assert_close(model[2].weight, before["2.weight"][:, wanted])


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.uint64, np.int16])
def test_indices_of_few_bits_find_columns_of_many(draw, dtype):
    """Channel 10 of 7 × 7 pixels has the columns 490 to 538, which uint8 does not know; and uint64 is no index yet."""
    model = Sequential(Conv2d(1, 12, 3, padding=1, rng=R(0)), Flatten(), Linear(12 * 49, 2, rng=R(0)))
    columns = model[2].weight.data[:, [*range(98, 147), *range(490, 539)]]
    prune_units(model, model[0], np.array([10, 2], dtype))
    assert_close(model[2].weight, columns)


def test_keeping_all_units_changes_no_value(draw):
    """And pruning twice removes what is asked for of what is left: the indices are those of the present units."""
    model, zeros, x = prepared(draw, "channels that are flattened")
    want = copy.deepcopy(model).eval()(Tensor(x))
    prune_units(model, model[4], range(7))
    assert_close(model.eval()(Tensor(x)), want)
    prune_units(model, model[4], [1, 2, 4, 6])
    prune_units(model, model[4], [0, 1, 3])
    assert_close(model(Tensor(x)), zeros.eval()(Tensor(x)))


def test_several_layers_are_pruned_one_after_another(draw):
    """An array loses rows and columns, and so do the channels of a Linear behind several pixels."""
    model, zeros, x = prepared(draw, "channels that are flattened")
    for layer, gone in ((zeros[0], [1, 2, 5]), (zeros[1], [1, 2, 5]), (zeros[8], [3])):
        layer.weight.data[gone] = 0
        if layer.bias is not None:
            layer.bias.data[gone] = 0
    prune_units(model, model[8], [0, 1, 2, 4])
    prune_units(model, model[0], [0, 3, 4])
    prune_units(model, model[4], [1, 2, 6])
    assert_close(model.eval()(Tensor(x)), zeros.eval()(Tensor(x)))


def test_sizes_that_are_attributes_follow(draw):
    """in_features and out_features are those of the weight, so a Linear's own check of its input still works."""
    model, _, x = prepared(draw, "neurons")
    prune_units(model, model[0], [0, 3])
    assert (model[0].in_features, model[0].out_features, model[2].in_features, model[2].out_features) == (5, 2, 2, 6)
    with rejects(ValueError, "(4, 7)"):
        model[2](Tensor(np.zeros((4, 7), np.float32)))
    assert model(Tensor(x)).shape == (4, 3)


@pytest.mark.parametrize("case", ["neurons", "channels that are flattened", "feed-forward", "a stream by a Residual"])
def test_the_old_arrays_are_freed(draw, case):
    """New arrays own their memory. A view, such as weight[:3], would hold the whole old array; so would a graph, or a list."""
    *_, layer, _, keep = CASES[case]
    for kept in (keep, [0, 1, 2], [2, 3]):  # an unbroken run could be a slice
        model, _, _ = prepared(draw, case)
        arrays = {name: parameter.data for name, parameter in model.named_parameters()} | dict(model.named_buffers())
        arrays = {name: weakref.ref(array) for name, array in arrays.items() if name in SHAPES[case]}
        prune_units(model, layer(model), kept)
        assert not [name for name, array in arrays.items() if array() is not None], f"old arrays are still held: keep {kept}"
        for name, parameter in model.named_parameters():
            if name in SHAPES[case]:
                assert parameter.data.base is None or parameter.data.base.nbytes == parameter.data.nbytes, name


def test_the_new_arrays_lie_row_by_row_in_memory(draw):
    """A new array is C-contiguous, as the old one was: products are as fast."""
    model, _, _ = prepared(draw, "channels that are flattened")
    prune_units(model, model[4], [0, 1, 2, 5])
    assert all(parameter.data.flags.c_contiguous for parameter in model.parameters())


def test_a_parameter_that_changed_has_no_grad(draw):
    """An old grad has the old shape. Parameters that are not concerned keep theirs."""
    model, _, x = prepared(draw, "neurons")
    model(Tensor(x)).sum().backward()
    other = model[5].weight.grad.copy()
    prune_units(model, model[0], [0, 3])
    assert model[0].weight.grad is model[0].bias.grad is model[2].weight.grad is None
    assert_close(model[5].weight.grad, other)


@cases
def test_gradients_are_those_of_the_model_with_zeros(draw, case):
    """Each array that is left gets the gradient that its part of the whole array would get."""
    model, zeros, x = prepared(draw, case)
    *_, layer, _, keep = CASES[case]
    prune_units(model, layer(model), keep)
    cotangent = None
    for either in (model, zeros):
        y = either.train()(Tensor(x))
        cotangent = np.array(draw.normal(*y.shape, dtype=np.float32)) if cotangent is None else cotangent
        y.backward(cotangent)
    for (name, parameter), (_, whole) in zip(model.named_parameters(), zeros.named_parameters(), strict=True):
        want = whole.grad
        for axis, size in enumerate(parameter.shape):
            if want.shape[axis] != size:
                want = np.take(want, np.add.outer(size // len(keep) * np.array(keep), range(size // len(keep))).ravel(), axis)
        assert np.abs(parameter.grad - want).max() <= 1e-4 * max(1, np.abs(want).max()), name


def test_a_new_optimizer_trains_what_is_left(draw):
    """A pruned model learns."""
    model, _, x = prepared(draw, "a stream by the last")
    prune_units(model, model[4][2][0], [0, 1, 4])
    optimizer, loss, losses = SGD(model.parameters(), lr=0.05), CrossEntropyLoss(), []
    for _ in range(10):
        losses.append(loss(model(Tensor(x)), [0, 1, 2]))
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()
    assert losses[-1].item() < losses[0].item()


@pytest.mark.parametrize("case", ["channels that are flattened", "feed-forward", "a stream by the stem"])
def test_an_accelerated_model_is_pruned_too(draw, case):
    """Kata 15 makes its layers subclasses of those that they were: the same units depend on the same arrays."""
    model, zeros, x = prepared(draw, case)
    *_, layer, _, keep = CASES[case]
    accelerate(model)
    prune_units(model, layer(model), keep)
    assert_close(model.eval()(Tensor(x)), zeros.eval()(Tensor(x)))


@cases
def test_units_of_factors_are_removed_wherever_those_of_a_linear_are(draw, case):
    """After low_rank() the same units go: from rows of `up` and from columns of `down`, also side by side behind a Flatten."""
    model, zeros, x = prepared(draw, case)
    *_, layer, zeroed, keep = CASES[case]
    for linear, other in zip(model.modules(), zeros.modules(), strict=True):
        if isinstance(linear, Linear):
            kept = np.isin(np.arange(len(other.weight)), keep) | (not any(other is writer for writer in zeroed(zeros)))
            linear.weight.data = np.outer(draw.normal(len(kept)), draw.normal(linear.in_features)).astype(np.float32)
            other.weight.data = np.where(kept[:, None], linear.weight.data, 0)
    assert set(low_rank(model, 0.01).values()) == {1}
    prune_units(model, layer(model), keep)
    assert_close(model.eval()(Tensor(x)), zeros.eval()(Tensor(x)))


def test_sizes_of_factors_follow(draw):
    """A layer of factors has other sizes after its units went, also where they were looked at before."""
    model = Sequential(Linear(6, 8), ReLU(), Linear(8, 6))
    for layer in (model[0], model[2]):
        layer.weight.data = np.outer(draw.normal(len(layer.weight)), draw.normal(layer.in_features)).astype(np.float32)
    low_rank(model, 0.01)
    assert (model[0].out_features, model[2].in_features) == (8, 8)
    prune_units(model, model[0], [1, 4, 6])
    assert (model[0].out_features, model[2].in_features) == (3, 3)


@cases
def test_subclasses_count_as_what_they_extend(draw, case):
    """A model of subclasses, of each class one, is pruned as the model of these classes; its scores are the same."""
    model, zeros, x = prepared(draw, case)
    *_, layer, _, keep = CASES[case]
    scores = unit_scores(model, layer(model))
    for module in model.modules():
        module.__class__ = type(f"Own{type(module).__name__}", (type(module),), {})
    assert_close(unit_scores(model, layer(model)), scores)
    prune_units(model, layer(model), keep)
    assert_close(model.eval()(Tensor(x)), zeros.eval()(Tensor(x)))


def test_a_state_is_loaded_by_a_model_that_was_pruned_alike(draw):
    """state_dict() has the new shapes. A new model that was pruned with the same keep loads it."""
    model, _, x = prepared(draw, "a stream by a Residual")
    prune_units(model, model[3][3], [0, 1, 4])
    other = streams(R(1))
    prune_units(other, other[0], [2, 3, 5])
    other.load_state_dict(model.state_dict())
    assert_close(other.eval()(Tensor(x)), model.eval()(Tensor(x)))


def test_no_python_loop_over_units(draw):
    """The number of Python instructions doesn't grow with the number of units or columns."""
    small, large = (Sequential(Linear(3, n, rng=R(0)), ReLU(), Linear(n, 2, rng=R(0))) for n in (4, 400))

    def pruned(model, n):
        strongest(unit_scores(model, model[0]), n)
        prune_units(model, model[0], np.arange(n))

    few, many = count_steps(lambda: pruned(small, 4), lambda: pruned(large, 400))
    assert many <= 2 * few, f"{few} Python instructions for 4 units, {many} for 400"


def test_no_python_loop_over_columns_behind_a_flatten(draw):
    """The number of Python instructions doesn't grow with the number of pixels of a channel."""
    small, large = (Sequential(Conv2d(1, 3, 1, rng=R(0)), Flatten(), Linear(3 * n, 2, rng=R(0))) for n in (4, 900))

    def pruned(model):
        unit_scores(model, model[0])
        prune_units(model, model[0], [2, 0, 1])

    few, many = count_steps(lambda: pruned(small), lambda: pruned(large))
    assert many <= 2 * few, f"{few} Python instructions for 4 pixels, {many} for 900"


# Residual


def test_a_residual_adds_its_input(draw):
    """y = x + what its layers, one after another, make of x. It is a Sequential, with a Sequential's names."""
    one, two = Linear(4, 3, rng=R(0)), Linear(3, 4, rng=R(1))
    residual, x = Residual(one, ReLU(), two), draw.normal(2, 4, dtype=np.float32)
    assert isinstance(residual, Sequential)
    inner = np.maximum(x @ one.weight.data.T + one.bias.data, 0) @ two.weight.data.T + two.bias.data
    assert_close(residual(Tensor(x)), x + inner, mistakes={"the input is not added": inner, "twice": 2 * x + inner})
    assert [name for name, _ in residual.named_parameters()] == ["0.weight", "0.bias", "2.weight", "2.bias"]
    assert_close(Residual()(Tensor(x)), 2 * x)


def test_gradients_pass_a_residual_on_both_ways(draw):
    """The input gets the gradient of the sum: its own and that through the layers."""
    residual = Residual(Linear(4, 4, rng=R(0)))
    x, g = Tensor(draw.normal(2, 4), requires_grad=True), draw.normal(2, 4)
    residual[0].weight.data = residual[0].weight.data.astype(np.float64)
    residual(x).backward(np.array(g))
    assert_close(x.grad, g + g @ residual[0].weight.data)


# unit_scores


def test_a_score_is_the_norm_where_it_is_written_times_the_norm_where_it_is_read(draw):
    """L2 norms of the unit's row, without the bias, and of its column; of a Conv2d over all of the filter. float64."""
    model, _, _ = prepared(draw, "neurons")
    row, column = model[0].weight.data.astype(np.float64), model[2].weight.data.astype(np.float64)
    want = np.sqrt((row**2).sum(1)) * np.sqrt((column**2).sum(0))
    got = unit_scores(model, model[0])
    assert got.dtype == np.float64
    assert_close(got, want, mistakes={
        "only the norm of the row": np.sqrt((row**2).sum(1)),
        "L1 norms": np.abs(row).sum(1) * np.abs(column).sum(0),
        "the bias counts": np.sqrt((row**2).sum(1) + model[0].bias.data.astype(np.float64) ** 2) * np.sqrt((column**2).sum(0)),
    })  # fmt: skip
    model = nested(R(0))
    model[0][1].layers[:] = [ReLU()]  # no BatchNorm2d
    filters, columns = model[0][0].weight.data.astype(np.float64), model[3][0].weight.data.astype(np.float64)
    want = np.sqrt((filters**2).sum((1, 2, 3))) * np.sqrt((columns.reshape(4, 6, 36) ** 2).sum((0, 2)))
    assert_close(unit_scores(model, model[0][0]), want)


def test_behind_a_batch_norm_its_weight_counts(draw):
    """A BatchNorm2d undoes the filter's scale: the norm of its own weight takes the place of the filter's."""
    model, _, _ = prepared(draw, "channels that a Conv2d reads")
    read = np.sqrt((model[4].weight.data.astype(np.float64) ** 2).sum((0, 2, 3)))
    want = np.abs(model[1].weight.data.astype(np.float64)) * read
    assert_close(unit_scores(model, model[0]), want)
    model[0].weight.data *= np.arange(1, 7, dtype=np.float32)[:, None, None, None]
    assert_close(unit_scores(model, model[0]), want)


def test_scores_of_a_stream_add_up_writers_and_readers(draw):
    """The norms are over all that write, here BatchNorm2d, and over all that read; each writer has the same scores."""
    model, _, _ = prepared(draw, "a stream by the stem")
    square = lambda layer: layer.weight.data.astype(np.float64) ** 2  # noqa: E731
    norms = sum(square(norm) for norm in (model[1], model[3][4], model[4][0], model[5]))
    read = square(model[3][0]).sum((0, 2, 3)) + square(model[4][2][0]).sum((0, 2, 3))
    read = read + square(model[8]).reshape(3, 6, 16).sum((0, 2))
    for layer in (model[0], model[3][3], model[4][2][0]):
        assert_close(unit_scores(model, layer), np.sqrt(norms * read))


@pytest.mark.parametrize("case", ["Conv, Residual(Conv, BatchNorm2d)", "Conv, Residual(BatchNorm2d, ReLU, Conv)"])
def test_norms_of_a_stream_take_the_place_of_all_its_filters(draw, case):
    """If a stream has a BatchNorm2d, wherever it is, no filter counts where the stream is written: only the norm's weight."""
    stem, inner, norm = Conv2d(2, 4, 3, padding=1, rng=R(0)), Conv2d(4, 4, 3, padding=1, rng=R(1)), BatchNorm2d(4)
    norm.weight.data = draw.normal(4, dtype=np.float32)
    residual = Residual(inner, norm) if "BatchNorm2d)" in case else Residual(norm, ReLU(), inner)
    model = Sequential(stem, residual, GlobalAvgPool(), Linear(4, 3, rng=R(2)))
    first, second, scale, last = (layer.weight.data.astype(np.float64) ** 2 for layer in (stem, inner, norm, model[3]))
    read = second.sum((0, 2, 3)) + last.sum(0)
    first, second = first.sum((1, 2, 3)), second.sum((1, 2, 3))
    for layer in (stem, inner):
        assert_close(unit_scores(model, layer), np.sqrt(scale * read), name=case, mistakes={
            "the first Conv2d's filter counts too": np.sqrt((first + scale) * read),
            "the second Conv2d's filter counts too": np.sqrt((second + scale) * read),
            "both filters count too": np.sqrt((first + second + scale) * read),
            "filters count, and the BatchNorm2d does not": np.sqrt((first + second) * read),
        })  # fmt: skip


def test_a_layer_that_runs_twice_in_one_stream_counts_once():
    """Its weight writes and reads the stream once: what it is has one norm."""
    again, first, last = Linear(4, 4, rng=R(0)), Linear(3, 4, rng=R(1)), Linear(4, 2, rng=R(2))
    model = Sequential(first, Residual(again), Residual(ReLU(), again), last)
    written = np.linalg.norm(np.concatenate([first.weight.data, again.weight.data], 1).astype(np.float64), axis=1)
    read = np.linalg.norm(np.concatenate([again.weight.data, last.weight.data]).astype(np.float64), axis=0)
    for layer in (first, again):
        assert_close(unit_scores(model, layer), written * read)


@pytest.mark.parametrize("scale", [1e-200, 1e-300, 1e200, 1e300])
def test_scores_of_tiny_and_huge_weights_are_no_zeros_or_infinities(draw, scale):
    """Squares would be, in float64 too."""
    model, _, _ = prepared(draw, "neurons")
    want = unit_scores(model, model[0])
    model[0].weight.data = model[0].weight.data.astype(np.float64) * scale
    assert_close(unit_scores(model, model[0]) / scale, want)
    model[0].weight.data[1:] /= scale  # next to it others are as they were
    assert_close(unit_scores(model, model[0])[1:], want[1:])
    model[0].weight.data[2] = 0
    assert unit_scores(model, model[0])[2] == 0


def test_scores_change_nothing(draw):
    """They are only looked at; and large weights don't overflow."""
    model, _, _ = prepared(draw, "neurons")
    model[0].weight.data[...] = 1e30
    before = model.state_dict()
    assert np.isfinite(unit_scores(model, model[0])).all()
    for name, array in model.state_dict().items():
        assert_close(array, before[name])


# strongest


def test_the_strongest_are_chosen(draw):
    """The indices of the largest scores in ascending order, as integers; of equal ones the first."""
    got = strongest(np.array([0.5, 3.0, 1.0, 2.0]), 2)
    assert got.dtype.kind == "i"
    assert got.tolist() == [1, 3]
    assert strongest([3, 1, 2, 2, 2, 0], 3).tolist() == [0, 2, 3]
    assert strongest(np.zeros(5), 2).tolist() == [0, 1]
    assert strongest(np.array([np.inf, -1.0, 2.0]), 3).tolist() == [0, 1, 2]
    assert strongest(np.array([4], np.uint8), 1).tolist() == [0]
    assert strongest(np.array([3, 0, 9], np.uint8), 2).tolist() == [0, 2]


def test_scores_are_compared_as_they_are():
    """Scores that float32 can't tell apart, or takes for 0 or for infinity, are not equal."""
    for scores in ([1.0, 1 + 1e-12], [1e-300, 2e-300], [1e300, 2e300], [-1 - 1e-12, -1.0]):
        assert strongest(np.array(scores), 1).tolist() == [1]
        assert strongest(np.array(scores[::-1]), 1).tolist() == [0]


def test_a_count_that_can_not_be_is_refused():
    """A count below 1 or above the number of scores, or a score that is NaN, raises a ValueError."""
    for scores, count in (([1.0, 2.0], 0), ([1.0, 2.0], 3), ([1.0, 2.0], -1), ([1.0, np.nan], 1), ([], 1)):
        with rejects(ValueError):
            strongest(np.array(scores), count)
