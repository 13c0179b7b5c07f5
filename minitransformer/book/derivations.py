"""Execute the equations in docstrings, and compare them with the code's values.

unexecuted.md lists the equations that are not executed, with the reasons.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from minitransformer.book import notation as n
from minitransformer.book.chapters import PACKAGE
from minitransformer.book.formulas import formulas, relations_outside
from minitransformer.book.observation import docstrings, is_python, numbers_of_lines, places, read_python
from minitransformer.book.prose import blocks
from minitransformer.book.run import Run, belongs
from minitransformer.book.symbols import symbols_in

TOLERANCE = 1e-10  # largest error, relative to the largest entry, that counts as equal
EQUAL, DIFFERENT = "equal", "different"
ASSUMED = "it is an assumption of its sentence"


def reasons_in(text: str) -> dict:
    """Parse unexecuted.md into the reasons for each file and equation.

    The text has a heading for each file, followed by lines `- reason: a = b; c = d`.
    """
    found = {}
    for section in re.split("^## ", text, flags=re.MULTILINE)[1:]:
        file, *lines = section.strip().split("\n")
        reasons = (line.removeprefix("- ").partition(": ") for line in lines if line)
        found[file] = {equation: reason for reason, _, equations in reasons for equation in equations.split("; ")}
    return found


NOT_EXECUTED = reasons_in(Path(__file__).with_name("unexecuted.md").read_text("utf-8"))


@dataclass
class Statement:
    """An equation in a docstring, and the results of executing it on specimens (see specimens.py)."""

    text: str
    equation: n.Equation
    number: int | None
    function: str  # qualified name of the documented function
    line: int
    remarks: tuple  # texts next to the equation
    ranges: tuple  # ranges of indices, such as k = 1 … t
    value: object = None  # value of the left side on the first specimen that executes it
    shown_on: object = None  # the Run of that specimen
    errors: list = field(default_factory=list)  # error on each specimen, relative to the largest entry
    reasons: list = field(default_factory=list)  # reasons why it is not executed, on some specimen or at all
    in_prose: bool = False  # True if the equation is part of a sentence
    listed: str = ""  # reason from unexecuted.md, or "" if the equation is not listed there

    @property
    def verdict(self) -> str:
        if self.errors:
            return EQUAL if max(self.errors) <= TOLERANCE else DIFFERENT
        return self.reasons[-1] if self.reasons else "no example runs it"

    @property
    def in_words(self) -> str:
        if self.verdict not in (EQUAL, DIFFERENT):
            return f"not executed: {self.verdict}"
        if self.verdict == EQUAL:
            return "equal to its line"
        worst = max(self.errors)
        if np.isfinite(worst):
            return f"differs from its line by {worst:.3g} of the largest entry"
        return f"does not hold{': ' * bool(self.reasons)}{', '.join(self.reasons)}"

    @property
    def length(self) -> int:
        """Return the number of characters of the equation, or of the first one on its line."""
        return len(re.split(" {3,}", self.text)[0])

    @property
    def is_of_gradient(self) -> bool:
        return self.number is not None and self.function.endswith("backward")


def statements(source: str, file: str) -> list[Statement]:
    """Return the equations of a file: first those on indented lines, then those in sentences."""
    physical, found = source.split("\n"), []
    for docstring in docstrings(source):
        for k, text in enumerate(docstring.text.split("\n")):
            if text.startswith("    "):
                at = min(docstring.first + k, docstring.last)
                found += statements_of(text, docstring.function, at, physical[at - 1], file)
    names, in_prose = names_of(found), []
    for docstring in docstrings(source):
        ranges = tuple(dict.fromkeys(part for s in found if s.function == docstring.function for part in s.ranges))
        in_prose += statements_in_prose(docstring, names, ranges)
    return found + in_prose


def names_of(statements) -> frozenset:
    return frozenset(symbol.base for s in statements for symbol in symbols_in(*s.equation.sides))


def statements_in_prose(docstring, names, ranges):
    """Return the equations in the sentences of a docstring. One that cannot be parsed has Remarks as its sides."""
    found = []
    for text in (content for kind, content in blocks(docstring.text) if kind == "prose"):
        its_own = formulas(text, names)
        for formula in (formula for formula in its_own if formula.is_equation):
            words = text[formula.first : formula.behind]
            found.append(Statement(words, formula.node, None, docstring.function, 0, (), ranges, in_prose=True))
            found[-1].reasons += [ASSUMED] * formula.is_assumed
        for words in relations_outside(text, its_own):
            unknown = n.Equation((n.Remark(words), n.Remark(words)), ("=",))
            found.append(Statement(words, unknown, None, docstring.function, 0, (), (), in_prose=True))
    for statement in found:
        place = re.search(r"\s+".join(map(re.escape, statement.text.split())), docstring.text)
        statement.line = docstring.first + docstring.text.count("\n", 0, place.start() if place else 0)
    return found


def statements_of(text, function, at, physical, file):
    """Return the equations on a line. Raises NotationError if the line has a number but no equation."""
    try:
        line = n.parse_line(text.strip())
    except n.NotationError as error:
        if not n.NUMBERED.fullmatch(text):
            return []
        column = error.column + len(physical) - len(physical.lstrip())
        raise n.NotationError(f"{file}, line {at}, column {column}: {error}", column) from None
    if line.number is None and is_python(text.strip()):
        return []
    equations, found = [part for part in line.parts if isinstance(part, n.Equation)], []
    ranges = tuple(e for e in equations if isinstance(e.sides[0], n.Symbol) and isinstance(e.sides[-1], n.Range))
    for part in line.parts:
        if part in equations and part not in ranges:
            found.append(Statement(text.strip(), part, line.number, function, at, (), ranges))
        elif isinstance(part, n.Remark) and found:
            found[-1].remarks += (part.text,)
    if found and isinstance(line.parts[0], n.Remark):
        found[0].remarks = (line.parts[0].text, *found[0].remarks)
    return found


@dataclass
class Derivations:
    source: str
    statements: list[Statement]
    runs: list[Run]

    @property
    def lines(self) -> dict[int, int]:
        """The first line of code of each equation, by number."""
        numbered = reversed(numbers_of_lines(self.source).items())
        return {number: line for line, numbers in numbered for number in numbers}


def read_derivations(path, specimens, source: str | None = None) -> Derivations:
    """Read a file, and execute the equations of its docstrings on specimens.

    If `source` is given, its docstrings are used instead of those of the file. Raises OSError if the file cannot be
    read, ValueError if the file is not Python, and NotationError if a numbered line is not an equation.
    """
    code = read_python(path)
    found, numbered = statements(source or code, Path(path).name), places(code)
    runs = []
    for statement in found:
        statement.listed = why_not_executed(path, statement.text)
        statement.reasons += [statement.listed] * bool(statement.listed)
    for specimen in specimens:
        its_own = [s for s in found if concerns(s, specimen) and fits(s.remarks, specimen)]
        runs.append(Run(specimen, path, numbered, its_own))
        runs[-1].execute()
    for statement in found:
        if statement.number is not None and statement.number not in numbered and not statement.listed:
            statement.reasons.append(f"no line of code ends in # ({statement.number})")
    return Derivations(code, found, runs)


def executed_anywhere(text: str, derivations: Derivations) -> Statement:
    """Execute an equation that belongs to a whole file on each run. It is equal if it holds on one of them."""
    statement = Statement(text, n.parse(text), None, "", 0, (), ())
    for run in derivations.runs:
        run.execute_one(statement)
    statement.errors = [min(statement.errors)] if statement.errors else []
    return statement


def concerns(statement, specimen):
    """Return True if a statement must be executed on a specimen.

    The statement must be in the docstring of the specimen's function. If it is part of a sentence, it may also be in
    the docstring of the class or the file.
    """
    prefix = f"{statement.function}."
    is_above = statement.in_prose and (prefix == "." or specimen.function.startswith(prefix))
    is_left_out = statement.listed or ASSUMED in statement.reasons
    return not is_left_out and (is_above or belongs(statement.function, specimen))


def why_not_executed(path, line: str) -> str:
    path, package = Path(path).resolve(), PACKAGE.resolve()
    file = path.relative_to(package).as_posix() if path.is_relative_to(package) else ""
    return NOT_EXECUTED.get(file, {}).get(" ".join(line.split()), "")


def fits(remarks, specimen):
    words = {word.strip("(),") for remark in remarks for word in remark.split()}
    return words.isdisjoint(specimen.variants) or specimen.variant in words
