"""The blocks for one new position, straight down, against the same blocks as layers."""

import gc
import weakref
from dataclasses import replace
from importlib import import_module

import numpy as np
import pytest
from hypothesis import given, strategies as st
from strategies import batch_shapes, configs, random_ids, random_model, rngs

from minitransformer import Config, KeyValueCache, Linear, MultiHeadAttention, fast, plain
from minitransformer.layers.lora import add_adapters
from minitransformer.layers.modern.delta_mixer import StateCache
from minitransformer.system import cores
from minitransformer.transformer import through_blocks

one_position = import_module("minitransformer.fast.one_position")
HEADS = {"d_model": 12, "n_heads": 4, "n_kv_heads": 2, "d_head": 4}
CONFIG = Config(vocab_size=11, context=8, feed_forward="swiglu", positions="rotary", dtype="float64", **HEADS)
HOOKED = [
    *("blocks.1", "blocks.1.norm1", "blocks.1.attention", "blocks.1.residual_mid", "blocks.1.norm2"),
    *(f"blocks.1.attention.{name}" for name in ("w_q", "w_k", "w_v", "w_o", "q", "k", "v", "weights", "heads")),
    *("blocks.1.attention.rotary", "blocks.1.feed_forward"),
    *(f"blocks.1.feed_forward.{name}" for name in ("gate", "up", "down")),
]


@pytest.fixture(autouse=True)
def with_the_engine():
    """These tests say themselves where the engine is off; the environment does not."""
    with plain(False):
        yield


def decoded(model, ids, *, prompt=1):
    """Return the logits after each token of ids (..., T) but the first of the prompt, and the arrays kept."""
    cache = KeyValueCache(model.config)
    ends = [prompt, *range(prompt + 1, ids.shape[-1] + 1)]
    starts = [0, *ends[:-1]]
    logits = [
        model.predict(ids[..., start:end], cache=cache, last_only=True) for start, end in zip(starts, ends, strict=True)
    ]
    kept = [
        array
        for layer in cache.layers
        for array in (
            [layer.state]
            if isinstance(layer, StateCache)
            else [layer.keys[..., : cache.length, :], layer.values[..., : cache.length, :]]
        )
    ]
    return np.concatenate(logits, axis=-2), kept


def assert_close(found, expected, precision):
    assert found.dtype == expected.dtype and found.shape == expected.shape
    assert np.abs(found - expected).max() <= precision * max(np.abs(expected).max(), 1)


@given(configs(), rngs, batch_shapes, st.integers(1, 3))
def test_a_token_at_a_time_gives_what_the_layers_give_and_caches_what_they_cache(config, rng, batch, prompt):
    model = random_model(config, rng)
    ids = random_ids(config, rng, *batch, config.context)
    found = decoded(model, ids, prompt=min(prompt, config.context))
    with plain():
        expected = decoded(model, ids, prompt=min(prompt, config.context))
    assert_close(found[0], model.predict(ids)[..., min(prompt, config.context) - 1 :, :], 1e-11)
    for one, other in zip([found[0], *found[1]], [expected[0], *expected[1]], strict=True):
        assert_close(one, other, 1e-11)


def straight(call):
    """Return how many blocks ran straight down during call()."""
    counted, attended = [], one_position.attended
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(one_position, "attended", lambda *arguments: counted.append(1) or attended(*arguments))
        call()
    return len(counted)


def test_every_block_of_every_token_after_the_prompt_runs_straight_down_and_none_without_the_engine(rng):
    model, ids = random_model(CONFIG, rng), np.arange(7)
    assert straight(lambda: decoded(model, ids, prompt=3)) == 4 * len(model.blocks)
    with plain():
        assert straight(lambda: decoded(model, ids, prompt=3)) == 0


@pytest.mark.parametrize("name", HOOKED)
def test_a_block_with_a_hook_anywhere_runs_as_its_layers_and_the_hook_is_heard(rng, name):
    model, ids, seen = random_model(CONFIG, rng), np.arange(6)[None], []

    def square(y, backward):
        seen.append(y)
        return y * y, backward

    without, _ = decoded(model, ids)
    with model.hooked({name: square}):
        found, _ = decoded(model, ids)
        heard = len(seen)
        assert straight(lambda: decoded(model, ids)) == 6  # the other block's
        with plain():
            expected, _ = decoded(model, ids)
    assert heard == (12 if name.endswith("rotary") else 6)  # it turns queries and keys
    assert_close(found, expected, 1e-11)
    assert not np.allclose(found, without)
    assert straight(lambda: decoded(model, ids)) == 12  # the hook is removed


class Halved(Linear):
    def forward(self, x):
        y, backward = super().forward(x)
        return y / 2, backward


class Backwards(MultiHeadAttention):
    def forward(self, x, **options):
        y, backward = super().forward(x, **options)
        return -y, backward


def with_an_adapter(model):
    add_adapters(model, ["blocks.0.attention.w_v"], rank=2, alpha=3.0)
    b = model.blocks[0].attention.w_v.b
    b.data = np.random.default_rng(5).normal(size=b.data.shape)


def with_half_precision(model):
    weight = model.blocks[0].attention.w_k.weight
    weight.data = weight.data.astype(np.float16)


