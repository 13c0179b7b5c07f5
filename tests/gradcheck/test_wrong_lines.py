"""The wrong line is found in code of every form, and no right line is called wrong."""

import functools
import re
import textwrap

import numpy as np
import pytest
from corpus import compiled, entries
from verdicts import normal

import gradcheck
from gradcheck.adapters import from_pair

FUNCTIONS = []


def wrong(*inputs, options=None, follows=(), **lines):
    """Register a function with its inputs, and {name: pattern of the sentence} of exactly its wrong lines."""

    def register(function):
        FUNCTIONS.append(pytest.param(function, inputs, options or {}, lines, follows, id=function.__name__))
        return function

    return register


X, W, V = normal(4, 3), normal(3, 2, seed=1), normal(4, 3, seed=2)
UNNAMED = "^given the true gradients, this line gives a wrong value$"


# One wrong line

KEEP = np.random.default_rng(3).random((4, 3)) < 0.5
ONE_LINE = [  # y, the line of dx, pattern of its sentence, options
    ("np.exp(x)", "dy * x", "^x stands where y belongs$", {}),
    ("x**p", "p * x ** (p - 2) * dy", "^2 stands where 1 belongs$", {"p": 3}),
    ("sum(x * k for k in (1, 2))", "sum(dy * k for k in (1, 1))", "^1 stands where 2 belongs$", {}),
    ("np.log(x**2)", "dy / x", "", {}),
    ("x / 3**0.5", "dy / 3**0.5 + np.cumsum(np.cos(dy))", "", {}),  # an edit would be complex
    # Masks
    ("np.where(x > 0, x, 0)", "dy", "^dy should be 0 where y is not positive$", {}),
    ("np.maximum(x, 0)", "dy * y", "^y stands where the mask y > 0 belongs$", {}),
    # Words that fit one draw by chance
    ("x.mean(axis=0)", "np.broadcast_to(dy, x.shape) / 2", r"^2 stands where x.shape\[-2\] belongs$", {}),
    ("x * keep / (1 - p)", "dy * keep", UNNAMED, {"keep": KEEP, "p": 0.5}),
    ("np.where(keep, 2 * x, x)", "dy + dy", "^(?!.*not positive)", {"keep": X > 0}),
    ("x * 0.134145", "dy * 0.5", UNNAMED, {}),
    (
        *("x - x.mean(axis=axis, keepdims=True)", "dy - dy.mean(axis=-1, keepdims=True)"),
        *("^the mean runs over axis -1 where it should run over axis$", {"axis": 0}),
    ),
]


@pytest.mark.one_in(4)
@pytest.mark.parametrize("y, dx, sentence, options", ONE_LINE)
def test_the_mistake_in_one_line_is_named_if_every_draw_allows_it(y, dx, sentence, options):
    text = f"""
    def function(x, *, p=2, keep=None, axis=-1):
        y = {y}

        def backward(dy):
            dx = {dx}
            return dx

        return y, backward
    """
    report = gradcheck.steps(compiled(textwrap.dedent(text))["function"], X, **options)
    assert report.first_wrong.name == "dx" and re.search(sentence, report.first_wrong.sentence), report


