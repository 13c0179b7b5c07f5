"""`minitransformer verify`: the gradient of a whole model, compared with the complex step."""

import time

import numpy as np

from gradcheck.front.streams import say, show
from minitransformer.commands.options import load_model, model_argument, option, seed_option

HELP = "verify the gradient of every parameter of a model at its own weights"

EXAMPLES = """\
  minitransformer verify runs/book --text "Once upon a time"
  minitransformer verify SmolLM2-135M-Instruct.Q4_1.gguf
"""

NOTES = """\
The command compares the hand-written backward pass with the complex step, which uses no backward pass, for every
parameter of each part of the model, in float64. It takes a forward pass for each block, and about seven times
the memory of the model in float32. The exit status is 1 if a gradient is wrong.
minitransformer/interop/verification.py describes the method and its limits.
"""

TEXT = "The capital of France is Paris, and the capital of Italy is Rome."
RANDOM_TOKENS = 16


def add_arguments(parser) -> None:
    model_argument(parser)
    words = "text on which the loss is computed (default: a sentence, or random tokens if it cannot be encoded)"
    option(parser, "--text", words, metavar="TEXT")
    seed_option(parser, "the random directions")


def run(arguments) -> int:
    from minitransformer.interop.verification import HEADER, verify_gradient  # no other command needs it

    lm = load_model(arguments.model)
    ids = ids_of(lm, arguments.text, arguments.seed)
    start = time.perf_counter()
    show(HEADER)
    verification = verify_gradient(lm.model, ids, arguments.seed, on_part=show)
    show(f"\n{verification.summary()}\n{time.perf_counter() - start:.0f} s")
    return 0 if verification.is_right else 1


def ids_of(lm, text, seed: int):
    """Return the ids of `text` (default: TEXT, or random ids if the vocabulary lacks its letters)."""
    most = lm.model.config.context + 1
    if text is None:
        try:
            return lm.encode(TEXT)[:most]
        except ValueError:
            say("the vocabulary lacks letters of the default text: verifying on random tokens")
            return np.random.default_rng(seed).integers(0, lm.model.config.vocab_size, min(most, RANDOM_TOKENS))
    ids = lm.encode(text)
    if not 2 <= len(ids) <= most:
        raise ValueError(f"--text must have from 2 to {most:,} tokens for this model, not {len(ids)}")
    return ids
