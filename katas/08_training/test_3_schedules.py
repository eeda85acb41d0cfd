import math

import pytest
from katas.training import cosine_schedule, one_cycle_schedule, step_schedule

from specs import oracles
from specs.check import assert_close, rejects


def test_a_step_schedule_goes_down_by_steps():
    """step_schedule gives gamma ** (step // step_size). PyTorch's example: lr 0.05, 0.005 from 30 on, 0.0005 from 60 on."""
    schedule = step_schedule(30, gamma=0.1)
    assert_close([0.05 * schedule(step) for step in (0, 29, 30, 59, 60, 89)], [0.05, 0.05, 0.005, 0.005, 0.0005, 0.0005])
    assert_close([step_schedule(3, 0.7)(step) for step in range(14)], oracles.training.steps_down(14, 3, 0.7))
    assert_close(step_schedule(1)(2), 0.01)


@pytest.mark.parametrize("final", [0.0, 0.1])
def test_a_cosine_schedule_is_half_a_cosine(final):
    """cosine_schedule goes from 1 at step 0 to final at total_steps, as CosineAnnealingLR (Loshchilov & Hutter, eq. 5)."""
    schedule, want = cosine_schedule(12, final=final), oracles.training.cosine(12, final)
    mistakes = {
        "a straight line": [1 - (1 - final) * step / 12 for step in range(13)],
        "a step ahead": want[1:] + [final],
        "final is reached a step early": [*oracles.training.cosine(11, final), final],
        "final is added": [value + final for value in oracles.training.cosine(12, 0.0)],
    }
    assert_close([schedule(step) for step in range(13)], want, mistakes=mistakes)


def test_a_warm_up_goes_up_by_equal_steps():
    """k warm-up steps have the factors 1/(k+1), 2/(k+1), …, k/(k+1). Then the cosine starts at 1 for the remaining steps."""
    schedule = cosine_schedule(12, warmup_steps=4, final=0.1)
    want = [1 / 5, 2 / 5, 3 / 5, 4 / 5, *oracles.training.cosine(8, 0.1)]
    mistakes = {
        "the first step is wasted on a rate of 0": [0, 1 / 4, 2 / 4, 3 / 4, *oracles.training.cosine(8, 0.1)],
        "the top comes twice": [1 / 4, 2 / 4, 3 / 4, 1, *oracles.training.cosine(8, 0.1)],
        "the cosine does not begin at its top": [1 / 5, 2 / 5, 3 / 5, 4 / 5, *oracles.training.cosine(12, 0.1)[4:]],
    }
    assert_close([schedule(step) for step in range(13)], want, mistakes=mistakes)


@pytest.mark.parametrize("warmup", [1, 2, 11])
def test_a_warm_up_may_have_any_length(warmup):
    """A single warm-up step has the factor 1/2. A warm-up until one step before the end leaves one step for the cosine."""
    want = [(step + 1) / (warmup + 1) for step in range(warmup)] + oracles.training.cosine(12 - warmup, 0.0)
    assert_close([cosine_schedule(12, warmup)(step) for step in range(13)], want)


@pytest.mark.parametrize("warmup", [0, 3])
def test_after_the_cosine_the_factor_stays(warmup):
    """After total_steps, the factor of cosine_schedule stays `final`: it does not go up again."""
    schedule = cosine_schedule(10, warmup, 0.25)
    assert_close([schedule(step) for step in (10, 11, 20, 1000)], [0.25] * 4)
    assert_close(cosine_schedule(10)(10), 0.0)


def test_one_cycle_is_torchs():
    """one_cycle_schedule matches torch's own test: 10 steps, max_lr=25 and final_div_factor=2 give 1, 13, 25, …, 0.5."""
    schedule = one_cycle_schedule(10, final_div_factor=2)
    down = [0.5 + (25 - 0.5) / 2 * (1 + math.cos(math.pi * k / 7)) for k in range(1, 8)]
    got = [25 * schedule(step) for step in range(10)]
    assert_close(got, [1, 13, 25, *down], mistakes={"a step ahead": [13, 25, *down, 0.5]})


