"""`minitransformer scale`: a family of models of growing size."""

from argparse import ArgumentTypeError
from contextlib import contextmanager
from pathlib import Path

from gradcheck.front.streams import show
from minitransformer.commands.options import PROCESSES, option, out_option, seed_option, switch
from minitransformer.commands.resuming import when_interrupted
from minitransformer.system.folders import at_work_in
from minitransformer.system.narrator import Narrator
from minitransformer.system.pictures import can_draw

HELP = "train a family of models, and measure the abilities that appear as they grow"

EXAMPLES = """\
  minitransformer scale --out runs/scale                       9 sizes, 3 seeds: 10 to 20 minutes on two cores
  minitransformer scale --out runs/quick --quick               half a minute; the models learn almost nothing
  minitransformer scale --out runs/small --sizes 1000,10000,100000 --seeds 5 --steps 400
"""

NOTES = """\
The models have a thousand to two million parameters and train, with several seeds each, on a text and on five
small tasks whose test questions are not in the training data. The report contains the scores by size, jumps of
a score beyond the variation over seeds, a scaling law L = E + A/N^alpha + B/D^beta with its prediction of the
largest size, and a comparison of 1, 2, 4 and 8 layers with equal numbers of parameters.

The folder contains emergence.json, up to four pictures, and runs/ with one small file for each finished run. An
interrupted command resumes when it is given again, and ends with the same numbers.
"""

SIZES = (1_000, 2_500, 6_000, 15_000, 40_000, 100_000, 250_000, 600_000, 2_000_000)
SHAPES, SHAPE_PARAMETERS = (1, 2, 4, 8), 100_000
QUICK_SIZES, QUICK_SHAPES, QUICK_SHAPE_PARAMETERS = (1_000, 2_500, 6_000, 15_000), (1, 2), 6_000
QUICK_SEEDS, QUICK_STEPS = 2, 24
RUNS = {"minimum": 1, "maximum": 10_000}


def add_arguments(parser) -> None:
    out_option(parser, "runs/scale", "folder of the runs, which are resumed")
    words = f"numbers of parameters; shapes are then not compared (default: {','.join(map(str, SIZES))})"
    option(parser, "--sizes", words, metavar="N,N,…", type=sizes_of)
    option(parser, "--seeds", "runs of each model (default: 3; --quick: 2)", metavar="N", limits=RUNS)
    option(parser, "--steps", "steps of each run (default: 600; --quick: 24)", metavar="N", type=int)
    option(parser, "--workers", "number of processes (default: one per core)", metavar="N", limits=PROCESSES)
    switch(parser, "--quick", "use few small sizes, seeds and steps")
    seed_option(parser, "the first run")


def sizes_of(text: str) -> list[int]:
    try:
        return [int(size) for size in text.split(",")]
    except ValueError:
        raise ArgumentTypeError(f"must be integers separated by commas, not {text!r}") from None


def run(arguments) -> int:
    from minitransformer.experiments.emergence import analyze_emergent_capabilities, draw_emergence
    from minitransformer.experiments.emergence.analysis import SEEDS, STEPS
    from minitransformer.experiments.emergence.family import of_size

    drawn = can_draw()
    quick = arguments.quick
    layers, parameters = (QUICK_SHAPES, QUICK_SHAPE_PARAMETERS) if quick else (SHAPES, SHAPE_PARAMETERS)
    sizes = arguments.sizes or (QUICK_SIZES if quick else SIZES)
    shapes = [] if arguments.sizes else [of_size(parameters, n_layers) for n_layers in layers]
    seeds = arguments.seeds or (QUICK_SEEDS if quick else len(SEEDS))
    steps = (QUICK_STEPS if quick else STEPS) if arguments.steps is None else arguments.steps
    runs = len({*map(of_size, sizes), *shapes}) * seeds  # a shape may be one of the sizes
    with at_work_in(arguments.out):
        with reporting(runs, arguments.out) as progress:
            report = analyze_emergent_capabilities(
                sizes,
                shapes=shapes,
                seeds=range(arguments.seed, arguments.seed + seeds),
                steps=steps,
                workers=arguments.workers,
                out=arguments.out,
                progress=progress,
            )
        pictures = draw_emergence(report, arguments.out) if drawn else []
    show(report)
    if pictures:
        show(f"\nPictures: {', '.join(map(str, pictures))}")
    return 1 if report.failures else 0


@contextmanager
def reporting(total: int, out: Path):
    """Return a context manager for progress(plan, outcome), which updates a bar and reports failures and retries."""
    narrator, ended = Narrator(), []
    with narrator.progress("the largest models first", "runs", total=total, even=False) as move:

        def progress(plan, outcome):
            if outcome in ("failed", "retried"):
                said = "failed" if outcome == "failed" else "its worker was lost; it is run again"
                narrator.say(f"{plan.name}: {said}")
            if outcome != "retried":
                ended.append(outcome)
                move(len(ended), total, plan.name)

        def kept():
            done = len(ended) - ended.count("failed")
            return f": {done} of {total} runs are in {out}; the same command resumes from there"

        with when_interrupted(kept):
            yield progress
