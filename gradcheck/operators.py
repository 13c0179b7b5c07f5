"""Check forward mode, second derivatives, and linear operators with adjoints.

With the unit vectors as tangents, a product J v gives the columns of the Jacobian, which `check` compares with its
oracles. In addition, the product must be linear in the tangents.
"""

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from gradcheck.adapters.derivatives import from_jacobian, from_value_and_gradient
from gradcheck.call import Call, describe, is_floating
from gradcheck.checking import check
from gradcheck.front.tables import table
from gradcheck.report import Report, fault

Function = Callable[..., Any]


def check_jvp(function: Function, jvp: Function, /, *inputs: Any, **terms: Any) -> Report:
    """Check a Jacobian-vector product of a function f(*inputs).

    `jvp(inputs, tangents)` takes two tuples, and returns the tangent of y, or a pair (y, tangent) as jax.jvp does. An
    input that is not a floating-point array has the tangent None. `terms` are options of `check`.

    Returns a Report, in which the gradient of an input is dy times the Jacobian that jvp computes. Raises GradientError
    if an entry is wrong, if jvp is not linear in the tangents, or if the tangent does not have the shape of y.
    """
    name = Call(jvp).name

    def product(inputs, tangents, y):
        dy = jvp(inputs, tangents)
        dy = np.asarray(dy[1] if isinstance(dy, tuple) and len(dy) == 2 else dy)
        if dy.shape != np.shape(y):
            raise fault(name, f"the tangent has shape {dy.shape}, but y has {np.shape(y)}")
        return dy

    def jacobians(*inputs):
        y, found, rng = function(*inputs), [], np.random.default_rng(0)
        zeros = [np.zeros_like(value) if is_floating(value) else None for value in inputs]
        for i in [i for i, zero in enumerate(zeros) if zero is not None]:
            n, shape = zeros[i].size, zeros[i].shape
            units = np.eye(n, dtype=zeros[i].dtype).reshape(n, *shape)
            columns = [product(inputs, (*zeros[:i], unit, *zeros[i + 1 :]), y).ravel() for unit in units]
            found.append(np.array(columns).T.reshape(np.size(y), n))
        tangents = tuple(None if zero is None else rng.standard_normal(zero.shape) for zero in zeros)
        flat = [tangent.ravel() for tangent in tangents if tangent is not None]
        expected = sum(jacobian @ tangent for jacobian, tangent in zip(found, flat, strict=True))
        given = product(inputs, tangents, y).ravel()
        if not np.allclose(given, expected, rtol=1e-9, atol=1e-9 * (1 + np.abs(expected).max(initial=0))):
            raise fault(name, "it is not linear in the tangents: it differs from the sum over the unit vectors")
        return found[0] if len(found) == 1 else tuple(found)

    return check(from_jacobian(function, jacobians), *inputs, **terms)


def check_hvp(function: Function, gradient: Function, hvp: Function, x: np.ndarray, /, **terms: Any) -> Report:
    """Check the gradient and the Hessian-vector product of a scalar function f(x).

    `hvp(x, v)` returns H v. `terms` are options of `check`. Returns the Report on H v, whose argument is x. Raises
    GradientError if the gradient or a product is wrong.
    """
    check(from_value_and_gradient(function, gradient), x, **terms)
    return check_jvp(gradient, _of_tuples(hvp), x, **terms)


def _of_tuples(hvp):
    def jvp(inputs, tangents):
        return hvp(inputs[0], tangents[0])

    jvp.__name__ = Call(hvp).name
    return jvp


def check_hessian(function: Function, gradient: Function, hessian: Function, x: np.ndarray, /, **terms: Any) -> Report:
    """Check the gradient and the Hessian of a scalar function f(x).

    `hessian(x)` returns a matrix with a row and a column for each entry of x. `terms` are options of `check`. Returns
    the Report on the Hessian, whose argument is x. Raises GradientError if the gradient or an entry is wrong.
    """
    check(from_value_and_gradient(function, gradient), x, **terms)
    return check(from_jacobian(gradient, hessian), x, **terms)


