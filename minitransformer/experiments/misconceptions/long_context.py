"""More context is always used.

A small model learns to write from the Python manual, with a context of 128 tokens, of two letters or so each. Then it
is asked for the next token of many passages that were held out: with the nearest token alone, with the nearest two,
four, eight, and so on to all 128. Each time it is the same token that is asked for, so that what changes is the
context. The number that decides is what the nearest eighth, 16 tokens, already gives, as a share of all that the loss
falls from one token to 128. It is 1 if the other tokens are worth nothing, and more if the model does better without
them.

Three more questions are asked of the tokens beyond the nearest eighth. What does the model lose when they are left out,
what when they are there in random order, and what when those of another passage stand in their place? And where the
next token stands in the farther half but not in the nearer, so that it could be copied, how much does the farther half
save there?

A finished run of train can be asked the same. Then parts of the text that it held out take the place of seeds.
"""

import numpy as np

from minitransformer.experiments.misconceptions.form import Experiment, Outcome
from minitransformer.experiments.misconceptions.panels import draw_bars, draw_curve, panels_of
from minitransformer.experiments.misconceptions.reader import finished_run, manual, reader
from minitransformer.losses import cross_entropy
from minitransformer.module import apply
from minitransformer.pictures import BLUE, INK, ORANGE, VERMILION, label

CONTEXT, LEAST_CONTEXT = 128, 16
PASSAGES, PASSAGES_OF_A_PART = 1000, 300  # a finished run may be of a much larger model
AT_ONCE = 100  # passages, in one forward pass


def measure(seed: int) -> dict:
    """Return what the loss is by context, and what far tokens are worth, to a model of its own."""
    _, corpus = manual()
    return by_context(reader(seed, CONTEXT).model, corpus.val_ids, PASSAGES, np.random.default_rng((seed, 1)))


def read(folder) -> list[dict]:
    """Return the same for the model of a finished run, on parts of its text held out. Raises what finished_run does."""
    lm, parts = finished_run(folder)
    context = lm.model.config.context
    if context < LEAST_CONTEXT:
        raise ValueError(f"{folder}: its model has a context of {context} tokens; this takes {LEAST_CONTEXT} or more")
    if len(parts[-1]) <= context:
        raise ValueError(f"{folder}: a part of the text held out has {len(parts[-1])} tokens, too few for {context}")
    n = PASSAGES_OF_A_PART
    return [by_context(lm.model, ids, n, np.random.default_rng(part)) for part, ids in enumerate(parts)]


def by_context(model, ids, passages: int, rng) -> dict:
    """Return the losses at the token after each of some passages, by how much of it is seen, and what follows.

    ids: (N,), the text, N > the model's context C. The passages are C tokens long, at random places.
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
    """Return how many of the nearest tokens are seen: 1, 2, 4, …, and an eighth, half and all of the context."""
    doubled = {2**k for k in range(context.bit_length())}
    return sorted(doubled | {context // 8, context // 2, context})


def losses_at_the_end(model, seen, target):
    """Return the cross-entropy (rows,) of target (rows,) after what is seen (rows, T), in nats."""
    found = []
    for start in range(0, len(seen), AT_ONCE):
        rows = slice(start, start + AT_ONCE)
        logits = model.predict(seen[rows], last_only=True)[:, 0]
        found.append(apply(cross_entropy, logits, target[rows], reduction="none")[0])
    return np.concatenate(found)


def can_be_copied(seen, target):
    """Return whether the target (rows,) stands in the farther half of what is seen (rows, T), and not in the nearer."""
    half = seen.shape[1] - seen.shape[1] // 2
    farther, nearer = ((part == target[:, None]).any(axis=1) for part in (seen[:, :half], seen[:, half:]))
    return farther & ~nearer


def draw(figure, measured) -> None:
    """Draw the loss against how much is seen, and what the far tokens are worth."""
    curve, bars = panels_of(figure, 2, width_ratios=(1.3, 1))
    lengths = measured[0]["lengths"]
    draw_curve(curve, lengths, [one["losses"] for one in measured], BLUE)
    curve.axvline(lengths[-1] // 8, color=INK, linewidth=0.8, linestyle=":")
    curve.set_xscale("log", base=2)
    curve.set_xticks(lengths, map(str, lengths))
    curve.minorticks_off()
    label(curve, "What the context gives (dotted: its eighth)", "nearest tokens seen", "loss at the next token (nats)")
    names = {"left_out": "left out", "shuffled": "in random\norder", "replaced": "from another\npassage"}
    draw_bars(bars, names.values(), [[one[name] for name in names] for one in measured], [BLUE, ORANGE, VERMILION])
    bars.axhline(0, color=INK, linewidth=0.8)
    label(bars, "The other seven eighths", "", "loss, more than with all (nats)")


EXPERIMENT = Experiment(
    question="Of all that the whole context gives, the nearest eighth alone already gives",
    outcomes=(
        Outcome(
            -np.inf,
            "at most half",
            "Far tokens are worth as much as near ones, or nearly: with more context the model goes on predicting "
            "better.",
        ),
        Outcome(
            0.5,
            "more than half, and at most nine tenths",
            "Near tokens do most of the work, and far ones still help: context is used, and each token less, the "
            "farther away it is.",
        ),
        Outcome(
            0.9,
            "more than nine tenths, or more than all",
            "What a model can see and what it uses are two things: nearly all of this context could be left away. It "
            "is room, and the model has to learn what to do with it.",
        ),
    ),
    numbers={
        "share": "the nearest eighth's share of what the whole context gives",
        "left_out": "what leaving the other seven eighths out costs (nats; negative: it helps)",
        "shuffled": "what their random order costs (nats)",
        "replaced": "what those of another passage in their place cost (nats)",
        "copied": "what the farther half saves where it alone holds the next token (nats)",
    },
    does_not_show="That long contexts are useless. This model is small and has learned for seconds: whoever trains "
    "larger ones for longer finds that they use more, and a finished run of your own can be asked. A manual asks for "
    "little from far away. And the mean loss says little of the few tokens that depend on one word far back: whether "
    "that is found when it is asked for is another experiment.",
    sources=(
        "Khandelwal, He, Qi and Jurafsky (2018), Sharp nearby, fuzzy far away: how neural language models use context, "
        "arXiv:1805.04623",
        "Sun, Krishna, Mattarella-Micke and Iyyer (2021), Do long-range language models actually use long-range "
        "context?, arXiv:2109.09115",
        "Liu et al. (2023), Lost in the middle: how language models use long contexts, arXiv:2307.03172",
    ),
    measure=measure,
    draw=draw,
    seconds=60,
    read=read,
    reads="train",
)
