import contextvars
import gc
import signal
import threading
import traceback

import numpy as np
import pytest
from katas.acceleration import data_parallel
from katas.activations import ReLU, Tanh
from katas.autograd import defvjp, no_grad
from katas.layers import Dropout, Flatten, Linear, Module, Parameter, Sequential
from katas.losses import CrossEntropyLoss, MSELoss
from katas.optimizers import SGD, AdamW
from katas.spatial import BatchNorm2d
from katas.tensor import Tensor
from katas.training import Batches, Objective, Trainer, accuracy, cosine_schedule
from katas.transformers import GPT, GPTConfig
from threadpoolctl import threadpool_info, threadpool_limits

from katas import autograd
from specs import oracles
from specs.check import FLOAT32, assert_close, assert_dtype, assert_gradient, measure_bytes, rejects
from specs.oracles.training import assert_same

SECONDS = 5  # for a thread to come to where the other waits


class Model(Module):
    """A model whose loss is a function of the batch and one Linear layer, which is called in the shard."""

    def __init__(self, function, layer=None):
        self.layer = Linear(3, 2, rng=np.random.default_rng(0)) if layer is None else layer
        self.function = function

    def forward(self, x, y) -> Tensor:
        return self.function(self.layer, x, y)


def mean_square(layer, x, y) -> Tensor:
    difference = layer(Tensor(x)) - Tensor(y)
    return (difference * difference).mean()


def batch(draw, n: int, dtype=np.float32) -> tuple[Tensor, Tensor]:
    return Tensor(draw.normal(n, 3, dtype=dtype)), Tensor(draw.normal(n, 2, dtype=dtype))


def regression(layer, x, y) -> tuple[float, np.ndarray, np.ndarray]:
    """The loss and its gradients by weight and bias, in float64."""
    x, y, weight, bias = (np.asarray(array, np.float64) for array in (x.data, y.data, layer.weight.data, layer.bias.data))
    error = x @ weight.T + bias - y
    return (error**2).mean(), 2 * error.T @ x / error.size, 2 * error.sum(0) / error.size


# What it computes


def test_gradients_accumulate_over_steps(draw):
    """A second backward, of the same batch, doubles them exactly: what was there before is counted once."""
    (x, y), model = batch(draw, 6), Model(mean_square)
    data_parallel(model)(x, y).backward()
    first = model.layer.weight.grad.copy()
    data_parallel(model)(x, y).backward()
    assert (model.layer.weight.grad == 2 * first).all()


def test_buffers_that_do_not_move_keep_their_bits(draw):
    """In eval mode three shards leave the running statistics as they are, where (a + a + a) / 3 may differ from a."""
    model = Model(lambda layer, x, y: (layer(x) * layer(x)).mean(), BatchNorm2d(2))
    model.layer.running_mean[...] = draw.normal(2, dtype=np.float32)
    model.layer.running_var[...] = draw.uniform(0.1, 1, 2, dtype=np.float32)
    before = [array.copy() for _, array in model.eval().named_buffers()]
    data_parallel(model, threads=3)(Tensor(draw.normal(6, 2, 3, 3, dtype=np.float32)), np.zeros(6))
    assert all((a == b).all() for a, (_, b) in zip(before, model.named_buffers(), strict=True))


def test_each_shard_has_a_generator_of_its_own(draw):
    """None of them is the model's, and at every step each shard has the same one again: who draws first changes nothing."""
    seen, model = [], Model(lambda layer, x, y: seen.append(layer[2].rng) or mean_square(layer[0], x, y))
    model.layer = Sequential(Linear(3, 2), *(Dropout(0.5, np.random.default_rng(seed)) for seed in (0, 1)))
    parallel = data_parallel(model, threads=3)
    for _ in range(2):
        parallel(*batch(draw, 6))
    assert len({id(generator) for generator in seen}) == 3
    assert model.layer[2].rng not in seen


def test_a_batch_that_requires_a_gradient_receives_it(draw):
    """As the model by itself: x.grad has a part from each shard; y, which requires none, has none."""
    (x, y), model = batch(draw, 5), Model(mean_square)
    x.requires_grad = True
    data_parallel(Model(lambda layer, x, y: ((layer(x) - y) * (layer(x) - y)).mean()))(x, y).backward()
    error = (x.data @ model.layer.weight.data.T + model.layer.bias.data - y.data).astype(np.float64)
    assert_close(x.grad, 2 * error @ model.layer.weight.data / error.size, FLOAT32)
    assert y.grad is None


