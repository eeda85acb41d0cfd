"""Milestone 4: the networks of milestones 2 and 3 as they were built first, and as katas 15 to 18 make them, in one table.

Kata 19 measures it. A gain is how many times as much time, or bytes, the first of two takes as the second.
"""

import math
from collections.abc import Callable
from types import ModuleType
from typing import NamedTuple

import numpy as np
import pytest
from katas.acceleration import accelerate, data_parallel, flat, loop_conv2d
from katas.autograd import no_grad
from katas.benchmarking import Benchmark, Clock, Result, pareto
from katas.caching import Decoder, KVCache, prefill
from katas.layers import Module
from katas.losses import CrossEntropyLoss
from katas.optimizers import Optimizer
from katas.precision import calibrate, half_state, quantize
from katas.spatial import CNN, Conv2d
from katas.tensor import Tensor
from katas.training import Objective, validate
from katas.transformers import GPT, generate, next_token_windows

from specs.datasets.cifar10 import cifar10
from specs.datasets.images import Images
from specs.datasets.text import shakespeare
from specs.milestones.pictures import Curve, bars, fronts
from specs.milestones.recipes import cifar10 as recipe
from specs.milestones.recipes import cifar10_pruned, gpt, gpt_student
from specs.milestones.recipes.gpt import CONTEXT, Corpus
from specs.milestones.test_3_gpt import few, total_loss

ROUNDS, TRIES = 9, 3  # an interval of 99% needs eight rounds
PATIENCE, LITTLE = 5.0, 0.1  # seconds of a call: what takes longer is timed once; LITTLE where --data few is in a hurry
LONG, TEXTS, NEW = 512, 16, 64  # tokens of a long text; texts at once, and how many tokens are written of each
BEFORE = 3 * CONTEXT  # tokens that each of the texts begins with
MANY = 5  # calls in a row of what uses two threads: those of the work before wait busily for a while
ROWS, PHOTOS = 320, 2000  # of the training data, which show the ranges of inputs
ESTIMATED = 4000  # photographs from which BatchNorm's statistics are estimated again
LOOPED = 8  # photographs of a convolution in loops
SOME, FEW = 100, 1000  # with --data few: photographs that are named at once, and those that a CNN is trained on
FLOATS = "NumPy multiplies floats only: each call makes the weights floats again"
AXES = {"GPT": ("kB", "bits per byte"), "CNN": ("milliseconds for some photographs", "% of the test images misnamed")}

pytestmark = pytest.mark.timeout(1800)


class Language(NamedTuple):
    """Milestone 3's text, and the GPT that it trained: `trained`, and `clear`, as it was before kata 15."""

    texts: Corpus
    trained: GPT
    clear: GPT
    ids: np.ndarray  # of the first nine tenths
    others: np.ndarray  # of the last, which tests
    rows: np.ndarray  # the beginnings of texts

    @classmethod
    def of(cls, milestone, data: str) -> "Language":
        texts = few() if data == "few" else gpt.corpus(shakespeare(data))
        milestone.note(f"data: {texts.source}")
        trained, (ids, others) = milestone.trained(gpt, texts, Curve()).network, gpt.encoded(texts.train, texts.test)
        return cls(texts, trained, same(trained), ids, others, ids[: TEXTS * BEFORE].reshape(TEXTS, BEFORE))

    def bits(self, network: GPT) -> float:
        """Bits per byte of the last tenth."""
        return total_loss(network, self.others, CONTEXT) / math.log(2) / len(self.texts.test.encode())


class Vision(NamedTuple):
    """Milestone 2's photographs, and the CNN that it trained: `trained`, and `clear`, as it was before kata 15."""

    photos: Images
    trained: CNN
    clear: CNN
    x: Tensor  # some of the test images, and their labels
    y: Tensor

    @classmethod
    def of(cls, milestone, data: str) -> "Vision":
        photos = cifar10(data, recipe.read)
        if data == "few":
            train = {"train_images": photos.train_images[:FEW], "train_labels": photos.train_labels[:FEW]}
            photos = photos._replace(**train, source=f"{photos.source}, {FEW:,} to learn from")
        milestone.note(f"data: {photos.source}")
        trained = milestone.trained(recipe, photos, Curve()).network
        x, y = next(iter(recipe.in_order(photos.test_images, photos.test_labels)))
        return cls(photos, trained, same(trained), *[tensor[:SOME] if data == "few" else tensor for tensor in (x, y)])

    def accuracy(self, network: CNN) -> float:
        """In %, of the test images."""
        return 100 * validate(network, recipe.in_order(self.photos.test_images, self.photos.test_labels))


