"""The pytest plugin: which tree each kata comes from, what specs are given, how failures read, where results go."""

import os
import sys
import time
from pathlib import Path

import pytest

from specs import budgets, door, draw, report, results

SECONDS = 10  # for one spec, on a machine as fast as the one that CALIBRATION was measured on
CALIBRATION = 0.05  # seconds for a million passes of an empty loop


def pytest_addoption(parser):
    group = parser.getgroup("katas")
    group.addoption("--impl", metavar="TREE", help="take every kata from TREE: katas (default) or reference")
    group.addoption("--upstream", metavar="TREE", help="take the katas below the lowest one asked for from TREE")
    group.addoption("--results", metavar="FILE", type=Path, help="write the results to FILE, not to .kata/results")


def pytest_configure(config):
    config.addinivalue_line("markers", "time: measures CPU time, so it shares the machine with no other spec")
    impl = config.getoption("--impl") or os.environ.get(door.VARIABLE, "katas")
    if upstream := config.getoption("--upstream"):
        impl += _below(_lowest(config.args), upstream)
    try:
        door.trees(impl)
    except ValueError as error:
        raise pytest.UsageError(str(error)) from None
    os.environ[door.VARIABLE] = impl  # child processes and xdist's workers inherit it
    _limit_memory()
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Recorder(config))
    if config.option.verbose < 2:  # -vv: pytest's own tracebacks
        config.option.tbstyle = "no"
        config.option.reportchars = ""


def _lowest(arguments: list[str]) -> str:
    paths = [Path(argument.split("::")[0]).resolve() for argument in arguments]
    named = [kata.number for kata in door.KATAS for path in paths if kata.folder in path.parts]
    if not named:
        raise pytest.UsageError("--upstream needs a kata on the command line, such as katas/07_autograd")
    return min(named)


def _below(number: str, tree: str) -> str:
    lower = [kata.number for kata in door.KATAS if kata.number < number]
    return f",{lower[0]}-{lower[-1]}={tree}" if lower else ""


def _limit_memory() -> None:
    """More memory than the machine has becomes a MemoryError in the spec that asks, not the end of the whole run."""
    if sys.platform == "linux":
        import resource

        there = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        soft = there if hard == resource.RLIM_INFINITY else min(there, hard)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def pytest_report_header(config):
    return results.header()


def pytest_collection_modifyitems(items):
    slower = max(1.0, _calibrate() / CALIBRATION)
    for item in items:
        marker = item.get_closest_marker("timeout")
        item.add_marker(pytest.mark.timeout(slower * (marker.args[0] if marker else SECONDS)), append=False)
        if "budget" in getattr(item, "fixturenames", ()) and "time" in item.function.__code__.co_names:
            item.add_marker(pytest.mark.time)


def _calibrate() -> float:
    start = time.process_time()
    for _ in range(1_000_000):
        pass
    return time.process_time() - start


@pytest.fixture(name="draw")
def draw_fixture(request):
    """Random inputs, the same for this spec on every machine; read-only and not contiguous."""
    return draw.Draw(request.node.name)


@pytest.fixture
def budget(request):
    """Measures steps, bytes and time, and keeps the figures for the results."""
    meter = budgets.Budget()
    yield meter
    request.node.user_properties.extend(("budget", figure) for figure in meter.figures)


@pytest.fixture
def tell(request):
    """tell(text) prints a line at the end of the run: what was measured, for people."""
    return lambda text: request.node.user_properties.append(("tell", text))


def pytest_runtest_setup(item):
    if item.get_closest_marker("time") and hasattr(item.config, "workerinput"):
        item.user_properties.append(("not run", "time budgets don't share the machine: run them with -m time and without -n"))
        pytest.skip("time budget")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    judged = report.kata_of(item.path) is not None or "milestones" in item.path.parts
    if judged and call.when == "setup":
        item.user_properties.append(("clause", report.clause(item.function)))
    if judged and outcome.failed:
        _explain(item, call, outcome)
    outcome.sections = [(name, text[-2000:]) for name, text in outcome.sections]  # a flood of prints
    return outcome


