"""The results of a run: one JSON file, written atomically, and the map of the chain that closes the output."""

import json
import os
import tempfile
from collections import Counter
from datetime import datetime
from pathlib import Path

from specs.door import KATAS, ROOT, relative, source, trees

FOLDER = ROOT / ".kata" / "results"
KEPT = 100  # files
OUTCOMES = ("green", "red", "blocked", "not run")
BEGAN = datetime.now().astimezone()  # the plugin imports this before any kata: what is saved later was not judged


def write(specs: list[dict], arguments: list[str], path: Path | None) -> None:
    """One run's results, under a name of their own unless `path` is given. Of files older than the last hundred only those
    stay that have the last word on a spec: who works on kata 07 for long has still solved 01.
    """
    now = datetime.now()
    path = path or FOLDER / f"{now:%Y-%m-%dT%H-%M-%S-%f}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    run = {
        "time": BEGAN.isoformat(),
        "arguments": arguments,
        "trees": {number: relative(tree) for number, tree in trees().items()},
        "specs": specs,
    }
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=path.parent, suffix=".part", delete=False) as part:
        json.dump(run, part, indent=1)
    os.replace(part.name, path)
    if old := sorted(FOLDER.glob("*.json"))[:-KEPT]:
        from specs import progress  # which imports this module

        needed = {spec["file"] for standing in progress.gather()[0] for spec in standing.specs}
        for path in set(old) - needed:
            path.unlink(missing_ok=True)


def read(path: Path) -> dict:
    """What `write` wrote."""
    return json.loads(path.read_text(encoding="utf-8"))


def counts(specs: list[dict]) -> dict[str, dict[str, int]]:
    """How many specs of each kata, by number, had each outcome."""
    table: dict[str, dict[str, int]] = {}
    for spec in specs:
        if spec["kata"]:
            row = table.setdefault(spec["kata"], dict.fromkeys(OUTCOMES, 0))
            row[spec["outcome"]] += 1
    return table


def header() -> str:
    """Which tree every kata comes from: `katas 01-06 from reference/, 07-20 from katas/`."""
    groups: list[list] = []
    for number, tree in trees().items():
        if groups and groups[-1][2] == tree:
            groups[-1][1] = number
        else:
            groups.append([number, number, tree])
    parts = [f"{first if first == last else f'{first}-{last}'} from {relative(tree)}/" for first, last, tree in groups]
    return f"katas {', '.join(parts)}"


def closing_map(specs: list[dict]) -> list[str]:
    """A line a kata, what to do first where an earlier one is at fault, and why specs are blocked or did not run."""
    table, lines = counts(specs), []
    faulty = None  # the first kata with a spec that is red and no stub: what builds on it can't be trusted
    for kata in KATAS:
        row = table.get(kata.number)
        if row is None:
            continue
        own = [spec for spec in specs if spec["kata"] == kata.number]
        judged = row["green"] + row["red"] + row["blocked"]
        filled = 20 * row["green"] // judged if judged else 0
        numbers = " · ".join(f"{count} {outcome}" for outcome, count in row.items() if count)
        line = f"{kata.number} {kata.folder[3:]:<14} {'█' * filled}{'░' * (20 - filled)}  {numbers}"
        first = min([spec["blocked_by"] for spec in own if "blocked_by" in spec], default=faulty)
        if first and (row["blocked"] or row["red"]):
            line += f"  fix {first} first"
        lines.append(line)
        if any(spec["outcome"] == "red" and "stub" not in spec for spec in own):
            faulty = faulty or kata.number
    reasons = {f"blocked by {spec['blocked_by']}: {spec['why']}": spec["blocked_by"] for spec in specs if "blocked_by" in spec}
    first_reasons = {number: reason for reason, number in reversed(reasons.items())}
    lines += [first_reasons[number] for number in sorted(first_reasons)]
    skipped = Counter(spec["why"] for spec in specs if spec["outcome"] == "not run" and "why" in spec)
    return lines + [f"{count} not run: {why}" for why, count in skipped.items()]


def next_step(specs: list[dict]) -> dict | None:
    """The first useful failure: the first red spec in the order of the chain, those that ask why coming last in a kata."""
    red = [spec for spec in specs if spec["outcome"] == "red"]
    return min(red, key=lambda spec: (spec["kata"] or "99", "test_0_why" in spec["id"]), default=None)


def done(specs: list[dict]) -> list[str]:
    """What to say of each kata all of whose specs are there and green."""
    lines = []
    for number, row in counts(specs).items():
        kata = next(kata for kata in KATAS if kata.number == number)
        files = {path.name for path in (ROOT / "katas" / kata.folder).glob("test_*.py")}
        seen = {Path(spec["id"].split("::")[0]).name for spec in specs if spec["kata"] == number}
        if seen != files or row["green"] != sum(row.values()):
            continue
        reference = ROOT / "reference" / kata.folder / f"{kata.module}.py"
        told = []
        if source(kata) != reference and reference.exists():
            told.append(f"compare {relative(source(kata))} with {relative(reference)}")
        later = next((other for other in KATAS if other.number > number and other.number not in counts(specs)), None)
        if later:
            told.append(f"next: katas/{later.folder}/README.md")
        lines.append(f"{number} is green" + (f": {'; '.join(told)}" if told else ""))
    return lines
