"""`minitransformer bench`: the speed and memory of training and decoding. bench/README.md describes the method."""

from pathlib import Path

from gradcheck.front.streams import show
from minitransformer.bench import report
from minitransformer.bench.pictures import draw_ratios
from minitransformer.bench.recipes import HEADER, Entrant, Race, is_in_torch, page_of, rows_of
from minitransformer.bench.sizes import SIZES
from minitransformer.bench.worker import ABOUT, BARE, ENGINE, FRAMEWORKS, JAX, OURS, TORCH
from minitransformer.commands.options import PROCESSES, option, refuse_without, several, switch
from minitransformer.system.cores import available_cores
from minitransformer.system.extras import require
from minitransformer.system.files import require_file_path, write_atomically, write_json
from minitransformer.system.folders import at_work_in
from minitransformer.system.narrator import Narrator
from minitransformer.system.pictures import can_draw
from minitransformer.system.validation import positive
from minitransformer.text import DEFAULT_CORPUS
from minitransformer.training.recipes import RECIPES
from minitransformer.training.settings import Settings

HELP = "measure speed and memory, and compare them with PyTorch, JAX and the limits of the machine"

EXAMPLES = """\
  minitransformer bench                                 all sizes, without PyTorch
  minitransformer bench --against torch --out bench     comparison with PyTorch and a picture, in half an hour
  minitransformer bench --quick --against torch         rough numbers in a minute
  minitransformer bench --plain --against torch         comparison of the textbook, its engine and PyTorch
  minitransformer bench --to-loss 1.90 --text tinyshakespeare.txt --against torch    the time of recipes to a loss
  minitransformer bench --recipes adamw qk-norm --equal-time --steps 1000            their loss after an equal time
"""

NOTES = f"""\
A training step consists of forward, loss, backward, clipping and AdamW. Each engine runs in a separate process. The
engines take turns, ratios are from pairs of turns, and intervals are over rounds of new processes. Close other
programs, because they disturb the measurement. minitransformer/bench/README.md describes the method.

sizes:
{chr(10).join(f"  {name:<15} {size.batch} x {size.length} tokens per step" for name, size in SIZES.items())}

recipes, which have nanoGPT's model for a CPU unless they say otherwise:
{chr(10).join(f"  {name:<15} {recipe.about}" for name, recipe in RECIPES.items())}

engines of the extra "parity":
{chr(10).join(f"  {name:<15} {about}" for name, about in ABOUT.items() if name in FRAMEWORKS)}
"""

FULL = {"rounds": 5, "seconds": 2.0, "sizes": tuple(SIZES)}
TO_LOSS = ("nanogpt", "adamw", "muon", "fast")
SEEDS = 5
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
    recipes = parser.add_argument_group("recipes of training, instead of speed")
    words = "measure the time to this validation loss"
    option(recipes, "--to-loss", words, metavar="X", type=float)
    words = "recipes to compare, with their loss after equal steps unless --to-loss is given"
    recipes.add_argument("--recipes", nargs="+", choices=RECIPES, metavar="NAME", help=words)
    switch(recipes, "--equal-time", "compare after an equal time, that of the first recipe's steps")
    words = f"steps of a run; with --to-loss, at most (default: {Settings.steps})"
    option(recipes, "--steps", words, metavar="N", limits={"minimum": 1})
    words = f"runs of each recipe, with seeds from 0 (default: {SEEDS})"
    option(recipes, "--seeds", words, metavar="N", limits={"minimum": 1})
    words = f"UTF-8 files to train on, by characters; the last tenth is held out (default: {DEFAULT_CORPUS})"
    several(recipes, "--text", words, "FILE")
    option(parser, "--json", "file for the results as JSON", metavar="FILE", type=Path)
    words = "folder for the results as JSON, the table in Markdown and the picture; a race of recipes resumes from it"
    option(parser, "--out", words, metavar="FOLDER", type=Path)


def run(arguments) -> int:
    of_recipes = {name: getattr(arguments, name) for name in ("equal_time", "steps", "seeds", "text")}
    of_speed = {name: getattr(arguments, name) for name in ("plain", "sizes", "rounds", "seconds", "quick", "json")}
    if arguments.to_loss is not None or arguments.recipes is not None:
        refuse_without(False, "training steps, without --to-loss and --recipes", **of_speed)
        return run_recipes(arguments)
    refuse_without(False, "--to-loss or --recipes", **of_recipes)
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


def run_recipes(arguments) -> int:
    refuse_without(arguments.to_loss is None, "--recipes alone, not with --to-loss", equal_time=arguments.equal_time)
    if set(arguments.against) - {TORCH}:
        raise ValueError(f"--against must be {TORCH} for recipes, not {' '.join(arguments.against)}")
    if arguments.to_loss is not None:
        positive("--to-loss", arguments.to_loss)
    require_engines(arguments)
    say = Narrator().say
    recipes = list(dict.fromkeys(arguments.recipes or TO_LOSS))
    entrants = [Entrant(name, TORCH) for name in recipes if arguments.against and is_in_torch(name, say)]
    entrants += map(Entrant, recipes)
    steps, seeds = arguments.steps or Settings.steps, arguments.seeds or SEEDS
    with at_work_in(arguments.out):
        race = Race(arguments.text, threads=threads_of(arguments), folder=arguments.out, say=say)
        paces = race.paces(entrants)
        if arguments.to_loss is not None:
            found = race.to_loss(entrants, arguments.to_loss, steps, seeds)
        else:
            found = (race.equal_time if arguments.equal_time else race.equal_steps)(entrants, steps, seeds)
        show("\n".join(report.ruled(HEADER, rows_of(found, paces))))
        if arguments.out is not None:
            write_atomically(arguments.out / "recipes.md", lambda file: file.write(page_of(found, paces).encode()))
    return 0


def settings_of(arguments) -> dict:
    require_engines(arguments)
    if arguments.seconds is not None:
        positive("--seconds", arguments.seconds)
    if arguments.json is not None:
        require_file_path(arguments.json)
    own = BARE if arguments.plain else (OURS, ENGINE) if arguments.against else (OURS,)
    given = {name: getattr(arguments, name) for name in FULL if getattr(arguments, name) is not None}
    return {
        "engines": [*own, *dict.fromkeys(arguments.against)],
        "threads": threads_of(arguments),
        "quick": arguments.quick,
        **(QUICK if arguments.quick else FULL),
        **given,
    }


def require_engines(arguments) -> None:
    for name in arguments.against:
        require("jax" if name == JAX else TORCH, extra="parity", load=False)  # another process loads it


def threads_of(arguments) -> int:
    return available_cores() if arguments.threads is None else arguments.threads
