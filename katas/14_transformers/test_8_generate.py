import math
import warnings
from collections import Counter, deque

import numpy as np
import pytest
from katas.tensor import Tensor
from katas.transformers import GPT, GPTConfig, generate

from specs import oracles
from specs.check import assert_close, rejects, undisturbed
from specs.oracles.cache import ListCache

SIZES = {"vocab_size": 11, "context": 12, "n_layer": 2, "n_head": 2, "d_model": 8}


class Table(GPT):
    """Gives after id i the logits table[i], and notes the ids of each call."""

    def __init__(self, table, context: int = 100_000):
        self.table, self.calls = np.asarray(table), deque()  # in which modules() does not look for layers
        self.config = GPTConfig(len(self.table), context, 1, 1, 2)

    def forward(self, ids, mask=None, cache=None):
        ids = np.asarray(Tensor(ids).data)
        self.calls.append(ids.tolist())
        return Tensor(self.table[ids])


def same(logits) -> Table:
    """The same logits after every id."""
    return Table(np.broadcast_to(np.asarray(logits), (len(logits), len(logits))))


def made(draw, **options) -> GPT:
    """A small GPT in float64, with random parameters that hide nothing."""
    model = GPT(GPTConfig(**SIZES | options), np.random.default_rng(0))
    for parameter in model.parameters():
        parameter.data = np.array(draw.normal(*parameter.shape)) + (parameter.ndim == 1)
    return model


def watched(model: GPT) -> list[Tensor]:
    """A list to which the model's logits come, those of each call."""
    seen, forward = [], model.forward

    def noted(*args, **options):
        seen.append(forward(*args, **options))
        return seen[-1]

    model.forward = noted
    return seen


def drawn(logits, count: int = 400, **options) -> Counter:
    return Counter(generate(same(logits), [0], count, rng=np.random.default_rng(0), **options))


def assert_drawn(found: Counter, want: dict[int, float]) -> None:
    """No other ids, and each about as many times as its probability says: within four standard deviations."""
    count = found.total()
    assert set(found) <= set(want), f"drawn: {sorted(found)}; may be drawn: {sorted(want)}"
    for number, p in want.items():
        spread = 4 * math.sqrt(count * p * (1 - p)) + 1
        assert abs(found[number] - count * p) <= spread, f"id {number} was drawn {found[number]} times of {count}, p = {p:.3f}"


# What is yielded


def test_ids_come_one_by_one():
    """It is an iterator of Python integers, and computes nothing before it is asked."""
    model = Table(np.eye(5)[[1, 2, 3, 4, 0]])
    ids = generate(model, [0, 3], 10, temperature=0)
    assert not model.calls
    assert next(ids) == 4
    assert len(model.calls) == 1
    assert [next(ids), next(ids)] == [0, 1]
    assert len(model.calls) == 3
    assert all(type(number) is int for number in ids)


def test_max_new_tokens_are_yielded_and_the_prompt_is_not():
    """As many ids as asked for, 0 too; the last one is not given to the model."""
    for count in (0, 1, 4):
        model = Table(np.eye(5)[[1, 2, 3, 4, 0]])
        assert list(generate(model, [2], count, temperature=0)) == [3, 4, 0, 1][:count]
        assert len(model.calls) == count


def test_each_id_follows_the_whole_text(draw):
    """Greedy: each id is the most probable one after the prompt and all ids before it."""
    model, text = made(draw), [3, 1, 4]
    logits = watched(model)
    for number in generate(model, list(text), 6, temperature=0):
        want = oracles.transformers.gpt(model.state_dict(), model.config, text)[-1]
        assert_close(logits[-1][0, -1], want, name=f"after {len(text)} ids")
        assert number == want.argmax()
        text.append(number)
    assert len(text) == 9


def test_the_prompt_may_be_a_list_an_array_or_a_tensor():
    """A row of integers, which is not changed."""
    model, prompt = Table(np.eye(5)[[1, 2, 3, 4, 0]]), [0, 2]
    for ids in (prompt, (0, 2), np.array(prompt), np.array(prompt, np.uint16), Tensor(prompt)):
        assert list(generate(model, ids, 3, temperature=0)) == [3, 4, 0]
    assert prompt == [0, 2]


