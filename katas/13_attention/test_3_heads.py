from functools import partial

import numpy as np
import pytest
from katas.attention import MultiHeadAttention
from katas.embeddings import RotaryPositions
from katas.tensor import Tensor

from specs import oracles
from specs.check import assert_close, assert_dtype, assert_gradient, layouts, recording, rejects, undisturbed
from specs.oracles.cache import ListCache

multi_head = oracles.attention.multi_head
RIGHT = np.array([[True, True, True, False, False], [True] * 5])
LEFT = np.array([[False, False, True, True, True], [True] * 5])


def turned(pairing: str = "halves", start=0):
    """What rotary positions do, one vector at a time."""
    return partial(oracles.embeddings.placed, oracles.embeddings.rotary(pairing), start=start)


def made(d_model: int = 12, n_head: int = 3, **options) -> MultiHeadAttention:
    """With weights so large that where it looks matters."""
    module = MultiHeadAttention(d_model, n_head, rng=np.random.default_rng(0), **options)
    module.c_attn.weight.data *= 4
    return module


def rotary(pairing: str = "halves") -> RotaryPositions:
    return RotaryPositions(16, 4, pairing=pairing)


# options, the mask, and what the oracle needs beside them
CASES = {
    "causal": ({}, None, {}),
    "not causal": ({"causal": False}, None, {"causal": False}),
    "without biases": ({"bias": False}, None, {}),
    "a window": ({"window": 2}, None, {"window": 2}),
    "a window, and not causal": ({"causal": False, "window": 2}, None, {"window": 2}),
    "padding on the right": ({}, RIGHT, {}),
    "padding on the left": ({}, LEFT, {}),
    "padding, and not causal": ({"causal": False}, RIGHT, {"causal": False}),
    "padding and a window": ({"window": 2}, LEFT, {"window": 2}),
    "rotary positions": ({"positions": rotary()}, None, {"rotate": turned()}),
    "neighbors rotated": ({"positions": rotary("neighbors")}, None, {"rotate": turned("neighbors")}),
    "rotary, a window and padding": ({"positions": rotary(), "window": 3}, RIGHT, {"rotate": turned(), "window": 3}),
}
cases = pytest.mark.parametrize("case", CASES)


def mistakes(x: np.ndarray, state: dict, mask, options: dict) -> dict[str, np.ndarray]:
    q, k, v = oracles.attention.heads(x, state, 3)
    rotate, limits = (
        options.get("rotate", lambda a: a),
        {"causal": options.get("causal", True), "window": options.get("window")},
    )
    limits["mask"] = None if mask is None else mask[:, None, None]
    attend = partial(oracles.attention.attention, **limits)
    batch, time, d_model = x.shape
    mixed = [np.asarray(a).swapaxes(1, 2).reshape(batch, 3, time, -1) for a in (q, k, v)]
    y = attend(rotate(q), rotate(k), v)
    cut = y.reshape(batch, time, d_model) @ state["c_proj.weight"].T + state.get("c_proj.bias", 0)
    wrong = {
        "heads are cut out of rows of tokens: split the channels, then permute": oracles.attention.joined(
            attend(*mixed), state
        ),
        "heads are joined without moving them behind the tokens": cut,
        "c_attn gives k, q and v: the order is q, k, v": oracles.attention.joined(attend(rotate(k), rotate(q), v), state),
        "c_attn gives v first: the order is q, k, v": oracles.attention.joined(attend(rotate(k), rotate(v), q), state),
        "c_proj is missing": y.swapaxes(1, 2).reshape(x.shape),
    }
    if "rotate" in options:
        wrong["positions are ignored"] = oracles.attention.joined(attend(q, k, v), state)
        wrong["the values are rotated too"] = oracles.attention.joined(attend(rotate(q), rotate(k), rotate(v)), state)
        wrong["the keys are not rotated"] = oracles.attention.joined(attend(rotate(q), k, v), state)
    return wrong


