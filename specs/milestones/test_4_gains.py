"""Milestone 4: the networks of milestones 2 and 3 as they were built first, and as katas 15 to 18 make them, in one table.

Kata 19 measures it. A gain is how many times as much time, or bytes, the first of two takes as the second.
"""

import math
from collections.abc import Callable

import numpy as np
import pytest
from katas.acceleration import accelerate, data_parallel, flat, loop_conv2d
from katas.autograd import no_grad
from katas.benchmarking import Benchmark, Clock, Comparison, Result, pareto
from katas.caching import Decoder, KVCache, prefill
from katas.layers import Module
from katas.losses import CrossEntropyLoss
from katas.optimizers import Optimizer
from katas.precision import quantize
from katas.spatial import CNN, Conv2d
from katas.tensor import Tensor
from katas.training import Objective, validate
from katas.transformers import GPT, generate, next_token_windows

from specs.datasets.cifar10 import cifar10
from specs.datasets.text import shakespeare
from specs.milestones.pictures import Curve, bars, fronts
from specs.milestones.recipes import cifar10 as recipe
from specs.milestones.recipes import cifar10_pruned, gpt, gpt_student
from specs.milestones.recipes.gpt import CONTEXT
from specs.milestones.test_3_gpt import few, total_loss

ROUNDS = 9  # an interval of 99% needs eight
PATIENCE, LITTLE = 5.0, 0.3  # seconds of a call: what takes longer is timed once; LITTLE with --data few
LONG, TEXTS, NEW = 512, 16, 64  # tokens of a long text; texts at once, and how many tokens are written of each
BEFORE = 3 * CONTEXT  # tokens that each of the texts begins with
BATCH = 128  # photographs
FLOATS = "below 1 as NumPy multiplies floats only: each call makes the weights floats again"
PLANE_GPT, PLANE_CNN = ("kB", "bits per byte"), (f"milliseconds for {BATCH} photographs", "% of the test images misnamed")

pytestmark = pytest.mark.timeout(1800)


class Table:
    """The rows of one test, and what the pictures show of all that this run has measured."""

    def __init__(self, milestone, few: bool, gains: dict[str, float], points: dict[str, dict[str, tuple[float, float]]]):
        self.milestone, self.few, self.gains, self.points = milestone, few, gains, points

    def timed(self, **works: Callable) -> Result:
        """The times of these works, in the same rounds."""
        return Benchmark(works, rounds=ROUNDS, warmup=1, patience=LITTLE if self.few else PATIENCE).run()

    def point(self, network: str, name: str, x: float, y: float) -> None:
        """A point in the picture of this network."""
        self.points[network][name] = x, y

    def gain(self, label: str, found: float | Comparison, least: float = 1, few: float = 1, why: str = "") -> float:
        """A row, and its gain. What is wanted with --data few is `few`. Only where `why` says the reason it may be below 1."""
        if isinstance(found, Comparison):
            label += ", timed once" if found.rounds == 1 else ""
            found = 1 / found.ratio
        self.gains[label] = found
        self.milestone.row(label, found, "×", wanted="" if why else f"≥ {few if self.few else least}")
        if why:
            self.milestone.note(f"    {why}")
        return found

    def cost(self, label: str, value: float, unit: str, most: float, few: float) -> None:
        """A row of what is paid for a gain: bytes that are still kept, or accuracy that is lost."""
        self.milestone.row(label, value, unit, wanted=f"≤ {few if self.few else most}")


@pytest.fixture(scope="module")
def measured() -> tuple[dict, dict]:
    """The gains, and the points of the networks in the pictures."""
    return {}, {"GPT": {}, "CNN": {}}


@pytest.fixture
def table(milestone, data, measured) -> Table:
    """Where a test's rows go."""
    return Table(milestone, data == "few", *measured)


