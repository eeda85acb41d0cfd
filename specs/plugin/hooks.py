"""The pytest plugin: which tree each kata comes from, what specs are given, how failures read, where results go."""

import functools
import inspect
import os
import re
import sys
import threading
import time
import traceback
import warnings
from contextlib import contextmanager
from pathlib import Path

import pytest
from _pytest.faulthandler import fault_handler_stderr_fd_key

from specs import clock, door
from specs.check import budgets, draw
from specs.plugin import culprit, editor, endless, files, limits, refused, report, world
from specs.plugin.recorder import Recorder
from specs.results import summary
from specs.results.plain import plain

SECONDS = 10  # for one spec, on a machine as fast as the one that limits.CALIBRATION was measured on
REPORT_SECONDS = 5  # for what a failure's report shows of a learner's objects
LEFT = pytest.StashKey[float]()  # seconds that a spec has for what is still to come of setup, call and teardown


def pytest_addoption(parser):
    group = parser.getgroup("katas")
    group.addoption("--impl", metavar="TREE", help="take every kata from TREE: katas (default) or reference")
    group.addoption("--upstream", metavar="TREE", help="take the katas below the lowest one asked for from TREE")
    group.addoption("--results", metavar="FILE", type=Path, help="write the results to FILE, not to .kata/results")


def pytest_configure(config):
    if message := door.copied():
        raise pytest.UsageError(message)
    config.addinivalue_line("markers", "time: measures CPU time, so it shares the machine with no other spec")
    config.addinivalue_line("markers", "by_hand: a milestone whose gradients are derived by hand, so that nothing is recorded")
    config.addinivalue_line("markers", "timeout(seconds): the time limit of a spec")  # known even without pytest-timeout
    # `python -m pytest` in a kata's folder puts it first on the path, where a transformers.py would shadow the real one
    sys.path[:] = [place for place in sys.path if Path(place).resolve().parent != door.ROOT / "katas"]
    refused.install()
    config.pluginmanager.register(world)
    worker = getattr(config, "workerinput", None)
    limits.memory(worker["workercount"] if worker else 1)
    if worker:
        return  # the main process has set KATA_IMPL
    impl = config.getoption("--impl") or os.environ.get(door.VARIABLE) or "katas"
    if upstream := config.getoption("--upstream"):
        impl += _below(_lowest(config.args), upstream)
    try:
        door.trees(impl)
    except ValueError as error:
        raise pytest.UsageError(str(error)) from None
    os.environ[door.VARIABLE] = impl  # child processes and xdist's workers inherit it
    kept = files.Files()
    config.pluginmanager.register(kept)
    config.pluginmanager.register(Recorder(config, kept))
    with kept.writing("the links for editors could not be made", editor.FOLDER):
        editor.link()


def pytest_sessionstart(session):  # when pytest's own plugin has put it there
    clock.stderr = session.config.stash.get(fault_handler_stderr_fd_key, clock.stderr)


def _lowest(arguments: list[str]) -> str:
    paths = [Path(argument.split("::")[0]).resolve() for argument in arguments]
    named = [kata.number for kata in door.KATAS for path in paths if kata.folder in path.parts]
    if not named:
        raise pytest.UsageError("--upstream needs a kata on the command line, such as katas/07_autograd")
    return min(named)


def _below(number: str, tree: str) -> str:
    lower = [kata.number for kata in door.KATAS if kata.number < number]
    return f",{lower[0]}-{lower[-1]}={tree}" if lower else ""


def pytest_report_header(config):
    return f"katas {_origins()}"


def _origins() -> str:
    """Which tree every kata comes from: `01-06 from reference/, 07-20 from katas/`."""
    groups: list[list] = []
    for number, tree in door.trees().items():
        if groups and groups[-1][2] == tree:
            groups[-1][1] = number
        else:
            groups.append([number, number, tree])
    parts = [f"{first if first == last else f'{first}-{last}'} from {door.relative(tree)}/" for first, last, tree in groups]
    return ", ".join(parts)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    _why_last(items)
    slowness = limits.slowness()
    for item in items:
        marker = item.get_closest_marker("timeout")
        item.add_marker(pytest.mark.timeout(slowness * (marker.args[0] if marker else SECONDS)), append=False)
        if not culprit.judged(item.path):
            continue
        item.user_properties.append(("clause", report.clause(item.function)))
        if item.config.option.verbose < 2:
            item.repr_failure = lambda excinfo: ""  # pytest's own is slow, and calls a learner's __repr__ for every argument
        else:
            item.repr_failure = functools.partial(_traceback, item.repr_failure)
        if _takes_time(item.function):
            item.add_marker(pytest.mark.time)
        if item.get_closest_marker("time") and hasattr(item.config, "workerinput"):
            item.add_marker(pytest.mark.skip(reason="time budgets share the machine with nothing: pytest -m time, without -n"))


def _traceback(repr_failure, excinfo):
    """pytest's own, in which a learner's __repr__ may not end."""
    try:
        with clock.deadline(REPORT_SECONDS):
            return repr_failure(excinfo)
    except clock.Endless:
        return report.bare(excinfo.value)


