"""`minitransformer demo`: watch a transformer learn, and see what it learned.

Two small models are trained before your eyes. The first reads real text and learns to write like it. The second sees
random symbols repeat, no two sequences alike, and learns to predict them: its heads come to find where a symbol stood
before, and what followed it there. What is shown, and how, is in experiments/demonstration/.
"""

import time
from pathlib import Path

from minitransformer.experiments.demonstration import repeating, writing
from minitransformer.experiments.demonstration.narration import heading, say
from minitransformer.folders import at_work_in
from minitransformer.pictures import can_draw
from minitransformer.training import LOSS_FILE, METRICS_FILE, MODEL_FILE
from minitransformer.training.checkpoints import Checkpoint
from minitransformer.values import whole

HELP = "watch a transformer learn, and see what it learned: a minute and a half"

DESCRIPTION = """\
Watch a transformer learn, and see what it learned. In about a minute and a half, on a laptop,

  1  a model of 700,000 parameters reads the Python manual, which nearly every Python carries, and
     learns to write like it: what it writes before, halfway and after;
  2  what its attention heads look at, as a picture;
  3  a tiny one sees random symbols repeat and learns to predict them, though no two sequences are alike;
  4  the heads that do this, as a picture.

With each comes the file to read. The folder then holds the pictures and the model, for `generate`.
"""

EPILOG = """\
examples:
  minitransformer demo
  minitransformer demo --seed 1 --out demo-1
  minitransformer generate --model demo --prompt "The import statement"
"""


def add_arguments(parser) -> None:
    """Add the options."""
    parser.description, parser.epilog = DESCRIPTION, EPILOG
    parser.add_argument(
        "--out", type=Path, default=Path("demo"), metavar="FOLDER", help="where to write (default: demo)"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of weights, batches, samples (default: 0)")
    parser.add_argument(
        "--quick", action="store_true", help="a few seconds: shows that all works, learns next to nothing"
    )


def run(arguments) -> int:
    """Demonstrate."""
    whole("--seed", arguments.seed, least=0)
    drawn = can_draw()
    out, seed = arguments.out, arguments.seed
    size = writing.QUICK if arguments.quick else writing.FULL
    steps = repeating.QUICK_STEPS if arguments.quick else repeating.FULL_STEPS
    start = time.perf_counter()
    with at_work_in(out):
        refuse_to_overwrite(out / MODEL_FILE)
        try:
            lm = writing.learn_to_write(out, seed, size, drawn)
            writing.show_attention(lm, out, drawn)
            tiny = repeating.learn_to_repeat(out, seed, steps, drawn)
            repeating.show_induction(tiny, out, seed, drawn)
        except KeyboardInterrupt as interrupt:
            raise KeyboardInterrupt(str(interrupt) or f"interrupted; what was written stays in {out}") from None
    finish(out, time.perf_counter() - start, drawn)
    return 0


def refuse_to_overwrite(path: Path) -> None:
    """Raise FileExistsError for a model that is not a demonstration's: somebody may have trained it for hours."""
    if path.exists() and Checkpoint.read(path).training.get("about") != writing.ABOUT:
        raise FileExistsError(f"{path}: holds a model that the demo did not make; choose another folder with --out")


def finish(out: Path, seconds: float, drawn: bool) -> None:
    """Name the files that were written, and the commands to try next."""
    pictures = (LOSS_FILE, writing.ATTENTION_FILE, repeating.INDUCTION_LOSS_FILE, repeating.INDUCTION_FILE)
    pictures = pictures if drawn else ()
    heading(f"Done, in {seconds:.0f} seconds")
    say(
        f"In {out}:\n  {', '.join((MODEL_FILE, METRICS_FILE, *pictures))}\n\nNext:\n"
        f'  minitransformer generate --model {out} --prompt "The import statement"\n'
        "  minitransformer train --text YOUR_TEXT.txt\n"
        "  python -m gradcheck minitransformer         every gradient against finite differences\n\n"
        "The map of the source, in reading order, is in minitransformer/README.md."
    )
