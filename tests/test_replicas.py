"""Replicas of a model in threads give what the model alone gives."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import configs, random_ids, random_model, rngs

from minitransformer import AdamW, Config, Transformer
from minitransformer.training import training_step
from minitransformer.training.replicas import Replicas, replica

pytest.importorskip("threadpoolctl")


def gradients(model, source, ids, targets, **options):
    """The loss and gradients of `model` when `source`, it or its Replicas, computes them."""
    loss, backward = source.loss(ids, targets, **options)
    backward(0.7)
    found = [parameter.grad for parameter in model.parameters()]
    for parameter in model.parameters():
        parameter.grad = None
    return float(loss), found


@given(configs(), rngs, st.integers(1, 4), st.integers(1, 5))
def test_any_number_of_replicas_gives_the_loss_and_gradients_of_the_model(config, rng, count, batch):
    model = random_model(config, rng)
    ids = random_ids(config, rng, batch, config.context)
    targets = random_ids(config, rng, batch, config.context)
    targets[rng.random(targets.shape) < 0.3] = -100  # so that the shares weigh differently
    loss, expected = gradients(model, model, ids, targets)
    shared_loss, shared = gradients(model, Replicas(model, count), ids, targets)
    assert shared_loss == pytest.approx(loss, rel=1e-10)
    for name, a, b in zip(dict(model.named_parameters()), shared, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-10, err_msg=name)


@pytest.fixture
def model():
    return Transformer(Config(vocab_size=11, context=6, d_model=8, n_heads=2, n_layers=2, dropout=0.3), seed=1)


def batch(rng):
    return rng.integers(0, 11, (5, 6)), rng.integers(0, 11, (5, 6))


def test_the_same_bits_come_out_every_time_dropout_included(model, rng):
    replicas, (ids, targets) = Replicas(model, 3), batch(rng)
    runs = [gradients(model, replicas, ids, targets, rng=np.random.default_rng(4)) for _ in range(5)]
    other = gradients(model, replicas, ids, targets, rng=np.random.default_rng(5))
    for loss, found in runs[1:]:
        assert loss == runs[0][0] != other[0]
        assert all(np.array_equal(a, b) for a, b in zip(found, runs[0][1], strict=True))


def test_training_with_replicas_is_training_without(rng):
    ids, targets = batch(rng)
    losses = []
    for count in (1, 2):
        model = Transformer(Config(vocab_size=11, context=6, d_model=8, n_heads=2, n_layers=2), seed=1)
        trained = Replicas(model, count) if count > 1 else model
        optimizer = AdamW(model.parameters(), lr=1e-2)
        losses.append([training_step(trained, optimizer, [(ids, targets)], clip=1.0) for _ in range(20)])
    np.testing.assert_allclose(*losses, rtol=1e-4)
    assert losses[0][-1][0] < 0.6 * losses[0][0][0]


def test_a_replica_shares_arrays_ties_and_freezing_but_no_gradient_and_no_module(model):
    model.blocks[0].attention.w_q.weight.requires_grad = False
    model.embedding.weight.grad = np.ones(1)
    twin = replica(model)
    pairs = list(zip(model.named_parameters(), twin.named_parameters(), strict=True))
    assert all(name == twin_name and p.data is q.data and p is not q for (name, p), (twin_name, q) in pairs)
    assert all(q.grad is None and p.requires_grad == q.requires_grad for (_, p), (_, q) in pairs)
    assert twin.lm_head.weight is twin.embedding.weight
    modules = [dict(m.named_modules()).values() for m in (model, twin)]
    assert all(a is not b for a, b in zip(*modules, strict=True))


def test_what_is_wrong_with_a_batch_is_raised_as_the_model_raises_it(model, rng):
    ids, targets = batch(rng)
    ids[4, 2] = 11
    with pytest.raises(ValueError, match="id 11 at position"):
        Replicas(model, 2).loss(ids, targets)


def test_less_than_one_replica_is_refused(model):
    with pytest.raises(ValueError, match="at least 1 replica, not 0"):
        Replicas(model, 0)
