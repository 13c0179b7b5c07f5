"""The residual stream taken apart: contributions that add up exactly."""

import numpy as np
import pytest
from hypothesis import given, settings
from strategies import configs, random_ids, random_model, randomized, rngs

from minitransformer import Config, Transformer
from minitransformer.analysis import direct_contributions
from minitransformer.analysis.hooks import record
from minitransformer.analysis.residual import residual_parts
from minitransformer.layers.lora import add_adapters
from minitransformer.layers.positions import POSITIONS


@given(configs(logit_cap=None, block="pre_norm"), rngs)
def test_direct_contributions_sum_to_the_logit_that_the_model_computes(config, rng):
    model, ids = random_model(config, rng), random_ids(config, rng, config.context)
    logits = model.predict(ids)[-1]
    found = direct_contributions(model, ids, 0)
    assert found.total == pytest.approx(logits[0] - logits.mean(), abs=1e-9)
    assert found.values.sum() == pytest.approx(found.total, abs=1e-9)


@given(configs(logit_cap=None, block="pre_norm"), rngs)
@settings(max_examples=20)
def test_they_do_too_where_low_rank_adapters_are_part_of_the_maps(config, rng):
    model, ids = Transformer(config), random_ids(config, rng, config.context)
    add_adapters(model, ["*.w_o", "*.w_q"], rank=1, alpha=2.0)
    randomized(model, rng)
    found = direct_contributions(model, ids, 0)
    logits = model.predict(ids)[-1]
    assert found.total == pytest.approx(logits[0] - logits.mean(), abs=1e-9)
    assert found.values.sum() == pytest.approx(found.total, abs=1e-9)


@given(configs(mixers=None, block="pre_norm"), rngs)
def test_each_part_is_what_a_loop_over_heads_and_the_recorded_activations_say(config, rng):
    model, ids = random_model(config, rng), random_ids(config, rng, config.context)
    ids = ids[:2]
    components, parts = residual_parts(model, ids)
    found = dict(zip(components, parts, strict=True))
    expected = {"token": model.embedding.weight.data[ids[1]]}
    if POSITIONS[config.positions].table is not None:
        expected["position"] = model.positional_embedding(np.arange(2))[0][1]
    names = ["heads", "weights", "v"]
    for i, block in enumerate(model.blocks):
        seen = record(model, ids, [f"blocks.{i}.attention.{name}" for name in names] + [f"blocks.{i}.feed_forward"])
        weights, v = seen[f"blocks.{i}.attention.weights"], seen[f"blocks.{i}.attention.v"]
        D, group = config.head_width, config.n_heads // config.kv_heads
        for head in range(config.n_heads):
            mixed = sum(weights[head, 1, key] * v[head // group, key] for key in range(2))
            expected[f"head {i}.{head}"] = mixed @ block.attention.w_o.weight.data[head * D : (head + 1) * D]
        bias = block.attention.w_o.bias
        expected[f"attention bias {i}"] = np.zeros(config.d_model) if bias is None else bias.data
        expected[f"feed-forward {i}"] = seen[f"blocks.{i}.feed_forward"][1]
    assert list(found) == list(expected)
    for name, part in expected.items():
        np.testing.assert_allclose(found[name], part, atol=1e-12, err_msg=name)
    last = f"blocks.{config.n_layers - 1}"
    np.testing.assert_allclose(parts.sum(axis=0), record(model, ids, [last])[last][1], atol=1e-10)


@pytest.mark.parametrize("norm", ["layer_norm", "rms_norm"])
def test_a_stream_that_is_constant_or_zero_has_contributions_too(norm, rng):
    config = Config(vocab_size=5, context=4, d_model=8, n_heads=2, norm=norm, dtype="float64")
    model = random_model(config, rng)
    for parameter in model.blocks[0].parameters() + model.blocks[1].parameters():
        parameter.data = np.zeros_like(parameter.data)
    for table in (model.embedding, model.positional_embedding):
        table.weight.data = np.full_like(table.weight.data, 0.5 if norm == "layer_norm" else 0)
    found = direct_contributions(model, np.array([1, 2]), 3)
    assert np.isfinite(found.values).all()
    assert found.values.sum() == pytest.approx(found.total, abs=1e-9)


def test_a_token_that_is_not_there_is_refused(rng):
    model = random_model(Config(vocab_size=9, context=6, d_model=8, n_heads=2, dtype="float64"), rng)
    with pytest.raises(ValueError, match="token must be at most 8, not 9"):
        direct_contributions(model, np.array([1, 2, 3]), 9)
