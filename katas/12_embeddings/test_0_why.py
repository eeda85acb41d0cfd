import numpy as np
from katas.activations import Tanh
from katas.embeddings import Embedding, SinusoidalPositions, embedding
from katas.tensor import Tensor

from specs.check import assert_close, cpu_ratio, measure_bytes


def test_a_gather_is_fifty_times_faster_than_a_product_with_one_hot_rows(tell):
    """1,024 tokens of 4,096: rows of a weight are looked up at least 50 times faster than a matrix of ones and zeros selects
    them, and that matrix takes 16 MB. The rows are the same.
    """
    rng = np.random.default_rng(0)
    ids, weight = rng.integers(0, 4096, 1024), Tensor(rng.standard_normal((4096, 64), np.float32))

    def one_hot() -> Tensor:
        rows = np.zeros((1024, 4096), np.float32)
        rows[np.arange(1024), ids] = 1
        return Tensor(rows) @ weight

    assert_close(embedding(ids, weight), one_hot().data)
    times = cpu_ratio(one_hot, lambda: embedding(ids, weight))
    (before, _), (after, _) = measure_bytes(one_hot), measure_bytes(lambda: embedding(ids, weight))
    tell(f"one-hot rows take {times:.0f} times as long as a gather, and {before / 1e6:.1f} MB instead of {after / 1e6:.1f} MB")
    assert times >= 50
    assert before >= 20 * after


def test_a_bag_of_tokens_has_no_order_and_positions_bring_it_back(tell):
    """The mean over the tokens of any function of their vectors is the same for "dog bites man" and "man bites dog". With
    positions in the vectors it is not.
    """
    words = {"dog": 0, "bites": 1, "man": 2}
    vectors, positions = Embedding(3, 16, rng=np.random.default_rng(0)), SinusoidalPositions(3, 16)

    def bag(sentence: str, place) -> np.ndarray:
        return Tanh()(place(vectors([words[word] for word in sentence.split()]))).mean(0).data

    def difference(place) -> float:
        return np.abs(bag("dog bites man", place) - bag("man bites dog", place)).max()

    without, with_positions = difference(lambda x: x), difference(positions)
    tell(f"the two sentences differ by {without:.2g} without positions, and by {with_positions:.2g} with them")
    assert without < 1e-6
    assert with_positions > 0.1
