"""A wrong sentence is worse than none: cases in which the diagnosis had been wrong."""

import re

import numpy as np
import pytest
from verdicts import diagnosed, message, normal

import gradcheck


@pytest.fixture(autouse=True)
def unhurried(monkeypatch):
    monkeypatch.setattr("gradcheck.checking.LEAST", np.inf)  # test_explanation tests the limit


def said(function, *inputs, seed=0, **options):
    """Return {name of a wrong gradient: diagnosis}."""
    report = diagnosed(function, *inputs, seed=seed, **options)
    return {a.name: a.diagnosis for a in report.arguments if not a.is_right}


def norm_with(x, gamma, *, dx, eps=1e-5):
    """γ (x − μ) r, with dx as an expression."""
    h = x - x.mean(axis=-1, keepdims=True)
    r = 1 / np.sqrt((h**2).mean(axis=-1, keepdims=True) + eps)
    h = h * r

    def M(a):  # noqa: N802
        return a.mean(axis=-1, keepdims=True)

    def backward(dy):
        d = dy * gamma
        names = {"d": d, "m": M(d), "s": M(d * h), "h": h, "r": r, "x": x, "dy": dy, "g": gamma, "M": M}
        names["S"] = lambda a: a.sum(axis=-1, keepdims=True)
        return eval(dx, names), (dy * h).sum(axis=tuple(range(dy.ndim - 1)))

    return gamma * h, backward


def attention_with(q, k, v, *, gradients):
    """Attention, with (dq, dk, dv) as an expression."""
    c = q.shape[-1] ** -0.5
    scores = q @ k.swapaxes(-1, -2) * c
    e = np.exp(scores - scores.real.max(axis=-1, keepdims=True))
    p = e / e.sum(axis=-1, keepdims=True)

    def T(a):  # noqa: N802
        return a.swapaxes(-1, -2)

    def backward(dy):
        dp = dy @ T(v)
        ds = p * (dp - (dp * p).sum(axis=-1, keepdims=True)) * c
        return eval(gradients, {"ds": ds, "dp": dp, "dv": T(p) @ dy, "p": p, "dy": dy, "c": c, "q": q, "k": k, "T": T})

    return p @ v, backward


def residual(x, w, gamma, *, mistake):
    """x + tanh(norm(x) w)."""
    dx = "r * (d - m)" if mistake == "scale" else "d - m - h * s"
    n, norm_backward = norm_with(x, gamma, dx=dx, eps=0.0)
    t = np.tanh(n @ w)

    def backward(dy):
        da = dy * (1 - t if mistake == "slope" else 1 - t * t)
        dn = da @ (w if mistake == "transposed" else w.T)
        dx, dgamma = norm_backward(dn)
        return dy + dx, np.einsum("bti,btj->ij", n, da), dgamma

    return x + t, backward


def test_a_direction_is_never_the_input_itself():
    # Both had been drawn from default_rng(0): along x, a norm without ε does not change.
    x, gamma = np.random.default_rng(0).standard_normal((2, 3, 5)), normal(5, seed=9)
    assert said(norm_with, x, gamma, dx="d - m - h * s", eps=0.0) == {"x": ""}


def test_a_gain_outside_the_means_cannot_be_seen_where_it_is_one():
    # The value that every layer norm starts from: this is why parameters are drawn at random.
    outside = {"dx": "g * r * (dy - M(dy) - h * M(dy * h))", "explain": False}
    assert gradcheck.check(norm_with, normal(2, 3, 5), np.ones(5), **outside).is_right
    assert not gradcheck.check(norm_with, normal(2, 3, 5), normal(5, seed=9), raises=False, **outside)["x"].is_right


@pytest.mark.parametrize("mistake", ["scale", "slope", "transposed"])
def test_sums_that_a_norm_keeps_right_are_no_sign_of_wrong_indices(mistake):
    x, w, gamma = normal(2, 3, 5), normal(5, 5, seed=5), normal(5, seed=9)
    for sentence in said(residual, x, w, gamma, mistake=mistake).values():
        assert "wrong indices" not in sentence


def test_nor_are_sums_that_differ_too_little_to_tell():
    def slightly_off(x):
        return np.abs(x) * x.real, lambda dy: 2 * np.abs(x) * dy * (1 + 1.5e-6 * np.cos(9 * x))

    assert "indices" not in said(slightly_off, normal(4, 5))["x"]


