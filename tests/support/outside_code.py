"""Backward passes in the style of public projects, rewritten with similar names and shortcuts.

`bearing` and `mixture` were held out: gradcheck was not tuned on them.

| function | after |
|---|---|
| `letters` | karpathy/nn-zero-to-hero, part 4 of makemore: every intermediate result has its own gradient |
| `network` | mnielsen/neural-networks-and-deep-learning: delta and nabla |
| `normalized` | eriklindernoren/ML-From-Scratch: one name for every gradient on the way |
| `adam` | the step of an optimiser, differentiated as HIPS/hypergrad does |
| `heavy_ball` | HIPS/hypergrad: two steps of gradient descent with momentum |
| `kalman` | TuringLang/SSMProblems (GeneralisedFilters): the update of a Kalman filter |
| `bearing` | rlabbe/filterpy: the Jacobian of a measurement of range and bearing |
| `mixture` | scikit-learn: responsibilities of a Gaussian mixture |
"""

import numpy as np

from gradcheck.adapters import from_pair


def letters(emb, W1, bngain, bnbias, W2):
    n = emb.shape[0]
    hprebn = emb @ W1
    bnmeani = 1 / n * hprebn.sum(0, keepdims=True)
    bndiff = hprebn - bnmeani
    bndiff2 = bndiff**2
    bnvar = 1 / (n - 1) * bndiff2.sum(0, keepdims=True)
    bnvar_inv = (bnvar + 1e-5) ** -0.5
    bnraw = bndiff * bnvar_inv
    hpreact = bngain * bnraw + bnbias
    h = np.tanh(hpreact)
    logits = h @ W2
    counts = np.exp(logits)
    counts_sum = counts.sum(1, keepdims=True)
    counts_sum_inv = counts_sum**-1
    probs = counts * counts_sum_inv
    logprobs = np.log(probs)

    def backward(dlogprobs):
        dprobs = (1.0 / probs) * dlogprobs
        dcounts_sum_inv = (counts * dprobs).sum(1, keepdims=True)
        dcounts = counts_sum_inv * dprobs
        dcounts_sum = (-(counts_sum**-2)) * dcounts_sum_inv
        dcounts = dcounts + np.ones_like(counts) * dcounts_sum
        dlogits = counts * dcounts
        dh = dlogits @ W2.T
        dW2 = h.T @ dlogits
        dhpreact = (1.0 - h**2) * dh
        dbngain = (bnraw * dhpreact).sum(0, keepdims=True)
        dbnraw = bngain * dhpreact
        dbnbias = dhpreact.sum(0, keepdims=True)
        dbndiff = bnvar_inv * dbnraw
        dbnvar_inv = (bndiff * dbnraw).sum(0, keepdims=True)
        dbnvar = (-0.5 * (bnvar + 1e-5) ** -1.5) * dbnvar_inv
        dbndiff2 = (1.0 / (n - 1)) * np.ones_like(bndiff2) * dbnvar
        dbndiff = dbndiff + (2 * bndiff) * dbndiff2
        dhprebn = dbndiff
        dbnmeani = (-dbndiff).sum(0, keepdims=True)
        dhprebn = dhprebn + 1.0 / n * (np.ones_like(hprebn) * dbnmeani)
        demb = dhprebn @ W1.T
        dW1 = emb.T @ dhprebn
        return demb, dW1, dbngain, dbnbias, dW2

    return logprobs, backward


def sigmoid(z):
    return 1.0 / (1.0 + np.exp(-z))


def network_forward(x, b1, w1, b2, w2):
    z1 = np.dot(w1, x) + b1
    a1 = sigmoid(z1)
    z2 = np.dot(w2, a1) + b2
    return sigmoid(z2), (x, z1, a1, z2, w1, w2)


