"""The experiment on the belief "Attention weights explain the answer". attention_explains.md describes it."""

import numpy as np

from minitransformer.analysis import attention_weights
from minitransformer.analysis.contributions import ablated_log_probabilities, correlations, position_contributions
from minitransformer.analysis.flow import likeliest_next
from minitransformer.experiments.misconceptions.form import Experiment, Panel
from minitransformer.experiments.misconceptions.models import manual, reader

PASSAGES, TOKENS = 60, 32
GROUPS = 10  # the picture divides a passage's tokens, sorted by attention, into groups


def measure(seed: int) -> dict:
    return agreement(reader(seed), manual()[1].val_ids, np.random.default_rng((seed, 1)))


def agreement(lm, ids, rng) -> dict:
    starts = rng.integers(0, len(ids) - TOKENS + 1, PASSAGES)
    found = [compare(lm, ids[start : start + TOKENS].astype(np.int64)) for start in starts]
    return {name: np.mean([one[name] for one in found], axis=0).tolist() for name in found[0]}


def compare(lm, ids) -> dict:
    """Correlate attention and other measures with the effect of removing each token of a passage."""
    model, answer = lm.model, likeliest_next(lm, ids)
    found = position_contributions(model, ids, answer)
    blanked = found.log_probability - ablated_log_probabilities(model, ids, answer, "blank")
    last_layer = attention_weights(model, ids)[-1, :, -1].mean(axis=0)
    attention, lost = found.attention[1:-1], found.ablation[1:-1]
    changed, groups = np.abs(lost), np.array_split(np.argsort(attention), GROUPS)
    pairs = {
        "attention": (attention, changed),
        "last_layer": (last_layer[1:-1], changed),
        "rollout": (found.rollout[1:-1], changed),
        "nearness": (np.arange(len(changed)), changed),
        "blanked": (attention, np.abs(blanked)[1:-1]),
        "which_way": (attention, lost),
    }
    return {name: correlations(*pair)["spearman"] for name, pair in pairs.items()} | {
        "most": float(attention.argmax() == changed.argmax()),
        "change": [float(changed[group].mean()) for group in groups],
        "loss": [float(lost[group].mean()) for group in groups],
    }


BARS = ("attention", "last_layer", "rollout", "nearness", "blanked", "which_way")
PANELS = [
    Panel("Agreement with the change of the answer", BARS, y="rank correlation", width=1.4),
    Panel(
        "Effect of a token on the answer",
        ("change", "loss"),
        "tenth of the tokens, by attention",
        "log-probability, nats",
        xs=range(1, GROUPS + 1),
        level=0,
    ),
]
EXPERIMENT = Experiment(measure, PANELS, seconds=40)
