"""Attention and rotary positions: axes and groups of equal size, inactive masks."""

import numpy as np

from gradcheck.museum.exhibit import at, check_numerically, check_shapes, missed, right

KEEP = np.array([[2.0, 0, 0, 2], [2, 2, 0, 0], [0, 2, 0, 2]])
ONES = np.ones((3, 4))
EMPTY_ROW = np.array([[True, False, True, False], [False] * 4, [True, True, True, False]])


@right((3, 4), (5, 4), (5, 2), mask=np.tri(3, 5, 2) > 0, keep=np.ones((3, 5)))
@at("attention-dropout", (3, 2), (4, 2), (4, 5), mask=ONES > 0, keep=KEEP)
@at("attention-empty-row", (3, 2), (4, 2), (4, 2), mask=EMPTY_ROW, keep=ONES)
@missed(
    "attention-dropout", check_numerically, (3, 2), (4, 2), (4, 5), mask=np.ones((3, 4), bool), keep=np.ones((3, 4))
)
@missed("attention-empty-row", check_numerically, (4, 2), (4, 2), (4, 3), mask=np.tri(4) > 0, keep=np.ones((4, 4)))
def attention(q, k, v, *, mask, keep):
    """attention-dropout: aws-neuron/nki-samples, pull request 81
        p, dweights = dropped, dy @ v.T
    An attention whose backward pass omits the dropout. Dropout is applied to the weights in the forward pass, but not
    in the backward pass. The softmax is differentiated at the weights after dropout, and the gradient that enters it is
    not multiplied by the mask.
    Missed: Dropout is off, so that numbers can be compared. The two versions are then the same.

    attention-empty-row: pytorch/pytorch, issue 41508
        weights = e / e.sum(axis=-1, keepdims=True)
    A query that may attend to nothing. All of its scores are −∞, and its softmax is 0 / 0. The output of this query is
    discarded, but its gradient is not: 0 · NaN is NaN. Since all queries share the keys and values, one such query
    makes all gradients of the keys and values NaN.
    Missed: Under a causal mask alone every query attends to at least its own position. Rows become empty when a second
    mask, for padding or a window, is combined with the first.

    attention-always-causal: triton-lang/triton, issue 4541; triton-lang/triton, issue 4174
        p, dweights = np.tril(weights), dy @ v.T * keep
    The backward pass ignores the option `causal` and always masks. The test covered only causal attention.

    attention-mask-corner: xlite-dev/ffpa-attn, pull request 300
        p, dweights = np.where(np.tri(len(q), len(k)), weights, 0.0), dy @ v.T
    The forward pass aligns the causal mask at the last position, the backward pass at the first. The mistake has no
    effect with as many queries as keys.
    """
    scale = q.shape[-1] ** -0.5
    masked = np.where(mask, q @ k.T * scale, -np.inf)
    e = np.exp(masked - np.maximum(masked.max(axis=-1, keepdims=True), -1e300))
    weights = e / np.maximum(e.sum(axis=-1, keepdims=True), 1e-300)
    dropped = weights * keep
    y = np.where(mask.any(axis=-1, keepdims=True), dropped @ v, 0.0)

    def backward(dy):
        dy = np.where(mask.any(axis=-1, keepdims=True), dy, 0.0)
        p, dweights = weights, dy @ v.T * keep
        dscores = scale * p * (dweights - (dweights * p).sum(axis=-1, keepdims=True))
        return dscores @ k, dscores.T @ q, dropped.T @ dy

    return y, backward


@right((6, 4, 5), (3, 4, 5))
@at("attention-of-equal-groups", (4, 3, 5), (2, 3, 5))
@missed("attention-grouped", check_numerically, (4, 3, 5), (2, 3, 5))
def grouped_scores(q, k):
    """attention-grouped: XunhaoLai/native-sparse-attention-triton, issue 27
        target = np.arange(n_heads) % (n_heads // n_kv_heads)
    Grouped heads divided by the wrong count. The groups are interleaved: query head h reads key head h mod K. The
    backward pass uses h mod G, with the group size G. Only the scores of the attention are computed: q (H, T, D) times
    k (K, T, D), with H = K G.
    Missed: In the test, four query heads share two key heads, so K = G = 2, and exchanging K and G has no effect.
    """
    n_heads, n_kv_heads = len(q), len(k)
    kv_head = np.arange(n_heads) % n_kv_heads
    scores = q @ k[kv_head].swapaxes(1, 2)

    def backward(dscores):
        dk = np.zeros_like(k)
        target = kv_head
        np.add.at(dk, target, dscores.swapaxes(1, 2) @ q)
        return dscores @ k[kv_head], dk

    return scores, backward


