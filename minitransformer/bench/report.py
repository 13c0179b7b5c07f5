"""The measurement of `bench`, and the tables that it prints, with explanations of the columns."""

import platform
from contextlib import suppress
from pathlib import Path

from gradcheck.front.tables import table
from minitransformer.bench.comparison import collect, measure_size
from minitransformer.bench.sizes import SIZES
from minitransformer.bench.worker import ABOUT
from minitransformer.system.narrator import Narrator


def compare(settings: dict) -> dict:
    sizes = {name: SIZES[name] for name in settings["sizes"]}
    options = {key: settings[key] for key in ("engines", "threads", "rounds", "seconds")}
    raw = {}
    for name, size in sizes.items():

        def say(words, name=name):
            Narrator().say(f"{name}: {words}")

        raw[name] = measure_size(size, **options, progress=say)
        say(step_summary(collect({name: raw[name]}, sizes)["sizes"][name]))  # now, in case the next size fails
    return machine(settings) | collect(raw, sizes)


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


def ruled(header: list[str], rows: list[list[str]]) -> list[str]:
    """Format a table with a rule below the header. Columns in which every cell is empty are left out."""
    columns = [column for column in zip(header, *rows, strict=True) if any(column[1:])]
    columns = [(name, "─" * max(map(len, (name, *cells))), *cells) for name, *cells in columns]
    return table(zip(*columns, strict=True), "<<>", indent=0)


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
                milliseconds(measured[key]["median"]),
                f"{milliseconds(measured[key]['lower'])} – {milliseconds(measured[key]['upper'])}",
                *(cell(measured, size) for cell in columns.values()),
                *ratio_cells(size, engine, key),
            ]
            for name, size in results["sizes"].items()
            for engine, measured in size["engines"].items()
            if key in measured
        ]
        if rows:
            header = ["size", "runs on", "ms", "quartiles", *columns, "ratio", "95 %"]
            lines += [title, "", *ruled(header, rows), "", *notes.format(**limits).splitlines()]
            lines += ratio_lines(results) if key == "step" else []
            lines += [""]
    return lines[:-1]


def comparison_markdown(results: dict) -> list[str]:
    """Return a Markdown table of costs and ratios, with a row per size and cost."""
    first, *others = results["engines"]
    rows = [["size", "cost", first, *others], ["---"] * (3 + len(others))]
    for name, size in results["sizes"].items():
        ours = size["engines"][first]
        for key, title in {"step": "training step", "decode": "new token", "prompt": "long prompt"}.items():
            if key in ours:
                cells = ["{} ({})".format(*ratio_cells(size, other, key)) for other in others]
                rows.append([f"`{name}`", title, f"{milliseconds(ours[key]['median'])} ms", *cells])
        memory = [size["ratios"][other]["memory"] for other in others]
        cells = ["–" if ratio is None else f"{ratio:.2f}" for ratio in memory]
        rows.append([f"`{name}`", "memory of a step", mebibytes(ours["memory"]), *cells])
    return [f"| {' | '.join(row)} |" for row in rows]


def ratio_lines(results: dict) -> list[str]:
    """Return lines that explain the ratios and compare the peak memory. There are none for a single engine."""
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


def milliseconds(seconds: float) -> str:
    value = 1000 * seconds
    decimals = 0 if value >= 100 else 1 if value >= 10 else 2 if value >= 1 else 3
    return f"{value:,.{decimals}f}"


def mebibytes(size: float | None) -> str:
    if size is None:
        return "–"
    value = size / 2**20
    return f"{value:,.0f} MiB" if value >= 10 else f"{value:.1f} MiB"


def percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share >= 0.1 else f"{100 * share:.1f} %"
