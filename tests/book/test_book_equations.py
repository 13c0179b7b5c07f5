"""The equations of the textbook are executed, and equal the values of their lines of code.

An equation that is neither executed nor listed, with its reason, in the book's NOT_EXECUTED is a fault; and so is one
that differs from its line, so an edit that changes the meaning of an equation is noticed.
"""

import random
import re

import pytest
from numbered_equations import TEXTBOOK, equations
from small_book import SPECIMENS, derivations

from minitransformer.book import notation as n
from minitransformer.book.chapters import CHAPTERS, PACKAGE
from minitransformer.book.derivations import (
    EQUAL,
    NOT_EXECUTED,
    is_python,
    read_derivations,
    statements,
    why_not_executed,
)
from minitransformer.book.observation import docstrings, read_python
from minitransformer.book.run import belongs

FILES = list(SPECIMENS)


def not_equal(statements):
    """Return the equations of a file that differ from their lines and are not listed, with their verdicts."""
    return [f"({s.number}) {s.text}: {s.verdict}" for s in statements if s.verdict != EQUAL and not s.listed]


DRAWN = {line for line in NOT_EXECUTED["layers/positions.py"] if "│" in line}  # their matrices


def missing(file, source):
    """Return the lines that are listed as not executed and are not in the file."""
    return [line for line in NOT_EXECUTED.get(file, ()) if line not in " ".join(source.split())]


@pytest.mark.parametrize("file", FILES)
def test_every_equation_equals_what_its_line_computes(file):
    assert not_equal(derivations(file).statements) == []


def test_every_file_of_the_textbook_with_an_equation_has_its_equations_executed():
    verdicts = [(s.verdict, s.number) for file in FILES for s in derivations(file).statements]
    executed = [number for verdict, number in verdicts if verdict == EQUAL]
    assert len(executed) >= 212 and executed.count(None) >= 87
    with_equations = {str(path.relative_to(PACKAGE)) for path in TEXTBOOK if equations(path.read_text("utf-8"))}
    assert with_equations <= set(FILES)


def test_every_indented_line_with_a_relation_is_code_or_executed_or_listed():
    for chapter in CHAPTERS:
        known = {s.text for s in derivations(chapter.file).statements}
        for docstring in docstrings(chapter.path.read_text("utf-8")):
            lines = [line.strip() for line in docstring.text.split("\n") if line.startswith("    ")]
            assert [line for line in lines if is_left_out(chapter.file, line, known)] == []


def is_left_out(file, line, known):
    """Whether a line says that something is equal, or less, and is neither code nor known nor listed."""
    says = set(line) & set(n.RELATIONS) and set(line) - set(map(chr, range(128)))
    return says and not is_python(line) and line not in known and not why_not_executed(PACKAGE / file, line)


def test_what_is_listed_as_not_executed_is_there_and_is_not():
    for file, lines in NOT_EXECUTED.items():
        assert missing(file, (PACKAGE / file).read_text("utf-8")) == []
        assert set(lines) <= {" ".join(s.text.split()) for s in statements(read_python(PACKAGE / file), file)} | DRAWN


INDEX = rf"_([{n.INDICES}]+)"


def edits(equation):
    """Yield the equation with each small mistake of each kind."""

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


def lines_of(file):
    """Return (function, line) for every line of equations, executed or not."""
    known = {(s.function, s.text) for s in derivations(file).statements if not s.in_prose}
    for docstring in docstrings((PACKAGE / file).read_text("utf-8")):
        for line in map(str.strip, docstring.text.split("\n")):
            if (docstring.function, line) in known or why_not_executed(PACKAGE / file, line):
                yield docstring.function, line


def planted_edits():
    """Return (file, function, line, the line with a mistake) for every edit of every line of equations."""
    found = []
    for file in FILES:
        for function, line in dict.fromkeys(lines_of(file)):
            body, number = re.fullmatch(r"(.*?)( {2,}\(\d+\))?", line).groups()
            found += [(file, function, line, edited + (number or "")) for edited in edits(body)]
    return found


