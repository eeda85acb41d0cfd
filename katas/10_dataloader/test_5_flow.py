import gzip
import struct
from itertools import count

import numpy as np
import pytest
from katas.activations import ReLU
from katas.dataloader import (
    ArrayDataset,
    Compose,
    DataLoader,
    Dataset,
    Normalize,
    RandomCrop,
    RandomHorizontalFlip,
    random_split,
    read_cifar10,
    read_idx,
)
from katas.layers import Linear, Module
from katas.losses import CrossEntropyLoss
from katas.optimizers import Adam
from katas.spatial import CNN, BatchNorm2d, Conv2d, MaxPool2d
from katas.tensor import Tensor
from katas.training import Batches, Trainer, validate

from specs.datasets.glyphs import glyphs
from specs.datasets.scenes import scenes
from specs.oracles.training import assert_same


class Loss(Module):
    """The loss of a sample or of a batch, as the dataset or the loader gives it."""

    def __init__(self, network: Module):
        self.network, self.criterion = network, CrossEntropyLoss()

    def forward(self, fields: tuple) -> Tensor:
        x, y = map(Tensor, fields)
        if y.ndim == 0:
            x, y = x.reshape(1, *x.shape), y.reshape(1)
        return self.criterion(self.network(x), y)


def small(channels: int, features: int, seed: int = 1) -> CNN:
    rng = np.random.default_rng(seed)
    conv, more = Conv2d(channels, 8, 5, stride=4, rng=rng), Conv2d(8, 16, 3, stride=2, rng=rng)
    return CNN([conv, BatchNorm2d(8), ReLU(), more, ReLU(), Linear(features, 10, rng=rng)])


def digits(n: int, seed: int) -> ArrayDataset:
    """Float32 images (1, 28, 28) around 0, and labels."""
    images, labels = glyphs(n, seed)
    return ArrayDataset(images[:, None].astype(np.float32) / 255 - 0.3, labels.astype(np.int64))


def plain(channels: int = 1, features: int = 64) -> CNN:
    """A CNN without batch normalization, which doesn't work with batches of one image."""
    rng = np.random.default_rng(1)
    return CNN([Conv2d(channels, 16, 5, stride=4, rng=rng), ReLU(), Linear(16 * 36, 10, rng=rng)])


def test_from_spatial_to_dataloader():
    """A loop over samples and a loop over batches both run. As written they don't call backward(), so step() finds no gradient,
    and no parameter changes.
    """
    dataset, network = digits(40, 0), plain()
    cnn, optimizer = Loss(network), Adam(network.parameters(), lr=0.01)
    before = network.state_dict()

    for _ in range(2):
        for i in range(len(dataset)):
            sample = dataset[i]
            loss = cnn(sample)
            optimizer.step()

    loader = DataLoader(dataset, batch_size=32, shuffle=True)
    for _ in range(10):
        for batch in loader:  # 32 samples at once
            loss = cnn(batch)
            optimizer.step()

    assert loss.shape == ()
    assert_same(network.state_dict(), before)


def learnt(feed, epochs: int) -> float:
    """The accuracy of a CNN on its 60 training digits, which it gets from feed(dataset)."""
    dataset, network = digits(60, 0), plain()
    cnn, optimizer, data = Loss(network), Adam(network.parameters(), lr=0.01), feed(dataset)
    for _ in range(epochs):
        for fields in data:
            optimizer.zero_grad()
            loss = cnn(fields)
            loss.backward()
            optimizer.step()
    return validate(network, DataLoader(dataset, 60))


def test_both_loops_learn_with_a_backward():
    """With backward(), both loops learn: sample by sample with 60 steps an epoch, or with a loader with 4 steps, and so with
    more, but much shorter, epochs.
    """
    assert learnt(lambda dataset: dataset, 4) > 0.7
    assert learnt(lambda dataset: DataLoader(dataset, batch_size=16, shuffle=True), 15) > 0.7


def test_a_loader_stands_where_batches_stood():
    """Trainer, train_epoch and validate of kata 08 take a loader as their data, and give the same loss and accuracy in each
    epoch as with Batches.
    """
    x, y = (np.stack(field) for field in zip(*digits(50, 0), strict=True))
    results = []
    for data in (DataLoader(ArrayDataset(x, y), 20), Batches(x, y, 20)):
        network = small(1, 64)
        history = Trainer(network, CrossEntropyLoss(), Adam(network.parameters())).fit(data, 2, validation=data)
        results.append([(epoch["loss"], epoch["metric"]) for epoch in history])
    assert results[0] == results[1]


