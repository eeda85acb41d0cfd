from contextlib import contextmanager

import numpy as np
import pytest
from katas.activations import LogSoftmax, ReLU, Sigmoid, Softmax
from katas.layers import Flatten, Linear, Module, Parameter, Sequential
from katas.model_compression import Residual, prune_units, unit_scores
from katas.spatial import CNN, BatchNorm2d, Conv2d, GlobalAvgPool
from katas.transformers import FeedForward, LayerNorm

from specs.check import Mismatch, assert_close, rejects

R = np.random.default_rng(0)


def linear(inputs: int, outputs: int) -> Linear:
    return Linear(inputs, outputs, rng=R)


def conv(inputs: int, outputs: int) -> Conv2d:
    return Conv2d(inputs, outputs, 3, padding=1, rng=R)


class Odd(Module):
    """A layer that nothing is known about."""

    def forward(self, x):
        return x


class Stored(Linear):
    """A Linear with a weight that is no Parameter, as a quantized one has."""

    def __init__(self):
        super().__init__(4, 4, rng=R)
        self.weight = Module()


def twice() -> tuple[Sequential, Linear]:
    layer = linear(4, 4)
    return Sequential(layer, ReLU(), layer, ReLU(), linear(4, 2)), layer


def tied() -> tuple[Sequential, Linear]:
    model = Sequential(linear(4, 4), ReLU(), linear(4, 4), ReLU(), linear(4, 2))
    model[2].weight = model[0].weight
    return model, model[0]


def tied_reader() -> tuple[Sequential, Linear]:
    model = Sequential(linear(4, 4), ReLU(), linear(4, 2), ReLU(), linear(2, 4), ReLU(), linear(4, 2))
    model[6].weight = model[2].weight
    return model, model[0]


def tied_elsewhere() -> tuple[Module, Linear]:
    """The weight is that of a layer outside the Sequential."""
    model = Module()
    model.body, model.head = Sequential(linear(4, 6), ReLU(), linear(6, 4)), linear(4, 6)
    model.head.weight = model.body[0].weight
    return model, model.body[0]


def tied_bias(first: int, second: int) -> tuple[CNN, Conv2d]:
    """Convolutions and norms, of which two have the same bias."""
    layers = [conv(2, 4), BatchNorm2d(4), ReLU(), conv(4, 4), BatchNorm2d(4), ReLU(), GlobalAvgPool(), linear(4, 2)]
    layers[second].bias = layers[first].bias
    return CNN(layers), layers[0]


def shared_statistics() -> tuple[CNN, Conv2d]:
    model, layer = chain(conv(2, 4), BatchNorm2d(4), ReLU(), conv(4, 4), BatchNorm2d(4), ReLU(), conv(4, 2))
    model[4].running_mean = model[1].running_mean
    return model, layer


def in_a_list() -> tuple[Module, Linear]:
    """The weight is in a list of another module, which makes of it what it likes."""
    model = Module()
    model.body, model.other = chain(linear(4, 6), ReLU(), linear(6, 4))[0], Module()
    model.other.weights = [(model.body[0].weight,)]
    return model, model.body[0]


def two_names() -> tuple[Sequential, Linear]:
    model, layer = chain(linear(4, 6), ReLU(), linear(6, 4))
    layer.also = layer.bias
    return model, layer


def reader_twice() -> tuple[Sequential, Linear]:
    """A layer reads the units, and others that another layer writes."""
    again = linear(4, 4)
    return chain(linear(3, 4), ReLU(), again, ReLU(), linear(4, 4), ReLU(), again, ReLU(), linear(4, 2))


def in_two(position: int) -> tuple[Module, Linear]:
    """Two Sequentials of a model have one of their layers in common."""
    one, two = ([linear(4, 6), ReLU(), linear(6, 5), ReLU(), linear(5, 2)] for _ in range(2))
    two[position], model = one[position], Module()
    model.one, model.two = Sequential(*one), Sequential(*two)
    return model, one[0]


