"""`minitransformer chat`: a conversation with a model."""

import contextlib
import sys
import time
import warnings

import numpy as np

from minitransformer.commands.generate import MODEL_HELP, say_rate
from minitransformer.generation import check_sampling
from minitransformer.interop.chat import Conversation
from minitransformer.language_model import LanguageModel
from minitransformer.system.stopping import Stopped
from minitransformer.system.terminal import show, show_to_the_letter
from minitransformer.values import whole

HELP = "hold a conversation with a model"

DESCRIPTION = """\
Hold a conversation with a model that was trained for it, such as SmolLM2. What you say is read line by
line, the answer comes word by word. Ctrl-C stops an answer, Ctrl-D ends the conversation.
"""

EPILOG = """\
examples:
  minitransformer chat --model SmolLM2-135M-Instruct.Q4_1.gguf
  minitransformer chat --model SmolLM2-135M-Instruct.Q4_1.gguf --system "You are a pirate." --temperature 1
  echo "What is the capital of France?" | minitransformer chat --model SmolLM2-135M-Instruct.Q4_1.gguf

In a pipe every line of input is one turn, and the answers are separated by a line of ---.
minitransformer fetch smollm2 fetches that model; how it is told who says what is in
minitransformer/interop/chat.py. A small model says much that is not true.
"""

PROMPT = "> "
BETWEEN_ANSWERS = "---"
LONGEST_LINE = 1 << 20  # bytes


def add_arguments(parser) -> None:
    """Add the options."""
    parser.description, parser.epilog = DESCRIPTION, EPILOG
    parser.add_argument("--model", required=True, metavar="MODEL", help=f"{MODEL_HELP}, with a chat template")
    parser.add_argument("--system", metavar="TEXT", help="tell it who it is (default: what its makers did)")
    parser.add_argument(
        "--max-new-tokens", type=int, default=512, metavar="N", help="of an answer, at most (default: 512)"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the random choices (default: 0)")
    how = parser.add_argument_group("how the next token is chosen")
    how.add_argument(
        "--temperature",
        type=float,
        default=0.2,
        metavar="X",
        help="below 1 bets on what is likely, 0 always does, above 1 dares more (default: 0.2, which suits SmolLM2)",
    )
    how.add_argument(
        "--top-p",
        type=float,
        default=0.9,
        metavar="P",
        help="only among the likeliest that together reach P; 1 for all (default: 0.9)",
    )


def run(arguments) -> int:
    """Hold the conversation."""
    whole("--seed", arguments.seed, least=0)
    whole("--max-new-tokens", arguments.max_new_tokens, least=1)
    settings = {"temperature": arguments.temperature, "top_p": arguments.top_p}
    check_sampling(**settings, top_k=None)
    lm = LanguageModel.load(arguments.model)
    try:
        conversation = Conversation(lm, arguments.system, **settings, rng=np.random.default_rng(arguments.seed))
    except ValueError as error:
        raise ValueError(f"{arguments.model}: {error} (minitransformer generate continues a text)") from None
    if sys.stdin.isatty():
        talk(conversation, arguments.max_new_tokens)
    else:
        answer_lines(conversation, arguments.max_new_tokens)
    return 0


def talk(conversation, max_new_tokens) -> None:
    """Ask for what to say, and write the answer, until Ctrl-D. What cannot be answered is said, and is no end."""
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401  input() then knows the arrow keys
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
    """Answer standard input line by line."""
    for number, line in enumerate(lines_of_input()):
        if number > 0:
            show(BETWEEN_ANSWERS)
        write(conversation, line, max_new_tokens)


def lines_of_input():
    """Yield the lines of standard input that are not blank.

    Raises ValueError, naming the line, if it is not UTF-8, or one that goes on for ever, as those of a device may.
    """
    for number, line in enumerate(iter(lambda: sys.stdin.buffer.readline(LONGEST_LINE + 1), b""), start=1):
        if len(line) > LONGEST_LINE:
            raise ValueError(f"standard input, line {number}: has more than {LONGEST_LINE:,} bytes")
        try:
            text = line.decode().rstrip("\r\n")
        except UnicodeDecodeError as error:
            byte = line[error.start]
            raise ValueError(f"standard input, line {number}: not UTF-8 text: byte 0x{byte:02x}") from None
        if text.strip():
            yield text


def write(conversation, line, max_new_tokens) -> None:
    """Write the answer to a line piece by piece, and end its last line, also when interrupted."""
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
            f"the conversation no longer fits the model's context of {context:,} tokens: the first "
            f"{conversation.forgotten} messages are forgotten",
            stacklevel=2,
        )
