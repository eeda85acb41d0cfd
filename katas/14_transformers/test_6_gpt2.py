import numpy as np
import pytest
from katas.tensor import Tensor
from katas.transformers import GPT

from specs import oracles
from specs.check import assert_close, assert_dtype, rejects

VOCAB, CONTEXT, LAYERS, HEADS, WIDTH = 11, 7, 2, 2, 6


def gpt2(draw, layers: int = LAYERS) -> dict[str, np.ndarray]:
    """A state as GPT-2's is published: linear weights (in, out), with random values, no matrix of which is symmetric."""
    shapes = {"wte.weight": (VOCAB, WIDTH), "wpe.weight": (CONTEXT, WIDTH)}
    for layer in range(layers):
        for name, rows, columns in [
            ("attn.c_attn", WIDTH, 3 * WIDTH),
            ("attn.c_proj", WIDTH, WIDTH),
            ("mlp.c_fc", WIDTH, 4 * WIDTH),
            ("mlp.c_proj", 4 * WIDTH, WIDTH),
        ]:
            shapes |= {f"h.{layer}.{name}.weight": (rows, columns), f"h.{layer}.{name}.bias": (columns,)}
        for name in ("ln_1", "ln_2"):
            shapes |= {f"h.{layer}.{name}.weight": (WIDTH,), f"h.{layer}.{name}.bias": (WIDTH,)}
    shapes |= {"ln_f.weight": (WIDTH,), "ln_f.bias": (WIDTH,)}
    return {name: (0.5 * draw.normal(*shape)).astype(np.float32) for name, shape in shapes.items()}


def turned(state: dict) -> dict:
    """The same state with linear weights (out, in), as the oracle takes them."""
    return {
        f"transformer.{name}": array.T if ".c_" in name and array.ndim == 2 else array.astype(np.float64)
        for name, array in state.items()
    }


def test_the_logits_are_those_of_the_weights(draw):
    """Linear weights are stored as (in, out) and transposed: the square attn.c_proj too, where no error shows a mistake."""
    state, ids = gpt2(draw), draw.integers(VOCAB, 2, 7)
    model = GPT.from_gpt2(state, HEADS)
    want = [oracles.transformers.gpt(turned(state), model.config, row) for row in ids]
    forgotten = turned(state)
    for layer in range(LAYERS):
        name = f"transformer.h.{layer}.attn.c_proj.weight"
        forgotten[name] = forgotten[name].T
    untransposed = [oracles.transformers.gpt(forgotten, model.config, row) for row in ids]
    assert_close(model(ids), np.stack(want), mistakes={"attn.c_proj is not transposed": np.stack(untransposed)})


def test_the_config_follows_from_the_shapes(draw):
    """All but the number of heads, which is given: vocab_size, context, n_layer, d_model; positions are learned."""
    config = GPT.from_gpt2(gpt2(draw), 3).config
    assert (config.vocab_size, config.context, config.n_layer, config.n_head, config.d_model) == (11, 7, 2, 3, 6)
    assert (config.positions, config.norm, config.bias, config.window) == ("learned", "layer", True, None)


def test_there_may_be_more_than_ten_blocks(draw):
    """Eleven: of their numbers as text, "9" is the largest."""
    assert len(GPT.from_gpt2(gpt2(draw, 11), HEADS).transformer.h) == 11


def test_the_number_of_heads_matters(draw):
    """With other heads the logits are others, as the oracle's are."""
    state, ids = gpt2(draw), draw.integers(VOCAB, 1, 7)
    for heads in (1, 3):
        model = GPT.from_gpt2(state, heads)
        assert_close(model(ids).data[0], oracles.transformers.gpt(turned(state), model.config, ids[0]))


def test_names_may_begin_with_transformer(draw):
    """With the prefix `transformer.` and without it the model is the same."""
    state, ids = gpt2(draw), draw.integers(VOCAB, 2, 7)
    prefixed = {f"transformer.{name}": array for name, array in state.items()}
    assert_close(GPT.from_gpt2(prefixed, HEADS)(ids), GPT.from_gpt2(state, HEADS)(ids).data)


