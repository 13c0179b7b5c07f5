"""`minitransformer misconceptions`: what people believe about language models, and what comes out when it is tried."""

import contextlib
import json
import sys
from pathlib import Path

from minitransformer.cores import MOST_PROCESSES
from minitransformer.experiments.misconceptions.report import OUTCOMES_FILE, Result, introduction
from minitransformer.files import write_atomically
from minitransformer.folders import at_work_in
from minitransformer.pictures import can_draw, new_figure, save
from minitransformer.system.narrator import Narrator
from minitransformer.system.tables import table
from minitransformer.system.terminal import show, show_to_the_letter, whole_number
from minitransformer.values import dictionary, one_of, whole

HELP = "beliefs about language models, each tested in two minutes: predict, then see"

DESCRIPTION = """\
What people believe about language models, each belief as an experiment of two minutes on models that are trained for
it. Without a name: the list of them. With one, you are told what is measured, and asked what you expect; then it is
measured, with several seeds, drawn, and set beside what you said. The folder then holds

  index.html       a page of all that was measured there: text, pictures, what came out, and what that does not show
  NAME.png         the picture of each
  outcomes.json    the numbers with their intervals
  measured/        what was measured with each seed

A run that was stopped, by Ctrl-C or worse, goes on when the same command is given again.
"""

EPILOG = """\
examples:
  minitransformer misconceptions
  minitransformer misconceptions weight-decay
  minitransformer misconceptions weight-decay --predict 2 --seeds 10
  minitransformer misconceptions --all --out misconceptions          ten minutes on two cores
  minitransformer misconceptions leaps --from runs/scale             what a finished run says, in a second

Exit status 0 whatever comes out: an experiment that does not show its claim says so.
"""

MOST_SEEDS = 1000  # nobody waits for more


def add_arguments(parser) -> None:
    """Add the options."""
    parser.description, parser.epilog = DESCRIPTION, EPILOG
    parser.add_argument("name", nargs="?", metavar="NAME", help="of an experiment; without it, they are listed")
    parser.add_argument("--all", action="store_true", help="one after another")
    parser.add_argument(
        "--predict", type=whole_number(1, "--predict"), metavar="N", help="the outcome that you expect, without asking"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("misconceptions"), metavar="FOLDER", help="(default: misconceptions)"
    )
    parser.add_argument(
        "--from", dest="folder", type=Path, metavar="FOLDER", help="of a finished scale or train, in place of training"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="the first seed (default: 0)")
    parser.add_argument("--seeds", type=int, metavar="N", help="how many (default: what each experiment asks for)")
    parser.add_argument("--workers", type=int, metavar="N", help="processes (default: one for each core)")
    parser.add_argument("--quiet", action="store_true", help="ask nothing and print the path of the page alone")


def run(arguments) -> int:
    """List, or ask, measure, draw and report."""
    from minitransformer.experiments.misconceptions import NAMES, experiment, experiments

    check_options(arguments)
    if arguments.name is None and not arguments.all:
        show("\n".join(listed(experiments())))
        return 0
    chosen = experiments() if arguments.all else [experiment(one_of("experiment", arguments.name, known=NAMES))]
    check_choice(arguments, chosen)
    drawn = can_draw()
    narrator = Narrator(arguments.quiet)
    with at_work_in(arguments.out):
        results = kept_results(arguments.out, experiments())
        predicted = {one.name: prediction(one, arguments, narrator) for one in chosen}
        measured, seeds = measure(arguments, chosen, narrator)
        for one in chosen:
            results[one.name] = Result(one, one.intervals(measured[one.name]), seeds[one.name], predicted[one.name])
            if drawn:
                draw(one, measured[one.name], arguments.out)
            else:
                (arguments.out / picture_of(one)).unlink(missing_ok=True)  # of a run before
        page = write(arguments.out, results)
    if not arguments.quiet:
        show("\n\n".join(str(results[one.name]) for one in chosen) + "\n")
    narrator.say("open in a browser:")
    show_to_the_letter(page)
    return 0


