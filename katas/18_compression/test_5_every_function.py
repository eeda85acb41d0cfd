import numpy as np
import pytest
from katas.activations import ReLU
from katas.attention import MultiHeadAttention
from katas.layers import Linear, Module, Parameter, Sequential
from katas.model_compression import (
    Distillation,
    LowRankLinear,
    Masks,
    Residual,
    compressed_size,
    distillation_loss,
    head_scores,
    held_bytes,
    low_rank,
    masked,
    prune,
    prune_heads,
    prune_units,
    report,
    strongest,
    unit_scores,
)
from katas.optimizers import SGD
from katas.tensor import Tensor

from specs.check import array, assert_close, frozen, rejects, undisturbed


def seeded() -> np.random.Generator:
    return np.random.default_rng(0)


def mlp() -> Sequential:
    return Sequential(Linear(4, 6, rng=seeded()), ReLU(), Linear(6, 3, rng=seeded()))


def with_masks(weight, kept) -> np.ndarray:
    parameter = Parameter(weight)
    masks = Masks([(parameter, kept)])
    masks.apply()
    return np.append(parameter.data, masks.sparsity)


def pruned(weight, per_layer=False) -> np.ndarray:
    module = Module()
    module.weight = Parameter(weight)
    masks = prune(module, 0.5, per_layer)
    found = Masks.of(module)
    return np.append(module.weight.data, [masks.sparsity, found.sparsity])


def stepped(gradient) -> np.ndarray:
    module = Module()
    module.weight = Parameter(np.ones((4, 4), np.float32))
    optimizer = masked(SGD([module.weight], lr=0.1, momentum=0.9), prune(module, 0.5))
    module.weight.grad = np.array(gradient)
    optimizer.step()
    optimizer.load_state_dict(optimizer.state_dict())
    return module.weight.data


def scored(weight) -> np.ndarray:
    model = Sequential(Linear(4, 4, rng=seeded()), ReLU(), Linear(4, 1, rng=seeded()))
    model[0].weight = Parameter(weight)
    return unit_scores(model, model[0])


def of_units(x, keep) -> Tensor:
    model = mlp()
    prune_units(model, model[0], keep)
    return model(Tensor(x))


def of_heads(x, keep, how=lambda attention, x: attention(Tensor(x))) -> np.ndarray:
    attention = MultiHeadAttention(4, 2, rng=seeded())
    prune_heads(attention, keep)
    return how(attention, x)


def factored(x) -> Tensor:
    layer = Linear(4, 4, rng=seeded())
    layer.weight.data[...] = 1
    low_rank(layer, 0.1)
    return layer(Tensor(x))


def of_factors(x) -> Tensor:
    layer = LowRankLinear(Linear(4, 1, False, seeded()), Linear(1, 3, rng=seeded()))
    assert (layer.in_features, layer.out_features) == (4, 3)
    return layer(Tensor(x))


def distilled(x) -> Tensor:
    objective = Distillation(mlp(), mlp(), 3.0)
    objective.counted(Tensor(x), [0, 1, 2, 0])
    return objective(Tensor(x), [0, 1, 2, 0])


FLOATS, BATCH = (frozen(np.linspace(-1, 2, np.prod(n), dtype=np.float32).reshape(n)) for n in ((4, 4), (2, 3, 4)))
KEPT, UNITS = frozen(np.eye(4, dtype=bool) | np.tri(4, 4, -2, bool)), frozen([4, 0, 3])
MASK = frozen([[True, True, False], [True, True, True]])
CALLS = {
    "Masks": (with_masks, FLOATS, KEPT),
    "prune": (pruned, FLOATS),
    "prune, per layer": (lambda x: pruned(x, True), FLOATS),
    "masked": (stepped, FLOATS),
    "Residual": (lambda x: Residual(Linear(4, 4, rng=seeded()))(Tensor(x)), FLOATS),
    "unit_scores": (scored, FLOATS),
    "strongest": (lambda scores: strongest(scores, 2), FLOATS[0]),
    "prune_units": (of_units, FLOATS, UNITS),
    "head_scores": (lambda keep: head_scores(MultiHeadAttention(4, 2, rng=seeded()))[keep], np.array([1, 0])),
    "prune_heads": (of_heads, BATCH, np.array([1])),
    "PrunedAttention, a mask": (lambda x, mask: of_heads(x, [1], lambda a, x: a(Tensor(x), mask)), BATCH, MASK),
    "PrunedAttention.weights": (lambda x, mask: of_heads(x, [1], lambda a, x: a.weights(Tensor(x), mask)), BATCH, MASK),
    "low_rank": (factored, FLOATS),
    "LowRankLinear": (of_factors, FLOATS),
    "distillation_loss": (lambda a, b, c: distillation_loss(Tensor(a), b, 3.0, c), FLOATS, FLOATS[::-1] * 2, KEPT[0] | KEPT[2]),
    "Distillation": (distilled, FLOATS),
    "compressed_size": (lambda x: np.array(compressed_size({"x": x})), FLOATS),
    "held_bytes": (lambda x: np.array(held_bytes(mlp())) + 0 * x, FLOATS),
    "report": (lambda x: np.array(report(mlp(), mlp(), Tensor(x), lambda model: 1, 1).numbers), FLOATS),
}
calls = pytest.mark.parametrize("name", CALLS)


