"""Translate a student's equations, typed or in LaTeX, to the notation of the book.

    sum_i dy_i * dy_i/dx_j        Σ_i dy_i · ∂y_i/∂x_j

A slash may be read in several ways (PARSERS). The first reading in which the line holds is used.
"""

import re
import unicodedata

from minitransformer.book import notation

# Each entry is a sign of the notation, followed by the alternatives that a student may type.
NAMES = """\
α alpha | β beta | γ gamma | δ delta | ε epsilon varepsilon eps | θ theta | λ lambda | μ mu | π pi | σ sigma | φ phi | \
ω omega | ∞ infty | Σ sum | log ln | √ sqrt"""
TYPED = """\
^ ** | · * × ∗ ⋅ ∙ • ⊙ ∘ \\cdot \\times \\odot | − - – — | Σ ∑ \\sum | ∂ \\partial | √ \\sqrt | ≤ <= \\leq | \
≥ >= \\geq | ≠ != \\neq | = == | μ µ | ε ϵ | log \\ln \\log | exp \\exp | T \\top | ′ ' | \
_ @ \\, \\; \\! \\quad \\left \\right \\Big \\big \\bigl \\bigr \\limits \\( \\) \\[ \\] \\\\ $ & | = ≡ ＝ :="""
GREEK, SIGNS = (
    {other: row.split()[0] for row in table.split(" | ") for other in row.split()[1:]} for table in (NAMES, TYPED)
)
SIGN = re.compile("|".join(re.escape(sign) for sign in sorted(SIGNS, key=len, reverse=True)))
FUNCTIONS = {"exp", "log", "tanh", "erf", "sin", "cos", "mean", "max", "min", "softmax", "diag", "tr", "inner"}
SMALL_WORDS = """and as becomes by equals for from get gives hence if in is it let now of or plug put set so that the
then this thus to using we where which with since because yields""".split()  # noqa: SIM905
INNER = re.compile(r"⟨((?:[^⟨⟩,()]|\((?:[^()]|\([^()]*\))*\))*),([^⟨⟩]*)⟩")
MARKS = {"\u0302": "hat", "\u0307": "dot"}
MARKED = re.compile(r"\\(?:wide)?(hat|dot)\s*\{?\s*(?!\\(?:wide)?(?:hat|dot))(\\?[A-Za-z]+)\s*\}?")
OPERATORS = set("=·+−/(≈≤≥")


def equations(line: str, known=()) -> list[str]:
    """Translate a line of the student's text, and return its equations in the notation of the book.

    Definitions, which follow "where" or "with", come first. Names in `known` are never read as English words.
    """
    line = re.sub(r"^\s*[-*•]\s+|(?<=\s)(?:#|--|//).*$", "", line)
    found, definitions = [], []
    for part in re.split(r"(?<=\S) {3,}(?![= ])|;|\t|(?<=[\w)]):\s|\.\s", line.strip()):
        for before, text in segments(translated(part), known):
            parts = re.split(r",\s+(?=[^=(),]*=)", text)
            parts = parts if all("=" in part for part in parts) else [text]
            (definitions if before & {"where", "with"} else found).extend(parts)
    return definitions + found


def segments(text: str, known):
    """Yield (set of the words before it, equation) for each equation in an English text."""
    words: set[str] = set()
    equation: list[str] = []
    tokens = text.split()
    for at, token in enumerate([*tokens, "the"]):
        word = token.strip(",.:()").lower()
        beside = {*tokens[max(at - 1, 0) : at], *tokens[at + 1 : at + 2]}
        is_name = token.strip(",.:()ᵀ").partition("_")[0] in known or word in FUNCTIONS or beside & OPERATORS
        is_name = is_name or not (word.isascii() and word.isalpha() and len(word) > 2)
        if word in SMALL_WORDS or not is_name or re.fullmatch(r"\(\d+\)[,.:]?|⇒|=>|→|∴", token):
            plain = " ".join(equation).strip(" .,:")
            if re.fullmatch(r"\([^()]*\)", plain):
                plain = plain[1:-1]
            if plain.endswith(")") and plain.count(")") > plain.count("("):  # (because Σ_i x_i = 0)
                plain = plain[:-1]
            if any(sign in plain for sign in "=≈≤≥") or re.fullmatch("[a-z] ≠ [a-z]", plain):
                yield words, plain
                words = set()
            words = words | {word}
            equation = []
        else:
            equation.append(token)


def normal(text: str) -> str:
    """Return the text in a normal form of Unicode, in which equal letters have the same characters.

    A hat or a dot above a letter becomes a separate character after the letter. All other accented letters are one
    character.
    """
    pairs = ((letter, unicodedata.normalize("NFD", letter)) for letter in unicodedata.normalize("NFC", text))
    return "".join(two if two[1:] in MARKS else letter for letter, two in pairs)