class Language:
    """Milestone 3's text, and the GPT that it trained: `trained`, and `clear`, as it was before kata 15."""

    def __init__(self, milestone, data: str):
        self.milestone, self.texts = milestone, few() if data == "few" else gpt.corpus(shakespeare(data))
        self.trained = milestone.trained(gpt, self.texts, Curve()).network
        self.clear = self.copy()
        self.ids, self.others = gpt.encoded(self.texts.train, self.texts.test)
        self.rows = self.ids[: TEXTS * BEFORE].reshape(TEXTS, BEFORE)
        milestone.note(f"data: {self.texts.source}")

    def copy(self) -> GPT:
        """Another one, of clear code, with the same parameters."""
        return copied(self.trained, GPT(self.trained.config))

    def bits(self, network: GPT) -> float:
        """Bits per byte of the last tenth."""
        return total_loss(network, self.others, CONTEXT) / math.log(2) / len(self.texts.test.encode())

    def student(self) -> GPT:
        """The small GPT that learned from the trained one, of clear code."""
        lesson = gpt_student.Lesson(self.texts, self.trained)
        small = self.milestone.trained(gpt_student, lesson, Curve()).network
        return copied(small, GPT(small.config))


class Vision:
    """Milestone 2's photographs, and the CNN that it trained: `trained`, and `clear`, as it was before kata 15."""

    def __init__(self, milestone, data: str):
        self.milestone, self.photos = milestone, cifar10(data, recipe.read)
        self.trained = milestone.trained(recipe, self.photos, Curve()).network
        self.clear = self.copy()
        self.tests = recipe.in_order(self.photos.test_images, self.photos.test_labels)
        self.batch = tuple([tensor[:BATCH] for tensor in next(iter(self.tests))])
        milestone.note(f"data: {self.photos.source}")

    def copy(self) -> CNN:
        """Another one, of clear code, with the same parameters."""
        return copied(self.trained, recipe.build(np.random.default_rng(0)))

    def accuracy(self, network: CNN) -> float:
        """In %, of the test images."""
        return 100 * validate(network, self.tests)

    def pruned(self) -> CNN:
        """What is left of the trained one."""
        lesson = cifar10_pruned.Lesson(self.photos, self.trained)
        return self.milestone.trained(cifar10_pruned, lesson, Curve()).network.eval()


def copied(network: Module, new: Module) -> Module:
    """The new one, with the other's parameters and buffers, in eval mode."""
    new.load_state_dict(network.state_dict())
    return new.eval()


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


def steps(copy: Callable, optimizer: Callable, criterion: CrossEntropyLoss, x, y) -> dict[str, Callable]:
    """Training steps of two copies of a network: clear code, and kata 15."""
    clear, fast = copy(), copy()
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


def test_a_cnn_computes_faster(milestone, data, table):
    """Kata 09 makes products of a convolution's loops, and kata 15 makes these and a training step faster."""
    vision = Vision(milestone, data)
    (x, y), clear, fast = vision.batch, vision.clear, accelerate(vision.copy())
    place = [i for i, layer in enumerate(clear.layers) if isinstance(layer, Conv2d)][1]
    inside = reading(CNN(clear.layers[:place]).eval(), x[:1])()
    conv = clear.layers[place]
    found = table.timed(
        loops=lambda: loop_conv2d(inside.data, conv.weight.data, conv.padding[0]),
        clear=reading(conv, inside),
        fast=reading(fast.layers[place], inside),
    )
    table.gain("a convolution of the CNN: loops → kata 09", found.compare("loops", "clear"), 10, 10)
    table.gain("a convolution of the CNN: loops → kata 15", found.compare("loops", "fast"), 100, 100)
    found = table.timed(clear=reading(clear, x), fast=reading(fast, x))
    table.gain(f"CNN, naming {len(x)} photographs: kata 09 → 15", found.compare("clear", "fast"), 1.2, 1.2)
    found = table.timed(**steps(vision.copy, recipe.sgd, CrossEntropyLoss(label_smoothing=0.05), x, y))
    table.gain("CNN, a training step: katas 09 and 10 → 15", found.compare("clear", "fast"), 1.3, 1.2)


