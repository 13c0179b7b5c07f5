"""Right functions in styles that differ from the textbook's, which certificates are tried on."""

import numpy as np
from scipy.special import erf

rng = np.random.default_rng(3)
STYLES = []  # (function, inputs)


def normal(*shape):
    return rng.normal(size=shape)


def case(*inputs):
    def add(f):
        STYLES.append((f, inputs))
        return f

    return add


def logistic(x):
    return 1 / (1 + np.exp(-x))


@case(normal(3, 5), normal(5), normal(5))
def ln_power(x, g, b):
    mu = np.mean(x, axis=-1, keepdims=True)
    var = np.var(x, axis=-1, keepdims=True)
    inv = (var + 1e-5) ** -0.5
    xh = (x - mu) * inv
    y = g * xh + b

    def backward(dy):
        n = x.shape[-1]
        dxh = dy * g
        dvar = np.sum(dxh * (x - mu) * -0.5 * (var + 1e-5) ** -1.5, axis=-1, keepdims=True)
        dmu = np.sum(-dxh * inv, axis=-1, keepdims=True) + dvar * np.mean(-2 * (x - mu), axis=-1, keepdims=True)
        return dxh * inv + dvar * 2 * (x - mu) / n + dmu / n, np.sum(dy * xh, axis=0), dy.sum(0)

    return y, backward


@case(normal(3, 4))
def mish(x):
    sp = np.log1p(np.exp(x))
    t = np.tanh(sp)
    y = x * t

    def backward(dy):
        sig = 1 / (1 + np.exp(-x))
        return dy * (t + x * (1 - t**2) * sig)

    return y, backward


@case(normal(2, 3), normal(2, 4), normal(2, 4), normal(3, 16), normal(4, 16), normal(16))
def lstm(x, h, c, W, U, b):
    n = 4
    a = x @ W + h @ U + b
    i, f, o, g = [a[:, k * n : (k + 1) * n] for k in range(4)]
    i, f, o, g = logistic(i), logistic(f), logistic(o), np.tanh(g)
    c2 = f * c + i * g
    t = np.tanh(c2)
    y = o * t

    def backward(dy):
        do = dy * t
        dc2 = dy * o * (1 - t * t)
        da = np.hstack([dc2 * g * i * (1 - i), dc2 * c * f * (1 - f), do * o * (1 - o), dc2 * i * (1 - g**2)])
        return da @ W.T, da @ U.T, dc2 * f, x.T @ da, h.T @ da, da.sum(axis=0)

    return y, backward


@case(normal(3, 6))
def sort(x):
    i = np.argsort(x, axis=-1)
    y = np.take_along_axis(x, i, -1)

    def backward(dy):
        dx = np.zeros_like(dy)
        np.put_along_axis(dx, i, dy, -1)
        return dx

    return y, backward


