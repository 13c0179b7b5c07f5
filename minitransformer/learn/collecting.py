"""Grade the submissions of a class, each in a separate process.

The process works on a copy of the files in an empty folder. Each graded submission is added to a journal, with a digest
of everything that the marks depend on: the version of this package, the exercises, and the files. The next run reuses
the marks of a folder with the same name and digest.
"""

import hashlib
import json
import shutil
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor, as_completed, wait
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from queue import SimpleQueue

from gradcheck.front.streams import error_in_words
from minitransformer.learn.exercises import NOTHING
from minitransformer.learn.graded import Graded, ungraded
from minitransformer.learn.grading_client import Grader
from minitransformer.learn.own import ENDING, OwnExercise, graded_by
from minitransformer.learn.reading import Unreadable
from minitransformer.learn.refusing import of_header
from minitransformer.learn.similarities import alike, digest_of_code
from minitransformer.learn.submitted import submitted_in
from minitransformer.learn.verdict import FAILED, MISSING, Verdict
from minitransformer.system.cores import available_cores
from minitransformer.system.version import __version__

JOURNAL = ".marks.jsonl"
GRADER_FAILED = "the grader failed, please report it"


@dataclass(frozen=True)
class Submission:
    """The results of a submission, which is the folder of a student."""

    name: str  # name of the folder
    graded: tuple = ()  # a Graded for each exercise
    reason: str = ""  # reason why the folder, or a zip file in it, could not be graded, or ""
    digest: str = ""  # digest of everything that the marks depend on, or "" if the folder must be graded again

    @property
    def solved(self) -> int:
        return sum(graded.is_solved for graded in self.graded)

    @property
    def points(self) -> float:
        return round(sum(graded.points for graded in self.graded), 2)

    @property
    def worth(self) -> float:
        return sum(graded.worth for graded in self.graded)

    @property
    def seconds(self) -> float:
        return round(sum(graded.seconds for graded in self.graded), 2)


def submissions(folder) -> dict[str, Path]:
    """Return {name of a student: folder or zip file}."""
    found = sorted(Path(folder).iterdir())
    places = {path.name: path for path in found if path.is_dir()}
    for path in found:
        if path.suffix.lower() == ".zip" and not path.is_dir():
            places[path.name if path.stem in places else path.stem] = path
    if not places:
        raise ValueError(f"{folder}: contains no folder and no zip file; it must contain one for each student")
    return places


def loose_files(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.suffix in (".py", ".ipynb"))


def collected(folder, exercises, journal, *, again=False, is_package_allowed=False):
    """Grade the submissions in a folder, and yield the results.

    Unchanged submissions are read from the journal, unless `again` is True. A file that takes its answer from this
    package has no points, unless `is_package_allowed`.
    """
    places, kept = submissions(folder), {} if again else read_journal(journal)
    count = max(2, available_cores())  # at least two, in case code sleeps
    graders = [Grader(is_package_allowed=is_package_allowed) for _ in range(count)]
    free, stop = SimpleQueue(), threading.Event()
    for grader in graders:
        free.put(grader)
    with open(journal, "ab") as lines, ThreadPoolExecutor(len(graders)) as pool:
        lines.write(b"\n" * bool(lines.tell()))  # in case a crash has cut off the last line
        futures = [pool.submit(submission_in, *place, exercises, kept, free, stop) for place in places.items()]
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
            while True:  # after Ctrl-C, abandon the submissions that are being graded
                for grader in graders:
                    grader.end()
                if not wait(futures, timeout=0.1).not_done:
                    break


def read_journal(path) -> dict:
    """Read the results of earlier runs, with keys (name, digest). Invalid lines, left by a crash, are skipped."""
    kept = {}
    with suppress(FileNotFoundError), open(path, encoding="utf-8", errors="replace") as lines:
        for line in lines:
            with suppress(ValueError, TypeError, KeyError, AttributeError, RecursionError):
                entry = json.loads(line)
                graded = [Graded(**{**each, "verdict": Verdict.from_json(each["verdict"])}) for each in entry["graded"]]
                kept[entry["name"], entry["digest"]] = Submission(**{**entry, "graded": tuple(graded)})
    return kept


