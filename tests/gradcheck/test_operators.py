"""Forward mode, second derivatives, linear operators with their adjoints, and the remainders of Taylor's formula."""

import numpy as np
import pytest
from hypothesis import given, strategies as st
from scipy import optimize
from scipy.sparse import linalg, random_array

from gradcheck import GradientError, check_adjoint_operator, check_hessian, check_hvp, check_jvp, taylor

rng = np.random.default_rng(0)
X, W = rng.normal(size=(3, 2)), rng.normal(size=(2, 4))


def squashed(x, w):
    return np.tanh(x @ w)


def tangent_of_squashed(inputs, tangents, *, factor=1.0):
    (x, w), (dx, dw) = inputs, tangents
    return (1 - squashed(x, w) ** 2) * (dx @ w + factor * x @ dw)


def test_a_right_product_with_the_jacobian_passes_also_with_the_value_beside_it():
    report = check_jvp(squashed, tangent_of_squashed, X, W)
    assert [argument.entries for argument in report.arguments] == [6, 8]
    assert check_jvp(squashed, lambda p, t: (squashed(*p), tangent_of_squashed(p, t)), X, W).is_right


@pytest.mark.parametrize(
    "jvp, words",
    [
        (lambda p, t: tangent_of_squashed(p, t, factor=1.01), "dw: 8 of 8 entries disagree"),
        (lambda p, t: tangent_of_squashed(p, (t[0] ** 2, t[1])), "not linear in the tangents"),
        (lambda p, t: tangent_of_squashed(p, t).sum(axis=0), r"the tangent has shape \(4,\), but y has \(3, 4\)"),
    ],
    ids=["factor", "square", "shape"],
)
def test_a_wrong_product_with_the_jacobian_is_found(jvp, words):
    with pytest.raises(GradientError, match=words):
        check_jvp(squashed, jvp, X, W)


def test_the_second_derivatives_of_scipys_rosenbrock_function_are_right():
    x = rng.normal(size=5)
    assert check_hvp(optimize.rosen, optimize.rosen_der, optimize.rosen_hess_prod, x).is_right
    assert check_hessian(optimize.rosen, optimize.rosen_der, optimize.rosen_hess, x).is_right


@pytest.mark.one_in(2)
@pytest.mark.parametrize("i, j", [(0, 0), (4, 3)])
def test_one_wrong_entry_of_a_hessian_is_found_by_its_column(i, j):
    def hessian(x):
        h = optimize.rosen_hess(x)
        h[i, j] *= 1.001
        return h + 1e-3 * (h == 0) * (np.arange(5) == j) * (np.arange(5)[:, None] == i)

    x = rng.normal(size=5)
    with pytest.raises(GradientError, match=rf"dx: 1 of 5 entries disagree; worst at \[{j}\]"):
        check_hessian(optimize.rosen, optimize.rosen_der, hessian, x)
    with pytest.raises(GradientError, match="dx: 1 of 5 entries disagree"):
        check_hvp(optimize.rosen, optimize.rosen_der, lambda x, v: hessian(x) @ v, x)


def test_a_wrong_gradient_is_found_before_the_hessian():
    with pytest.raises(GradientError, match="rosen: dx: "):
        check_hessian(
            optimize.rosen, lambda x: 2 * optimize.rosen_der(x), lambda x: 2 * optimize.rosen_hess(x), np.ones(3) / 3
        )


@given(rows=st.integers(1, 5), columns=st.integers(1, 5), is_complex=st.booleans(), seed=st.integers(0, 99))
def test_a_matrix_and_its_conjugate_transpose_are_adjoint_and_its_transpose_only_if_it_is_real(
    rows, columns, is_complex, seed
):
    rng = np.random.default_rng(seed)
    a = rng.normal(size=(rows, columns)) + (1j * rng.normal(size=(rows, columns)) if is_complex else 0)
    x = np.ones(columns, a.dtype)
    assert check_adjoint_operator(lambda v: a @ v, lambda w: a.conj().T @ w, x) < 1e-12
    if is_complex:
        with pytest.raises(GradientError, match="the adjoint is wrong"):
            check_adjoint_operator(lambda v: a @ v, lambda w: a.T @ w, x)


def test_operators_of_scipy_and_on_images_are_checked():
    matrix = random_array((6, 4), density=0.5, rng=0)
    assert check_adjoint_operator(linalg.aslinearoperator(matrix)) < 1e-12
    wrong = linalg.LinearOperator((6, 4), matvec=lambda v: matrix @ v, rmatvec=lambda w: 2 * matrix.T @ w, dtype=float)
    with pytest.raises(GradientError, match=r"⟨A v, w⟩ = .*, but ⟨v, A\* w⟩"):
        check_adjoint_operator(wrong)
    image = np.zeros((4, 5))
    assert (
        check_adjoint_operator(
            lambda u: np.diff(u, axis=0), lambda w: -np.diff(np.pad(w, ((1, 1), (0, 0))), axis=0), image
        )
        < 1e-12
    )


def test_a_fourier_transform_of_real_numbers_has_a_real_adjoint():
    def adjoint(w, factor=1.0):
        return np.fft.fft(np.r_[w.conj(), np.zeros(3)]).real * factor

    check_adjoint_operator(np.fft.rfft, adjoint, np.zeros(8))
    with pytest.raises(GradientError, match="the adjoint is wrong"):
        check_adjoint_operator(np.fft.rfft, lambda w: adjoint(w, 2.0), np.zeros(8))


@pytest.mark.parametrize(
    "operator, adjoint, words",
    [
        (lambda v: v + 1, lambda w: w, "the operator is not linear"),
        (lambda v: v, lambda w: np.abs(w), "the adjoint is not linear"),
        (lambda v: v[:2], lambda w: w, r"the adjoint returns shape \(2,\), but the operator takes \(3,\)"),
    ],
)
def test_what_is_no_adjoint_operator_is_named(operator, adjoint, words):
    with pytest.raises(GradientError, match=words):
        check_adjoint_operator(operator, adjoint, np.zeros(3))


def test_missing_arguments_of_an_operator_are_named():
    with pytest.raises(TypeError, match=r"\(operator, adjoint, x\) or a LinearOperator, not \(a function, None"):
        check_adjoint_operator(lambda v: v)


def test_the_remainders_of_taylor_fall_at_their_rates_and_the_verdict_is_that_of_the_check():
    x = rng.normal(size=4)
    right = taylor(optimize.rosen, optimize.rosen_der, x, optimize.rosen_hess_prod)
    assert right.rates == pytest.approx((1, 2, 3), abs=0.1)
    assert right.verdicts == ("", "right", "right")
    wrong = taylor(optimize.rosen, lambda x: 1.01 * optimize.rosen_der(x), x)
    assert wrong.rates[1] < 1.3 and wrong.verdicts == ("", "WRONG")
    assert str(wrong).splitlines()[-1].split() == ["verdict", "WRONG"]


def test_of_a_linear_function_the_remainder_is_rounding_and_the_gradient_right():
    c = rng.normal(size=4)
    table = taylor(lambda x: c @ x, lambda x: c, rng.normal(size=4))
    assert table.rates[1] is None and table.verdicts[1] == "right" and "rounding" in str(table)
