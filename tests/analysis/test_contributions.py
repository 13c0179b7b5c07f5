"""Contributions of positions: estimates against their definitions, and against ablation by a mask."""

import numpy as np
import pytest
from hypothesis import given
from repeated_letters import LETTERS
from strategies import configs, random_ids, random_model, rngs

from minitransformer.analysis import attention_rollout, attention_weights, position_contributions
from minitransformer.analysis.contributions import (
    ablated_log_probabilities,
    correlations,
    gradient_times_input,
    hide,
    value_weighted_attention,
)
from minitransformer.analysis.hooks import record, replaced_by
from minitransformer.layers.softmax import log_softmax


def log_p(model, ids, target):
    return log_softmax(model.predict(ids)[-1])[0][target]


@given(configs(mixers=None, sinks=False, windows=None), rngs)
def test_to_hide_a_position_is_to_run_the_model_under_a_mask_without_it(config, rng):
    model, ids, target = random_model(config, rng), random_ids(config, rng, config.context), 1
    T = config.context
    found = ablated_log_probabilities(model, ids, target)
    for position in range(T - 1):
        mask = np.tri(T, dtype=bool)
        mask[position + 1 :, position] = False
        model.masks_and_positions = lambda ids, start, mask=mask: ([mask] * len(model.blocks), np.arange(T))
        assert found[position] == pytest.approx(log_p(model, ids, target), abs=1e-9)
        del model.masks_and_positions
    with model.hooked({"embedding": replaced_by(model.embedding.weight.data.mean(axis=0), T - 1)}):
        assert found[-1] == pytest.approx(log_p(model, ids, target), abs=1e-9)


@given(configs(), rngs)
def test_to_blank_a_position_is_to_give_its_token_the_mean_of_all_embeddings(config, rng):
    model, ids = random_model(config, rng), random_ids(config, rng, config.context)
    found = ablated_log_probabilities(model, ids, 1, "blank")
    for position in range(config.context):
        with model.hooked({"embedding": replaced_by(model.embedding.weight.data.mean(axis=0), position)}):
            assert found[position] == pytest.approx(log_p(model, ids, 1), abs=1e-9)


def test_a_query_whose_every_weight_is_hidden_gets_zeros():
    weights = np.array([[[[1.0, 0.0], [1.0, 0.0]]]])
    hidden, backward = hide(np.array([0]))(weights, lambda dy: dy)
    assert hidden.tolist() == [[[[1.0, 0.0], [0.0, 0.0]]]]
    assert backward(np.ones_like(weights))[0, 0, 1].tolist() == [0, 0]


@given(configs(mixers=None), rngs)
def test_what_is_moved_from_each_position_adds_up_to_what_attention_writes(config, rng):
    """By a loop over slices of W_o; the vectors, whose lengths are reported, sum to the layer's output at the end."""
    model, ids = random_model(config, rng), random_ids(config, rng, config.context)
    found = value_weighted_attention(model, ids, attention_weights(model, ids))
    assert found.shape == (config.n_layers, config.n_heads, config.context)
    D, group = config.head_width, config.n_heads // config.kv_heads
    for i, block in enumerate(model.blocks):
        names = [f"blocks.{i}.attention{name}" for name in ("", ".weights", ".v")]
        seen = record(model, ids, names)
        attention, weights, v = (seen[name] for name in names)
        total = np.zeros(config.d_model) if block.attention.w_o.bias is None else block.attention.w_o.bias.data.copy()
        for head in range(config.n_heads):
            rows = block.attention.w_o.weight.data[head * D : (head + 1) * D]
            for key in range(config.context):
                moved = weights[head, -1, key] * v[head // group, key] @ rows
                total += moved
                assert found[i, head, key] == pytest.approx(np.sqrt((moved**2).sum()), abs=1e-10)
        np.testing.assert_allclose(total, attention[-1], atol=1e-10)


@given(configs(feed_forward="gelu"), rngs)
def test_gradient_times_input_is_the_slope_as_an_embedding_is_scaled(config, rng):
    model, ids = random_model(config, rng), random_ids(config, rng, config.context)
    found, h = gradient_times_input(model, ids, 1), 1e-5
    embedded = record(model, ids, ["embedding"])["embedding"]
    for position in range(config.context):

        def scaled(factor, position=position):
            with model.hooked({"embedding": replaced_by(factor * embedded[position], position)}):
                return log_p(model, ids, 1)

        assert found[position] == pytest.approx((scaled(1 + h) - scaled(1 - h)) / (2 * h), rel=1e-4, abs=1e-5)


@given(rngs)
def test_rollout_is_a_walk_down_the_layers_that_stays_with_probability_one_half(rng):
    layers, heads, T = rng.integers(1, 4, 3)
    weights = np.tril(rng.random((layers, heads, T, T)))
    weights /= weights.sum(axis=-1, keepdims=True)
    share = np.eye(T)[-1]  # of a walker that begins at the last position, above the last layer
    for layer in reversed(range(layers)):
        below = np.zeros(T)
        for i in range(T):
            below[i] += share[i] / 2
            for j in range(T):
                below[j] += share[i] / 2 * sum(weights[layer, h, i, j] for h in range(heads)) / heads
        share = below
    found = attention_rollout(weights)
    np.testing.assert_allclose(found[-1], share, atol=1e-12)
    np.testing.assert_allclose(found.sum(axis=-1), 1)
    assert (found[np.triu_indices(T, 1)] == 0).all()


def test_correlations_are_those_of_scipy_and_nan_where_there_are_none(rng):
    from scipy import stats

    x = rng.integers(0, 5, 20).astype(float)
    y = x + rng.normal(size=20)
    assert correlations(x, y)["pearson"] == pytest.approx(stats.pearsonr(x, y)[0])
    assert correlations(x, y)["spearman"] == pytest.approx(stats.spearmanr(x, y)[0])
    for nothing in [(np.ones(5), np.arange(5)), (np.arange(5), np.ones(5)), (np.arange(2), np.arange(2))]:
        assert np.isnan(list(correlations(*nothing).values())).all()
    assert correlations(np.arange(3), -np.arange(3)) == pytest.approx({"pearson": -1, "spearman": -1})


def repeated(rng, length=8, more=4):
    """Return a row of different letters and the first `more` of them again, and the letter that has to follow."""
    letters = rng.permutation(len(LETTERS))[:length]
    return np.concatenate([letters, letters[:more]]), letters[more]


def test_on_a_trained_model_the_place_that_is_copied_from_matters_most(repeating_model, rng):
    """In A B … A, the next token is copied from B, which the earlier A locates; hiding either prevents it."""
    lost = []
    for _ in range(20):
        ids, target = repeated(rng)
        found = position_contributions(repeating_model.model, ids, target)
        source = int(np.flatnonzero(ids == target)[0])
        assert found.ablation[:-1].argmax() in (source, source - 1)
        lost.append(found.ablation[[source - 1, source]])
    assert (np.mean(lost, axis=0) > 3).all()