def rows_and_channels() -> tuple[Module, Conv2d]:
    """One Linear reads the flattened channels of one Sequential and the units of another."""
    reader, model = linear(16, 2), Module()
    model.one, model.two = Sequential(conv(2, 4), Flatten(), reader), Sequential(linear(3, 16), ReLU(), reader)
    return model, model.one[0]


def inside(case: tuple[Module, Module]) -> tuple[Module, Module]:
    """The same layer in a larger model."""
    model = Module()
    model.body, layer = case
    return model, layer


def feed_forward_with(activation: Module) -> tuple[FeedForward, Linear]:
    model = FeedForward(4, rng=R)
    model.gelu = activation
    return model, model.c_fc


def flattened_stream() -> tuple[Sequential, Conv2d]:
    """Behind the Flatten a channel is four values, but what is added is one value for each."""
    return chain(conv(2, 4), Flatten(), Residual(linear(16, 16)), linear(16, 3))


def shared_norm() -> tuple[CNN, Conv2d]:
    norm = BatchNorm2d(4)
    model = CNN([conv(2, 4), norm, ReLU(), conv(4, 4), norm, ReLU(), GlobalAvgPool(), linear(4, 2)])
    return model, model[0]


def chain(*layers, at: int = 0) -> tuple[Sequential, object]:
    model = Sequential(*layers)
    return model, layers[at]


def feed_forward_output() -> tuple[FeedForward, Linear]:
    model = FeedForward(4, rng=R)
    return model, model.c_proj


def stored() -> tuple[Sequential, Linear]:
    return chain(Stored(), ReLU(), linear(4, 2))


def stored_reader() -> tuple[Sequential, Linear]:
    return chain(linear(2, 4), ReLU(), Stored())


