"""What `kata` shows: a line a kata, and what to do next."""

import re
import shlex
import textwrap
from pathlib import Path

from rich.console import Console
from rich.text import Text

from specs.door import ROOT, Kata, relative
from specs.results import progress, summary
from specs.results.plain import plain
from specs.results.progress import Progress, Standing

COLOURS = {"green": "green", "red": "red", "blocked": "yellow", "not run": "yellow"}


def show(console: Console, standings: list[Standing]) -> None:
    """The map. Its bars leave room for what stands behind them."""
    numbers = [_numbers(standing) for standing in standings]
    width = max(4, min(20, console.width - 20 - max(map(len, numbers))))
    for standing, line in zip(standings, numbers, strict=True):
        console.print(f"{standing.kata.number} {standing.kata.folder[3:]:<14}", _bar(standing, width, console), "", line)


def advise(console: Console, found: Progress) -> None:
    """What to do next, and the command."""
    standing = found.current
    if standing is None:
        say(console, "All katas are green. What they achieve together:")
        console.print(prompt("tox -e milestone"))
    elif not progress.own_file(standing.kata).exists():
        console.print(f"next: {relative(progress.own_file(standing.kata))} is missing\n$ kata reset {standing.kata.number}")
    else:
        say(console, f"next: {_advice(standing)}")
        console.print(prompt(pytest(standing.kata, found.upstream(standing.kata))))
        console.print("(kata next runs it; kata hint helps)", style="dim")


def say(console: Console, text: str, style: str = "") -> None:
    """A sentence, wrapped. Commands are not: they are copied."""
    lines = textwrap.wrap(plain(text), console.width, subsequent_indent="   ", break_long_words=False, break_on_hyphens=False)
    console.print("\n".join(lines), style=style)


def pytest(kata: Kata, upstream: str | None = None) -> str:
    """The command that judges a kata."""
    return f"pytest katas/{kata.folder}" + (f" --upstream {shlex.quote(upstream)}" if upstream else "")


def prompt(command: str) -> str:
    """A command as one types it, and where it works if that is not here."""
    return f"$ {command}" if Path.cwd() == ROOT else f"(in {ROOT})\n$ {command}"


def told(spec: dict) -> str:
    """A red spec in a line."""
    return spec["why"].splitlines()[0] if "stub" in spec else f"{section(spec)}  {spec['clause']}"


def section(spec: dict) -> str:
    """The number of the README's section that a spec belongs to, or the kata's if it belongs to the whole."""
    number = re.match(r"test_0*([1-9]\d*)_", Path(spec["id"].split("::")[0]).name)
    return spec.get("stub") or (f"{spec['kata']}.{number[1]}" if number else spec["kata"])


def _numbers(standing: Standing) -> Text:
    """`12 green · 3 red · 5 blocked by 02 of at least 40; tensor.py changed since`."""
    if not standing.specs:
        return Text("never run", "dim")
    row = summary.counts(standing.specs)[standing.kata.number]
    by = min((spec["blocked_by"] for spec in standing.specs if "blocked_by" in spec), default="")
    names = {outcome: outcome for outcome in row} | ({"blocked": f"blocked by {by}"} if by else {})
    text = Text(" · ").join(Text(f"{count} {names[outcome]}", COLOURS[outcome]) for outcome, count in row.items() if count)
    if standing.unseen:
        text.append(f" of at least {len(standing.specs) + standing.unseen}")
    if standing.changed:
        text.append(f"; {standing.changed} changed since")
    return text


def _bar(standing: Standing, width: int, console: Console) -> Text:
    outcomes = [spec["outcome"] for spec in standing.specs]
    filled = width * outcomes.count("green") // max(1, len(outcomes) + standing.unseen)
    full, empty = "█░"
    try:
        f"{full}{empty}".encode(console.encoding)
    except UnicodeEncodeError:
        full, empty = "#."
    return Text(full * filled, "green").append(empty * (width - filled), "red" if "red" in outcomes else "dim")


def _advice(standing: Standing) -> str:
    kata, red = standing.kata, summary.next_step(standing.specs)
    if standing.changed:
        return f"{kata.number} again, as {standing.changed} was saved after its last run"
    if red:
        return told(red)
    if not standing.specs:
        return f"read katas/{kata.folder}/README.md, then run its specs"
    if standing.blocked_by:
        return f"{kata.number} again, since {standing.blocked_by} blocked specs of it when they last ran"
    return f"{kata.number}, since not all of its specs have been run"
