import math
import time
from itertools import count

import numpy as np
import pytest
from katas.activations import ReLU, Tanh
from katas.autograd import no_grad
from katas.layers import Dropout, Linear, Module, Parameter, Sequential
from katas.losses import BCEWithLogitsLoss, CrossEntropyLoss, MSELoss
from katas.optimizers import SGD, Adam, AdamW
from katas.training import (
    Batches,
    Objective,
    Trainer,
    load_checkpoint,
    one_cycle_schedule,
    save_checkpoint,
    train_epoch,
    validate,
)

from specs.check import EXACT, FLOAT32, assert_close, global_state, rejects
from specs.oracles.training import assert_same

EPOCHS, STEPS = 6, 4  # steps an epoch: 22 samples in sixes
X, LABELS = np.random.RandomState(3).standard_normal((22, 5)).astype(np.float32), np.random.RandomState(4).randint(0, 3, 22)


class Killed(BaseException):
    """Ends a process in the middle of an epoch."""


class Dying(Batches):
    """Batches that count the batches they give, and raise an error after `left` of them."""

    given, left, error = 0, math.inf, Killed

    def __iter__(self):
        for pair in super().__iter__():
            if self.given == self.left:
                raise self.error
            self.given += 1
            yield pair


class Scale(Module):
    """Divides by a running mean of sizes: a buffer, which is state although it isn't trained."""

    def __init__(self):
        self.register_buffer("size", np.ones((), np.float32))

    def forward(self, x):
        if self.training:
            self.size[...] = 0.9 * self.size + 0.1 * np.abs(x.data).mean()
        return x / self.size


OPTIMIZERS = {
    "Adam": lambda network: Adam(network.parameters(), lr=0.05),
    "AdamW": lambda network: AdamW(network.parameters(), lr=0.05),
    "momentum": lambda network: SGD(network.parameters(), lr=0.1, momentum=0.9, nesterov=True),
    "groups": lambda network: SGD(
        [{"params": network[0].parameters(), "lr": 0.3}, {"params": network[4].parameters()}], lr=0.1, momentum=0.9
    ),
}


class Run:
    """A training with everything that has state, built the same way each time, as by a new process."""

    def __init__(self, path=None, optimizer="Adam", rngs=None, layers=(), **options):
        shuffle, mask = rngs or (np.random.default_rng(5), np.random.default_rng(6))
        first, last = (Linear(*sizes, rng=np.random.default_rng(7)) for sizes in ((5, 8), (8, 3)))
        self.network = Sequential(first, Scale(), ReLU(), Dropout(0.3, mask), last, *layers)
        self.optimizer = OPTIMIZERS[optimizer](self.network)
        self.data, self.validation = Dying(X, LABELS, 6, shuffle), Batches(X[:10], LABELS[:10], 4)
        options = {"schedule": one_cycle_schedule(EPOCHS * STEPS), "patience": EPOCHS, "checkpoint": path} | options
        self.trainer = Trainer(self.network, CrossEntropyLoss(), self.optimizer, **options)

    def fit(self, epochs=EPOCHS) -> list[dict]:
        self.history = self.trainer.fit(self.data, epochs, self.validation)
        return self.history

    def die(self, batches: int, epochs=EPOCHS, error=Killed) -> None:
        """Trains until that many batches were given, and no more."""
        self.data.left, self.data.error = batches, error
        with rejects(error):
            self.fit(epochs)

    def state(self) -> dict:
        """Everything that training changed, except the seconds."""
        history = [{key: value for key, value in record.items() if key != "seconds"} for record in self.history]
        return {
            "history": history,
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "rngs": [rng.bit_generator.state for rng in (self.network[3].rng, self.data.rng)],
        }


def uninterrupted(epochs=EPOCHS, **options) -> dict:
    """The state after training without a checkpoint."""
    run = Run(**options)
    run.fit(epochs)
    return run.state()


def test_it_trains_for_epochs(draw):
    """fit(data, epochs) calls train_epoch(Objective(network, criterion), optimizer, data) `epochs` times: the same bits."""
    trained, by_hand = (Run(schedule=None, patience=None) for _ in range(2))
    trained.fit(3)
    model = Objective(by_hand.network, CrossEntropyLoss())
    losses = [train_epoch(model, by_hand.optimizer, by_hand.data) for _ in range(3)]
    assert_same(trained.network.state_dict(), by_hand.network.state_dict())
    assert_close([record["loss"] for record in trained.history], losses, EXACT)


