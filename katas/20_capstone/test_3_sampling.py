import numpy as np
import pytest
from katas.capstone import choose, log_softmax

from specs.check import assert_close, assert_dtype
from specs.oracles import serving


def chosen(logits, draw, temperature=1.0, top_p=1.0) -> list[int]:
    """choose with a draw, a temperature and a top_p for all rows, or for each."""
    rows = len(logits)
    return choose(logits, *(np.broadcast_to(np.float64(value), rows) for value in (draw, temperature, top_p))).tolist()


QUARTERS = np.log(np.array([[0.25, 0.125, 0.5, 0.125]], np.float32))


@pytest.mark.parametrize(
    ("draw", "want"), [(0, 0), (0.2499, 0), (0.2501, 1), (0.3749, 1), (0.3751, 2), (0.8749, 2), (0.8751, 3), (1 - 2**-53, 3)]
)
def test_the_draw_walks_through_the_ids_in_their_order(draw, want):
    """The id is the first for which the sum of probabilities, in order of ids, is above the draw: [¼, ⅛, ½, ⅛]."""
    assert chosen(QUARTERS, draw) == [want]


def test_many_rows_as_by_hand(draw):
    """Each row has its own draw, temperature and top_p: 60 rows against a loop."""
    logits, draws = 3 * draw.normal(60, 23).astype(np.float32), draw.uniform(0, 1, 60)
    temperature, top_p = np.tile([0, 0.7, 1, 1.5], 15), np.repeat([1.0, 0.9, 0.35], 20)
    settings = [*zip(logits, draws, temperature, top_p, strict=True)]
    got = choose(logits, draws, temperature, top_p)
    assert got.shape == (60,)
    assert got.tolist() == [serving.drawn(*row) for row in settings]


def test_a_row_does_not_depend_on_the_others(draw):
    """The same row gives the same id, alone or between others, wherever it stands."""
    logits, draws, top_p = draw.normal(9, 31).astype(np.float32), draw.uniform(0, 1, 9), np.where(np.arange(9) % 2, 1, 0.6)
    temperature = np.linspace(0, 2, 9)
    together = choose(logits, draws, temperature, top_p).tolist()
    assert together == [int(choose(*(part[[row]] for part in (logits, draws, temperature, top_p)))[0]) for row in range(9)]
    assert together[::-1] == choose(logits[::-1], draws[::-1], temperature[::-1], top_p[::-1]).tolist()


def test_temperature_0_takes_the_first_of_the_largest():
    """At temperature 0 the draw doesn't matter, nor does top_p; of several largest logits the first counts."""
    logits = np.array([[0, 2, 1, 2]], np.float32)
    for draw in (0, 0.5, 0.999):
        assert chosen(logits, draw, temperature=0) == [1]
        assert chosen(logits, draw, temperature=0, top_p=0.1) == [1]


def test_the_temperature_divides_the_logits():
    """At temperature 2, odds of 4 : 1 become 2 : 1; at ½ they become 16 : 1."""
    logits = np.log(np.array([[0.8, 0.2]]))
    for temperature, boundary in ((2, 2 / 3), (1, 0.8), (0.5, 16 / 17)):
        assert chosen(logits, boundary - 1e-6, temperature) == [0]
        assert chosen(logits, boundary + 1e-6, temperature) == [1]


def test_a_tiny_temperature_is_no_error(recwarn):
    """At temperature 1e-300 only the largest logit is left, without NaN or a warning."""
    assert chosen(np.array([[1, 5, 4]], np.float32), 0.5, temperature=1e-300) == [1]
    assert not recwarn.list


def test_top_p_keeps_the_smallest_set_that_reaches_it():
    """Of [.05, .5, .15, .3], top_p 0.6 keeps .5 and .3 alone, whose sum is what the draw walks through."""
    logits = np.log(np.array([[0.05, 0.5, 0.15, 0.3]]))
    ids = {draw: chosen(logits, draw, top_p=0.6)[0] for draw in np.linspace(0, 0.999, 50)}
    assert set(ids.values()) == {1, 3}
    assert [ids[draw] for draw in ids] == [1 if draw < 0.5 / 0.8 else 3 for draw in ids]


def test_a_small_top_p_keeps_the_most_probable():
    """However small top_p is, one id is left."""
    for draw in (0, 0.999):
        assert chosen(QUARTERS, draw, top_p=1e-9) == [2]


def test_of_equally_probable_ids_top_p_keeps_the_first():
    """With four equal logits and top_p ½, the ids 0 and 1 are left."""
    logits = np.zeros((1, 4), np.float32)
    assert [chosen(logits, draw, top_p=0.5) for draw in (0, 0.49, 0.51, 0.99)] == [[0], [0], [1], [1]]


def test_top_p_comes_after_the_temperature():
    """top_p 0.6 keeps one id of [.6+, …] at temperature ½, and two at temperature 2."""
    logits = np.log(np.array([[0.55, 0.3, 0.15]]))
    assert chosen(logits, 0.999, temperature=0.5, top_p=0.6) == [0]
    assert chosen(logits, 0.999, temperature=2, top_p=0.6) == [1]


@pytest.mark.parametrize("draw", [0, 1 - 2**-53])
def test_an_id_of_probability_0_is_never_drawn(draw):
    """Not at the ends, where a draw of 0 or almost 1 would find it."""
    logits = np.array([[-np.inf, 0, -np.inf, 1, -2000]], np.float32)
    assert chosen(logits, draw) == [1 if draw == 0 else 3]


def test_the_sums_are_float64(draw):
    """With 50,000 ids, sums in float32 would be off by more than the probability of one."""
    logits, draws = draw.normal(50_000).astype(np.float32), draw.uniform(0.5, 1, 20)
    p = np.exp(logits.astype(np.longdouble))
    want = np.searchsorted(np.cumsum(p), draws * p.sum(), side="right")
    assert chosen(np.broadcast_to(logits, (20, 50_000)), draws) == want.tolist()


def test_logits_are_not_changed(draw):
    """The caller's arrays stay as they are: these are read-only."""
    logits = draw.normal(3, 7)
    before = logits.copy()
    chosen(logits, 0.3, top_p=0.5)
    log_softmax(logits)
    assert_close(logits, before)


def test_log_softmax(draw):
    """log p of each id, over the last axis, whatever the axes before."""
    logits = draw.normal(2, 3, 7).astype(np.float32)
    got = log_softmax(logits)
    assert_dtype(got, np.float64)
    assert_close(got, serving.log_softmax(logits), mistakes={"probabilities": np.exp(serving.log_softmax(logits))})
    assert_close(log_softmax(logits[0, 0]), serving.log_softmax(logits[0, 0]))


def test_log_softmax_of_large_logits():
    """Logits of ±1e4 neither overflow nor lose what float64 can hold."""
    got = log_softmax(np.array([[1e4, 1e4 - 1, -1e4]], np.float32))
    assert_close(got, [[-np.log1p(np.exp(-1)), -1 - np.log1p(np.exp(-1)), -2e4 - np.log1p(np.exp(-1))]])


def test_a_row_takes_no_python_loop(draw, budget):
    """Many times as many rows and ids take at most twice the Python instructions."""
    few = draw.normal(2, 30), draw.uniform(0, 1, 2), np.ones(2), np.full(2, 0.9)
    many = draw.normal(512, 300), draw.uniform(0, 1, 512), np.ones(512), np.full(512, 0.9)
    budget.steps(lambda: choose(*few), lambda: choose(*many), 2)
