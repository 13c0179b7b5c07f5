"""Request verdicts from a grading process, which is kept running between checks."""

from dataclasses import replace
from functools import cache
from pathlib import Path

from minitransformer.learn.verdict import FAILED, Verdict
from minitransformer.learn.workspace import exercise_in, found_folder
from minitransformer.system.bounded import Bounded, Ended

SECONDS, EXPLANATION, MEGABYTES = 20, 60, 1000


class Grader(Bounded):
    """A grader of files in a separate process, which ends with the `with` block."""

    def __init__(self, seconds: float = SECONDS, explanation: float = EXPLANATION, *, is_package_allowed=False):
        super().__init__("minitransformer.learn.grading_server", megabytes=MEGABYTES)
        self.seconds, self.explanation, self.is_package_allowed = seconds, explanation, is_package_allowed

    def verdict(self, folder, name: str, first=lambda verdict: None) -> Verdict:
        """Grade an exercise in a folder. `first` is called with the result before it is explained."""
        exercise_in(folder, name)
        path = (Path(folder) / f"{name}.py").absolute()
        request = {"file": str(path), "name": name, "seconds": self.seconds}
        request["is_package_allowed"] = self.is_package_allowed
        try:
            found = self.ask(request, self.seconds, self.explanation, lambda v: first(Verdict.from_json(v)))
            return Verdict.from_json(found)
        except Ended as end:
            if end.answer is None:
                return Verdict(name, FAILED, sentence=f"{path.name}: {end}")
            verdict = Verdict.from_json(end.answer)
            return replace(verdict, remarks=(*verdict.remarks, f"the explanation is missing: {end}"))

    def asked(self, folder, name: str, what: str) -> dict:
        """Return the answer to another question about a file. Raises ValueError if the code fails."""
        path = (Path(folder) / f"{name}.py").absolute()
        try:
            found = self.ask({"file": str(path), "name": name, what: True, "seconds": self.seconds}, self.seconds)
        except Ended as end:
            raise ValueError(f"{path.name}: {end}") from None
        if "fault" in found:
            raise ValueError(found["fault"])
        return found

    def numbers(self, folder, name: str) -> dict:
        """Return the values of the numbered lines on a small example (see small_numbers in explaining.py)."""
        return self.asked(folder, name, "numbers")

    def slopes(self, folder, name: str):
        """Plot the derivative of an elementwise function according to the learner, and the true one."""
        from minitransformer.learn.pictures import ENTRY_BY_ENTRY, draw_slopes

        if name not in ENTRY_BY_ENTRY:
            raise ValueError(f"name must be an elementwise function ({', '.join(ENTRY_BY_ENTRY)}), not {name}")
        return draw_slopes(name, **self.asked(folder, name, "slopes"))


@cache
def warm() -> Grader:
    return Grader()


def check(name: str, folder=None) -> Verdict:
    """Grade an exercise and return its Verdict.

    `print` and notebooks show a Verdict as a table. `folder` contains the exercise's file (default: ./learn, else the
    current folder). Raises ValueError if there is no exercise of that name, and FileNotFoundError if the folder
    contains no exercises.
    """
    return warm().verdict(found_folder(folder), name)


def points(name: str, folder=None) -> float:
    """Grade an exercise and return its points, as `learn collect` awards them. Raises the exceptions of `check`."""
    from minitransformer.learn.graded import ungraded

    folder = found_folder(folder)
    return ungraded(exercise_in(folder, name), warm().verdict(folder, name)).points


def plot(name: str, folder=None):
    """Plot the learner's and the true derivative of relu, silu or gelu.

    A notebook displays the result, which has the attribute `figure`, a matplotlib figure. Raises the exceptions of
    `check`, ValueError if the exercise is not one of these or its code fails, and MissingExtra if matplotlib is not
    installed.
    """
    from minitransformer.learn.pictures import Shown

    return Shown(warm().slopes(found_folder(folder), name))
