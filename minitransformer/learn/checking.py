"""Asking for verdicts: one process grades, which stays warm from one check to the next."""

import atexit
from dataclasses import replace
from pathlib import Path

from minitransformer.bounded import Bounded, Ended
from minitransformer.learn.verdict import FAILED, Verdict
from minitransformer.learn.workspace import exercise_in, found_folder

SECONDS, EXPLANATION, MEGABYTES = 20, 60, 1000


class Grader:
    """Grades each file in a separate process (bounded.py); for use in a `with` block.

    The verdict must be known within `seconds`; a mistake is then explained if that takes at most `explanation` seconds.
    """

    def __init__(self, seconds: float = SECONDS, explanation: float = EXPLANATION):
        self.process = Bounded("minitransformer.learn.grading", megabytes=MEGABYTES)
        self.seconds, self.explanation = seconds, explanation

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.process.end()

    def verdict(self, folder, name: str) -> Verdict:
        """Return the Verdict on an exercise in a folder. Raises ValueError where there is no such exercise."""
        exercise_in(folder, name)
        path = (Path(folder) / f"{name}.py").absolute()
        try:
            return Verdict.from_json(
                self.process.ask({"file": str(path), "name": name}, self.seconds, self.explanation)
            )
        except Ended as end:
            if end.answer is None:
                return Verdict(name, FAILED, sentence=f"{path.name}: {end}")
            verdict = Verdict.from_json(end.answer)
            return replace(verdict, remarks=(*verdict.remarks, f"the explanation is missing: {end}"))

    def slopes(self, folder, name: str):
        """Return a figure of the slope of an exercise's function, the learner's and the true one.

        Raises ValueError for an exercise whose function does not work entry by entry, or whose code fails; MissingExtra
        without matplotlib.
        """
        from minitransformer.learn.pictures import ENTRY_BY_ENTRY, draw_slopes

        if name not in ENTRY_BY_ENTRY:
            raise ValueError(f"there is a plot of {', '.join(ENTRY_BY_ENTRY)}, whose slope is a curve; not of {name}")
        path = (Path(folder) / f"{name}.py").absolute()
        try:
            found = self.process.ask({"file": str(path), "name": name, "slopes": True}, self.seconds)
        except Ended as end:
            raise ValueError(f"{path.name}: {end}") from None
        if "fault" in found:
            raise ValueError(found["fault"])
        return draw_slopes(name, **found)


_warm = []  # the Grader of `check` and `plot`


def warm() -> Grader:
    """Return a Grader that stays warm until the program ends."""
    if not _warm:
        _warm.append(Grader())
        atexit.register(_warm[0].process.end)
    return _warm[0]


def check(name: str, folder=None) -> Verdict:
    """Return the Verdict on an exercise: `print` it, or let a notebook show it as a table.

    `folder` is where its file is: ./learn, or this folder, unless given. Raises ValueError where there is no exercise
    of that name, FileNotFoundError where there is no folder of exercises.
    """
    return warm().verdict(found_folder(folder), name)


def plot(name: str, folder=None):
    """Return what a notebook shows as a picture of f′, the learner's and the true one: of relu, silu and gelu.

    Its `figure` is matplotlib's.

    Raises what `check` raises, ValueError for other exercises or code that fails, MissingExtra without matplotlib.
    """
    from minitransformer.learn.pictures import Shown

    return Shown(warm().slopes(found_folder(folder), name))