FUNCTIONS_OF_X = """
steps = np.random.default_rng(0).normal(size=(3, 3, 3))
def merge(a): return 2.5 * a
def applied(a, s): y = np.tanh(a @ s); return y, lambda g: (g * (1 - y**2)) @ s.T
def function(x, w, *, keep=None, eps=0.01):
    a, first_backward = applied(x, steps[0])
    b, second_backward = applied(a, steps[1])
    backwards = [first_backward, second_backward]
    both = lambda g: (g * w, g * x)
    y = {y}
    def backward(dy):
{body}
    return y, backward
"""
# y | the wrong name | pattern of its sentence | options, and below it the backward pass
WHOLE = """
merge(x) * w | dx | ^merge is not applied to
    dx = w * dy; dw = merge(x) * dy; return dx, dw
x * w | dw | it starts from w, not from zeros$
    dx = w * dy; dw = w.copy(); dw += x * dy; return dx, dw
x * w | dw | ^the division by .* too m
    dx = w * dy; dw = x * dy; dw /= np.maximum(abs(x), 1); return dx, dw
x * keep + w | dx | ^y stands where keep belongs$ | {"keep": KEEP}
    dx = dy * y; return dx, dy
x / (keep - eps) + w | dx | ^brackets are missing | {"keep": KEEP + 1.0}
    dx = dy / keep - eps; return dx, dy
np.tanh(x) + w | dx | ^brackets are missing or misplaced
    dx = (1 - np.tanh(x)) ** 2 * dy; return dx, dy
np.tanh(x) + w | dx | ^tanh stands where its slope belongs$
    dx = np.tanh(x) * dy; return dx, dy
x / (eps + w**2) | dx | ^0.5 stands where eps
    dx = dy / (0.5 + w**2); return dx, -2 * w * x * dy / (eps + w**2)**2
b + w | dx | are added, not applied one after the other$
    return first_backward(dy) + second_backward(dy), dy
b + w | dx | are applied in the wrong order$
    return second_backward(first_backward(dy)), dy
np.sin(x) * w | dx | ^(x and w|w and x) are in each other's
    dx = np.cos(w) * x * dy; return dx, np.sin(x) * dy
x * w | p | ^q and p are in each other's place$
    q, p = both(dy); dx = p * 1.0; dw = q * 1.0; return dx, dw
x * np.mean(w**2, axis=-1, keepdims=True) | s | ^the mean runs over all axes where it should run over axis -1$
    s = np.mean(x * dy); dx = dy * np.mean(w**2, axis=-1, keepdims=True); dw = 2 * w * s; return dx, dw
b + w | for f in backwards | ^backwards is taken forwards where
    g = dy
    for f in backwards:
        g = f(g)
    return g, dy
b + w | for f in backwards[:0:-1] | ^the loop ends too early$
    g = dy
    for f in backwards[:0:-1]:
        g = f(g)
    return g, dy
x * w | for k in range(3 - 1) | ^the loop ends too early$
    dx = np.zeros_like(x)
    for k in range(3 - 1):
        dx[:, k] = w[:, k] * dy[:, k]
    return dx, x * dy
2 * np.sin(x) * w + 2 * np.cos(x) | dx | ^u is overwritten before this line reads it$
    u = 2 * dy; v = u * w * np.cos(x); u = v; dx = v - np.sin(x) * u; return dx, 2 * np.sin(x) * dy
"""


WHOLES = re.split(r"\n(?=\S)", WHOLE.strip("\n"))


@pytest.mark.one_in(6)
@pytest.mark.parametrize("row", WHOLES, ids=lambda row: row.partition("\n")[0])
def test_the_wrong_line_of_a_whole_backward_pass_is_named(row):
    header, _, body = row.partition("\n")
    y, name, sentence, *options = header.split(" | ")
    lines = textwrap.indent(textwrap.dedent(body).replace("; ", "\n"), " " * 8)
    function = compiled(FUNCTIONS_OF_X.replace("{y}", y).replace("{body}", lines))["function"]
    report = gradcheck.steps(function, X, V, **eval(*options or ["{}"]))
    assert report.first_wrong.name == name and re.search(sentence, report.first_wrong.sentence), report
    assert not report.has_second_mistake, report


GATE = """
def forward(x, h, a, b):
    z = 1 / (1 + np.exp(-(x @ a + h @ b)))
    c = np.tanh(h @ b)
    return z * h + (1 - z) * c, (x, h, a, b, z, c)


def backward(grad, cache):
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

RECURRENT = """
def forward(x, h0, w, u):
    h = [h0]
    for t in range(len(x)):
        h.append(np.tanh(x[t] @ w + h[-1] @ u))
    return h[-1], (x, h, w, u)


