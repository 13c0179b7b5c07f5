"""Create handouts of a chapter with blanks for the gradients and their code, and keys."""

import re
from html import escape

from minitransformer.book.observation import docstrings
from minitransformer.book.page import Words
from minitransformer.book.symbols import names_given, texts_of

LINE, ALL = 9, 190  # height in millimetres of a written line, and maximum height of all blanks of a chapter
TASK = (
    "Fill in each gradient with its derivation, and the line of code that computes it. The argument of backward is "
    "given: it is the gradient ∂L/∂y of the loss with respect to the output y. dx denotes ∂L/∂x and has the shape of x."
)


def handout(leaf, derivations, answers=False, exercises=()) -> list:
    """Return the body of a chapter's handout, or of the key if `answers` is True."""
    asked = [statement for statement in derivations.statements if statement.is_of_gradient]
    if not asked:
        raise ValueError(f"there is no handout of {leaf.page!r}, because the chapter derives no backward pass")
    words = Words(derivations, has_file=False) if answers else Blanks(derivations, asked)
    kind = "the key" if answers else "a handout"
    task = "" if answers else f"<p>{TASK}{f' To do the same {in_code(exercises)}.' * bool(exercises)}</p>"
    return [f"<h1>{escape(leaf.title)}: {kind}</h1>", task, *words.parts()]


def in_code(exercises=()):
    start, *check = (
        f"<code>minitransformer learn {act}</code>" for act in ("start", *map("check {}".format, exercises))
    )
    return f"in code, graded line by line: {start}{', then ' * bool(check)}{', '.join(check)}"


class Blanks(Words):
    """A formatter that replaces the backward equations with blanks."""

    def __init__(self, derivations, asked):
        super().__init__(derivations, heights_of_blanks(asked, derivations.source), has_file=False)
        names = {re.escape(text) for s in asked for node in names_given(s.equation) for text in texts_of(node)}
        self.answer = re.compile(rf"(?<!\w)({'|'.join(names)})(?!\w)[^.;]*=|=[^.;]*(?<!\w)({'|'.join(names)})(?!\w)")

    def function(self, ladder, passage, backward, right):
        return super().function(ladder, passage, backward, right) if ladder.backward else ""

    def block(self, kind, content, function):
        return "" if kind == "prose" and self.answer.search(content) else super().block(kind, content, function)


def heights_of_blanks(asked, source):
    """Return the height of the blank for each statement in millimetres. The keys are the ids of the statements.

    The height is proportional to the number of lines of the derivation in the file.
    """
    before, groups = {docstring.function: docstring.first for docstring in docstrings(source)}, []
    for statement in asked:
        lines = statement.line - before[statement.function]
        if lines > 1 or not groups or groups[-1][1][-1].function != statement.function:
            groups.append((lines, []))
        groups[-1][1].append(statement)
        before[statement.function] = statement.line
    lines = {id(statement): max(1, lines / len(group)) for lines, group in groups for statement in group}
    line = min(LINE, ALL / sum(lines.values()))
    return {key: count * line for key, count in lines.items()}
