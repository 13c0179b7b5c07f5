"""Grade a function without a backward pass against the textbook's result."""

import copy
import re

import numpy as np

from gradcheck import GradientError, check_update
from minitransformer.learn.exercises import HINTS, NOTHING
from minitransformer.learn.explaining import blank_rows, equation_numbers
from minitransformer.learn.loading import Fault
from minitransformer.learn.verdict import BEGUN, SOLVED, WRONG, WRONG_LINE, Row, Verdict
from minitransformer.learn.watched import unwatched

# {name in gradcheck's formula: name in the exercise}
NAMES = {"theta": "decayed", "step": "theta_new", "root": "theta_new", "the result": "theta_new"}
SMALL = 1e-5  # a gradient checker finds no mistake if the error that it returns is smaller


def graded_value(exercise, function, level, left) -> Verdict:
    name = exercise.name
    if left:
        return Verdict(name, BEGUN, level, rows=blank_rows(exercise, left))
    try:
        where, sentence = first_difference(exercise, function)
    except Fault as fault:
        return Verdict(name, WRONG, level, str(fault))
    known = hints(function) if name == "adamw" else {}
    if not where and not known:
        return Verdict(name, SOLVED, level)
    where = next(iter(known), where)
    if "" in known or level >= NOTHING:
        sentence, known = "; ".join(words for words, _ in known.values()) or sentence, {}
    numbers = equation_numbers(exercise)
    rows = tuple(Row(numbers.get(other, ""), other, WRONG_LINE, *told) for other, told in known.items())
    questions = [hint for pattern, hint in HINTS[name] if pattern and re.search(pattern, where)]
    return Verdict(name, WRONG, level, sentence * (not rows), rows, question=next(iter(questions), ""))


def first_difference(exercise, function):
    """Return the name of the first case whose result differs from the textbook's, and a sentence on the difference.

    Both are "" if there is none.
    """
    accepted, n_planted = [], 0
    for case in exercise.cases():
        with unwatched():
            expected = evaluated(exercise.reference, case)
        try:
            found = result = evaluated(function, case)
        except Exception as error:
            if exercise.target != "check" or expected != np.inf:  # the error of a gradient of a wrong shape
                error.add_note(case.name)
                raise
            found = np.inf
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
            return case.name, f"a false alarm: it returns {float(result):.2g} for the right gradient of {name}"
        elif isinstance(expected, (list, tuple)):
            n = len(expected)
            if not isinstance(found, (list, tuple)) or len(found) != n:
                return case.name, f"{label}: it is not a tuple of {n} values"
            wrong = [str(k) for k, pair in enumerate(zip(found, expected, strict=True), 1) if not same(*pair)]
            return case.name, f"{label}: wrong are the values {', '.join(wrong)} of {n}"
        elif np.ndim(expected):
            return case.name, f"{label}: its entries differ from those of the equations"
        else:
            return case.name, f"{label}: it returns {found:.6g}, and the right value is {expected:.6g}"
    if accepted:
        return accepted[0], f"it accepts {len(accepted)} of {n_planted} planted mistakes: {', '.join(accepted)}"
    return "", ""


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
    if found is None or expected is None or isinstance(found, (list, tuple)):
        return found is expected
    return np.shape(found) == np.shape(expected) and np.allclose(found, expected, rtol=1e-9)


def hints(function) -> dict:
    """Return {name of the wrong value: (sentence, kind)} for each mistake that is made in a step of AdamW."""
    try:
        check_update(function, "adamw")
    except GradientError as error:
        report = error.report
        pairs = zip(report.hints, report.kinds, strict=True)
        named = {NAMES.get(name, name): (words, kind) for (name, words), kind in pairs}
        return named or {"": (report.failures()[0], "")}
    return {}
