"""The results of a run: one JSON file, written atomically, and the map of the chain that closes the output."""

import json
import os
import tempfile
from datetime import datetime
from pathlib import Path

from specs.door import KATAS, ROOT, relative, source, trees

FOLDER = ROOT / ".kata" / "results"
KEPT = 100  # files
OUTCOMES = ("green", "red", "blocked", "not run")


def write(specs: list[dict], arguments: list[str], path: Path | None) -> None:
    """One run's results, under a name of their own unless `path` is given; older files than the last hundred go."""
    now = datetime.now()
    path = path or FOLDER / f"{now:%Y-%m-%dT%H-%M-%S-%f}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    run = {
        "time": now.isoformat(timespec="seconds"),
        "arguments": arguments,
        "trees": {number: relative(tree) for number, tree in trees().items()},
        "specs": specs,
    }
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=path.parent, suffix=".part", delete=False) as part:
        json.dump(run, part, indent=1)
    os.replace(part.name, path)
    for old in sorted(FOLDER.glob("*.json"))[:-KEPT]:
        old.unlink(missing_ok=True)


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
    """Which tree every kata comes from: `katas 01–06: reference, 07: katas`."""
    groups: list[list] = []
    for number, tree in trees().items():
        if groups and groups[-1][2] == tree:
            groups[-1][1] = number
        else:
            groups.append([number, number, tree])
    parts = [f"{first if first == last else f'{first}–{last}'} from {relative(tree)}/" for first, last, tree in groups]
    return f"katas {', '.join(parts)}"


def closing_map(specs: list[dict]) -> list[str]:
    """A line a kata, and what to do about it."""
    table, lines = counts(specs), []
    red_below = None
    for kata in KATAS:
        row = table.get(kata.number)
        if row is None:
            continue
        judged = row["green"] + row["red"] + row["blocked"]
        filled = round(20 * row["green"] / judged) if judged else 0
        numbers = " · ".join(f"{count} {outcome}" for outcome, count in row.items() if count)
        line = f"{kata.number} {kata.folder[3:]:<14} {'█' * filled}{'░' * (20 - filled)}  {numbers}"
        if row["blocked"] or (row["red"] and red_below):
            by = sorted({spec["blocked_by"] for spec in specs if spec["kata"] == kata.number and spec.get("blocked_by")})
            line += f"  fix {by[0] if by else red_below} first"
        lines.append(line)
        if row["red"] and red_below is None:
            red_below = kata.number
    blocked = {spec["blocked_by"]: spec["why"] for spec in reversed(specs) if spec.get("blocked_by")}
    lines += [f"blocked by {number}: {why}" for number, why in sorted(blocked.items())]
    return lines


def next_step(specs: list[dict]) -> dict | None:
    """The first useful failure: the first red spec in the order of the chain, those that ask why coming last in a kata."""
    red = [spec for spec in specs if spec["outcome"] == "red"]
    return min(red, key=lambda spec: (spec["kata"] or "99", "test_0_why" in spec["id"], red.index(spec)), default=None)


def done(number: str) -> str:
    """What to say of a kata that is all green."""
    kata = next(kata for kata in KATAS if kata.number == number)
    later = [other for other in KATAS if other.number > number]
    compare = f"compare {relative(source(kata))} with reference/{kata.folder}/{kata.module}.py"
    return compare + (f"; next: katas/{later[0].folder}/README.md" if later else "")
