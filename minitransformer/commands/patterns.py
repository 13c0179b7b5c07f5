"""`minitransformer patterns`: train two tiny models on simple patterns, and analyze their heads."""

from pathlib import Path

import numpy as np

from gradcheck.front.streams import show
from minitransformer.commands.options import option, out_option, seed_option
from minitransformer.commands.resuming import refuse_to_overwrite, when_interrupted
from minitransformer.experiments.patterns.training import PatternSettings, quiet_bar, train_on_simple_patterns
from minitransformer.system.files import write_json
from minitransformer.system.folders import at_work_in
from minitransformer.system.pictures import can_draw
from minitransformer.training import MODEL_FILE
from minitransformer.transformer import TinyTransformer

HELP = "train two tiny models on simple patterns, and show the heads that learn them"

EXAMPLES = """\
  minitransformer patterns
  minitransformer patterns --out patterns-learned --positions learned    another form of induction
  minitransformer generate --model patterns/two-blocks --greedy --prompt "COPY ba de ko fu =" --max-new-tokens 5
"""

NOTES = """\
Two models of width 64 with 4 heads are trained on copying, reversing, continuing a repetition, counting and
adding. Induction, the continuation of a repetition, requires two heads, of which the second reads the output of
the first. The model with two blocks learns it suddenly, and the one with a single block cannot learn it.

The command prints the accuracies, the scores of each head, the accuracy without it, and the circuits of the
induction head. It writes to the folder

  two-blocks/, one-block/   the models, for generate, and their metrics
  moment.png                the beginning of induction, and its effect on the accuracy
  heads.png                 the scores of each head, and the accuracy without it
  attention.png             the attention of every head of the two blocks on one sequence
  circuits.png              the circuits of the induction head, if there is one, computed from its weights
  patterns.json             all numbers

An interrupted run resumes when the same command is given again, and ends with bit-identical weights.
"""

BLOCKS = {"two-blocks": 2, "one-block": 1}
QUICK_STEPS = 50
DATA_FILE = "patterns.json"
SHOWN_LENGTH = 12  # length of the sequence in the picture of attention
ABOUT = {"command": "patterns"}  # recorded in a model's file


def add_arguments(parser) -> None:
    out_option(parser, "patterns", "folder for the models, the pictures and the numbers")
    seed_option(parser, "the weights and all tasks")
    steps = parser.add_mutually_exclusive_group()
    option(steps, "--steps", "training steps of each model", PatternSettings.steps, "N")
    words = "run everything in a few seconds; the models learn almost nothing"
    steps.add_argument("--quick", dest="steps", action="store_const", const=QUICK_STEPS, help=words)
    option(parser, "--positions", "kind of position encoding", "rotary", choices=("rotary", "learned"))


def run(arguments) -> int:
    settings = PatternSettings(steps=arguments.steps, seed=arguments.seed)
    drawn = can_draw()
    with at_work_in(arguments.out):
        for name in BLOCKS:
            refuse_to_overwrite(arguments.out / name / MODEL_FILE, ABOUT, "this command")
        learn_patterns(arguments.out, settings, arguments.positions, drawn)
    return 0


def learn_patterns(out: Path, settings: PatternSettings, positions: str, drawn: bool) -> None:
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
        show(f"{name}: " + ("no head learned induction" if moment is None else f"induction since step {moment}"))
    pictures = draw_pictures(models, runs, learned, out, seed) if drawn else []
    data = {
        "settings": settings.to_dict(),
        "positions": positions,
        "models": {name: learned[name].to_dict() | {"moment_of_induction": moments[name]} for name in BLOCKS},
    }
    write_json(out / DATA_FILE, data)
    show(f"\nIn {out}: {', '.join([*pictures, DATA_FILE, *(f'{name}/' for name in BLOCKS)])}")


def train(model, folder: Path, settings: PatternSettings, name: str) -> list[dict]:
    resume = (folder / MODEL_FILE).exists()
    keywords = {"out": folder, "resume": resume, "observer": quiet_bar(name), "about": ABOUT}
    with when_interrupted(lambda: "; the same command resumes"):
        return train_on_simple_patterns(model, **keywords, **settings.to_dict())


def draw_pictures(models, runs, learned, out: Path, seed: int) -> list[str]:
    from minitransformer.analysis import attention_weights
    from minitransformer.experiments.patterns.pictures import draw_circuits, draw_heads, draw_induction, draw_moment
    from minitransformer.text import PATTERNS

    draw_moment(runs, out / "moment.png")
    two = learned["two-blocks"]
    draw_heads(two, out / "heads.png")
    ids = PATTERNS["induction"].sample(np.random.default_rng(seed), 1, SHOWN_LENGTH)[0][0]
    draw_induction(attention_weights(models["two-blocks"], ids), ids, out / "attention.png")
    (out / "circuits.png").unlink(missing_ok=True)  # from an earlier run
    if two.induction is not None:
        draw_circuits(two.induction, out / "circuits.png")
    return sorted(path.name for path in out.glob("*.png"))