def same(network: GPT | CNN) -> GPT | CNN:
    """A network of clear code with the same parameters, in eval mode."""
    new = GPT(network.config) if isinstance(network, GPT) else recipe.build(np.random.default_rng(0))
    new.load_state_dict(network.state_dict())
    return new.eval()


class Faster(NamedTuple):
    """A row about the times of two works: how many times as long as `after` takes `before`."""

    label: str
    before: str
    after: str
    least: float = 1
    small: float = 1  # wanted with --data few
    why: str = ""  # the gain may be below 1


class Table:
    """The rows of a test, and what it shares with the others of this run: networks, gains, and points in the pictures."""

    def __init__(self, milestone, data: str, shared: dict):
        self.milestone, self.data, self.shared = milestone, data, shared
        self.gains = shared.setdefault("gains", {})
        self.points = shared.setdefault("points", {"GPT": {}, "CNN": {}})

    def once(self, name: str, make: Callable):
        """What make(milestone, data) gave to the first test that asked for it."""
        if name not in self.shared:
            self.shared[name] = make(self.milestone, self.data)
        return self.shared[name]

    @property
    def language(self) -> Language:
        """The text and its GPT."""
        return self.once("language", Language.of)

    @property
    def vision(self) -> Vision:
        """The photographs and their CNN."""
        return self.once("vision", Vision.of)

    @property
    def student(self) -> GPT:
        """The small GPT that learned from milestone 3's."""
        lesson = gpt_student.Lesson(self.language.texts, self.language.trained)
        return self.once("student", lambda milestone, _: same(learned(milestone, "GPT → student", gpt_student, lesson)))

    def timed(self, works: dict[str, Callable], *rows: "Faster", little: float = PATIENCE, number: int | None = None) -> Result:
        """The times of these works, in the same rounds, and rows about them.

        Where a row misses its bound, all is measured again, up to TRIES times: other programs may have taken a core meanwhile.
        With --data few `little` is the patience, and no number is used.
        """
        options = {"patience": little} if self.data == "few" else {"patience": PATIENCE, "number": number}
        for _ in range(TRIES):
            result = Benchmark(works, rounds=ROUNDS, warmup=1, **options).run()
            found = [(row, result.compare(row.before, row.after)) for row in rows]
            if all(row.why or 1 / each.ratio >= self.least(row.least, row.small) for row, each in found):
                break
        for row, each in found:
            label = f"{row.label}, timed once" if each.rounds == 1 else row.label
            self.gain(label, 1 / each.ratio, row.least, row.small, row.why)
        return result

    def least(self, least: float, small: float) -> float:
        """`least`, and with --data few `small`."""
        return small if self.data == "few" else least

    def gain(self, label: str, found: float, least: float, small: float, why: str = "") -> None:
        """A row: how many times as much the first of two takes. A gain may be below 1 only where `why` says the reason."""
        self.gains[label] = found
        self.milestone.row(label, found, "×", wanted="" if why else f"≥ {self.least(least, small)}")
        if why and found < 1:
            self.milestone.note(f"    {why}")

    def cost(self, label: str, value: float, unit: str, most: float, small: float) -> None:
        """A row of what a gain costs: bytes that are still needed, or accuracy."""
        self.milestone.row(label, value, unit, wanted=f"≤ {self.least(most, small)}")


@pytest.fixture(scope="module")
def shared() -> dict:
    """What the tests of this run share."""
    return {}


@pytest.fixture
def table(milestone, data, shared) -> Table:
    """Where a test's rows go."""
    return Table(milestone, data, shared)


def learned(milestone, title: str, recipe: ModuleType, lesson) -> Module:
    """What a recipe trains, with a row that says for how long."""
    trainer = milestone.trained(recipe, lesson, Curve())
    milestone.row(f"{title}: {trainer.step:,} steps", sum(epoch["seconds"] for epoch in trainer.history), "s")
    return trainer.network


def nbytes(network: Module) -> int:
    """The bytes of all that a network keeps."""
    return sum(array.nbytes for array in network.state_dict().values())


def reading(network: Module, x) -> Callable:
    """A call computes the network's result."""

    def call():
        with no_grad():
            return network(x)

    return call


def training(model: Module, optimizer: Optimizer, x, y) -> Callable:
    """A call is a training step."""

    def call():
        model.train()
        optimizer.zero_grad()
        model(x, y).backward()
        optimizer.step()

    return call


