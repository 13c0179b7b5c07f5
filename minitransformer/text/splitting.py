r"""Splitting a text into words, exactly as GPT-2 does.

Byte-pair encoding merges frequent neighbours into tokens. Without limits it would merge across word boundaries: "dog.",
"dog!" and "dog?" would each take a place in the vocabulary (Radford et al., 2019, section 2.2). The text is therefore
first split into words, and no merge crosses a boundary. GPT-2's rule is a regular expression, whose alternatives are
tried from left to right:

    's|'t|'re|'ve|'m|'ll|'d      English contractions
    | ?\p{L}+                    letters, with one space before them
    | ?\p{N}+                    digits and other numbers, with one space before them
    | ?[^\s\p{L}\p{N}]+          other visible characters, with one space before them
    |\s+(?!\S)                   white space, except the last before a word: "\n   x" is "\n  " and " x"
    |\s+                         white space

    "Don't  stop at 42!"   is   "Don" "'t" " " " stop" " at" " 42" "!"

The concatenation of the words is the text, because every character matches some alternative. A word includes the space
before it, so a single space between words needs no token.

Python's `re` has neither \p{L} nor \p{N}, and its \s differs from Unicode's White_Space, which the `regex` modules of
the models use (only `re` counts the separators U+001C to U+001F as white space). The character classes are therefore
built here with the standard library's `unicodedata`. The first text that is not ASCII causes one scan of all 1.1
million code points. The classes follow the Unicode version of the running Python (`unicodedata.unidata_version`).
"""

import functools
import re
import sys
import unicodedata
from itertools import groupby

WHITE_SPACE = r"\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"  # Unicode's property White_Space

# GPT-2's expression; L, N and S stand for the classes of letters, numbers and white space.
EXPRESSION = "'s|'t|'re|'ve|'m|'ll|'d| ?[L]+| ?[N]+| ?[^SLN]+|[S]+(?![^S])|[S]+"
_LAST_CUT = re.compile(rf"(?s:.*)[^{WHITE_SPACE}](?=[{WHITE_SPACE}])")  # a safe place for a cut (see whole_words)


def split_words(text):
    """Split `text` into words. The concatenation of the words is `text`."""
    return word_pattern(text.isascii()).findall(text)


@functools.cache
def word_pattern(ascii_only):
    """Compile the regular expression, for all of Unicode or for ASCII only."""
    letters, numbers = ("a-zA-Z", "0-9") if ascii_only else unicode_classes("L", "N")
    classes = {"L": letters, "N": numbers, "S": WHITE_SPACE}
    return re.compile(re.sub("[LNS]", lambda name: classes[name[0]], EXPRESSION))


@functools.cache
def unicode_classes(*majors):
    """Return the code points of each major general category, such as "L", as a list of ranges for a regex."""
    ranges = {major: [] for major in majors}
    for major, run in groupby(range(sys.maxunicode + 1), lambda point: unicodedata.category(chr(point))[0]):
        if major in ranges:
            points = list(run)
            ranges[major].append(rf"\U{points[0]:08x}-\U{points[-1]:08x}")
    return ["".join(ranges[major]) for major in majors]


def whole_words(chunks):
    """Regroup the chunks of a text into pieces whose words are those of the whole text.

    A cut is safe before white space that follows another kind of character. No word contains these two characters in
    this order, and the words on one side of the cut do not depend on the text on the other side.
    """
    held = []  # the text since the last cut, in parts, because joining a long text repeatedly takes quadratic time
    for chunk in chunks:
        if not chunk:
            continue
        before = held[-1][-1] if held else ""
        if match := _LAST_CUT.match(before + chunk):
            cut = match.end() - len(before)
            yield "".join(held) + chunk[:cut]
            held = []
            chunk = chunk[cut:]
        held.append(chunk)
    if held:
        yield "".join(held)
