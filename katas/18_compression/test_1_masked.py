import numpy as np
import pytest
from katas.acceleration import flat
from katas.activations import ReLU
from katas.layers import Linear, Sequential
from katas.losses import CrossEntropyLoss, MSELoss
from katas.model_compression import Masks, masked, prune
from katas.optimizers import SGD, AdamW, Optimizer
from katas.tensor import Tensor
from katas.training import Batches, Trainer, cosine_schedule

from specs.check import assert_close, measure_bytes, rejects

OPTIMIZERS = {
    "momentum": lambda parameters: SGD(parameters, lr=0.1, momentum=0.9),
    "AdamW": lambda parameters: AdamW(parameters, lr=0.01, weight_decay=0.1),
    "flat AdamW": lambda parameters: flat(AdamW(parameters, lr=0.01, weight_decay=0.1)),
}
optimizers = pytest.mark.parametrize("kind", OPTIMIZERS)


def network(seed: int = 0) -> Sequential:
    rng = np.random.default_rng(seed)
    return Sequential(Linear(5, 12, rng=rng), ReLU(), Linear(12, 3, rng=rng))


def batches(draw, seed: int | None = None) -> Batches:
    rng = None if seed is None else np.random.default_rng(seed)
    return Batches(draw.normal(24, 5, dtype=np.float32), draw.integers(3, 24), 6, rng)


def descend(model, optimizer, x, y, steps: int) -> None:
    for _ in range(steps):
        optimizer.zero_grad()
        MSELoss()(model(Tensor(x)), y).backward()
        optimizer.step()


@optimizers
def test_pruned_weights_stay_zero_after_every_step(draw, kind):
    """Momentum that was there before the pruning, and weight decay, move a weight even where its gradient is 0: masked()
    applies the masks after each step. Weights that stay are trained.
    """
    model, x, y = network(), draw.normal(7, 5, dtype=np.float32), draw.normal(7, 3, dtype=np.float32)
    optimizer = OPTIMIZERS[kind](model.parameters())
    descend(model, optimizer, x, y, 3)
    masks = prune(model, 0.6)
    before = [parameter.data.copy() for parameter, _ in masks.pairs]
    optimizer = masked(optimizer, masks)
    for _ in range(3):
        descend(model, optimizer, x, y, 1)
        for (parameter, kept), old in zip(masks.pairs, before, strict=True):
            assert not parameter.data[~kept].any(), "a pruned weight is back"
            assert (parameter.data[kept] != old[kept]).any(), "nothing is trained"


@optimizers
def test_a_masked_step_is_the_optimizers_step_and_then_the_masks(draw, kind):
    """Every weight that stays, and each bias, gets the update that it would have had anyway."""
    plain, model = network(), network()
    x, y = draw.normal(7, 5, dtype=np.float32), draw.normal(7, 3, dtype=np.float32)
    masks, others = prune(model, 0.5), prune(plain, 0.5)
    optimizer, wrapped = OPTIMIZERS[kind](plain.parameters()), masked(OPTIMIZERS[kind](model.parameters()), masks)
    for _ in range(4):
        descend(plain, optimizer, x, y, 1)
        others.apply()
        descend(model, wrapped, x, y, 1)
    for want, got in zip(plain.parameters(), model.parameters(), strict=True):
        assert_close(got, want)


def test_a_masked_step_allocates_no_floats(draw):
    """Beside the optimizer's own step, which without gradients is none. A mask of 1 MB of float32 weights takes a quarter."""
    model = Sequential(Linear(512, 512, rng=np.random.default_rng(0)))
    masks = prune(model, 0.5)
    optimizer = masked(SGD(model.parameters(), lr=0.1), masks)
    model[0].weight.data[...] = 1
    peak, retained = measure_bytes(optimizer.step)
    assert np.count_nonzero(model[0].weight.data) == 512 * 512 / 2
    assert peak < 400_000, f"{peak:,} bytes"
    assert retained < 10_000


def test_it_is_an_optimizer_with_the_same_groups_and_state(draw):
    """param_groups and state are the optimizer's own, so a schedule changes its lr; zero_grad() sets each grad to None."""
    model = network()
    optimizer = SGD(model.parameters(), lr=0.1, momentum=0.9)
    wrapped = masked(optimizer, prune(model, 0.5))
    assert isinstance(wrapped, Optimizer)
    descend(model, wrapped, draw.normal(7, 5, dtype=np.float32), draw.normal(7, 3, dtype=np.float32), 1)
    assert wrapped.param_groups is optimizer.param_groups
    assert wrapped.state is optimizer.state
    assert wrapped.state
    wrapped.zero_grad()
    assert all(parameter.grad is None for parameter in model.parameters())


def test_flat_goes_inside(draw):
    """flat(masked(…)) would step around the masks: its step raises a TypeError, and no weight comes back."""
    model, x, y = network(), draw.normal(7, 5, dtype=np.float32), draw.normal(7, 3, dtype=np.float32)
    masks = prune(model, 0.5)
    optimizer = masked(SGD(model.parameters(), lr=0.1), masks)
    with rejects(TypeError):
        descend(model, flat(optimizer), x, y, 1)
    assert not any(parameter.data[~kept].any() for parameter, kept in masks.pairs)


