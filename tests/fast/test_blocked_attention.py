"""Attention in blocks equals plain attention, and takes its place for very long sequences only."""

import tracemalloc
from importlib import import_module

import numpy as np
import pytest
from attention_calls import assert_same_passes, calls
from hypothesis import given, strategies as st
from strategies import rngs

from minitransformer import Config, Transformer, attention, causal_mask, fast, plain
from minitransformer.fast.blocked_attention import blocked_attention

module = import_module("minitransformer.fast.attention")

blocks = st.integers(1, 6)


@given(calls(), blocks, blocks, st.sampled_from([0.3, 1.0]))
def test_in_blocks_of_any_size_it_equals_plain_attention_forward_and_backward(call, queries, keys, scale):
    rng, q, k, v, mask = call
    in_blocks = blocked_attention(q, k, v, mask=mask, scale=scale, queries=queries, keys=keys)
    assert_same_passes(in_blocks, attention(q, k, v, mask=mask, scale=scale), rng)


@given(rngs, st.sampled_from([1e3, 1e5]))
def test_scores_that_grow_from_block_to_block_neither_overflow_nor_lose_what_came_before(rng, scale):
    q, k, v = (rng.normal(size=(2, 9, 3)) for _ in range(3))
    k[:, :, 0] += np.arange(9)  # the largest score comes last, or first, as the query's sign has it
    y, backward = blocked_attention(q, k, v, scale=scale, queries=4, keys=2)
    whole, whole_backward = attention(q, k, v, scale=scale)
    np.testing.assert_allclose(y, whole, rtol=1e-9, atol=1e-12)
    dy = rng.normal(size=y.shape)
    for in_blocks, at_once in zip(backward(dy), whole_backward(dy), strict=True):
        np.testing.assert_allclose(in_blocks, at_once, rtol=1e-6, atol=1e-9 * scale)


@given(calls())
def test_float32_stays_float32(call):
    _, q, k, v, mask = call
    y, backward = blocked_attention(*(x.astype(np.float32) for x in (q, k, v)), mask=mask, scale=0.5, queries=2, keys=3)
    assert {x.dtype for x in (y, *backward(np.ones_like(y)))} == {np.dtype(np.float32)}


@pytest.fixture
def always_in_blocks(monkeypatch):
    monkeypatch.setattr(module, "MEDIUM", 1)
    monkeypatch.setattr(module, "VERY_LONG", 1)


@pytest.mark.parametrize("T", [200, 515, 1030])
def test_longer_sequences_take_another_way_and_give_what_the_plain_one_gives(rng, T):
    q, k, v = (rng.normal(size=(2, T, 4)).astype(np.float32) for _ in range(3))
    mask = causal_mask(T, T)

    y, backward = fast.attention(q, k, v, mask=mask)
    whole, whole_backward = attention(q, k, v, mask=mask)
    np.testing.assert_allclose(y, whole, rtol=0, atol=1e-5)
    dy = rng.normal(size=y.shape).astype(np.float32)
    for in_blocks, at_once in zip(backward(dy), whole_backward(dy), strict=True):
        np.testing.assert_allclose(in_blocks, at_once, rtol=0, atol=1e-4)


def test_a_hook_on_the_weights_still_sees_them(rng, always_in_blocks):
    model = Transformer(Config(vocab_size=7, context=6, d_model=8, n_heads=2, n_layers=1, dtype="float64"))
    ids = rng.integers(0, 7, (1, 6))
    seen = []

    def keep(weights, backward):
        seen.append(weights)
        return weights, backward

    before = model.predict(ids)
    with model.hooked({"blocks.0.attention.weights": keep}):
        np.testing.assert_allclose(model.predict(ids), before, rtol=1e-12)
    np.testing.assert_allclose(seen[0].sum(axis=-1), 1)


def test_future_tokens_do_not_change_past_logits_in_blocks_either(rng, always_in_blocks):
    model = Transformer(Config(vocab_size=7, context=300, d_model=8, n_heads=2, n_layers=2))
    ids = rng.integers(0, 7, (1, 300))
    changed = ids.copy()
    changed[0, 200:] = (ids[0, 200:] + 1) % 7
    np.testing.assert_array_equal(model.predict(ids)[:, :200], model.predict(changed)[:, :200])


def test_memory_grows_with_the_length_and_not_with_its_square():
    def peak(T):
        model = Transformer(Config(vocab_size=5, context=T, d_model=4, n_heads=2, n_layers=1, d_ff=4))
        ids = np.zeros((1, T), np.int64)
        tracemalloc.start()
        with plain(False):
            model.loss(ids, ids)[1]()
        highest = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return highest

    assert peak(4096) < 2.5 * peak(2048)
