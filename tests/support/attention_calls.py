"""Random calls of attention, and the comparison of two implementations of it."""

import numpy as np
from hypothesis import strategies as st
from strategies import batch_shapes, rngs, sizes


@st.composite
def calls(draw):
    """q, k, v and a mask of any fitting shapes: grouped heads, wide values, rows that may attend to nothing."""
    rng, batch = draw(rngs), draw(batch_shapes)
    kv_heads, group, Tq, Tk, D, Dv = (draw(sizes) for _ in range(6))
    H = kv_heads * group
    q = rng.normal(size=(*batch, H, Tq, D))
    k = rng.normal(size=(*batch, kv_heads, Tk, D))
    v = rng.normal(size=(*batch, kv_heads, Tk, Dv))
    shape = draw(st.sampled_from([(Tq, Tk), (H, Tq, Tk), (*batch, 1, Tq, Tk), (*batch, H, Tq, Tk), (1, Tk), None]))
    mask = None if shape is None else rng.random(shape) < 0.7
    return rng, q, k, v, mask


def assert_same_passes(found, expected, rng):
    """Assert that two pairs of y and its backward pass agree to rounding, in y and in every gradient."""
    (y, backward), (expected_y, expected_backward) = found, expected
    np.testing.assert_allclose(y, expected_y, rtol=1e-12, atol=1e-13)
    dy = rng.normal(size=y.shape)
    for one, other in zip(backward(dy), expected_backward(dy), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-11, atol=1e-12)
