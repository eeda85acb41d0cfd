import time
import zlib

import numpy as np
import pytest
from katas.acceleration import flat
from katas.activations import ReLU
from katas.layers import Dropout, Linear, Module, Parameter, Sequential
from katas.model_compression import Report, compressed_size, held_bytes, prune, prune_units, report
from katas.optimizers import SGD
from katas.spatial import BatchNorm2d
from katas.tensor import Tensor
from safetensors.numpy import load, save

from specs.check import assert_close, rejects, undisturbed


def network(seed: int = 0, width: int = 60) -> Sequential:
    rng = np.random.default_rng(seed)
    return Sequential(Linear(50, width, rng=rng), ReLU(), Dropout(0.5, rng), Linear(width, 10, rng=rng))


# compressed_size


def test_the_size_is_that_of_the_compressed_file(draw):
    """The length of zlib.compress(file, 9), where the file is the state_dict as safetensors."""
    model = Sequential(network(), BatchNorm2d(4))
    want = len(zlib.compress(save(model.state_dict()), 9))
    mistakes = {"not compressed": np.array(len(save(model.state_dict()))), "bytes of the arrays": np.array(6 * want)}
    got = compressed_size(model)
    assert isinstance(got, int)
    assert_close(np.array(got), np.array(want), mistakes=mistakes)
    assert compressed_size(model.state_dict()) == want


def test_pruned_weights_take_next_to_nothing(draw):
    """90% zeros leave less than a quarter of the bytes; a structured pruning to a quarter of the units about a quarter."""
    model, masked = network(width=400), network(width=400)
    whole = compressed_size(model)
    assert whole > 0.85 * 4 * sum(parameter.size for parameter in model.parameters())
    prune(masked, 0.9)
    assert compressed_size(masked) < 0.25 * whole
    prune_units(model, model[0], range(100))
    assert 0.2 * whole < compressed_size(model) < 0.3 * whole


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int8, np.uint8, np.int64, np.bool_])
def test_a_dict_may_hold_arrays_of_any_dtype_and_order(draw, dtype):
    """As a quantized model's state_dict does. An array that lies column by column in memory, or in steps, is saved by index."""
    values = np.array(100 * draw.normal(30, 40)).astype(dtype)
    want = len(zlib.compress(save({"a": values, "b": np.ascontiguousarray(values.T), "c": values[0, :1].reshape(())}), 9))
    state = {"a": np.array(values, order="F"), "b": values.T, "c": Tensor(values[0, :1].reshape(()))}
    assert compressed_size(state) == want


def test_a_shared_parameter_counts_once(draw):
    """It is once in the state_dict."""
    model = Sequential(Linear(50, 50, rng=np.random.default_rng(0)), Linear(50, 50, rng=np.random.default_rng(1)))
    model[1].weight = model[0].weight
    assert compressed_size(model) < 0.6 * 4 * 2 * 50 * 50
    assert load(save(model.state_dict())).keys() == {"0.weight", "0.bias", "1.bias"}


def test_a_model_without_arrays_has_a_size():
    """That of the file's header."""
    assert 0 < compressed_size(Module()) < 100
    assert compressed_size({}) == compressed_size(Module())


# held_bytes


def test_parameters_and_buffers_are_counted(draw):
    """The bytes of their arrays; those of a grad are not."""
    model = Sequential(Linear(5, 4), BatchNorm2d(4))
    model[0].weight.grad = np.ones((4, 5), np.float32)
    got = held_bytes(model)
    assert isinstance(got, int)
    assert_close(np.array(got), np.array(4 * (20 + 4 + 4 * 4)), mistakes={"buffers are forgotten": np.array(4 * (20 + 4 + 8))})


class Special(np.ndarray):
    """A subclass, such as NumPy's own memmap."""


def test_a_view_holds_all_of_its_array():
    """A Parameter that is a view of a larger array keeps it in memory, even if it is a view of a view."""
    module = Module()
    module.weight = Parameter(np.zeros((2, 3)))
    assert held_bytes(module) == 48
    module.weight.data = np.zeros((1000, 3))[:500][:2]
    assert held_bytes(module) == 24_000
    module.weight.data = np.zeros((1000, 3))[:500].view(Special)[:2]  # the base of its base is the whole
    assert held_bytes(module) == 24_000
    module.weight.data = np.zeros((1000, 3))[:2].copy()
    assert held_bytes(module) == 48