@pytest.mark.parametrize(
    ("total", "options"),
    [(100, {}), (37, {"pct_start": 0.4, "div_factor": 10.0, "final_div_factor": 100.0}), (20, {"pct_start": 0.0}), (3, {})],
    ids=str,
)
def test_one_cycle_goes_up_and_further_down(total, options):
    """One cycle goes up from 1/div_factor to 1 at step pct_start · total_steps - 1, then down to 1/(div_factor ·
    final_div_factor) at the last step, each along half a cosine. The defaults are torch's: 0.3, 25 and 10⁴.
    """
    schedule = one_cycle_schedule(total, **options)
    want = oracles.training.one_cycle(total, **({"pct_start": 0.3, "div_factor": 25.0, "final_div_factor": 1e4} | options))
    assert_close([schedule(step) for step in range(total)], want)


def test_one_cycle_ends_where_it_ends():
    """After the last step, the factor of one_cycle_schedule stays. A cycle of one step has only the final factor."""
    schedule = one_cycle_schedule(10)
    assert_close([schedule(step) for step in (9, 10, 15, 1000)], [1 / 250_000] * 4)
    assert_close(one_cycle_schedule(1)(0), 1 / 250_000)


def test_a_top_on_the_first_step_is_no_division_by_zero():
    """A one_cycle_schedule with its top at step 0, as with ten steps and pct_start=0.1, divides nothing by 0."""
    assert_close([one_cycle_schedule(10, pct_start=0.1)(step) for step in (0, 9)], [1, 1 / 250_000])


def test_options_of_0_and_1_are_options():
    """gamma=0 stops after the first step_size steps, gamma=1 changes nothing; final may be 1, or less than 0."""
    assert_close([step_schedule(2, gamma=0.0)(step) for step in range(5)], [1, 1, 0, 0, 0])
    assert_close([step_schedule(2, gamma=1.0)(step) for step in range(5)], [1.0] * 5)
    assert_close([cosine_schedule(4, final=1.0)(step) for step in range(6)], [1.0] * 6)
    assert_close([cosine_schedule(2, final=-1.0)(step) for step in range(4)], [1, 0, -1, -1])
    assert_close([cosine_schedule(1)(step) for step in range(3)], [1, 0, 0])


def test_a_schedule_remembers_nothing():
    """A schedule depends only on the step, not on earlier calls, so that training can resume at any step."""
    for schedule in (step_schedule(3, 0.5), cosine_schedule(20, 5), one_cycle_schedule(20)):
        forth = [schedule(step) for step in range(20)]
        assert [schedule(step) for step in reversed(range(20))] == forth[::-1]


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: step_schedule(0), "0"),
        (lambda: step_schedule(-3), "-3"),
        (lambda: cosine_schedule(0), "0"),
        (lambda: cosine_schedule(10, warmup_steps=10), "10"),
        (lambda: cosine_schedule(10, warmup_steps=-1), "-1"),
        (lambda: one_cycle_schedule(0), "0"),
        (lambda: one_cycle_schedule(10, pct_start=1.0), "1.0"),
        (lambda: one_cycle_schedule(10, pct_start=-0.5), "-0.5"),
        (lambda: one_cycle_schedule(10, div_factor=0), "0"),
        (lambda: one_cycle_schedule(10, div_factor=-25.0), "-25.0"),
        (lambda: one_cycle_schedule(10, final_div_factor=-2.0), "-2.0"),
        (lambda: one_cycle_schedule(10, final_div_factor=0.0), "0.0"),
    ],
    ids=[
        "step_size 0",
        "step_size",
        "total 0",
        "warm-up",
        "warm-up < 0",
        "cycle 0",
        "pct 1",
        "pct < 0",
        "div",
        "div < 0",
        "final div < 0",
        "final div",
    ],
)
def test_a_schedule_that_can_not_be_is_refused(make, name):
    """An invalid length or divisor raises a ValueError that contains it, when the schedule is made."""
    with rejects(ValueError, name):
        make()