def is_noticed(file, function, line, edited):
    """Whether a test above would fail, were this line of a docstring edited; only its function is executed again."""
    source = (PACKAGE / file).read_text("utf-8").replace(line, edited)
    specimens = [specimen for specimen in SPECIMENS[file] if belongs(function, specimen)]
    try:
        read = read_derivations(PACKAGE / file, specimens, source)
    except n.NotationError:
        return True
    its_own = [s for s in read.statements if s.function == function]
    before = [s for s in derivations(file).statements if s.function == function]
    return bool(not_equal(its_own)) or len(its_own) < len(before) or bool(missing(file, source))


def test_edits_of_equations_are_noticed():
    planted = planted_edits()
    assert len(planted) > 400
    unnoticed = [edit for edit in random.Random(0).sample(planted, 50) if not is_noticed(*edit)]
    assert len(unnoticed) <= 3, unnoticed


# (file, words of its prose, the words with a mistake: a wrong sign, factor, letter, index, exponent, order or bound)
PLANTED_IN_PROSE = [
    ("module.py", "dx = J_fᵀ (J_gᵀ dz)", "dx = J_gᵀ (J_fᵀ dz)"),
    ("module.py", "db_c = Σ_p dy_pc", "db_c = Σ_c dy_pc"),
    ("first_steps.py", "da = −24", "da = 24"),
    ("layers/linear.py", "Σ_i x_pi W_io + b_o", "Σ_i x_pi W_io − b_o"),
    ("layers/embedding.py", "dW = onehot(id)ᵀ dy", "dW = onehot(id) dy"),
    ("layers/layer_norm.py", "∂μ/∂x_i = 1/C", "∂μ/∂x_i = 2/C"),
    ("layers/layer_norm.py", "− x̂ x̂ᵀ/C)", "− x̂ xᵀ/C)"),
    ("layers/layer_norm.py", "for γ = 1", "for γ = 0"),
    ("layers/softmax.py", "y_j dy_j − y_j Σ_i y_i dy_i", "y_j dy_j − y_j Σ_j y_i dy_i"),
    ("layers/attention.py", "s = 1/√D", "s = 1/D"),
    ("layers/attention.py", "Σ_c q_ic k_jc, with", "Σ_c q_ic k_ic, with"),
    ("layers/attention.py", "dk_jc = s Σ_i dscores_ij q_ic", "dk_jc = s Σ_i dscores_ji q_ic"),
    ("layers/activations.py", "(1 − tanh(u)²) / 2", "(1 − tanh(u)³) / 2"),
    ("layers/feed_forward.py", "∂p/∂u = a", "∂p/∂u = u"),
    ("losses.py", "dz_c = −a_c dℓ", "dz_c = a_c dℓ"),
    ("optim.py", "(1 − β₁) β₁^(t−k) / (1 − β₁ᵗ)", "(1 − β₁) β₁^(t−k) / (1 − β₂ᵗ)"),
]


@pytest.mark.parametrize("file, words, edited", PLANTED_IN_PROSE)
def test_a_mistake_in_an_equation_of_the_prose_is_noticed(file, words, edited):
    source = (PACKAGE / file).read_text("utf-8")
    assert source.count(words) == 1 and not_equal(derivations(file).statements) == []
    assert not_equal(read_derivations(PACKAGE / file, SPECIMENS[file], source.replace(words, edited)).statements) != []


@pytest.mark.parametrize(
    "text, means",
    [
        ("y = r³ (x − μ)/C", "(r³ (x − μ)) / C"),
        ("y = a · b / c · d", "((a · b) / c) · d"),
        ("y = Σ a · b + c", "(Σ (a · b)) + c"),
        ("y = −x²/2", "−((x²) / 2)"),
    ],
)
def test_what_stands_side_by_side_binds_closest(text, means):
    assert n.parse(text).sides[1] == n.parse(f"y = {means}").sides[1]


@pytest.mark.parametrize(
    "line, column, message",
    [
        ("y = x +", 8, "the line ends too early"),
        ("y = (x", 7, "the line ends where ) is expected"),
        ("y = x $ 2", 7, "'$' is not a character of this notation"),
        ("y = x ) 2", 7, "')' is not expected here"),
        ("y x", 4, "'=' is expected"),
        ("y = ∂x/y", 8, "∂ is expected in the denominator of a derivative"),
    ],
)
def test_a_line_that_does_not_parse_is_told_with_its_column(line, column, message):
    with pytest.raises(n.NotationError, match=re.escape(message)) as caught:
        n.parse_line(line)
    assert caught.value.column == column
