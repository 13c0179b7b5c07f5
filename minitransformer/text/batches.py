"""From a long row of ids to the batches that a model trains on.

A language model predicts, at every position, the next token. So one window of T + 1 ids is T exercises at once:

    window    the  cat  sat  down
    inputs    the  cat  sat            position t sees inputs 0 … t
    targets   cat  sat  down           and is asked for target t
"""

import numpy as np

IGNORE_INDEX = -100  # the target that cross_entropy leaves out, by PyTorch's convention


def random_batch(ids, batch_size, context, rng):
    """Return (inputs, targets), each (batch_size, context) int64: windows of `ids` at uniformly random places.

    ids: (N,) of any integer dtype, N > context. rng: a numpy Generator; the same state gives the same batch.
    Raises ValueError if `ids` is too short for one window of context + 1.
    """
    check_length(ids, context)
    starts = rng.integers(0, len(ids) - context, size=(batch_size, 1))
    positions = starts + np.arange(context)
    return ids[positions].astype(np.int64), ids[positions + 1].astype(np.int64)


def sequential_blocks(ids, context, batch_size):
    """Yield (inputs, targets), each (≤ batch_size, context) int64, that ask for every id but the first exactly once.

    Block after block in order; the last is filled up on the right with inputs of 0 and targets of IGNORE_INDEX, which
    count for nothing: a causal model's earlier positions do not see them.
    Raises ValueError for fewer than two ids, which leave nothing to predict.
    """
    if len(ids) < 2:
        raise ValueError(f"{len(ids)} tokens leave nothing to predict: at least 2 are needed")
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
    """Raise ValueError unless `ids` holds at least one window of context + 1 tokens."""
    if len(ids) <= context:
        raise ValueError(f"{name} has {len(ids)} tokens, but a context of {context} needs at least {context + 1}")