@pytest.mark.parametrize("stop", [[3], (3,), {3}, [9, 3, 1], np.array([3]), Tensor([3, 1])], ids=str)
def test_a_stop_id_ends_it_and_is_not_yielded(stop):
    """With any collection of stop ids, an array or a Tensor; the model is not asked again."""
    model = Table(np.eye(5)[[1, 2, 3, 4, 0]])
    assert list(generate(model, [1], 10, temperature=0, stop=stop)) == [2]
    assert len(model.calls) == 2


def test_a_stop_id_in_the_prompt_does_not_end_it():
    """Only a new one does; 0 can be one."""
    model = Table(np.eye(5)[[1, 2, 3, 4, 0]])
    assert list(generate(model, [0, 3, 1], 10, temperature=0, stop=[3, 0, 1])) == [2]
    assert list(generate(model, [2], 10, temperature=0, stop=[0])) == [3, 4]


def test_what_is_given_may_be_changed_after_the_call():
    """The prompt and the stop ids are those of the call."""
    model, prompt, stop = Table(np.eye(5)[[1, 2, 3, 4, 0]]), np.array([2]), [1]
    ids = generate(model, prompt, 10, temperature=0, stop=stop)
    prompt[0], stop[0] = 0, 4
    assert list(ids) == [3, 4, 0]


# Temperature, top_k, top_p

LOGITS = np.log([0.15, 0.5, 0.05, 0.3])


def test_by_default_ids_are_drawn_by_their_probabilities():
    """Softmax of the logits, nothing dropped."""
    assert_drawn(drawn(LOGITS), {0: 0.15, 1: 0.5, 2: 0.05, 3: 0.3})
    assert_drawn(drawn(5 + LOGITS), {0: 0.15, 1: 0.5, 2: 0.05, 3: 0.3})


@pytest.mark.parametrize("temperature", [0.5, 2.0, 1])
def test_logits_are_divided_by_the_temperature(temperature):
    """Below 1 the probable ids become more probable, above 1 less."""
    assert_drawn(drawn(LOGITS, temperature=temperature), oracles.transformers.chances(LOGITS, temperature))


def test_temperature_0_is_greedy():
    """The most probable id, of several the first; nothing is divided by 0, and nothing drawn from rng."""
    rng = np.random.default_rng(0)
    before = rng.bit_generator.state
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert list(generate(same([1.0, 3, 2, 3]), [0], 5, temperature=0, rng=rng)) == [1] * 5
        assert list(generate(same([1.0, 3, 2, 3]), [0], 5, temperature=0.0, top_k=2, top_p=0.1, rng=rng)) == [1] * 5
    assert rng.bit_generator.state == before


def test_extreme_logits_and_temperatures_do_not_overflow():
    """Logits of ±1e4, a temperature of 1e-6 and logits of -inf give no warning and no NaN; what has -inf is never drawn."""
    with warnings.catch_warnings(), np.errstate(all="raise", under="ignore"):
        warnings.simplefilter("error")
        assert set(drawn(np.array([1e4, -1e4, 9e3], np.float32), 20)) == {0}
        assert set(drawn(LOGITS.astype(np.float32), 20, temperature=1e-6)) == {1}
        assert_drawn(drawn([-np.inf, 1.0, 1.0]), {1: 0.5, 2: 0.5})


@pytest.mark.parametrize("top_k", [1, 2, 3, 4, 100])
def test_top_k_keeps_the_most_probable(top_k):
    """And as many as there are, if k is larger."""
    assert_drawn(drawn(LOGITS, top_k=top_k), oracles.transformers.chances(LOGITS, top_k=top_k))


def test_top_k_keeps_k_of_equal_ones():
    """A threshold would keep all ids that are equal to the k-th: exactly k stay, the first of equal ones."""
    assert_drawn(drawn([1.0, 2, 1, 2, 1], top_k=3), oracles.transformers.chances([1.0, 2, 1, 2, 1], top_k=3))
    assert_drawn(drawn([0.0] * 6, top_k=2), {0: 0.5, 1: 0.5})