class Killed(BaseException):
    """The exception that ends a process in the middle of an epoch."""


class Dying(Dataset):
    """A dataset that fails at one of its batches."""

    def __init__(self, dataset: Dataset, last: float):
        self.dataset, self.last, self.made = dataset, last, count()

    def __len__(self):
        return len(self.dataset)

    def batch(self, indices):
        if next(self.made) == self.last:
            raise Killed
        return self.dataset.batch(indices)


@pytest.mark.parametrize("prefetch", [0, 2])
@pytest.mark.parametrize("seeded", [True, False], ids=["seeded", "no seed"])
def test_a_killed_training_resumes_bit_for_bit(tmp_path, prefetch, seeded):
    """A killed training resumes with the same order, crops and flips as without the kill, even if batches were being prefetched
    and rng was not seeded: the checkpoint saves the loader's rng.
    """
    images, labels = glyphs(60, 0)
    images = images[:, None]

    def run(path, last: float, seed: int | None):
        transform = Compose([RandomCrop(28, 3), RandomHorizontalFlip(), Normalize([40.0], [60.0])])
        data = DataLoader(
            Dying(ArrayDataset(images, labels), last),
            16,
            shuffle=True,
            rng=None if seed is None else np.random.default_rng(seed),
            transform=transform,
            prefetch=prefetch,
        )
        network = small(1, 64)
        trainer = Trainer(network, CrossEntropyLoss(), Adam(network.parameters()), checkpoint=path)
        return data, network, trainer

    data, whole, trainer = run(None, np.inf, 5 if seeded else None)
    state = data.rng.bit_generator.state
    trainer.fit(data, 5)

    path = tmp_path / "run"
    data, _, trainer = run(path, 10, 5 if seeded else None)  # in its third epoch of four batches
    data.rng.bit_generator.state = state
    with pytest.raises(Killed):
        trainer.fit(data, 5)
    data, network, trainer = run(path, np.inf, 5 if seeded else None)
    assert len(trainer.fit(data, 5)) == 5
    assert_same(network.state_dict(), whole.state_dict())


def test_from_idx_files_to_a_trained_cnn(tmp_path):
    """Files, arrays, a split, loaders and a training work together: the network recognizes many of the held-out digits."""
    images, labels = glyphs(800, 0)
    for name, array in (("images", images), ("labels", labels)):
        header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress(header + array.tobytes(), 1))
    images, labels = (read_idx(tmp_path / f"{name}.gz") for name in ("images", "labels"))
    train, held_out = random_split(ArrayDataset(images[:, None], labels), [0.8, 0.2], np.random.default_rng(0))
    normalize = Normalize([images.mean()], [images.std()])
    data = DataLoader(train, 20, shuffle=True, rng=np.random.default_rng(1), transform=normalize, prefetch=2)
    rng = np.random.default_rng(1)
    conv, more = Conv2d(1, 8, 5, stride=2, padding=2, rng=rng), Conv2d(8, 16, 3, padding=1, rng=rng)
    network = CNN([conv, ReLU(), MaxPool2d(2), more, ReLU(), MaxPool2d(2), Linear(144, 10, rng=rng)])
    Trainer(network, CrossEntropyLoss(), Adam(network.parameters(), lr=0.005)).fit(data, 10)
    assert validate(network, DataLoader(held_out, 100, transform=normalize)) > 0.45  # 16 seeds: 0.65 ± 0.03


def test_cifar10_files_are_trained_on_with_augmentation(tmp_path):
    """A network learns from two files of records of scenes, which are cropped, flipped and normalized in the background."""
    images, labels = scenes(200, 0)
    records = np.hstack([labels[:, None], images.reshape(200, -1)])
    for number, part in enumerate(np.split(records, 2)):
        (tmp_path / f"data_batch_{number}.bin").write_bytes(part.tobytes())
    images, labels = read_cifar10(sorted(tmp_path.glob("data_batch_*.bin")))
    mean, std = images.mean((0, 2, 3)), images.std((0, 2, 3))
    transform = Compose([RandomCrop(32, 4), RandomHorizontalFlip(), Normalize(mean, std)])
    data = DataLoader(ArrayDataset(images, labels), 20, True, rng=np.random.default_rng(1), transform=transform, prefetch=2)
    network = small(3, 144)
    history = Trainer(network, CrossEntropyLoss(), Adam(network.parameters(), lr=0.003)).fit(data, 5)
    assert history[-1]["loss"] < history[0]["loss"]
