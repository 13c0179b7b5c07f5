"""A convolution over time, as an example of a teacher's own exercise."""

import numpy as np


def convolution(x, weight):
    """Map x (B, T, I) to y (B, T − K + 1, O), with a matrix weight[k] (I, O) for each of K neighbouring positions.

        y_t = Σ_k x_(t+k) W_k                           (1)

    Each position of y reads K positions of x.
    """
    K, n = len(weight), x.shape[1] - len(weight) + 1
    y = sum(x[:, k : k + n] @ weight[k] for k in range(K))  # (1)

    def backward(dy):
        """Compute the gradients of x and weight from the gradient dy of y.

        The value x_t is used in y_t, y_(t−1), …, y_(t−K+1), and W_k is used at every position of y. A value that is
        used several times receives the sum of the gradients from all of its uses:

            dx_t = Σ_k dy_(t−k) W_kᵀ                        (2)
            dW_k = Σ_t x_(t+k)ᵀ dy_t                        (3)

        In (2) the terms with a position t − k outside of y are left out. The sum of (3) runs over the batch as well.
        """
        later = [np.pad(dy @ weight[k].T, [(0, 0), (k, K - 1 - k), (0, 0)]) for k in range(K)]
        dx = sum(later)  # (2) ← x_(t+k) W_k (1)
        dweight = np.stack([np.einsum("bti,bto->io", x[:, k : k + n], dy) for k in range(K)])  # (3) ← x_(t+k) W_k (1)
        return dx, dweight

    return y, backward
