"""What every milestone has: the choice of data, and a place for its table, its numbers and its picture."""

import pytest

from specs.door import ROOT, relative


def pytest_addoption(parser):
    parser.addoption(
        "--data",
        choices=["auto", "real", "generated"],
        default="auto",
        help="milestones: real data where it can be had (auto), real data or an error, or the generated stand-in",
    )


class Milestone:
    """Gathers what a milestone shows."""

    def __init__(self, item):
        self.item = item

    def row(self, label: str, value: float, unit: str = "", wanted: str = "") -> None:
        """One line of the table, which is also a number in the results."""
        text = f"{label:<62}{value:>10.4g} {unit:<4}" + (f"  (wanted {wanted})" if wanted else "")
        self.item.user_properties += [("tell", text.rstrip()), ("number", [label, float(value)])]

    def note(self, text: str) -> None:
        """A line in words."""
        self.item.user_properties.append(("tell", text))

    def picture(self, name: str, figure) -> None:
        """Keeps a matplotlib Figure as `.kata/pictures/<name>.png`."""
        path = ROOT / ".kata" / "pictures" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=120)
        self.note(f"picture: {relative(path)}")


@pytest.fixture
def milestone(request):
    """The milestone's table, numbers and picture."""
    return Milestone(request.node)


@pytest.fixture
def data(request) -> str:
    """auto, real or generated."""
    return request.config.getoption("--data")
