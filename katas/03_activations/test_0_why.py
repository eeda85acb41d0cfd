import numpy as np
from katas.activations import GELU, ReLU, Tanh
from katas.tensor import Tensor


def test_a_bend_between_two_linear_maps_separates_what_no_linear_map_can(draw, tell):
    """Two linear maps are one, whatever their sizes: on two rings around the same center the best linear map guesses. With a
    nonlinearity between two maps of the same size, the rings are told apart.
    """
    ring = np.arange(600) % 2
    angle, radius = draw.uniform(0, 2 * np.pi, 600), 1 + ring + 0.1 * draw.normal(600)
    points = np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1)  # (600, 2)
    hidden = points @ draw.normal(2, 32) + draw.normal(32)  # the first linear map, at random: (600, 32)

    def accuracy(features: np.ndarray) -> float:
        """The fraction of the second half of the points that is right, with the second linear map fitted to the first half."""
        features = np.column_stack([features, np.ones(600)])
        weights = np.linalg.lstsq(features[:300], 2.0 * ring[:300] - 1)[0]
        return ((features[300:] @ weights > 0) == ring[300:]).mean()

    linear = accuracy(hidden)
    bent = {type(bend).__name__: accuracy(bend(Tensor(hidden)).data) for bend in (ReLU(), Tanh(), GELU())}
    tell(f"two rings: two linear maps get {linear:.0%} right, with a bend between " + told(bent))
    assert linear < 0.65, f"the rings are no pain: two linear maps get {linear:.0%} right"
    assert min(bent.values()) > 0.95, f"two linear maps get {linear:.0%} of the points right, with a bend between {told(bent)}"


def told(bent: dict[str, float]) -> str:
    return ", ".join(f"{name} {right:.0%}" for name, right in bent.items())
