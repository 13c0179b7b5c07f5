"""The points of one exercise in a submission."""

from dataclasses import dataclass

from minitransformer.learn.exercises import Exercise
from minitransformer.learn.explaining import equation_numbers, worth_of
from minitransformer.learn.verdict import FOLLOWS, RIGHT, WRONG_LINE, Verdict


@dataclass(frozen=True)
class Graded:
    """The result of grading one exercise in a submission."""

    verdict: Verdict  # result of the grader
    numbers: dict  # {name: equation number} of the numbered values
    worth: float  # points for a complete solution
    file: str = ""  # path of the graded file in the submission
    others: list | tuple = ()  # paths of other files for this exercise, which were not graded
    seconds: float = 0.0  # time that grading took
    is_broken: bool = False  # True if the grader itself failed
    code: str = ""  # digest of the code, to find equal solutions
    to_look_at: str = ""  # reason why a teacher should look at the file, or ""
    given: float | None = None  # points that the teacher has given, or None
    decision: str = ""  # reason for `given`, or ""

    @property
    def lines(self) -> dict:
        if self.verdict.is_solved:
            return dict.fromkeys(self.numbers, RIGHT)
        found = {row.name: row.verdict for row in self.verdict.rows}
        earned = {name: found.get(name, RIGHT) for name in self.verdict.earned}
        lost = {name: WRONG_LINE for name, verdict in found.items() if verdict == FOLLOWS}
        return {name: (found | lost | earned).get(name, "") for name in self.numbers}

    @property
    def is_solved(self) -> bool:
        return self.verdict.is_solved if self.given is None else self.given >= self.worth

    @property
    def points(self) -> float:
        """Return `given` if there is one, `worth` if solved, else the part of it that the numbered values earn."""
        if self.given is not None:
            return self.given
        earned = len(self.verdict.earned) / max(len(self.numbers), 1)
        return self.worth if self.verdict.is_solved else round(self.worth * earned, 2)


def ungraded(exercise: Exercise, verdict: Verdict) -> Graded:
    return Graded(verdict, equation_numbers(exercise), worth_of(exercise))
