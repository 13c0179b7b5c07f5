"""What goes wrong in the normalizations: a path forgotten, the gain in the wrong place, x or y where x̂ belongs."""

import numpy as np

from minitransformer.learn.catalogue.sums import feature_mean, over_positions

LAYER_NORM = {
    "dx": {
        "the path through the mean is missing": lambda r, dx_hat, x_hat, scale: r * (dx_hat - x_hat * scale),
        "the path through the variance is missing": lambda r, dx_hat, shift: r * (dx_hat - shift),
        "mean and variance are taken for constants: both of their paths are missing": lambda r, dx_hat: r * dx_hat,
        "the direct path is missing": lambda r, x_hat, shift, scale: -r * (shift + x_hat * scale),
        "only the path through the variance is there": lambda r, x_hat, scale: -r * x_hat * scale,
        "the factor r is missing": lambda dx, r: dx / r,
        "r stands there twice": lambda dx, r: dx * r,
        "it is divided by r, not multiplied: σ in place of 1/σ": lambda dx, r: dx / r**2,
        "r is multiplied with the direct path alone": lambda r, dx_hat, x_hat, shift, scale: (
            r * dx_hat - shift - x_hat * scale
        ),
        "r is missing on the path through the mean": lambda r, dx_hat, x_hat, shift, scale: (
            r * (dx_hat - x_hat * scale) - shift
        ),
        "a factor r is missing on the path through the variance: x − μ in place of one x̂": lambda dx, r, x_hat, scale: (
            dx + (r - 1) * x_hat * scale
        ),
        "r² is missing on the path through the variance: x − μ for x̂, or −1/2 for −3/2": lambda dx, r, x_hat, scale: (
            dx + (r - 1 / r) * x_hat * scale
        ),
        "the path through the variance counts twice: its factor ½ is missing": lambda dx, r, x_hat, scale: (
            dx - r * x_hat * scale
        ),
        "the path through the variance counts half: the 2 of the square is missing": lambda dx, r, x_hat, scale: (
            dx + r * x_hat * scale / 2
        ),
        "the path through the mean counts twice": lambda dx, r, shift: dx - r * shift,
        "the gain γ multiplies the whole from outside the means": lambda r, gamma, dy, x_hat: (
            gamma * r * (dy - feature_mean(dy) - x_hat * feature_mean(dy * x_hat))
        ),
        "the gain γ is missing in the means": lambda r, dx_hat, dy, x_hat: (
            r * (dx_hat - feature_mean(dy) - x_hat * feature_mean(dy * x_hat))
        ),
        "the gain γ is missing in the first mean": lambda r, dx_hat, dy, x_hat, scale: (
            r * (dx_hat - feature_mean(dy) - x_hat * scale)
        ),
        "the gain γ is missing in the second mean": lambda r, dx_hat, dy, x_hat, shift: (
            r * (dx_hat - shift - x_hat * feature_mean(dy * x_hat))
        ),
        "the gain γ is missing on the direct path": lambda r, dy, x_hat, shift, scale: r * (dy - shift - x_hat * scale),
        "sums over the features stand in place of both means": lambda r, dx_hat, x_hat, shift, scale, x: (
            r * (dx_hat - x.shape[-1] * (shift + x_hat * scale))
        ),
        "a sum over the features stands in place of the first mean": lambda dx, r, shift, x: (
            dx - r * (x.shape[-1] - 1) * shift
        ),
        "a sum over the features stands in place of the second mean": lambda dx, r, x_hat, scale, x: (
            dx - r * (x.shape[-1] - 1) * x_hat * scale
        ),
        "the direct path is divided by the number of features as well": lambda dx, r, dx_hat, x: (
            dx + r * dx_hat * (1 / x.shape[-1] - 1)
        ),
        "the second mean is divided by C − 1, not by C": lambda dx, r, x_hat, scale, x: (
            dx - r * x_hat * scale / (x.shape[-1] - 1)
        ),
        "both means are divided by C − 1, not by C": lambda dx, r, x_hat, shift, scale, x: (
            dx - r * (shift + x_hat * scale) / (x.shape[-1] - 1)
        ),
        "r is made of a variance divided by C − 1, not by C": lambda x, mu, eps, dx_hat: normal_dx(
            x - mu, 1 / np.sqrt(x.var(axis=-1, ddof=1, keepdims=True) + eps), dx_hat
        ),
        "the sign of the path through the mean is wrong": lambda dx, r, shift: dx + 2 * r * shift,
        "the sign of the path through the variance is wrong": lambda dx, r, x_hat, scale: dx + 2 * r * x_hat * scale,
        "the signs of both indirect paths are wrong": lambda dx, r, x_hat, shift, scale: (
            dx + 2 * r * (shift + x_hat * scale)
        ),
        "x stands in place of x̂ on the path through the variance": lambda r, dx_hat, x, shift: (
            r * (dx_hat - shift - x * feature_mean(dx_hat * x))
        ),
        "x stands in place of x̂ in the second mean": lambda r, dx_hat, x, x_hat, shift: (
            r * (dx_hat - shift - x_hat * feature_mean(dx_hat * x))
        ),
        "x stands in place of the x̂ before the second mean": lambda r, dx_hat, x, shift, scale: (
            r * (dx_hat - shift - x * scale)
        ),
        "y stands in place of x̂ on the path through the variance": lambda r, dx_hat, y, shift: (
            r * (dx_hat - shift - y * feature_mean(dx_hat * y))
        ),
        "y stands in place of x̂ in the second mean": lambda r, dx_hat, y, x_hat, shift: (
            r * (dx_hat - shift - x_hat * feature_mean(dx_hat * y))
        ),
        "y stands in place of the x̂ before the second mean": lambda r, dx_hat, y, shift, scale: (
            r * (dx_hat - shift - y * scale)
        ),
        "the second mean is not multiplied by x̂": lambda r, dx_hat, shift, scale: r * (dx_hat - shift - scale),
        "the second mean is of dx̂ alone, without x̂": lambda r, dx_hat, x_hat, shift: (
            r * (dx_hat - shift - x_hat * shift)
        ),
        "the second mean is of x̂², not of dx̂ · x̂": lambda r, dx_hat, x_hat, shift: (
            r * (dx_hat - shift - x_hat * feature_mean(x_hat**2))
        ),
        "x̂ is squared before the second mean": lambda r, dx_hat, x_hat, shift, scale: (
            r * (dx_hat - shift - x_hat**2 * scale)
        ),
        "x̂ · dx̂ stands before the mean where x̂ belongs": lambda r, dx_hat, x_hat, shift: (
            r * (dx_hat - shift - x_hat**2 * dx_hat)
        ),
        "the means run over the positions, not over the features": lambda r, dx_hat, x_hat: normal_dx(
            x_hat, r, dx_hat, axis=-2, r_in=1
        ),
        "the means run over the batch, not over the features": lambda r, dx_hat, x_hat: normal_dx(
            x_hat, r, dx_hat, axis=leading(dx_hat), r_in=1
        ),
        "the means run over all entries, not over the features of each position": lambda r, dx_hat, x_hat: normal_dx(
            x_hat, r, dx_hat, axis=None, r_in=1
        ),
        "the first mean runs over all entries, not over the features of each position": lambda dx, r, dx_hat, shift: (
            dx + r * (shift - dx_hat.mean())
        ),
        "the second mean runs over the positions, not over the features": lambda dx, r, dx_hat, x_hat, scale: (
            dx + r * x_hat * (scale - (dx_hat * x_hat).mean(axis=-2, keepdims=True))
        ),
        "the second mean runs over all entries, not over the features": lambda dx, r, dx_hat, x_hat, scale: (
            dx + r * x_hat * (scale - (dx_hat * x_hat).mean())
        ),
        "the first mean runs over the positions, not over the features": lambda dx, r, dx_hat, shift: (
            dx + r * (shift - dx_hat.mean(axis=-2, keepdims=True))
        ),
        "r is missing on the direct path": lambda dx, r, dx_hat: dx + (1 - r) * dx_hat,
        "r stands once too often on the path through the variance": lambda dx, r, x_hat, scale: (
            dx + (1 - r) * r * x_hat * scale
        ),
        "r stands once too often on the path through the mean": lambda dx, r, shift: dx + (1 - r) * r * shift,
        "ε is forgotten: r is 1/√σ²": lambda x, mu, variance, dx_hat: normal_dx(x - mu, 1 / np.sqrt(variance), dx_hat),
        "ε is forgotten in the r in front": lambda dx, r, variance: dx / r / np.sqrt(variance),
        "ε stands outside the root: r is 1/(√σ² + ε)": lambda x, mu, variance, eps, dx_hat: normal_dx(
            x - mu, 1 / (np.sqrt(variance) + eps), dx_hat
        ),
        "it is divided by σ² + ε, not by its root": lambda x, mu, variance, eps, dx_hat: normal_dx(
            x - mu, 1 / (variance + eps), dx_hat
        ),
        "dy is added, as a residual's direct path would": lambda dx, dy: dx + dy,
        "μ is not subtracted from x on the way": lambda r, dx_hat, x, shift: (
            r * (dx_hat - shift - x * r * feature_mean(dx_hat * x * r))
        ),
        "it is the gain γ times dy alone: the whole normalization is skipped": lambda dx_hat: dx_hat,
        "it is r · x̂ in place of a gradient: dy is not in it": lambda r, x_hat: r * x_hat,
        "it is multiplied by γ once more": lambda dx, gamma: dx * gamma,
        "it is multiplied by x̂ once more": lambda dx, x_hat: dx * x_hat,
    },
    "dx_hat": {
        "the gain γ is forgotten": lambda dy: dy,
        "dy is divided by γ, not multiplied": lambda dy, gamma: dy / gamma,
        "the gain γ stands there twice": lambda dy, gamma: dy * gamma**2,
        "β stands in place of γ": lambda dy, beta: dy * beta,
        "γ + β stands in place of γ": lambda dy, beta, gamma: dy * (gamma + beta),
        "γ is added, not multiplied": lambda dy, gamma: dy + gamma,
        "it is dy · x̂, which belongs to dγ": lambda dy, x_hat: dy * x_hat,
        "dγ stands in place of γ": lambda dy, dgamma: dy * dgamma,
        "1 + γ stands in place of γ": lambda dy, gamma: dy * (1 + gamma),
        "dy is taken for ones: it is γ alone": lambda dy, gamma: np.ones_like(dy) * gamma,
    },
    "dgamma": {
        **over_positions(lambda dy, x_hat: dy * x_hat),
        "x stands in place of x̂": lambda dy, x: positions_sum(dy * x),
        "x − μ stands in place of x̂: r is missing": lambda dy, x, mu: positions_sum(dy * (x - mu)),
        "x · r stands in place of x̂: μ is not subtracted": lambda dy, x, r: positions_sum(dy * x * r),
        "y stands in place of x̂": lambda dy, y: positions_sum(dy * y),
        "y without β stands in place of x̂: it is multiplied by γ": lambda dx_hat, x_hat: positions_sum(dx_hat * x_hat),
        "it is multiplied by r once more": lambda dy, x_hat, r: positions_sum(dy * x_hat * r),
        "it is divided by γ: y / γ in place of x̂": lambda dy, y, gamma: positions_sum(dy * y / gamma),
        "dy is not in it: it is the sum of x̂": lambda x_hat: positions_sum(x_hat),
        "x̂ is not in it: it is the sum of dy": lambda dy: positions_sum(dy),
        "dx stands in place of dy": lambda dx, x_hat: positions_sum(dx * x_hat),
        "x̂ is squared": lambda dy, x_hat: positions_sum(dy * x_hat**2),
        "the sum of dy and the sum of x̂ are multiplied: the product comes before the sum": lambda dy, x_hat: (
            positions_sum(dy) * positions_sum(x_hat)
        ),
        "β is in it: dy · (x̂ + β)": lambda dy, x_hat, beta: positions_sum(dy * (x_hat + beta)),
        "ε is forgotten in its x̂": lambda dy, x, mu, variance: positions_sum(dy * (x - mu) / np.sqrt(variance)),
        "it is divided by the number of features": lambda dgamma, x: dgamma / x.shape[-1],
    },
    "dbeta": {
        **over_positions(lambda dy: dy),
        "it is multiplied by γ: dx̂ is summed in place of dy": lambda dx_hat: positions_sum(dx_hat),
        "it is multiplied by β": lambda dbeta, beta: dbeta * beta,
        "it is multiplied by x̂, as dγ is": lambda dy, x_hat: positions_sum(dy * x_hat),
        "dx is summed in place of dy": lambda dx: positions_sum(dx),
        "y is summed in place of dy": lambda y: positions_sum(y),
        "dy is multiplied by r": lambda dy, r: positions_sum(dy * r),
        "dy is taken for ones: it counts the positions": lambda dy: positions_sum(np.ones_like(dy)),
        "it is divided by the number of features": lambda dbeta, x: dbeta / x.shape[-1],
    },
}