def backward(dy, cache):
    x, h, w, u = cache
    dx, dw, du, dh = np.zeros_like(x), np.zeros_like(w), np.zeros_like(u), dy
    for t in reversed(range(len(x))):
        da = dh * (1 - h[t + 1] ** 2)
        dx[t] = da @ w.T
        dw += np.outer(x[t], da)
        du += np.outer(h[t], da)
        dh = da @ u.T
    return dx, dh, dw, du
"""
PLACED = [
    (GATE, "dh = grad * z", "dh = grad * (1 - z)", ""),
    (GATE, "(1 - z) * (1 - c**2)", "(1 - z) * (1 - c)", ""),
    (GATE, "dh += t @ b.T", "dh = t @ b.T", ""),
    (GATE, "dh += t @ b.T", "dh += t @ b", ""),
    (GATE, "u = grad * (h - c)", "u = grad * (h + c)", ""),
    (GATE, "s = u * z * (1 - z)", "s = u * z", ""),
    (GATE, "dh += s @ b.T", "dh -= s @ b.T", ""),
    (RECURRENT, "x[t], da", "x[t - 1], da", r"^x\[t - 1\] stands where the entry after it belongs$"),
    (RECURRENT, "h[t], da", "h[t + 1], da", r"^h\[t \+ 1\] stands where the entry before it belongs$"),
    (RECURRENT, "h[t + 1] ** 2", "h[t] ** 2", r"^h\[t\] stands where the entry after it belongs$"),
    (RECURRENT, "dx[t] =", "dx[t - 1] =", r"^dx\[t - 1\] stands where the entry after it belongs$"),
    (RECURRENT, "dx[t] = da @ w.T", "dx[t] += dx[t - 1] + da @ w.T", r"^the term dx\[t - 1\] is too much$"),
    (RECURRENT, "da @ w.T", "2 * da @ w.T", "^the factor 2 is too much$"),
    (RECURRENT, "da @ u.T", "da @ u", "^u is not transposed$"),
]


@pytest.mark.one_in(5)
@pytest.mark.parametrize(
    "text, old, new, sentence",
    PLACED,
)
def test_a_mistake_in_a_sum_or_a_loop_is_placed_where_it_is(text, old, new, sentence):
    assert text.count(old) == 1
    scope = compiled(text.replace(old, new))
    x, h, a, b = normal(3, 3), normal(3, 4, seed=1), normal(3, 4, seed=2), normal(4, 4, seed=3)
    report = gradcheck.steps(from_pair(scope["forward"], scope["backward"]), x, h if text is GATE else h[0], a, b)
    assert report.first_wrong.line == 1 + text.partition(old)[0].count("\n"), report
    assert re.search(sentence, report.first_wrong.sentence), report


LSTM = """
def sigmoid(v):
    return 1 / (1 + np.exp(-v))


def forward(x, h0, c0, wx, wh, b):
    H = h0.shape[1]
    h, c, caches, hs = h0, c0, [], []
    for t in range(x.shape[0]):
        z = x[t] @ wx + h @ wh + b
        i = sigmoid(z[:, :H])
        f = sigmoid(z[:, H:2 * H])
        o = sigmoid(z[:, 2 * H:3 * H])
        g = np.tanh(z[:, 3 * H:])
        c_prev, h_prev = c, h
        c = f * c_prev + i * g
        tanh_c = np.tanh(c)
        h = o * tanh_c
        caches.append((x[t], h_prev, c_prev, i, f, o, g, tanh_c))
        hs.append(h)
    return np.stack(hs), (caches, x, wx, wh)


