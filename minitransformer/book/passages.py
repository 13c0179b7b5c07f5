"""Split a source file into passages: a docstring and the code that it explains."""

import ast
import re
from dataclasses import dataclass

from minitransformer.book.observation import docstring_of, functions

FORMATTER = re.compile(r" *# fmt: (on|off)$")


@dataclass(frozen=True)
class Passage:
    """A docstring and the code up to the next one. `lines` are (number in the file, text)."""

    function: str  # its qualified name, or "" for the docstring of the file
    docstring: str
    lines: tuple


def passages(source: str) -> list[Passage]:
    """Return the passages of a file. Code without a docstring belongs to the preceding passage."""
    text, found = source.split("\n"), []
    starts = [(name, node) for name, node in functions(source) if ast.get_docstring(node) is not None]
    begins = [first_line(node, text) for _, node in starts] + [len(text) + 1]
    for k, (name, node) in enumerate(starts):
        quoted = node.body[0]
        numbers = (n for n in range(begins[k], begins[k + 1]) if not quoted.lineno <= n <= quoted.end_lineno)
        lines = [(n, text[n - 1]) for n in numbers if not FORMATTER.match(text[n - 1])]
        lines = [(n, line) for n, line in lines if line.strip() or n != quoted.end_lineno + 1]
        found.append(Passage(name, docstring_of(name, node, text).text, tuple(trimmed(lines))))
    return found


def first_line(node, text):
    """Return the first line of a definition, including decorators and a comment above."""
    if isinstance(node, ast.Module):
        return 1
    line = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
    while text[line - 2].strip().startswith("#"):
        line -= 1
    return line


def trimmed(lines):
    while lines and not lines[0][1].strip():
        lines = lines[1:]
    while lines and not lines[-1][1].strip():
        lines = lines[:-1]
    return lines