VIEWS = {
    "a slice": lambda whole: whole[:2],
    "steps": lambda whole: whole[::-7, 1:],
    "transposed": lambda whole: whole.T,
    "a row of it": lambda whole: whole[3],
    "another shape": lambda whole: whole.reshape(3, 1000)[1],
    "another dtype": lambda whole: whole[:10].view(np.float32),
    "another dtype of the same size": lambda whole: whole.view(np.int64)[:2],
    "a field of rows": lambda whole: whole.view([("a", float), ("b", float), ("c", float)])["b"],
    "stretched": lambda whole: np.broadcast_to(whole[0], (50, 3)),
    "no values": lambda whole: whole[:0],
    "a subclass": lambda whole: whole.view(Special)[:5],
}


@pytest.mark.parametrize("kind", VIEWS)
def test_a_view_of_any_kind_holds_all_of_its_array(kind):
    """Of a Parameter, of a buffer, and of both, which have one array, and count it once."""
    whole = np.zeros((1000, 3))
    one, two, three = Module(), Module(), Module()
    one.weight = Parameter(np.zeros(1))
    one.weight.data = VIEWS[kind](whole)
    two.register_buffer("mean", np.zeros(1))
    two.mean = VIEWS[kind](whole)
    three.one, three.two, three.whole = one, two, Parameter(np.zeros(1))
    three.whole.data = whole
    for module in (one, two, three):
        assert held_bytes(module) == 24_000


def test_an_array_in_another_objects_memory():
    """Of bytes, such as a file's, the array that has them counts."""
    module = Module()
    module.weight = Parameter(np.zeros(1))
    module.weight.data = np.frombuffer(bytearray(24_000))
    assert held_bytes(module) == 24_000
    module.weight.data = np.frombuffer(bytes(24_000))[:6]
    assert held_bytes(module) == 24_000


def test_shared_memory_counts_once():
    """Tied weights, and the views of one array that kata 15's flat makes of all parameters."""
    model = Sequential(Linear(5, 5), Linear(5, 5))
    model[1].weight = model[0].weight
    assert held_bytes(model) == 4 * (25 + 5 + 5)
    model = Sequential(Linear(5, 4), Linear(4, 3))
    optimizer = flat(SGD(model.parameters(), lr=0.1))
    model(Tensor(np.ones((2, 5), np.float32))).sum().backward()
    optimizer.step()
    assert held_bytes(model) == 4 * (20 + 4 + 12 + 3)


def test_nothing_is_held_by_nothing():
    """A model without arrays."""
    assert held_bytes(Module()) == 0


# report


class Timed(Module):
    """Counts its calls, and takes a while."""

    def __init__(self, seconds: float, log: list):
        self.weight, self.seconds, self.log = Parameter(np.zeros((3, 4), np.float32)), seconds, log
        self.register_buffer("mean", np.zeros(5))

    def forward(self, x):
        self.log.append((self.seconds, self.training, (x + self.weight.sum()).requires_grad))
        time.sleep(self.seconds)
        return x


class Disturbed(Timed):
    """Every other call takes 0.1 seconds."""

    def forward(self, x):
        time.sleep(0.0 if len(self.log) % 2 else 0.1 - self.seconds)
        return super().forward(x)


def measured(rounds: int = 4, **options) -> tuple[Report, list]:
    log = []
    before, after = Timed(0.004, log), Timed(0.001, log)
    score = options.pop("evaluate", lambda model: 100 * model.seconds)
    return report(before, after, Tensor(np.ones(1, np.float32)), score, rounds, **options), log


def test_all_is_measured_before_and_after():
    """Numbers in the state_dict, bytes held, bytes on disk, seconds of a call, and the score: pairs (before, after)."""
    small, large = network(width=20), network(width=60)
    found = report(large, small, Tensor(np.ones((2, 50), np.float32)), lambda model: float(len(model[0].bias)))
    assert found.numbers == (3670, 1230)
    assert found.held == (held_bytes(large), held_bytes(small)) == (14680, 4920)
    assert found.disk == (compressed_size(large), compressed_size(small))
    assert found.score == (60.0, 20.0)
    assert all(0 < seconds < 0.1 for seconds in found.seconds)
    assert measured()[0].numbers == (17, 17)


def test_the_seconds_are_the_least_of_some_calls():
    """Those of a call of each model; the least, since only disturbances make one longer."""
    before, after = Disturbed(0.03, []), Disturbed(0.002, [])
    found = report(before, after, Tensor(np.ones(1, np.float32)), lambda model: 0, 5)
    assert 0.03 <= found.seconds[0] < 0.09
    assert 0.002 <= found.seconds[1] < 0.03


def test_both_models_take_turns():
    """`rounds` calls of each, one after another: a machine that becomes slower slows both. By default nine."""
    for rounds in (1, 4):
        _, log = measured(rounds)
        calls = [seconds for seconds, _, _ in log]
        assert calls.count(0.004) == calls.count(0.001) == rounds
        assert all({calls[2 * number], calls[2 * number + 1]} == {0.004, 0.001} for number in range(rounds))
    log = []
    report(Timed(0, log), Timed(0, log), Tensor(np.ones(1, np.float32)), lambda model: 0)
    assert len(log) == 18


