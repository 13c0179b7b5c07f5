"""Grade a function without a backward pass against the textbook's result."""

import ast
import copy
import inspect

import numpy as np

from gradcheck import GradientError, check_update
from gradcheck.names import names_in
from minitransformer.book.observation import watched
from minitransformer.learn.cutting import statements_of
from minitransformer.learn.exercises import NOTHING
from minitransformer.learn.explaining import blank_rows, equation_numbers
from minitransformer.learn.loading import Fault
from minitransformer.learn.verdict import BEGUN, FOLLOWS, SOLVED, WRONG, Row, Verdict

OVERFLOW = "it is not finite: an exponential of a large number, or a division by 0"
OTHERWISE = "its value differs from the equation's"
# {name in gradcheck's formula: name in the exercise}
NAMES = {"theta": "decayed", "step": "theta_new", "root": "theta_new", "the result": "theta_new"}
MAY_MISS = 10  # a learner's gradient checker may accept one in MAY_MISS planted mistakes
SMALL = 1e-5  # a gradient checker finds no mistake if the error that it returns is smaller


def graded_value(exercise, function, level, left, package) -> Verdict:
    name = exercise.name
    if left:
        return Verdict(name, BEGUN, level, rows=blank_rows(exercise, left))
    try:
        case, sentence = first_difference(exercise, function, package)
    except Fault as fault:
        return Verdict(name, WRONG, level, str(fault))
    known = hints(function) if name == "adamw" else {}
    if case is None and not known:
        return Verdict(name, SOLVED, level)
    rows = rows_of_names(exercise, function, case or exercise.cases()[0]) if level < NOTHING else []
    for k, row in enumerate(rows):
        if row.verdict == "WRONG":
            words, kind = known.get(row.name) or known.get("") or (row.sentence, "")
            rows[k] = Row(row.equation, row.name, row.verdict, words, kind)
            return Verdict(name, WRONG, level, rows=tuple(rows))
    return Verdict(name, WRONG, level, "; ".join(words for words, _ in known.values()) or sentence)


def first_difference(exercise, function, package):
    """Return the first Case whose result differs from the textbook's, and a sentence on the difference.

    If there is none, return None and "".
    """
    accepted, n_planted = [], 0
    for case in exercise.cases():
        expected = evaluated(exercise.reference, case)
        try:
            with package:
                found = result = evaluated(function, case)
        except Exception as error:
            error.add_note(case.name)
            raise
        if exercise.target == "check":
            expected, found = (bool(error < SMALL) for error in (expected, found))
        n_planted += expected is False
        if same(found, expected):
            continue
        label = case.name.partition(", ")[2] or "the result"
        if expected is False:
            accepted.append(label.partition(",")[0])
        elif expected is True:
            name = label.partition(",")[0]
            return case, f"a false alarm: it returns {float(result):.2g} for the right gradient of {name}"
        elif isinstance(expected, (list, tuple)):
            n = len(expected)
            if not isinstance(found, (list, tuple)) or len(found) != n:
                return case, f"{label}: it is not a tuple of {n} values"
            wrong = [str(k) for k, pair in enumerate(zip(found, expected, strict=True), 1) if not same(*pair)]
            return case, f"{label}: wrong are the values {', '.join(wrong)} of {n}"
        elif np.ndim(expected):
            return case, f"{label}: its entries differ from those of the equations"
        else:
            return case, f"{label}: it returns {found}, and the right value is {expected}"
    if MAY_MISS * len(accepted) > n_planted:
        return case, f"it accepts {len(accepted)} of {n_planted} planted mistakes: {', '.join(accepted)}"
    return None, ""


def evaluated(function, case):
    call = case.draw(np.random.default_rng(0))
    parameters = [p for value in call.inputs if isinstance(value, list) for p in value]
    arrays = {f"the argument {name}": value for name, value in zip(call.input_names(), call.inputs, strict=True)}
    arrays |= {f"the gradient of parameter {k}": p.grad for k, p in enumerate(parameters)}
    arrays = {name: value for name, value in arrays.items() if isinstance(value, np.ndarray)}
    before = copy.deepcopy(arrays)
    result = function(*call.inputs, **call.options)
    changed = [name for name, value in arrays.items() if not np.array_equal(value, before[name])]
    if changed:
        raise Fault(f"{changed[0]} is changed in place: compute a new array")
    return (result, *[p.grad for p in parameters]) if parameters else result


def same(found, expected) -> bool:
    if isinstance(expected, (list, tuple)):
        is_list = isinstance(found, (list, tuple)) and len(found) == len(expected)
        return is_list and all(map(same, found, expected))
    return np.shape(found) == np.shape(expected) and np.allclose(found, expected, rtol=1e-9)


def hints(function) -> dict:
    """Return the sentence and the kind of each mistake in a step of AdamW, with the name of the wrong value as key."""
    try:
        check_update(function, "adamw")
    except GradientError as error:
        report = error.report
        pairs = zip(report.hints, report.kinds, strict=True)
        named = {NAMES.get(name, name): (words, kind) for (name, words), kind in pairs}
        return named or {"": (report.failures()[0], "")}
    return {}


def rows_of_names(exercise, function, case) -> list[Row]:
    """Return a Row for each name that an equation assigns, or [] if no value differs.

    If the equation of a wrong value reads another wrong value, the Row says that the error follows from the latter.
    """
    expected, found = (names_at_return(f, case) for f in (exercise.reference, function))
    statements = statements_of(ast.parse(inspect.getsource(exercise.reference)).body[0])
    reads = {ast.unparse(s.targets[0]): names_in(s.value) for s in statements if isinstance(s, ast.Assign)}
    rows, differing = [], []
    for name, number in equation_numbers(exercise).items():
        if name not in found or name not in expected:
            return []
        if same(found[name], expected[name]):
            rows.append(Row(number, name, "right"))
            continue
        origins = [other for other in differing if other in reads[name]]
        is_lost = np.isfinite(expected[name]).all() and not np.isfinite(found[name]).all()
        said = ("WRONG", OVERFLOW if is_lost else OTHERWISE)
        said = (FOLLOWS, f"from {' and '.join(origins)}") if origins else said
        rows.append(Row(number, name, *said, origins=tuple(origins)))
        differing.append(name)
    return rows if differing else []


def names_at_return(function, case) -> dict:
    if not inspect.isfunction(function):
        return {}
    with watched(function.__code__.co_filename) as seen:
        evaluated(function, case)
    return seen[function.__qualname__][-1].names