def test_its_options_are_those_of_train_epoch():
    """The Trainer passes on clip_norm and accumulate, and the schedule's steps continue through the epochs."""
    options = {"schedule": lambda step: 1 / (1 + step), "clip_norm": 0.1, "accumulate": 3}
    trained, by_hand = (Run(**(options | {"patience": None})) for _ in range(2))
    trained.fit(3)
    model = Objective(by_hand.network, CrossEntropyLoss())
    for epoch in range(3):
        train_epoch(model, by_hand.optimizer, by_hand.data, steps=count(2 * epoch), **options)
    assert_same(trained.network.state_dict(), by_hand.network.state_dict())


def test_the_history_says_what_happened():
    """The history is a list of dicts: epoch from 1, the mean loss, the validation metric, the first group's lr at the epoch's
    last step, and the seconds it took.
    """
    run = Run(schedule=lambda step: 0.5**step, patience=None, optimizer="groups")
    before = time.perf_counter()
    history = run.fit(2)
    passed = time.perf_counter() - before
    assert [[*record] for record in history] == [["epoch", "loss", "metric", "lr", "seconds"]] * 2
    assert [record["epoch"] for record in history] == [1, 2]
    assert_close([record["lr"] for record in history], [0.3 * 0.5**3, 0.3 * 0.5**7])
    assert history[-1]["metric"] == validate(run.network, run.validation)
    assert all(record["seconds"] > 0 for record in history)
    assert sum(record["seconds"] for record in history) <= passed


def test_without_validation_there_is_no_metric():
    """Without validation data, "metric" is None in the history."""
    run = Run(patience=None)
    assert [record["metric"] for record in run.trainer.fit(run.data, 2)] == [None, None]


def test_another_metric_is_taken():
    """The Trainer's metric may be any metric that validate takes."""
    run = Run(metric=CrossEntropyLoss(), patience=None)
    assert run.fit(1)[0]["metric"] == validate(run.network, run.validation, CrossEntropyLoss())


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("batches", [1, STEPS + 2, 3 * STEPS, 5 * STEPS + 3])
def test_training_resumes_bit_for_bit(batches, optimizer, tmp_path):
    """Killed in any epoch and started again with the same checkpoint, training ends with the same parameters, buffers,
    optimizer state, generators and history as an uninterrupted run, to the last bit.
    """
    path = tmp_path / "run.safetensors"
    Run(path, optimizer).die(batches)
    again = Run(path, optimizer)
    again.fit()
    assert_same(again.state(), uninterrupted(optimizer=optimizer))
    lost = batches % STEPS
    assert again.data.given == EPOCHS * STEPS - (batches - lost), "epochs that were finished are computed again"


def test_training_resumes_again_and_again(tmp_path):
    """Training that is killed in each epoch, by an exception or Ctrl-C, ends with the same bits."""
    for epoch in range(EPOCHS):
        Run(tmp_path / "run").die(STEPS + 1 if epoch else 2, error=(Killed, KeyboardInterrupt)[epoch % 2])
    again = Run(tmp_path / "run")
    again.fit()
    assert_same(again.state(), uninterrupted())


def test_the_checkpoint_changes_nothing(tmp_path):
    """Training gives the same bits with and without a checkpoint. It uses neither NumPy's global generator nor other files."""
    before, run = global_state(), Run(tmp_path / "run")
    run.fit()
    assert_same(run.state(), uninterrupted())
    assert global_state() == before
    assert [*tmp_path.iterdir()] == [tmp_path / "run"]


def test_without_a_path_nothing_is_written(tmp_path, monkeypatch):
    """With checkpoint=None, no file is written."""
    monkeypatch.chdir(tmp_path)
    Run().fit(1)
    assert not [*tmp_path.iterdir()]


def test_a_finished_training_returns_at_once(tmp_path):
    """If the checkpoint has `epochs` epochs or more, fit trains nothing: history, seconds and network stay the same."""
    first = Run(tmp_path / "run")
    first.fit(3)
    content = (tmp_path / "run").read_bytes()
    for epochs in (3, 2):
        again = Run(tmp_path / "run")
        again.fit(epochs)
        assert again.data.given == 0
        assert again.history == first.history
        assert_same(again.state(), first.state())
    assert (tmp_path / "run").read_bytes() == content


def test_more_epochs_go_on(tmp_path):
    """`epochs` is the total: fit for two, then for six, trains six in all, from the file or in the same Trainer."""
    Run(tmp_path / "run").fit(2)
    again = Run(tmp_path / "run")
    again.fit()
    assert_same(again.state(), uninterrupted())
    run = Run(patience=None)
    run.fit(2)
    run.fit()
    assert_same(run.state(), uninterrupted(patience=None))


class Noise:
    """A layer that is not a Module, with a generator of its own."""

    def __init__(self, rng):
        self.rng = rng

    def forward(self, x):
        return x + self.rng.standard_normal(x.shape, np.float32)