def test_calls_are_in_eval_mode_and_not_recorded():
    """evaluate() too. Afterwards each module is in its previous mode, which may differ within a model."""
    seen = []

    def evaluate(model):
        y = model(x)
        seen.append([y.requires_grad, *[module.training for module in model.modules()]])
        return y.sum().item()

    before, after, x = network(0), network(1), Tensor(np.ones((2, 50), np.float32))
    before[2].eval(), after.eval(), after[0].train()
    modes = [[module.training for module in model.modules()] for model in (before, after)]
    report(before, after, x, evaluate)
    assert len(seen) == 2
    assert not any(seen[0] + seen[1]), "evaluate() is recorded, or sees train mode"
    assert [[module.training for module in model.modules()] for model in (before, after)] == modes
    _, log = measured()
    assert not any(training or recorded for _, training, recorded in log)


def test_modes_are_put_back_after_an_error():
    """Whatever evaluate() raises passes through."""
    before, after = network(0), network(1)
    before[2].eval()

    def evaluate(model):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        report(before, after, Tensor(np.ones((2, 50), np.float32)), evaluate)
    assert [module.training for module in before.modules()] == [True, True, False, True]
    assert all(module.training for module in after.modules())


def test_a_score_may_be_any_number():
    """A NumPy scalar, an integer or a Tensor's item becomes a float."""
    for value in (np.float32(0.5), 3, True):
        found, _ = measured(evaluate=lambda model, value=value: value)
        assert found.score == (float(value), float(value))
        assert all(type(score) is float for score in found.score)


def test_the_same_model_may_be_on_both_sides():
    """Then both sides are about equal."""
    model = network()
    with undisturbed():
        found = report(model, model, Tensor(np.ones((2, 50), np.float32)), lambda model: 1)
    assert found.numbers[0] == found.numbers[1]
    assert all(module.training for module in model.modules())


class Failing(Module):
    """A model that fails in its n-th call, with an inner module of another mode."""

    def __init__(self, number: int):
        self.inner, self.left = Dropout(0.5), number

    def forward(self, x):
        self.left -= 1
        if not self.left:
            raise RuntimeError("a model fails")
        return x


@pytest.mark.parametrize("number", [1, 2, 3])
@pytest.mark.parametrize("side", [0, 1])
def test_modes_are_put_back_after_an_error_in_a_model(side, number):
    """Whichever call of a model fails. Operations are recorded again, and the inputs are as they were."""
    models, x = (Failing(0), Failing(0)), np.ones((2, 3))
    models[side].left = number
    for model in models:
        model.inner.eval()
    with rejects(RuntimeError, "a model fails"):
        report(*models, x, lambda model: 0, 3)
    assert [module.training for model in models for module in model.modules()] == 2 * [True, False]
    assert (Parameter(np.ones(1)) * 2).requires_grad
    assert (x == 1).all()


INPUTS = {
    "none": None,
    "a list": [],
    "a text": "text",
    "no rows": np.zeros((0, 3)),
    "column by column": np.arange(6.0).reshape(3, 2).T,
    "a Tensor of NaN": Tensor(np.full((2, 3), np.nan)),
}


@pytest.mark.parametrize("kind", INPUTS)
def test_models_get_the_inputs_themselves(kind):
    """Whatever they are: nothing is copied, or looked at. A Tensor has the array that it had."""
    seen, inputs = [], INPUTS[kind]
    values = inputs.data if isinstance(inputs, Tensor) else None

    class Open(Module):
        def forward(self, x):
            seen.append(x is inputs and (values is None or x.data is values))

    report(Open(), Open(), inputs, lambda model: 0, 2)
    assert seen == 4 * [True]


@pytest.mark.parametrize("rounds", [0, -1])
def test_no_rounds_are_refused(rounds):
    """rounds below 1 raises a ValueError that contains it; no model is called, nor is evaluate."""
    scored = []
    with rejects(ValueError, str(rounds)):
        measured(rounds, evaluate=scored.append)
    assert not scored


def test_a_report_is_a_table():
    """A line for each figure, with the ratio after / before."""
    found = report(
        network(width=60), network(width=20), Tensor(np.ones((2, 50), np.float32)), lambda model: len(model[0].bias) / 60
    )
    lines = str(found).splitlines()
    assert [line.split()[0] for line in lines[1:]] == ["numbers", "held", "disk", "seconds", "score"]
    assert lines[1].split() == ["numbers", "3,670", "1,230", "0.34"]
    assert lines[5].split() == ["score", "1", "0.3333", "0.33"]
