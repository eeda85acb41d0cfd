"""Where the reference differs from PyTorch by design: what it does instead, in the words that tell a learner."""

import re
from typing import NamedTuple

from specs.door import KATAS, ROOT


class Documented(NamedTuple):
    """A sentence of a kata's README or of its reference, in one of its sections ("" is what stands before the first)."""

    section: str
    sentence: str
    readme: bool = True

    def path(self):
        """The file in which the sentence stands."""
        kata = next(kata for kata in KATAS if kata.number == self.number)
        if self.readme:
            return ROOT / "katas" / kata.folder / "README.md"
        return ROOT / "reference" / kata.folder / f"{kata.module}.py"

    @property
    def number(self) -> str:
        """The kata's."""
        return self.section[:2]

    def stands(self) -> bool:
        """Whether the sentence is where it is said to be; only line breaks may differ."""
        parts = re.split(r"^ *#+ (?=\d\d\.\d+ )", self.path().read_text(encoding="utf-8"), flags=re.MULTILINE)
        sections = [part for part in parts if part.startswith(self.section + " ")]
        return any(_plain(self.sentence) in _plain(part) for part in sections)


def _plain(text: str) -> str:
    return re.sub(r"\s+", " ", text)


DOCUMENTED = {
    "wider": Documented("02.2", "of two float dtypes the wider wins"),
    "shape ()": Documented("02.2", "An array or a Tensor of shape () counts like any other"),
    "compare": Documented("02.2", "They compare values, whatever the dtype can hold"),
    "can't hold": Documented(
        "02.2",
        "An integer that the tensor's dtype can't hold, such as -2 or the exponent 300 beside uint8, raises a ValueError",
    ),
    "booleans": Documented("02.2", "an integer scalar with a boolean tensor gives int64"),
    "function": Documented("02.3", "A function of integers gives float32."),
    "arange": Documented("02.1", "the numbers from start (0) up to, not including, stop.", readme=False),
    "relu": Documented("03.1", "grad where x > 0, else 0: at 0 too.", readme=False),
    "no target": Documented("05.2", "the batch is empty, or every target is ignored", readme=False),
    "ragged": Documented("02.1", "ValueError if lists are ragged.", readme=False),
    "pow": Documented("02.2", "Integers to a negative or a float power give float32;", readme=False),
    "axis": Documented(
        "02.5", "Raises, like all reductions: ValueError if an axis does not exist or is given twice;", readme=False
    ),
    "axes swapped": Documented(
        "02.4", "Axes dim0 and dim1 swapped. Raises: ValueError if either does not exist.", readme=False
    ),
    "T": Documented(
        "02.4",
        "The last two axes swapped: the transpose of a matrix, or of each in a batch. Raises: ValueError without two.",
        readme=False,
    ),
    "index": Documented("02.4", "NumPy's indexing; an index, or a part of it, may be a Tensor.", readme=False),
    "concatenate": Documented("02.4", "if another axis differs, or if there is no axis dim", readme=False),
    "no axes": Documented("02.5", "An empty tuple of axes reduces nothing."),
    "mean of none": Documented("02.5", "Raises: ValueError if a reduced axis has length 0.", readme=False),
    "mean of integers": Documented("02.5", "The arithmetic mean, float32 for integers.", readme=False),
    "variance": Documented("02.5", "Raises: ValueError unless n > correction.", readme=False),
    "tie": Documented("07.2", "`maximum` passes g to the larger; at a tie, or where either is NaN, to b."),
    "largest": Documented(
        "07.2", "or to the largest only, divided evenly between equals (`max`). The others receive 0, even if g is infinite."
    ),
    "gelu": Documented("03.3", "GELU(-∞) is 0, and y′ is 0 at -∞ and 1 at ∞."),
    "softmax": Documented("03.4", "Raises: ValueError if x has no axis dim.", readme=False),
    "log softmax": Documented("03.5", "Raises: ValueError if x has no axis dim.", readme=False),
    "one shape": Documented("05.1", "ValueError if the shapes differ, even if only by an axis of length 1", readme=False),
    "no values": Documented("05.1", "or if there are no values.", readme=False),
    "none counts": Documented("05.2", "If every target is ignored there is no mean. Raise a ValueError (PyTorch returns NaN)."),
    "outside": Documented("05.3", "a target lies outside [0, 1]", readme=False),
    "logarithm": Documented("05.3", "in float32 log(1 + e^-|x|) is off by at most 1.2e-7 a value"),
    "infinite logit": Documented("05.3", "An infinite logit makes the loss NaN"),
    "no largest": Documented(
        "09.4", "A window with NaN in it has no largest value: it becomes NaN, and all its pixels have a gradient of 0."
    ),
    "clip": Documented("06.4", "they keep their direction and get a length of at most `max_norm`"),
    "clip finite": Documented("06.4", "A gradient with NaN or ∞ in it raises a ValueError"),
    "one value": Documented("09.5", "In train mode, fewer than two values per channel have no variance and raise a ValueError"),
}
