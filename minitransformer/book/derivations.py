"""Read a file, execute its equations on specimens, and compare each with the value at its line of code."""

import tokenize
from dataclasses import dataclass
from pathlib import Path

from minitransformer.book.observation import parsed, places
from minitransformer.book.run import Run, belongs
from minitransformer.book.statements import Statement, statements


@dataclass
class Derivations:
    """A file of derivations: its source, its equations, and an executed Run per specimen."""

    source: str
    statements: list[Statement]
    runs: list[Run]


def read_derivations(path, specimens, source: str | None = None) -> Derivations:
    """Read a file and execute its equations on specimens.

    The equations are taken from the docstrings of `source` if it is given, and otherwise from the file. Raises OSError
    if the file cannot be read, ValueError if it is not valid Python, and NotationError for a numbered line that is not
    an equation. The messages contain the line.
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

    Raises OSError if it cannot be read, and ValueError, with the line, if it is not valid Python.
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
    """Read a text in the encoding that its first lines declare, or else in UTF-8.

    Raises the exceptions of read_python.
    """
    try:
        with tokenize.open(path) as file:
            return file.read()
    except SyntaxError:
        raise ValueError(f"{path}: not UTF-8 text, and its first lines declare no other encoding") from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ValueError(f"{path}, line {line}: not {error.encoding.upper()} text: {error.reason}") from None


def fits(remarks, specimen):
    """Return True if the remarks name the variant of a specimen or no variant."""
    words = {word.strip("(),") for remark in remarks for word in remark.split()}
    return words.isdisjoint(specimen.variants) or specimen.variant in words