@right((4, 4, 3), (4, 4, 3))
@missed("attention-transposed", check_shapes, (4, 4, 3), (4, 4, 3))
def scores_of_heads(q, k):
    """attention-transposed: huggingface/diffusers, issue 14338; huggingface/diffusers, pull request 14341
        saved = k_heads.swapaxes(0, 1)
    Keys transposed twice. The forward pass transposes (T, H, D) to (H, T, D) and saves the result. The backward pass
    transposes k once more. If there are as many heads as positions, the shapes fit, but the heads and the positions of
    k are exchanged.
    Missed: The gradients had the right shapes and were finite. The code was used for inference. The report that found
    it used 16 heads and 16 positions, for which the mistake does not cause a wrong shape.
    """
    q_heads, k_heads = q.swapaxes(0, 1), k.swapaxes(0, 1)
    scores = q_heads @ k_heads.swapaxes(1, 2)

    def backward(dscores):
        saved = k_heads
        dq = dscores @ saved
        dk = dscores.swapaxes(1, 2) @ q_heads
        return dq.swapaxes(0, 1), dk.swapaxes(0, 1)

    return scores, backward


@right((2, 5), (3, 5), (3, 5))
@at("attention-ring-of-one", (2, 5), (3, 5))
@missed("attention-ring", check_numerically, (2, 5), (3, 5))
def ring_scores(q, *chunks):
    """attention-ring: huggingface/diffusers, issue 14265
        for part, chunk in zip(parts, chunks, strict=True):
            dq += part @ chunks[0]
    Only the first chunk is read. The keys arrive in chunks, one per iteration of a loop. The backward pass reads only
    the first chunk. The values that a backward pass captures must still exist when it runs. A name that is bound again
    in each iteration, or a buffer that is overwritten, has other values by then.
    Missed: On a single device the ring has one step, and the first chunk is the only one.
    """
    y = np.concatenate([q @ chunk.T for chunk in chunks], axis=1)

    def backward(dy):
        parts = np.split(dy, np.cumsum([len(chunk) for chunk in chunks])[:-1], axis=1)
        dq = np.zeros_like(q)
        for part, chunk in zip(parts, chunks, strict=True):
            dq += part @ chunk
        return dq, *(part.T @ q for part in parts)

    return y, backward


def rotate_half(x):
    """Swap the halves of the last axis and negate the new first half."""
    first, second = np.split(x, 2, axis=-1)
    return np.concatenate([-second, first], axis=-1)


def with_both_halves_alike(rotary):
    angle = np.random.default_rng(0).normal(size=(3, 2))
    cos, sin = np.tile(np.cos(angle), 2), np.tile(np.sin(angle), 2)
    check_numerically(rotary, (3, 4), cos=cos, sin=sin)


@right((3, 4), cos=(3, 4), sin=(3, 4))
@missed("rotary", with_both_halves_alike)
def rotary(x, *, cos, sin):
    """rotary: PaddlePaddle/Paddle, pull request 74716
        return dy * cos - rotate_half(dy) * sin
    A rotation and a product in the wrong order. The function is y = x cos + rotate(x) sin, where rotate replaces each
    pair (a, b) by (−b, a). The backward pass rotates dy first and then multiplies by sin; the order must be reversed.
    The transpose of "rotate, then multiply" is "multiply, then rotate back".
    Missed: In the test both halves of the table of sines are equal, as in a true rotation, and the order does not
    matter. The operator accepts any table. The corrected test multiplies the second half by 0.1, and fails on the old
    code.
    """
    y = x * cos + rotate_half(x) * sin

    def backward(dy):
        return dy * cos - rotate_half(dy * sin)

    return y, backward
