"""Verdicts on the lines of a backward pass or, if it cannot be followed, on its gradients."""

import ast
import re

from gradcheck.mistakes import KINDS
from minitransformer.learn.cutting import cut, functions_within, statements_of
from minitransformer.learn.verdict import Row

NO_WORDS = re.compile(
    r"\d+ of \d+ entries are wrong$|its entries are wrong$|given the true gradients|the mistake is within|"
    r"it is [\d/-]+ times the correct gradient|$"
)


def equation_numbers(exercise) -> dict:
    """Return {name: equation number} for the numbered lines of an exercise's backward pass."""
    found = {}
    text = cut(exercise, 0)
    lines = text.split("\n")
    for function in functions_within(ast.parse(text)):
        for statement in statements_of(function):
            value = getattr(statement, "value", None)
            if isinstance(value, ast.Constant) and value.value is ... and "#" in lines[statement.lineno - 1]:
                number = lines[statement.lineno - 1].rpartition("#")[2].strip()
                for target in getattr(statement, "targets", ()):
                    found |= {ast.unparse(target).strip("()"): number}
                if isinstance(statement, ast.Expr):
                    found |= {"": number}
    return found


def rows_by_steps(failure, numbers, student):
    """Return (Rows, remarks) with one Row for each line of backward.

    There are no Rows if gradcheck cannot follow the code or finds no wrong line. `numbers` is {name: equation number},
    for lines without a number in the code.
    """
    from gradcheck import steps_of_call  # only needed for a wrong gradient

    try:
        report = steps_of_call(
            failure.call, seed=failure.seed, dy=failure.dy, others=[call for call, _ in failure.others()]
        )
    except (TypeError, ValueError):
        return [], []
    if report.first_wrong is None:
        return [], list(report.remarks)
    rows = [
        Row(row.equation or numbers.get(row.name, ""), row.name, row.verdict, sentence_for(student, row))
        for row in report.rows
    ]
    of_names = [row for row in rows if not row.name.endswith(".grad")]
    told = any(row.verdict == "WRONG" for row in of_names)
    return of_names if told else rows, list(report.remarks)


def sentence_for(student, row) -> str:
    """Return the sentence of a row of gradcheck's report, without the repaired code."""
    return row.sentence if row.edit is None else row.edit.sentence(student, row.is_whole) or KINDS[row.edit.row.kind]


def rows_by_gradients(failure, numbers) -> list[Row]:
    """Return a Row for each gradient, judged by comparison with the true one."""
    rows = [
        Row(numbers.get(a.label, ""), a.label, "right" if a.is_right else "WRONG", "" if a.is_right else in_words(a))
        for a in failure.report.arguments
    ]
    order = [*numbers, *(row.name for row in rows)]
    return sorted(rows, key=lambda row: order.index(row.name))


def in_words(argument) -> str:
    """Describe a wrong gradient: the mistake if it is known, otherwise the number of wrong entries."""
    if argument.diagnosis:
        return argument.diagnosis
    if argument.disagree:
        return f"{argument.disagree} of {argument.entries} entries are wrong"
    return argument.doubt or "its entries are wrong"


def blank_rows(exercise, left) -> tuple:
    numbers = equation_numbers(exercise)
    nameless = "..." if "" in numbers else "backward"
    return tuple(Row(numbers.get(name, ""), name or nameless, "blank", f"line {line}") for line, name in left)
