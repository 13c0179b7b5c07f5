"""The measurements of `bench`, and the tables that it prints, with explanations of the columns.

The functions compare, profile and scaling run a measurement and return a tuple (results, lines, name, table, draw).
`results` is JSON-serializable, `lines` are printed, and `name` is the name of the files, without a suffix. `table` is a
Markdown table or None. `draw` is the function that draws the picture, or None.
"""

import platform
from contextlib import suppress
from pathlib import Path

from minitransformer.bench import pictures
from minitransformer.bench.comparison import collect, measure_size
from minitransformer.bench.components import DIRECTIONS, total
from minitransformer.bench.estimates import fit_exponent
from minitransformer.bench.scaling import SERIES, verdict
from minitransformer.bench.sizes import SIZES
from minitransformer.bench.worker import ABOUT, OURS, EngineProcess
from minitransformer.system.narrator import Narrator
from minitransformer.system.tables import table


def compare(settings: dict):
    sizes = {name: SIZES[name] for name in settings["sizes"]}
    options = {key: settings[key] for key in ("engines", "threads", "rounds", "seconds")}
    raw = {}
    for name, size in sizes.items():
        raw[name] = measure_size(size, **options, progress=lambda words, name=name: say(name, words))
        say(name, step_summary(collect({name: raw[name]}, sizes)["sizes"][name]))  # now, in case the next size fails
    results = machine(settings) | collect(raw, sizes)
    picture = pictures.draw_ratios if len(settings["engines"]) > 1 else None
    lines = [machine_line(results), "", *comparison_lines(results)]
    return results, lines, "bench", comparison_markdown(results), picture


def profile(settings: dict):
    results = machine(settings) | {"profiles": {}, "versions": {}}
    lines = []
    for name in settings["sizes"]:
        say(name, "profile")
        with EngineProcess(OURS, settings["threads"]) as engine:
            results["versions"] |= engine.ask("prepare", size=SIZES[name])["versions"]
            results["profiles"][name] = engine.ask("profile", seconds=settings["seconds"])
        lines += ["", *profile_lines(name, results["profiles"][name])]
    return results, [machine_line(results), *lines], "profile", None, None


def scaling(settings: dict):
    results = machine(settings) | {"series": {}, "versions": {}}
    for name, series in SERIES.items():
        say("scaling", f"{series.title} against {series.variable}")
        with EngineProcess(OURS, settings["threads"]) as engine:
            answer = engine.ask("growth", name=name, quick=settings["quick"])
        fit = fit_exponent(answer["points"])
        results["series"][name] = {
            "points": answer["points"],
            "fit": fit,
            "expected": [series.low, series.high],
            "verdict": verdict(series, fit),
        }
        results["versions"] |= answer["versions"]
    lines = [machine_line(results), "", *scaling_lines(results)]
    return results, lines, "scaling", markdown(SCALING_HEADER, scaling_rows(results)), pictures.draw_scaling


def machine(settings: dict) -> dict:
    processor = platform.processor() or platform.machine()
    with suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines()
        processor = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return settings | {"processor": processor, "system": platform.platform(), "python": platform.python_version()}


def machine_line(results: dict) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    threads = f"{results['threads']} thread{'s' * (results['threads'] > 1)}"
    return f"{results['processor']}; {threads}; Python {results['python']}, {versions}; float32"


def say(subject: str, words: str) -> None:
    Narrator().say(f"{subject}: {words}")


def ruled(header: str, rows: list[list[str]]) -> list[str]:
    """Return the lines of a table with a rule below the header.

    `header` contains the names of the columns, separated by "|". The first two columns are aligned left. Columns in
    which every cell is empty are left out.
    """
    columns = [column for column in zip(header.split("|"), *rows, strict=True) if any(column[1:])]
    columns = [(name, "─" * max(map(len, (name, *cells))), *cells) for name, *cells in columns]
    return table(zip(*columns, strict=True), "<<>", indent=0)


def markdown(header: str, rows: list[list[str]]) -> list[str]:
    """Return the lines of a Markdown table. `header` joins the column names with "|"."""
    names = header.split("|")
    return ["| " + " | ".join(cells) + " |" for cells in (names, ["---"] * len(names), *rows)]


# {key of the results: (title, {additional column: function(results of the engine, facts of the size)}, notes)}
TABLES = {
    "step": (
        "Training: forward, loss, backward, clipping, AdamW",
        {
            "tokens/s": lambda measured, size: f"{measured['tokens_per_second']:,.0f}",
            "memory": lambda measured, size: mebibytes(measured["memory"]),
            "of peak": lambda measured, size: percent(measured["of_peak"]),
        },
        """\
  ms         median; the quartiles enclose the middle half of all steps
  memory     peak of resident memory during a step, above the level before it
  of peak    FLOP of products per second of the step, as a share of the fastest product here: {flops:,.0f} GFLOP/s""",
    ),
    "decode": (
        "Decoding a token: one sequence, with a key–value cache",
        {
            "tokens/s": lambda measured, size: f"{measured['decode']['tokens_per_second']:,.0f}",
            "of bandwidth": lambda measured, size: percent(measured["decode"]["of_bandwidth"]),
        },
        """\
  of bandwidth  bytes of weights and cached keys and values per second, as a share of the fastest read here:
                {bandwidth:,.0f} GB/s (above 100 %: the weights fit into the processor's caches)""",
    ),
    "prompt": (
        "A long prompt: the time to the first new token",
        {"prompt": lambda measured, size: f"{size['prompt']:,}"},
        "",
    ),
}


