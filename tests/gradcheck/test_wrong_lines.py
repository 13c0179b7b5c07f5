"""The wrong line is found in code of every form, and no right line is called wrong."""

import functools
import re

import numpy as np
import pytest

import gradcheck
from gradcheck.adapters import from_pair

FUNCTIONS = []


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def wrong(*inputs, options=None, follows=(), **lines):
    """Register a function with its inputs, and {name: pattern of the sentence} of exactly its wrong lines."""

    def register(function):
        FUNCTIONS.append(pytest.param(function, inputs, options or {}, lines, follows, id=function.__name__))
        return function

    return register


X, W, V = normal(4, 3), normal(3, 2, seed=1), normal(4, 3, seed=2)
UNNAMED = "^given the true gradients, this line gives a wrong value$"


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
wrong(*PARTS, options={"mistake": "left out"}, dz="^dother is computed and left out$")(in_two_parts)
wrong(*PARTS, options={"mistake": "last"}, dx="^the factor 3 if")(in_two_parts)


@wrong(X, db="", follows=["dx"])
def powers(x):
    h = np.tanh(x)
    a = 2 * h
    b = h**3
    y = a * b

    def backward(dy):
        da = dy * b
        dh = 2 * da
        db = dy * b
        dx = (dh + db * 3 * h**2) * (1 - h**2)
        return dx

    return y, backward


@wrong(normal(5, 4), normal(4, 4, seed=1), dz="^the factor o is missing$")
def gated(x, w):
    o = x @ w
    o = 1 / (1 + np.exp(-o))
    t = np.tanh(x)
    h = o * t

    def backward(dh):
        do = dh * t
        dz = do * (1 - o)
        dx = dz @ w.T + dh * o * (1 - t**2)
        dw = x.T @ dz
        return dx, dw

    return h, backward


@wrong(normal(2, 4, 3), normal(3, 3, seed=1), dscores=r"^p \* sum\(p \* dp\) over axis -1", follows=["dq", "dw"])
def scaled_within(x, w):
    q = x @ w
    scores = q @ q.swapaxes(-1, -2) / 3**0.5
    e = np.exp(scores - scores.real.max(-1, keepdims=True))
    p = e / e.sum(-1, keepdims=True)
    y = p @ x

    def backward(dy):
        dp = dy @ x.swapaxes(-1, -2)
        dscores = p * dp
        dscores = dscores / 3**0.5
        dq = dscores @ q + dscores.swapaxes(-1, -2) @ q
        dw = np.einsum("btc,btd->cd", x, dq)
        dx = p.swapaxes(-1, -2) @ dy + dq @ w.T
        return dx, dw

    return y, backward


@wrong(normal(3, 4), grad_x="^the factor y is missing; or, where grad_z is computed, ")
def unlike_names(x):
    y = np.exp(x)
    z = 3 * y

    def backward(grad_z):
        grad_z = grad_z * 3
        grad_x = grad_z
        return grad_x

    return z, backward


@wrong(normal(6, 3), normal(3, seed=1), r="^1 / np.sqrt.* stands where saved belongs$", follows=["dx", "dgamma"])
def normalized(x, gamma):
    centred = x - x.mean(axis=0)
    saved = 1 / np.sqrt((centred**2).mean(axis=0) + 1e-5)
    y = gamma * centred * saved

    def backward(dy):
        r = 1 / np.sqrt(saved + 1e-5)
        x_hat = centred * r
        d = dy * gamma
        dx = r * (d - d.mean(axis=0) - x_hat * (d * x_hat).mean(axis=0))
        dgamma = (dy * x_hat).sum(axis=0)
        return dx, dgamma

    return y, backward


@wrong(X, V, mu="^the factor 2 is too much$")
def adjoints_called_bar(x, v):
    u = x * v
    y = np.tanh(u)

    def backward(bar):
        top, rest = bar[:1], bar[1:]
        y_bar = np.concatenate([top, rest])
        mu = 2 * y_bar * (1 - y**2)
        return mu * v, mu * x

    return y, backward


