import math

import numpy as np
import pytest
from katas.autograd import no_grad
from katas.layers import Parameter
from katas.optimizers import AdamW
from katas.tensor import Tensor
from katas.transformers import GPT, GPTConfig

from specs import oracles
from specs.check import assert_close, assert_dtype, measure_bytes, rejects, undisturbed

SIZES = {"vocab_size": 11, "context": 8, "n_layer": 2, "n_head": 2, "d_model": 8}
KINDS = [
    {"positions": "learned", "norm": "layer"},
    {"positions": "learned", "norm": "rms"},
    {"positions": "learned", "norm": "layer", "bias": False},
    {"positions": "sinusoidal", "norm": "layer"},
    {"positions": "rotary", "norm": "layer"},
    {"positions": "rotary", "norm": "rms", "bias": False},
    {"positions": "rotary", "norm": "rms", "window": 2},
]
each_kind = pytest.mark.parametrize("options", KINDS, ids=lambda options: " ".join(map(str, options.values())))


def made(draw=None, seed=0, **options) -> GPT:
    """A small GPT; with `draw` in float64, and with random parameters that hide nothing."""
    model = GPT(GPTConfig(**SIZES | options), np.random.default_rng(seed))
    for parameter in model.parameters() if draw else ():
        parameter.data = np.array(0.5 * draw.normal(*parameter.shape)) + (parameter.ndim == 1)
    return model


def names(**options) -> list[str]:
    return [name for name, _ in made(**options).named_parameters()]


# Names, numbers of parameters, and what they start as


def test_the_parameters_have_nanogpts_names():
    """transformer.wte and .wpe, .h.0 and so on, .ln_f. lm_head's weight is that of wte, and not listed again."""
    layers = ("ln_1", "attn.c_attn", "attn.c_proj", "ln_2", "mlp.c_fc", "mlp.c_proj")
    blocks = [f"h.{i}.{layer}.{kind}" for i in range(2) for layer in layers for kind in ("weight", "bias")]
    want = [f"transformer.{name}" for name in ["wte.weight", "wpe.weight", *blocks, "ln_f.weight", "ln_f.bias"]]
    assert names() == want
    assert names(bias=False) == [name for name in want if name.endswith("weight")]
    assert sorted(made().state_dict()) == sorted(want)
    for positions in ("sinusoidal", "rotary"):
        assert names(positions=positions) == [name for name in want if "wpe" not in name]


def test_the_config_is_an_attribute():
    """model.config is the GPTConfig that was given."""
    config = GPTConfig(**SIZES)
    assert GPT(config).config is config


@pytest.mark.parametrize("sizes", [(11, 8, 2, 2, 8), (7, 3, 1, 1, 4), (13, 5, 3, 4, 16)])
def test_the_number_of_parameters(sizes):
    """vocab·d + context·d + layers·(12 d² + 13 d) + 2 d: with GPT-2's 50257, 1024, 12 and d = 768 that is 124,439,808."""

    def count(vocab, context, layers, _, d):
        return vocab * d + context * d + layers * (12 * d * d + 13 * d) + 2 * d

    assert count(50257, 1024, 12, 12, 768) == 124_439_808
    assert sum(parameter.size for parameter in GPT(GPTConfig(*sizes)).parameters()) == count(*sizes)


def test_lm_head_has_the_weight_of_wte():
    """Both are one Parameter, listed once."""
    model = made()
    assert model.lm_head.weight is model.transformer.wte.weight
    assert isinstance(model.lm_head.weight, Parameter)
    assert sum(parameter is model.lm_head.weight for parameter in model.parameters()) == 1
    assert model.lm_head.bias is None


def test_it_is_initialized_as_gpt_2():
    """Matrices are normal with standard deviation 0.02. Those that add to x, c_proj, have 0.02 / √(2 · n_layer), so that the
    sum of all blocks does not grow with their number. Biases are 0, weights of norms 1, all float32.
    """
    model = GPT(GPTConfig(300, 200, 8, 2, 64), np.random.default_rng(0))
    for name, parameter in model.named_parameters():
        assert_dtype(parameter, np.float32)
        if parameter.ndim == 2:
            want = 0.02 / 4 if name.endswith("c_proj.weight") else 0.02
            assert abs(parameter.data.std() / want - 1) < 0.05, name
            assert abs(parameter.data.mean()) < 0.05 * want, name
            assert np.abs(parameter.data).max() > 3.2 * want, f"{name}: uniform, not normal?"
        else:
            assert_close(parameter, np.full(64 if parameter.size == 64 else parameter.size, float(name.endswith("weight"))))


