import sys
import time
import warnings
from functools import partial
from threading import Event, Thread
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
from katas.acceleration import accelerate, data_parallel, fused_attention
from katas.activations import ReLU
from katas.attention import scaled_dot_product_attention
from katas.autograd import no_grad
from katas.benchmarking import Counts, conv2d_flops, count, defflops, matmul_flops
from katas.layers import Linear, Module, Parameter, Sequential
from katas.losses import CrossEntropyLoss, MSELoss
from katas.spatial import CNN, BatchNorm2d, Conv2d, MaxPool2d, conv2d
from katas.tensor import Tensor
from katas.transformers import GPT, GPTConfig

from katas import autograd
from specs.check import assert_close, frozen, recording, rejects
from specs.oracles.benchmarking import allocated

FLOAT = 4  # bytes of a float32
GLOBAL = np.ones(1000)


def weight(*shape: int) -> Parameter:
    return Parameter(np.ones(shape, np.float32))


def ones(*shape: int, dtype=np.float32) -> Tensor:
    return Tensor(np.ones(shape, dtype))


def known(model, *inputs) -> Counts:
    """count, where all operations must have a rule: a warning is an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        return count(model, *inputs)


def kept(model, *inputs) -> int:
    return count(model, *inputs).activation_bytes


@pytest.mark.parametrize(
    ("a", "b", "flops"),
    [
        ((2, 3), (3, 5), 2 * 2 * 3 * 5),
        ((7, 2, 3), (3, 5), 7 * 2 * 2 * 3 * 5),
        ((7, 1, 2, 3), (4, 3, 5), 7 * 4 * 2 * 2 * 3 * 5),
        ((3,), (3, 5), 2 * 3 * 5),
        ((2, 3), (3,), 2 * 2 * 3),
        ((3,), (3,), 2 * 3),
        ((2, 0), (0, 5), 0),
    ],
    ids=str,
)
def test_a_matrix_product_is_multiplications_and_additions(a, b, flops):
    """(n, k) @ (k, m): k multiplications and k additions for each of n · m values; leading axes are broadcast."""
    a, b = frozen(np.ones(a, np.float32)), frozen(np.ones(b, np.float32))
    got = matmul_flops(np.asarray(a @ b), a, b)
    assert_close(got, flops, mistakes={"multiplications only": flops // 2})
    assert type(got) is int


@pytest.mark.parametrize(
    ("x", "kernel", "options"),
    [
        ((2, 3, 8, 9), (5, 3, 3, 4), {}),
        ((2, 3, 8, 9), (5, 3, 3, 2), {"stride": 2}),
        ((2, 3, 8, 9), (5, 3, 3, 2), {"padding": (1, 2)}),
        ((1, 4, 5, 5), (1, 4, 1, 1), {"stride": (2, 3), "padding": 1}),
    ],
    ids=str,
)
def test_a_convolution_is_a_product_at_each_position(x, kernel, options):
    """For each position of the kernel, image and output channel: in · kernel_h · kernel_w multiplications and additions."""
    y = frozen(conv2d(ones(*x), ones(*kernel), **options).data)
    flops = 0
    for _ in np.ndindex(y.shape):
        flops += 2 * kernel[1] * kernel[2] * kernel[3]
    got = conv2d_flops(y, frozen(np.ones(x)), frozen(np.ones(kernel)), stride=(1, 1), padding=(0, 0), columns=None)
    mistakes = {"multiplications only": flops // 2, "without the input channels": flops // kernel[1]}
    assert_close(got, flops, mistakes=mistakes)
    assert type(got) is int
    assert count(lambda: conv2d(ones(*x), ones(*kernel), ones(kernel[0]), **options)).flops == flops


def test_a_large_product_is_counted_exactly():
    """More than 2⁶³ operations, of arrays that take no memory: Python's integers don't overflow."""
    y, a, b = (np.broadcast_to(np.int8(0), shape) for shape in [(1 << 31, 1 << 30), (1 << 31, 1 << 10), (1 << 10, 1 << 30)])
    assert matmul_flops(y, a, b) == 1 << 72


def test_a_linear_layer_is_counted_by_hand():
    """8 → 5 features of 3 rows: 2 · 3 · 8 · 5 operations; 45 parameters; the product and the sum, each (3, 5) in float32."""
    counts = count(Linear(8, 5), ones(3, 8))
    assert isinstance(counts, Counts)
    mistakes = {"multiplications only": 120, "the bias counts": 255, "forward and backward": 720}
    assert_close(counts.flops, 240, mistakes=mistakes, name="flops")
    assert_close(counts.parameters, 45, mistakes={"without the bias": 40}, name="parameters")
    mistakes = {
        "with the input": 120 + 96,
        "with the weight": 120 + 160,
        "with the weight and the bias": 120 + 160 + 20,
        "without the product": 60,
        "numbers, not bytes": 30,
        "views count by themselves": 436,
        "nothing: was the recorder that was there told?": 0,
    }
    assert_close(counts.activation_bytes, 120, mistakes=mistakes, name="activation_bytes")
    assert all(type(value) is int for value in counts)


def test_operations_of_all_kinds_are_summed():
    """Two layers and what is between them: the sum of their products. A model may use a layer twice."""
    first, second = Linear(8, 6, bias=False), Linear(6, 6, bias=False)
    flops = 2 * 3 * 8 * 6 + 2 * 3 * 6 * 6
    assert count(Sequential(first, ReLU(), second), ones(3, 8)).flops == flops
    assert count(Sequential(first, second, second), ones(3, 8)).flops == flops + 2 * 3 * 6 * 6
    assert count(lambda x: (x * 2 + 1).exp().sum(), ones(3, 8)) == Counts(0, 0, 0)


def test_a_function_can_be_counted():
    """It has no parameters, but those of its operations that require a gradient are in the graph."""
    w = weight(8, 5)
    counts = count(lambda x: x @ w, ones(3, 8))
    assert (counts.flops, counts.parameters) == (240, 0)
    assert counts.activation_bytes == FLOAT * (3 * 5 + 8 * 5), "a function's own weights are nobody's parameters"


def test_inputs_are_passed_on():
    """Several of them, arrays and lists too, as they are; they count neither, nor does memory that they are views of."""
    w = weight(8, 5)
    seen = []

    class Model(Module):
        def __init__(self):
            self.w = w

        def forward(self, x, y, flag):
            seen.append((x, y, flag))
            return Tensor(x) @ self.w + Tensor(y)

    large = np.ones((10, 8), np.float32)
    x, y = large[2:5], np.ones((3, 5), np.float32)
    assert kept(Model(), x, y, [1]) == FLOAT * 2 * 3 * 5
    assert seen[0][0] is x
    assert seen[0][2] == [1]
    assert len(seen) == 1, f"the model was called {len(seen)} times"
    assert kept(Views(w, lambda batch: Tensor(batch["x"][0]) @ w), {"x": [x]}) == FLOAT * 3 * 5, "an input in a dict is one too"


def test_what_is_returned_as_it_came_is_not_kept():
    """A model that returns its input, or its parameter, has no graph."""
    assert count(lambda x: x, ones(3, 8)) == Counts(0, 0, 0)
    w = weight(3)
    assert count(Views(w, lambda x: w), None) == Counts(0, 3, 0)


def test_a_view_is_no_memory():
    """reshape, permute and basic indexing make views: of all of them together, the memory counts once."""
    w = weight(4, 6)

    def views(x):
        y = x * w
        return y.reshape(2, 12).permute(1, 0)[3:, :1] * 1.0

    product, scalar = FLOAT * 24, FLOAT
    want = product + FLOAT * 9 + scalar
    each = FLOAT * (24 + 24 + 24 + 9 + 9 + 1)
    got = kept(Sequential(Views(w, views)), ones(4, 6))
    assert_close(got, want, mistakes={"each view counts": each, "only the part that is seen": FLOAT * (9 + 9) + scalar})


class Views(Module):
    """A module that has a parameter and applies a function."""

    def __init__(self, w, function):
        self.w, self.function = w, function

    def forward(self, x):
        return self.function(x)


def test_a_small_view_keeps_all_of_its_memory():
    """Where the graph holds one row of an array that no one else has, all of it is kept: NumPy frees no parts."""
    w = weight(6)
    large = np.ones((100, 6), np.float32)
    part = Tensor(large.copy()[7:8])  # a view of 2,400 bytes
    assert kept(Views(w, lambda x: part * w), None) == FLOAT * (600 + 6)


def test_a_window_is_a_view():
    """as_strided and sliding_window_view have other bases than slices, and are views of the same memory."""
    w = weight(3)
    memory = np.ones(10, np.float32)
    windows = Tensor(np.lib.stride_tricks.sliding_window_view(memory, 3))  # (8, 3)
    strided = Tensor(np.lib.stride_tricks.as_strided(memory, (8, 3), (4, 4)))
    assert kept(Views(w, lambda x: windows * w + strided * w), None) == FLOAT * (10 + 3 * 24)
    read = Tensor(np.frombuffer(bytes(FLOAT * 24), np.float32).reshape(8, 3))
    assert kept(Views(w, lambda x: read * w), None) == FLOAT * (24 + 24)


def test_attributes_of_operations_are_kept_too():
    """Masks, indices and whatever a rule needs, in tuples, lists and dicts of the record's attributes."""
    w = weight(6)
    autograd.defvjp("kata 19", lambda g, y, a, **attrs: g)
    defflops("kata 19", lambda y, a, **attrs: 7 * y.size)
    mask, index, deep, shared = np.ones(6, bool), np.ones(3, np.int64), np.ones(5), np.ones(50, np.int8)

    def own(x):
        y = Tensor._result(
            "kata 19", w.data * 2, w, mask=mask, index=(slice(1), index), deep=[{"in": (deep,)}], alike=shared[:2]
        )
        return Tensor._result("kata 19", y.data * 2, y, alike=shared[4:], text="no array", nothing=None)

    counts = count(Views(w, own), None)
    assert_close(counts.activation_bytes, 2 * FLOAT * 6 + 6 + 3 * 8 + 5 * 8 + 50)
    assert counts.flops == 2 * 7 * 6


