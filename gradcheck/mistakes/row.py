"""One row of the table: a mistake as an edit of code, in both directions, and its sentence for two readers."""

import ast
import re
from dataclasses import dataclass, field

from gradcheck.mistakes.patterns import build, holes, match, parsed, text_of

SHOWN = re.compile(r"\{(\w+)(?::([^}]*))?\}")
OPTIONAL = re.compile(r"\[([^\]]*)\]")
WRONG = "wrong"  # in a sentence: all of the wrong code
LONGEST = 60  # characters of a piece of code that a sentence quotes


@dataclass(frozen=True)
class Row:
    """A mistake: `wrong` stands where `right` belongs, both of them patterns.

    `at` says where: in an "expression", or for a whole "value" (the right-hand side of an assignment, or a gradient
    that is returned), a "gradient", a "test", a "pair" of elements, a "statement". `rank` says how plain the repair is:
    1 is the plainest. `classes` is {hole: class of the code that may fill it}. A hole that only `wrong` has is filled
    from its class when the mistake is planted, and one that only `right` has when it is repaired. Without a class the
    row is used in the other direction alone.
    """

    kind: str
    right: ast.AST
    wrong: ast.AST
    sentence: str
    at: str
    rank: int
    classes: dict = field(hash=False)
    answer: frozenset = frozenset()  # the holes that only `right` has

    def planted(self, node, scope, place):
        """Yield an Edit for each way of making the mistake in the right code of a place."""
        return self._edits(node, scope, place, self.right, self.wrong)

    def repaired(self, node, scope, place):
        """Yield an Edit for each way in which the wrong code of a place may have been meant."""
        return self._edits(node, scope, place, self.wrong, self.right)

    def _edits(self, node, scope, place, old, new):
        bound = match(old, node, {})
        if bound is None:
            return
        if not all(scope.admits(self.classes[hole], bound[hole], place) for hole in self.classes if hole in bound):
            return
        for filled in self._filled(sorted(holes(new) - bound.keys()), bound, scope, place):
            yield Edit(self, node, build(new, filled), filled)

    def _filled(self, missing, bound, scope, place):
        if not missing:
            yield bound
            return
        hole, *others = missing
        if hole not in self.classes:
            return
        for code in scope.members(self.classes[hole], bound, place):
            yield from self._filled(others, {**bound, hole: code}, scope, place)


@dataclass(frozen=True, eq=False)
class Edit:
    """A Row at one place: `new` in place of `old`, and {hole: code} of both."""

    row: Row
    old: ast.AST
    new: ast.AST
    bound: dict

    def sentence(self, reader, is_whole=False):
        """Return the sentence for a Reader; `is_whole` if the edit is of a whole value. None if it quotes hidden code.

        A hole is shown as its text, or, if the reader may not see that, as the reader's own phrase for it, or as its
        class. An optional part that names the rest of a value is left out if there is no rest, or if it is hidden.
        """
        text = OPTIONAL.sub(lambda part: "" if is_whole else self._filled(part[1], reader) or "", self.row.sentence)
        return self._filled(text, reader)

    def _filled(self, text, reader):
        parts = [self._shown(found[1], found[2], reader) for found in SHOWN.finditer(text)]
        if None in parts:
            return None
        shown = iter(parts)
        return SHOWN.sub(lambda _: next(shown), text)

    def _shown(self, hole, noun, reader):
        code = text_of(build(self.row.wrong, self.bound) if hole == WRONG else self.bound[hole])
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
    """A reader who may see everything: the author of the code."""

    def sees(self, code, *, is_answer):
        """Return True if a piece of code may be quoted."""
        return True

    def phrase(self, code):
        """Return a noun phrase for a piece of code, or None."""
        return


class Student(Reader):
    """A reader to whom the answer is not shown. Code is quoted only if it stands in the student's own `text`.

    `glossary` is {code: noun phrase}, such as {"gamma": "the gain γ"}.
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


def mistake(kind, right, wrong, sentence, *, at="expression", rank=1, **classes):
    """Return the Row of a mistake. Raises ValueError if its sentence would show an answer and names no class for it.

    In the sentence, `{B}` is the text of a hole, `{B:factor}` "the factor gamma", or "a factor" for a reader who may
    not see the answer, and `{B:another array}` "gamma", or "another array". `{wrong}` is all of the wrong code. A part
    in brackets, `[ of {A}]`, is left out for a whole value.
    """
    right, wrong = parsed(right), parsed(wrong)
    answer = frozenset(holes(right) - holes(wrong))
    for found in SHOWN.finditer(sentence):
        if found[1] not in {WRONG} | holes(right) | holes(wrong):
            raise ValueError(f"{kind}: the sentence {sentence!r} names the hole {found[1]}, which neither side has")
        if found[1] in answer and found[2] is None:
            raise ValueError(f"{kind}: the sentence {sentence!r} shows the answer {found[1]} without a class")
    if any(isinstance(side, ast.stmt) for side in (right, wrong)):
        at = "statement"
    if at == "statement":
        right = ast.Expr(right) if isinstance(right, ast.expr) else right
    return Row(kind, right, wrong, sentence, at, rank, classes, answer)
