"""Calibration: a threshold of familiarity above which a text was likely seen in training, and the error rates.

The familiarity of a text is the mean log-probability of its tokens except the first, each given those before it. A text
from the training set tends to be more familiar than other texts (Yeom et al., 2018; Carlini et al., 2021). This is a
weak sign, because an easy text is always familiar.

Let n texts of the same kind be held out. A text is classified as seen if it is more familiar than the k-th most
familiar held-out text, with

    k = ⌊α (n + 1)⌋                                 (1)
    t = the k-th highest held-out score             (2)

If an unseen text is of the same kind, all n + 1 ranks among the texts are equally probable, and the score exceeds t
only in the first k ranks. An unseen text is therefore classified as seen with probability at most α, for any model,
score and n (conformal prediction: Vovk, Gammerman and Shafer, 2005). Likewise, the p-value of a text is the share of
the n + 1 texts with a score at least as high, and p ≤ α is equivalent to a score above t:

    p = (1 + number of held-out scores at least as high) / (n + 1)        (3)

Familiarity depends on the length, so passages are truncated to the length of the text. Texts of a later chapter may
differ from the seen texts in other ways, which the score may detect (Duan et al., 2024). As a check, `blind` measures
whether the compressed length, which does not depend on the model, also separates the two groups. If it does, the
separation by the score is not evidence of membership.
"""

import math
import zlib
from dataclasses import dataclass

import numpy as np

from minitransformer.experiments.influence.passages import Passage, token_log_probabilities
from minitransformer.experiments.influence.separation import Separation, separation
from minitransformer.system.data import Data
from minitransformer.system.validation import check_int


@dataclass(frozen=True)
class Calibration(Data):
    """A threshold of familiarity for texts of one length, and the error rates."""

    tokens: int  # length to which passages were truncated; shorter ones are not used
    n_seen: int
    n_held_out: int
    threshold: float  # mean log-probability of a token, in nats, above which a text is classified as seen
    false_alarm_rate: float  # α: upper bound of the probability that an unseen text is classified as seen
    found: float  # share of the seen passages above the threshold
    false_alarms: float  # share of the held-out passages above it; slightly below α by construction
    separation: Separation  # area under the ROC curve of familiarity, seen against held out
    blind: Separation  # the same for the compressed length, where a shorter text is classified as seen

    derived = ("is_trustworthy",)

    @property
    def is_trustworthy(self) -> bool:
        return self.separation.better_than_chance and self.blind.is_chance


def familiarity_flags(lm, texts, seen: list[Passage], held_out: list[Passage], alpha: float) -> list[dict]:
    """Judge whether each text, given as ids, was likely seen in training.

    Returns a dictionary with three fields of PromptInfluence for each text.
    """
    if not seen or not held_out:
        return [{"likely_seen_similar": None, "p_value": None, "calibration": None} for _ in texts]
    least = math.ceil(1 / alpha - 1 - 1e-9)
    for ids in texts:  # before the passages are scored, which may take long
        for name, group in (("training", seen), ("held_out", held_out)):
            number = sum(len(passage.ids) >= len(ids) for passage in group)
            check_int(f"{name}: number of passages of {len(ids)} tokens or more", number, minimum=least)
    scored = [[(one.ids, token_log_probabilities(lm.model, one.ids)) for one in group] for group in (seen, held_out)]
    flags = []
    for ids in texts:
        (seen_scores, seen_bytes), (scores, held_out_bytes) = (beginnings(lm, group, len(ids)) for group in scored)
        t, score = threshold(scores, alpha), float(token_log_probabilities(lm.model, ids).mean())
        calibration = Calibration(
            tokens=len(ids),
            n_seen=len(seen_scores),
            n_held_out=len(scores),
            threshold=t,
            false_alarm_rate=alpha,
            found=float((seen_scores > t).mean()),
            false_alarms=float((scores > t).mean()),
            separation=separation(seen_scores, scores),
            blind=separation(-seen_bytes, -held_out_bytes),
        )
        flag = {"likely_seen_similar": score > t, "p_value": p_value(score, scores), "calibration": calibration}
        flags.append(flag)
    return flags


def beginnings(lm, scored, n: int):
    """Return the familiarities and the compressed sizes of passages truncated to n tokens.

    `scored` is a list of (ids, log-probabilities). Passages with fewer than n tokens are left out.
    """
    long = [(ids[:n], log_p[: n - 1].mean()) for ids, log_p in scored if len(ids) >= n]
    texts = [lm.tokenizer.decode(ids).encode("utf-8", "surrogatepass") for ids, _ in long]
    return np.array([mean for _, mean in long]), np.array([len(zlib.compress(text, 9)) for text in texts])


def threshold(held_out, alpha: float) -> float:
    k = math.floor(alpha * (len(held_out) + 1) + 1e-9)  # (1); a product such as 0.1 · 30 may round below an integer
    return float(np.sort(held_out)[-k])  # (2)


def p_value(score: float, held_out) -> float:
    return (1 + int((held_out >= score).sum())) / (len(held_out) + 1)  # (3)
