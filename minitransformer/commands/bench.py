"""`minitransformer bench`: how fast training and decoding are, beside PyTorch and beside what the machine can do.

What is measured, and how, is in bench/: begin with the docstring of bench/__init__.py.
"""

import json
import platform
from dataclasses import asdict
from functools import partial
from pathlib import Path

from minitransformer.bench import pictures, report
from minitransformer.bench.beside import measure_beside, summarized
from minitransformer.bench.growth import FEWEST, fit_exponent
from minitransformer.bench.process import EngineProcess, require_engines
from minitransformer.bench.results import collect, summed_load
from minitransformer.bench.rounds import measure_size
from minitransformer.bench.scaling import SERIES, verdict
from minitransformer.bench.sizes import SIZES
from minitransformer.bench.worker import ABOUT, BARE, ENGINE, OURS, TORCH
from minitransformer.cores import MOST_PROCESSES, available_cores
from minitransformer.files import require_file_path, write_atomically
from minitransformer.folders import at_work_in
from minitransformer.pictures import can_draw
from minitransformer.system.narrator import Narrator
from minitransformer.system.terminal import show
from minitransformer.text import TextFiles
from minitransformer.values import number, positive, whole

HELP = "measure speed and memory, beside PyTorch and beside what the machine can do"

DESCRIPTION = f"""\
Measure training steps (forward, loss, backward, clipping, AdamW) and decoding at named sizes: time, memory,
the share spent in matrix products, and how near that comes to what the machine can do. Each engine runs in a process of
its own, in turns; ratios are taken in pairs of turns, over rounds of new processes.

sizes: {", ".join(f"{name} ({size.batch} x {size.length} tokens)" for name, size in SIZES.items())}
"""

EPILOG = f"""\
examples:
  minitransformer bench                                 all sizes, this package alone
  minitransformer bench --against torch --out bench     beside PyTorch, with a picture; about half an hour
  minitransformer bench --quick --against torch         a minute: shows that all works, and rough numbers
  minitransformer bench --plain --against torch         what plain formulas cost: textbook, engine and PyTorch
  minitransformer bench --sizes baby --profile          where the time of a step goes, file by file
  minitransformer bench --beside 1,2,4 --against torch  what becomes of it beside busy processes
  minitransformer bench --scaling --out bench           how time and memory grow with T, batch, width, depth and text

engines to compare with, of the extra "parity":
{chr(10).join(f"  {name:<15} {about}" for name, about in ABOUT.items() if name in TORCH)}

Measure on a machine that does nothing else. If it does, the last lines say so.
"""

FULL = {"rounds": 5, "seconds": 2.0}
QUICK = {"rounds": 2, "seconds": 0.3, "sizes": ("tiny", "nano")}
A_DAY, MOST_ROUNDS = 86_400, 10_000  # nobody waits longer
RESULTS_FILE, SCALING_FILE, PROFILE_FILE, BESIDE_FILE = "bench.json", "scaling.json", "profile.json", "beside.json"
MOST_BUSY = 256  # processes


def add_arguments(parser) -> None:
    """Add the options."""
    parser.description, parser.epilog = DESCRIPTION, EPILOG
    measurement = parser.add_mutually_exclusive_group()
    measurement.add_argument(
        "--against", nargs="+", choices=TORCH, default=[], metavar="ENGINE", help="torch, torch-fused …"
    )
    measurement.add_argument(
        "--profile", action="store_true", help="where the time of a training step goes, file by file"
    )
    measurement.add_argument(
        "--scaling", action="store_true", help="how cost grows, with the exponents that theory expects"
    )
    parser.add_argument("--beside", metavar="N,N…", help="how much slower beside so many busy processes: 1,2,4")
    parser.add_argument(
        "--plain", action="store_true", help="the textbook beside the engine, without replicas of the model"
    )
    parser.add_argument(
        "--sizes", nargs="+", choices=SIZES, metavar="SIZE", help=f"of {', '.join(SIZES)} (default: all)"
    )
    parser.add_argument("--threads", type=int, metavar="N", help="of every engine (default: the cores there are)")
    parser.add_argument("--rounds", type=int, metavar="N", help=f"of new processes (default: {FULL['rounds']})")
    parser.add_argument(
        "--seconds", type=float, metavar="S", help=f"of steps in each turn (default: {FULL['seconds']:g})"
    )
    parser.add_argument("--quick", action="store_true", help="rough numbers in a minute: tiny and nano, short turns")
    parser.add_argument("--text", type=Path, metavar="FILE", help="for --scaling of the tokenizer (default: as demo)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there as well")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="write results and picture into this folder")


