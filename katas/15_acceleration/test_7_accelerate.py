import copy

import numpy as np
import pytest
from katas.acceleration import accelerate, data_parallel, flat
from katas.activations import GELU, LeakyReLU, ReLU, Sigmoid, Tanh
from katas.attention import MultiHeadAttention
from katas.autograd import no_grad
from katas.embeddings import RotaryPositions
from katas.layers import Dropout, Flatten, Linear, Module, Parameter, Sequential
from katas.losses import CrossEntropyLoss
from katas.optimizers import SGD, AdamW
from katas.spatial import CNN, BatchNorm2d, Conv2d, MaxPool2d
from katas.tensor import Tensor
from katas.training import Batches, Objective, Trainer, accuracy
from katas.transformers import GPT, Block, FeedForward, GPTConfig, LayerNorm, RMSNorm, generate

from specs import oracles
from specs.check import Tolerance, assert_close, assert_reentrant, recording, rejects
from specs.oracles.cache import ListCache
from specs.oracles.training import assert_same

CLOSE = Tolerance("of an accelerated model", 1e-5)  # of the largest value beside it


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def cnn() -> CNN:
    """Convolutions of all kinds, a BatchNorm2d before a ReLU, one before a pool, and one behind a Linear's features."""
    generator = rng()
    return CNN(
        [
            Conv2d(3, 8, 4, stride=2, padding=1, bias=False, rng=generator),
            BatchNorm2d(8),
            ReLU(),
            Conv2d(8, 12, 3, padding=1, bias=False, rng=generator),
            BatchNorm2d(12, eps=0.01, momentum=0.3),
            ReLU(),
            MaxPool2d(2),
            Conv2d(12, 6, 3, padding=1, rng=generator),
            ReLU(),
            BatchNorm2d(6),
            MaxPool2d(4),
            Linear(6, 5, rng=generator),
        ]
    )


def gpt(**options) -> GPT:
    return GPT(GPTConfig(**({"vocab_size": 13, "context": 12, "n_layer": 2, "n_head": 2, "d_model": 16} | options)), rng())


def images(draw) -> np.ndarray:
    return draw.normal(6, 3, 16, 16, dtype=np.float32)


def ids(draw) -> np.ndarray:
    return draw.integers(13, 3, 12)


# A model, what it is called with, and the names of operations that must be gone
LAYERS = {
    "Conv2d": (lambda: Conv2d(3, 4, 3, padding=1, rng=rng()), (2, 3, 6, 8), {"conv2d"}),
    "Conv2d with a stride": (lambda: Conv2d(3, 4, (5, 3), (2, 1), (0, 2), rng=rng()), (2, 3, 7, 8), {"conv2d"}),
    "LayerNorm": (lambda: LayerNorm(6), (4, 5, 6), {"sqrt", "div", "mul"}),
    "LayerNorm without bias": (lambda: LayerNorm(6, bias=False, eps=0.1), (5, 6), {"sqrt", "div", "mul"}),
    "RMSNorm": (lambda: RMSNorm(6, eps=0.1), (4, 5, 6), {"sqrt", "div", "mul"}),
    "GELU": (lambda: GELU(), (4, 5), {"tanh", "mul"}),
    "BatchNorm2d and ReLU": (lambda: Sequential(BatchNorm2d(3), ReLU()), (4, 3, 2, 5), {"sqrt", "maximum"}),
    "BatchNorm2d and ReLU in a CNN": (lambda: CNN([BatchNorm2d(3), ReLU()]), (4, 3, 2, 5), {"sqrt", "maximum"}),
    "MultiHeadAttention": (lambda: MultiHeadAttention(8, 2, rng=rng()), (2, 7, 8), {"exp", "div"}),
    "MultiHeadAttention, not causal": (
        lambda: MultiHeadAttention(8, 4, bias=False, causal=False, rng=rng()),
        (2, 7, 8),
        {"exp"},
    ),
    "MultiHeadAttention with a window": (lambda: MultiHeadAttention(8, 2, window=3, rng=rng()), (2, 7, 8), {"exp"}),
    "MultiHeadAttention with rotary positions": (
        lambda: MultiHeadAttention(8, 2, positions=RotaryPositions(16, 4), rng=rng()),
        (2, 7, 8),
        {"exp"},
    ),
    "a CNN": (cnn, (6, 3, 16, 16), {"conv2d"}),
    "a FeedForward": (lambda: FeedForward(8, rng=rng()), (2, 7, 8), {"tanh"}),
    "a Block": (lambda: Block(gpt().config, rng=rng()), (2, 7, 16), {"exp", "tanh", "sqrt"}),
    "no known layer": (lambda: Sequential(Linear(4, 5, rng=rng()), Tanh(), Linear(5, 2, rng=rng())), (3, 4), set()),
}
layers = pytest.mark.parametrize("name", LAYERS)


