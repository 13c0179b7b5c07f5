"""Calibration: the familiarity above which a text was likely seen in training, and the accuracy of this threshold.

Let a score be higher for texts that were seen, and let n texts of the same kind be held out. A text is classified as
seen if its score exceeds the k-th highest held-out score, with

    k = ⌊α (n + 1)⌋                                 (1)
    t = the k-th highest held-out score             (2)

Reason: if the text were unseen and of the same kind, its rank among the n + 1 would be uniformly distributed, and it
exceeds t only in the first k ranks. So an unseen text is classified as seen with probability at most α, for any model,
score and n (conformal prediction: Vovk, Gammerman and Shafer, 2005). Likewise, its p-value is the share of the n + 1
that score at least as high:

    p = (1 + number of held-out scores at least as high) / (n + 1)        (3)

and p ≤ α is equivalent to a score above t. The threshold does not use the seen texts, so fitting does not improve the
share of them that it finds, or the area under the curve. False alarms are limited rather than misses, because an attack
that is right about few texts with certainty succeeds, and one that is right about half of them does not (Carlini et
al., 2022).

Familiarity depends on the length of a text, so both kinds of passages are cut to the length of the text in question.

Limits. The caller guarantees that the texts are "of the same kind". A later chapter, another speaker or another year
differs from the seen texts in more ways, and the score may detect these (Duan et al., 2024). One sign of this can be
checked: if the compressed length, which does not depend on the model, also separates the two (`blind`), the separation
by the score is not evidence of membership. The guarantee is for one text at a time: of a hundred unseen texts, a share
of α is flagged.
"""

import math
from dataclasses import dataclass

import numpy as np

from minitransformer.analysis.data import Data
from minitransformer.experiments.influence.familiarity import compressed_bytes
from minitransformer.experiments.influence.passages import Passage
from minitransformer.experiments.influence.separation import Separation, separation
from minitransformer.text import Tokenizer


@dataclass(frozen=True)
class Calibration(Data):
    """A threshold of familiarity for texts of one length, and its accuracy.

    tokens               length to which passages were cut; shorter ones are not used
    n_seen, n_held_out   numbers of passages
    threshold            mean log-probability of a token, in nats, above which a text counts as likely seen
    false_alarm_rate     α: upper bound of the probability for an unseen text
    found                share of the seen passages above the threshold; 1 − found are missed
    false_alarms         share of the held-out passages above it; slightly below α by construction
    separation           area under the ROC curve of familiarity, seen against held out
    blind                the same for the compressed length, which is independent of the model; shorter is seen
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

    derived = ("is_trustworthy",)

    @property
    def is_trustworthy(self) -> bool:
        """True if the score separates better than chance, and the compressed length does not."""
        return self.separation.better_than_chance and self.blind.is_chance


@dataclass(frozen=True, eq=False)
class ScoredPassages:
    """Passages, the log-probabilities (n − 1,) of each passage's tokens, and the tokenizer.

    In a causal model, a token's log-probability does not depend on later tokens: one forward pass gives all lengths.
    """

    tokenizer: Tokenizer
    passages: list[Passage]
    log_probabilities: list[np.ndarray]

    def beginnings(self, n: int):
        """Return the mean log-probabilities and the compressed sizes of the first n tokens of each passage.

        Passages with fewer tokens are left out.
        """
        long = [(p, scores) for p, scores in zip(self.passages, self.log_probabilities, strict=True) if len(p.ids) >= n]
        means = np.array([scores[: n - 1].mean() for _, scores in long])
        return means, np.array([compressed_bytes(self.tokenizer.decode(p.ids[:n])) for p, _ in long])


def require_enough(seen: list[Passage], held_out: list[Passage], tokens: int, alpha: float) -> None:
    """Raise ValueError if fewer than 1/α − 1 passages of either kind have at least `tokens` tokens."""
    least = math.ceil(1 / alpha - 1 - 1e-9)
    counts = [sum(len(passage.ids) >= tokens for passage in group) for group in (seen, held_out)]
    if min(counts) < least:
        raise ValueError(
            f"a false-alarm rate of {alpha:.3g} needs at least {least} passages of either kind with {tokens} tokens or "
            f"more, but there are {counts[0]} in training and {counts[1]} in held_out"
        )


def calibrate(
    seen: ScoredPassages, held_out: ScoredPassages, tokens: int, alpha: float
) -> tuple[Calibration, np.ndarray]:
    """Return the Calibration for texts of `tokens` tokens, and the held-out scores (n,).

    There must be enough passages: see require_enough.
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


def threshold(held_out, alpha: float) -> float:
    """Return the threshold t (2) for held-out scores (n,)."""
    k = math.floor(alpha * (len(held_out) + 1) + 1e-9)  # (1); a product such as 0.1 · 30 may round below an integer
    return float(np.sort(held_out)[-k])  # (2)


def p_value(score: float, held_out) -> float:
    """Return the p-value (3) of a score, given the held-out scores (n,)."""
    return (1 + int((held_out >= score).sum())) / (len(held_out) + 1)  # (3)
