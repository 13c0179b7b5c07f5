"""Linear maps of all positions in one matrix product.

For an array with three axes, NumPy computes a small product for each sequence of a batch. If x is reshaped to one
matrix of all positions, there is one large product, which the matrix library divides among the cores. The bias is added
in place, and its gradient is a product with ones. Forward and backward take 0.53 of the time for 16 × 64 positions of
64 features, and 0.85 for 4 × 256 positions of 384 features. With one sequence in a batch, no time is saved.
"""

import numpy as np

from minitransformer.fast.registration import twin_of
from minitransformer.layers import linear as textbook
from minitransformer.layers.checks import check_linear
from minitransformer.layers.linear import rows


@twin_of(textbook.linear, "fe6055c45e2e", cases=("linear", "linear, no bias"))
def linear(x, weight, bias=None):
    """Map x (..., I) to y (..., O), with weight (I, O) and bias (O,) or None.

    Saved for backward, with P positions: x_rows (P, I), weight (I, O).
    """
    check_linear(x, weight, bias)
    x_shape, x_rows, has_bias = x.shape, rows(x), bias is not None
    y = x_rows @ weight  # (1)
    if has_bias:
        y += bias  # (1)

    def backward(dy):
        dy_rows = rows(dy)
        dx = (dy_rows @ weight.T).reshape(x_shape)  # (2)
        dweight = x_rows.T @ dy_rows  # (3)
        if not has_bias:
            return dx, dweight
        return dx, dweight, np.ones(len(dy_rows), dy.dtype) @ dy_rows  # (4)

    return y.reshape(*x_shape[:-1], weight.shape[1]), backward
