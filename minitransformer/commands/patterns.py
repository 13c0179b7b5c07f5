"""`minitransformer patterns`: two tiny models learn simple patterns, and one of them grows an induction head."""

import json
from pathlib import Path

import numpy as np

from minitransformer.experiments.patterns.training import PatternSettings, quiet_bar, train_on_simple_patterns
from minitransformer.files import write_atomically
from minitransformer.folders import at_work_in
from minitransformer.pictures import can_draw
from minitransformer.system.terminal import show
from minitransformer.training import MODEL_FILE
from minitransformer.training.checkpoints import Checkpoint
from minitransformer.transformer import TinyTransformer

HELP = "two tiny models learn simple patterns; see the heads that do it, and when they appear"

DESCRIPTION = """\
Two models of width 64 and 4 heads learn the simple patterns of text/patterns.py: to say a sequence again,
or backward, to go on with what repeats, to count, to add. One has two blocks, the other only one. To find
what followed a symbol before takes two heads, the second of which reads what the first wrote; so the one
finds out, suddenly, how to do it, and the other cannot.

Prints how much each has learned, of tasks as long as those in training and of longer ones; what each head
looks at, and what is lost without it; and the circuits of the induction head. Writes to the folder

  two-blocks/, one-block/   the models, for `generate`, and their metrics
  moment.png                when a head begins to do induction, and what that does to the accuracy
  heads.png                 each head's scores, and what is lost without it
  attention.png             where every head of the two blocks looks, on one sequence
  circuits.png              what the weights of the induction head, if there is one, say by themselves
  patterns.json             all the numbers

A run that was stopped, by Ctrl-C or worse, goes on when the same command is given again, and ends with the
same weights, to the bit.
"""

EPILOG = """\
examples:
  minitransformer patterns
  minitransformer patterns --out patterns-learned --positions learned    another way to do induction
  minitransformer generate --model patterns/two-blocks --greedy --prompt "COPY ba de ko fu =" --max-new-tokens 5

What the scores, the ablations and the circuits show, and what not, is told in learned.py and the files that it names,
how training begins in starting_attention.py, both in minitransformer/experiments/patterns.
"""

BLOCKS = {"two-blocks": 2, "one-block": 1}
QUICK_STEPS = 50
MOMENT_FILE, HEADS_FILE, ATTENTION_FILE, CIRCUITS_FILE = "moment.png", "heads.png", "attention.png", "circuits.png"
DATA_FILE = "patterns.json"
SHOWN_LENGTH = 12  # of the sequence in the picture of attention
ABOUT = {"command": "patterns"}  # what a model's file remembers of where it came from


