"""Queries in blocks, with the keys that they may see, give the results of all queries together, in less memory."""

import tracemalloc
import weakref
from importlib import import_module

import numpy as np
import pytest
from attention_calls import assert_same_passes, calls
from hypothesis import given, strategies as st
from strategies import rngs

from minitransformer import Config, Transformer, attention as plain_attention, causal_mask, plain
from minitransformer.fast import attention
from minitransformer.fast.head_groups import in_head_groups
from minitransformer.fast.query_blocks import in_query_blocks, keys_seen

attention_module = import_module("minitransformer.fast.attention")


@given(calls(), st.integers(1, 6), st.sampled_from([0.3, 1.0]))
def test_blocks_of_any_size_give_what_all_queries_at_once_give(call, queries, scale):
    rng, q, k, v, mask = call
    options = {"mask": mask, "scale": scale}
    in_blocks = in_query_blocks(q, k, v, attention=plain_attention, queries=queries, **options)
    assert_same_passes(in_blocks, plain_attention(q, k, v, **options), rng)


@given(calls(), st.integers(1, 5), st.sampled_from([0.3, 1.0]))
def test_any_number_of_groups_of_heads_gives_what_all_heads_together_give(call, groups, scale):
    rng, q, k, v, mask = call
    options = {"mask": mask, "scale": scale}
    grouped = in_head_groups(q, k, v, attention=plain_attention, groups=groups, **options)
    assert_same_passes(grouped, plain_attention(q, k, v, **options), rng)


@given(rngs, st.integers(0, 3), st.integers(1, 9))
def test_the_keys_seen_are_all_that_the_mask_allows_and_no_more_at_either_end(rng, axes, Tk):
    mask = rng.random((*rng.integers(1, 4, axes), Tk)) < 0.3
    seen = keys_seen(mask)
    allowed = sorted({int(i) for *_, i in np.argwhere(mask)}) or [0]
    assert (seen.start, seen.stop) == (allowed[0], allowed[-1] + 1)


@pytest.mark.parametrize("Tq, Tk", [(200, 200), (70, 700), (191, 192)])
def test_long_sequences_and_continuations_of_cached_ones_give_what_the_textbook_gives(rng, Tq, Tk):
    q, (k, v) = rng.normal(size=(1, 4, Tq, 3)), rng.normal(size=(2, 1, 2, Tk, 3))
    mask = causal_mask(Tq, Tk)
    assert_same_passes(attention(q, k, v, mask=mask), plain_attention(q, k, v, mask=mask), rng)


@pytest.mark.parametrize(
    "kinds", [(complex, float, float), (float, np.float32, np.float32), (np.float32, float, float)]
)
def test_gradients_of_mixed_dtypes_lose_no_digits(rng, kinds):
    q, k, v = (rng.normal(size=(2, 9, 3)).astype(kind) for kind in kinds)
    mask = causal_mask(9, 9)
    y, backward = plain_attention(q, k, v, mask=mask)
    in_blocks, blocks_backward = in_query_blocks(q, k, v, attention=plain_attention, mask=mask, queries=4)
    assert in_blocks.dtype == y.dtype
    for one, other in zip(blocks_backward(y), backward(y), strict=True):
        np.testing.assert_allclose(
            one, other, rtol=1e-5 if np.float32 in (one.dtype, other.dtype) else 1e-11, atol=1e-6
        )


def test_the_queries_of_grouped_heads_are_saved_once(rng):
    q, k, v = (rng.normal(size=(2, 200, heads, 3)).swapaxes(1, 2) for heads in (4, 2, 2))
    gone = weakref.ref(q)
    _, backward = attention(q, k, v, mask=causal_mask(200, 200))
    del q
    assert gone() is None and backward is not None  # each block has a copy


def test_the_result_lies_in_memory_as_the_queries_do_so_that_heads_are_merged_without_a_copy(rng):
    q, k, v = (rng.normal(size=(2, 200, 4, 3)).swapaxes(1, 2) for _ in range(3))
    y, backward = attention(q, k, v, mask=causal_mask(200, 200))
    for x in (y, *backward(y)):
        assert x.swapaxes(1, 2).flags.c_contiguous


@given(calls())
def test_very_long_sequences_give_what_shorter_ones_give(call):
    rng, q, k, v, mask = call
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"MEDIUM": 1, "VERY_LONG": 1, "QUERIES": 2, "MANY": 1}.items():
            patch.setattr(attention_module, name, value)
        assert_same_passes(attention(q, k, v, mask=mask), plain_attention(q, k, v, mask=mask), rng)


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


def test_a_hook_on_the_weights_still_sees_them(rng, monkeypatch):
    monkeypatch.setattr(attention_module, "VERY_LONG", 1)
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
