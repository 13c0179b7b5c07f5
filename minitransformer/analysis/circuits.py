"""The QK and OV circuits of an induction head, computed from the weights alone (Elhage et al., 2021).

W_q and W_k determine the position that a head attends to, and they enter only as a product. W_v and W_o determine the
vector that it copies from there, and they also enter only as a product. Each product is a matrix between tokens, which
shows the head's effect for all tokens of the vocabulary at once, without running the model.

Let E (S, C) be the embeddings of S tokens and U (S, C) their rows of the unembedding. A norm of the stream x is
N(x) = r(x) · (x A) + β, with A a fixed matrix: the gain γ, and for layer normalization the centring,

    A = (I − 1/C) diag(γ)      RMS norm: A = diag(γ)          (1)

and r(x) > 0 one number for each position. We fold A into the weights and omit r(x) and the biases. Below, A belongs to
the first norm of the head's block, A_p to the first norm of head p's block, and A_f to the final norm.

**OV: the effect of attending to a token.** If head h attends to a position whose stream is only the embedding of a
token, it maps that embedding through W_v and W_o to the end of the stream, where the unembedding maps it to logits:

    OV = E A W_v^h W_o^h A_f Uᵀ                     (2)

Entry [a, b] is the effect of attending to token a on the logit of token b. A head that copies has its largest entries
on the diagonal.

**QK: the position that the head attends to.** An induction head at token a looks for the position after an earlier a.
For this it uses the output of a head p in an earlier block. Two mechanisms are known.

*Through the previous token* (K-composition). A previous-token head p copies the token before a position into its
stream, through W_v and W_o. The key at that position then matches the query of that token:

    query of a = E A W_q^h      key of "after b" = (E A_p W_v^p W_o^p) A W_k^h          (3)
    QK = query keyᵀ / √D                            (4)

Entry [a, b] is the score with which a query at token a attends to a position after token b. With rotary positions, the
product depends on the distance between query and key. The mean over several distances δ is

    rotated query of a = the mean over δ of R_δ (E A W_q^h)         (5)

with the key at position 0.

*Through a pointer* (Q-composition). This requires a model that adds positional embeddings P (T, C) to the stream. A
duplicate-token head p attends to the earlier a, at position s, and copies its positional embedding P_s. From it the
induction head computes a query for position s + 1:

    query of "a was at s" = (P A_p W_v^p W_o^p) A W_q^h      key of k = P A W_k^h       (6)

Their product, divided by √D, has one row for each s and one column for each k ≥ 1. Entry [s, s] is therefore the score
with which a token that also occurred at position s attends to position s + 1. Another head may use the same pointer to
attend to s − 1.

**Scores.** Three scores measure how much such a matrix M (S, S) maps each token to itself. The first is the fraction of
rows whose largest entry is on the diagonal, 1/S by chance. The second is the copying score of Elhage et al. over the
eigenvalues λ of M,

    Σ λ / Σ |λ|                                     (7)

which is 1 for a positive multiple of the identity, −1 for a negative one, and about 0 by chance. The third is the
contrast of the diagonal: its mean minus the mean of all other entries. Only the third depends on the scale of M, so it
can compare the strength of two heads.

Limits. The factor r(x) is omitted. In OV it scales each row, which does not change the order of its entries. In QK it
scales each *column*, which may change the order within a row. A circuit shows one possible path of many. Whether the
head uses it is shown only by ablating it (see experiments/patterns/).
"""

from dataclasses import dataclass

import numpy as np

from minitransformer.layers.layer_norm import LayerNorm
from minitransformer.layers.multi_head_attention import MultiHeadAttention
from minitransformer.layers.positions import Rotary, rotary
from minitransformer.module import apply


@dataclass(frozen=True)
class Circuit:
    """A matrix (S, S), float64, between tokens or positions. Equations (2), (4) and (6) define its entries."""

    matrix: np.ndarray

    @property
    def on_diagonal(self) -> float:
        """Return the fraction of rows whose largest entry is on the diagonal."""
        return float(np.mean(self.matrix.argmax(axis=1) == np.arange(len(self.matrix))))

    @property
    def eigenvalue_score(self) -> float:
        """Return Σ λ / Σ |λ| over the eigenvalues, or 0 if all of them are zero."""
        eigenvalues = np.linalg.eigvals(self.matrix)
        total = np.abs(eigenvalues).sum()
        return float(eigenvalues.real.sum() / total) if total > 0 else 0.0  # (7)

    @property
    def contrast(self) -> float:
        """Return the mean of the diagonal minus the mean of all other entries."""
        n = len(self.matrix)
        diagonal = np.trace(self.matrix)
        return float(diagonal / n - (self.matrix.sum() - diagonal) / (n * n - n))

    def to_dict(self) -> dict:
        return {name: getattr(self, name) for name in ("on_diagonal", "eigenvalue_score", "contrast")}