def submission_in(name, place, exercises, kept, free, stop) -> Submission:
    """Grade the folder or zip file `place`, the submission of the student `name`.

    If `kept`, the results of earlier runs, contains the unchanged folder, the earlier result is returned. `free` is a
    queue of Graders that are not in use. If the event `stop` is set, the folder is not graded.
    """
    grader = free.get()
    try:
        if stop.is_set():
            raise Unreadable("not graded")
        if place.is_symlink():
            raise Unreadable("the folder is a symbolic link, which is not followed")
        found, trouble = submitted_in(place, exercises)
        digest = digest_of(found, exercises, [grader.is_package_allowed, trouble])
        if (name, digest) in kept:
            return kept[name, digest]
        graded = tuple(graded_file(grader, exercises[each], found[each]) for each in exercises if each in found)
        return Submission(name, graded, trouble, "" if any(each.is_broken for each in graded) else digest)
    except Unreadable as error:
        return Submission(name, reason=str(error))
    except Exception as error:  # an error of this program affects only this submission
        return Submission(name, reason=f"{GRADER_FAILED}: {error_in_words(error)}")
    finally:
        free.put(grader)


def digest_of(found, exercises, choices) -> str:
    parts = [__version__, *choices]
    for name in sorted(found):
        exercise, file = exercises[name], replace(found[name], modified=0.0)
        parts += [name, repr(getattr(exercise, "about", {})), exercise.source.read_text("utf-8"), repr(file)]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def graded_file(grader, exercise, submitted) -> Graded:
    began, folder, is_broken = time.monotonic(), Path(tempfile.mkdtemp(prefix="minitransformer-")), False
    try:
        for name, content in (*submitted.modules, (f"{exercise.name}.py", submitted.content)):
            (folder / name).write_bytes(content)
        if isinstance(exercise, OwnExercise):  # overwrite any such file of the student
            variant, level, _ = of_header(exercise, submitted.content.decode("utf-8", "replace"))
            text = graded_by(variant, 1 if level is None else min(level, NOTHING))
            (folder / f"{exercise.name}{ENDING}").write_text(text, "utf-8")
        verdict = Verdict(exercise.name, FAILED, sentence=submitted.trouble)
        verdict = verdict if submitted.trouble else grader.verdict(folder, exercise.name)
    except Exception as error:
        verdict, is_broken = Verdict(exercise.name, FAILED, sentence=f"{GRADER_FAILED}: {error_in_words(error)}"), True
    finally:
        with suppress(RecursionError):  # from very deeply nested folders
            shutil.rmtree(folder, ignore_errors=True)
    seconds = round(time.monotonic() - began, 2)
    told = {"file": submitted.file, "others": submitted.others, "seconds": seconds, "is_broken": is_broken}
    told["code"] = digest_of_code(exercise, submitted.content.decode("utf-8", "replace"))
    return replace(ungraded(exercise, verdict), **told)


def completed(found, exercises, expected) -> list[Submission]:
    """Sort submissions by name, and add a result for each exercise that a student has not submitted.

    An exercise counts if its name is in `expected`, or if another student has submitted it.
    """
    kept = expected | {graded.verdict.name for submission in found for graded in submission.graded}
    missing = {name: ungraded(each, Verdict(name, MISSING)) for name, each in exercises.items() if name in kept}
    all_of = {each.name: {one.verdict.name: one for one in each.graded} for each in found}
    looks = {
        exercise: alike({name: of[exercise] for name, of in all_of.items() if exercise in of}) for exercise in kept
    }
    rows = []
    for submission in sorted(found, key=lambda submission: submission.name):
        graded = missing | all_of[submission.name]
        row = (replace(graded[name], to_look_at=looks[name].get(submission.name, "")) for name in missing)
        rows.append(replace(submission, graded=tuple(row)))
    return rows
