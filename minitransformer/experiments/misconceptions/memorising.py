"""Language models only memorise: measured as memorising.md describes."""

from functools import partial

import numpy as np

from minitransformer.experiments.emergence.alphabet import LETTERS
from minitransformer.experiments.emergence.capabilities import CAPABILITIES, Capability, induction_rows, units
from minitransformer.experiments.emergence.family import of_size
from minitransformer.experiments.emergence.one_run import Plan, trained
from minitransformer.experiments.misconceptions.form import Experiment
from minitransformer.experiments.misconceptions.models import runs_by_size
from minitransformer.experiments.misconceptions.panels import draw_bars, panels_of
from minitransformer.system.pictures import BLUE, ORANGE, VERMILION, label

PARAMETERS, STEPS = 40_000, 1000
KNOWN, NEW = LETTERS[:18], LETTERS[18:]
LEAST_SEEN = 0.5  # a finished run with a lower score has not learned the questions of its training

REPEATING = Capability("induction", "a sequence that repeats", partial(units, symbols=KNOWN), induction_rows)
ADDITION = CAPABILITIES["addition"]
NEW_LETTERS = Capability("new", "the same, of other letters", partial(units, symbols=NEW), induction_rows)


def measure(seed: int) -> dict:
    model = trained(Plan(of_size(PARAMETERS), seed, STEPS, (REPEATING, ADDITION)))
    repeating, addition, new = (task.scores(model) for task in (REPEATING, ADDITION, NEW_LETTERS))
    found = compared(repeating, addition)
    found["repeating_right"].append(new["exact"])
    return found | {"new_letters": share(new["exact"], repeating["seen"])}


def compared(repeating: dict, addition: dict) -> dict:
    """Return the numbers and lists of the experiment from a model's scores in both exercises."""
    return {
        "repeating": share(repeating["exact"], repeating["seen"]),
        "addition": share(addition["exact"], addition["seen"]),
        "repeating_right": [repeating["seen"], repeating["exact"]],
        "addition_right": [addition["seen"], addition["exact"]],
    }


def share(unseen: float, seen: float) -> float:
    """Return unseen / seen, or 0 if no seen question is answered."""
    return unseen / seen if seen else 0.0


def read(folder) -> list[dict]:
    """Return the results of the largest models of a `scale` folder, without the test of new letters.

    Raises ValueError if the models have not learned to continue the sequences of their training.
    """
    runs = runs_by_size(folder, ("induction", "addition"))[-1]
    scores = [run["lengths"][-1]["scores"] for run in runs.values()]
    seen = np.mean([one["induction"]["seen"] for one in scores])
    if seen < LEAST_SEEN:
        raise ValueError(
            f"{folder}: the largest models must continue at least {LEAST_SEEN:.0%} of the sequences that they were "
            f"trained on, not {seen:.0%}; train larger models, or for more steps"
        )
    return [compared(one["induction"], one["addition"]) for one in scores]


def draw(figure, measured) -> None:
    titles = {"repeating_right": "Continuing a repeating sequence", "addition_right": "Adding modulo 17"}
    for axes, (name, title) in zip(panels_of(figure, 2, sharey=True), titles.items(), strict=True):
        rows = [one[name] for one in measured]
        tests = ["trained on", "never seen", "never seen,\nnew letters"][: len(rows[0])]
        draw_bars(axes, tests, rows, [BLUE, ORANGE, VERMILION][: len(tests)])
        axes.set_ylim(0, 1.05)
        label(axes, title, "", "whole answers right (fraction)" if name == "repeating_right" else "")


EXPERIMENT = Experiment(measure, draw, seconds=40, read=read, reads="scale")
