"""The registration of twins, and the comparison of each twin with its textbook function.

A twin must give the results of its textbook function. If somebody edits the textbook, the edited code must run, not the
twin. So a twin is registered with a digest of the source of its function, and of the functions that it repeats instead
of calling them, and with cases on which the two must agree. All twins are compared when this package is loaded:

- The digests of the sources find every edit of these functions, for example an added print. Comments, docstrings,
  formatting and annotations do not matter. Without source files, as in an installation of compiled files, there are no
  digests, and the results alone decide.
- The results on the cases, y and all gradients in float64, find edits of constants and of functions further down.

If anything differs, the textbook function runs, and one warning names it.
"""

import ast
import inspect
import textwrap
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, wraps
from hashlib import sha256
from types import FunctionType
from typing import Any

import numpy as np

from minitransformer.example_calls import EXAMPLES
from minitransformer.module import TWINS, EditedTextbook, is_differentiable, plain

DTYPES = {np.dtype(np.float32)}, {np.dtype(np.float64)}, set()  # of the arrays of a call; without arrays, any
TOLERANCE = 1e-11  # of the largest entry; the order of additions differs


@dataclass(frozen=True)
class Twin:
    """A registered twin. The arguments of twin_of describe the fields."""

    function: FunctionType
    runs: Callable[..., Any]
    digest: str
    repeats: tuple[FunctionType, ...]
    cases: tuple[str | Callable[..., Any], ...]


REGISTERED: list[Twin] = []


def twin_of(function, digest: str, *, repeats=(), cases: Sequence[str | Callable[..., Any]]):
    """Return a decorator that registers a twin of a textbook function.

    `digest` is digest_of(function, *repeats), where `repeats` are the functions whose computation the twin contains. A
    case is the name of an entry of EXAMPLES, or a function (function, rng) -> arrays that calls the one or the other
    function. Raises ValueError without a case.

    The twin runs if all floating-point arrays among the arguments are float32, or all are float64. For other arrays,
    for example the complex ones of a check, the result of the decorator calls the textbook function.
    """
    if not cases:
        raise ValueError(f"twin_of: cases of {function.__name__} must contain at least one case, but it is empty")

    def register(twin):
        @wraps(twin)
        def supported(*inputs, **options):
            dtypes = {array.dtype for array in inputs if is_differentiable(array)}
            return (twin if dtypes in DTYPES else function)(*inputs, **options)

        REGISTERED.append(Twin(function, supported, digest, tuple(repeats), tuple(cases)))
        return supported

    return register


def compare_twins() -> None:
    """Compare every registered twin with its textbook function, and fill TWINS with the functions to run.

    The value of an edited function is the function itself.
    """
    for twin in REGISTERED:
        edited = is_edited(twin)
        TWINS[twin.function] = twin.function if edited else twin.runs
        if edited:
            warnings.warn(
                f"{twin.function.__name__} in {twin.function.__module__}, or a function that it uses, has been edited: "
                "the edited code runs instead of its faster twin",
                EditedTextbook,
                stacklevel=2,
            )


def is_edited(twin: Twin) -> bool:
    """Return True if the source of the textbook function, or a result of it, differs from the twin's."""
    if digest_of(twin.function, *twin.repeats) not in (None, twin.digest):
        return True
    try:
        with np.errstate(all="ignore"):
            with plain():
                expected = [results(twin.function, case) for case in twin.cases]
            with plain(False):
                found = [results(twin.runs, case) for case in twin.cases]
        return not all(map(agree, found, expected))
    except Exception:  # an edited function may raise any
        return True


def digest_of(*functions) -> str | None:
    """Return a digest of the sources of functions, or None if one of them has no source file."""
    sources = [source_of(function) for function in functions]
    return None if None in sources else sha256("\n".join(map(str, sources)).encode()).hexdigest()[:12]


@cache
def source_of(function) -> str | None:
    """Return the source of a function without comments, docstrings and annotations, or None without a source file."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except OSError:
        return None
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            node.returns = None
            node.body = node.body[ast.get_docstring(node, clean=False) is not None :]
        elif isinstance(node, ast.arg):
            node.annotation = None
    return ast.unparse(tree).replace('"', "'")  # the quotes of f-strings depend on the version of Python


def results(function, case) -> list[np.ndarray]:
    """Return y and all gradients of a case, computed with `function`, or the arrays that the case returns."""
    rng = np.random.default_rng(0)
    if callable(case):
        return case(function, rng)
    _, inputs, options = EXAMPLES[case](rng)
    y, backward = function(*inputs, **options)
    gradients = backward(rng.normal(size=np.shape(y)))
    return [y, *(gradients if isinstance(gradients, tuple) else [gradients])]


def agree(found, expected) -> bool:
    """Return True if two lists of arrays have the same shapes and dtypes, and entries that are equal up to rounding."""
    pairs = [(np.asarray(one), np.asarray(other)) for one, other in zip(found, expected, strict=True)]
    return all(
        (one.shape, one.dtype) == (other.shape, other.dtype)
        and np.allclose(one, other, rtol=0, atol=TOLERANCE * max(1, np.abs(other).max(initial=0)), equal_nan=True)
        for one, other in pairs
    )
