"""Run a command-line program: options, exit status, and errors in one line."""

import argparse
import contextlib
import difflib
import re
import shutil
import sys
import textwrap
import traceback
from itertools import chain, groupby

from gradcheck.front.signals import signals_raise
from gradcheck.front.streams import described, flush_streams, make_streams_usable, one_line, printable, say

OK, WRONG, USAGE = 0, 1, 2
INTERRUPTED, PIPE_CLOSED = 130, 141  # the statuses by which a shell reports SIGINT and SIGPIPE
WIDEST = 100  # columns of a help text


def run(answer, failed) -> int:
    """Call answer(), flush the output, and return the exit status.

    If answer() raises an exception, or the output cannot be written because the disk is full or a pipe is closed, the
    exception is passed to `failed`, which returns the status. After SIGTERM or SIGHUP, the status is 128 + the number
    of the signal.
    """
    make_streams_usable()
    came = []
    try:
        with signals_raise(came):
            status = answer()
            sys.stdout.flush()
    except (Exception, KeyboardInterrupt) as error:
        sys.excepthook = say_traceback  # used if the exception is raised again
        status = failed(error)
        if came and isinstance(error, KeyboardInterrupt):
            status = 128 + came[0]
    finally:
        flush_streams()
    return status


def report(program: str, error: BaseException, status: int = USAGE) -> int:
    """Print an error as one line, except for a closed pipe, and return the exit status."""
    if isinstance(error, BrokenPipeError):
        return PIPE_CLOSED
    if isinstance(error, KeyboardInterrupt):
        say(f"{program}: {one_line(error) or 'interrupted'}")
        return INTERRUPTED
    say(f"{program}: {described(error)}")
    return status


def say_traceback(kind, error, trace):
    say("".join(traceback.format_exception(kind, error, trace)).rstrip())


# Options.


class Help(argparse.RawDescriptionHelpFormatter):
    """A help formatter that wraps prose, but not commands, at the width of the terminal."""

    def __init__(self, prog):
        super().__init__(prog, width=min(WIDEST, shutil.get_terminal_size().columns) - 2)

    def _fill_text(self, text, width, indent):
        blocks = groupby(text.splitlines(), lambda line: line[:1].strip() != "")
        wrapped = (
            textwrap.wrap(" ".join(b), width) if is_prose else map(self._wrap_column, b) for is_prose, b in blocks
        )
        return "\n".join(chain.from_iterable(wrapped))

    def _wrap_column(self, line):
        start = len(re.match(r"(\s*\S.*?\s{2,}(?=\S))?", line)[0])
        if len(line) <= self._width or not 0 < start < self._width - 20:
            return line
        return line[:start] + ("\n" + " " * start).join(textwrap.wrap(line[start:], self._width - start))


class Parser(argparse.ArgumentParser):
    """An argument parser with one-line errors, which raises OSError if it cannot print help."""

    def __init__(self, prog: str, description: str | None = None, epilog: str | None = None, **options):
        options = {"formatter_class": Help, "allow_abbrev": False, **options}
        super().__init__(prog=prog, description=description, epilog=epilog, **options)

    def parse_args(self, args=None, namespace=None):
        arguments, others = self.parse_known_args(args, namespace)
        if others:
            parser = getattr(arguments, "parser", self)  # that of the command
            flags = [word.partition("=")[0] for word in others if word.startswith("-")]
            hints = filter(None, (near(flag, parser._option_string_actions) for flag in flags))
            parser.error(f"unrecognized arguments: {' '.join(others)}{next(hints, '')}")
        return arguments

    def _check_value(self, action, value):
        try:
            super()._check_value(action, value)
        except argparse.ArgumentError as error:
            error.message += near(value, action.choices)
            raise

    def error(self, message):
        program = self.prog.removeprefix("python -m ").partition(" ")[0]
        self.exit(USAGE, f"{program}: error: {one_line(message)} (see {self.prog} --help)\n")

    def _print_message(self, message, file=None):
        if file is sys.stdout:
            print(message, end="", file=file)
        else:
            super()._print_message(message, file)

    def exit(self, status=0, message=None):
        super().exit(status, message and printable(message))

    def add_seed(self, of="all random numbers", metavar="N"):
        whole = whole_number(0, "a seed")
        self.add_argument("--seed", type=whole, default=0, metavar=metavar, help=f"seed of {of} (default: 0)")


def near(word, known) -> str:
    """Return a hint such as "; did you mean check?", or "" if no known word is close."""
    bare = {str(name).lstrip("-"): name for name in known}  # equal dashes are no likeness
    found = difflib.get_close_matches(str(word).lstrip("-"), bare, n=1, cutoff=0.7)
    return f"; did you mean {bare[found[0]]}?" if found else ""


def whole_number(least, name):
    """Return an argparse type for integers. Error messages begin with `name`."""

    def read(text):
        with contextlib.suppress(ValueError):
            if int(text) >= least:
                return int(text)
        raise argparse.ArgumentTypeError(f"{name} must be a whole number, {least} or more, not {text}")

    return read
