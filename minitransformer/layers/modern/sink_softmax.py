"""Softmax with a sink: attention that may attend to nothing (Xiao et al., 2023; OpenAI, 2025).

The weights of a softmax sum to 1, so a head must read something at every position, even if nothing fits. Trained models
then read the first token, whatever it is, which thus becomes a sink. Here each head has a learned number instead, the
logit of one more key, whose value is zero. Its share of the sum is given to nobody, so the weights sum to less than 1.

The weights are invariant to a shift of all scores of a query together with the sink. As each sink is read by all
queries of its head, the derivative with respect to the shift of a whole head is Σ dx + dsink: this sum is zero for
every head. Without the sink's term it is not, which shows a lost sink gradient.
"""

import numpy as np

from minitransformer.layers.modern.checks import check_sink_softmax
from minitransformer.module import Array, Arrays, Backward


def sink_softmax(x: Array, sink: Array) -> tuple[Array, Backward[Arrays]]:
    """Return weights y (..., H, Tq, Tk) of scores x of this shape, with a finite sink (H,) for each head.

    For each query, where the sums run over its keys, and m is the largest of its scores and the sink:

        e = exp(x − m)    f = exp(sink − m)             (1)
        y = e / (Σ e + f)                               (2)
        p = f / (Σ e + f)                               (3)

    p is the share of the sink, so Σ y + p = 1. As in softmax.py, m cancels and is treated as a constant. The divisor is
    positive, since one of the exponents is 0. So a query whose scores are all −∞ needs no exception: its weights are 0,
    and the share of the sink is 1.

    Saved for backward: y (..., H, Tq, Tk), p (..., H, Tq, 1).

    Raises: TypeError for an array that is not floating-point; ValueError if x has less than three axes or no keys, or
    the sink is not (H,).
    """
    check_sink_softmax(x, sink)
    m = largest(x, sink[:, None, None])
    e, f = np.exp(x - m), np.exp(sink[:, None, None] - m)  # (1) (..., H, Tq, Tk), (..., H, Tq, 1)
    total = e.sum(axis=-1, keepdims=True) + f
    y = e / total  # (2)
    p = f / total  # (3)

    def backward(dy):
        """A score reaches the weights as in a softmax: through its numerator, and through the sum of its query.

        The sink reaches them only through the sum. With i for a head, t for a query, and j and k for keys, the quotient
        rule gives

            ∂y_itk/∂x_itj = y_itk (δ_kj − y_itj)    ∂y_itk/∂sink_i = −y_itk p_it

        The sum over k is

            dx = y · (dy − Σ y · dy)                        (4)
            dsink_i = −Σ_t p_it Σ_k y_itk dy_itk            (5)

        and (5) sums over the batch too, as one sink is read at every query of every sequence. Since the weights of a
        query sum to 1 − p, dx does not sum to zero along the keys, as in a softmax, but to p times the sum in (4). (5)
        is minus the sum of these over the queries. A check with one sequence and one query does not detect a missing
        sum in (5). One with sinks far below the scores does not detect anything about them: there p is nearly 0, and so
        is dsink.
        """
        weighted_sum = (y * dy).sum(axis=-1, keepdims=True)
        dx = y * (dy - weighted_sum)  # (4) ← e / (Σ e + f) (2), exp(x − m) (1)
        queries = (*range(dy.ndim - 3), -2, -1)
        dsink = -(p * weighted_sum).sum(axis=queries)  # (5) ← e / (Σ e + f) (2), exp(sink − m) (1)
        return dx, dsink

    return y, backward


def largest(x, sinks):
    """Return the largest number of each row of scores and its sink. The axis is kept with length 1."""
    of_row = x.real.max(axis=-1, keepdims=True)
    return np.where(of_row > sinks.real, of_row, sinks.real)