def test_the_masks_are_ignored(draw):
    """attn.bias and attn.masked_bias are causal masks, not weights; attn.c_attn.bias is a weight."""
    state, ids = gpt2(draw), draw.integers(VOCAB, 2, 7)
    masks = {f"h.{layer}.attn.bias": np.tril(np.ones((1, 1, CONTEXT, CONTEXT), np.float32)) for layer in range(LAYERS)}
    masks |= {f"h.{layer}.attn.masked_bias": np.array(-1e4, np.float32) for layer in range(LAYERS)}
    assert_close(GPT.from_gpt2(state | masks, HEADS)(ids), GPT.from_gpt2(state, HEADS)(ids).data)


def test_lm_head_is_tied(draw):
    """lm_head.weight may be there, if it equals wte.weight. It is one Parameter with it afterwards."""
    state, ids = gpt2(draw), draw.integers(VOCAB, 2, 7)
    model = GPT.from_gpt2(state | {"lm_head.weight": state["wte.weight"].copy()}, HEADS)
    assert_close(model(ids), GPT.from_gpt2(state, HEADS)(ids).data)
    assert model.lm_head.weight is model.transformer.wte.weight
    state["wte.weight"][3, 1] = np.nan
    GPT.from_gpt2(state | {"lm_head.weight": state["wte.weight"].copy()}, HEADS)


def test_a_head_of_its_own_is_named(draw):
    """An lm_head.weight that differs from wte.weight, in shape or by a little in one value, can't be tied: it raises a
    ValueError that contains its name.
    """
    state = gpt2(draw)
    near = state["wte.weight"].copy()
    near[3, 1] += 1e-4
    for head in (state["wte.weight"] + 1, near, state["wte.weight"][:-1]):
        with rejects(ValueError, "lm_head.weight"):
            GPT.from_gpt2(state | {"lm_head.weight": head}, HEADS)


def test_weights_come_from_a_file_too(draw, tmp_path):
    """The path of a safetensors file, as text or as a Path."""
    from safetensors.numpy import save_file

    state, ids = gpt2(draw), draw.integers(VOCAB, 2, 7)
    save_file(state, tmp_path / "model.safetensors")
    want = GPT.from_gpt2(state, HEADS)(ids).data
    for path in (tmp_path / "model.safetensors", str(tmp_path / "model.safetensors")):
        assert_close(GPT.from_gpt2(path, HEADS)(ids), want)
    with rejects(FileNotFoundError):
        GPT.from_gpt2(tmp_path / "other.safetensors", HEADS)


def test_the_model_has_copies_in_float32(draw):
    """Arrays or Tensors of any float type. Later changes of the state don't change the model, and it changes no state."""
    state, ids = gpt2(draw), draw.integers(VOCAB, 2, 7)
    given = {name: np.array(array, np.float64) for name, array in state.items()}
    model = GPT.from_gpt2(given, HEADS)
    want = model(ids).data
    assert list(given) == list(state)
    for name, array in given.items():
        assert_close(array, state[name].astype(np.float64))
        array[...] = 0
    assert_close(model(ids), want)
    assert_dtype(model.transformer.wte.weight, np.float32)
    assert_close(GPT.from_gpt2({name: Tensor(array) for name, array in state.items()}, HEADS)(ids), want)


@pytest.mark.parametrize("prefix", ["", "transformer."])
@pytest.mark.parametrize(
    "name", ["wte.weight", "wpe.weight", "ln_f.bias", "h.0.ln_1.weight", "h.1.attn.c_attn.bias", "h.1.mlp.c_fc.weight"]
)
def test_a_missing_name_is_named(draw, name, prefix):
    """It raises a ValueError that contains the name."""
    state = {prefix + key: array for key, array in gpt2(draw).items() if key != name}
    with rejects(ValueError, name):
        GPT.from_gpt2(state, HEADS)