def parameters(model) -> list[tuple[str, Parameter]]:
    return model.named_parameters() if isinstance(model, Module) else []


def pair(name: str, draw) -> tuple:
    """A plain model and an equal accelerated one, whose parameters are random, and an input."""
    make, shape, gone = LAYERS[name]
    plain, fast = make(), make()
    for (_, a), (_, b) in zip(parameters(plain), parameters(fast), strict=True):
        a.data = np.array(draw.uniform(-1, 1, *a.shape, dtype=np.float32))
        b.data = a.data.copy()
    return plain, accelerate(fast), draw.normal(*shape, dtype=np.float32), gone


def results(model, x, g=None) -> dict:
    """The output, and all gradients for g, by name."""
    leaf = Tensor(x, requires_grad=True)
    y = model(leaf)
    y.backward(np.ones(y.shape) if g is None else g)
    found = {"output": y.data, "input": leaf.grad} | {name: parameter.grad for name, parameter in parameters(model)}
    for _, parameter in parameters(model):
        parameter.grad = None
    return found


def assert_alike(got: dict, want: dict) -> None:
    """The outputs, and the gradients relative to the largest of all: where others cancel out, only roundings are left."""
    assert got.keys() == want.keys()
    sizes = {name: np.abs(array).max(initial=0) for name, array in want.items() if array is not None}
    largest = max([size for name, size in sizes.items() if name != "output"], default=0.0)
    for name, array in want.items():
        if array is None:
            assert got[name] is None, f"{name} has a gradient"
        else:
            share = 1.0 if name == "output" else max(1.0, largest / (sizes[name] or 1.0))
            assert_close(got[name], array, CLOSE._replace(relative=CLOSE.relative * share), name=name)


@layers
def test_outputs_and_gradients_are_the_same(name, draw):
    """Within 1e-5 of the largest value, in train and eval mode; buffers, too."""
    plain, fast, x, _ = pair(name, draw)
    for training in (True, True, False):
        for model in (plain, fast):
            if isinstance(model, Module):
                model.train(training)
        y = plain(Tensor(x))
        if isinstance(plain, Module) and training:
            fast(Tensor(x))
        g = draw.normal(*y.shape, dtype=np.float32)
        assert_alike(results(fast, x, g), results(plain, x, g))
        if isinstance(plain, Module):
            for (key, a), (other, b) in zip(plain.named_buffers(), fast.named_buffers(), strict=True):
                assert key == other
                assert_close(b, a, CLOSE, name=key)


@pytest.mark.parametrize("name", [name for name in LAYERS if name != "GELU"])  # which has no parameters
def test_gradients_of_the_parameters_need_none_of_the_input(name, draw):
    """As in a first layer, whose input is data."""
    plain, fast, x, _ = pair(name, draw)
    g = draw.normal(*plain(Tensor(x)).shape, dtype=np.float32)
    fast(Tensor(x)), plain(Tensor(x)).backward(g), fast(Tensor(x)).backward(g)
    got, want = ({name: parameter.grad for name, parameter in parameters(model)} for model in (fast, plain))
    assert_alike(got, want)


@layers
def test_the_operations_are_the_fused_ones(name, draw):
    """The operations that the plain layer is composed of are no longer recorded."""
    _, fast, x, gone = pair(name, draw)
    with recording() as probe:
        fast(Tensor(x))
    names = {record.op for record in probe}
    assert not names & gone, f"still composed of {sorted(names & gone)}"
    if "Conv2d" in name:
        assert "fast_conv2d" in names


@layers
def test_it_is_the_same_model(name, draw):
    """accelerate changes the model in place and returns it: Parameters are the same objects, names and keys stay."""
    make, _, _ = LAYERS[name]
    model = make()
    if not isinstance(model, Module):
        assert accelerate(model) is model
        return
    kinds, before = [type(module) for module in model.modules()], model.named_parameters()
    buffers, state, modules = model.named_buffers(), model.state_dict(), model.modules()
    assert accelerate(model) is model
    assert [(name, id(parameter)) for name, parameter in model.named_parameters()] == [(n, id(p)) for n, p in before]
    assert [(name, id(array)) for name, array in model.named_buffers()] == [(n, id(a)) for n, a in buffers]
    assert_same(model.state_dict(), state)
    assert [id(module) for module in model.modules()] == [id(module) for module in modules]
    assert all(isinstance(module, kind) for module, kind in zip(model.modules(), kinds, strict=True))


