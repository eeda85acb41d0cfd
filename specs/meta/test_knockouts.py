from pathlib import Path

import pytest

from specs.meta.catalogue import Wrong
from specs.meta.judge import Watch, apart, run, told

pytestmark = pytest.mark.timeout(300)
XOR = "specs/milestones/test_1_xor.py"
DIGITS = "specs/milestones/test_2_mlp.py::test_a_network_learns_digits_by_hand_derived_backward"
TRAINED = "specs/milestones/test_2_mlp.py::test_a_network_learns_digits_through_autograd_and_a_trainer"
STEPS = "specs/milestones/test_2_mlp.py::test_training_is_what_the_mathematics_say"
CNN = "specs/milestones/test_2_cnn.py"
PHOTOS = "specs/milestones/test_2_cifar10.py::test_a_cnn_recognises_photographs"
EPOCH = "specs/milestones/test_2_cifar10.py::test_an_epoch_shows_each_image_once"
IDS = "specs/milestones/test_3_tokenizer.py::test_texts_get_the_ids_that_gpt2_gives_them"
MERGES = "specs/milestones/test_3_tokenizer.py::test_a_tokenizer_is_trained_in_seconds"
LANGUAGE = "specs/milestones/test_3_gpt.py::test_a_gpt_learns_a_language"
UNSEEN = "specs/milestones/test_3_gpt.py::test_training_does_not_see_the_last_tenth"
FAST = "specs/milestones/test_4_gains.py::test_a_cnn_computes_faster"
CACHED = "specs/milestones/test_4_gains.py::test_each_token_is_read_once"
BITS = "specs/milestones/test_4_gains.py::test_a_gpt_needs_fewer_bits"
PRUNED = "specs/milestones/test_4_gains.py::test_a_pruned_cnn_is_smaller_and_faster"
STUDENT = "specs/milestones/test_4_gains.py::test_a_student_is_smaller_and_faster"
TIMED = "specs/milestones/test_4_gains.py::test_every_call_is_timed"
SERVED = "specs/milestones/test_5_production.py::test_many_clients_are_answered_rightly"
HARM = "specs/milestones/test_5_production.py::test_what_clients_do_wrong_harms_no_other"
STREAMED = "specs/milestones/test_5_production.py::test_a_stream_comes_token_by_token"
QUEUE = "specs/milestones/test_5_production.py::test_a_full_queue_refuses_and_who_leaves_makes_room"
SIGTERM = "specs/milestones/test_5_production.py::test_sigterm_ends_it_when_accepted_requests_are_done"
GATHER = "return tuple([array[np.asarray(indices)] for array in self.arrays])"
BATCHES = "batches = (now._batch(order[start : start + now.batch_size], rng) for start in starts)"


def frozen(condition: str) -> dict[str, str]:
    """Patches a Linear so that its weight learns only where the condition holds."""
    line = "accumulate(self.weight, grads.T @ rows)"
    return {f"        {line}": f"        if {condition}:\n            {line}"}