class Holder:
    """An object that holds an array, and a class that has a larger one."""

    shared: ClassVar = np.ones(1000)

    def __init__(self, array):
        self.array, self.me = array, self

    def method(self, g=None):
        return g, GLOBAL


def one_operation(held, keeps: Parameter) -> int:
    """The activation bytes of an operation with one attribute, whose result of four bytes is a view of its parent."""
    autograd.defvjp("kata 19 holds", lambda g, y, a, held: g)
    defflops("kata 19 holds", lambda y, a, held: 0)
    return kept(Views(keeps, lambda x: Tensor._result("kata 19 holds", keeps.data, keeps, held=held)), None)


@pytest.mark.parametrize(
    "held",
    [
        Holder,
        lambda array: SimpleNamespace(deep=[{"in": array}]),
        lambda array: partial(max, array),
        lambda array: partial(max, 1, key=Holder(array)),
        lambda array: Holder(array).method,
        lambda array: lambda: array,
        lambda array: partial(Holder(lambda: [Holder(array)]).method, g=1),
        lambda array: Tensor(array),
        lambda array: {1: (array, array[1:])},
        lambda array: lambda g=array: g,
        lambda array: lambda *, g=array: g,
        lambda array: SimpleNamespace(array=array, module=sys.modules[__name__]),
        lambda array: [array, Holder, np],
    ],
    ids=["object", "namespace", "argument", "named argument", "method", "closure", "chain", "tensor", "views"]
    + ["default", "named default", "module", "class"],
)
def test_what_an_attribute_holds_is_kept_however_it_is_held(held):
    """Attributes of objects, arguments of partial, the object of a method, and a function's defaults and the variables around
    it hold memory. What stands in a module or a class is there anyway.
    """
    mistakes = {"not what it holds": 0, "with its class or module": 8050}
    assert_close(one_operation(held(np.ones(50, np.int8)), weight(3)), 50, mistakes=mistakes)


