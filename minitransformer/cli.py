"""The command line: `minitransformer COMMAND`, or `python -m minitransformer COMMAND`.

Whatever goes wrong becomes one line on standard error and an exit status: 2 for options that cannot be parsed, 130 for
Ctrl-C, 143 for SIGTERM, 129 for a terminal that is closed, 141 when whoever reads the output stops reading, where there
is no line, and 1 for everything else, such as a disk that is full. `--traceback` shows where it came from instead.
"""

import argparse
import importlib
import sys
import traceback
import warnings
from pathlib import Path

import numpy.random  # noqa: F401 — it swallows what Ctrl-C raises while it is imported, and NumPy imports it late

from minitransformer import commands
from minitransformer.system.extras import MissingExtra
from minitransformer.system.printable import one_line
from minitransformer.system.terminal import Parser, described, say, written_out
from minitransformer.training import TrainingDiverged
from minitransformer.version import __version__

PROGRAM = "minitransformer"
FAILURE, USAGE, INTERRUPTED, BROKEN_PIPE = 1, 2, 130, 141
TRACEBACK = "--traceback"
# What a user can cause. Anything else is a mistake of ours, and says so.
EXPECTED = (ValueError, TypeError, OSError, MissingExtra, MemoryError, TrainingDiverged)
# What lets a command do with less memory. The others take what their model takes.
LESS_MEMORY = {
    "train": "a smaller --batch-size, --context, --width, --layers or --accumulate, or fewer --replicas",
    "finetune": "a smaller --batch-size, or fewer --last-blocks",
    "analyze": "a shorter --text, or a smaller --last",
    "influence": "fewer --passages",
    "scale": "smaller --sizes, or fewer --workers",
    "verify": "a shorter --text",
    "bench": "smaller --sizes",
}

DESCRIPTION = "A small transformer language model in NumPy, every backward pass written by hand and checked."
EPILOG = """\
Begin with:
  minitransformer demo                               a minute and a half: it trains, and shows what it learned
  minitransformer patterns                           two tiny models; in one, a head learns to look things up
  minitransformer scale                              a family of models: what comes with size, and how suddenly
  minitransformer misconceptions                     beliefs about language models: predict, then see
  minitransformer learn start                        exercises: write the backward passes yourself, line by line

Then, with a text of your own:
  minitransformer train --text book.txt --out runs/book
  minitransformer generate --model runs/book --prompt "Once upon"
  minitransformer analyze runs/book --text "Once upon a time"
  minitransformer influence runs/book --prompt "Once upon"
  minitransformer finetune runs/book --data politeness

Or with a model that others trained:
  minitransformer fetch smollm2                      93 MB, and then
  minitransformer chat --model "$(minitransformer fetch smollm2)"
  minitransformer verify "$(minitransformer fetch smollm2)"

And how fast all this is on this machine, and where the time goes:
  minitransformer bench

minitransformer COMMAND --help tells all about a command. The source is meant to be read: begin with
minitransformer/README.md, which lists the files in reading order. With
MINITRANSFORMER_PLAIN=1 in the environment, any command runs on the plain formulas that are there to read.
"""


class OneLineParser(Parser):
    """A parser whose errors are one line."""

    def error(self, message):
        self.exit(USAGE, f"{PROGRAM}: error: {one_line(message)} (see {self.prog} --help)\n")


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    options = {"formatter_class": argparse.RawDescriptionHelpFormatter, "allow_abbrev": False}
    parser = OneLineParser(prog=PROGRAM, description=DESCRIPTION, epilog=EPILOG, **options)
    parser.add_argument("-V", "--version", action="version", version=f"{PROGRAM} {__version__}")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", dest="command")
    for name in commands.NAMES:
        command = importlib.import_module(f"minitransformer.commands.{name}")
        subparser = subparsers.add_parser(name, help=command.HELP, description=command.HELP, **options)
        command.add_arguments(subparser)
        subparser.add_argument(TRACEBACK, action="store_true", help="show where an error came from")
        subparser.set_defaults(run=command.run)
    return parser


def main(argv=None) -> int:
    """Run the command that `argv` (sys.argv without the program's name) asks for. Returns the exit status."""
    argv = sys.argv[1:] if argv is None else argv
    parser = build_parser()

    def failed(error):
        if TRACEBACK in argv and not isinstance(error, BrokenPipeError):
            raise error
        return say_failure(error)

    return written_out(lambda: run_command(parser, argv), failed)


def run_command(parser, argv) -> int:
    """Do what `argv` asks for. Returns the exit status."""
    try:
        arguments = parser.parse_args(argv)
    except SystemExit as stop:  # argparse has said why
        return stop.code
    if arguments.command is None:
        parser.print_help()
        return 0
    with warnings.catch_warnings():
        warnings.showwarning = show_warning
        try:
            return arguments.run(arguments)
        except MemoryError as error:
            raise MemoryError(what_is_too_large(error, arguments.command)) from error


def what_is_too_large(error: MemoryError, command: str) -> str:
    """Return which array there is no memory for, as NumPy says it, in which file of ours, and what needs less."""
    package = Path(__file__).parent
    files = [Path(frame.f_code.co_filename) for frame, _ in traceback.walk_tb(error.__traceback__)]
    where = [file.relative_to(package).as_posix() for file in files if file.is_relative_to(package)][-1]
    advice = f"; it takes less with {LESS_MEMORY[command]}" if command in LESS_MEMORY else ""
    return f"{str(error) or 'there is not enough memory'}, in {where}{advice}"


def say_failure(error: BaseException) -> int:
    """Say in one line why a command ends early, unless it is for want of a reader. Returns the exit status."""
    if isinstance(error, BrokenPipeError):
        return BROKEN_PIPE
    if isinstance(error, KeyboardInterrupt):
        say(f"{PROGRAM}: {one_line(error) or 'interrupted'}")
        return INTERRUPTED
    say(f"{PROGRAM}: error: {describe(error)}")
    return FAILURE


def describe(error: Exception) -> str:
    """Return an exception's message in one line; of an OSError, the file and what is wrong with it."""
    if isinstance(error, EXPECTED):
        return described(error) or type(error).__name__
    return one_line(f"internal error, please report it: {type(error).__name__}: {error} (--traceback shows where)")


def show_warning(message, category, filename, lineno, file=None, line=None):
    """Show a warning as one line; takes the place of warnings.showwarning."""
    say(f"{PROGRAM}: warning: {one_line(message)}")