def steps(network: Module, optimizer: Callable, criterion: CrossEntropyLoss, x, y) -> dict[str, Callable]:
    """Training steps of two copies of a network: clear code, and kata 15."""
    clear, fast = same(network), same(network)
    model = data_parallel(accelerate(Objective(fast, criterion)))
    return {
        "clear": training(Objective(clear, criterion), optimizer(clear), x, y),
        "fast": training(model, flat(optimizer(fast)), x, y),
    }


def alone(network: GPT, rows: np.ndarray, length: int) -> Callable:
    """A call writes behind each row by itself, and reads all of the row again for each token. It gives the new ids."""
    return lambda: np.array([[*generate(network, row, length, temperature=0)] for row in rows])


def together(network: GPT, rows: np.ndarray, length: int) -> Callable:
    """A call writes behind all rows at once, with a cache. It gives the new ids."""
    decoder = Decoder(network)

    def call():
        cache, new = KVCache.of(network, len(rows)), []
        logits = prefill(network, rows, cache)
        for _ in range(length):
            new.append(logits.argmax(-1))
            logits = decoder.step(new[-1], cache)
        return np.stack(new, 1)

    return call


def test_every_call_is_timed():
    """A benchmark that leaves calls out, as the first of two, measures what a program takes whose work is done."""
    now, costs = [0.0], []

    def work():
        costs.append(1.0 + len(costs) % 2)
        now[0] += costs[-1]

    clock = Clock(*[lambda: now[0]] * 2)
    timing = Benchmark({"work": work}, rounds=ROUNDS, warmup=1, number=1, clock=clock).run().timings["work"]
    assert [timing.first, *timing.wall] == costs, f"calls took {costs} s, and were timed as {timing.first} and {timing.wall}"


def test_a_cnn_computes_faster(table):
    """Kata 09 makes products of a convolution's loops, and kata 15 makes these and a training step faster."""
    vision = table.vision
    x, y, clear, fast = vision.x, vision.y, vision.clear, accelerate(same(vision.clear))
    place = [i for i, layer in enumerate(clear.layers) if isinstance(layer, Conv2d)][1]
    inside, conv = reading(CNN(clear.layers[:place]).eval(), x[: 1 if table.data == "few" else LOOPED])(), clear.layers[place]
    works = {
        "loops": lambda: loop_conv2d(inside.data, conv.weight.data, conv.padding[0]),
        "clear": reading(conv, inside),
        "fast": reading(fast.layers[place], inside),
    }
    table.timed(
        works,
        Faster("a convolution of the CNN: loops → kata 09", "loops", "clear", 10, 10),
        Faster("a convolution of the CNN: loops → kata 15", "loops", "fast", 100, 100),
        little=LITTLE,
    )
    row = Faster(f"CNN, naming {len(x)} photographs: kata 09 → 15", "clear", "fast", 1.1, 1.3)
    table.timed({"clear": reading(clear, x), "fast": reading(fast, x)}, row, number=MANY)
    works = steps(clear, recipe.sgd, CrossEntropyLoss(label_smoothing=0.05), x[: recipe.BATCH], y[: recipe.BATCH])
    table.timed(works, Faster("CNN, a training step: kata 09 → 15", "clear", "fast", 1.1, 1), number=MANY)


def test_a_gpt_computes_faster(table):
    """Kata 15 makes reading and a training step faster. Of a network as small as that of --data few nothing is wanted."""
    language = table.language
    clear, fast = language.clear, accelerate(same(language.clear))
    x = language.ids[None, : 16 * CONTEXT]
    batch = map(Tensor, next_token_windows(language.ids, CONTEXT).batch(CONTEXT * np.arange(gpt.BATCH)))
    row = Faster(f"GPT, reading a text of {x.size} tokens: kata 14 → 15", "clear", "fast", 1, 0)
    table.timed({"clear": reading(clear, x), "fast": reading(fast, x)}, row, number=MANY)
    works = steps(clear, lambda copy: gpt.adamw(copy, gpt.LEARNING_RATE), CrossEntropyLoss(), *batch)
    table.timed(works, Faster("GPT, a training step: kata 14 → 15", "clear", "fast", 1, 0), number=MANY)


def test_each_token_is_read_once(table):
    """With kata 16's cache a long text takes no more than its tokens."""
    network, start = table.language.clear, table.language.ids[None, :1]
    cached = together(network, start, LONG)
    assert_each_id_is_the_likeliest(network, start, cached())
    row = Faster(f"GPT, writing {LONG} tokens: uncached → cached", "uncached", "cached", 10, 5)
    table.timed({"uncached": alone(network, start, LONG), "cached": cached}, row, little=LITTLE)


