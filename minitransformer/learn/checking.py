"""Asking for verdicts: one process grades, which stays warm from one check to the next."""

import atexit
from pathlib import Path

from minitransformer.bounded import Bounded, Ended
from minitransformer.learn.verdict import FAILED, Verdict
from minitransformer.learn.workspace import exercise_in, found_folder

SECONDS, MEGABYTES = 20, 1000


class Grader:
    """A process that grades files; for use in a `with` block."""

    def __init__(self, seconds: float = SECONDS):
        self.process, self.seconds = Bounded("minitransformer.learn.grading", megabytes=MEGABYTES), seconds

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.process.end()

    def verdict(self, folder, name: str) -> Verdict:
        """Return the Verdict on an exercise in a folder. Raises ValueError where there is no such exercise."""
        exercise_in(folder, name)
        path = (Path(folder) / f"{name}.py").absolute()
        try:
            return Verdict.from_json(self.process.ask({"file": str(path), "name": name}, self.seconds))
        except Ended as end:
            return Verdict(name, FAILED, sentence=f"{path.name}: {end}")


_warm = []  # the Grader of `check`


def check(name: str, folder=None) -> Verdict:
    """Return the Verdict on an exercise: `print` it, or let a notebook show it as a table.

    `folder` is where its file is: ./learn, or this folder, unless given. Raises ValueError where there is no exercise
    of that name, FileNotFoundError where there is no folder of exercises.
    """
    if not _warm:
        _warm.append(Grader())
        atexit.register(_warm[0].process.end)
    return _warm[0].verdict(found_folder(folder), name)
