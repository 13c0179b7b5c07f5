"""Latent attention in two forms, of which one is for training and one for generation."""

import math

import numpy as np
import pytest
from hypothesis import given, strategies as st
from strategies import batch_shapes, randomized, rngs, sizes
from torch_gradients import torch_gradients

import gradcheck
from minitransformer import LatentAttention, absorbed_attention, attention, causal_mask, latent_attention
from minitransformer.layers.key_value_cache import LayerCache
from minitransformer.layers.positions import Rotary


def drawn(rng, batch=(2,), H=3, Tq=4, Tk=5, D=4, R=2, L=6, Dv=3):
    """Return q, qr, c, kr, w_key and w_value."""
    shapes = [(*batch, H, Tq, D), (*batch, H, Tq, R), (*batch, Tk, L), (*batch, Tk, R), (H, L, D), (H, L, Dv)]
    return [rng.normal(size=shape) for shape in shapes]


@given(rng=rngs, batch=batch_shapes, H=sizes, R=sizes, L=sizes)
def test_it_is_attention_with_keys_and_values_that_loops_make_from_the_latents(rng, batch, H, R, L):
    q, qr, c, kr, w_key, w_value = drawn(rng, batch, H, R=R, L=L)
    y, _ = latent_attention(q, qr, c, kr, w_key, w_value)
    for place in np.ndindex(batch):
        for head in range(H):
            k = np.hstack([c[place] @ w_key[head], kr[place]])
            queries = np.hstack([q[place][head], qr[place][head]])
            expected = attention(queries[None], k[None], (c[place] @ w_value[head])[None])[0][0]
            assert np.allclose(y[place][head], expected, rtol=1e-10, atol=1e-12)


@given(rng=rngs, batch=batch_shapes, H=sizes, R=sizes, L=sizes, Tq=st.integers(1, 5))
def test_both_forms_have_the_same_values_and_gradients(rng, batch, H, R, L, Tq):
    arrays, mask = drawn(rng, batch, H, Tq, R=R, L=L), causal_mask(Tq, 5)
    (y, backward), (other, other_backward) = (
        form(*arrays, mask=mask, on_weights=halved) for form in (latent_attention, absorbed_attention)
    )
    assert np.allclose(other, y, rtol=1e-10, atol=1e-12)
    dy = rng.normal(size=y.shape)
    for gradient, expected in zip(other_backward(dy), backward(dy), strict=True):
        assert np.allclose(gradient, expected, rtol=1e-9, atol=1e-11)


def halved(weights):
    """A function of the weights, such as dropout."""
    return weights / 2, lambda dy: dy / 2


def test_the_two_forms_are_one_function_with_one_backward_pass_without_a_tolerance(rng):
    arrays = drawn(rng, (), H=2, Tq=2, Tk=3, D=2, L=3, Dv=2)
    assert gradcheck.same(latent_attention, absorbed_attention, *arrays)
    assert gradcheck.same_gradient(latent_attention, absorbed_attention, *arrays)


def test_the_scale_of_the_latent_width_is_another_function(rng):
    arrays = drawn(rng, (), H=2, Tq=2, Tk=3, D=2, L=3, Dv=2)

    def near_miss(q, *others):
        return absorbed_attention(q * math.sqrt((2 + 2) / (3 + 2)), *others)

    assert gradcheck.same(latent_attention, near_miss, *arrays).verdict == "refused"


def test_it_equals_pytorch(torch, rng):
    arrays = drawn(rng)
    dy = rng.normal(size=(2, 3, 4, 3))

    def function(q, qr, c, kr, w_key, w_value):
        k, v = (torch.einsum("btl,hld->bhtd", c, w) for w in (w_key, w_value))
        scores = torch.einsum("bhqd,bhkd->bhqk", q, k) + torch.einsum("bhqr,bkr->bhqk", qr, kr)
        return (scores / math.sqrt(6)).softmax(dim=-1) @ v

    y, gradients = torch_gradients(torch, function, arrays, dy)
    for form in (latent_attention, absorbed_attention):
        found, backward = form(*arrays)
        assert np.allclose(found, y, rtol=1e-11, atol=1e-12)
        for gradient, expected in zip(backward(dy), gradients, strict=True):
            assert np.allclose(gradient, expected, rtol=1e-9, atol=1e-11)


@given(rng=rngs, shift=st.integers(1, 50))
def test_with_rotated_channels_a_shift_of_all_positions_changes_nothing(rng, shift):
    layer = randomized(LatentAttention(6, 2, d_latent=5, d_rotary=4, rotary=Rotary(), dtype=np.float64), rng)
    x, mask = rng.normal(size=(2, 5, 6)), causal_mask(5, 5)
    y, shifted = (layer(x, mask=mask, positions=np.arange(5) + start)[0] for start in (0, shift))
    assert np.allclose(shifted, y, rtol=1e-8, atol=1e-9)
    assert not np.allclose(layer(x, mask=mask, positions=2 * np.arange(5))[0], y)


def test_the_cache_holds_the_latent_and_the_rotated_key_and_nothing_else(rng):
    layer = randomized(LatentAttention(12, 4, d_latent=5, d_rotary=2, rotary=Rotary(), dtype=np.float64), rng)
    x, cache = rng.normal(size=(2, 6, 12)), LayerCache(context=6)
    pieces = [layer(x[:, t : t + 1], cache=cache)[0] for t in range(6)]
    assert np.allclose(np.concatenate(pieces, axis=1), layer(x, mask=causal_mask(6, 6))[0], rtol=1e-9, atol=1e-10)
    assert (cache.keys.shape[0], cache.keys.shape[-1], cache.values.shape[-1]) == (2, 5, 2)
    assert cache.keys.ndim == cache.values.ndim == 3  # no axis of heads


REFUSED = [
    ({"qr": (1, 4, 2)}, "must be (..., heads, positions, channels), with the same heads and positions"),
    ({"kr": (4, 2)}, "must have the same positions and the leading axes of q"),
    ({"kr": (5, 3)}, "kr must have the channels of qr (3, 4, 2)"),
    ({"w_key": (3, 6, 5)}, "w_key must have shape (3, 6, 4), not (3, 6, 5)"),
]


@pytest.mark.parametrize("shapes, words", REFUSED, ids=[words for _, words in REFUSED])
@pytest.mark.parametrize("form", [latent_attention, absorbed_attention])
def test_what_does_not_fit_is_refused(form, shapes, words, rng):
    arrays = dict(zip(("q", "qr", "c", "kr", "w_key", "w_value"), drawn(rng, ()), strict=True))
    arrays |= {name: np.ones(shape) for name, shape in shapes.items()}
    with pytest.raises(ValueError) as caught:
        form(*arrays.values())
    assert words in str(caught.value)
