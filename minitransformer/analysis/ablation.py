"""Ablation of attention heads: run the model without them and measure the loss. This tests the head scores of heads.py.

The output of a head is replaced with its mean over a batch. A replacement with zero could give later layers an input
that they never receive from the head. If the loss rises, the model depends on the variation of the output between
positions. An unchanged loss does not show that the head has no effect, because another head may have the same effect.
"""

from contextlib import contextmanager

from minitransformer.analysis.hooks import record_in_each_block, replaced_by


def mean_head_outputs(model, ids):
    """Return the output (L, H, D) of each head before W_o, averaged over ids (B, T)."""
    return record_in_each_block(model, ids, "attention.heads").mean(axis=(1, 3))


@contextmanager
def without_heads(model, heads, outputs):
    """Return a context manager that replaces the outputs of some heads.

    `heads` is a list of (block, head). `outputs` (L, H, D), for example from mean_head_outputs, contains a replacement
    for each head, which is used at every position.
    """
    hooks = {}
    for block in {block for block, _ in heads}:
        chosen = sorted({head for b, head in heads if b == block})
        where = (..., chosen, slice(None), slice(None))
        hooks[f"blocks.{block}.attention.heads"] = replaced_by(outputs[block, chosen][:, None], where)
    with model.hooked(hooks):
        yield model
