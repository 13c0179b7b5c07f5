"""The derivation and the code beside it agree: each numbered equation has the line that computes it, and conversely.

An equation is an indented line of a docstring that ends in its number, `y = γ · x̂ + β      (5)`; the line of code that
computes it ends in a comment that begins with that number, `y += beta  # (5)`, or with several. The equations of a file
are numbered in the order in which it is read. A twin in the engine has the numbers of its textbook function.
"""

import ast
import inspect
import io
import re
import tokenize
from pathlib import Path

import pytest

import gradcheck
import minitransformer
from minitransformer.module import TWINS

PACKAGES = [Path(package.__file__).parent for package in (minitransformer, gradcheck)]
FILES = [path for package in PACKAGES for path in sorted(package.rglob("*.py"))]
LAYERS = sorted((PACKAGES[0] / "layers").glob("*.py"))

EQUATION = re.compile(r"^    .*\S {2,}\((\d+)\)$")
MISPLACED = re.compile(r"^\S.*\S {2,}\(\d+\)$")
TAG = re.compile(r"#((?: \(\d+\))+)(?: |,|;|:|$)")
REFERENCE = re.compile(r"(?<!\S)\((\d+)\)")


def docstrings(source):
    """Return the docstrings of a file, without their indentation, in the order in which it is read."""
    nodes = [n for n in ast.walk(ast.parse(source)) if isinstance(n, (ast.Module, ast.ClassDef, ast.FunctionDef))]
    return [ast.get_docstring(node) or "" for node in sorted(nodes, key=lambda node: getattr(node, "lineno", 0))]


def equations(source):
    """Return the numbers of the equations in the docstrings of a file, in their order."""
    lines = [line for docstring in docstrings(source) for line in docstring.splitlines()]
    return [int(match[1]) for match in map(EQUATION.match, lines) if match]


def tags(source):
    """Return the set of the numbers that lines of code carry."""
    numbers = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        is_beside_code = token.line[: token.start[1]].strip()
        if token.type == tokenize.COMMENT and is_beside_code and (match := TAG.match(token.string)):
            numbers |= {int(number) for number in re.findall(r"\d+", match[1])}
    return numbers


def references(source):
    """Return the set of the numbers that docstrings and comments mention, in running text too."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    texts = docstrings(source) + [token.string for token in tokens if token.type == tokenize.COMMENT]
    return {int(number) for text in texts for number in REFERENCE.findall(text)}


def defines_a_backward(source):
    """Whether a module-level function has a backward closure, for which something is saved."""
    return any(
        isinstance(inner, ast.FunctionDef) and inner.name == "backward"
        for function in ast.parse(source).body
        if isinstance(function, ast.FunctionDef)
        for inner in ast.walk(function)
    )


def faults(source, elsewhere=()):
    """Return what is wrong with the numbers of a file, one line for each fault.

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
    """Return the numbers of the equations that a file of the engine works out: those of what its twins are twins of."""
    plain = {inspect.getsourcefile(function) for function, twin in TWINS.items() if twin_file(twin) == path}
    return {number for file in plain for number in equations(Path(file).read_text("utf-8"))}


def twin_file(twin):
    return Path(inspect.getsourcefile(twin))


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_every_equation_has_its_line_of_code_and_every_tag_its_equation(path):
    assert faults(path.read_text("utf-8"), elsewhere=equations_of_the_textbook(path)) == []


def test_the_files_with_derivations_are_found():
    derived = {path.name for path in FILES if equations(path.read_text("utf-8"))}
    layers = {path.name for path in LAYERS if defines_a_backward(path.read_text("utf-8"))}
    assert len(layers) >= 9
    assert derived >= layers | {"multi_head_attention.py", "feed_forward.py", "block.py", "losses.py", "transformer.py"}
    assert derived >= {"optim.py", "generation.py", "central_differences.py"}


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


def test_a_file_whose_numbers_agree_has_no_faults():
    assert equations(GOOD) == [1, 2, 3]
    assert tags(GOOD) == {1, 2, 3}
    assert faults(GOOD) == []


@pytest.mark.parametrize(
    "old, new, fault",
    [
        ("  # (1)\n", "\n", "equation (1) has no line of code"),
        ("# (2) (3), both", "# (2), and (3)", "equation (3) has no line of code"),
        ("# (1)\n", "# (1) (4)\n", "a line is tagged (4), which is no equation"),
        (
            "return 2 * x * dy  # (2) (3), both",
            "# (2) (3)\n        return 2 * x * dy",
            "equation (2) has no line of code",
        ),
        ("      (1)\n", "\n", "a line is tagged (1), which is no equation"),
        ("      (1)\n", "      (2)\n", "the equations are numbered [2, 2, 3]"),
        ("      (1)\n", "      (3)\n", "the equations are numbered [3, 2, 3]"),
        ("see (1).", "see (7).", "(7) is mentioned, which is no equation"),
        ("        y = x²  ", "    y = x²  ", "an equation is not indented: y = x²      (1)"),
    ],
)
def test_numbers_that_disagree_are_found(old, new, fault):
    assert old in GOOD
    assert fault in faults(GOOD.replace(old, new))