def test_a_gpt_computes_faster(milestone, data, table):
    """Kata 15 makes reading and a training step faster."""
    language = Language(milestone, data)
    x, y = map(Tensor, next_token_windows(language.ids, CONTEXT).batch(CONTEXT * np.arange(gpt.BATCH)))
    found = table.timed(clear=reading(language.clear, x), fast=reading(accelerate(language.copy()), x))
    table.gain(f"GPT, reading {x.size} tokens: kata 14 → 15", found.compare("clear", "fast"), 1.2, 1.1)
    found = table.timed(**steps(language.copy, lambda copy: gpt.adamw(copy, gpt.LEARNING_RATE), CrossEntropyLoss(), x, y))
    table.gain("GPT, a training step: kata 14 → 15", found.compare("clear", "fast"), 1.3, 1.1)


def test_a_text_costs_no_more_than_its_tokens(milestone, data, table):
    """With kata 16's cache each token is read once."""
    language = Language(milestone, data)
    start, cached = language.ids[None, :1], together(language.clear, language.ids[None, :1], LONG)
    assert_each_id_is_the_likeliest(language.clear, start, cached())
    found = table.timed(uncached=alone(language.clear, start, LONG), cached=cached)
    table.gain(f"GPT, writing {LONG} tokens: uncached → cached", found.compare("uncached", "cached"), 10, 5)


def test_weights_need_fewer_bits(milestone, data, table):
    """Kata 17 keeps a GPT's weights in 8 bits, or 4."""
    language = Language(milestone, data)
    clear, x = language.clear, language.rows[:, :CONTEXT]
    before, works = language.bits(clear), {"float32": reading(clear, x)}
    milestone.row("GPT: bits per byte", before)
    table.point("GPT", "float32", nbytes(clear) / 1000, before)
    for bits, share, lost in ((8, (0.27, 0.3), (0.01, 0.02)), (4, (0.155, 0.18), (0.05, 0.2))):
        small = quantize(clear, bits)
        after, works[f"{bits} bits"] = language.bits(small), reading(small, x)
        table.point("GPT", f"{bits} bits", nbytes(small) / 1000, after)
        table.gain(f"GPT → {bits} bits: bytes", nbytes(clear) / nbytes(small), 3, 3)
        table.cost(f"GPT → {bits} bits: share of all bytes that is left", nbytes(small) / nbytes(clear), "", *share)
        table.cost(f"GPT → {bits} bits: bits per byte lost", after - before, "", *lost)
    found = table.timed(**works)
    for name in ("8 bits", "4 bits"):
        table.gain(f"GPT → {name}: reading {x.size} tokens", found.compare("float32", name), why=FLOATS)


def test_filters_need_fewer_bits(milestone, data, table):
    """Kata 17 keeps a CNN's weights in 8 bits, or 4."""
    vision = Vision(milestone, data)
    (x, _), clear = vision.batch, vision.clear
    before, works, errors = vision.accuracy(clear), {"float32": reading(clear, x)}, {}
    milestone.row("CNN: accuracy", before, "%")
    for bits, share, lost in ((8, (0.27, 0.27), (0.5, 1)), (4, (0.155, 0.155), (1, 4))):
        small = quantize(clear, bits)
        after, works[f"{bits} bits"] = vision.accuracy(small), reading(small, x)
        errors[f"{bits} bits"] = 100 - after
        table.gain(f"CNN → {bits} bits: bytes", nbytes(clear) / nbytes(small), 3, 3)
        table.cost(f"CNN → {bits} bits: share of all bytes that is left", nbytes(small) / nbytes(clear), "", *share)
        table.cost(f"CNN → {bits} bits: accuracy lost", before - after, "points", *lost)
    found = table.timed(**works)
    for name, error in errors.items():
        table.gain(f"CNN → {name}: naming {len(x)} photographs", found.compare("float32", name), why=FLOATS)
        table.point("CNN", name, milliseconds(found, name), error)


def test_a_pruned_cnn_is_smaller_and_faster(milestone, data, table):
    """Kata 18 removes channels, and all that depends on them."""
    vision = Vision(milestone, data)
    (x, _), small, fast = vision.batch, vision.pruned(), accelerate(vision.copy())
    before, after = vision.accuracy(vision.clear), vision.accuracy(small)
    found = table.timed(clear=reading(vision.clear, x), fast=reading(fast, x), pruned=reading(accelerate(small), x))
    table.gain(f"CNN → pruned: naming {len(x)} photographs", found.compare("fast", "pruned"), 1.5, 1.3)
    table.gain("CNN → pruned: bytes", nbytes(fast) / nbytes(small), 2, 2)
    table.cost("CNN → pruned: accuracy lost", before - after, "points", 1, 5)
    table.gain("CNN, kata 09 → pruned, kata 15", found.compare("clear", "pruned"), 2, 1.5)
    for name, lost in (("clear", 100 - before), ("fast", 100 - before), ("pruned", 100 - after)):
        table.point("CNN", name, milliseconds(found, name), lost)