@pytest.mark.parametrize("top_p", [0.05, 0.45, 0.6, 0.7, 0.9, 0.97, 1.0, 1])
def test_top_p_keeps_the_smallest_set_that_reaches_p(top_p):
    """Of .5, .3, .15, .05 and p = .6 the first two: the id that crosses p belongs to the set. At least one stays."""
    assert_drawn(drawn(LOGITS, top_p=top_p), oracles.transformers.chances(LOGITS, top_p=top_p))


def test_top_p_at_equal_probabilities_keeps_no_more_than_it_needs():
    """Of ten equal ids and p = .25 three stay."""
    assert set(drawn([0.0] * 10, top_p=0.25)) == {0, 1, 2}


def test_top_p_that_is_reached_exactly_needs_no_more():
    """Of two equal ids and p = .5 the first alone stays, of four the first two: one is .5 already."""
    assert set(drawn([0.0] * 2, top_p=0.5)) == {0}
    assert set(drawn([0.0] * 4, top_p=0.5)) == {0, 1}


def test_temperature_comes_before_top_p():
    """With temperature .5 the most probable of .4, .3, .2, .1 has .53: it alone reaches p = .5."""
    logits = np.log([0.2, 0.4, 0.1, 0.3])
    assert set(drawn(logits, temperature=0.5, top_p=0.5)) == {1}
    assert set(drawn(logits, temperature=2.0, top_p=0.5)) == {1, 3}


def test_top_k_comes_before_top_p():
    """Of .4, .3, .2, .1 top_k = 2 leaves .57 and .43: the first alone reaches p = .5."""
    logits = np.log([0.2, 0.4, 0.1, 0.3])
    assert set(drawn(logits, top_k=2, top_p=0.5)) == {1}
    assert set(drawn(logits, top_k=3, top_p=0.5)) == {1, 3}


@pytest.mark.parametrize("options", [{}, {"top_k": 3}, {"top_p": 0.7}, {"temperature": 0.7, "top_k": 5, "top_p": 0.9}], ids=str)
def test_what_may_be_drawn_from_random_logits(draw, options):
    """All three together, on twenty random vocabularies, against a slow solution."""
    for _ in range(20):
        logits = 2 * draw.normal(8)
        assert_drawn(drawn(logits, 100, **options), oracles.transformers.chances(logits, **options))


# Randomness


def test_one_generator_gives_one_text(draw):
    """Equal seeds give equal texts, 0 too; different seeds different ones. NumPy's global generator is not used."""
    model = made(draw)
    with undisturbed():
        same, again, other = (list(generate(model, [1], 10, 5.0, rng=np.random.default_rng(seed))) for seed in (0, 0, 1))
        first, second = (list(generate(same_model, [1], 10, 5.0)) for same_model in (model, model))
    assert same == again
    assert same != other
    assert first != second


def test_generators_of_ids_do_not_disturb_each_other(draw):
    """Two that run at once, each with a generator of its own, give what they give one after another."""
    model = made(draw)

    def text(seed):
        return generate(model, [seed], 8, 5.0, rng=np.random.default_rng(seed))

    together = list(zip(text(1), text(2), strict=True))
    assert together == list(zip(list(text(1)), list(text(2)), strict=True))


# The model


def test_the_model_is_in_eval_mode_and_as_it_was_between_ids(draw):
    """Dropout is off while logits are computed. Whenever the caller has control, each module is in the mode in which it was."""
    model = made(draw, dropout=0.5)
    model.transformer.h[1].eval()
    modes = [module.training for module in model.modules()]
    plain = made(draw, dropout=0.5)
    plain.load_state_dict(model.state_dict())
    want = list(generate(plain.eval(), [1, 2], 5, temperature=0))
    got = []
    for number in generate(model, [1, 2], 5, temperature=0):
        got.append(number)
        assert [module.training for module in model.modules()] == modes
    assert got == want
    assert [module.training for module in model.modules()] == modes


def test_nothing_is_recorded_but_the_caller_still_records(draw):
    """Logits are computed without recording; between two ids the caller's operations are recorded as ever."""
    model = made(draw)
    seen = watched(model)
    for _ in generate(model, [1, 2], 3, temperature=0):
        x = Tensor([1.0], requires_grad=True)
        (x * x).backward()
        assert_close(x.grad, [2.0])
    assert [logits.requires_grad for logits in seen] == [False] * 3