def test_what_equal_weights_make_right_is_not_put_down_to_the_keys():
    q, k, v = (normal(2, 4, n, seed=n + i) for i, n in enumerate((3, 3, 6)))
    assert said(attention_with, q, k, v, gradients="ds @ k, T(ds) @ q, p @ dy") == {"v": ""}


def test_less_of_the_values_is_not_taken_for_fewer_dimensions():
    # Right wherever x is positive, as all of x[0] is.
    def rectified(x, y):
        return np.where(x.real > 0, x * y, 0), lambda dy: (dy * y, dy * np.where(x > 0, x, 0))

    x = np.array([[0.5, 1.0, 2.0], [1.0, -1.0, 0.3], [0.2, -3.0, -1.0]])
    assert said(rectified, x, normal(3, 3, seed=1)) == {
        "x": "dx differs only where x is negative, where the truth is zero"
    }

    def absolute(x, y):
        return np.sqrt(x * x) * y, lambda dy: (dy * y, dy * np.abs(x))

    assert "dimension" not in said(absolute, x, normal(3, 3, seed=1))["x"]


def test_a_sign_is_not_said_to_be_an_exchange_where_one_gradient_is_minus_the_other():
    def squared(x, y):
        return ((x - y) ** 2).sum(), lambda dy: (-2 * dy * (x - y), 2 * dy * (x - y))

    assert said(squared, normal(4), normal(4, seed=1)) == {
        "x": "dx has its sign flipped, or is that of y, which is minus the truth",
        "y": "dy has its sign flipped, or is that of x, which is minus the truth",
    }


def test_a_term_of_one_factor_everywhere_is_not_said_to_be_one_of_a_sum():
    def decayed(x, w):
        t = np.tanh(x @ w)
        d = 1 - t * t
        return t.sum() + 0.1 * (w * w).sum(), lambda dy: (dy * d @ w.T, dy * x.T @ d)

    sentence = said(decayed, normal(4, 3), normal(3, 2, seed=1))["w"]
    assert sentence == "dw is off by a multiple of w along axis 1: a term such as w * sum(...) is missing or wrong"


def test_a_loss_that_is_multiplied_by_dy_twice_is_said_to_be():
    def mean_square(x):
        return (x * x).mean(), lambda dy: 2 * dy * dy * x / x.size

    assert "dy once too often" in said(mean_square, normal(3))["x"]


def test_a_number_by_chance_is_not_said_to_be_a_square_of_a_size():
    def scaled(factor):
        return lambda x: (3 * x, lambda dy: 3 * factor(x) * dy)

    constant = {"x": "dx is off by a constant factor"}
    assert said(scaled(lambda x: -100), normal(10, 2)) == constant
    assert said(scaled(lambda x: 4 / 7), normal(4, 7)) == constant
    assert said(scaled(lambda x: 1 + 2e-6), normal(4, 7)) == constant
    assert "is 2 times" in said(scaled(lambda x: 2), normal(4, 7))["x"]
    assert "np.sqrt(x.shape[0]) or" in said(scaled(lambda x: x.shape[0] ** 0.5), normal(4, 7))["x"]
    assert "is x.shape[0] or x.shape[1] times" in said(scaled(lambda x: x.shape[0]), normal(5, 5))["x"]
    convolved = said(lambda x, b: (x + b[:, None], lambda dy: (dy, dy.mean(axis=(0, 2)))), normal(2, 4, 5), normal(4))
    assert "1 / (x.shape[0] * x.shape[2]) or" in convolved["b"]


def test_a_place_is_not_named_if_other_entries_are_right_there():
    def huber(x, *, spread):
        small = np.abs(x.real) < 0.7
        value = np.where(small, 0.5 * x * x, 0.7 * np.where(x.real > 0, x, -x))
        return value, lambda dy: dy * np.where(small, spread, 0.7 * np.sign(x))

    x = np.array([[1.0, -2.0, 3.0], [0.1, -0.2, 3.0], [0.5, 0.3, 1.5]])
    sentence = "dx differs only at indices 1 to 2 of axis 0 and at indices 0 to 1 of axis 1"
    assert said(huber, x, spread=0.7)["x"] == sentence
    x[2, 0], x[2, 2] = 1.5, 0.5  # and no longer all of that place
    assert said(huber, x, spread=0.7) == {"x": ""}


# Errors so small that they look like a false alarm


