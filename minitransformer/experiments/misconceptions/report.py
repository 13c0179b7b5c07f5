"""What came out: an experiment with what was measured, in words and in numbers, beside what the reader expected."""

import json
import textwrap
from dataclasses import dataclass
from importlib import resources

from minitransformer.experiments.misconceptions import experiments
from minitransformer.experiments.misconceptions.form import Experiment, Interval, Outcome
from minitransformer.system.tables import table
from minitransformer.values import finite, text, whole

WIDTH = 96
OUTCOMES_FILE = "outcomes.json"


@dataclass(frozen=True)
class Result:
    """One experiment, measured.

    intervals    of each of its numbers, by name
    seeds        what was measured, in words: "seeds 0 to 4"
    predicted    the number of the outcome that the reader expected, from 0; None: nobody was asked
    """

    experiment: Experiment
    intervals: dict[str, Interval]
    seeds: str
    predicted: int | None = None

    @property
    def outcome(self) -> Outcome | None:
        """What came out; None where the seeds do not decide."""
        return self.experiment.outcome_at(self.decisive)

    @property
    def decisive(self) -> Interval:
        """The interval that decides."""
        return self.intervals[self.experiment.decides]

    @property
    def expected(self) -> str:
        """What the reader expected, and whether it came; "" where nobody was asked."""
        if self.predicted is None:
            return ""
        expected = self.experiment.outcomes[self.predicted]
        verdict = "which nobody can tell yet" if self.outcome is None else "and so it is"
        verdict = verdict if self.outcome in (None, expected) else "and it is not so"
        return f"{expected.expected}, {verdict}"

    @property
    def found(self) -> str:
        """What came out, as a sentence."""
        if self.outcome is None:
            return f"The seeds do not decide: {self.experiment.decides} is {self.decisive}."
        return f"{self.experiment.question} {self.outcome.expected}. {self.outcome.means}"

    def to_dict(self) -> dict:
        """Return what was measured, as JSON can hold it."""
        numbers = {name: [one.mean, one.low, one.high] for name, one in self.intervals.items()}
        outcome = None if self.outcome is None else self.outcome.expected
        return {"seeds": self.seeds, "predicted": self.predicted, "outcome": outcome, "numbers": numbers}

    @classmethod
    def from_dict(cls, experiment: Experiment, kept: dict) -> "Result":
        """Return what to_dict returned. Raises ValueError for anything else."""
        try:
            numbers = {name: kept["numbers"][name] for name in (experiment.decides, *kept["numbers"])}
            intervals = {
                name: Interval(*(finite(name, end) for end in numbers[name]))
                for name in experiment.numbers
                if name in numbers
            }
            predicted = kept["predicted"]
            if predicted is not None:
                whole("predicted", predicted, least=0, most=len(experiment.outcomes) - 1)
            return cls(experiment, intervals, text("seeds", kept["seeds"]), predicted)
        except (TypeError, KeyError, ValueError):
            raise ValueError(f"{experiment.name} is not what an experiment found") from None

    def __str__(self):
        experiment = self.experiment
        rows = [(experiment.numbers[name], str(found)) for name, found in self.intervals.items()]
        parts = [
            filled(f"{experiment.name}: {experiment.belief}", ""),
            *([filled(f"You expected: {self.expected}.")] if self.expected else []),
            f"  Measured with {self.seeds}, mean and 95 % interval:\n" + "\n".join(table(rows, "<>", indent=4)),
            filled(self.found),
            filled(f"What it does not show: {experiment.does_not_show}"),
        ]
        return "\n\n".join(parts)


def filled(words: str, indent: str = "  ") -> str:
    """Return a paragraph in lines."""
    return textwrap.fill(words, WIDTH, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False)


def introduction(experiment: Experiment) -> str:
    """Return what an experiment says before it is run: the belief, what is measured, and what may come out."""
    choices = [filled(f"{n}  {outcome.expected}", "    ") for n, outcome in enumerate(experiment.outcomes, start=1)]
    parts = [filled(f"{experiment.name}: {experiment.belief}", ""), *map(filled, experiment.method)]
    return "\n\n".join([*parts, "\n".join([filled(f"{experiment.question} …"), *choices])])


def recorded() -> list[Result]:
    """Return what came out of all experiments for the authors: the outcomes.json of a run of `misconceptions --all`."""
    kept = json.loads(resources.files(__package__).joinpath(OUTCOMES_FILE).read_text("utf-8"))
    return [Result.from_dict(experiment, kept[experiment.name]) for experiment in experiments()]
