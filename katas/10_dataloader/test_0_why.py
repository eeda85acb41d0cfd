import numpy as np
from katas.activations import ReLU
from katas.dataloader import ArrayDataset, DataLoader
from katas.layers import Linear
from katas.losses import CrossEntropyLoss
from katas.optimizers import Adam
from katas.spatial import CNN, Conv2d
from katas.tensor import Tensor

from specs.datasets.glyphs import glyphs


def set_up() -> tuple[CNN, CrossEntropyLoss, Adam]:
    rng = np.random.default_rng(1)
    conv, more = Conv2d(1, 8, 5, stride=4, rng=rng), Conv2d(8, 16, 3, stride=2, rng=rng)
    network = CNN([conv, ReLU(), more, ReLU(), Linear(64, 10, rng=rng)])
    return network, CrossEntropyLoss(), Adam(network.parameters(), lr=0.003)


def one_by_one(dataset, network, criterion, optimizer) -> None:
    """An epoch of single samples, as kata 09 leaves it."""
    for i in range(len(dataset)):
        x, y = dataset[i]
        optimizer.zero_grad()
        criterion(network(Tensor(x[None])), Tensor(y[None])).backward()
        optimizer.step()


def in_batches(loader, network, criterion, optimizer) -> None:
    for x, y in loader:
        optimizer.zero_grad()
        criterion(network(x), y).backward()
        optimizer.step()


def test_an_epoch_of_batches_is_six_times_faster_than_sample_by_sample(budget, tell):
    """Calling the layers, the rules and the optimizer costs the same for one image as for 32. So an epoch of 128 digits takes
    at most a sixth of the time in batches of 32.
    """
    images, labels = glyphs(128, 0)
    dataset = ArrayDataset(images[:, None].astype(np.float32) / 255, labels.astype(np.int64))
    loader, batches, samples = DataLoader(dataset, batch_size=32, shuffle=True), set_up(), set_up()
    ratio = budget.time(lambda: in_batches(loader, *batches), against=lambda: one_by_one(dataset, *samples), limit=1 / 6)
    tell(f"an epoch of 128 digits: batches of 32 are {1 / ratio:.0f} times faster than one sample at a time")
