"""Linear."""

import numpy as np
from hypothesis import given
from strategies import rngs, sizes

from minitransformer import linear


@given(rngs, sizes, sizes, sizes)
def test_it_is_a_sum_over_input_features(rng, n, features_in, features_out):
    x, weight, bias = (rng.normal(size=s) for s in [(n, features_in), (features_in, features_out), features_out])
    y, backward = linear(x, weight, bias)
    expected = np.einsum("pi,io->po", x, weight)
    assert np.allclose(linear(x, weight)[0], expected, rtol=1e-12)
    assert np.allclose(y, expected + bias, rtol=1e-12)
    dy = rng.normal(size=y.shape)
    dx, dweight, dbias = backward(dy)
    assert np.allclose(dx, np.einsum("po,io->pi", dy, weight), rtol=1e-12)
    assert np.allclose(dweight, np.einsum("pi,po->io", x, dy), rtol=1e-12)
    assert np.allclose(dbias, np.einsum("po->o", dy), rtol=1e-12)
