"""The effects of fine-tuning on a reward: measurements before and after training."""

from dataclasses import dataclass

from gradcheck.front.tables import table
from minitransformer.system.data import Data
from minitransformer.system.validation import finite, texts

NOT_SHOWN = (
    "A reward is the value of a function, and not the aim behind it, so read the responses. This report does not\n"
    "measure the effect on other prompts."
)
LINES = [
    ("reward", "reward", "10.3f"),
    ("divergence from the starting model, nats per token", "divergence", "10.3f"),
    ("tokens per response", "length", "10.2f"),
]


@dataclass(frozen=True)
class RewardEvaluation(Data):
    """Measurements on responses to held-out prompts: means, and the first response to each of some prompts.

    reward       mean reward of a response
    divergence   estimated Kullback–Leibler divergence of the model from the starting model, in nats per token
    length       mean number of tokens of a response
    responses    (prompt, response) pairs
    """

    reward: float
    divergence: float
    length: float
    responses: tuple[tuple[str, str], ...]

    @property
    def numbers(self) -> dict:
        return {field: getattr(self, field) for _, field, _ in LINES}

    @classmethod
    def from_dict(cls, fields: dict) -> "RewardEvaluation":
        """Create a RewardEvaluation from the result of to_dict, or raise KeyError, TypeError or ValueError."""
        numbers = {name: finite(name, fields[name]) for _, name, _ in LINES}
        return cls(**numbers, responses=tuple(tuple(texts("responses", pair)) for pair in fields["responses"]))


@dataclass(frozen=True)
class RewardReport(Data):
    """The effect of fine-tuning on a reward. `records` are the metrics of every step (see training/metrics.py)."""

    reward: str
    trained: str
    prompts: int
    held_out_prompts: int
    steps: int
    before: RewardEvaluation
    after: RewardEvaluation
    records: list[dict]

    derived = ("verdict",)

    @property
    def verdict(self) -> str:
        if not any(record.get("grad_norm") for record in self.records):
            return (
                "All responses to each prompt had equal rewards, so there was nothing to learn, and no weight changed."
            )
        change = "rose" if self.after.reward > self.before.reward else "did not rise"
        return f"The held-out reward {change}, from {self.before.reward:.3f} to {self.after.reward:.3f}."

    def __str__(self):
        sides = self.before, self.after
        measured = [(words, *(f"{getattr(side, field):{form}}" for side in sides)) for words, field, form in LINES]
        lines = [
            f"objective grpo, {self.steps} steps on the reward {self.reward} of {self.prompts} prompts; trained: "
            f"{self.trained}",
            "",
            *table([(f"on {self.held_out_prompts} held-out prompts", "before", "after"), *measured], indent=0),
            "",
        ]
        for (prompt, before), (_, after) in zip(self.before.responses, self.after.responses, strict=False):
            lines += [repr(prompt), f"  before  {before!r}", f"  after   {after!r}"]
        return "\n".join([*lines, "", self.verdict, NOT_SHOWN])