def test_after_an_error_the_modes_are_as_before(draw):
    """An id that does not exist raises an IndexError at the first id, and leaves the model in training mode."""
    model = made(draw)
    with rejects(IndexError, "11"):
        list(generate(model, [11], 3))
    assert all(module.training for module in model.modules())


# The end of the context


@pytest.mark.parametrize("length", [1, 9, 12])
def test_without_a_window_it_ends_when_the_context_is_full(draw, length):
    """The model sees `context` ids at most: the text ends one id behind, with a UserWarning that contains the context."""
    model = made(draw)
    with pytest.warns(UserWarning, match="12"):
        ids = list(generate(model, draw.integers(11, length), 100))
    assert len(ids) == 12 - length + 1


def test_a_text_that_just_fits_gives_no_warning(draw):
    """Where max_new_tokens, or a stop id, ends the text first, nothing is warned of."""
    model = made(draw)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(list(generate(model, [1] * 9, 4))) == 4
        assert len(list(generate(model, [1] * 9, 100, stop=range(11)))) == 0


@pytest.mark.parametrize("cached", [False, True])
def test_with_a_window_it_goes_on(draw, cached):
    """Behind the context too, without a warning, and with a prompt longer than it: each id is drawn by the logits after the
    whole text.
    """
    model, text = made(draw, positions="rotary", window=3), draw.integers(11, 15).tolist()
    cache, logits = ListCache(1, 2, 3) if cached else None, watched(model)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for number in generate(model, list(text), 25, temperature=0, cache=cache):
            want = oracles.transformers.gpt(model.state_dict(), model.config, text[-8:])[-1]
            assert_close(logits[-1][0, -1], want, name=f"after {len(text)} ids")
            assert number == want.argmax()
            text.append(number)
    assert len(text) == 40


def test_layers_together_look_further_back_than_the_context(draw):
    """Three layers with a window of 5 look 3 · (5 - 1) tokens back, in a context of 4 as well: so far a text must go."""
    model, text = made(draw, context=4, n_layer=3, positions="rotary", window=5), draw.integers(11, 16).tolist()
    logits = watched(model)
    for number in generate(model, list(text), 4, temperature=0):
        want = oracles.transformers.gpt(model.state_dict(), model.config, text)[-1]
        assert_close(logits[-1][0, -1], want, name=f"after {len(text)} ids")
        text.append(number)


# With a cache


def test_with_a_cache_the_ids_are_the_same(draw):
    """Greedy and drawn, for all kinds of positions."""
    for positions in ("learned", "sinusoidal", "rotary"):
        model = made(draw, positions=positions)
        for temperature in (0, 3.0):
            plain, cached = (
                list(generate(model, [1, 2, 3], 9, temperature, rng=np.random.default_rng(0), cache=cache))
                for cache in (None, ListCache(1, 2))
            )
            assert cached == plain


def test_with_a_cache_each_token_is_computed_once(draw):
    """The model sees the prompt, then each new id alone; the last id is not computed."""
    model, cache, calls = made(draw), ListCache(1, 2), []
    forward = model.forward

    def counted(ids, mask=None, cache=None):
        calls.append(np.shape(ids))
        return forward(ids, mask, cache)

    model.forward = counted
    ids = list(generate(model, [1, 2, 3], 5, cache=cache, rng=np.random.default_rng(0)))
    assert len(ids) == 5
    assert calls == [(1, 3), (1, 1), (1, 1), (1, 1), (1, 1)]
    assert cache.lengths.tolist() == [7]


def test_an_empty_cache_is_used(draw):
    """Even if it is false, as what has a length of 0 is in Python: all but the last id are in it afterwards."""

    class Sized(ListCache):
        def __len__(self):
            return int(self.lengths.sum())

    cache = Sized(1, 2)
    assert len(list(generate(made(draw), [1, 2, 3], 4, cache=cache))) == 4
    assert cache.lengths.tolist() == [6]


