"""Create handouts of a chapter with blanks for the gradients and their code, and keys."""

import re
from html import escape

from minitransformer.book.listing import Passage, passages
from minitransformer.book.observation import docstrings
from minitransformer.book.page import Words, is_shown
from minitransformer.book.symbols import names_given, texts_of
from minitransformer.book.typesetting import mathml

LINE, ALL = 9, 190  # height in millimetres of a written line, and maximum height of all blanks of a chapter
TASK = (
    "Fill in each gradient with its derivation, and the line of code that computes it. The argument of backward is "
    "given: it is the gradient ∂L/∂y of the loss with respect to the output y. dx denotes ∂L/∂x and has the shape of x."
)


def handout(leaf, derivations, answers=False, exercises=()) -> list:
    """Return the body of a chapter's handout, or of the key if `answers` is True."""
    if not any(statement.is_of_gradient for statement in derivations.statements):
        raise ValueError(f"there is no handout of {leaf.page!r}, because the chapter derives no backward pass")
    words = (Words if answers else Blanks)(derivations)
    kind = "the key" if answers else "a handout"
    task = "" if answers else f"<p>{TASK}{f' To do the same {in_code(exercises)}.' * bool(exercises)}</p>"
    its_own = {statement.function for statement in derivations.statements if statement.number is not None} | {""}
    shown = [p for p in passages(derivations.source) if is_shown(p) and p.function in its_own]
    return [f"<h1>{escape(leaf.title)}: {kind}</h1>", task, *map(words.passage, shown)]


def in_code(exercises=()):
    start, *check = (
        f"<code>minitransformer learn {act}</code>" for act in ("start", *map("check {}".format, exercises))
    )
    return f"in code, graded line by line: {start}{', then ' * bool(check)}{', '.join(check)}"


class Blanks(Words):
    """A formatter that replaces the backward equations with blanks."""

    def __init__(self, derivations):
        super().__init__(derivations)
        asked = [s for s in derivations.statements if s.is_of_gradient]
        self.heights_of_blanks = heights_of_blanks(asked, derivations.source)
        names = {re.escape(text) for s in asked for node in names_given(s.equation) for text in texts_of(node)}
        self.answer = re.compile(rf"(?<!\w)({'|'.join(names)})(?!\w)[^.;]*=|=[^.;]*(?<!\w)({'|'.join(names)})(?!\w)")

    def passage(self, passage):
        """Format a passage. Of backward equations and their code, only the left sides are kept."""
        mine = [s for s in self.derivations.statements if s.function == passage.function and s.is_of_gradient]
        if not mine:
            return super().passage(passage)
        kept = "\n\n".join(dict.fromkeys(f"    {statement.text}" for statement in mine))
        lines = []
        for at, line in passage.lines:
            if self.numbers.get(at):
                begins = re.match(r" *(?:return\b|[\w, ]+=(?!=)|)", line)[0] + " " * 6
                blank = begins + f"# {' '.join(f'({number})' for number in self.numbers[at])}"
                marks = [mark for mark in self.marks[at] if mark[1] <= len(begins)]
                self.marks[at] = [*marks, (len(begins), len(blank), "comment")]
                lines.append((at, blank))
            elif line.lstrip().startswith(("def ", "return ", "class ")):
                lines.append((at, line))
        return f'<div class="blanks">{super().passage(Passage(passage.function, kept, tuple(lines)))}</div>'

    def block(self, kind, content, function):
        return "" if kind == "prose" and self.answer.search(content) else super().block(kind, content, function)

    def equation(self, statement):
        if not statement.is_of_gradient:
            return super().equation(statement)
        left = mathml(statement.equation, self.names, only_left=True)
        tied = self.tied("equation to-fill", statement)
        blank = f'<span class="blank" style="height:{self.heights_of_blanks[id(statement)]:.0f}mm"></span>'
        return f"<div {tied}><div>{left}{blank}</div><span>({statement.number})</span></div>"

    def pictures(self, function):
        """Return "", because the graph and the Jacobians would reveal the answers."""
        return ""


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
