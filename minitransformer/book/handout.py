"""A handout: a chapter's derivation with the backward equations left out, and their lines of code; and its key."""

import re
from html import escape

from minitransformer.book.page import Words, is_shown
from minitransformer.book.reading import Passage, passages
from minitransformer.book.typesetting import mathml

BLANK = '<span class="blank"></span>'


def handout(leaf, text, answers=False) -> list:
    """Return the body of a chapter's handout, for `answers` of its key: what has equations of it, and nothing else."""
    words = Words(leaf.file, text) if answers else Blanks(leaf.file, text)
    kind = "the key" if answers else "a handout"
    task = "" if answers else "<p>Fill in: each gradient, and the line of code that computes it.</p>"
    its_own = {statement.function for statement in text.statements if statement.number}
    shown = [p for p in passages(text.source) if is_shown(p) and (p.function in its_own or not p.function)]
    return [f"<h1>{escape(leaf.title)}: {kind}</h1>", task, *map(words.passage, shown)]


class Blanks(Words):
    """Makes passages whose backward equations are to be filled in."""

    def passage(self, passage):
        """A docstring beside its code; of a backward only what the equations begin with."""
        if not is_backward(passage.function):
            return super().passage(passage)
        mine = [s for s in self.text.statements if s.function == passage.function and s.number]
        kept = "\n\n".join(dict.fromkeys(f"    {statement.text}" for statement in mine))
        lines = tuple((at, self.without_answer(at, line)) for at, line in passage.lines if self.is_kept(at, line))
        return super().passage(Passage(passage.function, kept, lines))

    def is_kept(self, at, line):
        """Whether a line of a backward is shown: one with a number, where it begins, and where it returns."""
        return bool(self.numbers.get(at)) or line.lstrip().startswith(("def ", "return ", "class "))

    def without_answer(self, at, line):
        """A line of code; what it assigns is left out where it carries a number."""
        return re.sub(r"=.*", "= ", line) + self.tag(at) if self.numbers.get(at) else line

    def tag(self, at):
        """The numbers of a line, as a comment."""
        return "      # " + " ".join(f"({number})" for number in self.numbers[at])

    def equation(self, statement, parts):
        """An equation; of a backward one the left side alone."""
        if not is_backward(statement.function):
            return super().equation(statement, parts)
        left = mathml(statement.equation, self.names, only_left=True)
        return f'<div class="equation to-fill"><div>{left}{BLANK}</div><span>({statement.number})</span></div>'


def is_backward(function):
    """Whether a qualified name is that of a backward."""
    return function.endswith("backward")
