"""The figures of a comparison, as Markdown for people, and the bars that they miss."""

import operator
from statistics import median

SIGNS = {"≤": operator.le, "≥": operator.ge}


def markdown(figures: dict) -> str:
    """The tables of what `python -m specs.bench` measured."""
    machine, data = figures["machine"], f"Data: {figures['text']}."
    lines = [
        "# The reference beside PyTorch, tokenizers and transformers",
        "",
        f"{', '.join(figures['versions'])}; {machine['processor']}, {machine['cores']} cores; {figures['time'][:10]}.",
        "Clear is the NumPy of katas 02 to 14, fast is what kata 15 makes of it. Milliseconds are the median of the turns",
        "(least–most). A ratio is one side's speed over another's, turn by turn: above 1, the first is faster. PyTorch has its",
        "faster layout or attention there.",
    ]
    if "convolution" in figures:
        lines += ["", "## Convolution, forward and backward", "", *_table(figures["convolution"])]
        lines += ["", "Forward alone, beside loops:", "", *_table(figures["loops"])]
    if "step" in figures:
        lines += ["", "## A training step on CIFAR-10", "", *_table(figures["step"])]
    if "training" in figures:
        lines += ["", "## Training on CIFAR-10", "", *_trainings(figures["training"]), "", *_values(figures["trained"])]
    if "tokenization" in figures:
        said = f"Both on one core, with their caches of words as they come. {data}"
        lines += ["", "## Tokenization", "", said, "", *_table(figures["tokenization"])]
        lines += ["", "The reference alone, with GPT-2's tokenizer:", "", *_values(figures["growth"])]
    if "gpt" in figures:
        lines += ["", "## GPTs", "", *_table(figures["gpt"]), "", *map(_speeds, figures["gpt"])]
    if "decoding" in figures:
        lines += ["", "## Decoding with a cache", "", *_table(figures["decoding"]), "", *_table(figures["written"])]
    if "distillation" in figures:
        said = f"A small GPT learns what a large one would say, or the text alone. {data}"
        lines += ["", "## Distillation", "", said, "", *_students(figures["distillation"]), "", *_values(figures["taught"])]
    if "serving" in figures:
        said = "Of a GPT of milestone 3's size with a context of 1,040; random weights. A batch begins and ends together."
        lines += ["", "## Serving", "", said, "", *_values(figures["serving"]), "", *_table(figures["together"])]
        lines += ["", *_table(figures["batches"]), "", *map(_speeds, figures["together"] + figures["batches"])]
        lines += ["", *_table(figures["waiting"])]
    if "served" in figures:
        said = "The same app on a socket of this machine, with the engine, and with one of the same schedule by PyTorch."
        lines += ["", "## Serving over HTTP", "", said, "", *_table(figures["served"]), "", *map(_speeds, figures["served"])]
    if "openai" in figures:
        lines += ["", "## OpenAI's clients", "", *_values(figures["openai"])]
    if "language" in figures:
        said = "Bits per byte of the last tenth, in rows of 64 tokens; the fast ones in rows of 1,024, where a token sees"
        lines += [
            "",
            "## Training on a text",
            "",
            said,
            f"no more in a layer than in training. {data}",
            "",
            *_languages(figures["language"]),
        ]
        lines += ["", *_values(figures["minutes"])]
    if "gpt2" in figures:
        said = "The reference reads a file that transformers wrote, with random weights."
        lines += ["", "## GPT-2's architecture", "", said, "", *_values(figures["gpt2"])]
    lines += [f"\nMissed: {bar}" for bar in missed(figures)]
    return "\n".join(lines) + "\n"


def fastest(seconds: dict[str, list[float]], name: str) -> str:
    """The fastest of the sides that have this name, or this one before a comma."""
    return min([side for side in seconds if side.split(", ")[0] == name], key=lambda side: median(seconds[side]))


def ratios(seconds: dict[str, list[float]], of: str, to: str) -> list[float]:
    """The speed of the fastest side of a name over that of the fastest of another, in each turn."""
    return [theirs / mine for mine, theirs in zip(seconds[fastest(seconds, of)], seconds[fastest(seconds, to)], strict=True)]