def test_a_tensor_in_an_attribute_has_a_graph():
    """It is kept too: of w · w the product and w."""
    own = weight(50)
    assert_close(one_operation([own * own], weight(3)), 2 * FLOAT * 50, mistakes={"without its graph": FLOAT * 50})


def test_gradients_are_no_activations():
    """A weight that has a gradient from an earlier step, and a Tensor in an attribute that has one."""
    w, other = weight(8, 5), weight(50)
    w.grad, other.grad = np.ones((8, 5), np.float32), np.ones(50, np.float32)
    assert kept(lambda x: x @ w, ones(3, 8)) == FLOAT * (3 * 5 + 8 * 5)
    assert one_operation(other, weight(3)) == FLOAT * 50


def appends(inputs, array):
    inputs["list"].append(array)


def replaces(inputs, array):
    inputs["list"][0] = array


def sets_a_key(inputs, array):
    inputs["new"] = array


def sets_an_attribute(inputs, array):
    inputs["object"].array = array


@pytest.mark.parametrize("put", [appends, replaces, sets_a_key, sets_an_attribute])
def test_what_the_call_puts_into_an_input_counts(put):
    """Only what an input holds before the call is there anyway. What is taken out of it during the call was there too."""
    w, old = weight(6), np.ones((50, 6), np.float32)
    inputs = {"list": [old], "object": Holder(old)}

    def forward(inputs):
        product = w * w
        put(inputs, product.data)
        return product * Tensor(old[:1])

    assert_close(kept(Views(w, forward), inputs), 2 * FLOAT * 6, mistakes={"not what the call put there": FLOAT * 6})


