"""The catalogue of wrong solutions: small patches to the reference, each of which a spec of its own kata must catch."""

import importlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path

from specs.door import KATAS, ROOT, Kata


@dataclass(frozen=True)
class Wrong:
    """A plausible wrong solution: what is wrong, the reference's lines that become others, and the diagnosis it gets.

    `says` is a part of the report of one of the specs that kill it. `naive` names instead the spec (its function) whose
    budget it is there to exceed: at least twice.
    """

    name: str
    patches: dict[str, str]
    says: str = ""
    naive: str = ""

    def text(self, reference: str) -> str:
        """The reference's text with every patch applied. Raises ValueError unless each fits in exactly one place."""
        for old, new in self.patches.items():
            if reference.count(old) != 1:
                raise ValueError(f"{self.name}: {old!r} stands {reference.count(old)} times in the reference, not once")
            reference = reference.replace(old, new)
        return reference

    def tree(self, number: str, folder: Path) -> Path:
        """Writes the wrong solution of a kata into `folder`, as a tree for KATA_IMPL."""
        kata = next(kata for kata in KATAS if kata.number == number)
        file = f"{kata.folder}/{kata.module}.py"
        (folder / kata.folder).mkdir(parents=True)
        (folder / file).write_text(self.text((ROOT / "reference" / file).read_text(encoding="utf-8")), encoding="utf-8")
        return folder


def catalogue(kata: Kata) -> list[Wrong]:
    """The wrong solutions of a kata: WRONG in specs/meta/wrong/kata_NN.py, none where there is no such file."""
    module = f"specs.meta.wrong.kata_{kata.number}"
    return importlib.import_module(module).WRONG if importlib.util.find_spec(module) else []


def listed(kata: Kata) -> dict[str, str]:
    """The names of the semantic mutants of a kata that its specs can't kill, each with "equivalent" or "a fault".

    EQUIVALENT in the kata's catalogue are those that keep all promises, FAULTS those that err as the reference does: from
    name to reason.
    """
    module = f"specs.meta.wrong.kata_{kata.number}"
    found = importlib.import_module(module) if importlib.util.find_spec(module) else None
    equivalent, faults = getattr(found, "EQUIVALENT", {}), getattr(found, "FAULTS", {})
    return dict.fromkeys(equivalent, "equivalent") | dict.fromkeys(faults, "a fault")
