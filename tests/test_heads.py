"""What attention heads attend to, and the scores of it."""

import numpy as np
import pytest
from hypothesis import given
from strategies import configs, random_ids, random_model, rngs

from minitransformer import Config
from minitransformer.analysis import attention_weights, induction_score, previous_token_score
from minitransformer.analysis.heads import induction_targets


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
