"""`minitransformer generate`: the continuation of a prompt."""

import io
import sys
import time
import warnings
from itertools import chain

import numpy as np

from gradcheck.front.streams import say, show, show_to_the_letter
from minitransformer.commands.options import MODEL, load_model, option, seed_option, switch
from minitransformer.system.cores import decoding
from minitransformer.text.corpora import decode_utf8

HELP = "write text with a model"

EXAMPLES = """\
  minitransformer generate --model runs/book --prompt "Once upon a time"
  echo "Once upon a time" | minitransformer generate --model runs/book --prompt - | head -n 3
  minitransformer generate --model runs/book --prompt "The " --samples 5 --temperature 1.2 --top-p 0.9
  minitransformer generate --model SmolLM2-135M-Instruct.Q4_1.gguf --prompt "The capital of France is" --greedy
"""

NOTES = """\
The prompt and its continuation are written to standard output token by token. Equal seeds give equal texts.
minitransformer/generation.py explains the settings and the key–value cache.
"""

BETWEEN_SAMPLES = "---"
LONGEST_PROMPT = 1 << 24  # bytes


def add_arguments(parser) -> None:
    option(parser, "--model", MODEL, metavar="MODEL", required=True)
    default = "a line break, or the first token of a vocabulary without it"
    words = f"text to continue, or - for standard input without its last line break (default: {default})"
    option(parser, "--prompt", words, metavar="TEXT")
    option(parser, "--max-new-tokens", "largest number of new tokens", 200, "N")
    option(parser, "--samples", "number of texts", 1, "N", limits={"minimum": 1})
    seed_option(parser, "the random choices")
    sampling = parser.add_argument_group("sampling of the next token")
    temperature = sampling.add_mutually_exclusive_group()
    words = "divisor of the logits: below 1 sharpens the distribution, above 1 flattens it"
    option(temperature, "--temperature", words, 0.8, "X")
    switch(temperature, "--greedy", "always choose the likeliest token, like temperature 0")
    option(sampling, "--top-k", "choose among the K likeliest tokens (default: all)", metavar="K", type=int)
    words = "choose among the likeliest tokens whose probabilities sum to P (default: all)"
    option(sampling, "--top-p", words, metavar="P", type=float)
    switch(sampling, "--no-cache", "recompute all positions for each token: slower, with the same text")


def run(arguments) -> int:
    lm = load_model(arguments.model)
    prompt = default_prompt(lm) if arguments.prompt is None else prompt_of(arguments.prompt)
    tokens, context = len(lm.encode(prompt)), lm.model.config.context
    if tokens > context:
        seen = f"of which the model sees only the last {context}, its context"
        warnings.warn(f"the prompt has {tokens} tokens, {seen}", stacklevel=2)
    settings = {
        "temperature": 0 if arguments.greedy else arguments.temperature,
        "top_k": arguments.top_k,
        "top_p": arguments.top_p,
        "rng": np.random.default_rng(arguments.seed),
        "use_cache": not arguments.no_cache,
    }
    start = time.perf_counter()
    written = []  # the generated ids
    for i in range(arguments.samples):
        if i > 0:
            show(BETWEEN_SAMPLES)
        ids = lm.stream_ids(prompt, arguments.max_new_tokens, **settings)
        write(chain([prompt], lm.tokenizer.decode_stream(kept(decoding(ids), written))))
    if sys.stderr.isatty():
        say_rate(len(written), time.perf_counter() - start)
    return 0


def kept(ids, written: list):
    for i in ids:
        written.append(i)
        yield i


def write(pieces) -> None:
    """Write a text in pieces, and end the line even after Ctrl-C."""
    try:
        for piece in pieces:
            show_to_the_letter(piece, end="")
    except KeyboardInterrupt:
        show()
        raise
    show()


def default_prompt(lm) -> str:
    try:
        lm.encode("\n")
    except ValueError:
        return lm.tokenizer.decode([0])
    return "\n"


def prompt_of(given: str) -> str:
    return decoded(sys.stdin.buffer.read(LONGEST_PROMPT + 1), LONGEST_PROMPT) if given == "-" else given


def decoded(data: bytes, longest: int, where: str = "standard input") -> str:
    """Decode UTF-8 from standard input, of at most `longest` bytes, and remove the last line break."""
    if len(data) > longest:
        raise ValueError(f"{where}: must have at most {longest:,} bytes, but has more")
    return "".join(decode_utf8(io.BytesIO(data), where)).removesuffix("\n")


def say_rate(tokens: int, seconds: float) -> None:
    say(f"{tokens:,} tokens in {seconds:.1f} s, {tokens / max(seconds, 1e-9):,.0f} a second")