@pytest.mark.parametrize("threads", [1, 2, 3, 4])
@pytest.mark.parametrize("n", [1, 2, 3, 7, 8])
def test_the_loss_and_gradients_are_those_of_the_whole_batch(n, threads, draw):
    """The mean over all samples, however they are split: an odd batch, one sample, fewer samples than threads."""
    model = Model(mean_square)
    x, y = batch(draw, n)
    want, to_weight, to_bias = regression(model.layer, x, y)
    loss = data_parallel(model, threads)(x, y)
    cut = (n + 1) // 2
    halves = [
        regression(model.layer, Tensor(x.data[part]), Tensor(y.data[part])) for part in (np.s_[:cut], np.s_[cut:]) if n > 1
    ]
    mistakes = {}
    if n in (3, 7) and threads == 2:
        mistakes = {"each shard weighs the same, whatever its size": np.asarray((halves[0][0] + halves[1][0]) / 2)}
        mistakes["the sum of the shards' means"] = np.asarray(halves[0][0] + halves[1][0])
    assert loss.shape == ()
    assert_close(loss, np.asarray(want), mistakes=mistakes)
    loss.backward()
    assert_close(model.layer.weight.grad, to_weight, name="weight")
    assert_close(model.layer.bias.grad, to_bias, name="bias")


def test_two_threads_unless_told_otherwise(draw):
    """threads is 2 by default: the model is called with two halves of a batch of 8."""
    sizes = []
    x, y = batch(draw, 8)
    data_parallel(Model(lambda layer, x, y: sizes.append((len(x), len(y))) or mean_square(layer, x, y)))(x, y)
    assert sizes == [(4, 4)] * 2


@pytest.mark.parametrize(
    ("n", "threads", "sizes"), [(7, 2, [3, 4]), (2, 2, [1, 1]), (1, 2, [1]), (8, 3, [2, 3, 3]), (2, 4, [1, 1]), (5, 1, [5])]
)
def test_shards_are_neighboring_rows_of_nearly_the_same_size(n, threads, sizes, draw):
    """Each sample is in one shard, beside its own target; sizes differ by one at most."""
    seen = []
    x, y = batch(draw, n)
    model = Model(lambda layer, x, y: seen.append((np.array(x.data), np.array(y.data))) or mean_square(layer, x, y))
    data_parallel(model, threads)(x, y)
    assert sorted(len(part) for part, _ in seen) == sizes
    seen.sort(key=lambda shard: int(np.flatnonzero((x.data == shard[0][0]).all(1))[0]))
    assert_close(np.concatenate([part for part, _ in seen]), x.data)
    assert_close(np.concatenate([part for _, part in seen]), y.data)


def test_batches_may_be_arrays(draw):
    """x and y are Tensors or arrays, such as ids."""
    model = Model(mean_square)
    x, y = batch(draw, 5)
    loss = data_parallel(model)(x.data, y.data)
    assert_close(loss, np.asarray(regression(model.layer, x, y)[0]))


def test_a_gradient_of_the_loss_is_passed_on(draw):
    """backward(grad) scales, and so do operations behind the loss."""
    model = Model(mean_square)
    x, y = batch(draw, 5)
    _, to_weight, _ = regression(model.layer, x, y)
    parallel = data_parallel(model)
    parallel(x, y).backward(np.asarray(0.25))
    assert_close(model.layer.weight.grad, 0.25 * to_weight, mistakes={"the gradient of the loss is taken for 1": to_weight})
    model.zero_grad()
    (3 * parallel(x, y) + 1).backward()
    assert_close(model.layer.weight.grad, 3 * to_weight)


def test_gradients_add_up(draw):
    """grad is added to, as without shards; two graphs may be there at once."""
    model = Model(mean_square)
    parallel, first, second = data_parallel(model), batch(draw, 5), batch(draw, 6)
    losses = [parallel(*first), parallel(*second)]
    for loss in losses:
        loss.backward()
    want = regression(model.layer, *first)[1] + regression(model.layer, *second)[1]
    assert_close(model.layer.weight.grad, want, mistakes={"overwritten, not added": regression(model.layer, *second)[1]})
    parallel.zero_grad()
    assert model.layer.weight.grad is None
    losses = [parallel(*first), parallel(*second)]
    (losses[0] + losses[1]).backward()
    assert_close(model.layer.weight.grad, want)


def test_a_second_backward_is_an_error(draw):
    """The graph is freed by backward, as in kata 07: a RuntimeError that contains "freed"."""
    loss = data_parallel(Model(mean_square))(*batch(draw, 4))
    loss.backward()
    with rejects(RuntimeError, "freed"):
        loss.backward()


def test_the_gradient_is_the_parameters_own(draw):
    """grad has the shape and dtype of data, may be written to, and shares no memory with the next one's."""
    model = Model(mean_square)
    parallel, grads = data_parallel(model), []
    for _ in range(2):
        model.zero_grad()
        parallel(*batch(draw, 4)).backward()
        grads += [parameter.grad for parameter in model.parameters()]
    for grad in grads:
        assert_dtype(grad, np.float32)
        grad += 1
    assert not any(np.may_share_memory(a, b) for i, a in enumerate(grads) for b in grads[:i])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_dtype_stays(dtype, draw):
    """The loss has the dtype of the model's, and gradients that of data."""
    model = Model(mean_square)
    for parameter in model.parameters():
        parameter.data = parameter.data.astype(dtype)
    loss = data_parallel(model)(*batch(draw, 5, dtype))
    loss.backward()
    assert_dtype(loss, dtype)
    assert_dtype(model.layer.weight.grad, dtype)


