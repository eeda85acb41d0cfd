import warnings

import numpy as np
import pytest
from katas.embeddings import RotaryPositions
from katas.tensor import Tensor
from katas.transformers import GPT, Block, FeedForward, GPTConfig, LayerNorm, RMSNorm, generate, next_token_windows

from specs.check import array, assert_close, layouts, rejects, undisturbed

SIZES = {"vocab_size": 7, "context": 6, "n_layer": 2, "n_head": 2, "d_model": 4}
MODULES = {
    "LayerNorm": lambda: LayerNorm(4),
    "RMSNorm": lambda: RMSNorm(4),
    "FeedForward": lambda: FeedForward(4, rng=np.random.default_rng(0)),
    "Block": lambda: Block(small(), rng=np.random.default_rng(0)),
}
modules = pytest.mark.parametrize("name", MODULES)


def small() -> GPTConfig:
    return GPTConfig(**SIZES)


def wide(module):
    """The same module in float64."""
    for parameter in module.parameters():
        parameter.data = parameter.data.astype(np.float64)
    return module


def gpt(**options) -> GPT:
    return wide(GPT(GPTConfig(**SIZES | options), np.random.default_rng(0)))


@modules
@pytest.mark.parametrize("order", ["column by column", "backwards", "in steps"])
def test_arrays_may_lie_in_memory_in_any_order(name, order, draw):
    """The input, and the gradient of the result."""
    module, x, g, results = wide(MODULES[name]()), draw.normal(2, 3, 4), draw.normal(2, 3, 4), []
    for each in (np.array, lambda values: layouts(values)[order]):
        tensor = Tensor(each(x), requires_grad=True)
        y = module(tensor)
        y.backward(each(g))
        results.append((y.data, tensor.grad))
    for got, want in zip(results[1], results[0], strict=True):
        assert_close(got, want)


@pytest.mark.parametrize("order", ["column by column", "backwards", "in steps"])
def test_ids_and_masks_may_lie_in_memory_in_any_order(order, draw):
    """What counts is the index: of ids, masks, weights of GPT-2, and a text that is cut into windows."""
    model, ids, mask = gpt(), draw.integers(7, 3, 5), np.array([[1, 0, 1, 1, 0], [0, 1, 1, 0, 1], [1, 1, 1, 1, 1]], bool)
    want = model(np.array(ids), np.array(mask)).data
    assert_close(model(layouts(ids)[order], layouts(mask)[order]), want)
    text = np.array([3, 0, 6, 1, 4])
    assert list(generate(model, layouts(text)[order], 2, 0)) == list(generate(model, text.tolist(), 2, 0))
    assert_close(next_token_windows(layouts(text)[order], 2).batch([1])[1][0], text[2:4])


@modules
def test_the_result_is_never_the_input_itself(name):
    """Even where both are equal, and writing into the result leaves the input alone."""
    module = MODULES[name]()
    for parameter in module.parameters():
        parameter.data[...] = 0
    x = np.zeros((1, 2, 4), np.float32)
    module(Tensor(x)).data[...] = 7
    assert_close(x, np.zeros((1, 2, 4), np.float32))


def test_logits_may_be_written_to(draw):
    """They are an array that no one else has."""
    model, ids = gpt(), draw.integers(7, 2, 5)
    logits = model(ids)
    want = logits.data.copy()
    logits.data[...] = 7
    assert_close(model(ids), want)


@modules
@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_infinities_and_nan_are_not_hidden(name, value, draw):
    """A token that is not finite makes a result that is not, and, but for Block, whose tokens see each other, only its own."""
    module, x = wide(MODULES[name]()), np.array(draw.normal(2, 5, 4))
    want = module(Tensor(x)).data.copy()
    x[1, 2, 1] = value
    with np.errstate(invalid="ignore"):
        y = module(Tensor(x)).data
    assert not np.isfinite(y[1, 2]).all()
    assert_close(y[0], want[0])
    if name != "Block":
        assert_close(np.delete(y[1], 2, 0), np.delete(want[1], 2, 0))


def test_weights_that_are_not_finite_show_in_the_logits(draw):
    """A model that diverged gives NaN, not numbers that look like logits."""
    model = gpt()
    model.transformer.ln_f.weight.data[1] = np.nan
    assert np.isnan(model(draw.integers(7, 2, 5)).data).all()


@modules
def test_axes_of_length_1_and_0_stay(name):
    """One token, one row, and no row at all."""
    module = MODULES[name]()
    for shape in ((1, 1, 4), (1, 3, 4), (3, 1, 4), (0, 3, 4)):
        assert module(Tensor(np.ones(shape, np.float32))).shape == shape


def test_one_row_and_one_id_are_enough():
    """ids (1, 1) → logits (1, 1, vocab_size), also with a vocabulary and a width of 1, and with padding."""
    assert gpt()([[3]]).shape == (1, 1, 7)
    assert gpt()([[3]], [[True]]).shape == (1, 1, 7)
    assert GPT(GPTConfig(1, 1, 1, 1, 1))([[0]]).shape == (1, 1, 1)


