"""Gathers every spec's outcome in the main process, closes the output with the map of the chain, and writes the results."""

import os
import shlex
import textwrap
from pathlib import Path

import pytest

from specs import door
from specs.plugin import report
from specs.plugin.culprit import judged, kata_of
from specs.plugin.files import Files
from specs.results import journal, progress, runs, summary
from specs.results.plain import plain

FILE = "the file can be imported"
COUNTED = ("passed", "error", "red", "blocked", "not run")  # what pytest counts the specs of katas as
SELECTING = ("keyword", "markexpr", "lf", "deselect", "stepwise")  # options under which a kata's specs don't all run


class Recorder:
    """A pytest plugin. Under xdist it sees the workers' reports, and their lists of what there is to run."""

    def __init__(self, config, files: Files):
        self.config, self.files = config, files
        self.brief = config.option.verbose < 2  # -vv: pytest's own tracebacks
        self.specs: dict[str, dict] = {}
        self.told: list[str] = []
        self.arguments = [str(argument) for argument in config.invocation_params.args]
        self.journal = None if config.getoption("--results") else journal.Journal(self.arguments)
        self.collecting: str | None = None  # the file whose specs are being gathered
        self.ended: set[str] = set()
        self.early: set[str] = set()  # specs that did not end, in a run that something ended as a success

    def pytest_collectstart(self, collector):
        if isinstance(collector, pytest.Module) and judged(collector.path) and not self.config.option.collectonly:
            self.collecting = collector.nodeid
            self._note(_blank(collector.nodeid, FILE) | {"outcome": journal.RUNNING})

    def pytest_collection_finish(self, session):
        for item in session.items:
            self._spec(item.nodeid, getattr(item, "function", None))

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, node, ids):
        for nodeid in ids:
            self._spec(nodeid)

    def _spec(self, nodeid: str, function=None) -> dict | None:
        """What is known of a spec, which has not run at first; None of those that don't judge katas."""
        path = _path(nodeid)
        if not judged(path) or self.config.option.collectonly:
            return None
        if nodeid in self.specs:
            return self.specs[nodeid]
        clause = report.clause(function) if function else nodeid.split("::")[-1].replace("_", " ")
        self.specs[nodeid] = _blank(nodeid, clause)
        return self.specs[nodeid]

    def _note(self, spec: dict) -> None:
        """What is known of a spec by now, in case that the process ends."""
        if self.journal:
            self.journal.add(spec)

    def pytest_runtest_logstart(self, nodeid):
        if spec := self._spec(nodeid):
            self._note(spec | {"outcome": journal.RUNNING})

    def pytest_runtest_logreport(self, report):
        spec = self._spec(report.nodeid)
        if spec is None:
            return
        properties = [tuple(pair) for pair in report.user_properties]
        named = dict(properties)
        spec["clause"] = named.get("clause", spec["clause"])
        spec["seconds"] = round(spec["seconds"] + report.duration, 4)
        spec["budget"] = [value for key, value in properties if key == "budget"]
        if numbers := dict(value for key, value in properties if key == "number"):
            spec["numbers"] = numbers
        if report.failed:
            spec |= _failed(spec, named)
        elif report.skipped:
            reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else "expected to fail"
            spec |= {"outcome": "not run", "why": reason.removeprefix("Skipped: ")}
        elif report.when == "call":
            spec["outcome"] = "green"
        if "changed" in named and spec["outcome"] == "red":
            spec["why"] += textwrap.indent("\n".join(["", *named["changed"]]), "      ")
        if report.when == "teardown":
            self.told += [f"{spec['kata'] or '  '} {value}" for key, value in properties if key == "tell"]
        if report.when not in ("setup", "call"):  # xdist reports a worker's end with a word of its own
            self.ended.add(report.nodeid)
            self._note(spec)

    def pytest_collectreport(self, report):
        spec = self._spec(report.nodeid) if report.failed else None
        if spec is None:
            if report.nodeid == self.collecting:
                self._note({"id": report.nodeid, "outcome": None})
            return
        why = getattr(report, "why", None) or str(report.longrepr)
        spec |= {"outcome": "red", "clause": FILE, "why": why}
        number, why = getattr(report, "culprit", (None, None))
        if number and (spec["kata"] is None or number < spec["kata"]):
            spec |= {"outcome": "blocked", "blocked_by": number, "why": why}
        self.ended.add(report.nodeid)
        self._note(spec)

    def pytest_sessionfinish(self, session):
        if session.exitstatus == pytest.ExitCode.OK and (early := set(self.specs) - self.ended):
            self.early, session.exitstatus = early, pytest.ExitCode.INTERRUPTED
        self.specs = {spec["id"]: spec for spec in sorted(self.specs.values(), key=lambda spec: _path(spec["id"]))}
        if self.specs:
            path = self.config.getoption("--results")
            so = "" if path else " kata will not know of this run."
            with self.files.writing("the results could not be written", path or runs.FOLDER, so):
                runs.write(list(self.specs.values()), self.arguments, path)
                if self.journal:
                    self.journal.end()
                with self.files.writing("old results could not be deleted", runs.FOLDER):
                    progress.forget()
        elif self.journal:
            self.journal.end()
        terminal = self.config.pluginmanager.get_plugin("terminalreporter")
        if self.brief and terminal:
            self._recount(terminal.stats)

    def _recount(self, stats: dict[str, list]) -> None:
        """Makes pytest's last line count what the map counts: each spec once, and files that can't be imported as specs."""
        told = {}  # one report for each spec: pytest counts one for each of its phases that failed
        for category in COUNTED:
            reports = stats.pop(category, [])
            told |= {each.nodeid: each for each in reports if each.nodeid in self.specs}
            if others := [each for each in reports if each.nodeid not in self.specs]:
                stats[category] = others
        for outcome in runs.OUTCOMES:
            if reports := [told[nodeid] for nodeid in told if self.specs[nodeid]["outcome"] == outcome]:
                stats.setdefault("passed" if outcome == "green" else outcome, []).extend(reports)

    def pytest_terminal_summary(self, terminalreporter):
        specs = list(self.specs.values())
        if not specs:
            return
        write = _writer(terminalreporter)
        terminalreporter.ensure_newline()
        if self.brief:
            self._failures(terminalreporter, write, specs)
        terminalreporter.section("katas")
        for line in [*sorted(self.told, key=lambda line: line[:2]), *summary.closing_map(specs)]:
            write(line)
        if self.early:
            write(f"{len(self.early)} of {len(specs)} specs did not come to an end, so the run is no success")
        if not self._selected():
            for line in summary.done(specs):
                write(line)

    def _failures(self, terminalreporter, write, specs: list[dict]) -> None:
        first = summary.next_step(specs)
        if first is None:
            return
        red = [spec for spec in specs if spec["outcome"] == "red"]
        shown = red if self.config.option.verbose > 0 else [first]
        terminalreporter.section("red" if len(shown) > 1 else "the first red spec")
        commands = {spec["why"]: self._command(spec["id"]) for spec in reversed(shown)}
        for text in dict.fromkeys(spec["why"] for spec in shown):
            write(f"{text}\n      again: {commands[text]}\n")
        if len(red) > len(shown):
            write(f"and {len(red) - len(shown)} more (-v shows them all, -vv with Python's own tracebacks)")

    def _command(self, nodeid: str) -> str:
        """What to type, where pytest was started, to run a spec again."""
        file, *rest = nodeid.split("::")
        path = os.path.relpath(door.ROOT / file, self.config.invocation_params.dir)
        chosen = [("--impl", self.config.option.impl), ("--upstream", self.config.option.upstream)]
        options = [f" {name} {shlex.quote(tree)}" for name, tree in chosen if tree]
        return f"pytest {shlex.quote('::'.join([path, *rest]))}{''.join(options)}"

    def _selected(self) -> bool:
        """Whether the command line asked for a part of a kata only."""
        option = self.config.option
        return any(getattr(option, name, None) for name in SELECTING) or any("::" in part for part in self.config.args)


