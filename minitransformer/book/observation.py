"""Observation: what each name of a function holds while it runs, and which line belongs to which equation.

Python's profiler hook sees every function return, with its local variables. As the textbook assigns each name once,
these are the values of which its equations speak.
"""

import ast
import inspect
import io
import re
import sys
import tokenize
from contextlib import contextmanager
from dataclasses import dataclass

TAG = re.compile(r"#((?: \(\d+\))+)(?: |,|;|:|$)")
RETURNED = "return"


@dataclass(frozen=True)
class Frame:
    """A function that has returned: its local variables, what it returned, and from which line."""

    names: dict
    returned: object
    line: int


@dataclass(frozen=True)
class Place:
    """Where the value of an equation is found: a function, by its qualified name, and a name in it, or RETURNED.

    `first` and `last` are the lines of the statement.
    """

    function: str
    name: str
    first: int
    last: int


@dataclass(frozen=True)
class Docstring:
    """A docstring and whose it is: a qualified name, or nothing for the file's own.

    `line` is its first in the file, and `indentation` that of the lines after it.
    """

    function: str
    text: str
    line: int
    indentation: int


@contextmanager
def watched(path):
    """Collect the Frames of a file's functions that return within the block: {qualified name: [Frame, …]}."""
    seen = {}

    def profiler(frame, event, returned):
        if event == "return" and frame.f_code.co_filename == str(path):
            name = frame.f_code.co_qualname
            seen.setdefault(name, []).append(Frame(dict(frame.f_locals), returned, frame.f_lineno))

    before = sys.getprofile()
    sys.setprofile(profiler)
    try:
        yield seen
    finally:
        sys.setprofile(before)


def functions(source: str):
    """Yield (qualified name, node) of a file, its classes and its functions, in the order in which it is read."""

    def visit(node, name):
        yield name, node
        for child in ast.iter_child_nodes(node):
            if isinstance(child, (ast.FunctionDef, ast.ClassDef)):
                within = f"{name}.<locals>" if isinstance(node, ast.FunctionDef) else name
                yield from visit(child, f"{within}.{child.name}".lstrip("."))

    return visit(ast.parse(source), "")


def docstrings(source: str) -> list[Docstring]:
    """Return the docstrings of a file in their order."""
    found = []
    for name, node in functions(source):
        if raw := ast.get_docstring(node, clean=False):
            empty = len(raw) - len(raw.lstrip("\n"))
            found.append(Docstring(name, inspect.cleandoc(raw), node.body[0].lineno + empty, node.body[0].col_offset))
    return found


def places(source: str) -> dict[int, list[Place]]:
    """Return {number: [Place, …]}: what those lines of a file assign or return that carry an equation's number."""
    numbers, found = numbers_of_lines(source), {}
    for function, node in functions(source):
        for statement in statements(node):
            for number in numbers.get(statement.end_lineno, ()):
                for name in names_given(statement):
                    place = Place(function, name, statement.lineno, statement.end_lineno)
                    found.setdefault(number, []).append(place)
    return found


def statements(node):
    """Yield the statements of a function that are not in a function or class within it."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.Assign, ast.Return, ast.Expr)):
            yield child
        elif not isinstance(child, (ast.FunctionDef, ast.ClassDef)):
            yield from statements(child)


def names_given(statement):
    """Return the names that a statement gives values to; RETURNED; or the array that it scatters into."""
    if isinstance(statement, ast.Return):
        return [RETURNED]
    if isinstance(statement, ast.Expr):
        call = statement.value
        return [call.args[0].id] if isinstance(call, ast.Call) and isinstance(call.args[0], ast.Name) else []
    return [node.id for target in statement.targets for node in ast.walk(target) if isinstance(node, ast.Name)]


def numbers_of_lines(source: str) -> dict[int, list[int]]:
    """Return {line: the numbers of the equations that it carries}."""
    found = {}
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        beside_code = token.line[: token.start[1]].strip()
        if token.type == tokenize.COMMENT and beside_code and (match := TAG.match(token.string)):
            found[token.start[0]] = [int(number) for number in re.findall(r"\d+", match[1])]
    return found
