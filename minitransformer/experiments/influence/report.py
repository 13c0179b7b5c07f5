"""The results for prompts and passages, as numbers and as text."""

from dataclasses import dataclass

import numpy as np

from gradcheck.front.tables import table
from minitransformer.analysis.tokens import shown
from minitransformer.experiments.influence.calibration import Calibration
from minitransformer.experiments.influence.retraining import Retraining
from minitransformer.system.data import Data

MOST_PASSAGES, LONGEST_TEXT = 5, 60  # of a report: passages per list, and characters per text
NOT_SHOWN = """\
Limits: a familiar text need not have been seen, and a seen text need not be familiar. Influence is the inner product of
gradients, a first-order estimate for small steps of gradient descent at the given weights. It ignores AdamW's scaling
of gradients, the joint effect of passages, and all passages that were not given. The gradient of a passage that has
been learned well is nearly zero, so earlier checkpoints are useful. A ranking is a hypothesis. To test it, train again
without the proponents."""


@dataclass(frozen=True, eq=False)
class PromptInfluence(Data):
    """The familiarity of a prompt, the answer to it, and the influence of N passages."""

    prompt: str
    tokens: int
    perplexity: float  # of all tokens except the first
    answer: str  # the model's greedy continuation
    answer_ids: list[int]
    confidence: float  # geometric mean of the probabilities of the answer's tokens
    likely_seen_similar: bool | None  # None without a calibration; reliable only if the calibration is trustworthy
    p_value: float | None  # of the familiarity, see calibration.py
    calibration: Calibration | None  # None if seen or held-out passages are missing
    influence: np.ndarray | None  # (N,) in nats, positive for proponents; None without training passages
    cosine: np.ndarray | None  # (N,) the same with normalized gradients, from −1 to 1
    retraining: Retraining | None  # None without `train`

    @property
    def ranking(self) -> np.ndarray:
        """Return the indices (N,) of the passages from the strongest proponent to the strongest opponent."""
        return np.argsort(-self.influence, kind="stable")


@dataclass(frozen=True, eq=False)
class TrainingInfluence(Data):
    """The results for several prompts. print(report) shows them as text."""

    prompts: tuple[PromptInfluence, ...]
    passages: list[str]  # the training passages
    held_out: int  # number of held-out passages
    learning_rates: list[float]  # of the checkpoints

    def __str__(self):
        sections = [prompt_lines(prompt, self) for prompt in self.prompts]
        return "\n\n".join([*("\n".join(section) for section in sections), NOT_SHOWN])


def prompt_lines(prompt: PromptInfluence, report: TrainingInfluence):
    yield f"{abridged(prompt.prompt)} -> {abridged(prompt.answer)}"
    confidence = f"confidence in the answer {prompt.confidence:.1%}"
    yield f"  {prompt.tokens} tokens, perplexity {prompt.perplexity:.2f}; {confidence}"
    calibration = prompt.calibration
    if calibration is None:
        given = {"training": report.passages, "held-out": report.held_out}
        missing = " and ".join(name for name, is_given in given.items() if not is_given)
        yield f"  likely seen similar: unknown; the calibration requires {missing} passages"
    else:
        more = f"p = {prompt.p_value:.3f} against {calibration.n_held_out} unseen passages"
        yield f"  likely seen similar: {'yes' if prompt.likely_seen_similar else 'no'} ({more})"
        yield (
            f"  of {calibration.n_seen} seen passages, the threshold finds {calibration.found:.0%}, with "
            f"{calibration.false_alarms:.0%} false alarms; area under the curve {calibration.separation}"
        )
        yield from (f"  not reliable: {doubt}" for doubt in doubts(calibration))
    if prompt.influence is not None:
        yield from passage_lines(prompt, report.passages)
    if prompt.retraining is not None:
        yield from (f"  {line}" for line in str(prompt.retraining).splitlines())
    elif prompt.influence is not None:
        n = len(report.learning_rates)
        yield f"  by the gradients of {n} checkpoint{'s' * (n > 1)}; not tested by training without the proponents"


def doubts(calibration: Calibration):
    if calibration.separation.is_chance:
        yield "familiarity does not separate seen from held-out passages better than chance"
    elif not calibration.separation.better_than_chance:
        yield "the held-out passages are more familiar than the seen ones: they are not of the same kind"
    if not calibration.blind.is_chance:
        yield f"the compressed length alone separates the two (area {calibration.blind}): they differ in kind"


def passage_lines(prompt: PromptInfluence, passages: list[str]):
    rows = []
    order, measure = prompt.ranking, prompt.influence
    for title, indices, sign in (("proponents", order, 1), ("opponents", order[::-1], -1)):
        listed = [i for i in indices[:MOST_PASSAGES] if sign * measure[i] > 0]
        rows.append((title, "influence", "cosine", ""))
        for i in listed:
            rows.append((f"  {i}", f"{prompt.influence[i]:+.3g}", f"{prompt.cosine[i]:+.2f}", abridged(passages[i])))
        rows += [] if listed else [("  none", "", "", "")]
    return table(rows, "<>><")


def abridged(text: str) -> str:
    return "".join(map(shown, text[:LONGEST_TEXT])) + "…" * (len(text) > LONGEST_TEXT)
