import math
from functools import partial
from itertools import count

import numpy as np
import pytest
from katas.layers import Dropout, Linear, Module, Parameter, Sequential
from katas.losses import CrossEntropyLoss, MSELoss
from katas.optimizers import SGD
from katas.tensor import Tensor
from katas.training import Batches, Objective, accuracy, train_epoch, validate

from specs import oracles
from specs.check import EXACT, FLOAT32, FLOAT64, assert_close, global_state, rejects


class Regression:
    """A linear regression in float64 with batches of the given sizes; `after` computes the result in plain NumPy."""

    def __init__(self, draw, *sizes: int, rate: float = 0.1):
        self.network = Linear(4, 3)
        self.network.weight, self.network.bias = Parameter(draw.normal(3, 4)), Parameter(draw.normal(3))
        self.start = self.network.weight.data.copy(), self.network.bias.data.copy()
        self.model = Objective(self.network, MSELoss())
        self.optimizer = SGD(self.network.parameters(), lr=rate)
        self.arrays = [(draw.normal(size, 4), draw.normal(size, 3)) for size in sizes]
        self.data = [(Tensor(x), Tensor(y)) for x, y in self.arrays]

    def train(self, **options) -> float:
        return train_epoch(self.model, self.optimizer, self.data, **options)

    def after(self, rates: list[float], batches: list | None = None, **options) -> tuple:
        return oracles.training.regressed(*self.start, self.arrays if batches is None else batches, rates, **options)

    def joined(self, *groups: range, repeat=lambda size: 1) -> list:
        """The batches of each group as one; the samples of a batch of n are repeated repeat(n) times."""
        parts = [[np.tile(part, (repeat(len(part)), 1)) for part in pair] for pair in self.arrays]
        return [tuple(np.concatenate([parts[i][k] for i in group]) for k in (0, 1)) for group in groups]


def test_an_epoch_is_a_step_for_each_batch(draw):
    """For each (x, y) in order, train_epoch calls zero_grad(), model(x, y), loss.backward() and optimizer.step()."""
    task = Regression(draw, 5, 5, 5)
    task.train()
    w, _, _ = task.after([0.1] * 3)
    mistakes = {
        "only the first batch": task.after([0.1], task.arrays[:1])[0],
        "the last batch is left out": task.after([0.1] * 2, task.arrays[:2])[0],
        "no step was taken": task.start[0],
    }
    assert_close(task.network.weight, w, mistakes=mistakes)
    assert_close(task.network.bias, task.after([0.1] * 3)[1])


def test_gradients_from_before_do_not_count(draw):
    """Gradients from before the epoch have no effect on its first step."""
    task = Regression(draw, 5, 5)
    task.network.weight.grad = np.full((3, 4), 100.0)
    task.train()
    assert_close(task.network.weight, task.after([0.1] * 2)[0])


def test_the_loss_is_the_mean_over_samples(draw):
    """train_epoch returns a float: the mean loss, in which each batch is weighted by its number of samples."""
    task = Regression(draw, 5, 5, 1)
    got = task.train()
    losses = task.after([0.1] * 3)[2]
    mistakes = {
        "the mean over batches": np.mean(losses),
        "the sum over batches": np.sum(losses),
        "the sum over samples": np.dot(losses, [5, 5, 1]),
        "the last batch's": losses[-1],
        "the first batch's": losses[0],
    }
    assert isinstance(got, float), f"expected a float, got a {type(got).__name__}"
    assert_close(got, np.dot(losses, [5, 5, 1]) / 11, mistakes=mistakes)


class Given(Module):
    """A model whose loss is w · x + y, in their dtype, with w = 0 at first: its gradient is x, and its first loss is y."""

    def __init__(self, dtype=np.float64):
        self.weight = Parameter(np.zeros((), dtype))

    def forward(self, x, y):
        return (self.weight * x + y).sum()


def test_the_mean_is_added_up_in_python_floats():
    """train_epoch and validate add up in Python floats, even float32 losses: a large one doesn't swallow the small ones."""
    losses = [1.0, *[2.0**-25] * 256]
    data = [(Tensor(np.zeros(1, np.float32)), Tensor(np.full(1, loss, np.float32))) for loss in losses]
    model, want = Given(np.float32), math.fsum(losses) / len(losses)
    got = train_epoch(model, SGD(model.parameters(), lr=0.1), data)
    assert isinstance(got, float), f"expected a float, got a {type(got).__name__}"
    assert_close(got, want, FLOAT64, mistakes={"the small ones are swallowed": 1 / len(losses)})
    for metric in (lambda prediction, y: y.sum(), lambda prediction, y: y.data[0]):  # a Tensor, and a number of NumPy's
        got = validate(Linear(1, 1), [(Tensor(np.zeros((1, 1), np.float32)), y) for _, y in data], metric)
        assert isinstance(got, float), f"expected a float, got a {type(got).__name__}"
        assert_close(got, want, FLOAT64, mistakes={"the small ones are swallowed": 1 / len(losses)})


