"""`minitransformer bench`: the speed and memory of training and decoding. bench/README.md describes the method."""

import json
from pathlib import Path

from minitransformer.bench import report
from minitransformer.bench.estimates import FEWEST
from minitransformer.bench.measurements import compare, profile, scaling
from minitransformer.bench.process import require_engines
from minitransformer.bench.scaling import SERIES
from minitransformer.bench.sizes import SIZES
from minitransformer.bench.worker import ABOUT, BARE, ENGINE, OURS, TORCH
from minitransformer.commands.options import PROCESSES, option, switch
from minitransformer.system.cores import available_cores
from minitransformer.system.files import require_file_path, write_atomically
from minitransformer.system.folders import at_work_in
from minitransformer.system.pictures import can_draw
from minitransformer.system.terminal import show
from minitransformer.system.values import number, positive
from minitransformer.text import TextFiles

HELP = "measure speed and memory, and compare them with PyTorch and the limits of the machine"

EXAMPLES = """\
  minitransformer bench                                 all sizes, this package alone
  minitransformer bench --against torch --out bench     comparison with PyTorch and a picture, in half an hour
  minitransformer bench --quick --against torch         rough numbers in a minute
  minitransformer bench --plain --against torch         the cost of plain formulas: textbook, engine and PyTorch
  minitransformer bench --sizes baby --profile          the time of each file in a training step
  minitransformer bench --scaling --out bench           growth of time and memory with T, batch, width, depth and text
"""

NOTES = f"""\
A training step is forward, loss, backward, clipping and AdamW. Each engine runs in a separate process. The engines
take turns, ratios are taken in pairs of turns, and the intervals are over rounds of new processes. Other programs
disturb the measurement; the last lines of the output report them. minitransformer/bench/README.md describes the method.

sizes:
{chr(10).join(f"  {name:<15} {size.batch} x {size.length} tokens" for name, size in SIZES.items())}

engines of the extra "parity":
{chr(10).join(f"  {name:<15} {about}" for name, about in ABOUT.items() if name in TORCH)}
"""

FULL = {"rounds": 5, "seconds": 2.0, "sizes": tuple(SIZES)}
QUICK = {"rounds": 2, "seconds": 0.3, "sizes": ("tiny", "nano")}
A_DAY, MOST_ROUNDS = 86_400, 10_000


def add_arguments(parser) -> None:
    measurement = parser.add_mutually_exclusive_group()
    words = f"engines to compare with: {', '.join(TORCH)}"
    measurement.add_argument("--against", nargs="+", choices=TORCH, default=[], metavar="ENGINE", help=words)
    switch(measurement, "--profile", "time of each file in a training step")
    switch(measurement, "--scaling", "growth of costs with size, and the exponents that theory expects")
    switch(parser, "--plain", "compare the textbook with the engine, without replicas of the model")
    words = f"sizes to measure: {', '.join(SIZES)} (default: all)"
    parser.add_argument("--sizes", nargs="+", choices=SIZES, metavar="SIZE", help=words)
    option(parser, "--threads", "threads of every engine (default: one per core)", metavar="N", limits=PROCESSES)
    words = f"number of rounds of new processes (default: {FULL['rounds']})"
    option(parser, "--rounds", words, metavar="N", limits={"least": 1, "most": MOST_ROUNDS})
    words = f"seconds of training steps in each turn (default: {FULL['seconds']:g})"
    option(parser, "--seconds", words, metavar="S", type=float)
    switch(parser, "--quick", "rough numbers in a minute: tiny and nano, short turns")
    words = "text of --scaling for the tokenizer (default: the text of demo)"
    option(parser, "--text", words, metavar="FILE", type=Path)
    option(parser, "--json", "file for the results as JSON", metavar="FILE", type=Path)
    option(parser, "--out", "folder for the results as JSON and the picture", metavar="FOLDER", type=Path)


def run(arguments) -> int:
    settings = settings_of(arguments)
    is_drawn = arguments.out is not None and not arguments.profile and can_draw()
    measure = profile if arguments.profile else scaling if arguments.scaling else compare
    with at_work_in(arguments.out):
        results, lines, filename, draw = measure(settings)
        try:
            show("\n".join(lines))
        finally:  # also if standard output is closed
            text = json.dumps(results, indent=1) + "\n"
            for path in filter(None, (arguments.json, arguments.out and arguments.out / filename)):
                write_atomically(path, lambda file: file.write(text.encode()))
            if is_drawn and draw is not None:
                draw(results, arguments.out, report.machine_line(results))
    return 0


def settings_of(arguments) -> dict:
    if arguments.text is not None and not arguments.scaling:
        raise ValueError("--text can only be used together with --scaling")
    if arguments.text is not None:
        require_long_text(arguments.text)
    if arguments.scaling and arguments.sizes:
        raise ValueError("--sizes cannot be used together with --scaling, which has its own sizes")
    if arguments.plain and (arguments.profile or arguments.scaling):
        raise ValueError(
            "--plain cannot be used together with --profile or --scaling; to measure the textbook, set "
            "MINITRANSFORMER_PLAIN=1"
        )
    own = BARE if arguments.plain else (OURS, ENGINE) if arguments.against else (OURS,)
    given = {name: getattr(arguments, name) for name in FULL if getattr(arguments, name) is not None}
    settings = {
        "engines": [*own, *dict.fromkeys(arguments.against)],
        "threads": available_cores() if arguments.threads is None else arguments.threads,
        "quick": arguments.quick,
        "text": None if arguments.text is None else str(arguments.text),
        **(QUICK if arguments.quick else FULL),
        **given,
    }
    number("--seconds", positive("--seconds", settings["seconds"]), most=A_DAY)
    if arguments.json is not None:
        require_file_path(arguments.json)
    require_engines(settings["engines"])
    return settings


def require_long_text(text: Path) -> None:
    """Raise OSError unless `text` is a file, and ValueError unless it is UTF-8 and long enough for --scaling."""
    if text.is_dir():
        raise IsADirectoryError(f"{text}: is a folder, not a file")
    if not text.is_file():
        raise FileNotFoundError(f"{text}: there is no such file")
    needed = max(series.sizes[FEWEST - 1] for series in SERIES.values() if series.reads_text)
    if text.stat().st_size < needed:
        raise ValueError(
            f"{text}: has {text.stat().st_size:,} bytes, but needs at least {needed:,} to fit the growth of the costs"
        )
    for _ in TextFiles([text]):  # raises if the file is not UTF-8
        pass