@layers
def test_twice_is_as_once(name, draw):
    """A second accelerate changes nothing."""
    plain, fast, x, _ = pair(name, draw)
    once = [type(module) for module in fast.modules()] if isinstance(fast, Module) else [type(fast)]
    accelerate(fast)
    twice = [type(module) for module in fast.modules()] if isinstance(fast, Module) else [type(fast)]
    assert twice == once
    assert_alike(results(fast, x), results(plain, x))


@layers
def test_other_models_stay_plain(name, draw):
    """Only the model's own layers change: not the classes, nor models made before or after."""
    make, shape, _ = LAYERS[name]
    before, x = make(), Tensor(draw.normal(*shape, dtype=np.float32))
    names = []
    for model in (before, make()):
        accelerate(make())
        with recording() as probe:
            model(x)
        names.append([record.op for record in probe])
        assert all(type(module).__module__.startswith("katas.") for module in getattr(model, "modules", list)())
    assert names[0] == names[1]
    assert "fast_conv2d" not in names[0]


@layers
def test_saved_by_one_and_loaded_by_the_other(name, draw):
    """state_dict of an accelerated model fits a plain one, and the other way round."""
    plain, fast, x, _ = pair(name, draw)
    if not isinstance(plain, Module):
        return
    results(fast, x), results(plain, x)
    make, _, _ = LAYERS[name]
    fresh, other = make(), accelerate(make())
    fresh.load_state_dict(fast.state_dict())
    other.load_state_dict(plain.state_dict())
    for model in (fresh, other, plain, fast):
        model.eval()
    assert_close(fresh(Tensor(x)), fast(Tensor(x)).data, CLOSE)
    assert_close(other(Tensor(x)), plain(Tensor(x)).data, CLOSE)


@layers
def test_a_copy_is_accelerated_too(name, draw):
    """copy.deepcopy of an accelerated model works, with parameters of its own."""
    _, fast, x, _ = pair(name, draw)
    twin = copy.deepcopy(fast)
    assert_alike(results(twin, x), results(fast, x))
    assert not any(a is b for (_, a), (_, b) in zip(parameters(twin), parameters(fast), strict=True))


@layers
def test_under_no_grad_nothing_is_recorded(name, draw):
    """Evaluation under no_grad: the same values, and no graph."""
    plain, fast, x, _ = pair(name, draw)
    with no_grad():
        y = fast(Tensor(x))
    assert not y.requires_grad
    assert_close(y, plain(Tensor(x)).data, CLOSE)


# What the numbers must be, without any layer of the katas


def test_numbers_of_a_convolution(draw):
    """An accelerated Conv2d gives the convolution, by the definition."""
    layer = accelerate(Conv2d(3, 4, 3, padding=1, rng=rng()))
    x = draw.normal(2, 3, 6, 8, dtype=np.float32)
    want = oracles.spatial.direct(x, layer.weight.data, padding=(1, 1)) + layer.bias.data[:, None, None]
    assert_close(layer(Tensor(x)), want, CLOSE)


def test_numbers_of_normalizations(draw):
    """LayerNorm, RMSNorm, and BatchNorm2d with a ReLU behind it, by explicit loops."""
    x, weight, bias = draw.normal(4, 6), draw.uniform(0.5, 2, 6), draw.normal(6)
    norm, root = accelerate(LayerNorm(6)), accelerate(RMSNorm(6))
    norm.weight.data, norm.bias.data, root.weight.data = weight, bias, weight
    assert_close(norm(Tensor(x)), oracles.transformers.layer_norm(x, weight, bias))
    assert_close(root(Tensor(x)), oracles.transformers.rms_norm(x, weight))
    x, network = draw.normal(4, 3, 2, 5, dtype=np.float32), accelerate(Sequential(BatchNorm2d(3), ReLU()))
    want = np.maximum(oracles.spatial.batch_norm(x, np.ones(3), np.zeros(3)), 0)
    assert_close(network(Tensor(x)), want, CLOSE)
    assert_close(network[0].running_mean, 0.1 * x.mean((0, 2, 3)), CLOSE)


@pytest.mark.parametrize(
    "options", [{}, {"norm": "rms", "positions": "rotary"}, {"positions": "rotary", "window": 4}, {"bias": False}], ids=str
)
def test_numbers_of_a_gpt(options, draw):
    """The logits of an accelerated GPT are those that the formulas give, token by token and head by head."""
    model, text = accelerate(gpt(**options)), draw.integers(13, 12)
    for parameter in model.parameters():
        parameter.data = parameter.data + 0.1 * draw.normal(*parameter.shape, dtype=np.float32)
    want = oracles.transformers.gpt(model.state_dict(), model.config, text)
    assert_close(model(text[None]).data[0], want, CLOSE)


