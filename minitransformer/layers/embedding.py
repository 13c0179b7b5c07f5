"""Embedding, a table with one row for each token, and its counterpart, the unembedding.

A text is split into tokens, which are words or parts of words. The vocabulary contains V different tokens, and the id
of a token is its number, from 0 to V − 1. An embedding replaces an id with a row of C numbers, which training can
change. At the end of the model, the unembedding compares a vector of C numbers with every row. The result is V scores,
one for each token that may come next.

With tied embeddings (Press and Wolf, 2017) one Parameter is the table of both. It then reaches the loss along two
paths, and its gradient is the sum of (2), from the embedding, and (5), from the unembedding. The first is zero outside
the rows that were read, the second is dense: any entry may differ from zero. A model still learns if one of the two is
omitted, so this mistake is easily overlooked.
"""

import numpy as np
from numpy.typing import DTypeLike

from minitransformer.layers.checks import check_embedding, check_unembedding
from minitransformer.layers.linear import rows
from minitransformer.module import Array, Arrays, Backward, Module, Parameter, apply


def embedding(ids: Array, weight: Array) -> tuple[Array, Backward[Array]]:
    """Look up ids (...), integers, in weight (V, C). Returns y (..., C).

    For an id at each position p:

        y_p = W[id_p]                                   (1)

    Here W is the weight, and W[v] its row v. This equals the linear map y = onehot(id) W, where onehot(id) has a row
    for each position, which is 1 at the id and 0 elsewhere. Reading the rows avoids all products with 0.

    Saved for backward: ids (...).

    Raises: TypeError if the ids are not integers, or the weight is not floating-point; ValueError if an id is outside
    0 … V−1.
    """
    check_embedding(ids, weight)
    V, C = weight.shape
    y = weight[ids]  # (1)

    def backward(dy):
        """By entries, y_pc is the entry W_vc of the row v = id_p, and of no other row:

            ∂y_pc/∂W_vc = [id_p = v]

        which is 1 where position p reads row v, else 0. A row reaches the loss through all positions that read it. The
        chain rule adds these paths: dy_pc times the derivative, summed over p. For all entries of a row, that is

            dW[v] = Σ_p [id_p = v] dy_p                     (2)

        This is dW = onehot(id)ᵀ dy, the gradient of a linear map whose input is onehot(id).

        The gradient of a row that no position reads is zero. If an id occurs twice, both gradients must be added, as
        `np.add.at` does. `dW[ids] = dy` keeps only the last one, and so does `dW[ids] += dy`, because NumPy reads all
        rows before it writes any. Ids are integers, which cannot change a little, so they have no gradient.
        """
        dweight = np.zeros((V, C), dy.dtype)
        np.add.at(dweight, ids, dy)  # (2) ← W[id_p] (1)
        return dweight

    return y, backward


def unembedding(x: Array, weight: Array) -> tuple[Array, Backward[Arrays]]:
    """Compare x (..., C) with each row of weight (V, C). Returns logits y (..., V).

    A logit is the score of a token, which a softmax later converts to a probability. It is the inner product of x with
    the token's row, y_pv = Σ_c x_pc W_vc, so it is large if the two have similar directions:

        y = x Wᵀ                                        (3)

    Saved for backward: x (..., C), weight (V, C).

    Raises: TypeError if an array is not floating-point; ValueError if the last axis of x is not C.
    """
    check_unembedding(x, weight)
    y = x @ weight.T  # (3)

    def backward(dy):
        """This is the map of linear.py with Wᵀ for its W.

        There dx = dy Wᵀ, which becomes (4), because the transpose of Wᵀ is W. The dW of that file, xᵀ dy, is here the
        gradient of Wᵀ, so the gradient of W is its transpose, (5):

            dx = dy W                                       (4)
            dW = dyᵀ x      (summed over positions)         (5)
        """
        dx = dy @ weight  # (4) ← x Wᵀ (3)
        dweight = rows(dy).T @ rows(x)  # (5) ← x Wᵀ (3)
        return dx, dweight

    return y, backward


class Embedding(Module):
    """A learned table (V, C), initially drawn from N(0, std²).

    Learned positions, see positions.py, are such a table as well, read with the ids 0, 1, 2, …
    """

    def __init__(
        self,
        vocab_size: int,
        d_model: int,
        *,
        std: float = 0.02,
        rng: np.random.Generator | None = None,
        dtype: DTypeLike = np.float32,
    ):
        rng = rng if rng is not None else np.random.default_rng(0)
        self.weight = Parameter(rng.normal(0, std, (vocab_size, d_model)).astype(dtype))

    def forward(self, ids: Array) -> tuple[Array, Backward[None]]:
        """Return the rows (..., C) of ids (...)."""
        return apply(embedding, ids, self.weight)


class Unembedding(Module):
    """Map x (..., C) to logits (..., V). `weight` (V, C) is the Parameter of the embedding if the two are tied."""

    def __init__(self, weight: Parameter):
        self.weight = weight

    def forward(self, x: Array) -> tuple[Array, Backward[Array]]:
        """Return the logits (..., V) of x (..., C)."""
        return apply(unembedding, x, self.weight)

    def multiplications(self, T: int) -> int:
        """Return the multiplications of one position in matrix products."""
        return self.weight.data.size
