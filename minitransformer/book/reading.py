"""Reading: a source file as a book shows it, each docstring on one side and the code that it explains on the other."""

import ast
import inspect
from dataclasses import dataclass

from minitransformer.book.observation import functions


@dataclass(frozen=True)
class Passage:
    """A docstring and the code after it, up to the next one: `lines` are (number in the file, text)."""

    function: str  # its qualified name, or nothing for the file's own docstring
    docstring: str
    lines: tuple


def passages(source: str) -> list[Passage]:
    """Return the passages of a file, in its order. What has no docstring belongs to the passage before."""
    text, found = source.splitlines(), []
    starts = [(name, node) for name, node in functions(source) if ast.get_docstring(node) is not None]
    for k, (name, node) in enumerate(starts):
        quoted = node.body[0]
        begins = first_line(node)
        ends = first_line(starts[k + 1][1]) - 1 if k + 1 < len(starts) else len(text)
        lines = [(n, text[n - 1]) for n in range(begins, ends + 1) if not quoted.lineno <= n <= quoted.end_lineno]
        found.append(Passage(name, inspect.cleandoc(quoted.value.value), tuple(trimmed(lines))))
    return found


def first_line(node):
    """The line where a definition begins, with its decorators."""
    if isinstance(node, ast.Module):
        return 1
    return min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])


def trimmed(lines):
    """Lines without blank ones at either end."""
    while lines and not lines[0][1].strip():
        lines = lines[1:]
    while lines and not lines[-1][1].strip():
        lines = lines[:-1]
    return lines