# Options that change later


def test_options_of_a_convolution_may_change(draw):
    """stride, padding, weight and bias are read at each call."""
    layer, x = accelerate(Conv2d(3, 4, 3, padding=1, rng=rng())), draw.normal(2, 3, 6, 8, dtype=np.float32)
    layer.padding, layer.stride = (0, 1), (2, 1)
    layer.weight = Parameter(draw.normal(5, 3, 3, 3, dtype=np.float32))
    layer.bias = None
    assert_close(layer(Tensor(x)), oracles.spatial.direct(x, layer.weight.data, (2, 1), (0, 1)), CLOSE)
    assert [name for name, _ in layer.named_parameters()] == ["weight"]


def test_options_of_a_normalization_may_change(draw):
    """eps, momentum, weight and bias, and the mode, are read at each call."""
    x = 1e-2 * draw.normal(4, 6)
    for layer, oracle in ((LayerNorm(6), oracles.transformers.layer_norm), (RMSNorm(6), oracles.transformers.rms_norm)):
        accelerate(layer)
        layer.eps, layer.weight.data = 0.5, np.arange(6.0)
        assert_close(layer(Tensor(x)), oracle(x, np.arange(6.0), eps=0.5))
    x, network = draw.normal(4, 3, 2, 5, dtype=np.float32), accelerate(Sequential(BatchNorm2d(3), ReLU()))
    norm = network[0]
    norm.eps, norm.momentum = 0.5, 1.0
    assert_close(network(Tensor(x)), np.maximum(oracles.spatial.batch_norm(x, np.ones(3), np.zeros(3), 0.5), 0), CLOSE)
    assert_close(norm.running_mean, x.mean((0, 2, 3)), CLOSE)
    norm.training = False
    y = network(Tensor(x[:1])).data
    shaped = [array[:, None, None] for array in (norm.running_mean, norm.running_var)]
    assert_close(y, np.maximum((x[:1] - shaped[0]) / np.sqrt(shaped[1] + 0.5), 0), CLOSE)


def test_options_of_attention_may_change(draw):
    """causal, window and positions are read at each call; so is the number of heads."""
    plain, fast = (MultiHeadAttention(8, 2, rng=rng()) for _ in range(2))
    accelerate(fast)
    x = draw.normal(2, 7, 8, dtype=np.float32)
    for name, value in (
        ("causal", False),
        ("window", 2),
        ("window", np.uint8(3)),
        ("window", 10**30),
        ("positions", RotaryPositions(16, 4)),
        ("positions", None),
        ("n_head", 4),
    ):
        setattr(plain, name, value)
        setattr(fast, name, value)
        assert_close(fast(Tensor(x)), plain(Tensor(x)).data, CLOSE, name=f"{name} = {value}")


def test_options_of_the_loss_may_change(draw):
    """label_smoothing and ignore_index are read at each call; `counted` stays."""
    criterion, logits = accelerate(CrossEntropyLoss()), draw.normal(6, 5)
    target = np.array([0, 1, 2, 2, 3, 4])
    criterion.label_smoothing, criterion.ignore_index = 0.2, 2
    want = oracles.losses.cross_entropy(logits, target, 0.2, 2)
    assert_close(criterion(Tensor(logits), target), np.asarray(want))
    assert criterion.counted(target) == 4


# BatchNorm2d and ReLU


class Louder(ReLU):
    """Not a ReLU's values."""

    def forward(self, x):
        return super().forward(x) * 3


SHARED = ReLU()
PAIRS = {
    "a pool between": lambda: [BatchNorm2d(3), MaxPool2d(1), ReLU()],
    "the last layer": lambda: [ReLU(), BatchNorm2d(3)],
    "another activation": lambda: [BatchNorm2d(3), LeakyReLU(0.5)],
    "a subclass of ReLU": lambda: [BatchNorm2d(3), Louder()],
    "two ReLUs": lambda: [BatchNorm2d(3), ReLU(), ReLU()],
    "two BatchNorms": lambda: [BatchNorm2d(3), BatchNorm2d(3), ReLU()],
    "a ReLU that is shared": lambda: [
        BatchNorm2d(3),
        SHARED,
        Conv2d(3, 3, 1, bias=False, rng=rng()),
        SHARED,
        BatchNorm2d(3),
        SHARED,
    ],
    "in a Sequential of their own": lambda: [Sequential(BatchNorm2d(3), ReLU()), BatchNorm2d(3)],
    "split between two": lambda: [Sequential(Conv2d(3, 3, 1, bias=False, rng=rng()), BatchNorm2d(3)), ReLU()],
    "a convolution before": lambda: [Conv2d(3, 3, 3, padding=1, bias=False, rng=rng()), BatchNorm2d(3), ReLU(), Flatten()],
}