def test_a_cache_may_hold_the_beginning_of_the_text(draw):
    """ids are then what follows: a conversation goes on where it was. The last id yielded was not computed yet."""
    model, cache = made(draw), ListCache(1, 2)
    first = list(generate(model, [1, 2], 3, temperature=0, cache=cache))
    second = list(generate(model, [first[-1], 5], 4, temperature=0, cache=cache))
    assert second == list(generate(model, [1, 2, *first, 5], 4, temperature=0))


def test_with_a_cache_the_context_ends_at_the_same_id(draw):
    """What the cache holds counts; a prompt that does not fit behind it raises a ValueError that contains the context."""
    model, cache = made(draw), ListCache(1, 2)
    list(generate(model, [1] * 4, 3, cache=cache))
    with rejects(ValueError, "12", "13"):
        generate(model, [1] * 7, 1, cache=cache)
    with pytest.warns(UserWarning, match="12"):
        assert len(list(generate(model, [1] * 4, 100, cache=cache))) == 3


# What is refused, when generate is called


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"max_new_tokens": -1}, ["max_new_tokens", "-1"]),
        ({"max_new_tokens": 2.5}, ["max_new_tokens", "2.5"]),
        ({"max_new_tokens": float("inf")}, ["max_new_tokens", "inf"]),
        ({"max_new_tokens": True}, ["max_new_tokens", "True"]),
        ({"temperature": -0.5}, ["temperature", "-0.5"]),
        ({"temperature": float("nan")}, ["temperature", "nan"]),
        ({"temperature": float("inf")}, ["temperature", "inf"]),
        ({"top_k": 0}, ["top_k", "0"]),
        ({"top_k": -3}, ["top_k", "-3"]),
        ({"top_k": 1.5}, ["top_k", "1.5"]),
        ({"top_k": True}, ["top_k", "True"]),
        ({"top_p": 0}, ["top_p", "0"]),
        ({"top_p": 0.0, "temperature": 0}, ["top_p", "0.0"]),
        ({"top_p": -0.5}, ["top_p", "-0.5"]),
        ({"top_p": 1.5}, ["top_p", "1.5"]),
    ],
    ids=str,
)
def test_options_that_make_no_sense_are_named(options, named):
    """A ValueError that contains the name and the value is raised by the call itself, not when the first id is asked for."""
    with rejects(ValueError, *named):
        generate(same(LOGITS), [0], **{"max_new_tokens": 3} | options)


def test_a_prompt_that_is_empty_or_too_long_is_named(draw):
    """Without a window a prompt longer than the context raises a ValueError that contains both lengths: it is never cut off."""
    for prompt in ([], np.zeros(0, np.int64)):
        with rejects(ValueError, "prompt"):
            generate(made(draw), prompt, 3)
    with rejects(ValueError, "13", "12"):
        generate(made(draw), [1] * 13, 3)


def test_a_prompt_is_one_row_of_integers(draw):
    """Other axes raise a ValueError that contains the shape, floats a TypeError that contains the dtype."""
    for shape in ((1, 3), ()):
        with rejects(ValueError, str(shape)):
            generate(made(draw), np.zeros(shape, np.int64), 3)
    with rejects(TypeError, "float64"):
        generate(made(draw), np.array([1.0, 2.0]), 3)


@pytest.mark.parametrize("stop", [[3.0], ["3"], 3, np.array([3.0]), np.array([[3, 4]]), Tensor([3.0])], ids=str)
def test_stop_ids_are_integers(stop):
    """Anything but a collection of them raises a TypeError: a 3.5 among them would never stop anything."""
    with rejects(TypeError):
        generate(same(LOGITS), [0], 3, stop=stop)


# What it costs


@pytest.mark.parametrize("options", [{}, {"top_k": 10}, {"top_p": 0.9}], ids=str)
def test_steps_do_not_grow_with_the_vocabulary(budget, options):
    """A vocabulary a hundred times as large takes at most 2.5 times the Python instructions: no loop over ids."""
    small, large = (same(np.linspace(0, 3, size)) for size in (50, 5000))

    def run(model):
        return lambda: list(generate(model, [0], 3, rng=np.random.default_rng(0), **options))

    budget.steps(run(small), run(large), 2.5)