def check_adjoint_operator(
    operator: Any, adjoint: Function | None = None, x: Any = None, /, *, rtol: float = 1e-9
) -> float:
    """Check that two functions are a linear operator and its adjoint.

    Both must be linear and satisfy ⟨A v, w⟩ = ⟨v, A* w⟩. `operator` and `adjoint` are functions of an array. `x` is any
    array of the operator's domain, float64 or complex128; only its shape and dtype are used. A
    scipy.sparse.linalg.LinearOperator needs neither `adjoint` nor x. The inner product is ⟨a, b⟩ = Σ conj(a) b, so the
    adjoint of a complex matrix is its conjugate transpose. If x and the result of the adjoint are real, as for a
    Fourier transform of real numbers, only the real part of the inner product is compared.

    Returns the largest relative error over five random pairs. Raises GradientError if it exceeds `rtol`, or if the
    operator or the adjoint is not linear, and TypeError if an argument is missing.
    """
    if adjoint is None and x is None and hasattr(operator, "rmatvec"):
        name, x = type(operator).__name__, np.empty(operator.shape[1], operator.dtype)
        forward, adjoint = operator.matvec, operator.rmatvec
    elif callable(operator) and callable(adjoint) and is_floating(x):
        name, forward = Call(operator).name, operator
    else:
        raise TypeError(
            f"check_adjoint_operator takes (operator, adjoint, x) or a LinearOperator, not ({describe(operator)}, "
            f"{describe(adjoint)}, {describe(x)})"
        )
    rng, worst = np.random.default_rng(0), 0.0

    def drawn(like):
        array = rng.standard_normal(like.shape)
        return array + 1j * rng.standard_normal(like.shape) if like.dtype.kind == "c" else array

    for _ in range(5):
        v, v2 = drawn(x), drawn(x)
        y = np.asarray(forward(v))
        w, w2 = drawn(y), drawn(y)
        z = np.asarray(adjoint(w))
        if z.shape != x.shape:
            raise fault(name, f"the adjoint returns shape {z.shape}, but the operator takes {x.shape}")
        for function, a, b, result, what in ((forward, v, v2, y, "operator"), (adjoint, w, w2, z, "adjoint")):
            both, other = np.asarray(function(a + 2 * b)), np.asarray(function(b))
            if not np.allclose(both, result + 2 * other, rtol=rtol, atol=rtol * np.abs(both).max(initial=1)):
                raise fault(name, f"the {what} is not linear: f(a + 2 b) differs from f(a) + 2 f(b)")
        left, right = np.vdot(y, w), np.vdot(v, z)
        if np.isrealobj(v) and np.isrealobj(z):  # of a real space into a complex one, such as rfft
            left = left.real
        scale = np.linalg.norm(y) * np.linalg.norm(w) + np.linalg.norm(v) * np.linalg.norm(z)
        worst = max(worst, float(abs(left - right) / scale) if scale else 0.0)
        if worst > rtol:
            raise fault(name, f"⟨A v, w⟩ = {left:.6g}, but ⟨v, A* w⟩ = {right:.6g}: the adjoint is wrong")
    return worst


@dataclass(frozen=True)
class Taylor:
    """The remainders of Taylor's formula along a random direction."""

    steps: tuple  # the steps h
    remainders: tuple  # for each k, |f(x + h v) − T_k(h)| at each step, where T_k is Taylor's polynomial of order k
    rates: tuple  # for each k, the observed order of the remainder, or None if rounding hides it
    verdicts: tuple  # "" for k = 0, then the verdicts of `check` on the gradient and the Hessian-vector product

    def __str__(self) -> str:
        rates = ["rounding" if rate is None else f"{rate:.2f}" for rate in self.rates]
        rows = [("step h", *(f"remainder {k}" for k in range(len(rates))))]
        rows += [(f"{h:.1e}", *(f"{r:.2e}" for r in row)) for h, *row in zip(self.steps, *self.remainders, strict=True)]
        expected = map(str, range(1, len(rates) + 1))
        rows += [("observed", *rates), ("expected", *expected), ("verdict", *self.verdicts)]
        return "\n".join(table(rows, ">", indent=0))


def taylor(
    function: Function, gradient: Function, x: np.ndarray, /, hvp: Function | None = None, *, seed: int = 0
) -> Taylor:
    """Measure the remainders of Taylor's formula for a scalar function f(x).

    The remainder of order k falls as h^(k+1) if the derivatives up to order k are right. The rate can mislead, for
    example if f is nearly quadratic. Therefore the verdicts come from `check` and check_jvp, which compare every entry.
    """
    v = np.random.default_rng(seed).standard_normal(x.shape)
    v *= max(float(np.linalg.norm(x)), 1.0) / float(np.linalg.norm(v))
    value, steps = float(function(x)), tuple(2.0**-k for k in range(2, 16))
    terms = [value, float(np.vdot(gradient(x), v)), *([float(np.vdot(v, hvp(x, v))) / 2] if hvp else [])]
    change = [float(function(x + h * v)) for h in steps]
    remainders = tuple(
        tuple(abs(f - sum(c * h**j for j, c in enumerate(terms[: k + 1]))) for f, h in zip(change, steps, strict=True))
        for k in range(len(terms))
    )
    rounding = 64 * np.finfo(float).eps * max(abs(value), *map(abs, change))
    reports = [check(from_value_and_gradient(function, gradient), x, raises=False, explain=False)]
    if hvp:
        reports.append(check_jvp(gradient, _of_tuples(hvp), x, raises=False, explain=False))
    verdicts = ("", *(report.arguments[0].verdict for report in reports))
    return Taylor(steps, remainders, tuple(_rate(steps, r, rounding) for r in remainders), verdicts)


def _rate(steps, remainders, rounding):
    """Estimate the order of the remainder, or return None if rounding hides it."""
    above = [(math.log2(h), math.log2(r)) for h, r in zip(steps, remainders, strict=True) if r > rounding]
    slopes = [(b[1] - a[1]) / (b[0] - a[0]) for a, b in itertools.pairwise(above)]
    return float(np.median(slopes[-4:])) if len(slopes) > 1 else None
