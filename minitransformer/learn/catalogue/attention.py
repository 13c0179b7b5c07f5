"""What goes wrong in attention: the softmax's sum, a transpose, the scale, the mask, dropout, and grouped heads."""

import math

import numpy as np

from minitransformer.layers.attention import apart, together
from minitransformer.layers.softmax import softmax

ATTENTION = {
    "dv": {
        "the weights are not transposed": lambda used, dy, K: together(used, K) @ together(dy, K),
        "dropout, or what else on_weights does, is forgotten: the weights themselves are used": lambda weights, dy, K: (
            turned(weights, K) @ together(dy, K)
        ),
        "the scores stand in place of the weights": lambda scores, dy, K: turned(scores, K) @ together(dy, K),
        "dscores stands in place of the weights": lambda dscores, dy, K: turned(dscores, K) @ together(dy, K),
        "dweights stands in place of the weights": lambda dweights, dy, K: turned(dweights, K) @ together(dy, K),
        "the weights are squared": lambda used, dy, K: turned(used**2, K) @ together(dy, K),
        "y stands in place of dy": lambda used, y, K: turned(used, K) @ together(y, K),
        "dy is taken for ones": lambda used, dy, K: turned(used, K) @ together(np.ones_like(dy), K),
        "the softmax of its weights runs over the queries, not over the keys": lambda masked, dy, K: (
            turned(np.where(np.isfinite(masked), softmax(masked, axis=-2)[0], 0), K) @ together(dy, K)
        ),
        "the exponentials stand in place of the weights: they are not divided by their sum": lambda masked, dy, K: (
            turned(np.exp(masked), K) @ together(dy, K)
        ),
        "the mask is forgotten in its weights": lambda scores, dy, K, mask: (
            turned(with_mask(mask, softmax(scores)[0]), K) @ together(dy, K)
        ),
        "the scale is forgotten in its weights": lambda masked, dy, K, s: (
            turned(softmax(masked / s)[0], K) @ together(dy, K)
        ),
        "the scale s is in it": lambda dv, s: dv * s,
        "v is multiplied in": lambda dv, v: dv * v,
        "it is a mean over the queries, not a sum": lambda dv, dy: dv / dy.shape[-2],
        "it is divided by the number of keys": lambda dv: dv / dv.shape[-2],
        "every key has the same: dy is averaged over the queries": lambda dv, dy, K: (
            grouped(dy, K, np.sum).mean(axis=-2, keepdims=True) + 0 * dv
        ),
        "every key has the same: dy is summed over the queries": lambda dv, dy, K: (
            grouped(dy, K, np.sum).sum(axis=-2, keepdims=True) + 0 * dv
        ),
        "only the last query is counted": lambda used, dy, K: grouped(
            used[..., -1:, :].swapaxes(-1, -2) @ dy[..., -1:, :], K, np.sum
        ),
        "only the first query is counted": lambda used, dy, K: grouped(
            used[..., :1, :].swapaxes(-1, -2) @ dy[..., :1, :], K, np.sum
        ),
        "each key has only its own query's: the diagonal of the weights": lambda used, dy: (
            np.diagonal(used, axis1=-2, axis2=-1)[..., None] * dy
        ),
        "it is averaged over the query heads of a group, not summed": lambda used, dy, K: a_group(
            used.swapaxes(-1, -2) @ dy, K, np.mean
        ),
        "only the first query head of a group is counted": lambda used, dy, K: a_group(
            used.swapaxes(-1, -2) @ dy, K, first
        ),
        "only the last query head of a group is counted": lambda used, dy, K: a_group(
            used.swapaxes(-1, -2) @ dy, K, last
        ),
        "the wrong query heads are added up: h mod K, not h // (H/K)": lambda used, dy, K: mixed(
            used.swapaxes(-1, -2) @ dy, K
        ),
        "every head has the sum over all heads": lambda dv: dv.sum(axis=-3, keepdims=True) + 0 * dv,
        "dy's heads are exchanged with its positions": lambda used, dy, K: (
            turned(used, K) @ together(dy.swapaxes(-2, -3).reshape(dy.shape), K)
        ),
        "the keys are in reverse": lambda dv: dv[..., ::-1, :],
        "the queries are in reverse in one of the two": lambda used, dy, K: (
            turned(used, K) @ together(dy[..., ::-1, :], K)
        ),
    },
    "dused": {
        "v is not transposed": lambda dy, v, H, K: apart(together(dy, K) @ v, H),
        "k stands in place of v": lambda dy, k, H, K: apart(together(dy, K) @ k.swapaxes(-1, -2), H),
        "y stands in place of dy": lambda y, v, H, K: apart(together(y, K) @ v.swapaxes(-1, -2), H),
        "dy is taken for ones": lambda dy, v, H, K: apart(together(np.ones_like(dy), K) @ v.swapaxes(-1, -2), H),
        "y is subtracted from dy": lambda dy, y, v, H, K: apart(together(dy - y, K) @ v.swapaxes(-1, -2), H),
        "the weights are multiplied in": lambda dused, used: dused * used,
        "it is a mean over the channels, not a sum": lambda dused, v: dused / v.shape[-1],
        "it is divided by the root of the number of the values' channels": lambda dused, v: dused / v.shape[-1] ** 0.5,
        "the wrong values are read: head h is taken to read h mod K, not h // (H/K)": lambda dy, v, H, K: (
            dy @ several(np.concatenate([v] * (H // K), axis=-3), H, K).swapaxes(-1, -2)
        ),
        "v is reshaped, which does not transpose it": lambda dy, v, H, K: apart(
            together(dy, K) @ not_square(v).reshape(*v.shape[:-2], v.shape[-1], v.shape[-2]), H
        ),
        "dv stands in place of v": lambda dy, dv, H, K: apart(together(dy, K) @ dv.swapaxes(-1, -2), H),
    },
    "dweights": {
        "dropout, or what else on_weights does, is forgotten": lambda dused: dused,
        "the dropout's mask is applied without its division by 1 − p": lambda dused, weights, used: (
            dused * dropped(weights, used)
        ),
        "dropout, or what else on_weights does, is applied twice": lambda dweights, on_weights_backward: (
            on_weights_backward(dweights)
        ),
    },
    "dscores": {
        "Σ over keys of weights · dweights is not subtracted": lambda weights, dweights: weights * dweights,
        "the softmax is skipped: it is dweights": lambda dweights: dweights,
        "the softmax is skipped, but masked scores have zero": lambda dweights, mask: with_mask(mask, dweights) * mask,
        "the weights do not multiply the difference": lambda weights, dweights: dweights - total(weights * dweights),
        "the weights do not multiply the difference, but masked scores have zero": lambda weights, dweights, mask: (
            with_mask(mask, dweights - total(weights * dweights)) * mask
        ),
        "only the diagonal of the softmax's Jacobian is there": lambda weights, dweights: (
            weights * (1 - weights) * dweights
        ),
        "the direct path is missing: only what comes back by way of the softmax's sum": lambda weights, dweights: (
            -weights * total(weights * dweights)
        ),
        "the sign of the subtracted sum is wrong": lambda weights, dweights: (
            weights * (dweights + total(weights * dweights))
        ),
        "the sum runs over the queries, not over the keys": lambda weights, dweights: (
            weights * (dweights - total(weights * dweights, -2))
        ),
        "the sum runs over the heads, not over the keys": lambda weights, dweights: (
            weights * (dweights - total(weights * dweights, -3))
        ),
        "the sum runs over queries and keys": lambda weights, dweights: (
            weights * (dweights - total(weights * dweights, (-1, -2)))
        ),
        "the sum runs over the batch, not over the keys": lambda weights, dweights: (
            weights * (dweights - total(weights * dweights, 0))
        ),
        "the sum runs over all entries": lambda weights, dweights: weights * (dweights - (weights * dweights).sum()),
        "a mean over the keys stands in place of the sum": lambda weights, dweights: (
            weights * (dweights - total(weights * dweights) / weights.shape[-1])
        ),
        "dweights is summed without the weights": lambda weights, dweights: weights * (dweights - total(dweights)),
        "dweights is averaged over the keys, without the weights": lambda weights, dweights: (
            weights * (dweights - total(dweights) / weights.shape[-1])
        ),
        "the weights multiply dweights alone, not the sum": lambda weights, dweights: (
            weights * dweights - total(weights * dweights)
        ),
        "the weights multiply the whole twice": lambda weights, dscores: weights * dscores,
        "the weights multiply the sum alone: it is log_softmax's": lambda weights, dweights: (
            dweights - weights * total(dweights)
        ),
        "the weights multiply the weighted sum alone, not dweights": lambda weights, dweights: (
            dweights - weights * total(weights * dweights)
        ),
        "the weights multiply the sum twice": lambda weights, dweights: (
            weights * dweights - weights**2 * total(weights * dweights)
        ),
        "weights are subtracted in place of the sum": lambda weights, dweights: weights * (dweights - weights),
        "the scores stand in place of the weights": lambda scores, dweights: (
            scores * (dweights - total(scores * dweights))
        ),
        "the scores stand in place of the weights in the sum": lambda scores, weights, dweights: (
            weights * (dweights - total(scores * dweights))
        ),
        "the weights after dropout stand in place of those before it": lambda used, dweights: (
            used * (dweights - total(used * dweights))
        ),
        "the weights after dropout stand in front, in place of those before it": lambda used, weights, dweights: (
            used * (dweights - total(weights * dweights))
        ),
        "the weights after dropout stand in the sum, in place of those before it": lambda used, weights, dweights: (
            weights * (dweights - total(used * dweights))
        ),
        "dropout is forgotten in the sum: it has dused, not dweights": lambda weights, dused, dweights: (
            weights * (dweights - total(weights * dused))
        ),
        "dropout is forgotten but in the sum: dused stands in front of it": lambda weights, dused, dweights: (
            weights * (dused - total(weights * dweights))
        ),
        "dropout is put after the softmax's gradient, not before it": lambda weights, dused, on_weights_backward: (
            on_weights_backward(weights * (dused - total(weights * dused)))
        ),
        "the softmax is that of the scores without the mask": lambda scores, dweights, mask: through(
            with_mask(mask, softmax(scores)[0]), dweights
        ),
        "the softmax is that of the scores without the mask, and masked ones are zero": lambda scores, dweights, mask: (
            with_mask(mask, through(softmax(scores)[0], dweights)) * mask
        ),
        "it is kept where the mask hides the key, not where it shows it": lambda dscores, weights, dweights, mask: (
            with_mask(mask, np.where(mask, 0, dweights))
        ),
        "the softmax runs over the queries, not over the keys": lambda masked, dweights: through(
            softmax(masked, axis=-2)[0], dweights, -2
        ),
        "the exponentials stand in place of the weights: they are not divided by their sum": lambda masked, dweights: (
            through(np.exp(masked), dweights)
        ),
        "1 is subtracted in place of the sum, as if all weights were summed": lambda weights, dweights: (
            weights * (dweights - 1)
        ),
        "dweights is not in it: it is weights · (1 − weights)": lambda weights: weights * (1 - weights),
        "it is averaged with its transpose, in dq and in dk": lambda dscores: (dscores + dscores.swapaxes(-1, -2)) / 2,
        "the scale s is forgotten, in dq and in dk": lambda dscores, s: dscores / s,
        "the scale s stands there twice, in dq and in dk": lambda dscores, s: dscores * s,
        "it is divided by the scale s, in dq and in dk": lambda dscores, s: dscores / s**2,
        "it is divided by the number of keys": lambda dscores: dscores / dscores.shape[-1],
        "it is divided by the number of queries": lambda dscores: dscores / dscores.shape[-2],
        "the scores are multiplied in": lambda dscores, scores: dscores * scores,
        "it has the wrong sign, in dq and in dk": lambda dscores: -dscores,
        "it is transposed, in dq and in dk": lambda dscores: dscores.swapaxes(-1, -2),
    },
    "dq": {
        "the scale s is forgotten": lambda dq, s: dq / s,
        "the scale s stands there twice": lambda dq, s: dq * s,
        "it is divided by the scale s, not multiplied": lambda dq, s: dq / s**2,
        "the scale is 1/D, not 1/√D": lambda dq, s, q: (
            dq / s / q.shape[-1] if s != 1 / q.shape[-1] ** 0.5 else no_such()
        ),
        "the scale is 1/√D, whatever is given": lambda dq, s, q: dq / s / math.sqrt(q.shape[-1]),
        "dscores is transposed": lambda dscores, k, s, H, K: s * apart(together(dscores.swapaxes(-1, -2), K) @ k, H),
        "k is transposed": lambda dscores, k, s, H, K: s * apart(together(dscores, K) @ k.swapaxes(-1, -2), H),
        "q stands in place of k": lambda dscores, q, s, H, K: s * (dscores @ q),
        "v stands in place of k": lambda dscores, v, s, H, K: s * apart(together(dscores, K) @ v, H),
        "dk stands in place of k": lambda dscores, dk, s, H, K: s * apart(together(dscores, K) @ dk, H),
        "the weights stand in place of dscores": lambda weights, k, s, H, K: s * apart(together(weights, K) @ k, H),
        "dweights stands in place of dscores": lambda dweights, k, s, H, K: s * apart(together(dweights, K) @ k, H),
        "dused stands in place of dscores, without the softmax": lambda dused, k, s, H, K, on_weights: (
            s * apart(together(with_mask(on_weights, dused), K) @ k, H)
        ),
        "it is a mean over the keys, not a sum": lambda dq, k: dq / k.shape[-2],
        "it is divided by the number of queries": lambda dq: dq / dq.shape[-2],
        "the wrong keys are read: head h is taken to read h mod K, not h // (H/K)": lambda dscores, k, s, H, K: (
            s * (dscores @ several(np.concatenate([k] * (H // K), axis=-3), H, K))
        ),
        "the keys of the first key-value head are read by all": lambda dscores, k, s, K: (
            s * (dscores @ k[..., :1, :, :]) if K > 1 else no_such()
        ),
        "only the first key is counted": lambda dscores, k, s, H, K: (
            s * apart(together(dscores[..., :1], K) @ k[..., :1, :], H)
        ),
        "only the last key is counted": lambda dscores, k, s, H, K: (
            s * apart(together(dscores[..., -1:], K) @ k[..., -1:, :], H)
        ),
        "the keys are summed first: every query has Σ dscores times Σ k": lambda dweights, k, s, H, K: (
            s * dweights.sum(axis=-1, keepdims=True) * np.repeat(k.mean(axis=-2, keepdims=True), H // K, axis=-3)
        ),
        "q is multiplied in": lambda dq, q: dq * q,
        "q is added": lambda dq, q: dq + q,
        "it has the wrong sign": lambda dq: -dq,
        "it is zero": lambda dq: 0 * dq,
    },
    "dk": {
        "dscores is not transposed": lambda dscores, q, s, K: s * together(dscores, K) @ together(q, K),
        "the scale s is forgotten": lambda dk, s: dk / s,
        "the scale s stands there twice: q was scaled in the forward pass, and is again": lambda dk, s: dk * s,
        "it is divided by the scale s, not multiplied": lambda dk, s: dk / s**2,
        "the scale is 1/D, not 1/√D": lambda dk, s, q: (
            dk / s / q.shape[-1] if s != 1 / q.shape[-1] ** 0.5 else no_such()
        ),
        "the scale is 1/√D, whatever is given": lambda dk, s, q: dk / s / math.sqrt(q.shape[-1]),
        "k stands in place of q": lambda dscores, k, s, K: s * turned(dscores, K) @ several_or_one(k, dscores, K),
        "v stands in place of q": lambda dscores, v, s, K: s * turned(dscores, K) @ several_or_one(v, dscores, K),
        "y stands in place of q": lambda dscores, y, s, K: s * turned(dscores, K) @ together(y, K),
        "dq stands in place of q": lambda dscores, dq, s, K: s * turned(dscores, K) @ together(dq, K),
        "dy stands in place of q": lambda dscores, dy, s, K: s * turned(dscores, K) @ together(dy, K),
        "the weights stand in place of dscores": lambda weights, q, s, K: s * turned(weights, K) @ together(q, K),
        "dweights stands in place of dscores": lambda dweights, q, s, K: s * turned(dweights, K) @ together(q, K),
        "it is a mean over the queries, not a sum": lambda dk, q: dk / q.shape[-2],
        "it is divided by the number of keys": lambda dk: dk / dk.shape[-2],
        "it is averaged over the query heads of a group, not summed": lambda dscores, q, s, K: (
            s * a_group(dscores.swapaxes(-1, -2) @ q, K, np.mean)
        ),
        "only the first query head of a group is counted": lambda dscores, q, s, K: (
            s * a_group(dscores.swapaxes(-1, -2) @ q, K, first)
        ),
        "only the last query head of a group is counted": lambda dscores, q, s, K: (
            s * a_group(dscores.swapaxes(-1, -2) @ q, K, last)
        ),
        "the wrong query heads are added up: h mod K, not h // (H/K)": lambda dscores, q, s, K: (
            s * mixed(dscores.swapaxes(-1, -2) @ q, K)
        ),
        "every head has the sum over all heads": lambda dk: dk.sum(axis=-3, keepdims=True) + 0 * dk,
        "only the last query is counted": lambda dscores, q, s, K: (
            s * grouped(dscores[..., -1:, :].swapaxes(-1, -2) @ q[..., -1:, :], K, np.sum)
        ),
        "only the first query is counted": lambda dscores, q, s, K: (
            s * grouped(dscores[..., :1, :].swapaxes(-1, -2) @ q[..., :1, :], K, np.sum)
        ),
        "k is multiplied in": lambda dk, k: dk * k,
        "k is added": lambda dk, k: dk + k,
        "it has the wrong sign": lambda dk: -dk,
        "it is zero": lambda dk: 0 * dk,
    },
    "return": {
        "the query heads of a group are averaged in dk and dv, not added": lambda dq, dk, dv, H, K: (
            dq,
            dk * K / H,
            dv * K / H,
        ),
        "dk and dv are of the first query head of a group alone": lambda dq, dscores, q, used, dy, s, K: (
            dq,
            s * a_group(dscores.swapaxes(-1, -2) @ q, K, first),
            a_group(used.swapaxes(-1, -2) @ dy, K, first),
        ),
        "dk and dv are of the last query head of a group alone": lambda dq, dscores, q, used, dy, s, K: (
            dq,
            s * a_group(dscores.swapaxes(-1, -2) @ q, K, last),
            a_group(used.swapaxes(-1, -2) @ dy, K, last),
        ),
        "in dk and dv the wrong query heads are added up: h mod K": lambda dq, dscores, q, used, dy, s, K: (
            dq,
            s * mixed(dscores.swapaxes(-1, -2) @ q, K),
            mixed(used.swapaxes(-1, -2) @ dy, K),
        ),
        "head h is taken to read key-value head h mod K, not h // (H/K), throughout": lambda known: by_modulo(known),
        "dq and dk are exchanged": lambda dq, dk, dv: (dk, dq, dv) if dq.shape == dk.shape else no_such(),
        "dk and dv are exchanged": lambda dq, dk, dv: (dq, dv, dk) if dv.shape == dk.shape else no_such(),
        "dq and dv are exchanged": lambda dq, dk, dv: (dv, dk, dq) if dv.shape == dq.shape else no_such(),
    },
}


def by_modulo(known):
    """Return dq, dk and dv of query heads that are taken to read the key–value heads in turn, in backward alone."""
    H, K, s, weights = (known[name] for name in ("H", "K", "s", "weights"))
    k, v = (np.concatenate([several(known[name], H, K)] * (H // K), axis=-3) for name in "kv")
    dscores = through(weights, known["on_weights_backward"](known["dy"] @ v.swapaxes(-1, -2)))
    dk, dv = dscores.swapaxes(-1, -2) @ known["q"], known["used"].swapaxes(-1, -2) @ known["dy"]
    return s * (dscores @ k), s * mixed(dk, K), mixed(dv, K)


def total(x, axis=-1):
    """Return the sum over an axis, kept."""
    return x.sum(axis=axis, keepdims=True)


def through(weights, dweights, axis=-1):
    """Return a softmax's gradient, of other weights."""
    return weights * (dweights - total(weights * dweights, axis))


def turned(x, K):
    """Return x (..., H, Tq, n) with its query heads together, transposed."""
    return together(x, K).swapaxes(-1, -2)


def grouped(x, K, how):
    """Return x (..., H, n, d), one for each query head, as (..., K, n, d): what `how` makes of each group."""
    *batch, H, n, d = x.shape
    return how(x.reshape(*batch, K, H // K, n, d), axis=-3)


def a_group(x, K, how):
    """Return that, of groups of several."""
    return grouped(several(x, x.shape[-3], K), K, how)


def first(x, axis):
    """Return the first of each group."""
    return x.take(0, axis)


def last(x, axis):
    """Return the last of each group."""
    return x.take(-1, axis)


def mixed(x, K):
    """Return the sums over the query heads h of equal h mod K."""
    *batch, H, n, d = several(x, x.shape[-3], K).shape
    return x.reshape(*batch, H // K, K, n, d).sum(axis=-4) if K > 1 else no_such()


def several(x, H, K):
    """Return x, where groups have several query heads."""
    return x if H > K else no_such()


def several_or_one(x, scores, K):
    """Return x (..., K, Tk, d) once for each query head, all heads of a group together, where Tq = Tk."""
    H, Tq, Tk = scores.shape[-3:]
    return together(np.repeat(x, H // K, axis=-3), K) if Tq == Tk else no_such()


def with_mask(mask, x):
    """Return x, where there is a mask."""
    return x if mask is not None else no_such()


def dropped(weights, used):
    """Return 1 where weights were kept, 0 where they were dropped."""
    return 1.0 * (used != 0) if (used != weights).any() else no_such()


def not_square(x):
    """Return x, where its last axes differ."""
    return x if x.shape[-1] != x.shape[-2] else no_such()


def no_such():
    """Raise what says that a mistake cannot be made with these inputs."""
    raise ValueError("it cannot be made here")


MISTAKES = {"attention": ATTENTION}
