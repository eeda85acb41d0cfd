import numpy as np
from katas.activations import Tanh
from katas.layers import Dropout, Linear, Sequential
from katas.losses import CrossEntropyLoss
from katas.optimizers import Adam
from katas.training import Batches, Trainer

EPOCHS, DIES = 50, 37


class PowerFailure(BaseException):
    """Ends the process."""


class Counted(Batches):
    """Batches that count the epochs begun, and fail in the middle of one of them."""

    epochs, fails = 0, None

    def __iter__(self):
        self.epochs += 1
        for number, pair in enumerate(super().__iter__()):
            if self.epochs == self.fails and number == 2:
                raise PowerFailure
            yield pair


def set_up(x: np.ndarray, labels: np.ndarray):
    """Builds what every start of the program needs: a network, an optimizer and the data."""
    rng = np.random.default_rng(1)
    network = Sequential(Linear(4, 16, rng=rng), Tanh(), Dropout(0.2, rng), Linear(16, 3, rng=rng))
    return network, Adam(network.parameters(), lr=0.01), Counted(x, labels, 16, rng)


def ad_hoc(network, optimizer, data) -> None:
    """A typical hand-written loop."""
    criterion = CrossEntropyLoss()
    for _ in range(EPOCHS):
        for x, y in data:
            optimizer.zero_grad()
            criterion(network(x), y).backward()
            optimizer.step()


def started_twice(train, x: np.ndarray, labels: np.ndarray) -> tuple[int, list[np.ndarray]]:
    """How many epochs begin before training that fails once, in epoch 37, is complete; and its parameters."""
    first, second = set_up(x, labels), set_up(x, labels)
    first[2].fails = DIES
    try:
        train(*first)
    except PowerFailure:
        train(*second)
    return first[2].epochs + second[2].epochs, [parameter.data for parameter in second[0].parameters()]


def test_a_loop_that_dies_starts_again_and_a_trainer_goes_on(draw, tell, tmp_path):
    """A hand-written loop that dies in epoch 37 loses 37 epochs. A Trainer with a checkpoint repeats only that epoch and
    resumes: at the end every parameter has exactly the bits of an uninterrupted run.
    """
    x, labels = draw.normal(80, 4, dtype=np.float32), draw.integers(3, 80)
    by_hand, _ = started_twice(ad_hoc, x, labels)

    def resuming(network, optimizer, data):
        Trainer(network, CrossEntropyLoss(), optimizer, checkpoint=tmp_path / "run.safetensors").fit(data, EPOCHS)

    resumed, parameters = started_twice(resuming, x, labels)
    network, optimizer, data = set_up(x, labels)
    ad_hoc(network, optimizer, data)
    same = [np.array_equal(got, want.data) for got, want in zip(parameters, network.parameters(), strict=True)]
    assert by_hand == DIES + EPOCHS
    assert resumed == EPOCHS + 1
    assert all(same)
    tell(f"the loop died in epoch {DIES} of {EPOCHS} and started again: {by_hand} epochs")
    tell(f"the Trainer died there too and went on: {resumed} epochs, and all {len(same)} parameters have the same bits")