def test_different_matrices_are_drawn_independently():
    """Two blocks don't start with the same weights."""
    state = made().state_dict()
    for name in ("attn.c_attn.weight", "attn.c_proj.weight", "mlp.c_fc.weight", "mlp.c_proj.weight"):
        assert (state[f"transformer.h.0.{name}"] != state[f"transformer.h.1.{name}"]).any()


def test_the_generator_decides_the_weights():
    """Equal seeds give equal weights, 0 too; different seeds, and no generator, give different ones."""
    same, again, other = (made(seed=seed).state_dict() for seed in (0, 0, 1))
    fresh = [GPT(GPTConfig(**SIZES)).state_dict() for _ in range(2)]
    for name, values in same.items():
        assert_close(again[name], values)
        if values.ndim == 2:
            assert (other[name] != values).any()
            assert (fresh[0][name] != fresh[1][name]).any()


@each_kind
def test_the_loss_at_the_beginning_is_that_of_guessing(options, draw):
    """All ids are about equally probable: the mean of -log p over random targets is log(vocab_size) within 2%."""
    model = GPT(GPTConfig(256, 16, 4, 4, 64, **options), np.random.default_rng(0))
    logits = model(draw.integers(256, 16, 16)).data.astype(np.float64)
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    targets = draw.integers(256, 16, 16)
    loss = -np.log(np.take_along_axis(p, targets[..., None], -1)).mean()
    assert abs(loss / math.log(256) - 1) < 0.02


# Logits


@each_kind
def test_the_logits(draw, options):
    """Embeddings and positions, all blocks, the last norm, and the product with the embeddings: for each row."""
    model, ids = made(draw, **options), draw.integers(11, 3, 7)
    want = np.stack([oracles.transformers.gpt(model.state_dict(), model.config, row) for row in ids])
    assert_close(model(ids), want)


def test_ids_may_be_a_list_an_array_or_a_tensor(draw):
    """Integers of any type, too: text is stored as uint16."""
    model, ids = made(draw), draw.integers(11, 2, 5)
    want = model(ids).data
    for same in (ids.tolist(), Tensor(ids), ids.astype(np.uint16), ids.astype(np.int32)):
        assert_close(model(same), want)


def test_texts_of_any_length_up_to_the_context(draw):
    """From one token to `context`; the first logits are those of the shorter text."""
    model, ids = made(draw), draw.integers(11, 2, 8)
    want = model(ids).data
    for length in (1, 3, 8):
        assert_close(model(ids[:, :length]), want[:, :length])


@each_kind
def test_the_future_moves_no_past_logit(draw, options):
    """Another id at position 4 changes no logit before it, and those at 4 and behind it."""
    model, ids = made(draw, **options), draw.integers(11, 2, 8)
    other = ids.copy()
    other[:, 4] = (other[:, 4] + 1) % 11
    before, after = model(ids).data, model(other).data
    assert_close(after[:, :4], before[:, :4])
    assert (np.abs(after - before).max((0, 2))[4:6] > 1e-3).all()


@each_kind
def test_order_matters(draw, options):
    """Other orders of the first tokens give other logits behind them; with a window of 2 and two layers that is the third."""
    model, ids = made(draw, **options), np.array([[1, 2, 3]])
    assert np.abs(model(ids).data[:, -1] - model(np.array([[2, 1, 3]])).data[:, -1]).max() > 1e-3


@pytest.mark.parametrize("positions", ["learned", "sinusoidal"])
def test_one_token_repeated_has_different_logits_everywhere(draw, positions):
    """Absolute positions tell equal tokens apart, even where all that can be seen is equal."""
    logits = made(draw, positions=positions)(np.full((1, 6), 4)).data[0]
    for one in range(6):
        for other in range(one):
            assert np.abs(logits[one] - logits[other]).max() > 1e-3


def test_a_window_sees_as_far_as_its_layers_together(draw):
    """Two layers with a window of 3 see 2 · (3 - 1) tokens back: an older one changes nothing, this one does."""
    model, ids = made(draw, positions="rotary", window=3), draw.integers(11, 1, 8)
    moved = []
    for place in range(8):
        other = ids.copy()
        other[:, place] = (other[:, place] + 1) % 11
        moved.append(np.abs(model(other).data[:, -1] - model(ids).data[:, -1]).max() > 1e-6)
    assert moved == [False] * 3 + [True] * 5


