"""The equations of the textbook are executed, and equal what the lines beside them compute.

An equation that is neither executed nor listed, with its reason, in the book's NOT_EXECUTED is a fault; and so is one
that differs from its line, so no edit of an equation that changes what it says goes unnoticed.
"""

import random
import re

import pytest

from minitransformer.book import notation as n
from minitransformer.book.chapter import EQUAL, read_text
from minitransformer.book.chapters import PACKAGE
from minitransformer.book.specimens import NOT_EXECUTED, specimens
from tests.test_derivations import TEXTBOOK, equations

SPECIMENS = specimens()
FILES = list(SPECIMENS)


def read_chapter(file, source=None):
    return read_text(PACKAGE / file, SPECIMENS[file], source).statements


def not_equal(file, source=None):
    """Return the equations of a file that are neither equal to their lines nor listed, and what they are."""
    return [
        f"({s.number}) {s.text}: {s.verdict}"
        for s in read_chapter(file, source)
        if s.verdict != EQUAL and (file, s.number) not in NOT_EXECUTED
    ]


@pytest.mark.parametrize("file", FILES)
def test_every_equation_equals_what_its_line_computes(file):
    assert not_equal(file) == []


def test_every_file_of_the_textbook_with_an_equation_has_its_equations_executed():
    with_equations = {str(path.relative_to(PACKAGE)) for path in TEXTBOOK if equations(path.read_text("utf-8"))}
    assert with_equations <= set(FILES)


def test_what_is_listed_as_not_executed_is_not():
    for file, number in NOT_EXECUTED:
        assert [s for s in read_chapter(file) if s.number == number and not s.outcomes]


def test_nearly_all_numbered_equations_are_executed():
    every = [s for file in FILES for s in read_chapter(file)]
    assert sum(s.verdict == EQUAL for s in every if s.number) >= 110
    assert sum(s.verdict == EQUAL for s in every if not s.number) >= 15


INDEX = rf"_([{n.INDICES}]+)"


def edits(equation):
    """Yield what an equation becomes by a small mistake of each kind, wherever it can be made."""

    def replaced(match, new):
        return equation[: match.start()] + new + equation[match.end() :]

    for pattern, new in [
        (r"\+", "−"),
        ("−", "+"),
        ("√", ""),  # a root
        (r"ᵀ(?!\()", ""),  # a transpose
        (rf"(?<=[WABkx])(?= |$)|(?<=W{INDEX[0]}[a-z])(?= |\)|$)", "ᵀ"),
        (r"mean\(", "("),  # a mean
        (r"Σ(_\w+)? ", ""),  # a sum
        (r"(?<![\w_.])\d+(\.\d+)?|½", "7"),  # a factor
        (r" · [^ ()·/+−]+(?=[ )]|$)", ""),
        (r"(?<=[ (])[^ ()·/+−=Σ√]+ · ", ""),
        ("²", ""),
    ]:
        for match in re.finditer(pattern, equation):
            yield replaced(match, new)
    letters = set("".join(re.findall(INDEX, equation)))
    for match in re.finditer(INDEX, equation):
        for k, letter in enumerate(match[1]):
            for other in sorted(letters - {letter}):
                yield replaced(match, f"_{match[1][:k]}{other}{match[1][k + 1 :]}")


def planted_edits():
    """Return (file, line, the line with a mistake) for every edit of every line of equations."""
    found = []
    for file in FILES:
        for line in dict.fromkeys(s.text for s in read_chapter(file)):
            body, number = re.fullmatch(r"(.*?)( {2,}\(\d+\))?", line).groups()
            found += [(file, line, edited + (number or "")) for edited in edits(body)]
    return found


def test_edits_of_equations_are_noticed():
    planted = planted_edits()
    assert len(planted) > 400
    sample = random.Random(0).sample(planted, 50)
    unnoticed = [
        (file, edited)
        for file, line, edited in sample
        if not not_equal(file, (PACKAGE / file).read_text("utf-8").replace(line, edited))
    ]
    assert len(unnoticed) <= 3, unnoticed


@pytest.mark.parametrize(
    "text, means",
    [
        ("y = a/2h", "a / (2 h)"),
        ("y = r³ (x − μ)/C", "(r³ (x − μ)) / C"),
        ("y = a · b / c · d", "((a · b) / c) · d"),
        ("y = Σ a · b + c", "(Σ (a · b)) + c"),
        ("y = log Σ exp(x − m) − z", "(log (Σ exp(x − m))) − z"),
        ("y = −x²/2", "−((x²) / 2)"),
        ("y = √v̂ + ε", "(√v̂) + ε"),
        ("y = x Wᵀ + b", "(x (Wᵀ)) + b"),
    ],
)
def test_what_stands_side_by_side_binds_closest(text, means):
    assert n.parse(text).sides[1] == n.parse(f"y = {means}").sides[1]


@pytest.mark.parametrize(
    "line, column, message",
    [
        ("y = x +", 8, "the line ends too early"),
        ("y = (x", 7, "the line ends where ) is expected"),
        ("y = x $ 2", 7, "'$' is no sign of this notation"),
        ("y = x ) 2", 7, "')' is not expected here"),
        ("y x", 4, "'=' is expected"),
        ("y = ∂x/y", 8, "∂ is expected below the stroke of a derivative"),
    ],
)
def test_a_line_that_does_not_parse_is_told_with_its_column(line, column, message):
    with pytest.raises(n.NotationError, match=re.escape(message)) as caught:
        n.parse_line(line)
    assert caught.value.column == column
