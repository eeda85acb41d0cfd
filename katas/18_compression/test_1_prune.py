import numpy as np
import pytest
from katas.activations import ReLU
from katas.embeddings import Embedding
from katas.layers import Linear, Module, Parameter, Sequential
from katas.model_compression import Masks, prune
from katas.spatial import BatchNorm2d, Conv2d
from katas.tensor import Tensor
from katas.transformers import GPT, GPTConfig

from specs.check import assert_close, count_steps, measure_bytes, rejects


def model(*weights) -> Module:
    """A Module with these arrays as Parameters, in the list `weights`."""
    module = Module()
    module.weights = [Parameter(np.array(weight)) for weight in weights]
    return module


def state(module: Module) -> dict:
    return {name: array.copy() for name, array in module.state_dict().items()}


def assert_unchanged(module: Module, before: dict) -> None:
    for name, array in module.state_dict().items():
        assert_close(array, before[name], name=name)


# prune


def test_the_smallest_weights_of_the_whole_model_become_zero(draw):
    """prune() compares the magnitudes of all weights together: a layer with small weights loses more. The rest is unchanged."""
    small, large = 0.1 * draw.normal(5, 8), draw.normal(4, 6)
    network = model(small, large)
    prune(network, 0.5)
    everything = np.concatenate([small.ravel(), large.ravel()])
    threshold, middle = np.sort(np.abs(everything))[31], np.sort(everything)[31]
    for parameter, before in zip(network.weights, (small, large), strict=True):
        assert_close(
            parameter,
            np.where(np.abs(before) > threshold, before, 0),
            mistakes={
                "each layer loses the same share": np.where(np.abs(before) > np.median(np.abs(before)), before, 0),
                "the largest are pruned": np.where(np.abs(before) <= threshold, before, 0),
                "magnitudes are forgotten: the most negative are pruned": np.where(before > middle, before, 0),
            },
        )


def test_per_layer_each_parameter_loses_the_same_share(draw):
    """With per_layer=True round(amount · n) weights of each Parameter's n are pruned, the smallest of each."""
    small, large = 0.1 * draw.normal(5, 8), draw.normal(4, 6)
    network = model(small, large)
    prune(network, 0.25, per_layer=True)
    for parameter, before, count in zip(network.weights, (small, large), (10, 6), strict=True):
        threshold = np.sort(np.abs(before).ravel())[count - 1]
        assert_close(parameter, np.where(np.abs(before) > threshold, before, 0))


EQUAL = {False: ([[0, 0, 2], [0, 0, 0]], [[-1, 1, 1, 1]]), True: ([[0, 0, 2], [0, 1, 1]], [[0, 0, 1, 1]])}


@pytest.mark.parametrize("per_layer", [False, True])
def test_of_equal_weights_exactly_the_number_asked_for_is_pruned(per_layer):
    """Where magnitudes are equal the first ones are pruned: in the order of parameters(), row by row. A threshold would prune
    all of them.
    """
    network = model(np.array([[1.0, -1, 2], [-1, 1, 1]]), np.array([[-1.0, 1, 1, 1]]))
    prune(network, 0.5, per_layer)
    for parameter, want in zip(network.weights, EQUAL[per_layer], strict=True):
        assert_close(parameter, np.array(want), mistakes={"a threshold prunes all that are equal": 2.0 * (parameter.data == 2)})


@pytest.mark.parametrize(
    ("amount", "pruned"),
    [(0, 0), (0.0, 0), (0.04, 0), (0.05, 0), (0.06, 1), (0.25, 2), (0.35, 4), (0.45, 4), (0.99, 10), (0.9499, 9)],
)
def test_the_number_is_rounded(draw, amount, pruned):
    """Of n = 10 weights round(amount · 10) are pruned, 2 for 2.5. An amount of 0 prunes nothing, and gives masks anyway."""
    network = model(draw.normal(2, 5))
    masks = prune(network, amount)
    ((parameter, kept),) = masks.pairs
    assert parameter is network.weights[0]
    assert np.count_nonzero(parameter.data == 0) == pruned
    assert np.count_nonzero(~kept) == pruned
    assert masks.sparsity == pytest.approx(pruned / 10)


