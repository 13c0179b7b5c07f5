"""A row of the table of mistakes: right code, wrong code, and a sentence."""

import ast
import re
from dataclasses import dataclass, field

from gradcheck.mistakes.kinds import KINDS
from gradcheck.mistakes.patterns import build, holes, match, parsed, text_of

SHOWN = re.compile(r"\{(\w+)(?::([^}]*))?\}")
OPTIONAL = re.compile(r"\[([^\]]*)\]")
WRONG = "wrong"  # in a sentence, {wrong} is replaced with the whole wrong code
LONGEST = 60  # largest number of characters of quoted code


@dataclass(frozen=True)
class Row:
    """A mistake that one can make in right code, and undo in wrong code.

    `right` and `wrong` are patterns. When one of them is replaced with the other, a hole that occurs only in the new
    pattern is filled with code of its class. If the hole has no class, the row is used only in the other direction.
    """

    kind: str  # a key of KINDS (kinds.py)
    right: ast.AST
    wrong: ast.AST
    sentence: str  # a template, described in `mistake`
    # "expression", "value" (assigned, returned), "gradient" (returned), "test" of `if`, "pair" or "statement"; only for
    # repairs: "loop" (its iterable) and "names" (two names in an expression, or in the target of an assignment)
    at: str
    rank: int  # rank of the repair; repairs of a smaller rank are simpler and are tried first
    classes: dict = field(hash=False)  # {hole: class of code that may fill it}
    answer: frozenset = frozenset()  # the holes that only `right` has
    where: str = ""  # in a row of a component: the target of the statement to which it applies

    def mistakes(self, node, scope, place):
        """Yield every way to make this mistake in the syntax tree `node`."""
        return self._edits(node, scope, place, self.right, self.wrong, place is not None and place.is_whole)

    def repairs(self, node, scope, is_whole):
        """Yield every way to undo this mistake in the syntax tree `node`."""
        return self._edits(node, scope, None, self.wrong, self.right, is_whole)

    def _edits(self, node, scope, place, old, new, is_whole):
        bound = match(old, node, {})
        if bound is None:
            return
        if all(scope.admits(self.classes[hole], code, place) for hole, code in bound.items() if hole in self.classes):
            for filled in self._filled(sorted(holes(new) - bound.keys()), bound, scope, place):
                yield Edit(self, node, build(new, filled), filled, is_whole)

    def _filled(self, missing, bound, scope, place):
        if not missing:
            yield bound
            return
        hole, *others = missing
        for code in scope.members(self.classes[hole], bound, place) if hole in self.classes else ():
            yield from self._filled(others, {**bound, hole: code}, scope, place)


@dataclass(frozen=True, eq=False)
class Edit:
    """A row of the table, applied to a piece of code."""

    row: Row
    old: ast.AST  # the code that is replaced
    new: ast.AST
    bound: dict  # {hole of either pattern: its code}
    is_whole: bool = False  # True if the whole value of an assignment, or a returned gradient, is replaced

    def sentence(self, reader):
        """Return the sentence for a reader, or None if it would show hidden code.

        A hole is replaced with its code if the reader may see the code, otherwise with the reader's phrase for the code
        or with the noun in the sentence. An optional part is left out if it would quote hidden code. It is also left
        out if the edit replaces a whole value, because there is no rest to name.
        """
        text = OPTIONAL.sub(
            lambda part: "" if self.is_whole else self._filled(part[1], reader) or "", self.row.sentence
        )
        return self._filled(text, reader)

    def _filled(self, text, reader):
        parts = [self._shown(found[1], found[2], reader) for found in SHOWN.finditer(text)]
        if None in parts:
            return None
        shown = iter(parts)
        return SHOWN.sub(lambda _: next(shown), text)

    def _shown(self, hole, noun, reader):
        code = reader.text(build(self.row.wrong, self.bound) if hole == WRONG else self.bound[hole])
        is_class = noun is not None and noun.startswith(("a ", "an ", "another", "the "))
        if reader.sees(code, is_answer=hole in self.row.answer):
            quoted = code if len(code) <= LONGEST else f"{code[: LONGEST - 1]}…"
            return quoted if noun is None or is_class else f"{'' if noun == 'axis' else 'the '}{noun} {quoted}"
        phrase = reader.phrase(code)
        if phrase is not None:
            return phrase
        if noun is None or is_class:
            return noun
        return f"{'an' if noun[0] in 'aeio' else 'a'} {noun}"


