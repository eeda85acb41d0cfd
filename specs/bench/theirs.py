"""The same work, by PyTorch on the CPU: eager, with all cores, its tensors in the default layout or channels_last."""

import os
import time
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from specs.bench import work
from specs.datasets.cifar10 import cifar10
from specs.datasets.images import Images
from specs.milestones.recipes import cifar10 as recipe

LAYOUTS = {"default": torch.contiguous_format, "channels_last": torch.channels_last}
torch.set_num_threads(os.cpu_count())


def convolution(case: work.Convolution, layout: str) -> Callable[[], list[np.ndarray]]:
    """As ours."""
    x, weight, g = (torch.from_numpy(array).to(memory_format=LAYOUTS[layout]) for array in case.inputs())
    x.requires_grad_(not case.pictures)
    weight.requires_grad_()

    def call():
        x.grad = weight.grad = None
        y = F.conv2d(x, weight, None, case.stride, case.padding)
        y.backward(g)
        return [tensor.detach().numpy() for tensor in (y, weight.grad, x.grad) if tensor is not None]

    return call


def build(layout: str) -> nn.Sequential:
    """The milestone's network."""

    def block(channels: int, out: int, kernel_size: int = 3, stride: int = 1) -> list[nn.Module]:
        conv = nn.Conv2d(channels, out, kernel_size, stride, padding=1, bias=False)
        return [conv, nn.BatchNorm2d(out), nn.ReLU()]

    a, b, c, d = recipe.CHANNELS
    stem, first, second, last = block(3, a, 4, stride=2), block(a, b), block(b, c), block(c, d)
    pools = [nn.MaxPool2d(2), nn.MaxPool2d(2), nn.MaxPool2d(4)]
    layers = [*stem, *first, pools[0], *second, pools[1], *last, pools[2], nn.Flatten(), nn.Linear(d, 10)]
    return nn.Sequential(*layers).to(memory_format=LAYOUTS[layout])


def sgd(network: nn.Module) -> torch.optim.SGD:
    """The milestone's optimizer."""
    weights = [parameter for parameter in network.parameters() if parameter.ndim > 1]
    others = [parameter for parameter in network.parameters() if parameter.ndim == 1]
    groups = [{"params": weights, "weight_decay": recipe.WEIGHT_DECAY}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.SGD(groups, lr=recipe.LEARNING_RATE, momentum=0.9, nesterov=True, fused=True)


def step(layout: str) -> Callable[[], list[np.ndarray]]:
    """As ours."""
    network = build(layout)
    parameters = list(network.parameters())
    with torch.no_grad():
        for parameter, value in zip(parameters, work.parameters(p.shape for p in parameters), strict=True):
            parameter.copy_(torch.from_numpy(value))
    images, labels = map(torch.from_numpy, work.photographs())
    images, optimizer = images.to(memory_format=LAYOUTS[layout]), sgd(network)

    def call():
        optimizer.zero_grad()
        loss = F.cross_entropy(network(images), labels, label_smoothing=0.05)
        loss.backward()
        optimizer.step()
        return [tensor.detach().numpy() for tensor in (loss, *parameters)]

    return call


def train_cifar10(seed: int, layout: str) -> dict[str, float]:
    """As ours; the accuracy is taken after each epoch there, and so it is here."""
    photos = cifar10("real", recipe.read)
    torch.manual_seed(seed)
    network = build(layout)
    optimizer, steps = sgd(network), recipe.EPOCHS * (len(photos.train_images) // recipe.BATCH)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, recipe.triangle(steps))
    start = time.perf_counter()
    for _ in range(recipe.EPOCHS):
        network.train()
        for x, y in _augmented(photos, layout):
            optimizer.zero_grad()
            F.cross_entropy(network(x), y, label_smoothing=0.05).backward()
            optimizer.step()
            schedule.step()
        accuracy = _accuracy(network, photos, layout)
    return {"accuracy": accuracy, "seconds": time.perf_counter() - start}


def _normalised(images: torch.Tensor, layout: str) -> torch.Tensor:
    mean, deviation = (torch.tensor(values)[:, None, None] for values in (recipe.MEAN, recipe.DEVIATION))
    return ((images - mean) / deviation).to(memory_format=LAYOUTS[layout])


def _augmented(photos: Images, layout: str) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """An epoch: shuffled, each image moved by up to a pixel and perhaps turned round."""
    images, labels = torch.from_numpy(photos.train_images), torch.from_numpy(photos.train_labels)
    every = torch.arange(recipe.BATCH)
    for chosen in torch.randperm(len(images)).split(recipe.BATCH):
        if len(chosen) == recipe.BATCH:
            pieces = F.pad(images[chosen], (1, 1, 1, 1)).unfold(2, 32, 1).unfold(3, 32, 1)  # (batch, 3, 3, 3, 32, 32)
            moved = pieces[every, :, torch.randint(3, (len(chosen),)), torch.randint(3, (len(chosen),))]
            turned = torch.rand(len(chosen), 1, 1, 1) < 0.5
            yield _normalised(torch.where(turned, moved.flip(3), moved), layout), labels[chosen]


def _accuracy(network: nn.Module, photos: Images, layout: str) -> float:
    network.eval()
    images, labels = torch.from_numpy(photos.test_images), torch.from_numpy(photos.test_labels)
    with torch.no_grad():
        found = torch.cat([network(_normalised(part, layout)).argmax(1) for part in images.split(500)])
    return float((found == labels).float().mean())