RMS_NORM = {
    "dx": {
        "the path through r is missing: r is taken for a constant": lambda r, dx_hat: r * dx_hat,
        "the direct path is missing": lambda r, x_hat, scale: -r * x_hat * scale,
        "the mean of dx̂ is subtracted as well, as in layer normalization": lambda dx, r, dx_hat: (
            dx - r * feature_mean(dx_hat)
        ),
        "it is layer normalization's, with x − μ and the variance": lambda x, eps, dx_hat: layer_norm_dx(
            x, eps, dx_hat
        ),
        "the factor r is missing": lambda dx, r: dx / r,
        "r stands there twice": lambda dx, r: dx * r,
        "it is divided by r, not multiplied": lambda dx, r: dx / r**2,
        "a factor r is missing on the path through r: x in place of one x̂": lambda r, dx_hat, x_hat, scale: (
            r * dx_hat - x_hat * scale
        ),
        "r² is missing on the path through r: x for x̂, or −1/2 for −3/2": lambda dx, r, x_hat, scale: (
            dx + (r - 1 / r) * x_hat * scale
        ),
        "the path through r counts twice: its factor ½ is missing": lambda dx, r, x_hat, scale: dx - r * x_hat * scale,
        "the path through r counts half: the 2 of the square is missing": lambda dx, r, x_hat, scale: (
            dx + r * x_hat * scale / 2
        ),
        "the gain γ multiplies the whole from outside the mean": lambda r, gamma, dy, x_hat: (
            gamma * r * (dy - x_hat * feature_mean(dy * x_hat))
        ),
        "the gain γ is missing in the mean": lambda r, dx_hat, dy, x_hat: (
            r * (dx_hat - x_hat * feature_mean(dy * x_hat))
        ),
        "the gain γ is missing on the direct path": lambda r, dy, x_hat, scale: r * (dy - x_hat * scale),
        "a sum over the features stands in place of the mean": lambda r, dx_hat, x_hat, scale, x: (
            r * (dx_hat - x.shape[-1] * x_hat * scale)
        ),
        "the direct path is divided by the number of features as well": lambda dx, r, dx_hat, x: (
            dx + r * dx_hat * (1 / x.shape[-1] - 1)
        ),
        "the mean is divided by C − 1, not by C": lambda dx, r, x_hat, scale, x: (
            dx - r * x_hat * scale / (x.shape[-1] - 1)
        ),
        "the sign of the path through r is wrong": lambda dx, r, x_hat, scale: dx + 2 * r * x_hat * scale,
        "y stands in place of x̂ on the path through r": lambda r, dx_hat, y: (
            r * (dx_hat - y * feature_mean(dx_hat * y))
        ),
        "y stands in place of x̂ in the mean": lambda r, dx_hat, y, x_hat: (
            r * (dx_hat - x_hat * feature_mean(dx_hat * y))
        ),
        "y stands in place of the x̂ before the mean": lambda r, dx_hat, y, scale: r * (dx_hat - y * scale),
        "the mean is not multiplied by x̂": lambda r, dx_hat, scale: r * (dx_hat - scale),
        "the mean is of dx̂ alone, without x̂": lambda r, dx_hat, x_hat: r * (dx_hat - x_hat * feature_mean(dx_hat)),
        "the mean is of x̂², not of dx̂ · x̂": lambda r, dx_hat, x_hat: r * (dx_hat - x_hat * feature_mean(x_hat**2)),
        "there is no mean: x̂² · dx̂ is subtracted, entry by entry": lambda r, dx_hat, x_hat: r * dx_hat * (1 - x_hat**2),
        "x̂² · dx̂ / C is subtracted, entry by entry: only the diagonal of the Jacobian": lambda r, dx_hat, x_hat: (
            r * dx_hat * (1 - x_hat**2 / x_hat.shape[-1])
        ),
        "the mean runs over the positions, not over the features": lambda r, dx_hat, x_hat: (
            r * (dx_hat - x_hat * (dx_hat * x_hat).mean(axis=-2, keepdims=True))
        ),
        "the mean runs over the batch, not over the features": lambda r, dx_hat, x_hat: (
            r * (dx_hat - x_hat * (dx_hat * x_hat).mean(axis=leading(dx_hat), keepdims=True))
        ),
        "the mean runs over all entries, not over the features of each position": lambda r, dx_hat, x_hat: (
            r * (dx_hat - x_hat * (dx_hat * x_hat).mean())
        ),
        "r is missing on the direct path": lambda dx, r, dx_hat: dx + (1 - r) * dx_hat,
        "r stands once too often on the path through r": lambda dx, r, x_hat, scale: dx + (1 - r) * r * x_hat * scale,
        "a sum of dx̂ · x̂ over the positions, divided by C, stands in place of the mean": lambda r, dx_hat, x_hat: (
            r * (dx_hat - x_hat * (dx_hat * x_hat).sum(axis=-2, keepdims=True) / x_hat.shape[-1])
        ),
        "a sum of dx̂ · x over the positions, divided by C, stands in place of the mean": lambda x, r, dx_hat: (
            r * dx_hat - r**3 * x * (dx_hat * x).sum(axis=-2, keepdims=True) / x.shape[-1]
        ),
        "ε is forgotten: r is 1/√mean(x²)": lambda x, mean_square, dx_hat: rms_dx(x, 1 / np.sqrt(mean_square), dx_hat),
        "ε is forgotten in the r in front": lambda dx, r, mean_square: dx / r / np.sqrt(mean_square),
        "ε stands outside the root": lambda x, mean_square, eps, dx_hat: rms_dx(
            x, 1 / (np.sqrt(mean_square) + eps), dx_hat
        ),
        "it is divided by mean(x²) + ε, not by its root": lambda x, mean_square, eps, dx_hat: rms_dx(
            x, 1 / (mean_square + eps), dx_hat
        ),
        "dy is added, as a residual's direct path would": lambda dx, dy: dx + dy,
        "it is the gain γ times dy alone: the whole normalization is skipped": lambda dx_hat: dx_hat,
        "it is multiplied by γ once more": lambda dx, gamma: dx * gamma,
    },
    "dx_hat": {
        "the gain γ is forgotten": lambda dy: dy,
        "dy is divided by γ, not multiplied": lambda dy, gamma: dy / gamma,
        "the gain γ stands there twice": lambda dy, gamma: dy * gamma**2,
        "it is dy · x̂, which belongs to dγ": lambda dy, x_hat: dy * x_hat,
        "1 + γ stands in place of γ": lambda dy, gamma: dy * (1 + gamma),
        "γ is added, not multiplied": lambda dy, gamma: dy + gamma,
        "dy is taken for ones: it is γ alone": lambda dy, gamma: np.ones_like(dy) * gamma,
    },
    "dgamma": {
        **over_positions(lambda dy, x_hat: dy * x_hat),
        "x stands in place of x̂: r is missing": lambda dy, x: positions_sum(dy * x),
        "y stands in place of x̂: it is multiplied by γ": lambda dy, y: positions_sum(dy * y),
        "x − μ stands in place of x, as in layer normalization": lambda dy, x, r: positions_sum(
            dy * (x - feature_mean(x)) * r
        ),
        "it is multiplied by r once more": lambda dy, x_hat, r: positions_sum(dy * x_hat * r),
        "it is divided by r: x / r in place of x · r": lambda dy, x, r: positions_sum(dy * x / r),
        "dy is not in it: it is the sum of x̂": lambda x_hat: positions_sum(x_hat),
        "x̂ is not in it: it is the sum of dy": lambda dy: positions_sum(dy),
        "dx stands in place of dy": lambda dx, x_hat: positions_sum(dx * x_hat),
        "x̂ is squared": lambda dy, x_hat: positions_sum(dy * x_hat**2),
        "the sum of dy and the sum of x̂ are multiplied: the product comes before the sum": lambda dy, x_hat: (
            positions_sum(dy) * positions_sum(x_hat)
        ),
        "ε is forgotten in its x̂": lambda dy, x, mean_square: positions_sum(dy * x / np.sqrt(mean_square)),
        "it is divided by the number of features": lambda dgamma, x: dgamma / x.shape[-1],
    },
}