# What counts


@pytest.mark.parametrize("ignored", [[0], [0, 1, 2], [4, 5, 6], [0, 1, 2, 3, 4, 5], [6]])
def test_shards_weigh_what_counts_in_them(ignored, draw):
    """With ignored targets the mean is over those that count. A shard in which nothing counts is left out, without an error."""
    network, x = Linear(3, 4, rng=np.random.default_rng(0)), draw.normal(7, 3)
    target = draw.integers(4, 7).copy()
    target[ignored] = -100
    network.weight.data, network.bias.data = network.weight.data.astype(np.float64), network.bias.data.astype(np.float64)
    weight, bias = network.weight.data.copy(), network.bias.data

    def value(weight):
        return np.asarray(oracles.losses.cross_entropy(x @ weight.T + bias, target, ignored=-100))

    loss = data_parallel(Objective(network, CrossEntropyLoss()))(Tensor(x), Tensor(target))
    assert_close(loss, value(weight))
    loss.backward(np.asarray(2.0))
    assert_gradient(network.weight.grad, value, weight, np.asarray(2.0))


def test_targets_of_sequences(draw):
    """Targets (batch, time) that are ignored, such as padding, don't count: a shard's weight is not its number of rows."""
    network, x, target = Linear(3, 4, rng=np.random.default_rng(0)), draw.normal(4, 5, 3), draw.integers(4, 4, 5).copy()
    target[0, 1:] = target[1, 2:] = -100
    logits = x @ network.weight.data.astype(np.float64).T + network.bias.data
    parallel = data_parallel(Objective(network, CrossEntropyLoss()))
    loss = parallel(Tensor(x), Tensor(target))
    want = oracles.losses.cross_entropy(logits, target, ignored=-100)
    rows = [oracles.losses.cross_entropy(logits[part], target[part], ignored=-100) for part in (np.s_[:2], np.s_[2:])]
    assert_close(loss, np.asarray(want), FLOAT32, mistakes={"weighted by rows, not by what counts": np.asarray(sum(rows) / 2)})
    assert parallel.counted(Tensor(x), Tensor(target)) == 13


def test_a_model_that_does_not_say_what_counts(draw):
    """Without `counted` samples count, as in kata 08."""
    parallel = data_parallel(Model(mean_square))
    x, y = batch(draw, 7)
    count = parallel.counted(x, y) if hasattr(parallel, "counted") else len(x)
    assert count == 7


@pytest.mark.parametrize("n", [0, 4])
def test_a_batch_in_which_nothing_counts(n, draw):
    """It raises what the model raises: CrossEntropyLoss a ValueError. No gradient comes of it."""
    network = Linear(3, 4)
    with rejects(ValueError, "no target counts"):
        data_parallel(Objective(network, CrossEntropyLoss()))(Tensor(np.ones((n, 3))), Tensor(np.full(n, -100)))
    assert network.weight.grad is None


# On two threads


def test_both_shards_run_forward_at_the_same_time(draw):
    """Each shard waits, in the model, until the other is there, too. Sequential shards would wait in vain."""
    together, threads = threading.Barrier(2), set()

    def meeting(layer, x, y):
        together.wait(SECONDS)
        threads.add(threading.get_ident())
        return mean_square(layer, x, y)

    parallel = data_parallel(Model(meeting))
    for _ in range(3):
        parallel(*batch(draw, 4)).backward()
    assert len(threads) >= 2


def test_both_shards_run_backward_at_the_same_time(draw, monkeypatch):
    """The rules of both shards run at the same time, too."""
    together = threading.Barrier(2)

    def to_a(g, y, a):
        together.wait(SECONDS)
        return g

    monkeypatch.setitem(autograd._RULES, "meeting", None)  # and so forgotten afterwards
    defvjp("meeting", to_a)
    model = Model(lambda layer, x, y: Tensor._result("meeting", (loss := mean_square(layer, x, y)).data + 0, loss))
    x, y = batch(draw, 4)
    data_parallel(model)(x, y).backward()
    assert_close(model.layer.weight.grad, regression(model.layer, x, y)[1])


def blas_threads() -> list[int]:
    return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]


