"""The derivation and the code agree: each numbered equation has a line that computes it, and conversely.

An equation is an indented line of a docstring that ends in its number, `y = γ · x̂ + β      (5)`; the line of code that
computes it ends in a comment that begins with that number, `y += beta  # (5)`, or with several. The equations of a file
are numbered in the order in which it is read. A twin in the engine has the numbers of its textbook function.
"""

import inspect
import io
import re
import tokenize
import unicodedata
from pathlib import Path

import pytest
from numbered_equations import EQUATION, PACKAGES, TEXTBOOK, docstrings, equations

from minitransformer import fast
from minitransformer.book import observation

ENGINE = sorted((PACKAGES[0] / "fast").glob("*.py"))

MISPLACED = re.compile(r"^\S.*\S {2,}\(\d+\)$")
QUOTED = re.compile(r"`[^`\n]*`")
REFERENCE = re.compile(r"(?<!\S)\((\d{1,2})\)")  # a year has four digits
FILES = [
    path
    for package in PACKAGES
    for path in sorted(package.rglob("*.py"))
    if REFERENCE.search(path.read_text("utf-8"))  # the others have neither equations nor tags
]


def tags(source):
    return {number for numbers in observation.numbers_of_lines(source).values() for number in numbers}


def references(source):
    """Return the set of the numbers that docstrings and comments mention, in running text too."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    texts = docstrings(source) + [token.string for token in tokens if token.type == tokenize.COMMENT]
    return {int(number) for text in texts for number in REFERENCE.findall(QUOTED.sub("", text))}


def faults(source, elsewhere=()):
    """Return the faults in the equation numbers of a file, one line for each.

    `elsewhere` are equations in another file, of a textbook function, that this one works out.
    """
    numbers, tagged = equations(source), tags(source)
    known = {*numbers, *elsewhere}
    found = [f"equation ({n}) has no line of code" for n in sorted(set(numbers) - tagged)]
    found += [f"a line is tagged ({n}), which is no equation" for n in sorted(tagged - known)]
    if numbers != list(range(1, len(numbers) + 1)):
        found.append(f"the equations are numbered {numbers}")
    found += [f"({n}) is mentioned, which is no equation" for n in sorted(references(source) - known - tagged)]
    lines = [line for docstring in docstrings(source) for line in docstring.splitlines()]
    found += [f"an equation is not indented: {line}" for line in lines if MISPLACED.match(line)]
    return found


def equations_of_the_textbook(path):
    """Return the equation numbers that a file of the engine may use: those of its textbook functions."""
    twins = [getattr(fast, name) for name in fast.__all__]
    files = {twin.textbook: inspect.getsourcefile(inspect.unwrap(twin)) for twin in twins}
    plain = {inspect.getsourcefile(function) for function, file in files.items() if Path(file) == path}
    return {number for file in plain for number in equations(Path(file).read_text("utf-8"))}


def test_every_equation_has_its_line_of_code_and_every_tag_its_equation():
    derived = {path.name for path in FILES if equations(path.read_text("utf-8"))}
    assert derived >= {"layer_norm.py", "block.py", "losses.py", "optim.py", "generation.py", "central_differences.py"}
    found = {path: faults(path.read_text("utf-8"), elsewhere=equations_of_the_textbook(path)) for path in FILES}
    assert {str(path): its_faults for path, its_faults in found.items() if its_faults} == {}


GOOD = '''
"""A square, see (1)."""

def square(x):
    """Square x.

        y = x²      (1)

    A line of prose that ends in a reference to (1)
    """
    y = x * x  # (1)

    def backward(dy):
        """From (1),

            dx = 2 x dy                                     (2)
            da = 0    db = dx      (a sum)                  (3)

        and no more.
        """
        # (2) and (3) at once
        return 2 * x * dy  # (2) (3), both

    return y, backward
'''


@pytest.mark.parametrize(
    "old, new, fault",
    [
        ("  # (1)\n", "\n", "equation (1) has no line of code"),
        ("# (2) (3), both", "# (2), and (3)", "equation (3) has no line of code"),
        ("# (1)\n", "# (1) (4)\n", "a line is tagged (4), which is no equation"),
        ("      (1)\n", "\n", "a line is tagged (1), which is no equation"),
        ("      (1)\n", "      (3)\n", "the equations are numbered [3, 2, 3]"),
        ("see (1).", "see (7).", "(7) is mentioned, which is no equation"),
        ("        y = x²  ", "    y = x²  ", "an equation is not indented: y = x²      (1)"),
    ],
)
def test_numbers_that_disagree_are_found(old, new, fault):
    assert old in GOOD and faults(GOOD) == []
    assert fault in faults(GOOD.replace(old, new))


# Echoes: `# (6) ← γ · x̂ (5)`, the part of the forward pass that a line of a backward pass mirrors.

ECHO = re.compile(r"#(?: \(\d+\))+ ← (.*)$")
PART = re.compile(r"(?:^|, )(.*?) ?\((\d+)\)")


def numbered(docstring):
    """Return {number: equation} of a docstring, blanks made single."""
    return {
        int(match[1]): " ".join(line.rpartition("(")[0].split())
        for line in (docstring or "").splitlines()
        if (match := EQUATION.match(line))
    }


def echo_faults(source):
    """Return the faults in the echoes of a file: an unknown part, or a backward equation without an echo."""
    forward = {n: text for docstring in docstrings(source) for n, text in numbered(docstring).items()}
    backward = {n for d in observation.docstrings(source) if d.function.endswith("backward") for n in numbered(d.text)}
    found, echoed = [], set()
    for line in source.splitlines():
        if match := ECHO.search(QUOTED.sub("", line)):
            echoed |= {int(n) for n in re.findall(r"\((\d+)\)", match[0].partition("←")[0])}
            for part, n in PART.findall(match[1]):
                if int(n) in backward or part not in forward.get(int(n), ""):
                    found.append(f"{part!r} is no part of a forward equation ({n})")
    return found + [f"equation ({n}) does not say what it mirrors" for n in sorted(backward - echoed)]


def test_every_equation_of_a_backward_pass_says_which_part_of_the_forward_pass_it_mirrors():
    files = [PACKAGES[0] / "first_steps.py", *TEXTBOOK]
    found = {path.name: echo_faults(path.read_text("utf-8")) for path in files}
    assert {name: its_faults for name, its_faults in found.items() if its_faults} == {}


# Notation: the table at the end of the package's docstring.

COMMON = set("BTCFLHKDVIOxyWb") | {"Σ", "π"}


def letters(equation):
    """Return the single letters of an equation, without the d of a gradient and without subscripts."""
    plain = "".join(c for c in re.sub(r"_\w+|'s", "", equation) if unicodedata.category(c) not in ("Lm", "No"))
    words = re.findall(r"(?:[^\W\d_]\u0302?)+", plain)
    return {match[1] for word in words if (match := re.fullmatch(r"[d∂]?([^\W\d_]\u0302?)", word))}


def letters_of(path):
    return {
        letter
        for docstring in docstrings(path.read_text("utf-8"))
        for equation in numbered(docstring).values()
        for letter in letters(equation)
    }


def table_of_notation(text):
    """Return {letter: names of files} as the table of letters says it."""
    rows = re.findall(r"^    (\S\u0302?)  (\S.*(?:\n {7}\S.*)*)$", text.partition("Other letters")[2], re.MULTILINE)
    return {
        letter: {name for files in re.findall(r"\(([^()]*)\)", meaning) for name in re.split(r",\s+", files)}
        for letter, meaning in rows
    }


def notation_faults(table, used):
    """Return the letters missing from the table, and those that no equation uses. `used` is {file: letters}."""
    found = [
        f"{letter} of {name} is not in the table"
        for name, its_letters in used.items()
        for letter in its_letters - COMMON
        if name not in table.get(letter, ())
    ]
    found += [f"{name} has no {letter}" for letter in table for name in table[letter] if letter not in used[name]]
    return sorted(found)


def test_the_table_of_notation_has_every_letter_of_every_equation_and_no_other():
    used = {}
    for path in [*TEXTBOOK, *ENGINE]:
        used.setdefault(path.stem, set()).update(letters_of(path))
    table = table_of_notation((PACKAGES[0] / "NOTATION.md").read_text("utf-8"))
    assert len(table) > 30
    assert notation_faults(table, used) == []
    without = {letter: files - {"optim"} for letter, files in table.items()}
    assert "θ of optim is not in the table" in notation_faults(without, used)
    assert "losses has no θ" in notation_faults(table | {"θ": {"optim", "losses"}}, used)
