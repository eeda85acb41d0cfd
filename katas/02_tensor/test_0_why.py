from katas.tensor import Tensor

from specs.oracles.tensor import nested_matmul


def test_a_tensor_multiplies_matrices_a_hundred_times_faster_than_nested_lists(draw, budget, tell):
    """Lists hold pointers to boxed numbers. One block of float32 and one call into compiled code: ≥100× faster."""
    a, b = draw.normal(80, 80).tolist(), draw.normal(80, 80).tolist()
    x, y = Tensor(a), Tensor(b)
    ratio = budget.time(lambda: x @ y, against=lambda: nested_matmul(a, b), limit=1 / 100)
    tell(f"80×80 matrices: Tensor @ Tensor is {1 / ratio:,.0f} times faster than nested lists")