@pytest.mark.parametrize("kind", [Sequential, lambda *layers: CNN([*layers])], ids=["Sequential", "CNN"])
@pytest.mark.parametrize("name", PAIRS)
def test_only_a_relu_directly_behind_is_taken_along(name, kind, draw):
    """Outputs, gradients and running statistics are the same wherever BatchNorm2d and ReLU stand."""
    plain, fast = kind(*PAIRS[name]()), accelerate(kind(*PAIRS[name]()))
    x = draw.normal(4, 3, 2, 4, dtype=np.float32)
    g = draw.normal(*plain(Tensor(x)).shape, dtype=np.float32)
    fast(Tensor(x))
    assert_alike(results(fast, x, g), results(plain, x, g))
    got, want = ([array for _, array in model.named_buffers()] for model in (fast, plain))
    assert_close(
        np.array(got), np.array(want), CLOSE
    )  # together: the mean of what is normalized already is 0, but for roundings


def test_a_normalization_with_and_without_a_relu(draw):
    """One BatchNorm2d object, once before a ReLU and once not: each place means what it says."""

    def network():
        norm = BatchNorm2d(3)
        return Sequential(norm, ReLU(), norm, Flatten())

    plain, fast, x = network(), accelerate(network()), draw.normal(4, 3, 2, 4, dtype=np.float32)
    assert_alike(results(fast, x), results(plain, x))
    assert (fast(Tensor(x)).data < 0).any()


def test_layers_of_a_sequential_may_change_later(draw):
    """`layers` is read at each call: without its ReLU a BatchNorm2d gives negative values, and with a new one it doesn't."""
    network, x = accelerate(Sequential(BatchNorm2d(3), ReLU())), draw.normal(4, 3, 2, 4, dtype=np.float32)
    normalized = oracles.spatial.batch_norm(x, np.ones(3), np.zeros(3))
    relu = network.layers.pop()
    assert_close(network(Tensor(x)), normalized, CLOSE, mistakes={"the ReLU that was removed": np.maximum(normalized, 0)})
    network.layers.append(relu)
    assert_close(network(Tensor(x)), np.maximum(normalized, 0), CLOSE)
    network.layers[0] = Flatten()
    assert network(Tensor(x)).shape == (4, 24)
    assert len(network) == 2
    assert network[1] is relu


def test_a_normalization_may_be_called_alone(draw):
    """network[0](x) is the BatchNorm2d without the ReLU."""
    network, x = accelerate(Sequential(BatchNorm2d(3), ReLU())), draw.normal(4, 3, 2, 4, dtype=np.float32)
    assert_close(network[0](Tensor(x)), oracles.spatial.batch_norm(x, np.ones(3), np.zeros(3)), CLOSE)
    assert [isinstance(layer, kind) for layer, kind in zip(network, (BatchNorm2d, ReLU), strict=True)] == [True, True]


# What is left alone


class Doubled(Conv2d):
    def forward(self, x):
        return 2 * super().forward(x)


class Shifted(LayerNorm):
    def forward(self, x):
        return super().forward(x) + 1


class Recorded(BatchNorm2d):
    def forward(self, x):
        return super().forward(x) - 5


class Skipping(Sequential):
    def forward(self, x):
        return super().forward(x) + x


class Squared(MultiHeadAttention):
    def forward(self, x, mask=None, cache=None):
        y = super().forward(x, mask, cache)
        return y * y


class Halved(CrossEntropyLoss):
    def forward(self, logits, target):
        return super().forward(logits, target) / 2


SUBCLASSES = {
    "Conv2d": (lambda: Doubled(3, 3, 3, padding=1, rng=rng()), (2, 3, 4, 4)),
    "LayerNorm": (lambda: Shifted(5), (2, 5)),
    "BatchNorm2d": (lambda: Sequential(Recorded(3), ReLU()), (2, 3, 4, 4)),
    "Sequential": (lambda: Skipping(BatchNorm2d(3), ReLU()), (2, 3, 4, 4)),
    "MultiHeadAttention": (lambda: Squared(8, 2, rng=rng()), (2, 5, 8)),
}


@pytest.mark.parametrize("name", SUBCLASSES)
def test_subclasses_are_left_alone(name, draw):
    """A subclass may mean something else by its forward: its type and its values stay."""
    make, shape = SUBCLASSES[name]
    plain, fast, x = make(), accelerate(make()), draw.normal(*shape, dtype=np.float32)
    assert type(fast) is type(plain) or name == "BatchNorm2d"
    plain(Tensor(x)), fast(Tensor(x))
    assert_alike(results(fast, x), results(plain, x))


