"""Attention weights explain the answer: measured as attention_explains.md describes."""

import numpy as np

from minitransformer.analysis import attention_weights
from minitransformer.analysis.contributions import ablated_log_probabilities, correlations, position_contributions
from minitransformer.analysis.flow import likeliest_next
from minitransformer.experiments.misconceptions.form import Experiment
from minitransformer.experiments.misconceptions.models import finished_run, manual, reader
from minitransformer.experiments.misconceptions.panels import draw_curves, draw_named_bars, panels_of
from minitransformer.system.pictures import BLUE, GREEN, INK, ORANGE, VERMILION, label

PASSAGES, TOKENS = 60, 32
GROUPS = 10  # number of groups of a passage's tokens, sorted by attention, for the picture


def measure(seed: int) -> dict:
    _, corpus = manual()
    return agreement(reader(seed), corpus.val_ids, np.random.default_rng((seed, 1)))


def read(folder) -> list[dict]:
    """Return the results for the model of a finished run, on parts of its held-out text.

    Exceptions of finished_run are passed on. Raises ValueError if the context or the text is too short.
    """
    lm, parts = finished_run(folder)
    if lm.model.config.context < TOKENS or len(parts[-1]) < TOKENS:
        raise ValueError(
            f"{folder}: the model's context and each part of its held-out text must have {TOKENS} tokens or more"
        )
    return [agreement(lm, ids, np.random.default_rng(part)) for part, ids in enumerate(parts)]


def agreement(lm, ids, rng) -> dict:
    """Return the means of the results of `compare` over PASSAGES random passages of TOKENS ids each."""
    starts = rng.integers(0, len(ids) - TOKENS + 1, PASSAGES)
    found = [compare(lm, ids[start : start + TOKENS].astype(np.int64)) for start in starts]
    return {name: np.mean([one[name] for one in found], axis=0).tolist() for name in found[0]}


def compare(lm, ids) -> dict:
    """Return the numbers and lists of the experiment for one passage.

    The first and the last token are left out.
    """
    model, answer = lm.model, likeliest_next(lm, ids)
    found = position_contributions(model, ids, answer)
    blanked = found.log_probability - ablated_log_probabilities(model, ids, answer, "blank")
    last_layer = attention_weights(model, ids)[-1, :, -1].mean(axis=0)
    attention, lost = found.attention[1:-1], found.ablation[1:-1]
    changed = np.abs(lost)
    return {
        "attention": rank_correlation(attention, changed),
        "last_layer": rank_correlation(last_layer[1:-1], changed),
        "rollout": rank_correlation(found.rollout[1:-1], changed),
        "nearness": rank_correlation(np.arange(len(changed)), changed),
        "blanked": rank_correlation(attention, np.abs(blanked)[1:-1]),
        "which_way": rank_correlation(attention, lost),
        "most": float(attention.argmax() == changed.argmax()),
        "changed_by_attention": by_attention(changed, attention),
        "lost_by_attention": by_attention(lost, attention),
    }


def rank_correlation(measure, truth) -> float:
    return correlations(measure, truth)["spearman"]


def by_attention(values, attention) -> list[float]:
    """Sort values (n,) by increasing attention. Return the means of GROUPS consecutive parts."""
    return [float(group.mean()) for group in np.array_split(values[np.argsort(attention)], GROUPS)]


def draw(figure, measured) -> None:
    left, right = panels_of(figure, 2, width_ratios=(1.4, 1))
    bars = {
        "attention": ("attention", BLUE),
        "last_layer": ("in the\nlast layer", BLUE),
        "rollout": ("rollout", BLUE),
        "nearness": ("nearness\nalone", ORANGE),
        "blanked": ("attention,\nblanked", GREEN),
        "which_way": ("attention,\nwhich way", VERMILION),
    }
    draw_named_bars(left, measured, bars)
    left.tick_params(axis="x", labelsize=7)
    left.set_ylim(top=1)
    label(left, "Agreement with the change of the answer", "", "rank correlation")
    tenths = range(1, GROUPS + 1)
    lines = {"changed_by_attention": ("change", BLUE), "lost_by_attention": ("loss (a gain is negative)", VERMILION)}
    draw_curves(right, tenths, measured, lines, loc="upper left")
    right.set_xticks(tenths)
    right.axhline(0, color=INK, linewidth=0.8)
    label(right, "Effect of a token on the answer", "tenth of the tokens, by attention", "log-probability, nats")


EXPERIMENT = Experiment(measure, draw, seconds=40, read=read, reads="train")