def test_weights_that_are_zero_already_are_the_smallest(draw):
    """Pruning again, with a larger amount, goes on from what is pruned; the amount is the share of all weights."""
    before = draw.normal(6, 10)
    network = model(before)
    prune(network, 0.3)
    masks = prune(network, 0.5)
    threshold = np.sort(np.abs(before).ravel())[29]
    assert_close(network.weights[0], np.where(np.abs(before) > threshold, before, 0))
    assert masks.sparsity == pytest.approx(0.5)


def test_minus_zero_and_zero_are_equal():
    """-0.0 has the magnitude 0: the first of two zeros is pruned, not the negative one."""
    network = model(np.array([[0.0, -0.0, 3, 4]]))
    masks = prune(network, 0.25)
    assert masks.pairs[0][1].tolist() == [[False, True, True, True]]


DTYPES = pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])


@DTYPES
@pytest.mark.parametrize("per_layer", [False, True])
def test_magnitudes_are_compared_as_they_are(dtype, per_layer):
    """Whatever is done with tiny, huge or close weights first, a square or a smaller dtype, makes equal what is not."""
    limits = np.finfo(dtype)
    numbers = {
        "tiny": [limits.smallest_subnormal * n for n in (3, 1, 2, 3)],
        "huge": [limits.max / n for n in (1, 3, 2, 1)],
        "close": [1 + limits.eps * n for n in (3, 1, 2, 3)],
    }
    for name, (a, b, c, d) in numbers.items():
        network = model(np.array([[a, -b, c, -d]], dtype))
        masks = prune(network, 0.5, per_layer)
        assert masks.pairs[0][1].tolist() == [[True, False, False, True]], name


def test_weights_of_two_dtypes_are_compared_as_they_are():
    """A float64 weight that is a little larger than a float32 one is larger."""
    network = model(np.array([[1 + 1e-12, -1 - 2e-12]]), np.array([[1, 1]], np.float32))
    masks = prune(network, 0.5)
    assert [kept.tolist() for _, kept in masks.pairs] == [[[True, True]], [[False, False]]]


@pytest.mark.parametrize("shape", [(), (6,), (6, 1), (1, 6), (2, 3, 1), (1, 2, 1, 3), (1, 1, 2, 1, 3)], ids=str)
def test_weights_have_two_axes_or_more(draw, shape):
    """Two, three, four or five, of any length: Parameters with one axis or none stay, and are in no mask."""
    network = model(np.full((2, 3), 10.0), 1 + np.abs(draw.normal(*shape)))
    before, is_weight = state(network), len(shape) > 1
    masks = prune(network, 0.5)
    assert [kept.shape for _, kept in masks.pairs] == [(2, 3), shape][: 1 + is_weight]
    assert [kept.shape for _, kept in Masks.of(network).pairs] == [(2, 3), shape][: 1 + is_weight]
    assert np.count_nonzero(network.weights[0].data) == (6 if is_weight else 3)
    assert_close(network.weights[1], 0 * before["weights.1"] if is_weight else before["weights.1"])


def test_a_share_of_few_bits_is_a_share_of_many_weights():
    """0.5 as float16 times 200,000 is 100,000, which float16 does not know."""
    network = model(np.arange(200_000, dtype=np.float32).reshape(2, -1))
    masks = prune(network, np.float16(0.5))
    assert np.count_nonzero(~masks.pairs[0][1]) == 100_000


def test_biases_and_normalizations_stay(draw):
    """Only Parameters with two axes or more are weights. Biases, and weights of a BatchNorm2d or LayerNorm, have one axis."""
    rng = np.random.default_rng(0)
    network = Sequential(Conv2d(2, 3, 3, rng=rng), BatchNorm2d(3), ReLU(), Embedding(5, 4, rng=rng), Linear(4, 6, rng=rng))
    for parameter in network.parameters():
        if parameter.ndim == 1:
            parameter.data[...] = 1e-3 * draw.normal(len(parameter))
    before = state(network)
    masks = prune(network, 0.9)
    for name, parameter in network.named_parameters():
        if parameter.ndim == 1:
            assert_close(parameter, before[name], name=name)
    weights = [network[0].weight, network[3].weight, network[4].weight]
    assert [parameter for parameter, _ in masks.pairs] == weights
    assert [kept.shape for _, kept in masks.pairs] == [weight.shape for weight in weights]
    assert sum(int((weight.data == 0).sum()) for weight in weights) == round(0.9 * sum(weight.size for weight in weights))


