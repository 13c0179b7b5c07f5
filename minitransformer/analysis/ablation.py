"""Ablation of attention heads: run the model without them and measure the loss. This tests the head scores of heads.py.

A head's output is replaced by its mean over the rows and positions of a batch. Zero would be a poor replacement: the
head may never produce it, so later layers could respond in a way that they never do otherwise. The mean gives later
layers their usual input and removes only the part that differs from position to position. If the loss rises, the model
depends on that part.

Limits: an ablation does not show whether the model could have learned the task without the head. An unchanged loss does
not show that the head is idle, because another head may do the same; only the ablation of both would reveal it.
"""

from contextlib import contextmanager

import numpy as np

from minitransformer.analysis.hooks import record, replaced_by


def mean_head_outputs(model, ids):
    """Return the mean output (L, H, D) of every head, before W_o, over ids (B, T)."""
    names = [f"blocks.{block}.attention.heads" for block in range(model.config.n_layers)]
    seen = record(model, ids, names)
    return np.stack([seen[name].mean(axis=(0, 2)) for name in names])


@contextmanager
def without_heads(model, heads, outputs):
    """Replace the outputs of the given heads inside a `with` block.

    heads     (block, head) pairs
    outputs   (L, H, D), as from mean_head_outputs; a head's output is the same at every position
    """
    hooks = {}
    for block in {block for block, _ in heads}:
        chosen = sorted({head for b, head in heads if b == block})
        where = (..., chosen, slice(None), slice(None))
        hooks[f"blocks.{block}.attention.heads"] = replaced_by(outputs[block, chosen][:, None], where)
    with model.hooked(hooks):
        yield model
