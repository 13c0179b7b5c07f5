"""Language models only memorise: what they answer, they have read.

A model that memorised has no answer to what it has not read. One small model does two exercises at once, and each is
tested on questions that training never draws. The first is to go on with a sequence of letters that repeats: a b c d a
b c … There are nearly two billion such sequences, and one rule: find where the last letter stood before, say what came
next. The second is to add two numbers modulo 17. That has a rule as well, but only 153 questions, which can be learned
by heart.

A question counts if the whole answer is right. The number that decides is the share of right answers to sequences that
it never saw, over the share for those that training draws. Addition beside it shows what memorising looks like, if the
model does memorise the sums.

How far does the rule reach? Eight of the 26 letters never stand in a sequence in training. The model knows them from
the text that it reads beside its exercises. Sequences of these letters alone are the third test.
"""

from functools import partial

import numpy as np

from minitransformer.experiments.emergence.alphabet import LETTERS
from minitransformer.experiments.emergence.capabilities import CAPABILITIES, Capability, induction_rows, units
from minitransformer.experiments.emergence.family import of_size
from minitransformer.experiments.emergence.one_run import Plan, trained
from minitransformer.experiments.emergence.sweep import runs_by_size
from minitransformer.experiments.misconceptions.form import Experiment, Outcome
from minitransformer.experiments.misconceptions.panels import draw_bars, panels_of
from minitransformer.pictures import BLUE, ORANGE, VERMILION, label

PARAMETERS, STEPS = 40_000, 1000
KNOWN, NEW = LETTERS[:18], LETTERS[18:]
LEAST_SEEN = 0.5  # of a finished run: below, it has not learned the questions of its own training

REPEATING = Capability("induction", "a sequence that repeats", partial(units, symbols=KNOWN), induction_rows)
ADDITION = CAPABILITIES["addition"]
NEW_LETTERS = Capability("new", "the same, of other letters", partial(units, symbols=NEW), induction_rows)


def measure(seed: int) -> dict:
    """Return what is right of questions of the training, of others, and of new letters, and the shares of them."""
    model = trained(Plan(of_size(PARAMETERS), seed, STEPS, (REPEATING, ADDITION)))
    repeating, addition, new = (task.scores(model) for task in (REPEATING, ADDITION, NEW_LETTERS))
    found = compared(repeating, addition)
    found["repeating_right"].append(new["exact"])
    return found | {"new_letters": share(new["exact"], repeating["seen"])}


def compared(repeating: dict, addition: dict) -> dict:
    """Return the numbers of two scores of a model."""
    return {
        "repeating": share(repeating["exact"], repeating["seen"]),
        "addition": share(addition["exact"], addition["seen"]),
        "repeating_right": [repeating["seen"], repeating["exact"]],
        "addition_right": [addition["seen"], addition["exact"]],
    }


def share(unseen: float, seen: float) -> float:
    """Return what is right of the unseen questions over what is right of the seen ones; 0 where nothing is."""
    return unseen / seen if seen else 0.0


def read(folder) -> list[dict]:
    """Return the same of the largest models of a `scale` folder, but for the new letters.

    Raises ValueError where they have not learned to go on with what repeats.
    """
    runs = runs_by_size(folder, ("induction", "addition"))[-1]
    scores = [run["lengths"][-1]["scores"] for run in runs.values()]
    seen = np.mean([one["induction"]["seen"] for one in scores])
    if seen < LEAST_SEEN:
        raise ValueError(
            f"{folder}: its largest models go on with {seen:.0%} of the sequences that they were trained on; "
            f"below {LEAST_SEEN:.0%} there is nothing to compare: train larger ones, or for more steps"
        )
    return [compared(one["induction"], one["addition"]) for one in scores]


def draw(figure, measured) -> None:
    """Draw what is right in both exercises, of questions that the model has and has not trained on."""
    titles = {"repeating_right": "Going on with what repeats", "addition_right": "Adding modulo 17"}
    for axes, (name, title) in zip(panels_of(figure, 2, sharey=True), titles.items(), strict=True):
        rows = [one[name] for one in measured]
        tests = ["trained on", "never seen", "never seen,\nnew letters"][: len(rows[0])]
        draw_bars(axes, tests, rows, [BLUE, ORANGE, VERMILION][: len(tests)])
        axes.set_ylim(0, 1.05)
        label(axes, title, "", "right as a whole (fraction)" if name == "repeating_right" else "")


EXPERIMENT = Experiment(
    question="Beside sequences of its training, a model goes on with sequences that it never saw",
    outcomes=(
        Outcome(
            -np.inf,
            "hardly ever",
            "It has memorised, as the belief says: what it never saw, it cannot answer.",
        ),
        Outcome(
            0.2,
            "clearly less often",
            "Something of it holds for what it never saw, and something does not. Neither half of the belief is right.",
        ),
        Outcome(
            0.8,
            "nearly as often",
            "It has learned a rule that holds for sequences it never saw, so it does not only memorise. The other two "
            "numbers say what it does memorise, and how far the rule reaches.",
        ),
    ),
    numbers={
        "repeating": "right of sequences never seen, over right of those of the training",
        "new_letters": "the same, of sequences of letters that never stood in one",
        "addition": "the same, of sums modulo 17; 0.06 would be guessing",
    },
    does_not_show="How much of what a large model says is memorised: these exercises are made so that the two can be "
    "told apart, and of sentences nobody can say so easily. A rule over 18 letters may be called a table of 18 "
    "letters: where new letters fail, it does not reach beyond the symbols that it was learned with. And sums that one "
    "seed has memorised, another seed, or the same after more steps, answers by a rule, which is called grokking.",
    sources=(
        "Olsson et al. (2022), In-context learning and induction heads, arXiv:2209.11895",
        "Power et al. (2022), Grokking: generalization beyond overfitting on small algorithmic datasets, "
        "arXiv:2201.02177",
        "Zhang et al. (2017), Understanding deep learning requires rethinking generalization, arXiv:1611.03530",
        "McCoy et al. (2023), How much do language models copy from their training data?, TACL, arXiv:2111.09509",
    ),
    measure=measure,
    draw=draw,
    seconds=40,
    read=read,
    reads="scale",
)