CHANGES = {
    "a subclass of Linear": lambda model: setattr(model.blocks[0].feed_forward.down, "__class__", Halved),
    "another attention": lambda model: setattr(model.blocks[0].attention, "__class__", Backwards),
    "an adapter": with_an_adapter,
    "half precision": with_half_precision,
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_block_that_is_more_than_it_looks_runs_as_its_layers(rng, change):
    model, ids = random_model(CONFIG, rng), np.arange(6)[None]
    before, _ = decoded(model, ids)
    CHANGES[change](model)
    assert straight(lambda: decoded(model, ids)) == 6  # of the other block
    found, _ = decoded(model, ids)
    with plain():
        expected, _ = decoded(model, ids)
    assert_close(found, expected, 1e-11)
    assert not np.allclose(found, before)


@pytest.mark.parametrize(
    "name, value",
    [
        ("blocks.0", None),
        ("blocks.0.norm1", 0.5),
        ("blocks.0.attention", Linear(4, 4)),
        ("blocks.0.attention.rotary", 0.5),
        ("blocks.0.feed_forward.up", None),
    ],
)
def test_a_module_with_an_attribute_that_the_twin_does_not_know_runs_as_its_layers(rng, name, value):
    model, ids = random_model(CONFIG, rng), np.arange(6)[None]
    dict(model.named_modules())[name].new_option = value
    assert straight(lambda: decoded(model, ids)) == 6  # of the other block


@pytest.mark.parametrize("part", ["norm1", "residual_mid", "dropout", "feed_forward"])
def test_a_block_with_a_module_of_an_unknown_class_runs_as_its_layers(rng, part):
    model, ids = random_model(CONFIG, rng), np.arange(6)[None]
    known = type(getattr(model.blocks[0], part))
    getattr(model.blocks[0], part).__class__ = type("New", (known,), {})
    assert straight(lambda: decoded(model, ids)) == 6  # of the other block


@pytest.mark.parametrize("mask", [[[True, False, True, True, True]], np.ones((2, 6))], ids=["hides one", "two see all"])
def test_other_masks_than_the_causal_one_are_obeyed(rng, mask):
    mask = np.array(mask, bool)
    T, Tk = mask.shape
    model, x, results = random_model(CONFIG, rng), rng.normal(size=(1, T, 12)), []
    for function in (through_blocks, fast.through_blocks):
        cache = KeyValueCache(CONFIG)
        model.predict(np.arange(Tk - T)[None], cache=cache)
        results.append(
            function(model.blocks, x, masks=[mask] * len(model.blocks), positions=np.arange(Tk - T, Tk), cache=cache)
        )
    assert_close(results[1], results[0], 1e-11)


def test_scores_far_beyond_what_an_exponential_holds_stay_finite(rng):
    model = random_model(replace(CONFIG, dtype="float32"))
    for block in model.blocks:
        block.attention.w_q.weight.data *= np.float32(1e4)
    found, _ = decoded(model, np.arange(6)[None])
    with plain():
        expected, _ = decoded(model, np.arange(6)[None])
    assert np.isfinite(found).all()
    assert_close(found, expected, 1e-3)


@pytest.fixture(params=[1, 2, 3], ids="{} threads".format)
def three_parts(request, monkeypatch):
    """Small weights are divided into three parts, which one, two or three threads read."""
    pytest.importorskip("threadpoolctl")
    monkeypatch.setattr(one_position, "ENOUGH_FOR_THREADS", 1)
    monkeypatch.setattr(one_position, "PARTS", 3)
    monkeypatch.setattr(cores, "threads", lambda: request.param)


@pytest.mark.parametrize("fields", [{}, {"feed_forward": "gelu", "bias": True}], ids=["gated", "with biases"])
@pytest.mark.parametrize("shape", [(6,), (2, 6)], ids=["one sequence", "two"])
def test_weights_that_threads_share_give_what_the_layers_give(rng, fields, shape, three_parts, monkeypatch):
    model, ids, shared = random_model(replace(CONFIG, **fields), rng), rng.integers(0, 11, shape), []
    side_by_side = one_position.side_by_side
    monkeypatch.setattr(one_position, "side_by_side", lambda f, jobs: shared.append(len(jobs)) or side_by_side(f, jobs))
    found, _ = decoded(model, ids)
    of_blocks = 6 * len(model.blocks)
    assert shared.count(3) == of_blocks + (6 if shape == (6,) else 0)  # the logits of one position
    with plain():
        expected, _ = decoded(model, ids)
    assert_close(found, expected, 1e-11)


def test_the_gradients_of_logits_whose_weight_threads_share_are_those_of_the_textbook(rng, three_parts):
    x, weight, dy = rng.normal(size=(1, 1, 4)), rng.normal(size=(7, 4)), rng.normal(size=(1, 1, 7))
    y, backward = fast.unembedding(x, weight)
    expected, textbook_backward = fast.unembedding.textbook(x, weight)
    for found, right in zip([y, *backward(dy)], [expected, *textbook_backward(dy)], strict=True):
        assert_close(found, right, 1e-14)
    with pytest.raises(ValueError, match="unembedding: the last axis of x"):
        fast.unembedding(x[..., :3], weight)


def test_a_model_that_has_generated_can_be_freed(rng):
    model = random_model(CONFIG, rng)
    decoded(model, np.arange(6)[None])
    block = weakref.ref(model.blocks[0])
    del model
    gc.collect()
    assert block() is None
