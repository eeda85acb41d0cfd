"""Whose doing a failure is: the stub, or the kata's broken file, that an exception comes from."""

import re
from pathlib import Path
from typing import NamedTuple

from specs.door import KATAS, Kata, KataImportError, message, relative, source

STUB = re.compile(r"\b(\d\d)\.\d+ ([\w.]+): README\.md, (\d\d\.\d+)")
SHOWN = re.compile(r"<\[.*? raised in repr\(\)\].*?>")  # an assertion's message, where a value could not be shown
FOLDERS = {kata.folder: kata for kata in KATAS}
MISSING = re.compile(r"cannot import name '(\w+)' from '")


class Culprit(NamedTuple):
    """The number of the kata that an exception comes from, why, and the section of the stub if it is one."""

    number: str
    why: str
    stub: str | None = None


def kata_of(path: Path | str) -> Kata | None:
    """The kata that a spec file belongs to, or None for those of milestones and of the specs themselves."""
    return FOLDERS.get(Path(path).parent.name)


def judged(path: Path | str) -> bool:
    """Whether a spec judges katas, as those of katas and milestones do; the others are pytest's business."""
    return kata_of(path) is not None or Path(path).parent.name == "milestones"


def find(error: BaseException) -> Culprit | None:
    """Who is behind an exception, or behind the child process that its message quotes; None if it is no stub or import."""
    links = chain(error)
    for link in reversed(links):
        if culprit := _broken(link):
            return culprit
    for link in links:
        if match := STUB.search(SHOWN.sub("", message(link))):
            number, name, section = match.groups()
            return Culprit(number, f"{section} {name} is still to be written", section)
    return None


def chain(error: BaseException) -> list[BaseException]:
    """An exception and what led to it."""
    found = []
    while error is not None and not any(error is link for link in found):
        found.append(error)
        error = error.__cause__ or error.__context__
    return found


def _broken(error: BaseException) -> Culprit | None:
    if isinstance(error, KataImportError):
        return Culprit(error.number, str(error))
    module = getattr(error, "name", None) if isinstance(error, ImportError) else None
    kata = next((kata for kata in KATAS if module == f"katas.{kata.module}"), None)
    if kata is None:
        return None
    missing = MISSING.search(str(error))
    circular = "circular import" in str(error)
    what = f"there is no {missing[1]!r} in it (any more)" if missing and not circular else str(error)
    return Culprit(kata.number, f"{relative(source(kata))}: {what}")