# Gradients that are returned without a name, or under another one


@wrong(X, dx="^slope stands where dx belongs$")
def another_name_returned(x):
    def backward(dy):
        slope = 2 * x
        dx = slope * dy  # noqa: F841 (the mistake)
        return slope

    return x * x, backward


@wrong(X, normal(4, 2, seed=3), W, dc="^gz stands where gc belongs$")
def another_gradient_returned(x, c, w):
    z = np.tanh(x @ w)
    y = z * c

    def backward(grad):
        gc = grad * z  # noqa: F841 (the value that should be returned)
        gz = grad * c * (1 - z**2)
        return gz @ w.T, gz, x.T @ gz

    return y, backward


def by_one_expression(x, w, b, *, of_x=1, of_w=1):
    z = x @ w + b
    y = np.tanh(z)

    def backward(dy):
        dz = dy * (1 - y**2)
        return tuple(f(dz) for f in (lambda d: of_x * (d @ w.T), lambda d: of_w * (x.T @ d), lambda d: d.sum(axis=0)))

    return y, backward


wrong(X, W, normal(2), options={"of_w": 2}, dw="of_w is too much")(by_one_expression)
wrong(X, W, normal(2), options={"of_x": 3, "of_w": 2}, dx="of_x is", dw="of_w is")(by_one_expression)


@wrong(X, W, normal(2), db="^a mean stands where a sum belongs$")
def three_in_one_assignment(x, w, b):
    y = np.tanh(x @ w + b)

    def backward(dy):
        dz = dy * (1 - y**2)
        dx, dw, db = dz @ w.T, x.T @ dz, dz.mean(0)
        return dx, dw, db

    return y, backward


@wrong(X, W, normal(2), dw="^it is 2 times the correct gradient$")
def a_list_made_a_tuple_later(x, w, b):
    y = np.tanh(x @ w + b)

    def backward(dy):
        dz = dy * (1 - y**2)
        return [g * s for g, s in zip((dz @ w.T, x.T @ dz, dz.sum(0)), (1, 2, 1), strict=True)]

    return y, lambda dy: tuple(backward(dy))


@wrong(X, W)
def without_names(x, w):
    return x @ w, lambda g: (g @ w.T, x.T @ g)


@wrong(X, normal(3, 3, seed=1), dw="")
def in_a_dictionary(x, w):
    z = x @ w

    def backward(g):
        grads = {"z": 2 * z * g}
        return grads["z"] @ w.T, z[:3].T @ grads["z"][:3]

    return z * z, backward


@wrong(normal(3), normal(3), db="^g stands where dy belongs$")
def undone_by_another_line(a, b):
    def backward(dy):
        g = 2 * dy
        return g / 2, g

    return a + b, backward


@wrong(normal(3, 4), m=r"^a mean stands where a sum belongs; or, where dx is computed, the factor y.shape\[-1\] is")
def softmax(x):
    e = np.exp(x)
    y = e / e.sum(axis=-1, keepdims=True)

    def backward(dy):
        m = (dy * y).mean(axis=-1, keepdims=True)
        return y * (dy - m)

    return y, backward


# Numbers and arrays without axes


@wrong(normal(5), dx="^the factor 2 is missing$")
def number_divided_in_place(x):
    n = x.size
    s = np.mean(x**2)
    y = np.log(s)

    def backward(dy):
        ds = dy / s
        ds /= n
        dx = x * ds
        return dx

    return y, backward


def rectified(x, alpha):
    y = np.where(x > 0, x, alpha * x)

    def backward(dy):
        dx = dy * np.where(x > 0, 1.0, alpha)
        dalpha = np.sum(dy * x).reshape(alpha.shape)
        return dx, dalpha

    return y, backward


def dynamic_tanh(x, alpha):
    h = np.tanh(alpha * x)

    def backward(dy):
        dslope = dy * h**2
        return alpha * dslope, np.sum(x * dslope).reshape(alpha.shape)

    return h, backward


