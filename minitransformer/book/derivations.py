"""Read a file, execute its equations on specimens, and compare each with the value at its line of code."""

from dataclasses import dataclass
from pathlib import Path

from minitransformer.book.observation import places, read_python
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
    an equation. The error messages contain the line number.
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


def fits(remarks, specimen):
    """Return True if the remarks name the variant of the specimen, or no variant at all."""
    words = {word.strip("(),") for remark in remarks for word in remark.split()}
    return words.isdisjoint(specimen.variants) or specimen.variant in words
