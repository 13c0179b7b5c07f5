"""AdamW, clipping and the learning-rate schedule."""

import math

import numpy as np
import pytest
from hypothesis import given, strategies as st
from strategies import rngs

from minitransformer import (
    AdamW,
    Config,
    Parameter,
    Transformer,
    clip_grad_norm,
    cosine_schedule,
    decay_groups,
    optim,
    plain,
)


def parameter(data, grad=None):
    result = Parameter(np.array(data, float))
    result.grad = None if grad is None else np.array(grad, float)
    return result


def test_the_first_two_steps_follow_the_equations():
    lr, beta1, beta2, eps, decay = 0.1, 0.8, 0.95, 0.01, 0.3
    theta = parameter([2.0])
    optimizer = AdamW([theta], lr, (beta1, beta2), eps, decay)
    g1, g2 = 0.5, -3.0
    theta.grad = np.array([g1])
    optimizer.step()
    expected = 2.0 * (1 - lr * decay) - lr * g1 / (abs(g1) + eps)
    assert theta.data[0] == pytest.approx(expected, rel=1e-12)
    theta.grad = np.array([g2])
    optimizer.step()
    m = (beta1 * (1 - beta1) * g1 + (1 - beta1) * g2) / (1 - beta1**2)
    v = (beta2 * (1 - beta2) * g1**2 + (1 - beta2) * g2**2) / (1 - beta2**2)
    expected = expected * (1 - lr * decay) - lr * m / (math.sqrt(v) + eps)
    assert theta.data[0] == pytest.approx(expected, rel=1e-12)


def unrolled(beta, t):
    """The weights of the gradients of steps 1 … t in a corrected average."""
    return (1 - beta) * beta ** (t - np.arange(1, t + 1)) / (1 - beta**t)


def step_of(gradients, betas):
    """The last move of AdamW over lr, for one parameter with these gradients, one a step."""
    theta, m, v = np.zeros(1), np.zeros(1), np.zeros(1)
    options = {"lr": 1.0, "betas": betas, "eps": 0.0, "weight_decay": 0.0}
    for t, g in enumerate(gradients, start=1):
        before = theta
        theta, m, v = optim.adamw(theta, np.array([g]), m, v, t=t, **options)
    return (before - theta).item()


@given(rngs, st.integers(1, 30))
def test_corrected_averages_are_averages_and_no_step_is_longer_than_their_bound(rng, t):
    gradients = rng.normal(size=t) * 10.0 ** rng.integers(-3, 3, size=t)
    a, b = unrolled(0.9, t), unrolled(0.999, t)
    assert a.sum() == pytest.approx(1, rel=1e-12) and b.sum() == pytest.approx(1, rel=1e-11)
    move = step_of(gradients, (0.9, 0.999))
    assert move == pytest.approx(a @ gradients / math.sqrt(b @ gradients**2), rel=1e-9)
    assert abs(move) <= math.sqrt((a**2 / b).sum()) * (1 + 1e-9) <= 7.271


def test_the_bound_on_a_step_is_reached_and_tends_to_the_number_in_the_docstring():
    a, b = unrolled(0.9, 60), unrolled(0.999, 60)
    assert step_of(a / b, (0.9, 0.999)) == pytest.approx(math.sqrt((a**2 / b).sum()), rel=1e-9)
    limit = math.sqrt((1 - 0.9) ** 2 / ((1 - 0.999) * (1 - 0.9**2 / 0.999)))
    bounds = [math.sqrt((unrolled(0.9, t) ** 2 / unrolled(0.999, t)).sum()) for t in (1, 2, 10, 100, 1000, 6000)]
    assert bounds[0] == pytest.approx(1) and bounds == sorted(bounds)
    assert bounds[-1] == pytest.approx(limit, rel=0.01)
    words = " ".join(optim.adamw.__doc__.split())
    assert f"root is {limit:.2f}" in words and f"never exceeds {limit + 0.01:.2f}" in words


def test_forty_steps_with_groups_and_missing_gradients_equal_pytorch(rng, torch):
    shapes = [(3, 4), (5,), (2, 2), (4,)]
    ours = [Parameter(rng.normal(size=shape)) for shape in shapes]
    theirs = [torch.tensor(p.data.copy(), requires_grad=True) for p in ours]

    def groups(parameters):
        settings = [{"weight_decay": 0.0, "lr": 0.03}, {"betas": (0.7, 0.9), "eps": 1e-3}, {}]
        members = [parameters[:1], parameters[1:3], parameters[3:]]
        return [{"params": params, **group} for params, group in zip(members, settings, strict=True)]

    defaults = {"lr": 0.01, "betas": (0.9, 0.95), "weight_decay": 0.2}
    optimizer, reference = AdamW(groups(ours), **defaults), torch.optim.AdamW(groups(theirs), **defaults)
    for step in range(40):
        for group, reference_group in zip(optimizer.param_groups, reference.param_groups, strict=True):
            group["lr"] = reference_group["lr"] = reference_group["lr"] * 0.98
        optimizer.zero_grad()
        reference.zero_grad()
        for i, (our, their) in enumerate(zip(ours, theirs, strict=True)):
            if (step + i) % 3:  # else it has no gradient at this step
                gradient = rng.normal(size=our.data.shape) * 10.0 ** (i - 2)
                our.accumulate(gradient)
                their.grad = torch.tensor(gradient)
        optimizer.step()
        reference.step()
    for our, their in zip(ours, theirs, strict=True):
        assert np.allclose(our.data, their.detach().numpy(), rtol=1e-11, atol=1e-14)


