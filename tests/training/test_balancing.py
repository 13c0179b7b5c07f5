"""The balance of experts in training: by the bias of the choice, by a loss, in one process and in several."""

from dataclasses import replace

import numpy as np
import pytest
from small_runs import SETTINGS, assert_same_weights, small_corpus, small_lm
from strategies import random_model, taken_gradients

from minitransformer import Config, load_balance, top_k_gates
from minitransformer.analysis.hooks import record
from minitransformer.layers.modern.balancing_bias import ChoiceBias
from minitransformer.training import pretrain
from minitransformer.training.balancing import BalancedModel, Balancing, mixtures
from minitransformer.training.replicas import Replicas

EXPERTS = {"norm": "rms_norm", "feed_forward": "swiglu", "positions": "rotary", "n_experts": 4, "n_active": 2}
CONFIG = Config(11, context=6, d_model=8, n_heads=2, n_layers=2, d_ff=5, dtype="float64", **EXPERTS)
NAMES = [f"blocks.{i}.feed_forward.logits" for i in range(2)]


@pytest.fixture
def model(rng):
    model = random_model(CONFIG, rng)
    for mixture in mixtures(model).values():
        mixture.balance.requires_grad = True
    return model


def batch(rng, sequences=5):
    return rng.integers(0, 11, (sequences, 6)), rng.integers(0, 11, (sequences, 6))


def backward_of(source, model, ids, targets):
    loss, backward = source.loss(ids, targets)
    backward(0.7)
    return loss, taken_gradients(model)


def test_the_loss_is_that_of_the_model_and_the_mean_balance_of_its_sequences(model, rng):
    ids, targets = batch(rng)
    seen = record(model, ids, NAMES)
    balance = sum(np.mean([load_balance(rows, k=2)[0] for rows in seen[name]]) for name in NAMES)
    expected = model.loss(ids, targets)[0] + 0.3 * balance
    assert BalancedModel(model, 0.3).loss(ids, targets)[0] == pytest.approx(expected, rel=1e-13)


def test_its_gradient_is_the_slope_of_the_whole_loss(model, rng):
    ids, targets = batch(rng)
    source, h = BalancedModel(model, 0.3), 1e-6
    _, gradients = backward_of(source, model, ids, targets)
    parameters = {name: p for name, p in model.named_parameters() if not isinstance(p, ChoiceBias)}
    directions = {name: rng.normal(size=p.data.shape) for name, p in parameters.items()}

    def moved(step):
        for name, parameter in parameters.items():
            parameter.data = parameter.data + step * directions[name]
        return source.loss(ids, targets)[0]

    after, before = moved(h), moved(-2 * h)
    slope = 0.7 * (after - before) / (2 * h)
    assert slope == pytest.approx(sum((gradients[name] * directions[name]).sum() for name in parameters), rel=1e-6)


def test_the_gradient_of_a_bias_is_the_error_of_the_shares_that_the_gates_have(model, rng):
    ids, targets = batch(rng)
    _, gradients = backward_of(BalancedModel(model, 0.0, moves_biases=True), model, ids, targets)
    for i, logits in enumerate(record(model, ids, NAMES).values()):
        gates = top_k_gates(logits, k=2, balance=model.blocks[i].feed_forward.balance.data)[0]
        error = (gates > 0).mean(axis=(0, 1)) / 2 - 1 / 4
        assert np.allclose(gradients[f"blocks.{i}.feed_forward.balance"], 0.7 * error, rtol=1e-12, atol=1e-15)


def test_without_a_weight_the_model_has_its_own_loss_and_gradients(model, rng):
    ids, targets = batch(rng)
    loss, gradients = backward_of(BalancedModel(model, 0.0, moves_biases=True), model, ids, targets)
    own_loss, own = backward_of(model, model, ids, targets)
    assert loss == own_loss
    for name, gradient in own.items():
        assert gradient is None or np.array_equal(gradients[name], gradient), name


@pytest.mark.parametrize("count", [2, 3])
def test_replicas_give_the_loss_and_the_gradients_of_one_process(model, rng, count):
    pytest.importorskip("threadpoolctl")
    ids, targets = batch(rng)
    source = BalancedModel(model, 0.3, moves_biases=True)
    loss, expected = backward_of(source, model, ids, targets)
    shared_loss, shared = backward_of(Replicas(source, count), model, ids, targets)
    assert shared_loss == pytest.approx(loss, rel=1e-12)
    for name, gradient in expected.items():
        assert np.allclose(shared[name], gradient, rtol=1e-9, atol=1e-12), name


def test_a_step_lowers_the_bias_of_an_expert_with_more_than_its_share_by_the_rate():
    bias = ChoiceBias(np.array([0.5, 0.0, 0.0, 0.0]))
    bias.requires_grad = True
    optimizer = Balancing([bias], lr=0.25)
    bias.accumulate(np.array([0.4, 1e-17, -0.1, -0.3]))
    optimizer.step(gradient_scale=1e-3)
    assert np.array_equal(bias.data, [0.25, 0.0, 0.25, 0.25])  # a rounding error has no sign


LONGER = replace(SETTINGS, steps=40, checkpoint_every=0, eval_every=0, sample_every=0)
LIKE_LLAMA = EXPERTS | {"dtype": "float64", "dropout": 0.0}


def biases(lm):
    return [mixture.balance.data for mixture in mixtures(lm.model).values()]


def largest_share(lm):
    """Return the largest share of an expert in the choices of the text's first windows."""
    ids = small_corpus().train_ids[:400].reshape(-1, 8)
    logits = record(lm.model, ids, NAMES[:1])[NAMES[0]]
    return (top_k_gates(logits, k=2, balance=biases(lm)[0])[0] > 0).mean(axis=(0, 1)).max() / 2


@pytest.mark.parametrize("settings", [{"balance_rate": 0.05}, {"balance_rate": 0.0, "balance_weight": 2.0}], ids=str)
def test_a_run_balances_experts_that_began_unequal(settings):
    shares = []
    for chosen in ({"balance_rate": 0.0}, settings):
        lm = small_lm(**LIKE_LLAMA)
        router = lm.model.blocks[0].feed_forward.router
        router.data[:, 0] += 3 * router.data[:, 1]  # the first expert has the largest or the smallest logit
        pretrain(lm, small_corpus(), replace(LONGER, **chosen))
        shares.append(largest_share(lm))
        assert any(bias.any() for bias in biases(lm)) == (chosen["balance_rate"] > 0)
    assert shares[1] < shares[0] - 0.05


def test_two_replicas_balance_as_one_process_does():
    pytest.importorskip("threadpoolctl")
    models = [small_lm(**LIKE_LLAMA) for _ in range(2)]
    for lm, replicas in zip(models, (1, 2), strict=True):
        settings = replace(LONGER, steps=12, accumulate=2, balance_rate=0.01, balance_weight=0.1, replicas=replicas)
        pretrain(lm, small_corpus(), settings)
    for one, two in zip(*map(biases, models), strict=True):
        assert np.array_equal(one, two) and one.any()
    for (name, one), two in zip(models[0].model.named_parameters(), models[1].model.parameters(), strict=True):
        assert np.allclose(one.data, two.data, rtol=1e-7, atol=1e-9), name


def test_a_model_without_experts_trains_as_if_there_were_no_balance():
    models = [small_lm() for _ in range(2)]
    for lm, rate in zip(models, (0.0, 0.1), strict=True):
        pretrain(lm, small_corpus(), replace(SETTINGS, balance_rate=rate))
    assert_same_weights(*models)
