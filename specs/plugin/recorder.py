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
from specs.results import progress, runs, summary

CRASH = "the process ended while this spec ran: os._exit() was called, or compiled code crashed"
SELECTING = ("keyword", "markexpr", "lf", "deselect", "stepwise")  # options under which a kata's specs don't all run


class Recorder:
    """A pytest plugin. Under xdist it sees the workers' reports, and their lists of what there is to run."""

    def __init__(self, config, files: Files):
        self.config, self.files = config, files
        self.brief = config.option.verbose < 2  # -vv: pytest's own tracebacks
        self.specs: dict[str, dict] = {}
        self.told: list[str] = []

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
        kata = kata_of(path)
        clause = report.clause(function) if function else nodeid.split("::")[-1].replace("_", " ")
        blank = {"id": nodeid, "kata": kata.number if kata else None, "outcome": "not run", "clause": clause}
        blank |= {"tree": door.relative(door.trees()[kata.number]) if kata else None, "seconds": 0.0, "budget": []}
        self.specs[nodeid] = blank
        return blank

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

    def pytest_collectreport(self, report):
        spec = self._spec(report.nodeid) if report.failed else None
        if spec is None:
            return
        spec |= {"outcome": "red", "clause": "the file can be imported", "why": str(report.longrepr)}
        number, why = getattr(report, "culprit", (None, None))
        if number and (spec["kata"] is None or number < spec["kata"]):
            spec |= {"outcome": "blocked", "blocked_by": number, "why": why}

    def pytest_sessionfinish(self):
        self.specs = {spec["id"]: spec for spec in sorted(self.specs.values(), key=lambda spec: _path(spec["id"]))}
        if self.specs:
            arguments = [str(argument) for argument in self.config.invocation_params.args]
            path = self.config.getoption("--results")
            so = "" if path else " kata will not know of this run."
            with self.files.writing("the results could not be written", path or runs.FOLDER, so):
                runs.write(list(self.specs.values()), arguments, path)
                with self.files.writing("old results could not be deleted", runs.FOLDER):
                    progress.forget()
        terminal = self.config.pluginmanager.get_plugin("terminalreporter")
        if self.brief and terminal:  # files that can't be imported are red specs, told of below, and no "errors"
            errors = terminal.stats.pop("error", [])
            for error in errors:
                terminal.stats.setdefault("red" if error.nodeid in self.specs else "error", []).append(error)

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


def _path(nodeid: str) -> Path:
    return door.ROOT / nodeid.split("::")[0]


def _failed(spec: dict, named: dict) -> dict:
    if "blocked" in named:
        number, why = named["blocked"]
        return {"outcome": "blocked", "blocked_by": number, "why": why}
    why = named.get("why") or report.headed(_path(spec["id"]), spec["clause"], CRASH)
    return {"outcome": "red", "why": why} | ({"stub": named["stub"]} if "stub" in named else {})


def _writer(terminalreporter):
    """Writes a line, also where the terminal's character set lacks the bar's blocks or a clause's ×."""
    encoding = getattr(terminalreporter._tw._file, "encoding", None) or "utf-8"

    def write(line: str) -> None:
        try:
            line.encode(encoding)
        except UnicodeEncodeError:
            line = line.translate({ord("█"): "#", ord("░"): "."}).encode(encoding, "replace").decode(encoding)
        terminalreporter.write_line(line)

    return write