def test_with_a_window_a_text_may_be_longer_than_the_context(draw):
    """Rotary positions go on behind the context, however far; afterwards short texts are what they were."""
    model = made(draw, positions="rotary", window=3)
    short, long, longer = draw.integers(11, 1, 8), draw.integers(11, 1, 20), draw.integers(11, 1, 50)
    before = model(short).data
    for ids in (long, longer):
        assert_close(model(ids).data[0], oracles.transformers.gpt(model.state_dict(), model.config, ids[0]))
    assert_close(model(short), before)


@each_kind
def test_rows_do_not_see_each_other(draw, options):
    """A batch of two gives what two batches of one give."""
    model, ids = made(draw, **options), draw.integers(11, 2, 6)
    assert_close(model(ids), np.concatenate([model(ids[:1]).data, model(ids[1:]).data]))


def test_the_dtype_is_that_of_the_parameters(draw):
    """float32 parameters give float32 logits and gradients; float64 ones float64."""
    for options in KINDS:
        model = made(**options)
        logits = model(draw.integers(11, 2, 5))
        logits.sum().backward()
        assert_dtype(logits, np.float32)
        for parameter in model.parameters():
            assert_dtype(parameter.grad, np.float32)
        assert_dtype(made(draw, **options)(draw.integers(11, 2, 5)), np.float64)


# Padding

MASKS = {
    "right": [[1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 0, 0], [1, 0, 0, 0, 0, 0]],
    "left": [[1, 1, 1, 1, 1, 1], [0, 0, 1, 1, 1, 1], [0, 0, 0, 0, 0, 1]],
    "gaps": [[1, 0, 1, 1, 0, 1], [0, 1, 1, 0, 1, 0], [0, 0, 1, 0, 0, 0]],
}


@each_kind
@pytest.mark.parametrize("where", MASKS)
def test_padding_changes_no_logit_of_a_real_token(draw, options, where):
    """Left, right or in between: a row's real tokens have the logits that they have without padding."""
    model, ids, mask = made(draw, **options), draw.integers(11, 3, 6), np.array(MASKS[where], bool)
    got = model(ids, mask)
    assert got.shape == (3, 6, 11)
    for row in range(3):
        assert_close(got.data[row, mask[row]], model(ids[row : row + 1, mask[row]]).data[0], name=f"row {row}")


def test_a_long_row_keeps_its_order(draw):
    """Two hundred tokens with gaps: an argsort that is not stable mixes them, which it does not do with few."""
    model, ids, mask = made(draw, context=200), draw.integers(11, 1, 200), draw.integers(3, 1, 200) > 0
    assert_close(model(ids, mask).data[mask], model(ids[mask][None]).data[0])


def test_padding_may_have_any_ids(draw):
    """Even ids that don't exist, such as -100; nothing is NaN, and the ids are not changed."""
    model, mask = made(draw), np.array(MASKS["gaps"], bool)
    ids = np.where(mask, draw.integers(11, 3, 6), -100)
    kept = ids.copy()
    got = model(ids, mask).data
    assert np.isfinite(got).all()
    assert_close(got[mask], model(np.where(mask, ids, 7), mask).data[mask])
    assert_close(ids, kept)


def test_a_row_of_padding_alone_is_harmless(draw):
    """A row without a real token gives no NaN, and the other rows are as they are without it."""
    model, ids = made(draw), draw.integers(11, 2, 5)
    mask = np.array([[True] * 5, [False] * 5])
    got = model(ids, mask).data
    assert np.isfinite(got).all()
    assert_close(got[:1], model(ids[:1]).data)


def test_the_mask_may_be_a_list_or_a_tensor(draw):
    """A mask that is all True changes nothing."""
    model, ids = made(draw), draw.integers(11, 2, 5)
    want = model(ids).data
    for mask in (np.ones((2, 5), bool), [[True] * 5] * 2, Tensor(np.ones((2, 5), bool))):
        assert_close(model(ids, mask), want)


