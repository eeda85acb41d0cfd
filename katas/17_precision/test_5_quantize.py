import gc
import tracemalloc

import numpy as np
import pytest
from katas.activations import GELU, ReLU
from katas.embeddings import Embedding
from katas.layers import Dropout, Linear, Module, Parameter, Sequential
from katas.precision import Quantized, QuantizedConv2d, QuantizedEmbedding, QuantizedLinear, quantize, quantize_array
from katas.spatial import CNN, BatchNorm2d, Conv2d, GlobalAvgPool, MaxPool2d
from katas.tensor import Tensor
from katas.transformers import GPT, GPTConfig, generate

from specs import oracles
from specs.check import FLOAT32, assert_close, rejects, undisturbed

SIZES = {"vocab_size": 32, "context": 8, "n_layer": 2, "n_head": 2, "d_model": 16}


def gpt(**options) -> GPT:
    return GPT(GPTConfig(**SIZES | options), np.random.default_rng(0))


def cnn() -> CNN:
    rng = np.random.default_rng(0)
    layers = [Conv2d(3, 8, 3, 2, 1, rng=rng), BatchNorm2d(8), ReLU(), MaxPool2d(2), Conv2d(8, 6, 2, bias=False, rng=rng)]
    return CNN([*layers, Linear(6 * 3 * 3, 10, rng=rng)])


def nbytes(model: Module) -> int:
    return sum(array.nbytes for array in model.state_dict().values())


def arrays(model: Module) -> list[np.ndarray]:
    return [*(parameter.data for parameter in model.parameters()), *(array for _, array in model.named_buffers())]


def held(make) -> int:
    """The bytes of what a call returns, with everything that hangs on it."""
    make()
    gc.collect()
    tracemalloc.start()
    try:
        result = make()
        gc.collect()
        size, _ = tracemalloc.get_traced_memory()
        del result
    finally:
        tracemalloc.stop()
    return size


def quantized_layers(model: Module) -> list:
    return [module for module in model.modules() if type(module) in (QuantizedLinear, QuantizedConv2d, QuantizedEmbedding)]


def float_layers(model: Module) -> list:
    return [module for module in model.modules() if type(module) in (Linear, Conv2d, Embedding)]


class Odd(Module):
    """Layers in every place where kata 04 finds them."""

    def __init__(self):
        rng = np.random.default_rng(0)
        self.first = Linear(4, 4, rng=rng)
        self.listed = [Linear(4, 4, rng=rng), [Linear(4, 4, rng=rng)]]
        self.pair = (Linear(4, 4, rng=rng), ReLU())
        self.again = self.first
        self.child = Module()
        self.child.parent, self.child.layer = self, Linear(4, 4, bias=False, rng=rng)
        self.gain = Parameter(np.array([1.0, 2.0, 3.0, 4.0], np.float32))

    def forward(self, x):
        layers = [self.first, self.listed[0], self.listed[1][0], *self.pair, self.again, self.child.layer]
        for layer in layers:
            x = layer.forward(x)
        return x * self.gain


def test_every_layer_is_exchanged_wherever_it_stands():
    """quantize replaces each Linear, Conv2d and Embedding in attributes, lists, tuples, Sequentials, and modules below. All
    else stays.
    """
    copy = quantize(Odd())
    assert type(copy) is Odd
    exchanged = [copy.first, copy.listed[0], copy.listed[1][0], copy.pair[0], copy.child.layer]
    assert [type(layer) for layer in exchanged] == [QuantizedLinear] * 5
    assert copy.again is copy.first
    assert type(copy.pair) is tuple
    assert type(copy.pair[1]) is ReLU
    assert copy.child.parent is copy
    assert copy.child.layer.bias is None
    kinds = [type(layer) for layer in quantize(cnn())]
    assert kinds == [QuantizedConv2d, BatchNorm2d, ReLU, MaxPool2d, QuantizedConv2d, QuantizedLinear]
    small = quantize(gpt())
    assert type(small.transformer.wte) is QuantizedEmbedding
    assert type(small.lm_head) is QuantizedLinear
    assert {type(block.attn.c_attn) for block in small.transformer.h} == {QuantizedLinear}
    left = [module for module in small.modules() if type(module) in (Linear, Conv2d, Embedding)]
    assert not left