def backward(dhs, cache):
    caches, x, wx, wh = cache
    dx, dwx, dwh, db = np.zeros_like(x), np.zeros_like(wx), np.zeros_like(wh), np.zeros(wx.shape[1])
    dh_next = np.zeros_like(caches[0][1])
    dc_next = np.zeros_like(dh_next)
    for t in range(len(caches) - 1, -1, -1):
        xt, h_prev, c_prev, i, f, o, g, tanh_c = caches[t]
        dh = dhs[t] + dh_next
        do = dh * tanh_c
        dc = dh * o * (1 - tanh_c ** 2) + dc_next
        df = dc * c_prev
        di = dc * g
        dg = dc * i
        dc_next = dc * f
        dz = np.concatenate([di * i * (1 - i), df * f * (1 - f), do * o * (1 - o), dg * (1 - g ** 2)], axis=1)
        dx[t] = dz @ wx.T
        dwx += xt.T @ dz
        dwh += h_prev.T @ dz
        db += dz.sum(axis=0)
        dh_next = dz @ wh.T
    return dx, dh_next, dc_next, dwx, dwh, db
"""
DELTA_RULE = """
def forward(q, k, v, beta, gate):
    S, states, errors, ys = np.zeros((v.shape[1], k.shape[1])), [], [], []
    for t in range(len(q)):
        states.append(S)
        decayed = gate[t] * S
        e = v[t] - decayed @ k[t]
        S = decayed + beta[t] * np.outer(e, k[t])
        errors.append(e)
        ys.append(S @ q[t])
    return np.stack(ys), (q, k, v, beta, gate, states, errors)


def backward(dy, cache):
    q, k, v, beta, gate, states, errors = cache
    dq, dk, dv = np.zeros_like(q), np.zeros_like(k), np.zeros_like(v)
    dbeta, dgate, dS = np.zeros_like(beta), np.zeros_like(gate), np.zeros_like(states[0])
    for t in reversed(range(len(q))):
        e = errors[t]
        decayed = gate[t] * states[t]
        after = decayed + beta[t] * np.outer(e, k[t])
        dq[t] = after.T @ dy[t]
        dafter = dS + np.outer(dy[t], q[t])
        written = dafter @ k[t]
        de = beta[t] * written
        dbeta[t] = e @ written
        dv[t] = de
        ddecayed = dafter - np.outer(de, k[t])
        dk[t] = beta[t] * dafter.T @ e - decayed.T @ de
        dgate[t] = np.sum(states[t] * ddecayed)
        dS = gate[t] * ddecayed
    return dq, dk, dv, dbeta, dgate
