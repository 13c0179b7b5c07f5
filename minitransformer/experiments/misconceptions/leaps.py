"""Abilities leap with size: a model cannot do something at all, and a somewhat larger one can.

Whether an ability leaps may depend on the score. Models of five sizes, each two or three times as large as the one
before, learn to repeat six letters and to reverse them, all with the same number of steps. Two scores are computed from
the same answers, to questions of the first exercise that training never draws. The strict score is the fraction of
answers with all six letters right. The smooth score is the probability that the model gives to a right letter, as the
geometric mean. If a letter is right with probability p, an answer of six is right with about p to the sixth power, and
this turns a slow rise of p into a leap. If the models themselves leap, p leaps too.

Each score is rescaled to [0, 1], from its least to its greatest value. The deciding number is the largest difference
between the smooth and the strict score over the sizes. It is 0 if both leap together, and at most 0.58 if each letter
is right with probability p, independently of the others. Two more numbers are the rise of each rescaled score in its
largest step from one size to the next. And because all this may depend on the exercise as well, models of smaller sizes
learn only to repeat letters.

Predict: At the size where the two rescaled scores differ most, the smooth one is
    -inf: hardly higher than the strict one
        They leap together. Where whole answers leap, the models do, as the belief claims.
    0.2: clearly higher than the strict one
        A part of the leap is due to the score: models that gave hardly a whole answer had already improved. If the
        smooth score's largest step is more than an even one, a part of the leap is due to the models.

Numbers:
    gap: largest difference between the smooth and the strict score, both rescaled
    gap_alone: the same, if copying is learned alone
    strict: largest step of the rescaled strict score; an even rise has steps of 0.25
    smooth: the same, for the smooth score

Not shown: How other abilities rise: even this exercise may leap differently if it is learned alone. Five sizes are few,
and nothing was measured between two of them. All models take the same number of steps; with more, a smaller one may
reach the score of a larger one here. And someone who needs whole answers has little use for letters: for them the leap
is real, whatever its cause.

Sources:
    Wei et al. (2022), Emergent abilities of large language models, TMLR, arXiv:2206.07682
    Schaeffer, Miranda and Koyejo (2023), Are emergent abilities of large language models a mirage?, arXiv:2304.15004
"""

import math

import numpy as np

from minitransformer.experiments.emergence.capabilities import CAPABILITIES
from minitransformer.experiments.emergence.family import n_parameters, of_size
from minitransformer.experiments.emergence.one_run import Plan, trained
from minitransformer.experiments.emergence.sweep import runs_by_size
from minitransformer.experiments.misconceptions.form import Experiment
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
    """Train models of these sizes in the exercises, and return their curves in copying."""
    configs = [of_size(size) for size in sizes]
    scores = [COPY.scores(trained(Plan(config, seed, STEPS, exercises))) for config in configs]
    return curves_of([n_parameters(config) for config in configs], scores)


def curves_of(parameters, scores) -> dict:
    smooth = [math.exp(one["loglik"]) for one in scores]
    return {"parameters": parameters, "strict": [one["exact"] for one in scores], "smooth": smooth}


def compared(both: dict) -> dict:
    """Return the numbers of the curves of models that learn both exercises."""
    steps = {name: float(np.diff(rescaled(both[name])).max()) for name in ("strict", "smooth")}
    return {"gap": largest_gap(both), **steps, "both": both}


def largest_gap(curves: dict) -> float:
    """Return the largest difference between the two scores, each rescaled to [0, 1]."""
    return float((rescaled(curves["smooth"]) - rescaled(curves["strict"])).max())


def rescaled(values):
    """Rescale values to [0, 1]; all zeros if they are equal."""
    values = np.array(values)
    return (values - values.min()) / (np.ptp(values) or 1.0)


def read(folder) -> list[dict]:
    """Return the results of a `scale` folder, whose models learn all exercises, for each seed that has every size.

    Raises ValueError if whole answers do not rise with size, or for fewer than two such seeds.
    """
    sizes = runs_by_size(folder, [COPY.name])
    seeds = sorted(set.intersection(*map(set, sizes)))
    if len(seeds) < 2:
        raise ValueError(f"{folder}: fewer than two seeds have a run of every size; scale trains the missing runs")
    parameters = [next(iter(runs.values()))["parameters"] for runs in sizes]
    scores = [[runs[seed]["lengths"][-1]["scores"][COPY.name] for runs in sizes] for seed in seeds]
    found = [compared(curves_of(parameters, of_seed)) for of_seed in scores]
    rise = np.mean([np.ptp(one["both"]["strict"]) for one in found])
    if rise < LEAST_RISE:
        raise ValueError(
            f"{folder}: whole answers rise by {rise:.0%} with size, and below {LEAST_RISE:.0%} there is no leap to "
            "explain: train larger models, or for more steps"
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
