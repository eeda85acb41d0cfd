"""How far the learner is: of every spec the last run that reached it, gathered from the results. There is no other state."""

import json
import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from specs.door import KATAS, ROOT, Kata, relative
from specs.results import journal, runs

SPEC = re.compile(r"^def (test\w*)\(", re.MULTILINE)
LARGE = 100_000  # bytes of results that are worth a look before they are parsed
KEPT = 100  # files of results
READ = 10_000_000  # bytes of results, the newest, that are parsed at most: half a second's work


@dataclass
class Standing:
    """Where the learner's own solution of a kata stands."""

    kata: Kata
    specs: list[dict]  # as in the results, with "began" and "file" of their run, in the order of the kata's files
    unseen: int  # functions that no run knows: each is at least one spec
    changed: str  # the file that was saved after its last run began, or ""

    @property
    def green(self) -> bool:
        """Whether it is known to be solved. What the machine can't run (it has no fork, say) does not count."""
        known = bool(self.specs) and not self.unseen and not self.changed and all(map(runs.reached, self.specs))
        return known and all(spec["outcome"] in ("green", "not run") for spec in self.specs)

    @property
    def blocked_by(self) -> str:
        """The number of the first kata that blocks its specs, or "" if there is none, or if specs are red by themselves."""
        if any(spec["outcome"] == "red" for spec in self.specs):
            return ""
        return min((spec["blocked_by"] for spec in self.specs if "blocked_by" in spec), default="")


@dataclass
class Progress:
    """Where the learner stands in the chain, and what they ran last."""

    standings: list[Standing]  # of every kata
    damaged: list[str]  # a line on each file of results that can't be read
    cut: list[str]  # ids of the specs during which the process of the newest run ended, if it did not come to its end
    last: list[str]  # numbers of the katas in the newest run that judged the learner's own tree
    lower: str | None  # the other tree from which that run took all katas below these

    @property
    def current(self) -> Standing | None:
        """Where to go on: the kata that was run last, the next one after it, or the first before it, whichever isn't green.

        A kata that is only blocked waits for the one that blocks it. None if all are green.
        """
        last = [standing for standing in self.standings if standing.kata.number in self.last]
        later = [standing for standing in self.standings if last and standing.kata.number > last[0].kata.number]
        left = [standing for standing in [*last, *later, *self.standings] if not standing.green]
        blocking = [standing for standing in left if left[0].blocked_by == standing.kata.number]
        return next(iter([*blocking, *left]), None)

    def upstream(self, kata: Kata) -> str | None:
        """The tree that the last run took the katas below from, where this kata needs it: those below are not all green."""
        below = [standing for standing in self.standings if standing.kata.number < kata.number]
        return None if all(standing.green for standing in below) else self.lower


def katas() -> list[Kata]:
    """Those that have specs."""
    return [kata for kata in KATAS if _spec_files(kata)]


def own_file(kata: Kata) -> Path:
    """The learner's file, whatever KATA_IMPL says."""
    return ROOT / "katas" / kata.folder / f"{kata.module}.py"


def functions(kata: Kata) -> list[str]:
    """What specs there are, as file::name, without an import: a spec is a function at the left margin."""
    texts = {relative(path): path.read_text(encoding="utf-8", errors="replace") for path in _spec_files(kata)}
    return [f"{file}::{name}" for file, text in texts.items() for name in SPEC.findall(text)]


def gather() -> Progress:
    """Every kata's standing and the last run. Imports nothing of the learner's."""
    searches, damaged, left = {kata.number: _Search(kata) for kata in katas()}, [], READ
    cut, last, lower = [], [], None
    try:
        files = _files()
    except OSError as error:
        files, damaged = [], [f"{relative(runs.FOLDER)} can't be read: {runs.reason(error)}. What was run before is not known."]
    for path in reversed(files):
        wanted = [number for number, search in searches.items() if not search.over]
        try:
            data = path.read_bytes()
            if not _tells(data, wanted):
                continue
            left -= len(data)
            if left < 0:
                break
            run = journal.parse(data) if path.suffix == journal.SUFFIX else json.loads(data)
            if path == files[-1]:
                cut = run.get("running", [])
            own = _own(run, path, wanted)
            if own and not last:
                last, lower = sorted(own), _lower(run["trees"], min(own))
        except FileNotFoundError:
            continue  # a run that has just ended keeps only the last hundred
        except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            damaged.append(f"{relative(path)} is ignored: it can't be read ({type(error).__name__}), and may be deleted")
            continue
        for number, specs in own.items():
            searches[number].add(specs)
    return Progress([search.standing() for search in searches.values()], damaged, cut, last, lower)


