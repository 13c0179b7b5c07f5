"""`minitransformer verify`: the gradient of a whole model, verified."""

import time

from minitransformer.commands.generate import MODEL_HELP
from minitransformer.language_model import LanguageModel
from minitransformer.system.terminal import show
from minitransformer.values import whole

HELP = "verify the gradient of every parameter of a model, at its own weights"

DESCRIPTION = """\
Verify the gradient of a model's loss on a text: what the hand-written backward pass claims against what
the complex step measures, which needs no backward pass. Part by part, every parameter, in float64. The
exit status is 1 if any is wrong.
"""

EPILOG = """\
examples:
  minitransformer verify runs/book --text "Once upon a time"
  minitransformer verify SmolLM2-135M-Instruct.Q4_1.gguf

It takes a forward pass for each block, and in memory about seven times what the model takes in float32.
How it works, and what it does not show, is told in minitransformer/verification.py.
"""

TEXT = "The capital of France is Paris, and the capital of Italy is Rome."


def add_arguments(parser) -> None:
    """Add the options."""
    parser.description, parser.epilog = DESCRIPTION, EPILOG
    parser.add_argument("model", metavar="MODEL", help=MODEL_HELP)
    parser.add_argument("--text", default=TEXT, metavar="TEXT", help=f"the text whose loss it is (default: {TEXT})")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the random directions (default: 0)")


def run(arguments) -> int:
    """Print each part as it is found, and what was found in all."""
    from minitransformer.verification import HEADER, verify_gradient  # no other command needs it

    whole("--seed", arguments.seed, least=0)
    lm = LanguageModel.load(arguments.model)
    ids = encoded(lm, arguments.text)
    start = time.perf_counter()
    show(HEADER)
    verification = verify_gradient(lm.model, ids, arguments.seed, on_part=show)
    show(f"\n{verification.summary()}\n{time.perf_counter() - start:.0f} s")
    return 0 if verification.is_right else 1


def encoded(lm: LanguageModel, text: str):
    """Return the ids of a text. Raises ValueError for one with nothing to predict, or more than the context allows."""
    ids, most = lm.encode(text), lm.model.config.context + 1
    if not 2 <= len(ids) <= most:
        tokens = f"{len(ids):,} token{'s' * (len(ids) != 1)}"
        raise ValueError(
            f"the text has {tokens}, and this model can be verified on 2 to {most:,}: choose another with --text"
        )
    return ids
