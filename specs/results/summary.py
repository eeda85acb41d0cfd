"""What a run's results say in a few lines: how many specs came out how, the map of the chain, what to do next."""

from collections import Counter
from pathlib import Path

from specs.door import KATAS, ROOT, relative, source
from specs.results.runs import OUTCOMES, reached


def counts(specs: list[dict]) -> dict[str, dict[str, int]]:
    """How many specs of each kata, by number, had each outcome."""
    table: dict[str, dict[str, int]] = {}
    for spec in specs:
        if spec["kata"]:
            row = table.setdefault(spec["kata"], dict.fromkeys(OUTCOMES, 0))
            row[spec["outcome"]] += 1
    return table


def asks_why(nodeid: str) -> bool:
    """Whether a spec shows what hurts without its kata: it says little of what is still to be written."""
    return Path(nodeid.split("::")[0]).name.startswith("test_0_why")


def closing_map(specs: list[dict]) -> list[str]:
    """A line a kata, what to do first where an earlier one is at fault, and why specs are blocked or did not run."""
    table, lines = counts(specs), []
    faulty = None  # the first kata with a spec that is red and no stub: what builds on it can't be trusted
    for kata in KATAS:
        row = table.get(kata.number)
        if row is None:
            continue
        own = [spec for spec in specs if spec["kata"] == kata.number]
        filled = 20 * row["green"] // len(own)  # what did not run is not done
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
    return min(red, key=lambda spec: (spec["kata"] or "99", asks_why(spec["id"])), default=None)


def done(specs: list[dict]) -> list[str]:
    """What to say of each kata all of whose specs are there and green. What is next is the first that isn't."""
    table, settled, lines = counts(specs), set(), []
    for number in table:
        own = [spec for spec in specs if spec["kata"] == number]
        if _whole(number, own) and all(spec["outcome"] in ("green", "not run") and reached(spec) for spec in own):
            settled.add(number)
    for kata in KATAS:
        row = table.get(kata.number)
        if kata.number not in settled or row["green"] != sum(row.values()):
            continue
        reference = ROOT / "reference" / kata.folder / f"{kata.module}.py"
        told = []
        if source(kata) != reference and reference.exists():
            told.append(f"compare {relative(source(kata))} with {relative(reference)}")
        left = [other for other in KATAS if other.number not in settled]
        if later := next((other for other in left if other.number in table or other.number > kata.number), None):
            told.append(f"next: katas/{later.folder}/README.md")
        lines.append(f"{kata.number} is green" + (f": {'; '.join(told)}" if told else ""))
    return lines


def _whole(number: str, specs: list[dict]) -> bool:
    """Whether these specs come from every file of a kata."""
    kata = next(kata for kata in KATAS if kata.number == number)
    files = {path.name for path in (ROOT / "katas" / kata.folder).glob("test_*.py")}
    return {Path(spec["id"].split("::")[0]).name for spec in specs} == files
