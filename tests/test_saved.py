"""A backward pass keeps the arrays that its docstring lists: `Saved for backward: x̂ (..., C), r (..., 1)`.

Names are those of the code, or their letters in the derivation; shapes have the same letter for the same size. A
backward of another function is tested separately. Without such a line, no array is kept.
"""

import ast
import inspect
import re
import sys
from pathlib import Path

import numpy as np
import pytest

import minitransformer
from minitransformer.cases import CASES

PACKAGE = Path(minitransformer.__file__).parent
LETTERS = {"x̂": "x_hat", "γ": "gamma", "σ": "sigma", "Φ": "Phi", "λ": "lam"}
SAVED = re.compile(r"Saved for backward(?:,[^:]*)?:(.*?)(?:\.\s|\.$|\n\n|\Z)", re.DOTALL)
ARRAY = re.compile(r"([^\s(),]+)\s+\(([^()]*)\)")
FILES = tuple(f"minitransformer.{name}" for name in ("layers", "fast", "losses", "module", "transformer", "training"))


def said(docstring):
    """Return {name: shape as text} of the arrays that a docstring says are saved; None where it says nothing."""
    match = SAVED.search(docstring or "")
    return match and {LETTERS.get(name, name): shape for name, shape in ARRAY.findall(match[1])}


def backwards_within(value, seen=None):
    """Yield every backward function of the package that a value holds: in closures, lists and objects."""
    seen = set() if seen is None else seen
    if id(value) in seen:
        return
    seen.add(id(value))
    inner = []
    if inspect.isfunction(value):
        if is_backward(value):
            yield value
        inner = [cell.cell_contents for cell in value.__closure__ or () if not is_empty(cell)]
    elif isinstance(value, (list, tuple)):
        inner = value
    for item in inner:
        yield from backwards_within(item, seen)


def is_empty(cell):
    try:
        cell.cell_contents  # noqa: B018
    except ValueError:
        return True
    return False


def is_backward(function):
    return function.__name__.endswith("backward")


def captured(function):
    """Return {name: value} of the variables that a backward captures, directly and through helpers."""
    found = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        value = None if is_empty(cell) else cell.cell_contents
        if inspect.isfunction(value) and not is_backward(value) and value is not function:
            found |= captured(value)
        else:
            found[name] = value
    return found


def held(function):
    """Return {name: array} of the arrays that a backward keeps; of a list or tuple, the first."""
    found = {}
    for name, value in captured(function).items():
        for array in value if isinstance(value, (list, tuple)) else [value]:
            if isinstance(array, np.ndarray) and array.ndim:
                found.setdefault(name, array)
    return found


def docstring_for(function):
    """Return the documentation of a backward: of the function or method around it, or of the file."""
    module, outer = sys.modules[function.__module__], function
    for name in function.__qualname__.split(".<locals>")[0].split("."):
        outer = getattr(outer if outer is not function else module, name)
    return inspect.getdoc(outer) if said(inspect.getdoc(outer)) is not None else module.__doc__


def fits(shape, text, letters):
    """Return True if a shape agrees with the text. `letters` has the known sizes, and receives the others."""
    axes = [axis.strip() for axis in text.split(",") if axis.strip()]
    if axes[0] == "...":
        axes = axes[1:]
        shape = shape[len(shape) - len(axes) :]
    if len(axes) != len(shape):
        return False
    expected = [
        int(axis) if axis.isdigit() else letters.setdefault(axis, n) for axis, n in zip(axes, shape, strict=True)
    ]
    return list(shape) == expected


def faults(function, given=()):
    """Return the differences between the arrays that a backward keeps and those of its docstring.

    A view that keeps a larger array alive is a fault as well, unless that array is `given` by the caller.
    """
    arrays, words, letters = held(function), said(docstring_for(function)) or {}, {}
    found = [f"keeps {name} {array.shape}, unsaid" for name, array in arrays.items() if name not in words]
    found += [f"does not keep {name}" for name in words if name not in captured(function)]
    for name, array in arrays.items():
        if name in words and not fits(array.shape, words[name], letters):
            found.append(f"keeps {name} {array.shape}, not ({words[name]}) with {letters}")
        whole = array if array.base is None else array.base
        if not any(whole is other for other in given) and getattr(whole, "nbytes", 0) > 2 * max(array.nbytes, 64):
            found.append(f"keeps {whole.nbytes} bytes for {array.nbytes} of {name}")
    return found


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_backward_keeps_what_its_docstring_says_and_no_array_besides(case):
    call = case.call(np.random.default_rng(0))
    backwards = [f for f in backwards_within(call.evaluate()[1]) if f.__module__.startswith(FILES)]
    found = {f"{f.__module__} {f.__qualname__}: {fault}" for f in backwards for fault in faults(f, call.inputs)}
    assert found == set()


def test_every_function_with_a_backward_in_layers_and_fast_says_what_it_saves():
    silent = []
    for path in [*(PACKAGE / "layers").rglob("*.py"), *(PACKAGE / "fast").glob("*.py"), PACKAGE / "losses.py"]:
        tree = ast.parse(path.read_text("utf-8"))
        for function in tree.body:
            if isinstance(function, ast.FunctionDef) and any(
                isinstance(node, ast.FunctionDef) and node.name == "backward" for node in function.body
            ):
                texts = [ast.get_docstring(function), ast.get_docstring(tree)]
                if all("Saved for backward" not in (text or "") for text in texts):
                    silent.append(f"{path.name}: {function.name}")
    assert silent == []


# The test of this test.


def keeps_x_in_a_helper(x):
    """Saved for backward: z (..., C)."""

    def scaled(dy):
        return dy * x

    def backward(dy):
        return 2 * scaled(dy)

    return x * x, backward


def keeps_another_shape(x):
    """Saved for backward: y (..., C, C)."""
    y = np.exp(x)

    def backward(dy):
        return dy * y

    return y, backward


def keeps_more_than_it_shows(x):
    """Saved for backward: y (C,)."""
    y = np.exp(np.concatenate([x] * 30, axis=-1))[0, : x.shape[-1]]

    def backward(dy):
        return dy * y

    return y, backward


@pytest.mark.parametrize(
    "function, fault",
    [
        (keeps_x_in_a_helper, "keeps x (2, 40), unsaid"),
        (keeps_x_in_a_helper, "does not keep z"),
        (keeps_another_shape, "keeps y (2, 40), not (..., C, C) with {'C': 2}"),
        (keeps_more_than_it_shows, "keeps 19200 bytes for 320 of y"),
    ],
)
def test_a_docstring_that_does_not_say_what_is_kept_is_found(function, fault):
    _, backward = function(np.random.default_rng(0).normal(size=(2, 40)))
    assert fault in faults(backward)
