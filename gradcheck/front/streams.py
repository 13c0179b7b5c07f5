"""Text for the terminal: printable, in one line where it is a message, and written to streams that may be closed.

Names in files, paths, messages of other programs and generated text may contain control characters. A terminal executes
some of them instead of showing them: "\\x1b]0;…\\x07" sets the title of its window, and others move the cursor or
reverse the direction of writing. These characters are shown as Python's escape sequences.
"""

import contextlib
import errno
import io
import os
import re
import sys

# Control characters (C0, DEL, C1), line separators, changes of the direction of writing, halves of UTF-16 pairs.
UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
LONGEST, BEGINNING = 900, 600  # characters: of a whole message, and of the beginning of a shortened one
# The subject of a system error without a file name. EBADF means that a stream is read but was opened for writing, or
# written but was opened for reading.
WITHOUT_A_NAME = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO), "the output"),
    errno.EBADF: "standard input or output",
    **dict.fromkeys((errno.ENOMEM, errno.EAGAIN, errno.EMFILE, errno.ENFILE), "this machine"),
}


def printable(text, keep: str = "\n\t") -> str:
    """Escape the unprintable characters of a text, as in \\x1b, except those in `keep`."""

    def escape(match):
        character = match[0]
        return character if character in keep else character.encode("unicode_escape").decode()

    return UNPRINTABLE.sub(escape, str(text))


def one_line(message) -> str:
    """Return a message as one printable line. The middle of a line with more than LONGEST characters is left out."""
    line = printable(" ".join(str(message).split()))
    return line if len(line) <= LONGEST else f"{line[:BEGINNING]} … {line[BEGINNING + 3 - LONGEST :]}"


def to_the_letter(text, stream) -> str:
    """Return a text with control characters escaped if `stream` is a terminal, and otherwise unchanged."""
    return printable(text) if stream.isatty() else str(text)


def show(text="", end="\n"):
    print(printable(text), end=end, flush=True)


def show_to_the_letter(text, end="\n"):
    """Write a text to standard output and flush it. Control characters are escaped only on a terminal."""
    print(to_the_letter(text, sys.stdout), end=end, flush=True)


def say(message):
    """Write a line to standard error. Do nothing if that fails."""
    with contextlib.suppress(OSError):
        print(printable(message), file=sys.stderr, flush=True)


def described(error) -> str:
    """Return the message of an exception in one line. For an OSError, it consists of the file and the reason."""
    if not isinstance(error, OSError) or not error.strerror:
        return one_line(error) or ("not enough memory" if isinstance(error, MemoryError) else type(error).__name__)
    subject = error.filename or WITHOUT_A_NAME.get(error.errno or 0)
    return one_line(error.strerror if subject is None else f"{subject}: {error.strerror}")


def error_in_words(error) -> str:
    """Return the type and the message of an exception that somebody else's code has raised."""
    return ": ".join(filter(None, [type(error).__name__, " ".join(str(error).split())]))


def counted(n, noun) -> str:
    """Return a number with a noun in the singular or plural: `1 case`, `1,000 cases`."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def joined(words, last_word="and") -> str:
    """Join words with commas, and with `last_word` before the last: `a, b and c`."""
    *first, last = words
    return f"{', '.join(first)} {last_word} {last}" if first else last


def make_streams_usable():
    """Open closed standard streams, and make the output streams accept any character, if necessary as "?"."""
    for name, mode in {"stdin": "r", "stdout": "w", "stderr": "w"}.items():
        if getattr(sys, name) is None:
            nowhere = os.open(os.devnull, os.O_RDWR)
            setattr(sys, name, os.fdopen(nowhere, mode, encoding="utf-8", closefd=False))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors in ("strict", "surrogateescape"):
            stream.reconfigure(errors="surrogateescape" if stream.encoding.lower() == "utf-8" else "replace")


def flush_streams():
    """Write what the output streams hold. If that is impossible, drop it, so that the interpreter's exit is silent."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, KeyboardInterrupt):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