"""
THROUGH_TIME = [
    (LSTM, "(1 - tanh_c ** 2) + dc_next", "(1 + tanh_c ** 2) + dc_next", "added where it should be subtracted"),
    (LSTM, "dc_next = dc * f", "dc_next = dc * i", "i stands where f belongs"),
    (LSTM, "f * (1 - f)", "f * (1 + f)", ""),
    (LSTM, "np.zeros_like(dh_next)", "caches[0][2]", ""),
    (LSTM, "dh = dhs[t] + dh_next", "dh = dhs[t]", ""),
    (DELTA_RULE, "dafter @ k[t]", "dS @ k[t]", "dS stands where dafter belongs"),
    (DELTA_RULE, "dk[t] =", "dq[t] =", "dq stands where dk belongs"),
    (DELTA_RULE, "dafter - np.outer", "dafter + np.outer", ""),
    (DELTA_RULE, "dafter = dS + np.outer(dy[t], q[t])", "dafter = dS + np.outer(dy[t], k[t])", ""),
    (DELTA_RULE, "dS = gate[t] * ddecayed", "dS = beta[t] * ddecayed", "beta stands where gate belongs"),
]


@pytest.mark.one_in(8)
@pytest.mark.parametrize(
    "text, old, new, sentence",
    THROUGH_TIME,
)
def test_a_mistake_in_a_pass_backward_in_time_is_placed_where_it_is(text, old, new, sentence):
    assert text.count(old) == 1
    report = through_time(text, text.replace(old, new))
    assert report.first_wrong.line == 1 + text.partition(old)[0].count("\n"), report
    assert sentence in report.first_wrong.sentence, report


def through_time(text, wrong):
    scope = compiled(wrong)
    if text is LSTM:
        shapes = (3, 2, 2), (2, 3), (2, 3), (2, 12), (3, 12), (12,)
    else:
        shapes = (3, 2), (3, 2), (3, 4), (3,), (3,)
    inputs = [normal(*shape, seed=i) for i, shape in enumerate(shapes)]
    return gradcheck.steps(from_pair(scope["forward"], scope["backward"]), *inputs)


@pytest.mark.slow
@pytest.mark.parametrize(
    "edits",
    [
        {"df = dc * c_prev": "df = dc * c_prev ** 2 + dh", "di = dc * g": "di = dc + g * dh"},
        {"dc_next = dc * f": "dc_next = dc + dh", "dh_next = dz @ wh.T": "dh_next = 3 * dz @ wh.T + dh"},
    ],
)
def test_of_two_mistakes_in_a_loop_no_right_line_is_called_wrong(edits):
    mistakes, wrong = {1 + LSTM.partition(old)[0].count("\n") for old in edits}, LSTM
    for old, new in edits.items():
        assert wrong.count(old) == 1
        wrong = wrong.replace(old, new)
    report = through_time(LSTM, wrong)
    assert not report.passed
    assert {row.line for row in report.rows if row.verdict == "WRONG"} <= mistakes


# Names that hold a part of a gradient, or another gradient


def in_two_parts(x, w, u, v, *, mistake=""):
    h = np.tanh(x @ w)
    a = h @ u
    b = h @ v
    y = a * b

    def backward(dy):
        da = dy * b
        db = dy * a
        dh = (2 if mistake == "part" else 1) * da @ u.T  # along one path
        dother = db @ v.T
        if mistake == "left out":
            dz = dh * (1 - h * h)
        else:
            dz = (dh + dother) * (1 - h * h)
        dw = x.T @ dz
        dx = (3 if mistake == "last" else 1) * dz @ w.T
        return dx, dw, h.T @ da, h.T @ db

    return y, backward


PARTS = normal(4, 3), normal(3, 5, seed=1), normal(5, 2, seed=2), normal(5, 2, seed=3)
wrong(*PARTS)(in_two_parts)
wrong(*PARTS, options={"mistake": "part"}, dh="^the factor 2 if mistake == 'part' else 1 is too much$")(in_two_parts)
wrong(*PARTS, options={"mistake": "left out"}, dh="^the path from h to the output through b is missing$")(in_two_parts)
wrong(*PARTS, options={"mistake": "last"}, dx="^the factor 3 if")(in_two_parts)


# Gradients that are returned without a name, or under another one


def by_one_expression(x, w, b, *, of_x=1, of_w=1):
    z = x @ w + b
    y = np.tanh(z)

    def backward(dy):
        dz = dy * (1 - y**2)
        return tuple(f(dz) for f in (lambda d: of_x * (d @ w.T), lambda d: of_w * (x.T @ d), lambda d: d.sum(axis=0)))

    return y, backward


wrong(X, W, normal(2), options={"of_x": 3, "of_w": 2}, dx="of_x is", dw="of_w is")(by_one_expression)


@wrong(X, W, normal(2), dw=UNNAMED)
def a_list_made_a_tuple_later(x, w, b):
    y = np.tanh(x @ w + b)

    def backward(dy):
        dz = dy * (1 - y**2)
        return [g * s for g, s in zip((dz @ w.T, x.T @ dz, dz.sum(0)), (1, 2, 1), strict=True)]

    return y, lambda dy: tuple(backward(dy))


@wrong(X, W)
def without_names(x, w):
    return x @ w, lambda g: (g @ w.T, x.T @ g)


# Numbers and arrays without axes


def dynamic_tanh(x, alpha):
    h = np.tanh(alpha * x)

    def backward(dy):
        dslope = dy * h**2
        return alpha * dslope, np.sum(x * dslope).reshape(alpha.shape)

    return h, backward


for shape in ((), (1,)):
    wrong(X, np.full(shape, 0.7), dslope="", follows=["dx"])(dynamic_tanh)


# Statements of every form


@wrong(normal(4), dx="")
def rebound(x):
    t = 2 * x

    def backward(dy):
        dx = t * dy
        return dx

    y = x * x
    t = t + 1.0
    return y, backward


def decorator(f):
    @functools.wraps(f)
    def wrapper(*arguments, **options):
        return f(*arguments, **options)

    return wrapper


@wrong(X, V, dw="^w stands where x belongs$")
@decorator
def starred_arguments(x, w):
    y = x * w

    @decorator
    def backward(*args):
        (dy,) = args
        try:
            dx: np.ndarray = dy * w
            dw = dy * w
        finally:
            pass
        return dx, dw

    return y, backward


# Code of every form, with the patterns of its wrong lines and the names that follow from them

OF_EVERY_FORM = r"""
scaled_within(x, w): normal(2, 4, 3), normal(3, 3, seed=1)
wrong dscores: ^p \* sum\(p \* dp\) over axis -1
follows: dq, dw
    q = x @ w
    scores = q @ q.swapaxes(-1, -2) / 3**0.5
    e = np.exp(scores - scores.real.max(-1, keepdims=True))
    p = e / e.sum(-1, keepdims=True)
    y = p @ x
