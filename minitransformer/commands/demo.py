"""`minitransformer demo`: train two small models in a minute and a half."""

import time

from gradcheck.front.program import started_as
from gradcheck.front.streams import show
from minitransformer.commands.options import out_option, seed_option, switch
from minitransformer.commands.resuming import refuse_to_overwrite
from minitransformer.experiments.demonstration import repeating, writing
from minitransformer.experiments.demonstration.narration import heading
from minitransformer.experiments.demonstration.page import ANALYSIS_FILE, PAGE_FILE, write_page
from minitransformer.system.folders import at_work_in
from minitransformer.system.pictures import can_draw
from minitransformer.training import METRICS_FILE, MODEL_FILE

HELP = "train two small models in a minute and a half, and show what they learned"

EXAMPLES = """\
  minitransformer demo
  minitransformer demo --seed 1 --out demo-1
  minitransformer generate --model demo --prompt "The import statement"
"""

NOTES = """\
A tiny model learns to continue sequences of random symbols that it has never seen. A model of 700,000 parameters
trains on the Python manual and writes before, halfway through and after training. The page index.html shows the
samples, the losses, the attention of the heads and an interactive analysis. Each part names the source files to read.
The folder also contains the model, for generate. The same command resumes an interrupted demo. It does not train a
finished model again.
"""


def add_arguments(parser) -> None:
    out_option(parser, "demo", "folder for the page, the models and the pictures")
    seed_option(parser, "weights, batches and samples")
    switch(parser, "--quick", "run everything in a few seconds; the models learn almost nothing")


def run(arguments) -> int:
    drawn = can_draw()
    out, seed = arguments.out, arguments.seed
    size = writing.QUICK if arguments.quick else writing.FULL
    steps = repeating.QUICK_STEPS if arguments.quick else repeating.FULL_STEPS
    start = time.perf_counter()
    with at_work_in(out):
        refuse_to_overwrite(out / MODEL_FILE, writing.ABOUT, "the demo")
        try:
            tiny, predictions = repeating.learn_to_repeat(out, seed, steps, drawn)
            repeating.show_induction(tiny, out, seed, drawn)
            lm, records, reason = writing.learn_to_write(out, seed, size, drawn)
            writing.show_attention(lm, out, drawn)
            page = write_page(out, lm, records, reason, predictions, drawn=drawn)
        except KeyboardInterrupt as interrupt:  # the message of a run already names the folder
            raise KeyboardInterrupt(str(interrupt) or f"interrupted; the files written so far are in {out}") from None
    program = started_as("minitransformer")
    files = MODEL_FILE, METRICS_FILE, repeating.TINY_MODEL_FILE, PAGE_FILE, ANALYSIS_FILE
    pictures = sorted(path.name for path in out.glob("*.png")) if drawn else []
    heading(f"Done, in {time.perf_counter() - start:.0f} seconds")
    show(
        f"Open {page} in a browser: the samples, the pictures, and an interactive analysis.\n\n"
        f"In {out}:\n  {', '.join((*files, *pictures))}\n\nNext:\n"
        f'  {program} generate --model {out} --prompt "The import statement"\n'
        f"  {program} train --text YOUR_TEXT.txt\n"
        f"  {started_as('gradcheck')} minitransformer         every gradient against finite differences\n\n"
        "The map of the source, in reading order, is in minitransformer/README.md."
    )
    return 0