@functools.cache
def _takes_time(function) -> bool:
    """Whether a spec has a budget of time."""
    return re.search(r"\bbudget\.time\(", inspect.getsource(function)) is not None


def _why_last(items: list) -> None:
    """Moves the specs that ask why to the end of their kata's: with -x the first failure is one that helps."""
    places: dict[Path, int] = {}
    for item in items:
        places.setdefault(item.path.parent, len(places))
    items.sort(key=lambda item: (places[item.path.parent], summary.asks_why(item.nodeid)))


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


@pytest.hookimpl(optionalhook=True)
def pytest_timeout_set_timer(item):
    """True keeps pytest-timeout from timing a spec that the clock times."""
    return culprit.judged(item.path) or None


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_setup(item):
    item.stash[LEFT] = item.get_closest_marker("timeout").args[0]
    _install_recorder(item)
    with _guarded(item):
        return (yield)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_call(item):
    with _guarded(item):
        return (yield)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item):
    with _guarded(item):
        return (yield)


def _install_recorder(item) -> None:
    """Kata 07's recorder for what comes after 06, none before it and for what derives its gradients by hand.

    An import installs it, and pytest imports all specs before it runs one: that must not change what earlier katas' specs see.
    """
    if not culprit.judged(item.path) or "katas.tensor" not in sys.modules:
        return
    kata, autograd = culprit.kata_of(item.path), sys.modules.get("katas.autograd")
    by_hand = item.get_closest_marker("by_hand") or (kata and kata.number < "07")
    sys.modules["katas.tensor"].Tensor._recorder = None if by_hand else getattr(autograd, "record", None)


@contextmanager
def _guarded(item):
    """A learner's code runs inside: its time is limited, it can't end the run or skip the spec, a million warnings are not
    kept, and memory is free afterwards."""
    if not culprit.judged(item.path):
        yield
        return
    threads = 1 if culprit.kata_of(item.path) else None  # specs' matrices are small: a second thread makes them slower
    start = time.monotonic()
    limit = clock.deadline(item.stash[LEFT])
    with limit, limits.blas().limit(limits=threads), warnings.catch_warnings(), refused.contained():
        warnings.filterwarnings("ignore", append=True)  # what a spec's own filters say comes before
        try:
            yield
        except MemoryError as error:
            traceback.clear_frames(error.__traceback__)  # they hold what filled the memory
            raise
        except clock.Endless as error:
            endless.note(error, item.path)
            raise
        finally:
            item.stash[LEFT] = max(1, item.stash[LEFT] - (time.monotonic() - start))


@pytest.hookimpl(optionalhook=True)
def pytest_enter_pdb():
    clock.stop()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    if culprit.judged(item.path):
        if outcome.failed:
            _explain(item, call, outcome)
        outcome.sections = [(name, plain(text[-2000:])) for name, text in outcome.sections]  # a flood of prints
    return outcome


def _explain(item, call, outcome) -> None:
    """Adds whose doing a failure is and what the learner reads of it."""
    error, kata = call.excinfo.value, culprit.kata_of(item.path)
    who = culprit.find(error)
    if who and (kata is None or who.number < kata.number):
        outcome.user_properties.append(("blocked", [who.number, who.why.splitlines()[0]]))
    elif who and who.stub:
        outcome.user_properties.append(("stub", who.stub))
    printed = "".join(text for name, text in outcome.sections if "Captured stdout" in name)
    try:
        with clock.deadline(REPORT_SECONDS):
            why = report.failure(item.function, item.path, call.excinfo, printed[-2000:])
    except (Exception, clock.Endless, refused.Refused, *refused.SKIPS):  # a learner's object that can't even be looked at
        why = report.headed(item.path, report.clause(item.function), report.bare(error))
    outcome.user_properties.append(("why", why))
    if item.config.option.verbose < 2:
        outcome.longrepr = plain(why)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector):
    outcome, why = (yield), None
    call = getattr(outcome, "call", None)
    if outcome.passed or call is None or not culprit.judged(collector.path):
        return outcome
    error = call.excinfo.value
    if outcome.failed and (who := culprit.find(error)):
        outcome.culprit, why = [who.number, who.why.splitlines()[0]], who.why
    elif outcome.skipped and (place := refused.by_solution(error)):
        outcome.outcome, why = "failed", f"{place}: {refused.told(error)}"
    if why:
        outcome.why = report.unimportable(collector.path, why)
        outcome.longrepr = plain(f"{outcome.why}\n      in {collector.nodeid}")  # xdist takes equal ones for one error
    return outcome


def pytest_report_teststatus(report, config):
    if not culprit.judged(report.nodeid.split("::")[0]):
        return None
    named = dict(tuple(pair) for pair in getattr(report, "user_properties", ()))  # a file that can't be imported has none
    if report.failed and "blocked" in named:
        return "blocked", "b", ("BLOCKED", {"yellow": True})
    if report.skipped:
        return "not run", "n", ("NOT RUN", {"yellow": True})
    if report.failed and config.option.verbose < 2:
        return "red", "F", ("RED", {"red": True})
    return None


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session):
    if not hasattr(session.config, "workerinput"):
        threading._register_atexit(limits.leave, int(session.exitstatus))  # before Python waits for threads
