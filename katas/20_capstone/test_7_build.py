import functools
import math
import time

import numpy as np
import pytest
from katas.autograd import no_grad
from katas.caching import Decoder
from katas.capstone import BuildConfig, Bundle, build
from katas.precision import Quantized, Quantized4
from katas.training import Progress
from katas.transformers import GPT, GPTConfig

from specs.check import assert_close, rejects
from specs.oracles import serving

WORDS = "she sells sea shells by the sea shore . the shells she sells are sea shells , I am sure . "
TEXT = (WORDS * 30)[:2400]
SHAPE = {"context": 8, "n_layer": 1, "n_head": 2, "d_model": 16}
TRAIN = {"epochs": 2, "steps": 6, "batch_size": 4, "lr": 3e-2}
QUICK = TRAIN | {"epochs": 1, "steps": 1}


@pytest.fixture
def text(tmp_path):
    """The path of a small text."""
    (tmp_path / "text.txt").write_text(TEXT)
    return str(tmp_path / "text.txt")


def config(text, **options) -> BuildConfig:
    """Of a small GPT that is trained for one step, and nothing else."""
    small = {"model": SHAPE, "train": QUICK, "vocab_size": 280, "name": "small", "accelerate": False, "cache": False}
    return BuildConfig(**{"text": text} | small | options)


built = functools.partial(build, tell=lambda stage: None)


def bits_per_byte(bundle: Bundle, text: str) -> float:
    """Of a text, row by row of `context` tokens, with loops."""
    ids, length, total = bundle.tokenizer.encode(text, special=True), bundle.model.config.context, 0.0
    for start in range(0, len(ids) - 1, length):
        part = ids[start : start + length]
        with no_grad():
            logprobs = serving.log_softmax(bundle.model(np.array([part])).data[0])
        for row, target in zip(logprobs, ids[start + 1 : start + 1 + length], strict=False):
            total -= row[target]
    return np.float32(total / math.log(2) / len(text.encode()))  # as exact as the logits


def held(bundle: Bundle) -> int:
    return sum(array.nbytes for array in bundle.model.state_dict().values())


def test_the_plain_stages(text, tmp_path):
    """Train, accelerate, cache: the bundle is saved and returned, and each stage is told and returned."""
    told = []
    bundle, stages = build(config(text, accelerate=True, cache=True), tmp_path / "bundle", tell=told.append)
    assert [stage.name for stage in stages] == ["train", "accelerate", "cache"]
    assert told == stages
    assert (bundle.name, bundle.end, bundle.accelerated) == ("small", "<|endoftext|>", True)
    assert bundle.model.config == GPTConfig(bundle.tokenizer.vocab_size, **SHAPE)
    found = Bundle.load(tmp_path / "bundle")
    want = bundle.model.state_dict()
    assert all(np.array_equal(array, want[name]) for name, array in found.model.state_dict().items())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle", "text.txt"]


