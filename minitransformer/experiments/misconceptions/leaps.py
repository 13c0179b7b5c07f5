"""Abilities leap with size: measured as leaps.md describes."""

import math

import numpy as np

from minitransformer.experiments.emergence.capabilities import CAPABILITIES
from minitransformer.experiments.emergence.family import n_parameters, of_size
from minitransformer.experiments.emergence.one_run import Plan, trained
from minitransformer.experiments.misconceptions.form import Experiment
from minitransformer.experiments.misconceptions.models import runs_by_size
from minitransformer.experiments.misconceptions.panels import legend, panels_of, size_axis
from minitransformer.system.pictures import BLUE, VERMILION, label

SIZES, STEPS = (1_000, 2_500, 6_000, 15_000, 40_000), 500
SIZES_ALONE = (320, 820, 1_500, 2_500, 6_000)
COPY, REVERSE = CAPABILITIES["copy"], CAPABILITIES["reverse"]
LEAST_RISE = 0.5  # a finished family whose strict score rises by less has no leap to explain


def measure(seed: int) -> dict:
    both, alone = copying(seed, SIZES, (COPY, REVERSE)), copying(seed, SIZES_ALONE, (COPY,))
    return compared(both) | {"gap_alone": largest_gap(alone), "alone": alone}


def copying(seed: int, sizes, exercises) -> dict:
    """Train models of these sizes on the exercises. Return the curves of their scores in copying."""
    configs = [of_size(size) for size in sizes]
    scores = [COPY.scores(trained(Plan(config, seed, STEPS, exercises))) for config in configs]
    return curves_of([n_parameters(config) for config in configs], scores)


def curves_of(parameters, scores) -> dict:
    smooth = [math.exp(one["loglik"]) for one in scores]
    return {"parameters": parameters, "strict": [one["exact"] for one in scores], "smooth": smooth}


def compared(both: dict) -> dict:
    """Return the deciding number and the largest steps of these curves, and the curves."""
    steps = {name: float(np.diff(rescaled(both[name])).max()) for name in ("strict", "smooth")}
    return {"gap": largest_gap(both), **steps, "both": both}


def largest_gap(curves: dict) -> float:
    """Return the largest difference between the two scores, each rescaled to [0, 1]."""
    return float((rescaled(curves["smooth"]) - rescaled(curves["strict"])).max())


def rescaled(values):
    """Rescale values to [0, 1]. Equal values become zeros."""
    values = np.array(values)
    return (values - values.min()) / (np.ptp(values) or 1.0)


def read(folder) -> list[dict]:
    """Return the results of a `scale` folder for each seed that has a run of every size.

    Its models learn all exercises. Raises ValueError if there are fewer than two such seeds, or if the strict score
    hardly rises with size.
    """
    sizes = runs_by_size(folder, [COPY.name])
    seeds = sorted(set.intersection(*map(set, sizes)))
    if len(seeds) < 2:
        raise ValueError(
            f"{folder}: fewer than two seeds have a run of every size; `minitransformer scale` trains the others"
        )
    parameters = [next(iter(runs.values()))["parameters"] for runs in sizes]
    scores = [[runs[seed]["lengths"][-1]["scores"][COPY.name] for runs in sizes] for seed in seeds]
    found = [compared(curves_of(parameters, of_seed)) for of_seed in scores]
    rise = np.mean([np.ptp(one["both"]["strict"]) for one in found])
    if rise < LEAST_RISE:
        raise ValueError(
            f"{folder}: the share of right answers must rise by at least {LEAST_RISE:.0%} with size, not {rise:.0%}; "
            "train larger models, or for more steps"
        )
    return found


def draw(figure, measured) -> None:
    titles = {"both": "Copying six letters, learned with reversing", "alone": "Copying, learned alone"}
    titles = {name: title for name, title in titles.items() if name in measured[0]}
    scores = {"smooth": ("probability of a right letter", BLUE), "strict": ("whole answers right", VERMILION)}
    for axes, (name, title) in zip(panels_of(figure, len(titles), sharey=True), titles.items(), strict=True):
        sizes = measured[0][name]["parameters"]
        for score, (title_of_score, colour) in scores.items():
            rows = np.transpose([one[name][score] for one in measured])
            lines = axes.plot(sizes, rows, "o-", color=colour, linewidth=1.2, markersize=3, alpha=0.7)
            lines[0].set_label(title_of_score)
        label(axes, title, "", "score; one line per seed" if name == "both" else "")
        size_axis(axes, sizes)
    legend(axes, loc="lower right")


EXPERIMENT = Experiment(measure, draw, seconds=60, read=read, reads="scale")