def test_a_student_is_smaller_and_faster(milestone, data, table):
    """Kata 18 teaches a GPT of fewer and narrower layers what the large one would say."""
    language = Language(milestone, data)
    teacher, student, x, rows = language.clear, language.student(), language.rows[:, :CONTEXT], language.rows[:, :1]
    found = table.timed(teacher=reading(accelerate(language.copy()), x), student=reading(accelerate(language.student()), x))
    table.gain(f"GPT → student: reading {x.size} tokens", found.compare("teacher", "student"), 2, 1.5)
    for texts in (1, TEXTS):
        found = table.timed(teacher=together(teacher, rows[:texts], NEW), student=together(student, rows[:texts], NEW))
        title = f"GPT → student: writing {texts} × {NEW} tokens, cached"
        table.gain(title, found.compare("teacher", "student"), 1.5, 1.1)
    table.gain("GPT → student: bytes", nbytes(teacher) / nbytes(student), 2, 2)
    before, after = language.bits(teacher), language.bits(student)
    table.cost("GPT → student: bits per byte lost", after - before, "", 0.1, 0.6)
    table.point("GPT", "student", nbytes(student) / 1000, after)


def test_all_of_it_together(milestone, data, table):
    """The gains of a cache, of many texts at once, of a student and of 4 bits multiply."""
    language = Language(milestone, data)
    teacher, student, rows = language.clear, quantize(language.student(), 4), language.rows
    works = {
        "alone": alone(teacher, rows, NEW),
        "together": together(teacher, rows, NEW),
        "small": together(student, rows, NEW),
    }
    assert_each_id_is_the_likeliest(teacher, rows, works["together"]())
    found = table.timed(**works)
    title, what = f"{TEXTS} texts of {NEW} new tokens", "alone, uncached → together, cached"
    first = table.gain(f"{title}: {what}", found.compare("alone", "together"), 50, 10)
    second = table.gain(f"{title}: → student of 4 bits", found.compare("together", "small"), 1.5, 1.1)
    table.gain(f"{title}: all of it", found.compare("alone", "small"), 100, 15)
    milestone.note(f"    {first:.4g} × {second:.4g} = {first * second:.4g}")
    table.gain("GPT → student of 4 bits: bytes", nbytes(teacher) / nbytes(student), 10, 10)
    before, after = language.bits(teacher), language.bits(student)
    table.cost("GPT → student of 4 bits: bits per byte lost", after - before, "", 0.15, 0.8)
    table.point("GPT", "student of 4 bits", nbytes(student) / 1000, after)
    milestone.picture("4_gains", bars(table.gains))
    drawn = {name: points for name, points in table.points.items() if points}  # the CNN's are from other tests, if they ran
    best = {name: pareto(points) for name, points in drawn.items()}
    milestone.picture("4_pareto", fronts(drawn, best, {"GPT": PLANE_GPT, "CNN": PLANE_CNN}))


def milliseconds(found: Result, name: str) -> float:
    """Of a work, in wall time."""
    return 1000 * float(np.median(found.timings[name].wall))


def assert_each_id_is_the_likeliest(network: GPT, rows: np.ndarray, new: np.ndarray) -> None:
    """What is written together and with a cache is what the network finds most likely when it reads all of it."""
    whole = np.concatenate([rows, new], 1)
    logits = reading(network, whole[:, :-1])().data[:, rows.shape[1] - 1 :]
    short = logits.max(-1) - np.take_along_axis(logits, new[..., None], -1)[..., 0]
    assert short.max() < 1e-2, f"a cache leads to an id whose logit is {short.max():.3g} below the highest"
