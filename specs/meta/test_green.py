import pytest

from specs.meta.judge import each_kata, judge, told
from specs.results import summary

pytestmark = pytest.mark.timeout(120)
SPEC_SECONDS, KATA_SECONDS = 1, 10  # of CPU time


@each_kata
def test_the_reference_is_green_and_quick(kata):
    """The reference passes every spec; no spec takes a second, no kata ten."""
    specs = judge(kata, "-m", "not time")
    assert specs
    not_green = [spec for spec in specs if spec["outcome"] != "green"]
    assert not not_green, told(not_green)
    slow = [spec for spec in specs if spec["cpu"] > SPEC_SECONDS and not summary.asks_why(spec["id"])]
    assert not slow, "\n".join(f"{spec['id']}: {spec['cpu']:.2f} s" for spec in slow)
    assert sum(spec["cpu"] for spec in specs if not summary.asks_why(spec["id"])) < KATA_SECONDS
