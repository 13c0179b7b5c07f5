"""The tables that `bench` prints, each with an explanation of its columns."""

from minitransformer.bench.components import DIRECTIONS, total
from minitransformer.bench.load import QUIET
from minitransformer.bench.scaling import SERIES
from minitransformer.bench.worker import ABOUT
from minitransformer.system.tables import table


def ruled(header: str, rows: list[list[str]]) -> list[str]:
    """Return the lines of a table with a rule below the header.

    `header` contains the names of the columns, separated by "|". The first two columns are aligned left. Columns in
    which every cell is empty are left out.
    """
    columns = [column for column in zip(header.split("|"), *rows, strict=True) if any(column[1:])]
    columns = [(name, "─" * max(map(len, (name, *cells))), *cells) for name, *cells in columns]
    return table(zip(*columns, strict=True), "<<>", indent=0)


def comparison_lines(results: dict) -> list[str]:
    """Return the tables of training, decoding and long prompts."""
    training, decoding, prompts = [], [], []
    for name, size in results["sizes"].items():
        for engine, measured in size["engines"].items():
            beginning = ["" if engine in size["ratios"] else name, engine]
            step, token, prompt = measured["step"], measured.get("decode"), measured.get("prompt")
            cells = [milliseconds(step["median"]), spread(step), f"{measured['tokens_per_second']:,.0f}"]
            cells += [mebibytes(measured["memory"]), f"{measured['cores']:.2f}"]
            cells += [percent(measured["of_peak"])]
            training.append([*beginning, *cells, *ratio_cells(size, engine, "step")])
            if token:
                cells = [f"{token['tokens_per_second']:,.0f}", milliseconds(token["median"]), spread(token)]
                cells += [percent(token["of_bandwidth"])]
                decoding.append([*beginning, *cells, *ratio_cells(size, engine, "decode")])
            if prompt:
                quartiles = f"{prompt['lower']:.3f} – {prompt['upper']:.3f}"
                cells = [f"{size['prompt']:,}", f"{prompt['median']:.3f}", quartiles]
                prompts.append([*beginning, *cells, *ratio_cells(size, engine, "prompt")])
    limits = {kind: f"{rate / 1e9:,.0f} G" for kind, rate in results["limits"].items()}
    lines = [
        "Training: forward, loss, backward, clipping, AdamW",
        "",
        *ruled("size|runs on|ms a step|quartiles|tokens/s|memory|cores|of peak|ratio|95 %", training),
        "",
        "  ms a step  median; the quartiles enclose the middle half of all steps",
        "  memory     peak of resident memory during a step, above the level before it",
        "  cores      average number of busy cores, including threads that wait actively",
        "  of peak    FLOP of products per second of the step, as a share of the fastest product here:"
        f" {limits['flops']}FLOP/s",
        *ratio_lines(results),
        "",
        "Decoding: one sequence, with a key–value cache",
        "",
        *ruled("size|runs on|tokens/s|ms a token|quartiles|of bandwidth|ratio|95 %", decoding),
        "",
        "  of bandwidth  bytes of weights and cached keys and values per second, as a share of the fastest read here:"
        f" {limits['bandwidth']}B/s",
        "                (above 100 %: the weights fit into the processor's caches, and memory does not limit)",
    ]
    if prompts:
        header = "size|runs on|prompt|s to the first new token|quartiles|ratio|95 %"
        lines += ["", "A long prompt, read before the first new token", "", *ruled(header, prompts)]
    return lines