def test_a_subclass_of_the_loss_is_left_alone(draw):
    """CrossEntropyLoss, too."""
    criterion, logits = accelerate(Halved()), draw.normal(4, 5)
    assert type(criterion) is Halved
    want = oracles.losses.cross_entropy(logits, np.array([0, 1, 2, 3])) / 2
    assert_close(criterion(Tensor(logits), [0, 1, 2, 3]), np.asarray(want))


class Holder(Module):
    """Layers in attributes, lists, tuples and lists in lists, one of them twice, and a way back to the holder."""

    def __init__(self):
        generator = rng()
        self.first = LayerNorm(6)
        self.rest = [GELU(), (Linear(6, 6, rng=generator), [RMSNorm(6), LayerNorm(6)])]
        self.again = self.first
        self.child = Sequential(GELU())
        self.child.parent = self
        self.unused = None

    def forward(self, x):
        gelu, (linear, (root, norm)) = self.rest
        return self.child[0](self.again(norm(root(linear(gelu(self.first(x)))))))


def test_layers_are_found_wherever_modules_are(draw):
    """In attributes, lists and tuples, however deep; also if it is there twice; a child may refer to its parent."""
    plain, fast, x = Holder(), accelerate(Holder()), draw.normal(4, 6, dtype=np.float32)
    with recording() as probe:
        fast(Tensor(x))
    assert not {record.op for record in probe} & {"sqrt", "tanh", "exp"}
    assert fast.again is fast.first
    assert_alike(results(fast, x), results(plain, x))


# Errors are the plain layer's


def test_errors_name_the_shapes():
    """Wrong input raises what the plain layer raises, with the shapes in the message."""
    with rejects(ValueError, "(3, 4)"):
        accelerate(LayerNorm(5))(Tensor(np.ones((3, 4))))
    with rejects(ValueError, "(3, 1)"):
        accelerate(RMSNorm(5))(Tensor(np.ones((3, 1))))
    with rejects(ValueError, "(2, 3, 4, 4)", "(4, 2, 3, 3)"):
        accelerate(Conv2d(2, 4, 3))(Tensor(np.ones((2, 3, 4, 4))))
    with rejects(ValueError, "(2, 4, 3, 3)"):
        accelerate(Sequential(BatchNorm2d(3), ReLU()))(Tensor(np.ones((2, 4, 3, 3))))
    with rejects(ValueError, "(1, 3, 1, 1)"):
        accelerate(Sequential(BatchNorm2d(3), ReLU()))(Tensor(np.ones((1, 3, 1, 1))))
    with rejects(ValueError, "7", "5"):
        accelerate(CrossEntropyLoss())(Tensor(np.ones((1, 5))), [7])


def test_errors_of_linear_layers():
    """As katas 04's and 14's: the shape of what does not fit. A width of 1 does not fit either."""
    for shape in ((2, 7), (2, 1), ()):
        for layer in (Linear(8, 3), FeedForward(8)):
            with rejects(ValueError, str(shape)):
                accelerate(layer)(Tensor(np.zeros(shape, np.float32)))


class TwiceGELU(GELU):
    """A learner's own: twice a GELU."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * 2


class LinearAndOne(Linear):
    """A learner's own: a Linear and 1."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + 1


@pytest.mark.parametrize(
    "change", [{"gelu": TwiceGELU()}, {"c_fc": LinearAndOne(8, 32, rng=rng())}, {"c_proj": LinearAndOne(32, 8, rng=rng())}]
)
def test_a_feed_forward_of_other_parts_is_computed_by_them(change, draw):
    """Where a part is a subclass, it is asked for what it gives."""
    x, plain, fast = draw.normal(3, 8, dtype=np.float32), FeedForward(8, rng=rng()), FeedForward(8, rng=rng())
    for layer in (plain, fast):
        vars(layer).update(change)
    accelerate(fast)
    g = draw.normal(3, 8, dtype=np.float32)
    assert_alike(results(fast, x, g), results(plain, x, g))