@calls
def test_nothing_else_is_touched(name):
    """Each function leaves NumPy's global generator, its error handling and the working directory alone."""
    call, *given = CALLS[name]
    with undisturbed():
        call(*given)


@calls
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_is_given_stays(name, dtype):
    """Each function leaves the arrays that it is given as they are, if they are no model's, and its result shares no memory
    with them.
    """
    call, *given = CALLS[name]
    given = [values.astype(dtype) if values.dtype.kind == "f" else values for values in given]
    copies = [np.array(values) for values in given]
    made = array(call(*copies))
    for values, want in zip(copies, given, strict=True):
        assert_close(values, want)
        assert not np.shares_memory(made, values)


def test_what_is_given_stays_after_an_error():
    """Whatever was refused, the caller's arrays are as they were."""
    scores, student, teacher, x = (np.array(values, np.float64) for values in (FLOATS[0], FLOATS, FLOATS.T, FLOATS))
    counts, objective = np.array([True, False, True, True]), Distillation(mlp(), mlp())
    refused = [
        lambda: strongest(scores, 9),
        lambda: distillation_loss(Tensor(student), teacher, -1.0, counts),
        lambda: distillation_loss(Tensor(student), teacher[:2], 2.0, counts),
        lambda: objective(Tensor(x), [0, 1, 2, 3]),
        lambda: report(mlp(), mlp(), x, lambda model: 1, 0),
    ]
    for call in refused:
        with rejects(ValueError):
            call()
    for got, want in ((scores, FLOATS[0]), (student, FLOATS), (teacher, FLOATS.T), (x, FLOATS)):
        assert_close(got, want.astype(np.float64))
    assert counts.tolist() == [True, False, True, True]


@calls
def test_the_order_in_memory_does_not_matter(name):
    """Arrays that lie column by column, or backwards, are read by index."""
    call, *given = CALLS[name]
    want = array(call(*given)).copy()
    assert_close(array(call(*[np.array(values, order="F") for values in given])), want)
    backwards = [
        values[(slice(None, None, -1),) * values.ndim].copy()[(slice(None, None, -1),) * values.ndim] for values in given
    ]
    assert_close(array(call(*backwards)), want)


@calls
def test_what_is_made_may_be_written_to(name):
    """Each result may be written to: the same call gives the same again."""
    call, *given = CALLS[name]
    want = array(call(*given)).copy()
    array(call(*given))[...] = 1
    assert_close(array(call(*given)), want)


def test_numbers_may_be_numpys():
    """np.float64(0.5) is 0.5, np.int64(2) is 2: they come out of shapes, means and sums."""
    for half, two in ((np.float64(0.5), np.int64(2)), (np.float32(0.5), np.uint8(2))):
        model = mlp()
        assert prune(model, half, per_layer=np.bool_(True)).sparsity == 0.5
        assert strongest([1.0, 3.0, 2.0], two).tolist() == [1, 2]
        assert low_rank(mlp(), half) == low_rank(mlp(), 0.5)
        assert_close(distillation_loss(Tensor(FLOATS), FLOATS.T, two), distillation_loss(Tensor(FLOATS), FLOATS.T, 2).data)
        y = [0, 1, 2, 0]
        want = Distillation(mlp(), mlp(), 2, 0.5)(Tensor(FLOATS), y).data
        assert_close(Distillation(mlp(), mlp(), two, half)(Tensor(FLOATS), y), want)
        assert report(model, model, Tensor(FLOATS), lambda model, score=half: score, two).score == (0.5, 0.5)


def test_a_keep_may_hold_numpys_integers_and_stays():
    """A list of np.int64 is a keep too; after an error, an array is as it was."""
    model, attention = mlp(), MultiHeadAttention(4, 2, rng=seeded())
    prune_units(model, model[0], [np.int64(3), np.uint8(1)])
    assert model[0].weight.shape == (2, 4)
    for change in (lambda keep: prune_units(model, model[0], keep), lambda keep: prune_heads(attention, keep)):
        keep = np.array([1, 99])
        with rejects(IndexError, "99"):
            change(keep)
        assert keep.tolist() == [1, 99]
    prune_heads(attention, [np.int64(1)])
    assert attention.n_head == 1


