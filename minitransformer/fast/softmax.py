"""Softmax in place, without the largest entry unless it is needed.

Over short rows the largest entry takes longer to find than all the rest, so first the cheap guess m = 0 is tried, which
is as good as any while no exponential overflows and no row vanishes: attention's softmax over 64 keys is then about
twice as fast. The guess is judged for the array as a whole, so a row with huge entries changes how the others are
rounded. In float16, where exp overflows at 12, it is not tried.
"""

import numpy as np

from minitransformer.fast.digests import twin_of
from minitransformer.fast.sums import feature_sum
from minitransformer.layers import softmax as textbook
from minitransformer.module import require_floating


@twin_of(textbook.softmax, "8944119ea148")
def softmax(x, *, axis=-1):
    """Turn x into weights y, of x's shape, that are not negative and sum to 1 along `axis`; a row of −∞ gives zeros.

    Saved for backward: y (...).
    """
    require_floating("softmax", x=x)
    y, total = exponentials(x, axis)  # (1)
    y /= total  # (2)

    def backward(dy):
        dx = dy - np.expand_dims(np.vecdot(y, dy, axis=axis), axis)  # (3)
        dx *= y  # (3)
        return dx

    return y, backward


def exponentials(x, axis):
    """Return e of (1) and its sum along `axis`, kept as an axis of length 1; for a row of −∞, zeros and 1."""
    if x.size and x.dtype != np.float16 and x.max() < 60:
        e = np.exp(x)
        total = axis_sum(e, axis)
        if total.min() > 1e-25:
            return e, total
    e = x - textbook.finite_max(x, axis)
    np.exp(e, out=e)
    total = axis_sum(e, axis)
    total[total == 0] = 1
    return e, total


def axis_sum(x, axis):
    """Return x.sum(axis=axis, keepdims=True)."""
    return feature_sum(x.swapaxes(axis, -1)).swapaxes(axis, -1)