@optimizers
def test_the_state_holds_masks_and_moments(draw, kind):
    """Loaded into a model that was pruned elsewhere, the state brings its own masks: the next steps are those that would have
    followed.
    """
    x, y = draw.normal(7, 5, dtype=np.float32), draw.normal(7, 3, dtype=np.float32)
    first, second = network(0), network(1)
    given, masks = prune(first, 0.6), prune(second, 0.3)
    one, two = masked(OPTIMIZERS[kind](first.parameters()), given), masked(OPTIMIZERS[kind](second.parameters()), masks)
    assert masks.sparsity < 0.4
    descend(first, one, x, y, 2)
    state, weights = one.state_dict(), first.state_dict()
    descend(first, one, x, y, 3)
    two.load_state_dict(state)
    assert masks.sparsity == given.sparsity
    second.load_state_dict(weights)
    descend(second, two, x, y, 3)
    for want, got in zip(first.parameters(), second.parameters(), strict=True):
        assert_close(got, want)


def test_the_state_is_a_copy():
    """Masks that are changed after state_dict(), or after load_state_dict(), don't change the state."""
    model = network()
    masks = prune(model, 0.6)
    optimizer = masked(SGD(model.parameters(), lr=0.1), masks)
    state, wants = optimizer.state_dict(), [kept.copy() for _, kept in masks.pairs]
    for _ in range(2):
        for _, kept in masks.pairs:
            kept[...] = ~kept
        optimizer.load_state_dict(state)
        for (_, kept), want in zip(masks.pairs, wants, strict=True):
            assert_close(kept, want)


@optimizers
def test_state_and_groups_are_the_optimizers_own_later_too(draw, kind):
    """A load gives the optimizer a new state: the masked one has that, not the one from before. A schedule reaches it."""
    model, x, y = network(), draw.normal(7, 5, dtype=np.float32), draw.normal(7, 3, dtype=np.float32)
    optimizer = OPTIMIZERS[kind](model.parameters())
    both = masked(optimizer, prune(model, 0.5))
    descend(model, both, x, y, 2)
    for change in (lambda: both.load_state_dict(both.state_dict()), lambda: optimizer.load_state_dict(optimizer.state_dict())):
        change()
        assert both.state is optimizer.state
        assert both.param_groups is optimizer.param_groups
        descend(model, both, x, y, 1)


def test_a_state_without_masks_is_refused(draw):
    """The state of the optimizer alone, as an older checkpoint has it, raises a ValueError, and nothing is changed."""
    model = network()
    masks = prune(model, 0.5)
    plain = SGD(model.parameters(), lr=0.2)
    kept = [part.copy() for _, part in masks.pairs]
    optimizer = masked(SGD(model.parameters(), lr=0.1), masks)
    with rejects(ValueError):
        optimizer.load_state_dict(plain.state_dict())
    assert optimizer.param_groups[0]["lr"] == 0.1
    for (_, part), want in zip(masks.pairs, kept, strict=True):
        assert_close(part, want)


def test_a_state_without_masks_is_refused_where_there_are_none_either():
    """As any other: masks of nothing are masks."""
    model = network()
    optimizer = masked(SGD(model.parameters(), lr=0.1), Masks([]))
    optimizer.load_state_dict(optimizer.state_dict())
    with rejects(ValueError):
        optimizer.load_state_dict(SGD(model.parameters(), lr=0.2).state_dict())
    assert optimizer.param_groups[0]["lr"] == 0.1


def test_masks_of_other_shapes_are_refused(draw):
    """A state whose masks have other shapes raises a ValueError that contains them, and so does one of another optimizer.
    Nothing is changed then.
    """
    model, other = network(), Sequential(Linear(4, 12), ReLU(), Linear(12, 3))
    masks = prune(model, 0.5)
    optimizer = masked(SGD(model.parameters(), lr=0.1, momentum=0.9), masks)
    descend(model, optimizer, draw.normal(7, 5, dtype=np.float32), draw.normal(7, 3, dtype=np.float32), 1)
    kept = [part.copy() for _, part in masks.pairs]
    moments = {parameter: values["momentum_buffer"].copy() for parameter, values in optimizer.state.items()}
    strange = masked(SGD(other.parameters(), lr=0.2, momentum=0.9), prune(other, 0.2))
    with rejects(ValueError, "(12, 4)", "(12, 5)"):
        optimizer.load_state_dict(strange.state_dict())
    third = network(2)
    shorter = masked(SGD([parameter for parameter in third.parameters() if parameter.ndim > 1], lr=0.2), prune(third, 0.1))
    with rejects(ValueError):
        optimizer.load_state_dict(shorter.state_dict())
    for (parameter, part), want in zip(masks.pairs, kept, strict=True):
        assert_close(part, want)
        assert_close(optimizer.state[parameter]["momentum_buffer"], moments[parameter])
    assert optimizer.param_groups[0]["lr"] == 0.1


def test_a_trainer_that_resumes_goes_on_with_the_same_masks(draw, tmp_path):
    """Two epochs, then two more from the checkpoint, are four epochs bit for bit: although the second program started from
    other weights, and so pruned others.
    """
    data = batches(draw, 5).x, batches(draw, 5).y

    def training(seed: int, checkpoint, epochs: int):
        model = network(seed)
        masks = prune(model, 0.7)
        optimizer = masked(SGD(model.parameters(), lr=0.1, momentum=0.9), masks)
        schedule = cosine_schedule(20)
        trainer = Trainer(model, CrossEntropyLoss(), optimizer, checkpoint=checkpoint, schedule=schedule)
        trainer.fit(Batches(*data, 6, np.random.default_rng(3)), epochs)
        return model, masks

    want, masks = training(0, None, 4)
    training(0, tmp_path / "pruned", 2)
    got, found = training(1, tmp_path / "pruned", 4)
    for name, array in want.state_dict().items():
        assert np.array_equal(array, got.state_dict()[name]), name
    for (_, kept), (parameter, part) in zip(masks.pairs, found.pairs, strict=True):
        assert_close(part, kept)
        assert not parameter.data[~part].any()
