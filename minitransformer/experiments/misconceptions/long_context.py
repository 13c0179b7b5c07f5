"""More context is always used: measured as long_context.md describes."""

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
    """Return the results for the model of a finished run, on parts of its held-out text.

    Exceptions of finished_run are passed on. Raises ValueError if the context or the text is too short.
    """
    lm, parts = finished_run(folder)
    context = lm.model.config.context
    if context < LEAST_CONTEXT:
        raise ValueError(f"{folder}: the model's context must be at least {LEAST_CONTEXT} tokens, not {context}")
    if len(parts[-1]) <= context:
        raise ValueError(
            f"{folder}: each part of the held-out text must have more than {context} tokens, not {len(parts[-1])}"
        )
    n = PASSAGES_OF_A_PART
    return [by_context(lm.model, ids, n, np.random.default_rng(part)) for part, ids in enumerate(parts)]


def by_context(model, ids, passages: int, rng) -> dict:
    """Return the mean loss at the token after a passage, for each number of tokens seen, and the experiment's numbers.

    The passages have as many tokens as the model's context, and start at random positions of `ids` (N,). N must exceed
    the context.
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
    """Return the numbers of tokens to show: 1, 2, 4, …, and an eighth, half and all of the context."""
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
    """Return a boolean array (rows,), True if only the farther half of seen (rows, T) contains the target."""
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
