"""`minitransformer bench`: the speed and memory of training and decoding. bench/README.md describes the method."""

from pathlib import Path

from gradcheck.front.streams import show
from minitransformer.bench import report
from minitransformer.bench.pictures import draw_ratios
from minitransformer.bench.sizes import SIZES
from minitransformer.bench.worker import ABOUT, BARE, ENGINE, FRAMEWORKS, JAX, OURS
from minitransformer.commands.options import PROCESSES, option, switch
from minitransformer.system.cores import available_cores
from minitransformer.system.extras import require
from minitransformer.system.files import require_file_path, write_atomically, write_json
from minitransformer.system.folders import at_work_in
from minitransformer.system.pictures import can_draw
from minitransformer.system.validation import positive

HELP = "measure speed and memory, and compare them with PyTorch, JAX and the limits of the machine"

EXAMPLES = """\
  minitransformer bench                                 all sizes, without PyTorch
  minitransformer bench --against torch --out bench     comparison with PyTorch and a picture, in half an hour
  minitransformer bench --quick --against torch         rough numbers in a minute
  minitransformer bench --plain --against torch         comparison of the textbook, its engine and PyTorch
"""

NOTES = f"""\
A training step consists of forward, loss, backward, clipping and AdamW. Each engine runs in a separate process. The
engines take turns, ratios are from pairs of turns, and intervals are over rounds of new processes. Close other
programs, because they disturb the measurement. minitransformer/bench/README.md describes the method.

sizes:
{chr(10).join(f"  {name:<15} {size.batch} x {size.length} tokens per step" for name, size in SIZES.items())}

engines of the extra "parity":
{chr(10).join(f"  {name:<15} {about}" for name, about in ABOUT.items() if name in FRAMEWORKS)}
"""

FULL = {"rounds": 5, "seconds": 2.0, "sizes": tuple(SIZES)}
QUICK = {"rounds": 2, "seconds": 0.3, "sizes": ("tiny", "nano")}


def add_arguments(parser) -> None:
    words = f"engines to compare with: {', '.join(FRAMEWORKS)}"
    parser.add_argument("--against", nargs="+", choices=FRAMEWORKS, default=[], metavar="ENGINE", help=words)
    switch(parser, "--plain", "compare the textbook with the engine, without replicas of the model")
    words = f"sizes to measure: {', '.join(SIZES)} (default: all)"
    parser.add_argument("--sizes", nargs="+", choices=SIZES, metavar="SIZE", help=words)
    option(parser, "--threads", "threads of every engine (default: one per core)", metavar="N", limits=PROCESSES)
    words = f"number of rounds of new processes (default: {FULL['rounds']})"
    option(parser, "--rounds", words, metavar="N", limits={"minimum": 1, "maximum": 10_000})
    words = f"seconds of training steps in each turn (default: {FULL['seconds']:g})"
    option(parser, "--seconds", words, metavar="S", type=float)
    switch(parser, "--quick", "measure only tiny and nano, roughly, in a minute")
    option(parser, "--json", "file for the results as JSON", metavar="FILE", type=Path)
    words = "folder for the results as JSON, the table in Markdown and the picture"
    option(parser, "--out", words, metavar="FOLDER", type=Path)


def run(arguments) -> int:
    settings = settings_of(arguments)
    is_drawn = arguments.out is not None and len(settings["engines"]) > 1 and can_draw()
    with at_work_in(arguments.out):
        results = report.compare(settings)
        try:
            show("\n".join([report.machine_line(results), "", *report.comparison_lines(results)]))
        finally:  # also if standard output is closed
            for path in filter(None, (arguments.json, arguments.out and arguments.out / "bench.json")):
                write_json(path, results)
            if arguments.out is not None:
                page = "\n".join(report.comparison_markdown(results)) + "\n"
                write_atomically(arguments.out / "bench.md", lambda file: file.write(page.encode()))
            if is_drawn:
                draw_ratios(results, arguments.out, report.machine_line(results))
    return 0


def settings_of(arguments) -> dict:
    for name in arguments.against:
        require("jax" if name == JAX else "torch", extra="parity", load=False)  # another process loads it
    if arguments.seconds is not None:
        positive("--seconds", arguments.seconds)
    if arguments.json is not None:
        require_file_path(arguments.json)
    own = BARE if arguments.plain else (OURS, ENGINE) if arguments.against else (OURS,)
    given = {name: getattr(arguments, name) for name in FULL if getattr(arguments, name) is not None}
    return {
        "engines": [*own, *dict.fromkeys(arguments.against)],
        "threads": available_cores() if arguments.threads is None else arguments.threads,
        "quick": arguments.quick,
        **(QUICK if arguments.quick else FULL),
        **given,
    }