backward(dy):
    dp = dy @ x.swapaxes(-1, -2)
    dscores = p * dp
    dscores = dscores / 3**0.5
    dq = dscores @ q + dscores.swapaxes(-1, -2) @ q
    dw = np.einsum("btc,btd->cd", x, dq)
    dx = p.swapaxes(-1, -2) @ dy + dq @ w.T
    return dx, dw

another_gradient_returned(x, c, w): X, normal(4, 2, seed=3), W
wrong dc: ^gz stands where gc belongs$
    z = np.tanh(x @ w)
    y = z * c
backward(grad):
    gc = grad * z  # the value that should be returned
    gz = grad * c * (1 - z**2)
    return gz @ w.T, gz, x.T @ gz

an_edit_gives_no_pair(x, w): X, W
wrong dh:
follows: dw
    z = x @ w
    y = np.tanh(z)
backward(dy):
    dh, dz = np.stack([dy * (1 - y), dy * (1 - y**2)]) * 1.0
    return dh @ w.T, x.T @ dh + 0 * x.T @ dz

in_a_dictionary(x, w): X, normal(3, 3, seed=1)
wrong dw:
    z = x @ w
backward(g):
    grads = {"z": 2 * z * g}
    return grads["z"] @ w.T, z[:3].T @ grads["z"][:3]
return z * z, backward

softmax(x): normal(3, 4)
wrong m: ^a mean stands where a sum belongs; or where dx is computed, the factor y.shape\[-1\] is
    e = np.exp(x)
    y = e / e.sum(axis=-1, keepdims=True)
backward(dy):
    m = (dy * y).mean(axis=-1, keepdims=True)
    return y * (dy - m)

number_divided_in_place(x): normal(5)
wrong dx: ^the factor 2 is missing$
    n = x.size
    s = np.mean(x**2)
    y = np.log(s)
backward(dy):
    ds = dy / s
    ds /= n
    dx = x * ds
    return dx

walrus(x, w): X, W
wrong g: ^y is not squared$
follows: dx, dw
    y = np.tanh(x @ w)
backward(dy):
    dx = (g := dy * (1 - y)) @ w.T
    dw = x.T @ g
    return dx, dw

an_array_of_forward_is_written_into(a, b): normal(3), normal(3, seed=1)
    total = a + b
    dtotal = np.zeros_like(total)
backward(dy):
    dtotal[...] = 2 * total * dy
    return dtotal.copy(), dtotal.copy()
return total * total, backward

a_mask_computed_anew(x, top): X, np.full((4, 1), 0.3)
wrong dx: ^keep stands where ~keep belongs; or where keep is computed, > stands where < belongs
    y = np.where(x < top, x, top)
