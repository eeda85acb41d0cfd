import numpy as np
import pytest
from katas.acceleration import accelerate, data_parallel
from katas.activations import ReLU
from katas.layers import Dropout, Linear, Module, Sequential
from katas.losses import CrossEntropyLoss
from katas.model_compression import Distillation, distillation_loss
from katas.optimizers import SGD
from katas.spatial import CNN, BatchNorm2d, Conv2d, GlobalAvgPool
from katas.tensor import Tensor
from katas.training import Batches, Trainer, load_checkpoint

from specs.check import Draw, assert_close, assert_dtype, assert_gradient, count_steps, measure_bytes, rejects, undisturbed


def softmax(x: np.ndarray) -> np.ndarray:
    exponentials = np.exp(x - x.max(-1, keepdims=True))
    return exponentials / exponentials.sum(-1, keepdims=True)


def oracle(student: np.ndarray, teacher: np.ndarray, temperature: float) -> np.ndarray:
    """As it is defined, in float64: the mean over all rows."""
    p, q = softmax(teacher / temperature), softmax(student / temperature)
    return temperature**2 * (p * (np.log(p) - np.log(q))).sum(-1).mean()


# distillation_loss


def test_two_classes():
    """For student [0, 0], teacher [0, 2 log 3] and a temperature of 2, p = (¼, ¾), and the loss is 4 · 0.130812 = 0.523248."""
    student, teacher = np.zeros((1, 2)), np.array([[0.0, 2 * np.log(3)]])
    loss, want = distillation_loss(Tensor(student), teacher, 2.0), np.array(0.523248143765)
    mistakes = {
        "T² is missing": want / 4,
        "mean over the classes, or T instead of T²": want / 2,
        "student and teacher are exchanged": oracle(teacher, student, 2.0),
        "only the student's logits are divided by T": oracle(student, 2 * teacher, 2.0),
        "the cross-entropy, without the teacher's entropy": np.array(4 * np.log(2)),
    }
    assert loss.shape == ()
    assert_close(loss, want, mistakes=mistakes)


@pytest.mark.parametrize("temperature", [1.0, 2, 5.0, 0.5])
@pytest.mark.parametrize("shape", [(5, 7), (2, 3, 7), (7,)], ids=str)
def test_it_is_summed_over_classes_and_averaged_over_rows(draw, shape, temperature):
    """T² times the mean over all leading axes of Σ p (log p - log q) over the last."""
    student, teacher = draw.normal(*shape), 2 * draw.normal(*shape)
    want, rows = oracle(student, teacher, temperature), int(np.prod(shape[:-1]))
    mistakes = {
        "sum over the rows": want * rows,
        "mean over the classes too": want / shape[-1],
        "mean over the first axis only": want * rows / shape[0],
        "T² is missing": want / temperature**2,
        "only the student's logits are divided by T": oracle(student, teacher * temperature, temperature),
        "student and teacher are exchanged": oracle(teacher, student, temperature),
        "the cross-entropy, without the teacher's entropy": want
        - temperature**2 * (softmax(teacher / temperature) * np.log(softmax(teacher / temperature))).sum(-1).mean(),
    }
    wrong = {name: value for name, value in mistakes.items() if abs(value - want) > 1e-6}
    assert_close(distillation_loss(Tensor(student), teacher, temperature), want, mistakes=wrong)