def test_sizes_may_be_numpys_numbers():
    """As of an array's shape: np.int64(4) is 4, np.float64(0.5) is 0.5."""
    four, half = np.int64(4), np.float64(0.5)
    for module in (LayerNorm(four, eps=half), RMSNorm(four, half), FeedForward(four, half), LayerNorm(4, np.bool_(True), half)):
        assert module(Tensor(np.ones((2, 4), np.float32))).dtype == np.float32
    Block(small(), np.int64(1))
    model = gpt()
    assert model.parameter_groups(np.float64(0.1))[0]["weight_decay"] == 0.1
    options = {"temperature": np.float32(1.0), "top_k": np.int64(3), "top_p": np.float64(0.9)}
    assert len(list(generate(model, [1], np.int64(3), **options, stop=[np.int64(9)]))) == 3
    assert len(next_token_windows(np.arange(6), np.int64(2))) == 4


def test_heads_of_gpt_2_may_be_numpys_numbers(draw):
    """n_head, as vocab_size, may be a NumPy integer."""
    model = GPT(small())
    state = {name: array.T if ".c_" in name and array.ndim == 2 else array for name, array in model.state_dict().items()}
    ids = draw.integers(7, 2, 5)
    assert_close(GPT.from_gpt2(state, np.int64(2))(ids), model(ids).data)
    assert_close(GPT.from_gpt2(dict(reversed(state.items())), 2)(ids), model(ids).data)


def test_options_may_be_named_in_any_order():
    """Each by its name, whatever the order of the call."""
    assert LayerNorm(eps=0.5, bias=False, d_model=4).eps == 0.5
    assert LayerNorm(eps=0.5, bias=False, d_model=4).bias is None
    layer = FeedForward(rng=np.random.default_rng(0), bias=False, dropout=0.5, d_model=4)
    assert layer.c_fc.bias is None
    block = Block(rng=np.random.default_rng(0), rotary=None, layer=1, config=small())
    assert block.attn.layer == 1
    x, mask = Tensor(np.ones((1, 3, 4), np.float32)), np.array([[False, True, True]])
    assert_close(block.forward(cache=None, mask=mask, x=x), block(x, mask).data)
    model, ids = gpt(), np.array([[1, 2, 3]])
    assert_close(model.forward(cache=None, mask=mask, ids=ids), model(ids, mask).data)
    got = generate(max_new_tokens=3, top_p=0.9, rng=np.random.default_rng(0), top_k=4, temperature=2.0, ids=[1], model=model)
    assert list(got) == list(generate(model, [1], 3, 2.0, 4, 0.9, (), np.random.default_rng(0)))


def test_falsy_options_are_options():
    """bias=False, eps=0.0 and dropout=0 are meant; so is layer 0."""
    x = np.array([[1.0, 2, 3, 4]])
    assert_close(LayerNorm(4, eps=0.0)(Tensor(x)), (x - 2.5) / np.sqrt(1.25))
    assert_close(RMSNorm(4, eps=0.0)(Tensor(x)), x / np.sqrt(7.5))
    assert LayerNorm(4, False).bias is None
    assert FeedForward(4, 0.0, False).c_fc.bias is None


def test_modules_share_nothing(draw):
    """A second one, of another size or with other options, changes nothing for the first."""
    x, ids = Tensor(draw.normal(2, 3, 4, dtype=np.float32)), draw.integers(7, 2, 5)
    other = GPTConfig(9, 3, 1, 1, 2, bias=False, positions="rotary", norm="rms", dropout=0.5)
    for make, others, given in [
        (lambda: LayerNorm(4, eps=0.1), lambda: LayerNorm(3, False), x),
        (lambda: RMSNorm(4, eps=0.1), lambda: RMSNorm(3), x),
        (lambda: FeedForward(4), lambda: FeedForward(3, 0.5, False), x),
        (lambda: Block(small()), lambda: Block(other), x),
        (lambda: GPT(small()), lambda: GPT(other), ids),
    ]:
        module = make()
        before, names = module(given).data.copy(), list(module.state_dict())
        others()
        assert_close(module(given), before)
        assert list(module.state_dict()) == names
    windowed = gpt(positions="rotary", window=2, d_model=8)
    gpt(positions="rotary", window=2, d_model=8, context=50)
    assert windowed(np.zeros((1, 20), np.int64)).shape == (1, 20, 7)


def test_without_a_generator_weights_are_fresh():
    """rng=None draws different weights each time."""
    for make in (lambda: FeedForward(4).c_fc, lambda: Block(small()).mlp.c_fc, lambda: Block(small()).attn.c_attn):
        assert (make().weight.data != make().weight.data).any()