# what can't be removed, and what the message contains beside the layer's class
REFUSED = {
    "the model's results": (lambda: chain(linear(4, 3), ReLU(), linear(3, 2), at=2), "Linear"),
    "results behind an activation": (lambda: chain(linear(4, 3), ReLU()), "Linear"),
    "a FeedForward's results": (feed_forward_output, "Linear"),
    "the results of a Sequential in another module": (
        lambda: inside(chain(linear(4, 3), ReLU(), linear(3, 2), at=2)),
        "Linear",
    ),
    "the results of an inner FeedForward": (lambda: inside(feed_forward_output()), "Linear"),
    "a stream that the model returns": (lambda: chain(linear(3, 4), Residual(linear(4, 4)), ReLU()), "Linear"),
    "a stream that is the model's input": (
        lambda: ((model := Sequential(Residual(linear(4, 4)), linear(4, 2))), model[0][0]),
        "Linear",
    ),
    "behind a LayerNorm": (lambda: chain(linear(4, 3), LayerNorm(3), linear(3, 2)), "LayerNorm"),
    "behind a Sigmoid, which makes ½ of 0": (lambda: chain(linear(4, 3), Sigmoid(), linear(3, 2)), "Sigmoid"),
    "behind a Softmax": (lambda: chain(linear(4, 3), Softmax(), linear(3, 2)), "Softmax"),
    "behind a LogSoftmax": (lambda: chain(linear(4, 3), LogSoftmax(), linear(3, 2)), "LogSoftmax"),
    "behind an unknown layer": (lambda: chain(conv(2, 4), Odd(), conv(4, 3)), "Odd"),
    "a stream through an unknown layer": (
        lambda: chain(conv(2, 4), Residual(conv(4, 3), Odd(), conv(3, 4)), Odd(), conv(4, 2)),
        "Odd",
    ),
    "a Linear that reads the last axis of an image": (lambda: chain(conv(2, 4), ReLU(), linear(4, 2)), "Linear"),
    "a Flatten of only the last axes": (lambda: chain(conv(2, 4), Flatten(2), linear(64, 2)), "Flatten"),
    "rows that are flattened": (lambda: chain(linear(2, 4), ReLU(), Flatten(), linear(12, 2)), "Linear"),
    "a layer that runs twice": (twice, "Linear"),
    "a weight that another layer has": (tied, "Linear"),
    "a reader's weight that another layer has": (tied_reader, "Linear"),
    "a weight that a layer elsewhere has": (tied_elsewhere, "Linear"),
    "a norm that runs twice": (shared_norm, "Conv2d"),
    "a bias that another layer has": (lambda: tied_bias(0, 3), "Conv2d"),
    "a norm's bias that another norm has": (lambda: tied_bias(1, 4), "Conv2d"),
    "a running mean that another norm has": (shared_statistics, "Conv2d"),
    "a weight in another module's list": (in_a_list, "Linear"),
    "a bias of two names": (two_names, "Linear"),
    "a reader that runs twice": (reader_twice, "Linear"),
    "a layer in two Sequentials": (lambda: in_two(0), "Linear"),
    "a reader in two Sequentials": (lambda: in_two(2), "Linear"),
    "a reader of channels that also reads rows": (rows_and_channels, "Conv2d"),
    "a FeedForward's Sigmoid": (lambda: feed_forward_with(Sigmoid()), "Sigmoid"),
    "a FeedForward's Sigmoid in a Sequential": (lambda: feed_forward_with(Sequential(ReLU(), Sigmoid())), "Sigmoid"),
    "a FeedForward's unknown layer": (lambda: feed_forward_with(Odd()), "Odd"),
    "a stream that a branch reads through a Sigmoid": (
        lambda: chain(linear(3, 4), Residual(Sigmoid(), linear(4, 4)), linear(4, 2)),
        "Sigmoid",
    ),
    "a stream to which a Sigmoid is added": (
        lambda: chain(linear(3, 4), Residual(linear(4, 4), Sigmoid()), linear(4, 2)),
        "Sigmoid",
    ),
    "a stream to which a norm is added": (
        lambda: chain(linear(3, 4), ReLU(), Residual(LayerNorm(4)), linear(4, 2)),
        "LayerNorm",
    ),
    "a flattened stream": (flattened_stream, "Conv2d"),
    "a stream to which one value is added": (lambda: chain(linear(3, 4), Residual(linear(4, 1)), linear(4, 2)), "Linear"),
    "a Linear in a Sequential in a CNN, which flattens nothing": (
        lambda: ((model := CNN([conv(2, 4), Sequential(linear(8, 8)), GlobalAvgPool(), linear(4, 2)])), model[0]),
        "Linear",
    ),
    "a weight that is no Parameter": (stored, "Stored"),
    "a reader whose weight is no Parameter": (stored_reader, "Stored"),
    "a layer that writes no units": (lambda: chain(linear(4, 3), ReLU(), linear(3, 2), at=1), "ReLU"),
    "a norm": (lambda: chain(conv(2, 4), BatchNorm2d(4), conv(4, 2), at=1), "BatchNorm2d"),
    "a layer of no Sequential": (lambda: ((model := linear(3, 2)), model), "Linear"),
    "a layer of another model": (lambda: (chain(linear(4, 3), ReLU(), linear(3, 2))[0], conv(2, 3)), "Conv2d"),
    "an equal layer of another model": (lambda: (chain(linear(4, 3), ReLU(), linear(3, 2))[0], linear(4, 3)), "Linear"),
}


def shown(layer) -> str:
    """Its class, and its layers or sizes: Linear(4, 3)."""
    weight = getattr(layer, "weight", None)
    if isinstance(weight, Parameter) and weight.ndim > 1:
        inside = map(str, weight.shape[1::-1])
    else:
        layers = layer.layers if isinstance(layer, Sequential) else vars(layer).values()
        inside = [shown(value) for value in layers if hasattr(value, "forward")]
    return f"{type(layer).__name__}({', '.join(inside)})"


