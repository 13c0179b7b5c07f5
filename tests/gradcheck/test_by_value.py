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


STANDARDIZE = """
def standardize_forward(x, gain):
    n = x.shape[0]
    mean = np.sum(x, axis=0) / n
    off = x - mean
    power = off**2
    spread = np.sum(power, axis=0) / n
    scale = 1.0 / np.sqrt(spread + 1e-3)
    unit = off * scale
    return gain * unit, (x, gain, off, spread, scale, unit)


def standardize_backward(dout, cache):
    x, gain, off, spread, scale, unit = cache
    n = x.shape[0]
    dgain = np.sum(dout * unit, axis=0)
    dlast = dout * gain
    doff1 = dlast * scale
    dunitdscale = off
    dinner = np.sum(dlast * dunitdscale, axis=0)
    douter = -0.5 * (spread + 1e-3) ** -1.5 * dinner
    dsq = np.ones_like(x) / n * douter
    doff2 = 2.0 * off * dsq
    dx1 = doff1 + doff2
    dx2 = -np.sum(dx1, axis=0) / n
    return dx1 + dx2, dgain
"""


@pytest.mark.parametrize(
    "old, new",
    [
        ("dlast = dout * gain", "dlast = dout"),
        ("doff1 = dlast * scale", "doff1 = dlast / scale"),
        ("dunitdscale = off", "dunitdscale = unit"),
        ("dinner = np.sum(dlast", "dinner = np.sum(dout"),
        ("-0.5 * (spread", "0.5 * (spread"),
        ("** -1.5 * dinner", "** -0.5 * dinner"),
        ("np.ones_like(x) / n * douter", "np.ones_like(x) * douter"),
        ("2.0 * off * dsq", "off * dsq"),
        ("dx1 = doff1 + doff2", "dx1 = doff1 - doff2"),
        ("-np.sum(dx1, axis=0) / n", "-np.mean(dx1, axis=0) / n"),
        ("return dx1 + dx2, dgain", "return dx1 - dx2, dgain"),
    ],
)
def test_a_mistake_in_a_local_is_placed_in_its_own_line(old, new):
    function, line = planted(STANDARDIZE, old, new, "standardize_forward", "standardize_backward")
    report = gradcheck.steps(function, normal(6, 4), normal(4, seed=1))
    assert {row.line for row in report.rows if row.verdict == "WRONG"} == {line}, report


def test_right_code_with_any_names_has_no_wrong_line():
    function, _ = planted(STANDARDIZE, "dlast =", "dlast =", "standardize_forward", "standardize_backward")
    report = gradcheck.steps(function, normal(6, 4), normal(4, seed=1))
    assert report.passed and report.first_wrong is None


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


def test_a_mask_that_backward_computes_anew_is_named_beside_the_line_that_reads_it():
    function, _ = planted(CLIP, "keep = x < top", "keep = x > top", "clip_forward", "clip_backward")
    found = gradcheck.steps(function, normal(4, 5), np.full((4, 1), 0.3)).first_wrong
    assert found.name == "keep" or "keep" in found.sentence


CLIP = """
def clip_forward(x, top):
    return np.where(x < top, x, top), (x, top)


def clip_backward(dout, cache):
    x, top = cache
    keep = x < top
    dx = dout * keep
    return dx, np.sum(dout * (x >= top), axis=1, keepdims=True)
"""


def two_layers(x, w, u, c, *, wrong):
    h = np.tanh(x @ w)
    s = h + c

    def backward(dy):
        ds = dy @ u.T * wrong
        back = ds * (1 - h)
        return back @ w.T, x.T @ back, s.T @ dy, ds.sum(axis=0)

    return s @ u, backward


def test_a_second_mistake_behind_the_first_is_said_to_be_there():
    inputs = normal(4, 3), normal(3, 5, seed=1), normal(5, 2, seed=2), normal(5, seed=3)
    report = gradcheck.steps(two_layers, *inputs, wrong=2.0)
    assert {row.name for row in report.rows if row.verdict == "WRONG"} == {"ds", "back"}
    assert report.remarks == ("with the true ds, dx and dw are still wrong: there is a second mistake",)


def test_nothing_is_said_of_a_second_mistake_where_the_rest_is_right():
    function, _ = planted(
        STANDARDIZE, "dlast = dout * gain", "dlast = dout", "standardize_forward", "standardize_backward"
    )
    assert gradcheck.steps(function, normal(6, 4), normal(4, seed=1)).remarks == ()


def cell(x, c, w):
    z = np.tanh(x @ w)
    y = z * c

    def backward(grad):
        gc = grad * z  # noqa: F841 (the value that should be returned)
        gz = grad * c * (1 - z**2)
        dw = x.T @ gz
        return gz @ w.T, gz, dw

    return y, backward


def test_a_wrong_name_that_is_returned_is_blamed_on_the_return_and_not_on_the_line_that_binds_it():
    report = gradcheck.steps(cell, normal(4, 3), normal(4, 2, seed=1), normal(3, 2, seed=2))
    wrong = [(row.name, row.sentence) for row in report.rows if row.verdict == "WRONG"]
    assert wrong == [("dc", "gz stands where gc belongs")]