for shape in ((), (1,)):
    wrong(X, np.full(shape, 0.25), dalpha="")(rectified)
    wrong(X, np.full(shape, 0.7), dslope="", follows=["dx"])(dynamic_tanh)


# Statements of every form


@wrong(X, W, g="^y is not squared$", follows=["dx", "dw"])
def walrus(x, w):
    y = np.tanh(x @ w)

    def backward(dy):
        dx = (g := dy * (1 - y)) @ w.T
        dw = x.T @ g
        return dx, dw

    return y, backward


@wrong(X, W, m=UNNAMED)
def walrus_in_a_condition(x, w):
    n = len(x)
    y = x @ w / n

    def backward(dy):
        if (m := len(w)) > 1:
            g = dy / m
        return g @ w.T, x.T @ g

    return y, backward


@wrong(X, W, dy="^z stands where y belongs$", follows=["dx", "dw"])
def augmented(x, w):
    y = x @ w
    z = y * y

    def backward(dz):
        dy = 2 * dz
        dy *= z
        dx = dy @ w.T
        dw = x.T @ dy
        return dx, dw

    return z, backward


@wrong(normal(5), normal(5, seed=1), dw="^w stands where x belongs$")
def starred_arguments(x, w):
    y = x * w

    def backward(*args):
        (dy,) = args
        dx = dy * w
        dw = dy * w
        return dx, dw

    return y, backward


def decorator(f):
    @functools.wraps(f)
    def wrapper(*arguments, **options):
        return f(*arguments, **options)

    return wrapper


@wrong(normal(4), dx="^x stands where y belongs$")
@decorator
def decorated(x):
    y = np.exp(x)

    @decorator
    def backward(dy):
        dx = dy * x
        return dx

    return y, backward


@wrong(normal(4), options={"p": 3}, dx="^2 stands where 1 belongs$")
def default_argument(x, *, p):
    y = x**p

    def backward(dy, p=p):
        dx = p * x ** (p - 2) * dy
        return dx

    return y, backward


@wrong(normal(4), normal(4, seed=1), dx="^1 stands where 2 belongs$")
def generators(x, w):
    y = sum(x * k for k in (1, 2)) * w

    def backward(dy):
        dx = sum(dy * w * k for k in (1, 1))
        dw = sum(dy * x * k for k in (1, 2))
        return dx, dw

    return y, backward


@wrong(np.abs(normal(4)) + 0.5, dx=r"^x \*\* 2 stands where x belongs$")
def within_try(x):
    try:
        y = np.log(x)
    except ValueError:
        y = x

    def backward(dy):
        try:
            dx: np.ndarray = dy / x**2
        finally:
            pass
        return dx

    return y, backward


@wrong(normal(5, 4), normal(4, 3, seed=1), dw="^given the true gradients, this line, or that of scale gives")
def summed_in_a_loop(x, w):
    y = x @ w

    def backward(dy):
        dx, dw = dy @ w.T, np.zeros(w.shape)
        for t in range(len(x)):
            scale = np.sin(float(np.sum(dy)))
            dw += scale * np.outer(x[t], dy[t])
        return dx, dw

    return y, backward


@wrong(normal(5), dx="")
def an_edit_would_be_complex(x):
    y = x / 3**0.5

    def backward(dy):
        a = dy / 3**0.5
        dx = a + np.cumsum(np.cos(dy))
        return dx

    return y, backward


@wrong(normal(3), normal(3, seed=1))
def an_array_of_forward_is_written_into(a, b):
    total = a + b
    dtotal = np.zeros_like(total)

    def backward(dy):
        dtotal[...] = 2 * total * dy
        return dtotal.copy(), dtotal.copy()

    return total * total, backward


# Masks


@wrong(normal(4, 5), dx="^dy should be 0 where y or x is not positive$")
def without_its_mask(x):
    y = np.where(x > 0, x, 0)

    def backward(dy):
        dx = dy
        return dx

    return y, backward


@wrong(normal(4, 5), dx="^y stands where the mask y > 0 belongs$")
def the_output_for_its_mask(x):
    y = np.maximum(x, 0)

    def backward(dy):
        dx = dy * y
        return dx

    return y, backward


