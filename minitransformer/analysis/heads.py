"""Attention weights, and three scores of the patterns that attention heads form.

A **previous-token head** attends from each position to the one before. A **duplicate-token head** attends to earlier
occurrences of the same token. An **induction head** (Elhage et al., 2021; Olsson et al., 2022) finds an earlier
occurrence of the current token and attends to the token after it: in A B … A it finds B, and the model predicts that B
follows again. An induction head needs a previous-token head in an earlier layer, so a model with one layer has none.

    tokens    the  cat  sat  …  the          key          query
              ^^^  ^^^            |          the    <---  the      a duplicate-token head
              ─────────<──────────┘          cat    <---  the      the induction head

A score is a mean of attention weights, so it shows only where a head attends. In a sequence of n tokens repeated once,
a head that always attends n − 1 positions back has the score of a perfect induction head. If the weight of such a head
depends only on the distance, its mean score over sequences of N different lengths is at most 1/N. For this reason,
`head_scores` takes sequences of many lengths.

**Rollout** (Abnar and Zuidema, 2020) follows attention through the layers. Let Ā_l be the mean weights of layer l's
heads. If the residual path contributes half of the stream at each position, R[i, j] is the share of token j in the
stream at position i:

    A_l = ½ Ā_l + ½ I,      R = A_L ⋯ A_2 A_1         (1)

Rollout uses only the weights. It ignores values, W_o, feed-forward layers and the true size of the residual path.
"""

from dataclasses import dataclass

import numpy as np

from minitransformer.analysis.hooks import record_in_each_block
from minitransformer.system.data import Data
from minitransformer.system.validation import check_int
from minitransformer.text import PATTERNS


def attention_weights(model, ids):
    """Return the attention weights (..., L, H, T, T) of every head for ids (..., T). Each row sums to 1."""
    return record_in_each_block(model, ids, "attention.weights", axis=-4)


def attention_rollout(weights):
    """Return the rollout R (T, T) of attention weights (L, H, T, T)."""
    identity = np.eye(weights.shape[-1], dtype=weights.dtype)
    rollout = identity
    for layer in weights.mean(axis=1):
        rollout = (0.5 * layer + 0.5 * identity) @ rollout  # (1)
    return rollout


@dataclass(frozen=True)
class HeadScores(Data):
    """Three scores of every head, each an array (L, H) of values from 0 to 1."""

    previous_token: np.ndarray
    duplicate_token: np.ndarray
    induction: np.ndarray


def head_scores(model, batches) -> HeadScores:
    """Return the scores of every head, averaged over all rows of several batches.

    A batch is an array of ids (B, T), and T differs between the batches.
    """
    scores = [
        (previous_token_score(weights), duplicate_token_score(weights, row), induction_score(weights, row))
        for ids in batches
        for weights, row in zip(attention_weights(model, ids), ids, strict=True)
    ]
    return HeadScores(*np.asarray(np.mean(scores, axis=0, dtype=np.float64)))


def random_sequences_twice(rng, longest: int, rows: int) -> list:
    """Return batches of repeated random sequences: `rows` of each length from longest // 2 to longest."""
    pattern = PATTERNS["induction"]
    return [pattern.sample(rng, rows, length)[0] for length in range(max(longest // 2, pattern.shortest), longest + 1)]


def previous_token_score(weights):
    """Return the mean attention (...) to the previous position, for weights (..., T, T) with T ≥ 2."""
    check_int("the number of positions", weights.shape[-1], minimum=2)
    return np.diagonal(weights, offset=-1, axis1=-2, axis2=-1).mean(axis=-1)


def duplicate_token_score(weights, ids):
    """Return the mean attention (...) of weights (..., T, T) to earlier occurrences of the query's token in ids (T,).

    Only queries whose token has occurred before are counted. Raises ValueError if there are no such queries.
    """
    ids = np.asarray(ids)
    return mean_weight_on(np.tril(ids[:, None] == ids[None, :], k=-1), weights)


def induction_score(weights, ids):
    """Return the mean attention (...) to tokens that have followed the query's token before.

    Arguments and exceptions are those of duplicate_token_score.
    """
    return mean_weight_on(induction_targets(ids), weights)


def mean_weight_on(targets, weights):
    queries = targets.any(axis=-1)
    if not queries.any():
        raise ValueError("the score requires ids in which a token occurs twice")
    return (weights * targets).sum(axis=-1)[..., queries].mean(axis=-1)


def induction_targets(ids):
    """Return a boolean array (T, T), True at [t, k] if key k follows an earlier occurrence of query t's token."""
    ids = np.asarray(ids)
    same = np.zeros((len(ids), len(ids)), bool)
    same[:, 1:] = ids[:, None] == ids[None, :-1]
    return np.tril(same)
