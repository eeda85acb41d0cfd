import numpy as np
import pytest
from katas.capstone import choose, log_softmax

from specs.check import assert_close, assert_dtype, layouts
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


@pytest.mark.parametrize("size", [1, 23, 32, 33, 64, 100, 257])
def test_many_rows_as_by_hand(draw, size):
    """Each row has its own draw, temperature and top_p: 60 rows against a loop, with vocabularies of all sizes."""
    logits, draws = 3 * draw.normal(60, size).astype(np.float32), draw.uniform(0, 1, 60)
    temperature, top_p = np.tile([0, 0.7, 1, 1.5], 15), np.repeat([1.0, 0.9, 0.35], 20)
    settings = [*zip(logits, draws, temperature, top_p, strict=True)]
    got = choose(logits, draws, temperature, top_p)
    assert got.shape == (60,)
    assert got.tolist() == [serving.drawn(*row) for row in settings]


@pytest.mark.parametrize("size", [1, 4, 31, 32, 33, 64, 96, 100, 128, 130])
def test_draws_at_the_boundaries_of_equal_ids(size):
    """With equal logits, id k begins at a draw of k / size. Where size is a power of 2 no sum is rounded: the boundary itself
    belongs to k.
    """
    logits, ids = np.zeros((size, size), np.float32), np.arange(size)
    exact = size & (size - 1) == 0
    assert chosen(logits, ids / size + (0 if exact else 1e-9)) == ids.tolist()
    assert chosen(logits, (ids + 1) / size - 1e-9) == ids.tolist()
    assert chosen(logits[:1], 1 - 2**-53) == [size - 1]


def test_boundaries_are_exact(draw):
    """Where one id ends and the next begins is right to ten digits: all of it is computed in float64."""
    logits = draw.normal(20, 6, dtype=np.float32)
    for row in logits:
        exact = np.exp(row.astype(np.float64))
        for number, end in enumerate(np.cumsum(exact / exact.sum())[:-1]):
            for u, want in ((end - 1e-10, number), (end + 1e-10, number + 1)):
                assert chosen(row[None], u) == [want]


def test_a_row_does_not_depend_on_the_others(draw):
    """The same row gives the same id, alone or between others, wherever it stands."""
    logits, draws, top_p = draw.normal(9, 31).astype(np.float32), draw.uniform(0, 1, 9), np.where(np.arange(9) % 2, 1, 0.6)
    temperature = np.linspace(0, 2, 9)
    together = choose(logits, draws, temperature, top_p).tolist()
    assert together == [int(choose(*(part[[row]] for part in (logits, draws, temperature, top_p)))[0]) for row in range(9)]
    assert together[::-1] == choose(logits[::-1], draws[::-1], temperature[::-1], top_p[::-1]).tolist()


def test_rows_of_different_magnitudes(draw):
    """Logits of one row may be thousands above those of another: only differences within a row count."""
    logits, draws = draw.normal(5, 31).astype(np.float32), draw.uniform(0, 1, 5)
    logits = np.round(logits * 64) / 64  # so that nothing is lost when thousands are added
    shifted = logits + np.array([[-4000], [-1000], [0], [1000], [4000]], np.float32)
    assert chosen(shifted, draws, top_p=[1, 0.9, 1, 0.9, 0.5]) == chosen(logits, draws, top_p=[1, 0.9, 1, 0.9, 0.5])


def test_temperature_0_takes_the_first_of_the_largest():
    """At temperature 0 neither the draw nor top_p matters; of several largest the first counts. Nothing is warned of."""
    logits = np.array([[0, 2, 1, 2]], np.float32)
    with np.errstate(all="raise", under="ignore"):
        for draw in (0, 0.5, 0.999):
            assert chosen(logits, draw, temperature=0) == [1]
            assert chosen(logits, draw, temperature=0, top_p=0.1) == [1]


def test_the_temperature_divides_the_logits():
    """At temperature 2, odds of 4 : 1 become 2 : 1; at ½ they become 16 : 1."""
    logits = np.log(np.array([[0.8, 0.2]]))
    for temperature, boundary in ((2, 2 / 3), (1, 0.8), (0.5, 16 / 17)):
        assert chosen(logits, boundary - 1e-6, temperature) == [0]
        assert chosen(logits, boundary + 1e-6, temperature) == [1]