class Penalized(Module):
    """An objective, or a criterion of two arguments, with every kind of state: a parameter, a buffer, dropout, a generator."""

    def __init__(self, network=None):
        if network is not None:
            self.network = network
        self.scale, self.dropout = Parameter([1.0]), Dropout(0.3, np.random.default_rng(11))
        self.rng, self.criterion = np.random.default_rng(12), CrossEntropyLoss()
        self.register_buffer("mean", np.zeros((), np.float32))

    def forward(self, x, y):
        prediction = self.network(x) if hasattr(self, "network") else x
        if self.training:
            self.mean[...] = 0.9 * self.mean + 0.1 * np.abs(prediction.data).mean()
        noise = self.rng.standard_normal(prediction.shape, np.float32)
        return self.criterion(self.dropout(prediction + noise) * self.scale / (1 + self.mean), y)


def penalized(kind: str, path=None, **options) -> Run:
    """A Run whose Trainer has a Penalized criterion or objective, whose parameter the optimizer trains."""
    run = Run(path, **options)
    run.extra = Penalized(None if kind == "criterion" else run.network)
    run.optimizer = SGD([*run.network.parameters(), run.extra.scale], lr=0.1, momentum=0.9)
    options = {"patience": EPOCHS, "checkpoint": path} | options
    if kind == "criterion":
        run.trainer = Trainer(run.network, run.extra, run.optimizer, **options)
    else:
        run.trainer = Trainer(run.network, None, run.optimizer, objective=run.extra, **options)
    return run


def test_an_objective_is_trained(tmp_path):
    """Trainer(…, objective=…) trains a module that takes (x, y) and returns a loss, as train_epoch does: the same bits."""
    trained, by_hand = (penalized("objective", patience=None) for _ in range(2))
    trained.fit(3)
    losses = [train_epoch(by_hand.extra, by_hand.optimizer, by_hand.data) for _ in range(3)]
    assert_same(trained.extra.state_dict(), by_hand.extra.state_dict())
    assert_close([record["loss"] for record in trained.history], losses, EXACT)
    assert_close(trained.history[-1]["metric"], validate(trained.network, trained.validation))


@pytest.mark.parametrize("kind", ["objective", "criterion"])
def test_what_an_objective_or_a_criterion_holds_resumes_too(kind, tmp_path):
    """The checkpoint has the parameters, buffers and generators of the objective, or of a criterion that is a Module."""
    whole, first, again = penalized(kind), penalized(kind, tmp_path / "run"), penalized(kind, tmp_path / "run")
    whole.fit()
    first.die(2 * STEPS + 1)
    again.fit()
    assert_same(again.state(), whole.state())
    assert_same(again.extra.state_dict(), whole.extra.state_dict())
    for rng, want in ((again.extra.rng, whole.extra.rng), (again.extra.dropout.rng, whole.extra.dropout.rng)):
        assert_same(rng.bit_generator.state, want.bit_generator.state)


@pytest.mark.parametrize("kind", ["objective", "criterion"])
def test_what_an_objective_or_a_criterion_holds_goes_back_to_the_best(kind):
    """With patience, the objective's or criterion's parameters and buffers go back to the best epoch, like the network's."""
    runs = []
    for values in ([0.1, 0.5, 0.4, 0.3], [0.1, 0.5]):
        metric = Told(*values)
        run = penalized(kind, metric=metric, patience=2)
        metric.parameter, run.validation = run.network[0].weight, Batches(X, LABELS, 100)
        run.fit(len(values))
        runs.append(run)
    assert_same(runs[0].extra.state_dict(), runs[1].extra.state_dict())
    assert_same(runs[0].network.state_dict(), runs[1].network.state_dict())


def test_a_network_that_its_objective_hides_resumes_too(tmp_path):
    """An objective may hold its network in a function: the network's parameters, buffers and generators are still saved."""

    class Hiding(Module):
        def __init__(self, network):
            self.run = lambda x: network(x)

        def forward(self, x, y):
            return CrossEntropyLoss()(self.run(x), y)

    def run(path=None) -> Run:
        made = Run(path)
        made.trainer = Trainer(made.network, None, made.optimizer, objective=Hiding(made.network), checkpoint=path)
        return made

    whole, again = run(), run(tmp_path / "run")
    whole.fit()
    run(tmp_path / "run").die(2 * STEPS + 1)
    again.fit()
    assert_same(again.state(), whole.state())


def test_padded_labels_are_left_out_by_a_trainer():
    """The history's loss and metric are means over the targets that count, whatever the batches are."""
    labels = np.where(np.arange(22) % 3 == 0, -100, LABELS)
    labels[6:12] = -100
    histories = []
    for size, accumulate in ((6, 4), (22, 1)):
        network = Linear(5, 3, rng=np.random.default_rng(7))
        trainer = Trainer(network, CrossEntropyLoss(), SGD(network.parameters(), lr=0.5), accumulate=accumulate)
        histories.append(trainer.fit(Batches(X, labels, size), 3, Batches(X, labels, size)))
    for one, other in zip(*histories, strict=True):
        assert_close([one["loss"], one["metric"]], [other["loss"], other["metric"]], FLOAT32)