@cases
def test_every_head_attends_in_its_own_channels(case, draw):
    """c_attn gives q, k and v; each head attends with its head_dim channels of them; c_proj mixes what all heads found."""
    options, mask, expected = CASES[case]
    module, x = made(**options), draw.normal(2, 5, 12)
    state = module.state_dict()
    want = multi_head(x, state, 3, mask, **expected)
    assert_close(module(Tensor(x), mask), want, mistakes=mistakes(x, state, mask, expected))


def test_every_module_has_options_of_its_own(draw):
    """Modules with other positions, windows and dropout, made before and after one, don't change what it gives."""
    x, modules = draw.normal(2, 5, 12), {case: made(**options) for case, (options, _, _) in CASES.items()}
    MultiHeadAttention(6, 2, 0.5)
    for case, (_, mask, expected) in CASES.items():
        want = multi_head(x, modules[case].state_dict(), 3, mask, **expected)
        assert_close(modules[case](Tensor(x), mask), want, name=case)


def test_options_may_be_numpys(draw):
    """Sizes and a window may be NumPy's integers."""
    module = MultiHeadAttention(np.int64(12), np.int64(3), window=np.int64(2), layer=np.int64(0), rng=np.random.default_rng(0))
    x = draw.normal(2, 5, 12)
    assert_close(module(Tensor(x)), multi_head(x, module.state_dict(), 3, window=2))


def test_the_order_in_memory_does_not_matter(draw):
    """x may lie in memory in any order."""
    module, x = made(), draw.normal(2, 5, 12)
    want = module(Tensor(x)).data
    for name, values in layouts(x).items():
        assert_close(module(Tensor(values)), want, name=name)


def test_a_nan_is_not_hidden(draw):
    """NaN or ∞ in a token makes its result NaN, and moves no other row of the batch."""
    module, x = made(), draw.normal(2, 5, 12).copy()
    want = module(Tensor(x)).data
    for value in (np.nan, np.inf):
        x[0, 3, 2] = value
        got = module(Tensor(x)).data
        assert np.isnan(got[0, 3]).all()
        assert_close(got[1], want[1])


@pytest.mark.parametrize(("d_model", "n_head"), [(4, 1), (6, 2), (6, 6)])
def test_any_number_of_heads_that_divides_the_channels(d_model, n_head, draw):
    """One head has all channels; as many heads as channels have one each."""
    module, x = made(d_model, n_head), draw.normal(2, 4, d_model)
    assert_close(module(Tensor(x)), multi_head(x, module.state_dict(), n_head))


def test_the_parameters_have_gpt2s_names():
    """c_attn.weight (3·d_model, d_model) and c_proj.weight (d_model, d_model), with their biases or without; nothing else."""
    module = MultiHeadAttention(6, 2, positions=RotaryPositions(8, 2))
    shapes = {"c_attn.weight": (18, 6), "c_attn.bias": (18,), "c_proj.weight": (6, 6), "c_proj.bias": (6,)}
    assert {name: parameter.shape for name, parameter in module.named_parameters()} == shapes
    assert list(module.state_dict()) == list(shapes)
    bare = MultiHeadAttention(6, 2, bias=False)
    assert [name for name, _ in bare.named_parameters()] == ["c_attn.weight", "c_proj.weight"]


def test_the_parameters_are_drawn_as_linear_draws_them():
    """float32, uniform in ±1/√d_model."""
    for _, parameter in MultiHeadAttention(64, 4, rng=np.random.default_rng(0)).named_parameters():
        assert_dtype(parameter, np.float32)
        assert 0.9 / 8 < np.abs(parameter.data).max() <= 1 / 8
        assert abs(parameter.data.mean()) < 0.03