def _blank(nodeid: str, clause: str) -> dict:
    """A spec that has not run."""
    kata = kata_of(_path(nodeid))
    blank = {"id": nodeid, "kata": kata.number if kata else None, "outcome": "not run", "clause": clause}
    return blank | {"tree": door.relative(door.trees()[kata.number]) if kata else None, "seconds": 0.0, "budget": []}


def _path(nodeid: str) -> Path:
    return door.ROOT / nodeid.split("::")[0]


def _failed(spec: dict, named: dict) -> dict:
    if "blocked" in named:
        number, why = named["blocked"]
        return {"outcome": "blocked", "blocked_by": number, "why": why}
    why = named.get("why") or report.headed(_path(spec["id"]), spec["clause"], journal.CRASH)
    return {"outcome": "red", "why": why} | ({"stub": named["stub"]} if "stub" in named else {})


def _writer(terminalreporter):
    """Writes a line, also where the terminal's character set lacks the bar's blocks or a clause's ×; obeys no control code."""
    encoding = getattr(terminalreporter._tw._file, "encoding", None) or "utf-8"

    def write(line: str) -> None:
        line = plain(line)
        try:
            line.encode(encoding)
        except UnicodeEncodeError:
            line = line.translate({ord("█"): "#", ord("░"): "."}).encode(encoding, "replace").decode(encoding)
        terminalreporter.write_line(line)

    return write