class Distilling(Module):
    """A student that learns from a teacher; the teacher is held in a function, where no search looks."""

    def __init__(self, student: Module, teacher: Module):
        self.student, self.criterion = student, MSELoss()
        self.taught = no_grad()(lambda x: teacher.eval()(x).data)

    def forward(self, x, y):
        return self.criterion(self.student(x), self.taught(x))


def test_a_teacher_in_a_function_is_no_part_of_the_objective(tmp_path):
    """A teacher in a function is always in eval mode. It is not recorded, and is in neither parameters nor checkpoint."""
    student, teacher = Linear(5, 3, rng=np.random.default_rng(7)), Sequential(Linear(5, 3), Scale(), Dropout(0.5))
    model, before, draws = Distilling(student, teacher), teacher.state_dict(), teacher[2].rng.bit_generator.state
    optimizer, path = SGD(student.parameters(), lr=0.5), tmp_path / "run"
    assert [id(parameter) for parameter in model.parameters()] == [id(parameter) for parameter in student.parameters()]
    history = Trainer(student, None, optimizer, objective=model, checkpoint=path).fit(Batches(X, LABELS, 6), 20)
    assert history[-1]["loss"] < history[0]["loss"] / 10
    assert [module.training for module in teacher.modules()] == [False] * 4
    assert [parameter.grad for parameter in teacher.parameters()] == [None] * 2
    assert_same(teacher.state_dict(), before)
    assert_same(teacher[2].rng.bit_generator.state, draws)
    other = Distilling(student, Sequential(Linear(5, 4), Linear(4, 3)))
    Trainer(student, None, optimizer, objective=other, checkpoint=path).fit(Batches(X, LABELS, 6), 20)


def test_every_generator_is_found(tmp_path):
    """The Trainer finds generators in layers that are not Modules, in lists, dicts and attributes, and in validation data."""

    def run(path=None) -> Run:
        made = Run(path, layers=[Noise(np.random.default_rng(8))])
        made.data.transforms = [None, {"crop": Noise(np.random.default_rng(9))}]
        made.data.collate = lambda batch: batch
        made.data.itself = made.data
        made.validation.rng = np.random.default_rng(10)
        crop = made.data.transforms[1]["crop"].rng
        made.rngs = [made.network[5].rng, crop, made.validation.rng]
        return made

    whole, first, again = run(), run(tmp_path / "run"), run(tmp_path / "run")
    whole.fit()
    first.data.transforms[1]["crop"].rng.random(7)
    first.die(3 * STEPS + 1)
    again.fit()
    for rng, want in ((again.rngs[0], whole.rngs[0]), (again.rngs[2], whole.rngs[2])):
        assert_same(rng.bit_generator.state, want.bit_generator.state)
    moved = np.random.default_rng(9)
    moved.random(7)
    assert_same(again.rngs[1].bit_generator.state, moved.bit_generator.state)