def missed(figures: dict) -> list[str]:
    """The works whose median is beyond the bar in "wanted", each with both of them."""
    rows = [row for part in figures.values() if isinstance(part, list) for row in part if isinstance(row, dict)]
    bars = [(name, values, bar["wanted"]) for row in rows for name, values, bar in _bars(row)]
    return [f"{name}: {median(values):.2f}, wanted {wanted}" for name, values, wanted in bars if not _met(values, wanted)]


def _bars(row: dict) -> list[tuple[str, list[float], dict]]:
    """What is measured in a row: its name, its values, and where "wanted" and "aim" stand."""
    if "values" in row:
        return [(row["work"], row["values"], row)]
    pairs = [(bar, ratios(row["seconds"], bar["of"], bar["to"])) for bar in row.get("ratios", ())]
    return [(f"{row['work']}, {bar['of']} : {bar['to']}", values, bar) for bar, values in pairs]


def _met(values: list[float], bound: str) -> bool:
    """Whether the median is within the bound, if there is one. NaN is within none."""
    if not bound:
        return True
    sign, limit = bound.split()
    return SIGNS[sign](median(values), float(limit))


def _measured(values: list[float], bar: dict) -> str:
    """The values, and what was wanted and aimed at."""
    wanted = f", wanted {bar['wanted']}" if bar["wanted"] else ""
    missed = "" if _met(values, bar["wanted"]) else ": **missed**"
    return _spread(values, ".2f") + wanted + missed + (f", aim {bar['aim']}" if bar["aim"] else "")


def _table(rows: list[dict]) -> list[str]:
    names = list(rows[0]["seconds"])
    columns = [*(f"{name}, ms" for name in names), *(f"{bar['of']} : {bar['to']}" for bar in rows[0]["ratios"])]
    lines = [f"| | {' | '.join(columns)} |", "|---|" + "---|" * len(columns)]
    for row in rows:
        cells = [_spread([1e3 * second for second in row["seconds"][name]], ".1f") for name in names]
        cells += [_measured(values, bar) for _, values, bar in _bars(row)]
        lines.append(f"| {row['work']} | {' | '.join(cells)} |")
    return lines


def _speeds(row: dict) -> str:
    speeds = [f"{name} {row['tokens'] / median(seconds):,.0f}" for name, seconds in row["seconds"].items()]
    return f"Tokens a second, {row['work']}: {'; '.join(speeds)}."


def _languages(rows: list[dict]) -> list[str]:
    lines = ["| recipe | bits per byte | seconds | steps | tokens a second | largest memory |", "|---|---|---|---|---|---|"]
    for row in rows:
        cells = [row["recipe"], f"{row['bits']:.3f}", f"{row['seconds']:.1f}", f"{row['steps']:,}"]
        cells += [f"{row['tokens'] / row['seconds']:,.0f}", _memory(row)]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _values(rows: list[dict]) -> list[str]:
    lines = [f"| {name} | {_measured(values, bar)} |" for row in rows for name, values, bar in _bars(row)]
    return ["| | value |", "|---|---|", *lines]


def _trainings(rows: list[dict]) -> list[str]:
    lines = ["| | seed | test images named rightly | seconds | largest memory |", "|---|---|---|---|---|"]
    for row in sorted(rows, key=lambda row: (row["side"], row["seed"])):
        cells = [row["side"], str(row["seed"]), f"{row['accuracy']:.2%}", f"{row['seconds']:.1f}", _memory(row)]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _students(rows: list[dict]) -> list[str]:
    lines = ["| student | seed | nats per token of the last tenth | steps | seconds |", "|---|---|---|---|---|"]
    for row in rows:
        cells = ["taught" if row["taught"] else "alone", str(row["seed"]), f"{row['nats']:.3f}"]
        cells += [f"{row['steps']:,}", f"{row['seconds']:.1f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _memory(row: dict) -> str:
    return f"{row['MB']:.0f} MB" if row["MB"] else "?"


def _spread(values: list[float], form: str) -> str:
    return f"{median(values):{form}} ({min(values):{form}}–{max(values):{form}})"
