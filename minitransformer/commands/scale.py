"""`minitransformer scale`: a family of models, and what comes with size."""

from contextlib import contextmanager
from pathlib import Path

from minitransformer.cores import MOST_PROCESSES
from minitransformer.folders import at_work_in
from minitransformer.pictures import can_draw
from minitransformer.system.extras import require
from minitransformer.system.narrator import Narrator
from minitransformer.system.terminal import show
from minitransformer.values import whole

HELP = "train a family of models: what comes with size, and does it come suddenly?"

DESCRIPTION = """\
Train a family of models, from a thousand parameters to two million, several seeds each, on a text and on five
little tasks whose test questions they never trained on: copying, reversing, going on with what repeats
(induction), adding modulo 17, and closing brackets. Then say

  what comes with size      the fraction answered exactly and, because a leap of that can be the metric's own
                            doing, the log-likelihood of an answer token
  whether it jumps          more than doubles from a tenth of the size, beyond what the seeds explain
  how the loss falls        L = E + A/N^alpha + B/D^beta, with intervals, the largest size predicted from the
                            smaller ones, and the best size and amount of text for a budget
  deeper or wider?          1, 2, 4 and 8 layers with as many parameters

The folder then holds emergence.json, up to four pictures, and runs/, with one small file for each finished run. Ctrl-C,
or anything else, stops it at any time: the same command goes on from there, to the same numbers.
"""

EPILOG = """\
examples:
  minitransformer scale --out runs/scale                       9 sizes, 3 seeds: 10 to 20 minutes on two cores
  minitransformer scale --out runs/quick --quick               half a minute: all works, next to nothing is learned
  minitransformer scale --out runs/small --sizes 1000,10000,100000 --seeds 5 --steps 400

on several machines, with pip install "minitransformer[cluster]" on each:
  dask scheduler                                               on one
  dask worker HOST:8786 --nworkers 2 --nthreads 1              on each, as many as it has cores
  minitransformer scale --out runs/scale --dask tcp://HOST:8786

What it does not show: sizes are compared at the same number of steps and at a learning rate that falls with the width;
another recipe moves the jumps. Three seeds make narrow intervals. A law is a description of what was measured.
"""

SIZES = (1_000, 2_500, 6_000, 15_000, 40_000, 100_000, 250_000, 600_000, 2_000_000)
SHAPES, SHAPE_PARAMETERS = (1, 2, 4, 8), 100_000
QUICK_SIZES, QUICK_SHAPES, QUICK_SHAPE_PARAMETERS = (1_000, 2_500, 6_000, 15_000), (1, 2), 6_000
QUICK_SEEDS, QUICK_STEPS = 2, 24
DASK_PATIENCE = 10  # seconds to wait for a scheduler
MOST_SEEDS = 10_000  # nobody waits for more


def add_arguments(parser) -> None:
    """Add the options."""
    parser.description, parser.epilog = DESCRIPTION, EPILOG
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("runs/scale"),
        metavar="FOLDER",
        help="where to write, and to go on (default: runs/scale)",
    )
    parser.add_argument(
        "--sizes",
        type=sizes_of,
        metavar="N,N,…",
        help=f"about how many parameters (default: {','.join(map(str, SIZES))}); without the comparison of shapes",
    )
    parser.add_argument("--seeds", type=int, metavar="N", help="runs of each model (default: 3; --quick: 2)")
    parser.add_argument("--steps", type=int, metavar="N", help="steps of each run (default: 600; --quick: 24)")
    parser.add_argument("--workers", type=int, metavar="N", help="processes (default: one for each core)")
    parser.add_argument("--dask", metavar="ADDRESS", help="train on the workers of this Dask scheduler instead")
    parser.add_argument("--quick", action="store_true", help="few small sizes, seeds and steps")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="the first seed (default: 0)")


def sizes_of(text: str) -> list[int]:
    """Return the sizes of an option, "1000,10000"."""
    import argparse

    try:
        return [int(size) for size in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"sizes are integers with commas between them, not {text!r}") from None


