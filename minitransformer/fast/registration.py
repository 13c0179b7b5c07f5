"""The registration of twins, and the comparison of each twin with its textbook function.

A twin must give the results of its textbook function. If somebody edits the textbook, the edited code must run. So a
twin is registered with a digest of the sources of its function and of the functions that it repeats instead of calling
them, and with cases on which the two must agree. At the first call of a twin both are compared. The digest finds every
edit of these functions, for example an added print, and the results find edits of constants and of functions further
down. If anything differs, the textbook function runs, and one warning names it.
"""

import ast
import inspect
import linecache
import warnings
from functools import cache, wraps
from hashlib import sha256
from threading import RLock

import numpy as np

from minitransformer.example_calls import EXAMPLES
from minitransformer.module import TWINS, EditedTextbook, is_differentiable, plain

DTYPES = {np.dtype(np.float32)}, {np.dtype(np.float64)}, set()  # of the arrays of a call; without arrays, any
TOLERANCE = 1e-11  # of the largest entry, because the order of additions differs
LOCK = RLock()  # held by a comparison, in which a twin may call another one


def twin_of(function, digest: str, *, repeats=(), cases):
    """Return a decorator that registers a twin of a textbook function.

    `digest` is digest_of(function, *repeats), where `repeats` are the functions whose computation the twin contains. A
    case is the name of an entry of EXAMPLES, or a function (function, rng) -> arrays that calls the given one. Raises
    ValueError without a case.

    The twin runs if all floating-point arrays among the arguments are float32, or all are float64, and if it has all
    options that are given. For other arrays, for example the complex ones of a check, and for an option that only the
    textbook function has, the textbook function runs.
    """
    if not cases:
        raise ValueError(f"twin_of: cases of {function.__name__} must contain at least one case, but it is empty")

    def register(twin):
        verdicts = []  # of the comparison; empty before the first call
        supported = inspect.signature(twin).parameters.keys()

        def agrees() -> bool:
            """Return True if the twin agrees with its textbook function. The first call warns if it does not."""
            if not verdicts:
                with LOCK:
                    if not verdicts:
                        verdicts.append(is_unedited(function, twin, digest, repeats, cases))
                        if not verdicts[0]:
                            warn_of(function)
            return verdicts[0]

        @wraps(twin)
        def runs(*inputs, **options):
            dtypes = {array.dtype for array in inputs if is_differentiable(array)}
            is_supported = dtypes in DTYPES and options.keys() <= supported
            return (twin if is_supported and agrees() else function)(*inputs, **options)

        runs.agrees, runs.textbook, runs.digest = agrees, function, digest
        runs.repeats, runs.cases = repeats, cases
        TWINS[function] = runs
        return runs

    return register


def warn_of(function) -> None:
    warnings.warn(
        f"{function.__name__} in {function.__module__}, or a function that it uses, has been edited: "
        "the edited code runs instead of its faster twin",
        EditedTextbook,
        stacklevel=4,
    )


def is_unedited(function, twin, digest, repeats, cases) -> bool:
    """Return True if the sources have this digest, and both functions give the same results on all cases.

    Without source files, as in an installation of compiled files, only the results are compared. They are computed in
    float64.
    """
    try:
        if digest_of(function, *repeats) not in (None, digest):
            return False
        with np.errstate(all="ignore"):
            with plain():
                expected = [array for case in cases for array in results(function, case)]
            with plain(False):
                found = [array for case in cases for array in results(twin, case)]
            return len(found) == len(expected) and all(map(is_close, found, expected))
    except Exception:  # an edited function may raise any
        return False


def digest_of(*functions) -> str | None:
    """Return a digest of the sources of functions, or None if one of them has no source file."""
    sources = [source_of(function) for function in functions]
    return None if None in sources else sha256("\n".join(map(str, sources)).encode()).hexdigest()[:12]


@cache
def source_of(function) -> str | None:
    """Return the source of a function without comments, docstrings and annotations, or None without a source file."""
    found = definitions(function.__code__.co_filename)
    if not found:
        return None
    tree = found[function.__code__.co_firstlineno]
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            node.returns = None
            node.body = node.body[ast.get_docstring(node, clean=False) is not None :]
        elif isinstance(node, ast.arg):
            node.annotation = None
    return ast.unparse(tree).replace('"', "'")  # the quotes of f-strings depend on the version of Python


@cache
def definitions(file: str) -> dict[int, ast.FunctionDef]:
    """Return the functions of a file by their first line, or {} if there is no source file."""
    nodes = ast.walk(ast.parse("".join(linecache.getlines(file))))
    functions = [node for node in nodes if isinstance(node, ast.FunctionDef)]
    return {min(part.lineno for part in (node, *node.decorator_list)): node for node in functions}


def results(function, case) -> list[np.ndarray]:
    """Return y and all gradients of `function` for a case, or the arrays that a callable case returns."""
    rng = np.random.default_rng(0)
    if callable(case):
        return case(function, rng)
    _, inputs, options = EXAMPLES[case](rng)
    y, backward = function(*inputs, **options)
    gradients = backward(rng.normal(size=np.shape(y)))
    return [y, *(gradients if isinstance(gradients, tuple) else [gradients])]


def is_close(found, expected) -> bool:
    """Return True if two arrays have the same shape and dtype, and equal entries up to rounding. NaN is not equal."""
    found, expected = np.asarray(found), np.asarray(expected)
    if (found.shape, found.dtype) != (expected.shape, expected.dtype):
        return False
    found, expected = found.astype(float), expected.astype(float)
    return np.abs(found - expected).max(initial=0) <= TOLERANCE * max(1, np.abs(found).max(initial=0))