def test_a_rounded_constant_is_thought_of():
    def rounded(x):
        c = (2 / np.pi) ** 0.5
        t = np.tanh(c * (x + 0.044715 * x**3))
        slope = 0.797885 * (1 + 3 * 0.044715 * x * x)
        return 0.5 * x * (1 + t), lambda dy: dy * (0.5 * (1 + t) + 0.5 * x * (1 - t * t) * slope)

    sentence = said(rounded, normal(3, 4), rtol=1e-8, atol=1e-10)["x"]
    assert re.match(r"dx is off by no more than \de-0[78] of its size: perhaps by a rounded constant", sentence)


@pytest.mark.parametrize(
    "size, verdict", [(1.0, "CANNOT TELL"), (1.000001, "CANNOT TELL"), (1.0001, "WRONG"), (-1.0, "WRONG")]
)
def test_a_right_gradient_of_a_forward_pass_in_float32_is_not_called_wrong(size, verdict):
    def computed(x):
        return np.tanh(x.astype(np.float32)).astype(float), lambda dy: size * dy * (1 - np.tanh(x) ** 2)

    x = normal(3, 4)
    found = diagnosed(computed, x)["x"]
    assert (found.verdict, found.diagnosis) == (verdict, "")
    if verdict == "CANNOT TELL":
        assert "but the output changes in steps of 6e-8 of its value, as if part of it" in message(computed, x)


# A small campaign: mistakes in the two best-known functions, and the allowed diagnoses

MEAN = r"mean\(dx\) over axis 2 is not subtracted"
TERM, TERMS = r"off by a multiple of \(x - mean\(x\)\) along axis 2", "a constant and a multiple of x along axis 2"
NORM = {
    "g * r * (dy - M(dy) - h * M(dy * h))": "^$",
    "d - m - h * s": "^$",
    "r * r * (d - m - h * s)": "^$",
    "(d - m - h * s) / r": "^$",
    "r * (d - h * s)": MEAN,
    "r * (d + m - h * s)": MEAN,
    "r * (d - S(d) - h * s)": MEAN,
    "r * (d - M(dy) - h * s)": MEAN,
    "r * (d - m)": TERM,
    "r * (d - m + h * s)": TERM,
    "r * (d - m - h * S(d * h))": TERM,
    "r * (d - m - h * M(dy * h))": TERM,
    "r * (d - m - h * m)": TERM,
    "r * (d - m - x * s)": TERMS,
    "r * (d - m - s)": TERMS,
    "g * r * (d - m - h * s)": "factor gamma is too much",
    "0.5 * r * (d - m - h * s)": "is 1/2 times",
    "-r * (d - m - h * s)": "sign flipped",
    "r * (-m - h * s)": "^$",
    "r * (d - d.mean(axis=1, keepdims=True) - h * s)": "^$",
    "d": "^$",
    "dy": "equals dy",
}
ATTENTION = {
    "ds @ k, ds @ q, dv": "^$",
    "T(ds) @ k, T(ds) @ q, dv": "^$",
    "ds @ k, T(ds) @ q, p @ dy": "^$",
    "T(ds) @ q, ds @ k, dv": "in each other's place",
    "ds @ k / c, T(ds) @ q / c, dv": r"d[qk] is np.sqrt\([qk].shape\[2\]\) or np.sqrt\([qk].shape\[2\]\) times",
    "ds @ k, T(ds) @ k, dv": "^$",
    "(p * dp * c) @ k, T(p * dp * c) @ q, dv": "^$",
    "(dp * c) @ k, T(dp * c) @ q, dv": "^$",
    "ds @ k, T(ds) @ q, -dv": "dv has its sign flipped",
    "ds @ k, T(ds) @ q, dy": "dv equals dy",
}


@pytest.mark.slow
def test_nothing_but_the_mistake_is_said_of_any_of_them():
    x, gamma = normal(2, 3, 5), normal(5, seed=9)
    q, k, v = (normal(2, 4, 3, seed=seed) for seed in (1, 5, 9))
    named = 0
    for table, function, inputs, option in (
        (NORM, norm_with, (x, gamma), "dx"),
        (ATTENTION, attention_with, (q, k, v), "gradients"),
    ):
        for mistake, allowed in table.items():
            for sentence in said(function, *inputs, **{option: mistake}).values():
                assert re.search(allowed, sentence), (mistake, sentence)
                named += bool(sentence)
    assert named >= 20
