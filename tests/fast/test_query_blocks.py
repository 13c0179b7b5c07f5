"""Queries in blocks, with the keys that they may see, give the results of all queries together."""

import weakref
from importlib import import_module

import numpy as np
import pytest
from attention_calls import assert_same_passes, calls
from hypothesis import given, strategies as st
from strategies import rngs

from minitransformer import attention as plain_attention, causal_mask
from minitransformer.fast import attention, head_groups
from minitransformer.fast.query_blocks import in_query_blocks, keys_seen

attention_module = import_module("minitransformer.fast.attention")


@given(calls(), st.integers(1, 6), st.sampled_from([0.3, 1.0]))
def test_blocks_of_any_size_give_what_all_queries_at_once_give(call, queries, scale):
    rng, q, k, v, mask = call
    mask = rng.random((q.shape[-2], k.shape[-2])) < 0.4 if mask is None else mask
    options = {"mask": mask, "scale": scale}
    in_blocks = in_query_blocks(q, k, v, attention=plain_attention, queries=queries, **options)
    assert_same_passes(in_blocks, plain_attention(q, k, v, **options), rng)


@given(rngs, st.integers(0, 3), st.integers(1, 9))
def test_the_keys_seen_are_all_that_the_mask_allows_and_no_more_at_either_end(rng, axes, Tk):
    mask = rng.random((*rng.integers(1, 4, axes), Tk)) < 0.3
    seen = keys_seen(mask)
    allowed = sorted({int(i) for *_, i in np.argwhere(mask)}) or [0]
    assert (seen.start, seen.stop) == (allowed[0], allowed[-1] + 1)


@pytest.fixture
def asked(monkeypatch):
    """The numbers of heads, queries and keys that are attended to all at once."""
    numbers, all_at_once = [], attention_module.all_at_once

    def noted(q, k, v, **options):
        numbers.append((*q.shape[-3:-1], k.shape[-2]))
        return all_at_once(q, k, v, **options)

    monkeypatch.setattr(attention_module, "all_at_once", noted)
    return numbers


def test_under_a_causal_mask_a_block_reads_only_the_keys_up_to_its_last_query(asked, rng):
    q, k, v = (rng.normal(size=(2, 200, 3)) for _ in range(3))
    attention(q, k, v, mask=causal_mask(200, 200))
    assert asked == [(2, 64, 64), (2, 64, 128), (2, 64, 192), (2, 8, 200)]


def test_a_continuation_of_cached_positions_reads_those_as_well(asked, rng):
    q, k, v = rng.normal(size=(1, 70, 3)), rng.normal(size=(1, 700, 3)), rng.normal(size=(1, 700, 3))
    attention(q, k, v, mask=causal_mask(70, 700))
    assert asked == [(1, 64, 694), (1, 6, 700)]


def test_there_are_at_most_eight_blocks(asked, monkeypatch, rng):
    monkeypatch.setattr(attention_module, "MANY", 1001**2)  # else the heads are taken apart as well
    q, k, v = (rng.normal(size=(1, 1000, 2)) for _ in range(3))
    attention(q, k, v, mask=causal_mask(1000, 1000))
    assert asked == [(1, 125, 125 * n) for n in range(1, 9)]


def test_where_there_are_many_weights_the_heads_are_taken_apart_as_well(asked, monkeypatch, rng):
    q, k, v = (rng.normal(size=(2, heads, 200, 3)) for heads in (8, 4, 4))
    together = attention(q, k, v, mask=causal_mask(200, 200))
    asked.clear()
    monkeypatch.setattr(attention_module, "MANY", 2 * 8 * 200 * 200)
    monkeypatch.setattr(head_groups, "threads", lambda: 2)
    apart = attention(q, k, v, mask=causal_mask(200, 200))
    assert [heads for heads, _, _ in asked] == [4] * 8  # two groups, of four blocks each
    assert_same_passes(apart, together, rng)


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


def test_short_sequences_and_those_without_a_mask_are_attended_to_at_once(asked, rng):
    q, k, v = (rng.normal(size=(1, 192, 2)) for _ in range(3))
    attention(q[:, :191], k, v, mask=causal_mask(191, 192))
    attention(q, k, v)
    assert asked == [(1, 191, 192), (1, 192, 192)]


def test_the_result_lies_in_memory_as_the_queries_do_so_that_heads_are_merged_without_a_copy(rng):
    q, k, v = (rng.normal(size=(2, 200, 4, 3)).swapaxes(1, 2) for _ in range(3))
    y, backward = attention(q, k, v, mask=causal_mask(200, 200))
    for x in (y, *backward(y)):
        assert x.swapaxes(1, 2).flags.c_contiguous
