"""The learner's commands. Each prints the pytest command that it runs, and knows nothing but the results of earlier runs.

    kata                    where you are, and what to do next
    kata next               pytest for the kata that you ran last, or for the next that is not green
    kata 07                 pytest for that kata: short for kata next 07
    kata hint 07            the section of the README that you are at, and what confuses others
    kata reset 07           the stub again; your file is kept
    kata data fetch         the data of the milestones, beforehand

Nothing heavy is imported here: without specs to run an answer takes a fraction of a second.
"""

import argparse
import shlex
import subprocess
import sys
import time
from pathlib import Path

from rich.console import Console

from specs.command import hints, overview
from specs.door import ROOT, Kata, copied, relative
from specs.results import journal, progress

POLL = 0.3  # seconds between two looks at the katas' files
PATIENCE = 10  # seconds that an interrupted pytest has to write its results
USAGE = 4  # pytest's exit code for a command line that it refuses


class Refused(Exception):
    """What was asked for is not there. The message says so."""


def main(argv: list[str] | None = None) -> int:
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")  # a terminal may lack a README's character
    options = _parser().parse_args(_in_full(sys.argv[1:] if argv is None else argv))
    try:
        if message := copied():
            raise Refused(message)
        return options.run(options)
    except Refused as error:
        print(f"kata: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print()
        return 130


def _in_full(arguments: list[str]) -> list[str]:
    """`kata 07` is `kata next 07`."""
    try:
        return ["next", *arguments] if arguments and _kata(arguments[0]) else arguments
    except argparse.ArgumentTypeError:
        return arguments


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="kata", description="Where you are in the chain, and what to do next.")
    parser.set_defaults(run=status)
    commands = parser.add_subparsers(title="commands", metavar="")
    which = "07, 7, autograd or katas/07_autograd"

    def add(name: str, run, about: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=about, description=about)
        command.set_defaults(run=run)
        return command

    add("status", status, "the chain as a map; `kata` alone does the same")
    command = add("next", run_next, "pytest for the kata that was run last, the next that is not green, or KATA")
    command.add_argument("kata", nargs="?", metavar="KATA", type=_kata, help=which)
    command.add_argument("--watch", action="store_true", help="again whenever a .py file in katas/ is saved, until Ctrl-C")
    command.add_argument(
        "--upstream", metavar="TREE", help="take the katas below from TREE: reference; if absent, as the last run did"
    )
    command = add("hint", hint, "the section that you are at, and what confuses others")
    command.add_argument("kata", nargs="?", metavar="KATA", type=_kata, help=f"{which}; if absent, that of kata next")
    command.add_argument("number", nargs="?", metavar="N", type=int, help="the answer to question N")
    command = add("reset", reset, "start a kata again; your file is kept in .kata/kept")
    command.add_argument("kata", metavar="KATA", type=_kata, help=which)
    data = commands.add_parser("data", help="fetch the data of the milestones: kata data fetch")
    command = data.add_subparsers(required=True, metavar="fetch").add_parser("fetch", help="every set that is not there yet")
    command.add_argument("--only", metavar="NAME", help="this set")
    command.set_defaults(run=fetch)
    return parser


def _kata(text: str) -> Kata:
    """The kata that a number, a name or a path means."""
    name = Path(text).resolve().name
    for kata in progress.katas():
        if name in (kata.folder, kata.folder[3:], kata.module) or name.zfill(2) == kata.number:
            return kata
    there = ", ".join(kata.folder for kata in progress.katas())
    raise argparse.ArgumentTypeError(f"there is no kata {text!r}; there are {there}")


def status(options) -> int:
    console = _console()
    found = _progress(console)
    overview.show(console, found.standings)
    console.print()
    overview.advise(console, found)
    return 0


def _console() -> Console:
    return Console(highlight=False, markup=False, emoji=False, soft_wrap=True)


def _progress(console: Console) -> progress.Progress:
    """Every kata's standing and the last run, after a word on results that can't be read, and on a run that was cut off."""
    found = progress.gather()
    if not found.standings:
        raise Refused(f"there are no katas in {ROOT / 'katas'}")
    for line in found.damaged:
        console.print(line, style="yellow")
    for spec in found.cut:
        console.print(f"the last run ended in the middle of {spec}: {journal.CAUSE}", style="yellow")
    return found


def run_next(options) -> int:
    console = _console()
    while True:
        found, kata = _progress(console), options.kata
        if kata is None:
            if found.current is None:
                overview.advise(console, found)
                return 0
            kata = found.current.kata
        before = _saved()
        code = _run(overview.pytest(kata, options.upstream or found.upstream(kata)))
        if not options.watch or code == USAGE:
            return code
        print("\nwaiting for a file in katas/ to be saved; Ctrl-C ends", flush=True)
        while (now := _saved()) == before:
            time.sleep(POLL)
        print(f"saved: {', '.join(sorted({relative(path) for path, _ in now.items() ^ before.items()}))}\n")


def _run(command: str) -> int:
    """pytest's exit code. It runs at the repository's root."""
    print(overview.prompt(command), flush=True)
    process = subprocess.Popen([sys.executable, "-m", *shlex.split(command)], cwd=ROOT)
    try:
        return process.wait()
    except KeyboardInterrupt:  # which pytest was sent as well, if it came from the keyboard
        try:
            process.wait(PATIENCE)
        except (KeyboardInterrupt, subprocess.TimeoutExpired):
            process.kill()
            process.wait()
        raise


def _saved() -> dict[Path, int]:
    """When each of the katas' files was saved."""
    saved = {}
    for path in (ROOT / "katas").rglob("*.py"):
        try:
            saved[path] = path.stat().st_mtime_ns
        except FileNotFoundError:  # an editor's own, or one that it replaces at this moment
            continue
    return saved


def hint(options) -> int:
    console = _console()
    found = _progress(console)
    if options.kata:
        standing = next(one for one in found.standings if one.kata == options.kata)
    else:
        standing = found.current or found.standings[-1]
    try:
        hints.show(console, standing, options.number)
    except LookupError as error:
        raise Refused(error.args[0]) from None
    return 0


def reset(options) -> int:
    from specs.command import stubs

    kata = options.kata
    try:
        if stubs.drifted(kata):
            stubs.restore(kata)
        else:
            print(f"{relative(progress.own_file(kata))} is the stub already; nothing was kept or written")
    except (OSError, ValueError, SyntaxError) as error:
        raise Refused(f"the stub of {kata.folder} can't be restored: {error}") from None
    print(f"next:\n{overview.prompt(overview.pytest(kata, progress.gather().upstream(kata)))}")
    return 0


def fetch(options) -> int:
    from specs.datasets import sets

    try:
        return sets.fetch_all(options.only)
    except LookupError as error:
        raise Refused(error.args[0]) from None


if __name__ == "__main__":
    sys.exit(main())