def network_backward(cost_derivative, cache):
    x, z1, a1, z2, w1, w2 = cache
    sp = sigmoid(z2) * (1 - sigmoid(z2))
    delta = cost_derivative * sp
    nabla_b2 = delta.sum(axis=1, keepdims=True)
    nabla_w2 = np.dot(delta, a1.T)
    sp = sigmoid(z1) * (1 - sigmoid(z1))
    delta = np.dot(w2.T, delta) * sp
    nabla_b1 = delta.sum(axis=1, keepdims=True)
    nabla_w1 = np.dot(delta, x.T)
    return np.dot(w1.T, delta), nabla_b1, nabla_w1, nabla_b2, nabla_w2


def normalized_forward(X, gamma, beta):
    mean = np.mean(X, axis=0)
    var = np.mean((X - mean) ** 2, axis=0)
    X_centered = X - mean
    stddev_inv = 1 / np.sqrt(var + 0.01)
    X_norm = X_centered * stddev_inv
    return gamma * X_norm + beta, (X_centered, stddev_inv, gamma)


def normalized_backward(accum_grad, cache):
    X_centered, stddev_inv, gamma = cache
    X_norm = X_centered * stddev_inv
    grad_gamma = np.sum(accum_grad * X_norm, axis=0)
    grad_beta = np.sum(accum_grad, axis=0)
    batch_size = accum_grad.shape[0]
    centre = np.sum(accum_grad, axis=0)
    spread = X_centered * stddev_inv**2 * np.sum(accum_grad * X_centered, axis=0)
    accum_grad = (1 / batch_size) * gamma * stddev_inv * (batch_size * accum_grad - centre - spread)
    return accum_grad, grad_gamma, grad_beta


def adam(theta, grad, m, v, *, lr=0.1, b1=0.9, b2=0.99, t=3, eps=1e-3):
    m_t = b1 * m + (1 - b1) * grad
    v_t = b2 * v**2 + (1 - b2) * grad**2
    mhat = m_t / (1 - b1**t)
    vhat = v_t / (1 - b2**t)
    root = np.sqrt(vhat)
    theta_t = theta - lr * mhat / (root + eps)

    def backward(d_theta):
        denominator = root + eps
        d_mhat = -lr * d_theta / denominator
        d_root = lr * d_theta * mhat / denominator**2
        d_vhat = d_root / (2 * root)
        d_mt = d_mhat / (1 - b1**t)
        d_vt = d_vhat / (1 - b2**t)
        d_grad = (1 - b1) * d_mt + 2 * (1 - b2) * grad * d_vt
        d_m = b1 * d_mt
        d_v = 2 * b2 * v * d_vt
        return d_theta, d_grad, d_m, d_v

    return theta_t, backward


def heavy_ball(x, v, A, alpha, beta):
    g1 = A @ x
    v1 = beta * v - (1 - beta) * g1
    x1 = x + alpha * v1
    g2 = A @ x1
    v2 = beta * v1 - (1 - beta) * g2
    x2 = x1 + alpha * v2

    def backward(d_x):
        d_v = d_x * alpha
        d_alpha = np.sum(d_x * v2, axis=0, keepdims=True)
        d_beta = np.sum(d_v * (v1 + g2), axis=0, keepdims=True)
        hvp = -(1 - beta) * d_v
        d_A = np.outer(hvp, x1)
        d_x = d_x + A.T @ hvp
        d_v = d_v * beta
        d_v = d_v + d_x * alpha
        d_alpha = d_alpha + np.sum(d_x * v1, axis=0, keepdims=True)
        d_beta = d_beta + np.sum(d_v * (v + g1), axis=0, keepdims=True)
        hvp = -(1 - beta) * d_v
        d_A = d_A + np.outer(hvp, x)
        d_x = d_x + A.T @ hvp
        return d_x, d_v * beta, d_A, d_alpha, d_beta

    return x2, backward