def test_attributes_may_be_changed_later(draw):
    """eps, weight, bias and dropout are read when they are used."""
    x = draw.normal(2, 3, 4)
    for norm in (LayerNorm(4), RMSNorm(4)):
        norm.eps = 0.5
        norm.weight = type(norm.weight)(np.full(4, 3.0))
        assert_close(norm(Tensor(x)), 3 * type(norm)(4, eps=0.5)(Tensor(x)).data)
    model, ids = gpt(), draw.integers(7, 2, 5)
    model.transformer = gpt().transformer
    model.lm_head = wide(FeedForward(4, rng=np.random.default_rng(1)))
    assert model(ids).shape == (2, 5, 4)


def test_replaced_parts_are_used(draw):
    """A block's or a FeedForward's layers, exchanged for others, are those that compute: kata 15 does so."""
    x = Tensor(draw.normal(2, 3, 4))
    block, layer = wide(Block(small())), wide(FeedForward(4))
    block.ln_1, block.attn, block.ln_2, block.mlp = (
        wide(Block(small())).__dict__[name] for name in ("ln_1", "attn", "ln_2", "mlp")
    )
    y = x.data + block.attn(block.ln_1(x)).data
    assert_close(block(x), y + block.mlp(block.ln_2(Tensor(y))).data)
    layer.c_fc, layer.c_proj = block.mlp.c_fc, block.mlp.c_proj
    assert_close(layer(x), block.mlp(x).data)


def test_groups_are_those_of_the_moment():
    """A parameter that was exchanged is in its group."""
    model = gpt()
    model.transformer.ln_f = RMSNorm(4)
    assert any(parameter is model.transformer.ln_f.weight for parameter in model.parameter_groups(0.1)[1]["params"])


def test_nothing_else_is_touched(draw):
    """Neither NumPy's global generator nor its error handling nor the working directory, by making or using anything."""
    x, ids = draw.normal(2, 3, 4), draw.integers(7, 2, 5)
    for make in MODULES.values():
        with undisturbed():
            make()
        module = wide(make())
        with undisturbed():
            module(Tensor(x, requires_grad=True)).sum().backward()
    with undisturbed():
        config = GPTConfig(**SIZES)
    with undisturbed():
        model = GPT(config)
    with undisturbed():
        model(ids, np.ones((2, 5), bool)).sum().backward()
    with undisturbed():
        model.parameter_groups(0.1)
    state = {name: array.T if ".c_" in name and array.ndim == 2 else array for name, array in model.state_dict().items()}
    with undisturbed():
        GPT.from_gpt2(state, 2)
    with undisturbed():
        next_token_windows(ids[0], 2)
    with undisturbed():
        list(generate(model, [1], 2))


def test_what_is_refused_is_left_as_it_was(draw):
    """After an error inputs are what they were, and so is the model."""
    x, ids, mask = np.ones((2, 3)), np.ones((2, 9), np.int64), np.ones((2, 2), bool)
    model = gpt()
    before = model.state_dict()
    for norm in (LayerNorm(4), RMSNorm(4)):
        with rejects(ValueError):
            norm(Tensor(x))
    with rejects(ValueError):
        model(ids)
    with rejects(ValueError):
        model(ids[:, :3], mask)
    text = np.ones(3, np.int64)
    with rejects(ValueError):
        next_token_windows(text, 3)
    with rejects(ValueError):
        generate(model, text, 3, top_k=0)
    for array_, want in ((x, 1.0), (ids, 1), (mask, True), (text, 1)):
        assert (array_ == want).all()
    for name, values in model.state_dict().items():
        assert_close(values, before[name])


def test_shapes_that_differ_are_not_broadcast():
    """A mask of one row for two rows of ids is refused: it may be a mistake."""
    with rejects(ValueError, "(1, 3)", "(2, 3)"):
        gpt()(np.ones((2, 3), np.int64), np.ones((1, 3), bool))
    with rejects(ValueError, "(2, 3)", "(1, 3)"):
        gpt()(np.ones((1, 3), np.int64), np.ones((2, 3), bool))


def test_an_interrupt_leaves_the_modes_as_they_were(draw):
    """Ctrl-C in the middle of an id: the model is in training mode afterwards."""
    model = gpt(dropout=0.5)

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    model.transformer.h[1].mlp.forward = interrupted
    with pytest.raises(KeyboardInterrupt):
        next(generate(model, [1], 3))
    assert all(module.training for module in model.modules())


def test_a_rotary_table_of_the_callers_own(draw):
    """Block uses the RotaryPositions that it is given."""
    x = Tensor(draw.normal(1, 5, 8))
    config = GPTConfig(**SIZES | {"d_model": 8})
    plain, turned = (wide(Block(config, 0, rotary, np.random.default_rng(0))) for rotary in (None, RotaryPositions(5, 4)))
    assert np.abs(plain(x).data - turned(x).data).max() > 1e-6
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_close(array(turned(x))[:, 0], plain(x).data[:, 0])
