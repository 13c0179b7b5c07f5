"""Root-mean-square normalization, its sums and means as products with ones (see sums.py).

Over 12 × 64 positions of 128 features it takes 0.83 of the time; over wide ones, as long.
"""

import numpy as np

from minitransformer.fast.digests import twin_of
from minitransformer.fast.sums import feature_mean, position_sum
from minitransformer.layers import rms_norm as textbook


@twin_of(textbook.rms_norm, "6da4889d14d4")
def rms_norm(x, gamma, *, eps=1e-5):
    """Divide x (..., C) by its root mean square over the last axis, then scale by gamma (C,). Returns y (..., C).

    Saved for backward: x̂ (..., C), r (..., 1), γ (C,).
    """
    textbook.check_arguments(x, gamma)
    r = 1 / np.sqrt(feature_mean(x * x) + float(eps))  # (1)
    x_hat = x * r  # (2)
    y = gamma * x_hat  # (3)

    def backward(dy):
        dgamma = position_sum(dy * x_hat)  # (4)
        dx_hat = dy * gamma  # (4)
        dx = dx_hat - x_hat * feature_mean(dx_hat * x_hat)  # (5)
        dx *= r  # (5)
        return dx, dgamma

    return y, backward
