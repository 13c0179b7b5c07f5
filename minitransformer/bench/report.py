"""Tables of what was measured, for people, with a line for each column that needs it."""

from minitransformer.bench.beside import ASKED
from minitransformer.bench.load import QUIET
from minitransformer.bench.scaling import SERIES
from minitransformer.bench.worker import ABOUT
from minitransformer.system.tables import table


def ruled(header: list[str], rows: list[list[str]]) -> list[str]:
    """Return lines of a table. The first two columns are aligned left, the others right; those without a cell go."""
    columns = [column for column in zip(header, *rows, strict=True) if any(column[1:])]
    columns = [(name, "─" * max(map(len, (name, *cells))), *cells) for name, *cells in columns]
    return table(zip(*columns, strict=True), "<<>", indent=0)


def training_lines(results: dict) -> list[str]:
    """Return the table of training steps."""
    header = ["size", "runs on", "ms a step", "quartiles", "tokens/s", "memory", "cores"]
    header += ["products", "of peak", "ratio", "95 %"]
    rows = []
    for name, size in results["sizes"].items():
        for engine, measured in size["engines"].items():
            step = measured["step"]
            rows.append(
                [
                    "" if engine in size["ratios"] else name,
                    engine,
                    milliseconds(step["median"]),
                    f"{milliseconds(step['lower'])} – {milliseconds(step['upper'])}",
                    f"{measured['tokens_per_second']:,.0f}",
                    mebibytes(measured["memory"]),
                    f"{measured['cores']:.2f}",
                    percent(measured["products"]),
                    percent(measured["of_peak"]),
                    *ratio_cells(size, engine, "step"),
                ]
            )
    peak = f"{giga(results['limits']['flops'])}FLOP/s"
    return [
        "Training: forward, loss, backward, clipping, AdamW",
        "",
        *ruled(header, rows),
        "",
        "  ms a step  the median, and between which two numbers the middle half of all steps lies",
        "  memory     peak of resident memory during a step, above the level before it",
        "  cores      kept busy, threads that wait in a loop for work included",
        "  products   share of the step spent in matrix products",
        f"  of peak    FLOP of products in each second of the step, as a share of the fastest product here: {peak}",
        *ratio_lines(results),
    ]


def summary(size: dict) -> str:
    """Return the times of a training step at one size in a line."""
    return "; ".join(
        f"{engine} {milliseconds(measured['step']['median'])} ms a step"
        + (f", ratio {size['ratios'][engine]['step']['ratio']:.2f}" if engine in size["ratios"] else "")
        for engine, measured in size["engines"].items()
    )


def ratio_lines(results: dict) -> list[str]:
    """Return what the ratios are, and a line on how the peaks of memory compare, where there are several engines."""
    first, *others = results["engines"]
    if not others:
        return []
    lines = [
        f"  ratio      time / {first}'s, in pairs of turns: above 1, {first} is faster;",
        "             95 %: where it lies when everything is started anew, in 19 of 20 cases",
        "",
        *table([(name, ABOUT[name]) for name in results["engines"]], "<"),
        "",
    ]
    for other in others:
        memory = {name: size["ratios"][other]["memory"] for name, size in results["sizes"].items()}
        pairs = [f"{name} {ratio:.2f}" for name, ratio in memory.items() if ratio is not None]
        if pairs:
            lines.append(f"Memory of a step, {other}'s / {first}'s: {', '.join(pairs)}")
    return lines


def decoding_lines(results: dict) -> list[str]:
    """Return the tables of decoding, and of long prompts where there are any."""
    header = ["size", "runs on", "tokens/s", "ms a token", "quartiles", "of bandwidth", "products alone"]
    header += ["ratio", "95 %"]
    rows, prompts = [], []
    for name, size in results["sizes"].items():
        for engine, measured in size["engines"].items():
            if "decode" not in measured:
                continue
            token = measured["decode"]
            label = "" if engine in size["ratios"] else name
            spread = f"{milliseconds(token['lower'])} – {milliseconds(token['upper'])}"
            rows.append(
                [
                    *(label, engine, f"{token['tokens_per_second']:,.0f}", milliseconds(token["median"]), spread),
                    *(percent(token["of_bandwidth"]), percent(token["products"])),
                    *ratio_cells(size, engine, "decode"),
                ]
            )
            if "prompt" in measured:
                seconds = measured["prompt"]
                spread = f"{seconds['lower']:.3f} – {seconds['upper']:.3f}"
                cells = ratio_cells(size, engine, "prompt")
                prompts.append([label, engine, f"{size['prompt']:,}", f"{seconds['median']:.3f}", spread, *cells])
    lines = [
        "Decoding: one sequence, with a key–value cache",
        "",
        *ruled(header, rows),
        "",
        "  of bandwidth    bytes of weights and cached keys and values that a token needs, as a share of what can be"
        f" read here: {giga(results['limits']['bandwidth'])}B/s",
        "                  (above 100 %: the weights fit into the processor's caches, and memory does not limit)",
        "  products alone  one row times each matrix of the model and nothing else, as a share of the time of a token",
    ]
    if prompts:
        header = ["size", "runs on", "prompt", "s to the first new token", "quartiles", "ratio", "95 %"]
        lines += ["", "A long prompt, read before the first new token", "", *ruled(header, prompts)]
    return lines


