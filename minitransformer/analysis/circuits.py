"""The QK and OV circuits of an induction head, read off the weights alone (Elhage et al., 2021).

A head does two things that have nothing to do with each other. W_q and W_k decide where it looks, and meet nothing but
each other; W_v and W_o decide what it moves from there, and likewise. So each pair is one matrix between tokens, and
can be asked, without running the model, what it does to every token of the vocabulary at once.

Let E (S, C) be the embeddings of S tokens and U (S, C) their rows of the unembedding. A norm of the stream x is
N(x) = r(x) · (x A) + β, with A a fixed matrix: the gain γ, and for layer normalization the centring,

    A = (I − 1/C) diag(γ)      RMS norm: A = diag(γ)          (1)

and r(x) > 0 one number for each position, the inverse of its deviation. We fold A into the weights and leave r(x) and
the biases out; below, A is that of the block's first norm and A_f the final one's.

**OV: what it says when it looks at a token.** Head h, attending to a token's embedding, moves it through W_v and W_o to
the stream's end, where the unembedding makes logits of it:

    OV = E A W_v^h W_o^h A_f Uᵀ                     (2)

Entry [a, b] is what attending to token a does to the logit of b. A head that copies has its largest entries on the
diagonal.

**QK: where it looks, with the help of a head before it.** An induction head at token a looks for the position after an
earlier a. Two ways are known by which a head p of an earlier block can make that possible, and each is a matrix.

*By the previous token* (K-composition). The position looked for does not hold its previous token; a previous-token head
p has put it there, through its own W_v and W_o. Its key then matches the query of that token:

    query of a = E A W_q^h      key of "after b" = (E A_p W_v^p W_o^p) A W_k^h          (3)
    QK = query keyᵀ / √D                            (4)

Entry [a, b] is the score with which token a looks at a position after b. With rotary positions, query and key are
turned by their positions, and their product depends on how far apart they are; the mean over some distances δ is

    query of a, turned: the mean over δ of R_δ (E A W_q^h)          (5)

against a key at position 0.

*By a pointer* (Q-composition), where positions are in the stream: P (T, C), learned or sinusoidal. A duplicate-token
head p looks at the earlier a, at position s, and brings back that place, P_s, from which a query for position s + 1 can
be made:

    query of "a was at s" = (P A_p W_v^p W_o^p) A W_q^h      key of k = P A W_k^h       (6)

Their product, again over √D, has a row for each s, and a column for each k from 1 on: so the entry [s, s] is the score
with which a token that stood at s before looks at s + 1. A head that serves to go backward as well looks at s − 1 for
that, and this path does not say which of the two it will be.

**Scores.** Of such a matrix M (S, S), three say how far it takes each token to itself: the fraction of rows with their
largest entry on the diagonal, which is 1/S by chance; Elhage et al.'s copying score over the eigenvalues λ of M,

    Σ λ / Σ |λ|                                     (7)

1 where all are positive (a positive multiple of the identity, say), −1 where all are negative, about 0 by chance; and
how much the diagonal stands out, its mean less that of all other entries. The first two do not depend on the size of M:
a head that writes next to nothing may still have them at 1. The third does, and so tells which of two heads matters.

What this does not show. r(x) is left out: it scales each row of OV, which changes neither sign nor order in the row,
but each *column* of QK, which may; and the two QK matrices cannot be compared by size, for what they leave out differs.
Each matrix is one path of many: the embedding also reaches the head through the
feed-forward layers and heads between, and the head's output reaches the logits through later blocks. And what a circuit
could do is not what the head does: only running the model, and ablating the head, shows that (see patterns.py).
"""

from dataclasses import dataclass

import numpy as np

from minitransformer.layers.layer_norm import LayerNorm
from minitransformer.layers.positions import rotary
from minitransformer.module import apply


@dataclass(frozen=True)
class Circuit:
    """A matrix (S, S), float64, between tokens or positions: see (2), (4) and (6) for what its entries mean."""

    matrix: np.ndarray

    @property
    def on_diagonal(self) -> float:
        """The fraction of rows whose largest entry is on the diagonal; 1/S by chance."""
        return float(np.mean(self.matrix.argmax(axis=1) == np.arange(len(self.matrix))))

    @property
    def eigenvalue_score(self) -> float:
        """Σ λ / Σ |λ| over the eigenvalues, from −1 to 1; 0 for a matrix that has none but zero."""
        eigenvalues = np.linalg.eigvals(self.matrix)
        total = np.abs(eigenvalues).sum()
        return float(eigenvalues.real.sum() / total) if total > 0 else 0.0  # (7)

    @property
    def contrast(self) -> float:
        """The mean of the diagonal less the mean of all other entries, in units of the matrix."""
        n = len(self.matrix)
        diagonal = np.trace(self.matrix)
        return float(diagonal / n - (self.matrix.sum() - diagonal) / (n * n - n))

    def to_dict(self) -> dict:
        """Return the scores, as JSON can hold them."""
        return {name: getattr(self, name) for name in ("on_diagonal", "eigenvalue_score", "contrast")}