backward(dout):
    keep = x > top
    dx = dout * keep
    return dx, np.sum(dout * (x >= top), axis=1, keepdims=True)

a_slope_of_the_forward_pass(x, w): X, normal(3, 2, seed=1)
wrong slope: ^h is not squared$
follows: dx
    h = np.tanh(x)
    slope = 1 - h
backward(dy):
    dh = dy @ w.T
    return dh * slope, h.T @ dy
return h @ w, backward

a_copy_that_leaves_out_the_other_path(x, w, v): X, W, normal(2, 3, seed=2)
wrong g_r: ^the term g is missing$
follows: dx, dw
    r = x @ w
    f = np.tanh(r)
    z = r + f
backward(dy):
    g = dy @ v.T
    n = g * (1 - f**2)
    g_r = n
    return g_r @ w.T, x.T @ g_r, z.T @ dy
return z @ v, backward
"""
for entry in entries(OF_EVERY_FORM, normal, X=X, W=W):
    wrong(*entry.inputs, follows=entry.follows, **entry.wrong)(entry.function)


@pytest.mark.one_in(8)
@pytest.mark.parametrize(
    "function, inputs, options, lines, follows",
    FUNCTIONS,
)
def test_the_wrong_lines_are_found_and_no_other(function, inputs, options, lines, follows):
    report = gradcheck.steps(function, *inputs, **options)
    found = {row.name: row.sentence for row in report.rows if row.verdict == "WRONG"}
    assert found.keys() == lines.keys(), report
    for name, sentence in found.items():
        assert re.search(lines[name], sentence), report
    assert {row.name for row in report.rows if row.verdict == "follows"} >= set(follows)
    assert report.passed == (not lines)


# A second mistake behind the first


def two_layers(x, w, u, c, *, wrong, is_second):
    h = np.tanh(x @ w)
    s = h + c

    def backward(dy):
        ds = dy @ u.T * wrong
        back = ds * (1 - (h if is_second else h**2))
        return back @ w.T, x.T @ back, s.T @ dy, ds.sum(axis=0)

    return s @ u, backward


@pytest.mark.parametrize(
    "is_second, remarks",
    [
        (True, ("with the correct ds, dc is right, but dx and dw are still wrong",)),
        (False, ("with the correct ds, dx, dw and dc are right",)),
    ],
)
def test_whether_a_second_mistake_is_behind_the_first_is_said(is_second, remarks):
    inputs = normal(4, 3), normal(3, 5, seed=1), normal(5, 2, seed=2), normal(5, seed=3)
    report = gradcheck.steps(two_layers, *inputs, wrong=2.0, is_second=is_second)
    assert (report.remarks, report.has_second_mistake) == (remarks, is_second)
    assert str(report).endswith(remarks[0] + is_second * ": there is a second mistake")


def test_the_remark_on_a_loop_replaces_its_line_in_every_iteration():
    scope = compiled(RECURRENT.replace("h[t + 1] ** 2", "h[t + 1]"))
    x, h, w, u = normal(2, 3), normal(4, seed=1), normal(3, 4, seed=2), normal(4, 4, seed=3)
    report = gradcheck.steps(from_pair(scope["forward"], scope["backward"]), x, h, w, u)
    assert (report.first_wrong.name, report.first_wrong.sentence) == ("da", "h[t + 1] is not squared")
    assert report.remarks == ("with the correct da, dx, dw, du and dh0 are right",)


def test_a_cache_that_backward_empties_is_a_remark_and_the_lines_are_found():
    def forward(x, w):
        return x @ w, [x, w]

    def backward(dy, cache):
        w, x = cache.pop(), cache.pop()
        dx = dy @ w.T
        dw = x.T @ dy * 2
        return dx, dw

    report = gradcheck.steps(from_pair(forward, backward), X, W)
    assert report.first_wrong.sentence == "the factor 2 is too much" and "pop from empty list" in report.remarks[0]