@contextmanager
def refused(model: Module, layer: Module, named: str):
    """A ValueError that contains `named` and the layer's class. A report shows the model as it was before."""
    before = f"units of {shown(layer)} in {shown(model)}"
    try:
        with rejects(ValueError, named, type(layer).__name__):
            yield
    except Mismatch as mismatch:
        raise Mismatch(f"{before}: {mismatch}") from None


def arrays(*modules) -> list[np.ndarray]:
    return [array.copy() for module in modules if isinstance(module, Module) for array in module.state_dict().values()]


@pytest.mark.parametrize("case", REFUSED)
def test_units_that_can_not_be_removed_are_refused(case):
    """A ValueError contains the class of the layer, and of one that is in the way; nothing is changed. unit_scores too."""
    make, named = REFUSED[case]
    model, layer = make()
    before = arrays(model, layer)
    with refused(model, layer, named):
        prune_units(model, layer, [0, 1])
    with refused(model, layer, named):
        unit_scores(model, layer)
    for got, want in zip(arrays(model, layer), before, strict=True):
        assert_close(got, want)


def test_what_is_elsewhere_in_the_model_does_not_matter(draw):
    """A LayerNorm, a layer that runs twice, or a tied weight forbid only the units that go through them."""
    again = linear(5, 5)
    model = Sequential(linear(4, 6), ReLU(), linear(6, 5), LayerNorm(5), again, again, Odd(), linear(5, 4), Sigmoid())
    prune_units(model, model[0], [1, 4])
    assert model[0].weight.shape == (2, 4)
    assert model[2].weight.shape == (5, 2)


def test_a_layer_that_runs_twice_in_one_stream_is_pruned_once():
    """All its uses read and write the same units, so both axes of its weight shrink, once."""
    again = linear(4, 4)
    model = Sequential(linear(3, 4), Residual(again), Residual(ReLU(), again), linear(4, 2))
    prune_units(model, again, [0, 2, 3])
    assert [parameter.shape for parameter in model.parameters()] == [(3, 3), (3,), (3, 3), (3,), (2, 3), (2,)]


@pytest.mark.parametrize(
    ("keep", "error", "named"),
    [
        ([], ValueError, "[]"),
        ([[0, 1]], ValueError, "[[0"),
        (2, ValueError, "2"),
        ([0, 1, 1], ValueError, "1"),
        ([0.0, 1.0], TypeError, "float"),
        ([True, False, True], TypeError, "bool"),
        ([0, 3], IndexError, "3"),
        ([-1, 0], IndexError, "-1"),
    ],
    ids=str,
)
def test_a_keep_that_names_no_units_is_refused(keep, error, named):
    """An empty keep, one with an index twice or with another number of axes raises a ValueError, floats and booleans raise a
    TypeError, and an index that does not exist, a negative one too, an IndexError that contains it. Nothing is changed.
    """
    model, layer = chain(linear(4, 3), ReLU(), linear(3, 2))
    before = arrays(model)
    with rejects(error, named):
        prune_units(model, layer, keep)
    for got, want in zip(arrays(model), before, strict=True):
        assert_close(got, want)


class Full(np.ndarray):
    """An array of which no part can be copied."""

    def take(self, *args, **options):
        raise MemoryError

    def __getitem__(self, index):
        raise MemoryError


def test_without_memory_for_the_last_array_nothing_is_changed():
    """All new arrays are made before the first one takes its place."""
    model, layer = chain(linear(4, 3), ReLU(), linear(3, 2))
    before, whole = arrays(model), model[2].weight.data
    model[2].weight.data = whole.view(Full)
    with pytest.raises(MemoryError):
        prune_units(model, layer, [0, 2])
    model[2].weight.data = whole
    for got, want in zip(arrays(model), before, strict=True):
        assert_close(got, want)
    assert layer.out_features == 3