@pytest.mark.parametrize("limit", [1, 2])
def test_each_shard_has_one_blas_thread_and_the_limit_is_restored(limit, draw, monkeypatch):
    """In forward and in backward each shard has one BLAS thread. Afterwards the limit is as before, whatever it was."""
    seen = []

    def to_a(g, y, a):
        seen.extend(blas_threads())
        return g

    monkeypatch.setitem(autograd._RULES, "looking", None)
    defvjp("looking", to_a)

    def looking(layer, x, y):
        seen.extend(blas_threads())
        loss = mean_square(layer, x, y)
        return Tensor._result("looking", loss.data + 0, loss)

    with threadpool_limits(limit):
        before = blas_threads()
        loss = data_parallel(Model(looking))(*batch(draw, 4))
        assert blas_threads() == before, "the limit is not restored after forward"
        loss.backward()
        assert blas_threads() == before, "the limit is not restored after backward"
    assert set(seen) <= {1}


@pytest.mark.parametrize("recorded", [True, False])
def test_no_grad_of_the_caller_holds_in_the_shards(recorded, draw):
    """Under the caller's no_grad nothing is recorded in a shard, and the loss requires no gradient."""
    inside = []

    def looking(layer, x, y):
        loss = mean_square(layer, x, y)
        inside.append(loss.requires_grad)
        return loss

    parallel = data_parallel(Model(looking))
    if recorded:
        loss = parallel(*batch(draw, 4))
    else:
        with no_grad():
            loss = parallel(*batch(draw, 4))
    assert loss.requires_grad is recorded
    assert inside == [recorded] * 2, "the threads don't run in a copy of the caller's context"


def test_context_variables_of_the_caller_are_seen(draw):
    """Any ContextVar has the caller's value in a shard; what a shard sets stays there."""
    variable, seen = contextvars.ContextVar("variable", default=0), []

    def looking(layer, x, y):
        seen.append(variable.get())
        variable.set(9)
        return mean_square(layer, x, y)

    parallel = data_parallel(Model(looking))
    for value in (3, 4):
        variable.set(value)
        parallel(*batch(draw, 4))
    assert seen == [3, 3, 4, 4]
    assert variable.get() == 4


def test_threads_do_not_pile_up(draw):
    """Twenty steps leave no more threads than two do."""
    parallel = data_parallel(Model(mean_square))
    counts = []
    for _ in range(20):
        parallel(*batch(draw, 4)).backward()
        counts.append(threading.active_count())
    assert counts[-1] <= counts[1]


def test_every_run_gives_the_same_numbers(draw):
    """Gradients are added in a fixed order: twenty runs give the same bits, however fast each thread is."""
    x, y, found = Tensor(draw.normal(33, 3, dtype=np.float32)), Tensor(draw.normal(33, 2, dtype=np.float32)), set()
    delays, model = threading.local(), Model(mean_square)
    parallel = data_parallel(model, 3)
    del delays
    for _ in range(20):
        model.zero_grad()
        loss = parallel(x, y)
        loss.backward()
        found.add((loss.data.tobytes(), model.layer.weight.grad.tobytes()))
    assert len(found) == 1


def test_the_order_of_the_sum_does_not_depend_on_who_is_first(draw, monkeypatch):
    """Whichever shard ends first: the sum of the gradients has the same bits."""
    x, y, found = Tensor(draw.normal(33, 3, dtype=np.float32)), Tensor(draw.normal(33, 2, dtype=np.float32)), set()
    for late in (0, 1, 2):
        arrived = threading.Event()

        def waiting(layer, x, y, late=late, arrived=arrived, first=x):
            number = int(np.flatnonzero((first.data == x.data[0]).all(1))[0]) // 11
            if number == late:
                arrived.wait(0.05)
            return mean_square(layer, x, y)

        model = Model(waiting)
        loss = data_parallel(model, 3)(x, y)
        loss.backward()
        found.add((loss.data.tobytes(), model.layer.weight.grad.tobytes()))
    assert len(found) == 1


# Replicas


def networks(rng=0) -> Module:
    generator = np.random.default_rng(rng)
    return Sequential(Linear(3, 4, rng=generator), Tanh(), Dropout(0.5, generator), Linear(4, 2, rng=generator))


def test_names_are_the_models(draw):
    """parameters(), named_parameters(), named_buffers(), state_dict(): the model's own objects under its names."""
    objective = Objective(Sequential(BatchNorm2d(3), Flatten(), Linear(12, 2)), CrossEntropyLoss())
    parallel = data_parallel(objective)
    parallel(Tensor(draw.normal(4, 3, 2, 2)), draw.integers(2, 4)).backward()
    assert [name for name, _ in parallel.named_parameters()] == [name for name, _ in objective.named_parameters()]
    assert all(a is b for a, b in zip(parallel.parameters(), objective.parameters(), strict=True))
    assert [name for name, _ in parallel.named_buffers()] == [name for name, _ in objective.named_buffers()]
    assert_same(parallel.state_dict(), objective.state_dict())
    state = {name: 0 * array for name, array in objective.state_dict().items()}
    parallel.load_state_dict(state)
    assert_same(objective.state_dict(), state)


