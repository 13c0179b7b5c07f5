r"""Splitting a text into words, exactly as GPT-2, Llama 3 or SmolLM2 does.

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

Later models changed this rule. A number of many digits rarely occurs twice, so SmolLM2 makes every digit a separate
word, without a space. Llama 3 makes words of up to three digits, also recognises contractions in capitals, allows any
sign before the letters of a word ("(x" is one word), and appends line breaks to the signs before them:

    "I'M f(x) at 1024!\n"   is   GPT-2     "I" "'" "M" " f" "(" "x" ")" " at" " 1024" "!" "\n"
                                 SmolLM2   "I" "'" "M" " f" "(" "x" ")" " at" " " "1" "0" "2" "4" "!" "\n"
                                 Llama 3   "I" "'M" " f" "(x" ")" " at" " " "102" "4" "!\n"

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
NO_LINE_BREAKS = WHITE_SPACE.replace(r"\t-\r", r"\t\v\f")

# The expressions of the models; L, N and S stand for the classes of letters, numbers and white space.
EXPRESSIONS = {
    "gpt2": "'s|'t|'re|'ve|'m|'ll|'d| ?[L]+| ?[N]+| ?[^SLN]+|[S]+(?![^S])|[S]+",
    # The model's files define two steps: split off each digit, then apply GPT-2's rule to each part in between. White
    # space at the end of such a part is not divided.
    "smollm2": "'s|'t|'re|'ve|'m|'ll|'d| ?[L]+|[N]| ?[^SLN]+|[S]+(?![^SN])|[S]+",
    "llama3": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\nLN]?[L]+|[N]{1,3}| ?[^SLN]+[\r\n]*|[S]*[\r\n]+|[S]+(?![^S])|[S]+",
}

# Classes of characters before which a cut is safe, if no white space precedes (see whole_words).
_CUT_BEFORE = {"gpt2": WHITE_SPACE, "smollm2": WHITE_SPACE, "llama3": NO_LINE_BREAKS}
_LAST_CUT = {name: re.compile(rf"(?s:.*)[^{WHITE_SPACE}](?=[{cut}])") for name, cut in _CUT_BEFORE.items()}


def split_words(text, splitting="gpt2"):
    """Split `text` into words by a rule of EXPRESSIONS. The concatenation of the words is `text`."""
    return word_pattern(splitting, text.isascii()).findall(text)


@functools.cache
def word_pattern(splitting, ascii_only):
    """Compile the regular expression of a splitting rule, for all of Unicode or for ASCII only."""
    letters, numbers = ("a-zA-Z", "0-9") if ascii_only else unicode_classes("L", "N")
    classes = {"L": letters, "N": numbers, "S": WHITE_SPACE}
    return re.compile(re.sub("[LNS]", lambda name: classes[name[0]], EXPRESSIONS[splitting]))


@functools.cache
def unicode_classes(*majors):
    """Return the code points of each major general category, such as "L", as a list of ranges for a regex."""
    ranges = {major: [] for major in majors}
    for major, run in groupby(range(sys.maxunicode + 1), lambda point: unicodedata.category(chr(point))[0]):
        if major in ranges:
            points = list(run)
            ranges[major].append(rf"\U{points[0]:08x}-\U{points[-1]:08x}")
    return ["".join(ranges[major]) for major in majors]


def whole_words(chunks, splitting="gpt2"):
    """Regroup the chunks of a text into pieces whose words are those of the whole text.

    A cut is safe before white space that follows another kind of character. (For Llama 3, the white space must not be a
    line break.) No word contains these two characters in this order, and the words on one side of the cut do not depend
    on the text on the other side.
    """
    held = []  # the text since the last cut, in parts, because joining a long text repeatedly takes quadratic time
    for chunk in chunks:
        if not chunk:
            continue
        before = held[-1][-1] if held else ""
        if match := _LAST_CUT[splitting].match(before + chunk):
            cut = match.end() - len(before)
            yield "".join(held) + chunk[:cut]
            held = []
            chunk = chunk[cut:]
        held.append(chunk)
    if held:
        yield "".join(held)
