"""Text from elsewhere, made safe to show: names in files, paths, words of other programs, what a model writes.

A terminal obeys some characters instead of showing them. "\\x1b]0;…\\x07" sets the title of its window, others move the
cursor or turn the direction of writing, so that a line says what nobody wrote. They are shown as Python writes them.
"""

import re

# Control characters (C0, DEL, C1), separators of lines, what turns the direction of writing, halves of UTF-16 pairs.
UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
LONGEST, BEGINNING = 900, 600  # characters of a message, which with the name of its program has a thousand at most


def printable(text, keep: str = "\n\t") -> str:
    """Return a text with each character that cannot be printed, but for those to keep, as an escape such as \\x1b."""

    def escape(match):
        character = match[0]
        return character if character in keep else character.encode("unicode_escape").decode()

    return UNPRINTABLE.sub(escape, str(text))


def one_line(message) -> str:
    """Return the words of a message as one line that can be printed, without the middle of one that is very long.

    What a message quotes from a file or a command can have a million characters, and the words that matter stand
    before it and after it.
    """
    line = printable(" ".join(str(message).split()))
    return line if len(line) <= LONGEST else f"{line[:BEGINNING]} … {line[BEGINNING + 3 - LONGEST :]}"


def to_the_letter(text, stream) -> str:
    """Return what a stream gets of a text of which every character counts: a file or a pipe all of it, as it is."""
    return printable(text) if stream.isatty() else str(text)
