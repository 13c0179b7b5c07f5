"""Lines of a backward pass whose names are not ours: locals are followed by their values."""

import linecache

import numpy as np
import pytest

import gradcheck
from gradcheck.adapters import from_pair


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def planted(text, old, new, forward, backward):
    """Return (function of a source text with a mistake in it, line of the mistake)."""
    assert text.count(old) == 1, old
    wrong = text.replace(old, new)
    name = f"<planted {abs(hash(wrong))}>"
    linecache.cache[name] = len(wrong), None, wrong.splitlines(keepends=True), name
    scope = {"np": np}
    exec(compile(wrong, name, "exec"), scope)
    return from_pair(scope[forward], scope[backward]), 1 + text.partition(old)[0].count("\n")


GATE = """
def gate_forward(x, h, a, b):
    z = 1 / (1 + np.exp(-(x @ a + h @ b)))
    c = np.tanh(h @ b)
    return z * h + (1 - z) * c, (x, h, a, b, z, c)


def gate_backward(grad, cache):
    x, h, a, b, z, c = cache
    dh = grad * z
    t = grad * (1 - z) * (1 - c**2)
    dh += t @ b.T
    db = h.T @ t
    u = grad * (h - c)
    s = u * z * (1 - z)
    dh += s @ b.T
    db = db + h.T @ s
    return s @ a.T, dh, x.T @ s, db
"""


@pytest.mark.parametrize(
    "old, new",
    [
        ("dh = grad * z", "dh = grad * (1 - z)"),
        ("(1 - z) * (1 - c**2)", "(1 - z) * (1 - c)"),
        ("dh += t @ b.T", "dh = t @ b.T"),
        ("dh += t @ b.T", "dh += t @ b"),
        ("u = grad * (h - c)", "u = grad * (h + c)"),
        ("s = u * z * (1 - z)", "s = u * z"),
        ("dh += s @ b.T", "dh -= s @ b.T"),
    ],
)
def test_a_mistake_in_a_sum_over_several_paths_is_placed_where_it_is_added(old, new):
    function, line = planted(GATE, old, new, "gate_forward", "gate_backward")
    report = gradcheck.steps(function, normal(5, 3), normal(5, 4, seed=1), normal(3, 4, seed=2), normal(4, 4, seed=3))
    assert report.first_wrong.line == line, report