def test_the_temperature_is_two_by_default(draw):
    """And the teacher may be a Tensor, an array or a list."""
    student, teacher = draw.normal(4, 3), draw.normal(4, 3)
    for given in (teacher, Tensor(teacher), teacher.tolist()):
        assert abs(distillation_loss(Tensor(student), given).item() - oracle(student, teacher, 2.0)) < 1e-6


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_the_gradient_is_that_of_the_student(draw, temperature):
    """T · (q - p) / rows, by central differences; the teacher gets none, even if it requires one."""
    student, teacher = Tensor(draw.normal(2, 3, 5), requires_grad=True), Tensor(draw.normal(2, 3, 5), requires_grad=True)
    loss = distillation_loss(student, teacher, temperature)
    loss.backward(np.array(0.7))
    p, q = softmax(teacher.data / temperature), softmax(student.data / temperature)
    mistakes = {"T² is missing": 0.7 * (q - p) / 6 / temperature, "the sign": 0.7 * (p - q) / 6 * temperature}
    oracle_of = lambda x: oracle(x, teacher.data, temperature)  # noqa: E731
    mistakes = {name: value for name, value in mistakes.items() if temperature != 1}
    assert_gradient(student.grad, oracle_of, student.data, np.array(0.7), mistakes)
    assert_close(student.grad, 0.7 * temperature * (q - p) / 6)
    assert teacher.grad is None


def test_equal_logits_have_no_loss(draw):
    """Nor have logits that differ by a constant. Close ones have a loss of 0 or more, not a rounding error below."""
    logits = draw.normal(4, 6, dtype=np.float32)
    assert abs(distillation_loss(Tensor(logits), logits, 3.0).item()) < 1e-7
    assert abs(distillation_loss(Tensor(logits + np.float32(100)), logits, 3.0).item()) < 1e-5
    near = logits + np.float32(1e-3) * draw.normal(4, 6, dtype=np.float32)
    want = oracle(near.astype(np.float64), logits.astype(np.float64), 1.0)
    assert abs(distillation_loss(Tensor(near), logits, 1.0).item() - want) < 1e-7


def test_large_logits_do_not_overflow():
    """±10⁴ gives finite numbers: where the teacher is sure of class 1 and the student of class 0, T² · 2·10⁴ / T."""
    with undisturbed():
        student = Tensor(np.array([[1e4, -1e4]], np.float32), requires_grad=True)
        loss = distillation_loss(student, np.array([[-1e4, 1e4]], np.float32), 2.0)
        loss.backward()
    assert_close(loss, np.float32(4e4))
    assert_close(student.grad, np.array([[2.0, -2.0]], np.float32))