def test_a_tiny_temperature_is_no_error():
    """At temperature 1e-300 or 1e-310 only the largest logit is left, without NaN or a warning."""
    for temperature in (1e-300, 1e-310):
        with np.errstate(all="raise", under="ignore"):
            assert chosen(np.array([[1, 5, 4]], np.float32), 0.5, temperature=temperature) == [1]
            for draw, want in ((0.2, 0), (0.7, 2)):  # of two equal ones, each is drawn
                assert chosen(np.array([[5, 1, 5]], np.float32), draw, temperature=temperature) == [want]


def test_a_small_temperature_is_taken_as_it_is():
    """At 1e-8, a logit that is larger by 1e-8 · ln 3 is three times as probable."""
    logits = 1e-8 * np.log(np.array([[1.0, 3.0]]))
    assert [chosen(logits, draw, temperature=1e-8) for draw in (0.24, 0.26)] == [[0], [1]]


def test_top_p_keeps_the_smallest_set_that_reaches_it():
    """Of [.05, .5, .15, .3], top_p 0.6 keeps .5 and .3 alone, whose sum is what the draw walks through."""
    logits = np.log(np.array([[0.05, 0.5, 0.15, 0.3]]))
    ids = {draw: chosen(logits, draw, top_p=0.6)[0] for draw in np.linspace(0, 0.999, 50)}
    assert set(ids.values()) == {1, 3}
    assert [ids[draw] for draw in ids] == [1 if draw < 0.5 / 0.8 else 3 for draw in ids]


def test_top_p_that_a_sum_reaches_exactly():
    """Of 64 equal ids, as many stay as it takes to reach top_p: for 1 / 64 one, and for a little more two."""
    logits, draws = np.zeros((128, 64), np.float32), (np.arange(128) + 0.5) / 128
    for count in (1, 31, 32, 33, 63):
        assert set(chosen(logits, draws, 1, count / 64)) == {*range(count)}
        assert set(chosen(logits, draws, 1, count / 64 + 1e-9)) == {*range(count + 1)}


def test_a_small_top_p_keeps_the_most_probable():
    """However small top_p is, one id is left."""
    for draw in (0, 0.999):
        assert chosen(QUARTERS, draw, top_p=1e-9) == [2]


def test_top_p_of_one_row_cuts_no_other():
    """An id whose p is lost in the sum of a top_p is drawn in a row without one, whatever top_p its neighbor has."""
    logits = np.array([[-40, 0], [-40, 0]], np.float32)
    assert chosen(logits[:1], 0) == [0]
    assert choose(logits, np.zeros(2), np.ones(2), np.array([1, 0.9])).tolist() == [0, 1]


def test_the_largest_logit_is_not_the_largest_probability():
    """At temperature 0, logits that differ by less than exp can tell are still different."""
    assert chosen(np.array([[0, 1e-20]], np.float32), 0.5, temperature=0) == [1]


def test_ids_that_a_huge_temperature_makes_equal():
    """Equal probabilities count, not equal logits: at 1e300 top_p keeps the lower ids, whatever their logits are."""
    for draw, want in ((0.1, 0), (0.9, 1)):
        assert chosen(np.array([[1, 2, 3]], np.float32), draw, temperature=1e300, top_p=0.6) == [want]


def test_of_equally_probable_ids_top_p_keeps_the_first():
    """With four equal logits and top_p ½, the ids 0 and 1 are left."""
    logits = np.zeros((1, 4), np.float32)
    assert [chosen(logits, draw, top_p=0.5) for draw in (0, 0.49, 0.51, 0.99)] == [[0], [0], [1], [1]]