def test_a_tied_weight_counts_once():
    """A GPT's wte and lm_head share a Parameter. It is pruned once, and stays shared."""
    network = GPT(GPTConfig(vocab_size=40, context=4, n_layer=1, n_head=2, d_model=8), np.random.default_rng(0))
    weights = [parameter for parameter in network.parameters() if parameter.ndim > 1]
    masks = prune(network, 0.7)
    assert len(masks.pairs) == len(weights)
    assert sum(int((weight.data == 0).sum()) for weight in weights) == round(0.7 * sum(weight.size for weight in weights))
    assert network.lm_head.weight is network.transformer.wte.weight


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_weights_are_pruned_in_place(draw, dtype):
    """The array of a Parameter stays the same object, with its dtype: other code that holds it sees the zeros."""
    network = model(draw.normal(4, 5, dtype=dtype))
    array = network.weights[0].data
    masks = prune(network, 0.5)
    assert network.weights[0].data is array
    assert array.dtype == dtype
    assert masks.pairs[0][1].dtype == np.bool_
    assert np.count_nonzero(array == 0) == 10


def test_weights_column_by_column_in_memory_are_pruned_by_index(draw):
    """The order in memory doesn't matter."""
    before = draw.normal(5, 6)
    network = model(before)
    network.weights[0].data = np.array(before, order="F")
    prune(network, 0.5)
    threshold = np.sort(np.abs(before).ravel())[14]
    assert_close(network.weights[0], np.where(np.abs(before) > threshold, before, 0))


def test_an_infinite_weight_is_the_largest(draw):
    """±∞ has a magnitude, and stays."""
    weight = np.array([[1.0, -np.inf, 2.0, np.inf]])
    network = model(weight)
    prune(network, 0.5)
    assert_close(network.weights[0], np.array([[0, -np.inf, 0, np.inf]]))


@pytest.mark.parametrize("amount", [1, 1.0, 1.5, -0.1, float("nan"), 50])
def test_an_amount_that_is_no_share_is_refused(draw, amount):
    """An amount below 0, or of 1 or more, raises a ValueError that contains it: 50 is not 50%."""
    network = model(draw.normal(3, 4))
    before = state(network)
    with rejects(ValueError, repr(amount)):
        prune(network, amount)
    assert_unchanged(network, before)


def test_a_weight_that_holds_nan_is_refused(draw):
    """NaN has no magnitude: a ValueError contains the Parameter's name, and nothing is pruned, in other layers neither."""
    weight = np.array(draw.normal(3, 4))
    weight[1, 2] = np.nan
    for amount, per_layer in ((0.5, False), (0.5, True), (0, False)):
        network = model(draw.normal(3, 4), weight)
        before = state(network)
        with rejects(ValueError, "weights.1"):
            prune(network, amount, per_layer)
        assert_unchanged(network, before)


def test_a_weight_that_is_read_only_is_refused(draw):
    """A ValueError contains the Parameter's name, and nothing is pruned, in the layers before neither."""
    network = model(draw.normal(3, 4), draw.normal(2, 5))
    network.weights[1].data.flags.writeable = False
    before = state(network)
    for amount, per_layer in ((0.5, False), (0.5, True), (0, False)):
        with rejects(ValueError, "weights.1"):
            prune(network, amount, per_layer)
        assert_unchanged(network, before)


def test_a_model_without_weights_is_refused(draw):
    """A model in which no Parameter has two axes raises a ValueError that contains its class, in prune and in Masks.of."""
    for call in (lambda: prune(BatchNorm2d(3), 0.5), lambda: prune(BatchNorm2d(3), 0), lambda: Masks.of(BatchNorm2d(3))):
        with rejects(ValueError, "BatchNorm2d"):
            call()