def test_a_generator_decides_everything(draw):
    """Equal seeds give equal weights and equal dropout. A second layer of the same generator differs, as do two without one.
    NumPy's global generator is not used.
    """
    x = Tensor(draw.normal(2, 5, 8))
    with undisturbed():
        first, same, other = (MultiHeadAttention(8, 2, 0.5, rng=np.random.default_rng(seed)) for seed in (1, 1, 2))
        assert_close(first(x), same(x).data)
    rng = np.random.default_rng(1)
    layers = [first, other, *(MultiHeadAttention(8, 2, rng=rng) for _ in "ab"), *(MultiHeadAttention(8, 2) for _ in "ab")]
    del layers[2]  # which is drawn as the first
    for name in ("c_attn", "c_proj"):
        drawn = [getattr(layer, name).weight.data for layer in layers]
        assert all(not np.array_equal(a, b) for i, a in enumerate(drawn) for b in drawn[:i])
    assert not np.array_equal(first.c_attn.weight.data[:8], first.c_proj.weight.data)


@pytest.mark.parametrize("mask", [RIGHT, LEFT], ids=["right", "left"])
@pytest.mark.parametrize("case", ["causal", "not causal", "rotary positions", "a window"])
def test_padding_changes_no_result_of_a_real_token(case, mask, draw):
    """A row with padding gives its real tokens what they get alone, whatever the padding is."""
    module, x = made(**CASES[case][0]), np.array(draw.normal(2, 5, 12))
    x[~mask] = 50
    got, alone = module(Tensor(x), mask).data[0, mask[0]], module(Tensor(x[:1, mask[0]])).data[0]
    assert_close(got, alone, mistakes={"padding is looked at": module(Tensor(x)).data[0, mask[0]]})
    assert np.isfinite(module(Tensor(x), mask).data).all()


def test_padding_masks_keys_not_queries(draw):
    """A padded token may look at the real ones: only where no real token is in sight, its result is that of zeros."""
    module, x = made(), draw.normal(2, 5, 12)
    got = module(Tensor(x), LEFT)
    assert_close(got.data[0, :2], np.stack([module.c_proj.bias.data.astype(np.float64)] * 2))
    got = module(Tensor(x), RIGHT).data
    assert np.abs(got[0, 3:] - module.c_proj.bias.data).min() > 0


def test_a_mask_may_be_a_tensor_or_a_list(draw):
    """(batch, time) booleans in any of the three; the mask is not changed."""
    module, x, mask = made(), Tensor(draw.normal(2, 5, 12)), RIGHT.copy()
    mask.flags.writeable = False
    want = module(x, mask).data
    assert_close(module(x, Tensor(mask)), want)
    assert_close(module(x, mask.tolist()), want)


def test_the_future_moves_no_past_result(draw):
    """Other tokens from the fourth on leave the first three results as they are."""
    module, x = made(positions=rotary()), np.array(draw.normal(2, 5, 12))
    before = module(Tensor(x)).data
    x[:, 3:] = -7
    after = module(Tensor(x)).data
    assert_close(after[:, :3], before[:, :3])
    assert np.abs(after[:, 3:] - before[:, 3:]).max() > 0.01


def test_rotary_positions_count_distances(draw):
    """Two equal tokens at other distances give other results; three tokens further on give the same."""
    module, token = made(positions=rotary()), np.array(draw.normal(1, 6, 12))
    token[:, 1] = token[:, 3]
    swapped = token[:, [0, 2, 1, 3, 4, 5]]
    assert np.abs(module(Tensor(token)).data[0, 5] - module(Tensor(swapped)).data[0, 5]).max() > 1e-3
    later = np.concatenate([np.zeros((1, 3, 12)), token], 1)
    mask = np.arange(9) >= 3
    assert_close(module(Tensor(later), mask[None]).data[:, 3:], module(Tensor(token)).data)


