"""Escape the control characters of untrusted text: names in files, paths, messages of other programs, generated text.

A terminal executes some characters instead of showing them: "\\x1b]0;…\\x07" sets the title of its window, and others
move the cursor or reverse the direction of writing. These characters are shown as Python's escape sequences.
"""

import re

# Control characters (C0, DEL, C1), line separators, changes of the direction of writing, halves of UTF-16 pairs.
UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
LONGEST, BEGINNING = 900, 600  # characters: of a whole message, and of the beginning of a shortened one


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
