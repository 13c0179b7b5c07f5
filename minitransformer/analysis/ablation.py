"""Ablating attention heads: what the model does without them, which is the test of what any score says of them.

A head's output is replaced by its mean over the rows and positions of a batch. Of zero, which it may never put out, the
layers after it might make something it never was; the mean leaves them what they see on average, and takes away what
the head has to say of each position. What is lost then is what depended on *that*.

What it does not show: whether the model would have learned to do without. Nor, where nothing is lost, that the head
does nothing: another may do the same, and only without both is it missed.
"""

from contextlib import contextmanager

import numpy as np

from minitransformer.analysis.hooks import record, replaced_by


def mean_head_outputs(model, ids):
    """Return the mean output (L, H, D) of every head, before W_o, over all rows and positions of ids (B, T)."""
    names = [f"blocks.{block}.attention.heads" for block in range(model.config.n_layers)]
    seen = record(model, ids, names)
    return np.stack([seen[name].mean(axis=(0, 2)) for name in names])


@contextmanager
def without_heads(model, heads, outputs):
    """Within the block, put their `outputs` (L, H, D), at every position, in the place of what the heads put out.

    heads: (block, head) pairs.
    """
    hooks = {}
    for block in {block for block, _ in heads}:
        chosen = sorted({head for b, head in heads if b == block})
        where = (..., chosen, slice(None), slice(None))
        hooks[f"blocks.{block}.attention.heads"] = replaced_by(outputs[block, chosen][:, None], where)
    with model.hooked(hooks):
        yield model