def test_a_mask_may_be_false_and_a_result_equal_to_x():
    """A text of one token that is padding looks nowhere, which leaves c_proj's bias; zeros give zeros in a new array."""
    attention, x = MultiHeadAttention(4, 2, rng=seeded()), np.ones((1, 1, 4), np.float32)
    prune_heads(attention, [1])
    assert_close(attention(Tensor(x), np.array([[False]])).data[0, 0], attention.c_proj.bias.data)
    assert not attention.weights(Tensor(x), np.array([[False]])).any()
    attention.c_attn.bias.data[...] = attention.c_proj.bias.data[...] = 0
    zeros = np.zeros((1, 2, 4), np.float32)
    y = attention(Tensor(zeros)).data
    assert not y.any()
    assert not np.shares_memory(y, zeros)


def test_what_is_not_finite_shows():
    """NaN in a text gives NaN in its results and in no other's; an infinite bias gives infinities. A batch may be empty."""
    attention, x = MultiHeadAttention(4, 2, rng=seeded()), np.array(BATCH)
    prune_heads(attention, [1])
    want = attention(Tensor(x)).data.copy()
    x[0, 0, 1] = np.nan
    with np.errstate(invalid="ignore"):
        got = attention(Tensor(x)).data
    assert np.isnan(got[0]).all()
    assert_close(got[1], want[1])
    attention.c_proj.bias.data[...] = np.inf
    assert np.isinf(attention(Tensor(BATCH)).data).all()
    assert attention(Tensor(BATCH[:0])).shape == (0, 3, 4)
    with np.errstate(invalid="ignore"):
        weights = attention.weights(Tensor(x))
    assert np.isnan(weights[0, 0, 0, 0])
    assert_close(weights[1], attention.weights(Tensor(BATCH))[1])
    assert attention.weights(Tensor(BATCH[:0])).shape == (0, 1, 3, 3)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_attention_maps_have_the_dtype_of_the_text(dtype):
    """float32 stays float32; results too."""
    attention = MultiHeadAttention(4, 2, rng=seeded())
    for parameter in attention.parameters():
        parameter.data = parameter.data.astype(dtype)
    scores = head_scores(attention)
    scores[...] = 0  # an array of its own
    prune_heads(attention, [1])
    assert attention.weights(Tensor(BATCH.astype(dtype))).dtype == dtype
    assert attention(Tensor(BATCH.astype(dtype))).dtype == dtype


def test_options_may_be_named_in_any_order():
    """Arguments may be given by their names, in any order."""
    model, whole = mlp(), mlp()
    masks = prune(per_layer=True, amount=0.25, model=model)
    assert masks.sparsity == pytest.approx((6 + round(4.5)) / 42)
    assert len(Masks(pairs=masks.pairs).pairs) == len(Masks.of(model=model).pairs) == 2
    masked(masks=masks, optimizer=SGD(model.parameters(), lr=0.1)).step()
    scores = unit_scores(layer=whole[0], model=whole)
    prune_units(keep=strongest(count=2, scores=scores), layer=whole[0], model=whole)
    assert whole[0].weight.shape == (2, 4)
    attention = MultiHeadAttention(4, 2, rng=seeded())
    assert head_scores(attention=attention).shape == (2,)
    prune_heads(keep=[1], attention=attention)
    assert attention(mask=MASK, cache=None, x=Tensor(BATCH)).shape == attention(Tensor(BATCH)).shape
    assert attention.weights(mask=MASK, x=Tensor(BATCH)).shape == (2, 1, 3, 3)
    assert low_rank(error=0.9999, model=mlp()) == {"0.weight": 1, "2.weight": 1}
    down, up = Linear(4, 1, False, seeded()), Linear(1, 3, rng=seeded())
    assert LowRankLinear(up=up, down=down)(x=Tensor(FLOATS)).shape == (4, 3)
    counts = np.array([True, False, True, True])
    want = distillation_loss(Tensor(FLOATS), FLOATS.T, 3.0, counts).data
    assert_close(distillation_loss(counts=counts, temperature=3.0, teacher=FLOATS.T, student=Tensor(FLOATS)), want)
    objective = Distillation(alpha=0.0, temperature=3.0, teacher=attention, student=mlp())
    assert objective(y=[0, 1, 2, 0], x=Tensor(FLOATS)).shape == ()
    assert objective.counted(y=[0, 1, 2, 0], x=Tensor(FLOATS)) == 4
    assert compressed_size(model=model) > 0
    assert held_bytes(model=model) > 0
    found = report(rounds=1, evaluate=lambda model: len(model[0].bias), inputs=Tensor(FLOATS), after=whole, before=model)
    assert found.score == (6.0, 2.0)


