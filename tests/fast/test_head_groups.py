"""Heads computed in groups, in parallel, give the results of all heads together."""

from importlib import import_module

import numpy as np
import pytest
from attention_calls import assert_same_passes, calls
from hypothesis import given, strategies as st

from minitransformer import attention as plain_attention, causal_mask
from minitransformer.fast import attention, head_groups
from minitransformer.fast.blocked_attention import blocked_attention
from minitransformer.fast.head_groups import in_head_groups

attention_module = import_module("minitransformer.fast.attention")


@given(calls(), st.integers(1, 5), st.sampled_from([0.3, 1.0]))
def test_any_number_of_groups_gives_what_all_heads_together_give(call, groups, scale):
    rng, q, k, v, mask = call
    options = {"mask": mask, "scale": scale}
    grouped = in_head_groups(q, k, v, attention=plain_attention, groups=groups, **options)
    assert_same_passes(grouped, plain_attention(q, k, v, **options), rng)


@pytest.mark.parametrize("mask_shape", [(6, 6), (1, 6, 6), (4, 6, 6), (3, 1, 6, 6), (3, 4, 6, 6)])
def test_a_mask_of_any_shape_goes_with_its_heads(rng, mask_shape):
    q, k, v = (rng.normal(size=(3, heads, 6, 5)) for heads in (4, 2, 2))
    mask = rng.random(mask_shape) < 0.6
    expected, _ = plain_attention(q, k, v, mask=mask)
    found, _ = in_head_groups(q, k, v, attention=plain_attention, mask=mask, groups=2)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_a_long_sequence_has_a_group_for_each_thread(monkeypatch, rng):
    asked = []

    def counted(q, k, v, **options):
        asked.append(q.shape[-3])
        return blocked_attention(q, k, v, **options)

    q, k, v = (rng.normal(size=(2, heads, 6, 3)) for heads in (8, 4, 4))
    expected, _ = plain_attention(q, k, v, mask=causal_mask(6, 6))
    monkeypatch.setattr(head_groups, "threads", lambda: 3)
    monkeypatch.setattr(attention_module, "blocked_attention", counted)
    for name, value in [("MEDIUM", 36), ("VERY_LONG", 36), ("MANY", 1)]:
        monkeypatch.setattr(attention_module, name, value)
    attention(q[:, :, :5], k, v)  # 30 pairs: not long
    assert asked == []
    found, _ = attention(q, k, v, mask=causal_mask(6, 6))
    assert sorted(asked) == [2, 2, 4]  # query heads, for 1, 1 and 2 key–value heads
    np.testing.assert_allclose(found, expected, rtol=1e-12)
