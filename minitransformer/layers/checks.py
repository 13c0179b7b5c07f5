"""The checks of arguments, one function for each function of the layers and for cross_entropy.

They are here so that a derivation is read without them. Each raises TypeError or ValueError with one line: the function
and the argument, the value found, and the values allowed.
"""

import numpy as np

from minitransformer.layers.modern.checks import check_scaling
from minitransformer.module import require_floating

LAYOUTS = ("half", "interleaved")


def check_choice(name, value, choices):
    """Raise ValueError if `value` is not one of `choices`."""
    if value not in choices:
        raise ValueError(f"unknown {name} {value!r}; choose from {', '.join(choices)}")


def check_linear(x, weight, bias):
    require_floating("linear", x=x, weight=weight, bias=bias)
    features_in, features_out = weight.shape
    if x.ndim == 0 or x.shape[-1] != features_in:
        raise ValueError(
            f"linear: the last axis of x {x.shape} must be {features_in}, the rows of weight {weight.shape}"
        )
    if bias is not None and bias.shape != (features_out,):
        raise ValueError(f"linear: bias must have shape ({features_out},) for weight {weight.shape}, not {bias.shape}")


def check_embedding(ids, weight):
    require_floating("embedding", weight=weight)
    check_ids(ids, len(weight))


def check_ids(ids, vocab_size):
    """Raise TypeError if `ids` is not an integer array, and ValueError if an id is outside 0 … vocab_size − 1."""
    if not isinstance(ids, np.ndarray) or ids.dtype.kind not in "iu":
        kind = f"dtype {ids.dtype}" if isinstance(ids, np.ndarray) else type(ids).__name__
        raise TypeError(f"ids must be an array of integers, not {kind}")
    if ids.size and (ids.min() < 0 or ids.max() >= vocab_size):
        where = tuple(int(i) for i in np.argwhere((ids < 0) | (ids >= vocab_size))[0])
        raise ValueError(
            f"ids must be from 0 to {vocab_size - 1}, the vocabulary, not {ids[where]} (at position {where})"
        )


def check_unembedding(x, weight):
    require_floating("unembedding", x=x, weight=weight)
    width = weight.shape[1]
    if x.ndim == 0 or x.shape[-1] != width:
        raise ValueError(
            f"unembedding: the last axis of x {x.shape} must be {width}, the columns of weight {weight.shape}"
        )


def check_layer_norm(x, gamma, beta):
    require_floating("layer_norm", x=x, gamma=gamma, beta=beta)
    if x.ndim == 0 or gamma.shape != x.shape[-1:] or beta.shape != x.shape[-1:]:
        raise ValueError(
            f"layer_norm: gamma {gamma.shape} and beta {beta.shape} must have one entry per feature of x {x.shape}"
        )
    if not x.shape[-1]:
        raise ValueError(f"layer_norm: x must have at least one feature, not shape {x.shape}")


def check_rms_norm(x, gamma):
    require_floating("rms_norm", x=x, gamma=gamma)
    if x.ndim == 0 or gamma.shape != x.shape[-1:]:
        raise ValueError(f"rms_norm: gamma {gamma.shape} must have one entry per feature of x {x.shape}")
    if not x.shape[-1]:
        raise ValueError(f"rms_norm: x must have at least one feature, not shape {x.shape}")


def check_attention(q, k, v, mask):
    require_floating("attention", q=q, k=k, v=v)
    if min(q.ndim, k.ndim, v.ndim) < 3:
        raise ValueError(f"attention: q {q.shape}, k {k.shape}, v {v.shape} must be (..., heads, positions, channels)")
    if q.shape[-1] != k.shape[-1] or k.shape[:-1] != v.shape[:-1] or q.shape[:-3] != k.shape[:-3]:
        raise ValueError(
            f"attention: q {q.shape}, k {k.shape}, v {v.shape} are inconsistent: q and k must have the same "
            "channels, k and v the same heads and positions, and all three the same leading axes"
        )
    if not k.shape[-2]:
        raise ValueError(f"attention: k must have at least one position, not shape {k.shape}")
    if not q.shape[-3] or not k.shape[-3]:
        raise ValueError(f"attention: q and k must have at least one head each, not shapes {q.shape} and {k.shape}")
    if q.shape[-3] % k.shape[-3]:
        raise ValueError(
            f"attention: the query heads must be a multiple of the {k.shape[-3]} key-value heads, not {q.shape[-3]}"
        )
    if mask is not None:
        check_mask(mask, (*q.shape[:-1], k.shape[-2]))


def check_mask(mask, shape):
    """Raise TypeError if the mask is not boolean, and ValueError if it does not broadcast to `shape`."""
    if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_:
        kind = mask.dtype if isinstance(mask, np.ndarray) else type(mask).__name__
        raise TypeError(f"attention: the mask must be boolean (True = may attend), not {kind}")
    try:
        np.broadcast_to(mask, shape)
    except ValueError:
        raise ValueError(
            f"attention: the mask must broadcast to the scores' shape {shape}, not have shape {mask.shape}"
        ) from None