KNOCKOUTS = [
    (XOR, "03", Wrong("tanh is the identity", {"y = x.tanh()": "y = x * 1.0", "grad * (1 - y * y)": "grad * 1.0"})),
    (XOR, "04", Wrong("weights never move", frozen("False"))),
    (XOR, "04", Wrong("the hidden layer is frozen", frozen("self.in_features > 2"))),
    (XOR, "05", Wrong("the gradient has the wrong sign", {"(sigmoid - y) * (float(grad)": "(y - sigmoid) * (float(grad)"})),
    (
        DIGITS,
        "03",
        Wrong("ReLU is the identity", {"y = maximum(x, 0)": "y = x * 1.0 ", "(bits * (y > 0)).view(grad.dtype)": "grad * 1.0"}),
    ),
    (STEPS, "03", Wrong("ReLU lets every gradient through", {"(bits * (y > 0)).view(grad.dtype)": "grad * 1.0"})),
    (DIGITS, "04", Wrong("the hidden layer is frozen", frozen("self.in_features < 784"))),
    (STEPS, "05", Wrong("the loss looks at the next class", {"labels = labels[rows]": "labels = (labels[rows] + 1) % 10"})),
    (STEPS, "05", Wrong("the gradient is a sum, not a mean", {"float(grad) / len(rows)": "float(grad)"})),
    (
        STEPS,
        "07",
        Wrong("maximum lets every gradient through", {"unbroadcast(_taken(g, a > b), a.shape)": "unbroadcast(g, a.shape)"}),
    ),
    (
        STEPS,
        "07",
        Wrong(
            "a product has no gradient for its second factor",
            {"return np.matmul(rows.T, g, out=np.empty_like(columns)).reshape(b.shape)": "return np.zeros_like(b)"},
        ),
    ),
    (
        TRAINED,
        "07",
        Wrong("the hidden layer is frozen", {"leaves[tensor] = grad": "leaves[tensor] = grad * (len(tensor) == 10)"}),
    ),
    (
        CNN,
        "09",
        Wrong("filters never move", {"return (pixels.T @ columns).reshape": "return (0 * pixels.T @ columns).reshape"}),
    ),
    (
        CNN,
        "09",
        Wrong("a convolution ignores its weight", {"return (columns @ rows.T)": "return (columns @ np.ones_like(rows).T)"}),
    ),
    (
        CNN,
        "09",
        Wrong(
            "the running statistics never run",
            {"self.momentum * (mean.data": "0 * (mean.data", "self.momentum * (var.data": "0 * (var.data"},
        ),
    ),
    (
        PHOTOS,
        "09",
        Wrong("filters never move", {"return (pixels.T @ columns).reshape": "return (0 * pixels.T @ columns).reshape"}),
    ),
    (PHOTOS, "09", Wrong("normalisation is always in train mode", {"        if self.training:\n": "        if True:\n"})),
    (PHOTOS, "09", Wrong("normalisation is always in eval mode", {"        if self.training:\n": "        if False:\n"})),
    (
        PHOTOS,
        "10",
        Wrong("labels are shuffled", {GATHER: GATHER.replace("(indices)]", "(indices)[:: 1 if array.ndim > 1 else -1]]")}),
    ),
    (
        EPOCH,
        "10",
        Wrong("every other batch is repeated", {BATCHES: BATCHES.replace("order[start :", "order[start // 256 * 256 :")}),
    ),
    (
        IDS,
        "11",
        Wrong("the longest token is made first", {"(rank, ids[left + right])": "(-len(left + right), ids[left + right])"}),
    ),
    (
        IDS,
        "11",
        Wrong("bytes are shown at a constant offset", {"chr(byte if byte in own else next(others))": "chr(256 + byte)"}),
    ),
    (IDS, "11", Wrong("white space is one piece", {r"|\s+(?!\S)|\s+": r"|\s+"})),
    (IDS, "11", Wrong("special tokens are text", {"_split(text, self.special_tokens if special else ())": "_split(text, ())"})),
    (
        IDS,
        "11",
        Wrong(
            "each token is decoded alone",
            {
                'return self.decode_bytes(ids).decode(errors="replace")': (
                    'return "".join([self.decode_bytes([number]).decode(errors="replace") for number in ids])'
                )
            },
        ),
    ),
    (
        MERGES,
        "11",
        Wrong("the rarest pairs are merged", {"return -count, tuple": "return count, tuple", "!= -count:": "!= count:"}),
    ),
    (
        LANGUAGE,
        "11",
        Wrong(
            "empty lines are dropped",
            {"list(self._encoded(text, special))": 'list(self._encoded(text.replace("\\n\\n", "\\n"), special))'},
        ),
    ),
    (
        LANGUAGE,
        "12",
        Wrong(
            "embeddings learn from the logits alone",
            {"np.add.reduceat(g, first, 0, np.float64)": "0 * np.add.reduceat(g, first, 0, np.float64)"},
        ),
    ),
    (LANGUAGE, "13", Wrong("attention is uniform", {"(q * (1 / math.sqrt(q.shape[-1]))) @ k.T": "(q * 0.0) @ k.T"})),
    (LANGUAGE, "13", Wrong("there are no positions", {"if self.positions is not None:": "if False:"})),
    (
        LANGUAGE,
        "13",
        Wrong(
            "each token peeks at the next",
            {"np.tri(queries, keys, keys - queries, bool)": "np.tri(queries, keys, keys - queries + 1, bool)"},
        ),
    ),
    (LANGUAGE, "14", Wrong("embeddings never move", {"parameter.ndim > 1]\n": "parameter.ndim > 1][1:]\n"})),
    (LANGUAGE, "14", Wrong("targets are the tokens themselves", {"windows[:, 1:])": "windows[:, :-1])"})),
    (
        LANGUAGE,
        "14",
        Wrong(
            "ids are drawn whatever their logits",
            {"logits[order].astype(np.float64) - logits[order[0]]": "0.0 * logits[order]"},
        ),
    ),
    (
        UNSEEN,
        "08",
        Wrong(
            "validation data are trained on",
            {"self.optimizer, data, steps": "self.optimizer, [*data, *(validation or ())], steps"},
        ),
    ),
    (FAST, "15", Wrong("accelerate changes nothing", {"if type(value) in _FAST:": "if False:"})),
    (
        CACHED,
        "16",
        Wrong(
            "a cache recomputes", {"starts[:] = ends": "self.model(np.tile(ids[:, None], 1 + longest % 64)); starts[:] = ends"}
        ),
    ),
    (
        BITS,
        "17",
        Wrong(
            "8 bits are kept in float32",
            {"np.clip(values, -127, 127, out=values).astype(np.int8)": "np.clip(values, -127, 127, out=values)"},
        ),
    ),
    (
        PRUNED,
        "18",
        Wrong(
            "pruning only sets a flag",
            {"    _shrink([(*cut[:3], indices(cut.repeat)) for cut in space.cuts])": "    layer.pruned = True"},
        ),
    ),
    (
        STUDENT,
        "18",
        Wrong(
            "a student copies its teacher",
            {"alpha = student, temp": "alpha = vars(student).update(vars(teacher)) or student, temp"},
        ),
    ),
    (
        TIMED,
        "19",
        Wrong(
            "only the second run is timed",
            {"cpu_start, wall_start = cpu(), wall()": "_, cpu_start, wall_start = work(), cpu(), wall()"},
        ),
    ),
    (SERVED, "20", Wrong("a request's seed is dropped", {"None if seed is None else seed + choice": "choice"})),
    (HARM, "20", Wrong("garbage fails the server", {"except (ValueError, RecursionError) as": "except RecursionError as"})),
    (
        STREAMED,
        "20",
        Wrong(
            "a stream is sent at its end",
            {
                "async for index, update in updates:\n                if (tokens": (
                    "for index, update in [item async for item in updates]:\n                if (tokens"
                )
            },
        ),
    ),
    (
        QUEUE,
        "20",
        Wrong(
            "a disconnect keeps its row",
            {"self._owner._open.discard(self)\n            self._owner._post(self, None)": "self._owner._open.discard(self)"},
        ),
    ),
    (
        QUEUE,
        "20",
        Wrong(
            "the queue has no bound",
            {
                "if len(self._open) >= self.engine.rows + self.engine.queue:": "if False:",
                "if self.running + self.waiting >= self.rows + self.queue:": "if False:",
            },
        ),
    ),
    (
        SIGTERM,
        "20",
        Wrong("a shutdown drops requests", {'"timeout_graceful_shutdown": GRACE': '"timeout_graceful_shutdown": 0'}),
    ),
]


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """Where trainings are kept, each under what it depends on: what no sabotaged component changes is trained once."""
    return tmp_path_factory.mktemp("kept")


@pytest.mark.parametrize(("milestone", "number", "wrong"), KNOCKOUTS, ids=[f"{n}-{wrong.name}" for _, n, wrong in KNOCKOUTS])
def test_a_milestone_fails_with_one_component_sabotaged(milestone, number, wrong, tmp_path, kept):
    """A milestone that is reached without a part says nothing about that part."""
    specs = reached(milestone, f"reference,{number}={wrong.tree(number, tmp_path)}", kept)
    assert any(spec["outcome"] == "red" for spec in specs), told(specs)


@pytest.mark.parametrize("milestone", sorted({milestone for milestone, _, _ in KNOCKOUTS}))
def test_the_whole_reaches_a_milestone_with_the_same_few_data(milestone, kept):
    """What a sabotaged reference fails at is reached by the reference itself, on the same data."""
    specs = reached(milestone, "reference", kept)
    assert specs
    assert all(spec["outcome"] == "green" for spec in specs), told(specs)


def reached(milestone: str, impl: str, folder: Path) -> list[dict]:
    """The results of a milestone on few data: up to the first that is red."""
    options = ("--impl", impl, "--data", "few", "--keep", str(folder), "-m", "not time", "-s")
    return apart(run, (milestone, *options), Watch(until=""))
