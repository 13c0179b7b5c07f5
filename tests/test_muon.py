"""Muon: the iteration compared with the singular value decomposition, the step, and the training of the blocks."""

import ast
import inspect
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, strategies as st
from small_runs import SETTINGS, small_corpus, small_lm
from strategies import rngs

from minitransformer import AdamW, Muon, Parameter, muon, orthogonalize
from minitransformer.training import fit, pretrain
from minitransformer.training.run import optimizer_for

LOWEST, HIGHEST, SMALLEST = 0.681, 1.203, 0.0016  # the docstring's
sizes = st.integers(1, 9)


def published(G, steps=5):
    """Apply the iteration to the singular values, which are computed here and nowhere in Muon."""
    u, s, vt = np.linalg.svd(np.asarray(G, np.float64), full_matrices=False)
    s = s / math.sqrt((s**2).sum())
    for _ in range(steps):
        s = 3.4445 * s - 4.7750 * s**3 + 2.0315 * s**5
    return u @ np.diag(s) @ vt


def expected_moves(gradients, theta, *, lr, momentum, nesterov, weight_decay):
    """Follow Jordan's program, with m as an average of gradients and the factor of weights of shape (out, in)."""
    average, moves = np.zeros_like(theta), [theta]
    for g in gradients:
        average = momentum * average + (1 - momentum) * g
        update = (1 - momentum) * g + momentum * average if nesterov else average
        scale = max(1, update.T.shape[0] / update.T.shape[1]) ** 0.5
        moves.append(moves[-1] * (1 - lr * weight_decay) - lr * scale * published(update))
    return moves


@given(rngs, sizes, sizes, st.integers(0, 6), st.floats(-12, 12))
def test_the_iteration_acts_on_the_singular_values_alone_at_any_scale(rng, M, N, steps, exponent):
    G = rng.normal(size=(M, N)) * 10.0**exponent
    np.testing.assert_allclose(orthogonalize(G, steps=steps), published(G, steps), rtol=1e-8, atol=1e-10)


def drawn_singular_values(rng, n):
    """Draw singular values between the smallest that is promised and the largest, with 1 as the norm of all."""
    s = np.exp(rng.uniform(math.log(SMALLEST * 1.01), 0, n))
    s = s / math.sqrt((s**2).sum())
    return s[s > SMALLEST]


@given(rngs, st.integers(1, 8), st.integers(0, 8))
def test_singular_values_end_in_the_promised_interval_with_the_directions_kept(rng, n, more):
    s = drawn_singular_values(rng, n)
    u = np.linalg.qr(rng.normal(size=(n + more, len(s))))[0]
    v = np.linalg.qr(rng.normal(size=(n, len(s))))[0]
    found = u.T @ orthogonalize(u @ np.diag(s) @ v.T) @ v
    assert np.abs(found - np.diag(np.diag(found))).max() < 1e-9
    assert np.diag(found).min() >= LOWEST and np.diag(found).max() <= HIGHEST


def test_the_numbers_of_the_docstring():
    def phi(s):
        return 3.4445 * s - 4.7750 * s**3 + 2.0315 * s**5

    s = np.linspace(0, 1.203, 1_000_001)
    values = phi(s)
    assert values.min() >= 0 and values.max() == pytest.approx(1.2024, abs=1e-4)
    assert s[values.argmax()] == pytest.approx(0.555, abs=1e-3)
    upper = s >= 0.211
    assert values[upper].min() >= LOWEST and s[upper][values[upper].argmin()] == pytest.approx(1.050, abs=1e-3)
    assert phi(1.0) == pytest.approx(0.701) and phi(0.868026) == pytest.approx(0.868026, abs=1e-5)
    assert pytest.approx(-1.58, abs=0.005) == 3.4445 - 3 * 4.7750 * 0.868026**2 + 5 * 2.0315 * 0.868026**4
    assert round(3.4445**5) == 485 and round((15 / 8) ** 5) == 23
    smallest = np.float64(SMALLEST)
    for _ in range(4):
        smallest = phi(smallest)
    assert smallest > 0.211
    for number in ("0.701", "0.868", "−1.58", "1.2024", "0.555", "1.050", "485", "0.211", str(LOWEST), str(SMALLEST)):
        assert number in orthogonalize.__doc__


@given(rngs, sizes, sizes)
def test_no_step_of_this_spectral_norm_has_a_larger_product_with_the_gradient(rng, M, N):
    G, other = rng.normal(size=(2, M, N))
    u, s, vt = np.linalg.svd(G, full_matrices=False)
    assert np.vdot(G, u @ vt) == pytest.approx(s.sum())
    assert np.vdot(G, other / np.linalg.norm(other, 2)) <= s.sum() * (1 + 1e-12)
    if M >= N:
        orthonormal = np.linalg.qr(other)[0]
        assert np.linalg.norm(G - u @ vt) <= np.linalg.norm(G - orthonormal) * (1 + 1e-12)


