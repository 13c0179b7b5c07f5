"""Embedding and unembedding."""

import numpy as np
from hypothesis import given, strategies as st
from strategies import batch_shapes, rngs, sizes

from minitransformer import Embedding, Unembedding, embedding, unembedding


@given(rngs, batch_shapes, sizes, sizes, st.sampled_from([np.int64, np.int32, np.uint8]))
def test_it_is_the_linear_map_of_a_one_hot_vector(rng, batch, vocab_size, width, dtype):
    ids = np.asarray(rng.integers(0, vocab_size, size=(*batch, 4)), dtype)
    weight = rng.normal(size=(vocab_size, width))
    one_hot = np.eye(vocab_size)[ids]
    y, backward = embedding(ids, weight)
    assert np.array_equal(y, np.einsum("...v,vc->...c", one_hot, weight))
    dy = rng.normal(size=y.shape)
    expected = np.einsum("pv,pc->vc", one_hot.reshape(-1, vocab_size), dy.reshape(-1, width))
    assert np.allclose(backward(dy), expected, rtol=1e-12)


def test_an_id_that_occurs_twice_gets_both_gradients_and_one_that_does_not_gets_zero():
    dweight = embedding(np.array([2, 0, 2]), np.zeros((4, 1)))[1](np.array([[1.0], [10.0], [100.0]]))
    assert dweight.tolist() == [[10], [0], [101], [0]]


def test_no_ids_give_no_gradient():
    y, backward = embedding(np.zeros((2, 0), int), np.ones((4, 3)))
    assert y.shape == (2, 0, 3)
    assert np.array_equal(backward(y), np.zeros((4, 3)))


@given(rngs, batch_shapes, sizes, sizes)
def test_the_unembedding_is_an_inner_product_with_each_row(rng, batch, vocab_size, width):
    x, weight = rng.normal(size=(*batch, width)), rng.normal(size=(vocab_size, width))
    y, backward = unembedding(x, weight)
    assert np.allclose(y, np.einsum("...c,vc->...v", x, weight), rtol=1e-12)
    dy = rng.normal(size=y.shape)
    dx, dweight = backward(dy)
    assert np.allclose(dx, np.einsum("...v,vc->...c", dy, weight), rtol=1e-12)
    expected = np.einsum("pv,pc->vc", dy.reshape(-1, vocab_size), x.reshape(-1, width))
    assert np.allclose(dweight, expected, rtol=1e-12)


def test_a_tied_table_collects_the_sum_of_both_gradients(rng):
    ids, table, dy = rng.integers(0, 6, size=(2, 3)), rng.normal(size=(6, 4)), rng.normal(size=(2, 3, 6))
    tied = Embedding(6, 4)
    tied.weight.data = table
    x, embedding_backward = tied(ids)
    _, unembedding_backward = Unembedding(tied.weight)(x)
    embedding_backward(unembedding_backward(dy))
    dx, dweight_out = unembedding(x, table)[1](dy)
    dweight_in = embedding(ids, table)[1](dx)
    assert np.allclose(tied.weight.grad, dweight_in + dweight_out, rtol=1e-13)
    assert abs(dweight_in).max() > 0.1 and abs(dweight_out).max() > 0.1