class Reader:
    """A reader who may see all code, such as the author."""

    def text(self, code):
        return text_of(code)

    def sees(self, code, *, is_answer):
        return True

    def phrase(self, code):
        """Return a noun phrase that describes the code to this reader, or None."""


class Student(Reader):
    """A reader who may see code in `text`, the student's own code, but no answers.

    `glossary` is a dictionary from code to a noun phrase, such as {"gamma": "the gain γ"}.
    """

    def __init__(self, text, glossary):
        try:
            nodes = list(ast.walk(ast.parse(text)))
        except SyntaxError:
            nodes = []
        self.own = {ast.unparse(n) for n in nodes if isinstance(n, ast.expr)}
        self.own |= {n.attr for n in nodes if isinstance(n, ast.Attribute)}
        self.glossary = glossary

    def sees(self, code, *, is_answer):
        return not is_answer and code in self.own

    def phrase(self, code):
        return self.glossary.get(code)


def mistake(kind, right, wrong, sentence, *, at="expression", rank=1, where="", **classes):
    """Create a row of the table of mistakes.

    `right` and `wrong` are patterns, and `sentence` is a template:

        {B}                is replaced with the code in the hole B
        {B:factor}         becomes "the factor gamma", or "a factor" for a reader who may not see the answer
        {B:another array}  becomes "gamma", or "another array" for such a reader
        {wrong}            is replaced with the whole wrong code
        [ of {A}]          is left out if the edit replaces a whole value

    An answer is a hole that only `right` has. The sentence must give a noun for it, such as `factor` above. The other
    arguments are described in `Row`.

    Raises ValueError if the kind is unknown, or if the sentence refers to a placeholder that neither pattern has, or to
    an answer without a noun.
    """
    if kind not in KINDS:
        raise ValueError(f"{kind!r} is not a kind of mistake: kinds.py has {', '.join(KINDS)}")
    right, wrong = parsed(right), parsed(wrong)
    answer = frozenset(holes(right) - holes(wrong))
    for found in SHOWN.finditer(sentence):
        if found[1] not in {WRONG} | holes(right) | holes(wrong):
            raise ValueError(
                f"{kind}: the sentence {sentence!r} refers to the placeholder {found[1]}, which is in neither pattern"
            )
        if found[1] in answer and found[2] is None:
            raise ValueError(
                f"{kind}: the sentence {sentence!r} shows the answer {found[1]}; add a noun: {{{found[1]}:factor}}"
            )
    if at == "statement" or any(isinstance(side, ast.stmt) for side in (right, wrong)):
        at, right = "statement", ast.Expr(right) if isinstance(right, ast.expr) else right
    return Row(kind, right, wrong, sentence, at, rank, classes, answer, where)


def rows_of(table: str) -> list[Row]:
    """Parse a table of mistakes and return a list of rows.

    A line is `kind: sentence | right → wrong; rank=2 B=factors | …`. The options after the semicolon are keyword
    arguments of `mistake`. A line that ends with | continues in the next one. `for a → b, c → d:` before a line repeats
    it, with a and b in place of $1 and $2, then with c and d.
    """
    found = []
    for line in re.sub(r"([|:])\n {4}", r"\1 ", table).strip().split("\n"):
        values, line = line.removeprefix("for ").split(": ", 1) if line.startswith("for ") else ("", line)
        for value in [] if line.startswith("#") else values.split(", "):
            first, _, second = value.partition(" → ")
            named, *pairs = line.replace("$1", first).replace("$2", second).split(" | ")
            kind, sentence = named.split(": ", 1)
            for code, _, given in (pair.partition("; ") for pair in pairs):
                right, wrong = code.split(" → ")
                options = dict(option.split("=") for option in given.split())
                rank = int(options.pop("rank", "1"))
                found.append(mistake(kind, right, wrong, sentence, rank=rank, **options))
    return found
