"""What `kata hint` shows: of a kata's README the section that the learner is at, and its confusions, one at a time."""

import re
from pathlib import Path
from typing import NamedTuple

from rich.console import Console

from specs.command import overview
from specs.door import ROOT, relative
from specs.results import summary
from specs.results.progress import Standing

LINES = 12  # of a section, about
HEADING = re.compile(r"#+\s+(.*?)[\s#]*$")
QUESTION = re.compile(r"\*\*((?:`[^`]*`|[^`])+?)\*\*\s*(.*)", re.DOTALL)  # its code may have asterisks, too


class Section(NamedTuple):
    title: str
    line: int
    blocks: list[str]  # paragraphs, lists, tables and code blocks


class Hint(NamedTuple):
    question: str
    answer: str


def sections(path: Path) -> list[Section]:
    """A README's sections. Neither a blank line nor a `#` within a code block ends anything."""
    found, fenced, fresh = [Section("", 1, [])], False, True
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        fence = line.lstrip().startswith("```")
        heading = None if fenced or fence else HEADING.match(line)
        if heading:
            found.append(Section(heading[1], number, []))
        elif line.strip() or fenced:
            if fresh or not found[-1].blocks:
                found[-1].blocks.append(line)
            else:
                found[-1].blocks[-1] += f"\n{line}"
        fenced ^= fence
        fresh = bool(heading) or not (line.strip() or fenced)
    return found


def section(path: Path, number: str) -> Section | None:
    """The section `## 07.4 Backward`, by its number."""
    return next((section for section in sections(path) if section.title.split(" ")[0] == number), None)


def hints(path: Path) -> list[Hint]:
    """What `## Confusions` holds: each opens a paragraph with a bold question, and lasts until the next."""
    found: list[Hint] = []
    for block in [block for part in sections(path) if part.title.lower().startswith("confusion") for block in part.blocks]:
        if match := QUESTION.match(block):
            found.append(Hint(" ".join(match[1].split()), match[2]))
        elif found:
            found[-1] = Hint(found[-1].question, f"{found[-1].answer}\n\n{block}".strip())
    return found


def beginning(section: Section, lines: int) -> tuple[str, bool]:
    """As many whole blocks as fit, one at least, and whether that is all."""
    count = 1
    while count < len(section.blocks) and sum(block.count("\n") + 2 for block in section.blocks[: count + 1]) <= lines:
        count += 1
    return "\n\n".join(section.blocks[:count]), count >= len(section.blocks)


def show(console: Console, standing: Standing, asked: int | None) -> None:
    """Where the learner is and what there are questions about; or the answer to one. Raises: LookupError if it is not there."""
    kata = standing.kata
    readme = ROOT / "katas" / kata.folder / "README.md"
    if not readme.exists():
        raise LookupError(f"{relative(readme)} is missing")
    found = hints(readme)
    if asked is None:
        _where(console, standing, readme)
        console.print("What confuses others:" if found else "No questions are known.", style="bold")
        for number, (question, _) in enumerate(found, 1):
            overview.say(console, f"{number}  {question}")
        more = 1
    elif 1 <= asked <= len(found):
        question, answer = found[asked - 1]
        overview.say(console, question, style="bold")
        _render(console, answer)
        more = asked + 1
    else:
        raise LookupError(f"kata {kata.number} has no question {asked}; it has {len(found)}")
    if more <= len(found):
        console.print(f"\nThe answer to question {more} of {len(found)}:\n$ kata hint {kata.number} {more}")
    else:
        solution = f"reference/{kata.folder}/{kata.module}.py"
        console.print()
        overview.say(console, f"No more questions. {relative(readme)} says more; {solution} is a solution.")


def _where(console: Console, standing: Standing, readme: Path) -> None:
    """The section of the first red spec, as far as the results know it; of a kata that was never run, the first section."""
    kata, red = standing.kata, summary.next_step(standing.specs)
    blocked = next((spec for spec in standing.specs if spec["outcome"] == "blocked"), None)
    before = f", before {standing.changed} was saved" if standing.changed else ""
    if red:
        overview.say(console, f"First red spec{before}: {overview.told(red)}")
    elif blocked:
        by, why = blocked.get("blocked_by", "an earlier kata"), blocked.get("why", "").partition("\n")[0]
        overview.say(console, f"Blocked by {by}{before}: {why}")
        console.print()
        return
    elif not standing.specs:
        console.print(f"{kata.number} was never run. It begins with:")
    else:
        overview.say(console, f"No spec of {kata.number} is red{before}.")
        console.print()
        return
    part = section(readme, overview.section(red) if red else f"{kata.number}.1")
    if part and part.blocks:
        text, whole = beginning(part, LINES)
        console.print(f"\n{part.title}", style="bold")
        _render(console, text)
        console.print(f"({'' if whole else 'more: '}{relative(readme)}:{part.line})\n")


def _render(console: Console, text: str) -> None:
    """A piece of a README: rendered in a terminal, as it stands in a pipe."""
    if console.is_terminal:
        from rich.markdown import Markdown

        console.print(Markdown(text, code_theme="ansi_dark"), width=min(console.width, 100), soft_wrap=False)
    else:
        console.print(text)