def variants(network: GPT | CNN, batches) -> dict[str, Module]:
    """What else kata 17 makes of a network: floats of 16 bits, and inputs of 8 bits whose ranges these batches show."""
    half, static = same(network), quantize(network)
    half.load_state_dict(half_state(network.state_dict()))
    with no_grad():
        calibrate(static, batches)
    return {"float16": half, "8 bits, inputs too": static}


def estimated(network: CNN, images: np.ndarray, labels: np.ndarray) -> None:
    """Estimates BatchNorm's running statistics again: those of sums of rounded weights differ from what was trained."""
    network.train()
    with no_grad():
        for x, _ in recipe.in_order(images, labels):
            network(x)
    network.eval()


def test_a_gpt_needs_fewer_bits(table, milestone):
    """Kata 17 keeps its weights in 8 bits, or 4."""
    language = table.language
    clear, x = language.clear, language.rows[:, :CONTEXT]
    before, works = language.bits(clear), {"float32": reading(clear, x)}
    milestone.row("GPT: bits per byte", before)
    table.points["GPT"]["float32"] = nbytes(clear) / 1000, before
    for bits, share, lost in ((8, (0.27, 0.3), (0.01, 0.02)), (4, (0.155, 0.18), (0.05, 0.2))):
        name, small = f"{bits} bits", quantize(clear, bits)
        after, works[name] = language.bits(small), reading(small, x)
        table.points["GPT"][name] = nbytes(small) / 1000, after
        table.gain(f"GPT → {name}: bytes", nbytes(clear) / nbytes(small), 3, 3)
        table.cost(f"GPT → {name}: share of all bytes that is left", nbytes(small) / nbytes(clear), "", *share)
        table.cost(f"GPT → {name}: bits per byte lost", after - before, "", *lost)
    batches = [language.ids[: len(language.ids) // CONTEXT * CONTEXT].reshape(-1, CONTEXT)[:ROWS]]
    for name, other in variants(clear, batches).items():
        milestone.row(f"GPT → {name}: bits per byte lost", language.bits(other) - before)
    names = "8 bits", "4 bits"
    table.timed(works, *[Faster(f"GPT → {name}: reading {x.size} tokens", "float32", name, why=FLOATS) for name in names])


def test_a_cnn_needs_fewer_bits(table, milestone):
    """Kata 17 keeps its weights in 8 bits, or 4."""
    vision = table.vision
    clear, before = vision.clear, vision.accuracy(vision.clear)
    works, errors = {"float32": reading(clear, vision.x)}, {}
    milestone.row("CNN: accuracy", before, "%")
    photos = vision.photos.train_images, vision.photos.train_labels
    for bits, share, lost in ((8, (0.27, 0.27), (0.5, 1)), (4, (0.155, 0.155), (1, 4))):
        name, small = f"{bits} bits", quantize(clear, bits)
        if bits == 4:
            milestone.row(f"CNN → {name}, BatchNorm as it was: accuracy lost", before - vision.accuracy(small), "points")
            estimated(small, *(part[:ESTIMATED] for part in photos))
        after, works[name] = vision.accuracy(small), reading(small, vision.x)
        errors[name] = 100 - after
        table.gain(f"CNN → {name}: bytes", nbytes(clear) / nbytes(small), 3, 3)
        table.cost(f"CNN → {name}: share of all bytes that is left", nbytes(small) / nbytes(clear), "", *share)
        table.cost(f"CNN → {name}: accuracy lost", before - after, "points", *lost)
    batches = [images for images, _ in recipe.in_order(*(part[:PHOTOS] for part in photos))]
    for name, other in variants(clear, batches).items():
        milestone.row(f"CNN → {name}: accuracy lost", before - vision.accuracy(other), "points")
    title = f"naming {len(vision.x)} photographs"
    found = table.timed(works, *[Faster(f"CNN → {name}: {title}", "float32", name, why=FLOATS) for name in errors])
    for name, error in errors.items():
        table.points["CNN"][name] = milliseconds(found, name), error


def test_a_pruned_cnn_is_smaller_and_faster(table, milestone):
    """Kata 18 removes channels, and all that depends on them."""
    vision = table.vision
    x, clear, fast = vision.x, vision.clear, accelerate(same(vision.clear))
    lesson = cifar10_pruned.Lesson(vision.photos, vision.trained)
    small = learned(milestone, "CNN → pruned", cifar10_pruned, lesson).eval()
    before, after = vision.accuracy(clear), vision.accuracy(small)
    found = table.timed(
        {"clear": reading(clear, x), "fast": reading(fast, x), "pruned": reading(accelerate(small), x)},
        Faster(f"CNN → pruned: naming {len(x)} photographs", "fast", "pruned", 1.5, 1.2),
        Faster("CNN, kata 09 → pruned, kata 15: the same photographs", "clear", "pruned", 1.5, 1.5),
        number=MANY,
    )
    table.gain("CNN → pruned: bytes", nbytes(clear) / nbytes(small), 2, 2)
    table.cost("CNN → pruned: accuracy lost", before - after, "points", 1, 5)
    for name, error in (("clear", 100 - before), ("fast", 100 - before), ("pruned", 100 - after)):
        table.points["CNN"][name] = milliseconds(found, name), error


def test_a_student_is_smaller_and_faster(table):
    """Kata 18 teaches a GPT of fewer and narrower layers what the large one would say."""
    language, student = table.language, table.student
    teacher, x, rows = language.clear, language.rows[:, :CONTEXT], language.rows[:, :1]
    works = {"teacher": reading(accelerate(same(teacher)), x), "student": reading(accelerate(same(student)), x)}
    table.timed(works, Faster(f"GPT → student: reading {x.size} tokens", "teacher", "student", 2, 1.3))
    for texts in (1, TEXTS):
        works = {"teacher": together(teacher, rows[:texts], NEW), "student": together(student, rows[:texts], NEW)}
        table.timed(works, Faster(f"GPT → student: writing {texts} × {NEW} tokens", "teacher", "student", 1.5, 1.1))
    table.gain("GPT → student: bytes", nbytes(teacher) / nbytes(student), 2, 2)
    before, after = language.bits(teacher), language.bits(student)
    table.cost("GPT → student: bits per byte lost", after - before, "", 0.1, 0.8)
    table.points["GPT"]["student"] = nbytes(student) / 1000, after


def test_all_of_it_together(table, milestone):
    """The gains of a cache, of many texts at once, and of a student multiply, and its weights need 4 bits."""
    language = table.language
    teacher, small, rows = language.clear, quantize(table.student, 4), language.rows
    cached = together(teacher, rows, NEW)
    assert_each_id_is_the_likeliest(teacher, rows, cached())
    title = f"{TEXTS} × {NEW} tokens"
    found = table.timed(
        {"alone": alone(teacher, rows, NEW), "together": cached, "small": together(small, rows, NEW)},
        Faster(f"{title}: alone, uncached → together, cached", "alone", "together", 50, 10),
        Faster(f"{title}: → student of 4 bits", "together", "small", 1.5, 1.1),
        Faster(f"{title}: all of it", "alone", "small", 100, 15),
        little=LITTLE,
    )
    first, second = 1 / found.compare("alone", "together").ratio, 1 / found.compare("together", "small").ratio
    milestone.note(f"    {first:.4g} × {second:.4g} = {first * second:.4g}")
    table.gain("GPT → student of 4 bits: bytes", nbytes(teacher) / nbytes(small), 10, 10)
    before, after = language.bits(teacher), language.bits(small)
    table.cost("GPT → student of 4 bits: bits per byte lost", after - before, "", 0.15, 1)
    table.points["GPT"]["student of 4 bits"] = nbytes(small) / 1000, after
    milestone.picture("4_gains", bars(table.gains))
    drawn = {name: points for name, points in table.points.items() if points}  # the CNN's are from other tests, if they ran
    milestone.picture("4_pareto", fronts(drawn, {name: pareto(points) for name, points in drawn.items()}, AXES))


def milliseconds(found: Result, name: str) -> float:
    """Of a work, in wall time."""
    return 1000 * float(np.median(found.timings[name].wall))


def assert_each_id_is_the_likeliest(network: GPT, rows: np.ndarray, new: np.ndarray) -> None:
    """What is written together and with a cache is what the network finds most likely when it reads all of it."""
    whole = np.concatenate([rows, new], 1)
    logits = reading(network, whole[:, :-1])().data[:, rows.shape[1] - 1 :]
    short = logits.max(-1) - np.take_along_axis(logits, new[..., None], -1)[..., 0]
    assert short.max() < 1e-2, f"a cache leads to an id whose logit is {short.max():.3g} below the highest"