def _explain(item, call, outcome) -> None:
    error, kata = call.excinfo.value, report.kata_of(item.path)
    behind = report.kata_behind(error)
    if behind and (kata is None or behind < kata.number):
        _, name, section = report.stub_behind(error) or (behind, "", "")
        why = f"{section} {name} is still to be written" if section else str(error).splitlines()[0]
        outcome.user_properties.append(("blocked", [behind, why]))
    if item.config.option.verbose < 2:
        printed = "".join(text for name, text in outcome.sections if "Captured stdout" in name)
        outcome.longrepr = report.failure(item.function, item.path, item.nodeid, call.excinfo, printed)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector):
    outcome = yield
    call = getattr(outcome, "call", None)
    if outcome.failed and call is not None:
        broken = [error for error in report.chain(call.excinfo.value) if isinstance(error, door.KataImportError)]
        if broken:
            outcome.broken = [broken[-1].number, str(broken[-1])]
            outcome.longrepr = str(broken[-1])
    return outcome


def pytest_report_teststatus(report):
    properties = dict(report.user_properties) if hasattr(report, "user_properties") else {}
    if "blocked" in properties:
        return "blocked", "b", "BLOCKED"
    if "not run" in properties and report.skipped:
        return "not run", "n", "NOT RUN"
    return None


class Recorder:
    """Gathers every spec's outcome in the main process, closes the output with the map, and writes the results."""

    def __init__(self, config):
        self.config = config
        self.specs: dict[str, dict] = {}
        self.failures: dict[str, str] = {}
        self.told: list[str] = []

    def pytest_runtest_logreport(self, report):
        properties = [tuple(pair) for pair in report.user_properties]
        named = dict(properties)
        if "clause" not in named:
            return
        spec = self.specs.setdefault(report.nodeid, self._spec(report.nodeid, named["clause"]))
        spec["seconds"] = round(spec["seconds"] + report.duration, 4)
        spec["budget"] = [value for key, value in properties if key == "budget"]
        if "not run" in named:
            spec["outcome"], spec["why"] = "not run", named["not run"]
        elif "blocked" in named:
            spec["outcome"], (spec["blocked_by"], spec["why"]) = "blocked", named["blocked"]
        elif report.failed:
            spec["outcome"], spec["why"] = "red", str(report.longrepr)
        if report.when == "teardown":
            self.told += [f"{spec['kata'] or '':2} {value}" for key, value in properties if key == "tell"]

    def pytest_collectreport(self, report):
        if not report.failed:
            return
        spec = self._spec(report.nodeid, "the file can be imported") | {"outcome": "red", "why": str(report.longrepr)}
        number, why = getattr(report, "broken", (None, None))
        if number and spec["kata"] and number < spec["kata"]:
            spec |= {"outcome": "blocked", "blocked_by": number, "why": why}
        self.specs[report.nodeid] = spec

    def _spec(self, nodeid: str, clause: str) -> dict:
        kata = report.kata_of(door.ROOT / nodeid.split("::")[0])
        number = kata.number if kata else None
        tree = door.relative(door.trees()[number]) if number else None
        blank = {"id": nodeid, "kata": number, "outcome": "green", "clause": clause, "tree": tree}
        return blank | {"seconds": 0.0, "budget": []}

    def pytest_terminal_summary(self, terminalreporter):
        specs = list(self.specs.values())
        if not specs:
            return
        write = terminalreporter.write_line
        if self.config.option.verbose < 2:
            self._failures(terminalreporter, specs)
        terminalreporter.section("katas")
        for line in [*self.told, *results.closing_map(specs)]:
            write(line)
        for number, row in results.counts(specs).items():
            if row["green"] and not row["red"] and not row["blocked"] and not row["not run"]:
                write(f"{number} is green: {results.done(number)}")

    def _failures(self, terminalreporter, specs: list[dict]) -> None:
        first = results.next_step(specs)
        if first is None:
            return
        red = [first] if self.config.option.verbose < 1 else [spec for spec in specs if spec["outcome"] == "red"]
        terminalreporter.section("red" if len(red) > 1 else "the first red spec")
        for text in dict.fromkeys(spec["why"] for spec in red):
            terminalreporter.write_line(text + "\n")
        others = sum(spec["outcome"] == "red" for spec in specs) - len(red)
        if others:
            terminalreporter.write_line(f"and {others} more (-v shows them all, -vv with Python's own tracebacks)")

    def pytest_sessionfinish(self):
        if self.specs:
            arguments = [str(argument) for argument in self.config.invocation_params.args]
            results.write(list(self.specs.values()), arguments, self.config.getoption("--results"))