def ratio_cells(size: dict, engine: str, question: str) -> list[str]:
    """Return the cells of a ratio and its interval."""
    if engine not in size["ratios"]:
        return ["", ""]
    ratio = size["ratios"][engine][question]
    interval = "–" if ratio["low"] is None else f"{ratio['low']:.2f} – {ratio['high']:.2f}"
    return [f"{ratio['ratio']:.2f}", interval]


def beside_lines(results: dict) -> list[str]:
    """Return the table of what becomes slower beside busy processes."""
    header = ["size", "runs on", "ms alone", "beside", "ratio", "9 of 10", "fair share", "of it"]
    rows = []
    for name, size in results["sizes"].items():
        for engine, by_question in size.items():
            for question, measured in by_question.items():
                for count, beside in sorted(measured["beside"].items(), key=lambda item: int(item[0])):
                    rows.append(
                        [
                            *(name, f"{engine}, a {ASKED[question]}", milliseconds(measured["alone"]), f"{count} busy"),
                            *(f"{beside[column]:.2f}" for column in ("ratio", "nine_of_ten", "fair")),
                            f"{beside['ratio'] / beside['fair']:.2f}",
                        ]
                    )
    return [
        "Beside processes that keep the cores busy",
        "",
        *ruled(header, rows),
        "",
        "  ratio       of the time to that alone, the median over turns; at most the next column in 9 of 10 turns",
        "  fair share  (cores + busy processes) / cores",
        "",
        *table([(name, ABOUT[name]) for name in results["engines"]], "<"),
    ]


def load_lines(load: dict) -> list[str]:
    """Return whether the machine was quiet, and what that means."""
    if load["mean"] is None:
        return ["Whether the machine was quiet is not known: this system does not tell. Close what else runs."]
    if not load["disturbed"]:
        return [
            f"The machine was quiet: other processes used {load['mean']:.2f} cores, {load['greatest']:.2f} at most."
        ]
    return [
        f"THE MACHINE WAS NOT QUIET: other processes used {load['mean']:.2f} cores on average, {load['greatest']:.2f} "
        f"at most, and more than {QUIET} in {load['disturbed']} of {load['turns']} turns.",
        "The times are too long and the ratios uncertain. Close what else runs, and repeat.",
    ]


def machine_line(facts: dict) -> str:
    """Return the machine, the versions and the threads in one line."""
    versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    threads = f"{facts['threads']} thread{'s' * (facts['threads'] > 1)}"
    return f"{facts['processor']}; {threads}; Python {facts['python']}, {versions}; float32"


def profile_lines(name: str, profile: dict) -> list[str]:
    """Return the table of where the time of a training step goes."""
    rows = profile["rows"]
    total = sum(spent(row) for row in rows)
    cells = [
        [
            row["component"],
            f"in {row['inside']}" if row["inside"] else "",
            *(milliseconds(row[way]) if row[way] else "" for way in ("forward", "backward", "update")),
            percent(spent(row) / total),
        ]
        for row in rows
        if spent(row) / total >= 0.001
    ]
    without, watched = milliseconds(profile["without"]), milliseconds(profile["with_profiler"])
    sums = [milliseconds(sum(row[way] for row in rows)) for way in ("forward", "backward", "update")]
    cells.append(["all", "", *sums, percent(1.0)])
    return [
        f"{name}: where the time of a training step goes, in ms",
        "",
        *ruled(["file", "called", "forward", "backward", "update", "share"], cells),
        "",
        "  Each file's own time, without what it calls in others; NumPy's belongs to the file that calls it.",
        f"  A step takes {without} ms, and {watched} ms while it is watched: files with many calls of little work seem",
        "  larger than they are.",
    ]


def spent(row: dict) -> float:
    """Return the seconds of a row of a profile."""
    return row["forward"] + row["backward"] + row["update"]


def scaling_lines(results: dict) -> list[str]:
    """Return the table of exponents."""
    rows = []
    for name, growth in results["series"].items():
        series, fit = SERIES[name], growth["fit"]
        largest, cost = growth["points"][-1]
        rows.append(
            [
                series.title,
                series.variable,
                f"{growth['points'][0][0]:,} – {largest:,}",
                mebibytes(cost) if series.unit == "bytes" else f"{milliseconds(cost)} ms",
                series.expected,
                f"{fit['exponent']:.2f} ± {fit['margin']:.2f}",
                growth["verdict"],
            ]
        )
    return [
        "How cost grows: cost ∝ sizeᵖ",
        "",
        *ruled(["cost", "against", "from – to", "at the last", "p expected", "p measured", "it grows"], rows),
        "",
        "  p is fitted to the upper half of the points, at least four. ± is its 95 % interval, which knows of scatter",
        "  alone: small matrices and caches bend a line as well. The picture shows every point.",
    ]


def milliseconds(seconds: float) -> str:
    """Return a time in milliseconds, with about three digits."""
    value = 1000 * seconds
    decimals = 0 if value >= 100 else 1 if value >= 10 else 2 if value >= 1 else 3
    return f"{value:,.{decimals}f}"


def mebibytes(size: float | None) -> str:
    """Return a size in MiB, or – for one that is not known."""
    if size is None:
        return "–"
    value = size / 2**20
    return f"{value:,.0f} MiB" if value >= 10 else f"{value:.1f} MiB"


def percent(share: float | None) -> str:
    """Return a share in per cent, or – for one that is not known."""
    return "–" if share is None else f"{100 * share:.0f} %" if share >= 0.1 else f"{100 * share:.1f} %"


def giga(rate: float) -> str:
    """Return a rate in units of 10⁹, as "203 G"."""
    return f"{rate / 1e9:,.0f} G"
