"""Attention: other orders of the same sums, and invariances."""

import numpy as np

from gradcheck.identities.identity import same_as


def softmax(x):
    e = np.exp(x)
    return e / e.sum(axis=-1, keepdims=True)


def attention(q, k, v):
    return softmax(q @ k.T) @ v


@same_as(attention, (2, 3), (4, 3), (4, 2), near_miss=("total = total * shrink", "total = total"))
def attention_in_blocks(q, k, v):
    """Attention over blocks of keys, with an online softmax, is attention (Dao et al., 2022).

    softmax(q kᵀ) v = y / total after the last block

    Near miss: the sum over the earlier blocks is not rescaled to the new maximum.
    """
    m, total, y = np.full((len(q), 1), -np.inf), 0, 0
    for block in (slice(0, 2), slice(2, 4)):
        scores = q @ k[block].T
        larger = np.maximum(m, scores.max(axis=-1, keepdims=True))
        shrink, e = np.exp(m - larger), np.exp(scores - larger)
        total = total * shrink + e.sum(axis=-1, keepdims=True)
        y = y * shrink + e @ v[block]
        m = larger
    return y / total


def causal_attention(q, k, v):
    mask = np.tri(len(q), dtype=bool)
    return softmax(np.where(mask, q @ k.T, -np.inf)) @ v


@same_as(causal_attention, (3, 2), (3, 2), (3, 2), near_miss=("t + 1", "t + 2"))
def decoding_with_a_cache(q, k, v):
    """Decoding with a cache of keys and values is the full pass with a causal mask.

    y_t = softmax(q_t k_{≤t}ᵀ) v_{≤t}

    Near miss: the cache already holds the next key and its value.
    """
    pasts = [slice(0, t + 1) for t in range(len(q))]
    return np.stack([softmax(q[t] @ k[past].T) @ v[past] for t, past in enumerate(pasts)])


def attention_in_a_band(q, k, v):
    distance = np.arange(len(q))[:, None] - np.arange(len(k))
    return softmax(np.where((distance >= 0) & (distance < 2), q @ k.T, -np.inf)) @ v


@same_as(attention_in_a_band, (4, 2), (4, 2), (4, 2), near_miss=("t - 1", "t - 2"))
def attention_in_a_window(q, k, v):
    """Attention in a sliding window is attention with a banded mask (Beltagy et al., 2020).

    y_t = softmax(q_t k_{t−1..t}ᵀ) v_{t−1..t}

    Near miss: the window holds three keys.
    """
    windows = [slice(max(t - 1, 0), t + 1) for t in range(len(q))]
    return np.stack([softmax(q[t] @ k[window].T) @ v[window] for t, window in enumerate(windows)])


def attention_with_repeated_keys(q, k, v):
    k, v = np.repeat(k, 2, axis=0), np.repeat(v, 2, axis=0)
    return softmax(q @ k.swapaxes(-1, -2)) @ v


@same_as(attention_with_repeated_keys, (4, 2, 3), (2, 3, 3), (2, 3, 2), near_miss=("k[:, None]", "k"))
def grouped_attention(q, k, v):
    """Grouped heads are heads whose keys and values are repeated (Ainslie et al., 2023).

    The query heads 2j and 2j + 1 read the key–value head j.

    Near miss: the query heads j and j + 2 read the key–value head j.
    """
    groups = q.reshape(2, 2, *q.shape[1:])
    return (softmax(groups @ k[:, None].swapaxes(-1, -2)) @ v[:, None]).reshape(4, q.shape[1], -1)


def attention_from_a_latent(q, c, w_k, w_v):
    return softmax(q @ (c @ w_k).T) @ (c @ w_v)


@same_as(attention_from_a_latent, (2, 3), (4, 2), (2, 3), (2, 3), near_miss=("q @ w_k.T", "q @ w_v.T"))
def attention_on_the_latent(q, c, w_k, w_v):
    """Latent attention needs no keys: their matrix is absorbed by the queries (DeepSeek-AI, 2024).

    softmax(q (c W_k)ᵀ) c W_v = (softmax((q W_kᵀ) cᵀ) c) W_v

    Near miss: the queries absorb the matrix of the values.
    """
    return softmax((q @ w_k.T) @ c.T) @ c @ w_v


def rotated(x, angle):
    c, s = np.cos(angle), np.sin(angle)
    return np.stack([c * x[0] - s * x[1], s * x[0] + c * x[1]])


def rotary_score(q, k, m, n, shift):
    return rotated(q, m) @ rotated(k, n)


@same_as(rotary_score, (2,), (2,), (), (), (), near_miss=("rotated(k, n + shift)", "rotated(k, n - shift)"))
def rotary_score_of_moved_positions(q, k, m, n, shift):
    """Rotary scores depend on the difference of the positions (Su et al., 2021).

    ⟨R(m) q, R(n) k⟩ = ⟨R(m + s) q, R(n + s) k⟩

    Near miss: the key moves backward.
    """
    return rotated(q, m + shift) @ rotated(k, n + shift)


def attention_without_bias(q, k, v, b):
    return attention(q, k, v)


@same_as(attention_without_bias, (2, 3), (4, 3), (4, 2), (3,), near_miss=("k + b, v", "k + b, v + b[0]"))
def attention_with_biased_keys(q, k, v, b):
    """A bias of all keys changes nothing.

    softmax(q (k + b)ᵀ) v = softmax(q kᵀ) v, because q bᵀ is the same for every key

    Near miss: the values have a bias, too.
    """
    return attention(q, k + b, v)


def attention_with_a_sink(q, k, v, sink):
    e = np.exp(q @ k.T)
    return e @ v / (e.sum(axis=-1, keepdims=True) + np.exp(sink))


@same_as(attention_with_a_sink, (2, 3), (4, 3), (4, 2), (), near_miss=("np.zeros((1, 2))", "v[:1]"))
def attention_with_another_key(q, k, v, sink):
    """A sink is another key, with the value 0 (Xiao et al., 2023).

    y = Σ exp(q kᵀ) v / (exp(sink) + Σ exp(q kᵀ))

    Near miss: the key has the value of the first position.
    """
    scores = np.concatenate([q @ k.T, sink * np.ones((2, 1))], axis=-1)
    return softmax(scores) @ np.concatenate([v, np.zeros((1, 2))])


@same_as(attention, (2, 3), (4, 3), (4, 2), near_miss=("v[order]", "v"))
def attention_on_a_permutation(q, k, v):
    """Without positions, the order of the keys has no influence (Vaswani et al., 2017).

    softmax(q (P k)ᵀ) P v = softmax(q kᵀ) v for each permutation P

    Near miss: the values are not permuted.
    """
    order = [2, 0, 3, 1]
    return attention(q, k[order], v[order])
