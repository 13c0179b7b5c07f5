"""The experiment on the belief "More context is always used". long_context.md describes it."""

import numpy as np

from minitransformer.experiments.misconceptions.form import Experiment, Panel
from minitransformer.experiments.misconceptions.models import manual, reader
from minitransformer.losses import cross_entropy
from minitransformer.module import apply

CONTEXT, PASSAGES = 128, 1000
AT_ONCE = 100  # passages per forward pass


def measure(seed: int) -> dict:
    model, ids = reader(seed, CONTEXT).model, manual()[1].val_ids
    return by_context(model, ids, np.random.default_rng((seed, 1)))


def by_context(model, ids, rng) -> dict:
    """Measure the loss at the next token after random passages of `ids` (N,), as a function of context length."""
    C = model.config.context
    starts = rng.integers(0, len(ids) - C, (PASSAGES, 1))
    drawn = ids[starts + np.arange(C + 1)].astype(np.int64)
    seen, target = drawn[:, :-1], drawn[:, -1]
    lengths = sorted({2**k for k in range(C.bit_length())} | {C // 8, C // 2, C})
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
        "loss": list(means.values()),
    }


def losses_at_the_end(model, seen, target):
    """Return the cross-entropy (rows,) of `target` (rows,) in nats, given the tokens `seen` (rows, T)."""
    found = []
    for start in range(0, len(seen), AT_ONCE):
        rows = slice(start, start + AT_ONCE)
        logits = model.predict(seen[rows], last_only=True)[:, 0]
        found.append(apply(cross_entropy, logits, target[rows], reduction="none")[0])
    return np.concatenate(found)


def can_be_copied(seen, target):
    """Return a boolean array (rows,), True if the target occurs only in the first half of `seen` (rows, T)."""
    half = seen.shape[1] - seen.shape[1] // 2
    farther, nearer = ((part == target[:, None]).any(axis=1) for part in (seen[:, :half], seen[:, half:]))
    return farther & ~nearer


FAR, INCREASE = ("left_out", "shuffled", "replaced"), "increase of the loss (nats)"
PANELS = [
    Panel(
        "Loss by context", ("loss",), "nearest tokens seen", "loss at the next token (nats)", xs="lengths", width=1.3
    ),
    Panel("The farther seven eighths", FAR, y=INCREASE, level=0),
]
EXPERIMENT = Experiment(measure, PANELS, seconds=60)
