"""The equations in the docstrings of a file, by their numbers."""

import re
from functools import cache
from pathlib import Path

import gradcheck
import minitransformer
from minitransformer.book import observation

PACKAGES = [Path(package.__file__).parent for package in (minitransformer, gradcheck)]
TEXTBOOK = [
    *sorted((PACKAGES[0] / "layers").rglob("*.py")),
    *(PACKAGES[0] / name for name in ("module.py", "losses.py", "optim.py", "transformer.py", "generation.py")),
]
EQUATION = re.compile(r"^    .*\S {2,}\((\d+)\)$")


@cache
def docstrings(source):
    return [docstring.text for docstring in observation.docstrings(source)]


@cache
def equations(source):
    """Return the numbers of the equations in the docstrings of a file, in their order."""
    lines = [line for docstring in docstrings(source) for line in docstring.splitlines()]
    return [int(match[1]) for match in map(EQUATION.match, lines) if match]
