"""The figures of a comparison, as Markdown for people, and the bars that they miss."""

import operator
from statistics import median

SIGNS = {"≤": operator.le, "≥": operator.ge}


def markdown(figures: dict) -> str:
    """The tables of what `python -m specs.bench` measured."""
    machine = figures["machine"]
    lines = [
        "# The reference beside PyTorch, tokenizers and transformers",
        "",
        f"{', '.join(figures['versions'])}; {machine['processor']}, {machine['cores']} cores; {figures['time'][:10]}.",
        "Milliseconds are the median of the turns (least–most). The ratio is the reference's speed over the other side's, with",
        "PyTorch that of the faster layout or attention, turn by turn: above 1, the reference is faster.",
    ]
    lines += ["", "## Convolution, forward and backward", "", *_table(figures["convolution"])]
    lines += ["", "## A training step on CIFAR-10", "", *_table(figures["step"])]
    if figures["training"]:
        lines += ["", "## Training on CIFAR-10", "", *_trainings(figures["training"])]
    said = f"Both on one core, with their caches of words as they come. Data: {figures['text']}."
    lines += ["", "## Tokenization", "", said, "", *_table(figures["tokenization"])]
    lines += ["", "The reference alone, with GPT-2's tokenizer:", "", *_growths(figures["growth"])]
    lines += ["", "## A training step on a GPT", "", *_table(figures["gpt"]), "", _speeds(figures["gpt"][0])]
    if figures["language"]:
        said = f"Bits per byte of the last tenth, in rows of 64 tokens. Data: {figures['text']}."
        lines += ["", "## Training on a text", "", said, "", *_languages(figures["language"])]
    said = "The reference reads a file that transformers wrote, with random weights."
    lines += ["", "## GPT-2's architecture", "", said, "", *_growths(figures["gpt2"], "value")]
    lines += [f"\nMissed: {bar}" for bar in missed(figures)]
    return "\n".join(lines) + "\n"


def fastest(seconds: dict[str, list[float]]) -> str:
    """The name of the fastest side but ours, which is the first."""
    return min(list(seconds)[1:], key=lambda name: median(seconds[name]))


def ratios(seconds: dict[str, list[float]]) -> list[float]:
    """Our speed over the fastest other side's, in each turn."""
    ours = next(iter(seconds.values()))
    return [theirs / mine for mine, theirs in zip(ours, seconds[fastest(seconds)], strict=True)]


def missed(figures: dict) -> list[str]:
    """The works whose median is beyond the bar in "wanted", each with both of them."""
    rows = [row for part in ("tokenization", "growth", "gpt", "gpt2") for row in figures[part]]
    bars = [row for row in rows if "wanted" in row and not _met(row)]
    return [f"{row['work']}: {median(_values(row)):.2f}, wanted {row['wanted']}" for row in bars]


def _values(row: dict) -> list[float]:
    return ratios(row["seconds"]) if "seconds" in row else row["values"]


def _met(row: dict) -> bool:
    sign, limit = row["wanted"].split()
    return SIGNS[sign](median(_values(row)), float(limit))


def _measured(row: dict) -> str:
    """The values, and the bar if there is one."""
    bar = f", wanted {row['wanted']}{'' if _met(row) else ': **missed**'}" if "wanted" in row else ""
    return _spread(_values(row), ".2f") + bar


def _table(rows: list[dict]) -> list[str]:
    names = list(rows[0]["seconds"])
    lines = ["| | " + " | ".join(f"{name}, ms" for name in names) + " | ratio |", "|---|" + "---|" * (len(names) + 1)]
    for row in rows:
        cells = [_spread([1e3 * second for second in row["seconds"][name]], ".1f") for name in names]
        lines.append(f"| {row['work']} | {' | '.join(cells)} | {_measured(row)} |")
    return lines


def _speeds(row: dict) -> str:
    speeds = [f"{name} {row['tokens'] / median(seconds):,.0f}" for name, seconds in row["seconds"].items()]
    return f"Tokens a second: {'; '.join(speeds)}."


def _languages(rows: list[dict]) -> list[str]:
    lines = ["| recipe | bits per byte | seconds | steps | tokens a second | largest memory |", "|---|---|---|---|---|---|"]
    for row in rows:
        cells = [row["recipe"], f"{row['bits']:.3f}", f"{row['seconds']:.1f}", f"{row['steps']:,}"]
        cells += [f"{row['tokens'] / row['seconds']:,.0f}", _memory(row)]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _growths(rows: list[dict], unit: str = "ratio") -> list[str]:
    return [f"| | {unit} |", "|---|---|", *(f"| {row['work']} | {_measured(row)} |" for row in rows)]


def _trainings(rows: list[dict]) -> list[str]:
    lines = ["| | seed | test images named rightly | seconds | largest memory |", "|---|---|---|---|---|"]
    for row in sorted(rows, key=lambda row: (row["side"], row["seed"])):
        cells = [row["side"], str(row["seed"]), f"{row['accuracy']:.2%}", f"{row['seconds']:.1f}", _memory(row)]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _memory(row: dict) -> str:
    return f"{row['MB']:.0f} MB" if row["MB"] else "?"


def _spread(values: list[float], form: str) -> str:
    return f"{median(values):{form}} ({min(values):{form}}–{max(values):{form}})"
