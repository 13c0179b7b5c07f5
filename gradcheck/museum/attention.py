"""Attention and rotary positions: axes of equal length, groups of equal size, masks that are never active."""

import numpy as np

from gradcheck.museum.exhibit import Exhibit, Source, close, numeric_gradient


def attention_dropout(q, k, v, *, keep, wrong):
    """Dropout is applied to the weights in forward, but forgotten in backward.

    The softmax is differentiated at the weights after dropout, and the gradient that enters it is not multiplied by the
    mask.
    """
    scale = q.shape[-1] ** -0.5
    scores = q @ k.T * scale
    e = np.exp(scores - scores.max(axis=-1, keepdims=True))
    weights = e / e.sum(axis=-1, keepdims=True)
    dropped = weights * keep

    def backward(dy):
        if wrong:
            p, dweights = dropped, dy @ v.T
        else:
            p, dweights = weights, dy @ v.T * keep
        dscores = scale * p * (dweights - (dweights * p).sum(axis=-1, keepdims=True))
        return dscores @ k, dscores.T @ q, dropped.T @ dy

    return dropped @ v, backward


def without_dropout(attention):
    """Dropout is off, so that numbers can be compared. The two versions are then the same."""
    rng = np.random.default_rng(0)
    q, k, v = rng.normal(size=(3, 2)), rng.normal(size=(4, 2)), rng.normal(size=(4, 5))
    keep, dy = np.ones((3, 4)), rng.normal(size=(3, 5))
    dq, dk, _ = attention(q, k, v, keep=keep)[1](dy)
    close(dq, numeric_gradient(lambda q: (dy * attention(q, k, v, keep=keep)[0]).sum(), q))
    close(dk, numeric_gradient(lambda k: (dy * attention(q, k, v, keep=keep)[0]).sum(), k))


def attention_empty_row(scores, v, *, mask, wrong):
    """A query that may attend to no key has a row of −∞, whose softmax is 0 / 0.

    The output of that row is discarded, but its gradient is not: 0 · NaN is NaN. Since all queries share the keys and
    values, one empty row makes all of their gradients NaN.
    """
    with np.errstate(invalid="ignore"):
        masked = np.where(mask, scores, -np.inf)
        top = np.maximum(masked.max(axis=-1, keepdims=True), -1e300)
        e = np.exp(masked - top)
        if wrong:
            weights = e / e.sum(axis=-1, keepdims=True)
        else:
            weights = e / np.maximum(e.sum(axis=-1, keepdims=True), 1e-300)
        y = np.where(mask.any(axis=-1, keepdims=True), weights @ v, 0.0)

    def backward(dy):
        dy = np.where(mask.any(axis=-1, keepdims=True), dy, 0.0)
        dweights = dy @ v.T
        dscores = weights * (dweights - (dweights * weights).sum(axis=-1, keepdims=True))
        return dscores, weights.T @ dy

    return y, backward


def under_a_causal_mask(head):
    """Under a causal mask alone every query attends to at least its own position.

    Rows become empty when a second mask, for padding or a window, is combined with the first.
    """
    rng = np.random.default_rng(0)
    scores, v, dy = rng.normal(size=(4, 4)), rng.normal(size=(4, 3)), rng.normal(size=(4, 3))
    mask = np.tri(4) > 0
    dscores, dv = head(scores, v, mask=mask)[1](dy)
    close(dscores, numeric_gradient(lambda s: (dy * head(s, v, mask=mask)[0]).sum(), scores))
    close(dv, numeric_gradient(lambda v: (dy * head(scores, v, mask=mask)[0]).sum(), v))


def attention_grouped(q, k, *, wrong):
    """Interleaved head groups: query head h reads key head h mod K. Backward uses h mod G, with the group size G.

    The scores stand for the whole attention: q (H, T, D) times k (K, T, D), with H = K G.
    """
    n_heads, n_kv_heads = len(q), len(k)
    group = n_heads // n_kv_heads
    kv_head = np.arange(n_heads) % n_kv_heads
    scores = q @ k[kv_head].swapaxes(1, 2)

    def backward(dscores):
        dk = np.zeros_like(k)
        if wrong:
            target = np.arange(n_heads) % group
        else:
            target = kv_head
        np.add.at(dk, target, dscores.swapaxes(1, 2) @ q)
        return dscores @ k[kv_head], dk

    return scores, backward


def with_as_many_groups_as_heads_in_each(attention):
    """In the test, four query heads share two key heads, so K = G = 2, and exchanging K and G has no effect."""
    rng = np.random.default_rng(0)
    q, k = rng.normal(size=(4, 3, 5)), rng.normal(size=(2, 3, 5))
    dy = rng.normal(size=(4, 3, 3))
    _, dk = attention(q, k)[1](dy)
    close(dk, numeric_gradient(lambda k: (dy * attention(q, k)[0]).sum(), k))


def attention_transposed_twice(q, k, *, wrong):
    """Forward transposes (T, H, D) to (H, T, D) and saves the result. Backward transposes k once more.

    If there are as many heads as positions, the shapes fit, but the heads and the positions of k are exchanged.
    """
    q_heads, k_heads = q.swapaxes(0, 1), k.swapaxes(0, 1)
    scores = q_heads @ k_heads.swapaxes(1, 2)

    def backward(dscores):
        if wrong:
            saved = k_heads.swapaxes(0, 1)
        else:
            saved = k_heads
        dq = dscores @ saved
        dk = dscores.swapaxes(1, 2) @ q_heads
        return dq.swapaxes(0, 1), dk.swapaxes(0, 1)

    return scores, backward


