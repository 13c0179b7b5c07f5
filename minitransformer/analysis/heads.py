"""What attention heads attend to, and three scores for what that is good for.

A **previous-token head** attends from each position to the one before; a **duplicate-token head** to earlier
occurrences of its own token. An **induction head** (Elhage et al., 2021; Olsson et al., 2022) looks for an earlier
place where the present token stood already, and attends to what followed it there: in A B … A it finds B, and the model
predicts that B follows again. It needs a previous-token head in a layer before, which has told each position what came
before it; so a model of one layer cannot do this, and two layers, once trained, can repeat a sequence of random tokens
that they have never seen.

    tokens    the  cat  sat  …  the          key          query
              ^^^  ^^^            |          the    <---  the      a duplicate-token head
              ─────────<──────────┘          cat    <---  the      the induction head

A score is a mean of weights, so it says where a head looks, and neither why nor what comes of it. Of sequences of n
tokens that come twice, a head that looks n − 1 back, whatever it sees there, is a perfect induction head. But its
weights on all distances sum to 1, so over sequences of N different lengths its score is at most 1/N: `head_scores`
takes sequences of many lengths for that reason. What a head moves from where it looks, and whether anything depends on
that, only its circuits (circuits.py) and its ablation (ablation.py) tell.
"""

from dataclasses import dataclass

import numpy as np

from minitransformer.analysis.data import fields_as_data
from minitransformer.analysis.hooks import record
from minitransformer.text import PATTERNS


def attention_weights(model, ids):
    """Return the weights (..., L, H, T, T) with which each head of each block attends, from ids (..., T) as they stand.

    weights[..., l, h, t, :] are those of query t over the keys 0 … t; they sum to 1. Recorded through the hooks
    `blocks.i.attention.weights`.
    """
    names = [f"blocks.{block}.attention.weights" for block in range(model.config.n_layers)]
    seen = record(model, ids, names)
    return np.stack([seen[name] for name in names], axis=-4)


@dataclass(frozen=True)
class HeadScores:
    """The three scores of every head, each (L, H), from 0 to 1."""

    previous_token: np.ndarray
    duplicate_token: np.ndarray
    induction: np.ndarray

    def to_dict(self) -> dict:
        """Return nested lists, as JSON can hold them."""
        return fields_as_data(self)


def head_scores(model, batches) -> HeadScores:
    """Return every head's scores, means over all rows of the batches, arrays of ids (B, T), each of a T of its own.

    Raises ValueError where a row repeats nothing.
    """
    previous, duplicate, induction = [], [], []
    for ids in batches:
        for weights, row in zip(attention_weights(model, ids), ids, strict=True):
            previous.append(previous_token_score(weights))
            duplicate.append(duplicate_token_score(weights, row))
            induction.append(induction_score(weights, row))
    means = (np.asarray(np.mean(scores, axis=0, dtype=np.float64)) for scores in (previous, duplicate, induction))
    return HeadScores(*means)


def random_sequences_twice(rng, longest: int, rows: int) -> list:
    """Return batches for head_scores, `rows` rows each: of each length from half of `longest` on, one.

    A row is of the pattern "induction" (see text/patterns.py): random symbols, all different, twice.
    """
    pattern = PATTERNS["induction"]
    return [pattern.sample(rng, rows, length)[0] for length in range(max(longest // 2, pattern.shortest), longest + 1)]


def previous_token_score(weights):
    """Return, for weights (..., T, T), the mean weight (...) that a query gives to the position before its own.

    1 is a perfect previous-token head. Raises ValueError for a sequence of one position, which has none before it.
    """
    if weights.shape[-1] < 2:
        raise ValueError("a previous-token score needs at least 2 positions")
    return np.diagonal(weights, offset=-1, axis1=-2, axis2=-1).mean(axis=-1)


def duplicate_token_score(weights, ids):
    """Return, for weights (..., T, T) over ids (T,), the mean weight (...) on earlier occurrences of the same token.

    The mean is over the queries whose token has occurred before; the query's own position is not earlier. 1 is a
    perfect duplicate-token head. Raises ValueError where no token occurs twice.
    """
    return mean_weight_on(duplicate_targets(ids), weights, "a duplicate-token score")


def induction_score(weights, ids):
    """Return, for weights (..., T, T) over ids (T,), the mean weight (...) on what followed the same token before.

    The mean is over the queries whose token has occurred before. 1 is a perfect induction head. Raises ValueError where
    no token occurs twice.
    """
    return mean_weight_on(induction_targets(ids), weights, "an induction score")


def mean_weight_on(targets, weights, score_name: str):
    """Return the mean, over the queries that have any targets (T, T), of their weights (..., T, T) on all of them."""
    queries = targets.any(axis=-1)
    if not queries.any():
        raise ValueError(f"{score_name} needs a token that occurs twice")
    return (weights * targets).sum(axis=-1)[..., queries].mean(axis=-1)


def duplicate_targets(ids):
    """Return a boolean matrix (T, T): whether key k is an earlier occurrence of query t's token."""
    ids = np.asarray(ids)
    return np.tril(ids[:, None] == ids[None, :], k=-1)


def induction_targets(ids):
    """Return a boolean matrix (T, T): whether key k follows an earlier occurrence of query t's token."""
    ids = np.asarray(ids)
    same = np.zeros((len(ids), len(ids)), bool)
    same[:, 1:] = ids[:, None] == ids[None, :-1]
    return np.tril(same)