def run(arguments) -> int:
    """Measure, print, and write what was asked for."""
    settings = settle(arguments)
    drawn = arguments.out is not None and not arguments.profile and arguments.beside is None and can_draw()
    measure = profile if arguments.profile else scaling if arguments.scaling else compare
    measure = beside if arguments.beside is not None else measure
    with at_work_in(arguments.out):
        results, lines, filename, draw = measure(settings)
        try:
            show("\n".join(lines))
        finally:  # also when nobody reads what is printed
            text = json.dumps(results, indent=1) + "\n"
            for path in filter(None, (arguments.json, arguments.out and arguments.out / filename)):
                write_atomically(path, lambda file: file.write(text.encode()))
            if drawn and draw is not None:
                draw(results, arguments.out, report.machine_line(results))
    return 0


def settle(arguments) -> dict:
    """Return what to measure, with the defaults filled in. Raises ValueError for what cannot be."""
    if arguments.text is not None and not arguments.scaling:
        raise ValueError("--text is for --scaling: the other measurements need no text")
    if arguments.text is not None:
        require_long_text(arguments.text)
    if arguments.scaling and arguments.sizes:
        raise ValueError("--sizes is not for --scaling, which has sizes of its own")
    if arguments.plain and (arguments.profile or arguments.scaling):
        raise ValueError("--plain is not for --profile and --scaling: for the textbook's, set MINITRANSFORMER_PLAIN=1")
    if arguments.beside is not None and (arguments.profile or arguments.scaling or arguments.plain):
        raise ValueError("--beside is not for --profile, --scaling and --plain: it measures steps and tokens")
    defaults = FULL | (QUICK if arguments.quick else {})
    own = BARE if arguments.plain else (OURS, ENGINE) if arguments.against or arguments.beside else (OURS,)
    settings = {
        "engines": [*own, *dict.fromkeys(arguments.against)],
        "sizes": arguments.sizes or list(defaults.get("sizes", SIZES)),
        "threads": available_cores() if arguments.threads is None else arguments.threads,
        "rounds": defaults["rounds"] if arguments.rounds is None else arguments.rounds,
        "seconds": defaults["seconds"] if arguments.seconds is None else arguments.seconds,
        "quick": arguments.quick,
        "beside": [] if arguments.beside is None else busy_counts(arguments.beside),
        "text": None if arguments.text is None else str(arguments.text),
    }
    for name, most in (("threads", MOST_PROCESSES), ("rounds", MOST_ROUNDS)):
        whole(f"--{name}", settings[name], least=1, most=most)
    number("--seconds", positive("--seconds", settings["seconds"]), most=A_DAY)
    if arguments.json is not None:
        require_file_path(arguments.json)
    require_engines(settings["engines"])
    return settings


def busy_counts(text: str) -> list[int]:
    """Return the numbers of busy processes that --beside gives. Raises ValueError for what are none."""
    try:
        counts = [int(count) for count in text.split(",")]
    except ValueError:
        raise ValueError(f"--beside must be numbers with commas between them, such as 1,2,4, not {text!r}") from None
    return list(dict.fromkeys(whole("--beside", count, least=1, most=MOST_BUSY) for count in counts))


def require_long_text(text: Path) -> None:
    """Raise OSError unless there is such a file, ValueError if it is no text, or too short to see a cost grow."""
    if text.is_dir():
        raise IsADirectoryError(f"{text}: is a folder, not a file")
    if not text.is_file():
        raise FileNotFoundError(f"{text}: there is no such file")
    needed = max(series.sizes[FEWEST - 1] for series in SERIES.values() if series.reads_text)
    if text.stat().st_size < needed:
        raise ValueError(f"{text}: has {text.stat().st_size:,} bytes, and a cost is seen to grow from {needed:,} on")
    for _ in TextFiles([text]):  # which says so now if it is not UTF-8, and not when the other series are measured
        pass


