"""Runs a kata's specs in a process of their own, forked from a warm one where the platform can, and says how each came out."""

import multiprocessing
import os
import random
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from specs import door
from specs.results import runs

# What the warm process has imported: nothing that imports a kata.
WARM = ["pytest", "pytest_timeout", "specs.plugin.hooks", "specs.check", "specs.oracles", "specs.meta.judge"]
PRESENT = [kata for kata in door.KATAS if any((door.ROOT / "katas" / kata.folder).glob("*.*"))]
each_kata = pytest.mark.parametrize("kata", PRESENT, ids=[kata.number for kata in PRESENT])
PATIENCE = 300  # seconds for one process: pytest-timeout ends each spec long before


def reference(kata: door.Kata) -> Path:
    """The file of a kata's reference solution."""
    return door.ROOT / "reference" / kata.folder / f"{kata.module}.py"


def apart(function: Callable, *arguments):
    """What a module's function returns, called in a process of its own at the repository's root.

    What it prints is shown only if it fails. Raises: RuntimeError if it raises, dies, or does not finish in PATIENCE.
    """
    forks = "forkserver" in multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver" if forks else "spawn")
    if forks:
        context.set_forkserver_preload(WARM)
    receiver, sender = context.Pipe(duplex=False)
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        process = context.Process(target=_inside, args=(sender, log, function, arguments))
        process.start()
        sender.close()
        try:
            done, result = receiver.recv() if receiver.poll(PATIENCE) else (False, f"not finished after {PATIENCE} seconds")
        except EOFError:
            done, result = False, "the process died"
        finally:
            process.kill()
            process.join()
        if not done:
            raise RuntimeError(f"{function.__name__}{arguments}: {result}\n{log.read_text(errors='replace')[-4000:]}")
    return result


def _inside(sender, log: Path, function: Callable, arguments: tuple) -> None:
    with log.open("wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.chdir(door.ROOT)
    try:
        answer = True, function(*arguments)
    except BaseException:
        answer = False, traceback.format_exc()
    sys.stdout.flush()
    sender.send(answer)
    sender.close()
    os._exit(0)  # a wrong solution may have left threads that never end


def judge(kata: door.Kata, *options: str, impl: str = "reference", watch: "Watch | None" = None) -> list[dict]:
    """The results (specs.results) of a kata's specs under the given KATA_IMPL, each with its CPU seconds as "cpu".

    `options` are pytest's; a kata's folder is judged unless one of them names specs.
    """
    where = () if any(option.startswith("katas/") for option in options) else (f"katas/{kata.folder}",)
    return apart(run, (*where, "--impl", impl, *options), watch or Watch())


def run(options: Sequence[str], watch: "Watch") -> list[dict]:
    """What `judge` returns; runs pytest in this process, which must be one of `apart`."""
    os.environ.pop("PYTEST_ADDOPTS", None)
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # what else is installed takes longer to load than the specs to run
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "results.json"
        ours = ["-p", "pytest_timeout", "-p", "no:cacheprovider", "--results", str(path)]
        code = pytest.main([*options, *ours], plugins=[watch])
        if not path.exists():
            raise RuntimeError(f"pytest ended with {code!r} and no results")
        return [spec | {"cpu": watch.seconds.get(spec["id"], 0.0)} for spec in runs.read(path)["specs"]]


def told(specs: list[dict]) -> str:
    """What became of some specs: the first few in full."""
    lines = [f"{spec['id']} is {spec['outcome']}\n{spec.get('why', '')}" for spec in specs[:5]]
    return "\n".join([*lines, f"({len(specs)} in all)"])


class Watch:
    """A pytest plugin: chooses specs by whether they have a budget, shuffles them, ends the run early, and takes the time.

    `until`: the run ends with the first red report that contains this text.
    """

    def __init__(self, budget: bool | None = None, shuffle: int | None = None, until: str | None = None):
        self.budget, self.shuffle, self.until = budget, shuffle, until
        self.seconds: dict[str, float] = {}

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items):
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
