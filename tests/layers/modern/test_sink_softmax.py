"""Softmax with a sink."""

import numpy as np
import pytest
from hypothesis import given, strategies as st
from strategies import batch_shapes, rngs, sizes
from torch_gradients import torch_gradients

from minitransformer import sink_softmax, softmax


def drawn(rng, batch=(2,), H=3, Tq=4, Tk=5):
    return rng.normal(size=(*batch, H, Tq, Tk)), rng.normal(size=H), rng.normal(size=(*batch, H, Tq, Tk))


@given(rng=rngs, batch=batch_shapes, H=sizes, Tq=sizes, Tk=sizes)
def test_it_is_a_softmax_with_one_more_key_whose_weight_is_left_out(rng, batch, H, Tq, Tk):
    x, sink, dy = drawn(rng, batch, H, Tq, Tk)
    column = np.broadcast_to(sink[:, None, None], (*batch, H, Tq, 1))
    expected, expected_backward = softmax(np.concatenate([x, column], axis=-1))
    y, backward = sink_softmax(x, sink)
    assert np.allclose(y, expected[..., :-1], rtol=1e-12)
    dx = expected_backward(np.concatenate([dy, np.zeros_like(column)], axis=-1))
    assert np.allclose(backward(dy)[0], dx[..., :-1], rtol=1e-10, atol=1e-14)
    dsink = dx[..., -1].sum(axis=-1).reshape(-1, H).sum(axis=0)
    assert np.allclose(backward(dy)[1], dsink, rtol=1e-10, atol=1e-13)


@given(rng=rngs, shift=st.floats(-50, 50))
def test_a_shift_of_scores_and_sink_is_ignored_so_the_gradients_of_a_head_sum_to_zero(rng, shift):
    x, sink, dy = drawn(rng)
    y, backward = sink_softmax(x, sink)
    assert np.allclose(sink_softmax(x + shift, sink + shift)[0], y, atol=1e-12)
    dx, dsink = backward(dy)
    assert np.allclose(dx.sum(axis=(0, 2, 3)) + dsink, 0, atol=1e-12)
    assert abs(dsink).max() > 1e-3


@given(rng=rngs)
def test_the_weights_sum_to_less_than_one_and_to_one_without_a_sink(rng):
    x, sink, _ = drawn(rng)
    assert (sink_softmax(x, sink)[0].sum(axis=-1) < 1).all()
    assert np.allclose(sink_softmax(x, np.full(3, -1e4))[0], softmax(x)[0], rtol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_query_that_sees_no_key_and_large_numbers_stay_finite(dtype):
    x = np.array([[[-np.inf, -np.inf], [1e4, -1e4], [-1e4, -1e4]]], dtype)
    y, backward = sink_softmax(x, np.array([0.5], dtype))
    assert np.allclose(y, [[[0, 0], [1, 0], [0, 0]]])
    assert all(np.isfinite(gradient).all() for gradient in backward(np.ones_like(x)))


def test_it_equals_pytorch(torch, rng):
    x, sink, dy = drawn(rng)

    def function(x, sink):
        column = sink[:, None, None].expand(*x.shape[:-1], 1)
        return torch.softmax(torch.cat([x, column], -1), -1)[..., :-1]

    y, gradients = torch_gradients(torch, function, [x, sink], dy)
    assert np.allclose(sink_softmax(x, sink)[0], y, rtol=1e-12)
    for given_gradient, expected in zip(sink_softmax(x, sink)[1](dy), gradients, strict=True):
        assert np.allclose(given_gradient, expected, rtol=1e-10, atol=1e-14)
