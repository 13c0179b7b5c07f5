"""Grading a class: every folder becomes a Submission, whatever is in it, and none costs the marks of another.

A submission is graded in a separate process, on a copy of its files in an empty folder, so that no link, pipe or
hidden file in it is met. Each one that is graded becomes a line of JSON in a journal, with a digest of all that its
marks depend on: the version of this package, the exercises, and the files. With the same folder name and digest in the
journal, the next run takes the marks from there. A submission in which the grader itself failed has no digest, and is
always graded again.
"""

import hashlib
import json
import os
import re
import shutil
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor, as_completed, wait
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from queue import SimpleQueue

from minitransformer.cores import available_cores
from minitransformer.learn.checking import Grader
from minitransformer.learn.equations import equation_numbers
from minitransformer.learn.exercises import Exercise
from minitransformer.learn.own import ENDING, OwnExercise, graded_by
from minitransformer.learn.reading import Unreadable
from minitransformer.learn.refusing import HEADER
from minitransformer.learn.submitted import submitted_in
from minitransformer.learn.verdict import BEGUN, FAILED, FOLLOWS, MISSING, WRONG, Verdict
from minitransformer.system.terminal import error_in_words
from minitransformer.version import __version__

JOURNAL = ".marks.jsonl"
GRADER_FAILED = "the grader failed, please report it"


@dataclass(frozen=True)
class Graded:
    """One exercise of a submission: its Verdict, the file that was graded, and how long that took.

    `numbers` are the numbers of the equations of its backward pass, {name: "(6)"}, `worth` its points, and `others` the
    files that were not chosen.
    """

    verdict: Verdict
    numbers: dict
    worth: float
    file: str = ""
    others: list | tuple = ()
    seconds: float = 0.0

    @property
    def lines(self) -> dict:
        """The verdict on each numbered line, {name: verdict}; of several rows of a line, the worst."""
        if self.verdict.is_solved:
            return dict.fromkeys(self.numbers, "right")
        found = {}
        for name in self.numbers:
            verdicts = [row.verdict for row in self.verdict.rows if row.name in (name, *name.split(", "))]
            found[name] = min(verdicts, key=lambda v: (v == "right", v == FOLLOWS), default="")
        return found

    @property
    def points(self) -> float:
        """All points of a solved exercise; of one that is begun or wrong, the share of its numbered lines.

        A line counts if it is right, or wrong only because another numbered line is, which loses its point.
        """
        if self.verdict.is_solved:
            return self.worth
        if self.verdict.status not in (WRONG, BEGUN) or not self.numbers:
            return 0.0
        numbered = set(", ".join(self.numbers).split(", "))
        follow = [row for row in self.verdict.rows if row.verdict == FOLLOWS]
        excused = {row.name for row in follow if numbered & set(re.findall(r"\w+", row.sentence))}
        earned = [v == "right" or (v == FOLLOWS and excused & set(n.split(", "))) for n, v in self.lines.items()]
        return round(self.worth * sum(map(bool, earned)) / len(self.numbers), 2)


@dataclass(frozen=True)
class Submission:
    """A student's folder: its name and its Graded exercises, or the reason why there is none.

    `worth` is the number of points that could be had, and `seconds` how long the grading took.
    """

    name: str
    graded: tuple = ()
    reason: str = ""
    digest: str = ""

    @property
    def solved(self) -> int:
        return sum(graded.verdict.is_solved for graded in self.graded)

    @property
    def points(self) -> float:
        return round(sum(graded.points for graded in self.graded), 2)

    @property
    def worth(self) -> float:
        return sum(graded.worth for graded in self.graded)

    @property
    def seconds(self) -> float:
        return round(sum(graded.seconds for graded in self.graded), 2)


def ungraded(exercise: Exercise, verdict: Verdict) -> Graded:
    """Return a Graded without a file. An exercise is worth its own `points`, or a point for each numbered line."""
    numbers = equation_numbers(exercise)
    about = getattr(exercise, "about", {})
    return Graded(verdict, numbers, float(about.get("points", len(numbers) or 1)))


def submissions(folder) -> list[Path]:
    """Return the folders in a folder, and the links to folders, by name. Raises ValueError if there is none."""
    found = sorted(path for path in Path(folder).iterdir() if path.is_dir())
    if not found:
        raise ValueError(f"{folder}: there is no folder in it; collect grades a folder that holds one for each student")
    return found


