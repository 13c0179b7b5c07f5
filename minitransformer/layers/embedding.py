"""Embedding: a table with one row for each token; and its mirror image, the unembedding.

**Embedding.** Forward, for an id at each position p:

    y_p = W[id_p]                                   (1)

This is the linear map of a one-hot vector, y = onehot(id) W, without the multiplication by zeros. Its gradient is
therefore dW = onehot(id)ᵀ dy: every position adds its dy to the row that it read,

    dW[v] = Σ dy_p over the positions p with id_p = v          (2)

Rows that no position read get zero. An id that occurs twice gets both: `dW[ids] = dy` keeps only the last, and
`dW[ids] += dy` as well, because NumPy reads all rows before it writes any. Ids are integers and have no gradient.

A sum over equal ids is a sum over runs once the positions are sorted by id; this takes two passes over dy, whatever V.

Saved for backward: the ids, and the shape of W.

**Unembedding.** Forward: one logit for each row of W (V, C), its inner product with x (C,),

    y = x Wᵀ                                        (3)

and, as for any product (see linear.py),

    dx = dy W                                       (4)
    dW = dyᵀ x      (summed over positions)         (5)

With tied embeddings (Press and Wolf, 2017) W is the same Parameter in (1) and (3). It then reaches the loss along
two paths, and its gradient is the sum of (2) and (5): the first is zero outside the rows that were read, the second
is dense. Dropping either still trains, which is why it goes unnoticed.

Saved for backward: x (..., C), W (V, C).
"""

import numpy as np

from minitransformer.module import Module, Parameter, apply


def embedding(ids, weight):
    """Look up ids (...), integers, in weight (V, C). Returns y (..., C).

    Raises TypeError for ids that are not integers, ValueError for ids outside 0 … V−1.
    """
    vocab_size, width = weight.shape
    check_ids(ids, vocab_size)
    y = weight[ids]  # (1)

    def backward(dy):
        flat = ids.reshape(-1)
        dweight = np.zeros((vocab_size, width), dy.dtype)
        if flat.size:
            order = np.argsort(flat, kind="stable")
            rows, starts = np.unique(flat[order], return_index=True)
            dweight[rows] = np.add.reduceat(dy.reshape(-1, width)[order], starts)  # (2)
        return dweight

    return y, backward


def check_ids(ids, vocab_size):
    """Raise TypeError unless ids is an integer array, ValueError unless every id is in 0 … vocab_size − 1."""
    if not isinstance(ids, np.ndarray) or ids.dtype.kind not in "iu":
        kind = f"dtype {ids.dtype}" if isinstance(ids, np.ndarray) else type(ids).__name__
        raise TypeError(f"ids must be an array of integers, not {kind}")
    if ids.size and (ids.min() < 0 or ids.max() >= vocab_size):
        where = tuple(int(i) for i in np.argwhere((ids < 0) | (ids >= vocab_size))[0])
        raise ValueError(
            f"id {ids[where]} at position {where} is out of range: the vocabulary has 0 … {vocab_size - 1}"
        )


def unembedding(x, weight):
    """Compare x (..., C) with each row of weight (V, C). Returns logits (..., V).

    Raises ValueError where the last axis of x is not C.
    """
    vocab_size, width = weight.shape
    if x.ndim == 0 or x.shape[-1] != width:
        raise ValueError(f"unembedding: x {x.shape} must end in {width}, the columns of weight {weight.shape}")
    rows = x.reshape(-1, width)
    y = rows @ weight.T  # (3)

    def backward(dy):
        dy_rows = dy.reshape(-1, vocab_size)
        dx = (dy_rows @ weight).reshape(x.shape)  # (4)
        dweight = dy_rows.T @ rows  # (5)
        return dx, dweight

    return y.reshape(*x.shape[:-1], vocab_size), backward


class Embedding(Module):
    """A learned table (V, C), drawn from N(0, std²); also of learned positions, whose ids are 0, 1, 2, …"""

    def __init__(self, vocab_size: int, d_model: int, *, std: float = 0.02, rng=None, dtype=np.float32):
        rng = rng if rng is not None else np.random.default_rng(0)
        self.weight = Parameter(rng.normal(0, std, (vocab_size, d_model)).astype(dtype))

    def forward(self, ids):
        """Look up ids (...) to give (..., C)."""
        return apply(embedding, ids, self.weight)


class Unembedding(Module):
    """Logits (..., V) from x (..., C). `weight` is a Parameter (V, C): the embedding's own one ties the two."""

    def __init__(self, weight: Parameter):
        self.weight = weight

    def forward(self, x):
        """Compare x (..., C) with every row, to give (..., V)."""
        return apply(unembedding, x, self.weight)