def test_the_mode_is_the_models(draw):
    """train() and eval() of either reach the model and all shards; each module's own mode, too, such as of a frozen layer."""
    model, x, y = Objective(networks(), MSELoss()), Tensor(np.ones((64, 3))), Tensor(np.zeros((64, 2)))
    parallel = data_parallel(model)
    parallel.eval()
    assert not any(module.training for module in model.modules())
    same = {parallel(x, y).item() for _ in range(3)}
    assert len(same) == 1, "dropout still drops: the replicas are in train mode"
    parallel.train()
    assert all(module.training for module in model.modules())
    assert len({parallel(x, y).item() for _ in range(3)}) == 3, "dropout is off: the replicas are in eval mode"
    model.network.layers[2].training = False
    assert {parallel(x, y).item() for _ in range(3)} == same, "the mode of a single module is not seen"
    model.train()
    assert len({parallel(x, y).item() for _ in range(3)}) == 3


def test_later_changes_of_the_model_are_seen(draw):
    """Data that is written to or rebound, a frozen parameter, a layer in another's place: the next call uses them."""
    model = Model(mean_square)
    parallel, (x, y) = data_parallel(model), batch(draw, 6)
    parallel(x, y).backward()
    model.layer.weight.data += 1
    assert_close(parallel(x, y), np.asarray(regression(model.layer, x, y)[0]), name="written in place")
    model.layer.weight.data = 2 * model.layer.weight.data
    assert_close(parallel(x, y), np.asarray(regression(model.layer, x, y)[0]), name="rebound")
    model.layer = Linear(3, 2)
    loss = parallel(x, y)
    assert_close(loss, np.asarray(regression(model.layer, x, y)[0]), name="another layer")
    loss.backward()
    assert_close(model.layer.weight.grad, regression(model.layer, x, y)[1], name="another layer")
    model.layer.weight = Parameter(np.ones((2, 3)))
    parallel(x, y).backward()
    assert_close(model.layer.weight.grad, regression(model.layer, x, y)[1], FLOAT32, name="another Parameter")


def test_data_is_shared(draw):
    """Replicas hold no copies of the parameters: two shards take no memory for them."""
    held = []
    model = Model(lambda layer, x, y: held.append(layer.weight.data) or mean_square(layer, x, y))
    data_parallel(model)(*batch(draw, 4))
    assert all(np.shares_memory(array, model.layer.weight.data) for array in held)


def test_frozen_parameters_get_no_gradient(draw):
    """requires_grad=False, set at any time, leaves grad None, and the others' right; set back, they get one."""
    model = Model(mean_square)
    parallel, (x, y) = data_parallel(model), batch(draw, 6)
    for frozen in (False, True, False):
        model.layer.weight.requires_grad = not frozen
        model.zero_grad()
        parallel(x, y).backward()
        assert (model.layer.weight.grad is None) is frozen
        assert_close(model.layer.bias.grad, regression(model.layer, x, y)[2])


def test_a_parameter_that_is_not_used_gets_no_gradient(draw):
    """grad stays None where the loss does not depend on a parameter: an optimizer leaves it out, as without shards."""
    model = Model(mean_square, Linear(3, 2))
    model.spare = Linear(3, 2)
    x, y = batch(draw, 6)
    data_parallel(model)(x, y).backward()
    assert model.spare.weight.grad is None
    assert_close(model.layer.weight.grad, regression(model.layer, x, y)[1])


def test_a_layer_that_only_one_shard_uses(draw):
    """A parameter that one shard's loss depends on gets that shard's gradient, by its weight."""
    x, y = Tensor(np.arange(12, dtype=np.float32).reshape(4, 3)), Tensor(np.zeros((4, 2), np.float32))

    def one_way(layer, x, y):
        return mean_square(layer, x, y) if x.data[0, 0] == 0 else (Tensor(x) * 0).sum()

    model = Model(one_way)
    data_parallel(model)(x, y).backward()
    want = regression(model.layer, Tensor(x.data[:2]), Tensor(y.data[:2]))[1] / 2
    assert_close(model.layer.weight.grad, want)


def test_tied_weights(draw):
    """A Parameter that is used twice is one: one name, one grad, the sum of both uses and both shards."""
    rng, ids = np.random.default_rng(0), draw.integers(11, 4, 6)
    gpt = GPT(GPTConfig(vocab_size=11, context=5, n_layer=1, n_head=2, d_model=8), rng)
    model = Objective(gpt, CrossEntropyLoss())
    loss = model(ids[:, :-1], ids[:, 1:])
    loss.backward()
    wants = [parameter.grad for parameter in model.parameters()]
    model.zero_grad()
    parallel = data_parallel(model)
    both = parallel(ids[:, :-1], ids[:, 1:])
    assert_close(both, loss.data)
    both.backward()
    for parameter, want in zip(parallel.parameters(), wants, strict=True):
        assert_close(parameter.grad, want)
    assert gpt.lm_head.weight is gpt.transformer.wte.weight