def test_a_model_that_is_one_layer():
    """quantize of a Linear is a QuantizedLinear, of an Embedding a QuantizedEmbedding, of a Conv2d a QuantizedConv2d."""
    assert type(quantize(Linear(4, 3))) is QuantizedLinear
    assert type(quantize(Embedding(4, 3))) is QuantizedEmbedding
    layer = quantize(Conv2d(2, 3, (2, 3), (2, 1), (0, 1)))
    assert type(layer) is QuantizedConv2d
    assert (layer.stride, layer.padding) == ((2, 1), (0, 1))


@pytest.mark.parametrize("make", [Odd, cnn, gpt])
def test_frozen_layers_are_exchanged_too(make):
    """Layers whose Parameters require no gradients are replaced, or refused, as others are."""
    model, subclass = make(), Scaled(4, 4)
    for parameter in [*model.parameters(), *subclass.parameters()]:
        parameter.requires_grad = False
    copy = quantize(model)
    assert not float_layers(copy)
    assert len(quantized_layers(copy)) == len(float_layers(model))
    with rejects(ValueError, "weight"):
        quantize(subclass)


def test_a_copy_computes_what_its_rounded_weights_give(draw):
    """The copy computes what the model would with rounded weights: biases, norms and everything else are as before."""
    for make, given in (
        (Odd, Tensor(draw.normal(3, 4))),
        (cnn, Tensor(draw.normal(2, 3, 16, 16))),
        (gpt, draw.integers(32, 3, 7)),
    ):
        model, rounded = make(), make()
        copy = quantize(model)
        for layer, other in zip(quantized_layers(copy), float_layers(rounded), strict=True):
            other.weight.data[...] = oracles.precision.meant(layer.weight)
        assert_close(copy(given), rounded.eval()(given).data, FLOAT32)


def test_a_parameter_that_other_modules_use_stays_for_them():
    """A module of another kind that shares its weight with a Linear keeps its own floats, in a Parameter."""
    model = Odd()
    model.child.weight = model.first.weight
    copy = quantize(model)
    assert type(copy.first) is QuantizedLinear
    assert isinstance(copy.child.weight, Parameter)
    assert copy.child.weight is not model.first.weight
    assert_close(copy.child.weight, model.first.weight.data)


class Scaled(Linear):
    def forward(self, x):
        return super().forward(x) * 3


class Shifted(Conv2d):
    def forward(self, x):
        return super().forward(x) + 3


class Doubled(Embedding):
    def forward(self, ids):
        return super().forward(ids) * 2


class Again(Scaled):
    """A subclass of a subclass."""


@pytest.mark.parametrize(
    "layer", [Scaled(4, 4), Shifted(3, 4, 2), Doubled(4, 4), Again(4, 4)], ids=lambda layer: type(layer).__name__
)
def test_subclasses_are_refused(layer):
    """A subclass may compute something else, and would keep its floats without a word. A ValueError contains the name of its
    weight, and the model stays.
    """
    model = Sequential(Linear(4, 4), layer)
    with rejects(ValueError, "1.weight"):
        quantize(model)
    assert [type(member) for member in model] == [Linear, type(layer)]


def test_a_subclass_without_a_weight_is_like_any_module(draw):
    """In a subclass of Linear without a weight of its own, the layers are replaced, and its own forward stays."""

    class Factors(Linear):
        def __init__(self):
            self.down, self.up = Linear(4, 2, rng=np.random.default_rng(0)), Linear(2, 4, rng=np.random.default_rng(1))

        def forward(self, x):
            return self.up(self.down(x))

    copy, x = quantize(Factors()), draw.normal(3, 4)
    assert [type(layer) for layer in (copy, copy.down, copy.up)] == [Factors, QuantizedLinear, QuantizedLinear]
    inner = x @ oracles.precision.meant(copy.down.weight).T + copy.down.bias.data
    assert_close(copy(Tensor(x)), inner @ oracles.precision.meant(copy.up.weight).T + copy.up.bias.data, FLOAT32)


