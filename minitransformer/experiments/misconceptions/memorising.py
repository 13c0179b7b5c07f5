"""Language models only memorise: they have read every answer that they give.

A model that memorised has no answer to a new question. One small model learns two exercises at once, and is tested on
questions of each that training never draws. The first exercise is to continue a sequence of letters that repeats: a b c
d a b c … There are nearly two billion such sequences, and one rule: find the previous occurrence of the last letter and
repeat its successor. The second exercise is to add two numbers modulo 17. It has a rule as well, but only 153
questions, which can be memorised.

A question counts if the whole answer is right. The deciding number is the share of right answers to sequences that the
model never saw, divided by the share for those that training draws. The same ratio for addition shows memorising, if
the model does memorise the sums.

How far does the rule reach? Eight of the 26 letters never occur in a training sequence. The model knows them from the
text that it reads between its exercises. Sequences of these letters alone are the third test.

Predict: Compared with sequences of its training, a model continues sequences that it never saw
    -inf: hardly ever
        It has memorised, as the belief claims: it cannot answer new questions.
    0.2: clearly less often
        Part of its ability applies to new sequences, and part does not. Neither half of the belief is right.
    0.8: nearly as often
        It has learned a rule that applies to sequences that it never saw, so it does not only memorise. The other two
        numbers show which questions it does memorise, and how far the rule reaches.

Numbers:
    repeating: right answers to sequences never seen, divided by those to sequences of the training
    new_letters: the same, for sequences of letters that occurred in none
    addition: the same, for sums modulo 17; guessing gives 0.06

Not shown: How much of the output of a large model is memorised: in these exercises the two can be distinguished, which
is not easy for sentences. A rule over 18 letters may be called a table of 18 letters: if new letters fail, it does not
reach beyond the symbols that it was learned with. And sums that one seed has memorised may be computed by a rule with
another seed, or after more steps, which is called grokking.

Sources:
    Olsson et al. (2022), In-context learning and induction heads, arXiv:2209.11895
    Power et al. (2022), Grokking: generalization beyond overfitting on small algorithmic datasets, arXiv:2201.02177
    Zhang et al. (2017), Understanding deep learning requires rethinking generalization, arXiv:1611.03530
    McCoy et al. (2023), How much do language models copy from their training data?, TACL, arXiv:2111.09509
"""

from functools import partial

import numpy as np

from minitransformer.experiments.emergence.alphabet import LETTERS
from minitransformer.experiments.emergence.capabilities import CAPABILITIES, Capability, induction_rows, units
from minitransformer.experiments.emergence.family import of_size
from minitransformer.experiments.emergence.one_run import Plan, trained
from minitransformer.experiments.emergence.sweep import runs_by_size
from minitransformer.experiments.misconceptions.form import Experiment
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
    """Return the numbers of a model's scores in both exercises."""
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
    """Return the results of the largest models of a `scale` folder, without new letters.

    Raises ValueError if they have not learned to continue the sequences of their training.
    """
    runs = runs_by_size(folder, ("induction", "addition"))[-1]
    scores = [run["lengths"][-1]["scores"] for run in runs.values()]
    seen = np.mean([one["induction"]["seen"] for one in scores])
    if seen < LEAST_SEEN:
        raise ValueError(
            f"{folder}: its largest models continue {seen:.0%} of the sequences that they were trained on, and the "
            f"comparison needs at least {LEAST_SEEN:.0%}: train larger models, or for more steps"
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