def test_the_gradient_ignores_padding(draw):
    """Where only real tokens count, every parameter's gradient is the sum over the rows without padding."""
    model, ids, mask = made(draw), draw.integers(11, 3, 6), np.array(MASKS["gaps"], bool)
    g = draw.normal(3, 6, 11) * mask[..., None]
    model(ids, mask).backward(g)
    got = [parameter.grad for parameter in model.parameters()]
    model.zero_grad()
    for row in range(3):
        model(ids[row : row + 1, mask[row]]).backward(g[row : row + 1, mask[row]])
    for (name, parameter), grad in zip(model.named_parameters(), got, strict=True):
        assert_close(grad, parameter.grad, name=name)


# Training and evaluation


def test_dropout_is_for_training_alone(draw):
    """In training logits differ from call to call; in evaluation they are those of a model without dropout."""
    model, ids = made(dropout=0.5), draw.integers(11, 2, 5)
    plain = made()
    plain.load_state_dict(model.state_dict())
    assert np.abs(model(ids).data - model(ids).data).max() > 0
    assert_close(model.eval()(ids), plain(ids).data)


@pytest.mark.parametrize("positions", ["learned", "sinusoidal", "rotary"])
def test_dropout_falls_on_the_embeddings_too(draw, positions):
    """With blocks that add nothing, dropout of the sum of token and position is left, and shows: with rotary positions that of
    the token alone.
    """
    model, ids = made(dropout=0.5, positions=positions), draw.integers(11, 2, 5)
    for name, parameter in model.named_parameters():
        if "c_proj" in name:
            parameter.data[...] = 0
    assert np.abs(model(ids).data - model(ids).data).max() > 0.01


def test_the_generator_draws_the_masks(draw):
    """Equal seeds give equal dropout, and NumPy's global generator is not used."""
    ids = draw.integers(11, 2, 5)
    with undisturbed():
        first, second = made(dropout=0.5), made(dropout=0.5)
        assert_close(first(ids), second(ids).data)


def test_without_dropout_training_draws_nothing(draw):
    """dropout=0: the generator is as it was after the model was made."""
    rng = np.random.default_rng(0)
    model = GPT(GPTConfig(**SIZES), rng)
    before = rng.bit_generator.state
    model(draw.integers(11, 2, 5))
    assert rng.bit_generator.state == before


def test_nothing_is_kept_between_calls(draw):
    """A second call gives the same, whatever came between; the model's attributes are those it had."""
    model, ids = made(draw), draw.integers(11, 2, 5)
    want = model(ids).data.copy()
    model(draw.integers(11, 3, 8))
    model(draw.integers(11, 1, 1), np.array([[True]]))
    assert_close(model(ids), want)


@pytest.mark.parametrize("name", ["wte", "wpe", "h", "h.1", "ln_f", "lm_head"])
def test_a_layer_may_be_exchanged(draw, name):
    """What an attribute holds is what computes: an exchanged layer, or list of blocks, changes the logits."""
    model, other, ids = made(draw), made(draw, seed=1), draw.integers(11, 2, 5)
    before = model(ids).data
    if name == "h.1":
        model.transformer.h[1] = other.transformer.h[1]
    elif name == "lm_head":
        model.lm_head = other.lm_head
    else:
        setattr(model.transformer, name, getattr(other.transformer, name))
    assert np.abs(model(ids).data - before).max() > 1e-3


def test_a_loaded_model_gives_the_same_and_is_tied_still(draw):
    """state_dict() and load_state_dict() carry everything over; lm_head and wte are one Parameter afterwards too."""
    model, other, ids = made(), made(seed=1), draw.integers(11, 2, 5)
    other.load_state_dict(model.state_dict())
    assert_close(other(ids), model(ids).data)
    assert other.lm_head.weight is other.transformer.wte.weight


# Groups


def test_matrices_decay_and_the_rest_does_not():
    """parameter_groups(weight_decay): first all parameters with two axes, with this decay; then the others, with 0."""
    model = made()
    decayed, others = model.parameter_groups(0.1)
    assert (decayed["weight_decay"], others["weight_decay"]) == (0.1, 0.0)
    assert {id(p) for p in decayed["params"]} == {id(p) for p in model.parameters() if p.ndim == 2}
    assert {id(p) for p in others["params"]} == {id(p) for p in model.parameters() if p.ndim == 1}
    assert len(decayed["params"]) + len(others["params"]) == len(model.parameters())


