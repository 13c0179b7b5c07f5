"""The report of fine-tuning on pairs: before and after, side by side, and what is not shown."""

from dataclasses import dataclass

from minitransformer.system.tables import table
from minitransformer.training.finetuning.evaluation import Evaluation

REPORT_FILE = "report.json"

NOT_SHOWN = (
    "Not shown: what the model does with prompts unlike these, and what it forgot that the general text does not ask\n"
    "for. A larger margin may come from both responses becoming less likely: see each by itself."
)

# (what a line of the table says, the field of Evaluation, its format)
LINES = [
    ("log-likelihood of a safe response, nats", "safe", "10.3f"),
    ("                  of its tokens, each", "safe_per_token", "10.3f"),
    ("log-likelihood of an unsafe one, nats", "unsafe", "10.3f"),
    ("                  of its tokens, each", "unsafe_per_token", "10.3f"),
    ("margin: safe − unsafe, nats", "margin", "10.3f"),
    ("safe response preferred", "preferred", "10.1%"),
    ("perplexity on general text", "perplexity", "10.4g"),
]


@dataclass(frozen=True)
class FineTuningReport:
    """What fine-tuning on pairs of responses did to a model.

    objective            "dpo", "unlikelihood" or "difference"
    trained              what was trained, in words
    trained_numbers      how many numbers that were, and model_numbers of how many in the model
    rows, held_out_rows  pairs trained on, and evaluated on
    steps                steps taken
    before, after        Evaluations
    records              the metrics of every step, as in training/metrics.py
    diverged             whether the run was stopped because it wrecked the model
    verdict              how it went, in words
    """

    objective: str
    trained: str
    trained_numbers: int
    model_numbers: int
    rows: int
    held_out_rows: int
    steps: int
    before: Evaluation
    after: Evaluation
    records: list[dict]
    diverged: bool
    verdict: str

    @property
    def perplexity_growth(self) -> float:
        """The perplexity on general text after, as a multiple of that before."""
        return self.after.perplexity / self.before.perplexity

    def to_dict(self) -> dict:
        """Return the report as JSON can hold it."""
        return vars(self) | {"before": self.before.to_dict(), "after": self.after.to_dict()}

    def __str__(self):
        share = self.trained_numbers / self.model_numbers
        sides = self.before, self.after
        measured = [(words, *(f"{getattr(side, field):{form}}" for side in sides)) for words, field, form in LINES]
        lines = [
            f"objective {self.objective}, {self.steps} steps on {self.rows} pairs; trained: {self.trained}, "
            f"{self.trained_numbers:,} numbers, as many as {share:.1%} of the model",
            "",
            *table([(f"on {self.held_out_rows} held-out prompts", "before", "after"), *measured], indent=0),
            "",
        ]
        for (prompt, before), (_, after) in zip(self.before.completions, self.after.completions, strict=False):
            lines += [repr(prompt), f"  before  {before!r}", f"  after   {after!r}"]
        return "\n".join([*lines, "", self.verdict, NOT_SHOWN])


def verdict_of(diverged: str | None, before: Evaluation, after: Evaluation, limit: float) -> str:
    """Return how it went, in words."""
    growth = after.perplexity / before.perplexity
    if diverged is not None:
        state = "the model is as it was before that step" if growth <= limit else "the model is wrecked"
        return (
            f"DIVERGED: {diverged}. The run was stopped there: whatever the margin says, {state}. A bounded objective, "
            "a lower learning rate or fewer steps would be right."
        )
    change = "rose" if after.margin > before.margin else "did not rise"
    return (
        f"The held-out margin {change}, from {before.margin:.3f} to {after.margin:.3f} nats; perplexity on general "
        f"text is {growth:.3f} times that before, within the limit of {limit:g} times."
    )
