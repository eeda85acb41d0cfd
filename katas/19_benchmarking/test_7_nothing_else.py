from katas.benchmarking import (
    Benchmark,
    Clock,
    Measured,
    Result,
    compare,
    conv2d_flops,
    count,
    matmul_flops,
    pareto,
    ratio_interval,
    spent,
)
from katas.environment import Machine
from katas.layers import Linear
from katas.tensor import Tensor

from specs.check import undisturbed
from specs.oracles.benchmarking import World

MACHINE = Machine(cores=2, peak_gflops=100.0, bandwidth_gbs=20.0, overhead_us=1.0)


def test_nothing_else_is_touched(draw):
    """All that is here leaves NumPy's global generator, its error handling and the working directory alone."""
    world, a, b = World(), draw.normal(2, 3), draw.normal(3, 5)
    images, kernel, y = draw.normal(1, 2, 4, 4), draw.normal(3, 2, 1, 1), draw.normal(1, 3, 4, 4)
    works, clock = {"a": world.work(0.01), "b": world.work(0.02)}, Clock(world.wall, world.cpu)
    program = Measured("program", 1e9, 1e9, 1.0)
    layer, x = Linear(5, 2), Tensor(draw.normal(3, 5))
    result = Benchmark(works, rounds=9, clock=clock).run()
    found = result.compare("a", "b")
    calls = [
        lambda: Benchmark(works, rounds=9, clock=clock),
        lambda: Benchmark(works, rounds=9, clock=clock).run(),
        lambda: spent([1.0, 2.0]),
        lambda: ratio_interval([1.0] * 9, [2.0] * 9),
        lambda: found.verdict,
        lambda: str(found),
        lambda: compare(works["a"], works["b"], clock=clock),
        lambda: result.compare("a", "b"),
        lambda: Result.from_json(result.to_json()),
        lambda: result.to_json(),
        lambda: result.to_markdown("a"),
        lambda: matmul_flops(a @ b, a, b),
        lambda: conv2d_flops(y, images, kernel),
        lambda: count(layer, x),
        lambda: Measured("program", 1e9, 1e9, 1.0),
        lambda: (program.intensity, program.gflops),
        lambda: (program.bound(MACHINE), program.reached(MACHINE)),
        lambda: pareto({"a": (1, 2), "b": (2, 1)}),
    ]
    for call in calls:
        with undisturbed():
            call()