def test_no_python_loop_over_weights(draw):
    """The number of Python instructions doesn't grow with the number of weights."""
    small, large = model(draw.normal(2, 3)), model(draw.normal(200, 30))
    few, many = count_steps(lambda: prune(small, 0.5).apply(), lambda: prune(large, 0.5).apply())
    assert many <= 2 * few, f"{few} Python instructions for 6 weights, {many} for 6,000"


# Masks


def test_apply_sets_pruned_weights_to_zero_again(draw):
    """apply() sets the weights at False to 0, NaN too, in the array that the Parameter has now. All others stay."""
    network = model(draw.normal(3, 4), draw.normal(2, 5))
    masks = prune(network, 0.5)
    kept = [part.copy() for _, part in masks.pairs]
    new = [np.array(draw.normal(3, 4)), np.full((2, 5), np.nan)]
    for parameter, array in zip(network.weights, new, strict=True):
        parameter.data = array.copy()
    masks.apply()
    for parameter, array, part in zip(network.weights, new, kept, strict=True):
        assert_close(parameter, np.where(part, array, 0))


def test_apply_allocates_no_floats(draw):
    """Applying the masks of 1 MB of float32 weights takes less than 400 kB: a mask is a byte a weight."""
    network = model(draw.normal(512, 512, dtype=np.float32))
    masks = prune(network, 0.5)
    peak, retained = measure_bytes(masks.apply)
    assert peak < 400_000, f"{peak:,} bytes"
    assert retained < 10_000


def test_masks_are_those_given(draw):
    """Masks(pairs) takes any pairs, such as a generator's. The sparsity is the share of all weights, not a mean of shares."""
    weights = [Parameter(draw.normal(2, 5)), Parameter(draw.normal(3, 10))]
    keeps = [np.ones((2, 5), bool), np.zeros((3, 10), bool)]
    masks = Masks(pair for pair in zip(weights, keeps, strict=True))
    assert masks.sparsity == pytest.approx(0.75)
    masks.apply()
    assert (weights[0].data != 0).all()
    assert not weights[1].data.any()
    assert len(masks.pairs) == 2
    assert Masks([]).sparsity == 0


def test_masks_of_a_pruned_model_are_found(draw):
    """Masks.of(model) is False wherever a weight is 0, and True elsewhere: what a model has after its state was loaded."""
    pruned, loaded = (Sequential(Linear(6, 8, rng=np.random.default_rng(seed)), ReLU(), Linear(8, 3)) for seed in (0, 1))
    masks = prune(pruned, 0.6)
    loaded.load_state_dict(pruned.state_dict())
    found = Masks.of(loaded)
    assert [parameter for parameter, _ in found.pairs] == [loaded[0].weight, loaded[2].weight]
    for (_, want), (_, got) in zip(masks.pairs, found.pairs, strict=True):
        assert got.dtype == np.bool_
        assert_close(got, want)
    assert found.sparsity == pytest.approx(masks.sparsity)


def test_masks_of_a_model_count_nan_as_a_weight():
    """A weight that is NaN is not 0: Masks.of keeps it."""
    found = Masks.of(model(np.array([[0.0, np.nan, -0.0, 1.0]])))
    assert found.pairs[0][1].tolist() == [[False, True, False, True]]


@DTYPES
def test_masks_of_a_model_count_the_smallest_number_as_a_weight(dtype):
    """A weight next to 0 is not 0: Masks.of keeps it, however small it is beside the others."""
    least = np.finfo(dtype).smallest_subnormal
    network = model(np.array([[0, least, -least, 1]], dtype), np.array([[-least, 0]], dtype))
    assert [kept.tolist() for _, kept in Masks.of(network).pairs] == [[[False, True, True, True]], [[True, False]]]


def test_a_pruned_model_computes_with_zeros(draw):
    """The result is that of the pruned weights, and gradients flow as before."""
    layer = Linear(6, 4, rng=np.random.default_rng(0))
    weight, x = layer.weight.data.copy(), draw.normal(3, 6, dtype=np.float32)
    prune(layer, 0.5)
    threshold = np.sort(np.abs(weight).ravel())[11]
    y = layer(Tensor(x))
    assert_close(y, x @ np.where(np.abs(weight) > threshold, weight, 0).T + layer.bias.data)
    y.sum().backward()
    assert_close(layer.weight.grad, np.tile(x.sum(0), (4, 1)))