def shapes_and_finiteness(attention):
    """The backward pass ran, its shapes were right and its values finite, in code that was used for inference.

    The report that found it used 16 heads and 16 positions, for which the mistake does not cause a wrong shape.
    """
    rng = np.random.default_rng(0)
    q, k = rng.normal(size=(4, 4, 3)), rng.normal(size=(4, 4, 3))
    scores, backward = attention(q, k)
    for gradient, x in zip(backward(np.ones_like(scores)), (q, k), strict=True):
        assert gradient.shape == x.shape and np.isfinite(gradient).all()


def ring_attention_stale(q, *chunks, wrong):
    """The keys arrive in chunks, one per iteration of a loop. Backward reads only the first chunk.

    The values that a backward pass captures must still exist when it runs. A name that is bound again in each
    iteration, or a buffer that is overwritten, has other values by then.
    """
    y = np.concatenate([q @ chunk.T for chunk in chunks], axis=1)

    def backward(dy):
        parts = np.split(dy, np.cumsum([len(chunk) for chunk in chunks])[:-1], axis=1)
        dq = np.zeros_like(q)
        for part, chunk in zip(parts, chunks, strict=True):
            if wrong:
                dq += part @ chunks[0]
            else:
                dq += part @ chunk
        return dq, *(part.T @ q for part in parts)

    return y, backward


def on_one_device(ring_attention):
    """On a single device the ring has one step, and the first chunk is the only one."""
    rng = np.random.default_rng(0)
    q, chunk, dy = rng.normal(size=(2, 5)), rng.normal(size=(3, 5)), rng.normal(size=(2, 3))
    dq, _ = ring_attention(q, chunk)[1](dy)
    close(dq, numeric_gradient(lambda q: (dy * ring_attention(q, chunk)[0]).sum(), q))


def rotate_half(x):
    """Exchange the halves of the last axis, and negate the second one."""
    first, second = np.split(x, 2, axis=-1)
    return np.concatenate([-second, first], axis=-1)


def rotary(x, *, cos, sin, wrong):
    """y = x cos + rotate(x) sin. Backward rotates dy first and then multiplies by sin; the order must be reversed.

    The transpose of "rotate, then multiply" is "multiply, then rotate back".
    """
    y = x * cos + rotate_half(x) * sin

    def backward(dy):
        if wrong:
            dx = dy * cos - rotate_half(dy) * sin
        else:
            dx = dy * cos - rotate_half(dy * sin)
        return dx

    return y, backward


def with_both_halves_alike(rotary):
    """In the test both halves of the table of sines are equal, as in a true rotation, and the order does not matter.

    The operator accepts any table. The corrected test multiplies the second half by 0.1, and fails on the old code.
    """
    rng = np.random.default_rng(0)
    angle = rng.normal(size=(3, 2))
    cos, sin = np.tile(np.cos(angle), 2), np.tile(np.sin(angle), 2)
    x, dy = rng.normal(size=(3, 4)), rng.normal(size=(3, 4))
    dx = rotary(x, cos=cos, sin=sin)[1](dy)
    close(dx, numeric_gradient(lambda x: (dy * rotary(x, cos=cos, sin=sin)[0]).sum(), x))


EXHIBITS = [
    Exhibit(
        "attention-dropout",
        "An attention that forgets its dropout on the way back",
        (Source("aws-neuron/nki-samples", "pull request", 81),),
        attention_dropout,
        without_dropout,
        lambda rng: (
            (rng.normal(size=(3, 2)), rng.normal(size=(4, 2)), rng.normal(size=(4, 5))),
            {"keep": rng.permuted(np.tile([2.0, 0.0, 2.0, 0.0], (3, 1)), axis=1)},
        ),
    ),
    Exhibit(
        "attention-empty-row",
        "A row that may attend to nothing",
        (Source("pytorch/pytorch", "issue", 41508),),
        attention_empty_row,
        under_a_causal_mask,
        lambda rng: (
            (rng.normal(size=(3, 4)), rng.normal(size=(4, 2))),
            {"mask": np.array([[True, False, True, False], [False] * 4, [True, True, True, False]])},
        ),
    ),
    Exhibit(
        "attention-grouped",
        "Grouped heads, divided by the wrong count",
        (Source("XunhaoLai/native-sparse-attention-triton", "issue", 27),),
        attention_grouped,
        with_as_many_groups_as_heads_in_each,
        lambda rng: ((rng.normal(size=(6, 4, 5)), rng.normal(size=(3, 4, 5))), {}),
    ),
    Exhibit(
        "attention-transposed",
        "Keys transposed twice",
        (Source("huggingface/diffusers", "issue", 14338), Source("huggingface/diffusers", "pull request", 14341)),
        attention_transposed_twice,
        shapes_and_finiteness,
        lambda rng: ((rng.normal(size=(4, 4, 3)), rng.normal(size=(4, 4, 3))), {}),
    ),
    Exhibit(
        "attention-ring",
        "The chunk that was saved first",
        (Source("huggingface/diffusers", "issue", 14265),),
        ring_attention_stale,
        on_one_device,
        lambda rng: ((rng.normal(size=(2, 5)), rng.normal(size=(3, 5)), rng.normal(size=(3, 5))), {}),
    ),
    Exhibit(
        "rotary",
        "Rotate, then multiply",
        (Source("PaddlePaddle/Paddle", "pull request", 74716),),
        rotary,
        with_both_halves_alike,
        lambda rng: ((rng.normal(size=(3, 4)),), {"cos": rng.normal(size=(3, 4)), "sin": rng.normal(size=(3, 4))}),
    ),
]
