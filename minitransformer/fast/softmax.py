"""Softmax in place. The largest entry of each row is computed only if it is needed.

In short rows, finding the largest entry m takes longer than everything else. Therefore m = 0 is tried first. It is
sufficient if no exponential overflows and no row of exponentials vanishes. The softmax of attention over 64 keys is
then about twice as fast. The choice is made for the whole array, so a row with huge entries affects the rounding in all
other rows. In float16, where exp overflows at 12, m = 0 is not tried.
"""

import numpy as np

from minitransformer.fast.registration import twin_of
from minitransformer.layers import softmax as textbook
from minitransformer.module import require_floating


@twin_of(
    textbook.softmax,
    "96b69668e079",
    repeats=(textbook.finite_max, textbook.sum_or_one),
    cases=("softmax", "softmax, axis 1"),
)
def softmax(x, *, axis=-1):
    """Return weights y of x's shape that are not negative and sum to 1 along `axis`. A row of −∞ gives zeros.

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
    """Return e of (1) and the sum along `axis`, with keepdims. For a row of −∞, e is 0 and the sum is 1."""
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
    """Sum along an axis, with keepdims, by a product with ones. NumPy would sum short rows one at a time."""
    x = x.swapaxes(axis, -1)
    return (x @ np.ones((x.shape[-1], 1), x.dtype)).swapaxes(axis, -1)