def test_a_step_writes_into_the_data_and_never_into_the_gradient():
    theta = Parameter(np.ones(3, np.float32))
    data, gradient = theta.data, np.array([1, 2, 3], np.float32)
    theta.accumulate(gradient)
    optimizer = AdamW([theta])
    optimizer.step()
    assert theta.data is data and data.dtype == np.float32 and (data != 1).all()
    assert theta.grad is gradient and gradient.tolist() == [1, 2, 3]
    optimizer.zero_grad()
    assert theta.grad is None


@pytest.mark.parametrize("is_plain", [False, True])
def test_parts_and_threads_change_no_bit(rng, is_plain):
    start, *gradients = rng.normal(size=(3, 1100, 1000)).astype(np.float32)
    whole, rows = Parameter(start.copy()), [Parameter(row.copy()) for row in start[::110]]
    with plain(is_plain):
        for parameter, of_parameter in [(whole, slice(None)), *zip(rows, range(0, 1100, 110), strict=True)]:
            optimizer = AdamW([parameter], lr=0.1, weight_decay=0.1)
            for gradient in gradients:
                parameter.grad = gradient[of_parameter]
                optimizer.step()
    assert np.array_equal(whole.data[::110], [row.data for row in rows])
    assert not (whole.data == start).all(axis=1).any()


@given(rngs, st.floats(1e-3, 10))
def test_a_step_with_scaled_gradients_is_a_step_after_the_gradients_were_scaled(rng, scale):
    start, *gradients = rng.normal(size=(4, 4, 3))
    on_the_way, before = Parameter(start.copy()), Parameter(start.copy())
    ours, plain = (AdamW([theta], lr=0.1, eps=0.01) for theta in (on_the_way, before))
    for gradient in gradients:
        on_the_way.grad, before.grad = gradient, gradient * scale
        ours.step(gradient_scale=scale)
        plain.step()
    np.testing.assert_allclose(on_the_way.data, before.data, rtol=1e-12, atol=1e-14)
    assert on_the_way.grad is gradients[-1]


@pytest.mark.parametrize(
    "arguments, error, words",
    [
        (lambda p: ([],), ValueError, "AdamW: parameters must contain at least one Parameter"),
        (lambda p: ([p, p],), ValueError, "parameters must contain each Parameter once"),
        (lambda p: ([{"params": [p]}, {"params": [p]}],), ValueError, "parameters must contain each Parameter once"),
        (lambda p: ([{"params": [p], "momentum": 1}],), ValueError, "unknown setting 'momentum' in a group"),
        (lambda p: (p,), TypeError, r"a list of Parameters, such as model.parameters\(\)"),
        (lambda p: ([{"lr": 1.0}],), ValueError, "must be a dictionary with 'params'"),
        (lambda p: ([p], "a"), TypeError, "lr must be a number, not 'a'"),
        (lambda p: ([p], 1, (0.9,)), TypeError, "betas must be two numbers"),
        (lambda p: ([p.data],), TypeError, r"params must be a list of Parameters, such as model.parameters\(\)"),
        (lambda p: ([p], -1), ValueError, "lr must be at least 0, not -1"),
        (lambda p: ([p], math.nan), ValueError, "lr must be at least 0, not nan"),
        (lambda p: ([p], 1, (0.9, 1.0)), ValueError, "betas must be at least 0 and less than 1, not 1.0"),
        (lambda p: ([p], 1, (-0.1, 0.9)), ValueError, "betas must be at least 0 and less than 1, not -0.1"),
        (lambda p: ([p], 1, 0.9), TypeError, "betas must be two numbers, not 0.9"),
        (lambda p: ([p], 1, (0.9, "x")), TypeError, "betas must be a number, not 'x'"),
        (lambda p: ([p], 1, (0.9, 0.9), -1), ValueError, "eps must be at least 0, not -1"),
        (lambda p: ([{"params": [p], "weight_decay": -2}],), ValueError, "weight_decay must be at least 0, not -2"),
    ],
)
def test_settings_that_cannot_be_are_named(arguments, error, words):
    with pytest.raises(error, match=words):
        AdamW(*arguments(parameter([1.0])))