@each_kind
def test_an_optimizer_takes_the_groups(options):
    """Each parameter is in one group, once: the tied one too."""
    model = made(**options)
    optimizer = AdamW(model.parameter_groups(0.1), lr=0.5)
    before = {name: parameter.data.copy() for name, parameter in model.named_parameters()}
    for parameter in model.parameters():
        parameter.grad = np.zeros_like(parameter.data)
    optimizer.step()
    for name, parameter in model.named_parameters():
        factor = 1 - 0.5 * 0.1 if parameter.ndim == 2 else 1.0
        assert_close(parameter, before[name] * factor, name=name, mistakes={"decayed twice": before[name] * factor * factor})


# What is refused


@pytest.mark.parametrize("shape", [(5,), (), (2, 5, 1), (0, 5), (2, 0)])
def test_ids_have_two_axes(shape):
    """Anything but (batch, time), or no id at all, raises a ValueError that contains the shape."""
    with rejects(ValueError, str(shape)):
        made()(np.zeros(shape, np.int64))


def test_a_text_longer_than_the_context_is_refused():
    """Without a window: the ValueError contains the length and the context. It is never cut off without a word."""
    for positions in ("learned", "sinusoidal", "rotary"):
        with rejects(ValueError, "9", "8"):
            made(positions=positions)(np.zeros((2, 9), np.int64))


def test_padding_counts_towards_the_context():
    """A row of 8 real tokens and one of padding is longer than a context of 8, wherever the padding is."""
    for place in (0, 4, 8):
        with rejects(ValueError, "9", "8"):
            made()(np.zeros((1, 9), np.int64), np.arange(9)[None] != place)


def test_ids_are_integers_that_exist():
    """Floats and booleans raise a TypeError that contains the dtype; a wrong id an IndexError that contains it."""
    for dtype in (np.float32, np.bool_):
        with rejects(TypeError, np.dtype(dtype).name):
            made()(np.zeros((2, 5), dtype))
        with rejects(TypeError, np.dtype(dtype).name):
            made()(np.zeros((2, 5), dtype), np.ones((2, 5), bool))
    for number in (11, -1):
        with rejects(IndexError, str(number)):
            made()(np.array([[3, number]]))


def test_a_mask_is_boolean_and_has_the_shape_of_the_ids():
    """Numbers raise a TypeError that contains the dtype, a different shape a ValueError that contains both shapes."""
    ids = np.zeros((2, 5), np.int64)
    for dtype in (np.float32, np.int64):
        with rejects(TypeError, np.dtype(dtype).name):
            made()(ids, np.ones((2, 5), dtype))
    for shape in ((1, 5), (5,), (2, 1), (2, 4)):
        with rejects(ValueError, str(shape), "(2, 5)"):
            made()(ids, np.ones(shape, bool))


# What it costs


def test_steps_do_not_grow_with_the_batch(budget, draw):
    """Twenty rows take at most 2.5 times the Python instructions of one, with padding too."""
    model, one, many = made(), draw.integers(11, 1, 6), draw.integers(11, 20, 6)
    budget.steps(lambda: model(one), lambda: model(many), 2.5, what="without a mask")
    masks = np.ones((1, 6), bool), np.ones((20, 6), bool)
    for mask in masks:
        mask[:, 2] = False
    budget.steps(lambda: model(one, masks[0]), lambda: model(many, masks[1]), 2.5, what="with a mask")


def test_nothing_is_left_of_a_forward_without_gradients(budget, draw):
    """Under no_grad nothing is kept: less than 20 kB are left of a forward whose activations take 100 kB and more."""
    model, ids = GPT(GPTConfig(50, 32, 2, 2, 32), np.random.default_rng(0)), draw.integers(50, 8, 32)

    def forward():
        with no_grad():
            model(ids)

    budget.bytes(forward, retained=20_000)


def test_without_gradients_memory_does_not_grow_with_the_number_of_blocks(draw):
    """Under no_grad eight blocks take at most 1.2 times the peak of two: the activations of a block are freed after it."""
    peaks, ids = [], draw.integers(50, 8, 32)
    for layers in (2, 8):
        model = GPT(GPTConfig(50, 32, layers, 2, 32), np.random.default_rng(0))
        with no_grad():
            peaks.append(measure_bytes(lambda model=model: model(ids))[0])
    assert peaks[1] <= 1.2 * peaks[0], f"{peaks[0]:,} bytes for two blocks, {peaks[1]:,} for eight"