def run(arguments) -> int:
    """Train what is not there yet, and report."""
    from minitransformer.experiments.emergence import analyze_emergent_capabilities, draw_emergence
    from minitransformer.experiments.emergence.analysis import unique

    check_options(arguments)
    drawn = can_draw()
    sizes, shapes, seeds, steps = chosen_family(arguments)
    runs = len(unique([*sizes, *shapes])) * seeds  # a shape may be one of the sizes
    with at_work_in(arguments.out):
        with executor_of(arguments.dask) as executor, reporting(runs, arguments.out) as progress:
            report = analyze_emergent_capabilities(
                sizes,
                shapes=shapes,
                seeds=range(arguments.seed, arguments.seed + seeds),
                steps=steps,
                executor=executor,
                workers=arguments.workers,
                out=arguments.out,
                progress=progress,
            )
        pictures = draw_emergence(report, arguments.out) if drawn else []
    show(report)
    if pictures:
        show(f"\nPictures: {', '.join(map(str, pictures))}")
    return 1 if report.failures else 0


def check_options(arguments) -> None:
    """Raise ValueError for an option out of range."""
    for name, most in (("seeds", MOST_SEEDS), ("workers", MOST_PROCESSES)):
        if getattr(arguments, name) is not None:
            whole(f"--{name}", getattr(arguments, name), least=1, most=most)
    whole("--seed", arguments.seed, least=0)
    if arguments.dask and arguments.workers:
        raise ValueError("--workers is for processes on this machine; with --dask, the cluster has its own")


def chosen_family(arguments) -> tuple:
    """Return the sizes and the shapes, as Configs, how many seeds, and the steps that the options ask for."""
    from minitransformer.experiments.emergence.analysis import SEEDS, STEPS
    from minitransformer.experiments.emergence.family import configuration, of_size

    quick = arguments.quick
    layers, parameters = (QUICK_SHAPES, QUICK_SHAPE_PARAMETERS) if quick else (SHAPES, SHAPE_PARAMETERS)
    sizes = [configuration(size) for size in arguments.sizes or (QUICK_SIZES if quick else SIZES)]
    shapes = [] if arguments.sizes else [of_size(parameters, n_layers) for n_layers in layers]
    seeds = arguments.seeds or (QUICK_SEEDS if quick else len(SEEDS))
    steps = (QUICK_STEPS if quick else STEPS) if arguments.steps is None else arguments.steps
    return sizes, shapes, seeds, steps


@contextmanager
def executor_of(address: str | None):
    """Yield the executor of a Dask cluster, or None for processes on this machine.

    Raises MissingExtra without dask.distributed, OSError where no scheduler answers.
    """
    if address is None:
        yield None
        return
    require("distributed", otherwise="go without --dask", extra="cluster")
    from distributed import Client

    try:
        client = Client(address, timeout=DASK_PATIENCE, set_as_default=False)
    except (OSError, ValueError) as error:
        raise OSError(f"--dask {address}: no scheduler answers there ({error})") from None
    with client:
        yield client.get_executor()


@contextmanager
def reporting(total: int, out: Path):
    """Yield a function progress(plan, outcome) that moves a bar, and writes a line for a run that fails or is retried.

    Ctrl-C says how many runs are kept. There is no time left to be told: the largest models come first.
    """
    narrator, ended = Narrator(), []
    with narrator.progress("the largest models first", "runs", total=total, even=False) as move:

        def progress(plan, outcome):
            if outcome in ("failed", "retried"):
                said = "failed" if outcome == "failed" else "lost its worker, and is tried again"
                narrator.say(f"{plan.name}: {said}")
            if outcome != "retried":
                ended.append(outcome)
                move(len(ended), total, plan.name)

        try:
            yield progress
        except KeyboardInterrupt:
            kept = f"{len(ended) - ended.count('failed')} of {total} runs are in {out}"
            raise KeyboardInterrupt(f"interrupted: {kept}; the same command goes on from there") from None