def test_each_row_of_a_weight_has_a_scale():
    """With 8 bits each row of a weight has a symmetric scale: one large row does not make the others coarse."""
    layer = Linear(6, 4)
    layer.weight.data[2] *= 1000
    small = quantize(layer)
    assert isinstance(small.weight, Quantized)
    assert small.weight.zero_point is None
    assert small.weight.scale.shape == (4, 1)
    assert_close(small.weight.values, quantize_array(layer.weight.data, 0).values)
    assert quantize(Conv2d(3, 4, 2)).weight.scale.shape == (4, 1, 1, 1)
    assert quantize(Embedding(7, 3)).weight.scale.shape == (7, 1)


def test_logits_hardly_change(draw):
    """The logits of a GPT with 8 bits are off by at most 0.1 of their standard deviation."""
    model, ids = gpt(), draw.integers(32, 4, 8)
    logits = model.eval()(ids).data
    assert np.abs(quantize(model)(ids).data - logits).max() < 0.1 * logits.std()


def test_tied_weights_stay_one():
    """lm_head and wte share one Quantized, listed and saved once, under its first name."""
    small = quantize(gpt())
    assert small.lm_head.weight is small.transformer.wte.weight
    names = [name for name in small.state_dict() if "wte" in name or "lm_head" in name]
    assert sorted(names) == ["lm_head.limits", "transformer.wte.weight.scale", "transformer.wte.weight.values"]
    shared = Linear(4, 4, rng=np.random.default_rng(0))
    pair = Sequential(shared, Linear(4, 4))
    pair[1].weight = shared.weight
    convolutions = Sequential(Conv2d(2, 2, 3, padding=1), Conv2d(2, 2, 3))
    convolutions[1].weight = convolutions[0].weight
    for small in (quantize(pair), quantize(convolutions)):
        assert small[0].weight is small[1].weight
        assert small[0] is not small[1]


def test_equal_weights_are_not_tied():
    """Two Parameters of equal values stay two, and so do two layers with one weight and different biases."""
    pair = Sequential(Linear(4, 4), Linear(4, 4))
    pair[1].weight.data[...] = pair[0].weight.data
    small = quantize(pair)
    assert small[0].weight is not small[1].weight
    pair[1].weight = pair[0].weight
    assert_close(quantize(pair)[0].bias, pair[0].bias.data)
    assert_close(quantize(pair)[1].bias, pair[1].bias.data)


def test_layers_that_shared_a_bias_have_their_own():
    """Only a weight stays shared, since it is read only."""
    pair = Sequential(Linear(4, 4), Linear(4, 4))
    pair[1].bias = pair[0].bias
    small = quantize(pair)
    assert small[0].bias is not small[1].bias
    assert not np.shares_memory(small[0].bias.data, small[1].bias.data)


def test_the_model_stays_as_it_was(draw):
    """quantize changes none of the model's layers, values, gradients and modes, and the copy shares no memory with it."""
    model, x = cnn(), Tensor(draw.normal(2, 3, 16, 16, dtype=np.float32))
    model(x).sum().backward()
    layers, state = list(model.layers), model.state_dict()
    grads = [parameter.grad.copy() for parameter in model.parameters()]
    copy = quantize(model)
    assert model.layers == layers
    assert model.layers is not copy.layers
    assert all(module.training for module in model.modules())
    for name, array in model.state_dict().items():
        assert_close(array, state[name])
    for parameter, grad in zip(model.parameters(), grads, strict=True):
        assert parameter.requires_grad
        assert_close(parameter.grad, grad)
    for array in arrays(model):
        assert not any(np.shares_memory(array, other) for other in arrays(copy))
    model[1].running_mean += 1
    model[1].weight.data += 1
    assert_close(copy[1].running_mean, state["1.running_mean"])
    assert_close(copy[1].weight, state["1.weight"])


