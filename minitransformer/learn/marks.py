"""Write the marks of a class as tables, files for other graders, and feedback."""

import io
import json
from collections import Counter
from csv import writer

from gradcheck.front.streams import LONGEST, counted, one_line, printable
from minitransformer.learn.verdict import MISSING
from minitransformer.system.files import write_atomically

FORMULA = ("=", "+", "-", "@")
NBGRADER = ("assignment", "duedate", "timestamp", "student_id", "last_name", "first_name", "email")
NBGRADER += ("raw_score", "late_submission_penalty", "score", "max_score")


def write(rows, csv=None, nbgrader=None, gradescope=None, feedback=None) -> list:
    """Write the marks to the given files and folders. Return the paths that were given."""
    texts = {path: text(rows) for path, text in ((csv, marks), (nbgrader, nbgrader_table)) if path is not None}
    for folder, name, text in ((gradescope, "results.json", results), (feedback, "feedback.txt", letter)):
        if folder is not None:
            texts |= {folder / row.name / name: text(row) for row in rows}
    for path, text in texts.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, lambda file, text=text: file.write(text.encode()))
    return [path for path in (csv, nbgrader, gradescope, feedback) if path is not None]


def marks(found) -> str:
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
    return zip(*(submission.graded for submission in found), strict=True)


def remarks(graded) -> list[str]:
    return [*graded.verdict.remarks, *beside(graded)]


def beside(graded) -> list[str]:
    look = [f"to look at: {graded.to_look_at}"] * bool(graded.to_look_at)
    return [
        *[graded.decision] * bool(graded.decision),
        *look,
        *[f"not graded, because less complete or older: {', '.join(graded.others)}"] * bool(graded.others),
    ]


def table(rows) -> str:
    text = io.StringIO()
    writer(text, lineterminator="\n").writerows([cell(value) for value in row] for row in rows)
    return text.getvalue()


def cell(value):
    """Format a cell of a CSV table as one line. An apostrophe is added before text that looks like a formula."""
    if not isinstance(value, str):
        return value
    line = short(printable(value, keep=""))
    return f"'{line}" if line.lstrip().startswith(FORMULA) else line


def short(line: str) -> str:
    return line if len(line) <= LONGEST else one_line(line)


def nbgrader_table(found) -> str:
    rows = [NBGRADER]
    for column in columns(found):
        for submission, graded in zip(found, column, strict=True):
            scores = graded.points, 0.0, graded.points, graded.worth
            rows.append((graded.verdict.name, "", "", submission.name, "", "", "", *scores))
    return table(rows)


def results(submission) -> str:
    tests = []
    for graded in submission.graded:
        test = {"name": graded.verdict.name, "score": graded.points, "max_score": graded.worth}
        test |= {"status": "passed" if graded.is_solved else "failed"}
        tests.append(test | {"output": printable("\n".join(said(graded)))})
    found = {"score": submission.points, "execution_time": submission.seconds, "output_format": "text", "tests": tests}
    found |= {"output": printable(submission.reason or points_in_words(submission))}
    return json.dumps(found, indent=1) + "\n"


def letter(submission) -> str:
    parts = [f"{submission.name}: {points_in_words(submission)}"]
    parts += [f"not graded: {submission.reason}"] * bool(submission.reason)
    return printable("\n\n".join([*parts, *("\n".join(said(each)) for each in submission.graded)])) + "\n"


def said(graded) -> list[str]:
    file = f", {graded.file}" if graded.file else ""
    first, *lines = [*graded.verdict.lines(), *(f"   {remark}" for remark in beside(graded))]
    return [f"{first}, {graded.points:g} of {graded.worth:g} points{file}", *map(short, lines)]


def points_in_words(submission) -> str:
    exercises = counted(len(submission.graded), "exercise")
    return f"{submission.points:g} of {submission.worth:g} points, {submission.solved} of {exercises} solved"


def summary(found) -> list[tuple]:
    rows = []
    for column in columns(found):
        verdicts = [graded.verdict for graded in column]
        mistakes = Counter(verdict.mistake for verdict in verdicts if verdict.mistake)
        mistake, times = mistakes.most_common(1)[0] if mistakes else ("", 0)
        handed_in = sum(verdict.status != MISSING for verdict in verdicts)
        solved = sum(graded.is_solved for graded in column)
        rows.append((verdicts[0].name, solved, handed_in, mistake, times))
    return rows


def to_look_at(found) -> list[str]:
    each = [(graded, submission.name) for submission in found for graded in submission.graded]
    return [f"to look at: {name}, {g.verdict.name}: {g.to_look_at}" for g, name in each if g.to_look_at]


def in_words(rows) -> list[str]:
    wide = max((len(name) for name, *_ in rows), default=0)
    return [
        f"{name:<{wide}}  {solved:>3} of {of}" + (f"   {counted(times, 'time')}: {mistake}" if times else "")
        for name, solved, of, mistake, times in rows
    ]