def ov_circuit(model, block: int, head: int, tokens) -> Circuit:
    """Return how attending to each of the `tokens` (S,) changes the logit of each, through this head alone."""
    written = moved_by_head(model, block, head, embeddings(model, tokens))
    unembedding = model.lm_head.weight.data[tokens].astype(np.float64)
    return Circuit(written @ folded_norm(model.ln_final) @ unembedding.T)  # (2)


def qk_circuit(model, head: tuple[int, int], previous: tuple[int, int], tokens, distances=(0,)) -> Circuit:
    """Return the score with which each token looks at the position after each, if `previous` wrote there what it was.

    head, previous   (block, head) of the induction head and of the previous-token head, of an earlier block
    tokens           (S,) ids
    distances        from key to query, over which to average; of a model without rotary positions they change nothing

    Raises ValueError unless `previous` is in an earlier block.
    """
    check_earlier(head, previous)
    x = embeddings(model, tokens)
    query = queries(model, *head, x)  # (3)
    rotary_positions = model.blocks[head[0]].attention.rotary
    if rotary_positions is not None:
        query = np.mean([turned(rotary_positions, query, distance) for distance in distances], axis=0)  # (5)
    key = keys(model, *head, moved_by_head(model, *previous, x))  # (3)
    return Circuit(query @ key.T / np.sqrt(key.shape[1]))  # (4)


def pointer_circuit(model, head: tuple[int, int], duplicate: tuple[int, int], positions: int) -> Circuit:
    """Return the score with which a token that stood at s before looks at position s + 1, s = 0 … positions − 2.

    head, duplicate   (block, head) of the induction head and of the duplicate-token head, of an earlier block
    positions         T, how many of the table's to take

    Raises ValueError unless `duplicate` is in an earlier block, or if positions are not in the model's stream.
    """
    check_earlier(head, duplicate)
    if model.positional_embedding is None:
        raise ValueError("a pointer needs positions in the stream, and this model turns queries and keys instead")
    P = model.positional_embedding(np.arange(positions))[0].astype(np.float64)
    query, key = queries(model, *head, moved_by_head(model, *duplicate, P)), keys(model, *head, P)  # (6)
    return Circuit(query[:-1] @ key[1:].T / np.sqrt(key.shape[1]))


def check_earlier(head, other) -> None:
    """Raise ValueError unless `other` is in a block before that of `head`."""
    if not other[0] < head[0]:
        raise ValueError(
            f"head {head_name(head)} reads what earlier blocks wrote, and {head_name(other)} is in none of them"
        )


def queries(model, block: int, head: int, x):
    """Return the queries (S, D) that a head makes of a stream x (S, C), before any rotation."""
    attention = model.blocks[block].attention
    return x @ folded_norm(model.blocks[block].norm1) @ columns(attention.w_q, attention.d_head, head)


def keys(model, block: int, head: int, x):
    """Return the keys (S, D) that a head makes of a stream x (S, C), before any rotation."""
    attention = model.blocks[block].attention
    key_head = head // group_size(model)
    return x @ folded_norm(model.blocks[block].norm1) @ columns(attention.w_k, attention.d_head, key_head)


def moved_by_head(model, block: int, head: int, x):
    """Return what a head adds to the stream (S, C) where it attends to one position alone, of stream x (S, C)."""
    attention = model.blocks[block].attention
    W_v = columns(attention.w_v, attention.d_head, head // group_size(model))
    W_o = attention.w_o.weight.data[head * attention.d_head : (head + 1) * attention.d_head]
    return x @ folded_norm(model.blocks[block].norm1) @ W_v @ W_o.astype(np.float64)


def folded_norm(norm):
    """Return A (C, C), the linear part of a norm."""
    gamma = norm.gamma.data.astype(np.float64)
    centring = np.eye(len(gamma)) - 1 / len(gamma) if isinstance(norm, LayerNorm) else np.eye(len(gamma))
    return centring * gamma  # (1)


def embeddings(model, tokens):
    """Return E (S, C) in float64."""
    return model.embedding.weight.data[tokens].astype(np.float64)


def columns(linear, d_head: int, head: int):
    """Return the columns (C, D) of a Linear's weight that make one head's queries, keys or values, in float64."""
    return linear.weight.data[:, head * d_head : (head + 1) * d_head].astype(np.float64)


def turned(turn, x, distance: int):
    """Return x (S, D), each row turned as a query `distance` positions after the key."""
    positions = np.full(len(x), distance)
    return apply(rotary, x, positions=positions, base=turn.base, layout=turn.layout, scaling=turn.scaling)[0]


def group_size(model) -> int:
    """Return how many query heads share a key–value head."""
    return model.config.n_heads // model.config.kv_heads


def head_name(head: tuple[int, int]) -> str:
    """Return what people call a head: 1.3 is head 3, of 0, 1, 2, 3 …, in blocks.1."""
    return f"{head[0]}.{head[1]}"
