"""Read vocabulary.txt: noun phrases for code, and descriptions of typical mistakes.

The rows of an exercise are mistakes that are more than one edit of the textbook's line. In their wrong code, V stands
for the right value of the statement, and the code may use every name that the textbook's function defines before the
statement. Rows of rank 2 are for any line. Other formulas may give the same numbers, and a correction of the learner's
line is more certain than these.

**To add a mistake**, add a line `wrong code → kind: sentence` under its exercise and statement. The kind is a key of
gradcheck.mistakes.KINDS. Kind and sentence may follow on the next line, with a deeper indentation.
"""

import re
from functools import partial, wraps
from pathlib import Path

from gradcheck.lines import Component, typical
from gradcheck.mistakes import Row, rows_of
from minitransformer.learn.variants import of_result

TEXT = Path(__file__).with_suffix(".txt").read_text("utf-8")
PHRASES, IN_ANY_LINE, ABBREVIATIONS, TABLE = re.split("^# .*", TEXT, flags=re.MULTILINE)[1:]
GLOSSARY = dict(line.split(": ", 1) for line in PHRASES.replace(";\n    ", "; ").strip().split("\n"))
DY = GLOSSARY.pop("every exercise")


def rows_of_exercises(table: str) -> dict[str, list[Row]]:
    for line in ABBREVIATIONS.strip().split("\n"):
        name, code = line.split(" = ", 1)
        table = table.replace(name, code)
    found: dict[str, list[Row]] = {}
    exercises, where = [], ""
    for line in table.replace(" →\n        ", " → ").strip().split("\n"):
        if line.startswith(" "):
            wrong, rest = line.strip().split(" → ")
            kind, _, sentence = rest.partition(": ")
            for exercise in exercises:
                found.setdefault(exercise, []).append(typical(kind, wrong, sentence, where=where))
        else:
            names, where = line.split(": ")
            exercises = names.split(", ")
    return found


OF_EXERCISES = rows_of_exercises(TABLE)
OF_ANY_LINE = rows_of(IN_ANY_LINE)


def component_of(exercise) -> Component | None:
    """Return the textbook's version of an exercise and the typical mistakes in it, or None if it has no solution."""
    if exercise.given or exercise.name not in GLOSSARY:
        return None
    rows = (*OF_EXERCISES.get(exercise.name, ()), *OF_ANY_LINE)
    return Component(exercise.reference, rows, partial(with_result_of, exercise))


def with_result_of(exercise, function):
    """Wrap the textbook's function to return the result of the exercise, which may be a student's variant."""

    @wraps(function)
    def adapted(*inputs, **options):
        y, *_, its_backward = function(*inputs, **options)  # one_page.py returns the logits as well

        def backward(dy):
            return its_backward(of_result(exercise, dy))

        return of_result(exercise, y), backward

    return adapted


def glossary_of(exercise: str) -> dict:
    entries = f"{DY}; {GLOSSARY.get(exercise, DY)}".split(";")
    return dict(entry.strip().split(": ") for entry in entries)