PLACES = {
    "attribute": Noise,
    "list": lambda rng: [None, rng],
    "tuple": lambda rng: (None, rng),
    "dict": lambda rng: {"a": None, 0: rng},
    "list in a tuple": lambda rng: ((), [rng]),
    "tuple in a list": lambda rng: [(0, (rng,))],
    "tuple in a dict": lambda rng: {0: ({}, rng)},
    "dict in a tuple": lambda rng: ({"": rng},),
    "list in a dict": lambda rng: {"a": [[], [rng]]},
    "object in a tuple": lambda rng: (1.5, Noise(rng)),
    "tuple of an object": lambda rng: Noise((rng, rng)),
    "dict of an object": lambda rng: Noise({"a": {"b": rng}}),
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("root", ["network", "layer", "objective", "criterion", "data", "validation"])
def test_a_generator_is_found_anywhere(root, place, tmp_path):
    """Attributes, lists, tuples and dicts lead to generators, from network, objective, criterion, data and validation."""

    def fit(epochs: int, rng: np.random.Generator) -> None:
        run = Run()
        criterion = CrossEntropyLoss()
        objective = Penalized(run.network) if root == "objective" else None
        parts = {"network": run.network, "layer": run.network[0], "objective": objective, "criterion": criterion}
        (parts | {"data": run.data, "validation": run.validation})[root].extra = PLACES[place](rng)
        trainer = Trainer(run.network, criterion, run.optimizer, objective=objective, checkpoint=tmp_path / "run")
        trainer.fit(run.data, epochs, run.validation)

    moved, again = np.random.default_rng(9), np.random.default_rng(9)
    moved.random(7)
    fit(1, moved)
    fit(1, again)
    assert_same(again.bit_generator.state, moved.bit_generator.state)


def test_a_shared_generator_stays_shared(tmp_path):
    """A generator that data and dropout share is restored in place, and is still shared afterwards."""

    def shared(path=None) -> Run:
        rng = np.random.default_rng(5)
        return Run(path, rngs=(rng, rng))

    whole, again = shared(), shared(tmp_path / "run")
    whole.fit()
    shared(tmp_path / "run").die(2 * STEPS + 1)
    rng = again.data.rng
    again.fit()
    assert again.data.rng is rng
    assert again.network[3].rng is rng
    assert_same(again.state(), whole.state())


@pytest.mark.parametrize("kind", [np.random.MT19937, np.random.Philox], ids=lambda kind: kind.__name__)
def test_other_bit_generators_resume_too(kind, tmp_path):
    """Training also resumes with bit generators whose state holds arrays, such as MT19937."""

    def run(path=None) -> Run:
        return Run(path, rngs=(np.random.Generator(kind(5)), np.random.Generator(kind(6))))

    whole, again = run(), run(tmp_path / "run")
    whole.fit()
    run(tmp_path / "run").die(2 * STEPS + 1)
    again.fit()
    assert_same(again.state(), whole.state())


class Told:
    """A metric that returns given values, one after another, and saves the parameters of each epoch."""

    def __init__(self, *values):
        self.values, self.seen = [*values], []

    def __call__(self, prediction, target) -> float:
        self.seen.append(self.parameter.data.copy())
        return self.values[len(self.seen) - 1]


def told(values: list[float], path=None, **options) -> Run:
    """A Run whose metric returns given values, with one validation batch an epoch."""
    metric = Told(*values)
    run = Run(path, metric=metric, **options)
    run.validation = Batches(X, LABELS, 100)
    metric.parameter = run.network[0].weight
    run.metric, run.seen = metric, metric.seen
    return run


def test_patience_stops_and_goes_back_to_the_best():
    """After `patience` epochs without a better metric, fit ends, and the network has its best parameters."""
    run = told([0.1, 0.5, 0.4, 0.3, 0.9, 0.9], patience=2)
    history = run.fit()
    assert [record["metric"] for record in history] == [0.1, 0.5, 0.4, 0.3]
    mistakes = {"the last parameters": run.seen[-1], "the first": run.seen[0]}
    assert_close(run.network[0].weight, run.seen[1], EXACT, mistakes=mistakes)


@pytest.mark.parametrize("values", [[0.0, 0.0, 0.0], [0, -0.5, -1.0], [-1.0, 0.0, 0.0, -0.5]], ids=str)
@pytest.mark.parametrize("killed", [False, True])
def test_a_metric_of_0_is_a_metric(killed, values, tmp_path):
    """The best metric may be 0, as the accuracy of a network that is always wrong. It is better than none, an equal one is no
    improvement, and history and checkpoint contain it.
    """
    path, best = tmp_path / "run", values.index(max(values))
    run = told([*values, -2.0, -2.0], path, patience=2)
    if killed:
        run.die((best + 1) * STEPS + 1)
        first, run = run, told(values[best + 1 :] + [-2.0, -2.0], path, patience=2)
        kept = first.seen[best]
    history = run.fit()
    assert [record["metric"] for record in history] == values[: best + 3]
    assert_close(run.network[0].weight, kept if killed else run.seen[best], EXACT)


def test_buffers_go_back_to_the_best_too():
    """With patience, buffers go back to the best epoch together with the parameters."""
    run, shorter = told([0.1, 0.5, 0.4, 0.3], patience=2), told([0.1, 0.5], patience=2)
    run.fit()
    shorter.fit(2)
    assert_same(run.network.state_dict(), shorter.network.state_dict())


def test_the_best_parameters_stay_when_the_epochs_run_out():
    """With patience, the network has its best parameters even if fit ends because all epochs are done."""
    run = told([0.1, 0.5, 0.4], patience=2)
    run.fit(3)
    assert_close(run.network[0].weight, run.seen[1], EXACT, mistakes={"the last parameters": run.seen[-1]})


def test_without_patience_the_last_parameters_stay():
    """With patience=None, every epoch is trained, and the network has its last parameters."""
    run = told([0.5, 0.4, 0.3, 0.2], patience=None)
    assert len(run.fit(4)) == 4
    assert_close(run.network[0].weight, run.seen[-1], EXACT)


def test_patience_goes_on_after_a_kill(tmp_path):
    """The checkpoint contains the best metric, the number of epochs since, and the best parameters."""
    values = [0.1, 0.5, 0.4, 0.3, 0.2]
    whole, first, again = (told(values, path, patience=3) for path in (None, tmp_path / "run", tmp_path / "run"))
    whole.fit()
    first.die(3 * STEPS + 1)
    again.metric.values = values[3:]
    again.fit()
    assert_same(again.state(), whole.state())
    once_more = told([0.9], tmp_path / "run", patience=3)
    once_more.fit()
    assert once_more.data.given == 0, "it went on after it had stopped"
    assert_same(once_more.network.state_dict(), whole.network.state_dict())


def test_patience_may_be_gone_after_a_kill(tmp_path):
    """Resumed without patience, a run ends with its last parameters, even if the checkpoint holds best ones. Resumed with
    patience, it ends with its best.
    """
    told([0.5, 0.4], tmp_path / "run", patience=3).fit(2)
    again = told([0.3, 0.2], tmp_path / "run", patience=None)
    again.fit(4)
    assert_close(again.network[0].weight, again.seen[-1], EXACT)
    once_more = told([0.1, 0.05], tmp_path / "run", patience=1)
    once_more.fit(9)
    assert_close(once_more.network[0].weight, once_more.seen[0], EXACT)


def test_more_epochs_go_on_from_the_last_parameters(tmp_path):
    """fit leaves the best parameters in the network. The checkpoint also has the last ones, from which training resumes."""
    values = [0.5, 0.4, 0.3, 0.2]
    whole, first, again = (told(values, path, patience=4) for path in (None, tmp_path / "run", tmp_path / "run"))
    whole.fit(4)
    first.fit(2)
    again.metric.values = values[2:]
    again.fit(4)
    assert_close(again.seen[-1], whole.seen[-1], EXACT, mistakes={"from the best": whole.seen[1]})
    assert_same(again.state(), whole.state())


def test_of_a_loss_as_metric_less_is_better():
    """If the metric is one of kata 05's losses, a smaller value is better."""
    network = Linear(5, 2)
    target = X[:, :2]
    worse = [Batches(X, target + 100.0 * k, 100) for k in range(3)]

    class Worse(Batches):
        def __iter__(self):
            return iter(worse.pop(0) if worse else super().__iter__())

    trainer = Trainer(network, MSELoss(), SGD(network.parameters(), lr=1e-9), metric=MSELoss(), patience=2)
    history = trainer.fit(Batches(X, target, 100), 9, Worse(X, target, 100))
    assert len(history) == 3, "it did not stop, though the loss rose twice"


def test_the_network_is_validated():
    """Validation uses the Trainer's network, even if the objective has another network as an attribute, such as a teacher."""
    run = Run()

    class Taught(Module):
        def __init__(self, student):
            self.student, self.network = student, Linear(5, 3, rng=np.random.default_rng(8))

        def forward(self, x, y):
            return CrossEntropyLoss()(self.student(x), y)

    objective = Taught(run.network)
    trainer = Trainer(run.network, None, run.optimizer, objective=objective, metric=CrossEntropyLoss())
    (record,) = trainer.fit(run.data, 1, run.validation)
    want = validate(run.network, run.validation, CrossEntropyLoss())
    other = validate(objective.network, run.validation, CrossEntropyLoss())
    assert_close(record["metric"], want, mistakes={"that of the objective's network": other})


@pytest.mark.parametrize(
    "criterion", [MSELoss(), CrossEntropyLoss(), BCEWithLogitsLoss()], ids=lambda loss: type(loss).__name__
)
@pytest.mark.parametrize("kind", ["itself", "of a subclass"])
def test_each_loss_is_better_if_it_is_less(criterion, kind):
    """If the metric is any of kata 05's losses, the best parameters are those of its smallest value."""
    metric = criterion if kind == "itself" else type("Ours", (type(criterion),), {})()
    target = LABELS if isinstance(criterion, CrossEntropyLoss) else np.eye(3, dtype=np.float32)[LABELS]
    network, seen = Linear(5, 3, rng=np.random.default_rng(7)), []

    class Seen(Batches):
        def __iter__(self):
            seen.append(network.weight.data.copy())
            return super().__iter__()

    trainer = Trainer(network, criterion, SGD(network.parameters(), lr=1e-3), metric=metric, patience=3)
    history = trainer.fit(Batches(X, target, 100), 3, Seen(X, target, 100))
    assert history[0]["metric"] > history[1]["metric"] > history[2]["metric"]
    assert_close(network.weight, seen[-1], EXACT, mistakes={"those of its largest value": seen[0]})


class Silent:
    """An object whose len() is 0, so that it is falsy."""

    def __len__(self):
        return 0


def test_what_is_falsy_is_taken():
    """An objective, metric, schedule or progress whose len() is 0 is used: it is not treated as None."""
    called = set()

    class Falsy(Silent, Module):
        def __init__(self, network):
            self.network = network

        def forward(self, x, y):
            called.add("objective")
            return CrossEntropyLoss()(self.network(x), y)

    class Metric(Silent):
        def __call__(self, prediction, target):
            return 0.25

    class Schedule(Silent):
        def __call__(self, step):
            called.add("schedule")
            return 0.0

    class Spy(Silent):
        def __getattr__(self, name):
            return lambda *values: called.add(name)

    run = Run()
    options = {"objective": Falsy(run.network), "metric": Metric(), "schedule": Schedule(), "progress": Spy()}
    (record,) = Trainer(run.network, None, run.optimizer, **options).fit(run.data, 1, run.validation)
    assert (record["metric"], record["lr"]) == (0.25, 0.0)
    assert called == {"objective", "schedule", "begin", "step", "end_epoch"}


def test_empty_validation_data_is_an_error():
    """Validation data without batches is not treated as None: fit raises a ValueError, as validate does."""
    run = Run(patience=None)
    with rejects(ValueError, "batch"):
        run.trainer.fit(run.data, 1, [])


def test_clipping_to_0_is_refused():
    """The Trainer passes on clip_norm=0: fit raises a ValueError, as train_epoch does."""
    with rejects(ValueError, "0.0"):
        Run(clip_norm=0.0).fit(1)


def test_no_epochs_are_none(tmp_path):
    """With epochs=0, fit returns an empty history, changes nothing in the network, and writes no file."""
    run, untouched = Run(tmp_path / "run"), Run()
    assert run.fit(0) == []
    assert_same(run.network.state_dict(), untouched.network.state_dict())
    assert not [*tmp_path.iterdir()]


def test_the_history_is_a_list_of_the_callers():
    """fit returns a new list: if the caller changes it, later histories are not affected."""
    run = Run(patience=None)
    first = run.fit(2)
    kept = list(first)
    first.clear()
    assert run.fit(3)[:2] == kept
    assert not first


def test_patience_needs_validation():
    """patience without validation data raises a ValueError before any training: nothing could ever stop it."""
    run = Run(patience=2)
    with rejects(ValueError, "patience", "validation"):
        run.trainer.fit(run.data, 3)
    assert run.data.given == 0


def test_no_patience_at_all_is_refused():
    """patience below 1 raises a ValueError when the Trainer is made."""
    with rejects(ValueError, "patience", "0"):
        Run(patience=0)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_no_infinite_loss_is_trained_on(value):
    """A loss that is NaN, ∞ or -∞ raises a FloatingPointError that contains epoch and step."""

    class Falling(Module):
        def __init__(self, network):
            self.network, self.losses = network, [0.0] * 6 + [value]

        def forward(self, x, y):
            return self.network(x).sum() * 0 + self.losses.pop(0)

    run = Run()
    with rejects(FloatingPointError, "epoch 2", "step 6"):
        Trainer(run.network, None, run.optimizer, objective=Falling(run.network)).fit(run.data, 3)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_is_named(value, tmp_path):
    """A NaN or infinite loss raises a FloatingPointError that contains the epoch, from 1, and the step, from 0 through all
    epochs. The checkpoint is still the previous epoch's.
    """
    path = tmp_path / "run"
    run = Run(path)
    run.fit(2)
    content = path.read_bytes()
    run.data = Dying(np.full_like(X, value), LABELS, 6, run.data.rng)
    with rejects(FloatingPointError, "epoch 3", "step 8"):
        run.fit()
    assert path.read_bytes() == content


def test_ctrl_c_leaves_the_last_checkpoint(tmp_path):
    """KeyboardInterrupt passes through, and the file is still the last complete epoch's."""
    path = tmp_path / "run"
    Run(path).fit(2)
    content = path.read_bytes()
    Run(path).die(STEPS - 1, error=KeyboardInterrupt)
    assert path.read_bytes() == content


@pytest.mark.parametrize("place", ["data", "validation"])
def test_the_same_trainer_goes_on_after_ctrl_c(place, tmp_path):
    """After Ctrl-C, as in a notebook, a second fit of the same Trainer resumes from the file, not from the interrupted half
    epoch. Every module is in train mode.
    """
    run = Run(tmp_path / "run")
    run.fit(1)
    run.validation = Dying(X[:10], LABELS[:10], 4)
    interrupted = {"data": run.data, "validation": run.validation}[place]
    interrupted.left, interrupted.error = interrupted.given + 2, KeyboardInterrupt
    with rejects(KeyboardInterrupt):
        run.fit()
    assert all(module.training for module in run.network.modules())
    interrupted.left = math.inf
    run.fit()
    assert_same(run.state(), uninterrupted())


def test_the_file_is_a_checkpoint(tmp_path):
    """load_checkpoint reads the Trainer's file, which contains the history."""
    run = Run(tmp_path / "run")
    run.fit(2)
    assert any(value == run.history for value in load_checkpoint(tmp_path / "run").values())


def test_a_checkpoint_of_another_network_is_refused(tmp_path):
    """A different network's checkpoint raises a ValueError that contains the path and both shapes that don't match."""
    path = tmp_path / "run"
    Run(path, optimizer="momentum").fit(1)
    network = Sequential(Linear(5, 8), Scale(), ReLU(), Dropout(0.3), Linear(8, 4))
    trainer = Trainer(network, CrossEntropyLoss(), OPTIMIZERS["momentum"](network), checkpoint=path)
    with rejects(ValueError, str(path), "(3, 8)", "(4, 8)"):
        trainer.fit(Batches(X, LABELS, 6, np.random.default_rng(5)), 2)


def test_a_checkpoint_of_another_optimizer_is_refused(tmp_path):
    """A different optimizer's checkpoint raises a ValueError that contains the path and this Trainer's optimizer."""
    path = tmp_path / "run"
    Run(path, optimizer="momentum").fit(1)
    with rejects(ValueError, str(path), "Adam"):
        Run(path, optimizer="Adam").fit()


@pytest.mark.parametrize(
    "rngs",
    [(None, np.random.default_rng(6)), (np.random.Generator(np.random.Philox(5)), np.random.default_rng(6))],
    ids=["one fewer", "of another kind"],
)
def test_a_checkpoint_of_other_generators_is_refused(rngs, tmp_path):
    """A checkpoint with a different number of generators, or different kinds, raises a ValueError that contains the path."""
    path = tmp_path / "run"
    Run(path).fit(1)
    with rejects(ValueError, str(path)):
        Run(path, rngs=rngs).fit()


@pytest.mark.parametrize(
    "other",
    [
        {"layers": [Scale()]},
        {"optimizer": "momentum"},
        {"rngs": (None, np.random.default_rng(6))},
        {"rngs": (np.random.Generator(np.random.Philox(5)), np.random.default_rng(6))},
        {"rngs": (np.random.default_rng(5), np.random.Generator(np.random.Philox(6)))},
    ],
    ids=["network", "optimizer", "one generator fewer", "another shuffle", "another mask"],
)
def test_a_checkpoint_that_does_not_fit_changes_nothing(other, tmp_path):
    """Whichever part of a checkpoint doesn't fit, parameters, buffers, optimizer, lr, generators and step don't change. Without
    that file, training then runs as if there had been none. The file is left alone.
    """
    path = tmp_path / "run"
    Run(path, **other).fit(2)
    run, content = Run(path), path.read_bytes()
    run.history = []
    before = run.state()
    with rejects(ValueError, str(path)):
        run.fit()
    assert_same(run.state(), before)
    assert path.read_bytes() == content
    path.unlink()
    run.fit()
    assert_same(run.state(), uninterrupted())


@pytest.mark.parametrize("state", [{"epoch": 37}, [1, 2], {}, 7, None, "text"], ids=str)
def test_a_checkpoint_of_something_else_is_refused(state, tmp_path):
    """A save_checkpoint file that no Trainer wrote raises a ValueError that contains the path. The file is left alone."""
    path = tmp_path / "run"
    save_checkpoint(path, state)
    with rejects(ValueError, str(path)):
        Run(path).fit()
    assert_same(load_checkpoint(path), state)


def test_progress_is_told(tmp_path):
    """The Trainer calls progress.begin(epochs, done), then step as in train_epoch, and end_epoch(loss, metric, seconds)."""
    calls = []

    class Spy:
        def __getattr__(self, name):
            return lambda *values: calls.append((name, values))

    Run(tmp_path / "run").fit(1)
    history = Run(tmp_path / "run", progress=Spy()).fit(3)
    assert [name for name, _ in calls] == ["begin", *(["step"] * STEPS + ["end_epoch"]) * 2]
    assert calls[0] == ("begin", (3, 1))
    assert [values for name, values in calls if name == "end_epoch"] == [
        (record["loss"], record["metric"], record["seconds"]) for record in history[1:]
    ]


def test_a_trainer_adds_little_to_the_loop(budget):
    """Without validation and checkpoints, fit takes at most 2.5 times the Python instructions of the loop's five lines."""
    rng = np.random.default_rng(3)
    network, criterion = Sequential(Linear(5, 8, rng=rng), Tanh(), Dropout(0.1, rng), Linear(8, 3, rng=rng)), CrossEntropyLoss()
    optimizer, data = Adam(network.parameters(), lr=1e-6), Batches(np.tile(X, (11, 1)), np.tile(LABELS, 11), 12, rng)

    def bare():
        for x, y in data:
            optimizer.zero_grad()
            loss = criterion(network(x), y)
            loss.backward()
            optimizer.step()

    budget.steps(bare, lambda: Trainer(network, criterion, optimizer).fit(data, 1), limit=2.5)
