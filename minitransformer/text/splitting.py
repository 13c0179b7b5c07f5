r"""Splitting a text into words, exactly as GPT-2, Llama 3 or SmolLM2 does.

Byte-pair encoding merges frequent neighbours into tokens. Left alone it would merge across everything: "dog.", "dog!"
and "dog?" would each take a place in the vocabulary (Radford et al., 2019, section 2.2). So the text is first cut into
words, and nothing is ever merged across a cut. GPT-2's rule is a regular expression, tried from left to right:

    's|'t|'re|'ve|'m|'ll|'d      English contractions
    | ?\p{L}+                    letters, with the one space before them
    | ?\p{N}+                    digits and other numbers, likewise
    | ?[^\s\p{L}\p{N}]+          anything else that can be seen, likewise
    |\s+(?!\S)                   white space, but for the last before a word: "\n   x" is "\n  " and " x"
    |\s+                         white space

    "Don't  stop at 42!"   is   "Don" "'t" " " " stop" " at" " 42" "!"

Joined, the words are the text: some alternative matches any character. And since a word begins with its space, no
token is needed for the spaces between words.

Those who came later changed what they found wanting. A number of many digits is rarely met twice, so SmolLM2 makes
every digit a word, and no space goes with it; Llama 3 makes words of up to three digits, knows contractions in capitals
too, lets any sign stand before a word's letters ("(x" is one word), and keeps line breaks with what they end:

    "I'M f(x) at 1024!\n"   is   GPT-2     "I" "'" "M" " f" "(" "x" ")" " at" " 1024" "!" "\n"
                                 SmolLM2   "I" "'" "M" " f" "(" "x" ")" " at" " " "1" "0" "2" "4" "!" "\n"
                                 Llama 3   "I" "'M" " f" "(x" ")" " at" " " "102" "4" "!\n"

Python's `re` knows neither \p{L} nor \p{N}, and its \s differs from Unicode's White_Space, which the models' own
`regex` modules mean (the separators U+001C to U+001F are white space for `re` alone). The classes are therefore spelled
out here from the standard library's `unicodedata`: a scan of all 1.1 million code points, done once, at the first text
that is not ASCII. Letters are what the Unicode version of the running Python (`unicodedata.unidata_version`) says they
are.
"""

import functools
import re
import sys
import unicodedata

WHITE_SPACE = r"\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"  # Unicode's property White_Space
NO_LINE_BREAKS = WHITE_SPACE.replace(r"\t-\r", r"\t\v\f")

# Each rule as its model's own expression; L, N and S stand for the classes of letters, numbers and white space.
EXPRESSIONS = {
    "gpt2": "'s|'t|'re|'ve|'m|'ll|'d| ?[L]+| ?[N]+| ?[^SLN]+|[S]+(?![^S])|[S]+",
    # The model's files say it in two steps: digits first, then GPT-2's rule on each piece between them, at whose end
    # white space stays whole.
    "smollm2": "'s|'t|'re|'ve|'m|'ll|'d| ?[L]+|[N]| ?[^SLN]+|[S]+(?![^SN])|[S]+",
    "llama3": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\nLN]?[L]+|[N]{1,3}| ?[^SLN]+[\r\n]*|[S]*[\r\n]+|[S]+(?![^S])|[S]+",
}

# What makes a safe cut where it follows anything but white space (see whole_words).
_CUT_BEFORE = {"gpt2": WHITE_SPACE, "smollm2": WHITE_SPACE, "llama3": NO_LINE_BREAKS}
_LAST_CUT = {name: re.compile(rf"(?s:.*)[^{WHITE_SPACE}](?=[{cut}])") for name, cut in _CUT_BEFORE.items()}


def split_words(text, splitting="gpt2"):
    """Return the words of `text` as a list of str; joined, they are the text. splitting: a name in EXPRESSIONS."""
    return word_pattern(splitting, text.isascii()).findall(text)


@functools.cache
def word_pattern(splitting, ascii_only):
    """Compile a rule's expression, with the classes of all of Unicode or of ASCII alone, which need no scan."""
    letters, numbers = ("a-zA-Z", "0-9") if ascii_only else unicode_classes("L", "N")
    classes = {"L": letters, "N": numbers, "S": WHITE_SPACE}
    return re.compile(re.sub("[LNS]", lambda name: classes[name[0]], EXPRESSIONS[splitting]))


@functools.cache
def unicode_classes(*majors):
    """Return, for each major general category ("L": letters), its ranges as they stand inside a regex's [...]."""
    ranges = {major: [] for major in majors}
    previous, first = None, 0
    for point in range(sys.maxunicode + 2):
        major = unicodedata.category(chr(point))[0] if point <= sys.maxunicode else None
        if major != previous:
            if previous in ranges:
                ranges[previous].append(rf"\U{first:08x}-\U{point - 1:08x}")
            previous, first = major, point
    return ["".join(ranges[major]) for major in majors]


def whole_words(chunks, splitting="gpt2"):
    """Regroup the chunks of a text so that splitting each by itself gives the words of the whole text.

    A cut is safe where white space follows something else; by Llama 3's rule, white space that is no line break. No
    word holds the two in this order; the words before the cut are the same whether white space or nothing follows them;
    and the words after it do not look back.
    """
    held = []  # the text since the last cut, in pieces: a text without cuts must not be joined again and again
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