def test_any_iterable_of_pairs_will_do(draw):
    """data may be any iterable of pairs, even a generator, which has no length and gives its batches only once."""
    task = Regression(draw, 5, 5, 2)
    loss = train_epoch(task.model, task.optimizer, (pair for pair in task.data), accumulate=2)
    w, _, losses = task.after([0.1] * 2, task.joined(range(2), range(2, 3)))
    assert_close(task.network.weight, w)
    assert_close(loss, np.dot(losses, [10, 2]) / 12)


def test_batches_are_taken_when_it_is_their_turn(draw):
    """Data need not fit into memory: before a batch is read, all earlier ones, except perhaps the last, have had their step."""
    task, seen = Regression(draw, *[5] * 4), []

    def stream():
        for pair in task.data:
            seen.append(task.network.weight.data.copy())
            yield pair

    train_epoch(task.model, task.optimizer, stream())
    for number in (2, 3):
        assert not np.array_equal(seen[number], task.start[0]), f"batch {number} was taken before the first step"


def test_training_is_in_train_mode(draw):
    """train_epoch puts every layer in train mode, even if the model was in eval mode."""
    task = Regression(draw, 5)
    network = Sequential(task.network, Dropout(0.5, np.random.default_rng(3)))
    network.eval()
    train_epoch(Objective(network, MSELoss()), task.optimizer, task.data)
    assert network[1].training, "it is in eval mode"
    unmasked = task.after([0.1])[0]
    assert not np.allclose(task.network.weight.data, unmasked), "dropout dropped nothing"


def test_an_objective_is_in_train_mode_too():
    """train_epoch puts the model itself and all modules below it in train mode, including a criterion that is a Module."""
    seen = []

    class Criterion(Module):
        def __init__(self):
            self.dropout = Dropout(0.5)

        def forward(self, prediction, y):
            seen.append((self.training, self.dropout.training))
            return prediction.sum()

    network = Sequential(Linear(2, 2))
    model = Objective(network, Criterion())
    model.eval()
    data = [(Tensor(np.ones((1, 2), np.float32)), Tensor(np.zeros(1)))]
    train_epoch(model, SGD(network.parameters(), lr=0.1), data)
    assert seen == [(True, True)]
    assert all(module.training for module in model.modules())