@pytest.mark.parametrize("case", ["causal", "without biases", "rotary, a window and padding"])
def test_gradients_of_the_input_and_of_every_parameter(case, draw):
    """y.backward(g) gives what central differences give."""
    options, mask, expected = CASES[case]
    module, x, g = made(8, 2, **options), draw.normal(2, 5, 8), draw.normal(2, 5, 8)
    for _, parameter in module.named_parameters():
        parameter.data = parameter.data.astype(np.float64)
    state, tensor = module.state_dict(), Tensor(x, requires_grad=True)
    module(tensor, mask).backward(g)

    def result(x: np.ndarray, state: dict) -> np.ndarray:
        """multi_head, by products of matrices: central differences need it some hundred times."""
        bias = [state.get(f"{name}.bias", 0.0) for name in ("c_attn", "c_proj")]
        parts = np.split(x @ state["c_attn.weight"].T + bias[0], 3, -1)
        q, k, v = (part.reshape(2, 5, 2, 4).swapaxes(1, 2) for part in parts)
        if "rotate" in expected:
            q, k = expected["rotate"](q), expected["rotate"](k)
        seen = oracles.attention.seen((2, 2, 5, 5), None if mask is None else mask[:, None, None], True, expected.get("window"))
        exps = np.exp(q @ k.swapaxes(-1, -2) / 2) * seen
        y = exps / exps.sum(-1, keepdims=True) @ v
        return y.swapaxes(1, 2).reshape(2, 5, 8) @ state["c_proj.weight"].T + bias[1]

    assert_close(result(x, state), multi_head(x, state, 2, mask, **expected))
    assert_gradient(tensor.grad, lambda x: result(x, state), x, g, name="x")
    for name, parameter in module.named_parameters():
        by = partial(lambda name, values: result(x, state | {name: values}), name)
        assert_gradient(parameter.grad, by, state[name], g, name=name)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@cases
def test_the_dtype_stays(case, dtype, draw):
    """The result has the dtype of x, and a parameter's gradient is float32, as the parameter."""
    options, mask, _ = CASES[case]
    module, x = made(**options), Tensor(draw.normal(2, 5, 12, dtype=dtype), requires_grad=True)
    y = module(x, mask)
    y.sum().backward()
    assert_dtype(y, dtype)
    assert_dtype(x.grad, dtype)
    for parameter in module.parameters():
        assert_dtype(parameter.grad, np.float32)


def single(p: float, rng=None) -> tuple[MultiHeadAttention, np.ndarray]:
    """A module for which the result of a token alone is its value: 1 in every channel. And a thousand such tokens."""
    module = MultiHeadAttention(8, 2, p, rng=rng)
    for name, parameter in module.named_parameters():
        parameter.data[...] = np.eye(8) if name == "c_proj.weight" else 0
    module.c_attn.bias.data[16:] = 1
    return module, np.zeros((1000, 1, 8), np.float32)


@pytest.mark.parametrize("cached", [False, True], ids=["without a cache", "with a cache"])
def test_dropout_falls_on_the_weights_and_on_the_result(cached):
    """In training a weight is 0 with probability p, else divided by 1 - p, and so is each number of the result afterwards. A
    weight is a whole head's, so its channels fall together. A cache changes nothing of that.
    """
    module, x = single(0.2, np.random.default_rng(0))
    y = module(Tensor(x), cache=ListCache(1000) if cached else None).data.reshape(1000, 2, 4)
    kept = y != 0
    found = {
        "a number that is kept": (np.unique(y[kept]), [1 / 0.8**2]),
        "numbers kept": (kept.mean(), 0.8 * 0.8),
        "heads of which any is kept": (kept.any(-1).mean(), 0.8 * (1 - 0.2**4)),
    }
    for what, (value, want) in found.items():
        assert np.shape(value) == np.shape(want), f"{what}: {value}, not {want}"
        assert np.allclose(value, want, atol=0.03), f"{what}: {value}, not {want}"
    assert not np.array_equal(kept, module(Tensor(x)).data.reshape(1000, 2, 4) != 0)


