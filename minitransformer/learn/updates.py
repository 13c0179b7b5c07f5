"""Grade a step of the optimiser by comparison with its formula in plain scalars."""

import ast
import inspect

import numpy as np

from gradcheck import GradientError, check_update
from minitransformer.book.observation import watched
from minitransformer.learn.cutting import names_in, statements_of
from minitransformer.learn.explaining import blank_rows, equation_numbers
from minitransformer.learn.verdict import BEGUN, FOLLOWS, SOLVED, WRONG, Row, Verdict

OTHERWISE = "its value differs from the equation's"
# {name in gradcheck's formula: name in the exercise}
NAMES = {"theta": "decayed", "step": "theta_new", "root": "theta_new", "the result": "theta_new"}
SETTINGS = {"lr": 0.3, "betas": (0.8, 0.95), "eps": 0.1, "weight_decay": 0.2, "t": 3}


def graded_update(exercise, function, level, left, package) -> Verdict:
    name = exercise.name
    if left:
        rows = blank_rows(exercise, left)
        return Verdict(name, BEGUN, level, rows=rows)
    with package:
        function(*drawn(), **SETTINGS)
    try:
        check_update(function, "adamw")
    except GradientError as error:
        rows = rows_of_names(exercise, function) if level < 2 else []
        known = {NAMES.get(name, name): sentence for name, sentence in error.report.hints}
        for k, row in enumerate(rows):
            if row.verdict == "WRONG":
                words = known.get(row.name) or known.get("") or row.sentence
                rows[k] = Row(row.equation, row.name, row.verdict, words)
                return Verdict(name, WRONG, level, rows=tuple(rows))
        return Verdict(name, WRONG, level, "; ".join(known.values()) or error.report.failures()[0])
    return Verdict(name, SOLVED, level)


def drawn() -> list:
    arrays = [np.random.default_rng([k, 3]).standard_normal((2, 5)) for k in range(4)]
    return [*arrays[:3], arrays[3] ** 2]


def rows_of_names(exercise, function) -> list[Row]:
    """Return a Row for each name that an equation assigns.

    A name is WRONG if its value differs from the reference. If its equation reads another name with a different value,
    it FOLLOWS from that name instead. The list is empty if the function lacks one of the names or if no value differs.
    """
    expected, found = (names_at_return(f) for f in (exercise.reference, function))
    statements = statements_of(ast.parse(inspect.getsource(exercise.reference)).body[0])
    reads = {ast.unparse(s.targets[0]): names_in(s.value) for s in statements if isinstance(s, ast.Assign)}
    rows, differing = [], []
    for name, number in equation_numbers(exercise).items():
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


def names_at_return(function) -> dict:
    if not inspect.isfunction(function):
        return {}
    with watched(function.__code__.co_filename) as seen:
        function(*drawn(), **SETTINGS)
    return seen[function.__qualname__][-1].names