def test_all_missing_names_are_in_one_error(draw):
    """Those of the embeddings, from which the sizes follow, too; without a block those of block 0 are missing."""
    state = gpt2(draw)
    with rejects(ValueError, "wte.weight", "wpe.weight", "ln_f.bias", "h.1.ln_1.weight"):
        GPT.from_gpt2({name: state[name] for name in state if name[0] == "h" and name != "h.1.ln_1.weight"}, HEADS)
    with rejects(ValueError, "h.0.ln_1.weight", "h.0.attn.c_attn.weight", "h.0.mlp.c_proj.bias"):
        GPT.from_gpt2({name: state[name] for name in state if name[0] != "h"}, HEADS)


def test_a_name_that_is_given_twice_is_named(draw):
    """With the prefix and without it: the ValueError contains the name, since one of both would be lost."""
    state = gpt2(draw)
    for name in ("wte.weight", "h.1.ln_1.bias"):
        with rejects(ValueError, name):
            GPT.from_gpt2(state | {f"transformer.{name}": state[name]}, HEADS)


def test_a_missing_block_is_named(draw):
    """Of a state in which block 1 is missing and block 2 is there, every name of block 1 is missing."""
    state = {name.replace("h.1.", "h.2."): array for name, array in gpt2(draw).items()}
    with rejects(ValueError, "h.1.ln_1.weight", "h.1.mlp.c_proj.bias"):
        GPT.from_gpt2(state, HEADS)


@pytest.mark.parametrize(
    "name",
    [
        "h.0.attn.c_attn.scale",
        "score.weight",
        "h.0.attn.rotary.bias",
        "h.x.ln_1.weight",
        "ln_f.scale",
        "junk.attn.bias",
        "h.0.cross.attn.bias",
        "h.2.attn.bias",
        "h.2.attn.masked_bias",
    ],
)
def test_an_unexpected_name_is_named(draw, name):
    """A name too many raises a ValueError that contains it, rather than being left out without a word: a mask that is not of
    one of the blocks too.
    """
    with rejects(ValueError, name):
        GPT.from_gpt2(gpt2(draw) | {name: np.ones(3, np.float32)}, HEADS)


@pytest.mark.parametrize(
    "name",
    ["wpe.weight", "ln_f.weight", "h.0.attn.c_attn.weight", "h.1.mlp.c_proj.weight", "h.1.mlp.c_proj.bias"],
)
def test_a_wrong_shape_is_named(draw, name):
    """A weight of a different shape, such as (out, in) for (in, out), raises a ValueError that contains its name, and the shape
    as it was given.
    """
    state = gpt2(draw)
    state[name] = state[name].T if "mlp.c_proj.weight" in name else state[name][..., :-1]
    with rejects(ValueError, name, str(state[name].shape)):
        GPT.from_gpt2(state, HEADS)


@pytest.mark.parametrize("name", ["ln_f.bias", "h.0.ln_1.weight", "h.1.mlp.c_fc.bias", "h.1.mlp.c_fc.weight"])
def test_nothing_is_broadcast(draw, name):
    """One value for a vector, or one column for a matrix, is a wrong shape."""
    state = gpt2(draw)
    state[name] = state[name][..., :1]
    with rejects(ValueError, name, str(state[name].shape)):
        GPT.from_gpt2(state, HEADS)


def test_embeddings_with_another_number_of_axes_are_named(draw):
    """wte and wpe, from which the sizes follow, must have two axes: else a ValueError contains the name and the shape."""
    for name in ("wte.weight", "wpe.weight"):
        for axes in (1, 3):
            with rejects(ValueError, name, str((6,) * axes)):
                GPT.from_gpt2(gpt2(draw) | {name: np.ones((6,) * axes, np.float32)}, HEADS)


def test_heads_that_do_not_divide_the_width_are_named(draw):
    """The ValueError contains n_head and d_model."""
    with rejects(ValueError, "n_head", "4", "6"):
        GPT.from_gpt2(gpt2(draw), 4)
