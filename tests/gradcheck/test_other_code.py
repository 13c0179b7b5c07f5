"""gradcheck on code that has nothing to do with transformers: other mathematics, other habits, other slips."""

import re

import numpy as np
import pytest
from corpus import functions_in
from numpy.testing import assert_allclose, assert_array_equal
from right_functions import STYLES
from verdicts import diagnosed, message, normal, verdict

import gradcheck
from gradcheck import check, report_html

TEXT = """
convolution(x, w): normal(2, 3, 7), normal(4, 3, 3)
    windows = np.lib.stride_tricks.sliding_window_view(x, w.shape[-1], axis=-1)
    y = np.einsum("bcnk,ock->bon", windows, w)
backward(dy):
    dx = np.zeros_like(x)
    for k in range(w.shape[-1]):
        dx[..., k : k + y.shape[-1]] += np.einsum("bon,oc->bcn", dy, w[..., k])
    return dx, np.einsum("bon,bcnk->ock", dy, windows)

image_convolution(x, w): normal(5, 6), normal(2, 3)
    windows = np.lib.stride_tricks.sliding_window_view(x, w.shape)
    y = np.einsum("nmkl,kl->nm", windows, w)
backward(dy):
    dx = np.zeros_like(x)
    for k, j in np.ndindex(w.shape):
        dx[k : k + y.shape[0], j : j + y.shape[1]] += dy * w[k, j]
    return dx, np.einsum("nm,nmkl->kl", dy, windows)

batch_norm(x, gamma, *, eps=1e-5, forget_eps=False): normal(6, 4), normal(4)
    mean, variance = x.mean(axis=0), x.var(axis=0)  # of complex numbers, the mean of |x − mean|²: not complex-safe
    x_hat = (x - mean) / np.sqrt(variance + eps)
    y = gamma * x_hat
backward(dy):
    d = dy * gamma
    sigma = np.sqrt(variance + (0 if forget_eps else eps))
    return (d - d.mean(axis=0) - x_hat * (d * x_hat).mean(axis=0)) / sigma, (dy * x_hat).sum(axis=0)

length(x): normal(4, 3)
    y = np.linalg.norm(x, axis=-1)
backward(dy):
    return (dy / y)[..., None] * x
"""
FUNCTIONS = functions_in(TEXT)
batch_norm, length = FUNCTIONS["batch_norm"][0], FUNCTIONS["length"][0]


@pytest.mark.parametrize("function, inputs", [*STYLES, *FUNCTIONS.values()])
def test_right_gradients_are_right(function, inputs):
    for seed in range(2):
        assert check(function, *inputs, seed=seed).is_right


def with_error(function, slope, error=lambda x: 0.0):
    """y = function(x), whose derivative backward takes to be slope(x) + error(x)."""

    def elementwise(x):
        def backward(dy):
            return dy * (slope(x) + error(x))

        return function(x), backward

    return elementwise


PERIODIC = {
    "sine": (np.sin, np.cos),
    "sawtooth": (lambda x: x - np.floor(x), np.ones_like),  # a step of 1 does not change it
    "sine of a large multiple": (lambda x: np.sin(1e5 * x), lambda x: 1e5 * np.cos(1e5 * x)),
}


@pytest.mark.parametrize("name", PERIODIC)
@pytest.mark.parametrize("size", [1e2, 1e6])
def test_a_period_far_shorter_than_the_first_step_deceives_nobody(name, size):
    # Whole periods apart, coarse steps agree with each other on a slope of about 0.
    function, slope = PERIODIC[name]
    x = size * (1 + 0.1 * np.abs(normal(3, 4)))
    report = check(with_error(function, slope), x, rtol=1e-5)
    assert report.is_right and bool(report.notes) == (name == "sawtooth")
    for error in (0.0, 1e-8):  # in a sample, where the adjoint identity holds to all digits, or within the tolerance
        right = with_error(function, slope, lambda x, error=error: error * slope(x))
        assert check(right, x, rtol=1e-5, max_entries=5).is_right
    for share, most in ((1.0, 200), (1e-3, 5)):
        wrong = with_error(function, slope, lambda x, share=share: share * slope(x))
        assert verdict(wrong, x, rtol=1e-5, max_entries=most) == "WRONG"
    found = gradcheck.jacobian(function, x[0, :3])
    assert_allclose(found, np.diag(slope(x[0, :3])), rtol=1e-6, atol=1e-9)
    assert found.oracle == ("central differences" if name == "sawtooth" else "the complex step")


