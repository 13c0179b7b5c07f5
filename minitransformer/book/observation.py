"""Record the local variables of functions, and find the code of each equation.

Python's profiler hook is called whenever a function returns, and can read its local variables. Because the textbook
assigns each name once, the recorded values are those in the equations.
"""

import ast
import io
import os
import re
import sys
import tokenize
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

from gradcheck.names import names_in

TAG = re.compile(r"#((?: \(\d{1,6}\))+)(?: |,|;|:|$)")
RETURNED = "return"


@dataclass(frozen=True)
class Frame:
    names: dict  # {name: value} of the local variables
    returned: object  # returned value
    line: int  # line at which the function returned


@dataclass(frozen=True)
class Place:
    """The variable that contains the value of an equation, and the statement that assigns it."""

    function: str
    name: str  # name of the variable, or RETURNED for the returned value
    first: int  # line numbers of the statement
    last: int


@dataclass(frozen=True)
class Docstring:
    function: str  # qualified name of the documented function, or "" for the file
    text: str  # text without the quotes and the common indentation
    first: int  # line numbers of the docstring
    last: int
    begins: int  # first line of the definition, including decorators and a comment above


@cache
def resolved(file):
    return Path(file).resolve()


@contextmanager
def watched(*paths):
    """Return a context manager that records all calls of the functions in files, as Frames by qualified name."""
    seen, wanted = {}, {resolved(os.path.abspath(path)) for path in paths}

    @cache  # called at every return of any function
    def is_wanted(file):
        return resolved(file) in wanted

    def profiler(frame, event, returned):
        code = frame.f_code
        is_comprehension = code.co_name in ("<genexpr>", "<listcomp>")  # which has separate variables
        if event == "return" and not is_comprehension and is_wanted(code.co_filename):
            seen.setdefault(code.co_qualname, []).append(Frame(dict(frame.f_locals), returned, frame.f_lineno))

    before = sys.getprofile()
    sys.setprofile(profiler)
    try:
        yield seen
    finally:
        sys.setprofile(before if callable(before) else None)  # the hook of cProfile cannot be restored


@lru_cache(maxsize=64)  # the readers of a file parse it several times
def parsed(source: str):
    with warnings.catch_warnings(action="ignore"):  # warnings about invalid escapes in strings
        return ast.parse(source)


def is_python(text: str) -> bool:
    try:
        parsed(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True


def read_python(path, name=None) -> str:
    """Read a Python file in its declared encoding. Raises OSError, or ValueError if it is not Python."""
    name = name or path
    try:
        with tokenize.open(path) as file:
            source = file.read()
    except SyntaxError:
        raise ValueError(f"{name}: not UTF-8 text, and its first lines declare no other encoding") from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ValueError(f"{name}, line {line}: not {error.encoding.upper()} text: {error.reason}") from None
    try:
        with warnings.catch_warnings(action="ignore"):
            compile(source, str(name), "exec", dont_inherit=True)  # finds errors that ast.parse does not
        parsed(source)
    except SyntaxError as error:
        where = f", line {error.lineno}, column {error.offset}" if error.lineno else ""
        raise ValueError(f"{name}{where}: not Python: {error.msg}") from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise ValueError(f"{name}: not Python: {error}") from None
    return source


def functions(source: str):
    def visit(node, name):
        for child in ast.iter_child_nodes(node):
            if isinstance(child, (ast.FunctionDef, ast.ClassDef)):
                inner = f"{name}.{child.name}".lstrip(".")
                yield inner, child
                yield from visit(child, f"{inner}.<locals>" if isinstance(child, ast.FunctionDef) else inner)
            elif isinstance(child, ast.stmt):
                yield from visit(child, name)

    tree = parsed(source)
    yield "", tree
    yield from visit(tree, "")


@lru_cache(maxsize=64)
def docstrings(source: str) -> list[Docstring]:
    lines, found = source.split("\n"), []
    for name, node in functions(source):
        if ast.get_docstring(node) is None:
            continue
        begins = min([getattr(node, "lineno", 1), *(d.lineno for d in getattr(node, "decorator_list", ()))])
        while name and lines[begins - 2].strip().startswith("#"):
            begins -= 1
        quoted = node.body[0]
        first, *others = quoted.value.value.expandtabs().split("\n")
        before = len(lines[quoted.lineno - 1][: quoted.col_offset].expandtabs())
        margin = min([before, *(len(line) - len(line.lstrip()) for line in others if line.strip())])
        text = "\n".join([first.lstrip(), *(line[margin:] for line in others)]).rstrip()
        found.append(Docstring(name, text, quoted.lineno, quoted.end_lineno, begins))
    return found


@lru_cache(maxsize=64)
def places(source: str) -> dict[int, list[Place]]:
    numbers, found = numbers_of_lines(source), {}
    for function, node in functions(source):
        for statement in statements(node):
            for number in numbers.get(statement.end_lineno, ()):
                for name in names_given(statement):
                    place = Place(function, name, statement.lineno, statement.end_lineno)
                    found.setdefault(number, []).append(place)
    return found


def statements(node):
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.Assign, ast.AnnAssign, ast.AugAssign, ast.Return, ast.Expr)):
            yield child
        elif not isinstance(child, (ast.FunctionDef, ast.ClassDef)):
            yield from statements(child)


def names_given(statement):
    """Return the names that a statement assigns. For a return, this is RETURNED, and for a call, the first argument."""
    if isinstance(statement, ast.Return):
        return [RETURNED]
    if isinstance(statement, ast.Expr):
        arguments = statement.value.args if isinstance(statement.value, ast.Call) else []
        return [argument.id for argument in arguments[:1] if isinstance(argument, ast.Name)]
    targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
    return names_in(*targets)


def numbers_of_lines(source: str) -> dict[int, list[int]]:
    found = {}
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        beside_code = token.line[: token.start[1]].strip()
        if token.type == tokenize.COMMENT and beside_code and (match := TAG.match(token.string)):
            found[token.start[0]] = [int(number) for number in re.findall(r"\d+", match[1])]
    return found
