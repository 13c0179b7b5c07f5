"""Grading a class: each folder is graded again, whatever is told in it, and becomes a row of a table."""

import csv
import io
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from minitransformer.learn.checking import Grader
from minitransformer.learn.equations import equation_numbers
from minitransformer.learn.own import ENDING, graded_by
from minitransformer.learn.verdict import REFUSED, Verdict
from minitransformer.learn.workspace import exercise_in, exercises_in
from minitransformer.system.terminal import counted

AT_ONCE = 2  # processes


@dataclass(frozen=True)
class Submission:
    """A folder that was handed in: its name, the Verdicts on its exercises, and the numbers of their lines."""

    name: str
    verdicts: tuple
    numbers: dict


def submissions(folder) -> dict:
    """Return {name: folder with exercises}: what lies directly in a folder, or one level further down.

    Raises ValueError where there is none.
    """
    found = {}
    for place in sorted(p for p in Path(folder).iterdir() if p.is_dir()):
        inner = [place, *sorted(p for p in place.iterdir() if p.is_dir())]
        with_exercises = [p for p in inner if exercises_in(p)]
        if with_exercises:
            found[place.name] = with_exercises[0]
    if not found:
        raise ValueError(f"{folder}: there is no folder in it that holds exercises")
    return found


def collect(folder, own=None, say=lambda text: None) -> list[Submission]:
    """Grade every submission in a folder, several at once. Raises what `submissions` raises.

    `own` is an exercise of a teacher's own, with its source: what tells how it is graded must be as it was handed out.
    """
    stop = threading.Event()
    handed_out = {} if own is None else {own.name: [graded_by(own, level) for level in range(3)]}

    def graded(entry):
        name, place = entry
        with Grader() as grader:
            verdicts = tuple(
                grader.verdict(place, exercise)
                if is_as_handed_out(place, exercise, handed_out)
                else Verdict(exercise, REFUSED, sentence=f"{exercise}{ENDING} is not as it was handed out")
                for exercise in exercises_in(place)
                if not stop.is_set()
            )
        if not stop.is_set():
            say(f"{name}: {sum(v.is_solved for v in verdicts)} of {len(verdicts)} solved")
        return Submission(name, verdicts, {v.name: equation_numbers(exercise_in(place, v.name)) for v in verdicts})

    with ThreadPoolExecutor(AT_ONCE) as pool:
        try:
            return list(pool.map(graded, submissions(folder).items()))
        except BaseException:  # Ctrl-C, say: what is being graded is the last
            stop.set()
            raise


def is_as_handed_out(folder, name, handed_out) -> bool:
    """Whether what tells how a teacher's own exercise is graded is one of the texts that were handed out."""
    return name not in handed_out or (folder / f"{name}{ENDING}").read_text("utf-8") in handed_out[name]


def marks(found: list[Submission]) -> str:
    """Return a table in CSV: a row a submission, columns for each exercise, its equations, and the mistake."""
    names = list(dict.fromkeys(v.name for s in found for v in s.verdicts))
    columns = {name: list(numbers.items()) for s in found for name, numbers in s.numbers.items()}
    header = ["submission", "solved"]
    for name in names:
        header += [name, *(f"{name} {number} {of}".rstrip() for of, number in columns[name]), f"{name}: mistake"]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    for submission in found:
        verdicts = {verdict.name: verdict for verdict in submission.verdicts}
        row = [spelled(submission.name), sum(verdict.is_solved for verdict in submission.verdicts)]
        for name in names:
            verdict = verdicts.get(name)
            lines = {} if verdict is None else {line.name: line.verdict for line in verdict.rows}
            solved = verdict is not None and verdict.is_solved
            row.append("not there" if verdict is None else verdict.status)
            row += ["right" if solved else lines.get(of, "") for of, _ in columns[name]]
            row.append("" if verdict is None else spelled(verdict.mistake))
        writer.writerow(row)
    return text.getvalue()


def spelled(text) -> str:
    """Return text that a spreadsheet takes for no formula."""
    return f"'{text}" if text[:1] in ("=", "+", "-", "@") else text


def summary(found: list[Submission]) -> list[tuple]:
    """Return for each exercise (name, how many solved it, of how many, its commonest mistake, how many made it)."""
    rows = []
    for name in dict.fromkeys(v.name for s in found for v in s.verdicts):
        verdicts = [v for s in found for v in s.verdicts if v.name == name]
        mistakes = Counter(verdict.mistake for verdict in verdicts if verdict.mistake)
        mistake, times = mistakes.most_common(1)[0] if mistakes else ("", 0)
        rows.append((name, sum(verdict.is_solved for verdict in verdicts), len(verdicts), mistake, times))
    return rows


def in_words(rows) -> list[str]:
    """Return the lines of a summary."""
    wide = max(len(name) for name, *_ in rows)
    return [
        f"{name:<{wide}}  {solved:>3} of {of}" + (f"   {counted(times, 'time')}: {mistake}" if times else "")
        for name, solved, of, mistake, times in rows
    ]
