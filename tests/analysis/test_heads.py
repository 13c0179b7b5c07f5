"""What attention heads attend to, and the scores of it."""

import numpy as np
import pytest
from hypothesis import given
from strategies import configs, random_ids, random_model, rngs

from minitransformer import Config
from minitransformer.analysis import (
    attention_weights,
    duplicate_token_score,
    head_scores,
    induction_score,
    previous_token_score,
)
from minitransformer.analysis.heads import duplicate_targets, induction_targets, random_sequences_twice


@given(configs(), rngs)
def test_the_weights_are_distributions_over_the_past_and_agree_with_queries_and_keys(config, rng):
    model, ids = random_model(config, rng), random_ids(config, rng, config.context)
    weights = attention_weights(model, ids)
    T = config.context
    assert weights.shape == (config.n_layers, config.n_heads, T, T)
    assert np.allclose(weights.sum(axis=-1), 1) and (weights[..., ~np.tri(T, dtype=bool)] == 0).all()
    seen = {}

    def keep(name):
        return lambda y, backward: (seen.setdefault(name, y), backward)

    last = f"blocks.{config.n_layers - 1}.attention."
    with model.hooked({f"{last}{name}": keep(name) for name in "qk"}):
        model.predict(ids)
    for head in range(config.n_heads):
        q, k = seen["q"][head], seen["k"][head // (config.n_heads // config.kv_heads)]
        scores = np.exp(np.where(np.tri(T, dtype=bool), q @ k.T / np.sqrt(config.head_width), -np.inf))
        assert np.allclose(weights[-1, head], scores / scores.sum(axis=-1, keepdims=True))


def test_looking_leaves_no_hook_behind(rng):
    model = random_model(Config(vocab_size=5, context=4, d_model=8, n_heads=2), rng)
    attention_weights(model, np.array([1, 2]))
    assert not any(module.is_hooked for _, module in model.named_modules())


@given(rngs)
def test_the_scores_equal_loops_over_queries(rng):
    T = int(rng.integers(2, 12))
    ids = rng.integers(0, 4, T)
    ids[-1] = ids[0]
    weights = rng.dirichlet(np.ones(T), size=(2, 3, T))
    previous = sum(weights[..., t, t - 1] for t in range(1, T)) / (T - 1)
    assert np.allclose(previous_token_score(weights), previous)
    total, queries = 0, 0
    for t in range(T):
        keys = [k for k in range(1, t + 1) if ids[k - 1] == ids[t]]
        total = total + sum(weights[..., t, k] for k in keys)
        queries += bool(keys)
    assert np.allclose(induction_score(weights, ids), total / queries)


def test_perfect_heads_score_one_and_others_zero():
    ids = np.array([7, 3, 9, 4, 3, 9, 4])
    induction = np.zeros((7, 7))
    induction[4, 2] = induction[5, 3] = induction[6, 4] = 1  # to what followed 3, 9 and 4 before
    induction[:4, 0] = 1
    previous = np.eye(7, k=-1)
    assert induction_score(np.stack([induction, previous]), ids).tolist() == [1, 0]
    assert previous_token_score(np.stack([induction, previous])).tolist() == [1 / 6, 1]


def test_only_what_followed_an_earlier_occurrence_counts():
    assert np.argwhere(induction_targets([5, 5, 6, 5])).tolist() == [[1, 1], [3, 1], [3, 2]]


def test_what_cannot_be_scored_is_refused():
    with pytest.raises(ValueError, match="a previous-token score needs at least 2 positions"):
        previous_token_score(np.ones((1, 1)))
    with pytest.raises(ValueError, match="an induction score needs a token that occurs twice"):
        induction_score(np.ones((3, 3)), [1, 2, 3])


@given(rngs)
def test_the_duplicate_token_score_equals_a_loop(rng):
    T = int(rng.integers(2, 12))
    ids = rng.integers(0, 4, T)
    ids[-1] = ids[0]
    weights = rng.dirichlet(np.ones(T), size=(2, 3, T))
    total, queries = 0, 0
    for t in range(T):
        keys = [k for k in range(t) if ids[k] == ids[t]]
        total = total + sum(weights[..., t, k] for k in keys)
        queries += bool(keys)
    assert np.allclose(duplicate_token_score(weights, ids), total / queries)


def test_a_tokens_own_position_is_no_duplicate():
    assert np.argwhere(duplicate_targets([5, 6, 5, 5])).tolist() == [[2, 0], [3, 0], [3, 2]]
    assert duplicate_token_score(np.eye(3), [4, 4, 4]) == 0
    with pytest.raises(ValueError, match="a duplicate-token score needs a token that occurs twice"):
        duplicate_token_score(np.eye(3), [1, 2, 3])


@given(configs(), rngs)
def test_the_weights_of_a_batch_are_those_of_its_rows(config, rng):
    model, ids = random_model(config, rng), random_ids(config, rng, 3, config.context)
    rows = [attention_weights(model, row) for row in ids]
    assert np.allclose(attention_weights(model, ids), rows)


def test_the_scores_of_a_model_are_means_over_all_rows_of_batches_of_several_lengths(rng):
    model = random_model(Config(vocab_size=4, context=9, d_model=8, n_heads=2, n_layers=2), rng)
    batches = [rng.integers(0, 4, (rows, T)) for rows, T in ((1, 6), (3, 9))]
    scores = head_scores(model, batches)
    rows = [row for batch in batches for row in batch]
    weights = [attention_weights(model, row) for row in rows]
    pairs = list(zip(weights, rows, strict=True))
    assert np.allclose(scores.previous_token, np.mean([previous_token_score(w) for w in weights], axis=0))
    assert np.allclose(scores.duplicate_token, np.mean([duplicate_token_score(w, row) for w, row in pairs], axis=0))
    assert np.allclose(scores.induction, np.mean([induction_score(w, row) for w, row in pairs], axis=0))
    assert scores.to_dict()["induction"] == scores.induction.tolist()


def test_a_head_that_looks_a_fixed_distance_back_scores_at_most_one_over_the_number_of_lengths(rng):
    batches = random_sequences_twice(rng, 16, 2)
    assert [batch.shape for batch in batches] == [(2, 2 * length) for length in range(8, 17)]
    for distance in range(20):
        looking = [np.eye(batch.shape[1], k=-distance) for batch in batches]
        scores = [
            induction_score(weights, row) for weights, batch in zip(looking, batches, strict=True) for row in batch
        ]
        assert np.mean(scores) <= 1 / 9 + 1e-12
        assert max(scores) == (1 if 7 <= distance <= 15 else 0)