@pytest.mark.parametrize("training", [True, False])
def test_each_module_keeps_its_mode(training):
    """quantize leaves each module of the model in its mode, also one whose mode is not that of the others."""
    model = cnn().train(training)
    model[1].train(not training)
    modes = [module.training for module in model.modules()]
    quantize(model)
    assert [module.training for module in model.modules()] == modes


def test_attributes_of_any_kind_are_copied():
    """Arrays that are no buffers, and lists, are the copy's own."""
    model = Odd()
    model.table, model.notes, model.child.rows = np.ones(3), ["a"], [np.zeros(2)]
    copy = quantize(model)
    assert copy.notes == ["a"]
    copy.table[0], copy.child.rows[0][0] = 7, 7
    copy.notes.append("b")
    assert_close(model.table, np.ones(3))
    assert_close(model.child.rows[0], np.zeros(2))
    assert model.notes == ["a"]


def test_a_layer_takes_nothing_else_over():
    """What else a Linear, a Conv2d or an Embedding has as attributes stays there."""
    model = Sequential(Linear(4, 4), Conv2d(2, 3, 2), Embedding(5, 4))
    for layer in model.layers:
        layer.notes = ["a"]
    assert not any(hasattr(layer, "notes") for layer in quantize(model).layers)


def test_a_part_in_train_mode_is_put_into_eval_mode(draw):
    """Of a model in eval mode, too."""
    model, x = Sequential(Linear(4, 4), Dropout(0.5)).eval(), Tensor(draw.normal(30, 4))
    want = quantize(model)(x).data
    model[1].train()
    assert_close(quantize(model)(x), want)


def test_the_copy_is_for_inference(draw):
    """The copy is in eval mode: dropout does nothing, BatchNorm uses its running statistics. None of its Parameters requires a
    gradient or has one, and its outputs require none.
    """
    dropped = Sequential(Linear(4, 4), Dropout(0.5), Linear(4, 4))
    rows, ids, images = Tensor(draw.normal(3, 4)), draw.integers(32, 2, 5), Tensor(draw.normal(2, 3, 16, 16))
    for model, given in ((dropped, rows), (gpt(dropout=0.5), ids), (cnn(), images)):
        model(given).sum().backward()
        small = quantize(model)
        assert not any(module.training for module in small.modules())
        assert_close(small(given), small(given).data)
        assert not small(given).requires_grad
        assert small.parameters()
        for parameter in small.parameters():
            assert not parameter.requires_grad
            assert parameter.grad is None


def test_one_image_does_not_change_another(draw):
    """BatchNorm in the copy does not use the batch's statistics, and keeps its own."""
    copy, x = quantize(cnn()), draw.normal(4, 3, 16, 16, dtype=np.float32)
    before = copy[1].running_mean.copy()
    assert_close(copy(Tensor(x)).data[:1], copy(Tensor(x[:1])).data, FLOAT32)
    assert_close(copy[1].running_mean, before)


def test_a_text_can_be_written():
    """generate works with a quantized GPT, and gives ids."""
    ids = list(generate(quantize(gpt()), [3, 1], 5, rng=np.random.default_rng(0)))
    assert len(ids) == 5
    assert all(0 <= id < 32 for id in ids)


def test_a_part_of_the_bytes_is_left(tell):
    """The state_dict of a GPT of 128 channels, with scales and float32 vectors, keeps at most 0.27 of its bytes."""
    config = GPTConfig(512, 64, 2, 4, 128, bias=False, positions="rotary", norm="rms", window=64)
    model = GPT(config, np.random.default_rng(0))
    small = quantize(model)
    share = nbytes(small) / nbytes(model)
    tell(f"8 bits: {share:.3f} of the bytes")
    assert share <= 0.27


def test_no_floats_are_kept_beside():
    """In memory too, a copy of 2 MB of float32 holds no more than 0.27 of that: no floats beside the integers."""
    rng = np.random.default_rng(0)
    model = Sequential(
        *(Linear(256, 256, rng=rng) for _ in range(6)), Conv2d(64, 128, 3, rng=rng), Embedding(1000, 64, rng=rng)
    )
    size = held(lambda: quantize(model))
    limit = 0.27 * nbytes(model) + 30_000
    assert size <= limit, f"{size:,} bytes are held, of {nbytes(model):,} of float32"