@pytest.mark.parametrize(
    ("sizes", "accumulate"), [((4, 4, 4, 4), 2), ((4, 4, 3), 3), ((5, 2, 6, 1, 3), 2), ((4, 2), 5)], ids=str
)
def test_accumulated_batches_are_one_large_batch(sizes, accumulate, draw):
    """accumulate=k steps once for k batches, with the gradient of the mean loss of all their samples. Each batch's gradient is
    weighted by its fraction of the group's samples, even if batches or the last group are smaller.
    """
    task = Regression(draw, *sizes)
    got = task.train(accumulate=accumulate)
    groups = [range(start, min(start + accumulate, len(sizes))) for start in range(0, len(sizes), accumulate)]
    large, even = task.joined(*groups), task.joined(*groups, repeat=lambda size: 60 // size)
    w, _, losses = task.after([0.1] * len(large), large)
    mistakes = {
        "the gradients are added, not averaged": task.after([0.1 * len(group) for group in groups], large)[0],
        "a step for each batch": task.after([0.1] * len(sizes))[0],
        "the last, smaller group is left out": task.after([0.1] * (len(large) - 1), large[:-1])[0],
        "divided by accumulate where the group is smaller": task.after(
            [0.1 * len(group) / accumulate for group in groups], even
        )[0],
        "a batch counts as much as another, whatever its samples": task.after([0.1] * len(large), even)[0],
    }
    assert_close(task.network.weight, w, mistakes=mistakes)
    assert_close(got, np.dot(losses, [len(x) for x, _ in large]) / sum(sizes))


PADDED = [
    (np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([0, -100])),
    (np.array([[1.0, 1.0], [2.0, 1.0]]), np.array([1, 1])),
    (np.array([[0.5, 2.0], [3.0, 1.0]]), np.array([-100, -100])),
    (np.array([[0.0, 3.0]]), np.array([0])),
]


class Padded:
    """A linear classifier in float64 from [[0.1, 0.2], [0.3, 0.4]], trained on batches with some ignored targets."""

    def __init__(self, criterion=None, **options):
        self.network = Linear(2, 2, bias=False)
        self.network.weight = Parameter(np.array([[0.1, 0.2], [0.3, 0.4]]))
        self.model = Objective(self.network, criterion or CrossEntropyLoss())
        self.optimizer = SGD(self.network.parameters(), **({"lr": 1.0} | options))

    def train(self, batches, **options) -> float:
        return train_epoch(self.model, self.optimizer, [(Tensor(x), Tensor(y)) for x, y in batches], **options)


def together(*batches) -> tuple:
    """These batches as one."""
    return tuple(np.concatenate(parts) for parts in zip(*batches, strict=True))


def test_accumulated_batches_with_ignored_targets_are_one_batch():
    """If a loss says how many targets it counted, as CrossEntropyLoss does, its weight is that number: two batches, with one
    target that counts and with two, give the same result as one batch of all four samples.
    """
    one, two = Padded(), Padded()
    want = one.train([together(*PADDED[:2])])
    got = two.train(PADDED[:2], accumulate=2)
    assert f"{want:.4f}" == "0.5829"
    assert_close(got, want, mistakes={"the mean over samples": 0.6367})
    assert_close(two.network.weight, one.network.weight.data)


@pytest.mark.parametrize("ignored", [-100, 0])
@pytest.mark.parametrize("accumulate", [1, 2, 4])
def test_the_mean_is_over_the_targets_that_count(accumulate, ignored):
    """For any ignore_index, train_epoch returns the mean loss over all targets that count, and clips and steps with the
    gradient of the group's mean.
    """
    batches = [(x, np.where(y == -100, ignored, np.maximum(y, 1) if ignored == 0 else y)) for x, y in PADDED]
    apart, joined = (Padded(CrossEntropyLoss(ignore_index=ignored)) for _ in range(2))
    groups = [together(*batches[start : start + accumulate]) for start in range(0, 4, accumulate)]
    got = apart.train(batches, accumulate=accumulate, clip_norm=0.3)
    want = joined.train(groups, clip_norm=0.3)
    assert_close(got, want)
    assert_close(apart.network.weight, joined.network.weight.data)


def test_every_position_of_a_sequence_counts():
    """A prediction (batch, time, classes) has batch · time targets: of two batches with two padded texts each, the one with
    longer texts has the larger weight.
    """
    x = np.random.RandomState(3).standard_normal((4, 5, 2))
    y = np.random.RandomState(4).randint(0, 2, (4, 5))
    y[0, 3:], y[1, 1:], y[3, 4:] = -100, -100, -100
    one, two = Padded(), Padded()
    want = one.train([(x, y)])
    got = two.train([(x[:2, :3], y[:2, :3]), (x[2:], y[2:])], accumulate=2)
    assert_close(got, want)
    assert_close(two.network.weight, one.network.weight.data)
    every = CrossEntropyLoss()(two.network(Tensor(x)), y).item()
    assert_close(validate(two.network, [(Tensor(x[:2, :3]), y[:2, :3]), (Tensor(x[2:]), y[2:])], CrossEntropyLoss()), every)


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_batch_in_which_nothing_counts_takes_no_part(place):
    """A batch whose targets are all ignored changes neither the gradient nor the loss of its group."""
    with_it, without = Padded(), Padded()
    batches = [PADDED[0], PADDED[1]]
    want = without.train(batches, accumulate=3)
    batches.insert(place, PADDED[2])
    assert_close(with_it.train(batches, accumulate=3), want)
    assert_close(with_it.network.weight, without.network.weight.data)


def test_a_step_in_which_nothing_counts_is_not_taken():
    """If nothing in a group counts, no step is taken: momentum and weight decay change nothing, and progress is not called. But
    the group uses up its step number, so that a schedule of len(data) steps ends with the data.
    """
    rates, told = [], []

    class Spy:
        def step(self, share, loss):
            told.append(share)

    with_it, without = (Padded(lr=0.5, momentum=0.9, weight_decay=0.1) for _ in range(2))
    schedule = (1.0, 0.5, 0.25, 0.125).__getitem__
    got = with_it.train([PADDED[2], PADDED[0], PADDED[2], PADDED[1]], schedule=schedule, progress=Spy())
    want = without.train([PADDED[0], PADDED[1]], schedule=lambda step: rates.append(step) or (0.5, 0.125)[step])
    assert_close(got, want)
    assert_close(with_it.network.weight, without.network.weight.data)
    assert told == [0.5, 1.0]


def test_an_epoch_in_which_nothing_counts_is_an_error():
    """If every target of every batch is ignored, there is no mean: train_epoch and validate raise a ValueError that says so."""
    task = Padded()
    with rejects(ValueError, "ignored"):
        task.train([PADDED[2]] * 2)
    with rejects(ValueError, "ignored"):
        validate(task.network, [PADDED[2]] * 2)


def test_a_model_says_itself_what_counts():
    """Any model may have counted(x, y): train_epoch weights its losses by it, in the mean and in the gradient."""

    class Weighted(Module):
        def __init__(self):
            self.weight = Parameter(np.ones(1))

        def forward(self, x, y):
            return (self.weight * x).mean()

        def counted(self, x, y):
            return float(y.data.sum())

    model = Weighted()
    optimizer = SGD(model.parameters(), lr=1.0)
    data = [(Tensor(np.array([2.0, 2.0])), Tensor(np.array([0.5, 1.0]))), (Tensor(np.array([6.0])), Tensor(np.array([4.5])))]
    assert_close(train_epoch(model, optimizer, data, accumulate=2), 5.0)
    assert_close(model.weight, np.array([-4.0]))


def test_accumulation_needs_the_room_of_one_batch(budget):
    """Accumulated batches, each with 400 kB of activations, need the memory of one: it is freed before the next begins."""
    rng = np.random.default_rng(3)
    network = Sequential(Linear(4, 500, rng=rng), Dropout(0.1, rng), Linear(500, 2, rng=rng))
    model, optimizer = Objective(network, MSELoss()), SGD(network.parameters(), lr=0.1)
    data = [(Tensor(np.ones((50, 4), np.float32)), Tensor(np.ones((50, 2), np.float32)))] * 40
    budget.bytes(lambda: train_epoch(model, optimizer, data, accumulate=40), peak=1_000_000)


def test_the_gradient_is_clipped_as_a_whole(draw):
    """Before each step, clip_norm limits the norm of all gradients, taken as one vector (clip_grad_norm)."""
    task = Regression(draw, 5, 5, 5)
    task.train(clip_norm=0.5)
    w, b, _ = task.after([0.1] * 3, clip_norm=0.5)
    assert_close(task.network.weight, w, mistakes={"not clipped": task.after([0.1] * 3)[0]})
    assert_close(task.network.bias, b)


@pytest.mark.parametrize("clip_norm", [0, 0.0, -1.0])
def test_clipping_to_nothing_is_refused(clip_norm, draw):
    """clip_norm=0 is not treated as None: it raises a ValueError, as in clip_grad_norm, and no step is taken."""
    task = Regression(draw, 5)
    with rejects(ValueError, str(clip_norm)):
        task.train(clip_norm=clip_norm)
    assert_close(task.network.weight, task.start[0], EXACT)


def test_all_groups_are_clipped_together(draw):
    """clip_norm clips the gradients of all parameter groups together, as one vector."""
    task = Regression(draw, 5, 5)
    task.optimizer = SGD([{"params": [task.network.bias]}, {"params": [task.network.weight]}], lr=0.1)
    task.train(clip_norm=0.5)
    assert_close(task.network.weight, task.after([0.1] * 2, clip_norm=0.5)[0])


def test_what_was_accumulated_is_clipped_once(draw):
    """With accumulate, clip_norm clips the sum over the group, not each batch's part of it."""
    task = Regression(draw, 5, 3, 4)
    task.train(clip_norm=0.5, accumulate=2)
    w, _, _ = task.after([0.1] * 2, task.joined(range(2), range(2, 3)), clip_norm=0.5)
    assert_close(task.network.weight, w)


def test_a_schedule_gives_every_step_its_rate(draw):
    """Step k, counted from 0, has the learning rate lr · schedule(k), including the first step."""
    task = Regression(draw, 5, 5, 5)
    task.train(schedule=lambda step: 1 / (1 + step))
    mistakes = {
        "no schedule": task.after([0.1] * 3)[0],
        "it lags a step behind": task.after([0.1, 0.1, 0.1 / 2])[0],
        "it is a step ahead": task.after([0.1 / 2, 0.1 / 3, 0.1 / 4])[0],
        "each factor is one of the rate before": task.after([0.1, 0.1 / 2, 0.1 / 6])[0],
        "the factor is the rate": task.after([1, 1 / 2, 1 / 3])[0],
    }
    assert_close(task.network.weight, task.after([0.1, 0.1 / 2, 0.1 / 3])[0], mistakes=mistakes)
    assert_close(task.optimizer.param_groups[0]["lr"], 0.1 / 3)


def test_a_schedule_counts_steps_not_batches(draw):
    """A schedule counts the optimizer's steps: with accumulate=2, four batches are steps 0 and 1."""
    task = Regression(draw, 5, 5, 5, 5)
    task.train(schedule=lambda step: 1 / (1 + step), accumulate=2)
    large = task.joined(range(2), range(2, 4))
    assert_close(task.network.weight, task.after([0.1, 0.05], large)[0])


def test_a_later_epoch_goes_on_with_the_schedule(draw):
    """Each step takes the next number from `steps`. A factor multiplies the base rate, not the last epoch's rate."""
    task, steps = Regression(draw, 5, 5), count()
    task.train(schedule=lambda step: 1 / (1 + step), steps=steps)
    task.train(schedule=lambda step: 1 / (1 + step), steps=steps)
    assert next(steps) == 4
    w, _, _ = task.after([0.1, 0.1 / 2, 0.1 / 3, 0.1 / 4], task.arrays * 2)
    compounded = task.after([0.1, 0.1 / 2, 0.1 / 6, 0.1 / 8], task.arrays * 2)[0]
    restarted = task.after([0.1, 0.1 / 2] * 2, task.arrays * 2)[0]
    assert_close(task.network.weight, w, mistakes={"a factor of the last epoch's rate": compounded, "from 0": restarted})


def test_the_base_rate_is_the_one_that_first_met_a_schedule(draw):
    """Without `steps`, each epoch begins at step 0 again, with the same base rate, whatever the current lr is."""
    task = Regression(draw, 5, 5)
    for _ in range(3):
        task.train(schedule=lambda step: (1.0, 0.5)[step])
        task.optimizer.param_groups[0]["lr"] = 7.0
    mistakes = {"a factor of the last epoch's rate": task.after([0.1, 0.05, 0.05, 0.025, 0.025, 0.0125], task.arrays * 3)[0]}
    assert_close(task.network.weight, task.after([0.1, 0.05] * 3, task.arrays * 3)[0], mistakes=mistakes)


def test_a_factor_of_0_is_a_factor(draw):
    """A schedule may give 0: that step's lr is 0 and the parameters stay. The next step has its own factor."""
    task = Regression(draw, 5, 5, 5)
    seen = []
    task.train(schedule=lambda step: seen.append(task.network.weight.data.copy()) or (0.0, 0, 0.5)[step])
    assert_close(seen[2], task.start[0], EXACT)
    assert_close(task.network.weight, task.after([0.05], task.arrays[2:])[0])
    task.train(schedule=lambda step: 0.0)
    assert task.optimizer.param_groups[0]["lr"] == 0


def test_a_base_rate_of_0_is_a_base_rate(draw):
    """A group whose lr is 0 when it first meets a schedule stays frozen, even if its lr is set afterwards."""
    task = Regression(draw, 5, 5)
    weight, bias = task.network.weight, task.network.bias
    task.optimizer = SGD([{"params": [weight], "lr": 0.0}, {"params": [bias]}], lr=0.1)
    for _ in range(2):
        task.train(schedule=lambda step: 0.5)
        assert_close([group["lr"] for group in task.optimizer.param_groups], [0.0, 0.05])
        task.optimizer.param_groups[0]["lr"] = 0.3
    assert_close(weight, task.start[0], EXACT)


def test_a_schedule_keeps_the_groups_apart(draw):
    """A schedule multiplies each group's own base rate by the same factor."""
    task = Regression(draw, 5, 5)
    weight, bias = task.network.weight, task.network.bias
    task.optimizer = SGD([{"params": [weight]}, {"params": [bias], "lr": 0.02}], lr=0.1)
    task.train(schedule=lambda step: (0.5, 0.25)[step])
    assert_close([group["lr"] for group in task.optimizer.param_groups], [0.025, 0.005])


def test_a_schedule_reaches_every_group(draw):
    """A schedule changes the lr of every group, however many there are."""
    task = Regression(draw, 5, 5)
    others = [{"params": [Parameter(np.zeros(1))], "lr": rate} for rate in (0.2, 0.3, 0.4)]
    task.optimizer = SGD([{"params": task.network.parameters(), "lr": 0.1}, *others], lr=1.0)
    task.train(schedule=lambda step: (0.5, 0.25)[step])
    assert_close([group["lr"] for group in task.optimizer.param_groups], [0.025, 0.05, 0.075, 0.1])


def test_an_epoch_without_a_schedule_keeps_the_base_rate(draw):
    """An epoch without a schedule uses the current lr. A later epoch with a schedule has the earlier base rate again."""
    task = Regression(draw, 5, 5)
    for schedule in (lambda step: (1.0, 0.5)[step], None, lambda step: (1.0, 0.5)[step]):
        task.train(schedule=schedule)
    assert_close(task.network.weight, task.after([0.1, 0.05, 0.05, 0.05, 0.1, 0.05], task.arrays * 3)[0])


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_no_infinite_loss_is_trained_on(value, accumulate):
    """A loss that is NaN, ∞ or -∞ raises a FloatingPointError that contains the step."""
    model = Given()
    losses = [0.0, 0.0, 0.0, value]
    data = [(Tensor(np.ones(1)), Tensor(np.full(1, loss))) for loss in losses]
    with rejects(FloatingPointError, f"step {3 // accumulate}"):
        train_epoch(model, SGD(model.parameters(), lr=1.0), data, accumulate=accumulate)
    assert_close(model.weight, np.array(-3.0 if accumulate == 1 else -1.0))


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_ends_training(value, draw):
    """A NaN or infinite loss raises a FloatingPointError with the step's number from `steps`; parameters don't change."""
    task = Regression(draw, 5, 5, 5)
    task.data[1] = (task.data[1][0], Tensor(np.full((5, 3), value)))
    with rejects(FloatingPointError, "step 11"):
        task.train(steps=count(10))
    assert_close(task.network.weight, task.after([0.1], task.arrays[:1])[0])


def test_every_accumulated_loss_has_to_be_finite(draw):
    """If any batch of an accumulated group has a NaN or infinite loss, the group's optimizer step is not taken."""
    for bad in (0, 1):
        task = Regression(draw, 5, 5)
        task.data[bad] = (task.data[bad][0], Tensor(np.full((5, 3), math.nan)))
        with rejects(FloatingPointError, "step 0"):
            task.train(accumulate=2)
        assert_close(task.network.weight, task.start[0], EXACT)


@pytest.mark.parametrize("data", [[], iter([])], ids=["a list", "a used-up iterator"])
def test_no_batch_is_an_error(data, draw):
    """An epoch without batches has no mean: train_epoch and validate raise a ValueError."""
    task = Regression(draw, 5)
    with rejects(ValueError, "batch"):
        train_epoch(task.model, task.optimizer, data)
    with rejects(ValueError, "batch"):
        validate(task.network, data)


@pytest.mark.parametrize("accumulate", [0, -1])
def test_accumulating_nothing_is_refused(accumulate, draw):
    """accumulate below 1 raises a ValueError that contains accumulate and the value."""
    with rejects(ValueError, "accumulate", str(accumulate)):
        Regression(draw, 5).train(accumulate=accumulate)


def test_an_epoch_adds_little_to_its_steps(draw, budget):
    """An epoch takes at most 2.5 times the Python instructions of the loop's five lines."""
    task = Regression(draw, *[8] * 20, rate=1e-6)

    def bare():
        for x, y in task.data:
            task.optimizer.zero_grad()
            loss = task.model(x, y)
            loss.backward()
            task.optimizer.step()

    budget.steps(bare, lambda: task.train(schedule=lambda step: 1.0), limit=2.5)


class Constant(Module):
    """A network that returns a fixed prediction for any input, and records its modes."""

    def __init__(self, *outputs):
        self.outputs, self.frozen, self.dropout = [*outputs], Dropout(0.5), Dropout(0.5)
        self.parameter = Parameter(np.ones(1))
        self.modes = []

    def forward(self, x):
        self.modes.append((self.training, self.frozen.training, self.dropout.training))
        return self.outputs.pop(0) * self.parameter


def test_validation_is_the_mean_over_samples(draw):
    """validate(network, data) returns a float: the mean of accuracy over all samples, not over batches."""
    right, wrong = np.eye(3)[[0, 1, 2, 0]], np.eye(3)[[1]]
    labels = [np.array([0, 1, 2, 1]), np.array([0])]
    network = Constant(right, wrong)
    got = validate(network, [(Tensor(np.ones((4, 2))), Tensor(labels[0])), (Tensor(np.ones((1, 2))), Tensor(labels[1]))])
    assert isinstance(got, float), f"expected a float, got a {type(got).__name__}"
    assert_close(got, 3 / 5, mistakes={"the mean over batches": 3 / 8, "the number that is right": 3, "the last batch's": 0})


def test_a_criterion_is_a_metric_too(draw):
    """metric(prediction, target) may return a Python scalar or a Tensor of one value."""
    network, x, y = Linear(4, 3), draw.normal(7, 4, dtype=np.float32), draw.integers(3, 7)
    want = CrossEntropyLoss()(network(Tensor(x)), y).item()
    assert_close(validate(network, Batches(x, y, 3), CrossEntropyLoss()), want, FLOAT32)
    assert_close(validate(network, Batches(x, y, 3), lambda prediction, target: len(target)), (3 * 3 + 3 * 3 + 1) / 7)


@pytest.mark.parametrize("ignored", [-100, 2])
def test_validation_leaves_out_ignored_targets(ignored):
    """Batches are weighted by their targets that are not ignored, for accuracy, partial(accuracy, ignore_index=…) and a
    criterion. A batch in which nothing counts is left out.
    """
    labels = [np.array([0, 1, 1, ignored]), np.array([0, ignored, ignored, ignored]), np.full(4, ignored)]
    data = [(np.ones((4, 1)), target) for target in labels]
    outputs = [np.eye(3)[[0, 1, 0, 0]], np.eye(3)[[0, 0, 0, 0]]]
    metric = accuracy if ignored == -100 else partial(accuracy, ignore_index=ignored)
    got = validate(Constant(*outputs, np.eye(3)), data, metric)
    assert_close(got, 3 / 4, mistakes={"over samples": (4 * 2 / 3 + 4) / 8, "ignored targets are wrong": 3 / 12})
    criterion = CrossEntropyLoss(ignore_index=ignored)
    want = criterion(Tensor(np.concatenate(outputs)), np.concatenate(labels[:2])).item()
    assert_close(validate(Constant(*outputs, np.eye(3)), data, criterion), want)


def test_a_metric_that_is_a_module_is_in_eval_mode_too():
    """A metric that is a Module is in eval mode during validation, then back in its previous mode."""

    class Metric(Module):
        def __init__(self):
            self.seen, self.dropout = [], Dropout(0.5)

        def forward(self, prediction, target):
            self.seen.append((self.training, self.dropout.training))
            return 1.0

    metric = Metric()
    validate(Constant(np.eye(2)), [(np.ones((2, 1)), np.array([0, 1]))], metric)
    assert metric.seen == [(False, False)]
    assert (metric.training, metric.dropout.training) == (True, True)


def test_a_module_of_network_and_metric_gets_its_mode_back():
    """A module below both network and metric, as when a loss uses the network's weights, gets its previous mode back."""

    class Penalty(Module):
        def __init__(self, network):
            self.network = network

        def forward(self, prediction, target):
            return 1.0

    network = Constant(np.eye(2))
    network.frozen.eval()
    metric = Penalty(network)
    validate(network, [(np.ones((2, 1)), np.array([0, 1]))], metric)
    assert (metric.training, network.training, network.frozen.training, network.dropout.training) == (True, True, False, True)


def test_a_metric_of_0_is_a_metric():
    """A metric may be 0, as the accuracy of a network that is always wrong, or -1: neither is an error."""
    data = [(np.ones((2, 1)), np.array([0, 1]))]
    assert validate(Constant(np.eye(2)[::-1]), data) == 0.0
    for value in (0, 0.0, -1.0):
        assert validate(Constant(np.eye(2)), data, lambda prediction, target, value=value: value) == value


def test_a_metric_is_not_recorded():
    """Data and metric also run under no_grad: results they compute from parameters require no gradient."""
    scale, seen = Parameter(np.ones(1)), []

    def data():
        x = scale * 2
        seen.append(x.requires_grad)
        yield Tensor(np.ones((2, 1))), np.array([0, 1])

    def metric(prediction, target):
        value = (scale * 3).sum()
        seen.append(value.requires_grad)
        return value

    validate(Constant(np.eye(2)), data(), metric)
    assert seen == [False, False]


@pytest.mark.parametrize("data", [[], [(np.ones((2, 1)), np.array([-100, -100]))]], ids=["no batch", "nothing that counts"])
def test_validation_of_nothing_restores_the_modes(data):
    """After validate's ValueError for no data, each module is back in its previous mode."""
    network = Constant()
    network.frozen.eval()
    with rejects(ValueError, "batch"):
        validate(network, data)
    assert (network.training, network.frozen.training, network.dropout.training) == (True, False, True)


def test_validation_is_in_eval_mode_and_each_module_gets_its_own_back():
    """During validation all modules are in eval mode. Afterwards each is back in its own previous mode, even a frozen one."""
    network = Constant(np.eye(2), np.eye(2))
    network.frozen.eval()
    validate(network, [(np.ones((2, 1)), np.array([0, 1]))] * 2)
    assert network.modes == [(False, False, False)] * 2
    assert (network.training, network.frozen.training, network.dropout.training) == (True, False, True)
    network.eval()
    network.outputs = [np.eye(2)]
    validate(network, [(np.ones((2, 1)), np.array([0, 1]))])
    assert not network.training, "it was in eval mode before"


@pytest.mark.parametrize("error", [KeyError, KeyboardInterrupt, GeneratorExit, SystemExit], ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("place", ["network", "metric", "data", "counted"])
def test_an_error_in_validation_leaves_no_traces(place, error):
    """If the network, the metric or the data fails during validation, or Ctrl-C ends it, the modes of network and metric are
    restored, and operations are recorded again.
    """
    calls = []

    def fail(here):
        calls.append(here)
        if here == place and calls.count(place) == 2:
            raise error("failed here")

    class Failing(Constant):
        def forward(self, x):
            fail("network")
            return super().forward(x)

    class Metric(Module):
        def __init__(self):
            self.dropout = Dropout(0.5)

        def forward(self, prediction, target):
            fail("metric")
            return 1.0

        def counted(self, target):
            fail("counted")
            return len(target)

    def data():
        for _ in range(3):
            fail("data")
            yield np.ones((2, 1)), np.array([0, 1])

    network, metric = Failing(*[np.eye(2)] * 3), Metric()
    network.frozen.eval()
    with rejects(error, "failed here"):
        validate(network, data(), metric)
    assert (network.training, network.frozen.training, network.dropout.training) == (True, False, True)
    assert (metric.training, metric.dropout.training) == (True, True)
    assert (network.parameter * 2).requires_grad


def test_validation_records_nothing(draw):
    """validate runs under no_grad, and changes neither parameters, gradients, nor NumPy's global generator."""
    network, before = Linear(4, 3), global_state()
    seen = []
    validate(network, Batches(draw.normal(7, 4, dtype=np.float32), draw.integers(3, 7), 3), lambda p, t: seen.append(p) or 0)
    assert [prediction.requires_grad for prediction in seen] == [False] * 3
    assert network.weight.grad is None
    assert global_state() == before


@pytest.mark.parametrize("shape", [(20,), (6, 5)], ids=str)
def test_accuracy_is_the_share_of_right_answers(shape, draw):
    """accuracy() is the fraction of targets (...) at which the prediction (..., classes) is largest."""
    prediction, target = draw.normal(*shape, 3), draw.integers(3, *shape)
    got = accuracy(Tensor(prediction), Tensor(target))
    assert isinstance(got, float), f"expected a float, got a {type(got).__name__}"
    want = oracles.training.right(prediction, target)
    assert_close(got, want, mistakes={"their number": want * target.size, "percent": 100 * want})
    assert_close(accuracy(Tensor(prediction), target), want)


def test_predictions_are_compared_in_their_own_dtype():
    """The largest prediction is right by any margin, however small, and however large all predictions are."""
    close = np.array([[1.0, 1.0 + 1e-12, 1.0 - 1e-12], [1e200, 2e200, 3e200], [1e-200, 2e-200, 0.0]])
    assert_close(accuracy(Tensor(close), np.array([1, 2, 1])), 1.0)
    close = np.array([[1.0, 1.0 + 2**-20], [1e30, 2e30], [1e-30, 2e-30]], np.float32)
    assert_close(accuracy(Tensor(close), np.array([1, 1, 1])), 1.0)


def test_predictions_that_are_nan_are_not_right():
    """Predictions of NaN don't have an accuracy of 1: they don't point to the targets."""
    prediction = np.array([[np.nan] * 3, [0.0, 2.0, 1.0], [np.nan] * 3])
    assert_close(accuracy(Tensor(prediction), np.array([1, 1, 2])), 1 / 3)


def test_of_equal_predictions_the_first_is_the_largest():
    """Of equal predictions the first counts, as in np.argmax: a network with equal scores always predicts class 0."""
    prediction = np.array([[1.0, 1.0, 1.0], [0.0, 2.0, 2.0], [3.0, 0.0, 3.0], [0.0, -0.0, -1.0]])
    for target, want in (([0, 1, 0, 0], 1.0), ([1, 2, 2, 1], 0.0), ([2, 1, 2, 0], 0.5)):
        assert_close(accuracy(Tensor(prediction), np.array(target)), want)


@pytest.mark.parametrize(
    ("prediction", "target"),
    [((4, 3), (4, 1)), ((4, 1), (4, 1)), ((4, 3), (3,)), ((4, 3), (4, 3)), ((4,), (4,)), ((), ()), ((0, 3), (0,))],
    ids=str,
)
def test_accuracy_refuses_shapes_that_do_not_fit(prediction, target):
    """A target without values, or without the prediction's leading axes, raises a ValueError that contains both shapes."""
    with rejects(ValueError, str(prediction), str(target)):
        accuracy(Tensor(np.ones(prediction)), np.zeros(target, np.int64))


def test_accuracy_refuses_a_single_class():
    """A prediction with one class raises a ValueError that contains the shape: every answer would be right."""
    with rejects(ValueError, "(4, 1)"):
        accuracy(Tensor(np.ones((4, 1))), np.zeros(4, np.int64))


@pytest.mark.parametrize("dtype", ["float32", "float16", "bool"])
def test_accuracy_refuses_targets_that_are_no_classes(dtype):
    """Targets that are not integers, even booleans, raise a TypeError that contains their dtype."""
    with rejects(TypeError, dtype):
        accuracy(Tensor(np.ones((4, 3))), np.zeros(4, dtype))


@pytest.mark.parametrize("ignored", [-100, 0, -1, 2])
def test_accuracy_ignores_one_target_only(ignored):
    """With a different ignore_index, -100 counts and is wrong, as are other negative targets and those beyond the classes."""
    prediction = np.eye(3)[[0, 1, 2, 0, 1, 2]]
    target = np.array([0, 1, 2, -100, -1, 7])
    want = np.mean((target == [0, 1, 2, 0, 1, 2])[target != ignored])
    assert_close(accuracy(Tensor(prediction), target, ignore_index=ignored), want)
    network, metric = Constant(prediction, prediction[:2]), partial(accuracy, ignore_index=ignored)
    kept = np.concatenate([target, [5, 5]]) != ignored
    got = validate(network, [(np.ones((6, 1)), target), (np.ones((2, 1)), np.array([5, 5]))], metric)
    assert_close(got, want * np.count_nonzero(target != ignored) / np.count_nonzero(kept))


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32", "uint64"])
def test_accuracy_takes_integers_of_any_size(dtype):
    """Targets may be of an integer dtype that can't hold -100: as uint8, class 156 has the bits of -100 but counts."""
    assert_close(accuracy(Tensor(np.eye(3)), np.array([0, 1, 0], dtype)), 2 / 3)
    if dtype != "int8":
        assert_close(accuracy(Tensor(np.eye(200)[[1, 156, 3]]), np.array([0, 156, 0], dtype)), 1 / 3)


@pytest.mark.parametrize("shape", [(20,), (6, 5)], ids=str)
@pytest.mark.parametrize("ignored", [-100, 0])
def test_accuracy_leaves_out_ignored_targets(ignored, shape, draw):
    """Targets equal to ignore_index, by default -100, count neither as right nor as wrong, even if they are a class."""
    prediction, target = draw.normal(*shape, 3), draw.integers(3, *shape).copy()
    target[::2] = ignored
    kept = target != ignored
    options = {} if ignored == -100 else {"ignore_index": ignored}
    want = oracles.training.right(prediction[kept], target[kept])
    mistakes = {"ignored targets count": oracles.training.right(prediction, target)}
    assert_close(accuracy(Tensor(prediction), Tensor(target), **options), want, mistakes=mistakes)


def test_accuracy_of_ignored_targets_alone_is_refused():
    """If every target is ignored, accuracy raises a ValueError that contains ignore_index and the shapes."""
    with rejects(ValueError, "(4, 3)", "(4,)", "-100"):
        accuracy(Tensor(np.ones((4, 3))), np.full(4, -100))


def test_only_the_gradients_of_the_optimizer_are_clipped(draw):
    """A parameter that the optimizer does not have counts in no norm, and its gradient stays as it is."""
    task = Regression(draw, 5)
    task.optimizer = SGD([task.network.bias], lr=0.1)
    task.train(clip_norm=1e-3)
    moved = task.network.bias.data - task.start[1]
    assert_close(np.linalg.norm(moved), 1e-4, mistakes={"all parameters of the model count": 0.0})
    assert np.linalg.norm(task.network.weight.grad) > 1e-2, "a gradient that is not the optimizer's was scaled"
