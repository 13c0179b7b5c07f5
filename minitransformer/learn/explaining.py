"""Judge the lines of a wrong backward pass or, if impossible, the gradients."""

import ast
import re
from contextlib import suppress
from dataclasses import replace

from gradcheck.mistakes import KINDS, Student
from minitransformer.learn.cutting import blanks, cut
from minitransformer.learn.loading import cotangent
from minitransformer.learn.variants import of_result
from minitransformer.learn.verdict import Row
from minitransformer.learn.vocabulary import GLOSSARY, INSTEAD, glossary_of

NO_WORDS = re.compile(
    r"\d+ of \d+ entries are wrong$|its entries are wrong$|given the true gradients|the mistake is within|$"
)


# Reasons why the value of a name is not compared, which say nothing about the value
UNKNOWN = re.compile(
    r"it is bound or written|it does not have the shape of|the forward pass |its name is|it is modified"
)
EXCHANGED = r"(d\w+) (?:equals the true (d\w+)|and (d\w+) are returned in each other's place)$"
PLACE = re.compile(r"^(\(\d+\) )?(\w+(?:, \w+)*): ")  # the beginning of a sentence of naming.py


def equation_numbers(exercise) -> dict:
    text, found = cut(exercise, 0), {}
    for line, name in blanks(ast.parse(text)):
        _, mark, number = text.split("\n")[line - 1].rpartition("#")
        if mark and name != "return":
            found[name] = number.strip()
    return found


def blank_rows(exercise, left) -> tuple:
    numbers = equation_numbers(exercise)
    nameless = "..." if "" in numbers else exercise.target if exercise.is_value else "backward"
    return tuple(Row(numbers.get(name, ""), name or nameless, "blank", f"line {line}") for line, name in left)


def rows_by_gradients(report, numbers) -> list[Row]:
    rows = []
    for a in report.arguments:
        counted = f"{a.disagree} of {a.entries} entries are wrong" if a.disagree else ""
        words = "" if a.is_right else a.diagnosis or counted or a.doubt or "its entries are wrong"
        rows.append(Row(numbers.get(a.label, ""), a.label, "right" if a.is_right else "WRONG", words))
    order = [*numbers, *(row.name for row in rows)]
    return sorted(rows, key=lambda row: order.index(row.name))


def rows_by_steps(failure, others, numbers, student, file):
    """Return (Rows, remarks), with one Row per line of backward, or none if the lines cannot be judged."""
    from gradcheck import steps_of_call  # only needed for a wrong gradient

    try:
        report = steps_of_call(failure.call, seed=failure.seed, dy=failure.dy, others=others, file=file)
    except (TypeError, ValueError):
        return [], ()
    rows = []
    judged = [row for row in report.rows if not UNKNOWN.match(row.sentence)]
    for row in judged if report.first_wrong is not None else ():
        edit = row.edit  # the student does not see the repaired code
        words = row.sentence if edit is None else (edit.sentence(student) or KINDS[edit.row.kind]) + row.also
        rows.append(Row(row.equation or numbers.get(row.name, ""), row.name, row.verdict, words))
    of_names = [row for row in rows if not row.name.endswith(".grad")]
    remarks = [remark.removesuffix(": there is a second mistake") for remark in report.remarks]  # it may be the same
    return of_names if any(row.verdict == "WRONG" for row in of_names) else rows, tuple(remarks)


def explained(attempt, failure):
    """Return (Rows, remarks) that explain the first wrong line of a Failure.

    The sentence on that line describes a typical mistake of learners if one fits, else the verified repair of the line,
    else the difference that gradcheck found in the gradient.
    """
    exercise, others = attempt.exercise, attempt.others(failure.case)
    student = Student(attempt.path.read_text("utf-8"), glossary_of(exercise.name))
    of_gradients = rows_by_gradients(failure.report, attempt.numbers)
    rows, remarks = rows_by_steps(failure, others, attempt.numbers, student, str(attempt.path))
    found = [re.match(EXCHANGED, row.sentence) for row in of_gradients]
    equal = {match[1]: match[2] or match[3] for match in found if match}
    wrong = {row.name for row in of_gradients if row.verdict == "WRONG"}
    is_order = wrong == {*equal} == {*equal.values()}  # the gradients are right, but returned in another order
    if not rows or (is_order and wrong.isdisjoint(row.name for row in rows)):
        rows, remarks = of_gradients, ()
    elif is_order:
        said = {row.name: row.sentence for row in of_gradients}
        rows = [row if row.verdict != "WRONG" else replace(row, sentence=said.get(row.name, "")) for row in rows]
    first = next((k for k, row in enumerate(rows) if row.verdict == "WRONG"), None)
    if first is not None:
        row, told = rows[first], [rows[first].sentence]
        told += [other.sentence for other in of_gradients if other.name == row.name]
        is_line_right = any(other.name == row.name and other.verdict == "right" for other in rows[:first])
        known = []
        if is_line_right:  # the mistake is in the order of the gradients that are returned
            told.reverse()
        elif exercise.name in GLOSSARY:
            known = named_by_value(attempt, failure)
        elsewhere = {other.name for other in rows} - {row.name}
        names = {s: place[2].split(", ") if (place := PLACE.match(s)) else () for s in known}
        here = [s for s in known if row.name in names[s] or elsewhere.isdisjoint(names[s])]
        # The number of another line is kept if this line has the textbook's name. Other names may stand for that line.
        kept = [s for s in here if row.name in attempt.numbers and row.name not in names[s] and s.startswith("(")]
        here = [s if s in kept else PLACE.sub("", s) for s in here]
        # Another formula may give the same numbers: a repair of the line is more certain than x − μ for x̂.
        last = [s for s in here if "μ" in s and s in INSTEAD.values()]
        here = [s for s in here if s not in last]
        words = next((sentence for sentence in (*here, *told, *last) if not NO_WORDS.match(sentence)), "")
        if not words and known and (place := PLACE.match(known[0])):  # the mistake is in another line
            name, words = place[2], known[0][place.end() :]
            if row.name in attempt.numbers or name not in elsewhere:
                del rows[first]
                first = next((k for k, other in enumerate(rows) if other.name == name), first)
                row = Row(attempt.numbers.get(name, ""), name, "WRONG")
        words = words or row.sentence
        words = re.sub(rf"^{re.escape(row.name)} (?=does )", "it ", words)
        rows = [*rows[:first], Row(row.equation, row.name, row.verdict, words), *rows[first + 1 :]]
    names = {row.name for row in rows}  # a right gradient may have another name in the code
    rows += [r for r in of_gradients if r.equation and r.verdict == "right" and r.name not in names]
    return rows, remarks


def named_by_value(attempt, failure) -> list[str]:
    """Return sentences on mistakes that give the learner's gradients on every case."""
    # imported here, because the module is slow to import and needed only for a wrong gradient
    from minitransformer.learn.naming import Draw, gradients_of, named

    draws, reference = [], attempt.exercise.reference
    cases = sorted(attempt.exercise.cases(), key=lambda case: case.name != failure.case)
    for case, seed in ((cases[0], failure.seed), *((case, 2) for case in cases)):
        with suppress(Exception):  # if the learner's code raises on this case, it cannot be compared
            call = attempt.call(case, seed)
            dy = cotangent(call, failure.seed)
            textbook = attempt.call(case, seed, reference)
            draws.append(Draw(reference, textbook, gradients_of(call, dy), of_result(attempt.exercise, dy)))
    return named(attempt.exercise, draws) if draws else []
