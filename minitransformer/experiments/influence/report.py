"""What was found about prompts and the passages behind them: as numbers, and as text for people."""

from dataclasses import dataclass

import numpy as np

from minitransformer.analysis.data import fields_as_data
from minitransformer.analysis.tokens import shown
from minitransformer.experiments.influence.calibration import Calibration
from minitransformer.experiments.influence.retraining import Retraining
from minitransformer.system.tables import table

MOST_PASSAGES, LONGEST_TEXT = 5, 60  # that a report shows
RANKINGS = ("influence", "cosine")
NOT_SHOWN = """\
Not shown: a familiar text need not have been seen, nor is one that was seen always familiar. Influence is the inner
product of gradients, a first-order estimate for small steps of gradient descent at the weights given. It leaves out
what AdamW makes of a gradient, what a passage taught so well that it has no gradient any more (give checkpoints from
earlier in training), what passages do together, and every passage that was not given. A ranking is a hypothesis;
training again without its proponents is the test."""


@dataclass(frozen=True, eq=False)
class PromptInfluence:
    """What a model makes of one prompt, and which of N training passages pushed it most towards its answer.

    prompt               as it was given
    tokens               how many it has
    perplexity           of its tokens but the first
    answer, answer_ids   what the model thinks likeliest to follow, token by token: as text, and ids
    confidence           geometric mean of the probabilities that it gives to the answer's tokens
    likely_seen_similar  whether the prompt is more familiar than the calibration's threshold; None without a
                         calibration. To be believed only if calibration.is_trustworthy
    p_value              share of passages like the held-out ones, itself counted in, that are at least as familiar
    calibration          see calibration.py; None where passages of either kind are missing
    influence            (N,) of each passage on the answer, in nats, positive for proponents; None without passages
    cosine               (N,) the same without the gradients' lengths, from −1 to 1
    ranked_by            "influence" or "cosine"
    retraining           what becomes of the answer without those of most influence; None where that was not asked for
    """

    prompt: str
    tokens: int
    perplexity: float
    answer: str
    answer_ids: list[int]
    confidence: float
    likely_seen_similar: bool | None
    p_value: float | None
    calibration: Calibration | None
    influence: np.ndarray | None
    cosine: np.ndarray | None
    ranked_by: str
    retraining: Retraining | None

    @property
    def ranking(self) -> np.ndarray:
        """The indices (N,) of the passages, the strongest proponent first and the strongest opponent last."""
        return np.argsort(-getattr(self, self.ranked_by), kind="stable")

    def to_dict(self) -> dict:
        """Return the same as JSON can hold it."""
        return fields_as_data(self)


@dataclass(frozen=True, eq=False)
class TrainingInfluence:
    """What was found about each of some prompts. print(report) shows it.

    prompts          one PromptInfluence for each
    passages         the texts of the N training passages
    held_out         how many passages were held out
    learning_rates   of each checkpoint whose gradients were compared
    """

    prompts: tuple[PromptInfluence, ...]
    passages: list[str]
    held_out: int
    learning_rates: list[float]

    def to_dict(self) -> dict:
        """Return the same as JSON can hold it."""
        return fields_as_data(self)

    def __str__(self):
        sections = [prompt_lines(prompt, self) for prompt in self.prompts]
        return "\n\n".join([*("\n".join(section) for section in sections), NOT_SHOWN])


def prompt_lines(prompt: PromptInfluence, report: TrainingInfluence):
    """Yield what was found about one prompt."""
    yield f"{abridged(prompt.prompt)} -> {abridged(prompt.answer)}"
    yield (
        f"  {prompt.tokens} tokens, perplexity {prompt.perplexity:.2f}; confidence in the answer "
        f"{prompt.confidence:.1%}"
    )
    yield from flag_lines(prompt, report)
    if prompt.influence is not None:
        yield from passage_lines(prompt, report.passages)
    if prompt.retraining is not None:
        yield from (f"  {line}" for line in str(prompt.retraining).splitlines())
    elif prompt.influence is not None:
        n = len(report.learning_rates)
        yield f"  by the gradients of {n} checkpoint{'s' * (n > 1)}; not tested by training again without proponents"


def flag_lines(prompt: PromptInfluence, report: TrainingInfluence):
    """Yield whether the prompt is likely to have been seen, and how far that is to be believed."""
    calibration = prompt.calibration
    if calibration is None:
        given = {"training": bool(report.passages), "held-out": bool(report.held_out)}
        missing = " and ".join(name for name, is_given in given.items() if not is_given)
        yield f"  likely seen similar: not said, as a threshold needs {missing} passages to calibrate it"
        return
    more = f"p = {prompt.p_value:.3f} against {calibration.n_held_out} passages that were not seen"
    yield f"  likely seen similar: {'yes' if prompt.likely_seen_similar else 'no'} ({more})"
    yield (
        f"  of {calibration.n_seen} passages that were seen, the threshold finds {calibration.found:.0%}, with "
        f"{calibration.false_alarms:.0%} false alarms; area under the curve {calibration.separation}"
    )
    yield from (f"  not to be trusted: {doubt}" for doubt in doubts(calibration))


def doubts(calibration: Calibration):
    """Yield why the flag is not to be trusted, if it is not."""
    if calibration.separation.is_chance:
        yield "familiarity tells the passages seen from those held out no better than chance"
    elif not calibration.separation.better_than_chance:
        yield "the passages held out are more familiar than those seen: they are not of the same kind"
    if not calibration.blind.is_chance:
        yield (
            f"the compressed length alone tells the two apart (area {calibration.blind}), without the model: "
            "they differ in kind"
        )


def passage_lines(prompt: PromptInfluence, passages: list[str]):
    """Return a table of the strongest proponents and opponents."""
    rows = []
    order, measure = prompt.ranking, getattr(prompt, prompt.ranked_by)
    for title, indices, sign in (("proponents", order, 1), ("opponents", order[::-1], -1)):
        listed = [i for i in indices[:MOST_PASSAGES] if sign * measure[i] > 0]
        rows.append((f"{title}, by {prompt.ranked_by}", "influence", "cosine", ""))
        for i in listed:
            rows.append((f"  {i}", f"{prompt.influence[i]:+.3g}", f"{prompt.cosine[i]:+.2f}", abridged(passages[i])))
        if not listed:
            rows.append(("  none", "", "", ""))
    return table(rows, "<>><")


def abridged(text: str) -> str:
    """Return a text as one line shows it, its beginning alone if it is long."""
    return "".join(map(shown, text[:LONGEST_TEXT])) + "…" * (len(text) > LONGEST_TEXT)