def collect(folder, exercises, journal, *, again=False):
    """Grade the submissions in a folder, one on each core at a time; yield each Submission when it is graded.

    exercises: {name: Exercise} of those that are looked for.
    journal: a file to which each Submission is added, and from which those that have not changed are taken.
    again: grade all of them, whatever is in the journal.

    Raises ValueError if there is no folder in it, and OSError if the journal cannot be written.
    """
    places = submissions(folder)
    kept = {} if again else read_journal(journal)
    graders = [Grader() for _ in range(max(2, available_cores()))]  # code that sleeps does not keep the others waiting
    free, stop = SimpleQueue(), threading.Event()
    for grader in graders:
        free.put(grader)
    with open_journal(journal) as lines, ThreadPoolExecutor(len(graders)) as pool:
        futures = [pool.submit(submission_in, place, exercises, kept, free, stop) for place in places]
        try:
            for future in as_completed(futures):
                submission = future.result()
                if submission.digest and (submission.name, submission.digest) not in kept:
                    lines.write(json.dumps(asdict(submission)).encode() + b"\n")
                    lines.flush()
                yield submission
        finally:
            stop.set()
            for future in futures:
                future.cancel()
            while True:  # after Ctrl-C, the submissions that are being graded are given up
                for grader in graders:
                    grader.process.end()
                if not wait(futures, timeout=0.1).not_done:
                    break


def read_journal(path) -> dict:
    """Return {(name, digest): Submission} of a journal. Other lines, such as one cut off by a crash, are ignored."""
    kept = {}
    with suppress(FileNotFoundError), open(path, encoding="utf-8", errors="replace") as lines:
        for line in lines:
            with suppress(ValueError, TypeError, KeyError, AttributeError, RecursionError):
                entry = json.loads(line)
                graded = [Graded(**{**each, "verdict": Verdict.from_json(each["verdict"])}) for each in entry["graded"]]
                kept[entry["name"], entry["digest"]] = Submission(**{**entry, "graded": tuple(graded)})
    return kept


def open_journal(path):
    """Return a file that lines can be added to, after the end of a line that was cut off."""
    file = open(path, "a+b")  # noqa: SIM115
    with suppress(OSError):  # it is empty
        file.seek(-1, os.SEEK_END)
        if file.read(1) != b"\n":
            file.write(b"\n")
    return file


def submission_in(place, exercises, kept, free, stop) -> Submission:
    """Return the Submission of a folder: from `kept`, unless it has changed, or graded by one of the `free` Graders."""
    grader = free.get()
    try:
        if stop.is_set():
            raise Unreadable("not graded")
        if place.is_symlink():
            raise Unreadable("a symbolic link, and links are not followed")
        found = submitted_in(place, exercises)
        digest = digest_of(found, exercises)
        if (place.name, digest) in kept:
            return kept[place.name, digest]
        graded = tuple(graded_file(grader, exercises[name], found[name]) for name in exercises if name in found)
        failed = any(each.verdict.sentence.startswith(GRADER_FAILED) for each in graded)
        return Submission(place.name, graded, digest="" if failed else digest)
    except Unreadable as error:
        return Submission(place.name, reason=str(error))
    except Exception as error:  # a fault of this program costs this submission alone
        return Submission(place.name, reason=f"{GRADER_FAILED}: {error_in_words(error)}")
    finally:
        free.put(grader)


def digest_of(found, exercises) -> str:
    """Return a digest of all that the marks of a submission depend on."""
    parts = [__version__]
    for name in sorted(found):
        exercise, file = exercises[name], replace(found[name], modified=0.0)
        parts += [name, repr(getattr(exercise, "about", {})), exercise.source.read_text("utf-8"), repr(file)]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def graded_file(grader, exercise, submitted) -> Graded:
    """Return the Graded of one file, which is graded on a copy in an empty folder."""
    began = time.monotonic()
    if submitted.trouble:
        verdict = Verdict(exercise.name, FAILED, sentence=submitted.trouble)
    else:
        folder = Path(tempfile.mkdtemp(prefix="minitransformer-"))
        try:
            for name, content in (*submitted.modules, (f"{exercise.name}.py", submitted.content)):
                (folder / name).write_bytes(content)
            if isinstance(exercise, OwnExercise):  # whatever the student's file of it says
                header = HEADER.search(submitted.content[:1000].decode("utf-8", "replace"))
                level = min(int(header[2]), 2) if header else 1
                (folder / f"{exercise.name}{ENDING}").write_text(graded_by(exercise, level), "utf-8")
            verdict = grader.verdict(folder, exercise.name)
        except Exception as error:
            verdict = Verdict(exercise.name, FAILED, sentence=f"{GRADER_FAILED}: {error_in_words(error)}")
        finally:
            with suppress(RecursionError):  # folders within folders, without end
                shutil.rmtree(folder, ignore_errors=True)
    seconds = round(time.monotonic() - began, 2)
    return replace(ungraded(exercise, verdict), file=submitted.file, others=submitted.others, seconds=seconds)


def completed(found, exercises) -> list[Submission]:
    """Return Submissions by name, each with a Graded for every one of these exercises, in their order."""
    missing = {name: ungraded(exercise, Verdict(name, MISSING)) for name, exercise in exercises.items()}
    rows = []
    for submission in sorted(found, key=lambda submission: submission.name):
        graded = missing | {each.verdict.name: each for each in submission.graded}
        rows.append(replace(submission, graded=tuple(graded[name] for name in exercises)))
    return rows
