"""`minitransformer analyze`: one page that shows what a model does with a text, and why."""

import json
from pathlib import Path

from minitransformer.commands.generate import MODEL_HELP, read_prompt
from minitransformer.files import require_file_path
from minitransformer.language_model import LanguageModel
from minitransformer.system.narrator import Narrator
from minitransformer.system.terminal import show

HELP = "a page that shows what a model does with a text: heads, logit lens, contributions"

DESCRIPTION = """\
Write one HTML page, without anything from the network, that shows what a model does with a text: point at
a token to see what comes next, where each head looks, what the model would say if it stopped after a layer,
which components write its prediction, and what the prediction loses without each token before it.

Attention is not influence, so each shading says how well it agrees with the ablation of tokens.
"""

EPILOG = """\
examples:
  minitransformer analyze runs/book --text "It was the best of times"
  minitransformer analyze runs/book --text "He was" --against "We wer" --answers " " "e"
  minitransformer analyze runs/book --text - --out page.html < passage.txt
  minitransformer analyze runs/book --text "To be, or not to be" --json | python -m json.tool
  minitransformer analyze SmolLM2-135M-Instruct.Q4_1.gguf --text "The capital of France is"
  minitransformer analyze SmolLM2-135M-Instruct.Q4_1.gguf --text "The capital of France is" \\
      --against "The capital of Italy is"

Each explained token costs a pass over the text for every token before it: --last explains fewer.
With --against, activation patching shows which activations carry the difference between the two texts, which have as
many tokens: to a model of letters, as many letters.
"""


def add_arguments(parser) -> None:
    """Add the options."""
    parser.description, parser.epilog = DESCRIPTION, EPILOG
    parser.add_argument("model", metavar="MODEL", help=MODEL_HELP)
    parser.add_argument("--text", required=True, metavar="TEXT", help="the text, or - for standard input")
    parser.add_argument("--against", metavar="TEXT", help="another of as many tokens, answered otherwise: patch it")
    parser.add_argument(
        "--answers", nargs=2, metavar=("A", "B"), help="the two next tokens to compare (default: the model's own)"
    )
    parser.add_argument("--last", type=int, default=32, metavar="N", help="explain the last N tokens (default: 32)")
    parser.add_argument(
        "--ablation",
        choices=("hide", "blank"),
        default="hide",
        help="how a token is taken away: hidden from all later ones, or blanked where it stands (default: hide)",
    )
    parser.add_argument(
        "--out", type=Path, default=Path("analysis.html"), metavar="FILE", help="the page (default: analysis.html)"
    )
    parser.add_argument("--json", action="store_true", help="print the numbers as JSON, and write no page")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def run(arguments) -> int:
    """Analyse the text and write the page."""
    from minitransformer.analysis import patch_prompts
    from minitransformer.analysis.page import page_findings, write_page

    if arguments.answers is not None and arguments.against is None:
        raise ValueError("--answers compares two texts: give the other one with --against")
    if not arguments.json:
        require_file_path(arguments.out)
    lm = LanguageModel.load(arguments.model)
    text = read_prompt() if arguments.text == "-" else arguments.text
    patching = None
    if arguments.against is not None:
        answers = None if arguments.answers is None else tuple(arguments.answers)
        patching = patch_prompts(lm, text, arguments.against, answers)
    options = {"last": arguments.last, "ablation": arguments.ablation, "patching": patching}
    with Narrator(arguments.quiet).progress("explaining", "tokens") as progress:
        if arguments.json:
            findings = page_findings(lm, text, progress=progress, **options)
        else:
            write_page(lm, text, arguments.out, progress=progress, **options)
    if arguments.json:
        show(json.dumps(findings))
    else:
        Narrator().say(f"{arguments.out}: open it in a browser")
    return 0