def test_an_input_may_be_any_object():
    """All that an input holds is there anyway, also if operations use it, as they use the arrays of kata 16's KVCache."""
    w, cache = weight(6), Holder(np.ones((10, 6), np.float32))
    assert kept(Views(w, lambda cache: Tensor(cache.array[2:7]) * w), cache) == FLOAT * 5 * 6
    body = Linear(8, 6)(ones(3, 8))
    assert kept(lambda x: x * 2.0, body) == FLOAT * (3 * 6 + 1), "the graph of an input is there anyway"


def test_what_requires_no_gradient_is_not_kept():
    """Operations on inputs alone are counted in flops, but the graph holds none of them; nor what is not of the output."""
    w, fixed = weight(5, 5), ones(5, 5)

    def forward(x):
        (x @ w).sum()  # which nobody needs for the output
        return (x @ fixed @ fixed) @ w

    counts = count(Views(w, forward), ones(3, 5))
    assert counts.flops == 4 * 2 * 3 * 5 * 5
    assert counts.activation_bytes == FLOAT * 2 * 3 * 5  # the last product, and its left operand


def test_a_diamond_is_counted_once():
    """A tensor that is used by two operations, and one that is used twice by the same."""
    w = weight(3, 4)

    def forward(x):
        y = x * w
        return (y + y) * (y * y)

    assert kept(Views(w, forward), ones(3, 4)) == FLOAT * 4 * 12


def test_a_deep_graph_can_be_counted():
    """10,000 operations after one another: the graph is walked without recursion."""
    w = weight(1)

    def forward(x):
        for _ in range(10_000):
            x = -x
        return x

    assert kept(Views(w, lambda x: forward(x * w)), ones(2)) == FLOAT * 2 * 10_001


def test_an_empty_batch_costs_nothing():
    """No rows, no images: 0 operations, and 0 bytes."""
    assert count(Linear(8, 5), ones(0, 8)) == Counts(0, 45, 0)
    assert conv2d_flops(np.ones((0, 5, 6, 6)), np.ones((0, 3, 8, 8)), np.ones((5, 3, 3, 3))) == 0


def test_under_no_grad_nothing_is_kept():
    """A model for inference has no graph; its flops and its parameters are the same."""
    with no_grad():
        assert count(Linear(8, 5), ones(3, 8)) == Counts(240, 45, 0)


