"""Attention weights of heads, and the scores of their patterns."""

import numpy as np
import pytest
from hypothesis import given
from strategies import CLASSIC, configs, random_ids, random_model, rngs

from minitransformer.analysis import attention_weights, duplicate_token_score, induction_score, previous_token_score
from minitransformer.analysis.heads import random_sequences_twice
from minitransformer.analysis.hooks import record


@given(configs(**CLASSIC), rngs)
def test_the_weights_are_distributions_over_the_past_and_agree_with_queries_and_keys(config, rng):
    model, ids = random_model(config, rng), random_ids(config, rng, 2, config.context)
    weights = attention_weights(model, ids)
    T = config.context
    assert weights.shape == (2, config.n_layers, config.n_heads, T, T)
    assert np.allclose(weights.sum(axis=-1), 1) and (weights[..., ~np.tri(T, dtype=bool)] == 0).all()
    last = f"blocks.{config.n_layers - 1}.attention."
    q, k = record(model, ids[1], [f"{last}q", f"{last}k"]).values()
    k = np.repeat(k, config.n_heads // config.kv_heads, axis=0)
    scores = np.where(np.tri(T, dtype=bool), q @ k.swapaxes(-1, -2) / np.sqrt(config.head_width), -np.inf)
    assert np.allclose(weights[1, -1], np.exp(scores) / np.exp(scores).sum(axis=-1, keepdims=True))


@given(rngs)
def test_the_scores_equal_loops_over_queries(rng):
    T = int(rng.integers(2, 12))
    ids = rng.integers(0, 4, T)
    ids[-1] = ids[0]
    weights = rng.dirichlet(np.ones(T), size=(2, 3, T))
    previous = sum(weights[..., t, t - 1] for t in range(1, T)) / (T - 1)
    assert np.allclose(previous_token_score(weights), previous)
    duplicate, induction, queries = 0, 0, 0
    for t in range(T):
        earlier = [k for k in range(t) if ids[k] == ids[t]]
        duplicate = duplicate + sum(weights[..., t, k] for k in earlier)
        induction = induction + sum(weights[..., t, k + 1] for k in earlier)
        queries += bool(earlier)
    assert np.allclose(duplicate_token_score(weights, ids), duplicate / queries)
    assert np.allclose(induction_score(weights, ids), induction / queries)


def test_sequences_without_a_score_are_refused():
    with pytest.raises(ValueError, match="at least 2"):
        previous_token_score(np.ones((1, 1)))
    for score in (induction_score, duplicate_token_score):
        with pytest.raises(ValueError, match="a token occurs twice"):
            score(np.ones((3, 3)), [1, 2, 3])


def test_a_head_that_looks_a_fixed_distance_back_scores_at_most_one_over_the_number_of_lengths(rng):
    batches = random_sequences_twice(rng, 16, 2)
    assert [batch.shape for batch in batches] == [(2, 2 * length) for length in range(8, 17)]
    for distance in range(20):
        scores = [induction_score(np.eye(len(row), k=-distance), row) for batch in batches for row in batch]
        assert np.mean(scores) <= 1 / 9 + 1e-12
        assert max(scores) == (1 if 7 <= distance <= 15 else 0)
