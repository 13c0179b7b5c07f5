"""Activation patching: what carries the difference between two prompts (Vig et al., 2020; Meng et al., 2022).

A clean and a corrupted prompt differ in what matters and in nothing else, token by token: "The nurse said that she" and
"The king said that he", and are answered differently. The model reads the corrupted prompt, but one of its activations
is replaced by what it was on the clean prompt. How much of the clean answer comes back tells what that activation
carries. With a metric m of the logits, and m_* under the patch, the effect is normalised to

    effect = (m_* − m_corrupted) / (m_clean − m_corrupted)            (1)

0 where nothing changed, 1 where the clean prompt's value is restored; it may be beyond either. The metric is the
difference of two logits after the last token, of the clean prompt's answer and of the corrupted one's, which is linear
in the logits and blind to what shifts all of them.

**Attribution patching** (Nanda, 2023) estimates all effects at once. For an activation a, to first order,

    m_* − m_corrupted ≈ ∂m/∂a · (a_clean − a_corrupted)               (2)

with the gradient taken at the corrupted prompt: four forward passes and one backward, however many the activations,
where patching takes one forward pass for each. The error of (2) falls with the square of the patch's size, so it is
good where patches are small, and may be far off where they are not: the embedding of another word, an attention that
has saturated, a normalization whose scale the patch changes. Hence both are shown, one beside the other.

What this does not show. An effect near 1 says that restoring this is enough, not that the model needs it on other
prompts, nor that nothing else would do; effects need not add up to 1, for a layer passes on what the one before wrote,
and heads can stand in for each other. And what the two prompts share, however much the answer depends on it, is
invisible: nothing differs there.
"""

import numpy as np

from minitransformer.analysis.hooks import record, record_gradients, replaced_by
from minitransformer.module import require_floating

PER_HEAD = ("q", "k", "v", "heads", "weights")  # activations (heads, T, ·); all others are (T, ·)
TOKENS_AT_ONCE = 1024  # of the rows of one forward pass, each with another patch


def logit_difference(answer: int, other: int):
    """Return the metric logits (..., V) -> (logit[answer] − logit[other] (...), backward).

    Any metric is such a differentiable function, of the logits after the last token.
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
    """Return the index of a position, a head, or both, in the activation `name` of one sequence; of all if None.

    A position may be an integer, a slice or a list; of `weights`, it is the query's. Raises ValueError for a head of an
    activation that has none.
    """
    position = slice(None) if position is None else position
    if name.rpartition(".")[2] in PER_HEAD:
        return (slice(None) if head is None else head, position)
    if head is not None:
        raise ValueError(f"{name} has no heads; of an attention, {', '.join(PER_HEAD)} have")
    return (position,)


def patch_effects(model, clean, corrupted, patches, metric):
    """Return the effect (1) of each patch (P,): of running the model on `corrupted` with some of its activations clean.

    clean, corrupted   ids (T,)
    patches            P dictionaries, of the sites to patch together: name of an activation -> index, as from `site`,
                       or ... for all of it
    metric             of the logits after the last token; see logit_difference

    Costs P + 3 forward passes. Raises ValueError for prompts that differ in length or that the metric does not tell
    apart, and KeyError for a name that does not exist.
    """
    check_lengths(clean, corrupted)
    low, high = metric_range(model, clean, corrupted, metric)
    values = record(model, clean, names_of(patches))
    return (patched_metric(model, corrupted, values, patches, metric) - low) / (high - low)  # (1)


def attribution_effects(model, clean, corrupted, patches, metric):
    """Return the estimate (2) of each patch's effect (P,), normalised as (1). Takes and raises what patch_effects does.

    Costs four forward passes and a backward. Where a patch names several activations, their estimates are added, which
    counts twice what one of them passes on to another.
    """
    check_lengths(clean, corrupted)
    low, high = metric_range(model, clean, corrupted, metric)
    values = record(model, clean, names_of(patches))
    changes = attributions(model, corrupted, values, patches, metric)  # (2)
    return changes / (high - low)  # (1)


def patched_metric(model, ids, values, patches, metric):
    """Return the metric (P,) of ids (T,) under each patch, which takes what it puts in place from `values`, by name."""
    rows = max(TOKENS_AT_ONCE // len(ids), 1)
    metrics = []
    for start in range(0, len(patches), rows):
        chunk = patches[start : start + rows]
        with model.hooked({name: patch_rows(name, values[name], chunk) for name in names_of(chunk)}):
            logits = model.predict(np.tile(ids, (len(chunk), 1)))  # all positions: ln_final may be patched at any
        metrics.append(metric(logits[:, -1])[0])
    return np.concatenate(metrics)


def patch_rows(name, value, patches):
    """Return a hook for one activation (P, ...) that puts parts of `value` (...) into each row, as its patch says."""
    where = np.zeros((len(patches), *value.shape), bool)
    for row, patch in zip(where, patches, strict=True):
        if name in patch:
            row[patch[name]] = True
    return replaced_by(np.broadcast_to(value, where.shape)[where], where)


def attributions(model, ids, values, patches, metric):
    """Return Σ ∂metric/∂a · (values − a) (P,) over the sites of each patch, at the activations a of ids (T,)."""

    def dlogits(logits):
        gradient = np.zeros_like(logits)
        gradient[-1] = metric(logits[-1])[1](logits.dtype.type(1))
        return gradient

    seen, gradients = record_gradients(model, ids, names_of(patches), dlogits)
    changes = {name: gradients[name] * (values[name] - seen[name]) for name in seen}
    return np.array([sum(changes[name][where].sum() for name, where in patch.items()) for patch in patches])


def names_of(patches) -> list[str]:
    """Return the activations that the patches are of, each once. Raises ValueError for none, or for positions."""
    if not len(patches):
        raise ValueError("there are no patches: give at least one, such as {'blocks.0': ...}")
    names = list(dict.fromkeys(name for patch in patches for name in patch))
    if "positional_embedding" in names:
        raise ValueError("positional_embedding is the same for any prompt: there is nothing to patch")
    return names


def check_lengths(clean, corrupted) -> None:
    """Raise ValueError unless both prompts have the same number of tokens."""
    if len(clean) != len(corrupted):
        raise ValueError(
            f"the prompts must have as many tokens as each other, to be patched one for one: "
            f"the clean one has {len(clean)}, the corrupted one {len(corrupted)}"
        )


def metric_range(model, clean, corrupted, metric):
    """Return the metric of the corrupted and of the clean prompt. Raises ValueError where they are equal."""
    low, high = (float(metric(model.predict(ids[None], last_only=True)[0, 0])[0]) for ids in (corrupted, clean))
    if low == high:
        raise ValueError(f"the metric is {low:.4g} on both prompts: there is no difference to trace")
    return low, high
