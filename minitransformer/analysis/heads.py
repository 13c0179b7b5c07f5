"""What attention heads attend to, and two scores for what that is good for.

A **previous-token head** attends from each position to the one before. An **induction head** (Elhage et al., 2021;
Olsson et al., 2022) looks for an earlier place where the present token stood already, and attends to what followed it
there: in A B … A it finds B, and the model predicts that B follows again. It needs a previous-token head in a layer
before, which has told each position what came before it; so a model of one layer cannot do this, and two layers,
once trained, can repeat a sequence of random tokens that they have never seen.

    tokens    the  cat  sat  …  the          key          query
              ^^^  ^^^            |          cat    <---  the      the induction head
              ─────────<──────────┘
"""

import numpy as np

from minitransformer.analysis.hooks import record


def attention_weights(model, ids):
    """Return the weights (L, H, T, T) with which each head of each block attends, from ids (T,) as they stand.

    weights[l, h, t] are those of query t over the keys 0 … t; they sum to 1. Recorded through the hooks
    `blocks.i.attention.weights`.
    """
    names = [f"blocks.{block}.attention.weights" for block in range(model.config.n_layers)]
    seen = record(model, ids, names)
    return np.stack([seen[name] for name in names])


def previous_token_score(weights):
    """Return, for weights (..., T, T), the mean weight (...) that a query gives to the position before its own.

    1 is a perfect previous-token head. Raises ValueError for a sequence of one position, which has none before it.
    """
    if weights.shape[-1] < 2:
        raise ValueError("a previous-token score needs at least 2 positions")
    return np.diagonal(weights, offset=-1, axis1=-2, axis2=-1).mean(axis=-1)


def induction_score(weights, ids):
    """Return, for weights (..., T, T) over ids (T,), the mean weight (...) on what followed the same token before.

    The mean is over the queries whose token has occurred before. 1 is a perfect induction head. Raises ValueError where
    no token occurs twice.
    """
    targets = induction_targets(ids)
    queries = targets.any(axis=-1)
    if not queries.any():
        raise ValueError("an induction score needs a token that occurs twice")
    return (weights * targets).sum(axis=-1)[..., queries].mean(axis=-1)


def induction_targets(ids):
    """Return a boolean matrix (T, T): whether key k follows an earlier occurrence of query t's token."""
    ids = np.asarray(ids)
    same = np.zeros((len(ids), len(ids)), bool)
    same[:, 1:] = ids[:, None] == ids[None, :-1]
    return np.tril(same)