def forget() -> None:
    """Deletes old results, but none that has the last word on a spec: who works on 07 for long has still solved 01.

    Raises: OSError.
    """
    if old := _files()[:-KEPT]:
        needed = {spec["file"] for standing in gather().standings for spec in standing.specs}
        for path in set(old) - needed:
            path.unlink(missing_ok=True)


def _files() -> list[Path]:
    """The results of all runs that have ended, the oldest first. Raises: OSError if their folder can't be read, not if it is
    missing.
    """
    try:
        ended = [path for path in runs.FOLDER.iterdir() if path.suffix == ".json"]
    except FileNotFoundError:
        return []
    return sorted([*ended, *journal.left()])


def _tells(data: bytes, wanted: list[str]) -> bool:
    """Whether a run may have something on these katas. Reading is fast, parsing is not."""
    if len(data) < LARGE or not data.endswith(b"}"):  # the latter is damaged, and to be named
        return True
    return b'"tree": "katas"' in data and any(f'"kata": "{number}"'.encode() in data for number in wanted)


def _own(run: dict, path: Path, wanted: list[str]) -> dict[str, list[dict]]:
    """A run's specs of the learner's own tree, by kata. Raises one of several errors for what is no run."""
    began, own = datetime.fromisoformat(run["time"]).timestamp(), {}
    for spec in run["specs"]:
        if spec["tree"] != "katas" or spec["kata"] not in wanted:
            continue
        texts = [spec["id"], spec["clause"], *(spec.get(key, "") for key in ("why", "stub", "blocked_by"))]
        if spec["outcome"] not in runs.OUTCOMES or not all(isinstance(text, str) for text in texts):
            raise ValueError(f"no spec: {spec}")
        spec |= {"began": began, "file": path}
        own.setdefault(spec["kata"], []).append(spec)
    return own


def _lower(trees: dict[str, str], number: str) -> str | None:
    """The tree that all katas below a number come from, if it is one and not the learner's own."""
    lower = {tree for other, tree in trees.items() if other < number}
    return lower.pop() if len(lower) == 1 and lower != {"katas"} else None


class _Search:
    """For what is known of a kata's specs, from the newest run to older ones."""

    def __init__(self, kata: Kata):
        self.kata, self.functions = kata, functions(kata)
        self.order = {name: place for place, name in enumerate(self.functions)}
        self.order |= {_file(name): place for place, name in reversed(list(enumerate(self.functions)))}
        self.found: dict[str, dict] = {}
        self.imported: dict[str, bool] = {}  # file → whether its newest results are of its specs, not of the file
        self.whole = False  # whether a run knew all specs: what older ones list besides is gone

    @property
    def over(self) -> bool:
        """Whether older runs have nothing to add."""
        return self.whole and all(map(runs.reached, self.found.values()))

    def add(self, specs: list[dict]) -> None:
        """What the next older run says."""
        for spec in specs:
            name, known = spec["id"], self.found.get(spec["id"])
            of_file = "::" not in name
            if _function(name) not in self.order or self.imported.setdefault(_file(name), not of_file) == of_file:
                continue
            if (known is None and not self.whole) or (known is not None and runs.reached(spec) and not runs.reached(known)):
                self.found[name] = spec
        self.whole = self.whole or not self._unseen({_function(spec["id"]) for spec in specs})

    def standing(self) -> Standing:
        specs = sorted(self.found.values(), key=lambda spec: self.order[_function(spec["id"])])
        changed = _changed(self.kata, min(spec["began"] for spec in specs)) if specs else ""
        return Standing(self.kata, specs, self._unseen({_function(name) for name in self.found}), changed)

    def _unseen(self, seen: set[str]) -> int:
        """How many functions are not among the seen, themselves or with their file."""
        return sum(name not in seen and _file(name) not in seen for name in self.functions)


def _spec_files(kata: Kata) -> list[Path]:
    return sorted((ROOT / "katas" / kata.folder).glob("test_*.py"))


def _file(name: str) -> str:
    return name.split("::")[0]


def _function(name: str) -> str:
    """A spec's id without its parameters."""
    return name.split("[")[0]


def _changed(kata: Kata, began: float) -> str:
    """The name of the kata's file that was saved last, if that was after `began`; a missing one has changed, too."""
    files = [own_file(kata), *_spec_files(kata)]
    saved = {path.name: path.stat().st_mtime if path.exists() else float("inf") for path in files}
    newest = max(saved, key=saved.get)
    return newest if saved[newest] > began else ""