def test_a_shared_parameter_is_one():
    """Two layers that have one weight have its numbers once. Both products count."""
    first, second = Linear(6, 6), Linear(6, 6)
    second.weight = first.weight
    counts = count(Sequential(first, second), ones(3, 6))
    assert_close(counts.parameters, 36 + 6 + 6, mistakes={"the shared one counts twice": 84})
    assert counts.flops == 2 * 2 * 3 * 6 * 6


@pytest.mark.parametrize("frozen", [["weight"], ["bias"], ["weight", "bias"]], ids="+".join)
def test_a_frozen_parameter_is_one(frozen):
    """One that requires no gradient is a parameter still, and its memory is there anyway; one without a use is a parameter."""
    first, second = Linear(8, 6), Linear(6, 5)
    second.unused = weight(100)
    for name in frozen:
        getattr(second, name).requires_grad = False
    counts = count(Sequential(first, second), ones(3, 8))
    assert_close(counts.parameters, 54 + 35 + 100, mistakes={"without the unused": 89}, name="parameters")
    assert_close(counts.activation_bytes, FLOAT * 2 * 3 * (6 + 5), name="activation_bytes")
    for parameter in first.parameters() + second.parameters():
        parameter.requires_grad = False
    assert count(Sequential(first, second), ones(3, 8)) == Counts(2 * 3 * (8 * 6 + 6 * 5), 189, 0)


def test_dtypes_have_their_size():
    """float64 has 8 bytes, float16 has 2."""
    for dtype, size in [(np.float64, 8), (np.float16, 2)]:
        w = Parameter(np.ones((8, 5), dtype))
        assert kept(Views(w, lambda x, w=w: x * w), ones(8, 5, dtype=dtype)) == size * 40


