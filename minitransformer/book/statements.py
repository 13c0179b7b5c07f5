"""Statements: the equations as they stand in the docstrings of a file, and what came of executing them."""

from dataclasses import dataclass, field

import numpy as np

from minitransformer.book import notation as n
from minitransformer.book.observation import docstrings, parsed

TOLERANCE = 1e-10  # of the largest entry
EQUAL, DIFFERENT = "equal", "different"


@dataclass
class Statement:
    """An equation as it stands in a docstring, and what came of executing it.

    `errors` are relative to the largest entry, one for each specimen on which it could be executed; `value` is what its
    left side is on the first of these, and `shown_on` its Run. `reasons` say why it could not be executed on others.
    """

    text: str
    equation: n.Equation
    number: int | None
    function: str
    line: int
    remarks: tuple
    ranges: tuple
    value: object = None
    shown_on: object = None
    errors: list = field(default_factory=list)
    reasons: list = field(default_factory=list)

    @property
    def verdict(self) -> str:
        """EQUAL, DIFFERENT, or why it was not executed."""
        if self.errors:
            return EQUAL if max(self.errors) <= TOLERANCE else DIFFERENT
        return self.reasons[-1] if self.reasons else "nothing here runs it"

    @property
    def in_words(self) -> str:
        """What came of executing it: that it is equal, how it differs, or why it was not executed."""
        if self.verdict not in (EQUAL, DIFFERENT):
            return f"not executed: {self.verdict}"
        if self.verdict == EQUAL:
            return "equal to its line"
        worst = max(self.errors)
        if np.isfinite(worst):
            return f"differs from its line, by {worst:.3g} of the largest entry"
        return f"does not hold{': ' * bool(self.reasons)}{', '.join(self.reasons)}"

    @property
    def is_of_gradient(self) -> bool:
        """Whether it stands in the docstring of a backward, and has a line there."""
        return self.number is not None and self.function.endswith("backward")


def statements(source: str, file: str) -> list[Statement]:
    """Return the equations in the docstrings of a file, in its order.

    Raises NotationError, naming the file, the line and the column, for a numbered line that is no equation.
    """
    physical, found = source.split("\n"), []
    for docstring in docstrings(source):
        for k, text in enumerate(docstring.text.split("\n")):
            if text.startswith("    "):
                at = min(docstring.first + k, docstring.last)
                found += statements_of(text, docstring.function, at, physical[at - 1], file)
    return found


def statements_of(text, function, at, physical, file):
    """Return the equations of a line of a docstring, which is line `at` of the file, and looks there as `physical`."""
    try:
        line = n.parse_line(text.strip())
    except n.NotationError as error:
        if not n.is_numbered(text):
            return []
        column = error.column + len(physical) - len(physical.lstrip())
        raise n.NotationError(f"{file}, line {at}, column {column}: {error}", column) from None
    if line.number is None and is_python(text):
        return []
    ranges = tuple(part for part in line.parts if is_range(part))
    found = []
    for part in line.parts:
        if isinstance(part, n.Equation) and part not in ranges:
            found.append(Statement(text.strip(), part, line.number, function, at, (), ranges))
        elif isinstance(part, n.Remark) and found:
            found[-1].remarks += (part.text,)
    if found and isinstance(line.parts[0], n.Remark):
        found[0].remarks = (line.parts[0].text, *found[0].remarks)
    return found


def is_range(part):
    """Whether a part of a line says how far an index runs."""
    return isinstance(part, n.Equation) and isinstance(part.sides[0], n.Symbol) and isinstance(part.sides[-1], n.Range)


def is_python(text):
    """Whether a line is code, such as `dx = backward(dy)`, which parses as an equation too."""
    try:
        parsed(text.strip())
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True