@pytest.mark.parametrize("tie_embeddings", [True, False])
@pytest.mark.parametrize("positions", ["learned", "rotary", "sinusoidal"])
def test_gains_biases_and_embeddings_do_not_decay_and_every_other_matrix_does(tie_embeddings, positions):
    model = Transformer(Config(7, 5, 8, 2, 1, tie_embeddings=tie_embeddings, positions=positions))
    decayed, kept = decay_groups(model, 0.1)
    assert decayed["weight_decay"] == 0.1 and kept["weight_decay"] == 0.0
    names = {id(p): name for name, p in model.named_parameters()}
    attention = [f"blocks.0.attention.w_{x}.weight" for x in "qkvo"]
    feed_forward = ["blocks.0.feed_forward.up.weight", "blocks.0.feed_forward.down.weight"]
    head = [] if tie_embeddings else ["lm_head.weight"]
    assert [names[id(p)] for p in decayed["params"]] == attention + feed_forward + head
    assert {names[id(p)] for p in kept["params"]} == set(names.values()) - set(attention + feed_forward + head)
    all_decayed, all_kept = decay_groups(model, 0.1, embeddings=True)
    assert [names[id(p)] for p in all_decayed["params"]] == [n for n, p in model.named_parameters() if p.data.ndim == 2]
    assert {p.data.ndim for p in all_kept["params"]} == {1} and all_kept["weight_decay"] == 0.0
    optimizer = AdamW(decay_groups(model, 0.1), lr=0.5)
    before = {name: p.data.copy() for name, p in model.named_parameters()}
    for p in model.parameters():
        p.data += 1
        p.grad = np.zeros_like(p.data)
    optimizer.step()
    for name, p in model.named_parameters():
        factor = 0.95 if name in attention + feed_forward + head else 1
        assert np.allclose(p.data, factor * (before[name] + 1)), name


@given(rngs, st.floats(0.01, 100))
def test_clipping_returns_the_common_norm_and_keeps_the_direction(rng, max_norm):
    gradients = [rng.normal(size=shape) for shape in [(3, 4), (5,), ()]]
    parameters = [parameter(np.zeros_like(g), g) for g in gradients] + [parameter([1.0])]
    norm = clip_grad_norm(parameters, max_norm)
    flat = np.concatenate([g.ravel() for g in gradients])
    assert isinstance(norm, float) and norm == pytest.approx(np.linalg.norm(flat))
    clipped = np.concatenate([p.grad.ravel() for p in parameters[:3]])
    assert np.allclose(clipped, flat * min(1, max_norm / norm))
    assert parameters[3].grad is None


@pytest.mark.parametrize("grad", [[3.0, 4.0], [0.0, 0.0], [math.inf, 1.0], [math.nan, 1.0]])
def test_clipping_leaves_small_and_not_finite_gradients_and_never_writes_into_any(grad):
    theta = parameter([1.0, 1.0], grad)
    gradient = theta.grad
    norm = clip_grad_norm([theta], 5.0)
    assert theta.grad is gradient
    assert np.array_equal(norm, np.linalg.norm(grad), equal_nan=True)
    if norm == 5.0:
        clip_grad_norm([theta], 1.0)
        assert np.allclose(theta.grad, [0.6, 0.8]) and gradient.tolist() == grad


def test_clipping_follows_the_dtype_and_takes_gradients_in_any_order_of_memory():
    theta = Parameter(np.zeros((4, 3), np.float32))
    theta.grad = np.full((3, 4), 2, np.float32).T
    assert clip_grad_norm([theta], 1.0) == pytest.approx(math.sqrt(48))
    assert theta.grad.dtype == np.float32 and np.linalg.norm(theta.grad) == pytest.approx(1)


@pytest.mark.parametrize("max_norm", [0, -1.0, math.nan])
def test_a_norm_to_clip_at_that_cannot_be_is_named(max_norm):
    with pytest.raises(ValueError, match=f"max_norm must be positive, not {max_norm}"):
        clip_grad_norm([], max_norm)


def test_the_schedule_at_its_corners():
    settings = {"lr": 1.0, "min_lr": 0.1, "warmup": 4, "steps": 14}
    rates = [cosine_schedule(step, **settings) for step in range(20)]
    assert rates[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert rates[9] == pytest.approx((1.0 + 0.1) / 2), "half way down"
    assert rates[14:] == [0.1] * 6
    assert rates[5:15] == sorted(rates[5:15], reverse=True)
    assert rates[6] == pytest.approx(0.1 + 0.9 * (1 + math.cos(math.pi * 0.2)) / 2)


@pytest.mark.parametrize("warmup, steps, expected", [(0, 2, [1, 0.5, 0]), (3, 3, [0.25, 0.5, 0.75, 0]), (0, 0, [0])])
def test_the_schedule_without_warm_up_or_without_decay(warmup, steps, expected):
    rates = [cosine_schedule(step, lr=1.0, min_lr=0.0, warmup=warmup, steps=steps) for step in range(len(expected))]
    assert rates == pytest.approx(expected)