def add_arguments(parser) -> None:
    """Add the options."""
    parser.description, parser.epilog = DESCRIPTION, EPILOG
    defaults = PatternSettings()
    parser.add_argument(
        "--out", type=Path, default=Path("patterns"), metavar="FOLDER", help="where to write (default: patterns)"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the weights and of all tasks (default: 0)")
    steps = parser.add_mutually_exclusive_group()
    steps.add_argument(
        "--steps", type=int, default=defaults.steps, metavar="N", help=f"of each model (default: {defaults.steps})"
    )
    steps.add_argument(
        "--quick",
        dest="steps",
        action="store_const",
        const=QUICK_STEPS,
        help="a few seconds: shows that all works, learns next to nothing",
    )
    parser.add_argument(
        "--positions",
        choices=("rotary", "learned"),
        default="rotary",
        help="how positions enter the models (default: rotary)",
    )


def run(arguments) -> int:
    """Train both models as far as they are not trained yet, analyse them, print and draw."""
    settings = PatternSettings(steps=arguments.steps, seed=arguments.seed)
    drawn = can_draw()
    with at_work_in(arguments.out):
        for name in BLOCKS:
            refuse_to_overwrite(arguments.out / name / MODEL_FILE)
        learn_patterns(arguments.out, settings, arguments.positions, drawn)
    return 0


def learn_patterns(out: Path, settings: PatternSettings, positions: str, drawn: bool) -> None:
    """Train and analyse the models, print the findings, and draw them if `drawn`."""
    from minitransformer.experiments.patterns import analyze_learned_patterns, moment_of_induction

    seed = settings.seed
    models, runs, learned = {}, {}, {}
    for name, n_layers in BLOCKS.items():
        models[name] = TinyTransformer(seed, n_layers=n_layers, positions=positions)
        runs[name] = train(models[name], out / name, settings, name)
        learned[name] = analyze_learned_patterns(models[name], longest=settings.longest, seed=seed)
        show(f"{name}: {models[name].n_parameters():,} parameters, {settings.steps:,} steps\n\n{learned[name]}\n")
    moments = {name: moment_of_induction(records) for name, records in runs.items()}
    for name, moment in moments.items():
        show(f"{name}: " + ("no head came to do induction" if moment is None else f"induction since step {moment}"))
    pictures = draw_pictures(models, runs, learned, out, seed) if drawn else []
    data = {
        "settings": settings.to_dict(),
        "positions": positions,
        "models": {name: learned[name].to_dict() | {"moment_of_induction": moments[name]} for name in BLOCKS},
    }
    write_json(out / DATA_FILE, data)
    show(f"\nIn {out}: {', '.join([*pictures, DATA_FILE, *(f'{name}/' for name in BLOCKS)])}")


def train(model, folder: Path, settings: PatternSettings, name: str) -> list[dict]:
    """Train a model, from where the run in its folder stands if there is one. Returns the records of metrics."""
    resume = (folder / MODEL_FILE).exists()
    chosen = settings.to_dict()
    try:
        return train_on_simple_patterns(
            model, out=folder, resume=resume, observer=quiet_bar(name), about=ABOUT, **chosen
        )
    except KeyboardInterrupt as interrupt:
        reason = str(interrupt) or "interrupted"
        raise KeyboardInterrupt(f"{reason}; the same command goes on") from None


def refuse_to_overwrite(path: Path) -> None:
    """Raise FileExistsError for a model that this command did not make: somebody may have trained it for hours."""
    if path.exists() and Checkpoint.read(path).training.get("about") != ABOUT:
        raise FileExistsError(f"{path}: holds a model that this command did not make; choose another folder with --out")


def draw_pictures(models, runs, learned, out: Path, seed: int) -> list[str]:
    """Draw the pictures, and return their names."""
    from minitransformer.analysis import attention_weights, draw_attention, induction_targets
    from minitransformer.experiments.patterns.learned import NOTABLE
    from minitransformer.experiments.patterns.pictures import draw_circuits, draw_heads, draw_moment
    from minitransformer.text import PATTERNS, spell

    draw_moment(runs, out / MOMENT_FILE)
    two = learned["two-blocks"]
    draw_heads(two, out / HEADS_FILE)
    ids = PATTERNS["induction"].sample(np.random.default_rng(seed), 1, SHOWN_LENGTH)[0][0]
    scores = two.scores.induction
    notes = [[f"induction {score:.2f}" if score >= NOTABLE else "" for score in row] for row in scores]
    title = "A random sequence, twice. Outlined: what followed the same symbol before, where an induction head attends"
    labels, marked = [spell([i]) for i in ids], induction_targets(ids)
    weights = attention_weights(models["two-blocks"], ids)
    draw_attention(weights, labels, out / ATTENTION_FILE, title=title, notes=notes, marked=marked)
    pictures = [MOMENT_FILE, HEADS_FILE, ATTENTION_FILE]
    if two.induction is None:
        (out / CIRCUITS_FILE).unlink(missing_ok=True)  # of a run before
        return pictures
    draw_circuits(two.induction, out / CIRCUITS_FILE)
    return [*pictures, CIRCUITS_FILE]


def write_json(path: Path, data: dict) -> None:
    """Write the numbers, atomically."""
    write_atomically(path, lambda file: file.write(json.dumps(data, indent=1).encode() + b"\n"))