def check_options(arguments) -> None:
    """Raise ValueError for options that are out of range, or do not go together."""
    whole("--seed", arguments.seed, least=0)
    for name, least, most in (("seeds", 2, MOST_SEEDS), ("workers", 1, MOST_PROCESSES)):
        if getattr(arguments, name) is not None:
            whole(f"--{name}", getattr(arguments, name), least=least, most=most)
    if arguments.all and arguments.name is not None:
        raise ValueError(f"--all and {arguments.name} are two things: give one of them")
    for name, given in (("--predict", arguments.predict), ("--from", arguments.folder)):
        if given is not None and arguments.name is None:
            raise ValueError(f"{name} is for one experiment: give its name")
    if arguments.folder is not None and arguments.seeds is not None:
        raise ValueError("--seeds is for models that are trained; with --from, they are there already")


def check_choice(arguments, chosen) -> None:
    """Raise ValueError for an option that the chosen experiment does not have."""
    if arguments.predict is not None:
        whole("--predict", arguments.predict, most=len(chosen[0].outcomes))
    if arguments.folder is not None and chosen[0].read is None:
        raise ValueError(f"--from: {arguments.name} trains models of its own, and reads no others")


def listed(every) -> list[str]:
    """Return the lines of a table of experiments."""
    rows = [("name", "the belief", "about")]
    rows += [(one.name, one.belief, f"{one.seconds} s") for one in every]
    return [*table(rows, "<<>", indent=0), "", "minitransformer misconceptions NAME tests one, --all all of them."]


def prediction(experiment, arguments, narrator) -> int | None:
    """Say what is measured, and return the outcome that the reader expects, from 0; None where nobody says."""
    narrator.say(f"{introduction(experiment)}\n")
    if arguments.predict is not None:
        return arguments.predict - 1
    if arguments.quiet or not (sys.stdin.isatty() and sys.stdout.isatty()):
        return None
    choices = [str(n) for n in range(1, len(experiment.outcomes) + 1)]
    answer = None
    while answer not in ("", *choices):
        with contextlib.suppress(EOFError):
            answer = input(f"What do you expect? {', '.join(choices[:-1])} or {choices[-1]} (Enter: nothing) ").strip()
            continue
        answer = ""
    narrator.say("")
    return int(answer) - 1 if answer else None


def measure(arguments, chosen, narrator) -> tuple[dict, dict]:
    """Measure; return {name: what was measured} and {name: with what, in words}."""
    if arguments.folder is not None:
        (one,) = chosen
        return {one.name: one.read(arguments.folder)}, {one.name: f"{one.reads} in {arguments.folder}"}
    from minitransformer.experiments.misconceptions.running import measure_all

    seeds = {one.name: range(arguments.seed, arguments.seed + (arguments.seeds or one.seeds)) for one in chosen}
    total = sum(map(len, seeds.values()))
    with narrator.progress("measuring", "measurements", total=total, even=False) as progress:
        try:
            measured = measure_all(chosen, seeds, arguments.out, workers=arguments.workers, progress=progress)
        except KeyboardInterrupt:
            words = f"interrupted: what was measured is in {arguments.out}; the same command goes on from there"
            raise KeyboardInterrupt(words) from None
    return measured, {name: f"seeds {of[0]} to {of[-1]}" for name, of in seeds.items()}


def draw(experiment, measured, folder: Path) -> None:
    """Draw an experiment's picture."""
    figure = new_figure(*experiment.size)
    experiment.draw(figure, measured)
    save(figure, folder / picture_of(experiment))


def picture_of(experiment) -> str:
    """Return the name of an experiment's picture."""
    return f"{experiment.name}.png"


def kept_results(folder: Path, every) -> dict:
    """Return {name: Result} of what was found in this folder before. Raises ValueError for a file that is none."""
    path = folder / OUTCOMES_FILE
    try:
        kept = dictionary("outcomes", json.loads(path.read_bytes()))
        return {one.name: Result.from_dict(one, kept[one.name]) for one in every if one.name in kept}
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"{path}: is not of this command; delete it, or choose another --out ({error})") from None


def write(folder: Path, results: dict) -> Path:
    """Write the numbers and the page of all that was found in this folder; return the path of the page."""
    from minitransformer.book.writing import write_beliefs
    from minitransformer.experiments.misconceptions import NAMES

    results = {name: results[name] for name in NAMES if name in results}
    data = json.dumps({name: result.to_dict() for name, result in results.items()}, indent=1) + "\n"
    write_atomically(folder / OUTCOMES_FILE, lambda file: file.write(data.encode()))
    pictures = {name: picture_of(one.experiment) for name, one in results.items()}
    drawn = {name: picture for name, picture in pictures.items() if (folder / picture).exists()}
    return write_beliefs(folder, results.values(), drawn)