def normal_dx(centred, r, dx_hat, *, axis=-1, r_in=None):
    """Return the gradient of a normalization of deviations from the mean, with another r, or means over another axis.

    With `r_in` the deviations have been multiplied by r already.
    """
    x_hat = centred * (r if r_in is None else r_in)
    mean = dx_hat.mean(axis=axis, keepdims=True)
    return r * (dx_hat - mean - x_hat * (dx_hat * x_hat).mean(axis=axis, keepdims=True))


def layer_norm_dx(x, eps, dx_hat):
    """Return layer normalization's gradient."""
    return normal_dx(x - feature_mean(x), 1 / np.sqrt(x.var(axis=-1, keepdims=True) + eps), dx_hat)


def rms_dx(x, r, dx_hat):
    """Return the gradient of x · r with another r."""
    return r * (dx_hat - x * r * feature_mean(dx_hat * x * r))


def positions_sum(x):
    """Return the sum over every axis but the last."""
    return x.reshape(-1, x.shape[-1]).sum(axis=0)


def leading(x):
    """Return the first axis, where it is neither that of the features nor of the positions."""
    if x.ndim < 3:
        raise ValueError("there is no batch")
    return 0


MISTAKES = {"layer_norm": LAYER_NORM, "rms_norm": RMS_NORM}
