"""`minitransformer generate`: a prompt in, its continuation out."""

import sys
import time
import warnings

import numpy as np

from minitransformer.cores import decoding
from minitransformer.language_model import LanguageModel
from minitransformer.system.terminal import say, show, show_to_the_letter
from minitransformer.values import whole

HELP = "write text with a model"

DESCRIPTION = """\
Write text with a model. The prompt and its continuation go to standard output, piece by piece as they
come; the same seed writes the same text.
"""

EPILOG = """\
examples:
  minitransformer generate --model runs/book --prompt "Once upon a time"
  echo "Once upon a time" | minitransformer generate --model runs/book --prompt - | head -n 3
  minitransformer generate --model runs/book --prompt "The " --samples 5 --temperature 1.2 --top-p 0.9
  minitransformer generate --model SmolLM2-135M-Instruct.Q4_1.gguf --prompt "The capital of France is" --greedy

What the settings do, and the key-value cache, is told in minitransformer/generation.py.
"""

MODEL_HELP = "a model's file, a folder that train or demo wrote, a GGUF file, or a folder of the Hugging Face layout"
BETWEEN_SAMPLES = "---"
LONGEST_PROMPT = 1 << 24  # bytes


def add_arguments(parser) -> None:
    """Add the options."""
    parser.description, parser.epilog = DESCRIPTION, EPILOG
    parser.add_argument("--model", required=True, metavar="MODEL", help=MODEL_HELP)
    parser.add_argument(
        "--prompt",
        default="\n",
        metavar="TEXT",
        help="what to continue, or - for standard input without its last line break (default: a line break)",
    )
    parser.add_argument("--max-new-tokens", type=int, default=200, metavar="N", help="how many (default: 200)")
    parser.add_argument("--samples", type=int, default=1, metavar="N", help="texts to write (default: 1)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the random choices (default: 0)")
    how = parser.add_argument_group("how the next token is chosen")
    temperature = how.add_mutually_exclusive_group()
    temperature.add_argument(
        "--temperature",
        type=float,
        default=0.8,
        metavar="X",
        help="below 1 bets on what is likely, above 1 dares more (default: 0.8)",
    )
    temperature.add_argument("--greedy", action="store_true", help="always the likeliest, as temperature 0")
    how.add_argument("--top-k", type=int, metavar="K", help="only among the K likeliest")
    how.add_argument("--top-p", type=float, metavar="P", help="only among the likeliest that together reach P")
    how.add_argument("--no-cache", action="store_true", help="compute every position anew: slower, and the same text")


def run(arguments) -> int:
    """Write the samples."""
    whole("--samples", arguments.samples, least=1)
    whole("--seed", arguments.seed, least=0)
    lm = LanguageModel.load(arguments.model)
    prompt = read_prompt() if arguments.prompt == "-" else arguments.prompt
    warn_if_too_long(lm, prompt)
    settings = {
        "temperature": 0 if arguments.greedy else arguments.temperature,
        "top_k": arguments.top_k,
        "top_p": arguments.top_p,
        "rng": np.random.default_rng(arguments.seed),
        "use_cache": not arguments.no_cache,
    }
    start = time.perf_counter()
    written = []  # the ids, of which a text may need fewer than --max-new-tokens
    for i in range(arguments.samples):
        ids = lm.stream_ids(prompt, arguments.max_new_tokens, **settings)
        if i > 0:
            show(BETWEEN_SAMPLES)
        write(prompt, lm.tokenizer.decode_stream(kept(decoding(ids), written)))
    if sys.stderr.isatty():
        say_rate(len(written), time.perf_counter() - start)
    return 0


def kept(ids, written: list):
    """Yield the ids, and append them to `written`."""
    for i in ids:
        written.append(i)
        yield i


def write(prompt, pieces) -> None:
    """Write a prompt and the pieces that follow, each as it comes; end the line also when interrupted."""
    try:
        show_to_the_letter(prompt, end="")
        for piece in pieces:
            show_to_the_letter(piece, end="")
    except KeyboardInterrupt:
        show()
        raise
    show()


def read_prompt() -> str:
    """Return standard input without the line break that ends it, which `echo` adds.

    Raises ValueError if it is not UTF-8, or goes on for ever, as a device may.
    """
    data = sys.stdin.buffer.read(LONGEST_PROMPT + 1)
    if len(data) > LONGEST_PROMPT:
        raise ValueError(f"standard input: has more than {LONGEST_PROMPT:,} bytes, and is no prompt")
    try:
        return data.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError as error:
        byte = data[error.start]
        raise ValueError(f"standard input: not UTF-8 text: byte 0x{byte:02x} at position {error.start}") from None


def warn_if_too_long(lm: LanguageModel, prompt: str) -> None:
    """Warn of a prompt whose beginning the model never sees."""
    tokens, context = len(lm.encode(prompt)), lm.model.config.context
    if tokens > context:
        warnings.warn(
            f"the prompt has {tokens} tokens, and the model sees the last {context} at most: its context", stacklevel=2
        )


def say_rate(tokens: int, seconds: float) -> None:
    """Say on standard error how fast it went."""
    say(f"{tokens:,} tokens in {seconds:.1f} s, {tokens / max(seconds, 1e-9):,.0f} a second")
