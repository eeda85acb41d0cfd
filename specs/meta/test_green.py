from collections import Counter
from pathlib import Path

import pytest

from specs.meta.judge import each_kata, judge, told
from specs.results import summary

pytestmark = pytest.mark.timeout(120)
SPEC_SECONDS, KATA_SECONDS = 1, 10  # of CPU time
SECOND = {"20": ("test_8", "test_9")}  # 20 has two halves, each as large as a kata: these specs are the second one's


@each_kata
def test_the_reference_is_green_and_quick(kata):
    """The reference passes every spec; no spec takes a second, no kata ten, nor a half of 20."""
    specs = judge(kata, "-m", "not time")
    assert specs
    not_green = [spec for spec in specs if spec["outcome"] != "green"]
    assert not not_green, told(not_green)
    slow = [spec for spec in specs if spec["cpu"] > SPEC_SECONDS and not summary.asks_why(spec["id"])]
    assert not slow, "\n".join(f"{spec['id']}: {spec['cpu']:.2f} s" for spec in slow)
    seconds = Counter()
    for spec in specs:
        if not summary.asks_why(spec["id"]):
            seconds[Path(spec["id"].split("::")[0]).name.startswith(SECOND.get(kata.number, ()))] += spec["cpu"]
    assert max(seconds.values()) < KATA_SECONDS
