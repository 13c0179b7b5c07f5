"""Grade a step of the optimiser by comparison with its formula in plain scalars."""

import ast
import inspect
import sys

import numpy as np

from gradcheck import GradientError, check_update
from minitransformer.learn.cutting import names_in, statements_of
from minitransformer.learn.equations import equation_numbers
from minitransformer.learn.verdict import BEGUN, FOLLOWS, SOLVED, WRONG, Row, Verdict

OTHERWISE = "its value differs from the equation's"
# {name in gradcheck's formula: name in the exercise}
NAMES = {"theta": "decayed", "step": "theta_new", "root": "theta_new", "the result": "theta_new"}
SETTINGS = {"lr": 0.3, "betas": (0.8, 0.95), "eps": 0.1, "weight_decay": 0.2, "t": 3}


def graded_update(exercise, function, level, left, package) -> Verdict:
    numbers = equation_numbers(exercise)
    open_rows = [Row(numbers.get(n, ""), n or exercise.target, "blank", f"line {line}") for line, n in left]
    if open_rows:
        return Verdict(exercise.name, BEGUN, level, rows=tuple(open_rows))
    with package:
        function(*drawn().values(), **SETTINGS)
    try:
        check_update(function, "adamw")
    except GradientError as error:
        report = error.report
        rows = rows_of_names(exercise, function, numbers) if level < 2 else []
        known = {NAMES.get(name, name): sentence for name, sentence in report.hints}
        for k, row in enumerate(rows):
            if row.verdict == "WRONG":
                words = known.get(row.name) or known.get("") or row.sentence
                rows[k] = Row(row.equation, row.name, row.verdict, words)
                return Verdict(exercise.name, WRONG, level, rows=tuple(rows))
        return Verdict(exercise.name, WRONG, level, "; ".join(known.values()) or report.failures()[0])
    return Verdict(exercise.name, SOLVED, level)


def drawn() -> dict:
    arrays = {name: np.random.default_rng([k, 3]).standard_normal((2, 5)) for k, name in enumerate("θgmv")}
    return {"theta": arrays["θ"], "g": arrays["g"], "m": arrays["m"], "v": arrays["v"] ** 2}


def rows_of_names(exercise, function, numbers) -> list[Row]:
    """Return a Row for each name that an equation assigns.

    A name is WRONG if its value differs from the reference. If its equation reads another name with a different value,
    it FOLLOWS from that name instead. The list is empty if the function lacks one of the names or if no value differs.
    """
    arrays = drawn().values()
    expected, found = (names_at_return(f, arrays) for f in (exercise.reference, function))
    tree = ast.parse(inspect.getsource(exercise.reference))
    reads = {s.targets[0].id: names_in(s.value) for s in statements_of(tree.body[0]) if is_named(s)}
    rows, differing = [], []
    for name, number in numbers.items():
        if name not in found:
            return []
        if np.shape(found[name]) == np.shape(expected[name]) and np.allclose(found[name], expected[name], rtol=1e-9):
            rows.append(Row(number, name, "right"))
            continue
        origins = [other for other in differing if other in reads[name]]
        said = (FOLLOWS, f"from {' and '.join(origins)}") if origins else ("WRONG", OTHERWISE)
        rows.append(Row(number, name, *said))
        differing.append(name)
    return rows if differing else []


def is_named(statement):
    return isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name)


def names_at_return(function, arrays) -> dict:
    """Call a function and return its local variables at the return."""
    held = {}

    def watch(frame, event, value):
        if event == "return" and frame.f_code is function.__code__:
            held.update(frame.f_locals)

    before = sys.getprofile()
    sys.setprofile(watch)
    try:
        function(*(array.copy() for array in arrays), **SETTINGS)
    finally:
        sys.setprofile(before)
    return held if inspect.isfunction(function) else {}
