"""Create the mutants of a file, each with one mistake in one function.

The mistakes are listed in gradcheck/mistakes/table.py. A mutant is stored as an edit of the source text, so that other
lines and comments are unchanged and the difference from the original is readable.
"""

import ast
import itertools
import textwrap
from dataclasses import dataclass, field
from pathlib import Path

from gradcheck.mistakes.planting import possible_mistakes
from gradcheck.mistakes.row import Edit
from gradcheck.mistakes.sources import find_closures, read_source

ATOMS = (ast.Name, ast.Constant, ast.Call, ast.Attribute, ast.Subscript, ast.Tuple, ast.List)


@dataclass(frozen=True)
class Mutant:
    """A source file with one mistake, stored as an edit of the text."""

    path: Path
    source: str = field(repr=False)  # the original text, read once, because the file may be edited during the audit
    function: str  # the qualified name
    lines: tuple  # the first and the last line of the mutated statement
    start: int
    end: int
    replacement: str
    edit: Edit = field(repr=False)

    @property
    def kind(self):
        return self.edit.row.kind

    @property
    def line(self):
        return self.edit.old.lineno

    @property
    def mutated_source(self):
        """The text of the mutated file. Later statements keep their line numbers."""
        lost = self.source.count("\n", self.start, self.end) - self.replacement.count("\n")
        last = max(self.lines[1], self.source.count("\n", 0, self.end) + 1)  # last line of the statement
        below = sum(map(len, self.source.splitlines(keepends=True)[:last]))
        rest = self.source[self.end : below]
        return self.source[: self.start] + self.replacement + rest + "\n" * lost + self.source[below:]

    def difference(self):
        """Return the removed and the added lines, dedented, as two lists."""
        source = self.source
        first = source.rfind("\n", 0, self.start) + 1
        last = source.find("\n", self.end)
        last = len(source) if last < 0 else last
        before, after = source[first:last], source[first : self.start] + self.replacement + source[self.end : last]
        both = textwrap.dedent(f"{before}\n{after}").splitlines()
        n = len(before.splitlines())
        return both[:n], both[n:]


def mutate(path, patterns=("backward",)):
    """Return the mutants of the functions that match a pattern, in the order of the source."""
    source, closures = read_source(path), find_closures(path, patterns)
    nested = {closure.node for closure in closures}
    return [mutant for closure in closures for mutant in _mutants(closure, source, nested - {closure.node})]


def _mutants(closure, source, others):
    """Return the mutants of one function, except in the nested functions `others`."""
    lines = source.splitlines(keepends=True)
    starts = list(itertools.accumulate(map(len, lines), initial=0))

    def offset(line, column):  # a position in the syntax tree, whose columns count bytes of UTF-8
        return starts[line - 1] + len(lines[line - 1].encode()[:column].decode())

    def span(node):
        return offset(node.lineno, node.col_offset), offset(node.end_lineno, node.end_col_offset)

    def tree(start, end, replacement):  # the syntax tree of the edited statement alone, since nothing else differs
        first, last = next(found for found in statements if found[0] <= start <= end <= found[1])
        before = source[source.rfind("\n", 0, first) + 1 : first]
        text = source[first:start] + replacement + source[end:last]
        return first, ast.dump(ast.parse(f"if True:\n{before if before.isspace() else ' '}{text}"))

    statements = [span(statement) for statement in closure.node.body]
    trees, mutants = {tree(first, first, "") for first, _ in statements}, []
    for edit, place in possible_mistakes(closure, others):
        change = _in_text(source, *span(edit.old), edit.new, place)
        mutated = tree(*change)
        if mutated not in trees:
            trees.add(mutated)
            mutants.append(Mutant(closure.path, source, closure.qualname, place.lines, *change, edit))
    return mutants


def _in_text(source, start, end, new, place):
    """Return the edit (start, end, text) that replaces source[start:end] with a node."""
    text = ast.unparse(new)
    if place.elements and isinstance(place.parent, ast.Assign):
        text = text.removeprefix("(").removesuffix(")")
    if place.needs_atom:
        in_parentheses = source[start - 1 : start] == "(" and source[end : end + 1] == ")"
        before_an_attribute = source[end + in_parentheses : end + in_parentheses + 1] == "."
        # Python would read the integer of `0.sum()` as a float.
        is_atom = isinstance(new, ATOMS) and not (before_an_attribute and isinstance(getattr(new, "value", None), int))
        if in_parentheses and is_atom:
            start, end = start - 1, end + 1
        elif not in_parentheses and not is_atom:
            text = f"({text})"
    return start, end, text