def translated(line: str) -> str:
    text = normal(line.strip())
    text = re.sub("[ᵢⱼₖₚₜₒₙₘ]+", lambda m: "_" + m[0].translate(str.maketrans("ᵢⱼₖₚₜₒₙₘ", "ijkptonm")), text)
    text = re.sub(r"^(?:\(\d+\)|\d+[.)])\s+|\s+\(\d+\)\s*$", "", text)
    text = re.sub(r"\\(?:mathrm|text|mathbf|mathbb|operatorname|boldsymbol)\s*\{([^{}]*)\}", r"\1", text)
    for _ in MARKS:  # from the inner mark outwards
        text = MARKED.sub(lambda m: f"{m[2].lstrip(chr(92))}{m[1]}", text)
    text = re.sub(r"_\{\s*([\w,\s]+?)\s*\}", lambda m: "_" + re.sub(r"[\s,]", "", m[1]), text)
    text = re.sub(r"\\sum_\{(\w)\s*=[^{}]*\}(?:\^\{[^{}]*\}|\^\w)?", r"\\sum_\1", text)
    plain = ""
    while plain != text:  # from the innermost braces outwards
        plain = text
        text = re.sub(r"\\[dt]?frac\s*\{([^{}]*)\}\s*\{([^{}]*)\}", fraction, text)
        text = re.sub(r"(\^|\\sqrt)\s*\{([^{}]*)\}", r"\1(\2)", text)
    text = SIGN.sub(lambda match: SIGNS[match[0]].replace("_", " "), text)
    text = re.sub(r"\.sum\(\)|\.T\b|\^\{?T\}?(?!\w)|\^⊤", lambda m: "ᵀ" if m[0] != ".sum()" else m[0], text)
    text = text.replace("{", "(").replace("}", ")")
    text = re.sub(r"\^\s*(?:([23])(?![\d./])|\(\s*([23])\s*\))", lambda m: "²³"[int(m[1] or m[2]) - 2], text)
    text = re.sub(r"\^\s*(−?[\d.]+)", r"^(\1)", text)
    text = re.sub(r"\bsum(?=[_\s(])", "Σ", text)
    text = re.sub(r"\bln(?=\W)", "log", text)
    text = re.sub(r"\bsqrt\s*(?=\()", "√", text)
    text = re.sub(r"\b(?:sigmoid|logistic)(?=′*\()", "σ", text)
    text = re.sub(r"\b(mean(?:_\w+)?)\s+\(", r"\1(", text)
    text = re.sub(r"[1𝟙]\[|[1𝟙]_\(", "[", text)
    while "⟨" in text and text != (inner := INNER.sub(r"inner(\1, \2)", text)):  # from the innermost outwards
        text = inner
    text = re.sub(r"∂\s+(?=[\\\w])", "∂", text)
    text = re.sub(r"\\?(?<![A-Za-z_])[A-Za-z]+(?:_?(?:hat|dot))?\d?(?:_\w+)?", word, text)
    text = re.sub(r"([²³])_(\w+)", r"_\2\1", text)
    text = re.sub(r"(?<![\w∂])d(\w\u0302?\w*|\((?:[^()]|\([^()]*\))*\))\s*/\s*d(?=\w)", r"∂\1/∂", text)
    text = re.sub(r"Σ_\((\w)\s*≠\s*(\w)\)", r"Σ_\1 [\1 ≠ \2]", text)
    text = re.sub(r"(∂[\w\u0302²]+)\s*/\s*(?=∂)", r"\1/", text)
    return " ".join(re.sub(r" *· *", " · ", text).split())


def fraction(match) -> str:
    above, below = match[1].strip(), match[2].strip()
    if re.match(r"\\?(?:partial|∂)|d\w", above) and re.match(r"\\?(?:partial|∂)|d\w", below):
        return f"{above}/{below}"
    return f"(({above})/({below}))"


def word(match) -> str:
    """Translate a name such as `dgamma_i`, `xhat`, `delta_ij` or `\\mu` to the notation of the book."""
    text = match[0].lstrip("\\")
    name, _, index = re.sub("_(hat|dot)", r"\1", text).partition("_")
    index = f"_{index}" if index else ""
    begin = ""
    if name[0] == "d" and name != "dot" and (name[1:].removesuffix("hat").rstrip("2") in GREEK or name.endswith("hat")):
        begin, name = "d", name[1:]
    is_word = name in ("hat", "that", "what", "dot")
    marks = ""
    for mark, suffix in reversed(MARKS.items()):  # xhatdot is x with a hat, and a dot above it
        if name.endswith(suffix) and not is_word:
            name, marks = name.removesuffix(suffix), mark + marks
    square = "²" if name.endswith("2") and name[:-1] in GREEK else ""
    name = name.removesuffix("2") if square else name
    return begin + GREEK.get(name, name) + marks + square + index


# Readings of the slash


class Strokes(notation.Parser):
    """A parser in which a slash without blanks divides one factor by the next, so `1/C Σ x` means (1/C) Σ x."""

    divides_by_all = True  # True if a slash between blanks divides by the rest of the term, False for one factor

    def factor(self):
        node = super().factor()
        while self.next.is_adjacent and self.next.text == "/":
            self.take()
            node = notation.Fraction(node, super().factor())
        return node

    def term(self):
        node = self.beside()
        while self.next.text in ("·", "/"):
            if self.take() == "·":
                node = notation.Dot(node, self.beside())
            elif self.divides_by_all:
                node = notation.Fraction(node, self.term())
            else:
                node = notation.Fraction(node, self.factor())
                node = notation.Beside((node, self.beside())) if self.begins_factor() else node
        return node


class NextFactor(Strokes):
    divides_by_all = False


PARSERS = {
    Strokes: "",
    notation.Parser: "a stroke divides by the factors side by side that follow it",
    NextFactor: "a stroke divides by the next factor only",
}


def readings(text: str) -> dict:
    """Parse an equation in all possible ways. Return {parse: remark on the slashes}, the most likely first."""
    found, error = {}, None
    for parser, remark in PARSERS.items():
        try:
            found.setdefault(parser(text, 0).equation(), remark)
        except notation.NotationError as fault:
            error = error or fault
    if not found:
        raise error or AssertionError
    return found