@pytest.mark.parametrize("sizes", [(2,), (3,), ((2, 3),), (2, 1), (3, 2), (2, (2, 1))])
def test_pools_of_all_kinds(sizes, draw):
    """Windows side by side or not, and sizes that they divide or not: values and gradients, exactly one for each window."""
    x = draw.normal(2, 3, 6, 7, dtype=np.float32)
    plain, fast = MaxPool2d(*sizes), accelerate(MaxPool2d(*sizes))
    g = draw.normal(*plain(Tensor(x)).shape, dtype=np.float32)
    assert_alike(results(fast, x, g), results(plain, x, g))
    same = np.zeros_like(x)  # ties: all of a window's gradient goes to its first
    assert_alike(results(fast, same, g), results(plain, same, g))
    with rejects(ValueError, "3"):
        accelerate(MaxPool2d(3))(Tensor(x[:, :, :2]))
    with rejects(ValueError, "(3, 6, 7)"):
        accelerate(MaxPool2d(3))(Tensor(x[0]))


def test_errors_of_attention():
    """As kata 13's: the shape of x; the shapes of mask and x; a mask of numbers; a window that is not positive."""
    attention = accelerate(MultiHeadAttention(8, 2, rng=rng()))
    x = Tensor(np.ones((2, 5, 8), np.float32))
    for shape in ((2, 5, 7), (5, 8), (2, 3, 5, 8)):
        with rejects(ValueError, str(shape)):
            attention(Tensor(np.ones(shape)))
    with rejects(ValueError, "(2, 4)", "(2, 5, 8)"):
        attention(x, np.ones((2, 4), bool))
    with rejects(TypeError, "float64"):
        attention(x, np.ones((2, 5)))
    attention.window = 0
    with rejects(ValueError, "0"):
        attention(x)
    attention.window, attention.causal = None, False
    with rejects(ValueError, "causal"):
        attention(x, cache=ListCache(2))


# Attention: masks, caches, dropout


def test_a_mask_of_padding(draw):
    """mask (batch, time) is True for real tokens, as an array, a Tensor or lists: padding is not looked at."""
    plain, fast = MultiHeadAttention(8, 2, rng=rng()), accelerate(MultiHeadAttention(8, 2, rng=rng()))
    x, mask = Tensor(draw.normal(2, 7, 8, dtype=np.float32)), np.ones((2, 7), bool)
    mask[0, 4:], mask[1, :2] = False, False
    want = plain(x, mask).data
    for kind in (mask, Tensor(mask), mask.tolist()):
        assert_close(fast(x, kind), want, CLOSE, mistakes={"the mask is ignored": plain(x).data})
    assert_close(fast.weights(x, mask), plain.weights(x, mask), CLOSE)


def test_padding_and_rotary_positions(draw):
    """With a mask, queries and keys are rotated too; by a subclass of RotaryPositions as it says."""

    class Reversed(RotaryPositions):
        def forward(self, x: Tensor, start=0) -> Tensor:
            return super().forward(x[..., ::-1], start)

    x, mask = Tensor(draw.normal(2, 7, 8, dtype=np.float32)), np.arange(7) < np.array([[5], [7]])
    for positions in (RotaryPositions(16, 4), Reversed(16, 4)):
        for options in ({}, {"causal": False}, {"window": 2}):
            plain, fast = (MultiHeadAttention(8, 2, positions=positions, rng=rng(), **options) for _ in range(2))
            for real in (None, mask):
                assert_close(accelerate(fast)(x, real), plain(x, real).data, CLOSE)


def test_attention_whose_projection_is_another(draw):
    """It is asked for what it gives."""
    x, plain, fast = Tensor(draw.normal(2, 5, 8, dtype=np.float32)), *(MultiHeadAttention(8, 2, rng=rng()) for _ in range(2))
    for attention in (plain, fast):
        attention.c_attn = LinearAndOne(8, 24, rng=rng(1))
    assert_close(accelerate(fast)(x), plain(x).data, CLOSE)


def test_a_cache(draw):
    """Token by token, with a cache, and in parts: the logits are those of the whole text."""
    model, text = accelerate(gpt()).eval(), draw.integers(13, 2, 9)
    want = model(text).data
    for sizes in ([1] * 9, [4, 5], [3, 1, 5]):
        cache, parts, start = ListCache(2, layers=2), [], 0
        for size in sizes:
            parts.append(model(text[:, start : start + size], cache=cache).data)
            start += size
        assert_close(np.concatenate(parts, 1), want, CLOSE)


def test_generate_gives_the_same_text():
    """generate with an accelerated GPT, greedy, gives what the plain one gives."""
    plain, fast = gpt(), accelerate(gpt())
    for model in (plain, fast):
        for parameter in model.parameters():
            parameter.data = 20 * parameter.data
    assert list(generate(fast, [3, 1], 8, temperature=0)) == list(generate(plain, [3, 1], 8, temperature=0))