def test_replicas_do_not_write_to_each_other(draw):
    """A module that keeps something as an attribute in forward finds its own there: its shard's."""
    together = threading.Barrier(2)

    def keeping(layer, x, y):
        layer.last = float(x.data[0, 0])
        together.wait(SECONDS)
        assert layer.last == float(x.data[0, 0]), "the other shard's attribute"
        return mean_square(layer, x, y)

    data_parallel(Model(keeping))(*batch(draw, 4))


def test_equal_seeds_give_equal_runs(draw):
    """With dropout, two models with equal generators give the same losses and gradients, step after step."""
    x, y, runs = Tensor(draw.normal(8, 3)), Tensor(draw.normal(8, 2)), []
    for _ in range(2):
        model = Objective(networks(7), MSELoss())
        parallel, losses = data_parallel(model), []
        for _ in range(4):
            loss = parallel(x, y)
            loss.backward()
            losses.append(loss.item())
        runs.append((losses, [parameter.grad.tobytes() for parameter in model.parameters()]))
    assert runs[0] == runs[1]
    assert len(set(runs[0][0])) == 4, "each step draws the same masks"


def test_shards_drop_different_units():
    """Each replica has a generator of its own: the masks of two shards differ, and those of two steps."""
    masks = []
    model = Model(
        lambda layer, x, y: masks.append(layer(x).data.tobytes()) or Tensor(np.float32(0)),
        Dropout(0.5, np.random.default_rng(0)),
    )
    parallel = data_parallel(model)
    for _ in range(2):
        parallel(Tensor(np.ones((64, 16), np.float32)), Tensor(np.ones((64, 16))))
    assert len(set(masks)) == 4, "shards, or steps, draw from the same generator state"


def test_layers_that_share_a_generator_still_do():
    """Two dropouts with the same generator don't drop the same units in a shard either."""
    rng, equal = np.random.default_rng(0), []
    layers = Sequential(Dropout(0.5, rng), Dropout(0.5, rng))

    def looking(layer, x, y):
        first, second = (drop(x).data for drop in layer.layers)
        equal.append((first == second).all())
        return Tensor(np.float32(0))

    data_parallel(Model(looking, layers))(Tensor(np.ones((64, 16), np.float32)), Tensor(np.ones((64, 16))))
    assert equal == [False, False]


# BatchNorm


def normed(draw):
    """A BatchNorm2d of three channels and its images: the shards differ a lot."""
    x = draw.normal(6, 3, 2, 2, dtype=np.float32) * np.array([1, 1, 1, 4, 4, 4], np.float32)[:, None, None, None]
    model = Model(lambda norm, x, y: (norm(x) * Tensor(y)).mean(), BatchNorm2d(3, momentum=0.25))
    return model, x, draw.normal(6, 3, 2, 2, dtype=np.float32)


def test_each_shard_is_normalized_by_its_own_statistics(draw):
    """BatchNorm sees its shard alone: the loss is the mean of both halves, each normalized by itself."""
    model, x, y = normed(draw)
    ones, zeros = np.ones(3), np.zeros(3)
    halves = [(oracles.spatial.batch_norm(x[part], ones, zeros) * y[part]).mean() for part in (np.s_[:3], np.s_[3:])]
    whole = (oracles.spatial.batch_norm(x, ones, zeros) * y).mean()
    loss = data_parallel(model)(Tensor(x), Tensor(y))
    assert abs(loss.item() - np.mean(halves)) < 1e-6, "normalized by the whole batch" if abs(loss.item() - whole) < 1e-6 else ""


def test_running_statistics_become_the_mean_of_the_shards(draw):
    """After a step in training, running_mean and running_var of the model are the means of what the shards made of them."""
    model, x, y = normed(draw)
    parallel, mean, var = data_parallel(model), np.zeros(3), np.ones(3)
    for _ in range(2):
        parallel(Tensor(x), Tensor(y)).backward()
        halves = [x[:3], x[3:]]
        mean = 0.75 * mean + 0.25 * np.mean([half.mean((0, 2, 3)) for half in halves], 0)
        var = 0.75 * var + 0.25 * np.mean([half.var((0, 2, 3), ddof=1) for half in halves], 0)
        twice = 2 * mean
        assert_close(model.layer.running_mean, mean, FLOAT32, mistakes={"the sum, not the mean": twice}, name="running_mean")
        assert_close(model.layer.running_var, var, FLOAT32, name="running_var")
        x = x + 1


def test_buffers_stay_the_same_arrays_and_in_evaluation_the_same_bits(draw):
    """Buffers are written in place. In eval mode, and where a layer leaves them alone, their bits don't change."""
    model, x, y = normed(draw)
    parallel = data_parallel(model)
    held = model.layer.running_mean
    parallel(Tensor(x), Tensor(y))
    assert model.layer.running_mean is held
    model.register_buffer("untouched", np.array([0.1, 0.2], np.float32))
    model.eval()
    before = model.state_dict()
    for _ in range(3):
        parallel(Tensor(x), Tensor(y))
    assert_same(model.state_dict(), before)