def ratio_lines(results: dict) -> list[str]:
    """Return lines that explain the ratios and compare the peaks of memory. One engine alone has none."""
    first, *others = results["engines"]
    if not others:
        return []
    lines = [
        f"  ratio      time / {first}'s, in pairs of turns: above 1, {first} is faster;",
        "             95 %: confidence interval over rounds of new processes",
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


def ratio_cells(size: dict, engine: str, question: str) -> list[str]:
    """Return the cells of a ratio and its interval. Those of the first engine are empty."""
    if engine not in size["ratios"]:
        return ["", ""]
    ratio = size["ratios"][engine][question]
    interval = "–" if ratio["low"] is None else f"{ratio['low']:.2f} – {ratio['high']:.2f}"
    return [f"{ratio['ratio']:.2f}", interval]


def step_summary(size: dict) -> str:
    """Return one line with the time of a training step of each engine at one size."""
    return "; ".join(
        f"{engine} {milliseconds(measured['step']['median'])} ms a step"
        + (f", ratio {size['ratios'][engine]['step']['ratio']:.2f}" if engine in size["ratios"] else "")
        for engine, measured in size["engines"].items()
    )


def load_lines(load: dict) -> list[str]:
    """Return lines that state whether other processes disturbed the measurement."""
    if load["mean"] is None:
        return ["The load of other processes is unknown on this system. Close other programs while you measure."]
    if not load["disturbed"]:
        return [
            f"The machine was quiet: other processes used {load['mean']:.2f} cores, {load['greatest']:.2f} at most."
        ]
    return [
        f"THE MACHINE WAS NOT QUIET: other processes used {load['mean']:.2f} cores on average, {load['greatest']:.2f} "
        f"at most, and more than {QUIET} in {load['disturbed']} of {load['turns']} turns.",
        "The times are too long and the ratios uncertain. Close other programs, and repeat.",
    ]


def machine_line(results: dict) -> str:
    """Return the processor, the threads and the versions in one line."""
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    threads = f"{results['threads']} thread{'s' * (results['threads'] > 1)}"
    return f"{results['processor']}; {threads}; Python {results['python']}, {versions}; float32"


def profile_lines(name: str, profile: dict) -> list[str]:
    """Return a table with the time of each file in a training step at the size `name`."""
    rows = profile["rows"]
    step = sum(map(total, rows))
    cells = [
        [
            row["component"],
            f"in {row['inside']}" if row["inside"] else "",
            *(milliseconds(row[way]) if row[way] else "" for way in DIRECTIONS),
            percent(total(row) / step),
        ]
        for row in rows
        if total(row) / step >= 0.001
    ]
    sums = [milliseconds(sum(row[way] for row in rows)) for way in DIRECTIONS]
    without, watched = milliseconds(profile["without"]), milliseconds(profile["with_profiler"])
    return [
        f"{name}: the time of each file in a training step, in ms",
        "",
        *ruled("file|called|forward|backward|update|share", [*cells, ["all", "", *sums, percent(1.0)]]),
        "",
        "  The time of a file excludes other files that it calls, and includes NumPy's functions that it calls.",
        f"  A step takes {without} ms, and {watched} ms with the profiler, which slows many short calls most.",
    ]


def scaling_lines(results: dict) -> list[str]:
    """Return the table of exponents."""
    rows = []
    for name, growth in results["series"].items():
        series, fit, (largest, cost) = SERIES[name], growth["fit"], growth["points"][-1]
        sizes = f"{growth['points'][0][0]:,} – {largest:,}"
        last = mebibytes(cost) if series.unit == "bytes" else f"{milliseconds(cost)} ms"
        exponent = f"{fit['exponent']:.2f} ± {fit['margin']:.2f}"
        rows.append([series.title, series.variable, sizes, last, series.expected, exponent, growth["verdict"]])
    return [
        "How cost grows: cost ∝ sizeᵖ",
        "",
        *ruled("cost|against|from – to|at the last|p expected|p measured|it grows", rows),
        "",
        "  p is fitted to the upper half of the points, at least four. ± is its 95 % interval, which covers scatter",
        "  only: small matrices and caches bend a line as well. The picture shows every point.",
    ]


def milliseconds(seconds: float) -> str:
    """Format a time in milliseconds with about three digits."""
    value = 1000 * seconds
    decimals = 0 if value >= 100 else 1 if value >= 10 else 2 if value >= 1 else 3
    return f"{value:,.{decimals}f}"


def spread(summary: dict) -> str:
    """Format the quartiles of a summary of times in milliseconds."""
    return f"{milliseconds(summary['lower'])} – {milliseconds(summary['upper'])}"


def mebibytes(size: float | None) -> str:
    """Format a size in MiB, or – if it is unknown."""
    if size is None:
        return "–"
    value = size / 2**20
    return f"{value:,.0f} MiB" if value >= 10 else f"{value:.1f} MiB"


def percent(share: float | None) -> str:
    """Format a share in per cent, or – if it is unknown."""
    return "–" if share is None else f"{100 * share:.0f} %" if share >= 0.1 else f"{100 * share:.1f} %"