@pytest.mark.parametrize("training", [True, False])
def test_dropout_draws_the_same_masks(training, draw):
    """With equal generators an accelerated model drops what the plain one drops: on attention's weights, too."""
    plain, fast = gpt(dropout=0.3), accelerate(gpt(dropout=0.3))
    for model in (plain, fast):
        model.train(training)
    text = draw.integers(13, 2, 9)
    for _ in range(2):
        assert_close(fast(text), plain(text).data, CLOSE)


# Models as they are trained


def objective_of(kind: str, fast: bool) -> Objective:
    model = Objective(cnn() if kind == "CNN" else gpt(), CrossEntropyLoss(label_smoothing=0.1))
    return accelerate(model) if fast else model


def batches(kind: str, draw) -> list:
    if kind == "CNN":
        return [(Tensor(images(draw)), Tensor(draw.integers(5, 6))) for _ in range(4)]
    return [(text[:, :-1], text[:, 1:]) for text in (ids(draw) for _ in range(4))]


@pytest.mark.parametrize("kind", ["CNN", "GPT"])
def test_the_criterion_is_taken_along(kind, draw):
    """accelerate(Objective(network, criterion)): CrossEntropyLoss, too; counted(x, y) stays."""
    plain, fast = objective_of(kind, False), objective_of(kind, True)
    assert isinstance(fast.criterion, CrossEntropyLoss)
    x, y = batches(kind, draw)[0]
    with recording() as probe:
        loss = fast(x, y)
    assert not {record.op for record in probe} & {"exp", "log", "sqrt", "tanh", "conv2d"} - (
        {"sqrt"} if kind == "CNN" else set()
    )
    assert_close(loss, plain(x, y).data, CLOSE)
    assert fast.counted(x, y) == plain.counted(x, y)


@pytest.mark.parametrize("kind", ["CNN", "GPT"])
def test_training_is_nearly_the_same(kind, draw):
    """Four steps of SGD on an accelerated objective: losses within 1e-4, parameters near."""
    losses, data, states = [], batches(kind, draw), []
    for fast in (False, True):
        model = objective_of(kind, fast)
        optimizer, found = SGD(model.parameters(), lr=0.05, momentum=0.9), []
        if fast:
            optimizer = flat(optimizer)
        for x, y in data:
            optimizer.zero_grad()
            loss = model(x, y)
            loss.backward()
            optimizer.step()
            found.append(loss.item())
        losses.append(found)
        states.append(model.state_dict())
    assert np.abs(np.subtract(*losses)).max() < 1e-4
    assert [*states[0]] == [*states[1]]
    for name, array in states[0].items():
        assert np.abs(states[1][name] - array).max() < 1e-3, name


def test_all_of_it_in_a_trainer():
    """Trainer(network, None, flat(optimizer), objective=data_parallel(accelerate(Objective(network, criterion)))) learns."""
    generator = rng(1)
    conv, norm = Conv2d(1, 4, 3, padding=1, rng=generator), BatchNorm2d(4, momentum=0.5)
    network = CNN([conv, norm, ReLU(), MaxPool2d(2), Linear(64, 2, rng=generator)])
    labels = np.arange(96) % 2
    x = generator.standard_normal((96, 1, 8, 8)).astype(np.float32)
    x[labels == 1, :, ::2] += 2
    objective = data_parallel(accelerate(Objective(network, CrossEntropyLoss())))
    optimizer = flat(AdamW(network.parameters(), lr=0.02))
    trainer = Trainer(network, None, optimizer, objective=objective, metric=accuracy)
    history = trainer.fit(Batches(x, labels, 32, generator), epochs=8, validation=Batches(x, labels, 96))
    assert history[-1]["metric"] > 0.9
    plain = CNN([Conv2d(1, 4, 3, padding=1), BatchNorm2d(4), ReLU(), MaxPool2d(2), Linear(64, 2)])
    plain.load_state_dict(network.state_dict())
    assert_close(plain.eval()(Tensor(x)), network.eval()(Tensor(x)).data, CLOSE)


def test_two_threads_may_call_an_accelerated_model(draw):
    """An accelerated model keeps nothing of a call as an attribute: two threads get their own results."""
    model, x = accelerate(cnn()).eval(), images(draw)
    assert_reentrant(lambda scale: [model(Tensor(scale * x))], times=5)


def test_a_dropout_is_a_dropout(draw):
    """Layers that are not known stay the same objects of the same types."""
    layers = [Sigmoid(), Tanh(), Dropout(0.5, rng()), Flatten()]
    network = accelerate(Sequential(*layers))
    assert all(a is b for a, b in zip(network, layers, strict=True))
    assert [type(layer) for layer in network] == [Sigmoid, Tanh, Dropout, Flatten]