def test_the_large_weights_are_not_copied_first(budget):
    """Quantizing 16 MB of float32 in 16 layers allocates less than 9 MB: one layer after another."""
    model = Sequential(*(Linear(512, 512, rng=np.random.default_rng(i)) for i in range(16)))
    budget.bytes(lambda: quantize(model), peak=9_000_000)


def test_forward_keeps_nothing():
    """After a call, the copy holds no more than before: no floats are remembered."""
    rows, images, ids = Tensor(np.ones((2, 512), np.float32)), Tensor(np.ones((2, 64, 9, 9), np.float32)), np.arange(1000)
    for layer, given in ((Linear(512, 512), rows), (Conv2d(64, 128, 3), images), (Embedding(1000, 64), ids)):

        def called(layer=layer, given=given):
            small = quantize(layer)
            small(given)
            return small

        left = held(called) - held(lambda layer=layer: quantize(layer))
        assert left < 20_000, f"{type(layer).__name__}: {left:,} bytes are left after a call"


def test_a_state_is_saved_and_loaded_as_integers(draw):
    """state_dict holds the integers themselves; a new model that is quantized loads them and computes the same."""
    small, other, ids = quantize(gpt()), quantize(GPT(GPTConfig(**SIZES))), draw.integers(32, 2, 5)
    state = small.state_dict()
    kinds = {array.dtype for name, array in state.items() if name.endswith("values")}
    assert kinds == {np.dtype(np.int8)}
    assert np.abs(other(ids).data - small(ids).data).max() > 1e-3
    other.load_state_dict(state)
    assert_close(other(ids), small(ids).data)
    assert other.lm_head.weight is other.transformer.wte.weight


def test_floats_are_refused_in_the_place_of_integers():
    """A quantized model refuses a float32 model's state, and integers that were made floats; nothing changes."""
    model, small = Sequential(Linear(4, 3)), quantize(Sequential(Linear(4, 3)))
    state = small.state_dict()
    with rejects(ValueError, "0.weight"):
        small.load_state_dict(model.state_dict())
    with rejects(ValueError, "0.weight.values"):
        small.load_state_dict(state | {"0.weight.values": state["0.weight.values"].astype(np.float32)})
    for name, array in small.state_dict().items():
        assert_close(array, state[name])


def test_a_model_quantized_twice_is_copied(draw):
    """A quantized model has nothing left to replace: its copy computes the same, and shares no memory with it."""
    once, ids = quantize(gpt()), draw.integers(32, 2, 5)
    twice = quantize(once)
    assert_close(twice(ids), once(ids).data)
    assert twice.lm_head.weight is twice.transformer.wte.weight
    assert not np.shares_memory(twice.lm_head.weight.values, once.lm_head.weight.values)


def test_layers_without_weights_are_left():
    """A model with nothing to exchange is copied, and frozen."""
    copy = quantize(Sequential(GELU(), GlobalAvgPool(), BatchNorm2d(3)))
    assert [type(layer) for layer in copy] == [GELU, GlobalAvgPool, BatchNorm2d]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_weight_that_is_not_finite_is_named(value):
    """A weight that is not finite raises a ValueError that contains the Parameter's name, the value and its index."""
    model = gpt()
    model.transformer.h[1].mlp.c_fc.weight.data[3, 2] = value
    with rejects(ValueError, "transformer.h.1.mlp.c_fc.weight", str(value), "(3, 2)"):
        quantize(model)
    assert type(model.transformer.wte) is Embedding


@pytest.mark.parametrize("number", [16, 2, 0, None, "8", 3])
def test_other_bits_are_refused(number):
    """Bits other than 8 and 4 raise a ValueError that contains them."""
    with rejects(ValueError, str(number)):
        quantize(Linear(4, 3), number)


def test_nothing_else_is_touched(draw):
    """quantize uses neither NumPy's global generator, nor does it change NumPy's error handling."""
    model, ids = gpt(dropout=0.5), draw.integers(32, 2, 5)
    with undisturbed():
        quantize(model)(ids)