def test_loaded_buffers_are_seen(draw):
    """load_state_dict between steps: the shards start from the loaded statistics, and evaluate with them."""
    model, x, y = normed(draw)
    parallel = data_parallel(model)
    parallel(Tensor(x), Tensor(y))
    mean, var = np.array([1.0, 2, 3], np.float32), np.array([4.0, 5, 6], np.float32)
    model.load_state_dict(model.state_dict() | {"layer.running_mean": mean, "layer.running_var": var})
    model.eval()
    want = ((x - mean[:, None, None]) / np.sqrt(var + 1e-5)[:, None, None] * y).mean()
    assert abs(parallel(Tensor(x), Tensor(y)).item() - want) < 1e-5


# Errors


class Refused(Exception):
    pass


def failing(where):
    """A model that raises in the shards whose first value is among `where`."""

    def layer_that_fails(layer, x, y):
        loss = mean_square(layer, x, y)
        if float(x.data[0, 0]) in where:
            raise Refused(f"shard {x.data[0, 0]:.0f}")
        return loss

    return Model(layer_that_fails)


@pytest.mark.parametrize("where", [[0], [6], [0, 6]], ids=["first", "second", "both"])
def test_an_exception_in_forward_reaches_the_caller(where):
    """It is raised with its traceback into the layer; no grad has changed, the limit is restored, and the next step works."""
    model, x = failing(where), Tensor(np.arange(12, dtype=np.float32).reshape(4, 3))
    y = Tensor(np.zeros((4, 2), np.float32))
    parallel = data_parallel(model)
    model.layer.weight.grad = np.full((2, 3), 7, np.float32)
    with threadpool_limits(2):
        before = blas_threads()
        with pytest.raises(Refused) as caught:
            parallel(x, y)
        assert blas_threads() == before, "the limit of BLAS threads is not restored"
    names = [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
    assert "layer_that_fails" in names, f"the traceback ends before the layer: {names}"
    assert_close(model.layer.weight.grad, np.full((2, 3), 7, np.float32))
    assert model.layer.bias.grad is None
    model.zero_grad()
    other = Tensor(x.data + 1)
    parallel(other, y).backward()
    assert_close(model.layer.weight.grad, regression(model.layer, other, y)[1])


@pytest.mark.parametrize("where", [0, 1])
def test_an_exception_in_backward_reaches_the_caller(where, draw, monkeypatch):
    """In one shard's rule: it is raised with its traceback, the limit is restored, and no parameter has a gradient."""
    monkeypatch.setitem(autograd._RULES, "failing", None)

    def rule_that_fails(g, y, a, number):
        if number == where:
            raise Refused("in a rule")
        return g

    defvjp("failing", rule_that_fails)
    x, y = Tensor(np.arange(12, dtype=np.float32).reshape(4, 3)), Tensor(np.zeros((4, 2), np.float32))

    def model_of(layer, x, y):
        z = Tensor._result("failing", layer(x).data + 0, layer(x), number=int(x.data[0, 0] > 0))
        return (z * z).mean()

    model = Model(model_of)
    loss = data_parallel(model)(x, y)
    with threadpool_limits(2):
        before = blas_threads()
        with pytest.raises(Refused) as caught:
            loss.backward()
        assert blas_threads() == before, "the limit of BLAS threads is not restored"
    assert "rule_that_fails" in [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
    assert [parameter.grad for parameter in model.parameters()] == [None, None]


def test_the_other_shard_has_ended_when_an_exception_arrives():
    """No thread computes on behind the caller's back."""
    running = []

    def slow(layer, x, y):
        if x.data[0, 0] == 0:
            raise Refused
        threading.Event().wait(0.1)
        running.append("ended")
        return mean_square(layer, x, y)

    with pytest.raises(Refused):
        data_parallel(Model(slow))(Tensor(np.arange(12.0).reshape(4, 3)), Tensor(np.zeros((4, 2))))
    assert running == ["ended"]


def test_buffers_stay_where_a_shard_fails(draw):
    """After an exception in a shard the running statistics are as before."""
    model, x, y = normed(draw)
    function = model.function

    def failing(norm, x, y):
        loss = function(norm, x, y)
        if x.data[0, 0, 0, 0] == first:
            raise Refused
        return loss

    first, model.function = x[3, 0, 0, 0], failing
    before = model.state_dict()
    with pytest.raises(Refused):
        data_parallel(model)(Tensor(x), Tensor(y))
    assert_same(model.state_dict(), before)


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_exits_reach_the_caller_too(error):
    """A KeyboardInterrupt or SystemExit in a shard is not lost."""

    def leaving(layer, x, y):
        raise error

    with pytest.raises(error):
        data_parallel(Model(leaving))(Tensor(np.ones((4, 3))), Tensor(np.ones((4, 2))))


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="no signal wakes a thread that waits")
@pytest.mark.parametrize("where", ["forward", "backward"])
def test_an_interrupt_of_the_caller_waits_for_the_shards(where, monkeypatch):
    """A KeyboardInterrupt that arrives while the shards run is raised when all have ended, with the BLAS limit as before."""
    ended, caller = [], threading.get_ident()
    monkeypatch.setitem(autograd._RULES, "interrupting", None)

    def interrupt(now: str, first: bool) -> None:
        if now == where:
            threading.Event().wait(0.1)  # until the caller waits
            if first:
                signal.pthread_kill(caller, signal.SIGINT)
            threading.Event().wait(0.1)
            ended.append(first)

    def rule(g, y, a, first):
        interrupt("backward", first)
        return g

    defvjp("interrupting", rule)

    def model_of(layer, x, y):
        first = bool(x.data[0, 0] == 0)
        interrupt("forward", first)
        loss = mean_square(layer, x, y)
        return Tensor._result("interrupting", loss.data + 0, loss, first=first)

    model, before = Model(model_of), signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with threadpool_limits(2):
            limit = blas_threads()
            with pytest.raises(KeyboardInterrupt):
                data_parallel(model)(Tensor(np.arange(12.0).reshape(4, 3)), Tensor(np.zeros((4, 2)))).backward()
            assert sorted(ended) == [False, True], f"{2 - len(ended)} of 2 shards compute on behind the caller's back"
            assert blas_threads() == limit, "the limit of BLAS threads is not restored"
    finally:
        signal.signal(signal.SIGINT, before)
    assert [parameter.grad for parameter in model.parameters()] == [None, None]


def test_threads_may_be_numpys(draw):
    """As of an array's shape: np.uint8(2) are two threads, however long the batch."""
    x, y = batch(draw, 300)
    losses = [data_parallel(Model(mean_square), threads)(x, y) for threads in (2, np.uint8(2), np.int64(2))]
    assert_close(np.stack([loss.data for loss in losses]), np.full(3, losses[0].data))


@pytest.mark.parametrize("threads", [0, -1])
def test_no_threads_are_named(threads):
    """`threads` below 1 raises a ValueError that contains it, when data_parallel is called."""
    with rejects(ValueError, str(threads)):
        data_parallel(Model(mean_square), threads)


# In a Trainer


def training(path, epochs: int):
    """A network with dropout and BatchNorm, whose data shares its generator, trained on two threads."""
    rng = np.random.default_rng(3)
    network = Sequential(BatchNorm2d(1), Flatten(), Linear(16, 8, rng=rng), ReLU(), Dropout(0.3, rng), Linear(8, 3, rng=rng))
    x = np.random.default_rng(0).standard_normal((26, 1, 4, 4)).astype(np.float32)
    trainer = Trainer(
        network,
        None,
        AdamW(network.parameters(), lr=0.01),
        objective=data_parallel(Objective(network, CrossEntropyLoss())),
        schedule=cosine_schedule(16),
        checkpoint=path,
    )
    history = trainer.fit(Batches(x, np.arange(26) % 3, 8, rng), epochs=epochs)
    return network.state_dict(), [epoch["loss"] for epoch in history]


def test_training_resumes_bit_for_bit(tmp_path):
    """A checkpoint of kata 08 finds the replicas' generators: two epochs and two more are the same as four."""
    want = training(None, 4)
    training(tmp_path / "run", 2)
    got = training(tmp_path / "run", 4)
    assert_same(got, want)


def test_a_trainer_learns_with_two_shards():
    """Trainer's objective may be data_parallel's module; names in the checkpoint are those without it, and it learns."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((96, 3)).astype(np.float32)
    network = Sequential(Linear(3, 16, rng=rng), Tanh(), Linear(16, 2, rng=rng))
    objective = data_parallel(Objective(network, CrossEntropyLoss()))
    trainer = Trainer(network, None, SGD(network.parameters(), lr=0.5), objective=objective, metric=accuracy)
    labels = (x.sum(1) > 0).astype(np.int64)
    history = trainer.fit(Batches(x, labels, 25, rng), epochs=15, validation=Batches(x, labels, 50))
    assert history[-1]["metric"] > 0.9
    assert (
        [*trainer.whole.state_dict()] == [f"network.{name}" for name in network.state_dict()]
        if hasattr(trainer, "whole")
        else True
    )


def test_nothing_is_kept_after_a_step(draw):
    """After backward no gradient, graph or activation of a shard is alive."""
    model = Model(mean_square, Linear(300, 300))
    parallel, x, y = data_parallel(model), Tensor(np.ones((400, 300), np.float32)), Tensor(np.ones((400, 300), np.float32))

    def step():
        parallel(x, y).backward()
        model.zero_grad()

    step()
    gc.collect()
    _, retained = measure_bytes(step)
    assert retained < 100_000, f"{retained:,} bytes are alive after a step: the replicas' gradients are {2 * 360_000:,}"
