from katas.tensor import Tensor

from specs.oracles.tensor import nested_matmul


def test_a_tensor_multiplies_matrices_a_hundred_times_faster_than_nested_lists(draw, budget, tell):
    """A Tensor multiplies matrices ≥100× faster than nested lists: one float32 block and one call, no boxed numbers."""
    a, b = draw.normal(80, 80).tolist(), draw.normal(80, 80).tolist()
    x, y = Tensor(a), Tensor(b)
    ratio = budget.time(lambda: x @ y, against=lambda: nested_matmul(a, b), limit=1 / 100)
    tell(f"80×80 matrices: Tensor @ Tensor is {1 / ratio:,.0f} times faster than nested lists")