def kalman(mu, P, H, R, z):
    innovation = z - H @ mu
    PHT = P @ H.T
    S = H @ PHT + R
    SI = np.linalg.inv(S)
    K = PHT @ SI
    mu_new = mu + K @ innovation
    I_KH = np.eye(len(mu)) - K @ H
    P_new = I_KH @ P
    state = np.concatenate([mu_new[:, None], P_new], axis=1)

    def backward(bar):
        mu_bar, P_bar_new = bar[:, 0], bar[:, 1:]
        I_KH_bar = P_bar_new @ P.T
        P_bar = I_KH.T @ P_bar_new
        K_bar = np.outer(mu_bar, innovation) - I_KH_bar @ H.T
        y_bar = K.T @ mu_bar
        SI_bar = PHT.T @ K_bar
        PHT_bar = K_bar @ SI.T
        S_bar = -SI.T @ SI_bar @ SI.T
        PHT_bar = PHT_bar + H.T @ S_bar
        H_bar = S_bar @ PHT.T
        H_bar = H_bar - K.T @ I_KH_bar
        H_bar = H_bar + PHT_bar.T @ P
        H_bar = H_bar - np.outer(y_bar, mu)
        P_bar = P_bar + PHT_bar @ H
        return mu_bar - H.T @ y_bar, P_bar, H_bar, S_bar, y_bar

    return state, backward


def bearing(x, landmark):
    px, py, th = x
    lx, ly = landmark
    hyp = (lx - px) ** 2 + (ly - py) ** 2
    dist = np.sqrt(hyp)
    z = np.array([dist, np.arctan((ly - py) / (lx - px)) - th])

    def backward(dz):
        Hx = np.array([[-(lx - px) / dist, -(ly - py) / dist, 0], [(ly - py) / hyp, -(lx - px) / hyp, -1]])
        Hl = np.array([[(lx - px) / dist, (ly - py) / dist], [-(ly - py) / hyp, (lx - px) / hyp]])
        return dz @ Hx, dz @ Hl

    return z, backward


def mixture(X, means, log_weights, log_scales):
    diff = X[:, None, :] - means
    prec = np.exp(-2 * log_scales)
    maha = np.sum(diff**2 * prec[:, None], axis=2)
    joint = log_weights - 0.5 * maha - X.shape[1] * log_scales
    top = joint.real.max(axis=1, keepdims=True)
    norm = np.log(np.sum(np.exp(joint - top), axis=1)) + top[:, 0]

    def backward(g):
        resp = np.exp(joint - norm[:, None])
        gr = g[:, None] * resp
        nk = gr.sum(axis=0)
        dist = -gr[:, :, None] * diff * prec[:, None]
        dX = dist.sum(axis=1)
        dmeans = -dist.sum(axis=0)
        dprec = -0.5 * np.sum(gr * np.sum(diff**2, axis=2), axis=0)
        dlog_scales = -2 * prec * dprec - X.shape[1] * nk
        return dX, dmeans, nk, dlog_scales

    return norm, backward


CASES = {  # name: a function of normal(*shape) that returns (function, inputs)
    "letters": lambda normal: (letters, (normal(5, 3), normal(3, 4), normal(1, 4), normal(1, 4), normal(4, 6))),
    "network": lambda normal: (
        from_pair(network_forward, network_backward),
        (normal(3, 5), normal(4, 1), normal(4, 3), normal(2, 1), normal(2, 4)),
    ),
    "normalized": lambda normal: (
        from_pair(normalized_forward, normalized_backward),
        (normal(6, 4), normal(4), normal(4)),
    ),
    "adam": lambda normal: (adam, (normal(5), normal(5), normal(5), normal(5))),
    "heavy_ball": lambda normal: (
        heavy_ball,
        (normal(4), normal(4), normal(4, 4), np.array([0.3]), np.array([0.8])),
    ),
    "kalman": lambda normal: (
        kalman,
        (normal(4), normal(4, 4), normal(3, 4), 4 * np.eye(3) + normal(3, 3), normal(3)),
    ),
    "bearing": lambda normal: (bearing, (normal(3), normal(2) + 4)),
    "mixture": lambda normal: (mixture, (normal(5, 3), normal(4, 3), normal(4), 0.3 * normal(4))),
}
