"""Write text to a terminal, and to streams that may be closed.

File names, paths, messages of other programs and generated text may contain control characters. A terminal executes
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
    """Escape unprintable characters, for example as \\x1b, except those in `keep`."""

    def escape(match):
        character = match[0]
        return character if character in keep else character.encode("unicode_escape").decode()

    return UNPRINTABLE.sub(escape, str(text))


def one_line(message) -> str:
    """Return a message as one printable line of at most LONGEST characters."""
    line = printable(" ".join(str(message).split()))
    return line if len(line) <= LONGEST else f"{line[:BEGINNING]} … {line[BEGINNING + 3 - LONGEST :]}"


def to_the_letter(text, stream) -> str:
    """Escape the control characters of a text if it is written to a terminal."""
    return printable(text) if stream.isatty() else str(text)


def show(text="", end="\n"):
    print(printable(text), end=end, flush=True)


def show_to_the_letter(text, end="\n"):
    """Print a text. Control characters are escaped on a terminal."""
    print(to_the_letter(text, sys.stdout), end=end, flush=True)


def say(message):
    """Write a line to standard error, ignoring errors."""
    with contextlib.suppress(OSError):
        print(printable(message), file=sys.stderr, flush=True)


def described(error) -> str:
    """Return a one-line message for an exception, with the file name of an OSError."""
    if not isinstance(error, OSError) or not error.strerror:
        return one_line(error) or ("not enough memory" if isinstance(error, MemoryError) else type(error).__name__)
    subject = error.filename or WITHOUT_A_NAME.get(error.errno or 0)
    return one_line(error.strerror if subject is None else f"{subject}: {error.strerror}")


def error_in_words(error) -> str:
    """Return the type and the message of an exception as text."""
    return ": ".join(filter(None, [type(error).__name__, " ".join(str(error).split())]))


def counted(n, noun) -> str:
    """Return a number with a noun, such as `1 case` or `1,000 cases`."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def joined(words, last_word="and") -> str:
    """Join words with commas, and with `last_word` before the last: `a, b and c`."""
    *first, last = words
    return f"{', '.join(first)} {last_word} {last}" if first else last


def make_streams_usable():
    """Open closed standard streams, and let the output streams accept any character."""
    for name, mode in {"stdin": "r", "stdout": "w", "stderr": "w"}.items():
        if getattr(sys, name) is None:
            nowhere = os.open(os.devnull, os.O_RDWR)
            setattr(sys, name, os.fdopen(nowhere, mode, encoding="utf-8", closefd=False))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors in ("strict", "surrogateescape"):
            stream.reconfigure(errors="surrogateescape" if stream.encoding.lower() == "utf-8" else "replace")


def flush_streams():
    """Flush the output streams, and drop output that cannot be written."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, KeyboardInterrupt):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
