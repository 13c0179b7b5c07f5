"""Activation patching and attribution patching."""

import json

import numpy as np
import pytest
from hypothesis import given
from strategies import configs, random_ids, random_model, rngs

from minitransformer import Config
from minitransformer.analysis import patch_prompts
from minitransformer.analysis.hooks import record, replaced_by
from minitransformer.analysis.patching import (
    attribution_effects,
    attributions,
    logit_difference,
    patch_effects,
    patched_metric,
    site,
)
from minitransformer.analysis.patching_maps import map_patches

NAMES = ["embedding", "ln_final"] + [
    f"blocks.0{name}"
    for name in (
        *("", ".norm1", ".attention", ".residual_mid", ".feed_forward"),
        *(f".attention.{name}" for name in ("q", "k", "v", "weights", "heads")),
    )
]
METRIC = logit_difference(0, 1)


def metric_of(model, ids):
    return float(METRIC(model.predict(ids)[-1])[0])


def two_prompts(config, rng):
    return random_model(config, rng), *random_ids(config, rng, 2, config.context)


@given(configs(vocab_size=9, mixers=None), rngs)
def test_the_last_position_of_the_last_layer_carries_all_and_every_other_nothing(config, rng):
    model, clean, corrupted = two_prompts(config, rng)
    clean[-1] = (corrupted[-1] + 1) % 9
    patches = map_patches(model, config.context)["residual"][-config.context :]
    effects = patch_effects(model, clean, corrupted, patches, METRIC)
    np.testing.assert_allclose(effects, np.eye(config.context)[-1], atol=1e-7)
    slopes = attribution_effects(model, clean, corrupted, patches, METRIC)
    assert (slopes[:-1] == 0).all()


@pytest.mark.parametrize("tokens_at_once", [17, 1024])
@given(config=configs(vocab_size=9, mixers=None), rng=rngs)
def test_each_effect_is_what_one_hook_at_that_place_does(tokens_at_once, config, rng):
    """Against a loop over single runs, for every kind of activation, whole, at a position, and at a head."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("minitransformer.analysis.patching.TOKENS_AT_ONCE", tokens_at_once)
        compare_with_single_hooks(config, rng)


def compare_with_single_hooks(config, rng):
    model, clean, corrupted = two_prompts(config, rng)
    clean[-1] = (corrupted[-1] + 1) % 9
    t, head = int(rng.integers(config.context)), int(rng.integers(config.kv_heads))
    values = record(model, clean, NAMES)
    patches, wheres = [], []
    for name in NAMES:
        patches += [{name: ...}, {name: site(name, t)}]
        wheres += [(name, ...), (name, (..., t, slice(None)))]
        if name.rpartition(".")[2] in ("q", "k", "v", "weights", "heads"):
            patches += [{name: site(name, head=head)}, {name: site(name, t, head)}]
            wheres += [(name, head), (name, (head, t))]
    low, high = metric_of(model, corrupted), metric_of(model, clean)
    expected = []
    for name, where in wheres:
        with model.hooked({name: replaced_by(values[name][where], where)}):
            expected.append(metric_of(model, corrupted) - low)
    slopes = attribution_effects(model, clean, corrupted, patches, METRIC) * (high - low)
    # The difference of two metrics, of which each is rounded, may be as small as 1e-8.
    np.testing.assert_allclose(slopes, attributions(model, corrupted, values, patches, METRIC), rtol=1e-9, atol=1e-15)
    found = patch_effects(model, clean, corrupted, patches, METRIC) * (high - low)
    # Where the prompts hardly differ, an effect is the quotient of two roundings; the metric itself is good to 1e-12.
    np.testing.assert_allclose(found, expected, rtol=1e-7, atol=1e-12 * (1 + abs(low) + abs(high)))


@pytest.mark.parametrize("name", [name for name in NAMES if name != "ln_final"])
def test_attribution_agrees_with_patching_to_first_order_as_the_patch_shrinks(name, rng):
    """Its error falls with the square of the patch: by 100 when the patch is a tenth."""
    config = Config(vocab_size=9, context=5, d_model=8, n_heads=4, n_kv_heads=2, n_layers=2, dtype="float64")
    model = random_model(config, rng)
    clean, corrupted = random_ids(config, rng, 2, 5)
    far, near = record(model, clean, [name]), record(model, corrupted, [name])
    patches = [{name: site(name, t)} for t in range(5)]
    errors, sizes = [], np.array([1e-2, 1e-3, 1e-4])
    for size in sizes:
        values = {name: near[name] + size * (far[name] - near[name])}
        change = patched_metric(model, corrupted, values, patches, METRIC) - metric_of(model, corrupted)
        errors.append(np.abs(change - attributions(model, corrupted, values, patches, METRIC)).max())
    slopes = np.diff(np.log(errors)) / np.diff(np.log(sizes))
    np.testing.assert_allclose(slopes, 2, atol=0.1)


def test_what_cannot_be_patched_is_refused(rng):
    config = Config(vocab_size=9, context=5, d_model=8, n_heads=2, dtype="float64")
    model, ids = random_model(config, rng), np.array([1, 2, 3])
    for patches, words in (([], "at least one"), ([{"positional_embedding": ...}], "same for both prompts")):
        for effects in (patch_effects, attribution_effects):
            with pytest.raises(ValueError, match=words):
                effects(model, ids, ids[::-1], patches, METRIC)
    with pytest.raises(KeyError, match=r"no activation is named 'blocks.0.mlp'; did you mean"):
        patch_effects(model, ids, ids[::-1], [{"blocks.0.mlp": ...}], METRIC)
    with pytest.raises(ValueError, match=r"head must be None for blocks.0.feed_forward, not 1"):
        site("blocks.0.feed_forward", head=1)


def test_on_a_trained_model_the_copied_place_is_found_by_its_layers(repeating_model):
    """Only one letter differs, and it is copied from its place to the position that predicts it."""
    maps = patch_prompts(repeating_model, "abcdefghabc", "abcxefghabc")
    assert (maps.answer, maps.other) == ("d", "x")
    assert maps.clean_metric > 2 and maps.corrupted_metric < -2
    residual = maps.effects["residual"]
    assert residual.shape == (3, 11)
    assert residual[0, 3] == pytest.approx(1, abs=1e-5) and residual[-1, -1] == pytest.approx(1, abs=1e-5)
    assert np.abs(np.delete(residual, 3, axis=1)[0]).max() < 1e-5
    assert maps.effects["heads"][1].max() > 0.5 > maps.effects["heads"][0].max()
    assert "logit of 'd' minus logit of 'x'" in str(maps)
    assert "residual, embedding, at 3 d / x" in str(maps) and "Not shown" in str(maps)
    stored = json.loads(json.dumps(maps.to_dict(), allow_nan=False))
    assert stored["attributions"]["heads"] == maps.attributions["heads"].tolist()
    assert stored["stages"] == ["embedding", "blocks.0", "blocks.1"]


@pytest.mark.parametrize(
    "clean, corrupted, answers, words",
    [
        ("abc", "abcd", ("d", "e"), "same number of tokens, not 3 and 4"),
        ("abcdabc", "abcdabc", None, "the answers must be different tokens, but both are 'd'"),
        ("abc", "abd", ("d", "ee"), "'ee' has 2"),
        ("abc", "abd", ("d", "d"), "must be different tokens"),
        ("abc", "abc", ("d", "e"), "must differ between the prompts"),
    ],
)
def test_prompts_that_cannot_be_compared_are_refused(repeating_model, clean, corrupted, answers, words):
    with pytest.raises(ValueError, match=words):
        patch_prompts(repeating_model, clean, corrupted, answers)