def test_the_jacobian_of_a_small_slope_beside_a_large_constant_is_there():
    x = normal(3)
    assert_allclose(gradcheck.jacobian(lambda x: 1e4 + 1e-3 * np.abs(x), x), 1e-3 * np.diag(np.sign(x)), atol=1e-8)


@pytest.mark.parametrize("sampled", [False, True])
def test_what_no_step_resolves_cannot_be_told_and_the_message_says_why(sampled):
    function, slope = PERIODIC["sine of a large multiple"]
    most = {"oracles": "central", "max_entries": 2 if sampled else 6}
    said = message(with_error(function, slope), 1e6 + np.arange(6.0), **most)
    assert re.search(r"dx: cannot tell.*: the output varies on a scale shorter than the steps$", said)


def test_a_jump_that_no_sample_meets_is_no_evidence_against_the_gradient():
    x = normal(200)
    x[7] = 0

    def step(x):
        return x + (x.real >= 0), lambda dy: dy

    for atol in (None, 1e-8):
        said = message(step, x, oracles="central", max_entries=3, atol=atol)
        assert re.search(r"cannot tell: .* along a random direction .* all 200", said)
    assert check(step, x, max_entries=3).is_right  # by the complex step, which never crosses it


def test_where_one_entry_of_many_is_wrong_the_others_are_not_called_so_for_a_coarse_step():
    x = 1e6 * (1 + 0.1 * np.abs(normal(3, 4)))
    wrong = with_error(np.sin, np.cos, lambda x: 0.01 * (x == x[1, 2]))
    assert "dx: 1 of 12 entries disagree; worst at [1, 2]" in message(wrong, x, rtol=1e-5)


# Wrong gradients


@pytest.mark.parametrize("seed", range(3))
def test_errors_of_all_sizes_are_not_taken_for_a_slice_because_some_are_small(seed):
    # Everywhere a little wrong, and nowhere right: no place sets itself apart.
    noise = 1e-4 * normal(4, 3, seed=seed + 9) ** 3
    wrong = with_error(lambda x: np.abs(x) ** 3, lambda x: 3 * x * np.abs(x), lambda x: noise)
    assert "differs only" not in diagnosed(wrong, normal(4, 3, seed=seed))["x"].diagnosis


@pytest.mark.parametrize("seed", range(2))
def test_a_forgotten_epsilon_is_not_a_wrong_place(seed):
    x, gamma = normal(6, 4, seed=seed), normal(4, seed=seed + 1)
    assert "only" not in diagnosed(batch_norm, x, gamma, eps=3e-5, forget_eps=True)["x"].diagnosis


def test_a_slice_is_still_named_where_only_central_differences_apply():
    def last_forgotten(x):
        y, right = length(x)

        def backward(dy):
            dx = right(dy)
            dx[-1] = 0
            return dx

        return y, backward

    sentence = diagnosed(last_forgotten, normal(4, 3))["x"].diagnosis
    assert "differs only at index 3 (the last) of axis 0, where it is zero" in sentence


def test_a_slope_outside_those_of_a_kink_is_wrong_and_no_evidence_of_anything_else():
    x = normal(3, 4)
    x[0, 0] = 0  # the slope of |x| there is nothing in particular, and the other gradients are right
    wrong = with_error(np.abs, np.sign, lambda x: 2.0 * (x == 0))
    found = diagnosed(wrong, x)["x"]
    assert found.disagree == 1 and found.diagnosis == ""


# Jacobians and reports


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_a_jacobian_where_the_output_is_not_finite_is_refused():
    with pytest.raises(ValueError, match=r"log: the output is not finite: nan at \[1\] \(1 of 3 entries\)"):
        gradcheck.jacobian(np.log, np.array([1.0, -1.0, 2.0]))


def test_what_was_not_compared_entry_by_entry_has_no_errors_in_a_notebook_either():
    report = gradcheck.adjoint(lambda x: (np.sin(x), lambda dy: dy * np.cos(x)), normal(3))
    cells = re.findall(r"<td[^>]*>(.*?)</td>", report_html(report))
    assert_array_equal(cells[:6], ["x", "(3,)", "direction", "-", "-", "-"])