def compare(settings: dict):
    """Measure the engines at the sizes. Returns (results, lines, name of the file, function that draws)."""
    sizes = {name: SIZES[name] for name in settings["sizes"]}
    options = {key: settings[key] for key in ("engines", "threads", "rounds", "seconds")}
    raw = {}
    for name, size in sizes.items():
        raw[name] = measure_size(size, **options, progress=partial(say, name))
        say(name, report.summary(collect({name: raw[name]}, sizes)["sizes"][name]))  # in case the next one fails
    results = machine(settings) | collect(raw, sizes)
    lines = [
        report.machine_line(results),
        "",
        *report.training_lines(results),
        "",
        *report.decoding_lines(results),
        "",
        *report.load_lines(results["load"]),
    ]
    return results, lines, RESULTS_FILE, pictures.draw_ratios if len(settings["engines"]) > 1 else None


def profile(settings: dict):
    """Measure where the time of a step goes at each size."""
    results = machine(settings) | {"profiles": {}, "versions": {}}
    lines = []
    for name in settings["sizes"]:
        say(name, "profile")
        with EngineProcess(OURS, settings["threads"]) as engine:
            results["versions"] |= engine.ask("prepare", size=SIZES[name].to_dict())["versions"]
            results["profiles"][name] = engine.ask("profile", seconds=settings["seconds"])
        lines += [*report.profile_lines(name, results["profiles"][name]), ""]
    load = summed_load([measured["load"] for measured in results["profiles"].values()])
    lines = [report.machine_line(results), "", *lines, *report.load_lines(load)]
    return results | {"load": load}, lines, PROFILE_FILE, None


def beside(settings: dict):
    """Measure how much slower work becomes beside busy processes."""
    options = {key: settings[key] for key in ("threads", "rounds", "seconds")}
    results = machine(settings) | {"cores": available_cores(), "sizes": {}, "versions": {}}
    loads = []
    for name in settings["sizes"]:
        raw = measure_beside(
            SIZES[name], settings["engines"], settings["beside"], **options, progress=partial(say, name)
        )
        results["versions"] |= raw["versions"]
        loads += raw["loads"]
        results["sizes"][name] = {
            engine: {question: summarized(turns, results["cores"]) for question, turns in by_question.items()}
            for engine, by_question in raw["turns"].items()
        }
    load = summed_load(loads)
    lines = [report.machine_line(results), "", *report.beside_lines(results), "", *report.load_lines(load)]
    return results | {"load": load}, lines, BESIDE_FILE, None


def scaling(settings: dict):
    """Measure how costs grow."""
    results = machine(settings) | {"series": {}, "versions": {}}
    loads = []
    for name, series in SERIES.items():
        say("scaling", f"{series.title} against {series.variable}")
        with EngineProcess(OURS, settings["threads"]) as engine:
            answer = engine.ask("growth", name=name, quick=settings["quick"], text=settings["text"])
        fit = fit_exponent(answer["points"])
        results["series"][name] = {
            "points": answer["points"],
            "fit": asdict(fit),
            "expected": [series.low, series.high],
            "verdict": verdict(series, fit),
        }
        results["versions"] |= answer["versions"]
        loads.append(answer["load"])
    load = summed_load(loads)
    lines = [report.machine_line(results), "", *report.scaling_lines(results), "", *report.load_lines(load)]
    return results | {"load": load}, lines, SCALING_FILE, pictures.draw_scaling


def machine(settings: dict) -> dict:
    """Return what was asked for, and of which machine."""
    return settings | {"processor": processor(), "system": platform.platform(), "python": platform.python_version()}


def processor() -> str:
    """Return the processor's name, as far as the system tells it."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            names = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()


def say(subject: str, words: str) -> None:
    """Say how far it is, on standard error."""
    Narrator().say(f"{subject}: {words}")
