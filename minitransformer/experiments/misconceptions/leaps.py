"""The experiment on the belief "Abilities leap with size". leaps.md describes it."""

import math

import numpy as np

from minitransformer.experiments.emergence.capabilities import CAPABILITIES
from minitransformer.experiments.emergence.family import n_parameters, of_size
from minitransformer.experiments.emergence.plan import Plan, trained
from minitransformer.experiments.misconceptions.form import Experiment, Panel

SIZES, STEPS = (1_000, 2_500, 6_000, 15_000, 40_000), 500
SIZES_ALONE = (320, 820, 1_500, 2_500, 6_000)
COPY, REVERSE = CAPABILITIES["copy"], CAPABILITIES["reverse"]


def measure(seed: int) -> dict:
    both, alone = copying(seed, SIZES, (COPY, REVERSE)), copying(seed, SIZES_ALONE, (COPY,))
    return compared(both) | {"gap_alone": compared(alone)["gap"], "alone": alone}


def copying(seed: int, sizes, exercises) -> dict:
    configs = [of_size(size) for size in sizes]
    scores = [COPY.scores(trained(Plan(config, seed, STEPS, exercises))) for config in configs]
    return curves_of([n_parameters(config) for config in configs], scores)


def curves_of(parameters, scores) -> dict:
    smooth = [math.exp(one["loglik"]) for one in scores]
    return {"parameters": parameters, "strict": [one["exact"] for one in scores], "smooth": smooth}


def compared(both: dict) -> dict:
    """Return the largest difference of the two scores and the largest step of each, after scaling both to [0, 1]."""
    strict, smooth = (np.array(both[name]) for name in ("strict", "smooth"))
    strict, smooth = ((values - values.min()) / (np.ptp(values) or 1.0) for values in (strict, smooth))
    gap, *steps = (smooth - strict).max(), np.diff(strict).max(), np.diff(smooth).max()
    return {"gap": float(gap), "strict": float(steps[0]), "smooth": float(steps[1]), "both": both}


TITLES = {"both": "Copying six letters, learned with reversing", "alone": "Copying, learned alone"}
PANELS = [
    Panel(title, ("smooth", "strict"), "parameters", "score", within=name, xs="parameters", ylim=(-0.05, 1.05))
    for name, title in TITLES.items()
]
EXPERIMENT = Experiment(measure, PANELS, seconds=60)
