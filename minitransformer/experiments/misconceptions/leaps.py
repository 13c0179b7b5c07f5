"""The experiment on the belief "Abilities leap with size". leaps.md describes it."""

import math

import numpy as np

from minitransformer.experiments.emergence.capabilities import CAPABILITIES
from minitransformer.experiments.emergence.family import n_parameters, of_size
from minitransformer.experiments.emergence.plan import Plan, trained
from minitransformer.experiments.misconceptions.form import Experiment, Panel
from minitransformer.experiments.misconceptions.models import runs_by_size
from minitransformer.system.validation import check_int, number

SIZES, STEPS = (1_000, 2_500, 6_000, 15_000, 40_000), 500
SIZES_ALONE = (320, 820, 1_500, 2_500, 6_000)
COPY, REVERSE = CAPABILITIES["copy"], CAPABILITIES["reverse"]
LEAST_RISE = 0.5  # in a finished family, the smallest rise of the strict score that could be called a leap


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


def read(folder) -> list[dict]:
    """Return one result for each seed that has a run of every size, from a folder written by `scale`."""
    sizes = runs_by_size(folder, [COPY.name])
    seeds = sorted(set.intersection(*map(set, sizes)))
    check_int(f"{folder}: the number of seeds with a run of every size", len(seeds), minimum=2)
    parameters = [next(iter(runs.values()))["parameters"] for runs in sizes]
    scores = [[runs[seed]["lengths"][-1]["scores"][COPY.name] for runs in sizes] for seed in seeds]
    found = [compared(curves_of(parameters, of_seed)) for of_seed in scores]
    rise = np.mean([np.ptp(one["both"]["strict"]) for one in found])
    number(f"{folder}: the rise of the share of right answers with size", round(rise, 3), minimum=LEAST_RISE)
    return found


TITLES = {"both": "Copying six letters, learned with reversing", "alone": "Copying, learned alone"}
PANELS = [
    Panel(title, ("smooth", "strict"), "parameters", "score", within=name, xs="parameters", ylim=(-0.05, 1.05))
    for name, title in TITLES.items()
]
EXPERIMENT = Experiment(measure, PANELS, seconds=60, read=read)
