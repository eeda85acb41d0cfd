"""What the milestones draw: learning curves, images with the classes that they were taken for, attention, and texts."""

import itertools
import textwrap
from collections.abc import Iterable

import numpy as np
from katas.spatial import CNN
from katas.training import Progress, validate
from matplotlib.figure import Figure

from specs.datasets.images import Images


class Curve(Progress):
    """Shows the progress, and keeps for the picture where each step was, in epochs, and its loss."""

    def __init__(self):
        super().__init__()
        self.losses: list[tuple[float, float]] = []
        self.total = 0.0

    def step(self, share: float, loss: float) -> None:
        """loss is the mean of the epoch so far: what it grew by is this step's."""
        before = self.losses[-1][0] - self.done if self.losses and self.losses[-1][0] > self.done else 0.0
        self.losses.append((self.done + share, (share * loss - (self.total if before else 0.0)) / (share - before)))
        self.total = share * loss
        super().step(share, loss)


def guesses(network: CNN, data: Iterable) -> np.ndarray:
    """The class that the network finds most likely, for each image."""
    found = []
    validate(network, data, lambda prediction, _: found.append(prediction.data.argmax(-1)) or 0.0)
    return np.concatenate(found)


def grid(losses: list[tuple[float, float]], history: list[dict], images: Images, found: np.ndarray) -> Figure:
    """The learning curves, and images that were named rightly (above) and wrongly (below).

    losses: of the steps of this run, as a Curve has them; history: the Trainer's, of all epochs.
    """
    figure = Figure(figsize=(11, 5), layout="constrained")
    left, right = figure.subfigures(1, 2)
    axes, epochs = left.subplots(), [epoch["epoch"] for epoch in history]
    if losses:
        axes.semilogy(*zip(*losses, strict=True), linewidth=0.5, color="tab:blue")
    axes.semilogy(epochs, [epoch["loss"] for epoch in history], "o", color="tab:blue")
    axes.set(xlabel="epoch", title=images.source)
    axes.set_ylabel("loss (nats), dots: mean of an epoch", color="tab:blue")
    shares = axes.twinx()
    shares.plot(epochs, [100 * epoch["metric"] for epoch in history], "s-", color="tab:orange")
    shares.set_ylabel("test images named rightly (%)", color="tab:orange")
    right.suptitle("two rows named rightly, two wrongly")
    hits = found == images.test_labels
    chosen = [*np.flatnonzero(hits)[:12], *np.flatnonzero(~hits)[:12]]
    for axes, i in itertools.zip_longest(right.subplots(4, 6).flat, chosen):
        axes.axis("off")
        if i is not None:
            image = images.test_images[i]  # (28, 28), or (3, 32, 32)
            axes.imshow(image if image.ndim == 2 else image.transpose(1, 2, 0), cmap="gray_r")
            axes.set_title(images.classes[found[i]].replace(" ", "\n"), fontsize=8)
    return figure


def language(
    lines: dict[str, list[tuple[float, float]]],
    levels: dict[str, float],
    source: str,
    maps: np.ndarray,
    tokens: list[str],
    text: str,
) -> Figure:
    """Learning curves with horizontal levels for comparison, a text, and attention maps (heads, tokens, tokens).

    lines: the points (epoch, bits per byte) of each curve.
    """
    figure = Figure(figsize=(15, 10), layout="constrained")
    above, below = figure.subfigures(2, 1, height_ratios=(3, 2))
    left, right = above.subplots(1, 2)
    for (name, points), style in zip(lines.items(), ("-", "o", "s-"), strict=True):
        if points:
            left.plot(*zip(*points, strict=True), style, linewidth=0.8, label=name)
    for (name, level), style in zip(levels.items(), (":", "--"), strict=True):
        left.axhline(level, color="gray", linestyle=style, label=name)
    left.set(xlabel="epoch", ylabel="bits per byte", title=source)
    left.legend()
    right.axis("off")
    right.set_title("what it writes")
    page = "\n".join(line for long in text.split("\n") for line in textwrap.wrap(long, 84) or [""])
    page = "\n".join(page.split("\n")[:34])
    right.text(0, 1, page, fontsize=8, family="monospace", va="top", parse_math=False, transform=right.transAxes)
    below.suptitle("attention of the last layer's heads: each row is a token that looks at the columns")
    for table, axes in zip(maps, below.subplots(1, len(maps)), strict=True):
        axes.imshow(table, cmap="Blues", vmin=0)
        names = [token.replace("\n", "\\n").replace(" ", "\u00b7") for token in tokens]
        axes.set_xticks(range(len(tokens)), names, rotation=90, fontsize=6, parse_math=False)
        axes.set_yticks(range(len(tokens)), names, fontsize=6, parse_math=False)
    return figure


def bars(gains: dict[str, float]) -> Figure:
    """A bar for each gain, how many times as much the first of two takes, on a logarithmic axis. 1 means the same."""
    figure = Figure(figsize=(11, 1 + 0.3 * len(gains)), layout="constrained")
    axes, values = figure.subplots(), [*gains.values()]
    colors = ["tab:blue" if value >= 1 else "tab:red" for value in values]
    drawn = axes.barh(range(len(gains)), [value - 1 for value in values], left=1, color=colors)  # an axis of logs has no 0
    axes.bar_label(drawn, [f" {value:,.0f}× " if value >= 100 else f" {value:.3g}× " for value in values])
    axes.set_yticks(range(len(gains)), gains, fontsize=8)
    axes.set(xscale="log", xlabel="gain", title="how many times as much time or memory it took before")
    axes.invert_yaxis()
    axes.axvline(1, color="black", linewidth=0.8)
    axes.margins(x=0.15)
    return figure


def fronts(
    points: dict[str, dict[str, tuple[float, float]]], best: dict[str, list[str]], labels: dict[str, tuple[str, str]]
) -> Figure:
    """For each network the points of its versions, less is better; those in `best`, which no other beats, are joined."""
    figure = Figure(figsize=(12, 5), layout="constrained")
    for axes, (network, named) in zip(figure.subplots(1, len(points), squeeze=False).flat, points.items(), strict=True):
        line = sorted(named[name] for name in best[network])
        axes.step(*zip(*line, strict=True), where="post", color="tab:blue", linewidth=0.8)
        for name, point in named.items():
            axes.plot(*point, "o", color="tab:blue" if name in best[network] else "gray")
            axes.annotate(name, point, (5, 5), textcoords="offset points", fontsize=9)
        axes.set(xscale="log", xlabel=labels[network][0], ylabel=labels[network][1], title=network)
        axes.margins(0.2)
    return figure
