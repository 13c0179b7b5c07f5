"""Equations of many forms hold on arrays that satisfy them, and a mistake in one does not hold or has a reason."""

import numpy as np
import pytest

from minitransformer.book import notation as n
from minitransformer.book.arrays import NoValue, Unequal
from minitransformer.book.evaluation import Scope, both_sides
from minitransformer.book.formulas import formulas
from minitransformer.book.run import relative_error


def recurrence(q, k, v, beta, gate):
    """Return the states and outputs of the gated delta rule, as loops over steps."""
    S, states, outputs = np.zeros((v.shape[1], k.shape[1])), [], []
    for t in range(len(q)):
        S = gate[t] * S @ (np.eye(len(k[t])) - beta[t] * np.outer(k[t], k[t])) + beta[t] * np.outer(v[t], k[t])
        states.append(S)
        outputs.append(S @ q[t])
    return np.stack(states), np.stack(outputs)


def values():
    rng = np.random.default_rng(0)
    draw = lambda *shape: rng.normal(size=shape)  # noqa: E731
    found = {name: draw(6, 4) for name in "qk"} | {"v": draw(6, 3), "β": draw(6), "g": draw(6)}
    found["S"], found["y"] = recurrence(*found.values())
    x, sink, r = draw(2, 6, 5), draw(2), draw(6)
    e, f = np.exp(x), np.exp(sink)[:, None]
    total = e.sum(-1) + f
    return found | {
        "x": x,
        "sink": sink,
        "r": r,
        "w_in": draw(4, 7),
        "h": found["q"],
        "w": e / total[..., None],
        "Z": total,
        "row": x * r[:, None],
        "heads": x.sum((1, 2)),
        "c": np.float64(0.7),
        "s": np.float64(1.3),
        "p5": np.float64(0.7 * 1.3**5),
        "mean_h": x.mean((1, 2)),
        "conv": sum(np.pad(found["q"][: 6 - i], ((i, 0), (0, 0))) * c for i, c in enumerate((0.2, 0.3, 0.5))),
        "filter": np.array([0.2, 0.3, 0.5]),
        "softmaxed": e / e.sum(-1, keepdims=True),
    }


VALUES = values()
RIGHT = [
    "S_t = g_t S_{t−1} (I − β_t k_t k_tᵀ) + β_t v_t k_tᵀ",  # a recurrence
    "y_t = S_t q_t",
    "y_ti = Σ_d S_tid q_td",
    "h w_in = q w_in",  # a name with an underscore
    "Σ_i h_ti w_in_id = Σ_i q_ti w_in_id",
    "row = x · r",  # a row is broadcast along the axis that it has
    "row_ijk = x_ijk r_j",
    "Z = Σ exp(x) + exp(sink)",
    "w_ijk = exp(x_ijk) / (Σ_k exp(x_ijk) + exp(sink_i))",
    "softmaxed_ijk = softmax_k(x_ijk)",  # a function with an index
    "Σ_k softmax_k(x_ijk) = 1",
    "heads_i = Σ_jk x_ijk",  # a sum over all axes but one
    "mean_h = mean_jk(x_ijk)",
    "p5 = c s⁵",  # other exponents
    "s⁻² = 1/s²",
    "c s⁵ s⁻⁵ = c",
    "conv_td = Σ_i filter_i q_{t−i, d}",
    "tr(q qᵀ) = Σ_t Σ_d q_td²",
    "c · k_tᵀ q_t = c Σ_d q_td k_td",
]


def test_axes_of_one_length_are_aligned_as_by_numpy():
    x = np.random.default_rng(1).normal(size=(3, 3))
    named = {"x": x, "s": x.sum(1), "k": x.sum(1, keepdims=True), "u": x / x.sum(1, keepdims=True), "z": x @ x + x[0]}
    for equation in ("s = Σ x", "k = Σ x", "u = x / Σ x", "u = x / k", "z = x x + v", "s = Σ xᵀᵀ", "s_i = Σ_j x_ij"):
        assert relative_error(*both_sides(*n.parse(equation).sides, Scope(named | {"v": x[0]}))) < 1e-12
    for equation in ("s = Σ xᵀ", "u = x / Σ xᵀ", "z = x xᵀ + v", "s_i = Σ_j x_ji", "x = xᵀ"):
        assert relative_error(*both_sides(*n.parse(equation).sides, Scope(named | {"v": x[0]}))) > 1e-3


WRONG = [
    ("S_t = S_{t−1} (I − β_t k_t k_tᵀ) + β_t v_t k_tᵀ", ""),
    ("S_t = g_t S_{t−1} + β_t v_t k_tᵀ", ""),
    ("S_t = g_t S_t (I − β_t k_t k_tᵀ) + β_t v_t k_tᵀ", ""),
    ("w_ijk = exp(x_ijk) / Σ_k exp(x_ijk)", ""),
    ("p5 = c s⁴", ""),
    ("heads_i = Σ_j x_ijk", ""),
    ("row = x", ""),
    ("q = k w_in", ""),
    ("y = qᵀ", ""),
    ("q = w_in k", "sums over 7 on the left and 6 on the right"),
    ("softmaxed_ijk = softmax_j(x_ijk)", ""),
    ("w_out = q", "w_out has no value"),
    ("q_tij = k", "so it cannot have the indices tij"),
    ("Σ_v q = 1", "the index v of Σ does not occur in the summand"),
]


def sides(equation):
    identity = {"I": np.eye(4)} if "I" in equation else {}
    return both_sides(*n.parse(equation).sides, Scope(VALUES | identity))


@pytest.mark.parametrize("equation", RIGHT)
def test_an_equation_of_any_form_holds(equation):
    assert relative_error(*sides(equation)) < 1e-12


@pytest.mark.parametrize("equation, reason", WRONG)
def test_a_wrong_one_differs_or_has_a_reason(equation, reason):
    if reason:
        with pytest.raises((NoValue, Unequal), match=reason):
            sides(equation)
    else:
        assert relative_error(*sides(equation)) > 1e-3


def test_no_part_of_an_equation_in_a_sentence_is_cut_off():
    (found,) = [f for f in formulas("The volume of this is V = c s⁵, if s is known.", frozenset()) if f.is_equation]
    assert n.parse("V = c s⁵") == found.node
