"""`minitransformer analyze`: a page that shows how a model predicts a text."""

import json
from pathlib import Path

from gradcheck.front.streams import show
from minitransformer.commands.generate import prompt_of
from minitransformer.commands.options import load_model, model_argument, option, refuse_without, switch
from minitransformer.system.files import require_file_path, write_atomically
from minitransformer.system.narrator import Narrator

HELP = "write a page that shows how a model predicts a text: attention, logit lens, contributions, ablations"

EXAMPLES = """\
  minitransformer analyze runs/book --text "It was the best of times"
  minitransformer analyze runs/book --text "He was" --against "We wer" --answers " " "e"
  minitransformer analyze runs/book --text - --out page.html < passage.txt
  minitransformer analyze runs/book --text "To be, or not to be" --json | python -m json.tool
  minitransformer analyze SmolLM2-135M-Instruct.Q4_1.gguf --text "The capital of France is"
  minitransformer analyze SmolLM2-135M-Instruct.Q4_1.gguf --text "The capital of France is" \\
      --against "The capital of Italy is"
"""

NOTES = """\
The page is one HTML file that works without a network. Point at a token to see the probabilities of the next
token, the attention of each head, the prediction after each layer, the contribution of each component, and the
decrease of the probability if an earlier token is ablated. Attention is not influence, so the page also shows
its correlation with the ablation.

The explanation of a token takes a forward pass for each earlier token, so --last limits the number of explained
tokens. With --against, activation patching shows the activations that carry the difference between two texts
with the same number of tokens.
"""


def add_arguments(parser) -> None:
    model_argument(parser)
    option(parser, "--text", "text to analyze, or - for standard input", metavar="TEXT", required=True)
    option(parser, "--against", "second text with the same number of tokens, for activation patching", metavar="TEXT")
    words = "next tokens to compare, one per text (default: the model's predictions)"
    parser.add_argument("--answers", nargs=2, metavar=("A", "B"), help=words)
    option(parser, "--last", "number of last tokens of the text to explain", 32, "N")
    option(parser, "--out", "file of the page", Path("analysis.html"), "FILE")
    switch(parser, "--json", "print the numbers as JSON, and write no page")
    switch(parser, "--quiet", "show no progress bar")


def run(arguments) -> int:
    from minitransformer.analysis import patch_prompts
    from minitransformer.analysis.page import page_findings, render_page

    refuse_without(arguments.against is not None, "--against", answers=arguments.answers)
    if not arguments.json:
        require_file_path(arguments.out)
    lm = load_model(arguments.model)
    text = prompt_of(arguments.text)
    patching = None if arguments.against is None else patch_prompts(lm, text, arguments.against, arguments.answers)
    with Narrator(arguments.quiet).progress("explaining", "tokens") as progress:
        findings = page_findings(lm, text, last=arguments.last, patching=patching, progress=progress)
    if arguments.json:
        show(json.dumps(findings))
    else:
        page = render_page(findings, text).encode("utf-8")
        write_atomically(arguments.out, lambda file: file.write(page))
        Narrator().say(f"{arguments.out}: open it in a browser")
    return 0