def comparison_lines(results: dict) -> list[str]:
    lines = []
    limits = {kind: rate / 1e9 for kind, rate in results["limits"].items()}
    for key, (title, columns, notes) in TABLES.items():
        rows = [
            [
                "" if engine in size["ratios"] else name,
                engine,
                *times(measured[key]),
                *(cell(measured, size) for cell in columns.values()),
                *ratio_cells(size, engine, key),
            ]
            for name, size in results["sizes"].items()
            for engine, measured in size["engines"].items()
            if key in measured
        ]
        if rows:
            header = "|".join(["size", "runs on", "ms", "quartiles", *columns, "ratio", "95 %"])
            lines += [title, "", *ruled(header, rows), "", *notes.format(**limits).splitlines()]
            lines += ratio_lines(results) if key == "step" else []
            lines += [""]
    return lines[:-1]


def comparison_markdown(results: dict) -> list[str]:
    """Return a Markdown table with a row per size and cost, and a column per engine.

    The first engine's column contains the cost, and the other columns contain ratios.
    """
    first, *others = results["engines"]
    rows = []
    for name, size in results["sizes"].items():
        ours = size["engines"][first]
        for key, title in {"step": "training step", "decode": "new token", "prompt": "long prompt"}.items():
            if key in ours:
                cells = ["{} ({})".format(*ratio_cells(size, other, key)) for other in others]
                rows.append([f"`{name}`", title, f"{milliseconds(ours[key]['median'])} ms", *cells])
        memory = [size["ratios"][other]["memory"] for other in others]
        cells = ["–" if ratio is None else f"{ratio:.2f}" for ratio in memory]
        rows.append([f"`{name}`", "memory of a step", mebibytes(ours["memory"]), *cells])
    return markdown("|".join(["size", "cost", first, *others]), rows)


def ratio_lines(results: dict) -> list[str]:
    """Return lines that explain the ratios and compare the peak memory of the engines.

    The list is empty for a single engine.
    """
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
    if engine not in size["ratios"]:
        return ["", ""]
    ratio = size["ratios"][engine][question]
    interval = "–" if ratio["low"] is None else f"{ratio['low']:.2f} – {ratio['high']:.2f}"
    return [f"{ratio['ratio']:.2f}", interval]


def step_summary(size: dict) -> str:
    return "; ".join(
        f"{engine} {milliseconds(measured['step']['median'])} ms a step"
        + (f", ratio {size['ratios'][engine]['step']['ratio']:.2f}" if engine in size["ratios"] else "")
        for engine, measured in size["engines"].items()
    )


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
        f"  A step takes {without} ms, and {watched} ms with the profiler, which mostly slows short calls.",
    ]


SCALING_HEADER = "cost|against|from – to|at the last|p expected|p measured|it grows"


def scaling_rows(results: dict) -> list[list[str]]:
    rows = []
    for name, growth in results["series"].items():
        series, fit, (largest, cost) = SERIES[name], growth["fit"], growth["points"][-1]
        sizes = f"{growth['points'][0][0]:,} – {largest:,}"
        last = mebibytes(cost) if series.unit == "bytes" else f"{milliseconds(cost)} ms"
        exponent = f"{fit['exponent']:.2f} ± {fit['margin']:.2f}"
        rows.append([series.title, series.variable, sizes, last, series.expected, exponent, growth["verdict"]])
    return rows


def scaling_lines(results: dict) -> list[str]:
    return [
        "Growth of cost with size: cost ∝ sizeᵖ",
        "",
        *ruled(SCALING_HEADER, scaling_rows(results)),
        "",
        "  p is fitted to the upper half of the points, at least four. ± is its 95 % interval, which reflects",
        "  only scatter. Small matrices and caches also cause curvature. The picture shows all points.",
    ]


def milliseconds(seconds: float) -> str:
    """Format a time in milliseconds with about three digits."""
    value = 1000 * seconds
    decimals = 0 if value >= 100 else 1 if value >= 10 else 2 if value >= 1 else 3
    return f"{value:,.{decimals}f}"


def times(summary: dict) -> list[str]:
    return [milliseconds(summary["median"]), f"{milliseconds(summary['lower'])} – {milliseconds(summary['upper'])}"]


def mebibytes(size: float | None) -> str:
    if size is None:
        return "–"
    value = size / 2**20
    return f"{value:,.0f} MiB" if value >= 10 else f"{value:.1f} MiB"


def percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share >= 0.1 else f"{100 * share:.1f} %"