def test_what_a_stage_says(text, tmp_path):
    """nbytes are those of the state_dict, bits the bits per byte of the last tenth of the text, speed tokens a second."""
    bundle, stages = built(config(text, train=TRAIN), tmp_path / "bundle")
    (stage,) = stages
    assert not bundle.accelerated
    assert stage.nbytes == held(bundle)
    assert_close(np.float32(stage.bits), bits_per_byte(bundle, TEXT[len(TEXT) * 9 // 10 :]))
    assert stage.speed > 0
    blind = math.log2(bundle.tokenizer.vocab_size) * len(bundle.tokenizer.encode(TEXT)) / len(TEXT)  # all ids equally probable
    assert stage.bits < 0.8 * blind


def test_speed_is_measured(text, tmp_path, monkeypatch):
    """A GPT whose forward takes 4 ms more writes at most 250 tokens a second, and the GPT itself writes faster."""
    _, (plain,) = built(config(text), tmp_path / "plain")
    real = GPT.forward
    monkeypatch.setattr(GPT, "forward", lambda *inputs, **options: time.sleep(0.004) or real(*inputs, **options))
    _, (slow,) = built(config(text), tmp_path / "slow")
    assert slow.speed <= 250
    assert slow.speed < plain.speed


def test_characters_of_several_bytes(text, tmp_path):
    """Bits are those of a byte, not of a character."""
    (tmp_path / "text.txt").write_text("für Grüße 5 € " * 150, encoding="utf-8")
    bundle, (stage,) = built(config(text), tmp_path / "bundle")
    assert_close(np.float32(stage.bits), bits_per_byte(bundle, "für Grüße 5 € " * 15))


def test_the_end_of_a_document(text, tmp_path):
    """END in the text is one token, in the last tenth too: documents of one word cost about a bit for each token."""
    (tmp_path / "text.txt").write_text("shells<|endoftext|>" * 150)
    bundle, (stage,) = built(config(text, train=TRAIN), tmp_path / "bundle")
    judged = ("shells<|endoftext|>" * 150)[19 * 135 :]
    assert_close(np.float32(stage.bits), bits_per_byte(bundle, judged))
    assert stage.bits < 3 * 2 / 19


def test_all_stages(text, tmp_path):
    """In this order: train, distill, prune, quantize, accelerate, cache. Each says what it did."""
    student = {"context": 8, "n_layer": 1, "n_head": 2, "d_model": 8}
    distill = {"model": student, "train": TRAIN}
    chosen = {"distill": distill, "prune": 0.5, "quantize": 8, "accelerate": True, "cache": True}
    bundle, stages = built(config(text, **chosen), tmp_path / "bundle")
    by_name = {stage.name: stage for stage in stages}
    assert [*by_name] == ["train", "distill", "prune", "quantize", "accelerate", "cache"]
    sizes = [stage.nbytes for stage in stages]
    assert sizes[0] > sizes[1] > sizes[2] > sizes[3] == sizes[4] == sizes[5] == held(bundle)
    assert_close(np.float32(stages[-1].bits), bits_per_byte(bundle, TEXT[len(TEXT) * 9 // 10 :]))
    assert bundle.model.config == GPTConfig(bundle.tokenizer.vocab_size, **student)
    assert abs(by_name["accelerate"].bits - by_name["quantize"].bits) < 1e-4
    assert by_name["cache"].bits == by_name["accelerate"].bits
    Bundle.load(tmp_path / "bundle")


@pytest.mark.parametrize("cache", [True, False])
def test_cache_writes_through_a_decoder(cache, text, tmp_path, monkeypatch):
    """Without the stage cache, nothing is written through kata 16's Decoder; with it, its speed is that of the Decoder."""
    calls, real = [], Decoder.step
    monkeypatch.setattr(Decoder, "step", lambda *arguments: calls.append(1) or real(*arguments))
    built(config(text, cache=cache), tmp_path / "bundle")
    assert bool(calls) == cache


def test_distill_learns_from_the_teacher(text, tmp_path):
    """The student of a trained teacher is itself trained: its bits are far below those of the untrained."""
    none = QUICK | {"lr": 1e-9}
    few = config(text, train=TRAIN, distill={"model": SHAPE, "train": none})
    many = config(text, train=TRAIN, distill={"model": SHAPE, "train": TRAIN})
    (_, (first, untrained)), (_, (same, student)) = built(few, tmp_path / "a"), built(many, tmp_path / "b")
    assert same.bits == first.bits
    assert student.bits < 0.8 * untrained.bits


def test_a_student_depends_on_its_teacher(text, tmp_path):
    """Two teachers of the same seed that learn at different rates give different students."""
    distill = {"model": SHAPE | {"d_model": 8}, "train": TRAIN | {"epochs": 1}}
    one, other = (
        built(config(text, train=TRAIN | {"lr": rate}, distill=distill), tmp_path / str(rate))[0] for rate in (1e-9, 3e-2)
    )
    state = other.model.state_dict()
    assert any(not np.array_equal(array, state[name]) for name, array in one.model.state_dict().items())


@pytest.mark.parametrize(("share", "heads", "neurons"), [(0.25, 2, 48), (0.5, 1, 32), (0.99, 1, 1)])
def test_prune(share, heads, neurons, text, tmp_path):
    """The fraction of the heads and of the neurons is removed, but never the last one; the weakest go."""
    whole, _ = built(config(text), tmp_path / "whole")
    bundle, _ = built(config(text, model=str(tmp_path / "whole"), prune=share), tmp_path / "bundle")
    ((mine,), (other,)) = (one.model.transformer.h for one in (bundle, whole))
    assert (mine.attn.n_head, mine.mlp.c_fc.out_features) == (heads, neurons)
    norms = np.linalg.norm(other.mlp.c_proj.weight.data, axis=0)
    kept = [np.flatnonzero((row == other.mlp.c_fc.weight.data).all(1))[0] for row in mine.mlp.c_fc.weight.data]
    assert len(set(kept)) == neurons
    assert neurons == 64 or norms[kept].mean() > norms.mean()


@pytest.mark.parametrize(("bits", "kind"), [(8, Quantized), (4, Quantized4)])
def test_quantize(bits, kind, text, tmp_path):
    """The bundle that is saved and returned holds integers."""
    bundle, _ = built(config(text, quantize=bits), tmp_path / "bundle")
    for one in (bundle, Bundle.load(tmp_path / "bundle")):
        assert type(one.model.transformer.h[0].mlp.c_fc.weight) is kind


def test_half_and_chat(text, tmp_path):
    """half=True halves the file, not what is in memory; name and chat are the bundle's."""
    chat = {"user": ("U:", "\n"), "assistant": ("A:", "\n")}
    options = {"train": TRAIN | {"epochs": 1, "steps": 2}}
    for half in (False, True):
        bundle, stages = built(config(text, half=half, chat=chat, **options), tmp_path / str(half))
        assert {stage.nbytes for stage in stages} == {sum(array.nbytes for array in bundle.model.state_dict().values())}
        assert bundle.chat == Bundle.load(tmp_path / str(half)).chat == chat
    sizes = [(tmp_path / str(half) / "model.safetensors").stat().st_size for half in (False, True)]
    assert sizes[1] < 0.6 * sizes[0]


def test_the_last_tenth_trains_nothing(text, tmp_path):
    """With another last tenth, the tokenizer and every weight are the same, and only the bits differ."""
    options = {"train": TRAIN | {"epochs": 1}}
    (one, (before,)) = built(config(text, **options), tmp_path / "one")
    cut = len(TEXT) * 9 // 10
    (tmp_path / "text.txt").write_text(TEXT[:cut] + "zebra! " * ((len(TEXT) - cut) // 7) + "z" * ((len(TEXT) - cut) % 7))
    (other, (after,)) = built(config(text, **options), tmp_path / "other")
    assert one.tokenizer.vocab == other.tokenizer.vocab
    want = one.model.state_dict()
    assert all(np.array_equal(array, want[name]) for name, array in other.model.state_dict().items())
    assert after.bits > before.bits


def test_the_last_tenth_trains_no_student(text, tmp_path):
    """Of a loaded teacher either."""
    built(config(text), tmp_path / "first")
    distill = {"model": SHAPE, "train": TRAIN | {"epochs": 1}}
    options = {"model": str(tmp_path / "first"), "distill": distill}
    cut, states = len(TEXT) * 9 // 10, []
    for rest in (TEXT[cut:], "z" * (len(TEXT) - cut)):
        (tmp_path / "text.txt").write_text(TEXT[:cut] + rest)
        bundle, _ = built(config(text, **options), tmp_path / "second")
        states.append(bundle.model.state_dict())
    assert all(np.array_equal(array, states[1][name]) for name, array in states[0].items())


def test_seeds(text, tmp_path):
    """The same seed gives the same weights, another one others."""
    options = {"train": TRAIN | {"epochs": 1, "steps": 3}}
    first, again, other = (
        built(config(text, seed=seed, **options), tmp_path / name)[0].model.transformer.wte.weight.data
        for name, seed in (("a", 5), ("b", 5), ("c", 6))
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_a_bundle_to_start_from(text, tmp_path):
    """model may be the folder of a bundle: nothing is trained, its tokenizer, end and weights stay, and the stage is "load"."""
    first, _ = built(config(text, accelerate=True), tmp_path / "first")
    options = {"model": str(tmp_path / "first"), "quantize": 8, "accelerate": True, "name": "second"}
    bundle, stages = built(config(text, **options), tmp_path / "second")
    assert [stage.name for stage in stages] == ["load", "quantize", "accelerate"]
    assert (bundle.name, bundle.end) == ("second", "<|endoftext|>")
    assert bundle.tokenizer.vocab == first.tokenizer.vocab
    assert_close(np.float32(stages[0].bits), bits_per_byte(first, TEXT[len(TEXT) * 9 // 10 :]))


def test_a_loaded_bundle_keeps_its_name_and_chat(text, tmp_path):
    """Unless the config has others. Without either a bundle is "gpt", and has no chat."""
    chat, other = ({"assistant": (before, "")} for before in "ab")
    plain, _ = built(config(text, name=None), tmp_path / "plain")
    assert (plain.name, plain.chat) == ("gpt", None)
    built(config(text, name="first", chat=chat), tmp_path / "first")
    for asked, want in (
        ({"name": None}, ("first", chat)),
        ({"name": "other", "chat": other}, ("other", other)),
        ({"name": ""}, ("", chat)),
    ):
        bundle, _ = built(config(text, model=str(tmp_path / "first"), **asked), tmp_path / "second")
        assert (bundle.name, bundle.chat) == want


@pytest.mark.parametrize("absent", [False, None])
def test_false_and_none_leave_a_stage_out(absent, text, tmp_path):
    """Then only the training is left."""
    off = dict.fromkeys(("distill", "prune", "quantize", "half", "accelerate", "cache"), absent)
    _, stages = built(config(text, **off), tmp_path / "bundle")
    assert [stage.name for stage in stages] == ["train"]


class Counted(Progress):
    """Counts the steps of each training."""

    steps = ()

    def begin(self, *arguments) -> None:
        super().begin(*arguments)
        self.steps = [*self.steps, 0]

    def step(self, *arguments) -> None:
        super().step(*arguments)
        self.steps[-1] += 1


def test_epochs_have_steps(text, tmp_path):
    """Each training takes its own epochs · steps."""
    progress, distill = Counted(), {"model": SHAPE, "train": TRAIN | {"epochs": 1, "steps": 3}}
    built(config(text, train=TRAIN | {"epochs": 2, "steps": 5}, distill=distill), tmp_path / "bundle", progress)
    assert progress.steps[1:] == [10, 3]  # the first count is from before the training


class Interrupted(Progress):
    """Ends the process's training, as Ctrl-C does, after an epoch."""

    def end_epoch(self, *arguments) -> None:
        super().end_epoch(*arguments)
        if self.done == self.stop:
            raise KeyboardInterrupt


def test_an_interrupted_build_resumes(text, tmp_path, capsys):
    """Training goes through a checkpoint: after Ctrl-C, the next build gets the weights of a build without a break. There is
    no bundle before the end, and no checkpoint after it.
    """
    options = {"train": TRAIN | {"epochs": 3, "steps": 4}}
    whole, _ = built(config(text, **options), tmp_path / "whole")
    progress = Interrupted()
    progress.stop = 2
    with rejects(KeyboardInterrupt):
        built(config(text, **options), tmp_path / "bundle", progress)
    assert not (tmp_path / "bundle").exists()
    seen = Interrupted()
    seen.stop = 9
    bundle, _ = built(config(text, **options), tmp_path / "bundle", seen)
    assert seen.first == 1
    want = whole.model.state_dict()
    assert all(np.array_equal(array, want[name]) for name, array in bundle.model.state_dict().items())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle", "text.txt", "whole"]


def test_a_build_that_could_not_save_keeps_its_training(text, tmp_path, monkeypatch):
    """With a full disk at the end, the next build goes on behind the last epoch."""
    options = {"train": TRAIN | {"epochs": 3, "steps": 2}}

    def full(*arguments, **further):
        raise OSError("the disk is full")

    with monkeypatch.context() as patched, rejects(OSError, "full"):
        patched.setattr(Bundle, "save", full)
        built(config(text, **options), tmp_path / "bundle")
    seen = Interrupted()
    seen.stop = 9
    built(config(text, **options), tmp_path / "bundle", seen)
    assert seen.first == 3


@pytest.mark.parametrize("change", ["model", "text", "seed"])
def test_a_checkpoint_of_another_build_is_not_resumed(change, text, tmp_path):
    """After Ctrl-C, a build of another config or another text begins anew."""
    options, progress = {"train": TRAIN | {"epochs": 3, "steps": 2}}, Interrupted()
    progress.stop = 2
    with rejects(KeyboardInterrupt):
        built(config(text, **options), tmp_path / "bundle", progress)
    if change == "text":
        (tmp_path / "text.txt").write_text(TEXT + "shells . ")
    elif change == "model":
        options["model"] = SHAPE | {"d_model": 8}
    else:
        options["seed"] = 7
    seen = Interrupted()
    seen.stop = 9
    bundle, _ = built(config(text, **options), tmp_path / "bundle", seen)
    want, _ = built(config(text, **options), tmp_path / "whole")
    state = want.model.state_dict()
    assert all(np.array_equal(array, state[name]) for name, array in bundle.model.state_dict().items())


class Never(Progress):
    """Of a build that trains nothing."""

    def step(self, *arguments) -> None:
        raise AssertionError("it trains")


@pytest.mark.parametrize(
    ("option", "told"),
    [
        ({"prune": 1.0}, ("prune", "1.0")),
        ({"prune": 0.0}, ("prune", "0.0")),
        ({"prune": "half"}, ("prune", "half")),
        ({"quantize": 5}, ("quantize", "5")),
        ({"chat": {"user": ("", "")}}, ("assistant",)),
        ({"model": SHAPE | {"n_head": 3}}, ("n_head",)),
        ({"train": {"epochs": 1}}, ("train",)),
        ({"train": TRAIN | {"beta": 1}}, ("train", "beta")),
        ({"train": None}, ("train", "None")),
        ({"quantize": 0}, ("quantize", "0")),
        ({"distill": {}}, ("distill", "{}")),
        ({"distill": {"model": SHAPE}}, ("distill",)),
        ({"distill": {"train": TRAIN}}, ("distill",)),
        ({"distill": {"model": SHAPE, "train": TRAIN, "epochs": 3}}, ("distill",)),
        ({"distill": {"model": SHAPE, "train": {"epochs": 1}}}, ("distill",)),
        ({"distill": {"model": SHAPE, "train": [*TRAIN]}}, ("distill",)),
        ({"distill": ["model", "train"]}, ("distill",)),
        ({"distill": {"model": SHAPE | {"n_head": 3}, "train": TRAIN}}, ("n_head",)),
        ({"distill": {"model": SHAPE | {"context": 9}, "train": TRAIN}}, ("distill", "9")),
        ({"distill": {"model": SHAPE | {"context": 9, "positions": "rotary", "window": 2}, "train": TRAIN}}, ("distill", "9")),
    ],
)
def test_mistakes_show_before_the_training(option, told, text, tmp_path):
    """A ValueError contains what doesn't fit, before anything is trained or written."""
    with rejects(ValueError, *told):
        built(config(text, **option), tmp_path / "bundle", Never())
    assert [path.name for path in tmp_path.iterdir()] == ["text.txt"]


def test_a_folder_that_can_not_be_replaced_shows_before_the_training(text, tmp_path):
    """A FileExistsError contains a folder that holds anything but a bundle, before anything is trained."""
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "letter.txt").write_text("dear")
    with rejects(FileExistsError, "bundle"):
        built(config(text), tmp_path / "bundle", Never())


def test_a_text_that_is_too_short(text, tmp_path):
    """A ValueError contains its path before anything is told, trained or written: there must be more tokens to learn from than
    the `context` of each GPT that learns, and two to judge by.
    """
    first, _ = built(config(text), tmp_path / "first")
    loaded, distill = {"model": str(tmp_path / "first")}, {"model": SHAPE, "train": QUICK}
    learned = [len(first.tokenizer.encode(TEXT[: size * 9 // 10])) for size in range(400)]
    for content, options in (
        ("", {}),
        (TEXT[:40], {"model": SHAPE | {"context": 60}}),
        ("", loaded),
        ("she sells ", loaded),  # a tenth is one space
        (TEXT[: learned.index(8)], loaded | {"distill": distill}),
    ):
        (tmp_path / "text.txt").write_text(content)
        with rejects(ValueError, text):
            build(config(text, **options), tmp_path / "bundle", Never(), tell=Never().step)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["first", "text.txt"]
    (tmp_path / "text.txt").write_text(TEXT[: learned.index(9)])
    built(config(text, distill=distill, **loaded), tmp_path / "bundle")


def test_a_loaded_bundle_needs_only_a_text_to_judge_by(text, tmp_path):
    """Where nothing learns, the nine tenths may be shorter than the context."""
    first, _ = built(config(text), tmp_path / "first")
    assert len(first.tokenizer.encode(TEXT[:16])) < SHAPE["context"]
    (tmp_path / "text.txt").write_text(TEXT[:16] + "xx")
    _, stages = built(config(text, model=str(tmp_path / "first")), tmp_path / "second")
    assert [stage.name for stage in stages] == ["load"]


def test_a_student_of_a_loaded_bundle(text, tmp_path):
    """It learns from the nine tenths of the text; `train`, which may be anything, is not looked at."""
    distill = {"model": SHAPE | {"d_model": 8}, "train": TRAIN}
    first, _ = built(config(text), tmp_path / "first")
    options = {"model": str(tmp_path / "first"), "train": {}}
    bundle, stages = built(config(text, distill=distill, **options), tmp_path / "second")
    assert [stage.name for stage in stages] == ["load", "distill"]
    assert bundle.tokenizer.vocab == first.tokenizer.vocab
    assert stages[1].bits < 0.95 * stages[0].bits


def test_a_checkpoint_of_another_teacher_is_not_resumed(text, tmp_path):
    """Where the loaded bundle was exchanged after Ctrl-C, its student begins anew."""
    distill = {"model": SHAPE | {"d_model": 8}, "train": TRAIN | {"epochs": 3, "steps": 1}}
    options = {"model": str(tmp_path / "first"), "distill": distill}
    progress, seen = Interrupted(), Interrupted()
    built(config(text), tmp_path / "first")
    progress.stop, seen.stop = 2, 9
    with rejects(KeyboardInterrupt):
        built(config(text, **options), tmp_path / "second", progress)
    built(config(text, seed=7), tmp_path / "first")
    built(config(text, **options), tmp_path / "second", seen)
    assert seen.first == 0


def test_a_missing_text(tmp_path):
    """A FileNotFoundError contains its name."""
    with rejects(FileNotFoundError, "nowhere.txt"):
        built(config(str(tmp_path / "nowhere.txt")), tmp_path / "bundle")
