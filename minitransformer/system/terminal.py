"""What several commands have in common: how they write, whole numbers, and their end, with all output written."""

import argparse
import codecs
import contextlib
import errno
import io
import math
import os
import sys
import traceback

from minitransformer.system.printable import one_line, printable, to_the_letter
from minitransformer.system.stopping import signals_raise

# What is wrong where an error of the system names no file: EBADF is a stream that is opened the other way round.
WITHOUT_A_NAME = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO), "the output"),
    errno.EBADF: "standard input or output",
    **dict.fromkeys((errno.ENOMEM, errno.EAGAIN, errno.EMFILE, errno.ENFILE), "this machine"),
}


class Parser(argparse.ArgumentParser):
    """A parser that fails where what it prints cannot be written, of which argparse itself says nothing.

    What is wrong with the arguments is one line, whatever they are.
    """

    def error(self, message):
        """As argparse's."""
        super().error(one_line(message))

    def _print_message(self, message, file=None):
        if file is sys.stdout:
            print(message, end="", file=file)
        else:
            super()._print_message(message, file)

    def exit(self, status=0, message=None):
        """End with a message, which may quote what was typed."""
        super().exit(status, message and printable(message))


def written_out(answer, say_failure):
    """Return the exit status of a command, answer(), once all that it printed is written.

    What answer() raises, and what comes of an output that cannot be written because the disk is full or nobody reads
    on, is passed to say_failure(error), which returns the status then. Left to the interpreter's own exit, an output
    that cannot be written adds a status of 120 and words of the interpreter's.

    Ctrl-C raises KeyboardInterrupt in answer(), and so do the other signals that end a program (see stopping.py), whose
    status is returned then.
    """
    make_streams_usable()
    came = []
    try:
        with signals_raise(came):
            status = answer()
            sys.stdout.flush()
    except (Exception, KeyboardInterrupt) as error:
        sys.excepthook = say_traceback  # if it is raised again
        status = say_failure(error)
        if came and isinstance(error, KeyboardInterrupt):
            status = 128 + came[0]
    finally:
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (OSError, KeyboardInterrupt):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())  # drops what could not be written
    return status


def show(text="", end="\n"):
    """Write lines to standard output at once, with what cannot be printed escaped."""
    print(printable(text), end=end, flush=True)


def show_to_the_letter(text, end="\n"):
    """Write to standard output, at once, what a program may read: a path, what a model writes. A terminal is safe."""
    print(to_the_letter(text, sys.stdout), end=end, flush=True)


def say(message):
    """Write a line to standard error; if that cannot be written either, the exit status has to do."""
    with contextlib.suppress(OSError):
        print(printable(message), file=sys.stderr, flush=True)


def say_traceback(kind, error, trace):
    """Say where an exception came from; takes the place of sys.excepthook."""
    say("".join(traceback.format_exception(kind, error, trace)).rstrip())


def described(error):
    """Return the message of an exception in one line; of an OSError, the file and what is wrong with it."""
    if not isinstance(error, OSError) or not error.strerror:
        return one_line(error)
    what = error.filename or WITHOUT_A_NAME.get(error.errno)
    return one_line(error.strerror if what is None else f"{what}: {error.strerror}")


def error_in_words(error):
    """Return the type and the message of an exception, in one line."""
    return ": ".join(filter(None, [type(error).__name__, " ".join(str(error).split())]))


def make_streams_usable():
    """Open the standard streams that were closed before the program began, and let them write any character.

    Nothing comes from a stream that was closed (>&-), nor does anybody want what goes there; to Python it is None.
    """
    for name, mode in {"stdin": "r", "stdout": "w", "stderr": "w"}.items():
        if getattr(sys, name) is None:
            nowhere = os.open(os.devnull, os.O_RDWR)
            setattr(sys, name, os.fdopen(nowhere, mode, encoding="utf-8", closefd=False))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors in ("strict", "surrogateescape"):
            stream.reconfigure(errors=QUESTION_MARK)


QUESTION_MARK = "minitransformer.question_mark"


def question_mark(error):
    """For a codec: write "?" for a character that the encoding lacks, but the bytes of a file's name as they are."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    codes = map(ord, error.object[error.start : error.end])
    return b"".join(bytes([code - 0xDC00]) if 0xDC80 <= code <= 0xDCFF else b"?" for code in codes), error.end


codecs.register_error(QUESTION_MARK, question_mark)


def whole_number(least, what, most=math.inf):
    """Return a type for argparse: a whole number from `least` to `most`. `what` begins the message about all others."""
    limits = f"a whole number, {least} or more" if most == math.inf else f"a whole number from {least} to {most:,}"

    def read(text):
        try:
            number = int(text)
        except ValueError:
            number = None
        if number is None or not least <= number <= most:
            raise argparse.ArgumentTypeError(f"{what} is {limits}, not {text}")
        return number

    return read


def counted(n, noun):
    """Return `1 case`, `2 cases` or `1,000 cases`."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"
