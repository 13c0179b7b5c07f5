"""Recording and replacing activations: analysis/hooks.py."""

import numpy as np
import pytest

from minitransformer import Config, Transformer
from minitransformer.analysis.hooks import record, record_gradients, replaced_by

NAMES = [
    "embedding",
    "blocks.0.attention.q",
    "blocks.0.attention.weights",
    "blocks.0.attention.heads",
    "blocks.0.residual_mid",
    "blocks.1",
    "ln_final",
]


@pytest.fixture
def model():
    model = Transformer(Config(vocab_size=11, context=7, d_model=8, n_heads=2, n_layers=2, dtype="float64"), seed=3)
    rng = np.random.default_rng(0)
    for parameter in model.parameters():
        parameter.data[:] = rng.normal(size=parameter.data.shape)
    return model


@pytest.fixture
def ids(rng):
    return rng.integers(0, 11, (2, 5))


@pytest.mark.parametrize("name", NAMES)
def test_the_recorded_gradient_is_the_derivative_along_a_replacement(model, ids, rng, name):
    dlogits = rng.normal(size=(2, 5, 11))
    seen, gradients = record_gradients(model, ids, [name], dlogits)
    direction, h = rng.normal(size=seen[name].shape), 1e-6

    def objective(value):
        with model.hooked({name: replaced_by(value)}):
            return float((dlogits * model.predict(ids)).sum())

    slope = (objective(seen[name] + h * direction) - objective(seen[name] - h * direction)) / (2 * h)
    assert float((gradients[name] * direction).sum()) == pytest.approx(slope, rel=1e-6, abs=1e-6)


def test_no_gradient_passes_through_what_was_replaced_and_all_of_it_through_the_rest(model, ids, rng):
    dlogits = rng.normal(size=(2, 5, 11))
    where = (slice(None), 2)
    with model.hooked({"blocks.0": replaced_by(0.5, where)}):
        _, gradients = record_gradients(model, ids, ["blocks.0.feed_forward", "blocks.1"], dlogits)
    assert (gradients["blocks.0.feed_forward"][:, 2] == 0).all()
    assert (gradients["blocks.0.feed_forward"][:, [0, 1, 3, 4]] != 0).any()
    assert (gradients["blocks.1"][:, 2] != 0).any()


def test_replacing_a_part_leaves_the_recorded_array_and_the_rest_as_they_were(model, ids):
    name = "blocks.0.attention.heads"
    before = record(model, ids, [name])[name].copy()
    seen = record(model, ids, [name])
    with model.hooked({name: replaced_by(0.0, (slice(None), 1))}):
        after = record(model, ids, [name])[name]
    np.testing.assert_array_equal(seen[name], before)
    np.testing.assert_array_equal(after[:, 0], before[:, 0])
    assert (after[:, 1] == 0).all()


def test_recording_gradients_leaves_those_of_the_parameters_alone(model, ids, rng):
    model.embedding.weight.requires_grad = False
    model.loss(ids, ids)[1]()
    before = [parameter.grad for parameter in model.parameters()]
    record_gradients(model, ids, ["embedding"], lambda logits: np.ones_like(logits))
    assert all(a is b for a, b in zip(before, [p.grad for p in model.parameters()], strict=True))
    assert [p.requires_grad for p in model.parameters()] == [
        p is not model.embedding.weight for p in model.parameters()
    ]
