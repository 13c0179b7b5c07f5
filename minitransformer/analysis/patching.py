"""Activation patching: find the activations that carry the difference between two prompts.

The method is that of Vig et al. (2020) and Meng et al. (2022). A clean and a corrupted prompt have the same number of
tokens and differ only in the tokens under study, such as "The nurse said that she" and "The king said that he". The
model reads the corrupted prompt while one activation is replaced with its value on the clean prompt. This replacement
is a patch. The more the patch restores the clean answer, the more of the difference the activation carries. With a
metric m of the logits that has the value m_* under the patch, the normalised effect is

    effect = (m_* − m_corrupted) / (m_clean − m_corrupted)            (1)

It is 0 if the patch changes nothing and 1 if it restores the clean prompt's value. The metric is the logit of the clean
prompt's answer minus the logit of the corrupted prompt's answer, after the last token. It is linear in the logits and
does not change if a constant is added to all of them.

**Attribution patching** (Nanda, 2023) estimates all effects at once. For an activation a, to first order,

    m_* − m_corrupted ≈ ∂m/∂a · (a_clean − a_corrupted)               (2)

with the gradient at the corrupted prompt. This costs four forward passes and one backward pass for any number of
activations. The error of (2) is of second order in the size of the patch.

An effect near 1 shows that the patch is sufficient for this pair of prompts. It does not show that the activation is
necessary. Effects need not add up to 1. Information that both prompts share is invisible.
"""

import numpy as np

from minitransformer.analysis.hooks import record, record_gradients, replaced_by
from minitransformer.module import require_floating

PER_HEAD = ("q", "k", "v", "heads", "weights")  # activations of shape (heads, T, ·); all others have shape (T, ·)
TOKENS_AT_ONCE = 1024  # tokens in one forward pass, in which each row has a different patch


def logit_difference(answer: int, other: int):
    """Return the metric logit[answer] − logit[other].

    A metric takes the logits (..., V) after the last token, and returns (values (...), backward).
    """

    def metric(logits):
        require_floating("logit_difference", logits=logits)
        value = logits[..., answer] - logits[..., other]

        def backward(dvalue):
            dlogits = np.zeros_like(logits)
            dlogits[..., answer] = dvalue
            dlogits[..., other] -= dvalue
            return dlogits

        return value, backward

    return metric


def site(name: str, position=None, head=None):
    """Return the index of a position, a head, or both, in the activation `name`.

    position   integer, slice or list (default: all); for the activation `weights`, the position of the query
    head       integer (default: all)

    The index applies to the activation of one sequence. Raises ValueError if `head` is given for an activation without
    heads.
    """
    position = slice(None) if position is None else position
    if name.rpartition(".")[2] in PER_HEAD:
        return (slice(None) if head is None else head, position)
    if head is not None:
        raise ValueError(f"head must be None for {name}, not {head}; only {', '.join(PER_HEAD)} have heads")
    return (position,)


def patch_effects(model, clean, corrupted, patches, metric):
    """Return the effects (1) of P patches as an array (P,). The model is run once for each patch.

    clean, corrupted   ids (T,)
    patches            P dictionaries {name of an activation: index}, with indices as from `site`, or ... for the whole
                       activation; the activations of one dictionary are patched together
    metric             function of the logits after the last token; see logit_difference

    The cost is P + 3 forward passes. Raises ValueError if the prompts differ in length or have the same metric, and
    KeyError for an unknown name.
    """
    low, high = metric_range(model, clean, corrupted, metric)
    values = record(model, clean, names_of(patches))
    return (patched_metric(model, corrupted, values, patches, metric) - low) / (high - low)  # (1)


def attribution_effects(model, clean, corrupted, patches, metric):
    """Return the estimates (2) of the effects of P patches as an array (P,).

    The estimates are normalised as in (1). Arguments and exceptions are those of patch_effects. The cost is four
    forward passes and one backward pass. The estimate for a patch is the sum over its activations, so an effect that
    one activation has through another is counted twice.
    """
    low, high = metric_range(model, clean, corrupted, metric)
    values = record(model, clean, names_of(patches))
    return attributions(model, corrupted, values, patches, metric) / (high - low)  # (2), (1)


def patched_metric(model, ids, values, patches, metric):
    """Return the metric (P,) of ids (T,) under each patch. `values` are the activations of the clean prompt."""
    rows = max(TOKENS_AT_ONCE // len(ids), 1)
    metrics = []
    for start in range(0, len(patches), rows):
        chunk = patches[start : start + rows]
        with model.hooked({name: patch_rows(name, values[name], chunk) for name in names_of(chunk)}):
            logits = model.predict(np.tile(ids, (len(chunk), 1)))  # all positions: a patch may be at any of them
        metrics.append(metric(logits[:, -1])[0])
    return np.concatenate(metrics)


def patch_rows(name, value, patches):
    """Return a hook that patches row b of a batch with `value`, at patches[b][name]."""
    where = np.zeros((len(patches), *value.shape), bool)
    for row, patch in zip(where, patches, strict=True):
        if name in patch:
            row[patch[name]] = True
    return replaced_by(np.broadcast_to(value, where.shape)[where], where)


def attributions(model, ids, values, patches, metric):
    """Return Σ ∂metric/∂a · (values − a), summed over the activations of each patch, as an array (P,)."""

    def dlogits(logits):
        gradient = np.zeros_like(logits)
        gradient[-1] = metric(logits[-1])[1](logits.dtype.type(1))
        return gradient

    seen, gradients = record_gradients(model, ids, names_of(patches), dlogits)
    changes = {name: gradients[name] * (values[name] - seen[name]) for name in seen}
    return np.array([sum(changes[name][where].sum() for name, where in patch.items()) for patch in patches])


def names_of(patches) -> list[str]:
    if not len(patches):
        raise ValueError("patches must contain at least one patch, such as {'blocks.0': ...}, but it is empty")
    names = list(dict.fromkeys(name for patch in patches for name in patch))
    if "positional_embedding" in names:
        raise ValueError("patches must not contain positional_embedding, which is the same for both prompts")
    return names


def metric_range(model, clean, corrupted, metric):
    """Return the metric of the corrupted and of the clean prompt."""
    if len(clean) != len(corrupted):
        raise ValueError(f"the prompts must have the same number of tokens, not {len(clean)} and {len(corrupted)}")
    low, high = (float(metric(model.predict(ids[None], last_only=True)[0, 0])[0]) for ids in (corrupted, clean))
    if low == high:
        raise ValueError(f"the metric must differ between the prompts, but it is {low:.4g} on both")
    return low, high