@wrong(X, np.full((4, 1), 0.3), dx="^keep stands where ~keep belongs$")
def a_mask_computed_anew(x, top):
    y = np.where(x < top, x, top)

    def backward(dout):
        keep = x > top
        dx = dout * keep
        return dx, np.sum(dout * (x >= top), axis=1, keepdims=True)

    return y, backward


# Words that fit one draw by chance


@wrong(normal(4, 3), dx=r"^2 stands where x.shape\[-2\] belongs$")
def averaged(x):
    y = x.mean(axis=0)

    def backward(dy):
        dx = np.broadcast_to(dy, x.shape) / 2  # the length of the axis is 4 here: 2 * 2 would fit
        return dx

    return y, backward


KEEP = np.random.default_rng(3).random((4, 5)) < 0.5


@wrong(normal(4, 5), options={"keep": KEEP, "p": 0.5}, dx=UNNAMED)
def masked(x, *, keep, p):
    y = x * keep / (1 - p)

    def backward(dy):
        dx = dy * keep  # where p is 0.5, a factor 2 would fit
        return dx

    return y, backward


@wrong(normal(4, 5), options={"mask": normal(4, 5) > 0}, dx="^(?!.*not positive)")
def picked(x, *, mask):
    y = np.where(mask, 2 * x, x)

    def backward(dy):
        dx = dy + dy  # where x happens to be positive exactly where mask is True, x > 0 would fit
        return dx

    return y, backward


@wrong(normal(4), dx="^it is off by a constant factor$")
def fitted_number(x):
    y = x * 0.134145

    def backward(dy):
        dx = dy * 0.5
        return dx

    return y, backward


@wrong(normal(3, 4, 5), options={"axis": 1}, dx="^the mean runs over axis -1 where it should over axis$")
def axis_of_an_option(x, *, axis):
    c = x - x.mean(axis=axis, keepdims=True)

    def backward(dc):
        dx = dc - dc.mean(axis=-1, keepdims=True)
        return dx

    return c, backward


@pytest.mark.parametrize("function, inputs, options, lines, follows", FUNCTIONS)
def test_the_wrong_lines_are_found_and_no_other(function, inputs, options, lines, follows):
    report = gradcheck.steps(function, *inputs, **options)
    found = {row.name: row.sentence for row in report.rows if row.verdict == "WRONG"}
    assert found.keys() == lines.keys(), report
    for name, sentence in found.items():
        assert re.search(lines[name], sentence), report
    assert {row.name for row in report.rows if row.verdict == "follows"} >= set(follows)
    assert report.passed == (not lines)


# A second mistake behind the first


def two_layers(x, w, u, c, *, wrong, second=1):
    h = np.tanh(x @ w)
    s = h + c

    def backward(dy):
        ds = dy @ u.T * wrong
        back = ds * (1 - h**second)
        return back @ w.T, x.T @ back, s.T @ dy, ds.sum(axis=0)

    return s @ u, backward


LAYERS = normal(4, 3), normal(3, 5, seed=1), normal(5, 2, seed=2), normal(5, seed=3)


@pytest.mark.parametrize(
    "second, remarks",
    [(1, ("with the true ds, dx and dw are still wrong: there is a second mistake",)), (2, ())],
)
def test_a_second_mistake_behind_the_first_is_said_to_be_there(second, remarks):
    assert gradcheck.steps(two_layers, *LAYERS, wrong=2.0, second=second).remarks == remarks


def test_a_cache_that_backward_empties_is_a_remark_and_the_lines_are_found():
    def forward(x, w):
        return x @ w, [x, w]

    def backward(dy, cache):
        w, x = cache.pop(), cache.pop()
        dx = dy @ w.T
        dw = x.T @ dy * 2
        return dx, dw

    report = gradcheck.steps(from_pair(forward, backward), X, W)
    assert report.first_wrong.sentence == "the factor 2 is too much" and "backward removes" in report.remarks[0]