def check_heads(d_model, n_heads, n_kv_heads, d_head):
    """Raise ValueError if the sizes of a MultiHeadAttention are inconsistent."""
    if min(n_heads, n_kv_heads) < 1:
        raise ValueError(f"the number of heads must be at least 1, not {min(n_heads, n_kv_heads)}")
    if d_head is None and d_model % n_heads:
        raise ValueError(f"n_heads must divide the width of {d_model} unless d_head is given, not be {n_heads}")
    if n_heads % n_kv_heads:
        raise ValueError(f"n_kv_heads must divide the {n_heads} query heads, not be {n_kv_heads}")


def check_rotary(x, positions, layout, scaling):
    require_floating("rotary", x=x)
    if x.ndim < 2:
        raise ValueError(f"rotary: x {x.shape} must be (..., positions, channels)")
    T, D = x.shape[-2:]
    if D % 2:
        raise ValueError(f"rotary positions require an even number of channels per head, not {D}")
    if np.shape(positions) != (T,):
        raise ValueError(f"rotary: positions must have shape ({T},) for x {x.shape}, not {np.shape(positions)}")
    check_choice("rotary layout", layout, LAYOUTS)
    check_scaling(scaling)


def check_even(channels):
    if channels % 2:
        raise ValueError(f"sinusoidal positions require an even number of channels, not {channels}")


def check_gelu(x, approximate):
    require_floating("gelu", x=x)
    if approximate not in ("none", "tanh"):
        raise ValueError(f"gelu: approximate must be 'none' or 'tanh', not {approximate!r}")


def check_dropout(x, keep, p):
    require_floating("dropout", x=x)
    check_probability(p)
    if keep.shape != x.shape or keep.dtype != np.bool_:
        raise ValueError(
            f"dropout: keep must be boolean and have x's shape {x.shape}, not {keep.dtype} and {keep.shape}"
        )


def check_probability(p):
    if not 0 <= p < 1:
        raise ValueError(f"the dropout probability must be at least 0 and less than 1, not {p}")


def check_generator(rng):
    if rng is not None and not isinstance(rng, np.random.Generator):
        raise TypeError(f"rng must be a numpy Generator, such as np.random.default_rng(0), not {rng!r}")


def check_swiglu(g, u):
    require_floating("swiglu", g=g, u=u)
    if g.shape != u.shape:
        raise ValueError(f"swiglu: g {g.shape} and u {u.shape} must have the same shape")


def check_low_rank(x, a, b):
    require_floating("low_rank", x=x, a=a, b=b)
    features_in, rank = a.shape
    if x.ndim == 0 or x.shape[-1] != features_in:
        raise ValueError(f"low_rank: the last axis of x {x.shape} must be {features_in}, the rows of a {a.shape}")
    if b.shape[0] != rank:
        raise ValueError(f"low_rank: the rows of b {b.shape} must be {rank}, the columns of a {a.shape}")


def check_rank(rank, d_in, d_out):
    if not 1 <= rank <= min(d_in, d_out):
        raise ValueError(
            f"LoRA: the rank must be from 1 to {min(d_in, d_out)} for a {d_in} × {d_out} layer, not {rank}"
        )


def check_cross_entropy(logits, targets, weight, ignore_index, label_smoothing, reduction):
    if not isinstance(targets, np.ndarray) or targets.dtype.kind not in "iu":
        kind = f"dtype {targets.dtype}" if isinstance(targets, np.ndarray) else type(targets).__name__
        raise TypeError(f"cross_entropy: targets must be an array of integers, not {kind}")
    require_floating("cross_entropy", logits=logits)
    if logits.ndim == 0 or logits.shape[:-1] != targets.shape:
        raise ValueError(
            f"cross_entropy: targets must have shape {logits.shape[:-1]} for logits {logits.shape}, not {targets.shape}"
        )
    V = logits.shape[-1]
    wrong = (targets != ignore_index) & ((targets < 0) | (targets >= V))
    if wrong.any():
        where = tuple(int(i) for i in np.argwhere(wrong)[0])
        raise ValueError(
            f"cross_entropy: targets must be from 0 to {V - 1}, or {ignore_index} to ignore a position, not "
            f"{targets[where]} (at position {where})"
        )
    if weight is not None and np.shape(weight) != (V,):
        raise ValueError(f"cross_entropy: weight must have shape ({V},), one entry per class, not {np.shape(weight)}")
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"cross_entropy: label_smoothing must be from 0 to 1, not {label_smoothing}")
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"cross_entropy: unknown reduction {reduction!r}; choose from mean, sum, none")
