"""Write the output of commands and one-line errors, and determine the exit status."""

import argparse
import contextlib
import errno
import io
import os
import sys
import traceback

from minitransformer.system.printable import one_line, printable, to_the_letter
from minitransformer.system.stopping import signals_raise

# The subject of a system error without a file name. EBADF means that a stream is read but was opened for writing, or
# written but was opened for reading.
WITHOUT_A_NAME = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO), "the output"),
    errno.EBADF: "standard input or output",
    **dict.fromkeys((errno.ENOMEM, errno.EAGAIN, errno.EMFILE, errno.ENFILE), "this machine"),
}


class Parser(argparse.ArgumentParser):
    """A parser that raises OSError if its help cannot be written. argparse ignores this error."""

    def _print_message(self, message, file=None):
        if file is sys.stdout:
            print(message, end="", file=file)
        else:
            super()._print_message(message, file)

    def exit(self, status=0, message=None):
        super().exit(status, message and printable(message))


def written_out(answer, say_failure):
    """Call answer(), write all output, and return the exit status.

    If answer() raises an exception, or the output cannot be written because the disk is full or a pipe is closed, the
    error is passed to say_failure, which returns the status. After SIGTERM or SIGHUP, it is 128 + the signal's number.
    """
    make_streams_usable()
    came = []
    try:
        with signals_raise(came):
            status = answer()
            sys.stdout.flush()
    except (Exception, KeyboardInterrupt) as error:
        sys.excepthook = say_traceback  # used if the exception is raised again
        status = say_failure(error)
        if came and isinstance(error, KeyboardInterrupt):
            status = 128 + came[0]
    finally:
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (OSError, KeyboardInterrupt):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())  # drops the rest of the output
    return status


def show(text="", end="\n"):
    print(printable(text), end=end, flush=True)


def show_to_the_letter(text, end="\n"):
    """Write a text to standard output and flush it. Control characters are escaped only on a terminal."""
    print(to_the_letter(text, sys.stdout), end=end, flush=True)


def say(message):
    """Write a line to standard error. Do nothing if that fails."""
    with contextlib.suppress(OSError):
        print(printable(message), file=sys.stderr, flush=True)


def say_traceback(kind, error, trace):
    say("".join(traceback.format_exception(kind, error, trace)).rstrip())


def described(error):
    """Return the message of an exception in one line. For an OSError, it consists of the file and the reason."""
    if not isinstance(error, OSError) or not error.strerror:
        return one_line(error)
    subject = error.filename or WITHOUT_A_NAME.get(error.errno)
    return one_line(error.strerror if subject is None else f"{subject}: {error.strerror}")


def error_in_words(error):
    return ": ".join(filter(None, [type(error).__name__, " ".join(str(error).split())]))


def make_streams_usable():
    """Open closed standard streams, and make the output streams accept any character, if necessary as "?"."""
    for name, mode in {"stdin": "r", "stdout": "w", "stderr": "w"}.items():
        if getattr(sys, name) is None:
            nowhere = os.open(os.devnull, os.O_RDWR)
            setattr(sys, name, os.fdopen(nowhere, mode, encoding="utf-8", closefd=False))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors in ("strict", "surrogateescape"):
            stream.reconfigure(errors="surrogateescape" if stream.encoding.lower() == "utf-8" else "replace")


def counted(n, noun):
    """Return a number with a noun in the singular or plural: `1 case`, `1,000 cases`."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"
