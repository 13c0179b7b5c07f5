"""Backward passes as people write them who take the chain rule step by step.

They are right, longer than the textbook's, and have other statements in which to go wrong: mutants of these are tried
as well. The forward passes are the textbook's.
"""

import math

import numpy as np


def layer_norm(x, gamma, beta, *, eps=1e-5):
    """Layer normalization, through the variance and the mean."""
    C = x.shape[-1]
    centred = x - x.mean(axis=-1, keepdims=True)
    std = np.sqrt((centred**2).mean(axis=-1, keepdims=True) + float(eps))
    x_hat = centred / std

    def backward(dy):
        dgamma = (dy * x_hat).sum(axis=tuple(range(dy.ndim - 1)))
        dbeta = dy.sum(axis=tuple(range(dy.ndim - 1)))
        dx_hat = dy * gamma
        dinverse = (dx_hat * centred).sum(axis=-1, keepdims=True)
        dstd = -dinverse / std**2
        dvar = 0.5 * dstd / std
        dcentred = dx_hat / std + 2 * centred * dvar / C
        dmu = -dcentred.sum(axis=-1, keepdims=True)
        dx = dcentred + dmu / C
        return dx, dgamma, dbeta

    return gamma * x_hat + beta, backward


def rms_norm(x, gamma, *, eps=1e-5):
    """Root-mean-square normalization, through the root."""
    C = x.shape[-1]
    rms = np.sqrt((x**2).mean(axis=-1, keepdims=True) + float(eps))
    x_hat = x / rms

    def backward(dy):
        dgamma = (dy * x_hat).sum(axis=tuple(range(dy.ndim - 1)))
        dx_hat = dy * gamma
        product = (dx_hat * x).sum(axis=-1, keepdims=True)
        drms = -product / rms**2
        dx = dx_hat / rms + drms * x / (C * rms)
        return dx, dgamma

    return gamma * x_hat, backward


def gelu_tanh(x):
    """GELU in its tanh form, by the chain rule from the inside."""

    def backward(dy):
        c = math.sqrt(2 / math.pi)
        inner = c * (x + 0.044715 * x**3)
        t = np.tanh(inner)
        dinner = c * (1 + 3 * 0.044715 * x**2)
        dt = (1 - t**2) * dinner
        dx = dy * (0.5 * (1 + t) + 0.5 * x * dt)
        return dx

    return x, backward


def cross_entropy(logits, targets, *, weight=None, ignore_index=-100, label_smoothing=0.0, reduction="mean"):
    """Cross-entropy, as probabilities minus smoothed and weighted targets."""
    V = logits.shape[-1]
    kept = targets != ignore_index
    w = np.ones(V) if weight is None else weight
    e = np.exp(logits - logits.max(axis=-1, keepdims=True))
    p = e / e.sum(axis=-1, keepdims=True)
    target_weights = w[np.where(kept, targets, 0)] * kept
    N = target_weights.sum() if reduction == "mean" else 1.0

    def backward(dloss=1.0):
        onehot = np.eye(V)[np.where(kept, targets, 0)]
        smooth = (1 - label_smoothing) * onehot + label_smoothing / V
        a = smooth * w
        total = a.sum(axis=-1, keepdims=True)
        difference = total * p - a
        dlosses = kept * dloss / N
        dlogits = difference * dlosses[..., None]
        return dlogits

    return 0.0, backward