@pytest.mark.parametrize("training", [True, False])
def test_a_cnn_is_counted_by_hand(training):
    """Products, by hand, of two convolutions and two linear layers; parameters; and all memory that NumPy allocated for the
    graph, by tracemalloc.
    """
    rng = np.random.default_rng(0)
    first, second = Conv2d(3, 6, 3, stride=2, padding=1, rng=rng), Conv2d(6, 8, (3, 2), bias=False, rng=rng)
    layers = [
        first,
        BatchNorm2d(6),
        ReLU(),
        MaxPool2d(2),
        second,
        ReLU(),
        Linear(8 * 2 * 4, 10, rng=rng),
        Linear(10, 4, rng=rng),
    ]
    model, images = CNN(layers).train(training), ones(5, 3, 16, 19)  # → (6, 8, 10) → (6, 4, 5) → (8, 2, 4)
    counts = known(model, images)
    flops = 2 * 5 * (6 * 8 * 10 * 3 * 3 * 3 + 8 * 2 * 4 * 6 * 3 * 2 + 64 * 10 + 10 * 4)
    assert_close(counts.flops, flops, mistakes={"multiplications only": flops // 2, "one image": flops // 5})
    assert counts.parameters == (6 * 27 + 6) + 2 * 6 + 8 * 36 + (64 * 10 + 10) + (10 * 4 + 4)
    model = CNN(layers).train(training)
    want, _ = allocated(lambda: model(images))
    assert_close(counts.activation_bytes, want)


@pytest.mark.parametrize("options", [{}, {"positions": "rotary", "norm": "rms", "bias": False}], ids=str)
def test_a_gpt_is_counted_by_hand(options):
    """For each block c_attn, scores, mixing, c_proj and two products of the FeedForward, then the logits, by hand; parameters
    with the tied one once; and all memory that NumPy allocated for the graph, by tracemalloc.
    """
    vocab, context, layers, heads, width, batch, time = 23, 19, 2, 3, 12, 4, 17
    config = GPTConfig(vocab, context, layers, heads, width, **options)
    ids = np.arange(batch * time).reshape(batch, time) % vocab
    counts = known(GPT(config, np.random.default_rng(0)), ids)
    block = 3 * width**2 + width**2 + 8 * width**2  # weights that each token meets
    flops = 2 * batch * time * (layers * (block + 2 * time * width) + width * vocab)
    without = 2 * batch * time * (layers * block + width * vocab)
    assert_close(counts.flops, flops, mistakes={"multiplications only": flops // 2, "without the attention's own": without})
    parameters = vocab * width + layers * (block + (9 + 4) * width) + 2 * width + context * width
    if options:
        parameters = vocab * width + layers * (block + 2 * width) + width
    assert_close(counts.parameters, parameters, mistakes={"the tied weight counts twice": parameters + vocab * width})
    model = GPT(config, np.random.default_rng(0))
    want, _ = allocated(lambda: model(ids))
    assert_close(counts.activation_bytes, want)


def small_cnn() -> CNN:
    """Convolutions for each way of kata 15, with all layers that are faster there; images (batch, 3, 16, 16)."""
    rng = np.random.default_rng(0)
    first, second, third = (
        Conv2d(3, 8, 3, padding=1, rng=rng),
        Conv2d(8, 16, 3, padding=1, rng=rng),
        Conv2d(16, 8, 3, stride=2, rng=rng),
    )
    return CNN([first, BatchNorm2d(8), ReLU(), MaxPool2d(2), second, ReLU(), third, ReLU(), Linear(8 * 3 * 3, 10, rng=rng)])


MODELS = {
    "CNN": (small_cnn, ones(5, 3, 16, 16)),
    "CNN, evaluated": (lambda: small_cnn().eval(), ones(5, 3, 16, 16)),
    "GPT": (lambda: GPT(GPTConfig(23, 19, 2, 3, 12)), np.arange(68).reshape(4, 17) % 23),
    "GPT, rotary": (
        lambda: GPT(GPTConfig(23, 19, 2, 3, 12, positions="rotary", norm="rms", bias=False, window=5)),
        np.arange(68).reshape(4, 17) % 23,
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_faster_model_computes_as_much(name):
    """What accelerate(model) computes has the same definition: its flops and parameters are the plain model's, though it has
    other operations. It keeps less: all memory that NumPy allocated for the graph, and less than the plain model.
    """
    make, x = MODELS[name]
    plain, fast = known(make(), x), known(accelerate(make()), x)
    assert_close(fast.flops, plain.flops, mistakes={"only what has kata 09's and kata 02's names": 0})
    assert fast.parameters == plain.parameters
    model = accelerate(make())
    model(x)  # what is computed once and stays is there
    want, _ = allocated(lambda: model(x))
    assert want <= fast.activation_bytes < plain.activation_bytes, f"{want} bytes were allocated for the graph"


def test_padding_and_dropout_change_no_flops():
    """With a mask, and with a Dropout in training, accelerated layers have other operations: the flops are the same."""
    config, ids, mask = GPTConfig(23, 19, 1, 3, 12, dropout=0.1), np.ones((4, 17), int), np.ones((4, 17), bool)
    mask[0, :5] = False
    for training in (True, False):
        plain, fast = GPT(config).train(training), accelerate(GPT(config)).train(training)
        assert known(fast, ids, mask).flops == known(plain, ids, mask).flops == known(plain, ids).flops


def test_fused_attention_is_two_products():
    """q kᵀ and the product with v, for each query and key: also where causal lets a query see fewer."""
    q, k, v = ones(7, 1, 5, 4), ones(3, 6, 4), ones(7, 1, 6, 8)
    flops = 2 * 7 * 3 * 5 * 6 * (4 + 8)
    for causal in (False, True):
        assert count(lambda q, k, v, c=causal: scaled_dot_product_attention(q, k, v, causal=c), q, k, v).flops == flops
        got = count(lambda q, k, v, c=causal: fused_attention(q, k, v, causal=c), q, k, v).flops
        assert_close(got, flops, mistakes={"one product": flops // 3, "one head": flops // 21})


class Loss(Module):
    """What data_parallel takes: a model that gives a loss."""

    def __init__(self, model: Module):
        self.model, self.criterion = model, CrossEntropyLoss()

    def forward(self, x, y):
        return self.criterion(self.model(x), y)


def test_two_shards_compute_as_much_as_one():
    """data_parallel's shards run on threads. All their operations count, and what they keep."""
    x, y = ones(6, 3, 16, 16), np.arange(6)
    plain, shards = known(accelerate(Loss(small_cnn())), x, y), known(data_parallel(accelerate(Loss(small_cnn()))), x, y)
    assert_close(shards.flops, plain.flops, mistakes={"not the shards' own": 0})
    assert shards.parameters == plain.parameters
    assert shards.activation_bytes > 0.9 * plain.activation_bytes


def test_operations_at_the_same_time_all_count():
    """A rule that takes long is asked by four threads at the same time, and none of its answers is lost."""

    def rule(y, a):
        time.sleep(0.02)
        return 1000

    def forward(x):
        threads = [Thread(target=lambda: Tensor._result("kata 19 takes long", x.data, x)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return x

    defflops("kata 19 takes long", rule)
    assert_close(count(forward, ones(3)).flops, 4000, mistakes={"all but one are lost": 1000})


def test_a_second_count_waits(monkeypatch):
    """Each of two threads counts its own operations, and afterwards the recorder is that from before both. In one thread, a
    model may count another.
    """
    before, entered, ended, w, found = Tensor._recorder, Event(), Event(), weight(8, 5), []
    monkeypatch.setattr(Tensor, "_recorder", before)  # which puts it back for all that follows

    def first(x):
        thread.start()
        entered.wait(0.3)  # in vain, if the other thread waits for the end of this count
        return x @ w

    def second(x):
        entered.set()
        ended.wait(5)
        count(lambda: x @ w)
        return x @ w

    thread = Thread(target=lambda: found.append(count(second, ones(3, 8))), daemon=True)
    alone = count(first, ones(3, 8))
    ended.set()
    thread.join(5)
    assert not thread.is_alive(), "a count within a count does not end"
    assert Tensor._recorder is before, "the recorder is not that from before both: did the second count wait?"
    assert [alone.flops, *[each.flops for each in found]] == [240, 480]


def test_training_needs_more_than_the_model_alone():
    """With the loss: count(lambda x, y: criterion(model(x), y), x, y) has what the loss keeps, and no parameters."""
    model, x, y = Linear(8, 5), ones(3, 8), ones(3, 5)
    counts = count(lambda x, y: MSELoss()(model(x), y), x, y)
    assert counts.flops == 240
    assert counts.parameters == 0
    assert counts.activation_bytes > 120


def test_the_recorder_is_told_and_there_again():
    """The one that was there records what it always does: count's graph can be differentiated. Then it is back, also None."""
    told = []
    before = Tensor._recorder

    def recorder(*record):
        told.append(record)

    w = weight(8, 5)
    try:
        for own in (recorder, None, before):
            Tensor._recorder = own
            assert count(lambda x: x @ w, ones(3, 8)).flops == 240
            assert Tensor._recorder is own
    finally:
        Tensor._recorder = before
    with recording() as probe:  # a list, which is falsy as long as it is empty
        count(lambda x: x @ w, ones(3, 8))
    assert [record.op for record in probe] == ["matmul"]
    ((op, result, parents, attrs),) = told
    assert (op, result.shape, parents[1] is w, attrs) == ("matmul", (3, 5), True, {})


def test_the_recorder_is_told_of_all_operations():
    """Of one without a rule too, of one that needs no gradient, and of one of another thread: of each once, in order."""
    w = weight(8, 5)

    def forward(x):
        Tensor._result("kata 19 has no rule", x.data, x)
        thread = Thread(target=lambda: x @ w)
        thread.start()
        thread.join()
        return x + x

    with recording() as probe, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        count(forward, ones(3, 8))
    assert [record.op for record in probe] == ["kata 19 has no rule", "matmul", "add"], "was it told of each operation, once?"


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt, SystemExit])
def test_after_an_error_all_is_as_before(error):
    """The model's error passes through; the recorder, the buffers, the input and the gradients are those from before."""
    norm, before, x = BatchNorm2d(3), Tensor._recorder, np.arange(24.0).reshape(2, 3, 2, 2)

    class Model(Module):
        def __init__(self):
            self.norm = norm

        def forward(self, x):
            self.norm(x)
            raise error

    with pytest.raises(error):
        count(Model(), Tensor(x))
    assert Tensor._recorder is before
    assert norm.weight.grad is None
    assert_close(x, np.arange(24.0).reshape(2, 3, 2, 2))
    assert_close(norm.running_mean, np.zeros(3, np.float32))


def test_counting_changes_nothing(draw):
    """In training too, BatchNorm's running statistics are as before, and so are weights, gradients and the mode."""
    model, images = (
        CNN([Conv2d(3, 4, 3, rng=np.random.default_rng(0)), BatchNorm2d(4)]),
        draw.normal(2, 3, 6, 5, dtype=np.float32),
    )
    model(Tensor(images))
    state = model.state_dict()
    count(model, Tensor(images))
    for name, array in model.state_dict().items():
        assert_close(array, state[name], name=name)
    assert all(module.training for module in model.modules())
    assert all(parameter.grad is None for parameter in model.parameters())


def in_place(model):
    model.moved += 1


def by_a_new_array(model):
    model.moved = model.moved * 0.9 + 1


@pytest.mark.parametrize("move", [in_place, by_a_new_array])
def test_buffers_have_their_values_back(move):
    """Whether the model changes the array of a buffer or assigns a new one. An array that was changed is the buffer's still."""

    class Model(Module):
        def __init__(self):
            self.register_buffer("moved", np.zeros(3, np.float32))

        def forward(self, x):
            move(self)
            return x

    model = Model()
    array = model.moved
    count(model, ones(3))
    assert_close(model.moved, np.zeros(3, np.float32), name="the buffer")
    assert_close(array, np.zeros(3, np.float32), name="the array that was the buffer's before")
    assert move is by_a_new_array or model.moved is array, "the buffer has another array"


def test_each_call_counts_anew():
    """A second count of the same model is the same; of a larger batch, larger."""
    model = Linear(8, 5)
    assert count(model, ones(3, 8)) == count(model, ones(3, 8))
    assert count(model, ones(6, 8)) == Counts(480, 45, 240)


def test_operations_without_a_rule_are_named():
    """They count as 0, and each time one UserWarning contains their names."""

    def unknown(x):
        for op in ("fast_product", "fast_sum", "fast_product"):
            x = Tensor._result(op, x.data, x)
        return x @ ones(8, 5)

    for _ in range(2):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            assert count(unknown, ones(3, 8)).flops == 240
        (warning,) = caught
        assert issubclass(warning.category, UserWarning)
        assert "fast_product" in str(warning.message)
        assert "fast_sum" in str(warning.message)
        assert "matmul" not in str(warning.message)


def test_a_rule_may_be_added_or_replaced():
    """defflops(op, rule): rule(y, *parents, **attrs), all arrays, says what the operation costs."""
    seen = []

    def rule(y, a, b, factor):
        seen.append((y.shape, a.shape, b.shape, factor, type(y), type(a)))
        return 1000

    defflops("fused", lambda *arrays, **attrs: 1)
    defflops("fused", rule)
    a, b = ones(3, 8), ones(8, 5)
    assert count(lambda: Tensor._result("fused", a.data @ b.data, a, b, factor=2)).flops == 1000
    assert seen == [((3, 5), (3, 8), (8, 5), 2, np.ndarray, np.ndarray)]


@pytest.mark.parametrize("value", [None, np.ones(3), [ones(3)]], ids=["None", "an array", "a list"])
def test_only_tensors_have_a_graph(value):
    """A model that returns anything else raises a TypeError that contains its type."""
    with rejects(TypeError, type(value).__name__):
        count(lambda: value)


def test_counting_leaves_nothing_behind(budget):
    """The graph of a model that keeps 4 MB is dropped with the call."""
    w = weight(1000)
    model, x = Views(w, lambda x: x * w), ones(1000, 1000)
    budget.bytes(lambda: count(model, x), retained=1e5)
