"""Derivations: a file, read: its equations, each executed on specimens and compared with the value at its line."""

import tokenize
from dataclasses import dataclass
from pathlib import Path

from minitransformer.book.observation import parsed, places
from minitransformer.book.run import Run, belongs
from minitransformer.book.statements import Statement, statements


@dataclass
class Derivations:
    """A file of derivations: its source, its equations, and a Run for each specimen, executed."""

    source: str
    statements: list[Statement]
    runs: list[Run]


def read_derivations(path, specimens, source: str | None = None) -> Derivations:
    """Read a file and execute its equations on specimens. `source` takes the place of its docstrings.

    Raises OSError for a file that cannot be read, ValueError, naming file and line, for one that is no Python, and
    NotationError, naming the column too, for a numbered line that is no equation.
    """
    code = read_python(path)
    found, numbered = statements(source or code, Path(path).name), places(code)
    runs = []
    for specimen in specimens:
        its_own = [s for s in found if belongs(s.function, specimen) and fits(s.remarks, specimen)]
        runs.append(Run(specimen, path, numbered, its_own))
        runs[-1].execute()
    for statement in found:
        if statement.number is not None and statement.number not in numbered:
            statement.reasons.append(f"no line of code ends in # ({statement.number})")
    return Derivations(code, found, runs)


def read_python(path) -> str:
    """Return the text of a Python file.

    Raises OSError where it cannot be read, ValueError, naming the line, for one that is no Python.
    """
    source = decoded(path)
    try:
        parsed(source)
    except SyntaxError as error:
        where = f", line {error.lineno}, column {error.offset}" if error.lineno else ""
        raise ValueError(f"{path}{where}: not Python: {error.msg}") from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise ValueError(f"{path}: not Python: {error}") from None
    return source


def decoded(path) -> str:
    """Return a text in the encoding that its first lines name, UTF-8 otherwise. Raises what read_python does."""
    try:
        with tokenize.open(path) as file:
            return file.read()
    except SyntaxError:
        raise ValueError(f"{path}: neither UTF-8 text nor in an encoding that its first lines name") from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ValueError(f"{path}, line {line}: not {error.encoding.upper()} text: {error.reason}") from None


def fits(remarks, specimen):
    """Whether remarks, if they name variants, name that of a specimen."""
    words = {word.strip("(),") for remark in remarks for word in remark.split()}
    return words.isdisjoint(specimen.variants) or specimen.variant in words
