"""What score is so high that a text was likely seen: a threshold from texts that were not, and how well it does.

Let a score be higher for texts that were seen, and let n texts of the same kind be held out. A text whose score is
above the k-th highest of theirs is called seen, with

    k = ⌊α (n + 1)⌋                                 (1)
    t = the k-th highest score of those held out    (2)

Why this is right: were the text unseen and of the same kind, its place among the n + 1 would be any with equal
probability, and it is above t only in the first k places. So an unseen text is called seen with probability at most α,
for any model, score and n (conformal prediction: Vovk, Gammerman and Shafer, 2005). Likewise, its p-value is the share
of the n + 1 that score at least as high as it:

    p = (1 + number of those held out that do) / (n + 1)        (3)

and p ≤ α says the same as a score above t. What was seen takes no part in the threshold, so the share of it that the
threshold finds, and the area under the curve, are not made better by fitting. Fewer false alarms are asked for than
misses, as an attack that is right about few but surely is one, and one that is right about half is none (Carlini et
al., 2022).

Familiarity depends on the length of a text; so both kinds of passages are cut to the length of the text in question.

What it does not show. "Of the same kind" is what the caller vouches for: a later chapter, another speaker or year
differs from what was seen in more than having been seen, and then the score tells this apart (Duan et al., 2024). One
sign of it can be checked: where the compressed length, which knows nothing of the model, separates the two as well
(`blind`), the score's separation is not evidence of having been seen. The guarantee is for one text at a time: of a
hundred that were not seen, α of them are flagged.
"""

import math
from dataclasses import dataclass

import numpy as np

from minitransformer.analysis.data import fields_as_data
from minitransformer.experiments.influence.familiarity import compressed_bytes
from minitransformer.experiments.influence.passages import Passage
from minitransformer.experiments.influence.separation import Separation, separation
from minitransformer.text import Tokenizer


@dataclass(frozen=True)
class Calibration:
    """A threshold for the familiarity of texts of one length, and how well it tells what was seen.

    tokens               that the passages were cut to; shorter ones took no part
    n_seen, n_held_out   how many there were
    threshold            mean log-probability of a token, in nats, above which a text counts as likely seen
    false_alarm_rate     α: the probability at most, for a text that was not seen
    found                share of the passages seen that are above the threshold; 1 − found are missed
    false_alarms         share of those held out that are; somewhat below α by construction
    separation           area under the ROC curve of familiarity, seen against held out
    blind                the same of the compressed length, shorter counting as seen, which knows nothing of the model
    """

    tokens: int
    n_seen: int
    n_held_out: int
    threshold: float
    false_alarm_rate: float
    found: float
    false_alarms: float
    separation: Separation
    blind: Separation

    @property
    def is_trustworthy(self) -> bool:
        """Whether the score separates better than chance, and the compressed length no better."""
        return self.separation.better_than_chance and self.blind.is_chance

    def to_dict(self) -> dict:
        """Return the same as JSON can hold it."""
        return fields_as_data(self) | {"is_trustworthy": self.is_trustworthy}


@dataclass(frozen=True, eq=False)
class ScoredPassages:
    """Passages, the log-probabilities (n − 1,) of the tokens of each, and the tokenizer.

    A causal model gives a token the same where the passage ends after it, so one forward pass serves for all lengths.
    """

    tokenizer: Tokenizer
    passages: list[Passage]
    log_probabilities: list[np.ndarray]

    def beginnings(self, n: int):
        """Return (mean log-probabilities, compressed lengths in bytes) of the first n tokens of those that have n."""
        long = [(p, scores) for p, scores in zip(self.passages, self.log_probabilities, strict=True) if len(p.ids) >= n]
        means = np.array([scores[: n - 1].mean() for _, scores in long])
        return means, np.array([compressed_bytes(self.tokenizer.decode(p.ids[:n])) for p, _ in long])


def require_enough(seen: list[Passage], held_out: list[Passage], tokens: int, alpha: float) -> None:
    """Raise ValueError for fewer than 1/α − 1 passages, of either kind, that have so many tokens."""
    least = fewest(alpha)
    counts = [sum(len(passage.ids) >= tokens for passage in group) for group in (seen, held_out)]
    if min(counts) < least:
        raise ValueError(
            f"to calibrate at a false-alarm rate of {alpha:.3g} takes at least {least} passages of either kind "
            f"with {tokens} tokens or more, and there are {counts[0]} in training and {counts[1]} in held_out"
        )


def calibrate(
    seen: ScoredPassages, held_out: ScoredPassages, tokens: int, alpha: float
) -> tuple[Calibration, np.ndarray]:
    """Return the Calibration for texts of so many tokens, and the scores (n,) of those held out.

    There must be enough passages of either kind: see require_enough.
    """
    seen_scores, seen_bytes = seen.beginnings(tokens)
    scores, held_out_bytes = held_out.beginnings(tokens)
    t = threshold(scores, alpha)
    calibration = Calibration(
        tokens=tokens,
        n_seen=len(seen_scores),
        n_held_out=len(scores),
        threshold=t,
        false_alarm_rate=alpha,
        found=float((seen_scores > t).mean()),
        false_alarms=float((scores > t).mean()),
        separation=separation(seen_scores, scores),
        blind=separation(-seen_bytes, -held_out_bytes),
    )
    return calibration, scores


def allowed(n: int, alpha: float) -> int:
    """Return k: how many of n + 1 places count as seen. A product such as 0.1 · 30 is not to miss a whole number."""
    return math.floor(alpha * (n + 1) + 1e-9)  # (1)


def fewest(alpha: float) -> int:
    """Return the smallest number of held-out texts for which there is a threshold."""
    return math.ceil(1 / alpha - 1 - 1e-9)


def threshold(held_out, alpha: float) -> float:
    """Return t for scores held_out (n,)."""
    return float(np.sort(held_out)[-allowed(len(held_out), alpha)])  # (2)


def p_value(score: float, held_out) -> float:
    """Return how probable a score at least as high would be for a text like those held_out (n,)."""
    return (1 + int((held_out >= score).sum())) / (len(held_out) + 1)  # (3)
