"""Recomputed activations: the same numbers, in less memory."""

import tracemalloc

import numpy as np
import pytest

from minitransformer import Config, Transformer


def model_and_batch(rng, **fields):
    config = Config(vocab_size=11, context=32, d_model=16, n_heads=2, n_layers=4, **fields)
    return Transformer(config, seed=1), rng.integers(0, 11, (3, 32)), rng.integers(0, 11, (3, 32))


def loss_and_gradients(model, ids, targets, **options):
    loss, backward = model.loss(ids, targets, **options)
    backward()
    gradients = [parameter.grad for parameter in model.parameters()]
    for parameter in model.parameters():
        parameter.grad = None
    return loss, gradients


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_loss_and_gradients_are_the_same_to_the_bit_with_dropout_too(rng, dropout):
    model, ids, targets = model_and_batch(rng, dropout=dropout)
    plain_rng, recomputing_rng = np.random.default_rng(5), np.random.default_rng(5)
    loss, gradients = loss_and_gradients(model, ids, targets, rng=plain_rng)
    again, recomputed_gradients = loss_and_gradients(model, ids, targets, rng=recomputing_rng, recompute=True)
    assert again == loss
    for name, a, b in zip(dict(model.named_parameters()), gradients, recomputed_gradients, strict=True):
        np.testing.assert_array_equal(a, b, err_msg=name)
    assert plain_rng.bit_generator.state == recomputing_rng.bit_generator.state


def test_frozen_parameters_stay_without_a_gradient(rng):
    model, ids, targets = model_and_batch(rng)
    frozen = model.blocks[1].attention.w_q.weight
    frozen.requires_grad = False
    model.loss(ids, targets, recompute=True)[1]()
    assert [p for p in model.parameters() if p.grad is None] == [frozen]


def test_the_peak_of_memory_is_far_lower(rng):
    model, ids, targets = model_and_batch(rng)

    def peak(recompute):
        tracemalloc.start()
        loss_and_gradients(model, ids, targets, recompute=recompute)
        highest = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return highest

    peak(False)
    assert peak(True) < 0.6 * peak(False)