def test_a_class_that_the_teacher_excludes_adds_nothing(draw):
    """A teacher's logit of -∞ has p = 0. 0 · ∞ is NaN, so the class is left out, whether the student excludes it too or not."""
    student, teacher = np.array(draw.normal(3, 5)), np.array(draw.normal(3, 5))
    teacher[:, 2] = -np.inf
    want = oracle(student[:, [0, 1, 3, 4]], teacher[:, [0, 1, 3, 4]], 2.0)
    q = softmax(student / 2)
    want += 4 * -np.log(1 - q[:, 2]).mean()  # the student's own probability of the class is missing elsewhere
    x = Tensor(student, requires_grad=True)
    loss = distillation_loss(x, teacher, 2.0)
    assert_close(loss, want)
    loss.backward()
    assert_close(x.grad, 2 * (q - softmax(teacher / 2)) / 3)
    student[:, 2] = -np.inf
    assert_close(
        distillation_loss(Tensor(student), teacher, 2.0), oracle(student[:, [0, 1, 3, 4]], teacher[:, [0, 1, 3, 4]], 2.0)
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("other", [np.float16, np.float32, np.float64])
def test_the_loss_has_the_students_dtype(draw, dtype, other):
    """Whatever the teacher's is. So has the gradient."""
    student = Tensor(draw.normal(4, 3, dtype=dtype), requires_grad=True)
    loss = distillation_loss(student, draw.normal(4, 3, dtype=other), 2.0, np.array([True, True, False, True]))
    assert_dtype(loss, dtype)
    loss.backward()
    assert_dtype(student.grad, dtype)


def test_only_rows_that_count_are_averaged(draw):
    """counts (…), booleans. A row that does not count has no loss and no gradient, whatever the teacher says of it."""
    student, teacher = draw.normal(2, 3, 5), np.array(draw.normal(2, 3, 5))
    counts = np.array([[True, False, True], [False, False, True]])
    want = oracle(student[counts], teacher[counts], 2.0)
    teacher[0, 1], teacher[1, 0] = np.nan, np.inf
    x = Tensor(student, requires_grad=True)
    with np.errstate(invalid="ignore"):
        loss = distillation_loss(x, teacher, 2.0, counts)
    assert_close(loss, want, mistakes={"the mean is over all rows": want / 2})
    loss.backward()
    assert not x.grad[~counts].any()
    assert (np.abs(x.grad[counts]).max(-1) > 0).all()


def test_a_row_that_does_not_count_may_be_anything(draw):
    """The student's NaN and infinities there give neither a loss nor a gradient: not NaN either."""
    student, teacher = np.array(draw.normal(2, 3, 5)), draw.normal(2, 3, 5)
    counts = np.array([[True, False, True], [False, False, True]])
    want = oracle(student[counts], teacher[counts], 2.0)
    student[0, 1], student[1, 0] = np.nan, np.inf
    x = Tensor(student, requires_grad=True)
    loss = distillation_loss(x, teacher, 2.0, counts)
    assert_close(loss, want)
    loss.backward()
    assert not x.grad[~counts].any()


def test_a_class_of_almost_no_probability_adds_nothing(draw):
    """Where p is 0 after rounding, a student that excludes the class has no loss: 0 · ∞ is NaN."""
    student, teacher = np.array([[1.0, -np.inf, 2.0]]), np.array([[2.0, -1e4, 1.0]])
    x = Tensor(student, requires_grad=True)
    loss = distillation_loss(x, teacher, 2.0)
    assert_close(loss, oracle(student[:, ::2], teacher[:, ::2], 2.0))
    loss.backward()
    assert np.isfinite(x.grad).all()


@pytest.mark.parametrize(("dtype", "small"), [(np.float32, 1e-30), (np.float64, 1e-30), (np.float64, 1e-300)])
def test_a_class_of_a_tiny_probability_adds_something(dtype, small):
    """Only where p is 0 nothing is added: 1e-30 · 1e30 is 1."""
    student = np.array([[0.0, -1 / small]], dtype)
    loss = distillation_loss(Tensor(student), np.array([[0.0, np.log(small)]], dtype), 1.0)
    assert abs(loss.item() - 1) < 1e-3


def test_counts_may_be_a_list_or_a_tensor(draw):
    """A list or a Tensor counts as an array does. Logits of one row without other axes have a single count."""
    student, teacher, counts = Tensor(draw.normal(2, 3, 4)), draw.normal(2, 3, 4), [[True, False, True], [False, True, False]]
    want = distillation_loss(student, teacher, 2.0, np.array(counts)).data
    for given in (counts, Tensor(counts)):
        assert_close(distillation_loss(student, teacher, 2.0, given), want)
    row = Tensor(student.data[0, 0])
    assert_close(distillation_loss(row, teacher[0, 0], 2.0, True), oracle(row.data, teacher[0, 0], 2.0))


def test_a_temperature_of_few_bits_is_squared_as_a_number(draw):
    """20 as uint8 has the square 400, not 144."""
    student, teacher = draw.normal(2, 3), draw.normal(2, 3)
    for temperature in (np.uint8(20), np.int8(20), np.float16(300)):
        assert_close(distillation_loss(Tensor(student), teacher, temperature), oracle(student, teacher, float(temperature)))


def test_a_teacher_that_is_nan_makes_the_loss_nan(draw):
    """Not 0: a Trainer stops at a loss of NaN."""
    teacher = np.array(draw.normal(2, 3))
    teacher[1, 1] = np.nan
    with np.errstate(invalid="ignore"):
        assert np.isnan(distillation_loss(Tensor(draw.normal(2, 3)), teacher).item())


def test_inputs_are_left_as_they_are(draw):
    """No array of the caller's is written to, and no global state is used."""
    student, teacher = draw.normal(3, 4), draw.normal(3, 4)  # read-only
    with undisturbed():
        distillation_loss(Tensor(student), teacher, 2.0, np.ones(3, bool))


@pytest.mark.parametrize(
    "shapes", [((2, 3), (2, 4)), ((2, 3), (3,)), ((2, 3), (1, 3)), ((0, 3), (0, 3)), ((2, 0), (2, 0)), ((), ())]
)
def test_shapes_that_do_not_fit_are_refused(shapes):
    """Logits of different shapes, though they could be broadcast, and empty ones, raise a ValueError that contains them."""
    student, teacher = map(np.zeros, shapes)
    with rejects(ValueError, str(shapes[0]), str(shapes[1])):
        distillation_loss(Tensor(student), teacher)


@pytest.mark.parametrize(
    "shape", [(), (1,), (2,), (3,), (6,), (1, 3), (2, 1), (3, 2), (2, 3, 1), (1, 2, 3), (2, 3, 4)], ids=str
)
def test_counts_that_do_not_fit_are_refused(draw, shape):
    """Any other shape, though it could be an index or be broadcast, raises a ValueError that contains it."""
    student, teacher = Tensor(draw.normal(2, 3, 4)), draw.normal(2, 3, 4)
    with rejects(ValueError, str(shape)):
        distillation_loss(student, teacher, 2.0, np.ones(shape, bool))


def test_no_row_that_counts_is_refused(draw):
    """A ValueError is raised before anything is divided by 0."""
    student, teacher = Tensor(draw.normal(2, 3, 4)), draw.normal(2, 3, 4)
    with np.errstate(all="raise"), rejects(ValueError):
        distillation_loss(student, teacher, 2.0, np.zeros((2, 3), bool))


@pytest.mark.parametrize("temperature", [0, 0.0, -1.0, np.inf, np.nan])
def test_a_temperature_that_can_not_be_is_refused(draw, temperature):
    """It must be positive and finite, else a ValueError contains it, in Distillation too."""
    with rejects(ValueError, str(temperature)):
        distillation_loss(Tensor(draw.normal(2, 3)), draw.normal(2, 3), temperature)
    with rejects(ValueError, str(temperature)):
        Distillation(network(0), network(1), temperature)


def test_no_python_loop_over_rows(draw):
    """64 times as many rows take no more Python instructions."""
    small, large = draw.normal(2, 5, dtype=np.float32), draw.normal(128, 5, dtype=np.float32)
    few, many = count_steps(
        *[lambda x=x: distillation_loss(Tensor(x, requires_grad=True), x).backward() for x in (small, large)]
    )
    assert many <= 2 * few, f"{few} Python instructions for 2 rows, {many} for 128"


# Distillation


def network(seed: int, drop: float = 0.0) -> Sequential:
    rng = np.random.default_rng(seed)
    return Sequential(Linear(5, 8, rng=rng), ReLU(), Dropout(drop, rng), Linear(8, 3, rng=rng))


def cross_entropy(logits: np.ndarray, y: np.ndarray) -> float:
    return -np.log(softmax(logits)[np.arange(len(y)), y]).mean()


@pytest.mark.parametrize("alpha", [0, 0.3, 1])
def test_it_mixes_both_losses(draw, alpha):
    """alpha · distillation_loss + (1 - alpha) · criterion."""
    student, teacher = network(0), network(1)
    x, y = draw.normal(6, 5), np.array([0, 1, 2, 2, 1, 0])
    a, b = student(Tensor(x)).data, teacher(Tensor(x)).data
    soft, hard = oracle(a, b, 4.0), cross_entropy(a, y)
    got = Distillation(student, teacher, 4.0, alpha)(Tensor(x), y)
    mistakes = {"alpha and 1 - alpha are exchanged": (1 - alpha) * soft + alpha * hard, "their sum": soft + hard}
    assert got.shape == ()
    assert abs(got.item() - (alpha * soft + (1 - alpha) * hard)) < 1e-5, mistakes


def test_defaults(draw):
    """temperature 2, alpha ½ and a CrossEntropyLoss; they are attributes, and may be changed later."""
    student, teacher = network(0), network(1)
    x, y = draw.normal(6, 5), np.array([0, 1, 2, 2, 1, 0])
    a, b = student(Tensor(x)).data, teacher(Tensor(x)).data
    objective = Distillation(student, teacher)
    assert abs(objective(Tensor(x), y).item() - (oracle(a, b, 2.0) + cross_entropy(a, y)) / 2) < 1e-5
    objective.temperature, objective.alpha = 3.0, 0.9
    assert abs(objective(Tensor(x), y).item() - (0.9 * oracle(a, b, 3.0) + 0.1 * cross_entropy(a, y))) < 1e-5


def test_a_criterion_of_ones_own_is_used(draw):
    """With its label smoothing."""
    student, x, y = network(0), draw.normal(6, 5, dtype=np.float32), np.array([0, 1, 2, 2, 1, 0])
    criterion = CrossEntropyLoss(label_smoothing=0.2)
    got = Distillation(student, network(1), alpha=0.0, criterion=criterion)(Tensor(x), y)
    assert_close(got, criterion(student(Tensor(x)), y).data)


class Falsy(CrossEntropyLoss):
    """A criterion without a length, such as one that counts what it has seen."""

    def __len__(self):
        return 0


def test_a_criterion_that_is_falsy_is_one():
    """Only None stands for a new CrossEntropyLoss."""
    criterion = Falsy(ignore_index=1)
    assert Distillation(network(0), network(1), criterion=criterion).criterion is criterion


def test_two_objectives_have_nothing_in_common(draw):
    """Each has its own student, teacher, numbers and criterion, also by default: what one is given does not reach the other."""
    x, y = Tensor(draw.normal(3, 5, dtype=np.float32)), [0, 1, 2]
    one = Distillation(network(0), network(1))
    want = one(x, y).data
    two = Distillation(network(2), network(3), 5.0, 0.25)
    assert_close(one(x, y), want)
    other = two(x, y).data
    assert one.criterion is not two.criterion
    one.criterion.ignore_index, one.temperature, one.alpha = 1, 3.0, 0.75
    assert_close(two(x, y), other)
    assert (one.counted(x, y), two.counted(x, y)) == (2, 3)
    assert Distillation(network(0), network(1)).counted(x, y) == 3


def test_the_teacher_is_no_submodule(draw):
    """Not in parameters(), named_buffers(), modules(), state_dict(); train(), eval() and zero_grad() don't reach it."""
    student, teacher = network(0), Sequential(Conv2d(1, 2, 3), BatchNorm2d(2))
    teacher.eval()
    teacher[0].weight.grad = np.ones(teacher[0].weight.shape, np.float32)
    objective = Distillation(student, teacher)
    assert [id(parameter) for parameter in objective.parameters()] == [id(parameter) for parameter in student.parameters()]
    assert not objective.named_buffers()
    assert objective.state_dict().keys() == {f"student.{name}" for name in student.state_dict()}
    objective.train(), objective.zero_grad()
    assert teacher[0].weight.grad is not None
    assert not any(module.training for module in teacher.modules())
    teacher.train(), objective.eval()
    assert all(module.training for module in teacher.modules())


def pictures(seed: int) -> CNN:
    rng = np.random.default_rng(seed)
    return CNN([Conv2d(1, 4, 3, rng=rng), BatchNorm2d(4), ReLU(), GlobalAvgPool(), Dropout(0.5, rng), Linear(4, 3, rng=rng)])


@pytest.mark.parametrize("training", [True, False])
def test_the_teacher_runs_in_eval_mode_and_its_mode_stays(draw, training):
    """Its dropout drops nothing and its running statistics don't move, whatever mode it is in; nothing of it changes."""
    student, teacher = pictures(0).eval(), pictures(1)
    x, y = Tensor(draw.normal(5, 1, 6, 6, dtype=np.float32)), np.array([0, 1, 2, 0, 1])
    want = oracle(student(x).data.astype(float), teacher.eval()(x).data.astype(float), 2.0)
    teacher.train(training)
    before, objective = teacher.state_dict(), Distillation(student, teacher, alpha=1.0)
    objective.eval()
    assert abs(objective(x, y).item() - want) < 1e-5, "the teacher drops values, or normalizes by its batch"
    objective.train()(x, y).backward()
    assert [module.training for module in teacher.modules()] == [training] * len(teacher.modules())
    assert all(parameter.grad is None for parameter in teacher.parameters()), "the teacher got a gradient"
    for name, array in teacher.state_dict().items():
        assert_close(array, before[name], name=name)


def test_the_teacher_is_not_recorded(draw):
    """Its logits are computed without recording: no graph, though its parameters require gradients."""
    seen = []

    class Watched(Module):
        def __init__(self):
            self.layer = Linear(5, 3, rng=np.random.default_rng(0))

        def forward(self, x):
            seen.append((y := self.layer(x)).requires_grad)
            return y

    objective = Distillation(network(0), Watched())
    objective(Tensor(draw.normal(2, 5, dtype=np.float32)), [0, 1]).backward()
    assert seen == [False]


def test_the_teachers_mode_does_not_change_during_a_call(draw):
    """Another thread may use the teacher at the same time, in another mode: it must not see eval mode come and go."""
    teacher, modes = network(1), []

    class Looking(Module):
        def forward(self, x):
            modes.append(teacher.training)
            return x

    teacher.layers.insert(0, Looking())
    Distillation(network(0), teacher)(Tensor(draw.normal(2, 5, dtype=np.float32)), [0, 1])
    assert modes == [True]


def test_the_teachers_arrays_are_shared(draw):
    """The teacher takes no memory twice, and a state that is loaded later counts: parameters and buffers are its own."""
    student, teacher, other = pictures(0).eval(), pictures(1).eval(), pictures(2).eval()
    for name, array in other.state_dict().items():
        other.load_state_dict(other.state_dict() | {name: np.abs(draw.normal(*array.shape)) + 0.1})
    x, y = Tensor(draw.normal(4, 1, 6, 6, dtype=np.float32)), np.array([0, 1, 2, 0])
    objective = Distillation(student, teacher, alpha=1.0).eval()
    want = oracle(student(x).data.astype(float), other(x).data.astype(float), 2.0)
    teacher.load_state_dict(other.state_dict())
    assert abs(objective(x, y).item() - want) < 1e-5
    for parameter in teacher.parameters():  # as kata 15's flat rebinds data
        parameter.data = parameter.data * 2
    want = oracle(student(x).data.astype(float), teacher(x).data.astype(float), 2.0)
    assert abs(objective(x, y).item() - want) < 1e-5
    big = Sequential(Linear(500, 500, rng=np.random.default_rng(0)))
    peak, _ = measure_bytes(lambda: Distillation(student, big))
    assert peak < 200_000, f"{peak:,} bytes for a teacher of 1 MB"


def test_with_alpha_zero_the_teacher_is_not_called(draw):
    """Its time is saved."""

    class Loud(Module):
        def forward(self, x):
            raise RuntimeError("called")

    x, y = Tensor(draw.normal(2, 5, dtype=np.float32)), [0, 1]
    Distillation(network(0), Loud(), alpha=0)(x, y)
    with rejects(RuntimeError, "called"):
        Distillation(network(0), Loud(), alpha=0.1)(x, y)


def test_ignored_targets_count_in_neither_loss(draw):
    """Rows whose target is the criterion's ignore_index. counted(x, y) is how many others there are."""
    student, teacher = network(0), network(1)
    x, y = draw.normal(2, 3, 5), np.array([[0, -1, 2], [-1, -1, 1]])
    a, b = student(Tensor(x)).data[y >= 0], teacher(Tensor(x)).data[y >= 0]
    objective = Distillation(student, teacher, 2.0, 0.5, CrossEntropyLoss(ignore_index=-1))
    want = (oracle(a, b, 2.0) + cross_entropy(a, y[y >= 0])) / 2
    assert abs(objective(Tensor(x), y).item() - want) < 1e-5
    assert objective.counted(Tensor(x), y) == 3
    assert Distillation(student, teacher).counted(Tensor(x), Tensor(np.array([[0, -100, 2], [1, 1, 1]]))) == 5
    assert Distillation(student, teacher).counted(Tensor(x[:0]), np.zeros((0, 3), np.int64)) == 0


def test_targets_may_be_numpys_integers(draw):
    """A list of them, or one for a row that is no batch."""
    x, y = draw.normal(3, 5, dtype=np.float32), [2, 0, 1]
    objective = Distillation(network(0), network(1))
    wants = [objective(Tensor(x), y).data, objective(Tensor(x[:1]), y[:1]).data]
    assert_close(objective(Tensor(x), [np.int64(2), np.uint8(0), np.int32(1)]), wants[0])
    assert_close(objective(Tensor(x[0]), np.int64(2)), wants[1])
    assert objective.counted(Tensor(x), [np.int64(2), np.int64(-100), np.int64(1)]) == 2
    assert objective.counted(Tensor(x[0]), np.int64(2)) == 1


def test_logits_of_different_shapes_are_refused(draw):
    """A ValueError contains both."""
    other = Sequential(Linear(5, 4))
    with rejects(ValueError, "(2, 3)", "(2, 4)"):
        Distillation(network(0), other)(Tensor(draw.normal(2, 5, dtype=np.float32)), [0, 1])


@pytest.mark.parametrize("alpha", [-0.1, 1.1, np.nan])
def test_an_alpha_that_is_no_share_is_refused(alpha):
    """It must be at least 0 and at most 1, else a ValueError contains it."""
    with rejects(ValueError, str(alpha)):
        Distillation(network(0), network(1), alpha=alpha)


def learned(draw, objective, student, threads: int | None, **options) -> list[float]:
    """The losses of three epochs."""
    x, y = np.array(draw.normal(40, 5, dtype=np.float32)), draw.integers(3, 40)
    objective = objective if threads is None else data_parallel(objective, threads)
    optimizer = SGD(student.parameters(), lr=0.2)
    trainer = Trainer(student, None, optimizer, objective=objective, **options)
    return [epoch["loss"] for epoch in trainer.fit(Batches(x, y, 8, np.random.default_rng(0)), 3)]


def test_a_trainer_trains_with_it(draw):
    """As Trainer's objective: the student's loss falls, the teacher stays as it is."""
    student, teacher = network(0), network(1, drop=0.5)
    before = teacher.state_dict()
    losses = learned(draw, Distillation(student, teacher, 3.0, 0.9), student, None)
    assert losses[-1] < losses[0]
    for name, array in teacher.state_dict().items():
        assert_close(array, before[name])


def test_two_threads_give_what_one_gives():
    """data_parallel: the teacher is in eval mode in both shards, all of the time."""
    losses = []
    for threads in (None, 2):
        student, teacher = network(0), network(1, drop=0.5)
        losses.append(learned(Draw("data"), Distillation(student, teacher), student, threads))
        assert all(module.training for module in teacher.modules())
    assert_close(np.array(losses[1], np.float32), np.array(losses[0]))


def test_accelerated_it_gives_the_same(draw):
    """accelerate() of the objective, and of the teacher before."""
    x, y = Tensor(draw.normal(4, 5, dtype=np.float32)), [0, 1, 2, 0]
    want = Distillation(network(0), network(1))(x, y).data
    assert_close(accelerate(Distillation(network(0), accelerate(network(1))))(x, y), want)


def test_checkpoints_hold_the_student_alone(draw, tmp_path):
    """The file of a Trainer has the student's arrays and generators, and none of the teacher's."""
    student = network(0)
    learned(draw, Distillation(student, network(1, drop=0.5)), student, None, checkpoint=tmp_path / "student")
    state = load_checkpoint(tmp_path / "student")
    assert len(state["model"]) == len(student.state_dict())
    assert len(state["generators"]) == 2  # the data's and that of the student's Dropout
