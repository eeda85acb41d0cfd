"""What every milestone has: the choice of data, and a place for its table, its numbers, its picture and what it trains."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from specs.door import KATAS, ROOT, relative, source

KEPT = 4  # trainings of one name


def pytest_addoption(parser):
    parser.addoption(
        "--data",
        choices=["auto", "real", "generated"],
        default="auto",
        help="milestones: real data where it can be had (auto), real data or an error, or the generated stand-in",
    )
    parser.addoption(
        "--keep", metavar="FOLDER", type=Path, default=ROOT / ".kata", help="milestones: where pictures and trainings are kept"
    )


class Milestone:
    """Gathers what a milestone shows."""

    def __init__(self, item):
        self.item, self.folder = item, item.config.getoption("--keep")

    def row(self, label: str, value: float, unit: str = "", wanted: str = "") -> None:
        """One line of the table, which is also a number in the results."""
        text = f"{label:<62}{value:>10.4g} {unit:<4}" + (f"  (wanted {wanted})" if wanted else "")
        self.item.user_properties += [("tell", text.rstrip()), ("number", [label, float(value)])]

    def note(self, text: str) -> None:
        """A line in words."""
        self.item.user_properties.append(("tell", text))

    def picture(self, name: str, figure) -> None:
        """Keeps a matplotlib Figure as `pictures/<name>.png`."""
        path = self.folder / "pictures" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=120)
        self.note(f"picture: {relative(path)}")

    def checkpoint(self, name: str, through: str, data: str) -> Path:
        """A Trainer's checkpoint in `trained`, one for each state of the katas up to number `through`, and for each data.

        So what was interrupted goes on, and what was finished is not trained again, until something changes.
        """
        files = [*(source(kata) for kata in KATAS if kata.number <= through), self.item.path]
        key = hashlib.sha256(f"{data}, NumPy {np.__version__}".encode())
        for file in files:
            key.update(file.read_bytes())
        path = self.folder / "trained" / f"{name}-{key.hexdigest()[:12]}.safetensors"
        others = set(path.parent.glob(f"{name}-*")) - {path}
        for old in sorted(others, key=lambda other: other.stat().st_mtime)[: 1 - KEPT]:
            old.unlink()
        if path.exists():
            self.note(f"trained before, or in part: {relative(path)}")
        return path


@pytest.fixture
def milestone(request):
    """The milestone's table, numbers and picture."""
    return Milestone(request.node)


@pytest.fixture
def data(request) -> str:
    """auto, real or generated."""
    return request.config.getoption("--data")