@given(rngs, sizes, sizes)
def test_a_transposed_matrix_has_the_transposed_result_and_a_batch_is_a_loop(rng, M, N):
    G = rng.normal(size=(3, M, N))
    together = orthogonalize(G)
    for matrix, result in zip(G, together, strict=True):
        np.testing.assert_allclose(result, orthogonalize(matrix), rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(result.T, orthogonalize(matrix.T), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_float32_stays_float32_and_neither_overflows_nor_vanishes(rng, scale):
    G = rng.normal(size=(5, 3)).astype(np.float32)
    before = (G * np.float32(scale)).copy()
    result = orthogonalize(before)
    assert result.dtype == np.float32 and np.array_equal(before, G * np.float32(scale))
    np.testing.assert_allclose(result, published(G), atol=1e-5)


def test_zeros_stay_zeros_and_a_rank_that_is_not_full_stays_as_it_is(rng):
    assert np.array_equal(orthogonalize(np.zeros((2, 3))), np.zeros((2, 3)))
    one = np.outer(rng.normal(size=4), rng.normal(size=3))
    assert np.linalg.matrix_rank(orthogonalize(one), tol=1e-10) == 1


@pytest.mark.parametrize(
    "call, error, words",
    [
        (
            lambda: orthogonalize(np.ones(3)),
            ValueError,
            r"G must be a floating-point matrix, not float64 with shape \(3",
        ),
        (lambda: orthogonalize(np.ones((2, 2), int)), TypeError, "G must be a floating-point matrix, not int64"),
        (lambda: orthogonalize(np.ones((2, 2)), steps=-1), ValueError, "steps must be at least 0, not -1"),
        (lambda: Muon([Parameter(np.ones(3))]), ValueError, r"must be matrices, not a parameter of shape \(3,\)"),
        (lambda: Muon([Parameter(np.ones((2, 2)))], lr=-1), ValueError, "Muon: lr must be at least 0, not -1"),
        (
            lambda: Muon([Parameter(np.ones((2, 2)))], momentum=1),
            ValueError,
            "momentum must be at least 0 and less than",
        ),
        (lambda: Muon([Parameter(np.ones((2, 2)))], nesterov=1), TypeError, "Muon: nesterov must be True or False"),
        (lambda: Muon([{"params": [], "betas": 1}]), ValueError, "Muon: unknown setting 'betas' in a group"),
        (lambda: Muon([]), ValueError, "Muon: parameters must contain at least one Parameter"),
    ],
)
def test_arguments_that_cannot_be_are_named(call, error, words):
    with pytest.raises(error, match=words):
        call()


settings = st.fixed_dictionaries(
    {
        "lr": st.floats(0.01, 0.5),
        "momentum": st.floats(0, 0.95),
        "nesterov": st.booleans(),
        "weight_decay": st.floats(0, 0.5),
    }
)


@given(rngs, st.integers(1, 5), st.integers(1, 5), settings)
def test_steps_follow_the_published_program_and_keep_each_parameters_state(rng, fan_in, fan_out, settings):
    shapes = (fan_in, fan_out), (fan_out + 1, fan_in)
    starts = [rng.normal(size=shape) for shape in shapes]
    gradients = [[rng.normal(size=shape) for shape in shapes] for _ in range(4)]
    parameters = [Parameter(start.copy()) for start in starts]
    optimizer = Muon([{"params": parameters[:1]}, {"params": parameters[1:], "lr": 0.3}], **settings)
    paths = [
        expected_moves([step[i] for step in gradients], starts[i], **settings | ({"lr": 0.3} if i else {}))
        for i in range(2)
    ]
    for t, step in enumerate(gradients, start=1):
        optimizer.zero_grad()
        for parameter, g in zip(parameters, step, strict=True):
            parameter.accumulate(g)
        optimizer.step()
        for parameter, path in zip(parameters, paths, strict=True):
            np.testing.assert_allclose(parameter.data, path[t], rtol=1e-7, atol=1e-9)


MISTAKES = [
    ("- lr * weight_decay * theta", "- weight_decay * theta"),
    ("- lr * weight_decay * theta", ""),
    ("momentum * m + g", "momentum * m + (1 - momentum) * g + theta * weight_decay"),
    ("momentum * m + g", "m + g"),
    ("g + momentum * m_new if nesterov", "m_new if nesterov"),
    ("g + momentum * m_new if nesterov", "g + m_new if nesterov"),
    ("g + momentum * m_new if nesterov", "g + momentum * m if nesterov"),
    ("fan_out / fan_in", "fan_in / fan_out"),
    ("math.sqrt(max(1, fan_out / fan_in))", "max(1, fan_out / fan_in)"),
    ("max(1, fan_out / fan_in)", "fan_out / fan_in"),
    ("decayed - lr", "decayed + lr"),
    ("return theta_new, m_new", "return theta_new, u"),
    ("orthogonalize(u)", "orthogonalize(g)"),
    ("orthogonalize(u)", "orthogonalize(u, steps=4)"),
]


@pytest.mark.parametrize("right, wrong", [("theta", "theta"), *MISTAKES])
def test_a_planted_mistake_leaves_the_published_program(rng, right, wrong):
    source = inspect.getsource(muon.muon)
    code = source.replace(ast.get_docstring(ast.parse(source).body[0], clean=False), "")
    assert right in code
    namespace = dict(vars(muon))
    exec(code.replace(right, wrong), namespace)
    options = {"lr": 0.3, "momentum": 0.8, "nesterov": True, "weight_decay": 0.2}
    is_right = True
    for shape in ((4, 3), (3, 5)):
        theta, *gradients = rng.normal(size=(4, *shape))
        path, m = expected_moves(gradients, theta, **options), np.zeros(shape)
        for g, expected in zip(gradients, path[1:], strict=True):
            theta, m = namespace["muon"](theta, g, m, **options)
            is_right = is_right and np.allclose(theta, expected, rtol=1e-7, atol=1e-9)
    assert is_right == (right == wrong)


def test_a_step_writes_into_the_data_keeps_float32_and_decays_without_the_gradient():
    theta = Parameter(np.ones((2, 3), np.float32))
    data, gradient = theta.data, np.zeros((2, 3), np.float32)
    theta.accumulate(gradient)
    Muon([theta], lr=0.1, weight_decay=0.5).step()
    assert theta.data is data and data.dtype == np.float32 and theta.grad is gradient
    np.testing.assert_allclose(data, 0.95, rtol=1e-6)


@given(rngs, st.floats(1e-3, 10))
def test_scaled_gradients_are_scaled_before_they_are_added_to_the_momentum(rng, scale):
    start, *gradients = rng.normal(size=(4, 4, 3))
    on_the_way, before = Parameter(start.copy()), Parameter(start.copy())
    ours, theirs = Muon([on_the_way], lr=0.1), Muon([before], lr=0.1)
    for gradient, factor in zip(gradients, (1.0, scale, 1.0), strict=True):
        on_the_way.grad, before.grad = gradient, gradient * factor
        ours.step(gradient_scale=factor)
        theirs.step()
    np.testing.assert_allclose(on_the_way.data, before.data, rtol=1e-9, atol=1e-12)


def test_twenty_steps_equal_pytorch_to_the_precision_of_its_bfloat16(rng, torch):
    if not hasattr(torch.optim, "Muon"):
        pytest.skip("this version of PyTorch has no Muon")
    ours = [Parameter(rng.normal(size=shape)) for shape in ((9, 4), (4, 9), (5, 5))]
    theirs = [torch.nn.Parameter(torch.tensor(p.data.T.copy())) for p in ours]  # of shape (out, in)
    options = {"lr": 0.02, "momentum": 0.9, "nesterov": True, "weight_decay": 0.1}
    optimizer, reference = Muon(ours, **options), torch.optim.Muon(theirs, adjust_lr_fn="original", **options)
    for _ in range(20):
        for our, their in zip(ours, theirs, strict=True):
            our.grad = rng.normal(size=our.data.shape) + 4 * np.eye(*our.data.shape)  # no small singular value
            their.grad = torch.tensor(our.grad.T.copy())
        optimizer.step()
        reference.step()
    for our, their in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(
            our.data.T, their.detach().numpy(), atol=0.02
        )  # they moved by 0.4, and bfloat16 has three digits


# In training.

MUON = replace(SETTINGS, optimizer="muon", muon_lr=0.05)


def test_muon_moves_the_matrices_of_the_blocks_and_adamw_everything_else():
    lm = small_lm(tie_embeddings=False)
    adamw, of_blocks = optimizer_for(lm.model, MUON).parts
    assert isinstance(adamw, AdamW) and isinstance(of_blocks, Muon)
    names = {id(p): name for name, p in lm.model.named_parameters()}
    matrices = {name for name, p in lm.model.named_parameters() if p.data.ndim == 2 and name.startswith("blocks.")}
    assert {names[id(p)] for p in of_blocks.parameters()} == matrices and len(matrices) == 6
    assert {names[id(p)] for p in adamw.parameters()} == set(names.values()) - matrices
    assert [group["weight_decay"] for group in adamw.param_groups] == [0.1, 0.0]
    assert [group["weight_decay"] for group in of_blocks.param_groups] == [0.1]


def test_both_learning_rates_follow_the_schedule():
    lm = small_lm()
    optimizer, rates = optimizer_for(lm.model, MUON), []

    def look(step, loss, norm):
        rates.append([group["lr"] for group in optimizer.param_groups])

    batches = iter([[(np.zeros((1, 4), int), np.zeros((1, 4), int))]] * 2)
    fit(lm.model, batches, optimizer, 2, look, lr=lambda step: 1e-2 / (step + 1))
    np.testing.assert_allclose(rates, [[0.01, 0.01, 0.05], [0.005, 0.005, 0.025]])


def test_another_optimizer_is_refused_when_a_run_is_resumed(tmp_path):
    pretrain(small_lm(), small_corpus(), SETTINGS, out=tmp_path)
    with pytest.raises(ValueError, match="cannot resume: optimizer was adamw, and now is muon"):
        pretrain(small_lm(), small_corpus(), MUON, out=tmp_path, resume=True)
