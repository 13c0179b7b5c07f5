"""What goes wrong in softmax, its logarithm and the loss: the subtraction, the axis, and what the mean divides by."""

import numpy as np

SOFTMAX = {
    "dx": {
        "the sum over y · dy is not subtracted": lambda y, dy: y * dy,
        "only the diagonal of the Jacobian is there: y (1 − y)": lambda y, dy: y * (1 - y) * dy,
        "the diagonal of the Jacobian is missing: y multiplies dy twice": lambda dx, y, dy: dx - y * (1 - y) * dy,
        "the direct path is missing: only what comes back by way of the sum is there": lambda y, mean_dy: -y * mean_dy,
        "the sign of the subtracted sum is wrong": lambda y, dy, mean_dy: y * (dy + mean_dy),
        "dy is summed without the weights y": lambda y, dy, axis: y * (dy - total(dy, axis)),
        "dy is averaged without the weights y: its mean in place of Σ y · dy": lambda y, dy, axis: (
            y * (dy - average(dy, axis))
        ),
        "a mean of y · dy stands in place of the sum": lambda y, dy, axis: y * (dy - average(y * dy, axis)),
        "the sum runs over all entries, not over each row": lambda y, dy: y * (dy - (y * dy).sum()),
        "the sum runs over the first axis": lambda y, dy, axis: y * (dy - elsewhere(y * dy, axis, 0)),
        "the sum runs over the axis before the last": lambda y, dy, axis: (
            y * (dy - elsewhere(y * dy, axis, y.ndim - 2))
        ),
        "the sum runs over the last axis, not over the softmax's own": lambda y, dy, axis: (
            y * (dy - elsewhere(y * dy, axis, y.ndim - 1))
        ),
        "y does not multiply the difference": lambda dy, mean_dy: dy - mean_dy,
        "y multiplies dy alone, not the sum": lambda y, dy, mean_dy: y * dy - mean_dy,
        "y multiplies the sum alone, not dy": lambda y, dy, mean_dy: dy - y * mean_dy,
        "y multiplies the whole twice": lambda dx, y: dx * y,
        "y multiplies the sum twice": lambda y, dy, mean_dy: y * dy - y * y * mean_dy,
        "the sum is of y² · dy": lambda y, dy, axis: y * (dy - total(y * y * dy, axis)),
        "the sum is of y, which is 1": lambda y, dy: y * (dy - 1),
        "y is subtracted, in place of the sum": lambda y, dy: y * (dy - y),
        "there is no sum: y · dy is subtracted twice over": lambda y, dy: y * dy * (1 - 2 * y),
        "x stands in place of y": lambda x, dy, axis: x * (dy - total(x * dy, axis)),
        "x stands in place of y in the sum": lambda x, y, dy, axis: y * (dy - total(x * dy, axis)),
        "x stands in place of the y in front": lambda x, dy, mean_dy: x * (dy - mean_dy),
        "the exponentials stand in place of y: they are not divided by their sum": lambda e, dy, axis: (
            e * (dy - total(e * dy, axis))
        ),
        "the exponentials stand in place of the y in front": lambda e, dy, mean_dy: e * (dy - mean_dy),
        "the exponentials stand in place of y in the sum": lambda e, y, dy, axis: y * (dy - total(e * dy, axis)),
        "log y stands in place of y": lambda y, dy, axis: np.log(y) * (dy - total(np.log(y) * dy, axis)),
        "it is divided by y, not multiplied": lambda y, dy, mean_dy: (dy - mean_dy) / y,
        "it is the gradient of log_softmax": lambda y, dy, axis: dy - y * total(dy, axis),
        "it is y − dy, as the loss's gradient with dy for the target": lambda y, dy: y - dy,
        "it is dy − y": lambda y, dy: dy - y,
        "dy is not in it: it is y (1 − y)": lambda y: y * (1 - y),
        "the softmax is applied to dy": lambda dy, axis: soft(dy, axis),
        "the softmax of y stands in place of y": lambda y, dy, axis: soft_dx(soft(y, axis), dy, axis),
        "dy · x is summed: it is y · (dy − Σ x · dy · y)": lambda x, y, dy, axis: y * (dy - total(x * y * dy, axis)),
        "the largest y · dy stands in place of the sum": lambda y, dy, axis: (
            y * (dy - (y * dy).max(axis=axis, keepdims=True))
        ),
        "it goes through softmax's gradient twice": lambda dx, y, axis: soft_dx(y, dx, axis),
        "it is divided by the number of rows": lambda dx, y, axis: dx / (y.size // y.shape[axis]),
        "it is divided by the length of a row": lambda dx, y, axis: dx / y.shape[axis],
        "it is divided by the root of the length of a row": lambda dx, y, axis: dx / y.shape[axis] ** 0.5,
        "dy is added": lambda dx, dy: dx + dy,
        "it is dy itself": lambda dy: dy,
        "the entry of the largest x is left out": lambda dx, y, axis: dx * (y < y.max(axis=axis, keepdims=True)),
        "the slope is that of the logistic function of x": lambda x, dy: dy * 0.25 * (1 - np.tanh(0.5 * x) ** 2),
        "it has the wrong sign": lambda dx: -dx,
        "it counts twice": lambda dx: 2 * dx,
    }
}

LOG_SOFTMAX = {
    "dx": {
        "what comes back by way of the logarithm of the sum is missing": lambda dz: dz,
        "the direct path is missing": lambda dx, dz: dx - dz,
        "the sign of the subtracted term is wrong": lambda dx, dz: 2 * dz - dx,
        "z stands in place of exp(z)": lambda z, dz, axis: dz - z * total(dz, axis),
        "x stands in place of z: exp(x) is not divided by its sum": lambda x, dz, axis: (
            dz - np.exp(x) * total(dz, axis)
        ),
        "x − m stands in place of z: exp(x − m) is not divided by its sum": lambda shifted, dz, axis: (
            dz - np.exp(shifted) * total(dz, axis)
        ),
        "x stands in place of exp(z)": lambda x, dz, axis: dz - x * total(dz, axis),
        "exp(z) is missing before the sum": lambda dz, axis: dz - total(dz, axis),
        "the mean of dz is subtracted": lambda dz, axis: dz - average(dz, axis),
        "a mean of dz stands in place of the sum": lambda z, dz, axis: dz - np.exp(z) * average(dz, axis),
        "dz is not summed: only the diagonal of the Jacobian is there": lambda z, dz: dz * (1 - np.exp(z)),
        "only the off-diagonal of the Jacobian is there": lambda dx, z, dz: dx - dz * (1 - np.exp(z)),
        "the sum is of exp(z) · dz, not of dz": lambda z, dz, axis: dz - np.exp(z) * total(np.exp(z) * dz, axis),
        "exp(z) is inside the sum alone": lambda z, dz, axis: dz - total(np.exp(z) * dz, axis),
        "it is the gradient of softmax": lambda z, dz, axis: soft_dx(np.exp(z), dz, axis),
        "softmax's y multiplies the whole": lambda dx, z: dx * np.exp(z),
        "it is divided by softmax's y": lambda dx, z: dx / np.exp(z),
        "dz is divided by softmax's y: the logarithm alone": lambda z, dz: dz / np.exp(z),
        "dz is multiplied by softmax's y": lambda z, dz: dz * np.exp(z),
        "z · Σ dz is subtracted from dz · exp(z)": lambda z, dz, axis: dz * np.exp(z) - z * total(dz, axis),
        "exp(z) multiplies dz alone": lambda z, dz, axis: dz * np.exp(z) - total(dz, axis),
        "exp(z) is squared": lambda z, dz, axis: dz - np.exp(2 * z) * total(dz, axis),
        "exp(−z) stands in place of exp(z)": lambda z, dz, axis: dz - np.exp(-z) * total(dz, axis),
        "the sum over dz is left out, as though it were 1": lambda z, dz: dz - np.exp(z),
        "it is exp(z) − dz": lambda z, dz: np.exp(z) - dz,
        "the softmax runs over all entries, not over each row": lambda x, dz, axis: (
            dz - np.exp(x) / np.exp(x).sum() * total(dz, axis)
        ),
        "the sum runs over all entries, not over each row": lambda z, dz: dz - np.exp(z) * dz.sum(),
        "the sum runs over the first axis": lambda z, dz, axis: dz - np.exp(z) * elsewhere(dz, axis, 0),
        "the sum runs over the axis before the last": lambda z, dz, axis: (
            dz - np.exp(z) * elsewhere(dz, axis, z.ndim - 2)
        ),
        "the sum runs over the last axis, not over the softmax's own": lambda z, dz, axis: (
            dz - np.exp(z) * elsewhere(dz, axis, z.ndim - 1)
        ),
        "dz is taken for ones: 1 − C · exp(z)": lambda z, axis: 1 - z.shape[axis] * np.exp(z),
        "dz is not in it: 1 − exp(z)": lambda z: 1 - np.exp(z),
        "z is multiplied in": lambda dx, z: dx * z,
        "z · dz stands in place of dz in the sum": lambda z, dz, axis: dz - np.exp(z) * total(z * dz, axis),
        "the absolute dz are summed": lambda z, dz, axis: dz - np.exp(z) * total(abs(dz), axis),
        "the softmax of z is taken once more, over another axis": lambda z, dz, axis: (
            dz - soft(z, other_axis(z, axis)) * total(dz, axis)
        ),
        "the largest entry is taken for a path of its own: its gradient is subtracted there": lambda dx, x, dz, axis: (
            dx - (x == x.max(axis=axis, keepdims=True)) * total(dz, axis)
        ),
        "it is divided by the number of rows": lambda dx, z, axis: dx / (z.size // z.shape[axis]),
        "it is divided by the length of a row": lambda dx, z, axis: dx / z.shape[axis],
        "dz is added": lambda dx, dz: dx + dz,
        "it has the wrong sign": lambda dx: -dx,
    }
}

CROSS_ENTROPY = {
    "dlogits": {
        "a is not subtracted: it is the probabilities alone": lambda A, p, dlosses: A * p * dlosses[..., None],
        "the probabilities are missing: it is −a alone, the gradient of the log-probabilities": lambda a, dlosses: (
            -a * dlosses[..., None]
        ),
        "the sign is wrong: what was true minus what the model said": lambda dlogits: -dlogits,
        "a is added, not subtracted": lambda A, p, a, dlosses: (A * p + a) * dlosses[..., None],
        "p is not multiplied by the sum of a": lambda p, a, dlosses: (p - a) * dlosses[..., None],
        "the logits stand in place of the probabilities": lambda A, logits, a, dlosses: (
            (A * logits - a) * dlosses[..., None]
        ),
        "the log-probabilities stand in place of the probabilities": lambda A, z, a, dlosses: (
            (A * z - a) * dlosses[..., None]
        ),
        "exp(logits) stands in place of the probabilities: its sum is not divided by": lambda A, logits, a, dlosses: (
            (A * np.exp(logits) - a) * dlosses[..., None]
        ),
        "exp(x − m) stands in place of the probabilities: it is not divided by its sum": lambda A, logits, a, dlosses: (
            (A * np.exp(logits - logits.max(axis=-1, keepdims=True)) - a) * dlosses[..., None]
        ),
        "the logistic function of the logits stands in place of the softmax": lambda A, logits, a, dlosses: (
            (A * 0.5 * (1 + np.tanh(0.5 * logits)) - a) * dlosses[..., None]
        ),
        "the softmax of the probabilities is taken once more": lambda A, p, a, dlosses: (
            (A * soft(p, -1) - a) * dlosses[..., None]
        ),
        "the softmax runs over the positions, not over the classes": lambda A, logits, a, dlosses: (
            (A * soft(a_sequence(logits), -2) - a) * dlosses[..., None]
        ),
        "the softmax runs over the batch, not over the classes": lambda A, logits, a, dlosses: (
            (A * soft(a_sequence(logits), 0) - a) * dlosses[..., None]
        ),
        "the softmax runs over all entries": lambda A, logits, a, dlosses: (
            (A * soft(logits, None) - a) * dlosses[..., None]
        ),
        "it stops at the probabilities: −a / p": lambda a, p, dlosses: -a / p * dlosses[..., None],
        "it goes through softmax's gradient once more": lambda p, dlogits: soft_dx(p, dlogits, -1),
        "it is multiplied by p once more": lambda p, dlogits: dlogits * p,
        "it is multiplied by p (1 − p)": lambda p, dlogits: dlogits * p * (1 - p),
        "only the target's entry is there": lambda dlogits, targets, V: dlogits * hot(targets, V),
        "the target's entry is missing": lambda dlogits, targets, V: dlogits * (1 - hot(targets, V)),
        "1 is subtracted at every class, not at the target alone": lambda A, p, dlosses: (
            (A * p - 1) * dlosses[..., None]
        ),
        "it is divided by the number of classes": lambda dlogits, V: dlogits / V,
        "it is multiplied by the loss": lambda dlogits, loss: dlogits * loss,
        "the target is one class too low": lambda A, p, a, dlosses: (A * p - np.roll(a, 1, -1)) * dlosses[..., None],
        "the target is one class too high": lambda A, p, a, dlosses: (A * p - np.roll(a, -1, -1)) * dlosses[..., None],
        "the square of the difference is taken": lambda A, p, a, dlosses: (A * p - a) ** 2 * dlosses[..., None],
        "ignored positions are given a gradient, p without a target": lambda p, known: with_ignored(known, p),
        "ignored positions are given a gradient, as if their target were class 0": lambda p, known: with_ignored(
            known, p - first_class(p)
        ),
        "the mean is over all positions, and ignored ones are given a gradient, p": lambda p, known: (
            with_ignored(known, p) / a_mean(known["share"]) / known["kept"].size
        ),
        "the mean is over all positions, and the target of ignored ones is class 0": lambda p, known: (
            with_ignored(known, p - first_class(p)) / a_mean(known["share"]) / known["kept"].size
        ),
        "p (1 − p) stands in place of p": lambda A, p, a, dlosses: (A * p * (1 - p) - a) * dlosses[..., None],
        "class weights and label smoothing are forgotten": lambda p, targets, V, dlosses, smooth, weight: (
            (p - hot(targets, V)) * given(weight, 1.0 * (smooth > 0)) * dlosses[..., None]
        ),
        "the class weights are forgotten": lambda p, targets, V, smooth, dlosses, weight: (
            (p - smoothed(targets, V, smooth) * given(weight, 1.0)) * dlosses[..., None]
        ),
        "the class weights are in the sum of a alone": lambda dlogits, a, targets, V, smooth, dlosses, weight: (
            dlogits + (a - smoothed(targets, V, smooth) * given(weight, 1.0)) * dlosses[..., None]
        ),
        "the weight of the target stands for those of all classes": lambda p, targets, V, w, smooth, dlosses, weight: (
            (p - smoothed(targets, V, smooth)) * (hot(targets, V) @ given(weight, w))[..., None] * dlosses[..., None]
        ),
        "each class is multiplied by its own weight: w (p − a)": lambda p, targets, V, w, smooth, dlosses, weight: (
            (p - smoothed(targets, V, smooth)) * given(weight, w) * dlosses[..., None]
        ),
        "the class weights are in it twice": lambda A, p, a, w, dlosses, weight: (
            ((a * given(weight, w)).sum(axis=-1, keepdims=True) * p - a * w) * dlosses[..., None]
        ),
        "label smoothing is forgotten": lambda p, targets, V, w, dlosses: (
            ((hot(targets, V) @ w)[..., None] * p - hot(targets, V) * w) * dlosses[..., None]
        ),
        "label smoothing divides by V − 1, not by V": lambda p, targets, V, w, smooth, dlosses: from_a(
            w * (hot(targets, V) * (1 - smooth) + (1 - hot(targets, V)) * smooth / (V - 1)), p, dlosses
        ),
        "label smoothing is not divided by V": lambda p, targets, V, w, smooth, dlosses: from_a(
            w * (hot(targets, V) * (1 - smooth) + smooth), p, dlosses
        ),
        "label smoothing does not take from the target: 1 − ε is missing": lambda p, targets, V, w, smooth, dlosses: (
            from_a(w * (hot(targets, V) + smooth / V), p, dlosses)
        ),
        "label smoothing gives nothing to the classes: ε / V is missing": lambda p, targets, V, w, smooth, dlosses: (
            from_a(w * hot(targets, V) * (1 - smooth), p, dlosses)
        ),
        "label smoothing leaves the target out: 1 − ε, without ε / V": lambda p, targets, V, w, smooth, dlosses: from_a(
            w * (hot(targets, V) * (1 - smooth) + (1 - hot(targets, V)) * smooth / V), p, dlosses
        ),
        "label smoothing multiplies the target by ε, and the rest by 1 − ε": lambda p, targets, V, w, smooth, dlosses: (
            from_a(w * (hot(targets, V) * smooth + (1 - smooth) / V), p, dlosses)
        ),
        "label smoothing takes from the target alone: p is whole, and ε / V is missing": lambda dlogits, known: (
            dlogits + (known["w"] * known["smooth"] / known["V"]) * known["dlosses"][..., None]
        ),
        "label smoothing is not divided by V, and p is not multiplied by its larger sum": lambda dlogits, known: (
            dlogits - known["w"] * known["smooth"] * (1 - 1 / known["V"]) * known["dlosses"][..., None]
        ),
        "label smoothing does not take from the target, and p is not multiplied by that sum": lambda dlogits, known: (
            dlogits - known["w"] * known["smooth"] * hot(known["targets"], known["V"]) * known["dlosses"][..., None]
        ),
        "the uniform part of label smoothing is not weighted": lambda p, targets, V, w, smooth, dlosses, weight: from_a(
            given(weight, w) * hot(targets, V) * (1 - smooth) + smooth / V, p, dlosses
        ),
    },
    "dlosses": {
        "the mean is over all positions: ignored ones are counted": lambda dlosses, share, kept: (
            dlosses / share / kept.size
        ),
        "the mean divides by the number of positions kept, not by their weights": lambda dlosses, share, kept: (
            dlosses / a_mean(share) / kept.sum()
        ),
        "the mean divides by the sum of all class weights": lambda dlosses, share, w: dlosses / a_mean(share) / w.sum(),
        "it is not divided: it is a sum in place of the mean": lambda dlosses, share: dlosses / a_mean(share),
        "it is divided twice": lambda dlosses, share: dlosses * a_mean(share),
        "it is divided by the size of the batch": lambda dlosses, share: dlosses / share / len(dlosses),
        "it is divided by the length of the sequences": lambda dlosses, share: dlosses / share / dlosses.shape[-1],
        "it is divided by the number of positions: a mean in place of the sum": lambda dlosses, share, kept: (
            dlosses / a_sum(share) / kept.sum()
        ),
        "dloss is ignored": lambda kept, share: np.where(kept, share, 0.0),
        "dloss stands there twice": lambda dlosses, dloss: dlosses * dloss,
        "dloss of the losses is averaged over the positions": lambda kept, dloss: np.where(
            kept, of_each(dloss).mean(), 0.0
        ),
        "dloss of the losses is summed over the positions": lambda kept, dloss: np.where(
            kept, of_each(dloss).sum(), 0.0
        ),
        "each position's gradient is multiplied by its own loss": lambda dlosses, losses: dlosses * losses,
        "only the first of the batch is counted": lambda dlosses: dlosses * (np.arange(len(dlosses)) == 0)[:, None],
        "only the last position of each sequence is counted": lambda dlosses: (
            dlosses * (np.arange(dlosses.shape[-1]) == dlosses.shape[-1] - 1)
        ),
        "only the target's weight multiplies it once more": lambda dlosses, targets, V, w, weight: (
            dlosses * (hot(targets, V) @ given(weight, w))
        ),
        "positions with target 0 are ignored": lambda dlosses, targets: dlosses * (targets != 0),
    },
}


def total(x, axis):
    """Return the sum over an axis, kept."""
    return x.sum(axis=axis, keepdims=True)


def average(x, axis):
    """Return the mean over an axis, kept."""
    return x.mean(axis=axis, keepdims=True)


def elsewhere(x, axis, other):
    """Return the sum over another axis than the right one, kept."""
    if axis % x.ndim == other % x.ndim:
        raise ValueError("that is the right axis")
    return x.sum(axis=other, keepdims=True)


def other_axis(x, axis):
    """Return an axis that is not this one: the last, or the one before it."""
    return -2 if axis % x.ndim == x.ndim - 1 else -1


def soft(x, axis):
    """Return softmax(x)."""
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def soft_dx(y, dy, axis):
    """Return a softmax's gradient, of another y or dy."""
    return y * (dy - (y * dy).sum(axis=axis, keepdims=True))


def hot(targets, V):
    """Return the one-hot targets (..., V)."""
    return 1.0 * (targets[..., None] == np.arange(V))


def smoothed(targets, V, smooth):
    """Return the smoothed targets (..., V), without class weights."""
    return hot(targets, V) * (1 - smooth) + smooth / V


def from_a(a, p, dlosses):
    """Return the gradient of the logits for other coefficients a."""
    return (a.sum(axis=-1, keepdims=True) * p - a) * dlosses[..., None]


def given(weight, value):
    """Return a value where class weights were given."""
    if weight is None:
        raise ValueError("there are no class weights")
    return value


def with_ignored(known, slope):
    """Return the gradient of the logits, with `slope` at ignored positions too."""
    dlosses = known["dloss"] * known["share"] * np.ones(known["kept"].shape)
    return np.where(known["kept"][..., None], known["dlogits"], slope * dlosses[..., None])


def first_class(p):
    """Return 1 for class 0, and 0 for all others."""
    return 1.0 * (np.arange(p.shape[-1]) == 0)


def a_mean(share):
    """Return the share of a position in the loss, where that is a mean."""
    if share == 1:
        raise ValueError("the loss is not a mean")
    return share


def a_sum(share):
    """Return the share of a position in the loss, where that is a sum."""
    if share != 1:
        raise ValueError("the loss is a mean")
    return share


def of_each(dloss):
    """Return the gradients of each position's loss, where the loss is not one number."""
    if np.ndim(dloss) == 0:
        raise ValueError("the loss is one number")
    return dloss


def a_sequence(x):
    """Return x (B, T, V)."""
    if x.ndim < 3:
        raise ValueError("there is no batch")
    return x


MISTAKES = {"softmax": SOFTMAX, "log_softmax": LOG_SOFTMAX, "cross_entropy": CROSS_ENTROPY}
