"""The result of an experiment, compared with the reader's prediction."""

import json
import textwrap
from dataclasses import dataclass
from importlib import resources

from gradcheck.front.tables import table
from minitransformer.experiments.misconceptions import experiments
from minitransformer.experiments.misconceptions.form import Experiment, Interval, Outcome
from minitransformer.system.validation import check_int, finite, text

WIDTH = 96
OUTCOMES_FILE = "outcomes.json"


@dataclass(frozen=True)
class Result:
    experiment: Experiment
    intervals: dict[str, Interval]  # {name of a number: its Interval}
    seeds: str  # "seeds 0 to 4"
    predicted: int | None = None  # index of the outcome that the reader expected; None without a prediction

    @property
    def outcome(self) -> Outcome | None:
        return self.experiment.outcome(self.decisive)

    @property
    def decisive(self) -> Interval:
        return self.intervals[self.experiment.decides]

    @property
    def expected(self) -> str:
        """Return the predicted outcome and whether it was confirmed, or "" if there is no prediction."""
        if self.predicted is None:
            return ""
        expected = self.experiment.outcomes[self.predicted]
        verdict = "undecided" if self.outcome is None else "confirmed" if self.outcome == expected else "not confirmed"
        return f"{expected.expected} ({verdict})"

    @property
    def found(self) -> str:
        if self.outcome is None:
            low, high, decisive = self.decisive.low, self.decisive.high, self.experiment.decides
            limits = [f"{one.above:g}" for one in self.experiment.outcomes if low <= one.above < high]
            return (
                f"The seeds do not decide: the interval of {self.experiment.numbers[decisive]} is {self.decisive}. It "
                f"contains {' and '.join(limits)}, where one outcome ends and the next begins. More seeds shorten it."
            )
        return f"{self.experiment.question} {self.outcome.expected}. {self.outcome.means}"

    def to_dict(self) -> dict:
        numbers = {name: list(ends) for name, ends in self.intervals.items()}
        outcome = None if self.outcome is None else self.outcome.expected
        return {"seeds": self.seeds, "predicted": self.predicted, "outcome": outcome, "numbers": numbers}

    @classmethod
    def from_dict(cls, experiment: Experiment, kept: dict) -> "Result":
        """Restore a Result from to_dict's output. Raises ValueError if it is invalid."""
        try:
            numbers, predicted = kept["numbers"], kept["predicted"]
            intervals = {name: Interval(*(finite(name, end) for end in numbers[name])) for name in experiment.numbers}
            if predicted is not None:
                check_int("predicted", predicted, minimum=0, maximum=len(experiment.outcomes) - 1)
            return cls(experiment, intervals, text("seeds", kept["seeds"]), predicted)
        except (TypeError, KeyError, ValueError):
            raise ValueError(f"{experiment.name} must be the result of an experiment") from None

    def __str__(self):
        experiment = self.experiment
        rows = [(experiment.numbers[name], str(found)) for name, found in self.intervals.items()]
        parts = [
            filled(f"{experiment.name}: {experiment.belief}", ""),
            *([filled(f"You expected: {self.expected}.")] if self.expected else []),
            f"  Measured with {self.seeds}, mean and 95 % interval:\n" + "\n".join(table(rows, "<>", indent=4)),
            filled(self.found),
            filled(f"Not shown: {experiment.does_not_show}"),
        ]
        return "\n\n".join(parts)


def filled(words: str, indent: str = "  ") -> str:
    return textwrap.fill(words, WIDTH, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False)


def introduction(experiment: Experiment) -> str:
    choices = [filled(f"{n}  {outcome.expected}", "    ") for n, outcome in enumerate(experiment.outcomes, start=1)]
    parts = [filled(f"{experiment.name}: {experiment.belief}", ""), *map(filled, experiment.method)]
    return "\n\n".join([*parts, "\n".join([filled(f"{experiment.question} …"), *choices])])


def recorded() -> list[Result]:
    kept = json.loads(resources.files(__package__).joinpath(OUTCOMES_FILE).read_text("utf-8"))
    return [Result.from_dict(experiment, kept[experiment.name]) for experiment in experiments()]