@case(normal(1, 4, 6))
def maxpool(x):
    B, H, W = x.shape
    p = x.reshape(B, H // 2, 2, W // 2, 2)
    y = p.max(axis=(2, 4))

    def backward(dy):
        m = p == y[:, :, None, :, None]
        return (m * dy[:, :, None, :, None]).reshape(x.shape)

    return y, backward


@case(normal(2, 2, 5, 4), normal(4, 2, 3, 3), normal(4))
def conv(x, w, b):
    B, _, H, W = x.shape
    K = 3
    oh, ow = H - 2, W - 2
    y = np.zeros((B, 4, oh, ow))
    for i in range(oh):
        for j in range(ow):
            y[:, :, i, j] = np.tensordot(x[:, :, i : i + K, j : j + K], w, axes=([1, 2, 3], [1, 2, 3])) + b

    def backward(dy):
        dx = np.zeros(x.shape)
        dw = np.zeros(w.shape)
        for i in range(oh):
            for j in range(ow):
                dx[:, :, i : i + K, j : j + K] += np.einsum("bo,ocij->bcij", dy[:, :, i, j], w)
                dw += np.einsum("bo,bcij->ocij", dy[:, :, i, j], x[:, :, i : i + K, j : j + K])
        return dx, dw, dy.sum(axis=(0, 2, 3))

    return y, backward


@case(normal(3, 4))
def clip(x):
    y = np.clip(x, -0.5, 0.5)

    def backward(dy):
        return dy * ((x > -0.5) & (x < 0.5))

    return y, backward


@case(normal(6, 3))
def addat(w):
    ids = np.array([0, 2, 2, 5])
    y = w[ids]

    def backward(dy):
        dw = np.zeros((6, 3))
        np.add.at(dw, ids, dy)
        return dw

    return y, backward


@case(normal(4, 5))
def indexing(x):
    y = x[1:, ::2] * x[:-1, 1::2][:, [0, 1, 1]]

    def backward(dy):
        dx = np.zeros_like(x)
        dx[1:, ::2] += dy * x[:-1, 1::2][:, [0, 1, 1]]
        t = dy * x[1:, ::2]
        dx[:-1, 1] += t[:, 0]
        dx[:-1, 3] += t[:, 1] + t[:, 2]
        return dx

    return y, backward


@case(normal(2, 3), normal(2, 4), normal(2, 3))
def concat(a, b, c):
    y = np.concatenate([a, b], axis=1).sum(1, keepdims=True) * np.stack([a, c], axis=1).sum(1)

    def backward(dy):
        s = np.concatenate([a, b], axis=1).sum(1, keepdims=True)
        t = dy * s
        ds = (dy * (a + c)).sum(1, keepdims=True)
        return ds + t, np.broadcast_to(ds, b.shape).copy(), t

    return y, backward


@case(normal(2, 3))
def pad(x):
    y = np.pad(x, ((1, 1), (2, 0))) ** 2

    def backward(dy):
        return 2 * x * dy[1:-1, 2:]

    return y, backward


@case(normal(3, 5))
def cumsum(x):
    y = np.cumsum(x, axis=1)

    def backward(dy):
        return np.flip(np.cumsum(np.flip(dy, 1), axis=1), 1)

    return y, backward


@case(normal(3, 4) + 2)
def prod(x):
    y = np.prod(x, axis=1)

    def backward(dy):
        return dy[:, None] * y[:, None] / x

    return y, backward


@case(normal(3, 4))
def std(x):
    s = x.std(axis=1)

    def backward(dy):
        return dy[:, None] * (x - x.mean(1, keepdims=True)) / (x.shape[1] * s[:, None])

    return s, backward


@case(normal(3, 4), normal(3, 4))
def maxmin(a, b):
    y = np.maximum(a, b) - 2 * np.minimum(a, b)

    def backward(dy):
        m = a > b
        return np.where(m, dy, -2 * dy), np.where(m, -2 * dy, dy)

    return y, backward


@case(normal(3, 4))
def gelu_erf(x):
    cdf = 0.5 * (1 + erf(x / np.sqrt(2)))

    def backward(dy):
        return dy * (cdf + x * np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi))

    return x * cdf, backward


@case(np.abs(normal(3, 4)) + 0.2)
def powers(x):
    y = x**1.5 + x**0.3 + 2.0**x

    def backward(dy):
        return dy * (1.5 * np.sqrt(x) + 0.3 * x**-0.7 + np.log(2) * 2.0**x)

    return y, backward


@case(normal(3, 4))
def huber(x):
    a = np.abs(x)
    y = np.where(a <= 0.7, 0.5 * x**2, 0.7 * (a - 0.35))

    def backward(dy):
        return dy * np.where(a <= 0.7, x, 0.7 * np.sign(x))

    return y, backward


@case(normal(3, 4))
def sinusoid(x):
    y = np.sin(x) * np.cos(2 * x)

    def backward(dy):
        return dy * (np.cos(x) * np.cos(2 * x) - 2 * np.sin(x) * np.sin(2 * x))

    return y, backward


@case(normal(4, 3), normal(3, 3))
def rnn(xs, W):
    h = np.zeros(3)
    hs = [h]
    for x in xs:
        h = np.tanh(h @ W + x)
        hs.append(h)

    def backward(dy):
        dW = np.zeros_like(W)
        dxs = np.zeros_like(xs)
        dh = dy
        for t in reversed(range(4)):
            da = dh * (1 - hs[t + 1] ** 2)
            dxs[t] = da
            dW += np.outer(hs[t], da)
            dh = W @ da
        return dxs, dW

    return h, backward


@case(normal(3, 4))
def softmax_jac(x):
    e = np.exp(x - np.max(x, axis=1, keepdims=True))
    y = e / np.sum(e, axis=1, keepdims=True)

    def backward(dy):
        dx = np.empty_like(y)
        for i in range(len(y)):
            J = np.diag(y[i]) - np.outer(y[i], y[i])
            dx[i] = J @ dy[i]
        return dx

    return y, backward


@case(normal(3, 3) + 3 * np.eye(3), normal(3))
def solve(A, b):
    y = np.linalg.solve(A, b)

    def backward(dy):
        db = np.linalg.solve(A.T, dy)
        return -np.outer(db, y), db

    return y, backward


@case(normal(4, 4))
def dot_chain(x):
    y = np.dot(x, x.T).dot(x)

    def backward(dy):
        return np.dot(dy.T, np.dot(x, x.T)).T + (np.dot(dy, x.T) + np.dot(dy, x.T).T) @ x

    return y, backward


@case(normal(3, 4))
def logsigmoid(x):
    y = -np.logaddexp(0, -x)

    def backward(dy):
        return dy / (1 + np.exp(x))

    return y, backward
