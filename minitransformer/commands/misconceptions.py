"""`minitransformer misconceptions`: beliefs about language models, tested by experiments."""

import json
import sys
from pathlib import Path

from gradcheck.front.program import started_as
from gradcheck.front.streams import show, show_to_the_letter
from gradcheck.front.tables import table
from minitransformer.commands.options import PROCESSES, option, out_option, refuse_without, seed_option, switch
from minitransformer.commands.resuming import when_interrupted
from minitransformer.experiments.misconceptions.report import OUTCOMES_FILE, Result, introduction
from minitransformer.system.files import write_json
from minitransformer.system.folders import at_work_in
from minitransformer.system.narrator import Narrator
from minitransformer.system.pictures import can_draw, new_figure, save
from minitransformer.system.validation import check_int, dictionary, one_of

HELP = "test beliefs about language models by experiments of at most two minutes"

EXAMPLES = """\
  minitransformer misconceptions
  minitransformer misconceptions weight-decay
  minitransformer misconceptions weight-decay --predict 2 --seeds 10
  minitransformer misconceptions --all --out misconceptions          ten minutes on two cores
"""

NOTES = """\
Without NAME, the command lists the experiments. With NAME, it describes the measurement and requests your
prediction. Then it trains models with several seeds, measures, and compares the result with the prediction. It
writes to the folder

  index.html       a page with every result in the folder: description, picture, outcome and limits
  NAME.png         the picture of each experiment
  outcomes.json    the numbers with their intervals
  measured/        the measurements with each seed

An interrupted run resumes when the same command is given again. The exit status is 0 for every outcome,
also if an experiment does not confirm its claim.
"""

SEEDS = {"minimum": 2, "maximum": 1000}


def add_arguments(parser) -> None:
    parser.add_argument("name", nargs="?", metavar="NAME", help="name of an experiment (default: list all)")
    switch(parser, "--all", "run all experiments")
    words = "number of the predicted outcome (default: read from the terminal)"
    option(parser, "--predict", words, metavar="N", limits={"minimum": 1})
    out_option(parser, "misconceptions", "folder for the page, the pictures and the numbers")
    seed_option(parser, "the first run")
    option(parser, "--seeds", "number of seeds (default: that of each experiment)", metavar="N", limits=SEEDS)
    option(parser, "--workers", "number of processes (default: one per core)", metavar="N", limits=PROCESSES)
    switch(parser, "--quiet", "print only the path of the page, and request no prediction")


def run(arguments) -> int:
    from minitransformer.experiments.misconceptions import NAMES, experiment, experiments

    if arguments.all and arguments.name is not None:
        raise ValueError(f"--all and {arguments.name} cannot be used together")
    refuse_without(arguments.name is not None, "NAME", predict=arguments.predict)
    if arguments.name is None and not arguments.all:
        rows = [("name", "the belief", "about")]
        rows += [(one.name, one.belief, f"{one.seconds} s") for one in experiments()]
        show("\n".join(table(rows, "<<>", indent=0)))
        show(f"\n{started_as('minitransformer')} misconceptions NAME tests one, --all all of them.")
        return 0
    chosen = experiments() if arguments.all else [experiment(one_of("experiment", arguments.name, known=NAMES))]
    if arguments.predict is not None:
        check_int("--predict", arguments.predict, maximum=len(chosen[0].outcomes))
    drawn = can_draw()
    narrator = Narrator(arguments.quiet)
    with at_work_in(arguments.out):
        results = kept_results(arguments.out, experiments())
        predicted = {one.name: prediction(one, arguments, narrator) for one in chosen}
        seeds = {one.name: range(arguments.seed, arguments.seed + (arguments.seeds or one.seeds)) for one in chosen}
        measured = measure(arguments, chosen, seeds, narrator)
        for one in chosen:
            of = seeds[one.name]
            words = f"seeds {of[0]} to {of[-1]}"
            results[one.name] = Result(one, one.intervals(measured[one.name]), words, predicted[one.name])
            picture = arguments.out / f"{one.name}.png"
            picture.unlink(missing_ok=True)  # from an earlier run
            if drawn:
                figure = new_figure(*one.size)
                one.draw(figure, measured[one.name])
                save(figure, picture)
        page = write(arguments.out, [results[name] for name in NAMES if name in results])
    if not arguments.quiet:
        show("\n\n".join(str(results[one.name]) for one in chosen) + "\n")
    narrator.say("open in a browser:")
    show_to_the_letter(page)
    return 0


def prediction(experiment, arguments, narrator) -> int | None:
    narrator.say(f"{introduction(experiment)}\n")
    if arguments.predict is not None:
        return arguments.predict - 1
    if arguments.quiet or not (sys.stdin.isatty() and sys.stdout.isatty()):
        return None
    choices = [str(n) for n in range(1, len(experiment.outcomes) + 1)]
    question = f"Which outcome do you expect? {', '.join(choices[:-1])} or {choices[-1]} (Enter: no prediction) "
    answer = None
    while answer not in ("", *choices):
        try:
            answer = input(question).strip()
        except EOFError:
            answer = ""
    narrator.say("")
    return int(answer) - 1 if answer else None


def measure(arguments, chosen, seeds: dict, narrator) -> dict:
    from minitransformer.experiments.misconceptions.measuring import measure_all

    total = sum(map(len, seeds.values()))
    kept = f": the measurements so far are in {arguments.out}; the same command resumes"
    with (
        narrator.progress("measuring", "measurements", total=total, even=False) as progress,
        when_interrupted(lambda: kept),
    ):
        return measure_all(chosen, seeds, arguments.out, workers=arguments.workers, progress=progress)


def kept_results(folder: Path, every) -> dict:
    path = folder / OUTCOMES_FILE
    try:
        kept = dictionary("outcomes", json.loads(path.read_bytes()))
        return {one.name: Result.from_dict(one, kept[one.name]) for one in every if one.name in kept}
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"{path}: must be a file of this command ({error}); delete it or change --out") from None


def write(folder: Path, results: list) -> Path:
    from minitransformer.book.writing import write_beliefs

    write_json(folder / OUTCOMES_FILE, {result.experiment.name: result.to_dict() for result in results})
    pictures = {result.experiment.name: f"{result.experiment.name}.png" for result in results}
    drawn = {name: picture for name, picture in pictures.items() if (folder / picture).exists()}
    return write_beliefs(folder, results, drawn)