@pytest.mark.parametrize("size", [5, 40, 100])
def test_ties_at_the_end_of_a_top_p(size):
    """Behind three ids that are more probable, all others are equal: as many as are needed stay, the first of them."""
    logits = np.zeros((400, size), np.float32)
    likely = [1, size // 2, size - 1]
    logits[:, likely] = np.log(size)
    others = [number for number in range(size) if number not in likely]
    for more in (1, (size - 3) // 2):
        top_p = (3 * size + more - 0.5) / (3 * size + size - 3)
        draws = (np.arange(400) + 0.5) / 400
        assert set(chosen(logits, draws, 1, top_p)) == {*likely, *others[:more]}


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
    wide = np.full((3, 200), -np.inf)
    wide[0, 70], wide[1, [3, 199]], wide[2, [0, 96]] = 0, 0, 0
    assert chosen(wide, draw) == ([70, 3, 0] if draw == 0 else [70, 199, 96])


@pytest.mark.parametrize("size", [32, 64, 100])
def test_rounding_draws_no_id_of_probability_0(draw, size):
    """With draws just below 1, sums that are added in another order differ in their last digit. What is drawn can be drawn, and
    nothing behind it counts.
    """
    logits = 3 * draw.normal(600, size)
    logits[:, [0, 31 % size, 32 % size, 33 % size, 64 % size, 96 % size]] = -np.inf
    ids = chosen(logits, 1 - 2**-53)
    p = np.exp(logits)
    assert all(row[number] > 0 and row[number + 1 :].sum() <= 1e-12 * row.sum() for row, number in zip(p, ids, strict=True))


def test_ids_of_which_many_are_lost_in_the_sum():
    """One id has p ≈ 1. Of 31 others with p = 1e-17 each, all together count, and none alone; what has p = 0 never does."""
    logits = np.full((1, 64), -np.inf)
    logits[0, 0], logits[0, 33:] = 0, np.log(1e-17)
    (number,) = chosen(logits, 1 - 2**-53)
    assert number == 0 or number >= 33


def test_the_sums_are_float64(draw):
    """With 50,000 ids, sums in float32 would be off by more than the probability of one."""
    logits, draws = draw.normal(50_000).astype(np.float32), draw.uniform(0.5, 1, 20)
    p = np.exp(logits.astype(np.longdouble))
    want = np.searchsorted(np.cumsum(p), draws * p.sum(), side="right")
    assert chosen(np.broadcast_to(logits, (20, 50_000)), draws) == want.tolist()


def test_no_rows_give_no_ids():
    """Where no row has a next token, the results are empty."""
    nothing = np.zeros(0)
    assert choose(np.zeros((0, 7), np.float32), nothing, nothing, nothing).shape == (0,)
    assert log_softmax(np.zeros((0, 7), np.float32)).shape == (0, 7)


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


def test_logits_may_lie_in_memory_in_any_order(draw):
    """Rows may be columns in memory, backwards, or every second one."""
    logits = draw.normal(5, 9)
    draws, temperature, top_p = np.linspace(0.1, 0.9, 5), np.ones(5), np.full(5, 0.9)
    for given in layouts(logits).values():
        assert_close(log_softmax(given), serving.log_softmax(logits))
        assert np.array_equal(choose(given, draws, temperature, top_p), choose(logits.copy(), draws, temperature, top_p))


def test_a_logit_of_minus_infinity_has_a_probability_of_0():
    """Its log-probability is -∞, without a warning, and the others are as if it were not there."""
    got = log_softmax(np.array([2.0, -np.inf, 2.0], np.float32))
    assert_close(got, np.array([-np.log(2), -np.inf, -np.log(2)]))


def test_log_softmax_gives_a_new_array():
    """Where logits are log-probabilities already, too."""
    logits = np.full((3, 2), -np.log(2))
    got = log_softmax(logits)
    assert_close(got, logits)
    assert not np.shares_memory(got, logits)


def test_log_softmax_of_large_logits():
    """Logits of ±1e4 neither overflow nor lose what float64 can hold."""
    got = log_softmax(np.array([[1e4, 1e4 - 1, -1e4]], np.float32))
    assert_close(got, [[-np.log1p(np.exp(-1)), -1 - np.log1p(np.exp(-1)), -2e4 - np.log1p(np.exp(-1))]])


def test_a_row_takes_no_python_loop(draw, budget):
    """Many times as many rows and ids take at most twice the Python instructions."""
    few = draw.normal(2, 30), draw.uniform(0, 1, 2), np.ones(2), np.full(2, 0.9)
    many = draw.normal(512, 300), draw.uniform(0, 1, 512), np.ones(512), np.full(512, 0.9)
    budget.steps(lambda: choose(*few), lambda: choose(*many), 2)