def test_a_weight_without_values_is_none_to_prune():
    """A Parameter with an axis of length 0 has nothing that could be pruned, and disturbs no other."""
    module = Module()
    module.none, module.some = Parameter(np.zeros((0, 3))), Parameter(np.ones((2, 2)))
    for per_layer in (False, True):
        masks = prune(module, 0.5, per_layer)
        assert [kept.shape for _, kept in masks.pairs] == [(0, 3), (2, 2)]
        assert masks.sparsity == 0.5
    assert Masks.of(module).sparsity == 0.5
    assert Masks([(module.none, np.ones((0, 3), bool)), (module.some, np.eye(2, dtype=bool))]).sparsity == 0.5
    assert held_bytes(module) == 32
    assert compressed_size(module) > 0


def test_masks_hold_parameters_that_are_not_finite():
    """Making masks changes no weight; only apply() does."""
    parameter = Parameter(np.array([[np.nan, np.inf], [1.0, np.nan]]))
    masks = Masks([(parameter, np.array([[True, True], [True, False]]))])
    assert_close(parameter, np.array([[np.nan, np.inf], [1.0, np.nan]]))
    masks.apply()
    assert_close(parameter, np.array([[np.nan, np.inf], [1.0, 0.0]]))


def test_pairs_may_be_exchanged_later():
    """apply() and sparsity use the list that `pairs` is now."""
    one, two = Parameter(np.ones((2, 2))), Parameter(np.ones((2, 2)))
    masks = Masks([(one, np.ones((2, 2), bool))])
    masks.pairs = [(two, np.zeros((2, 2), bool))]
    assert masks.sparsity == 1
    masks.apply()
    assert one.data.all()
    assert not two.data.any()


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int32, np.int64])
@pytest.mark.parametrize("shape", [(2, 4), (1, 4), (0, 4), (1, 1)], ids=str)
def test_a_residual_takes_what_its_layers_take(shape, dtype):
    """Any dtype and shape; the result is an array of its own, and infinities and NaN show."""
    x = np.array(FLOATS[: shape[0], : shape[1]] * 4, dtype)
    y = Residual()(Tensor(x))
    assert_close(y, x + x)
    assert y.dtype == dtype
    if dtype == np.float32 and x.size:
        x[0, 0] = np.inf
        assert_close(Residual(ReLU())(Tensor(x)).data[0, 0], np.array(np.inf))
        for x[0, 0] in (-np.inf, np.nan):
            assert_close(Residual()(Tensor(x)), x + x)
        x[...] = -1
        assert not np.shares_memory(Residual(ReLU())(Tensor(x)).data, x)


def test_scores_of_one_unit_and_of_an_infinite_one():
    """One unit has a row of one score; an infinite weight makes the score infinite."""
    model = Sequential(Linear(4, 1, rng=seeded()), ReLU(), Linear(1, 3, rng=seeded()))
    assert unit_scores(model, model[0]).shape == (1,)
    model[0].weight.data[0, 1] = -np.inf
    assert unit_scores(model, model[0]).tolist() == [np.inf]
    attention = MultiHeadAttention(4, 1, rng=seeded())
    attention.c_proj.weight.data[0, 0] = np.inf
    assert head_scores(attention).tolist() == [np.inf]


def test_the_strongest_are_an_array_of_their_own():
    """Even if they are equal to the scores."""
    scores = np.arange(3)
    got = strongest(scores, 3)
    got[...] = 7
    assert scores.tolist() == [0, 1, 2]


def test_factors_that_change_nothing_give_an_array_of_its_own():
    """A LowRankLinear whose result is equal to x shares no memory with it. There may be no rows, and NaN shows."""
    layer = LowRankLinear(Linear(4, 4, False, seeded()), Linear(4, 4, False, seeded()))
    for factor in (layer.down, layer.up):
        factor.weight.data[...] = np.eye(4)
    x = np.array(FLOATS)
    y = layer(Tensor(x)).data
    assert_close(y, x)
    assert not np.shares_memory(y, x)
    assert layer(Tensor(x[:0])).shape == (0, 4)
    assert layer(Tensor(x[:1])).shape == (1, 4)
    for x[1, 2] in (np.nan, np.inf, -np.inf):
        with np.errstate(invalid="ignore"):
            y = layer(Tensor(x)).data
        assert not np.isfinite(y[1]).all()
        assert_close(y[2:], x[2:])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_objective_has_the_students_dtype_and_hides_no_nan(dtype):
    """Whatever the teacher's dtype is. NaN in x gives a loss of NaN, at which a Trainer stops."""
    student, teacher, x = mlp(), mlp(), np.array(FLOATS, dtype)
    for parameter in student.parameters():
        parameter.data = parameter.data.astype(dtype)
    objective = Distillation(student, teacher)
    assert objective(Tensor(x), [0, 1, 2, 0]).dtype == dtype
    x[1, 1] = np.nan
    with np.errstate(invalid="ignore"):
        assert np.isnan(objective(Tensor(x), [0, 1, 2, 0]).item())
