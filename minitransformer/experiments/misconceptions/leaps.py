"""Abilities leap with size: what a model cannot do at all, one somewhat larger can.

Whether it leaps may depend on how it is scored. Models of five sizes, each two or three times the one before, learn to
say six letters again and to say them backward, all with the same number of steps. Two scores are taken of the same
answers: to questions of the first exercise that training never draws. The strict score is the fraction of whole answers
that are right, all six letters. The smooth one is the probability that the model gives to a right letter, as the
geometric mean. If a letter is right with probability p, an answer of six is right with about p to the sixth power, and
that turns a slow rise of p into a leap. If the models themselves leap, p leaps with them.

Each score goes a way, from its least to its greatest value. How much more of its way than the strict score has the
smooth one gone, at the size where they differ most? That is the number that decides. It is 0 if both leap together, and
at most 0.58 if each letter is right with probability p, whatever the others are. Beside it stands how much of each way
the largest step takes, from one size to the next. And because all this may depend on the exercise as well, models of
smaller sizes learn to say letters again and nothing else.
"""

import math

import numpy as np

from minitransformer.experiments.emergence.capabilities import CAPABILITIES
from minitransformer.experiments.emergence.family import n_parameters, of_size
from minitransformer.experiments.emergence.one_run import Plan, trained
from minitransformer.experiments.emergence.sweep import runs_by_size
from minitransformer.experiments.misconceptions.form import Experiment, Outcome
from minitransformer.experiments.misconceptions.panels import panels_of, size_axis
from minitransformer.pictures import BLUE, INK, VERMILION, label

SIZES, STEPS = (1_000, 2_500, 6_000, 15_000, 40_000), 500
SIZES_ALONE = (320, 820, 1_500, 2_500, 6_000)
COPY, REVERSE = CAPABILITIES["copy"], CAPABILITIES["reverse"]
LEAST_RISE = 0.5  # of a finished family's strict score: below, there is no leap to explain


def measure(seed: int) -> dict:
    """Return the scores of copying against the size, with reversing and alone, and how they leap."""
    both, alone = copying(seed, SIZES, (COPY, REVERSE)), copying(seed, SIZES_ALONE, (COPY,))
    return compared(both) | {"gap_alone": largest_gap(alone), "alone": alone}


def copying(seed: int, sizes, exercises) -> dict:
    """Return what models of these sizes score in copying, when they are trained in these exercises."""
    configs = [of_size(size) for size in sizes]
    scores = [COPY.scores(trained(Plan(config, seed, STEPS, exercises))) for config in configs]
    return curves_of([n_parameters(config) for config in configs], scores)


def curves_of(parameters, scores) -> dict:
    """Return both scores against the size."""
    smooth = [math.exp(one["loglik"]) for one in scores]
    return {"parameters": parameters, "strict": [one["exact"] for one in scores], "smooth": smooth}


def compared(both: dict) -> dict:
    """Return the numbers of what copying does in models that learn both exercises, and its curves."""
    steps = {name: float(np.diff(ways(both[name])).max()) for name in ("strict", "smooth")}
    return {"gap": largest_gap(both), **steps, "both": both}


def largest_gap(curves: dict) -> float:
    """Return how much more of its way the smooth score has gone than the strict one, where they differ most."""
    return float((ways(curves["smooth"]) - ways(curves["strict"])).max())


def ways(values):
    """Return how much of the way from the least to the greatest each value has gone; nothing where all are equal."""
    values = np.array(values)
    return (values - values.min()) / (np.ptp(values) or 1.0)


def read(folder) -> list[dict]:
    """Return the same of the models of a `scale` folder, which learn all its exercises, for each seed of every size.

    Raises ValueError where whole answers do not come with size, or fewer than two seeds have every size.
    """
    sizes = runs_by_size(folder, [COPY.name])
    seeds = sorted(set.intersection(*map(set, sizes)))
    if len(seeds) < 2:
        raise ValueError(f"{folder}: fewer than two seeds have a run of every size; scale trains what is missing")
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
    """Draw the scores against the size, of copying with reversing and alone; a line for each seed."""
    titles = {"both": "Copying six letters, learned with reversing", "alone": "Copying, learned alone"}
    titles = {name: title for name, title in titles.items() if name in measured[0]}
    scores = {
        "smooth": ("probability of a right letter", BLUE),
        "strict": ("whole answers right", VERMILION),
    }
    for axes, (name, title) in zip(panels_of(figure, len(titles), sharey=True), titles.items(), strict=True):
        sizes = measured[0][name]["parameters"]
        for score, (what, colour) in scores.items():
            rows = np.transpose([one[name][score] for one in measured])
            lines = axes.plot(sizes, rows, "o-", color=colour, linewidth=1.2, markersize=3, alpha=0.7)
            lines[0].set_label(what)
        label(axes, title, "", "score; a line for each seed" if name == "both" else "")
        size_axis(axes, sizes)
    axes.legend(frameon=False, labelcolor=INK, fontsize=8, loc="lower right")


EXPERIMENT = Experiment(
    question="At the size where the two scores differ most, the smooth one has gone",
    outcomes=(
        Outcome(
            -np.inf,
            "hardly more of its way than the strict one",
            "They leap together. Where whole answers leap, the models do, as the belief says.",
        ),
        Outcome(
            0.2,
            "clearly more of its way than the strict one",
            "A part of the leap is the score's own: models that gave hardly a whole answer were on their way. As far "
            "as the smooth score's largest step is more than an even one, a part is the models' own.",
        ),
    ),
    numbers={
        "gap": "how much more of its way the smooth score has gone, where they differ most",
        "gap_alone": "the same, where copying is learned alone",
        "strict": "share of its way that the strict score takes in its largest step; even: 0.25",
        "smooth": "the same of the smooth score",
    },
    does_not_show="What other abilities do: one exercise may leap otherwise as soon as it is learned alone. Five "
    "sizes are few, and between two of them nobody has looked. All models take the same number of steps; with more, a "
    "smaller one may do what a larger one does here. And who needs whole answers has little use for letters: for them "
    "the leap is real, however it comes about.",
    sources=(
        "Wei et al. (2022), Emergent abilities of large language models, TMLR, arXiv:2206.07682",
        "Schaeffer, Miranda and Koyejo (2023), Are emergent abilities of large language models a mirage?, "
        "arXiv:2304.15004",
    ),
    measure=measure,
    draw=draw,
    seconds=60,
    read=read,
    reads="scale",
)
