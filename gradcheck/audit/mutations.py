"""Create the mutants of a file: each has one mistake of gradcheck/mistakes/table.py in one place of one function.

A mutant replaces one expression or statement of the syntax tree with another. It is stored as an edit of the source
text, so that all other lines, including comments, are unchanged and its diff is readable.
"""

import ast
import itertools
import textwrap

from gradcheck.audit.mutant import Mutant
from gradcheck.mistakes.planting import planted
from gradcheck.mistakes.sources import find_closures, read_source

ATOMS = (ast.Name, ast.Constant, ast.Call, ast.Attribute, ast.Subscript, ast.Tuple, ast.List)


def mutate(path, patterns=("backward",)):
    """Return the Mutants of a file, in the order of the source.

    The functions whose names match one of the patterns are mutated.
    """
    text = Text(read_source(path))
    closures = find_closures(path, patterns)
    nested = {closure.node for closure in closures}
    return [mutant for closure in closures for mutant in _mutants(closure, text, nested - {closure.node})]


def _mutants(closure, text, others):
    """Return the Mutants of one function, at most one for each mutated syntax tree."""
    trees, mutants = {text.function(text.source, closure.node)}, []
    for edit, place in planted(closure, others):
        start, end, replacement = text.replaced(edit, place)
        mutant = Mutant(
            path=closure.path,
            source=text.source,
            function=closure.qualname,
            codes=tuple(closure.codes),
            kind=edit.row.kind,
            line=edit.old.lineno,
            lines=place.lines,
            start=start,
            end=end,
            replacement=replacement,
            edit=edit,
            is_whole=place.is_whole,
        )
        tree = text.function(mutant.mutated_source, closure.node)
        if tree not in trees:
            trees.add(tree)
            mutants.append(mutant)
    return mutants


class Text:
    """Source text, in which nodes of its syntax tree can be replaced."""

    def __init__(self, source):
        self.source = source
        self.lines = source.splitlines(keepends=True)
        self.starts = list(itertools.accumulate((len(line) for line in self.lines), initial=0))

    def replaced(self, edit, place):
        """Convert an Edit of the tree to (start, end, replacement) for the text, with parentheses where needed."""
        old, new = edit.old, edit.new
        start, end = self._offset(old.lineno, old.col_offset), self._offset(old.end_lineno, old.end_col_offset)
        text = ast.unparse(new)
        if place.elements and isinstance(place.parent, ast.Assign):
            text = text.removeprefix("(").removesuffix(")")
        if place.needs_atom:
            in_parentheses = self.source[start - 1 : start] == "(" and self.source[end : end + 1] == ")"
            is_atom = isinstance(new, ATOMS) and not self._is_integer_before_an_attribute(new, end + in_parentheses)
            if in_parentheses and is_atom:
                start, end = start - 1, end + 1
            elif not in_parentheses and not is_atom:
                text = f"({text})"
        return start, end, text

    def function(self, source, node):
        """Return the syntax tree of a function in a mutated source, as a string.

        `node` is the function in the original source. No line outside it may differ.
        """
        tail = len(self.lines) - node.end_lineno
        lines = source.splitlines(keepends=True)
        text = "".join(lines[node.lineno - 1 : len(lines) - tail])
        return ast.dump(ast.parse(textwrap.dedent(text)))

    def _is_integer_before_an_attribute(self, new, end):
        """Return True if `new` is an integer before a dot, as in `0.sum()`, which Python would read as a float."""
        return isinstance(getattr(new, "value", None), int) and self.source[end : end + 1] == "."

    def _offset(self, line, column):
        """Convert a line and a column of the syntax tree, in bytes of UTF-8, to an index into the source."""
        return self.starts[line - 1] + len(self.lines[line - 1].encode()[:column].decode())
