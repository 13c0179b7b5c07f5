"""The experiment on the belief "Training on preferences makes the preferred answers more likely".

preferred.md describes it.
"""

import copy

import numpy as np

from minitransformer.experiments.misconceptions.form import Experiment, Panel
from minitransformer.experiments.misconceptions.models import reader
from minitransformer.optim import AdamW
from minitransformer.training import Observer, fine_tune_for_safety, fit
from minitransformer.training.finetuning.evaluation import log_likelihoods
from minitransformer.training.finetuning.preferences import batch_of, encode, read_preferences, split_held_out

BATCH = 8
PLAIN_STEPS, LR = 80, 1e-3
PREFERENCE_STEPS, EVERY = 100, 10
LINES = ("polite, trained on", "rude, trained on", "polite, held out", "rude, held out")


def measure(seed: int) -> dict:
    lm = reader(seed)
    untaught = copy.deepcopy(lm)
    rows = split_held_out(read_preferences("politeness"), None, seed)
    sets = [encode(part, lm.tokenizer, lm.model.config.context) for part in rows]
    teach(lm.model, sets[0], np.random.default_rng((seed, 1)))
    taught, alone = (changes(model, rows[0], sets, seed) for model in (lm, untaught))
    found = {"preferred": taught[-1][0], "unpreferred": taught[-1][1], "held_out": taught[-1][2]}
    found |= {"untaught": alone[-1][0], "untaught_held_out": alone[-1][2]}
    curves = {"taught_curves": taught, "untaught_curves": alone}
    return found | {name: dict(zip(LINES, np.transpose(rows).tolist(), strict=True)) for name, rows in curves.items()}


def teach(model, pairs, rng) -> None:
    draws = (rng.choice(len(pairs), BATCH, replace=False) for _ in range(PLAIN_STEPS))
    batches = ([batch_of([(pairs[i].prompt, pairs[i].safe) for i in chosen])] for chosen in draws)
    fit(model, batches, AdamW(model.parameters(), lr=LR), PLAIN_STEPS, clip=1.0)


class Watcher(Observer):
    """An observer that records `per_token` for each set of pairs every EVERY steps."""

    def __init__(self, model, sets):
        self.model, self.sets, self.seen = model, sets, []

    def record(self, record):
        if record["step"] % EVERY == 0:
            self.seen.append([value for pairs in self.sets for value in per_token(self.model, pairs)])


def per_token(model, pairs) -> list[float]:
    """Return the mean log-likelihood per token of preferred and other answers in nats."""
    tokens = sum(len(pair.safe) for pair in pairs), sum(len(pair.unsafe) for pair in pairs)
    return [float(found.sum() / count) for found, count in zip(log_likelihoods(model, pairs, 128), tokens, strict=True)]


def changes(lm, rows, sets, seed: int) -> list[list[float]]:
    """Train on preferences. Return the change of `per_token` from the start at each evaluation."""
    watcher = Watcher(lm.model, sets)
    settings: dict = {
        "steps": PREFERENCE_STEPS,
        "batch_size": BATCH,
        "eval_every": 0,
        "eval_tokens": 500,
        "prompts": [],
    }
    fine_tune_for_safety(lm, rows, held_out=rows, objective="dpo", **settings, observer=watcher, seed=seed)
    return (np.array(watcher.seen) - watcher.seen[0]).tolist()


X, Y = "steps of preference training", "change of log-likelihood, nats per token"
TITLES = {"taught_curves": "After plain training on polite answers", "untaught_curves": "Without plain training"}
PANELS = [
    Panel(title, LINES, X, Y, within=name, xs=range(0, PREFERENCE_STEPS + 1, EVERY), level=0)
    for name, title in TITLES.items()
]
EXPERIMENT = Experiment(measure, PANELS, seconds=50)