@pytest.mark.parametrize("cached", [False, True], ids=["without a cache", "with a cache"])
def test_dropout_on_the_result_is_the_last_step(cached):
    """What c_proj gives is dropped, its bias too: where that alone is 1, half of the numbers are 0, the others 2."""
    module, x = single(0.5, np.random.default_rng(0))
    module.c_proj.weight.data[...], module.c_proj.bias.data[...] = 0, 1
    y = module(Tensor(x), cache=ListCache(1000) if cached else None).data
    assert np.unique(y).tolist() == [0, 2]
    assert 0.45 < (y == 0).mean() < 0.55


def test_the_generator_draws_dropout_too():
    """Modules with equal weights but different generators drop different numbers, as do two that share one, or have none."""
    shared = np.random.default_rng(0)
    generators = [np.random.default_rng(1), np.random.default_rng(2), shared, shared, None, None]
    drops = [module(Tensor(x)).data == 0 for module, x in [single(0.5, rng) for rng in generators]]
    for i, one in enumerate(drops):
        for other in drops[:i]:
            assert (one != other).mean() > 0.1
    module, x = single(0.5, np.random.default_rng(1))
    assert_close(module(Tensor(x)).data == 0, drops[0])


def test_without_training_there_is_no_dropout(draw):
    """After eval() nothing is dropped, and nothing is drawn; dropout=0.0 draws nothing in training either."""
    module, x = single(0.2, rng := np.random.default_rng(0))
    before = rng.bit_generator.state
    assert_close(module.eval()(Tensor(x)), np.ones((1000, 1, 8)))
    assert rng.bit_generator.state == before
    module, _ = single(0.0, rng)
    before = rng.bit_generator.state
    assert_close(module(Tensor(x)), np.ones((1000, 1, 8)))
    assert rng.bit_generator.state == before
    assert not np.array_equal(single(0.5)[0](Tensor(x)).data, np.ones((1000, 1, 8)))


def test_a_call_leaves_nothing_behind(draw):
    """A module that has seen other batches, shapes and masks gives the same as one that has not. NumPy's global state
    is left alone.
    """
    module, x = made(positions=rotary(), window=3), Tensor(draw.normal(2, 5, 12))
    want = module(x).data
    module(Tensor(draw.normal(3, 7, 12)), np.ones((3, 7), bool))
    with undisturbed():
        module(x, RIGHT)
        module.weights(x)[...] = 7
        module(x).data[...] = 7
    assert_close(module(x), want)
    module, _ = single(0.0)
    ones = np.ones((2, 1, 8), np.float32)
    module(Tensor(ones)).data[...] = 7
    assert_close(ones, np.ones((2, 1, 8)))


@pytest.mark.parametrize("shape", [(2, 0, 12), (0, 5, 12)], ids=["no tokens", "no rows"])
def test_nothing_gives_nothing(shape):
    """A batch without tokens, or without rows, gives a result of its shape, and the mask of two rows may be [[], []]."""
    for options in ({}, {"causal": False}, {"window": 2}, {"positions": rotary()}):
        assert made(**options)(Tensor(np.zeros(shape))).shape == shape
        for mask in (np.zeros(shape[:2], bool), np.zeros(shape[:2], bool).tolist()):
            if np.shape(mask) == shape[:2]:  # of no rows a list can't tell how many tokens they would have
                assert made(**options)(Tensor(np.zeros(shape)), mask).shape == shape


@pytest.mark.parametrize(("d_model", "n_head"), [(12, 5), (4, 8), (12, 0), (12, -3)])
def test_heads_that_do_not_divide_the_channels_are_refused(d_model, n_head):
    """A ValueError contains both numbers."""
    with rejects(ValueError, str(d_model), str(n_head)):
        MultiHeadAttention(d_model, n_head)


def test_wrong_options_are_refused():
    """A window that is not positive, and a dropout that Dropout refuses, raise a ValueError that contains the value."""
    with rejects(ValueError, "0"):
        MultiHeadAttention(4, 2, window=0)
    with rejects(ValueError, "-2"):
        MultiHeadAttention(4, 2, window=-2)
    with rejects(ValueError, "1.5"):
        MultiHeadAttention(4, 2, dropout=1.5)


