"""Right functions in styles that differ from the textbook's, which certificates are tried on."""

import numpy as np
from corpus import functions_in
from scipy.special import erf


def logistic(x):
    return 1 / (1 + np.exp(-x))


TEXT = """
ln_power(x, g, b): normal(3, 5), normal(5), normal(5)
    mu = np.mean(x, axis=-1, keepdims=True)
    var = np.var(x, axis=-1, keepdims=True)
    inv = (var + 1e-5) ** -0.5
    xh = (x - mu) * inv
    y = g * xh + b
backward(dy):
    n = x.shape[-1]
    dxh = dy * g
    dvar = np.sum(dxh * (x - mu) * -0.5 * (var + 1e-5) ** -1.5, axis=-1, keepdims=True)
    dmu = np.sum(-dxh * inv, axis=-1, keepdims=True) + dvar * np.mean(-2 * (x - mu), axis=-1, keepdims=True)
    return dxh * inv + dvar * 2 * (x - mu) / n + dmu / n, np.sum(dy * xh, axis=0), dy.sum(0)

mish(x): normal(3, 4)
    sp = np.log1p(np.exp(x))
    t = np.tanh(sp)
    y = x * t
backward(dy):
    sig = 1 / (1 + np.exp(-x))
    return dy * (t + x * (1 - t**2) * sig)

lstm(x, h, c, W, U, b): normal(2, 3), normal(2, 4), normal(2, 4), normal(3, 16), normal(4, 16), normal(16)
    n = 4
    a = x @ W + h @ U + b
    i, f, o, g = [a[:, k * n : (k + 1) * n] for k in range(4)]
    i, f, o, g = logistic(i), logistic(f), logistic(o), np.tanh(g)
    c2 = f * c + i * g
    t = np.tanh(c2)
    y = o * t
backward(dy):
    do = dy * t
    dc2 = dy * o * (1 - t * t)
    da = np.hstack([dc2 * g * i * (1 - i), dc2 * c * f * (1 - f), do * o * (1 - o), dc2 * i * (1 - g**2)])
    return da @ W.T, da @ U.T, dc2 * f, x.T @ da, h.T @ da, da.sum(axis=0)

sort(x): normal(3, 6)
    i = np.argsort(x, axis=-1)
    y = np.take_along_axis(x, i, -1)
backward(dy):
    dx = np.zeros_like(dy)
    np.put_along_axis(dx, i, dy, -1)
    return dx

maxpool(x): normal(1, 4, 6)
    B, H, W = x.shape
    p = x.reshape(B, H // 2, 2, W // 2, 2)
    y = p.max(axis=(2, 4))
backward(dy):
    m = p == y[:, :, None, :, None]
    return (m * dy[:, :, None, :, None]).reshape(x.shape)

conv(x, w, b): normal(2, 2, 5, 4), normal(4, 2, 3, 3), normal(4)
    B, _, H, W = x.shape
    K = 3
    oh, ow = H - 2, W - 2
    y = np.zeros((B, 4, oh, ow))
    for i in range(oh):
        for j in range(ow):
            y[:, :, i, j] = np.tensordot(x[:, :, i : i + K, j : j + K], w, axes=([1, 2, 3], [1, 2, 3])) + b
backward(dy):
    dx = np.zeros(x.shape)
    dw = np.zeros(w.shape)
    for i in range(oh):
        for j in range(ow):
            dx[:, :, i : i + K, j : j + K] += np.einsum("bo,ocij->bcij", dy[:, :, i, j], w)
            dw += np.einsum("bo,bcij->ocij", dy[:, :, i, j], x[:, :, i : i + K, j : j + K])
    return dx, dw, dy.sum(axis=(0, 2, 3))

clip(x): normal(3, 4)
    y = np.clip(x, -0.5, 0.5)
backward(dy):
    return dy * ((x > -0.5) & (x < 0.5))

addat(w): normal(6, 3)
    ids = np.array([0, 2, 2, 5])
    y = w[ids]
backward(dy):
    dw = np.zeros((6, 3))
    np.add.at(dw, ids, dy)
    return dw

indexing(x): normal(4, 5)
    y = x[1:, ::2] * x[:-1, 1::2][:, [0, 1, 1]]
backward(dy):
    dx = np.zeros_like(x)
    dx[1:, ::2] += dy * x[:-1, 1::2][:, [0, 1, 1]]
    t = dy * x[1:, ::2]
    dx[:-1, 1] += t[:, 0]
    dx[:-1, 3] += t[:, 1] + t[:, 2]
    return dx

concat(a, b, c): normal(2, 3), normal(2, 4), normal(2, 3)
    y = np.concatenate([a, b], axis=1).sum(1, keepdims=True) * np.stack([a, c], axis=1).sum(1)
backward(dy):
    s = np.concatenate([a, b], axis=1).sum(1, keepdims=True)
    t = dy * s
    ds = (dy * (a + c)).sum(1, keepdims=True)
    return ds + t, np.broadcast_to(ds, b.shape).copy(), t

pad(x): normal(2, 3)
    y = np.pad(x, ((1, 1), (2, 0))) ** 2
backward(dy):
    return 2 * x * dy[1:-1, 2:]

cumsum(x): normal(3, 5)
    y = np.cumsum(x, axis=1)
backward(dy):
    return np.flip(np.cumsum(np.flip(dy, 1), axis=1), 1)

prod(x): normal(3, 4) + 2
    y = np.prod(x, axis=1)
backward(dy):
    return dy[:, None] * y[:, None] / x

std(x): normal(3, 4)
    s = x.std(axis=1)
    y = s
backward(dy):
    return dy[:, None] * (x - x.mean(1, keepdims=True)) / (x.shape[1] * s[:, None])

maxmin(a, b): normal(3, 4), normal(3, 4)
    y = np.maximum(a, b) - 2 * np.minimum(a, b)
backward(dy):
    m = a > b
    return np.where(m, dy, -2 * dy), np.where(m, -2 * dy, dy)

gelu_erf(x): normal(3, 4)
    cdf = 0.5 * (1 + erf(x / np.sqrt(2)))
    y = x * cdf
backward(dy):
    return dy * (cdf + x * np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi))

powers(x): np.abs(normal(3, 4)) + 0.2
    y = x**1.5 + x**0.3 + 2.0**x
backward(dy):
    return dy * (1.5 * np.sqrt(x) + 0.3 * x**-0.7 + np.log(2) * 2.0**x)

huber(x): normal(3, 4)
    a = np.abs(x)
    y = np.where(a <= 0.7, 0.5 * x**2, 0.7 * (a - 0.35))
backward(dy):
    return dy * np.where(a <= 0.7, x, 0.7 * np.sign(x))

sinusoid(x): normal(3, 4)
    y = np.sin(x) * np.cos(2 * x)
backward(dy):
    return dy * (np.cos(x) * np.cos(2 * x) - 2 * np.sin(x) * np.sin(2 * x))

rnn(xs, W): normal(4, 3), normal(3, 3)
    h = np.zeros(3)
    hs = [h]
    for x in xs:
        h = np.tanh(h @ W + x)
        hs.append(h)
    y = h
backward(dy):
    dW = np.zeros_like(W)
    dxs = np.zeros_like(xs)
    dh = dy
    for t in reversed(range(4)):
        da = dh * (1 - hs[t + 1] ** 2)
        dxs[t] = da
        dW += np.outer(hs[t], da)
        dh = W @ da
    return dxs, dW

softmax_jac(x): normal(3, 4)
    e = np.exp(x - np.max(x, axis=1, keepdims=True))
    y = e / np.sum(e, axis=1, keepdims=True)
backward(dy):
    dx = np.empty_like(y)
    for i in range(len(y)):
        J = np.diag(y[i]) - np.outer(y[i], y[i])
        dx[i] = J @ dy[i]
    return dx

solve(A, b): normal(3, 3) + 3 * np.eye(3), normal(3)
    y = np.linalg.solve(A, b)
backward(dy):
    db = np.linalg.solve(A.T, dy)
    return -np.outer(db, y), db

dot_chain(x): normal(4, 4)
    y = np.dot(x, x.T).dot(x)
backward(dy):
    return np.dot(dy.T, np.dot(x, x.T)).T + (np.dot(dy, x.T) + np.dot(dy, x.T).T) @ x

logsigmoid(x): normal(3, 4)
    y = -np.logaddexp(0, -x)
backward(dy):
    return dy / (1 + np.exp(x))
"""

STYLES = [*functions_in(TEXT, erf=erf, logistic=logistic).values()]  # (function, inputs)
