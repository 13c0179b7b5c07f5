"""Normalization and losses: invariances, and simpler forms of a gradient."""

import numpy as np

from gradcheck.identities.identity import same_as


def rms_norm(x, eps):
    return x / np.sqrt((x * x).mean(axis=-1, keepdims=True) + eps)


def layer_norm(x, eps):
    return (x - x.mean(axis=-1, keepdims=True)) / np.sqrt(x.var(axis=-1, keepdims=True) + eps)


@same_as(layer_norm, (2, 3), (), near_miss=("x - x.mean(axis=-1, keepdims=True)", "x"))
def rms_norm_of_centred_x(x, eps):
    """RMS norm of the centred x is layer norm (Zhang and Sennrich, 2019).

    RMSNorm(x − mean x) = LayerNorm(x)

    Near miss: x is not centred.
    """
    return rms_norm(x - x.mean(axis=-1, keepdims=True), eps)


def norm_of_x(x, scale, eps):
    return rms_norm(x, eps)


@same_as(norm_of_x, (2, 3), (), (), near_miss=("scale**2 * eps", "eps"))
def norm_of_scaled_x(x, scale, eps):
    """RMS norm ignores a positive scale of x as ε → 0 (Zhang and Sennrich, 2019).

    RMSNorm(a x; a² ε) = RMSNorm(x; ε)

    Near miss: the same ε.
    """
    return rms_norm(scale * x, scale**2 * eps)


def norm_before_a_shift(x, shift, eps):
    return layer_norm(x, eps)


@same_as(norm_before_a_shift, (2, 3), (2, 1), (), near_miss=("x + shift", "x + shift * x"))
def norm_after_a_shift(x, shift, eps):
    """Layer norm ignores a shift of x (Ba et al., 2016).

    LayerNorm(x + b; ε) = LayerNorm(x; ε)

    Near miss: each entry is shifted in proportion to its size.
    """
    return layer_norm(x + shift, eps)


def gradient_of_layer_norm_through_three_paths(x, dx_hat):
    C = x.shape[-1]
    mean = x.mean(axis=-1, keepdims=True)
    variance = ((x - mean) ** 2).mean(axis=-1, keepdims=True)
    dvariance = (dx_hat * (x - mean) * variance ** (-3 / 2)).sum(axis=-1, keepdims=True) / -2
    dmean = -dx_hat.sum(axis=-1, keepdims=True) / np.sqrt(variance)
    return dx_hat / np.sqrt(variance) + dvariance * 2 * (x - mean) / C + dmean / C


@same_as(gradient_of_layer_norm_through_three_paths, (2, 3), (2, 3), near_miss=("x_hat * (", "("))
def gradient_of_layer_norm_by_projection(x, dx_hat):
    """The gradient of layer norm loses its mean and its part along x̂ (Ba et al., 2016).

    dx = (dx̂ − mean(dx̂) − x̂ mean(dx̂ x̂)) / σ

    Near miss: the last term lacks x̂.
    """
    sigma = np.sqrt(x.var(axis=-1, keepdims=True))
    x_hat = (x - x.mean(axis=-1, keepdims=True)) / sigma
    along = x_hat * (dx_hat * x_hat).mean(axis=-1, keepdims=True)
    return (dx_hat - dx_hat.mean(axis=-1, keepdims=True) - along) / sigma


def softmax(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def gradient_by_the_chain_rule(logits, one_hot):
    p = softmax(logits)
    dp = -one_hot / p
    return p * (dp - (dp * p).sum(axis=-1, keepdims=True))


@same_as(gradient_by_the_chain_rule, (2, 4), (2, 4), near_miss=("targets - ", "targets + "))
def p_minus_one_hot(logits, one_hot):
    """The gradients of the logarithm and of softmax in a row are p − onehot (Bridle, 1990).

    ∇(−Σ t log p) = p Σ t − t for any targets t, which is p − t if they sum to 1

    Near miss: the signs agree.
    """
    targets = one_hot
    return -(targets - softmax(logits) * targets.sum(axis=-1, keepdims=True))


def smoothed(logits, a):
    log_p = np.log(softmax(logits))
    return -(1 - a) * log_p[1] - a * log_p.mean()


@same_as(smoothed, (4,), (), near_miss=("a / 4", "a / 3"))
def cross_entropy_with_a_mixture(logits, a):
    """Label smoothing is cross-entropy with a mixture of the label and the uniform distribution.

    −(1 − a) log p_t − a mean(log p) = −Σ q log p with q = (1 − a) onehot(t) + a / V (Szegedy et al., 2016)

    Near miss: the uniform distribution over the other classes alone.
    """
    q = (1 - a) * np.eye(4)[1] + a / 4
    return -(q * np.log(softmax(logits))).sum()


def kl_divergence(x, z):
    p, q = softmax(x), softmax(z)
    return (p * (np.log(p) - np.log(q))).sum()


@same_as(kl_divergence, (3,), (3,), near_miss=("(p * np.log(q))", "(q * np.log(p))"))
def cross_entropy_minus_entropy(x, z):
    """The divergence of two distributions is their cross-entropy minus the entropy.

    KL(p ‖ q) = −Σ p log q + Σ p log p

    Near miss: the cross-entropy in the other order.
    """
    p, q = softmax(x), softmax(z)
    return -(p * np.log(q)).sum() + (p * np.log(p)).sum()


def jacobian_times_dy(x, dy):
    y = softmax(x)
    return (np.diag(y) - np.outer(y, y)) @ dy


@same_as(jacobian_times_dy, (4,), (4,), near_miss=("dy - (dy * y).sum()", "dy - dy.sum()"))
def gradient_of_softmax(x, dy):
    """The gradient of softmax needs no matrix (Bridle, 1990).

    (diag(y) − y yᵀ) dy = y (dy − Σ dy y)

    Near miss: dy is not weighted by y.
    """
    y = softmax(x)
    return y * (dy - (dy * y).sum())
