"""The figures of a comparison, as Markdown for people."""

from statistics import median

OURS = "NumPy"


def markdown(figures: dict) -> str:
    """The tables of what `python -m specs.bench` measured."""
    machine = figures["machine"]
    lines = [
        "# The reference beside PyTorch",
        "",
        f"{', '.join(figures['versions'])}; {machine['processor']}, {machine['cores']} cores; {figures['time'][:10]}.",
        "Milliseconds are the median of the turns (least–most). The ratio is NumPy's speed over that of the faster PyTorch,",
        "turn by turn: above 1, NumPy is faster.",
    ]
    lines += ["", "## Convolution, forward and backward", "", *_table(figures["convolution"])]
    lines += ["", "## A training step on CIFAR-10", "", *_table(figures["step"])]
    if figures["training"]:
        lines += ["", "## Training on CIFAR-10", "", *_trainings(figures["training"])]
    return "\n".join(lines) + "\n"


def fastest(seconds: dict[str, list[float]]) -> str:
    """The name of the fastest side but ours."""
    return min((name for name in seconds if name != OURS), key=lambda name: median(seconds[name]))


def ratios(seconds: dict[str, list[float]]) -> list[float]:
    """Our speed over the fastest other side's, in each turn."""
    return [theirs / ours for ours, theirs in zip(seconds[OURS], seconds[fastest(seconds)], strict=True)]


def _table(rows: list[dict]) -> list[str]:
    names = list(rows[0]["seconds"])
    lines = ["| | " + " | ".join(f"{name}, ms" for name in names) + " | ratio |", "|---|" + "---|" * (len(names) + 1)]
    for row in rows:
        cells = [_spread([1e3 * second for second in row["seconds"][name]], ".1f") for name in names]
        lines.append(f"| {row['work']} | {' | '.join(cells)} | {_spread(ratios(row['seconds']), '.2f')} |")
    return lines


def _trainings(rows: list[dict]) -> list[str]:
    lines = ["| | seed | test images named rightly | seconds | largest memory |", "|---|---|---|---|---|"]
    for row in sorted(rows, key=lambda row: (row["side"], row["seed"])):
        memory = f"{row['MB']:.0f} MB" if row["MB"] else "?"
        cells = [row["side"], str(row["seed"]), f"{row['accuracy']:.2%}", f"{row['seconds']:.1f}", memory]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _spread(values: list[float], form: str) -> str:
    return f"{median(values):{form}} ({min(values):{form}}–{max(values):{form}})"
