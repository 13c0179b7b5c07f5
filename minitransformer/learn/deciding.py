"""Apply the decisions of a teacher to the marks of a class: who hands in, what counts, and adjustments."""

import csv
import io
import math
import unicodedata
from dataclasses import replace
from pathlib import Path

from minitransformer.learn.collecting import Submission
from minitransformer.system.validation import looked_up

STUDENT = ("student", "student_id", "id", "username", "name", "submission")  # names of the column of a roster
ADJUSTMENT = ("student", "exercise", "points", "reason")


def rows_of(path) -> list[list[str]]:
    """Read a table, which may be separated by commas, semicolons or tabs. Empty rows are left out."""
    try:
        text = Path(path).read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path}: must be UTF-8 text, but byte {error.start} is {error.object[error.start]:#x}"
        ) from None
    first = text.partition("\n")[0]
    rows = csv.reader(io.StringIO(text), delimiter=max(",;\t", key=first.count))
    return [[cell.strip() for cell in row] for row in rows if any(cell.strip() for cell in row)]


def read_roster(path) -> list[str]:
    """Read the names of the students: a column with a name of STUDENT, or the first column of a table without one."""
    rows = rows_of(path)
    header = [cell.lower() for cell in rows[0]] if rows else []
    named = next((header.index(name) for name in STUDENT if name in header), None)
    names = [row[named or 0] for row in rows[named is not None :] if len(row) > (named or 0)]
    if not names:
        raise ValueError(f"{path}: contains no student; it must have a name on each line")
    return names


def read_adjustments(path) -> list[tuple]:
    """Read (line, student, exercise, points, reason) from a table with these columns, except the line."""
    header, *rows = rows_of(path) or [[]]
    if tuple(cell.lower() for cell in header) != ADJUSTMENT:
        raise ValueError(f"{path}: the first line must be {','.join(ADJUSTMENT)}, not {','.join(header)}")
    found = []
    for line, row in enumerate(rows, 2):
        student, exercise, text, reason = (*row, "", "", "", "")[:4]
        try:
            points = float(text)
        except ValueError:
            points = math.nan
        if len(row) != len(ADJUSTMENT) or not reason or not 0 <= points < math.inf:
            raise ValueError(f"{path}: row {line} must have a student, an exercise, points and a reason, not {row}")
        found.append((line, student, exercise, points, reason))
    return found


def key(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold().strip()


def submission_of(student: str, names) -> str | None:
    """Return the name of a student's submission: the same, or one that begins with it, as `Ada Byron_41_file`."""
    same = [name for name in names if key(name) == key(student)]
    begins = [
        name for name in names if key(name).startswith((f"{key(student)}_", f"{key(student)} (", f"{key(student)}-"))
    ]
    return next(iter(same + begins), None)


def with_absent(found, roster) -> tuple[list[Submission], list[str]]:
    """Add a Submission for each student of the roster without one. Also return the names that are not on the roster."""
    names = [submission.name for submission in found]
    of = {student: submission_of(student, names) for student in roster}
    absent = [Submission(student, reason="absent") for student, name in of.items() if name is None]
    return [*found, *absent], sorted({*names} - {*of.values()})


def counted(rows, exercises, level=None, is_personal=False) -> list[Submission]:
    """Take the points of files that do not count: below `level`, or not the student's own variant if `is_personal`."""

    def decided(submission, graded):
        verdict, reason = graded.verdict, ""
        if not graded.points:
            return graded
        if level is not None and (verdict.level is None or verdict.level < level):
            its = "unknown" if verdict.level is None else verdict.level
            reason = f"does not count, because its level is {its}, and level {level} is required"
        elif (
            is_personal
            and not exercises[verdict.name].is_value
            and not (verdict.student and key(verdict.student) in key(submission.name))
        ):
            its = f"that of {verdict.student}" if verdict.student else "not one of `learn start --student`"
            reason = f"does not count, because the variant is {its}"
        return replace(graded, given=0.0, decision=reason) if reason else graded

    return [replace(row, graded=tuple(decided(row, graded) for graded in row.graded)) for row in rows]


def adjusted(rows, adjustments, path) -> list[Submission]:
    """Replace points by those of the adjustments, which were read from `path`."""
    found = {row.name: {graded.verdict.name: graded for graded in row.graded} for row in rows}
    for line, student, exercise, points, reason in adjustments:
        try:
            name = submission_of(student, found) or student
            graded = looked_up(exercise, looked_up(name, found, "submission"), "exercise")
        except ValueError as error:
            raise ValueError(f"{path}: row {line}: {error}") from None
        words = f"{points:g} points in place of {graded.points:g}: {reason}"
        found[name][exercise] = replace(graded, given=points, decision=words)
    return [replace(row, graded=tuple(found[row.name].values())) for row in rows]
