"""Runs a kata's specs in a process of their own, forked from a warm one where the platform can, and says how each came out."""

import atexit
import contextlib
import gc
import importlib
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from _pytest.config import default_plugins

from specs import door
from specs.plugin import limits
from specs.results import runs

# What the warm process has imported: pytest with what it imports when it starts, and nothing that imports a kata.
WARM = ["pytest", *(f"_pytest.{name}" for name in default_plugins), "pytest_timeout"]
WARM += ["specs.plugin.hooks", "specs.check", "specs.oracles", "specs.meta.judge"]
PRESENT = [kata for kata in door.KATAS if any((door.ROOT / "katas" / kata.folder).glob("*.*"))]
each_kata = pytest.mark.parametrize("kata", PRESENT, ids=[kata.number for kata in PRESENT])
PATIENCE = 300  # seconds for one process: pytest-timeout ends each spec long before


def reference(kata: door.Kata) -> Path:
    """The file of a kata's reference solution."""
    return door.ROOT / "reference" / kata.folder / f"{kata.module}.py"


class Warm:
    """A process that has imported pytest, the plugin and the katas below a number, and forks itself for every call.

    So a thousand wrong solutions don't each import what they share. Where a platform can't fork, it serves one call only.
    """

    def __init__(self, below: str):
        self.below = below
        forks = "forkserver" in multiprocessing.get_all_start_methods()
        context = multiprocessing.get_context("forkserver" if forks else "spawn")
        if forks:
            context.set_forkserver_preload(WARM)
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, below))
        self.process.start()
        theirs.close()
        atexit.register(self.end)  # before Python waits for the process

    def call(self, log: Path, function: Callable, arguments: tuple) -> tuple:
        """Whether the function returned, and what; or what happened instead."""
        try:
            self.pipe.send((log, function, arguments))
            return self.pipe.recv() if self.pipe.poll(PATIENCE) else (False, f"not finished after {PATIENCE} seconds")
        except (EOFError, OSError):
            return False, "the process died"

    def end(self) -> None:
        atexit.unregister(self.end)
        if hasattr(os, "killpg"):
            os.killpg(self.process.pid, signal.SIGKILL)  # and what it has forked
        self.process.kill()
        self.process.join()
        self.pipe.close()


_threads = threading.local()  # each has a Warm of its own


def apart(function: Callable, *arguments, below: str = "00"):
    """What a module's function returns, called in a process of its own at the repository's root.

    The reference's katas below the number `below` are imported there already. What the function prints is shown only if it
    fails. Raises: RuntimeError if it raises, dies, or does not finish in PATIENCE.
    """
    warm = getattr(_threads, "warm", None)
    if warm is None or warm.below != below:
        if warm:
            warm.end()
        warm = _threads.warm = Warm(below)
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        done, result = warm.call(log, function, arguments)
        if not done or not hasattr(os, "fork"):
            warm.end()
            _threads.warm = None
        if not done:
            said = log.read_text(errors="replace")[-4000:] if log.exists() else ""
            raise RuntimeError(f"{function.__name__}{arguments}: {result}\n{said}")
    return result


def _serve(pipe, below: str) -> None:
    """Makes the calls that come through the pipe, each in a process of its own."""
    if hasattr(os, "setpgid"):
        os.setpgid(0, 0)
    os.chdir(door.ROOT)
    sys.dont_write_bytecode = False  # pytest keeps the specs as it compiles them
    limits.slowness()
    os.environ[door.VARIABLE] = "reference"
    for kata in PRESENT:
        if kata.number < below:
            importlib.import_module(f"katas.{kata.module}")
    gc.collect()
    gc.freeze()  # what is there stays: no collection in a child need look at it
    with contextlib.suppress(EOFError):  # the other end is gone
        while True:
            log, function, arguments = pipe.recv()
            if not hasattr(os, "fork"):
                return _call(pipe, log, function, arguments)
            child = os.fork()
            if child == 0:
                _call(pipe, log, function, arguments)
            if os.waitpid(child, 0)[1]:
                pipe.send((False, "the process died"))


def _call(pipe, log: Path, function: Callable, arguments: tuple) -> None:
    with log.open("wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    try:
        answer = True, function(*arguments)
    except BaseException:
        answer = False, traceback.format_exc()
    sys.stdout.flush()
    pipe.send(answer)
    os._exit(0)  # a wrong solution may have left threads that never end


def judge(kata: door.Kata, *options: str, impl: str = "reference", watch: "Watch | None" = None) -> list[dict]:
    """The results (specs.results) of a kata's specs under the given KATA_IMPL, each with its CPU seconds as "cpu".

    `options` are pytest's; a kata's folder is judged unless one of them names specs.
    """
    where = () if any(option.startswith("katas/") for option in options) else (f"katas/{kata.folder}",)
    return apart(run, (*where, "--impl", impl, *options), watch or Watch(), below=kata.number)


def run(options: Sequence[str], watch: "Watch") -> list[dict]:
    """What `judge` returns; runs pytest in this process, which must be one of `apart`."""
    os.environ.pop("PYTEST_ADDOPTS", None)
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # what else is installed takes longer to load than the specs to run
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "results.json"
        ours = ["-p", "pytest_timeout", "-p", "no:cacheprovider", "--results", str(path)]
        code = pytest.main([*options, *ours], plugins=[watch])
        if code == pytest.ExitCode.NO_TESTS_COLLECTED:
            return []
        if not path.exists():
            raise RuntimeError(f"pytest ended with {code!r} and no results")
        return [spec | {"cpu": watch.seconds.get(spec["id"], 0.0)} for spec in runs.read(path)["specs"]]


def told(specs: list[dict]) -> str:
    """What became of some specs: the first few in full."""
    lines = [f"{spec['id']} is {spec['outcome']}\n{spec.get('why', '')}" for spec in specs[:5]]
    return "\n".join([*lines, f"({len(specs)} in all)"])


class Watch:
    """A pytest plugin: chooses specs by whether they have a budget, shuffles them, ends the run early, and takes the time.

    `until`: the run ends with the first red report that contains this text. Those that take longer by `cost`, CPU seconds by
    id, come last then. `among`: only these are run.
    """

    def __init__(
        self,
        budget: bool | None = None,
        shuffle: int | None = None,
        until: str | None = None,
        among: set[str] | None = None,
        cost: dict[str, float] | None = None,
    ):
        self.budget, self.shuffle, self.until, self.among, self.cost = budget, shuffle, until, among, cost or {}
        self.seconds: dict[str, float] = {}

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items):
        if self.among is not None:
            items[:] = [item for item in items if item.nodeid in self.among]
        if self.until is not None:
            items.sort(key=lambda item: ("budget" in item.fixturenames, self.cost.get(item.nodeid, 0)))
        if self.budget is not None:
            items[:] = [item for item in items if ("budget" in item.fixturenames) == self.budget]
        if self.shuffle is not None:
            random.Random(self.shuffle).shuffle(items)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item):
        before = _cpu()
        answer = yield
        self.seconds[item.nodeid] = _cpu() - before
        return answer

    def pytest_sessionstart(self, session):
        self.session = session

    def pytest_runtest_logreport(self, report):  # by now the plugin has written it
        if self.until is not None and report.failed and self.until in str(report.longrepr):
            self.session.shouldstop = "killed"


def _cpu() -> float:
    return time.process_time() + sum(os.times()[2:4])  # children's that have ended
