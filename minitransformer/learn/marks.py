"""The marks of a class: a table, the formats of other graders, a page of feedback for each student, and a summary."""

import csv
import io
import json
from collections import Counter

from minitransformer.learn.verdict import MISSING
from minitransformer.system.printable import LONGEST, one_line, printable
from minitransformer.system.terminal import counted

FORMULA = ("=", "+", "-", "@")
NBGRADER = ("assignment", "duedate", "timestamp", "student_id", "last_name", "first_name", "email")
NBGRADER += ("raw_score", "late_submission_penalty", "score", "max_score")


def marks(found) -> str:
    """Return a table in CSV: a row for each Submission, and for each exercise a column for each of its equations.

    Every Submission must have the same exercises.
    """
    header = ["submission", "reason", "points", "of", "solved", "seconds"]
    for each, *_ in columns(found):
        name = each.verdict.name
        header += [name, f"{name}: level", f"{name}: points"]
        header += [f"{name} {number} {line}".rstrip() for line, number in each.numbers.items()]
        header += [f"{name}: {column}" for column in ("mistake", "remarks", "file", "seconds")]
    rows = [header]
    for submission in found:
        row = [submission.name, submission.reason, submission.points, submission.worth]
        row += [submission.solved, submission.seconds]
        for each in submission.graded:
            level = "" if each.verdict.level is None else each.verdict.level
            row += [each.verdict.status, level, each.points, *each.lines.values(), each.verdict.mistake]
            row += ["; ".join(remarks(each)), each.file, each.seconds]
        rows.append(row)
    return table(rows)


def columns(found):
    """Return the Graded of all Submissions, exercise by exercise."""
    return zip(*(submission.graded for submission in found), strict=True)


def remarks(graded) -> list[str]:
    """Return the remarks on an exercise: those of its Verdict, and which files were not graded."""
    uses = [f"uses the package's answer: {graded.verdict.uses_package}"] * bool(graded.verdict.uses_package)
    return [*uses, *graded.verdict.remarks, *not_graded(graded)]


def not_graded(graded) -> list[str]:
    """Return a remark on the files that were found and not chosen, if there are any."""
    return [f"the most complete file, then the newest, is graded, not {', '.join(graded.others)}"] * bool(graded.others)


def table(rows) -> str:
    """Return rows in CSV, in which no cell is a formula to a spreadsheet, and every cell is one printable line."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([cell(value) for value in row] for row in rows)
    return text.getvalue()


def cell(value):
    """Return a number as it is; of a text, one line, with an apostrophe before the beginning of a formula."""
    if not isinstance(value, str):
        return value
    line = short(printable(value, keep=""))
    return f"'{line}" if line.lstrip().startswith(FORMULA) else line


def short(line: str) -> str:
    """Return a line without the middle of one that is very long, as a message of the code's own can be."""
    return line if len(line) <= LONGEST else one_line(line)


def nbgrader(found) -> str:
    """Return a table as `nbgrader export` writes it, with a row for each exercise and student.

    https://nbgrader.readthedocs.io/en/stable/user_guide/creating_and_grading_assignments.html
    """
    rows = [NBGRADER]
    for column in columns(found):
        for submission, graded in zip(found, column, strict=True):
            scores = graded.points, 0.0, graded.points, graded.worth
            rows.append((graded.verdict.name, "", "", submission.name, "", "", "", *scores))
    return table(rows)


def gradescope(submission) -> str:
    """Return the results.json of Gradescope for a Submission, with a test for each exercise.

    https://gradescope-autograders.readthedocs.io/en/latest/specs/
    """
    tests = [
        {
            "name": graded.verdict.name,
            "score": graded.points,
            "max_score": graded.worth,
            "status": "passed" if graded.verdict.is_solved else "failed",
            "output": printable("\n".join(said(graded))),
        }
        for graded in submission.graded
    ]
    results = {
        "score": submission.points,
        "execution_time": submission.seconds,
        "output": printable(submission.reason or points_in_words(submission)),
        "output_format": "text",
        "tests": tests,
    }
    return json.dumps(results, indent=1) + "\n"


def feedback(submission) -> str:
    """Return a page for a student: the points, and the report of `learn check` on each exercise."""
    parts = [f"{submission.name}: {points_in_words(submission)}"]
    parts += [f"not graded: {submission.reason}"] * bool(submission.reason)
    return printable("\n\n".join([*parts, *("\n".join(said(each)) for each in submission.graded)])) + "\n"


def said(graded) -> list[str]:
    """Return the lines on an exercise."""
    file = f", {graded.file}" if graded.file else ""
    first, *lines = [*graded.verdict.lines(), *(f"   {remark}" for remark in not_graded(graded))]
    return [f"{first}, {graded.points:g} of {graded.worth:g} points{file}", *map(short, lines)]


def points_in_words(submission) -> str:
    """Return the points and the number of solved exercises in words."""
    exercises = counted(len(submission.graded), "exercise")
    return f"{submission.points:g} of {submission.worth:g} points, {submission.solved} of {exercises} solved"


def summary(found) -> list[tuple]:
    """Return for each exercise (name, how many solved it, of how many, its commonest mistake, how many made it)."""
    rows = []
    for column in columns(found):
        verdicts = [graded.verdict for graded in column]
        mistakes = Counter(verdict.mistake for verdict in verdicts if verdict.mistake)
        mistake, times = mistakes.most_common(1)[0] if mistakes else ("", 0)
        handed_in = sum(verdict.status != MISSING for verdict in verdicts)
        solved = sum(verdict.is_solved for verdict in verdicts)
        rows.append((verdicts[0].name, solved, handed_in, mistake, times))
    return rows


def in_words(rows) -> list[str]:
    """Return the lines of a summary."""
    wide = max((len(name) for name, *_ in rows), default=0)
    return [
        f"{name:<{wide}}  {solved:>3} of {of}" + (f"   {counted(times, 'time')}: {mistake}" if times else "")
        for name, solved, of, mistake, times in rows
    ]
