"""Training on preferences makes the preferred answers more likely.

Direct preference optimisation is given pairs of answers, one preferred to the other, and raises the margin between
their log-likelihoods. A margin grows when the preferred answer rises; it also grows when both fall and the other falls
faster.

A small model reads the Python manual. Then it goes through the usual recipe: plain training on polite answers to 78
prompts, as it has never seen a conversation, and then the preference training, in which each of these answers is
preferred to a rude one. The number that decides is what the second training changes in the log-likelihood of the polite
answers that it trains on, in nats per token: at 0.1 each of their tokens has become a tenth likelier, at −0.1 a tenth
less likely.

Beside it stand the rude answers, and polite answers to 26 prompts that no training saw. And as much may depend on where
one begins, the same preference training is done without the plain one, on the model that has read the manual alone.
"""

import copy

import numpy as np

from minitransformer.experiments.misconceptions.form import Experiment, Outcome
from minitransformer.experiments.misconceptions.panels import draw_curve, panels_of
from minitransformer.experiments.misconceptions.reader import reader
from minitransformer.optim import AdamW
from minitransformer.pictures import BLUE, INK, VERMILION, label
from minitransformer.training import Observer, fine_tune_for_safety, training_step
from minitransformer.training.finetuning.evaluation import log_likelihoods
from minitransformer.training.finetuning.preferences import batch_of, encode, read_preferences, split_held_out

BATCH = 8
PLAIN_STEPS, LR = 80, 1e-3
PREFERENCE_STEPS, EVERY = 100, 10


def measure(seed: int) -> dict:
    """Return how log-likelihoods changed by preference training, after plain training and without it."""
    lm = reader(seed)
    untaught = copy.deepcopy(lm)
    rows = split_held_out(read_preferences("politeness"), None, seed)
    sets = [encode(part, lm.tokenizer, lm.model.config.context) for part in rows]
    teach(lm.model, sets[0], np.random.default_rng((seed, 1)))
    taught, alone = (changes(model, rows[0], sets, seed) for model in (lm, untaught))
    last = taught[-1]
    return {
        "preferred": last[0],
        "unpreferred": last[1],
        "held_out": last[2],
        "untaught": alone[-1][0],
        "untaught_held_out": alone[-1][2],
        "taught_curves": taught,
        "untaught_curves": alone,
    }


def teach(model, pairs, rng) -> None:
    """Train on the preferred answers alone, plainly."""
    optimizer = AdamW(model.parameters(), lr=LR)
    for _ in range(PLAIN_STEPS):
        chosen = rng.choice(len(pairs), BATCH, replace=False)
        training_step(model, optimizer, [batch_of([(pairs[i].prompt, pairs[i].safe) for i in chosen])], clip=1.0)


class Watcher(Observer):
    """Notes the log-likelihoods of pairs of answers before the first step, and again after each EVERY steps."""

    def __init__(self, model, sets):
        self.model, self.sets, self.seen = model, sets, []

    def record(self, record):
        if record["step"] % EVERY == 0:
            self.seen.append([value for pairs in self.sets for value in per_token(self.model, pairs)])


def per_token(model, pairs) -> list[float]:
    """Return the mean log-likelihood in nats of a token of the preferred answers, and of a token of the others."""
    tokens = sum(len(pair.safe) for pair in pairs), sum(len(pair.unsafe) for pair in pairs)
    return [float(found.sum() / count) for found, count in zip(log_likelihoods(model, pairs, 128), tokens, strict=True)]


def changes(lm, rows, sets, seed: int) -> list[list[float]]:
    """Train on preferences; return what changed, each EVERY steps, in per_token of each of the sets of pairs."""
    watcher = Watcher(lm.model, sets)
    fine_tune_for_safety(
        lm,
        rows,
        held_out=rows,
        objective="dpo",
        steps=PREFERENCE_STEPS,
        batch_size=BATCH,
        eval_every=0,
        eval_tokens=500,
        prompts=[],
        observer=watcher,
        seed=seed,
    )
    return (np.array(watcher.seen) - watcher.seen[0]).tolist()


def draw(figure, measured) -> None:
    """Draw the changes over the steps, after plain training and without it."""
    panels = panels_of(figure, 2, sharey=True)
    lines = [
        ("polite, trained on", BLUE, "-"),
        ("rude, trained on", VERMILION, "-"),
        ("polite, held out", BLUE, ":"),
        ("rude, held out", VERMILION, ":"),
    ]
    titles = {"taught_curves": "After plain training on polite answers", "untaught_curves": "Without it"}
    steps = range(0, PREFERENCE_STEPS + 1, EVERY)
    for axes, (key, title) in zip(panels, titles.items(), strict=True):
        for k, (name, colour, style) in enumerate(lines):
            rows = [[seen[k] for seen in one[key]] for one in measured]
            draw_curve(axes, steps, rows, colour, name, linestyle=style, markersize=2)
        axes.axhline(0, color=INK, linewidth=0.8)
        label(axes, title, "steps of preference training")
    panels[0].set_ylabel("change of log-likelihood, nats per token", color=INK, fontsize=9)
    panels[0].legend(frameon=False, labelcolor=INK, fontsize=8, loc="lower left")


EXPERIMENT = Experiment(
    question="By training on preferences, the polite answers that it trains on become",
    outcomes=(
        Outcome(
            -np.inf,
            "less likely (each token by more than a tenth)",
            "The margin grew by pushing both answers down, the rude one faster. Their probability went to texts that "
            "are on neither side of any pair, and nobody said what these should be.",
        ),
        Outcome(
            -0.1,
            "neither much more nor much less likely",
            "The margin grew at the rude answers' expense alone. Preferred means preferred to the other, and no more.",
        ),
        Outcome(
            0.1,
            "more likely (each token by more than a tenth)",
            "What is preferred is learned, as the name says, although only the margin was asked for.",
        ),
    ),
    numbers={
        "preferred": "change in polite answers trained on, nats per token",
        "unpreferred": "the same, in rude ones",
        "held_out": "the same, in polite answers to other prompts",
        "untaught": "change in polite answers trained on, without the plain training first",
        "untaught_held_out": "the same, in polite answers to other prompts",
    },
    does_not_show="That it must be so. The objective does not care, and much depends on the model that it begins "
    "with, on the rate and on β. The strongest objection: plain training had brought these answers near the most that "
    "the model can give them, from where every step away leads down; so say the method's authors. Yet with two other "
    "seeds they fell as well after 30 steps of it, when they could still rise by far. Nor that its answers have become "
    "worse: what the model now writes instead was not read.",
    sources=(
        "Rafailov et al. (2023), Direct preference optimization, arXiv:2305.18290",
        "Pal et al. (2024), Smaug: fixing failure modes of preference optimisation with DPO-positive, arXiv:2402.13228",
        "Razin et al. (2025), Unintentional unalignment: likelihood displacement in direct preference optimization, "
        "arXiv:2410.08847",
        "Mitchell (2023), github.com/eric-mitchell/direct-preference-optimization, issue 32",
    ),
    measure=measure,
    draw=draw,
    seconds=50,
)
