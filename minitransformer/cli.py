"""The command line: `minitransformer COMMAND`, or `python -m minitransformer COMMAND`.

An error becomes one line on standard error and an exit status: 2 for invalid options, 130 for Ctrl-C, 143 for SIGTERM,
129 for a closed terminal, and 1 for all other errors, such as a full disk. If the program that reads the output ends,
the status is 141 and nothing is printed. `--traceback` shows the traceback instead of the line.
"""

import argparse
import importlib
import sys
import warnings

import numpy.random  # noqa: F401 — imported early, because its own import swallows a KeyboardInterrupt

from gradcheck.front.exits import Parser, report, run
from gradcheck.front.streams import described, one_line, say
from minitransformer import commands
from minitransformer.commands.options import check_limits
from minitransformer.system.extras import MissingExtra
from minitransformer.system.version import __version__
from minitransformer.training import TrainingDiverged

PROGRAM = "minitransformer"
FAILURE = 1
TRACEBACK = "--traceback"
# Errors that a user can cause. The message of any other error requests a report.
EXPECTED = (ValueError, TypeError, OSError, MissingExtra, MemoryError, TrainingDiverged)

DESCRIPTION = """\
A small transformer language model in NumPy, with every backward pass written by hand and checked.

examples:
  minitransformer demo                               train two small models in a minute and a half
  minitransformer book                               read the derivations next to the code
  minitransformer learn start                        write the backward passes yourself
  minitransformer train --text book.txt --out runs/book
  minitransformer generate --model runs/book --prompt "Once upon"
  minitransformer analyze runs/book --text "Once upon a time"
  minitransformer verify "$(minitransformer fetch smollm2)"

"""
EPILOG = """\
minitransformer COMMAND --help describes a command. python -m gradcheck checks hand-written gradients. The source is
meant to be read: minitransformer/README.md lists the files in reading order. With MINITRANSFORMER_PLAIN=1 in the
environment, every command runs on the plain formulas of the textbook.
"""


def build_parser() -> Parser:
    modules = {name: importlib.import_module(f"minitransformer.commands.{name}") for name in commands.NAMES}
    width = max(map(len, modules))
    description = DESCRIPTION  # it lists the commands, because argparse cannot group them
    for title, names in commands.GROUPS.items():
        description += "\n".join([title, *(f"    {name:<{width}}  {modules[name].HELP}" for name in names), "", ""])
    usage = f"{PROGRAM} [-h] [-V] COMMAND ..."
    parser = Parser(PROGRAM, description[:-1], EPILOG, usage=usage)
    parser.add_argument("-V", "--version", action="version", version=f"{PROGRAM} {__version__}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", prog=PROGRAM, help=argparse.SUPPRESS)
    for name, command in modules.items():
        description = f"{command.HELP[0].upper()}{command.HELP[1:]}.\n\nexamples:\n{command.EXAMPLES}"
        subparser = subparsers.add_parser(name, description=description, epilog=command.NOTES)
        subparser.set_defaults(run=command.run, parser=subparser)
        command.add_arguments(subparser)
        subparser.add_argument(TRACEBACK, action="store_true", help="show the traceback of an error")
    return parser


def main(argv=None) -> int:
    """Run the command in `argv`, by default sys.argv[1:], and return its exit status."""
    argv = sys.argv[1:] if argv is None else argv

    def failed(error):
        if TRACEBACK in argv and not isinstance(error, BrokenPipeError):
            raise error
        return say_failure(error)

    return run(lambda: run_command(build_parser(), argv), failed)


def run_command(parser, argv) -> int:
    try:
        arguments = parser.parse_args(argv)
    except SystemExit as stop:  # argparse has printed the reason
        return stop.code
    if arguments.command is None:
        parser.print_help()
        return 0
    with warnings.catch_warnings():
        warnings.showwarning = show_warning
        try:
            check_limits(arguments.parser, arguments)
            return arguments.run(arguments)
        except MemoryError as error:
            advice = "choose a smaller model, batch or text, or fewer processes"
            raise MemoryError(f"{described(error)}; {advice}") from error


def say_failure(error: BaseException) -> int:
    """Report an error in one line and return the exit status. An unexpected error requests a report."""
    if isinstance(error, (KeyboardInterrupt, BrokenPipeError)):
        return report(PROGRAM, error)
    say(f"{PROGRAM}: error: {describe(error)}")
    return FAILURE


def describe(error: Exception) -> str:
    if isinstance(error, EXPECTED):
        return described(error)
    return one_line(f"internal error, please report it: {type(error).__name__}: {error} (--traceback shows where)")


def show_warning(message, category, filename, lineno, file=None, line=None):
    """Print a warning in one line. This function replaces warnings.showwarning."""
    say(f"{PROGRAM}: warning: {one_line(message)}")
