"""Batches of windows from a long sequence of ids.

A language model predicts the next token at every position, so one window of T + 1 ids gives T training examples:

    window    the  cat  sat  down
    inputs    the  cat  sat            position t sees inputs 0 … t
    targets   cat  sat  down           and has to predict target t
"""

import numpy as np

IGNORE_INDEX = -100  # cross_entropy ignores positions with this target, as in PyTorch


def random_batch(ids, batch_size, context, rng):
    """Draw random windows of ids. Return inputs and targets, each (batch_size, context) int64.

    ids   (N,) of any integer dtype, with N > context
    rng   a numpy Generator; the same state gives the same batch

    The start of each window is uniformly random. Raises ValueError if `ids` is shorter than context + 1.
    """
    windows = ids[random_starts(ids, batch_size, context, rng) + np.arange(context + 1)].astype(np.int64)
    return windows[:, :-1], windows[:, 1:]


def random_starts(ids, batch_size, context, rng):
    check_length(ids, context)
    return rng.integers(0, len(ids) - context, size=(batch_size, 1))


def sequential_blocks(ids, context, batch_size):
    """Yield batches of inputs and targets in order, each (≤ batch_size, context) int64.

    Every id except the first is a target once. The last batch is padded on the right with inputs of 0 and targets of
    IGNORE_INDEX. Raises ValueError for fewer than two ids.
    """
    if len(ids) < 2:
        raise ValueError(f"ids must have at least 2 tokens, not {len(ids)}")
    stride = batch_size * context
    for start in range(0, len(ids) - 1, stride):
        stretch = ids[start : start + stride + 1]
        count = len(stretch) - 1
        rows = -(-count // context)
        inputs = np.zeros(rows * context, np.int64)
        targets = np.full(rows * context, IGNORE_INDEX, np.int64)
        inputs[:count] = stretch[:-1]
        targets[:count] = stretch[1:]
        yield inputs.reshape(rows, context), targets.reshape(rows, context)


def check_length(ids, context, name="the text"):
    if len(ids) <= context:
        raise ValueError(f"{name} must have at least {context + 1} tokens for a context of {context}, not {len(ids)}")
