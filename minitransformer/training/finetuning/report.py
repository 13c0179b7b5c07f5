"""The report of fine-tuning on pairs: measurements before and after training, and their limits."""

from dataclasses import dataclass

from gradcheck.front.tables import table
from minitransformer.system.data import Data
from minitransformer.training.finetuning.evaluation import Evaluation

REPORT_FILE = "report.json"

NOT_SHOWN = (
    "This report does not measure the effect on other kinds of prompts, or forgetting that the general text does not\n"
    "test. The margin can also rise if both responses become less likely, so compare their log-likelihoods."
)

# (title of a line in the table, field of Evaluation, format)
LINES = [
    ("log-likelihood of a safe response, nats", "safe", "10.3f"),
    ("                  of each of its tokens", "safe_per_token", "10.3f"),
    ("log-likelihood of an unsafe one, nats", "unsafe", "10.3f"),
    ("                  of each of its tokens", "unsafe_per_token", "10.3f"),
    ("margin: safe − unsafe, nats", "margin", "10.3f"),
    ("safe response preferred", "preferred", "10.1%"),
    ("perplexity on general text", "perplexity", "10.4g"),
]


@dataclass(frozen=True)
class FineTuningReport(Data):
    """The effect of fine-tuning on pairs of responses.

    `trained_numbers` and `model_numbers` count scalars; `rows` and `held_out_rows` count pairs. `records` are the
    metrics of every step (see training/metrics.py). `verdict` is a sentence that states the result.
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
        return self.after.perplexity / self.before.perplexity

    def __str__(self):
        share = self.trained_numbers / self.model_numbers
        sides = self.before, self.after
        measured = [(words, *(f"{getattr(side, field):{form}}" for side in sides)) for words, field, form in LINES]
        lines = [
            f"objective {self.objective}, {self.steps} steps on {self.rows} pairs; trained: {self.trained}, "
            f"{self.trained_numbers:,} parameters, {share:.1%} of the model",
            "",
            *table([(f"on {self.held_out_rows} held-out prompts", "before", "after"), *measured], indent=0),
            "",
        ]
        for (prompt, before), (_, after) in zip(self.before.completions, self.after.completions, strict=False):
            lines += [repr(prompt), f"  before  {before!r}", f"  after   {after!r}"]
        return "\n".join([*lines, "", self.verdict, NOT_SHOWN])


def verdict_of(diverged: str | None, before: Evaluation, after: Evaluation, limit: float) -> str:
    growth = after.perplexity / before.perplexity
    if diverged is not None:
        state = "the model is the one before that step" if growth <= limit else "the model is no longer usable"
        return (
            f"DIVERGED: {diverged}. The run was stopped there. Regardless of the margin, {state}. Use a bounded "
            "objective, a lower learning rate or fewer steps."
        )
    change = "rose" if after.margin > before.margin else "did not rise"
    return (
        f"The held-out margin {change}, from {before.margin:.3f} to {after.margin:.3f} nats; perplexity on general "
        f"text is {growth:.3f} times that before, within the limit of {limit:g} times."
    )
