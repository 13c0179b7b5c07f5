"""More context is always used.

A small model learns to write from the Python manual, with a context of 128 tokens of about two letters each. Then it
predicts the next token of many held-out passages: from the nearest token alone, from the nearest two, four, eight, and
so on to all 128. The predicted token is always the same, so only the context changes. The deciding number is the fall
of the loss from one token to the nearest eighth, 16 tokens, as a share of its fall from one token to 128. It is 1 if
the other tokens are worth nothing, and more if the model does better without them.

Three more questions concern the tokens beyond the nearest eighth. How much does the loss rise if they are left out, if
they are in random order, and if those of another passage replace them? And if the next token occurs in the farther half
but not in the nearer, so that it could be copied, how much does the farther half reduce the loss there?

The same can be measured for a finished run of train. Then parts of its held-out text replace the seeds.

Predict: Of the gain from the whole context, the nearest eighth alone gives
    -inf: at most half
        Far tokens are worth about as much as near ones: with more context the model still predicts better.
    0.5: more than half, and at most nine tenths
        Near tokens do most of the work, and far ones still help: context is used, and each token less, the farther away
        it is.
    0.9: more than nine tenths, or more than all
        The context that a model can see is not the context that it uses: nearly all of this one could be left out. It
        is room, and the model has to learn to use it.

Numbers:
    share: the nearest eighth's share of the gain from the whole context
    left_out: cost of leaving the other seven eighths out (nats; negative: it helps)
    shuffled: cost of their random order (nats)
    replaced: cost of replacing them by those of another passage (nats)
    copied: gain from the farther half if only it contains the next token (nats)

Not shown: That long contexts are useless. This model is small and has learned for seconds. Larger ones that train for
longer use more, and you can test a finished run of your own. A manual requires little from far away. And the mean loss
reveals little about the few tokens that depend on one word far back: whether a model finds such a word on demand is
another experiment.

Sources:
    Khandelwal, He, Qi and Jurafsky (2018), Sharp nearby, fuzzy far away: how neural language models use context,
        arXiv:1805.04623
    Sun, Krishna, Mattarella-Micke and Iyyer (2021), Do long-range language models actually use long-range context?,
        arXiv:2109.09115
    Liu et al. (2023), Lost in the middle: how language models use long contexts, arXiv:2307.03172
"""

import numpy as np

from minitransformer.experiments.misconceptions.form import Experiment
from minitransformer.experiments.misconceptions.models import finished_run, manual, reader
from minitransformer.experiments.misconceptions.panels import draw_curve, draw_named_bars, panels_of
from minitransformer.losses import cross_entropy
from minitransformer.module import apply
from minitransformer.system.pictures import BLUE, INK, ORANGE, VERMILION, label

CONTEXT, LEAST_CONTEXT = 128, 16
PASSAGES, PASSAGES_OF_A_PART = 1000, 300  # the model of a finished run may be much larger
AT_ONCE = 100  # passages per forward pass


def measure(seed: int) -> dict:
    _, corpus = manual()
    return by_context(reader(seed, CONTEXT).model, corpus.val_ids, PASSAGES, np.random.default_rng((seed, 1)))


def read(folder) -> list[dict]:
    """Return the results for the model of a finished run, on parts of its held-out text. Raises as finished_run."""
    lm, parts = finished_run(folder)
    context = lm.model.config.context
    if context < LEAST_CONTEXT:
        raise ValueError(f"{folder}: its model has a context of {context} tokens; this takes {LEAST_CONTEXT} or more")
    if len(parts[-1]) <= context:
        raise ValueError(f"{folder}: a part of the text held out has {len(parts[-1])} tokens, too few for {context}")
    n = PASSAGES_OF_A_PART
    return [by_context(lm.model, ids, n, np.random.default_rng(part)) for part, ids in enumerate(parts)]


def by_context(model, ids, passages: int, rng) -> dict:
    """Return the losses at the token after each of some passages, by the length that is seen, and the numbers.

    ids: (N,), the text, with N greater than the model's context C. The passages have C tokens and random places.
    """
    C = model.config.context
    starts = rng.integers(0, len(ids) - C, (passages, 1))
    drawn = ids[starts + np.arange(C + 1)].astype(np.int64)
    seen, target = drawn[:, :-1], drawn[:, -1]
    lengths = nearest(C)
    losses = {n: losses_at_the_end(model, seen[:, C - n :], target) for n in lengths}
    means = {n: float(losses[n].mean()) for n in lengths}
    far = C - C // 8
    changed = {
        "shuffled": np.concatenate([rng.permuted(seen[:, :far], axis=1), seen[:, far:]], axis=1),
        "replaced": np.concatenate([np.roll(seen[:, :far], 1, axis=0), seen[:, far:]], axis=1),
    }
    found = {name: float(losses_at_the_end(model, other, target).mean()) - means[C] for name, other in changed.items()}
    copied = can_be_copied(seen, target)
    return found | {
        "share": (means[1] - means[C // 8]) / (means[1] - means[C]),
        "left_out": means[C // 8] - means[C],
        "copied": float((losses[C // 2] - losses[C])[copied].mean()) if copied.any() else 0.0,
        "lengths": lengths,
        "losses": list(means.values()),
    }


def nearest(context: int) -> list[int]:
    """Return the lengths that are seen: 1, 2, 4, …, and an eighth, half and all of the context."""
    doubled = {2**k for k in range(context.bit_length())}
    return sorted(doubled | {context // 8, context // 2, context})


def losses_at_the_end(model, seen, target):
    """Return the cross-entropy (rows,) of target (rows,) after the tokens seen (rows, T), in nats."""
    found = []
    for start in range(0, len(seen), AT_ONCE):
        rows = slice(start, start + AT_ONCE)
        logits = model.predict(seen[rows], last_only=True)[:, 0]
        found.append(apply(cross_entropy, logits, target[rows], reduction="none")[0])
    return np.concatenate(found)


def can_be_copied(seen, target):
    """Return booleans (rows,): True if only the farther half of seen (rows, T) contains the target."""
    half = seen.shape[1] - seen.shape[1] // 2
    farther, nearer = ((part == target[:, None]).any(axis=1) for part in (seen[:, :half], seen[:, half:]))
    return farther & ~nearer


def draw(figure, measured) -> None:
    curve, bars = panels_of(figure, 2, width_ratios=(1.3, 1))
    lengths = measured[0]["lengths"]
    draw_curve(curve, lengths, [one["losses"] for one in measured], BLUE)
    curve.axvline(lengths[-1] // 8, color=INK, linewidth=0.8, linestyle=":")
    curve.set_xscale("log", base=2)
    curve.set_xticks(lengths, map(str, lengths))
    curve.minorticks_off()
    label(curve, "Loss by context (dotted: its eighth)", "nearest tokens seen", "loss at the next token (nats)")
    names = {"left_out": ("left out", BLUE), "shuffled": ("in random\norder", ORANGE)}
    draw_named_bars(bars, measured, names | {"replaced": ("from another\npassage", VERMILION)})
    bars.axhline(0, color=INK, linewidth=0.8)
    label(bars, "The other seven eighths", "", "increase of the loss (nats)")


EXPERIMENT = Experiment(measure, draw, seconds=60, read=read, reads="train")
