"""`minitransformer chat`: a conversation with a model."""

import contextlib
import sys
import time
import warnings

import numpy as np

from gradcheck.front.program import started_as
from gradcheck.front.signals import Stopped
from gradcheck.front.streams import show, show_to_the_letter
from minitransformer.commands.generate import decoded, say_rate
from minitransformer.commands.options import MODEL, load_model, option, seed_option
from minitransformer.generation import check_sampling
from minitransformer.interop.chat import Conversation

HELP = "hold a conversation with a model"

EXAMPLES = """\
  minitransformer chat --model SmolLM2-135M-Instruct.Q4_1.gguf
  minitransformer chat --model SmolLM2-135M-Instruct.Q4_1.gguf --system "You are a pirate." --temperature 1
  echo "What is the capital of France?" | minitransformer chat --model SmolLM2-135M-Instruct.Q4_1.gguf
"""

NOTES = """\
The model must have been trained for conversations, such as SmolLM2 (minitransformer fetch smollm2). Each line
of input is one message, and the answer appears word by word. Ctrl-C stops an answer, Ctrl-D ends the
conversation. In a pipe, a line of --- separates the answers. minitransformer/interop/chat.py describes the chat
template. Many statements of a small model are false.
"""

PROMPT = "> "
BETWEEN_ANSWERS = "---"
LONGEST_LINE = 1 << 20  # bytes


def add_arguments(parser) -> None:
    option(parser, "--model", f"{MODEL}, with a chat template", metavar="MODEL", required=True)
    option(parser, "--system", "system message (default: that of the chat template)", metavar="TEXT")
    option(parser, "--max-new-tokens", "largest number of tokens per answer", 512, "N", limits={"minimum": 1})
    seed_option(parser, "the random choices")
    sampling = parser.add_argument_group("sampling of the next token")
    words = "divisor of the logits; 0 always chooses the likeliest token"
    option(sampling, "--temperature", words, 0.2, "X")
    words = "choose among the likeliest tokens whose probabilities sum to P; 1: all"
    option(sampling, "--top-p", words, 0.9, "P")


def run(arguments) -> int:
    settings = {"temperature": arguments.temperature, "top_p": arguments.top_p}
    check_sampling(**settings, top_k=None)
    lm = load_model(arguments.model)
    try:
        conversation = Conversation(lm, arguments.system, **settings, rng=np.random.default_rng(arguments.seed))
    except ValueError as error:
        advice = f"to continue a text, use `{started_as('minitransformer')} generate`"
        raise ValueError(f"{arguments.model}: {error}; {advice}") from None
    if sys.stdin.isatty():
        talk(conversation, arguments.max_new_tokens)
    else:
        answer_lines(conversation, arguments.max_new_tokens)
    return 0


def talk(conversation, max_new_tokens) -> None:
    """Read messages and write answers until Ctrl-D. If a message cannot be answered, a warning gives the reason."""
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401  gives input() the arrow keys
    while True:
        try:
            line = input(PROMPT)
        except EOFError:
            show()
            return
        if not line.strip():
            continue
        start, before = time.perf_counter(), conversation.generated
        try:
            write(conversation, line, max_new_tokens)
        except Stopped:
            raise
        except KeyboardInterrupt:
            continue
        except ValueError as error:
            warnings.warn(f"not answered: {error}", stacklevel=2)
        else:
            say_rate(conversation.generated - before, time.perf_counter() - start)
        show()


def answer_lines(conversation, max_new_tokens) -> None:
    is_first = True
    for number, line in enumerate(iter(lambda: sys.stdin.buffer.readline(LONGEST_LINE + 1), b""), start=1):
        text = decoded(line, LONGEST_LINE, f"standard input, line {number}")
        if text.strip():
            if not is_first:
                show(BETWEEN_ANSWERS)
            is_first = False
            write(conversation, text, max_new_tokens)


def write(conversation, line, max_new_tokens) -> None:
    """Write the answer to a message in pieces. End the last line of the answer even after Ctrl-C."""
    forgotten, piece = conversation.forgotten, "\n"
    try:
        for piece in conversation.answer(line, max_new_tokens):
            show_to_the_letter(piece, end="")
    finally:
        if not piece.endswith("\n"):
            show()
    if conversation.forgotten > forgotten:
        context = conversation.lm.model.config.context
        warnings.warn(
            f"the conversation exceeds the model's context of {context:,} tokens, so the first "
            f"{conversation.forgotten} messages were removed",
            stacklevel=2,
        )