def ov_circuit(model, block: int, head: int, tokens) -> Circuit:
    """Return the OV circuit (2) of a head, which is its effect on the logits of `tokens` (S,)."""
    written = copied_by_head(model, block, head, embeddings(model, tokens))
    unembedding = model.lm_head.weight.data[tokens].astype(np.float64)
    return Circuit(written @ folded_norm(model.ln_final) @ unembedding.T)  # (2)


def qk_circuit(model, head: tuple[int, int], previous: tuple[int, int], tokens, distances=(0,)) -> Circuit:
    """Return the QK circuit (4) between `tokens` (S,) and the positions after them.

    head, previous   (block, head) of the induction head and of the previous-token head
    distances        distances from key to query, over which the mean is taken (only with rotary positions)

    Raises ValueError if `previous` is not in an earlier block.
    """
    check_earlier(head, previous)
    x = embeddings(model, tokens)
    query = projected(model, *head, "w_q", x)  # (3)
    rotary_positions = model.blocks[head[0]].attention.rotary
    if type(rotary_positions) not in (Rotary, type(None)):
        raise ValueError("qk_circuit: rotary positions must rotate all channels, not a rotary_fraction of them")
    if rotary_positions is not None:
        query = np.mean([turned(rotary_positions, query, distance) for distance in distances], axis=0)  # (5)
    key = projected(model, *head, "w_k", copied_by_head(model, *previous, x))  # (3)
    return Circuit(query @ key.T / np.sqrt(key.shape[1]))  # (4)


def pointer_circuit(model, head: tuple[int, int], duplicate: tuple[int, int], positions: int) -> Circuit:
    """Return the pointer circuit (6) for the positions s = 0 … positions − 2.

    head, duplicate   (block, head) of the induction head and of the duplicate-token head
    positions         T, the number of positional embeddings to use

    Raises ValueError if `duplicate` is not in an earlier block, or if the model uses rotary positions.
    """
    check_earlier(head, duplicate)
    if model.positional_embedding is None:
        raise ValueError("pointer_circuit: the model must have learned or sinusoidal positions, not rotary positions")
    P = model.positional_embedding(np.arange(positions))[0].astype(np.float64)
    query = projected(model, *head, "w_q", copied_by_head(model, *duplicate, P))  # (6)
    key = projected(model, *head, "w_k", P)  # (6)
    return Circuit(query[:-1] @ key[1:].T / np.sqrt(key.shape[1]))


def check_earlier(head, other) -> None:
    if not other[0] < head[0]:
        raise ValueError(f"head {head_name(other)} must be in an earlier block than head {head_name(head)}")


def projected(model, block: int, head: int, part: str, x):
    """Project a stream x (S, C) to a head's "w_q", "w_k" or "w_v" (S, D), without rotary positions."""
    attention, config = model.blocks[block].attention, model.config
    is_plain = type(attention) is MultiHeadAttention and attention.q_norm is None and config.block == "pre_norm"
    if not is_plain:
        raise ValueError("circuits require plain attention behind a norm, without qk_norm, sinks, a cap or other mixer")
    index = head if part == "w_q" else head // (config.n_heads // config.kv_heads)
    columns = slice(index * attention.d_head, (index + 1) * attention.d_head)
    weight = getattr(attention, part).weight.data[:, columns].astype(np.float64)
    return x @ folded_norm(model.blocks[block].norm1) @ weight


def copied_by_head(model, block: int, head: int, x):
    """Return the vectors (S, C) that a head copies from each position of the stream x (S, C), through W_v and W_o."""
    attention = model.blocks[block].attention
    W_o = attention.w_o.weight.data[head * attention.d_head : (head + 1) * attention.d_head]
    return projected(model, block, head, "w_v", x) @ W_o.astype(np.float64)


def folded_norm(norm):
    """Return A (C, C), the linear part of a norm."""
    gamma = norm.gamma.data.astype(np.float64)
    centring = np.eye(len(gamma)) - 1 / len(gamma) if isinstance(norm, LayerNorm) else np.eye(len(gamma))
    return centring * gamma  # (1)


def embeddings(model, tokens):
    return model.embedding.weight.data[tokens].astype(np.float64)


def turned(turn, x, distance: int):
    """Rotate queries x (S, D) as if each were `distance` positions after its key."""
    positions = np.full(len(x), distance)
    return apply(rotary, x, positions=positions, base=turn.base, layout=turn.layout, scaling=turn.scaling)[0]


def head_name(head: tuple[int, int]) -> str:
    return f"{head[0]}.{head[1]}"