@pytest.mark.parametrize("shape", [(5, 12), (2, 5, 11), (2, 3, 5, 12), (12,)], ids=str)
def test_input_of_another_shape_is_refused(shape):
    """x that is not (batch, time, d_model) raises a ValueError whose message contains its shape."""
    with rejects(ValueError, str(shape)):
        made()(Tensor(np.zeros(shape)))


@pytest.mark.parametrize("shape", [(5,), (2, 4), (1, 5), (2, 1, 5), (2, 1, 5, 5), (2, 5, 1), (2, 5, 5)], ids=str)
def test_a_mask_of_another_shape_is_refused(shape):
    """A mask that is not (batch, time) raises a ValueError whose message contains both shapes."""
    with rejects(ValueError, str(shape), "(2, 5, 12)"):
        made()(Tensor(np.zeros((2, 5, 12))), np.ones(shape, bool))


@pytest.mark.parametrize("mask", [[], False], ids=str)
def test_what_is_falsy_is_a_mask_of_another_shape(mask):
    """[] and False are no masks for two rows of five tokens: a ValueError contains both shapes."""
    with rejects(ValueError, str(np.shape(mask)), "(2, 5, 12)"):
        made()(Tensor(np.zeros((2, 5, 12))), mask)


@pytest.mark.parametrize("dtype", [np.float32, np.int64])
def test_a_mask_of_numbers_is_refused(dtype):
    """A mask that is not boolean raises a TypeError whose message contains its dtype."""
    with rejects(TypeError, np.dtype(dtype).name):
        made()(Tensor(np.zeros((2, 5, 12))), np.ones((2, 5), dtype))


def test_a_forward_pass_multiplies_no_more_than_it_needs(draw):
    """A forward pass makes four products: x by c_attn, once for q, k and v; queries by keys; weights by values; what the heads
    found by c_proj. With a cache only the new token is multiplied.
    """

    def products(x: Tensor, held=None) -> int:
        with recording() as probe:
            module(x, cache=held)
        return sum(record.result.size * record.parents[0].shape[-1] for record in probe if record.op == "matmul")

    def needed(time: int, keys: int) -> int:
        return 2 * time * 12 * (4 * 12) + 2 * (2 * time * keys * 12)

    module, x, held = made(), draw.normal(2, 10, 12), ListCache(2)
    assert products(Tensor(x[:, :9])) <= needed(9, 9)
    module(Tensor(x[:, :9]), cache=held)
    assert products(Tensor(x[:, 9:]), held) <= needed(1, 10)


def test_no_loop_over_heads_tokens_or_rows(budget, draw):
    """The number of Python instructions, forward and backward, must not grow with the numbers of heads, tokens and rows, with
    padding and a window either.
    """

    def step(n_head: int, batch: int, time: int):
        x = Tensor(draw.normal(batch, time, 60, dtype=np.float32), requires_grad=True)
        module, real, g = (
            made(60, n_head, window=3),
            np.ones((batch, time), bool),
            draw.normal(batch, time, 60, dtype=np.float32),
        )
        real[1:, -1] = False
        return lambda: module(x, real).backward(g)

    budget.steps(step(2, 2, 5), step(60, 20, 20), limit=2)


def test_options_are_attributes_that_may_change(draw):
    """d_model, n_head, causal, positions, window and layer are attributes, and forward uses what they hold."""
    places, x = rotary(), Tensor(draw.normal(2, 5, 12))
    module = made(causal=False, positions=places, window=2, layer=1)
    options = module.d_model, module.n_head, module.causal, module.positions, module.window, module.layer
    assert options == (12, 3, False, places, 2, 1)
    plain, other = made(), rotary("neighbors")
    for name, value in [("causal", False), ("positions", other), ("window", 3)]:
        setattr(plain, name, value)
        want = made(**{key: getattr(plain, key) for key in ("causal", "positions", "window")})
        assert_close(plain(x), want(x))
